"""The expressions that select elements and attributes (RFC 4661 section 5, FLT-07).

A subset of XPath 1.0 with a parser of its own, since expressions come from others and XPath
engines offer far more than may be asked for here. The grammar is that of FLT-07: where the
RFC's ABNF and its examples differ, the examples win, so ``//@status`` stands as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal

import attrs

from presence.filters.errors import FilterError
from presence.pidf.names import XML
from xcap.tree import NCNAME

__all__ = ["ANY", "Comparison", "Path", "Step", "parse_expression", "write_expression"]

Operator = Literal["=", "<", ">"]

ANY: Final = "*"
"""What stands for every namespace, where names without prefix match all of them (FLT-08)."""

_WHITE: Final = " \t\r\n"
_SPACE: Final = re.compile(f"[{_WHITE}]*")
_QNAME: Final = re.compile(f"(?:({NCNAME}):)?({NCNAME})")
_LITERAL: Final = re.compile("\"([^\"]*)\"|'([^']*)'")
_NUMBER: Final = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_CACHED: Final = 1024  # characters of an expression that is kept, and its bindings
# bounds of a number, such that writing it keeps to them
_DIGITS: Final = 40
_HUGE: Final = 1e39


@attrs.frozen(slots=True)
class Comparison:
    """A condition about a node.

    Its operand is what ``path`` and ``attribute`` lead to; the node itself (``.``) when both
    are empty, or its parent (``..``).

    :ivar operator: how the operand compares with the value; true for one of several suffices.
    :ivar value: text, or a number.
    :ivar path: names of elements, each a child of the one before.
    :ivar attribute: name of an attribute of the last of them, or "".
    :ivar parent: whether the operand is the parent.
    """

    operator: Operator
    value: str | float
    path: tuple[str, ...] = ()
    attribute: str = ""
    parent: bool = False


Conditions = tuple[tuple[Comparison, ...], ...]
"""One of them holds if all of its comparisons do; () always holds."""


@attrs.frozen(slots=True)
class Step:
    """A step to elements.

    :ivar name: as lxml takes it: ``{urn}local``, ``local`` for no namespace, ``{*}local`` for
        any, ``*`` for every element.
    :ivar deep: whether it leads to all descendants, not to children only.
    """

    name: str
    deep: bool = False
    conditions: Conditions = ()


@attrs.frozen(slots=True, cache_hash=True)
class Path:
    """A parsed expression; equal to those that say the same with other prefixes.

    :ivar steps: from the document down; empty in ``//@name`` only.
    :ivar attribute: name of the attribute that is selected, "" when elements are.
    :ivar deep: whether it is one of the elements found or of their descendants.
    :ivar conditions: about the attribute.
    """

    steps: tuple[Step, ...]
    attribute: str = ""
    deep: bool = False
    conditions: Conditions = ()


def parse_expression(
    text: str, bindings: Mapping[str, str], *, lenient: bool = False, conditions: bool = True
) -> Path:
    """Parse an expression.

    :param bindings: namespaces by prefix (FLT-08); :data:`ANY` for every one.
    :param lenient: elements without a prefix match in any namespace, not in none only.
    :param conditions: whether there may be some; a trigger has none.
    :raises FilterError: it is none of the grammar, or has an unknown prefix.
    """
    text = text.strip(_WHITE)
    size = len(text) + sum(len(prefix) + len(uri) for prefix, uri in bindings.items())
    if size <= _CACHED:
        path = _parse(text, tuple(bindings.items()), lenient)
    else:
        path = _Parser(text, bindings, lenient).parse()
    if not conditions and (path.conditions or any(step.conditions for step in path.steps)):
        raise FilterError("condition in a trigger")
    return path


@lru_cache(maxsize=512)
def _parse(text: str, bindings: tuple[tuple[str, str], ...], lenient: bool) -> Path:
    """Clients send the same few expressions again and again."""
    return _Parser(text, dict(bindings), lenient).parse()


class _Parser:
    """Recursive descent without recursion: conditions do not nest."""

    def __init__(self, text: str, bindings: Mapping[str, str], lenient: bool) -> None:
        self._text = text
        self._at = 0
        self._bindings = bindings
        self._lenient = lenient

    def parse(self) -> Path:
        """The whole text as one path."""
        steps: list[Step] = []
        while True:
            deep = self._take("//")
            if not deep and not self._take("/"):
                break
            if (steps or deep) and self._take("@"):
                attribute = self._name(element=False)
                path = Path(tuple(steps), attribute, deep, self._conditions())
                self._end()
                return path
            steps.append(Step(self._step(), deep, self._conditions()))
        self._end()
        if not steps:
            raise FilterError("erroneous expression")
        return Path(tuple(steps))

    def _conditions(self) -> Conditions:
        """What stands in square brackets, if anything does; ``and`` binds more tightly."""
        if not self._take("["):
            return ()
        either: list[tuple[Comparison, ...]] = []
        both = [self._comparison()]
        while not self._take("]"):
            word = self._match(_QNAME)
            if word is None or word[0] not in ("and", "or"):
                raise FilterError("erroneous expression")
            if word[0] == "or":
                either.append(tuple(both))
                both = []
            both.append(self._comparison())
        either.append(tuple(both))
        return tuple(either)

    def _comparison(self) -> Comparison:
        path: list[str] = []
        attribute = ""
        parent = self._take("..")
        if not parent and not self._take("."):
            while True:
                if self._take("@"):
                    attribute = self._name(element=False)
                    break
                path.append(self._step())
                if not self._take("/"):
                    break
        operator = self._operator()
        return Comparison(operator, self._value(), tuple(path), attribute, parent)

    def _operator(self) -> Operator:
        operators: tuple[Operator, ...] = ("=", "<", ">")
        for operator in operators:
            if self._take(operator):
                return operator
        raise FilterError("erroneous expression")

    def _value(self) -> str | float:
        quoted = self._match(_LITERAL)
        if quoted is not None:
            return quoted[1] if quoted[1] is not None else quoted[2]
        number = self._match(_NUMBER)
        if number is None or len(number[0].lstrip("-0")) > _DIGITS:
            raise FilterError("erroneous expression")
        value = float(number[0])
        if abs(value) >= _HUGE:
            raise FilterError("erroneous expression")
        return value

    def _step(self) -> str:
        return "*" if self._take("*") else self._name(element=True)

    def _name(self, *, element: bool) -> str:
        """A qualified name, expanded."""
        found = self._match(_QNAME)
        if found is None:
            raise FilterError("erroneous expression")
        prefix, local = found[1], found[2]
        if prefix is None:
            return f"{{{ANY}}}{local}" if element and self._lenient else local
        namespace = XML if prefix == "xml" else self._bindings.get(prefix)
        if namespace is None:
            raise FilterError("prefix without ns-binding")
        return f"{{{namespace}}}{local}"

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self._skip()
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _take(self, token: str) -> bool:
        self._skip()
        if not self._text.startswith(token, self._at):
            return False
        self._at += len(token)
        return True

    def _skip(self) -> None:
        """White space between tokens, line breaks of folded text among it."""
        space = _SPACE.match(self._text, self._at)
        if space is not None:
            self._at = space.end()

    def _end(self) -> None:
        self._skip()
        if self._at < len(self._text):
            raise FilterError("erroneous expression")


def write_expression(path: Path, prefix: Callable[[str], str]) -> str:
    """The text of an expression; parsing it gives the same again.

    :param prefix: the prefix for a namespace, or for :data:`ANY`; "" for none.
    """

    def name(clark: str) -> str:
        namespace, brace, local = clark[1:].rpartition("}") if clark[0] == "{" else ("", "", clark)
        if not brace:
            return local
        short = "xml" if namespace == XML else prefix(namespace)
        return f"{short}:{local}" if short else local

    def condition(each: Comparison) -> str:
        parts = [name(step) for step in each.path]
        if each.attribute:
            parts.append(f"@{name(each.attribute)}")
        operand = "/".join(parts) or (".." if each.parent else ".")
        if isinstance(each.value, str):
            value = f"'{each.value}'" if '"' in each.value else f'"{each.value}"'
        else:
            value = format(Decimal(repr(each.value)), "f").removesuffix(".0")
        return f"{operand}{each.operator}{value}"

    def bracket(conditions: Conditions) -> str:
        if not conditions:
            return ""
        return f"[{' or '.join(' and '.join(map(condition, all_)) for all_ in conditions)}]"

    text = "".join(
        f"{'//' if step.deep else '/'}{name(step.name)}{bracket(step.conditions)}"
        for step in path.steps
    )
    if path.attribute:
        text += f"{'//' if path.deep else '/'}@{name(path.attribute)}{bracket(path.conditions)}"
    return text
