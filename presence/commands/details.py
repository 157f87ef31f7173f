"""Rich presence as lines of text: what a document says beyond open or closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from presence.pidf.components import Device, Person, Service, Told, UserInput
from presence.pidf.instant import instant
from presence.pidf.names import PLAIN_SERVICE
from presence.pidf.summary import Summary, latest_person, reachable_service

__all__ = ["doings", "lines", "quoted"]

MOST = 40
"""Lines of one document; a hostile one shall not fill a terminal."""

_WIDTH = 13
_ALIVE = {"active": "connected", "terminated": "not connected"}
_SIGNED = {"active": "registered", "terminated": "not registered"}
_WILLING = {"open": "willing", "closed": "not willing"}
_TAKING = {"open": "in a session", "closed": "not in a session"}


def lines(summary: Summary, now: float) -> list[str]:
    """One line for each person, service, device, link and place that says something.

    Labels are aligned. A service that tells no more than its status has no line.

    :param now: wall-clock seconds; what ends or begins another day is told with its date.
    """
    clock = _Clock(now)
    found = [f"{label:<{_WIDTH}}{text}" for label, text in _parts(summary, clock) if text]
    if len(found) > MOST:
        found[MOST - 1 :] = [f"... and {len(found) - MOST + 1} lines more"]
    return found


def doings(person: Person | None, now: float) -> list[str]:
    """What a person does and feels now (RPI-02: what begins later is of no concern yet)."""
    if person is None:
        return []
    clock = _Clock(now)
    return [
        text
        for told in (*person.activities, *person.moods)
        if not clock.later(told.since)
        for text in [clock.told(told)]
        if text
    ]


def quoted(notes: Iterable[str]) -> list[str]:
    """Notes in quotes, each once."""
    return [f'"{note}"' for note in dict.fromkeys(notes) if note]


class _Clock:
    """Says when, as short as it can be said at a time."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._today = datetime.fromtimestamp(now).astimezone().date()

    def later(self, text: str) -> bool:
        """Whether a time is still to come."""
        at = instant(text)
        return at is not None and at > self._now

    def when(self, text: str) -> str:
        """A time in local time; "" for what is none."""
        at = instant(text)
        if at is None:
            return ""
        try:
            moment = datetime.fromtimestamp(at).astimezone()
        except (ValueError, OverflowError, OSError):
            return ""  # a year that no calendar has
        return f"{moment:%H:%M}" if moment.date() == self._today else f"{moment:%Y-%m-%d %H:%M}"

    def told(self, told: Told, label: str = "") -> str:
        """An element with values, its notes and how long it holds."""
        values = ", ".join(told.values)
        said = " ".join(filter(None, (label, values, *quoted(told.notes))))
        if not values and not told.notes:
            return ""
        since = f"from {self.when(told.since)}" if self.later(told.since) else ""
        until = f"until {self.when(told.until)}" if self.later(told.until) else ""
        span = " ".join(part for part in (since, until) if part.partition(" ")[2])
        return f"{said} ({span})" if span else said

    def input(self, told: UserInput | None) -> str:
        """Whether somebody is at it."""
        if told is None or not told.state:
            return ""
        since = self.when(told.last_input)
        return f"{told.state} since {since}" if since and told.state == "idle" else told.state


def _parts(summary: Summary, clock: _Clock) -> Iterator[tuple[str, str]]:
    """Labels and texts; "" for nothing to say."""
    latest = latest_person(summary)
    for person in summary.persons:
        yield "person", _person(person, clock, first=person is latest)
    plain = len(summary.services) == 1
    for service in summary.services:
        text = _service(service, latest, clock)
        if not (plain and _says_little(service)):
            yield "service", text
        for timed in service.timed:
            since, until = clock.when(timed.since), clock.when(timed.until)
            parts = (
                timed.basic,
                f"from {since}" if since else "",
                f"until {until}" if until else "",
                *quoted(timed.notes),
            )
            label = "planned" if clock.later(timed.since) else "before"
            yield label, " ".join(filter(None, parts))
    for device in summary.devices:
        yield "device", _device(device, clock)
    places = [place for device in summary.devices for place in device.locations]  # LOC-02
    places += [place for service in summary.services for place in service.locations]
    places += [place for person in summary.persons for place in person.locations]
    for place in dict.fromkeys(places):
        yield "location", place
    links = [link for person in summary.persons for link in person.links]
    links += [link for service in summary.services for link in service.links]
    for link in links:
        label = f'"{link.label}" ' if link.label else ""
        yield link.kind, label + link.uri


