"""SIP requests and responses as values: header table, lazy header values, writing.

Sources: RFC 3261 sections 7, 8.2.6 and 20; requirements MSG-07, MSG-08, MSG-20, MSG-21,
UAS-08 and VIA-07.  Header values are kept as raw text; the few that routing and event
packages need are parsed on first use and remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from sys import intern

from pysip.errors import ParseError
from pysip.header import (
    EventType,
    MediaType,
    NameAddr,
    Via,
    parse_cseq,
    parse_delta,
    parse_event,
    parse_media_type,
    parse_name_addr,
    parse_via,
    split_list,
)
from pysip.uri import Uri, parse_uri


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SPELLINGS = _words(
    """
    Accept Accept-Contact Accept-Encoding Accept-Language Accept-Resource-Priority Alert-Info
    Allow Allow-Events Answer-Mode Authentication-Info Authorization Call-ID Call-Info Contact
    Content-Disposition Content-Encoding Content-ID Content-Language Content-Length
    Content-Transfer-Encoding Content-Type CSeq Date Encryption Error-Info Event Expires
    Feature-Caps Flow-Timer From Geolocation Geolocation-Error Geolocation-Routing Hide
    History-Info Identity Identity-Info In-Reply-To Info-Package Join Max-Breadth Max-Forwards
    MIME-Version Min-Expires Min-SE Organization P-Access-Network-Info P-Answer-State
    P-Asserted-Identity P-Asserted-Service P-Associated-URI P-Called-Party-ID
    P-Charging-Function-Addresses P-Charging-Vector P-Early-Media P-Media-Authorization
    P-Preferred-Identity P-Preferred-Service P-Private-Network-Indication P-Profile-Key
    P-Refused-URI-List P-Served-User P-User-Database P-Visited-Network-ID Path
    Permission-Missing Policy-Contact Policy-ID Priority Priv-Answer-Mode Privacy
    Proxy-Authenticate Proxy-Authentication-Info Proxy-Authorization Proxy-Require RAck Reason
    Record-Route Recv-Info Refer-Events-At Refer-Sub Refer-To Referred-By Reject-Contact
    Replaces Reply-To Request-Disposition Require Resource-Priority Response-Key Retry-After
    Route RSeq Security-Client Security-Server Security-Verify Server Service-Route
    Session-Expires Session-ID SIP-ETag SIP-If-Match Subject Subscription-State Supported
    Suppress-If-Match Target-Dialog Timestamp To Trigger-Consent Unsupported User-Agent
    User-to-User Via Warning WWW-Authenticate
    """
)

HEADER_NAMES: dict[str, str] = {intern(name.lower()): name for name in _SPELLINGS}
"""Canonical spelling of each known header name, by its lower-case name."""

COMPACT: dict[str, str] = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
"""Lower-case long name of each compact form (MSG-08, table 1)."""

# every usual way to write a name: one lookup on the hot path, no lower() and no check
NAME_KEYS: dict[str, str] = {
    **{name: intern(name.lower()) for name in _SPELLINGS},
    **{name.lower(): intern(name.lower()) for name in _SPELLINGS},
    **{letter: intern(name) for letter, name in COMPACT.items()},
    **{letter.upper(): intern(name) for letter, name in COMPACT.items()},
}
"""Lower-case long name of each usual spelling: canonical, lower case and compact."""

_COMPACT_OF = {name: letter for letter, name in COMPACT.items()}

LIST_HEADERS: frozenset[str] = frozenset(
    _words(
        """
        accept accept-contact accept-encoding accept-language accept-resource-priority alert-info
        allow allow-events call-info contact content-encoding content-language error-info
        feature-caps geolocation history-info in-reply-to p-asserted-identity p-associated-uri
        p-early-media p-media-authorization p-preferred-identity p-refused-uri-list
        p-visited-network-id path permission-missing policy-contact proxy-require reason
        record-route recv-info reject-contact request-disposition require resource-priority route
        security-client security-server security-verify service-route supported trigger-consent
        unsupported via warning
        """
    )
)
"""Headers whose grammar is a comma list, lower case (MSG-07); credentials never are."""

REASONS: dict[int, str] = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    417: "Unknown Resource-Priority",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    424: "Bad Location Information",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    430: "Flow Failed",
    433: "Anonymity Disallowed",
    436: "Bad Identity Info",
    437: "Unsupported Credential",
    438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded",
    469: "Bad Info Package",
    470: "Consent Needed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}
"""Standard reason phrases of the SIP response codes."""

_EXPIRES_WHEN_BAD = 3600


def header_key(name: str) -> str:
    """The key of a header field in :attr:`Message.headers`: its lower-case long name."""
    return NAME_KEYS.get(name) or COMPACT.get(name.lower()) or name.lower()


class Message:
    """What requests and responses have in common.

    :ivar headers: raw values by lower-case long name, in order; unfolded, without
        surrounding blanks.  Change it through the methods here, which keep the parsed values
        in step.
    :ivar body: body octets as received or to be sent.
    """

    __slots__ = (
        "_contacts",
        "_content_type",
        "_cseq",
        "_event",
        "_from",
        "_to",
        "_via",
        "body",
        "headers",
    )

    headers: dict[str, list[str]]
    body: bytes
    _via: Via | None
    _from: NameAddr | None
    _to: NameAddr | None
    _cseq: tuple[int, str] | None
    _contacts: list[NameAddr] | None
    _event: EventType | None
    _content_type: MediaType | None

    def __init__(self, headers: dict[str, list[str]] | None, body: bytes) -> None:
        self.headers = {} if headers is None else headers
        self.body = body
        self._forget()

    def _forget(self) -> None:
        """Drop the parsed values after a change of the headers."""
        self._via = self._from = self._to = None
        self._cseq = self._contacts = self._event = self._content_type = None

    def first(self, name: str) -> str | None:
        """The first value of a header field, whole; None when it is absent."""
        values = self.headers.get(name) or self.headers.get(header_key(name))
        return values[0] if values else None

    def values(self, name: str) -> list[str]:
        """All values of a header field; a comma list is split where the grammar has one.

        :raises ParseError: a quoted string or angle bracket in a list is not closed.
        """
        name = header_key(name)
        values = self.headers.get(name)
        if not values:
            return []
        if name not in LIST_HEADERS:
            return list(values)
        if len(values) == 1:
            return split_list(values[0])
        return [element for value in values for element in split_list(value)]

    def __contains__(self, name: str) -> bool:
        return name in self.headers or header_key(name) in self.headers

    def add(self, name: str, value: str) -> None:
        """Append a value after those that the field has."""
        self.headers.setdefault(header_key(name), []).append(value)
        self._forget()

    def prepend(self, name: str, value: str) -> None:
        """Put a value before those that the field has (Via, Record-Route)."""
        self.headers.setdefault(header_key(name), []).insert(0, value)
        self._forget()

    def set(self, name: str, value: str) -> None:
        """Replace all values of a field by one."""
        self.headers[header_key(name)] = [value]
        self._forget()

    def remove(self, name: str) -> None:
        """Remove a field if it is there."""
        if self.headers.pop(header_key(name), None) is not None:
            self._forget()

    def replace_top_via(self, value: str) -> None:
        """Put ``value`` in the place of the top Via value only (VIA-02, VIA-03)."""
        self.headers["via"][0:1] = [value, *self._lower_vias()]
        self._via = None

    def remove_top_via(self) -> None:
        """Take the top Via value away."""
        vias = self.headers["via"]
        vias[0:1] = self._lower_vias()
        if not vias:
            del self.headers["via"]
        self._via = None

    def _lower_vias(self) -> list[str]:
        """Values after the first in the top Via field; none where it cannot be split."""
        value = self.headers["via"][0]
        if "," not in value:
            return []
        try:
            return split_list(value)[1:]
        except ParseError:
            return []

    @property
    def via(self) -> Via:
        """The top Via value.

        :raises ParseError: it is missing or malformed.
        """
        via = self._via
        if via is None:
            value = self._only("via")
            if "," in value:
                value = split_list(value)[0]
            via = self._via = parse_via(value)
        return via

    @property
    def from_(self) -> NameAddr:
        """The From value.

        :raises ParseError: it is missing or malformed.
        """
        address = self._from
        if address is None:
            address = self._from = parse_name_addr(self._only("from"))
        return address

    @property
    def to(self) -> NameAddr:
        """The To value.

        :raises ParseError: it is missing or malformed.
        """
        address = self._to
        if address is None:
            address = self._to = parse_name_addr(self._only("to"))
        return address

    @property
    def cseq(self) -> tuple[int, str]:
        """Number and method of the CSeq.

        :raises ParseError: it is missing or malformed.
        """
        cseq = self._cseq
        if cseq is None:
            cseq = self._cseq = parse_cseq(self._only("cseq"))
        return cseq

    @property
    def call_id(self) -> str:
        """The Call-ID as sent.

        :raises ParseError: it is missing.
        """
        return self._only("call-id")

    @property
    def contacts(self) -> list[NameAddr]:
        """All Contact values; ``*`` comes as a NameAddr whose URI is ``*``.

        :raises ParseError: one is malformed.
        """
        contacts = self._contacts
        if contacts is None:
            contacts = self._contacts = [parse_name_addr(v) for v in self.values("contact")]
        return contacts

    @property
    def event(self) -> EventType | None:
        """The Event value, None when absent.

        :raises ParseError: it is malformed.
        """
        event = self._event
        if event is None:
            value = self.headers.get("event")
            if value:
                event = self._event = parse_event(value[0])
        return event

    @property
    def content_type(self) -> MediaType | None:
        """The Content-Type value, None when absent.

        :raises ParseError: it is malformed.
        """
        media = self._content_type
        if media is None:
            value = self.headers.get("content-type")
            if value:
                media = self._content_type = parse_media_type(value[0])
        return media

    @property
    def expires(self) -> int | None:
        """Expires in seconds, None when absent; a malformed one counts as 3600 (MSG-20)."""
        value = self.headers.get("expires")
        if not value:
            return None
        seconds = parse_delta(value[0])
        return _EXPIRES_WHEN_BAD if seconds is None else seconds

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards; None when absent or over 255 (MSG-21).

        :raises ParseError: it is no number.
        """
        value = self.headers.get("max-forwards")
        if not value:
            return None
        text = value[0]
        if not (text.isascii() and text.isdigit()):
            raise ParseError("Bad Max-Forwards")
        hops = parse_delta(text)
        return hops if hops is not None and hops <= 255 else None

    def _only(self, name: str) -> str:
        """The value of a mandatory field."""
        try:
            return self.headers[name][0]
        except (KeyError, IndexError):
            raise ParseError(f"Missing {HEADER_NAMES[name]}") from None

    def _start_line(self) -> str:
        raise NotImplementedError

    def encode(self, compact: bool = False) -> bytes:
        """The message as it goes on the wire; Content-Length is always the body's.

        :param compact: write compact header names where there are some (MSG-08).
        :raises ValueError: a value holds a line end, which would forge a header field.
        """
        lines = [self._start_line()]
        for name, values in self.headers.items():
            if name == "content-length":
                continue
            spelling = HEADER_NAMES.get(name) or name.title()
            if compact:
                spelling = _COMPACT_OF.get(name, spelling)
            for value in values:
                lines.append(f"{spelling}: {value}")
        lines.append(f"{'l' if compact else 'Content-Length'}: {len(self.body)}\r\n\r\n")
        return _join(lines) + self.body


