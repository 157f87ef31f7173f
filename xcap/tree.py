"""XML as the data model of XPath sees it: text and namespace declarations are nodes, too.

lxml hangs text on elements and hides which namespace declarations an element itself has, and it
may choose other prefixes when an element moves.  Patches (RFC 5261) address and keep all of
these, so that they work on this tree.

Prefixes are resolved here and not by expat, which would write the namespace in full before
every attribute of a tag before anybody could object.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias
from xml.parsers import expat

import attrs

from xcap.namespaces import NamespaceError, check_declarations, split_clark, split_name
from xcap.namespaces import clark as clark

XML = "http://www.w3.org/XML/1998/namespace"
"""Namespace of the prefix ``xml``, which is always bound."""

XMLNS = "http://www.w3.org/2000/xmlns/"
"""Namespace of declarations; nothing may be bound to it."""

_START = (
    "A-Z_a-z\xc0-\xd6\xd8-\xf6\xf8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c-\u200d\u2070-\u218f"
    "\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
NCNAME = f"[{_START}][-.0-9\xb7\u0300-\u036f\u203f-\u2040{_START}]*"
"""Regular expression of a name without colon (Namespaces in XML 1.0)."""


split = split_clark


class TreeError(ValueError):
    """An XML document is not accepted.

    :ivar reason: ``syntax``, ``encoding``, ``entity`` (an undeclared one), ``doctype`` or
        ``limit``.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@attrs.frozen(slots=True)
class Bounds:
    """What a document may have at most.

    :ivar size: octets.
    :ivar depth: nested elements; also bounds the recursion of all that walks a tree.
    :ivar nodes: elements, attributes, declarations, comments, instructions and texts.
    :ivar namespaces: declarations around any place.
    :ivar declared: characters of these.
    :ivar name: characters of a namespace name.  All distinct names of attributes together may
        not be longer than ``size``, as each is kept in full.
    """

    size: int = 4 << 20
    depth: int = 128
    nodes: int = 500_000
    namespaces: int = 256
    declared: int = 16384
    name: int = 1024


BOUNDS = Bounds()


class Text:
    """Character data; never empty, and never beside another text."""

    __slots__ = ("data", "parent")

    def __init__(self, data: str) -> None:
        self.data = data
        self.parent: Parent | None = None


class Comment:
    """A comment."""

    __slots__ = ("data", "parent")

    def __init__(self, data: str) -> None:
        self.data = data
        self.parent: Parent | None = None


class Instruction:
    """A processing instruction."""

    __slots__ = ("data", "parent", "target")

    def __init__(self, target: str, data: str) -> None:
        self.target = target
        self.data = data
        self.parent: Parent | None = None


class Attribute:
    """An attribute.

    :ivar prefix: "" without.
    :ivar name: Clark notation.
    """

    __slots__ = ("name", "prefix", "value")

    def __init__(self, prefix: str, name: str, value: str) -> None:
        self.prefix = prefix
        self.name = name
        self.value = value


class Element:
    """An element.

    :ivar prefix: "" without.
    :ivar namespace: "" without.
    :ivar attributes: by name in Clark notation, in order.
    :ivar declarations: namespace declarations of its own start tag: URI by prefix, the prefix
        "" being the default namespace and the URI "" its undeclaration.
    """

    __slots__ = ("attributes", "children", "declarations", "local", "namespace", "parent", "prefix")

    def __init__(self, prefix: str, namespace: str, local: str) -> None:
        self.prefix = prefix
        self.namespace = namespace
        self.local = local
        self.attributes: dict[str, Attribute] = {}
        self.declarations: dict[str, str] = {}
        self.children: list[Node] = []
        self.parent: Parent | None = None

    @property
    def name(self) -> str:
        """Its name in Clark notation."""
        return clark(self.namespace, self.local)

    def elements(self) -> Iterator[Element]:
        """Its child elements."""
        return (child for child in self.children if isinstance(child, Element))

    def scope(self) -> dict[str, str]:
        """Namespaces in scope: URI by prefix, without ``xml`` and without what is undeclared."""
        chain: list[Element] = []
        at: Parent | None = self
        while isinstance(at, Element):
            chain.append(at)
            at = at.parent
        bound: dict[str, str] = {}
        for element in reversed(chain):
            bound.update(element.declarations)
        return {prefix: uri for prefix, uri in bound.items() if uri}


