"""Decisions by rules, and what the presence package makes of them (issue 4)."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from presence import views as views_module
from presence.authorization import Defaults, RulesetPolicy
from presence.interfaces import IWatcherPolicy
from presence.lingering import LINGER
from presence.policy import OperatorWatcherPolicy
from presence.rules.model import Decision
from presence.rules.override import Override, OverrideEntry
from presence.rules.permissions import EVERYTHING, Permissions
from pysip.event.records import PublicationRecord
from pysip.event.table import NotifierPolicy
from pysip.header import parse_subscription_state
from pysip.interfaces import Identity
from pysip.timers import TimerWheel
from tests.node import BOB as PRESENTITY
from tests.node import Node, pidf
from tests.presence.rulesources import (
    ANN,
    BOB,
    EVE,
    JOE,
    NUMBER,
    OMA,
    START,
    RuleSourceTestCase,
    one,
    rule,
    ruleset,
)

NOBODY = Identity(())


class PolicyCase(RuleSourceTestCase):
    """Base with a policy on a rule source.

    :ivar changed: presentities whose decisions may be others.
    """

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.wheel = TimerWheel(self.clock)
        self.bodies: list[bytes] = []
        self.policy = RulesetPolicy(
            self.source,
            self.clock,
            self.wheel,
            lambda: START + self.clock.seconds(),
            lambda presentity: [
                PublicationRecord(n, "presence", JOE, "", START, START, START, JOE, "", body)
                for n, body in enumerate(self.bodies)
            ],
            {JOE: JOE, NUMBER: JOE}.get,
            defaults=Defaults("confirm", {"Other.Example": "block"}),
        )
        self.changed: list[str] = []
        self.policy.watch(self.changed.append)

    def tearDown(self) -> None:
        """Nothing is left after the end."""
        self.policy.stop()
        self.wheel.stop()
        super().tearDown()

    def handling(self, *uris: str, presentity: str = JOE, anonymous: bool = False) -> str:
        """The decision on a watcher."""
        return self.policy.decide(presentity, Identity(uris, anonymous=anonymous)).handling

    def news(self) -> list[str]:
        """Of whom the policy has told since this was called last."""
        self.settle()
        told, self.changed[:] = list(self.changed), []
        return told

    def publish(self, sphere: str) -> None:
        """Joe publishes a sphere."""
        self.bodies = [
            b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:joe@example.com">'
            b'<p:person xmlns:p="urn:ietf:params:xml:ns:pidf:data-model" id="p">'
            b'<r:sphere xmlns:r="urn:ietf:params:xml:ns:pidf:rpid">%b</r:sphere>'
            b"</p:person></presence>" % sphere.encode()
        ]
        self.policy.published(JOE)


class DecisionTests(PolicyCase):
    """What decides."""

    def test_interface(self) -> None:
        """It can take the place of the operator's policy."""
        self.assertTrue(verifyObject(IWatcherPolicy, self.policy))

    def test_rules(self) -> None:
        """Rules decide, with what is seen; without a document the default (XDM-150, RUL-02)."""
        self.policy.hold(JOE)
        self.settle()
        self.assertEqual(self.handling(ANN), "confirm")
        self.put(OMA, ruleset(one(ANN)))
        self.assertEqual(self.news(), [JOE])
        decision = self.policy.decide(JOE, Identity((ANN,)))
        self.assertEqual(decision.handling, "allow")
        self.assertEqual(decision.permissions, Permissions.none())
        self.assertEqual(self.handling(BOB), "block")
        self.delete(OMA)
        self.assertEqual(self.news(), [JOE])
        self.assertEqual(self.handling(ANN), "confirm")

    def test_default_of_domain(self) -> None:
        """Each domain has its own default (CLI-04, XDM-150)."""
        self.policy.hold(EVE)
        self.settle()
        self.assertEqual(self.handling(ANN, presentity=EVE), "block")

    def test_own(self) -> None:
        """All identities of the presentity are its own; rules may differ (PSV-14, PSV-16)."""
        self.put(OMA, ruleset(one(ANN)))
        self.policy.hold(JOE)
        self.settle()
        self.assertEqual(self.handling(JOE), "allow")
        self.assertEqual(
            self.policy.decide(JOE, Identity((NUMBER,))).permissions, Permissions.all()
        )
        self.assertEqual(self.handling(BOB), "block")
        self.put(OMA, ruleset(one(NUMBER, handling="block")))
        self.settle()
        self.assertEqual(self.handling(NUMBER), "block")

    def test_override(self) -> None:
        """The operator's lists stand before and after the rules (XDM-139, PSV-11)."""
        self.put(OMA, ruleset(one(ANN)))
        self.policy.hold(JOE)
        self.settle()
        self.policy.override = Override(
            (OverrideEntry("first", "block", uris=frozenset({ANN})),),
            (OverrideEntry("last", "polite-block", everybody=True),),
        )
        with capturedLogs() as logged:
            self.assertEqual(self.handling(ANN), "block")
            self.assertEqual(self.handling(BOB), "polite-block")
            self.assertIn("last", self.policy.decide(JOE, NOBODY).reasons[0])
        # which entry has decided is logged, of whom is not
        told = [formatEvent(event) for event in logged]
        self.assertEqual(told[0], "operator list first (before the rules): block")
        self.assertIn("last", told[1])
        for text in told:
            self.assertNotIn("sip:", text)

    def test_anonymous(self) -> None:
        """Who asks for privacy is anonymous unless the operator says otherwise (XDM-119)."""
        self.put(OMA, ruleset(one(ANN)))
        self.policy.hold(JOE)
        self.settle()
        self.assertEqual(self.handling(ANN, anonymous=True), "block")
        self.policy.privacy_is_anonymous = False
        self.assertEqual(self.handling(ANN, anonymous=True), "allow")

    def test_identities(self) -> None:
        """Only what a request proves counts, all of it: no other alias of the user (PSV-13)."""
        self.put(OMA, ruleset(one(NUMBER)))
        self.policy.hold(JOE)
        self.settle()
        # the account of the watcher has the number, too
        self.policy._account = {JOE: JOE, NUMBER: ANN, ANN: ANN}.get
        self.assertEqual(self.handling(ANN), "block")
        self.assertEqual(self.handling(ANN, NUMBER), "allow")
        self.assertEqual(self.handling(NUMBER), "allow")

    def test_nobody_known(self) -> None:
        """Anonymous watchers match what is for them or for everybody, no others (PSV-13)."""
        for conditions, handling in (
            ("<ocp:anonymous-request/>", "allow"),
            ("", "allow"),
            ("<ocp:other-identity/>", "block"),
            ("<cp:identity><cp:many/></cp:identity>", "block"),
        ):
            self.put(OMA, ruleset(rule(conditions, "allow", "some")))
            self.policy.hold(JOE)
            self.settle()
            decision = self.policy.decide(JOE, Identity((), anonymous=True))
            self.assertEqual(decision.handling, handling, conditions)

    def test_unprepared(self) -> None:
        """Nobody is allowed, or refused, by rules that were not looked at (PSV-08)."""
        self.put(OMA, ruleset(one(ANN)))
        self.assertEqual(self.handling(ANN), "confirm")
        self.assertEqual(self.handling(BOB), "confirm")


