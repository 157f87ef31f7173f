"""The reactor's half of a store: gather rows per turn, commit them, call who waits.

Rows queued in one reactor turn form a batch.  While a batch is on its way to the medium
("flying") the next one gathers, so that a slow medium makes batches larger, not the queue
longer.  What a medium is, a subclass says in :meth:`BatchingStore._commit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from presence.histogram import Histogram
from presence.oplog import STORE_REFUSES, cleared, report
from presence.store.records import Batch, Done

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord

#: seconds that a delivered digest may wait for a commit to go with
NOTE_DELAY = 0.2
#: seconds between two trials of a medium that has refused a write
PROBE_INTERVAL = 1.0
#: bounds in seconds of the histogram of commit times
COMMIT_TIMES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class BatchingStore:
    """Queue of a write-behind store; all methods belong to the reactor thread.

    A batch that the medium refuses takes everything down that was queued after it: later
    rows may build upon the lost ones.  Delivered digests are the exception: they are kept
    and written after the outage, because a stale digest would suppress a NOTIFY that is due.

    :ivar failed: see :class:`pysip.event.interfaces.IEventStateStore`.
    :ivar commits: batches that became durable.
    :ivar rows: rows in them.
    :ivar refused: batches that the medium has refused.
    :ivar latency: seconds from handing a batch over to hearing that it is durable.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self.failed = False
        self.commits = 0
        self.rows = 0
        self.refused = 0
        self.latency = Histogram(COMMIT_TIMES)
        self._reactor = reactor
        self._batch = Batch()
        self._waiting: list[Done] = []
        self._notes: dict[int, int] = {}
        self._flying: Batch | None = None
        self._flying_waiting: list[Done] = []
        self._since: float | None = None  # the first of what gathers was queued
        self._flying_since: float | None = None
        self._sent = 0.0
        self._due = False  # a turn has ended while a batch was flying
        self._flush_call: IDelayedCall | None = None
        self._note_call: IDelayedCall | None = None
        self._probe_call: IDelayedCall | None = None
        self._opened = False
        self._stopping: Deferred[None] | None = None

    @property
    def oldest(self) -> float:
        """Seconds that the oldest change has waited to become durable; 0 without one."""
        since = self._since if self._flying_since is None else self._flying_since
        return 0.0 if since is None else self._reactor.seconds() - since

    # Queueing.

    def put_publication(self, record: PublicationRecord) -> None:
        """Insert or replace the whole record."""
        batch = self._batch
        batch.publications[record.id] = record
        if batch.touched:
            batch.touched.pop(record.id, None)
        if self._flush_call is None:
            self._schedule()

    def touch_publication(self, id: int, etag: str, expires: float) -> None:
        """Refresh: replace entity-tag and deadline only."""
        batch = self._batch
        if batch.publications:
            batch.touch(id, etag, expires)
        else:
            batch.touched[id] = (etag, expires)
        if self._flush_call is None:
            self._schedule()

    def remove_publication(self, id: int) -> None:
        """Forget the publication; unknown ids are ignored."""
        batch = self._batch
        batch.publications[id] = None
        batch.touched.pop(id, None)
        if self._flush_call is None:
            self._schedule()

    def put_subscription(self, record: SubscriptionRecord) -> None:
        """Insert or replace the whole record."""
        self._batch.subscriptions[record.id] = record
        if self._flush_call is None:
            self._schedule()

    def remove_subscription(self, id: int) -> None:
        """Forget the subscription and its digest; unknown ids are ignored."""
        batch = self._batch
        batch.subscriptions[id] = None
        batch.forgotten[id] = None
        self._notes.pop(id, None)
        if self._flush_call is None:
            self._schedule()

    def note_delivered(self, id: int, digest: int) -> None:
        """Note the view that the subscriber last acknowledged, in at most 200 ms."""
        self._notes[id] = digest
        if self._note_call is None and self._flush_call is None:
            self._note_call = self._reactor.callLater(NOTE_DELAY, self._flush_notes)

    def put_binding(self, record: BindingRecord) -> None:
        """Insert or replace the binding of (aor, contact)."""
        self._batch.bindings[record.aor, record.contact] = record
        if self._flush_call is None:
            self._schedule()

    def remove_binding(self, aor: str, contact: str) -> None:
        """Forget the binding; an unknown one is ignored."""
        self._batch.bindings[aor, contact] = None
        if self._flush_call is None:
            self._schedule()

    def when_durable(self, done: Done) -> None:
        """Call ``done`` in a later turn; see :class:`IEventStateStore`."""
        self._waiting.append(done)
        if self._flush_call is None:
            self._schedule()

    # Life.

    def stop(self) -> Deferred[None]:
        """Commit what is queued and close; rows queued later are refused.  Never fails."""
        if self._stopping is not None:
            joined: Deferred[None] = Deferred()
            self._stopping.chainDeferred(joined)
            return joined
        if not self._opened:
            return succeed(None)
        stopped = self._stopping = Deferred()
        if self._flying is None:
            self._send()
        else:
            self._due = True
        self._proceed()
        return stopped

    def _start_over(self) -> None:
        """Take the medium into use; forget an outage of an earlier life."""
        self.failed = False
        self._opened = True

    def _closed(self) -> None:
        """The medium has been closed after :meth:`stop`."""
        stopped, self._stopping = self._stopping, None
        if stopped is not None:
            stopped.callback(None)

    # What a medium has to do.

    def _commit(self, batch: Batch) -> None:
        """Write a batch; end in :meth:`_committed` or :meth:`_refused`."""
        raise NotImplementedError

    def _probe(self) -> None:
        """Try a small write; end in :meth:`_works` or :meth:`_still_refuses`."""
        raise NotImplementedError

    def _close(self) -> None:
        """Close the medium; end in :meth:`_closed`."""
        raise NotImplementedError

    # The cycle.

    def _schedule(self) -> None:
        if self._since is None:
            self._since = self._reactor.seconds()
        self._flush_call = self._reactor.callLater(0, self._flush)

    def _flush(self) -> None:
        self._flush_call = None
        self._flush_if_idle()

    def _flush_notes(self) -> None:
        self._note_call = None
        if self._notes and not self.failed:
            self._flush_if_idle()

    def _flush_if_idle(self) -> None:
        if self._flying is None:
            self._send()
        elif self._stopping is None:
            self._due = True

    def _send(self) -> None:
        """Hand over what has gathered; nothing is flying."""
        self._due = False
        batch = self._batch
        if self.failed or not self._opened:
            if batch:
                self._drop([])
            else:
                self._answer()
            return
        if not batch and not self._notes:
            self._answer()
            return
        batch.notes, self._notes = self._notes, {}
        self._flying, self._batch = batch, Batch()
        self._flying_waiting, self._waiting = self._waiting, []
        self._flying_since, self._since = self._since, None
        self._sent = self._reactor.seconds()
        self._commit(batch)

    def _answer(self) -> None:
        """Nothing is queued or flying: whoever waits, waits for nothing."""
        waiting, self._waiting = self._waiting, []
        self._since = None
        for done in waiting:
            self._call(done, True)

    def _drop(self, earlier: list[Done]) -> None:
        """Give up all queued rows and tell who waits, the last one first."""
        waiting = earlier + self._waiting
        self._batch, self._waiting, self._since = Batch(), [], None
        for done in reversed(waiting):
            self._call(done, False)

    def _call(self, done: Done, durable: bool) -> None:
        try:
            done(durable)
        except Exception:
            self._log.failure(
                "who waited for a commit has failed (durable: {durable}); its request stays"
                " unanswered, the others go on",
                durable=durable,
            )

    def _committed(self) -> None:
        """The flying batch is durable."""
        if self._flying is not None:
            self.rows += len(self._flying)
        self.commits += 1
        self.latency.observe(self._reactor.seconds() - self._sent)
        self._flying_since = None
        waiting, self._flying_waiting, self._flying = self._flying_waiting, [], None
        due, self._due = self._due, False
        if due and (self._batch or self._notes):
            # before the callbacks: the medium works while they run
            self._send()
            due = False
        for done in waiting:
            self._call(done, True)
        if due and self._flying is None:
            self._send()
        self._proceed()

    def _refused(self, error: BaseException) -> None:
        """The flying batch is lost."""
        self.refused += 1
        self._flying_since = None
        batch, self._flying, self._due = self._flying, None, False
        waiting, self._flying_waiting = self._flying_waiting, []
        if batch is not None:
            self._notes = batch.notes | self._notes
        self.failed = True
        report(self._log, STORE_REFUSES, str(error))
        self._drop(waiting)
        self._probe_later()
        self._proceed()

    def _proceed(self) -> None:
        """Close when stopping and the last batch has been settled."""
        if self._stopping is None or self._flying is not None or not self._opened:
            return
        self._opened = False
        for call in (self._flush_call, self._note_call, self._probe_call):
            if call is not None:
                call.cancel()
        self._flush_call = self._note_call = self._probe_call = None
        self._drop([])
        self._close()

    # An outage.

    def _probe_later(self) -> None:
        self._probe_call = self._reactor.callLater(PROBE_INTERVAL, self._start_probe)

    def _start_probe(self) -> None:
        self._probe_call = None
        self._probe()

    def _works(self) -> None:
        """The medium has taken a write again."""
        if not self._opened:
            return
        self.failed = False
        cleared(self._log, STORE_REFUSES)
        if self._notes:
            self._flush_if_idle()

    def _still_refuses(self) -> None:
        """The medium does not work yet."""
        if self._opened:
            self._probe_later()
