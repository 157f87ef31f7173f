"""Tests of the timer wheel."""

from __future__ import annotations

import sys
from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pysip.timers import Alarm, TimerValues, TimerWheel


class TimerValuesTests(SynchronousTestCase):
    """RFC 3261 table 4."""

    def test_defaults(self) -> None:
        """Timers B, F, H, J and N are 32 s; a client's timer E reaches T2 after 3.5 s (TXN-08)."""
        values = TimerValues()
        self.assertEqual((values.transaction, values.provisional), (32.0, 3.5))


class TimerWheelTests(SynchronousTestCase):
    """The wheel fires in time, forgets what is cancelled and bounds its turns."""

    def setUp(self) -> None:
        """A wheel on a fake clock, and a list of what fired."""
        self.clock = Clock()
        self.wheel = TimerWheel(self.clock, budget=10)
        self.fired: list[tuple[str, float]] = []

    def alarm(self, name: str) -> Alarm:
        """An alarm that notes when it fired."""
        return Alarm(lambda: self.fired.append((name, round(self.clock.seconds(), 3))))

    def test_order_and_time(self) -> None:
        """Timers fire in the order of their times, never early."""
        for name, delay in (("c", 32.0), ("a", 0.5), ("b", 1.5)):
            self.wheel.after(delay, self.alarm(name))
        for _ in range(3300):
            self.clock.advance(0.01)
        self.assertEqual([name for name, _ in self.fired], ["a", "b", "c"])
        for (_, time), due in zip(self.fired, (0.5, 1.5, 32.0), strict=True):
            self.assertTrue(due - 1e-6 <= time <= due + 0.0501, time)
        self.assertEqual(len(self.wheel), 0)

    def test_odd_delay_is_never_early(self) -> None:
        """A deadline between two slots fires at the later one."""
        self.wheel.after(0.51, self.alarm("a"))
        self.clock.advance(0.5)
        self.assertEqual(self.fired, [])
        self.clock.advance(0.05)
        self.assertEqual(self.fired, [("a", 0.55)])

    def test_cancel_and_move(self) -> None:
        """A cancelled timer never fires; one set again fires once, at the new time."""
        cancelled, moved = self.alarm("cancelled"), self.alarm("moved")
        self.wheel.after(1, cancelled)
        self.wheel.after(1, moved)
        self.wheel.cancel(cancelled)
        self.wheel.after(2, moved)
        self.clock.pump([0.05] * 60)
        self.assertEqual(self.fired, [("moved", 2.0)])

    def test_a_failing_timer_does_not_stop_the_others(self) -> None:
        """The failure is logged and the next timer fires."""
        self.wheel.after(1, Alarm(lambda: 1 // 0))
        self.wheel.after(1, self.alarm("b"))
        self.clock.advance(1)
        self.assertEqual(self.fired, [("b", 1.0)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_turns_are_bounded(self) -> None:
        """Many timers of one moment are spread over several reactor turns."""
        for i in range(25):
            self.wheel.after(1, self.alarm(str(i)))
        at_turn: list[int] = []
        call_later = self.clock.callLater

        def counting(delay: float, function: Callable[[], None]) -> object:
            at_turn.append(len(self.fired))
            return call_later(delay, function)

        self.clock.callLater = counting  # type: ignore[assignment, method-assign]
        self.clock.advance(1)
        self.assertEqual(at_turn, [10, 20])
        self.assertEqual(len(self.fired), 25)

    def test_memory(self) -> None:
        """Timers that were cancelled leave no room behind until their time (NFR-01)."""
        alarms = [self.alarm(str(i)) for i in range(1000)]
        for alarm in alarms:
            self.wheel.after(100, alarm)
        for alarm in alarms:
            self.wheel.cancel(alarm)
        (slot,) = self.wheel._slots.values()
        self.assertEqual(sys.getsizeof(slot), sys.getsizeof({}))

    def test_cancelled_and_set_in_a_turn(self) -> None:
        """What a timer sets anew for this very moment, after cancelling the last, fires."""
        last = self.alarm("last")

        def fire() -> None:
            self.wheel.cancel(last)
            self.wheel.after(0, self.alarm("new"))

        self.wheel.after(1, Alarm(fire))
        self.wheel.after(1, last)
        self.clock.advance(1)
        self.clock.advance(0.05)
        self.assertEqual([name for name, _ in self.fired], ["new"])
        self.assertEqual(len(self.wheel), 0)

    def test_turns_are_short(self) -> None:
        """Timers that take long are spread over more turns (NFR-01)."""
        wheel = TimerWheel(self.clock, 0.05, seconds=0.01)
        turns: list[int] = []
        fired: list[int] = []

        def fire() -> None:
            fired.append(len(turns))
            self.clock.rightNow += 0.004

        for _ in range(7):
            wheel.after(1, Alarm(fire))
        call_later = self.clock.callLater

        def counting(delay: float, function: Callable[[], None]) -> object:
            turns.append(0)
            return call_later(delay, function)

        self.clock.callLater = counting  # type: ignore[assignment, method-assign]
        self.clock.advance(1)
        self.assertEqual(fired, [0, 0, 0, 1, 1, 1, 2])

    def test_stop(self) -> None:
        """A stopped wheel leaves no delayed call behind."""
        self.wheel.after(1, self.alarm("a"))
        self.wheel.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
