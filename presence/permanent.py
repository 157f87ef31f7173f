"""Presence that users write as documents: it never expires (RFC 4827, XDM-62, COM-01).

The document is fetched when a presentity is held for the first time, followed while it is held,
and forgotten some seconds after its release, all as rules are (PSV-08, PSV-10).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from presence.compose.sources import HARD_STATE
from presence.documentcopy import PERMANENT, Source
from presence.interfaces import IPermanentState
from presence.lingering import Lingering
from presence.pidf.parse import parse_compact
from presence.pidf.validate import DEFAULT_LIMIT, accept
from pysip.event.records import PublicationRecord
from xcap.uri import build

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from presence.copies import Copies
    from presence.documentcopy import Copy

_PIDF: Final = "application/pidf+xml"
_WORK: Final = 65536
"""Octets that are looked at in one turn of the reactor; a greater document is alone in its turn."""


class _Held:
    """A presentity that is at hand.

    :ivar asked: it took part in a composition before it was known what there is.
    :ivar copy: of its document.
    :ivar record: what takes part in composition.
    :ivar settled: it is known what there is, or it is not waited for any more.
    :ivar timer: ends the waiting.
    """

    __slots__ = ("asked", "copy", "owner", "presentity", "record", "settled", "timer", "waiting")

    copy: Copy

    def __init__(self, owner: PermanentState, presentity: str) -> None:
        self.owner = owner
        self.presentity = presentity
        self.record: PublicationRecord | None = None
        self.asked = self.settled = False
        self.timer: IDelayedCall | None = None
        self.waiting: dict[Deferred[None], None] | None = None

    @property
    def attended(self) -> bool:
        """Whether there is anybody to tell."""
        return self.owner.attends(self.presentity)

    def touched(self) -> None:
        """The document has changed."""
        self.owner._touched(self)


@implementer(IPermanentState)
class PermanentState(Lingering):
    """The permanent documents of the presentities that are held.

    :param clock: monotonic time and delayed calls.
    :param wall: wall-clock seconds.
    :param copies: of documents.
    :param home: where the documents of a presentity are: XCAP root, and name of its home
        directories.
    :param first: seconds for which composition waits for a document at first (PSV-08).
    :param limit: greatest document in octets (PID-10).

    :ivar subscribes: whether changes are told only of what is held.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], float],
        copies: Copies,
        home: Callable[[str], tuple[str, str]],
        *,
        first: float = 2.0,
        limit: int = DEFAULT_LIMIT,
    ) -> None:
        super().__init__(clock)
        self._wall = wall
        self._copies = copies
        self._home = home
        self._first = first
        self._read = partial(_read, limit=limit)
        self.subscribes = False
        self._known: dict[str, _Held] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._queue: dict[_Held, None] = {}
        self._turn: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._known)

    def stop(self) -> None:
        """Wait for nothing any more, and forget everybody."""
        super().stop()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def watch(self, changed: Callable[[str], None]) -> None:
        """Call back with changes; see :class:`IPermanentState`."""
        self._listeners.append(changed)

    def record(self, presentity: str) -> PublicationRecord | None:
        """The source of composition; see :class:`IPermanentState`."""
        held = self._known.get(presentity)
        if held is None:
            return None
        held.asked = held.asked or not held.settled
        return held.record

    # -- who is at hand -----------------------------------------------------------------

    def _begin(self, presentity: str) -> None:
        root, home = self._home(presentity)
        held = self._known[presentity] = _Held(self, presentity)
        held.copy = self._copies.use(Source(root, build("", PERMANENT, home, "index")[1:]), held)
        self._await(held)

    def _end(self, presentity: str) -> None:
        held = self._known.pop(presentity)
        self._queue.pop(held, None)
        self._copies.drop(held.copy, held)
        self._settle(held)

    def _refresh(self, presentity: str) -> None:
        held = self._known[presentity]
        held.settled = False
        self._copies.refresh(held.copy)
        self._await(held)

    def _await(self, held: _Held) -> None:
        """Wait for the document that was asked for."""
        if held.copy.settled:
            held.record = self._made(held)
            self._settle(held)
        elif held.timer is None:
            held.timer = self._clock.callLater(self._first, self._give_up, held)

    def _ready(self, presentity: str) -> Deferred[None] | None:
        held = self._known.get(presentity)
        if held is None or held.settled:
            return None
        if held.waiting is None:
            held.waiting = {}
        waiting = held.waiting
        ready: Deferred[None] = Deferred(lambda _: waiting.pop(ready, None))
        waiting[ready] = None
        return ready

    def _give_up(self, held: _Held) -> None:
        """Compose without a document that does not come (PSV-08)."""
        held.timer = None
        self._settle(held)

    @staticmethod
    def _settle(held: _Held) -> None:
        held.settled = True
        if held.timer is not None:
            held.timer.cancel()
            held.timer = None
        waiting, held.waiting = held.waiting, None
        while waiting:
            ready = next(iter(waiting))
            del waiting[ready]
            ready.callback(None)

    # -- what documents say -------------------------------------------------------------

    def _touched(self, held: _Held) -> None:
        """A document has changed: look at it in a later turn, for there may be many."""
        self._queue[held] = None
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._look)

    def _look(self) -> None:
        self._turn = None
        left = _WORK
        while self._queue and left > 0:
            held = next(iter(self._queue))
            del self._queue[held]
            left -= 1024 + len(held.copy.octets or b"")
            self._take(held)
        if self._queue and self._turn is None:
            self._turn = self._clock.callLater(0, self._look)

    def _take(self, held: _Held) -> None:
        """Compose with what is there from now on, and tell of it (XDM-64)."""
        before, held.record = held.record, self._made(held)
        if held.record is not before and (held.settled or held.asked):
            for listener in self._listeners:
                try:
                    listener(held.presentity)
                except Exception:
                    self._log.failure("who composes has failed; the others go on")
        self._settle(held)

    def _made(self, held: _Held) -> PublicationRecord | None:
        """What takes part; nothing for no document, and for one that says nothing (XDM-64)."""
        body: bytes | None = held.copy.read(self._read) if held.copy.octets is not None else None
        if not body:
            return None
        if held.record is not None and held.record.body == body:
            return held.record
        presentity, now = held.presentity, self._wall()
        never = float("inf")
        return PublicationRecord(
            0, HARD_STATE, presentity, "", never, now, now, presentity, _PIDF, body
        )


def _read(octets: bytes, limit: int) -> bytes:
    """The document as composition takes it, b"" for one without content.

    Whose it is has been looked at by the document server (XDM-63).

    :raises ValueError: it is not well-formed, not valid by the schema, or too large.
    """
    body = accept(octets, entity_ok=lambda entity: True, strict=True, limit=limit)
    return body if len(parse_compact(body)) else b""
