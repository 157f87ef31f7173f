"""TLS to a server whose certificate no authority vouches for.

For demonstrations and laboratories: the certificate is known by its fingerprint, or is not
checked at all.  Servers never use this (TRN-22).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from OpenSSL import SSL
from twisted.protocols.tls import TLSMemoryBIOProtocol

from presence.certificate import fingerprint
from pysip.errors import TransportError
from pysip.transport.credentials import TlsSettings
from pysip.transport.tls import TlsFlow, TlsTransport

if TYPE_CHECKING:
    from pysip.interfaces import Address
    from pysip.transport.base import IStreamReactor
    from pysip.transport.stream import StreamFlow


def _bare(text: str) -> str:
    return text.replace(":", "").lower()


class PinnedTlsFlow(TlsFlow):
    """A TLS connection to a server that shows one certain certificate."""

    def handshakeCompleted(self) -> None:
        """Compare the fingerprint instead of names."""
        self._cancel_timer()
        if self.closed:
            return
        pin = cast("PinnedTlsTransport", self._owner).pin
        shown = cast(TLSMemoryBIOProtocol, self.transport).getPeerCertificate()
        found = fingerprint(shown.to_cryptography()) if shown is not None else ""
        if pin and _bare(found) != _bare(pin):
            self.abort(TransportError(f"the server's certificate has the fingerprint {found}"))
        else:
            self.established()


class PinnedTlsTransport(TlsTransport):
    """TLS that believes one certificate, or any.

    :ivar pin: SHA-256 fingerprint in hexadecimal, colons optional; "" believes anybody.
    """

    def __init__(
        self, reactor: IStreamReactor, interface: str, port: int, pin: str, **settings: Any
    ) -> None:
        """Keep the settings; see :class:`pysip.transport.tls.TlsTransport`."""
        self.pin = pin
        super().__init__(reactor, interface, port, TlsSettings(credentials=None), **settings)
        self.client_context.set_verify(SSL.VERIFY_NONE)

    def make_flow(self, remote: Address, *, outbound: bool, name: str = "") -> StreamFlow:
        """A flow that looks at the fingerprint."""
        return PinnedTlsFlow(self, remote, outbound=outbound, name=name)
