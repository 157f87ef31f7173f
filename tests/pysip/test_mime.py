"""MIME bodies."""

from __future__ import annotations

import gzip
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from pysip import mime
from pysip.errors import ParseError, SipError
from pysip.header import parse_media_type
from pysip.mime import Part


def nested(depth: int) -> bytes:
    """A multipart body of so many levels; each has the boundary of its level."""
    body = b"leaf"
    kind = b"text/plain"
    for level in range(depth, 0, -1):
        boundary = b"b%d" % level
        body = b"--%b\r\nContent-Type: %b\r\n\r\n%b\r\n--%b--\r\n" % (
            boundary,
            kind,
            body,
            boundary,
        )
        kind = b"multipart/mixed;boundary=" + boundary
    return body


class ReadTests(unittest.SynchronousTestCase):
    """MSG-25: reading multiparts."""

    def test_parts(self) -> None:
        """MSG-25: preamble, epilogue, blanks after boundaries, headers of parts."""
        body = (
            b"preamble\r\n--b 1\r\nCONTENT-TYPE: text/plain;\r\n charset=utf-8\r\n"
            b"Content-Id: <1@x>\r\n\r\none\r\n\r\n--b 1 \t\r\n"
            b"Content-Disposition: render; Handling=Optional\r\n\r\n--b 2 is no boundary"
            b"\r\n--b 1--  \r\nepilogue\r\n--b 1\r\n"
        )
        first, second = mime.parse_multipart('multipart/mixed; boundary="b 1"', body)
        self.assertEqual(first.body, b"one\r\n")
        self.assertEqual(first.content_type.params, {"charset": "utf-8"})
        self.assertEqual(first.content_id, "1@x")
        self.assertFalse(first.optional)
        self.assertEqual(second.body, b"--b 2 is no boundary")
        self.assertEqual(second.content_type.type, "text/plain")
        self.assertEqual(second.content_id, "")
        self.assertTrue(second.optional)

    def test_empty_parts(self) -> None:
        """A part may lack headers, body or both."""
        body = b"--b\r\n\r\nx\r\n--b\r\nA: 1\r\n\r\n\r\n--b\r\n\r\n\r\n--b\r\n--b--"
        parts = mime.parse_multipart("multipart/mixed;boundary=b", body)
        self.assertEqual(
            [(part.headers, part.body) for part in parts],
            [({}, b"x"), ({"a": ["1"]}, b""), ({}, b""), ({}, b"")],
        )

    def test_transfer_encodings(self) -> None:
        """MSG-25: base64 and quoted-printable are undone, the others change nothing."""
        for name, sent, meant in (
            ("base64", b"aGVs\r\nbG8=\r\n", b"hello"),
            ("Quoted-Printable", b"a=3Db=\r\nc", b"a=bc"),
            ("binary", b"\0\xff", b"\0\xff"),
            ("8bit", b"=3D", b"=3D"),
            ("7BIT", b"x", b"x"),
        ):
            body = b"--b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n--b--" % (
                name.encode(),
                sent,
            )
            (part,) = mime.parse_multipart("multipart/mixed;boundary=b", body)
            self.assertEqual(part.body, meant, name)

    def test_nested(self) -> None:
        """MSG-25: eight levels are read, nine are not."""
        parts = mime.parse_multipart("multipart/mixed;boundary=b1", nested(8))
        for _ in range(7):
            parts = list(parts[0].parts)
        self.assertEqual(parts[0].body, b"leaf")
        self.assertRaises(
            ParseError, mime.parse_multipart, "multipart/mixed;boundary=b1", nested(9)
        )

    def test_refused(self) -> None:
        """Broken multiparts are a ParseError."""
        good = b"--b\r\n\r\nx\r\n--b--"
        for content_type, body in (
            ("text/plain;boundary=b", good),
            ("multipart/mixed", good),
            ('multipart/mixed;boundary=""', good),
            ('multipart/mixed;boundary="b "', good),
            ('multipart/mixed;boundary="é"', good),
            ("multipart/mixed;boundary=" + "b" * 71, good),
            ("multipart/mixed;boundary=c", good),
            ("multipart/mixed;boundary=b", b""),
            ("multipart/mixed;boundary=b", b"--b--"),
            ("multipart/mixed;boundary=b", b"--b\r\n\r\nx"),
            ("multipart/mixed;boundary=b", b"--b\r\n\r\nx\r\n--b\r\ny"),
            ("multipart/mixed;boundary=b", b"--b\r\nno header\r\n\r\nx\r\n--b--"),
            (
                "multipart/mixed;boundary=b",
                b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\na\r\n--b--",
            ),
            (
                "multipart/mixed;boundary=b",
                b"--b\r\nContent-Transfer-Encoding: x\r\n\r\na\r\n--b--",
            ),
        ):
            with self.assertRaises(ParseError, msg=(content_type, body)):
                mime.parse_multipart(content_type, body)


