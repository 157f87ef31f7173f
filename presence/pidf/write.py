"""Trees to bytes (PID-01, XML-02), and to what tells whether anything has changed (XML-03)."""

from __future__ import annotations

from hashlib import blake2b
from xml.sax.saxutils import escape

from lxml import etree

from presence.pidf.parse import DECLARATION, parse_own


def serialize(root: etree._Element) -> bytes:
    """The document in UTF-8 with its XML declaration."""
    text: bytes = etree.tostring(root, encoding="UTF-8", xml_declaration=False)
    return DECLARATION + b"\n" + text


def digest(document: bytes) -> int:
    """A 64-bit signed number that is the same for documents that say the same (XML-03).

    It is that of exclusive canonical XML without comments and white space between elements, so
    prefixes count and the words around them do not.

    :param document: one that somebody has accepted or composed.
    :raises presence.pidf.parse.DocumentError: it is not well-formed.
    """
    text: bytes = etree.tostring(parse_own(document), method="c14n", exclusive=True)
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big", signed=True)


def attribute_value(text: str) -> bytes:
    """``text`` as it stands inside double quotes."""
    return escape(text, {'"': "&quot;"}).encode()
