"""What a document need not say any more when parts of it are gone."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from lxml import etree

_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
XSI_TYPE: Final = f"{{{_XSI}}}type"
_LOCATIONS: Final = (f"{{{_XSI}}}schemaLocation", f"{{{_XSI}}}noNamespaceSchemaLocation")


def tidy(root: etree._Element) -> None:
    """Remove what tells that something was there: declarations of namespaces.

    A prefix that only a value of ``xsi:type`` uses is needed to validate the document.
    """
    needed: list[str] = []
    found: Any = _instance_attributes()(root)
    for value in found:
        if value.attrname in _LOCATIONS:
            del value.getparent().attrib[value.attrname]
        elif value.attrname == XSI_TYPE:
            needed.append(value.strip().partition(":")[0])
    etree.cleanup_namespaces(root, keep_ns_prefixes=needed)


@cache
def _instance_attributes() -> etree.XPath:
    """The attributes that speak about schemas; made on first use."""
    return etree.XPath("//@xsi:*", namespaces={"xsi": _XSI})
