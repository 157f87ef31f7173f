"""Pacing of NOTIFY storms (OVL-06): fair between resources, bounded per turn and second."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")

_TURN = 0.005
"""Seconds that the visits of one reactor turn may take."""
_ROUNDING = 1e-6
"""Seconds that sums of floating point numbers may be wrong by."""


class TokenBucket:
    """Admits ``rate`` events per second on average and ``burst`` at once.

    :param rate: events per second; 0 admits everything.
    """

    __slots__ = ("_burst", "_full_at", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self._burst = max(1.0, burst) / rate if rate else 0.0  # in seconds of the rate
        self._full_at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until there is a token; 0 when there is one now."""
        if not self.rate:
            return 0.0
        wait = self._full_at + 1 / self.rate - now - self._burst
        return wait if wait > _ROUNDING else 0.0

    def spend(self, now: float) -> None:
        """Take a token, whether there is one or not."""
        if self.rate:
            self._full_at = max(self._full_at, now) + 1 / self.rate

    def take(self, now: float) -> float:
        """Take a token when there is one, and tell how long to wait when not."""
        wait = self.wait(now)
        if not wait:
            self.spend(now)
        return wait

    def idle(self, now: float) -> bool:
        """Whether the bucket is full again, so that it can be forgotten."""
        return self._full_at <= now


class Buckets:
    """A token bucket for each of many keys, forgotten once full again.

    :param limit: most keys remembered; full ones are dropped first.
    """

    __slots__ = ("_buckets", "_burst", "_limit", "rate")

    def __init__(self, rate: float, burst: float, limit: int = 100_000) -> None:
        self.rate = rate
        self._burst = burst
        self._limit = limit
        self._buckets: dict[Hashable, TokenBucket] = {}

    def take(self, key: Hashable, now: float) -> float:
        """As :meth:`TokenBucket.take`, for ``key``."""
        return self._bucket(key, now).take(now) if self.rate else 0.0

    def book(self, key: Hashable, now: float) -> float:
        """Take the next token of ``key``, whenever that comes; seconds until then."""
        if not self.rate:
            return 0.0
        bucket = self._bucket(key, now)
        wait = bucket.wait(now)
        bucket.spend(now)
        return wait

    def _bucket(self, key: Hashable, now: float) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._limit:
                self._prune(now)
            bucket = self._buckets[key] = TokenBucket(self.rate, self._burst)
        return bucket

    def _prune(self, now: float) -> None:
        self._buckets = {k: b for k, b in self._buckets.items() if not b.idle(now)}
        excess = len(self._buckets) - self._limit * 9 // 10
        # Enough at once that this pass over everything is not made for each new key.
        for key in list(islice(self._buckets, max(0, excess))):
            del self._buckets[key]


class _Round(Generic[T]):
    """One pass over the subscriptions of a resource."""

    __slots__ = ("again", "key", "members")

    def __init__(self, key: Hashable, members: Iterator[T]) -> None:
        self.key = key
        self.members = members
        self.again = False


class Pacer(Generic[T]):
    """Visits the subscriptions of changed resources, one of each resource in turn.

    :param clock: delayed calls.
    :param members: the subscriptions of a resource now.
    :param visit: deals with one subscription; true when it sent a NOTIFY.
    :param bucket: the global rate.
    :param burst: most subscriptions visited in one reactor turn; fewer when that takes long.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        members: Callable[[Hashable], Iterable[T]],
        visit: Callable[[T], bool],
        bucket: TokenBucket,
        burst: int = 100,
    ) -> None:
        self._clock = clock
        self._members = members
        self._visit = visit
        self.bucket = bucket
        self._burst = burst
        self._rounds: deque[_Round[T]] = deque()
        self._keys: dict[Hashable, _Round[T]] = {}
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._rounds)

    def changed(self, key: Hashable) -> None:
        """The resource has changed: visit its subscriptions, soon and once per change."""
        known = self._keys.get(key)
        if known is not None:
            known.again = True
            return
        # The members are listed when the round begins, after the other events of this turn.
        started: _Round[T] = _Round(key, iter(()))
        started.again = True
        self._keys[key] = started
        self._rounds.append(started)
        if self._call is None:
            self._call = self._clock.callLater(0, self._turn)

    def stop(self) -> None:
        """Forget everything."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._rounds.clear()
        self._keys.clear()

    def _turn(self) -> None:
        self._call = None
        rounds = self._rounds
        budget = self._burst
        bucket = self.bucket if self.bucket.rate else None
        wait = 0.0
        seconds = self._clock.seconds
        until = seconds() + _TURN
        while rounds and budget:
            if bucket is not None:
                wait = bucket.wait(self._clock.seconds())
                if wait:
                    break
            this = rounds[0]
            member = next(this.members, None)
            if member is None:
                if this.again:
                    this.again = False
                    this.members = iter(list(self._members(this.key)))
                else:
                    rounds.popleft()
                    del self._keys[this.key]
                continue
            budget = budget - 1 if seconds() < until else 0
            try:
                sent = self._visit(member)
            except Exception:
                # A bug in one must not keep the others waiting for ever.
                self._log.failure("telling a subscription of a change failed")
                sent = False
            if sent and bucket is not None:
                bucket.spend(self._clock.seconds())
            if len(rounds) > 1:
                rounds.rotate(-1)
        if rounds:
            self._call = self._clock.callLater(wait, self._turn)
