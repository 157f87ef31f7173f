"""Persons, services and devices of a presence document as values, for people.

RPID (RFC 4480), CIPID (RFC 4482), capabilities (RFC 5196), timed status (RFC 4481), locations,
and what OMA adds. What is not understood is passed over. All texts are on one line and safe to
show (:func:`presence.pidf.plain.plain`); what is not said is "" or ().
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs
from lxml import etree

from presence.pidf import names
from presence.pidf.location import locations
from presence.pidf.plain import line, plain

_R: Final = f"{{{names.RPID}}}"
_C: Final = f"{{{names.CIPID}}}"
_O: Final = f"{{{names.OMA}}}"
_CAPS: Final = f"{{{names.CAPS}}}"
_TS: Final = f"{{{names.TIMED}}}"
_PDE: Final = f"{{{names.PDE}}}"
_LINKS: Final = ("card", "homepage", "icon", "map", "sound")
_MEDIA: Final = (
    *("audio", "video", "text", "message", "application", "data", "control"),
    *("automata", "isfocus"),
)
_LISTED: Final = ("class", "actor", "mobility")


@attrs.frozen(slots=True)
class Told:
    """An element with values, such as ``rpid:activities``.

    :ivar values: local names of the values; of ``other`` its text.
    :ivar notes: notes about these.
    :ivar since: from when it holds (``from``), as written.
    :ivar until: until when.
    """

    values: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    since: str = ""
    until: str = ""


@attrs.frozen(slots=True)
class UserInput:
    """``rpid:user-input``.

    :ivar state: ``active`` or ``idle``.
    :ivar last_input: when there was some, as written.
    :ivar threshold: seconds after which it counts as idle, as written.
    """

    state: str
    last_input: str = ""
    threshold: str = ""


@attrs.frozen(slots=True)
class Link:
    """Something to look at elsewhere.

    :ivar kind: ``status-icon``, a name of CIPID, or ``link`` of OMA.
    """

    kind: str
    uri: str
    label: str = ""


@attrs.frozen(slots=True)
class TimedStatus:
    """``ts:timed-status``: of the past or the future."""

    since: str
    until: str = ""
    basic: str = ""
    notes: tuple[str, ...] = ()


@attrs.frozen(slots=True)
class Network:
    """A network of ``op:network-availability``.

    :ivar state: ``active`` or ``terminated``.
    :ivar place: ``home`` or ``visited``.
    """

    id: str
    state: str
    place: str = ""


@attrs.frozen(slots=True)
class Service:
    """One tuple.

    :ivar id: its occurrence id.
    :ivar basic: ``"open"``, ``"closed"`` or "" when it does not say.
    :ivar contact: contact URI, or "".
    :ivar priority: of the contact as written, or "".
    :ivar notes: its notes in document order.
    :ivar service_id: with ``version`` and ``description``: ``op:service-description``.
    :ivar rpid_class: ``rpid:class``.
    :ivar willingness: with ``participation``, ``registration``, ``barring``, ``answer_mode``: of
        OMA, each the value as written.
    :ivar capabilities: what it can do, briefly.
    :ivar devices: ids of the devices it runs on.
    :ivar timestamp: as written.
    """

    id: str
    basic: str
    contact: str
    priority: str
    notes: tuple[str, ...]
    service_id: str = ""
    version: str = ""
    description: str = ""
    rpid_class: str = ""
    willingness: str = ""
    participation: str = ""
    registration: str = ""
    barring: str = ""
    answer_mode: str = ""
    relationship: Told | None = None
    service_class: Told | None = None
    privacy: Told | None = None
    user_input: UserInput | None = None
    links: tuple[Link, ...] = ()
    capabilities: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    timed: tuple[TimedStatus, ...] = ()
    locations: tuple[str, ...] = ()
    timestamp: str = ""


@attrs.frozen(slots=True)
class Person:
    """One person.

    :ivar names: ``ci:display-name``, one per language.
    :ivar place_is: media with what they are like, such as ``audio noisy``.
    :ivar time_offset: minutes from UTC, as written.
    :ivar time_zone: its name.
    :ivar willingness: ``op:overriding-willingness``.
    """

    id: str
    rpid_class: str = ""
    names: tuple[str, ...] = ()
    activities: tuple[Told, ...] = ()
    moods: tuple[Told, ...] = ()
    place_types: tuple[Told, ...] = ()
    place_is: tuple[Told, ...] = ()
    privacy: tuple[Told, ...] = ()
    spheres: tuple[Told, ...] = ()
    user_input: UserInput | None = None
    time_offset: str = ""
    time_zone: str = ""
    willingness: str = ""
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    timestamp: str = ""


@attrs.frozen(slots=True)
class Device:
    """One device.

    :ivar device_id: its URN.
    """

    id: str
    device_id: str
    rpid_class: str = ""
    networks: tuple[Network, ...] = ()
    user_input: UserInput | None = None
    capabilities: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    timestamp: str = ""


def read_person(element: etree._Element) -> Person:
    """What a ``dm:person`` says."""
    offset = element.find(f"{_R}time-offset")
    return Person(
        id=_attribute(element, "id"),
        rpid_class=line(element.find(f"{_R}class")),
        names=_lines(element, f"{_C}display-name"),
        activities=_told(element, names.ACTIVITIES),
        moods=_told(element, names.MOOD),
        place_types=_told(element, names.PLACE_TYPE),
        place_is=_told(element, f"{_R}place-is"),
        privacy=_told(element, f"{_R}privacy"),
        spheres=_told(element, names.SPHERE),
        user_input=_user_input(element),
        time_offset=line(offset),
        time_zone="" if offset is None else _attribute(offset, "description"),
        willingness=_basic(element, "overriding-willingness"),
        links=tuple(_links(element)),
        notes=_lines(element, names.DM_NOTE),
        locations=locations(element),
        timestamp=line(element.find(names.DM_TIMESTAMP)),
    )


def read_service(element: etree._Element) -> Service:
    """What a ``tuple`` says."""
    contact = element.find(names.CONTACT)
    described = element.find(f"{_O}service-description")
    mode = element.find(f"{_PDE}session-answermode/*")
    return Service(
        id=_attribute(element, "id"),
        basic=line(element.find(f"{names.STATUS}/{names.BASIC}")),
        contact=line(contact),
        priority="" if contact is None else _attribute(contact, "priority"),
        notes=_lines(element, names.NOTE),
        service_id="" if described is None else line(described.find(f"{_O}service-id")),
        version="" if described is None else line(described.find(f"{_O}version")),
        description="" if described is None else line(described.find(f"{_O}description")),
        rpid_class=line(element.find(f"{_R}class")),
        willingness=_basic(element, "willingness"),
        participation=_basic(element, "session-participation"),
        registration=line(element.find(f"{_O}registration-state")),
        barring=line(element.find(f"{_O}barring-state")),
        answer_mode="" if mode is None else _name(mode),
        relationship=next(iter(_told(element, f"{_R}relationship")), None),
        service_class=next(iter(_told(element, f"{_R}service-class")), None),
        privacy=next(iter(_told(element, f"{_R}privacy")), None),
        user_input=_user_input(element),
        links=tuple(_links(element)),
        capabilities=tuple(_capabilities(element.find(f"{_CAPS}servcaps"))),
        devices=_lines(element, names.DEVICE_ID),
        timed=tuple(map(_timed, element.iterfind(f"{_TS}timed-status"))),
        locations=locations(element),
        timestamp=line(element.find(names.TIMESTAMP)),
    )


def read_device(element: etree._Element) -> Device:
    """What a ``dm:device`` says."""
    return Device(
        id=_attribute(element, "id"),
        device_id=line(element.find(names.DEVICE_ID)),
        rpid_class=line(element.find(f"{_R}class")),
        networks=tuple(map(_network, element.iterfind(f"{_O}network-availability/{_O}network"))),
        user_input=_user_input(element),
        capabilities=tuple(_capabilities(element.find(f"{_CAPS}devcaps"))),
        notes=_lines(element, names.DM_NOTE),
        locations=locations(element),
        timestamp=line(element.find(names.DM_TIMESTAMP)),
    )


def _attribute(element: etree._Element, name: str) -> str:
    return plain(element.get(name, ""))


def _name(element: etree._Element) -> str:
    return plain(etree.QName(element).localname)


def _lines(element: etree._Element, tag: str) -> tuple[str, ...]:
    return tuple(line(child) for child in element.iterfind(tag))


def _basic(element: etree._Element, name: str) -> str:
    return line(element.find(f"{_O}{name}/{_O}basic"))


def _told(component: etree._Element, tag: str) -> tuple[Told, ...]:
    """The elements of a name, with their values."""
    found = []
    for element in component.iterfind(tag):
        notes = tuple(line(note) for note in element.iterfind(names.RPID_NOTE))
        values = tuple(_values(element))
        found.append(Told(values, notes, _attribute(element, "from"), _attribute(element, "until")))
    return tuple(found)


def _values(element: etree._Element) -> Iterator[str]:
    """Names of the children; of ``other`` the text; of media also what they are like."""
    children = [c for c in element.iterchildren(etree.Element) if c.tag != names.RPID_NOTE]
    for child in children:
        name = _name(child)
        if name == "other":
            name = line(child) or name
        yield " ".join([name, *(_name(like) for like in child.iterchildren(f"{_R}*"))])
    if not children and line(element):  # old documents have text there (RPI-05)
        yield line(element)


def _user_input(component: etree._Element) -> UserInput | None:
    element = component.find(f"{_R}user-input")
    if element is None:
        return None
    return UserInput(
        line(element), _attribute(element, "last-input"), _attribute(element, "idle-threshold")
    )


def _links(component: etree._Element) -> Iterator[Link]:
    """Pictures, sounds and pages (CIP-01, OMA-D06, OMA-D07); they are not fetched."""
    for icon in component.iterfind(f"{_R}status-icon"):
        yield Link("status-icon", line(icon))
    for name in _LINKS:
        for element in component.iterfind(f"{_C}{name}"):
            yield Link(name, line(element))
    for element in component.iterfind(f"{{{names.PDE11}}}link"):
        label = element.get("label") or element.get(f"{{{names.PDE11}}}label") or ""
        yield Link("link", line(element), plain(label))


def _timed(element: etree._Element) -> TimedStatus:
    return TimedStatus(
        _attribute(element, "from"),
        _attribute(element, "until"),
        line(element.find(f"{_TS}basic")),
        _lines(element, f"{_TS}note"),
    )


def _network(element: etree._Element) -> Network:
    children = {child.tag for child in element.iterchildren(etree.Element)}
    state = next((s for s in ("active", "terminated") if f"{_O}{s}" in children), "")
    place = next((p for p in ("home", "visited") if f"{_PDE}{p}" in children), "")
    return Network(_attribute(element, "id"), state, place)


def _capabilities(element: etree._Element | None) -> Iterator[str]:
    """What can be done, not what cannot (CAP-01: what is under both counts as supported)."""
    if element is None:
        return
    for name in _MEDIA:
        if line(element.find(f"{_CAPS}{name}")).lower() in ("true", "1"):
            yield name
    for name in _LISTED:
        yield from (_name(v) for v in element.iterfind(f"{_CAPS}{name}/{_CAPS}supported/*"))
    languages = element.iterfind(f"{_CAPS}languages/{_CAPS}supported/{_CAPS}l")
    yield from (line(language) for language in languages)
    yield from _lines(element, f"{_CAPS}description")
