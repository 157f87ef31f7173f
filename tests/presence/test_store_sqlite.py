"""What only the SQLite store does: durability, ownership, migration, outages of a file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

import tests
from presence.store import statements
from presence.store.records import Batch
from presence.store.sqlite import KIND, SqliteStore
from pysip.event.records import PublicationRecord, SubscriptionRecord
from tests.contract.storing import StoreReactor, binding, publication, subscription, watcher
from xcap.store import medium
from xcap.store.errors import StoreError

ROOT = Path(tests.__file__).parent.parent
SCHEMA = ROOT / "presence" / "store" / "schema"


class SqliteCase(SynchronousTestCase):
    """A place for a file, and stores on it."""

    def setUp(self) -> None:
        """Choose a file in a directory that does not exist yet."""
        self.reactor = StoreReactor()
        self.path = Path(self.mktemp()) / "state" / "presence.db"

    def store(self, **options: Any) -> SqliteStore:
        """A started store, stopped at the end of the test."""
        store = SqliteStore(self.reactor, self.path, **options)
        self.reactor.wait(store.start())
        self.addCleanup(lambda: self.reactor.wait(store.stop()))
        return store

    def refused(self, **options: Any) -> str:
        """What a store says that cannot start."""
        store = SqliteStore(self.reactor, self.path, **options)
        with self.assertRaises(StoreError) as caught:
            self.reactor.wait(store.start())
        return str(caught.exception)

    def durable(self, store: SqliteStore) -> bool:
        """Wait for everything queued; what the store reports."""
        outcome: list[bool] = []
        store.when_durable(outcome.append)
        self.reactor.until(lambda: outcome)
        return outcome[0]

    def recovered(
        self, store: SqliteStore
    ) -> tuple[list[PublicationRecord], list[SubscriptionRecord], dict[int, int]]:
        """What the store gives back."""
        publications: list[PublicationRecord] = []
        subscriptions: list[SubscriptionRecord] = []
        digests: dict[int, int] = {}

        def take(chunk: list[SubscriptionRecord], noted: dict[int, int]) -> None:
            subscriptions.extend(chunk)
            digests.update(noted)

        self.reactor.wait(store.recover(publications.extend, take))
        return publications, subscriptions, digests

    def in_thread(self, store: SqliteStore, sql: str) -> Any:
        """Execute SQL on the store's own connection; the first row."""
        assert store._statements is not None
        database = store._statements._database
        answers: list[Any] = []
        store._file.submit(
            lambda _: database.execute(sql).fetchone(), None, answers.append, self.fail
        )
        self.reactor.until(lambda: answers)
        return answers[0]

    def child(self, mode: str) -> subprocess.Popen[bytes]:
        """A process with a store on the same file."""
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.presence.store_child", mode, self.path.absolute()],
            cwd=ROOT,
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
    """What has been reported durable is there, whatever happens."""

    def test_killed(self) -> None:
        """A process that is killed in mid-stream has lost nothing it has reported durable."""
        child = self.child("write")
        assert child.stdout is not None
        self.assertEqual(child.stdout.readline(), b"open\n")
        last = 0
        while last < 1500:
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        for line in child.stdout.read().splitlines(keepends=True):
            if line.endswith(b"\n"):
                last = int(line)
        self.assertEqual(child.wait(), -signal.SIGKILL)
        publications, subscriptions, _ = self.recovered(self.store())
        found = {record.id: record for record in publications}
        # the last batch may be durable without having been reported
        end = max(found)
        self.assertGreaterEqual(end, last)
        self.assertEqual(sorted(found), list(range(max(1, end - 99), end + 1)))
        self.assertEqual([record.id for record in subscriptions], sorted(found))
        for n in found:
            expected = publication(n, body=b"%d" % n * 200)
            if n + 50 <= end:
                expected = publication(
                    n, body=expected.body, etag=f"fresh{n + 50}", expires=float(n + 50)
                )
            self.assertEqual(found[n], expected)

    def test_disk_full(self) -> None:
        """A write that the disk has no room for is refused, and the store recovers by itself.

        The limit on the size of files stands in for the size of the disk.
        """
        child = self.child("limit")
        assert child.stdout is not None
        self.assertEqual(
            child.stdout.read().decode().splitlines(),
            [
                "before first True",
                "before True failed=False",
                # the last one first: each undoes its change upon the ones before
                "full False failed=True",
                "full first False",
                "after first True",
                "after True failed=False",
            ],
        )
        self.assertEqual(child.wait(), 0)
        publications, _, _ = self.recovered(self.store())
        self.assertEqual(publications, [publication(1), publication(100)])

    def test_synchronous(self) -> None:
        """The durability level is what was asked for; full unless told."""
        store = self.store()
        self.assertEqual(self.in_thread(store, "PRAGMA synchronous"), (2,))
        self.reactor.wait(store.stop())
        self.assertEqual(
            self.in_thread(self.store(synchronous="normal"), "PRAGMA synchronous"), (1,)
        )
        with self.assertRaises(ValueError):
            SqliteStore(self.reactor, self.path, "off")

    def test_one_transaction_for_a_turn(self) -> None:
        """Rows of a turn become one transaction; rows behind a flying one gather (group commit)."""
        batches: list[list[int]] = []
        commit = statements.Statements.commit

        def spy(this: statements.Statements, batch: Batch) -> None:
            batches.append(list(batch.publications))
            commit(this, batch)

        self.patch(statements.Statements, "commit", spy)
        store = self.store()
        store.put_publication(publication(1))
        store.put_publication(publication(2))
        self.reactor.turn()
        store.put_publication(publication(3))
        self.reactor.turn()
        store.put_publication(publication(4))
        self.reactor.turn()
        self.assertTrue(self.durable(store))
        self.assertEqual(batches, [[1, 2], [3, 4]])

    def test_large_batch(self) -> None:
        """A batch of any size is written whole, at the borders of statement sizes too."""
        store = self.store()
        known: list[int] = []
        first = 0
        for size in (1, 2, 3, 4, 5, 2047, 2048, 2049, 5000):
            for id in range(first, first + size):
                store.put_publication(publication(id))
                store.put_subscription(subscription(id))
                store.note_delivered(id, id)
                known.append(id)
            first += size
            self.assertTrue(self.durable(store))
        publications, subscriptions, digests = self.recovered(store)
        self.assertEqual([record.id for record in publications], known)
        self.assertEqual([record.id for record in subscriptions], known)
        self.assertEqual(list(digests), known)
        for id in known:
            store.touch_publication(id, "fresh", 1.0)
        for id in known[3:]:
            store.remove_subscription(id)
        self.assertTrue(self.durable(store))
        publications, subscriptions, digests = self.recovered(store)
        self.assertEqual({record.etag for record in publications}, {"fresh"})
        self.assertEqual(len(publications), len(known))
        self.assertEqual([record.id for record in subscriptions], known[:3])
        self.assertEqual(self.in_thread(store, "SELECT count(*) FROM delivered"), (3,))

    def test_large_documents(self) -> None:
        """Recovery of large documents comes in smaller chunks."""
        store = self.store()
        for id in range(30):
            store.put_publication(publication(id, body=bytes(1 << 20)))
        self.assertTrue(self.durable(store))
        sizes: list[int] = []
        self.reactor.wait(store.recover(lambda chunk: sizes.append(len(chunk)), lambda *_: None))
        self.assertEqual(sizes, [9, 9, 9, 3])

    def test_late_note_leaves_no_row(self) -> None:
        """The note of a subscription that is gone does not fill the table."""
        store = self.store()
        store.put_subscription(subscription(1))
        store.note_delivered(1, 1)
        store.note_delivered(2, 1)
        self.assertTrue(self.durable(store))
        self.assertEqual(self.in_thread(store, "SELECT count(*) FROM delivered"), (1,))

    def test_removals_are_searches(self) -> None:
        """Removing rows looks at no others, however many there are."""
        store = self.store()
        found = store._statements
        assert found is not None
        for rows, width in (
            (found._publication_delete, 1),
            (found._lease_delete, 1),
            (found._subscription_delete, 1),
            (found._delivered_delete, 1),
            (found._binding_delete, 2),
            (found._watcher_delete, 1),
        ):
            for text, values in rows.steps([0] * 3 * width):
                for value in values:
                    text = text.replace("?", str(value), 1)
                plan = self.in_thread(store, f"EXPLAIN QUERY PLAN {text}")
                self.assertRegex(plan[3], "^SEARCH ")

    def test_stray_refresh_is_swept(self) -> None:
        """The refresh of an unknown publication leaves no row after a restart."""
        store = self.store()
        store.touch_publication(1, "etag", 1.0)
        self.assertTrue(self.durable(store))
        self.reactor.wait(store.stop())
        store = self.store()
        self.assertEqual(self.in_thread(store, "SELECT count(*) FROM lease"), (0,))


