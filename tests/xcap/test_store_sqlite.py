"""What only the SQLite store of documents does: durability, ownership, races, searches."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

import tests
from presence.store.sqlite import SqliteStore
from tests.contract.documents import OTHER_ROOT, ROOT, SPACE, DocumentCase, Outcome, claims, key
from tests.contract.storing import StoreReactor
from tests.xcap.document_child import USERS, octets
from xcap.errors import StoreUnavailable
from xcap.records import Change, Claim, Document, Draft
from xcap.store import medium, sqlite
from xcap.store.errors import StoreError
from xcap.store.evaluate import Effects, Work, tags
from xcap.store.sqlite import KIND, SqliteDocumentStore
from xcap.store.statements import Reader, Writer

SCHEMA = Path(tests.__file__).parent.parent / "xcap" / "store" / "schema"


class SqliteCase(DocumentCase, SynchronousTestCase):
    """A place for a file, and stores on it."""

    def setUp(self) -> None:
        """Choose a file in a directory that does not exist yet."""
        self.reactor = StoreReactor()
        self.path = Path(self.mktemp()) / "state" / "documents.sqlite"

    def make(self, **options: Any) -> SqliteDocumentStore:
        """A store that is not started."""
        return SqliteDocumentStore(self.reactor, self.path, lambda: 1.0, **options)

    def started(self, **options: Any) -> SqliteDocumentStore:
        """A started store, stopped at the end of the test."""
        store = self.make(**options)
        self.begin(store)
        return store

    def refused(self, **options: Any) -> str:
        """What a store says that cannot start."""
        with self.assertRaises(StoreError) as caught:
            self.reactor.wait(self.make(**options).start())
        return str(caught.exception)

    def in_thread(self, store: SqliteDocumentStore, sql: str) -> Any:
        """Execute SQL on the store's own connection; the first row."""
        assert store._writer is not None
        database = store._writer.database
        answers: list[Any] = []
        store._file.submit(
            lambda _: database.execute(sql).fetchone(), None, answers.append, self.fail
        )
        self.reactor.until(lambda: answers)
        return answers[0]

    def child(self, mode: str) -> subprocess.Popen[bytes]:
        """A process with a store on the same file."""
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.xcap.document_child", mode, self.path.absolute()],
            cwd=Path(tests.__file__).parent.parent,
            stdout=subprocess.PIPE,
        )

        def end() -> None:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()

        self.addCleanup(end)
        return child


