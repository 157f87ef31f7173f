"""Work on many things at once, in slices: the reactor turns between them (NFR-01)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

SLICE: Final = 0.004
"""Seconds that a slice lasts, as far as its last step allows."""
STEPS: Final = 250
"""Most steps of a slice."""


class _Work:
    """Something that is under way.

    :ivar rest: what is still to be visited.
    :ivar again: it is to begin anew after that.
    """

    __slots__ = ("again", "done", "members", "rest", "steps", "visit")

    def __init__(
        self,
        members: Callable[[], Iterable[Any]],
        visit: Callable[[Any], object],
        done: Callable[[], object] | None,
        steps: int,
    ) -> None:
        self.members = members
        self.visit = visit
        self.done = done
        self.steps = steps
        self.rest: Iterator[Any] = iter(members())
        self.again = False


class Slices:
    """Visits the members of large sets, a few in each turn of the reactor.

    :param clock: its seconds bound a slice; delayed calls.
    :param seconds: how long a slice lasts.

    :ivar longest: seconds that the longest slice took.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, seconds: float = SLICE) -> None:
        self._clock = clock
        self._seconds = seconds
        self._works: dict[Hashable, _Work] = {}
        self._call: IDelayedCall | None = None
        self._stopped = False
        self.longest = 0.0

    def __contains__(self, key: Hashable) -> bool:
        """Whether something is under way."""
        return key in self._works

    def __len__(self) -> int:
        return len(self._works)

    def run(
        self,
        key: Hashable,
        members: Callable[[], Iterable[Any]],
        visit: Callable[[Any], object],
        done: Callable[[], object] | None = None,
        steps: int = STEPS,
    ) -> None:
        """Visit all members; a small set is done with before this returns.

        What is asked for while it is under way begins when that has come to its end, so that
        also those at the end of the line are visited when it is asked for again and again.

        :param key: what it is.
        :param members: gives those who are there when it begins.
        :param visit: called with each; it looks whether that is still of interest.
        :param done: called at the end.
        :param steps: most members in a slice.
        """
        if self._stopped:
            return
        known = self._works.get(key)
        if known is not None:
            known.again = True
            return
        work = self._works[key] = _Work(members, visit, done, steps)
        self._slice(key, work)
        self._schedule()

    def stop(self) -> None:
        """Leave everything as it is, for good."""
        self._stopped = True
        self._works.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _schedule(self) -> None:
        if self._works and self._call is None:
            self._call = self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._call = None
        if not self._works:
            return  # what one of another has begun has ended in the slice of that
        key = next(iter(self._works))
        work = self._works.pop(key)
        self._works[key] = work  # the others come first next time
        self._slice(key, work)
        self._schedule()

    def _slice(self, key: Hashable, work: _Work) -> None:
        seconds = self._clock.seconds
        now = began = seconds()
        for _ in range(work.steps):
            member = next(work.rest, self)
            if member is self:
                if not work.again:
                    del self._works[key]
                    if work.done is not None:
                        work.done()
                    break
                work.again = False
                work.rest = iter(work.members())
                continue
            try:
                work.visit(member)
            except Exception:
                # A bug in one must not keep the others waiting for ever.
                self._log.failure("a step of a long work failed")
            if self._works.get(key) is not work:
                break  # all was stopped
            now = seconds()
            if now - began >= self._seconds:
                break
        self.longest = max(self.longest, now - began)
