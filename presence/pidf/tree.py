"""Small typed views of lxml trees, shared by the modules of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lxml import etree

from presence.pidf import names

# those of RPID may hold elements of other namespaces, and must hold something but notes
_NOT_EMPTY: Final = (f"{{{names.RPID}}}", f"{{{names.GEOPRIV}}}provided-by")


def new_presence(attributes: dict[str, str], nsmap: Mapping[str | None, str]) -> etree._Element:
    """A ``presence`` root with namespace declarations by prefix (None: the default one)."""
    declared: Any = nsmap
    return etree.Element(names.PRESENCE, attributes, nsmap=declared)


def attributes(element: etree._Element) -> list[tuple[str, str]]:
    """Expanded names and values of all attributes, in document order."""
    items: Any = element.items()
    return items  # type: ignore[no-any-return]


def line(element: etree._Element) -> int:
    """The line an element starts in, from 1; 0 for one that we made."""
    number: Any = element.sourceline
    return int(number or 0)


def is_id(element: etree._Element, attribute: str) -> bool:
    """Whether an attribute counts among the xs:ID values of a document (DMO-04)."""
    if attribute == "id":
        return element.tag.startswith(names.ID_NAMESPACES)
    return attribute == names.XML_ID


def remove(element: etree._Element) -> None:
    """Remove an element, and what surrounds it if that is not valid without it."""
    parent = element.getparent()
    while parent is not None:
        parent.remove(element)
        if not is_hollow(parent):
            return
        element, parent = parent, parent.getparent()


def is_hollow(element: etree._Element) -> bool:
    """Whether an element of RPID or of a location lacks the content that it must have."""
    return element.tag.startswith(_NOT_EMPTY) and all(
        child.tag == names.RPID_NOTE for child in element.iterchildren(etree.Element)
    )
