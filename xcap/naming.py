"""Names and selector steps in the operations of a patch (XPATCH-03, XPATCH-11)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xcap import tree
from xcap.tree import Attribute, Element, Node, Parent, qualified, split


class Names:
    """The namespace declarations of one operation.

    What the content uses comes first and with the prefixes it has; selectors take what is there
    or what is free.

    :ivar bindings: URI by prefix, what the operation has to declare.
    :param content: nodes in the operation, still in the document they come from.
    """

    def __init__(self, content: Iterable[Node] = ()) -> None:
        self.bindings: dict[str, str] = {}
        self._unqualified = False  # names without prefix must not get a namespace
        for node in content:
            if isinstance(node, Element):
                self._need(node, frozenset())

    def _need(self, element: Element, own: frozenset[str]) -> None:
        """Declare what an element uses and no element of the content declares."""
        own = own.union(element.declarations)
        if element.prefix not in own:
            self._declare(element.prefix, element.namespace)
        for attribute in element.attributes.values():
            if attribute.prefix and attribute.prefix not in own:
                self._declare(attribute.prefix, split(attribute.name)[0])
        for child in element.elements():
            self._need(child, own)

    def _declare(self, prefix: str, uri: str) -> None:
        if not uri:
            self._unqualified = True
        elif prefix != "xml":
            self.bindings[prefix] = uri

    def element(self, element: Element) -> str | None:
        """The qualified name of an element, None if it cannot be expressed here."""
        if not element.namespace:
            if "" in self.bindings:
                return None
            self._unqualified = True
            return element.local
        return qualified(self._prefix(element.prefix, element.namespace), element.local)

    def attribute(self, attribute: Attribute) -> str:
        """The qualified name of an attribute, with the prefix it has as far as that is free."""
        uri, local = split(attribute.name)
        return qualified(self._prefix(attribute.prefix, uri, named=True), local) if uri else local

    def operation(self, uri: str) -> str:
        """The prefix of the operation itself; its content never needs it."""
        return self._prefix("d", uri, named=True) if uri else ""

    def _prefix(self, prefix: str, uri: str, *, named: bool = False) -> str:
        """A prefix for a namespace.

        :param prefix: the one to use if it is free.
        :param named: not the default namespace.
        """
        if uri == tree.XML:
            return "xml"
        if self.bindings.get(prefix) == uri and (prefix or not named):
            return prefix
        for known, bound in self.bindings.items():
            if bound == uri and (known or not named):
                return known
        fresh = prefix
        number = 0
        while fresh in self.bindings or (not fresh and (named or self._unqualified)):
            number += 1
            fresh = f"{prefix or 'n'}{number}"
        self.bindings[fresh] = uri
        return fresh


def step_text(element: Element, parent: Parent, unique: Mapping[str, str], names: Names) -> str:
    """The step of a selector that finds an element among the children of its parent.

    By name if that is enough, then by the attribute that is unique among siblings, then by
    position (XPATCH-11).

    :param unique: that attribute by element name, Clark notation.
    """
    siblings = list(parent.elements())
    name = names.element(element)
    if name is None:
        return "*" if len(siblings) == 1 else f"*[{siblings.index(element) + 1}]"
    same = [sibling for sibling in siblings if sibling.name == element.name]
    if len(same) == 1:
        return name
    attribute = element.attributes.get(unique.get(element.name, ""))
    if attribute is not None:
        quoted = _literal(attribute.value)
        others = (sibling.attributes.get(attribute.name) for sibling in same)
        if quoted and sum(1 for o in others if o is not None and o.value == attribute.value) == 1:
            return f"{name}[@{names.attribute(attribute)}={quoted}]"
    return f"{name}[{same.index(element) + 1}]"


def _literal(value: str) -> str:
    """A value in quotes, "" when XPath cannot express it or the schema of ``sel`` forbids it."""
    if "\n" in value or "\r" in value or ("'" in value and '"' in value):
        return ""
    return f'"{value}"' if "'" in value else f"'{value}'"
