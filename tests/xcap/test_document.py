"""Syntax of documents: encodings, well-formedness, limits, and places in the octets."""

from __future__ import annotations

import contextlib
import gc
import re
import time
import tracemalloc

from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.xmldocuments import documents, hardened
from xcap.document import (
    Limits,
    XmlDocument,
    check_document,
    check_utf8,
    is_attribute_value,
    parse_document,
    parse_fragment,
)
from xcap.element import Element
from xcap.errors import Conflict, XcapError
from xcap.namespaces import Scope, document_scope

ENTITIES = b"""<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY lol "lol">%b]><lolz>&lol9;</lolz>""" % b"".join(
    b'<!ENTITY lol%d "%b">' % (n, b"&lol%b;" % (b"%d" % (n - 1) if n > 1 else b"") * 10)
    for n in range(1, 10)
)
QUADRATIC = b'<!DOCTYPE b [<!ENTITY a "%b">]><b>%b</b>' % (b"a" * 60_000, b"&a;" * 60_000)


def walk(element: Element) -> list[Element]:
    """An element and all below it in document order."""
    found = [element]
    for child in element.children:
        found += walk(child)
    return found


class DocumentTestCase(SynchronousTestCase):
    """Base with what expects a refusal."""

    def refused(self, kind: str, octets: bytes, limits: Limits | None = None) -> Conflict:
        """Expect a report of a conflict, the same one with and without a tree."""
        conflict = self.assertRaises(Conflict, parse_document, octets, limits or Limits())
        checked = self.assertRaises(Conflict, check_document, octets, limits or Limits())
        self.assertEqual((checked.kind, checked.phrase), (conflict.kind, conflict.phrase))
        self.assertEqual((conflict.kind, octets[:80]), (kind, octets[:80]))
        return conflict

    def accepted(self, octets: bytes, limits: Limits | None = None) -> XmlDocument:
        """Expect a document that is what was given."""
        check_document(octets, limits or Limits())
        document = parse_document(octets, limits or Limits())
        self.assertEqual(document.octets, octets)
        return document


