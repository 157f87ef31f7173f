"""Where somebody is, on a line (GEOPRIV: RFC 4119, 5139, 5491; LOC-02)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lxml import etree

from presence.pidf import names
from presence.pidf.plain import line

__all__ = ["locations"]

_GP: Final = f"{{{names.GEOPRIV}}}"
_GML: Final = "{http://www.opengis.net/gml}"
_CIVIC: Final = frozenset({f"{names.GEOPRIV}:civicAddr", f"{names.GEOPRIV}:civicLoc"})


def locations(component: etree._Element) -> tuple[str, ...]:
    """The places in a component: addresses as people write them, points in degrees.

    :param component: a tuple, whose ``status`` counts, too, a person or a device.
    """
    found = []
    for geopriv in component.iterfind(f"{_GP}geopriv"):
        found.append(_place(geopriv))
    for geopriv in component.iterfind(f"{names.STATUS}/{_GP}geopriv"):
        found.append(_place(geopriv))
    return tuple(dict.fromkeys(filter(None, found)))


def _place(geopriv: etree._Element) -> str:
    """Coarse first, as the parts of one place are written (LOC-06)."""
    parts: list[str] = []
    for info in geopriv.iterfind(f"{_GP}location-info"):
        for chunk in info.iterchildren(etree.Element):
            if etree.QName(chunk).namespace in _CIVIC:
                parts.append(_civic(chunk))
            else:
                parts += list(_points(chunk))[:1]
    place = "; ".join(filter(None, parts))
    method = line(geopriv.find(f"{_GP}method"))
    return f"{place} ({method})" if place and method else place


def _civic(address: etree._Element) -> str:
    """A civic address: the building first, the country last."""
    told: dict[str, str] = {}
    for part in address.iterchildren(etree.Element):
        told.setdefault(etree.QName(part).localname, line(part))

    def words(*labels: str) -> str:
        return " ".join(filter(None, (told.get(label, "") for label in labels)))

    street = words("PRD", "RD", "STS", "POD") or words("PRD", "A6", "STS", "POD")
    parts = (
        words("NAM"),
        words("LMK"),
        words("LOC"),
        _named("room", told.get("ROOM")),
        _named("floor", told.get("FLR")),
        " ".join(filter(None, (street, words("HNO", "HNS")))),
        words("PC", "A3" if told.get("A3") else "A2"),
        words("A1") if told.get("A1") != told.get("A3") else "",
        words("country"),
    )
    return ", ".join(filter(None, parts))


def _named(label: str, value: str | None) -> str:
    return f"{label} {value}" if value else ""


def _points(shape: etree._Element) -> Iterator[str]:
    """Latitude and longitude of the positions in a shape; of a circle its radius, too."""
    radius = line(next(shape.iter(f"{_GML}radius"), None))
    for position in shape.iter(f"{_GML}pos", f"{_GML}coordinates"):
        numbers = line(position).replace(",", " ").split()
        if len(numbers) >= 2:
            near = f" within {radius} m" if radius else ""
            yield f"{', '.join(numbers)}{near}"
