"""Presence documents that we make and those that we keep (presence-data.md A and M)."""

from __future__ import annotations

from datetime import UTC, datetime

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.pidf import names
from presence.source import PresenceSource, SourceTerms, Status
from pysip.event.publisher import Publisher
from tests.node import BOB, Node, pidf
from tests.presence.documents import document, lenient, strict
from tests.pysip.scripted import Pair
from tests.pysip.test_publisher import Recorder

DATES = (
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00.123456789Z",
    "2026-01-01T05:30:00+05:30",
    "2025-12-31T10:00:00.5-14:00",
    "2026-01-01T00:00:00",
)


class SourceTests(SynchronousTestCase):
    """What our own Presence Source writes."""

    def setUp(self) -> None:
        """A source with a wall clock that the test sets."""
        self.now = 1_767_225_600.0
        terms = SourceTerms(presentity=BOB, local_uri=f"<{BOB}>")
        self.source = PresenceSource(Publisher(Pair().client), terms, Recorder(), lambda: self.now)

    def stamps(self, status: Status) -> set[str]:
        """The timestamps of a document, each once."""
        root = etree.fromstring(self.source.document(status))
        return {
            element.text or ""
            for tag in (names.TIMESTAMP, names.DM_TIMESTAMP)
            for element in root.iter(tag)
        }

    def test_timestamps_rise(self) -> None:
        """No two documents have the same timestamp, even if the clock is set back (PID-07)."""
        seen: list[str] = []
        for step in (0, 0, 0.0001, 1, -3600, 0, 0.5):
            self.now += step
            (stamp,) = self.stamps(Status(note="x"))
            seen.append(stamp)
        self.assertEqual(len(set(seen)), len(seen))
        self.assertEqual(sorted(seen), seen)
        for stamp in seen:
            self.assertRegex(stamp, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            seen[0], datetime.fromtimestamp(1_767_225_600, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        )

    def test_nothing_must_be_understood(self) -> None:
        """No element of ours has to be understood, and none changes what basic means (PID-11)."""
        text = self.source.document(Status(note="x", activities=("away",)))
        self.assertNotIn(b"mustUnderstand", text)
        status = etree.fromstring(text).find(f".//{names.STATUS}")
        assert status is not None
        self.assertEqual([child.tag for child in status], [names.BASIC])

    def test_nothing_of_others(self) -> None:
        """Neither relations nor classes are told, and status holds basic only (RPI-07, DMO-10)."""
        for status in (Status(), Status(contact="tel:+1", note="x", activities=("away",))):
            tree = etree.fromstring(self.source.document(status))
            within = {child.tag for child in tree.iterfind(f".//{names.STATUS}/*")}
            self.assertEqual(within, {names.BASIC})
            rpid = {element.tag for element in tree.iter(f"{{{names.RPID}}}*")}
            for name in ("class", "service-class", "relationship"):
                self.assertNotIn(f"{{{names.RPID}}}{name}", rpid)


class DateTests(SynchronousTestCase):
    """Timestamps of others (XML-05)."""

    def test_forms(self) -> None:
        """Fractions, offsets and a missing zone are taken and kept, in both modes (XML-05)."""
        for date in DATES:
            text = document(
                f'<tuple id="a"><status/><timestamp>{date}</timestamp></tuple>'
                f'<dm:person id="p"><dm:timestamp>{date}</dm:timestamp></dm:person>'
            )
            for accepted in (lenient(text), strict(text)):
                self.assertEqual(accepted.count(date.encode()), 2, date)

    def test_delivered(self) -> None:
        """The watcher gets them as they were published (XML-05, PID-07)."""
        node = Node()
        alice, bob = node.peer("192.0.2.20"), node.peer("192.0.2.10")
        alice.subscribe()
        for date in DATES:
            stamped = pidf().replace(b"</tuple>", f"<timestamp>{date}</timestamp></tuple>".encode())
            self.assertEqual(bob.publish(stamped, call_id=date[-9:]).status, 200)
            self.assertIn(f"<timestamp>{date}</timestamp>".encode(), alice.notifies()[-1].body)
