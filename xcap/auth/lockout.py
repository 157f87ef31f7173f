"""Stops the guessing of passwords (AGP-39)."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable

import attrs


@attrs.define(slots=True)
class _Failures:
    """The last failures under one key.

    :ivar until: when the lock ends, on the same clock as ``times``.
    """

    times: deque[float]
    until: float = 0.0


class LockOut:
    """Counts wrong responses by user and address, and by user alone.

    A key is locked as soon as ``failures`` wrong responses lie within ``period``; when the
    lock has ended and they still do, one more locks it again.  Users are counted whether they
    exist or not, so that a lock tells nothing (AGP-27).

    :param failures: wrong responses for one user from one address that lock this pair, 0 never.
    :param everywhere: wrong responses for one user from anywhere that lock the user, 0 never.
    :param period: seconds within which they count.
    :param penalty: seconds that a lock lasts.
    :param limit: keys remembered; the one that was idle for the longest time goes first.
    :param clock: seconds; a clock that never goes back.
    """

    def __init__(
        self,
        failures: int = 10,
        everywhere: int = 50,
        period: float = 300.0,
        penalty: float = 60.0,
        limit: int = 50_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures = failures
        self._everywhere = everywhere
        self._period = period
        self._penalty = penalty
        self._limit = limit
        self._clock = clock
        # by key, the one that failed last at the end
        self._known: dict[bytes, _Failures] = {}

    def __len__(self) -> int:
        return len(self._known)

    def wait(self, username: str, realm: str, address: str) -> float:
        """Seconds until the user may try again from this address; 0 for now."""
        if not self._known:
            return 0.0
        until = 0.0
        for key in (_key(username, realm, address), _key(username, realm)):
            found = self._known.get(key)
            if found is not None and found.until > until:
                until = found.until
        return max(0.0, until - self._clock()) if until else 0.0

    def failed(self, username: str, realm: str, address: str) -> str:
        """Note a wrong response.

        :returns: "" or, when a lock begins, what was counted: ``address`` or ``everywhere``.
        """
        # both are counted, whatever the first says
        here = self._count(_key(username, realm, address), self._failures)
        anywhere = self._count(_key(username, realm), self._everywhere)
        return "everywhere" if anywhere else "address" if here else ""

    def succeeded(self, username: str, realm: str, address: str) -> None:
        """Forget what the user did wrong from this address."""
        if self._known:
            self._known.pop(_key(username, realm, address), None)

    def _count(self, key: bytes, most: int) -> bool:
        if not most:
            return False
        now = self._clock()
        found = self._known.pop(key, None)
        if found is None:
            if len(self._known) >= self._limit:
                del self._known[next(iter(self._known))]
            found = _Failures(deque(maxlen=most))
        self._known[key] = found
        found.times.append(now)
        if len(found.times) < most or found.times[0] <= now - self._period:
            return False
        found.until = now + self._penalty
        return True


def _key(username: str, realm: str, address: str = "") -> bytes:
    """Of one size, since an attacker chooses the name."""
    text = f"{address}\0{realm}\0{username}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=16).digest()
