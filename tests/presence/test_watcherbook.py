"""The book of watchers: time limits, bounds, durability, and any order of events."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from presence.interfaces import IWatcherObserver
from presence.limits import DomainRates
from presence.packages.winfo import WatcherInfoPackage
from presence.records import WatcherRecord
from presence.store.memory import MemoryStore
from presence.watcherbook import WatcherBook
from presence.watcherentry import OPEN, WORD, Entry, WatcherLimits
from presence.watcherinfo import read
from pysip.interfaces import Identity
from pysip.message import Request
from pysip.timers import TimerWheel
from tests.node import ALICE, BOB
from tests.presence.watching import Looker, WinfoNode

DAY = 86400.0


class Subscribed:
    """A subscription as far as a book knows it."""

    def __init__(self, id: int, uri: str = ALICE, state: str = "pending", **more: Any) -> None:
        self.id = id
        self.package = "presence"
        self.resource = BOB
        self.watcher = Identity((uri,) if uri else ())
        self.state = state
        self.created = 1000.0 + id
        self.deadline = 3600.0
        self.detail = b""
        self.event_params = ""
        self.reason = ""
        self.lasting = True
        vars(self).update(more)


class BookCase(SynchronousTestCase):
    """A book with a store and a clock of its own."""

    limits = WatcherLimits(pending=100.0, waiting=50.0, per_watcher=3, per_presentity=5)

    def setUp(self) -> None:
        """An empty book."""
        self.clock = Clock()
        self.wheel = TimerWheel(self.clock)
        self.store = MemoryStore(self.clock)
        self.store.start()
        self.told: list[tuple[str, str, str]] = []
        self.decision = "confirm"
        self.book = self.make_book()
        self.book.settle()

    def make_book(self) -> WatcherBook:
        """One on the same store."""
        book: WatcherBook = WatcherBook(
            self.store,
            self.wheel,
            self.clock.seconds,
            lambda resource, watcher: self.decision,
            lambda subscription, reason: self.end(subscription, reason),
            self.limits,
        )
        book.told = lambda entry, new, serial: self.told.append(
            (entry.watcher.uri, entry.status, entry.event)
        )
        return book

    def end(self, subscription: Any, reason: str = "timeout") -> None:
        """A subscription ends."""
        subscription.reason = reason
        self.book.unsubscribed(subscription)

    def subscribe(self, id: int, uri: str = ALICE, state: str = "pending", **more: Any) -> Any:
        """A subscription is made."""
        subscription: Any = Subscribed(id, uri, state, **more)
        self.book.subscribed(subscription)
        return subscription

    def wait(self, id: int, uri: str = ALICE, **more: Any) -> None:
        """A pending subscription is made and ends."""
        self.end(self.subscribe(id, uri, **more))

    def entries(self) -> list[tuple[str, str]]:
        """(URI, status) of all."""
        return [(entry.watcher.uri, entry.status) for entry in self.book.entries(BOB)]

    def kept(self) -> list[WatcherRecord]:
        """What is durable."""
        self.clock.pump([0.01] * 5)
        return list(self.store._watchers.values())

    def test_interface(self) -> None:
        """A book is an observer."""
        verifyObject(IWatcherObserver, self.book)


class TimeTests(BookCase):
    """Nobody waits for ever."""

    def test_pending_given_up(self) -> None:
        """Who is pending for too long is terminated, with the subscription (WFS-04)."""
        self.subscribe(1)
        self.clock.advance(99)
        self.assertEqual(self.entries(), [(ALICE, "pending")])
        self.clock.advance(1.1)
        self.assertEqual(self.told[-1], (ALICE, "terminated", "giveup"))
        self.assertEqual((self.entries(), self.kept()), ([], []))

    def test_waiting_given_up(self) -> None:
        """The time begins again when the wait does (WFS-04)."""
        subscription = self.subscribe(1)
        self.clock.advance(90)
        self.end(subscription)
        self.clock.advance(49)
        self.assertEqual(self.entries(), [(ALICE, "waiting")])
        self.clock.advance(1.1)
        self.assertEqual(self.told[-1], (ALICE, "terminated", "giveup"))
        self.assertEqual((self.entries(), self.kept()), ([], []))

    def test_approved(self) -> None:
        """A decision ends the time; asking again begins it anew (WFS-04, XDM-137)."""
        subscription = self.subscribe(1)
        self.clock.advance(90)
        subscription.state = "active"
        self.book.subscribed(subscription)
        self.clock.advance(1000)
        self.assertEqual(self.entries(), [(ALICE, "active")])
        subscription.state = "pending"
        self.book.subscribed(subscription)
        self.clock.advance(99)
        self.assertEqual(self.entries(), [(ALICE, "pending")])
        self.clock.advance(2)
        self.assertEqual(self.entries(), [])

    def test_defaults(self) -> None:
        """Seven days each, a hundred of a watcher, a thousand of a presentity (WFS-04, WFS-05)."""
        limits = WatcherLimits()
        self.assertEqual((limits.pending, limits.waiting), (7 * DAY, 7 * DAY))
        self.assertEqual((limits.per_watcher, limits.per_presentity), (100, 1000))

    def test_time_goes_on_after_a_restart(self) -> None:
        """What is left of the time survives; what is over ends the wait (WFS-02, WFS-04)."""
        self.wait(1)
        self.clock.advance(30)
        self.wait(2, "sip:carol@example.com")
        records = self.kept()
        self.clock.advance(15)
        again = self.book = self.make_book()
        again.recovered(records)
        again.settle()
        self.assertEqual(len(self.entries()), 2)
        self.clock.advance(6)
        self.assertEqual(self.entries(), [("sip:carol@example.com", "waiting")])
        late = self.book = self.make_book()
        self.clock.advance(1000)
        late.recovered(records)
        late.settle()
        self.clock.advance(0.1)
        self.assertEqual((self.entries(), self.kept()), ([], []))

    def test_restart_tells_nobody(self) -> None:
        """What is read back is no news; what comes after it is."""
        self.wait(1)
        self.told.clear()
        book = self.book = self.make_book()
        book.recovered(self.kept())
        self.subscribe(7, "sip:carol@example.com")
        self.assertEqual(self.told, [])
        book.settle()
        self.decision = "allow"
        book.reauthorize(BOB)
        self.assertEqual(self.told, [(ALICE, "terminated", "approved")])


class BoundTests(BookCase):
    """Nobody fills the book."""

    def test_of_a_watcher(self) -> None:
        """One too many of a watcher: the oldest that waits is given up (WFS-05)."""
        others = [f"sip:u{n}@example.com" for n in range(4)]
        for n, resource in enumerate(others):
            self.wait(n + 1, resource=resource)
        self.assertEqual(self.book.entries(others[0]), [])
        self.assertIn((ALICE, "terminated", "giveup"), self.told)
        self.assertEqual([len(self.book.entries(other)) for other in others], [0, 1, 1, 1])
        self.assertEqual(self.book.waited_for(), others[1:])

    def test_of_a_presentity(self) -> None:
        """One too many of a presentity: the oldest that waits is given up, not pending (WFS-05)."""
        self.subscribe(1, "sip:pending@example.com")
        for n in range(2, 8):
            self.wait(n, f"sip:u{n}@example.com")
        self.assertEqual(
            self.entries(),
            [
                ("sip:pending@example.com", "pending"),
                *[(f"sip:u{n}@example.com", "waiting") for n in range(4, 8)],
            ],
        )

    def test_all_pending(self) -> None:
        """When nobody just waits, the oldest pending subscription is ended (WFS-05)."""
        for n in range(1, 7):
            self.subscribe(n, f"sip:u{n}@example.com")
        self.assertEqual(self.told[-1], ("sip:u1@example.com", "terminated", "giveup"))
        self.assertEqual(len(self.entries()), 5)

    def test_asked_again(self) -> None:
        """So it is when rules ask again about more watchers than may wait (WFS-05, XDM-137)."""
        subscriptions = [self.subscribe(n, f"sip:u{n}@x", "active") for n in range(1, 9)]
        for subscription in subscriptions:
            subscription.state = "pending"
            self.book.subscribed(subscription)
        ends = [(f"sip:u{n}@x", "terminated", "giveup") for n in range(1, 4)]
        self.assertEqual([told for told in self.told if told[1] == "terminated"], ends)
        self.assertEqual(self.entries(), [(f"sip:u{n}@x", "pending") for n in range(4, 9)])

    def test_allowed_are_not_counted(self) -> None:
        """The limits are of those who wait for a decision (WFS-05)."""
        for n in range(1, 20):
            self.subscribe(n, state="active")
        self.assertEqual(len(self.entries()), 19)
        self.assertEqual(self.kept(), [])

    def test_fetches(self) -> None:
        """Whoever fetches again and again fills one place (WFS-03, WFS-05)."""
        for _ in range(10):
            self.book.fetched(Subscribed(0, lasting=False))  # type: ignore[arg-type]
        self.assertEqual(self.entries(), [(ALICE, "waiting")])
        for n in range(10):
            self.book.fetched(  # type: ignore[arg-type]
                Subscribed(0, lasting=False, detail=b"%d" % n)
            )
        self.assertEqual(len(self.entries()), 3)
        for _ in range(10):
            self.book.fetched(Subscribed(0, "", lasting=False))  # type: ignore[arg-type]
        self.assertEqual(len(self.entries()), 5)

    def test_terms(self) -> None:
        """A request for something else does not end a wait (WFS-01)."""
        self.wait(1, detail=b"a filter")
        self.wait(2)
        self.wait(3, event_params=";x=y")
        self.assertEqual(len(self.entries()), 3)
        self.subscribe(4, detail=b"a filter")
        self.assertEqual(
            sorted(status for _, status in self.entries()), ["pending", "waiting", "waiting"]
        )

    def test_nothing_is_left(self) -> None:
        """What has ended leaves nothing in memory, in the wheel or in the store."""
        for n in range(1, 50):
            subscription = self.subscribe(n, f"sip:u{n}@example.com", ("active", "pending")[n % 2])
            subscription.state = "active"
            self.book.subscribed(subscription)
            self.end(subscription)
        self.wait(50)
        self.book.removed(BOB, 1e9)
        self.assertEqual(self.kept(), [])
        self.assertEqual(self.book._tables, {})
        self.assertEqual(self.book._by_watcher, {})
        self.assertEqual(len(self.wheel), 0)
        self.assertEqual((self.book.serial(BOB), self.book.digest(BOB)), (0, 0))

    def test_unknown(self) -> None:
        """The end of what was never made is ignored."""
        self.end(Subscribed(1))
        self.subscribe(2)
        self.end(Subscribed(1))
        self.assertEqual(len(self.entries()), 1)


class StoreTests(BookCase):
    """What is durable."""

    def test_records(self) -> None:
        """Pending, approved and waiting watchers have a record, others have none (WFS-02)."""
        self.subscribe(1, "sip:a@x", "active")
        pending = self.subscribe(2, "sip:b@x")
        self.wait(3, "sip:c@x")
        approved = self.subscribe(4, "sip:d@x")
        approved.state = "active"
        self.book.subscribed(approved)
        self.assertEqual(
            {(r.uris, r.status, r.event, r.subscription) for r in self.kept()},
            {
                ("sip:b@x", "pending", "subscribe", 2),
                ("sip:c@x", "waiting", "timeout", 0),
                ("sip:d@x", "active", "approved", 4),
            },
        )
        for subscription in (pending, approved):
            self.end(subscription, "rejected")
        self.assertEqual([r.uris for r in self.kept()], ["sip:c@x"])

    def test_all_fields(self) -> None:
        """What comes back is what was there (WFS-02)."""
        identity = Identity(("sip:a@x", "tel:+1"), "Al", True, "asserted")
        self.wait(1, watcher=identity, detail=b"x")
        (before,) = self.book.entries(BOB)
        self.book = self.make_book()
        self.book.recovered(self.kept())
        (after,) = self.book.entries(BOB)
        for name in ("key", "status", "event", "created", "terms", "watcher", "resource"):
            self.assertEqual(getattr(after, name), getattr(before, name), name)
        self.assertAlmostEqual(after.deadline, before.deadline)
        self.assertEqual(after.weight, before.weight)

    def test_outage(self) -> None:
        """What the store refuses is written as soon as it can be, as it is then (WFS-02)."""
        self.wait(1, "sip:gone@x")
        self.assertEqual(len(self.kept()), 1)
        self.store.fail_next(3)
        pending = self.subscribe(2, "sip:b@x")
        self.wait(3, "sip:c@x")
        (entry,) = [e for e in self.book.entries(BOB) if e.watcher.uri == "sip:gone@x"]
        self.book.give_up(entry)
        self.assertEqual([r.uris for r in self.kept()], ["sip:gone@x"])
        self.end(pending)
        self.clock.pump([0.5] * 20)
        self.assertEqual(
            sorted((r.uris, r.status) for r in self.kept()),
            [("sip:b@x", "waiting"), ("sip:c@x", "waiting")],
        )

    def test_stopped(self) -> None:
        """After the stop nothing is tried again."""
        self.store.fail_next(1)
        self.subscribe(1)
        self.book.stop()
        self.kept()
        self.assertEqual(self.book._rows._unsaved, {})

    def test_number_used_again(self) -> None:
        """The record of an older subscription with the same number is not this one's (WFS-02)."""
        self.subscribe(1)
        records = self.kept()
        for more in ({"created": 5.0}, {"resource": "sip:carol@example.com"}):
            self.book = self.make_book()
            self.book.recovered(records)
            self.subscribe(1, "sip:dave@example.com", "active", **more)
            self.book.settle()
            self.assertIn((ALICE, "waiting"), self.entries())
            (entry,) = self.book.entries(more.get("resource", BOB))[-1:]
            self.assertEqual(
                (entry.watcher.uri, entry.status, entry.event),
                ("sip:dave@example.com", "active", "subscribe"),
            )

    def test_foreign_records(self) -> None:
        """Records of another package stay; those of nothing that lives are removed."""
        common = (BOB, "active", "approved", 1.0, 0.0)
        records = [
            WatcherRecord(1, "presence.winfo", *common, 1, ALICE),
            WatcherRecord(2, "presence", *common, 9, ALICE),
            WatcherRecord(3, "presence", *common, 0, ALICE),
        ]
        for record in records:
            self.store.put_watcher(record)
        self.book = self.make_book()
        self.book.recovered(records)
        self.book.settle()
        self.assertEqual([r.id for r in self.kept()], [1])


