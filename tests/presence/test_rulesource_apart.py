"""Tests of :mod:`presence.rulesource` apart from the document servers (PSV-07, PSV-08, PSV-10)."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from presence.copies import CopySettings
from presence.documentcopy import followed_with
from presence.following import SubscriptionFeed
from presence.permanent import PermanentState
from presence.ruledocuments import RuleSettings
from presence.rules.decide import decide
from presence.rules.model import Context, Watcher
from presence.rulesource import RuleSource
from pysip.errors import SipError
from pysip.event.subscriber import NotifyRouter
from pysip.event.table import NotifierPolicy
from tests.pairs.test_lossy import client, route
from tests.presence.rulesources import (
    ANN,
    BOB,
    EVE,
    IETF,
    JOE,
    LISTS,
    OMA,
    ROOT,
    SERVER,
    START,
    UNREACHABLE,
    RuleSourceTestCase,
    anchor,
    listed,
    lists,
    one,
    rule,
    ruleset,
)
from tests.xcap.notifying import PSI, DocumentNode, Rates, Users, key
from xcap.agent import HttpAgent
from xcap.auth.identity import IN_PROCESS, IdentityAsserter
from xcap.client import XcapClient
from xcap.follow import DocumentFollower
from xcap.followterms import FollowListener, FollowTerms
from xcap.records import Draft, Head, Headers, HttpResponse
from xcap.roots import Root
from xcap.server import DocumentServer
from xcap.usage.base import Trusted, Usage
from xcap.usage.directory import XcapDirectory
from xcap.usage.pidfmanipulation import PidfManipulation
from xcap.usage.presrules import OmaPresRules, PresRules
from xcap.usage.resourcelists import ResourceLists

OTHERS = rule("<ocp:other-identity/>", "block", "others")
FRIENDS = anchor("friends")


class PollTests(RuleSourceTestCase):
    """PSV-10: a feed that is lost is made good by polling."""

    lossy = True
    settings = RuleSettings(copies=CopySettings(poll=20.0, check=0.0))

    def setUp(self) -> None:
        """Joe has rules and a list and is held."""
        super().setUp()
        self.put(OMA, ruleset(listed(FRIENDS), OTHERS))
        self.put(LISTS, lists(friends=(ANN,)))
        self.hold()
        self.pass_time(20.0)
        self.gate.paths()

    def test_followed(self) -> None:
        """PSV-07: while changes are told nothing is polled, nor what is told fetched."""
        self.pass_time(300.0)
        self.assertEqual(self.gate.paths(), [])
        self.put(OMA, ruleset(one(BOB)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="allow")
        self.assertEqual(self.gate.paths(), [])

    def test_lost(self) -> None:
        """PSV-10, FLW-04: it polls with entity-tags until changes are told again."""
        self.feed.current = False
        self.pass_time(20.0)
        self.assertEqual([path for path, _, _ in self.gate.asked], [OMA, LISTS])
        self.assertTrue(all(etag for _, etag, _ in self.gate.asked))
        self.gate.paths()
        self.assertEqual(self.changes(), [])
        self.put(LISTS, lists(friends=(BOB,)))
        self.assertEqual(self.changes(), [])
        self.pass_time(20.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="allow")
        self.delete(OMA)
        self.feed.current = True
        self.pass_time(20.0)
        self.assertEqual(self.changes(), [JOE])  # what has happened in between
        self.assertIsNone(self.source.rules(JOE))
        self.gate.paths()
        self.pass_time(300.0)
        self.assertEqual(self.gate.paths(), [])

    def test_unreachable(self) -> None:
        """PSV-08: a copy is used for a day, then everybody is confirmed."""
        self.feed.current = False
        self.gate.failure = lambda path: UNREACHABLE
        self.pass_time(86_400.0, 60.0)
        self.assertEqual(self.changes(), [])
        self.assertDecisions(ann="allow", bob="block")
        self.pass_time(60.0, 20.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="confirm", bob="confirm")
        self.gate.failure = lambda path: None
        self.pass_time(20.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="block")

    def test_list_unreachable(self) -> None:
        """XDM-123: the last good resolution is a day old when its documents are."""
        self.feed.current = False
        self.gate.failure = lambda path: UNREACHABLE if path == LISTS else None
        self.pass_time(86_400.0, 60.0)
        self.assertEqual(self.changes(), [])
        self.pass_time(60.0, 20.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertIsNone(self.source.lists(JOE)(FRIENDS))

    def test_long_followed(self) -> None:
        """PSV-08: the day begins when changes are no longer told."""
        self.pass_time(200_000.0, 1000.0)
        self.feed.current = False
        self.gate.failure = lambda path: UNREACHABLE
        self.pass_time(80_000.0, 1000.0)
        self.assertEqual(self.changes(), [])
        self.assertDecisions(ann="allow")

    def test_told_while_failing(self) -> None:
        """What is told counts, too, while nothing can be fetched."""
        self.feed.current = False
        self.gate.failure = lambda path: UNREACHABLE
        self.pass_time(20.0)
        self.feed.current = True
        self.put(OMA, ruleset(one(BOB)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="allow")

    def test_many(self) -> None:
        """A round of polling is spread over several turns."""
        users = [f"sip:u{number}@example.com" for number in range(300)]
        for user in users:
            self.source.hold(user)
        self.feed.current = False
        self.gate.paths()
        turns = self.clock.turns
        self.clock.advance(20.0)
        self.settle()
        self.assertGreater(self.clock.turns - turns, 1)
        self.assertEqual(len(self.gate.paths()), 602)
        self.clock.advance(20.0)
        self.source.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class CheckTests(RuleSourceTestCase):
    """FLW-04: a notification that is lost without anybody noticing."""

    lossy = True

    def test_check(self) -> None:
        """FLW-04: the end state is reached within a minute."""
        self.put(OMA, ruleset(one(ANN)))
        self.hold()
        self.pass_time(100.0)
        self.feed.delay = True  # for ever
        self.put(OMA, ruleset(one(BOB)))
        self.pass_time(50.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="allow")


class OrderTests(RuleSourceTestCase):
    """Changes, answers and what is told in any order."""

    lossy = True
    settings = RuleSettings(keep=10.0, copies=CopySettings(poll=20.0, check=40.0))

    def play(self, seed: int) -> None:
        """Change documents at random; in the end what is used is what is there."""
        rng = random.Random(seed)
        work = f"resource-lists/users/{JOE}/work"
        everybody = [ANN, BOB, EVE]

        def some() -> tuple[str, ...]:
            return tuple(uri for uri in everybody if rng.random() < 0.5)

        def rules() -> bytes:
            names = [FRIENDS, anchor("work", work)]
            return ruleset(
                listed(*(a for a in names if rng.random() < 0.7)),
                one(*some() or (JOE,), handling=rng.choice(["allow", "polite-block"])),
            )

        paths = [OMA, f"{IETF}index", f"{IETF}more", LISTS, work]
        present: set[str] = set()
        held = 0
        for _ in range(60):
            action = rng.random()
            if action < 0.4:
                path = rng.choice(paths)
                if path in present and rng.random() < 0.3:
                    self.delete(path)
                    present.discard(path)
                else:
                    more = (anchor("work", work),) if rng.random() < 0.5 else ()
                    octets = {
                        LISTS: lists(friends=(*some(), *more)),
                        work: lists(work=some()),
                    }.get(path) or rules()
                    self.put(path, octets)
                    present.add(path)
            elif action < 0.5 and held < 3:
                self.source.hold(JOE)
                held += 1
            elif action < 0.55 and held:
                self.source.release(JOE)
                held -= 1
            else:
                self.disturb(rng)
        self.calm()
        if not held:
            self.source.hold(JOE)
        self.pass_time(120.0)
        fresh = self.make(self.settings)
        fresh.hold(JOE)
        self.assertIsNone(fresh.ready(JOE))
        self.assertEqual(self.status(self.source), self.status(fresh), seed)
        fresh.stop()

    def status(self, source: RuleSource) -> Any:
        """What somebody decides by."""
        rules = source.rules(JOE)
        if rules is None:
            return None
        found = []
        for watcher in (ANN, BOB, EVE):
            context = Context(START, None, source.lists(JOE))
            found.append(decide(rules, frozenset({JOE}), Watcher((watcher,)), context).handling)
        return found

    def test_any_order(self) -> None:
        """PSV-09: 150 random histories end in what the documents say."""
        for seed in range(150):
            if seed:
                self.tearDown()
                self.setUp()
            self.play(seed)
            self.source.stop()


class Agent:
    """Sends requests to the document server, as the Presence Server.

    :ivar asked: methods and paths.
    """

    def __init__(self, server: DocumentServer, asserter: IdentityAsserter) -> None:
        self.asked: list[str] = []
        self.failing = False
        self._server = server
        self._assertion = asserter.assertion((SERVER,))

    async def request(
        self, method: str, uri: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> HttpResponse:
        """Send a request."""
        self.asked.append(uri.removeprefix(ROOT))
        if self.failing:
            raise UNREACHABLE
        fields = Headers([*self._assertion, *headers])
        target = uri.removeprefix(ROOT.rstrip("/"))
        head = Head(method, target, "xcap.example.com", fields, IN_PROCESS)
        answer = await self._server.begin(head)
        assert isinstance(answer, HttpResponse)
        return answer


class SubscribedTests(SynchronousTestCase):
    """Over HTTP and SIP, with the real servers and clients on a network in memory."""

    def setUp(self) -> None:
        """A document server with its notifier, and a Presence Server's side."""
        trusted = (Trusted(SERVER),)
        usages: list[Usage] = [
            OmaPresRules(Users(), trusted),
            PresRules(trusted),
            PidfManipulation(Users(), trusted),
            ResourceLists(trusted),
            XcapDirectory(trusted),
        ]
        self.node = DocumentNode(usages=usages)
        asserter = IdentityAsserter()
        server = DocumentServer([Root(ROOT)], usages, self.node.documents, Users(), asserter)
        self.agent = Agent(server, asserter)
        self.xcap = XcapClient(cast(HttpAgent, self.agent), ROOT)
        self.ua = client(self.node, "198.51.100.1", 1)
        router = NotifyRouter(self.ua)

        def follower(
            root: str, uris: tuple[str, ...], listener: FollowListener
        ) -> DocumentFollower:
            terms = FollowTerms(
                uris=uris,
                uri=PSI,
                local_uri=f"<{SERVER}>",
                contact=lambda: "<sip:presence@198.51.100.1:5060>",
                expires=600,
                route=route("UDP"),
            )
            return DocumentFollower(router, self.xcap, terms, listener)

        self.feed = SubscriptionFeed(self.node.clock, follower)
        self.feed.start()
        self.told: list[str] = []
        self.source = RuleSource(
            self.node.clock,
            lambda root, reader: self.xcap,
            self.feed,
            lambda presentity: ROOT,
            Users().canonical,
            settings=RuleSettings(copies=CopySettings(poll=20.0, check=0.0)),
        )
        self.source.watch(self.told.append)

    def decide(self, watcher: str) -> str:
        """What becomes of a watcher."""
        rules = self.source.rules(JOE)
        if rules is None:
            return "default"
        context = Context(START, None, self.source.lists(JOE))
        return decide(rules, frozenset({JOE}), Watcher((watcher,)), context).handling

    def changes(self) -> list[str]:
        """Of whom the source has told."""
        told, self.told[:] = list(self.told), []
        return told

    def hold(self) -> None:
        """Hold Joe until all is there and followed."""
        self.source.hold(JOE)
        self.node.advance(1.0)
        self.assertIsNone(self.source.ready(JOE))
        self.assertEqual(self.changes(), [])

    def test_change(self) -> None:
        """PSV-07, PSV-09, FLW-04: changes arrive by NOTIFY within a second."""
        self.node.put(OMA, ruleset(listed(FRIENDS), OTHERS))
        self.node.put(LISTS, lists(friends=(ANN,)))
        self.hold()
        self.assertEqual((self.decide(ANN), self.decide(BOB)), ("allow", "block"))
        self.node.put(LISTS, lists(friends=(BOB,)), seconds=1.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertEqual((self.decide(ANN), self.decide(BOB)), ("block", "allow"))
        self.node.put(OMA, ruleset(one(EVE)), seconds=1.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertEqual((self.decide(BOB), self.decide(EVE)), ("block", "allow"))
        self.node.delete(OMA, seconds=1.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertEqual(self.decide(EVE), "default")
        self.node.put(f"{IETF}index", ruleset(one(BOB)), seconds=1.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertEqual(self.decide(BOB), "allow")
        self.end()

    def test_permanent(self) -> None:
        """XDM-64, PSV-10: permanent state comes by the same subscription as the rules."""
        permanent = PermanentState(
            self.node.clock, lambda: START, self.source.copies, self.source.home
        )
        changed: list[str] = []
        permanent.watch(changed.append)
        self.hold()
        subscriptions = len(self.node.notifier)
        permanent.hold(JOE)
        self.node.advance(1.0)
        self.assertEqual((len(self.node.notifier), subscriptions), (1, 1))
        body = (
            b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:joe@example.com">'
            b'<tuple id="t"><status/></tuple></presence>'
        )
        where = f"pidf-manipulation/users/{JOE}/index"
        self.node.put(where, body, seconds=1.0)
        self.assertEqual((changed, self.changes()), ([JOE], []))
        record = permanent.record(JOE)
        assert record is not None
        self.assertTrue(record.body.endswith(body))
        self.node.delete(where, seconds=1.0)
        self.assertEqual(changed, [JOE, JOE])
        self.assertIsNone(permanent.record(JOE))
        permanent.stop()
        self.end()

    def test_many_users(self) -> None:
        """PSV-07, SUB-18: one server follows very many users; limits of watchers are not its."""
        self.node.notifier.set_policy(NotifierPolicy(servers=frozenset({SERVER})), Rates(0.0))
        users = [f"sip:u{number}@example.com" for number in range(50)]
        for user in users:
            self.source.hold(user)
        self.node.advance(3.0)
        self.assertEqual(len(self.node.notifier), 50)
        for user in users:
            self.source.release(user)
        self.node.done(_ended(self.feed))

    def test_lost(self) -> None:
        """PSV-10, FLW-04: without a subscription it polls, until there is one again."""
        self.node.put(OMA, ruleset(one(ANN)))
        self.hold()
        # the document server forgets its subscribers and takes no new ones
        self.node.notifier.stop()
        self.node.ua.add_method("SUBSCRIBE", _refuse)
        self.node.advance(600.0, step=0.5)
        self.changes()
        where = key(OMA)
        known = self.node.done(self.node.documents.fetch(where))
        self.node.done(self.node.documents.commit(Draft(where, known.etag, ruleset(one(BOB)), JOE)))
        self.node.advance(60.0, step=0.5)
        self.assertEqual(self.changes(), [JOE])
        self.assertEqual((self.decide(ANN), self.decide(BOB)), ("block", "allow"))
        self.end()

    def test_unreachable(self) -> None:
        """PSV-08: nothing can be fetched, until it can."""
        self.node.put(OMA, ruleset(one(ANN)))
        self.agent.failing = True
        self.source.hold(JOE)
        self.node.advance(2.0)
        self.assertIsNone(self.source.ready(JOE))
        self.assertEqual(self.decide(ANN), "confirm")
        self.agent.failing = False
        self.node.advance(60.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertEqual(self.decide(ANN), "allow")
        self.end()

    def end(self) -> None:
        """After the release nothing is followed any more."""
        self.source.release(JOE)
        self.assertEqual((len(self.source), self.source.documents), (0, 0))
        self.node.done(_ended(self.feed))
        self.node.advance(40.0)
        self.told.clear()
        asked = len(self.agent.asked)
        self.node.put(OMA, ruleset(one(EVE)), seconds=30.0)
        self.assertEqual(self.told, [])
        self.assertEqual(len(self.agent.asked), asked)
        self.assertEqual(len(self.node.feed), 0)


def _refuse(served: Any) -> None:
    """A document server that is busy."""
    raise SipError(503)


def _ended(feed: SubscriptionFeed) -> Any:
    return Deferred.fromCoroutine(feed.stop())


class FollowedWithTests(SynchronousTestCase):
    """What is followed together."""

    def test_followed_with(self) -> None:
        """PSV-10: one subscription for each server: to rules and permanent state, and to lists."""
        permanent = f"pidf-manipulation/users/{JOE}/"
        rules = (f"org.openmobilealliance.pres-rules/users/{JOE}/", IETF, permanent)
        directory = f"org.openmobilealliance.xcap-directory/users/{JOE}/directory.xml"
        for path in (OMA, f"{IETF}index", f"{IETF}a/b", directory, f"{permanent}index"):
            self.assertEqual(followed_with(path), rules)
        self.assertEqual(followed_with(LISTS), (f"resource-lists/users/{JOE}/",))
        self.assertEqual(
            followed_with("resource-lists/global/index"), ("resource-lists/global/index",)
        )
