"""A SIP user agent of one user at one server: what the client commands stand on."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.names.client import Resolver
from zope.interface import implementer

from presence.pinned import PinnedTlsTransport
from pysip.auth.client import ClientCredentials
from pysip.dns import RecordCache
from pysip.errors import RequestTimeout, SipError, TransportError
from pysip.event.publisher import Publisher
from pysip.event.subscriber import NotifyRouter
from pysip.interfaces import Identity, IFlow, IFlowListener, IIdentityPolicy, ILocator, Target
from pysip.locate import Locator
from pysip.message import Request
from pysip.refresh import Backoff, uniform
from pysip.timers import Alarm, TimerWheel
from pysip.transport.base import canonical_host, host_port, is_ipv6, local_host_toward
from pysip.transport.credentials import TlsSettings, load_trust_roots
from pysip.transport.stream import StreamFlow
from pysip.transport.tcp import TcpTransport
from pysip.transport.tls import TlsTransport
from pysip.transport.udp import UdpTransport
from pysip.ua import UserAgent
from pysip.uri import SipUri, unescape

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from pysip.interfaces import ITransport
    from pysip.uri import Uri

PATIENCE = 5.0
"""Seconds to wait for a sign of life of each address of the server."""

KEEP_ALIVE = (95.0, 120.0)
"""Seconds between two signs of life on a connection, chosen at random (TRN-13)."""

Transport = Literal["udp", "tcp", "tls"]

_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061}


class UnreachableError(Exception):
    """The server cannot be reached; tells why."""


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
        self._locator = _ServerLocator(
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


@implementer(IFlowListener)
class ServerLink:
    """The way to the server: tested at the start, watched and, if wanted, kept up.

    :ivar moved: called when the way to the server, and with it our Contact, is new.
    :ivar lost: called with a cause and the seconds to the next attempt.
    """

    _log = Logger()

    def __init__(self, client: PresenceClient, locator: _ServerLocator) -> None:
        self.moved: Callable[[], object] | None = None
        self.lost: Callable[[str, float], object] | None = None
        self._client = client
        self._ua = client.ua
        self._locator = locator
        self._targets: list[Target] = []
        self._flow: IFlow | None = None
        self._contact = ""
        self._cause = ""
        self._kept = False
        self._backoff = Backoff(client.ua.tokens, 1.0, 60.0)
        self._alarm = Alarm(self._test)

    async def connect(self, targets: list[Target]) -> None:
        """Use the first of ``targets`` that answers.

        :raises UnreachableError: none does.
        """
        self._targets = targets
        await self._connect()

    def keep(self) -> None:
        """Keep the connection up from now on; with UDP there is nothing to keep."""
        flow = self._flow
        self._kept = flow is not None and flow.reliable
        if flow is not None and flow.closed:
            self.flow_failed(flow, TransportError("connection is closed"))
        else:
            self._test_later()

    def stop(self) -> None:
        """Keep it up no longer."""
        self._kept = False
        self._ua.wheel.cancel(self._alarm)
        if self._flow is not None:
            self._flow.listeners.discard(self)

    def contact(self) -> str:
        """Our Contact value for requests to the server.

        On a connection it is the connection's own address, so that the server's requests
        come back on it (CLI-08): a client behind TLS or NAT could not be reached otherwise.
        While there is no connection it is that of the last one.
        """
        flow = self._flow
        if flow is None:
            return self._contact
        user = self._client.settings.user
        where = flow.sent_by
        if isinstance(flow, StreamFlow) and flow.local is not None:
            where = host_port(*flow.local)
        if user.scheme == "sips":
            self._contact = f"<sips:{user.user}@{where}>"
        else:
            transport = f";transport={flow.protocol.lower()}" if flow.reliable else ""
            self._contact = f"<sip:{user.user}@{where}{transport}>"
        return self._contact

    async def _connect(self) -> None:
        causes: dict[str, str] = {}
        if self._flow is not None:
            self._flow.listeners.discard(self)
            self._flow = None
        for target in self._targets:
            self._cause = ""
            self._locator.target = target
            transport = self._ua.layer.transport(target.protocol, target.address[0])
            if transport is None:
                continue
            flow = transport.flow_to(target.address, target.name)
            flow.listeners.add(self)
            try:
                await self._ping()
            except (TransportError, RequestTimeout, TimeoutError) as error:
                # The flow tells its listeners the cause one after the other, us perhaps last.
                await deferLater(self._ua.clock, 0)
                if isinstance(error, TimeoutError):
                    self._cause = self._cause or f"no answer in {PATIENCE:.0f} s"
                flow.listeners.discard(self)
                causes[target.address[0]] = self._cause or str(error)
                continue
            self._backoff.reset()
            self._flow = flow
            return
        if len(set(causes.values())) > 1:
            causes = {host: f"{cause} ({host})" for host, cause in causes.items()}
        raise UnreachableError(", ".join(dict.fromkeys(causes.values())) or "no address to try")

    def _ping(self) -> Deferred[Any]:
        """Ask for a sign of life; any final response is one."""
        settings = self._client.settings
        domain = f"{settings.user.scheme}:{settings.user.host}"
        request = Request("OPTIONS", domain)
        request.set("From", f"{self._client.local_uri};tag={self._ua.tokens.tag()}")
        request.set("To", f"<{domain}>")
        request.set("Call-ID", self._ua.tokens.call_id())
        request.set("CSeq", "1 OPTIONS")
        sending = self._ua.request(request, route=self._client.route)
        return sending.addTimeout(PATIENCE, self._ua.clock)

    def flow_failed(self, flow: IFlow, error: TransportError) -> None:
        """The connection is gone, or (UDP) nobody listens at the server's port."""
        self._cause = str(error)
        if self._kept and flow is self._flow and flow.reliable:
            self._flow = None
            self._reconnect_later()

    def _reconnect_later(self) -> None:
        delay = self._backoff.next()
        self._ua.wheel.after(delay, self._alarm)
        if self.lost is not None:
            self.lost(self._cause, delay)

    def _test_later(self) -> None:
        if self._kept:
            least, most = KEEP_ALIVE
            delay = least + (most - least) * uniform(self._ua.tokens)
            self._ua.wheel.after(delay, self._alarm)

    def _test(self) -> None:
        """Test the connection, or make a new one when it is gone."""
        flow = self._flow
        test = self._reconnect() if flow is None else self._keep_alive(flow)
        Deferred.fromCoroutine(test).addErrback(self._bug)

    def _bug(self, failure: Failure) -> None:
        self._log.failure("testing the connection failed", failure=failure)

    async def _reconnect(self) -> None:
        try:
            await self._connect()
        except UnreachableError as error:
            self._cause = str(error)
            if self._kept:
                self._reconnect_later()
            return
        self._test_later()
        if self.moved is not None:
            self.moved()

    async def _keep_alive(self, flow: IFlow) -> None:
        try:
            await self._ping()
        except TransportError:
            return  # flow_failed has told
        except (RequestTimeout, TimeoutError):
            if isinstance(flow, StreamFlow):
                flow.abort(TransportError("the server does not answer any more"))
            return
        if flow is self._flow:
            self._test_later()


