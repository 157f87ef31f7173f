"""Tests of :mod:`presence.pidf.repair`: lenient mode (CLI-10)."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.pidf.parse import DocumentError, parse
from tests.presence.documents import document, lenient, names, strict, vector

NAMESPACES = {
    "": "urn:ietf:params:xml:ns:pidf",
    "dm": "urn:ietf:params:xml:ns:pidf:data-model",
    "r": "urn:ietf:params:xml:ns:pidf:rpid",
    "op": "urn:oma:xml:prs:pidf:oma-pres",
    "lt": "urn:ietf:params:xml:ns:location-type",
    "x": "urn:example:extension",
}


def repaired(body: bytes) -> etree._Element:
    """The tree of what lenient mode keeps, after checking that strict mode would take it."""
    kept = lenient(body)
    if strict(kept) is not kept or lenient(kept) is not kept:
        raise AssertionError("the result is not valid")
    return parse(kept)


def outline(element: etree._Element) -> str:
    """Local names in nested brackets."""
    inner = " ".join(outline(child) for child in element)
    name = etree.QName(element).localname
    return f"{name}({inner})" if inner else name


def texts(root: etree._Element, path: str) -> list[str | None]:
    """Texts of the elements at a path."""
    return [element.text for element in root.iterfind(path, NAMESPACES)]


def ids(root: etree._Element) -> list[str]:
    """All ``id`` attributes in document order."""
    return [element.get("id", "") for element in root.iter() if "id" in element.attrib]


class VectorTests(SynchronousTestCase):
    """Each oddity seen, repaired as it is meant."""

    def test_all_valid(self) -> None:
        """CLI-10: whatever is taken is schema-valid afterwards, and stable."""
        for name in names("quirk"):
            repaired(vector(name))
            self.assertEqual(lenient(vector(name)), lenient(vector(name)), name)

    def test_liblinphone(self) -> None:
        """CLI-10: foreign status child kept, empty activities gone, PIDF timestamp to dm."""
        root = repaired(vector("quirk-liblinphone"))
        self.assertEqual(
            outline(root),
            "presence(tuple(status(basic online) contact timestamp) person(note timestamp))",
        )
        self.assertEqual(texts(root, "dm:person/dm:timestamp"), ["2026-01-05T10:00:00Z"])
        self.assertEqual(ids(root), ["q5rcgv", "q5rcgv-2"])

    def test_baresip(self) -> None:
        """CLI-10, PID-02: basic "unknown" says nothing; the person goes behind the tuple."""
        root = repaired(vector("quirk-baresip"))
        self.assertEqual(outline(root), "presence(tuple(status contact) person)")

    def test_basic_case(self) -> None:
        """PID-04: only lower case is a value; white space around it does not matter."""
        root = repaired(vector("quirk-basic-case"))
        self.assertEqual(outline(root), "presence(tuple(status) tuple(status(basic)))")
        self.assertEqual(texts(root, "tuple/status/basic"), ["open"])

    def test_duplicate_ids(self) -> None:
        """CLI-10, DMO-04: the first keeps its id, the others get free ones."""
        root = repaired(vector("quirk-duplicate-ids"))
        self.assertEqual(ids(root), ["t", "t-3", "t-2", "t-4", "t-5"])
        self.assertEqual(
            texts(root, "tuple[@id='t-3']/contact"), ["sip:2@home.example"], "content moved"
        )

    def test_missing_ids(self) -> None:
        """CLI-10: ids are made from kind and position; what is no NCName becomes one."""
        root = repaired(vector("quirk-no-ids"))
        self.assertEqual(
            ids(root), ["tuple-1-2", "tuple-2", "_9_lives", "tuple-1", "person-1", "device-1"]
        )

    def test_no_namespace(self) -> None:
        """CLI-10: a forgotten xmlns means PIDF, data model or RPID by the place."""
        root = repaired(vector("quirk-no-namespace"))
        self.assertEqual(
            outline(root),
            "presence(tuple(status(basic) contact) note person(activities(away) note))",
        )
        self.assertEqual(texts(root, "dm:person/dm:note"), ["gone"])
        self.assertEqual(len(root.findall("dm:person/r:activities/r:away", NAMESPACES)), 1)

    def test_order(self) -> None:
        """PID-02, PID-03: children come out in schema order."""
        root = repaired(vector("quirk-order"))
        self.assertEqual(
            outline(root),
            "presence(tuple(status(basic y) ext service-description(service-id version) contact"
            " note timestamp) note person(mood(note happy) note timestamp)"
            " device(class deviceID note))",
        )

    def test_stray_text(self) -> None:
        """Text where only elements are allowed goes, the elements stay."""
        root = repaired(vector("quirk-status-text"))
        self.assertEqual(outline(root), "presence(tuple(status(basic) note))")
        self.assertEqual(texts(root, "tuple/note"), ["n"])

    def test_no_status(self) -> None:
        """PID-04: a tuple without status gets an empty one."""
        root = repaired(vector("quirk-no-status"))
        self.assertEqual(outline(root), "presence(tuple(status contact))")

    def test_attributes(self) -> None:
        """PID-05: attributes the schema does not allow go; the rest of the element stays."""
        root = repaired(vector("quirk-unknown-attributes"))
        contact = root.find("tuple/contact", NAMESPACES)
        assert contact is not None
        self.assertEqual(dict(contact.attrib), {})
        self.assertEqual(contact.text, "sip:bob@home.example")
        self.assertEqual(list(root.attrib), ["entity"])

    def test_bad_extensions(self) -> None:
        """CLI-10: of extensions only the offending part is dropped."""
        root = repaired(vector("quirk-bad-extensions"))
        self.assertEqual(
            outline(root),
            "presence(tuple(status(basic) kept) person(activities(away) user-input))",
        )
        user_input = root.find("dm:person/r:user-input", NAMESPACES)
        assert user_input is not None
        self.assertEqual(dict(user_input.attrib), {})

    def test_old_rpid(self) -> None:
        """RPI-05: place types older than RFC 4589, and a sphere as text."""
        root = repaired(vector("quirk-old-rpid"))
        self.assertEqual(outline(root), "presence(person(place-type(office library) sphere(work)))")
        self.assertEqual(len(root.findall("dm:person/r:place-type/lt:*", NAMESPACES)), 2)

    def test_two_statuses(self) -> None:
        """Of what may occur once the first counts."""
        root = repaired(vector("quirk-two-statuses"))
        self.assertEqual(texts(root, "tuple/status/basic"), ["open"])
        self.assertEqual(texts(root, "tuple/contact"), ["sip:1@home.example"])


class RepairTests(SynchronousTestCase):
    """Single repairs and their limits."""

    def test_extensions_kept(self) -> None:
        """PID-08: unknown elements and attributes survive a repair next to them."""
        extension = '<x:a x:b="1" c="2">text<x:d>deep</x:d> mixed</x:a>'
        kept = lenient(document(f"<tuple><status/>{extension}</tuple>{extension}"))
        self.assertEqual(kept.count(extension.encode()), 2)

    def test_foreign_kept(self) -> None:
        """PID-08: an extension that has a known local name but a namespace of its own stays."""
        body = document("<tuple><status/><x:contact/><x:timestamp/></tuple><x:person/>")
        self.assertEqual(
            outline(repaired(body)), "presence(tuple(status contact timestamp) person)"
        )
        self.assertEqual(len(repaired(body).findall(".//x:timestamp", NAMESPACES)), 1)

    def test_device_without_id(self) -> None:
        """XML-04: composition needs the deviceID; a device without one is dropped."""
        body = document('<dm:device id="d"/><tuple id="t"><status/></tuple>')
        self.assertEqual(outline(repaired(body)), "presence(tuple(status))")

    def test_misplaced_names(self) -> None:
        """Known names under the default namespace are what they are in that place."""
        body = document(
            '<person id="p"><mood><happy/></mood></person>'
            '<tuple id="t"><status/><deviceID xmlns="">mac:1</deviceID></tuple>'
        )
        root = repaired(body)
        self.assertEqual(outline(root), "presence(tuple(status deviceID) person(mood(happy)))")
        self.assertEqual(len(root.findall("dm:person/r:mood/r:happy", NAMESPACES)), 1)
        self.assertEqual(texts(root, "tuple/dm:deviceID"), ["mac:1"])

    def test_empty_element_with_content(self) -> None:
        """An element that must be empty is emptied, not dropped."""
        body = document(
            '<dm:person id="p"><r:activities><r:away>x<x:y/></r:away></r:activities></dm:person>'
        )
        self.assertEqual(outline(repaired(body)), "presence(person(activities(away)))")

    def test_xml_id(self) -> None:
        """An xml:id that collides with an id is renamed like any other."""
        body = document('<tuple id="t"><status/><x:a xml:id="t"/></tuple>')
        self.assertEqual(outline(repaired(body)), "presence(tuple(status a))")

    def test_foreign_ids(self) -> None:
        """An ``id`` of an unknown extension or of OMA's network is no xs:ID; it stays."""
        body = document(
            '<tuple><status/><x:a id="t"/><x:a id="t"/></tuple><dm:device id="IMS">'
            '<op:network-availability><op:network id="IMS"/></op:network-availability>'
            "<dm:deviceID>mac:1</dm:deviceID></dm:device>"
        )
        self.assertEqual(ids(repaired(body)), ["tuple-1", "t", "t", "IMS", "IMS"])

    def test_non_ascii_id(self) -> None:
        """An NCName need not be ASCII."""
        body = document('<tuple id="\u00fc1"><status/></tuple><tuple><status/></tuple>')
        self.assertEqual(ids(repaired(body)), ["\u00fc1", "tuple-1"])

    def test_comments(self) -> None:
        """Comments and processing instructions do not disturb, and are not kept."""
        body = document("<!-- c --><tuple><!-- c --><status><?p i?></status></tuple>")
        self.assertEqual(outline(repaired(body)), "presence(tuple(status))")

    def test_nothing_left(self) -> None:
        """A document in which nothing is good is an empty one."""
        body = document("<a/><b/><dm:device/>text")
        self.assertEqual(outline(repaired(body)), "presence")

    def test_too_far(self) -> None:
        """The number of rounds is bounded: 400 for what needs more."""
        inner = "".join(f"<r:a{i}/>" for i in range(1000))
        body = document(f'<dm:person id="p"><r:mood>{inner}</r:mood></dm:person>')
        error = self.assertRaises(DocumentError, repaired, body)
        self.assertEqual(error.status, 400)
        tuples = '<tuple id="t"><status/><contact priority="7"/></tuple>' * 600
        error = self.assertRaises(DocumentError, repaired, document(tuples))
        self.assertEqual(error.status, 400)

    def test_many_of_one_parent(self) -> None:
        """CLI-10: several things wrong in one place are several small repairs."""
        inner = "".join(f"<r:a{i}/>" for i in range(100))
        body = document(
            f'<dm:person id="p"><r:mood>{inner}<r:sad/></r:mood></dm:person>'
            f"<tuple><status>{'<z/>' * 100}</status>{'<y/>' * 100}</tuple>{'<z/>' * 100}"
        )
        self.assertEqual(outline(repaired(body)), "presence(tuple(status) person(mood(sad)))")

    def test_time(self) -> None:
        """MSG-28: the most a repair can be made to work is bounded."""
        started = time.process_time()
        for component in (
            "<tuple/>",
            "<z/>",
            "<r:mood/>",
            '<tuple id="t"><status a="1"/></tuple>',
            "<dm:person><r:mood><r:mood><r:mood/></r:mood></r:mood></dm:person>",
        ):
            count = 1400 // (component.count("<") + component.count("="))
            try:
                lenient(document(component * count))
            except DocumentError as error:
                self.assertEqual(error.status, 400)
        self.assertLess(time.process_time() - started, 1.5)

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_mutilated(self, data: st.DataObject) -> None:
        """CLI-10: whatever is cut out of or put into a document, the result is valid or 400."""
        body = vector(data.draw(st.sampled_from(names("quirk") + names("valid-source"))))
        pieces = body.split(b"<")
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(1, len(pieces) - 1))
            change = data.draw(
                st.sampled_from(("drop", "twice", "empty", "rename", "attribute", "value"))
            )
            if change == "drop":
                del pieces[at]
            elif change == "twice":
                pieces.insert(at, pieces[at])
            elif change == "empty":
                pieces.insert(at, b"tuple/>")
            elif change == "rename":
                pieces[at] = pieces[at].replace(b"r:", b"op:").replace(b"dm:", b"")
            elif change == "attribute":
                pieces[at] = pieces[at].replace(b'="', b'="0 ')
            else:
                pieces[at] = pieces[at].replace(b">", b">9")
        try:
            repaired(b"<".join(pieces))
        except DocumentError as error:
            self.assertEqual(error.status, 400)
