"""What tests of the Aggregation Proxy have in common: a proxy on fakes."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from xcap.auth.audit import AuditEvent
from xcap.auth.identity import IdentityAsserter
from xcap.errors import XcapError
from xcap.interfaces import IAuthenticated, IAuthenticator, IBackEnd
from xcap.merge import MergedDocuments, MergeSettings
from xcap.proxy import AggregationProxy, ProxySettings
from xcap.proxylog import ProxyRecord
from xcap.records import Head, Headers, HttpPeer, HttpResponse, Receive
from xcap.roots import Root, Roots
from xcap.routes import Group, RouteTable

ROOT = Root("https://xcap.example.com/")
ALICE = ("sip:alice@example.com", "tel:+15555550100")
INDEX = "/resource-lists/users/sip:alice@example.com/index"
PEER = HttpPeer("192.0.2.1", 40000, secure=True, tls_version="TLSv1.3", connection=7)
REQUEST_ID = "07" * 16


def head(
    target: str = INDEX,
    method: str = "GET",
    *fields: tuple[str, str],
    user: str | None = "alice",
    authority: str = "xcap.example.com",
    peer: HttpPeer = PEER,
) -> Head:
    """A client's request."""
    headers = [("Host", authority), *fields]
    if user is not None:
        headers.append(("Authorization", user))
    return Head(method, target, authority, Headers(headers), peer)


@implementer(IAuthenticated)
@attrs.frozen
class Known:
    """An authenticated user."""

    username: str
    identities: tuple[str, ...]

    def answer_headers(self, response: HttpResponse) -> list[tuple[str, str]]:
        """Tell how large the answer is."""
        return [("Authentication-Info", f"length={len(response.body)}")]


@implementer(IAuthenticator)
class FakeAuthenticator:
    """Believes the Authorization field; ``int`` in it needs the body."""

    def __init__(self) -> None:
        self.identities = {"alice": ALICE, "nobody": ()}
        self.bodies: list[bytes | None] = []

    def authenticate(self, head: Head, body: bytes | None) -> Known | None:
        """Who the field names."""
        self.bodies.append(body)
        user = head.headers.get("authorization")
        if user is None or user == "wrong":
            raise XcapError(401, "no", (("WWW-Authenticate", "Digest x=y"),))
        if user.endswith(" int"):
            if body is None:
                return None
            user = user[:-4]
        return Known(user, self.identities[user])


@implementer(IBackEnd)
class FakeBackEnd:
    """A back-end that notes what it is asked.

    :ivar answer: what it says: an answer, an error, or something that makes one.
    """

    def __init__(self, name: str, *auids: str) -> None:
        self.name = name
        self.auids = frozenset(auids)
        self.up = True
        self.heads: list[Head] = []
        self.bodies: list[bytes] = []
        self.cancelled = 0
        self.answer: (
            HttpResponse | Exception | Callable[[Head], HttpResponse | Exception] | None
        ) = HttpResponse(200, (("Content-Type", "application/xml"),), b"<x/>")
        self.waiting: list[Deferred[HttpResponse]] = []

    async def begin(self, head: Head) -> HttpResponse | Receive:
        """Note a request; PUT needs its body."""
        self.heads.append(head)
        if head.method in ("PUT", "POST"):
            return self._receive
        return await self._say(head)

    async def _receive(self, body: bytes) -> HttpResponse:
        self.bodies.append(body)
        return await self._say(self.heads[-1])

    async def _say(self, head: Head) -> HttpResponse:
        answer = self.answer(head) if callable(self.answer) else self.answer
        if answer is None:
            waiting: Deferred[HttpResponse] = Deferred(self._cancelled)
            self.waiting.append(waiting)
            return await waiting
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _cancelled(self, waiting: object) -> None:
        self.cancelled += 1

    @property
    def head(self) -> Head:
        """The last request."""
        return self.heads[-1]


class ProxyTestCase(SynchronousTestCase):
    """Base with a proxy before three back-ends."""

    def setUp(self) -> None:
        """Make it."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.authenticator = FakeAuthenticator()
        self.shared = FakeBackEnd("shared")
        self.presence = FakeBackEnd("presence")
        self.rls = FakeBackEnd("rls")
        self.routes = RouteTable(
            [
                Group("shared", (self.shared,), frozenset({"resource-lists"})),
                Group("presence", (self.presence,), frozenset({"pres-rules"})),
                Group("rls", (self.rls,), frozenset({"rls-services"})),
            ]
        )
        self.records: list[ProxyRecord] = []
        self.audited: list[AuditEvent] = []
        self.proxy = self.make()

    def make(
        self,
        settings: ProxySettings | None = None,
        asserters: dict[str, IdentityAsserter] | None = None,
        merge: MergeSettings | None = None,
    ) -> AggregationProxy:
        """A proxy with these options."""
        roots = Roots([ROOT])
        self.asserter = IdentityAsserter()
        self.merged = MergedDocuments(
            roots,
            self.routes,
            self.clock,
            "sip:proxy@example.com",
            self.asserter,
            asserters=asserters,
            settings=merge,
        )
        return AggregationProxy(
            roots,
            self.authenticator,
            self.asserter,
            self.routes,
            self.merged,
            self.clock,
            settings=settings,
            asserters=asserters,
            wall=lambda: 1_700_000_000.0 + self.clock.seconds(),
            random=lambda count: b"\x07" * count,
            access=self.records.append,
            audit=self.audited.append,
        )

    def ask(self, head: Head, body: bytes = b"") -> HttpResponse:
        """The answer to a request."""
        return self.successResultOf(self.start(head, body))

    def start(self, head: Head, body: bytes = b"") -> Deferred[HttpResponse]:
        """Begin a request."""
        return Deferred.fromCoroutine(self._serve(head, body))

    async def _serve(self, head: Head, body: bytes) -> HttpResponse:
        answer = await self.proxy.begin(head)
        return answer if isinstance(answer, HttpResponse) else await answer(body)

    def begin(self, head: Head) -> Deferred[HttpResponse | Receive]:
        """Show the proxy a head only."""
        return Deferred.fromCoroutine(self.proxy.begin(head))

    def refused(self, status: int, head: Head, body: bytes = b"") -> HttpResponse:
        """The refusal of a request, by the proxy itself."""
        answer = self.ask(head, body)
        self.assertEqual(answer.status, status)
        self.assertEqual(answer.header("content-type"), "text/plain; charset=utf-8")
        return answer

    def nobody_asked(self) -> None:
        """Check that nothing was forwarded."""
        self.assertEqual([self.shared.heads, self.presence.heads, self.rls.heads], [[], [], []])
