"""How operations name what they are about: prefixes and steps of selectors (XPO-02, XPO-04)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from presence.partial.documents import NAMESPACE
from xcap.tree import XML, declaration_text, split


class Label(NamedTuple):
    """By what an element is told from its siblings.

    :ivar name: Clark notation.
    :ivar id: of a tuple, person or device; None for others.
    """

    name: str
    id: str | None


class Selecting:
    """The namespaces of one ``pidf-diff`` document.

    They are those of the new document, so that content needs no declarations of its own.

    :param declared: declarations of the root of the new document; None is the default namespace.

    :ivar operation: prefix of the operations.
    """

    def __init__(self, declared: Mapping[str | None, str]) -> None:
        self._declared = declared
        self._prefixes: dict[str, str] = {}  # by namespace, for elements
        for prefix, uri in declared.items():
            if prefix is None or uri not in self._prefixes:
                self._prefixes[uri] = prefix or ""
        self._named = Counter(uri for prefix, uri in declared.items() if prefix)
        self._more: dict[str, str] = {}  # prefixes that selectors need besides
        self.operation = self._free("p")

    def _free(self, prefix: str) -> str:
        fresh, number = prefix, 0
        while fresh in self._declared or fresh in self._more:
            number += 1
            fresh = f"{prefix}{number}"
        return fresh

    def _prefix(self, uri: str) -> str:
        """The prefix of a namespace, a new one if it has none."""
        prefix = self._prefixes.get(uri)
        if prefix is None:
            prefix = self._prefixes[uri] = self._free("n")
            self._more[prefix] = uri
        return prefix

    def element(self, name: str) -> str | None:
        """The qualified name of an element; None when it has none here."""
        uri, local = split(name)
        if not uri:
            return None if None in self._declared else local
        prefix = self._prefix(uri)
        return f"{prefix}:{local}" if prefix else local

    def attribute(self, name: str) -> str | None:
        """The qualified name of an attribute; None when it has none, or more than one."""
        uri, local = split(name)
        if not uri:
            return local
        if uri == XML:
            return f"xml:{local}"
        if self._named[uri] != 1:
            return None
        prefix = next(p for p, bound in self._declared.items() if p and bound == uri)
        return f"{prefix}:{local}"

    def step(self, labels: Sequence[Label | None], index: int) -> str | None:
        """The step that finds one of some siblings; None when there is none.

        :param labels: of all of them; None for what is no element.
        """
        label = labels[index]
        if label is None:
            return None
        name = self.element(label.name)
        if name is None:
            before = sum(1 for other in labels[:index] if other is not None)
            return f"*[{before + 1}]"
        same = [other for other in labels if other is not None and other.name == label.name]
        if label.id is not None and sum(1 for other in same if other.id == label.id) == 1:
            quoted = _literal(label.id)
            if quoted:
                return f"{name}[@id={quoted}]"
        if len(same) == 1:
            return name
        before = sum(
            1 for other in labels[:index] if other is not None and other.name == label.name
        )
        return f"{name}[{before + 1}]"

    def document(self, operations: str) -> str:
        """The whole of it, with the declarations that operations need."""
        name = f"{self.operation}:pidf-diff"
        parts = [f"<{name}", declaration_text(self.operation, NAMESPACE)]
        for prefix, uri in self._declared.items():
            if prefix is None or _used(prefix, operations):
                parts.append(declaration_text(prefix or "", uri))
        parts.extend(declaration_text(prefix, uri) for prefix, uri in self._more.items())
        return "".join((*parts, ">", operations, f"</{name}>"))


def _used(prefix: str, text: str) -> bool:
    """Whether a prefix may be used in a text; names in values count, too."""
    return re.search(rf"\b{re.escape(prefix)}:", text) is not None


def _literal(value: str) -> str:
    """A value in quotes; "" when XPath cannot express it or the schema of ``sel`` forbids it."""
    if "\n" in value or "\r" in value or ("'" in value and '"' in value):
        return ""
    return f'"{value}"' if "'" in value else f"'{value}'"
