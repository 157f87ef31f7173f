"""The pace at which subscriptions to members begin and end (RLO-05, RLO-06)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

_TICK = 0.1
"""Seconds between two portions."""

Job = Callable[[], object]


class Pace:
    """Does jobs of several owners in turn, so many a second, once it is started.

    :param clock: delayed calls.
    :param rate: jobs a second of one owner.
    :param total: of all together.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, rate: float, total: float) -> None:
        self.rate = rate
        self.total = total
        self._clock = clock
        self._jobs: dict[Hashable, deque[Job]] = {}
        self._debts: dict[Hashable, float] = {}
        self._debt = 0.0  # of all together
        self._call: IDelayedCall | None = None
        self._started = False

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._jobs.values())

    def add(self, owner: Hashable, job: Job) -> None:
        """Do something when it is its turn, never at once."""
        self._jobs.setdefault(owner, deque()).append(job)
        self._schedule()

    def start(self) -> None:
        """Everything that jobs need is there: after a restart, all subscriptions (PSV-20)."""
        self._started = True
        self._schedule()

    def _schedule(self) -> None:
        if self._started and self._jobs and self._call is None:
            self._call = self._clock.callLater(0, self._portion)

    def forget(self, owner: Hashable) -> None:
        """Leave undone what an owner has not begun."""
        jobs = self._jobs.pop(owner, None)
        if jobs is not None:
            jobs.clear()

    def stop(self) -> None:
        """Do nothing more."""
        self._jobs.clear()
        self._debts.clear()
        self._debt = 0.0
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _portion(self) -> None:
        self._call = self._clock.callLater(_TICK, self._portion)
        left = self.total * _TICK - self._debt
        for owner in list(self._jobs):
            if left <= 0:
                break  # these are the first next time
            jobs = self._jobs.get(owner)
            if jobs is None:
                continue
            share = self.rate * _TICK - self._debts.pop(owner, 0.0)
            while jobs and share > 0 and left > 0:
                job = jobs.popleft()
                share -= 1.0
                left -= 1.0
                try:
                    job()
                except Exception:
                    # A bug in one must not keep the others waiting for ever.
                    self._log.failure("a subscription to a member cannot begin or end")
            if self._jobs.get(owner) is jobs:
                del self._jobs[owner]
                if jobs:
                    self._jobs[owner] = jobs
            if share < 0:
                self._debts[owner] = -share
        self._debt = max(0.0, -left)
        if not (self._jobs or self._debts or self._debt) and self._call is not None:
            self._call.cancel()
            self._call = None
        for owner in [owner for owner in self._debts if owner not in self._jobs]:
            self._debts[owner] -= self.rate * _TICK
            if self._debts[owner] <= 0:
                del self._debts[owner]