class HoldingTests(PolicyCase):
    """Whose rules are at hand."""

    def test_prepared(self) -> None:
        """After a request the rules stay for some seconds, and are gone then (PSV-08)."""
        self.put(OMA, ruleset(one(ANN)))
        self.gate.closed = lambda path: True
        ready = self.policy.prepare(JOE)
        assert ready is not None
        self.settle()
        self.assertNoResult(ready)
        self.gate.release()
        self.settle()
        self.assertIsNone(self.successResultOf(ready))
        self.assertEqual(self.handling(ANN), "allow")
        self.pass_time(LINGER / 2)
        self.assertIsNone(self.policy.prepare(JOE))
        self.pass_time(LINGER / 2 + 1)
        self.assertEqual(self.handling(ANN), "allow")
        self.pass_time(LINGER)
        self.assertEqual(len(self.source), 0)

    def test_held(self) -> None:
        """While somebody watches they stay, and for the last NOTIFY (PSV-10)."""
        self.put(OMA, ruleset(one(ANN)))
        self.policy.prepare(JOE)
        self.policy.hold(JOE)
        self.policy.hold(JOE)
        self.pass_time(3 * LINGER)
        self.assertEqual(self.handling(ANN), "allow")
        self.policy.release(JOE)
        self.policy.release(JOE)
        self.assertEqual(self.handling(ANN), "allow")
        self.put(OMA, ruleset(one(BOB)))
        self.assertEqual(self.news(), [], "nobody watches")
        self.pass_time(LINGER + 1)
        self.assertEqual(len(self.source), 0)
        self.policy.release(EVE)

    def test_many(self) -> None:
        """Requests for ever other presentities do not fill the memory (LIM-01)."""
        with mock.patch("presence.lingering._MOST_LINGERING", 3):
            for number in range(10):
                self.policy.prepare(f"sip:u{number}@example.com")
                self.settle()
            self.assertEqual(len(self.source), 3)