class SyntaxTests(DocumentTestCase):
    """What is a document, and what is none."""

    def test_accepted(self) -> None:
        """Documents in UTF-8 with anything around the root element are accepted (XCAP-82)."""
        for octets in (
            b"<a/>",
            b'<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n<!-- c --><?p i?><a></a>\n',
            b"<?xml version='1.0' encoding='UTF-8'?><a>&lt;&gt;&amp;&quot;&apos;&#10;&#x1F600;</a>",
            '<été x="ü">日本</été>'.encode(),
            b"<a><![CDATA[<b>&c;]]></a>",
            b'<a xml:lang="en" xml:id="b"/>',
        ):
            self.accepted(octets)

    def test_not_well_formed(self) -> None:
        """Other octets are not-well-formed, the empty body too (XCAP-82, XCAP-87)."""
        for octets in (
            b"",
            b" ",
            b"a",
            b"<a>",
            b"<a></b>",
            b"<a/><b/>",
            b"<a/>text",
            b"<a x=1/>",
            b'<a x="1" x="2"/>',
            b'<a x="<"/>',
            b"<a>&</a>",
            b"<a>\x01</a>",
            b"<a>\0</a>",
            b"<a>&#0;</a>",
            b"<a>]]></a>",
            b"<a><!-- -- --></a>",
            b'<a/><?xml version="1.0"?>',
            "<a>\uffff</a>".encode(),
        ):
            self.refused("not-well-formed", octets)

    def test_namespaces(self) -> None:
        """Namespaces have to be well-formed too (XCAP-82)."""
        for octets in (
            b"<p:a/>",
            b'<a p:b=""/>',
            b'<a><b xmlns:p="u"/><p:b/></a>',
            b'<a xmlns:p="u" xmlns:q="u" p:x="" q:x=""/>',
            b'<a xmlns:p=""/>',
            b'<a xmlns:xmlns="u"/>',
            b'<a xmlns:p="http://www.w3.org/2000/xmlns/"/>',
            b'<a xmlns="http://www.w3.org/2000/xmlns/"/>',
            b'<a xmlns:xml="u"/>',
            b'<a xmlns:p="http://www.w3.org/XML/1998/namespace"/>',
            b'<a xmlns="http://www.w3.org/XML/1998/namespace"/>',
            b"<xmlns:a/>",
            b"<:a/>",
            b'<a :b=""/>',
            b'<a xmlns:p="u"><p:/></a>',
            b'<a xmlns:p="u"><p:1/></a>',
            b'<a xmlns:p="u"><p:b:c/></a>',
            b'<a xmlns:="u"/>',
            b'<a xmlns:1="u"/>',
            b"<a><?p:i x?></a>",
            b'<a xmlns="u}v"/>',
        ):
            self.refused("not-well-formed", octets)
        for octets in (
            b'<a xmlns:p="u" xmlns:q="v" p:x="" q:x="" x=""/>',
            b'<a xmlns:xml="http://www.w3.org/XML/1998/namespace"/>',
            b'<p:a xmlns:p="u"/>',
            b'<a xmlns:p="u"><b xmlns:p="v" p:x=""/><p:c/></a>',
            b'<a xmlns="u"><b xmlns=""/></a>',
        ):
            self.accepted(octets)

    def test_encodings(self) -> None:
        """Other encodings and bad octets are not-utf-8 (XCAP-82)."""
        text = '<?xml version="1.0"{}?><a>\xe9</a>'
        for octets in (
            text.format(' encoding="ISO-8859-1"').encode("iso-8859-1"),
            text.format(' encoding="ISO-8859-1"').encode(),
            text.format(' encoding="US-ASCII"').encode(),
            text.format(' encoding="UTF-16"').encode("utf-16"),
            text.format("").encode("utf-16"),
            text.format("").encode("utf-16-le"),
            text.format("").encode("utf-16-be"),
            text.format("").encode("utf-32"),
            "<a/>".encode("utf-16-le"),
            "<a/>".encode("utf-16-be"),
            "<a/>".encode("utf-32-le"),
            "<a/>".encode("utf-32-be"),
            text.format("").encode("utf-32-be"),
            b"<a>\xff</a>",
            b"<a>\xc0\xaf</a>",
            b"<a>\xed\xa0\x80</a>",
            b"<a>\xf4\x90\x80\x80</a>",
            b"<a>\xc3",
        ):
            self.refused("not-utf-8", octets)
        self.accepted(text.format(' encoding="utf-8"').encode())

    def test_byte_order_mark(self) -> None:
        """A byte-order mark of UTF-8 is accepted, stays, and counts in offsets (XCAP-82)."""
        document = self.accepted(b"\xef\xbb\xbf<?xml version='1.0'?><a><b/></a>")
        self.assertEqual(document.root.source, b"<a><b/></a>")

    def test_versions(self) -> None:
        """XML 1.1 and other versions are not-well-formed (XCAP-149)."""
        for version in (b"1.1", b"1.2", b"2.0"):
            self.refused("not-well-formed", b'<?xml version="%b"?><a/>' % version)

    def test_entities(self) -> None:
        """Only the five predefined entities exist (XCAP-163)."""
        self.refused("not-well-formed", b"<a>&nbsp;</a>")
        self.refused("not-well-formed", b'<a b="&foo;"/>')
        document = self.accepted(b"<a b='&lt;&gt;&amp;&quot;&apos;'/>")
        self.assertEqual(document.root.attributes, {"b": "<>&\"'"})

    def test_phrase(self) -> None:
        """A phrase says where, and shows nothing of the document (XCAP-130)."""
        conflict = self.refused("not-well-formed", b"<secret>\n</a>")
        self.assertEqual(conflict.phrase, "Mismatched tag in line 2")
        self.assertEqual(conflict.status, 409)

    @given(st.one_of(st.binary(), documents().flatmap(lambda octets: damaged(octets))))
    def test_any_octets(self, octets: bytes) -> None:
        """Whatever comes, it is a document or a documented refusal (XCAP-82)."""
        try:
            document = parse_document(octets)
        except Conflict as conflict:
            self.assertIn(conflict.kind, ("not-well-formed", "not-utf-8", "constraint-failure"))
        else:
            self.assertEqual(document.octets, octets)


def damaged(octets: bytes) -> st.SearchStrategy[bytes]:
    """A document with a few octets changed."""
    places = st.integers(0, len(octets))
    return st.tuples(places, places, st.binary(max_size=4)).map(
        lambda cut: octets[: cut[0]] + cut[2] + octets[cut[1] :]
    )


