"""Trees to bytes (PID-01, XML-02)."""

from __future__ import annotations

from xml.sax.saxutils import escape

from lxml import etree

from presence.pidf.parse import DECLARATION


def serialize(root: etree._Element) -> bytes:
    """The document in UTF-8 with its XML declaration."""
    text: bytes = etree.tostring(root, encoding="UTF-8", xml_declaration=False)
    return DECLARATION + b"\n" + text


def attribute_value(text: str) -> bytes:
    """``text`` as it stands inside double quotes."""
    return escape(text, {'"': "&quot;"}).encode()
