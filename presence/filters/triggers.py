"""Whether a change of a document is one that a watcher waits for (RFC 4661 section 3.6)."""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Context, Decimal
from typing import Any, Final

from lxml import etree

from presence.filters.document import is_decimal
from presence.filters.evaluate import Budget, Evaluation
from presence.filters.expression import Path
from presence.filters.model import Condition, Trigger
from presence.pidf.names import XML_ID
from presence.pidf.parse import parse_own

_WATCHER_LIST: Final = "{urn:ietf:params:xml:ns:watcherinfo}watcher-list"
_WHITE: Final = " \t\r\n"
_EXACT: Final = Context(prec=200)
_NODE: Final = 20  # units for a node that is named or compared
_SCAN: Final = 4  # nodes that lxml looks through for a unit
_CHARACTERS: Final = 20  # characters that are read for a unit


def fired(triggers: tuple[Trigger, ...], before: bytes, after: bytes) -> bool:
    """Whether one of the triggers fires; without any every change does (FLT-06, FLT-19).

    :param before: the document that was last sent to the watcher as it was before it was
        filtered (FLT-15).
    :param after: the document now, likewise.
    :raises Exhausted: it costs too much (FLT-27).
    :raises presence.pidf.parse.DocumentError: one of them is not well-formed.
    """
    if before == after:
        return False
    if not triggers:
        return True
    budget = Budget()
    old, new = _Version(before, budget), _Version(after, budget)
    return any(
        all(_holds(condition, old, new) for condition in trigger.conditions) for trigger in triggers
    )


class _Version:
    """A document whose nodes have names that last: ids and positions (FLT-17)."""

    def __init__(self, document: bytes, budget: Budget) -> None:
        self._budget = budget
        self._evaluation = Evaluation(parse_own(document), budget)
        self._names: dict[etree._Element, Hashable] = {}
        self._found: dict[Path, dict[Hashable, Any]] = {}

    def nodes(self, path: Path) -> dict[Hashable, Any]:
        """The nodes that a path leads to, by name: elements, or the values of attributes."""
        found = self._found.get(path)
        if found is None:
            if path.attribute:
                found = {
                    (self._name(element), name): element.get(name, "")
                    for element, name in self._evaluation.attributes(path)
                }
            else:
                found = {
                    self._name(element): element for element in self._evaluation.elements(path)
                }
            self._found[path] = found
        return found

    def value(self, node: Any) -> str:
        """What is compared of a node: text, of an element with children all of it (FLT-16)."""
        if isinstance(node, str):
            value = node
        elif len(node) == 0:
            value = node.text or ""
        else:
            octets: Any = etree.tostring(node, method="c14n", exclusive=True, with_tail=False)
            value = octets.decode()
        self._budget.spend(_NODE + len(value) // _CHARACTERS)
        return value.strip(_WHITE)

    def _name(self, element: etree._Element) -> Hashable:
        """Name of an element: that of its parent, its tag and id, and its place among such."""
        name = self._names.get(element)
        if name is None:
            parent = element.getparent()
            if parent is None:
                name = self._names[element] = element.tag
            else:
                self._name_siblings(parent, element.tag)
                name = self._names[element]
        return name

    def _name_siblings(self, parent: etree._Element, tag: str) -> None:
        """Name all children of an element that are called alike."""
        above = self._name(parent)
        self._budget.spend(len(parent) // _SCAN)
        counts: dict[str, int] = {}
        for child in parent.iterchildren(tag):
            self._budget.spend(_NODE)
            own = _identity(child)
            counts[own] = counts.get(own, 0) + 1
            self._names[child] = (above, tag, own, counts[own])


def _identity(element: etree._Element) -> str:
    """What tells an element from its siblings of the same name, "" when nothing does."""
    if element.tag == _WATCHER_LIST:
        return f"{element.get('package', '')} {element.get('resource', '')}"
    return (element.get("id") or element.get(XML_ID) or "").strip(_WHITE)


def _holds(condition: Condition, old: _Version, new: _Version) -> bool:
    """Whether what a condition waits for has happened to some node."""
    before, after = old.nodes(condition.path), new.nodes(condition.path)
    if condition.kind == "added":
        return any(name not in before for name in after)
    if condition.kind == "removed":
        return any(name not in after for name in before)
    return any(
        _is_change(condition, old.value(before[name]), new.value(node))
        for name, node in after.items()
        if name in before
    )


def _is_change(condition: Condition, old: str, new: str) -> bool:
    """Whether two values of a node differ as a condition wants it (FLT-16)."""
    if old == new:
        return False
    if condition.by is None:
        return condition.old in (None, old) and condition.new in (None, new)
    if not is_decimal(old) or not is_decimal(new):
        return False
    was, now = Decimal(old), Decimal(new)
    return (
        was != now
        and _EXACT.subtract(now, was).copy_abs() >= condition.by
        and (condition.old is None or Decimal(condition.old) == was)
        and (condition.new is None or Decimal(condition.new) == now)
    )
