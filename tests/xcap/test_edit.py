"""GET, PUT and DELETE of elements and attributes, octet for octet."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.xmldocuments import PACK, selector
from xcap.document import Limits, XmlDocument, parse_document
from xcap.edit import (
    Edited,
    delete_node,
    get_node,
    put_node,
    require_node,
    require_parent,
)
from xcap.errors import Conflict, XcapError
from xcap.uri import NodeSelector, Step

LISTS = "urn:ietf:params:xml:ns:resource-lists"
COIN = b' <coin k="a"/>'
B = b' <card k="b"/>'
A = b' <card k="a"/>'

# target selector, body, what of the example becomes what; for 201
INSERTIONS = (
    ('pack/card[@k="c"]', b'<card k="c"/>', B, b' <card k="b"/><card k="c"/>'),
    ('pack/card[3][@k="c"]', b'<card k="c"/>', B, b' <card k="b"/><card k="c"/>'),
    ('pack/*[3][@k="c"]', b'<card k="c"/>', B, b' <card k="b"/><card k="c"/>'),
    ('pack/coin[@k="z"]', b'<coin k="z"/>', COIN, b' <coin k="a"/><coin k="z"/>'),
    ('pack/*[2][@k="z"]', b'<coin k="z"/>', A, b' <card k="a"/><coin k="z"/>'),
    ('pack/coin[1][@k="z"]', b'<coin k="z"/>', COIN, b' <coin k="z"/><coin k="a"/>'),
    ("pack/note", b"<note/>", b"</pack>", b"<note/></pack>"),
    ('pack/*[1][@k="z"]', b'<note k="z"/>', A, b' <note k="z"/><card k="a"/>'),
    ('pack/*[@k="z"]', b'<card k="z"/>', B, b' <card k="b"/><card k="z"/>'),
    ('pack/card[1][@k="b"]', b'<card k="b"/>', A, b' <card k="b"/><card k="a"/>'),
    ("pack/*[4]", b"<note/>", COIN, b' <coin k="a"/><note/>'),
)
REFUSED = (
    ('pack/card[4][@k="z"]', b'<card k="z"/>'),
    ("pack/*[6]", b"<note/>"),
    ('pack/*[0][@k="z"]', b'<card k="z"/>'),
    ("pack/card", b'<card k="z"/>'),
    ('pack/card[@k="b"]', b'<card k="q"/>'),
)


class EditTestCase(SynchronousTestCase):
    """Base: operations on octets."""

    def put(
        self,
        octets: bytes,
        text: str,
        body: bytes,
        *,
        query: str = "",
        default: str = "",
        accept_bare: bool = True,
    ) -> Edited:
        """PUT a node."""
        node = selector(text, query, default)
        return put_node(parse_document(octets), node, body, accept_bare=accept_bare)

    def created(self, octets: bytes, text: str, body: bytes, result: bytes, **more: str) -> None:
        """Expect a node to be created."""
        edited = self.put(octets, text, body, **more)  # type: ignore[arg-type]
        self.assertEqual((edited.document.octets, edited.created), (result, True))

    def replaced(self, octets: bytes, text: str, body: bytes, result: bytes, **more: str) -> None:
        """Expect a node to be replaced."""
        edited = self.put(octets, text, body, **more)  # type: ignore[arg-type]
        self.assertEqual((edited.document.octets, edited.created), (result, False))

    def refused(
        self, kind: str, octets: bytes, text: str, body: bytes, query: str = ""
    ) -> Conflict:
        """Expect a conflict."""
        conflict = self.assertRaises(Conflict, self.put, octets, text, body, query=query)
        self.assertEqual((text, body, conflict.kind), (text, body, kind))
        return conflict

    def got(
        self, octets: bytes, text: str, query: str = "", *, default: str = "", bare: bool = False
    ) -> tuple[str, bytes]:
        """GET a node."""
        node = selector(text, query, default)
        return get_node(parse_document(octets), node, bare_attributes=bare)

    def deleted(self, octets: bytes, text: str, result: bytes, query: str = "") -> None:
        """Expect a node to be deleted."""
        document = delete_node(parse_document(octets), selector(text, query, ""))
        self.assertEqual(document.octets, result)

    def kept(self, octets: bytes, text: str, kind: str) -> Conflict:
        """Expect a DELETE to be a conflict."""
        conflict = self.assertRaises(
            Conflict, delete_node, parse_document(octets), selector(text, "", "")
        )
        self.assertEqual((text, conflict.kind), (text, kind))
        return conflict


class GetTests(EditTestCase):
    """Section 6."""

    def test_element(self) -> None:
        """An element is its octets, tags included, and nothing else (XCAP-61)."""
        octets = (
            b'<a xmlns="urn:d" xmlns:p="urn:p">\n <p:b  c = \'1\' ><!-- x --><p:d/>&amp;'
            b"<![CDATA[<]]></p:b >\n <e/>\n</a>"
        )
        query = "xmlns(p=urn:p)"
        self.assertEqual(
            self.got(octets, "a/p:b", query, default="urn:d"),
            (
                "application/xcap-el+xml",
                b"<p:b  c = '1' ><!-- x --><p:d/>&amp;<![CDATA[<]]></p:b >",
            ),
        )
        self.assertEqual(self.got(octets, "a/p:b/p:d", query, default="urn:d")[1], b"<p:d/>")
        self.assertEqual(self.got(octets, "a/e", default="urn:d")[1], b"<e/>")

    def test_own_declarations(self) -> None:
        """An element keeps its declarations and gets none of its ancestors (XCAP-61)."""
        octets = b'<a xmlns:p="urn:p"><p:b xmlns:q="urn:q"/><c xmlns:p="urn:p"><p:d/></c></a>'
        self.assertEqual(self.got(octets, "a/p:b", "xmlns(p=urn:p)")[1], b'<p:b xmlns:q="urn:q"/>')
        self.assertEqual(self.got(octets, "a/c")[1], b'<c xmlns:p="urn:p"><p:d/></c>')

    def test_whole_document(self) -> None:
        """The root element comes without prolog and epilogue (XCAP-61)."""
        self.assertEqual(
            self.got(b"\xef\xbb\xbf<?xml version='1.0'?><!-- x --><a>\n</a><?y?>\n", "a")[1],
            b"<a>\n</a>",
        )

    def test_attribute(self) -> None:
        """An attribute is its literal with the quotes of the document (XCAP-62)."""
        octets = b'<list><entry uri="sip:bob@example.com" x = \'a&quot;"\tb\'/></list>'
        self.assertEqual(
            self.got(octets, "list/entry[1]/@uri"),
            ("application/xcap-att+xml", b'"sip:bob@example.com"'),
        )
        self.assertEqual(self.got(octets, "list/entry/@x")[1], b"'a&quot;\"\tb'")

    def test_bare_attribute(self) -> None:
        """The quotes can be left out (XCAP-62)."""
        self.assertEqual(
            self.got(b"<a b='&lt;c'/>", "a/@b", bare=True), ("application/xcap-att+xml", b"&lt;c")
        )

    def test_namespaces(self) -> None:
        """The bindings in scope come as an empty element of the same name (XCAP-63)."""
        kind, octets = self.got(
            b'<f xmlns="urn:d"><b:g xmlns:b="urn:b"/></f>',
            "f/b:g/namespace::*",
            "xmlns(b=urn:b)",
            default="urn:d",
        )
        self.assertEqual(kind, "application/xcap-ns+xml")
        root = parse_document(octets).root
        self.assertEqual((root.qname, root.attributes, root.empty), ("b:g", {}, True))
        self.assertEqual(root.namespaces(), {"": "urn:d", "b": "urn:b"})
        self.assertEqual(sorted(octets[5:-2].split()), [b'xmlns:b="urn:b"', b'xmlns="urn:d"'])

    def test_namespaces_hidden(self) -> None:
        """What is redeclared or undeclared inside, and xml, are not in scope (XCAP-63)."""
        octets = (
            b'<a xmlns="urn:d" xmlns:p="urn:p" xmlns:xml="http://www.w3.org/XML/1998/namespace">'
            b'<b xmlns="" xmlns:p="urn:q&amp;&quot;&#10;&lt;"/></a>'
        )
        _, found = self.got(octets, "a:a/b/namespace::*", "xmlns(a=urn:d)")
        self.assertEqual(found, b'<b xmlns:p="urn:q&#38;&#34;&#10;&#60;"/>')
        self.assertEqual(self.got(b"<a/>", "a/namespace::*")[1], b"<a/>")

    def test_nothing(self) -> None:
        """A no-match and an invalid selector are 404 without report (XCAP-64)."""
        document = parse_document(PACK)
        for text in (
            "pack/box",
            "pack/card",
            "pack/coin/@z",
            "pack/box/@k",
            "pack/card/@k",
            "pack/box/namespace::*",
            "pack/@xmlns",
        ):
            for operation in (get_node, require_node):
                refusal = self.assertRaises(XcapError, operation, document, selector(text))
                self.assertEqual((text, refusal.status), (text, 404))
                self.assertNotIsInstance(refusal, Conflict)


class InsertionTests(EditTestCase):
    """Where new elements go."""

    def test_worked_insertions(self) -> None:
        """The table of worked insertions gives its results (XCAP-90 to XCAP-94)."""
        for text, body, old, new in INSERTIONS:
            self.assertEqual(PACK.count(old), 1)
            edited = put_node(parse_document(PACK), selector(text), body)
            self.assertEqual((text, edited.document.octets), (text, PACK.replace(old, new)))
            self.assertTrue(edited.created)

    def test_replacement_of_the_table(self) -> None:
        """The replacement in the table gives its result (XCAP-105)."""
        edited = put_node(parse_document(PACK), selector("pack/card[2]"), b'<card k="z"/>')
        self.assertEqual(edited.document.octets, PACK.replace(b'"b"', b'"z"'))
        self.assertFalse(edited.created)

    def test_refusals_of_the_table(self) -> None:
        """The refused ones of the table are cannot-insert and no-parent (XCAP-90 to XCAP-93)."""
        for text, body in REFUSED:
            document = parse_document(PACK)
            conflict = self.assertRaises(Conflict, put_node, document, selector(text), body)
            self.assertEqual((text, conflict.kind), (text, "cannot-insert"))
            self.assertEqual(document.octets, PACK)
        conflict = self.assertRaises(
            Conflict, put_node, parse_document(PACK), selector("pack/box/x"), b"<x/>"
        )
        self.assertEqual((conflict.kind, conflict.depth), ("no-parent", 1))

    def test_there_and_back(self) -> None:
        """DELETE right after a creation restores the octets, or may not (XCAP-100, XCAP-121)."""
        restored = 0
        for text, body, _, _ in INSERTIONS:
            node = selector(text)
            edited = put_node(parse_document(PACK), node, body)
            self.assertEqual(get_node(edited.document, node), ("application/xcap-el+xml", body))
            try:
                octets = delete_node(edited.document, node).octets
            except Conflict as conflict:
                self.assertEqual(conflict.kind, "cannot-delete")
            else:
                self.assertEqual((text, octets), (text, PACK))
                restored += 1
        self.assertEqual(restored, len(INSERTIONS))

    def test_name_of_the_body_decides(self) -> None:
        """With a wildcard and no position the name of the body decides (XCAP-91)."""
        octets = b"<a><x/>1<y/>2<x/>3</a>"
        self.created(octets, 'a/*[@k="1"]', b'<x k="1"/>', b'<a><x/>1<y/>2<x/><x k="1"/>3</a>')
        self.created(octets, 'a/*[@k="1"]', b'<y k="1"/>', b'<a><x/>1<y/><y k="1"/>2<x/>3</a>')
        self.created(octets, 'a/*[@k="1"]', b'<z k="1"/>', b'<a><x/>1<y/>2<x/>3<z k="1"/></a>')

    def test_first_of_its_name(self) -> None:
        """The first of its name is the very last node (XCAP-91, XCAP-92)."""
        octets = b"<a><x/> text <!-- c --><?p i?>\n</a >"
        result = b"<a><x/> text <!-- c --><?p i?>\n<y/></a >"
        self.created(octets, "a/y", b"<y/>", result)
        self.created(octets, "a/y[1]", b"<y/>", result)
        self.created(b"<a>\n</a>", "a/*[1]", b"<y/>", b"<a>\n<y/></a>")
        self.created(b"<a>\n</a>", "a/*", b"<y/>", b"<a>\n<y/></a>")

    def test_same_expanded_name(self) -> None:
        """Siblings of the same name count whatever their prefixes are (XCAP-91, XCAP-24)."""
        octets = b'<a xmlns:p="u"><x xmlns="u"/>1<x/>2<p:x/>3<x/></a>'
        query = "xmlns(q=u)"
        new = b'<p:x k="1"/>'
        self.created(octets, 'a/q:x[@k="1"]', new, octets.replace(b"3", new + b"3"), query=query)
        self.created(octets, 'a/q:x[2][@k="1"]', new, octets.replace(b"1", new + b"1"), query=query)

    def test_positions(self) -> None:
        """A position is counted among the right siblings (XCAP-92, XCAP-93)."""
        octets = b"<a>1<x/>2<y/>3<x/>4</a>"
        new = b'<x k="1"/>'
        for text, before, after in (
            ('a/x[1][@k="1"]', b"1", b"<x/>2"),
            ('a/x[2][@k="1"]', b"1<x/>", b"2"),
            ('a/x[3][@k="1"]', b"3<x/>", b"4"),
            ('a/*[1][@k="1"]', b"1", b"<x/>2"),
            ('a/*[2][@k="1"]', b"1<x/>", b"2"),
            ('a/*[3][@k="1"]', b"<y/>", b"3"),
            ('a/*[4][@k="1"]', b"3<x/>", b"4"),
            ("a/x[3]", b"3<x/>", b"4"),
        ):
            self.created(octets, text, new, octets.replace(before + after, before + new + after))
        for text in ('a/x[4][@k="1"]', 'a/*[5][@k="1"]', 'a/x[0][@k="1"]', "a/y[3]", "a/x[99999]"):
            self.refused("cannot-insert", octets, text, new)
        self.refused("cannot-insert", b"<a/>", "a/x[0]", b"<x/>")
        self.refused("cannot-insert", b"<a><x/></a>", "a/*[0]", b"<x/>")
        self.refused("cannot-insert", b"<a/>", "a/x[2]", b"<x/>")
        self.refused("cannot-insert", b"<a/>", "a/*[2]", b"<x/>")

    def test_nothing_moves(self) -> None:
        """White space, comments and instructions stay on the far side (XCAP-94)."""
        octets = b"<a>\n <x/> <!-- 1 --> <?p 2?>\n <y/> t </a>"
        self.created(
            octets, 'a/x[@k="1"]', b'<x k="1"/>', octets.replace(b"<x/>", b'<x/><x k="1"/>')
        )
        self.created(
            octets, 'a/y[1][@k="1"]', b'<y k="1"/>', octets.replace(b"<y/>", b'<y k="1"/><y/>')
        )

    def test_empty_parent(self) -> None:
        """An empty-element tag is opened, its spelling kept (XCAP-95)."""
        self.created(b'<p a="1"/>', "p/x", b"<x/>", b'<p a="1"><x/></p>')
        self.created(b"<p a='/>' />", "p/*[1]", b"<x/>", b"<p a='/>' ><x/></p>")
        self.created(
            b'<r><q:p xmlns:q="u"/></r>',
            "r/q:p/x",
            b"<x/>",
            b'<r><q:p xmlns:q="u"><x/></q:p></r>',
            query="xmlns(q=u)",
        )
        self.created("<é/>".encode(), "é/x", b"<x/>", "<é><x/></é>".encode())
        self.created(b"<p></p>", "p/x", b"<x/>", b"<p><x/></p>")

    def test_body_unchanged(self) -> None:
        """The body goes in as it is, less the white space around it (XCAP-97, XCAP-83)."""
        body = b"<q:x  xmlns:q='u' xmlns:p=\"u\" xmlns:z='z'  k = '1'>\r\n<!-- c -->&#65;</q:x >"
        octets = b'<a xmlns:p="u" xmlns:q="u"></a>'
        result = octets.replace(b"></", b">" + body + b"</")
        self.created(octets, "a/p:x", b"\r\n\t " + body + b"\n", result, query="xmlns(p=u)")

    def test_must_fit(self) -> None:
        """The new element has the name and the attribute of the last step (XCAP-90)."""
        octets = b'<a xmlns:p="u"/>'
        query = "xmlns(p=u)"
        self.created(
            octets,
            'a/p:x[@p:k="&lt;"]',
            b"<p:x p:k='&#60;'/>",
            b"<a xmlns:p=\"u\"><p:x p:k='&#60;'/></a>",
            query=query,
        )
        for text, body in (
            ("a/x", b"<y/>"),
            ("a/x", b"<p:x/>"),
            ("a/p:x", b"<x/>"),
            ('a/x[@k="1"]', b"<x/>"),
            ('a/x[@k="1"]', b'<x k="2"/>'),
            ('a/x[@k="1"]', b'<x p:k="1"/>'),
            ('a/*[@k="1"]', b"<x/>"),
            ('a/*[1][@k="1"]', b"<x/>"),
        ):
            self.refused("cannot-insert", octets, text, body, query)

    def test_selected_again(self) -> None:
        """The URI has to select the new element in the new document (XCAP-98)."""
        # a/*[1] is the new one only if it becomes the first child
        octets = b'<a><x k="1"/><y/></a>'
        self.created(
            octets, 'a/*[1][@k="2"]', b'<z k="2"/>', octets.replace(b"<x", b'<z k="2"/><x')
        )
        self.refused("cannot-insert", octets, 'a/*[2][@k="1"]', b"<x/>")
        # a replacement that is a parent of the old place is another element
        self.refused("cannot-insert", octets, 'a/*[1][@k="1"]', b'<x><x k="1"/></x>')

    def test_no_root_created(self) -> None:
        """A document cannot get another root element (XCAP-75)."""
        for text, body in (
            ("b", b"<b/>"),
            ('a[@k="2"]', b'<a k="2"/>'),
            ("a[2]", b"<a/>"),
            ("*[2]", b"<a/>"),
        ):
            self.refused("cannot-insert", b"<a/>", text, body)

    def test_schema_plays_no_part(self) -> None:
        """The place does not depend on what elements there are (XCAP-96)."""
        octets = f'<list xmlns="{LISTS}"><entry uri="a"/></list>'.encode()
        self.created(
            octets,
            "list/display-name",
            b"<display-name/>",
            octets.replace(b"</list>", b"<display-name/></list>"),
            default=LISTS,
        )

    def test_limits(self) -> None:
        """The result has to keep the limits too (XCAP-162)."""
        document = parse_document(b"<a><b/></a>")
        for limits, body in (
            (Limits(depth=3), b"<c><d/></c>"),
            (Limits(elements=3), b"<c><d/></c>"),
        ):
            node = selector("a/b/c", "", "")
            conflict = self.assertRaises(Conflict, put_node, document, node, body, limits=limits)
            self.assertEqual(conflict.kind, "constraint-failure")
            put_node(document, node, b"<c/>", limits=limits)
        node = selector("a/c", "", "")
        for body, size in ((b"<c/>", 14), (b"<c>123456789</c>", 14), (b" " * 12 + b"<c/>", 15)):
            refusal = self.assertRaises(
                XcapError, put_node, document, node, body, limits=Limits(size=size)
            )
            self.assertEqual(refusal.status, 413)


class ParentTests(EditTestCase):
    """Parents of what is PUT."""

    def test_no_parent(self) -> None:
        """A parent that is a no-match or invalid is no-parent, with its depth (XCAP-73)."""
        for text, depth in (
            ("box/x", 0),
            ("pack/box/x", 1),
            ("pack/card/x", 1),
            ("pack/card[1]/x/y/z", 2),
            ("pack/box/@k", 1),
            ("pack/card/@k", 1),
            ("box/@k", 0),
        ):
            for operation in (
                lambda document, node: put_node(document, node, b"not even looked at"),
                require_parent,
            ):
                conflict = self.assertRaises(
                    Conflict, operation, parse_document(PACK), selector(text)
                )
                self.assertEqual((text, conflict.kind, conflict.depth), (text, "no-parent", depth))

    def test_parent(self) -> None:
        """The parent is what the URI without its last segment selects (XCAP-70)."""
        document = parse_document(PACK)
        self.assertIs(require_parent(document, selector("pack/new")), document.root)
        self.assertIs(
            require_parent(document, selector("pack/coin/new")), document.root.children[2]
        )
        self.assertIs(require_parent(document, selector("pack/coin/@k")), document.root.children[2])
        self.assertIs(require_parent(document, selector("new")), document.node)

    def test_several_targets(self) -> None:
        """A last step that selects several elements is cannot-insert (XCAP-74)."""
        for octets, text in ((b"<a><x/><x/></a>", "a/x"), (b"<a><x/><y/></a>", "a/*")):
            conflict = self.refused("cannot-insert", octets, text, b"<x/>")
            self.assertEqual(conflict.phrase, "The URI selects several elements")

    def test_namespaces(self) -> None:
        """PUT and DELETE of namespaces are 405 with what is allowed (XCAP-76, XCAP-126)."""
        document = parse_document(PACK)
        for operation in (
            lambda node: put_node(document, node, b"<x/>"),
            lambda node: require_parent(document, node),
            lambda node: delete_node(document, node),
        ):
            refusal = self.assertRaises(XcapError, operation, selector("pack/namespace::*"))
            self.assertEqual(refusal.status, 405)
            self.assertEqual(refusal.headers, (("Allow", "GET, HEAD, OPTIONS"),))


class ReplacementTests(EditTestCase):
    """Elements that are replaced."""

    def test_in_place(self) -> None:
        """The whole old element is replaced, its surroundings stay (XCAP-105)."""
        octets = b'<a>\n 1<x k="1" xmlns:p="u">\n<p:y/>&amp;</x>2<!-- 3 -->\n</a>'
        self.replaced(octets, "a/x", b" <x>new</x> ", b"<a>\n 1<x>new</x>2<!-- 3 -->\n</a>")
        self.replaced(octets, "a/x", b"<x/>", b"<a>\n 1<x/>2<!-- 3 -->\n</a>")
        self.replaced(b"<a><x/></a>", "a/x[1]", b"<x> </x>", b"<a><x> </x></a>")

    def test_root(self) -> None:
        """Replacing the root element keeps what is around it (XCAP-75)."""
        octets = b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- 1 --><a k='1'><b/></a >\n<?p 2?>\n"
        result = b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- 1 --><a/>\n<?p 2?>\n"
        self.replaced(octets, "a", b"<a/>", result)
        self.replaced(octets, "*", b"<b/>", result.replace(b"<a/>", b"<b/>"))
        self.refused("cannot-insert", octets, "a", b"<b/>")

    def test_selected_again(self) -> None:
        """The URI has to select what was PUT; then the name may be another (XCAP-106)."""
        self.replaced(
            PACK,
            "p:pack/*[2]",
            b'<coin k="q"/>',
            PACK.replace(b'<card k="b"/>', b'<coin k="q"/>'),
            query="xmlns(p=urn:example:pack)",
        )
        octets = b'<a><x k="1"/><y/></a>'
        for text, body in (
            ("a/x", b"<y/>"),
            ("a/x[1]", b"<z/>"),
            ('a/x[@k="1"]', b'<x k="2"/>'),
            ('a/*[@k="1"]', b"<x/>"),
            ('a/*[1][@k="1"]', b"<x/>"),
            ("a/y", b'<x k="1"/>'),
        ):
            self.refused("cannot-insert", octets, text, body)

    def test_same_again(self) -> None:
        """A PUT of what is there already is a replacement (XCAP-105)."""
        self.replaced(b"<a><x/></a>", "a/x", b"<x/>", b"<a><x/></a>")


class ElementBodyTests(EditTestCase):
    """Bodies that are elements."""

    def test_refused(self) -> None:
        """What is not one element is not-xml-frag, also where it replaces (XCAP-83, XCAP-87)."""
        for body in (
            b"",
            b"  \n",
            b"x",
            b"<x>",
            b"<x/><x/>",
            b"<x/>y",
            b"<!-- c --><x/>",
            b"<x/><?p?>",
            b'<?xml version="1.0"?><x/>',
            b"<!DOCTYPE x><x/>",
            b"<x>&nbsp;</x>",
        ):
            self.refused("not-xml-frag", b"<a/>", "a/x", body)
            self.refused("not-xml-frag", b"<a><x/></a>", "a/x", body)
            self.refused("not-xml-frag", b"<x/>", "x", body)

    def test_not_utf8(self) -> None:
        """Octets that are not UTF-8 are not-utf-8 (XCAP-83)."""
        self.refused("not-utf-8", b"<a/>", "a/x", b"<x>\xe9</x>")
        self.refused("not-utf-8", b"<a/>", "a/x", "<x/>".encode("utf-16"))

    def test_prefixes(self) -> None:
        """Prefixes are those of the place in the document (XCAP-84)."""
        octets = b'<a xmlns:p="u"><b xmlns:q="v"/><c/></a>'
        self.created(
            octets,
            "a/b/p:x",
            b"<p:x q:y=''/>",
            b'<a xmlns:p="u"><b xmlns:q="v"><p:x q:y=\'\'/></b><c/></a>',
            query="xmlns(p=u)",
        )
        self.refused("not-xml-frag", octets, "a/c/p:x", b"<p:x q:y=''/>", "xmlns(p=u)")
        # the declarations of the element that is replaced do not count
        self.refused("not-xml-frag", octets, "a/b", b"<b q:y=''/>")
        self.refused("not-xml-frag", octets, "a", b"<a p:y=''/>")

    def test_default_namespace(self) -> None:
        """An element without prefix takes the default namespace of the place (XCAP-85)."""
        octets = b'<a xmlns="u"><b xmlns=""/></a>'
        self.created(octets, "a/x", b"<x/>", octets.replace(b"</a>", b"<x/></a>"), default="u")
        self.refused("cannot-insert", octets, "p:a/x", b"<x/>", "xmlns(p=u)")
        self.created(
            octets, "p:a/b/x", b"<x/>", b'<a xmlns="u"><b xmlns=""><x/></b></a>', query="xmlns(p=u)"
        )
        self.refused("cannot-insert", octets, "p:a/b/p:x", b"<x/>", "xmlns(p=u)")


class AttributeTests(EditTestCase):
    """PUT of attributes."""

    def test_replaced(self) -> None:
        """The value is replaced where it is, with the quotes of the body (XCAP-107)."""
        octets = b"<a x='0'  k = 'old'\n y='1' />"
        self.replaced(octets, "a/@k", b'"new"', octets.replace(b"'old'", b'"new"'))
        self.replaced(octets, "a/@k", b"'\"'", octets.replace(b"'old'", b"'\"'"))
        self.replaced(octets, "a/@k", b'" \'&#10;>"', octets.replace(b"'old'", b'" \'&#10;>"'))

    def test_created(self) -> None:
        """A new attribute is appended to the start tag (XCAP-107)."""
        for octets, result in (
            (b"<a/>", b'<a k="v"/>'),
            (b"<a />", b'<a k="v" />'),
            (b"<a></a>", b'<a k="v"></a>'),
            (b"<a\n></a>", b'<a k="v"\n></a>'),
            (b"<a x='/>' y = '1' >t</a>", b"<a x='/>' y = '1' k=\"v\" >t</a>"),
            (b"<a xmlns='' >t</a>", b"<a xmlns='' k=\"v\" >t</a>"),
            ("<é/>".encode(), '<é k="v"/>'.encode()),
        ):
            text = "é/@k" if b"\xc3" in octets else "a/@k"
            self.created(octets, text, b'"v"', result)
            self.deleted(result, text, octets)

    def test_white_space(self) -> None:
        """White space around the literal is dropped, not that within (XCAP-86)."""
        self.created(b"<a/>", "a/@k", b"\r\n ' v '\t\n", b"<a k=' v '/>")

    def test_bare(self) -> None:
        """A value without quotes gets some that it does not have (XCAP-86, XCAP-107)."""
        for body, literal in (
            (b"sip:b@x", b'"sip:b@x"'),
            (b" a\n", b'"a"'),
            (b"it's", b'"it\'s"'),
            (b'5" disk', b"'5\" disk'"),
            (b"it's 5\"", b'"it\'s 5&quot;"'),
            (b"&lt;&#x41;&amp;", b'"&lt;&#x41;&amp;"'),
        ):
            self.created(b"<a/>", "a/@k", body, b"<a k=%b/>" % literal)
            self.replaced(b"<a k='1'/>", "a/@k", body, b"<a k=%b/>" % literal)

    def test_bare_refused(self) -> None:
        """With the switch off a value without quotes is refused (XCAP-86)."""
        conflict = self.assertRaises(Conflict, self.put, b"<a/>", "a/@k", b"v", accept_bare=False)
        self.assertEqual(conflict.kind, "not-xml-att-value")
        edited = self.put(b"<a/>", "a/@k", b"'v'", accept_bare=False)
        self.assertEqual(edited.document.octets, b"<a k='v'/>")

    def test_refused(self) -> None:
        """What is no AttValue is not-xml-att-value (XCAP-86, XCAP-87, XCAP-163)."""
        for body in (
            b"",
            b" ",
            b'"',
            b'"a',
            b"'a\"",
            b'"a"b',
            b'"a" b="c"',
            b'"<"',
            b"<",
            b"a&b",
            b'"&"',
            b'"&nbsp;"',
            b"&nbsp;",
            b'"\x01"',
            b"\0",
            b'"&#1;"',
            "\uffff".encode(),
        ):
            self.refused("not-xml-att-value", b"<a/>", "a/@k", body)
            self.refused("not-xml-att-value", b"<a k='1'/>", "a/@k", body)

    def test_not_utf8(self) -> None:
        """Octets that are not UTF-8 are not-utf-8 (XCAP-86)."""
        self.refused("not-utf-8", b"<a/>", "a/@k", b'"\xe9"')
        self.refused("not-utf-8", b"<a/>", "a/@k", b"\xe9")

    def test_selected_again(self) -> None:
        """An attribute that its own step selects by cannot be changed (XCAP-108)."""
        octets = b'<s><service uri="sip:a@x"/><service uri="sip:c@x"/></s>'
        text = 's/service[@uri="sip:a@x"]/@uri'
        self.refused("cannot-insert", octets, text, b'"sip:b@x"')
        self.replaced(
            octets, text, b"'sip:&#97;@x'", octets.replace(b'"sip:a@x"', b"'sip:&#97;@x'")
        )
        self.replaced(octets, "s/service[1]/@uri", b'"sip:b@x"', octets.replace(b"a@", b"b@"))
        # and one that makes the step select two
        self.refused("cannot-insert", b'<s><a k="1"/><a k="2"/></s>', 's/a[@k="1"]/@k', b'"2"')

    def test_prefixed(self) -> None:
        """A prefix in scope for the namespace is used, the client's own first (XCAP-109)."""
        octets = b'<a xmlns:q="u" xmlns:p="u" xmlns="u"><b xmlns:p="v"/></a>'
        self.created(
            octets,
            "p:a/@p:k",
            b"'1'",
            octets.replace(b'"u">', b"\"u\" p:k='1'>"),
            query="xmlns(p=u)",
        )
        self.created(
            octets,
            "z:a/@z:k",
            b"'1'",
            octets.replace(b'"u">', b"\"u\" p:k='1'>"),
            query="xmlns(z=u)",
        )
        self.created(
            b"<a xmlns:b='u' xmlns:p='u' xmlns:q='u'/>",
            "a/@p:k",
            b"'1'",
            b"<a xmlns:b='u' xmlns:p='u' xmlns:q='u' p:k='1'/>",
            query="xmlns(p=u)",
        )
        # in b the prefix p means something else
        for prefix in "pz":
            self.created(
                octets,
                f"{prefix}:a/{prefix}:b/@{prefix}:k",
                b"'1'",
                octets.replace(b'"v"/>', b"\"v\" q:k='1'/>"),
                query=f"xmlns({prefix}=u)",
            )
        self.replaced(
            b"<a xmlns:p='u' p:k='1' k='2'/>",
            "a/@z:k",
            b"'3'",
            b"<a xmlns:p='u' p:k='3' k='2'/>",
            query="xmlns(z=u)",
        )
        self.created(b"<a/>", "a/@xml:lang", b"'en'", b"<a xml:lang='en'/>")

    def test_no_prefix(self) -> None:
        """Without a prefix in scope, the default namespace being none, no attribute (XCAP-109)."""
        self.refused("cannot-insert", b'<a xmlns="u"/>', "p:a/@p:k", b"'1'", "xmlns(p=u)")
        self.refused("cannot-insert", b'<a><b xmlns:p="u"/></a>', "a/@p:k", b"'1'", "xmlns(p=u)")

    def test_declarations(self) -> None:
        """Namespace declarations cannot be PUT (XCAP-110)."""
        for octets in (b"<a/>", b'<a xmlns:p="u"/>'):
            for text in ("a/@xmlns", "a/@xmlns:p"):
                self.refused("cannot-insert", octets, text, b"'v'")
        node = NodeSelector((Step("a"),), "xmlns", False, {}, ())
        conflict = self.assertRaises(Conflict, put_node, parse_document(b"<a/>"), node, b"'v'")
        self.assertEqual(conflict.kind, "cannot-insert")

    def test_limits(self) -> None:
        """The result has to keep the limits too (XCAP-162)."""
        document = parse_document(b"<a b=''/>")
        node = selector("a/@k", "", "")
        for limits in (Limits(attributes=1), Limits(value=4)):
            conflict = self.assertRaises(
                Conflict, put_node, document, node, b"'12345'", limits=limits
            )
            self.assertEqual(conflict.kind, "constraint-failure")
        for size in (13, 6):
            refusal = self.assertRaises(
                XcapError, put_node, document, node, b"'12345'", limits=Limits(size=size)
            )
            self.assertEqual(refusal.status, 413)


