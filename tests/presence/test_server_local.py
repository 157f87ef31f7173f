"""Watchers inside the process, with the real Presence Server: the same as by SIP (RLS-24)."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from presence.store.memory import MemoryStore
from presence.store.sqlite import SqliteStore
from presence.watcherinfo import read
from pysip.interfaces import Identity
from pysip.transport.loop import LoopNetwork
from tests.contract.storing import StoreReactor
from tests.node import ALICE, BOB, Node, Peer, pidf
from tests.presence.watching import Looker, Rules, WinfoNode
from tests.pysip.eventing import Sink, fired

CAROL = "sip:carol@example.com"


class Threaded(Node):
    """A node whose store has a thread: it is waited for."""

    def done(self, deferred: Any) -> Any:
        """Run turns, and what the thread asks for."""
        return self.clock.wait(deferred)  # type: ignore[attr-defined]


class SqliteNode(WinfoNode, Threaded):
    """With watcher information, on SQLite."""


class WatchingCase(SynchronousTestCase):
    """A server with rules and watcher information, and who watches from inside."""

    def setUp(self) -> None:
        """The server, and a phone that publishes."""
        self.rules = Rules("allow")
        self.node = WinfoNode(rules=self.rules)
        self.phone = self.node.peer("192.0.2.30")
        self.sink = Sink()

    def watch(
        self, key: str = "k", watcher: str = ALICE, expires: int = 600, event: str = "presence"
    ) -> Any:
        """Subscribe from inside, and give the outcome."""
        outcome = fired(
            self.node.presence.notifier.subscribe_local(
                event, BOB, Identity((watcher,), source="asserted"), key, expires, self.sink
            )
        )
        self.node.advance(0.2)
        (result,) = outcome
        return result


class SameTests(WatchingCase):
    """What is told is what a watcher is told by SIP."""

    def watch_twice(self) -> Peer:
        """Alice watches from a phone of hers, too."""
        peer = self.node.peer()
        peer.subscribe(expires=600)
        self.watch()
        return peer

    def heard(self, peer: Peer) -> list[tuple[str, str, bytes]]:
        """What NOTIFYs have told: state, reason, body."""
        found = []
        for notify in peer.notifies():
            state, *params = (notify.first("subscription-state") or "").split(";")
            reasons = [param[7:] for param in params if param.startswith("reason=")]
            found.append((state, "".join(reasons), notify.body))
        peer.requests.clear()
        return found

    def test_documents(self) -> None:
        """RLS-24: published documents arrive, changed ones too, and their end."""
        peer = self.watch_twice()
        self.assertEqual(self.heard(peer), self.sink.take())
        etag = self.phone.publish(pidf(note="one")).first("sip-etag")
        self.node.advance(0.2)
        (told,) = self.sink.take()
        self.assertEqual(self.heard(peer), [told])
        self.assertIn(b"one", told[2])
        etag = self.phone.publish(pidf(note="two"), sip_if_match=etag).first("sip-etag")
        self.node.advance(0.2)
        (told,) = self.sink.take()
        self.assertEqual(self.heard(peer), [told])
        self.phone.publish(sip_if_match=etag, expires=0)
        self.node.advance(0.2)
        (told,) = self.sink.take()
        self.assertEqual(self.heard(peer), [told])
        self.assertEqual(told[:2], ("active", ""))

    def test_rules(self) -> None:
        """RLS-24: the presentity's rules decide, and their change ends it."""
        self.rules.default = "confirm"
        self.phone.publish(pidf(note="one"))
        peer = self.watch_twice()
        for handling, state in (
            ("allow", ("active", "")),
            ("confirm", ("pending", "")),
            ("polite-block", ("active", "")),
            ("block", ("terminated", "rejected")),
        ):
            told = self.sink.take()
            self.assertEqual(self.heard(peer), told, handling)
            self.node.decide(handling)  # type: ignore[arg-type]
            self.assertEqual([each[:2] for each in self.sink.told], [state], handling)
        self.assertEqual(self.heard(peer), self.sink.take())
        self.assertEqual(len(self.node.presence.notifier), 0)
        self.assertEqual(self.watch(), 403)

    def test_watcher_information(self) -> None:
        """RLS-24: the presentity sees who watches, and decides (WFS-01)."""
        self.rules.default = "confirm"
        bob = Looker(self.node)
        self.rules.by[BOB] = "allow"
        bob.subscribe()
        self.watch()
        self.assertEqual(bob.news(), [[], [("alice", "pending", "subscribe")]])
        self.node.decide(alice="allow")
        self.assertEqual(bob.news(), [[("alice", "active", "approved")]])
        self.node.presence.notifier.drop_local("k")
        self.assertEqual(bob.news(), [[("alice", "terminated", "timeout")]])
        self.watch("other", CAROL)
        self.node.presence.notifier.drop_local("other")
        bob.news()
        self.assertEqual(bob.rows(), [("carol", "waiting", "timeout")])

    def test_fetch(self) -> None:
        """One that wants to know once only is told once, and waits where it has to (WFS-03)."""
        bob = Looker(self.node)
        bob.subscribe()
        self.phone.publish(pidf(note="one"))
        self.assertFalse(self.watch(expires=0).lasting)
        ((state, reason, body),) = self.sink.take()
        self.assertEqual((state, reason), ("terminated", "timeout"))
        self.assertIn(b"one", body)
        self.rules.default = "confirm"
        self.watch(expires=0)
        self.assertEqual([each[:2] for each in self.sink.take()], [("terminated", "timeout")])
        bob.news()
        self.assertEqual(bob.rows(), [("alice", "waiting", "timeout")])

    def test_winfo_inside(self) -> None:
        """A package that tells of changes works from inside, too."""
        self.rules.default = "confirm"
        self.watch("w", BOB, event="presence.winfo")
        self.watch("a")
        told = [read(body) for _, _, body in self.sink.take() if b"watcherinfo" in body]
        self.assertEqual([(info.version, info.full) for info in told], [(0, True), (1, False)])
        ((watcher,),) = [each.watchers for each in told[1].lists]
        self.assertEqual((watcher.uri, watcher.status), (ALICE, "pending"))

    def test_whatever_happens(self) -> None:
        """RLS-24: after whatever has happened both ways tell the same state and document."""
        for seed in range(3):
            rng = random.Random(seed)
            self.rules = Rules("allow")
            self.node = WinfoNode(rules=self.rules, seed=seed)
            self.phone = self.node.peer("192.0.2.30")
            peer = self.watch_twice()
            etag = None
            last = mine = None
            for step in range(60):
                action = rng.choice(["publish", "modify", "remove", "decide", "refresh", "pass"])
                if action == "publish":
                    etag = self.phone.publish(pidf(note=f"n{step}")).first("sip-etag")
                elif action == "modify" and etag:
                    answer = self.phone.publish(pidf(note=f"m{step}"), sip_if_match=etag)
                    etag = answer.first("sip-etag")
                elif action == "remove" and etag:
                    self.phone.publish(sip_if_match=etag, expires=0)
                    etag = None
                elif action == "decide":
                    self.node.decide(rng.choice(["allow", "confirm", "polite-block"]))
                elif action == "refresh":
                    live = self.node.presence.notifier.local.get("k")
                    fired(live.refresh(600))  # type: ignore[union-attr]
                elif action == "pass":
                    self.node.advance(rng.random())
                self.node.advance(0.3)
                last = (self.heard(peer) or [last])[-1]
                mine = (self.sink.take() or [mine])[-1]
                self.assertEqual(mine, last, (seed, step, action))


