"""Tests of :mod:`xcap.streams` in the HTTP server: bodies in pieces, both ways."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.http_links import GET, Bench, Line, put
from xcap.errors import XcapError
from xcap.http.settings import HttpSettings
from xcap.records import HttpResponse
from xcap.streams import Intake, StreamedResponse

SETTINGS = HttpSettings(body=50, streamed=1000)


class Taker(Intake):
    """Takes what comes; holds it up while told so.

    :ivar hold: what :meth:`take` gives.
    :ivar refusal: raised by it.
    :ivar errors: with what it was abandoned.
    """

    def __init__(self, limit: int = 1000, seconds: float = 100.0) -> None:
        self.limit = limit
        self.seconds = seconds
        self.pieces: list[bytes] = []
        self.hold: Deferred[None] | None = None
        self.refusal: Exception | None = None
        self.answer: Deferred[HttpResponse] = succeed(HttpResponse(201))
        self.finished = 0
        self.errors: list[BaseException] = []

    def take(self, piece: bytes) -> Deferred[None] | None:
        """A piece."""
        if self.refusal is not None:
            raise self.refusal
        self.pieces.append(piece)
        return self.hold

    async def finish(self) -> HttpResponse:
        """The end."""
        self.finished += 1
        return await self.answer

    def abandon(self, error: BaseException) -> None:
        """No end."""
        self.errors.append(error)


class Pieces:
    """Gives pieces, each when it is let."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [*pieces, b""]
        self.reads: list[Deferred[bytes]] = []
        self.at_once = True
        self.closed = 0

    def read(self) -> Deferred[bytes]:
        """The next piece."""
        if self.at_once:
            return succeed(self.pieces.pop(0))
        self.reads.append(Deferred())
        return self.reads[-1]

    def close(self) -> None:
        """The end."""
        self.closed += 1


class StreamCase(SynchronousTestCase):
    """A site with one connection."""

    def setUp(self) -> None:
        """Connect."""
        self.bench = Bench(SETTINGS)
        self.line: Line = self.bench.line()
        self.taker = Taker()
        self.bench.service.answer = self.taker


