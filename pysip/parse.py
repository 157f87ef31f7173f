"""From octets to messages: datagrams, streams, and the errors both can hold.

Sources: RFC 3261 sections 7, 18.3 and 25, RFC 5626 section 3.5.1, RFC 4475; requirements
TRN-04, TRN-09 to TRN-12, TRN-15 to TRN-17, MSG-01 to MSG-08, MSG-17, MSG-19.

:func:`parse_message` makes the checks without which a message cannot be matched to a
transaction.  :func:`check_fields` makes the rest of MSG-17, after retransmissions have been
sorted out.
"""

from __future__ import annotations

import re

import attrs

from pysip.errors import ParseError, SipError
from pysip.header import (
    Via,
    is_token,
    parse_cseq,
    parse_subscription_state,
    parse_via,
    salvage_via,
    split_list,
)
from pysip.message import HEADER_NAMES, NAME_KEYS, REASONS, Request, Response, header_key
from pysip.uri import check_uri

MAX_URI = 2048
"""Longest method and longest Request-URI, in characters; beyond is a 414."""

SINGLE_HEADERS = frozenset(
    {
        "call-id",
        "content-length",
        "content-type",
        "cseq",
        "event",
        "expires",
        "from",
        "max-forwards",
        "sip-etag",
        "sip-if-match",
        "subscription-state",
        "suppress-if-match",
        "to",
    }
)
"""Headers of which a message may have one only (MSG-17)."""

_FOLD = re.compile(r"[ \t]*\r\n[ \t]+")
_ANY_LINE_END = re.compile(r"\r\n|\r|\n")
_VERSION = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)
_BLANKS = " \t"


@attrs.frozen(slots=True)
class Limits:
    """Bounds on a message (TRN-17).

    :ivar head: octets of start-line and headers; beyond is a 513.
    :ivar line: octets of one header field, unfolded; beyond is a 400.
    :ivar fields: number of header fields; beyond is a 400.
    :ivar body: octets of body; beyond is a 413.
    :ivar vias: number of Via values; beyond is a 400.
    """

    head: int = 65536
    line: int = 8192
    fields: int = 256
    body: int = 1048576
    vias: int = 70


DEFAULT_LIMITS = Limits()


class Ignored(Exception):
    """A datagram that holds no message and deserves no log entry (TRN-15)."""


class BadMessage(Exception):
    """Something that is no proper message.

    :ivar status: code of the answer that it deserves, if it is a request.
    :ivar reason: reason phrase that names the fault, without any input text.
    :ivar message: what could be read, enough for :func:`pysip.message.response_to`; its
        ``via`` can be read even where the Via is malformed.  None when nobody can be
        answered: then drop.  A method of ``ACK`` is never answered.
    :ivar is_request: False for a malformed response, which is dropped.
    :ivar fatal: the framing of the stream is lost; close it after answering.
    """

    def __init__(
        self,
        status: int,
        reason: str | None = None,
        message: Request | None = None,
        *,
        is_request: bool = True,
        fatal: bool = False,
    ) -> None:
        self.status = status
        self.reason = reason or REASONS[status]
        super().__init__(status, self.reason)
        self.message = message
        self.is_request = is_request
        self.fatal = fatal


class Ping:
    """A keep-alive on a stream: answer with one CRLF (TRN-12)."""

    __slots__ = ()


class Pong:
    """A single CRLF on a stream: the answer to our keep-alive, else meaningless (TRN-12)."""

    __slots__ = ()


def parse_message(
    data: bytes, limits: Limits = DEFAULT_LIMITS, stream: bool = False
) -> Request | Response:
    """Read one datagram, or one message that a stream framing has cut out.

    Header values stay raw.  Checked here: line ends, start-line, header names, limits,
    Content-Length against the data, headers that must be there once, CSeq, top Via.

    :param stream: Content-Length is required (TRN-09).
    :raises Ignored: nothing but line ends, or fewer than four octets (TRN-15).
    :raises BadMessage: anything else that is no proper message.
    """
    end = data.find(b"\r\n\r\n")
    if end <= 0 or data[0] == 13:
        data = _skip_line_ends(data)
        end = data.find(b"\r\n\r\n")
        if end < 0:
            text = str(data[: limits.head], "utf-8", "surrogateescape")
            raise _bad(text, 400, "Head of the message does not end", True)
    text = str(data[:end], "utf-8", "surrogateescape")
    message = _parse_head(text, end, limits)
    length = message.headers.get("content-length")
    if length is None:
        if stream:
            raise _bad(text, 400, "Missing Content-Length", True)
        body = data[end + 4 :]
        if len(body) > limits.body:
            raise _bad(text, 413, None, False)
    else:
        size = _content_length(length[0])
        if size is None:
            raise _bad(text, 400, "Bad Content-Length", True)
        if size > limits.body:
            raise _bad(text, 413, None, True)
        stop = end + 4 + size
        if stop > len(data):
            raise _bad(text, 400, "Body shorter than Content-Length", True)
        body = data[end + 4 : stop]
    message.body = body
    return message


