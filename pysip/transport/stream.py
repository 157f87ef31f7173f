"""What TCP, TLS and their in-memory stand-in share: connections as flows.

Requirements TRN-09, TRN-12, TRN-16, TRN-18, TRN-25, TRN-26, TRN-28 of ``sip-core.md``;
the table of connections is in :mod:`pysip.transport.connections`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

import attrs
from twisted.internet import error as network
from twisted.internet.interfaces import IDelayedCall, IPushProducer, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from zope.interface import implementer

from pysip.errors import TransportError
from pysip.interfaces import IFlow
from pysip.message import Request, Response
from pysip.parse import BadMessage, Ping, StreamFramer
from pysip.transport.keepalive import KeepAlive

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from pysip.interfaces import Address, IFlowListener
    from pysip.transport.connections import StreamTransport

PONG = b"\r\n"
"""Answer to a keep-alive ping (RFC 5626 section 4.4.1)."""

_CHUNK = 65536
"""Octets handed to the network at once from the queue."""


@attrs.frozen(slots=True, kw_only=True)
class StreamSettings:
    """Bounds of a stream transport; times in seconds, sizes in octets.

    :ivar message_timeout: from the first octet of a message to its last (TRN-18).
    :ivar idle_timeout: a connection without traffic and without listeners is closed after
        this, at least 32 (TRN-19).
    :ivar connect_timeout: until a connection stands.
    :ivar handshake_timeout: until the TLS handshake is done (TRN-18).
    :ivar close_timeout: what a closing connection gets to send what waits.
    :ivar queue_messages: messages that may wait behind a connect (TRN-26).
    :ivar queue_octets: octets that may wait behind a connect or a slow reader (TRN-26,
        TRN-28); the last message may go beyond it.
    :ivar max_connections: connections open at once, both directions.
    :ivar max_per_peer: inbound connections from one address.
    """

    message_timeout: float = 32.0
    idle_timeout: float = attrs.field(default=600.0, validator=attrs.validators.ge(32.0))
    connect_timeout: float = 10.0
    handshake_timeout: float = 10.0
    close_timeout: float = 2.0
    queue_messages: int = 1000
    queue_octets: int = 4 * 1024 * 1024
    max_connections: int = 20000
    max_per_peer: int = 1000


@implementer(IFlow, IPushProducer)
class StreamFlow(Protocol):
    """One connection, from the moment somebody wants it until it is gone.

    It is paused until the connection stands and whenever the network takes no more.
    Meanwhile messages wait in its own, bounded queue: that is both the queue behind a
    connect and the measure of a slow reader.

    :ivar local: our own address of the connection, None before it stands.
    :ivar outbound: we opened it.
    :ivar name: domain the peer has to prove (TLS), or "".
    :ivar aliases: what else it may be used for (TRN-20), keys of the transport's table.
    :ivar used: something was sent or received since the last look at idle connections.
    :ivar idle_since: clock time of that look.
    """

    def __init__(
        self, owner: StreamTransport, remote: Address, *, outbound: bool, name: str = ""
    ) -> None:
        self.protocol = owner.protocol
        self.reliable = True
        self.secure = owner.secure
        self.remote = remote
        self.local: Address | None = None
        self.names: frozenset[str] = frozenset()
        self.closed = False
        self.listeners: set[IFlowListener] = set()
        self.outbound = outbound
        self.name = name
        self.aliases: set[tuple[str, int, str]] = set()
        self.used = True
        self.idle_since = 0.0
        self.cancel_connect: Callable[[], object] | None = None
        self._owner = owner
        self._framer = StreamFramer(owner.limits)
        self._sent_by = ""
        self._established = False
        self._paused = True
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._early: set[IFlowListener] = set()
        self._timer: IDelayedCall | None = None
        self._keeper: KeepAlive | None = None
        self._error: TransportError | None = None

    @property
    def sent_by(self) -> str:
        """Our ``host:port`` (of the listening point) for the Via of requests."""
        if not self._sent_by:
            self._sent_by = self._owner.sent_by_toward(self.remote[0])
        return self._sent_by

    # -- sending

    def send(self, data: bytes) -> None:
        """Send one message, or queue it while the connection takes none; never raises."""
        self.used = True
        if self._owner.tap is not None:
            self._owner.tap.sent(data, self)
        if self.closed:
            self._owner.dropped += 1
            self._owner.fail(self, self._error or TransportError("connection is closed"))
        elif self._paused:
            self._enqueue(data)
        else:
            self._owner.sent += 1
            self._wire.write(data)

    @property
    def _wire(self) -> ITransport:
        return cast(ITransport, self.transport)

    def _enqueue(self, data: bytes) -> None:
        if not self._queue_full():
            self._queue.append(data)
            self._queued += len(data)
            if self._queue_full():
                self._early = set(self.listeners)
            return
        self._owner.dropped += 1
        if self._established:
            # TRN-28: a slow reader costs its own connection, not our memory.
            self.abort(TransportError("peer does not read"))
            return
        # TRN-26: the newest fail.  They are the listeners that came after the queue was
        # full; the messages of the others are in it.
        newest = self.listeners - self._early
        self._early |= newest
        self._owner.fail_some(self, newest, TransportError("too many messages wait to connect"))

    def _queue_full(self) -> bool:
        settings = self._owner.settings
        return self._queued >= settings.queue_octets or (
            not self._established and len(self._queue) >= settings.queue_messages
        )

    def pauseProducing(self) -> None:
        """The network takes no more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The network takes more: send what waits, until it is full again."""
        if not self._established:
            return
        self._paused = False
        queue = self._queue
        while queue and not self._paused:
            chunk = [queue.popleft()]
            size = len(chunk[0])
            while queue and size + len(queue[0]) <= _CHUNK:
                size += len(queue[0])
                chunk.append(queue.popleft())
            self._queued -= size
            self._owner.sent += len(chunk)
            self._wire.write(b"".join(chunk))
        if self.closed and not queue:
            self._lose()

    def stopProducing(self) -> None:
        """The connection is lost; :meth:`connectionLost` deals with it."""

    # -- life of the connection

    def connectionMade(self) -> None:
        """The TCP connection stands."""
        self.cancel_connect = None
        error = self._owner.connected(self)
        if error is None:
            self.established()
        else:
            self.abort(error)

    def established(self) -> None:
        """Messages may flow: send what has waited."""
        self._established = True
        self._early = set()
        here = self._wire.getHost()
        self.local = (here.host, here.port)  # type: ignore[attr-defined]
        self._owner.ready(self)
        self._wire.registerProducer(self, True)  # type: ignore[attr-defined]
        self.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Frame and deliver what has arrived (TRN-16)."""
        if self.closed:
            return
        self.used = True
        framer = self._framer
        items = framer.feed(data)
        for item in items:
            if isinstance(item, Request | Response):
                self._owner.deliver(item, self)
            elif isinstance(item, BadMessage):
                self._owner.deliver(item, self)
                if item.fatal:  # TRN-09: where the next message begins is unknown
                    self.close(TransportError("framing is lost"))
            elif self._keeper is not None and self._keeper.pong():
                pass
            elif isinstance(item, Ping):
                self.write_between(PONG)
            if self.closed:
                return
        if not framer.pending:
            self._cancel_timer()
        elif self._timer is None:
            self.set_timer(self._owner.settings.message_timeout, "incomplete message")
        elif items:
            # The deadline was of a message that is complete now; another has begun.
            self._timer.reset(self._owner.settings.message_timeout)

    def write_between(self, line_ends: bytes) -> None:
        """Write a ping or pong (TRN-12); while the peer reads nothing, one is enough."""
        self.used = True
        if not self._paused:
            self._wire.write(line_ends)
        elif self._established and (not self._queue or self._queue[-1] is not line_ends):
            self._enqueue(line_ends)

    def keep_alive(self, low: float = 95.0, high: float = 120.0) -> None:
        """Ping the peer, which is known to answer, from now on (TRN-13).

        :param low: least time between pings, seconds: 80 % of a Flow-Timer, if one was sent.
        :param high: greatest time between pings: the Flow-Timer.
        """
        if self._keeper is not None:
            self._keeper.stop()
        if not self.closed:
            self._keeper = KeepAlive(self, self._owner.clock, (low, high))

    def set_timer(self, seconds: float, cause: str) -> None:
        """Abort the connection with ``cause`` unless cancelled within ``seconds``."""
        self._cancel_timer()
        self._timer = self._owner.clock.callLater(seconds, self._overdue, cause)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _overdue(self, cause: str) -> None:
        self._timer = None
        self.abort(TransportError(cause))

    def refuse(self, error: TransportError) -> None:
        """Be a closed flow from the start: whatever is sent on it fails with ``error``."""
        self.closed = True
        self._error = error

    def close(self, error: TransportError | None = None) -> None:
        """Take nothing more, send what waits, then close the connection."""
        if self.closed:
            return
        self._end(error or TransportError("connection is closed"))
        if not self._established:
            self._drop()
            return
        self._timer = self._owner.clock.callLater(
            self._owner.settings.close_timeout, self._close_overdue
        )
        if not self._queue:
            self._lose()

    def abort(self, error: TransportError) -> None:
        """Close the connection at once; what waits is lost."""
        if not self.closed:
            self._end(error)
        self._drop()

    def connection_failed(self, error: TransportError) -> None:
        """The connection never stood."""
        self.cancel_connect = None
        if not self.closed:
            self._end(error)
        self._owner.gone(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, by whomever."""
        self._cancel_timer()
        if not self.closed:
            self._end(TransportError(failure_text(reason)))
        self._queue.clear()
        self._owner.gone(self)

    def _end(self, error: TransportError) -> None:
        """From here nothing can be sent; tell those who care (TRN-25)."""
        self.closed = True
        self._error = error
        self._cancel_timer()
        if self._keeper is not None:
            self._keeper.stop()
        self._owner.forget(self)
        if self.listeners:
            self._owner.fail(self, error)

    def _lose(self) -> None:
        self._wire.unregisterProducer()  # type: ignore[attr-defined]
        self._wire.loseConnection()

    def _close_overdue(self) -> None:
        self._timer = None
        self._drop()

    def _drop(self) -> None:
        self._queue.clear()
        if self.transport is not None:
            self._wire.abortConnection()  # type: ignore[attr-defined]
        elif self.cancel_connect is not None:
            self.cancel_connect()


def failure_text(reason: Failure) -> str:
    """Short cause of a failed connection, without addresses."""
    for kind, text in _CAUSES:
        if isinstance(reason.value, kind):
            return text
    return "connection failed"


_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (network.ConnectionRefusedError, "connection refused"),
    (network.TimeoutError, "connect timed out"),
    (network.TCPTimedOutError, "connect timed out"),
    (network.NoRouteError, "no route to host"),
    (network.ConnectionDone, "connection closed by peer"),
    (network.ConnectionLost, "connection lost"),
    (network.ConnectionAborted, "connection aborted"),
)
