"""Subscriptions to members in the same process: what becomes of refusals (RLS-11, RLS-24)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from presence.filters.filterset import FilterSet
from presence.pidf.offline import empty_document
from presence.rls.backend import Watching
from presence.rls.local import LocalBackEnds
from presence.rls.model import Instance, Member
from presence.rls.pace import Pace
from pysip.errors import SipError
from pysip.event.notification import Notification
from pysip.interfaces import Identity
from pysip.timers import TimerWheel

BOB = "sip:bob@example.com"


class Refusing:
    """A notifier that refuses every subscription.

    :ivar attempts: how many there were.
    """

    def __init__(self, error: SipError) -> None:
        self.attempts = 0
        self._error = error

    def attach_local(self, key: str, sink: object) -> None:
        """There is none."""

    def subscribe_local(self, *terms: Any) -> Deferred[Any]:
        """Refuse."""
        self.attempts += 1
        return fail(self._error)

    def drop_local(self, key: str) -> bool:
        """There is none."""
        return False


class LocalTests(SynchronousTestCase):
    """One member."""

    def watch(self, error: SipError) -> tuple[list[str], int, Any]:
        """What is told of a member, how often it is tried in a minute, and the back-end."""
        clock = Clock()
        notifier: Any = Refusing(error)
        backends = LocalBackEnds(notifier, TimerWheel(clock), Pace(clock, 1.0, 1.0))
        told: list[Instance] = []
        watching = Watching(1, Identity(("sip:alice@example.com",)), 69, 600)
        made = backends.subscribe(Member(BOB, BOB), watching, told.append, FilterSet())
        clock.pump([1.0] * 40)
        self.assertEqual(len({each.id for each in told}), len(told), "each attempt has its id")
        return [each.reason for each in told], notifier.attempts, made

    def test_refused(self) -> None:
        """RLS-11, RLS-24: the same reasons and new attempts as over SIP."""
        later = (("Retry-After", "9"),)
        for status, headers, reason, attempts in (
            (403, (), "rejected", 1),
            (404, (), "noresource", 1),
            (488, (), "giveup", 1),
            (488, later, "probation", 2),
            (480, (), "probation", 2),
            (503, (), "probation", 2),
        ):
            told, tried, made = self.watch(SipError(status, None, headers))
            self.assertEqual((told, tried), ([reason] * attempts, attempts), status)
            made.stop()

    def test_ended(self) -> None:
        """RLS-11: what has ended for good is not tried again."""
        for reason, again in (("rejected", 0), ("noresource", 0), ("giveup", 1), ("", 1)):
            _, _, made = self.watch(SipError(404))
            before = made._owner.notifier.attempts
            made.notified("terminated", reason, Notification())
            made._owner.wheel._clock.pump([1.0] * 40)
            self.assertEqual(made._owner.notifier.attempts - before, again, reason)
            made.stop()

    def test_no_document(self) -> None:
        """RLS-24: who is active without a document is told with an empty one, as over SIP."""
        clock = Clock()
        notifier: Any = Refusing(SipError(404))
        backends = LocalBackEnds(notifier, TimerWheel(clock), Pace(clock, 1.0, 1.0))
        told: list[Instance] = []
        watching = Watching(1, Identity(("sip:alice@example.com",)), 69, 600)
        made = backends.subscribe(Member(BOB, BOB), watching, told.append, FilterSet())
        made.notified("active", "", Notification())
        self.assertEqual((told[-1].state, told[-1].body), ("active", empty_document(BOB)))
        made.stop()
