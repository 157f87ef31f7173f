"""A compiled rule set: rules with an index by which the few that may match are found (XDM-173)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import attrs

from presence.rules.conditions import (
    AnonymousRequest,
    Condition,
    ExternalList,
    Identity,
    OtherIdentity,
    Request,
    Sphere,
    Unknown,
    all_true,
)
from presence.rules.model import Flavour, Handling, Source
from presence.rules.permissions import Permissions, combine
from presence.rules.times import Validity

Kind = Literal["anybody", "anonymous", "identity", "list", "other", "never"]
"""Whom a rule is for (XDM-130); ``never`` for conditions that exclude each other."""

_REMEMBERED: Final = 256


@attrs.frozen(slots=True, eq=False)
class Rule:
    """One rule (XDM-90).

    :ivar id: as in its document; documents of one rule set may share ids (XDM-102).
    :ivar handling: ``block`` when it says none (XDM-135).
    :ivar permissions: its transformations.
    :ivar conditions: all but ``validity``.
    :ivar validity: when it is valid; None for always.
    :ivar kind: whom it is for.
    :ivar text: for people: id, conditions and handling.
    """

    id: str
    handling: Handling
    permissions: Permissions
    conditions: tuple[Condition, ...] = ()
    validity: Validity | None = None
    kind: Kind = attrs.field(init=False)
    text: str = attrs.field(init=False)

    @kind.default
    def _kind(self) -> Kind:
        return _kind_of(self.conditions)

    @text.default
    def _text(self) -> str:
        asked = [condition.text for condition in self.conditions]
        if self.validity is not None:
            asked.append("validity")
        return f"rule {self.id} ({', '.join(asked) or 'no conditions'}): {self.handling}"

    def test(self, request: Request) -> bool | None:
        """Whether all conditions but ``validity`` are true; None as in a condition."""
        return all_true(self.conditions, request)


class RuleSet:
    """The rules of a presentity, compiled; they do not change.

    :param flavour: how they combine.
    :param rules: in document order.
    :param source: what decisions by these rules rest on.
    :ivar anchors: external lists that decisions need (XDM-120).
    :ivar uses_sphere: whether decisions depend on the sphere (XDM-116).
    :ivar anonymous: rules for anonymous requests.
    :ivar others: rules for watchers whom no rule names.
    :ivar anybody: rules that look at no identity.
    """

    __slots__ = (
        "_by_anchor",
        "_by_domain",
        "_by_uri",
        "_granted",
        "anchors",
        "anonymous",
        "anybody",
        "flavour",
        "others",
        "rules",
        "source",
        "uses_sphere",
    )

    def __init__(self, flavour: Flavour, rules: Iterable[Rule], source: Source = "rules") -> None:
        self.flavour: Final = flavour
        self.rules: Final = tuple(rules)
        self.source: Final = source
        self._by_uri: dict[str, list[int]] = {}
        self._by_domain: dict[str, list[int]] = {}
        self._by_anchor: dict[str, list[int]] = {}
        self.anonymous: Final[list[Rule]] = []
        self.others: Final[list[Rule]] = []
        self.anybody: Final[list[Rule]] = []
        self._granted: dict[tuple[Permissions, ...], Permissions] = {}
        anchors: set[str] = set()
        self.uses_sphere = False
        for number, rule in enumerate(self.rules):
            if rule.kind == "never":
                continue
            self._index(number, rule)
            for condition in rule.conditions:
                if isinstance(condition, ExternalList):
                    anchors.update(condition.anchors)
                elif isinstance(condition, Sphere):
                    self.uses_sphere = True
        self.anchors = frozenset(anchors)

    def _index(self, number: int, rule: Rule) -> None:
        if rule.kind == "identity":
            condition = next(c for c in rule.conditions if isinstance(c, Identity))
            for uri in condition.ones:
                self._by_uri.setdefault(uri, []).append(number)
            for domain in {many.domain for many in condition.manys}:
                if domain is not None:
                    self._by_domain.setdefault(domain, []).append(number)
        elif rule.kind == "list":
            listing = next(c for c in rule.conditions if isinstance(c, ExternalList))
            for anchor in set(listing.anchors):
                self._by_anchor.setdefault(anchor, []).append(number)
        elif rule.kind == "other":
            self.others.append(rule)
        elif rule.kind == "anonymous":
            self.anonymous.append(rule)
        else:
            self.anybody.append(rule)

    def identifying(self, request: Request) -> Iterator[Rule]:
        """Rules with ``identity`` that may name the watcher, in document order."""
        if not request.uris:
            return iter(())
        found: set[int] = set(self._by_domain.get("", ()))
        for uri in request.uris:
            found.update(self._by_uri.get(uri, ()))
        for domain in request.domains:
            found.update(self._by_domain.get(domain, ()))
        return (self.rules[number] for number in sorted(found))

    def listing(self, request: Request) -> Iterator[Rule]:
        """Rules with ``external-list`` that name the watcher or may do so, in document order."""
        if not request.uris:
            return iter(())
        found: set[int] = set()
        for anchor, numbers in self._by_anchor.items():
            if request.listed(anchor) is not False:
                found.update(numbers)
        return (self.rules[number] for number in sorted(found))

    def granted(self, rules: Iterable[Rule]) -> Permissions:
        """What rules grant together; watchers of the same rules get the same object (RUL-26)."""
        key = tuple(rule.permissions for rule in rules)
        found = self._granted.get(key)
        if found is None:
            if len(self._granted) >= _REMEMBERED:
                self._granted.clear()
            found = self._granted[key] = combine(key)
        return found


def merge(rulesets: Iterable[RuleSet]) -> RuleSet:
    """Several documents as one rule set (XDM-100); none give one that blocks everybody.

    If one of them is OMA's, the whole is evaluated in OMA's classes.
    """
    documents = list(rulesets)
    if len(documents) == 1:
        return documents[0]
    flavour: Flavour = "oma" if any(one.flavour == "oma" for one in documents) else "ietf"
    return RuleSet(flavour, (rule for one in documents for rule in one.rules))


def _kind_of(conditions: Iterable[Condition]) -> Kind:
    types = {type(condition) for condition in conditions}
    if Unknown in types:
        return "never"
    named = not types.isdisjoint((Identity, ExternalList))
    if named + (OtherIdentity in types) + (AnonymousRequest in types) > 1:
        # who is anonymous has no identity, and "other" is who is in no such rule
        return "never"
    if Identity in types:
        return "identity"
    if ExternalList in types:
        return "list"
    if OtherIdentity in types:
        return "other"
    return "anonymous" if AnonymousRequest in types else "anybody"
