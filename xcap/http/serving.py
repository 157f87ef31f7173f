"""What all connections of a site share: the service, bounds, counters, the clocks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from xcap.errors import XcapError
from xcap.http.messages import encode_response, host_of, refusal
from xcap.http.settings import AccessRecord, HttpCounters, HttpSettings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from xcap.http.link import Link
    from xcap.http.messages import RequestHead
    from xcap.interfaces import IHttpService
    from xcap.records import HttpResponse

TICK = 1.0
"""Seconds between two looks at the deadlines of the connections."""


class Serving:
    """State of a site that its connections use.

    :param overloaded: seconds after which to come back, None while there is no overload
        (AGP-83).
    :ivar access: is told about every request (AGP-84).
    :ivar stopping: connections end after the request they are busy with.
    :ivar working: requests that the service works on, also those whose client has gone.
    """

    log = Logger(namespace="xcap.http")

    def __init__(
        self,
        service: IHttpService,
        clock: IReactorTime,
        settings: HttpSettings,
        *,
        wall: Callable[[], float] = time.time,
        overloaded: Callable[[], float | None] | None = None,
        access: Callable[[AccessRecord], object] | None = None,
    ) -> None:
        self.service = service
        self.clock = clock
        self.settings = settings
        self.wall = wall
        self.counters = HttpCounters()
        self.connections: set[Link] = set()
        self.working: set[Deferred[HttpResponse | None]] = set()
        self.stopping = False
        self._server = f"Server: {settings.server}\r\n" if settings.server else ""
        self.access = access
        self._overloaded = overloaded
        self._overload_since: float | None = None
        self._addresses: Counter[str] = Counter()
        self._numbers = 0
        self._second = -1
        self._date = ""
        self._tick: IDelayedCall | None = None
        self._quiet: list[Deferred[None]] = []

    # -- connections

    def room_for(self, address: str) -> bool:
        """Whether one more connection may be taken (AGP-76, AGP-83)."""
        settings = self.settings
        if self.stopping or len(self.connections) >= settings.connections:
            return False
        if self._addresses[address] >= settings.per_address and not (
            address in settings.balancers or address in settings.unbounded
        ):
            return False
        return self.overload() is None

    def opened(self, connection: Link, address: str) -> int:
        """Count a connection in; its number."""
        self.counters.accepted += 1
        self.counters.open += 1
        self.connections.add(connection)
        self._addresses[address] += 1
        if self._tick is None:
            self._tick = self.clock.callLater(TICK, self._look)
        self._numbers += 1
        return self._numbers

    def closed(self, connection: Link, address: str) -> None:
        """Count a connection out."""
        self.counters.open -= 1
        self.connections.discard(connection)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
        if not self.connections and self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self.settle()

    def _look(self) -> None:
        """Let every connection look at its deadline."""
        self._tick = self.clock.callLater(TICK, self._look)
        self.overload()
        now = self.clock.seconds()
        for connection in list(self.connections):
            connection.check(now)

    # -- stopping

    def when_quiet(self) -> Deferred[None]:
        """Fires when no connection is open and no request in progress."""
        waiting: Deferred[None] = Deferred()
        self._quiet.append(waiting)
        self.settle()
        return waiting

    def settle(self) -> None:
        """Something has ended; tell who waits for the last."""
        if self._quiet and not self.connections and not self.working:
            quiet, self._quiet = self._quiet, []
            for waiting in quiet:
                waiting.callback(None)

    # -- overload

    def overload(self) -> float | None:
        """When to come back; None without overload."""
        if self._overloaded is None:
            return None
        after = self._overloaded()
        if after is None:
            self._overload_since = None
        elif self._overload_since is None:
            self._overload_since = self.clock.seconds()
        return after

    def _refuse_after(self) -> float | None:
        """As :meth:`overload`, once it has lasted so long that requests are refused too."""
        if self._overloaded is None:
            return None
        after = self.overload()
        if after is None or self._overload_since is None:
            return None
        lasted = self.clock.seconds() - self._overload_since
        return after if lasted >= self.settings.overload_grace else None

    # -- answers

    def refused(self, request: RequestHead) -> HttpResponse | None:
        """Refusals that need no service (AGP-10, AGP-76, AGP-83)."""
        settings = self.settings
        if settings.hosts and host_of(request.authority) not in settings.hosts:
            return refusal(XcapError(421, "this host is not served here"))
        if request.length > settings.body and request.length > settings.streamed:
            return refusal(XcapError(413, "the body is too large"))
        after = self._refuse_after()
        if after is None:
            return None
        self.counters.overloads += 1
        headers = (("Retry-After", str(max(1, round(after)))),)
        return refusal(XcapError(503, "too much to do; try again later", headers))

    def encoded(self, response: HttpResponse, method: str, *, close: bool) -> bytes:
        """An answer on the wire, with Date and Server.

        :raises ValueError: it must not be sent: a bug of the service.
        """
        return encode_response(
            response,
            head=method == "HEAD",
            close=close,
            date=self._date_line(),
            server=self._server,
        )

    def _date_line(self) -> str:
        """``Date: …`` with CRLF; formatted once a second."""
        second = int(self.wall())
        if second != self._second:
            self._second = second
            self._date = f"Date: {formatdate(second, usegmt=True)}\r\n"
        return self._date

    def tell(self, record: AccessRecord) -> None:
        """Tell the access log, if there is one, about a request (AGP-84)."""
        if self.access is None:
            return
        try:
            self.access(record)
        except Exception:
            self.log.failure("the access log has failed; requests go on")
