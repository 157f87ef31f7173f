"""Tests of :mod:`presence.compose.timed`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from presence.compose.timed import next_change, prune, remaining
from presence.pidf.instant import instant
from tests.presence.documents import document, strict

NAMESPACES = (
    ' xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"'
    ' xmlns:gbp="urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy"'
)
NOON = instant("2026-01-05T12:00:00Z") or 0.0
DAY = 86400.0


def location(expiry: str = "") -> str:
    """A location that may be kept until then; "" does not say."""
    given = f"<gbp:retention-expiry>{expiry}</gbp:retention-expiry>" if expiry else ""
    return (
        "<gp:geopriv><gp:location-info><x:here/></gp:location-info>"
        f"<gp:usage-rules>{given}</gp:usage-rules></gp:geopriv>"
    )


def about(inner: str) -> bytes:
    """A document that is valid."""
    body = document(inner, NAMESPACES)
    assert strict(body) is body
    return body


class LocationTests(SynchronousTestCase):
    """Locations and how long they may be kept."""

    def test_kept(self) -> None:
        """LOC-03: what may not be kept any longer is discarded, and nothing else."""
        tuple_ = '<tuple id="t"><status>{}</status>{}</tuple>'
        person = '<dm:person id="p">{}<dm:timestamp>{}</dm:timestamp></dm:person>'
        late, soon = "2026-01-05T13:00:00+01:00", "2026-01-05T12:00:00.1Z"
        for inner, kept in (
            (tuple_.format(location(late), ""), 0),
            (tuple_.format(location(soon), location(late)), 1),
            (tuple_.format("", f"<x:a>{location(late)}</x:a>"), 0),
            (tuple_.format("", location()), 1),
            (person.format(location(), "2026-01-04T12:00:00"), 0),
            (person.format(location(), "2026-01-04T12:00:01Z"), 1),
            (person.format(location(soon), "2026-01-01T12:00:00Z"), 1),
            (f"<x:root>{location(late)}</x:root>", 0),
        ):
            body = about(inner)
            found, _ = prune(body, NOON, NOON)
            self.assertEqual(found.count(b"<gp:geopriv"), kept, inner)
            self.assertIs(strict(found), found)
            if kept == inner.count("<gp:geopriv"):
                self.assertIs(found, body)
            self.assertEqual(
                found.count(b"<x:a") + found.count(b"<x:root"),
                inner.count("<x:") - inner.count("<x:here"),
            )

    def test_nothing_else_discarded(self) -> None:
        """TIM-02: what the time leaves out for now only is kept all the same."""
        body = about(
            '<tuple id="t"><status/><ts:timed-status'
            ' xmlns:ts="urn:ietf:params:xml:ns:pidf:timed-status"'
            ' from="2026-01-05T11:00:00Z" until="2026-01-05T13:00:00Z"/>'
            f"{location()}</tuple>"
            '<dm:person id="p"><r:mood until="2026-01-01T00:00:00Z"><r:sad/></r:mood></dm:person>'
        )
        self.assertEqual(prune(body, NOON, NOON), (body, NOON + DAY))
        self.assertNotIn(b"timed-status", remaining(body, NOON, NOON))

    def test_default(self) -> None:
        """LOC-03: a day after it came, when neither rules nor timestamp say."""
        body = about(f'<tuple id="t"><status/>{location()}</tuple>')
        self.assertEqual(next_change(body, NOON, NOON), NOON + DAY)
        self.assertIs(remaining(body, NOON + DAY - 1, NOON), body)
        self.assertNotIn(b"geopriv", remaining(body, NOON + DAY, NOON).split(b">", 2)[2])

    def test_next(self) -> None:
        """LOC-03: when less may be kept is known, for each location of its own."""
        body = about(
            f'<tuple id="t"><status/>{location("2026-01-05T12:01:00Z")}</tuple>'
            f'<dm:person id="p">{location("2026-01-05T12:02:00Z")}</dm:person>'
            f'<dm:person id="q">{location("123456-01-01T00:00:00Z")}</dm:person>'
        )
        now, seen = NOON, []
        while True:
            body, at = prune(body, now, NOON)
            seen.append((now - NOON, body.count(b"<gp:geopriv")))
            if at is None:
                break
            now = at
        self.assertEqual(seen, [(0.0, 3), (60.0, 2), (120.0, 1)])

    def test_only_content(self) -> None:
        """DMO-09, LOC-03: what would be empty without its location goes as well, and no more."""
        place = location("2026-01-05T11:00:00Z")
        for inner, left in (
            (f"<r:mood><r:note>n</r:note>{place}</r:mood>", b""),
            (f"<r:mood><r:sad/>{place}</r:mood>", b"<r:mood><r:sad/></r:mood>"),
            (f"<r:relationship>{place}</r:relationship>", b""),
            (f"<r:activities>{place}{place}</r:activities>", b""),
            (f"<x:a>{place}</x:a>", b"<x:a/>"),
        ):
            body = about(f'<tuple id="t"><status/>{inner}</tuple>')
            for found in (remaining(body, NOON, NOON), prune(body, NOON, NOON)[0]):
                self.assertIs(strict(found), found)
                self.assertIn(b"<status/>" + left + b"</tuple>", found)
