"""Node selectors that tell a client which value is not unique (XCAP-133)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lxml import etree

EXISTS_LIMIT: Final = 100
"""Values told in one report; a document may hold tens of thousands."""

_ESCAPES: Final = (
    ("&", "&amp;"),
    ("<", "&lt;"),
    ('"', "&quot;"),
    ("\t", "&#9;"),
    ("\n", "&#10;"),
    ("\r", "&#13;"),
)


def attribute_field(
    element: etree._Element, attribute: str, position: int, prefixes: Mapping[str, str]
) -> str:
    """Selector of an attribute without namespace: ``.../entry[2][@uri="sip:a@x"]/@uri``.

    :param position: of the element among its siblings of the same name, from 1; 0 leaves it
        out, where the value alone selects.
    :param prefixes: prefix by namespace, "" for that of the default document namespace.
    """
    value = element.get(attribute, "")
    for character, reference in _ESCAPES:
        value = value.replace(character, reference)
    at = f"[{position}]" if position else ""
    parent = element.getparent()
    before = "" if parent is None else f"{element_field(parent, prefixes)}/"
    return f'{before}{_name(element, prefixes)}{at}[@{attribute}="{value}"]/@{attribute}'


def element_field(element: etree._Element, prefixes: Mapping[str, str]) -> str:
    """Selector of an element by positions, from the root element on."""
    steps = []
    here: etree._Element | None = element
    while here is not None:
        name = _name(here, prefixes)
        parent = here.getparent()
        if parent is not None:
            tag = here.tag
            name += f"[{sum(1 for _ in here.itersiblings(tag, preceding=True)) + 1}]"
        steps.append(name)
        here = parent
    return "/".join(reversed(steps))


def _name(element: etree._Element, prefixes: Mapping[str, str]) -> str:
    space, _, local = element.tag[1:].rpartition("}")
    prefix = prefixes[space]
    return f"{prefix}:{local}" if prefix else local
