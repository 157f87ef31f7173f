"""MIME bodies of SIP messages: multiparts, content encodings, dispositions.

Sources: RFC 2046 section 5.1, RFC 2387, RFC 2392, RFC 5621 sections 3, 4 and 8, RFC 3261
sections 20.11 and 20.12; requirements MSG-25 to MSG-27, MPR-01 to MPR-04, CLI-14, CLI-16, CLI-17.
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

import attrs

from pysip.errors import ParseError, SipError
from pysip.header import MediaType, format_params, is_token, parse_media_type, parse_params
from pysip.message import HEADER_NAMES

ACCEPT_ENCODING = "gzip, deflate, identity"
"""Value of Accept-Encoding that tells what :func:`decode_body` reads."""

MAX_DEPTH = 8
"""Levels of multipart inside multipart that are read (MSG-25)."""

MAX_DECODED = 1048576
"""Octets that a body may have after decoding (MSG-26)."""

_MAX_RATIO = 10
# Repetitive XML of a few kilobytes compresses better than 1:10 without being an attack, so
# the ratio of MSG-26 rules above this size only.
_RATIO_FREE = 16384

_FOLD = re.compile(r"[ \t]*\r\n[ \t]+")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_BLANKS = " \t"


@attrs.frozen(slots=True)
class Part:
    """One part of a multipart body.

    :ivar headers: raw values by lower-case name, as in :class:`pysip.message.Message`.
    :ivar body: octets, the content transfer encoding undone.
    :ivar parts: the parts inside, if this is a multipart itself.
    """

    headers: dict[str, list[str]]
    body: bytes
    parts: tuple[Part, ...] = ()

    def first(self, name: str) -> str | None:
        """The first value of a header field by its lower-case name, None when absent."""
        values = self.headers.get(name)
        return values[0] if values else None

    @property
    def content_type(self) -> MediaType:
        """The media type, ``text/plain`` when there is none (RFC 2046 section 5.1).

        :raises ParseError: it is malformed.
        """
        value = self.first("content-type")
        return MediaType("text/plain") if value is None else parse_media_type(value)

    @property
    def content_id(self) -> str:
        """The Content-ID without its angle brackets, "" when absent (CLI-17)."""
        value = self.first("content-id") or ""
        return value[1:-1] if value[:1] == "<" and value[-1:] == ">" else value

    @property
    def optional(self) -> bool:
        """Whether it may be ignored when it is not understood (MSG-27)."""
        return disposition_optional(self.first("content-disposition"))


@attrs.frozen(slots=True)
class Related:
    """A ``multipart/related`` body: a root and what it refers to (RFC 2387).

    :ivar root: the part that is to be read first.
    :ivar parts: the other parts by Content-ID; of equal ones the first.
    :ivar others: all other parts, in order.
    """

    root: Part
    parts: dict[str, Part]
    others: tuple[Part, ...] = ()

    def find(self, reference: str) -> Part | None:
        """The part that a Content-ID or a ``cid:`` URL refers to (MPR-02, RFC 2392)."""
        if reference[:4].lower() == "cid:":
            reference = unquote(reference[4:])
        return self.parts.get(reference)


def parse_multipart(content_type: str | MediaType, body: bytes, *, within: int = 0) -> list[Part]:
    """Read a multipart body with the multiparts inside it (MSG-25).

    Preamble and epilogue are dropped.  Parts whose Content-Transfer-Encoding is ``base64``
    or ``quoted-printable`` come decoded.

    :param content_type: Content-Type of the body.
    :param within: levels of multipart that are around it, or will be.
    :raises ParseError: no multipart, no usable boundary, no closing delimiter, a broken part
        header or transfer encoding, or more than :data:`MAX_DEPTH` levels.
    """
    if isinstance(content_type, str):
        content_type = parse_media_type(content_type)
    return _parse_multipart(content_type, body, within + 1)


def write_multipart(
    parts: Iterable[Part],
    subtype: str,
    boundary: str,
    params: Mapping[str, str | None] | None = None,
    *,
    names: Mapping[str, str] = HEADER_NAMES,
) -> tuple[str, bytes]:
    """Write a multipart body; returns its Content-Type and the octets.

    Part bodies are written as they are: ``binary`` needs no encoding in SIP.

    :param subtype: ``related``, ``mixed``, ...
    :param boundary: a token, so that it needs no quotes (CLI-14), which occurs in no body.
    :param params: other parameters of the Content-Type, for instance ``type`` and ``start``.
    :param names: spelling of part header names by lower-case name (CLI-17).
    :raises ValueError: the boundary is no token of at most 70 characters, or occurs in a body.
    """
    if not is_token(boundary) or len(boundary) > 70:
        raise ValueError("boundary is no token")
    delimiter = f"--{boundary}".encode("ascii")
    chunks: list[bytes] = []
    for part in parts:
        if delimiter in part.body:
            raise ValueError("boundary occurs in a part")
        chunks += (delimiter, b"\r\n")
        for name, values in part.headers.items():
            for value in values:
                line = f"{names.get(name) or name.title()}: {value}"
                if "\r" in line or "\n" in line:
                    raise ValueError("line end in a header value")
                chunks += (line.encode("utf-8", "surrogateescape"), b"\r\n")
        chunks += (b"\r\n", part.body, b"\r\n")
    chunks += (delimiter, b"--\r\n")
    tail = format_params(params) if params else ""
    return f"multipart/{subtype}{tail};boundary={boundary}", b"".join(chunks)


def parse_related(content_type: str | MediaType, body: bytes) -> Related:
    """Read a ``multipart/related`` body with the multiparts inside it (MPR-01).

    ``start-info`` is ignored.  Without ``type`` the root is what it says itself.

    :param content_type: Content-Type of the body.
    :raises ParseError: it is none, ``start`` names no part, the root is not of the type that
        ``type`` tells, or as for :func:`parse_multipart`.
    """
    if isinstance(content_type, str):
        content_type = parse_media_type(content_type)
    if content_type.type != "multipart/related":
        raise ParseError("No multipart/related")
    parts = parse_multipart(content_type, body)
    root = parts[0]
    start = content_type.params.get("start")
    if start:
        wanted = start[1:-1] if start[:1] == "<" and start[-1:] == ">" else start
        found = next((part for part in parts if part.content_id == wanted), None)
        if found is None:
            raise ParseError("Multipart without its root")
        root = found
    kind = content_type.params.get("type")
    if kind and root.content_type.type != parse_media_type(kind).type:
        raise ParseError("Root of another type")
    others = tuple(part for part in parts if part is not root)
    by_id: dict[str, Part] = {}
    for part in others:
        by_id.setdefault(part.content_id, part)
    return Related(root, by_id, others)


def write_related(
    parts: Sequence[Part], boundary: str, *, names: Mapping[str, str] = HEADER_NAMES
) -> tuple[str, bytes]:
    """Write a ``multipart/related`` body; returns its Content-Type and the octets.

    :param parts: the root first, which has a Content-Type and a Content-ID.
    :param boundary: a token; digits are added while it occurs in a part (MPR-04).
    :param names: as for :func:`write_multipart`.
    :raises ValueError: the boundary is no token of at most 70 characters.
    """
    root = parts[0]
    delimiter = b"--" + boundary.encode()
    while any(delimiter in part.body for part in parts):
        delimiter += b"0"
    params = {"type": root.content_type.type, "start": f"<{root.content_id}>"}
    return write_multipart(parts, "related", delimiter[2:].decode(), params, names=names)


def codings_known(encodings: Iterable[str]) -> bool:
    """Whether :func:`decode_body` knows all of these content encodings."""
    known = ("gzip", "x-gzip", "deflate", "identity")
    return all(name.strip(_BLANKS).lower() in known for name in encodings)


def decode_body(encodings: Sequence[str], body: bytes, limit: int = MAX_DECODED) -> bytes:
    """Undo the content encodings of a body (MSG-26).

    An empty body stays empty whatever its Content-Encoding says (CLI-16).  ``deflate`` is
    the zlib format; raw deflate data is understood too.

    :param encodings: Content-Encoding values in the order they were applied.
    :param limit: octets that the result may have.
    :raises SipError: 415 for an unknown encoding, 413 for a result over ``limit`` or out of
        proportion, 400 for broken data.
    """
    if not codings_known(encodings):
        raise SipError(415, None, [("Accept-Encoding", ACCEPT_ENCODING)])
    limit = min(limit, max(_MAX_RATIO * len(body), _RATIO_FREE))
    for name in reversed(encodings):
        name = name.strip(_BLANKS).lower()
        if body and name != "identity":
            body = _inflate(body, name == "deflate", limit)
    if len(body) > limit:
        raise SipError(413)
    return body


def read_headers(head: bytes) -> dict[str, list[str]]:
    """Read the header fields of a part: raw values by lower-case name, in order.

    :param head: lines with CRLF between them; folded ones are joined.
    :raises ParseError: a line that is none.
    """
    headers: dict[str, list[str]] = {}
    if head:
        text = _FOLD.sub(" ", str(head, "utf-8", "surrogateescape"))
        for line in text.split("\r\n"):
            name, colon, value = line.partition(":")
            name = name.rstrip(_BLANKS)
            if not colon or not is_token(name):
                raise ParseError("Malformed part header")
            headers.setdefault(name.lower(), []).append(value.strip(_BLANKS))
    return headers


def parse_disposition(value: str) -> tuple[str, dict[str, str | None]]:
    """Read a Content-Disposition: type in lower case, and parameters.

    :raises ParseError: no type token, or a bad parameter.
    """
    kind, semicolon, tail = value.partition(";")
    kind = kind.strip(_BLANKS).lower()
    if not is_token(kind) or (semicolon and not tail):
        raise ParseError("Bad Content-Disposition")
    return kind, parse_params(tail) if semicolon else {}


def disposition_optional(value: str | None) -> bool:
    """Whether a Content-Disposition says ``handling=optional``; ``required`` is the default.

    A malformed value counts as required (MSG-27).
    """
    if value is None:
        return False
    try:
        handling = parse_disposition(value)[1].get("handling")
    except ParseError:
        return False
    return handling is not None and handling.lower() == "optional"


def _parse_multipart(content_type: MediaType, body: bytes, depth: int) -> list[Part]:
    boundary = content_type.params.get("boundary") or ""
    if not content_type.type.startswith("multipart/") or not _BOUNDARY.fullmatch(boundary):
        raise ParseError("Multipart without boundary")
    if depth > MAX_DEPTH:
        raise ParseError("Multipart nested too deep")
    # blanks may follow the boundary; the line end before it belongs to the delimiter, and is
    # looked at afterwards: a pattern that begins with plain text is found many times faster
    delimiter = re.compile(b"--" + re.escape(boundary.encode("ascii")) + rb"(--)?[ \t]*(?=\r\n|\Z)")
    parts: list[Part] = []
    start = -1
    for mark in delimiter.finditer(body):
        end = mark.start() - 2
        if end != -2 and not body.startswith(b"\r\n", max(end, 0)):
            continue
        if start >= 0:
            parts.append(_parse_part(body[start : max(start, end)], depth))
        if mark[1]:
            if start < 0:
                break
            return parts
        start = mark.end() + 2
    raise ParseError("Multipart body does not end" if parts else "Multipart body without parts")


def _parse_part(data: bytes, depth: int) -> Part:
    if data.startswith(b"\r\n"):
        head, body = b"", data[2:]
    else:
        head, _, body = data.partition(b"\r\n\r\n")
    headers = read_headers(head)
    encoding = headers.get("content-transfer-encoding")
    if encoding:
        body = _transfer_decode(encoding[0].lower(), body)
    part = Part(headers, body)
    if "content-type" in headers:
        media = part.content_type
        if media.type.startswith("multipart/"):
            return attrs.evolve(part, parts=tuple(_parse_multipart(media, body, depth + 1)))
    return part


def _transfer_decode(encoding: str, body: bytes) -> bytes:
    if encoding in ("binary", "8bit", "7bit"):
        return body
    if encoding == "base64":
        try:
            return binascii.a2b_base64(b"".join(body.split()), strict_mode=True)
        except binascii.Error:
            raise ParseError("Bad base64 in a part") from None
    if encoding == "quoted-printable":
        return binascii.a2b_qp(body)
    raise ParseError("Unknown Content-Transfer-Encoding")


def _inflate(data: bytes, deflate: bool, limit: int) -> bytes:
    window = 31
    if deflate:
        is_zlib = len(data) > 1 and data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
        window = 15 if is_zlib else -15
    chunks: list[bytes] = []
    size = 0
    try:
        # a gzip file may have several members
        while data:
            stream = zlib.decompressobj(window)
            chunk = stream.decompress(data, limit - size + 1)
            size += len(chunk)
            if size > limit:
                raise SipError(413)
            chunks.append(chunk)
            if not stream.eof:
                raise SipError(400, "Encoded body is cut off")
            data = stream.unused_data
            if data and deflate:
                raise SipError(400, "Text after encoded body")
    except zlib.error:
        raise SipError(400, "Body is not in its Content-Encoding") from None
    return b"".join(chunks)
