"""What all connections of a site share: the service, bounds, counters, the clocks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from xcap.http.settings import AccessRecord, HttpCounters, HttpSettings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from xcap.http.link import Link
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
        access: Callable[[AccessRecord], None] | None = None,
    ) -> None:
        self.service = service
        self.clock = clock
        self.settings = settings
        self.wall = wall
        self.counters = HttpCounters()
        self.connections: set[Link] = set()
        self.working: set[Deferred[HttpResponse | None]] = set()
        self.stopping = False
        self.server_line = f"Server: {settings.server}\r\n" if settings.server else ""
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
        if address not in settings.balancers and self._addresses[address] >= settings.per_address:
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

    def refuse_after(self) -> float | None:
        """As :meth:`overload`, once it has lasted so long that requests are refused too."""
        if self._overloaded is None:
            return None
        after = self.overload()
        if after is None or self._overload_since is None:
            return None
        lasted = self.clock.seconds() - self._overload_since
        return after if lasted >= self.settings.overload_grace else None

    # -- answers

    def date_line(self, wall: float) -> str:
        """``Date: …`` with CRLF; formatted once a second."""
        second = int(wall)
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
