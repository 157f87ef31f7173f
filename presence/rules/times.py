"""Points and spans of time in rules: ``validity`` (RFC 4745 section 7.4, XDM-117)."""

from __future__ import annotations

import re
from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterable, Sequence
from math import inf
from typing import Final

import attrs

_INSTANT: Final = re.compile(
    r"(-?)([0-9]{4,})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))?"
)
_YEAR_DIGITS: Final = 9
_DAY: Final = 86400


def instant(text: str) -> float:
    """Seconds since the epoch of an ``xs:dateTime``; without zone it is UTC (XML-05).

    Years that are too far off for a calendar are infinite.

    :raises ValueError: it is no such time.
    """
    match = _INSTANT.fullmatch(text.strip(" \t\r\n"))
    if match is None:
        raise ValueError("not a dateTime")
    sign, digits, fraction, direction = match[1], match[2], match[8], match[9]
    month, day, hour, minute, second = (int(group) for group in match.group(3, 4, 5, 6, 7))
    if not 1 <= month <= 12 or minute > 59 or second > 59:
        raise ValueError("not a dateTime")
    if hour > 23 and (hour > 24 or minute or second or (fraction or "").strip(".0")):
        raise ValueError("not a dateTime")
    offset = 0
    if direction:
        zone_hour, zone_minute = int(match[10]), int(match[11])
        if zone_minute > 59 or zone_hour * 60 + zone_minute > 14 * 60:
            raise ValueError("not a dateTime")
        offset = (zone_hour * 60 + zone_minute) * (-60 if direction == "+" else 60)
    digits = digits.lstrip("0")
    if len(digits) > _YEAR_DIGITS:
        return -inf if sign else inf
    year = int(digits or "0") * (-1 if sign else 1)
    # the calendar repeats every 400 years
    if not 1 <= day <= monthrange(2000 + year % 400, month)[1]:
        raise ValueError("not a dateTime")
    seconds = _days(year, month, day) * _DAY + hour * 3600 + minute * 60 + second + offset
    return seconds + float(fraction or 0)


def _days(year: int, month: int, day: int) -> int:
    """Days from the epoch to a date of the Gregorian calendar, whatever the year."""
    if month < 3:  # years that begin in March have their leap day at the end
        year -= 1
        month += 12
    before = 365 * year + year // 4 - year // 100 + year // 400
    return before + (153 * (month - 3) + 2) // 5 + day - 1 - 719468


@attrs.frozen(slots=True)
class Validity:
    """The times at which a rule is valid.

    :ivar edges: seconds since the epoch, ascending: where a span begins, where it ends, and
        so on.
    """

    edges: tuple[float, ...]

    @classmethod
    def of(cls, elements: Sequence[Iterable[tuple[float, float]]]) -> Validity:
        """What several ``validity`` elements say together: all of them hold.

        :param elements: pairs of from and until, in any order, of each element.
        """
        changes: list[tuple[float, int]] = []
        for pairs in elements:
            for start, end in _merged(pairs):
                changes += ((start, 1), (end, -1))
        # an end goes before a beginning at the same time: spans are open at the end
        changes.sort()
        edges: list[float] = []
        open_now = 0
        for time, change in changes:
            if max(open_now, open_now + change) == len(elements):
                edges.append(time)
            open_now += change
        return cls(tuple(edges))

    def holds(self, now: float) -> bool:
        """Whether ``from <= now < until`` for some span."""
        return bisect_right(self.edges, now) % 2 == 1

    def next(self, now: float) -> float | None:
        """When :meth:`holds` changes next; None for never."""
        at = bisect_right(self.edges, now)
        if at == len(self.edges) or self.edges[at] == inf:
            return None
        return self.edges[at]


def _merged(pairs: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same spans without overlap, in order."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(pairs):
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
