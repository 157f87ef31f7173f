"""Who watches whom: a state machine for each subscription (RFC 3857 section 4.7), and who waits.

The book follows the presence package.  Watchers about whom a decision is, or was, to be made have
a record in the store; of those that were allowed from the start the subscription tells everything.
After a restart: :meth:`WatcherBook.recovered`, then the subscriptions, then
:meth:`WatcherBook.settle`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from presence.interfaces import IWatcherObserver
from presence.watcherentry import OPEN, WORD, Entry, Table, WatcherLimits, make_key
from presence.watcherinfo import ACTIVE, INIT, PENDING, TERMINATED, TRANSITIONS, WAITING, step
from presence.watcherrows import WatcherRows
from pysip.interfaces import Identity
from pysip.slices import Slices

if TYPE_CHECKING:
    from presence.interfaces import IPresenceStore
    from presence.records import WatcherRecord
    from pysip.event.interfaces import ISubscription
    from pysip.timers import TimerWheel

_DECIDE: Final = "decide"
_END: Final = "end"
_ALLOWED: Final = TRANSITIONS[INIT, "allow"]


@implementer(IWatcherObserver)
class WatcherBook:
    """The watchers of all presentities, for one event package.

    :param store: where they are durable.
    :param wheel: timers.
    :param wall: wall-clock seconds.
    :param decide: the watcher policy: ``allow``, ``confirm``, ``block`` or ``polite-block``.
    :param end: ends a subscription for a reason.
    :param limits: choices of the operator.
    :param package: event package that is watched.

    :ivar told: called with each entry whose state has changed, whether it is new, and the serial
        number before.
    """

    def __init__(
        self,
        store: IPresenceStore,
        wheel: TimerWheel,
        wall: Callable[[], float],
        decide: Callable[[str, Identity], str],
        end: Callable[[ISubscription, str], None],
        limits: WatcherLimits | None = None,
        package: str = "presence",
    ) -> None:
        self._wheel = wheel
        self._wall = wall
        self._decide = decide
        self._end = end
        self.limits = limits or WatcherLimits()
        self.package = package
        self.told: Callable[[Entry, bool, int], None] = lambda entry, new, serial: None
        self._tables: dict[str, Table] = {}
        self._by_watcher: dict[str, dict[int, Entry]] = {}
        self._records: dict[int, WatcherRecord] = {}
        self._fetches = count(1)
        self._serials = count(1)
        self._settled = False
        self._rows = WatcherRows(store, wheel, package)
        self._slices = Slices(wheel.clock)

    # -- what is known ------------------------------------------------------------------

    def entries(self, resource: str) -> list[Entry]:
        """The watchers of a presentity: who waits for a decision first, the oldest first."""
        table = self._tables.get(resource)
        if table is None:
            return []
        rest = (entry for entry in table.subscribed.values() if entry.status == ACTIVE)
        return [*table.open.values(), *rest]

    def serial(self, resource: str) -> int:
        """Number of the last change of a presentity's watchers; 0 when there are none."""
        table = self._tables.get(resource)
        return 0 if table is None else table.serial

    def digest(self, resource: str) -> int:
        """What tells two states of a presentity's watchers apart: 64 bits with sign."""
        table = self._tables.get(resource)
        digest = 0 if table is None else table.digest
        return digest - (1 << 64) if digest >> 63 else digest

    def waited_for(self) -> list[str]:
        """The presentities whose decision somebody waits for without a subscription."""
        return [resource for resource in self._tables if self.waits(resource)]

    def waits(self, resource: str) -> bool:
        """Whether somebody waits for a decision of a presentity without a subscription."""
        table = self._tables.get(resource)
        if table is None:
            return False
        return any(entry.status == WAITING for entry in table.open.values())

    # -- what happens to subscriptions --------------------------------------------------

    def subscribed(self, subscription: ISubscription) -> None:
        """A subscription was made, recovered or has changed state (WFS-01)."""
        table = self._table(subscription.resource)
        entry = table.subscribed.get(subscription.id)
        if entry is None and self._records:
            entry = self._recall(table, subscription)
        if entry is None:
            key = make_key(f"{subscription.id} {subscription.created!r}")
            entry = self._entry(key, subscription)
            table.subscribed[subscription.id] = entry
            if subscription.state == "pending":
                self._begin(entry, "confirm")
            elif subscription.watcher.uri in self._by_watcher:
                self._begin(entry, "allow")
            else:
                self._begin_allowed(table, entry)
        elif entry.status == PENDING and subscription.state == "active":
            self._put(entry, "approved")
        elif entry.status == ACTIVE and subscription.state == "pending":
            self._put(entry, "withdrawn")

    def unsubscribed(self, subscription: ISubscription) -> None:
        """A subscription has ended; who was pending waits from now on (WFS-01, WFS-02)."""
        table = self._tables.get(subscription.resource)
        entry = table.subscribed.get(subscription.id) if table is not None else None
        if entry is None:
            return  # it was never made
        if entry.status == PENDING and subscription.state == "active":
            self._put(entry, "approved")  # decided at its un-SUBSCRIBE
        put = subscription.reason
        # A reason that the machine does not know of is the server's own.
        self._put(entry, put if step(entry.status, put) is not None else "deactivated")

    def fetched(self, subscription: ISubscription) -> None:
        """Somebody about whom nothing is decided has fetched: the presentity learns (WFS-03)."""
        who = f"{subscription.resource} {subscription.watcher.uri}"
        key = make_key(f"{next(self._fetches)} {subscription.created!r} {who}")
        entry = self._entry(key, subscription)
        self._begin(entry, "confirm", "timeout")

    def _entry(self, key: int, subscription: ISubscription) -> Entry:
        terms = ""
        if subscription.detail or subscription.event_params:
            detail = subscription.detail + subscription.event_params.encode("utf-8", "replace")
            terms = blake2b(detail, digest_size=16).hexdigest()
        return Entry(
            self.give_up,
            key,
            subscription.resource,
            subscription.watcher,
            subscription.created,
            subscription,
            terms,
        )

    def _begin(self, entry: Entry, *puts: str) -> None:
        """Start a state machine; what the watcher has waited for before is superseded."""
        superseded = "giveup" if puts[0] == "confirm" else "approved"
        for other in list(self._by_watcher.get(entry.watcher.uri, {}).values()):
            if other.status == WAITING and other.same_request(entry):
                self._put(other, superseded)
        self._put(entry, *puts, new=True)

    def _begin_allowed(self, table: Table, entry: Entry) -> None:
        """As :meth:`_begin` with "allow", of who has waited for nothing: what happens most."""
        entry.status, entry.event = _ALLOWED
        serial = table.serial
        table.digest = (table.digest + entry.weight) & WORD
        table.serial = next(self._serials)
        if self._settled:
            self.told(entry, True, serial)

    # -- decisions ----------------------------------------------------------------------

    def reauthorize(self, resource: str) -> None:
        """The rules have changed: decide on those who wait without a subscription (XDM-137).

        Of very many that takes several turns of the reactor.
        """
        self._slices.run((_DECIDE, resource), lambda: self._waiting(resource), self._decide_on_one)

    def reauthorize_all(self) -> None:
        """Decide on all who wait without a subscription, as their turns come."""
        self._slices.run(
            _DECIDE, lambda: list(self._tables), self._decide_if_waited_for, None, 5000
        )

    def _decide_if_waited_for(self, resource: str) -> None:
        if self.waits(resource):
            self.reauthorize(resource)

    def _decide_on_one(self, entry: Entry) -> None:
        if entry.status != WAITING:
            return
        decision = self._decide(entry.resource, entry.watcher)
        if decision == "block":
            self._put(entry, "rejected")
        elif decision != "confirm":
            self._put(entry, "approved")

    def removed(self, resource: str, before: float, done: Callable[[], None] | None = None) -> None:
        """The presentity is no more: nobody need wait for its decision (PSV-19).

        :param before: wall-clock time; who has come later waits for another.
        :param done: called at the end.
        """

        def end(entry: Entry) -> None:
            if entry.status == WAITING and entry.created < before:
                self._put(entry, "noresource")

        self._slices.run((_END, resource), lambda: self._waiting(resource), end, done)

    def forget(self, uri: str, before: float) -> None:
        """A watcher is no more: it waits for nobody's decision (PSV-19).

        :param before: wall-clock time; who has come later is somebody else.
        """
        for entry in list(self._by_watcher.get(uri, {}).values()):
            if entry.status == WAITING and entry.created < before:
                self._put(entry, "rejected")

    def give_up(self, entry: Entry) -> None:
        """Wait no longer for a decision (WFS-04)."""
        if entry.status == WAITING:
            self._put(entry, "giveup")
        elif entry.status == PENDING and entry.subscription is not None:
            self._end(entry.subscription, "giveup")

    def _waiting(self, resource: str) -> list[Entry]:
        table = self._tables.get(resource)
        if table is None:
            return []
        return [entry for entry in table.open.values() if entry.status == WAITING]

    # -- the machine --------------------------------------------------------------------

    def _table(self, resource: str) -> Table:
        table = self._tables.get(resource)
        if table is None:
            table = self._tables[resource] = Table()
        return table

    def _put(self, entry: Entry, *puts: str, new: bool = False) -> None:
        """Make transitions of an entry, which are told of and kept as one."""
        before = entry.status, entry.event
        weight = entry.weight
        for put in puts:
            moved = step(entry.status, put)
            if moved is not None:
                entry.status, entry.event = moved
                entry.asked = entry.asked or entry.status == PENDING
        if (entry.status, entry.event) == before:
            return
        table = self._table(entry.resource)
        serial = table.serial
        table.digest = (table.digest - weight) & WORD
        self._place(table, entry, before)
        self._rows.save(entry, before)
        table.serial = next(self._serials)
        if self._settled:
            self.told(entry, new, serial)
        if entry.status in OPEN:
            self._limit(table, entry)

    def _place(self, table: Table, entry: Entry, before: tuple[str, str]) -> None:
        """Put an entry where its new status belongs, with its timer."""
        subscription = entry.subscription
        if entry.status in (WAITING, TERMINATED) and subscription is not None:
            table.subscribed.pop(subscription.id, None)
            entry.subscription = None
        who = entry.watcher.uri
        if before[0] in OPEN:
            table.open.pop(entry.key, None)
            self._wheel.cancel(entry)
            entry.deadline = 0.0
            entries = self._by_watcher.get(who, {})
            entries.pop(entry.key, None)
            if not entries:
                self._by_watcher.pop(who, None)
        if entry.status in OPEN:
            table.open[entry.key] = entry
            self._by_watcher.setdefault(who, {})[entry.key] = entry
            limits = self.limits
            self._arm(entry, limits.pending if entry.status == PENDING else limits.waiting)
        if entry.status != TERMINATED:
            table.digest = (table.digest + entry.weight) & WORD
        elif not table.subscribed and not table.open:
            del self._tables[entry.resource]

    def _arm(self, entry: Entry, seconds: float) -> None:
        entry.deadline = self._wall() + seconds
        self._wheel.after(max(0.0, seconds), entry)

    def _limit(self, table: Table, entry: Entry) -> None:
        """Give up the oldest when too many wait, first those without a subscription (WFS-05)."""
        limits = self.limits
        self._shorten(self._by_watcher.get(entry.watcher.uri, {}), limits.per_watcher)
        self._shorten(table.open, limits.per_presentity)

    def _shorten(self, entries: dict[int, Entry], most: int) -> None:
        for _ in range(len(entries) - most):
            oldest = next((e for e in entries.values() if e.status == WAITING), None)
            if oldest is None:
                oldest = next(iter(entries.values()))
            self.give_up(oldest)

    # -- recovery -----------------------------------------------------------------------

    def recovered(self, records: Iterable[WatcherRecord]) -> None:
        """Take watchers back from the store, before the subscriptions."""
        for record in records:
            if record.package != self.package:
                continue  # of another role
            if record.status == WAITING:
                self._revive(record, None)
            elif record.subscription:
                self._records[record.subscription] = record
            else:
                self._rows.remove(record.id)

    def settle(self) -> None:
        """The subscriptions were recovered: who was pending and has none left waits (WFS-02)."""
        orphans, self._records = self._records, {}
        for record in orphans.values():
            self._orphan(record)
        self._settled = True

    def stop(self) -> None:
        """Try no more to write; call it before the store is stopped."""
        self._rows.stop()
        self._slices.stop()

    def _recall(self, table: Table, subscription: ISubscription) -> Entry | None:
        """The entry of a subscription that was recovered, if it has a record."""
        record = self._records.pop(subscription.id, None)
        if record is None:
            return None
        if record.resource != subscription.resource or record.created != subscription.created:
            self._orphan(record)  # of a subscription that had this number once
            return None
        entry = self._revive(record, subscription)
        table.subscribed[subscription.id] = entry
        return entry

    def _orphan(self, record: WatcherRecord) -> None:
        if record.status == PENDING:
            self._put(self._revive(record, None), "timeout")
        else:
            self._rows.remove(record.id)

    def _revive(self, record: WatcherRecord, subscription: ISubscription | None) -> Entry:
        """The entry that a record tells of, with what is left of its time."""
        watcher = Identity(
            tuple(record.uris.split()), record.display_name, record.anonymous, "asserted"
        )
        if subscription is not None:
            watcher = subscription.watcher
        entry = Entry(
            self.give_up,
            record.id,
            record.resource,
            watcher,
            record.created,
            subscription,
            record.terms,
        )
        entry.status, entry.event, entry.asked = record.status, record.event, True
        table = self._table(record.resource)
        self._place(table, entry, (INIT, ""))
        table.serial = next(self._serials)
        if entry.status in OPEN:
            self._arm(entry, record.deadline - self._wall())
        return entry
