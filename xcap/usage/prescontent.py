"""``org.openmobilealliance.pres-content``: pictures of users (XDM-160)."""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from xcap.errors import Conflict, XcapError
from xcap.usage.base import Trusted, Usage, constraint
from xcap.usage.names import PRES_CONTENT

if TYPE_CHECKING:
    from lxml import etree

    from xcap.records import DocumentKey, Tree

ICON_LIMIT: Final = 307200
"""Octets of a picture."""
FOLDER: Final = "oma_status-icon"

_TYPES: Final = frozenset({"image/jpeg", "image/gif", "image/png"})
_RESERVED: Final = "oma_"


class PresContent(Usage):
    """Status icons, each a document below ``oma_status-icon``.

    Their owners and trusted principals read them.

    :param limit: octets of a picture.
    """

    auid = "org.openmobilealliance.pres-content"
    mime_type = "application/vnd.oma.pres-content+xml"
    default_namespace = PRES_CONTENT
    namespaces = (PRES_CONTENT,)
    schema = "pres-content"

    def __init__(self, trusted: Iterable[Trusted] = (), limit: int = ICON_LIMIT) -> None:
        super().__init__(trusted)
        self._limit = limit

    def locate(self, tree: Tree, path: tuple[str, ...]) -> None:
        """Check that a document is in the folder of icons.

        :raises XcapError: 404 outside home directories.
        :raises Conflict: ``no-parent`` in another folder, ``constraint-failure`` outside
            any and for a name of OMA's.
        """
        if tree not in self.trees or not path:
            raise XcapError(404, "No such document")
        if len(path) == 1:
            raise constraint(f"Documents must be in the folder {FOLDER}")
        if len(path) > 2 or path[0] != FOLDER:
            raise Conflict("no-parent", "The application usage has no such folder")
        if path[1].startswith(_RESERVED):
            raise constraint(f"Names of documents must not start with {_RESERVED}")

    def check(self, root: etree._Element, key: DocumentKey) -> None:
        """Check type, encoding and size of a picture.

        :raises Conflict: ``constraint-failure``.
        """
        if _text(root, "mime-type").lower() not in _TYPES:
            raise constraint("Unsupported MIME type")
        if _text(root, "encoding").lower() != "base64":
            raise constraint("Unsupported encoding")
        try:
            data = "".join(_text(root, "data").split()).encode()
            size = len(binascii.a2b_base64(data, strict_mode=True))
        except binascii.Error:
            raise constraint("Unsupported encoding") from None
        if size > self._limit:
            raise constraint(f"Size limit exceeded, maximum allowed size is {self._limit} bytes")


def _text(root: etree._Element, name: str) -> str:
    return (root.findtext(f"{{{PRES_CONTENT}}}{name}") or "").strip(" \t\r\n")
