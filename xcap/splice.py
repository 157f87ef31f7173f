"""Documents in which one element is put in, replaced or removed, without parsing them again.

What is around the place was checked before, and so was the new element: their octets together
are well-formed, but for one case that is looked for.  The tree is copied, since documents never
change.
"""

from __future__ import annotations

import attrs

from xcap.document import Limits, XmlDocument, check_size, parse_document
from xcap.element import Element


@attrs.frozen(slots=True, eq=False)
class Splice:
    """What is done to a document.

    :ivar parent: the element, or document node, whose children change.
    :ivar children: those it will have: ``new``, and others that it has already.
    :ivar start: where octets are replaced, from and to (``end``).
    :ivar text: what replaces them.
    :ivar new: an element of :func:`xcap.document.parse_fragment`, which becomes part of the
        result; None when one is removed.
    :ivar at: where it will be.
    :ivar level: of it, the root element having 1.
    :ivar close: where the end tag of the parent will be, when it had none.
    """

    parent: Element
    children: list[Element]
    start: int
    end: int
    text: bytes = b""
    new: Element | None = None
    at: int = 0
    level: int = 0
    close: int = 0


def splice(document: XmlDocument, change: Splice, limits: Limits) -> XmlDocument:
    """The document after a change.

    :raises Conflict: ``constraint-failure`` beyond a limit; ``not-well-formed``, what is around
        a removed element must not meet.
    :raises XcapError: 413, it is too long.
    """
    old, start, end = document.octets, change.start, change.end
    octets = b"%b%b%b" % (old[:start], change.text, old[end:])
    check_size(octets, limits)
    new = change.new
    added = [] if new is None else _subtree(new)
    elements = document.elements + len(added)
    for child in change.parent.children:
        if start <= child.start < end:
            elements -= len(_subtree(child))
    names = document.names + sum(map(len, {name for each in added for name in _names(each)}))
    if (
        # it was checked by other limits, or not at all
        document.limits is not limits
        # fewer than were counted may be left
        or elements > limits.elements
        or names > limits.size
        or (new is not None and change.level + _height(new) > limits.depth)
        or (not change.text and b"]]>" in old[max(0, start - 2) : start] + old[end : end + 2])
    ):
        return parse_document(octets, limits, document.levels)
    if new is not None:
        shift = change.at - new.start
        for element in added:
            element.start += shift
            element.end_tag += shift
            element.octets = octets
    node = _copied(document.node, change, octets)
    return XmlDocument(octets, node, limits, elements, names, document.levels)


def _copied(node: Element, change: Splice, octets: bytes) -> Element:
    """The tree of the result."""
    end = change.end
    shift = len(change.text) - (end - change.start)
    root = Element("", "", {}, 0, node.scope, octets)
    waiting = [(node, root)]
    while waiting:
        source, twin = waiting.pop()
        children = twin.children
        for child in change.children if source is change.parent else source.children:
            if child is change.new:
                children.append(child)
                continue
            start, end_tag = child.start, child.end_tag
            copy = Element(
                child.name,
                child.prefix,
                child.attributes,
                start if start < end else start + shift,
                child.scope,
                octets,
            )
            copy.end_tag = end_tag if end_tag < end else end_tag + shift
            children.append(copy)
            if child is change.parent:
                copy.end_tag = change.close or copy.end_tag
                waiting.append((child, copy))
            elif child.children:
                waiting.append((child, copy))
    return root


def _subtree(element: Element) -> list[Element]:
    """An element and all below it."""
    found = [element]
    for each in found:
        found += each.children
    return found


def _height(element: Element) -> int:
    """Levels below an element."""
    height = -1
    level = [element]
    while level:
        height += 1
        level = [child for each in level for child in each.children]
    return height


def _names(element: Element) -> list[str]:
    """Names that are kept for an element."""
    return [element.name, *element.attributes]
