"""Parsers and writers of header field values (RFC 3261 sections 20 and 25.1).

Every parser takes one unfolded value as it stands after the colon and raises
:class:`pysip.errors.ParseError` when the value breaks its grammar.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import attrs

from pysip.errors import ParseError
from pysip.uri import split_host_port

TOKEN_CHARS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~")
_BLANKS = " \t"
_DELTA_MAX = 2**32 - 1
_CSEQ_MAX = 2**31 - 1
_LIST_MARK = re.compile(r'[",<>]')
_PARAM_MARK = re.compile(r'[";]')
_COLON = re.compile(r"[ \t]*:[ \t]*")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_RETRY_AFTER = re.compile(r"([0-9]+)[ \t]*(?:\((?:[^()\\]|\\.)*\))?[ \t]*(;.*)?")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4})"
    r" ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)


@attrs.frozen(slots=True)
class NameAddr:
    """Value of From, To, Contact, Route and their like (RFC 3261 section 20.10).

    :ivar display: display name, unquoted; "" when there is none.
    :ivar uri: URI as sent, not yet parsed; ``*`` for the Contact of a REGISTER that says so.
    :ivar params: header parameters in order, names lower case, quoted values unquoted.
    """

    display: str
    uri: str
    params: dict[str, str | None] = attrs.field(factory=dict)

    @property
    def tag(self) -> str:
        """The dialog tag, "" when there is none (MSG-18)."""
        return self.params.get("tag") or ""


@attrs.frozen(slots=True)
class Via:
    """One Via value (RFC 3261 section 20.42).

    :ivar protocol: transport in upper case: ``UDP``, ``TCP``, ``TLS``, ...
    :ivar host: sent-by host in lower case, an IPv6 address without its brackets.
    :ivar port: sent-by port, None when not given.
    :ivar params: parameters in order, names lower case.
    """

    protocol: str
    host: str
    port: int | None
    params: dict[str, str | None] = attrs.field(factory=dict)

    @property
    def branch(self) -> str:
        """The branch, "" when there is none (RFC 2543 peers)."""
        return self.params.get("branch") or ""

    @property
    def sent_by(self) -> str:
        """``host:port`` with the default port of the transport filled in (TXN-02)."""
        port = self.port
        if port is None:
            port = 5061 if self.protocol == "TLS" else 5060
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    @property
    def received(self) -> str:
        """Source address that the next hop has noted, without brackets (TRN-03), or ""."""
        return (self.params.get("received") or "").strip("[]")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"SIP/2.0/{self.protocol} {host}{port}{format_params(self.params)}"


@attrs.frozen(slots=True)
class EventType:
    """Value of an Event header field (RFC 6665 section 8.2.1).

    :ivar package: package with its template packages, case as sent (MSG-02).
    :ivar id: ``id`` parameter, None when there is none.
    :ivar params: all parameters, names lower case.
    """

    package: str
    id: str | None = None
    params: dict[str, str | None] = attrs.field(factory=dict)

    def matches(self, other: EventType) -> bool:
        """Whether both name the same subscription: package and id byte by byte (MSG-31)."""
        return self.package == other.package and self.id == other.id


@attrs.frozen(slots=True)
class MediaType:
    """Value of a Content-Type header field (MSG-24).

    :ivar type: ``type/subtype`` in lower case.
    :ivar params: parameters, names lower case, values unquoted.
    """

    type: str
    params: dict[str, str | None] = attrs.field(factory=dict)


def is_token(text: str) -> bool:
    """Whether ``text`` is a token of RFC 3261 section 25.1 (not empty, ASCII)."""
    return bool(text) and TOKEN_CHARS.issuperset(text)


def quote(text: str) -> str:
    """``text`` as a quoted string; control characters that it cannot hold are dropped."""
    text = text.replace("\r", "").replace("\n", "")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def split_list(value: str) -> list[str]:
    """Split a comma list, heeding quoted strings and angle brackets (MSG-07).

    Elements come without surrounding blanks, empty ones included; a blank value is an
    empty list.

    :raises ParseError: a quoted string or an angle bracket does not end.
    """
    if "," not in value:
        value = value.strip(_BLANKS)
        return [value] if value else []
    if '"' not in value and "<" not in value:
        return [part.strip(_BLANKS) for part in value.split(",")]
    parts: list[str] = []
    start = position = 0
    while mark := _LIST_MARK.search(value, position):
        character = mark[0]
        position = mark.end()
        if character == ",":
            parts.append(value[start : position - 1].strip(_BLANKS))
            start = position
        elif character == '"':
            position = _quoted_end(value, position)
        elif character == "<":
            position = value.find(">", position) + 1
            if not position:
                raise ParseError("Angle bracket is not closed")
    parts.append(value[start:].strip(_BLANKS))
    return parts


def parse_params(text: str) -> dict[str, str | None]:
    """Read ``;name=value;name`` (the first ``;`` may be missing; "" has no parameters).

    :return: parameters in order; names lower case, quoted values unquoted, None for a
        parameter without value.
    :raises ParseError: empty or repeated parameter (MSG-29), broken quotes, blank in a value.
    """
    params: dict[str, str | None] = {}
    if text[:1] == ";":
        text = text[1:]
    elif not text:
        return params
    for part in text.split(";") if '"' not in text else _split_params(text):
        name, equals, value = part.partition("=")
        name = name.strip(_BLANKS)
        if not name or not TOKEN_CHARS.issuperset(name):
            raise ParseError("Bad parameter name")
        name = name.lower()
        if name in params:
            raise ParseError("Repeated parameter")
        if not equals:
            params[name] = None
            continue
        value = value.strip(_BLANKS)
        if value[:1] == '"':
            value = _unquote(value)
        elif not value or " " in value or "\t" in value or '"' in value:
            raise ParseError("Bad parameter value")
        params[name] = value
    return params


def format_params(params: Mapping[str, str | None]) -> str:
    """``;name=value;name``, quoting the values that need it."""
    parts = []
    for name, value in params.items():
        if value is None:
            parts.append(f";{name}")
        elif _PLAIN_VALUE.issuperset(value) and value:
            parts.append(f";{name}={value}")
        else:
            parts.append(f";{name}={quote(value)}")
    return "".join(parts)


# a gen-value is a token, a host (":", "[", "]" of IPv6) or a quoted string
_PLAIN_VALUE = TOKEN_CHARS | frozenset("[]:")


def parse_name_addr(value: str) -> NameAddr:
    """Read one name-addr or addr-spec with its header parameters.

    Without angle brackets the parameters belong to the header, and the URI may hold
    neither comma nor question mark (MSG-09).  A display name is a quoted string or tokens
    (MSG-10); no blank is needed between it and the bracket (TOR-06).

    :raises ParseError: broken quotes or brackets, no URI, or a bad parameter.
    """
    if value[:1] == "<":
        display = ""
        start = 1
    elif value[:1] == '"':
        end = _quoted_end(value, 1)
        display = _unquote(value[:end])
        start = end
        while value[start : start + 1] in (" ", "\t"):
            start += 1
        if value[start : start + 1] != "<":
            raise ParseError("Quoted display name without address")
        start += 1
    else:
        display, bracket, _ = value.partition("<")
        if not bracket:
            return _parse_addr_spec(value)
        start = len(display) + 1
        display = " ".join(display.split())
        # beyond the grammar: UTF-8 without quotes, which is common and unambiguous
        if not all(is_token(word) or not word.isascii() for word in display.split(" ") if word):
            raise ParseError("Display name needs quotes")
    end = value.find(">", start)
    uri = value[start:end]
    if end < 0 or ":" not in uri or " " in uri or "\t" in uri or "<" in uri:
        raise ParseError("Bad address")
    rest = value[end + 1 :].lstrip(_BLANKS)
    if not rest:
        return NameAddr(display, uri, {})
    if rest[0] != ";":
        raise ParseError("Text after address")
    return NameAddr(display, uri, parse_params(rest))


def format_name_addr(display: str, uri: str, params: Mapping[str, str | None] | None = None) -> str:
    """Write a name-addr; the display name is quoted unless it is tokens only (MSG-10)."""
    tail = format_params(params) if params else ""
    if not display:
        return f"<{uri}>{tail}"
    plain = all(is_token(word) for word in display.split(" "))
    return f"{display if plain else quote(display)} <{uri}>{tail}"


def parse_via(value: str) -> Via:
    """Read one Via value.

    :raises ParseError: no ``SIP/version/transport``, a bad sent-by, or a bad parameter.
    """
    head, semicolon, _ = value.partition(";")
    protocol, _, sent_by = head.partition(" ")
    transport = _PROTOCOLS.get(protocol)
    if transport is None or sent_by.startswith(" ") or sent_by.endswith(" "):
        transport, sent_by = _parse_sent(head)
    params = parse_params(value[len(head) :]) if semicolon else {}
    if "[" in sent_by or " " in sent_by or "\t" in sent_by:
        host, port = split_host_port(_COLON.sub(":", sent_by))
        return Via(transport, host.lower(), port, params)
    host, colon, digits = sent_by.partition(":")
    number = None
    if colon:
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 8):
            raise ParseError("Bad port in Via")
        number = int(digits)
        if number > 65535:
            raise ParseError("Bad port in Via")
    if not host or not _HOST_CHARS.issuperset(host):
        raise ParseError("Bad host in Via")
    return Via(transport, host.lower(), number, params)


_PROTOCOLS = {f"SIP/2.0/{name}": name for name in ("UDP", "TCP", "TLS", "SCTP", "WS", "WSS")}
_HOST_CHARS = TOKEN_CHARS - frozenset("!%*+`'~")


def salvage_via(value: str) -> Via | None:
    """What can be read of a Via value that may be malformed; None without a sent-by.

    A request whose top Via still tells where it came from is answered (MSG-17).
    """
    head, _, tail = value.partition(";")
    try:
        transport, sent_by = _parse_sent(head.partition(",")[0])
        host, port = split_host_port(_COLON.sub(":", sent_by))
    except ParseError:
        return None
    params: dict[str, str | None] = {}
    for part in tail.partition(",")[0].split(";"):
        try:
            for name, text in parse_params(part).items():
                params.setdefault(name, text)
        except ParseError:
            continue
    return Via(transport, host.lower(), port, params)


def parse_cseq(value: str) -> tuple[int, str]:
    """Read a CSeq: number 0 to 2**31-1 and method (MSG-19).

    :raises ParseError: no number, out of range, or no method token.
    """
    number, _, method = value.partition(" ")
    if not (number.isascii() and number.isdigit() and TOKEN_CHARS.issuperset(method)):
        words = value.split()
        if len(words) != 2:
            raise ParseError("Bad CSeq")
        number, method = words
    if not (number.isascii() and number.isdigit()) or not is_token(method):
        raise ParseError("Bad CSeq")
    if len(number) > 9:
        number = number.lstrip("0") or "0"
        if len(number) > 10 or int(number) > _CSEQ_MAX:
            raise ParseError("CSeq out of range")
    return int(number), method


def parse_delta(value: str) -> int | None:
    """Read delta-seconds, 0 to 2**32-1; None when it is none (MSG-20)."""
    value = value.strip(_BLANKS)
    if not (value.isascii() and value.isdigit()):
        return None
    if len(value) > 9:
        value = value.lstrip("0") or "0"
        if len(value) > 10:
            return None
    number = int(value)
    return number if number <= _DELTA_MAX else None


def parse_retry_after(value: str) -> tuple[int, int | None]:
    """Read a Retry-After: seconds, and the ``duration`` parameter or None (OVL-03).

    :raises ParseError: no delta-seconds in range, or a broken tail.
    """
    match = _RETRY_AFTER.fullmatch(value.strip(_BLANKS))
    seconds = parse_delta(match[1]) if match else None
    if match is None or seconds is None:
        raise ParseError("Bad Retry-After")
    duration = parse_params(match[2]).get("duration") if match[2] else None
    return seconds, parse_delta(duration) if duration else None


def parse_event(value: str) -> EventType:
    """Read an Event value: exactly one event type (MSG-31).

    :raises ParseError: no package token, a list, or a bad parameter.
    """
    package, semicolon, tail = value.partition(";")
    package = package.strip(_BLANKS)
    if not package or not TOKEN_CHARS.issuperset(package):
        raise ParseError("Bad Event")
    if not semicolon:
        return EventType(package, None, {})
    params = _some_params(tail)
    return EventType(package, params.get("id"), params)


def parse_media_type(value: str) -> MediaType:
    """Read a Content-Type value (MSG-24).

    :raises ParseError: no ``type/subtype``, or a bad parameter.
    """
    text, semicolon, tail = value.partition(";")
    main, slash, sub = text.partition("/")
    main, sub = main.strip(_BLANKS), sub.strip(_BLANKS)
    if not slash or not is_token(main) or not is_token(sub):
        raise ParseError("Bad media type")
    return MediaType(f"{main}/{sub}".lower(), _some_params(tail) if semicolon else {})


def parse_accept(values: Iterable[str]) -> list[tuple[str, float]]:
    """Read Accept values, whole or already split, to ``(media range, q)`` pairs.

    Ranges are in lower case and without their parameters.  No values, or only empty ones,
    give an empty list: nothing is acceptable (UAS-06 tells this from an absent header).

    :raises ParseError: no media range, or a bad ``q``.
    """
    ranges: list[tuple[str, float]] = []
    for value in values:
        for element in split_list(value):
            if not element:
                continue
            media = parse_media_type(element)
            ranges.append((media.type, _parse_q(media.params.get("q"))))
    return ranges


def accepts(ranges: Iterable[tuple[str, float]], media_type: str) -> float:
    """Quality of ``media_type`` (lower case) under an Accept list; 0 is not acceptable.

    The most specific range decides (RFC 3261 section 20.1 by way of RFC 9110 12.5.1).
    """
    group = media_type.partition("/")[0] + "/*"
    rank = {"*/*": 1, group: 2, media_type: 3}
    best, quality = 0, 0.0
    for media_range, q in ranges:
        found = rank.get(media_range, 0)
        if found > best or (found and found == best and q > quality):
            best, quality = found, q
    return quality


def parse_subscription_state(value: str) -> tuple[str, dict[str, str | None]]:
    """Read a Subscription-State: state in lower case, and the parameters.

    :raises ParseError: no state token, or a bad parameter.
    """
    state, semicolon, tail = value.partition(";")
    state = state.strip(_BLANKS)
    if not is_token(state):
        raise ParseError("Bad Subscription-State")
    return state.lower(), _some_params(tail) if semicolon else {}


def parse_token_list(values: Iterable[str]) -> list[str]:
    """Read option tags, methods or event names of one or more comma lists, case as sent.

    Empty elements are passed over (CLI-07: ``Supported:`` with nothing).

    :raises ParseError: an element is no token.
    """
    tokens: list[str] = []
    for value in values:
        for element in split_list(value):
            if element:
                if not TOKEN_CHARS.issuperset(element):
                    raise ParseError("Bad token in list")
                tokens.append(element)
    return tokens


def parse_credentials(value: str) -> tuple[str, dict[str, str]]:
    """Read credentials or a challenge: scheme in lower case, and its parameters.

    Blanks may stand anywhere between the parts (CLI-07).  A quote that neither comma nor
    end follows is taken as part of its value (CLI-18).  Parameters that break the grammar
    are an error with the Digest scheme; another scheme then has none (TOR-38).

    :raises ParseError: no scheme, or bad or repeated Digest parameters.
    """
    scheme, _, rest = value.strip(_BLANKS).partition(" ")
    scheme = scheme.lower()
    if not is_token(scheme):
        raise ParseError("Bad credentials")
    try:
        return scheme, _parse_auth_params(rest)
    except ParseError:
        if scheme == "digest":
            raise
        return scheme, {}


def parse_date(value: str) -> float | None:
    """Read a Date as seconds of the Unix epoch; None when it is not RFC 1123 in GMT (MSG-23)."""
    match = _DATE.fullmatch(value.strip(_BLANKS))
    if not match or match[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match[i]) for i in (1, 3, 4, 5, 6))
    try:
        month = _MONTHS.index(match[2]) + 1
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp()
    except ValueError:
        return None


def format_date(seconds: float) -> str:
    """Write a Date for ``seconds`` of the Unix epoch (MSG-23)."""
    date = datetime.fromtimestamp(int(seconds), UTC)
    day, month = _DAYS[date.weekday()], _MONTHS[date.month - 1]
    return f"{day}, {date.day:02} {month} {date.year:04} {date:%H:%M:%S} GMT"


def _parse_addr_spec(value: str) -> NameAddr:
    if value == "*":
        return NameAddr("", "*", {})
    uri, semicolon, tail = value.partition(";")
    uri = uri.rstrip(_BLANKS)
    if ":" not in uri or not _ADDR_SPEC_BARRED.isdisjoint(uri):
        raise ParseError("Bad address")
    return NameAddr("", uri, _some_params(tail) if semicolon else {})


_ADDR_SPEC_BARRED = frozenset(' \t,?<>"')


def _some_params(tail: str) -> dict[str, str | None]:
    """Parameters after a ``;`` that has been cut off: at least one."""
    if not tail:
        raise ParseError("Empty parameter")
    return parse_params(f";{tail}")


def _parse_sent(head: str) -> tuple[str, str]:
    """Transport and sent-by of a Via, blanks allowed around the slashes (MSG-06)."""
    parts = head.split("/", 2)
    words = parts[-1].split(None, 1)
    if len(parts) != 3 or parts[0].strip(_BLANKS).upper() != "SIP" or len(words) != 2:
        raise ParseError("Bad protocol in Via")
    if not is_token(parts[1].strip(_BLANKS)) or not is_token(words[0]):
        raise ParseError("Bad protocol in Via")
    return words[0].upper(), words[1].strip(_BLANKS)


def _parse_q(text: str | None) -> float:
    if text is None:
        return 1.0
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 5:
        raise ParseError("Bad q parameter")
    quality = float(text)
    if quality > 1:
        raise ParseError("Bad q parameter")
    return quality


def _quoted_end(text: str, position: int) -> int:
    """Index after the quote that ends the string whose content starts at ``position``."""
    while True:
        end = text.find('"', position)
        if end < 0:
            raise ParseError("Quoted string is not closed")
        escape = text.find("\\", position, end)
        if escape < 0:
            return end + 1
        position = escape + 2


def _unquote(text: str) -> str:
    """Content of a quoted string; nothing may follow it."""
    if _quoted_end(text, 1) != len(text):
        raise ParseError("Text after quoted string")
    inner = text[1:-1]
    return _QUOTED_PAIR.sub(r"\1", inner) if "\\" in inner else inner


def _split_params(text: str) -> list[str]:
    """Split at semicolons outside quoted strings."""
    parts: list[str] = []
    start = position = 0
    while mark := _PARAM_MARK.search(text, position):
        position = mark.end()
        if mark[0] == '"':
            position = _quoted_end(text, position)
        else:
            parts.append(text[start : position - 1])
            start = position
    parts.append(text[start:])
    return parts


def _parse_auth_params(text: str) -> dict[str, str]:
    params: dict[str, str] = {}
    position, length = 0, len(text)
    while position < length:
        equals = text.find("=", position)
        name = text[position:equals].strip(_BLANKS).lower()
        if equals < 0 or not is_token(name):
            raise ParseError("Bad credentials")
        if name in params:
            raise ParseError("Repeated parameter in credentials")
        position = equals + 1
        while text[position : position + 1] in (" ", "\t"):
            position += 1
        if text[position : position + 1] == '"':
            params[name], position = _auth_quoted(text, position + 1)
        else:
            comma = text.find(",", position)
            end = length if comma < 0 else comma
            params[name] = text[position:end].strip(_BLANKS)
            if not params[name]:
                raise ParseError("Bad credentials")
            position = end + 1
        while text[position : position + 1] in (" ", "\t", ","):
            position += 1
    return params


def _auth_quoted(text: str, start: int) -> tuple[str, int]:
    """Value of a quoted parameter and the index after its comma (CLI-18)."""
    position = start
    while True:
        end = _quoted_end(text, position)
        rest = text[end:].lstrip(_BLANKS)
        if not rest or rest[0] == ",":
            inner = text[start : end - 1]
            after = len(text) - len(rest) + 1
            return (_QUOTED_PAIR.sub(r"\1", inner) if "\\" in inner else inner), after
        position = end
