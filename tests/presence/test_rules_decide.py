"""Tests of :mod:`presence.rules.decide` and of conditions; most cases are vectors and oracle."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from presence.rules.conditions import domain_key, domain_of, identity_key
from presence.rules.decide import decide, explain
from presence.rules.document import read_rules
from presence.rules.model import Context, Watcher, highest
from presence.rules.permissions import Permissions
from presence.rules.ruleset import Rule
from presence.rules.times import instant
from tests.presence.random_rules import HEAD

VECTORS = Path(__file__).parent.parent / "vectors" / "rules"
JOE = frozenset({"sip:joe@example.com"})
ANN = Watcher(("sip:ann@example.com",))
GRANTED, POLITE = "https://xcap.example.com/granted", "https://xcap.example.com/polite"
EMPTY = "https://xcap.example.com/empty"


class DecideTests(SynchronousTestCase):
    """What a decision tells besides the handling."""

    def test_highest(self) -> None:
        """XDM-135, RUL-01: the maximum of block, confirm, polite-block, allow; else block."""
        self.assertEqual(highest([]), "block")
        self.assertEqual(highest(["confirm", "block"]), "confirm")
        self.assertEqual(highest(["confirm", "polite-block"]), "polite-block")
        self.assertEqual(highest(["allow", "polite-block"]), "allow")

    def test_reasons(self) -> None:
        """PSV-11: a decision tells the rules it is made of, and their conditions."""
        rules = read_rules((VECTORS / "document-b.xml").read_bytes(), "ietf")
        decision = decide(rules, JOE, ANN, Context(0.0, "work"))
        self.assertEqual(
            decision.reasons,
            (
                "rule r1 (identity many): allow",
                "rule r2 (sphere office or work, identity one): confirm",
            ),
        )
        nobody = decide(rules, JOE, Watcher(), Context(0.0))
        self.assertEqual(nobody.reasons, ("no rule matches",))

    def test_missing_list(self) -> None:
        """XDM-123: a list that is not at hand is told, and that the decision hangs on it."""
        rules = read_rules((VECTORS / "document-d.xml").read_bytes(), "oma")
        lists = {GRANTED: frozenset(["sip:bob@example.com"]), EMPTY: frozenset[str]()}
        decision = decide(rules, JOE, ANN, Context(0.0, None, lists.get))
        self.assertEqual(
            decision.reasons,
            (
                "rule rest (other-identity): allow",
                "rule polite: a list is not at hand",
                "confirm at most until the lists are at hand",
            ),
        )
        self.assertEqual((decision.handling, decision.undetermined), ("confirm", True))
        self.assertEqual(decision.permissions, Permissions.none())
        lists[POLITE] = frozenset()
        decision = decide(rules, JOE, ANN, Context(0.0, None, lists.get))
        self.assertEqual((decision.handling, decision.undetermined), ("allow", False))

    def test_only_what_is_needed(self) -> None:
        """XDM-173: of a watcher whom an identity rule names, OMA's rules ask no list."""
        rules = read_rules((VECTORS / "document-d.xml").read_bytes(), "oma")
        asked: list[str] = []
        mallory = Watcher(("sip:mallory@example.com",))
        decide(rules, JOE, mallory, Context(0.0, None, asked.append))
        decide(rules, JOE, Watcher(), Context(0.0, None, asked.append))
        self.assertEqual(asked, [])
        decide(rules, JOE, ANN, Context(0.0, None, asked.append))
        self.assertEqual(sorted(asked), [EMPTY, GRANTED, POLITE])

    def test_index(self) -> None:
        """XDM-173: of 200 rules with lists of 500 entries those are looked at that may match."""
        rules = [
            f'<cp:rule id="n{n}"><cp:conditions><cp:identity><cp:one id="sip:n{n}@example.com"/>'
            f'<cp:many domain="d{n}.example"/></cp:identity></cp:conditions></cp:rule>'
            f'<cp:rule id="l{n}"><cp:conditions><ocp:external-list><ocp:entry anc="https://x/{n}"/>'
            "</ocp:external-list></cp:conditions></cp:rule>"
            for n in range(100)
        ]
        lists = {
            f"https://x/{n}": frozenset(f"sip:l{n}x{m}@example.com" for m in range(500))
            for n in range(100)
        }
        text = f"{HEAD}{''.join(rules)}</cp:ruleset>"
        context = Context(0.0, None, lists.get)
        for flavour in ("oma", "ietf"):
            compiled = read_rules(text.encode(), flavour)
            for uri, expected in (
                ("sip:n7@example.com", 1),
                ("sip:x@d7.example", 1),
                ("sip:l7x499@example.com", 1),
                ("sip:eve@example.com", 0),
            ):
                with mock.patch.object(Rule, "test", autospec=True, return_value=True) as tested:
                    found = decide(compiled, JOE, Watcher((uri,)), context)
                self.assertEqual((tested.call_count, len(found.reasons)), (expected, 1), uri)

    def test_only_allowed_see(self) -> None:
        """PBK-08, RUL-03: transformations count for nothing unless the watcher is allowed."""
        text = (VECTORS / "document-b.xml").read_text()
        for value in ("block", "confirm", "polite-block"):
            octets = text.replace(">allow<", f">{value}<").encode()
            decision = decide(read_rules(octets, "ietf"), JOE, ANN, Context(0.0, "work"))
            self.assertEqual(decision.permissions, Permissions.none())
        decision = decide(read_rules(text.encode(), "ietf"), JOE, ANN, Context(0.0, "work"))
        self.assertNotEqual(decision.permissions, Permissions.none())

    def test_shared(self) -> None:
        """RUL-26: watchers by the same rules have the very same permissions."""
        rules = read_rules((VECTORS / "document-b.xml").read_bytes(), "ietf")
        one, other = (
            decide(rules, JOE, Watcher((uri,)), Context(0.0, "home"))
            for uri in ("sip:ann@example.com", "sip:joe@example.com")
        )
        self.assertEqual(one.permissions, other.permissions)
        again = decide(rules, JOE, ANN, Context(1.0, "home"))
        self.assertIs(one.permissions, again.permissions)

    def test_boundary(self) -> None:
        """XDM-117: only the validity of rules for this watcher in this sphere tells a time."""
        rules = read_rules((VECTORS / "document-f.xml").read_bytes(), "ietf")
        bob = Watcher(("sip:bob@example.com",))
        now = instant("2003-12-22T12:00:00Z")
        for watcher, sphere, wanted in (
            (bob, "work", "2003-12-22T17:00:00+01:00"),
            (bob, "home", "2003-12-24T17:00:00+01:00"),
            (bob, None, None),
            (Watcher(("sip:eve@example.com",)), "work", None),
            (Watcher(), "work", None),
        ):
            found = decide(rules, JOE, watcher, Context(now, sphere)).boundary
            self.assertEqual(found, None if wanted is None else instant(wanted))

    def test_boundary_of_own(self) -> None:
        """XDM-117, XDM-138: a rule may come to speak about the presentity itself."""
        text = (VECTORS / "document-c.xml").read_text().replace("sip:ann@", "sip:joe@")
        rules = read_rules(text.encode(), "oma")
        own = Watcher(tuple(JOE))
        before = decide(rules, JOE, own, Context(instant("2026-12-01T00:00:00Z")))
        self.assertEqual((before.source, before.boundary), ("own", instant("2026-12-01T08:00:00Z")))
        then = decide(rules, JOE, own, Context(instant("2026-12-01T08:00:00Z")))
        self.assertEqual(then.source, "rules")

    def test_explain(self) -> None:
        """PSV-11: every rule can be explained, also why it has no say."""
        rules = read_rules((VECTORS / "document-a.xml").read_bytes(), "oma")
        bob = Watcher(("sip:bob@example.com",))
        members = frozenset({"sip:bob@example.com"})
        findings = explain(rules, JOE, bob, Context(0.0, None, lambda anchor: members))
        self.assertEqual(
            [(one.rule, one.handling, one.used, one.conditions) for one in findings],
            [
                ("wp_prs_block_anonymous", "block", False, (("anonymous-request", False),)),
                ("bob", "polite-block", True, (("identity one", True),)),
                ("wp_prs_grantedcontacts", "allow", False, (("external-list", True),)),
                ("wp_prs_unlisted", "confirm", False, (("other-identity", False),)),
            ],
        )
        rules = read_rules((VECTORS / "document-c.xml").read_bytes(), "oma")
        findings = explain(rules, JOE, ANN, Context(0.0))
        self.assertEqual(
            [one.conditions for one in findings],
            [
                (("identity one", True), ("validity", False)),
                (("identity many", True), ("full-moon (not understood)", False)),
                (),
            ],
        )


