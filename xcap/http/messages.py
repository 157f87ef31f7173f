"""Heads of requests read strictly, answers written (RFC 9110, RFC 9112, AGP-74).

A head is checked twice.  One regular expression over its octets admits exactly the grammar
of RFC 9112 without the tolerance that the RFC allows, because two parsers that tolerate
different things are what request smuggling lives on; then llhttp takes it apart.
"""

from __future__ import annotations

import ipaddress
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

import attrs
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from xcap.errors import XcapError
from xcap.records import Headers, HttpPeer, HttpResponse

if TYPE_CHECKING:
    from xcap.http.settings import HttpSettings

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Interim answer to Expect: 100-continue."""

METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS", "PATCH", "TRACE"})
"""Methods that get as far as the service; others get 501 here (XCAP-54)."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# what RFC 3986 has in a path or query, and [ ] " raw as xcaplib sends them (CLI-18); no "#"
_TARGET = rb"[A-Za-z0-9._~%:/?\[\]@!$&'()*+,;=\"-]+"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*"
_REQUEST_LINE = re.compile(rb"(%b) (%b) HTTP/([0-9])\.([0-9])\r\n" % (_TOKEN, _TARGET))
_FIELDS = re.compile(rb"(?:%b:%b\r\n)*+" % (_TOKEN, _VALUE))
_NO_LINE_END = re.compile(rb"[^\r]\n|\A\n|\r[^\n]")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%-]+)(?::([0-9]{0,5}))?")
_ABSOLUTE = re.compile(r"(?i:https?)://([^/?]*)(.*)")
_LENGTH = re.compile(r"[0-9]{1,18}")

_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect"})

_OURS = frozenset({"content-length", "connection", "keep-alive", "transfer-encoding"})
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
_BODYLESS = frozenset({204, 304})


@attrs.frozen(slots=True)
class RequestHead:
    """A head as parsed, with what framing and connection handling need.

    :ivar target: in origin form, octet for octet; ``*`` for OPTIONS.
    :ivar authority: of the absolute form, else of Host; "" with HTTP/1.0 without Host.
    :ivar length: octets of the body; -1 when it is chunked.
    :ivar expects: the client waits for 100 (Continue).
    :ivar close: the connection ends with the answer.
    """

    method: str
    target: str
    authority: str
    headers: Headers
    length: int
    expects: bool
    close: bool