class DeleteTests(EditTestCase):
    """Section 8."""

    def test_checks(self) -> None:
        """The examples of DELETE of elements (XCAP-121)."""

        def delete(text: str, octets: bytes = PACK) -> XmlDocument:
            return delete_node(parse_document(octets), selector(text))

        for text, gone in (
            ("pack/card[2]", b'<card k="b"/>'),
            ("pack/*[3]", b'<coin k="a"/>'),
            ("pack/coin", b'<coin k="a"/>'),
            ('pack/*[1][@k="a"]', b'<card k="a"/>'),
        ):
            self.assertEqual((text, delete(text).octets), (text, PACK.replace(gone, b"")))
        for text, octets in (
            ("pack/card[1]", PACK),
            ("pack/*[2]", PACK),
            ('pack/*[1][@k="a"]', PACK.replace(b'"b"', b'"a"')),
        ):
            conflict = self.assertRaises(Conflict, delete, text, octets)
            self.assertEqual((text, conflict.kind), (text, "cannot-delete"))

    def test_exactly(self) -> None:
        """Exactly the octets of the element go (XCAP-121)."""
        self.deleted(
            b"<a>\n 1<x k='>'> <x/></x >2<!-- 3 -->\n</a>", "a/x", b"<a>\n 12<!-- 3 -->\n</a>"
        )
        self.deleted(b"<a><x/></a>", "a/x", b"<a></a>")

    def test_nothing(self) -> None:
        """A no-match and an invalid selector are 404, a second DELETE so (XCAP-121, XCAP-127)."""
        document = parse_document(PACK)
        for text in ("pack/box", "pack/card", "box", "pack/coin/@z", "pack/box/@k", "pack/@xmlns"):
            refusal = self.assertRaises(XcapError, delete_node, document, selector(text))
            self.assertEqual((text, refusal.status), (text, 404))
        for text in ("pack/coin", "pack/coin/@k"):
            node = selector(text)
            refusal = self.assertRaises(XcapError, delete_node, delete_node(document, node), node)
            self.assertEqual((text, refusal.status), (text, 404))

    def test_attribute(self) -> None:
        """An attribute goes with the white space before it (XCAP-122)."""
        octets = b"<a\n x = '>'\t  y='2' ><b p:x='1' x='2' xmlns:p='u'/></a>"
        self.deleted(octets, "a/@x", octets.replace(b"\n x = '>'", b""))
        self.deleted(octets, "a/@y", octets.replace(b"\t  y='2'", b""))
        self.deleted(octets, "a/b/@x", octets.replace(b" x='2'", b""))
        self.deleted(octets, "a/b/@q:x", octets.replace(b" p:x='1'", b""), query="xmlns(q=u)")

    def test_attribute_selected_by(self) -> None:
        """A step may select by the attribute that goes (XCAP-122)."""
        self.deleted(b'<a><b k="1"/><b k="2"/></a>', 'a/b[@k="1"]/@k', b'<a><b/><b k="2"/></a>')
        self.deleted(b'<a k="1"/>', 'a[@k="1"]/@k', b"<a/>")

    def test_root(self) -> None:
        """The root element cannot go (XCAP-124)."""
        conflict = self.kept(b"<a/>", "a", "schema-validation-error")
        self.assertIn("delete the URI of the document", conflict.phrase)
        self.kept(b"<a/>", "*[1]", "schema-validation-error")
