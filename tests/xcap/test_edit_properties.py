"""PUT, GET and DELETE on random documents: what always holds."""

from __future__ import annotations

import contextlib

from hypothesis import assume, given
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.xmldocuments import NAMES, documents, elements, hardened, literals
from xcap.document import DEFAULT_LIMITS, XmlDocument, parse_document
from xcap.edit import delete_node, get_node, put_node
from xcap.element import Element
from xcap.errors import Conflict, XcapError
from xcap.namespaces import document_scope
from xcap.uri import NodeSelector, Step

KINDS = ("not-xml-frag", "not-xml-att-value", "not-utf-8", "no-parent", "cannot-insert")


def select(steps: list[Step], attribute: str | None = None) -> NodeSelector:
    """A node selector."""
    return NodeSelector(tuple(steps), attribute, False, {}, ())


@st.composite
def places(draw: st.DrawFn, document: XmlDocument) -> tuple[Element, list[Step]]:
    """An element of a document, and steps that select it by position."""
    element, steps = document.root, [Step(None, 1)]
    while element.children and draw(st.booleans()):
        index = draw(st.integers(0, len(element.children) - 1))
        element = element.children[index]
        steps.append(Step(None, index + 1))
    return element, steps


@st.composite
def targets(draw: st.DrawFn, body: bytes) -> Step:
    """A step for a new element: most of them fit."""
    root = parse_document(body).root
    names = st.sampled_from([None, root.name, root.name, "a", "{urn:u}b"])
    tests = [None, ("a", "1"), *root.attributes.items()]
    positions = st.sampled_from([None, None, 0, 1, 1, 2, 3, 4])
    return Step(draw(names), draw(positions), draw(st.sampled_from(tests)))


def canonical(octets: bytes) -> bytes:
    """Canonical XML with comments, by lxml."""
    return etree.tostring(etree.fromstring(octets, hardened()), method="c14n")


def places_of(element: Element) -> list[object]:
    """All that is known of an element and of those below it."""
    known: list[object] = [
        (element.name, element.prefix, element.attributes, element.namespaces()),
        (element.start, element.open_end, element.close_start, element.end, element.octets),
    ]
    return known + [places_of(child) for child in element.children]


class ElementProperties(SynchronousTestCase):
    """Elements of random documents."""

    def assertParsed(self, document: XmlDocument) -> None:
        """Expect a tree that is like one read from the octets (XCAP-99, XCAP-162)."""
        again = parse_document(document.octets)
        self.assertEqual(places_of(document.root), places_of(again.root))
        self.assertEqual(document.elements, again.elements)
        self.assertGreaterEqual(document.names, again.names)
        self.assertIs(document.limits, again.limits)

    @given(st.data(), documents(), st.lists(elements(), max_size=5))
    def test_many(self, data: st.DataObject, octets: bytes, bodies: list[str]) -> None:
        """After any number of changes the places are those in the octets (XCAP-99)."""
        document = parse_document(octets)
        for text in bodies:
            with contextlib.suppress(Conflict):
                _, path = data.draw(places(document))
                if data.draw(st.booleans()):
                    path.append(data.draw(targets(text.encode())))
                document = put_node(document, select(path), text.encode()).document
                self.assertParsed(document)
            with contextlib.suppress(Conflict):
                _, path = data.draw(places(document))
                document = delete_node(document, select(path))
                self.assertParsed(document)

    @given(st.data(), documents(), elements())
    def test_levels(self, data: st.DataObject, octets: bytes, text: str) -> None:
        """A tree as deep as a selector has steps is enough for it."""
        whole = parse_document(octets)
        _, path = data.draw(places(whole))
        steps = [*path[:-1], data.draw(targets(text.encode()))]
        shallow = parse_document(octets, DEFAULT_LIMITS, len(steps))
        self.assertEqual(shallow.elements, whole.elements)
        outcomes: list[list[object]] = []
        for document in (whole, shallow):
            outcomes.append([])
            for work in (
                lambda given: get_node(given, select(steps)),
                lambda given: put_node(given, select(steps), text.encode()).document.octets,
                lambda given: delete_node(given, select(steps)).octets,
            ):
                try:
                    outcomes[-1].append(work(document))
                except XcapError as refusal:
                    outcomes[-1].append((refusal.status, refusal.text))
        self.assertEqual(*outcomes)

    @given(st.data(), documents(), elements())
    def test_put(self, data: st.DataObject, octets: bytes, text: str) -> None:
        """GET gives what was PUT, all else is untouched, DELETE restores (XCAP-97, XCAP-100).

        XCAP-94 and XCAP-105: the new document is the old one with the body spliced in.
        """
        document = parse_document(octets)
        body = text.encode()
        parent, path = data.draw(places(document))
        node = select([*path, data.draw(targets(body))])
        try:
            edited = put_node(document, node, data.draw(st.sampled_from([b"", b" \n"])) + body)
        except Conflict as conflict:
            self.assertIn(conflict.kind, KINDS)
            self.assertEqual(document.octets, octets)
            return
        result = edited.document.octets
        self.assertEqual(get_node(edited.document, node), ("application/xcap-el+xml", body))
        etree.fromstring(result, hardened())
        if not edited.created:
            cuts = [(child.start, child.end) for child in parent.children]
            self.assertIn(result, [octets[:start] + body + octets[end:] for start, end in cuts])
            return
        if parent.empty:
            end = parent.open_end
            closed = b"%b></%b>" % (octets[parent.start : end - 2], parent.qname.encode())
            octets = octets[: parent.start] + closed + octets[end:]
        adjoining = {child.end for child in parent.children}
        adjoining |= {child.start for child in parent.children}
        adjoining.add(parent.open_end - 1 if parent.empty else parent.close_start)
        self.assertIn(result, [octets[:at] + body + octets[at:] for at in adjoining])
        try:
            restored = delete_node(edited.document, node)
        except Conflict as conflict:
            self.assertEqual(conflict.kind, "cannot-delete")
        else:
            self.assertEqual(restored.octets, octets)

    @given(st.data(), documents())
    def test_get_and_put_back(self, data: st.DataObject, octets: bytes) -> None:
        """What GET gives can be PUT back, and nothing changes (XCAP-61, XCAP-105).

        So a body may rely on all namespaces of its place (XCAP-84).
        """
        document = parse_document(octets)
        element, path = data.draw(places(document))
        body = get_node(document, select(path))[1]
        self.assertEqual(body, element.source)
        edited = put_node(document, select(path), body)
        self.assertEqual((edited.document.octets, edited.created), (octets, False))

    @given(st.data(), documents())
    def test_delete(self, data: st.DataObject, octets: bytes) -> None:
        """DELETE takes the element and nothing else (XCAP-121)."""
        document = parse_document(octets)
        element, path = data.draw(places(document))
        try:
            result = delete_node(document, select(path)).octets
        except Conflict as conflict:
            root = element is document.root
            kind = "schema-validation-error" if root else "cannot-delete"
            self.assertEqual(conflict.kind, kind)
        else:
            self.assertEqual(result, octets[: element.start] + octets[element.end :])

    @given(st.data(), documents(), st.binary(max_size=20))
    def test_any_body(self, data: st.DataObject, octets: bytes, body: bytes) -> None:
        """Any octets as a body give a well-formed document or a documented refusal (XCAP-83)."""
        document = parse_document(octets)
        _, path = data.draw(places(document))
        name = data.draw(st.sampled_from([None, "a", "{urn:u}k", "xmlns"]))
        try:
            edited = put_node(
                document, select([*path, Step(None, 1)] if name is None else path, name), body
            )
        except XcapError as refusal:
            self.assertIsInstance(refusal, Conflict)
        else:
            etree.fromstring(edited.document.octets, hardened())