class _Collector:
    """What llhttp calls back."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode("ascii").lower(), value.decode("latin-1").strip(" \t")))


def check_partial(data: bytes, settings: HttpSettings) -> None:
    """Look at the begin of a head before its end has come.

    :raises XcapError: 400, 414 or 431: it can be no head whatever follows.
    """
    if _NO_LINE_END.search(data):
        raise XcapError(400, "CR and LF end a line together, and are found nowhere else")
    line = data.find(b"\r\n")
    if (line if line >= 0 else len(data) - 1) > settings.line:
        raise XcapError(414, "the request line is too long")
    if line >= 0 and len(data) - line > settings.block + 4:
        raise XcapError(431, "the header block is too large")


def parse_head(raw: bytes, settings: HttpSettings) -> RequestHead:
    """Read a head strictly (AGP-74, XCAP-14, XCAP-15).

    :param raw: all octets up to the empty line, CRLF of the last line included.
    :raises XcapError: 400 malformed, 414 or 431 too large, 501 method or transfer coding not
        known, 505 another version of HTTP; the connection has to be closed.
    """
    line = _REQUEST_LINE.match(raw)
    length = raw.find(b"\r\n")
    if length > settings.line:
        raise XcapError(414, "the request line is too long")
    if line is None:
        raise XcapError(400, "the request line is malformed")
    method = line[1].decode("ascii")
    if line[3] != b"1" or line[4] not in b"01":
        raise XcapError(505, "this server speaks HTTP/1.1")
    if len(raw) - length - 2 > settings.block or raw.count(b"\r\n") - 1 > settings.fields:
        raise XcapError(431, "the header block is too large")
    if _FIELDS.fullmatch(raw, line.end()) is None:
        raise XcapError(400, "a header field is malformed")
    if method not in METHODS:
        raise XcapError(501, "this method is not known here")
    collector = _Collector()
    try:
        HttpRequestParser(collector).feed_data(raw + b"\r\n")
    except HttpParserUpgrade:
        pass  # no other protocol is offered; the field may be ignored (RFC 9110 section 7.8)
    except HttpParserError as error:
        if _other_coding(collector.fields) and b"\r\ncontent-length:" not in raw.lower():
            raise XcapError(501, "no transfer coding but chunked is known here") from error
        raise XcapError(400, "the header block is malformed") from error
    return _framed(method, line[2].decode("ascii"), line[4] == b"0", collector.fields)


def _other_coding(fields: list[tuple[str, str]]) -> bool:
    """Whether llhttp refuses a transfer coding that is well-formed."""
    codings = [value.lower() for name, value in fields if name == "transfer-encoding"]
    return bool(codings) and "chunked" not in ",".join(codings)


def _framed(method: str, target: str, old: bool, fields: list[tuple[str, str]]) -> RequestHead:
    """The head with the meaning of the fields that concern this connection."""
    hosts: list[str] = []
    lengths: list[str] = []
    codings: list[str] = []
    close = old
    expects = False
    for name, value in fields:
        if name not in _FRAMING:
            continue
        if name == "host":
            hosts.append(value)
        elif name == "content-length":
            lengths.append(value)
        elif name == "transfer-encoding":
            codings.append(value)
        elif name == "connection":
            close = close or "close" in [token.strip() for token in value.lower().split(",")]
        elif value.lower() == "100-continue":
            expects = not old
        else:
            raise XcapError(417, "no expectation but 100-continue is known here")
    length = _body_length(lengths, codings, old)
    authority = _host(hosts, old)
    headers = Headers()
    headers.fields = fields
    if target[0] != "/":
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is not None:
            authority = _checked(absolute[1])
            target = absolute[2]
            if target[:1] != "/":
                target = "/" + target
            # RFC 9112 section 3.2.2: it counts instead of Host, for whoever reads the head
            headers.fields = [("host", authority), *(f for f in fields if f[0] != "host")]
        elif target != "*" or method != "OPTIONS":
            raise XcapError(400, "the request target is malformed")
    return RequestHead(method, target, authority, headers, length, expects and length != 0, close)


def _body_length(lengths: list[str], codings: list[str], old: bool) -> int:
    """How long the body is (RFC 9112 section 6.3): octets, or -1 when chunked."""
    if codings:
        if lengths or old or len(codings) > 1:
            raise XcapError(400, "the length of the body is ambiguous")
        coding = codings[0].lower()
        if coding == "chunked":
            return -1
        names = [name.strip() for name in coding.split(",")]
        if names[-1] == "chunked" and "chunked" not in names[:-1] and all(names):
            raise XcapError(501, "no transfer coding but chunked is known here")
        raise XcapError(400, "chunked is not the last transfer coding")
    if not lengths:
        return 0
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise XcapError(400, "Content-Length is malformed")
    return int(lengths[0])


def _host(hosts: list[str], old: bool) -> str:
    """The Host field, which HTTP/1.0 may leave out."""
    if not hosts and old:
        return ""
    if len(hosts) != 1:
        raise XcapError(400, "one Host field is expected")
    return _checked(hosts[0])


def _checked(authority: str) -> str:
    """A host with or without port."""
    if _AUTHORITY.fullmatch(authority) is None:
        raise XcapError(400, "the host is malformed")
    return authority


def host_of(authority: str) -> str:
    """The host of an authority in lower case, without port and final dot."""
    match = _AUTHORITY.fullmatch(authority)
    return match[1].lower().rstrip(".") if match else ""


def forwarded_peer(peer: HttpPeer, headers: Headers) -> HttpPeer:
    """Where a request comes from according to a load balancer (AGP-12).

    The last value is what the balancer has added; the ones before it anybody can send.
    """
    chain = headers.get("x-forwarded-for")
    scheme = headers.get("x-forwarded-proto")
    if chain is not None:
        try:
            address = ipaddress.ip_address(chain.rpartition(",")[2].strip().strip("[]"))
        except ValueError:
            pass
        else:
            peer = attrs.evolve(peer, address=str(address), port=0)
    if scheme is not None:
        secure = scheme.rpartition(",")[2].strip().lower() == "https"
        peer = attrs.evolve(peer, secure=secure)
    return peer


def refusal(error: XcapError) -> HttpResponse:
    """The answer to a request that nobody has worded an answer for: plain text."""
    text = error.text or _phrase(error.status)
    return HttpResponse(
        error.status,
        (("Content-Type", "text/plain; charset=utf-8"), *error.headers),
        f"{text}\n".encode(),
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"


def encode_response(
    response: HttpResponse, *, head: bool, close: bool, date: str, server: str
) -> bytes:
    """An answer on the wire.

    Content-Length and Connection are ours, whatever the answer says; Date and Server are
    added when it has none.  The answer to HEAD, without body, keeps a Content-Length that it
    brings along (a proxy got it from elsewhere).

    :param head: the request was HEAD: headers as for GET, no body (XCAP-55).
    :param close: the connection ends with it.
    :param date: ``Date: …`` with CRLF.
    :param server: ``Server: …`` with CRLF, or "".
    :raises ValueError: a status or header field that must not be sent: a bug.
    """
    status, body = response.status, response.body
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is no status of an answer")
    lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"]
    length: str | None = str(len(body))
    if status in _BODYLESS:
        length, body = None, b""
    for name, value in response.headers:
        lowered = name.lower()
        if lowered in _OURS:
            if head and not body and lowered == "content-length" and length is not None:
                length = value
            continue
        if lowered == "date":
            date = ""
        elif lowered == "server":
            server = ""
        lines.append(f"{name}: {value}\r\n")
    expected = len(lines)
    if length is not None:
        lines.append(f"Content-Length: {length}\r\n")
        expected += 1
    if close:
        lines.append("Connection: close\r\n")
        expected += 1
    lines.append(f"{date}{server}\r\n")
    text = "".join(lines)
    expected += (date != "") + (server != "") + 1
    if text.count("\n") != expected or text.count("\r") != expected or "\0" in text:
        raise ValueError("a header field of an answer holds a line end or NUL")
    octets = text.encode("latin-1", "replace")
    return octets if head or not body else octets + body
