"""Tests of :mod:`presence.compose.union`."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from presence.compose.union import UnionComposition
from presence.interfaces import ICompositionPolicy
from presence.pidf.names import COMPONENTS, ID_NAMESPACES, XML_ID
from presence.pidf.offline import closed_document, empty_document
from presence.pidf.parse import parse, parse_compact
from presence.pidf.summary import summarise
from presence.pidf.validate import accept
from tests.presence.compositions import publication
from tests.presence.documents import BOB, document, lenient, names, strict, vector

Leaf = tuple[tuple[str, ...], str | None, frozenset[tuple[str, str]]]

KEPT = [
    lenient(vector(name))
    for kind in ("valid", "quirk", "encoding")
    for name in names(kind)
    if name not in ("valid-attributes", "valid-deep")
]


def compose(*bodies: bytes) -> bytes:
    """The composition of bodies, oldest first, after checking that it is valid."""
    publications = [publication(i, body) for i, body in enumerate(bodies, 1)]
    composed = UnionComposition().compose(BOB, publications)
    if strict(composed) is not composed:
        raise AssertionError("not valid")
    return composed


def leaves(body: bytes) -> Counter[Leaf]:
    """All childless elements with path, text and attributes, without ids."""
    found: Counter[Leaf] = Counter()
    for element in parse_compact(body).iter():
        if len(element) or element.getparent() is None:
            continue
        path = [element.tag, *(ancestor.tag for ancestor in element.iterancestors())]
        attributes = frozenset(
            (name, value)
            for name, value in element.items()
            if name != XML_ID and not (name == "id" and element.tag.startswith(ID_NAMESPACES))
        )
        found[tuple(path), element.text, attributes] += 1
    return found


def component_ids(body: bytes) -> list[str]:
    """Ids of tuples, persons and devices in document order."""
    return [element.get("id", "") for element in parse(body) if element.tag in COMPONENTS]


class NoPublicationTests(SynchronousTestCase):
    """A presentity of which nothing is known."""

    def test_empty(self) -> None:
        """PRE-11: a valid document without tuples, about the presentity."""
        composed = UnionComposition().compose(BOB, [])
        self.assertEqual(composed, empty_document(BOB))
        self.assertEqual(compose(), composed)
        self.assertEqual(len(parse(composed)), 0)

    def test_closed(self) -> None:
        """PRE-11, PBK-02: the alternative is one closed tuple with a stable id."""
        composed = UnionComposition(closed_document).compose(BOB, [])
        self.assertIs(strict(composed), composed)
        self.assertEqual([service.basic for service in summarise(composed).services], ["closed"])
        self.assertEqual(composed, closed_document(BOB))
        self.assertNotEqual(component_ids(composed), component_ids(closed_document("sip:a@b")))

    def test_escaped(self) -> None:
        """An entity with characters that XML reserves is written as it is meant."""
        entity = "sip:a&b'\"<@home.example"
        for make in (empty_document, closed_document):
            self.assertEqual(parse(make(entity)).get("entity"), entity)

    def test_interface(self) -> None:
        """The policy provides ICompositionPolicy."""
        self.assertTrue(verifyObject(ICompositionPolicy, UnionComposition()))


class OnePublicationTests(SynchronousTestCase):
    """A single publication is given as it is."""

    def test_same_object(self) -> None:
        """The common case copies nothing."""
        body = vector("valid-source-a")
        self.assertIs(compose(body), body)

    def test_entity(self) -> None:
        """PRE-05: the entity becomes the presentity's; the rest stays octet by octet."""
        body = vector("valid-pres-entity")
        self.assertEqual(compose(body), body.replace(b"pres:bob@", b"sip:bob@"))

    def test_entity_of_unusual_roots(self) -> None:
        """PRE-05: wherever the root tag hides its entity, that and nothing else is changed."""
        pidf = (
            b'xmlns="urn:ietf:params:xml:ns:pidf"'
            b' xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
        )
        declaration = b'<?xml version="1.0" encoding="UTF-8"?>'
        for root in (
            b"<presence %b entity='pres:bob@home.example'/>",
            b'<presence\tentity = "pres:bob@home.example" %b></presence>',
            b"<!-- <presence entity=\"x\"> --><presence %b entity='pres:bob@home.example'/>",
            b'<presence %b i:schemaLocation=\' entity="x"\' entity="pres:bob@home.example"/>',
            b'<presence %b i:schemaLocation="a> entity=" entity="pres:bob@home.example"/>',
            b'<presence %b i:schemaLocation="a entity=" entity="pres:bob@home.example"/>',
            b'<presence %b xmlns:entity="x" entity="pres:bob@home.example"/>',
            b'<presence %b\nentity="pres:bob@home.example"><note> entity="x" </note></presence>',
            b'<?presence entity="x"?><presence %b entity="pres:bob@home.example"/>',
            b'<presence %b entity=" pres:bob@home.example "/>',
        ):
            body = declaration + root % pidf
            self.assertIs(strict(body), body)
            composed = parse(compose(body))
            self.assertEqual(composed.get("entity"), BOB, root)
            self.assertEqual(dict(composed.nsmap), dict(parse(body).nsmap), root)
            self.assertEqual(composed.xpath("string()"), parse(body).xpath("string()"))

    def test_escaped_entity(self) -> None:
        """An entity with reserved characters is recognised and written."""
        entity = "sip:a&b@home.example"
        body = empty_document(entity)
        policy = UnionComposition()
        self.assertIs(policy.compose(entity, [publication(1, body)]), body)
        composed = policy.compose(entity, [publication(1, empty_document(BOB))])
        self.assertEqual(composed, body)


