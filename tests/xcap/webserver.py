"""HTTP servers in memory for clients: what they are asked, what they answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import attrs
from twisted.internet import error
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from pysip.auth.digest import ha1, ha2, parse_digest_credentials, response_digest
from xcap.records import Headers, HttpResponse

if TYPE_CHECKING:
    from xcap.agent import Origin

CLOSE = "close"
"""Instead of an answer: the connection ends."""
SILENCE = "silence"
"""Instead of an answer: nothing."""


@attrs.frozen
class Asked:
    """A request.

    :ivar connection: number of its connection, from 0.
    """

    origin: Origin
    method: str
    target: str
    headers: Headers
    body: bytes
    connection: int


Answer = HttpResponse | str


class _Transport(StringTransport):
    """Hands what is written to the server."""

    def __init__(self, server: WebServer, origin: Origin, number: int) -> None:
        super().__init__()
        self.server = server
        self.origin = origin
        self.number = number
        self.protocol: Protocol | None = None
        self.over = False

    def write(self, data: bytes) -> None:
        """A request, or a part of one."""
        super().write(data)
        self.server.received(self)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Not for us."""

    def abortConnection(self) -> None:
        """The connection ends."""
        self.lose(error.ConnectionAborted())

    def lose(self, reason: Exception | None = None) -> None:
        """The connection ends."""
        if not self.over and self.protocol is not None:
            self.over = True
            self.protocol.connectionLost(Failure(reason or error.ConnectionDone()))


class WebServer:
    """All the servers that there are.

    :param answer: gives the answer to each request.

    :ivar asked: every request so far.
    :ivar transports: every connection so far.
    """

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.transports: list[_Transport] = []

    def connect(self, origin: Origin) -> IStreamClientEndpoint:
        """An endpoint of one of them."""
        return _Endpoint(self, origin)

    def received(self, transport: _Transport) -> None:
        """Octets have come."""
        head, separator, body = transport.value().partition(b"\r\n\r\n")
        if not separator:
            return
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = Headers((n, v.strip()) for n, _, v in (f.partition(":") for f in fields))
        if len(body) < int(headers.get("content-length") or 0):
            return
        transport.clear()
        method, target, _ = line.split(" ")
        asked = Asked(transport.origin, method, target, headers, body, transport.number)
        self.asked.append(asked)
        answer = self.answer(asked)
        if isinstance(answer, HttpResponse):
            self.send(transport, answer)
        elif answer == CLOSE:
            transport.lose()

    def send(self, transport: _Transport, answer: HttpResponse) -> None:
        """Send an answer."""
        lines = [f"HTTP/1.1 {answer.status} x", f"Content-Length: {len(answer.body)}"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        octets = "\r\n".join([*lines, "", ""]).encode() + answer.body
        cast(Protocol, transport.protocol).dataReceived(octets)


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, server: WebServer, origin: Origin) -> None:
        self._server = server
        self._origin = origin

    def connect(self, factory: IProtocolFactory) -> Deferred[Protocol]:
        """A new connection."""
        transport = _Transport(self._server, self._origin, len(self._server.transports))
        protocol = cast(Protocol, factory.buildProtocol(None))
        transport.protocol = protocol
        self._server.transports.append(transport)
        protocol.makeConnection(transport)
        return succeed(protocol)


class DigestServer:
    """Asks for Digest credentials of alice and proves that it knows her password.

    :ivar nonce: the one nonce that is good now.
    :ivar next: ``nextnonce`` of the next answer.
    :ivar proof: what to do to ``rspauth``.
    :ivar refused: credentials that were not accepted.
    """

    realm = "example.com"

    def __init__(self, algorithm: str = "SHA-256", qop: str = "auth,auth-int") -> None:
        self.algorithm = algorithm
        self.qop = qop
        self.nonce = "nonce-1"
        self.next = ""
        self.proof: Callable[[str], str] = str
        self.refused = 0
        self.counts: list[tuple[str, int]] = []
        self.body = b"hello"

    def __call__(self, asked: Asked) -> Answer:
        """Answer a request."""
        value = asked.headers.get("authorization")
        if value is None:
            return self.challenge()
        used = parse_digest_credentials(value)
        assert used is not None
        assert used.uri == asked.target, "not the request target"
        algorithm = self.algorithm.removesuffix("-sess")
        secret = ha1("alice", self.realm, "secret", algorithm)
        if algorithm != self.algorithm:
            from pysip.auth.digest import session_ha1

            secret = session_ha1(secret, "nonce-1", used.cnonce, algorithm)
        body = asked.body if used.qop == "auth-int" else None
        right = response_digest(
            secret,
            ha2(asked.method, asked.target, algorithm, body),
            used.nonce,
            algorithm,
            used.nc,
            used.cnonce,
            used.qop,
        )
        if used.response != right:
            self.refused += 1
            return self.challenge()
        if used.nonce != self.nonce or (used.nonce, used.count) in self.counts:
            self.refused += 1
            return self.challenge(stale=True)
        self.counts.append((used.nonce, used.count))
        proof = response_digest(
            secret,
            ha2("", used.uri, algorithm, self.body if used.qop == "auth-int" else None),
            used.nonce,
            algorithm,
            used.nc,
            used.cnonce,
            used.qop,
        )
        info = (
            f'qop={used.qop}, rspauth="{self.proof(proof)}", cnonce="{used.cnonce}", nc={used.nc}'
        )
        if self.next:
            info += f', nextnonce="{self.next}"'
            self.nonce, self.next = self.next, ""
        return HttpResponse(200, (("Authentication-Info", info),), self.body)

    def challenge(self, *, stale: bool = False) -> HttpResponse:
        """A 401; algorithms that nobody knows come first, two challenges in one field."""
        value = (
            f'Digest realm="{self.realm}", nonce="{self.nonce}", algorithm={self.algorithm}, '
            f'qop="{self.qop}"'
        )
        if stale:
            value += ", stale=true"
        unknown = f'Digest realm="{self.realm}", nonce="n", algorithm=NEW, qop="auth"'
        fields = (
            ("WWW-Authenticate", f"{unknown}, {value}"),
            ("WWW-Authenticate", "Basic realm=x"),
        )
        return HttpResponse(401, fields, b"who are you?")
