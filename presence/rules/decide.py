"""The decision on a watcher (xdm.md section 8, RFC 4745 section 10, RFC 5025 section 3.2.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import attrs

from presence.rules.conditions import Request
from presence.rules.model import VALUES, Context, Decision, Handling, Watcher, highest
from presence.rules.permissions import Permissions
from presence.rules.ruleset import Rule, RuleSet

_NONE: Final = Permissions.none()
_ALL: Final = Permissions.all()


def decide(
    rules: RuleSet, presentity: frozenset[str], watcher: Watcher, context: Context
) -> Decision:
    """What the rules say about a watcher now; a pure function (RUL-01 to RUL-05, ORD-04).

    It holds until rules, lists or sphere change, and until the time of its ``boundary``.

    :param rules: of the presentity.
    :param presentity: all canonical URIs of the presentity (XDM-138, PSV-14).
    """
    search = _Search(rules, presentity, watcher, context)
    if search.own:
        return Decision("allow", _ALL, search.boundary, ("own identity",), "own")
    chosen = search.chosen
    missing = tuple(f"rule {rule.id}: a list is not at hand" for rule in search.undetermined)
    if not chosen:
        reasons = ("no rule matches", *missing)
        return Decision("block", _NONE, search.boundary, reasons, "none", bool(missing))
    reasons = (*(rule.text for rule in chosen), *missing)
    handling = highest(rule.handling for rule in chosen)
    if search.capped and VALUES[handling] > VALUES["confirm"]:
        handling = "confirm"
        reasons += ("confirm at most until the lists are at hand",)
    permissions = rules.granted(chosen) if handling == "allow" else _NONE
    return Decision(handling, permissions, search.boundary, reasons, rules.source, bool(missing))


@attrs.frozen(slots=True)
class Finding:
    """Why a rule has or has not a say about a watcher.

    :ivar rule: its id.
    :ivar handling: what it says.
    :ivar used: whether it is one of those that the decision was made of.
    :ivar conditions: each condition, for people, and whether it is true; None: undetermined.
    :ivar place: ``rules`` of the presentity, or the operator's list ``before`` or ``after`` them.
    """

    rule: str
    handling: Handling
    used: bool
    conditions: tuple[tuple[str, bool | None], ...]
    place: Literal["before", "rules", "after"] = "rules"


def explain(
    rules: RuleSet, presentity: frozenset[str], watcher: Watcher, context: Context
) -> tuple[Finding, ...]:
    """All rules, with what became of each in :func:`decide`; this is for people, not fast."""
    search = _Search(rules, presentity, watcher, context)
    findings = []
    for rule in rules.rules:
        conditions: list[tuple[str, bool | None]] = [
            (condition.text, condition.test(search.request)) for condition in rule.conditions
        ]
        if rule.validity is not None:
            conditions.append(("validity", rule.validity.holds(context.now)))
        used = not search.own and any(rule is one for one in search.chosen)
        findings.append(Finding(rule.id, rule.handling, used, tuple(conditions)))
    return tuple(findings)


class _Search:
    """Finds the rules that decide.

    :ivar request: what they were tested against.
    :ivar chosen: the rules that match and count, by class and then in document order.
    :ivar own: whether the watcher is the presentity and no rule names it (XDM-138).
    :ivar capped: whether it depends on a list not at hand that the catch-all applies (XDM-123).
    :ivar undetermined: the rules with such lists.
    :ivar boundary: when the validity of a rule that matches otherwise changes next.
    """

    __slots__ = ("boundary", "capped", "chosen", "own", "request", "undetermined")

    def __init__(
        self, rules: RuleSet, presentity: frozenset[str], watcher: Watcher, context: Context
    ) -> None:
        request = self.request = Request(rules.flavour, watcher, context)
        self.boundary: float | None = None
        self.undetermined: list[Rule] = []
        self.chosen: list[Rule] = []
        self.capped = False
        named = self._matching(rules.identifying(request))
        self.own = not named and not presentity.isdisjoint(watcher.uris)
        if self.own:
            return
        if not named or rules.flavour == "ietf":
            # OMA's classes: a list counts only for whom no identity names (XDM-130)
            named += self._matching(rules.listing(request))
        request.named = bool(named)
        if not named:
            if request.anonymous:
                named = self._matching(rules.anonymous)
            else:
                named = self._matching(rules.others)
                self.capped = bool(named and self.undetermined)
        self.chosen = named + self._matching(rules.anybody)

    def _matching(self, candidates: Iterable[Rule]) -> list[Rule]:
        """Those of the rules that match (XDM-110)."""
        request = self.request
        found = []
        for rule in candidates:
            result = rule.test(request)
            if result is False:
                continue
            if rule.validity is not None:
                change = rule.validity.next(request.now)
                if change is not None and (self.boundary is None or change < self.boundary):
                    self.boundary = change
                if not rule.validity.holds(request.now):
                    continue
            if result is None:
                self.undetermined.append(rule)
            else:
                found.append(rule)
        return found
