"""Our sources tell our server changes, over a network that loses, doubles and reorders."""

from __future__ import annotations

import random
from collections import Counter

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from presence.partial.documents import CONTENT_TYPE, Diff, read
from presence.source import PresenceSource, SourceTerms, Status
from pysip.event.interfaces import IPublisherDelegate
from pysip.event.publisher import Publisher
from pysip.message import Request, Response
from pysip.transport.loop import LoopNetwork
from tests.node import BOB, Node
from tests.pairs.test_lossy import client, route
from tests.presence.changes import Changes
from tests.presence.compositions import canonical
from tests.presence.documents import lenient
from tests.presence.publications import Publications

PHONE = "192.0.2.40"


@implementer(IPublisherDelegate)
class Silent:
    """Is told everything and notes failures."""

    def __init__(self) -> None:
        self.failures: Counter[int | None] = Counter()

    def published(self, lifetime: int) -> None:
        """A success."""

    def publication_failed(self, response: Response | None, retry_after: float | None) -> None:
        """A failure."""
        self.failures[response.status if response is not None else None] += 1


class Play:
    """A source whose history is random, and a server that has bad days.

    :ivar forms: how often the server was told changes (``Diff``) and whole documents (``Full``),
        with what became of it.
    """

    def __init__(self, seed: int, protocol: str = "UDP", interval: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.network = LoopNetwork(Clock(), seed)
        self.node = Node(network=self.network, seed=seed)
        self.forms: Counter[str] = Counter()
        self.told = Silent()
        agent = client(self.node, PHONE, seed, protocol)
        terms = SourceTerms(
            presentity=BOB,
            local_uri=f"<{BOB}>",
            expires=120,
            throttle=interval,
            partial=True,
            route=route(protocol),
        )
        self.source = PresenceSource(Publisher(agent), terms, self.told, self.node.wall)
        self.publications, self.changes = Publications(self.random), Changes(self.random)
        self.document = b""
        self.listen()

    def listen(self) -> None:
        """Note what the server is told."""
        compositor = self.node.presence.compositor
        original = compositor._document

        def noted(*arguments: object) -> tuple[str, bytes]:
            request = next(each for each in arguments if isinstance(each, Request))
            kind = request.content_type
            name = "PIDF"
            if kind is not None and kind.type == CONTENT_TYPE:
                name = "Diff" if isinstance(read(request.body), Diff) else "Full"
            self.forms[name] += 1
            try:
                return original(*arguments)  # type: ignore[arg-type]
            except Exception:
                self.forms[f"{name} failed"] += 1
                raise

        self.node.presence.compositor._document = noted  # type: ignore[method-assign]

    def faults(self, share: float) -> None:
        """Make the network as bad as this."""
        network = self.network
        network.loss, network.duplicate, network.reorder = share, share / 2, share / 2
        network.delay = (0.005, 0.2) if share else (0.0, 0.0)

    def change(self) -> None:
        """The source has something new to say."""
        choice = self.random.random()
        if choice < 0.3 or not self.document:
            words = "".join(self.random.choice("abcd ") for _ in range(self.random.randrange(40)))
            activities = tuple(self.random.sample(("away", "meeting", "busy"), 2))
            status = Status(
                basic=self.random.choice(("open", "closed")),
                note=words.strip(),
                activities=activities[: self.random.randrange(3)],
            )
            self.document = self.source.document(status)
        elif choice < 0.5:
            self.document, _ = self.publications.document(BOB, alone=True)
        else:
            changed = self.changes.changed(self.document, self.random.choice((1, 1, 2, 3)))
            try:
                self.document = lenient(changed.replace(BOB.encode(), b"sip:bob@home.example"))
            except ValueError:
                return  # nothing that anybody would publish
            self.document = self.document.replace(b"sip:bob@home.example", BOB.encode())
        self.source.set_document(self.document)

    def trouble(self) -> None:
        """Something happens to the server."""
        choice = self.random.random()
        if choice < 0.3:
            self.node = self.node.restart()
            self.listen()
        elif choice < 0.6:  # it loses its state
            self.node.presence.compositor.remove_resource("presence", BOB, float("inf"))
        elif choice < 0.8:  # nobody can reach it, for longer than a publication lives
            self.network.cut(PHONE, self.node.address[0])
            self.node.advance(self.random.choice((20, 150)), step=0.5)
            self.network.heal(PHONE, self.node.address[0])
        else:
            self.node.store.fail_next()

    def rest(self) -> list[bytes]:
        """What the server has in the end, when everything else has expired."""
        self.faults(0.0)
        publication = self.source.publication
        for _ in range(60):  # after many failures in a row it waits for long
            if publication.etag and not publication._dirty and publication._request is None:
                break
            self.node.advance(60, step=0.5)
        self.node.advance(150, step=0.5)
        live = self.node.presence.compositor.publications("presence", BOB)
        return [record.body for record in live]


class PartialTests(SynchronousTestCase):
    """What is kept at rest is what the source has said last."""

    def play(self, seed: int, share: float, protocol: str = "UDP", interval: float = 0.0) -> Play:
        """Change, lose and restart; then compare."""
        play = Play(seed, protocol, interval)
        play.faults(share)
        for number in range(30):
            play.change()
            play.node.advance(play.random.choice((0.0, 0.3, 2.0, 8.0)), step=0.1)
            if number % 6 == 5:
                play.trouble()
        play.change()
        kept = play.rest()
        self.assertEqual(len(kept), 1, seed)
        self.assertEqual(canonical(kept[0]), canonical(play.document), seed)
        done = play.source.stop()
        play.node.advance(40, step=0.25)
        self.successResultOf(done)
        self.assertEqual(play.node.presence.compositor.count, 0)
        return play

    def test_datagrams(self) -> None:
        """With a tenth to a third of everything lost, and a server with bad days.

        PPU-02, PPU-04, PPU-07, SRC-01, EVT-03.
        """
        forms: Counter[str] = Counter()
        for seed in range(30):
            forms += self.play(seed, (0.1, 0.2, 0.3)[seed % 3]).forms
        self.assertEqual(forms["PIDF"], 0)
        self.assertGreater(forms["Diff"], 100)
        self.assertGreater(forms["Full"], 30)
        self.assertEqual(forms["Diff failed"], 0, forms)

    def test_throttle(self) -> None:
        """With changes merged by SOURCE-THROTTLE-PUBLISH (SRC-02)."""
        for seed in range(100, 108):
            self.play(seed, 0.2, interval=10.0)

    def test_streams(self) -> None:
        """Over TCP (EVT-03)."""
        for seed in range(200, 204):
            self.play(seed, 0.0, "TCP")

    def test_without_support(self) -> None:
        """A server that knows PIDF only is told that (PPU-06)."""
        play = Play(1)
        play.node.presence.package.publish_types = ("application/pidf+xml",)
        for _ in range(10):
            play.change()
            play.node.advance(1)
        self.assertEqual(canonical(play.rest()[0]), canonical(play.document))
        self.assertEqual(set(play.forms), {"PIDF"} | ({"Full", "Full failed"} & set(play.forms)))
