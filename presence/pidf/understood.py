"""What may be shown of extensions that demand to be understood (RFC 3863 section 4.2.3, PID-08)."""

from __future__ import annotations

from typing import Final

from lxml import etree

from presence.pidf import names

__all__ = ["drop_not_understood"]

_MUST: Final = f"{{{names.PIDF}}}mustUnderstand"
_OURS: Final = frozenset({names.PIDF, names.DM})
_KNOWN: Final = frozenset(
    {
        *_OURS,
        *names.PREFIXES,
        f"{names.GEOPRIV}:basicPolicy",
        f"{names.GEOPRIV}:civicAddr",
        f"{names.GEOPRIV}:civicLoc",
        "http://www.opengis.net/gml",
    }
)


def drop_not_understood(root: etree._Element) -> None:
    """Take extensions away in which something must be understood that is not.

    That is for who shows or evaluates a document; who passes it on keeps all of it. What stands
    in an element that is not understood itself demands nothing.
    """
    for component in root.iterchildren(names.TUPLE, names.PERSON, names.DEVICE):
        for holder in (component, *component.iterchildren(names.STATUS)):
            for extension in list(holder.iterchildren(etree.Element)):
                if _namespace(extension) not in _OURS and _demands_more(extension):
                    holder.remove(extension)


def _demands_more(element: etree._Element) -> bool:
    """Whether something in an element must be understood and is not."""
    for child in element.iterchildren(etree.Element):
        if _namespace(child) in _KNOWN:
            if _demands_more(child):
                return True
        elif child.get(_MUST, "").strip() in ("true", "1"):
            return True
    return False


def _namespace(element: etree._Element) -> str:
    return etree.QName(element).namespace or ""