class OwnershipTests(SqliteCase):
    """Who may see and use the file."""

    def test_modes(self) -> None:
        """File, log, lock and directory are the owner's alone."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        store = self.store()
        store.put_publication(publication(1))
        self.assertTrue(self.durable(store))
        self.assertEqual(self.path.parent.stat().st_mode & 0o777, 0o700)
        files = {f.name: f.stat().st_mode & 0o777 for f in self.path.parent.iterdir()}
        self.assertEqual(
            files,
            dict.fromkeys([f"presence.db{end}" for end in ("", "-wal", "-shm", ".lock")], 0o600),
        )

    def test_folded_on_stop(self) -> None:
        """A clean stop leaves no log behind."""
        store = self.store()
        store.put_publication(publication(1))
        self.reactor.wait(store.stop())
        self.assertEqual(
            sorted(f.name for f in self.path.parent.iterdir()), ["presence.db", "presence.db.lock"]
        )

    def test_used_by_another_process(self) -> None:
        """A second process is refused and told which one has the file; until that has ended."""
        child = self.child("hold")
        assert child.stdout is not None
        self.assertEqual(child.stdout.readline(), b"open\n")
        message = self.refused()
        self.assertIn(str(self.path), message)
        self.assertIn(f"process {child.pid}", message)
        self.assertIn("stop that process", message)
        child.kill()
        child.wait()
        self.store()

    def test_used_in_this_process(self) -> None:
        """A second store on the file is refused; after the first has stopped it is not."""
        first = self.store()
        self.assertIn(f"process {os.getpid()}", self.refused())
        self.reactor.wait(first.stop())
        self.store()

    def test_started_twice(self) -> None:
        """A store that is started twice says so and goes on."""
        store = self.store()
        with self.assertRaises(StoreError):
            self.reactor.wait(store.start())
        self.assertTrue(self.durable(store))

    def test_stopped_while_starting(self) -> None:
        """A stop before the start has finished closes the file once it is open."""
        store = SqliteStore(self.reactor, self.path)
        started, stopped = store.start(), store.stop()
        self.reactor.wait(started)
        self.reactor.wait(stopped)
        self.store()

    def test_stopped_while_starting_fails(self) -> None:
        """A stop before the start has failed has nothing to close."""
        self.path.mkdir(parents=True)
        store = SqliteStore(self.reactor, self.path)
        started, stopped = store.start(), store.stop()
        with self.assertRaises(StoreError):
            self.reactor.wait(started)
        self.reactor.wait(stopped)

    def test_not_open(self) -> None:
        """Recovery of a store that is not open fails."""
        store = SqliteStore(self.reactor, self.path)
        with self.assertRaises(StoreError):
            self.reactor.wait(store.recover(print, print))
        with self.assertRaises(StoreError):
            self.reactor.wait(store.recover_bindings(print))
        with self.assertRaises(StoreError):
            self.reactor.wait(store.recover_watchers(print))

    def test_stopped_while_recovering(self) -> None:
        """A recovery that is overtaken by a stop fails instead of hanging."""
        store = self.store()
        for id in range(1500):
            store.put_publication(publication(id))
        self.assertTrue(self.durable(store))
        reading = store.recover(lambda chunk: None, lambda *_: None)
        stopped = store.stop()
        with self.assertRaises(StoreError):
            self.reactor.wait(reading)
        self.reactor.wait(stopped)

    def test_no_directory(self) -> None:
        """A path that cannot be made is refused with its name and a remedy."""
        self.path.parent.parent.mkdir()
        self.path.parent.write_bytes(b"a file in the way")
        message = self.refused()
        self.assertIn(str(self.path), message)
        self.assertIn("must be writable by this user", message)

    def test_is_directory(self) -> None:
        """A directory in the place of the file is refused, and the lock given back."""
        self.path.mkdir(parents=True)
        self.assertIn("must be writable by this user", self.refused())
        self.path.rmdir()
        self.store()


class OutageTests(SqliteCase):
    """A medium that refuses writes for a while."""

    def outage(self, store: SqliteStore) -> None:
        """Queue three rows that are refused: undone in reverse order, 503 from then on."""
        seen: list[tuple[int, bool]] = []

        def wait(n: int) -> None:
            store.when_durable(lambda durable: seen.append((n, durable)))

        for n in (1, 2, 3):
            store.put_publication(publication(n, body=bytes(5000)))
            wait(n)
        self.reactor.turn()
        store.put_publication(publication(4))
        wait(4)
        self.reactor.until(lambda: seen)
        self.assertEqual(seen, [(4, False), (3, False), (2, False), (1, False)])
        self.assertTrue(store.failed)

    def over(self, store: SqliteStore) -> None:
        """Wait for the store to find out, then write."""
        self.reactor.advance(1)
        self.reactor.until(lambda: not store.failed)
        store.put_publication(publication(5))
        self.assertTrue(self.durable(store))
        publications, _, _ = self.recovered(store)
        self.assertEqual(publications, [publication(5)])

    def test_no_room(self) -> None:
        """No room (SQLITE_FULL): refused, undone in reverse, probed, accepted again."""
        store = self.store()
        self.in_thread(store, "PRAGMA max_page_count = 1")
        self.outage(store)
        self.in_thread(store, "PRAGMA max_page_count = 100000")
        self.over(store)

    def test_read_only(self) -> None:
        """A medium that has become read-only, and is probed more than once."""
        store = self.store()
        self.in_thread(store, "PRAGMA query_only = ON")
        self.outage(store)
        for _ in range(3):
            self.reactor.advance(1)
            self.in_thread(store, "PRAGMA user_version")
            self.assertTrue(store.failed)
        self.in_thread(store, "PRAGMA query_only = OFF")
        self.over(store)

    def test_locked_by_a_foreign_program(self) -> None:
        """A program that locks the file past our patience causes an outage until it ends."""
        self.patch(medium, "_BUSY_SECONDS", 0.02)
        store = self.store()
        foreign = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(foreign.close)
        foreign.execute("BEGIN IMMEDIATE")
        self.outage(store)
        foreign.execute("ROLLBACK")
        self.over(store)

    def test_operator_is_told_once(self) -> None:
        """An outage is one critical event with cause, effect and action; its end another."""
        events: list[Any] = []

        def observe(event: Any) -> None:
            if event["log_level"] == LogLevel.critical:
                events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        store = self.store()
        self.in_thread(store, "PRAGMA max_page_count = 1")
        self.outage(store)
        for _ in range(3):
            store.put_publication(publication(1))
            self.assertFalse(self.durable(store))
            self.reactor.advance(1)
            self.in_thread(store, "PRAGMA user_version")
        self.assertEqual(len(events), 1)
        self.assertIn("Cause: {cause}. Effect:", events[0]["log_format"])
        self.assertIn("make room", str(events[0]["cause"]))
        self.in_thread(store, "PRAGMA max_page_count = 100000")
        self.over(store)
        self.assertEqual(len(events), 2)

    def test_fault_of_the_program(self) -> None:
        """A row that cannot be stored fails its batch; the store says so and goes on."""
        store = self.store()
        store.put_publication(publication(1, expires=2**70))
        self.assertFalse(self.durable(store))
        self.assertEqual(len(self.flushLoggedErrors(OverflowError)), 1)
        self.over(store)

    def test_stop_fails(self) -> None:
        """A file that cannot be closed cleanly is still given up."""
        self.patch(medium, "_BUSY_SECONDS", 0.02)
        store = self.store()
        store.put_publication(publication(1))
        self.assertTrue(self.durable(store))
        self.in_thread(store, "BEGIN IMMEDIATE")
        self.reactor.wait(store.stop())
        publications, _, _ = self.recovered(self.store())
        self.assertEqual(publications, [publication(1)])


class FileTests(SqliteCase):
    """Files that are not what they should be, and those of other releases."""

    def database(self) -> sqlite3.Connection:
        """The file, opened behind the store's back."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(database.close)
        return database

    def version_1(self, rows: int) -> None:
        """A file as version 1 has left it."""
        database = self.database()
        database.executescript((SCHEMA / "0001_tables.sql").read_text())
        for id in range(rows):
            p, s = publication(id, body=b"%d" % id * 500), subscription(id)
            database.execute(
                "INSERT INTO publication VALUES (?,?,?,?,?,?,?,?,?,?)",
                (
                    p.id,
                    p.package,
                    p.resource,
                    p.etag,
                    p.expires,
                    p.created,
                    p.changed,
                    p.publisher,
                    p.content_type,
                    p.body,
                ),
            )
            database.execute(
                "INSERT INTO subscription VALUES (?,?,?,?,?,?,?)",
                (s.id, s.package, s.resource, s.cseq, s.expires, s.dialog, -id if id % 2 else None),
            )
        b = binding("bob")
        database.execute(
            "INSERT INTO binding VALUES (?,?,?,?,?,?,?)",
            (b.aor, b.contact, b.call_id, b.cseq, b.expires, b.q, b.instance),
        )
        database.execute(f"PRAGMA application_id = {KIND.application_id}")
        database.execute("PRAGMA user_version = 1")
        database.close()

    def test_migration(self) -> None:
        """A file of version 1 is brought up to date with all that is in it (NFR-07)."""
        self.version_1(rows=300)
        store = self.store()
        self.assertEqual(self.in_thread(store, "PRAGMA user_version"), (4,))
        publications, subscriptions, digests = self.recovered(store)
        self.assertEqual(
            publications, [publication(id, body=b"%d" % id * 500) for id in range(300)]
        )
        self.assertEqual(subscriptions, [subscription(id) for id in range(300)])
        self.assertEqual(digests, {id: -id for id in range(1, 300, 2)})
        bindings: list[Any] = []
        self.reactor.wait(store.recover_bindings(bindings.extend))
        self.assertEqual(bindings, [binding("bob")])
        store.put_watcher(watcher(7))
        self.assertTrue(self.durable(store))
        watchers: list[Any] = []
        self.reactor.wait(store.recover_watchers(watchers.extend))
        self.assertEqual(watchers, [watcher(7)])
        store.touch_publication(7, "fresh", 1.0)
        self.assertTrue(self.durable(store))
        publications, _, _ = self.recovered(store)
        self.assertEqual(
            publications[7], publication(7, body=b"7" * 500, etag="fresh", expires=1.0)
        )

    def test_migrated_layout(self) -> None:
        """A migrated file has the same tables as a new one."""
        query = "SELECT group_concat(sql) FROM (SELECT sql FROM sqlite_schema ORDER BY name)"
        new = self.in_thread(self.store(), query)
        self.path = self.path.parent / "old.db"
        self.version_1(rows=1)
        self.assertEqual(self.in_thread(self.store(), query), new)

    def test_failing_migration(self) -> None:
        """A migration that fails leaves the file as it was."""
        self.version_1(rows=3)
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "0001_tables.sql").write_text("")
        (folder / "0002_broken.sql").write_text("DROP TABLE publication; SELECT nonsense;")
        self.assertIn("nonsense", self.refused(schema=folder))
        publications, _, _ = self.recovered(self.store())
        self.assertEqual(len(publications), 3)

    def test_missing_script(self) -> None:
        """A gap in the numbering is a broken installation."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "0002_two.sql").write_text("")
        self.assertIn("install the program again", self.refused(schema=folder))

    def test_newer_schema(self) -> None:
        """A file that a newer release has written, and only it can read, is refused."""
        self.reactor.wait(self.store().stop())
        database = self.database()
        database.execute("UPDATE layout SET oldest_reader = 7")
        database.execute("PRAGMA user_version = 9")
        database.close()
        message = self.refused()
        self.assertIn("newer release", message)
        self.assertIn("schema 9", message)
        self.assertIn("knows schema 7", message)

    def test_newer_but_readable_schema(self) -> None:
        """A file of the next release that only has additions is used and left as it is."""
        store = self.store()
        store.put_publication(publication(1))
        self.reactor.wait(store.stop())
        database = self.database()
        database.execute("ALTER TABLE publication ADD COLUMN extra TEXT NOT NULL DEFAULT 'x'")
        database.execute("PRAGMA user_version = 5")
        database.close()
        store = self.store()
        store.put_publication(publication(2))
        self.assertTrue(self.durable(store))
        publications, _, _ = self.recovered(store)
        self.assertEqual(publications, [publication(1), publication(2)])
        self.assertEqual(self.in_thread(store, "PRAGMA user_version"), (5,))

    def version_2(self, rows: int) -> None:
        """A file as version 2 has left it."""
        self.version_1(rows)
        database = self.database()
        database.executescript((SCHEMA / "0002_leases.sql").read_text())
        database.execute("PRAGMA user_version = 2")
        database.close()

    def test_migration_from_2(self) -> None:
        """A file of version 2 gets the table of watchers, and keeps what it has (WFS-02)."""
        self.version_2(rows=3)
        store = self.store()
        self.assertEqual(self.in_thread(store, "PRAGMA user_version"), (4,))
        self.assertEqual(self.in_thread(store, "SELECT oldest_reader FROM layout"), (2,))
        store.put_watcher(watcher(1))
        self.reactor.wait(store.stop())
        store = self.store()
        publications, subscriptions, _ = self.recovered(store)
        self.assertEqual((len(publications), len(subscriptions)), (3, 3))
        watchers: list[Any] = []
        self.reactor.wait(store.recover_watchers(watchers.extend))
        self.assertEqual(watchers, [watcher(1)])

    def version_3(self, rows: int) -> None:
        """A file as version 3 has left it."""
        self.version_2(rows)
        database = self.database()
        database.executescript((SCHEMA / "0003_watchers.sql").read_text())
        database.execute("PRAGMA user_version = 3")
        database.close()

    def test_migration_from_3(self) -> None:
        """NFR-07: a file of version 3 gets a place for objects; what it has, has none."""
        self.version_3(rows=3)
        store = self.store()
        self.assertEqual(self.in_thread(store, "PRAGMA user_version"), (4,))
        store.put_publication(publication(7, objects=b"\x00icon"))
        self.reactor.wait(store.stop())
        publications, _, _ = self.recovered(self.store())
        self.assertEqual([p.objects for p in publications], [b"", b"", b"", b"\x00icon"])

    def test_the_release_before_version_4(self) -> None:
        """NFR-07: a program of version 3 uses the file as it is; what it writes has no objects."""
        store = self.store()
        store.put_publication(publication(1, objects=b"icon"))
        store.put_publication(publication(2, objects=b"icon"))
        self.assertTrue(self.durable(store))
        self.assertEqual(self.in_thread(store, "SELECT oldest_reader FROM layout"), (2,))
        self.reactor.wait(store.stop())
        database = self.database()
        p = publication(2, body=b"new")
        database.execute(  # the statements of that program
            "INSERT OR REPLACE INTO publication (id, package, resource, etag, expires, created,"
            " changed, publisher, content_type, revision, body) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (
                p.id,
                p.package,
                p.resource,
                p.etag,
                p.expires,
                p.created,
                p.changed,
                p.publisher,
                p.content_type,
                1 << 40,
                p.body,
            ),
        )
        (found,) = database.execute("SELECT body FROM publication WHERE id = 1").fetchone()
        self.assertEqual(found, publication(1).body)
        database.close()
        publications, _, _ = self.recovered(self.store())
        self.assertEqual(publications, [publication(1, objects=b"icon"), p])

    def test_watcher_with_odd_text(self) -> None:
        """A display name that is no UTF-8 comes back as it came (WFS-02)."""
        store = self.store()
        odd = watcher(1, display_name="J\udcfcrgen")
        store.put_watcher(odd)
        store.put_watcher(watcher(2))
        self.assertTrue(self.durable(store))
        watchers: list[Any] = []
        self.reactor.wait(store.recover_watchers(watchers.extend))
        self.assertEqual(watchers, [odd, watcher(2)])

    def test_not_a_database(self) -> None:
        """A file of something else is refused and not touched."""
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(b"important text\n" * 1000)
        message = self.refused()
        self.assertIn("damaged or is not a store", message)
        self.assertEqual(self.path.read_bytes(), b"important text\n" * 1000)

    def test_foreign_database(self) -> None:
        """The SQLite file of another program is refused and not touched."""
        database = self.database()
        database.execute("CREATE TABLE publication (id INTEGER)")
        database.close()
        before = self.path.read_bytes()
        self.assertIn("belongs to another program", self.refused())
        self.assertEqual(self.path.read_bytes(), before)

    def test_damaged(self) -> None:
        """Damage inside the file is found by recovery, with the file's name and a remedy."""
        store = self.store()
        for id in range(200):
            store.put_publication(publication(id, body=bytes(900)))
        self.reactor.wait(store.stop())
        content = bytearray(self.path.read_bytes())
        for page in range(10, len(content) // 2048):
            content[page * 2048 : page * 2048 + 200] = b"\xee" * 200
        self.path.write_bytes(content)
        try:
            store = self.store()
            self.recovered(store)
        except StoreError as error:
            self.assertIn(str(self.path), str(error))
            self.assertIn("move it", str(error))
        else:
            self.fail("the damage went unnoticed")
