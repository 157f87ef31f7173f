"""How long one turn of the reactor keeps all others waiting (OBS-01)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from xcap.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Turns:
    """Processor time of each turn of a reactor.

    Processor time, since a turn that waits for input uses none; what others take of the machine
    shows in the lateness of timers (:class:`presence.overload.LatencyGuard`).

    :param reactor: one that works by ``doIteration``, as those of Twisted do.
    :param seconds: processor time of this thread.

    :ivar lengths: seconds of processor time by turn.
    :ivar longest: the longest of them.
    """

    def __init__(self, reactor: Any, seconds: Callable[[], float] = time.thread_time) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._measuring = False
        self.lengths = Histogram(_BOUNDS)
        self.longest = 0.0

    def start(self) -> None:
        """Measure from now on; called in the reactor's thread."""
        wait: Callable[[float | None], object] = self._reactor.doIteration
        seconds, observe = self._seconds, self.lengths.observe
        since = seconds()
        self._measuring = True

        def turn(delay: float | None) -> None:
            nonlocal since
            now = seconds()
            length, since = now - since, now
            observe(length)
            if length > self.longest:
                self.longest = length
            wait(delay)

        self._reactor.doIteration = turn

    def stop(self) -> None:
        """Measure no more."""
        if self._measuring:
            self._measuring = False
            del self._reactor.doIteration
