"""Digest access authentication: the algorithms and the two header values.

RFC 7616, profiled for SIP by RFC 8760 and RFC 3261 section 22.4; the same for HTTP.
Everything here is pure: no clock, no random source, no state.  Text is hashed as UTF-8
(``surrogateescape``, so octets that were no UTF-8 on the wire are hashed as received).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs
import msgspec

from pysip.errors import ParseError
from pysip.header import parse_credentials, quote

ALGORITHMS = ("SHA-512-256", "SHA-256", "MD5")
"""The hash algorithms, most preferred first (AUT-02)."""

_HASHES: Mapping[str, Callable[[bytes], Any]] = {
    # Digest is defined over MD5 (RFC 3261); it protects nothing else here.
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False),
    "SHA-256": hashlib.sha256,
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data),
}
_TOKENS: Mapping[str, tuple[str, bool]] = {
    token.upper(): (name, token.endswith("-sess"))
    for name in ALGORITHMS
    for token in (name, name + "-sess")
}


def split_algorithm(token: str) -> tuple[str, bool]:
    """Take an ``algorithm`` parameter apart.

    :param token: as received, in any case; "" means MD5 (RFC 3261 section 22.4).
    :return: the algorithm as in :data:`ALGORITHMS` and whether it is the ``-sess`` variant.
    :raises ParseError: not an algorithm we know.
    """
    found = _TOKENS.get(token.upper() or "MD5")
    if found is None:
        raise ParseError("unknown digest algorithm")
    return found


def hash_hex(algorithm: str, text: str) -> str:
    """``H(text)`` in lower-case hex, for an algorithm of :data:`ALGORITHMS`."""
    digest: str = _HASHES[algorithm](text.encode("utf-8", "surrogateescape")).hexdigest()
    return digest


def ha1(username: str, realm: str, password: str, algorithm: str = "MD5") -> str:
    """``H(username:realm:password)``, what servers store (AUT-04, AUT-09)."""
    return hash_hex(algorithm, f"{username}:{realm}:{password}")


def session_ha1(account_ha1: str, nonce: str, cnonce: str, algorithm: str = "MD5") -> str:
    """HA1 of the ``-sess`` variants (RFC 7616 section 3.4.2).

    :param nonce: nonce of the challenge that began the session.
    :param cnonce: client nonce of the first request after it.
    """
    return hash_hex(algorithm, f"{account_ha1}:{nonce}:{cnonce}")


def ha2(method: str, uri: str, algorithm: str = "MD5", body: bytes | None = None) -> str:
    """HA2 of a request (RFC 7616 section 3.4.3).

    :param method: as sent; "" for ``rspauth`` (RFC 7616 section 3.5).
    :param uri: the digest-uri.
    :param body: entity body for qop ``auth-int`` (``b""`` when there is none), None for ``auth``.
    """
    if body is None:
        return hash_hex(algorithm, f"{method}:{uri}")
    return hash_hex(algorithm, f"{method}:{uri}:{_HASHES[algorithm](body).hexdigest()}")


def response_digest(
    ha1: str,
    ha2: str,
    nonce: str,
    algorithm: str = "MD5",
    nc: str = "",
    cnonce: str = "",
    qop: str = "",
) -> str:
    """The ``response`` parameter (RFC 7616 section 3.4.1).

    :param ha1: :func:`ha1`, or :func:`session_ha1` for a ``-sess`` variant.
    :param nc: nonce count as sent, 8 hex digits.
    :param qop: ``auth``, ``auth-int`` or "" for a client of RFC 2069 (AUT-04).
    """
    if qop:
        return hash_hex(algorithm, f"{ha1}:{nonce}:{nc}:{cnonce}:{qop}:{ha2}")
    return hash_hex(algorithm, f"{ha1}:{nonce}:{ha2}")


@attrs.frozen(slots=True)
class Challenge:
    """A ``WWW-Authenticate`` or ``Proxy-Authenticate`` value.

    :ivar algorithm: as in :data:`ALGORITHMS`.
    :ivar session: True for the ``-sess`` variant.
    :ivar algorithm_token: the parameter as received, "" when it was absent.
    :ivar qop: what is offered, lower case; empty when the parameter was absent.
    """

    realm: str
    nonce: str
    algorithm: str = "MD5"
    session: bool = False
    algorithm_token: str = ""
    qop: tuple[str, ...] = ("auth",)
    opaque: str | None = None
    stale: bool = False


def parse_challenge(value: str) -> Challenge:
    """Read a challenge.

    :raises ParseError: not Digest, an unknown algorithm, no qop we know, or no realm or nonce;
        a client ignores such a challenge (AUT-03).
    """
    scheme, params = parse_credentials(value)
    if scheme != "digest":
        raise ParseError("not a Digest challenge")
    if "realm" not in params or "nonce" not in params:
        raise ParseError("challenge without realm or nonce")
    token = params.get("algorithm", "")
    algorithm, session = split_algorithm(token)
    qop: tuple[str, ...] = ()
    if "qop" in params:
        offered = [word.strip().lower() for word in params["qop"].split(",")]
        qop = tuple(word for word in offered if word in ("auth", "auth-int"))
        if not qop:
            raise ParseError("unknown quality of protection")
    return Challenge(
        params["realm"],
        params["nonce"],
        algorithm,
        session,
        token,
        qop,
        params.get("opaque"),
        params.get("stale", "").lower() == "true",
    )


class Credentials(msgspec.Struct, frozen=True, gc=False):
    """An ``Authorization`` or ``Proxy-Authorization`` value of the Digest scheme.

    :ivar algorithm: the parameter as received, "" when absent.
    :ivar qop: lower case, "" when absent.
    :ivar nc: as received, 8 hex digits; "" without qop.
    :ivar count: ``nc`` as a number.
    :ivar userhash: True when ``username`` is hashed (RFC 7616 section 3.4.4).
    """

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str = ""
    qop: str = ""
    nc: str = ""
    count: int = 0
    cnonce: str = ""
    opaque: str | None = None
    userhash: bool = False


# The usual form, which a server reads with every request: lower-case names, no escapes.  What
# else there is ends up in the last group.
_USUAL = re.compile(r'([a-z*]+)=(?:"([^"\\]*)"|([^ \t",]+)) *(?:, *|$)|(.+)').findall


def digest_params(value: str) -> dict[str, str] | None:
    """The parameters of Digest credentials; None when the scheme is another.

    The same as :func:`pysip.header.parse_credentials`, in a third of the time for what
    most clients write.

    :raises ParseError: bad or repeated parameters.
    """
    if value[:7] == "Digest ":
        found: list[tuple[str, str, str, str]] = _USUAL(value, 7)
        params = {name: quoted or token for name, quoted, token, _ in found}
        if found and len(params) == len(found) and not found[-1][3]:
            return params
    scheme, params = parse_credentials(value)
    return params if scheme == "digest" else None


_HEX = frozenset("0123456789abcdefABCDEF")


def credentials_of(params: Mapping[str, str]) -> Credentials:
    """Check the parameters of Digest credentials.

    :param params: from :func:`digest_params`.
    :raises ParseError: ``username`` and ``username*`` together, a required parameter missing,
        or a bad ``nc`` (AUT-06, AUT-20); the answer is 400.
    """
    get = params.get
    username = get("username")
    extended = get("username*")
    if extended is not None:
        if username is not None:
            raise ParseError("both username and username*")
        username = _extended_value(extended)
    realm, nonce, uri, response = get("realm"), get("nonce"), get("uri"), get("response")
    if username is None or realm is None or nonce is None or uri is None or response is None:
        raise ParseError("incomplete digest credentials")
    qop = get("qop", "").lower()
    nc = cnonce = ""
    count = 0
    if qop:
        nc, cnonce = get("nc", ""), get("cnonce", "")
        if not cnonce:
            raise ParseError("digest credentials without cnonce")
        if len(nc) != 8 or not _HEX.issuperset(nc):
            raise ParseError("nonce count is not 8 hex digits")
        count = int(nc, 16)
    userhash = get("userhash", "").lower() == "true"
    return Credentials(
        username,
        realm,
        nonce,
        uri,
        response,
        get("algorithm", ""),
        qop,
        nc,
        count,
        cnonce,
        get("opaque"),
        userhash,
    )


def parse_digest_credentials(value: str) -> Credentials | None:
    """Read a credentials value; None when its scheme is not Digest.

    :raises ParseError: see :func:`credentials_of`.
    """
    params = digest_params(value)
    return credentials_of(params) if params is not None else None


def format_credentials(credentials: Credentials) -> str:
    """The header value; blanks and quotes as RFC 7616 section 3.4 and RFC 8760 2.6 want them."""
    parts = [
        f"Digest username={quote(credentials.username)}",
        f"realm={quote(credentials.realm)}",
        f"nonce={quote(credentials.nonce)}",
        f"uri={quote(credentials.uri)}",
        f'response="{credentials.response}"',
    ]
    if credentials.algorithm:
        parts.append(f"algorithm={credentials.algorithm}")
    if credentials.qop:
        parts.append(f"cnonce={quote(credentials.cnonce)}")
        parts.append(f"qop={credentials.qop}")
        parts.append(f"nc={credentials.nc}")
    if credentials.opaque is not None:
        parts.append(f"opaque={quote(credentials.opaque)}")
    return ", ".join(parts)


def _extended_value(value: str) -> str:
    """Decode ``username*`` (RFC 5987): ``UTF-8''J%C3%A4s``."""
    charset, found, rest = value.partition("'")
    _language, found2, encoded = rest.partition("'")
    if not found or not found2 or charset.lower() != "utf-8":
        raise ParseError("username* is not UTF-8")
    try:
        return unquote_to_bytes(encoded).decode("utf-8")
    except UnicodeDecodeError:
        raise ParseError("username* is not UTF-8") from None
