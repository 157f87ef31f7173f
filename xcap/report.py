"""Reports of conflicts: ``application/xcap-error+xml`` (RFC 4825 section 11, XCAP-130 to 136)."""

from __future__ import annotations

import re

from lxml import etree

from xcap.errors import REPORTS, Conflict, Exists, XcapError
from xcap.uri import (
    Target,
    bindings_query,
    parse_query,
    quote_node,
    split_node,
    tidy,
    unquote_node,
)

CONTENT_TYPE = "application/xcap-error+xml"
NAMESPACE = "urn:ietf:params:xml:ns:xcap-error"
REPORT_LIMIT = 1 << 18
"""Octets of a report that a client reads."""

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HEAD = f'<?xml version="1.0" encoding="UTF-8"?>\n<xcap-error xmlns="{NAMESPACE}">'


def report(conflict: Conflict, base: str, target: Target) -> bytes:
    """Write the report of a conflict.

    :param base: absolute URI of the XCAP root, ending in ``/``.
    :param target: of the request, for the ancestor of ``no-parent`` (XCAP-132).
    """
    kind = conflict.kind
    content = ""
    if kind == "no-parent":
        if conflict.depth is not None:
            content = f"<ancestor>{_escape(_ancestor(conflict.depth, base, target))}</ancestor>"
    elif kind == "uniqueness-failure":
        content = "".join(map(_exists, conflict.exists))
    phrase = f' phrase="{_escape(conflict.phrase)}"' if conflict.phrase else ""
    body = f"<{kind}{phrase}>{content}</{kind}>" if content else f"<{kind}{phrase}/>"
    return f"{_HEAD}{body}</xcap-error>\n".encode()


def parse_report(octets: bytes) -> Conflict:
    """Read a report, as a client.

    An ``extension`` has kind ``extension`` and counts as a bare 409 (XCLI-06); so does an
    error element of another name.

    :returns: what was reported, ``depth`` counted in the steps of ``ancestor``.
    :raises ValueError: it is no report.
    """
    if len(octets) > REPORT_LIMIT:
        raise ValueError("Report is too long")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(octets, parser)
    except etree.XMLSyntaxError:
        raise ValueError("Report is not well-formed") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise ValueError("Report with a document type declaration")
    if root.tag != f"{{{NAMESPACE}}}xcap-error":
        raise ValueError("Not a report of a conflict")
    if not len(root):
        raise ValueError("Report without an error")
    element = root[0]
    name = etree.QName(element)
    if name.namespace != NAMESPACE or name.localname not in REPORTS:
        return Conflict("extension", element.get("phrase", ""))
    depth: int | None = None
    exists: tuple[Exists, ...] = ()
    if name.localname == "no-parent":
        depth = _depth(element.findtext(f"{{{NAMESPACE}}}ancestor"))
    elif name.localname == "uniqueness-failure":
        exists = tuple(map(_read_exists, element.iterfind(f"{{{NAMESPACE}}}exists")))
    return Conflict(name.localname, element.get("phrase", ""), depth=depth, exists=exists)


def _ancestor(depth: int, base: str, target: Target) -> str:
    uri = base + tidy(target.document)
    if not depth or target.node is None:
        return uri
    uri += "/~~/" + "/".join(map(_clean_step, split_node(target.node)[:depth]))
    return f"{uri}?{tidy(target.query)}" if target.query else uri


def _clean_step(raw: str) -> str:
    # a raw "/" that was tolerated in a quoted value (XCAP-31) is written the clean way
    return tidy(raw).replace("/", "%2F")


def _exists(value: Exists) -> str:
    field = quote_node(value.field)
    if value.bindings:
        field += "?" + bindings_query(dict(value.bindings))
    start = f'<exists field="{_escape(field)}"'
    if not value.alternatives:
        return start + "/>"
    inner = "".join(f"<alt-value>{_escape(text)}</alt-value>" for text in value.alternatives)
    return f"{start}>{inner}</exists>"


def _read_exists(element: etree._Element) -> Exists:
    selector, _, query = element.get("field", "").partition("?")
    try:
        field = unquote_node(selector)
        bindings = tuple(parse_query(query).items())
    except XcapError:
        field, bindings = "", ()
    alternatives = (alt.text or "" for alt in element.iterfind(f"{{{NAMESPACE}}}alt-value"))
    return Exists(field, tuple(alternatives), bindings)


def _depth(ancestor: str | None) -> int | None:
    if ancestor is None:
        return None
    path = ancestor.strip().partition("?")[0]
    _, separator, node = f"/{path}".partition("/~~/")  # it may begin with the separator
    return len(split_node(node)) if separator else 0


def _escape(text: str) -> str:
    """Escape for content and for values in double quotes (XCAP-165)."""
    text = _NOT_XML.sub("\ufffd", text)
    for character, reference in _ESCAPES:
        text = text.replace(character, reference)
    return text


_ESCAPES = (
    ("&", "&amp;"),
    ("<", "&lt;"),
    (">", "&gt;"),
    ('"', "&quot;"),
    ("\t", "&#9;"),
    ("\n", "&#10;"),
    ("\r", "&#13;"),
)
