"""Our watchers, with all that saves traffic, and our server, over a network that loses packets."""

from __future__ import annotations

import random
from typing import Any

from lxml import etree
from twisted.internet.task import Clock
from twisted.trial import unittest

from presence.pidf.parse import parse
from presence.watcher import Known, PresenceWatch, Watcher, WatcherTerms, WatchOptions
from pysip.event.rates import Rates
from pysip.event.subscriber import NotifyRouter
from pysip.timers import TimerWheel
from pysip.transport.loop import LoopNetwork
from pysip.ua import UserAgent
from tests.node import ALICE, BOB, SERVER, Node, Peer
from tests.pairs.test_presence import Silent
from tests.pysip.scripted import Anybody, NumericLocator

_ROUTE = (f"<sip:{SERVER[0]}:{SERVER[1]};lr>",)


def filters(*rules: tuple[str, str]) -> bytes:
    """A filter document: ids, and what each includes."""
    inner = "".join(
        f'<filter id="{name}"><what><include>{path}</include></what></filter>'
        for name, path in rules
    )
    return (
        '<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter"><ns-bindings>'
        '<ns-binding prefix="p" urn="urn:ietf:params:xml:ns:pidf"/></ns-bindings>'
        f"{inner}</filter-set>"
    ).encode()


FILTERS = (
    b"",
    filters(("a", "//p:tuple[p:status/p:basic='open']")),
    filters(("b", "//p:tuple/p:note")),
    filters(("a", "//p:presence/p:note")),
)


def document(choice: random.Random) -> bytes:
    """Some presence of Bob's: large enough for differences to pay."""
    tuples = "".join(
        f'<tuple id="t{number}"><status><basic>{choice.choice(("open", "closed"))}</basic></status>'
        f"<contact>sip:bob@192.0.2.{number}</contact><note>{choice.randrange(4)}</note></tuple>"
        for number in sorted(choice.sample(range(6), 4))
    )
    return (
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{BOB}">{tuples}</presence>'
    ).encode()


def canonical(octets: bytes | None) -> bytes | None:
    """A document as it compares; nothing at all is like no document (FLT-12)."""
    root = parse(octets) if octets is not None else None
    if root is None or not len(root):
        return None
    return etree.tostring(root, method="c14n", exclusive=True)


class World:
    """A server, Bob's phone, and Alice's watcher."""

    def __init__(self, seed: int) -> None:
        self.choice = random.Random(seed)
        self.network = LoopNetwork(Clock(), seed)
        self.node = Node(network=self.network)
        self.phone: Peer | None = None
        self.etag = ""
        self._hosts = iter(range(20, 250))
        self.watch: PresenceWatch | None = None
        self.options = WatchOptions(
            partial=self.choice.random() < 0.8,
            conditional=self.choice.random() < 0.8,
            compressed=self.choice.random() < 0.5,
            filters=self.choice.choice(FILTERS),
            rates=self.choice.choice(
                (Rates(), Rates(0.5), Rates(0.0, 0.05), Rates(1.0, 0.02, 0.1))
            ),
        )

    def watcher(self) -> Watcher:
        """A watcher at an address of its own."""
        host = f"192.0.2.{next(self._hosts)}"
        agent = UserAgent(
            self.node.clock, TimerWheel(self.node.clock), NumericLocator("UDP"), Anybody()
        )
        agent.start_transport(self.network.transport((host, 5060), "UDP"))
        terms = WatcherTerms(
            local_uri=f"<{ALICE}>", contact=lambda: f"<sip:w@{host}:5060>", route=_ROUTE
        )
        return Watcher(NotifyRouter(agent), terms)

    def begin(self, known: Known | None = None) -> PresenceWatch:
        """Watch Bob."""
        self.watch = self.watcher().watch(BOB, Silent(), self.options, known)
        return self.watch

    def faults(self, share: float) -> None:
        """Lose, double and reorder datagrams."""
        network = self.network
        network.loss = network.duplicate = network.reorder = share
        network.delay = (0.005, 0.1) if share else (0.0, 0.0)

    def publish(self) -> None:
        """Bob publishes something else; this gets through."""
        if self.phone is None:
            self.phone = self.node.peer("192.0.2.10")
        faults = self.network.loss
        self.faults(0.0)
        fields = {"sip_if_match": self.etag} if self.etag else {}
        answer = self.phone.publish(document(self.choice), **fields)
        self.etag = answer.first("sip-etag") or ""
        self.faults(faults)

    def restart_server(self) -> None:
        """The server is started anew on its store."""
        self.node = self.node.restart()
        self.node.presence.resume()
        if self.phone is not None:
            self.phone.node = self.node

    def restart_watcher(self) -> None:
        """Alice's process ends without a word; the next one knows what she has kept."""
        before = self.watch
        assert before is not None
        known = None
        if before.tag and before.document is not None:
            known = Known(before.tag, before.document)
        before.subscriber.router.ua.stop()
        self.begin(known)

    def step(self) -> None:
        """Something happens."""
        watch = self.watch
        assert watch is not None
        what = self.choice.randrange(20)
        if what < 12:
            self.publish()
        elif what == 12:
            self.restart_server()
        elif what == 13:
            self.restart_watcher()
        elif what == 14:
            watch.suspend()
        elif what == 15:
            watch.resume()
        elif what == 16:
            self.options = WatchOptions(
                partial=self.options.partial,
                conditional=self.options.conditional,
                filters=self.choice.choice(FILTERS),
            )
            watch.change_filters(self.options.filters).addErrback(lambda _: None)
        elif what == 17:
            watch.subscriber.refresh(full=False)
        self.node.advance(self.choice.uniform(0.0, 3.0))