class OrderTests(SynchronousTestCase):
    """Whatever happens in whatever order."""

    def test_interleavings(self) -> None:
        """Bob's table is the book, which is the subscriptions and who waits (WFS-01, WID-08)."""
        users = st.integers(0, 3)
        actions = st.one_of(
            st.tuples(st.just("subscribe"), users, st.sampled_from([5, 60, 3600])),
            st.tuples(st.just("fetch"), users),
            st.tuples(st.just("unsubscribe"), users),
            st.tuples(
                st.just("decide"),
                users,
                st.sampled_from(["allow", "confirm", "block", "polite-block"]),
            ),
            st.tuples(st.just("pass"), st.sampled_from([0.0, 1.0, 6.0, 70.0])),
            st.tuples(st.just("look"), st.just(0)),
            st.tuples(st.just("deaf"), st.booleans()),
            st.tuples(st.just("restart"), st.sampled_from([0.0, 20.0])),
        )

        @settings(
            max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(st.lists(actions, max_size=25), st.sampled_from([0.0, 5.0]))
        def check(steps: list[tuple[Any, ...]], interval: float) -> None:
            node = WinfoNode(
                interval=interval,
                most=2,
                limits=WatcherLimits(pending=200.0, waiting=100.0, per_presentity=3),
            )
            bob = Looker(node)
            phone = node.peer("192.0.2.30")
            bob.subscribe()
            dialogs: dict[int, Any] = {}
            for action, value, *more in steps:
                sender = f"sip:u{value}@example.com"
                if action == "subscribe":
                    answer = phone.subscribe(sender=sender, expires=more[0])
                    if answer.status < 300:
                        dialogs[value] = answer
                elif action == "fetch":
                    phone.subscribe(sender=sender, expires=0)
                elif action == "unsubscribe" and value in dialogs:
                    was = dialogs.pop(value)
                    phone.subscribe(
                        sender=sender, expires=0, call_id=was.call_id, to_tag=was.to.tag
                    )
                elif action == "decide":
                    node.decide(**{f"u{value}": more[0]})
                elif action == "pass":
                    node.advance(value, step=0.25)
                elif action == "look" and bob.peer.answer:
                    bob.subscribe()
                elif action == "deaf":
                    bob.peer.answer = 0 if value else 200
                elif action == "restart":
                    node = bob.node = phone.node = bob.peer.node = node.restart(value)
            bob.peer.answer = 200
            notifier = node.presence.notifier
            notifier.set_policy(notifier.policy, DomainRates(0.0, {}))  # what is owed leaves now
            node.advance(12, step=0.25)
            if not node.presence.notifier.subscriptions("presence.winfo", BOB):
                bob.documents()
                bob.dialog = None  # it was deaf for too long
                bob.table.version = None
                bob.subscribe()
                node.advance(12, step=0.25)
            self.compare(node, bob)

        check()

    def compare(self, node: WinfoNode, bob: Looker) -> None:
        """All that must be the same now."""
        entries = node.book.entries(BOB)
        bob.documents()
        self.assertEqual(bob.refreshes, 0)
        seen = {w.id: (w.uri, w.status, w.event) for _, w in bob.table.rows()}
        seen = {k: v for k, v in seen.items() if v[1] != "terminated"}
        self.assertEqual(seen, {f"w{e.key:x}": (e.watcher.uri, e.status, e.event) for e in entries})
        live = node.presence.notifier.subscriptions("presence", BOB)
        self.assertEqual(
            {s.id: s.state for s in live},
            {e.subscription.id: e.status for e in entries if e.subscription is not None},
        )
        waiting = [e for e in entries if e.subscription is None]
        self.assertEqual({e.status for e in waiting} - {"waiting"}, set())
        self.assertLessEqual(sum(e.status in OPEN for e in entries), 3)
        self.assertEqual(
            node.book.digest(BOB) & WORD, sum(entry.weight for entry in entries) & WORD
        )
        node.advance(0.1)
        self.assertEqual(
            {r.id: (r.status, r.event) for r in node.store._watchers.values()},
            {e.key: (e.status, e.event) for e in entries if e.durable},
        )
        for entry in waiting:
            self.assertEqual(node.rules.decide(BOB, entry.watcher).handling, "confirm")


class CostTests(BookCase):
    """Ten thousand watchers of one presentity."""

    limits = WatcherLimits(per_watcher=100, per_presentity=1000)

    def test_ten_thousand(self) -> None:
        """One document tells of them all, and their end frees everything."""
        count = 10_000
        subscriptions = [self.subscribe(n, f"sip:u{n}@x", "active") for n in range(1, count + 1)]
        looker: Any = Subscribed(0, BOB, "active", delivered=None, data=None, sequence=0)

        class Inner:
            """As far as the package looks at it."""

            name = event = "presence"

        package = WatcherInfoPackage(
            Inner(),  # type: ignore[arg-type]
            self.book,
            lambda resource: (),
            self.clock.seconds,
            self.clock.seconds,
            serves=lambda domain: True,
            terminate=lambda subscription, reason: None,
            subscriptions=lambda name, resource: [looker],
            changed=lambda name, resource: None,
            most=count,
        )
        package.subscribe(Request("SUBSCRIBE", BOB, {}, b""), looker, True)
        found = package.notification(looker)
        self.assertEqual(len(read(found.body).lists[0].watchers), count)
        looker.delivered = found.digest
        package.acknowledged(looker)
        for subscription in subscriptions:
            self.end(subscription, "rejected")
        self.assertLessEqual(len(looker.data.changed), 5001)
        self.assertEqual(self.book._tables, {})
        self.assertEqual(self.book.entries(BOB), [])

    def test_key_is_of_63_bits(self) -> None:
        """Keys fit the store, and differ (WID-06)."""
        keys = set()
        for n in range(1, 2000):
            self.subscribe(n, state="active")
        for entry in self.book.entries(BOB):
            self.assertIsInstance(entry, Entry)
            self.assertLess(entry.key, 2**63)
            keys.add(entry.key)
        self.assertEqual(len(keys), 1999)
