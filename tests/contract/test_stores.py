"""The contract of IPresenceStore, run against every store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from presence.interfaces import IPresenceStore
from presence.records import WatcherRecord
from presence.store.memory import MemoryStore
from presence.store.sqlite import SqliteStore
from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord
from tests.contract.storing import StoreReactor, binding, publication, subscription, watcher

if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object

Store = MemoryStore | SqliteStore


class Recovered:
    """Everything that a store gives back.

    :ivar turns: the turn in which each chunk came.
    """

    def __init__(self, reactor: StoreReactor, store: Store) -> None:
        self.publications: list[PublicationRecord] = []
        self.subscriptions: list[SubscriptionRecord] = []
        self.digests: dict[int, int] = {}
        self.bindings: list[BindingRecord] = []
        self.watchers: list[WatcherRecord] = []
        self.chunks: list[int] = []
        self.turns: list[int] = []
        self._reactor = reactor
        reactor.wait(store.recover(self._take_publications, self._take_subscriptions))
        reactor.wait(store.recover_bindings(self._take_bindings))
        reactor.wait(store.recover_watchers(self._take_watchers))

    def _note(self, chunk: list[Any]) -> None:
        self.chunks.append(len(chunk))
        self.turns.append(self._reactor.turns)

    def _take_publications(self, chunk: list[PublicationRecord]) -> None:
        self._note(chunk)
        self.publications += chunk

    def _take_subscriptions(self, chunk: list[SubscriptionRecord], digests: dict[int, int]) -> None:
        self._note(chunk)
        self.subscriptions += chunk
        self.digests |= digests

    def _take_bindings(self, chunk: list[BindingRecord]) -> None:
        self._note(chunk)
        self.bindings += chunk

    def _take_watchers(self, chunk: list[WatcherRecord]) -> None:
        self._note(chunk)
        self.watchers += chunk


class StoreContract(_Base):
    """Cases for all stores; a subclass makes the store, breaks and mends it."""

    def make_store(self) -> Store:
        """A store on a fresh medium."""
        raise NotImplementedError

    def break_medium(self) -> None:
        """Let every write fail from now on."""
        raise NotImplementedError

    def mend_medium(self) -> None:
        """Let writes work again."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Start a store."""
        self.reactor = StoreReactor()
        self.store = self.make_store()
        self.reactor.wait(self.store.start())
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop the store and let its thread end."""
        self.reactor.wait(self.store.stop())

    def durable(self) -> bool:
        """Wait for everything queued; what the store reports."""
        outcome: list[bool] = []
        self.store.when_durable(outcome.append)
        self.reactor.until(lambda: outcome)
        return outcome[0]

    def recovered(self) -> Recovered:
        """What a new process would find."""
        self.assertTrue(self.durable())
        self.reactor.wait(self.store.stop())
        self.reactor.wait(self.store.start())
        return Recovered(self.reactor, self.store)

    def test_interface(self) -> None:
        """A store provides IPresenceStore."""
        verifyObject(IPresenceStore, self.store)

    def test_round_trip(self) -> None:
        """Every field of every record comes back (OBS-04, DLG-13), past deadlines as well."""
        self.store.put_publication(publication(1, expires=-1.0))
        self.store.put_publication(publication(2, body=b""))
        self.store.put_subscription(subscription(3))
        self.store.note_delivered(3, -(2**63))
        self.store.put_subscription(subscription(4))
        self.store.put_binding(binding("bob"))
        found = self.recovered()
        self.assertEqual(
            found.publications, [publication(1, expires=-1.0), publication(2, body=b"")]
        )
        self.assertEqual(found.subscriptions, [subscription(3), subscription(4)])
        self.assertEqual(found.digests, {3: -(2**63)})
        self.assertEqual(found.bindings, [binding("bob")])

    def test_empty(self) -> None:
        """Nothing comes back from a fresh medium, not even an empty chunk."""
        self.assertEqual(self.recovered().chunks, [])

    def test_replace(self) -> None:
        """A put replaces the whole record, in the same and in a later batch."""
        self.store.put_publication(publication(1))
        self.store.put_publication(publication(1, etag="second"))
        self.store.put_subscription(subscription(1))
        self.store.put_subscription(subscription(1, cseq=1000))
        self.store.put_binding(binding("bob"))
        self.store.put_binding(binding("bob", cseq=4))
        found = self.recovered()
        self.assertEqual(found.publications, [publication(1, etag="second")])
        self.assertEqual(found.subscriptions, [subscription(1, cseq=1000)])
        self.assertEqual(found.bindings, [binding("bob", cseq=4)])
        changed = publication(
            1, etag="e", expires=1.0, created=2.0, changed=3.0, publisher="sip:p", body=b"new"
        )
        self.store.put_publication(changed)
        self.store.put_subscription(subscription(1, resource="sip:x", expires=1.0, dialog=b""))
        self.store.put_binding(binding("bob", call_id="c", expires=1.0, q=1, instance=""))
        found = self.recovered()
        self.assertEqual(found.publications, [changed])
        self.assertEqual(
            found.subscriptions, [subscription(1, resource="sip:x", expires=1.0, dialog=b"")]
        )
        self.assertEqual(
            found.bindings, [binding("bob", call_id="c", expires=1.0, q=1, instance="")]
        )

    def test_remove(self) -> None:
        """A removed record is gone; removing an unknown one does nothing."""
        for id in (1, 2):
            self.store.put_publication(publication(id))
            self.store.put_subscription(subscription(id))
        self.store.put_binding(binding("bob"))
        self.store.put_binding(binding("bob", "sip:b@192.0.2.1"))
        self.store.put_binding(binding("alice"))
        self.durable()
        for id in (1, 99):
            self.store.remove_publication(id)
            self.store.remove_subscription(id)
        self.store.remove_binding("sip:bob@example.com", "sip:a@192.0.2.1")
        self.store.remove_binding("sip:nobody@example.com", "sip:a@192.0.2.1")
        found = self.recovered()
        self.assertEqual(found.publications, [publication(2)])
        self.assertEqual(found.subscriptions, [subscription(2)])
        self.assertEqual(found.bindings, [binding("alice"), binding("bob", "sip:b@192.0.2.1")])

    def test_objects(self) -> None:
        """Objects of a publication come back with it, through refreshes, and go with it (PUB-09).

        A put without them takes them away (PUB-23).
        """
        kept = {1: b"\x00\xff icon", 2: b"", 3: b"x" * 100000}
        for id, objects in kept.items():
            self.store.put_publication(publication(id, objects=objects))
        self.durable()
        self.store.touch_publication(1, "fresh", 5.5)
        found = self.recovered()
        self.assertEqual({p.id: p.objects for p in found.publications}, kept)
        self.assertEqual(found.publications[0].etag, "fresh")
        self.store.put_publication(publication(1))
        self.store.remove_publication(3)
        self.assertEqual(self.recovered().publications, [publication(1), publication(2)])

    def test_watchers(self) -> None:
        """Watchers come back as they were put last, ordered by id, until removed (WFS-02)."""
        last = 2**63 - 1
        for id in (0, 1, 2, 5, last):
            self.store.put_watcher(watcher(id))
        self.store.put_watcher(watcher(2, status="waiting", subscription=0))
        self.store.remove_watcher(5)
        self.assertEqual(
            self.recovered().watchers,
            [watcher(0), watcher(1), watcher(2, status="waiting", subscription=0), watcher(last)],
        )
        changed = watcher(
            1,
            package="x",
            resource="sip:x",
            status="active",
            event="approved",
            created=1.5,
            deadline=0.0,
            subscription=2**62,
            uris="",
            display_name="",
            anonymous=False,
            terms="",
        )
        self.store.put_watcher(changed)
        self.store.remove_watcher(0)
        self.store.remove_watcher(77)
        self.store.remove_watcher(5)
        self.store.put_watcher(watcher(5))
        self.assertEqual(
            self.recovered().watchers,
            [
                changed,
                watcher(2, status="waiting", subscription=0),
                watcher(5),
                watcher(last),
            ],
        )

    def test_many_watchers(self) -> None:
        """Watchers come in chunks of at most 1000, each in a turn of its own (WFS-05)."""
        for id in range(2500):
            self.store.put_watcher(watcher(id))
        found = self.recovered()
        self.assertEqual(found.chunks, [1000, 1000, 500])
        self.assertEqual(len(set(found.turns)), 3)
        self.assertEqual(found.watchers, [watcher(id) for id in range(2500)])

    def test_watchers_and_failure(self) -> None:
        """A refused watcher is lost with its batch, and who waits is told (WFS-02)."""
        self.store.put_watcher(watcher(1))
        self.durable()
        self.break_medium()
        self.store.put_watcher(watcher(2))
        self.store.remove_watcher(1)
        self.assertFalse(self.durable())
        self.mend_medium()
        self.reactor.advance(1)
        self.reactor.until(lambda: not self.store.failed)
        self.assertEqual(self.recovered().watchers, [watcher(1)])

    def test_touch(self) -> None:
        """A refresh changes the entity-tag and the deadline and nothing else."""
        self.store.put_publication(publication(1))
        self.store.put_publication(publication(2))
        self.durable()
        self.store.touch_publication(1, "fresh", 5.5)
        self.store.touch_publication(99, "unknown", 5.5)
        found = self.recovered()
        self.assertEqual(
            found.publications, [publication(1, etag="fresh", expires=5.5), publication(2)]
        )

    def test_modify_after_touch(self) -> None:
        """A record that is put after a refresh wins over it, after a restart too."""
        self.store.put_publication(publication(1))
        self.durable()
        self.store.touch_publication(1, "fresh", 5.5)
        self.recovered()
        self.store.put_publication(publication(1, etag="newest"))
        found = self.recovered()
        self.assertEqual(found.publications, [publication(1, etag="newest")])
        self.store.touch_publication(1, "again", 6.5)
        found = self.recovered()
        self.assertEqual(found.publications, [publication(1, etag="again", expires=6.5)])

    def test_put_and_remove_in_one_batch(self) -> None:
        """The last of a put and a remove counts."""
        self.store.put_publication(publication(1))
        self.store.remove_publication(1)
        self.store.put_subscription(subscription(1))
        self.store.remove_subscription(1)
        self.store.put_binding(binding("bob"))
        self.store.remove_binding("sip:bob@example.com", "sip:a@192.0.2.1")
        self.assertEqual(self.recovered().chunks, [])
        self.store.remove_publication(1)
        self.store.put_publication(publication(1))
        self.store.remove_subscription(1)
        self.store.put_subscription(subscription(1))
        self.store.remove_binding("sip:bob@example.com", "sip:a@192.0.2.1")
        self.store.put_binding(binding("bob"))
        self.assertEqual(self.recovered().chunks, [1, 1, 1])

    def test_put_and_touch_in_one_batch(self) -> None:
        """A refresh folds into a put before it and is void before a put or beside a remove."""
        self.store.put_publication(publication(1))
        self.store.touch_publication(1, "fresh", 5.5)
        self.store.touch_publication(2, "void", 5.5)
        self.store.put_publication(publication(2))
        self.store.put_publication(publication(3))
        self.store.put_publication(publication(4))
        self.durable()
        self.store.touch_publication(3, "void", 5.5)
        self.store.remove_publication(3)
        self.store.remove_publication(4)
        self.store.touch_publication(4, "void", 5.5)
        found = self.recovered()
        self.assertEqual(
            found.publications, [publication(1, etag="fresh", expires=5.5), publication(2)]
        )

    def test_digest(self) -> None:
        """The last digest noted comes back and survives a put of its subscription."""
        self.store.put_subscription(subscription(1))
        self.store.note_delivered(1, 5)
        self.store.note_delivered(1, 6)
        self.assertEqual(self.recovered().digests, {1: 6})
        self.store.note_delivered(1, 2**63 - 1)
        self.store.put_subscription(subscription(1, cseq=1000))
        self.assertEqual(self.recovered().digests, {1: 2**63 - 1})

    def test_digest_forgotten(self) -> None:
        """A digest goes with its subscription, even when the id is written anew at once."""
        for id in (1, 2, 3):
            self.store.put_subscription(subscription(id))
            self.store.note_delivered(id, 5)
        self.durable()
        self.store.remove_subscription(1)
        self.store.remove_subscription(2)
        self.store.put_subscription(subscription(2))
        self.store.note_delivered(3, 6)
        self.store.remove_subscription(3)
        self.store.note_delivered(3, 7)
        self.durable()
        self.store.note_delivered(1, 8)
        self.reactor.advance(0.2)
        self.store.put_subscription(subscription(1))
        self.store.put_subscription(subscription(3))
        self.assertEqual(self.recovered().digests, {})

    def test_digest_written_behind(self) -> None:
        """A digest that no commit takes along is written within 200 ms (note_delivered)."""
        self.store.put_subscription(subscription(1))
        self.durable()
        self.store.note_delivered(1, 5)
        self.assertFalse(self.reactor.turn())
        self.reactor.advance(0.2)
        found = Recovered(self.reactor, self.store)
        self.assertEqual(found.digests, {1: 5})

    def test_chunks(self) -> None:
        """Records come ordered by id, at most 1000 in a turn."""
        for id in range(2500, 0, -1):
            self.store.put_publication(publication(id))
            self.store.put_subscription(subscription(id))
            self.store.note_delivered(id, -id)
            self.store.put_binding(binding(f"{id:04}"))
        found = self.recovered()
        self.assertEqual(found.chunks, [1000, 1000, 500] * 3)
        self.assertEqual(len(set(found.turns)), 9)
        ids = range(1, 2501)
        self.assertEqual(found.publications, [publication(id) for id in ids])
        self.assertEqual(found.subscriptions, [subscription(id) for id in ids])
        self.assertEqual(found.digests, {id: -id for id in ids})
        self.assertEqual(found.bindings, [binding(f"{id:04}") for id in ids])

    def test_write_while_recovering(self) -> None:
        """Records may be removed from within the recovery callbacks."""
        for id in range(1500):
            self.store.put_publication(publication(id))
        self.durable()
        seen: list[int] = []

        def take(chunk: list[PublicationRecord]) -> None:
            for record in chunk:
                seen.append(record.id)
                self.store.remove_publication(record.id)

        self.reactor.wait(self.store.recover(take, lambda chunk, digests: None))
        self.assertEqual(seen, list(range(1500)))
        self.assertEqual(self.recovered().chunks, [])

    def test_recovery_callback_fails(self) -> None:
        """What a recovery callback raises comes out of the Deferred."""
        self.store.put_publication(publication(1))
        self.store.put_binding(binding("bob"))
        self.durable()

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            self.reactor.wait(self.store.recover(fail, fail))
        with self.assertRaises(ZeroDivisionError):
            self.reactor.wait(self.store.recover_bindings(fail))
        self.store.put_watcher(watcher(1))
        self.durable()
        with self.assertRaises(ZeroDivisionError):
            self.reactor.wait(self.store.recover_watchers(fail))

    def test_text_that_is_not_utf8(self) -> None:
        """Octets of a peer that are not UTF-8 (surrogate escapes) come back, beside others."""
        odd = "sip:\udcff\udc80@example.com"
        self.store.put_publication(publication(1, publisher=odd, resource="sip:é@example.com"))
        self.store.put_publication(publication(2))
        self.store.put_publication(publication(3))
        self.store.touch_publication(3, odd, 1.0)
        self.store.put_subscription(subscription(1, resource=odd))
        self.store.put_binding(binding("bob", odd))
        self.store.put_binding(binding("carol", odd))
        self.assertTrue(self.durable())
        self.store.remove_binding("sip:carol@example.com", odd)
        found = self.recovered()
        self.assertEqual(
            found.publications,
            [
                publication(1, publisher=odd, resource="sip:é@example.com"),
                publication(2),
                publication(3, etag=odd, expires=1.0),
            ],
        )
        self.assertEqual(found.subscriptions, [subscription(1, resource=odd)])
        self.assertEqual(found.bindings, [binding("bob", odd)])

    def test_callbacks_come_later_and_in_order(self) -> None:
        """Callbacks come in a later turn, in order, each once, with or without rows."""
        seen: list[str] = []

        def done(name: str) -> Callable[[bool], None]:
            return lambda durable: seen.append(f"{name} {durable}")

        self.store.when_durable(done("nothing"))
        self.assertEqual(seen, [])
        self.reactor.until(lambda: seen)
        self.store.put_publication(publication(1))
        self.store.when_durable(done("first"))
        self.store.put_publication(publication(2))
        self.store.when_durable(done("second"))
        self.assertEqual(seen, ["nothing True"])
        self.reactor.turn()
        self.store.when_durable(done("third"))
        self.store.put_publication(publication(3))
        self.store.when_durable(done("fourth"))
        self.reactor.until(lambda: len(seen) == 5)
        self.assertEqual(
            seen, ["nothing True", "first True", "second True", "third True", "fourth True"]
        )

    def test_callback_without_rows_behind_rows(self) -> None:
        """Who waits without rows of his own comes after those whose rows were queued before."""
        seen: list[str] = []
        self.store.put_publication(publication(1))
        self.store.when_durable(lambda durable: seen.append(f"rows {durable}"))
        self.reactor.turn()
        self.store.when_durable(lambda durable: seen.append(f"none {durable}"))
        self.reactor.turn()
        self.reactor.until(lambda: len(seen) == 2)
        self.assertEqual(seen, ["rows True", "none True"])

    def test_queue_from_callback(self) -> None:
        """A callback may queue rows and wait again."""
        seen: list[bool] = []

        def again(durable: bool) -> None:
            self.store.put_publication(publication(2))
            self.store.when_durable(seen.append)

        self.store.put_publication(publication(1))
        self.store.when_durable(again)
        self.reactor.until(lambda: seen)
        self.assertEqual([r.id for r in self.recovered().publications], [1, 2])

    def test_failing_callback(self) -> None:
        """A callback that raises is logged and does not stop the others."""

        def fail(durable: bool) -> None:
            raise ZeroDivisionError

        self.store.put_publication(publication(1))
        self.store.when_durable(fail)
        self.assertTrue(self.durable())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_failure(self) -> None:
        """When the medium refuses, all rows queued so far are dropped, undone in reverse."""
        self.store.put_publication(publication(1, etag="before"))
        self.durable()
        self.break_medium()
        seen: list[tuple[str, bool, bool]] = []

        def done(name: str) -> Callable[[bool], None]:
            return lambda durable: seen.append((name, durable, self.store.failed))

        self.store.put_publication(publication(1))
        self.store.when_durable(done("a"))
        self.store.put_publication(publication(2))
        self.store.when_durable(done("b"))
        self.assertFalse(self.store.failed)
        self.reactor.until(lambda: seen)
        self.assertEqual(seen, [("b", False, True), ("a", False, True)])
        self.mend_medium()
        self.reactor.advance(1)
        self.reactor.until(lambda: not self.store.failed)
        self.assertEqual(self.recovered().publications, [publication(1, etag="before")])

    def test_figures(self) -> None:
        """OBS-01: commits, rows and their time are counted; OVL-01: the age of what waits."""
        self.assertEqual((self.store.oldest, self.store.commits), (0.0, 0))
        self.store.put_publication(publication(1))
        self.store.put_subscription(subscription(1))
        self.reactor.rightNow += 1.5
        self.store.put_binding(binding("bob"))
        self.assertEqual(self.store.oldest, 1.5)
        self.assertTrue(self.durable())
        self.assertEqual((self.store.oldest, self.store.commits, self.store.rows), (0.0, 1, 3))
        self.assertEqual(sum(self.store.latency.counts), 1)
        self.assertTrue(self.durable(), "without rows there is no commit")
        self.assertEqual((self.store.oldest, self.store.commits), (0.0, 1))

    def test_age_behind_a_commit(self) -> None:
        """OVL-01: the age is that of the commit under way, then of what has gathered since."""
        self.store.put_publication(publication(1))
        self.reactor.turn()
        if not self.store.oldest and self.store.commits:
            return  # this medium is done at once
        self.reactor.rightNow += 1.0
        self.store.put_publication(publication(2))
        self.reactor.turn()
        self.reactor.rightNow += 1.0
        self.assertEqual(self.store.oldest, 2.0)
        self.reactor.until(lambda: self.store.commits)
        self.assertEqual(self.store.oldest, 1.0)
        self.assertTrue(self.durable())
        self.assertEqual(self.store.oldest, 0.0)

    def test_figures_of_a_failure(self) -> None:
        """OBS-01: a refused batch is counted; what it took down waits no longer (OVL-01)."""
        self.break_medium()
        self.store.put_publication(publication(1))
        self.assertFalse(self.durable())
        self.assertEqual((self.store.refused, self.store.commits), (1, 0))
        self.assertEqual(self.store.oldest, 0.0)
        self.mend_medium()
        self.reactor.rightNow += 1.0
        self.reactor.until(lambda: not self.store.failed)
        self.flushLoggedErrors()

    def test_rows_while_failed(self) -> None:
        """During an outage rows are refused in a later turn; no rows is no failure."""
        self.break_medium()
        self.store.put_publication(publication(1))
        self.assertFalse(self.durable())
        for _ in range(3):
            self.reactor.advance(1)
            self.store.put_publication(publication(1))
            self.assertFalse(self.durable())
            self.assertTrue(self.durable())
            self.assertTrue(self.store.failed)
        self.mend_medium()
        self.reactor.advance(1)
        self.reactor.until(lambda: not self.store.failed)
        self.store.put_publication(publication(2))
        self.assertTrue(self.durable())
        self.assertEqual(self.recovered().publications, [publication(2)])

    def test_digest_outlives_outage(self) -> None:
        """A digest noted before or during an outage is written after it: NOTIFYs depend on it."""
        for id in (1, 2, 3):
            self.store.put_subscription(subscription(id))
        self.durable()
        self.break_medium()
        self.store.note_delivered(1, 5)
        self.store.note_delivered(2, 5)
        self.store.put_publication(publication(1))
        self.assertFalse(self.durable())
        self.store.note_delivered(2, 6)
        self.reactor.advance(0.2)
        self.store.note_delivered(3, 6)
        self.mend_medium()
        self.reactor.advance(1)
        self.reactor.until(lambda: not self.store.failed)
        found = Recovered(self.reactor, self.store)
        self.assertEqual(found.digests, {1: 5, 2: 6, 3: 6})

    def test_stop_commits(self) -> None:
        """stop() commits what is queued, notes included, and calls who waits."""
        seen: list[bool] = []
        self.store.put_subscription(subscription(1))
        self.reactor.turn()
        self.store.put_subscription(subscription(2))
        self.store.when_durable(seen.append)
        self.store.note_delivered(1, 5)
        first, second = self.store.stop(), self.store.stop()
        self.reactor.wait(first)
        self.reactor.wait(second)
        self.assertEqual(seen, [True])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.wait(self.store.start())
        found = Recovered(self.reactor, self.store)
        self.assertEqual(found.subscriptions, [subscription(1), subscription(2)])
        self.assertEqual(found.digests, {1: 5})

    def test_stopped(self) -> None:
        """A stopped store refuses rows, and stopping it again does nothing."""
        self.stop()
        self.stop()
        self.store.put_publication(publication(1))
        self.assertFalse(self.durable())
        self.reactor.wait(self.store.start())
        self.assertEqual(Recovered(self.reactor, self.store).chunks, [])

    def test_stop_during_outage(self) -> None:
        """A store stops in an outage; who waits is told that nothing is durable."""
        self.break_medium()
        self.store.put_publication(publication(1))
        self.assertFalse(self.durable())
        seen: list[bool] = []
        self.store.put_publication(publication(1))
        self.store.when_durable(seen.append)
        self.mend_medium()
        self.stop()
        self.assertEqual(seen, [False])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.wait(self.store.start())
        self.assertFalse(self.store.failed)

    def test_interleavings(self) -> None:
        """Any order of calls, cut into batches anywhere, leaves what a plain dict would hold."""
        ids = st.integers(1, 3)
        calls = st.one_of(
            st.tuples(st.just("put"), ids, st.integers(0, 9)),
            st.tuples(st.just("touch"), ids, st.integers(10, 19)),
            st.tuples(st.just("remove"), ids),
            st.tuples(st.just("subscribe"), ids, st.integers(0, 9)),
            st.tuples(st.just("unsubscribe"), ids),
            st.tuples(st.just("note"), ids, st.integers(0, 9)),
            st.tuples(st.just("commit")),
            st.tuples(st.just("turn")),
        )

        @settings(
            max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(st.lists(calls, max_size=30))
        def check(steps: list[tuple[Any, ...]]) -> None:
            publications: dict[int, PublicationRecord] = {}
            subscriptions: dict[int, SubscriptionRecord] = {}
            digests: dict[int, int] = {}
            for id in (1, 2, 3):
                self.store.remove_publication(id)
                self.store.remove_subscription(id)
            for name, *args in steps:
                if name == "put":
                    record = publication(args[0], etag=f"{args[1]}")
                    publications[args[0]] = record
                    self.store.put_publication(record)
                elif name == "touch" and args[0] in publications:
                    body = publications[args[0]].body
                    publications[args[0]] = publication(
                        args[0], etag=f"{args[1]}", expires=float(args[1]), body=body
                    )
                    self.store.touch_publication(args[0], f"{args[1]}", float(args[1]))
                elif name == "remove":
                    publications.pop(args[0], None)
                    self.store.remove_publication(args[0])
                elif name == "subscribe":
                    subscriptions[args[0]] = subscription(args[0], cseq=args[1])
                    self.store.put_subscription(subscriptions[args[0]])
                elif name == "unsubscribe":
                    subscriptions.pop(args[0], None)
                    digests.pop(args[0], None)
                    self.store.remove_subscription(args[0])
                elif name == "note" and args[0] in subscriptions:
                    digests[args[0]] = args[1]
                    self.store.note_delivered(args[0], args[1])
                elif name == "commit":
                    self.durable()
                elif name == "turn":
                    self.reactor.turn()
            self.store.put_binding(binding("commit"))
            self.durable()
            found = Recovered(self.reactor, self.store)
            self.assertEqual({r.id: r for r in found.publications}, publications)
            self.assertEqual({r.id: r for r in found.subscriptions}, subscriptions)
            self.assertEqual(found.digests, digests)

        check()


class MemoryStoreTests(StoreContract, SynchronousTestCase):
    """The store in memory."""

    def make_store(self) -> Store:
        """A store of its own."""
        return MemoryStore(self.reactor)

    def break_medium(self) -> None:
        """Fail for good."""
        assert isinstance(self.store, MemoryStore)
        self.store.fail_next(1000)

    def mend_medium(self) -> None:
        """Fail no more."""
        assert isinstance(self.store, MemoryStore)
        self.store.fail_next(0)

    def test_fail_next(self) -> None:
        """fail_next() fails one commit, and the probe after a second finds all well."""
        assert isinstance(self.store, MemoryStore)
        self.store.fail_next()
        self.store.put_publication(publication(1))
        self.assertFalse(self.durable())
        self.assertTrue(self.store.failed)
        self.reactor.advance(1)
        self.assertFalse(self.store.failed)


class SqliteStoreTests(StoreContract, SynchronousTestCase):
    """The store in a SQLite file."""

    def make_store(self) -> Store:
        """A store in a directory of the test."""
        return SqliteStore(self.reactor, Path(self.mktemp()) / "presence.db")

    def _write_access(self, allowed: bool) -> None:
        """As when the file system is mounted read-only, or writable again."""
        store = self.store
        assert isinstance(store, SqliteStore)
        statements = store._statements
        assert statements is not None
        changed: list[object] = []
        store._file.submit(
            statements._database.execute,
            f"PRAGMA query_only = {'OFF' if allowed else 'ON'}",
            changed.append,
            self.fail,
        )
        self.reactor.until(lambda: changed)

    def break_medium(self) -> None:
        """Make it read-only."""
        self._write_access(False)

    def mend_medium(self) -> None:
        """Make it writable."""
        self._write_access(True)
