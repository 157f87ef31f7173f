"""References to resource lists and entries in documents (RFC 4826 section 3, XDM-23 to XDM-33)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import attrs

from xcap.canonical import is_relative_path, parse_http_uri
from xcap.errors import XcapError
from xcap.uri import NodeSelector, build, canonical_xui, parse_node, parse_target
from xcap.usage.names import RESOURCE_LISTS

AUID: Final = "resource-lists"

_SPACE: Final = " \t\r\n"
_ROOT: Final = re.compile(r"(?=resource-lists/(?:users|global)/)")


class BadReference(Exception):
    """A reference names nothing that may be fetched.

    :ivar kind: ``malformed``, ``elsewhere`` or ``not-a-list``.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@attrs.frozen(slots=True)
class Place:
    """A document of resource lists.

    :ivar root: XCAP root, ending in ``/``.
    :ivar path: relative to the root, percent-encoded, the same for every spelling.
    :ivar xui: whose home directory it is in, canonical; "" for the global tree.
    """

    root: str
    path: str
    xui: str

    @property
    def uri(self) -> str:
        """Absolute URI."""
        return self.root + self.path


@attrs.frozen(slots=True)
class Reference:
    """An element in a document.

    :ivar uri: canonical form of the reference (XDM-33).
    """

    uri: str
    place: Place
    selector: NodeSelector


@attrs.frozen(slots=True)
class References:
    """Reads references.

    :ivar root: XCAP root of the document in which a resolution begins, ending in ``/``.
    :ivar canonical: the one form of a user identifier; ValueError for what is none.
    :ivar foreign: whether documents below other roots may be named (XDM-29).
    """

    root: str
    canonical: Callable[[str], str] = canonical_xui
    foreign: bool = False

    def external(self, anchor: str) -> Reference:
        """What the ``anchor`` of an ``external`` or the ``anc`` of a rule names.

        :raises BadReference: ``malformed`` or ``elsewhere``.
        """
        uri = parse_http_uri(anchor)
        if uri is None:
            raise BadReference("malformed")
        base = parse_http_uri(self.root)
        target = f"{uri.path}{uri.tail}"
        if base is not None and uri.origin == base.origin and uri.path.startswith(base.path):
            return self._reference(str(uri), self.root, target[len(base.path) :])
        if not self.foreign:
            raise BadReference("elsewhere")
        # where the root of another server ends can only be seen from what follows it
        parts = _ROOT.split(target, maxsplit=1)
        if len(parts) < 2 or not parts[0].endswith("/"):
            raise BadReference("elsewhere")
        return self._reference(str(uri), f"{uri.origin}{parts[0]}", parts[1])

    def entry(self, ref: str, root: str) -> Reference:
        """What the ``ref`` of an ``entry-ref`` names (XDM-23).

        :param root: XCAP root of the document that it stands in.
        :raises BadReference: ``malformed`` or ``elsewhere``.
        """
        if not is_relative_path(ref):
            raise BadReference("malformed")
        uri = parse_http_uri(root + ref.strip(_SPACE))
        base = parse_http_uri(root)
        if uri is None or base is None:
            raise BadReference("malformed")
        return self._reference(str(uri), root, f"{uri.path}{uri.tail}"[len(base.path) :])

    def _reference(self, uri: str, root: str, rest: str) -> Reference:
        try:
            target = parse_target(f"/{rest}")
            if target.auid != AUID:
                raise BadReference("elsewhere")
            if target.node is None:
                raise BadReference("not-a-list")
            selector = parse_node(target.node, target.query, RESOURCE_LISTS)
            xui = self.canonical(target.xui) if target.xui else ""
        except (XcapError, ValueError):
            raise BadReference("malformed") from None
        path = build("", AUID, xui, "/".join(target.path))[1:]
        return Reference(uri, Place(root, path, xui), selector)
