"""What all composition policies share: an offline document, and what the time changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from presence.compose.timed import next_change
from presence.objects.published import next_end
from presence.pidf.offline import empty_document

if TYPE_CHECKING:
    from pysip.event.records import PublicationRecord

__all__ = ["TimedPolicy"]


class TimedPolicy:
    """A policy that leaves out what has ended (RPI-02, TIM-02, LOC-03, CIN-09).

    :ivar offline: makes the document of a presentity without publications, from its URI:
        :func:`presence.pidf.offline.empty_document` or
        :func:`presence.pidf.offline.closed_document` (PRE-11).
    """

    __slots__ = ("offline",)

    def __init__(self, offline: Callable[[str], bytes] = empty_document) -> None:
        self.offline = offline

    def next_change(self, publications: Sequence[PublicationRecord], now: float) -> float | None:
        """When to compose anew; see :class:`presence.interfaces.ICompositionPolicy`."""
        found = [next_change(record.body, now, record.changed) for record in publications]
        found += [next_end(record.objects, now) for record in publications if record.objects]
        return min((at for at in found if at is not None), default=None)
