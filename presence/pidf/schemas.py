"""The schema of presence documents and what its errors mean, in words."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from lxml import etree

from presence.pidf import names
from presence.pidf.parse import DocumentError
from presence.pidf.tree import line
from xcap.schemas import PRESENCE, load

_CAUSES: Final[dict[str, str]] = {
    "SCHEMAV_ELEMENT_CONTENT": "element out of place or incomplete",
    "SCHEMAV_CVC_ENUMERATION_VALID": "value not allowed",
    "SCHEMAV_CVC_PATTERN_VALID": "value not allowed",
    "SCHEMAV_CVC_DATATYPE_VALID_1_2_1": "value of the wrong type",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_1": "content not allowed",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_3": "text not allowed",
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_1": "attribute not allowed",
    "SCHEMAV_CVC_COMPLEX_TYPE_4": "attribute missing",
}
_STEP: Final = re.compile(r"/(?:([^/:\[]+):)?([^/\[]+)(?:\[(\d+)\])?")
_ATTRIBUTE: Final = re.compile(r"Element '[^']*', attribute '([^']*)'")


class Violation(NamedTuple):
    """One thing the schema refuses.

    :ivar kind: libxml2's name of the error.
    :ivar line: line of the element; 0 if unknown.
    :ivar path: where the element is, see :func:`locate`.
    :ivar attribute: expanded name of the attribute to blame, or "".
    """

    kind: str
    line: int
    path: str
    attribute: str

    @property
    def cause(self) -> str:
        """What is wrong, without a word of the document."""
        return _CAUSES.get(self.kind, "not valid by the schema")


def presence() -> etree.XMLSchema:
    """The compiled schema of whole documents; made on first use (some 10 ms)."""
    return load(PRESENCE)


def violations(log: Any) -> list[Violation]:
    """The entries of an lxml error log."""
    found = []
    for entry in log:
        attribute = _ATTRIBUTE.match(entry.message)
        found.append(
            Violation(
                entry.type_name, entry.line, entry.path or "", attribute[1] if attribute else ""
            )
        )
    return found


def stray(root: etree._Element) -> etree._Element | None:
    """A ``timed-status`` in a ``status``, which the schema cannot forbid (TIM-01)."""
    return root.find(f"{names.TUPLE}/{names.STATUS}/{names.TIMED_STATUS}")


def refusal(violation: Violation, root: etree._Element) -> DocumentError:
    """The error for a violation: line, element when well known, cause (PUB-08)."""
    node = locate(root, violation.path)
    text = violation.cause
    if node is not None and (local := etree.QName(node).localname) in names.LOCAL_NAMES:
        text = f"{local}: {text}"
    return DocumentError(400, text, violation.line or line(root))


def locate(root: etree._Element, path: str) -> etree._Element | None:
    """The element at a path as libxml2 writes it in schema errors.

    A step is ``prefix:name[n]`` among siblings of that name, or ``*[n]`` among all when the
    element has a default namespace; a prefix is taken as the element itself has it.
    """
    node = root
    for prefix, local, number in _STEP.findall(path)[1:]:
        matching = [
            child
            for child in node.iterchildren(etree.Element)
            if local == "*"
            or ((child.prefix or "") == prefix and etree.QName(child).localname == local)
        ]
        index = int(number or 1) - 1
        if index >= len(matching):
            return None
        node = matching[index]
    return node
