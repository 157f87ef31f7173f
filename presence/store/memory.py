"""A store that keeps its rows in this process: for tests, and where nothing need survive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from presence.interfaces import IPresenceStore
from presence.store.gather import BatchingStore
from presence.store.records import Batch
from xcap.store.errors import StoreError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from presence.records import WatcherRecord
    from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord

_CHUNK = 1000

_Record = TypeVar("_Record")


@implementer(IPresenceStore)
class MemoryStore(BatchingStore):
    """Durable in a later turn, for the life of the object.

    Rows survive :meth:`stop` and :meth:`start`, so that a recovery can be tried out;
    :meth:`fail_next` makes an outage.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        super().__init__(reactor)
        self._publications: dict[int, PublicationRecord] = {}
        self._subscriptions: dict[int, SubscriptionRecord] = {}
        self._digests: dict[int, int] = {}
        self._bindings: dict[tuple[str, str], BindingRecord] = {}
        self._watchers: dict[int, WatcherRecord] = {}
        self._failing = 0

    def fail_next(self, times: int = 1) -> None:
        """Refuse the next commit and the ``times - 1`` writes (probes too) after it."""
        self._failing = times

    def recover(
        self,
        publications: Callable[[list[PublicationRecord]], None],
        subscriptions: Callable[[list[SubscriptionRecord], dict[int, int]], None],
    ) -> Deferred[None]:
        """Hand out everything, ordered by id."""

        def with_digests(chunk: list[SubscriptionRecord]) -> None:
            digests = self._digests
            subscriptions(chunk, {r.id: digests[r.id] for r in chunk if r.id in digests})

        return self._hand_out(
            _chunks(_in_order(self._publications), publications),
            _chunks(_in_order(self._subscriptions), with_digests),
        )

    def recover_bindings(self, bindings: Callable[[list[BindingRecord]], None]) -> Deferred[None]:
        """Hand out the bindings, ordered by (aor, contact)."""
        records = [self._bindings[key] for key in sorted(self._bindings)]
        return self._hand_out(_chunks(records, bindings))

    def recover_watchers(self, watchers: Callable[[list[WatcherRecord]], None]) -> Deferred[None]:
        """Hand out the watchers, ordered by id."""
        return self._hand_out(_chunks(_in_order(self._watchers), watchers))

    def _hand_out(self, *parts: Iterator[Callable[[], None]]) -> Deferred[None]:
        finished: Deferred[None] = Deferred()
        steps = (step for part in parts for step in part)

        def turn() -> None:
            step = next(steps, None)
            if step is None:
                finished.callback(None)
                return
            try:
                step()
            except Exception:
                finished.errback()
                return
            self._reactor.callLater(0, turn)

        self._reactor.callLater(0, turn)
        return finished

    def _open(self) -> Deferred[None]:
        return succeed(None)  # nothing can be wrong with this medium

    def _commit(self, batch: Batch) -> None:
        if self._failing:
            self._failing -= 1
            self._refused(StoreError("a failure was asked for"))
            return
        for id, publication in batch.publications.items():
            if publication is None:
                self._publications.pop(id, None)
            else:
                self._publications[id] = publication
        for id, (etag, expires) in batch.touched.items():
            if id in self._publications:
                self._publications[id] = replace(self._publications[id], etag=etag, expires=expires)
        for id in batch.forgotten:
            self._digests.pop(id, None)
        for id, subscription in batch.subscriptions.items():
            if subscription is None:
                self._subscriptions.pop(id, None)
            else:
                self._subscriptions[id] = subscription
        for key, binding in batch.bindings.items():
            if binding is None:
                self._bindings.pop(key, None)
            else:
                self._bindings[key] = binding
        for id, watcher in batch.watchers.items():
            if watcher is None:
                self._watchers.pop(id, None)
            else:
                self._watchers[id] = watcher
        for id, digest in batch.notes.items():
            if id in self._subscriptions:
                self._digests[id] = digest
        self._committed()

    def _probe(self) -> None:
        if self._failing:
            self._failing -= 1
            self._still_refuses()
        else:
            self._works()

    def _close(self) -> None:
        self._closed()


def _in_order(records: dict[int, _Record]) -> list[_Record]:
    return [records[id] for id in sorted(records)]


def _chunks(
    records: Sequence[_Record], take: Callable[[list[_Record]], None]
) -> Iterator[Callable[[], None]]:
    for first in range(0, len(records), _CHUNK):
        chunk = list(records[first : first + _CHUNK])
        yield partial(take, chunk)
