"""Contract of :class:`pysip.interfaces.ITransport`: the same cases for every transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from pysip.interfaces import IFlow, ITransport
from pysip.transport.credentials import TlsSettings, load_credentials, load_trust_roots
from pysip.transport.loop import LoopNetwork
from pysip.transport.tcp import TcpTransport
from pysip.transport.tls import TlsTransport
from pysip.transport.udp import UdpTransport
from tests.certificates import issue, make_ca
from tests.pysip.transports import RESPONSE, Inbox, Listener, message

if TYPE_CHECKING:
    from collections.abc import Callable


class TransportContract:
    """The cases; a subclass makes transports."""

    host = "127.0.0.1"
    other = "127.0.0.1"
    protocol = "UDP"
    reliable = False
    secure = False

    def make(self: Any, host: str, port: int = 0, advertise: str = "") -> Any:
        """A transport that is not started."""
        raise NotImplementedError

    async def until(self: Any, true: Callable[[], object]) -> None:
        """Let the network work until ``true()``."""
        from twisted.internet import reactor

        for _ in range(400):
            if true():
                return
            await deferLater(reactor, 0.005)
        self.fail("it did not happen within two seconds")

    async def settle(self: Any) -> None:
        """Let the network work for a moment, to see that nothing happens."""
        from twisted.internet import reactor

        await deferLater(reactor, 0.05)

    async def started(self: Any, host: str, port: int = 0, advertise: str = "") -> Any:
        """A started transport with an Inbox, stopped after the test."""
        transport = self.make(host, port, advertise)
        await transport.start(Inbox())
        self.addCleanup(self.stopped, transport)
        return transport

    async def stopped(self: Any, transport: Any) -> None:
        """Stop ``transport`` completely."""
        done: list[None] = []
        transport.stop().addCallback(done.append)
        await self.until(lambda: done)

    async def pair(self: Any) -> tuple[Any, Any]:
        """Two started transports."""
        return await self.started(self.host), await self.started(self.other)

    async def received(self: Any, transport: Any, count: int = 1) -> Any:
        """Wait for ``count`` requests."""
        await self.until(lambda: len(transport.receiver.requests) >= count)
        return transport.receiver.requests

    def test_interfaces(self: Any) -> Deferred[None]:
        """Transport and flow provide what their interfaces say."""

        async def go() -> None:
            a, b = await self.pair()
            verifyObject(ITransport, a)
            flow = a.flow_to(b.local)
            verifyObject(IFlow, flow)
            for thing in (a, flow):
                self.assertEqual(thing.protocol, self.protocol)
                self.assertEqual(thing.reliable, self.reliable)
                self.assertEqual(thing.secure, self.secure)
            self.assertEqual(flow.remote, b.local)
            self.assertFalse(flow.closed)

        return Deferred.fromCoroutine(go())

    def test_port_is_real(self: Any) -> Deferred[None]:
        """Once started, port 0 is replaced, and ``sent_by`` shows it (TRN-03 for brackets)."""

        async def go() -> None:
            a = await self.started(self.host)
            host, port = a.local
            self.assertGreater(port, 0)
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self.assertEqual(a.sent_by, shown)
            self.assertEqual(a.flow_to((self.other, 5060)).sent_by, shown)

        return Deferred.fromCoroutine(go())

    def test_advertise(self: Any) -> Deferred[None]:
        """``advertise`` replaces the host, and the port if it has one, on flows as well."""

        async def go() -> None:
            a = await self.started(self.host, 0, "ps.example.com:5070")
            b = await self.started(self.host, 0, "ps.example.com")
            self.assertEqual(a.sent_by, "ps.example.com:5070")
            self.assertEqual(b.sent_by, f"ps.example.com:{b.local[1]}")
            self.assertEqual(a.flow_to(b.local).sent_by, "ps.example.com:5070")

        return Deferred.fromCoroutine(go())

    def test_address_in_use(self: Any) -> Deferred[None]:
        """A second listener on an address fails, and says so in the Deferred."""

        async def go() -> None:
            a = await self.started(self.host)
            second = self.make(*a.local)
            await self.assertFailure(second.start(Inbox()), CannotListenError)

        return Deferred.fromCoroutine(go())

    def test_there_and_back(self: Any) -> Deferred[None]:
        """A request arrives whole; what is sent on its flow comes back on ours (TRN-29)."""

        async def go() -> None:
            a, b = await self.pair()
            flow = a.flow_to(b.local)
            flow.send(message("there", b"body\0\xff"))
            [(request, back)] = await self.received(b)
            self.assertEqual((request.method, request.call_id), ("MESSAGE", "there"))
            self.assertEqual(request.body, b"body\0\xff")
            self.assertEqual(back.protocol, self.protocol)
            back.send(RESPONSE)
            await self.until(lambda: a.receiver.responses)
            [(response, where)] = a.receiver.responses
            self.assertEqual(response.status, 200)
            self.assertIs(where, flow)
            self.assertEqual((a.sent, a.received, b.sent, b.received), (1, 1, 1, 1))

        return Deferred.fromCoroutine(go())

    def test_same_flow(self: Any) -> Deferred[None]:
        """Flows to one address are one flow (TRN-20)."""

        async def go() -> None:
            a, b = await self.pair()
            flow = a.flow_to(b.local)
            self.assertIs(a.flow_to(b.local), flow)
            flow.send(message("1"))
            [(_, back)] = await self.received(b)
            self.assertIs(a.flow_to(b.local), flow)
            a.flow_to(b.local).send(message("2"))
            (_, again) = (await self.received(b, 2))[1]
            self.assertIs(again, back)

        return Deferred.fromCoroutine(go())

    def test_request_targets_flow(self: Any) -> Deferred[None]:
        """An address equal to a peer's source address means its flow (TRN-20, CLI-08)."""

        async def go() -> None:
            a, b = await self.pair()
            a.flow_to(b.local).send(message("1"))
            [(_, back)] = await self.received(b)
            self.assertIs(b.flow_to(back.remote), back)
            self.assertIs(b.flow_to(back.remote, back.remote[0]), back)

        return Deferred.fromCoroutine(go())

    def test_many_in_order(self: Any) -> Deferred[None]:
        """Messages sent at once arrive one by one, before and after connecting (TRN-16)."""

        async def go() -> None:
            a, b = await self.pair()
            flow = a.flow_to(b.local)
            for i in range(50):
                flow.send(message(str(i), b"x" * i))
            await self.received(b, 50)
            for i in range(50, 100):
                flow.send(message(str(i), b"x" * i))
            await self.received(b, 100)
            self.assertEqual(b.receiver.call_ids, [str(i) for i in range(100)])

        return Deferred.fromCoroutine(go())

    def test_large(self: Any) -> Deferred[None]:
        """A message near the largest datagram arrives (TRN-04)."""

        async def go() -> None:
            a, b = await self.pair()
            a.flow_to(b.local).send(message("1", bytes(60000)))
            [(request, _)] = await self.received(b)
            self.assertEqual(len(request.body), 60000)

        return Deferred.fromCoroutine(go())

    def test_malformed(self: Any) -> Deferred[None]:
        """What is no proper message goes to ``malformed`` with its flow (MSG-17)."""

        async def go() -> None:
            a, b = await self.pair()
            bad = message("1").replace(b"Call-ID: 1\r\n", b"")
            a.flow_to(b.local).send(bad)
            await self.until(lambda: b.receiver.errors)
            [(error, flow)] = b.receiver.errors
            self.assertEqual(error.status, 400)
            self.assertEqual((b.malformed, b.received), (1, 1))
            flow.send(RESPONSE)
            await self.until(lambda: a.receiver.responses)

        return Deferred.fromCoroutine(go())

    def test_fault_above(self: Any) -> Deferred[None]:
        """An exception of the receiver is logged and stops neither peer nor transport."""

        async def go() -> None:
            a, b = await self.pair()
            b.receiver.fault = ZeroDivisionError()
            a.flow_to(b.local).send(message("1"))
            await self.received(b)
            a.flow_to(b.local).send(message("2"))
            await self.received(b, 2)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

        return Deferred.fromCoroutine(go())

    def test_nobody_there(self: Any) -> Deferred[None]:
        """Each listener learns once, and not inside ``send``, that nobody listens (TRN-25)."""

        async def go() -> None:
            a, b = await self.pair()
            address = b.local
            await self.stopped(b)
            flow = a.flow_to(address)
            one, two = Listener(flow), Listener(flow)
            flow.send(message())
            self.assertEqual(one.errors, [])
            await self.until(lambda: one.errors)
            await self.settle()
            self.assertEqual(one.errors, ["connection refused"])
            self.assertEqual(two.errors, ["connection refused"])

        return Deferred.fromCoroutine(go())

    def test_listener_faults(self: Any) -> Deferred[None]:
        """A listener that raises keeps the news from nobody."""

        async def go() -> None:
            a, b = await self.pair()
            address = b.local
            await self.stopped(b)
            flow = a.flow_to(address)
            listeners = [Listener(flow) for _ in range(3)]
            listeners[0].flow_failed = None  # type: ignore[assignment,method-assign]
            flow.send(message())
            await self.until(lambda: listeners[1].errors and listeners[2].errors)
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
            flow.listeners.clear()

        return Deferred.fromCoroutine(go())

    def test_address_of_no_use(self: Any) -> Deferred[None]:
        """A name, another address family or port 0 gives a flow on which sending fails."""

        async def go() -> None:
            a = await self.started(self.host)
            wrong = "127.0.0.1" if ":" in self.host else "::1"
            for address in (("ps.example.com", 5060), (wrong, 5060), (self.host, 0)):
                flow = a.flow_to(address)
                listener = Listener(flow)
                flow.send(message())
                await self.until(lambda listener=listener: listener.errors)
                self.assertTrue(flow.closed)
            self.assertEqual(a.sent, 0)
            self.assertEqual(a.dropped, 3)

        return Deferred.fromCoroutine(go())

    def test_stop(self: Any) -> Deferred[None]:
        """After ``stop`` flows are closed, listeners told, and sending fails."""

        async def go() -> None:
            a, b = await self.pair()
            flow = a.flow_to(b.local)
            listener = Listener(flow)
            flow.send(message())
            await self.received(b)
            await self.stopped(a)
            await self.until(lambda: listener.errors)
            self.assertEqual(listener.errors, ["transport is stopped"])
            self.assertTrue(flow.closed)
            flow.listeners.clear()
            new = a.flow_to(b.local)
            late = Listener(flow), Listener(new)
            flow.send(message())
            new.send(message())
            await self.until(lambda: late[0].errors and late[1].errors)
            await self.stopped(a)
            self.assertEqual(listener.errors, ["transport is stopped"])
            self.assertTrue(new.closed)
            self.assertEqual(len(b.receiver.requests), 1)

        return Deferred.fromCoroutine(go())


