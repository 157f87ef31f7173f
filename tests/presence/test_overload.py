"""Admission control by latency and memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from presence import overload
from presence.overload import LatencyGuard
from pysip.interfaces import IAdmissionControl


class GuardTests(SynchronousTestCase):
    """OVL-01: what is refused, and when."""

    def setUp(self) -> None:
        """A guard whose clock, store and memory a test sets."""
        self.clock = Clock()
        self.age = 0.0
        self.memory = 0
        self.patch(overload, "resident_memory", lambda: self.memory)

    def guard(self, **settings: Any) -> LatencyGuard:
        """A guard that measures."""
        guard = LatencyGuard(
            self.clock,
            queue_delay=0.5,
            store_delay=2.0,
            store_age=lambda: self.age,
            uniform=lambda low, high: high,
            **settings,
        )
        guard.start()
        self.addCleanup(guard.stop)
        return guard

    def stall(self, seconds: float) -> None:
        """Let the event loop come late by so much."""
        self.clock.advance(0.25 + seconds)

    def test_interface(self) -> None:
        """It provides IAdmissionControl."""
        verifyObject(IAdmissionControl, self.guard())

    def test_at_ease(self) -> None:
        """Nothing is refused while nothing is late."""
        guard = self.guard()
        self.stall(0.4)
        self.assertEqual(guard.admit("PUBLISH", True), 0)
        self.assertEqual(guard.shed, 0)

    def test_late_loop(self) -> None:
        """OVL-01: initial requests are refused first, refreshes at twice the limit."""
        guard = self.guard()
        self.stall(0.6)
        self.assertEqual(guard.admit("SUBSCRIBE", True), 45)
        self.assertEqual(guard.admit("SUBSCRIBE", False), 0)
        self.stall(1.2)
        self.assertEqual(guard.admit("SUBSCRIBE", False), 45)
        self.assertEqual(guard.admit("OPTIONS", True), 0, "OPTIONS makes no state")
        self.assertEqual(guard.shed, 2)

    def test_slow_store(self) -> None:
        """OVL-01: the age of the oldest change that is not durable counts as latency."""
        guard = self.guard()
        self.age = 2.5
        self.stall(0.0)
        self.assertTrue(guard.admit("PUBLISH", True))
        self.age = 0.0
        self.stall(0.0)
        self.stall(0.0)
        self.assertEqual(guard.admit("PUBLISH", True), 0)

    def test_memory(self) -> None:
        """OVL-01: so does resident memory, when it has a limit."""
        self.memory = 1100
        unlimited, limited = self.guard(), self.guard(memory=1000)
        self.stall(0.0)
        self.assertEqual(unlimited.admit("PUBLISH", True), 0)
        self.assertTrue(limited.admit("PUBLISH", True))

    def test_no_hurry_back(self) -> None:
        """Half of the past load stays: one quiet moment does not open the door."""
        guard = self.guard()
        self.stall(2.0)
        self.assertEqual(guard.load, 4.0)
        self.stall(0.0)
        self.assertEqual(guard.load, 2.0)
        self.assertTrue(guard.admit("PUBLISH", True))

    def test_delays(self) -> None:
        """OBS-01: every measured lateness is in the histogram."""
        guard = self.guard()
        self.stall(0.0)
        self.stall(0.3)
        self.stall(60.0)
        counts = dict(zip((*guard.delays.bounds, None), guard.delays.counts, strict=True))
        self.assertEqual(
            {bound: n for bound, n in counts.items() if n}, {0.001: 1, 0.5: 1, None: 1}
        )
        self.assertAlmostEqual(guard.delays.total, 60.3)


class MemoryTests(SynchronousTestCase):
    """:func:`presence.overload.resident_memory`."""

    def test_plausible(self) -> None:
        """This process has something between 1 MB and 100 GB."""
        self.assertTrue(1e6 < overload.resident_memory() < 1e11)
