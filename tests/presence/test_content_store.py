"""Tests of :mod:`presence.content.store`: durable objects, once each, within quotas."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import Any
from unittest import mock

from presence.content import files
from presence.content.records import (
    Expire,
    Extend,
    Quota,
    QuotaExceeded,
    Remove,
    RemoveOwner,
    Replace,
    Usage,
    Vanished,
    entity_tag,
)
from presence.content.store import ContentStore
from presence.content.upload import PIECE
from tests.presence.contents import ALICE, BOB, StoreCase
from xcap.errors import StoreUnavailable


class ObjectTests(StoreCase):
    """Objects are made, read, changed and removed."""

    def test_add(self) -> None:
        """CSV-03: type, size, hashes and times are kept with the content."""
        made = self.add("id1", b"x" * 5000)
        found = self.wait(self.store.find("id1"))
        self.assertEqual(found, made)
        self.assertEqual((found.owner, found.type, found.size), (ALICE, "image/png", 5000))
        self.assertEqual(found.sha1, hashlib.sha1(b"x" * 5000).digest())
        self.assertEqual(found.sha256, hashlib.sha256(b"x" * 5000).digest())
        self.assertEqual((found.created, found.modified, found.expires), (100.0, 100.0, 200.0))
        self.assertEqual(self.read("id1"), b"x" * 5000)
        self.assertEqual((self.store.objects, self.store.octets), (1, 5000))

    def test_etag(self) -> None:
        """AGP-107: the entity-tag tells types and contents apart."""
        tags = {
            entity_tag(kind, hashlib.sha256(octets).digest())
            for kind in ("image/png", "image/gif")
            for octets in (b"a", b"b")
        }
        self.assertEqual(len(tags), 4)
        self.assertEqual(self.add("id1").etag, self.add("id2", owner=BOB).etag)

    def test_unknown(self) -> None:
        """What there is not is not found."""
        self.assertIsNone(self.wait(self.store.find("x")))
        self.assertIsNone(self.wait(self.store.read("x", 100)))
        for change in (Remove("x"), Extend("x", 1.0, 2.0)):
            with self.assertRaises(Vanished):
                self.wait(self.store.change(change))

    def test_read_whole(self) -> None:
        """Short content comes with what is known of it, long content by itself."""
        self.add("id1", b"abc")
        found, body = self.wait(self.store.read("id1", 3))
        self.assertEqual((found.id, body), ("id1", b"abc"))
        self.assertEqual(self.wait(self.store.read("id1", 2))[1], None)

    def test_large(self) -> None:
        """A large object goes in pieces and comes back whole, and in parts."""
        octets = os.urandom(3 * PIECE + 17)
        found = self.add("id1", octets, quota=Quota(10, 1 << 30))
        self.assertEqual(self.read("id1"), octets)
        source = self.wait(self.store.source(found, 10, PIECE + 5))
        self.assertEqual(self.wait(source.read()), octets[10 : PIECE + 10])
        self.assertEqual(self.wait(source.read()), octets[PIECE + 10 : PIECE + 15])
        self.assertEqual(self.wait(source.read()), b"")
        source.close()

    def test_replace(self) -> None:
        """Other content takes the place of the old, whose file goes; the life stays longer."""
        old = self.add("id1", b"old")
        content = self.content(b"newer")
        change = Replace("id1", "image/gif", content, 150.0, 180.0, Quota(10, 10_000), old.etag)
        made = self.wait(self.store.change(change))
        self.assertEqual((made.type, made.size, made.expires), ("image/gif", 5, 200.0))
        self.assertEqual((made.created, made.modified), (100.0, 150.0))
        self.assertEqual(self.read("id1"), b"newer")
        self.assertEqual(self.files(), [made.file])
        self.assertEqual((self.store.objects, self.store.octets), (1, 5))
        again = Replace("id1", "image/gif", self.content(b"x"), 150.0, 180.0, Quota(1, 1), old.etag)
        with self.assertRaises(Vanished):
            self.wait(self.store.change(again))
        self.assertEqual(self.files(), [made.file])

    def test_replace_same(self) -> None:
        """Content that stays keeps its file."""
        old = self.add("id1", b"same")
        change = Replace("id1", "image/gif", self.content(b"same"), 1.0, 2.0, Quota(1, 4))
        made = self.wait(self.store.change(change))
        self.assertEqual((made.file, self.files()), (old.file, [old.file]))
        self.assertEqual(self.read("id1"), b"same")

    def test_extend(self) -> None:
        """AGP-109: a life gets longer and never shorter."""
        self.add("id1")
        self.assertEqual(self.wait(self.store.change(Extend("id1", 150.0, 300.0))).expires, 300.0)
        self.assertEqual(self.wait(self.store.change(Extend("id1", 150.0, 250.0))).expires, 300.0)
        with self.assertRaises(Vanished):  # its time is over
            self.wait(self.store.change(Extend("id1", 300.0, 400.0)))

    def test_remove(self) -> None:
        """What is removed leaves nothing."""
        self.add("id1")
        with self.assertRaises(Vanished):
            self.wait(self.store.change(Remove("id1", "other")))
        self.assertEqual(self.wait(self.store.change(Remove("id1"))), 1)
        self.assertIsNone(self.wait(self.store.find("id1")))
        self.assertEqual((self.files(), self.store.objects, self.store.octets), ([], 0, 0))

    def test_remove_while_read(self) -> None:
        """Who reads an object gets all of it though it is removed meanwhile."""
        octets = os.urandom(2 * PIECE)
        found = self.add("id1", octets, quota=Quota(10, 1 << 30))
        source = self.wait(self.store.source(found, 0, found.size))
        first = self.wait(source.read())
        self.wait(self.store.change(Remove("id1")))
        self.assertEqual(first + self.wait(source.read()), octets)
        source.close()
        self.assertIsNone(self.wait(self.store.source(found, 0, 1)))

    def test_listing(self) -> None:
        """The objects of one user, the oldest first."""
        self.add("id2", b"b", now=101.0)
        self.add("id1", b"a", now=100.0)
        self.add("id3", b"c", owner=BOB)
        self.assertEqual([o.id for o in self.wait(self.store.listing(ALICE))], ["id1", "id2"])

    def test_private(self) -> None:
        """Nobody else on the machine can read objects."""
        self.add("id1")
        for path in self.directory.rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)


class OnceTests(StoreCase):
    """AGP-113: identical content of one user is stored once, and counts each time."""

    def test_once(self) -> None:
        """One file for all references; it goes with the last."""
        first, second = self.add("id1"), self.add("id2")
        self.assertEqual((first.file, len(self.files())), (second.file, 1))
        self.assertEqual(self.wait(self.store.usage(ALICE)), Usage(2, 6))
        self.wait(self.store.change(Remove("id1")))
        self.assertEqual(self.read("id2"), b"abc")
        self.wait(self.store.change(Remove("id2")))
        self.assertEqual(self.files(), [])

    def test_users_apart(self) -> None:
        """Nobody's file depends on others, nor tells that others have it."""
        self.assertNotEqual(self.add("id1").file, self.add("id2", owner=BOB).file)

    def test_one_batch(self) -> None:
        """Also when it comes at once, and goes in the same batch."""
        changes = [self.store.change(self.adding(f"id{n}")) for n in range(3)]
        changes.append(self.store.change(Remove("id0")))
        files = {self.wait(change).file for change in changes[:3]}
        self.wait(changes[3])
        self.assertEqual((len(files), len(self.files())), (1, 1))
        made = self.store.change(self.adding("id9", b"brief"))
        gone = self.store.change(Remove("id9"))
        self.wait(made)
        self.wait(gone)
        self.assertEqual(len(self.files()), 1)


