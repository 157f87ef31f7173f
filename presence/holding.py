"""For whom documents are kept at hand, and when they are fetched (PSV-08, PSV-10, PSV-20)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, DeferredList

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from presence.interfaces import IHolder

_AT_ONCE: Final = 50
"""Presentities whose documents are fetched side by side."""
_IN_A_TURN: Final = 5
"""Presentities that are held in one turn of the reactor because they publish."""


class Holding:
    """Holds presentities, with all that hold something of them.

    Who publishes and is not watched is kept only where changes are told of nothing else
    (:attr:`IHolder.subscribes`); elsewhere no change is missed that way.  That is done in later
    turns and some at a time: no PUBLISH waits for documents, nor does a restart.

    :param clock: delayed calls.
    :param holders: those that hold something.
    :param needed: whether somebody watches a presentity, or waits for its decision.
    """

    def __init__(
        self,
        clock: IReactorTime,
        holders: Callable[[], tuple[IHolder, ...]],
        needed: Callable[[str], bool],
    ) -> None:
        self._clock = clock
        self._holders = holders
        self._needed = needed
        self._publishing: set[str] = set()
        self._queue: dict[str, None] = {}
        self._fetching = 0
        self._call: IDelayedCall | None = None

    @property
    def publishers(self) -> bool:
        """Whether who publishes is to be held, too."""
        return any(holder.subscribes for holder in self._holders())

    def stop(self) -> None:
        """Hold nobody more."""
        self._queue.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def prepare(self, presentity: str) -> Deferred[None] | None:
        """Fetch everything side by side and keep it for a while; see :meth:`IHolder.prepare`."""
        return _all(holder.prepare(presentity) for holder in self._holders())

    def hold(self, presentity: str) -> None:
        """Somebody watches a presentity, or waits for its decision."""
        for holder in self._holders():
            holder.hold(presentity)

    def relinquish(self, presentity: str) -> None:
        """Let a presentity go unless it is needed (PSV-10)."""
        if self._needed(presentity):
            return
        for holder in self._holders():
            holder.release(presentity)

    def published(self, presentity: str, publishes: bool) -> None:
        """A presentity has publications, or none any more; only where that matters."""
        if not publishes:
            self._queue.pop(presentity, None)
            if presentity in self._publishing:
                self._publishing.discard(presentity)
                for holder in self._holders():
                    holder.drop(presentity)
        elif presentity not in self._publishing and presentity not in self._queue:
            self._queue[presentity] = None
            self._go_on()

    async def settle(self, presentities: Iterable[str]) -> None:
        """Hold who was recovered, and fetch what is needed, some at a time (PSV-20)."""
        waiting: list[Deferred[None]] = []
        for presentity in presentities:
            self.hold(presentity)
            ready = self.prepare(presentity)
            if ready is not None:
                waiting.append(ready)
            if len(waiting) >= _AT_ONCE:
                await waiting.pop(0)
        for ready in waiting:
            await ready

    # -- who publishes ------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._call is None and self._queue and self._fetching < _AT_ONCE:
            self._call = self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._call = None
        for _ in range(min(_IN_A_TURN, len(self._queue), _AT_ONCE - self._fetching)):
            presentity = next(iter(self._queue))
            del self._queue[presentity]
            self._publishing.add(presentity)
            ready = _all(holder.keep(presentity) for holder in self._holders())
            if ready is not None:
                self._fetching += 1
                ready.addCallback(self._fetched)
        self._go_on()

    def _fetched(self, _: object) -> None:
        self._fetching -= 1
        self._go_on()


def _all(each: Iterable[Deferred[None] | None]) -> Deferred[None] | None:
    """Wait for all that there is to wait for."""
    waiting = [ready for ready in each if ready is not None]
    if len(waiting) < 2:
        return waiting[0] if waiting else None
    together: Deferred[None] = DeferredList(waiting).addCallback(lambda _: None)
    return together
