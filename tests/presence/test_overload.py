"""Admission control (OVL-01, OVL-02)."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from presence import overload
from presence.overload import LatencyGuard, resident_memory
from tests.node import BOB, Node, pidf


class LateClock(Clock):
    """A clock whose calls come late.

    :ivar late: seconds.
    """

    late = 0.0

    def busy(self, seconds: float) -> None:
        """The reactor does something else for so long."""
        self.rightNow += seconds


class GuardCase(SynchronousTestCase):
    """A guard that measures."""

    def make(self, **options: Any) -> LatencyGuard:
        """Start it."""
        self.clock = LateClock()
        options.setdefault("uniform", lambda low, high: (low + high) / 2)
        self.guard = LatencyGuard(self.clock, **options)
        self.guard.start()
        self.addCleanup(self.guard.stop)
        return self.guard

    def sample(self, late: float = 0.0, count: int = 1) -> None:
        """Measure so often, each time so late."""
        for _ in range(count):
            self.clock.busy(late)
            self.clock.advance(0.25)


class FigureTests(GuardCase):
    """What operators see of it."""

    def setUp(self) -> None:
        """Keep what is logged."""
        self.events: list[Any] = []
        log = Logger("test", observer=LogPublisher(self.events.append))
        self.patch(LatencyGuard, "_log", log)

    def test_delays(self) -> None:
        """OBS-01: every measured lateness is in the histogram."""
        guard = self.make()
        for late in (0.0, 0.3, 60.0):
            self.sample(late)
        counts = dict(zip((*guard.delays.bounds, None), guard.delays.counts, strict=True))
        found = {bound: count for bound, count in counts.items() if count}
        self.assertEqual(found, {0.001: 1, 0.5: 1, None: 1})
        self.assertAlmostEqual(guard.delays.total, 60.3)

    def test_told(self) -> None:
        """P301: beginning and end are in the log, once each."""
        self.make(queue_delay=0.5)
        for late in (0.6, 0.6, 0.6, 0.0, 0.0):
            self.sample(late)
        told = [event["log_format"].format(**event) for event in self.events]
        self.assertEqual(len(told), 2, told)
        self.assertTrue(told[0].startswith("P301: ") and "load is 1.20" in told[0], told)
        self.assertTrue(told[1].startswith("P301 is over"), told)

    def test_only_measuring(self) -> None:
        """Where refusing is switched off load is measured, nothing refused or reported."""
        guard = self.make(queue_delay=0.5, shedding=False)
        self.sample(2.0)
        self.assertEqual((guard.load, guard.admit("PUBLISH", True), guard.shed), (4.0, 0, 0))
        self.assertEqual(self.events, [])


class GuardTests(GuardCase):
    """What is measured and what is refused."""

    def test_quiet(self) -> None:
        """Everything is admitted, at the start and after."""
        guard = self.make()
        self.assertEqual(guard.admit("SUBSCRIBE", True), 0)
        self.sample(count=20)
        self.assertEqual(guard.admit("PUBLISH", True), 0)
        self.assertEqual(guard.shed, 0)

    def test_late(self) -> None:
        """Once the reactor is late by the limit initial requests are refused (OVL-01)."""
        guard = self.make(queue_delay=0.5)
        self.sample(0.4)
        self.assertEqual(guard.admit("SUBSCRIBE", True), 0)
        self.sample(0.6)
        self.assertEqual(guard.admit("SUBSCRIBE", True), 30)
        self.assertEqual(guard.shed, 1)

    def test_order_of_shedding(self) -> None:
        """Refreshes are refused at twice the limit only, answers and probes never (OVL-01)."""
        guard = self.make(queue_delay=0.5)
        self.sample(0.7)
        for method, initial, refused in (
            ("SUBSCRIBE", True, True),
            ("PUBLISH", True, True),
            ("REGISTER", True, True),
            ("SUBSCRIBE", False, False),
            ("PUBLISH", False, False),
            ("NOTIFY", False, False),
            ("OPTIONS", True, False),
        ):
            self.assertEqual(bool(guard.admit(method, initial)), refused, method)
        self.sample(1.5)
        self.assertTrue(guard.admit("SUBSCRIBE", False))
        self.assertTrue(guard.admit("PUBLISH", False))
        self.assertFalse(guard.admit("NOTIFY", False))
        self.assertFalse(guard.admit("OPTIONS", True))

    def test_recovers(self) -> None:
        """One stall shuts the door for a moment, not for ever."""
        guard = self.make(queue_delay=0.5)
        self.sample(0.9)
        self.assertTrue(guard.admit("SUBSCRIBE", True))
        self.sample(0.0)
        self.assertFalse(guard.admit("SUBSCRIBE", True))
        self.sample(20.0)
        refused = 0
        while guard.admit("SUBSCRIBE", True):
            refused += 1
            self.sample(0.0)
        self.assertTrue(2 <= refused <= 8, refused)

    def test_store(self) -> None:
        """A store that does not get its changes down is overload, too (OVL-01)."""
        age = 0.0
        guard = self.make(store_delay=2.0, store_age=lambda: age)
        self.sample()
        self.assertFalse(guard.admit("PUBLISH", True))
        age = 3.0
        self.sample()
        self.assertTrue(guard.admit("PUBLISH", True))
        self.assertFalse(guard.admit("PUBLISH", False))
        age = 4.5
        self.sample()
        self.assertTrue(guard.admit("PUBLISH", False))

    def test_memory(self) -> None:
        """Resident memory above its limit is overload (OVL-01); 0 is no limit."""
        self.patch(overload, "resident_memory", lambda: 150)
        guard = self.make(memory=100)
        self.sample()
        self.assertTrue(guard.admit("PUBLISH", True))
        guard = self.make(memory=0)
        self.sample()
        self.assertFalse(guard.admit("PUBLISH", True))

    def test_resident_memory(self) -> None:
        """The system tells; it is more than a megabyte and less than a terabyte."""
        self.assertTrue(2**20 < resident_memory() < 2**40)

    def test_spread(self) -> None:
        """Retry-After is spread by half to both sides, within 10 to 60 s (OVL-01)."""
        import random

        guard = self.make(uniform=random.Random(1).uniform)
        self.sample(5)
        waits = [guard.admit("SUBSCRIBE", True) for _ in range(500)]
        self.assertTrue(10 <= min(waits) <= 17 and 43 <= max(waits) <= 60)
        self.assertGreater(len(set(waits)), 20)
        guard = self.make(retry_after=1)
        self.sample(5)
        self.assertEqual(guard.admit("SUBSCRIBE", True), 1)  # 0 would admit

    def test_stop(self) -> None:
        """Stopped it leaves no timer, twice as well."""
        guard = self.make()
        guard.stop()
        guard.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class NodeTests(SynchronousTestCase):
    """A node under overload."""

    def setUp(self) -> None:
        """A node that is made busy by hand."""
        self.node = Node()
        self.guard = LatencyGuard(self.node.clock, uniform=lambda low, high: 30)
        self.node.ua.layer._admission = self.guard
        self.bob = self.node.peer()
        self.alice = self.node.peer("192.0.2.20")

    def test_refreshes_go_on(self) -> None:
        """New state is refused with Retry-After, what is there is kept up (OVL-01)."""
        published = self.bob.publish(pidf(note="x"))
        made = self.alice.subscribe(call_id="c1")
        self.guard.load = 1.5
        self.assertEqual(self.bob.publish(pidf()).first("retry-after"), "30")
        response = self.alice.subscribe(call_id="c2")
        self.assertEqual((response.status, response.first("retry-after")), (503, "30"))
        tag = published.first("sip-etag")
        refreshed = self.bob.publish(pidf(note="y"), sip_if_match=tag)
        self.assertEqual(refreshed.status, 200)
        response = self.alice.subscribe(
            made.contacts[0].uri, to=BOB, to_tag=made.to.tag, call_id="c1", expires=0
        )
        self.assertEqual(response.status, 200)
        self.assertEqual(self.bob.ask(self.bob.request("OPTIONS")).status, 200)

    def test_stateless(self) -> None:
        """Who is refused leaves nothing behind, however often it comes (OVL-02, UAS-14)."""
        self.guard.load = 3.0
        before = len(self.node.wheel)
        request = self.alice.request("SUBSCRIBE")
        first = self.alice.ask(request)
        again = self.alice.ask(request)
        self.assertEqual(first.encode(), again.encode())
        self.assertEqual(len(self.node.ua.layer.servers), 0)
        self.assertEqual(len(self.node.wheel), before)

    def test_nothing_is_looked_at(self) -> None:
        """The refusal comes before any parsing of the body (OVL-02)."""
        self.guard.load = 3.0
        self.patch(self.node.presence.package, "validate", None)
        self.patch(self.node.identities, "identify", None)
        self.assertEqual(self.bob.publish(b"<" * 1000).status, 503)
