"""Patches made from two versions of a document."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.test_patch import CHANGES, canonical
from xcap import patch, schemas
from xcap.compare import MOST
from xcap.diff import LARGEST, diff

LISTS = "urn:ietf:params:xml:ns:resource-lists"
UNIQUE = {f"{{{LISTS}}}entry": "uri", f"{{{LISTS}}}list": "name"}
DOCUMENT = f"""<?xml version="1.0" encoding="UTF-8"?>
<resource-lists xmlns="{LISTS}">
 <list name="friends">
  <entry uri="sip:ann@example.com"><display-name>Ann</display-name></entry>
  <entry uri="sip:bob@example.com"/>
  <entry uri="sip:cyd@example.com"/>
 </list>
 <list name="work">{"".join(f'<entry uri="sip:{n}@example.com"/>' for n in range(20))}</list>
</resource-lists>
"""
ENTRY = '  <entry uri="sip:bob@example.com"/>\n'


class DiffTestCase(SynchronousTestCase):
    """Base that makes patches of the document above, and checks them."""

    def operations(self, old: str, new: str) -> list[etree._Element]:
        """The operations that replace a part of the document."""
        after = DOCUMENT.replace(old, new)
        self.assertNotEqual(after, DOCUMENT)
        return self.patch(DOCUMENT.encode(), after.encode())

    def patch(self, before: bytes, after: bytes) -> list[etree._Element]:
        """The operations between two documents; checks what they do, and that they are valid."""
        octets = diff(before, after, UNIQUE, CHANGES)
        assert octets is not None
        self.assertEqual(canonical(patch.apply(before, octets)), canonical(after))
        report = etree.fromstring(
            f'<x:xcap-diff xmlns:x="{CHANGES}" xcap-root="https://example.com/">'
            f'<x:document sel="s">{octets.decode()}</x:document></x:xcap-diff>'
        )
        schemas.load("xcap-diff.xsd").assertValid(report)
        return list(report[0])

    def one(self, old: str, new: str) -> tuple[str, dict[str, str]]:
        """The only operation that replaces a part of the document: name and attributes."""
        (operation,) = self.operations(old, new)
        return etree.QName(operation).localname, {str(k): str(v) for k, v in operation.items()}


class TypicalTests(DiffTestCase):
    """XPATCH-11: what users do takes one operation."""

    friends = "resource-lists/list[@name='friends']"
    work = "resource-lists/list[@name='work']"

    def test_added(self) -> None:
        """XPATCH-11: an added entry, with the white space around it."""
        name, options = self.one(ENTRY, ENTRY + '  <entry uri="sip:new@example.com"/>\n')
        sel = f"{self.friends}/entry[@uri='sip:bob@example.com']"
        self.assertEqual((name, options), ("add", {"sel": sel, "pos": "after"}))

    def test_added_first(self) -> None:
        """XPATCH-11: an entry before the first one."""
        name, options = self.one('"work">', '"work"><entry uri="sip:new@example.com"/>')
        sel = f"{self.work}/entry[@uri='sip:0@example.com']"
        self.assertEqual((name, options), ("add", {"sel": sel, "pos": "before"}))

    def test_added_last(self) -> None:
        """XPATCH-11: an entry after the last one is appended."""
        name, options = self.one(
            "</list>\n</res", '<entry uri="sip:new@example.com"/></list>\n</res'
        )
        self.assertEqual((name, options), ("add", {"sel": self.work}))

    def test_added_many(self) -> None:
        """XPATCH-11: neighbours are added by one operation, comments among them."""
        new = '<!--new--><entry uri="sip:new@example.com"/><?x y?><entry uri="sip:x@example.com"/>'
        self.assertEqual(self.one("</list>\n</res", f"{new}</list>\n</res")[0], "add")

    def test_removed(self) -> None:
        """XPATCH-11: a removed entry, with its line."""
        name, options = self.one(ENTRY, "")
        sel = f"{self.friends}/entry[@uri='sip:bob@example.com']"
        self.assertEqual((name, options), ("remove", {"sel": sel, "ws": "before"}))

    def test_removed_alone(self) -> None:
        """XPATCH-11: a removed entry whose line remains."""
        name, options = self.one(ENTRY, "  \n")
        self.assertEqual(name, "remove")
        self.assertNotIn("ws", options)

    def test_removed_with_both_spaces(self) -> None:
        """XPATCH-11: a removed entry with the white space on both sides."""
        _, options = self.one("\n" + ENTRY + "  ", "")
        self.assertEqual(options["ws"], "both")

    def test_attribute_changed(self) -> None:
        """XPATCH-11: a changed attribute, also one that entries are told apart by."""
        name, options = self.one("sip:3@example.com", "sip:3@example.net")
        sel = f"{self.work}/entry[@uri='sip:3@example.com']/@uri"
        self.assertEqual((name, options), ("replace", {"sel": sel}))

    def test_attribute_added(self) -> None:
        """XPATCH-11: an added attribute."""
        name, options = self.one('uri="sip:3@', 'xml:lang="en" uri="sip:3@')
        sel = f"{self.work}/entry[@uri='sip:3@example.com']"
        self.assertEqual((name, options), ("add", {"sel": sel, "type": "@xml:lang"}))

    def test_attribute_removed(self) -> None:
        """XPATCH-11: a removed attribute."""
        name, options = self.one(' name="friends"', "")
        self.assertEqual((name, options), ("remove", {"sel": f"{self.friends}/@name"}))

    def test_text_changed(self) -> None:
        """XPATCH-11: a changed text replaces its element: text is not located."""
        name, options = self.one(">Ann<", ">Anna<")
        sel = f"{self.friends}/entry[@uri='sip:ann@example.com']/display-name"
        self.assertEqual((name, options), ("replace", {"sel": sel}))

    def test_replaced(self) -> None:
        """XPATCH-11: another element in place of one."""
        name, _ = self.one(
            '<entry uri="sip:bob@example.com"/>', '<external anchor="https://x.example"/>'
        )
        self.assertEqual(name, "replace")

    def test_several(self) -> None:
        """XPATCH-11: selectors of later operations fit what earlier ones have made."""
        before = DOCUMENT.replace(LISTS, "urn:other")  # all by position
        after = before.replace('<entry uri="sip:3@example.com"/>', "").replace("sip:5@", "sip:x@")
        operations = self.patch(before.encode(), after.encode())
        self.assertEqual(
            [(etree.QName(o).localname, o.get("sel")) for o in operations],
            [
                ("remove", "resource-lists/list[2]/entry[4]"),
                ("replace", "resource-lists/list[2]/entry[5]/@uri"),
            ],
        )

    def test_moved(self) -> None:
        """XPATCH-11: an entry elsewhere is removed and added."""
        first, last = '<entry uri="sip:0@example.com"/>', '<entry uri="sip:19@example.com"/>'
        new = DOCUMENT.replace(first, "").replace(last, last + first)
        operations = self.patch(DOCUMENT.encode(), new.encode())
        self.assertEqual([etree.QName(o).localname for o in operations], ["remove", "add"])

    def test_only_elements_and_attributes(self) -> None:
        """XPATCH-11: comments are not located; what has one changed is replaced."""
        before = DOCUMENT.replace(ENTRY, "  <!--old-->\n")
        for comment in ("<!--new-->", ""):
            after = before.replace("<!--old-->", comment)
            (operation,) = self.patch(before.encode(), after.encode())
            self.assertEqual(operation.get("sel"), self.friends)

    def test_quotes(self) -> None:
        """XPATCH-11: a value that XPath cannot express is not used to select."""
        for value in ("it's", 'say "no"', "both ' and \"", "two\nlines"):
            written = value.replace('"', "&quot;").replace("\n", "&#10;")
            before = DOCUMENT.replace("sip:5@example.com", written).encode()
            after = before.replace(b'uri="sip:6@', b'k="" uri="sip:6@')
            self.patch(before, after)
            after = before.replace(f'uri="{written}"'.encode(), f'uri="{written}" k="1"'.encode())
            (operation,) = self.patch(before, after)
            self.assertEqual("[6]" in operation.get("sel", ""), value[:3] in ("bot", "two"))


class RefusalTests(DiffTestCase):
    """XPATCH-12: when there is no patch."""

    def none(self, old: str | bytes, new: str | bytes) -> None:
        """There is no patch between two documents."""
        before = old if isinstance(old, bytes) else old.encode()
        after = new if isinstance(new, bytes) else new.encode()
        self.assertIsNone(diff(before, after, UNIQUE, CHANGES))

    def test_larger(self) -> None:
        """XPATCH-12: a patch larger than the new document is none."""
        self.none("<a/>", '<a b="1"/>')

    def test_prolog(self) -> None:
        """XPATCH-12: comments and instructions around the root element have changed."""
        self.none(DOCUMENT, DOCUMENT.replace("<resource", "<!--c--><resource", 1))
        self.none(DOCUMENT, DOCUMENT + "<?x?>")

    def test_root(self) -> None:
        """XPATCH-11: the root element or its declarations have changed."""
        self.none(DOCUMENT, DOCUMENT.replace(LISTS, "urn:x"))
        self.none(DOCUMENT, DOCUMENT.replace("xmlns", 'xmlns:x="urn:x" xmlns'))

    def test_not_xml(self) -> None:
        """A document that is not well-formed has no patch."""
        self.none(DOCUMENT, "<a>")
        self.none("<a>", DOCUMENT)
        self.none(DOCUMENT, DOCUMENT.encode("utf-16"))

    def test_equal(self) -> None:
        """Canonically equal documents have a patch without operations."""
        other = DOCUMENT.replace("/>", "></entry>").replace('"', "'").encode()
        self.assertEqual(diff(DOCUMENT.encode(), other, UNIQUE, CHANGES), b"")

    def test_many(self) -> None:
        """A patch has a bounded number of operations."""
        before = "<doc>" + f"<a><b/>{'<c/>' * 99}</a>" * (MOST + 1) + "</doc>"
        self.none(before, before.replace("<b/>", '<b k="1"/>'))

    def test_large(self) -> None:
        """Large documents that have nothing in common are compared in bounded time."""

        def document(name: str, count: int = 5000) -> bytes:
            children = (f"<{name} n='{n}'>t</{name}> " for n in range(count))
            return f"<doc>{''.join(children)}</doc>".encode()

        diff(document("a"), document("b"), {"a": "n", "b": "n"}, CHANGES)
        diff(document("a"), document("a").replace(b"n='1", b"n='2"), {"a": "n"}, CHANGES)
        huge = document("a", 20_000)
        self.assertGreater(len(huge), LARGEST)
        self.none(huge, huge.replace(b"n='7'", b"n='x'"))
        self.none(b"<doc>" + b" " * LARGEST + b"</doc>", b"<doc/>")


# -- properties -----------------------------------------------------------------------------

NAMES = st.sampled_from(("a", "b", "p:a", "q:c", "entry"))
TEXTS = st.sampled_from((" ", "\n ", "t", "x y", "&amp;", "é"))
ATTRIBUTES = st.dictionaries(
    st.sampled_from(("id", "n", "p:n", "xml:lang")),
    st.sampled_from(("1", "2", "3", "it's", "&quot;q&quot;", "'&quot;", "")),
    max_size=3,
)
DECLARATIONS = st.dictionaries(
    st.sampled_from(("xmlns", "xmlns:p", "xmlns:q", "xmlns:r")),
    st.sampled_from(("urn:1", "urn:2", "urn:3")),
    max_size=1,
)


def element(parts: tuple[str, dict[str, str], dict[str, str], list[str]], always: str = "") -> str:
    """An element with what is drawn."""
    name, attributes, declarations, content = parts
    head = "".join(f' {k}="{v}"' for k, v in {**declarations, **attributes}.items())
    return f"<{name}{always}{head}>{''.join(content)}</{name}>"


LEAVES = st.one_of(TEXTS, st.sampled_from(("<!--c-->", "<!--d-->", "<?i j?>", "<?k?>")))
ELEMENTS = st.recursive(
    st.tuples(NAMES, ATTRIBUTES, st.just({}), st.just([])).map(element),
    lambda inner: st.tuples(
        NAMES, ATTRIBUTES, DECLARATIONS, st.lists(inner | LEAVES, max_size=5)
    ).map(element),
    max_leaves=12,
)
FILLING = st.lists(
    st.integers(0, 30).map(lambda n: f'<entry uri="{n}">{"filling " * 5}</entry>'), max_size=8
)
ROOT = ' xmlns:p="urn:1" xmlns:q="urn:2"'


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A document; some are large, so that patches are worth it."""
    default = draw(st.sampled_from(("", ' xmlns="urn:1"', ' xmlns="urn:3"')))
    children = [*draw(st.lists(ELEMENTS | LEAVES, max_size=6)), *draw(FILLING)]
    prolog = draw(st.sampled_from(("", "", "", "<!--prolog-->")))
    return f"{prolog}<doc{default}{ROOT}>{''.join(children)}</doc>"


