"""Work in slices."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pysip.slices import Slices


class SlicesTests(SynchronousTestCase):
    """Large sets are visited over several turns of the reactor (NFR-01)."""

    def setUp(self) -> None:
        """Nothing is under way."""
        self.clock = Clock()
        self.slices = Slices(self.clock, 0.01)
        self.visited: list[int] = []
        self.ended = 0

    def visit(self, member: int) -> None:
        """A step that takes no time."""
        self.visited.append(member)

    def slow(self, member: int) -> None:
        """A step of 3 ms."""
        self.visit(member)
        self.clock.rightNow += 0.003

    def end(self) -> None:
        """It is over."""
        self.ended += 1

    def turn(self, times: int = 1) -> None:
        """The reactor turns: what a delayed call puts off is not of the same turn."""
        for _ in range(times):
            calls, self.clock.calls = self.clock.calls, []
            for call in calls:
                call.called = 1
                call.func(*call.args, **call.kw)

    def test_small(self) -> None:
        """A small set is done with at once."""
        self.slices.run("a", lambda: range(5), self.visit, self.end)
        self.assertEqual((self.visited, self.ended, len(self.slices)), ([0, 1, 2, 3, 4], 1, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_steps(self) -> None:
        """A slice has so many steps at most."""
        self.slices.run("a", lambda: range(25), self.visit, self.end, steps=10)
        self.assertEqual(len(self.visited), 10)
        self.assertIn("a", self.slices)
        self.turn()
        self.assertEqual((len(self.visited), self.ended), (20, 0))
        self.turn()
        self.assertEqual((self.visited, self.ended), ([*range(25)], 1))
        self.assertNotIn("a", self.slices)

    def test_time(self) -> None:
        """A slice ends with the step in which its time ends."""
        self.slices.run("a", lambda: range(10), self.slow)
        self.assertEqual(len(self.visited), 4)
        self.assertAlmostEqual(self.slices.longest, 0.012)
        self.turn()
        self.assertEqual(len(self.visited), 8)

    def test_turns(self) -> None:
        """Works take turns."""
        self.slices.run("a", lambda: range(0, 12), self.slow)
        self.slices.run("b", lambda: range(100, 112), self.slow)
        self.visited.clear()
        self.turn(3)
        self.assertEqual(self.visited, [4, 5, 6, 7, 104, 105, 106, 107, 8, 9, 10, 11])

    def test_again(self) -> None:
        """What is asked for meanwhile is done after that, once, for those who are there then."""
        members = [1, 2, 3]
        self.slices.run("a", lambda: list(members), self.visit, self.end, steps=2)
        members.append(4)
        for _ in range(3):
            self.slices.run("a", lambda: list(members), self.visit, self.end)
        self.turn(5)
        self.assertEqual((self.visited, self.ended), ([1, 2, 3, 1, 2, 3, 4], 1))

    def test_within(self) -> None:
        """A step may begin other work, which ends within its slice or not."""
        for steps in (10, 2):
            self.visited.clear()
            self.slices.run(
                "all",
                lambda: range(3),
                lambda n: self.slices.run(n, lambda: [n, n, n], self.visit, steps=steps),  # noqa: B023
                steps=1,
            )
            self.turn(10)
            self.assertEqual(sorted(self.visited), [0, 0, 0, 1, 1, 1, 2, 2, 2])
            self.assertEqual((len(self.slices), self.clock.getDelayedCalls()), (0, []))

    def test_failure(self) -> None:
        """A step that fails is logged; the others are done."""

        def visit(member: int) -> None:
            self.visited.append(member)
            if member == 1:
                raise ZeroDivisionError

        self.slices.run("a", lambda: range(3), visit, self.end)
        self.assertEqual((self.visited, self.ended), ([0, 1, 2], 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self) -> None:
        """After the end nothing is begun or gone on with, whoever has asked for the end."""
        self.slices.run("a", lambda: range(3), self.visit, self.end, steps=1)
        self.slices.run("b", lambda: range(3), lambda _: self.slices.stop(), self.end)
        self.slices.run("c", lambda: range(3), self.visit, self.end)
        self.turn()
        self.assertEqual((self.visited, self.ended, len(self.slices)), ([0], 0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])