class Request(Message):
    """A SIP request.

    :ivar method: method as sent (case-sensitive, MSG-02).
    :ivar uri: Request-URI as sent.
    """

    __slots__ = ("_target", "method", "uri")

    def __init__(
        self,
        method: str,
        uri: str,
        headers: dict[str, list[str]] | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(headers, body)
        self.method = method
        self.uri = uri
        self._target: Uri | None = None

    @property
    def target(self) -> Uri:
        """The Request-URI, parsed.

        :raises ParseError: it is malformed.
        """
        target = self._target
        if target is None:
            target = self._target = parse_uri(self.uri)
        return target

    def retarget(self, uri: str) -> None:
        """Replace the Request-URI."""
        self.uri = uri
        self._target = None

    def _start_line(self) -> str:
        return f"{self.method} {self.uri} SIP/2.0"

    def __repr__(self) -> str:
        return f"<Request {self.method}>"


class Response(Message):
    """A SIP response.

    :ivar status: response code, 100-699.
    :ivar reason: reason phrase as received or to be sent; may be "".
    """

    __slots__ = ("reason", "status")

    def __init__(
        self,
        status: int,
        reason: str = "",
        headers: dict[str, list[str]] | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason

    def _start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


def response_to(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str = "",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    content_type: str = "",
) -> Response:
    """A response to ``request`` (UAS-08, VIA-07).

    All Via values, From, To, Call-ID and CSeq are copied as they stand, as far as they are
    there; so this serves malformed requests too.  A 100 also takes the Timestamp (TXN-19).

    :param reason: reason phrase, None for the standard one.
    :param to_tag: tag for the To when it has none; "" adds none.
    :param headers: further fields as (name, value) pairs, in order.
    :param content_type: Content-Type of ``body``.
    """
    fields: dict[str, list[str]] = {}
    given = request.headers
    if "via" in given:
        fields["via"] = list(given["via"])
    for name in _COPIED if status != 100 else _COPIED_BY_100:
        if name in given:
            fields[name] = given[name][:1]
    if to_tag and "to" in fields:
        fields["to"] = [_tagged(request, to_tag)]
    for name, value in headers:
        fields.setdefault(header_key(name), []).append(value)
    if content_type:
        fields["content-type"] = [content_type]
    text = REASONS.get(status, "") if reason is None else reason
    return Response(status, text, fields, body)


def encode_response(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str = "",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    content_type: str = "",
) -> bytes:
    """``response_to(...).encode()`` without the object in between: the hot path.

    :raises ValueError: a value holds a line end.
    """
    text = REASONS.get(status, "") if reason is None else reason
    given = request.headers
    lines = [f"SIP/2.0 {status} {text}"]
    for value in given.get("via", ()):
        lines.append(f"Via: {value}")
    for name in _COPIED if status != 100 else _COPIED_BY_100:
        if name in given:
            value = given[name][0]
            if name == "to" and to_tag:
                value = _tagged(request, to_tag)
            lines.append(f"{HEADER_NAMES[name]}: {value}")
    for name, value in headers:
        lines.append(f"{name}: {value}")
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return _join(lines) + body


_COPIED = ("from", "to", "call-id", "cseq")
_COPIED_BY_100 = (*_COPIED, "timestamp")


def _tagged(request: Request, tag: str) -> str:
    """The To of ``request``, with ``tag`` if it has none."""
    value = request.headers["to"][0]
    if "tag" in value.lower():
        try:
            if request.to.tag:
                return value
        except ParseError:
            return value
    return f"{value};tag={tag}"


def _join(lines: list[str]) -> bytes:
    head = "\r\n".join(lines)
    # the last line brings two line ends of its own, so that there are len(lines) + 1
    if head.count("\n") != len(lines) + 1 or head.count("\r") != len(lines) + 1:
        raise ValueError("line end in a header value")
    return head.encode("utf-8", "surrogateescape")
