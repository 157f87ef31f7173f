"""Listening for HTTP and HTTPS (AGP-06, AGP-12, AGP-14, AGP-76)."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import ServerFactory

from pysip.transport.base import IStreamReactor, bound_socket, cannot_listen
from xcap.http.protocol import HttpConnection
from xcap.http.secure import Endpoint, SecureFactory
from xcap.http.serving import Serving
from xcap.http.settings import AccessRecord, HttpCounters, HttpSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pysip.transport.credentials import TlsSettings
    from xcap.interfaces import IHttpService

BACKLOG = 1024
"""Connections the kernel holds until they are accepted."""

_MAPPED = "::ffff:"


class HttpFactory(ServerFactory):
    """Makes a connection of the site of each accepted TCP connection.

    :param secure: TLS is around it.
    """

    noisy = False

    def __init__(self, serving: Serving, *, secure: bool) -> None:
        self._serving = serving
        self._secure = secure

    def buildProtocol(self, addr: IAddress | None) -> HttpConnection | None:
        """The connection, or None: the port then closes it (AGP-76)."""
        host: str = addr.host.removeprefix(_MAPPED)  # type: ignore[union-attr]
        if not self._serving.room_for(host):
            self._serving.counters.refused += 1
            return None
        port: int = addr.port  # type: ignore[union-attr]
        return HttpConnection(self._serving, host, port, secure=self._secure)


class HttpSite:
    """A service reachable by HTTP/1.1 on any number of ports.

    :param wall: seconds of the wall clock, for Date.
    :param overloaded: seconds after which a client may come back, None while there is no
        overload (AGP-83).
    :param access: told about every request when it is answered (AGP-84).
    """

    def __init__(
        self,
        service: IHttpService,
        reactor: IStreamReactor,
        settings: HttpSettings | None = None,
        *,
        wall: Callable[[], float] = time.time,
        overloaded: Callable[[], float | None] | None = None,
        access: Callable[[AccessRecord], object] | None = None,
    ) -> None:
        self.settings = settings or HttpSettings()
        self._reactor = reactor
        self._serving = Serving(
            service, reactor, self.settings, wall=wall, overloaded=overloaded, access=access
        )
        self._ports: list[IListeningPort] = []
        self._endpoints: list[Endpoint] = []

    @property
    def counters(self) -> HttpCounters:
        """What has been done (AGP-85)."""
        return self._serving.counters

    @property
    def certificate_seconds_left(self) -> float:
        """Time until the first certificate expires, infinite without TLS (AGP-14)."""
        return min((end.seconds_left for end in self._endpoints), default=float("inf"))

    def listen(
        self,
        address: str,
        port: int,
        tls: TlsSettings | None = None,
        others: Mapping[str, TlsSettings] | None = None,
    ) -> tuple[str, int]:
        """Listen on one more port.

        :param address: numeric; ``0.0.0.0`` or ``::`` for all of a family.
        :param port: 0 lets the system choose.
        :param tls: the default certificate; None for plain HTTP (AGP-12).
        :param others: further certificates by server name, chosen by SNI (AGP-09).
        :returns: address and port bound.
        :raises twisted.internet.error.CannotListenError: the address is not ours or in use.
        :raises OpenSSL.SSL.Error: OpenSSL refuses the certificate.
        """
        factory = self.factory(tls, others)
        try:
            sock = bound_socket(socket.SOCK_STREAM, address, port)
        except OSError as error:
            raise cannot_listen(address, port, error) from error
        with sock:  # the reactor works on a duplicate
            sock.listen(BACKLOG)
            bound: int = sock.getsockname()[1]
            self._ports.append(self._reactor.adoptStreamPort(sock.fileno(), sock.family, factory))
        return address, bound

    def factory(
        self, tls: TlsSettings | None = None, others: Mapping[str, TlsSettings] | None = None
    ) -> ServerFactory[Any]:
        """What :meth:`listen` gives its port, for ports that somebody else opens."""
        plain = HttpFactory(self._serving, secure=tls is not None)
        if tls is None:
            return plain
        endpoint = Endpoint(
            tls, others or {}, self.settings.ciphers, self._reactor, self.settings.ticket_life
        )
        self._endpoints.append(endpoint)
        return cast("ServerFactory[Any]", SecureFactory(endpoint, plain, self._reactor))

    def reload(
        self,
        tls: TlsSettings,
        others: Mapping[str, TlsSettings] | None = None,
        place: int | None = None,
    ) -> None:
        """Use other certificates from the next connection on; open ones stay (AGP-14).

        :param place: of which port, counted among those with TLS; None for all.
        :raises OpenSSL.SSL.Error: OpenSSL refuses them; the old ones stay in use.
        """
        endpoints = self._endpoints if place is None else self._endpoints[place : place + 1]
        for endpoint in endpoints:
            endpoint.reload(tls, others or {})

    async def stop(self) -> None:
        """Listen no more, finish requests in progress, then close everything.

        Requests get ``drain`` seconds; then connections are cut.  What was begun for clients
        that have gone is waited for as long.
        """
        serving = self._serving
        serving.stopping = True
        ports, self._ports = self._ports, []
        closing = [maybeDeferred(port.stopListening) for port in ports]
        for connection in list(serving.connections):
            connection.finish()
        quiet = serving.when_quiet()
        cut = self._reactor.callLater(self.settings.drain, self._cut)
        await quiet
        if cut.active():
            cut.cancel()
        await gatherResults(closing)

    def _cut(self) -> None:
        for connection in list(self._serving.connections):
            connection.abort()
        for work in list(self._serving.working):
            work.cancel()
        # what does not heed that is not waited for
        self._serving.working.clear()
        self._serving.settle()
