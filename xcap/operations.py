"""Patch operations as they come, and how they are refused (RFC 5261 section 5, XPATCH-10)."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

from lxml import etree

from xcap import tree
from xcap.tree import Bounds, Element, Text, TreeError
from xcap.xpath import Selector, parse_selector

MIME_TYPE = "application/patch-ops-error+xml"
"""Media type of an error document."""

NAMESPACE = "urn:ietf:params:xml:ns:patch-ops-error"
"""Namespace of an error document."""

SIMPLE = frozenset({"invalid-character-set", "invalid-diff-format"})
"""Errors that do not name an operation."""

KINDS = SIMPLE | {
    "invalid-attribute-value",
    "invalid-entity-declaration",
    "invalid-namespace-prefix",
    "invalid-namespace-uri",
    "invalid-node-types",
    "invalid-patch-directive",
    "invalid-root-element-operation",
    "invalid-whitespace-directive",
    "invalid-xml-prolog-operation",
    "unlocated-node",
    "unsupported-id-function",
    "unsupported-xml-id",
}
"""Elements that an error document may have (RFC 5261 section 5.1)."""

_OPERATIONS = ("add", "replace", "remove")


class PatchError(Exception):
    """A patch cannot be applied.

    :ivar kind: one of :data:`KINDS`.
    :ivar phrase: for humans.
    :ivar operation: the element that failed with the declarations it needs; None for the kinds
        that do not name one.
    """

    def __init__(self, kind: str, phrase: str, operation: bytes | None = None) -> None:
        super().__init__(kind, phrase)
        self.kind = kind
        self.phrase = phrase
        self.operation = operation


class Failure(Exception):
    """An operation cannot be carried out."""

    def __init__(self, kind: str, phrase: str) -> None:
        super().__init__(kind, phrase)
        self.kind = kind
        self.phrase = phrase


def error_document(error: PatchError, language: str = "en") -> bytes:
    """The ``application/patch-ops-error+xml`` document that tells of a failure (XPATCH-10)."""
    phrase = tree.attribute_text("phrase", error.phrase)
    tag = f"e:{error.kind}{phrase}{tree.attribute_text('xml:lang', language)}"
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<e:patch-ops-error xmlns:e="{NAMESPACE}">'
    if error.operation is None:
        report = f"<{tag}/>".encode()
    else:
        report = f"<{tag}>".encode() + error.operation + f"</e:{error.kind}>".encode()
    return head.encode() + report + b"</e:patch-ops-error>\n"


def read_operations(container: etree._Element | bytes, bounds: Bounds) -> Iterator[Element]:
    """The operations of a patch, as document elements with all declarations they need."""
    if isinstance(container, bytes):
        try:
            wrapper = tree.parse(b"<patch>" + container + b"</patch>", bounds)
        except TreeError as error:
            kind = "invalid-character-set" if error.reason == "encoding" else "invalid-diff-format"
            raise PatchError(kind, str(error)) from error
        for child in wrapper.root.elements():
            if child.local in _OPERATIONS:
                yield child
        return
    declared = [len(uri) + len(prefix or "") for prefix, uri in container.nsmap.items()]
    if len(declared) > bounds.namespaces or sum(declared) > bounds.declared:
        # every operation would be given all of them
        raise PatchError("invalid-diff-format", "too many namespace declarations")
    namespace = etree.QName(container).namespace
    for node in container.iterchildren("*"):
        name = etree.QName(node)
        if name.localname in _OPERATIONS:
            yield _operation(node, bounds)
        elif name.namespace == namespace:
            raise PatchError(
                "invalid-patch-directive",
                f"{name.localname} is not an operation",
                tree.write_node(_operation(node, bounds)).encode(),
            )


def _operation(node: etree._Element, bounds: Bounds) -> Element:
    """An operation of a tree of lxml."""
    octets = etree.tostring(node, encoding="UTF-8", with_tail=False)
    try:
        return tree.parse(octets, bounds).root
    except TreeError as error:
        if error.reason == "encoding":
            raise PatchError("invalid-character-set", str(error)) from error
        if error.reason != "entity":
            raise PatchError("invalid-diff-format", str(error)) from error
        # nobody could read it with its content, so that is left out
        bare = deepcopy(node)
        del bare[:]
        bare.text = None
        octets = etree.tostring(bare, encoding="UTF-8", with_tail=False)
        raise PatchError("invalid-entity-declaration", str(error), octets) from error


def selector_of(operation: Element, bindings: dict[str, str]) -> Selector:
    """The selector of an operation (XPATCH-03)."""
    attribute = operation.attributes.get("sel")
    if attribute is None:
        raise Failure("invalid-diff-format", f"{operation.local} without sel")
    return parse_selector(attribute.value, bindings)


def word_of(operation: Element, name: str, allowed: tuple[str, ...]) -> str | None:
    """The value of an attribute that has one of a few words."""
    attribute = operation.attributes.get(name)
    if attribute is None:
        return None
    if attribute.value not in allowed:
        raise Failure("invalid-attribute-value", f"{name} is not one of {', '.join(allowed)}")
    return attribute.value


def only_text(operation: Element, kind: str) -> str:
    """The content of an operation that may have text only."""
    if not all(isinstance(child, Text) for child in operation.children):
        raise Failure(kind, "only text is allowed here")
    return "".join(child.data for child in operation.children if isinstance(child, Text))