class KeyTests(SynchronousTestCase):
    """How identities and domains compare."""

    def test_domains(self) -> None:
        """XDM-114: percent-decoded, by ToASCII, label by label, without regard to case."""
        for text, wanted in (
            ("example.com", "example.com"),
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("ex%61mple.com", "example.com"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("b%C3%BCcher.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva。example", "xn--bcher-kva.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("a_b.example", "a_b.example"),
            ("", None),
            (".", None),
            ("a..b", None),
            (".example", None),
            ("%ff.example", None),
            ("a" * 64 + ".example", None),
            ("é" * 64 + ".example", None),
            ("example\u2024com", None),  # one dot leader, which normalises to a full stop
            ("é." * 5000, None),
        ):
            self.assertEqual(domain_key(text), wanted, text)

    def test_domains_of_uris(self) -> None:
        """XDM-114: a telephone number has no domain, not even in its context."""
        self.assertEqual(domain_of("sip:ann@example.com"), "example.com")
        self.assertEqual(domain_of("sip:example.com"), "example.com")
        self.assertEqual(domain_of("sip:ann@[2001:db8::1]"), "[2001:db8::1]")
        self.assertIsNone(domain_of("tel:+15550100"))
        self.assertIsNone(domain_of("tel:100;phone-context=example.com"))

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Any text has a key, or none."""
        for found in (domain_key(text), identity_key(text), identity_key(f"sip:{text}@x")):
            self.assertTrue(found is None or found.isascii())
