"""Presentities that are at hand: held or kept, or for a while since somebody has asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

LINGER: Final = 10.0
"""Seconds that a presentity stays at hand after somebody has asked for it."""
_MOST_LINGERING: Final = 10_000


class Lingering:
    """What is at hand; what that means is made by subclasses.

    :param clock: monotonic time and delayed calls.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._held: set[str] = set()
        self._kept: set[str] = set()
        # presentity -> monotonic time of its release, the earliest first
        self._lingering: dict[str, float] = {}
        self._call: IDelayedCall | None = None

    # -- for subclasses -----------------------------------------------------------------

    def _begin(self, presentity: str) -> None:
        """A presentity comes to hand; it was not."""
        raise NotImplementedError

    def _end(self, presentity: str) -> None:
        """A presentity is not at hand any more."""
        raise NotImplementedError

    def _ready(self, presentity: str) -> Deferred[None] | None:
        """Wait for what is at hand; None when it is there."""
        raise NotImplementedError

    def _refresh(self, presentity: str) -> None:
        """Ask again for what was only kept: somebody needs it now."""
        raise NotImplementedError

    def attends(self, presentity: str) -> bool:
        """Whether somebody needs a presentity; else it is kept at most."""
        return presentity in self._held or presentity in self._lingering

    def _at_hand(self, presentity: str) -> bool:
        return self.attends(presentity) or presentity in self._kept

    # -- for users ----------------------------------------------------------------------

    def stop(self) -> None:
        """Let everybody go."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        gone = self._held.union(self._lingering, self._kept)
        self._held.clear()
        self._kept.clear()
        self._lingering.clear()
        for presentity in gone:
            self._end(presentity)

    def prepare(self, presentity: str) -> Deferred[None] | None:
        """Have a presentity at hand for a while; see :class:`presence.interfaces.IHolder`."""
        if presentity not in self._held:
            stale = presentity in self._kept and presentity not in self._lingering
            self._linger(presentity)
            if stale:
                self._refresh(presentity)
        return self._ready(presentity)

    def hold(self, presentity: str) -> None:
        """Have a presentity at hand from now on; see :class:`presence.interfaces.IHolder`."""
        if presentity not in self._held:
            new = not self._at_hand(presentity)
            self._lingering.pop(presentity, None)
            self._held.add(presentity)
            if new:
                self._begin(presentity)

    def release(self, presentity: str) -> None:
        """Have a presentity at hand not for long any more; see :class:`IHolder`.

        The last NOTIFY to who has unsubscribed is still to be made.
        """
        if presentity in self._held:
            self._linger(presentity)
            self._held.discard(presentity)

    def keep(self, presentity: str) -> Deferred[None] | None:
        """Have a presentity at hand though nobody needs it; see :class:`IHolder`."""
        if presentity not in self._kept:
            new = not self._at_hand(presentity)
            self._kept.add(presentity)
            if new:
                self._begin(presentity)
        return self._ready(presentity)

    def drop(self, presentity: str) -> None:
        """Keep a presentity no more; see :class:`IHolder`."""
        if presentity in self._kept:
            self._kept.discard(presentity)
            if not self._at_hand(presentity):
                self._end(presentity)

    def _linger(self, presentity: str) -> None:
        """Keep a presentity at hand for a while."""
        new = not self._at_hand(presentity)
        self._lingering.pop(presentity, None)
        self._lingering[presentity] = self._clock.seconds() + LINGER
        if new:
            self._begin(presentity)
        if len(self._lingering) > _MOST_LINGERING:
            self._let_go(next(iter(self._lingering)))
        if self._call is None:
            self._call = self._clock.callLater(LINGER, self._let_some_go)

    def _let_some_go(self) -> None:
        self._call = None
        now = self._clock.seconds()
        while self._lingering:
            presentity, until = next(iter(self._lingering.items()))
            if until > now:
                self._call = self._clock.callLater(until - now, self._let_some_go)
                break
            self._let_go(presentity)

    def _let_go(self, presentity: str) -> None:
        del self._lingering[presentity]
        if not self._at_hand(presentity):
            self._end(presentity)
