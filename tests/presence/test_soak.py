"""Much state made and left to expire: nothing of it remains (EVT-02, WISHES 5)."""

from __future__ import annotations

import gc
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pysip.event.compositor import Publication
from pysip.event.subscription import Subscription
from pysip.transaction.client import ClientTransaction
from pysip.transaction.server import ServerTransaction
from tests.node import DOMAIN, Node, Peer, pidf
from tests.presence.watching import WinfoNode


def living() -> list[Any]:
    """The transactions, publications and subscriptions that anybody still knows."""
    gc.collect()
    kinds = (Subscription, Publication, ServerTransaction, ClientTransaction)
    return [thing for thing in gc.get_objects() if isinstance(thing, kinds)]


class SoakTests(SynchronousTestCase):
    """A node that is used by many and then left alone."""

    def setUp(self) -> None:
        """Start it, and know what other tests have left."""
        self.before = {id(thing) for thing in living()}
        self.node = Node()
        self.peer = self.node.peer()

    def rest(self, seconds: float) -> None:
        """Let time pass, from one event to the next."""
        clock = self.node.clock
        end = clock.seconds() + seconds
        while calls := clock.getDelayedCalls():
            due = min(call.getTime() for call in calls)
            if due > end:
                break
            clock.advance(max(0.0, due - clock.seconds()))
        clock.advance(max(0.0, end - clock.seconds()))

    def fill(self, peer: Peer, method: str, count: int, **fields: Any) -> None:
        """Send so many requests, a few at a time; what they make expires in the end one by one."""
        expires = fields.pop("expires", None)
        for number in range(count):
            user = f"sip:u{number % 500}@{DOMAIN}"
            if method == "PUBLISH":
                fields.update(sender=user, body=pidf(user, note=str(number)))
            else:
                fields.update(sender=f"sip:w{number}@{DOMAIN}")
            if expires is not None:
                fields["expires"] = expires + number % 100 if expires >= 60 else expires
            peer.send(peer.request(method, user, call_id=f"{method}{number}", **fields))
            if number % 20 == 19:
                self.node.clock.advance(0.01)
                peer.responses.clear()
                peer.requests.clear()
        self.node.clock.advance(0.1)

    def assert_nothing_left(self) -> None:
        """No timer, dialog, counter, view, transaction, row or object remains."""
        node = self.node
        presence, layer = node.presence, node.ua.layer
        notifier, compositor = presence.notifier, presence.compositor
        table = notifier._table
        for kept in (
            node.wheel,
            node.wheel._slots,
            notifier,
            table.resources,
            table._per_watcher,
            table._per_pair,
            table._pending,
            notifier._pacer,
            notifier._pacer._keys,
            compositor._live,
            presence.package._views,
            layer.clients,
            layer.servers,
            layer._merged,
            node.store._publications,
            node.store._subscriptions,
            node.store._digests,
        ):
            self.assertEqual(len(kept), 0, kept)
        self.assertEqual(compositor.count, 0)
        self.assertEqual(node.clock.getDelayedCalls(), [])
        self.assertEqual([thing for thing in living() if id(thing) not in self.before], [])

    def test_subscriptions(self) -> None:
        """20 000 subscriptions expire, each with its last NOTIFY (EVT-02, NOT-08)."""
        self.fill(self.peer, "SUBSCRIBE", 20_000, expires=300)
        self.assertEqual(len(self.node.presence.notifier), 20_000)
        self.assertGreaterEqual(len(self.node.wheel), 20_000)
        self.rest(410)
        self.assertEqual(self.node.presence.notifier.sender.outcomes[200], 40_000)
        self.rest(40)
        self.assert_nothing_left()

    def test_silent_subscribers(self) -> None:
        """So they do when nobody answers any more (NOT-10, WISHES 5)."""
        self.fill(self.peer, "SUBSCRIBE", 2000, expires=60)
        self.peer.answer = 0
        self.rest(300)
        self.assertEqual(self.node.presence.notifier.sender.outcomes[408], 2000)
        self.assert_nothing_left()

    def test_publications(self) -> None:
        """10 000 publications expire, under the eyes of watchers (EVT-02, PUB-10)."""
        watcher = self.node.peer("192.0.2.20")
        self.fill(self.peer, "PUBLISH", 10_000, expires=300)
        self.assertEqual(self.node.presence.compositor.count, 10_000)
        self.fill(watcher, "SUBSCRIBE", 500, expires=500)
        self.assertEqual(len(self.node.presence.package._views), 500)
        self.rest(410)
        self.assertEqual(self.node.presence.compositor.count, 0)
        last = {n.call_id: n for n in watcher.notifies()}
        self.assertEqual(len(last), 500)
        self.assertFalse(any(b"<tuple" in notify.body for notify in last.values()))
        self.rest(300)
        self.assert_nothing_left()

    def test_fetches(self) -> None:
        """Fetches and refused requests leave nothing at all (SUB-09, UAS-09)."""
        self.fill(self.peer, "SUBSCRIBE", 3000, expires=0)
        self.fill(self.peer, "SUBSCRIBE", 1000, expires=5)
        self.fill(self.peer, "PUBLISH", 1000, expires=0)
        self.fill(self.peer, "PUBLISH", 1000, event="dialog")
        self.rest(40)
        self.assert_nothing_left()


class GarbageTests(SynchronousTestCase):
    """Memory is free as soon as nobody knows what was in it."""

    def test_no_cycles(self) -> None:
        """Subscriptions that were decided on, told and ended leave no cycles (EVT-02).

        The garbage collector looks at what is old very seldom: that takes its time.
        """
        node = WinfoNode(interval=1.0)
        watchers, bob = node.peer("192.0.2.30", protocol="TCP"), node.peer()
        tag = bob.publish(pidf()).first("sip-etag")

        def live(name: str) -> None:
            nonlocal tag
            node.rules.default = "allow"
            for number in range(20):
                sender = f"sip:w{number}@{DOMAIN}"
                call_id = f"{name}{number}"
                watchers.send(watchers.request("SUBSCRIBE", sender=sender, call_id=call_id))
            for note in "ab":  # the second one has to wait for the rate
                tag = bob.publish(pidf(note=name + note), sip_if_match=tag).first("sip-etag")
            node.advance(3)
            for decision in ("confirm", "allow", "polite-block", "confirm", "block"):
                node.decide(decision)
                node.advance(2)
            node.advance(40, 0.5)
            for peer in (watchers, bob):
                peer.requests.clear()
                peer.responses.clear()

        live("first")
        gc.collect()
        gc.disable()
        try:
            live("second")
            found = gc.collect()
        finally:
            gc.enable()
        self.assertEqual((found, len(node.presence.notifier)), (0, 0))