class QuotaTests(StoreCase):
    """AGP-110, CSV-04: what a user may have, decided when it becomes durable."""

    def test_objects(self) -> None:
        """The number of objects."""
        for n in range(2):
            self.add(f"id{n}", quota=Quota(2, 1000))
        with self.assertRaises(QuotaExceeded):
            self.add("id2", quota=Quota(2, 1000))
        self.add("id3", owner=BOB, quota=Quota(2, 1000))
        self.assertEqual(len(self.files()), 2)

    def test_octets(self) -> None:
        """Their size together, references counted each (AGP-113)."""
        self.add("id1", b"x" * 40, quota=Quota(10, 100))
        self.add("id2", b"x" * 40, quota=Quota(10, 100))
        with self.assertRaises(QuotaExceeded):
            self.add("id3", b"x" * 40, quota=Quota(10, 100))
        self.add("id4", b"y" * 20, quota=Quota(10, 100))

    def test_race(self) -> None:
        """Of many at once exactly as many succeed as there is room for."""
        changes = [
            self.store.change(self.adding(f"id{n}", b"%d" % n * 30, quota=Quota(10, 100)))
            for n in range(10)
        ]
        outcomes: list[Any] = []
        for change in changes:
            change.addBoth(outcomes.append)
        self.reactor.until(lambda: len(outcomes) == 10)
        self.assertEqual(sum(hasattr(outcome, "id") for outcome in outcomes), 3)
        self.assertEqual((self.store.objects, len(self.files())), (3, 3))

    def test_replace(self) -> None:
        """What is replaced makes room for what comes."""
        self.add("id1", b"x" * 60, quota=Quota(1, 100))
        larger = Replace("id1", "image/png", self.content(b"y" * 100), 1.0, 2.0, Quota(1, 100))
        self.assertEqual(self.wait(self.store.change(larger)).size, 100)
        largest = Replace("id1", "image/png", self.content(b"z" * 101), 1.0, 2.0, Quota(1, 100))
        with self.assertRaises(QuotaExceeded):
            self.wait(self.store.change(largest))
        self.assertEqual((self.read("id1"), len(self.files())), (b"y" * 100, 1))


