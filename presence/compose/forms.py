"""What an element says, whatever the words: the equality of COM-04."""

from __future__ import annotations

from typing import Any, Final

from lxml import etree

from presence.pidf import names
from presence.pidf.instant import instant
from presence.pidf.tree import is_id

__all__ = ["Form", "Ids", "collapsed", "form", "language"]

Form = tuple[Any, ...]
"""A hashable value that is the same for equal elements, and can be sorted."""

Ids = list[tuple[etree._Element, str]]
"""Places of xs:ID values: element and attribute."""

_XSI: Final = "{http://www.w3.org/2001/XMLSchema-instance}"
# containers in which the order of children says nothing
_UNORDERED: Final = (
    f"{{{names.RPID}}}",
    f"{{{names.OMA}}}",
    f"{{{names.PDE}}}",
    f"{{{names.PDE11}}}",
)
# namespaces of which we know the types: text is of a token-like type but for the names below
_KNOWN: Final = (
    *_UNORDERED,
    f"{{{names.PIDF}}}",
    f"{{{names.DM}}}",
    f"{{{names.TIMED}}}",
    f"{{{names.CIPID}}}",
    f"{{{names.CAPS}}}",
    f"{{{names.LOCATION_TYPE}}}",
)
_STRINGS: Final = frozenset(
    {
        names.NOTE,
        names.DM_NOTE,
        names.RPID_NOTE,
        f"{{{names.RPID}}}other",
        f"{{{names.TIMED}}}note",
        f"{{{names.CIPID}}}display-name",
        f"{{{names.CAPS}}}description",
    }
)
_TIMES: Final = frozenset({"from", "until", "last-input", f"{{{names.PDE}}}until"})


def form(element: etree._Element, ids: Ids) -> Form:
    """What an element says, apart from prefixes, ids and ``xsi:`` attributes.

    Children of RPID and OMA elements are in no order; text of token-like types has its white
    space collapsed; times are compared as instants (XML-05).

    :param ids: filled with the places of the ids that do not count.
    """
    tag: str = element.tag
    known = tag.startswith(_KNOWN)
    text = element.text or ""
    if text and known and tag not in _STRINGS:
        text = " ".join(text.split())
    # not tree.attributes(): a call for each element would show
    attributes: list[tuple[str, str]] = element.items()  # type: ignore[assignment]
    if attributes:
        attributes = _values(element, attributes, known, ids)
    children: list[Any] = list(element)
    if not children:
        return tag, text, tuple(attributes), ()
    if tag.startswith(_UNORDERED):
        children = [form(child, ids) for child in children]
        children.sort()
    elif known:
        children = [form(child, ids) for child in children]
    else:
        children = [(form(child, ids), child.tail or "") for child in children]
    return tag, text, tuple(attributes), tuple(children)


def _values(
    element: etree._Element, attributes: list[tuple[str, str]], known: bool, ids: Ids
) -> list[tuple[str, str]]:
    """The attributes that count, sorted by name."""
    kept = []
    for name, value in attributes:
        if (name == "id" or name == names.XML_ID) and is_id(element, name):
            ids.append((element, name))
        elif known and name in _TIMES:
            at = instant(value)
            kept.append((name, value if at is None else repr(at)))
        elif name == names.XML_LANG:
            kept.append((name, value.lower()))
        elif not name.startswith(_XSI):
            kept.append((name, value))
    kept.sort()
    return kept


def collapsed(element: etree._Element | None) -> str:
    """The text of an element of a token-like type; "" for no element."""
    return "" if element is None else " ".join((element.text or "").split())


def language(element: etree._Element) -> str:
    """The ``xml:lang`` of an element, in lower case; "" for none."""
    return (element.get(names.XML_LANG) or "").lower()
