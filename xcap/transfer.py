"""Bodies that a client does not hold: requests that send from, and answers that go to, a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from xcap.streams import Outflow

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from xcap.records import HttpResponse
    from xcap.streams import Source

CONTINUE = 1.0
"""Seconds to wait for 100 (Continue); some servers never send it (RFC 9110 section 10.1.1)."""


class TooLarge(Exception):
    """More comes than is wanted."""


class Sink(Protocol):
    """Where the body of an answer goes."""

    def take(self, piece: bytes) -> Deferred[None] | None:
        """Take a piece.

        :returns: None when more may come, else what fires, never with a failure, when it may.
        :raises TooLarge: the connection has to end.
        """


class Transfer:
    """One request whose bodies go in pieces, through as many attempts as it takes.

    :param seconds: that an attempt may take.
    :param length: octets of the request's body.
    :param body: makes a source of it, for each attempt; None when there is no body.
    :param sink: takes the body of an answer by the answer's head, None to have it gathered.

    :ivar begun: a server may have seen something of the body.
    """

    def __init__(
        self,
        seconds: float,
        *,
        length: int = 0,
        body: Callable[[], Source] | None = None,
        sink: Callable[[HttpResponse], Sink | None] | None = None,
    ) -> None:
        self.seconds = seconds
        self.length = length
        self.begun = False
        self._body = body
        self._sink = sink

    @property
    def sends(self) -> bool:
        """Whether there is a body to send."""
        return self._body is not None

    def source(self) -> Source | None:
        """The body of the request, from its begin."""
        if self._body is None:
            return None
        self.begun = True
        return self._body()

    def sink(self, head: HttpResponse) -> Sink | None:
        """What takes the body of an answer."""
        return None if self._sink is None else self._sink(head)


@implementer(IPushProducer)
class Sending:
    """Sends the body of a request, once the server wants it.

    :param failed: called when the source fails.
    :ivar done: all of it was written.
    """

    def __init__(
        self,
        transfer: Transfer,
        transport: Any,
        clock: IReactorTime,
        failed: Callable[[], None],
    ) -> None:
        self.done = False
        self._transfer = transfer
        self._transport = transport
        self._failed = failed
        self._outflow: Outflow | None = None
        self._choked = False
        self._stopped = False
        self._registered = False
        self._timer: IDelayedCall | None = clock.callLater(CONTINUE, self._late)

    def _late(self) -> None:
        self._timer = None
        self.begin()

    def begin(self) -> None:
        """The server wants it, or says nothing."""
        self._forget()
        if self._outflow is not None or self._stopped:
            return
        source = self._transfer.source()
        if source is None:
            return
        self._transport.registerProducer(self, True)
        self._registered = True
        self._outflow = Outflow(source, self._transport.write, lambda: self._choked)
        Deferred.fromCoroutine(self._outflow.run()).addCallbacks(self._sent, self._broken)

    def _sent(self, complete: bool) -> None:
        self._unregister()
        self.done = complete
        if complete and self._outflow is not None and self._outflow.sent != self._transfer.length:
            self._failed()

    def _broken(self, _: Failure) -> None:
        if not self._stopped:
            self._unregister()
            self._failed()

    def _unregister(self) -> None:
        if self._registered:
            self._registered = False
            self._transport.unregisterProducer()

    def stop(self) -> None:
        """There is an answer, or the connection has ended; nobody wants more."""
        self._forget()
        self._unregister()
        self._stopped = True
        if self._outflow is not None:
            self._outflow.stop()

    def _forget(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def pauseProducing(self) -> None:
        """The server takes no more now."""
        self._choked = True

    def resumeProducing(self) -> None:
        """It does again."""
        self._choked = False
        if self._outflow is not None:
            self._outflow.unchoke()

    def stopProducing(self) -> None:
        """The connection has ended; who owns it is told, too."""
