"""The Presence Source (oma-presence.md section 5)."""

from __future__ import annotations

from itertools import pairwise

import attrs
from lxml import etree
from twisted.trial import unittest

from presence.partial.documents import CONTENT_TYPE as DIFF_TYPE
from presence.partial.documents import Diff, Full, read
from presence.partial.patching import apply
from presence.pidf import names
from presence.pidf.parse import DocumentError
from presence.pidf.summary import summarise
from presence.pidf.validate import accept
from presence.pidf.vocabulary import ACTIVITIES, MOODS, PLACES
from presence.source import PresenceSource, SourceTerms, Status
from pysip.event.publisher import Publisher
from pysip.message import Request
from tests.presence.compositions import canonical
from tests.pysip.scripted import Pair, answer
from tests.pysip.test_publisher import Compositor, Recorder

ALICE = "sip:alice@example.com"


class SourceTests(unittest.SynchronousTestCase):
    """A source and a scripted server."""

    def setUp(self) -> None:
        """A source that has said nothing yet."""
        self.pair = Pair()
        self.compositor = Compositor()
        self.pair.script("PUBLISH", self.compositor)
        self.publisher = Publisher(self.pair.client)
        self.told = Recorder()
        self.terms = SourceTerms(presentity=ALICE, local_uri=f"<{ALICE}>")
        self.source = self.make()

    def make(self, **changes: object) -> PresenceSource:
        """A source on other terms."""
        terms = attrs.evolve(self.terms, **changes)
        return PresenceSource(self.publisher, terms, self.told, lambda: 1700000000.0)

    @property
    def last(self) -> Request:
        """The last PUBLISH."""
        return self.pair.received[-1]

    def tree(self, **status: object) -> etree._Element:
        """The document of a status."""
        return etree.fromstring(self.source.document(Status(**status)))  # type: ignore[arg-type]

    def test_publish(self) -> None:
        """A status goes out as an initial PUBLISH with PIDF (SRC-01)."""
        self.source.set_status(Status(note="in a meeting"))
        self.pair.run()
        self.assertEqual(self.last.uri, ALICE)
        self.assertEqual(self.last.first("event"), "presence")
        self.assertEqual(self.last.first("content-type"), "application/pidf+xml")
        summary = summarise(self.last.body)
        self.assertEqual(summary.entity, ALICE)
        self.assertEqual([service.basic for service in summary.services], ["open"])
        self.assertEqual(summary.notes, ("in a meeting",))

    def test_valid(self) -> None:
        """Every document is valid by the schemas, strictly (SRC-01, PUB-08)."""
        self.source = self.make(device="urn:uuid:8e56a60a-0d07-4c5b-b1e7-0d29cc2b0aa1")
        for status in (
            Status(),
            Status(basic="closed", note="<away> & so on", contact="tel:+4930123"),
            Status(activities=("on-the-phone", "meeting")),
            Status(activities=("unknown", "away"), moods=("unknown",), place="unknown"),
            Status(
                note="hi",
                activities=("meeting", "Gartenarbeit"),
                moods=("happy", "so-so & more"),
                place="moon base",
                sphere="work",
                icon="https://example.com/me.png",
            ),
            *(Status(activities=(word,)) for word in ACTIVITIES),
            *(Status(moods=(word,)) for word in MOODS),
            *(Status(place=word) for word in PLACES),
        ):
            document = self.source.document(status)
            kept = accept(document, entity_ok=lambda uri: uri == ALICE, strict=True)
            self.assertEqual(kept, document)

    def test_tuple(self) -> None:
        """A tuple has contact, service-description, timestamp and a known device (SRC-04)."""
        self.source = self.make(device="urn:uuid:8e56a60a-0d07-4c5b-b1e7-0d29cc2b0aa1")
        tree = self.tree(note="x", activities=("away",))
        service = tree.find(names.TUPLE)
        assert service is not None
        self.assertEqual(service.findtext(names.CONTACT), ALICE)
        description = f"{{{names.OMA}}}service-description/{{{names.OMA}}}"
        self.assertEqual(service.findtext(f"{description}service-id"), "txpresence:status")
        self.assertEqual(service.findtext(f"{description}version"), "1.0")
        self.assertEqual(
            service.findtext(names.DEVICE_ID), "urn:uuid:8e56a60a-0d07-4c5b-b1e7-0d29cc2b0aa1"
        )
        self.assertEqual(service.findtext(names.TIMESTAMP), "2023-11-14T22:13:20.000Z")
        self.assertEqual(
            tree.findtext(f"{names.PERSON}/{names.DM_TIMESTAMP}"), "2023-11-14T22:13:20.000Z"
        )
        self.assertEqual(self.tree(contact="tel:+1").findtext(f".//{names.CONTACT}"), "tel:+1")
        self.assertIsNone(self.tree().find(names.PERSON))

    def test_person(self) -> None:
        """What a person does, feels and where it is; words that have no name are told as they are.

        RPI-05, RPI-01.
        """
        status = Status(
            activities=("meeting", "gardening"),
            moods=("happy",),
            place="office",
            sphere="work",
            icon="https://example.com/me.png",
        )
        (person,) = summarise(self.source.document(status)).persons
        self.assertEqual(person.activities[0].values, ("meeting", "gardening"))
        self.assertEqual(person.moods[0].values, ("happy",))
        self.assertEqual(person.place_types[0].values, ("office",))
        self.assertEqual(person.spheres[0].values, ("work",))
        self.assertEqual(person.links[0].uri, "https://example.com/me.png")
        office = self.tree(place="office").find(f".//{{{names.LOCATION_TYPE}}}office")
        self.assertIsNotNone(office)

    def test_device(self) -> None:
        """A device that is known is named by the tuple and described (SRC-04, DMO-03)."""
        self.assertEqual(summarise(self.source.document(Status())).devices, ())
        urn = "urn:uuid:8e56a60a-0d07-4c5b-b1e7-0d29cc2b0aa1"
        self.source = self.make(device=urn)
        summary = summarise(self.source.document(Status()))
        self.assertEqual([device.device_id for device in summary.devices], [urn])
        self.assertEqual(summary.services[0].devices, (urn,))
        self.assertTrue(summary.devices[0].timestamp)

    def test_ids_stay(self) -> None:
        """Ids are the same in all documents of a publication, others elsewhere (PUA-04)."""
        first = self.tree(note="one")
        second = self.tree(basic="closed", note="two")
        for kind in (names.TUPLE, names.PERSON):
            one, two = first.find(kind), second.find(kind)
            assert one is not None and two is not None
            self.assertEqual(one.get("id"), two.get("id"))
        self.source = self.make()
        other = self.tree().find(names.TUPLE)
        assert other is not None and one is not None
        self.assertNotEqual(other.get("id"), first.find(names.TUPLE).get("id"))  # type: ignore[union-attr]

    def test_throttle(self) -> None:
        """One PUBLISH per SOURCE-THROTTLE-PUBLISH, changes meanwhile merged (SRC-02)."""
        for number in range(30):
            self.source.set_status(Status(note=str(number)))
            self.pair.run(1)
        self.pair.run(10)
        self.assertEqual(len(self.pair.received), 4)
        gaps = [b - a for a, b in zip(self.pair.times, self.pair.times[1:], strict=False)]
        self.assertGreaterEqual(min(gaps), 10.0)
        self.assertEqual(summarise(self.last.body).notes, ("29",))

    def test_no_throttle(self) -> None:
        """0 means no limit (SRC-02)."""
        self.source = self.make(throttle=0.0)
        for number in range(5):
            self.source.set_status(Status(note=str(number)))
            self.pair.run()
        self.assertEqual(len(self.pair.received), 5)

    def test_partial(self) -> None:
        """The whole as pidf-full, then what has changed, if that is less (SRC-01, PPU-07)."""
        self.source = self.make(throttle=0.0, partial=True)
        kept = b""
        for number in range(4):
            status = Status(note=f"a note with some words in it: {number}", activities=("away",))
            if number == 3:
                status = Status()
            self.source.set_status(status)
            self.pair.run()
            self.assertEqual(self.last.first("content-type"), DIFF_TYPE)
            found = read(self.last.body)
            self.assertEqual(found.entity, ALICE)
            self.assertIsNone(found.version)
            self.assertIsInstance(found, Diff if number else Full)
            kept = apply(kept, found) if isinstance(found, Diff) else found.document
            self.assertEqual(canonical(kept), canonical(self.published(number, status)))
        self.assertEqual(self.told.failures, [])

    def published(self, number: int, status: Status) -> bytes:
        """What the document of a status was when it was published as number so and so."""
        self.source._stamped = 1700000000.0 + 0.001 * (number - 1) if number else 0.0
        return self.source.document(status)

    def test_partial_throttle(self) -> None:
        """Changes inside the interval are merged, since what was acknowledged (SRC-02, PPU-07)."""
        self.source = self.make(partial=True)
        for number in range(30):
            self.source.set_status(Status(note=f"a note that does not change: {number}"))
            self.pair.run(1)
        self.pair.run(10)
        whole, *changes = [read(request.body) for request in self.pair.received]
        assert isinstance(whole, Full)
        kept = whole.document
        for change in changes:
            assert isinstance(change, Diff)
            kept = apply(kept, change)
        self.assertEqual(len(changes), 3)
        self.assertEqual(summarise(kept).notes, ("a note that does not change: 29",))
        gaps = [b - a for a, b in pairwise(self.pair.times)]
        self.assertGreaterEqual(min(gaps), 10.0)

    def test_partial_document(self) -> None:
        """Documents made elsewhere go in parts, too, whatever their character set."""
        self.source = self.make(throttle=0.0, partial=True)
        text = self.source.document(Status(note="Grüße")).decode()
        old = text.replace("UTF-8", "ISO-8859-1").encode("latin-1")
        new = text.replace("Grüße", "Gruß").replace("UTF-8", "ISO-8859-1").encode("latin-1")
        self.source.set_document(old)
        self.pair.run()
        self.source.set_document(new)
        self.pair.run()
        whole, change = (read(request.body) for request in self.pair.received)
        assert isinstance(whole, Full) and isinstance(change, Diff)
        self.assertEqual(summarise(apply(whole.document, change)).notes, ("Gruß",))

    def test_partial_not_wanted(self) -> None:
        """A server without it gets PIDF (PPU-06, SRC-01)."""
        self.pair.script("PUBLISH", answer(415), self.compositor)
        self.source = self.make(throttle=0.0, partial=True)
        for note in ("one", "two"):
            self.source.set_status(Status(note=note))
            self.pair.run()
        kinds = [request.first("content-type") for request in self.pair.received]
        self.assertEqual(kinds, [DIFF_TYPE, "application/pidf+xml", "application/pidf+xml"])
        self.assertEqual(summarise(self.last.body).notes, ("two",))

    def test_stop(self) -> None:
        """Stopping removes the publication, whatever the throttle (SRC-05, SRC-02)."""
        self.source.set_status(Status())
        self.pair.run()
        done = self.source.stop()
        self.pair.run()
        self.successResultOf(done)
        self.assertEqual(self.last.first("expires"), "0")
        self.assertEqual(self.compositor.state, {})

    def test_several_sources(self) -> None:
        """Several sources of one presentity are told apart by their publications (OMP-05)."""
        other = self.make()
        self.source.set_status(Status(note="here"))
        other.set_status(Status(note="there"))
        self.pair.run(1)
        self.assertEqual(len(self.compositor.state), 2)

    def test_document(self) -> None:
        """A document made elsewhere is published as it is."""
        document = self.source.document(Status(note="mine"))
        document = document.replace(ALICE.encode(), b"sip:alice@EXAMPLE.com")
        self.source.set_document(document)
        self.pair.run()
        self.assertEqual(self.last.body, document)

    def test_unusable_document(self) -> None:
        """A document that cannot be ours is refused before anything is sent."""
        other = self.make(presentity="sip:bob@example.com").document(Status())
        for document in (b"", b"<presence", b"<presence/>", other, b"\xff"):
            with self.assertRaises(DocumentError):
                self.source.set_document(document)
        self.pair.run()
        self.assertEqual(self.pair.received, [])
