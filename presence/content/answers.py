"""Answers of the Content Server (AGP-107 to AGP-112, CSV-06)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from presence.content.fields import digests, wants_digests
from presence.content.media import disposition
from xcap import answers
from xcap.conditions import http_date
from xcap.errors import XcapError
from xcap.records import HttpResponse

if TYPE_CHECKING:
    from presence.content.records import ContentObject
    from xcap.records import Headers

_NOSNIFF = ("X-Content-Type-Options", "nosniff")
_PRIVATE = ("Cache-Control", "private")
# whatever it is, a browser runs nothing of it
_SANDBOX = ("Content-Security-Policy", "default-src 'none'; sandbox")

RETRY = 5
"""Seconds after which to try again while the store does not work."""


def _state(found: ContentObject) -> tuple[tuple[str, str], ...]:
    return ("ETag", f'"{found.etag}"'), ("Expires", http_date(found.expires))


def entity_headers(
    found: ContentObject, headers: Headers, part: tuple[int, int] | None
) -> tuple[tuple[str, str], ...]:
    """Header fields of an answer with an object, or with a part of it.

    :param headers: of the request.
    :param part: first octet and length of the part.
    """
    fields = [
        ("Content-Type", found.type),
        *_state(found),
        ("Last-Modified", http_date(found.modified)),
        ("Accept-Ranges", "bytes"),
        ("Content-Disposition", disposition(found.type)),
        _PRIVATE,
        _NOSNIFF,
        _SANDBOX,
    ]
    if part is not None:
        first, length = part
        fields.append(("Content-Range", f"bytes {first}-{first + length - 1}/{found.size}"))
    if wants_digests(headers):
        fields += digests(found, partial=part is not None)
    return tuple(fields)


def unchanged(found: ContentObject) -> HttpResponse:
    """304."""
    return HttpResponse(304, (*_state(found), _PRIVATE))


def created(made: ContentObject, uri: str) -> HttpResponse:
    """201 with the URI of the object, which is a secret."""
    return HttpResponse(201, (("Location", uri), *_state(made), ("Cache-Control", "no-store")))


def changed(made: ContentObject) -> HttpResponse:
    """204: other content, or a longer life."""
    return HttpResponse(204, _state(made))


def listed(found: ContentObject, uri: str) -> dict[str, str | int]:
    """One row of the list of a user's objects (AGP-108)."""
    return {
        "uri": uri,
        "type": found.type,
        "size": found.size,
        "sha1": found.sha1.hex(),
        "etag": found.etag,
        "expires": http_date(found.expires),
    }


def refused(error: XcapError) -> HttpResponse:
    """The answer to a request that is refused."""
    answer = answers.refusal(error)
    return attrs.evolve(answer, headers=(*answer.headers, _NOSNIFF))


def unavailable() -> HttpResponse:
    """The answer while the store does not work."""
    retry = (("Retry-After", str(RETRY)),)
    return refused(XcapError(503, "The content store does not work now", retry))
