"""Filter documents, read into changes of filters (RFC 4661, FLT-01 to FLT-08, FLT-22, FLT-27)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from lxml import etree

from presence.filters.errors import FilterError
from presence.filters.expression import Path, parse_expression
from presence.filters.model import (
    MAX_EXPRESSIONS,
    MAX_FILTERS,
    Changes,
    Condition,
    Filter,
    Namespace,
    Selection,
    Trigger,
    What,
)
from presence.filters.target import canonical
from presence.pidf.parse import DocumentError, parse_compact
from presence.pidf.tree import line
from xcap.schemas import load

MEDIA_TYPE: Final = "application/simple-filter+xml"
"""Of filter documents (FLT-01)."""

NAMESPACE: Final = "urn:ietf:params:xml:ns:simple-filter"

LIMIT: Final = 131072
"""Octets of a filter document."""

LONGEST: Final = 1024
"""Octets of an expression (FLT-27)."""

MAX_BINDINGS: Final = 64

SCHEMA: Final = "simple-filter.xsd"

_MAX_PARTS: Final = 1024  # elements and attributes; telling of errors takes time in their square
_MAX_TEXT: Final = 1024  # characters of an id, a URI or a value
_MAX_DECIMAL: Final = 64
_WHITE: Final = " \t\r\n"
_DECLARATION: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?<\?xml\s+version\s*=\s*[\"']1\.0[\"']"
    rb"(?:\s+encoding\s*=\s*[\"'](?:utf-?8|us-ascii)[\"'])?(?:\s+standalone[^>]{0,20})?\s*\?>",
    re.IGNORECASE,
)
_DECLARED: Final = (b"<?xml", b"\xef\xbb\xbf<?xml")
_NOT_URI: Final = re.compile(r"[\s{}]|^\*?$")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")

_SET: Final = f"{{{NAMESPACE}}}filter-set"
_BINDINGS: Final = f"{{{NAMESPACE}}}ns-bindings"
_BINDING: Final = f"{{{NAMESPACE}}}ns-binding"
_FILTER: Final = f"{{{NAMESPACE}}}filter"
_WHAT: Final = f"{{{NAMESPACE}}}what"
_INCLUDE: Final = f"{{{NAMESPACE}}}include"
_EXCLUDE: Final = f"{{{NAMESPACE}}}exclude"
_TRIGGER: Final = f"{{{NAMESPACE}}}trigger"
_CHANGED: Final = f"{{{NAMESPACE}}}changed"
_ADDED: Final = f"{{{NAMESPACE}}}added"
_REMOVED: Final = f"{{{NAMESPACE}}}removed"


def read_filters(
    body: bytes, event: str, *, lenient: bool = True, ignore_erroneous: bool = False
) -> Changes:
    """Read a filter document.

    :param event: event package of the subscription, such as ``presence.winfo`` (FLT-02).
    :param lenient: in a document without any ``ns-binding``, elements without a prefix match
        in every namespace (FLT-08).
    :param ignore_erroneous: leave out filters with an erroneous expression, in place of
        refusing them all (FLT-26).
    :raises FilterError: 488 for whatever is not in order (FLT-26).
    """
    root = _parse(body)
    package = root.get("package")
    if package is not None and package.strip(_WHITE).lower() != event.lower():
        raise FilterError("filter for another package", line(root))
    reader = _Reader(_bindings(root), lenient, ignore_erroneous)
    elements = list(root.iterchildren(_FILTER))
    if len(elements) > MAX_FILTERS:
        raise FilterError(f"more than {MAX_FILTERS} filters")
    for element in elements:
        reader.read(element)
    return Changes(tuple(reader.filters), frozenset(reader.removed))


def _parse(body: bytes) -> etree._Element:
    """The root of a document that is well-formed and schema-valid, within limits (FLT-01)."""
    if len(body) > LIMIT or body.count(b"<") > 2 * _MAX_PARTS:
        raise FilterError("filter document too large")
    if b"\0" in body or (body.startswith(_DECLARED) and not _DECLARATION.match(body)):
        raise FilterError("filter document not XML 1.0 in UTF-8")
    try:
        root = parse_compact(body)
    except DocumentError as error:
        raise FilterError(error.reason) from None
    if root.tag != _SET:
        raise FilterError("not a filter document", line(root))
    if sum(1 + len(each.attrib) for each in root.iter()) > _MAX_PARTS:
        raise FilterError("filter document too large")
    schema = load(SCHEMA)
    if not schema.validate(root):
        log: Any = schema.error_log
        raise FilterError("filter document not valid by its schema", log[0].line)
    return root


def _bindings(root: etree._Element) -> dict[str, str]:
    """Namespaces by prefix (FLT-08)."""
    found: dict[str, str] = {}
    for element in root.iterfind(f"{_BINDINGS}/{_BINDING}"):
        prefix = element.get("prefix", "").strip(_WHITE)
        urn = element.get("urn", "").strip(_WHITE)
        if not prefix or _NOT_URI.search(urn) or len(prefix) + len(urn) > _MAX_TEXT:
            raise FilterError("not a binding of a prefix to a namespace", line(element))
        if found.setdefault(prefix, urn) != urn:
            raise FilterError("prefix bound twice", line(element))
        if len(found) > MAX_BINDINGS:
            raise FilterError(f"more than {MAX_BINDINGS} bindings", line(element))
    return found


class _Reader:
    """Reads the filters of a document one after the other.

    :ivar filters: those to be placed.
    :ivar removed: ids of those to be removed.
    """

    def __init__(self, bindings: Mapping[str, str], lenient: bool, ignore: bool) -> None:
        self.filters: list[Filter] = []
        self.removed: set[str] = set()
        self._ids: set[str] = set()
        self._targets: set[str] = set()
        self._bindings = bindings
        self._lenient = lenient and not bindings
        self._ignore = ignore
        self._expressions = 0

    def read(self, element: etree._Element) -> None:
        """Take in a ``<filter>``.

        :raises FilterError: it is not in order.
        """
        id = self._text(element, "id")
        uri = self._text(element, "uri")
        domain = self._text(element, "domain").lower()
        if not id or id in self._ids:
            raise FilterError("filter without an id of its own", line(element))
        self._ids.add(id)
        if element.get("uri") is not None and element.get("domain") is not None:
            raise FilterError("filter with uri and domain", line(element))
        if (element.get("uri") is not None and not uri) or (
            element.get("domain") is not None and not domain
        ):
            raise FilterError("empty uri or domain", line(element))
        what, triggers = element.find(_WHAT), list(element.iterchildren(_TRIGGER))
        self._count(what, triggers)
        if _true(element, "remove", default=False):
            self.removed.add(id)
            return
        enabled = _true(element, "enabled", default=True)
        try:
            content = Filter(id, uri, domain, enabled, self._what(what), self._triggers(triggers))
        except _Erroneous as error:
            if self._ignore:
                return
            raise FilterError(str(error), error.line) from None
        # one that only enables or disables may leave out whom it is about
        if uri or domain or not content.empty:
            target = f"@{domain}" if domain else canonical(uri)
            if target in self._targets:
                raise FilterError("two filters for one resource or domain", line(element))
            self._targets.add(target)
        self.filters.append(content)

    def _text(self, element: etree._Element, name: str) -> str:
        text = element.get(name, "").strip(_WHITE)
        if len(text) > _MAX_TEXT:
            raise FilterError("attribute too long", line(element))
        return text

    def _count(self, what: etree._Element | None, triggers: list[etree._Element]) -> None:
        """Keep to the greatest number of expressions (FLT-27)."""
        parts = triggers if what is None else [what, *triggers]
        for part in parts:
            self._expressions += len(part)
            if self._expressions > MAX_EXPRESSIONS:
                raise FilterError(f"more than {MAX_EXPRESSIONS} expressions", line(part))

    def _what(self, element: etree._Element | None) -> What:
        if element is None:
            return What()
        return What(
            tuple(map(self._selection, element.iterchildren(_INCLUDE))),
            tuple(map(self._selection, element.iterchildren(_EXCLUDE))),
        )

    def _selection(self, element: etree._Element) -> Selection:
        if element.get("type", "xpath").strip(_WHITE) == "xpath":
            return self._path(element)
        uri = (element.text or "").strip(_WHITE)
        if _NOT_URI.search(uri) or len(uri) > LONGEST:
            raise _Erroneous("not a namespace", element)
        return Namespace(uri)

    def _path(self, element: etree._Element, *, conditions: bool = True) -> Path:
        text = (element.text or "").strip(_WHITE)
        if len(text.encode()) > LONGEST:
            raise FilterError(f"expression longer than {LONGEST} octets", line(element))
        try:
            return parse_expression(
                text, self._bindings, lenient=self._lenient, conditions=conditions
            )
        except FilterError as error:
            raise _Erroneous(error.reason, element) from None

    def _triggers(self, elements: list[etree._Element]) -> tuple[Trigger, ...]:
        """The triggers; an empty one is as if it were absent (FLT-06)."""
        found = (
            tuple(map(self._condition, element.iterchildren(_CHANGED, _ADDED, _REMOVED)))
            for element in elements
        )
        return tuple(Trigger(conditions) for conditions in found if conditions)

    def _condition(self, element: etree._Element) -> Condition:
        path = self._path(element, conditions=False)
        if element.tag != _CHANGED:
            return Condition("added" if element.tag == _ADDED else "removed", path)
        old, new, by = (_value(element, name) for name in ("from", "to", "by"))
        if by is None:
            return Condition("changed", path, old, new)
        numbers = [text for text in (old, new, by) if text is not None]
        if not all(map(is_decimal, numbers)):
            raise _Erroneous("by with what is not decimal", element)
        return Condition("changed", path, old, new, Decimal(by))


class _Erroneous(Exception):
    """An expression, or what belongs to it, is not in order.

    :ivar line: of its element.
    """

    def __init__(self, reason: str, element: etree._Element) -> None:
        super().__init__(reason)
        self.line = line(element)


def is_decimal(text: str) -> bool:
    """Whether a text is an ``xs:decimal`` of reasonable length."""
    return len(text) <= _MAX_DECIMAL and _NUMBER.fullmatch(text) is not None


def _value(element: etree._Element, name: str) -> str | None:
    text = element.get(name)
    if text is None:
        return None
    if len(text) > _MAX_TEXT:
        raise _Erroneous("value too long", element)
    return text.strip(_WHITE)


def _true(element: etree._Element, name: str, *, default: bool) -> bool:
    text = element.get(name)
    return default if text is None else text.strip(_WHITE) in ("true", "1")
