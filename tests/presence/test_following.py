"""Tests of :mod:`presence.following`: whom changes are told by (PSV-07, PSV-10)."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from presence.following import RoutedFeed, SubscriptionFeed
from xcap.follow import DocumentFollower

ROOT = "https://xcap.example.com/"


class Follower:
    """Notes what is asked of it.

    :ivar current: a report has come.
    """

    def __init__(self, uris: tuple[str, ...], listener: Any) -> None:
        self.uris = uris
        self.listener = listener
        self.started = self.stopped = self.current = False

    def start(self) -> None:
        """Subscribe."""
        self.started = True

    def stop(self) -> Deferred[None]:
        """Unsubscribe."""
        self.stopped = True
        return succeed(None)


class SubscriptionFeedTests(SynchronousTestCase):
    """When subscriptions begin and end."""

    def setUp(self) -> None:
        """A feed that is not started."""
        self.clock = Clock()
        self.made: list[Follower] = []
        self.feed = SubscriptionFeed(self.clock, self.make)
        self.told: list[tuple[str, Any]] = []

    def make(self, root: str, uris: tuple[str, ...], listener: Any) -> DocumentFollower:
        """Make a follower."""
        self.made.append(Follower(uris, listener))
        return cast("DocumentFollower", self.made[-1])

    def follow(self, *uris: str) -> Any:
        """Follow."""
        return self.feed.follow(ROOT, uris, lambda sel, document: self.told.append((sel, document)))

    def started(self) -> int:
        """How many have begun."""
        return sum(follower.started for follower in self.made)

    def test_before_the_start(self) -> None:
        """PSV-20: what is recovered is subscribed to when the process can be reached, some a turn.

        What nobody wants any more by then is never subscribed to.
        """
        followings = [self.follow(f"a/users/u{number}/") for number in range(120)]
        followings[3].stop()
        self.assertEqual(self.started(), 0)
        self.feed.start()
        turns = [self.started()]
        while self.clock.getDelayedCalls():
            self.clock.advance(0.05)
            turns.append(self.started())
        self.assertEqual(turns, [50, 100, 119])
        self.assertFalse(self.made[3].started or self.made[3].stopped)

    def test_one(self) -> None:
        """Later ones begin at once; what comes after the end is not told."""
        self.feed.start()
        following = self.follow("a/users/u/")
        follower = self.made[0]
        self.assertTrue(follower.started)
        self.assertFalse(following.current or following.sure)
        follower.current = True
        self.assertTrue(following.current)
        follower.listener.document("a/users/u/index", None)
        following.stop()
        self.assertTrue(follower.stopped)
        follower.listener.document("a/users/u/index", None)
        self.assertEqual(self.told, [("a/users/u/index", None)])

    def test_stop(self) -> None:
        """Nothing begins after the end."""
        for number in range(60):
            self.follow(f"a/users/u{number}/")
        self.feed.start()
        self.successResultOf(Deferred.fromCoroutine(self.feed.stop()))
        self.assertEqual((self.started(), self.clock.getDelayedCalls()), (50, []))


class RoutedFeedTests(SynchronousTestCase):
    """Each document server tells of its own documents."""

    def test_routes(self) -> None:
        """By application usage and user; what nobody tells of has to be polled (PSV-10)."""
        asked: list[tuple[str, str]] = []
        feed = RoutedFeed(lambda auid, xui: asked.append((auid, xui)))
        following = feed.follow(ROOT, ("a.b/users/sip:u%2b1@x.example/",), print)
        self.assertFalse(following.current or following.sure)
        following.stop()
        feed.follow(ROOT, ("a.b/global/index",), print)
        self.assertEqual(asked, [("a.b", "sip:u+1@x.example"), ("a.b", "")])
