"""Patches made from two versions of a document (XPATCH-11, XPATCH-12)."""

from __future__ import annotations

from collections.abc import Mapping

from xcap import tree
from xcap.compare import MOST, Comparison, Edit
from xcap.naming import Names, step_text
from xcap.patch import PatchedDocument, PatchError
from xcap.tree import Attribute, Document, Element, Node, Text, TreeError

LARGEST = 1 << 18
"""Octets of a document for which patches are made: that takes 50 ms for 100 000."""

_WORK = 500_000  # nodes to look at, a tenth of what an applier may


def diff(old: bytes, new: bytes, unique: Mapping[str, str], namespace: str) -> bytes | None:
    """The operations that turn one document into another.

    :param unique: attribute that tells siblings apart, by element name; both in Clark notation.
    :param namespace: of the elements ``add``, ``replace`` and ``remove``.
    :returns: operations one after the other, each with all declarations it needs, for
        :func:`xcap.patch.apply`; empty when the documents are canonically equal.  None when
        they would be larger than the new document, its prolog has changed, a document is larger
        than :data:`LARGEST`, or it cannot be told (a document is not well-formed, the
        declarations of the root element differ).
    """
    if max(len(old), len(new)) > LARGEST:
        return None
    try:
        before, after = tree.parse(old), tree.parse(new)
    except TreeError:
        return None
    comparison = Comparison(unique)
    edits = comparison.compare(before, after)
    if edits is None or len(edits) > MOST:
        return None
    writer = _Writer(before, unique, namespace)
    patch: list[bytes] = []
    size = 0
    try:
        for edit in edits:
            comparison.forget(writer.place(edit))
            octets = writer.write(edit)
            size += len(octets)
            if size > len(new):
                return None
            patch.append(octets)
    except PatchError:
        return None
    equal = comparison.compare(before, after) == []
    return b"".join(patch) if equal else None


class _Writer:
    """Writes edits as operations, carrying each out at once: selectors count what is there."""

    def __init__(self, document: Document, unique: Mapping[str, str], namespace: str) -> None:
        self._patched = PatchedDocument(document, work=_WORK)
        self._unique = unique
        self._namespace = namespace
        self._now: dict[Node, Element] = {}  # what old elements were replaced by

    def place(self, edit: Edit) -> Element:
        """The element that an edit is about, as it is now."""
        return self._now.get(edit.node, edit.node)

    def write(self, edit: Edit) -> bytes:
        """The operation of an edit.

        :raises PatchError: it cannot be carried out.
        """
        node = self.place(edit)
        names = Names(edit.nodes)
        local = {"set": "add", "change": "replace", "unset": "remove"}.get(edit.kind, edit.kind)
        operation = Element("", self._namespace, local)
        attribute = edit.attribute
        step = ""
        if attribute is not None:
            name = names.attribute(attribute)
            if edit.kind == "set":
                _put(operation, "type", f"@{name}")
            else:
                step = f"/@{name}"
            if edit.kind != "unset" and attribute.value:
                operation.children.append(Text(attribute.value))
        elif edit.where:
            _put(operation, "ws" if edit.kind == "remove" else "pos", edit.where)
        operation.children.extend(edit.nodes)
        path = self._path(node, names)
        operation.attributes = {
            "sel": Attribute("", "sel", path + step),
            **operation.attributes,
        }
        operation.prefix = names.operation(self._namespace)
        operation.declarations = names.bindings
        self._carry_out(edit, node, operation)
        return tree.write_node(operation).encode()

    def _carry_out(self, edit: Edit, node: Element, operation: Element) -> None:
        """Apply an operation, and remember what a replaced element has become."""
        parent = node.parent
        index = parent.children.index(node) if parent is not None else 0
        self._patched.apply(operation)
        if edit.kind == "replace" and parent is not None:
            now = parent.children[index]
            if isinstance(now, Element):
                self._now[edit.node] = now

    def _path(self, node: Element, names: Names) -> str:
        """The selector of an element."""
        steps: list[str] = []
        at = node
        while True:
            parent = at.parent if at.parent is not None else self._patched.document
            steps.append(step_text(at, parent, self._unique, names))
            if not isinstance(parent, Element):
                return "/".join(reversed(steps))
            at = parent


def _put(operation: Element, name: str, value: str) -> None:
    operation.attributes[name] = Attribute("", name, value)
