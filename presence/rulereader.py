"""The rules and lists of one user, read once through XCAP, as the Presence Server finds them.

Which documents count, and how lists are resolved, is decided by the same code as in the server
(:mod:`presence.ruledocuments`, :mod:`presence.lists`); here nothing is followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import attrs

from presence.documentcopy import IETF_RULES, OMA_RULES, Copy, Source
from presence.listreferences import References
from presence.lists import Parser, Problem, Resolution, members
from presence.ruledocuments import NotYet, RuleDocuments, RuleSettings
from presence.rules.document import read_rules
from presence.rules.ruleset import RuleSet
from xcap.client import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from presence.rules.model import Flavour
    from xcap.client import XcapClient

_FLAVOURS: Final[dict[str, Flavour]] = {OMA_RULES: "oma", IETF_RULES: "ietf"}

__all__ = ["Listed", "OwnRules", "RuleDocument", "RuleReader"]


@attrs.frozen(slots=True)
class RuleDocument:
    """A document of rules.

    :ivar path: relative to the XCAP root, percent-encoded.
    :ivar flavour: by its application usage.
    """

    path: str
    flavour: Flavour
    octets: bytes

    @property
    def name(self) -> str:
        """For people: usage and name in the home directory; the path of one in the global tree."""
        auid, tree, *rest = self.path.split("/")
        return unquote("/".join((auid, *rest[1:])) if tree == "users" else self.path)

    def rules(self) -> RuleSet:
        """What it says.

        :raises ValueError: it cannot be read.
        """
        rules = read_rules(self.octets, self.flavour)
        if self.path.split("/")[1] == "users":
            return rules
        return RuleSet(rules.flavour, rules.rules, "default")


@attrs.frozen(slots=True)
class OwnRules:
    """The rule documents of a user.

    :ivar counting: those by which decisions are made (XDM-100), or the operator's (XDM-150).
    :ivar idle: others of the user, which do not count.
    """

    counting: tuple[RuleDocument, ...] = ()
    idle: tuple[RuleDocument, ...] = ()


@attrs.frozen(slots=True)
class Listed:
    """An external list.

    :ivar members: canonical URIs; None when it could not be resolved (XDM-123).
    :ivar problems: why not.
    """

    members: frozenset[str] | None
    problems: tuple[Problem, ...] = ()


class RuleReader:
    """Reads what decisions about the watchers of a user need.

    :param client: with the credentials of who reads.
    :param home: the user, canonical.
    :param settings: choices of the operator, as far as they are known.
    """

    def __init__(self, client: XcapClient, home: str, settings: RuleSettings | None = None) -> None:
        self._client = client
        self._home = home
        self._settings = settings or RuleSettings()
        self._references = References(client.root, foreign=self._settings.foreign)

    async def documents(self) -> OwnRules:
        """All rule documents of the user.

        :raises Refused: one may not be read.
        :raises xcap.agent.NoAnswer: there is no answer.
        """
        copies: dict[Source, Copy] = {}
        counting = await self._used(copies, self._settings)
        if len(counting) == 1 and counting[0].flavour == "oma":
            everything = attrs.evolve(self._settings, union=True)
            try:
                both = await self._used(copies, everything)
            except Refused:
                return OwnRules(counting)  # what does not count need not be readable
            return OwnRules(counting, tuple(one for one in both if one not in counting))
        return OwnRules(counting)

    async def _used(
        self, copies: dict[Source, Copy], settings: RuleSettings
    ) -> tuple[RuleDocument, ...]:
        """The documents that count by some settings; ``copies`` is what was read already."""
        documents = RuleDocuments(self._client.root, self._home, settings)
        while True:
            used: list[Source] = []

            def need(source: Source, used: list[Source] = used) -> Copy:
                used.append(source)
                return copies.setdefault(source, Copy(source))

            try:
                documents.find(need, False)
            except NotYet:
                for source in used:
                    await self._read(copies[source])
                continue
            return tuple(filter(None, map(_document, (copies[s] for s in dict.fromkeys(used)))))

    async def _read(self, copy: Copy) -> None:
        if not copy.settled:
            found = await self._client.fetch(copy.source.path)
            copy.hold(None if found is None else found.octets, "")
            copy.settled = copy.known = True

    async def lists(self, anchors: Iterable[str]) -> Mapping[str, Listed]:
        """Resolve external lists, within the limits of the server (XDM-28, XDM-120).

        :raises xcap.agent.NoAnswer: there is no answer.
        """
        parser = Parser()
        found = {}
        for number, anchor in enumerate(sorted(anchors)):
            if number < self._settings.anchors:
                found[anchor] = await self._list(anchor, parser)
            else:
                found[anchor] = Listed(None, (Problem("limit", anchor),))
        return found

    async def _list(self, anchor: str, parser: Parser) -> Listed:
        resolution = Resolution(anchor, self._references, self._settings.limits)
        while resolution.result is None:
            place = resolution.wanted
            if place is None:
                resolution.run()
                continue
            if place.root != self._client.root:
                resolution.give(None, "elsewhere", parser)  # where our credentials mean nothing
                continue
            try:
                document = await self._client.fetch(place.path)
            except Refused:
                resolution.give(None, "unavailable", parser)
                continue
            resolution.give(None if document is None else document.octets, "missing", parser)
        result = resolution.result
        return Listed(members(result.uris) if result.complete else None, result.problems)


def _document(copy: Copy) -> RuleDocument | None:
    """The rule document that a copy is of, if it is of one."""
    path = copy.source.path
    flavour = _FLAVOURS.get(path.partition("/")[0])
    if flavour is None or copy.octets is None:
        return None
    return RuleDocument(path, flavour, copy.octets)
