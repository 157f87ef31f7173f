"""gzip in both directions (AGP-71, AGP-72, XCAP-164; RFC 9110 sections 8.4 and 12.5.3)."""

from __future__ import annotations

import re
import zlib

import attrs

from xcap.errors import XcapError
from xcap.records import HttpResponse

MINIMUM = 256
"""Octets below which an answer is not worth coding."""

_GZIP = 16 + zlib.MAX_WBITS
_FAST_ABOVE = 1 << 17
"""Octets above which speed counts more than size: the reactor waits meanwhile."""

_PIECE = 65536
_MEMBERS = 64
"""Members that a gzip stream may have; each costs time, however small."""

_LAST_CHOICE = 0.001
_QVALUE = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def compress(response: HttpResponse, accept_encoding: str | None) -> HttpResponse:
    """The answer as ``accept_encoding`` likes it best; the ETag stays as it is (AGP-72).

    Only XML of at least :data:`MINIMUM` octets is coded, and whatever the client does not
    want as it is (``identity;q=0``).  For HEAD, give the answer GET would get; where nothing
    is to be coded its Content-Length serves as well, for Vary.

    :param accept_encoding: value of Accept-Encoding, None without.
    """
    size = len(response.body) or _told_length(response)
    if not size or response.status in (204, 304):
        return response
    if response.header("content-encoding") is not None:
        return response
    worth = size >= MINIMUM and _is_xml(response.header("content-type"))
    coded, plain = _wanted(accept_encoding)
    if not worth and (plain > 0 or coded == 0):
        return response
    headers = _vary(response.headers)
    if coded == 0 or coded < plain or not response.body:
        return attrs.evolve(response, headers=headers)
    level = 6 if len(response.body) <= _FAST_ABOVE else 1
    body = zlib.compress(response.body, level, _GZIP)
    kept = tuple(field for field in headers if field[0].lower() != "content-length")
    return attrs.evolve(response, headers=(*kept, ("Content-Encoding", "gzip")), body=body)


def _told_length(response: HttpResponse) -> int:
    length = response.header("content-length") or ""
    return int(length) if length.isdecimal() and len(length) < 19 else 0


def _is_xml(content_type: str | None) -> bool:
    essence = (content_type or "").partition(";")[0].strip().lower()
    return essence.endswith("+xml") or essence in ("application/xml", "text/xml")


def _wanted(accept_encoding: str | None) -> tuple[float, float]:
    """The weights of gzip and of no coding; a list that is malformed asks for no coding."""
    if accept_encoding is None:
        return 0.0, 1.0
    weights: dict[str, float] = {}
    for item in accept_encoding.split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                value = value.strip()
                if _QVALUE.fullmatch(value) is None:
                    return 0.0, 1.0
                weight = float(value)
        weights[name.lower()] = weight
    anything = weights.get("*", 0.0)
    coded = weights.get("gzip", weights.get("x-gzip", anything))
    if "identity" in weights:
        return coded, weights["identity"]
    # not mentioned, it is acceptable but the last choice, unless "*;q=0" excludes it
    return coded, 0.0 if "*" in weights and not anything else _LAST_CHOICE


def _vary(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    names = ", ".join(value for name, value in headers if name.lower() == "vary")
    known = [name.strip().lower() for name in names.split(",")]
    if "*" in known or "accept-encoding" in known:
        return headers
    kept = tuple(field for field in headers if field[0].lower() != "vary")
    return (*kept, ("Vary", f"{names}, Accept-Encoding" if names else "Accept-Encoding"))


def decompress(body: bytes, coding: str, limit: int) -> bytes:
    """The content of a request body (XCAP-164).

    :param coding: value of Content-Encoding, "" without.
    :param limit: octets that the content may have; expanding ends there, however much more
        there is.
    :raises XcapError: 413 larger than the limit, 415 another coding than gzip, 400 no gzip.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        if len(body) > limit:
            raise XcapError(413, "the body is too large")
        return body
    if coding not in ("gzip", "x-gzip"):
        raise XcapError(
            415, "no content coding but gzip is known here", (("Accept-Encoding", "gzip"),)
        )
    content = bytearray()
    members = 0
    stream = None
    for start in range(0, len(body), _PIECE):
        piece = body[start : start + _PIECE]
        while piece:
            if stream is None:
                members += 1
                if members > _MEMBERS:
                    raise XcapError(400, "the gzip stream has too many members")
                stream = zlib.decompressobj(_GZIP)
            try:
                content += stream.decompress(piece, limit - len(content) + 1)
            except zlib.error as error:
                raise XcapError(400, "the body is not in gzip format") from error
            if len(content) > limit:
                raise XcapError(413, "the body is too large when expanded")
            piece = stream.unconsumed_tail
            if stream.eof:
                piece, stream = stream.unused_data, None
    if stream is not None or not members:
        raise XcapError(400, "the gzip stream is incomplete")
    return bytes(content)
