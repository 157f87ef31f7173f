"""Tests of :mod:`pysip.transport.udp`."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pysip.transport import udp
from pysip.transport.udp import BATCH, UdpTransport
from tests.pysip.transports import Inbox, Listener, message

PEER = ("127.0.0.1", 40001)
OTHER = ("127.0.0.1", 40002)


class FakeSocket:
    """A socket whose behaviour is written down beforehand.

    :ivar incoming: (octets, source) pairs or exceptions, for ``recvfrom``.
    :ivar reports: (extended error, destination) pairs, the error queue.
    :ivar refusals: exceptions for the next calls of ``sendto``.
    """

    family = socket.AF_INET

    def __init__(self) -> None:
        self.incoming: list[Any] = []
        self.reports: list[tuple[bytes, Any]] = []
        self.refusals: list[OSError] = []
        self.sent: list[tuple[bytes, Any]] = []
        self.pending = 0

    def fileno(self) -> int:
        """Any number."""
        return 99

    def recvfrom(self, size: int) -> tuple[bytes, Any]:
        """The next datagram or error."""
        if not self.incoming:
            raise BlockingIOError
        item = self.incoming.pop(0)
        if isinstance(item, OSError):
            raise item
        result: tuple[bytes, Any] = item
        return result

    def sendto(self, data: bytes, address: Any) -> int:
        """Note a datagram, or refuse it."""
        if self.refusals:
            raise self.refusals.pop(0)
        self.sent.append((data, address))
        return len(data)

    def recvmsg(self, size: int, ancillary: int, flags: int) -> Any:
        """The next entry of the error queue."""
        if not self.reports:
            raise BlockingIOError
        data, address = self.reports.pop(0)
        return b"", [(socket.IPPROTO_IP, 11, data)], 0, address

    def getsockopt(self, level: int, option: int) -> int:
        """The pending error."""
        pending, self.pending = self.pending, 0
        return pending

    def close(self) -> None:
        """Nothing to close."""


def icmp(number: int, kind: int, code: int, origin: int = 2) -> bytes:
    """A ``sock_extended_err``."""
    return struct.pack("=IBBBBII", number, origin, kind, code, 0, 0, 0)


class UdpTests(SynchronousTestCase):
    """Edge cases on a scripted socket."""

    def setUp(self) -> None:
        """A transport on a fake socket."""
        self.reactor = MemoryReactorClock()
        self.transport = UdpTransport(self.reactor, "127.0.0.1", 0)  # type: ignore[arg-type]
        self.inbox = Inbox()
        self.successResultOf(self.transport.start(self.inbox))
        real = self.transport._socket
        assert real is not None
        self.reactor.removeReader(self.transport)
        real.close()
        self.socket = FakeSocket()
        self.transport._socket = self.socket  # type: ignore[assignment]
        self.reactor.addReader(self.transport)

    def test_batch_is_bounded(self) -> None:
        """One wake-up reads a bounded number of datagrams, so that timers get their turn."""
        self.socket.incoming = [(message(str(i)), PEER) for i in range(BATCH + 5)]
        self.transport.doRead()
        self.assertEqual(len(self.inbox.requests), BATCH)
        self.transport.doRead()
        self.assertEqual(len(self.inbox.requests), BATCH + 5)

    def test_known_peer_keeps_its_flow(self) -> None:
        """Datagrams of one peer come on one flow object, and ``flow_to`` gives the same."""
        self.socket.incoming = [(message("1"), PEER), (message("2"), PEER), (message("3"), OTHER)]
        self.transport.doRead()
        one, two, three = (flow for _, flow in self.inbox.requests)
        self.assertIs(one, two)
        self.assertIsNot(one, three)
        self.assertIs(self.transport.flow_to(PEER), one)

    def test_keep_alives_are_ignored(self) -> None:
        """TRN-15: line ends, nothing or a few octets are dropped without a word."""
        for data in (b"\r\n\r\n", b"", b"\0", b"\r\n" * 20, b"abc"):
            self.socket.incoming.append((data, PEER))
        self.transport.doRead()
        self.assertEqual((self.inbox.requests, self.inbox.errors), ([], []))
        self.assertEqual((self.transport.dropped, self.transport.received), (5, 0))
        self.assertEqual(self.socket.sent, [], "no CRLF keep-alive on UDP (TRN-12)")

    def test_line_ends_before_a_message(self) -> None:
        """TRN-11: line ends before the start-line are skipped on UDP too."""
        self.socket.incoming = [(b"\r\n\r\n" + message("1"), PEER)]
        self.transport.doRead()
        self.assertEqual(self.inbox.call_ids, ["1"])

    def test_short_datagram(self) -> None:
        """TRN-10: fewer octets than Content-Length are an error, more are dropped."""
        self.socket.incoming = [
            (message("1", b"abc", length=4), PEER),
            (message("2", b"abcd", length=3), PEER),
            (message("3", b"abc", length=-1), PEER),
        ]
        self.transport.doRead()
        self.assertEqual([error.status for error, _ in self.inbox.errors], [400])
        self.assertEqual([r.body for r, _ in self.inbox.requests], [b"abc", b"abc"])

    def test_read_errors_do_not_escape(self) -> None:
        """An error that the kernel reports at a read ends neither reading nor reactor."""
        self.socket.incoming = [
            OSError(errno.ECONNREFUSED, "refused"),
            (message("1"), PEER),
            OSError(errno.EHOSTUNREACH, "unreachable"),
            (message("2"), PEER),
        ]
        self.assertIsNone(self.transport.doRead())  # type: ignore[func-returns-value]
        self.assertEqual(self.inbox.call_ids, ["1", "2"])

    def test_stop_while_reading(self) -> None:
        """A receiver may stop the transport in the middle of a batch."""
        self.inbox.request_received = (  # type: ignore[method-assign]
            lambda request, flow: self.transport.stop()
        )
        self.socket.incoming = [(message("1"), PEER), OSError(errno.EBADF, "closed")]
        self.transport.doRead()
        self.assertEqual(self.transport.fileno(), -1)

    def test_icmp_tells_the_peers_listeners(self) -> None:
        """TRN-25: a port-unreachable report reaches those who sent to that peer, once."""
        dead, alive = self.transport.flow_to(PEER), self.transport.flow_to(OTHER)
        told, spared = Listener(dead), Listener(alive)
        self.socket.reports = [(icmp(errno.ECONNREFUSED, 3, 3), PEER)] * 3
        self.transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(told.errors, [], "never inside the reactor's call")
        self.reactor.advance(0)
        self.assertEqual((told.errors, spared.errors), (["connection refused"], []))
        self.assertFalse(dead.closed, "the peer may come back")

    def test_icmp_that_fails_a_flow(self) -> None:
        """TRN-25: net, host, protocol, port unreachable and parameter problem do."""
        for kind, code in ((3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (12, 0)):
            self.assertTrue(udp._is_unreachable(2, kind, code), (kind, code))
        for kind, code in ((1, 0), (1, 3), (1, 4), (4, 0)):
            self.assertTrue(udp._is_unreachable(3, kind, code), (kind, code))

    def test_icmp_that_is_ignored(self) -> None:
        """TRN-25: source quench, time exceeded and packet too big do not."""
        for kind, code in ((4, 0), (11, 0), (11, 1), (3, 4)):
            self.assertFalse(udp._is_unreachable(2, kind, code), (kind, code))
        for kind, code in ((2, 0), (3, 0)):
            self.assertFalse(udp._is_unreachable(3, kind, code), (kind, code))
        self.assertFalse(udp._is_unreachable(1, 3, 3), "a local error is no ICMP")
        listener = Listener(self.transport.flow_to(PEER))
        self.socket.reports = [(icmp(errno.EHOSTUNREACH, 11, 0), PEER)]
        self.transport.connectionLost(Failure(ConnectionDone()))
        self.reactor.advance(0)
        self.assertEqual(listener.errors, [])

    def test_error_event_is_no_end(self) -> None:
        """What a reactor takes for a closed connection puts the socket back.

        epoll reports EPOLLERR for a filled error queue; Twisted then removes the reader.
        """
        self.reactor.removeReader(self.transport)
        self.transport.connectionLost(Failure(ConnectionDone()))
        self.assertIn(self.transport, self.reactor.getReaders())
        self.reactor.removeReader(self.transport)
        self.transport.connectionLost(Failure(ConnectionLost()))
        self.assertNotIn(self.transport, self.reactor.getReaders())
        self.assertEqual(self.transport.fileno(), -1, "a reactor that shuts down closes it")

    def test_earlier_error_at_a_send(self) -> None:
        """The report of another datagram costs this one nothing: it is sent again."""
        dead = Listener(self.transport.flow_to(PEER))
        flow = self.transport.flow_to(OTHER)
        listener = Listener(flow)
        self.socket.refusals = [OSError(errno.ECONNREFUSED, "refused")]
        self.socket.reports = [(icmp(errno.ECONNREFUSED, 3, 3), PEER)]
        flow.send(b"data")
        self.reactor.advance(0)
        self.assertEqual(self.socket.sent, [(b"data", OTHER)])
        self.assertEqual((dead.errors, listener.errors), (["connection refused"], []))

    def test_send_error(self) -> None:
        """TRN-25: no route, or too long a message, is a failure of the flow."""
        for number, text in (
            (errno.ENETUNREACH, "network is unreachable"),
            (errno.EMSGSIZE, "message too long"),
        ):
            flow = self.transport.flow_to(PEER)
            listener = Listener(flow)
            self.socket.refusals = [OSError(number, "")]
            flow.send(b"data")
            self.reactor.advance(0)
            self.assertEqual(listener.errors, [text])
        self.assertEqual((self.transport.sent, self.transport.dropped), (0, 2))

    def test_full_kernel_buffer(self) -> None:
        """While the kernel takes nothing, datagrams wait in order."""
        flow = self.transport.flow_to(PEER)
        self.socket.refusals = [BlockingIOError(errno.EAGAIN, "")]
        flow.send(b"1")
        flow.send(b"2")
        self.assertEqual(self.socket.sent, [])
        self.assertIn(self.transport, self.reactor.getWriters())
        self.socket.refusals = [BlockingIOError(errno.EAGAIN, "")]
        self.transport.doWrite()
        self.assertEqual(self.socket.sent, [])
        self.transport.doWrite()
        self.assertEqual(self.socket.sent, [(b"1", PEER), (b"2", PEER)])
        self.assertNotIn(self.transport, self.reactor.getWriters())
        self.assertEqual(self.transport.sent, 2)

    def test_full_queue(self) -> None:
        """What finds the queue full is dropped and its flow told: memory stays bounded."""
        self.transport.queue_limit = 3
        waiting, late = self.transport.flow_to(PEER), self.transport.flow_to(OTHER)
        first, newest = Listener(waiting), Listener(late)
        self.socket.refusals = [BlockingIOError(errno.EAGAIN, "")]
        for _ in range(3):
            waiting.send(b"x")
        late.send(b"y")
        self.reactor.advance(0)
        self.assertEqual((first.errors, newest.errors), ([], ["send queue is full"]))
        self.transport.doWrite()
        self.assertEqual(len(self.socket.sent), 3)

    def test_error_while_flushing(self) -> None:
        """A datagram that cannot be sent does not hold up those behind it."""
        flow, other = self.transport.flow_to(PEER), self.transport.flow_to(OTHER)
        listener = Listener(flow)
        self.socket.refusals = [BlockingIOError(errno.EAGAIN, "")]
        flow.send(b"1")
        other.send(b"2")
        self.socket.refusals = [OSError(errno.EPERM, "")]
        self.transport.doWrite()
        self.reactor.advance(0)
        self.assertEqual(self.socket.sent, [(b"2", OTHER)])
        self.assertEqual(listener.errors, ["operation not permitted"])

    def test_flows_are_bounded(self) -> None:
        """The oldest peer is forgotten first, but not one that somebody listens to."""
        self.transport._max_flows = 3
        kept = self.transport.flow_to(("127.0.0.1", 1))
        Listener(kept)
        gone = self.transport.flow_to(("127.0.0.1", 2))
        for port in range(3, 30):
            self.transport.flow_to(("127.0.0.1", port))
        self.assertEqual(len(self.transport._flows), 3)
        self.assertIs(self.transport.flow_to(("127.0.0.1", 1)), kept)
        self.assertIsNot(self.transport.flow_to(("127.0.0.1", 2)), gone)
        gone.send(b"still")
        self.assertEqual(self.socket.sent, [(b"still", ("127.0.0.1", 2))])

    def test_flows_are_bounded_for_all(self) -> None:
        """Even when every flow has a listener the table does not grow."""
        self.transport._max_flows = 10
        for port in range(1, 40):
            Listener(self.transport.flow_to(("127.0.0.1", port)))
        self.assertEqual(len(self.transport._flows), 10)


class UdpSocketTests(SynchronousTestCase):
    """Options of the real socket."""

    def started(self, host: str, **options: Any) -> tuple[UdpTransport, socket.socket]:
        """A transport and its socket."""
        transport = UdpTransport(MemoryReactorClock(), host, 0, **options)  # type: ignore[arg-type]
        self.successResultOf(transport.start(Inbox()))
        self.addCleanup(transport.stop)
        assert transport._socket is not None
        return transport, transport._socket

    def test_dscp(self) -> None:
        """TRN-27: packets are marked CS3 unless configured otherwise, on both families."""
        _, sock = self.started("127.0.0.1")
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2, 24)
        _, sock = self.started("127.0.0.1", dscp=46)
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2, 46)
        _, sock = self.started("127.0.0.1", dscp=0)
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS), 0)
        _, sock = self.started("::1")
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) >> 2, 24)

    def test_buffers(self) -> None:
        """The kernel buffers are as asked for, as far as the system allows."""
        _, sock = self.started("127.0.0.1", buffer=100_000)
        self.assertGreaterEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), 100_000)

    def test_wildcard(self) -> None:
        """Bound to every address, a flow shows the one on the way to its peer (VIA-01)."""
        transport, _ = self.started("0.0.0.0")
        port = transport.local[1]
        self.assertEqual(transport.flow_to(("127.0.0.1", 9)).sent_by, f"127.0.0.1:{port}")
        self.assertNotIn("0.0.0.0", transport.sent_by)
        six, _ = self.started("::")
        self.assertEqual(six.flow_to(("::1", 9)).sent_by, f"[::1]:{six.local[1]}")
        self.assertEqual(six.flow_to(("0:0:0:0:0:0:0:1", 9)).remote, ("::1", 9))

    def test_name_is_never_looked_up(self) -> None:
        """A flow to a name has a sent-by, without asking the system's resolver."""
        transport, _ = self.started("0.0.0.0")
        self.patch(socket, "getaddrinfo", None)
        self.assertIn(":", transport.flow_to(("ps.example.com", 9)).sent_by)

    def test_bad_advertise(self) -> None:
        """A port that is none is refused at once."""
        for text in ("h:x", "h:0", "h:70000", "[::1]:-1"):
            with self.assertRaises(ValueError):
                UdpTransport(MemoryReactorClock(), "127.0.0.1", 0, advertise=text)  # type: ignore[arg-type]
        for text, shown in (("[2001:db8::1]:5070", "[2001:db8::1]:5070"), ("h:99", "h:99")):
            transport = UdpTransport(MemoryReactorClock(), "127.0.0.1", 0, advertise=text)  # type: ignore[arg-type]
            self.assertEqual(transport.sent_by, shown)
        transport = UdpTransport(MemoryReactorClock(), "127.0.0.1", 5060, advertise="2001:db8::1")  # type: ignore[arg-type]
        self.assertEqual(transport.sent_by, "[2001:db8::1]:5060")
