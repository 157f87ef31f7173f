"""The union of several presence documents, each thing once.

Rules: presence-data.md COM-02, COM-03, COM-04 (equality), COM-14 (ids), COM-41 (order),
COM-45 (nothing is lost), PUB-17. Pure functions of octets; the policy that calls them is
:class:`presence.composition.UnionComposition`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from lxml import etree

from presence.pidf import names
from presence.pidf.parse import parse_compact
from presence.pidf.tree import is_id, new_presence
from presence.pidf.write import attribute_value, serialize

_RANKS: Final = {names.TUPLE: 0, names.NOTE: 1, names.PERSON: 2, names.DEVICE: 3}
_OTHERS: Final = 4

_Form = tuple[Any, ...]


class _Part:
    """An element of the root that appears in the result.

    :ivar owner: number of the oldest publication that has it.
    :ivar ids: where its xs:ID values are, as (element, attribute) pairs.
    """

    __slots__ = ("element", "ids", "owner")

    def __init__(
        self, element: etree._Element, owner: int, ids: list[tuple[etree._Element, str]]
    ) -> None:
        self.element = element
        self.owner = owner
        self.ids = ids


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


def union(entity: str, bodies: Iterable[tuple[bytes, int]]) -> bytes:
    """The union of different bodies, most recent first, each with the number of its owner."""
    parts: dict[_Form, _Part] = {}
    nsmap: dict[str | None, str] = {None: names.PIDF}
    for body, owner in bodies:
        source = parse_compact(body)
        _declare(nsmap, source)
        counts: dict[_Form, int] = {}
        for element in source:
            ids: list[tuple[etree._Element, str]] = []
            form = _form(element, ids)
            # equal elements of one publication are different occurrences
            count = counts[form] = counts.get(form, 0) + 1
            part = parts.get((count, form))
            if part is None:
                parts[count, form] = _Part(element, owner, ids)
            elif owner < part.owner:
                part.owner = owner
                for (mine, name), (theirs, _) in zip(part.ids, ids, strict=True):
                    mine.set(name, theirs.get(name, ""))
    _make_ids_unique(parts.values())
    root = new_presence({"entity": entity}, nsmap)
    root.extend(
        sorted(
            (part.element for part in parts.values()),
            key=lambda element: _RANKS.get(element.tag, _OTHERS),
        )
    )
    return serialize(root)


def _declare(nsmap: dict[str | None, str], source: etree._Element) -> None:
    """Add the namespaces declared at a source's root (COM-03), under its prefixes if free."""
    for prefix, uri in source.nsmap.items():
        if uri == names.PIDF or nsmap.get(prefix) == uri:
            continue
        if prefix is None or prefix in nsmap:
            if uri in nsmap.values():
                continue
            prefix = names.PREFIXES.get(uri, "x")
            while prefix in nsmap:
                prefix += "x"
        nsmap[prefix] = uri


def _form(element: etree._Element, ids: list[tuple[etree._Element, str]]) -> _Form:
    """What an element says, apart from ids and prefixes (COM-04).

    :param ids: filled with the places of xs:ID values, in document order.
    """
    # not tree.attributes(): a call for each element would show
    attributes: list[tuple[str, str]] = element.items()  # type: ignore[assignment]
    if attributes:
        kept = []
        for name, value in attributes:
            if (name == "id" or name == names.XML_ID) and is_id(element, name):
                ids.append((element, name))
                kept.append((name, ""))
            else:
                kept.append((name, value))
        kept.sort()
        attributes = kept
    children = [(_form(child, ids), child.tail) for child in element]
    return element.tag, element.text, tuple(attributes), tuple(children)


def _make_ids_unique(parts: Iterable[_Part]) -> None:
    """Suffix ids that an older publication uses (COM-14)."""
    used: set[str] = set()
    for part in sorted(parts, key=lambda part: part.owner):
        for element, name in part.ids:
            value = element.get(name, "").strip()
            if value in used:
                wanted = value = f"{value}-p{part.owner}"
                number = 2
                while value in used:
                    value = f"{wanted}-{number}"
                    number += 1
                element.set(name, value)
            used.add(value)
