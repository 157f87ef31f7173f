"""The tree that patches work on: parsing, bounds, writing; and how sequences are aligned."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.test_diff import documents
from tests.xcap.test_patch import canonical
from xcap.align import ascending
from xcap.tree import Bounds, Comment, Element, Instruction, Text, TreeError, parse, write


class ParseTests(SynchronousTestCase):
    """Documents as trees."""

    def test_nodes(self) -> None:
        """Texts, comments, instructions and declarations are nodes of their own."""
        document = parse(
            b'<?x y?><p:a xmlns:p="urn:p" xmlns="urn:d" p:k="1" xml:lang="en">'
            b"t<![CDATA[<]]>u<b xmlns=''/><!--c--></p:a>"
        )
        instruction, root = document.children
        assert isinstance(instruction, Instruction) and isinstance(root, Element)
        self.assertEqual((instruction.target, instruction.data), ("x", "y"))
        self.assertEqual((root.prefix, root.name), ("p", "{urn:p}a"))
        self.assertEqual(root.declarations, {"p": "urn:p", "": "urn:d"})
        lang = root.attributes["{http://www.w3.org/XML/1998/namespace}lang"]
        self.assertEqual((lang.prefix, lang.value), ("xml", "en"))
        text, inner, comment = root.children
        assert isinstance(text, Text) and isinstance(inner, Element)
        self.assertEqual(text.data, "t<u")
        self.assertEqual((inner.name, inner.scope()), ("b", {"p": "urn:p"}))
        self.assertIsInstance(comment, Comment)

    def test_refused(self) -> None:
        """What is not accepted, and why."""
        for octets, reason in (
            (b"", "syntax"),
            (b"<a>", "syntax"),
            (b"<p:a/>", "syntax"),
            (b'<a xmlns:p=""/>', "syntax"),
            (b"<a>\xff</a>", "encoding"),
            ("<a/>".encode("utf-16"), "encoding"),
            (b'<?xml version="1.0" encoding="ISO-8859-1"?><a/>', "encoding"),
            (b'<?xml version="1.1"?><a/>', "syntax"),
            (b"<a>&e;</a>", "entity"),
            (b"<!DOCTYPE a><a/>", "doctype"),
            (b'<!DOCTYPE a [<!ENTITY e "e">]><a>&e;</a>', "doctype"),
        ):
            error = self.assertRaises(TreeError, parse, octets)
            self.assertEqual(error.reason, reason, octets)

    def test_bounds(self) -> None:
        """Size, depth, nodes and declarations have bounds, reached and passed."""
        for octets, bounds in (
            (b"<a>1234</a>", Bounds(size=10)),
            (b"<a><b><c/></b></a>", Bounds(depth=2)),
            (b'<a b="" c=""><d/></a>', Bounds(nodes=3)),
            (b"<a>" + b"t<b/>" * 2 + b"</a>", Bounds(nodes=4)),
            (b'<a xmlns:b="u"><c xmlns:d="v"/></a>', Bounds(namespaces=1)),
            (b'<a xmlns:b="uuu"><c/></a>', Bounds(declared=3)),
        ):
            error = self.assertRaises(TreeError, parse, octets, bounds)
            self.assertEqual(error.reason, "limit")
        for octets, bounds in (
            (b"<a>1234</a>", Bounds(size=11)),
            (b"<a><b><c/></b></a>", Bounds(depth=3)),
            (b'<a b="" c=""><d/></a>', Bounds(nodes=4)),
            (b'<a><b xmlns:b="u"/><c xmlns:d="v"/></a>', Bounds(namespaces=1)),
            (b'<a xmlns:b="uuu"><c/></a>', Bounds(declared=4)),
        ):
            parse(octets, bounds)

    @given(documents())
    def test_write(self, text: str) -> None:
        """A document is written as it was read, in canonical form."""
        octets = text.encode()
        self.assertEqual(canonical(write(parse(octets))), canonical(octets))

    @given(st.text(st.characters(exclude_categories=("Cs", "Cn"))))
    def test_characters(self, text: str) -> None:
        """Any character that XML allows survives in values and texts."""
        element = etree.Element("a")
        try:
            element.set("k", text)
            element.text = text
        except ValueError:
            return  # control characters
        root = parse(write(parse(etree.tostring(element, encoding="UTF-8")))).root
        self.assertEqual(root.attributes["k"].value, text)
        self.assertEqual("".join(c.data for c in root.children if isinstance(c, Text)), text)

    def test_white_space(self) -> None:
        """Any amount of white space takes time in proportion."""
        octets = b"<a>" + b" " * 1_000_000 + b"</a>\n \n"
        document = parse(octets)
        self.assertEqual(write(document), octets)


class AlignTests(SynchronousTestCase):
    """Longest chains."""

    @given(st.permutations(range(8)))
    def test_ascending(self, second: list[int]) -> None:
        """As many pairs as possible are kept, in order."""
        pairs = list(enumerate(second))
        kept = ascending(pairs)
        self.assertTrue(set(kept) <= set(pairs))
        self.assertEqual(kept, sorted(kept))
        self.assertEqual([j for _, j in kept], sorted(j for _, j in kept))
        longest = [1] * len(second)
        for i, value in enumerate(second):
            longest[i] += max((longest[k] for k in range(i) if second[k] < value), default=0)
        self.assertEqual(len(kept), max(longest))