UNIQUE_HERE = {"entry": "uri", "{urn:1}entry": "uri", "a": "id", "{urn:1}a": "{urn:1}n"}


def node_count(root: etree._Element) -> int:
    """How many nodes below an element."""
    return sum(1 for _ in root.iter()) - 1


def edit(draw: st.DrawFn, root: etree._Element) -> None:
    """Change something below a root element."""
    nodes = [node for node in root.iter() if node is not root]
    elements = [root, *root.iter("*")]
    kind = draw(st.integers(0, 6))
    parent = elements[draw(st.integers(0, len(elements) - 1))]
    if kind in (0, 1):
        names = "".join(f' xmlns:{p}="{u}"' for p, u in root.nsmap.items() if p)
        inner = draw(ELEMENTS | st.sampled_from(("<!--new-->",)))
        new = etree.fromstring(f"<x{names}>{inner}</x>")[0]
        new.tail = draw(st.none() | st.sampled_from((" ", "\n", "t")))
        parent.insert(draw(st.integers(0, len(parent))), new)
    elif kind == 2 and nodes:
        node = nodes[draw(st.integers(0, len(nodes) - 1))]
        above = node.getparent()
        assert above is not None
        tail = node.tail if draw(st.booleans()) else None
        before = node.getprevious()
        if tail and before is not None:
            before.tail = (before.tail or "") + tail
        elif tail:
            above.text = (above.text or "") + tail
        node.tail = None
        above.remove(node)
    elif kind == 3:
        name = draw(st.sampled_from(("id", "uri", "n", "{urn:1}n")))
        parent.set(name, draw(st.sampled_from(("1", "2", "3", "new"))))
    elif kind == 4 and parent.attrib:
        name = sorted(parent.attrib)[0]
        del parent.attrib[name]
    elif kind == 5:
        parent.text = draw(st.none() | st.sampled_from((" ", "t", "u")))
    elif nodes:
        nodes[draw(st.integers(0, len(nodes) - 1))].tail = draw(st.sampled_from(("", " ", "v")))


