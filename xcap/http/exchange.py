"""One request with its answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred

from xcap.errors import XcapError
from xcap.http.body import ChunkedBody, LengthBody
from xcap.http.messages import forwarded_peer, refusal
from xcap.http.settings import AccessRecord
from xcap.records import Head, HttpPeer, HttpResponse
from xcap.streams import Intake

if TYPE_CHECKING:
    from collections.abc import Callable

    from xcap.http.messages import RequestHead
    from xcap.http.serving import Serving

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

NOBODY = 499
"""Status in the access record of a request whose client did not wait for the answer."""


class Gone(Exception):
    """The client left before its body was complete."""


class Exchange:
    """A request and where it stands.

    :param ask: asks for the body to be collected, if it is not complete yet; ends in
        :meth:`wake`.  Raises :exc:`Gone` or XcapError when there will be none.
    :ivar body: None without one.
    :ivar began: clock time of the end of its head.
    :ivar patience: seconds that the body may take to come, None for those of the settings.
    :ivar held: fires when the service takes more of the body; None while it does.
    :ivar throttle: to be called when it does.
    :ivar work: what the service does, if it could not answer at once.
    :ivar settled: an answer has been sent.
    :ivar last: the connection has to end with the answer.
    """

    __slots__ = (
        "_ask",
        "_serving",
        "_waiter",
        "began",
        "body",
        "head",
        "held",
        "last",
        "patience",
        "request",
        "settled",
        "throttle",
        "wall",
        "work",
    )

    def __init__(
        self,
        serving: Serving,
        request: RequestHead,
        peer: HttpPeer,
        ask: Callable[[Exchange, LengthBody | ChunkedBody], None],
    ) -> None:
        self._serving = serving
        self._ask = ask
        self._waiter: Deferred[None] | None = None
        if peer.address in serving.settings.balancers:
            peer = forwarded_peer(peer, request.headers)
        self.request = request
        self.head = Head(request.method, request.target, request.authority, request.headers, peer)
        self.body: LengthBody | ChunkedBody | None = None
        if request.length > 0:
            self.body = LengthBody(request.length)
        elif request.length < 0:
            self.body = ChunkedBody(serving.settings.body)
        self.began = serving.clock.seconds()
        self.wall = serving.wall()
        self.work: Deferred[HttpResponse | None] | None = None
        self.settled = False
        self.last = request.close
        self.patience: float | None = None
        self.held: Deferred[None] | None = None
        self.throttle: Callable[[], None] | None = None

    @property
    def safe(self) -> bool:
        """Whether the request has no effect, so that it may be given up (AGP-81)."""
        return self.request.method in _SAFE

    @property
    def unread(self) -> bool:
        """Whether a part of the body has not come yet."""
        return self.body is not None and not self.body.done

    async def serve(self) -> HttpResponse | None:
        """Let the service answer; None when nobody is there to take an answer."""
        try:
            outcome = await self._serving.service.begin(self.head)
            if isinstance(outcome, HttpResponse):
                return outcome
            if isinstance(outcome, Intake):
                return await self._take_in(outcome)
            if self.request.length > self._serving.settings.body:
                raise XcapError(413, "the body is too large")
            return await outcome(b"" if self.body is None else await self._octets(self.body))
        except XcapError as error:
            return refusal(error)
        except (CancelledError, Gone):
            return None
        except Exception:
            self._serving.log.failure(
                "serving {method} has failed (connection {number})",
                method=self.request.method,
                number=self.head.peer.connection,
            )
            self.last = True
            return refusal(XcapError(500))

    async def _octets(self, body: LengthBody | ChunkedBody) -> bytes:
        """The whole body (XCAP-114)."""
        await self._whole(body)
        return body.octets()

    async def _whole(self, body: LengthBody | ChunkedBody) -> None:
        self._ask(self, body)
        if not body.done:
            self._waiter = Deferred()
            await self._waiter

    async def _take_in(self, intake: Intake) -> HttpResponse:
        """Hand the body on as it comes."""
        body = self.body
        self.patience = intake.seconds
        try:
            if body is not None:
                if not body.allows(intake.limit):
                    raise XcapError(413, "the body is too large")
                body.into(partial(self._piece, intake))
                await self._whole(body)
            return await intake.finish()
        except BaseException as error:
            intake.abandon(error)
            raise

    def _piece(self, intake: Intake, piece: bytes) -> None:
        try:
            waiting = intake.take(piece)
        except XcapError:
            raise
        except Exception:
            self._serving.log.failure("a body cannot be taken")
            raise XcapError(500) from None
        if waiting is not None and self.held is None:
            self.held = waiting
            waiting.addCallback(self._release)

    def _release(self, _: None) -> None:
        self.held = None
        if self.throttle is not None:
            self.throttle()

    @property
    def waits(self) -> bool:
        """Whether the body is waited for."""
        return self._waiter is not None

    def wake(self, error: Exception | None = None) -> None:
        """The body is complete, or will never be."""
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        if error is None:
            waiter.callback(None)
        else:
            waiter.errback(error)

    def tell(self, status: int, sent: int, *, gone: bool = False) -> None:
        """Count the answer and write it to the access log (AGP-84).

        :param sent: octets of its body.
        """
        serving = self._serving
        method = self.request.method
        serving.counters.answers[method, status] += 1
        if serving.access is not None:
            serving.tell(
                AccessRecord(
                    self.wall,
                    self.head.peer,
                    self.head,
                    method,
                    self.request.target.partition("?")[0],
                    status,
                    0 if self.body is None else self.body.size,
                    sent,
                    serving.clock.seconds() - self.began,
                    gone,
                )
            )
