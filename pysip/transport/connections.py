"""The table of connections of a stream transport.

Requirements TRN-19, TRN-20, TRN-26 and CLI-08: who may use which connection, how many
there may be, and when an idle one is closed.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from pysip.errors import TransportError
from pysip.interfaces import ITransport
from pysip.transport.base import Transport, canonical_host, is_ipv6
from pysip.transport.identity import identity_asked
from pysip.transport.stream import StreamFlow, StreamSettings

if TYPE_CHECKING:
    from pysip.interfaces import Address, IFlow, IFlowListener, IMessageReceiver
    from pysip.parse import Limits

_Key = tuple[str, int, str]
"""Host, port and the identity asked for ("" where there is none to prove)."""


@implementer(ITransport)
class StreamTransport(Transport):
    """Base of the stream transports; subclasses listen and connect.

    :ivar settings: bounds and time-outs.
    :ivar refused: connections not accepted or not opened for want of room.
    """

    reliable = True

    def __init__(
        self,
        clock: IReactorTime,
        address: Address,
        *,
        advertise: str = "",
        limits: Limits | None = None,
        settings: StreamSettings | None = None,
    ) -> None:
        """Keep the settings; see :class:`pysip.transport.base.Transport`."""
        super().__init__(clock, address, advertise=advertise, limits=limits)
        self.settings = settings or StreamSettings()
        self.refused = 0
        self._open: dict[StreamFlow, None] = {}
        self._outbound: dict[_Key, StreamFlow] = {}
        self._inbound: dict[Address, StreamFlow] = {}
        self._aliases: dict[_Key, StreamFlow] = {}
        self._per_peer: Counter[str] = Counter()
        self._sweeper: IDelayedCall | None = None
        self._stopping: Deferred[None] | None = None

    # -- for subclasses

    def listen(self) -> Deferred[None]:
        """Bind and set ``local``."""
        raise NotImplementedError

    def stop_listening(self) -> Deferred[None]:
        """Accept no more connections; fires when the socket is closed."""
        raise NotImplementedError

    def connect(self, flow: StreamFlow) -> None:
        """Begin to connect; ends in ``makeConnection`` or ``connection_failed``."""
        raise NotImplementedError

    def make_flow(self, remote: Address, *, outbound: bool, name: str = "") -> StreamFlow:
        """A new flow of the right class."""
        return StreamFlow(self, remote, outbound=outbound, name=name)

    def connected(self, flow: StreamFlow) -> TransportError | None:
        """The connection of ``flow`` stands; an error when it may not be used."""
        return None

    # -- identities (TLS)

    def _identity(self, name: str, host: str) -> str:
        """What the peer has to prove for a request to ``name``; "" for nothing."""
        return identity_asked(name, host) if self.secure else ""

    def _proves(self, flow: StreamFlow, identity: str) -> bool:
        """Whether requests for ``identity`` may go over the inbound ``flow``.

        A numeric identity is the peer's address itself, so the request targets the flow
        and nothing else: no certificate is asked of a phone.
        """
        return not identity or identity in flow.names or identity == flow.remote[0]

    # -- ITransport

    def start(self, receiver: IMessageReceiver) -> Deferred[None]:
        """Bind and listen; see :meth:`pysip.interfaces.ITransport.start`."""
        self.receiver = receiver
        return self.listen()

    def flow_to(self, address: Address, name: str = "") -> IFlow:
        """The connection to ``address``; a new one is opened if there is none (TRN-20).

        An inbound connection is used when ``address`` is its very remote address: then
        the request targets the flow (a phone's Contact with its ephemeral port, CLI-08).
        """
        host, port = address
        identity = self._identity(name, host)
        flow = self._find(address, identity)
        if flow is not None:
            return flow
        numeric = canonical_host(host)
        if numeric is not None and numeric != host:
            address = (numeric, port)
            flow = self._find(address, identity)
            if flow is not None:
                return flow
        flow = self.make_flow(address, outbound=True, name=identity)
        if numeric is None or is_ipv6(numeric) != is_ipv6(self.local[0]) or not 0 < port < 65536:
            flow.refuse(TransportError("address cannot be reached by this transport"))
        elif self._stopping is not None:
            flow.refuse(TransportError("transport is stopped"))
        elif len(self._open) >= self.settings.max_connections:
            self.refused += 1
            flow.refuse(TransportError("too many connections"))
        else:
            self._outbound[(*address, identity)] = flow
            self._track(flow)
            self.connect(flow)
        return flow

    def _find(self, address: Address, identity: str) -> StreamFlow | None:
        key = (*address, identity)
        flow = self._outbound.get(key)
        if flow is None:
            flow = self._inbound.get(address)
            if flow is None or not self._proves(flow, identity):
                flow = self._aliases.get(key)
        return flow

    def stop(self) -> Deferred[None]:
        """Close everything; fires when no socket is left."""
        if self._stopping is None:
            self._stopping = Deferred()
            self.stop_listening().addBoth(self._close_all)
        done: Deferred[None] = Deferred()
        self._stopping.addCallback(_pass_on, done)
        return done

    def _close_all(self, _: object) -> None:
        for flow in list(self._open):
            flow.close(TransportError("transport is stopped"))
        self._stop_sweeping()
        self._check_stopped()

    def _check_stopped(self) -> None:
        if self._stopping is not None and not self._stopping.called and not self._open:
            self._stopping.callback(None)

    # -- called by the flows

    def accept(self, remote: Address) -> StreamFlow | None:
        """A flow for a connection from ``remote``, or None when there is no room."""
        host = remote[0]
        if (
            self._stopping is not None
            or len(self._open) >= self.settings.max_connections
            or self._per_peer[host] >= self.settings.max_per_peer
        ):
            self.refused += 1
            return None
        self._per_peer[host] += 1
        flow = self.make_flow(remote, outbound=False)
        self._track(flow)
        return flow

    def ready(self, flow: StreamFlow) -> None:
        """Messages may flow on ``flow`` (with TLS: its peer is verified)."""
        if not flow.outbound:
            self._inbound[flow.remote] = flow

    def add_alias(self, flow: StreamFlow, port: int) -> None:
        """Let requests to ``port`` of the peer use ``flow`` (RFC 5923, TRN-20).

        To be called for a request whose top Via has ``alias``; without a verified
        certificate it does nothing.

        :param port: port of the Via's sent-by.
        """
        for name in flow.names:
            key = (flow.remote[0], port, name)
            self._aliases[key] = flow
            flow.aliases.add(key)

    def forget(self, flow: StreamFlow) -> None:
        """``flow`` takes no more messages: offer it to nobody."""
        for key in flow.aliases:
            if self._aliases.get(key) is flow:
                del self._aliases[key]
        if flow.outbound:
            key = (*flow.remote, flow.name)
            if self._outbound.get(key) is flow:
                del self._outbound[key]
        elif self._inbound.get(flow.remote) is flow:
            del self._inbound[flow.remote]

    def gone(self, flow: StreamFlow) -> None:
        """The connection of ``flow`` is closed on the network as well."""
        if flow not in self._open:
            return
        del self._open[flow]
        if not flow.outbound:
            host = flow.remote[0]
            self._per_peer[host] -= 1
            if not self._per_peer[host]:
                del self._per_peer[host]
        if not self._open:
            self._stop_sweeping()
        self._check_stopped()

    def fail_some(self, flow: IFlow, listeners: set[IFlowListener], error: TransportError) -> None:
        """Tell only some listeners of ``flow``, in the next reactor turn."""
        if listeners:
            self.clock.callLater(0, self.tell, flow, list(listeners), error)

    @property
    def connections(self) -> int:
        """Connections there are, those being opened as well."""
        return len(self._open)

    # -- idle connections

    def _track(self, flow: StreamFlow) -> None:
        self._open[flow] = None
        flow.idle_since = self.clock.seconds()
        if self._sweeper is None:
            self._sweeper = self.clock.callLater(self._sweep_interval, self._sweep)

    @property
    def _sweep_interval(self) -> float:
        return self.settings.idle_timeout / 16

    def _sweep(self) -> None:
        """Close what was idle for too long (TRN-19)."""
        now = self.clock.seconds()
        self._sweeper = self.clock.callLater(self._sweep_interval, self._sweep)
        for flow in list(self._open):
            if flow.used or flow.listeners:
                flow.used = False
                flow.idle_since = now
            elif now - flow.idle_since >= self.settings.idle_timeout:
                flow.close(TransportError("connection was idle"))

    def _stop_sweeping(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None


def _pass_on(result: None, to: Deferred[None]) -> None:
    to.callback(None)
