"""The filters of a watcher where the server of a member takes none (RFC 4660 section 4.1)."""

from __future__ import annotations

from presence.filters.content import select
from presence.filters.errors import FilterError
from presence.filters.filterset import FilterSet
from presence.filters.triggers import fired
from presence.pidf.offline import empty_document
from presence.pidf.parse import DocumentError, to_utf8


class OwnFilter:
    """Applies them to what the server tells of one member (FLT-28).

    :param member: canonical URI of the member.
    :param filters: those for it.
    """

    def __init__(self, member: str, filters: FilterSet) -> None:
        self._member = member
        self._filter = filters.chosen(member)
        self._told: bytes | None = None

    def left(self, document: bytes, *, asked: bool = False) -> bytes | None:
        """What is left of a PIDF document; None when nobody is to hear of it.

        What cannot be filtered is told as it is: the server has said that the watcher may see it.

        :param asked: the watcher has asked for it, whatever it waits for (FLT-18).
        """
        chosen = self._filter
        if chosen is None:
            return document
        before = self._told
        try:
            told = to_utf8(document)
            waits = bool(chosen.triggers) and before is not None and not asked
            if waits and before is not None and not fired(chosen.triggers, before, told):
                return None
            left = select(told, chosen.what)
        except (FilterError, DocumentError):
            return document
        self._told = told
        return empty_document(self._member) if left is None else left
