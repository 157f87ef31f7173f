"""XML documents as octets with a light tree over them (xcap.md sections 10 and 12).

XCAP edits octets, not trees: what is not touched has to stay as it was sent (XCAP-99).  So
a document is its octets, and an element knows where its tags are in them.  expat checks the
syntax and tells offsets; nothing is ever fetched and there are no document type
declarations, so no entities either (XCAP-160 to XCAP-163).

An element has no link to its parent: a tree without cycles is freed at once, not by the
garbage collector.
"""

from __future__ import annotations

from typing import NoReturn, TypeAlias
from xml.parsers import expat

import attrs

from xcap.element import Element
from xcap.errors import Conflict, XcapError
from xcap.namespaces import NamespaceError, Scope, clark, document_scope, split_name


@attrs.frozen(slots=True)
class Limits:
    """What a document may have (XCAP-162).

    :ivar size: octets.
    :ivar depth: levels of elements, the root element being the first.
    :ivar elements: elements in all.
    :ivar attributes: attributes and namespace declarations of one element.
    :ivar name: characters of a local name, a prefix or a namespace name.  All distinct
        expanded names together may not be longer than ``size``, as each is kept in full.
    :ivar value: characters of an attribute value.
    """

    size: int = 1 << 20
    depth: int = 64
    elements: int = 100_000
    attributes: int = 256
    name: int = 1024
    value: int = 1 << 16


DEFAULT_LIMITS = Limits()

ALL_LEVELS = 1 << 30
"""Of elements: more than there can be."""

_Found: TypeAlias = "tuple[Element, Limits, int, int, int]"
"""What a document has beside its octets."""


@attrs.frozen(slots=True, eq=False)
class XmlDocument:
    """A well-formed document.

    :ivar octets: UTF-8, as sent.
    :ivar node: the document node, where selection starts: its only child is the root element,
        and it has no name and no place (XCAP-20).
    :ivar limits: it was checked by.
    :ivar elements: how many there are; may be too high.
    :ivar names: characters of all distinct expanded names; may be too high.
    :ivar levels: of elements that the tree has at least, where the document has so many.
    """

    octets: bytes
    node: Element
    limits: Limits
    elements: int
    names: int
    levels: int

    @property
    def root(self) -> Element:
        """The root element."""
        return self.node.children[0]


def parse_document(
    octets: bytes, limits: Limits = DEFAULT_LIMITS, levels: int = ALL_LEVELS
) -> XmlDocument:
    """Check the syntax of a document and find its elements.

    :param levels: of elements that are wanted, the root element being the first; what is
        further down is checked only.
    :raises Conflict: ``not-well-formed``, also for namespaces, XML other than 1.0 and
        entities that are not predefined (XCAP-82, XCAP-149, XCAP-163); ``not-utf-8``
        (XCAP-82); ``constraint-failure`` for a document type declaration or beyond a limit
        (XCAP-161, XCAP-162).
    :raises XcapError: 413, it has more octets than allowed.
    """
    return XmlDocument(octets, *_document(octets, limits, levels))


def check_document(octets: bytes, limits: Limits = DEFAULT_LIMITS) -> None:
    """Check a document as :func:`parse_document` does, in half the time and no memory.

    :raises Conflict: as there.
    :raises XcapError: as there.
    """
    _document(octets, limits, 0)


def _document(octets: bytes, limits: Limits, levels: int) -> _Found:
    """The document node, and what was counted."""
    check_size(octets, limits)
    _check_encoding(octets)
    try:
        return _read(octets, document_scope(), limits, levels)
    except (expat.ExpatError, NamespaceError) as error:
        raise Conflict("not-well-formed", _reason(error)) from None


def parse_fragment(octets: bytes, scope: Scope, limits: Limits = DEFAULT_LIMITS) -> Element:
    """Check the syntax of an element without document (XCAP-83 to XCAP-85).

    :param octets: UTF-8, without white space around the element.
    :param scope: namespaces where it will be.
    :returns: the element; its offsets are not those in ``octets``.
    :raises Conflict: ``not-xml-frag``, also for a document type declaration or entities;
        ``constraint-failure`` beyond a limit.
    """
    # an end tag in the body that ends the wrapper leaves the wrapper's own one too many
    wrapped = b"<w>%b</w>" % octets
    try:
        # the scope of the document is not the place to note the names of a fragment
        node, *_ = _read(wrapped, scope.declare({}), limits, ALL_LEVELS, 1)
    except (expat.ExpatError, NamespaceError) as error:
        raise Conflict("not-xml-frag", _reason(error)) from None
    children = node.children[0].children
    if len(children) != 1 or children[0].source != octets:
        raise Conflict("not-xml-frag", "Body is not exactly one element")
    return children[0]


def is_attribute_value(literal: bytes) -> bool:
    """Whether octets are an AttValue of XML 1.0 with its quotes (XCAP-86)."""
    quote = literal[:1]
    if len(literal) < 2 or quote not in (b'"', b"'") or literal.find(quote, 1) != len(literal) - 1:
        return False
    try:
        expat.ParserCreate("utf-8").Parse(b"<a a=%b/>" % literal, True)
    except expat.ExpatError:
        return False
    return True


def check_utf8(octets: bytes) -> None:
    """Refuse what is not UTF-8.

    :raises Conflict: ``not-utf-8``.
    """
    if not octets.isascii():
        try:
            octets.decode()
        except UnicodeDecodeError:
            raise Conflict("not-utf-8", "Octets are not UTF-8") from None


