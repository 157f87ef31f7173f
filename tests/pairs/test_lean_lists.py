"""Our watchers of lists, with all that saves traffic, and our Resource List Server."""

from __future__ import annotations

import random
from typing import Any

from presence.rls.listwatch import Taken
from presence.rls.subscription import ListSettings
from presence.watcher import ListWatch, Watcher, WatcherTerms, WatchOptions
from pysip.event.rates import Rates
from pysip.event.subscriber import NotifyRouter
from pysip.timers import TimerWheel
from pysip.transport.loop import LoopNetwork
from pysip.ua import UserAgent
from tests.node import SERVER, pidf
from tests.pairs.test_lean_watcher import FILTERS, canonical
from tests.pairs.test_presence import Silent
from tests.presence.listnode import ListNode
from tests.presence.listservices import FRIENDS, SERVICES, service, services
from tests.presence.rulesources import JOE, DocumentsTestCase
from tests.pysip.scripted import Anybody, NumericLocator

PEOPLE = tuple(f"sip:friend{number}@example.com" for number in range(6))


class Listening(Silent):
    """Is told of lists, too, and counts."""

    def __init__(self) -> None:
        self.told = 0

    def list_changed(self, watch: ListWatch, taken: Taken) -> None:
        """A NOTIFY."""
        self.told += 1


class ListTests(DocumentsTestCase):
    """Joe watches his friends."""

    def setUp(self) -> None:
        """A server, and a list of six."""
        super().setUp()
        self.put(SERVICES, services(service(PEOPLE)))
        self.node = ListNode(
            self.clients,
            self.feed,
            ListSettings(window=0.2),
            network=LoopNetwork(self.clock, 1),
        )
        self.phone = self.node.peer("192.0.2.10")
        self.etags: dict[str, str] = {}
        self.listener = Listening()
        self.hosts = iter(range(20, 99))

    def watcher(self) -> Watcher:
        """A watcher at an address of its own."""
        host = f"192.0.2.{next(self.hosts)}"
        agent = UserAgent(self.clock, TimerWheel(self.clock), NumericLocator("UDP"), Anybody())
        agent.start_transport(self.node.network.transport((host, 5060), "UDP"))
        terms = WatcherTerms(
            local_uri=f"<{JOE}>",
            contact=lambda: f"<sip:joe@{host}:5060>",
            route=(f"<sip:{SERVER[0]}:{SERVER[1]};lr>",),
        )
        return Watcher(NotifyRouter(agent), terms)

    def watch(self, **options: Any) -> ListWatch:
        """Watch the list."""
        watch = self.watcher().watch_list(FRIENDS, self.listener, WatchOptions(**options))
        self.node.advance(2)
        self.addCleanup(self.node.advance, 80, 0.5)
        self.addCleanup(watch.stop)
        return watch

    def publish(self, who: str, choice: random.Random) -> None:
        """One of them publishes something else."""
        fields: dict[str, Any] = {"sip_if_match": self.etags[who]} if who in self.etags else {}
        basic = choice.choice(("open", "closed"))
        body = pidf(who, basic, f"{choice.randrange(9)}" * 300)
        answer = self.phone.publish(body, who, expires=86400, **fields)
        self.assertEqual(answer.status, 200)
        self.etags[who] = answer.first("sip-etag") or ""

    def table(self, watch: ListWatch) -> dict[str, bytes | None]:
        """What a watch knows of each."""
        found = {}
        for uri, member in watch.table.members.items():
            document = member.instance.document if member.instance is not None else None
            found[uri] = canonical(document or None)
        return found

    def compare(self, watch: ListWatch, filters: bytes = b"") -> None:
        """It is what a plain fetch gives."""
        self.node.advance(5)
        fetched = self.watcher().fetch_list(FRIENDS, WatchOptions(filters=filters))
        self.node.advance(5)
        expected = self.table(self.successResultOf(fetched))
        self.assertEqual(self.table(watch), expected)
        self.assertEqual(list(expected), list(PEOPLE))
        self.assertTrue(any(expected.values()))
        self.assertEqual(watch.state, "active")

    def test_histories(self) -> None:
        """RLS-26, PNO-11, SNE-09: changes, pauses and refreshes: the table is what there is."""
        choice = random.Random(4662)
        for filters in (b"", FILTERS[1]):
            watch = self.watch(
                partial=True, conditional=True, compressed=True, objects=True, filters=filters
            )
            for _ in range(40):
                what = choice.randrange(10)
                if what == 0:
                    watch.suspend()
                elif what == 1:
                    watch.resume()
                elif what == 2:
                    watch.subscriber.refresh(full=False)
                else:
                    self.publish(choice.choice(PEOPLE), choice)
                self.node.advance(choice.uniform(0.0, 1.0))
            watch.resume()
            self.compare(watch, filters)

    def test_conditional(self) -> None:
        """SNE-11, SNE-15: a refresh brings nothing while nothing in the list has changed."""
        choice = random.Random(1)
        watch = self.watch(conditional=True)
        self.publish(PEOPLE[0], choice)
        self.node.advance(2)
        told = self.listener.told
        self.assertNotEqual(watch.tag, "")
        for _ in range(2):
            watch.subscriber.refresh(full=False)
            self.node.advance(40, step=0.5)
        self.assertEqual((self.listener.told, watch.state), (told, "active"))
        self.publish(PEOPLE[1], choice)
        self.node.advance(2)
        self.assertEqual(self.listener.told, told + 1)
        watch.subscriber.refresh(full=False)
        self.node.advance(40, step=0.5)
        self.assertEqual(self.listener.told, told + 1, "the tag is that of all parts")
        self.compare(watch)

    def test_rate(self) -> None:
        """RAT-11: the rate is that of the list's NOTIFYs, whoever of it changes."""
        choice = random.Random(2)
        watch = self.watch(rates=Rates(0.1))
        self.assertEqual(watch.rates, Rates(0.1))
        told = self.listener.told
        for number in range(40):
            self.publish(PEOPLE[number % 6], choice)
            self.node.advance(1)
        self.assertLessEqual(self.listener.told - told, 5)
        self.node.advance(10)
        self.compare(watch)