class DoctypeTests(DocumentTestCase):
    """Document type declarations, refused before anything in them is read."""

    def test_refused(self) -> None:
        """Any document type declaration is a constraint-failure (XCAP-161)."""
        for octets in (
            b"<!DOCTYPE a><a/>",
            b'<?xml version="1.0"?>\n<!-- c --><?p i?>\t<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
            b'\xef\xbb\xbf<!DOCTYPE a SYSTEM "http://192.0.2.1/a.dtd"><a/>',
            b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
            b'<!DOCTYPE a [<!ENTITY % b SYSTEM "file:///etc/passwd">%b;]><a/>',
        ):
            self.assertEqual(self.refused("constraint-failure", octets).phrase, "DTD not allowed")

    def test_elsewhere(self) -> None:
        """The word in a comment, an instruction or a CDATA section is text (XCAP-161)."""
        self.accepted(b"<!-- <!DOCTYPE a> --><a><![CDATA[<!DOCTYPE a>]]><?p <!DOCTYPE a>?></a>")
        for octets in (
            b"<a><!DOCTYPE a></a>",
            b"<a/><!DOCTYPE a>",
            b"<!-- <!DOCTYPE a>",
            b"<? <!DOCTYPE a>",
            b"text <!DOCTYPE a><a/>",
        ):
            self.refused("not-well-formed", octets)

    def test_never_read(self) -> None:
        """What is in a declaration is not even parsed, well-formed or not (XCAP-160)."""
        self.refused("constraint-failure", b"<!DOCTYPE a [ <<<")
        self.refused("constraint-failure", b"<!DOCTYPE a [<!ENTITY b '\x01'>]>")

    def test_bombs(self) -> None:
        """Nested entities and quadratic blow-up are refused within 50 ms (XCAP-162)."""
        for octets in (ENTITIES, QUADRATIC):
            start = time.process_time()
            self.refused("constraint-failure", octets)
            self.assertLess(time.process_time() - start, 1.0)


class LimitTests(DocumentTestCase):
    """Limits (XCAP-162), each with what is just allowed and what is not."""

    def within(self, limits: Limits, allowed: bytes, refused: bytes, phrase: str) -> None:
        """Check both sides of a limit."""
        self.accepted(allowed, limits)
        conflict = self.refused("constraint-failure", refused, limits)
        self.assertEqual(conflict.phrase, f"Limit exceeded: {phrase} allowed")

    def test_size(self) -> None:
        """Too many octets are 413, before they are looked at (XCAP-162)."""
        self.accepted(b"<abc/>", Limits(size=6))
        refusal = self.assertRaises(XcapError, parse_document, b"\xff" * 7, Limits(size=6))
        self.assertEqual(refusal.status, 413)

    def test_depth(self) -> None:
        """Levels of elements are limited (XCAP-162)."""
        self.within(
            Limits(depth=3),
            b"<a><b><c/></b><d><e></e></d></a>",
            b"<a><b><c><d/></c></b></a>",
            "levels of elements, 3",
        )

    def test_elements(self) -> None:
        """The number of elements is limited (XCAP-162)."""
        self.within(Limits(elements=3), b"<a><b/><c/></a>", b"<a><b/><c/><d/></a>", "elements, 3")

    def test_attributes(self) -> None:
        """Attributes of an element are limited, declarations among them (XCAP-162)."""
        self.within(
            Limits(attributes=2),
            b'<a x="" y=""><b xmlns="u" x=""/></a>',
            b'<a xmlns="u" xmlns:p="v" y=""/>',
            "attributes of an element, 2",
        )

    def test_names(self) -> None:
        """Names are limited, of elements, attributes and namespaces (XCAP-162)."""
        phrase = "characters in a name, 5"
        limits = Limits(name=5)
        self.within(limits, b"<abcde/>", b"<abcdef/>", phrase)
        self.within(limits, b'<a abcde=""/>', b'<a abcdef=""/>', phrase)
        self.within(
            limits,
            b'<a xmlns="abcde"/>',
            b'<a xmlns="abcdef"/>',
            "characters in a namespace name, 5",
        )

    def test_values(self) -> None:
        """Attribute values are limited (XCAP-162)."""
        self.within(
            Limits(value=4),
            b'<a x="abcd"/>',
            b'<a y="abcd" x="abcde"/>',
            "characters in an attribute value, 4",
        )

    def test_expanded_names(self) -> None:
        """All expanded names together are no longer than a document (XCAP-162)."""
        text = '<a xmlns:p="{}">{}</a>'.format(
            "u" * 100, "".join(f"<p:b{n} p:c{n}='' p:d=''/>" for n in range(5))
        )
        size = len("a") + len("{}") * 11 + 11 * 100 + len("b0c0") * 5 + len("d")
        self.within(
            Limits(size=size),
            text.encode(),
            text.replace("</a>", "<p:e/></a>").encode(),
            f"characters in all names, {size}",
        )

    def measure(self, octets: bytes) -> tuple[Exception, float, int]:
        """The refusal of a document with seconds of CPU and octets of memory."""
        gc.collect()
        tracemalloc.start()
        try:
            start = time.process_time()
            refusal = self.assertRaises(XcapError, parse_document, octets, Limits(size=10**8))
            return refusal, time.process_time() - start, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_hostile(self) -> None:
        """Reading stops at a limit: in little memory and time, however much comes (XCAP-162)."""
        wide = b'<a xmlns:p="%b" %b/>' % (
            b"u" * 400_000,
            b" ".join(b'p:a%d=""' % n for n in range(40_000)),
        )
        for octets in (
            b"<a>" * 1_000_000,
            b"<a>" * 1_000_000 + b"</a>" * 1_000_000,
            b"<a>" + b"<b/>" * 2_500_000 + b"</a>",
            wide,
            wide.replace(b'="%b"' % (b"u" * 400_000), b'="u"'),
            b'<a xmlns="%b">' % (b"u" * 10**6) + b"<b/>" * 1000 + b"</a>",
            b"<a%b/>" % b"".join(b' a%d="%b"' % (n, b"v" * 1000) for n in range(1000)),
        ):
            refusal, seconds, peak = self.measure(octets)
            self.assertIn("Limit exceeded", str(refusal))
            self.assertLess(peak, 64 << 20)
            self.assertLess(seconds, 3.0)

    def test_largest(self) -> None:
        """What the limits allow is read in bounded time, the worst documents too (XCAP-162)."""
        uri = b"u" * 1024
        for octets in (
            b'<a xmlns="%b">%b</a>' % (uri, b"<b/>" * 99_000),
            b'<p:a xmlns:p="%b">%b</p:a>' % (uri, b'<b xmlns:q="r" p:c=""/>' * 40_000),
            b"<a>%b</a>" % (b'<a b=""/>' * 99_000),
            b"<a%b/>" % b"".join(b' a%d="%b"' % (n, b"v" * 4000) for n in range(256)),
        ):
            start = time.process_time()
            self.accepted(octets)
            self.assertLess(time.process_time() - start, 5.0)

    def test_no_cycles(self) -> None:
        """A document that nobody holds is freed without the garbage collector."""
        gc.collect()
        gc.disable()
        try:
            for octets in (b'<a xmlns="u"><b c=""/></a>', b"<a><b></a>", b"<!DOCTYPE a><a/>"):
                for read in (parse_document, check_document):
                    with contextlib.suppress(Conflict):
                        read(octets)
            self.assertEqual(gc.collect(), 0)
        finally:
            gc.enable()