class UnionTests(SynchronousTestCase):
    """Several publications."""

    def test_sources(self) -> None:
        """COM-41, COM-45: sources A, B and C of the worked example, nothing merged or lost."""
        composed = compose(*(vector(f"valid-source-{letter}") for letter in "abc"))
        self.assertEqual(
            [etree.QName(element).localname for element in parse(composed)],
            ["tuple", "tuple", "tuple", "person", "person", "device", "device"],
        )
        self.assertEqual(component_ids(composed), ["c1", "n1", "a1", "c2", "a3", "n2", "a2"])

    def test_retried_publish(self) -> None:
        """PUB-17: the same content published twice is given once, with the first one's ids."""
        body = vector("valid-rpid")
        self.assertIs(compose(body, body), body)
        renamed = lenient(body.replace(b'id="', b'id="again-'))
        composed = compose(body, renamed)
        self.assertEqual(sorted(component_ids(composed)), sorted(component_ids(body)))
        self.assertEqual(sorted(leaves(composed)), sorted(leaves(body)))
        self.assertNotIn(b"again-", composed)

    def test_other_prefixes(self) -> None:
        """COM-03, COM-04: equality does not depend on prefixes or attribute order."""
        first = document('<x:a b="1" c="2"/><tuple id="t"><status><x:s/></status></tuple>')
        first = lenient(first)
        second = first.replace(b"x:", b"yy:").replace(b":x=", b":yy=")
        second = second.replace(b'b="1" c="2"', b'c="2" b="1"')
        composed = compose(first, second)
        self.assertEqual(len(parse(composed)), 2)

    def test_equal_in_one_publication(self) -> None:
        """COM-02: equal tuples of one publication are not merged with each other."""
        twins = document(
            '<tuple id="a"><status/></tuple><tuple id="b"><status/></tuple>'
            '<tuple id="c"><status/></tuple>'
        )
        other = document('<tuple id="a"><status/></tuple><note>n</note>')
        composed = compose(twins, other)
        self.assertEqual(component_ids(composed), ["a", "b", "c"])

    def test_ids(self) -> None:
        """COM-14, PID-09: the oldest keeps its id, others get a suffix of their number."""
        bodies = [document(f'<tuple id="t"><status/><note>{i}</note></tuple>') for i in range(3)]
        policy = UnionComposition()
        one, two, three = (publication(i, body) for i, body in enumerate(bodies, 7))
        composed = policy.compose(BOB, [one, two, three])
        self.assertEqual(component_ids(composed), ["t-p9", "t-p8", "t"])
        # one more modification changes the order, not the ids
        later = publication(7, bodies[0], 100.0)
        composed = policy.compose(BOB, [two, three, later])
        self.assertEqual(component_ids(composed), ["t", "t-p9", "t-p8"])
        # an id goes to the next only when its source goes
        self.assertEqual(component_ids(policy.compose(BOB, [two, three])), ["t-p9", "t"])

    def test_ids_taken(self) -> None:
        """A suffixed id may itself be taken; all ids are unique, RPID and xml:id included."""
        first = document(
            '<tuple id="t"><status/></tuple><tuple id="t-p2"><status/><note>1</note></tuple>'
            '<dm:person id="p"><r:mood id="m"><r:sad/></r:mood></dm:person><x:a xml:id="x"/>'
        )
        second = document(
            '<tuple id="t"><status/><note>2</note></tuple><tuple id="m"><status/><x:b/></tuple>'
            '<dm:person id="x"><r:mood id="t-p2"><r:shy/></r:mood></dm:person><x:c xml:id="p"/>'
        )
        composed = compose(first, second)
        found = [
            value
            for element in parse(composed).iter()
            for name, value in element.items()
            if name in ("id", XML_ID)
        ]
        self.assertEqual(len(found), len(set(found)))
        self.assertEqual(component_ids(composed), ["t-p2-2", "m-p2", "t", "t-p2", "x-p2", "p"])

    def test_equal_but_for_owner(self) -> None:
        """COM-14: what an older publication has too keeps that one's ids, wherever it stands."""
        shared = '<dm:person id="{}"><r:mood id="{}"><r:sad/></r:mood></dm:person>'
        old = document(shared.format("old", "m1") + "<x:a/>")
        new = document(shared.format("new", "m2") + "<x:b/>")
        composed = compose(old, new)
        self.assertIn(b'id="old"', composed)
        self.assertIn(b'id="m1"', composed)
        self.assertNotIn(b"new", composed)

    def test_owner_of_equal_bodies(self) -> None:
        """COM-14: of equal bodies the publication made first counts."""
        first = document('<tuple id="t"><status/><note>1</note></tuple>')
        second = document('<tuple id="t"><status/><note>2</note></tuple>')
        self.assertEqual(component_ids(compose(first, second, first)), ["t", "t-p2"])

    def test_notes(self) -> None:
        """Root notes are united by language and text."""
        first = document('<note xml:lang="en">hi</note><note>both</note>')
        second = document("<note>hi</note><note>both</note>")
        root = parse(compose(first, second))
        self.assertEqual([note.text for note in root], ["hi", "both", "hi"])

    def test_namespaces(self) -> None:
        """COM-03, XML-02: declared at the root; one prefix for two namespaces is told apart."""
        first = document("<x:a/>")
        second = document("<x:a/>").replace(b"urn:example:extension", b"urn:other")
        root = parse(compose(first, second, vector("valid-prefixed")))
        self.assertEqual(root.nsmap[None], "urn:ietf:params:xml:ns:pidf")
        declared = set(root.nsmap.values())
        self.assertTrue({"urn:example:extension", "urn:other", "urn:example:other"} <= declared)
        self.assertEqual(
            [element.tag for element in root[1:3]], ["{urn:other}a", "{urn:example:extension}a"]
        )

    def test_compact(self) -> None:
        """XML-02: a composed document has no comments and no indentation."""
        composed = compose(vector("valid-comments"), vector("valid-source-a"))
        self.assertNotIn(b"<!--", composed)
        self.assertEqual(composed.count(b"\n"), 1)

    def test_order_of_input(self) -> None:
        """COM-13: the order of arrival has no influence, nor have equal times."""
        publications = [
            publication(i, vector(f"valid-source-{letter}"), 5.0)
            for i, letter in enumerate("abc", 1)
        ]
        policy = UnionComposition()
        composed = {policy.compose(BOB, order) for order in permutations(publications)}
        self.assertEqual(len(composed), 1)

    @given(
        st.lists(st.tuples(st.sampled_from(KEPT), st.integers(0, 3)), min_size=1, max_size=4),
        st.randoms(use_true_random=False),
    )
    @settings(max_examples=150, deadline=None)
    def test_any(self, chosen: list[tuple[bytes, int]], random: object) -> None:
        """COM-41, COM-45: any documents compose to a valid one that says all they say."""
        publications = [
            publication(i, body, float(changed)) for i, (body, changed) in enumerate(chosen, 1)
        ]
        policy = UnionComposition()
        composed = policy.compose(BOB, publications)
        kept = accept(composed, entity_ok=BOB.__eq__, strict=True)
        self.assertIs(kept, composed)
        random.shuffle(publications)  # type: ignore[attr-defined]
        self.assertEqual(policy.compose(BOB, publications), composed)
        said = leaves(composed)
        for body, _ in chosen:
            self.assertEqual(leaves(body) - said, Counter())
        if len(publications) > 1:
            # nothing was made up either
            total: Counter[Leaf] = Counter()
            for body, _ in chosen:
                total |= leaves(body)
            self.assertEqual(set(said), set(total))
        # a document composed with itself stays what it is
        again = policy.compose(BOB, [publication(1, composed), publication(2, composed)])
        self.assertIs(again, composed)
