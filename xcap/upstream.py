"""Document servers as the Aggregation Proxy reaches them: elsewhere, or in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.logger import Logger
from zope.interface import implementer

from xcap.auth.identity import IN_PROCESS
from xcap.errors import XcapError
from xcap.exchange import (
    ExchangeSettings,
    FailureKind,
    UpstreamFailure,
    request_octets,
)
from xcap.histogram import Histogram
from xcap.interfaces import IBackEnd
from xcap.pool import ConnectionPool
from xcap.records import Head

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IDelayedCall,
        IOpenSSLClientConnectionCreator,
        IReactorTime,
        IStreamClientEndpoint,
    )
    from twisted.python.failure import Failure

    from xcap.interfaces import IHttpService
    from xcap.records import HttpResponse, Receive

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that may be repeated whatever has become of the first attempt (AGP-79)."""

_BODYLESS = SAFE | {"DELETE", "TRACE"}
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_ANSWERS: dict[FailureKind, tuple[int, str]] = {
    "refused": (502, "The document server cannot be reached"),
    "unreachable": (502, "The document server cannot be reached"),
    "busy": (503, "The document server is busy"),
    "reset": (502, "The document server gave no complete answer"),
    "tls": (502, "The document server cannot be reached safely"),
    "invalid": (502, "The document server gave no valid answer"),
    "large": (502, "The document server gave too large an answer"),
    "late": (504, "The document server gave no answer in time"),
}


class UpstreamError(XcapError):
    """A back-end gave no answer that can be passed on (AGP-80).

    :ivar kind: as in :class:`xcap.exchange.UpstreamFailure`.
    :ivar sent: whether the server may have seen something of the request.
    """

    def __init__(self, kind: FailureKind, sent: bool) -> None:
        super().__init__(*_ANSWERS[kind])
        self.kind = kind
        self.sent = sent

    def may_repeat(self, method: str) -> bool:
        """Whether another attempt can do no harm (AGP-79) and could do better."""
        return self.kind != "large" and (method in SAFE or not self.sent)


@implementer(IBackEnd)
class LocalBackEnd:
    """A document server of this process: the hop is a function call (AGP-04).

    :param service: the document server.
    :param auids: what is routed to it.
    """

    up = True

    def __init__(self, name: str, service: IHttpService, auids: Iterable[str] = ()) -> None:
        self.name = name
        self.auids = frozenset(auids)
        self._service = service

    async def begin(self, head: Head) -> HttpResponse | Receive:
        """Hand the request over, as coming from the proxy of this process."""
        head = Head(head.method, head.target, head.authority, head.headers, IN_PROCESS)
        return await self._service.begin(head)


@attrs.frozen(slots=True, kw_only=True)
class UpstreamSettings:
    """How a server elsewhere is treated; times in seconds.

    :ivar connect: to establish a TCP connection.
    :ivar exchange: bounds of requests.
    :ivar interval: between two checks of its health, 0 for none.
    :ivar failures: checks in a row that must fail to take it out of use.
    """

    connect: float = 2.0
    exchange: ExchangeSettings = attrs.field(factory=ExchangeSettings)
    interval: float = 5.0
    failures: int = 3