class Document:
    """The root node.

    :ivar children: comments, instructions and exactly one element.
    :ivar declared: has an XML declaration.
    :ivar standalone: what it says: -1 nothing, 0 no, 1 yes.
    :ivar ending: white space after the last node.
    """

    __slots__ = ("children", "declared", "ending", "standalone")

    def __init__(self) -> None:
        self.children: list[Node] = []
        self.declared = False
        self.standalone = -1
        self.ending = ""

    @property
    def root(self) -> Element:
        """The document element."""
        return next(child for child in self.children if isinstance(child, Element))

    def elements(self) -> Iterator[Element]:
        """Its only child element."""
        return (child for child in self.children if isinstance(child, Element))


Node: TypeAlias = Element | Text | Comment | Instruction
Parent: TypeAlias = Element | Document


class _Builder:
    """Takes the events of the parser."""

    def __init__(self, bounds: Bounds) -> None:
        self.document = Document()
        self._bounds = bounds
        self._at: Parent = self.document
        self._depth = 0
        self._nodes = 0
        # by prefix, what it is bound to in the elements that are open, the innermost last
        self._bound: dict[str, list[str]] = {"": [""], "xml": [XML]}
        self._open: list[int] = []  # characters of the declarations of open elements
        self._names: dict[tuple[str, str], str] = {}  # of attributes, each kept once
        self._kept = 0
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.ordered_attributes = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.CommentHandler = self._comment
        parser.ProcessingInstructionHandler = self._instruction
        self.parser = parser

    def _count(self, number: int = 1) -> None:
        self._nodes += number
        if self._nodes > self._bounds.nodes:
            raise TreeError("limit", "too many nodes")

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if version != "1.0":
            raise TreeError("syntax", "not XML 1.0")
        if encoding is not None and encoding.lower() not in ("utf-8", "us-ascii"):
            raise TreeError("encoding", "not in UTF-8")
        self.document.declared = True
        self.document.standalone = standalone

    def _doctype(self, *_: object) -> None:
        raise TreeError("doctype", "document type declarations are not accepted")

    def _append(self, node: Node) -> None:
        node.parent = self._at
        self._at.children.append(node)

    def _start(self, name: str, attributes: list[str]) -> None:
        self._count(1 + len(attributes) // 2)
        self._depth += 1
        if self._depth > self._bounds.depth:
            raise TreeError("limit", "elements are nested too deeply")
        declared: dict[str, str] = {}
        found: list[tuple[str, str, str]] = []
        for index in range(0, len(attributes), 2):
            raw, value = attributes[index], attributes[index + 1]
            prefix, local = split_name(raw) if ":" in raw else ("", raw)
            if prefix == "xmlns" or raw == "xmlns":
                declared[local if prefix else ""] = value
            else:
                found.append((prefix, local, value))
        if declared:
            self._declare(declared)
        prefix, local = split_name(name)
        element = Element(prefix, self._find(prefix), local)
        element.declarations = declared
        for prefix, local, value in found:
            key = self._name(self._find(prefix), local) if prefix else local
            if key in element.attributes:
                raise NamespaceError("Two attributes have the same expanded name")
            element.attributes[key] = Attribute(prefix, key, value)
        self._append(element)
        self._at = element

    def _declare(self, declared: dict[str, str]) -> None:
        """Take the declarations of an element into effect."""
        check_declarations(declared)
        bounds = self._bounds
        if max(map(len, declared.values())) > bounds.name:
            raise TreeError("limit", "too long a namespace name")
        self._open.extend(len(uri) + len(prefix) for prefix, uri in declared.items())
        if len(self._open) > bounds.namespaces or sum(self._open) > bounds.declared:
            raise TreeError("limit", "too many namespace declarations")
        for prefix, uri in declared.items():
            self._bound.setdefault(prefix, []).append(uri)

    def _find(self, prefix: str) -> str:
        bound = self._bound.get(prefix)
        if not bound:
            raise NamespaceError("Undeclared prefix")
        return bound[-1]

    def _name(self, namespace: str, local: str) -> str:
        """The name of an attribute in Clark notation."""
        known = self._names.get((namespace, local))
        if known is None:
            known = self._names[namespace, local] = clark(namespace, local)
            self._kept += len(known)
            if self._kept > self._bounds.size:
                raise TreeError("limit", "too long names")
        return known

    def _end(self, _: str) -> None:
        self._depth -= 1
        at = self._at
        if isinstance(at, Element) and at.parent is not None:
            if at.declarations:
                del self._open[len(self._open) - len(at.declarations) :]
                for prefix in at.declarations:
                    self._bound[prefix].pop()
            self._at = at.parent

    def _text(self, data: str) -> None:
        children = self._at.children
        last = children[-1] if children else None
        if isinstance(last, Text):  # the parser hands over long texts in parts
            last.data += data
        else:
            self._count()
            self._append(Text(data))

    def _comment(self, data: str) -> None:
        self._count()
        self._append(Comment(data))

    def _instruction(self, target: str, data: str) -> None:
        if ":" in target:
            raise NamespaceError("Colon in the target of a processing instruction")
        self._count()
        self._append(Instruction(target, data))


def parse(octets: bytes, bounds: Bounds = BOUNDS) -> Document:
    """Parse a document in UTF-8 without document type declaration; nothing is ever fetched.

    :raises TreeError: it is not accepted.
    """
    if len(octets) > bounds.size:
        raise TreeError("limit", "too large")
    builder = _Builder(bounds)
    try:
        octets.decode("utf-8")
        builder.parser.Parse(octets, True)
    except UnicodeDecodeError as error:
        raise TreeError("encoding", "not in UTF-8") from error
    except NamespaceError as error:
        raise TreeError("syntax", str(error)) from error
    except expat.ExpatError as error:
        reason = "entity" if error.code == _UNDEFINED_ENTITY else "syntax"
        raise TreeError(reason, f"{expat.ErrorString(error.code)}, line {error.lineno}") from error
    builder.document.ending = octets[len(octets.rstrip(b" \t\r\n")) :].decode()
    return builder.document


_UNDEFINED_ENTITY = expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]