def check_size(octets: bytes, limits: Limits) -> None:
    """Refuse too many octets.

    :raises XcapError: 413.
    """
    if len(octets) > limits.size:
        raise XcapError(413, f"More than {limits.size} octets")


def _check_encoding(octets: bytes) -> None:
    check_utf8(octets)
    if b"\0" in octets[:2]:
        raise Conflict("not-utf-8", "UTF-16 or UTF-32 is not UTF-8")


def _refuse_dtd(*_: object) -> NoReturn:
    raise Conflict("constraint-failure", "DTD not allowed")


def _beyond(what: str, limit: int) -> NoReturn:
    raise Conflict("constraint-failure", f"Limit exceeded: {what}, {limit} allowed")


def _reason(error: expat.ExpatError | NamespaceError) -> str:
    if isinstance(error, NamespaceError):
        return str(error)
    return f"{expat.ErrorString(error.code).capitalize()} in line {error.lineno}"


def _read(octets: bytes, scope: Scope, limits: Limits, levels: int, wrappers: int = 0) -> _Found:
    """Run expat over octets; the document node.

    :param scope: around the root element.
    :param levels: of elements that are wanted.
    :param wrappers: levels of elements that do not count.
    :raises expat.ExpatError: not well-formed.
    :raises NamespaceError: not namespace-well-formed.
    """
    parser = expat.ParserCreate("utf-8")
    depth = limits.depth + 1 + wrappers
    built = levels + 1
    elements = limits.elements + wrappers
    count = 0
    kept = 0
    long_values = len(octets) > limits.value
    distinct: dict[str, str] = {}  # names, each kept once
    plain: set[str] = set()  # names of attributes that need no look
    node = Element("", "", {}, 0, scope, octets)
    stack = [node]
    push, pop = stack.append, stack.pop
    scopes = [scope]
    enter, leave = scopes.append, scopes.pop

    def keep(scope: Scope, prefix: str, local: str) -> str:
        nonlocal kept
        name = clark(scope.find(prefix), local)
        known = distinct.get(name)
        if known is None:
            kept += len(name)
            if kept > limits.size:
                _beyond("characters in all names", limits.size)
            distinct[name] = known = name
        return known

    def resolve(scope: Scope, raw: str) -> tuple[str, str]:
        if len(raw) > limits.name:
            _beyond("characters in a name", limits.name)
        prefix, local = split_name(raw)
        found = scope.names[raw] = keep(scope, prefix, local), prefix
        return found

    def take(scope: Scope, attributes: dict[str, str]) -> tuple[Scope, dict[str, str]]:
        found: dict[str, str] = {}
        declared: dict[str, str] = {}
        prefixed: list[tuple[str, str, str]] = []
        for raw, value in attributes.items():
            if len(raw) > limits.name:
                _beyond("characters in a name", limits.name)
            prefix, local = split_name(raw)
            if prefix == "xmlns" or raw == "xmlns":
                if len(value) > limits.name:
                    _beyond("characters in a namespace name", limits.name)
                declared[local if prefix else ""] = value
            elif prefix:
                prefixed.append((prefix, local, value))
            else:
                plain.add(raw)
                found[raw] = value
        if declared:
            scope = scope.declare(declared)
        for prefix, local, value in prefixed:
            name = keep(scope, prefix, local)
            if name in found:
                raise NamespaceError("Two attributes have the same expanded name")
            found[name] = value
        return scope, found

    def start(raw: str, attributes: dict[str, str]) -> None:
        nonlocal count
        scope = scopes[-1]
        if attributes:
            if len(attributes) > limits.attributes:
                _beyond("attributes of an element", limits.attributes)
            if long_values and max(map(len, attributes.values())) > limits.value:
                _beyond("characters in an attribute value", limits.value)
            for key in attributes:
                if key not in plain:
                    scope, attributes = take(scope, attributes)
                    break
        name, prefix = scope.names.get(raw) or resolve(scope, raw)
        enter(scope)
        count += 1
        if count > elements:
            _beyond("elements", limits.elements)
        if len(scopes) > depth:
            _beyond("levels of elements", limits.depth)
        if len(scopes) <= built:
            element = Element(name, prefix, attributes, parser.CurrentByteIndex, scope, octets)
            stack[-1].children.append(element)
            push(element)

    def end(_: str) -> None:
        if len(scopes) <= built:
            pop().end_tag = parser.CurrentByteIndex
        leave()

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.XmlDeclHandler = _check_declaration
    parser.ProcessingInstructionHandler = _check_instruction
    parser.StartDoctypeDeclHandler = _refuse_dtd
    try:
        parser.Parse(octets, True)  # an exception of a handler stops it at once
    finally:
        # these and the parser would keep each other alive
        parser.StartElementHandler = None
        parser.EndElementHandler = None
    return node, limits, count, kept, levels


def _check_declaration(version: str, encoding: str | None, _: int) -> None:
    if encoding is not None and encoding.lower() != "utf-8":
        raise Conflict("not-utf-8", "Encoding declaration is not that of UTF-8")
    if version != "1.0":
        raise Conflict("not-well-formed", "Not XML 1.0")


def _check_instruction(target: str, _: str) -> None:
    if ":" in target:
        raise NamespaceError("Colon in the target of a processing instruction")
