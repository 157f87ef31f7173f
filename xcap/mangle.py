"""Namespace mangling: names of a diff document as the target document writes them.

RFC 5261 section 4.2.3, XPATCH-08.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping

from xcap.tree import (
    Attribute,
    Comment,
    Document,
    Element,
    Instruction,
    Node,
    Parent,
    Text,
    clark,
    split,
)


class NamespaceMissing(Exception):
    """The target declares no usable prefix for a namespace.

    :ivar uri: the namespace.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.uri = uri


def choose_prefix(prefix: str, candidates: Collection[str], context: str | None) -> str:
    """The prefix to use of several that are bound to the right namespace (XPATCH-08).

    :param prefix: the one the diff document uses.
    :param candidates: at least one; "" is the default namespace.
    :param context: prefix of the evaluation context node, None when its namespace is another.
    """
    if prefix in candidates:
        return prefix
    if context is not None and context in candidates:
        return context
    ascending = sorted(candidates)
    return ascending[max(bisect_left(ascending, prefix) - 1, 0)]


def attribute_prefix(prefix: str, uri: str, element: Element) -> str:
    """The prefix of an attribute that is added to an element.

    :param prefix: the one the diff document uses, "" for an attribute without namespace.
    :raises NamespaceMissing: the namespace has no prefix there.
    """
    if not uri or prefix == "xml":
        return prefix
    candidates = [p for p, bound in element.scope().items() if bound == uri and p]
    if not candidates:
        raise NamespaceMissing(uri)
    return choose_prefix(prefix, candidates, element.prefix if element.namespace == uri else None)


class Adoption:
    """Copies nodes of a diff document for a place in the target document.

    What a copied element declares itself is kept as it is; names that refer to declarations
    outside of the copied nodes get a prefix that the target has there.

    :param context: the parent to be.  The root node declares nothing: a new document element
        takes along the declarations it needs.
    """

    def __init__(self, context: Parent) -> None:
        self._context = context
        self._scope = context.scope() if isinstance(context, Element) else {}

    def copy(self, node: Node) -> Node:
        """A copy without parent.

        :raises NamespaceMissing: it uses a namespace that the target does not declare there.
        """
        return self._copy(node, frozenset(), self._scope)

    def _copy(self, node: Node, own: frozenset[str], result: Mapping[str, str]) -> Node:
        """Copy a node.

        :param own: prefixes that copied ancestors declare.
        :param result: what is in scope at the parent of the copy.
        """
        if isinstance(node, Text):
            return Text(node.data)
        if isinstance(node, Comment):
            return Comment(node.data)
        if isinstance(node, Instruction):
            return Instruction(node.target, node.data)
        own = own.union(node.declarations)
        scope = {**result, **node.declarations}
        copy = Element(node.prefix, node.namespace, node.local)
        copy.declarations = dict(node.declarations)
        if node.prefix not in own and node.prefix != "xml":
            copy.prefix = self._element(node.prefix, node.namespace, copy, scope)
        for attribute in node.attributes.values():
            prefix = attribute.prefix
            if prefix and prefix != "xml" and prefix not in own:
                prefix = self._prefix(prefix, split(attribute.name)[0], copy, scope, named=True)
            copy.attributes[attribute.name] = Attribute(prefix, attribute.name, attribute.value)
        for child in node.children:
            adopted = self._copy(child, own, scope)
            adopted.parent = copy
            copy.children.append(adopted)
        return copy

    def _element(self, prefix: str, uri: str, copy: Element, scope: dict[str, str]) -> str:
        """The prefix of an element."""
        if uri:
            return self._prefix(prefix, uri, copy, scope, named=False)
        if scope.get("", ""):  # it would fall into the default namespace
            scope[""] = copy.declarations[""] = ""
        return ""

    def _prefix(
        self, prefix: str, uri: str, copy: Element, scope: dict[str, str], *, named: bool
    ) -> str:
        """The prefix for a namespace.

        :param named: it must not be the default namespace.
        """
        known = [p for p, bound in self._scope.items() if bound == uri and (p or not named)]
        usable = [p for p in known if scope.get(p) == uri]
        if usable:
            context = self._context
            same = isinstance(context, Element) and context.namespace == uri
            return choose_prefix(
                prefix, usable, context.prefix if same and isinstance(context, Element) else None
            )
        added = [p for p, bound in scope.items() if bound == uri and (p or not named)]
        if added:
            return added[0]
        if not known and not isinstance(self._context, Document):
            raise NamespaceMissing(uri)
        # its prefixes are hidden by declarations of the copied elements
        number = 0
        fresh = prefix
        while fresh in scope:
            number += 1
            fresh = f"{prefix or 'n'}{number}"
        scope[fresh] = copy.declarations[fresh] = uri
        return fresh


def rename(element: Element, prefix: str, uri: str) -> None:
    """Bind a prefix that an element declares to another namespace, with all names that use it.

    :raises ValueError: an element would have two attributes of the same name.
    """
    element.declarations[prefix] = uri
    for node in users(element, prefix):
        if node.prefix == prefix:
            node.namespace = uri
        attributes = {}
        for attribute in node.attributes.values():
            if attribute.prefix == prefix:
                attribute.name = clark(uri, split(attribute.name)[1])
            attributes[attribute.name] = attribute
        if len(attributes) < len(node.attributes):
            raise ValueError("two attributes of the same name")
        node.attributes = attributes


def users(element: Element, prefix: str) -> list[Element]:
    """Elements whose names, or those of attributes, use what a prefix means at an element."""
    found: list[Element] = []
    stack = [element]
    while stack:
        at = stack.pop()
        if at is not element and prefix in at.declarations:
            continue
        if at.prefix == prefix or any(a.prefix == prefix for a in at.attributes.values()):
            found.append(at)
        stack.extend(at.elements())
    return found
