"""Expressions applied to documents, within a budget (FLT-07, FLT-09, FLT-27).

The values are those of XPath 1.0. What is spent depends on expression and document alone,
never on the clock: a unit stands for some 100 ns, :data:`UNITS` for 10 ms.  What is done once
for each node of a document, whatever is asked of it, is not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from math import nan
from typing import Any, Final, cast

from lxml import etree

from presence.filters.errors import Exhausted
from presence.filters.expression import Comparison, Conditions, Path, Step

UNITS: Final = 100_000
"""What applying one filter to one change of a document may cost."""

AttributeNode = tuple[etree._Element, str]
"""An attribute: its element and its name in Clark notation."""

_NUMBER: Final = re.compile(r"[ \t\r\n]*(-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))[ \t\r\n]*")
_LONGEST: Final = 400  # characters of a number; more are not read, but for the time they take

# units for a node that is looked at in Python, for a comparison; characters read for a unit
_VISIT: Final = 4
_COMPARE: Final = 10
_SCAN: Final = 4  # nodes that lxml looks through for a unit
_CHARACTERS: Final = 100


class Budget:
    """What is left to spend."""

    __slots__ = ("_left",)

    def __init__(self, units: int = UNITS) -> None:
        self._left = units

    def spend(self, units: int) -> None:
        """Take from what is left.

        :raises Exhausted: nothing is left.
        """
        self._left -= units
        if self._left < 0:
            raise Exhausted


class Evaluation:
    """A document in which expressions are looked up; it must not change meanwhile.

    :param root: of a document without comments and processing instructions.
    """

    __slots__ = ("_budget", "_root", "_texts", "size")

    def __init__(self, root: etree._Element, budget: Budget) -> None:
        self._root = root
        self._budget = budget
        self._texts: dict[etree._Element, str] = {}
        self.size = int(cast(float, _count()(root)))

    def spend(self, units: int) -> None:
        """Take from the budget.

        :raises Exhausted: nothing is left.
        """
        self._budget.spend(units)

    def elements(self, path: Path) -> list[etree._Element]:
        """The elements that a path leads to, or whose attribute it selects.

        :raises Exhausted: it costs too much.
        """
        if path.attribute:
            return [element for element, _ in self.attributes(path)]
        return self._walk(path.steps)

    def attributes(self, path: Path) -> list[AttributeNode]:
        """The attributes that a path selects.

        :raises Exhausted: it costs too much.
        """
        name = path.attribute
        owners: Iterable[etree._Element] = self._walk(path.steps) if path.steps else [self._root]
        if path.deep:
            self._budget.spend(_VISIT * self.size)
            owners = [each for top in self._tops(owners) for each in top.iter()]
        found = [(owner, name) for owner in owners if name in owner.attrib]
        if path.conditions:
            found = [
                (owner, name) for owner, name in found if self._holds(path.conditions, owner, name)
            ]
        return found

    def _walk(self, steps: tuple[Step, ...]) -> list[etree._Element]:
        """From the document node down; no element twice, ancestors before descendants."""
        spend = self._budget.spend
        found: list[etree._Element] = []
        for number, step in enumerate(steps):
            name: Any = step.name
            if step.deep:
                spend(1 + self.size // _SCAN)
                if number == 0:
                    found = list(self._root.iter(name))
                else:
                    found = [
                        each for top in self._tops(found) for each in top.iterdescendants(name)
                    ]
            elif number == 0:
                found = [self._root] if _is(self._root, step.name) else []
            else:
                spend(sum(map(len, found)) + _VISIT * len(found))
                found = [child for each in found for child in each.iterchildren(name)]
            spend(_VISIT * len(found))
            if step.conditions:
                found = [each for each in found if self._holds(step.conditions, each, "")]
            if not found:
                break
        return found

    def _tops(self, found: Iterable[etree._Element]) -> list[etree._Element]:
        """Those of some elements that are in none of the others: their subtrees are disjoint."""
        elements = list(found)
        if len(elements) < 2:
            return elements
        known = set(elements)
        tops = []
        for element in elements:
            looked = 1
            for ancestor in element.iterancestors():
                looked += 1
                if ancestor in known:
                    break
            else:
                tops.append(element)
            self._budget.spend(_VISIT * looked)
        return tops

    def _holds(self, conditions: Conditions, element: etree._Element, attribute: str) -> bool:
        """Whether conditions hold for an element, or for one of its attributes."""
        return any(
            all(self._compare(each, element, attribute) for each in together)
            for together in conditions
        )

    def _compare(self, comparison: Comparison, element: etree._Element, attribute: str) -> bool:
        spend = self._budget.spend
        spend(_COMPARE)
        if comparison.parent:
            parent = element if attribute else element.getparent()
            # the parent of the root is the document, whose text is that of the root
            return _true(comparison, self._text(element if parent is None else parent))
        if attribute:
            own = not comparison.path and not comparison.attribute
            return own and _true(comparison, element.get(attribute, ""))
        owners = [element]
        for step in comparison.path:
            name: Any = step
            spend(sum(map(len, owners)) + _VISIT * len(owners))
            owners = [child for each in owners for child in each.iterchildren(name)]
        spend(_VISIT * len(owners))
        if not comparison.attribute:
            return any(_true(comparison, self._text(owner)) for owner in owners)
        values = (owner.get(comparison.attribute) for owner in owners)
        return any(value is not None and _true(comparison, value) for value in values)

    def _text(self, element: etree._Element) -> str:
        """The string value of an element."""
        if len(element) == 0:
            text = element.text or ""
            self._budget.spend(1 + len(text) // _CHARACTERS)
            return text
        known = self._texts.get(element)
        if known is None:
            parts: Any = list(element.itertext())
            known = self._texts[element] = "".join(parts)
            self._budget.spend(_VISIT * len(parts) + len(known) // _CHARACTERS)
        self._budget.spend(1 + len(known) // _CHARACTERS)
        return known


def _is(element: etree._Element, name: str) -> bool:
    """Whether an element is called so, see :attr:`.Step.name`."""
    tag: str = element.tag
    return name in ("*", tag) or (name[:3] == "{*}" and name[3:] == tag.rpartition("}")[2])


def _true(comparison: Comparison, text: str) -> bool:
    """XPath 1.0 section 3.4, for one node."""
    value = comparison.value
    if comparison.operator == "=":
        return text == value if isinstance(value, str) else number(text) == value
    limit = number(value) if isinstance(value, str) else value
    return number(text) < limit if comparison.operator == "<" else number(text) > limit


@cache
def _count() -> etree.XPath:
    """The number of elements; made on first use."""
    return etree.XPath("count(//*)")


def number(text: str) -> float:
    """The number that a text is, NaN when it is none (XPath 1.0 section 4.4)."""
    found = _NUMBER.fullmatch(text) if len(text) <= _LONGEST else None
    return nan if found is None else float(found[1])
