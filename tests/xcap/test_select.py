"""What node selectors select."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.xmldocuments import PACK, hardened, selector
from xcap.document import XmlDocument, parse_document
from xcap.select import Ambiguous, NoMatch, deepest, matches, select_element
from xcap.uri import Step

U = "urn:u"


class SelectTestCase(SynchronousTestCase):
    """Base with the example of section 3."""

    def setUp(self) -> None:
        """Parse it."""
        self.pack = parse_document(PACK)

    def selects(self, text: str, octets: bytes, document: XmlDocument | None = None) -> None:
        """Expect an element."""
        found = select_element(document or self.pack, selector(text, default=U).steps)
        self.assertEqual(found.source, octets)

    def fails(self, text: str, error: type[Exception], document: XmlDocument | None = None) -> None:
        """Expect a no-match or an invalid selector."""
        caught = self.assertRaises(
            NoMatch, select_element, document or self.pack, selector(text, default=U).steps
        )
        self.assertEqual((text, type(caught)), (text, error))


class ExampleTests(SelectTestCase):
    """The table of section 3."""

    def selects(self, text: str, octets: bytes, document: XmlDocument | None = None) -> None:
        """Expect an element, with the default namespace of the example."""
        self.assertEqual(select_element(self.pack, selector(text).steps).source, octets)

    def test_table(self) -> None:
        """The examples select what the table says (XCAP-21, XCAP-22, XCAP-23)."""
        self.selects('pack/card[@k="b"]', b'<card k="b"/>')
        self.selects("pack/*[3]", b'<coin k="a"/>')
        self.selects("*/coin[1]", b'<coin k="a"/>')
        for text, error in (
            ('pack/*[3][@k="b"]', NoMatch),
            ('pack/*[@k="a"]', Ambiguous),
            ("pack/card", Ambiguous),
        ):
            caught = self.assertRaises(NoMatch, select_element, self.pack, selector(text).steps)
            self.assertEqual((text, type(caught)), (text, error))
        coin = select_element(self.pack, selector("pack/coin/@k").steps)
        self.assertEqual(coin.attributes["k"], "a")

    def test_root(self) -> None:
        """The first step names the root element or is a wildcard (XCAP-20)."""
        root = self.pack.root.source
        self.selects("pack", root)
        self.selects("*", root)
        self.selects("*[1]", root)
        for text in ("card", "pack[2]", "pack/pack", 'pack[@k="a"]'):
            self.assertRaises(NoMatch, select_element, self.pack, selector(text).steps)

    def test_deepest(self) -> None:
        """Steps are counted up to the first that fails, for whatever reason (XCAP-73)."""
        for text, count in (
            ("pack/card[1]", 2),
            ("pack/card[1]/x/y", 2),
            ("pack/card/x", 1),
            ("pack/box/x", 1),
            ("box/card[1]", 0),
        ):
            self.assertEqual((text, deepest(self.pack, selector(text).steps)), (text, count))
        self.assertEqual(deepest(self.pack, ()), 0)


class StepTests(SelectTestCase):
    """Names, positions and attributes."""

    def test_order_of_predicates(self) -> None:
        """The position counts in the list of names, before the attribute is tested (XCAP-22)."""
        document = parse_document(b'<a xmlns="urn:u"><x/><y b="1"/><x b="1"/><x b="1"/></a>')
        self.selects('a/x[2][@b="1"]', b'<x b="1"/>', document)
        self.fails('a/x[1][@b="1"]', NoMatch, document)
        self.selects('a/*[2][@b="1"]', b'<y b="1"/>', document)
        self.fails('a/x[@b="1"]', Ambiguous, document)
        self.fails("a/x[4]", NoMatch, document)
        self.fails("a/*[5]", NoMatch, document)

    def test_positions_out_of_range(self) -> None:
        """Position 0 and very high ones select nothing (XCAP-33)."""
        for position in ("0", "00", "3", "999999999", "1000000000", "1" * 40):
            caught = self.assertRaises(
                NoMatch, select_element, self.pack, selector(f"pack/card[{position}]").steps
            )
            self.assertIs(type(caught), NoMatch)
        self.assertEqual(matches(self.pack.root.children, Step(None, -1)), [])

    def test_element_names(self) -> None:
        """Elements are compared by expanded name, whatever the prefixes are (XCAP-24)."""
        document = parse_document(
            b'<p:a xmlns:p="urn:u" xmlns="urn:v"><a/><p:a b="1"/><a xmlns=""/></p:a>'
        )
        root = document.root.source
        self.selects("a", root, document)
        self.selects("a/a", b'<p:a b="1"/>', document)
        for query, text, octets in (
            ("xmlns(x=urn:v)", "a/x:a", b"<a/>"),
            ("xmlns(x=urn:u)", "x:a/x:a", b'<p:a b="1"/>'),
            ("xmlns(p=urn:v)", "a/p:a", b"<a/>"),
        ):
            found = select_element(document, selector(text, query, U).steps)
            self.assertEqual(found.source, octets)
        found = select_element(document, selector("x:a/a", "xmlns(x=urn:u)", "").steps)
        self.assertEqual(found.source, b'<a xmlns=""/>')

    def test_attribute_names(self) -> None:
        """An attribute without prefix is in no namespace (XCAP-25)."""
        document = parse_document(
            b'<a xmlns="urn:u" xmlns:p="urn:u"><x b="1"/><x p:b="1"/><x p:b="2"/></a>'
        )
        self.selects('a/x[@b="1"]', b'<x b="1"/>', document)
        steps = selector('a/x[@q:b="1"]', "xmlns(q=urn:u)", U).steps
        self.assertEqual(select_element(document, steps).source, b'<x p:b="1"/>')

    def test_values(self) -> None:
        """Values are compared after normalisation and expansion, as strings (XCAP-26)."""
        document = parse_document(
            b"<a xmlns='urn:u'><x b='sip:A@x&amp;\"'/><x b='sip:a@x'/>"
            b"<x b='1\n2'/><x b='&#10;'/></a>"
        )
        self.selects("a/x[@b='sip:A@x&amp;&quot;']", b"<x b='sip:A@x&amp;\"'/>", document)
        self.selects('a/x[@b="sip:&#x61;@x"]', b"<x b='sip:a@x'/>", document)
        self.selects('a/x[@b="1 2"]', b"<x b='1\n2'/>", document)
        self.selects('a/x[@b="&#10;"]', b"<x b='&#10;'/>", document)
        for value in ("sip:A@X", "SIP:a@x", "sip%3Aa@x", "1&#10;2", " ", ""):
            self.fails(f'a/x[@b="{value}"]', NoMatch, document)

    def test_declarations(self) -> None:
        """Namespace declarations never match as attributes (XCAP-27)."""
        document = parse_document(b'<a xmlns="urn:u" xmlns:p="urn:v"/>')
        self.fails('a[@xmlns="urn:u"]', NoMatch, document)
        self.fails('a[@xmlns:p="urn:v"]', NoMatch, document)

    def test_only_elements(self) -> None:
        """Comments, text and instructions are no children (XCAP-29)."""
        document = parse_document(b'<a xmlns="urn:u">t<!-- c --><?p i?><b/>t<![CDATA[<c/>]]></a>')
        self.selects("a/*", b"<b/>", document)
        self.selects("a/*[1]", b"<b/>", document)


STEPS = st.builds(
    Step,
    st.sampled_from([None, "x", "y", "{urn:u}x"]),
    st.sampled_from([None, None, 1, 2, 3]),
    st.sampled_from([None, None, ("k", "1"), ("{urn:u}k", "1")]),
)
NODES = st.recursive(
    st.tuples(st.sampled_from(["x", "y", "u:x"]), st.sampled_from(["", " k='1'", " u:k='1'"])).map(
        lambda node: f"<{node[0]}{node[1]}/>"
    ),
    lambda inner: st.tuples(
        st.sampled_from(["x", "y", "u:x"]),
        st.sampled_from(["", " k='1'", " u:k='1'"]),
        st.lists(inner, min_size=1, max_size=4),
    ).map(lambda node: f"<{node[0]}{node[1]}>{''.join(node[2])}</{node[0]}>"),
    max_leaves=12,
)


def xpath(step: Step) -> str:
    """A step in XPath."""
    text = "*" if step.name is None else step.name.replace("{urn:u}", "u:")
    if step.position is not None:
        text += f"[{step.position}]"
    if step.attribute is not None:
        name, value = step.attribute
        text += f"[@{name.replace('{urn:u}', 'u:')}='{value}']"
    return text


class XPathTests(SynchronousTestCase):
    """The same as XPath, whose subset it is."""

    @given(st.lists(NODES, max_size=5), st.lists(STEPS, min_size=1, max_size=3))
    def test_like_xpath(self, nodes: list[str], steps: list[Step]) -> None:
        """A selector selects what XPath does when every step finds one element (XCAP-21)."""
        octets = f"<a xmlns:u='urn:u'>{''.join(nodes)}</a>".encode()
        document = parse_document(octets)
        context = etree.fromstring(octets, hardened())
        count = 0
        expected: etree._Element | None = context
        for step in steps:
            found = context.xpath(xpath(step), namespaces={"u": "urn:u"})
            if len(found) != 1:
                expected = None
                break
            count += 1
            context = expected = found[0]
        path = (Step("a"), *steps)
        self.assertEqual(deepest(document, path), 1 + count)
        if expected is None:
            self.assertRaises(NoMatch, select_element, document, path)
        else:
            element = select_element(document, path)
            self.assertEqual(element.name, expected.tag)
            self.assertEqual(len(element.children), len(expected))
            self.assertEqual(element.attributes, dict(expected.attrib))
