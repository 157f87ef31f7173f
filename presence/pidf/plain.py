"""Text from afar on one line that a terminal can be trusted with."""

from __future__ import annotations

from lxml import etree

__all__ = ["line", "plain"]


def plain(text: str) -> str:
    """``text`` on one line, white space collapsed, without what moves a cursor.

    Control and format characters are left out: escape sequences, line ends, and what turns the
    direction of writing.
    """
    text = " ".join(text.split())
    return text if text.isprintable() else "".join(c for c in text if c.isprintable())


def line(element: etree._Element | None) -> str:
    """The text of an element as :func:`plain` gives it; "" for none."""
    return "" if element is None or element.text is None else plain(element.text)