@implementer(IBackEnd)
class RemoteBackEnd:
    """One document server elsewhere.

    :param clock: for the timers.
    :param endpoint: where it is; see :func:`server_endpoint`.
    :param auids: what is routed to it.
    :param probe: a harmless request, sent now and then to see whether the server lives; any
        answer below 500 proves it does.  None never looks.

    :ivar up: False after a refused connection or failed checks, until a check succeeds.
    :ivar seconds: how long the answers took that came.
    :ivar failures: requests without answer, by kind.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        name: str,
        endpoint: IStreamClientEndpoint,
        *,
        auids: Iterable[str] = (),
        probe: Head | None = None,
        settings: UpstreamSettings | None = None,
    ) -> None:
        self.name = name
        self.auids = frozenset(auids)
        self.up = True
        self.seconds = Histogram(_BOUNDS)
        self.failures: Counter[FailureKind] = Counter()
        self._clock = clock
        self._settings = UpstreamSettings() if settings is None else settings
        self.pool = ConnectionPool(clock, endpoint, self._settings.exchange)
        self._probe = probe
        self._failed = 0
        self._timer: IDelayedCall | None = None
        self._checking: Deferred[None] | None = None

    # -- requests -----------------------------------------------------------------------

    async def begin(self, head: Head) -> HttpResponse | Receive:
        """Forward a request, or wait for the body of one that has a body."""
        if head.method in _BODYLESS:
            return await self._exchange(head, b"")
        return partial(self._exchange, head)

    async def _exchange(self, head: Head, body: bytes) -> HttpResponse:
        began = self._clock.seconds()
        work = Deferred.fromCoroutine(
            self.pool.exchange(request_octets(head, body), head_only=head.method == "HEAD")
        )
        if head.method not in SAFE:
            work = self._to_the_end(work, head)
        try:
            response = await work
        except UpstreamFailure as failure:
            self.failures[failure.kind] += 1
            if failure.kind == "refused":
                self._down("it refuses connections")
            elif failure.sent:
                # it may have closed the other connections too: the next attempt gets a new one
                self.pool.drop_idle()
            raise UpstreamError(failure.kind, failure.sent) from None
        self.seconds.observe(self._clock.seconds() - began)
        return response

    def _to_the_end(self, work: Deferred[HttpResponse], head: Head) -> Deferred[HttpResponse]:
        """What goes on although who waits for it gives up (AGP-81)."""
        gone = False

        def give_up(waiting: Deferred[HttpResponse]) -> None:
            nonlocal gone
            gone = True

        waiting: Deferred[HttpResponse] = Deferred(give_up)

        def done(result: HttpResponse | Failure) -> None:
            if not gone:
                waiting.callback(result)
                return
            self._log.info(
                "{method} whose client has left ended with {outcome} at {server}",
                method=head.method,
                outcome=getattr(result, "status", "failure"),
                server=self.name,
            )

        work.addBoth(done)
        return waiting

    # -- health -------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look whether the server lives (AGP-78)."""
        if self._probe is not None and self._settings.interval:
            self._timer = self._clock.callLater(0, self._check)

    def stop(self) -> Deferred[None]:
        """Look no more and close the connections; fires when they are closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._checking is not None:
            self._checking.cancel()
        return self.pool.stop()

    def _check(self) -> None:
        self._timer = None
        # the timer is set before, so that an answer at once does not cancel its own
        self._timer = self._clock.callLater(self._settings.interval, self._check)
        if self._checking is None:
            self._checking = Deferred.fromCoroutine(self._look())
            self._checking.addBoth(self._checked)

    def _checked(self, result: object) -> None:
        self._checking = None
        if getattr(result, "check", None) is not None:
            self._log.debug("a check of {server} was given up", server=self.name)

    async def _look(self) -> None:
        probe = self._probe
        assert probe is not None  # noqa: S101  # else there is no timer
        try:
            response = await self.pool.exchange(
                request_octets(probe, b""), head_only=probe.method == "HEAD"
            )
            reason = f"it answers {response.status}" if response.status >= 500 else ""
        except UpstreamFailure as failure:
            if failure.kind == "busy":
                return  # with requests under way, which says enough
            if failure.kind == "refused":
                self._failed = self._settings.failures
            reason = _ANSWERS[failure.kind][1]
        if not reason:
            self._failed = 0
            if not self.up:
                self.up = True
                self._log.info("{server} is back", server=self.name)
            return
        self._failed += 1
        if self._failed >= self._settings.failures:
            self._down(reason)

    def _down(self, reason: str) -> None:
        # without checks nothing would bring it back
        if self._timer is None or not self.up:
            return
        self.up = False
        self.pool.drop_idle()
        self._log.warn(
            "{server} is out of use: {reason}",
            server=self.name,
            reason=reason,
            problem="backend-down",
        )


def server_endpoint(
    reactor: object,
    host: str,
    port: int,
    *,
    tls: IOpenSSLClientConnectionCreator | None = None,
    timeout: float = 2.0,
) -> IStreamClientEndpoint:
    """Where a document server is.

    :param reactor: connects and resolves names.
    :param host: name or numeric address.
    :param tls: see :class:`xcap.clienttls.VerifiedServer`; None for plain TCP.
    :param timeout: seconds to establish the TCP connection.
    """
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, host, port, timeout=timeout)
    return endpoint if tls is None else wrapClientTLS(tls, endpoint)