class AttributeProperties(SynchronousTestCase):
    """Attributes of random documents."""

    @given(st.data(), documents(), literals(), st.sampled_from(NAMES), st.booleans())
    def test_put(
        self, data: st.DataObject, octets: bytes, literal: str, local: str, prefixed: bool
    ) -> None:
        """GET gives what was PUT, all else is untouched, DELETE restores (XCAP-107, XCAP-122)."""
        document = parse_document(octets)
        element, path = data.draw(places(document))
        bound = sorted({uri for prefix, uri in element.namespaces().items() if prefix})
        name = local
        if prefixed:
            assume(bound)
            name = f"{{{data.draw(st.sampled_from(bound))}}}{local}"
        node = select(path, name)
        body = literal.encode()
        edited = put_node(document, node, body)
        result = edited.document.octets
        self.assertEqual(get_node(edited.document, node), ("application/xcap-att+xml", body))
        self.assertEqual(edited.created, name not in element.attributes)
        theirs = etree.fromstring(result, hardened())
        for step in path[1:]:
            theirs = list(theirs.iterchildren("*"))[(step.position or 0) - 1]
        self.assertEqual(
            theirs.attrib[name], parse_document(b"<a a=%b/>" % body).root.attributes["a"]
        )
        if edited.created:
            self.assertEqual(delete_node(edited.document, node).octets, octets)
        else:
            _, start, end = element.attribute_place(name)
            self.assertEqual(result, octets[:start] + body + octets[end:])

    @given(st.data(), documents(), literals())
    def test_bare(self, data: st.DataObject, octets: bytes, literal: str) -> None:
        """A bare value has the same meaning as one with quotes (XCAP-62, XCAP-86)."""
        value = literal[1:-1].strip(" \t\r\n")
        assume(value and value[0] not in "\"'")
        document = parse_document(octets)
        _, path = data.draw(places(document))
        edited = put_node(document, select(path, "z"), value.encode())
        quoted = put_node(document, select(path, "z"), (literal[0] + value + literal[0]).encode())
        self.assertEqual(canonical(edited.document.octets), canonical(quoted.document.octets))
        bare = get_node(edited.document, select(path, "z"), bare_attributes=True)[1]
        if '"' not in value or "'" not in value:
            self.assertEqual(bare, value.encode())

    @given(st.data(), documents())
    def test_delete(self, data: st.DataObject, octets: bytes) -> None:
        """DELETE takes the attribute and nothing else, as lxml would (XCAP-122)."""
        document = parse_document(octets)
        element, path = data.draw(places(document))
        assume(element.attributes)
        name = data.draw(st.sampled_from(sorted(element.attributes)))
        result = delete_node(document, select(path, name)).octets
        theirs = root = etree.fromstring(octets, hardened())
        for step in path[1:]:
            theirs = list(theirs.iterchildren("*"))[(step.position or 0) - 1]
        del theirs.attrib[name]
        self.assertEqual(canonical(result), etree.tostring(root, method="c14n"))


class ScopeProperties(SynchronousTestCase):
    """Namespaces of random documents."""

    @given(st.data(), documents())
    def test_namespaces(self, data: st.DataObject, octets: bytes) -> None:
        """The namespaces of an element, read again alone, are the same (XCAP-63)."""
        document = parse_document(octets)
        element, path = data.draw(places(document))
        node = NodeSelector(tuple(path), None, True, {}, ())
        kind, found = get_node(document, node)
        self.assertEqual(kind, "application/xcap-ns+xml")
        root = parse_document(found).root
        self.assertEqual(root.namespaces(), element.namespaces())
        self.assertEqual((root.qname, root.name), (element.qname, element.name))
        self.assertEqual(document_scope().all(), {})
