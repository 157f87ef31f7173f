"""Publishers and watchers that repeat, over a network that loses, doubles and delays."""

from __future__ import annotations

import random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysip.event.interfaces import IPublisherDelegate, ISubscriberDelegate
from pysip.event.publisher import Document, Publication, PublicationTerms, Publisher
from pysip.event.subscriber import NotifyRouter, Subscriber
from pysip.event.terms import SubscriptionTerms
from pysip.message import Request, Response
from pysip.timers import TimerWheel
from pysip.tokens import TokenSource
from pysip.ua import UserAgent
from tests.audit import NotifyAudit
from tests.node import DOMAIN, SERVER, Node, pidf
from tests.pysip.scripted import Anybody, random_octets

PIDF = "application/pidf+xml"


def client(node: Node, host: str, seed: int, protocol: str = "UDP") -> UserAgent:
    """A user agent of a client; its requests reach the node by their route."""
    agent = UserAgent(
        node.clock,
        TimerWheel(node.clock),
        node.ua.sender.locator,
        Anybody(),
        tokens=TokenSource(random_octets(seed)),
    )
    agent.start_transport(node.network.transport((host, 5060), protocol))
    return agent


def route(protocol: str) -> tuple[str, ...]:
    """The way to the node."""
    transport = "" if protocol == "UDP" else ";transport=tcp"
    return (f"<sip:{SERVER[0]}:{SERVER[1]}{transport};lr>",)


@implementer(IPublisherDelegate)
class Source:
    """Publishes so many states one after the other, with pauses, removals and new starts."""

    def __init__(
        self, node: Node, publisher: Publisher, uri: str, count: int, rng: random.Random, way: str
    ) -> None:
        self.node = node
        self.uri = uri
        self.left = count
        self.sent = 0
        self.rng = rng
        self.note = ""
        self.failures: list[int | None] = []
        terms = PublicationTerms(
            uri=uri, local_uri=f"<{uri}>", package="presence", route=route(way)
        )
        self.publication = Publication(publisher, terms, self)
        self.next()

    def next(self) -> None:
        """Publish another state, or remove it all."""
        if not self.left:
            return
        self.left -= 1
        self.sent += 1
        if self.left and self.publication.etag and self.rng.random() < 0.1:
            self.note = ""
            removed: Deferred[None] = self.publication.remove()
            removed.addCallback(lambda _: self.later())
            return
        self.note = f"{self.uri[4:9]}-{self.sent}."
        self.publication.publish(Document(PIDF, pidf(self.uri, note=self.note)))

    def later(self) -> None:
        """Go on after a pause."""
        self.node.clock.callLater(self.rng.choice([0.0, 0.01, 0.3, 2.0]), self.next)

    def published(self, lifetime: int) -> None:
        """A state has arrived, or it was refreshed."""
        self.later()

    def publication_failed(self, response: Response | None, retry_after: float | None) -> None:
        """That must not happen."""
        self.failures.append(response.status if response is not None else None)


@implementer(ISubscriberDelegate)
class Watching:
    """Keeps what one watcher has been told last."""

    def __init__(self) -> None:
        self.body = b""
        self.cseqs: list[int] = []
        self.ends: list[str] = []

    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """A NOTIFY."""
        self.cseqs.append(request.cseq[0])
        self.body = body or self.body

    def subscription_failed(self, response: Response | None, retry_after: float | None) -> None:
        """That must not happen."""
        self.ends.append("failed")

    def subscription_ended(self, reason: str, retry_after: float | None) -> None:
        """Nor that, while it is wanted."""
        self.ends.append(reason)


class LossyTests(SynchronousTestCase):
    """EVT-01 over a bad network."""

    def play(
        self,
        seed: int,
        *,
        interval: float = 0.0,
        presentities: int = 10,
        each: int = 100,
        watchers: int = 2,
        protocol: str = "UDP",
    ) -> None:
        """Let everybody publish; in the end all watchers have the last document.

        :param each: PUBLISH requests of each presentity.
        :param watchers: of each presentity.
        """
        node = Node(interval=interval, seed=seed)
        audit = NotifyAudit(node)
        network = node.network
        rng = random.Random(seed)
        sources, watches = [], []
        for number in range(presentities):
            uri = f"sip:user{number}@{DOMAIN}"
            for place in range(watchers):
                host = f"198.51.{number}.{place + 1}"
                watcher = client(node, host, seed * 1000 + number * 10 + place, protocol)
                suffix = "" if protocol == "UDP" else ";transport=tcp"
                terms = SubscriptionTerms(
                    uri=uri,
                    local_uri=f"<sip:w{place}@{DOMAIN}>",
                    package="presence",
                    contact=lambda host=host, suffix=suffix: f"<sip:w@{host}:5060{suffix}>",
                    accept=(PIDF,),
                    expires=300,  # refreshed several times
                    route=route(protocol),
                )
                told = Watching()
                subscriber = Subscriber(NotifyRouter(watcher), terms, told)
                node.clock.callLater(rng.uniform(0, 5), subscriber.subscribe)
                watches.append((uri, told))
            agent = client(node, f"203.0.113.{number + 1}", seed * 7919 + number, protocol)
            sources.append(Source(node, Publisher(agent), uri, each, rng, protocol))
        network.loss = 0.1
        network.duplicate = 0.05
        network.reorder = 0.1
        network.delay = (0.005, 0.08)
        if protocol == "TCP":
            network.segment = 300
        limit = node.clock.seconds() + 3600
        while any(source.left for source in sources):
            self.step(node)
            self.assertLess(node.clock.seconds(), limit, "it does not come to an end")
        end = node.clock.seconds() + 60 + 2 * interval
        while node.clock.seconds() < end:
            self.step(node)
        self.assertEqual(sum(source.sent for source in sources), presentities * each)
        self.assertEqual([source.failures for source in sources], [[]] * presentities)
        notes = {source.uri: source.note.encode() for source in sources}
        for uri, told in watches:
            self.assertEqual(told.ends, [])
            self.assertIn(b"<note>" + notes[uri] + b"</note>", told.body)
            self.assertEqual(told.body.count(b"<tuple"), 1)  # nothing is left of older ones
            self.assertEqual(told.cseqs, list(range(1, len(told.cseqs) + 1)))
        self.assertEqual(audit.errors, [])
        self.assertEqual(node.presence.compositor.count, presentities)
        self.assertEqual(len(node.presence.notifier), presentities * watchers)
        if protocol == "UDP":
            self.assertGreater(node.ua.layer.retransmissions, 0)

    @staticmethod
    def step(node: Node) -> None:
        """Go on to what happens next."""
        calls = node.clock.getDelayedCalls()
        node.clock.advance(max(0.0, min(c.getTime() for c in calls) - node.clock.seconds()))

    def test_thousand(self) -> None:
        """A thousand PUBLISHes, a tenth of everything lost (EVT-01, EVT-03, TXN-05, TXN-07)."""
        self.play(1)

    def test_rate_gate(self) -> None:
        """With the rate gate the last state arrives all the same (NOT-13, NOT-05)."""
        self.play(2, interval=5.0, presentities=5, each=60)

    def test_connections(self) -> None:
        """Over TCP, cut into small segments."""
        self.play(3, presentities=4, each=50, protocol="TCP")

    def test_seeds(self) -> None:
        """Other chances."""
        for seed in range(4, 10):
            self.play(seed, presentities=3, each=15, watchers=1)
