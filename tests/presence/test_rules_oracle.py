"""The product's decisions compared with those of a brute-force evaluator (XDM-171)."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import attrs
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.rules.decide import decide, explain
from presence.rules.document import RuleSet, merge, read_rules
from presence.rules.model import Context, Watcher
from presence.rules.permissions import Permissions, read_permissions
from pysip.uri import canonical_aor
from tests.presence import rules_oracle as oracle

HEAD = (
    '<cp:ruleset xmlns:cp="urn:ietf:params:xml:ns:common-policy"'
    ' xmlns:pr="urn:ietf:params:xml:ns:pres-rules"'
    ' xmlns:ocp="urn:oma:xml:xdm:common-policy"'
    ' xmlns:op="urn:oma:xml:prs:pres-rules" xmlns:x="urn:example:unknown">'
)
START = datetime(2026, 12, 1, tzinfo=UTC)
URIS = [
    "sip:ann@example.com",
    "sip:bob@example.com",
    "sip:joe@example.com",
    "sip:ann@other.example",
    "sip:x@xn--bcher-kva.example",
    "tel:+15550100",
    "sip:+15550100@example.com",
]
WRITTEN = [
    *URIS,
    "sip:ann@EXAMPLE.com;transport=tcp",
    "sip:%62ob@example.com:5070",
    "tel:+1-555-0100",
    "mailto:ann@example.com",
]
DOMAINS = ["example.com", "Example.COM", "other.example", "bücher.example", "b%C3%BCcher.example"]
DOMAINS += ["sub.example.com", "bad..example", ""]
ANCHORS = ["https://x.example/1", "https://x.example/2", "https://x.example/3"]
SPHERES = ["home", "work", "Work", "travel"]
CASES = 10
DOCUMENTS = 1000


class Generator:
    """Makes random rule documents, watchers and situations from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def some(self, choices, most: int) -> list:
        """A few of the choices, perhaps none, perhaps one twice."""
        return [self.random.choice(choices) for _ in range(self.random.randint(0, most))]

    def document(self, number: int) -> str:
        """A rule document."""
        rules = [self.rule(f"d{number}r{one}") for one in range(self.random.randint(0, 7))]
        return f"{HEAD}{''.join(rules)}</cp:ruleset>"

    def rule(self, name: str) -> str:
        """A rule."""
        parts = []
        if self.random.random() < 0.9:
            kinds = [self.identity, self.identity, self.external, self.other, self.anonymous]
            chosen = [self.random.choice(kinds)()] if self.random.random() < 0.85 else []
            if self.random.random() < 0.1:
                chosen.append(self.random.choice(kinds)())
            if self.random.random() < 0.25:
                chosen.append(f'<cp:sphere value="{" ".join(self.some(SPHERES, 3))}"/>')
            for _ in range(self.random.choice((0, 0, 0, 1, 1, 2))):
                chosen.append(self.validity())
            if self.random.random() < 0.04:
                chosen.append("<x:full-moon/>")
            self.random.shuffle(chosen)
            parts.append(f"<cp:conditions>{''.join(chosen)}</cp:conditions>")
        if self.random.random() < 0.9:
            handling = self.random.choice(("", "block", "confirm", "polite-block", "allow"))
            action = f"<pr:sub-handling>{handling}</pr:sub-handling>" if handling else ""
            parts.append(f"<cp:actions>{action}</cp:actions>")
        if self.random.random() < 0.6:
            parts.append(f"<cp:transformations>{self.transformations()}</cp:transformations>")
        return f'<cp:rule id="{name}">{"".join(parts)}</cp:rule>'

    def identity(self) -> str:
        """An identity condition."""
        members = [f'<cp:one id="{uri}"/>' for uri in self.some(WRITTEN, 2)]
        for _ in range(self.random.choice((0, 0, 1, 1, 2))):
            domain = ""
            if self.random.random() < 0.6:
                domain = f' domain="{self.random.choice(DOMAINS)}"'
            excepts = [f'<cp:except id="{uri}"/>' for uri in self.some(WRITTEN, 2)]
            excepts += [f'<cp:except domain="{one}"/>' for one in self.some(DOMAINS, 1)]
            if self.random.random() < 0.1:
                uri, place = self.random.choice(WRITTEN), self.random.choice(DOMAINS)
                excepts.append(f'<cp:except id="{uri}" domain="{place}"/>')
            members.append(f"<cp:many{domain}>{''.join(excepts)}</cp:many>")
        if not members or self.random.random() < 0.05:
            members.append("<x:somebody/>")
        return f"<cp:identity>{''.join(members)}</cp:identity>"

    def external(self) -> str:
        """An external-list condition."""
        entries = "".join(f'<ocp:entry anc="{anchor}"/>' for anchor in self.some(ANCHORS, 2))
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
        return START + timedelta(hours=self.random.randint(0, 8))

    def transformations(self) -> str:
        """Some permissions."""
        choices = [
            "<pr:provide-services><pr:all-services/></pr:provide-services>",
            "<pr:provide-services><pr:class>a</pr:class><op:service-id>b</op:service-id>"
            "</pr:provide-services>",
            "<pr:provide-services><pr:service-uri-scheme>sip</pr:service-uri-scheme>"
            "</pr:provide-services>",
            "<pr:provide-persons><pr:occurrence-id>p1</pr:occurrence-id></pr:provide-persons>",
            "<pr:provide-persons><pr:all-persons/></pr:provide-persons>",
            "<pr:provide-devices><pr:deviceID>urn:x</pr:deviceID></pr:provide-devices>",
            "<pr:provide-mood>true</pr:provide-mood>",
            "<pr:provide-mood>false</pr:provide-mood>",
            "<pr:provide-note>1</pr:provide-note>",
            "<op:provide-willingness>true</op:provide-willingness>",
            "<op:provide-geopriv>full</op:provide-geopriv>",
            "<pr:provide-user-input>bare</pr:provide-user-input>",
            "<pr:provide-user-input>thresholds</pr:provide-user-input>",
            '<pr:provide-unknown-attribute name="n" ns="urn:n">true</pr:provide-unknown-attribute>',
            "<pr:provide-all-attributes/>",
            "<x:provide-everything>true</x:provide-everything>",
        ]
        found = self.some(choices[:-2], 4)
        if self.random.random() < 0.15:
            found.append(self.random.choice(choices[-2:]))
        # each permission once, as in a valid document
        return "".join({one.partition(">")[0]: one for one in found}.values())

    def case(self) -> oracle.Case:
        """A watcher and a situation."""
        lists: dict[str, list[str] | None] = {}
        for anchor in ANCHORS:
            if self.random.random() < 0.9:
                lists[anchor] = None if self.random.random() < 0.2 else self.some(URIS, 4)
        return oracle.Case(
            oma=self.random.random() < 0.6,
            presentity=["sip:joe@example.com", "tel:+15550199"],
            watcher=self.some(URIS, 2) if self.random.random() < 0.9 else [],
            anonymous=self.random.random() < 0.2,
            switch=self.random.random() < 0.7,
            now=self.time() + timedelta(minutes=self.random.choice((0, 0, 30))),
            sphere=self.random.choice([None, *SPHERES]),
            lists=lists,
        )


