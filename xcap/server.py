"""The document server (XDMS): XCAP over HTTP for one or several roots (RFC 4825 section 8).

A request passes the checks of XCAP-50 in their order.  :meth:`DocumentServer.begin` makes
those that need no body, so that a client that waits for 100 (Continue) learns of a refusal
before it sends one; what it returns makes the others.  Between the two the document may
change: all that depends on it is looked at again when the request has its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from zope.interface import implementer

from xcap.answers import (
    ALLOW,
    ALLOW_READ,
    acceptable,
    conditional,
    entity,
    media_type,
    refusal,
)
from xcap.computed import ComputedDocuments
from xcap.conditions import outcome
from xcap.edit import ATTRIBUTE_TYPE, ELEMENT_TYPE, get_node
from xcap.errors import Conflict, StoreUnavailable, XcapError
from xcap.interfaces import IHttpService
from xcap.parsed import ParsedDocuments
from xcap.records import DocumentKey, Head, HttpResponse, Receive
from xcap.roots import Root, Roots
from xcap.uri import NodeSelector, Target, parse_node, parse_target
from xcap.writing import Admitted, DocumentWriter, ServerSettings

if TYPE_CHECKING:
    from xcap.aside import Aside
    from xcap.interfaces import (
        IApplicationUsage,
        IDocumentStore,
        IIdentityAsserter,
        ISubscribers,
    )

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_WRITING = frozenset({"PUT", "DELETE"})
# methods of HTTP that no XCAP resource has; what is none of them is not known at all
_NOT_ALLOWED = frozenset({"POST", "TRACE", "PATCH", "CONNECT"})
_CODINGS = frozenset({"", "identity", "gzip", "x-gzip"})
_FORM = "application/x-www-form-urlencoded"


@implementer(IHttpService)
class DocumentServer:
    """Serves the documents of some application usages under some roots.

    :param roots: at least one.
    :param usages: application usages, no AUID twice.
    :param asserter: tells who a request is from.
    :param aside: for work on large documents; None does it at once.
    :ivar answers: how many answers there were, by (AUID, method, status); "" and ``other``
        stand for what is not known.
    """

    def __init__(
        self,
        roots: Iterable[Root],
        usages: Iterable[IApplicationUsage],
        store: IDocumentStore,
        subscribers: ISubscribers,
        asserter: IIdentityAsserter,
        settings: ServerSettings | None = None,
        aside: Aside | None = None,
    ) -> None:
        self.answers: dict[tuple[str, str, int], int] = {}
        self._roots = Roots(roots)
        self._usages = {usage.auid: usage for usage in usages}
        self._store = store
        self._subscribers = subscribers
        self._asserter = asserter
        self._settings = settings or ServerSettings()
        self._computed = ComputedDocuments(
            self._usages.values(), store, quoted_tags=self._settings.quoted_tags
        )
        self._parsed = ParsedDocuments(limits=self._settings.limits)
        self._writer = DocumentWriter(store, self._parsed, self._settings, aside)

    async def begin(self, head: Head) -> HttpResponse | Receive:
        """See :meth:`xcap.interfaces.IHttpService.begin`; refusals are returned."""
        base, target = "", None
        try:
            root = self._roots.find(head)
            if head.target == "*" and head.method == "OPTIONS":
                return self._counted(head, None, HttpResponse(200, (("Allow", ALLOW),)))
            base = root.uri
            target = parse_target(head.target, root.prefix)
            answer = await self._admit(head, root, target)
        except XcapError as error:
            answer = refusal(error, base, target)
        except StoreUnavailable:
            answer = self._unavailable()
        if isinstance(answer, HttpResponse):
            return self._counted(head, target, answer)
        return partial(self._receive, answer)

    # -- steps 2 to 8 of XCAP-50 --

    async def _admit(self, head: Head, root: Root, target: Target) -> HttpResponse | Admitted:
        if head.method == "PUT" and "content-range" in head.headers:
            raise XcapError(400, "Partial PUT is not supported")
        usage = self._usages.get(target.auid)
        if usage is None or target.tree not in usage.trees:
            raise XcapError(404, "No such application usage or tree")
        if self._settings.authenticate_first:
            requester = self._asserter.accept(head)
            xui = self._xui(target)
        else:
            xui = self._xui(target)
            requester = self._asserter.accept(head)
        key = DocumentKey(root.uri, target.auid, xui, "/".join(target.path))
        computed = self._computed.covers(usage, key)
        allow = ALLOW_READ if computed else ALLOW
        writes = head.method in _WRITING
        if not writes and head.method not in _READING:
            if head.method in _NOT_ALLOWED:
                raise _not_allowed(allow)
            raise XcapError(501, "Method is not known")
        if writes and computed:
            raise _not_allowed(allow)
        if not usage.may(requester, "write" if writes else "read", key):
            raise XcapError(403, "Not allowed")
        selectors = self._selectors(target, usage)
        if selectors and selectors[0].namespaces:
            allow = ALLOW_READ
            if writes:
                raise _not_allowed(allow)
        request = Admitted(head, root, target, usage, key, requester, selectors)
        if head.method == "OPTIONS":
            return HttpResponse(200, (("Allow", allow),))
        if head.method == "PUT":
            self._check_type(request)
        self._locate(request)
        if not writes:
            return await self._get(request, computed)
        return await self._writer.prepare(request) or request

    def _xui(self, target: Target) -> str:
        if target.tree == "global":
            return ""
        try:
            xui = self._subscribers.canonical(target.xui)
        except ValueError:
            xui = ""
        if not xui or not self._subscribers.known(xui):
            raise XcapError(404, "No such user")
        return xui

    def _selectors(self, target: Target, usage: IApplicationUsage) -> tuple[NodeSelector, ...]:
        if target.node is None:
            return ()
        selector = parse_node(target.node, target.query, usage.default_namespace)
        fallback = self._settings.fallback_namespaces.get(usage.auid)
        if fallback is None:
            return (selector,)
        return (selector, parse_node(target.node, target.query, fallback))

    def _check_type(self, request: Admitted) -> None:
        """Refuse the wrong media type or coding of a PUT (XCAP-80, XCAP-164, CLI-19)."""
        headers = request.head.headers
        if (headers.get("content-encoding") or "").strip().lower() not in _CODINGS:
            raise XcapError(415, "Unknown content coding", (("Accept-Encoding", "gzip"),))
        given, _ = media_type(headers.get("content-type"))
        if request.selectors:
            wanted = ATTRIBUTE_TYPE if request.attribute else ELEMENT_TYPE
        else:
            wanted = request.usage.mime_type
            if self._settings.any_document_type and given in ("", _FORM):
                return
        if given != wanted:
            raise XcapError(415, f"The media type has to be {wanted}", (("Accept", wanted),))

    @staticmethod
    def _locate(request: Admitted) -> None:
        """Check the place of a document; there is none where none can be PUT (XCAP-64)."""
        try:
            request.usage.locate(request.target.tree, request.target.path)
        except Conflict:
            if request.head.method != "PUT":
                raise XcapError(404, "No such document") from None
            raise

    # -- GET and HEAD --

    async def _get(self, request: Admitted, computed: bool) -> HttpResponse:
        head, key = request.head, request.key
        if computed:
            found = await self._computed.find(request.usage, key, request.selectors)
        else:
            found = self._store.peek(key) or await self._store.fetch(key)
        if found is None:
            raise XcapError(404, "No such document")
        if request.selectors:
            tree = self._parsed.get(found, request.levels)
            bare = request.root.uri in self._settings.bare_att_value
            selector = request.selector(tree)
            content_type, body = get_node(tree, selector, bare_attributes=bare)
        else:
            content_type, body = request.usage.mime_type, found.octets
        if not acceptable(head.headers.get("accept"), content_type):
            raise XcapError(406, f"There is only {content_type}")
        status = outcome(head.method, head.headers, found.etag, found.modified or None)
        if status:
            return conditional(status, found.etag)
        return entity(found, content_type, body)

    async def _receive(self, request: Admitted, body: bytes) -> HttpResponse:
        try:
            answer = await self._writer.change(request, body)
        except XcapError as error:
            answer = refusal(error, request.root.uri, request.target)
        except StoreUnavailable:
            answer = self._unavailable()
        return self._counted(request.head, request.target, answer)

    # -- answers --

    def _unavailable(self) -> HttpResponse:
        retry = (("Retry-After", str(self._settings.retry_after)),)
        return refusal(XcapError(503, "The document store does not work now", retry))

    def _counted(self, head: Head, target: Target | None, answer: HttpResponse) -> HttpResponse:
        auid = target.auid if target is not None and target.auid in self._usages else ""
        known = head.method in _READING or head.method in _WRITING or head.method in _NOT_ALLOWED
        row = (auid, head.method if known else "other", answer.status)
        self.answers[row] = self.answers.get(row, 0) + 1
        return answer


def _not_allowed(allow: str) -> XcapError:
    return XcapError(405, "Method is not allowed", (("Allow", allow),))
