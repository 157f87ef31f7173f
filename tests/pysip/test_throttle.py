"""Pacing: buckets, and the fair round over resources (OVL-06)."""

from __future__ import annotations

import random
from collections.abc import Hashable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pysip.event.throttle import Buckets, Pacer, TokenBucket


class TokenBucketTests(SynchronousTestCase):
    """A rate with a burst."""

    def test_burst(self) -> None:
        """So many at once, then by the rate."""
        bucket = TokenBucket(2.0, 5)
        self.assertEqual([bucket.take(100.0) for _ in range(5)], [0.0] * 5)
        self.assertAlmostEqual(bucket.take(100.0), 0.5)
        self.assertAlmostEqual(bucket.take(100.4), 0.1)
        self.assertEqual(bucket.take(100.5), 0.0)
        self.assertAlmostEqual(bucket.take(100.5), 0.5)

    def test_refused_costs_nothing(self) -> None:
        """Who is told to wait has taken nothing."""
        bucket = TokenBucket(1.0, 1)
        bucket.take(0.0)
        for _ in range(10):
            self.assertAlmostEqual(bucket.take(0.25), 0.75)
        self.assertEqual(bucket.take(1.0), 0.0)

    def test_full_again(self) -> None:
        """Unused tokens are saved up to the burst, and not beyond."""
        bucket = TokenBucket(10.0, 3)
        for _ in range(3):
            bucket.take(0.0)
        self.assertFalse(bucket.idle(0.2))
        self.assertTrue(bucket.idle(0.4))
        self.assertEqual([bucket.take(1000.0) > 0 for _ in range(4)], [False] * 3 + [True])

    def test_no_limit(self) -> None:
        """Rate 0 admits everything."""
        bucket = TokenBucket(0, 0)
        self.assertEqual({bucket.take(0.0) for _ in range(1000)}, {0.0})

    def test_small_burst(self) -> None:
        """A burst below 1 is 1."""
        bucket = TokenBucket(4.0, 0.4)
        self.assertEqual(bucket.take(0.0), 0.0)
        self.assertAlmostEqual(bucket.take(0.0), 0.25)

    def test_spent_in_advance(self) -> None:
        """``spend`` may overdraw; the debt is waited for."""
        bucket = TokenBucket(1.0, 1)
        for _ in range(4):
            bucket.spend(0.0)
        self.assertAlmostEqual(bucket.wait(0.0), 4.0)

    @settings(max_examples=60, deadline=None)
    @given(st.floats(0.01, 1000), st.integers(1, 50), st.floats(0, 1e6), st.lists(st.floats(0, 2)))
    def test_bound(self, rate: float, burst: int, start: float, steps: list[float]) -> None:
        """Exactly the burst at once, and never more than burst + rate * time (OVL-06)."""
        bucket = TokenBucket(rate, burst)
        now = start
        taken = 0
        while not bucket.take(now):
            taken += 1
        self.assertEqual(taken, burst)
        for step in steps:
            now += step
            while not bucket.take(now):
                taken += 1
        self.assertLessEqual(taken, burst + rate * (now - start) + 1e-3)


class BucketsTests(SynchronousTestCase):
    """A bucket for each key."""

    def test_keys_are_apart(self) -> None:
        """One key's use does not concern another."""
        buckets = Buckets(1.0, 1)
        self.assertEqual(buckets.take("a", 0.0), 0.0)
        self.assertGreater(buckets.take("a", 0.0), 0.0)
        self.assertEqual(buckets.take("b", 0.0), 0.0)

    def test_no_limit(self) -> None:
        """Rate 0 remembers nothing."""
        buckets = Buckets(0, 0)
        self.assertEqual(buckets.take("a", 0.0), 0.0)
        self.assertEqual(len(buckets._buckets), 0)

    def test_booked(self) -> None:
        """Who books gets a turn of its own, one after the other."""
        buckets = Buckets(10.0, 2)
        waits = [round(buckets.book("a", 5.0), 6) for _ in range(5)]
        self.assertEqual(waits, [0.0, 0.0, 0.1, 0.2, 0.3])
        self.assertEqual(buckets.book("b", 5.0), 0.0)
        self.assertEqual(Buckets(0, 0).book("a", 5.0), 0.0)

    def test_bounded(self) -> None:
        """Full buckets are forgotten first; the number of keys has a bound."""
        buckets = Buckets(1.0, 1, limit=100)
        for key in range(100):
            buckets.take(key, 0.0)
        buckets.take("new", 5.0)
        self.assertEqual(set(buckets._buckets), {"new"})
        for key in range(10_000):
            buckets.take(key, 5.0)
            self.assertLessEqual(len(buckets._buckets), 100)
        self.assertGreater(buckets.take(9999, 5.0), 0.0)  # the newest are remembered

    def test_cost(self) -> None:
        """Forgetting is not done anew for each key."""
        buckets = Buckets(1.0, 1, limit=1000)
        passes = 0
        prune = Buckets._prune

        def counted(self: Buckets, now: float) -> None:
            nonlocal passes
            passes += 1
            prune(self, now)

        self.patch(Buckets, "_prune", counted)
        for key in range(10_000):
            buckets.take(key, 0.0)
        self.assertLess(passes, 120)