class UdpContractTests(TransportContract, TestCase):
    """UDP on loopback."""

    def make(self, host: str, port: int = 0, advertise: str = "") -> UdpTransport:
        """A UDP transport."""
        from twisted.internet import reactor

        return UdpTransport(reactor, host, port, advertise=advertise)  # type: ignore[arg-type]


class Udp6ContractTests(UdpContractTests):
    """UDP over IPv6 (TRN-03)."""

    host = other = "::1"


class StreamContract(TransportContract):
    """More cases for stream transports."""

    protocol = "TCP"
    reliable = True

    def test_connection_refused_closes(self: Any) -> Deferred[None]:
        """A flow that could not connect is closed; the next try is a new one (TRN-25)."""

        async def go() -> None:
            a, b = await self.pair()
            address = b.local
            await self.stopped(b)
            flow = a.flow_to(address)
            listener = Listener(flow)
            await self.until(lambda: listener.errors)
            self.assertTrue(flow.closed)
            self.assertEqual(flow.listeners, set())
            self.assertIsNot(a.flow_to(address), flow)

        return Deferred.fromCoroutine(go())

    def test_peer_closes(self: Any) -> Deferred[None]:
        """When the peer closes, the listeners learn it once; the next request reconnects."""

        async def go() -> None:
            a, b = await self.pair()
            flow = a.flow_to(b.local)
            listener = Listener(flow)
            flow.send(message("1"))
            [(_, back)] = await self.received(b)
            back.close()
            await self.until(lambda: listener.errors)
            self.assertEqual(listener.errors, ["connection closed by peer"])
            a.flow_to(b.local).send(message("2"))
            await self.received(b, 2)

        return Deferred.fromCoroutine(go())

    def test_peer_resets(self: Any) -> Deferred[None]:
        """A reset is told as well (TRN-25)."""

        async def go() -> None:
            a, b = await self.pair()
            flow = a.flow_to(b.local)
            listener = Listener(flow)
            flow.send(message("1"))
            [(_, back)] = await self.received(b)
            back.transport.abortConnection()
            await self.until(lambda: listener.errors)
            self.assertEqual(len(listener.errors), 1)
            self.assertTrue(flow.closed)

        return Deferred.fromCoroutine(go())

    def test_local(self: Any) -> Deferred[None]:
        """A flow knows its own address once the connection stands, and ever after."""

        async def go() -> None:
            a, b = await self.pair()
            flow = a.flow_to(b.local)
            self.assertIsNone(flow.local)
            listener = Listener(flow)
            flow.send(message("1"))
            [(_, back)] = await self.received(b)
            self.assertEqual((flow.local, back.local), (back.remote, b.local))
            flow.close()
            await self.until(lambda: listener.errors)
            await self.settle()
            self.assertEqual(flow.local, back.remote)

        return Deferred.fromCoroutine(go())

    def test_close_sends_first(self: Any) -> Deferred[None]:
        """What was sent before ``close`` arrives."""

        async def go() -> None:
            a, b = await self.pair()
            flow = a.flow_to(b.local)
            flow.send(message("1"))
            await self.received(b)
            for i in range(100):
                flow.send(message(str(i), bytes(10000)))
            flow.close()
            await self.received(b, 101)

        return Deferred.fromCoroutine(go())

    def test_framing_lost(self: Any) -> Deferred[None]:
        """Without Content-Length: ``malformed``, the answer leaves, the connection closes.

        TRN-09.
        """

        async def go() -> None:
            a, b = await self.pair()
            receive = b.receiver.malformed

            def answer(error: Any, flow: Any) -> None:
                receive(error, flow)
                flow.send(RESPONSE)

            b.receiver.malformed = answer
            flow = a.flow_to(b.local)
            listener = Listener(flow)
            flow.send(message("1", length=-1) + message("2"))
            await self.until(lambda: listener.errors)
            self.assertEqual(len(b.receiver.errors), 1)
            self.assertEqual(len(a.receiver.responses), 1)
            self.assertEqual(b.receiver.requests, [])

        return Deferred.fromCoroutine(go())

    def test_ping(self: Any) -> Deferred[None]:
        """A double CRLF is answered by one CRLF at once, a single one not (TRN-12)."""

        async def go() -> None:
            a, b = await self.pair()
            flow = a.flow_to(b.local)
            flow.send(message("1"))
            [(_, back)] = await self.received(b)
            seen: list[bytes] = []
            framed = flow.dataReceived

            def note(data: bytes) -> None:
                seen.append(data)
                framed(data)

            flow.dataReceived = note
            flow.send(b"\r\n\r\n")
            await self.until(lambda: seen)
            flow.send(b"\r\n")
            await self.settle()
            self.assertEqual(b"".join(seen), b"\r\n")
            self.assertFalse(back.closed)

        return Deferred.fromCoroutine(go())


