"""Leads the changes of the document store to the subscriptions that they concern.

One feed serves every event package that tells of documents.  It knows which subscription
selects what, reads from the store what a first notification needs, finds out after a restart
what has changed meanwhile, and lets the notifier send when there is something to tell.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger

from xcap.changedoc import NAMESPACE
from xcap.changes import parse_stored
from xcap.diff import diff
from xcap.errors import StoreUnavailable
from xcap.selection import listed, prefixes
from xcap.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from typing import Any

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from pysip.event.interfaces import ISubscription
    from pysip.event.notifier import Notifier
    from pysip.event.subscription import Subscription
    from xcap.document import XmlDocument
    from xcap.interfaces import IApplicationUsage, IDocumentStore
    from xcap.records import Change, DocumentKey
    from xcap.selection import Prefix

DOCUMENTS = 5000
"""Documents that one subscription may select."""
_PATCHABLE = 1 << 16
"""Octets of the documents that are compared for a patch; greater ones take too long."""
_RETRY_SECONDS = 5.0
_BATCH = 50
_PARSED = 1 << 18
"""Octets of parsed documents that are kept."""
_PATCHES = 100
_MISSED = 1_000_000
"""Changes that are read after a restart, at most."""


class ChangeFeed:
    """The changes of one document store, for all subscriptions of one notifier.

    :param notifier: sends the NOTIFYs.
    :param store: started before the first subscription is made or recovered.
    :param clock: delayed calls.
    :param usages: application usages by AUID.
    """

    _log = Logger()

    def __init__(
        self,
        notifier: Notifier,
        store: IDocumentStore,
        clock: IReactorTime,
        usages: Mapping[str, IApplicationUsage],
    ) -> None:
        self.usages = usages
        self._notifier = notifier
        self._store = store
        self._clock = clock
        self._position: int | None = None
        self._watches: dict[ISubscription, list[Watch]] = {}
        self._by_key: dict[DocumentKey, dict[Watch, ISubscription]] = {}
        self._by_prefix: dict[Prefix, dict[Watch, ISubscription]] = {}
        self._touched: dict[ISubscription, None] = {}
        self._flushing = False
        self._behind: dict[Watch, tuple[ISubscription, int]] = {}
        self._catching_up = False
        self._reads = DeferredSemaphore(32)
        self._parsed: OrderedDict[tuple[DocumentKey, bytes], XmlDocument | None] = OrderedDict()
        self._patches: OrderedDict[tuple[DocumentKey, str, str], bytes | None] = OrderedDict()
        self._calls: set[IDelayedCall] = set()
        self._stopped = False
        store.watch(self._changed)

    def __len__(self) -> int:
        return len(self._watches)

    @property
    def position(self) -> int:
        """Of the last change that subscriptions were told of."""
        return self._store.position if self._position is None else self._position

    def stop(self) -> None:
        """Read and tell nothing more."""
        self._stopped = True
        for call in self._calls:
            call.cancel()
        self._calls.clear()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later unless the feed is stopped before."""

        def act() -> None:
            self._calls.discard(call)
            action()

        if not self._stopped:
            call = self._clock.callLater(seconds, act)
            self._calls.add(call)

    # -- subscriptions ------------------------------------------------------------------

    def enter(self, subscription: ISubscription, watch: Watch) -> None:
        """Lead changes to a subscription from now on."""
        watch.entered = True
        self._watches.setdefault(subscription, []).append(watch)
        for key in watch.view.keys:
            self._by_key.setdefault(key, {})[watch] = subscription
        for prefix in watch.view.selections.collections:
            self._by_prefix.setdefault(prefix, {})[watch] = subscription

    def leave(self, subscription: ISubscription, but: Watch | None = None) -> None:
        """Lead no more changes to a subscription.

        :param but: goes on, the others were replaced by it.
        """
        kept: list[Watch] = []
        for watch in self._watches.pop(subscription, ()):
            if watch is but:
                kept.append(watch)
                continue
            watch.entered = False
            self._behind.pop(watch, None)
            for key in watch.view.keys:
                _remove(self._by_key, key, watch)
            for prefix in watch.view.selections.collections:
                _remove(self._by_prefix, prefix, watch)
        if kept:
            self._watches[subscription] = kept

    def read(self, subscription: ISubscription, watch: Watch) -> None:
        """Read what a watch needs; what is owed is sent then."""
        if not watch.reading and not self._stopped:
            watch.reading = True
            self._run(self._read(subscription, watch))

    def recover(self, subscription: ISubscription, watch: Watch, position: int) -> None:
        """A subscription of an earlier process goes on behind ``position``."""
        if not 0 <= position <= self.position:
            self.read(subscription, watch)  # nothing is known: it is told everything
            return
        watch.view.resume()
        if position == self.position:
            watch.open()
            return
        watch.reading = True
        self._behind[watch] = subscription, position
        if not self._catching_up:
            self._catching_up = True
            self._later(0, lambda: self._run(self._catch_up()))

    def recheck(self) -> None:
        """Permissions may have changed without a change of the documents they are about."""
        for subscription, watches in list(self._watches.items()):
            for watch in list(watches):
                if watch.buffer is None:
                    watch.buffer = {}
                watch.owed = True
                self.read(subscription, watch)

    def parse(self, key: DocumentKey, octets: bytes) -> XmlDocument | None:
        """A stored document; the last ones are kept for other subscriptions."""
        wanted = key, octets
        if wanted not in self._parsed:
            while self._parsed and sum(len(o) for _, o in self._parsed) + len(octets) > _PARSED:
                self._parsed.popitem(last=False)
            self._parsed[wanted] = parse_stored(octets)
        return self._parsed[wanted]

    def patch(self, first: Change, last: Change) -> bytes | None:
        """The operations that lead over one or more changes (:data:`xcap.changes.Patch`)."""
        old, new = first.old, last.new
        if not old or not new:
            return None
        if old == new:
            return b""
        if max(len(old), len(new)) > _PATCHABLE:
            return None
        wanted = first.key, first.before, last.after
        if wanted not in self._patches:
            unique = self.usages[first.key.auid].unique_attributes
            self._patches[wanted] = diff(old, new, unique, NAMESPACE)
            if len(self._patches) > _PATCHES:
                self._patches.popitem(last=False)
        return self._patches[wanted]

    # -- changes ------------------------------------------------------------------------

    def _changed(self, change: Change) -> None:
        """A change is durable."""
        for watch, subscription in self._concerned(change.key):
            if watch.take(change):
                self._touch(subscription)
        self._position = change.position

    def _concerned(self, key: DocumentKey) -> Iterable[tuple[Watch, ISubscription]]:
        found = dict(self._by_key.get(key, ()))
        for prefix in prefixes(key):
            if prefix in self._by_prefix:
                found.update(self._by_prefix[prefix])
        return found.items()

    def _touch(self, subscription: ISubscription) -> None:
        """Tell a subscription soon, once for all changes of this turn."""
        self._touched[subscription] = None
        if not self._flushing:
            self._flushing = True
            self._later(0, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        batch = list(self._touched)[:_BATCH]
        for subscription in batch:
            del self._touched[subscription]
        if self._touched:
            self._flushing = True
            self._later(0, self._flush)
        for subscription in batch:
            try:
                self._tell(cast("Subscription", subscription))
            except Exception:
                # A bug in one must not keep the others waiting.
                self._log.failure("telling a subscription of a change failed")

    def _tell(self, subscription: Subscription) -> None:
        watch = subscription.data
        if isinstance(watch, Watch) and watch.asked:
            if watch.owed:
                watch.owed = False
                self._notifier.ready(subscription)
            self._notifier.touch(subscription)

    # -- reading ------------------------------------------------------------------------

    def _run(self, job: Coroutine[Deferred[Any], Any, None]) -> None:
        def failed(failure: Any) -> None:
            self._log.failure("reading documents for subscriptions failed", failure)

        Deferred.fromCoroutine(job).addErrback(failed)

    async def _read(self, subscription: ISubscription, watch: Watch) -> None:
        """Read for one watch, however often it takes."""
        await self._reads.acquire()
        try:
            if watch.buffer is not None:
                await self._gather(subscription, watch)
            else:
                await self._supply(watch)
        except StoreUnavailable:
            self._later(_RETRY_SECONDS, lambda: self._again(subscription, watch))
            return
        finally:
            self._reads.release()
        watch.reading = False
        if watch.owed and not watch.ended:
            self._touch(subscription)

    def _again(self, subscription: ISubscription, watch: Watch) -> None:
        watch.reading = False
        if not watch.ended:
            self.read(subscription, watch)

    async def _gather(self, subscription: ISubscription, watch: Watch) -> None:
        """Read the state of everything a watch selects."""
        view = watch.view
        tags: dict[DocumentKey, str] = {}
        octets: dict[DocumentKey, bytes] = {}
        for key in view.keys:
            document = await self._store.fetch(key)
            if document is not None:
                tags[key] = document.etag
                if key in view.parts:
                    octets[key] = document.octets
        for prefix in view.selections.collections:
            entries = await self._store.listing(*listed(prefix))
            tags.update((entry.key, entry.etag) for entry in entries)
            if len(tags) > DOCUMENTS and subscription.lasting:
                self._log.warn("subscription {id} selects too much", id=subscription.id)
                self._notifier.terminate(cast("Subscription", subscription), "rejected")
                return
        view.load(tags, octets)
        watch.open()

    async def _supply(self, watch: Watch) -> None:
        """Read the documents of components whose changes came without octets."""
        for key in watch.view.missing:
            document = await self._store.fetch(key)
            watch.view.supply(key, document.octets if document is not None else b"")

    # -- after a restart ----------------------------------------------------------------

    async def _catch_up(self) -> None:
        """Find out what recovered subscriptions have missed (one pass for all of them)."""
        try:
            while self._behind and not self._stopped:
                await self._pass(dict(self._behind))
        except StoreUnavailable:
            self._later(_RETRY_SECONDS, lambda: self._run(self._catch_up()))
            return
        self._catching_up = False

    async def _pass(self, batch: dict[Watch, tuple[ISubscription, int]]) -> None:
        after = await self._earliest(sorted({position for _, position in batch.values()}))
        lost = {
            watch for watch, (_, position) in batch.items() if after is None or position < after
        }
        count = 0
        while after is not None:
            changes = await self._store.changes(after)
            if changes is None or count > _MISSED:
                lost = set(batch)
                break
            if not changes:
                break
            count += len(changes)
            after = changes[-1].position
            for change in changes:
                for watch, _ in self._concerned(change.key):
                    if watch in batch and watch not in lost and batch[watch][1] < change.position:
                        watch.view.apply(change)
        for watch, (subscription, _) in batch.items():
            if self._behind.pop(watch, None) is None:
                continue  # it has ended meanwhile
            watch.reading = False
            if watch in lost:
                watch.view.full = True
                self.read(subscription, watch)
            else:
                watch.open(after or 0)
                self._touch(subscription)

    async def _earliest(self, positions: list[int]) -> int | None:
        """The first of some positions behind which all changes are known."""
        known, end = 0, len(positions)
        while known < end:
            middle = (known + end) // 2
            if await self._store.changes(positions[middle], 1) is None:
                known = middle + 1
            else:
                end = middle
        return positions[known] if known < len(positions) else None


def _remove(
    index: dict[Any, dict[Watch, ISubscription]], key: DocumentKey | Prefix, watch: Watch
) -> None:
    members = index.get(key)
    if members is not None:
        members.pop(watch, None)
        if not members:
            del index[key]
