"""Evaluation of node selectors (RFC 4825 section 6.3, XCAP-20 to XCAP-33)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xcap.document import XmlDocument
    from xcap.element import Element
    from xcap.uri import Step


class NoMatch(Exception):
    """A step selects nothing (XCAP-23)."""


class Ambiguous(NoMatch):
    """A step selects several elements, which is invalid (XCAP-23)."""


def named(children: Sequence[Element], name: str | None) -> list[Element]:
    """Those of some elements that have a name, in order; all for None, the ``*`` (XCAP-24)."""
    if name is None:
        return list(children)
    return [child for child in children if child.name == name]


def matches(children: Sequence[Element], step: Step) -> list[Element]:
    """What a step keeps of the children of its context (XCAP-21).

    The position is applied first, to those of the right name, then the attribute (XCAP-22).
    """
    found = named(children, step.name)
    position = step.position
    if position is not None:
        found = found[position - 1 : position] if position > 0 else []
    if step.attribute is not None:
        name, value = step.attribute
        found = [child for child in found if child.attributes.get(name) == value]
    return found


def select_element(document: XmlDocument, steps: Sequence[Step]) -> Element:
    """The element that all steps select, the first one the root element (XCAP-20).

    :param steps: none selects the document node.
    :raises NoMatch: a step selects nothing, or (:class:`Ambiguous`) more than one element.
    """
    element = document.node
    for step in steps:
        found = matches(element.children, step)
        if len(found) != 1:
            raise Ambiguous if found else NoMatch
        element = found[0]
    return element


def deepest(document: XmlDocument, steps: Sequence[Step]) -> int:
    """How many leading steps select an element each; 0 when the first one fails (XCAP-73)."""
    element = document.node
    for count, step in enumerate(steps):
        found = matches(element.children, step)
        if len(found) != 1:
            return count
        element = found[0]
    return len(steps)
