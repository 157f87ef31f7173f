"""Canonical forms of the URIs in documents (RFC 4826 section 5, XDM-33)."""

from __future__ import annotations

import re
import socket
from urllib.parse import quote

import attrs

from pysip.uri import SipUri, escape_user, parse_uri, unescape

_PARAM_SAFE = "-_.!~*'()[]/:&+$"
_AFTER_USER_SAFE = "-_.!~*'()&=+$,"
_PARTS = r"(?:[A-Za-z0-9\-._~:@!$&'()*+,;=]|%[0-9A-Fa-f]{2})"
_PATH = rf"(?:/|{_PARTS})*"
_TAIL = rf"(?:\?(?:[/?]|{_PARTS})*)?(?:\#(?:[/?]|{_PARTS})*)?"
_HTTP = re.compile(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~]+)(?::(?P<port>[0-9]{0,5}))?"
    rf"(?P<path>(?:/{_PATH})?)(?P<tail>{_TAIL})"
)
# a first segment with a colon would be a scheme (RFC 3986 section 4.2)
_RELATIVE_PATH = re.compile(
    rf"(?:[A-Za-z0-9\-._~@!$&'()*+,;=]|%[0-9A-Fa-f]{{2}})+(?:/{_PATH})?{_TAIL}"
)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]")
_PORTS = {"http": "80", "https": "443"}
_SPACE = " \t\r\n"


def canonical_sip_uri(text: str) -> str:
    """The form in which SIP URIs of resources compare.

    Host, parameter names and values are in lower case, escapes that the grammar does not ask
    for are undone, parameters are sorted by name, header parameters are gone.

    :raises ValueError: it is no SIP or SIPS URI.
    """
    uri = parse_uri(text.strip(_SPACE))
    if not isinstance(uri, SipUri):
        raise ValueError("No SIP URI")
    parts = [uri.scheme, ":"]
    if uri.user is not None:
        parts.append(escape_user(unescape(uri.user)))
        if uri.password is not None:
            parts += (":", _escape(unescape(uri.password), _AFTER_USER_SAFE))
        parts.append("@")
    parts.append(_host(uri.host))
    if uri.port is not None:
        parts.append(f":{uri.port}")
    for name, value in sorted(uri.params.items()):
        parts.append(f";{_escape(name, _PARAM_SAFE)}")
        if value is not None:
            parts.append(f"={_escape(unescape(value).lower(), _PARAM_SAFE)}")
    return "".join(parts)


@attrs.frozen(slots=True)
class HttpUri:
    """An absolute ``http`` or ``https`` URI.

    :ivar origin: scheme, host and port, canonical: ``https://xcap.example.com``.
    :ivar path: with needless escapes undone, at least ``/``.
    :ivar tail: query and fragment as they were, with ``?`` and ``#``.
    """

    origin: str
    path: str
    tail: str = ""

    def __str__(self) -> str:
        return f"{self.origin}{self.path}{self.tail}"


def parse_http_uri(text: str) -> HttpUri | None:
    """Read an absolute HTTP URI, percent-encoded; None when it is none.

    User information, which no reference needs, is not taken.
    """
    match = _HTTP.fullmatch(text.strip(_SPACE))
    if match is None:
        return None
    scheme = match["scheme"].lower()
    host = match["host"].lower()
    port = match["port"] or ""
    at = f":{port}" if port and port != _PORTS[scheme] else ""
    return HttpUri(
        f"{scheme}://{host}{at}", _ESCAPE.sub(_undo, match["path"] or "/"), match["tail"]
    )


def is_relative_path(text: str) -> bool:
    """Whether a reference has neither scheme nor authority nor ``/`` at its start (XDM-23)."""
    return _RELATIVE_PATH.fullmatch(text.strip(_SPACE)) is not None


def _undo(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if _UNRESERVED.fullmatch(character) else match[0].upper()


def _escape(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")


def _host(host: str) -> str:
    if ":" not in host:
        return host.lower()
    packed = socket.inet_pton(socket.AF_INET6, host)
    return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]"
