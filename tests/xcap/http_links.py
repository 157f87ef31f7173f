"""A scripted service and connections without sockets, for tests of :mod:`xcap.http`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from xcap.http.protocol import HttpConnection
from xcap.http.settings import AccessRecord, HttpSettings
from xcap.http.site import HttpSite
from xcap.interfaces import IHttpService
from xcap.records import Head, HttpResponse, Receive

if TYPE_CHECKING:
    from collections.abc import Callable

WALL = 1_900_000_000.0
"""Seconds since the epoch at the begin of each test: 17 March 2030, 17:46:40 GMT."""

GET = b"GET /a HTTP/1.1\r\nHost: xcap.example.com\r\n\r\n"
"""A request that is served."""


def put(body: bytes, *fields: str, target: str = "/a") -> bytes:
    """A PUT with Content-Length."""
    extra = "".join(f"{field}\r\n" for field in fields)
    head = f"PUT {target} HTTP/1.1\r\nHost: h\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


@implementer(IHttpService)
class ScriptedService:
    """Answers what the test says.

    By default GET, HEAD and DELETE are answered with their target, and PUT takes the body.

    :ivar heads: what :meth:`begin` was called with.
    :ivar bodies: what came behind.
    :ivar answer: given instead by ``begin``: an answer, an exception to raise, or a Deferred
        of either.
    :ivar stored: given instead when the body was taken.
    """

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.bodies: list[bytes] = []
        self.answer: Any = None
        self.stored: Any = None
        self.cancelled = 0

    async def begin(self, head: Head) -> HttpResponse | Receive:
        """As the test says."""
        self.heads.append(head)
        if self.answer is not None:
            outcome = await self._play(self.answer)
            return cast("HttpResponse | Receive", outcome)
        if head.method in ("PUT", "POST"):
            return self.receive
        return HttpResponse(200, (("Content-Type", "text/plain"),), head.target.encode())

    async def receive(self, body: bytes) -> HttpResponse:
        """Take a body."""
        self.bodies.append(body)
        if self.stored is not None:
            return cast(HttpResponse, await self._play(self.stored))
        return HttpResponse(201, (("ETag", '"1"'),))

    async def _play(self, outcome: Any) -> Any:
        if isinstance(outcome, list):
            outcome = outcome.pop(0)
        if isinstance(outcome, Deferred):
            outcome.addErrback(self._note)
            outcome = await outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _note(self, failure: Any) -> Any:
        self.cancelled += 1
        return failure


class Wire(StringTransport):
    """A transport that remembers how it was closed, and whether reading is paused."""

    def __init__(self, address: str = "192.0.2.1") -> None:
        super().__init__(peerAddress=IPv4Address("TCP", address, 40000))
        self.aborted = False

    @property
    def paused(self) -> bool:
        """Nothing is read."""
        return self.producerState == "paused"

    def abortConnection(self) -> None:
        """Cut."""
        self.aborted = True
        super().abortConnection()


@attrs.frozen
class Answer:
    """An answer as it was written."""

    status: int
    headers: dict[str, str]
    body: bytes


def answers(data: bytes, *, heads: bool = False) -> list[Answer]:
    """Take apart what a server has written; interim answers are left out.

    :param heads: they answer HEAD, so no body follows.
    """
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        if not end:
            raise AssertionError(f"no answer: {head!r}")
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)
        }
        status = int(line.split(" ")[1])
        if status == 100:
            continue
        length = 0 if heads or status in (204, 304) else int(headers["content-length"])
        found.append(Answer(status, headers, data[:length]))
        data = data[length:]
    return found


class Bench:
    """A site without ports.

    :ivar records: the access log.
    """

    def __init__(
        self,
        settings: HttpSettings | None = None,
        overloaded: Callable[[], float | None] | None = None,
        access: Callable[[AccessRecord], object] | None = None,
    ) -> None:
        self.clock = Clock()
        self.service = ScriptedService()
        self.records: list[AccessRecord] = []
        self.site = HttpSite(
            self.service,
            cast(Any, self.clock),
            settings or HttpSettings(),
            wall=lambda: WALL + self.clock.seconds(),
            overloaded=overloaded,
            access=access or self.records.append,
        )
        self.factory = self.site.factory()

    def connect(self, address: str = "192.0.2.1", port: int = 40000) -> Line | None:
        """A new connection, None when it was refused."""
        protocol = self.factory.buildProtocol(IPv4Address("TCP", address, port))
        if protocol is None:
            return None
        return Line(self, protocol, address)

    def line(self, address: str = "192.0.2.1") -> Line:
        """A new connection for which there is room."""
        line = self.connect(address)
        assert line is not None
        return line

    def pass_time(self, seconds: float) -> None:
        """Let the clock run, a quarter of a second at a time."""
        self.clock.pump([0.25] * int(seconds * 4))


class Line:
    """One connection."""

    def __init__(self, bench: Bench, protocol: HttpConnection, address: str) -> None:
        self.bench = bench
        self.protocol = protocol
        self.wire = Wire(address)
        protocol.makeConnection(self.wire)

    def send(self, data: bytes) -> list[Answer]:
        """Deliver octets; the answers written meanwhile."""
        self.feed(data)
        return self.answers()

    def feed(self, data: bytes) -> None:
        """Deliver octets."""
        self.protocol.dataReceived(data)

    def raw(self) -> bytes:
        """What was written since the last look."""
        data: bytes = self.wire.value()
        self.wire.clear()
        return data

    def answers(self, *, heads: bool = False) -> list[Answer]:
        """The answers written since the last look."""
        return answers(self.raw(), heads=heads)

    def answer(self) -> Answer:
        """The one answer written since the last look."""
        (only,) = self.answers()
        return only

    def one(self, data: bytes) -> Answer:
        """Deliver octets; the one answer to them."""
        self.feed(data)
        return self.answer()

    def hang_up(self) -> None:
        """The client closes."""
        self.protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def closed(self) -> bool:
        """The server has ended the connection."""
        return self.wire.disconnecting or self.wire.aborted
