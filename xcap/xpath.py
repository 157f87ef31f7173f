"""The restricted XPath by which patches locate nodes (RFC 5261 section 4.1, XPATCH-02).

A parser and an evaluator of their own: selectors come from others, and XPath engines offer
far more than may be asked for here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Literal, TypeAlias

import attrs

from xcap.tree import (
    NCNAME,
    Comment,
    Document,
    Element,
    Instruction,
    Node,
    Parent,
    Text,
    clark,
)

XML_ID = "{http://www.w3.org/XML/1998/namespace}id"

_LONGEST = 65536  # characters of a selector
_DIGITS = 9  # a position with more cannot exist


class SelectorError(ValueError):
    """A selector cannot be understood.

    :ivar reason: ``syntax``, or ``prefix`` for one that is not declared.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Exhausted(Exception):
    """Evaluating costs more than may be spent."""


class Budget:
    """How many nodes may be looked at; bounds the time that somebody else's patch takes."""

    __slots__ = ("_left",)

    def __init__(self, nodes: int) -> None:
        self._left = nodes

    def spend(self, nodes: int = 1) -> None:
        """Take from what is left.

        :raises Exhausted: nothing is left.
        """
        self._left -= nodes
        if self._left < 0:
            raise Exhausted


@attrs.frozen(slots=True)
class Predicate:
    """A condition of a step.

    :ivar kind: what is compared: an ``attribute``, the string value of a ``child`` or of the
        element itself (``self``), or its ``position``.
    :ivar name: of the attribute or child, Clark notation.
    :ivar position: from 1 on.
    """

    kind: Literal["attribute", "child", "self", "position"]
    name: str = ""
    value: str = ""
    position: int = 0


@attrs.frozen(slots=True)
class Step:
    """A step of a selector.

    :ivar name: Clark name of an element or attribute, target of an instruction, prefix of a
        namespace; None for any.
    """

    kind: Literal["element", "text", "comment", "instruction", "attribute", "namespace"]
    name: str | None = None
    predicates: tuple[Predicate, ...] = ()


@attrs.frozen(slots=True)
class Selector:
    """A parsed selector.

    :ivar identifier: argument of ``id()``, None when it starts at the root.
    """

    identifier: str | None
    steps: tuple[Step, ...]


@attrs.frozen(slots=True)
class AttributeNode:
    """A located attribute: the one called ``name`` (Clark notation) of ``element``."""

    element: Element
    name: str


@attrs.frozen(slots=True)
class NamespaceNode:
    """A located namespace: what ``prefix`` is bound to at ``element``, perhaps by an ancestor."""

    element: Element
    prefix: str


Located: TypeAlias = Node | AttributeNode | NamespaceNode

_QNAME = re.compile(f"(?:({NCNAME}):)?({NCNAME})")
_SPACE = re.compile(r"[ \t\r\n]*")
_TYPE = re.compile(f"@(?:({NCNAME}):)?({NCNAME})|namespace::({NCNAME})")
_NODE_TEST = re.compile(r"(text|comment|processing-instruction)[ \t\r\n]*\(")
_NAMESPACE = re.compile(f"namespace[ \t\r\n]*::[ \t\r\n]*({NCNAME})")
_ID = re.compile(r"id[ \t\r\n]*\(")
_LITERAL = re.compile("'([^']*)'|\"([^\"]*)\"")
_NUMBER = re.compile("[0-9]+")
_NAME = re.compile(NCNAME)


def expand(prefix: str | None, local: str, bindings: Mapping[str, str], default: str = "") -> str:
    """A qualified name in Clark notation.

    :param default: namespace of a name without prefix.
    :raises SelectorError: the prefix is not declared.
    """
    if not prefix:
        return clark(default, local)
    if prefix == "xml":
        return clark("http://www.w3.org/XML/1998/namespace", local)
    if prefix not in bindings:
        raise SelectorError("prefix", f"the prefix {prefix} is not declared")
    return clark(bindings[prefix], local)


