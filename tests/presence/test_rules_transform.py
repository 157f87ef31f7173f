"""Tests of :mod:`presence.rules.transform`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.pidf import schemas
from presence.pidf.parse import DocumentError, parse, parse_compact
from presence.rules.permissions import (
    EVERYTHING,
    Permissions,
    UserInput,
    combine,
    read_permissions,
)
from presence.rules.transform import Transformation, transform, transform_tree
from tests.presence.documents import BOB, document
from xcap.usage.names import OMA_PRES_RULES, PRES_RULES

SCHEMAS = Path(__file__).parent.parent.parent / "xcap" / "schema"
DIRECTORY = Path(__file__).parent.parent / "vectors" / "transform"
POLICY = "{urn:ietf:params:xml:ns:common-policy}"
GEOPRIV = (
    '<gp:geopriv xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10">'
    "<gp:location-info/><gp:usage-rules/></gp:geopriv>"
)
COMPONENTS = Permissions(EVERYTHING, EVERYTHING, EVERYTHING)


def vector(name: str) -> bytes:
    """A file of the vectors."""
    return (DIRECTORY / f"{name}.xml").read_bytes()


def canonical(octets: bytes) -> bytes:
    """A document as exclusive canonical XML without comments and blank text."""
    found: bytes = etree.tostring(parse_compact(octets), method="c14n", exclusive=True)
    return found


def granted(case: dict[str, Any]) -> Permissions:
    """What the rules of a case grant together."""
    files = [case["rules"]] if isinstance(case["rules"], str) else case["rules"]
    rules = {
        rule.get("id"): rule
        for name in files
        for rule in etree.fromstring(vector(f"rules-{name}")).iterchildren(f"{POLICY}rule")
    }
    found = [rules[name].find(f"{POLICY}transformations") for name in case["ids"]]
    return combine([Permissions() if each is None else read_permissions(each) for each in found])


def permissions(**fields: Any) -> Permissions:
    """All components, and these attributes."""
    return combine([COMPONENTS, Permissions(**fields)])


def view(inner: str, **fields: Any) -> str:
    """The content of the view of a document with all components and these permissions."""
    octets = transform(document(inner), permissions(**fields))
    schemas.presence().assertValid(parse(octets))
    root = parse_compact(octets)
    etree.cleanup_namespaces(root, top_nsmap={})
    return b"".join(etree.tostring(child, method="c14n", exclusive=True) for child in root).decode()


def plain(inner: str) -> str:
    """What :func:`view` gives if nothing is withheld."""
    return b"".join(
        etree.tostring(child, method="c14n", exclusive=True)
        for child in parse_compact(document(inner))
    ).decode()


class VectorTests(SynchronousTestCase):
    """The cases of ``tests/vectors/transform``."""

    def test_cases(self) -> None:
        """RUL-30, XDM-141, XDM-142, XDM-143, XDM-144: each case gives its view."""
        cases = tomllib.loads((DIRECTORY / "cases.toml").read_text())["case"]
        self.assertGreater(len(cases), 12)
        for case in cases:
            given = vector(case["document"])
            allowed = granted(case)
            found = transform(given, allowed)
            expected = canonical(vector(f"view-{case['view']}"))
            self.assertEqual(canonical(found), expected, case["name"])
            schemas.presence().assertValid(parse(found))
            tree = parse_compact(given)
            transform_tree(tree, allowed)
            self.assertEqual(canonical(etree.tostring(tree)), expected, case["name"])
            if not any(kind == "class" for kind, _ in allowed.services):
                self.assertEqual(transform(found, allowed), found, case["name"])


class TransformTests(SynchronousTestCase):
    """Tests of :func:`transform` and :class:`Transformation`."""

    def test_all_of_the_schemas(self) -> None:
        """RUL-29, XDM-146: every permission that the schemas know has an effect of its own."""
        values = {
            "service-uri-scheme": "tel",
            "class": "business",
            "service-uri": "sip:joe@example.com",
            "deviceID": "urn:x-mac:0003ba4811e3",
            "service-id": "org.openmobilealliance:PoC-session",
            "provide-user-input": "full",
            "provide-geopriv": "full",
        }
        ids = {"services": "mail", "persons": "joe", "devices": "desk"}
        pr = f"{{{PRES_RULES}}}"
        elements = {
            f"{{{space}}}{name}"
            for schema, space in (
                ("presence-rules", PRES_RULES),
                ("oma-pres-rules", OMA_PRES_RULES),
            )
            for name in etree.parse(SCHEMAS / f"{schema}.xsd").xpath(  # type: ignore[union-attr]
                "//*[local-name()='element']/@name"
            )
        }
        elements.remove(f"{pr}sub-handling")
        kinds = {tag for tag in elements if not etree.QName(tag).localname.startswith("provide-")}
        self.assertEqual((len(elements), len(kinds)), (33, 9))

        def given(tag: str, parent: str, text: str, **attributes: str) -> Permissions:
            root = etree.Element(f"{POLICY}transformations")
            above = etree.SubElement(root, parent) if parent else root
            etree.SubElement(above, tag, attributes).text = text
            return read_permissions(root)

        used = set()
        for sort, first in ids.items():
            for tag in kinds:
                name = etree.QName(tag).localname
                value = first if name == "occurrence-id" else values.get(name, "")
                found = given(tag, f"{pr}provide-{sort}", value)
                if found != Permissions.none():
                    self.assertEqual(
                        len(parse(transform(vector("full"), found)).findall("*")),
                        3 if name == "all-services" else 2 if name.startswith("all") else 1,
                        name,
                    )
                    used |= {tag, f"{pr}provide-{sort}"}
        before = transform(vector("full"), COMPONENTS)
        for tag in elements - kinds - used:
            name = etree.QName(tag).localname
            unknown = {"name": "foo", "ns": "urn:vendor-specific:foo-namespace"}
            found = given(
                tag, "", values.get(name, "true"), **(unknown if "unknown" in name else {})
            )
            seen = transform(vector("full"), combine([COMPONENTS, found]))
            self.assertGreater(len(seen), len(before), name)
            used.add(tag)
        self.assertEqual(used, elements)

    def test_notes(self) -> None:
        """RUL-28, XDM-142: provide-note has no say over notes inside other elements."""
        inner = (
            '<tuple id="t1"><status/><r:relationship><r:note>1</r:note><r:self/></r:relationship>'
            "<r:service-class><r:note>2</r:note><r:unknown/></r:service-class><note>3</note></tuple>"
            '<dm:person id="p1"><r:activities><r:note>4</r:note><r:away/></r:activities>'
            "<r:mood><r:note>5</r:note><r:sad/></r:mood><dm:note>6</dm:note></dm:person>"
        )
        shown = {
            "": "2",
            "note": "236",
            "relationship": "12",
            "activities mood": "245",
            "activities mood note": "23456",
        }
        for names, expected in shown.items():
            found = view(inner, attributes=frozenset(names.split()))
            self.assertEqual("".join(re.findall(r"note>(\d)<", found)), expected, names)

    def test_nothing(self) -> None:
        """XDM-148, RUL-05: without permission the entity is all that remains."""
        self.assertEqual(
            etree.tostring(parse(transform(vector("full"), Permissions.none()))),
            b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:joe@example.com"/>',
        )

    def test_everything(self) -> None:
        """RUL-22: who may see everything gets the document itself."""
        given = vector("full")
        self.assertIs(transform(given, Permissions.all()), given)
        self.assertTrue(Transformation(Permissions.all()).identical)
        commented = document("<!-- seen --><note>n</note>")
        tree = parse(commented)
        transform_tree(tree, Permissions.all())
        self.assertEqual(etree.tostring(tree), etree.tostring(parse(commented)))
        same = parse_compact(given)
        Transformation(Permissions.all()).apply(same)
        self.assertEqual(etree.tostring(same), etree.tostring(parse_compact(given)))

    def test_no_trace(self) -> None:
        """RUL-20, RUL-26: declarations, comments and hints at schemas go with what is gone."""
        given = (
            '<?where at the clinic?><presence xmlns="urn:ietf:params:xml:ns:pidf"'
            ' xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10" xmlns:x="urn:example:clinic"'
            ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation='
            f'"urn:example:clinic clinic.xsd" entity="{BOB}"><!-- clinic -->'
            '<tuple id="t1" xmlns:y="urn:example:clinic:2"><?clinic?><status><!-- clinic -->'
            "<basic>open</basic><x:clinic/></status><y:clinic/></tuple>"
            "<x:clinic/></presence><!-- clinic -->"
        ).encode()
        expected = (
            f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{BOB}">'
            '<tuple id="t1"><status><basic>open</basic></status></tuple></presence>'
        ).encode()
        self.assertEqual(etree.tostring(parse(transform(given, COMPONENTS))), expected)
        tree = parse(given)
        transform_tree(tree, COMPONENTS)
        self.assertEqual(etree.tostring(tree), expected)

    def test_types_of_the_schema(self) -> None:
        """RUL-23: a prefix that a type needs stays declared, or the view would be invalid."""
        given = document(
            '<tuple id="t1"><status><basic xmlns:p="urn:ietf:params:xml:ns:pidf"'
            ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
            ' xsi:type="p:basic">open</basic></status></tuple>'
        )
        schemas.presence().assertValid(parse(given))
        found = transform(given, COMPONENTS)
        schemas.presence().assertValid(parse(found))
        self.assertIn(b'xsi:type="p:basic"', found)

    def test_not_well_formed(self) -> None:
        """A document that cannot be read is an error, not a view."""
        with self.assertRaises(DocumentError):
            transform(b"<presence", COMPONENTS)

    def test_all_attributes_of_what_is_selected(self) -> None:
        """RUL-22: provide-all-attributes opens no component, and all of what is opened."""
        inner = (
            f'<tuple id="t1"><status><x:a/>{GEOPRIV}</status><r:mood><r:sad/></r:mood>'
            "<x:b/></tuple><note>n</note>"
            '<dm:person id="p1"><r:relationship><r:self/></r:relationship></dm:person>'
            '<dm:device id="d1"><r:user-input last-input="2026-01-05T00:00:00Z">idle</r:user-input>'
            "<dm:deviceID>mac:1</dm:deviceID></dm:device><x:c/>"
        )
        found = transform(
            document(inner), Permissions(services=EVERYTHING, all_attributes=True)
        ).decode()
        for text in ("x:a", "gp:geopriv", "r:sad", "x:b", "<note>n", "x:c"):
            self.assertIn(text, found)
        for text in ("p1", "d1", "last-input"):
            self.assertNotIn(text, found)
        self.assertEqual(view(inner, all_attributes=True), plain(inner))

    def test_out_of_place(self) -> None:
        """RUL-20: an RPID or OMA element outside the kinds of its row is not granted by it."""
        inner = (
            '<tuple id="t1"><status><r:mood><r:sad/></r:mood><r:user-input>idle</r:user-input>'
            "</status><r:mood><r:sad/></r:mood>"
            '<op:network-availability><op:network id="IMS"/></op:network-availability></tuple>'
            '<dm:person id="p1"><r:relationship><r:self/></r:relationship><note>n</note>'
            "<op:willingness/></dm:person>"
            '<dm:device id="d1"><r:status-icon>http://a</r:status-icon>'
            "<dm:deviceID>mac:1</dm:deviceID></dm:device>"
            "<r:mood><r:sad/></r:mood><r:user-input>idle</r:user-input>"
        )
        every = Permissions.all().attributes
        self.assertEqual(
            view(inner, attributes=every, user_input=UserInput.FULL),
            plain(
                '<tuple id="t1"><status/></tuple><dm:person id="p1"/>'
                '<dm:device id="d1"><dm:deviceID>mac:1</dm:deviceID></dm:device>'
            ),
        )

    def test_unknown_attributes(self) -> None:
        """RUL-21, RUL-24: by name in components and the root, whole, but not in status."""
        inner = (
            '<tuple id="t1"><status><x:a>1</x:a></status>'
            '<x:a k="v"><x:b>2</x:b></x:a><x:b/></tuple>'
            '<dm:person id="p1"><x:a>3</x:a></dm:person>'
            '<dm:device id="d1"><x:a>4</x:a><dm:deviceID>mac:1</dm:deviceID></dm:device>'
            "<x:a>5</x:a><x:b>6</x:b>"
        )
        self.assertEqual(
            view(inner, unknown=frozenset({"{urn:example:extension}a"})),
            plain(
                '<tuple id="t1"><status/><x:a k="v"><x:b>2</x:b></x:a></tuple>'
                '<dm:person id="p1"><x:a>3</x:a></dm:person>'
                '<dm:device id="d1"><x:a>4</x:a><dm:deviceID>mac:1</dm:deviceID></dm:device>'
                "<x:a>5</x:a>"
            ),
        )
        self.assertNotIn("x:", view(inner, unknown=frozenset({"{urn:example:other}a"})))

    def test_scattered(self) -> None:
        """XDM-142: geopriv, class and user-input are withheld wherever they occur."""
        inner = (
            f'<tuple id="t1"><status/><x:a>{GEOPRIV}<r:class>secret</r:class><x:b/>'
            '<r:user-input idle-threshold="9" last-input="2026-01-05T00:00:00Z">idle</r:user-input>'
            "</x:a></tuple>"
        )
        unknown = frozenset({"{urn:example:extension}a"})
        self.assertEqual(
            view(inner, unknown=unknown),
            plain('<tuple id="t1"><status/><x:a><x:b/></x:a></tuple>'),
        )
        self.assertEqual(
            view(inner, unknown=unknown, user_input=UserInput.BARE),
            plain(
                '<tuple id="t1"><status/><x:a><x:b/><r:user-input>idle</r:user-input></x:a></tuple>'
            ),
        )
        every = Permissions.all().attributes
        self.assertEqual(
            view(inner, unknown=unknown, attributes=every, user_input=UserInput.FULL),
            plain(inner),
        )

    def test_content_that_must_be(self) -> None:
        """RUL-23: an element that would be left without its content goes as well."""
        inner = (
            f'<dm:person id="p1"><r:activities><r:note>there</r:note>{GEOPRIV}</r:activities>'
            f"<r:mood><r:sad/>{GEOPRIV}</r:mood></dm:person>"
        )
        schemas.presence().assertValid(parse(document(inner)))
        self.assertEqual(
            view(inner, attributes=frozenset({"activities", "mood"})),
            plain('<dm:person id="p1"><r:mood><r:sad/></r:mood></dm:person>'),
        )
        provided = GEOPRIV.replace(
            "</gp:geopriv>",
            "<gp:provided-by><r:class>c</r:class></gp:provided-by></gp:geopriv>",
        )
        self.assertEqual(
            view(f'<dm:person id="p1">{provided}</dm:person>', attributes=frozenset({"geopriv"})),
            plain(f'<dm:person id="p1">{GEOPRIV}</dm:person>'),
        )

    def test_user_input(self) -> None:
        """XDM-142: each level of user-input, the old name of an attribute included."""
        form = '<dm:person id="p1"><r:user-input {}>idle</r:user-input></dm:person>'
        inner = form.format(
            'id="u" idle-threshold="9" last-input="2026-01-05T00:00:00Z" since="s" x:by="k"'
        )
        for level, expected in (
            (UserInput.NONE, '<dm:person id="p1"/>'),
            (UserInput.BARE, form.format('id="u" x:by="k"')),
            (UserInput.THRESHOLDS, form.format('idle-threshold="9"')),
            (UserInput.FULL, inner),
        ):
            self.assertEqual(view(inner, user_input=level), plain(expected), level)

    def test_selection(self) -> None:
        """RUL-10, RUL-11, RUL-12, RUL-13: each kind of member, with its own comparison."""
        inner = (
            '<tuple id="t1"><status/><op:service-description><op:service-id> a:b </op:service-id>'
            "<op:version>1</op:version></op:service-description><r:class> work  home </r:class>"
            "<contact> sip:bob@Home.example;x=1 </contact></tuple>"
            '<tuple id=" t2 "><status/><contact>no-uri</contact></tuple>'
            '<tuple id="t3"><status/></tuple>'
            '<dm:person id="p1"><r:class>work</r:class></dm:person><dm:person id="p2"/>'
            '<dm:device id="d1"><r:class>Work</r:class>'
            "<dm:deviceID>MAC:A1</dm:deviceID></dm:device>"
        )
        for sort, member, chosen in (
            ("services", ("all", ""), ["t1", "t2", "t3"]),
            ("services", ("class", "work home"), ["t1"]),
            ("services", ("class", "work"), []),
            ("services", ("occurrence-id", "t2"), ["t2"]),
            ("services", ("occurrence-id", "T2"), []),
            ("services", ("service-id", "a:b"), ["t1"]),
            ("services", ("service-id", "A:b"), []),
            ("services", ("service-uri", "sip:bob@home.example"), ["t1"]),
            ("services", ("service-uri", "sip:bob@home.example;x=2"), []),
            ("services", ("service-uri", "no-uri"), ["t2"]),
            ("services", ("service-uri-scheme", "sip"), ["t1"]),
            ("services", ("service-uri-scheme", "SIP"), []),
            ("services", ("service-uri-scheme", "no-uri"), []),
            ("services", ("deviceID", "mac:a1"), []),
            ("persons", ("all", ""), ["p1", "p2"]),
            ("persons", ("class", "work"), ["p1"]),
            ("persons", ("occurrence-id", "p2"), ["p2"]),
            ("devices", ("all", ""), ["d1"]),
            ("devices", ("class", "work"), []),
            ("devices", ("occurrence-id", "d1"), ["d1"]),
            ("devices", ("deviceID", "mac:a1"), ["d1"]),
            ("devices", ("deviceID", "mac:a2"), []),
        ):
            fields: dict[str, Any] = {sort: frozenset({member})}
            root = parse(transform(document(inner), Permissions(**fields)))
            self.assertEqual([child.get("id").strip() for child in root], chosen, (sort, member))
