"""Tests of :mod:`presence.reading` and :mod:`presence.backends`: where documents are read."""

from __future__ import annotations

import gc
from typing import Any, cast

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from presence.accounts import Accounts
from presence.config import Config, Fetch, FetchServer, Rules, Xcap
from presence.reading import PATIENCE, Reading, build_reading
from presence.xdmtables import PRESENCE_SERVER
from pysip.auth.domains import Domains
from pysip.event.subscriber import NotifyRouter
from tests.node import Node

ROOT = "https://xcap.example.com/"
DIRECTORY = "org.openmobilealliance.xcap-directory"
RULES = "org.openmobilealliance.pres-rules"


class ReadingTests(SynchronousTestCase):
    """Servers elsewhere, as the configuration names them."""

    def reading(self, *servers: FetchServer) -> Reading:
        """What reads."""
        config = Config(
            domains=("example.com",),
            xcap=Xcap(users="served"),
            fetch=Fetch(server=servers),
            rules=Rules(),
        )
        node = Node()
        found = build_reading(
            config,
            reactor,
            NotifyRouter(node.ua),
            None,
            cast("Accounts", None),
            Domains(("example.com",), {}),
        )
        assert found is not None
        return found

    def server(self, name: str, *, count: int = 1, **options: Any) -> FetchServer:
        """A document server."""
        places = tuple(f"http://127.0.0.1:{port}/" for port in range(1, count + 1))
        return FetchServer(name=name, servers=places, **options)

    def test_nothing(self) -> None:
        """Without documents in reach there is nothing to read."""
        node = Node()
        parts = (NotifyRouter(node.ua), None, cast("Accounts", None), Domains(("x",), {}))
        self.assertIsNone(build_reading(Config(domains=("x",)), reactor, *parts))

    def test_routes(self) -> None:
        """PRS-5, PRS-8: each usage at its server; the directory where the rules are (XDI-01)."""
        reading = self.reading(self.server("shared-xdms"), self.server("presence-xdms"))
        routes = reading.servers.routes
        for auid, name in {
            RULES: "presence-xdms",
            "pres-rules": "presence-xdms",
            "pidf-manipulation": "presence-xdms",
            DIRECTORY: "presence-xdms",
            "resource-lists": "shared-xdms",
        }.items():
            self.assertEqual(routes.route(auid, "sip:u@example.com").name, name, auid)
        self.assertTrue(reading.holds(RULES))
        self.assertFalse(reading.holds("rls-services"))

    def test_roots(self) -> None:
        """XDM-29: documents of other roots are nobody's that this process asks."""
        reading = self.reading(self.server("presence-xdms"))
        self.assertEqual(reading.identity, PRESENCE_SERVER)
        self.assertIsNotNone(reading.client(ROOT))
        self.assertIsNone(reading.client("https://other.example.com/"))

    def test_partitions(self) -> None:
        """PSV-07: who holds a user's documents tells of them."""
        places = ("sip:127.0.0.1:5070", "sip:127.0.0.1:5071")
        reading = self.reading(
            self.server("presence-xdms", count=2, partition="hash", sip=places),
            self.server("shared-xdms"),
        )
        group = reading.servers.routes.group(RULES)
        assert group is not None
        seen = set()
        for number in range(20):
            xui = f"sip:u{number}@example.com"
            place = group.partitions.index(group.holder(xui))
            following = reading.feed.follow(ROOT, (f"{RULES}/users/{xui}/",), print)
            follower = cast("Any", following)._follower
            self.assertEqual(follower._terms.route, (f"<{places[place]};lr>",))
            self.assertEqual(follower._terms.uri, "sip:example.com")
            seen.add(place)
        self.assertEqual(seen, {0, 1})
        following = reading.feed.follow(ROOT, ("resource-lists/users/sip:u@example.com/",), print)
        self.assertFalse(following.current, "nobody tells, so it is polled")

    def test_stop(self) -> None:
        """A document server that does not answer holds up the end for a while only."""

        class Silent:
            async def stop(self) -> None:
                await Deferred()

        clock = Clock()
        reading = attrs.evolve(
            self.reading(self.server("shared-xdms")), clock=clock, subscriptions=[Silent()]
        )
        stopping = Deferred.fromCoroutine(reading.stop())
        clock.advance(PATIENCE - 0.1)
        self.assertNoResult(stopping)
        clock.advance(0.1)
        self.successResultOf(stopping)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])