class IntakeTests(StreamCase):
    """Requests whose bodies go on as they come."""

    def test_pieces(self) -> None:
        """AGP-113: a body is never held: each piece goes on when it comes."""
        body = b"x" * 600
        data = put(body)
        self.assertEqual(self.line.send(data[:-500]), [])
        self.assertEqual(self.taker.pieces, [b"x" * 100])
        self.line.feed(data[-500:-1])
        self.assertEqual(b"".join(self.taker.pieces), b"x" * 599)
        self.assertEqual(self.line.one(data[-1:] + b"").status, 201)
        self.assertEqual((self.taker.finished, self.taker.errors), (1, []))
        self.assertEqual(self.bench.records[-1].received, 600)
        self.bench.service.answer = None
        self.assertEqual(self.line.one(GET).status, 200)

    def test_chunked(self) -> None:
        """A chunked body, too, up to the limit that the service sets."""
        head = b"PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"64\r\n" + b"y" * 100 + b"\r\n"
        self.assertEqual(self.line.one(head + chunk * 10 + b"0\r\n\r\n").status, 201)
        self.assertEqual(b"".join(self.taker.pieces), b"y" * 1000)
        self.assertEqual(self.line.one(head + chunk * 11 + b"0\r\n\r\n").status, 413)
        self.assertEqual([e.status for e in self.taker.errors if isinstance(e, XcapError)], [413])
        self.assertTrue(self.line.closed)

    def test_too_large(self) -> None:
        """AGP-110: what is announced as too large is refused before it comes."""
        self.taker.limit = 99
        answer = self.line.one(put(b"x" * 100, "Expect: 100-continue")[:-100])
        self.assertEqual(answer.status, 413)
        self.assertEqual(self.taker.pieces, [])
        self.assertEqual(len(self.taker.errors), 1)
        line = self.bench.line()
        self.assertEqual(line.one(put(b"x" * 1001)).status, 413)

    def test_whole_bodies(self) -> None:
        """Who wants a body whole gets no larger ones for that."""
        self.bench.service.answer = None
        self.assertEqual(self.line.one(put(b"x" * 51)).status, 413)
        self.assertEqual(self.line.one(put(b"x" * 50)).status, 201)

    def test_continue(self) -> None:
        """100 (Continue) is sent when the service takes the body."""
        data = put(b"abc", "Expect: 100-continue")
        self.line.feed(data[:-3])
        self.assertEqual(self.line.raw(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(self.line.one(b"abc").status, 201)

    def test_held(self) -> None:
        """While the service takes no more nothing is read, and then again."""
        self.taker.hold = hold = Deferred()
        data = put(b"x" * 300)
        self.line.feed(data[:-200])
        self.assertTrue(self.line.wire.paused)
        self.line.feed(data[-200:-100])  # was on its way already
        self.taker.hold = None
        hold.callback(None)
        self.assertFalse(self.line.wire.paused)
        self.assertEqual(self.line.one(data[-100:]).status, 201)
        self.assertEqual(len(b"".join(self.taker.pieces)), 300)

    def test_slow(self) -> None:
        """AGP-77: a body that comes too slowly, or takes too long, gets 408."""
        self.line.feed(put(b"x" * 900)[:-890])
        self.bench.pass_time(7)
        self.assertEqual(self.line.answer().status, 408)
        self.assertEqual([getattr(e, "status", 0) for e in self.taker.errors], [408])
        bench = Bench(HttpSettings(streamed=1 << 20, body_rate=0.001))
        taker = bench.service.answer = Taker(1 << 20, seconds=50.0)
        line = bench.line()
        line.feed(put(b"x" * 900)[:-890])
        bench.pass_time(49)
        self.assertEqual(line.answers(), [])
        bench.pass_time(2)
        self.assertEqual(line.answer().status, 408)
        self.assertEqual(taker.finished, 0)

    def test_time_after_body(self) -> None:
        """The service has its time for the answer after the body, however long that took."""
        bench = Bench(HttpSettings(streamed=1 << 20, body_rate=0.001))
        taker = bench.service.answer = Taker(1 << 20, seconds=50.0)
        taker.answer = Deferred()
        line = bench.line()
        data = put(b"x" * 900)
        line.feed(data[:-10])
        bench.pass_time(40)
        line.feed(data[-10:])
        bench.pass_time(20)
        self.assertEqual(line.answers(), [])
        taker.answer.callback(HttpResponse(201))
        self.assertEqual(line.answer().status, 201)

    def test_gone(self) -> None:
        """A client that leaves in the midst leaves nothing behind."""
        self.line.feed(put(b"x" * 300)[:-200])
        self.line.hang_up()
        self.assertEqual((len(self.taker.errors), self.taker.finished), (1, 0))
        self.assertTrue(self.bench.records[-1].gone)

    def test_refused(self) -> None:
        """The service may refuse in the midst, and at the end."""
        self.line.feed(put(b"x" * 300)[:-200])
        self.taker.refusal = XcapError(503, "full")
        self.assertEqual(self.line.one(b"x").status, 503)
        self.assertEqual(len(self.taker.errors), 1)
        line = self.bench.line()
        self.taker.refusal = None
        self.taker.answer = fail(XcapError(507))
        self.assertEqual(line.one(put(b"abc")).status, 507)
        self.assertFalse(line.closed)

    def test_bug(self) -> None:
        """A bug of the service is logged and answered 500."""
        self.taker.refusal = ZeroDivisionError()
        self.assertEqual(self.line.one(put(b"abc")).status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_no_body(self) -> None:
        """A request without a body goes the same way."""
        self.assertEqual(self.line.one(put(b"")).status, 201)
        self.assertEqual((self.taker.pieces, self.taker.finished), ([], 1))

    def test_whole(self) -> None:
        """Who has the whole body may give it at once."""
        outcome = Deferred.fromCoroutine(self.taker(b"abc"))
        self.assertEqual(self.successResultOf(outcome).status, 201)
        self.assertEqual(self.taker.pieces, [b"abc"])
        self.failureResultOf(Deferred.fromCoroutine(self.taker(b"x" * 1001)), XcapError)
        self.assertEqual(len(self.taker.errors), 1)


class OutflowTests(StreamCase):
    """Answers whose bodies come from somewhere in pieces."""

    def give(self, *pieces: bytes, length: int = -1) -> Pieces:
        """What the service gives next."""
        source = Pieces(*pieces)
        size = str(sum(map(len, pieces)) if length < 0 else length)
        self.bench.service.answer = StreamedResponse(
            200, (("Content-Length", size), ("ETag", '"1"')), source=source
        )
        return source

    def test_pieces(self) -> None:
        """All pieces follow each other; then the connection takes another request."""
        source = self.give(b"ab", b"cd", b"e")
        answer = self.line.one(GET)
        self.assertEqual((answer.status, answer.body), (200, b"abcde"))
        self.assertEqual(answer.headers["content-length"], "5")
        self.assertEqual((source.closed, self.bench.records[-1].sent), (1, 5))
        self.give(b"x")
        self.assertEqual(self.line.one(GET).body, b"x")
        self.assertFalse(self.line.closed)

    def test_head(self) -> None:
        """HEAD gets the fields and nothing is read."""
        source = self.give(b"abc")
        self.line.feed(b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n")
        (answer,) = self.line.answers(heads=True)
        self.assertEqual(answer.headers["content-length"], "3")
        self.assertEqual((source.closed, len(source.pieces)), (1, 2))

    def test_choked(self) -> None:
        """Nothing is read from the source while the client takes nothing."""
        source = self.give(b"ab", b"cd")
        source.at_once = False
        self.line.feed(GET)
        self.line.protocol.pauseProducing()
        source.reads[0].callback(b"ab")
        self.assertEqual(len(source.reads), 1)
        self.line.protocol.resumeProducing()
        source.reads[1].callback(b"cd")
        source.reads[2].callback(b"")
        self.assertEqual(self.line.answer().body, b"abcd")

    def test_pipelined(self) -> None:
        """What is pipelined behind waits for its turn."""
        source = self.give(b"ab")
        source.at_once = False
        self.line.feed(GET + GET)
        self.assertEqual(len(self.bench.service.heads), 1)
        source.reads[0].callback(b"ab")
        self.bench.service.answer = None
        source.reads[1].callback(b"")
        self.assertEqual([a.body for a in self.line.answers()], [b"ab", b"/a"])

    def test_gone(self) -> None:
        """A client that leaves stops it, also while a piece is being read."""
        source = self.give(b"ab", b"cd")
        source.at_once = False
        self.line.feed(GET)
        self.line.hang_up()
        self.assertEqual(source.closed, 0)
        source.reads[0].callback(b"ab")
        self.assertEqual((source.closed, len(source.reads)), (1, 1))
        self.assertTrue(self.bench.records[-1].gone)

    def test_gone_while_choked(self) -> None:
        """Also while the client takes nothing."""
        source = self.give(b"ab", b"cd")
        source.at_once = False
        self.line.feed(GET)
        self.line.protocol.pauseProducing()
        source.reads[0].callback(b"ab")
        self.line.hang_up()
        self.assertEqual(source.closed, 1)

    def test_short(self) -> None:
        """A source that ends early ends the connection: the client must see that it is cut."""
        self.give(b"ab", length=3)
        self.line.feed(GET)
        self.assertTrue(self.line.wire.aborted)

    def test_broken(self) -> None:
        """So does one that fails, which is logged."""
        source = self.give(b"ab", length=3)
        source.at_once = False
        self.line.feed(GET)
        source.reads[0].errback(OSError("disk"))
        self.assertTrue(self.line.wire.aborted)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(source.closed, 1)

    def test_slow_reader(self) -> None:
        """AGP-77: a client that takes it too slowly is cut off."""
        source = self.give(b"ab", b"cd", length=1 << 20)
        source.at_once = False
        self.line.feed(GET)
        self.line.protocol.pauseProducing()
        source.reads[0].callback(b"ab")
        self.bench.pass_time(8)
        self.assertTrue(self.line.wire.aborted)
        self.line.hang_up()
        self.assertEqual(source.closed, 1)

    def test_last(self) -> None:
        """The connection ends with the answer when the client says so."""
        self.give(b"abc")
        answer = self.line.one(b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        self.assertEqual((answer.body, answer.headers["connection"]), (b"abc", "close"))
        self.assertTrue(self.line.closed)

    def test_late(self) -> None:
        """An answer that comes after it was given up is closed."""
        source = self.give(b"abc")
        answer = self.bench.service.answer
        self.bench.service.answer = Deferred(lambda _: None)
        self.line.feed(put(b"x", target="/a"))
        waiting = self.bench.service.answer
        self.line.hang_up()
        waiting.callback(answer)
        self.assertEqual(source.closed, 1)

    def test_unspeakable(self) -> None:
        """An answer that must not be sent is replaced, and its source closed."""
        source = Pieces(b"a")
        self.bench.service.answer = StreamedResponse(
            200, (("A", "b\r\nc"), ("Content-Length", "1")), source=source
        )
        self.assertEqual(self.line.one(GET).status, 500)
        self.assertEqual(source.closed, 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
