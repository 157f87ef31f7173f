"""For whom documents are kept at hand (:mod:`presence.holding`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from presence.holding import Holding
from presence.interfaces import IHolder
from presence.policy import OperatorWatcherPolicy
from tests.node import BOB, Node, Peer, pidf


@implementer(IHolder)
class Holder:
    """Notes whom it holds.

    :ivar closed: nothing becomes ready until :meth:`release_all`.
    :ivar most: how many were waited for at once.
    """

    def __init__(self, subscribes: bool = True, closed: bool = False) -> None:
        self.subscribes = subscribes
        self.closed = closed
        self.held: dict[str, None] = {}
        self.kept: dict[str, None] = {}
        self.most = 0
        self.waiting: list[Deferred[None]] = []

    def prepare(self, presentity: str) -> Deferred[None] | None:
        """Wait while closed."""
        if not self.closed:
            return None
        ready: Deferred[None] = Deferred()
        self.waiting.append(ready)
        self.most = max(self.most, len(self.waiting))
        return ready

    def hold(self, presentity: str) -> None:
        """Hold."""
        self.held[presentity] = None

    def release(self, presentity: str) -> None:
        """Release."""
        self.held.pop(presentity, None)

    def keep(self, presentity: str) -> Deferred[None] | None:
        """Hold in another way."""
        self.kept[presentity] = None
        return self.prepare(presentity)

    def drop(self, presentity: str) -> None:
        """Let go."""
        self.kept.pop(presentity, None)

    def watch(self, changed: Callable[[str], None]) -> None:
        """Nothing changes."""

    def answer(self) -> None:
        """Let those who wait now go on."""
        waiting, self.waiting = self.waiting, []
        for ready in waiting:
            ready.callback(None)


class HoldingTests(SynchronousTestCase):
    """Who is held, and when."""

    def start(self, *holders: Holder) -> None:
        """Make it."""
        self.clock = Clock()
        self.watched: set[str] = set()
        self.holding = Holding(self.clock, lambda: holders, self.watched.__contains__)

    def test_prepare(self) -> None:
        """PSV-08: everything that is needed is fetched side by side."""
        first, second = Holder(closed=True), Holder(closed=True)
        self.assertTrue(verifyObject(IHolder, first))
        self.start(first, Holder(), second)
        ready = self.holding.prepare("a")
        assert ready is not None
        first.answer()
        self.assertNoResult(ready)
        second.answer()
        self.assertIsNone(self.successResultOf(ready))
        first.closed = False
        ready = self.holding.prepare("a")
        second.answer()
        self.successResultOf(ready)
        second.closed = False
        self.assertIsNone(self.holding.prepare("a"))

    def test_publishing(self) -> None:
        """PSV-10: who publishes is kept, in a later turn, until nothing is published."""
        holder = Holder()
        self.start(holder)
        self.holding.published("a", True)
        self.assertEqual(list(holder.kept), [])
        self.clock.advance(0)
        self.assertEqual(list(holder.kept), ["a"])
        self.holding.published("a", True)
        self.watched.add("a")
        self.holding.hold("a")
        self.holding.relinquish("a")
        self.assertEqual(list(holder.held), ["a"], "still watched")
        self.watched.clear()
        self.holding.relinquish("a")
        self.assertEqual((list(holder.held), list(holder.kept)), ([], ["a"]))
        self.holding.published("a", False)
        self.assertEqual(list(holder.kept), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_short(self) -> None:
        """Who has stopped to publish before its turn is not held at all."""
        holder = Holder()
        self.start(holder)
        self.holding.published("a", True)
        self.holding.published("a", False)
        self.clock.advance(1)
        self.assertEqual(list(holder.kept), [])

    def test_paced(self) -> None:
        """PSV-20: of very many publishers some are fetched at a time, in many turns."""
        holder = Holder(closed=True)
        self.start(holder)
        for number in range(500):
            self.holding.published(f"u{number}", True)
        for _ in range(40):
            self.clock.advance(0.1)
            holder.answer()
        self.assertEqual(len(holder.kept), 500)
        self.assertLessEqual(holder.most, 50)
        self.holding.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stuck(self) -> None:
        """Those who wait for an answer bound how many are asked for; stopped, nobody more is."""
        holder = Holder(closed=True)
        self.start(holder)
        for number in range(500):
            self.holding.published(f"u{number}", True)
        self.clock.pump([0.1] * 100)
        self.assertEqual(len(holder.kept), 50)
        self.holding.stop()
        holder.answer()
        self.clock.advance(1)
        self.assertEqual(len(holder.kept), 50)

    def test_settle(self) -> None:
        """PSV-20: after a restart all who are watched are held before requests are served."""
        holder = Holder(closed=True)
        self.start(holder)
        settled = Deferred.fromCoroutine(self.holding.settle(f"u{n}" for n in range(120)))
        while not settled.called:
            self.assertTrue(holder.waiting)
            holder.answer()
        self.successResultOf(settled)
        self.assertEqual((len(holder.held), holder.most), (120, 50))


class Policy(OperatorWatcherPolicy, Holder):
    """Allows all, and notes whom it holds."""

    __slots__ = ()
    subscribes: Any

    def __init__(self, subscribes: bool) -> None:
        OperatorWatcherPolicy.__init__(self, "allow")
        Holder.__init__(self, subscribes)

    prepare = Holder.prepare
    hold = Holder.hold
    release = Holder.release
    keep = Holder.keep
    drop = Holder.drop


class ServerTests(SynchronousTestCase):
    """What the Presence Server makes of it."""

    def start(self, subscribes: bool) -> Peer:
        """Start a node; its clients are at one peer."""
        self.node = Node()
        self.policy = Policy(subscribes)
        self.node.presence.set_watchers(self.policy)
        return self.node.peer()

    def test_publication(self) -> None:
        """PSV-10: held while there is a publication, a subscription, or both."""
        peer = self.start(True)
        tag = peer.publish(pidf()).first("sip-etag")
        self.assertEqual(list(self.policy.kept), [BOB])
        tag = peer.publish(sip_if_match=tag).first("sip-etag")
        tag = peer.publish(pidf(note="x"), sip_if_match=tag).first("sip-etag")
        second = peer.publish(pidf(note="y"), expires=60)
        self.assertEqual(second.status, 200)
        peer.publish(sip_if_match=tag, expires=0)
        self.assertEqual((list(self.policy.kept), list(self.policy.held)), ([BOB], []))
        peer.subscribe(expires=120)
        self.node.advance(70)
        self.assertEqual((list(self.policy.kept), list(self.policy.held)), ([], [BOB]))
        self.node.advance(70)
        self.assertEqual(list(self.policy.held), [])

    def test_restart(self) -> None:
        """PSV-10, PSV-20: publications that are recovered count as well."""
        peer = self.start(True)
        peer.publish(pidf())
        policy = Policy(True)
        with mock.patch("tests.node.OperatorWatcherPolicy", return_value=policy):
            again = self.node.restart()
        again.advance(0.1)
        self.assertEqual(list(policy.kept), [BOB])

    def test_all_told(self) -> None:
        """PSV-10: where all changes are told anyway nothing is kept for who is not watched."""
        peer = self.start(False)
        peer.publish(pidf())
        self.node.advance(1)
        self.assertEqual(list(self.policy.kept), [])
        peer.subscribe()
        self.assertEqual(list(self.policy.held), [BOB])