class _Parser:
    """Reads one selector."""

    def __init__(self, text: str, bindings: Mapping[str, str]) -> None:
        self._text = text
        self._at = 0
        self._bindings = bindings
        self._space()

    def selector(self) -> Selector:
        self._sign("/")
        identifier: str | None = None
        if self._match(_ID):
            identifier = self._literal()
            if not _NAME.fullmatch(identifier):
                raise self._error("an identifier is a name")
            self._expect(")")
            if self._ended():
                return Selector(identifier, ())
            self._expect("/")
        steps = [self._step()]
        while self._sign("/"):
            if steps[-1].kind != "element":
                raise self._error("only elements have a next step")
            steps.append(self._step())
        if not self._ended():
            raise self._error("unexpected character")
        return Selector(identifier, tuple(steps))

    def _step(self) -> Step:
        if self._sign("@"):
            return Step("attribute", self._qname(""))
        if found := self._match(_NAMESPACE):
            return Step("namespace", found.group(1))
        if found := self._match(_NODE_TEST):
            return self._node_test(found.group(1))
        name = None if self._sign("*") else self._qname(self._bindings.get("", ""))
        predicates = []
        while self._sign("["):
            predicates.append(self._predicate())
            self._expect("]")
        return Step("element", name, tuple(predicates))

    def _node_test(self, test: str) -> Step:
        name = None
        if test == "processing-instruction" and self._peek() in "'\"":
            name = self._literal()
        self._expect(")")
        predicates: tuple[Predicate, ...] = ()
        if self._sign("["):
            predicates = (self._position(),)
            self._expect("]")
        if test == "processing-instruction":
            return Step("instruction", name, predicates)
        return Step("text" if test == "text" else "comment", None, predicates)

    def _predicate(self) -> Predicate:
        if self._peek().isascii() and self._peek().isdigit():
            return self._position()
        if self._sign("."):
            return Predicate("self", value=self._compared())
        if self._sign("@"):
            name = self._qname("")
            return Predicate("attribute", name, self._compared())
        name = self._qname(self._bindings.get("", ""))
        return Predicate("child", name, self._compared())

    def _position(self) -> Predicate:
        number = self._match(_NUMBER)
        if number is None:
            raise self._error("a position is needed")
        digits = number.group().lstrip("0")
        if not digits or len(digits) > _DIGITS:
            digits = "0"  # no node has such a position
        return Predicate("position", position=int(digits))

    def _compared(self) -> str:
        self._expect("=")
        return self._literal()

    def _literal(self) -> str:
        found = self._match(_LITERAL)
        if found is None:
            raise self._error("a quoted value is needed")
        return found.group(1) if found.group(1) is not None else found.group(2)

    def _qname(self, default: str) -> str:
        found = self._match(_QNAME)
        if found is None:
            raise self._error("a name is needed")
        return expand(found.group(1), found.group(2), self._bindings, default)

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
            self._space()
        return found

    def _space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        if found is not None:
            self._at = found.end()

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1] or "\0"

    def _ended(self) -> bool:
        return self._at >= len(self._text)

    def _sign(self, sign: str) -> bool:
        if self._peek() != sign:
            return False
        self._at += 1
        self._space()
        return True

    def _expect(self, sign: str) -> None:
        if not self._sign(sign):
            raise self._error(f"{sign} is needed")

    def _error(self, text: str) -> SelectorError:
        return SelectorError("syntax", f"{text} at character {self._at + 1}")


def parse_selector(text: str, bindings: Mapping[str, str]) -> Selector:
    """Parse the value of ``sel`` (XPATCH-02, XPATCH-03).

    :param bindings: namespaces in scope in the diff document: URI by prefix.  Element names
        without prefix are in the namespace of the prefix ""; attributes are in none.
    :raises SelectorError: it is none, or a prefix is not declared.
    """
    if len(text) > _LONGEST:
        raise SelectorError("syntax", "too long")
    return _Parser(text, bindings).selector()


