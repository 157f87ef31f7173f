"""A request on its way through the Content Server, and what is told of it (AGP-84)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from presence.content.access import Asker
    from xcap.records import Head, HttpPeer
    from xcap.streams import Source

OBJECT = "object"
"""What a request for an object is called; its URI is a secret and told to no log."""
COLLECTION = "collection"
"""What one for the objects of a user is called."""

GONE = 499
"""Status of requests whose client left before the answer."""


@attrs.frozen(slots=True)
class ContentRecord:
    """One request, once it is answered; nothing in it gives access to an object.

    :ivar time: wall-clock seconds when it came.
    :ivar user: as authenticated, ``-`` for nobody.
    :ivar kind: :data:`OBJECT`, :data:`COLLECTION`, or ``-`` for a place that there is not.
    :ivar received: octets of the request's body.
    :ivar sent: octets of the answer's body.
    :ivar seconds: until the answer was complete, or began when it is sent in pieces.
    """

    time: float
    request_id: str
    peer: HttpPeer
    user: str
    method: str
    kind: str
    status: int
    received: int
    sent: int
    seconds: float


@attrs.define(slots=True, eq=False)
class Passage:
    """A request on its way.

    :ivar began: when, on the clock of the reactor.
    """

    head: Head
    request_id: str
    time: float
    began: float
    asker: Asker | None = None
    kind: str = "-"
    received: int = 0

    def record(self, status: int, sent: int, now: float) -> ContentRecord:
        """What is to be told at the end."""
        return ContentRecord(
            self.time,
            self.request_id,
            self.head.peer,
            "-" if self.asker is None else self.asker.name,
            self.head.method,
            self.kind,
            status,
            self.received,
            sent,
            now - self.began,
        )


class NotedSource:
    """A source that tells at its end how much was taken of it.

    :param ended: called once with the octets.
    """

    def __init__(self, source: Source, ended: Callable[[int], None]) -> None:
        self._source = source
        self._ended = ended
        self._sent = 0

    def read(self) -> Deferred[bytes]:
        """The next piece."""
        return self._source.read().addCallback(self._read)

    def _read(self, piece: bytes) -> bytes:
        self._sent += len(piece)
        return piece

    def close(self) -> None:
        """No more is wanted."""
        self._source.close()
        self._ended(self._sent)
