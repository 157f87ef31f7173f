"""The Aggregation Proxy: the one contact point of XDM clients (AGP-01 to AGP-05, 40 to 85).

A request is authenticated, its claim of an identity checked, what the client has no say in
removed, the identity asserted; then it is routed by its application usage and forwarded, and
the answer relayed.  Who may read or write a document the document server decides.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from pysip.event.throttle import Buckets
from pysip.uri import canonical_aor
from xcap.answers import ALLOW, ALLOW_READ, refusal
from xcap.auth.audit import AuditEvent, log_audit
from xcap.auth.identity import intended_identity
from xcap.errors import XcapError
from xcap.forward import (
    answer_fields,
    forwarded,
    has_body,
    request_fields,
    untrusted,
    visited,
)
from xcap.http.coding import compress
from xcap.interfaces import IHttpService
from xcap.proxylog import GONE, Passage, ProxyRecord
from xcap.records import Head, Headers, HttpResponse, Receive
from xcap.routes import CAPS, DIRECTORY
from xcap.uri import Target, canonical_xui, parse_target

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from xcap.interfaces import (
        IAuthenticated,
        IAuthenticator,
        IBackEnd,
        IIdentityAsserter,
        IRouteTable,
    )
    from xcap.merge import MergedDocuments
    from xcap.roots import Root, Roots

_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST", "PATCH", "TRACE"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_CODINGS = frozenset({"", "identity", "gzip", "x-gzip"})
_DOTS = re.compile(r"(?:\.|%2[eE]){1,2}")
_ALARM_PAUSE = 60.0


@attrs.frozen(slots=True, kw_only=True)
class ProxySettings:
    """How the proxy behaves.

    :ivar pseudonym: our name in Via (AGP-66), different for proxies that forward to each other.
    :ivar body: most octets of a request body, as coded (AGP-73, AGP-76).
    :ivar rate: requests a second of one subscriber in the long run, 0 for no limit ...
    :ivar burst: ... and at once (AGP-76).
    :ivar compress: code answers with gzip for clients that take it (AGP-71).
    :ivar removed: further header fields that clients have no say in (AGP-47).
    """

    pseudonym: str = "aggregation-proxy"
    body: int = 1 << 20
    rate: float = 20.0
    burst: float = 60.0
    compress: bool = True
    removed: frozenset[str] = frozenset()


@implementer(IHttpService)
class AggregationProxy:
    """Answers every request of XDM clients, mostly by asking a document server.

    :param clock: for durations and rates.
    :param merged: answers for the documents that all document servers have.
    :param asserters: how identities are told to back-ends, by name of the back-end ...
    :param asserter: ... and to all others (AGP-45).
    :param canonical: brings a public identity into the form in which accounts have it.
    :param canonical_user: the same for the user in a request target; ValueError if it is none.
    :param wall: seconds since the epoch.
    :param random: gives that many random octets.
    :param access: told of every request (AGP-84).
    :param audit: told of 403.

    :ivar requests: answers by application usage, method and status (AGP-85).
    :ivar abandoned: requests given up before there was an answer.
    """

    _log = Logger()

    def __init__(
        self,
        roots: Roots,
        authenticator: IAuthenticator,
        asserter: IIdentityAsserter,
        routes: IRouteTable,
        merged: MergedDocuments,
        clock: IReactorTime,
        *,
        settings: ProxySettings | None = None,
        asserters: Mapping[str, IIdentityAsserter] | None = None,
        canonical: Callable[[str], str] = canonical_aor,
        canonical_user: Callable[[str], str] = canonical_xui,
        wall: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
        access: Callable[[ProxyRecord], None] | None = None,
        audit: Callable[[AuditEvent], None] = log_audit,
    ) -> None:
        self._settings = ProxySettings() if settings is None else settings
        self._roots = roots
        self._authenticator = authenticator
        self._asserter = asserter
        self._asserters = dict(asserters or {})
        self._routes = routes
        self._merged = merged
        self._clock = clock
        self._canonical = canonical
        self._canonical_user = canonical_user
        self._wall = wall
        self._random = random
        self._access = access
        self._audit = audit
        self._removed = untrusted(self._settings.removed)
        self._via = ("Via", f"1.1 {self._settings.pseudonym}")
        self._buckets = Buckets(self._settings.rate, self._settings.burst)
        self._alarmed: dict[str, float] = {}
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.abandoned = 0

    # -- begin and end ------------------------------------------------------------------

    async def begin(self, head: Head) -> HttpResponse | Receive:
        """See :class:`xcap.interfaces.IHttpService`; refusals are returned, not raised."""
        passage = Passage(head, self._random(16).hex(), self._wall(), self._clock.seconds())
        try:
            answer = await self._begin(passage)
        except XcapError as error:
            answer = refusal(error)
        except BaseException:
            self._give_up(passage)
            raise
        if isinstance(answer, HttpResponse):
            return self._finish(passage, answer)
        return partial(self._receive, passage, answer)

    async def _receive(self, passage: Passage, receive: Receive, body: bytes) -> HttpResponse:
        passage.received = len(body)
        try:
            if len(body) > self._settings.body:
                raise XcapError(413, "The body is too large")
            answer = await receive(body)
        except XcapError as error:
            answer = refusal(error)
        except BaseException:
            self._give_up(passage)
            raise
        return self._finish(passage, answer)

    def _finish(self, passage: Passage, answer: HttpResponse) -> HttpResponse:
        head = passage.head
        if self._settings.compress:
            answer = compress(answer, head.headers.get("accept-encoding"))
        sent = answer
        if answer.body and (head.method == "HEAD" or answer.status in (204, 304)):
            sent = HttpResponse(answer.status, answer.headers)
        added: list[tuple[str, str]] = [("X-Request-Id", passage.request_id)]
        if passage.who is not None:
            added += passage.who.answer_headers(sent)
        self._note(passage, answer.status, len(sent.body))
        return HttpResponse(answer.status, (*answer.headers, *added), answer.body)

    def _give_up(self, passage: Passage) -> None:
        self.abandoned += 1
        self._note(passage, GONE, 0)

    def _note(self, passage: Passage, status: int, sent: int) -> None:
        method = passage.head.method
        # no counter has a name that a client chose
        self.requests[passage.auid, method if method in _METHODS else "-", status] += 1
        if status == 403 and passage.who is not None:
            self._audit(
                AuditEvent(
                    "forbidden",
                    passage.who.username,
                    passage.head.peer.address,
                    f"request {passage.request_id}",
                )
            )
        if self._access is not None:
            self._access(passage.record(status, sent, self._clock.seconds()))

    # -- who may ------------------------------------------------------------------------

    async def _begin(self, passage: Passage) -> HttpResponse | Receive:
        head = passage.head
        if visited(head.headers, self._settings.pseudonym):
            self._alarm("proxy-loop", "a request has come back to the proxy: a routing loop")
            raise XcapError(502, "The request goes round in circles")
        root = self._roots.find(head)
        length = head.headers.get("content-length") or ""
        if len(length) > 18 or (length.isdecimal() and int(length) > self._settings.body):
            raise XcapError(413, "The body is too large")
        who = self._authenticate(passage, None if has_body(head.headers) else b"")
        if who is None:
            return partial(self._verify, passage, root)
        return await self._admit(passage, root, who)

    async def _verify(self, passage: Passage, root: Root, body: bytes) -> HttpResponse:
        """Go on with the body that a digest covers (AGP-34)."""
        who = self._authenticate(passage, body)
        if who is None:
            raise XcapError(401, "Authentication is needed")
        answer = await self._admit(passage, root, who)
        return answer if isinstance(answer, HttpResponse) else await answer(body)

    def _authenticate(self, passage: Passage, body: bytes | None) -> IAuthenticated | None:
        began = self._clock.seconds()
        try:
            who: IAuthenticated | None = self._authenticator.authenticate(passage.head, body)
        finally:
            passage.auth_seconds += self._clock.seconds() - began
        return who

    async def _admit(
        self, passage: Passage, root: Root, who: IAuthenticated
    ) -> HttpResponse | Receive:
        """What is checked of an authenticated request, and where it goes."""
        head = passage.head
        passage.who = who
        identities = self._identities(head, who)
        passage.identity = identities[0]
        wait = self._buckets.take(who.identities[0], self._clock.seconds())
        if wait:
            raise XcapError(429, "Too many requests", (("Retry-After", str(math.ceil(wait))),))
        coding = (head.headers.get("content-encoding") or "").strip().lower()
        if coding not in _CODINGS:
            raise XcapError(415, "Unknown content coding", (("Accept-Encoding", "gzip"),))
        if head.target == "*" and head.method == "OPTIONS":
            return HttpResponse(200, (("Allow", ALLOW),))
        _check_dots(head.target)
        target = parse_target(head.target, root.prefix)
        xui = self._user(target)
        if target.auid in (CAPS, DIRECTORY):
            return await self._merge(passage, root, target, xui, identities)
        back_end = self._routes.route(target.auid, xui)
        passage.auid = target.auid
        passage.back_end = back_end.name
        return await self._forward(passage, back_end, self._onward(passage, identities, back_end))

    def _identities(self, head: Head, who: IAuthenticated) -> tuple[str, ...]:
        """The identities to assert, the one meant first (AGP-42)."""
        identities: tuple[str, ...] = who.identities
        if not identities:
            raise XcapError(403, "Not entitled to this service")
        intended = intended_identity(head.headers, self._canonical)
        if intended is None:
            return identities
        if intended not in identities:
            raise XcapError(403, "Not an identity of yours")
        return (intended, *(each for each in identities if each != intended))

    def _user(self, target: Target) -> str:
        """The canonical user of a target, by which its partition is found (AGP-53)."""
        if not target.xui:
            return ""
        try:
            return self._canonical_user(target.xui)
        except ValueError:
            raise XcapError(404, "No such user") from None

    # -- forwarding ---------------------------------------------------------------------

    def _onward(self, passage: Passage, identities: tuple[str, ...], back_end: IBackEnd) -> Head:
        """The request as a back-end gets it (AGP-47, AGP-54, AGP-55, AGP-65 to AGP-68)."""
        head = passage.head
        asserter = self._asserters.get(back_end.name, self._asserter)
        fields = request_fields(head.headers, self._removed)
        fields += asserter.assertion(identities)
        fields += (("X-Request-Id", passage.request_id), forwarded(head.peer), self._via)
        method = head.method
        if (
            method == "HEAD"
            and self._settings.compress
            and head.headers.get("accept-encoding") is not None
        ):
            # only what GET gives can tell how long its coded body would be (AGP-71)
            method = "GET"
        return Head(method, head.target, head.authority, Headers(fields), head.peer)

    async def _forward(
        self, passage: Passage, back_end: IBackEnd, head: Head
    ) -> HttpResponse | Receive:
        began = self._clock.seconds()
        try:
            answer = await back_end.begin(head)
        except XcapError as error:
            raise self._checked(passage, error.status) or error from None
        finally:
            passage.upstream_seconds += self._clock.seconds() - began
        if isinstance(answer, HttpResponse):
            return self._relay(passage, answer)
        return partial(self._send, passage, answer)

    async def _send(self, passage: Passage, receive: Receive, body: bytes) -> HttpResponse:
        began = self._clock.seconds()
        try:
            answer = await receive(body)
        except XcapError as error:
            raise self._checked(passage, error.status) or error from None
        finally:
            passage.upstream_seconds += self._clock.seconds() - began
        return self._relay(passage, answer)

    def _relay(self, passage: Passage, answer: HttpResponse) -> HttpResponse:
        """The answer of a back-end as the client gets it (AGP-65, AGP-66, AGP-70)."""
        fault = self._checked(passage, answer.status)
        if fault is not None:
            raise fault
        keep_length = passage.head.method == "HEAD" and not answer.body
        fields = answer_fields(answer, keep_length=keep_length)
        fields.append(self._via)
        return HttpResponse(answer.status, tuple(fields), answer.body)

    def _checked(self, passage: Passage, status: int) -> XcapError | None:
        """What an answer that is not for the client becomes."""
        if status == 401:
            self._alarm(
                "proxy-not-trusted",
                f"{passage.back_end} does not accept the identities this proxy asserts",
            )
        elif status != 421:
            return None
        return XcapError(502, "The document server does not know this proxy")

    async def _merge(
        self,
        passage: Passage,
        root: Root,
        target: Target,
        xui: str,
        identities: tuple[str, ...],
    ) -> HttpResponse:
        """A document that every document server has a part of (AGP-57, AGP-58)."""
        head = passage.head
        passage.auid = target.auid
        if not self._merged.has(target):
            raise XcapError(404, "No such document")
        if head.method == "OPTIONS":
            return HttpResponse(200, (("Allow", ALLOW_READ),))
        if head.method not in _READING:
            raise XcapError(405, "Method is not allowed", (("Allow", ALLOW_READ),))
        if target.auid == CAPS:
            return await self._merged.capabilities(root, head, target)
        began = self._clock.seconds()
        try:
            return await self._merged.directory(
                root, head, target, xui, partial(self._onward, passage, identities)
            )
        finally:
            passage.upstream_seconds += self._clock.seconds() - began

    def _alarm(self, problem: str, text: str) -> None:
        """Tell the operator, not each time."""
        now = self._clock.seconds()
        if now < self._alarmed.get(problem, -math.inf) + _ALARM_PAUSE:
            return
        self._alarmed[problem] = now
        self._log.error("{text}", problem=problem, text=text)


def _check_dots(target: str) -> None:
    """No dot segments anywhere (AGP-56)."""
    path = target.partition("?")[0]
    if "/." in path or "/%2" in path:
        for segment in path.split("/"):
            if _DOTS.fullmatch(segment):
                raise XcapError(404, "Not a document")
