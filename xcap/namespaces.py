"""Namespaces in XML 1.0: scopes of declarations and expanded names.

Done here and not by expat, which would write the namespace in full before every name of a
tag before anybody could object: gigabytes from a document of a megabyte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from xcap.uri import XML_NAMESPACE, XMLNS_NAMESPACE

# the first character of an NCName; that the others may be in a name is known
_START = re.compile(
    "[A-Z_a-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c-\u200d"
    "\u2070-\u218f\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff]"
)
# characters of an attribute value that a reference has to stand for
_REFERENCES = {ord(char): f"&#{ord(char)};" for char in '&<"\t\n\r'}


class NamespaceError(Exception):
    """Not namespace-well-formed; the text says why, without data of users."""


class Scope:
    """Namespace declarations of an element, and those around it.

    :ivar declared: namespace by prefix, "" being the default one and the namespace "" none.
    :ivar outer: the scope around it.
    :ivar names: Clark name and prefix by name of the elements seen in this scope.
    """

    __slots__ = ("declared", "names", "outer")

    def __init__(self, declared: dict[str, str], outer: Scope | None) -> None:
        self.declared = declared
        self.outer = outer
        self.names: dict[str, tuple[str, str]] = {}

    def declare(self, declared: dict[str, str]) -> Scope:
        """The scope of an element with declarations.

        :raises NamespaceError: for what the recommendation does not let be declared.
        """
        check_declarations(declared)
        return Scope(declared, self)

    def find(self, prefix: str) -> str:
        """The namespace of a prefix.

        :raises NamespaceError: it is not declared.
        """
        scope: Scope | None = self
        while scope is not None:
            namespace = scope.declared.get(prefix)
            if namespace is not None:
                return namespace
            scope = scope.outer
        raise NamespaceError("Undeclared prefix")

    def all(self) -> dict[str, str]:
        """Namespaces in scope by prefix, without the prefix ``xml``."""
        found: dict[str, str] = {}
        scope: Scope | None = self
        while scope is not None:
            for prefix, namespace in scope.declared.items():
                found.setdefault(prefix, namespace)
            scope = scope.outer
        del found["xml"]
        if not found[""]:
            del found[""]
        return found


def check_declarations(declared: Mapping[str, str]) -> None:
    """Check the declarations of an element.

    :param declared: namespace by prefix, "" being the default one and the namespace "" none.
    :raises NamespaceError: for what the recommendation does not let be declared.
    """
    for prefix, namespace in declared.items():
        if prefix == "xmlns" or namespace == XMLNS_NAMESPACE:
            raise NamespaceError("Prefix xmlns or its namespace is declared")
        if (prefix == "xml") != (namespace == XML_NAMESPACE):
            raise NamespaceError("Prefix xml or its namespace is declared otherwise")
        if prefix and not namespace:
            raise NamespaceError("A prefix is undeclared")
        if "}" in namespace:  # is in no URI, and would end it in Clark notation
            raise NamespaceError("Bad character in a namespace name")


def document_scope() -> Scope:
    """What is in scope around a root element."""
    return Scope({"": "", "xml": XML_NAMESPACE}, None)


def split_name(name: str) -> tuple[str, str]:
    """Prefix, "" without, and local part of a name of XML 1.0.

    :raises NamespaceError: it is no qualified name.
    """
    prefix, colon, local = name.partition(":")
    if not colon:
        return "", name
    if not prefix or ":" in local or not _START.match(local):
        raise NamespaceError("Not a qualified name")
    return prefix, local


def clark(namespace: str, local: str) -> str:
    """A name in Clark notation."""
    return f"{{{namespace}}}{local}" if namespace else local


def split_clark(name: str) -> tuple[str, str]:
    """Namespace, "" without, and local part of a name in Clark notation."""
    namespace, _, local = name.rpartition("}")
    return namespace[1:], local


def declarations(namespaces: Mapping[str, str]) -> str:
    """Namespace declarations for a start tag, with white space before each.

    :param namespaces: by prefix, "" for the default one.
    """
    return "".join(
        f' xmlns{":" if prefix else ""}{prefix}="{namespace.translate(_REFERENCES)}"'
        for prefix, namespace in namespaces.items()
    )
