"""Bytes from the network to an XML tree, within limits (MSG-28, PID-01, XML-01).

Documents are brought to UTF-8 with an XML declaration first; the checks that protect the
parser look at bytes, so they cost a few hundred nanoseconds for an ordinary document.
"""

from __future__ import annotations

import codecs
import re
from functools import cache
from typing import Any, Final

from lxml import etree

DECLARATION: Final = b'<?xml version="1.0" encoding="UTF-8"?>'
"""The XML declaration of every document we write (PID-01)."""

MAX_DEPTH: Final = 64
MAX_ATTRIBUTES: Final = 256
MAX_NAMESPACE: Final = 1024
"""Octets of a namespace name; validation copies it for every element and attribute in it."""

_CODECS: Final[dict[str, str]] = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "iso-8859-15": "iso8859-15",
    "windows-1252": "cp1252",
}
_DECLARED: Final = re.compile(
    rb"<\?xml\s+version\s*=\s*(?:'1\.0'|\"1\.0\")"
    rb"(?:\s+encoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._-]*)[\"'])?"
    rb"(?:\s+standalone\s*=\s*[\"'](?:yes|no)[\"'])?\s*\?>"
)
_ANY_DECLARATION: Final = re.compile(r"<\?xml\s[^<>]*\?>")
_QUOTED: Final = re.compile(rb"\"[^\"]*\"|'[^']*'")
_LONG: Final = re.compile(
    rb"=\s*(?:\"[^\"]{%d}|'[^']{%d})" % (MAX_NAMESPACE + 1, MAX_NAMESPACE + 1)
)
_DEEP: Final = f"boolean({'/*' * (MAX_DEPTH + 1)})"


class DocumentError(ValueError):
    """A presence document is refused.

    :ivar status: response code: 400, 413 or 415.
    :ivar reason: short text naming line and cause; never quotes the document, so that it
        can stand in a reason phrase, a Warning and in logs.
    :ivar line: line of the document counted from 1; 0 when none is to blame.
    """

    def __init__(self, status: int, reason: str, line: int = 0) -> None:
        self.status = status
        self.reason = f"line {line}: {reason}" if line else reason
        self.line = line
        super().__init__(self.reason)


def to_utf8(body: bytes, charset: str | None = None) -> bytes:
    """``body`` in UTF-8 with an XML declaration that says so (PID-01).

    An ordinary document comes back as the same object. Line numbers do not change.

    :param charset: the ``charset`` parameter of the Content-Type; it wins over the XML
        declaration and over a byte order mark.
    :raises DocumentError: 415 for a character set not supported, 400 for octets that do
        not belong to it.
    """
    if charset is None:
        if body.startswith(DECLARATION):
            return body
        declared = _DECLARED.match(body)
        if declared is not None and (declared[1] or b"").lower() == b"utf-8":
            return body
        codec = _sniff(body, declared[1] if declared is not None else None)
    else:
        codec = _codec(charset)
        if codec == "utf-8" and body.startswith(DECLARATION):
            return body
        if codec == "utf-16":
            codec = "utf-16-le" if body.startswith((codecs.BOM_UTF16_LE, b"<\0")) else "utf-16-be"
    try:
        text = body.decode(codec)
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise DocumentError(400, "octets outside the character set", line) from None
    text = text.removeprefix("\ufeff")
    stated = _ANY_DECLARATION.match(text)
    if stated is None:
        return DECLARATION + text.encode()
    lines = "\n" * stated[0].count("\n")
    return DECLARATION + (lines + text[stated.end() :]).encode()


def _sniff(body: bytes, declared: bytes | None) -> str:
    """The codec a document itself tells, XML 1.0 appendix F."""
    if body.startswith((codecs.BOM_UTF16_LE, b"<\0")):
        return "utf-16-le"
    if body.startswith((codecs.BOM_UTF16_BE, b"\0<")):
        return "utf-16-be"
    if declared is None:
        return "utf-8"
    codec = _codec(declared.decode("ascii"))
    # a declaration that could be read octet by octet is not UTF-16, whatever it says
    return "utf-8" if codec.startswith("utf-16") else codec


def _codec(charset: str) -> str:
    """The Python codec of a character set name.

    :raises DocumentError: 415, it is not supported.
    """
    codec = _CODECS.get(charset.strip().lower())
    if codec is None:
        raise DocumentError(415, "character set not supported")
    return codec


