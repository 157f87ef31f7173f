"""What all composition policies share: an offline document and a clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from presence.compose.timed import next_change
from presence.pidf.offline import empty_document

if TYPE_CHECKING:
    from pysip.event.records import PublicationRecord

__all__ = ["ClockedPolicy"]


class ClockedPolicy:
    """A policy that leaves out what has ended (RPI-02, TIM-02, LOC-03).

    :ivar offline: makes the document of a presentity without publications, from its URI:
        :func:`presence.pidf.offline.empty_document` or
        :func:`presence.pidf.offline.closed_document` (PRE-11).
    :ivar wall: seconds since 1970; None for a policy that does not look at the time.
    """

    __slots__ = ("offline", "wall")

    def __init__(
        self,
        offline: Callable[[str], bytes] = empty_document,
        wall: Callable[[], float] | None = None,
    ) -> None:
        self.offline = offline
        self.wall = wall

    def now(self) -> float | None:
        """The time, if it matters."""
        return None if self.wall is None else self.wall()

    def next_change(self, publications: Sequence[PublicationRecord]) -> float | None:
        """When to compose anew although no publication changes (COM-42); None for never.

        :return: seconds since 1970, after now.
        """
        now = self.now()
        if now is None:
            return None
        found = (next_change(record.body, now, record.changed) for record in publications)
        return min((at for at in found if at is not None), default=None)
