"""SIP over TLS (RFC 3261 section 26, RFC 5922): TcpTransport with certificates.

Requirements TRN-02, TRN-18, TRN-22, TRN-23, DNS-10 of ``sip-core.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import ClientFactory, ServerFactory, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from pysip.errors import TransportError
from pysip.transport.base import DSCP_CS3, IStreamReactor, canonical_host
from pysip.transport.identity import certificate_addresses, certificate_names
from pysip.transport.stream import StreamFlow, StreamSettings
from pysip.transport.tcp import Acceptor, Connecting, TcpTransport

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from pysip.interfaces import Address
    from pysip.parse import Limits
    from pysip.transport.credentials import TlsSettings


@implementer(IHandshakeListener)
class TlsFlow(StreamFlow):
    """A TLS connection: nothing is sent before the peer has proved its name."""

    def connectionMade(self) -> None:
        """The TCP connection stands, the handshake begins."""
        self.cancel_connect = None
        self._owner.connected(self)
        self.set_timer(self._owner.settings.handshake_timeout, "TLS handshake takes too long")

    def handshakeCompleted(self) -> None:
        """Check who the peer is (TRN-22); only then messages may flow."""
        self._cancel_timer()
        if self.closed:
            return
        shown = cast(TLSMemoryBIOProtocol, self.transport).getPeerCertificate()
        addresses: frozenset[str] = frozenset()
        if shown is not None:
            certificate = shown.to_cryptography()
            self.names = certificate_names(certificate)
            addresses = certificate_addresses(certificate)
        if self.outbound and self.name not in self.names and self.name not in addresses:
            self.abort(TransportError("certificate does not prove the domain"))
        else:
            self.established()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone; a TLS error is named."""
        if not self.closed and isinstance(reason.value, SSL.Error):
            self._end(TransportError(_tls_text(reason.value)))
        super().connectionLost(reason)


class TlsTransport(TcpTransport):
    """A TLS listening point and the connections opened from it.

    Connections are kept by address *and* the name the peer has proved (RFC 5922
    section 7.3): a connection to one domain of a shared host is not used for another.
    """

    protocol = "TLS"
    secure = True

    def __init__(
        self,
        reactor: IStreamReactor,
        interface: str,
        port: int,
        tls: TlsSettings,
        *,
        advertise: str = "",
        dscp: int = DSCP_CS3,
        limits: Limits | None = None,
        settings: StreamSettings | None = None,
    ) -> None:
        """Keep the settings; :meth:`start` binds.

        :param tls: certificates and trust.
        :raises OpenSSL.SSL.Error: OpenSSL refuses them, e.g. for too short a key.
        """
        super().__init__(
            reactor,
            interface,
            port,
            advertise=advertise,
            dscp=dscp,
            limits=limits,
            settings=settings,
        )
        self.reload(tls)

    def reload(self, tls: TlsSettings) -> None:
        """Use other certificates from the next connection on; open ones stay."""
        server, client = tls.server_context(), tls.client_context()
        self.server_context = server
        self.client_context = client

    def make_flow(self, remote: Address, *, outbound: bool, name: str = "") -> StreamFlow:
        """A flow that waits for the handshake."""
        return TlsFlow(self, remote, outbound=outbound, name=name)

    def server_factory(self) -> ServerFactory[Any]:
        """Accept, then handshake."""
        return cast(
            "ServerFactory[Any]",
            _TlsAcceptor(_ServerSide(self), False, Acceptor(self), self._reactor),
        )

    def client_factory(self, flow: StreamFlow) -> ClientFactory[Any]:
        """Connect, then handshake."""
        side = _ClientSide(self, flow.name)
        return TLSMemoryBIOFactory(side, True, Connecting(flow), self._reactor)


class _TlsAcceptor(TLSMemoryBIOFactory):
    """Knows that the wrapped factory may have no room."""

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]
        """TLS around a new flow, or None."""
        flow = self.wrappedFactory.buildProtocol(addr)
        return None if flow is None else self.protocol(self, flow)


@implementer(IOpenSSLServerConnectionCreator)
class _ServerSide:
    def __init__(self, owner: TlsTransport) -> None:
        self._owner = owner

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N803
        """OpenSSL's side of an accepted connection."""
        connection = SSL.Connection(self._owner.server_context, None)
        connection.set_accept_state()
        return connection


@implementer(IOpenSSLClientConnectionCreator)
class _ClientSide:
    def __init__(self, owner: TlsTransport, name: str) -> None:
        self._owner = owner
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N803
        """OpenSSL's side of a connection we open, with server name indication."""
        connection = SSL.Connection(self._owner.client_context, None)
        connection.set_connect_state()
        name = self._name
        if canonical_host(name) is None and name.isascii() and len(name) < 256:
            connection.set_tlsext_host_name(name.encode("ascii"))
        return connection


def _tls_text(error: SSL.Error) -> str:
    """OpenSSL's reason in a few words."""
    entries = error.args[0] if error.args else ()
    reason = entries[-1][-1] if isinstance(entries, list) and entries else ""
    return f"TLS failure: {reason}" if reason else "TLS failure"