def ask(rules: RuleSet, case: oracle.Case) -> tuple:
    """The product's decision on a case, and what it tells of the rules."""
    members = {
        anchor: None if found is None else frozenset(map(canonical_aor, found))
        for anchor, found in case.lists.items()
    }
    watcher = Watcher(tuple(map(canonical_aor, case.watcher)), case.anonymous)
    context = Context(case.now.timestamp(), case.sphere, members.get, case.switch)
    presentity = frozenset(case.presentity)
    return (
        decide(rules, presentity, watcher, context),
        explain(rules, presentity, watcher, context),
    )


class OracleTests(SynchronousTestCase):
    """Product and oracle say the same."""

    def test_agree(self) -> None:
        """XDM-171: ten thousand random cases have the decision that a plain reading gives.

        XDM-117: neither does it change before the boundary that it tells.
        """
        seen: set[tuple[str, bool]] = set()
        for seed in range(DOCUMENTS):
            generator = Generator(seed)
            texts = [generator.document(one) for one in range(generator.random.choice((1, 1, 2)))]
            trees = [etree.fromstring(text) for text in texts]
            compiled = {
                flavour: merge([read_rules(text.encode(), flavour) for text in texts])
                for flavour in ("oma", "ietf")
            }
            for number in range(CASES):
                case = generator.case()
                rules = compiled["oma" if case.oma else "ietf"]
                decision, findings = ask(rules, case)
                handling, granted, used = oracle.decide(trees, case)
                about = f"seed {seed}: {case}\n{texts}\n{decision}"
                self.assertEqual(decision.handling, handling, about)
                wanted = Permissions.all() if granted is None else read_permissions(granted)
                self.assertEqual(decision.permissions, wanted, about)
                told = [finding.rule for finding in findings if finding.used]
                self.assertEqual(told, used, about)
                if number % 3 == 0:
                    self.check_boundary(trees, case, decision, about)
                seen.add((handling, case.oma))
        self.assertEqual(len(seen), 8)

    def check_boundary(self, trees, case: oracle.Case, decision, about: str) -> None:
        """The oracle's decision is the same at every time of the document before it."""
        now = oracle.decide(trees, case)
        later = sorted(
            {
                oracle.moment(one.text or "")
                for tree in trees
                for one in tree.iter(f"{oracle.CP}from", f"{oracle.CP}until")
            }
        )
        for time in later:
            if time <= case.now:
                continue
            if decision.boundary is not None and time.timestamp() >= decision.boundary:
                break
            then = oracle.decide(trees, attrs.evolve(case, now=time))
            self.assertEqual((then[0], then[2]), (now[0], now[2]), about)
