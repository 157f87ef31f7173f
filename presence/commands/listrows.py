"""The members of watched lists as rows, those of lists in lists below these."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from presence.pidf.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from presence.rls.listwatch import Taken, WatchedInstance, WatchedList, WatchedMember
    from presence.watcher import ListWatch

Place = tuple[str, ...]
"""URIs: of the list that is watched, of lists in it, of the member."""


@attrs.frozen(slots=True)
class Row:
    """A member, or a list that is a member.

    :ivar place: where it stands.
    :ivar name: display name, on one line; "" without any.
    :ivar label: the name, with the URI where others in the list have the same one.
    :ivar state: of the subscription to it: ``active``, ``pending``, ``terminated``, or "" as
        long as nothing is known.
    :ivar reason: why that is terminated, or "".
    :ivar document: its presence, None without any.
    :ivar size: how many members it has as a list; None when it is none.
    """

    place: Place
    name: str
    label: str
    state: str = ""
    reason: str = ""
    document: bytes | None = None
    size: int | None = None

    @property
    def uri(self) -> str:
        """As the list has it."""
        return self.place[-1]


def rows(table: WatchedList, place: Place) -> Iterator[Row]:
    """The rows of a list in its order.

    :param place: of the list.
    """
    names = {uri: _name(member) for uri, member in table.members.items()}
    count = Counter(names.values())
    for uri, member in table.members.items():
        name = names[uri]
        label = plain(uri)
        if name:
            label = name if count[name] == 1 else f"{name} <{label}>"
        row = Row((*place, uri), name, label)
        instance = member.instance
        if instance is None:
            yield row
            continue
        nested = instance.nested
        yield attrs.evolve(
            row,
            state=instance.state,
            reason=instance.reason,
            document=instance.document,
            size=None if nested is None else len(nested.members),
        )
        if nested is not None:
            yield from rows(nested, row.place)


def listed_instances(table: WatchedList, place: Place) -> Iterator[tuple[Place, WatchedInstance]]:
    """What is known of the members of a list, and of lists in it, with where they stand."""
    for uri, member in table.members.items():
        for instance in member.instances:
            yield (*place, uri), instance
            if instance.nested is not None:
                yield from listed_instances(instance.nested, (*place, uri))


def changed_rows(watch: ListWatch, taken: Taken) -> Iterator[Row]:
    """The rows of the members that a NOTIFY has changed."""
    changed = frozenset(taken.changed)
    return (row for row in rows(watch.table, (watch.uri,)) if row.place[1] in changed)


def _name(member: WatchedMember) -> str:
    return next(filter(None, (plain(text) for _, text in member.names)), "")
