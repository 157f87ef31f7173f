"""Random changes of presence documents, from a seed."""

from __future__ import annotations

import random
from copy import deepcopy
from typing import Any

from lxml import etree

from presence.pidf import names
from presence.pidf.parse import parse
from presence.pidf.write import serialize

TEXTS = ("", "open", "away", " ", "a & <b>", "line\nbreak", "x\ry", "Zürich 🙂", "\n  ")
_ATTRIBUTES = ("k", "{urn:example:extension}m", "{http://www.w3.org/XML/1998/namespace}lang")


class Changes:
    """Changes documents, valid or not by the schema: well-formed in any case."""

    def __init__(self, source: random.Random) -> None:
        self.random = source

    def spaced(self, document: bytes) -> bytes:
        """The document with white space between elements, here and there with a comment."""
        root = parse(document)
        etree.indent(root)
        for element in list(root.iter(etree.Element))[1:]:
            if self.random.random() < 0.03:
                element.addnext(etree.Comment("remark"))
        return serialize(root)

    def changed(self, document: bytes, times: int) -> bytes:
        """The document after a number of changes."""
        root = parse(document)
        for _ in range(times):
            self.random.choice(
                (
                    self._text,
                    self._text,
                    self._attribute,
                    self._remove,
                    self._copy,
                    self._move,
                    self._rename,
                )
            )(root)
        return serialize(root)

    def _any(self, root: etree._Element) -> etree._Element | None:
        elements = list(root.iter(etree.Element))[1:]
        return self.random.choice(elements) if elements else None

    def _text(self, root: etree._Element) -> None:
        element = self._any(root)
        if element is None:
            return
        if self.random.random() < 0.8 and not len(element):
            element.text = self.random.choice(TEXTS)
        elif self.random.random() < 0.2:
            element.tail = self.random.choice(TEXTS)

    def _attribute(self, root: etree._Element) -> None:
        element = self._any(root)
        if element is None:
            return
        name = self.random.choice(_ATTRIBUTES)
        if name in element.attrib and self.random.random() < 0.4:
            del element.attrib[name]
        else:
            element.set(name, self.random.choice(TEXTS))

    def _remove(self, root: etree._Element) -> None:
        element = self._any(root)
        if element is not None:
            parent: Any = element.getparent()
            if self.random.random() < 0.5 and element.tail:
                previous = element.getprevious()
                if previous is not None:
                    previous.tail = (previous.tail or "") + element.tail
                else:
                    parent.text = (parent.text or "") + element.tail
            parent.remove(element)

    def _copy(self, root: etree._Element) -> None:
        element, place = self._any(root), self._any(root)
        if element is not None and place is not None:
            copy = deepcopy(element)
            if copy.tag in names.COMPONENTS:
                copy.set("id", f"n{self.random.randrange(10**6)}")
            place.addnext(copy)

    def _move(self, root: etree._Element) -> None:
        element = self._any(root)
        if element is not None:
            parent: Any = element.getparent()
            parent.insert(self.random.randrange(len(parent)), element)

    def _rename(self, root: etree._Element) -> None:
        """Put one empty element in the place of another, as activities change."""
        element = self._any(root)
        if element is not None and not len(element) and not element.text:
            namespace = etree.QName(element).namespace
            local = self.random.choice(("busy", "away", "meal"))
            element.tag = f"{{{namespace}}}{local}" if namespace else local
