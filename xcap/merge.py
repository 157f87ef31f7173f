"""Documents of which every document server has a part: capabilities and directories.

The Aggregation Proxy asks all and answers with the whole (AGP-52, AGP-57, AGP-58).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    FirstError,
    TimeoutError,
)
from twisted.logger import Logger

from xcap.answers import acceptable, conditional, entity
from xcap.conditions import outcome
from xcap.document import parse_document
from xcap.edit import get_node
from xcap.errors import XcapError
from xcap.records import Document, DocumentKey, Head, Headers, HttpPeer, HttpResponse
from xcap.routes import CAPS, DIRECTORY, Group, RouteTable
from xcap.uri import NodeSelector, Target, parse_node
from xcap.usage.caps import XcapCaps, merge_caps
from xcap.usage.directory import XcapDirectory, merge_directories, wanted_folder
from xcap.usage.names import XCAP_CAPS, XCAP_DIRECTORY
from xcap.usage.writing import content_tag, read_computed

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from xcap.interfaces import IBackEnd, IIdentityAsserter
    from xcap.roots import Root, Roots

_AUID = f"{{{XCAP_CAPS}}}auid"
_CAPABILITIES = XcapCaps.mime_type
_DIRECTORY = XcapDirectory.mime_type
# of the client's request what is about the merged document, or about a body
_NOT_ASKED = frozenset(
    {
        "accept",
        "accept-encoding",
        "content-encoding",
        "content-length",
        "content-type",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
    }
)


@attrs.frozen(slots=True, kw_only=True)
class MergeSettings:
    """Times in seconds.

    :ivar interval: between two times that the servers are asked for their capabilities.
    :ivar deadline: for the answers of all servers.
    :ivar directory: whether directories are offered.
    """

    interval: float = 60.0
    deadline: float = 3.0
    directory: bool = True


@attrs.define(slots=True)
class _Capabilities:
    """What is known of the capabilities under one root.

    :ivar asked: when, on the clock of the reactor.
    :ivar answers: the last known document of each group, by its name.
    :ivar merged: the usages offered, and the merged document; None when it is to be made.
    :ivar waiting: who waits for the first document; None while nobody is asked.
    """

    asked: float | None = None
    answers: dict[str, bytes] = attrs.field(factory=dict)
    merged: tuple[frozenset[str], bytes] | None = None
    waiting: list[Deferred[None]] | None = None


def caps_request(root: Root, asserter: IIdentityAsserter, identity: str) -> Head:
    """A request for a server's capabilities, also good to see whether it lives (AGP-78).

    :param identity: who asks: an identity of the proxy itself.
    """
    fields = [("Host", root.authority), *asserter.assertion((identity,))]
    return Head(
        "GET",
        f"{root.prefix}{CAPS}/global/index",
        root.authority,
        Headers(fields),
        HttpPeer("", secure=root.uri.startswith("https:")),
    )


class MergedDocuments:
    """Asks document servers and merges their answers.

    :param routes: learns from the capabilities what is served where.
    :param identity: who asks for capabilities: an identity of the proxy itself.
    :param asserter: tells it the servers; ``asserters`` those named there (AGP-45).
    """

    _log = Logger()

    def __init__(
        self,
        roots: Roots,
        routes: RouteTable,
        clock: IReactorTime,
        identity: str,
        asserter: IIdentityAsserter,
        *,
        asserters: Mapping[str, IIdentityAsserter] | None = None,
        settings: MergeSettings | None = None,
    ) -> None:
        self._routes = routes
        self._clock = clock
        self._identity = identity
        self._asserter = asserter
        self._asserters = dict(asserters or {})
        self._settings = MergeSettings() if settings is None else settings
        self._roots = tuple(roots)
        self._known: dict[str, _Capabilities] = {}
        self._timer: IDelayedCall | None = None
        self._work: set[Deferred[None]] = set()

    def start(self) -> None:
        """Begin to ask all servers for their capabilities, now and then (AGP-52)."""
        self._timer = self._clock.callLater(0, self._poll)

    def stop(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for work in list(self._work):
            work.cancel()

    def has(self, target: Target) -> bool:
        """Whether a target is one of the merged documents."""
        if target.auid == CAPS:
            return target.tree == "global" and target.path == ("index",)
        return (
            self._settings.directory
            and target.tree == "users"
            and target.path == ("directory.xml",)
        )

    # -- capabilities -------------------------------------------------------------------

    async def capabilities(self, root: Root, head: Head, target: Target) -> HttpResponse:
        """Answer a GET of the capabilities of all servers together.

        :raises XcapError: as a document server would, and 503 when no server ever answered.
        """
        selector = _selector(target, XCAP_CAPS)
        known = self._known.setdefault(root.uri, _Capabilities())
        if self._due(known):
            self._ask_all(root, known)
        if known.waiting is not None and not known.answers:
            waiting: Deferred[None] = Deferred()
            known.waiting.append(waiting)
            await waiting
        if not known.answers:
            raise XcapError(503, "No document server is available", (("Retry-After", "5"),))
        octets = self._merged(known)
        return _answer(head, target, octets, _CAPABILITIES, selector)

    def _due(self, known: _Capabilities) -> bool:
        if known.waiting is not None:
            return False
        now = self._clock.seconds()
        return known.asked is None or now >= known.asked + self._settings.interval

    def _merged(self, known: _Capabilities) -> bytes:
        offered = self._routes.auids | {CAPS}
        if self._settings.directory:
            offered |= {DIRECTORY}
        if known.merged is None or known.merged[0] != offered:
            known.merged = (offered, merge_caps(known.answers.values(), offered))
        return known.merged[1]

    def _poll(self) -> None:
        self._timer = self._clock.callLater(self._settings.interval, self._poll)
        for root in self._roots:
            known = self._known.setdefault(root.uri, _Capabilities())
            if known.waiting is None:
                self._ask_all(root, known)

    def _ask_all(self, root: Root, known: _Capabilities) -> None:
        """Ask in the background: no client who leaves takes the answer away from others."""
        known.asked = self._clock.seconds()
        known.waiting = []
        work = Deferred.fromCoroutine(self._refresh(root, known))
        self._work.add(work)

        def done(result: Failure | None) -> None:
            self._work.discard(work)
            if result is not None and not result.check(CancelledError, FirstError):
                self._log.failure("asking for capabilities failed", failure=result)
            waiting, known.waiting = known.waiting or [], None
            for each in waiting:
                each.callback(None)

        work.addBoth(done)

    async def _refresh(self, root: Root, known: _Capabilities) -> None:
        groups = self._routes.groups
        answers = await self._gather(
            [(group.holder(""), self._caps_request(root, group.holder(""))) for group in groups]
        )
        for group, answer in zip(groups, answers, strict=True):
            if isinstance(answer, XcapError) or answer.status != 200:
                continue  # its last known answer stays
            try:
                tree = read_computed(answer.body, f"{{{XCAP_CAPS}}}xcap-caps")
            except ValueError:
                self._log.warn(
                    "{group} gave capabilities that cannot be read",
                    group=group.name,
                    problem="backend-caps",
                )
                continue
            known.answers[group.name] = answer.body
            known.merged = None
            auids = ((each.text or "").strip() for each in tree.iter(_AUID))
            self._routes.learn(group.name, auids)

    def _caps_request(self, root: Root, back_end: IBackEnd) -> Head:
        asserter = self._asserters.get(back_end.name, self._asserter)
        return caps_request(root, asserter, self._identity)

    # -- directories --------------------------------------------------------------------

    async def directory(
        self,
        root: Root,
        head: Head,
        target: Target,
        xui: str,
        onward: Callable[[IBackEnd], Head],
    ) -> HttpResponse:
        """Answer a GET of a user's directory over all servers.

        :param onward: the client's request as a back-end gets it.
        :raises XcapError: as a document server would; 403 or 404 when all say so.
        """
        selector = _selector(target, XCAP_DIRECTORY)
        groups = self._concerned(selector)
        holders = [group.holder(xui) for group in groups]
        path = root.prefix + target.document
        answers = await self._gather([(holder, _whole(onward(holder), path)) for holder in holders])
        statuses = {answer.status for answer in answers}
        if len(statuses) == 1 and statuses <= {403, 404}:
            raise XcapError(
                *((403, "Not allowed") if 403 in statuses else (404, "No such document"))
            )
        documents: list[bytes] = []
        failures: dict[str, str] = {}
        for group, answer in zip(groups, answers, strict=True):
            octets = _directory_octets(answer)
            if octets:
                documents.append(octets)
                continue
            text = _status_text(502 if answer.status == 200 else answer.status)
            failures.update((auid, text) for auid in self._routes.served(group))
        merged = merge_directories(documents, failures)
        return _answer(head, target, merged, _DIRECTORY, selector)

    def _concerned(self, selector: NodeSelector | None) -> tuple[Group, ...]:
        """Whom to ask: all, or only who has the folder that is meant (XDM-83)."""
        auid = None if selector is None else wanted_folder(selector)
        if auid is None:
            return self._routes.groups
        group = self._routes.group(auid)
        return () if group is None else (group,)

    # -- asking -------------------------------------------------------------------------

    async def _gather(
        self, requests: Iterable[tuple[IBackEnd, Head]]
    ) -> list[HttpResponse | XcapError]:
        """Ask all at the same time; what fails or is late becomes its error."""
        work = [Deferred.fromCoroutine(self._ask(*request)) for request in requests]
        found = await DeferredList(work, fireOnOneErrback=True, consumeErrors=True)
        return [answer for _, answer in found]

    async def _ask(self, back_end: IBackEnd, head: Head) -> HttpResponse | XcapError:
        if not back_end.up:
            return XcapError(503)
        work = Deferred.fromCoroutine(_get(back_end, head))
        work.addTimeout(self._settings.deadline, self._clock)
        try:
            return await work
        except XcapError as error:
            return error
        except TimeoutError:
            return XcapError(504)


async def _get(back_end: IBackEnd, head: Head) -> HttpResponse:
    answer = await back_end.begin(head)
    return answer if isinstance(answer, HttpResponse) else await answer(b"")


def _whole(head: Head, path: str) -> Head:
    """The request for the whole document, without conditions."""
    fields = [field for field in head.headers.fields if field[0] not in _NOT_ASKED]
    return attrs.evolve(head, method="GET", target=path, headers=Headers(fields))


def _directory_octets(answer: HttpResponse | XcapError) -> bytes:
    """The directory in an answer, b"" when there is none."""
    if isinstance(answer, XcapError) or answer.status != 200:
        return b""
    try:
        read_computed(answer.body, f"{{{XCAP_DIRECTORY}}}xcap-directory")
    except ValueError:
        return b""
    return answer.body


def _status_text(status: int) -> str:
    """What an error-code says (XDM-82)."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _selector(target: Target, namespace: str) -> NodeSelector | None:
    if target.node is None:
        return None
    return parse_node(target.node, target.query, namespace)


def _answer(
    head: Head,
    target: Target,
    octets: bytes,
    content_type: str,
    selector: NodeSelector | None,
) -> HttpResponse:
    """The answer to a GET of a generated document or of a node in it."""
    etag = content_tag(octets)
    body = octets
    if selector is not None:
        content_type, body = get_node(parse_document(octets), selector)
    if not acceptable(head.headers.get("accept"), content_type):
        raise XcapError(406, f"There is only {content_type}")
    status = outcome(head.method, head.headers, etag, None)
    if status:
        return conditional(status, etag)
    key = DocumentKey("", target.auid, target.xui, "/".join(target.path))
    return entity(Document(key, octets, etag, 0.0), content_type, body)
