"""``pidf-manipulation`` (RFC 4827, XDM-60 to XDM-66)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from pysip.uri import canonical_aor
from xcap.usage.base import Trusted, Usage, constraint
from xcap.usage.names import DATA_MODEL, PIDF, PIDF_EXTENSIONS

if TYPE_CHECKING:
    from lxml import etree

    from xcap.interfaces import ISubscribers
    from xcap.records import DocumentKey


class PidfManipulation(Usage):
    """Presence that never expires: one more input of composition.

    :param subscribers: knows the one form of a user identifier.
    """

    auid = "pidf-manipulation"
    mime_type = "application/pidf+xml"
    default_namespace = PIDF
    namespaces = (PIDF, *PIDF_EXTENSIONS)
    schema = "pidf"
    document_names = frozenset({"index"})
    unique_attributes: ClassVar[dict[str, str]] = {
        f"{{{PIDF}}}tuple": "id",
        f"{{{DATA_MODEL}}}person": "id",
        f"{{{DATA_MODEL}}}device": "id",
    }

    def __init__(self, subscribers: ISubscribers, trusted: Iterable[Trusted] = ()) -> None:
        super().__init__(trusted)
        self._subscribers = subscribers

    def check(self, root: etree._Element, key: DocumentKey) -> None:
        """XDM-63.

        :raises Conflict: ``constraint-failure``.
        """
        if not self._denotes(root.get("entity", "").strip(" \t\r\n"), key.xui):
            raise constraint("The entity must be the owner of the document")

    def _denotes(self, entity: str, owner: str) -> bool:
        """Whether a presentity's URI, ``pres:`` too, is one of a user."""
        try:
            if self._subscribers.canonical(entity) == owner:
                return True
            return self._subscribers.canonical(canonical_aor(entity)) == owner
        except ValueError:
            return False
