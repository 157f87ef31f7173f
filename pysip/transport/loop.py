"""In-memory transports with settable faults, for tests of everything above.

They carry octets and parse them like the real ones (both run ``tests/contract``), are
driven by the clock they are given, and with :class:`twisted.internet.task.Clock` and a
seed every run is the same.  ``clock.advance(0)`` delivers what is due.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from pysip.errors import TransportError
from pysip.interfaces import IFlow, ITransport
from pysip.transport.base import Transport, cannot_listen, canonical_host, is_ipv6
from pysip.transport.connections import StreamTransport
from pysip.transport.pipe import Pipe
from pysip.transport.stream import StreamFlow, StreamSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IReactorTime

    from pysip.interfaces import Address, IFlowListener, IMessageReceiver
    from pysip.parse import Limits


class LoopNetwork:
    """A network in memory.

    :ivar loss: share of datagrams lost, 0 to 1.
    :ivar duplicate: share of datagrams that arrive twice.
    :ivar reorder: share of datagrams held back by twice the largest delay, at least 10 ms.
    :ivar delay: least and greatest delay in seconds; streams keep their order.
    :ivar segment: largest number of octets a stream delivers at once; 0 for what was
        written.  With it, every segment has a random size (TRN-16).
    :ivar window: octets under way on a stream before its sender is paused.
    :ivar taps: called with (protocol, source, destination, octets) for all that is sent.
    """

    def __init__(self, clock: IReactorTime, seed: int = 0) -> None:
        """An ideal network.

        :param seed: of the random choices.
        """
        self.clock = clock
        self.random = random.Random(seed)  # noqa: S311 - faults, not secrets
        self.loss = 0.0
        self.duplicate = 0.0
        self.reorder = 0.0
        self.delay = (0.0, 0.0)
        self.segment = 0
        self.window = 65536
        self.taps: list[Callable[[str, Address, Address, bytes], object]] = []
        self._bound: dict[tuple[str, Address], LoopDatagramTransport | LoopStreamTransport] = {}
        self._cuts: set[frozenset[str]] = set()
        self._stalled: set[str] = set()
        self._pipes: list[Pipe] = []
        self._next_port = 49152

    def transport(
        self,
        address: Address,
        protocol: str = "UDP",
        *,
        advertise: str = "",
        limits: Limits | None = None,
        settings: StreamSettings | None = None,
        names: Iterable[str] = (),
    ) -> LoopDatagramTransport | LoopStreamTransport:
        """A transport of this network, not started yet.

        :param address: port 0 is replaced by a free one.
        :param names: domains its TLS certificate would prove.
        """
        if protocol == "UDP":
            return LoopDatagramTransport(self, address, advertise=advertise, limits=limits)
        return LoopStreamTransport(
            self,
            address,
            protocol,
            advertise=advertise,
            limits=limits,
            settings=settings,
            names=names,
        )

    def cut(self, one: str, other: str) -> None:
        """Part two hosts: datagrams vanish, connections break, connects fail."""
        self._cuts.add(frozenset((one, other)))
        self.reset(one, other)

    def heal(self, one: str, other: str) -> None:
        """Join two hosts again."""
        self._cuts.discard(frozenset((one, other)))

    def reset(self, one: str, other: str) -> None:
        """Reset the connections between two hosts; new ones are possible."""
        for pipe in list(self._pipes):
            if {pipe.here[0], pipe.there[0]} == {one, other}:
                pipe.break_off()

    def stall(self, host: str) -> None:
        """Let ``host`` read nothing from its connections any more (TRN-28)."""
        self._stalled.add(host)

    def unstall(self, host: str) -> None:
        """Let ``host`` read again."""
        self._stalled.discard(host)
        for pipe in list(self._pipes):
            pipe.arrive(0)

    def is_stalled(self, address: Address) -> bool:
        """Whether the host of ``address`` does not read."""
        return address[0] in self._stalled

    def is_cut(self, one: Address, other: Address) -> bool:
        """Whether two addresses are parted."""
        return bool(self._cuts) and frozenset((one[0], other[0])) in self._cuts

    def latency(self) -> float:
        """Delay of the next packet in seconds."""
        low, high = self.delay
        return low if low == high else self.random.uniform(low, high)

    def free_port(self) -> int:
        """A port nobody has had."""
        self._next_port += 1
        return self._next_port

    def bind(
        self, protocol: str, transport: LoopDatagramTransport | LoopStreamTransport
    ) -> Deferred[None]:
        """Make ``transport`` reachable; fails when its address is taken."""
        host, port = transport.local
        transport.local = (host, port or self.free_port())
        if (protocol, transport.local) in self._bound:
            return fail(cannot_listen(host, port, OSError("address in use")))
        self._bound[(protocol, transport.local)] = transport
        return succeed(None)

    def unbind(self, protocol: str, transport: LoopDatagramTransport | LoopStreamTransport) -> None:
        """Make ``transport`` unreachable."""
        if self._bound.get((protocol, transport.local)) is transport:
            del self._bound[(protocol, transport.local)]

    def send_datagram(self, data: bytes, flow: LoopFlow, source: LoopDatagramTransport) -> None:
        """Carry one datagram, with the faults that are set."""
        for tap in self.taps:
            tap("UDP", source.local, flow.remote, data)
        if self.is_cut(source.local, flow.remote):
            return
        chance = self.random.random
        copies = 2 if self.duplicate and chance() < self.duplicate else 1
        for _ in range(copies):
            if self.loss and chance() < self.loss:
                continue
            delay = self.latency()
            if self.reorder and chance() < self.reorder:
                delay += max(2 * self.delay[1], 0.01)
            self.clock.callLater(delay, self._arrive, data, flow, source)

    def _arrive(self, data: bytes, flow: LoopFlow, source: LoopDatagramTransport) -> None:
        target = self._bound.get(("UDP", flow.remote))
        if isinstance(target, LoopDatagramTransport):
            target.deliver_datagram(data, target.flow_to(source.local))
        elif not source.stopped:
            source.fail(flow, TransportError("connection refused"))  # ICMP port unreachable

    def open_stream(self, flow: StreamFlow, client: LoopStreamTransport) -> None:
        """Connect ``flow`` to whoever listens, or fail it."""
        call = self.clock.callLater(2 * self.latency(), self._opened, flow, client)

        def cancel() -> None:
            call.cancel()
            flow.connection_failed(TransportError("connect was given up"))

        flow.cancel_connect = cancel

    def _opened(self, flow: StreamFlow, client: LoopStreamTransport) -> None:
        if self.is_cut(client.local, flow.remote):
            flow.connection_failed(TransportError("connect timed out"))
            return
        server = self._bound.get((flow.protocol, flow.remote))
        source = (client.local[0], self.free_port())
        accepted = server.accept(source) if isinstance(server, LoopStreamTransport) else None
        if accepted is None or not isinstance(server, LoopStreamTransport):
            flow.connection_failed(TransportError("connection refused"))
            return
        near, far = (
            Pipe(self, flow, source, flow.remote),
            Pipe(self, accepted, flow.remote, source),
        )
        near.peer, far.peer = far, near
        self._pipes += [near, far]
        flow.names, accepted.names = server.certified, client.certified
        accepted.makeConnection(far)  # type: ignore[no-untyped-call]
        flow.makeConnection(near)  # type: ignore[no-untyped-call]

    def closed(self, pipe: Pipe) -> None:
        """One end of a connection is gone."""
        self._pipes.remove(pipe)


@implementer(IFlow)
class LoopFlow:
    """The way to one peer by datagrams in memory."""

    protocol = "UDP"
    reliable = False
    secure = False
    names: frozenset[str] = frozenset()

    def __init__(self, transport: LoopDatagramTransport, remote: Address) -> None:
        self._transport = transport
        self.remote = remote
        self.closed = False
        self.listeners: set[IFlowListener] = set()

    @property
    def sent_by(self) -> str:
        """Our ``host:port``."""
        return self._transport.sent_by

    def send(self, data: bytes) -> None:
        """Send one datagram; never raises."""
        self._transport.send(data, self)


@implementer(ITransport)
class LoopDatagramTransport(Transport):
    """UDP in memory."""

    protocol = "UDP"

    def __init__(
        self,
        net: LoopNetwork,
        address: Address,
        *,
        advertise: str = "",
        limits: Limits | None = None,
    ) -> None:
        super().__init__(net.clock, address, advertise=advertise, limits=limits)
        self.network = net
        self.stopped = False
        self._flows: dict[Address, LoopFlow] = {}

    def start(self, receiver: IMessageReceiver) -> Deferred[None]:
        """Become reachable."""
        self.receiver = receiver
        return self.network.bind(self.protocol, self)

    def stop(self) -> Deferred[None]:
        """Become unreachable; the listeners of all flows are told."""
        self.stopped = True
        self.network.unbind(self.protocol, self)
        for flow in self._flows.values():
            flow.closed = True
            if flow.listeners:
                self.fail(flow, TransportError("transport is stopped"))
        self._flows.clear()
        return succeed(None)

    def flow_to(self, address: Address, name: str = "") -> LoopFlow:
        """The flow to a numeric ``address``."""
        flow = self._flows.get(address)
        if flow is None:
            host = canonical_host(address[0])
            flow = LoopFlow(self, (host or address[0], address[1]))
            if (
                self.stopped
                or host is None
                or is_ipv6(host) != is_ipv6(self.local[0])
                or not 0 < address[1] < 65536
            ):
                flow.closed = True
                return flow
            flow = self._flows.setdefault(flow.remote, flow)
        return flow

    def send(self, data: bytes, flow: LoopFlow) -> None:
        """Give a datagram to the network."""
        if self.tap is not None:
            self.tap.sent(data, flow)
        if flow.closed or len(data) > 65507:
            self.dropped += 1
            self.fail(flow, TransportError("flow is closed" if flow.closed else "message too long"))
            return
        self.sent += 1
        self.network.send_datagram(data, flow, self)


class LoopStreamTransport(StreamTransport):
    """TCP, or what TLS is when certificates need no cryptography, in memory.

    :ivar certified: domains (and addresses) our certificate proves.
    """

    def __init__(
        self,
        net: LoopNetwork,
        address: Address,
        protocol: str,
        *,
        advertise: str = "",
        limits: Limits | None = None,
        settings: StreamSettings | None = None,
        names: Iterable[str] = (),
    ) -> None:
        self.protocol = protocol
        self.secure = protocol == "TLS"
        self.network = net
        self.certified = frozenset(name.lower() for name in names)
        super().__init__(net.clock, address, advertise=advertise, limits=limits, settings=settings)

    def listen(self) -> Deferred[None]:
        """Become reachable."""
        return self.network.bind(self.protocol, self)

    def stop_listening(self) -> Deferred[None]:
        """Become unreachable."""
        self.network.unbind(self.protocol, self)
        return succeed(None)

    def connect(self, flow: StreamFlow) -> None:
        """Begin to connect."""
        self.network.open_stream(flow, self)

    def connected(self, flow: StreamFlow) -> TransportError | None:
        """Check the name the peer proves."""
        if flow.outbound and flow.name and flow.name not in flow.names:
            return TransportError("certificate does not prove the domain")
        return None