class PropertyTests(SynchronousTestCase):
    """XPATCH-11: patches do what they are made for."""

    def check(self, before: bytes, after: bytes) -> bool:
        """Check the patch of two documents; returns whether there is one."""
        octets = diff(before, after, UNIQUE_HERE, CHANGES)
        if octets is None:
            return False
        self.assertLessEqual(len(octets), len(after))
        self.assertEqual(canonical(patch.apply(before, octets)), canonical(after))
        report = etree.fromstring(f"<x>{octets.decode()}</x>")
        for operation in report:
            self.assertNotIn("()", operation.get("sel", ""))
        return True

    @given(documents(), documents())
    @settings(max_examples=300, deadline=None)
    def test_pairs(self, before: str, after: str) -> None:
        """XPATCH-11, XPATCH-12: of any two documents: none, or the second one, and not larger."""
        self.check(before.encode(), after.encode())

    @given(st.data(), documents())
    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_edits(self, data: st.DataObject, before: str) -> None:
        """XPATCH-11: of a document and what random edits make of it."""
        root = etree.fromstring(before)
        for _ in range(data.draw(st.integers(1, 4))):
            edit(data.draw, root)
        after = etree.tostring(root.getroottree())
        assume(etree.fromstring(after) is not None)
        self.check(before.encode(), after)