class TcpContractTests(StreamContract, TestCase):
    """TCP on loopback."""

    def make(self, host: str, port: int = 0, advertise: str = "") -> TcpTransport:
        """A TCP transport."""
        from twisted.internet import reactor

        return TcpTransport(reactor, host, port, advertise=advertise)  # type: ignore[arg-type]


class Tcp6ContractTests(TcpContractTests):
    """TCP over IPv6 (TRN-03)."""

    host = other = "::1"


class TlsContractTests(StreamContract, TestCase):
    """TLS on loopback, with certificates for the addresses."""

    protocol = "TLS"
    secure = True

    def setUp(self) -> None:
        """Make certificates."""
        ca = make_ca()
        mine = issue(ca, ["127.0.0.1", "::1"])
        self.tls = TlsSettings(
            credentials=load_credentials(mine.certificate, mine.key),
            trust_roots=load_trust_roots([ca.file]),
        )

    def make(self, host: str, port: int = 0, advertise: str = "") -> TlsTransport:
        """A TLS transport."""
        from twisted.internet import reactor

        return TlsTransport(reactor, host, port, self.tls, advertise=advertise)  # type: ignore[arg-type]


class _LoopMixin:
    host = "192.0.2.1"
    other = "192.0.2.2"
    protocol = "UDP"

    def setUp(self) -> None:
        """Make a network."""
        self.clock = Clock()
        self.network = LoopNetwork(self.clock, seed=1)

    def make(self: Any, host: str, port: int = 0, advertise: str = "") -> Any:
        """A transport in memory."""
        return self.network.transport(
            (host, port), self.protocol, advertise=advertise, names=[host]
        )

    async def until(self: Any, true: Callable[[], object]) -> None:
        """Advance the clock."""
        for _ in range(50):
            if true():
                return
            self.clock.advance(0.1)
        self.fail("it did not happen within five seconds")

    async def settle(self: Any) -> None:
        """Advance the clock a little."""
        self.clock.advance(0.1)


class LoopUdpContractTests(_LoopMixin, TransportContract, TestCase):
    """Datagrams in memory."""


class LoopTcpContractTests(_LoopMixin, StreamContract, TestCase):
    """Streams in memory, delivered in random segments (TRN-16)."""

    protocol = "TCP"

    def setUp(self) -> None:
        """Make a network with segments."""
        super().setUp()
        self.network.segment = 700


class LoopTlsContractTests(_LoopMixin, StreamContract, TestCase):
    """Secure streams in memory."""

    protocol = "TLS"
    secure = True
