"""Order among those who change the same thing (XCAP-145)."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from twisted.internet.defer import CancelledError, Deferred

from xcap.errors import XcapError

WAITING_LIMIT = 1000
"""Who may wait for one key; more are refused rather than kept in memory."""


class Turns:
    """Lets one at a time work on a key, in the order of asking.

    Use as ``async with turns.take(key):``.
    """

    def __init__(self) -> None:
        # keys that are held -> who waits for them
        self._held: dict[Hashable, deque[Deferred[None]]] = {}
        self._released: deque[Hashable] = deque()
        self._handing_over = False

    def __len__(self) -> int:
        return len(self._held)

    def take(self, key: Hashable) -> Turn:
        """A turn on a key, begun by ``async with``."""
        return Turn(self, key)

    async def begin(self, key: Hashable) -> None:
        """Wait for one's turn.

        :raises XcapError: 503, too many wait already.
        """
        waiting = self._held.get(key)
        if waiting is None:
            self._held[key] = deque()
            return
        if len(waiting) >= WAITING_LIMIT:
            raise XcapError(503, "Too many changes at once", (("Retry-After", "1"),))
        turn: Deferred[None] = Deferred()
        waiting.append(turn)
        try:
            await turn
        except CancelledError:
            if turn in waiting:
                waiting.remove(turn)
            raise

    def end(self, key: Hashable) -> None:
        """Let the next one work."""
        # who is called may end its turn at once; a loop keeps the stack flat
        self._released.append(key)
        if self._handing_over:
            return
        self._handing_over = True
        try:
            while self._released:
                key = self._released.popleft()
                waiting = self._held[key]
                if waiting:
                    waiting.popleft().callback(None)
                else:
                    del self._held[key]
        finally:
            self._handing_over = False


class Turn:
    """What :meth:`Turns.take` gives."""

    __slots__ = ("_key", "_turns")

    def __init__(self, turns: Turns, key: Hashable) -> None:
        self._turns = turns
        self._key = key

    async def __aenter__(self) -> None:
        await self._turns.begin(self._key)

    async def __aexit__(self, *_: object) -> None:
        self._turns.end(self._key)
