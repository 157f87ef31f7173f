"""Composition as presence-data.md J says it, without any regard to speed: what to compare with.

Sources are made of plain values; :func:`composed` goes through the rules one by one, and
:func:`text` writes a document. Nothing of :mod:`presence.compose` is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

import attrs

from tests.presence.documents import document


@attrs.frozen
class Part:
    """A tuple, person or device.

    :ivar kind: ``tuple``, ``person`` or ``device``.
    :ivar contact: URI and priority, both "" for none.
    :ivar service: id, version and description, "" for none.
    :ivar device: deviceID of a device.
    :ivar status: children of status by name, in order.
    :ivar children: extensions by name, in order.
    :ivar notes: text by language.
    :ivar time: minutes after 10:00, None for no timestamp.
    """

    kind: str
    id: str
    contact: tuple[str, str] = ("", "")
    service: tuple[str, str, str] = ("", "", "")
    group: str = ""
    device: str = ""
    status: tuple[tuple[str, str], ...] = ()
    children: tuple[tuple[str, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    time: int | None = None


@attrs.frozen
class Source:
    """One publication; ``number`` says when it was first made, ``changed`` when its content."""

    number: int
    changed: int
    parts: tuple[Part, ...]
    notes: tuple[tuple[str, str], ...] = ()


@attrs.define
class _Group:
    part: Part
    owner: int
    sources: set[int]


def composed(sources: Sequence[Source], overriding: bool = False) -> Source:
    """What several sources make together (COM-10 to COM-41)."""
    telling = _different([source for source in sources if source.parts or source.notes])
    several = len(telling) > 1
    if not several and _one_device_each(telling) == telling:
        return telling[0] if telling else Source(0, 0, ())
    groups: list[_Group] = []
    notes: list[tuple[str, str]] = []
    for source in _one_device_each(telling):
        if not several or not any(part.kind == "person" for part in source.parts):
            notes += [note for note in source.notes if note not in notes]
        for part in source.parts:
            if several and part.kind == "person" and not part.notes:
                part = attrs.evolve(part, notes=source.notes)
            for group in groups:
                if source.number not in group.sources and _fits(group.part, part, overriding):
                    group.part = _merged(group.part, part)
                    group.sources.add(source.number)
                    if source.number < group.owner:
                        group.owner = source.number
                        group.part = attrs.evolve(group.part, id=part.id)
                    break
            else:
                groups.append(_Group(part, source.number, {source.number}))
    used: set[str] = set()
    for group in sorted(groups, key=lambda group: group.owner):
        if group.part.id in used:
            group.part = attrs.evolve(group.part, id=f"{group.part.id}-p{group.owner}")
        used.add(group.part.id)
    order = ("tuple", "person", "device")
    parts = sorted((group.part for group in groups), key=lambda part: order.index(part.kind))
    return Source(0, 0, tuple(parts), tuple(notes))


def _different(sources: Sequence[Source]) -> list[Source]:
    """Most recent first; of those that say the same one, with the lowest number (PUB-17)."""
    found: dict[bytes, Source] = {}
    for source in sorted(sources, key=lambda one: (one.changed, one.number), reverse=True):
        said = text(source)  # tuples come first there, wherever they are in the source
        first = found.setdefault(said, source)
        if source.number < first.number:
            found[said] = attrs.evolve(first, number=source.number)
    return list(found.values())


def _one_device_each(sources: Sequence[Source]) -> list[Source]:
    """COM-21: occurrences of a device in one publication are one, the later one being right."""
    found = []
    for source in sources:
        parts: list[Part] = []
        for part in source.parts:
            for at, other in enumerate(parts):
                if "device" == part.kind == other.kind and _fits(other, part, True):
                    later = _merged(part, other)
                    names = [name for name, _ in (*other.children, *part.children)]
                    children = {name: dict(later.children)[name] for name in names}
                    notes = {lang: dict(later.notes)[lang] for lang, _ in other.notes + part.notes}
                    parts[at] = attrs.evolve(
                        later,
                        id=other.id,
                        device=other.device,
                        children=tuple(children.items()),
                        notes=tuple(notes.items()),
                    )
                    break
            else:
                parts.append(part)
        found.append(attrs.evolve(source, parts=tuple(parts)))
    return found


def _fits(group: Part, part: Part, overriding: bool) -> bool:
    """COM-10, COM-20 and COM-30."""
    if group.kind != part.kind or group.device.lower() != part.device.lower():
        return False
    if group.contact[0].lower() != part.contact[0].lower() or group.group != part.group:
        return False
    if group.service[:2] != part.service[:2]:
        return False
    if overriding or part.kind == "device":
        return True
    return not any(
        dict(mine).get(name, value) != value
        for mine, theirs in (
            (group.status, part.status),
            (group.children, part.children),
            (group.notes, part.notes),
        )
        for name, value in theirs
    )


def _merged(group: Part, part: Part) -> Part:
    """COM-11 and COM-20: the group with what the other says in addition."""
    times = [time for time in (group.time, part.time) if time is not None]
    return attrs.evolve(
        group,
        contact=(group.contact[0], max(group.contact[1], part.contact[1])),
        service=(*group.service[:2], group.service[2] or part.service[2]),
        status=_united(group.status, part.status),
        children=_united(group.children, part.children),
        notes=_united(group.notes, part.notes),
        time=max(times, default=None),
    )


def _united(
    mine: tuple[tuple[str, str], ...], theirs: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    return mine + tuple(item for item in theirs if item[0] not in dict(mine))


def text(source: Source) -> bytes:
    """The document of a source."""
    written = "".join(_note("note", note) for note in source.notes)
    services = "".join(_write(part) for part in source.parts if part.kind == "tuple")
    others = "".join(_write(part) for part in source.parts if part.kind != "tuple")
    return document(services + written + others)


def _note(name: str, note: tuple[str, str]) -> str:
    language = f' xml:lang="{note[0]}"' if note[0] else ""
    return f"<{name}{language}>{escape(note[1])}</{name}>"


def _write(part: Part) -> str:
    kind = "tuple" if part.kind == "tuple" else f"dm:{part.kind}"
    prefix = "" if part.kind == "tuple" else "dm:"
    written = [f'<{kind} id="{part.id}">']
    if part.kind == "tuple":
        basic_first = sorted(part.status, key=lambda child: child[0] != "basic")
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in basic_first)
        written.append(f"<status>{inner}</status>")
    if part.service[0]:
        name, version, described = part.service
        description = f"<op:description>{described}</op:description>" if described else ""
        written.append(
            f"<op:service-description><op:service-id>{name}</op:service-id>"
            f"<op:version>{version}</op:version>{description}</op:service-description>"
        )
    if part.group:
        written.append(f"<r:class>{part.group}</r:class>")
    written += [f"<{name}>{value}</{name}>" for name, value in part.children]
    if part.device:
        written.append(f"<dm:deviceID>{part.device}</dm:deviceID>")
    if part.contact[0]:
        priority = f' priority="{part.contact[1]}"' if part.contact[1] else ""
        written.append(f"<contact{priority}>{part.contact[0]}</contact>")
    written += [_note(f"{prefix}note", note) for note in part.notes]
    if part.time is not None:
        written.append(f"<{prefix}timestamp>2026-01-05T10:{part.time:02}:00Z</{prefix}timestamp>")
    written.append(f"</{kind}>")
    return "".join(written)
