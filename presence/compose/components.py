"""Tuples, persons and devices as things that can be compared and merged.

Sources: presence-data.md COM-05, COM-06, COM-10, COM-11, COM-20, COM-30. A component is known
by its *identity*, which must be equal for two to be merged, and has *slots*: children that
are compared together. Two components conflict if a slot that both have has another value.
"""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal, InvalidOperation
from typing import Final

from lxml import etree

from presence.compose.forms import Form, Ids, collapsed, form, language
from presence.pidf import names
from presence.pidf.equality import device_key, uri_key
from presence.pidf.instant import instant

__all__ = ["Component", "Slot", "read"]

_CLASS: Final = f"{{{names.RPID}}}class"
_SERVICE: Final = f"{{{names.OMA}}}service-description"
_SERVICE_ID: Final = f"{{{names.OMA}}}service-id"
_VERSION: Final = f"{{{names.OMA}}}version"
_DESCRIPTION: Final = f"{{{names.OMA}}}description"
_TIMED_STATUS: Final = f"{{{names.TIMED}}}timed-status"
_DISPLAY_NAME: Final = f"{{{names.CIPID}}}display-name"

# where a child stands: in this order they are written
_BASIC: Final = 0
_STATUS: Final = 1
_EXTENSION: Final = 2
_NOTE: Final = 3

_Service = tuple[str, str]


class Slot:
    """Children of one component that are compared together.

    :ivar source: place of their source among all, the most recent first.
    :ivar owner: number of their source.
    :ivar parts: the elements, each with the place where it stands.
    :ivar ids: xs:ID values inside.
    :ivar value: what they say, whatever their order.
    """

    __slots__ = ("ids", "owner", "parts", "source", "value")

    def __init__(self, source: int, owner: int) -> None:
        self.source = source
        self.owner = owner
        self.parts: list[tuple[int, etree._Element]] = []
        self.ids: Ids = []
        self.value: Hashable = ()


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
        "_instant",
        "_priority",
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
        self._priority: tuple[Decimal, str] | None = None
        self._timestamp: etree._Element | None = None
        self._instant = float("-inf")
        self._descriptions: dict[_Service, etree._Element | None] = {}

    # -- reading --------------------------------------------------------------------------

    def _read(self) -> None:
        """Sort the children of the element into slots."""
        kind = self.element.tag
        note, timestamp = (
            (names.NOTE, names.TIMESTAMP)
            if kind == names.TUPLE
            else (names.DM_NOTE, names.DM_TIMESTAMP)
        )
        forms: dict[Hashable, list[tuple[int, Form]]] = {}
        classes: list[str] = []
        device = ""
        for child in self.element:
            tag = child.tag
            if tag == timestamp:
                self._timestamp = child
                at = instant(child.text or "")
                self._instant = float("-inf") if at is None else at
            elif tag == note:
                self._add(forms, (tag, language(child)), _NOTE, child)
            elif tag == names.STATUS and kind == names.TUPLE:
                for inner in child:
                    place = _BASIC if inner.tag == names.BASIC else _STATUS
                    self._add(forms, inner.tag, place, inner)
            elif tag == names.CONTACT and kind == names.TUPLE:
                self._contact = child
                self._priority = _priority(child)
            elif tag == names.DEVICE_ID and kind == names.DEVICE:
                device = device_key(child.text or "")
            else:
                if tag == _CLASS:
                    classes.append(collapsed(child))
                self._add(forms, self._key(child), _EXTENSION, child)
        for key, values in forms.items():
            # in most slots there is one element; several are in no order
            self.slots[key].value = (
                frozenset(values) if key == names.DEVICE_ID else tuple(sorted(values))
            )
        if kind == names.DEVICE:
            self.identity = device
        else:
            classes.sort()
            services = frozenset(self._descriptions) if _SERVICE in forms else None
            self.identity = (self._contact_key(), services, tuple(classes))

    def _key(self, child: etree._Element) -> Hashable:
        """What an extension is compared by: its name, and what several of it may differ in."""
        tag = child.tag
        if tag == _TIMED_STATUS:
            # TIM-03: several periods are no conflict
            start, end = child.get("from") or "", child.get("until") or ""
            return tag, instant(start), instant(end)
        if tag == _DISPLAY_NAME:
            return tag, language(child)  # CIP-01
        return tag

    def _add(
        self,
        forms: dict[Hashable, list[tuple[int, Form]]],
        key: Hashable,
        place: int,
        element: etree._Element,
    ) -> None:
        """Put a child into its slot."""
        slot = self.slots.get(key)
        if slot is None:
            slot = self.slots[key] = Slot(self.source, self.owner)
            forms[key] = []
        slot.parts.append((place, element))
        value = form(element, slot.ids)
        tag = element.tag
        if tag == names.DEVICE_ID:
            value = (tag, device_key(element.text or ""))
        elif tag == _SERVICE and place == _EXTENSION:
            value = self._undescribed(element, value)
        forms[key].append((place, value))

    def _undescribed(self, element: etree._Element, value: Form) -> Form:
        """The form of a service description without its description, which is kept apart.

        It is no part of what is compared (COM-05), and only one remains (COM-11).
        """
        service = collapsed(element.find(_SERVICE_ID)), collapsed(element.find(_VERSION))
        self._descriptions[service] = element.find(_DESCRIPTION)
        tag, text, attributes, children = value
        return tag, text, attributes, tuple(c for c in children if c[0] != _DESCRIPTION)

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
        if other._instant > self._instant:
            self._instant, self._timestamp = other._instant, other._timestamp
        elif self._timestamp is None:
            self._timestamp = other._timestamp
        if other._priority is not None and (
            self._priority is None or other._priority[0] > self._priority[0]
        ):
            self._priority = other._priority
        if len(other.params) > len(self.params):
            # equal all the same: of a GRUU and its address of record the GRUU is kept
            self._contact = other._contact
        self.params = other.params | self.params
        for service, description in other._descriptions.items():
            if self._descriptions.get(service) is None:
                self._descriptions[service] = description

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
        if kind == names.TUPLE:
            status = etree.SubElement(element, names.STATUS)
            status.extend([part for place, part in parts if place == _BASIC])
            status.extend([part for place, part in parts if place == _STATUS])
        element.extend([part for place, part in parts if place == _EXTENSION])
        for part in element.findall(_SERVICE) if self._descriptions else ():
            self._describe(part)
        if kind == names.DEVICE:
            element.extend(self.element.findall(names.DEVICE_ID))
        if self._contact is not None:
            element.append(self._contact)
            if self._priority is not None:
                self._contact.set("priority", self._priority[1])
        element.extend([part for place, part in parts if place == _NOTE])
        if self._timestamp is not None:
            element.append(self._timestamp)
        return element

    def _describe(self, element: etree._Element) -> None:
        """Give a service description the description that is the most recent one."""
        version = element.find(_VERSION)
        description = self._descriptions.get(
            (collapsed(element.find(_SERVICE_ID)), collapsed(version))
        )
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


def _priority(contact: etree._Element) -> tuple[Decimal, str] | None:
    """The priority of a contact as number and text (PID-05)."""
    text = contact.get("priority")
    if text is None:
        return None
    try:
        return Decimal(text.strip()), text
    except InvalidOperation:
        return None