class ChangeTests(PolicyCase):
    """Decisions that change by themselves (RUL-04)."""

    def test_validity(self) -> None:
        """At its boundaries a rule begins and ends to hold (XDM-117)."""
        times = "<cp:from>2023-11-14T22:14:00Z</cp:from><cp:until>2023-11-14T22:15:00Z</cp:until>"
        who = f'<cp:identity><cp:one id="{ANN}"/></cp:identity>'
        valid = f"{who}<cp:validity>{times}</cp:validity>"  # START is 22:13:20
        self.put(OMA, ruleset(rule(valid, "allow", "a"), one(ANN, handling="confirm", name="b")))
        self.policy.hold(JOE)
        self.settle()
        self.assertEqual(self.handling(ANN), "confirm")
        self.pass_time(39)
        self.assertEqual(self.news(), [])
        self.pass_time(2)
        self.assertEqual(self.news(), [JOE])
        self.assertEqual(self.handling(ANN), "allow")
        self.pass_time(60)
        self.assertEqual(self.news(), [JOE])
        self.assertEqual(self.handling(ANN), "confirm")
        self.pass_time(1000)
        self.assertEqual(self.news(), [])

    def test_sphere(self) -> None:
        """Another sphere is other decisions; the same one is no news (XDM-116)."""
        who = f'<cp:identity><cp:one id="{ANN}"/></cp:identity><cp:sphere value="work"/>'
        self.put(OMA, ruleset(rule(who, "allow", "a")))
        self.policy.hold(JOE)
        self.settle()
        self.assertEqual(self.handling(ANN), "block")
        self.publish("work")
        self.assertEqual(self.news(), [JOE])
        self.assertEqual(self.handling(ANN), "allow")
        self.publish("work")
        self.assertEqual(self.news(), [])
        self.publish("home")
        self.assertEqual(self.news(), [JOE])
        self.assertEqual(self.handling(ANN), "block")

    def test_no_sphere(self) -> None:
        """Where no rule asks for it publications are not even read (XDM-173)."""
        self.put(OMA, ruleset(one(ANN)))
        self.policy.hold(JOE)
        self.settle()
        self.bodies = [b"not looked at"]
        self.policy.published(JOE)
        self.assertEqual(self.handling(ANN), "allow")