class EndTests(StoreCase):
    """Objects whose time is over, and users who are no more."""

    def test_expire(self) -> None:
        """AGP-109: what is over goes, some at a time; nothing goes before."""
        for n in range(5):
            self.add(f"id{n}", b"%d" % n, expires=200.0 + n)
        self.assertEqual(self.wait(self.store.change(Expire(199.9, 10))), 0)
        self.assertEqual(self.wait(self.store.change(Expire(203.0, 3))), 3)
        self.assertEqual(self.wait(self.store.change(Expire(203.0, 3))), 1)
        self.assertEqual([o.id for o in self.wait(self.store.listing(ALICE))], ["id4"])
        self.assertEqual(len(self.files()), 1)

    def test_owner(self) -> None:
        """AGP-113: everything that a user has left goes, nothing of others or later."""
        self.add("id1", b"a", now=100.0)
        self.add("id2", b"b", now=150.0)
        self.add("id3", b"c", now=100.0, owner=BOB)
        self.assertEqual(self.wait(self.store.change(RemoveOwner(ALICE, 120.0))), 1)
        self.assertEqual([self.read(f"id{n}") for n in (1, 2, 3)], [None, b"b", b"c"])


class RecoveryTests(StoreCase):
    """AGP-113: what a crash leaves is put in order at the next start."""

    def restart(self) -> ContentStore:
        """Stop the store and open another one on its directory."""
        self.wait(self.store.stop())
        self.store = self.open()
        return self.store

    def test_durable(self) -> None:
        """What was acknowledged is there after a restart."""
        self.add("id1", b"abc")
        self.restart()
        self.assertEqual((self.read("id1"), self.store.objects), (b"abc", 1))

    def test_orphans(self) -> None:
        """What was under way leaves no file; what is none of ours goes too."""
        made = self.add("id1", b"abc")
        self.store.upload().take(b"x" * PIECE)
        self.content(b"never added")
        self.reactor.until(lambda: len(self.files()) == 3)
        shelf = self.directory / "objects" / "ab"
        (shelf / ("ab" * 16)).write_bytes(b"orphan")
        (shelf / "strange name").write_bytes(b"strange")
        self.restart()
        self.assertEqual(self.files(), [made.file])

    def test_missing(self) -> None:
        """An object whose file somebody has taken away is gone, and the operator told."""
        made = self.add("id1", b"abc")
        self.add("id2", b"def")
        self.wait(self.store.stop())
        (self.directory / "objects" / made.file[:2] / made.file).unlink()
        with mock.patch("presence.content.store.report") as report:
            self.store = self.open()
        self.assertEqual(report.call_args.args[1].number, 213)
        self.assertIsNone(self.wait(self.store.find("id1")))
        self.assertEqual((self.read("id2"), self.store.objects), (b"def", 1))

    def test_missing_while_running(self) -> None:
        """While it runs that is no fault that anybody else feels."""
        made = self.add("id1", b"abc")
        (self.directory / "objects" / made.file[:2] / made.file).unlink()
        self.assertIsNone(self.wait(self.store.read("id1", 100)))
        self.assertIsNone(self.wait(self.store.source(made, 0, 3)))


