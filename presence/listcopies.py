"""Lists resolved over copies of documents (XDM-28 to XDM-31)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from presence.documentcopy import Source
from presence.lists import Resolution

if TYPE_CHECKING:
    from lxml import etree

    from presence.copies import Copies
    from presence.documentcopy import Copy, User
    from presence.listreferences import Place, References
    from presence.lists import Limits, Parser, Resolved

_PARSED = 1 << 16
_MEMBERS = 500


class Needs:
    """The documents that somebody needs; what is needed no more is let go.

    :param user: of the copies.
    """

    __slots__ = ("_copies", "_needed", "_used", "_user")

    def __init__(self, copies: Copies, user: User) -> None:
        self._copies = copies
        self._user = user
        self._used: dict[Source, Copy] = {}
        self._needed: dict[Source, Copy] = {}

    def begin(self) -> None:
        """Look anew at what is needed."""
        self._needed = {}

    def need(self, source: Source) -> Copy:
        """The copy of a document, which is fetched."""
        copy = self._needed.get(source)
        if copy is None:
            copy = self._copies.use(source, self._user)
            self._needed[source] = self._used[source] = copy
        return copy

    def settle(self) -> None:
        """Let go what was not needed since :meth:`begin`."""
        for source in [source for source in self._used if source not in self._needed]:
            self._copies.drop(self._used.pop(source), self._user)

    def refresh(self) -> None:
        """Ask for all of them again, to be waited for as at first."""
        for copy in list(self._used.values()):
            self._copies.refresh(copy)

    def clear(self) -> None:
        """Let everything go."""
        used, self._used, self._needed = self._used, {}, {}
        for copy in used.values():
            self._copies.drop(copy, self._user)


class CopiedList:
    """One list of a user.

    What was resolved is kept until a document changes that it was made of (XDM-31).

    :param start: gives the list to begin with; see :class:`presence.lists.Resolution`.
    :param references: reads references.
    :param home: identifier of the user's home directories.
    :param octets: that ``start`` has to parse.
    :param what: the list for people, in the log.
    """

    _log = Logger()

    __slots__ = (
        "_home",
        "_limits",
        "_octets",
        "_references",
        "_resolution",
        "_resolved",
        "_start",
        "_warned",
        "_what",
        "touched",
    )

    def __init__(
        self,
        start: Callable[[Parser], str | etree._Element],
        references: References,
        home: str,
        limits: Limits,
        octets: int = 0,
        what: str = "a presence list",
    ) -> None:
        self._start = start
        self._octets = octets
        self._what = what
        self._references = references
        self._home = home
        self._limits = limits
        self._resolution: Resolution | None = None
        self._resolved: Resolved | None = None
        self._warned = False
        self.touched: dict[Copy, int] = {}
        """The documents that it was made of, each with its revision."""

    def resolve(
        self,
        need: Callable[[Source], Copy],
        forced: bool,
        spend: Callable[[int], None],
        parser: Parser,
    ) -> Resolved | None:
        """Go on as far as the documents are there.

        :param need: gives the copy of a document, which is fetched.
        :param forced: do without documents of which nothing is known yet.
        :param spend: counts work; what it raises comes out, and the next call goes on there.
        :param parser: of documents.
        :returns: the same as before unless a document has changed; None when a document has
            to be waited for.
        """
        if any(copy.revision != revision for copy, revision in self.touched.items()) or any(
            need(copy.source) is not copy for copy in self.touched
        ):
            self.touched.clear()
            self._resolution = self._resolved = None
        if self._resolved is not None:
            return self._resolved
        if self._resolution is None:
            spend(self._octets // _PARSED)
            self._resolution = Resolution(self._start(parser), self._references, self._limits)
        resolution = self._resolution
        while resolution.result is None:
            place = resolution.wanted
            if place is None:
                spend(1)
                resolution.run()
                continue
            copy = need(self._source(place))
            if not copy.settled and not forced:
                return None
            octets = copy.octets
            if octets is not None and not parser.knows(octets):
                spend(len(octets) // _PARSED)
            self.touched[copy] = copy.revision
            resolution.give(octets, "missing" if copy.known else "unavailable", parser)
        spend(len(resolution.result.uris) // _MEMBERS)
        self._resolved = resolution.result
        self._resolution = None
        self._warn(self._resolved)
        return self._resolved

    def _source(self, place: Place) -> Source:
        """Where to read a document, and as whom (XDM-29)."""
        ours = place.root == self._references.root
        reader = "" if ours and place.xui in ("", self._home) else self._home
        return Source(place.root, place.path, reader, ours)

    def _warn(self, result: Resolved) -> None:
        """Say once what is wrong, until it is right again; not whose list it is."""
        if result.complete:
            self._warned = False
        elif not self._warned:
            self._warned = True
            kinds = sorted({problem.kind for problem in result.problems})
            self._log.warn(
                "{what} cannot be resolved: {kinds}", what=self._what, kinds=", ".join(kinds)
            )
