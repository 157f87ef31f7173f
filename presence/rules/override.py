"""The operator's own lists, before and after the rules of the presentity (XDM-139, PSV-11)."""

from __future__ import annotations

from typing import Literal

import attrs

from presence.rules.conditions import domain_of
from presence.rules.decide import Finding, decide, explain
from presence.rules.model import VALUES, Context, Decision, Handling, Watcher
from presence.rules.permissions import Permissions
from presence.rules.ruleset import RuleSet


@attrs.frozen(slots=True)
class OverrideEntry:
    """One entry of a list: for which watchers of which presentities it decides, and what.

    Domains are domain keys (:func:`presence.rules.conditions.domain_key`), URIs canonical.
    A watcher is known by its asserted URIs also when it asks for anonymity.

    :ivar name: what logs call it.
    :ivar handling: the decision.
    :ivar uris: watchers it is for.
    :ivar domains: domains of watchers it is for.
    :ivar anonymous: whether it is for watchers that are, or ask to be, anonymous.
    :ivar everybody: whether it is for all watchers.
    :ivar presentities: presentities it is for; without these and their domains, all.
    :ivar presentity_domains: domains of presentities it is for.
    :ivar permissions: what is seen by those it allows.
    """

    name: str
    handling: Handling
    uris: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    anonymous: bool = False
    everybody: bool = False
    presentities: frozenset[str] = frozenset()
    presentity_domains: frozenset[str] = frozenset()
    permissions: Permissions = attrs.field(factory=Permissions.all)

    def covers(self, presentity: frozenset[str], watcher: Watcher) -> bool:
        """Whether the entry decides here.

        The presentity itself is covered only by name: a domain that is kept out does not
        lock its own presentities out of what is theirs (PSV-14).
        """
        if not self._for_presentity(presentity):
            return False
        if not self.uris.isdisjoint(watcher.uris):
            return True
        if not presentity.isdisjoint(watcher.uris):
            return False
        if self.everybody or (self.anonymous and (watcher.anonymous or not watcher.uris)):
            return True
        return bool(self.domains) and any(domain_of(uri) in self.domains for uri in watcher.uris)

    def _for_presentity(self, presentity: frozenset[str]) -> bool:
        if not self.presentities and not self.presentity_domains:
            return True
        if not self.presentities.isdisjoint(presentity):
            return True
        return any(domain_of(uri) in self.presentity_domains for uri in presentity)


@attrs.frozen(slots=True)
class Override:
    """What the operator decides itself; in each list the first entry that covers decides.

    :ivar before: decides whatever the presentity's rules say.
    :ivar after: decides where no rule of the presentity speaks about the watcher.
    """

    before: tuple[OverrideEntry, ...] = ()
    after: tuple[OverrideEntry, ...] = ()

    def decide(
        self, rules: RuleSet, presentity: frozenset[str], watcher: Watcher, context: Context
    ) -> Decision:
        """As :func:`presence.rules.decide.decide`, with the operator's lists around it.

        ``source`` and ``reasons`` of the decision tell what is to be logged as an override.
        """
        for entry in self.before:
            if entry.covers(presentity, watcher):
                return _decision(entry, "before")
        decision = decide(rules, presentity, watcher, context)
        if decision.source in ("none", "default"):
            for entry in self.after:
                if entry.covers(presentity, watcher):
                    return _after(entry, decision)
        return decision

    def explain(
        self, rules: RuleSet, presentity: frozenset[str], watcher: Watcher, context: Context
    ) -> tuple[Finding, ...]:
        """All entries and rules as they are asked, with what became of each in :meth:`decide`."""
        before = _findings(self.before, "before", presentity, watcher)
        made = any(finding.used for finding in before)
        found = explain(rules, presentity, watcher, context)
        decision = decide(rules, presentity, watcher, context)
        after = _findings(self.after, "after", presentity, watcher)
        if made or decision.source not in ("none", "default"):
            after = _unused(after)
        if made or any(finding.used for finding in after):
            found = _unused(found)
        return (*before, *found, *after)


def _findings(
    entries: tuple[OverrideEntry, ...],
    place: Literal["before", "after"],
    presentity: frozenset[str],
    watcher: Watcher,
) -> tuple[Finding, ...]:
    """The entries of a list; the first that covers is used."""
    found = []
    used = False
    for entry in entries:
        covers = entry.covers(presentity, watcher)
        conditions = (("is for this watcher and presentity", covers),)
        found.append(Finding(entry.name, entry.handling, covers and not used, conditions, place))
        used = used or covers
    return tuple(found)


def _unused(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(attrs.evolve(finding, used=False) for finding in findings)


def _decision(entry: OverrideEntry, place: str) -> Decision:
    permissions = entry.permissions if entry.handling == "allow" else Permissions.none()
    reason = f"operator list {entry.name} ({place} the rules): {entry.handling}"
    return Decision(entry.handling, permissions, None, (reason,), "override")


def _after(entry: OverrideEntry, decision: Decision) -> Decision:
    """An entry's decision where rules made none; while a list may yet block, no wide one."""
    own = _decision(entry, "after")
    handling, permissions, reasons = own.handling, own.permissions, own.reasons
    if decision.undetermined and VALUES[handling] > VALUES["confirm"]:
        handling, permissions = "confirm", Permissions.none()
        reasons += ("confirm at most until the lists are at hand",)
    return Decision(
        handling, permissions, decision.boundary, reasons, "override", decision.undetermined
    )
