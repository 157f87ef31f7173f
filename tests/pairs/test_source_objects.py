"""Our sources publish objects to our server, over a network that loses and with bad days."""

from __future__ import annotations

import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from presence.content.errors import ContentError
from presence.publishing.objects import SourceObject
from presence.source import PresenceSource, SourceTerms, Status
from pysip.event.publisher import Publisher
from pysip.transport.loop import LoopNetwork
from tests.node import BOB, Node
from tests.pairs.test_lossy import client, route
from tests.pairs.test_partial_publication import Silent
from tests.presence.objects import TAKES_REFERENCES, Got, got
from tests.presence.ownobjects import PNG, Shed

PHONE = "192.0.2.40"
SIZES = (10, 200, 1000, 9000)


class Play:
    """A source whose icons come and go, and two servers that have bad days."""

    def __init__(self, seed: int, *, partial: bool) -> None:
        self.random = random.Random(seed)
        self.network = LoopNetwork(Clock(), seed)
        self.node = Node(network=self.network, seed=seed)
        self.shed = Shed(self.node.clock, epoch=self.node.EPOCH)
        self.body = b""
        terms = SourceTerms(
            presentity=BOB,
            local_uri=f"<{BOB}>",
            expires=120,
            throttle=0.0,
            partial=partial,
            route=route("TCP"),
            object_limit=500,
        )
        publisher = Publisher(client(self.node, PHONE, seed, "TCP"))
        self.source = PresenceSource(publisher, terms, Silent(), self.wall, self.shed)

    def wall(self) -> float:
        """Wall-clock seconds of everybody."""
        return self.node.wall()

    def change(self) -> None:
        """The source shows an icon, another icon, or none."""
        size = self.random.choice(SIZES)
        self.body = PNG + self.random.choice(b"abc").to_bytes(1, "big") * size
        if self.random.random() < 0.2:
            self.body = b""
        icon = SourceObject(self.body, "image/png") if self.body else ""
        self.source.set_status(Status(icon=icon, note=str(self.random.random())))

    def trouble(self) -> None:
        """Something happens to one of the servers."""
        choice = self.random.random()
        if choice < 0.2:
            self.node = self.node.restart()
        elif choice < 0.4:  # it loses its state
            self.node.presence.compositor.remove_resource("presence", BOB, float("inf"))
        elif choice < 0.6:
            self.network.cut(PHONE, self.node.address[0])
            self.node.advance(self.random.choice((20, 150)), step=0.5)
            self.network.heal(PHONE, self.node.address[0])
        elif choice < 0.7:
            self.shed.objects.clear()
        elif choice < 0.8:
            self.shed.down = ContentError("unreachable")
        else:
            self.shed.held = []

    def mend(self) -> None:
        """All is well again."""
        self.shed.down = None
        self.shed.let()

    def seen(self) -> Got:
        """What a watcher sees."""
        peer = self.node.peer("192.0.2.60", protocol="TCP")
        peer.subscribe(accept=TAKES_REFERENCES, expires=0)
        self.node.advance(1)
        return got(peer.notifies()[-1])


class ObjectTests(SynchronousTestCase):
    """At rest watchers see the last icon, and nothing but that is stored."""

    def play(self, seed: int, *, partial: bool) -> None:
        """Change, lose and restart; then look."""
        play = Play(seed, partial=partial)
        for number in range(25):
            play.change()
            play.node.advance(play.random.choice((0.0, 0.3, 2.0, 8.0)), step=0.1)
            if number % 5 == 4:
                play.trouble()
            if number % 5 == 1:
                play.mend()
        play.mend()
        play.change()
        play.node.advance(2500, step=0.5)  # the last word is out, what was lost is found out
        seen = play.seen()
        large = len(play.body) > 500
        self.assertEqual(
            list(seen.objects.values()), [play.body] if play.body and not large else []
        )
        self.assertEqual(play.shed.alive(), [play.body] if large else [], seed)
        if large:
            (told,) = seen.references.values()
            self.assertEqual(play.shed.objects[told.url].body, play.body)
            self.assertGreater(told.expiration, play.wall())
        self.assertEqual(len(seen.cids), bool(play.body))
        self.assertEqual(set(seen.cids), set(seen.objects) | set(seen.references))
        done = play.source.stop()
        play.node.advance(40, step=0.25)
        self.successResultOf(done)
        self.assertEqual(play.node.presence.compositor.count, 0)
        self.assertEqual(play.shed.alive(), [])

    def test_whole(self) -> None:
        """SRC-03, AGP-116, AGP-117: documents are told whole."""
        for seed in range(12):
            self.play(seed, partial=False)

    def test_partial(self) -> None:
        """SRC-03, PPU-07: documents are told in parts."""
        for seed in range(100, 112):
            self.play(seed, partial=True)
