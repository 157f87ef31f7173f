"""xs:dateTime as instants (XML-05)."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

_FORM: Final = re.compile(
    r"[ \t\r\n]*(-?)([0-9]{4,18})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"((?:\.[0-9]+)?)(?:(Z)|([+-])([0-9]{2}):([0-9]{2}))?[ \t\r\n]*",
    re.IGNORECASE,
)
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAY: Final = 86400


def instant(text: str) -> float | None:
    """Seconds since 1970 in UTC of an xs:dateTime; None for what is none.

    Any offset and number of decimals; without a zone it is UTC (XML-05). ``24:00:00`` is the
    start of the next day, second 60 that of the next minute. A year that calendars do not
    have is before or after everything else.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    minus, *digits, fraction, _, sign, hours, minutes = found.groups()
    year, month, day, hour, minute, second = map(int, digits)
    far = minus or year > 9999
    try:
        days = date(2000 if far else year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None
    past = minute or second or float(fraction or 0)
    if hour > 24 or (hour == 24 and past) or minute > 59 or second > 60:
        return None
    seconds = days * _DAY + hour * 3600 + minute * 60 + second
    if sign:
        offset = int(hours) * 60 + int(minutes)
        if offset > 14 * 60 or int(minutes) > 59:
            return None
        seconds += offset * (60 if sign == "-" else -60)
    if far:
        return float("-inf") if minus else float("inf")
    return seconds + float(fraction or 0)
