"""Priority of sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from presence.compose.merging import MergingPolicy
from presence.compose.sources import HARD_STATE, Source, gather
from presence.interfaces import ICompositionPolicy
from presence.pidf.offline import empty_document

if TYPE_CHECKING:
    from pysip.event.records import PublicationRecord

__all__ = ["OTHERS", "PERMANENT", "PRESENTITY", "PriorityComposition"]

PRESENTITY: Final = "presentity"
"""Stands for what the presentity itself publishes."""

PERMANENT: Final = "permanent"
"""Stands for the permanent document (RFC 4827)."""

OTHERS: Final = "others"
"""Stands for every publisher that is not named."""


@implementer(ICompositionPolicy)
class PriorityComposition(MergingPolicy):
    """Where sources contradict each other the one that the operator puts first is right (COM-44).

    Merged is as with :class:`presence.compose.newest.NewestComposition`; among sources of
    the same priority the most recent is right.

    :ivar priorities: canonical URIs of publishers, :data:`PRESENTITY`, :data:`OTHERS` and
        :data:`PERMANENT`, the first the most credible. Whoever is not named is one of the
        others; those come after all that are named, and the permanent document after them.
    """

    __slots__ = ("_ranks", "priorities")

    overriding = True

    def __init__(
        self,
        priorities: Sequence[str] = (),
        offline: Callable[[str], bytes] = empty_document,
    ) -> None:
        super().__init__(offline)
        self.priorities = tuple(priorities)
        named = dict.fromkeys((*self.priorities, OTHERS, PERMANENT))
        self._ranks = {name: rank for rank, name in enumerate(named)}

    def _gather(self, publications: Sequence[PublicationRecord], now: float | None) -> list[Source]:
        """The sources by priority, then the most recent first."""
        return gather(publications, now, self._rank)

    def _rank(self, record: PublicationRecord) -> int:
        """The place of a source among the priorities."""
        ranks = self._ranks
        if record.package == HARD_STATE:
            return ranks[PERMANENT]
        rank = ranks.get(record.publisher)
        if rank is None and record.publisher == record.resource:
            rank = ranks.get(PRESENTITY)
        return ranks[OTHERS] if rank is None else rank