_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_VALUE = str.maketrans(
    {"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


def escape_text(text: str) -> str:
    """Character data as it is written."""
    return text.translate(_TEXT)


def escape_value(value: str) -> str:
    """An attribute value as it is written between double quotes."""
    return value.translate(_VALUE)


def attribute_text(name: str, value: str) -> str:
    """An attribute as it is written, with the space before it."""
    return f' {name}="{escape_value(value)}"'


def declaration_text(prefix: str, uri: str) -> str:
    """A namespace declaration as it is written, with the space before it."""
    return attribute_text(f"xmlns:{prefix}" if prefix else "xmlns", uri)


def qualified(prefix: str, local: str) -> str:
    """A qualified name."""
    return f"{prefix}:{local}" if prefix else local


def write_node(node: Node, more: dict[str, str] | None = None) -> str:
    """A node as text.

    :param more: declarations to add to the start tag of an element that has none for the prefix.
    """
    parts: list[str] = []
    _write(node, parts, more or {})
    return "".join(parts)


def _write(node: Node, parts: list[str], more: dict[str, str]) -> None:
    if isinstance(node, Text):
        parts.append(escape_text(node.data))
    elif isinstance(node, Comment):
        parts.append(f"<!--{node.data}-->")
    elif isinstance(node, Instruction):
        parts.append(f"<?{node.target} {node.data}?>" if node.data else f"<?{node.target}?>")
    else:
        name = qualified(node.prefix, node.local)
        parts.append(f"<{name}")
        declarations = {**more, **node.declarations} if more else node.declarations
        parts.extend(declaration_text(prefix, uri) for prefix, uri in declarations.items())
        for attribute in node.attributes.values():
            local = split(attribute.name)[1]
            parts.append(attribute_text(qualified(attribute.prefix, local), attribute.value))
        if node.children:
            parts.append(">")
            for child in node.children:
                _write(child, parts, {})
            parts.append(f"</{name}>")
        else:
            parts.append("/>")


def write(document: Document) -> bytes:
    """A document as octets, with an XML declaration when it was parsed with one."""
    parts: list[str] = []
    if document.declared:
        standalone = {0: ' standalone="no"', 1: ' standalone="yes"'}.get(document.standalone, "")
        parts.append(f'<?xml version="1.0" encoding="UTF-8"{standalone}?>')
    parts.extend(write_node(child) for child in document.children)
    return ("\n".join(parts) + document.ending).encode()