class HistoryTests(unittest.SynchronousTestCase):
    """EVT-01, WAT-04: whatever happens, what the watcher holds is what there is to see."""

    def play(self, seed: int, share: float) -> None:
        """Play a random history, let it settle, and compare with a plain fetch."""
        world = World(seed)
        world.publish()
        world.faults(share)
        world.begin()
        world.node.advance(2)
        for _ in range(30):
            world.step()
        watch = world.watch
        assert watch is not None
        watch.resume()
        world.node.advance(200, step=0.25)
        world.faults(0.0)
        world.publish()
        world.node.advance(120, step=0.25)
        fetched = world.watcher().fetch(BOB, WatchOptions(filters=watch.options.filters))
        world.node.advance(1)
        expected = self.successResultOf(fetched).document
        self.assertEqual(watch.options.filters, world.options.filters, f"seed {seed}")
        self.assertEqual(watch.state, "active", f"seed {seed}")
        self.assertEqual(canonical(watch.document), canonical(expected), f"seed {seed}")
        watch.stop()
        world.node.advance(80, step=0.5)

    def test_ideal(self) -> None:
        """PNO-11, SNE-15, FLT-21: without faults, through restarts, pauses and other filters."""
        for seed in range(12):
            self.play(seed, 0.0)

    def test_lossy(self) -> None:
        """PNO-11, SNE-12: with datagrams lost, doubled and out of order."""
        for seed in range(100, 112):
            self.play(seed, 0.08)


class TrafficTests(unittest.SynchronousTestCase):
    """What our watcher spares with our server, message by message."""

    def setUp(self) -> None:
        """Bob is there."""
        self.world = World(1)
        self.world.publish()
        self.notified = 0

    def watch(self, known: Known | None = None, **options: Any) -> PresenceWatch:
        """Watch Bob, and count what is told."""
        self.world.options = WatchOptions(**options)
        watch = self.world.begin(known)
        take = watch.notified

        def counted(*args: Any) -> None:
            self.notified += 1
            take(*args)

        self.patch(watch, "notified", counted)
        self.world.node.advance(1)
        self.addCleanup(self.world.node.advance, 80, 0.5)
        self.addCleanup(watch.stop)
        return watch

    def test_refresh(self) -> None:
        """SNE-04, SNE-15: a conditional refresh brings nothing; a change after it does."""
        watch = self.watch(conditional=True)
        for _ in range(3):
            watch.subscriber.refresh(full=False)
            self.world.node.advance(40, step=0.5)
        self.assertEqual((self.notified, watch.state), (1, "active"))
        self.world.publish()
        self.world.node.advance(1)
        self.assertEqual(self.notified, 2)

    def test_suspended(self) -> None:
        """SNE-09, OM2-08: nothing while it is suspended, the newest state after it."""
        watch = self.watch()
        before = watch.document
        watch.suspend()
        self.world.node.advance(1)
        for _ in range(3):
            self.world.publish()
            self.world.node.advance(1)
        self.assertEqual((self.notified, watch.document), (1, before))
        watch.resume()
        self.world.node.advance(1)
        self.assertEqual(self.notified, 2)
        self.assertNotEqual(watch.document, before)

    def test_rates(self) -> None:
        """RAT-02, RAT-13: the server adopts what SUBSCRIBE and the 2xx to a NOTIFY ask for."""
        watch = self.watch(rates=Rates(0.5))
        self.assertEqual(watch.rates, Rates(0.5))
        watch.subscriber.pace(Rates(0.1))
        for _ in range(20):
            self.world.publish()
            self.world.node.advance(1)
        self.assertEqual(watch.rates, Rates(0.1))
        self.assertLessEqual(self.notified, 5)

    def test_new_process(self) -> None:
        """SNE-05: who knows the state is told that it is still so, without it."""
        first = self.watch()
        assert first.document is not None
        known = Known(first.tag, first.document)
        second = self.watch(known)
        self.assertEqual((second.document, second.state), (first.document, "active"))
        self.assertEqual(second.tag, first.tag)

    def test_tag_of_a_publication(self) -> None:
        """SNE-13: what names a publication names no state that is notified, nor the reverse."""
        world = self.world
        watch = self.watch(Known(world.etag, b"<not-this/>"))
        assert watch.document is not None and world.phone is not None
        self.assertIn(b"<presence", watch.document)
        self.assertNotEqual(watch.tag, world.etag)
        answer = world.phone.publish(document(world.choice), sip_if_match=watch.tag)
        self.assertEqual(answer.status, 412)
