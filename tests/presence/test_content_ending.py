"""Tests of :mod:`presence.content.ending`: objects that have to go."""

from __future__ import annotations

from typing import Any
from unittest import mock

from presence.content.ending import Ending
from presence.content.records import Quota
from tests.presence.contents import ALICE, BOB, StoreCase
from xcap.errors import StoreUnavailable


class EndingTests(StoreCase):
    """Removal by time, and of users."""

    def setUp(self) -> None:
        """Not started yet."""
        super().setUp()
        self.ending = Ending(self.store, self.reactor, self.wall, 60.0)
        self.addCleanup(self.ending.stop)

    def wall(self) -> float:
        """Wall-clock seconds."""
        return 100.0 + self.reactor.seconds()

    def left(self) -> list[str]:
        """What objects there are."""
        found: list[Any] = [
            *self.wait(self.store.listing(ALICE)),
            *self.wait(self.store.listing(BOB)),
        ]
        return [each.id for each in found]

    def settle(self) -> None:
        """Let it do what there is to do now."""

        def settled() -> bool:
            call = self.ending._call
            return call is not None and call.getTime() > self.reactor.seconds()

        self.reactor.until(settled)

    def test_expired(self) -> None:
        """AGP-109: not before its time, and within a minute after."""
        self.add("id1", expires=130.0)
        self.add("id2", expires=1000.0, owner=BOB)
        self.ending.start()
        self.settle()
        self.assertEqual(self.left(), ["id1", "id2"])
        self.reactor.advance(60.0)
        self.reactor.until(lambda: self.ending.expired)
        self.settle()
        self.assertEqual(self.left(), ["id2"])

    def test_many(self) -> None:
        """Many go some at a time, without a pause."""
        for n in range(7):
            self.add(f"id{n}", b"%d" % n, expires=50.0)
        with mock.patch("presence.content.ending._AT_ONCE", 2):
            self.ending.start()
            self.reactor.until(lambda: self.ending.expired == 7)
        self.settle()
        self.assertEqual(self.files(), [])

    def test_removed(self) -> None:
        """AGP-113: a removed user's objects go at once; what was made later stays."""
        self.add("id1", b"a", expires=999.0, now=90.0)
        self.add("id2", b"b", expires=999.0, now=110.0)
        self.add("id3", b"c", expires=999.0, owner=BOB)
        self.ending.start()
        self.settle()
        self.ending.gone({ALICE: 100.0, "sip:nobody@example.com": 100.0})
        self.reactor.until(lambda: self.ending.orphaned)
        self.settle()
        self.assertEqual((self.left(), self.ending.orphaned), (["id2", "id3"], 1))

    def test_removed_before(self) -> None:
        """PSV-19: a removal that is told before the start counts, too."""
        self.add("id1", expires=999.0)
        self.ending.gone({ALICE: 100.0})
        self.ending.start()
        self.reactor.until(lambda: self.ending.orphaned)
        self.settle()
        self.assertEqual(self.left(), [])

    def test_while_busy(self) -> None:
        """A removal that is told while another is under way is not forgotten."""
        self.add("id1", expires=999.0)
        self.add("id2", expires=999.0, owner=BOB)
        self.ending.gone({ALICE: 100.0})
        self.ending.start()
        self.reactor.until(lambda: self.ending._work is not None)
        self.ending.gone({BOB: 100.0})
        self.reactor.until(lambda: self.ending.orphaned == 2)
        self.settle()

    def test_outage(self) -> None:
        """What the store does not take is done when it does."""
        self.add("id1", expires=999.0)
        with mock.patch.object(self.store, "change", side_effect=StoreUnavailable):
            self.ending.gone({ALICE: 100.0})
            self.ending.start()
            self.settle()
        self.reactor.advance(5.0)
        self.reactor.until(lambda: self.ending.orphaned)
        self.settle()

    def test_bug(self) -> None:
        """A fault is logged, and the next look comes."""
        with mock.patch.object(self.store, "change", side_effect=ZeroDivisionError):
            self.ending.start()
            self.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self) -> None:
        """After its end nothing is scheduled."""
        self.ending.start()
        self.settle()
        self.ending.stop()
        self.ending.gone({ALICE: 100.0})
        self.assertEqual([c for c in self.reactor.calls if c.active()], [])
        self.add("id1", quota=Quota(1, 100))
