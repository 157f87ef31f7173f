"""Header fields that the Content Server reads, and the places that requests are for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

import attrs

from xcap.conditions import parse_date
from xcap.errors import XcapError

if TYPE_CHECKING:
    from presence.content.records import Content, ContentObject
    from xcap.records import Headers

_ID = re.compile(r"[A-Za-z0-9_-]{22,64}")
_XUI = re.compile(r"[A-Za-z0-9._~:@!$&'()*+,;=%-]{1,1024}")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HIDDEN = re.compile(r"[/\\?#\x00-\x20\x7f]")
_SECONDS = re.compile(r"[0-9]{1,10}")
_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))[ \t]*", re.I)
_DIGEST = re.compile(r"[ \t]*([A-Za-z0-9-]+)=([A-Za-z0-9+/=]+)[ \t]*")
_ITEM = re.compile(r"[ \t]*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):[ \t]*")

_OLD_NAMES = {"sha": "sha1", "sha-256": "sha256"}
_NEW_NAMES = {"sha-256": "sha256"}


# -- places -------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class Place:
    """What a request target means; one of the two is given.

    :ivar id: of an object.
    :ivar xui: decoded identifier of the user whose objects are meant.
    :ivar query: of the target, without the question mark.
    """

    id: str = ""
    xui: str = ""
    query: str = ""


def parse_place(target: str, prefix: str) -> Place:
    """Read a request target; one spelling only, so that nothing can hide in another.

    :param prefix: path of the base URI, ending in ``/``.
    :raises XcapError: 404 there is no such place.
    """
    path, _, query = target.partition("?")
    if path.startswith(prefix):
        kind, _, rest = path[len(prefix) :].partition("/")
        if kind == "o" and _ID.fullmatch(rest):
            return Place(id=rest, query=query)
        if kind == "users":
            xui = _decoded(rest.removesuffix("/"))
            if xui:
                return Place(xui=xui, query=query)
    raise XcapError(404, "No such place")


def _decoded(text: str) -> str:
    if _XUI.fullmatch(text) is None or _BAD_ESCAPE.search(text):
        return ""
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        return ""
    return "" if _HIDDEN.search(decoded) or decoded in (".", "..") else decoded


# -- life ---------------------------------------------------------------------------------


def wanted_life(headers: Headers, query: str) -> int | None:
    """Seconds that an object shall live by ``X-Expires``, else by ``ttl`` (AGP-109).

    :returns: None when nothing is said.
    :raises XcapError: 400 it is no positive number.
    """
    value = headers.get("x-expires")
    if value is None:
        given = [part[4:] for part in query.split("&") if part.startswith("ttl=")]
        if not given:
            return None
        if len(given) > 1:
            raise XcapError(400, "More than one ttl")
        value = given[0]
    if _SECONDS.fullmatch(value) is None or not int(value):
        raise XcapError(400, "A life is a positive number of seconds")
    return int(value)


def is_refresh(headers: Headers) -> bool:
    """Whether a PUT is for a longer life only (AGP-109).

    :raises XcapError: 400 it says both.
    """
    value = headers.get("x-refresh")
    if value is None or value == "0":
        return False
    if value != "1":
        raise XcapError(400, "Bad X-Refresh")
    return True


# -- integrity ----------------------------------------------------------------------------


def promised(headers: Headers) -> list[tuple[str, bytes]]:
    """Digests that a request promises for its body: names of hashes and values (AGP-112).

    Those with unknown hashes say nothing.

    :raises XcapError: 400 malformed.
    """
    found = []
    for value in headers.all("digest"):
        for part in value.split(","):
            found += _promise(_DIGEST.fullmatch(part), _OLD_NAMES)
    for value in headers.all("content-digest"):
        for part in value.split(","):
            found += _promise(_ITEM.fullmatch(part), _NEW_NAMES)
    return found


def _promise(match: re.Match[str] | None, names: dict[str, str]) -> list[tuple[str, bytes]]:
    if match is None:
        raise XcapError(400, "Malformed digest of the body")
    name = names.get(match[1].lower())
    if name is None:
        return []
    try:
        value = base64.b64decode(match[2], validate=True)
    except binascii.Error:
        raise XcapError(400, "Malformed digest of the body") from None
    if len(value) != hashlib.new(name, usedforsecurity=False).digest_size:
        raise XcapError(400, "Malformed digest of the body")
    return [(name, value)]


def kept(promises: list[tuple[str, bytes]], content: Content) -> bool:
    """Whether content is what was promised."""
    return all(getattr(content, name) == value for name, value in promises)


def digests(found: ContentObject, *, partial: bool) -> list[tuple[str, str]]:
    """Both kinds of digest of an object, for an answer (RFC 3230, RFC 9530).

    :param partial: the answer has a part of it: then the newer field has another name.
    """
    sha1 = base64.b64encode(found.sha1).decode()
    sha256 = base64.b64encode(found.sha256).decode()
    return [
        ("Digest", f"SHA={sha1}, SHA-256={sha256}"),
        ("Repr-Digest" if partial else "Content-Digest", f"sha-256=:{sha256}:"),
    ]


def wants_digests(headers: Headers) -> bool:
    """Whether the client asks for digests (AGP-112)."""
    names = ("want-digest", "want-content-digest", "want-repr-digest")
    return any(name in headers for name in names)


# -- ranges -------------------------------------------------------------------------------


def wanted_range(headers: Headers, found: ContentObject) -> tuple[int, int] | None:
    """The single range asked for (RFC 9110 section 14): its first octet and its length.

    :returns: None for the whole: no range, several of them, or one of another state.
    :raises XcapError: 416 nothing of it exists.
    """
    value = headers.get("range")
    match = _RANGE.fullmatch(value) if value is not None else None
    if match is None or not _same_state(headers.get("if-range"), found):
        return None
    size = found.size
    if match[3] is not None:
        length = min(int(match[3]), size)
        first = size - length
    else:
        first = int(match[1])
        last = min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < first:
            return None  # malformed
        length = last - first + 1
    if length <= 0:
        raise XcapError(416, "No such range", (("Content-Range", f"bytes */{size}"),))
    return first, length


def _same_state(condition: str | None, found: ContentObject) -> bool:
    """Whether If-Range holds, or is not there."""
    if condition is None:
        return True
    condition = condition.strip(" \t")
    if condition[:1] == '"':
        return condition == f'"{found.etag}"'
    return parse_date(condition) == int(found.modified)
