"""How a source tells of an object, and what it makes of a server's refusal (SRC-03, AGP-116)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from hashlib import blake2b
from typing import Final

import attrs

from pysip.errors import ParseError
from pysip.external import EXTERNAL_BODY, ExternalBody, parse_external, write_external
from pysip.header import accepts, parse_accept
from pysip.mime import Part

RELATED: Final = "multipart/related"


class Way(Enum):
    """How an object is told."""

    ENCLOSED = auto()
    """It stands in the PUBLISH."""
    REFERRED = auto()
    """It is stored, and a reference to it stands in the PUBLISH."""
    LINKED = auto()
    """It is stored, and its URL stands in the document."""
    NOT = auto()


@attrs.frozen(slots=True, kw_only=True)
class Taken:
    """What a server takes beside a document, as far as is known.

    :ivar enclosed: octets that an object in a PUBLISH may have, 0 for none: at most
        CLIENT-OBJ-DATA-LIMIT (AGP-116).
    :ivar related: whether it takes ``multipart/related``.
    :ivar references: whether it takes ``message/external-body`` (CIN-04).
    :ivar stored: octets that an object may have that is elsewhere, None for any number.
    """

    enclosed: int
    related: bool = True
    references: bool = True
    stored: int | None = None

    def way(self, size: int) -> Way:
        """How an object of so many octets is told."""
        if self.related and size <= self.enclosed:
            return Way.ENCLOSED
        if self.stored is not None and size > self.stored:
            return Way.NOT
        return Way.REFERRED if self.related and self.references else Way.LINKED


def taken_after(
    before: Taken, parts: Sequence[Part], status: int, accept: Sequence[str] | None
) -> Taken | None:
    """What a server takes that has refused a document with these parts beside it.

    Of a 415 its Accept tells what was too much (CIN-04); without one that is first the
    references, then all.  413 is about what stands in the request, 513 about what a reference
    speaks of (AGP-115): that is not told by a link either.

    :param status: of the refusal.
    :param accept: Accept values of it, None without the field.
    :returns: None when the parts are not to blame.
    """
    sizes = _referred(parts)
    enclosed = [len(part.body) for part in parts if part.content_type.type != EXTERNAL_BODY]
    if status == 413 and enclosed:
        return attrs.evolve(before, enclosed=min(before.enclosed, max(enclosed) - 1))
    if status == 513 and sizes:
        return attrs.evolve(before, stored=max(max(sizes) - 1, 0))
    if status != 415 or not parts:
        return None
    ranges: list[tuple[str, float]] | None = None
    if accept is not None:
        try:
            ranges = parse_accept(accept)
        except ParseError:
            ranges = None
    without = attrs.evolve(before, references=False)
    if ranges is None:
        return without if sizes else attrs.evolve(before, related=False)
    if not accepts(ranges, RELATED):
        return attrs.evolve(before, related=False)
    if sizes and not accepts(ranges, EXTERNAL_BODY):
        return without
    # it takes both, and so an object is of a type that it does not take
    return attrs.evolve(before, enclosed=0, stored=0)


def content_id(content_type: str, size: int, sha1: str, host: str) -> str:
    """The Content-ID of an object: another for other content, else the same (AGP-114).

    :param sha1: hash of the content, in hexadecimal.
    :param host: domain of the presentity.
    """
    what = f"{content_type}\0{size}\0{sha1}".encode()
    return f"{blake2b(what, digest_size=16).hexdigest()}@{host}"


def enclosed_part(content_type: str, cid: str, body: bytes) -> Part:
    """The part of an object that stands in the PUBLISH (CIN-08)."""
    headers = {
        "content-type": [content_type],
        "content-id": [f"<{cid}>"],
        "content-disposition": ["render"],
    }
    return Part(headers, body)


def referred_part(
    content_type: str, cid: str, url: str, expires: float, size: int, sha1: str
) -> Part:
    """The part of an object that is stored (CIN-01, CIN-02, AGP-114).

    :param expires: seconds of the Unix epoch until which it is kept.
    """
    return write_external(ExternalBody(url, expires, size, sha1, content_type, cid, "render"))


def _referred(parts: Sequence[Part]) -> list[int]:
    """Octets of the objects that are told by reference."""
    found = (parse_external(part) for part in parts if part.content_type.type == EXTERNAL_BODY)
    return [told.size or 0 for told in found]
