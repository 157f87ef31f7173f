"""Content that is told by reference: ``message/external-body`` (RFC 4483, RFC 2017).

A part of that type has the URL and what is known of the object in its Content-Type; its body
holds the header fields that the object would have if it stood there itself.  Requirements
CIN-01, CIN-02, CIN-11, AGP-114.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from pysip.errors import ParseError
from pysip.header import format_date, parse_date, parse_media_type, quote
from pysip.mime import Part, read_headers

EXTERNAL_BODY: Final = "message/external-body"

_SPACE: Final = re.compile(r"[ \t\r\n]+")
_URL: Final = re.compile(r"(https?)://[!#-;=?-Z_a-z~\[\]]+", re.IGNORECASE)
_MAX_URL: Final = 2048
_SIZE: Final = re.compile(r"[0-9]{1,15}")
_SHA1: Final = re.compile(r"[0-9A-Fa-f]{40}")
# "24 June 2002", as all examples of RFC 4483 have it, is none of RFC 1123
_LONG_MONTH: Final = re.compile(
    r"(?<= )(Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    r"(?:uary|ruary|ch|il|e|y|ust|tember|ober|ember)(?= )"
)


@attrs.frozen(slots=True)
class ExternalBody:
    """A reference to an object.

    :ivar url: ``http`` or ``https``, where the object is.
    :ivar expiration: seconds of the Unix epoch until which it is there.
    :ivar size: octets, None when not told.
    :ivar sha1: hash of the object, 40 hexadecimal digits in lower case; "" when not told.
    :ivar content_type: of the object, as written; "" when not told.
    :ivar content_id: without angle brackets; "" for none.
    :ivar disposition: Content-Disposition as written; "" for none.
    """

    url: str
    expiration: float
    size: int | None = None
    sha1: str = ""
    content_type: str = ""
    content_id: str = ""
    disposition: str = ""


def parse_external(part: Part) -> ExternalBody:
    """Read a part of type ``message/external-body``.

    The header fields inside may be missing (CIN-02); a Content-ID or Content-Disposition that
    only the part itself has is taken for the object's.

    :raises ParseError: another type, an access-type other than URL, no URL with scheme
        ``http`` or ``https``, no expiration, or a malformed parameter or header field.
    """
    media = part.content_type
    if media.type != EXTERNAL_BODY:
        raise ParseError("No external body")
    params = media.params
    if (params.get("access-type") or "").lower() != "url":
        raise ParseError("External body without access-type URL")
    inside = Part(read_headers(part.body.partition(b"\r\n\r\n")[0].strip(b"\r\n")), b"")
    kind = inside.first("content-type") or ""
    if kind:
        parse_media_type(kind)
    return ExternalBody(
        _url(params.get("url") or ""),
        _expiration(params.get("expiration") or ""),
        _size(params.get("size")),
        _sha1(params.get("hash")),
        kind,
        inside.content_id or part.content_id,
        inside.first("content-disposition") or part.first("content-disposition") or "",
    )


def write_external(reference: ExternalBody) -> Part:
    """The part that tells of an object by reference (AGP-114).

    A Content-Disposition is always there, ``render`` when nothing else is known (CIN-02).

    :raises ValueError: a line end in one of the values.
    """
    params = [
        'access-type="URL"',
        f'expiration="{format_date(reference.expiration)}"',
        f"URL={quote(reference.url)}",
    ]
    if reference.size is not None:
        params.append(f"size={reference.size}")
    if reference.sha1:
        params.append(f"hash={reference.sha1}")
    fields = [("Content-Type", reference.content_type)] if reference.content_type else []
    if reference.content_id:
        fields.append(("Content-ID", f"<{reference.content_id}>"))
    fields.append(("Content-Disposition", reference.disposition or "render"))
    lines = [f"{name}: {value}" for name, value in fields]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("line end in a header value")
    body = "".join(f"{line}\r\n" for line in [*lines, ""])
    return Part(
        {"content-type": [f"{EXTERNAL_BODY};{';'.join(params)}"]},
        body.encode("utf-8", "surrogateescape"),
    )


def _url(text: str) -> str:
    # a long one may be broken into pieces (RFC 2017 section 3.1)
    url = _SPACE.sub("", text)
    if len(url) > _MAX_URL or not _URL.fullmatch(url):
        raise ParseError("External body without http URL")
    return url


def _expiration(text: str) -> float:
    at = parse_date(_LONG_MONTH.sub(r"\1", _SPACE.sub(" ", text)))
    if at is None:
        raise ParseError("External body without expiration")
    return at


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    if not _SIZE.fullmatch(text):
        raise ParseError("Bad size of an external body")
    return int(text)


def _sha1(text: str | None) -> str:
    if text is None:
        return ""
    if not _SHA1.fullmatch(text):
        raise ParseError("Bad hash of an external body")
    return text.lower()
