"""One HTTP/1.1 connection (RFC 9112; AGP-28, AGP-74, AGP-76, AGP-77, AGP-81, XCAP-114).

One request at a time is served; what is pipelined behind it waits as octets, and when that
is too much no more is read.  Deadlines are plain numbers, looked at once a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from xcap.errors import XcapError
from xcap.http.exchange import NOBODY, Exchange, Gone
from xcap.http.link import Link, Phase
from xcap.http.messages import CONTINUE, check_partial, parse_head, refusal
from xcap.http.settings import AccessRecord
from xcap.streams import Outflow, StreamedResponse

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from xcap.http.body import ChunkedBody, LengthBody
    from xcap.http.messages import RequestHead
    from xcap.http.serving import Serving
    from xcap.records import HttpResponse

_END = b"\r\n\r\n"

_BATCH = 16
"""Pipelined requests served in one go before others get their turn."""


class HttpConnection(Link):
    """Requests and answers on a :class:`Link`."""

    def __init__(self, serving: Serving, address: str, port: int, *, secure: bool) -> None:
        super().__init__(serving, address, port, secure=secure)
        self._buffer = b""
        self._scanned = 0
        self._skipped = False
        self._exchange: Exchange | None = None
        self._reading = False  # what comes is the body of the exchange
        self._body_began = 0.0  # this, or the one of the answer in pieces
        self._outflow: Outflow | None = None
        self._looping = False
        self._resuming = False

    def finish(self) -> None:
        """End as soon as no request is in progress: the site stops."""
        if self.phase is Phase.HANDSHAKE:
            self.abort()
        elif self.phase is Phase.IDLE:
            self.close(0, clean=True)

    def gone(self) -> None:
        """Stop what is done for the client alone (AGP-81)."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if self._outflow is not None:
            self._outflow.stop()
        elif exchange.waits:
            exchange.wake(Gone())
        elif exchange.work is not None and exchange.safe:
            exchange.work.cancel()

    # -- reading

    def received(self, data: bytes) -> None:
        """Octets of heads and bodies."""
        if self._reading and self._exchange is not None:
            self._feed(self._exchange, data)
            return
        self._buffer = self._buffer + data if self._buffer else data
        if self.phase is not Phase.SERVING:
            self._proceed()
        if self._buffer or self.stopped:
            self._throttle()

    def _throttle(self) -> None:
        """Stop reading while more waits than a client may have waiting (AGP-76)."""
        settings = self.serving.settings
        exchange = self._exchange
        full = exchange is not None and exchange.held is not None
        # a head that has begun to come has bounds of its own
        if not full and (self.phase is Phase.SERVING or self.choked or self._resuming):
            full = (
                len(self._buffer) > settings.waiting
                or self._buffer.count(_END) >= settings.pipelined
            )
        self.read_on(not full)

    def unchoked(self) -> None:
        """The client has taken the answers: go on."""
        if self._outflow is not None:
            self._outflow.unchoke()
            return
        self._proceed()
        self._throttle()

    def _proceed(self) -> None:
        """Serve what has come, one request after the other."""
        if self._looping or self._resuming:
            return
        self._looping = True
        try:
            for _ in range(_BATCH):
                if not self._ready() or not self._next():
                    return
        finally:
            self._looping = False
        if self._ready():
            self._resuming = True
            self.serving.clock.callLater(0, self._go_on)

    def _ready(self) -> bool:
        """Whether there is something to look at, and the client takes an answer."""
        return (
            bool(self._buffer)
            and not self.choked
            and (self.phase is Phase.IDLE or self.phase is Phase.HEAD)
        )

    def _go_on(self) -> None:
        self._resuming = False
        if not self.lost:
            self._proceed()
            self._throttle()

    def _next(self) -> bool:
        """Take a head off the buffer and begin to serve it; False when there is none."""
        serving = self.serving
        buffer = self._buffer
        try:
            if not self._skipped and buffer.startswith(b"\r\n"):
                # RFC 9112 section 2.2: some clients send one too many
                self._skipped = True
                self._buffer = buffer = buffer[2:]
                self._scanned = 0
            end = buffer.find(_END, self._scanned)
            if end < 0:
                self._scanned = max(0, len(buffer) - 3)
                if self.phase is Phase.IDLE and buffer:
                    self.phase = Phase.HEAD
                    self.deadline = serving.clock.seconds() + serving.settings.header
                check_partial(buffer, serving.settings)
                return False
            self._scanned = 0
            self._skipped = False
            self._buffer = buffer[end + 4 :]
            request = parse_head(buffer[: end + 2], serving.settings)
        except XcapError as error:
            serving.counters.malformed += 1
            self._refuse_head(error)
            return False
        serving.counters.requests += 1
        self._begin(request)
        return True

    # -- serving

    def _begin(self, request: RequestHead) -> None:
        exchange = Exchange(self.serving, request, self.peer, self._ask)
        self._exchange = exchange
        self.phase = Phase.SERVING
        self.deadline = exchange.began + self.serving.settings.whole
        refused = self.serving.refused(request)
        if refused is not None:
            self._answer(exchange, refused)
            return
        work = Deferred.fromCoroutine(exchange.serve())
        if work.called:  # the usual case: answered at once
            work.addCallback(self._done, exchange)
        else:
            exchange.work = work
            self.serving.working.add(work)
            work.addCallback(self._done, exchange)
        work.addErrback(self._failed)

    def _ask(self, exchange: Exchange, body: LengthBody | ChunkedBody) -> None:
        """Collect a body that is wanted (XCAP-114).

        :raises Gone: it will never be complete.
        :raises XcapError: what has come of it is malformed or too large.
        """
        patience = exchange.patience
        if patience is not None:
            exchange.throttle = self._throttle
        if self._buffer:
            self._take(exchange, body)
        if body.done:
            return
        if self.lost:
            raise Gone
        if exchange.settled:  # given up meanwhile
            raise Gone
        settings = self.serving.settings
        now = self.serving.clock.seconds()
        self._body_began = now
        self.deadline = min(now + settings.body_time, exchange.began + settings.whole)
        if patience is not None:
            self.deadline = now + patience
        self._reading = True
        if exchange.request.expects and not body.size:
            self.write(CONTINUE)
        self._throttle()

    def _take(self, exchange: Exchange, body: LengthBody | ChunkedBody) -> None:
        """Move what has come of a body there; what is behind it stays."""
        data, self._buffer = self._buffer, b""
        try:
            self._buffer = body.feed(data)
        except XcapError:
            exchange.last = True  # nobody knows where the next request begins
            raise

    def _feed(self, exchange: Exchange, data: bytes) -> None:
        """Octets of a body that is waited for, or drained."""
        body = exchange.body
        if body is None:
            return
        self._buffer = data
        try:
            self._take(exchange, body)
        except XcapError as error:
            self._reading = False
            if exchange.settled:
                self._end(0, clean=False)
            else:
                exchange.wake(error)
            return
        if not body.done:
            if exchange.held is not None:
                self._throttle()
            return
        self._reading = False
        if exchange.settled:
            self._next_request(0)
        else:
            began = exchange.began
            if exchange.patience is not None:
                began = self.serving.clock.seconds()
            self.deadline = began + self.serving.settings.whole
            exchange.wake()
        if self._buffer or self.stopped:
            self._throttle()

    # -- answering

    def _done(self, response: HttpResponse | None, exchange: Exchange) -> None:
        """The service is through with a request."""
        serving = self.serving
        if exchange.work is not None:
            serving.working.discard(exchange.work)
        if (exchange.settled or self.lost) and isinstance(response, StreamedResponse):
            response.source.close()
        if exchange.settled:
            serving.settle()
        elif self.lost:
            serving.counters.gone += 1
            exchange.tell(NOBODY if response is None else response.status, 0, gone=True)
            serving.settle()
        elif response is None:
            self.abort()  # somebody else has cancelled it; there is nothing to say
        else:
            self._answer(exchange, response)

    def _failed(self, failure: Failure) -> None:
        """A bug in this module; the other connections go on."""
        self.serving.log.failure("a connection has failed", failure)
        self.abort()

    def _answer(self, exchange: Exchange, response: HttpResponse) -> None:
        """Send the answer, and see how the connection goes on."""
        exchange.settled = True
        self._reading = False
        drain = exchange.unread
        close = exchange.last or self.serving.stopping
        if drain and not close:
            close = not self._drainable(exchange)
        method = exchange.request.method
        streamed = response if isinstance(response, StreamedResponse) else None
        if streamed is not None:
            close = close or drain
        try:
            # without a body, Content-Length is what the answer says
            headed = method if streamed is None else "HEAD"
            data = self.serving.encoded(response, headed, close=close)
        except ValueError:
            self.serving.log.failure(
                "an answer to {method} cannot be sent (connection {number})",
                method=method,
                number=self.peer.connection,
            )
            close = True
            response = refusal(XcapError(500))
            data = self.serving.encoded(response, method, close=True)
            if streamed is not None:
                streamed.source.close()
                streamed = None
        self.write(data)
        if streamed is not None:
            if method != "HEAD":
                self._pour(exchange, streamed, close=close)
                return
            streamed.source.close()
        exchange.tell(response.status, 0 if method == "HEAD" else len(response.body))
        if close:
            self._end(len(data), clean=not drain and not self._buffer)
        elif drain:
            self._drain(exchange)
        else:
            self._next_request(len(data))

    def _pour(self, exchange: Exchange, response: StreamedResponse, *, close: bool) -> None:
        """Send the body of an answer as the client takes it."""
        settings = self.serving.settings
        outflow = self._outflow = Outflow(response.source, self.write, lambda: self.choked)
        length = int(response.header("content-length") or 0)
        now = self._body_began = self.serving.clock.seconds()
        self.deadline = now + settings.body_grace + length / settings.body_rate

        def poured(complete: bool) -> None:
            self._outflow = None
            exchange.tell(response.status, outflow.sent, gone=self.lost)
            if self.lost:
                self.serving.counters.gone += 1
            elif not complete or outflow.sent != length:
                self.abort()  # there is no other way to tell
            elif close:
                self._end(settings.waiting, clean=not exchange.unread and not self._buffer)
            else:
                self._next_request(settings.waiting)

        def broken(failure: Failure) -> None:
            self.serving.log.failure(
                "the body of an answer has failed (connection {number})",
                failure,
                number=self.peer.connection,
            )
            poured(False)

        work = Deferred.fromCoroutine(outflow.run())
        work.addCallbacks(poured, broken)
        work.addErrback(self._failed)

    def _drainable(self, exchange: Exchange) -> bool:
        """Whether the rest of a refused body can be read away (AGP-28).

        A client that was not told to continue may or may not send it: what comes next could
        be a body or a request, so the connection has to end.
        """
        body = exchange.body
        if body is None or (exchange.request.expects and not body.size and not self._buffer):
            return False
        return body.discard(self.serving.settings.refused_body + len(self._buffer))

    def _drain(self, exchange: Exchange) -> None:
        self.phase = Phase.DRAIN
        self.deadline = self.serving.clock.seconds() + self.serving.settings.body_time
        self._reading = True
        self._feed(exchange, self._buffer)
        self._throttle()

    def _next_request(self, written: int) -> None:
        """Be ready for another request.

        :param written: octets of the answer that the client has to take meanwhile.
        """
        serving = self.serving
        settings = serving.settings
        self._exchange = None
        if serving.stopping:
            self._end(written, clean=not self._buffer)
            return
        self.phase = Phase.IDLE
        self.deadline = serving.clock.seconds() + settings.idle + written / settings.body_rate
        if self._buffer:
            self._proceed()
        if self.stopped:
            self._throttle()

    def _refuse_head(self, error: XcapError) -> None:
        """Answer what could not be read, and end."""
        serving = self.serving
        response = refusal(error)
        data = serving.encoded(response, "", close=True)
        self.write(data)
        serving.counters.answers["", error.status] += 1
        sent = len(response.body)
        serving.tell(
            AccessRecord(serving.wall(), self.peer, None, "", "", error.status, 0, sent, 0.0, False)
        )
        self._end(len(data), clean=False)

    def _end(self, written: int, *, clean: bool) -> None:
        """End after the answer; what waits will not be looked at."""
        self._exchange = None
        self._buffer = b""
        self.close(written, clean=clean)

    # -- time

    def check(self, now: float) -> None:
        """See whether the client, or the service, is too slow (AGP-77)."""
        if now >= self.deadline:
            self.expired()
        elif self._reading and self.phase is Phase.SERVING:
            settings = self.serving.settings
            exchange = self._exchange
            elapsed = now - self._body_began
            if exchange is None or exchange.body is None or elapsed <= settings.body_grace:
                return
            if exchange.body.size < settings.body_rate * elapsed:
                self._too_slow(exchange)
        elif self._outflow is not None:
            settings = self.serving.settings
            elapsed = now - self._body_began
            if elapsed > settings.body_grace and self._outflow.sent < settings.body_rate * elapsed:
                self.expired()

    def expired(self) -> None:
        """The deadline of what the connection is busy with has passed."""
        exchange = self._exchange
        if self.phase is Phase.SERVING and exchange is not None:
            if self._outflow is not None:
                self.serving.counters.timeouts += 1
                self.abort()
            elif self._reading:
                self._too_slow(exchange)
            else:
                self._give_up(exchange)
        elif self.phase is Phase.HEAD:
            self.serving.counters.timeouts += 1
            self._refuse_head(XcapError(408, "the request did not come in time"))
        elif self.phase is Phase.DRAIN or (self.phase is Phase.IDLE and not self.choked):
            self._end(0, clean=self.phase is Phase.IDLE)
        else:
            self.abort()

    def _too_slow(self, exchange: Exchange) -> None:
        self.serving.counters.timeouts += 1
        self._reading = False
        exchange.last = True
        exchange.wake(XcapError(408, "the body did not come in time"))

    def _give_up(self, exchange: Exchange) -> None:
        """The service takes too long.  What may have an effect runs on, its outcome unknown."""
        self.serving.counters.abandoned += 1
        exchange.last = True
        error = XcapError(504, "the outcome is not known yet")
        if exchange.safe:
            error = XcapError(503, "no answer could be found in time", (("Retry-After", "5"),))
        self._answer(exchange, refusal(error))
        if exchange.safe and exchange.work is not None:
            exchange.work.cancel()
