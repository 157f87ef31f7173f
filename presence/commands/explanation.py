"""Why rules decide as they do about a watcher, for people and for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import attrs

from presence.rules.permissions import EVERYTHING

if TYPE_CHECKING:
    from presence.rulereader import Listed
    from presence.rules.decide import Finding
    from presence.rules.foresight import Outlook
    from presence.rules.model import Decision, Watcher
    from presence.rules.permissions import Permissions

__all__ = ["Explanation", "as_json", "as_text", "moment", "outlook_text"]

_TRUTH = {True: "true", False: "false", None: "not known, since a list is not at hand"}
_PLACES = {"before": "operator's list before the rules", "after": "operator's list after the rules"}


@attrs.frozen(slots=True, kw_only=True)
class Explanation:
    """A decision, and what it was made of.

    :ivar findings: every entry and rule that was looked at.
    :ivar outlook: what it will or may be otherwise.
    :ivar documents: names of the documents that count.
    :ivar idle: of those that do not.
    :ivar sphere: that was supposed, or is published.
    :ivar uses_sphere: whether rules ask for it.
    :ivar lists: external lists by anchor.
    :ivar operator: whether the lists and defaults of the operator were taken into account.
    """

    presentity: str
    watcher: Watcher
    decision: Decision
    findings: tuple[Finding, ...]
    outlook: tuple[Outlook, ...]
    documents: tuple[str, ...]
    idle: tuple[str, ...]
    sphere: str | None
    uses_sphere: bool
    lists: Mapping[str, Listed]
    operator: bool

    def holds(self, listed: Listed) -> bool | None:
        """Whether a list holds the watcher; None while it cannot be read."""
        if listed.members is None:
            return None
        return not listed.members.isdisjoint(self.watcher.uris)


def as_text(told: Explanation) -> Iterator[str]:
    """Lines for people: the decision first."""
    yield f"{', '.join(told.watcher.uris)}: {told.decision.handling}"
    for reason in told.decision.reasons:
        yield f"  because {reason}"
    if told.decision.handling == "allow":
        yield f"  sees {', '.join(_seen(told.decision.permissions)) or 'nothing'}"
    for outlook in told.outlook:
        yield f"  {outlook_text(outlook)}"
    if told.documents:
        yield f"rules of {told.presentity}: {', '.join(told.documents)}"
    else:
        yield f"rules of {told.presentity}: none, so that the operator's default decides"
    if told.idle:
        yield f"does not count beside OMA's document: {', '.join(told.idle)}"
    if told.uses_sphere:
        yield f"sphere: {told.sphere or 'none'}"
    for anchor, listed in told.lists.items():
        yield f"list {anchor}: {_members(told, listed)}"
    for finding in told.findings:
        name = f"{_PLACES.get(finding.place, 'rule')} {finding.rule} ({finding.handling})"
        yield f"{name}: {'used' if finding.used else 'not used'}"
        for text, holds in finding.conditions:
            yield f"  {text}: {_TRUTH[holds]}"
    if not told.operator:
        yield "not seen from here: what the operator of the server decides before and after rules"


def _seen(permissions: Permissions) -> Iterator[str]:
    """What permissions let somebody see."""
    for name in ("services", "persons", "devices"):
        members = getattr(permissions, name)
        if members == EVERYTHING:
            yield f"all {name}"
        elif members:
            chosen = sorted(f"{kind} {value}" for kind, value in members)
            yield f"{name} with {' or '.join(chosen)}"
    if permissions.all_attributes:
        yield "with all they say"
        return
    yield from sorted(permissions.attributes)
    if permissions.user_input:
        yield f"user-input ({permissions.user_input.name.lower()})"
    yield from sorted(name.rpartition("}")[2] for name in permissions.unknown)


def _members(told: Explanation, listed: Listed) -> str:
    if listed.members is None:
        return f"cannot be resolved ({', '.join(sorted({p.kind for p in listed.problems}))})"
    held = "one of them" if told.holds(listed) else "none of them"
    return f"{len(listed.members)} members, the watcher is {held}"


def outlook_text(outlook: Outlook) -> str:
    """When it is another decision."""
    if outlook.at is not None:
        when = f"from {moment(outlook.at)} on"
    else:
        when = f"in sphere {outlook.sphere}" if outlook.sphere else "without a sphere"
    return f"{when} it is {outlook.decision.handling}: {'; '.join(outlook.decision.reasons)}"


def moment(seconds: float) -> str:
    """A time in local time, for people; far-off ones in seconds."""
    try:
        return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s after 1970"


def as_json(told: Explanation) -> str:
    """One object with the same."""
    decision = told.decision
    return json.dumps(
        {
            "presentity": told.presentity,
            "watcher": told.watcher.uris[0],
            "decision": decision.handling,
            "source": decision.source,
            "reasons": decision.reasons,
            "undetermined": decision.undetermined,
            "sees": list(_seen(decision.permissions)),
            "outlook": [
                {
                    "decision": outlook.decision.handling,
                    "from": outlook.at,
                    "sphere": outlook.sphere,
                    "reasons": outlook.decision.reasons,
                }
                for outlook in told.outlook
            ],
            "documents": told.documents,
            "idle": told.idle,
            "sphere": told.sphere,
            "lists": {
                anchor: {
                    "members": None if listed.members is None else len(listed.members),
                    "holds": told.holds(listed),
                    "problems": [attrs.asdict(problem) for problem in listed.problems],
                }
                for anchor, listed in told.lists.items()
            },
            "rules": [
                {
                    "id": finding.rule,
                    "place": finding.place,
                    "decision": finding.handling,
                    "used": finding.used,
                    "conditions": dict(finding.conditions),
                }
                for finding in told.findings
            ],
            "operator": told.operator,
        }
    )
