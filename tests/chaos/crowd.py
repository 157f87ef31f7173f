"""Many publications and watchers over one socket, and a model of what they must find again.

The model knows what was acknowledged.  A request that was unanswered when the server was
killed leaves its publication or subscription in doubt: it was carried out, or it was not.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable

from tests.e2e.daemon import Daemon
from tests.e2e.phone import NOTED, Phone, Watch, aor, notes, pidf
from tests.e2e.wire import Message

WINDOW = 40
"""Most requests unanswered at a time."""
QUIET = 1.2
"""Seconds without any NOTIFY after which none is expected any more."""
_RESEND = 1.0
_PATIENCE = 30.0

Answered = Callable[[Message], None]
Prepared = tuple[str, bytes, Answered]
"""Branch and octets of a request, and who takes the answer."""


class Slot:
    """One publication.

    :ivar etag: entity-tag of the last answer.
    :ivar note: what it says, None while there is none.
    :ivar asked: kind and note of the request that is unanswered, None without one.
    """

    def __init__(self, tuple_id: str) -> None:
        self.tuple_id = tuple_id
        self.etag = ""
        self.note: str | None = None
        self.asked: tuple[str, str | None] | None = None


class Watching(Watch):
    """One subscription.

    :ivar told: the notes that the last acknowledged NOTIFY held, None before the first.
    :ivar told_at: when that was.
    :ivar heard: NOTIFYs since the count was last reset.
    :ivar asked: kind of the SUBSCRIBE that is unanswered, "" without one.
    """

    def __init__(self, uri: str, call_id: str, tag: str) -> None:
        super().__init__(uri, call_id, tag)
        self.told: list[str] | None = None
        self.told_at = 0.0
        self.heard = 0
        self.asked = ""


class Presentity:
    """A user, its publications, and the one who watches it.

    :ivar lost: notes of publications whose entity-tag nobody knows any more.
    """

    def __init__(self, user: str, slots: int) -> None:
        self.user = user
        self.slots = [Slot(f"t{number}") for number in range(slots)]
        self.lost: list[str] = []
        self.watching: Watching | None = None

    def notes(self) -> list[str]:
        """What watchers should see, when nothing is in doubt."""
        said = [slot.note for slot in self.slots if slot.note is not None]
        return sorted([*said, *self.lost])

    @property
    def busy(self) -> bool:
        """Whether the watcher waits for an answer."""
        return self.watching is not None and bool(self.watching.asked)


class Crowd:
    """All of them on one phone.

    :param daemon: the server, running, with an open UDP point.
    :param count: presentities.
    :param slots: publications of each.
    :param seed: of all choices.
    """

    def __init__(self, daemon: Daemon, count: int, slots: int = 1, seed: int = 0) -> None:
        self.daemon = daemon
        self.random = random.Random(seed)
        self.phone: Phone = daemon.phone("udp", "crowd")
        self.phone.answer = self._notified
        self.presentities = [Presentity(f"user{number}", slots) for number in range(count)]
        self.killed_at = 0.0
        self.answers = 0
        self._watching: dict[str, Watching] = {}
        self._unanswered: dict[str, tuple[bytes, Answered, float]] = {}
        self._serial = itertools.count(1)
        self._deaf = False

    # -- requests

    def publish(self, presentity: Presentity, slot: Slot, kind: str = "modify") -> Prepared:
        """A PUBLISH: ``initial``, ``modify``, ``refresh`` or ``remove``."""
        note = slot.note
        if kind in ("initial", "modify"):
            note = f"{presentity.user}-{slot.tuple_id}-{next(self._serial)}"
        elif kind == "remove":
            note = None
        assert slot.asked is None
        slot.asked = (kind, note)
        document = kind in ("initial", "modify")
        body = pidf(presentity.user, note or "", slot.tuple_id) if document else b""

        def answered(message: Message) -> None:
            assert message.status == 200, (kind, message)
            slot.etag = message["sip-etag"]
            slot.note = note
            slot.asked = None

        branch, data = self.phone.build(
            "PUBLISH",
            aor(presentity.user),
            sender=aor(presentity.user),
            body=body,
            expires=0 if kind == "remove" else 3600,
            sip_if_match=None if kind == "initial" else slot.etag,
        )
        return branch, data, answered

    def subscribe(self, presentity: Presentity) -> Prepared:
        """The SUBSCRIBE that begins to watch somebody, or a refresh."""
        watching = presentity.watching
        kind = "refresh"
        if watching is None:
            number = next(self._serial)
            watching = Watching(aor(presentity.user), f"crowd{number}", f"c{number}")
            presentity.watching = self._watching[watching.call_id] = watching
            kind = "initial"
        return self._subscribe(watching, kind, 3600)

    def unsubscribe(self, presentity: Presentity) -> Prepared:
        """The SUBSCRIBE that ends it."""
        watching = presentity.watching
        assert watching is not None
        branch, data, answered = self._subscribe(watching, "remove", 0)

        def over(message: Message) -> None:
            answered(message)
            presentity.watching = None

        return branch, data, over

    def _subscribe(self, watching: Watching, kind: str, expires: int) -> Prepared:
        assert not watching.asked
        watching.asked = kind
        watching.cseq += 1

        def answered(message: Message) -> None:
            assert message.status == 200, (kind, message)
            watching.subscribed(message)
            watching.asked = ""

        branch, data = self.phone.build(
            "SUBSCRIBE",
            watching.target,
            expires=expires,
            **watching.fields(),  # type: ignore[arg-type]
        )
        return branch, data, answered

    def _notified(self, message: Message) -> int:
        """Take a NOTIFY; the status to answer it with."""
        watching = self._watching.get(message["call-id"])
        if watching is None:
            return 481
        repeated = message.cseq == watching.last_cseq
        assert repeated or message.cseq > watching.last_cseq, "CSeq goes back"
        watching.last_cseq = message.cseq
        watching.heard += not repeated
        if self._deaf:
            return 0
        watching.told = notes(message)
        watching.told_at = time.monotonic()
        return 200

    # -- exchange

    def exchange(
        self, requests: Iterable[Prepared], enough: Callable[[], bool] = lambda: False
    ) -> None:
        """Send requests, a few at a time, until all are answered or it is ``enough``."""
        waiting = iter(requests)
        more = True
        deadline = time.monotonic() + _PATIENCE
        while more or self._unanswered:
            while more and len(self._unanswered) < WINDOW:
                prepared = next(waiting, None)
                if prepared is None:
                    more = False
                    break
                branch, data, answered = prepared
                self._unanswered[branch] = (data, answered, time.monotonic())
                self.phone.wire.send(data)
            self._step(0.05)
            if enough():
                return
            assert time.monotonic() < deadline, f"{len(self._unanswered)} requests unanswered"

    def _step(self, timeout: float) -> bool:
        """Take a message; false when none comes."""
        message = self.phone.step(timeout)
        if message is None:
            now = time.monotonic()
            for branch, (data, answered, sent) in list(self._unanswered.items()):
                if now - sent > _RESEND and not self._deaf:
                    self._unanswered[branch] = (data, answered, now)
                    self.phone.wire.send(data)
            return False
        if message.status >= 200:
            known = self._unanswered.pop(message.branch, None)
            if known is not None:
                self.answers += 1
                known[1](message)
        return True

    def settle(self, seconds: float = QUIET) -> None:
        """Serve until nothing has come for some time."""
        deadline = time.monotonic() + _PATIENCE
        while self._step(seconds):
            assert time.monotonic() < deadline, "it never ends"

    def until_told(self) -> None:
        """Wait until all watchers hold the present documents (EVT-01)."""
        deadline = time.monotonic() + _PATIENCE
        late = [p for p in self.presentities if p.watching is not None]
        while late := [p for p in late if p.watching and p.watching.told != p.notes()]:
            assert time.monotonic() < deadline, f"{len(late)} watchers are not up to date"
            self._step(0.05)

    # -- the end of the server

    def kill(self) -> None:
        """Kill the server; what it had not yet answered is in doubt."""
        self.killed_at = time.monotonic()
        self.kill_starting()
        self._unanswered.clear()

    def kill_starting(self) -> None:
        """Kill a server that may not have come as far as to hear us, but to send."""
        self.daemon.kill()
        self._deaf = True
        while self._step(0.02):
            pass
        self._deaf = False
        for watching in self._watching.values():
            watching.heard = 0

    def check_silence(self) -> None:
        """After the restart: at most one NOTIFY, and only for a view that has changed.

        What was acknowledged less than NOTED before the kill may not have been noted.
        """
        known = {w: w.told for w in self._watching.values() if w.told_at < self.killed_at - NOTED}
        self.settle()
        for watching in self._watching.values():
            assert watching.heard <= 1, f"{watching.heard} NOTIFYs after the restart"
            if watching.heard and known.get(watching) is not None:
                assert watching.told != known[watching], "told what was known"

    def resolve(self) -> None:
        """After the restart: nothing acknowledged is missing; afterwards nothing is in doubt.

        Every watcher asks again, with its old dialog; every publication is refreshed, with
        its last entity-tag.
        """
        silent = {p.watching for p in self.presentities if p.watching and not p.watching.heard}
        unnoted = self.killed_at - NOTED
        before = {w: w.told for w in silent if w.told_at < unnoted and w.asked != "initial"}
        self.exchange([p for presentity in self.presentities for p in self._ask(presentity)])
        self.settle(0.3)
        refreshes = []
        for presentity in self.presentities:
            watching = presentity.watching
            assert watching is not None
            seen = watching.told
            assert seen is not None, "no NOTIFY after the SUBSCRIBE"
            if watching in before:
                assert seen == before[watching], "the view had changed, and nobody was told"
            for slot in presentity.slots:
                refresh = self._find(presentity, slot, seen)
                if refresh is not None:
                    refreshes.append(refresh)
        self.exchange(refreshes)
        for presentity in self.presentities:
            assert presentity.watching is not None
            assert presentity.watching.told == presentity.notes(), presentity.user

    def _ask(self, presentity: Presentity) -> list[Prepared]:
        """The SUBSCRIBE that shows whether a subscription is still there."""
        watching = presentity.watching
        doubt = watching.asked if watching is not None else ""
        if watching is None or doubt == "initial":
            # without its To tag nobody can ask for it; its NOTIFYs get 481
            if watching is not None:
                del self._watching[watching.call_id]
            presentity.watching = None
            return [self.subscribe(presentity)]
        watching.asked = ""
        watching.told = None
        branch, data, answered = self.subscribe(presentity)

        def found(message: Message) -> None:
            if message.status == 481 and doubt == "remove":
                presentity.watching = None
                self._extra(self.subscribe(presentity))
            else:
                answered(message)

        return [(branch, data, found)]

    def _extra(self, prepared: Prepared) -> None:
        """Send one more while others are under way."""
        branch, data, answered = prepared
        self._unanswered[branch] = (data, answered, time.monotonic())
        self.phone.wire.send(data)

    def _find(self, presentity: Presentity, slot: Slot, seen: list[str]) -> Prepared | None:
        """Compare a publication with what is seen; the refresh that proves its entity-tag."""
        asked, slot.asked = slot.asked, None
        kind, new = asked or ("", slot.note)
        done = kind in ("initial", "modify", "remove") and (
            new in seen if new is not None else slot.note not in seen
        )
        if done:
            # carried out, unanswered: its entity-tag is unknown
            if new is not None:
                presentity.lost.append(new)
            slot.note = None
            return None
        if slot.note is None:
            return None
        assert slot.note in seen, f"{slot.note} was acknowledged and is missing"
        note = slot.note
        branch, data, answered = self.publish(presentity, slot, "refresh")

        def refreshed(message: Message) -> None:
            if message.status == 412 and kind == "refresh":
                presentity.lost.append(note)
                slot.note = slot.asked = None
            else:
                answered(message)

        return branch, data, refreshed
