"""Merging the components of several sources into one document.

Sources: presence-data.md COM-02, COM-10 to COM-14, COM-20, COM-30, COM-40, COM-41. The work
grows with the product of components and slots, not with the square of components: which group
a component joins is found by look-up in sets of groups, kept as the bits of integers.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

from lxml import etree

from presence.compose.components import Component, read
from presence.compose.document import (
    StatedType,
    declare,
    make_ids_unique,
    restore_types,
    stated_types,
)
from presence.compose.forms import Form, Ids, form, language
from presence.compose.sources import Source
from presence.pidf import names
from presence.pidf.tree import new_presence
from presence.pidf.write import serialize

__all__ = ["merge"]

_MOST_COPIED: Final = 65536
"""Characters of notes of a root that are copied to persons."""

_TAGS: Final = 32

_Place = tuple[int, etree._Element, str]


def merge(
    entity: str, sources: Sequence[tuple[Source, etree._Element]], *, overriding: bool
) -> bytes:
    """The document that several sources make together.

    :param entity: the presentity's URI.
    :param sources: sources with their compact trees, which are used up; the first takes
        precedence over the second, and so on.
    :param overriding: whether tuples and persons that conflict are merged all the same, what
        the first source says remaining, as it is with devices; else they stay apart.
    """
    groups = {
        names.TUPLE: _Groups(overriding),
        names.PERSON: _Groups(overriding),
        names.DEVICE: _Groups(overriding=True, within_source=True),
    }
    notes: dict[tuple[str, str], etree._Element] = {}
    others = _Others()
    nsmap: dict[str | None, str] = {None: names.PIDF}
    types: list[StatedType] = []
    for place, ((body, number), tree) in enumerate(sources):
        declare(nsmap, tree)
        types += stated_types(body, tree)
        if len(sources) > 1:
            _hand_down_notes(tree)
        for element in tree:
            known = groups.get(element.tag)
            if known is not None:
                known.take(read(element, place, number))
            elif element.tag == names.NOTE:
                notes.setdefault((language(element), element.text or ""), element)
            else:
                others.take(element, place, number)
    root = new_presence({"entity": entity}, nsmap)
    ids = groups[names.TUPLE].write(root)
    root.extend(list(notes.values()))
    ids += groups[names.PERSON].write(root)
    ids += groups[names.DEVICE].write(root)
    ids += others.write(root)
    make_ids_unique(ids)
    restore_types(types)
    return serialize(root)


def _hand_down_notes(root: etree._Element) -> None:
    """Give the notes of a root to its persons that have none (COM-40, DMO-08).

    A note of the root speaks for every person without one; among persons of other sources it
    would speak for those too. Where that would make too large a document of a small one the
    notes stay where they are.
    """
    notes = root.findall(names.NOTE)
    persons = root.findall(names.PERSON) if notes else []
    if not persons:
        return
    silent = [person for person in persons if person.find(names.DM_NOTE) is None]
    if len(silent) * sum(_TAGS + len(note.text or "") for note in notes) > _MOST_COPIED:
        return
    for person in silent:
        timestamp = person.find(names.DM_TIMESTAMP)
        at = len(person) if timestamp is None else person.index(timestamp)
        for offset, note in enumerate(notes):
            copied = person.makeelement(names.DM_NOTE)
            copied.text = note.text
            spoken = note.get(names.XML_LANG)
            if spoken is not None:
                copied.set(names.XML_LANG, spoken)
            person.insert(at + offset, copied)
    for note in notes:
        root.remove(note)


class _Groups:
    """The components of one kind, each the merger of occurrences of different sources.

    :ivar components: what they have become, in order of first appearance.
    """

    __slots__ = ("_by_identity", "_overriding", "_within_source", "components")

    def __init__(self, overriding: bool, within_source: bool = False) -> None:
        """Make no group yet.

        :param overriding: merge what conflicts, too.
        :param within_source: merge what is of one source, too.
        """
        self.components: list[Component] = []
        self._overriding = overriding
        self._within_source = within_source
        self._by_identity: dict[Hashable, _Alike] = {}

    def take(self, component: Component) -> None:
        """Let it join the first group that it fits into, else open one (COM-13)."""
        alike = self._by_identity.get(component.identity)
        if alike is None:
            alike = self._by_identity[component.identity] = _Alike()
        compared: list[tuple[Hashable, Hashable]] = [
            (("param", name), value) for name, value in component.params.items()
        ]
        if not self._overriding:
            compared += [(key, slot.value) for key, slot in component.slots.items()]
        source = -1 if self._within_source else component.source
        group = alike.join(component, source, compared)
        if group is component:
            self.components.append(component)
        else:
            group.absorb(component)

    def write(self, root: etree._Element) -> list[_Place]:
        """Append all, and give the places of their ids."""
        return [place for component in self.components for place in component.write(root)]


class _Alike:
    """Groups of one identity, and what they hold.

    Sets of groups are integers whose bit *n* stands for the *n*-th group.
    """

    __slots__ = ("_groups", "_having", "_holding", "_source", "_taken")

    def __init__(self) -> None:
        self._groups: list[Component] = []
        # the groups that have something under a key, and those that have a certain value
        self._having: dict[Hashable, int] = {}
        self._holding: dict[tuple[Hashable, Hashable], int] = {}
        # the groups with a member of the source that is being taken
        self._source = -1
        self._taken = 0

    def join(
        self, component: Component, source: int, compared: list[tuple[Hashable, Hashable]]
    ) -> Component:
        """The first group that a component may join; itself when there is none.

        :param source: no group with a member of it (COM-02); -1 for any. Sources come one
            after the other.
        :param compared: keys and values; where a group has the key it must hold the value.
        """
        if source != self._source:
            self._source, self._taken = source, 0
        fitting = ((1 << len(self._groups)) - 1) & ~self._taken
        having, holding = self._having, self._holding
        if fitting:
            for item in compared:
                fitting &= ~having.get(item[0], 0) | holding.get(item, 0)
        if fitting:
            bit = fitting & -fitting
            group = self._groups[bit.bit_length() - 1]
        else:
            bit = 1 << len(self._groups)
            group = component
            self._groups.append(component)
        if source >= 0:
            self._taken |= bit
        for item in compared:
            having[item[0]] = having.get(item[0], 0) | bit
            holding[item] = holding.get(item, 0) | bit
        return group


class _Others:
    """Elements of the root that are no components: of a name those of the first source.

    An element that an older source has too is told in its words, ids included.
    """

    __slots__ = ("_counts", "_parts", "_source")

    def __init__(self) -> None:
        # by tag: the source that is first to have it, and the elements by count and form
        self._parts: dict[
            str, tuple[int, dict[tuple[int, Form], tuple[int, etree._Element, Ids]]]
        ] = {}
        # equal elements of one source are different occurrences (COM-02)
        self._source = -1
        self._counts: dict[Form, int] = {}

    def take(self, element: etree._Element, source: int, owner: int) -> None:
        """Keep it if it is of the first source that has its name (COM-40)."""
        if source != self._source:
            self._source, self._counts = source, {}
        ids: Ids = []
        said = form(element, ids)
        count = self._counts[said] = self._counts.get(said, 0) + 1
        first, parts = self._parts.setdefault(element.tag, (source, {}))
        part = parts.get((count, said))
        if first == source or (part is not None and owner < part[0]):
            parts[count, said] = owner, element, ids

    def write(self, root: etree._Element) -> list[_Place]:
        """Append all, and give the places of their ids."""
        places: list[_Place] = []
        for _, parts in self._parts.values():
            for owner, element, ids in parts.values():
                root.append(element)
                places += [(owner, holder, name) for holder, name in ids]
        return places
