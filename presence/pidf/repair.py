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
from presence.pidf.tree import attributes, is_id, new_presence

_MAX_ERRORS: Final = 512
_NOT_IN_ID: Final = re.compile(r"[^A-Za-z0-9_.-]")
_MIXED_UP: Final = frozenset({None, names.PIDF, names.DM, names.RPID})
_SINGLE: Final = frozenset(
    {
        names.STATUS,
        names.BASIC,
        names.CONTACT,
        names.TIMESTAMP,
        names.DM_TIMESTAMP,
    }
)
_STRUCTURE: Final = frozenset(
    {names.PRESENCE, names.TUPLE, names.STATUS, names.PERSON, names.DEVICE}
)
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
            _correct_namespaces(element, order)
            _correct_order(element, order)
        _correct_value(element)
    _correct_ids(root)
    return _drop_invalid(root)


def _adopt_root(root: etree._Element) -> etree._Element:
    """The root in the PIDF namespace; a document that forgot ``xmlns`` means PIDF."""
    if root.tag == names.PRESENCE:
        return root
    nsmap = {"dm": names.DM, "rpid": names.RPID, **root.nsmap, None: names.PIDF}
    adopted = new_presence(dict(attributes(root)), nsmap)
    adopted.text = root.text
    adopted.extend(list(root))
    return adopted


def _correct_namespaces(element: etree._Element, order: tuple[str | None, ...]) -> None:
    """Put children with a forgotten or mistaken namespace into the one that is meant.

    Only names that belong into this container are touched, so a PIDF ``timestamp`` of a
    person becomes ``dm:timestamp``; unknown names stay what they are.
    """
    meant = {etree.QName(tag).localname: tag for tag in order if tag is not None}
    if element.tag == names.TUPLE:
        meant["deviceID"] = names.DEVICE_ID
    elif element.tag == names.PERSON:
        meant.update((local, f"{{{names.RPID}}}{local}") for local in names.RPID_PERSON)
    container = etree.QName(element)
    for child in element:
        name = etree.QName(child)
        if name.namespace not in _MIXED_UP:
            continue
        if element.tag == names.PLACE_TYPE and name.localname not in ("note", "other"):
            # documents older than RFC 4589 (RPI-05)
            child.tag = f"{{{names.LOCATION_TYPE}}}{name.localname}"
        elif name.localname in meant:
            if name.text != meant[name.localname]:
                child.tag = meant[name.localname]
        elif name.namespace in (None, names.PIDF) and container.namespace == names.RPID:
            child.tag = f"{{{names.RPID}}}{name.localname}"


def _correct_order(element: etree._Element, order: tuple[str | None, ...]) -> None:
    """Sort children as the schema wants them, and complete a tuple (PID-02, PID-04).

    The schema would tell of one child in the wrong place at a time, so those that have no
    place at all are dropped here.
    """
    if element.tag in _STRUCTURE:
        seen = set()
        own = etree.QName(element).namespace
        for child in list(element):
            tag = child.tag
            if tag in seen or (tag not in order and etree.QName(tag).namespace in (None, own)):
                element.remove(child)
            elif tag in _SINGLE or (tag == names.DEVICE_ID and element.tag == names.DEVICE):
                seen.add(tag)
    if element.tag == names.TUPLE and element.find(names.STATUS) is None:
        element.insert(0, element.makeelement(names.STATUS))
    ranks = {tag: rank for rank, tag in enumerate(order)}
    found = [ranks.get(child.tag, ranks[None]) for child in element]
    if found != sorted(found):
        element[:] = sorted(element, key=lambda child: ranks.get(child.tag, ranks[None]))


def _correct_value(element: etree._Element) -> None:
    """Repair or drop the values that clients are known to get wrong."""
    tag = element.tag
    if tag == names.TIMED_STATUS:
        parent = element.getparent()
        if parent is not None and parent.tag == names.STATUS:
            _drop(element)
    elif tag in names.BASICS:
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
        for name, value in attributes(element):
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
    # one error is told for each parent at a time; fewer rounds for a large document
    for _ in range(8 + 10000 // sum(1 for _ in root.iter())):
        if validator.validate(root):
            return root
        found = schemas.violations(validator.error_log)
        if len(found) > _MAX_ERRORS:
            break
        # paths hold for the tree as it is now, so all are followed before any change
        located = [(violation, schemas.locate(root, violation.path)) for violation in found]
        for violation, node in located:
            if node is None:
                raise schemas.refusal(violation, root)
            _remedy(violation, node, root)
    raise DocumentError(400, "too far from a presence document")


def _remedy(violation: schemas.Violation, node: etree._Element, root: etree._Element) -> None:
    """Take away what one violation is about."""
    attribute = violation.attribute
    if attribute and not (node is root and attribute == "entity"):
        if attribute in node.attrib:
            del node.attrib[attribute]
    elif violation.kind == "SCHEMAV_CVC_COMPLEX_TYPE_2_3":
        node.text = None
        for child in node:
            child.tail = None
    elif violation.kind == "SCHEMAV_CVC_COMPLEX_TYPE_2_1":
        node.text = None
        node[:] = []
    elif node is root:
        raise schemas.refusal(violation, root)
    else:
        _drop(node)


def _drop(element: etree._Element) -> None:
    """Remove an element and what belongs to it from its parent, if it still has one."""
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)