@implementer(ILocator)
class _ServerLocator:
    """Leads requests for the user's domain and server to the chosen target.

    The server's own addresses keep the name that TLS has verified, whatever URI names them.

    :ivar hosts: names, lower case, that mean the server.
    :ivar target: the chosen target.
    :ivar addresses: numeric addresses that requests were sent to.
    """

    def __init__(self, inner: Locator, hosts: set[str]) -> None:
        self.inner = inner
        self.hosts = hosts
        self.target: Target | None = None
        self.addresses: set[str] = set()

    def immediate(self, uri: Uri) -> Target | None:
        """The only target of ``uri``."""
        target = self.target
        if (
            target is not None
            and isinstance(uri, SipUri)
            and uri.host.lower() in self.hosts
            and uri.port in (None, target.address[1])
        ):
            self.addresses.add(target.address[0])
            return target
        found = self.inner.immediate(uri)
        return None if found is None else self._note(found)

    def locate(self, uri: Uri) -> Deferred[list[Target]]:
        """All targets of ``uri``."""
        return self.inner.locate(uri).addCallback(lambda found: [self._note(t) for t in found])

    def failed(self, target: Target, seconds: float) -> None:
        """Do not offer ``target`` first for so long."""
        self.inner.failed(target, seconds)

    def _note(self, found: Target) -> Target:
        self.addresses.add(found.address[0])
        target = self.target
        if target is not None and (found.protocol, found.address) == (
            target.protocol,
            target.address,
        ):
            return target
        return found


@implementer(IIdentityPolicy)
class _OnlyServer:
    """Listens only to addresses that this client has sent to (AUT-14)."""

    def __init__(self, locator: _ServerLocator) -> None:
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
