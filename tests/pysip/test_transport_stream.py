"""Tests of :mod:`pysip.transport.stream`, ``connections`` and ``tcp`` without a network."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pysip.errors import TransportError
from pysip.transport.connections import StreamTransport
from pysip.transport.stream import StreamFlow, StreamSettings
from pysip.transport.tcp import TcpTransport
from tests.pysip.transports import Inbox, Listener, message

PEER = ("192.0.2.9", 5060)
PHONE = ("192.0.2.50", 41234)


class FakeStreams(StreamTransport):
    """A stream transport whose connections stand when the test says so."""

    protocol = "TCP"

    def __init__(self, clock: Clock, **settings: Any) -> None:
        super().__init__(clock, ("192.0.2.1", 5060), settings=StreamSettings(**settings))
        self.connecting: list[StreamFlow] = []
        self.given_up: list[StreamFlow] = []

    def listen(self) -> Deferred[None]:
        """Nothing to bind."""
        return succeed(None)

    stop_listening = listen

    def connect(self, flow: StreamFlow) -> None:
        """Wait for :meth:`establish`."""
        self.connecting.append(flow)

        def cancel() -> None:
            self.given_up.append(flow)
            flow.connection_failed(TransportError("given up"))

        flow.cancel_connect = cancel

    def establish(self, flow: StreamFlow) -> StringTransport:
        """Let the connection of ``flow`` stand."""
        wire = StringTransport()
        flow.makeConnection(wire)
        return wire

    def incoming(self, remote: Any) -> tuple[StreamFlow, StringTransport]:
        """A connection from ``remote``."""
        flow = self.accept(remote)
        assert flow is not None
        return flow, self.establish(flow)


class StreamTestCase(SynchronousTestCase):
    """Makes transports."""

    def streams(self, **settings: Any) -> FakeStreams:
        """A started transport."""
        self.clock = Clock()
        transport = FakeStreams(self.clock, **settings)
        self.inbox = Inbox()
        self.successResultOf(transport.start(self.inbox))
        return transport

    def lose(self, flow: StreamFlow, reason: Exception | None = None) -> None:
        """The network closes the connection of ``flow``."""
        flow.connectionLost(Failure(reason or ConnectionDone()))


class FramingTests(StreamTestCase):
    """From octets to messages."""

    def test_one_octet_at_a_time(self) -> None:
        """TRN-16: a message may come in any number of pieces."""
        flow, _ = self.streams().incoming(PHONE)
        for octet in message("1", b"body") + message("2"):
            flow.dataReceived(bytes([octet]))
        self.assertEqual(self.inbox.call_ids, ["1", "2"])
        self.assertEqual(self.inbox.requests[0][0].body, b"body")

    def test_hundred_in_one(self) -> None:
        """TRN-16: one piece may hold many messages."""
        flow, _ = self.streams().incoming(PHONE)
        flow.dataReceived(b"".join(message(str(i)) for i in range(100)))
        self.assertEqual(self.inbox.call_ids, [str(i) for i in range(100)])

    def test_nothing_after_lost_framing(self) -> None:
        """TRN-09: after a message without end nothing more is read, and the peer is closed."""
        flow, wire = self.streams().incoming(PHONE)
        flow.dataReceived(message("1", length=-1) + message("2"))
        flow.dataReceived(message("3"))
        self.assertEqual(len(self.inbox.errors), 1)
        self.assertEqual(self.inbox.requests, [])
        self.assertTrue(wire.disconnecting)
        self.assertTrue(flow.closed)

    def test_body_too_large(self) -> None:
        """TRN-17: a body beyond the limit is not waited for."""
        flow, wire = self.streams().incoming(PHONE)
        flow.dataReceived(message("1", b"start", length=10**9))
        self.assertEqual([error.status for error, _ in self.inbox.errors], [413])
        self.assertTrue(wire.disconnecting)

    def test_readable_fault_keeps_connection(self) -> None:
        """A bad message whose end is known costs the peer nothing else (MSG-17)."""
        flow, wire = self.streams().incoming(PHONE)
        flow.dataReceived(message("1").replace(b"To:", b"Tu:") + message("2"))
        self.assertEqual(len(self.inbox.errors), 1)
        self.assertEqual(self.inbox.call_ids, ["2"])
        self.assertFalse(wire.disconnecting)

    def test_ping(self) -> None:
        """TRN-12: each ping between messages is answered by one CRLF."""
        flow, wire = self.streams().incoming(PHONE)
        flow.dataReceived(b"\r\n\r\n" + message("1") + b"\r\n\r\n\r\n")
        self.assertEqual(wire.value(), b"\r\n\r\n")
        wire.clear()
        flow.dataReceived(b"\r\n")
        self.assertEqual(self.inbox.call_ids, ["1"])

    def test_pings_of_a_peer_that_reads_nothing(self) -> None:
        """Answers to pings do not pile up (TRN-28)."""
        flow, wire = self.streams().incoming(PHONE)
        flow.pauseProducing()
        flow.dataReceived(b"\r\n\r\n" * 1000)
        flow.resumeProducing()
        self.assertEqual(wire.value(), b"\r\n")


class DeadlineTests(StreamTestCase):
    """Peers that take too long."""

    def test_incomplete_message(self) -> None:
        """TRN-18: 32 s after its first octet an incomplete message closes the connection."""
        flow, wire = self.streams().incoming(PHONE)
        self.clock.advance(100)
        flow.dataReceived(message("1")[:50])
        self.clock.advance(31.9)
        self.assertFalse(wire.disconnected)
        self.clock.advance(0.1)
        self.assertTrue(wire.disconnected)
        self.assertTrue(flow.closed)

    def test_body_that_never_comes(self) -> None:
        """TRN-18, TOR-15: a Content-Length beyond what comes ends the same way."""
        flow, wire = self.streams().incoming(PHONE)
        flow.dataReceived(message("1", b"abc", length=9999))
        self.clock.advance(32)
        self.assertTrue(wire.disconnected)

    def test_drops_do_not_extend(self) -> None:
        """TRN-18: octets that trickle in do not move the deadline."""
        flow, wire = self.streams().incoming(PHONE)
        for octet in message("1")[:32]:
            flow.dataReceived(bytes([octet]))
            self.clock.advance(1)
        self.assertTrue(wire.disconnected)

    def test_completion_cancels(self) -> None:
        """A complete message has no deadline; the next one has its own."""
        flow, wire = self.streams().incoming(PHONE)
        data = message("1")
        flow.dataReceived(data[:50])
        self.clock.advance(31)
        flow.dataReceived(data[50:] + data[:50])
        self.clock.advance(31)
        self.assertFalse(wire.disconnected)
        flow.dataReceived(data[50:])
        self.clock.advance(100)
        self.assertFalse(wire.disconnected)
        self.assertEqual(len(self.inbox.requests), 2)

    def test_idle(self) -> None:
        """TRN-19: an idle connection is kept at least its time, then closed."""
        flow, wire = self.streams(idle_timeout=32.0).incoming(PHONE)
        flow.dataReceived(message("1"))
        self.clock.pump([1.0] * 32)
        self.assertFalse(wire.disconnecting)
        self.clock.pump([1.0] * 6)
        self.assertTrue(wire.disconnecting)

    def test_use_extends(self) -> None:
        """TRN-19: what is received or sent starts the time anew."""
        flow, wire = self.streams(idle_timeout=32.0).incoming(PHONE)
        for _ in range(3):
            self.clock.pump([1.0] * 30)
            flow.dataReceived(b"\r\n")
            self.clock.pump([1.0] * 30)
            flow.send(b"x")
        self.assertFalse(wire.disconnecting)

    def test_listeners_keep(self) -> None:
        """TRN-19: a connection with a transaction on it is not idle."""
        flow, wire = self.streams(idle_timeout=32.0).incoming(PHONE)
        listener = Listener(flow)
        self.clock.pump([1.0] * 100)
        self.assertFalse(wire.disconnecting)
        flow.listeners.discard(listener)
        self.clock.pump([1.0] * 40)
        self.assertTrue(wire.disconnecting)

    def test_idle_below_minimum(self) -> None:
        """TRN-19: less than 64*T1 cannot be configured."""
        with self.assertRaises(ValueError):
            StreamSettings(idle_timeout=31)

    def test_close_that_is_not_finished(self) -> None:
        """A peer that does not take what waits at a close is cut off."""
        transport = self.streams(close_timeout=2.0)
        flow, wire = transport.incoming(PHONE)
        flow.pauseProducing()
        flow.send(b"waits")
        flow.close()
        self.assertFalse(wire.disconnecting)
        self.clock.advance(2)
        self.assertTrue(wire.disconnected)

    def test_no_timer_is_left(self) -> None:
        """When all connections are gone, no timer runs."""
        transport = self.streams()
        flow, _ = transport.incoming(PHONE)
        flow.dataReceived(b"MESS")
        self.lose(flow)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class KeepAliveTests(StreamTestCase):
    """TRN-13: pings of our own."""

    def setUp(self) -> None:
        """A connection that is kept alive."""
        transport = self.streams()
        self.flow = transport.flow_to(PEER)
        assert isinstance(self.flow, StreamFlow)
        self.wire = transport.establish(self.flow)
        self.listener = Listener(self.flow)
        self.flow.keep_alive()

    def test_interval(self) -> None:
        """TRN-13: a ping leaves after 95 to 120 s, and again after its pong."""
        assert isinstance(self.flow, StreamFlow)
        for turn in range(1, 4):
            self.clock.advance(94.9)
            self.assertEqual(self.wire.value(), b"\r\n\r\n" * (turn - 1))
            for _ in range(251):
                if self.wire.value() == b"\r\n\r\n" * turn:
                    break
                self.clock.advance(0.1)
            self.assertEqual(self.wire.value(), b"\r\n\r\n" * turn)
            self.flow.dataReceived(b"\r\n")
        self.assertEqual(self.listener.errors, [])

    def test_dead(self) -> None:
        """TRN-13: without a pong within 10 s the flow is dead and its transactions fail."""
        self.clock.pump([0.1] * 1301)
        self.assertTrue(self.wire.disconnected)
        self.assertEqual(self.listener.errors, ["no answer to a keep-alive ping"])

    def test_closed(self) -> None:
        """A closed connection is not pinged."""
        assert isinstance(self.flow, StreamFlow)
        self.lose(self.flow)
        self.flow.keep_alive()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_flow_timer(self) -> None:
        """TRN-13: a Flow-Timer sets other bounds, in place of the first."""
        assert isinstance(self.flow, StreamFlow)
        self.flow.keep_alive(24.0, 30.0)
        self.clock.pump([0.1] * 301)
        self.assertEqual(self.wire.value(), b"\r\n\r\n")


class QueueTests(StreamTestCase):
    """What waits for a connection or a slow reader."""

    def test_one_connect_per_destination(self) -> None:
        """TRN-26: messages to one destination share one connect and leave in order."""
        transport = self.streams()
        for i in range(10):
            transport.flow_to(PEER).send(b"%d;" % i)
        [flow] = transport.connecting
        wire = transport.establish(flow)
        self.assertEqual(wire.value(), b"0;1;2;3;4;5;6;7;8;9;")
        self.assertEqual(transport.sent, 10)
        transport.flow_to(PEER).send(b"10;")
        self.assertTrue(wire.value().endswith(b"9;10;"))
        self.assertEqual(len(transport.connecting), 1)

    def test_newest_fail(self) -> None:
        """TRN-26: beyond 1000 messages the newest fail, and only they."""
        transport = self.streams()
        flow = transport.flow_to(PEER)
        listeners = []
        for i in range(1003):
            listeners.append(Listener(flow))
            flow.send(b"%04d" % i)
        self.clock.advance(0)
        self.assertEqual([i for i, one in enumerate(listeners) if one.errors], [1000, 1001, 1002])
        self.assertTrue(all(len(one.errors) <= 1 for one in listeners))
        self.assertEqual(transport.dropped, 3)
        wire = transport.establish(transport.connecting[0])
        self.assertEqual(len(wire.value()), 4000)

    def test_octets_behind_a_connect(self) -> None:
        """TRN-26: 4 MiB are the other bound."""
        transport = self.streams()
        flow = transport.flow_to(PEER)
        first = Listener(flow)
        for _ in range(4):
            flow.send(bytes(1024 * 1024))
        second = Listener(flow)
        flow.send(b"x")
        self.clock.advance(0)
        self.assertEqual((first.errors, len(second.errors)), ([], 1))

    def test_connect_fails(self) -> None:
        """TRN-25: each listener of a failed connect is told once, and nobody keeps the flow."""
        transport = self.streams()
        flow = transport.flow_to(PEER)
        listeners = [Listener(flow) for _ in range(3)]
        flow.send(b"x")
        transport.connecting[0].connection_failed(TransportError("connection refused"))
        self.clock.advance(0)
        self.assertEqual([one.errors for one in listeners], [["connection refused"]] * 3)
        late = Listener(flow)
        flow.send(b"y")
        self.clock.advance(0)
        self.assertEqual(late.errors, ["connection refused"])
        self.assertEqual(len(listeners[0].errors), 1)
        self.assertIsNot(transport.flow_to(PEER), flow)

    def test_slow_reader(self) -> None:
        """TRN-28: beyond the limit of unsent octets the connection is closed and fails."""
        transport = self.streams(queue_octets=10_000)
        flow, wire = transport.incoming(PHONE)
        listener = Listener(flow)
        flow.pauseProducing()
        for _ in range(10):
            flow.send(bytes(1000))
        self.assertFalse(wire.disconnected)
        flow.send(b"x")
        self.assertTrue(wire.disconnected)
        self.clock.advance(0)
        self.assertEqual(listener.errors, ["peer does not read"])
        self.assertIsNot(transport.flow_to(PHONE), flow)

    def test_reader_that_is_only_late(self) -> None:
        """TRN-28: what fits waits, leaves in order, and frees its room."""
        transport = self.streams(queue_octets=10_000)
        flow, wire = transport.incoming(PHONE)
        for turn in range(5):
            flow.pauseProducing()
            for i in range(9):
                flow.send(b"%d" % (turn * 10 + i) + bytes(1000))
            flow.resumeProducing()
        self.assertFalse(wire.disconnected)
        self.assertEqual(wire.value().replace(b"\0", b"")[:20], b"01234567810111213141")
        self.assertEqual(transport.sent, 45)

    def test_pause_in_the_middle(self) -> None:
        """When the network is full again while the queue is sent, the rest waits on."""
        transport = self.streams()
        flow = transport.flow_to(PEER)
        for _ in range(20):
            flow.send(bytes(20_000))
        wire = StringTransport()
        write = wire.write

        def write_and_pause(data: bytes) -> None:
            write(data)
            transport.connecting[0].pauseProducing()

        wire.write = write_and_pause  # type: ignore[method-assign]
        transport.connecting[0].makeConnection(wire)
        self.assertEqual(len(wire.value()), 60_000)
        transport.connecting[0].resumeProducing()
        self.assertEqual(len(wire.value()), 120_000)

    def test_lost(self) -> None:
        """TRN-25: a reset connection fails what is under way, with a cause."""
        flow, _ = self.streams().incoming(PHONE)
        listener = Listener(flow)
        self.lose(flow, ConnectionLost())
        self.clock.advance(0)
        self.assertEqual(listener.errors, ["connection lost"])

    def test_listener_may_leave(self) -> None:
        """A listener that has left is not told; discarding in the call does no harm."""
        flow, _ = self.streams().incoming(PHONE)
        gone, stays = Listener(flow), Listener(flow)
        self.lose(flow)
        flow.listeners.discard(gone)
        self.clock.advance(0)
        self.assertEqual((gone.errors, len(stays.errors)), ([], 1))


class TableTests(StreamTestCase):
    """Which connection is used."""

    def test_inbound_by_its_source(self) -> None:
        """CLI-08, TRN-20: a Contact with the ephemeral port means the phone's connection."""
        transport = self.streams()
        flow, wire = transport.incoming(PHONE)
        self.assertIs(transport.flow_to(PHONE), flow)
        transport.flow_to(PHONE).send(b"NOTIFY")
        self.assertEqual(wire.value(), b"NOTIFY")
        self.assertEqual(transport.connecting, [])

    def test_inbound_is_not_for_other_ports(self) -> None:
        """TRN-20: the peer's listening port needs a connection of its own."""
        transport = self.streams()
        flow, _ = transport.incoming(PHONE)
        self.assertIsNot(transport.flow_to((PHONE[0], 5060)), flow)
        self.assertEqual(len(transport.connecting), 1)

    def test_gone_inbound(self) -> None:
        """A lost connection is used no more."""
        transport = self.streams()
        flow, _ = transport.incoming(PHONE)
        self.lose(flow)
        self.assertIsNot(transport.flow_to(PHONE), flow)

    def test_spelling_of_ipv6(self) -> None:
        """Two spellings of an address are one destination (TRN-20)."""
        transport = self.streams()
        transport.local = ("2001:db8::1", 5060)
        flow = transport.flow_to(("2001:DB8:0::9", 5060))
        self.assertIs(transport.flow_to(("2001:db8::9", 5060)), flow)
        self.assertEqual(flow.remote, ("2001:db8::9", 5060))

    def test_too_many(self) -> None:
        """Connections are bounded, in all and per peer; a closed one makes room."""
        transport = self.streams(max_connections=3, max_per_peer=2)
        first, _ = transport.incoming(("192.0.2.50", 1))
        transport.incoming(("192.0.2.50", 2))
        self.assertIsNone(transport.accept(("192.0.2.50", 3)))
        transport.incoming(("192.0.2.51", 1))
        self.assertIsNone(transport.accept(("192.0.2.52", 1)))
        flow = transport.flow_to(PEER)
        listener = Listener(flow)
        flow.send(b"x")
        self.clock.advance(0)
        self.assertEqual(listener.errors, ["too many connections"])
        self.assertEqual(transport.refused, 3)
        self.lose(first)
        transport.incoming(("192.0.2.50", 3))

    def test_alias_needs_a_certificate(self) -> None:
        """TRN-20, RFC 5923 section 8.2: without a proven name ``alias`` does nothing."""
        transport = self.streams()
        transport.secure = True
        flow, _ = transport.incoming(PHONE)
        transport.add_alias(flow, 5061)
        self.assertIsNot(transport.flow_to((PHONE[0], 5061), "example.net"), flow)

    def test_alias(self) -> None:
        """TRN-20: with ``alias``, address and proven name must both match."""
        transport = self.streams()
        transport.secure = True
        flow, _ = transport.incoming(PHONE)
        flow.names = frozenset(("example.net",))
        transport.add_alias(flow, 5061)
        self.assertIs(transport.flow_to((PHONE[0], 5061), "Example.NET"), flow)
        self.assertIsNot(transport.flow_to((PHONE[0], 5061), "example.org"), flow)
        self.assertIsNot(transport.flow_to((PHONE[0], 5062), "example.net"), flow)
        self.lose(flow)
        self.assertIsNot(transport.flow_to((PHONE[0], 5061), "example.net"), flow)

    def test_stop_waits(self) -> None:
        """``stop`` fires when the last connection is gone, and pending connects end."""
        transport = self.streams()
        flow, wire = transport.incoming(PHONE)
        pending = transport.flow_to(PEER)
        listener = Listener(pending)
        done = transport.stop()
        again = transport.stop()
        self.assertNoResult(done)
        self.assertEqual(transport.given_up, [pending])
        self.assertTrue(wire.disconnecting)
        self.lose(flow)
        self.successResultOf(done)
        self.successResultOf(again)
        self.assertIsNone(transport.accept(PHONE))
        self.clock.advance(0)
        self.assertEqual(listener.errors, ["transport is stopped"])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TcpTests(SynchronousTestCase):
    """What :class:`TcpTransport` asks of the reactor."""

    def setUp(self) -> None:
        """A transport on a reactor in memory."""
        self.reactor = MemoryReactorClock()
        self.transport = TcpTransport(self.reactor, "192.0.2.1", 5060)  # type: ignore[arg-type]

    def test_connect(self) -> None:
        """A connect leaves from the address that is bound, with a time-out."""
        self.transport.flow_to(PEER)
        [(host, port, _, timeout, source)] = self.reactor.tcpClients
        self.assertEqual((host, port), PEER)
        self.assertEqual(timeout, 10)
        self.assertEqual(source, ("192.0.2.1", 0))

    def test_causes(self) -> None:
        """TRN-25: refusal and time-out are told in words."""
        for error, text in (
            (ConnectionRefusedError(), "connection refused"),
            (TimeoutError(), "connect timed out"),
            (OSError(), "connection failed"),
        ):
            flow = self.transport.flow_to(PEER)
            listener = Listener(flow)
            factory = self.reactor.tcpClients[-1][2]
            factory.clientConnectionFailed(None, Failure(error))  # type: ignore[arg-type]
            self.reactor.advance(0)
            self.assertEqual(listener.errors, [text])
