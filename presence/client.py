"""A SIP user agent of one user at one server: what the client commands stand on."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs
from twisted.internet.defer import DeferredList
from twisted.internet.threads import deferToThreadPool
from twisted.names.client import Resolver
from zope.interface import implementer

from presence.link import ServerLink, ServerLocator, UnreachableError
from presence.pinned import PinnedTlsTransport
from pysip.auth.client import ClientCredentials
from pysip.dns import RecordCache
from pysip.errors import SipError, TransportError
from pysip.event.publisher import Publisher
from pysip.event.subscriber import NotifyRouter
from pysip.interfaces import Identity, IFlow, IIdentityPolicy, Target
from pysip.locate import Locator
from pysip.message import Request
from pysip.timers import TimerWheel
from pysip.transport.base import canonical_host, host_port, is_ipv6, local_host_toward
from pysip.transport.credentials import TlsSettings, load_trust_roots
from pysip.transport.tcp import TcpTransport
from pysip.transport.tls import TlsTransport
from pysip.transport.udp import UdpTransport
from pysip.ua import UserAgent
from pysip.uri import SipUri, unescape

if TYPE_CHECKING:
    from pysip.interfaces import ITransport

Transport = Literal["udp", "tcp", "tls"]

_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061}


@attrs.frozen(slots=True, kw_only=True)
class ClientSettings:
    """Whose agent this is, and where its server is.

    :ivar user: address of record, a SIP URI with a user part.
    :ivar password: for challenges; None when there is none at hand.
    :ivar server: host and port of the server (port None for the transport's default); None
        to locate the server of the user's domain.
    :ivar transport: how to reach the server.
    :ivar ca: PEM file of the authorities to believe with TLS; "" for the system's.
    :ivar fingerprint: SHA-256 of the server's certificate, believed without an authority.
    :ivar insecure: believe any certificate.
    """

    user: SipUri
    password: str | None = None
    server: tuple[str, int | None] | None = None
    transport: Transport = "udp"
    ca: str = ""
    fingerprint: str = ""
    insecure: bool = False

    @property
    def aor(self) -> str:
        """The user's address of record, without parameters and port."""
        user = self.user
        return str(attrs.evolve(user, password=None, port=None, params={}, headers=""))

    @property
    def username(self) -> str:
        """The Digest user name: the user part (CLI-02)."""
        return unescape(self.user.user or "")


class MakeTransport(Protocol):
    """Makes a listening point, not started yet."""

    def __call__(self, protocol: str, host: str) -> ITransport:
        """A transport of ``protocol`` at the numeric ``host``, with a port of its own."""


class PresenceClient:
    """The user agent of one user, tied to one server.

    :param reactor: the reactor.
    :param settings: who and where.
    :param make_transport: makes transports; None for those of the network.

    :ivar ua: the user agent.
    :ivar router: finds the subscriptions of NOTIFYs.
    :ivar publisher: sends PUBLISHes.
    :ivar credentials: of the user, None without a password.
    """

    def __init__(
        self,
        reactor: Any,
        settings: ClientSettings,
        *,
        agent: str = "",
        make_transport: MakeTransport | None = None,
    ) -> None:
        self.settings = settings
        self._reactor = reactor
        self._make_transport = make_transport or self._network_transport
        protocol = settings.transport.upper()
        self.protocols = ("UDP", "TCP") if protocol == "UDP" else (protocol,)
        resolver = Resolver(resolv="/etc/resolv.conf", reactor=reactor)
        self._locator = ServerLocator(
            Locator(RecordCache(resolver, reactor), reactor, protocols=self.protocols),
            {settings.user.host.lower()},
        )
        if settings.server is not None:
            self._locator.hosts.add(settings.server[0].lower())
        self._wheel = TimerWheel(reactor)
        self.ua = UserAgent(
            reactor, self._wheel, self._locator, _OnlyServer(self._locator), agent=agent
        )
        self.router = NotifyRouter(self.ua)
        self.publisher = Publisher(self.ua)
        self.credentials: ClientCredentials | None = None
        if settings.password is not None:
            self.credentials = ClientCredentials(settings.username, settings.password)
        self.link = ServerLink(self, self._locator)

    @property
    def local_uri(self) -> str:
        """From value without tag."""
        return f"<{self.settings.aor}>"

    @property
    def route(self) -> tuple[str, ...]:
        """Preloaded Route: the server, when the domain alone does not lead there (ROU-03)."""
        server = self.settings.server
        if server is None or server[0].lower() == self.settings.user.host.lower():
            return ()
        host, port = server
        transport = self.settings.transport
        port = port or _PORTS[transport.upper()]
        return (f"<sip:{host_port(host, port)};transport={transport};lr>",)

    async def start(self) -> None:
        """Find the server, open transports toward it and see that it lives.

        :raises UnreachableError: there is none, or none answers.
        :raises pysip.transport.credentials.CredentialsError: the file of authorities is
            no good.
        """
        targets = await self._locate()
        hosts = dict.fromkeys(local_host_toward(target.address[0]) for target in targets)
        families: set[bool] = set()
        for host in hosts:
            if is_ipv6(host) in families:
                continue
            families.add(is_ipv6(host))
            for protocol in self.protocols:
                await self.ua.start_transport(self._make_transport(protocol, host))
        await self.link.connect(targets)

    async def stop(self) -> None:
        """Close everything."""
        self.link.stop()
        await DeferredList(self.ua.stop(), consumeErrors=True)
        self._wheel.stop()

    def _network_transport(self, protocol: str, host: str) -> ITransport:
        settings = self.settings
        if protocol == "UDP":
            return UdpTransport(self._reactor, host, 0)
        if protocol == "TCP":
            return TcpTransport(self._reactor, host, 0)
        if settings.insecure or settings.fingerprint:
            pin = "" if settings.insecure else settings.fingerprint
            return PinnedTlsTransport(self._reactor, host, 0, pin)
        roots = load_trust_roots((settings.ca,)) if settings.ca else None
        return TlsTransport(
            self._reactor, host, 0, TlsSettings(credentials=None, trust_roots=roots)
        )

    async def _locate(self) -> list[Target]:
        """Where the server may be, best first."""
        protocol = self.settings.transport.upper()
        server = self.settings.server
        if server is None:
            user = self.settings.user
            server = (user.host, user.port)
            name = user.host
            if name.lower() != "localhost" and canonical_host(name) is None:
                params: dict[str, str | None] = {"transport": protocol.lower()}
                hop = SipUri(user.scheme, None, name, port=user.port, params=params)
                try:
                    targets = await self._locator.inner.locate(hop)
                except TransportError:
                    targets = []
                if targets:
                    return targets
        host, port = server
        found = [
            Target(protocol, (address, port or _PORTS[protocol]), host)
            for address in await self._addresses(host)
        ]
        if not found:
            raise UnreachableError(f"{host} has no address")
        return found

    async def _addresses(self, host: str) -> list[str]:
        """Numeric addresses of a host, by the system's resolver."""
        numeric = canonical_host(host)
        if numeric is not None:
            return [numeric]
        if host.lower().rstrip(".") == "localhost":
            return ["127.0.0.1", "::1"]  # RFC 6761 6.3: whatever DNS says
        try:
            found = await deferToThreadPool(
                self._reactor,
                self._reactor.getThreadPool(),
                socket.getaddrinfo,
                host,
                None,
                type=socket.SOCK_DGRAM,
            )
        except OSError:
            return []
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@implementer(IIdentityPolicy)
class _OnlyServer:
    """Listens only to addresses that this client has sent to (AUT-14)."""

    def __init__(self, locator: ServerLocator) -> None:
        self._locator = locator

    def identify(self, request: Request, flow: IFlow) -> Identity:
        """Nobody in particular.

        :raises SipError: 403 for a stranger.
        """
        if flow.remote[0] not in self._locator.addresses:
            raise SipError(403)
        return Identity(())

    def trusted(self, flow: IFlow) -> bool:
        """Whether the server sends on ``flow``."""
        return flow.remote[0] in self._locator.addresses
