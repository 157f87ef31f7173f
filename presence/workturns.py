"""Work that is shared out over turns of the reactor, so that others get theirs in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

_WORK = 10
"""What one turn of the reactor may take: batches of elements, or of 64 KiB that are parsed."""

T = TypeVar("T")


class Pause(Exception):
    """This turn has taken long enough."""


class Work:
    """What may be done in this turn."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _WORK

    def spend(self, work: int) -> None:
        """Do so much.

        :raises Pause: rather not in this turn.
        """
        if self.left <= 0:
            raise Pause
        self.left -= work


class Turns(Generic[T]):
    """Items that are looked at in later turns, each once however often it was added.

    :param clock: delayed calls.
    :param look: what to do with an item; one that is to be continued is added again.
    """

    def __init__(self, clock: IReactorTime, look: Callable[[T, Work], None]) -> None:
        self._clock = clock
        self._look = look
        self._queue: dict[T, None] = {}
        self._call: IDelayedCall | None = None

    def add(self, item: T) -> None:
        """Look at it in the next turn, with all that are added now."""
        self._queue[item] = None
        if self._call is None:
            self._call = self._clock.callLater(0, self._drain)

    def discard(self, item: T) -> None:
        """Do not look at it."""
        self._queue.pop(item, None)
        if not self._queue and self._call is not None:
            self._call.cancel()
            self._call = None

    def _drain(self) -> None:
        self._call = None
        work = Work()
        while self._queue and work.left > 0:
            item = next(iter(self._queue))
            del self._queue[item]
            work.left -= 1
            self._look(item, work)
        if self._queue and self._call is None:
            self._call = self._clock.callLater(0, self._drain)