class DurabilityTests(SqliteCase):
    """What was acknowledged is there, whatever happens."""

    def killed(self, changes: int) -> list[tuple[int, int, str, int]]:
        """Let a process write and kill it; what it has acknowledged, in order."""
        child = self.child("write")
        assert child.stdout is not None
        self.assertEqual(child.stdout.readline(), b"open\n")
        lines = [child.stdout.readline() for _ in range(changes)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.read().splitlines(keepends=True)
        self.assertEqual(child.wait(), -signal.SIGKILL)
        acknowledged = []
        for line in lines:
            if line.endswith(b"\n"):
                user, serial, tag, position = line.decode().split()
                acknowledged.append((int(user), int(serial), tag, int(position)))
        return acknowledged

    def test_killed(self) -> None:
        """XCAP-146, XCAP-148, XCAP-151: kill -9 loses nothing, repeats no tag or position."""
        reached = 0
        seen: set[str] = set()
        for _ in range(3):
            acknowledged = self.killed(1000)
            positions = [position for *_, position in acknowledged]
            self.assertGreater(positions[0], reached)
            self.assertEqual(positions, sorted(positions))
            store = self.started()
            feed = self.wait(store.changes(reached, 1_000_000))
            self.assertEqual(
                [change.position for change in feed],
                list(range(reached + 1, store.position + 1)),
                "one change for each commit",
            )
            self.assertGreaterEqual(store.position, positions[-1])
            reached = store.position
            told = {tag for _, _, tag, _ in acknowledged if tag != "-"}
            made = {change.after for change in feed if change.after}
            self.assertLessEqual(told, made)
            self.assertFalse(made & seen, "no tag is used twice")
            self.assertEqual(len(made), sum(bool(change.after) for change in feed))
            seen |= made
            self.check_documents(store, feed, acknowledged)
            self.wait(store.stop())
        document = self.put_in(self.started())
        self.assertNotIn(document.etag, seen)

    def put_in(self, store: SqliteDocumentStore) -> Document:
        """A new document."""
        self.store = store
        return self.put(key("new"))

    def check_documents(
        self,
        store: SqliteDocumentStore,
        feed: list[Change],
        acknowledged: list[tuple[int, int, str, int]],
    ) -> None:
        """Each document is the one of its last change, which is not before the acknowledged."""
        last = {change.key: change for change in feed}
        serials = {user: (serial, tag) for user, serial, tag, _ in acknowledged}
        for user in range(USERS):
            change = last[key(f"user{user}")]
            document = self.wait(store.fetch(change.key))
            if document is None:
                self.assertEqual(change.after, "")
            else:
                self.assertEqual(document.etag, change.after)
                self.assertEqual(document.octets, octets(int(change.node)))
            serial, tag = serials[user]
            if change.after != tag.strip("-") or serial < 0:
                # one more may have become durable without having been acknowledged
                mine = [c for c in feed if c.key == change.key][-2:]
                self.assertIn(tag.replace("-", "", tag == "-"), [c.after for c in mine])

    def test_disk_full(self) -> None:
        """XCAP-146: what the disk has no room for is refused; the store recovers by itself.

        The limit on the size of files stands in for the size of the disk.
        """
        child = self.child("limit")
        assert child.stdout is not None
        self.assertEqual(
            child.stdout.read().decode().splitlines(),
            [
                "before stored failed=False",
                "full StoreUnavailable failed=True",
                "after stored failed=False",
            ],
        )
        self.assertEqual(child.wait(), 0)
        store = self.started()
        entries = self.wait(store.listing(ROOT, None, None))
        self.assertEqual([entry.key for entry in entries], [key("ann"), key("joe")])
        self.assertEqual([c.position for c in self.wait(store.changes(0))], [1, 2])

    def test_synchronous(self) -> None:
        """The durability level is what was asked for; full unless told."""
        store = self.started()
        self.assertEqual(self.in_thread(store, "PRAGMA synchronous"), (2,))
        self.wait(store.stop())
        self.assertEqual(
            self.in_thread(self.started(synchronous="normal"), "PRAGMA synchronous"), (1,)
        )
        with self.assertRaises(ValueError):
            self.make(synchronous="off")

    def test_one_transaction_for_a_turn(self) -> None:
        """Drafts of a turn are one transaction; those behind a flying one gather."""
        batches: list[list[str]] = []
        commit = Writer.commit

        def spy(this: Writer, work: Work) -> Effects:
            batches.append([draft.key.path for draft in work.drafts])
            return commit(this, work)

        self.patch(Writer, "commit", spy)
        store = self.started()
        waiting = []
        for paths in ("ab", "c", "d"):
            waiting += [store.commit(Draft(key(path=path), "", b"<a/>")) for path in paths]
            self.reactor.turn()
        self.outcomes(*waiting)
        self.assertEqual(batches, [["a", "b"], ["c", "d"]])

    def test_large_batch(self) -> None:
        """A batch of any size is written whole, at the borders of statement sizes too."""
        store = self.started(cache_octets=100_000)
        first = 0
        for size in (1, 2, 3, 4, 5, 2047, 2048, 2049, 5000):
            drafts = [
                Draft(key(f"user{n}"), "", b"%d" % n, claims=claims(f"sip:{n}@x"))
                for n in range(first, first + size)
            ]
            for document in self.outcomes(*(store.commit(draft) for draft in drafts)):
                self.assertIsInstance(document, Document)
            first += size
        self.assertEqual(store.position, first)
        entries = self.wait(store.listing(ROOT, None, None))
        self.assertEqual(len(entries), first)
        self.assertEqual(len(self.wait(store.claims(SPACE, ROOT))), first)
        before = len(self.seen)
        self.outcomes(*(store.commit(Draft(e.key, e.etag, None)) for e in entries[:-1]))
        self.assertEqual(
            {c.key: c.old for c in self.seen[before:]},
            {e.key: e.key.xui[8 : -len("@example.com")].encode() for e in entries[:-1]},
        )
        self.assertEqual(len(self.wait(store.claims(SPACE, ROOT))), 1)
        self.assertEqual(self.in_thread(store, "SELECT count(*) FROM claim"), (1,))

    def test_many_claims(self) -> None:
        """A document with thousands of services, of which one changes."""
        store = self.started()
        names = [f"sip:{n:05}@x" for n in range(5000)]
        self.put(key(), claims=claims(*names))
        names[17] = "sip:new@x"
        self.put(key(), claims=claims(*names))
        found = self.wait(store.claims(SPACE, ROOT))
        self.assertEqual([claim.name for claim in found], sorted(names))


class OddConnection:
    """A connection that reports an error after a commit."""

    in_transaction = False

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def execute(self, text: str, values: Any = ()) -> Any:
        """Execute a statement."""
        found = self._database.execute(text, values)
        if text == "COMMIT":
            raise sqlite3.OperationalError("odd")
        return found


class RaceTests(SqliteCase):
    """What two threads report may come in any order."""

    def gate(self, held: Callable[[Any], bool]) -> list[tuple[Any, ...]]:
        """Keep back the reports for which ``held`` is true."""
        kept: list[tuple[Any, ...]] = []
        call = self.reactor.callFromThread

        def gate(function: Any, *args: Any) -> None:
            if held(function):
                kept.append((function, *args))
            # something has to wake the reactor
            call(*((lambda: None,) if held(function) else (function, *args)))

        self.patch(self.reactor, "callFromThread", gate)
        return kept

    def test_read_before_the_commit_is_reported(self) -> None:
        """XCAP-148: nobody reads a change of which those who watch have not heard."""
        store = self.started()
        tag = self.put(key(), b"<old/>", claims=claims("sip:old@x")).etag
        self.restart()
        gate = self.gate(lambda function: function == store._written)
        committed = Outcome(
            self.reactor,
            store.commit(Draft(key(), tag, b"<new/>", claims=claims("sip:new@x"))),
        )
        self.reactor.until(lambda: gate)
        order: list[str] = []
        store.watch(lambda change: order.append("told"))
        fetched, claimed = store.fetch(key()), store.claimed(SPACE, "sip:new@x")
        fetched.addCallback(lambda document: order.append(document.octets.decode()))
        claimed.addCallback(lambda found: order.append(found[1].name))
        self.in_reader(store)
        self.assertEqual(order, [])
        ((written, effects),) = gate
        written(effects)
        self.reactor.until(lambda: committed.fired)
        self.assertEqual(order, ["told", "<new/>", "sip:new@x"])

    def in_reader(self, store: SqliteDocumentStore) -> None:
        """Wait for what the reading thread has been asked before."""
        done: list[object] = []
        assert store._reading is not None
        store._look()  # what was asked in this turn
        store._reading.submit(lambda _: 1, None, done.append, self.fail)
        self.reactor.until(lambda: done)

    def test_commit_overtakes_a_read(self) -> None:
        """XCAP-145: what was read before a commit is not taken for the state after it."""
        store = self.started()
        document = self.put(key(), b"<old/>")
        self.restart()
        gate = self.gate(lambda function: function.__qualname__.endswith("_look.<locals>.read"))
        fetched = Outcome(self.reactor, store.fetch(key()))
        self.reactor.until(lambda: gate)
        new = self.wait(store.commit(Draft(key(), document.etag, b"<new/>")))
        self.assertEqual(fetched.found, new)
        ((read, outcome),) = gate
        read(outcome)
        self.assertEqual(store.peek(key()), new)

    def test_removal_overtakes_two_reads(self) -> None:
        """XCAP-145: a late answer is not taken for that of a later question either."""
        store = self.started()
        document = self.put(key(), b"<old/>")
        self.restart()
        gate = self.gate(lambda function: function.__qualname__.endswith("_look.<locals>.read"))
        first = Outcome(self.reactor, store.fetch(key()))
        self.reactor.until(lambda: gate)
        self.wait(store.commit(Draft(key(), document.etag, None)))
        self.assertTrue(first.fired)
        self.assertIsNone(first.found)
        store._cache.clear()
        second = Outcome(self.reactor, store.fetch(key()))
        (read, outcome) = gate[0]
        read(outcome)
        self.assertFalse(second.fired)
        self.reactor.until(lambda: len(gate) == 2)
        (read, outcome) = gate[1]
        read(outcome)
        self.assertTrue(second.fired)
        self.assertIsNone(second.found)

    def test_stopped_with_a_read_under_way(self) -> None:
        """Who waits for an answer when the store stops gets one."""
        store = self.started()
        self.put(key())
        self.restart()
        gate = self.gate(lambda function: function.__qualname__.endswith("_look.<locals>.read"))
        fetched = Outcome(self.reactor, store.fetch(key()))
        self.reactor.until(lambda: gate)
        self.wait(store.stop())
        self.assertIsInstance(fetched.found, StoreUnavailable)
        (read, outcome) = gate[0]
        read(outcome)

    def test_commit_with_an_uncertain_end(self) -> None:
        """A commit that reports an error but was durable is found by reading (XCAP-151)."""
        store = self.started()
        first = self.put(key(), b"<a/>")
        writer = store._writer
        assert writer is not None
        database = writer.database

        writer.database = OddConnection(database)  # type: ignore[assignment]
        (lost,) = self.outcomes(store.commit(Draft(key(), first.etag, b"<b/>")))
        self.assertIsInstance(lost, StoreUnavailable)
        writer.database = database
        self.reactor.advance(1)
        self.reactor.until(lambda: not store.failed)
        found = self.fetch(key())
        assert found is not None
        self.assertEqual(found.octets, b"<b/>")
        third = self.put(key(), b"<c/>")
        self.assertEqual(len({first.etag, found.etag, third.etag}), 3)
        self.assertEqual([c.position for c in self.wait(store.changes(0))], [1, 2, 3])

    def test_read_before_a_refusal_is_reported(self) -> None:
        """Answers that wait for a commit are given when it was refused as well."""
        store = self.started()
        self.put(key())
        writer = store._writer
        assert writer is not None
        database = writer.database
        gate = self.gate(lambda function: function == store._not_written)
        writer.database = OddConnection(database)  # type: ignore[assignment]
        committed = Outcome(self.reactor, store.commit(Draft(key("ann"), "", b"<b/>")))
        self.reactor.until(lambda: gate)
        writer.database = database
        fetched = Outcome(self.reactor, store.fetch(key("bob")))
        self.in_reader(store)
        self.assertFalse(fetched.fired)
        ((refused, error),) = gate
        refused(error)
        self.assertTrue(fetched.fired)
        self.assertIsNone(fetched.found)
        self.assertIsInstance(committed.found, StoreUnavailable)


class OwnershipTests(SqliteCase):
    """Who may see and use the file."""

    def test_modes(self) -> None:
        """File, log, lock and directory are the owner's alone; a clean stop leaves no log."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        store = self.started()
        self.put(key())
        self.assertEqual(self.path.parent.stat().st_mode & 0o777, 0o700)
        files = {f.name: f.stat().st_mode & 0o777 for f in self.path.parent.iterdir()}
        names = [f"documents.sqlite{end}" for end in ("", "-wal", "-shm", ".lock")]
        self.assertEqual(files, dict.fromkeys(names, 0o600))
        self.wait(store.stop())
        self.assertEqual(
            sorted(f.name for f in self.path.parent.iterdir()),
            ["documents.sqlite", "documents.sqlite.lock"],
        )

    def test_used_by_another_process(self) -> None:
        """A second process is refused and told which one has the file; until that has ended."""
        child = self.child("hold")
        assert child.stdout is not None
        self.assertEqual(child.stdout.readline(), b"open\n")
        self.assertIn(f"process {child.pid}", self.refused())
        child.kill()
        child.wait()
        self.started()

    def test_cannot_read(self) -> None:
        """When no second connection can be made the file is given back."""

        def fail(*_: object) -> None:
            raise StoreError("no")

        with_reader = sqlite.connect_reader
        self.patch(sqlite, "connect_reader", fail)
        self.assertEqual(self.refused(), "no")
        self.patch(sqlite, "connect_reader", with_reader)
        self.started()


class OutageTests(SqliteCase):
    """A medium that refuses for a while."""

    def observed(self) -> list[Any]:
        """The events that an operator sees from now on."""
        events: list[Any] = []

        def observe(event: Any) -> None:
            if event["log_level"] in (LogLevel.critical, LogLevel.error):
                events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return events

    def test_operator_is_told_once(self) -> None:
        """An outage is one event of the kind ``store-refuses``; its end another."""
        events = self.observed()
        store = self.started()
        self.in_thread(store, "PRAGMA max_page_count = 1")
        for _ in range(3):
            (error,) = self.outcomes(store.commit(Draft(key(), "", bytes(5000))))
            self.assertIsInstance(error, StoreUnavailable)
            self.reactor.advance(1)
            self.in_thread(store, "PRAGMA user_version")
        self.assertEqual([event.get("problem") for event in events], ["store-refuses"])
        self.assertIn("make room", events[0]["cause"])
        self.in_thread(store, "PRAGMA max_page_count = 100000")
        self.reactor.advance(1)
        self.reactor.until(lambda: not store.failed)
        self.assertEqual([event.get("problem") for event in events], ["store-refuses", None])
        self.put(key())

    def test_locked_by_a_foreign_program(self) -> None:
        """A program that locks the file past our patience causes an outage; reading goes on."""
        self.patch(medium, "_BUSY_SECONDS", 0.02)
        store = self.started()
        document = self.put(key())
        self.restart()
        foreign = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(foreign.close)
        foreign.execute("BEGIN IMMEDIATE")
        (error,) = self.outcomes(store.commit(Draft(key("ann"), "", b"<a/>")))
        self.assertIsInstance(error, StoreUnavailable)
        self.assertEqual(self.fetch(key()), document)
        foreign.execute("ROLLBACK")
        self.reactor.advance(1)
        self.reactor.until(lambda: not store.failed)
        self.put(key("ann"))

    def test_fault_of_the_program(self) -> None:
        """A draft that cannot be stored fails its batch; the store says so and goes on."""
        store = self.started()
        (error,) = self.outcomes(
            store.commit(Draft(key(), "", b"<a/>", claims=(Claim(SPACE, "a", 2**70),)))  # type: ignore[arg-type]
        )
        self.assertIsInstance(error, StoreUnavailable)
        self.assertEqual(len(self.flushLoggedErrors(OverflowError)), 1)
        self.reactor.advance(1)
        self.reactor.until(lambda: not store.failed)
        self.put(key())

    def test_one_look(self) -> None:
        """What is asked in one turn is answered by one look at the file."""
        store = self.started()
        self.put(key())
        looks: list[int] = []
        reader = store._reader
        assert reader is not None
        look = reader.look

        class Spy:
            """Counts the questions of each look."""

            close = staticmethod(reader.close)

            @staticmethod
            def look(questions: list[Any]) -> Any:
                """Answer."""
                looks.append(len(questions))
                return look(questions)

        store._reader = Spy()  # type: ignore[assignment]
        found = self.outcomes(
            store.fetch(key("ann")), store.changes(0), store.claims_tag(SPACE, ROOT)
        )
        self.assertEqual((found[0], len(found[1]), found[2]), (None, 1, ""))
        self.assertEqual(looks, [3])
        self.outcomes(store.changes(0))
        self.assertEqual(looks, [3, 1])

    def test_fault_beside_others(self) -> None:
        """A question that cannot be asked does not keep others from being answered."""
        store = self.started()
        self.put(key())
        error, changes = self.outcomes(store.changes(0, 2**70), store.changes(0))
        self.assertIsInstance(error, StoreUnavailable)
        self.assertEqual(len(changes), 1)
        self.assertEqual(len(self.flushLoggedErrors(OverflowError)), 1)

    def test_asked_in_the_turn_of_a_stop(self) -> None:
        """What was asked just before the store stops is answered."""
        store = self.started()
        self.put(key())
        asked = store.changes(0)
        stopped = store.stop()
        changes, _ = self.outcomes(asked, stopped)
        self.assertEqual(len(changes), 1)

    def test_fault_in_a_question(self) -> None:
        """A question that cannot be asked is logged and answered as unavailable."""
        store = self.started()
        (error,) = self.outcomes(store.changes(0, 2**70))
        self.assertIsInstance(error, StoreUnavailable)
        self.assertEqual(len(self.flushLoggedErrors(OverflowError)), 1)
        self.put(key())

    def test_damaged(self) -> None:
        """XCAP-146: damage inside the file is told once to the operator and is no crash."""
        store = self.started()
        self.outcomes(*(store.commit(Draft(key(f"user{n}"), "", bytes(3000))) for n in range(200)))
        self.wait(store.stop())
        content = bytearray(self.path.read_bytes())
        for page in range(20, len(content) // 2048 - 40):
            content[page * 2048 : page * 2048 + 200] = b"\xee" * 200
        self.path.write_bytes(content)
        events = self.observed()
        self.begin(store)
        found = self.outcomes(*(store.fetch(key(f"user{n}")) for n in range(200)))
        self.assertTrue(any(isinstance(each, StoreUnavailable) for each in found))
        told = [event for event in events if event.get("problem") == "store-unreadable"]
        self.assertIn("documents of all users are lost", told[0]["cause"])
        self.assertIn(str(self.path), told[0]["cause"])
        self.assertLess(len(told), 100)

    def test_stop_fails(self) -> None:
        """A file that cannot be closed cleanly is still given up, and the operator told."""
        self.patch(medium, "_BUSY_SECONDS", 0.02)
        events = self.observed()
        store = self.started()
        document = self.put(key())
        self.in_thread(store, "BEGIN IMMEDIATE")
        self.wait(store.stop())
        self.assertEqual([event.get("problem") for event in events], ["store-not-closed"])
        self.store = self.started()
        self.assertEqual(self.fetch(key()), document)


class FileTests(SqliteCase):
    """Files that are not what they should be, and those of other releases."""

    def database(self) -> sqlite3.Connection:
        """The file, opened behind the store's back."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(database.close)
        return database

    def test_not_a_store(self) -> None:
        """A file of something else is refused and not touched."""
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(b"important text\n" * 1000)
        message = self.refused()
        self.assertIn("damaged or is not a store", message)
        self.assertIn("put a copy in their place", message)
        self.assertEqual(self.path.read_bytes(), b"important text\n" * 1000)

    def test_the_other_store(self) -> None:
        """The file of the presence store is refused, and the reverse."""
        presence = SqliteStore(self.reactor, self.path)
        self.wait(presence.start())
        self.wait(presence.stop())
        self.assertIn("belongs to another program", self.refused())
        self.path = self.path.with_name("documents")
        self.wait(self.started().stop())
        with self.assertRaises(StoreError):
            self.wait(SqliteStore(self.reactor, self.path).start())

    def test_failing_migration(self) -> None:
        """NFR-07: a migration that fails leaves the file as it was."""
        store = self.started()
        document = self.put(key())
        self.wait(store.stop())
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "0001_tables.sql").write_text((SCHEMA / "0001_tables.sql").read_text())
        (folder / "0002_broken.sql").write_text("DROP TABLE document; SELECT nonsense;")
        self.assertIn("nonsense", self.refused(schema=folder))
        self.started()
        self.assertEqual(self.fetch(key()), document)

    def test_newer_schema(self) -> None:
        """NFR-07: a file that only a newer release can read is refused; one with additions not."""
        store = self.started()
        document = self.put(key())
        self.wait(store.stop())
        database = self.database()
        database.execute("ALTER TABLE document ADD COLUMN extra TEXT NOT NULL DEFAULT 'x'")
        database.execute("PRAGMA user_version = 2")
        self.store = self.started()
        self.put(key("ann"))
        self.assertEqual(self.fetch(key()), document)
        self.wait(self.store.stop())
        database.execute("UPDATE layout SET oldest_reader = 2")
        self.assertIn("newer release", self.refused())

    def test_pruned_file(self) -> None:
        """The position never goes back, not even when all changes are gone (XCAP-148)."""
        store = self.started()
        for n in range(5):
            self.put(key(), b"%d" % n)
        self.wait(store.stop())
        self.database().execute("DELETE FROM change")
        store = self.started()
        self.assertEqual(store.position, 5)
        self.put(key())
        self.assertEqual(self.seen[-1].position, 6)