class RecoveryTests(WatchingCase):
    """The process is killed, and another one reads what is durable."""

    def crash_memory(self) -> None:
        """The rows as they are, and another node."""
        rows = self.node.store
        store = MemoryStore(self.node.clock)
        for name in ("_publications", "_subscriptions", "_digests", "_watchers"):
            setattr(store, name, dict(getattr(rows, name)))
        network = LoopNetwork(self.node.clock)
        self.node = WinfoNode(rules=self.rules, store=store, network=network, resumed=False)

    def crash_sqlite(self) -> None:
        """The files as they are, and another node."""
        self.addCleanup(self.node.end)
        path = Path(self.mktemp())
        shutil.copytree(self.path.parent, path)
        self.open(path / self.path.name)

    def open(self, path: Path) -> None:
        """A node on SQLite."""
        clock = getattr(self, "clock", None) or StoreReactor()
        self.clock, self.path = clock, path
        self.node = SqliteNode(
            rules=self.rules,
            store=SqliteStore(clock, path),  # type: ignore[arg-type]
            network=LoopNetwork(clock),
            resumed=False,
        )

    def durable(self) -> None:
        """Let everything queued be durable."""
        outcome: list[bool] = []
        self.node.store.when_durable(outcome.append)
        if isinstance(self.node.clock, StoreReactor):
            self.node.clock.until(lambda: outcome)
        self.node.advance(0.3)

    def check(self, crash: Callable[[], None]) -> None:
        """Watchers in all states come back with it, and are decided on anew."""
        self.rules.by = {ALICE: "allow", CAROL: "confirm", BOB: "allow"}
        self.rules.default = "allow"
        notifier = self.node.presence.notifier
        outcomes = [
            fired(notifier.subscribe_local("presence", BOB, Identity((uri,)), key, 600, self.sink))
            for key, uri in (("a", ALICE), ("c", CAROL), ("d", "sip:dan@example.com"))
        ]
        self.durable()
        self.assertEqual([len(outcome) for outcome in outcomes], [1, 1, 1])
        before = {s.key: (s.id, s.deadline) for (s,) in outcomes}
        entries = {e.watcher.uri: e.key for e in self.node.book.entries(BOB)}
        crash()
        self.rules.by["sip:dan@example.com"] = "block"
        notifier = self.node.presence.notifier
        self.assertEqual(sorted(notifier.local_keys()), ["a", "c", "d"])
        self.node.presence.resume()
        self.durable()
        self.assertEqual(sorted(notifier.local_keys()), ["a", "c"])
        again = {e.watcher.uri: (e.key, e.status) for e in self.node.book.entries(BOB)}
        self.assertEqual(
            again, {ALICE: (entries[ALICE], "active"), CAROL: (entries[CAROL], "pending")}
        )
        sinks = {key: Sink() for key in "ac"}
        for key, sink in sinks.items():
            live = notifier.attach_local(key, sink)
            self.assertIsNotNone(live)
            self.assertEqual(live.id, before[key][0])
            self.assertAlmostEqual(live.deadline, before[key][1], delta=1)
        self.node.advance(0.2)
        self.assertEqual(
            [[told[:2] for told in sinks[key].take()] for key in "ac"],
            [[("active", "")], [("pending", "")]],
        )
        self.rules.by[CAROL] = "allow"
        self.node.decide()
        self.durable()
        self.assertEqual([told[:2] for told in sinks["c"].take()], [("active", "")])
        self.assertTrue(notifier.drop_local("a"))
        self.durable()
        self.assertEqual([e.watcher.uri for e in self.node.book.entries(BOB)], [CAROL])
        crash()
        self.assertEqual(self.node.presence.notifier.local_keys(), ["c"])

    def test_memory(self) -> None:
        """PSV-20: from the store in memory."""
        self.check(self.crash_memory)

    def test_sqlite(self) -> None:
        """PSV-20: from the file of SQLite, as a killed process leaves it."""
        self.open(Path(self.mktemp()) / "presence.db")
        self.node.presence.resume()
        self.check(self.crash_sqlite)
        self.node.end()
