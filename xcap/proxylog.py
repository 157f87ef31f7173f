"""What the Aggregation Proxy tells about a request (AGP-84)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from xcap.interfaces import IAuthenticated
    from xcap.records import Head, HttpPeer

GONE = 499
"""Status of requests that were given up, because the client left or time was over."""


@attrs.frozen(slots=True)
class ProxyRecord:
    """One request, once it is answered.

    :ivar time: wall-clock seconds when it came.
    :ivar request_id: as told to the document server (AGP-68).
    :ivar username: as authenticated, ``-`` for nobody.
    :ivar identity: as asserted, ``-`` for none.
    :ivar target: raw request target without query.
    :ivar auid: of a known application usage, else ``-``.
    :ivar back_end: name, ``-`` when none was asked.
    :ivar received: octets of the request's body.
    :ivar sent: octets of the answer's body, content coding included.
    :ivar seconds: of everything.
    :ivar auth_seconds: of authentication.
    :ivar upstream_seconds: of the document server.
    """

    time: float
    request_id: str
    peer: HttpPeer
    username: str
    identity: str
    method: str
    target: str
    auid: str
    back_end: str
    status: int
    received: int
    sent: int
    seconds: float
    auth_seconds: float
    upstream_seconds: float


@attrs.define(slots=True)
class Passage:
    """A request on its way through the proxy.

    :ivar head: as it came.
    :ivar began: when, on the clock of the reactor.
    :ivar who: once authenticated.
    """

    head: Head
    request_id: str
    time: float
    began: float
    who: IAuthenticated | None = None
    identity: str = "-"
    auid: str = "-"
    back_end: str = "-"
    received: int = 0
    auth_seconds: float = 0.0
    upstream_seconds: float = 0.0

    def record(self, status: int, sent: int, now: float) -> ProxyRecord:
        """What is to be told at the end."""
        head = self.head
        return ProxyRecord(
            self.time,
            self.request_id,
            head.peer,
            "-" if self.who is None else self.who.username,
            self.identity,
            head.method,
            head.target.partition("?")[0],
            self.auid,
            self.back_end,
            status,
            self.received,
            sent,
            now - self.began,
            self.auth_seconds,
            self.upstream_seconds,
        )
