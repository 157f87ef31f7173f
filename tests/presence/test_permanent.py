"""Tests of :mod:`presence.permanent`: presence that is written as a document (RFC 4827)."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from presence.authorization import RulesetPolicy
from presence.compose.sources import HARD_STATE
from presence.copies import Copies, CopySettings
from presence.interfaces import IPermanentState
from presence.lingering import LINGER
from presence.permanent import PermanentState
from presence.pidf.validate import DEFAULT_LIMIT
from presence.ruledocuments import RuleSettings
from pysip.timers import TimerWheel
from tests.presence.rulesources import (
    ANN,
    BOB,
    EVE,
    JOE,
    NUMBER,
    OMA,
    ROOT,
    START,
    UNREACHABLE,
    RuleSourceTestCase,
    one,
    ruleset,
)
from xcap.interfaces import IDocumentClient
from xcap.records import HttpResponse


def path(user: str = JOE) -> str:
    """Where the document of a user is."""
    return f"pidf-manipulation/users/{user}/index"


def state(note: str, user: str = JOE) -> bytes:
    """A document with a note."""
    return document(f'<tuple id="t"><status/><note>{note}</note></tuple>', user)


def document(inner: str, user: str = JOE) -> bytes:
    """A document."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="urn:ietf:params:xml:ns:pidf"'
        f' entity="{user}">{inner}</presence>'
    ).encode()


class PermanentCase(RuleSourceTestCase):
    """Base with permanent state on the copies of a rule source.

    :ivar news: presentities of which it has told.
    """

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.news: list[str] = []
        self.permanent = PermanentState(
            self.clock,
            lambda: START + self.clock.seconds(),
            self.source.copies,
            self.source.home,
        )
        self.permanent.watch(self.news.append)

    def tearDown(self) -> None:
        """Nothing is left after the end."""
        self.permanent.stop()
        self.assertEqual(len(self.permanent), 0)
        super().tearDown()

    def note(self, presentity: str = JOE) -> str | None:
        """The note in what takes part in composition, None for nothing."""
        record = self.permanent.record(presentity)
        if record is None:
            return None
        self.assertEqual((record.package, record.resource), (HARD_STATE, presentity))
        return record.body.partition(b"<note>")[2].partition(b"</note>")[0].decode()

    def assertNews(self, *expected: str) -> None:
        """Compare of whom it has told since this was called last, after all has settled."""
        self.settle()
        told, self.news[:] = list(self.news), []
        self.assertEqual(told, list(expected))


class DocumentTests(PermanentCase):
    """What documents are as sources of composition."""

    def test_interface(self) -> None:
        """It can be asked as composition asks."""
        self.assertTrue(verifyObject(IPermanentState, self.permanent))

    def test_changes(self) -> None:
        """XDM-62, XDM-64: it is there while it is stored; each change is told once."""
        self.assertIsNone(self.permanent.record(JOE))
        self.permanent.hold(JOE)
        self.assertIsNone(self.permanent.prepare(JOE))
        self.assertIsNone(self.note())
        self.put(path(), state("one"))
        self.assertNews(JOE)
        self.assertEqual(self.note(), "one")
        kept = self.permanent.record(JOE)
        assert kept is not None
        self.assertEqual(kept.changed, START + self.clock.seconds())
        self.put(OMA, ruleset(one(ANN)))
        self.assertNews()
        self.assertIs(self.permanent.record(JOE), kept)
        self.put(path(), state("two"))
        self.assertNews(JOE)
        self.assertEqual(self.note(), "two")
        self.delete(path())
        self.assertNews(JOE)
        self.assertIsNone(self.note())

    def test_empty(self) -> None:
        """XDM-64: a document without content is no source."""
        self.put(path(), state("one"))
        self.permanent.hold(JOE)
        self.assertEqual(self.note(), "one")
        self.put(path(), document(""))
        self.assertNews(JOE)
        self.assertIsNone(self.note())
        self.delete(path())
        self.assertNews()

    def test_aliases(self) -> None:
        """XDM-63: it is the document of the user, whatever URI is watched."""
        self.put(path(), state("one"))
        self.permanent.hold(JOE)
        self.permanent.hold(NUMBER)
        self.assertEqual((self.note(), self.note(NUMBER)), ("one", "one"))
        self.assertEqual(self.source.documents, 1)
        self.put(path(), state("two"))
        self.assertNews(JOE, NUMBER)

    def test_failing_listener(self) -> None:
        """Who fails when told harms no others."""

        def fail(presentity: str) -> None:
            raise RuntimeError

        self.permanent._listeners.insert(0, fail)
        self.permanent.hold(JOE)
        self.put(path(), state("one"))
        self.assertNews(JOE)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class HoldingTests(PermanentCase):
    """Whose documents are at hand."""

    def test_prepared(self) -> None:
        """PSV-08: a request waits until the document is there; it stays for some seconds."""
        self.put(path(), state("one"))
        self.gate.closed = lambda path: True
        ready = self.permanent.prepare(JOE)
        given_up = self.permanent.prepare(JOE)
        assert ready is not None and given_up is not None
        given_up.addErrback(lambda failure: None)
        given_up.cancel()
        self.assertNoResult(ready)
        self.gate.release()
        self.settle()
        self.assertIsNone(self.successResultOf(ready))
        self.assertEqual(self.note(), "one")
        self.pass_time(LINGER + 1)
        self.assertIsNone(self.note())
        self.assertEqual(self.source.documents, 0)

    def test_slow(self) -> None:
        """PSV-08: a document that does not come is not waited for longer; later it counts."""
        self.put(path(), state("one"))
        self.gate.closed = lambda path: True
        self.permanent.hold(JOE)
        ready = self.permanent.prepare(JOE)
        assert ready is not None
        self.pass_time(1.9, 0.1)
        self.assertNoResult(ready)
        self.pass_time(0.2, 0.1)
        self.assertIsNone(self.successResultOf(ready))
        self.assertIsNone(self.note())
        self.assertIsNone(self.permanent.prepare(JOE))
        self.gate.release()
        self.assertNews(JOE)
        self.assertEqual(self.note(), "one")

    def test_released_while_waiting(self) -> None:
        """Nobody waits for ever: a request goes on when its presentity is let go."""
        self.gate.closed = lambda path: True
        ready = self.permanent.prepare(JOE)
        assert ready is not None
        self.permanent.stop()
        self.assertIsNone(self.successResultOf(ready))

    def test_with_rules(self) -> None:
        """PSV-10: rules and permanent document of a user are followed as one."""
        self.hold()
        before = self.source.copies.followed
        self.permanent.hold(JOE)
        self.assertEqual(self.source.copies.followed, before)
        self.permanent.hold(BOB)
        self.assertEqual(self.source.copies.followed, before + 1)


