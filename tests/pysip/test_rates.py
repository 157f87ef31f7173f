"""Rates of notifications: reading, adopting, pausing (RFC 6446)."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from pysip.event.rates import Pulse, Rates, adaptive_pause, adopt, format_rate, read_rates


class ReadTests(SynchronousTestCase):
    """Parameters of Event (RAT-01)."""

    def test_values(self) -> None:
        """One or two digits and up to ten after the point, above zero; all else is ignored."""
        for text, value in (
            ("1", 1.0),
            ("0.2", 0.2),
            ("99.9999999999", 99.9999999999),
            ("0.0000000001", 0.0000000001),
            ("00.5", 0.5),
            ("0", 0.0),
            ("0.0", 0.0),
            ("100", 0.0),
            (".5", 0.0),
            ("1.", 0.0),
            ("-1", 0.0),
            ("1e1", 0.0),
            ("0.00000000001", 0.0),
            ("\u0661", 0.0),
            ("", 0.0),
            (None, 0.0),
        ):
            self.assertEqual(read_rates({"max-rate": text}).maximum, value, text)

    def test_names(self) -> None:
        """Each rate has its parameter, and is written as it is read (RAT-02)."""
        params = {"id": "1", "max-rate": "1", "min-rate": "0.01", "adaptive-min-rate": "0.1"}
        rates = read_rates(params)
        self.assertEqual(rates, Rates(1.0, 0.01, 0.1))
        self.assertEqual(rates.params, ";max-rate=1;min-rate=0.01;adaptive-min-rate=0.1")
        self.assertEqual((Rates().params, bool(Rates()), bool(rates)), ("", False, True))

    def test_written_values_can_be_read(self) -> None:
        """Whatever was computed has the form of RFC 6446 section 9.2."""
        rng = random.Random(6446)
        for _ in range(2000):
            rate = 10 ** rng.uniform(-14, 5)
            read = read_rates({"max-rate": format_rate(rate)}).maximum
            self.assertGreater(read, 0.0)
            self.assertAlmostEqual(read, min(99.9999999999, max(rate, 1e-10)), 9)


class AdoptTests(SynchronousTestCase):
    """What the notifier keeps to."""

    def test_as_asked(self) -> None:
        """Within our own limits nothing is changed (RAT-02)."""
        asked = Rates(0.1, 0.01, 0.05)
        self.assertEqual(adopt(asked, 3600, 5.0, 1.0), asked)
        self.assertEqual(adopt(Rates(), 3600, 5.0, 1.0), Rates())

    def test_own_interval(self) -> None:
        """Nobody is told more often than we like (RAT-10)."""
        self.assertEqual(adopt(Rates(1.0), 3600, 5.0, 1.0), Rates(0.2))
        self.assertEqual(adopt(Rates(1.0), 3600, 0.0, 1.0), Rates(1.0))
        self.assertEqual(adopt(Rates(0, 1.0), 3600, 5.0, 1.0), Rates(0, 0.2))

    def test_before_the_end(self) -> None:
        """A rate that would let nothing pass before the end is raised (RAT-05, RAT-14)."""
        self.assertEqual(adopt(Rates(0.0001), 3600, 5.0, 1.0), Rates(1 / 3600))
        self.assertEqual(adopt(Rates(0.01), 50, 5.0, 1.0), Rates(0.02))
        self.assertEqual(adopt(Rates(0.01), 0, 5.0, 1.0), Rates(0.2))

    def test_conflicts(self) -> None:
        """RAT-09."""
        self.assertEqual(adopt(Rates(0.1, 0.5), 3600, 0.0, 9.0), Rates(0.1, 0.1))
        self.assertEqual(adopt(Rates(0.1, 0, 0.5), 3600, 0.0, 9.0), Rates(0.1, 0, 0.1))
        self.assertEqual(adopt(Rates(0, 0.5, 0.5), 3600, 0.0, 9.0), Rates(0, 0, 0.5))
        self.assertEqual(adopt(Rates(0, 0.5, 0.1), 3600, 0.0, 9.0), Rates(0, 0, 0.1))
        self.assertEqual(adopt(Rates(1, 0.1, 0.5), 3600, 0.0, 9.0), Rates(1, 0.1, 0.5))

    def test_repetitions_are_bounded(self) -> None:
        """The operator says how often the same may be told again; 0 never."""
        self.assertEqual(adopt(Rates(0, 0.5, 0.9), 3600, 0.0, 0.25), Rates(0, 0, 0.25))
        self.assertEqual(adopt(Rates(1.0, 0.5, 0.9), 3600, 0.0, 0.0), Rates(1.0))


class PauseTests(SynchronousTestCase):
    """When the next notification is due."""

    def test_worked_example(self) -> None:
        """RAT-12."""
        self.assertAlmostEqual(adaptive_pause(6, 0.1, 60), 10)
        self.assertAlmostEqual(adaptive_pause(12, 0.1, 60), 20)
        self.assertAlmostEqual(adaptive_pause(1, 0.1, 60), 1.6667, 3)
        self.assertAlmostEqual(adaptive_pause(1, 0.1, 60, 0.2), 5)

    def test_minimum(self) -> None:
        """The reciprocal of the minimum rate (RAT-07); 0 without one."""
        self.assertEqual(self.pulse(Rates(0, 0.1)).sent(0.0), 10)
        self.assertEqual(self.pulse(Rates(0.1)).sent(0.0), 0)
        self.assertEqual(self.pulse(Rates(0.1)).interval, 10)

    def test_adaptive(self) -> None:
        """The pause is about the reciprocal, and longer after a burst (RAT-08)."""
        now = 1000.0
        pulse = self.pulse(Rates(0, 0, 0.1), now)
        for _ in range(100):
            pause = pulse.sent(now)
            self.assertApproximates(pause, 10, 0.01)
            now += pause
        for _ in range(10):
            now += 0.1
            pause = pulse.sent(now)
        self.assertApproximates(pause, 19, 0.01)  # of eleven seconds, 20 in 110
        for _ in range(5000):
            pause = pulse.sent(now)
        self.assertApproximates(pause, 1000, 1)  # of more than a thousand nothing is kept
        now += 1000  # longer than the period: as if nothing had been sent
        self.assertApproximates(pulse.sent(now), 1, 0.01)

    def test_both(self) -> None:
        """The minimum rate bounds the pause of the adaptive one."""
        pulse = self.pulse(Rates(0, 0.08, 0.1))
        for _ in range(50):
            pause = pulse.sent(0.0)
        self.assertEqual(pause, 12.5)

    def pulse(self, rates: Rates, now: float = 0.0) -> Pulse:
        """One that adopts what is asked."""
        return Pulse(rates, rates, now, lambda: None)