class PacerTests(SynchronousTestCase):
    """The round over the subscriptions of changed resources."""

    def make(self, rate: float = 0.0, burst: int = 100, token_burst: float = 1) -> None:
        """A pacer over a table of members."""
        self.clock = Clock()
        self.members: dict[Hashable, list[str]] = {}
        self.visited: list[str] = []
        self.times: list[float] = []
        self.broken: set[str] = set()
        self.silent: set[str] = set()
        self.pacer: Pacer[str] = Pacer(
            self.clock,
            lambda key: self.members.get(key, []),
            self.visit,
            TokenBucket(rate, token_burst),
            burst,
        )

    def visit(self, member: str) -> bool:
        """Note the visit."""
        if member in self.broken:
            raise RuntimeError(member)
        self.visited.append(member)
        self.times.append(self.clock.seconds())
        return member not in self.silent

    def fill(self, key: str, count: int) -> None:
        """Give a resource so many members, and change it."""
        self.members[key] = [f"{key}{number}" for number in range(count)]
        self.pacer.changed(key)

    def turns(self) -> None:
        """Run all reactor turns that follow at once."""
        self.clock.advance(0)

    def test_all(self) -> None:
        """Everybody is visited once, in the next turn."""
        self.make()
        self.fill("a", 5)
        self.assertEqual(self.visited, [])
        self.turns()
        self.assertEqual(self.visited, ["a0", "a1", "a2", "a3", "a4"])
        self.assertEqual(len(self.pacer), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bounded_turns(self) -> None:
        """A turn visits so many at most, so that others get the reactor (OVL-06)."""
        self.make(burst=100)
        self.fill("a", 1050)
        between: list[int] = []

        def other() -> None:
            between.append(len(self.visited))
            if len(self.pacer):
                self.clock.callLater(0, other)

        self.clock.callLater(0, other)
        self.turns()
        self.assertEqual(len(self.visited), 1050)
        self.assertEqual(between, [*range(100, 1001, 100), 1050])

    def test_short_turns(self) -> None:
        """Visits that take long are spread over more turns (NFR-01)."""
        self.make()
        visit, turns = self.visit, []

        def slow(member: str) -> bool:
            self.clock.rightNow += 0.002
            return visit(member)

        self.pacer._visit = slow
        self.fill("a", 10)
        while self.clock.calls:
            (call,) = self.clock.calls
            self.clock.calls = []
            call.func()
            turns.append(len(self.visited))
        self.assertEqual(turns, [4, 8, 10])

    def test_fair(self) -> None:
        """A resource with few members does not wait for one with many (OVL-06)."""
        self.make(burst=30)
        self.fill("a", 10_000)
        self.fill("b", 10)
        self.fill("c", 3)
        self.clock.advance(0)
        self.assertEqual(sum(m.startswith("b") for m in self.visited), 10)
        self.assertEqual(sum(m.startswith("c") for m in self.visited), 3)
        self.turns()
        self.assertEqual(len(self.visited), 10_013)

    def test_rate(self) -> None:
        """So many NOTIFYs a second over everything (OVL-06)."""
        self.make(rate=50.0, token_burst=5)
        self.fill("a", 60)
        self.fill("b", 60)
        for _ in range(100):
            self.clock.advance(0.02)
        self.assertTrue(100 <= len(self.visited) <= 106, len(self.visited))
        for _ in range(40):
            self.clock.advance(0.02)
        self.assertEqual(len(self.visited), 120)
        for start in range(0, 120 - 60):
            self.assertGreaterEqual(self.times[start + 59] - self.times[start], 1.0)
        first_half = self.visited[:60]
        self.assertTrue(25 <= sum(m.startswith("a") for m in first_half) <= 35)

    def test_only_notifies_count(self) -> None:
        """Who is not told anything does not use up the rate."""
        self.make(rate=1.0)
        self.silent = {f"a{number}" for number in range(1000)}
        self.fill("a", 1000)
        self.turns()
        self.assertEqual(len(self.visited), 1000)

    def test_change_meanwhile(self) -> None:
        """A change during the round makes one more round, not several."""
        self.make(burst=10)
        self.fill("a", 25)
        self.clock.advance(0)
        for _ in range(5):
            self.pacer.changed("a")
        self.turns()
        self.assertEqual(len(self.visited), 50)

    def test_members_come_and_go(self) -> None:
        """Members are those at the beginning of a round; a resource without any is no matter."""
        self.make()
        self.pacer.changed("empty")
        self.fill("a", 2)
        self.members["a"].append("late")
        self.turns()
        self.assertEqual(self.visited, ["a0", "a1", "late"])
        self.assertEqual(len(self.pacer), 0)

    def test_bug(self) -> None:
        """An error in one visit is logged and the others go on."""
        self.make(burst=2)
        self.broken = {"a1", "a2", "a3"}
        self.fill("a", 6)
        self.turns()
        self.assertEqual(self.visited, ["a0", "a4", "a5"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)

    def test_stop(self) -> None:
        """Nothing is visited any more."""
        self.make()
        self.fill("a", 2)
        self.pacer.stop()
        self.turns()
        self.assertEqual(self.visited, [])
        self.pacer.stop()
        self.fill("b", 1)  # and it can go on
        self.turns()
        self.assertEqual(self.visited, ["b0"])

    def test_no_change_is_lost(self) -> None:
        """At random: everybody is visited after the last change of its resource."""
        self.make(rate=200.0, burst=7, token_burst=20)
        rng = random.Random(4)
        for key in "abcdef":
            self.members[key] = [f"{key}{n}" for n in range(rng.randint(1, 40))]
        changed: dict[str, float] = {}
        for _ in range(300):
            self.clock.advance(rng.choice([0.0, 0.001, 0.01]))
            key = rng.choice("abcdef")
            changed[key] = self.clock.seconds()
            self.pacer.changed(key)
        while len(self.pacer):
            self.clock.advance(0.005)
        last = dict(zip(self.visited, self.times, strict=True))
        for key, time in changed.items():
            for member in self.members[key]:
                self.assertGreaterEqual(last[member], time)
