"""The pool of connections to one document server, on transports in memory."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.xcap.proxies import INDEX, head
from xcap.exchange import (
    Connection,
    ExchangeSettings,
    UpstreamFailure,
    request_octets,
)
from xcap.pool import ConnectionPool
from xcap.records import HttpResponse

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
OK = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 2\r\n\r\nhi'


class Transport(StringTransport):
    """Tells its protocol when it was aborted."""

    protocol: Connection

    def abortConnection(self) -> None:
        """The connection ends at once."""
        if not self.disconnected:
            self.disconnected = True
            self.protocol.connectionLost(Failure(error.ConnectionAborted()))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Not for us."""


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects as it is told.

    :ivar failure: instead of connections.
    :ivar wait: connections stand when :attr:`waiting` is fired.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.wait = False
        self.waiting: list[Deferred[None]] = []
        self.transports: list[Transport] = []
        self.cancelled = 0

    def connect(self, factory: IProtocolFactory) -> Deferred[Connection]:
        """Make a connection."""
        if self.failure is not None:
            return fail(self.failure)
        if not self.wait:
            return succeed(self._made(factory))
        waiting: Deferred[None] = Deferred(self._cancelled)
        self.waiting.append(waiting)
        return waiting.addCallback(lambda _: self._made(factory))

    def _made(self, factory: IProtocolFactory) -> Connection:
        connection = cast(Connection, factory.buildProtocol(None))
        transport = Transport()
        transport.protocol = connection
        self.transports.append(transport)
        connection.makeConnection(transport)
        return connection

    def _cancelled(self, waiting: object) -> None:
        self.cancelled += 1


class PoolTestCase(SynchronousTestCase):
    """Base with a pool."""

    def setUp(self) -> None:
        """Make it."""
        self.make()

    def make(self, **settings: float) -> None:
        """A pool with these bounds."""
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.pool = ConnectionPool(
            self.clock,
            self.endpoint,
            ExchangeSettings(**settings),  # type: ignore[arg-type]
        )

    def exchange(self, octets: bytes = REQUEST, head_only: bool = False) -> Deferred[HttpResponse]:
        """Send a request."""
        return Deferred.fromCoroutine(self.pool.exchange(octets, head_only=head_only))

    def answer(self, octets: bytes = OK, number: int = -1) -> None:
        """Octets from the server, over one of the connections."""
        self.endpoint.transports[number].protocol.dataReceived(octets)

    def failed(self, work: Deferred[HttpResponse], kind: str, sent: bool = True) -> None:
        """Check how a request has failed."""
        failure = self.failureResultOf(work, UpstreamFailure).value
        self.assertEqual((failure.kind, failure.sent), (kind, sent))


class WritingTests(SynchronousTestCase):
    """Requests on the wire."""

    def test_octets(self) -> None:
        """AGP-54, AGP-75: the target byte for byte, the fields in order, the length ours."""
        target = INDEX + '/~~/%7E%7E/x%2f%2525/list[@a="b"]?xmlns(a=b)'
        put = head(target, "PUT", ("Content-Length", "99"), ("X", "\xe9"), user=None)
        self.assertEqual(
            request_octets(put, b"<a/>"),
            b"PUT " + target.encode() + b" HTTP/1.1\r\nhost: xcap.example.com\r\n"
            b"x: \xe9\r\ncontent-length: 4\r\n\r\n<a/>",
        )

    def test_length(self) -> None:
        """AGP-75: requests that have a body say so, even of an empty one; GET does not."""
        self.assertIn(b"content-length: 0", request_octets(head(method="PUT"), b""))
        self.assertNotIn(b"length", request_octets(head(method="GET"), b""))
        self.assertNotIn(b"length", request_octets(head(method="DELETE"), b""))

    def test_injection(self) -> None:
        """AGP-75: a line end in a value is never written."""
        for value in ("a\r\nb: c", "a\nb", "a\rb", "a\0"):
            self.assertRaises(ValueError, request_octets, head(INDEX, "GET", ("X", value)), b"")