class CrashTests(StoreCase):
    """What the disk has at the worst moments is opened as after a power failure."""

    def crash(self, method: str, change: Any, *, after: bool = True) -> None:
        """Copy the directory when a step of a change has been made, and go on with the copy."""
        copy = self.directory.with_name("copy")
        real = getattr(files.ContentFiles, method)

        def step(itself: files.ContentFiles, *arguments: Any) -> None:
            if after:
                real(itself, *arguments)
            if not copy.exists():
                shutil.copytree(self.directory, copy)
            if not after:
                real(itself, *arguments)

        with mock.patch.object(files.ContentFiles, method, step):
            self.wait(self.store.change(change))
        self.directory = copy
        self.store = self.open()

    def test_before_commit(self) -> None:
        """The file has its place and the row is not there: neither is the object."""
        made = self.add("id1", b"first")
        self.crash("accept", self.adding("id2", b"second"))
        self.assertIsNone(self.wait(self.store.find("id2")))
        self.assertEqual((self.read("id1"), self.files()), (b"first", [made.file]))

    def test_before_files(self) -> None:
        """Not even the file is there."""
        made = self.add("id1", b"first")
        self.crash("accept", self.adding("id2", b"second"), after=False)
        self.assertIsNone(self.wait(self.store.find("id2")))
        self.assertEqual((self.read("id1"), self.files()), (b"first", [made.file]))

    def test_after_commit(self) -> None:
        """The row is there: so is the object, though nobody was told."""
        self.crash("remove", self.adding("id1", b"first"), after=False)
        self.assertEqual(self.read("id1"), b"first")

    def test_removal(self) -> None:
        """The row is gone, the file still there: it goes at the start."""
        self.add("id1", b"first")
        self.crash("remove", Remove("id1"), after=False)
        self.assertIsNone(self.wait(self.store.find("id1")))
        self.assertEqual(self.files(), [])

    def test_replacement(self) -> None:
        """Before the row has changed, the old content counts."""
        self.add("id1", b"first")
        change = Replace("id1", "image/gif", self.content(b"other"), 1.0, 2.0, Quota(9, 99))
        self.crash("accept", change)
        self.assertEqual((self.read("id1"), len(self.files())), (b"first", 1))

    def test_replaced(self) -> None:
        """Once the row has changed, the new."""
        self.add("id1", b"first")
        change = Replace("id1", "image/gif", self.content(b"third"), 1.0, 2.0, Quota(9, 99))
        self.crash("remove", change, after=False)
        self.assertEqual((self.read("id1"), len(self.files())), (b"third", 1))


