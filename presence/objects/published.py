"""The objects of a publication: how they come, and how they are kept (SRC-03, CIN-01, CIN-02).

A source names its objects as it likes, and another source may use the same names for others.
So each object has a second name, made of what it is: the one that watchers are told.  Equal
objects have equal names, in every publication and after every restart, and a changed one has
another (AGP-114).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import attrs
import msgspec

from pysip.errors import ParseError, SipError
from pysip.external import EXTERNAL_BODY, ExternalBody, parse_external
from pysip.header import parse_media_type
from pysip.mime import Part, decode_body, parse_related

__all__ = [
    "EXTERNAL_BODY",
    "RELATED",
    "ObjectLimits",
    "PublishedObject",
    "Unpacked",
    "check",
    "decode",
    "encode",
    "next_end",
    "unpack",
]

RELATED: Final = "multipart/related"


@attrs.frozen(slots=True)
class ObjectLimits:
    """What a publication may have beside its document.

    :ivar count: objects.
    :ivar size: octets of one that stands in the PUBLISH (AGP-116).
    :ivar inline: octets of one that stands in a NOTIFY: CLIENT-OBJ-DATA-LIMIT; 0 for none at
        all (AGP-116).
    :ivar referenced: octets that one may have that is told by reference (AGP-115).
    """

    count: int = 16
    size: int = 5120
    inline: int = 5120
    referenced: int = 1048576


class PublishedObject(msgspec.Struct, frozen=True, gc=False):
    """An object of a publication; read by the release before and after this one, too.

    :ivar cid: Content-ID that the publication's document has, without brackets.
    :ivar name: Content-ID that watchers are told.
    :ivar content_type: as published; "" when only the Content Server knows it.
    :ivar disposition: Content-Disposition as published; "" for none.
    :ivar body: octets; empty for a reference.
    :ivar url: where it is; "" for one that is here.
    :ivar expires: seconds of the Unix epoch until which the URL is good; 0 for one that is here.
    :ivar size: octets, None when that is not known.
    :ivar sha1: hash, 40 hexadecimal digits in lower case; "" when it is not known.
    """

    cid: str
    name: str
    content_type: str = ""
    disposition: str = ""
    body: bytes = b""
    url: str = ""
    expires: float = 0.0
    size: int | None = None
    sha1: str = ""

    def over(self, now: float) -> bool:
        """Whether it is a reference that is good no longer (CIN-09)."""
        return bool(self.url) and self.expires <= now


@attrs.frozen(slots=True)
class Unpacked:
    """What a body holds.

    :ivar content_type: of the document, with its parameters.
    :ivar document: octets of the root.
    """

    content_type: str
    document: bytes
    objects: tuple[PublishedObject, ...] = ()


_MAX_VALUE: Final = 512
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(tuple[PublishedObject, ...])


def encode(objects: Sequence[PublishedObject]) -> bytes:
    """Objects as they are kept with a publication; b"" for none."""
    return _encoder.encode(objects) if objects else b""


def decode(kept: bytes) -> tuple[PublishedObject, ...]:
    """The reverse of :func:`encode`; nothing when it is none of ours."""
    if not kept:
        return ()
    try:
        return _decoder.decode(kept)
    except msgspec.DecodeError:
        return ()  # the document is told without them


def next_end(kept: bytes, now: float) -> float | None:
    """When the next reference is good no longer; None for never (CIN-09).

    :param kept: from :func:`encode`.
    """
    ends = (each.expires for each in decode(kept) if each.url and each.expires > now)
    return min(ends, default=None)


def unpack(
    content_type: str,
    body: bytes,
    host: str,
    limits: ObjectLimits,
    total: int,
    documents: Sequence[str] = ("application/pidf+xml",),
) -> Unpacked:
    """Take a ``multipart/related`` body apart, or give any other back as it is.

    Parts without a Content-ID are left out: no document can refer to them (CIN-02).  So are
    parts of a kind that cannot be an object if they are marked as optional; whether the others
    are referred to is for the document to say.

    :param content_type: Content-Type of the body.
    :param host: domain that names are made in.
    :param total: octets that all may have together.
    :param documents: media types of documents.
    :raises SipError: 400 for a broken multipart or reference, 413 for too much, 415 for a root
        that is no document and for parts of a kind that is not taken, 513 for a reference to
        something too large; all with a Warning.
    """
    try:
        media = parse_media_type(content_type)
        if media.type == EXTERNAL_BODY:
            # what is needed to answer is not fetched: Accept, without a word of references, tells
            # to send it in the body (CIN-04, RFC 4483 section 5.3)
            raise _refused(415, "the document itself is needed here", (*documents, RELATED))
        if media.type != RELATED:
            return Unpacked(content_type, body)
        if len(body) > total:
            raise _refused(413, f"document with objects larger than {total} octets")
        related = parse_related(media, body)
        root = related.root
        if root.content_type.type not in documents:
            raise _refused(415, "the root has to be the document", (*documents, RELATED))
        objects = _objects(related.others, host, limits, (*documents, RELATED, EXTERNAL_BODY))
        return Unpacked(root.headers["content-type"][0], _decoded(root), objects)
    except ParseError as error:
        raise _refused(400, f"multipart: {error}") from None


def check(objects: Sequence[PublishedObject], size: int, limits: ObjectLimits, total: int) -> None:
    """Refuse what several changes together have made too much.

    :param size: octets of the document.
    :raises SipError: 413.
    """
    if len(objects) > limits.count:
        raise _refused(413, f"more than {limits.count} objects")
    if size + sum(len(each.body) for each in objects) > total:
        raise _refused(413, f"document with objects larger than {total} octets")


def _objects(
    parts: Sequence[Part], host: str, limits: ObjectLimits, accept: Sequence[str]
) -> tuple[PublishedObject, ...]:
    if len(parts) > limits.count:
        raise _refused(413, f"more than {limits.count} objects")
    found: dict[str, PublishedObject] = {}
    for part in parts:
        media = part.content_type
        if media.type == EXTERNAL_BODY:
            made = _referenced(part, host, limits)
        elif media.type.startswith(("multipart/", "message/")) or _encoded(part):
            if part.optional:
                continue
            raise _refused(415, "an object of a kind that is not taken", accept)
        else:
            made = _enclosed(part, host, limits)
        if made is None or not made.cid:
            continue
        if made.cid in found:
            raise _refused(400, "multipart: Content-ID used twice")
        found[made.cid] = made
    return tuple(found.values())


def _referenced(part: Part, host: str, limits: ObjectLimits) -> PublishedObject | None:
    try:
        told = parse_external(part)
    except ParseError:
        if part.optional:
            return None  # CIN-05: no error for what may be missing
        raise
    _check_text(told.content_type, told.disposition, told.content_id)
    if told.size is not None and told.size > limits.referenced:
        raise _refused(513, f"object larger than {limits.referenced} octets")
    return PublishedObject(
        told.content_id,
        _name_of_reference(told, host),
        told.content_type,
        told.disposition,
        b"",
        told.url,
        told.expiration,
        told.size,
        told.sha1,
    )


def _enclosed(part: Part, host: str, limits: ObjectLimits) -> PublishedObject:
    size = len(part.body)
    if size > limits.size:
        raise _refused(413, f"object larger than {limits.size} octets")
    kind = part.first("content-type") or "text/plain"
    disposition = part.first("content-disposition") or ""
    _check_text(kind, disposition, part.content_id)
    name = _name(host, kind, part.body)
    return PublishedObject(part.content_id, name, kind, disposition, part.body, "", 0.0, size)


def _name_of_reference(told: ExternalBody, host: str) -> str:
    """Of the content if that is known; else of the place and what its source calls it."""
    if told.sha1:
        return _name(host, told.content_type, b"sha1 " + told.sha1.encode())
    return _name(host, told.content_type, f"at {told.content_id} {told.url}".encode())


def _name(host: str, content_type: str, what: bytes) -> str:
    kind = content_type.encode()
    return f"{sha256(b'%d %b %b' % (len(kind), kind, what)).hexdigest()[:32]}@{host}"


def _check_text(*values: str) -> None:
    """Refuse header values that are too long or no text: they will be written again."""
    if not all(len(value) <= _MAX_VALUE and value.isprintable() for value in values):
        raise ParseError("odd or too long part header")


def _encoded(part: Part) -> bool:
    return any(value.strip().lower() != "identity" for value in part.headers.get(_ENCODING, ()))


def _decoded(root: Part) -> bytes:
    if not _encoded(root):
        return root.body
    names = [name for value in root.headers[_ENCODING] for name in value.split(",")]
    return decode_body(names, root.body)


def _refused(status: int, text: str, accept: Sequence[str] = ()) -> SipError:
    headers = [("Warning", f'399 presence "{text}"')]
    if accept:
        headers.append(("Accept", ", ".join(accept)))
    return SipError(status, None, headers)


_ENCODING: Final = "content-encoding"
