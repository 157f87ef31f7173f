"""Bodies that nobody has to hold whole: in pieces, no faster than the other side takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
from twisted.internet.defer import Deferred

from xcap.errors import XcapError
from xcap.records import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable


class Source(Protocol):
    """Where a body comes from."""

    def read(self) -> Deferred[bytes]:
        """The next piece, b"" at the end; not called before the last one is there."""

    def close(self) -> None:
        """No more is wanted; called once, also in the midst of a :meth:`read`."""


class Intake:
    """Takes the body of a request in pieces.

    It is a :data:`xcap.records.Receive` too, for who has the whole body at hand anyway.

    :ivar limit: octets that the body may have; one with more is refused with 413.
    :ivar seconds: that it may take to come; slower ones are refused with 408.
    """

    limit: int
    seconds: float

    def take(self, piece: bytes) -> Deferred[None] | None:
        """Take a piece.

        :returns: None when more may come, else what fires, never with a failure, when it may;
            what is already on its way may come before.
        :raises XcapError: the request is refused.
        """
        raise NotImplementedError

    async def finish(self) -> HttpResponse:
        """The body is complete.

        :raises XcapError: the request is refused.
        """
        raise NotImplementedError

    def abandon(self, error: BaseException) -> None:
        """It will never be, or was refused; may be called twice, and after :meth:`finish`.

        :param error: why; an XcapError is what the client is told.
        """
        raise NotImplementedError

    async def __call__(self, body: bytes) -> HttpResponse:
        """Take all at once."""
        try:
            if len(body) > self.limit:
                raise XcapError(413, "the body is too large")
            waiting = self.take(body) if body else None
            if waiting is not None:
                await waiting
            return await self.finish()
        except BaseException as error:
            self.abandon(error)
            raise


@attrs.frozen(slots=True)
class StreamedResponse(HttpResponse):
    """An answer whose body comes from somewhere in pieces; ``body`` is empty.

    :ivar source: gives exactly as many octets as the Content-Length in ``headers`` says; whoever
        gets the answer closes it.
    """

    source: Source = attrs.field(kw_only=True)


class Outflow:
    """Sends a body on while the other side takes it.

    :param source: closed at the end, whatever the end is.
    :param write: sends octets.
    :param choked: whether the other side takes no more now; then :meth:`unchoke` follows.

    :ivar sent: octets that were written.
    """

    __slots__ = ("_choked", "_source", "_stopped", "_waiting", "_write", "sent")

    def __init__(
        self, source: Source, write: Callable[[bytes], None], choked: Callable[[], bool]
    ) -> None:
        self.sent = 0
        self._source = source
        self._write = write
        self._choked = choked
        self._stopped = False
        self._waiting: Deferred[None] | None = None

    async def run(self) -> bool:
        """Send everything; False when it was stopped.

        :raises Exception: what the source fails with.
        """
        try:
            while not self._stopped:
                piece = await self._source.read()
                if self._stopped:
                    break
                if not piece:
                    return True
                self.sent += len(piece)
                self._write(piece)
                if self._choked() and not self._stopped:
                    self._waiting = Deferred()
                    await self._waiting
            return False
        finally:
            self._source.close()

    def unchoke(self) -> None:
        """The other side takes octets again."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True
        self.unchoke()