def check_fields(message: Request | Response) -> None:
    """The checks of MSG-17 that :func:`parse_message` leaves out; parsed values are kept.

    Request-URI, From, To, Contact, Max-Forwards, Content-Type, Event, Subscription-State
    and SIP-If-Match must follow their grammar.  Expires never fails (MSG-20), nor does a URI
    of a foreign scheme in From, To or Contact (UAS-16, TOR-35).

    :raises SipError: 400 whose reason phrase names the one that does not.
    """
    headers = message.headers
    try:
        checked = ""  # most requests have the same URI in two or three places
        if isinstance(message, Request):
            name = "Request-URI"
            checked = message.uri
            check_uri(checked)
        name = "From"
        if message.from_.uri != checked:
            _check_sip(message.from_.uri)
        name = "To"
        if message.to.uri != checked:
            _check_sip(message.to.uri)
        if "contact" in headers:
            name = "Contact"
            for contact in message.contacts:
                _check_sip(contact.uri)
        name = "Max-Forwards"
        _ = message.max_forwards
        name = "Content-Type"
        _ = message.content_type
        name = "Event"
        _ = message.event
        if "subscription-state" in headers:
            name = "Subscription-State"
            parse_subscription_state(headers["subscription-state"][0])
        if "sip-if-match" in headers:
            name = "SIP-If-Match"
            if not is_token(headers["sip-if-match"][0]):
                raise ParseError("Bad entity-tag")
    except ParseError:
        raise SipError(400, f"Bad {name}") from None


