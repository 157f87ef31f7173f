"""Tests of :mod:`presence.rules.override` (XDM-139, PSV-11)."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from presence.rules.decide import decide
from presence.rules.defaults import default_rules
from presence.rules.document import read_rules
from presence.rules.model import Context, Watcher
from presence.rules.override import Override, OverrideEntry
from presence.rules.permissions import Permissions
from presence.rules.times import instant

VECTORS = Path(__file__).parent.parent / "vectors" / "rules"
JOE = frozenset({"sip:joe@example.com"})
ANN = Watcher(("sip:ann@example.com",))
EVE = Watcher(("sip:eve@other.example",))
OWN = Watcher(tuple(JOE))
NOBODY = Watcher()
NOW = Context(0.0)


class OverrideTests(SynchronousTestCase):
    """The operator's lists around rules."""

    def setUp(self) -> None:
        """Rules that allow anybody of example.com, but the boss."""
        self.rules = read_rules((VECTORS / "document-b.xml").read_bytes(), "ietf")

    def test_none(self) -> None:
        """XDM-139: without lists the rules decide."""
        for watcher in (ANN, EVE, OWN, NOBODY):
            self.assertEqual(
                Override().decide(self.rules, JOE, watcher, NOW),
                decide(self.rules, JOE, watcher, NOW),
            )

    def test_before(self) -> None:
        """XDM-139, PSV-11: what stands before the rules wins, in both directions, and is told."""
        override = Override(
            before=(
                OverrideEntry("denied", "block", uris=frozenset(ANN.uris)),
                OverrideEntry("police", "allow", uris=frozenset(EVE.uris)),
            )
        )
        denied = override.decide(self.rules, JOE, ANN, NOW)
        self.assertEqual((denied.handling, denied.source), ("block", "override"))
        self.assertEqual(denied.reasons, ("operator list denied (before the rules): block",))
        allowed = override.decide(self.rules, JOE, EVE, NOW)
        self.assertEqual((allowed.handling, allowed.source), ("allow", "override"))
        self.assertEqual(allowed.permissions, Permissions.all())
        hidden = override.decide(self.rules, JOE, Watcher(ANN.uris, True), NOW)
        self.assertEqual(hidden.handling, "block")

    def test_order(self) -> None:
        """XDM-139: the first entry of a list that covers the watcher decides."""
        override = Override(
            before=(
                OverrideEntry("a", "confirm", uris=frozenset(ANN.uris)),
                OverrideEntry("b", "block", everybody=True),
            )
        )
        self.assertEqual(override.decide(self.rules, JOE, ANN, NOW).handling, "confirm")
        self.assertEqual(override.decide(self.rules, JOE, EVE, NOW).handling, "block")
        self.assertEqual(override.decide(self.rules, JOE, NOBODY, NOW).handling, "block")

    def test_after(self) -> None:
        """XDM-139: what stands after the rules decides only where they say nothing."""
        seen = Permissions(persons=Permissions.all().persons)
        entry = OverrideEntry("rest", "allow", everybody=True, permissions=seen)
        override = Override(after=(entry,))
        self.assertEqual(override.decide(self.rules, JOE, ANN, NOW).source, "rules")
        decision = override.decide(self.rules, JOE, EVE, NOW)
        self.assertEqual((decision.handling, decision.source), ("allow", "override"))
        self.assertEqual(decision.permissions, seen)
        self.assertEqual(decision.reasons, ("operator list rest (after the rules): allow",))
        unruled = override.decide(default_rules("block"), JOE, EVE, NOW)
        self.assertEqual(unruled.source, "override")
        blocked = read_rules((VECTORS / "document-d.xml").read_bytes(), "oma")
        mallory = Watcher(("sip:mallory@example.com",))
        self.assertEqual(override.decide(blocked, JOE, mallory, NOW).handling, "block")

    def test_after_boundary(self) -> None:
        """XDM-117, XDM-139: a rule may come to speak later, which is told."""
        rules = read_rules((VECTORS / "document-f.xml").read_bytes(), "ietf")
        override = Override(after=(OverrideEntry("rest", "confirm", everybody=True),))
        now = Context(instant("2003-12-24T00:00:00Z"), "work")
        decision = override.decide(rules, JOE, Watcher(("sip:bob@example.com",)), now)
        self.assertEqual(decision.handling, "confirm")
        self.assertEqual(decision.boundary, instant("2003-12-24T17:00:00+01:00"))

    def test_after_undetermined(self) -> None:
        """XDM-123, XDM-139: while a list of the rules is not at hand, none is let in for that."""
        text = (VECTORS / "document-a.xml").read_text().replace("other-identity", "other-moon")
        rules = read_rules(text.encode(), "oma")
        override = Override(after=(OverrideEntry("rest", "allow", everybody=True),))
        decision = override.decide(rules, JOE, EVE, NOW)
        self.assertEqual((decision.handling, decision.undetermined), ("confirm", True))
        self.assertEqual(decision.permissions, Permissions.none())
        known = Context(0.0, None, lambda anchor: frozenset())
        self.assertEqual(override.decide(rules, JOE, EVE, known).handling, "allow")

    def test_domains(self) -> None:
        """PSV-11: a domain of watchers, of presentities."""
        entry = OverrideEntry("d", "block", domains=frozenset({"example.com"}))
        self.assertTrue(entry.covers(JOE, ANN))
        self.assertFalse(entry.covers(JOE, EVE))
        self.assertFalse(entry.covers(JOE, Watcher(("tel:+15550100",))))
        self.assertFalse(entry.covers(JOE, NOBODY))
        entry = OverrideEntry(
            "d", "block", everybody=True, presentity_domains=frozenset({"example.com"})
        )
        self.assertTrue(entry.covers(JOE, EVE))
        self.assertFalse(entry.covers(frozenset({"sip:x@other.example"}), EVE))
        entry = OverrideEntry("p", "block", everybody=True, presentities=JOE)
        self.assertTrue(entry.covers(JOE, EVE))
        self.assertFalse(entry.covers(frozenset({"sip:x@example.com"}), EVE))

    def test_anonymous(self) -> None:
        """PSV-11, XDM-118: anonymous watchers have an entry of their own."""
        entry = OverrideEntry("a", "block", anonymous=True)
        self.assertTrue(entry.covers(JOE, NOBODY))
        self.assertTrue(entry.covers(JOE, Watcher(ANN.uris, True)))
        self.assertFalse(entry.covers(JOE, ANN))

    def test_own(self) -> None:
        """PSV-14: a general entry does not keep the presentity from itself; its name does."""
        for entry in (
            OverrideEntry("a", "block", everybody=True),
            OverrideEntry("b", "block", domains=frozenset({"example.com"})),
            OverrideEntry("c", "block", anonymous=True),
        ):
            override = Override(before=(entry,))
            own = override.decide(default_rules(), JOE, Watcher(OWN.uris, True), NOW)
            self.assertEqual((own.handling, own.source), ("allow", "own"))
        override = Override(before=(OverrideEntry("d", "block", uris=JOE),))
        self.assertEqual(override.decide(default_rules(), JOE, OWN, NOW).handling, "block")

    def test_explained(self) -> None:
        """XDM-139: of all entries and rules just those are used that the decision rests on."""
        override = Override(
            (
                OverrideEntry("denied", "block", uris=frozenset(ANN.uris)),
                OverrideEntry("denied too", "block", uris=frozenset(ANN.uris)),
            ),
            (OverrideEntry("rest", "confirm", everybody=True),),
        )
        rules = [rule.id for rule in self.rules.rules]
        for watcher, used in ((ANN, ["denied"]), (EVE, ["rest"]), (OWN, ["r1", "r3"])):
            findings = override.explain(self.rules, JOE, watcher, NOW)
            self.assertEqual([f.rule for f in findings], ["denied", "denied too", *rules, "rest"])
            self.assertEqual([f.rule for f in findings if f.used], used, watcher)
            decision = override.decide(self.rules, JOE, watcher, NOW)
            for name, reason in zip(used, decision.reasons, strict=True):
                self.assertIn(f" {name} ", reason)
