"""How a watcher gets back what it has missed (SBR-06, PNO-11, RLS-26)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Remedy: TypeAlias = Literal["", "refresh", "whole"]
"""What to do: nothing; ask for the full state; ask for it, and for no differences any more."""

_STALE: Final = 1
"""What is missing may be missing once more after it was asked for: that was under way already."""


class Resync:
    """Asks for what is missing once, and gives differences up when they fail again.

    :param partial: differences are asked for.

    :ivar partial: they still are.
    """

    def __init__(self, partial: bool) -> None:
        self.partial = partial
        self._waiting = False
        self._stale = 0
        self._failures = 0

    def begin_anew(self) -> None:
        """What is missing is asked for of the next subscription."""
        self._waiting = False
        self._stale = 0

    def taken(self, *, applied: bool = False) -> None:
        """A body was taken in.

        :param applied: as a difference to what was here.
        """
        self._waiting = False
        self._stale = 0
        if applied:
            self._failures = 0

    def missing(self) -> Remedy:
        """A body could not be taken in: something before it is missing, or it is no good."""
        if self._waiting:
            self._stale += 1
            return self._give_up() if self._stale > _STALE else ""
        self._waiting = True
        self._failures += 1
        if self._failures > 1:
            return self._give_up() or "refresh"
        return "refresh"

    def _give_up(self) -> Remedy:
        if not self.partial:
            return ""
        self.partial = False
        self._stale = 0
        return "whole"