class PlaceTests(DocumentTestCase):
    """Elements and attributes with their offsets."""

    def test_offsets(self) -> None:
        """Offsets are those of the tags in the octets (XCAP-61, XCAP-99)."""
        octets = "<?xml version='1.0'?>\n<a é='\"/>'><b y='>'/ ><c >é</c ></a>".replace(
            "/ >", "/>"
        ).encode()
        root = self.accepted(octets).root
        b, c = root.children
        self.assertEqual(octets[root.start : root.open_end], "<a é='\"/>'>".encode())
        self.assertEqual(octets[root.close_start : root.end], b"</a>")
        self.assertEqual(b.source, b"<b y='>'/>")
        self.assertTrue(b.empty)
        self.assertEqual(b.open_end, b.close_start)
        self.assertEqual(b.open_end, b.end)
        self.assertFalse(c.empty)
        self.assertEqual(octets[c.open_end : c.close_start], "é".encode())
        self.assertEqual(octets[c.close_start : c.end], b"</c >")
        self.assertEqual(repr(c), f"<Element at {c.start}>")

    def test_names(self) -> None:
        """Elements and attributes have expanded names, and keep their prefixes (XCAP-24)."""
        root = self.accepted(
            b'<a xmlns="u" x="1"><p:b xmlns:p="v" p:x="2" xml:lang="en"/><c xmlns=""/></a>'
        ).root
        b, c = root.children
        self.assertEqual((root.name, root.prefix, root.qname), ("{u}a", "", "a"))
        self.assertEqual((b.name, b.prefix, b.qname), ("{v}b", "p", "p:b"))
        self.assertEqual((c.name, c.prefix, c.qname), ("c", "", "c"))
        self.assertEqual(root.attributes, {"x": "1"})
        self.assertEqual(
            b.attributes, {"{v}x": "2", "{http://www.w3.org/XML/1998/namespace}lang": "en"}
        )

    def test_normalised_values(self) -> None:
        """Values are normalised as XML says (XCAP-26)."""
        root = self.accepted(b'<a b=" &#x20;x\ty\r\nz&#10;&amp;"/>').root
        self.assertEqual(root.attributes, {"b": "  x y z\n&"})

    def test_declarations_are_no_attributes(self) -> None:
        """A namespace declaration is not among the attributes (XCAP-27)."""
        root = self.accepted(b'<a xmlns="u" xmlns:p="v" p:xmlns="1" xml:p="2"/>').root
        self.assertEqual(
            sorted(root.attributes), ["{http://www.w3.org/XML/1998/namespace}p", "{v}xmlns"]
        )
        for name in ("xmlns", "p", "{http://www.w3.org/2000/xmlns/}p"):
            self.assertRaises(KeyError, root.attribute_place, name)
        for name, literal in zip(root.attributes, (b'"1"', b'"2"'), strict=True):
            _, start, end = root.attribute_place(name)
            self.assertEqual(root.octets[start:end], literal)

    def test_attribute_places(self) -> None:
        """The right one of attributes with one local name is found (XCAP-25)."""
        octets = b"<a xmlns:p='u' xmlns:q='v' \n p:x = '1'\tq:x='2' x = \"3\"  ><b p:x=''/></a>"
        root = self.accepted(octets).root
        for name, text in (
            ("{u}x", b" \n p:x = '1'"),
            ("{v}x", b"\tq:x='2'"),
            ("x", b' x = "3"'),
        ):
            before, start, end = root.attribute_place(name)
            self.assertEqual(octets[before:end], text)
            self.assertEqual(octets[start:end], text[-3:])
        self.assertRaises(KeyError, root.attribute_place, "{w}x")
        self.assertEqual(root.attributes_end, octets.index(b"  >"))
        self.assertEqual(self.accepted(b"<a  />").root.attributes_end, 2)

    @given(documents())
    @example(b'<a xmlns="u"><b/>\n<c>&amp;</c><!-- </a> --><![CDATA[<d>]]></a>')
    def test_agrees_with_lxml(self, octets: bytes) -> None:
        """Names, attributes and namespaces are what lxml finds, in the same order (XCAP-24)."""
        elements = walk(parse_document(octets).root)
        theirs = list(etree.fromstring(octets, hardened()).iter("*"))
        self.assertEqual(len(elements), len(theirs))
        for element, their in zip(elements, theirs, strict=True):
            self.assertEqual(element.name, their.tag)
            self.assertEqual(element.prefix, their.prefix or "")
            self.assertEqual(element.attributes, dict(their.attrib))
            scope = {prefix or "": uri for prefix, uri in their.nsmap.items() if uri}
            self.assertEqual(element.namespaces(), scope)
            self.assertEqual(
                [c.name for c in element.children],
                [c.tag for c in their.iter("*") if c.getparent() is their],
            )

    @given(documents())
    def test_sources(self, octets: bytes) -> None:
        """An element's octets, given its namespaces, are that element alone (XCAP-61)."""
        for element in walk(parse_document(octets).root):
            alone = parse_fragment(element.source, element.scope)
            self.assertEqual(
                [(e.name, e.prefix, e.attributes) for e in walk(alone)],
                [(e.name, e.prefix, e.attributes) for e in walk(element)],
            )
            inside = octets[element.open_end : element.close_start]
            self.assertEqual(
                inside + octets[element.close_start : element.end],
                octets[element.open_end : element.end],
            )
            for name, value in element.attributes.items():
                before, start, end = element.attribute_place(name)
                literal = octets[start:end]
                self.assertTrue(re.fullmatch(rb"\s+", octets[before : before + 1]))
                self.assertEqual(
                    parse_document(b"<a a=%b/>" % literal).root.attributes, {"a": value}
                )