class WriteTests(unittest.SynchronousTestCase):
    """Writing multiparts."""

    def test_write(self) -> None:
        """CLI-14: the boundary is a token without quotes; other parameters get theirs."""
        content_type, body = mime.write_multipart(
            [
                Part({"content-type": ["application/rlmi+xml"], "content-id": ["<1@x>"]}, b"<l/>"),
                Part({}, b""),
            ],
            "related",
            "bOuNd.1",
            {"type": "application/rlmi+xml", "start": "<1@x>"},
        )
        self.assertEqual(
            content_type,
            'multipart/related;type="application/rlmi+xml";start="<1@x>";boundary=bOuNd.1',
        )
        self.assertEqual(
            body,
            b"--bOuNd.1\r\nContent-Type: application/rlmi+xml\r\nContent-ID: <1@x>\r\n\r\n<l/>\r\n"
            b"--bOuNd.1\r\n\r\n\r\n--bOuNd.1--\r\n",
        )

    def test_spelling(self) -> None:
        """CLI-17: another spelling of a header name on demand."""
        _, body = mime.write_multipart(
            [Part({"content-id": ["1"]}, b"")], "mixed", "b", names={"content-id": "Content-Id"}
        )
        self.assertIn(b"\r\nContent-Id: 1\r\n", body)

    def test_refused(self) -> None:
        """A boundary that is no token or occurs in a body, and a forged header, are refused."""
        for boundary, part in (
            ("a b", Part({}, b"")),
            ("", Part({}, b"")),
            ("b" * 71, Part({}, b"")),
            ("b", Part({}, b"x--by")),
            ("b", Part({"a": ["x\r\nB: y"]}, b"")),
        ):
            self.assertRaises(ValueError, mime.write_multipart, [part], "mixed", boundary)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.binary(max_size=30), min_size=1, max_size=4))
    def test_round_trip(self, bodies: list[bytes]) -> None:
        """What is written is read again."""
        parts = [Part({"content-type": ["application/octet-stream"]}, body) for body in bodies]
        content_type, body = mime.write_multipart(parts, "mixed", "qqqqqqqqqqqqqqqq")
        self.assertEqual(mime.parse_multipart(parse_media_type(content_type), body), parts)


class RelatedTests(unittest.SynchronousTestCase):
    """RFC 2387: a root and what it refers to."""

    BODY = (
        b"--b\r\nContent-Type: text/html\r\nContent-ID: <1@x>\r\n\r\none\r\n"
        b"--b\r\nContent-ID: <a%20b@x>\r\n\r\ntwo\r\n"
        b"--b\r\nContent-ID: <a b@x>\r\n\r\nthree\r\n"
        b"--b\r\nContent-ID: <a b@x>\r\n\r\nfour\r\n--b--"
    )

    def test_root(self) -> None:
        """MPR-01: ``start`` names the root, which is the first part without it."""
        for params, root in (
            ("", b"one"),
            (';type="text/html"', b"one"),
            (';type="TEXT/HTML;a=b";start="<1@x>"', b"one"),
            (';start="1@x";start-info="-o x"', b"one"),
            (';start="<a%20b@x>";type="text/plain"', b"two"),
            (';start="<a b@x>"', b"three"),
        ):
            related = mime.parse_related(f"multipart/related;boundary=b{params}", self.BODY)
            self.assertEqual(related.root.body, root, params)
            self.assertNotIn(root, [part.body for part in related.parts.values()])

    def test_references(self) -> None:
        """MPR-02: a Content-ID as it is, a ``cid:`` URL percent-decoded; the first counts."""
        related = mime.parse_related("multipart/related;boundary=b", self.BODY)
        for reference, body in (
            ("a%20b@x", b"two"),
            ("a b@x", b"three"),
            ("cid:a%20b@x", b"three"),
            ("CID:a%2520b@x", b"two"),
        ):
            part = related.find(reference)
            assert part is not None, reference
            self.assertEqual(part.body, body, reference)
        for reference in ("<a b@x>", "1@x", "", "cid:"):
            self.assertIsNone(related.find(reference), reference)

    def test_refused(self) -> None:
        """MPR-01: no such root, a root of another type, no multipart/related."""
        for content_type in (
            'multipart/related;boundary=b;start="<2@x>"',
            'multipart/related;boundary=b;type="text/plain"',
            'multipart/related;boundary=b;type="text"',
            "multipart/related",
            "multipart/mixed;boundary=b",
        ):
            with self.assertRaises(ParseError, msg=content_type):
                mime.parse_related(content_type, self.BODY)

    def test_write(self) -> None:
        """MPR-01, MPR-04: type and start are those of the first part; no part has the boundary."""
        parts = [
            Part({"content-type": ["text/html;a=b"], "content-id": ["<1@x>"]}, b"--b"),
            Part({}, b"--b0--b1"),
        ]
        content_type, body = mime.write_related(parts, "b")
        self.assertEqual(
            content_type, 'multipart/related;type="text/html";start="<1@x>";boundary=b00'
        )
        self.assertEqual(mime.parse_multipart(content_type, body), parts)
        self.assertRaises(ValueError, mime.write_related, parts, "b b")


