"""SIP, tel, pres and im URIs: values, comparison and canonical identity keys.

Sources: RFC 3261 sections 19.1 and 25.1, RFC 3966 sections 3-5, RFC 3859 section 5.1,
RFC 3860; requirements MSG-09 and MSG-11 to MSG-15.  Text stays as it was sent, percent
escapes are decoded for comparison only (MSG-11).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Hashable

import attrs

from pysip.errors import ParseError

_ALPHANUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_UNRESERVED = frozenset(_ALPHANUM + "-_.!~*'()")
_USER_PLAIN = _UNRESERVED | frozenset("&=+$,;?/")
_PASSWORD_PLAIN = _UNRESERVED | frozenset("&=+$,")
_PARAM_PLAIN = _UNRESERVED | frozenset("[]/:&+$")
_HEADERS_PLAIN = _UNRESERVED | frozenset("[]/?:+$&=")
_USER_CHARS = _USER_PLAIN | {"%"}
_PASSWORD_CHARS = _PASSWORD_PLAIN | {"%"}
_PARAM_CHARS = _PARAM_PLAIN | {"%"}
_HEADERS_CHARS = _HEADERS_PLAIN | {"%"}
# "_" is no host name character by RFC 3261, but it is met in names of the field
_HOST_CHARS = frozenset(_ALPHANUM + ".-_")
_SCHEME_CHARS = frozenset(_ALPHANUM + "+-.")
_OPAQUE_CHARS = frozenset(chr(code) for code in range(33, 127)) - frozenset('<>"')
_DIALLED_CHARS = frozenset("0123456789ABCDEFabcdef*#")
_SEPARATORS = str.maketrans("", "", "-.()")

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
# the form a canonical key has already; ":" would start a password
_CANONICAL = re.compile(r"sip:[A-Za-z0-9\-_.!~*'()&=+$,;?/]+@[a-z0-9][a-z0-9.\-_]*")
# what needs no closer look; a larger port is looked at
_PLAIN = re.compile(r"sips?:[A-Za-z0-9\-_.!~*'()&=+$,;?/]+@[A-Za-z0-9.\-_]+(?::[0-5]?[0-9]{1,4})?")

# a parameter or component that one URI lacks makes the URIs differ (RFC 3261 19.1.4)
_DECISIVE_PARAMS = ("user", "ttl", "method", "maddr", "transport")


@attrs.frozen(slots=True)
class SipUri:
    """A ``sip:`` or ``sips:`` URI (RFC 3261 section 19.1).

    :ivar scheme: ``sip`` or ``sips``.
    :ivar user: user part as sent, escapes and telephone parameters included (MSG-12).
    :ivar password: password as sent, None when there is none.
    :ivar host: host as sent, an IPv6 address without its brackets.
    :ivar port: port, None when not given.
    :ivar params: URI parameters in order; names unescaped and lower case, values as sent,
        None for a parameter without value.
    :ivar headers: what follows the ``?``, as sent; "" when there is none.
    """

    scheme: str
    user: str | None
    host: str
    port: int | None = None
    params: dict[str, str | None] = attrs.field(factory=dict)
    headers: str = ""
    password: str | None = None

    @property
    def transport(self) -> str:
        """Value of the ``transport`` parameter in lower case, "" when there is none."""
        return unescape(self.params.get("transport") or "").lower()

    @property
    def maddr(self) -> str:
        """Value of the ``maddr`` parameter without brackets, "" when there is none."""
        return (self.params.get("maddr") or "").strip("[]")

    @property
    def lr(self) -> bool:
        """Whether this names a loose router."""
        return "lr" in self.params

    def __str__(self) -> str:
        parts = [self.scheme, ":"]
        if self.user is not None:
            parts.append(self.user)
            if self.password is not None:
                parts += (":", self.password)
            parts.append("@")
        parts.append(f"[{self.host}]" if ":" in self.host else self.host)
        if self.port is not None:
            parts.append(f":{self.port}")
        for name, value in self.params.items():
            parts.append(f";{_escape(name, _PARAM_PLAIN)}")
            if value is not None:
                parts.append(f"={value}")
        if self.headers:
            parts += ("?", self.headers)
        return "".join(parts)


@attrs.frozen(slots=True)
class TelUri:
    """A ``tel:`` URI (RFC 3966).

    :ivar number: number as sent, with ``+`` when global and with visual separators.
    :ivar params: parameters in order, names lower case, values as sent.
    """

    number: str
    params: dict[str, str | None] = attrs.field(factory=dict)

    def __str__(self) -> str:
        tail = (
            f";{name}" if value is None else f";{name}={value}"
            for name, value in self.params.items()
        )
        return f"tel:{self.number}{''.join(tail)}"


@attrs.frozen(slots=True)
class SimpleUri:
    """A ``pres:`` or ``im:`` URI (RFC 3859 section 5.1, RFC 3860).

    :ivar scheme: ``pres`` or ``im``.
    :ivar user: local part as sent.
    :ivar host: domain as sent, an IPv6 address without its brackets.
    :ivar headers: what follows the ``?``, as sent; "" when there is none.
    """

    scheme: str
    user: str
    host: str
    headers: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        tail = f"?{self.headers}" if self.headers else ""
        return f"{self.scheme}:{self.user}@{host}{tail}"


@attrs.frozen(slots=True)
class OtherUri:
    """A URI of a scheme that is not understood here; served with 416 or 404.

    :ivar scheme: scheme in lower case.
    :ivar rest: what follows the first colon, as sent.
    """

    scheme: str
    rest: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.rest}"


Uri = SipUri | TelUri | SimpleUri | OtherUri


def parse_uri(text: str) -> Uri:
    """Read a URI: no surrounding or inner white space, no angle brackets.

    :raises ParseError: it breaks the grammar of its scheme, or repeats a parameter (MSG-29).
    """
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme in ("sip", "sips"):
        return _parse_sip(scheme, rest)
    if not colon or not scheme[:1].isalpha() or not _SCHEME_CHARS.issuperset(scheme):
        raise ParseError("URI without a scheme")
    if not rest or not _OPAQUE_CHARS.issuperset(rest):
        raise ParseError("Bad character in URI")
    if scheme == "tel":
        return _parse_tel(rest)
    if scheme in ("pres", "im"):
        return _parse_simple(scheme, rest)
    return OtherUri(scheme, rest)


def check_uri(text: str) -> None:
    """Make sure that ``text`` is a URI, without building a value where it is a plain one.

    :raises ParseError: as :func:`parse_uri`.
    """
    if not _PLAIN.fullmatch(text):
        parse_uri(text)


def split_host_port(text: str) -> tuple[str, int | None]:
    """Read ``host [":" port]``, the host of a URI or of a Via sent-by.

    :return: host as sent (IPv6 without brackets) and port, None when not given.
    :raises ParseError: not a host name, IPv4 address or bracketed IPv6 address, a zone id
        (TOR-47), or a port that is no number up to 65535.
    """
    if text[:1] == "[":
        host, bracket, rest = text[1:].partition("]")
        host = _check_ipv6(host)
        colon, port = rest[:1], rest[1:]
        if not bracket or colon not in ("", ":"):
            raise ParseError("Bad IPv6 address")
    else:
        host, colon, port = text.partition(":")
        if not host or not _HOST_CHARS.issuperset(host):
            raise ParseError("Bad host")
    if not colon:
        return host, None
    if not (port.isascii() and port.isdigit() and len(port) <= 8 and int(port) <= 65535):
        raise ParseError("Bad port")
    return host, int(port)


def equivalent(a: Uri, b: Uri) -> bool:
    """Whether two URIs are equal by the rules of their scheme (MSG-13, MSG-15).

    This is not transitive for SIP URIs (RFC 3261 section 19.1.4); identity keys come from
    :func:`canonical_aor`.
    """
    key, params = comparison_key(a)
    other_key, other_params = comparison_key(b)
    if key != other_key:
        return False
    return all(
        value == other_params[name] for name, value in params.items() if name in other_params
    )


def comparison_key(uri: Uri) -> tuple[Hashable, dict[str, str | None]]:
    """What :func:`equivalent` compares: a key, and parameters.

    URIs are equivalent if their keys are equal and no parameter that both have differs in
    value; with many URIs this finds candidates without comparing each with each.
    """
    if isinstance(uri, SipUri):
        return _sip_key(uri)
    if isinstance(uri, TelUri):
        number, context, params = _tel_key(uri)
        return ("tel", number, context, frozenset(params.items())), {}
    if isinstance(uri, SimpleUri):
        user, host = _normal(uri.user), _host_key(uri.host)
        return (uri.scheme, user, host, _headers_key(uri.headers)), {}
    return uri, {}


def canonical_aor(uri: Uri | str) -> str:
    """The key of a presentity or watcher (MSG-14).

    ``sip:user@host`` with lower-case host and minimally escaped user, without port,
    password, parameters and headers; ``sips:``, ``pres:`` and ``im:`` URIs map to it.
    Visual separators go when ``user=phone`` says that the user is a number.  ``tel:`` gives
    ``tel:+digits``, or ``tel:digits;phone-context=...`` for a local number.

    :raises ParseError: no URI, or one of a scheme that names no presentity.
    """
    if isinstance(uri, str):
        if _CANONICAL.fullmatch(uri):
            return uri
        uri = parse_uri(uri)
    if isinstance(uri, TelUri):
        number, context, *_ = _tel_key(uri)
        return f"tel:{number};phone-context={context}" if context else f"tel:{number}"
    if isinstance(uri, OtherUri):
        raise ParseError("URI scheme names no presentity")
    host = _host_key(uri.host)
    if ":" in host:
        host = f"[{host}]"
    if uri.user is None:
        return f"sip:{host}"
    user = uri.user
    if isinstance(uri, SipUri) and uri.params.get("user", "") == "phone":
        number, semicolon, rest = user.partition(";")
        user = f"{number.translate(_SEPARATORS)}{semicolon}{rest}"
    return f"sip:{escape_user(unescape(user))}@{host}"


def unescape(text: str) -> str:
    """Decode ``%HH`` once; octets that are no UTF-8 become surrogates (``surrogateescape``)."""
    if "%" not in text:
        return text
    data = text.encode("utf-8", "surrogateescape")
    return _BYTE_ESCAPE.sub(_byte, data).decode("utf-8", "surrogateescape")


def escape_user(text: str) -> str:
    """Escape for the user part of a SIP URI, no more than its grammar demands."""
    if _USER_PLAIN.issuperset(text):
        return text
    return _escape(text, _USER_PLAIN)


_BYTE_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def _byte(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 16),))


def _escape(text: str, plain: frozenset[str]) -> str:
    if plain.issuperset(text):
        return text
    octets = text.encode("utf-8", "surrogateescape")
    return "".join(chr(o) if chr(o) in plain else f"%{o:02X}" for o in octets)


def _parse_sip(scheme: str, rest: str) -> SipUri:
    user: str | None = None
    password: str | None = None
    userinfo, at, rest_of = rest.partition("@")
    if at:
        rest = rest_of
        user, colon, secret = userinfo.partition(":")
        if not user:
            raise ParseError("Empty user in URI")
        _check(user, _USER_CHARS)
        if colon:
            password = secret
            _check(secret, _PASSWORD_CHARS)
    rest, question, headers = rest.partition("?")
    if question and not headers:
        raise ParseError("Empty header part in URI")
    if headers:
        _check(headers, _HEADERS_CHARS)
    hostport, semicolon, tail = rest.partition(";")
    host, port = split_host_port(hostport)
    params = _parse_uri_params(tail) if semicolon else {}
    return SipUri(scheme, user, host, port, params, headers, password)


def _parse_uri_params(text: str) -> dict[str, str | None]:
    params: dict[str, str | None] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if not name or (equals and not value):
            raise ParseError("Empty parameter in URI")
        _check(name, _PARAM_CHARS)
        _check(value, _PARAM_CHARS)
        name = unescape(name).lower()
        if name in params:
            raise ParseError("Repeated parameter in URI")
        params[name] = value if equals else None
    return params


def _parse_tel(rest: str) -> TelUri:
    number, semicolon, tail = rest.partition(";")
    params = _parse_uri_params(tail) if semicolon else {}
    digits = number.translate(_SEPARATORS)
    if digits[:1] == "+":
        if not (digits[1:].isascii() and digits[1:].isdigit()):
            raise ParseError("Bad telephone number")
    elif not digits or not _DIALLED_CHARS.issuperset(digits):
        raise ParseError("Bad telephone number")
    elif not params.get("phone-context"):
        raise ParseError("Local telephone number without phone-context")
    return TelUri(number, params)


def _parse_simple(scheme: str, rest: str) -> SimpleUri:
    address, question, headers = rest.partition("?")
    user, at, domain = address.partition("@")
    if not at or not user or (question and not headers):
        raise ParseError(f"Bad {scheme} URI")
    _check(user, _USER_CHARS)
    _check(headers, _HEADERS_CHARS)
    host, port = split_host_port(domain)
    if port is not None:
        raise ParseError(f"Bad {scheme} URI")
    return SimpleUri(scheme, user, host, headers)


def _check(text: str, allowed: frozenset[str]) -> None:
    if not allowed.issuperset(text):
        raise ParseError("Bad character in URI")
    if "%" in text and _BAD_ESCAPE.search(text):
        raise ParseError("Bad escape in URI")


def _check_ipv6(host: str) -> str:
    # three colons come from the faulty ABNF of RFC 3261 and mean two (RFC 5118 section 4.10)
    host = host.replace(":::", "::")
    try:
        socket.inet_pton(socket.AF_INET6, host)
    except (OSError, ValueError):
        raise ParseError("Bad IPv6 address") from None
    return host


def _normal(text: str) -> str:
    """Escapes of unreserved characters decoded, all others in upper case (RFC 3261 19.1.4)."""
    return _ESCAPE.sub(_normal_escape, text) if "%" in text else text


def _normal_escape(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


def _host_key(host: str) -> str:
    if ":" in host:
        packed = socket.inet_pton(socket.AF_INET6, host)
        return socket.inet_ntop(socket.AF_INET6, packed)
    return host.lower()


def _headers_key(headers: str) -> frozenset[tuple[str, tuple[str, ...]]]:
    if not headers:
        return frozenset()
    fields: dict[str, list[str]] = {}
    for part in headers.split("&"):
        name, _, value = part.partition("=")
        fields.setdefault(unescape(name).lower(), []).append(_normal(value))
    return frozenset((name, tuple(sorted(values))) for name, values in fields.items())


def _sip_key(uri: SipUri) -> tuple[Hashable, dict[str, str | None]]:
    """Key and parameters by RFC 3261 section 19.1.4."""
    decisive: list[tuple[str, str | None]] = []
    others: dict[str, str | None] = {}
    for name, value in uri.params.items():
        key = None if value is None else _normal(value).lower()
        if name in _DECISIVE_PARAMS:
            decisive.append((name, key))
        else:
            others[name] = key
    user = None if uri.user is None else _normal(uri.user)
    password = None if uri.password is None else _normal(uri.password)
    host = _host_key(uri.host)
    headers = _headers_key(uri.headers)
    return (uri.scheme, user, password, host, uri.port, frozenset(decisive), headers), others


def _tel_key(uri: TelUri) -> tuple[str, str, dict[str, str | None]]:
    """Number without separators, its context, and the other parameters (RFC 3966 section 4)."""
    context = (uri.params.get("phone-context") or "").lower()
    if context[:1] == "+":
        context = context.translate(_SEPARATORS)
    others: dict[str, str | None] = {}
    for name, value in uri.params.items():
        if name == "phone-context":
            continue
        key = None if value is None else _normal(value).lower()
        if key is not None and name in ("ext", "isub"):
            key = key.translate(_SEPARATORS)
        others[name] = key
    return uri.number.translate(_SEPARATORS).lower(), context, others