class Classes(OperatorWatcherPolicy):
    """Watchers in classes by the last digit of their name.

    :ivar decisions: by class.
    """

    def __init__(self, *decisions: Decision) -> None:
        super().__init__()
        self.decisions = decisions

    def decide(self, presentity: str, watcher: Any) -> Decision:
        """By class."""
        number = int(watcher.uri.partition("@")[0][5:])
        return self.decisions[number % len(self.decisions)]


ALL = Decision("allow", Permissions.all())
SERVICES = Decision("allow", Permissions(services=EVERYTHING))
NOTES = Decision("allow", Permissions(services=EVERYTHING, attributes=frozenset({"note"})))
BLOCK = Decision("block", Permissions.none())
CONFIRM = Decision("confirm", Permissions.none())


class ViewTests(SynchronousTestCase):
    """What the presence package makes of decisions."""

    def start(self, watchers: int, *decisions: Decision) -> None:
        """Start a node with watchers in classes; Bob has published."""
        self.node = Node(policy=NotifierPolicy(per_resource=10_000))
        self.node.presence.set_watchers(Classes(*decisions))
        self.bob = self.node.peer("192.0.2.10")
        self.tag = self.bob.publish(pidf(note="hello")).first("sip-etag")
        self.alice = self.node.peer("192.0.2.20", protocol="TCP")
        for number in range(watchers):
            sender = f"sip:w{number}@example.com"
            request = self.alice.request(
                "SUBSCRIBE", sender=sender, call_id=f"c{number}", from_tag=f"t{number}"
            )
            self.alice.send(request)
            self.node.advance(0.01, 0.01)
        self.node.advance(1)

    def test_shared(self) -> None:
        """A thousand watchers in three classes cost three transformations (RUL-26)."""
        self.start(1000, ALL, SERVICES, NOTES)
        self.alice.requests.clear()
        with mock.patch.object(
            views_module, "transform", wraps=views_module.transform
        ) as transform:
            self.bob.publish(pidf(basic="closed", note="again"), sip_if_match=self.tag)
            self.node.advance(3)
        self.assertEqual(transform.call_count, 3)
        notifies = self.alice.notifies()
        self.assertEqual(len(notifies), 1000)
        seen: dict[int, set[bytes]] = {}
        for notify in notifies:
            seen.setdefault(int(notify.call_id[1:]) % 3, set()).add(notify.body)
        self.assertEqual([len(seen[n]) for n in range(3)], [1, 1, 1])
        bodies = [body for n in range(3) for body in seen[n]]
        self.assertEqual([b"again" in body for body in bodies], [True, False, True])
        self.assertEqual([b"entity=" in body for body in bodies], [True, True, True])

    def test_decided_in_turns(self) -> None:
        """A resource with many watchers is decided on in several turns (NFR, NOT-07)."""
        self.start(600, ALL)
        self.alice.requests.clear()
        policy = Classes(BLOCK)
        self.node.presence.package.watchers = policy
        asked: list[float] = []
        decide = policy.decide

        def count(presentity: str, watcher: Any) -> Decision:
            asked.append(0.0)
            return decide(presentity, watcher)

        policy.decide = count  # type: ignore[method-assign]
        self.node.presence.notifier.reauthorize("presence", PRESENTITY)
        self.assertEqual(len(asked), 250)
        self.node.presence.notifier.reauthorize("presence", PRESENTITY)  # begins again
        self.node.advance(3)
        states = [
            parse_subscription_state(notify.first("subscription-state") or "")[0]
            for notify in self.alice.notifies()
        ]
        self.assertEqual(states, ["terminated"] * 600)
        self.assertEqual(len(self.node.presence.notifier), 0)

    def test_stopped_between_turns(self) -> None:
        """Nothing goes on after the end."""
        self.start(600, ALL)
        self.node.presence.package.watchers = Classes(CONFIRM)
        self.node.presence.notifier.reauthorize("presence", PRESENTITY)
        before = self.node.presence.notifier.pending
        self.node.presence.stop()
        self.node.advance(1)
        self.assertEqual(self.node.presence.notifier.pending, before)
