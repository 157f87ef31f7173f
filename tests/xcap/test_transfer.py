"""Tests of :mod:`xcap.transfer`: a client that sends and takes bodies in pieces."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from tests.xcap.proxies import head
from tests.xcap.test_exchange import OK, PoolTestCase
from tests.xcap.test_http_streams import Pieces
from xcap.exchange import request_octets
from xcap.records import HttpResponse
from xcap.transfer import CONTINUE, TooLarge, Transfer

GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"


class Gathering:
    """Takes a body; holds it up while told so."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.hold: Deferred[None] | None = None
        self.refuses = False

    def take(self, piece: bytes) -> Deferred[None] | None:
        """A piece."""
        if self.refuses:
            raise TooLarge
        self.pieces.append(piece)
        return self.hold


class SendingTests(PoolTestCase):
    """Requests with bodies from somewhere."""

    def setUp(self) -> None:
        """A body of three pieces."""
        super().setUp()
        self.sources: list[Pieces] = []
        self.transfer = Transfer(30.0, length=5, body=self.source)

    def source(self) -> Pieces:
        """The body from its begin."""
        self.sources.append(Pieces(b"ab", b"cd", b"e"))
        return self.sources[-1]

    def send(self) -> Deferred[HttpResponse]:
        """Begin to send a request."""
        octets = request_octets(head("/x", "POST", user=None), b"", self.transfer)
        work = Deferred.fromCoroutine(self.pool.exchange(octets, transfer=self.transfer))
        written = self.endpoint.transports[-1].value()
        self.assertIn(b"content-length: 5\r\nexpect: 100-continue\r\n\r\n", written)
        self.endpoint.transports[-1].clear()
        return work

    def written(self) -> bytes:
        """What was sent behind the head."""
        return self.endpoint.transports[-1].value()

    def test_continue(self) -> None:
        """The body goes when the server wants it; then the connection serves on."""
        work = self.send()
        self.assertEqual((self.written(), self.transfer.begun), (b"", False))
        self.answer(GO_ON)
        self.assertEqual(self.written(), b"abcde")
        self.answer(OK)
        self.assertEqual(self.successResultOf(work).body, b"hi")
        self.assertEqual((self.sources[0].closed, self.pool.idle), (1, 1))
        self.assertEqual(self.clock.getDelayedCalls()[1:], [])

    def test_silent(self) -> None:
        """A server that does not say so gets it a second later (RFC 9110 section 10.1.1)."""
        work = self.send()
        self.clock.advance(CONTINUE)
        self.assertEqual(self.written(), b"abcde")
        self.answer(GO_ON)  # late
        self.answer(OK)
        self.successResultOf(work)
        self.assertEqual(len(self.sources), 1)

    def test_refused(self) -> None:
        """A refusal saves the body; the connection has to end."""
        work = self.send()
        self.answer(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(work).status, 401)
        self.assertEqual((self.sources, self.transfer.begun, self.pool.idle), ([], False, 0))
        self.assertTrue(self.endpoint.transports[-1].disconnected)
        self.clock.advance(CONTINUE)

    def test_refused_midway(self) -> None:
        """A refusal in the midst ends the sending."""
        self.source_waits()
        work = self.send()
        transport = self.endpoint.transports[-1]
        self.answer(GO_ON)
        self.sources[0].reads[0].callback(b"ab")
        self.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(work).status, 413)
        self.sources[0].reads[1].callback(b"cd")
        self.assertEqual((self.sources[0].closed, transport.value()), (1, b"ab"))
        self.assertTrue(transport.disconnected)

    def source_waits(self) -> None:
        """Sources to come give each piece when they are told."""
        made = self.source

        def waiting() -> Pieces:
            source = made()
            source.at_once = False
            return source

        self.transfer._body = waiting

    def test_back_pressure(self) -> None:
        """Nothing is read while the server takes nothing."""
        work = self.send()
        self.source_waits()
        self.answer(GO_ON)
        sending = self.endpoint.transports[-1].producer
        sending.pauseProducing()
        self.sources[0].reads[0].callback(b"ab")
        self.assertEqual(len(self.sources[0].reads), 1)
        sending.resumeProducing()
        self.assertEqual(len(self.sources[0].reads), 2)
        work.addErrback(lambda _: None)
        work.cancel()
        self.sources[0].reads[1].callback(b"")

    def test_broken(self) -> None:
        """A source that fails, or gives another length, ends the request."""
        work = self.send()
        self.source_waits()
        self.answer(GO_ON)
        self.sources[0].reads[0].errback(OSError())
        self.failed(work, "reset")
        self.transfer._body = lambda: Pieces(b"abc")
        work = self.send()
        self.answer(GO_ON)
        self.failed(work, "reset")

    def test_late(self) -> None:
        """The time of the transfer counts, not that of other requests."""
        work = self.send()
        self.answer(GO_ON)
        self.clock.advance(20.0)
        self.assertNoResult(work)
        self.clock.advance(10.0)
        self.failed(work, "late")


class TakingTests(PoolTestCase):
    """Answers with bodies that go somewhere."""

    def setUp(self) -> None:
        """Take the bodies of good answers."""
        super().setUp()
        self.sink = Gathering()
        self.transfer = Transfer(30.0, sink=lambda h: self.sink if h.status == 200 else None)

    def get(self) -> Deferred[HttpResponse]:
        """Send a request."""
        octets = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
        return Deferred.fromCoroutine(self.pool.exchange(octets, transfer=self.transfer))

    def test_pieces(self) -> None:
        """The body goes on as it comes; other answers are gathered."""
        work = self.get()
        self.answer(LARGE + b"abc")
        self.assertEqual(self.sink.pieces, [b"abc"])
        self.answer(b"def")
        self.assertEqual(self.successResultOf(work).body, b"")
        work = self.get()
        self.answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
        self.assertEqual(self.successResultOf(work).body, b"no")

    def test_held(self) -> None:
        """While nobody takes it, it is not read."""
        work = self.get()
        self.sink.hold = hold = Deferred()
        self.answer(LARGE + b"abc")
        transport = self.endpoint.transports[-1]
        self.assertEqual(transport.producerState, "paused")
        self.sink.hold = succeed(None)
        hold.callback(None)
        self.assertEqual(transport.producerState, "producing")
        self.answer(b"def")
        self.successResultOf(work)

    def test_too_large(self) -> None:
        """What is more than wanted ends the connection."""
        work = self.get()
        self.sink.refuses = True
        self.answer(LARGE + b"abc")
        self.failed(work, "large")

    def test_slow(self) -> None:
        """An answer may take all the time of the transfer."""
        work = self.get()
        self.clock.advance(15.0)
        self.answer(LARGE + b"abc")
        self.clock.advance(14.0)
        self.answer(b"def")
        self.successResultOf(work)

    def test_no_body(self) -> None:
        """A transfer without a body to send has none."""
        self.assertIsNone(self.transfer.source())
        self.assertFalse(self.transfer.sends)
        self.assertIsNone(Transfer(1.0).sink(HttpResponse(200)))
