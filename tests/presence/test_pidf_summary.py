"""Tests of :mod:`presence.pidf.summary`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from presence.pidf.components import Link, Network, Told, UserInput
from presence.pidf.parse import DocumentError
from presence.pidf.summary import Summary, latest_person, reachable, summarise
from tests.presence.documents import BOB, document, names, vector


class SummaryTests(SynchronousTestCase):
    """What a person wants to read of a document."""

    def test_source(self) -> None:
        """Status, contact, priority and activities are told."""
        summary = summarise(vector("valid-source-a"))
        self.assertEqual(summary.entity, BOB)
        self.assertEqual((summary.notes, summary.moods), ((), ()))
        self.assertEqual(summary.activities, ("meeting",))
        (service,) = summary.services
        self.assertEqual(
            (service.id, service.basic, service.contact, service.priority, service.notes),
            ("a1", "open", BOB, "0.8", ()),
        )

    def test_names_and_notes(self) -> None:
        """PID-06, DMO-08: notes of all levels; ``other`` gives its text, notes no name."""
        summary = summarise(vector("valid-rpid"))
        self.assertEqual(summary.activities, ("meeting", "lunch", "stand-up"))
        self.assertEqual(summary.moods, ("in_love", "relaxed"))
        self.assertEqual(summary.notes, ("In Hall 3",))
        summary = summarise(vector("valid-extensions"))
        self.assertEqual(summary.services[0].notes, ("Hello", "Hallo & gr\u00fc\u00dfe"))
        self.assertEqual(summary.notes, ("Away until Monday",))

    def test_notes_of_the_root(self) -> None:
        """DMO-08: a root note speaks for persons without a note, and for nobody else."""
        own = '<dm:person id="{}"><dm:note>mine</dm:note></dm:person>'
        root = "<note>ours</note>"
        for persons, notes in (
            ("", ("ours",)),
            (own.format("p"), ("mine",)),
            (own.format("p") + '<dm:person id="q"/>', ("ours", "mine")),
            (own.format("p") + own.format("q"), ("mine", "mine")),
        ):
            self.assertEqual(summarise(document(root + persons)).notes, notes)

    def test_no_status(self) -> None:
        """PID-04: an absent basic is neither open nor closed."""
        summary = summarise(vector("valid-no-basic"))
        self.assertEqual([service.basic for service in summary.services], [""])

    def test_terminal(self) -> None:
        """Text from afar cannot move the cursor of a terminal."""
        body = document("<note>a\n  b\u009b2J\u202ec&#x9;</note>")
        self.assertEqual(summarise(body).notes, ("a b2Jc",))

    def test_any_document(self) -> None:
        """All that is well-formed has a summary; what is not has an error."""
        for name in names("valid") + names("quirk") + names("encoding"):
            self.assertIsInstance(summarise(vector(name)), Summary)
        self.assertRaises(DocumentError, summarise, vector("bad-entity-bomb"))
        self.assertRaises(DocumentError, summarise, b"")


class RichTests(SynchronousTestCase):
    """What extensions say."""

    def setUp(self) -> None:
        """Read a document with everything in it."""
        self.summary = summarise(vector("valid-rich"))

    def test_person(self) -> None:
        """RPID, CIPID and OMA's willingness of a person (RPI-01, CIP-01, OMA-D01)."""
        (person,) = self.summary.persons
        self.assertEqual(person.names, ("Bob Builder",))
        evening = Told(("dinner",), (), "2026-01-05T19:00:00Z", "2026-01-05T20:00:00Z")
        fair = Told(("meeting", "stand-up"), ("at the fair",), "", "2026-01-05T18:00:00Z")
        self.assertEqual(person.activities, (fair, evening))
        self.assertEqual(person.moods, (Told(("happy", "relaxed")),))
        self.assertEqual(person.place_types, (Told(("convention-center",)),))
        self.assertEqual(person.place_is, (Told(("audio noisy", "video ok")),))
        self.assertEqual(person.privacy, (Told(("text",)),))
        self.assertEqual(person.spheres, (Told(("work",)),))
        self.assertEqual((person.time_offset, person.time_zone), ("60", "Berlin"))
        self.assertEqual((person.willingness, person.notes), ("open", ("In Hall 3",)))
        self.assertEqual(
            person.links[0], Link("status-icon", "https://icons.home.example/fair.png")
        )
        kinds = [link.kind for link in person.links[1:]]
        self.assertEqual(kinds, ["card", "homepage", "icon", "map", "sound"])

    def test_services(self) -> None:
        """A service by OMA's words and its capabilities (OMA-D01, CAP-01, TIM-02)."""
        talk, telephone = self.summary.services
        self.assertEqual(
            (talk.service_id, talk.version, talk.description),
            ("org.openmobilealliance:PoC-session", "1.0", "Push-to-talk"),
        )
        self.assertEqual((talk.willingness, talk.participation), ("open", "closed"))
        self.assertEqual((talk.registration, talk.barring), ("active", "terminated"))
        self.assertEqual(talk.rpid_class, "friends")
        self.assertEqual(talk.capabilities, ("audio", "principal", "de"))
        self.assertEqual([(t.basic, t.notes) for t in talk.timed], [("closed", ("dentist",))])
        self.assertEqual(talk.devices, (self.summary.devices[0].device_id,))
        self.assertEqual(telephone.relationship, Told(("assistant",)))

    def test_devices(self) -> None:
        """A device with its networks, its user and its place (OMA-D05, LOC-02)."""
        (device,) = self.summary.devices
        self.assertEqual(device.networks, (Network("IMS", "active"), Network("GPRS", "terminated")))
        self.assertEqual(device.user_input, UserInput("idle", "2026-01-05T09:50:00Z", "600"))
        self.assertEqual(device.notes, ("mobile",))

    def test_locations(self) -> None:
        """Points and addresses, also where the first form of RFC 4119 has them (LOC-02)."""
        self.assertEqual(self.summary.devices[0].locations, ("52.5163, 13.3777 (GPS)",))
        self.assertEqual(
            self.summary.persons[0].locations, ("floor 2, Pariser Platz 1, 10117 Berlin, DE",)
        )
        old = (
            '<gp:geopriv xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"><gp:location-info>'
            '<cl:civicAddress xmlns:cl="urn:ietf:params:xml:ns:pidf:geopriv10:civicLoc">'
            "<cl:A1>New York</cl:A1><cl:A6>Broadway</cl:A6></cl:civicAddress>"
            '<g:Circle xmlns:g="http://www.opengis.net/gml"><g:pos>1 2</g:pos>'
            "<g:radius>30</g:radius></g:Circle></gp:location-info></gp:geopriv>"
        )
        body = document(f'<tuple id="t"><status><basic>open</basic>{old}</status></tuple>')
        self.assertEqual(
            summarise(body).services[0].locations, ("Broadway, New York; 1, 2 within 30 m",)
        )

    def test_must_understand(self) -> None:
        """An extension with something in it that must be understood and is not is ignored (PID-08).

        RFC 3863 sections 4.2.3 and 4.3.3: not so what stands in an element that is ignored itself.
        """
        pidf = 'xmlns:p="urn:ietf:params:xml:ns:pidf"'
        for inner, activities in (
            (f'<r:meeting/><x:secret {pidf} p:mustUnderstand="1"/>', ()),
            (f'<r:meeting/><x:secret {pidf} p:mustUnderstand="true"/>', ()),
            (f'<r:meeting/><x:secret {pidf} p:mustUnderstand="false"/>', ("meeting", "secret")),
            (
                f'<r:meeting/><x:box><x:secret {pidf} p:mustUnderstand="1"/></x:box>',
                ("meeting", "box"),
            ),
            (f'<r:meeting {pidf} p:mustUnderstand="1"/>', ("meeting",)),
            (f'<r:other><x:a {pidf} p:mustUnderstand="1"/></r:other>', ()),
        ):
            body = document(
                f'<dm:person id="p"><r:activities>{inner}</r:activities>'
                "<r:mood><r:calm/></r:mood></dm:person>"
            )
            summary = summarise(body)
            self.assertEqual(summary.activities, activities, inner)
            self.assertEqual(summary.moods, ("calm",))
        place = (
            '<gp:geopriv xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"><gp:location-info>'
            '<g:pos xmlns:g="http://www.opengis.net/gml">1 2</g:pos>{}'
            "</gp:location-info></gp:geopriv>"
        )
        for more, found in (("", 1), (f'<x:fuzzy {pidf} p:mustUnderstand="1"/>', 0)):
            inner = f"<status><basic>open</basic>{place.format(more)}</status>"
            (service,) = summarise(document(f'<tuple id="t">{inner}</tuple>')).services
            self.assertEqual((service.basic, len(service.locations)), ("open", found))

    def test_several(self) -> None:
        """The latest tuple of a service and the latest person count (OMA-D04, WAT-07)."""

        def service(id: str, basic: str, second: int, name: str = "a", more: str = "") -> str:
            return (
                f'<tuple id="{id}"><status><basic>{basic}</basic></status>{more}'
                f"<op:service-description><op:service-id>{name}</op:service-id>"
                "<op:version>1</op:version></op:service-description>"
                f'<contact priority="0.{second}">{BOB}</contact>'
                f"<timestamp>2026-01-05T10:00:0{second}Z</timestamp></tuple>"
            )

        def person(id: str, second: int, more: str) -> str:
            return (
                f'<dm:person id="{id}">{more}'
                f"<dm:timestamp>2026-01-05T10:00:0{second}Z</dm:timestamp></dm:person>"
            )

        unwilling = (
            "<op:overriding-willingness><op:basic>closed</op:basic></op:overriding-willingness>"
        )
        for inner, status in (
            (service("t1", "open", 1) + service("t2", "closed", 2), "closed"),
            (service("t1", "open", 2) + service("t2", "closed", 1), "open"),
            (service("t1", "closed", 2) + service("t2", "open", 1, "b"), "open"),
            (
                service("t1", "open", 1, more="<op:barring-state>active</op:barring-state>"),
                "closed",
            ),
            (
                service(
                    "t1",
                    "open",
                    1,
                    more="<op:registration-state>terminated</op:registration-state>",
                ),
                "closed",
            ),
            (service("t1", "open", 1) + person("p1", 1, unwilling), "closed"),
            (
                service("t1", "open", 1)
                + person("p1", 1, unwilling)
                + person("p2", 2, "<r:mood><r:calm/></r:mood>"),
                "open",
            ),
            ('<tuple id="t"><status/></tuple>', ""),
        ):
            self.assertEqual(reachable(summarise(document(inner))), status, inner)
        summary = summarise(document(person("p1", 2, "") + person("p2", 1, "")))
        latest = latest_person(summary)
        assert latest is not None
        self.assertEqual(latest.id, "p1")
