"""Long work of the reactor's, done in a thread beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xcap.errors import XcapError
from xcap.store.writer import WriterThread

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

T = TypeVar("T")

WAITING = 64
"""Pieces of work that may wait; further ones are refused with 503."""


class Aside:
    """Does one piece of work after the other, while the reactor goes on.

    The thread is started by the first one.

    :param reactor: where results arrive.
    """

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._thread: WriterThread | None = None
        self._waiting = 0
        self._stopped: Deferred[None] | None = None

    def __call__(self, work: Callable[[], T]) -> Deferred[T]:
        """Do some work; it must touch nothing that others change meanwhile.

        :raises XcapError: (in the Deferred) 503 too much waits, or we are stopping.
        """
        done: Deferred[T] = Deferred(lambda _: None)  # who gives up does not stop it
        if self._waiting >= WAITING or self._stopped is not None:
            done.errback(XcapError(503, "Too much to do", (("Retry-After", "5"),)))
            return done
        if self._thread is None:
            self._thread = WriterThread(self._reactor, "aside")
        self._waiting += 1

        def finished(give: Callable[[Any], object], result: Any) -> None:
            self._waiting -= 1
            if not done.called:
                give(result)
            self._end()

        self._thread.submit(
            lambda _: work(),
            None,
            lambda result: finished(done.callback, result),
            lambda error: finished(done.errback, Failure(error)),
        )
        return done

    def stop(self) -> Deferred[None]:
        """Take no more; fires when what was begun is done and the thread has ended."""
        stopped: Deferred[None] = Deferred()
        self._stopped = stopped
        self._end()
        return stopped

    def _end(self) -> None:
        if self._stopped is None or self._waiting or self._stopped.called:
            return
        if self._thread is not None:
            self._thread.stop()
            self._thread = None
        self._stopped.callback(None)
