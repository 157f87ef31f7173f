"""A document and its objects as one body for a watcher (RFC 2387, CIN-07, CIN-08)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from hashlib import blake2b
from typing import Final

from presence.objects.published import EXTERNAL_BODY, RELATED, PublishedObject
from pysip.external import ExternalBody, write_external
from pysip.header import accepts, parse_accept
from pysip.mime import Part, write_related

__all__ = [
    "Takes",
    "Telling",
    "available",
    "choose",
    "enclosed",
    "noted",
    "noting",
    "referred",
    "related",
    "takes",
    "without",
]

_LISTS: Final = "application/rlmi+xml"
_MARK: Final = b"\0"


class Takes(IntEnum):
    """What a watcher takes beside a document."""

    NOTHING = 0
    OBJECTS = 1
    REFERENCES = 2
    """References too (CIN-04)."""


class Telling(IntEnum):
    """How a watcher is told of an object."""

    NOT = 0
    ENCLOSED = 1
    """It is here."""
    FETCHED = 2
    """It stands in the body, after it was fetched."""
    REFERRED = 3
    """By the reference that was published."""
    STORED = 4
    """By a reference, after it was stored."""


def takes(accept: Sequence[str] | None) -> Takes:
    """What the Accept of a SUBSCRIBE says, None for none (CIN-04).

    A ``*/*`` counts for documents only: who writes that seldom reads multiparts.  Who names
    RLMI beside ``multipart/related`` wants that for lists; with ``message/external-body`` in
    it, it is for objects as well.

    :raises pysip.errors.ParseError: it is malformed.
    """
    if accept is None or not any("multipart/" in each.lower() for each in accept):
        return Takes.NOTHING
    ranges = [each for each in parse_accept(accept) if each[0] != "*/*"]
    if not accepts(ranges, RELATED):
        return Takes.NOTHING
    if accepts(ranges, EXTERNAL_BODY):
        return Takes.REFERENCES
    return Takes.NOTHING if accepts(ranges, _LISTS) else Takes.OBJECTS


_NOTED: Final = {b"%b%d" % (_MARK, each): each for each in Takes if each}


def noting(wanted: Takes, detail: bytes) -> bytes:
    """The ``detail`` of a subscription, with what its watcher takes."""
    return b"%b%d%b" % (_MARK, wanted, detail) if wanted else detail


def noted(detail: bytes) -> Takes:
    """What :func:`noting` has noted."""
    return _NOTED.get(detail[:2], Takes.NOTHING) if detail else Takes.NOTHING


def without(detail: bytes) -> bytes:
    """What was there before :func:`noting`."""
    return detail[2:] if detail[:1] == _MARK else detail


def available(records: Iterable[tuple[PublishedObject, ...]]) -> dict[str, PublishedObject]:
    """The objects of several publications by the name that watchers are told.

    Of equal ones that which is here, else the reference that is good the longest.
    """
    found: dict[str, PublishedObject] = {}
    for objects in records:
        for each in objects:
            other = found.get(each.name)
            if other is None or (other.url and (not each.url or each.expires > other.expires)):
                found[each.name] = each
    return found


def choose(told: PublishedObject, wanted: Takes, limit: int, *, served: bool) -> Telling:
    """How a watcher is told of an object (CIN-07, AGP-116).

    :param limit: octets of one that stands in the body, 0 for none.
    :param served: whether its URL is of one of our Content Servers, or, of one without, whether
        there is one (CIN-06).
    """
    if told.url:
        if wanted is Takes.REFERENCES:
            return Telling.REFERRED
        small = limit > 0 and (told.size is None or told.size <= limit)
        return Telling.FETCHED if served and small else Telling.NOT
    if limit > 0 and len(told.body) <= limit:
        return Telling.ENCLOSED
    return Telling.STORED if served and wanted is Takes.REFERENCES else Telling.NOT


def enclosed(told: PublishedObject, content_type: str, body: bytes) -> Part:
    """The part of an object that stands in the body."""
    headers = {
        "content-type": [content_type],
        "content-id": [f"<{told.name}>"],
        "content-disposition": [told.disposition or "render"],
    }
    return Part(headers, body)


def referred(told: PublishedObject, url: str, expires: float) -> Part:
    """The part of an object that is told by reference (AGP-114, CIN-11)."""
    return write_external(
        ExternalBody(
            url, expires, told.size, told.sha1, told.content_type, told.name, told.disposition
        )
    )


def related(
    content_type: str, document: bytes, parts: Sequence[Part], host: str
) -> tuple[str, bytes]:
    """Content-Type and octets of a document with its objects; the same for the same input.

    :param content_type: of the document.
    :param host: domain that its Content-ID is made in.
    """
    digest = blake2b(document, digest_size=12)
    name = f"<{digest.hexdigest()}@{host}>"
    for part in parts:
        digest.update(part.body)
    root = Part({"content-type": [content_type], "content-id": [name]}, document)
    return write_related([root, *parts], digest.hexdigest())
