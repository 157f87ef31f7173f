"""Tests of :mod:`presence.pidf.instant`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from presence.pidf.instant import instant

NOON = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC).timestamp()


class InstantTests(SynchronousTestCase):
    """Tests of :func:`instant`."""

    def test_values(self) -> None:
        """XML-05: any offset, fractions of seconds; without a zone it is UTC."""
        for text in (
            "2026-01-05T12:00:00Z",
            "2026-01-05T12:00:00",
            " 2026-01-05T12:00:00.000+00:00\n",
            "2026-01-05T13:30:00+01:30",
            "2026-01-05T02:00:00-10:00",
            "2026-01-05T11:59:60Z",
            "2026-01-05t12:00:00z",
        ):
            self.assertEqual(instant(text), NOON, text)
        self.assertEqual(instant("2026-01-05T12:00:00.25Z"), NOON + 0.25)
        self.assertEqual(instant("2026-01-05T24:00:00Z"), NOON + 12 * 3600)

    def test_far_years(self) -> None:
        """Years that no calendar has are before and after all others."""
        self.assertEqual(instant("12026-01-05T12:00:00Z"), float("inf"))
        self.assertEqual(instant("-0001-01-05T12:00:00Z"), float("-inf"))

    def test_refused(self) -> None:
        """What is no xs:dateTime is no instant."""
        for text in (
            "",
            "now",
            "2026-01-05",
            "2026-01-05 12:00:00Z",
            "2026-01-05T12:00Z",
            "2026-13-05T12:00:00Z",
            "2026-02-30T12:00:00Z",
            "0000-02-01T12:00:00Z",
            "2026-01-05T24:00:01Z",
            "2026-01-05T24:00:00.5Z",
            "2026-01-05T25:00:00Z",
            "2026-01-05T12:60:00Z",
            "2026-01-05T12:00:61Z",
            "2026-01-05T12:00:00+14:01",
            "2026-01-05T12:00:00+01:60",
            "2026-01-05T12:00:00.Z",
            "\u0662026-01-05T12:00:00Z",
            "2026-01-05T12:00:00Z,",
        ):
            self.assertIsNone(instant(text), text)

    @given(
        st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),
        st.integers(-14 * 60, 14 * 60),
    )
    def test_agrees_with_datetime(self, moment: datetime, minutes: int) -> None:
        """The instant does not depend on the zone it is written in."""
        zone = timezone(timedelta(minutes=minutes))
        found = instant(moment.astimezone(zone).isoformat())
        assert found is not None
        self.assertAlmostEqual(found, moment.timestamp(), places=4)
