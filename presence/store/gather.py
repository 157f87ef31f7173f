"""What is queued for the presence store, on top of the cycle that all stores share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.oplog import STORE_REFUSES, cleared, report
from presence.store.records import Batch
from xcap.store.gather import Gathering

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from presence.records import WatcherRecord
    from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord

#: seconds that a delivered digest may wait for a commit to go with
NOTE_DELAY = 0.2


class BatchingStore(Gathering[Batch]):
    """Queue of a write-behind store; all methods belong to the reactor thread.

    Delivered digests outlive a batch that the medium refuses: they are kept and written after
    the outage, because a stale digest would suppress a NOTIFY that is due.

    See :class:`pysip.event.interfaces.IEventStateStore`.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        super().__init__(reactor, Batch)
        self._notes: dict[int, int] = {}
        self._note_call: IDelayedCall | None = None

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

    def put_watcher(self, record: WatcherRecord) -> None:
        """Insert or replace the whole record."""
        self._batch.watchers[record.id] = record
        if self._flush_call is None:
            self._schedule()

    def remove_watcher(self, id: int) -> None:
        """Forget the watcher; an unknown one is ignored."""
        self._batch.watchers[id] = None
        if self._flush_call is None:
            self._schedule()

    # What the cycle asks for.

    def _flush_notes(self) -> None:
        self._note_call = None
        if self._notes and not self.failed:
            self._flush_if_idle()

    def _worth_a_commit(self) -> bool:
        return bool(self._batch or self._notes)

    def _seal(self, batch: Batch) -> None:
        batch.notes, self._notes = self._notes, {}

    def _lost(self, batch: Batch) -> None:
        self._notes = batch.notes | self._notes

    def _works(self) -> None:
        super()._works()
        if self._opened and self._notes:
            self._flush_if_idle()

    def _quiet(self) -> None:
        if self._note_call is not None:
            self._note_call.cancel()
            self._note_call = None

    def _report(self, cause: str) -> None:
        report(self._log, STORE_REFUSES, cause)

    def _report_over(self) -> None:
        cleared(self._log, STORE_REFUSES)