def _person(person: Person, clock: _Clock, *, first: bool) -> str:
    """``first``: its doings and notes stand above."""
    told: Callable[[Told], str] = clock.told
    parts = [
        *person.names,
        "" if first else ", ".join(map(told, (*person.activities, *person.moods))),
        *(told(t) for t in (*person.activities, *person.moods) if first and clock.later(t.since)),
        *(clock.told(place, "at") for place in person.place_types),
        *(clock.told(like, "around:") for like in person.place_is),
        *(clock.told(sphere, "sphere") for sphere in person.spheres),
        *(clock.told(media, "private:") for media in person.privacy),
        clock.input(person.user_input),
        _offset(person.time_offset, person.time_zone),
        _WILLING.get(person.willingness, ""),
        f"class {person.rpid_class}" if person.rpid_class else "",
    ]
    return "; ".join(filter(None, parts))


def _offset(minutes: str, zone: str) -> str:
    """A time zone; ``minutes`` as it was written."""
    try:
        east = int(minutes)
    except ValueError:
        return zone
    if abs(east) > 24 * 60:
        return zone
    sign = "-" if east < 0 else "+"
    text = f"UTC{sign}{abs(east) // 60}:{abs(east) % 60:02}"
    return f"{text} ({zone})" if zone else text


def _unusual(told: Told | None, usual: str) -> list[Told]:
    """An element unless it says what holds without it, too (RFC 4480 sections 3.9, 3.10)."""
    return [] if told is None or told.values == (usual,) else [told]


def _says_little(service: Service) -> bool:
    """Whether all that it says stands above: status, contact and notes."""
    return not (
        service.service_id not in ("", PLAIN_SERVICE)
        or service.description
        or service.rpid_class
        or service.willingness
        or service.participation
        or service.registration
        or service.barring
        or service.answer_mode
        or _unusual(service.relationship, "self")
        or _unusual(service.service_class, "electronic")
        or service.privacy
        or service.user_input
        or service.capabilities
    )


def _service(service: Service, person: Person | None, clock: _Clock) -> str:
    known = service.service_id if service.service_id != PLAIN_SERVICE else ""
    name = " ".join(filter(None, (known, service.version if known else "")))
    if service.description:
        name = f"{service.description} ({name})" if name else service.description
    status = reachable_service(service, person)
    parts = [
        name,
        status,
        service.contact,
        _WILLING.get(service.willingness, ""),
        _TAKING.get(service.participation, ""),
        _SIGNED.get(service.registration, ""),
        {"active": "barred"}.get(service.barring, ""),
        f"answers {service.answer_mode}" if service.answer_mode else "",
        clock.input(service.user_input),
        *(clock.told(one, "of") for one in _unusual(service.relationship, "self")),
        *(clock.told(one) for one in _unusual(service.service_class, "electronic")),
        clock.told(service.privacy, "private:") if service.privacy else "",
        f"can {', '.join(service.capabilities)}" if service.capabilities else "",
        f"class {service.rpid_class}" if service.rpid_class else "",
        *quoted(service.notes),
    ]
    return "; ".join(filter(None, parts))


def _device(device: Device, clock: _Clock) -> str:
    networks = []
    for network in device.networks:
        place = f" ({network.place})" if network.place else ""
        state = _ALIVE.get(network.state, "")
        networks.append(" ".join(filter(None, (network.id, state))) + place)
    parts = [
        *quoted(device.notes),
        *networks,
        clock.input(device.user_input),
        ", ".join(device.capabilities),
        f"class {device.rpid_class}" if device.rpid_class else "",
        device.device_id,
    ]
    return "; ".join(filter(None, parts))
