"""HTTP requests of a client: persistent connections, Digest, redirects (XCLI-01, XCLI-09)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urljoin

import attrs
from twisted.internet.defer import DeferredList
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS

from pysip.transport.base import host_port
from xcap.agenttls import ServerTrust, Trust
from xcap.auth.client import HttpCredentials, ServerUnproven
from xcap.exchange import ExchangeSettings, UpstreamFailure, request_octets
from xcap.pool import ConnectionPool
from xcap.records import Head, Headers, HttpPeer, HttpResponse

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

    from xcap.transfer import Transfer

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods of which a repetition does no harm (RFC 9110 section 9.2.2)."""

REDIRECTS = 5
"""Redirects in a row that are followed."""

_CHALLENGES = 3  # answered for one request: the first, and stale ones
_PORTS = {"http": 80, "https": 443}
_URI = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^/?#:@\[\]]+)(?::([0-9]{1,5}))?(/[^#]*)?", re.I)
_BAD = re.compile(r"[^\x21-\x7e]")

_TEXTS = {
    "refused": "it refuses connections",
    "unreachable": "it cannot be reached",
    "busy": "too many requests wait for it",
    "reset": "it gave no complete answer",
    "tls": "TLS failed",
    "invalid": "its answer is no HTTP",
    "large": "its answer is too large",
    "late": "it gave no answer in time",
}