def parse_type(text: str, bindings: Mapping[str, str]) -> tuple[str, str, str]:
    """Parse the value of ``type``.

    :returns: ("attribute", prefix, Clark name) or ("namespace", prefix, "").
    :raises SelectorError: it is none, or a prefix is not declared.
    """
    found = _TYPE.fullmatch(text)
    if found is None:
        raise SelectorError("syntax", "neither an attribute nor a namespace")
    if found.group(3) is not None:
        return "namespace", found.group(3), ""
    prefix, local = found.group(1), found.group(2)
    return "attribute", prefix or "", expand(prefix, local, bindings)


def text_of(node: Element | Document, budget: Budget) -> str:
    """The string value of an element: all text in it.

    :raises Exhausted: see :class:`Budget`.
    """
    parts: list[str] = []
    stack: list[Node] = list(reversed(node.children))
    while stack:
        at = stack.pop()
        budget.spend()
        if isinstance(at, Text):
            budget.spend(len(at.data) >> 6)
            parts.append(at.data)
        elif isinstance(at, Element):
            stack.extend(reversed(at.children))
    return "".join(parts)


def locate(
    document: Document, selector: Selector, identifiers: Collection[str], budget: Budget
) -> list[Located]:
    """All nodes that a selector finds, in document order.

    :param identifiers: attributes of type ID, Clark notation.
    :raises Exhausted: see :class:`Budget`.
    """
    contexts: list[Parent] = [document]
    found: list[Located] = []
    if selector.identifier is not None:
        found.extend(
            element
            for element in every_element(document, budget)
            if any(
                attribute.value == selector.identifier
                for name, attribute in element.attributes.items()
                if name in identifiers
            )
        )
        contexts = [node for node in found if isinstance(node, Element)]
    for step in selector.steps:
        found = [node for context in contexts for node in _select(context, step, budget)]
        contexts = [node for node in found if isinstance(node, Element)]
    return found


def every_element(document: Document, budget: Budget) -> list[Element]:
    """All elements in document order.

    :raises Exhausted: see :class:`Budget`.
    """
    found: list[Element] = []
    stack: list[Element] = [document.root]
    while stack:
        element = stack.pop()
        budget.spend()
        found.append(element)
        stack.extend(reversed(list(element.elements())))
    return found


def _select(context: Parent, step: Step, budget: Budget) -> list[Located]:
    """What a step finds from one context node."""
    budget.spend()
    if step.kind == "attribute":
        known = isinstance(context, Element) and step.name in context.attributes
        return [AttributeNode(context, step.name or "")] if known else []  # type: ignore[arg-type]
    if step.kind == "namespace":
        scope = context.scope() if isinstance(context, Element) else {}
        budget.spend(len(scope))
        if isinstance(context, Element) and step.name in scope:
            return [NamespaceNode(context, step.name)]
        return []
    budget.spend(len(context.children))
    nodes = list(filter(_test(step), context.children))
    for predicate in step.predicates:
        budget.spend(len(nodes))
        if predicate.kind == "position":
            nodes = nodes[predicate.position - 1 : predicate.position] if predicate.position else []
        else:
            nodes = [
                node
                for node in nodes
                if isinstance(node, Element) and _holds(node, predicate, budget)
            ]
    return list(nodes)


def _test(step: Step) -> Callable[[Node], bool]:
    """The node test of a step."""
    name = step.name
    if step.kind == "element":
        if name is None:
            return lambda node: isinstance(node, Element)
        return lambda node: isinstance(node, Element) and node.name == name
    if step.kind == "instruction":
        return lambda node: isinstance(node, Instruction) and name in (None, node.target)
    kind = Text if step.kind == "text" else Comment
    return lambda node: isinstance(node, kind)


def _holds(element: Element, predicate: Predicate, budget: Budget) -> bool:
    """Whether a comparison is true of an element."""
    if predicate.kind == "attribute":
        attribute = element.attributes.get(predicate.name)
        return attribute is not None and attribute.value == predicate.value
    if predicate.kind == "self":
        return text_of(element, budget) == predicate.value
    budget.spend(len(element.children))
    return any(
        child.name == predicate.name and text_of(child, budget) == predicate.value
        for child in element.elements()
    )
