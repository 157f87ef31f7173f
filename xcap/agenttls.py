"""TLS to an HTTP server whom an authority vouches for, or whose certificate is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL
from service_identity import VerificationError
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from pysip.transport.credentials import TlsSettings

if TYPE_CHECKING:
    from cryptography import x509
    from OpenSSL import crypto
    from twisted.protocols.tls import TLSMemoryBIOProtocol


@attrs.frozen(slots=True)
class Trust:
    """Whom to believe.

    :ivar roots: authorities; None for those of the system.
    :ivar fingerprint: SHA-256 of the one certificate to believe instead, in hexadecimal with or
        without colons; "" for none.
    :ivar insecure: believe anybody; for laboratories.
    """

    roots: tuple[x509.Certificate, ...] | None = None
    fingerprint: str = ""
    insecure: bool = False


@implementer(IOpenSSLClientConnectionCreator)
class ServerTrust:
    """Makes TLS connections to one server.

    :param host: name or numeric address that a certificate has to prove.

    :ivar problem: what was wrong with the last certificate, "" when nothing.
    """

    def __init__(self, host: str, trust: Trust) -> None:
        self.problem = ""
        self._host = host
        self._trust = trust
        self._numeric = isIPAddress(host) or isIPv6Address(host)
        settings = TlsSettings(credentials=None, trust_roots=trust.roots)
        self._context = settings.client_context()

    def clientConnectionForTLS(
        self,
        tlsProtocol: TLSMemoryBIOProtocol,  # noqa: N803 - Twisted names it
    ) -> SSL.Connection:
        """A connection that believes whom it should."""
        self.problem = ""
        connection = SSL.Connection(self._context, None)
        if not self._numeric:
            connection.set_tlsext_host_name(self._host.encode("idna"))
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verify)
        return connection

    def _verify(
        self, connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
    ) -> bool:
        """Judge a certificate of the chain, the server's own at depth 0."""
        trust = self._trust
        if trust.insecure or (trust.fingerprint and depth):
            return True
        shown = certificate.to_cryptography()
        if trust.fingerprint:
            found = shown.fingerprint(hashes.SHA256())
            if found.hex() == trust.fingerprint.replace(":", "").lower():
                return True
            self.problem = f"the server's certificate has the fingerprint {found.hex(':').upper()}"
            return False
        if not ok:
            self.problem = "no known authority vouches for the server's certificate"
            return False
        return depth > 0 or self._proves(shown)

    def _proves(self, certificate: x509.Certificate) -> bool:
        """Whether a certificate is that of the host."""
        wanted = IPAddress_ID(self._host) if self._numeric else DNS_ID(self._host)
        try:
            verify_service_identity(extract_patterns(certificate), [wanted], [])
        except (VerificationError, ValueError):
            self.problem = f"the server's certificate is not for {self._host}"
            return False
        return True
