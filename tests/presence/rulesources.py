"""What tests of those who read documents share: a document server and a way to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from presence.copies import CopySettings
from presence.following import Feed, Following, StoreFeed, Told
from presence.ruledocuments import RuleSettings
from presence.rules.decide import decide
from presence.rules.defaults import default_rules
from presence.rules.model import Context, Watcher
from presence.rulesource import RuleSource
from xcap.agent import NoAnswer
from xcap.auth.identity import IdentityAsserter
from xcap.client import XcapClient
from xcap.interfaces import IDocumentClient, ISubscribers
from xcap.records import HttpResponse
from xcap.roots import Root
from xcap.routes import Group, RouteTable
from xcap.server import DocumentServer
from xcap.serveragent import ServerAgent
from xcap.store.memory import MemoryDocumentStore
from xcap.upstream import LocalBackEnd
from xcap.uri import canonical_xui, quote_node
from xcap.usage.base import Trusted
from xcap.usage.standard import UsageSettings, standard_usages

ROOT = "https://xcap.example.com/"
JOE = "sip:joe@example.com"
NUMBER = "tel:+15550100"
ANN = "sip:ann@example.com"
BOB = "sip:bob@example.com"
EVE = "sip:eve@other.example"
SERVER = "sip:presence@example.com"
OMA = f"org.openmobilealliance.pres-rules/users/{JOE}/pres-rules"
IETF = f"pres-rules/users/{JOE}/"
DIRECTORY = f"org.openmobilealliance.xcap-directory/users/{JOE}/directory.xml"
LISTS = f"resource-lists/users/{JOE}/index"
DEFAULT = "org.openmobilealliance.pres-rules/global/pres-rules"
FAR = "https://xdm.other.example/services/"
FAR_LIST = "resource-lists/users/sip:eve@other.example/index"
START = 1_700_000_000.0

_TYPES = {
    "pidf-manipulation": "pidf",
    "pres-rules": "auth-policy",
    "resource-lists": "resource-lists",
    "rls-services": "rls-services",
}


@implementer(ISubscribers)
class Users:
    """Everybody at example.com; Joe has a number."""

    def canonical(self, xui: str) -> str:
        """Joe's number is Joe's."""
        found = canonical_xui(xui)
        return JOE if found == NUMBER else found

    def known(self, xui: str) -> bool:
        """Whether it is one of ours."""
        return xui.endswith("@example.com")


def one(*uris: str, handling: str = "allow", name: str = "one") -> str:
    """A rule for some identities."""
    ids = "".join(f'<cp:one id="{uri}"/>' for uri in uris)
    return rule(f"<cp:identity>{ids}</cp:identity>", handling, name)


def listed(*anchors: str, handling: str = "allow", name: str = "listed") -> str:
    """A rule for the members of lists."""
    entries = "".join(f"<ocp:entry anc='{anchor}'/>" for anchor in anchors)
    return rule(f"<ocp:external-list>{entries}</ocp:external-list>", handling, name)


def rule(conditions: str, handling: str, name: str) -> str:
    """A rule."""
    return (
        f'<cp:rule id="{name}"><cp:conditions>{conditions}</cp:conditions>'
        f"<cp:actions><pr:sub-handling>{handling}</pr:sub-handling></cp:actions></cp:rule>"
    )


def ruleset(*rules: str) -> bytes:
    """A rule document."""
    return (
        '<cp:ruleset xmlns:cp="urn:ietf:params:xml:ns:common-policy"'
        ' xmlns:pr="urn:ietf:params:xml:ns:pres-rules" xmlns:ocp="urn:oma:xml:xdm:common-policy">'
        f"{''.join(rules)}</cp:ruleset>"
    ).encode()


def lists(**members: tuple[str, ...]) -> bytes:
    """A document of lists; what begins with ``https:`` is referred to."""
    inner = ""
    for name, uris in members.items():
        inner += f'<list name="{name}">'
        for uri in uris:
            if uri.startswith("https:"):
                inner += f"<external anchor='{uri}'/>"
            else:
                inner += f'<entry uri="{uri}"/>'
        inner += "</list>"
    space = "urn:ietf:params:xml:ns:resource-lists"
    return f'<resource-lists xmlns="{space}">{inner}</resource-lists>'.encode()


def anchor(name: str, path: str = LISTS, root: str = ROOT) -> str:
    """The URI of a list."""
    return f"{root}{path}/~~/" + quote_node(f'resource-lists/list[@name="{name}"]')


class Gate:
    """A client on whose way something can happen.

    :ivar asked: paths that were asked for, with the entity-tag and the reader.
    :ivar closed: answers are kept back until :meth:`release`; a function of the path.
    :ivar failure: instead of answers: a status or an exception.
    """

    def __init__(self, clients: Callable[[str], IDocumentClient]) -> None:
        self.asked: list[tuple[str, str | None, str]] = []
        self.closed: Callable[[str], bool] = lambda path: False
        self.failure: Callable[[str], int | Exception | None] = lambda path: None
        self._clients = clients
        self._waiting: list[tuple[str, Deferred[HttpResponse], Any]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def reader(self, reader: str) -> Way:
        """The client of a reader."""
        return Way(self, reader)

    def paths(self) -> list[str]:
        """What was asked for since this was called last."""
        asked, self.asked = self.asked, []
        return [path for path, _, _ in asked]

    def get(self, uri: str, etag: str | None, reader: str) -> Deferred[HttpResponse]:
        """GET: what the answer is is decided now."""
        path = uri.removeprefix(ROOT)
        self.asked.append((path, etag, reader))
        answer: Deferred[HttpResponse]
        failure = self.failure(path)
        if isinstance(failure, Exception):
            answer = fail(failure)
        elif failure is not None:
            answer = succeed(HttpResponse(failure))
        else:
            answer = self._clients(reader).get(uri, etag)
        if not self.closed(path):
            return answer
        waiting: Deferred[HttpResponse] = Deferred()
        outcome: list[Any] = []
        answer.addBoth(outcome.append)
        self._waiting.append((path, waiting, outcome))
        return waiting

    def release(self, *paths: str) -> None:
        """Let answers go, of all paths when none is given."""
        waiting, self._waiting = self._waiting, []
        for path, deferred, outcome in waiting:
            if paths and path not in paths:
                self._waiting.append((path, deferred, outcome))
            elif not deferred.called:
                deferred.callback(outcome[0])


@implementer(IDocumentClient)
class Way:
    """Goes through a gate."""

    def __init__(self, gate: Gate, reader: str) -> None:
        self._gate = gate
        self._reader = reader

    def get(self, uri: str, etag: str | None = None) -> Deferred[HttpResponse]:
        """GET."""
        return self._gate.get(uri, etag, self._reader)

    def put(
        self, uri: str, body: bytes, content_type: str, *, match: str | None = None
    ) -> Deferred[HttpResponse]:
        """Never asked for."""
        raise NotImplementedError

    def delete(self, uri: str, *, match: str | None = None) -> Deferred[HttpResponse]:
        """Never asked for."""
        raise NotImplementedError


@implementer(IDocumentClient)
class FarServer:
    """A server elsewhere with one list.

    :ivar status: instead of the list.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.members: tuple[str, ...] = ()
        self.status = 0

    def get(self, uri: str, etag: str | None = None) -> Deferred[HttpResponse]:
        """GET."""
        self.asked.append((uri, etag))
        if self.status:
            return succeed(HttpResponse(self.status))
        tag = (("ETag", f'"{len(self.asked)}"'),)
        return succeed(HttpResponse(200, tag, lists(team=self.members)))

    def put(
        self, uri: str, body: bytes, content_type: str, *, match: str | None = None
    ) -> Deferred[HttpResponse]:
        """Never asked for."""
        raise NotImplementedError

    def delete(self, uri: str, *, match: str | None = None) -> Deferred[HttpResponse]:
        """Never asked for."""
        raise NotImplementedError


