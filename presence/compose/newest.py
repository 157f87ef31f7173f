"""Newest source wins."""

from __future__ import annotations

from zope.interface import implementer

from presence.compose.merging import MergingPolicy
from presence.interfaces import ICompositionPolicy

__all__ = ["NewestComposition"]


@implementer(ICompositionPolicy)
class NewestComposition(MergingPolicy):
    """As OMA's policy, but where sources contradict each other the most recent is right (COM-44).

    Tuples of one contact, service and class, and persons of one class, are merged as devices
    are; what only an older source says is told as well. Two of one source stay apart (COM-02).
    """

    __slots__ = ()

    overriding = True