class EncodingTests(unittest.SynchronousTestCase):
    """MSG-26: content encodings."""

    def status(self, encodings: list[str], body: bytes, limit: int = mime.MAX_DECODED) -> int:
        """The status of the refusal of a body."""
        with self.assertRaises(SipError) as caught:
            mime.decode_body(encodings, body, limit)
        return int(caught.exception.status)

    def test_decode(self) -> None:
        """MSG-26, CLI-16: gzip, zlib and raw deflate, alone and in turn."""
        text = b"presence " * 50
        raw = zlib.compressobj(wbits=-15)
        self.assertEqual(mime.decode_body(["gzip"], gzip.compress(text)), text)
        self.assertEqual(mime.decode_body(["X-Gzip"], gzip.compress(text)), text)
        self.assertEqual(
            mime.decode_body(["gzip"], gzip.compress(text) + gzip.compress(text)), text * 2
        )
        self.assertEqual(mime.decode_body(["deflate"], zlib.compress(text)), text)
        self.assertEqual(mime.decode_body([" Deflate "], raw.compress(text) + raw.flush()), text)
        self.assertEqual(
            mime.decode_body(["deflate", "identity", "gzip"], gzip.compress(zlib.compress(text))),
            text,
        )
        self.assertEqual(mime.decode_body(["identity"], text), text)
        self.assertEqual(mime.decode_body([], text), text)

    def test_empty(self) -> None:
        """CLI-16: where there is no body nothing is inflated."""
        self.assertEqual(mime.decode_body(["deflate"], b""), b"")

    def test_unknown(self) -> None:
        """MSG-26: 415 that says what is acceptable."""
        with self.assertRaises(SipError) as caught:
            mime.decode_body(["gzip", "br"], b"")
        self.assertEqual(caught.exception.status, 415)
        self.assertEqual(
            caught.exception.headers, (("Accept-Encoding", "gzip, deflate, identity"),)
        )

    def test_bounds(self) -> None:
        """MSG-26: a result out of proportion or over the limit is 413."""
        self.assertEqual(self.status(["gzip"], gzip.compress(bytes(500_000))), 413)
        twice = gzip.compress(gzip.compress(bytes(10**7)))
        self.assertEqual(self.status(["gzip", "gzip"], twice), 413)
        noise = bytes(range(256)) * 20
        self.assertEqual(self.status(["deflate"], zlib.compress(noise), 5000), 413)
        self.assertEqual(self.status(["identity"], noise, 5000), 413)
        self.assertEqual(len(mime.decode_body(["deflate"], zlib.compress(bytes(16000)))), 16000)

    def test_broken(self) -> None:
        """Broken data is 400."""
        packed = zlib.compress(b"presence")
        for encodings, body in (
            (["gzip"], b"no gzip"),
            (["deflate"], b"\xff\xff\xff"),
            (["deflate"], packed[:-5]),
            (["deflate"], packed + b"x"),
            (["gzip"], gzip.compress(b"x") + b"x"),
        ):
            self.assertEqual(self.status(encodings, body), 400)


class DispositionTests(unittest.SynchronousTestCase):
    """MSG-27: Content-Disposition."""

    def test_optional(self) -> None:
        """MSG-27: required unless it says optional."""
        for value, optional in (
            (None, False),
            ("render", False),
            ("render;handling=required", False),
            ("session; handling = OPTIONAL", True),
            ("x;handling=other", False),
            (";handling=optional", False),
            ("x;handling", False),
        ):
            self.assertEqual(mime.disposition_optional(value), optional, value)

    def test_parse(self) -> None:
        """CLI-16: the type of a disposition."""
        self.assertEqual(
            mime.parse_disposition("Recipient-List;handling=required"),
            ("recipient-list", {"handling": "required"}),
        )
        for value in ("", "a b", "a;"):
            self.assertRaises(ParseError, mime.parse_disposition, value)
