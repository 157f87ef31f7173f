"""What composed documents have in common: entity, namespaces, order and ids."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from lxml import etree

from presence.pidf import names
from presence.pidf.parse import parse_compact
from presence.pidf.write import attribute_value, serialize

__all__ = [
    "OTHERS",
    "RANKS",
    "StatedType",
    "declare",
    "make_ids_unique",
    "restore_types",
    "stated_types",
    "with_entity",
]

RANKS: Final = {names.TUPLE: 0, names.NOTE: 1, names.PERSON: 2, names.DEVICE: 3}
"""The order of a root's children (COM-41); whatever else comes after them."""

OTHERS: Final = 4
"""The rank of other elements."""

StatedType = tuple[etree._Element, str | None, str]
"""An element with an ``xsi:type``, whose value has a namespace and a local name."""

_MOST_DECLARED: Final = 64
"""Namespaces that the root declares; parsing takes time in the square of their number."""

_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_TYPE: Final = f"{{{_XSI}}}type"


def with_entity(body: bytes, entity: str) -> bytes:
    """``body`` about ``entity``; the same object when it already is (PRE-05).

    :param body: a document as :func:`presence.pidf.validate.accept` returns it.
    """
    found = _entity_span(body)
    if found is None:
        root = parse_compact(body)
        root.set("entity", entity)
        return serialize(root)
    start, end = found
    wanted = attribute_value(entity)
    if body[start:end] == wanted:
        return body
    return body[:start] + wanted + body[end:]


def _entity_span(body: bytes) -> tuple[int, int] | None:
    """Where the value of the root's ``entity`` is, when the root tag is a plain one.

    Plain is: directly after the XML declaration, double quotes only, no ``>`` in a value.
    """
    root = body.find(b"presence")
    at = body.find(b'entity="', root)
    if (
        not 0 < root < at < body.find(b">", root)
        or body[root - 1] not in b"<:"
        or body.count(b"<", 0, root) != 2
        or not body.startswith(b"<?xml")
        or body[at - 1] not in b" \t\r\n"
        or body.find(b"'", root, at) >= 0
        or body.count(b'"', root, at) % 2
    ):
        return None
    return at + 8, body.index(b'"', at + 8)


def declare(nsmap: dict[str | None, str], source: etree._Element) -> None:
    """Add the namespaces declared at a source's root (COM-03), under its prefixes if free.

    When there are very many the rest is left to the elements that need it.
    """
    for prefix, uri in source.nsmap.items():
        if len(nsmap) >= _MOST_DECLARED:
            return
        if uri == names.PIDF or nsmap.get(prefix) == uri:
            continue
        if prefix is None or prefix in nsmap:
            if uri in nsmap.values():
                continue
            prefix = names.PREFIXES.get(uri, "x")
            while prefix in nsmap:
                prefix += "x"
        nsmap[prefix] = uri


def make_ids_unique(ids: Iterable[tuple[int, etree._Element, str]]) -> None:
    """Suffix ids that an older source uses (COM-14).

    :param ids: places of all xs:ID values, each with the number of the source it is from; the
        suffix is made of that, so it stays the same while the source lives.
    """
    used: set[str] = set()
    for owner, element, name in sorted(ids, key=lambda place: place[0]):
        value = element.get(name, "").strip()
        if value in used:
            wanted = value = f"{value}-p{owner}"
            number = 2
            while value in used:
                value = f"{wanted}-{number}"
                number += 1
            element.set(name, value)
        used.add(value)


def stated_types(body: bytes, source: etree._Element) -> list[StatedType]:
    """What the values of ``xsi:type`` mean in a source; see :func:`restore_types`.

    :param source: the tree of ``body``.
    """
    found: list[StatedType] = []
    if _XSI.encode() not in body:
        return found
    for element in _typed()(source):
        prefix, colon, local = element.get(_TYPE).strip().rpartition(":")
        found.append((element, element.nsmap.get(prefix if colon else None), local))
    return found


def restore_types(types: Iterable[StatedType]) -> None:
    """Give values of ``xsi:type`` the prefixes of the document that the elements are in now.

    Moving an element takes care of the prefixes of names, not of those in values; a type that
    does not exist would make the document invalid.
    """
    for element, uri, local in types:
        if uri is not None and uri not in element.nsmap.values():
            # nothing but an attribute makes a declaration, which then stays
            name = f"{{{uri}}}{local}"
            element.set(name, "")
            del element.attrib[name]
        # the default namespace first, then by prefix
        prefixes = sorted(p or "" for p, bound in element.nsmap.items() if bound == uri)
        prefix = prefixes[0] if prefixes else ""
        element.set(_TYPE, f"{prefix}:{local}" if prefix else local)


@cache
def _typed() -> Any:
    """Finds elements with an ``xsi:type``; made on first use."""
    return etree.XPath("//*[@i:type]", namespaces={"i": _XSI})
