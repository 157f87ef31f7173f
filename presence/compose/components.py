"""Tuples, persons and devices as things that can be compared and merged.

Sources: presence-data.md COM-05, COM-06, COM-10, COM-11, COM-20, COM-30. A component is known
by its *identity*, which must be equal for two to be merged, and has *slots*: children that
are compared together. Two components conflict if a slot that both have has another value.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from lxml import etree

from presence.compose.forms import Form, Ids, collapsed, form, language
from presence.pidf import names
from presence.pidf.equality import device_key, uri_key
from presence.pidf.instant import instant
from presence.pidf.names import (
    BASIC,
    CONTACT,
    DEVICE,
    DEVICE_ID,
    DM_NOTE,
    DM_TIMESTAMP,
    NOTE,
    PERSON,
    STATUS,
    TIMESTAMP,
    TUPLE,
)

__all__ = ["Component", "Slot", "read"]

_CLASS: Final = f"{{{names.RPID}}}class"
_SERVICE: Final = f"{{{names.OMA}}}service-description"
_SERVICE_ID: Final = f"{{{names.OMA}}}service-id"
_VERSION: Final = f"{{{names.OMA}}}version"
_DESCRIPTION: Final = f"{{{names.OMA}}}description"
_DISPLAY_NAME: Final = f"{{{names.CIPID}}}display-name"
_REPEATABLE: Final = frozenset({names.TIMED_STATUS, _DISPLAY_NAME})

# what notes and timestamp are called in each kind
_ENDS: Final = {
    TUPLE: (NOTE, TIMESTAMP),
    PERSON: (DM_NOTE, DM_TIMESTAMP),
    DEVICE: (DM_NOTE, DM_TIMESTAMP),
}

# where a child stands: in this order they are written
_BASIC: Final = 0
_STATUS: Final = 1
_EXTENSION: Final = 2
_NOTE: Final = 3

# length of times that compare as they are written
_PLAIN: Final = len("2026-01-05T10:00:00Z")
_NO_PRIORITY: Final = (Decimal(-1), "")

_Service = tuple[str, str]


class Slot:
    """Children of one component that are compared together.

    :ivar source: place of their source among all, the most recent first.
    :ivar owner: number of their source.
    :ivar parts: the elements, each with the place where it stands.
    :ivar ids: xs:ID values inside.
    :ivar value: what they say and where, whatever their order; can be looked up.
    """

    __slots__ = ("ids", "owner", "parts", "source", "value")

    def __init__(self, source: int, owner: int) -> None:
        self.source = source
        self.owner = owner
        self.parts: list[tuple[int, etree._Element]] = []
        self.ids: Ids = []
        self.value: Any = None


class Component:
    """An occurrence of a tuple, person or device, and what has been merged into it.

    :ivar element: the first occurrence, of the most recent source.
    :ivar source: place of its source among all.
    :ivar owner: number of the oldest source that has a part in it (COM-14).
    :ivar id: occurrence id, that of the owner.
    :ivar identity: what must be equal for merging.
    :ivar params: URI parameters of the contact that must be equal where both have them.
    :ivar slots: children by what they are compared by, in order of appearance.
    :ivar merged: whether anything has been merged into it.
    """

    __slots__ = (
        "_contact",
        "_descriptions",
        "_timestamp",
        "element",
        "id",
        "identity",
        "merged",
        "owner",
        "params",
        "slots",
        "source",
    )

    def __init__(self, element: etree._Element, source: int, owner: int) -> None:
        self.element = element
        self.source = source
        self.owner = owner
        self.id = (element.get("id") or "").strip()
        self.identity: Hashable = None
        self.params: dict[str, str | None] = {}
        self.slots: dict[Hashable, Slot] = {}
        self.merged = False
        self._contact: etree._Element | None = None
        self._timestamp: etree._Element | None = None
        self._descriptions: dict[_Service, etree._Element | None] = {}

    # -- reading --------------------------------------------------------------------------

    def _read(self) -> None:
        """Sort the children of the element into slots."""
        kind = self.element.tag
        note, timestamp = _ENDS[kind]
        service, device = kind == TUPLE, kind == DEVICE
        repeated: dict[Hashable, list[Any]] = {}
        classes: list[str] = []
        for child in self.element:
            tag = child.tag
            if tag == timestamp:
                self._timestamp = child
            elif tag == note:
                self._add((tag, language(child)), _NOTE, child, tag, repeated)
            elif service and tag == STATUS:
                for inner in child:
                    name = inner.tag
                    self._add(name, _BASIC if name == BASIC else _STATUS, inner, name, repeated)
            elif service and tag == CONTACT:
                self._contact = child
            elif device and tag == DEVICE_ID:
                self.identity = device_key(child.text or "")
            else:
                if tag == _CLASS:
                    classes.append(collapsed(child))
                key = _key(child, tag) if tag in _REPEATABLE else tag
                self._add(key, _EXTENSION, child, tag, repeated)
        for key, values in repeated.items():
            # order says nothing, and telling a device twice neither (DMO-03)
            values = sorted(set(values)) if key == DEVICE_ID else sorted(values)
            self.slots[key].value = tuple(values) if len(values) > 1 else values[0]
        if not device:
            classes.sort()
            services = frozenset(self._descriptions) if _SERVICE in self.slots else None
            self.identity = (self._contact_key(), services, tuple(classes))

    def _add(
        self,
        key: Hashable,
        place: int,
        element: etree._Element,
        tag: str,
        repeated: dict[Hashable, list[Any]],
    ) -> None:
        """Put a child into its slot; ``repeated`` gets the values of slots with several."""
        slot = self.slots.get(key)
        first = slot is None
        if slot is None:
            slot = self.slots[key] = Slot(self.source, self.owner)
        slot.parts.append((place, element))
        if tag == DEVICE_ID:
            value: Form = (tag, device_key(element.text or ""))
        else:
            value = form(element, slot.ids)
            if tag == _SERVICE and place == _EXTENSION:
                value = self._undescribed(element, value)
        if first:
            slot.value = place, value
        elif key in repeated:
            repeated[key].append((place, value))
        else:
            repeated[key] = [slot.value, (place, value)]

    def _undescribed(self, element: etree._Element, value: Form) -> Form:
        """The form of a service description without its description, which is kept apart.

        It is no part of what is compared (COM-05), and only one remains (COM-11).
        """
        tag, text, attributes, children = value
        kept = tuple(child for child in children if child[0] != _DESCRIPTION)
        description = None if len(kept) == len(children) else element.find(_DESCRIPTION)
        self._descriptions[_service(kept)] = description
        return tag, text, attributes, kept

    def _contact_key(self) -> Hashable:
        """The contact by the rules of URI equality (GRU-02); None without contact."""
        if self._contact is None:
            return None
        key, self.params = uri_key(self._contact.text or "")
        return key

    # -- merging --------------------------------------------------------------------------

    def absorb(self, other: Component) -> None:
        """Take over what ``other``, of the same or an older source, says in addition.

        Of what both have and say differently ours stays; of two occurrences in one source
        the later one's (COM-21).
        """
        self.merged = True
        if other.owner < self.owner:
            self.owner, self.id = other.owner, other.id
        for key, theirs in other.slots.items():
            mine = self.slots.get(key)
            if mine is None:
                self.slots[key] = theirs
            elif mine.value == theirs.value:
                # ids inside are those of the oldest, as the component's own
                if theirs.owner < mine.owner and (mine.ids or theirs.ids):
                    self.slots[key] = theirs
            elif mine.source == theirs.source:
                self.slots[key] = theirs
        self._timestamp = _latest(self._timestamp, other._timestamp)
        self._join_contact(other)
        for service, description in other._descriptions.items():
            if self._descriptions.get(service) is None:
                self._descriptions[service] = description

    def _join_contact(self, other: Component) -> None:
        """The highest priority of both; of a GRUU and its address of record the GRUU."""
        if self._contact is None or other._contact is None:
            return
        _, highest = max(_priority(self._contact), _priority(other._contact))
        if len(other.params) > len(self.params):
            self._contact = other._contact
        if highest:
            self._contact.set("priority", highest)
        self.params = other.params | self.params

    # -- writing --------------------------------------------------------------------------

    def write(self, root: etree._Element) -> list[tuple[int, etree._Element, str]]:
        """Append the component to ``root``, its children in schema order (COM-41).

        :return: all ids in it, each with the number of the source it belongs to.
        """
        element = self.element
        if self.merged:
            element = self._assemble(root)
        else:
            root.append(element)
        ids = [(self.owner, element, "id")]
        for slot in self.slots.values():
            ids += [(slot.owner, holder, name) for holder, name in slot.ids]
        return ids

    def _assemble(self, root: etree._Element) -> etree._Element:
        """A new element made of the children of all that were merged."""
        kind = self.element.tag
        element = etree.SubElement(root, kind, {"id": self.id})
        parts = [part for slot in self.slots.values() for part in slot.parts]
        if kind == TUPLE:
            status = etree.SubElement(element, STATUS)
            status.extend([part for place, part in parts if place == _BASIC])
            status.extend([part for place, part in parts if place == _STATUS])
        element.extend([part for place, part in parts if place == _EXTENSION])
        if self._descriptions:
            for part in element.findall(_SERVICE):
                self._describe(part)
        if kind == DEVICE:
            element.extend(self.element.findall(DEVICE_ID))
        if self._contact is not None:
            element.append(self._contact)
        element.extend([part for place, part in parts if place == _NOTE])
        if self._timestamp is not None:
            element.append(self._timestamp)
        return element

    def _describe(self, element: etree._Element) -> None:
        """Give a service description the description that is the most recent one."""
        version = element.find(_VERSION)
        service = collapsed(element.find(_SERVICE_ID)), collapsed(version)
        description = self._descriptions.get(service)
        if version is None or description is None:
            return
        for old in element.findall(_DESCRIPTION):
            element.remove(old)
        version.addnext(description)


def read(element: etree._Element, source: int, owner: int) -> Component:
    """The component that a tuple, person or device of a compact tree is.

    :param source: place of its source among all, the most recent first.
    :param owner: number of that source.
    """
    component = Component(element, source, owner)
    component._read()
    return component


def _key(child: etree._Element, tag: str) -> Hashable:
    """What an extension is compared by of which several may differ without conflict."""
    if tag == _DISPLAY_NAME:
        return tag, language(child)  # CIP-01
    # TIM-03: other periods are no conflict
    return tag, instant(child.get("from") or ""), instant(child.get("until") or "")


def _service(children: Iterable[Form]) -> _Service:
    """Id and version of a service, from the forms of what its description holds."""
    found = {child[0]: child[1] for child in children}
    return found.get(_SERVICE_ID, ""), found.get(_VERSION, "")


def _latest(mine: etree._Element | None, theirs: etree._Element | None) -> etree._Element | None:
    """The more recent of two timestamps, ours if they are the same instant."""
    if mine is None or theirs is None:
        return theirs if mine is None else mine
    ours, others = mine.text or "", theirs.text or ""
    if len(ours) == len(others) == _PLAIN and ours[-1] == others[-1] == "Z":
        return theirs if others > ours else mine
    at, other = instant(ours), instant(others)
    return theirs if other is not None and (at is None or other > at) else mine


def _priority(contact: etree._Element) -> tuple[Decimal, str]:
    """The priority of a contact as number and text; none is the lowest (PID-05)."""
    text = contact.get("priority")
    try:
        return _NO_PRIORITY if text is None else (Decimal(text.strip()), text)
    except InvalidOperation:
        return _NO_PRIORITY