def parse(data: bytes) -> etree._Element:
    """The root element of a UTF-8 document, comments and white space included.

    :raises DocumentError: 400, not well-formed, a DTD (MSG-28), or too deep.
    """
    return _parse(data, _faithful_parser())


def parse_compact(data: bytes) -> etree._Element:
    """As :func:`parse`, without comments, processing instructions and blank text (XML-02)."""
    return _parse(data, _compact_parser())


def parse_own(data: bytes) -> etree._Element:
    """As :func:`parse_compact`, of a document that we wrote: the limits do not hold.

    What many sources say within the limits may together be beyond them.

    :raises DocumentError: 400, not well-formed.
    """
    return _build(data, _compact_parser())


def parse_exact(data: bytes) -> etree._Element:
    """As :func:`parse`, of a document that was checked or composed: the limits do not hold.

    :raises DocumentError: 400, not well-formed.
    """
    return _build(data, _faithful_parser())


def _parse(data: bytes, parser: etree.XMLParser) -> etree._Element:
    """Check the markup, then build the tree."""
    if b"<!DOCTYPE" in data:
        _refuse_dtd(data)
    if data.count(b"=") > MAX_ATTRIBUTES:
        _limit_attributes(data)
    if len(data) > MAX_NAMESPACE:
        _limit_namespaces(data)
    root = _build(data, parser)
    # every level of depth but the last needs an end tag of its own
    if data.count(b"</") >= MAX_DEPTH and _deep()(root):
        raise DocumentError(400, f"elements nested deeper than {MAX_DEPTH}")
    return root


def _build(data: bytes, parser: etree.XMLParser) -> etree._Element:
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        log: Any = error.error_log
        kind: str = log.last_error.type_name if log.last_error is not None else ""
        name = kind.removeprefix("ERR_").removeprefix("WAR_").replace("_", " ").lower()
        reason = f"not well-formed XML ({name})" if name else "not well-formed XML"
        raise DocumentError(400, reason, error.lineno or 1) from None
    return root


def _refuse_dtd(data: bytes) -> None:
    """Refuse a DOCTYPE before the root element; in comments and text the word is harmless."""
    at = data.find(b"<")
    while at >= 0:
        if data.startswith(b"<!--", at):
            at = data.find(b"-->", at)
        elif data.startswith(b"<?", at):
            at = data.find(b"?>", at)
        elif data.startswith(b"<!DOCTYPE", at):
            raise DocumentError(400, "document type declaration", data.count(b"\n", 0, at) + 1)
        else:
            return
        at = data.find(b"<", at) if at >= 0 else at


def _limit_attributes(data: bytes) -> None:
    """Count the attributes, namespace declarations included, of tags that could have many.

    ``<`` cannot stand inside a tag, so each piece between two of them holds one tag at
    most; comments that look like tags are counted too.
    """
    line = 1
    for piece in data.split(b"<"):
        if piece.count(b"=") > MAX_ATTRIBUTES and not piece.startswith((b"!", b"?", b"/")):
            tag = _QUOTED.sub(b"", piece).split(b">", 1)[0]
            if tag.count(b"=") > MAX_ATTRIBUTES:
                raise DocumentError(400, f"more than {MAX_ATTRIBUTES} attributes", line)
        line += piece.count(b"\n")


def _limit_namespaces(data: bytes) -> None:
    """Refuse namespace declarations that are too long, wherever they seem to be."""
    for value in _LONG.finditer(data):
        words = data[: value.start()].rsplit(None, 1)
        if words and words[-1].startswith(b"xmlns"):
            line = data.count(b"\n", 0, value.start()) + 1
            raise DocumentError(400, f"namespace name longer than {MAX_NAMESPACE} octets", line)


@cache
def _faithful_parser() -> etree.XMLParser:
    """The parser that keeps everything; made on first use."""
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, collect_ids=False
    )


@cache
def _compact_parser() -> etree.XMLParser:
    """The parser that keeps elements, attributes and text only; made on first use."""
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        collect_ids=False,
        remove_blank_text=True,
        remove_comments=True,
        remove_pis=True,
        strip_cdata=True,
    )


@cache
def _deep() -> etree.XPath:
    """True for a document with an element below the greatest depth."""
    return etree.XPath(_DEEP)
