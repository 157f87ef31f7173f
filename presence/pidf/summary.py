"""A presence document in a few words, for people (``presencectl``, the watcher client)."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from lxml import etree

from presence.pidf import names
from presence.pidf.parse import parse_compact, to_utf8
from presence.pidf.tree import attributes


@attrs.frozen(slots=True)
class Service:
    """One tuple.

    :ivar id: its occurrence id.
    :ivar basic: ``"open"``, ``"closed"`` or "" when it does not say.
    :ivar contact: contact URI, or "".
    :ivar priority: of the contact as written, or "".
    :ivar notes: its notes in document order.
    """

    id: str
    basic: str
    contact: str
    priority: str
    notes: tuple[str, ...]


@attrs.frozen(slots=True)
class Summary:
    """A whole document.

    :ivar entity: the presentity's URI.
    :ivar services: the tuples in document order.
    :ivar notes: notes of the root and of persons.
    :ivar activities: names of the persons' activities (RFC 4480 section 3.2), each once.
    :ivar moods: names of the persons' moods, each once.
    """

    entity: str
    services: tuple[Service, ...]
    notes: tuple[str, ...]
    activities: tuple[str, ...]
    moods: tuple[str, ...]


def summarise(document: bytes, charset: str | None = None) -> Summary:
    """What a presence document says, leaving out what only programs care for.

    Tolerant: elements in any order, unknown ones are passed over. Texts are on one line
    and free of control characters.

    :raises presence.pidf.parse.DocumentError: not well-formed, or beyond the parser's
        limits.
    """
    root = parse_compact(to_utf8(document, charset))
    persons = root.findall(names.PERSON)
    notes = [*root.findall(names.NOTE)]
    for person in persons:
        notes.extend(person.findall(names.DM_NOTE))
    return Summary(
        entity=dict(attributes(root)).get("entity", "").strip(),
        services=tuple(_service(element) for element in root.findall(names.TUPLE)),
        notes=tuple(_line(note) for note in notes),
        activities=tuple(dict.fromkeys(_values(persons, names.ACTIVITIES))),
        moods=tuple(dict.fromkeys(_values(persons, names.MOOD))),
    )


def _service(element: etree._Element) -> Service:
    """The summary of a tuple."""
    contact = element.find(names.CONTACT)
    return Service(
        id=element.get("id", ""),
        basic=_line(element.find(f"{names.STATUS}/{names.BASIC}")),
        contact=_line(contact),
        priority="" if contact is None else contact.get("priority", ""),
        notes=tuple(_line(note) for note in element.findall(names.NOTE)),
    )


def _values(persons: list[etree._Element], container: str) -> Iterator[str]:
    """Local names of what stands in a container of values; the text of ``other``."""
    for person in persons:
        for value in person.iterfind(f"{container}/*"):
            if value.tag != names.RPID_NOTE:
                name = etree.QName(value).localname
                yield (_line(value) or name) if name == "other" else name


def _line(element: etree._Element | None) -> str:
    """The text of an element on one printable line; "" for none."""
    if element is None or element.text is None:
        return ""
    text = " ".join(element.text.split())
    return text if text.isprintable() else "".join(c for c in text if c.isprintable())