class NoAnswer(Exception):
    """There is no answer to a request that could be used.

    :ivar kind: as in :class:`xcap.exchange.UpstreamFailure`; ``redirect`` to where it must
        not go, or ``unproven``: the server does not know the password.
    :ivar server: host and port.
    """

    def __init__(self, kind: str, server: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.server = server


class Agent(Protocol):
    """Sends requests for an XCAP client."""

    async def request(
        self,
        method: str,
        uri: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> HttpResponse:
        """Send a request; see :meth:`HttpAgent.request`."""

    async def stop(self) -> None:
        """Close what was opened for it alone."""


@attrs.frozen(slots=True)
class Origin:
    """A server.

    :ivar scheme: ``http`` or ``https``.
    :ivar host: lower case; an IPv6 address without brackets.
    """

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Value of Host."""
        if self.port == _PORTS[self.scheme]:
            return host_port(self.host, self.port).rpartition(":")[0]
        return host_port(self.host, self.port)


def split_uri(uri: str) -> tuple[Origin, str]:
    """The server and the request target of a URI; the target is not changed.

    :raises ValueError: it is no HTTP URI, or has user information or a fragment.
    """
    found = _URI.fullmatch(uri)
    if found is None or _BAD.search(uri):
        raise ValueError("not an http or https URI")
    scheme = found[1].lower()
    port = int(found[3]) if found[3] else _PORTS[scheme]
    if not 0 < port < 65536:
        raise ValueError("not a port")
    return Origin(scheme, found[2].strip("[]").lower(), port), found[4] or "/"


@attrs.frozen(slots=True, kw_only=True)
class AgentSettings:
    """How servers are treated.

    :ivar timeout: seconds for the whole of an answer (XCLI-09).
    :ivar connections: most connections, and so parallel requests, to each server (XCLI-01).
    :ivar trust: for TLS.
    :ivar agent: User-Agent, "" for none.
    :ivar body: most octets of an answer.
    """

    timeout: float = 10.0
    connections: int = 4
    trust: Trust = attrs.field(factory=Trust)
    agent: str = ""
    body: int = 8 << 20


class HttpAgent:
    """Sends requests to the servers it is allowed to.

    :param reactor: connects, resolves names and keeps time.
    :param servers: URIs of the servers to which requests may go, also by redirects; nothing but
        their scheme, host and port counts.
    :param connect: makes endpoints, in tests.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        servers: Iterable[str],
        credentials: HttpCredentials | None = None,
        settings: AgentSettings | None = None,
        connect: Callable[[Origin], IStreamClientEndpoint] | None = None,
    ) -> None:
        self.credentials = credentials
        self._reactor = reactor
        self._settings = AgentSettings() if settings is None else settings
        self._allowed = frozenset(split_uri(uri)[0] for uri in servers)
        self._connect = connect or self._endpoint
        self._pools: dict[Origin, ConnectionPool] = {}
        self._trust: dict[Origin, ServerTrust] = {}

    async def request(
        self,
        method: str,
        uri: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        transfer: Transfer | None = None,
    ) -> HttpResponse:
        """Send a request; redirects are followed and challenges answered.

        :param uri: absolute, percent-encoded; its path and query are sent as they are.
        :param transfer: bodies that are not held; then ``body`` is empty.
        :raises NoAnswer: there is no answer, or none that could be believed.
        :raises ValueError: ``uri`` is no HTTP URI.
        """
        fields = list(headers)
        for _ in range(REDIRECTS + 1):
            origin, target = split_uri(uri)
            if origin not in self._allowed:
                raise NoAnswer("redirect", origin.authority, "it is none of the configured servers")
            response = await self._authenticated(origin, method, target, fields, body, transfer)
            location = response.header("location")
            if response.status not in (301, 302, 303, 307, 308) or location is None:
                return response
            if response.status == 303:
                if method not in ("GET", "HEAD"):
                    return response  # done; the Location only describes the outcome
                body, transfer = b"", None
            try:
                split_uri(uri := urljoin(uri, location))
            except ValueError:
                raise NoAnswer("redirect", origin.authority, "it redirects to nowhere") from None
        raise NoAnswer("redirect", origin.authority, "it redirects without end")

    async def stop(self) -> None:
        """Close all connections."""
        await DeferredList([pool.stop() for pool in self._pools.values()])

    async def _authenticated(
        self,
        origin: Origin,
        method: str,
        target: str,
        fields: list[tuple[str, str]],
        body: bytes,
        transfer: Transfer | None,
    ) -> HttpResponse:
        """Send a request with credentials as far as they are asked for."""
        credentials, server = self.credentials, origin.authority
        value = None if credentials is None else credentials.reuse(server, method, target, body)
        challenges, repeated = 0, False
        while True:
            try:
                response = await self._send(origin, method, target, fields, value, body, transfer)
            except UpstreamFailure as failure:
                # a connection kept open may have been closed by the server meanwhile
                harmless = method in IDEMPOTENT or (
                    transfer is not None and transfer.sends and not transfer.begun
                )
                if repeated or failure.kind != "reset" or not harmless:
                    raise self._no_answer(origin, failure) from None
                repeated = True
                self._pool(origin).drop_idle()
                if credentials is not None and value is not None:  # no replay
                    value = credentials.reuse(server, method, target, body)
                continue
            if response.status != 401 or credentials is None or challenges == _CHALLENGES:
                break
            offered = [v for name, v in response.headers if name.lower() == "www-authenticate"]
            answer = credentials.answer(server, offered, method, target, body, value)
            if answer is None:
                return response
            challenges += 1
            value = answer
        info = response.header("authentication-info")
        if credentials is not None and info is not None and value is not None:
            try:
                credentials.check(info, value, response.body)
            except ServerUnproven:
                raise NoAnswer("unproven", server, "it does not know your password") from None
        return response

    async def _send(
        self,
        origin: Origin,
        method: str,
        target: str,
        fields: list[tuple[str, str]],
        authorization: str | None,
        body: bytes,
        transfer: Transfer | None,
    ) -> HttpResponse:
        """Send a request once.

        :raises UpstreamFailure: there is no answer.
        """
        every = [("host", origin.authority), *fields]
        if self._settings.agent:
            every.append(("user-agent", self._settings.agent))
        if authorization is not None:
            every.append(("authorization", authorization))
        head = Head(method, target, origin.authority, Headers(every), HttpPeer(""))
        octets = request_octets(head, body, transfer)
        pool = self._pool(origin)
        return await pool.exchange(octets, head_only=method == "HEAD", transfer=transfer)

    def _no_answer(self, origin: Origin, failure: UpstreamFailure) -> NoAnswer:
        text = _TEXTS[failure.kind]
        trust = self._trust.get(origin)
        if failure.kind == "tls" and trust is not None and trust.problem:
            text = trust.problem
        return NoAnswer(failure.kind, origin.authority, text)

    def _pool(self, origin: Origin) -> ConnectionPool:
        pool = self._pools.get(origin)
        if pool is None:
            settings = ExchangeSettings(
                connections=self._settings.connections,
                waiting=1000,
                patience=60.0,
                first_byte=self._settings.timeout,
                whole=self._settings.timeout,
                body=self._settings.body,
            )
            pool = ConnectionPool(self._reactor, self._connect(origin), settings)
            self._pools[origin] = pool
        return pool

    def _endpoint(self, origin: Origin) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            self._reactor, origin.host, origin.port, timeout=self._settings.timeout
        )
        if origin.scheme == "http":
            return endpoint
        trust = self._trust[origin] = ServerTrust(origin.host, self._settings.trust)
        return wrapClientTLS(trust, endpoint)