class StreamFramer:
    """Cuts a stream into messages (TRN-09, TRN-11, TRN-12, TRN-16, TRN-17).

    Line ends between messages give a :class:`Ping` for each pair and a :class:`Pong` for a
    single one.  A line end that is the last of what has arrived is reported as a Pong at
    once, since nothing need follow it; if its twin comes later, that gives the Ping.
    """

    __slots__ = ("_broken", "_buffer", "_half_ping", "_limits", "_message", "_need", "_scanned")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._scanned = 0
        # a head that waits for its body; a BadMessage takes its body along before it goes
        self._message: Request | Response | BadMessage | None = None
        self._need = 0
        self._half_ping = False
        self._broken = False

    @property
    def pending(self) -> bool:
        """Whether part of a message has arrived, so that the rest must follow (TRN-18)."""
        return self._message is not None or bool(self._buffer)

    def feed(self, data: bytes) -> list[Request | Response | Ping | Pong | BadMessage]:
        """Take what has arrived and return what is now complete, in order.

        After a fatal BadMessage, which is the last of its list, all input is dropped.
        """
        found: list[Request | Response | Ping | Pong | BadMessage] = []
        if self._broken:
            return found
        self._buffer += data
        while self._step(found):
            pass
        if self._broken:
            self._buffer.clear()
            self._message = None
        return found

    def _step(self, found: list[Request | Response | Ping | Pong | BadMessage]) -> bool:
        """Cut one item off the front of the buffer; False when it needs more input."""
        buffer = self._buffer
        waiting = self._message
        if waiting is not None:
            if len(buffer) < self._need:
                return False
            if not isinstance(waiting, BadMessage):
                waiting.body = bytes(buffer[: self._need])
            del buffer[: self._need]
            self._message = None
            found.append(waiting)
            return True
        if not buffer:
            return False
        if buffer[0] == 13 and not self._scanned:
            return self._line_end(found)
        self._half_ping = False
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end < 0 or end > self._limits.head:
            self._scanned = len(buffer)
            if len(buffer) > self._limits.head:
                text = str(buffer[: self._limits.head], "utf-8", "surrogateescape")
                self._fail(found, _bad(text, 513, None, True))
            return False
        text = str(buffer[:end], "utf-8", "surrogateescape")
        del buffer[: end + 4]
        self._scanned = 0
        return self._head(text, end, found)

    def _line_end(self, found: list[Request | Response | Ping | Pong | BadMessage]) -> bool:
        buffer = self._buffer
        if len(buffer) == 1:
            return False
        if buffer[1] != 10:
            self._fail(found, BadMessage(400, "Bare CR in the stream", fatal=True))
            return False
        if self._half_ping:
            self._half_ping = False
            found.append(Ping())
            del buffer[:2]
        elif buffer.startswith(b"\r\n\r\n"):
            found.append(Ping())
            del buffer[:4]
        elif buffer.startswith(b"\r\n\r") and len(buffer) == 3:
            return False
        else:
            self._half_ping = len(buffer) == 2
            found.append(Pong())
            del buffer[:2]
        return True

    def _head(
        self, text: str, size: int, found: list[Request | Response | Ping | Pong | BadMessage]
    ) -> bool:
        limits = self._limits
        waiting: Request | Response | BadMessage
        try:
            waiting = _parse_head(text, size, limits)
            lengths = waiting.headers.get("content-length")
        except BadMessage as error:
            if error.fatal:
                self._fail(found, error)
                return False
            waiting = error
            lengths = _salvage(text)[1].get("content-length")
        if not lengths:
            self._fail(found, _bad(text, 400, "Missing Content-Length", True))
            return False
        need = _content_length(lengths[0])
        if need is None or len(lengths) > 1:
            self._fail(found, _bad(text, 400, "Bad Content-Length", True))
            return False
        if need > limits.body:
            self._fail(found, _bad(text, 413, None, True))
            return False
        self._message = waiting
        self._need = need
        return True

    def _fail(
        self, found: list[Request | Response | Ping | Pong | BadMessage], error: BadMessage
    ) -> None:
        found.append(error)
        self._broken = True


def _skip_line_ends(data: bytes) -> bytes:
    """A datagram without the line ends before its message (TRN-11, TRN-15)."""
    if len(data) < 4:
        raise Ignored
    start = 0
    while data[start : start + 2] == b"\r\n":
        start += 2
    if not data[start:].strip(b"\r\n\0"):
        raise Ignored
    return data[start:]


def _parse_head(text: str, size: int, limits: Limits) -> Request | Response:
    """Start-line and headers; the message has no body yet.

    :param size: length of the head in octets.
    :raises BadMessage: fatal where a stream cannot be followed any further.
    """
    if "\r\n " in text or "\r\n\t" in text:
        lines = _FOLD.sub(" ", text).split("\r\n")
        ends = text.count("\r\n")
    else:
        lines = text.split("\r\n")
        ends = len(lines) - 1
    if text.count("\r") != ends or text.count("\n") != ends:
        raise _bad(text, 400, "Bad line end", True)
    if size > limits.line:
        if size > limits.head:
            raise _bad(text, 513, None, True)
        for line in lines:
            if len(line.encode("utf-8", "surrogateescape")) > limits.line:
                status = 414 if line is lines[0] else 400
                raise _bad(text, status, "Header field too long" if status == 400 else None)
    start = lines[0]
    message: Request | Response
    if start[:4].upper() == "SIP/":
        message = _parse_status_line(text, start)
    else:
        message = _parse_request_line(text, start)
    headers = message.headers
    if len(lines) > limits.fields + 1:
        raise _bad(text, 400, "Too many header fields")
    names = NAME_KEYS
    repeated: list[str] | None = None
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(":")
        key = names.get(name)
        if key is None or not colon:
            name = name.rstrip(_BLANKS)
            if not colon or not is_token(name):
                raise _bad(text, 400, "Malformed header field")
            key = header_key(name)
        if key in headers:
            headers[key].append(value.strip(_BLANKS))
            if repeated is None:
                repeated = [key]
            else:
                repeated.append(key)
        else:
            headers[key] = [value.strip(_BLANKS)]
    if repeated is not None:
        for key in repeated:
            if key in SINGLE_HEADERS:
                fatal = key == "content-length"
                raise _bad(text, 400, f"More than one {HEADER_NAMES[key]}", fatal)
    try:
        vias = headers["via"]
        headers["from"]
        headers["to"]
        headers["call-id"][0] or headers["missing"]
        sequence = headers["cseq"][0]
    except KeyError:
        missing = next(key for key in _MANDATORY if not headers.get(key, [""])[0])
        raise _bad(text, 400, f"Missing {HEADER_NAMES[missing]}") from None
    try:
        cseq = message._cseq = parse_cseq(sequence)
    except ParseError as error:
        raise _bad(text, 400, str(error)) from None
    if isinstance(message, Request) and cseq[1] != message.method:
        raise _bad(text, 400, "CSeq method does not match")
    top = vias[0]
    try:
        if "," in top or repeated is not None:
            _count_vias(text, vias, limits)
            top = split_list(top)[0]
        message._via = parse_via(top)
    except (ParseError, IndexError):
        raise _bad(text, 400, "Bad Via") from None
    return message