class OutageTests(PermanentCase):
    """The document server is out of reach, and changes come by subscription."""

    lossy = True
    settings = RuleSettings(copies=CopySettings(poll=20.0, check=50.0, keep=3600.0))

    def test_last_good(self) -> None:
        """The last good copy counts, for a day as configured; then there is none (PSV-08)."""
        self.put(path(), state("one"))
        self.permanent.hold(JOE)
        self.settle()
        self.gate.failure = lambda path: UNREACHABLE
        self.feed.current = False
        self.pass_time(3500, 10.0)
        self.assertNews()
        self.assertEqual(self.note(), "one")
        self.pass_time(200, 10.0)
        self.assertNews(JOE)
        self.assertIsNone(self.note())
        self.gate.failure = lambda path: None
        self.pass_time(30, 10.0)
        self.assertNews(JOE)
        self.assertEqual(self.note(), "one")

    def test_never_seen(self) -> None:
        """Without a copy composition does without, and takes the document when it can be had."""
        self.put(path(), state("one"))
        self.gate.failure = lambda path: UNREACHABLE
        self.permanent.hold(JOE)
        self.assertIsNone(self.permanent.prepare(JOE))
        self.assertIsNone(self.note())
        self.gate.failure = lambda path: None
        self.pass_time(30, 10.0)
        self.assertNews(JOE)
        self.assertEqual(self.note(), "one")

    def test_missed_change(self) -> None:
        """FLW-04: a notification that is lost unnoticed is made good within a minute."""
        self.permanent.hold(JOE)
        self.pass_time(100, 10.0)
        self.feed.delay = True
        self.put(path(), state("one"))
        self.pass_time(60, 10.0)
        self.assertNews(JOE)

    def test_kept(self) -> None:
        """PSV-10: what nobody needs is followed, not polled; who comes has it asked for again."""
        self.permanent.keep(JOE)
        self.settle()
        self.gate.paths()
        self.pass_time(550, 10.0)
        self.assertEqual(self.gate.paths(), [])
        self.put(path(), state("one"))
        self.assertNews(JOE)
        self.feed.delay = True
        self.put(path(), state("two"))
        self.pass_time(1000, 10.0)
        self.assertEqual((self.note(), self.gate.paths()), ("one", []))
        self.gate.closed = lambda path: True
        ready = self.permanent.prepare(JOE)
        assert ready is not None
        self.gate.release()
        self.settle()
        self.successResultOf(ready)
        self.assertEqual(self.note(), "two")
        self.gate.closed = lambda path: False
        self.pass_time(LINGER + 1)
        self.assertEqual(self.note(), "two", "still kept")
        self.feed.current = False
        self.gate.paths()
        self.pass_time(1300, 10.0)
        self.assertEqual(self.gate.paths().count(path()), 2, "every ten minutes")
        self.gate.failure = lambda path: UNREACHABLE
        self.assertIsNone(self.permanent.prepare(JOE))
        self.assertEqual(self.note(), "two", "the last good copy")
        self.permanent.drop(JOE)
        self.pass_time(LINGER + 1)
        self.assertEqual(len(self.permanent), 0)

    def test_changed_back(self) -> None:
        """PSV-09: what is changed back before anybody has told of it is not used for long."""
        self.permanent.keep(JOE)
        self.pass_time(100, 10.0)
        self.feed.delay = True
        self.put(path(), state("one"))
        self.permanent.prepare(JOE)
        self.settle()
        self.assertEqual(self.note(), "one")
        self.delete(path())
        self.pass_time(1.5, 0.5)
        self.assertIsNone(self.note())

    def test_rules_kept(self) -> None:
        """PSV-08, PSV-10: the same for rules: fresh when they can be had, else the last copy."""
        policy = RulesetPolicy(self.source, self.clock, TimerWheel(self.clock), lambda: START)
        self.put(OMA, ruleset(one(ANN)))
        self.assertIsNone(policy.keep(JOE))
        self.settle()
        self.feed.delay = True
        self.put(OMA, ruleset(one(BOB)))
        self.assertIsNone(policy.prepare(JOE))
        self.assertDecisions(ann="block", bob="allow")
        self.pass_time(LINGER + 1)
        self.gate.failure = lambda path: UNREACHABLE
        self.put(OMA, ruleset(one(EVE)))
        self.assertIsNone(policy.prepare(JOE))
        self.assertDecisions(ann="block", bob="allow", eve="block")
        self.pass_time(LINGER + 1)
        self.gate.failure = lambda path: None
        self.gate.closed = lambda path: True
        ready = policy.prepare(JOE)
        assert ready is not None
        self.pass_time(3.0)
        self.successResultOf(ready)
        self.assertDecisions(ann="block", bob="allow", eve="block")
        self.gate.release()
        self.settle()
        self.assertDecisions(ann="block", bob="block", eve="allow")
        policy.stop()


