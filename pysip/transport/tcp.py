"""SIP over TCP (RFC 3261 section 18): listening and connecting."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IListeningPort,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import ClientFactory, ServerFactory

from pysip.errors import TransportError
from pysip.transport.base import (
    DSCP_CS3,
    IStreamReactor,
    bound_socket,
    cannot_listen,
    is_wildcard,
    set_dscp,
)
from pysip.transport.connections import StreamTransport
from pysip.transport.stream import StreamFlow, StreamSettings, failure_text

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from pysip.parse import Limits

BACKLOG = 1024
"""Connections the kernel holds until they are accepted."""


class TcpTransport(StreamTransport):
    """A TCP listening point and the connections opened from it."""

    protocol = "TCP"

    def __init__(
        self,
        reactor: IStreamReactor,
        interface: str,
        port: int,
        *,
        advertise: str = "",
        dscp: int = DSCP_CS3,
        limits: Limits | None = None,
        settings: StreamSettings | None = None,
    ) -> None:
        """Keep the settings; :meth:`start` binds.

        :param interface: numeric address; ``0.0.0.0`` or ``::`` for all of a family.
        :param advertise: ``host`` or ``host:port`` for Via.
        :param dscp: differentiated services code point, 0 for none (TRN-27).
        """
        super().__init__(
            reactor, (interface, port), advertise=advertise, limits=limits, settings=settings
        )
        self._reactor = reactor
        self._dscp = dscp
        self._port: IListeningPort | None = None

    def listen(self) -> Deferred[None]:
        """Bind and listen."""
        host, port = self.local
        try:
            sock = bound_socket(socket.SOCK_STREAM, host, port)
        except OSError as error:
            return fail(cannot_listen(host, port, error))
        with sock:  # the reactor works on a duplicate
            set_dscp(sock, self._dscp)  # inherited by the accepted connections
            sock.listen(BACKLOG)
            self.local = (host, sock.getsockname()[1])
            self._port = self._reactor.adoptStreamPort(
                sock.fileno(), sock.family, self.server_factory()
            )
        return succeed(None)

    def stop_listening(self) -> Deferred[None]:
        """Close the listening socket."""
        port, self._port = self._port, None
        closing = None if port is None else port.stopListening()
        return succeed(None) if closing is None else closing

    def connect(self, flow: StreamFlow) -> None:
        """Begin to connect, from the address we listen on."""
        source = None if is_wildcard(self.local[0]) else (self.local[0], 0)
        host, port = flow.remote
        connector = self._reactor.connectTCP(
            host, port, self.client_factory(flow), int(self.settings.connect_timeout), source
        )
        flow.cancel_connect = connector.disconnect

    def connected(self, flow: StreamFlow) -> TransportError | None:
        """Set the options of a new connection."""
        wire = flow.transport
        # Under TLS, the TCP connection is one transport further down.
        tcp = getattr(wire, "transport", wire)
        if ITCPTransport.providedBy(tcp):
            tcp.setTcpNoDelay(True)
            tcp.setTcpKeepAlive(True)
        if flow.outbound and ISystemHandle.providedBy(tcp):
            set_dscp(cast(socket.socket, tcp.getHandle()), self._dscp)
        return None

    def server_factory(self) -> ServerFactory[Any]:
        """What the listening port makes flows of."""
        return Acceptor(self)

    def client_factory(self, flow: StreamFlow) -> ClientFactory[Any]:
        """What a connect ends in."""
        return Connecting(flow)


class Acceptor(ServerFactory):
    """Makes a flow of each accepted connection."""

    noisy = False

    def __init__(self, owner: StreamTransport) -> None:
        self._owner = owner

    def buildProtocol(self, addr: IAddress | None) -> StreamFlow | None:
        """The flow, or None: the port then closes the connection."""
        return self._owner.accept((addr.host, addr.port))  # type: ignore[union-attr]


class Connecting(ClientFactory):
    """Gives the waiting flow its connection, or the reason that there is none."""

    noisy = False

    def __init__(self, flow: StreamFlow) -> None:
        self._flow = flow

    def buildProtocol(self, addr: IAddress | None) -> StreamFlow:
        """The flow that waits."""
        return self._flow

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """Tell the flow."""
        self._flow.connection_failed(TransportError(failure_text(reason)))
