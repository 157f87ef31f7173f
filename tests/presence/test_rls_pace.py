"""The pace of subscriptions to members (RLO-05, RLO-06)."""

from __future__ import annotations

from functools import partial

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from presence.rls.pace import Pace


class PaceTests(SynchronousTestCase):
    """Jobs of several owners."""

    def setUp(self) -> None:
        """Ten a second for each, thirty for all."""
        self.clock = Clock()
        self.pace = Pace(self.clock, 10.0, 30.0)
        self.done: list[tuple[str, int]] = []

    def add(self, owner: str, count: int) -> None:
        """Add numbered jobs."""
        for number in range(count):
            self.pace.add(owner, partial(self.done.append, (owner, number)))

    def taken(self, seconds: float) -> list[tuple[str, int]]:
        """What is done in that time."""
        del self.done[:]
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)
        return list(self.done)

    def test_rate(self) -> None:
        """One owner gets its rate, in its order."""
        self.pace.start()
        self.add("a", 25)
        self.assertEqual(self.done, [], "never at once")
        first = self.taken(1.0)
        self.assertEqual(first, [("a", number) for number in range(len(first))])
        self.assertTrue(9 <= len(first) <= 11, first)
        self.assertEqual(len(first) + len(self.taken(2.0)), 25)
        self.assertEqual((len(self.pace), self.clock.getDelayedCalls()), (0, []))

    def test_total(self) -> None:
        """Many share what there is for all, and nobody waits for ever."""
        self.pace.start()
        for name in "abcdef":
            self.add(name, 20)
        done = self.taken(2.0)
        self.assertTrue(55 <= len(done) <= 66, len(done))
        shares = [sum(owner == name for owner, _ in done) for name in "abcdef"]
        self.assertTrue(all(8 <= share <= 12 for share in shares), shares)

    def test_slow(self) -> None:
        """RLO-05: rates below one job in a turn hold, too, of one owner and of all together."""
        for rate, total, expected in ((5.0, 10.0, 100), (1.0, 1000.0, 200), (100.0, 2.0, 20)):
            clock = Clock()
            pace = Pace(clock, rate, total)
            done: list[int] = []
            for owner in range(20):
                for _ in range(20):
                    pace.add(owner, partial(done.append, owner))
            pace.start()
            clock.pump([0.1] * 100)
            self.assertTrue(0.9 <= len(done) / expected <= 1.1, (len(done), expected))
            counts = [done.count(owner) for owner in range(20)]
            self.assertLessEqual(max(counts) - min(counts), 1)
            pace.stop()

    def test_not_started(self) -> None:
        """PSV-20: nothing begins before all is there that was kept over a restart."""
        self.add("a", 2)
        self.assertEqual((self.taken(5.0), self.clock.getDelayedCalls()), ([], []))
        self.pace.start()
        self.assertEqual(len(self.taken(1.0)), 2)

    def test_forget(self) -> None:
        """What an owner has not begun is left undone."""
        self.pace.start()
        self.add("a", 5)
        self.add("b", 5)
        self.pace.forget("a")
        self.assertEqual({owner for owner, _ in self.taken(2.0)}, {"b"})
        self.add("a", 5)
        self.pace.stop()
        self.assertEqual((self.taken(2.0), self.clock.getDelayedCalls()), ([], []))

    def test_failure(self) -> None:
        """A job that fails keeps nobody waiting."""
        self.pace.start()
        self.pace.add("a", partial(int, "x"))
        self.add("a", 2)
        self.assertEqual(len(self.taken(1.0)), 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