class LossyFeed:
    """A feed that may be out of order, over one that is not.

    :ivar current: changes are told.
    :ivar delay: what is told waits for :meth:`release`.
    """

    def __init__(self, feed: Feed) -> None:
        self.current = True
        self.delay = False
        self._feed = feed
        self._late: list[Callable[[], None]] = []

    def follow(self, root: str, uris: tuple[str, ...], told: Told) -> Following:
        """Follow unless it is out of order."""

        def tell(path: str, document: Any) -> None:
            if not self.current:
                return
            if self.delay:
                self._late.append(lambda: told(path, document))
            else:
                told(path, document)

        return _Lossy(self, self._feed.follow(root, uris, tell))

    def release(self) -> None:
        """Tell what was delayed."""
        late, self._late = self._late, []
        for tell in late:
            tell()


class _Lossy:
    """What a lossy feed follows."""

    sure = False

    def __init__(self, feed: LossyFeed, following: Following) -> None:
        self._feed = feed
        self._following = following

    @property
    def current(self) -> bool:
        """As the feed."""
        return self._feed.current

    def stop(self) -> None:
        """End."""
        self._following.stop()


class TurnClock(Clock):
    """A clock that counts what is to be done in later turns of the reactor.

    :ivar turns: calls at once.
    """

    turns = 0

    def callLater(self, when: float, what: Any, *args: Any, **kwargs: Any) -> Any:
        """Count."""
        self.turns += not when
        return super().callLater(when, what, *args, **kwargs)


