"""How a decision will be another one, with the same rules (for people; RUL-04)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

import attrs

from presence.rules.conditions import Sphere
from presence.rules.decide import decide
from presence.rules.model import Context, Decision, Watcher
from presence.rules.ruleset import RuleSet

_MOST: Final = 100
"""Spheres, and times, that are looked at."""


@attrs.frozen(slots=True)
class Outlook:
    """A decision that will or may be made.

    :ivar sphere: the sphere in which it is made; "" for none, None for the one of now.
    :ivar at: from when on, seconds since the epoch; None for now.
    """

    decision: Decision
    sphere: str | None = None
    at: float | None = None


Decide = Callable[[RuleSet, frozenset[str], Watcher, Context], Decision]


def foresee(
    rules: RuleSet,
    presentity: frozenset[str],
    watcher: Watcher,
    context: Context,
    decide: Decide = decide,
) -> tuple[Outlook, ...]:
    """What the decision will be in other spheres, and as times pass, where that differs.

    Times are told in order, each with what changes then; spheres in alphabetical order.

    :param context: of now.
    :param decide: what decides by the rules.
    """
    now = decide(rules, presentity, watcher, context)
    found = []
    before = now.handling
    edges = {
        edge
        for rule in rules.rules
        if rule.validity is not None
        for edge in rule.validity.edges
        if context.now < edge < float("inf")
    }
    for edge in islice(sorted(edges), _MOST):
        then = decide(rules, presentity, watcher, attrs.evolve(context, now=edge))
        if then.handling != before:
            found.append(Outlook(then, at=edge))
            before = then.handling
    spheres = {
        value
        for rule in rules.rules
        for condition in rule.conditions
        if isinstance(condition, Sphere)
        for value in condition.values
    }
    present = "" if context.sphere is None else context.sphere.casefold()
    for sphere in islice(sorted({"", *spheres} - {present} if spheres else ()), _MOST):
        there = decide(rules, presentity, watcher, attrs.evolve(context, sphere=sphere or None))
        if there.handling != now.handling:
            found.append(Outlook(there, sphere=sphere))
    return tuple(found)
