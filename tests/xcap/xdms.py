"""A document server on memory, with an application usage made for tests."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from lxml import etree
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from xcap.errors import Conflict, Exists, XcapError
from xcap.interfaces import IApplicationUsage, IIdentityAsserter, ISubscribers
from xcap.records import (
    Claim,
    Document,
    DocumentKey,
    Head,
    Headers,
    HttpPeer,
    HttpResponse,
    Requester,
    Tree,
)
from xcap.report import CONTENT_TYPE, parse_report
from xcap.roots import Root
from xcap.server import DocumentServer
from xcap.store.memory import MemoryDocumentStore
from xcap.uri import canonical_xui
from xcap.writing import ServerSettings

Result = TypeVar("Result")

ROOT = "https://xcap.example.com/"
NS = "urn:ietf:params:xml:ns:resource-lists"
JOE = "sip:joe@example.com"
ANN = "sip:ann@example.com"
TRUSTED = "sip:rls@example.com"
HOME = f"/test/users/{JOE}"
INDEX = f"{HOME}/index"
START = 1_700_000_000.0

DOCUMENT = b"""<?xml version="1.0" encoding="UTF-8"?>
<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">
 <list name="friends">
  <!-- kept -->
  <entry uri='sip:bob@example.com'><display-name>Bob &amp; Co</display-name></entry>
  <entry uri="sip:ann@example.com"/>
 </list>
 <list name="empty"/>
