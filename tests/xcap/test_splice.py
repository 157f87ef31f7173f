"""Changes of elements without parsing the result: when that is done, and when it must not be."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from xcap import splice
from xcap.document import Limits, XmlDocument, parse_document
from xcap.edit import delete_node, put_node
from xcap.errors import Conflict, XcapError
from xcap.uri import NodeSelector, parse_node


def selector(text: str) -> NodeSelector:
    """A node selector without namespaces."""
    return parse_node(text, "", "")


class SpliceTests(SynchronousTestCase):
    """Edits of documents that were checked by the limits in force."""

    def setUp(self) -> None:
        """Count what is parsed."""
        self.parsed: list[bytes] = []

        def parse(octets: bytes, limits: Limits, levels: int) -> XmlDocument:
            self.parsed.append(octets)
            return parse_document(octets, limits, levels)

        self.patch(splice, "parse_document", parse)

    def put(self, octets: bytes, text: str, body: bytes, **limits: int) -> XmlDocument:
        """PUT an element into a document, both within limits."""
        bounds = Limits(**limits)
        return put_node(
            parse_document(octets, bounds), selector(text), body, limits=bounds
        ).document

    def assertBeyond(self, phrase: str, *arguments: Any, **limits: int) -> None:
        """Expect that a PUT exceeds a limit."""
        conflict = self.assertRaises(Conflict, self.put, *arguments, **limits)
        self.assertEqual(conflict.kind, "constraint-failure")
        self.assertEqual(conflict.phrase, f"Limit exceeded: {phrase} allowed")

    def test_nothing_is_parsed(self) -> None:
        """One change after the other costs no parse."""
        limits = Limits()
        document = parse_document(b"<a><b/><c>1</c></a>", limits)
        document = put_node(document, selector("a/b/d"), b"<d><e/></d>", limits=limits).document
        document = put_node(document, selector("a/c"), b"<c>2</c>", limits=limits).document
        document = delete_node(document, selector("a/b/d"), limits=limits)
        self.assertEqual(document.octets, b"<a><b></b><c>2</c></a>")
        self.assertEqual((document.elements, self.parsed), (3, []))

    def test_elements(self) -> None:
        """Elements are counted, those that are replaced are not (XCAP-162)."""
        octets = b"<a><b><c/><d/></b></a>"
        self.put(octets, "a/e", b"<e/>", elements=5)
        self.put(octets, "a/b", b"<b><c/><d/><e/></b>", elements=5)
        self.assertEqual(self.parsed, [])
        self.assertBeyond("elements, 5", octets, "a/e", b"<e><f/></e>", elements=5)
        self.assertBeyond("elements, 4", octets, "a/b", b"<b><c/><d/><e/></b>", elements=4)

    def test_levels(self) -> None:
        """Levels are counted from the root element (XCAP-162)."""
        octets = b"<a><b></b></a>"
        self.put(octets, "a/b/c", b"<c><d/><d/></c>", depth=4)
        self.put(octets, "a", b"<a><b><c><d/></c></b></a>", depth=4)
        self.assertEqual(self.parsed, [])
        for text, body in (
            ("a/b/c", b"<c><d/><d><e/></d></c>"),
            ("a/b", b"<b><c><d><e/></d></c></b>"),
            ("a", b"<a><b><c><d><e/></d></c></b></a>"),
        ):
            self.assertBeyond("levels of elements, 4", octets, text, body, depth=4)

    def test_elements_below(self) -> None:
        """Elements that a tree does not have are counted like others (XCAP-162)."""
        limits = Limits(elements=4)
        document = parse_document(b"<a><b><c/></b></a>", limits, 2)
        for n in range(5):
            body = b"<b><c/><d%d/></b>" % n
            document = put_node(document, selector("a/b"), body, limits=limits).document
        document = parse_document(b"<a><b><c/><d/></b></a>", limits, 2)
        self.assertRaises(Conflict, put_node, document, selector("a/e"), b"<e/>", limits=limits)

    def test_size(self) -> None:
        """Octets are counted (XCAP-162)."""
        self.put(b"<a></a>", "a/b", b"<b/>", size=11)
        refusal = self.assertRaises(XcapError, self.put, b"<a></a>", "a/b", b"<b/>", size=10)
        self.assertEqual((refusal.status, self.parsed), (413, []))

    def test_names(self) -> None:
        """Expanded names are as limited as in a document that is parsed (XCAP-162)."""
        space = "u" * 100
        limits = Limits(size=1000)
        document = parse_document(f'<p:a xmlns:p="{space}"/>'.encode(), limits)
        for n in range(20):
            node = parse_node(f"p:a/p:b{n}", f"xmlns(p={space})", "")
            try:
                document = put_node(document, node, b"<p:b%d/>" % n, limits=limits).document
            except Conflict as conflict:
                self.assertEqual(
                    conflict.phrase, "Limit exceeded: characters in all names, 1000 allowed"
                )
                self.assertRaises(Conflict, parse_document, self.parsed[-1], limits)
                break
            parse_document(document.octets, limits)
        else:
            self.fail("any number of names")

    def test_names_that_are_gone(self) -> None:
        """Names that were replaced do not count for ever (XCAP-162)."""
        space = "u" * 100
        limits = Limits(size=1000)
        document = parse_document(f'<p:a xmlns:p="{space}"><p:b/></p:a>'.encode(), limits)
        for n in range(50):
            node = parse_node("p:a/*[1]", f"xmlns(p={space})", "")
            document = put_node(document, node, b"<p:b%d/>" % n, limits=limits).document
        self.assertLess(len(self.parsed), 10)

    def test_other_limits(self) -> None:
        """What was read within wider limits is parsed (XCAP-162)."""
        document = parse_document(b"<a><b/><b><c/></b></a>")
        self.assertRaises(
            Conflict, delete_node, document, selector("a/b[1]"), limits=Limits(depth=2)
        )
        self.assertEqual(len(self.parsed), 1)

    def test_text_that_meets(self) -> None:
        """Text around an element that goes must not become the end of a CDATA section (XCAP-82)."""
        limits = Limits()
        for octets in (b"<a>]]<b/>></a>", b"<a>]<b/>]></a>"):
            document = parse_document(octets, limits)
            conflict = self.assertRaises(
                Conflict, delete_node, document, selector("a/b"), limits=limits
            )
            self.assertEqual(conflict.kind, "not-well-formed")
        for octets in (b"<a>]<b/>></a>", b"<a>]] <b/>></a>", b"<a><![CDATA[]]><b/>></a>"):
            document = parse_document(octets, limits)
            result = delete_node(document, selector("a/b"), limits=limits)
            self.assertEqual(result.octets, octets.replace(b"<b/>", b""))
