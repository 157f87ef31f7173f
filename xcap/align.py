"""Which items of two sequences correspond (XPATCH-11)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias

from xcap.tree import Element, Node

Pairs: TypeAlias = list[tuple[int, int]]
"""Indices of nodes that correspond."""


def pair_up(
    old: Sequence[Node], new: Sequence[Node], first: tuple[int, int], last: tuple[int, int]
) -> Pairs:
    """Pairs of elements that may have been changed into each other."""
    places: dict[str, list[int]] = {}
    for j in range(first[1], last[1]):
        node = new[j]
        if isinstance(node, Element):
            places.setdefault(node.name, []).append(j)
    pairs: Pairs = []
    if last[0] - first[0] != last[1] - first[1]:
        free = first[1]
        for i in range(first[0], last[0]):
            node = old[i]
            same = places.get(node.name, []) if isinstance(node, Element) else []
            at = bisect_left(same, free)
            if at < len(same):
                pairs.append((i, same[at]))
                free = same[at] + 1
    found: Pairs = []
    before = first[0] - 1, first[1] - 1
    for pair in [*pairs, last]:
        found.extend(
            zip(range(before[0] + 1, pair[0]), range(before[1] + 1, pair[1]), strict=False)
        )
        if pair != last:
            found.append(pair)
        before = pair
    return found


def ascending(pairs: Pairs) -> Pairs:
    """As many pairs as can be kept so that both indices rise."""
    pairs = sorted(pairs)
    ends: list[int] = []  # the least second index that ends a chain of each length
    chain: list[int] = []
    before: list[int | None] = []
    for number, (_, j) in enumerate(pairs):
        length = bisect_left(ends, j)
        before.append(chain[length - 1] if length else None)
        if length == len(ends):
            ends.append(j)
            chain.append(number)
        else:
            ends[length] = j
            chain[length] = number
    kept: Pairs = []
    at: int | None = chain[-1] if chain else None
    while at is not None:
        kept.append(pairs[at])
        at = before[at]
    return kept[::-1]
