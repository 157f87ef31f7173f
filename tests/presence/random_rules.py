"""Random rule documents, from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import attrs

from tests.presence.publications import CLASSES, CONTACTS, DEVICES, SERVICE_IDS

HEAD = (
    '<cp:ruleset xmlns:cp="urn:ietf:params:xml:ns:common-policy"'
    ' xmlns:pr="urn:ietf:params:xml:ns:pres-rules"'
    ' xmlns:ocp="urn:oma:xml:xdm:common-policy"'
    ' xmlns:op="urn:oma:xml:prs:pres-rules" xmlns:x="urn:example:unknown">'
)
START = datetime(2026, 12, 1, tzinfo=UTC)
URIS = (
    "sip:ann@example.com",
    "sip:bob@example.com",
    "sip:joe@example.com",
    "sip:ann@other.example",
    "sip:x@xn--bcher-kva.example",
    "tel:+15550100",
    "sip:+15550100@example.com",
)
WRITTEN = (
    *URIS,
    "sip:ann@EXAMPLE.com;transport=tcp",
    "sip:%62ob@example.com:5070",
    "tel:+1-555-0100",
    "mailto:ann@example.com",
)
DOMAINS = (
    *("example.com", "Example.COM", "other.example", "bücher.example", "b%C3%BCcher.example"),
    *("sub.example.com", "bad..example", ""),
)
ANCHORS = ("https://x.example/1", "https://x.example/2", "https://x.example/3")
HANDLINGS = ("", "block", "confirm", "polite-block", "allow")
SPHERES = ("home", "work", "Work", "travel")

_BOOLEANS = (
    *("pr:activities", "pr:class", "pr:deviceID", "pr:mood", "pr:place-is", "pr:place-type"),
    *("pr:privacy", "pr:relationship", "pr:sphere", "pr:status-icon", "pr:time-offset"),
    *("pr:note", "op:willingness", "op:network-availability", "op:session-participation"),
    *("op:registration-state", "op:barring-state"),
)


@attrs.frozen
class Choices:
    """What documents are made of.

    :ivar written: URIs of watchers.
    :ivar domains: their domains.
    :ivar anchors: external lists.
    :ivar strict: keep to what the OMA usage permits (XDM-96, XDM-97) and to the schema.
    :ivar always: further exceptions of each ``many``, written in XML.
    :ivar more: how many times more often rules allow than anything else.
    :ivar timed: whether rules are valid at times of one day.
    """

    written: Sequence[str] = WRITTEN
    domains: Sequence[str] = DOMAINS
    anchors: Sequence[str] = ANCHORS
    strict: bool = False
    always: str = ""
    more: int = 0
    timed: bool = True


class RandomRules:
    """Makes rule documents."""

    def __init__(self, source: random.Random, choices: Choices | None = None) -> None:
        self.random = source
        self.choices = choices or Choices()

    def some(self, choices: Sequence[str], most: int) -> list[str]:
        """A few of the choices, perhaps none, perhaps one twice."""
        return [self.random.choice(choices) for _ in range(self.random.randint(0, most))]

    def document(self, number: int, *more: str) -> str:
        """A rule document.

        :param number: of the document: its rules have no ids in common with others.
        :param more: further rules.
        """
        rules = [self.rule(f"d{number}r{one}") for one in range(self.random.randint(0, 7))]
        return f"{HEAD}{''.join((*rules, *more))}</cp:ruleset>"

    def rule(self, name: str) -> str:
        """A rule."""
        parts = []
        named = False
        if self.random.random() < 0.9:
            kinds = [self.identity, self.identity, self.external, self.other, self.anonymous]
            chosen = [self.random.choice(kinds)()] if self.random.random() < 0.85 else []
            named = bool(chosen)
            if self.random.random() < 0.1 and not self.choices.strict:
                chosen.append(self.random.choice(kinds)())
            if self.random.random() < 0.25:
                chosen.append(f'<cp:sphere value="{" ".join(self.some(SPHERES, 3))}"/>')
            for _ in range(self.random.choice((0, 0, 0, 1, 1, 2))):
                chosen.append(self.validity())
            if self.random.random() < 0.04:
                chosen.append("<x:full-moon/>")
            self.random.shuffle(chosen)
            parts.append(f"<cp:conditions>{''.join(chosen)}</cp:conditions>")
        strict = self.choices.strict
        handling = ""
        if self.random.random() < 0.9:
            handling = self.random.choice(HANDLINGS + HANDLINGS[-1:] * self.choices.more)
            action = f"<pr:sub-handling>{handling}</pr:sub-handling>" if handling else ""
            parts.append(f"<cp:actions>{action}</cp:actions>")
        if self.random.random() < (0.95 if strict else 0.6) and (handling == "allow" or not strict):
            whole = named or not strict
            parts.append(f"<cp:transformations>{self.transformations(whole)}</cp:transformations>")
        return f'<cp:rule id="{name}">{"".join(parts)}</cp:rule>'

    def identity(self) -> str:
        """An identity condition."""
        written, domains = self.choices.written, self.choices.domains
        members = [f'<cp:one id="{uri}"/>' for uri in self.some(written, 2)]
        for _ in range(self.random.choice((0, 0, 1, 1, 2))):
            domain = ""
            if self.random.random() < 0.6:
                domain = f' domain="{self.random.choice(domains)}"'
            excepts = [f'<cp:except id="{uri}"/>' for uri in self.some(written, 2)]
            excepts += [f'<cp:except domain="{one}"/>' for one in self.some(domains, 1)]
            if self.random.random() < 0.1:
                uri, place = self.random.choice(written), self.random.choice(domains)
                excepts.append(f'<cp:except id="{uri}" domain="{place}"/>')
            members.append(f"<cp:many{domain}>{''.join(excepts)}{self.choices.always}</cp:many>")
        if not members or self.random.random() < 0.05:
            members.append("<x:somebody/>")
        return f"<cp:identity>{''.join(members)}</cp:identity>"

    def external(self) -> str:
        """An external-list condition."""
        anchors = self.some(self.choices.anchors, 2)
        entries = "".join(f"<ocp:entry anc='{anchor}'/>" for anchor in anchors)
        return f"<ocp:external-list>{entries}</ocp:external-list>"

    def other(self) -> str:
        """The catch-all."""
        return "<ocp:other-identity/>"

    def anonymous(self) -> str:
        """The condition on anonymous requests."""
        return "<ocp:anonymous-request/>"

    def validity(self) -> str:
        """One or two spans, which may overlap or be empty."""
        spans = []
        for _ in range(self.random.randint(1, 2)):
            since, until = (self.time().isoformat() for _ in range(2))
            spans.append(f"<cp:from>{since}</cp:from><cp:until>{until}</cp:until>")
        return f"<cp:validity>{''.join(spans)}</cp:validity>"

    def time(self) -> datetime:
        """One of few times, so that some are equal."""
        if self.choices.timed:
            return START + timedelta(hours=self.random.randint(0, 8))
        return START.replace(year=self.random.choice((2001, 2101)))

    def transformations(self, whole: bool = True) -> str:
        """Some permissions, each once.

        :param whole: whether all attributes may be among them.
        """
        shares = self.random.choice((0.1, 0.4, 0.8))
        found = []
        for name, everyone, kinds in (
            ("services", "all-services", self.services),
            ("persons", "all-persons", self.persons),
            ("devices", "all-devices", self.devices),
        ):
            if self.random.random() < 0.6:
                inner = f"<pr:{everyone}/>" if self.random.random() < 0.4 else kinds()
                found.append(f"<pr:provide-{name}>{inner}</pr:provide-{name}>")
        for name in _BOOLEANS:
            if self.random.random() < shares:
                element = name.replace(":", ":provide-")
                text = self.random.choice(("true", "1", "true", "false"))
                found.append(f"<{element}>{text}</{element}>")
        if self.random.random() < shares:
            level = self.random.choice(("false", "bare", "thresholds", "full"))
            found.append(f"<pr:provide-user-input>{level}</pr:provide-user-input>")
        if self.random.random() < shares:
            text = self.random.choice(("false", "full"))
            found.append(f"<op:provide-geopriv>{text}</op:provide-geopriv>")
        for name in "ab":
            if self.random.random() < shares / 2:
                found.append(self.unknown(name, "urn:example:extension"))
        if self.random.random() < 0.1:
            # it has a permission of its own, which this is not (XDM-144)
            found.append(self.unknown("mood", "urn:ietf:params:xml:ns:pidf:rpid"))
        if whole and self.random.random() < 0.08:
            found.append("<pr:provide-all-attributes/>")
        if self.random.random() < 0.05:
            found.append("<x:provide-everything>true</x:provide-everything>")
        return "".join(found)

    def unknown(self, name: str, namespace: str) -> str:
        """The permission for an unknown attribute."""
        attributes = f'name="{name}" ns="{namespace}"'
        text = self.random.choice(("true", "true", "false"))
        return f"<pr:provide-unknown-attribute {attributes}>{text}</pr:provide-unknown-attribute>"

    def services(self) -> str:
        """Members of a set of services."""
        return self.members(
            *(f"<pr:service-uri>{uri}</pr:service-uri>" for uri in CONTACTS),
            *(f"<pr:service-uri-scheme>{s}</pr:service-uri-scheme>" for s in ("sip", "tel", "SIP")),
            *(f"<op:service-id>{one}</op:service-id>" for one in SERVICE_IDS),
        )

    def persons(self) -> str:
        """Members of a set of persons."""
        return self.members()

    def devices(self) -> str:
        """Members of a set of devices."""
        written = (*DEVICES, *(uri.lower() for uri in DEVICES))
        return self.members(*(f"<pr:deviceID>{uri}</pr:deviceID>" for uri in written))

    def members(self, *more: str) -> str:
        """Some members of a set, perhaps none."""
        ids = [f"{sort}{number}" for sort in "spd" for number in range(2)]
        common = [f"<pr:occurrence-id>{one}</pr:occurrence-id>" for one in ids]
        common += [f"<pr:class>{one}</pr:class>" for one in CLASSES]
        return "".join(self.some([*common, *more, *more], 3))