class DocumentsTestCase(SynchronousTestCase):
    """Base with a document server.

    :cvar foreign_lists: lists at other servers may be referred to.
    """

    foreign_lists = False

    def setUp(self) -> None:
        """Start it."""
        self.clock = TurnClock()
        self.store = MemoryDocumentStore(self.clock, lambda: START + self.clock.seconds())
        self.successResultOf(self.store.start())
        usages = standard_usages(
            UsageSettings(
                subscribers=Users(),
                serves=lambda domain: domain == "example.com",
                trusted=(Trusted(SERVER, write=True),),
                foreign_lists=self.foreign_lists,
            )
        )
        roles = ("presence-xdms", "shared-xdms", "rls-xdms")
        served = {u.auid: u for role in roles for u in usages[role]}
        self.server = DocumentServer(
            [Root(ROOT)],
            served.values(),
            self.store,
            Users(),
            IdentityAsserter(canonical=Users().canonical),
        )
        local = LocalBackEnd("local", self.server, served)
        self.routes = RouteTable([Group("local", (local,), frozenset(served))])
        self.gate = Gate(lambda reader: self.client(reader or SERVER))
        self.store_feed = StoreFeed(self.store)
        self.feed = LossyFeed(self.store_feed)

    def clients(self, root: str, reader: str) -> IDocumentClient | None:
        """The client of a reader; other servers are not asked."""
        return self.gate.reader(reader) if root == ROOT else None

    def client(self, identity: str) -> XcapClient:
        """A client with an identity."""
        return XcapClient(ServerAgent(ROOT, self.routes, (identity,)), ROOT)

    def put(self, path: str, octets: bytes, user: str = "") -> None:
        """Store a document, as its owner unless told otherwise; nobody looks at it yet."""
        segments = path.split("/")
        user = user or (segments[2] if segments[1] == "users" else SERVER)
        media = _TYPES[segments[0].rpartition(".")[2]]
        answer = self.wait(self.client(user).put(path, octets, f"application/{media}+xml"))
        self.assertIn(answer.status, (200, 201), answer.body)

    def delete(self, path: str) -> None:
        """Remove a document."""
        user = path.split("/")[2] if "/users/" in path else SERVER
        self.assertEqual(self.wait(self.client(user).delete(path)).status, 200)

    def wait(self, deferred: Deferred[Any]) -> Any:
        """What comes out of the document server; it takes no time."""
        for _ in range(10):
            if deferred.called:
                break
            self.clock.advance(0)
        return self.successResultOf(deferred)

    def settle(self) -> None:
        """Let what is due at once happen."""
        for _ in range(100):
            self.clock.advance(0)

    def disturb(self, rng: random.Random) -> None:
        """Do something that delays, loses or fails."""
        action = rng.random()
        if action < 0.25:
            shut = rng.random() < 0.5
            self.gate.closed = lambda path: shut
        elif action < 0.45:
            self.gate.release()
        elif action < 0.55:
            down = rng.random() < 0.5
            self.gate.failure = lambda path: UNREACHABLE if down else None
        elif action < 0.65:
            self.feed.current = not self.feed.current
        elif action < 0.75:
            self.feed.delay = not self.feed.delay
        elif action < 0.87:
            self.feed.release()
        else:
            self.pass_time(rng.choice([0.3, 1.0, 3.0, 30.0]))

    def calm(self) -> None:
        """Everything gets through again."""
        self.gate.closed = lambda path: False
        self.gate.failure = lambda path: None
        self.feed.delay, self.feed.current = False, True
        self.feed.release()
        self.gate.release()

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(step, end - self.clock.seconds()))
        self.settle()


class RuleSourceTestCase(DocumentsTestCase):
    """Base with a rule source on a document server.

    :cvar settings: of the source.
    :cvar lossy: whether the feed may be out of order.
    :ivar told: presentities of which the source has told that something has changed.
    """

    settings = RuleSettings()
    lossy = False

    def setUp(self) -> None:
        """Start all."""
        super().setUp()
        self.told: list[str] = []
        self.source = self.make(self.settings)

    def tearDown(self) -> None:
        """Nothing is left when nobody is held."""
        self.source.stop()
        self.assertEqual((len(self.source), self.source.documents), (0, 0))
        self.assertEqual(len(self.store_feed), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def make(self, settings: RuleSettings) -> RuleSource:
        """A rule source."""
        source = RuleSource(
            self.clock,
            self.clients,
            self.feed if self.lossy else self.store_feed,
            lambda presentity: ROOT,
            Users().canonical,
            settings=settings,
        )
        source.watch(self.told.append)
        return source

    def changes(self) -> list[str]:
        """Of whom the source has told since this was called last, after all has settled."""
        self.settle()
        told, self.told[:] = list(self.told), []
        return told

    def hold(self, presentity: str = JOE) -> None:
        """Hold somebody; everything is there at once."""
        self.source.hold(presentity)
        self.assertIsNone(self.source.ready(presentity))

    def decision(self, watcher: str, presentity: str = JOE) -> str:
        """What becomes of a watcher; without rules it is in brackets."""
        rules = self.source.rules(presentity)
        context = Context(START, None, self.source.lists(presentity))
        known = default_rules("confirm") if rules is None else rules
        found = decide(known, frozenset({presentity}), Watcher((watcher,)), context)
        return f"({found.handling})" if rules is None else found.handling

    def assertDecisions(self, presentity: str = JOE, **handlings: str) -> None:
        """Compare decisions on Ann, Bob and Eve."""
        uris = {"ann": ANN, "bob": BOB, "eve": EVE}
        found = {name: self.decision(uris[name], presentity) for name in handlings}
        self.assertEqual(found, handlings)


UNREACHABLE = NoAnswer("unreachable", "xcap.example.com:443", "it cannot be reached")
SLOW = CopySettings(poll=20.0, check=0.0)
