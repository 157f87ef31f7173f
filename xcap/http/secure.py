"""TLS of the HTTP server: versions, suites, session tickets, names of clients.

Requirements AGP-06 to AGP-09 and AGP-14 of ``aggregation-proxy.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IAddress, IReactorTime

    from pysip.transport.credentials import TlsSettings

SUITES = {
    "modern": "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL",
    "compatible": "ECDHE+AESGCM:ECDHE+CHACHA20:AES128-SHA:!aNULL",
}
"""OpenSSL cipher lists for TLS 1.2 by profile (AGP-07); those of TLS 1.3 are all modern."""

_MINIMUM = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}

_PROTOCOL = b"http/1.1"

_CERTIFICATE_SENT = b"SSLv3/TLS write certificate"
"""State that a server passes in every handshake but that of a resumed session."""


def server_context(tls: TlsSettings, ciphers: str) -> SSL.Context:
    """A context for accepted connections.

    Sessions are resumed by tickets, whose key is random and dies with the context; data
    before the end of the handshake (0-RTT) are never accepted, OpenSSL's default (AGP-08).

    :param tls: certificate and trust; its ``ciphers`` are those of SIP and do not count.
    :param ciphers: key of :data:`SUITES`.
    :raises OpenSSL.SSL.Error: OpenSSL refuses them, e.g. for too short a key.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(_MINIMUM[tls.minimum_version])
    context.set_options(
        SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_RENEGOTIATION
    )
    # tickets only: a cache would hold memory for clients that never come back
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # without it OpenSSL refuses to resume sessions with a client certificate
    context.set_session_id(b"txpresence-http")
    context.set_cipher_list(SUITES[ciphers].encode("ascii"))
    context.set_alpn_select_callback(_choose_protocol)
    context.set_info_callback(_note_progress)
    mine = tls.credentials
    if mine is not None:
        context.use_certificate(mine.certificate)
        for certificate in mine.chain:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(mine.key)  # type: ignore[arg-type]
    if tls.client_certificates != "none":
        mode = SSL.VERIFY_PEER
        if tls.client_certificates == "require":
            mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        context.set_verify(mode, _verdict)
        _trust(context, tls.trust_roots)
    return context


def _trust(context: SSL.Context, roots: tuple[x509.Certificate, ...] | None) -> None:
    if roots is None:
        context.set_default_verify_paths()
        return
    store = context.get_cert_store()
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(root))  # type: ignore[union-attr]
        context.add_client_ca(root)


def _verdict(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
) -> bool:
    return bool(ok)


def _choose_protocol(connection: SSL.Connection, offered: list[bytes]) -> Any:
    """HTTP/1.1, or no protocol at all; then the client decides whether to go on."""
    return _PROTOCOL if _PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class ServerConnection(SSL.Connection):
    """OpenSSL's side of an accepted connection.

    :ivar resumed: no certificate was shown, a session is resumed; counts once the handshake
        is done.  pyOpenSSL does not tell otherwise.
    """

    resumed = True


def _note_progress(connection: SSL.Connection, where: int, code: int) -> None:
    """Mark a connection whose handshake is a full one."""
    if where == SSL.SSL_CB_ACCEPT_LOOP and connection.get_state_string() == _CERTIFICATE_SENT:
        connection.resumed = False  # type: ignore[attr-defined]


@attrs.frozen(slots=True)
class Handshake:
    """What a finished TLS handshake tells.

    :ivar version: such as ``TLSv1.3``.
    :ivar names: see :func:`client_names`.
    :ivar resumed: a session was resumed.
    """

    version: str
    names: tuple[str, ...]
    resumed: bool


def client_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Identities in a verified client certificate (AGP-11, AGP-49).

    All of its subjectAltName: URIs, mail addresses, DNS names, IP addresses, in this order
    and as written.  The subject's own name counts nowhere.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (
        *names.get_values_for_type(x509.UniformResourceIdentifier),
        *names.get_values_for_type(x509.RFC822Name),
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    )


@implementer(IOpenSSLServerConnectionCreator)
class Endpoint:
    """Certificates of one listening port: the default one and those chosen by SNI (AGP-09).

    Contexts are made anew by :meth:`reload`, and every ``ticket_life`` seconds so that no
    key of session tickets is used longer (AGP-08); open connections keep theirs.

    :param others: settings by server name, lower case; whether clients have to show a
        certificate, and versions, are those of the default ones.
    :raises OpenSSL.SSL.Error: OpenSSL refuses the settings.
    """

    def __init__(
        self,
        tls: TlsSettings,
        others: Mapping[str, TlsSettings],
        ciphers: str,
        clock: IReactorTime,
        ticket_life: float,
    ) -> None:
        self._ciphers = ciphers
        self._clock = clock
        self._ticket_life = ticket_life
        self.reload(tls, others)

    def reload(self, tls: TlsSettings, others: Mapping[str, TlsSettings]) -> None:
        """Use other certificates from the next connection on (AGP-14).

        :raises OpenSSL.SSL.Error: OpenSSL refuses them; the old ones stay in use.
        """
        by_name = {
            name.lower().encode("idna"): server_context(settings, self._ciphers)
            for name, settings in others.items()
        }
        context = server_context(tls, self._ciphers)

        def choose(connection: SSL.Connection) -> None:
            chosen = by_name.get((connection.get_servername() or b"").lower())
            if chosen is not None:
                connection.set_context(chosen)

        if by_name:
            context.set_tlsext_servername_callback(choose)
        self._context = context
        self._tls = tls
        self._others = dict(others)
        self._renew = self._clock.seconds() + self._ticket_life

    @property
    def seconds_left(self) -> float:
        """Time until the first of the certificates expires, negative afterwards."""
        shown = (settings.credentials for settings in (self._tls, *self._others.values()))
        return min(
            (mine.seconds_left() for mine in shown if mine is not None), default=float("inf")
        )

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> ServerConnection:  # noqa: N803
        """OpenSSL's side of an accepted connection."""
        if self._clock.seconds() >= self._renew:
            self.reload(self._tls, self._others)
        connection = ServerConnection(self._context, None)
        connection.set_accept_state()
        return connection


class SecureFactory(TLSMemoryBIOFactory):
    """TLS around the connections of another factory, which may have no room."""

    noisy = False

    def __init__(self, endpoint: Endpoint, inner: IProtocolFactory, clock: IReactorTime) -> None:
        super().__init__(endpoint, False, inner, clock)

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]
        """TLS around a new connection, or None: it is then closed."""
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else self.protocol(self, inner)


def inspect(transport: object) -> Handshake:
    """What the handshake of a connection has brought.

    :param transport: of the protocol inside TLS.
    """
    wrapper = cast(TLSMemoryBIOProtocol, transport)
    connection = cast("Callable[[], ServerConnection]", wrapper.getHandle)()
    certificate = wrapper.getPeerCertificate()
    names = client_names(certificate.to_cryptography()) if certificate is not None else ()
    return Handshake(connection.get_protocol_version_name(), names, connection.resumed)
