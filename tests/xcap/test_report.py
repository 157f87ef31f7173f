"""Reports of conflicts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from xcap.errors import REPORTS, Conflict, Exists
from xcap.report import NAMESPACE, REPORT_LIMIT, parse_report, report
from xcap.uri import parse_target

BASE = "https://xcap.example.com/"
TARGET = parse_target("/test/users/sip:joe@example.com/d/~~/pack/box/x")
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
XML = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\ufffe\uffff", min_codepoint=32),
    max_size=40,
)


def ancestor(conflict: Conflict, target: str) -> str | None:
    """The ancestor in a report."""
    root = etree.fromstring(report(conflict, BASE, parse_target(target)))
    return root.findtext(f"{{{NAMESPACE}}}no-parent/{{{NAMESPACE}}}ancestor")


class ReportTests(SynchronousTestCase):
    """:func:`xcap.report.report`."""

    def test_example(self) -> None:
        """The report of the list of requirements, octet for octet (XCAP-130, XCAP-132)."""
        conflict = Conflict("no-parent", "no element box", depth=1)
        self.assertEqual(
            report(conflict, BASE, TARGET),
            b'<?xml version="1.0" encoding="UTF-8"?>\n'
            b'<xcap-error xmlns="urn:ietf:params:xml:ns:xcap-error">'
            b'<no-parent phrase="no element box"><ancestor>'
            b"https://xcap.example.com/test/users/sip:joe@example.com/d/~~/pack"
            b"</ancestor></no-parent></xcap-error>\n",
        )

    def test_vocabulary(self) -> None:
        """Each kind has its element with its phrase and nothing else (XCAP-130, XCAP-131)."""
        for kind in sorted(REPORTS):
            root = etree.fromstring(report(Conflict(kind, "why"), BASE, TARGET))
            self.assertEqual(root.tag, f"{{{NAMESPACE}}}xcap-error")
            self.assertEqual([child.tag for child in root], [f"{{{NAMESPACE}}}{kind}"])
            self.assertEqual(dict(root[0].attrib), {"phrase": "why"})
            self.assertEqual((root[0].text, len(root[0])), (None, 0))

    def test_ancestor(self) -> None:
        """The ancestor is absolute, encoded, and has the query (XCAP-132)."""
        home = "/a/users/sip:j@x/d"
        query = "?xmlns(p=urn:x)"
        for target, depth, wanted in (
            (f"{home}/~~/a/b", None, None),
            (f"{home}/~~/a/b", 0, f"{BASE}a/users/sip:j@x/d"),
            (f"{home}/~~/p:a/b{query}", 0, f"{BASE}a/users/sip:j@x/d"),
            (f"{home}/~~/p:a/b{query}", 1, f"{BASE}a/users/sip:j@x/d/~~/p:a{query}"),
            (
                f'{home}/~~/a[@b="/ "]/c',
                1,
                f"{BASE}a/users/sip:j@x/d/~~/a%5b@b=%22%2F%20%22%5d",
            ),
            ("/a/users/sip%3Aj@x/d/~~/a%5B1%5D/c/d", 2, f"{BASE}a/users/sip%3Aj@x/d/~~/a%5b1%5d/c"),
        ):
            conflict = Conflict("no-parent", "", depth=depth)
            self.assertEqual(ancestor(conflict, target), wanted)

    def test_field(self) -> None:
        """The field is a relative URI that begins with the root element (XCAP-133)."""
        exists = (
            Exists('rls-services/service[@uri="sip:x@y"]/@uri', ("sip:z@y", "sip:w@y")),
            Exists('p:a/p:b[@c="d/e"]', (), (("p", "urn:x"),)),
        )
        octets = report(Conflict("uniqueness-failure", "taken", exists=exists), BASE, TARGET)
        found = etree.fromstring(octets)[0]
        self.assertEqual(
            [e.get("field") for e in found],
            [
                "rls-services/service%5b@uri=%22sip:x@y%22%5d/@uri",
                "p:a/p:b%5b@c=%22d%2Fe%22%5d?xmlns(p=urn:x)",
            ],
        )
        self.assertEqual([alt.text for alt in found[0]], ["sip:z@y", "sip:w@y"])
        self.assertEqual(len(found[1]), 0)

    def test_escaped(self) -> None:
        """Nothing breaks out of a phrase (XCAP-165)."""
        octets = report(Conflict("cannot-insert", "\"/><evil a='&'>\x00\ud800"), BASE, TARGET)
        root = etree.fromstring(octets)
        self.assertEqual([child.tag for child in root], [f"{{{NAMESPACE}}}cannot-insert"])
        self.assertEqual(root[0].get("phrase"), "\"/><evil a='&'>\ufffd\ufffd")

    @given(TEXT, TEXT, TEXT, st.sampled_from(sorted(REPORTS)))
    def test_any(self, phrase: str, field: str, value: str, kind: str) -> None:
        """Whatever is in it, a report is well-formed (XCAP-165)."""
        exists = (Exists(field, (value,), (("p", value),)),)
        octets = report(Conflict(kind, phrase, depth=1, exists=exists), BASE, TARGET)
        self.assertEqual(parse_report(octets).kind, kind)


class ReadTests(SynchronousTestCase):
    """:func:`xcap.report.parse_report`."""

    @given(XML, st.none() | st.integers(0, 3))
    def test_no_parent(self, phrase: str, depth: int | None) -> None:
        """What was written is read (XCLI-05)."""
        conflict = parse_report(report(Conflict("no-parent", phrase, depth=depth), BASE, TARGET))
        self.assertEqual(
            (conflict.kind, conflict.phrase, conflict.depth), ("no-parent", phrase, depth)
        )

    @given(st.lists(XML.filter(lambda text: text.strip() == text), min_size=1, max_size=5))
    def test_uniqueness(self, alternatives: list[str]) -> None:
        """Fields, bindings and alternatives are read back (XCLI-05, XCAP-133)."""
        exists = (Exists('p:a[@b="c/d"]/@e', tuple(alternatives), (("p", "urn:x(y)"),)),)
        octets = report(Conflict("uniqueness-failure", "", exists=exists), BASE, TARGET)
        self.assertEqual(parse_report(octets).exists, exists)

    def test_rfc_example(self) -> None:
        """The example of RFC 4825 section 11.1 with its short field (XCAP-133)."""
        conflict = parse_report(
            b'<?xml version="1.0" encoding="UTF-8"?>\n'
            b'<xcap-error xmlns="urn:ietf:params:xml:ns:xcap-error">\n <uniqueness-failure>\n'
            b'  <exists field="rls-services/service/@uri">\n'
            b"    <alt-value>sip:mybuddies@example.com</alt-value>\n"
            b"  </exists>\n </uniqueness-failure>\n</xcap-error>\n"
        )
        self.assertEqual(conflict.kind, "uniqueness-failure")
        self.assertEqual(
            conflict.exists, (Exists("rls-services/service/@uri", ("sip:mybuddies@example.com",)),)
        )

    def test_relative_ancestor(self) -> None:
        """An ancestor may be relative to the document (XCAP-132)."""
        for text, depth in (("~~/a/b", 2), ("d/~~/a", 1), ("", 0), ("d/~~/a?xmlns(a=/~~/)", 1)):
            octets = (
                f'<xcap-error xmlns="{NAMESPACE}"><no-parent><ancestor>{text}</ancestor>'
                "</no-parent></xcap-error>"
            )
            self.assertEqual(parse_report(octets.encode()).depth, depth)

    def test_extension(self) -> None:
        """An extension, or an error nobody knows, is a bare 409 (XCLI-06)."""
        for inner in ("<extension><a xmlns='urn:x'/></extension>", "<new/>", "<a xmlns='b'/>"):
            octets = f'<xcap-error xmlns="{NAMESPACE}">{inner}</xcap-error>'.encode()
            self.assertEqual(parse_report(octets).kind, "extension")

    def test_no_report(self) -> None:
        """What is no report is refused, bombs included (XCAP-160)."""
        for octets in (
            b"",
            b"no",
            b"<a/>",
            b"<xcap-error/>",
            f'<xcap-error xmlns="{NAMESPACE}"/>'.encode(),
            f'<!DOCTYPE x [<!ENTITY a "b">]><xcap-error xmlns="{NAMESPACE}"><no-parent phrase='
            '"&a;"/></xcap-error>'.encode(),
            b"<a>" * 100_000,
            b" " * (REPORT_LIMIT + 1),
        ):
            self.assertRaises(ValueError, parse_report, octets)
