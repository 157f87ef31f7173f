"""Timers: the SIP timer values and one timer wheel for everything that expires.

A reactor's ``callLater`` costs an object and a heap operation per timer; transactions,
subscriptions and publications live by the hundred thousand.  The wheel keeps them in
coarse slots and asks the reactor for one delayed call only.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import ceil
from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime


@attrs.frozen(slots=True)
class TimerValues:
    """Base values of the SIP timers in seconds (RFC 3261 table 4)."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0

    @property
    def transaction(self) -> float:
        """64*T1: timers B, F, H, J, N."""
        return 64 * self.t1

    @property
    def provisional(self) -> float:
        """When a client's timer E has reached T2: the time for a 100 (RFC 4320 4.1)."""
        elapsed, interval = 0.0, self.t1
        while interval < self.t2:
            elapsed += interval
            interval *= 2
        return elapsed


class Timed:
    """Something that can wait in a :class:`TimerWheel`, for one time at once."""

    __slots__ = ("_slot",)

    def __init__(self) -> None:
        self._slot = -1

    def fire(self) -> None:
        """The time has come; called by the wheel."""
        raise NotImplementedError


class Alarm(Timed):
    """A :class:`Timed` that calls a function."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], None]) -> None:
        super().__init__()
        self._function = function

    def fire(self) -> None:
        """Call the function."""
        self._function()


class TimerWheel:
    """Timers in slots of fixed width; insertion and removal take constant time.

    A timer never fires early and at most ``granularity`` late.

    :param clock: monotonic time and delayed calls; readable.
    :param granularity: width of a slot in seconds.
    :param budget: most timers fired in one reactor turn; the rest go on in the next.
    :param seconds: how long that may take.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        granularity: float = 0.05,
        budget: int = 500,
        seconds: float = 0.01,
    ) -> None:
        self.clock = self._clock = clock
        self._granularity = granularity
        self._budget = budget
        self._seconds = seconds
        self._slots: dict[int, dict[Timed, None]] = {}
        self._order: list[int] = []
        self._call: IDelayedCall | None = None
        self._next = -1

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def after(self, delay: float, timed: Timed) -> None:
        """Fire ``timed`` in ``delay`` seconds, in place of any time it was waiting for."""
        if timed._slot >= 0:
            self.cancel(timed)
        # The small constant keeps a deadline that is a whole slot from rounding up to the next.
        slot = ceil((self._clock.seconds() + delay) / self._granularity - 1e-6)
        timed._slot = slot
        waiting = self._slots.get(slot)
        if waiting is None:
            self._slots[slot] = {timed: None}
            heappush(self._order, slot)
            if self._next < 0 or slot < self._next:
                self._schedule()
        else:
            waiting[timed] = None

    def cancel(self, timed: Timed) -> None:
        """Forget ``timed``; nothing happens when it is not waiting."""
        slot = timed._slot
        if slot >= 0:
            timed._slot = -1
            waiting = self._slots.get(slot)
            if waiting is not None:
                waiting.pop(timed, None)
                if not waiting:
                    # A dictionary keeps the room of all that it ever held, for hours or days.
                    self._slots[slot] = {}

    def stop(self) -> None:
        """Drop all timers."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        self._next = -1
        self._slots.clear()
        self._order.clear()

    def _schedule(self) -> None:
        if not self._order:
            self._next = -1
            return
        self._next = self._order[0]
        delay = max(0.0, self._next * self._granularity - self._clock.seconds())
        if self._call is not None and self._call.active():
            self._call.reset(delay)
        else:
            self._call = self._clock.callLater(delay, self._turn)

    def _turn(self) -> None:
        self._call = None
        began = self._clock.seconds()
        now = int(began / self._granularity + 1e-6)
        budget = self._budget
        while self._order and self._order[0] <= now:
            slot = self._order[0]
            while waiting := self._slots[slot]:
                if budget == 0 or self._clock.seconds() - began >= self._seconds:
                    self._next = slot
                    self._call = self._clock.callLater(0, self._turn)
                    return
                budget -= 1
                timed = next(iter(waiting))
                del waiting[timed]
                timed._slot = -1
                try:
                    timed.fire()
                except Exception:
                    # One broken timer must not stop the others.
                    self._log.failure("timer of {kind} failed", kind=type(timed).__name__)
            heappop(self._order)
            del self._slots[slot]
        self._schedule()
