"""Admission control: refuse new work before latency collapses (OVL-01, OVL-02)."""

from __future__ import annotations

import random
import resource
from typing import TYPE_CHECKING

from twisted.logger import Logger
from zope.interface import implementer

from presence.oplog import OVERLOAD, cleared, report
from pysip.interfaces import IAdmissionControl
from xcap.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

_PERIOD = 0.25
_DELAYS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SHEDDABLE = frozenset(("PUBLISH", "SUBSCRIBE", "REGISTER"))


def resident_memory() -> int:
    """Resident memory of this process in octets; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


@implementer(IAdmissionControl)
class LatencyGuard:
    """Sheds initial requests while the event loop, the store or memory is over its limit.

    The event loop's lateness is measured by a timer of its own: what a request would wait.
    At twice the limit everything that makes state is shed, refreshes too.

    :param clock: monotonic time.
    :param queue_delay: lateness of the event loop in seconds that counts as overload.
    :param store_delay: age in seconds of the oldest uncommitted change that does.
    :param store_age: tells that age.
    :param memory: resident octets that count as overload, 0 for no limit.
    :param retry_after: mean of the Retry-After given, in seconds.
    :param shedding: False only measures.
    :param uniform: random numbers, for the spread of Retry-After.

    :ivar load: measured share of the limit; at 1 shedding begins.
    :ivar shed: requests refused.
    :ivar delays: lateness of the event loop in seconds, a sample every 250 ms (OBS-01).
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        queue_delay: float = 0.5,
        store_delay: float = 2.0,
        store_age: Callable[[], float] = lambda: 0.0,
        memory: int = 0,
        retry_after: int = 30,
        shedding: bool = True,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._queue_delay = queue_delay
        self._store_delay = store_delay
        self._store_age = store_age
        self._memory = memory
        self._retry_after = retry_after
        self._shedding = shedding
        self._uniform = uniform
        self._call: IDelayedCall | None = None
        self._due = 0.0
        self.load = 0.0
        self.shed = 0
        self.delays = Histogram(_DELAYS)

    def start(self) -> None:
        """Begin to measure."""
        self._due = self._clock.seconds() + _PERIOD
        self._call = self._clock.callLater(_PERIOD, self._measure)

    def stop(self) -> None:
        """Stop measuring."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _measure(self) -> None:
        late = self._clock.seconds() - self._due
        self.delays.observe(max(0.0, late))
        load = max(late / self._queue_delay, self._store_age() / self._store_delay)
        if self._memory:
            load = max(load, resident_memory() / self._memory)
        # Half of the past stays, so that one short stall does not open and shut the door.
        load = max(load, self.load / 2)
        if self._shedding and (load >= 1) != (self.load >= 1):
            told = f"its load is {load:.2f} of the limit"
            if load >= 1:
                report(self._log, OVERLOAD, told)
            else:
                cleared(self._log, OVERLOAD, told)
        self.load = load
        self.start()

    def overloaded(self) -> float | None:
        """Seconds after which an HTTP client may come again; None while there is no overload."""
        if self.load < 1 or not self._shedding:
            return None
        mean = self._retry_after
        return self._uniform(mean * 0.5, mean * 1.5)

    def admit(self, method: str, initial: bool) -> int:
        """0, or the seconds for Retry-After; refreshes are shed last (OVL-01)."""
        load = self.load
        if load < 1 or method not in _SHEDDABLE or (load < 2 and not initial):
            return 0
        if not self._shedding:
            return 0
        self.shed += 1
        mean = self._retry_after
        return max(1, round(self._uniform(mean * 0.5, mean * 1.5)))
