"""TLS to a document server: it proves its name, and we prove ours (AGP-78, AGP-82)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from OpenSSL import SSL
from service_identity import VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.protocols.tls import TLSMemoryBIOProtocol

    from pysip.transport.credentials import TlsSettings


@implementer(IOpenSSLClientConnectionCreator)
class VerifiedServer:
    """Connections to a server that must show a certificate for its name; nothing is sent before.

    :param host: name or numeric address that the certificate must prove.
    :param tls: authorities to trust, and our certificate for servers that ask.
    """

    def __init__(self, host: str, tls: TlsSettings) -> None:
        self._host = host
        try:
            ipaddress.ip_address(host)
        except ValueError:
            self._is_address = False
        else:
            self._is_address = True
        self._context = tls.client_context()
        self._context.set_info_callback(self._informed)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N803
        """OpenSSL's side of a connection."""
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(tlsProtocol)
        connection.set_connect_state()
        if not self._is_address:
            connection.set_tlsext_host_name(self._host.encode("idna"))
        return connection

    def _informed(self, connection: SSL.Connection, where: int, code: int) -> None:
        if where & SSL.SSL_CB_HANDSHAKE_DONE:
            try:
                if self._is_address:
                    verify_ip_address(connection, self._host)
                else:
                    verify_hostname(connection, self._host)
            except (VerificationError, ValueError):
                # OpenSSL swallows what its callbacks raise
                connection.get_app_data().failVerification(Failure(SSL.Error([])))
