"""Users who are no more (PSV-19)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from presence.removal import Removals
from presence.watcherentry import WatcherLimits
from pysip.event.table import NotifierPolicy
from pysip.header import parse_subscription_state
from tests.node import ALICE, BOB, Node, Peer, pidf
from tests.presence.watching import BOB_TEL, OPERATOR, Looker, WinfoNode

CAROL = "sip:carol@example.com"


class RemovalCase(SynchronousTestCase):
    """Bob has publications and watchers, and watches Carol."""

    def setUp(self) -> None:
        """Make the node; the removals have started."""
        self.node = WinfoNode()
        self.phone = self.node.peer("192.0.2.30")
        self.publisher = self.node.peer("192.0.2.31")
        self.removals = self.make_removals()

    def make_removals(self) -> Removals:
        """Removals of the node as it is now."""
        removals = Removals(self.node.presence, self.node.clock)
        removals.start()
        return removals

    def publish(self) -> None:
        """Bob publishes."""
        self.assertEqual(self.publisher.publish(pidf(note="x")).status, 200)

    def watch(self, user: str, uri: str = BOB, **fields: Any) -> Any:
        """Somebody subscribes."""
        fields.setdefault("sender", f"sip:{user}@example.com")
        return self.phone.subscribe(uri, call_id=f"{user}-{uri}", **fields)

    def remove(self, *uris: str, before: float | None = None) -> None:
        """Users are removed."""
        at = self.node.wall() if before is None else before
        self.removals.gone(dict.fromkeys(uris or (BOB, BOB_TEL), at))
        self.node.advance(0.5)

    def ends(self, peer: Peer | None = None) -> dict[str, str]:
        """Why subscriptions have ended, by Call-ID."""
        found = {}
        for notify in (peer or self.phone).notifies():
            state, params = parse_subscription_state(notify.first("subscription-state") or "")[:2]
            if state == "terminated":
                self.assertEqual(notify.body, b"")
                found[notify.call_id] = str(dict(params).get("reason"))
        return found

    def kept(self) -> tuple[int, int, int]:
        """How many publications, subscriptions and watchers are durable."""
        self.node.advance(0.5)
        store = self.node.store
        return len(store._publications), len(store._subscriptions), len(store._watchers)


class PresentityTests(RemovalCase):
    """A presentity that is removed."""

    def test_everything(self) -> None:
        """Active and pending watchers get noresource, waiting ones go, nothing is kept (PSV-19)."""
        self.publish()
        self.node.decide(alice="allow", dave="polite-block")
        self.watch("alice")
        self.watch("dave")
        self.watch("erin")
        self.watch("frank", expires=0)
        self.watch("alice", CAROL)
        self.assertEqual(self.kept(), (1, 4, 2))
        self.assertEqual(sorted(e.status for e in self.node.book.entries(BOB)).count("waiting"), 1)
        self.remove()
        ends = self.ends()
        for user in ("alice", "dave", "erin"):
            self.assertEqual(ends[f"{user}-{BOB}"], "noresource")
        self.assertNotIn(f"alice-{CAROL}", ends)
        self.assertEqual(self.node.book.entries(BOB), [])
        self.assertEqual(self.kept(), (0, 1, 0))  # Carol's
        self.assertEqual(self.node.presence.compositor.count, 0)
        self.assertEqual(len(self.node.presence.notifier), 1)

    def test_nothing_is_told_of_publications(self) -> None:
        """Watchers see no empty presence before the end (PSV-19)."""
        self.node.decide("allow")
        self.publish()
        self.watch("alice")
        told = len(self.phone.notifies())
        self.remove()
        self.assertEqual(len(self.phone.notifies()), told + 1)

    def test_lookers(self) -> None:
        """Who looks at the watchers learns why they end, and ends after that (WFS-01, PSV-19)."""
        operator = Looker(self.node, "192.0.2.40", OPERATOR)
        operator.subscribe()
        self.watch("alice")
        self.watch("erin", expires=0)
        operator.news(6)
        self.remove(before=self.node.wall())
        operator.news(6)
        ended = self.ends(operator.peer)
        self.assertEqual(list(ended.values()), ["noresource"])
        self.assertEqual(len(self.node.presence.notifier), 0)

    def test_refresh(self) -> None:
        """After that a refresh finds nothing (PSV-19)."""
        answer = self.watch("alice")
        self.remove()
        again = self.watch("alice", to_tag=answer.to.tag, cseq=10)
        self.assertEqual(again.status, 481)

    def test_somebody_new(self) -> None:
        """What was made after the removal is of another user of this name (PSV-19)."""
        self.watch("alice")
        self.watch("erin", expires=0)
        self.publish()
        self.node.advance(1)
        at = self.node.wall()
        self.node.advance(1)
        self.node.decide(dave="allow")
        self.watch("dave")
        self.watch("frank", expires=0)
        self.publish()
        self.remove(before=at)
        self.assertEqual(self.ends().get(f"alice-{BOB}"), "noresource")
        self.assertEqual(
            sorted((e.watcher.uri, e.status) for e in self.node.book.entries(BOB)),
            [("sip:dave@example.com", "active"), ("sip:frank@example.com", "waiting")],
        )
        self.assertEqual(self.kept(), (1, 1, 1))

    def test_nobody(self) -> None:
        """Of whom nothing is known nothing ends (PSV-19)."""
        self.publish()
        self.watch("alice")
        before = self.kept()
        self.remove(CAROL, "tel:+15550199")
        self.assertEqual(self.kept(), before)

    def test_undurable(self) -> None:
        """While the store refuses, nobody is told; afterwards all are, once (PSV-19, NOT-03)."""
        self.watch("alice")
        self.node.advance(1)
        self.node.store.fail_next(2)
        self.remove()
        self.assertEqual(self.ends(), {})
        self.node.advance(5)
        self.assertEqual(self.ends(), {f"alice-{BOB}": "noresource"})
        self.assertEqual(self.kept(), (0, 0, 0))


class WatcherTests(RemovalCase):
    """A watcher that is removed."""

    def test_everything(self) -> None:
        """Its subscriptions end by ``rejected``, and it waits for nobody (PSV-19)."""
        carol = Looker(self.node, "192.0.2.40", CAROL)
        carol.subscribe(CAROL)
        self.node.decide(dave="allow")
        self.watch("bob", CAROL)
        self.watch("bob", ALICE)
        self.watch("bob", "sip:frank@example.com", expires=0)
        self.watch("dave", CAROL)
        carol.news(6)
        self.remove()
        self.assertEqual(
            {k: v for k, v in self.ends().items() if k.startswith("bob") and "frank" not in k},
            {f"bob-{CAROL}": "rejected", f"bob-{ALICE}": "rejected"},
        )
        self.assertEqual(self.node.book.waited_for(), [])
        self.assertEqual(len(self.node.presence.notifier), 2)
        self.assertEqual(carol.news(6), [[("bob", "terminated", "rejected")]])
        self.assertEqual(self.kept()[2], 0)

    def test_somebody_new(self) -> None:
        """What another one has begun under the same name goes on (PSV-19)."""
        self.watch("bob", CAROL)
        at = self.node.wall()
        self.node.advance(1)
        self.watch("bob", ALICE)
        self.watch("bob", "sip:frank@example.com", expires=0)
        self.remove(before=at)
        self.assertEqual(len(self.node.presence.notifier), 1)
        self.assertEqual(self.node.book.waited_for(), ["sip:frank@example.com"])


class TimeTests(RemovalCase):
    """When it is done."""

    def test_before_recovery(self) -> None:
        """What is told before everything is recovered is done after that (PSV-19, PSV-20)."""
        self.publish()
        self.watch("alice")
        self.watch("erin", expires=0)
        self.node = self.node.restart()
        removals = Removals(self.node.presence, self.node.clock)
        removals.gone({BOB: self.node.wall()})
        self.node.advance(1)
        self.assertEqual(self.kept(), (1, 1, 2))
        removals.start()
        self.assertEqual(self.kept(), (0, 0, 0))
        self.assertEqual(self.ends().get(f"alice-{BOB}"), "noresource")

    def test_interrupted(self) -> None:
        """A server that has ended in the middle is told again, and goes on (PSV-19)."""
        self.node.end()
        self.node.advance(1)
        many = 600
        policy = NotifierPolicy(min_expires=1, per_resource=10_000)
        self.node = WinfoNode(policy=policy, limits=WatcherLimits(per_presentity=2000))
        self.phone = self.node.peer("192.0.2.30", protocol="TCP")
        for number in range(many):
            sender = f"sip:w{number}@example.com"
            request = self.phone.request("SUBSCRIBE", sender=sender, call_id=f"c{number}")
            self.phone.send(request)
            self.node.advance(0.01, 0.01)
        self.assertEqual(self.kept()[1], many)
        self.removals = self.make_removals()
        self.removals.gone({BOB: self.node.wall()})
        self.removals.stop()
        left = len(self.node.presence.notifier)
        self.assertEqual(left, many - 250)  # the rest is for further turns
        self.node = self.node.restart()
        self.assertGreaterEqual(len(self.node.presence.notifier), left)
        self.removals = self.make_removals()
        self.remove(before=self.node.wall())
        self.node.advance(2)
        self.assertEqual(self.kept(), (0, 0, 0))
        self.assertEqual(set(self.ends().values()), {"noresource"})
        self.assertGreaterEqual(len(self.ends()), left)

    def test_no_decisions_meanwhile(self) -> None:
        """Rules that vanish with the user do not make watchers pending before the end (PSV-19)."""
        self.node.decide("allow")
        for number in range(300):
            sender = f"sip:w{number}@example.com"
            self.phone.send(self.phone.request("SUBSCRIBE", sender=sender, call_id=f"c{number}"))
            self.node.advance(0.01, 0.01)
        self.node.advance(1)
        self.removals.gone({BOB: self.node.wall()})
        self.node.rules.default = "confirm"
        self.node.presence.notifier.reauthorize("presence", BOB)
        self.node.advance(3)
        states = {
            (n.first("subscription-state") or "").split(";")[0] for n in self.phone.notifies()
        }
        self.assertEqual(states, {"active", "terminated"})
        self.assertEqual(len(self.ends()), 300)


class OtherRolesTests(SynchronousTestCase):
    """A server without watcher information."""

    def test_without_a_book(self) -> None:
        """Watchers and publications end all the same (PSV-19)."""
        node = Node()
        removals = Removals(node.presence, node.clock)
        removals.start()
        peer = node.peer()
        peer.publish(pidf())
        peer.subscribe()
        removals.gone({BOB: node.wall(), ALICE: node.wall()})
        node.advance(1)
        self.assertEqual((len(node.presence.notifier), node.presence.compositor.count), (0, 0))
