"""What to edit in a document to get another one (XPATCH-11).

Only elements and attributes are located, so that the patches suit appliers that can do no
more.  What cannot be told that way is told by replacing the element around it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import attrs

from xcap import tree
from xcap.align import Pairs, ascending, pair_up
from xcap.tree import Attribute, Document, Element, Node, Parent, Text

MOST = 64
"""Operations of a patch; with more of them the document is fetched at less cost."""

_OVERHEAD = 100  # octets of an operation beside its content, roughly


@attrs.frozen(slots=True, eq=False)
class Edit:
    """An operation before its selector is known.

    :ivar node: of the old document: the element or, for attributes, the element that has it.
    :ivar nodes: content.
    :ivar where: ``pos``, ``ws`` or "".
    """

    kind: Literal["add", "replace", "remove", "set", "change", "unset"]
    node: Element
    nodes: tuple[Node, ...] = ()
    where: str = ""
    attribute: Attribute | None = None


Edits: TypeAlias = list[Edit]


class Comparison:
    """Finds what to edit; numbers equal nodes equally, and each only once.

    :param unique: attribute that tells siblings apart, by element name; both in Clark notation.
    """

    def __init__(self, unique: Mapping[str, str]) -> None:
        self._unique = unique
        self._numbers: dict[Hashable, int] = {}
        self._identity: dict[Node, int] = {}
        self._size: dict[Node, int] = {}

    def compare(self, before: Document, after: Document) -> Edits | None:
        """What to edit, None when that cannot be told."""
        old, new = before.root, after.root
        for document in (before, after):
            for child in document.children:
                self._number(child, {})
        prologs = [
            [None if isinstance(child, Element) else self._identity[child] for child in d.children]
            for d in (before, after)
        ]
        if prologs[0] != prologs[1]:
            return None
        return self._inside(old, new, {}, {})

    def forget(self, node: Element) -> None:
        """An element of a document that was compared is about to change."""
        at: Parent | None = node
        while isinstance(at, Element):
            self._identity.pop(at, None)
            at = at.parent

    def _number(self, node: Node, scope: Mapping[str, str]) -> int:
        """Give a node and all in it numbers by which to compare them, and sizes."""
        known = self._identity.get(node)
        if known is not None:
            return known
        key: Hashable
        if isinstance(node, Element):
            declared = _effective(node, scope) if node.declarations else {}
            inner = {**scope, **declared} if declared else scope
            size = 2 * len(node.local) + 5
            children = []
            for child in node.children:
                children.append(self._number(child, inner))
                size += self._size[child]
            attributes = []
            for name, attribute in node.attributes.items():
                attributes.append((name, attribute.prefix, attribute.value))
                size += len(name) + len(attribute.value) + 4
            attributes.sort()
            key = (
                node.prefix,
                node.namespace,
                node.local,
                tuple(attributes),
                tuple(sorted(declared.items())),
                tuple(children),
            )
        elif isinstance(node, Text):
            key, size = node.data, len(node.data)
        else:
            text = tree.write_node(node)
            key, size = ("markup", text), len(text)
        number = self._numbers.setdefault(key, len(self._numbers))
        self._identity[node] = number
        self._size[node] = size
        return number

    def _equal(self, old: Node, new: Node) -> bool:
        return self._identity[old] == self._identity[new]

    # -- elements -------------------------------------------------------------------------

    def _element(
        self, old: Node, new: Node, scopes: tuple[Mapping[str, str], Mapping[str, str]]
    ) -> Edits | None:
        """Edits that turn an element into another, None if these are not elements."""
        if self._equal(old, new):
            return []
        if not isinstance(old, Element) or not isinstance(new, Element):
            return None
        inside = self._inside(old, new, *scopes)
        whole = Edit("replace", old, (new,))
        if inside is None or sum(map(self._cost, inside)) > self._cost(whole):
            return [whole]
        return inside

    def _inside(
        self,
        old: Element,
        new: Element,
        old_scope: Mapping[str, str],
        new_scope: Mapping[str, str],
    ) -> Edits | None:
        """Edits of attributes and children, None when these do not suffice."""
        declared = _effective(old, old_scope), _effective(new, new_scope)
        if (old.prefix, old.name) != (new.prefix, new.name) or declared[0] != declared[1]:
            return None
        scopes = {**old_scope, **declared[0]}, {**new_scope, **declared[1]}
        children = self._children(old, new, scopes)
        return None if children is None else [*_attributes(old, new), *children]

    def _cost(self, edit: Edit) -> int:
        """About how many octets an edit takes."""
        value = len(edit.attribute.value) if edit.attribute is not None else 0
        return _OVERHEAD + value + sum(self._size.get(node, 0) for node in edit.nodes)

    # -- children -------------------------------------------------------------------------

    def _children(
        self, old: Element, new: Element, scopes: tuple[Mapping[str, str], Mapping[str, str]]
    ) -> Edits | None:
        """Edits of children, None when these cannot be told."""
        a, b = _Children(old), _Children(new)
        edits: Edits = []
        start = (-1, -1)
        for pair in [*self._align(a.nodes, b.nodes), (len(a.nodes), len(b.nodes))]:
            between = self._between(old, a.part(start[0], pair[0]), b.part(start[1], pair[1]))
            if between is None:
                return None
            edits.extend(between)
            if pair[0] < len(a.nodes):
                changed = self._element(a.nodes[pair[0]], b.nodes[pair[1]], scopes)
                if changed is None:
                    return None
                edits.extend(changed)
            if len(edits) > MOST:
                return None
            start = pair
        return edits

    def _between(self, parent: Element, old: _Part, new: _Part) -> Edits | None:
        """Edits of the children between two that are kept, None when these cannot be told."""
        if not old.nodes and not new.nodes:
            return [] if old.texts == new.texts else None
        if not old.nodes:
            return _insertion(parent, old, new)
        if not new.nodes:
            return _removal(old, new.texts[0])
        return None

    def _align(self, old: Sequence[Node], new: Sequence[Node]) -> Pairs:
        """Which children correspond: index pairs in ascending order."""
        pairs: Pairs = []
        start, ends = self._ends(old, new, (0, 0), (len(old), len(new)))
        pairs.extend((k, k) for k in range(start))
        anchors = self._anchors(old, new, start, ends)
        for left, right in pairwise([(start - 1, start - 1), *anchors, ends]):
            first = left[0] + 1, left[1] + 1
            same, last = self._ends(old, new, first, right)
            pairs.extend((first[0] + k, first[1] + k) for k in range(same))
            first = first[0] + same, first[1] + same
            pairs.extend(pair_up(old, new, first, last))
            pairs.extend((last[0] + k, last[1] + k) for k in range(right[0] - last[0]))
            if right != ends:
                pairs.append(right)
        pairs.extend((ends[0] + k, ends[1] + k) for k in range(len(old) - ends[0]))
        return pairs

    def _ends(
        self,
        old: Sequence[Node],
        new: Sequence[Node],
        first: tuple[int, int],
        last: tuple[int, int],
    ) -> tuple[int, tuple[int, int]]:
        """How many nodes are equal from ``first`` on, and from where on up to ``last``."""
        count = min(last[0] - first[0], last[1] - first[1])
        same = 0
        while same < count and self._equal(old[first[0] + same], new[first[1] + same]):
            same += 1
        i, j = last
        while i > first[0] + same and j > first[1] + same and self._equal(old[i - 1], new[j - 1]):
            i, j = i - 1, j - 1
        return same, (i, j)

    def _anchors(
        self, old: Sequence[Node], new: Sequence[Node], start: int, ends: tuple[int, int]
    ) -> Pairs:
        """Pairs that are certain: what occurs once on both sides and has kept its order."""
        first = self._singles(old, start, ends[0])
        second = self._singles(new, start, ends[1])
        return ascending([(i, second[key]) for key, i in first.items() if key in second])

    def _singles(self, nodes: Sequence[Node], start: int, end: int) -> dict[Hashable, int]:
        """Index by key of the nodes whose keys occur once."""
        found: dict[Hashable, int] = {}
        several: set[Hashable] = set()
        for index in range(start, end):
            key = self._key(nodes[index])
            if key in found:
                several.add(key)
            found[key] = index
        return {key: index for key, index in found.items() if key not in several}

    def _key(self, node: Node) -> Hashable:
        """By what a node is found in the other document."""
        if isinstance(node, Element):
            attribute = node.attributes.get(self._unique.get(node.name, ""))
            if attribute is not None:
                return node.name, attribute.value
        return self._identity[node]


class _Part:
    """Children between two others: ``texts`` has one more than ``nodes``; perhaps empty ones."""

    __slots__ = ("left", "nodes", "right", "texts")

    def __init__(
        self, left: Node | None, right: Node | None, nodes: list[Node], texts: list[str]
    ) -> None:
        self.left = left
        self.right = right
        self.nodes = nodes
        self.texts = texts


class _Children:
    """Children of an element: ``texts`` before, between and after the other ``nodes``."""

    def __init__(self, element: Element) -> None:
        self.nodes: list[Node] = []
        self.texts = [""]
        for child in element.children:
            if isinstance(child, Text):
                self.texts[-1] += child.data
            else:
                self.nodes.append(child)
                self.texts.append("")

    def part(self, left: int, right: int) -> _Part:
        """What is between the nodes with two indices; -1 and the number of nodes are allowed."""
        return _Part(
            self.nodes[left] if left >= 0 else None,
            self.nodes[right] if right < len(self.nodes) else None,
            self.nodes[left + 1 : right],
            self.texts[left + 1 : right + 1],
        )


def _effective(element: Element, scope: Mapping[str, str]) -> dict[str, str]:
    """The declarations of an element that change what is in scope."""
    return {p: uri for p, uri in element.declarations.items() if scope.get(p, "") != uri}


def _attributes(old: Element, new: Element) -> Iterator[Edit]:
    """Edits of attributes."""
    for name, attribute in old.attributes.items():
        if name not in new.attributes or new.attributes[name].prefix != attribute.prefix:
            yield Edit("unset", old, attribute=attribute)
    for name, attribute in new.attributes.items():
        known = old.attributes.get(name)
        if known is None or known.prefix != attribute.prefix:
            yield Edit("set", old, attribute=attribute)
        elif known.value != attribute.value:
            yield Edit("change", old, attribute=attribute)


def _insertion(parent: Element, old: _Part, new: _Part) -> Edits | None:
    """The edit that adds nodes where there was a text, perhaps an empty one."""
    there = old.texts[0]
    texts = list(new.texts)
    starts, ends = texts[0].startswith(there), texts[-1].endswith(there)
    if starts and old.right is None:
        node, where = parent, ""
    elif ends and isinstance(old.left, Element):
        node, where = old.left, "after"
    elif starts and isinstance(old.right, Element):
        node, where = old.right, "before"
    else:
        return None
    if where == "after":
        texts[-1] = texts[-1][: len(texts[-1]) - len(there)]
    else:
        texts[0] = texts[0][len(there) :]
    nodes: list[Node] = []
    for text, added in zip(texts, [*new.nodes, None], strict=True):
        if text:
            nodes.append(Text(text))
        if added is not None:
            nodes.append(added)
    return [Edit("add", node, tuple(nodes), where)]


def _removal(old: _Part, text: str) -> Edits | None:
    """The edits that remove all nodes and leave a text."""
    elements = [node for node in old.nodes if isinstance(node, Element)]
    if len(elements) < len(old.nodes) or len(elements) > MOST:
        return None
    dropped = _choose(old.texts, text)
    if dropped is None:
        return None
    edits = []
    for number, element in enumerate(elements):
        before = number == 0 and dropped[0]
        after = dropped[number + 1]
        where = "both" if before and after else "before" if before else "after" if after else ""
        edits.append(Edit("remove", element, where=where))
    return edits


def _choose(texts: Sequence[str], wanted: str) -> list[bool] | None:
    """Which texts, being white space, to drop so that the others are what is wanted."""
    steps: list[dict[int, tuple[int, bool]]] = []  # by length so far: length before, dropped
    reached = {0}
    for text in texts:
        step: dict[int, tuple[int, bool]] = {}
        for length in reached:
            if text and not text.strip(" \t\r\n"):
                step.setdefault(length, (length, True))
            if wanted.startswith(text, length):
                step[length + len(text)] = (length, False)
        steps.append(step)
        reached = set(step)
    if len(wanted) not in reached:
        return None
    dropped = []
    at = len(wanted)
    for step in reversed(steps):
        at, drop = step[at]
        dropped.append(drop)
    return dropped[::-1]
