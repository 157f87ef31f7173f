"""The end of objects: their time is over, or their owner is no more (AGP-109, AGP-113)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger

from presence.content.records import Expire, RemoveOwner
from xcap.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from presence.content.interfaces import IContentStore

_AT_ONCE: Final = 200
"""Objects that are removed in one change."""
_AGAIN: Final = 5.0
"""Seconds after which a removal is tried again that the store did not take."""


class Ending:
    """Removes what has to go.

    Whoever removes an account leaves a note in the account file, which is told at every start;
    what was removed before, is removed again, without harm (PSV-19).

    :param clock: delayed calls.
    :param wall: wall-clock seconds.
    :param pause: seconds between two looks for objects whose time is over.

    :ivar expired: objects removed because their time was over.
    :ivar orphaned: objects removed with their owners.
    """

    _log = Logger()

    def __init__(
        self,
        store: IContentStore,
        clock: IReactorTime,
        wall: Callable[[], float],
        pause: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._wall = wall
        self._pause = pause
        self._gone: dict[str, float] = {}
        self._call: IDelayedCall | None = None
        self._look_again = False
        self._running = False
        self._work: Deferred[Any] | None = None
        self.expired = 0
        self.orphaned = 0

    def gone(self, identities: Mapping[str, float]) -> None:
        """Identities were removed.

        :param identities: canonical URIs with wall-clock times: what was made later is of
            somebody else.
        """
        self._gone.update(identities)
        if self._running:
            self._soon(0.0)

    def start(self) -> None:
        """The store is open."""
        self._running = True
        self._soon(0.0)

    def stop(self) -> None:
        """Remove no more."""
        self._running = False
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _soon(self, seconds: float) -> None:
        if self._work is not None:
            self._look_again = True
            return
        if self._call is not None:
            self._call.cancel()
        self._call = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._call = None
        self._look_again = False
        self._work = Deferred.fromCoroutine(self._remove())
        self._work.addCallbacks(self._looked, self._failed)

    def _looked(self, pause: float) -> None:
        self._work = None
        if self._running:
            self._soon(0.0 if self._look_again else pause)

    def _failed(self, failure: object) -> None:
        self._log.failure("objects cannot be removed", failure)  # type: ignore[arg-type]
        self._looked(self._pause)

    async def _remove(self) -> float:
        """Remove what has to go now; seconds until the next look."""
        try:
            while self._gone and self._running:
                some = dict(islice(self._gone.items(), _AT_ONCE))
                # all of them together are one commit
                changes = [self._store.change(RemoveOwner(*item)) for item in some.items()]
                removed: int = sum(await gatherResults(changes, consumeErrors=True))
                for owner, before in some.items():
                    if self._gone.get(owner) == before:
                        del self._gone[owner]
                self.orphaned += removed
                if removed:
                    self._log.info("removed the {count} objects of removed users", count=removed)
            now = self._wall()
            count: int = await self._store.change(Expire(now, _AT_ONCE)) if self._running else 0
            self.expired += count
        except (StoreUnavailable, FirstError) as error:
            if isinstance(error, FirstError):
                error.subFailure.trap(StoreUnavailable)
            return min(_AGAIN, self._pause)  # the store has told the operator
        return 0.0 if count == _AT_ONCE else self._pause
