"""Tests of :mod:`presence.pidf.parse`: character sets and the parser's limits."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from presence.pidf.parse import (
    DECLARATION,
    MAX_ATTRIBUTES,
    MAX_DEPTH,
    DocumentError,
    parse,
    parse_compact,
    to_utf8,
)
from tests.presence.documents import BOB, document, names, vector


class CharsetTests(SynchronousTestCase):
    """Everything becomes UTF-8 with a declaration (PID-01)."""

    def test_untouched(self) -> None:
        """PID-01: a document that says it is UTF-8 is the same object, however it says so."""
        for declaration in (
            '<?xml version="1.0" encoding="UTF-8"?>',
            "<?xml version='1.0' encoding='utf-8'?>",
            '<?xml version="1.0" encoding="UTF-8" standalone="no" ?>',
            '<?xml  version = "1.0"\n encoding = "Utf-8" standalone="yes"?>',
        ):
            body = f"{declaration}<a/>".encode()
            self.assertIs(to_utf8(body), body)
        body = DECLARATION + b"<a/>"
        self.assertIs(to_utf8(body, "UTF-8"), body)

    def test_same_text(self) -> None:
        """PID-01: UTF-16, byte order marks and other declarations give the same text."""
        for name in names("encoding"):
            data = to_utf8(vector(name))
            self.assertTrue(data.startswith(DECLARATION), name)
            note = parse(data).findtext(".//{*}note")
            self.assertEqual(note, "gr\u00fc\u00dfe", name)

    def test_charset_wins(self) -> None:
        """PID-01: the charset parameter goes before the XML declaration."""
        text = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<a>gr\u00fc\u00dfe</a>'
        for charset, codec in (
            ("utf-8", "utf-8"),
            ("UTF-16", "utf-16"),
            ("utf-16", "utf-16-be"),
            ("utf-16", "utf-16-le"),
            ("UTF-16LE", "utf-16-le"),
            ("windows-1252", "cp1252"),
        ):
            data = to_utf8(text.encode(codec), charset)
            self.assertEqual(data, DECLARATION + "\n<a>gr\u00fc\u00dfe</a>".encode(), codec)

    def test_utf16_declared_in_octets(self) -> None:
        """A declaration that can be read octet by octet cannot be UTF-16; it is ignored."""
        data = to_utf8(b'<?xml version="1.0" encoding="UTF-16"?><a/>')
        self.assertEqual(data, DECLARATION + b"<a/>")

    def test_unsupported(self) -> None:
        """A character set we do not have is 415, in the parameter and in the declaration."""
        for body, charset in ((b"<a/>", "ebcdic-cp-us"), (vector("bad-charset"), None)):
            error = self.assertRaises(DocumentError, to_utf8, body, charset)
            self.assertEqual(error.status, 415)

    def test_wrong_octets(self) -> None:
        """Octets outside the character set are 400 and the line is told."""
        error = self.assertRaises(DocumentError, to_utf8, b"<a>\n\n\xff</a>", "utf-8")
        self.assertEqual((error.status, error.line), (400, 3))
        error = self.assertRaises(DocumentError, to_utf8, b"\xff\xfe<\0a", "utf-16be")
        self.assertEqual(error.status, 400)

    def test_lines_stay(self) -> None:
        """Replacing the declaration changes no line number."""
        body = b"<?xml\nversion='1.0'\n?>\n<a>\n<b></a>"
        error = self.assertRaises(DocumentError, parse, to_utf8(body))
        self.assertEqual(error.line, 5)


class LimitTests(SynchronousTestCase):
    """Untrusted input cannot make the parser work without bound (MSG-28, XML-01)."""

    def test_doctype(self) -> None:
        """MSG-28: any document type declaration is refused, before a parser sees it."""
        for name in names("bad"):
            if "doctype" in name or "entity-" in name or "-dtd" in name:
                error = self.assertRaises(DocumentError, parse, to_utf8(vector(name)))
                self.assertEqual(error.status, 400)
                self.assertEqual(error.reason, "line 2: document type declaration", name)

    def test_doctype_in_text(self) -> None:
        """The word in comments, processing instructions and CDATA is only a word."""
        root = parse(vector("valid-comments"))
        self.assertEqual(root.findtext(".//{*}note"), "<!DOCTYPE html>")

    def test_unfinished_prolog(self) -> None:
        """A prolog that never ends is not well-formed, DOCTYPE in it or not."""
        for body in (b"<!-- <!DOCTYPE a>", b"<?p <!DOCTYPE a>", b"<!DOCTYPE"):
            self.assertRaises(DocumentError, parse, DECLARATION + body)

    def test_undefined_entity(self) -> None:
        """MSG-28: there are no entities but the five of XML."""
        self.assertRaises(DocumentError, parse, vector("bad-undefined-entity"))
        root = parse(DECLARATION + b"<a>&lt;&amp;&gt;&quot;&apos;&#65;</a>")
        self.assertEqual(root.text, "<&>\"'A")

    def test_depth(self) -> None:
        """MSG-28: 64 levels are taken, 65 are not, and far more neither."""
        self.assertEqual(parse(vector("valid-deep")).tag, "{urn:ietf:params:xml:ns:pidf}presence")
        self.assertRaises(DocumentError, parse, vector("bad-deep"))
        for deep in (MAX_DEPTH + 1, 256, 257, 20000):
            for inner in (b"", b"x", b"<a/>"):
                data = DECLARATION + b"<a>" * (deep - 1) + b"<a>" + inner + b"</a>" * deep
                error = self.assertRaises(DocumentError, parse, data)
                self.assertEqual(error.status, 400)
        data = DECLARATION + b"<a>" * MAX_DEPTH + b"<a/>" + b"</a>" * MAX_DEPTH
        self.assertRaises(DocumentError, parse, data)
        depth = MAX_DEPTH - 1
        parse(DECLARATION + b"<a>" * depth + b"<a/>" + b"</a>" * depth)

    def test_wide_is_not_deep(self) -> None:
        """Many elements side by side are no depth."""
        self.assertEqual(len(parse(DECLARATION + b"<a>" + b"<b></b>" * 1000 + b"</a>")), 1000)

    def test_attributes(self) -> None:
        """MSG-28: 256 attributes of one element are taken, 257 are not."""
        parse(vector("valid-attributes"))
        for name in ("bad-attributes", "bad-namespaces"):
            error = self.assertRaises(DocumentError, parse, vector(name))
            self.assertEqual((error.status, error.line), (400, 8), name)

    def test_long_namespaces(self) -> None:
        """MSG-28: a namespace name of 1024 octets is taken, one of 1025 is not."""
        for text, sizes in (
            (b'<a xmlns:p="%b"/>', (1024, 1025)),
            (b"<a b=''\n xmlns = '%b'/>", (1024, 1025)),
            (b'<a notxmlns="%b"/>', (1025, None)),
            (b'<a xmlns="u" b="%b"/>', (1025, None)),
        ):
            taken, refused = sizes
            parse(text % (b"u" * taken))
            if refused is not None:
                error = self.assertRaises(DocumentError, parse, text % (b"u" * refused))
                self.assertEqual(error.status, 400)
                self.assertIn("namespace name", error.reason)
        for text in (b"=%b", b" =%b", b"xmlns=%b"):
            self.assertRaises(DocumentError, parse, text % (b"'" + b"u" * 2000 + b"'"))

    def test_attributes_of_several(self) -> None:
        """The limit is for each element; equal signs in text and values do not count."""
        tag = b"<b " + b" ".join(b'a%d="="' % i for i in range(MAX_ATTRIBUTES)) + b"/>"
        parse(DECLARATION + b"<a>" + tag * 3 + b"=" * 1000 + b"</a>")

    def test_memory_and_time(self) -> None:
        """MSG-28: the worst of 256 KiB costs less than a second."""
        size = 262144
        started = time.process_time()
        for data in (
            b"<a " + b" ".join(b"a%d='x'" % i for i in range(size // 11)) + b"/>",
            b"<a " + b"='" * (size // 2),
            b"<a>" * (size // 3),
            b"<" * size,
            b"<!--" * (size // 4),
            b"<!DOCTYPE" * (size // 9),
            b"<a b='" + b"x" * size + b"'/>",
            b"<a " + b" ".join(b"xmlns:a%d='x'" % i for i in range(size // 16)) + b"/>",
        ):
            with self.subTest(data[:12]):
                try:
                    parse(DECLARATION + data)
                except DocumentError as error:
                    self.assertEqual(error.status, 400)
        self.assertLess(time.process_time() - started, 1.0)

    @given(st.binary(max_size=200) | st.text(alphabet="<>/!?='\"& ax:\n", max_size=60))
    @settings(max_examples=200, deadline=None)
    def test_anything(self, data: bytes | str) -> None:
        """Whatever comes, there is a tree or a DocumentError."""
        body = data if isinstance(data, bytes) else data.encode()
        for charset in (None, "utf-16", "utf-8"):
            try:
                parse(to_utf8(body, charset))
            except DocumentError as error:
                self.assertIn(error.status, (400, 415))

    def test_compact(self) -> None:
        """XML-02: the compact tree has neither comments nor indentation, but all text."""
        body = document("  <!-- c --><x:a> <x:b> </x:b>t<?p i?>u</x:a>\n")
        root = parse_compact(body)
        self.assertEqual(root.get("entity"), BOB)
        self.assertEqual((root.text, len(root), len(root[0])), (None, 1, 1))
        self.assertEqual(root[0][0].text, " ")
        self.assertEqual(root[0][0].tail, "tu")
