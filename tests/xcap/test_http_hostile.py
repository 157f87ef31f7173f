"""Hostile octets against the HTTP server: smuggling, mutation, any cut (AGP-74, AGP-152)."""

from __future__ import annotations

import gc
import itertools
import random
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.http_links import GET, Bench, answers, put

CHUNKED = (
    b"PUT /c?x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n10;e=f\r\n0123456789abcdef\r\n0\r\nT: u\r\n\r\n"
)
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


class SmugglingTests(SynchronousTestCase):
    """Requests that two parsers may take apart differently: none but the first may count."""

    def refused(self, data: bytes, *statuses: int) -> None:
        """Expect one refusal, the end of the connection, and that nothing behind is served."""
        for pieces in ([data + SMUGGLED], [bytes([octet]) for octet in data + SMUGGLED]):
            bench = Bench()
            line = bench.line()
            for piece in pieces:
                line.feed(piece)
            found = line.answers()
            self.assertEqual([answer.status in (statuses or (400,)) for answer in found], [True])
            self.assertEqual(found[0].headers["connection"], "close")
            self.assertTrue(line.closed)
            self.assertNotIn("/smuggled", [head.target for head in bench.service.heads])

    def request(self, *fields: bytes, body: bytes = b"") -> bytes:
        """A PUT with Host."""
        return b"PUT / HTTP/1.1\r\nHost: h\r\n" + b"\r\n".join(fields) + b"\r\n\r\n" + body

    def test_both_lengths(self) -> None:
        """AGP-74: CL.TE and TE.CL are refused with 400."""
        self.refused(
            self.request(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")
        )
        self.refused(
            self.request(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n")
        )

    def test_obscured_coding(self) -> None:
        """AGP-74: TE.TE: spellings that one side may overlook are refused."""
        for field in (
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding:\x0bchunked",
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
            b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
            b"X: y\nTransfer-Encoding: chunked",
            b"X: y\r\n Transfer-Encoding: chunked",
            b"Transfer-Encoding\r\n: chunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: identity, chunked",
            b"Transfer-Encoding: \x00chunked",
            b"Transfer-Encoding: 'chunked'",
            b"Transfer-Encoding: chunked\x00",
        ):
            self.refused(self.request(field, body=b"0\r\n\r\n"), 400, 501)

    def test_obscured_length(self) -> None:
        """AGP-74: lengths that one side may read differently are refused with 400."""
        for field in (
            b"Content-Length: 5\r\nContent-Length: 0",
            b"Content-Length: 0\r\nContent-Length: 5",
            b"Content-Length: 5, 0",
            b"Content-Length: +5",
            b"Content-Length: 0x5",
            b"Content-Length: 5 ;",
            b"Content-Length : 5",
            b"Content-Length\x00: 5",
            b"\x00Content-Length: 5",
            b"Content-Length:\r\n 5",
            b"Content-Length: 5\rX: y",
        ):
            self.refused(self.request(field))

    def test_obscured_chunks(self) -> None:
        """AGP-74: chunk sizes that one side may read differently are refused with 400."""
        for body in (
            b"5;\nxx\r\nabcde\r\n0\r\n\r\n",
            b"0x5\r\nabcde\r\n0\r\n\r\n",
            b"5\r\r\nabcde\r\n0\r\n\r\n",
            b"5\nabcde\n0\n\n",
            b"5\r\nabcdeXX0\r\n\r\n",
            b"00000000000000005\r\nabcde\r\n0\r\n\r\n",
            b"\r\n5\r\nabcde\r\n0\r\n\r\n",
            b"-5\r\nabcde\r\n0\r\n\r\n",
            b"5 \r\nabcde\r\n0\r\n: x\r\n\r\n",
        ):
            self.refused(self.request(b"Transfer-Encoding: chunked", body=body))

    def test_lines(self) -> None:
        """AGP-74: heads whose lines end otherwise than by CRLF are refused with 400."""
        for head in (
            b"GET / HTTP/1.1\nHost: h\n\n",
            b"GET / HTTP/1.1\r\nHost: h\n\r\n",
            b"GET / HTTP/1.1\rHost: h\r\r",
            b"GET / HTTP/1.1\r\nHost: h\r\n\n",
            b"GET / HTTP/1.1\r\n\r\nHost: h\r\n\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /\r\nHost: h\r\n\r\n",
        ):
            self.refused(head)

    def test_old_versions(self) -> None:
        """AGP-74: chunked bodies with HTTP/1.0 are refused with 400."""
        self.refused(b"PUT / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    def test_body_of_get(self) -> None:
        """AGP-74: a body that GET brings along is a body, not a request."""
        bench = Bench()
        request = b"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
        found = bench.line().send(request + SMUGGLED + GET)
        self.assertEqual([answer.body for answer in found], [b"/a", b"/a"])
        self.assertEqual(len(bench.service.heads), 2)


class CutTests(SynchronousTestCase):
    """The network may cut octets anywhere."""

    @given(
        st.lists(
            st.sampled_from(
                [GET, put(b""), put(b"abc"), put(GET), CHUNKED, b"\r\n" + GET, put(b"x" * 300)]
            ),
            min_size=1,
            max_size=6,
        ),
        st.lists(st.integers(0, 3000), max_size=12),
    )
    def test_cuts(self, requests: list[bytes], places: list[int]) -> None:
        """AGP-74: however requests are cut, the same ones are served with the same bodies."""
        whole, pieces = Bench(), Bench()
        data = b"".join(requests)
        expected = whole.line().send(data)
        line = pieces.line()
        bounds = sorted({0, len(data), *(place % len(data) for place in places)})
        for start, end in itertools.pairwise(bounds):
            line.feed(data[start:end])
        found = line.answers()
        self.assertEqual(found, expected)
        self.assertEqual(len(found), len(requests))
        self.assertEqual(pieces.service.bodies, whole.service.bodies)

    @settings(max_examples=200)
    @given(st.lists(st.binary(max_size=60), max_size=8))
    def test_anything(self, pieces: list[bytes]) -> None:
        """AGP-74: octets of any kind get answers that can be read, or none."""
        line = Bench().line()
        for piece in pieces:
            line.feed(piece)
        answers(line.raw())


class MutationTests(SynchronousTestCase):
    """Requests with random faults."""

    SEEDS = (
        GET,
        put(b"<a/>", "Expect: 100-continue", "Content-Type: application/xml"),
        CHUNKED,
        b"GET https://h:80/x%2f/~~/y%5b@n=%22v%22%5d?xmlns(a=b) HTTP/1.1\r\nHost: h\r\n\r\n",
        b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b'DELETE /a HTTP/1.1\r\nHost: h\r\nIf-Match: "x"\r\nX: \xe9\t y \r\n\r\n',
    )
    PIECES = (
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b"0\r\n\r\n",
        b"Host: h\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"ffffffff\r\n",
        b"HTTP/1.1",
        b"a" * 9000,
        b"\xff\xfe",
        b"99999999999999999999",
    )

    def mutated(self, chance: random.Random) -> bytes:
        """A few requests with one to six faults."""
        data = b"".join(chance.choice(self.SEEDS) for _ in range(chance.randint(1, 3)))
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(data) + 1)
            kind = chance.randrange(5)
            if kind == 0:
                data = data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]
            elif kind == 1:
                data = data[:place] + chance.choice(self.PIECES) + data[place:]
            elif kind == 2:
                data = data[:place] + data[place + chance.randrange(20) :]
            elif kind == 3:
                end = place + chance.randrange(60)
                data = data[:end] + data[place:end] + data[end:]
            else:
                data = data[:place]
        return data

    def test_mutations(self) -> None:
        """AGP-152: 10 000 mutated requests raise nothing, keep no memory, and stop nobody."""
        chance = random.Random(3)
        bench = Bench(access=lambda record: None)
        steady = bench.line("198.51.100.1")
        levels: list[int] = []
        tracemalloc.start()
        try:
            for number in range(10_000):
                line = bench.line()
                data = self.mutated(chance)
                cut = chance.randrange(len(data) + 1)
                for piece in (data[:cut], data[cut:]):
                    line.feed(piece)
                bench.clock.advance(0)
                self.assertIn(line.raw()[:7], (b"", b"HTTP/1."))
                line.hang_up()
                bench.service.heads.clear()
                bench.service.bodies.clear()
                if number % 2500 == 2499:
                    self.assertEqual(steady.one(GET).status, 200)
                    bench.service.heads.clear()
                    gc.collect()
                    levels.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        self.assertLess(levels[-1] - levels[0], 200_000)
        self.assertEqual(bench.site.counters.open, 1)
        self.assertEqual(bench.line().one(GET).status, 200)
        self.assertEqual(self.flushLoggedErrors(), [])
