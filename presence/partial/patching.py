"""A document with changes applied to it (RFC 5261, RFC 5262; XPO-01 to XPO-10)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from presence.partial.documents import NAMESPACE, Diff, read
from presence.pidf import names
from presence.pidf.parse import MAX_DEPTH, DocumentError, to_utf8
from presence.pidf.validate import DEFAULT_LIMIT
from xcap import tree
from xcap.patch import PatchedDocument, PatchError
from xcap.tree import Bounds, Element, Text, TreeError
from xcap.xpath import XML_ID

__all__ = ["MOST_OPERATIONS", "WORK", "PatchError", "apply"]

_DOCUMENT: Final = Bounds(depth=MAX_DEPTH)

MOST_OPERATIONS: Final = 512
"""Operations of one patch."""

WORK: Final = 200_000
"""Nodes that the operations of one patch may look at; a tenth of a second."""

_IDENTIFIERS: Final = frozenset({XML_ID, "id"})
_KINDS: Final = frozenset(f"{{{NAMESPACE}}}{name}" for name in ("add", "replace", "remove"))
_ROOT: Final = re.compile(
    r"[ \t\r\n]*/?[ \t\r\n]*(?:([^\s:/\[\]@(]+):)?(presence|pidf-full)(?=[ \t\r\n]*(?:[/\[]|$))"
)
_SPACE: Final = " \t\r\n"


def apply(document: bytes, diff: bytes | Diff, limit: int = DEFAULT_LIMIT) -> bytes:
    """The document that changes make of another one: all of them, or none (XPO-01).

    Whether the result is valid by the schema is left to who uses it (XPO-11).

    :param document: PIDF in UTF-8; its root is ``presence``.
    :param diff: a body with root ``pidf-diff``, or such a body read.
    :param limit: greatest size of body and result in octets.
    :returns: PIDF in UTF-8; only its canonical form is of interest.
    :raises PatchError: an operation fails, or the result is no presence document.
    :raises DocumentError: 400, ``diff`` is none; 413, the result is too large.
    """
    if isinstance(diff, bytes):
        found = read(diff, limit=limit)
        if not isinstance(found, Diff):
            raise DocumentError(400, "root element is not pidf-diff")
        diff = found
    try:
        target = tree.parse(to_utf8(document), _DOCUMENT)
    except TreeError as error:
        raise PatchError("invalid-diff-format", f"the document to patch: {error}") from error
    patched = PatchedDocument(target, _IDENTIFIERS, _DOCUMENT, WORK)
    for operation in _operations(diff.operations):
        patched.apply(operation)
        if target.root.name != names.PRESENCE:
            octets = tree.write_node(operation, operation.scope()).encode()
            phrase = "the root element would be no presence"
            raise PatchError("invalid-root-element-operation", phrase, octets)
    new = tree.write(target)
    if len(new) > limit:
        raise DocumentError(413, f"document larger than {limit} octets")
    return new


def _operations(root: Element) -> Iterator[Element]:
    """The operations as the patch engine takes them.

    :raises PatchError: there is something else, or too much.
    """
    operations = list(root.elements())
    if len(operations) > MOST_OPERATIONS:
        raise PatchError("invalid-diff-format", f"more than {MOST_OPERATIONS} operations")
    if not all(operation.name in _KINDS for operation in operations):
        raise PatchError("invalid-diff-format", "an element that is no operation")
    for operation in operations:
        selector = operation.attributes.get("sel")
        if selector is not None:
            selector.value = _from_root(selector.value, operation)
        if operation.local == "replace":
            _strip(operation)
        yield operation


def _from_root(selector: str, operation: Element) -> str:
    """A selector whose first step finds the root, whatever it calls that (PNO-02)."""
    found = _ROOT.match(selector)
    if found is None:
        return selector
    prefix, local = found[1], found[2]
    if prefix is not None:
        uri = NAMESPACE if local == "pidf-full" else names.PIDF
        if operation.scope().get(prefix) != uri:
            return selector
    return f"*{selector[found.end() :]}"


def _strip(operation: Element) -> None:
    """Take white space from around the one element that replaces another (XPO-08)."""
    children = operation.children
    texts = [child for child in children if isinstance(child, Text)]
    if len(children) - len(texts) == 1 and not any(text.data.strip(_SPACE) for text in texts):
        children[:] = [child for child in children if not isinstance(child, Text)]
