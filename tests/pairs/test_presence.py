"""Our sources and watchers with our server, over a network that loses, doubles and reorders."""

from __future__ import annotations

import random

from twisted.internet.task import Clock
from twisted.trial import unittest
from zope.interface import implementer

from presence.interfaces import IWatchListener
from presence.pidf.summary import summarise
from presence.source import PresenceSource, SourceTerms, Status
from presence.watcher import PresenceWatch, Watcher, WatcherTerms
from pysip.event.interfaces import IPublisherDelegate
from pysip.event.publisher import Publisher
from pysip.event.subscriber import NotifyRouter
from pysip.message import Response
from pysip.timers import TimerWheel
from pysip.transport.loop import LoopNetwork
from pysip.ua import UserAgent
from tests.node import ALICE, BOB, SERVER, Node
from tests.pysip.scripted import Anybody, NumericLocator


@implementer(IWatchListener, IPublisherDelegate)
class Silent:
    """Is told everything and says nothing."""

    def changed(self, watch: PresenceWatch) -> None:
        """A NOTIFY."""

    def failed(
        self, watch: PresenceWatch, response: Response | None, retry_after: float | None
    ) -> None:
        """A failure."""

    def ended(self, watch: PresenceWatch, reason: str, retry_after: float | None) -> None:
        """An end."""

    def published(self, lifetime: int) -> None:
        """A success."""

    def publication_failed(self, response: Response | None, retry_after: float | None) -> None:
        """A failure."""


class FaultTests(unittest.SynchronousTestCase):
    """EVT-03: whatever the network does, in the end everybody sees the final state."""

    def agent(self, node: Node, host: str, protocol: str) -> UserAgent:
        """A client's user agent, all of whose requests go to the node or a Contact."""
        locator = NumericLocator(protocol)
        agent = UserAgent(node.clock, TimerWheel(node.clock), locator, Anybody())
        agent.start_transport(node.network.transport((host, 5060), protocol))
        return agent

    def converge(self, protocol: str, seed: int) -> None:
        """Publish many states with faults and compare what the watchers hold at the end."""
        network = LoopNetwork(Clock(), seed)
        node = Node(network=network)
        network.loss, network.duplicate, network.reorder = 0.1, 0.1, 0.1
        network.delay = (0.005, 0.1)
        choice = random.Random(seed)
        listener = Silent()
        route = (f"<sip:{SERVER[0]}:{SERVER[1]};lr>",)
        watches = []
        for number in range(5):
            host = f"192.0.2.{20 + number}"
            transport = "" if protocol == "UDP" else ";transport=tcp"
            contact = f"<sip:w@{host}:5060{transport}>"
            terms = WatcherTerms(
                local_uri=f"<{ALICE}>", contact=lambda contact=contact: contact, route=route
            )
            router = NotifyRouter(self.agent(node, host, protocol))
            watches.append(Watcher(router, terms).watch(BOB, listener))
        sources = []
        for number in range(2):
            publisher = Publisher(self.agent(node, f"192.0.2.{40 + number}", protocol))
            source_terms = SourceTerms(
                presentity=BOB, local_uri=f"<{BOB}>", throttle=0.0, route=route
            )
            sources.append(PresenceSource(publisher, source_terms, listener, node.wall))
        for number in range(60):
            which = choice.randrange(2)
            sources[which].set_status(Status(note=f"{which} {number}"))
            node.advance(choice.uniform(0.0, 0.8))
            if protocol == "TCP" and number % 20 == 10:
                network.reset(f"192.0.2.{20 + number % 5}", SERVER[0])
        for which, source in enumerate(sources):
            source.set_status(Status(note=f"{which} last"))
        node.advance(60, step=0.5)
        for watch in watches:
            assert watch.document is not None
            notes = sorted(summarise(watch.document).notes)
            self.assertEqual(notes, ["0 last", "1 last"], f"{protocol}, seed {seed}")
        for source in sources:
            source.stop()
        for watch in watches:
            watch.stop()
        node.advance(70, step=0.5)
        self.assertEqual(len(node.presence.notifier), 0)
        self.assertEqual(node.presence.compositor.count, 0)

    def test_datagrams(self) -> None:
        """Over UDP, with loss, duplication and reordering (EVT-03)."""
        for seed in range(3):
            self.converge("UDP", seed)

    def test_streams(self) -> None:
        """Over TCP, with connections reset in between (EVT-03, TRN-25)."""
        self.converge("TCP", 1)
