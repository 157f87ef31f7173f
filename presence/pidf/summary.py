"""A presence document as values, for people (``presencectl``, the watcher client)."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from presence.pidf import names
from presence.pidf.components import (
    Device,
    Person,
    Service,
    Told,
    read_device,
    read_person,
    read_service,
)
from presence.pidf.instant import instant
from presence.pidf.parse import parse_compact, to_utf8
from presence.pidf.plain import line, plain
from presence.pidf.tree import attributes
from presence.pidf.understood import drop_not_understood

__all__ = [
    "Device",
    "Person",
    "Service",
    "Summary",
    "latest_person",
    "reachable",
    "reachable_service",
    "summarise",
]


@attrs.frozen(slots=True)
class Summary:
    """A whole document.

    :ivar entity: the presentity's URI.
    :ivar services: the tuples in document order.
    :ivar notes: notes of persons, and those of the root while a person has none (DMO-08).
    :ivar activities: names of the persons' activities (RFC 4480 section 3.2), each once.
    :ivar moods: names of the persons' moods, each once.
    :ivar persons: all there is to know of persons, in document order.
    :ivar devices: the devices in document order.
    """

    entity: str
    services: tuple[Service, ...]
    notes: tuple[str, ...]
    activities: tuple[str, ...]
    moods: tuple[str, ...]
    persons: tuple[Person, ...] = ()
    devices: tuple[Device, ...] = ()


def summarise(document: bytes, charset: str | None = None) -> Summary:
    """What a presence document says, leaving out what only programs care for.

    Tolerant: elements in any order, unknown ones are passed over (PID-08). Texts are on one
    line and free of control characters.

    :raises presence.pidf.parse.DocumentError: not well-formed, or beyond the parser's
        limits.
    """
    root = parse_compact(to_utf8(document, charset))
    drop_not_understood(root)
    persons = tuple(map(read_person, root.iterfind(names.PERSON)))
    silent = not persons or not all(person.notes for person in persons)
    notes = [line(note) for note in root.iterfind(names.NOTE) if silent]
    for person in persons:
        notes += person.notes
    return Summary(
        entity=plain(dict(attributes(root)).get("entity", "")),
        services=tuple(map(read_service, root.iterfind(names.TUPLE))),
        notes=tuple(notes),
        activities=_each(person.activities for person in persons),
        moods=_each(person.moods for person in persons),
        persons=persons,
        devices=tuple(map(read_device, root.iterfind(names.DEVICE))),
    )


def _each(elements: Iterable[tuple[Told, ...]]) -> tuple[str, ...]:
    found = (value for several in elements for told in several for value in told.values)
    return tuple(dict.fromkeys(found))


# -- what a watcher makes of it when there are several ---------------------------------------


def latest_person(summary: Summary) -> Person | None:
    """The person to believe when there are several: the latest (OMA-D04, WAT-07)."""
    return max(summary.persons, key=lambda person: _time(person.timestamp), default=None)


def reachable(summary: Summary) -> str:
    """``open``, ``closed``, or "" when nothing is said: by any of the services (OMA-D04).

    Of several tuples of one service the latest counts, then the one with the highest priority.
    """
    best: dict[object, Service] = {}
    for service in summary.services:
        key = (service.service_id, service.version) if service.service_id else object()
        before = best.get(key)
        if before is None or _rank(service) > _rank(before):
            best[key] = service
    person = latest_person(summary)
    said = {reachable_service(service, person) for service in best.values()}
    return "open" if "open" in said else "closed" if "closed" in said else ""


def reachable_service(service: Service, person: Person | None) -> str:
    """Whether somebody can be reached by a service: the tuple's own word and OMA's (OMA-D04).

    :param person: who may be unwilling whatever the service.
    """
    willing = (person.willingness if person is not None else "") or service.willingness
    if willing == "closed" or service.registration == "terminated" or service.barring == "active":
        return "closed"
    return service.basic


def _rank(service: Service) -> tuple[float, float]:
    try:
        priority = float(service.priority or 0)
    except ValueError:
        priority = 0.0
    return _time(service.timestamp), priority if 0 <= priority <= 1 else 0.0


def _time(text: str) -> float:
    """Of a timestamp; the beginning of time when there is none."""
    found = instant(text)
    return float("-inf") if found is None else found
