"""What a filter leaves of a document (RFC 4661 section 3.5, FLT-04, FLT-05, FLT-09 to FLT-14).

The input is what composition and presence rules have made; the output says nothing that the
input does not say, in the same order, and is valid by the schema as the input is.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from lxml import etree

from presence.filters.evaluate import AttributeNode, Budget, Evaluation
from presence.filters.model import Namespace, Selection, What
from presence.filters.required import PIDF, WATCHERINFO, Kind, is_note, needs_one
from presence.pidf import schemas
from presence.pidf.parse import parse_own
from presence.pidf.tidy import tidy
from presence.pidf.tree import attributes
from presence.pidf.write import serialize

__all__ = ["PIDF", "WATCHERINFO", "Kind", "select"]

_NODE = 4  # units for a node that is looked at once more
_PAIRS = 10  # pairs of nodes that validation with errors compares for a unit
_ROUNDS = 16


def select(document: bytes, what: What, kind: Kind = PIDF) -> bytes | None:
    """The part of a document that a filter asks for.

    Nothing is said of what is not there, whatever the reason (FLT-13). Who asks for everything
    gets the same object.

    :param document: in UTF-8, valid by its schema; one that we wrote.
    :return: a valid document; None when nothing is selected (FLT-12).
    :raises presence.filters.errors.Exhausted: it costs too much (FLT-27).
    :raises presence.pidf.parse.DocumentError: it is not well-formed.
    """
    if not what:
        return document
    root = parse_own(document)
    budget = Budget()
    evaluation = Evaluation(root, budget)
    # all of it before anything is taken away: conditions may be about what is not delivered
    included = _Nodes.of(what.includes, evaluation, root) if what.includes else None
    excluded = _Nodes.of(what.excludes, evaluation, root)
    reduction = _Reduction(root, kind, budget, evaluation.size)
    bare = len(root) == 0
    changed = reduction.exclude(excluded)
    if included is None:
        if not changed:
            return document
        if len(root) == 0 and not bare:
            return None
    else:
        included.drop_detached(root)
        if not included:
            return None
        changed |= reduction.include(included)
        if not changed:
            return document
    tidy(root)
    return serialize(root)


@attrs.define
class _Nodes:
    """What selections have found.

    :ivar whole: elements with all that they contain.
    :ivar shallow: elements with their attributes and their text.
    :ivar attributes: attributes by element.
    """

    whole: dict[etree._Element, None] = attrs.field(factory=dict)
    shallow: dict[etree._Element, None] = attrs.field(factory=dict)
    attributes: dict[etree._Element, set[str]] = attrs.field(factory=dict)

    def __bool__(self) -> bool:
        return bool(self.whole or self.shallow or self.attributes)

    @classmethod
    def of(
        cls, selections: Iterable[Selection], evaluation: Evaluation, root: etree._Element
    ) -> _Nodes:
        """The nodes of some selections together."""
        found = cls()
        for selection in selections:
            if isinstance(selection, Namespace):
                evaluation.spend(evaluation.size)
                found.shallow.update(dict.fromkeys(root.iter(f"{{{selection.uri}}}*")))
            elif selection.attribute:
                for element, name in evaluation.attributes(selection):
                    found.attributes.setdefault(element, set()).add(name)
            else:
                found.whole.update(dict.fromkeys(evaluation.elements(selection)))
        return found

    def drop_detached(self, root: etree._Element) -> None:
        """Forget what is not in the document any more: exclusion wins (FLT-11)."""
        there = set(root.iter())
        self.whole = {each: None for each in self.whole if each in there}
        self.shallow = {each: None for each in self.shallow if each in there}
        kept = {
            each: {name for name in found if name in each.attrib}
            for each, found in self.attributes.items()
            if each in there
        }
        self.attributes = {each: found for each, found in kept.items() if found}


class _Reduction:
    """Takes parts of a document away and keeps it valid."""

    def __init__(self, root: etree._Element, kind: Kind, budget: Budget, size: int) -> None:
        self._root = root
        self._kind = kind
        self._budget = budget
        self._size = size
        # elements that lack something and of which only a validator knows whether they may
        self._doubtful: dict[etree._Element, _Contents] = {}

    def exclude(self, nodes: _Nodes) -> bool:
        """Take nodes away one by one; what makes the document invalid stays (FLT-11).

        :return: whether anything is gone.
        """
        elements = nodes.whole | nodes.shallow
        changed = False
        waiting: list[etree._Element | AttributeNode] = []
        for element in elements:
            parent = element.getparent()
            if parent is None:
                continue
            if not self._kind.certain(parent):
                waiting.append(element)
            elif not self._is_needed(element, parent):
                _detach(element, parent)
                changed = True
        for element, found in nodes.attributes.items():
            for name in sorted(found):
                if not self._kind.certain(element):
                    waiting.append((element, name))
                elif name not in self._kind.attributes.get(element.tag, ()):
                    del element.attrib[name]
                    changed = True
        return self._try(waiting) or changed

    def _try(self, nodes: list[etree._Element | AttributeNode]) -> bool:
        """Take away nodes of which it is not known whether they may go."""
        if not nodes:
            return False
        for node in nodes:
            parent = node[0] if isinstance(node, tuple) else node.getparent()
            self._budget.spend(_NODE * (1 + (0 if parent is None else len(parent))))
        undo = [undone for node in nodes if (undone := _Undo.of(node)) is not None]
        if self._valid():
            return bool(undo)
        for each in reversed(undo):
            each()
        gone = False
        for node in nodes:
            again = _Undo.of(node)
            if again is None:
                continue
            if self._valid():
                gone = True
            else:
                again()
        return gone

    def _is_needed(self, element: etree._Element, parent: etree._Element) -> bool:
        """Whether a parent of a well known kind must have the element."""
        tag = element.tag
        if tag in self._kind.children.get(parent.tag, ()):
            self._budget.spend(len(parent))
            return sum(1 for _ in parent.iterchildren(tag)) == 1
        if not needs_one(parent) or is_note(element):
            return False
        self._budget.spend(_NODE * len(parent))
        return sum(1 for child in parent if not is_note(child)) == 1

    def include(self, nodes: _Nodes) -> bool:
        """Take away all but some nodes, their ancestors and what these must have (FLT-10).

        :return: whether anything is gone.
        """
        marked = set(nodes.shallow) | set(nodes.attributes)
        for element in (*nodes.whole, *nodes.shallow, *nodes.attributes):
            for ancestor in element.iterancestors():
                if ancestor in marked:
                    break
                marked.add(ancestor)
        changed = False
        waiting = [self._root]
        while waiting:
            element = waiting.pop()
            if element in nodes.whole:
                continue
            changed |= self._reduce(element, nodes, marked)
            waiting += [child for child in element if child in marked and child not in nodes.whole]
        if self._doubtful:
            self._restore()
        return changed

    def _reduce(self, element: etree._Element, nodes: _Nodes, marked: set[etree._Element]) -> bool:
        """Leave of an element what is selected and what it must have.

        :return: whether that is less than there was.
        """
        kind = self._kind
        contents = None if kind.certain(element) else _Contents.of(element)
        shallow = element in nodes.shallow
        children = list(element)
        needed = _needed(element, children, kind, nodes, marked)
        reduced = False
        for child in children:
            if child not in marked and child not in nodes.whole and child not in needed:
                reduced = True
                if shallow:
                    _detach(child, element)
                else:
                    element.remove(child)
        if not shallow:
            keep = (
                *kind.attributes.get(element.tag, ()),
                *nodes.attributes.get(element, ()),
            )
            for name, _ in attributes(element):
                if name not in keep:
                    reduced = True
                    del element.attrib[name]
            if children:
                reduced |= _silence(element)
        if reduced and contents is not None:
            self._doubtful[element] = contents
        return reduced

    def _restore(self) -> None:
        """Give elements back what the schema finds missing."""
        for _ in range(_ROUNDS):
            if self._valid():
                return
            # paths hold for the tree as it is now, so all are followed before any change
            located = [schemas.locate(self._root, each.path) for each in self._violations()]
            owners = {owner for each in located if (owner := self._owner(each)) is not None}
            if not owners:
                break
            for owner in owners:
                self._doubtful.pop(owner).put_back(owner)
        for element, contents in self._doubtful.items():
            contents.put_back(element)

    def _violations(self) -> list[schemas.Violation]:
        """What the schema refused last."""
        validator = self._kind.validator
        return [] if validator is None else schemas.violations(validator().error_log)

    def _owner(self, element: etree._Element | None) -> etree._Element | None:
        """The element that lacks something, when the schema refuses it or one in it."""
        while element is not None and element not in self._doubtful:
            element = element.getparent()
        return element

    def _valid(self) -> bool:
        """Whether the document is valid; telling of errors takes time in the square of its size."""
        self._budget.spend(_NODE * self._size + self._size * self._size // _PAIRS)
        validator = self._kind.validator
        return validator is None or validator().validate(self._root)


@attrs.frozen
class _Contents:
    """What an element had."""

    text: str | None
    children: list[tuple[etree._Element, str | None]]
    attributes: dict[str, str]

    @classmethod
    def of(cls, element: etree._Element) -> _Contents:
        """All of it."""
        return cls(
            element.text,
            [(child, child.tail) for child in element],
            dict(attributes(element)),
        )

    def put_back(self, element: etree._Element) -> None:
        """Restore it."""
        for name, value in self.attributes.items():
            element.set(name, value)
        element.text = self.text
        for child, tail in self.children:
            element.append(child)
            child.tail = tail


@attrs.frozen
class _Undo:
    """Brings a node back."""

    parent: etree._Element
    node: etree._Element | AttributeNode
    contents: _Contents

    @classmethod
    def of(cls, node: etree._Element | AttributeNode) -> _Undo | None:
        """Take a node away; None if it is gone already."""
        if isinstance(node, tuple):
            element, name = node
            undo = cls(element, node, _Contents.of(element))
            del element.attrib[name]
            return undo
        parent = node.getparent()
        if parent is None:
            return None
        undo = cls(parent, node, _Contents.of(parent))
        _detach(node, parent)
        return undo

    def __call__(self) -> None:
        self.contents.put_back(self.parent)


def _needed(
    element: etree._Element,
    children: list[etree._Element],
    kind: Kind,
    nodes: _Nodes,
    marked: set[etree._Element],
) -> list[etree._Element]:
    """Children that are not selected, but of which the element must have one."""
    needed = []
    for tag in kind.children.get(element.tag, ()):
        found = [child for child in children if child.tag == tag]
        if found and not any(child in marked or child in nodes.whole for child in found):
            needed.append(found[0])
    if needs_one(element):
        found = [child for child in children if not is_note(child)]
        if found and not any(child in marked or child in nodes.whole for child in found):
            needed.append(found[0])
    return needed


def _silence(element: etree._Element) -> bool:
    """Drop text among the children of an element; whether there was any."""
    lost = bool(element.text)
    element.text = None
    for child in element:
        lost |= bool(child.tail)
        child.tail = None
    return lost


def _detach(element: etree._Element, parent: etree._Element) -> None:
    """Remove an element, not the text after it."""
    tail = element.tail
    if tail:
        before = element.getprevious()
        if before is not None:
            before.tail = (before.tail or "") + tail
        else:
            parent.text = (parent.text or "") + tail
    parent.remove(element)
