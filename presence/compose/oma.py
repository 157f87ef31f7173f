"""The default composition policy of OMA."""

from __future__ import annotations

from zope.interface import implementer

from presence.compose.merging import MergingPolicy
from presence.interfaces import ICompositionPolicy

__all__ = ["OmaComposition"]


@implementer(ICompositionPolicy)
class OmaComposition(MergingPolicy):
    """What different sources say about one thing is merged unless they contradict each other.

    - Tuples are merged when contact, service and class are the same and nothing conflicts
      (COM-10); persons when class is the same and nothing conflicts (COM-30). Else they stay
      apart: the watcher decides (COM-12, DMO-05).
    - Devices with one deviceID are always merged; on conflict the most recent publication is
      right (COM-20).
    - Ids are those of the oldest source that has a part in a component (COM-14); the order is
      that of COM-41; the same input gives the same octets.
    - Permanent state is the oldest source (COM-01, COM-46).
    """

    __slots__ = ()