class FragmentTests(SynchronousTestCase):
    """Bodies that are one element."""

    def scope(self, **declared: str) -> Scope:
        """A scope with prefixes; ``default`` is the default namespace."""
        default = declared.pop("default", None)
        if default is not None:
            declared[""] = default
        return document_scope().declare(declared)

    def test_accepted(self) -> None:
        """Exactly one element is accepted, its prefixes taken from around (XCAP-83 to 85)."""
        element = parse_fragment(b"<a><p:b/></a>", self.scope(default="u", p="v"))
        self.assertEqual(element.name, "{u}a")
        self.assertEqual(element.children[0].name, "{v}b")
        element = parse_fragment(b"<a xmlns=''/>", self.scope(default="u"))
        self.assertEqual(element.name, "a")

    def test_refused(self) -> None:
        """Everything else is not-xml-frag (XCAP-83, XCAP-84, XCAP-161, XCAP-163)."""
        for body in (
            b"",
            b"text",
            b"<a/><b/>",
            b"<a/>text",
            b"text<a/>",
            b"<a>",
            b"</a>",
            b"<!-- c --><a/>",
            b"<a/><?p i?>",
            b"<![CDATA[ ]]><a/>",
            b'<?xml version="1.0"?><a/>',
            b"<!DOCTYPE a><a/>",
            b"<a>&foo;</a>",
            b"<a>\0</a>",
            b"<p:a/>",
            b"<a q:b=''/>",
            b"</w><w>",
            b"<a/></w><w>",
            b"</w><a/><w>",
            b"<a/></w><!--",
            b"<a/></w><?p ",
            b"<a/></w>",
            "\ufeff<a/>".encode(),
        ):
            conflict = self.assertRaises(Conflict, parse_fragment, body, document_scope())
            self.assertEqual((conflict.kind, body), ("not-xml-frag", body))

    def test_limits(self) -> None:
        """Limits hold for fragments as well; what is around does not count (XCAP-162)."""
        limits = Limits(depth=2, elements=2)
        parse_fragment(b"<a><b/></a>", document_scope(), limits)
        for body in (b"<a><b><c/></b></a>", b"<a><b/><c/></a>", b"<a>" * 300_000):
            conflict = self.assertRaises(Conflict, parse_fragment, body, document_scope(), limits)
            self.assertEqual(conflict.kind, "constraint-failure")

    def test_scope_is_not_changed(self) -> None:
        """Names of fragments are not kept in the document they were meant for (XCAP-162)."""
        root = parse_document(b"<a/>").root
        names = dict(root.scope.names)
        parse_fragment(b"<b><c/></b>", root.scope)
        self.assertEqual(root.scope.names, names)

    @given(st.one_of(st.binary(), documents().flatmap(damaged)))
    def test_any_octets(self, octets: bytes) -> None:
        """Whatever comes in UTF-8, it is a fragment or a documented refusal (XCAP-83)."""
        octets = octets.decode(errors="replace").encode()
        try:
            element = parse_fragment(octets, document_scope())
        except Conflict as conflict:
            self.assertIn(conflict.kind, ("not-xml-frag", "constraint-failure"))
        else:
            self.assertEqual(element.source, octets)


