"""Subscriptions from inside the process: as of SIP, but told without NOTIFYs (RLS-24)."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pysip.event.dialogrecord import decode_dialog
from pysip.event.localsubscription import LocalSubscription
from pysip.event.table import NotifierPolicy
from pysip.interfaces import Identity
from tests.node import ALICE, BOB
from tests.pysip.eventing import ALICE_IDENTITY, Sink, Small, SmallNode, fired


class LocalCase(SynchronousTestCase):
    """A node with a small package, and somebody inside."""

    def setUp(self) -> None:
        """The node."""
        self.package = Small(bob="one", carol="c")
        self.node = SmallNode(self.package, policy=NotifierPolicy(min_expires=60))
        self.sink = Sink()

    def ask(self, key: str = "k", uri: str = BOB, expires: int = 600, **options: Any) -> list[Any]:
        """Subscribe, without waiting; the outcome comes into the list."""
        sink = options.pop("sink", self.sink)
        watcher = options.pop("watcher", ALICE_IDENTITY)
        event = options.pop("event", "small")
        notifier = self.node.notifier
        return fired(notifier.subscribe_local(event, uri, watcher, key, expires, sink, **options))

    def subscribe(self, *args: Any, **options: Any) -> Any:
        """Subscribe, and give the outcome."""
        outcome = self.ask(*args, **options)
        self.node.advance(0.1)
        (result,) = outcome
        return result

    def change(self, text: str, resource: str = BOB) -> None:
        """Another text."""
        self.package.texts[resource] = text
        self.node.notifier.changed("small", resource)
        self.node.advance(0.1)

    def asked(self, *names: str) -> list[tuple[Any, ...]]:
        """What the package was asked since the last time, or these calls of it."""
        calls, self.package.calls = self.package.calls, []
        return [call for call in calls if not names or call[0] in names]


class LifeTests(LocalCase):
    """From SUBSCRIBE to the end."""

    def test_same_calls(self) -> None:
        """RLS-24: the package is asked the same in the same order as for a SUBSCRIBE."""
        peer = self.node.peer()
        fields = {"event": "small", "expires": 600, "accept": "text/*", "body": b"x"}
        answer = peer.subscribe(**fields, content_type="text/plain")
        self.package.texts[BOB] = "two"
        self.node.notifier.changed("small", BOB)
        self.node.advance(0.1)
        again = {"call_id": answer.call_id, "to_tag": answer.to.tag}
        peer.subscribe(**fields, **again, content_type="text/plain")
        expected = [call for call in self.asked() if call[0] not in ("notification",)]
        peer.subscribe(**again, event="small", expires=0)
        expected_end = self.asked("unsubscribed", "authorize")

        headers = {"accept": ["text/*"], "content-type": ["text/plain"]}
        self.package.texts[BOB] = "one"
        live = self.subscribe(headers=headers, body=b"x")
        self.change("two")
        outcome = fired(live.refresh(600, headers, b"x"))
        self.node.advance(0.1)
        self.assertEqual(outcome, [None])
        calls = [call for call in self.asked() if call[0] not in ("notification",)]
        # Each refresh of SIP has its NOTIFY, and that its answer.
        self.assertEqual(calls, expected[:-1])
        self.assertEqual(expected[-1], ("acknowledged",))
        live.unsubscribe()
        self.node.advance(0.1)
        self.assertEqual(sorted(self.asked("unsubscribed", "authorize")), sorted(expected_end))
        self.assertEqual(len(self.node.notifier), 0)

    def test_told(self) -> None:
        """The first state, each change once, and the end; never inside a call of the owner."""
        live = self.subscribe()
        self.assertIsInstance(live, LocalSubscription)
        self.assertEqual(self.sink.take(), [("active", "", b"one")])
        self.change("two")
        self.change("two")
        self.assertEqual(self.sink.take(), [("active", "", b"two")])
        self.package.texts[BOB] = "three"
        self.node.notifier.changed("small", BOB)
        self.node.notifier.touch(live)
        self.assertEqual(self.sink.told, [])
        self.package.texts[BOB] = "four"  # before its turn: the newest state only
        self.node.advance(0.1)
        self.assertEqual(self.sink.take(), [("active", "", b"four")])
        live.unsubscribe()
        self.assertEqual(self.sink.told, [])
        self.node.advance(0.1)
        self.assertEqual(self.sink.take(), [("terminated", "timeout", b"four")])
        live.unsubscribe()
        self.change("five")
        self.assertEqual(self.sink.told, [])

    def test_no_gate(self) -> None:
        """No interval holds changes back: the owner has one for all it is told."""
        self.node = SmallNode(self.package, interval=60.0)
        self.subscribe()
        self.change("two")
        self.change("three")
        self.assertEqual([body for _, _, body in self.sink.told], [b"one", b"two", b"three"])

    def test_nothing_sent(self) -> None:
        """There is no dialog and no message."""
        peer = self.node.peer()
        self.subscribe()
        self.change("two")
        self.assertEqual((peer.requests, self.node.notifier.sender.outcomes), ([], {}))
        self.assertEqual(
            peer.subscribe(event="small", call_id="k", from_tag="local", to_tag="local").status, 481
        )

    def test_decisions(self) -> None:
        """Pending, active and rejected follow the decision; nothing of the state shows before."""
        self.package.decision = "pending"
        self.subscribe()
        self.asked()
        self.change("two")
        self.assertEqual(self.asked(), [])  # no change is told meanwhile
        self.assertEqual(self.sink.take(), [("pending", "", b"")])
        self.assertEqual(self.node.notifier.pending, 1)
        self.package.decision = "active"
        self.node.notifier.reauthorize("small", BOB)
        self.node.advance(0.1)
        self.assertEqual(self.sink.take(), [("active", "", b"two")])
        self.assertEqual(self.node.notifier.pending, 0)
        self.assertIn(("subscribed", "active", b""), self.asked())
        self.package.decision = "rejected"
        self.node.notifier.reauthorize_all()
        self.node.advance(0.1)
        self.assertEqual(self.sink.take(), [("terminated", "rejected", b"")])
        self.assertEqual(self.asked("unsubscribed"), [("unsubscribed", "rejected")])
        self.assertEqual(self.node.store._subscriptions, {})

    def test_state_with_the_same_body(self) -> None:
        """A state that changes is told, though the body is the same."""
        self.package.texts[BOB] = ""
        self.package.decision = "pending"
        self.subscribe()
        self.package.decision = "active"
        self.node.notifier.reauthorize("small", BOB)
        self.node.advance(0.1)
        self.assertEqual([state for state, _, _ in self.sink.told], ["pending", "active"])

    def test_refusals(self) -> None:
        """RLS-24: what refuses a SUBSCRIBE refuses it here: the same status, nothing left."""
        self.assertEqual(self.subscribe(event="nonsense"), 489)
        self.assertEqual(self.subscribe(uri="sip:nobody@example.com"), 404)
        self.assertEqual(self.subscribe(expires=10), 423)
        self.assertEqual(self.subscribe(event=";"), 400)
        self.assertEqual(self.subscribe(body=b"bad", headers={"content-type": ["text/plain"]}), 400)
        self.assertEqual(self.subscribe(body=b"<a/>", headers={"content-type": ["text/xml"]}), 415)
        self.package.require = "eventlist"
        self.assertEqual(self.subscribe(), 421)
        self.package.require = ""
        self.package.decision = "rejected"
        self.assertEqual(self.subscribe(), 403)
        self.package.decision = "active"
        self.node.store.failed = True
        self.assertEqual(self.subscribe(), 503)
        self.node.store.failed = False
        self.assertEqual((len(self.node.notifier), self.sink.told), (0, []))
        live = self.subscribe()
        before = live.terms()
        bad = {"content-type": ["nonsense"]}
        self.assertEqual(fired(live.refresh(900, bad, b"x")), [400])
        self.assertEqual(fired(live.refresh(10)), [423])
        self.assertEqual(live.terms(), before)

    def test_not_stored(self) -> None:
        """What cannot be made durable is refused with 500, and nothing has changed."""
        self.node.store.fail_next()
        self.assertEqual(self.subscribe(), 500)
        self.assertEqual((len(self.node.notifier), self.sink.told), (0, []))
        self.assertEqual(self.asked("unsubscribed"), [("unsubscribed", "")])
        self.node.advance(20)
        live = self.subscribe()
        before = live.terms()
        self.node.store.fail_next()
        outcome = fired(live.refresh(900, {"content-type": ["text/plain"]}, b"y"))
        self.node.advance(0.1)
        self.assertEqual((outcome, live.terms()), ([500], before))
        self.node.advance(20)
        self.change("two")
        self.assertEqual(self.sink.told[-1], ("active", "", b"two"))
        self.node.advance(600)
        self.assertEqual(self.sink.told[-1], ("terminated", "timeout", b"two"))

    def test_removal_not_stored(self) -> None:
        """An end is tried again until it is durable, and told then."""
        live = self.subscribe()
        self.sink.take()
        self.node.store.fail_next()
        self.package.texts[BOB] = "two"
        live.changed()
        live.unsubscribe()
        self.node.advance(0.2)
        self.assertEqual((len(self.node.notifier), self.sink.told), (0, []))
        self.node.advance(20)
        self.assertEqual(self.sink.take(), [("terminated", "timeout", b"two")])
        self.assertEqual(self.node.store._subscriptions, {})

    def test_expiry(self) -> None:
        """It ends when it is not refreshed, and a refresh keeps it (NOT-08)."""
        live = self.subscribe(expires=100)
        self.node.advance(60, step=1)
        outcome = fired(live.refresh(100))
        self.node.advance(60, step=1)
        self.assertEqual(outcome, [None])
        self.assertEqual(self.sink.take(), [("active", "", b"one")])
        self.node.advance(50, step=1)
        self.assertEqual(self.sink.take(), [("terminated", "timeout", b"one")])
        outcome = fired(live.refresh(100))
        self.assertEqual(outcome, [481])

    def test_refresh_decides(self) -> None:
        """A refresh is decided on anew, and one of 0 seconds ends it."""
        live = self.subscribe()
        for decision in ("pending", "rejected"):
            self.package.decision = decision
            outcome = fired(live.refresh(100))
            self.node.advance(0.1)
            self.assertEqual(outcome, [None])
        self.assertEqual(
            [told[:2] for told in self.sink.take()],
            [("active", ""), ("pending", ""), ("terminated", "rejected")],
        )
        self.package.decision = "active"
        live = self.subscribe("other")
        outcome = fired(live.refresh(0))
        self.node.advance(0.1)
        self.assertEqual(outcome, [None])
        self.assertEqual(self.sink.take()[-1], ("terminated", "timeout", b"one"))

    def test_decided_at_its_end(self) -> None:
        """A decision that came meanwhile counts at the end, as for an un-SUBSCRIBE (WFS-01)."""
        for decision, told in (
            ("active", ("terminated", "timeout", b"one")),
            ("rejected", ("terminated", "rejected", b"")),
        ):
            self.package.decision = "pending"
            live = self.subscribe()
            self.sink.take()
            self.package.decision = decision
            live.unsubscribe()
            self.node.advance(0.1)
            self.assertEqual(self.sink.take(), [told])
            self.assertEqual(self.node.notifier.pending, 0)

    def test_fetch(self) -> None:
        """Of no lifetime: told once, and nothing is kept (SUB-09)."""
        self.assertFalse(self.subscribe(expires=0).lasting)
        self.assertEqual(self.sink.told, [("terminated", "timeout", b"one")])
        self.assertEqual((len(self.node.notifier), self.node.store._subscriptions), (0, {}))

    def test_prepared(self) -> None:
        """What the package has to know first is waited for."""
        self.package.preparing = Deferred()
        outcome = self.ask()
        self.node.advance(0.1)
        self.assertEqual(outcome, [])
        self.assertRaises(ValueError, self.ask)
        self.package.preparing.callback(None)
        self.node.advance(0.1)
        self.assertIsInstance(outcome[0], LocalSubscription)
        self.package.preparing = Deferred()
        refreshed = fired(outcome[0].refresh(600))
        self.node.notifier.drop_local("k")
        self.package.preparing.callback(None)
        self.assertEqual(refreshed, [481])

    def test_put_off(self) -> None:
        """What the package has to gather first is told when it is there."""
        self.package.open = False
        live = self.subscribe()
        self.assertEqual(self.sink.told, [])
        self.package.open = True
        self.node.notifier.ready(live)
        self.node.advance(0.1)
        self.assertEqual(self.sink.told, [("active", "", b"one")])
        self.node.notifier.ready(live)  # nothing is owed any more
        self.node.advance(0.1)
        self.assertEqual(len(self.sink.told), 1)

    def test_ended_before_it_is_durable(self) -> None:
        """One that is ended at once is told of that last."""
        outcome = self.ask()
        (live,) = self.node.notifier.subscriptions("small", BOB)
        self.node.notifier.terminate(live, "noresource")
        self.node.advance(0.1)
        self.assertEqual(outcome, [live])
        self.assertEqual(self.sink.told, [("terminated", "noresource", b"")])

    def test_sequence(self) -> None:
        """Notifications are numbered, and numbers are reserved like those of CSeq."""
        live = self.subscribe()
        for number in range(950):
            self.package.texts[BOB] = str(number)
            live.changed()
            self.node.clock.advance(0)
        self.assertEqual((live.sequence, live.cseq_limit), (951, 2000))
        self.node.advance(0.1)
        (record,) = self.node.store._subscriptions.values()
        self.assertEqual(record.cseq, 2000)
        live.cseq_limit = 1000
        self.node.store.fail_next()
        self.change("x")
        self.assertEqual(live.cseq_limit, 1000)

    def test_users_are_gone(self) -> None:
        """Whoever is no more watches nobody, and is watched by nobody (PSV-19)."""
        later = self.node.wall() + 10
        self.subscribe()
        self.subscribe("c", "sip:carol@example.com", watcher=Identity(("sip:dan@example.com",)))
        self.sink.take()
        self.node.notifier.end_watchers({ALICE: later})
        self.node.advance(0.1)
        self.assertEqual(self.sink.take(), [("terminated", "rejected", b"")])
        self.node.notifier.end_resource("small", "sip:carol@example.com", later)
        self.node.advance(0.1)
        self.assertEqual(self.sink.take(), [("terminated", "noresource", b"")])


class LimitTests(LocalCase):
    """Nothing grows without bound, and nobody waits for others."""

    def test_limits(self) -> None:
        """RLS-24: per resource they count, per watcher they do not (LIM-01)."""
        policy = NotifierPolicy(per_watcher=1, per_pair=1, per_resource=3, pending_per_watcher=0)
        self.node.notifier.policy = policy
        self.package.decision = "pending"
        self.assertIsInstance(self.subscribe("a"), LocalSubscription)
        self.package.decision = "active"
        self.assertIsInstance(self.subscribe("b"), LocalSubscription)
        peer = self.node.peer()
        self.assertEqual(peer.subscribe(event="small").status, 200)
        self.assertEqual(peer.subscribe(event="small").status, 403)
        self.assertEqual(self.subscribe("c"), 403)
        self.node.notifier.drop_local("a")
        self.assertIsInstance(self.subscribe("c"), LocalSubscription)
        self.assertEqual(self.node.notifier.pending, 0)

    def test_keys(self) -> None:
        """A key is of one at a time, and is not empty."""
        self.subscribe()
        self.assertRaises(ValueError, self.ask)
        self.assertRaises(ValueError, self.ask, "")
        self.assertEqual(self.node.notifier.local_keys(), ["k"])

    def test_dropped(self) -> None:
        """What is dropped is told nothing more, at whichever moment."""
        notifier = self.node.notifier
        self.assertFalse(notifier.drop_local("k"))
        self.subscribe()
        self.sink.take()
        self.package.texts[BOB] = "two"
        notifier.subscriptions("small", BOB)[0].changed()
        self.assertTrue(notifier.drop_local("k"))
        again = self.subscribe()  # the key is free
        self.assertEqual(self.sink.take(), [("active", "", b"two")])
        again.unsubscribe()
        self.node.advance(0.1)
        self.sink.take()
        outcome = self.ask()
        notifier.drop_local("k")  # not durable yet
        self.node.advance(0.1)
        self.assertEqual(len(outcome), 1)
        self.package.preparing = Deferred()
        outcome = self.ask()
        self.assertTrue(notifier.drop_local("k"))
        self.package.preparing.callback(None)
        self.node.advance(0.1)
        self.assertEqual((outcome, self.sink.told, len(notifier)), ([487], [], 0))
        self.assertEqual(self.node.store._subscriptions, {})

    def test_turns(self) -> None:
        """Very many are told in several turns, and what the sink does meanwhile goes well."""
        lives = [self.subscribe(str(number)) for number in range(250)]
        self.sink.take()
        self.package.texts[BOB] = "two"
        for live in lives:
            live.changed()
        told: list[int] = []

        def look() -> None:
            told.append(len(self.sink.told))
            if told[-1] < 250:
                self.node.clock.callLater(0, look)

        look()
        self.node.clock.advance(0)
        self.assertEqual(told, [0, 100, 200, 250])

        def ended() -> None:
            if lives:
                lives.pop().unsubscribe()
            if lives:
                self.node.notifier.drop_local(lives.pop(0).key)

        self.sink.during = ended
        self.sink.take()
        self.change("three")
        self.sink.during = lambda: None
        self.node.advance(0.5)
        self.assertEqual(len(self.node.notifier), 0)

    def test_failing_sink(self) -> None:
        """A bug in one keeps nobody else from being told, and the next change is told again."""
        bad = Sink()

        def fails() -> None:
            raise ZeroDivisionError

        bad.during = fails
        self.subscribe("bad", sink=bad)
        self.subscribe("good")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.sink.told, [("active", "", b"one")])
        bad.during = lambda: None
        self.node.notifier.changed("small", BOB)
        self.node.advance(0.1)
        self.assertEqual([len(bad.told), len(self.sink.told)], [2, 1])

    def test_stopped(self) -> None:
        """After the end nobody is told."""
        self.subscribe()
        self.package.texts[BOB] = "two"
        self.node.notifier.subscriptions("small", BOB)[0].changed()
        self.node.notifier.stop()
        self.node.advance(0.1)
        self.assertEqual(len(self.sink.told), 1)

    def test_freed(self) -> None:
        """Nothing is left of one that has ended."""
        self.sink.take()
        sink = Sink()
        live = self.subscribe(sink=sink)
        live.unsubscribe()
        self.node.advance(0.1)
        seen = weakref.ref(sink)
        del live, sink
        gc.collect()
        self.assertIsNone(seen())
        local, table = self.node.notifier.local, self.node.notifier._table
        self.assertEqual(
            [len(local._making), len(local._queue), len(table.places), len(table._unlimited)],
            [0, 0, 0, 0],
        )


class RestartTests(LocalCase):
    """The process ends and begins again (PSV-20)."""

    def test_attached(self) -> None:
        """PSV-20: it waits without a sink, and tells the state to the one it gets."""
        watcher = Identity(("sip:alice@example.com", "tel:+1"), "Älice", True, "asserted")
        headers = {"content-type": ["text/plain"]}
        first = self.subscribe(watcher=watcher, headers=headers, body=b"detail")
        self.sink.take()
        self.node = self.node.again(5)
        self.package.texts[BOB] = "two"
        self.node.notifier.changed("small", BOB)
        self.node.advance(1)
        self.assertEqual(self.sink.told, [])
        notifier = self.node.notifier
        self.assertEqual(notifier.local_keys(), ["k"])
        self.assertIsNone(notifier.attach_local("other", self.sink))
        sink = Sink()
        live = notifier.attach_local("k", sink)
        self.assertEqual(sink.told, [])
        self.node.advance(0.1)
        self.assertEqual(sink.take(), [("active", "", b"two")])
        self.assertEqual(
            (live.watcher, live.detail, live.entity, live.event, live.created, live.package),
            (watcher, b"detail", BOB, "small", first.created, "small"),
        )
        self.assertGreater(live.sequence, first.sequence)
        self.change("three")
        self.assertEqual(sink.take(), [("active", "", b"three")])
        self.assertEqual(fired(live.refresh(600)), [])
        self.node.advance(0.1)
        other = Sink()
        notifier.attach_local("k", other)  # another owner
        self.node.advance(601, step=1)
        self.assertEqual(sink.take(), [])
        self.assertEqual(
            other.take(), [("active", "", b"three"), ("terminated", "timeout", b"three")]
        )

    def test_decided_anew(self) -> None:
        """Who may not watch any more is ended after a restart, with a sink or without."""
        self.subscribe()
        self.package.decision = "rejected"
        self.node = self.node.again()
        self.assertEqual(self.node.notifier.local_keys(), [])
        self.assertEqual(self.node.store._subscriptions, {})

    def test_expired(self) -> None:
        """What nobody wants any more expires; what is dropped is gone at once."""
        self.subscribe("a", expires=100)
        self.subscribe("b", expires=100)
        self.node = self.node.again(50)
        self.assertTrue(self.node.notifier.drop_local("a"))
        self.node.advance(60, step=1)
        self.assertEqual(self.node.notifier.local_keys(), [])
        self.assertEqual(self.node.store._subscriptions, {})

    def test_two_of_one_key(self) -> None:
        """The older record of a key, whose removal did not succeed any more, is dropped."""
        first = self.subscribe()
        record = self.node.store._subscriptions[first.id]
        self.node.notifier.drop_local("k")
        second = self.subscribe()
        self.node.store._subscriptions[first.id] = record
        self.node = self.node.again()
        (live,) = self.node.notifier.subscriptions("small", BOB)
        self.assertEqual(live.id, second.id)
        self.node.advance(1)
        self.assertEqual(list(self.node.store._subscriptions), [second.id])

    def test_records(self) -> None:
        """Records of dialogs have no key; what cannot be read is dropped, and told of."""
        self.node.peer().subscribe(event="small")
        live = self.subscribe()
        kept = {i: decode_dialog(r.dialog) for i, r in self.node.store._subscriptions.items()}
        self.assertEqual([record.local for record in kept.values()], ["", "k"])
        # An older release has to find all that it needs of a dialog, leading nowhere.
        self.assertEqual(kept[live.id].remote_target, "sip:local@local.invalid")
