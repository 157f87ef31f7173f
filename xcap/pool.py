"""Persistent connections to one document server (AGP-78)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from twisted.internet import error
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredSemaphore,
    TimeoutError,
    succeed,
)
from twisted.internet.protocol import Factory

from xcap.exchange import Connection, ExchangeSettings, UpstreamFailure

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IAddress,
        IDelayedCall,
        IProtocol,
        IReactorTime,
        IStreamClientEndpoint,
    )

    from xcap.records import HttpResponse
    from xcap.transfer import Transfer


class _Connecting(Factory):
    noisy = False

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return Connection(self._pool)


class ConnectionPool:
    """Connections to one server (AGP-78); no pipelining.

    :param clock: for the timers.
    :param endpoint: connects, within its own time-out.

    :ivar opened: connections made.
    """

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        settings: ExchangeSettings | None = None,
    ) -> None:
        self.clock = clock
        self._endpoint = endpoint
        self.settings = ExchangeSettings() if settings is None else settings
        self._slots = DeferredSemaphore(self.settings.connections)
        self._connecting: set[Deferred[IProtocol]] = set()
        self._open: set[Connection] = set()
        # (connection, since when it is unused), the newest at the right
        self._idle: deque[tuple[Connection, float]] = deque()
        self._sweep: IDelayedCall | None = None
        self._closed: Deferred[None] | None = None
        self._stopped = False
        self.opened = 0

    @property
    def busy(self) -> int:
        """Requests under way."""
        return self._slots.limit - self._slots.tokens

    @property
    def idle(self) -> int:
        """Connections without a request."""
        return len(self._idle)

    async def exchange(
        self, octets: bytes, *, head_only: bool = False, transfer: Transfer | None = None
    ) -> HttpResponse:
        """Send a request and wait for its answer.

        :param transfer: bodies that are not held.
        :raises UpstreamFailure: there is none.
        """
        if self._stopped:
            raise UpstreamFailure("busy", False)
        await self._slot()
        try:
            connection = self._take()
            if connection is None:
                connection = await self._connect()
            response = await connection.request(octets, head_only, transfer)
            self._put(connection)
            return response
        finally:
            self._slots.release()

    def drop_idle(self) -> None:
        """Close the unused connections, so that the next request gets a fresh one."""
        while self._idle:
            self._idle.pop()[0].close()
        self._rest()

    def stop(self) -> Deferred[None]:
        """Close all connections; fires when they are closed."""
        self._stopped = True
        self.drop_idle()
        for connecting in list(self._connecting):
            connecting.cancel()
        if not self._open:
            return succeed(None)
        closed = self._closed = Deferred()
        for connection in list(self._open):
            connection.close()
        return closed

    def made(self, connection: Connection) -> None:
        """A connection stands."""
        self._open.add(connection)

    def lost(self, connection: Connection) -> None:
        """A connection has ended."""
        self._open.discard(connection)
        for entry in self._idle:
            if entry[0] is connection:
                self._idle.remove(entry)
                break
        self._rest()
        if self._closed is not None and not self._open:
            closed, self._closed = self._closed, None
            closed.callback(None)

    async def _slot(self) -> None:
        if not self._slots.tokens and len(self._slots.waiting) >= self.settings.waiting:
            raise UpstreamFailure("busy", False)
        waiting = self._slots.acquire()
        if not waiting.called:
            waiting.addTimeout(self.settings.patience, self.clock)
        try:
            await waiting
        except TimeoutError:
            raise UpstreamFailure("busy", False) from None

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()[0]
            if connection.usable:
                self._rest()
                return connection
        return None

    async def _connect(self) -> Connection:
        connecting = self._endpoint.connect(_Connecting(self))
        self._connecting.add(connecting)
        try:
            connection = await connecting
        except CancelledError:
            if not self._stopped:
                raise
            raise UpstreamFailure("busy", False) from None
        except (error.ConnectionRefusedError, ConnectionRefusedError):
            raise UpstreamFailure("refused", False) from None
        except (error.TimeoutError, error.ConnectingCancelledError):
            raise UpstreamFailure("late", False) from None
        except (error.ConnectError, error.DNSLookupError, OSError):
            raise UpstreamFailure("unreachable", False) from None
        finally:
            self._connecting.discard(connecting)
        self.opened += 1
        return cast(Connection, connection)

    def _put(self, connection: Connection) -> None:
        if connection.usable and not self._stopped:
            self._idle.append((connection, self.clock.seconds()))
            if self._sweep is None:
                self._sweep = self.clock.callLater(self.settings.idle, self._expire)
        elif connection.usable:
            connection.close()

    def _expire(self) -> None:
        self._sweep = None
        limit = self.clock.seconds() - self.settings.idle
        while self._idle and self._idle[0][1] <= limit:
            self._idle.popleft()[0].close()
        if self._idle:
            self._sweep = self.clock.callLater(self._idle[0][1] - limit, self._expire)

    def _rest(self) -> None:
        """No timer without idle connections."""
        if not self._idle and self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
