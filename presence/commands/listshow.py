"""How the own lists are shown: lines, or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.pidf.plain import plain
from presence.rls.ownlists import Entry, OwnList, OwnService

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from presence.rls.ownlists import Item


def labelled(member: Entry) -> str:
    """A member with its name, as it may be typed."""
    return f"{member.name} <{member.uri}>" if member.name else member.uri


def pairs(
    lists: Iterable[OwnList], services: Iterable[OwnService]
) -> list[tuple[OwnList | None, list[OwnService]]]:
    """Each list with its services; then services for other lists, and those that hold theirs."""
    services = list(services)
    lists = list(lists)
    names = {one.name for one in lists}
    found: list[tuple[OwnList | None, list[OwnService]]] = [
        (one, [service for service in services if service.list == one.name]) for one in lists
    ]
    found += [(s.inline, [s]) for s in services if s.list is None or s.list not in names]
    return found


def as_text(one: OwnList | None, services: list[OwnService]) -> Iterator[str]:
    """Lines for people."""
    uris = [_service_text(service) for service in services] or ["(no URI to watch it by)"]
    head = [plain(one.name)] if one is not None and one.name else []
    if one is not None and one.title:
        head.append(f'"{one.title}"')
    yield "  ".join([*head, *uris])
    for service in services:
        if one is None:
            missing = f"your list {service.list}, which is missing"
            yield f"  {plain(service.elsewhere) if service.list is None else missing}"
    if one is not None:
        yield from _item_lines(one.items, "  ")


def _service_text(service: OwnService) -> str:
    uri = plain(service.uri)
    return uri if service.serves_presence else f"{uri} (not for presence)"


def _item_lines(items: Iterable[Item], margin: str) -> Iterator[str]:
    for item in items:
        if isinstance(item, Entry):
            yield f"{margin}{plain(labelled(item))}"
        elif isinstance(item, OwnList):
            yield f"{margin}list {plain(item.name)}".rstrip()
            yield from _item_lines(item.items, f"{margin}  ")
        else:
            yield f"{margin}{item.kind} {plain(item.uri)}"


def as_json(one: OwnList | None, services: list[OwnService]) -> dict[str, object]:
    """An object for scripts."""
    found: dict[str, object] = {
        "name": None if one is None else one.name or None,
        "title": None if one is None else one.title or None,
        "services": [
            {"uri": s.uri, "packages": s.packages, "elsewhere": s.elsewhere or None}
            for s in services
        ],
    }
    found["members"] = [] if one is None else list(map(_json_item, one.items))
    return found


def _json_item(item: Item) -> dict[str, object]:
    if isinstance(item, Entry):
        return {"uri": item.uri, "name": item.name or None}
    if isinstance(item, OwnList):
        return {
            "list": item.name or None,
            "title": item.title or None,
            "members": list(map(_json_item, item.items)),
        }
    return {item.kind: item.uri}