_MANDATORY = ("via", "from", "to", "call-id", "cseq")


def _parse_request_line(text: str, start: str) -> Request:
    parts = start.split(" ")
    version = parts[-1]
    if version != "SIP/2.0" and version.upper() != "SIP/2.0":
        if not _VERSION.fullmatch(version):
            # not even close to SIP: on a stream there is nothing to go on with
            raise _bad(text, 400, "Bad Request-Line", "SIP/" not in start.upper())
        if len(parts) == 3:
            raise _bad(text, 505, None)
    if len(parts) != 3:
        raise _bad(text, 400, "Bad Request-Line")
    method, uri, _ = parts
    if len(start) > MAX_URI and (len(uri) > MAX_URI or len(method) > MAX_URI):
        raise _bad(text, 414, None)
    if not is_token(method) or ":" not in uri or uri[0] == "<" or "\t" in uri:
        raise _bad(text, 400, "Bad Request-Line")
    return Request(method, uri)


def _parse_status_line(text: str, start: str) -> Response:
    version, _, rest = start.partition(" ")
    code, _, reason = rest.partition(" ")
    if version.upper() != "SIP/2.0":
        raise _bad(text, 505, None)
    if len(code) != 3 or not (code.isascii() and code.isdigit()) or not "1" <= code[0] <= "6":
        raise _bad(text, 400, "Bad Status-Line")
    return Response(int(code), reason)


def _count_vias(text: str, vias: list[str], limits: Limits) -> None:
    if len(vias) + sum(value.count(",") for value in vias) > limits.vias:
        count = sum(len(split_list(value)) for value in vias)
        if count > limits.vias:
            raise _bad(text, 400, "Too many Via values")


def _check_sip(uri: str) -> None:
    if uri[:4].lower() in ("sip:", "sips"):
        check_uri(uri)


def _content_length(value: str) -> int | None:
    if not (value.isascii() and value.isdigit()):
        return None
    value = value.lstrip("0") or "0"
    # any number with more digits is beyond every limit, and cheap to represent as this one
    return int(value) if len(value) <= 18 else 10**18


def _bad(text: str, status: int, reason: str | None, fatal: bool = False) -> BadMessage:
    """The error for a head, with what can be read of it."""
    is_request = text.lstrip("\r\n")[:4].upper() != "SIP/"
    message: Request | None = None
    if is_request:
        start, headers, via = _salvage(text)
        if via is not None:
            method, _, rest = start.partition(" ")
            uri = rest.strip(_BLANKS).partition(" ")[0]
            message = Request(method, uri, headers)
            message._via = via
    return BadMessage(status, reason, message, is_request=is_request, fatal=fatal)


def _salvage(text: str) -> tuple[str, dict[str, list[str]], Via | None]:
    """Start-line, readable headers, and readable top Via of a head that may be malformed."""
    lines = _ANY_LINE_END.split(_FOLD.sub(" ", text))
    headers: dict[str, list[str]] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        name = name.strip(_BLANKS)
        if colon and is_token(name):
            headers.setdefault(header_key(name), []).append(value.strip(_BLANKS))
    vias = headers.get("via")
    via = salvage_via(vias[0]) if vias else None
    return lines[0], headers, via
