"""External lists of rules: resolved over copies of documents, the last good ones kept (XDM-123)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from presence.listcopies import CopiedList
from presence.lists import Limits, Parser, members

if TYPE_CHECKING:
    from presence.documentcopy import Copy, Source
    from presence.listreferences import References
    from presence.lists import Resolved


class ExternalList:
    """One external list of a presentity.

    :param anchor: absolute URI of the list, as rules name it.
    :param home: identifier of the presentity's home directories.
    :param key: see :func:`presence.lists.members`.
    """

    __slots__ = ("_good", "_good_copies", "_good_since", "_key", "_list", "_resolved")

    def __init__(
        self,
        anchor: str,
        home: str,
        references: References,
        limits: Limits,
        key: Callable[[str], str | None],
    ) -> None:
        self._list = CopiedList(lambda _: anchor, references, home, limits, what="an external list")
        self._key = key
        self._resolved: Resolved | None = None
        self._good: frozenset[str] | None = None
        self._good_copies: tuple[Copy, ...] = ()
        self._good_since: float | None = None

    def resolve(
        self,
        need: Callable[[Source], Copy],
        forced: bool,
        spend: Callable[[int], None],
        parser: Parser,
    ) -> bool:
        """Go on as far as the documents are there.

        See :meth:`presence.listcopies.CopiedList.resolve`.

        :returns: whether it is done; else a document has to be waited for.
        """
        resolved = self._list.resolve(need, forced, spend, parser)
        if resolved is None:
            return False
        if resolved is not self._resolved:
            self._resolved = resolved
            if resolved.complete:
                self._good = members(resolved.uris, self._key)
                self._good_copies = tuple(self._list.touched)
                self._good_since = None
        return True

    def members(self, now: float, keep: float) -> tuple[frozenset[str] | None, float | None]:
        """The members, those of the last good resolution if there is no other (XDM-123).

        :param keep: seconds that the last good resolution is used.
        :returns: the members, None for an undetermined list; and when they stop to be used,
            None for never.
        """
        if self._resolved is not None and self._resolved.complete:
            return self._good, None
        if self._good is None:
            return None, None
        if self._good_since is None:
            since = [copy.known_at(now) for copy in self._good_copies]
            self._good_since = min(since, default=now)
        until = self._good_since + keep
        if now >= until:
            self._good = None
            self._good_copies = ()
            return None, None
        return self._good, until
