"""Lenient mode: making what real clients send schema-valid (CLI-10, DMO-09, XML-04).

What the schemas allow is kept, unknown extensions included (PID-08); what they do not allow
is moved to where it is meant, else dropped, and nothing larger than needed. The result
depends on the document alone: no random values.
"""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

from presence.pidf import names, schemas
from presence.pidf.parse import DocumentError

_MAX_ROUNDS: Final = 8
_MAX_ERRORS: Final = 512
_ATTRIBUTE: Final = re.compile(r"Element '[^']*', attribute '([^']*)'")
_NOT_IN_ID: Final = re.compile(r"[^A-Za-z0-9_.-]")
_MIXED_UP: Final = frozenset({None, names.PIDF, names.DM, names.RPID})
_SPHERES: Final = frozenset({"home", "work", "unknown"})


def repair(root: etree._Element) -> etree._Element:
    """A schema-valid document from a well-formed one with a ``presence`` root.

    The steps, in order: namespaces and order of known elements, values with an obvious
    meaning, ids, then whatever the schema still refuses is dropped, the smallest element
    or attribute first.

    :param root: a tree without comments and blank text; used up.
    :raises DocumentError: 400, what remains is no presence document.
    """
    root = _adopt_root(root)
    for element in list(root.iter()):
        order = names.CHILDREN.get(element.tag)
        if order is not None:
            _correct_children(element, order)
        _correct_value(element)
    _correct_ids(root)
    return _drop_invalid(root)


def is_id(element: etree._Element, attribute: str) -> bool:
    """Whether an attribute counts among the xs:ID values of a document (DMO-04)."""
    if attribute == "id":
        return element.tag.startswith(names.ID_NAMESPACES)
    return attribute == names.XML_ID


def _adopt_root(root: etree._Element) -> etree._Element:
    """The root in the PIDF namespace; a document that forgot ``xmlns`` means PIDF."""
    if root.tag == names.PRESENCE:
        return root
    adopted = etree.Element(
        names.PRESENCE, attrib=dict(root.items()), nsmap={**root.nsmap, None: names.PIDF}
    )
    adopted.text = root.text
    adopted.extend(list(root))
    return adopted


def _correct_children(element: etree._Element, order: tuple[str | None, ...]) -> None:
    """Give the children their namespaces and the order of the schema (PID-02, CLI-10)."""
    locals_ = {etree.QName(tag).localname: tag for tag in order if tag is not None}
    for child in element:
        if child.tag in order:
            continue
        name = etree.QName(child)
        if name.namespace not in _MIXED_UP:
            continue
        if name.localname in locals_:
            child.tag = locals_[name.localname]
        elif name.namespace != names.RPID and (
            element.tag == names.PERSON and name.localname in names.RPID_PERSON
        ):
            child.tag = f"{{{names.RPID}}}{name.localname}"
        elif name.namespace in (None, names.RPID) and (
            element.tag == names.PLACE_TYPE and name.localname != "other"
        ):
            # documents older than RFC 4589 (RPI-05)
            child.tag = f"{{{names.LOCATION_TYPE}}}{name.localname}"
        elif name.namespace is None and element.tag == names.TUPLE and name.localname == "deviceID":
            child.tag = names.DEVICE_ID
    if element.tag == names.TUPLE and element.find(names.STATUS) is None:
        element.insert(0, element.makeelement(names.STATUS))
    others = order.index(None)
    ranks = [order.index(child.tag) if child.tag in order else others for child in element]
    if ranks != sorted(ranks):
        element[:] = sorted(element, key=lambda c: order.index(c.tag) if c.tag in order else others)


def _correct_value(element: etree._Element) -> None:
    """Repair or drop the values that clients are known to get wrong."""
    tag = element.tag
    if tag in names.BASICS:
        # PID-04: exactly "open" or "closed"; anything else is no status at all
        value = (element.text or "").strip()
        if value not in ("open", "closed"):
            _drop(element)
        elif len(element) == 0:
            element.text = value
    elif tag == names.ACTIVITIES:
        if len(element) == 0:
            _drop(element)
    elif tag == names.SPHERE and len(element) == 0:
        value = (element.text or "").strip()
        if value in _SPHERES:
            # RPI-01 table: old documents have text here
            element.text = None
            etree.SubElement(element, f"{{{names.RPID}}}{value}")


def _correct_ids(root: etree._Element) -> None:
    """Make ids present, well-formed and unique; the first of several equal ones keeps its own."""
    found: list[tuple[etree._Element, str, str]] = []
    missing: list[etree._Element] = []
    for element in root.iter():
        if element.tag in names.COMPONENTS and not (element.get("id") or "").strip():
            missing.append(element)
            continue
        for name, value in element.items():
            if is_id(element, name):
                found.append((element, name, value.strip()))
    taken = {value for _, _, value in found}
    used: set[str] = set()
    for element, name, value in found:
        wanted = _as_name(value)
        if wanted in used or (wanted != value and wanted in taken):
            wanted = _free(wanted, used | taken)
        used.add(wanted)
        if wanted != value:
            element.set(name, wanted)
    counts: dict[str, int] = {}
    for element in missing:
        kind = etree.QName(element).localname
        counts[kind] = counts.get(kind, 0) + 1
        wanted = f"{kind}-{counts[kind]}"
        if wanted in used:
            wanted = _free(wanted, used)
        used.add(wanted)
        element.set("id", wanted)


def _as_name(value: str) -> str:
    """``value`` as an NCName, unchanged when it is one."""
    if value.replace("-", "_").replace(".", "_").isidentifier() and value[0] not in "-.":
        return value
    return "_" + _NOT_IN_ID.sub("_", value)


def _free(wanted: str, used: set[str]) -> str:
    """The first of ``wanted-2``, ``wanted-3``, ... that is not used."""
    number = 2
    while f"{wanted}-{number}" in used:
        number += 1
    return f"{wanted}-{number}"


def _drop_invalid(root: etree._Element) -> etree._Element:
    """Remove what the schema refuses, until it refuses nothing."""
    validator = schemas.presence()
    for _ in range(_MAX_ROUNDS):
        if validator.validate(root):
            return root
        log = validator.error_log
        if len(log) > _MAX_ERRORS:
            break
        # paths hold for the tree as it is now, so all are followed before any change
        located = [(entry, schemas.locate(root, entry.path or "")) for entry in log]
        for entry, node in located:
            if node is None:
                raise schemas.error(entry, root)
            _remedy(entry, node, root)
    raise DocumentError(400, "too far from a presence document")


def _remedy(entry: etree._LogEntry, node: etree._Element, root: etree._Element) -> None:
    """Take away what one schema error complains about."""
    attribute = _ATTRIBUTE.match(entry.message)
    if attribute is not None and attribute[1] != "entity":
        if attribute[1] in node.attrib:
            del node.attrib[attribute[1]]
    elif entry.type_name == "SCHEMAV_CVC_COMPLEX_TYPE_2_3":
        node.text = None
        for child in node:
            child.tail = None
    elif entry.type_name == "SCHEMAV_CVC_COMPLEX_TYPE_2_1":
        node.text = None
        node[:] = []
    elif node is root:
        raise schemas.error(entry, root)
    else:
        _drop(node)


def _drop(element: etree._Element) -> None:
    """Remove an element and what belongs to it from its parent, if it still has one."""
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)