class CrowdTests(PermanentCase):
    """Many documents change at the same time."""

    lossy = True

    def test_in_turns(self) -> None:
        """They are not all looked at in one turn of the reactor."""
        users = [f"sip:u{number}@example.com" for number in range(200)]
        for user in users:
            self.permanent.hold(user)
        self.feed.delay = True
        for user in users:
            self.put(path(user), state("one", user))
        self.feed.release()
        before = self.clock.turns
        self.settle()
        self.assertEqual(sorted(self.news), sorted(users))
        self.assertTrue(2 <= self.clock.turns - before <= 10, self.clock.turns - before)


@implementer(IDocumentClient)
class Answers:
    """Answers every GET alike.

    :ivar body: the document.
    """

    body = b""

    def get(self, uri: str, etag: str | None = None) -> Deferred[HttpResponse]:
        """GET."""
        return succeed(HttpResponse(200, body=self.body))

    def put(self, *arguments: Any, **options: Any) -> Deferred[HttpResponse]:
        """Never asked for."""
        raise NotImplementedError

    def delete(self, *arguments: Any, **options: Any) -> Deferred[HttpResponse]:
        """Never asked for."""
        raise NotImplementedError


class Silent:
    """A feed that tells nothing."""

    sure = False
    current = False

    def follow(self, *arguments: Any) -> Any:
        """Follow nothing."""
        return self

    def stop(self) -> None:
        """Nothing is followed."""


class UnreadableTests(SynchronousTestCase):
    """Documents that no document server would have taken."""

    def test_ignored(self) -> None:
        """What is not valid is ignored, and logged without a word of it."""
        clock, server = Clock(), Answers()
        copies = Copies(clock, lambda root, reader: server, Silent(), CopySettings())
        permanent = PermanentState(clock, lambda: START, copies, lambda presentity: (ROOT, JOE))
        for body in (
            b"",
            b"secret",
            b"<presence>",
            document("<tuple/>secret"),
            document("<tuple id='t'><status/></tuple>") + b" " * DEFAULT_LIMIT,
            b'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"/>',
            b'<!DOCTYPE p [<!ENTITY e "secret">]>' + document("&e;"),
        ):
            server.body = body
            with mock.patch.object(Logger, "warn") as warned:
                permanent.hold(JOE)
                self.assertIsNone(permanent.record(JOE), body[:80])
            self.assertEqual(warned.call_count, 1)
            self.assertNotIn("secret", repr(warned.call_args))
            permanent.stop()
        server.body = state("good")
        permanent.hold(JOE)
        good = permanent.record(JOE)
        assert good is not None
        server.body = b"<presence"
        clock.advance(20)
        clock.advance(0)
        self.assertIs(permanent.record(JOE), good)
        permanent.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
