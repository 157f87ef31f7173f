"""Tests of :mod:`xcap.http.coding`."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from xcap.errors import XcapError
from xcap.http.coding import compress, decompress
from xcap.records import HttpResponse

XML = b"<a>" + b"x" * 400 + b"</a>"


def answer(
    body: bytes = XML, kind: str = "application/xml", *fields: tuple[str, str], status: int = 200
) -> HttpResponse:
    """An answer with an entity-tag."""
    return HttpResponse(status, (("Content-Type", kind), ("ETag", '"4f1"'), *fields), body)


class CompressTests(SynchronousTestCase):
    """Coding of answers."""

    def coded(self, response: HttpResponse, accept: str | None) -> bool:
        """Whether the answer was coded; its content has to be the same."""
        found = compress(response, accept)
        if found.header("content-encoding") is None:
            self.assertEqual(found.body, response.body)
            return False
        self.assertEqual(found.header("content-encoding"), "gzip")
        self.assertEqual(gzip.decompress(found.body), response.body)
        return True

    def test_xml(self) -> None:
        """AGP-71: XML of 256 octets is coded, smaller and other content is not."""
        for kind in (
            "application/xml",
            "text/xml; charset=utf-8",
            "application/resource-lists+xml",
            "Application/XCAP-El+XML",
        ):
            self.assertTrue(self.coded(answer(kind=kind), "gzip"))
        self.assertTrue(self.coded(answer(b"x" * 256), "gzip"))
        self.assertFalse(self.coded(answer(b"x" * 255), "gzip"))
        for kind in ("text/plain", "image/png", "", "application/xmlx", "text/x+xml2"):
            self.assertFalse(self.coded(answer(kind=kind), "gzip"))
        self.assertFalse(self.coded(HttpResponse(200, (), XML), "gzip"))

    def test_weights(self) -> None:
        """AGP-71: qvalues, ``*`` and ``identity;q=0`` are honoured."""
        accept: str | None
        for accept in (
            "gzip",
            "GZip",
            "x-gzip",
            "br, gzip;q=0.1",
            "*",
            "*;q=0.2",
            "deflate, *;q=0.5",
            "gzip;q=1.000",
            "gzip ; q=0.5 , identity;q=0.5",
            "gzip;q=0.001",
            "gzip;foo=bar",
        ):
            self.assertTrue(self.coded(answer(), accept), accept)
        for accept in (
            None,
            "",
            "br",
            "gzip;q=0",
            "gzip;q=0.000, *",
            "*;q=0",
            "identity",
            "gzip;q=0.4, identity;q=0.5",
            "gzip;q=2",
            "gzip;q=x",
            "gzip;q=",
            ",;=,",
        ):
            self.assertFalse(self.coded(answer(), accept), accept)

    def test_identity_refused(self) -> None:
        """AGP-71: a client that refuses the plain form gets gzip, whatever the content is."""
        small = answer(b"x", "text/plain")
        self.assertTrue(self.coded(small, "gzip, identity;q=0"))
        self.assertTrue(self.coded(small, "gzip, *;q=0"))
        self.assertFalse(self.coded(small, "identity;q=0"))
        self.assertFalse(self.coded(small, "gzip"))

    def test_never(self) -> None:
        """AGP-71: nothing is coded without body, or twice."""
        self.assertFalse(self.coded(answer(b""), "gzip"))
        self.assertFalse(self.coded(answer(status=304), "gzip"))
        self.assertFalse(self.coded(answer(status=204), "gzip"))
        twice = answer(XML, "application/xml", ("Content-Encoding", "br"))
        self.assertEqual(compress(twice, "gzip"), twice)

    def test_fields(self) -> None:
        """AGP-71, AGP-72: the ETag stays, Vary is added, an old length goes."""
        found = compress(
            answer(XML, "application/xml", ("content-length", "407"), ("Vary", "Accept")), "gzip"
        )
        self.assertEqual(found.header("etag"), '"4f1"')
        self.assertEqual(found.header("vary"), "Accept, Accept-Encoding")
        self.assertIsNone(found.header("content-length"))
        self.assertEqual(found.status, 200)

    def test_vary(self) -> None:
        """AGP-71: the plain form of what might be coded says so too, once."""
        self.assertEqual(compress(answer(), None).header("vary"), "Accept-Encoding")
        for value in ("*", "Accept, ACCEPT-ENCODING"):
            found = compress(answer(XML, "application/xml", ("Vary", value)), "gzip")
            self.assertEqual(found.header("vary"), value)
        self.assertIsNone(compress(answer(b"<a/>"), None).header("vary"))

    def test_large(self) -> None:
        """AGP-71: large answers are coded as well."""
        self.assertTrue(self.coded(answer(XML * 2000), "gzip"))

    @given(st.text(max_size=40))
    def test_any_field(self, accept: str) -> None:
        """AGP-71: a field of any content is understood or ignored."""
        self.coded(answer(), accept)


class DecompressTests(SynchronousTestCase):
    """Expanding request bodies."""

    def refused(self, status: int, body: bytes, coding: str = "gzip", limit: int = 1000) -> None:
        """Expect a refusal."""
        with self.assertRaises(XcapError) as caught:
            decompress(body, coding, limit)
        self.assertEqual(caught.exception.status, status)

    @given(st.binary(max_size=1000), st.integers(0, 9))
    def test_round_trip(self, body: bytes, level: int) -> None:
        """XCAP-164: gzip is accepted and expanded."""
        for coding in ("gzip", "x-gzip", " GZIP "):
            self.assertEqual(decompress(gzip.compress(body, level), coding, 1000), body)

    def test_plain(self) -> None:
        """XCAP-164: without coding the body is as it came, within the same limit."""
        self.assertEqual(decompress(b"abc", "", 3), b"abc")
        self.assertEqual(decompress(b"abc", "identity", 3), b"abc")
        self.refused(413, b"abcd", "", 3)

    def test_members(self) -> None:
        """XCAP-164: several gzip members are one content; very many are refused."""
        parts = [gzip.compress(b"ab"), gzip.compress(b""), gzip.compress(b"cd")]
        self.assertEqual(decompress(b"".join(parts), "gzip", 4), b"abcd")
        self.refused(413, b"".join(parts), "gzip", 3)
        self.refused(400, gzip.compress(b"") * 1000)

    def test_limit(self) -> None:
        """XCAP-164: the expanded size counts."""
        body = gzip.compress(b"x" * 1000)
        self.assertEqual(len(decompress(body, "gzip", 1000)), 1000)
        self.refused(413, gzip.compress(b"x" * 1001))

    def test_bomb(self) -> None:
        """XCAP-164: a bomb of 1 GiB is refused after a MiB, in little memory."""
        coder = zlib.compressobj(9, zlib.DEFLATED, 31)
        block = bytes(1 << 20)
        bomb = b"".join(coder.compress(block) for _ in range(1024)) + coder.flush()
        self.assertLess(len(bomb), 1 << 21)
        tracemalloc.start()
        try:
            self.refused(413, bomb, "gzip", 1 << 20)
            self.assertLess(tracemalloc.get_traced_memory()[1], 4 << 20)
        finally:
            tracemalloc.stop()

    def test_malformed(self) -> None:
        """XCAP-164: what is no whole gzip stream is refused with 400."""
        whole = gzip.compress(b"abc")
        broken = bytearray(whole)
        broken[-5] ^= 1
        for body in (
            b"",
            b"abc",
            whole[:-1],
            whole[:5],
            whole + b"x",
            whole + bytes(8),
            bytes(broken),
            zlib.compress(b"abc"),
        ):
            self.refused(400, body)

    def test_other_codings(self) -> None:
        """XCAP-164: other codings are refused with 415, which tells what is accepted."""
        for coding in ("br", "deflate", "gzip, gzip", "compress", "gzip;q=1", "identity, gzip"):
            self.refused(415, b"abc", coding)
        with self.assertRaises(XcapError) as caught:
            decompress(b"abc", "br", 10)
        self.assertEqual(caught.exception.headers, (("Accept-Encoding", "gzip"),))

    @given(st.binary(max_size=100))
    def test_anything(self, body: bytes) -> None:
        """XCAP-164: octets of any kind are expanded or refused."""
        for data in (body, b"\x1f\x8b\x08" + body):
            try:
                decompress(data, "gzip", 50)
            except XcapError as error:
                self.assertIn(error.status, (400, 413))