</resource-lists>
"""
TYPE = "application/test+xml"
ELEMENT = "application/xcap-el+xml"
ATTRIBUTE = "application/xcap-att+xml"
FRIENDS = "/~~/resource-lists/list%5b@name=%22friends%22%5d"


def entry(uri: str) -> bytes:
    """An entry of a list."""
    return f'<entry uri="{uri}"/>'.encode()


def step(uri: str) -> str:
    """The step that selects an entry."""
    return f"/entry%5b@uri=%22{uri}%22%5d"


@implementer(ISubscribers)
class Subscribers:
    """Joe, also known by a number, and Ann."""

    def canonical(self, xui: str) -> str:
        """The one name of a user."""
        canonical = canonical_xui(xui)
        return JOE if canonical == "tel:+1555" else canonical

    def known(self, xui: str) -> bool:
        """Whether there is such a user."""
        return xui in (JOE, ANN)


@implementer(IIdentityAsserter)
class Asserter:
    """Believes the field ``x-user``."""

    def assertion(self, identities: tuple[str, ...]) -> list[tuple[str, str]]:
        """Header fields for a request."""
        return [("x-user", ",".join(identities))]

    def accept(self, head: Head) -> Requester:
        """Who a request is from."""
        value = head.headers.get("x-user")
        if value is None:
            raise XcapError(401, "Who are you", (("WWW-Authenticate", 'Digest realm="x"'),))
        return Requester(tuple(value.split(",")))


@implementer(IApplicationUsage)
class TestUsage:
    """Lists, some of whose entries claim their URI; the constraints are made up."""

    auid = "test"
    mime_type = TYPE
    default_namespace = NS
    namespaces: tuple[str, ...] = (NS,)
    schema = "resource-lists"
    trees: frozenset[Tree] = frozenset({"users", "global"})
    computed = False
    index = ""
    unique_attributes: dict[str, str] = {}  # noqa: RUF012

    def locate(self, tree: Tree, path: tuple[str, ...]) -> None:
        """``dir`` is a directory, ``bad`` no name, ``none`` nothing."""
        if path == ("none",):
            raise XcapError(404, "No such document")
        if path == ("bad",):
            raise Conflict("constraint-failure", "Bad name")
        if len(path) > 1 and path[0] != "dir":
            raise Conflict("no-parent", "No such directory")

    def check(self, root: etree._Element, key: DocumentKey) -> None:
        """No URI twice, and none with ``evil`` in it."""
        uris = [element.get("uri", "") for element in root.iter(f"{{{NS}}}entry")]
        twice = sorted({uri for uri in uris if uris.count(uri) > 1})
        if twice:
            exists = tuple(Exists(f'resource-lists/entry[@uri="{uri}"]/@uri') for uri in twice)
            raise Conflict("uniqueness-failure", "Not unique", exists=exists)
        if any("evil" in uri for uri in uris):
            raise Conflict("constraint-failure", "Evil")

    def claims(self, root: etree._Element, key: DocumentKey) -> tuple[Claim, ...]:
        """All URIs of the scheme ``im``."""
        uris = {element.get("uri", "") for element in root.iter(f"{{{NS}}}entry")}
        return tuple(Claim("test", uri) for uri in sorted(uris) if uri.startswith("im:"))

    def variants(self, name: str, key: DocumentKey) -> tuple[str, ...]:
        """Numbered ones."""
        return tuple(f"{name}{number}" for number in range(20))

    def taken(
        self, root: etree._Element, key: DocumentKey, names: Mapping[str, tuple[str, ...]]
    ) -> Conflict:
        """The refusal of names that are taken."""
        exists = tuple(
            Exists(f'resource-lists/entry[@uri="{name}"]/@uri', free)
            for name, free in names.items()
        )
        return Conflict("uniqueness-failure", "Taken", exists=exists)

    def may(self, requester: Requester, operation: str, key: DocumentKey) -> bool:
        """The owner and the trusted one; everybody reads the global tree."""
        if TRUSTED in requester.identities or key.xui in requester.identities:
            return True
        return key.tree == "global" and operation == "read"


class XdmsTestCase(SynchronousTestCase):
    """Base with a server whose store can fail and be watched."""

    settings: ServerSettings | None = None
    roots: tuple[str, ...] = (ROOT,)
    subscribers: ISubscribers = Subscribers()

    def setUp(self) -> None:
        """Start a server."""
        self.clock = Clock()
        self.store = MemoryDocumentStore(self.clock, lambda: START + self.clock.seconds())
        self.changes: list[Any] = []
        self.store.watch(self.changes.append)
        self.successResultOf(self.store.start())
        self.server = self.serve(self.settings)

    def usages(self) -> Iterable[IApplicationUsage]:
        """The application usages to serve."""
        return (TestUsage(),)

    def serve(self, settings: ServerSettings | None = None) -> DocumentServer:
        """A server on the store."""
        return DocumentServer(
            [Root(uri) for uri in self.roots],
            self.usages(),
            self.store,
            self.subscribers,
            Asserter(),
            settings,
        )

    def start(self, coroutine: Coroutine[Any, Any, Result]) -> Deferred[Result]:
        """Begin something."""
        return Deferred.fromCoroutine(coroutine)

    def finish(self, *running: Deferred[Result]) -> list[Result]:
        """What comes out."""
        for _ in range(1000):
            if all(deferred.called and not deferred.paused for deferred in running):
                break
            self.clock.advance(0.001)
        return [self.successResultOf(deferred) for deferred in running]

    def head(
        self,
        method: str,
        target: str,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        user: str | None = JOE,
        authority: str = "xcap.example.com",
    ) -> Head:
        """A request without its body."""
        fields = [] if user is None else [("X-User", user)]
        if content_type is not None:
            fields.append(("Content-Type", content_type))
        fields += (headers or {}).items()
        return Head(method, target, authority, Headers(fields), HttpPeer("192.0.2.1", secure=True))

    async def exchange(self, head: Head, body: bytes = b"") -> HttpResponse:
        """Both halves of a request."""
        answer = await self.server.begin(head)
        return answer if isinstance(answer, HttpResponse) else await answer(body)

    def ask(self, method: str, target: str, body: bytes = b"", **details: Any) -> HttpResponse:
        """Make a request; a PUT gets the media type that is due unless it is given."""
        if method == "PUT" and "content_type" not in details:
            last = target.partition("?")[0].rpartition("/")[2]
            kind = ATTRIBUTE if last.startswith("@") else ELEMENT
            details["content_type"] = kind if "/~~/" in target else TYPE
        running = self.start(self.exchange(self.head(method, target, **details), body))
        return self.finish(running)[0]

    def put(self, octets: bytes = DOCUMENT, target: str = INDEX, **details: Any) -> str:
        """PUT that has to succeed; the new entity-tag."""
        answer = self.ask("PUT", target, octets, **details)
        self.assertIn(answer.status, (200, 201), answer.body)
        return self.tag(answer)

    def tag(self, answer: HttpResponse) -> str:
        """The entity-tag of an answer."""
        value = answer.header("etag")
        assert value is not None
        self.assertTrue(value.startswith('"') and value.endswith('"'))
        return value[1:-1]

    def stored(self, path: str = "index", xui: str = JOE, auid: str = "test") -> Document | None:
        """What the store holds."""
        return self.successResultOf(self.store.fetch(DocumentKey(ROOT, auid, xui, path)))

    def octets(self) -> bytes:
        """The octets of the document that most tests are about."""
        document = self.stored()
        assert document is not None
        return document.octets

    def assertConflict(self, answer: HttpResponse, kind: str) -> Conflict:
        """Make sure that an answer reports a conflict (XCAP-130)."""
        self.assertEqual(answer.status, 409, answer.body)
        self.assertEqual(answer.header("content-type"), CONTENT_TYPE)
        self.assertEqual(answer.header("cache-control"), "no-store")
        conflict = parse_report(answer.body)
        self.assertEqual(conflict.kind, kind, conflict.phrase)
        self.assertNotEqual(conflict.phrase, "")
        return conflict