class AnswerTests(PoolTestCase):
    """Answers read."""

    def test_simple(self) -> None:
        """A request is written in one piece, its answer read with status, fields and body."""
        work = self.exchange()
        self.assertEqual(self.endpoint.transports[0].value(), REQUEST)
        self.answer()
        answer = self.successResultOf(work)
        self.assertEqual((answer.status, answer.body), (200, b"hi"))
        self.assertEqual(answer.header("etag"), '"1"')

    @given(st.lists(st.integers(1, 20), max_size=30))
    def test_pieces(self, sizes: list[int]) -> None:
        """AGP-75: octets may come in any pieces."""
        self.make()
        octets = (
            b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\nA: 2\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: z\r\n\r\n"
        )
        work = self.exchange()
        for size in sizes:
            self.answer(octets[:size])
            octets = octets[size:]
            if not octets:
                break
        if octets:
            self.answer(octets)
        answer = self.successResultOf(work)
        self.assertEqual((answer.status, answer.body), (200, b"abcde"))
        names = [(n, v) for n, v in answer.headers if n != "Transfer-Encoding"]
        self.assertEqual(names, [("A", "1"), ("A", "2")])
        self.assertEqual(self.pool.idle, 1)

    def test_without_body(self) -> None:
        """204, 304 and answers to HEAD have no body, whatever their length says."""
        for status, head_only in ((204, False), (304, False), (200, True)):
            work = self.exchange(head_only=head_only)
            length = b"" if status == 204 else b"Content-Length: 5\r\n"
            self.answer(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, length))
            answer = self.successResultOf(work)
            self.assertEqual((answer.status, answer.body), (status, b""))
            if head_only:
                self.assertEqual(answer.header("content-length"), "5")
        self.assertEqual(self.pool.opened, 1)

    def test_invalid(self) -> None:
        """AGP-80: what is no HTTP answer, or not an unambiguous one, is invalid."""
        for octets in (
            b"nonsense\r\n\r\n",
            b"SIP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 2x0 OK\r\n\r\n",
            b"HTTP/1.1 700 What\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
        ):
            self.make()
            work = self.exchange()
            self.answer(octets)
            self.failed(work, "invalid")
            self.assertTrue(self.endpoint.transports[0].disconnected)

    def test_large(self) -> None:
        """AGP-80: a body beyond the limit is not read to its end."""
        self.make(body=10)
        work = self.exchange()
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789")
        self.assertEqual(len(self.successResultOf(work).body), 10)
        work = self.exchange()
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n0123456789a")
        self.failed(work, "large")

    def test_cut_short(self) -> None:
        """AGP-80, AGP-153: a connection lost amid the answer, or before it: reset."""
        for octets in (b"", b"HTTP/1.1 200", OK[:-1], b"HTTP/1.1 200 OK\r\n\r\nhi"):
            work = self.exchange()
            if octets:
                self.answer(octets)
            self.endpoint.transports[-1].abortConnection()
            self.failed(work, "reset")

    def test_tls(self) -> None:
        """AGP-80: a failure of TLS is told from others."""
        work = self.exchange()
        self.endpoint.transports[0].protocol.connectionLost(Failure(SSL.Error([])))
        self.failed(work, "tls")

    def test_extra(self) -> None:
        """AGP-75: what comes behind the answer is not given to the next request."""
        for extra in (OK, b"x", b"\x00\x01"):
            self.make()
            work = self.exchange()
            self.answer(OK + extra)
            self.assertEqual(self.successResultOf(work).body, b"hi")
            self.assertEqual(self.pool.idle, 0)
            self.assertTrue(self.endpoint.transports[0].disconnected)

    def test_unasked(self) -> None:
        """AGP-75: octets on an unused connection end it."""
        work = self.exchange()
        self.answer()
        self.successResultOf(work)
        self.answer()
        self.assertEqual(self.pool.idle, 0)

    @given(st.binary(max_size=300))
    def test_anything(self, octets: bytes) -> None:
        """AGP-80: whatever a server sends, there is an answer, a failure, or more to wait for."""
        self.make()
        for start in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"):
            work = self.exchange()
            if start + octets:
                self.answer(start + octets)
            self.clock.advance(40)
            if isinstance(work.result, Failure):
                self.failureResultOf(work, UpstreamFailure)
            else:
                self.successResultOf(work)


class TimeTests(PoolTestCase):
    """Timers."""

    def test_first_byte(self) -> None:
        """AGP-77, AGP-80: ten seconds without an octet: late."""
        work = self.exchange()
        self.clock.advance(9.9)
        self.assertNoResult(work)
        self.clock.advance(0.2)
        self.failed(work, "late")

    def test_whole(self) -> None:
        """AGP-77: thirty seconds for everything, however it trickles."""
        work = self.exchange()
        for i in range(29):
            self.clock.advance(1)
            self.answer(OK[i : i + 1])
        self.assertNoResult(work)
        self.clock.advance(1.1)
        self.failed(work, "late")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancel(self) -> None:
        """AGP-81: who gives up closes the connection and leaves nothing behind."""
        work = self.exchange()
        work.cancel()
        self.failureResultOf(work, CancelledError)
        self.assertTrue(self.endpoint.transports[0].disconnected)
        self.assertEqual((self.clock.getDelayedCalls(), self.pool.busy), ([], 0))

    def test_cancel_connecting(self) -> None:
        """AGP-81: also while the connection is being made."""
        self.endpoint.wait = True
        work = self.exchange()
        work.cancel()
        self.failureResultOf(work, CancelledError)
        self.assertEqual((self.endpoint.cancelled, self.pool.busy), (1, 0))


