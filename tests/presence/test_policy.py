"""Tests of :mod:`presence.policy`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from presence.interfaces import IWatcherPolicy
from presence.policy import OperatorWatcherPolicy
from pysip.interfaces import Identity

BOB = "sip:bob@home.example"
ALICE = Identity(("sip:alice@home.example",), source="digest")
NOBODY = Identity(())


class OperatorWatcherPolicyTests(SynchronousTestCase):
    """The decision where the presentity has no rules (RUL-02)."""

    def test_interface(self) -> None:
        """The policy provides IWatcherPolicy."""
        self.assertTrue(verifyObject(IWatcherPolicy, OperatorWatcherPolicy()))

    def test_default(self) -> None:
        """RUL-02: without configuration a watcher has to be confirmed."""
        self.assertEqual(OperatorWatcherPolicy().decide(BOB, ALICE).handling, "confirm")

    def test_each_decision(self) -> None:
        """CLI-04: the operator's default decides, whichever it is."""
        for decision in ("allow", "confirm", "block", "polite-block"):
            policy = OperatorWatcherPolicy(decision)
            self.assertEqual(policy.decide(BOB, ALICE).handling, decision)

    def test_domain(self) -> None:
        """A domain's own decision goes before the general one, in any letter case."""
        policy = OperatorWatcherPolicy("allow", {"Home.Example": "block"})
        self.assertEqual(policy.decide(BOB, ALICE).handling, "block")
        self.assertEqual(policy.decide("sip:home.example", ALICE).handling, "block")
        self.assertEqual(policy.decide("sip:bob@other.example", ALICE).handling, "allow")
        self.assertEqual(policy.decide("tel:+15550100", ALICE).handling, "allow")

    def test_own_identity(self) -> None:
        """PSV-14: a presentity sees itself whatever the default, by any proven URI."""
        policy = OperatorWatcherPolicy("block", anonymous="block")
        self.assertEqual(policy.decide(BOB, Identity((BOB,))).handling, "allow")
        self.assertEqual(policy.decide(BOB, Identity(("tel:+15550100", BOB))).handling, "allow")
        self.assertEqual(policy.decide(BOB, Identity((BOB,), anonymous=True)).handling, "allow")

    def test_alias(self) -> None:
        """PSV-14, PSV-16: the other identities of the user are its own, too."""
        policy = OperatorWatcherPolicy("block", identities=lambda presentity: {BOB, *ALICE.uris})
        self.assertEqual(policy.decide(BOB, ALICE).handling, "allow")
        self.assertEqual(policy.decide(BOB, Identity(("sip:eve@home.example",))).handling, "block")

    def test_anonymous(self) -> None:
        """XDM-118: no proven identity, or one asked to be withheld, has its own decision."""
        policy = OperatorWatcherPolicy("allow", anonymous="polite-block")
        self.assertEqual(policy.decide(BOB, NOBODY).handling, "polite-block")
        withheld = Identity(ALICE.uris, anonymous=True)
        self.assertEqual(policy.decide(BOB, withheld).handling, "polite-block")
        self.assertEqual(policy.decide(BOB, ALICE).handling, "allow")

    def test_anonymous_as_others(self) -> None:
        """Without a decision for them, anonymous watchers are like others."""
        self.assertEqual(OperatorWatcherPolicy("allow").decide(BOB, NOBODY).handling, "allow")
