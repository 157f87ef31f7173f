"""Changes made from two versions of a document (XPO-13, PNO-07).

This is done for each change of a presentity that somebody watches, so it is done on trees of
lxml, whose serialisation tells in no time which parts are equal.  :mod:`xcap.diff` does it for
any document, and takes ten times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from lxml import etree

from presence.partial.children import Children, component_key, is_component
from presence.partial.selecting import Selecting
from presence.pidf.parse import DocumentError, parse_exact
from xcap.align import Pairs, ascending
from xcap.tree import attribute_text, declaration_text, escape_text

LARGEST: Final = 1 << 18
"""Octets of a document for which changes are made."""

MOST: Final = 64
"""Operations of a patch; whoever has more of them to tell tells all."""

_DEEP: Final = 48  # levels to look at

Operations = list[str]


class _Unclear(Exception):
    """It cannot be told, or not in few words."""


def difference(old: bytes, new: bytes) -> bytes | None:
    """What turns one version of a presence document into another.

    Tuples, persons and devices are compared by ``id``, what is in them by name and position; of
    a changed part and what is around it the one is told that takes fewer octets (XPO-13).

    :param old: PIDF in UTF-8.
    :returns: a ``pidf-diff`` document without ``entity`` and ``version``, for
        :func:`presence.partial.documents.partial`: to be made once for all watchers.  None when
        it would not be smaller than the new document (PNO-07) or cannot be told.
    """
    if max(len(old), len(new)) > LARGEST:
        return None
    try:
        before, after = parse_exact(old), parse_exact(new)
        # most documents declare all namespaces in the root
        nested = any(
            octets.count(b"xmlns") > len(root.nsmap)
            for octets, root in ((old, before), (new, after))
        )
        operations = _Comparison(before, after, nested).operations()
    except (DocumentError, _Unclear):
        return None
    entity = len(attribute_text("entity", after.get("entity", "")).encode())
    return operations if len(operations) + entity < len(new) else None


class _Comparison:
    """Compares two documents, and writes what differs.

    :param nested: elements other than the root may have declarations.
    """

    def __init__(self, before: etree._Element, after: etree._Element, nested: bool) -> None:
        self._before = before
        self._after = after
        self._nested = nested
        self._selecting = Selecting(after.nsmap)
        self._count = 0
        # declarations that every serialised part repeats, and the root of the changes has
        self._declared = [
            declaration_text(prefix or "", uri).encode() for prefix, uri in after.nsmap.items()
        ]
        self._repeated = sum(map(len, self._declared))
        self._form: Callable[[etree._Element], object] = _octets
        if list(before.nsmap.items()) != list(after.nsmap.items()):
            self._form = _canonical
        elif not nested:
            self._form = _short

    def operations(self) -> bytes:
        """The document.

        :raises _Unclear: it cannot be told.
        """
        old, new = self._before, self._after
        if (
            (old.tag, old.prefix) != (new.tag, new.prefix)
            or old.get("entity") != new.get("entity")
            or _outside(old) != _outside(new)
        ):
            raise _Unclear
        first, last = self._namespaces()
        inside = self._inside(old, new, "*", 1)
        if inside is None:
            raise _Unclear
        text = "".join((*first, *inside, *last))
        return self._selecting.document(text).encode()

    def _namespaces(self) -> tuple[Operations, Operations]:
        """Changes of the declarations of the root: what comes first and what last.

        :raises _Unclear: a prefix has another meaning, or the default namespace changes.
        """
        old, new = self._before.nsmap, self._after.nsmap
        if any(new.get(prefix, uri) != uri for prefix, uri in old.items()):
            raise _Unclear
        if (None in old) != (None in new):
            raise _Unclear
        first = [
            self._write("add", "*", escape_text(uri), f' type="namespace::{prefix}"')
            for prefix, uri in new.items()
            if prefix not in old
        ]
        gone = [prefix for prefix in old if prefix not in new]
        return first, [self._write("remove", f"*/namespace::{prefix}") for prefix in gone]

    def _write(self, kind: str, selector: str, content: str = "", more: str = "") -> str:
        """An operation.

        :param content: as it is written.
        :param more: further attributes, as they are written.
        """
        self._count += 1
        if self._count > MOST * 4:
            raise _Unclear
        name = f"{self._selecting.operation}:{kind}"
        head = f"<{name}{attribute_text('sel', selector)}{more}"
        return f"{head}>{content}</{name}>" if content else f"{head}/>"

    def _content(self, node: etree._Element) -> str:
        """A node as it is written in an operation: without the declarations of the root."""
        octets = _octets(node)
        if not isinstance(node.tag, str):
            return octets.decode()
        end = octets.find(b">")
        start, rest = octets[:end], octets[end:]
        for declaration in self._declared:
            start = start.replace(declaration, b"", 1)
        return (start + rest).decode()

    # -- elements -------------------------------------------------------------------------

    def _element(
        self, old: etree._Element, new: etree._Element, form: object, selector: str, depth: int
    ) -> Operations:
        """What changes an element into another one of the same name.

        :param form: of the new one.
        """
        inside = self._inside(old, new, selector, depth) if depth < _DEEP else None
        if inside is not None:
            size = len(form) - self._repeated if isinstance(form, bytes) else 0
            if sum(map(len, inside)) < size or (len(inside) == 1 and not len(new)):
                return inside
        whole = self._write("replace", selector, self._content(new))
        if inside is None or sum(map(len, inside)) >= len(whole):
            return [whole]
        return inside

    def _inside(
        self, old: etree._Element, new: etree._Element, selector: str, depth: int
    ) -> Operations | None:
        """What changes attributes and children; None when that does not suffice."""
        if self._nested and depth > 1 and _own(old) != _own(new):
            return None
        attributes = self._attributes(old, new, selector)
        if attributes is None:
            return None
        if not len(old) and not len(new):
            return attributes + self._text(old.text or "", new.text or "", selector)
        children = self._children(old, new, selector, depth)
        return None if children is None else attributes + children

    def _attributes(
        self, old: etree._Element, new: etree._Element, selector: str
    ) -> Operations | None:
        """What changes the attributes of an element; None when they cannot be named."""
        if not old.attrib and not new.attrib:
            return []
        before: dict[str, str] = dict(old.attrib)  # type: ignore[arg-type]
        after: dict[str, str] = dict(new.attrib)  # type: ignore[arg-type]
        found: Operations = []
        for name in {**before, **after}:
            qualified = self._selecting.attribute(name)
            if qualified is None:
                return None
            if name not in after:
                found.append(self._write("remove", f"{selector}/@{qualified}"))
            elif name not in before:
                more = attribute_text("type", f"@{qualified}")
                found.append(self._write("add", selector, escape_text(after[name]), more))
            elif before[name] != after[name]:
                value = escape_text(after[name])
                found.append(self._write("replace", f"{selector}/@{qualified}", value))
        return found

    def _text(self, old: str, new: str, selector: str) -> Operations:
        """What changes the text of an element that has nothing else."""
        if old == new:
            return []
        if not old:
            return [self._write("add", selector, escape_text(new))]
        if not new:
            return [self._write("remove", f"{selector}/text()")]
        return [self._write("replace", f"{selector}/text()", escape_text(new))]

    # -- children -------------------------------------------------------------------------

    def _children(
        self, old: etree._Element, new: etree._Element, selector: str, depth: int
    ) -> Operations | None:
        """What changes the children of an element, from the first to the last."""
        olds, news = list(old), list(new)
        old_forms, new_forms = list(map(self._form, olds)), list(map(self._form, news))
        pairs = _align(olds, news, old_forms, new_forms)
        texts = [old.text or "", *(child.tail or "" for child in olds)]
        wanted = [new.text or "", *(child.tail or "" for child in news)]
        now = Children(selector, olds, texts, self._selecting, self._write)
        found: Operations = []
        if len(pairs) == len(olds) == len(news) and texts == wanted:
            for i, j in pairs:
                if old_forms[i] != new_forms[j]:
                    path = now.path(i)
                    found += self._element(olds[i], news[j], new_forms[j], path, depth + 1)
            return found
        i = j = 0
        for pair in [*pairs, (len(olds), len(news))]:
            added = [(node, self._content(node)) for node in news[j : pair[1]]]
            between = now.change(j, pair[0] - i, added, wanted[j : pair[1] + 1])
            if between is None:
                return None
            found.extend(between)
            i, j = pair
            if i < len(olds) and old_forms[i] != new_forms[j]:
                path = now.path(j)
                found += self._element(olds[i], news[j], new_forms[j], path, depth + 1)
            i, j = i + 1, j + 1
        return found


def _octets(node: etree._Element) -> bytes:
    """A node as it is written, with all declarations in force."""
    text: bytes = etree.tostring(node, encoding="UTF-8", xml_declaration=False, with_tail=False)
    return text


def _short(node: etree._Element) -> object:
    """What tells a node from others, where all declarations are those of the root."""
    if not len(node) and isinstance(node.tag, str):
        return node.tag, node.prefix, node.text, node.items()
    return _octets(node)


def _canonical(node: etree._Element) -> bytes:
    """A node in canonical form: the same under other declarations that it does not use."""
    if not isinstance(node.tag, str):
        return _octets(node)  # libxml2 cannot do that
    text: bytes = etree.tostring(node, method="c14n", exclusive=True, with_tail=False)
    return text


def _own(element: etree._Element) -> dict[str | None, str]:
    """The declarations of an element that change what is in force."""
    parent = element.getparent()
    outer = parent.nsmap if parent is not None else {}
    return {prefix: uri for prefix, uri in element.nsmap.items() if outer.get(prefix) != uri}


def _outside(root: etree._Element) -> list[bytes]:
    """Comments and processing instructions around a root."""
    before = [_octets(node) for node in root.itersiblings(preceding=True)]
    return [*before, b"", *(_octets(node) for node in root.itersiblings())]


def _align(
    old: Sequence[etree._Element],
    new: Sequence[etree._Element],
    old_forms: Sequence[object],
    new_forms: Sequence[object],
) -> Pairs:
    """Which children stay, as index pairs in ascending order.

    Equal ones at both ends are the same; of the rest those with the same key.
    """
    least = min(len(old), len(new))
    start = 0
    while start < least and old_forms[start] == new_forms[start]:
        start += 1
    same = 0
    while same < least - start and old_forms[-1 - same] == new_forms[-1 - same]:
        same += 1
    middle: Pairs = []
    if min(len(old), len(new)) > start + same:
        first = _keys(old, start, len(old) - same)
        second = _keys(new, start, len(new) - same)
        if list(first) == list(second):
            middle = list(zip(first.values(), second.values(), strict=True))
        else:
            middle = ascending([(i, second[key]) for key, i in first.items() if key in second])
    head = [(k, k) for k in range(start)]
    tail = [(len(old) - k, len(new) - k) for k in range(same, 0, -1)]
    return [*head, *middle, *tail]


def _keys(nodes: Sequence[etree._Element], start: int, end: int) -> dict[object, int]:
    """Index of nodes by what makes them the same: ``id``, or name and position."""
    seen: dict[object, int] = {}
    found: dict[object, int] = {}
    for index in range(start, end):
        node = nodes[index]
        key: object
        if not isinstance(node.tag, str):
            key = _octets(node)
        elif is_component(node):
            key = component_key(node)
        else:
            key = (node.tag, node.prefix)
        number = seen[key] = seen.get(key, 0) + 1
        found[key, number] = index
    return found
