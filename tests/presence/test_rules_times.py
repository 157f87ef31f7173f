"""Tests of :mod:`presence.rules.times`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from presence.rules.times import Validity, instant


class InstantTests(SynchronousTestCase):
    """xs:dateTime as seconds since the epoch (XML-05)."""

    def test_zone(self) -> None:
        """XDM-117: the zone counts, and a time without one is UTC."""
        wanted = datetime(2026, 12, 1, 8, tzinfo=UTC).timestamp()
        for text in (
            "2026-12-01T08:00:00Z",
            "2026-12-01T08:00:00",
            "2026-12-01T09:00:00+01:00",
            "2026-11-30T18:00:00-14:00",
            " 2026-12-01T08:00:00.000Z\n",
        ):
            self.assertEqual(instant(text), wanted, text)

    def test_fraction(self) -> None:
        """XML-05: fractional seconds of any length."""
        self.assertEqual(instant("1970-01-01T00:00:00.25Z"), 0.25)
        self.assertEqual(instant("1970-01-01T00:00:01.50000000000000000000001Z"), 1.5)

    def test_midnight(self) -> None:
        """24:00:00 is the beginning of the next day; no other time has that hour."""
        self.assertEqual(instant("2025-12-31T24:00:00Z"), instant("2026-01-01T00:00:00Z"))
        for text in ("2025-12-31T24:00:01Z", "2025-12-31T24:00:00.1Z", "2025-12-31T25:00:00Z"):
            self.assertRaises(ValueError, instant, text)

    def test_far(self) -> None:
        """Years beyond calendars are in order, however long."""
        years = ["-" + "9" * 5000, "-20000", "0001", "9999", "12345", "9" * 5000]
        times = [instant(f"{year}-01-01T00:00:00Z") for year in years]
        self.assertEqual(times, sorted(times))
        self.assertEqual((times[0], times[-1]), (-inf, inf))
        self.assertEqual(instant("10000-01-01T00:00:00Z"), instant("9999-12-31T24:00:00Z"))

    def test_refused(self) -> None:
        """What is no xs:dateTime is refused."""
        for text in (
            "",
            "2026-12-01",
            "2026-12-01 08:00:00Z",
            "2026-13-01T08:00:00Z",
            "2026-00-01T08:00:00Z",
            "2026-02-29T08:00:00Z",
            "2026-12-00T08:00:00Z",
            "2026-12-01T08:60:00Z",
            "2026-12-01T08:00:60Z",
            "2026-12-01T08:00:00+14:01",
            "2026-12-01T08:00:00+01:60",
            "2026-12-01T08:00:00z",
            "226-12-01T08:00:00Z",
            "٢٠٢٦-12-01T08:00:00Z",
        ):
            self.assertRaises(ValueError, instant, text)

    @given(
        st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))]))
    )
    def test_calendar(self, when: datetime) -> None:
        """The result is that of the calendar of the standard library."""
        self.assertAlmostEqual(
            instant(when.isoformat()),
            (when - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1),
            places=4,
        )


class ValidityTests(SynchronousTestCase):
    """Spans of time, with their edges."""

    def test_span(self) -> None:
        """XDM-117: true from the beginning up to, not at, the end."""
        validity = Validity.of([[(10.0, 20.0)]])
        self.assertEqual(
            [validity.holds(now) for now in (9.9, 10.0, 19.9, 20.0)], [False, True, True, False]
        )
        self.assertEqual([validity.next(now) for now in (0.0, 10.0, 20.0)], [10.0, 20.0, None])

    def test_no_span(self) -> None:
        """An end at or before its beginning is never true and changes nothing."""
        for pair in ((20.0, 10.0), (10.0, 10.0)):
            validity = Validity.of([[pair]])
            self.assertFalse(validity.holds(10.0))
            self.assertIsNone(validity.next(0.0))

    def test_without_end(self) -> None:
        """An end beyond the calendar never comes."""
        validity = Validity.of([[(10.0, inf)]])
        self.assertTrue(validity.holds(1e15))
        self.assertIsNone(validity.next(10.0))

    @given(
        st.lists(
            st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=3),
            min_size=1,
            max_size=3,
        )
    )
    def test_several(self, elements: list[list[tuple[int, int]]]) -> None:
        """XDM-91, XDM-110: pairs of an element are alternatives, elements all have to hold."""
        validity = Validity.of(elements)
        for now in range(-1, 11):
            wanted = all(any(a <= now < b for a, b in pairs) for pairs in elements)
            self.assertEqual(validity.holds(now), wanted)
            change = validity.next(now)
            until = 11 if change is None else int(change)
            for later in range(now, until):
                self.assertEqual(validity.holds(later), wanted)
            if change is not None:
                self.assertNotEqual(validity.holds(change), wanted)
