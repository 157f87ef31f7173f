"""The Content Server over HTTP (AGP-106 to AGP-113, CSV-01 to CSV-06).

A request is looked at before its body is read: who asks, what it is for, whether there is room;
then the body goes to the disk as it comes.  Who has no right to an object gets the same answer
as who asks for one that does not exist.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import attrs
from zope.interface import implementer

from presence.content.answers import (
    changed,
    created,
    entity_headers,
    listed,
    refused,
    unavailable,
    unchanged,
)
from presence.content.fields import (
    Place,
    is_refresh,
    kept,
    parse_place,
    promised,
    wanted_life,
    wanted_range,
)
from presence.content.intake import ContentIntake
from presence.content.passage import COLLECTION, GONE, OBJECT, ContentRecord, NotedSource, Passage
from presence.content.records import Remove, Vanished
from presence.content.upload import PIECE
from pysip.event.throttle import Buckets
from xcap.conditions import outcome
from xcap.errors import StoreUnavailable, XcapError
from xcap.interfaces import IHttpService
from xcap.records import HttpResponse, Receive
from xcap.streams import StreamedResponse

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from presence.content.access import Access, Asker
    from presence.content.keeping import Keeping
    from presence.content.records import Content, ContentObject
    from xcap.records import Head
    from xcap.roots import Root, Roots

Reading = Literal["authenticated", "owner", "anybody"]
"""Who may read objects: whoever has an account and the URI, the owner and trusted servers, or
whoever has the URI (AGP-111)."""

_COLLECTION = "GET, HEAD, POST, OPTIONS"
_OBJECT = "GET, HEAD, PUT, DELETE, OPTIONS"
_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"})
_CONDITIONS = ("if-none-match", "if-modified-since", "if-match", "if-unmodified-since")


@attrs.frozen(slots=True, kw_only=True)
class ContentSettings:
    """How the Content Server behaves.

    :ivar upload_time: seconds that a body may take to come.
    :ivar rate: requests a second of one user in the long run, 0 for no limit ...
    :ivar burst: ... and at once.
    """

    reading: Reading = "authenticated"
    upload_time: float = 120.0
    rate: float = 20.0
    burst: float = 60.0


@implementer(IHttpService)
class ContentServer:
    """Answers every request below the base URIs.

    :param roots: the base URIs.
    :param clock: for durations and rates.
    :param random: gives that many random octets.
    :param record: told of every request.

    :ivar requests: answers by kind of place, method and status.
    :ivar received: octets of content that came.
    :ivar sent: octets of content that went out.
    :ivar uploads: bodies that are coming now.
    """

    def __init__(
        self,
        roots: Roots,
        keeping: Keeping,
        access: Access,
        clock: IReactorTime,
        settings: ContentSettings | None = None,
        *,
        random: Callable[[int], bytes] = os.urandom,
        record: Callable[[ContentRecord], None] | None = None,
    ) -> None:
        self._roots = roots
        self._keeping = keeping
        self._store = keeping.store
        self._access = access
        self._clock = clock
        self._settings = ContentSettings() if settings is None else settings
        self._random = random
        self._record = record
        self._buckets = Buckets(self._settings.rate, self._settings.burst)
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.received = 0
        self.sent = 0
        self.uploads = 0

    # -- begin and end ------------------------------------------------------------------

    async def begin(self, head: Head) -> HttpResponse | Receive:
        """See :class:`xcap.interfaces.IHttpService`; refusals are returned, not raised."""
        passage = Passage(head, self._random(16).hex(), self._keeping.wall(), self._clock.seconds())
        try:
            answer = await self._begin(passage)
        except (XcapError, StoreUnavailable) as error:
            answer = self._fault(error)
        except BaseException:
            self._note(passage, GONE, 0)
            raise
        return self._finish(passage, answer) if isinstance(answer, HttpResponse) else answer

    @staticmethod
    def _fault(error: Exception) -> HttpResponse:
        return refused(error) if isinstance(error, XcapError) else unavailable()

    def _finish(self, passage: Passage, answer: HttpResponse) -> HttpResponse:
        head = passage.head
        added: list[tuple[str, str]] = [("X-Request-Id", passage.request_id)]
        who = None if passage.asker is None else passage.asker.who
        if who is not None:
            added += who.answer_headers(answer)
        answer = attrs.evolve(answer, headers=(*answer.headers, *added))
        if isinstance(answer, StreamedResponse):
            noted = NotedSource(answer.source, partial(self._note, passage, answer.status))
            return attrs.evolve(answer, source=noted)
        bodyless = head.method == "HEAD" or answer.status in (204, 304)
        self._note(passage, answer.status, 0 if bodyless else len(answer.body))
        return answer

    def _note(self, passage: Passage, status: int, sent: int) -> None:
        method = passage.head.method
        # no counter has a name that a client chose
        self.requests[passage.kind, method if method in _METHODS else "-", status] += 1
        self.received += passage.received
        if status in (200, 206) and passage.kind == OBJECT:
            self.sent += sent
        if self._record is not None:
            self._record(passage.record(status, sent, self._clock.seconds()))

    # -- what is asked ------------------------------------------------------------------

    async def _begin(self, passage: Passage) -> HttpResponse | Receive:
        head = passage.head
        root = self._roots.find(head)
        place, error = None, None
        try:
            place = parse_place(head.target, root.prefix)
            passage.kind = OBJECT if place.id else COLLECTION
        except XcapError as refusal:
            error = refusal
        asker = None
        if not self._free(head, place):
            asker = passage.asker = self._access.ask(head)
            self._slow_down(asker)
        if place is None:
            # a stranger does not learn which places there are
            raise error or XcapError(404, "No such place")
        if place.id:
            return await self._object(passage, root, place, asker)
        return await self._collection(passage, root, place, asker)

    def _free(self, head: Head, place: Place | None) -> bool:
        """Whether it needs no authentication."""
        return (
            self._settings.reading == "anybody"
            and place is not None
            and place.id != ""
            and head.method in ("GET", "HEAD")
        )

    def _slow_down(self, asker: Asker) -> None:
        if asker.server:
            return
        wait = self._buckets.take(asker.owner, self._clock.seconds())
        if wait:
            raise XcapError(429, "Too many requests", (("Retry-After", str(math.ceil(wait))),))

    # -- the objects of a user ------------------------------------------------------------

    async def _collection(
        self, passage: Passage, root: Root, place: Place, asker: Asker | None
    ) -> HttpResponse | Receive:
        head = passage.head
        owner = self._keeping.owner(place.xui)
        if not owner or asker is None or not asker.may_change(owner):
            raise XcapError(404, "No such place")
        if head.method == "OPTIONS":
            return HttpResponse(200, (("Allow", _COLLECTION),))
        if head.method in ("GET", "HEAD"):
            return await self._list(root, owner)
        if head.method != "POST":
            raise _not_allowed(head.method, _COLLECTION)
        life = wanted_life(head.headers, place.query)

        async def add(type: str, content: Content) -> HttpResponse:
            until = self._keeping.until(life)
            made = await self._keeping.add(owner, type, content, until)
            return created(made, f"{root.uri}o/{made.id}")

        return await self._receive(passage, owner, None, add)

    async def _list(self, root: Root, owner: str) -> HttpResponse:
        found = await self._store.listing(owner)
        rows = [
            listed(each, f"{root.uri}o/{each.id}") for each in found if self._keeping.alive(each)
        ]
        body = json.dumps(rows, indent=1).encode() + b"\n"
        headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
        return HttpResponse(200, headers, body)

    # -- an object ------------------------------------------------------------------------

    async def _object(
        self, passage: Passage, root: Root, place: Place, asker: Asker | None
    ) -> HttpResponse | Receive:
        head = passage.head
        if head.method in ("GET", "HEAD"):
            return await self._get(head, place, asker)
        if head.method not in ("PUT", "DELETE", "OPTIONS"):
            raise _not_allowed(head.method, _OBJECT)
        found = self._keeping.alive(await self._store.find(place.id))
        if found is None or asker is None or not asker.may_change(found.owner):
            raise _nothing()
        if head.method == "OPTIONS":
            return HttpResponse(200, (("Allow", _OBJECT),))
        self._check_conditions(head, found)
        # what a condition was met by must not have changed when the change is made
        etag = found.etag if "if-match" in head.headers else ""
        if head.method == "DELETE":
            try:
                await self._store.change(Remove(found.id, etag))
            except Vanished:
                raise _lost(etag) from None
            return HttpResponse(204)
        life = wanted_life(head.headers, place.query)
        if is_refresh(head.headers):
            return await self._refresh(head, found, life, etag)

        async def replace(type: str, content: Content) -> HttpResponse:
            until = self._keeping.until(life)
            try:
                return changed(await self._keeping.replace(found, type, content, until, etag))
            except Vanished:
                raise _lost(etag) from None

        return await self._receive(passage, found.owner, found, replace)

    async def _refresh(
        self, head: Head, found: ContentObject, life: int | None, etag: str
    ) -> HttpResponse:
        """A longer life (AGP-109)."""
        length = head.headers.get("content-length") or "0"
        if length.strip("0") or "transfer-encoding" in head.headers:
            raise XcapError(400, "X-Refresh takes no body")
        try:
            made = await self._keeping.extend(found.id, self._keeping.until(life), etag)
        except Vanished:
            raise _lost(etag) from None
        return changed(made)

    @staticmethod
    def _check_conditions(head: Head, found: ContentObject) -> None:
        status = outcome(head.method, head.headers, found.etag, found.modified)
        if status:
            raise XcapError(status, "Precondition failed", (("ETag", f'"{found.etag}"'),))

    async def _get(self, head: Head, place: Place, asker: Asker | None) -> HttpResponse:
        headers = head.headers
        conditional = any(name in headers for name in _CONDITIONS)
        read = await self._store.read(
            place.id, 0 if conditional or head.method == "HEAD" else PIECE
        )
        found = None if read is None else self._keeping.alive(read[0])
        if read is None or found is None:
            raise _nothing()
        if self._settings.reading == "owner" and (
            asker is None or not asker.may_change(found.owner)
        ):
            raise _nothing()
        if conditional:
            status = outcome(head.method, headers, found.etag, found.modified)
            if status == 304:
                return unchanged(found)
            self._check_conditions(head, found)
        part = wanted_range(headers, found) if head.method == "GET" else None
        status = 200 if part is None else 206
        fields = entity_headers(found, headers, part)
        first, length = part or (0, found.size)
        if read[1] is not None:
            return HttpResponse(status, fields, read[1][first : first + length])
        fields += (("Content-Length", str(length)),)
        if head.method == "HEAD":
            return HttpResponse(status, fields)
        source = await self._store.source(found, first, length)
        if source is None:
            raise _nothing()
        return StreamedResponse(status, fields, source=source)

    # -- bodies ---------------------------------------------------------------------------

    async def _receive(
        self,
        passage: Passage,
        owner: str,
        old: ContentObject | None,
        store: Callable[[str, Content], Awaitable[HttpResponse]],
    ) -> Receive:
        """See whether a body may come, and take it.

        :param store: makes the object, of its type and content.
        """
        head, keeping = passage.head, self._keeping
        headers = head.headers
        if "content-range" in headers:
            raise XcapError(400, "Objects are stored whole")
        coding = (headers.get("content-encoding") or "").strip().lower()
        if coding not in ("", "identity"):
            raise XcapError(415, "No content coding is known", (("Accept-Encoding", "identity"),))
        type = keeping.type(headers.get("content-type"))
        promises = promised(headers)
        length = headers.get("content-length")
        keeping.occupy(owner)
        try:
            await keeping.room(owner, int(length) if length is not None else 0, old)
            upload = self._store.upload()
        except BaseException:
            keeping.release(owner)
            raise

        async def complete(content: Content) -> HttpResponse:
            if not kept(promises, content):
                self._store.discard(content)
                raise XcapError(400, "The body is not what its digest says")
            return await store(type, content)

        def release() -> None:
            self.uploads -= 1
            keeping.release(owner)

        def ended(answer: HttpResponse) -> HttpResponse:
            release()
            return self._finish(passage, answer)

        def abandoned(status: int) -> None:
            release()
            self._note(passage, status, 0)

        self.uploads += 1
        return ContentIntake(
            upload,
            passage,
            keeping.settings.size,
            self._settings.upload_time,
            complete,
            self._fault,
            ended,
            abandoned,
        )


def _nothing() -> XcapError:
    return XcapError(404, "No such object")


def _lost(etag: str) -> XcapError:
    """Somebody else was faster."""
    return XcapError(412, "Precondition failed") if etag else _nothing()


def _not_allowed(method: str, allow: str) -> XcapError:
    if method not in _METHODS:
        return XcapError(501, "Method is not known")
    return XcapError(405, "Method is not allowed", (("Allow", allow),))
