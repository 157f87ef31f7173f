"""Tests of :mod:`xcap.http.body`."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from xcap.errors import XcapError
from xcap.http.body import ChunkedBody, LengthBody


def chunked(pieces: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    """A body in chunks."""
    chunks = b"".join(
        b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces if piece
    )
    return chunks + b"0\r\n" + trailer + b"\r\n"


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The octets in pieces."""
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(bounds)]


class LengthTests(SynchronousTestCase):
    """Bodies of known length."""

    @given(st.binary(max_size=60), st.binary(max_size=20), st.lists(st.integers(0, 99)))
    def test_pieces(self, body: bytes, behind: bytes, places: list[int]) -> None:
        """However the octets come, the body is found and the rest given back."""
        found = LengthBody(len(body))
        rest = b""
        for piece in cut(body + behind, places):
            rest += piece if found.done else found.feed(piece)
        self.assertEqual((found.done, found.octets(), rest), (True, body, behind))
        self.assertEqual(found.size, len(body))

    def test_discard(self) -> None:
        """What is discarded is counted, not kept."""
        body = LengthBody(10)
        body.feed(b"abc")
        self.assertFalse(body.discard(6))
        self.assertTrue(body.discard(7))
        self.assertEqual(body.feed(b"defghijklm"), b"klm")
        self.assertEqual((body.done, body.size, body.octets()), (True, 10, b""))


class ChunkedTests(SynchronousTestCase):
    """Bodies in chunks."""

    def refused(self, status: int, data: bytes, limit: int = 100) -> None:
        """Expect a refusal, also when the octets come one by one."""
        for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
            body = ChunkedBody(limit)
            with self.assertRaises(XcapError) as caught:
                for piece in pieces:
                    body.feed(piece)
            self.assertEqual(caught.exception.status, status, data)

    @given(
        st.lists(st.binary(max_size=40), max_size=5),
        st.sampled_from([b"", b";a", b' ; a="b;\xe9"', b"\t"]),
        st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]),
        st.binary(max_size=20),
        st.lists(st.integers(0, 500)),
    )
    def test_pieces(
        self, body: list[bytes], extension: bytes, trailer: bytes, behind: bytes, places: list[int]
    ) -> None:
        """XCAP-114: however chunks are cut, the body is found and the rest given back."""
        found = ChunkedBody(1000)
        rest = b""
        for piece in cut(chunked(body, extension, trailer) + behind, places):
            rest += piece if found.done else found.feed(piece)
        self.assertEqual((found.done, found.octets(), rest), (True, b"".join(body), behind))

    def test_limit(self) -> None:
        """AGP-76: a body beyond the limit is refused with 413 when its size is announced."""
        body = ChunkedBody(5)
        self.assertEqual(body.feed(b"5\r\nabcde\r\n0\r\n\r\nx"), b"x")
        self.refused(413, b"6\r\n", 5)
        self.refused(413, b"3\r\nabc\r\n3\r\n", 5)
        self.refused(413, b"ffffffff\r\n", 5)

    def test_malformed_size(self) -> None:
        """AGP-74: a chunk size that is no hexadecimal number is refused with 400."""
        for line in (
            b"\r\n",
            b"x\r\n",
            b"0x5\r\n",
            b"+5\r\n",
            b"-1\r\n",
            b" 5\r\n",
            b"5 5\r\n",
            b"5 a\r\n",
            b"100000000\r\n",
            b"5;\x00\r\n",
            b"5" + b";a" * 200 + b"\r\n",
            b"5" * 300,
        ):
            self.refused(400, line)

    def test_line_ends(self) -> None:
        """AGP-74: lines of a chunked body end in CRLF and nothing else."""
        for data in (
            b"5\nabcde\r\n",
            b"5\r\nabcde\n",
            b"5\r\nabcdef\r\n",
            b"5\r\nabcde0\r\n\r\n",
            b"5\r\nabcd\r\n0\r\n\r\n",
            b"0\r\n\n",
            b"0\r\nA: b\n\r\n",
            b"5\r\r\nabcde\r\n",
            b"5;a\rb\r\n",
        ):
            self.refused(400, data)

    def test_malformed_trailer(self) -> None:
        """AGP-74: trailer fields have the syntax of header fields."""
        for trailer in (b"A\r\n", b" A: b\r\n", b"A : b\r\n", b"A: b\r\n c\r\n", b"A: \x00\r\n"):
            self.refused(400, b"0\r\n" + trailer + b"\r\n")

    def test_overhead(self) -> None:
        """AGP-76: extensions and trailer are bounded however long the body is (431)."""
        self.refused(431, (b"1;" + b"a" * 200 + b"\r\nx\r\n") * 100, 1000)
        self.refused(431, b"0\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * 20)
        body = ChunkedBody(5)
        body.feed(b"0\r\n")
        with self.assertRaises(XcapError) as caught:
            body.feed(b"A: " + b"b" * 20000)
        self.assertEqual(caught.exception.status, 431)

    def test_discard(self) -> None:
        """AGP-28: a refused body is read away as far as its own limit goes."""
        body = ChunkedBody(5)
        body.feed(b"3\r\nabc\r\n")
        self.assertTrue(body.discard(10))
        self.assertEqual(body.feed(b"a\r\n0123456789\r\n0\r\n\r\nnext"), b"next")
        self.assertEqual(body.octets(), b"")
        body = ChunkedBody(5)
        body.discard(10)
        with self.assertRaises(XcapError):
            body.feed(b"b\r\n")

    @given(st.binary(max_size=80))
    def test_anything(self, data: bytes) -> None:
        """Octets of any kind are taken or refused."""
        body = ChunkedBody(40)
        try:
            body.feed(data)
        except XcapError as error:
            self.assertIn(error.status, (400, 413, 431))