class SearchTests(SynchronousTestCase):
    """No statement looks at more rows than it has to."""

    def setUp(self) -> None:
        """Make a file whose statements are recorded."""
        path = Path(self.mktemp())
        migrations = [(SCHEMA / "0001_tables.sql").read_text()]
        self.database = medium.connect(path, KIND, "normal", migrations)
        self.addCleanup(self.database.close)
        self.asked: list[tuple[str, Any]] = []
        case = self

        class Spy:
            """Remembers what is executed."""

            @property
            def in_transaction(self) -> bool:
                return case.database.in_transaction

            def execute(self, text: str, values: Any = ()) -> Any:
                case.asked.append((text, values))
                return case.database.execute(text, values)

        self.spy: Any = Spy()

    def plans(self) -> list[str]:
        """How the recorded statements are executed."""
        found = []
        asked, self.asked = self.asked, []
        for text, values in asked:
            if not text.startswith(("BEGIN", "COMMIT", "ROLLBACK")):
                for row in self.database.execute(f"EXPLAIN QUERY PLAN {text}", values):
                    found.append(f"{row[3]} -- {text}")
        return found

    def assert_searched(self, *scans: str) -> None:
        """No table is scanned or sorted."""
        for plan in self.plans():
            for table in ("document", "claim", "claim_tag", "change", "c", "d"):
                self.assertNotRegex(plan, rf"^SCAN {table}\b(?! VIRTUAL)")
            self.assertNotRegex(plan, "^USE TEMP B-TREE")

    def test_questions(self) -> None:
        """XDM-50: every question is a search by an index, whatever the number of services."""
        reader = Reader(self.spy)
        joe = "sip:joe@example.com"
        for question in (
            lambda reading: reading.fetch(key()),
            lambda reading: reading.claimed(SPACE, "sip:a@x"),
            lambda reading: reading.claims(SPACE, ROOT),
            lambda reading: reading.claims_tag(SPACE, ROOT),
            lambda reading: reading.changes(0, 10),
            lambda reading: reading.listing(ROOT, "resource-lists", joe, ""),
            lambda reading: reading.listing(ROOT, "resource-lists", joe, "a/"),
            lambda reading: reading.listing(ROOT, "resource-lists", None, ""),
            lambda reading: reading.listing(ROOT, None, joe, ""),
            lambda reading: reading.listing(ROOT, None, None, ""),
            lambda reading: reading.home(joe),
        ):
            reader.look([question])
            self.assertGreaterEqual(len(self.asked), 4)
            self.assert_searched()

    def test_searches_of_a_listing(self) -> None:
        """XDM-80: listing a user's documents asks for each usage, not for each user."""
        writer = Writer(self.database, 10, tags("t"))
        drafts = [
            Draft(key(f"user{n}", auid=auid, root=root), "", b"<a/>")
            for n in range(50)
            for auid in ("a", "b", "c")
            for root in (ROOT, OTHER_ROOT)
        ]
        writer.commit(Work(drafts, [None] * len(drafts), 1.0))
        reader = Reader(self.spy)
        _, (entries,) = reader.look(
            [lambda reading: reading.listing(ROOT, None, "sip:user7@example.com", "")]
        )
        self.assertEqual([entry.key.auid for entry in entries], ["a", "b", "c"])
        self.assertEqual(len(self.asked), 3 + 4 + 3)
        self.asked.clear()
        _, (entries,) = reader.look([lambda reading: reading.home("sip:user7@example.com")])
        self.assertEqual(len(entries), 6)
        self.assertEqual(len(self.asked), 3 + 3 + 2 * (4 + 3))

    def test_changes(self) -> None:
        """Every statement of a commit is a search, and their number does not grow with drafts."""
        steps = []
        for size in (100, 2000):
            writer = Writer(self.spy, 10, tags(f"t{size}"))
            self.plans()
            users = [key(f"user{size}-{n}") for n in range(size)]

            def write(new: bytes | None, writer: Writer = writer, users: Any = users) -> Effects:
                found = self.database.execute("SELECT xui, etag FROM document").fetchall()
                etags = dict(found)
                drafts = [
                    Draft(
                        each,
                        etags.get(each.xui, ""),
                        new,
                        claims=claims(each.xui + (new or b"").decode()),
                    )
                    for each in users
                ]
                return writer.commit(Work(drafts, [None] * len(drafts), 1.0))

            for new in (b"<a/>", b"<b/>", None):
                self.assertEqual(len(write(new).changes), size)
            steps.append(len(self.asked))
            self.assert_searched()
        self.assertEqual(steps[0], steps[1])
