"""Documents that tell what has changed: ``application/xcap-diff+xml`` (RFC 5874, XDIFF-01 ...)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import attrs

from xcap import tree
from xcap.tree import Bounds, Element, Text, TreeError, attribute_text, declaration_text

MIME_TYPE = "application/xcap-diff+xml"
"""Media type of a change report."""

NAMESPACE = "urn:ietf:params:xml:ns:xcap-diff"
"""Namespace of a change report and of the patch operations in it."""

LIMIT = 65536
"""Octets above which a report is cut down (XEVT-19)."""

_OPERATIONS = ("add", "replace", "remove")
_BINDING = 64
"""Octets that a binding takes beside its namespace."""


class ChangeReportError(ValueError):
    """Octets are not a change report."""


@attrs.frozen(slots=True)
class DocumentChange:
    """What has become of a document (XDIFF-02, XDIFF-03).

    :ivar sel: its URI relative to the XCAP root, percent-encoded.
    :ivar before: entity-tag before, "" when it exists or was created.
    :ivar after: entity-tag after, "" when it was removed.
    :ivar patch: operations that turn the old document into the new one, as
        :func:`xcap.diff.diff` gives them; None to have it fetched.  Without any operation the
        documents are canonically equal, and ``body-not-changed`` is written.
    :ivar body_not_changed: only the entity-tag has changed.
    """

    sel: str
    before: str = ""
    after: str = ""
    patch: bytes | None = None
    body_not_changed: bool = False


@attrs.frozen(slots=True)
class ElementState:
    """What an element of a document is now (XDIFF-06).

    :ivar sel: its URI relative to the XCAP root, with query, percent-encoded.
    :ivar content: the element as it is in its document; empty when it does not exist or is too
        large to show.
    :ivar bindings: (prefix, namespace URI) declared around it, the prefix "" for the default
        namespace.
    """

    sel: str
    exists: bool = True
    content: bytes = b""
    bindings: tuple[tuple[str, str], ...] = ()

    def whole(self) -> bytes:
        """The element with all declarations it needs, empty when it has no content.

        :raises ChangeReportError: the content is not an element.
        """
        if not self.content:
            return b""
        declared = "".join(declaration_text(p, uri) for p, uri in self.bindings if uri)
        try:
            wrapper = tree.parse(f"<state{declared}>".encode() + self.content + b"</state>")
        except TreeError as error:
            raise ChangeReportError(str(error)) from error
        for element in wrapper.root.elements():
            return tree.write_node(element, element.scope()).encode()
        raise ChangeReportError("not an element")


@attrs.frozen(slots=True)
class AttributeState:
    """What an attribute in a document is now (XDIFF-07).

    :ivar sel: its URI relative to the XCAP root, with query, percent-encoded.
    """

    sel: str
    exists: bool = True
    value: str = ""


Item: TypeAlias = DocumentChange | ElementState | AttributeState


@attrs.frozen(slots=True)
class ChangeReport:
    """A change report as read.

    :ivar root: the XCAP root.
    :ivar items: in the order of the document, which is that of time (XDIFF-05).
    """

    root: str
    items: tuple[Item, ...] = ()


# -- writing ------------------------------------------------------------------------------


def write(root: str, items: Iterable[Item], *, draft: bool = False) -> bytes:
    """Write a change report (XDIFF-01 to XDIFF-07).

    :param root: the XCAP root of all that is reported.
    :param draft: in the syntax of 2005/2006: ``doc-selector``, and patches in ``change-log``
        (UAP-10).
    :raises ValueError: what is reported of a document contradicts itself (XDIFF-03, XDIFF-05).
    """
    items = tuple(items)
    _check(items)
    prefix = _free_prefix(items)
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        f"<{prefix}:xcap-diff{declaration_text(prefix, NAMESPACE)}",
        attribute_text("xcap-root", root),
        ">",
    ]
    octets = ["".join(parts).encode()]
    for item in items:
        if isinstance(item, DocumentChange):
            octets.append(_document(item, prefix, draft))
        elif isinstance(item, ElementState):
            octets.append(_element(item, prefix))
        else:
            value = tree.escape_text(item.value) if item.exists else ""
            octets.append(_tag(prefix, "attribute", _head(item), value.encode()))
    octets.append(f"</{prefix}:xcap-diff>\n".encode())
    return b"".join(octets)


def write_within(
    root: str, items: Iterable[Item], limit: int = LIMIT, *, draft: bool = False
) -> bytes:
    """Write a change report that leaves out what makes it too large (XEVT-19).

    Patches go first, then the contents of elements, the largest ones before smaller ones.  What
    is left, tags and what exists, is written however large it is.

    :param limit: octets.
    :raises ValueError: see :func:`write`.
    """
    kept = list(items)
    octets = write(root, kept, draft=draft)
    excess = len(octets) - limit
    for places in (_patches(kept), _contents(kept)):
        for size, index in places:
            if excess <= 0:
                break
            item = kept[index]
            if isinstance(item, DocumentChange):
                kept[index] = attrs.evolve(item, patch=None)
            elif isinstance(item, ElementState):
                kept[index] = attrs.evolve(item, content=b"", bindings=())
            excess -= size
    return octets if len(octets) <= limit else write(root, kept, draft=draft)


def _patches(items: Sequence[Item]) -> list[tuple[int, int]]:
    """Size and index of each patch, the largest first."""
    found = (
        (len(item.patch), index)
        for index, item in enumerate(items)
        if isinstance(item, DocumentChange) and item.patch
    )
    return sorted(found, reverse=True)


def _contents(items: Sequence[Item]) -> list[tuple[int, int]]:
    """Size and index of the content of each element, the largest first."""
    found = (
        (len(item.content), index)
        for index, item in enumerate(items)
        if isinstance(item, ElementState) and item.content
    )
    return sorted(found, reverse=True)


def _check(items: Sequence[Item]) -> None:
    """Refuse what no reader could make sense of.

    :raises ValueError: there is such a thing.
    """
    last: dict[str, str] = {}
    for item in items:
        if item.sel.startswith("/"):
            raise ValueError("sel is relative to the XCAP root")
        if not isinstance(item, DocumentChange):
            continue
        if not item.before and not item.after:
            raise ValueError("a document without any entity-tag")
        if (item.patch is not None or item.body_not_changed) and not (item.before and item.after):
            raise ValueError("only a change from one entity-tag to another has content")
        if item.patch and item.body_not_changed:
            raise ValueError("a patch of what has not changed")
        if last.get(item.sel, item.before) != item.before:
            raise ValueError("the changes of a document do not follow each other")
        last[item.sel] = item.after


def _free_prefix(items: Sequence[Item]) -> str:
    """A prefix that no binding around an element uses, for these stay as they are."""
    taken = {p for item in items if isinstance(item, ElementState) for p, _ in item.bindings}
    prefix, number = "d", 0
    while prefix in taken:
        number += 1
        prefix = f"d{number}"
    return prefix


def _tag(prefix: str, name: str, head: str, content: bytes) -> bytes:
    if not content:
        return f"<{prefix}:{name}{head}/>".encode()
    return f"<{prefix}:{name}{head}>".encode() + content + f"</{prefix}:{name}>".encode()


def _head(item: ElementState | AttributeState) -> str:
    exists = "" if item.exists else attribute_text("exists", "false")
    return attribute_text("sel", item.sel) + exists


def _document(item: DocumentChange, prefix: str, draft: bool) -> bytes:
    head = attribute_text("doc-selector" if draft else "sel", item.sel)
    if item.before:
        head += attribute_text("previous-etag", item.before)
    if item.after:
        head += attribute_text("new-etag", item.after)
    content = item.patch or b""
    if content and draft:
        content = _tag(prefix, "change-log", "", content)
    elif item.body_not_changed or item.patch == b"":
        content = _tag(prefix, "body-not-changed", "", b"")
    return _tag(prefix, "document", head, content)


def _element(item: ElementState, prefix: str) -> bytes:
    head = _head(item)
    if not item.exists or not item.content:
        return _tag(prefix, "element", head, b"")
    head += "".join(declaration_text(p, uri) for p, uri in item.bindings if uri)
    return _tag(prefix, "element", head, item.content)


# -- reading ------------------------------------------------------------------------------


def read(octets: bytes, bounds: Bounds = tree.BOUNDS) -> ChangeReport:
    """Read a change report in the syntax of RFC 5874 or of the drafts before it (UAP-10).

    Elements and attributes that are not known are ignored (XDIFF-01).

    :raises ChangeReportError: it is none.
    """
    try:
        root = tree.parse(octets, bounds).root
    except TreeError as error:
        raise ChangeReportError(str(error)) from error
    if (root.namespace, root.local) != (NAMESPACE, "xcap-diff"):
        raise ChangeReportError("the root element is not xcap-diff")
    room = _Room(4 * bounds.size)
    return ChangeReport(_required(root, "xcap-root"), tuple(_items(root, room)))


class _Room:
    """How much may be read: every operation and state repeats what is declared around it."""

    def __init__(self, octets: int) -> None:
        self._left = octets

    def scope(self, element: Element) -> dict[str, str]:
        """Namespaces in scope of an element, counted."""
        scope = element.scope()
        self._left -= sum(map(len, scope.values())) + _BINDING * len(scope)
        if self._left < 0:
            raise ChangeReportError("too large")
        return scope


def _items(root: Element, room: _Room) -> Iterator[Item]:
    for child in root.elements():
        if child.namespace != NAMESPACE:
            continue
        if child.local == "document":
            yield _read_document(child, room)
        elif child.local == "element":
            exists = _exists(child)
            inner = next(child.elements(), None) if exists else None
            content = b"" if inner is None else tree.write_node(inner).encode()
            bindings = tuple(room.scope(child).items()) if content else ()
            yield ElementState(_required(child, "sel"), exists, content, bindings)
        elif child.local == "attribute":
            exists = _exists(child)
            texts = (node.data for node in child.children if isinstance(node, Text))
            yield AttributeState(_required(child, "sel"), exists, "".join(texts) if exists else "")


def _read_document(element: Element, room: _Room) -> DocumentChange:
    sel = element.attributes.get("doc-selector")
    operations: list[bytes] = []
    unchanged = False
    for child in _content(element):
        if child.local in _OPERATIONS:
            operations.append(tree.write_node(child, room.scope(child)).encode())
        unchanged = unchanged or child.local == "body-not-changed"
    return DocumentChange(
        sel.value if sel is not None else _required(element, "sel"),
        _optional(element, "previous-etag"),
        _optional(element, "new-etag"),
        b"".join(operations) or None,
        unchanged and not operations,
    )


def _content(document: Element) -> Iterator[Element]:
    """Children of a document element, and of the ``change-log`` that the drafts had."""
    for child in document.elements():
        if child.namespace != NAMESPACE:
            continue
        if child.local == "change-log":
            yield from (inner for inner in child.elements() if inner.namespace == NAMESPACE)
        else:
            yield child


def _required(element: Element, name: str) -> str:
    attribute = element.attributes.get(name)
    if attribute is None:
        raise ChangeReportError(f"{element.local} without {name}")
    return attribute.value


def _optional(element: Element, name: str) -> str:
    attribute = element.attributes.get(name)
    return "" if attribute is None else attribute.value


def _exists(element: Element) -> bool:
    value = _optional(element, "exists").strip() or "true"
    if value not in ("true", "1", "false", "0"):
        raise ChangeReportError("exists is neither true nor false")
    return value in ("true", "1")
