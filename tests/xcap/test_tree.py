"""XML as the data model of XPath sees it: namespaces, bounds, hostile documents."""

from __future__ import annotations

import time
import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from xcap.tree import XML, Bounds, TreeError, parse, write


class NamespaceTests(SynchronousTestCase):
    """Prefixes are resolved as Namespaces in XML 1.0 says (XPATCH-02)."""

    def test_names(self) -> None:
        """Elements and attributes know prefix and namespace; unprefixed attributes have none."""
        octets = (
            b'<a xmlns="urn:d" xmlns:p="urn:1" p:x="1" x="2" xml:lang="en">'
            b'<p:b xmlns:p="urn:2" p:x="3"/><p:c/><d xmlns=""/><e/></a>'
        )
        document = parse(octets)
        root = document.root
        self.assertEqual((root.prefix, root.name), ("", "{urn:d}a"))
        self.assertEqual(root.declarations, {"": "urn:d", "p": "urn:1"})
        found = [(a.prefix, a.name, a.value) for a in root.attributes.values()]
        expected = [("p", "{urn:1}x", "1"), ("", "x", "2"), ("xml", f"{{{XML}}}lang", "en")]
        self.assertEqual(found, expected)
        names = [child.name for child in root.elements()]
        self.assertEqual(names, ["{urn:2}b", "{urn:1}c", "d", "{urn:d}e"])
        self.assertEqual(next(root.elements()).scope(), {"": "urn:d", "p": "urn:2"})
        self.assertEqual(write(document), octets)

    def test_refused(self) -> None:
        """What is not namespace-well-formed is a fault of syntax."""
        for text in (
            "<p:a/>",
            "<a p:b=''/>",
            "<a><b xmlns:p='u'/><p:c/></a>",
            "<a xmlns:p='u' xmlns:q='u' p:b='' q:b=''/>",
            "<a xmlns:p=''/>",
            "<a xmlns:xmlns='u'/>",
            "<a xmlns:p='http://www.w3.org/2000/xmlns/'/>",
            "<a xmlns:xml='u'/>",
            "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
            "<a xmlns:p='u}v'/>",
            "<a xmlns:p='u' p:b:c=''/>",
            "<xmlns:a/>",
            "<:a/>",
            "<a:/>",
            "<a><?b:c?></a>",
        ):
            error = self.assertRaises(TreeError, parse, text.encode())
            self.assertEqual(error.reason, "syntax", text)


class BoundsTests(SynchronousTestCase):
    """What a document may have at most (XCAP-162)."""

    def test_namespace_name(self) -> None:
        """The length of a namespace name is bounded (XCAP-162)."""
        bounds = Bounds(name=5)
        self.assertEqual(parse(b"<a xmlns='12345'/>", bounds).root.namespace, "12345")
        error = self.assertRaises(TreeError, parse, b"<a xmlns='123456'/>", bounds)
        self.assertEqual(error.reason, "limit")

    def test_names(self) -> None:
        """All distinct names of attributes are no longer than a document (XCAP-162)."""
        tag = f"<p:b xmlns:p='{'u' * 1000}' p:c='' p:d=''/>"
        parse(f"<a>{tag * 5}</a>".encode(), Bounds(size=8000))
        tag = f"<p:b xmlns:p='{'u' * 1000}' %s/>" % " ".join(f"p:c{n}=''" for n in range(8))
        error = self.assertRaises(TreeError, parse, tag.encode(), Bounds(size=8000))
        self.assertEqual(error.reason, "limit")

    def test_hostile(self) -> None:
        """Refused in little memory and time, however much a tag repeats (XCAP-162)."""
        many = " ".join(f"p:a{n}=''" for n in range(20_000))
        short = "".join(f" xmlns:p{n}='u'" for n in range(20_000))
        for text in (
            f"<a xmlns:p='{'u' * 300_000}' {many}/>",
            f"<a xmlns:p='{'u' * 1000}' {many}/>",
            f"<a xmlns='{'u' * 300_000}'>{'<b/>' * 20_000}</a>",
            f"<a{short}/>",
            "<a>" * 300_000,
        ):
            tracemalloc.start()
            start = time.process_time()
            try:
                error = self.assertRaises(TreeError, parse, text.encode(), Bounds(size=1 << 20))
                self.assertLess(time.process_time() - start, 3.0)
                self.assertLess(tracemalloc.get_traced_memory()[1], 32 << 20)
            finally:
                tracemalloc.stop()
            self.assertEqual(error.reason, "limit")
