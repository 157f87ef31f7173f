"""Bounds of the HTTP server, what it counts, and what it tells about each request."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from xcap.records import Head, HttpPeer


@attrs.frozen(slots=True, kw_only=True)
class HttpSettings:
    """Bounds of an HTTP site; times in seconds, sizes in octets (AGP-76, AGP-77).

    Times are looked at once a second, so that a request pays for none of them.

    :ivar line: request line (414).
    :ivar block: header fields together (431).
    :ivar fields: number of header fields (431).
    :ivar body: request body, after removal of the chunked coding (413).
    :ivar streamed: the same where the service takes it in pieces, if that is more.
    :ivar refused_body: of the body of a refused request, what is read so that the connection
        can go on (AGP-28).
    :ivar pipelined: requests that may wait on a connection before no more is read from it.
    :ivar waiting: octets that may wait on a connection before no more is read from it.
    :ivar per_address: connections from one address.
    :ivar unbounded: addresses that may have more, such as those of proxies.
    :ivar connections: connections together; further ones are closed at once.
    :ivar handshake: until the TLS handshake is done.
    :ivar header: from the first octet of a request, or from the begin of a connection, to
        the end of its header block (408).
    :ivar body_time: from asking for the body to its last octet (408).
    :ivar body_rate: octets a second below which a body is too slow (408), and that a client
        has to take of an answer.
    :ivar body_grace: how long a body may be slower than that at first.
    :ivar idle: between an answer and the next request.
    :ivar whole: from the end of the header block to the answer.
    :ivar linger: what a closing connection gets, beyond the time for its answer at
        ``body_rate``, so that the client sees the answer before the end (RFC 9112
        section 9.6).
    :ivar drain: what requests in progress get when the site stops.
    :ivar overload_grace: how long an overload lasts before requests on open connections are
        refused too, not just new connections (AGP-83).
    :ivar hosts: host names served, lower case; others get 421 (AGP-10).  Empty: all.
    :ivar balancers: addresses of load balancers that end TLS before us (AGP-12): they may
        open any number of connections and their ``X-Forwarded-For`` and
        ``X-Forwarded-Proto`` tell where a request comes from.
    :ivar ciphers: ``modern``, or ``compatible`` which adds TLS_RSA_WITH_AES_128_CBC_SHA for
        handsets of 2006 (AGP-07).
    :ivar ticket_life: seconds that a key of session tickets is in use (AGP-08).
    :ivar server: value of the Server field, "" for none.
    """

    line: int = 8192
    block: int = 16384
    fields: int = 100
    body: int = 1 << 20
    streamed: int = 0
    refused_body: int = 65536
    pipelined: int = 100
    waiting: int = 65536
    per_address: int = 32
    unbounded: frozenset[str] = frozenset()
    connections: int = 10_000
    handshake: float = 10.0
    header: float = 10.0
    body_time: float = 30.0
    body_rate: float = 1024.0
    body_grace: float = 5.0
    idle: float = 75.0
    whole: float = 30.0
    linger: float = 5.0
    drain: float = 10.0
    overload_grace: float = 2.0
    hosts: frozenset[str] = frozenset()
    balancers: frozenset[str] = frozenset()
    ciphers: Literal["modern", "compatible"] = "modern"
    ticket_life: float = 12 * 3600.0
    server: str = "txpresence"


@attrs.frozen(slots=True)
class AccessRecord:
    """One request, once it has been answered (AGP-84).

    :ivar time: wall-clock seconds when its header block was complete.
    :ivar head: the request as the service saw it; None when it could not be read.  Its
        Authorization is not to be logged.
    :ivar method: "" when it could not be read.
    :ivar target: raw path without the query, "" when it could not be read.
    :ivar status: of the answer.
    :ivar received: octets of the request's body that were read.
    :ivar sent: octets of the answer's body.
    :ivar duration: seconds from the end of the header block to the answer.
    :ivar gone: the client had gone before the answer.
    """

    time: float
    peer: HttpPeer
    head: Head | None
    method: str
    target: str
    status: int
    received: int
    sent: int
    duration: float
    gone: bool


class HttpCounters:
    """What a site has done (AGP-85); plain numbers that only rise, except ``open``.

    :ivar open: connections now.
    :ivar accepted: connections taken.
    :ivar refused: connections closed at once: too many, or overload.
    :ivar handshakes: TLS handshakes completed, resumptions among them.
    :ivar resumptions: TLS sessions resumed.
    :ivar handshake_failures: TLS handshakes that failed or took too long.
    :ivar requests: requests of which the head could be read.
    :ivar malformed: requests refused because of their syntax or size.
    :ivar timeouts: connections closed because the client was too slow (408).
    :ivar overloads: requests refused with 503 because of overload.
    :ivar abandoned: requests given up because the service took too long.
    :ivar gone: requests whose client left before the answer.
    :ivar received: octets read, TLS removed.
    :ivar sent: octets written, TLS not counted.
    :ivar answers: answers by (method, status); the method is "" when it could not be read.
    """

    __slots__ = (
        "abandoned",
        "accepted",
        "answers",
        "gone",
        "handshake_failures",
        "handshakes",
        "malformed",
        "open",
        "overloads",
        "received",
        "refused",
        "requests",
        "resumptions",
        "sent",
        "timeouts",
    )

    def __init__(self) -> None:
        self.open = 0
        self.accepted = 0
        self.refused = 0
        self.handshakes = 0
        self.resumptions = 0
        self.handshake_failures = 0
        self.requests = 0
        self.malformed = 0
        self.timeouts = 0
        self.overloads = 0
        self.abandoned = 0
        self.gone = 0
        self.received = 0
        self.sent = 0
        self.answers: Counter[tuple[str, int]] = Counter()
