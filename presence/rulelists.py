"""External lists of rules: resolved over copies of documents, the last good ones kept (XDM-123)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from presence.documentcopy import Source
from presence.lists import Limits, Parser, Resolution, members

if TYPE_CHECKING:
    from presence.documentcopy import Copy
    from presence.listreferences import Place, References
    from presence.lists import Problem, Resolved

_PARSED = 1 << 16
_KEYED = 500


class ExternalList:
    """One external list of a presentity.

    What was resolved is kept until a document changes that it was made of (XDM-31).

    :param anchor: absolute URI of the list, as rules name it.
    :param home: identifier of the presentity's home directories.
    :param key: see :func:`presence.lists.members`.
    """

    _log = Logger()

    __slots__ = (
        "_anchor",
        "_done",
        "_good",
        "_good_copies",
        "_good_since",
        "_home",
        "_key",
        "_limits",
        "_problems",
        "_references",
        "_resolution",
        "_touched",
        "_warned",
    )

    def __init__(
        self,
        anchor: str,
        home: str,
        references: References,
        limits: Limits,
        key: Callable[[str], str | None],
    ) -> None:
        self._anchor = anchor
        self._home = home
        self._references = references
        self._limits = limits
        self._key = key
        self._touched: dict[Copy, int] = {}
        self._resolution: Resolution | None = None
        self._done = False
        self._problems: tuple[Problem, ...] = ()
        self._good: frozenset[str] | None = None
        self._good_copies: tuple[Copy, ...] = ()
        self._good_since: float | None = None
        self._warned = False

    def resolve(
        self,
        need: Callable[[Source], Copy],
        forced: bool,
        spend: Callable[[int], None],
        parser: Parser,
    ) -> bool:
        """Go on as far as the documents are there.

        :param need: gives the copy of a document, which is fetched.
        :param forced: do without documents of which nothing is known yet.
        :param spend: counts work; what it raises comes out, and the next call goes on there.
        :param parser: of documents.
        :returns: whether it is done; else a document has to be waited for.
        """
        for copy, revision in self._touched.items():
            if copy.revision != revision:
                self._touched.clear()
                self._resolution = None
                self._done = False
                break
        for copy in self._touched:
            need(copy.source)
        if self._done:
            return True
        if self._resolution is None:
            self._resolution = Resolution(self._anchor, self._references, self._limits)
        resolution = self._resolution
        while resolution.result is None:
            place = resolution.wanted
            if place is None:
                spend(1)
                resolution.run()
                continue
            copy = need(self._source(place))
            if not copy.settled and not forced:
                return False
            octets = copy.octets
            if octets is not None and not parser.knows(octets):
                spend(len(octets) // _PARSED)
            self._touched[copy] = copy.revision
            resolution.give(octets, "missing" if copy.known else "unavailable", parser)
        spend(len(resolution.result.uris) // _KEYED)
        self._done = True
        self._resolution = None
        self._settle(resolution.result)
        return True

    def _source(self, place: Place) -> Source:
        """Where to read a document, and as whom (XDM-29)."""
        ours = place.root == self._references.root
        reader = "" if ours and place.xui in ("", self._home) else self._home
        return Source(place.root, place.path, reader, ours)

    def _settle(self, result: Resolved) -> None:
        self._problems = result.problems
        if result.complete:
            self._good = members(result.uris, self._key)
            self._good_copies = tuple(self._touched)
            self._good_since = None
            self._warned = False
            return
        if not self._warned:
            self._warned = True
            kinds = sorted({problem.kind for problem in result.problems})
            self._log.warn("an external list cannot be resolved: {kinds}", kinds=", ".join(kinds))

    def members(self, now: float, keep: float) -> tuple[frozenset[str] | None, float | None]:
        """The members, those of the last good resolution if there is no other (XDM-123).

        :param keep: seconds that the last good resolution is used.
        :returns: the members, None for an undetermined list; and when they stop to be used,
            None for never.
        """
        if self._done and not self._problems:
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
