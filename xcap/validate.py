"""Checks documents against the schemas of their application usage (XCAP-140 to XCAP-142)."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import attrs
from lxml import etree

from xcap import schemas
from xcap.errors import Conflict

_LARGE: Final = 1500
"""Elements and attributes beyond which a document is validated in pieces.

libxml2 tells each schema error with its path, which takes time in the square of the number
of siblings; validation in pieces can stop at the first error instead.
"""
_PIECE: Final = 4096

_RL: Final = "{urn:ietf:params:xml:ns:resource-lists}"
_RLS: Final = "{urn:ietf:params:xml:ns:rls-services}"
_CP: Final = "{urn:ietf:params:xml:ns:common-policy}"
_PIDF: Final = "{urn:ietf:params:xml:ns:pidf}"
_DM: Final = "{urn:ietf:params:xml:ns:pidf:data-model}"
_RPID: Final = "{urn:ietf:params:xml:ns:pidf:rpid}"


@attrs.frozen(slots=True)
class _Kind:
    """A kind of document: file of its schema and Clark name of its root element."""

    driver: str
    root: str


_KINDS: Final[dict[str, _Kind]] = {
    "resource-lists": _Kind(schemas.DOCUMENTS, f"{_RL}resource-lists"),
    "rls-services": _Kind(schemas.DOCUMENTS, f"{_RLS}rls-services"),
    "common-policy": _Kind(schemas.DOCUMENTS, f"{_CP}ruleset"),
    "pidf": _Kind(schemas.DOCUMENTS, f"{_PIDF}presence"),
    "pres-content": _Kind(schemas.DOCUMENTS, "{urn:oma:xml:prs:pres-content}content"),
    "xcap-caps": _Kind(schemas.DOCUMENTS, "{urn:ietf:params:xml:ns:xcap-caps}xcap-caps"),
    "xcap-directory": _Kind(schemas.DOCUMENTS, "{urn:oma:xml:xdm:xcap-directory}xcap-directory"),
    "xcap-error": _Kind("xcap-error.xsd", "{urn:ietf:params:xml:ns:xcap-error}xcap-error"),
    "xcap-diff": _Kind("xcap-diff.xsd", "{urn:ietf:params:xml:ns:xcap-diff}xcap-diff"),
    "patch-ops-error": _Kind(
        "patch-ops-error.xsd", "{urn:ietf:params:xml:ns:patch-ops-error}patch-ops-error"
    ),
}

_CAUSES: Final[dict[str, str]] = {
    "SCHEMAV_CVC_ENUMERATION_VALID": "value not allowed",
    "SCHEMAV_CVC_PATTERN_VALID": "value not allowed",
    "SCHEMAV_CVC_DATATYPE_VALID_1_2_1": "value of the wrong type",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_1": "must be empty",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_3": "text not allowed",
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_1": "attribute not allowed",
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_2": "attribute not allowed",
}
_ID: Final = "id is not a name or used twice"
_SUBJECT: Final = re.compile(r"Element '(?:\{[^}]*\})?([^']*)'(?:, attribute '[^']*')?: (.*)")
_REQUIRED: Final = re.compile(r"The attribute '(?:\{[^}]*\})?([^']*)' is required but missing")
_EXPECTED: Final = re.compile(r"Expected is (?:one of )?\( (.*) \)")
_NAME_LENGTH: Final = 40
_NAMES_SHOWN: Final = 5


def warm() -> None:
    """Compile the schemas of documents now, so that no request waits for it."""
    schemas.warm(schemas.DOCUMENTS)


def parse_tree(octets: bytes) -> etree._Element:
    """The tree of a document that was found well-formed: no DTD, no entities, no network.

    :raises Conflict: ``not-well-formed`` after all.
    """
    try:
        return etree.fromstring(octets, _parser())
    except etree.XMLSyntaxError as error:
        raise Conflict("not-well-formed", f"line {error.lineno or 1}: not well-formed") from None


def validate(schema: str, root: etree._Element, octets: bytes | None = None) -> None:
    """Check a whole document against the schemas of its kind.

    Elements of namespaces that are not ours are taken wherever a wildcard admits them
    (XCAP-141); those of ours must be declared, also there (XCAP-142).

    :param schema: kind of document, :attr:`xcap.interfaces.IApplicationUsage.schema`.
    :param octets: what the tree was made of, when known; most are seen to be small.
    :raises Conflict: ``schema-validation-error``; the phrase tells line, element and reason.
    :raises KeyError: there is no such kind.
    """
    kind = _KINDS[schema]
    if root.tag != kind.root:
        raise _refusal(_line(root), f"root element must be {etree.QName(kind.root).localname}")
    compiled = schemas.load(kind.driver)
    if (octets is None or octets.count(b"<") + octets.count(b"=") > _LARGE) and _large(root):
        _validate_pieces(compiled, root)
    elif not compiled.validate(root):
        log: Any = compiled.error_log
        entry = log[0]
        raise _refusal(entry.line, _reason(entry))
    _check_declared(root, schemas.declarations(kind.driver))


def _large(root: etree._Element) -> bool:
    size: Any = _size()(root)
    return bool(size > _LARGE)


def _validate_pieces(compiled: etree.XMLSchema, root: etree._Element) -> None:
    """Validate a large document, stopping at the first error.

    :raises Conflict: its line is exact to the piece in which the error was found.
    """
    octets = etree.tostring(root, encoding="UTF-8", with_tail=False)
    parser = etree.XMLPullParser(
        events=(), schema=compiled, resolve_entities=False, no_network=True, collect_ids=False
    )
    at = 0
    reason = "not valid by the schema"
    try:
        for at in range(0, len(octets), _PIECE):
            parser.feed(octets[at : at + _PIECE])
            log: Any = parser.feed_error_log
            if len(log):
                reason = _reason(log[0])
                break
        else:
            parser.close()
            _check_ids(root)
            return
    except etree.XMLSyntaxError:
        pass
    raise _refusal(_line(root) + octets.count(b"\n", 0, at), reason)


def _check_ids(root: etree._Element) -> None:
    """What validation during parsing does not see: whether IDs are unique (XCAP-167)."""
    seen: set[str] = set()
    found: Any = _ids()(root)
    for value in found:
        text = value.strip(" \t\r\n")
        if text in seen:
            raise _refusal(_line(value.getparent()), _ID)
        seen.add(text)


def _check_declared(root: etree._Element, known: schemas.Declarations) -> None:
    """Refuse undeclared elements of known namespaces, which a lax wildcard lets through."""
    tags = {element.tag for element in root.iter(etree.Element)}
    if known.closed(root.tag, tags):
        return
    for element in root.iter(etree.Element):
        tag = element.tag
        if tag in known.top or not known.covers(tag):
            continue
        parent = element.getparent()
        if parent is not None and known.covers(parent.tag):
            declared = tag in known.inner.get(parent.tag, ())
        else:
            declared = tag in known.names
        if not declared:
            name = etree.QName(element).localname[:_NAME_LENGTH]
            raise _refusal(_line(element), f"{name}: not declared in its namespace")


def _reason(entry: Any) -> str:
    """What an entry of the error log says, without values of the document."""
    match = _SUBJECT.match(entry.message)
    name, detail = (match[1], match[2]) if match else ("", "")
    reason = _CAUSES.get(entry.type_name, "not valid by the schema")
    if required := _REQUIRED.match(detail):
        reason = f"attribute {required[1]} missing"
    elif "'xs:ID'" in detail:
        reason = _ID
    elif entry.type_name == "SCHEMAV_ELEMENT_CONTENT":
        missing = detail.startswith("Missing child")
        reason = "child element missing" if missing else "not expected here"
        names = _expected(detail)
        if names:
            reason += f"; expected {'one of ' if len(names) > 1 else ''}{', '.join(names)}"
    return f"{name[:_NAME_LENGTH]}: {reason}" if name else reason


def _expected(detail: str) -> list[str]:
    """Local names of the elements that the schema expects, a few of them."""
    match = _EXPECTED.search(detail)
    if match is None:
        return []
    found = [item.strip() for item in match[1].split(", ")]
    names = [item.rpartition("}")[2] for item in found if not item.startswith("##")]
    return [name for name in names if name != "*"][:_NAMES_SHOWN]


def _refusal(line: int, reason: str) -> Conflict:
    text = f"line {line}: {reason}" if line else reason
    return Conflict("schema-validation-error", text)


def _line(element: etree._Element) -> int:
    number: Any = element.sourceline
    return int(number or 0)


@cache
def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        collect_ids=False,
    )


@cache
def _size() -> etree.XPath:
    return etree.XPath("count(//*) + count(//@*)")


@cache
def _ids() -> etree.XPath:
    """Attributes of type xs:ID in our schemas."""
    spaces = {"cp": _CP[1:-1], "p": _PIDF[1:-1], "dm": _DM[1:-1], "r": _RPID[1:-1]}
    return etree.XPath(
        "//cp:rule/@id | //p:tuple/@id | //dm:*/@id | //r:*/@id | //@xml:id", namespaces=spaces
    )
