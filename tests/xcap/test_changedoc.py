"""Change reports: reading, writing, leaving out what is too large."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.test_patch import canonical
from xcap import changedoc, patch, schemas
from xcap.changedoc import (
    AttributeState,
    ChangeReportError,
    DocumentChange,
    ElementState,
    Item,
    read,
    write,
    write_within,
)
from xcap.tree import Bounds

VECTORS = Path(__file__).parent.parent / "vectors" / "xcapdiff"
ROOT = "https://xcap.example.com/"
INDEX = "tests/users/sip:joe@example.com/index"
NS = changedoc.NAMESPACE
PATCH = f'<p:add xmlns:p="{NS}" sel="doc"><a/></p:add>'.encode()


def vector(name: str) -> changedoc.ChangeReport:
    """An example as read."""
    return read((VECTORS / f"{name}.xml").read_bytes())


class ReadTests(SynchronousTestCase):
    """XDIFF-01 to XDIFF-07: the examples of RFC 5874."""

    def test_example(self) -> None:
        """XDIFF-06, XDIFF-07: elements with the declarations around them, and attributes."""
        report = vector("rfc5874-example")
        self.assertEqual(report.root, "http://xcap.example.com/root/")
        document, element, attribute = report.items
        sel = "resource-lists/users/sip:joe@example.com/coworkers"
        self.assertEqual(document, DocumentChange(sel, "8a77f8d", "7ahggs"))
        assert isinstance(element, ElementState)
        self.assertTrue(element.content.startswith(b'<service uri="sip:marketing@example.com">'))
        self.assertIn(("rl", "urn:ietf:params:xml:ns:resource-lists"), element.bindings)
        root = etree.fromstring(element.whole())
        self.assertEqual(root.tag, "{urn:ietf:params:xml:ns:rls-services}service")
        self.assertEqual(root[0][0].tag, "{urn:ietf:params:xml:ns:resource-lists}entry")
        sel = "rls-services/users/sip:joe@example.com/index/~~/*/service/@uri"
        self.assertEqual(attribute, AttributeState(sel, True, "sip:marketing@example.com"))

    def test_documents(self) -> None:
        """XDIFF-02, XDIFF-03: what exists, was created, was changed, was removed."""
        other = "tests/users/sip:joe@example.com/another_document"
        for name, items in (
            (
                "a1-listing",
                [
                    DocumentChange(INDEX, after="7ahggs"),
                    DocumentChange("tests/users/sip:john@example.com/index", after="terteer"),
                ],
            ),
            ("a1-created", [DocumentChange(other, after="terteer")]),
            ("a1-changed", [DocumentChange(other, "terteer", "huwiias")]),
            ("a1-removed", [DocumentChange(other, "huwiias")]),
        ):
            self.assertEqual(vector(f"rfc5874-{name}").items, tuple(items))

    def test_patches(self) -> None:
        """XDIFF-03, XDIFF-05: one patch, and the same in three steps in order of time."""
        before = b'<doc id="bar">\n  <note>This is a sample document</note>\n</doc>'
        after = before.replace(
            b"</doc>",
            b"<foo>this is a new element</foo><bar>this is a bar element\n</bar>"
            b"<foobar>this is a foobar element</foobar></doc>",
        )
        for name, tags in (
            ("a2-patch", ["7ahggs3", "63hjjsll"]),
            ("a2-history", ["7ahggs", "fgherhryt3", "dgdgdfgrrr", "63hjjsll"]),
        ):
            octets, tag = before, tags[0]
            seen = [tag]
            for item in vector(f"rfc5874-{name}").items:
                assert isinstance(item, DocumentChange) and item.patch is not None
                self.assertEqual(item.before, tag)
                octets, tag = patch.apply(octets, item.patch), item.after
                seen.append(tag)
            self.assertEqual(seen, tags)
            self.assertEqual(canonical(octets), canonical(after))

    def test_components(self) -> None:
        """XDIFF-06, XDIFF-07: components that exist, and one that was removed."""
        attribute, element = vector("rfc5874-a3-components").items
        self.assertEqual(attribute, AttributeState(f"{INDEX}/~~/doc/@id", True, "bar"))
        assert isinstance(element, ElementState)
        self.assertEqual(
            element.whole(), b'<foo xmlns:d="%s">this is a new element</foo>' % NS.encode()
        )
        (removed,) = vector("rfc5874-a3-removed").items
        self.assertEqual(removed, AttributeState(f"{INDEX}/~~/doc/@id", False))

    def test_draft(self) -> None:
        """UAP-10: the syntax of the drafts is read as well."""
        (item,) = vector("draft-change-log").items
        assert isinstance(item, DocumentChange) and item.patch is not None
        self.assertEqual(item.sel, "resource-lists/users/sip:joe@example.com/index")
        lists = (
            b'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list name="friends"/>'
        )
        result = patch.apply(lists + b"</resource-lists>", item.patch)
        self.assertIn(b'<list name="friends"><entry uri="sip:ann@example.com"/></list>', result)

    def test_foreign(self) -> None:
        """XDIFF-01: what is not known is ignored."""
        (item,) = vector("foreign").items
        assert isinstance(item, DocumentChange) and item.patch is not None
        self.assertEqual(patch.apply(b"<doc><a/></doc>", item.patch), b"<doc/>")

    def test_unchanged(self) -> None:
        """XDIFF-03: only the entity-tag has changed."""
        octets = (
            f'<xcap-diff xmlns="{NS}" xcap-root="{ROOT}"><document sel="{INDEX}" '
            'previous-etag="a" new-etag="b"><body-not-changed/></document></xcap-diff>'
        ).encode()
        (item,) = read(octets).items
        self.assertEqual(item, DocumentChange(INDEX, "a", "b", body_not_changed=True))

    def test_empty(self) -> None:
        """XDIFF-01: a report without any change."""
        octets = f'<xcap-diff xmlns="{NS}" xcap-root="{ROOT}"/>'.encode()
        self.assertEqual(read(octets), changedoc.ChangeReport(ROOT))

    def test_refused(self) -> None:
        """XDIFF-01, XDIFF-02, XDIFF-06, XDIFF-07: what is no report."""
        start, end = f'<d:xcap-diff xmlns:d="{NS}" xcap-root="{ROOT}">', "</d:xcap-diff>"
        for text in (
            "",
            "<xcap-diff/>",
            f'<document xmlns="{NS}"/>',
            f'<xcap-diff xmlns="{NS}"/>',
            f"{start}<d:document/>{end}",
            f"{start}<d:element/>{end}",
            f"{start}<d:attribute/>{end}",
            f'{start}<d:attribute sel="x" exists="maybe"/>{end}',
            f"<!DOCTYPE x>{start}{end}",
            f"{start}&undeclared;{end}",
        ):
            self.assertRaises(ChangeReportError, read, text.encode())
        self.assertRaises(ChangeReportError, read, b"\xff")

    def test_bounded(self) -> None:
        """Declarations that every operation repeats do not make a report large."""
        declared = "".join(f' xmlns:p{n}="urn:{"x" * 50}{n}"' for n in range(200))
        operation = '<d:remove sel="x"/>' * 2000
        octets = (
            f'<d:xcap-diff xmlns:d="{NS}" xcap-root="{ROOT}"{declared}>'
            f'<d:document sel="x" previous-etag="1" new-etag="2">{operation}</d:document>'
            "</d:xcap-diff>"
        ).encode()
        self.assertRaises(ChangeReportError, read, octets, Bounds(size=1 << 20))
        self.assertRaises(ChangeReportError, read, octets, Bounds(size=1000))

    def test_bounded_memory(self) -> None:
        """A report is read in little memory, whatever every item in it repeats (XDIFF-01)."""
        start = f'<xcap-diff xmlns="{NS}" xcap-root="{ROOT}"'
        long = "".join(f' xmlns:p{n}="{"u" * 1000}"' for n in range(15))
        many = "".join(f' xmlns:p{n}="u"' for n in range(250))
        operations = '<add sel="a"/>' * 20_000
        for declared, items in (
            (long, f'<document sel="x">{operations}</document>'),
            (many, '<element sel="x"><a/></element>' * 20_000),
        ):
            octets = f"{start}{declared}>{items}</xcap-diff>".encode()
            tracemalloc.start()
            try:
                self.assertRaises(ChangeReportError, read, octets, Bounds(size=1 << 20))
                self.assertLess(tracemalloc.get_traced_memory()[1], 64 << 20)
            finally:
                tracemalloc.stop()

    def test_not_an_element(self) -> None:
        """The content of an element that is none."""
        self.assertEqual(ElementState("x").whole(), b"")
        for content in (b"text", b"<a>", b"</state><state>"):
            self.assertRaises(ChangeReportError, ElementState("x", content=content).whole)


class WriteTests(SynchronousTestCase):
    """XDIFF-01 to XDIFF-07: what is written is valid and reads the same."""

    def written(self, *items: Item) -> etree._Element:
        """The root of a report, found valid."""
        octets = write(ROOT, items)
        root = etree.fromstring(octets)
        schemas.load("xcap-diff.xsd").assertValid(root)
        return root

    def test_all(self) -> None:
        """XDIFF-01 to XDIFF-07: every kind of entry."""
        items: list[Item] = [
            DocumentChange("a/global/1", after="1"),
            DocumentChange("a/global/2", "1", "2"),
            DocumentChange("a/global/2", "2", "3", PATCH),
            DocumentChange("a/global/2", "3", "4", body_not_changed=True),
            DocumentChange("a/global/2", "4"),
            DocumentChange("a/global/2", after="5"),
            ElementState(
                "a/global/1/~~/doc/p:a?xmlns(p=urn:p)",
                content=b"<p:a/>",
                bindings=(("p", "urn:p"),),
            ),
            ElementState("a/global/1/~~/doc/b", exists=False),
            ElementState("a/global/1/~~/doc/c"),
            AttributeState("a/global/1/~~/doc/@d", True, "<&\n>"),
            AttributeState("a/global/1/~~/doc/@e", False),
        ]
        root = self.written(*items)
        self.assertEqual(root.get("xcap-root"), ROOT)
        read_back = read(write(ROOT, items)).items
        self.assertEqual(read_back[:2], tuple(items[:2]))
        self.assertEqual(read_back[3:6], tuple(items[3:6]))
        self.assertEqual(read_back[7:], tuple(items[7:]))
        changed, element = read_back[2], read_back[6]
        assert isinstance(changed, DocumentChange) and changed.patch is not None
        self.assertEqual(patch.apply(b"<doc/>", changed.patch), b"<doc><a/></doc>")
        assert isinstance(element, ElementState)
        self.assertEqual(element.content, b"<p:a/>")
        self.assertIn(("p", "urn:p"), element.bindings)

    def test_tags(self) -> None:
        """XDIFF-04: entity-tags are written without quotes."""
        document = self.written(DocumentChange(INDEX, after="7ab"))[0]
        self.assertEqual(dict(document.attrib), {"sel": INDEX, "new-etag": "7ab"})

    def test_declarations(self) -> None:
        """XDIFF-06: declarations of ancestors are on the element, with their prefixes."""
        bindings = (("", "urn:n"), ("d", "urn:d"), ("d1", "urn:d1"))
        content = b'<a d:k="1"><b xmlns="urn:b"/></a>'
        root = self.written(ElementState(INDEX + "/~~/a", True, content, bindings))
        self.assertEqual(root[0].nsmap["d"], "urn:d")
        self.assertNotIn("d", root.nsmap)
        self.assertEqual(root[0][0].tag, "{urn:n}a")
        self.assertIn(
            content, write(ROOT, [ElementState(INDEX + "/~~/a", True, content, bindings)])
        )

    def test_no_default_namespace(self) -> None:
        """XDIFF-06: an element without namespace stays so."""
        root = self.written(ElementState(INDEX + "/~~/a", True, b"<a/>"))
        self.assertEqual(root[0][0].tag, "a")

    def test_too_large(self) -> None:
        """XDIFF-06: an element too large to show is there without content."""
        root = self.written(ElementState(INDEX + "/~~/a", True))
        self.assertEqual(dict(root[0].attrib), {"sel": INDEX + "/~~/a"})
        self.assertEqual((len(root[0]), root[0].text), (0, None))

    def test_patch_without_operations(self) -> None:
        """XDIFF-03: without any operation only the entity-tag has changed."""
        root = self.written(DocumentChange(INDEX, "1", "2", b""))
        self.assertEqual([child.tag for child in root[0]], [f"{{{NS}}}body-not-changed"])

    def test_contradictions(self) -> None:
        """XDIFF-02, XDIFF-03, XDIFF-05: what contradicts itself is not written."""
        for items in (
            [DocumentChange("/" + INDEX, after="1")],
            [DocumentChange(INDEX)],
            [DocumentChange(INDEX, after="1", patch=PATCH)],
            [DocumentChange(INDEX, before="1", body_not_changed=True)],
            [DocumentChange(INDEX, "1", "2", PATCH, body_not_changed=True)],
            [DocumentChange(INDEX, "1", "2"), DocumentChange(INDEX, "3", "4")],
            [DocumentChange(INDEX, "1"), DocumentChange(INDEX, "1", "2")],
        ):
            self.assertRaises(ValueError, write, ROOT, items)

    def test_draft(self) -> None:
        """UAP-10: the syntax of the drafts, on demand."""
        octets = write(ROOT, [DocumentChange(INDEX, "1", "2", PATCH)], draft=True)
        document = etree.fromstring(octets)[0]
        self.assertEqual(document.get("doc-selector"), INDEX)
        self.assertNotIn("sel", document.attrib)
        self.assertEqual([child.tag for child in document], [f"{{{NS}}}change-log"])
        self.assertEqual(document[0][0].tag, f"{{{NS}}}add")
        self.assertEqual(read(octets).items[0].sel, INDEX)

    @given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc",))))
    @settings(max_examples=100, deadline=None)
    def test_any_text(self, text: str) -> None:
        """XDIFF-07: any value reads as it was written."""
        items = (AttributeState("x" + text, True, text),)
        try:
            report = read(write(ROOT, items))
        except ChangeReportError:  # two characters that XML does not have
            self.assertTrue({"\ufffe", "\uffff"} & set(text))
        else:
            self.assertEqual(report.items, items)


class SizeTests(SynchronousTestCase):
    """XEVT-19: reports that would be too large."""

    items: tuple[Item, ...] = (
        DocumentChange(INDEX, "1", "2", PATCH),
        DocumentChange(INDEX, "2", "3", PATCH.replace(b"<a/>", b"<a/>" * 100)),
        ElementState(INDEX + "/~~/a", True, b"<a>" + b"x" * 300 + b"</a>"),
        ElementState(INDEX + "/~~/b", True, b"<b/>"),
        AttributeState(INDEX + "/~~/@c", True, "value"),
    )

    def kept(self, limit: int) -> list[bool]:
        """What of the contents is still there."""
        octets = write_within(ROOT, self.items, limit)
        report = read(octets)
        self.assertEqual([item.sel for item in report.items], [item.sel for item in self.items])
        kept = []
        for item in report.items:
            if isinstance(item, DocumentChange):
                self.assertTrue(item.before and item.after)
                kept.append(item.patch is not None)
            elif isinstance(item, ElementState):
                self.assertTrue(item.exists)
                kept.append(bool(item.content))
            else:
                self.assertEqual(item.value, "value")
        return kept

    def test_order(self) -> None:
        """XEVT-19: patches go first, then contents of elements, large ones before small ones."""
        whole = len(write(ROOT, self.items))
        self.assertEqual(self.kept(whole), [True, True, True, True])
        self.assertEqual(self.kept(whole - 1), [True, False, True, True])
        self.assertEqual(self.kept(whole - 500), [False, False, True, True])
        self.assertEqual(self.kept(whole - 700), [False, False, False, True])
        self.assertEqual(self.kept(0), [False, False, False, False])

    def test_limit(self) -> None:
        """XEVT-19: the limit is kept as long as leaving out helps; by default it is 64 KiB."""
        least = len(write_within(ROOT, self.items, 0))
        for limit in range(least, len(write(ROOT, self.items)) + 1, 7):
            self.assertLessEqual(len(write_within(ROOT, self.items, limit)), limit)
        large = DocumentChange(INDEX, "1", "2", PATCH.replace(b"<a/>", b"<a/>" * 20000))
        self.assertLess(len(write_within(ROOT, [large])), 65536)