class ValueTests(SynchronousTestCase):
    """Literals of attribute values."""

    def test_accepted(self) -> None:
        """Both quotes and references are accepted (XCAP-86)."""
        for literal in (b'""', b"''", b"'\"'", b'"\'"', b'"&lt;&#x1F600;\n>"', '"é"'.encode()):
            self.assertTrue(is_attribute_value(literal), literal)

    def test_refused(self) -> None:
        """Anything that is no AttValue is refused (XCAP-86, XCAP-163)."""
        for literal in (
            b"",
            b'"',
            b"a",
            b"\"a'",
            b'"a',
            b'"a" b="c"',
            b'"a"b"',
            b'"<"',
            b'"&"',
            b'"&foo;"',
            b'"&#0;"',
            b'"\x01"',
            b'"\0"',
            b'"/><a b="',
            '"\uffff"'.encode(),
        ):
            self.assertFalse(is_attribute_value(literal), literal)

    def test_utf8(self) -> None:
        """Octets that are not UTF-8 are told apart (XCAP-83, XCAP-86)."""
        check_utf8("é".encode())
        self.assertEqual(self.assertRaises(Conflict, check_utf8, b"\xe9").kind, "not-utf-8")

    @given(st.binary().map(lambda octets: octets.decode(errors="replace").encode()))
    def test_any(self, octets: bytes) -> None:
        """What is accepted is the whole value in a document, and nothing besides (XCAP-86)."""
        for literal in (octets, b'"%b"' % octets, b"'%b'" % octets):
            if is_attribute_value(literal):
                root = parse_document(b"<a b=%b/>" % literal).root
                self.assertEqual((list(root.attributes), root.children), (["b"], []))
                self.assertEqual(root.octets[slice(*root.attribute_place("b")[1:])], literal)
