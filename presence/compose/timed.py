"""What in a presence document ends or begins by the clock.

- RPID elements end at ``until`` (RPI-02), OMA willingness at ``pde:until`` (OMA-D06);
- ``timed-status`` is about the past or the future: while it covers the present it is left
  out, before and afterwards it is told (TIM-02);
- a location ends at its ``retention-expiry``, which is a day after the component's timestamp,
  else after the document came, when it is not given (LOC-03).

Elements that begin in the future are told as they are: the watcher decides.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from presence.pidf import names
from presence.pidf.instant import instant
from presence.pidf.parse import parse_compact, parse_own
from presence.pidf.tree import remove
from presence.pidf.write import serialize

__all__ = ["next_change", "prune", "remaining"]

_RPID: Final = f"{{{names.RPID}}}"
_OMA: Final = f"{{{names.OMA}}}"
_PDE_UNTIL: Final = f"{{{names.PDE}}}until"
_RETENTION: Final = (
    f"{{{names.GEOPRIV}}}usage-rules/{{{names.GEOPRIV}:basicPolicy}}retention-expiry"
)
_DAY: Final = 86400.0


def remaining(body: bytes, now: float, received: float) -> bytes:
    """``body`` without what is not to be told now; the same object when all is.

    :param now: seconds since 1970.
    :param received: when the document came, in the same seconds.
    """
    if not _may_change(body):
        return body
    root = parse_compact(body)
    over = [element for element, told, _ in _timed(root, now, received) if not told]
    if not over:
        return body
    for element in over:
        remove(element)
    return serialize(root)


def prune(body: bytes, now: float, received: float) -> tuple[bytes, float | None]:
    """``body`` without the locations that may not be kept any longer (LOC-03).

    What else is over stays: it may be told at another time.

    :param now: seconds since 1970.
    :param received: when the document came, in the same seconds.
    :return: the same object when all may be kept, and when less of it may; None for never.
    """
    if b"geopriv" not in body:
        return body, None
    root = parse_own(body)
    over, later = [], []
    for location, expiry in _locations(root, received):
        if expiry <= now:
            over.append(location)
        elif expiry < float("inf"):
            later.append(expiry)
    for location in over:
        remove(location)
    return serialize(root) if over else body, min(later, default=None)


def next_change(body: bytes, now: float, received: float) -> float | None:
    """When :func:`remaining` gives something else than now; None for never (COM-42)."""
    if not _may_change(body):
        return None
    found = _timed(parse_compact(body), now, received)
    times = [at for _, _, edges in found for at in edges if now < at < float("inf")]
    return min(times, default=None)


def _may_change(body: bytes) -> bool:
    """Whether anything in a document could depend on the time; most say nothing of the kind."""
    return b"until" in body or b"timed-status" in body or b"geopriv" in body


def _timed(
    root: etree._Element, now: float, received: float
) -> list[tuple[etree._Element, bool, tuple[float, ...]]]:
    """Elements that depend on the time, whether they are told now, and when that changes."""
    found: list[tuple[etree._Element, bool, tuple[float, ...]]] = []
    for component in root:
        if component.tag not in names.COMPONENTS:
            continue
        for child in component:
            tag = child.tag
            if tag == names.TIMED_STATUS:
                start, end = _instant(child, "from"), _instant(child, "until")
                # a range without end that has begun holds now; one without beginning is none
                past = end is not None and end <= now
                future = start is not None and now < start
                edges = tuple(at for at in (start, end) if at is not None)
                found.append((child, past or future, edges))
                continue
            if tag.startswith(_RPID):
                until = _instant(child, "until")
            elif tag.startswith(_OMA):
                until = _instant(child, _PDE_UNTIL)
            else:
                continue
            if until is not None:
                found.append((child, now < until, (until,)))
    for location, expiry in _locations(root, received):
        found.append((location, now < expiry, (expiry,)))
    return found


def _locations(root: etree._Element, received: float) -> list[tuple[etree._Element, float]]:
    """All locations, and when each is no longer to be kept."""
    return [
        (location, _retention_expiry(location, component, received))
        for component in root
        for location in component.iter(names.GEOPRIV_OBJECT)
    ]


def _retention_expiry(
    location: etree._Element, component: etree._Element, received: float
) -> float:
    """When a location is no longer to be kept (LOC-03)."""
    given = instant(location.findtext(_RETENTION) or "")
    if given is not None:
        return given
    name = names.TIMESTAMP if component.tag == names.TUPLE else names.DM_TIMESTAMP
    stamped = instant(component.findtext(name) or "")
    return (received if stamped is None else stamped) + _DAY


def _instant(element: etree._Element, attribute: str) -> float | None:
    """A time in an attribute; None for none, or one that cannot be read."""
    text = element.get(attribute)
    return None if text is None else instant(text)