class FailureTests(StoreCase):
    """A medium that does not work."""

    def test_no_room(self) -> None:
        """Content that the disk does not take is refused; nothing of it stays."""
        upload = self.store.upload()
        with mock.patch("presence.content.upload.os.write", side_effect=OSError(28, "full")):
            upload.take(b"x" * PIECE)
            with self.assertRaises(StoreUnavailable):
                self.wait(upload.finish())
        with self.assertRaises(StoreUnavailable):
            upload.take(b"x")
        self.reactor.until(lambda: self.files() == [])
        self.add("id1")

    def test_refused(self) -> None:
        """A batch that cannot be written leaves everything as it was, and then it goes on."""
        self.add("id1")
        adding = self.adding("id2", b"other")
        with (
            mock.patch.object(files.ContentFiles, "accept", side_effect=OSError(5, "bad")),
            mock.patch("presence.content.store.report") as report,
        ):
            refused = self.store.change(adding)
            late = self.store.change(self.adding("id3", b"later"))
            with self.assertRaises(StoreUnavailable):
                self.wait(refused)
            with self.assertRaises(StoreUnavailable):
                self.wait(late)
        self.assertEqual(report.call_args.args[1].number, 211)
        self.assertTrue(self.store.failed)
        with self.assertRaises(StoreUnavailable):
            self.store.upload()
        with self.assertRaises(StoreUnavailable):
            self.wait(self.store.change(Remove("id1")))
        self.assertEqual(self.read("id1"), b"abc")
        self.reactor.advance(1.0)
        self.reactor.until(lambda: not self.store.failed)
        self.reactor.until(lambda: len(self.files()) == 1)
        self.assertEqual((self.store.objects, self.store.octets), (1, 3))
        self.add("id4")

    def test_unreadable(self) -> None:
        """Questions that cannot be answered are told to the operator once."""
        self.add("id1")
        with (
            mock.patch.object(files.ContentFiles, "open", side_effect=OSError(5, "bad")),
            mock.patch("presence.content.store.report") as report,
        ):
            for _ in range(2):
                with self.assertRaises(StoreUnavailable):
                    self.wait(self.store.read("id1", 10))
        self.assertEqual([call.args[1].number for call in report.call_args_list], [212])

    def test_stopped(self) -> None:
        """After its end it takes and tells nothing."""
        self.wait(self.store.stop())
        with self.assertRaises(StoreUnavailable):
            self.store.upload()
        for asked in (self.store.find("x"), self.store.change(Remove("x"))):
            with self.assertRaises(StoreUnavailable):
                self.wait(asked)


class UploadTests(StoreCase):
    """Content on its way to the disk."""

    def test_back_pressure(self) -> None:
        """An upload has no more in memory than two pieces; then it asks to wait."""
        upload = self.store.upload()
        self.assertIsNone(upload.take(b"x" * PIECE))  # is being written
        self.assertIsNone(upload.take(b"y" * (PIECE - 1)))
        waiting = upload.take(b"z")
        assert waiting is not None
        self.wait(waiting)
        content = self.wait(upload.finish())
        self.assertEqual(content.size, 2 * PIECE)
        self.store.discard(content)
        self.reactor.until(lambda: self.files() == [])

    def test_abandoned(self) -> None:
        """What is given up leaves nothing, whenever that is."""
        for octets in (b"", b"x", b"x" * PIECE):
            upload = self.store.upload()
            upload.take(octets)
            upload.abandon()
            upload.abandon()
            upload.take(b"more")
        flushing = self.store.upload()
        flushing.take(b"x")
        finished = flushing.finish()
        flushing.abandon()
        finished.addErrback(lambda _: None)
        given_up = self.store.upload()
        given_up.take(b"x")
        given_up.finish().addErrback(lambda _: None).cancel()
        self.wait(self.store.find("x"))
        self.reactor.until(lambda: not self.store._using)
        self.assertEqual(self.files(), [])

    def test_stop(self) -> None:
        """The end of the store ends what is under way."""
        self.store.upload().take(b"x" * PIECE)
        self.wait(self.store.stop())
        self.store = self.open()
        self.assertEqual(self.files(), [])
