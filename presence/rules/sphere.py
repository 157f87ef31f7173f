"""The sphere a presentity is in (RFC 4745 section 7.3, RFC 5025 section 3.1.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lxml import etree

from presence.pidf import names
from presence.pidf.instant import instant
from presence.rules.permissions import token


def sphere_of(inputs: Iterable[etree._Element], now: float) -> str | None:
    """The sphere that all persons of all published documents agree on (XDM-116, RPI-04).

    :param inputs: the ``presence`` roots of the inputs of composition.
    :param now: seconds since 1970; a sphere of another time does not count (XDM-125).
    :return: as it is written first; None when nobody tells one, or not all the same one
        (without regard to case, as rules compare it).
    """
    found: str | None = None
    for root in inputs:
        for person in root.iterchildren(names.PERSON):
            for sphere in person.iterchildren(names.SPHERE):
                if not _applies(sphere, now):
                    continue
                for value in _values(sphere):
                    if found is None:
                        found = value
                    elif value.lower() != found.lower():
                        return None
    return found


def _values(sphere: etree._Element) -> Iterator[str]:
    """The local names of the children, the text of old documents without any (XDM-125)."""
    children = list(sphere.iterchildren(etree.Element))
    for child in children:
        yield etree.QName(child).localname
    if not children and (text := token(sphere)):
        yield text


def _applies(sphere: etree._Element, now: float) -> bool:
    """Whether ``from`` and ``until`` include now; what is no time includes nothing."""
    start, end = sphere.get("from"), sphere.get("until")
    if start is not None:
        begins = instant(start)
        if begins is None or now < begins:
            return False
    if end is not None:
        ends = instant(end)
        if ends is None or now >= ends:
            return False
    return True
