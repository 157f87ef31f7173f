"""From one filter document to another, as the subscriber tells it (FLT-21)."""

from __future__ import annotations

from typing import Final

from lxml import etree

from presence.pidf.parse import DocumentError, parse
from presence.pidf.write import serialize

NAMESPACE: Final = "urn:ietf:params:xml:ns:simple-filter"

_FILTER: Final = f"{{{NAMESPACE}}}filter"
_EMPTY: Final = f'<filter-set xmlns="{NAMESPACE}"/>'.encode()


def filter_ids(document: bytes) -> list[str]:
    """The ids of the filters in a document, in order; none in b"".

    :raises ValueError: it is no filter document.
    """
    return [] if not document else [_id(each) for each in _root(document).iterchildren(_FILTER)]


def filter_update(before: bytes, after: bytes) -> bytes:
    """What to send so that the filters in force become those of another document.

    Filters of the same id replace each other, and others stay until they are removed by name.

    :param before: the whole in force; b"" for none.
    :param after: the whole wanted; b"" for none.
    :returns: b"" when there is nothing to tell.
    :raises ValueError: one of them is no filter document.
    """
    stay = set(filter_ids(after))
    gone = [each for each in filter_ids(before) if each not in stay]
    if not gone:
        return after
    root = _root(after or _EMPTY)
    for name in gone:
        etree.SubElement(root, _FILTER, {"id": name, "remove": "true"})
    return serialize(root)


def _root(document: bytes) -> etree._Element:
    try:
        root = parse(document)
    except DocumentError as error:
        raise ValueError(f"no filter document: {error.reason}") from None
    if root.tag != f"{{{NAMESPACE}}}filter-set":
        raise ValueError("no filter document: its root is another")
    return root


def _id(element: etree._Element) -> str:
    return (element.get("id") or "").strip()
