"""Preconditions of requests: If-Match and its kin (RFC 9110 section 13, XCAP-150 to XCAP-157)."""

from __future__ import annotations

import calendar
import re
import time

from xcap.errors import XcapError
from xcap.records import Headers

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"[ \t,]*{_TAG}[ \t]*(?:,[ \t]*(?:{_TAG}[ \t]*)?)*")
_ONE_TAG = re.compile(_TAG)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"
_DATES = (
    re.compile(rf"[A-Z][a-z]{{2}}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT", re.A),
    re.compile(rf"[A-Z][a-z]{{5,8}}, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT", re.A),
    re.compile(rf"[A-Z][a-z]{{2}} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})", re.A),
)


def evaluate(method: str, headers: Headers, etag: str | None, modified: float | None) -> None:
    """Raise what :func:`outcome` gives, other than 0.

    :raises XcapError: 304 or 412, with ETag while the document exists; 400 as there.
    """
    status = outcome(method, headers, etag, modified)
    if status:
        tag = () if etag is None else (("ETag", f'"{etag}"'),)
        raise XcapError(status, "" if status == 304 else "Precondition failed", tag)


def outcome(method: str, headers: Headers, etag: str | None, modified: float | None) -> int:
    """The status a request gets by its preconditions, 0 to go on.

    For elements and attributes, too, the document's tag counts (XCAP-154).  Whether the
    target exists was checked before (XCAP-50), so that an absent document is met by PUT of
    a document only.

    :param etag: entity-tag of the document without quotes, None when it does not exist.
    :param modified: wall-clock seconds of its last change, None when unknown.
    :returns: 0, 304 or 412.
    :raises XcapError: 400 for a malformed list of tags.
    """
    status = 0
    match = headers.get("if-match")
    if match is not None:
        if not _listed(match, etag, strong=True):
            status = 412
    elif (since := headers.get("if-unmodified-since")) is not None and modified is not None:
        date = parse_date(since)
        if date is not None and int(modified) > date:
            status = 412
    reading = method in ("GET", "HEAD")
    none = headers.get("if-none-match")
    if none is not None:
        # read in any case: malformed fields are refused whatever the other one says
        if _listed(none, etag, strong=False) and not status:
            status = 304 if reading else 412
    elif not status and reading and modified is not None:
        since = headers.get("if-modified-since")
        date = None if since is None else parse_date(since)
        if date is not None and int(modified) <= date:
            status = 304
    return status


def _listed(value: str, etag: str | None, strong: bool) -> bool:
    """Whether the current tag is in a list; ``*`` stands for any (XCAP-153)."""
    value = value.strip(" \t")
    if value == "*":
        return etag is not None
    if not _TAGS.fullmatch(value):
        raise XcapError(400, "Malformed list of entity-tags")
    if etag is None:
        return False
    wanted = f'"{etag}"'
    for tag in _ONE_TAG.findall(value):
        if tag == wanted or (not strong and tag == f"W/{wanted}"):
            return True
    return False


def parse_date(text: str) -> int | None:
    """Seconds since the epoch of an HTTP date in any of its three forms, None for no date."""
    text = text.strip(" \t")
    for form in _DATES:
        if match := form.fullmatch(text):
            break
    else:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        # a date more than 50 years ahead means the past (RFC 9110 section 5.6.7)
        year += 2000 if year < 70 else 1900
    month = _MONTHS.index(match["month"]) + 1
    day = int(match["day"])
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"])
    if year < 1 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    if hour > 23 or minute > 59 or second > 60:
        return None
    return calendar.timegm((year, month, day, hour, minute, second))


def http_date(seconds: float) -> str:
    """Write a time as IMF-fixdate: ``Sun, 06 Nov 1994 08:49:37 GMT``."""
    t = time.gmtime(seconds)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02d} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04d}"
        f" {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} GMT"
    )
