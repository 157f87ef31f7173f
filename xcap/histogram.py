"""Counts of measured values by size, cheap enough to be kept all the time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """How many values were at most so large, as Prometheus counts them.

    :param bounds: upper bounds of the buckets, rising; greater values have a bucket of their
        own.

    :ivar bounds: the bounds.
    :ivar counts: values in each bucket, one more than there are bounds.
    :ivar total: sum of all values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