class ReuseTests(PoolTestCase):
    """Persistent connections."""

    def test_reuse(self) -> None:
        """AGP-78: the next request takes the same connection, after 60 s a new one."""
        for _ in range(3):
            work = self.exchange()
            self.answer()
            self.successResultOf(work)
        self.assertEqual(len(self.endpoint.transports), 1)
        self.clock.advance(59)
        self.assertEqual(self.pool.idle, 1)
        self.clock.advance(1)
        self.assertEqual(self.pool.idle, 0)
        self.assertTrue(self.endpoint.transports[0].disconnected)
        self.exchange()
        self.assertEqual(len(self.endpoint.transports), 2)

    def test_idle_each_by_itself(self) -> None:
        """AGP-78: each connection has its own 60 s."""
        first, second = self.exchange(), self.exchange()
        self.answer(number=0)
        self.clock.advance(5)
        self.answer(number=1)
        self.successResultOf(first)
        self.successResultOf(second)
        self.clock.advance(55)
        self.assertEqual(self.pool.idle, 1)
        self.clock.advance(5)
        self.assertEqual(self.pool.idle, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close(self) -> None:
        """AGP-78: a connection that the server closes, or says it will, is not used again."""
        work = self.exchange()
        self.answer(OK.replace(b"ETag", b"Connection: close\r\nETag"))
        self.successResultOf(work)
        self.assertEqual(self.pool.idle, 0)
        work = self.exchange()
        self.answer()
        self.successResultOf(work)
        self.endpoint.transports[1].abortConnection()
        self.exchange()
        self.assertEqual(len(self.endpoint.transports), 3)

    def test_no_pipelining(self) -> None:
        """AGP-78: one request at a time on a connection."""
        self.exchange()
        self.exchange()
        self.assertEqual([t.value() for t in self.endpoint.transports], [REQUEST, REQUEST])

    def test_limit(self) -> None:
        """AGP-78, AGP-80: so many connections and no more; who waits too long finds it busy."""
        self.make(connections=2, waiting=2, patience=2)
        first, second, third, fourth = (self.exchange() for _ in range(4))
        self.failed(self.exchange(), "busy", sent=False)
        self.assertEqual((len(self.endpoint.transports), self.pool.busy), (2, 2))
        self.answer(number=0)
        self.successResultOf(first)
        self.assertEqual(len(self.endpoint.transports), 2)
        self.assertEqual(self.endpoint.transports[0].value(), REQUEST * 2)
        self.clock.advance(2)
        self.failed(fourth, "busy", sent=False)
        self.answer(number=0)
        self.answer(number=1)
        self.successResultOf(second)
        self.successResultOf(third)
        self.assertEqual(self.pool.busy, 0)

    def test_connect_failures(self) -> None:
        """AGP-79, AGP-80: without a connection nothing was sent."""
        for failure, kind in (
            (error.ConnectionRefusedError(), "refused"),
            (error.TimeoutError(), "late"),
            (error.ConnectingCancelledError(None), "late"),
            (error.NoRouteError(), "unreachable"),
            (error.ConnectError(), "unreachable"),
            (error.DNSLookupError(), "unreachable"),
            (OSError(24, "too many open files"), "unreachable"),
        ):
            self.endpoint.failure = failure
            self.failed(self.exchange(), kind, sent=False)
        self.assertEqual(self.pool.busy, 0)

    def test_stop(self) -> None:
        """Stopping closes every connection; requests under way fail, later ones too."""
        first, second = self.exchange(), self.exchange()
        self.answer(number=0)
        self.successResultOf(first)
        self.successResultOf(self.pool.stop())
        self.failed(second, "reset")
        self.failed(self.exchange(), "busy", sent=False)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.pool.stop())

    def test_stop_while_connecting(self) -> None:
        """Stopping gives up connections that are being made."""
        self.endpoint.wait = True
        work = self.exchange()
        self.successResultOf(self.pool.stop())
        self.failed(work, "busy", sent=False)
        self.assertEqual(self.endpoint.cancelled, 1)
