"""Small parts of XML that computed documents are written with, and their entity-tags."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from lxml import etree

from xcap.errors import Conflict
from xcap.validate import parse_tree

HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'

_NOT_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES: Final = (
    ("&", "&amp;"),
    ("<", "&lt;"),
    (">", "&gt;"),
    ('"', "&quot;"),
    ("\t", "&#9;"),
    ("\n", "&#10;"),
    ("\r", "&#13;"),
)


def escape(text: str) -> str:
    """Escape for content and for values in double quotes (XCAP-165)."""
    text = _NOT_XML.sub("\ufffd", text)
    for character, reference in _ESCAPES:
        text = text.replace(character, reference)
    return text


def content_tag(octets: bytes) -> str:
    """An entity-tag, without quotes, that changes only when the content does (XCAP-173)."""
    return blake2b(octets, digest_size=12).hexdigest()


def read_computed(octets: bytes, tag: str) -> etree._Element:
    """The tree of a computed document that another server has sent.

    :param tag: Clark name of its root element.
    :raises ValueError: it is no such document.
    """
    try:
        root = parse_tree(octets)
    except Conflict as error:
        raise ValueError(error.phrase) from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise ValueError("a document type declaration")
    if root.tag != tag:
        raise ValueError(f"no {etree.QName(tag).localname} document")
    return root
