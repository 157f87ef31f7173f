"""Tests of :mod:`presence.filters.content`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from presence.filters.content import PIDF, WATCHERINFO, Kind, select
from presence.filters.errors import Exhausted
from presence.filters.expression import parse_expression
from presence.filters.model import Namespace, Selection, What
from presence.pidf import names, schemas
from presence.pidf.parse import parse_compact
from tests.presence.documents import document
from tests.presence.test_rules_transform import canonical

BINDINGS = {
    "p": names.PIDF,
    "dm": names.DM,
    "r": names.RPID,
    "op": names.OMA,
    "gp": names.GEOPRIV,
    "caps": names.CAPS,
    "x": "urn:example:extension",
    "wi": "urn:ietf:params:xml:ns:watcherinfo",
}


def what(include: str = "", exclude: str = "") -> What:
    """Selections, one a line; of a namespace when there is no slash."""

    def selections(text: str) -> tuple[Selection, ...]:
        return tuple(
            parse_expression(line, BINDINGS) if "/" in line else Namespace(BINDINGS[line.strip()])
            for line in text.strip().split("\n")
            if line.strip()
        )

    return What(selections(include), selections(exclude))


class Selections(SynchronousTestCase):
    """What checks share."""

    def check(self, before: str, asked: What, after: str | None) -> None:
        """A valid document becomes another valid one; None is no document."""
        octets = document(before)
        schemas.presence().assertValid(parse_compact(octets))
        found = select(octets, asked)
        if after is None:
            self.assertIsNone(found)
            return
        assert found is not None
        schemas.presence().assertValid(parse_compact(found))
        self.assertEqual(canonical(found), canonical(document(after).replace(b">\n<", b"><")))


TUPLE = (
    '<tuple id="t1"><status><basic>open</basic><x:s>1</x:s></status><r:class>IM</r:class>'
    '<x:a k="1" l="2">mixed<x:b/>text</x:a>'
    '<contact priority="0.5">sip:a@b</contact><note xml:lang="de">n</note>'
    "<timestamp>2026-01-05T10:00:00Z</timestamp></tuple>"
)
DEVICE = (
    '<dm:device id="d1"><r:class>x</r:class><dm:deviceID>urn:x:1</dm:deviceID>'
    "<dm:note>n</dm:note></dm:device>"
)
PERSON = (
    '<dm:person id="p1"><r:activities from="2026-01-05T10:00:00Z"><r:note>n</r:note><r:away/>'
    "<r:busy/></r:activities><r:mood><r:note>n</r:note><r:sad/><r:shy/></r:mood>"
    "<dm:note>m</dm:note></dm:person>"
)


class IncludeTests(Selections):
    """What is selected, and what that needs."""

    def test_nothing_asked(self) -> None:
        """Without selections everything is delivered, as it is (FLT-04)."""
        octets = document(TUPLE)
        self.assertIs(select(octets, What()), octets)

    def test_additive(self) -> None:
        """Includes add up (FLT-04, FLT-09)."""
        self.check(
            TUPLE + DEVICE,
            what("//p:note\n//dm:note"),
            '<tuple id="t1"><status><basic>open</basic><x:s>1</x:s></status>'
            '<note xml:lang="de">n</note></tuple>'
            '<dm:device id="d1"><dm:deviceID>urn:x:1</dm:deviceID><dm:note>n</dm:note></dm:device>',
        )

    def test_subtree(self) -> None:
        """An element comes with all it contains, and with its ancestors (FLT-10)."""
        self.check(PERSON + DEVICE, what("//dm:person"), PERSON)
        self.check(
            PERSON,
            what("//r:mood"),
            '<dm:person id="p1"><r:mood><r:note>n</r:note><r:sad/><r:shy/></r:mood></dm:person>',
        )

    def test_root(self) -> None:
        """The root is the whole document; its attribute the bare one (FLT-10)."""
        octets = document(TUPLE + PERSON)
        self.assertIs(select(octets, what("/p:presence")), octets)
        self.check(TUPLE, what("/p:presence/@entity"), "")

    def test_attribute(self) -> None:
        """An attribute comes with its element: its text, no other child or attribute (FLT-10)."""
        self.check(
            TUPLE,
            what("//p:contact/@priority\n//@k"),
            '<tuple id="t1"><status><basic>open</basic><x:s>1</x:s></status><x:a k="1"/>'
            '<contact priority="0.5">sip:a@b</contact></tuple>',
        )
        self.check(
            PERSON,
            what("//@from"),
            '<dm:person id="p1"><r:activities from="2026-01-05T10:00:00Z"/></dm:person>',
        )

    def test_attributes_of_ancestors(self) -> None:
        """Ancestors keep mandatory attributes only, and no text between (FLT-10)."""
        self.check(
            TUPLE,
            what("//x:b"),
            '<tuple id="t1"><status><basic>open</basic><x:s>1</x:s></status><x:a><x:b/></x:a>'
            "</tuple>",
        )

    def test_mandatory(self) -> None:
        """Children that the schema demands are restored as they were (FLT-10)."""
        service = (
            "<op:service-description><op:service-id>s</op:service-id><op:version>1</op:version>"
            "%s</op:service-description>"
        )
        described = service % "<op:description>d</op:description>"
        frame = '<tuple id="t1"><status/>%s</tuple>'
        self.check(frame % described, what("//op:description"), frame % described)
        self.check(frame % described, what("//op:version"), frame % (service % ""))
        networks = (
            '<dm:device id="d"><op:network-availability x:m="1">%s</op:network-availability>'
            "<dm:deviceID>urn:x:1</dm:deviceID></dm:device>"
        )
        both = '<op:network id="IMS"><op:active/></op:network><op:network id="B"/>'
        self.check(
            networks % both,
            what("//op:network/@id"),
            (networks % '<op:network id="IMS"/><op:network id="B"/>').replace(' x:m="1"', ""),
        )
        self.check(
            networks % both,
            what("//@x:m"),
            networks % '<op:network id="IMS"><op:active/></op:network>',
        )

    def test_one_of(self) -> None:
        """What must hold something keeps the first that it holds (FLT-10)."""
        self.check(
            PERSON,
            what("//r:mood/r:note"),
            '<dm:person id="p1"><r:mood><r:note>n</r:note><r:sad/></r:mood></dm:person>',
        )
        place = '<dm:person id="p"><r:place-is><r:audio><r:ok/></r:audio></r:place-is></dm:person>'
        self.check(place, what("", "//r:ok"), place)

    def test_restored_by_schema(self) -> None:
        """Where only the schema knows, it is asked (FLT-10)."""
        geopriv = (
            '<tuple id="t"><status><gp:geopriv xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10">'
            "<gp:location-info><x:y/></gp:location-info><gp:usage-rules/><gp:method>m</gp:method>"
            "</gp:geopriv></status></tuple>"
        )
        self.check(
            geopriv, what("//gp:usage-rules"), geopriv.replace("<gp:method>m</gp:method>", "")
        )
        provided = geopriv.replace(
            "</gp:geopriv>", "<gp:provided-by><x:a/><x:b x:k='1'/></gp:provided-by></gp:geopriv>"
        )
        self.check(
            provided,
            what("//gp:provided-by/@nobody\n//gp:usage-rules", ""),
            geopriv.replace("<gp:method>m</gp:method>", ""),
        )
        self.check(provided, what("", "//gp:provided-by/*"), provided.replace("<x:a/>", ""))
        caps = (
            '<tuple id="t"><status/><caps:servcaps xmlns:caps="urn:ietf:params:xml:ns:pidf:caps">'
            "<caps:audio>true</caps:audio><caps:video>true</caps:video></caps:servcaps></tuple>"
        )
        self.check(caps, what("//caps:video"), caps.replace("<caps:audio>true</caps:audio>", ""))

    def test_namespace(self) -> None:
        """The elements of a namespace, their attributes, and no others but ancestors (FLT-05)."""
        self.check(
            TUPLE + PERSON,
            what("p"),
            '<tuple id="t1"><status><basic>open</basic></status>'
            '<contact priority="0.5">sip:a@b</contact><note xml:lang="de">n</note>'
            "<timestamp>2026-01-05T10:00:00Z</timestamp></tuple>",
        )
        self.check(
            TUPLE + PERSON,
            what("x"),
            '<tuple id="t1"><status><x:s>1</x:s></status>'
            '<x:a k="1" l="2">mixed<x:b/>text</x:a></tuple>',
        )
        self.check(
            '<tuple id="t"><status/><x:a>1<r:class>c</r:class>2</x:a></tuple>',
            what("x"),
            '<tuple id="t"><status/><x:a>12</x:a></tuple>',
        )

    def test_nothing_selected(self) -> None:
        """Nothing selected that is there or may be seen: no document, no error (FLT-12, FLT-13)."""
        for asked in ("//p:person", "//x:nobody/@k", "//p:tuple[@id='x']", "gp", "//@nobody"):
            self.check(TUPLE, what(asked), None)
        self.check(TUPLE, what("//p:contact", "//p:tuple"), None)
        self.check(TUPLE, what("//@k", "//x:a"), None)
        self.check(TUPLE, what("//@k", "//@k"), None)

    def test_declared(self) -> None:
        """Namespaces are declared where they are used, and no others (FLT-14)."""
        found = select(document(TUPLE + PERSON), what("//r:mood"))
        assert found is not None
        root = parse_compact(found)
        self.assertEqual(set(root.nsmap.values()), {names.PIDF, names.DM, names.RPID})
        self.assertTrue(found.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<presence '))
        self.assertEqual(root.get("entity"), "sip:bob@home.example")

    def test_conditions(self) -> None:
        """Conditions see the whole document, also what is not delivered (FLT-10)."""
        self.check(
            TUPLE + '<tuple id="t2"><status/></tuple>',
            what('//p:tuple[r:class="IM"]/p:status', '//p:tuple[r:class="IM"]/r:class\n//x:s'),
            '<tuple id="t1"><status><basic>open</basic></status></tuple>',
        )


class ExcludeTests(Selections):
    """What is left out."""

    def test_alone(self) -> None:
        """Without includes everything else is delivered (FLT-04)."""
        self.check(TUPLE + PERSON, what("", "//dm:person"), TUPLE)
        self.check(TUPLE + PERSON, what("", "p"), PERSON)

    def test_wins(self) -> None:
        """What is excluded is gone, although it is included or restored (FLT-11)."""
        self.check(
            TUPLE,
            what("//p:tuple", "//p:note\n//p:basic\nx\n//@priority\n//p:timestamp"),
            '<tuple id="t1"><status/><r:class>IM</r:class><contact>sip:a@b</contact></tuple>',
        )
        self.check(
            TUPLE,
            what("//p:contact", "//p:basic\n//x:s"),
            '<tuple id="t1"><status/><contact priority="0.5">sip:a@b</contact></tuple>',
        )

    def test_text_stays(self) -> None:
        """The text after an element is not part of it."""
        self.check(
            '<tuple id="t"><status/><x:a>1<x:b/>2<x:b/>3</x:a></tuple>',
            what("", "//x:b"),
            '<tuple id="t"><status/><x:a>123</x:a></tuple>',
        )

    def test_undone(self) -> None:
        """A removal that the schema does not allow is undone, that one alone (FLT-11)."""
        octets = document(TUPLE + DEVICE)
        for needed in (
            "/p:presence",
            "//p:status",
            "//dm:deviceID",
            "//p:tuple/@id",
            "//dm:device/@id",
            "/p:presence/@entity",
        ):
            self.assertIs(select(octets, what("", needed)), octets, needed)
        self.check(
            TUPLE,
            what("", "//p:tuple/*\n//p:tuple/@id"),
            '<tuple id="t1"><status><basic>open</basic><x:s>1</x:s></status></tuple>',
        )

    def test_last_of_several(self) -> None:
        """Of several of which there must be one the last stays (FLT-11)."""
        self.check(
            PERSON,
            what("//r:mood", "//r:mood/r:sad\n//r:mood/r:shy\n//r:mood/r:note"),
            '<dm:person id="p1"><r:mood><r:shy/></r:mood></dm:person>',
        )

    def test_undone_by_schema(self) -> None:
        """Where only the schema knows it is asked, for each removal (FLT-11)."""
        geopriv = (
            '<tuple id="t"><status><gp:geopriv xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10">'
            "<gp:location-info/><gp:usage-rules/><gp:method>m</gp:method></gp:geopriv>"
            "</status></tuple>"
        )
        less = geopriv.replace("<gp:method>m</gp:method>", "")
        self.check(geopriv, what("", "//gp:method"), less)
        self.check(geopriv, what("", "//gp:usage-rules\n//gp:method\n//gp:location-info"), less)
        self.check(geopriv, what("", "gp"), '<tuple id="t"><status/></tuple>')
        self.check(geopriv, what("", "//gp:geopriv/*"), less)

    def test_everything(self) -> None:
        """Nothing left is nothing selected (FLT-12)."""
        self.check(TUPLE + PERSON, what("", "/p:presence/*"), None)
        self.check(TUPLE, what("", "//p:tuple"), None)
        octets = document("")
        self.assertIs(select(octets, what("", "//p:tuple")), octets)


class WatcherinfoTests(SynchronousTestCase):
    """Documents of RFC 3858."""

    def test_mandatory(self) -> None:
        """Watchers keep what they must have, lists and the root too (FLT-10, FLT-11)."""
        head = b'<watcherinfo xmlns="urn:ietf:params:xml:ns:watcherinfo" version="3" state="full">'
        row = b'<watcher-list resource="sip:a@b" package="presence">%b</watcher-list></watcherinfo>'
        one = b'<watcher status="active" event="approved" id="1"%b>sip:x@y</watcher>'
        octets = head + row % (one % b' expiration="5" display-name="X"')
        for asked in (
            what("//@expiration", ""),
            what("", "//@display-name\n//@status\n//@package"),
        ):
            found = select(octets, asked, WATCHERINFO)
            assert found is not None
            self.assertEqual(canonical(found), canonical(head + row % (one % b' expiration="5"')))
        self.assertIsNone(select(octets, what('//wi:watcher[@status="pending"]'), WATCHERINFO))
        self.assertEqual(
            canonical(select(octets, what("", "//wi:watcher"), WATCHERINFO) or b""),
            canonical(head + row % b""),
        )


class CostTests(SynchronousTestCase):
    """What a watcher can make us do (FLT-27)."""

    def refused(self, octets: bytes, asked: What, kind: Kind = PIDF) -> None:
        """It costs too much, every time."""
        for _ in range(2):
            self.assertRaises(Exhausted, select, octets, asked, kind)

    def test_large(self) -> None:
        """Simple selections from large documents are possible, costly ones are not (FLT-27)."""
        tuples = "".join(
            f'<tuple id="t{n}"><status><basic>open</basic></status><note>n</note></tuple>'
            for n in range(2000)
        )
        octets = document(tuples)
        self.assertIsNotNone(select(octets, what("//p:note")))
        self.assertIsNotNone(select(octets, what("", "//p:note")))
        self.refused(octets, what("\n".join(["//*//*//*"] * 20)))
        self.refused(octets, what('//*[..="1"]'))
        caps = '<caps:servcaps xmlns:caps="urn:ietf:params:xml:ns:pidf:caps">%s</caps:servcaps>'
        caps %= "<caps:audio>true</caps:audio><caps:video>true</caps:video>"
        octets = document("".join(f'<tuple id="t{n}"><status/>{caps}</tuple>' for n in range(2000)))
        self.assertIsNotNone(select(octets, what("//caps:servcaps")))
        self.refused(octets, what("//caps:audio"))
        self.refused(octets, what("", "//caps:audio"))
