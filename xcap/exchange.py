"""HTTP requests over a connection to a document server (AGP-75, AGP-77).

This is not made with treq or ``twisted.web.client``, because a proxy needs what they hide:
the request target as it is (AGP-54), the fields that a Connection field of the answer lists
(AGP-65), and whether any octet was written (AGP-79).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, cast

import attrs
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone

from xcap.records import HttpResponse
from xcap.transfer import Sending, TooLarge

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, ITCPTransport
    from twisted.python.failure import Failure

    from xcap.pool import ConnectionPool
    from xcap.records import Head
    from xcap.transfer import Sink, Transfer

FailureKind = Literal["refused", "unreachable", "busy", "reset", "tls", "invalid", "large", "late"]

_HEAD_LIMIT = 65_536
_NO_LINE = re.compile(r"[\r\n\0]")
_WITH_BODY = frozenset({"PUT", "POST", "PATCH"})


class UpstreamFailure(Exception):
    """There is no answer that could be passed on.

    :ivar kind: ``refused`` connection, server not ``unreachable`` by address or name, all
        connections ``busy``, connection ``reset``, failure of ``tls``, ``invalid`` answer,
        answer too ``large``, or too ``late``.
    :ivar sent: whether the server may have seen something of the request.
    """

    def __init__(self, kind: FailureKind, sent: bool) -> None:
        super().__init__(kind, sent)
        self.kind = kind
        self.sent = sent


@attrs.frozen(slots=True, kw_only=True)
class ExchangeSettings:
    """Bounds of the requests to one server; times in seconds.

    :ivar connections: most connections.
    :ivar waiting: requests that may wait for one of them ...
    :ivar patience: ... and how long.
    :ivar idle: how long an unused connection is kept.
    :ivar first_byte: from sending the request to the first octet of the answer.
    :ivar whole: from sending the request to the end of the answer.
    :ivar body: most octets in the body of an answer.
    """

    connections: int = 64
    waiting: int = 256
    patience: float = 2.0
    idle: float = 60.0
    first_byte: float = 10.0
    whole: float = 30.0
    body: int = 8 << 20


def request_octets(head: Head, body: bytes, transfer: Transfer | None = None) -> bytes:
    """A request as it goes on the wire, its target octet for octet as in ``head`` (AGP-54).

    Content-Length is written anew; the other fields stay as they are.

    :param transfer: has the body to follow, once the server wants it.
    :raises ValueError: a line would not be one line: a bug.
    """
    lines = [f"{head.method} {head.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in head.headers.fields if name != "content-length"]
    if transfer is not None and transfer.sends:
        lines += [f"content-length: {transfer.length}", "expect: 100-continue"]
    elif body or head.method in _WITH_BODY:
        lines.append(f"content-length: {len(body)}")
    for line in lines:
        if _NO_LINE.search(line):
            raise ValueError("a header field must not hold a line end")
    lines += ["", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Connection(Protocol):
    """A connection that takes one request after the other.

    :ivar usable: another request may be sent.
    """

    transport: ITCPTransport

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._clock = pool.clock
        self._settings = pool.settings
        self.usable = True
        self._lost = False
        self._result: Deferred[HttpResponse] | None = None
        self._timer: IDelayedCall | None = None
        self._transfer: Transfer | None = None
        self._sending: Sending | None = None
        self._sink: Sink | None = None

    def connectionMade(self) -> None:
        """The connection stands; it does not wait for more to send."""
        self.transport.setTcpNoDelay(True)
        self._pool.made(self)

    def request(
        self, octets: bytes, head_only: bool, transfer: Transfer | None = None
    ) -> Deferred[HttpResponse]:
        """Send a request; its Deferred fails with :class:`UpstreamFailure`.

        Cancelling it closes the connection.

        :param head_only: the answer has no body, since the request is HEAD.
        :param transfer: bodies that are not held, and the time for them.
        """
        self._head_only = head_only
        self._parser = HttpResponseParser(self)
        self._fields: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._received = 0
        self._size = 0
        self._in_body = self._complete = self._extra = self._keep = False
        self._problem: FailureKind | None = None
        result: Deferred[HttpResponse] = Deferred(self._cancelled)
        self._result = result
        self._began = self._clock.seconds()
        self._transfer = transfer
        self._sink = None
        patience = self._settings.first_byte if transfer is None else transfer.seconds
        self._timer = self._clock.callLater(patience, self._fail, "late")
        self.transport.write(octets)
        if transfer is not None and transfer.sends:
            self._sending = Sending(
                transfer, self.transport, self._clock, lambda: self._fail("reset")
            )
        return result

    def dataReceived(self, data: bytes) -> None:
        """Take octets of the answer."""
        if self._result is None:
            self.close()  # nobody has asked
            return
        if not self._received and self._timer is not None and self._transfer is None:
            left = self._began + self._settings.whole - self._clock.seconds()
            self._timer.reset(max(0.0, left))
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if self._complete:
                self._extra = True
            else:
                self._problem = self._problem or "invalid"
        if self._problem is None and not self._in_body and self._received > _HEAD_LIMIT:
            self._problem = "invalid"
        if self._problem is not None:
            self._fail(self._problem)
        elif self._complete:
            self._succeed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone.

        An answer that ends with the connection and has no length may have been cut short, so
        it counts as reset.
        """
        self.usable = False
        self._lost = True
        self._pool.lost(self)
        if self._result is not None:
            self._fail("tls" if isinstance(reason.value, SSL.Error) else "reset")

    # -- llhttp calls these -------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins, or an interim answer, or something that was not asked for."""
        self._extra = self._extra or self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field; those of a trailer section are not wanted."""
        if not self._in_body:
            text = value.decode("latin-1").strip(" \t")
            if _NO_LINE.search(text):
                self._problem = "invalid"
            self._fields.append((name.decode("latin-1"), text))

    def on_headers_complete(self) -> None:
        """The header block has ended."""
        status = self._parser.get_status_code()
        if status < 200 or self._complete:
            return
        self._in_body = True
        self._status = status
        self._keep = self._parser.should_keep_alive()
        if not 200 <= status <= 599 or self._parser.get_http_version() not in ("1.1", "1.0"):
            self._problem = "invalid"
        self._complete = self._head_only
        if self._transfer is not None:
            self._sink = self._transfer.sink(HttpResponse(status, tuple(self._fields)))

    def on_body(self, body: bytes) -> None:
        """Octets of the body, without transfer coding."""
        if self._complete:
            self._extra = True
            return
        if self._sink is not None:
            self._hand_on(self._sink, body)
            return
        self._body.append(body)
        self._size += len(body)
        if self._size > self._settings.body:
            self._problem = "large"

    def _hand_on(self, sink: Sink, body: bytes) -> None:
        """Give octets to somebody who may want to wait."""
        try:
            waiting = sink.take(body)
        except TooLarge:
            self._problem = "large"
            return
        if waiting is not None and not waiting.called:
            self.transport.pauseProducing()  # type: ignore[attr-defined]
            waiting.addCallback(self._read_on)

    def _read_on(self, _: None) -> None:
        if not self._lost:
            self.transport.resumeProducing()  # type: ignore[attr-defined]

    def on_message_complete(self) -> None:
        """The answer is complete; an interim one is forgotten, but it can ask for the body."""
        if self._in_body:
            self._complete = True
            return
        self._fields.clear()
        if self._sending is not None and self._parser.get_status_code() == 100:
            self._sending.begin()

    # -- outcomes -----------------------------------------------------------------------

    def _succeed(self) -> None:
        sent = self._sending is None or self._sending.done
        result = self._finish()
        self.usable = self._keep and not self._extra and sent
        if not self.usable:
            self.close()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        result.callback(HttpResponse(self._status, tuple(self._fields), body))

    def _fail(self, kind: FailureKind) -> None:
        if self._result is None:
            return
        result = self._finish()
        self.close()
        result.errback(UpstreamFailure(kind, True))

    def _cancelled(self, result: Deferred[HttpResponse]) -> None:
        self._finish()
        self.close()

    def _finish(self) -> Deferred[HttpResponse]:
        result = cast("Deferred[HttpResponse]", self._result)
        self._result = None
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.stop()
        return result

    def close(self) -> None:
        """Close at once; a request that waits for its answer fails."""
        self.usable = False
        if not self._lost:
            self.transport.abortConnection()
