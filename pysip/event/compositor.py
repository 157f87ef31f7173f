"""Event state compositor: PUBLISH (RFC 3903 section 6), free of any event package.

Memory decides at once; the answer leaves when the store has the change (PUB-09), and a
change that could not be stored is undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from zope.interface import implementer

from pysip.errors import SipError
from pysip.event.interfaces import IStateSource
from pysip.event.records import PublicationRecord
from pysip.header import is_token
from pysip.mime import decode_body
from pysip.timers import Timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pysip.event.interfaces import IEventStateStore, IPublicationPackage, IPublicationPolicy
    from pysip.message import Request
    from pysip.timers import TimerWheel
    from pysip.tokens import TokenSource
    from pysip.ua import ServerRequest

_Key = tuple[str, str]  # package name, resource


class Publication(Timed):
    """A live publication.

    :ivar record: what is kept of it now.
    :ivar shrinks: it waits for the end of what may be kept of its document, not for its own.
    """

    __slots__ = ("_compositor", "record", "shrinks")

    def __init__(self, compositor: Compositor, record: PublicationRecord) -> None:
        self._slot = -1
        self._compositor = compositor
        self.record = record
        self.shrinks = False

    def fire(self) -> None:
        """The lifetime is over (PUB-10), or the time for which some of it may be kept."""
        if self.shrinks:
            self._compositor.prune(self)
        else:
            self._compositor.expired(self)


class _Document(NamedTuple):
    """What a PUBLISH tells, as it is kept; see :class:`PublicationRecord`."""

    content_type: str
    body: bytes
    objects: bytes


_NO_DOCUMENT: Final = _Document("", b"", b"")


class _Change:
    """One PUBLISH between its decision and its durability."""

    __slots__ = ("_after", "_before", "_compositor", "_etag", "_granted", "_served")

    def __init__(
        self,
        compositor: Compositor,
        served: ServerRequest,
        before: Publication | None,
        after: PublicationRecord | None,
        etag: str,
        granted: int,
    ) -> None:
        self._compositor = compositor
        self._served = served
        self._before = before.record if before is not None else None
        self._after = after
        self._etag = etag
        self._granted = granted

    def __call__(self, durable: bool) -> None:
        """Answer, and tell the package when the content has changed (PUB-14, PUB-15)."""
        before, after = self._before, self._after
        if not durable:
            self._compositor.undo(before, after)
            self._tell()  # somebody may have seen it meanwhile
            self._served.refuse(SipError(500, "Server Internal Error: storage"))
            return
        self._served.respond(
            200,
            headers=(
                ("SIP-ETag", self._etag),
                ("Expires", str(self._granted)),
                ("Allow", self._served.ua.allow),
            ),
        )
        if after is not None and after.objects:
            self._compositor.live_on(after)
        self._tell()

    def _tell(self) -> None:
        """Tell the package unless only lifetime and entity-tag have changed (PUB-15)."""
        before, after = self._before, self._after
        if before is None or after is None or before.body is not after.body:
            record = after or before
            if record is not None:
                self._compositor.tell(record.package, record.resource)


@implementer(IStateSource)
class Compositor:
    """Publications of all packages.

    :param store: where they are made durable.
    :param wheel: expiry timers.
    :param wall: wall-clock seconds (deadlines survive restarts, OBS-04).
    :param tokens: entity-tags.
    :param policy: lifetimes and limits.

    :ivar count: live publications.
    :ivar lapsed: (package, resource) of what had expired when it was recovered.
    """

    def __init__(
        self,
        store: IEventStateStore,
        wheel: TimerWheel,
        wall: Callable[[], float],
        tokens: TokenSource,
        policy: IPublicationPolicy,
    ) -> None:
        self._store = store
        self._wheel = wheel
        self._wall = wall
        self._tokens = tokens
        self.policy = policy
        self._packages: dict[str, IPublicationPackage] = {}
        self._live: dict[_Key, dict[str, Publication]] = {}
        self._last_id = 0
        self.count = 0
        self.lapsed: set[_Key] = set()

    def add_package(self, package: IPublicationPackage) -> None:
        """Accept PUBLISH for a package."""
        self._packages[package.name] = package

    # -- PUBLISH ------------------------------------------------------------------------

    def serve(self, served: ServerRequest) -> None:
        """Process one PUBLISH in the order of RFC 3903 section 6 (PUB-01).

        :raises SipError: the refusal; nothing has changed then.
        """
        request = served.request
        event = request.event
        package = self._packages.get(event.package) if event is not None else None
        if package is None:
            for known in self._packages.values():
                known.resolve(request)  # a foreign resource is the first thing wrong
                break
            raise SipError(489, None, (("Allow-Events", ", ".join(served.ua.events)),))
        resource = package.resolve(request)
        package.authorize_publisher(resource, served.identity)
        live = self._live.get((package.name, resource))
        publication = None
        etag = _if_match(request)
        if etag is not None:
            publication = live.get(etag) if live is not None else None
            if publication is None:
                raise SipError(412)
        requested = request.expires
        granted = 0 if requested == 0 else self.policy.grant(requested)
        publisher = served.identity.uri
        body = request.body
        if etag is None and not body:
            raise SipError(400, "Bad Request: neither body nor SIP-If-Match")
        initial = etag is None and granted > 0
        self.policy.admit(resource, publisher, len(live) if live else 0, initial)
        if self._store.failed:
            raise SipError(503, None, (("Retry-After", "10"),))
        document = _NO_DOCUMENT
        if body and granted:
            before = publication.record if publication is not None else None
            document = self._document(package, resource, request, before)
            others = live.values() if live is not None else ()
            kept = sum(other.record.size for other in others if other is not publication)
            self.policy.admit_size(kept, len(document.body) + len(document.objects))
        self._apply(served, package.name, resource, publication, document, granted)

    def _document(
        self,
        package: IPublicationPackage,
        resource: str,
        request: Request,
        before: PublicationRecord | None,
    ) -> _Document:
        """The checked body (PUB-07, UAS-05, MSG-26)."""
        media = request.content_type
        if media is None or media.type not in package.publish_types:
            raise SipError(415, None, (("Accept", ", ".join(package.publish_types)),))
        body = request.body
        if "content-encoding" in request.headers:
            body = decode_body(request.values("content-encoding"), body)
        given, body, beside = package.unpack(resource, request.headers["content-type"][0], body)
        kind, body = package.validate(resource, given, body, before)
        now = self._wall()
        body = package.prune(body, now, now)[0]
        objects = package.objects_of(given, body, beside, before)
        return _Document(kind, body, objects)

    def _apply(
        self,
        served: ServerRequest,
        package: str,
        resource: str,
        publication: Publication | None,
        document: _Document,
        granted: int,
    ) -> None:
        store = self._store
        now = self._wall()
        etag = self._tokens.unique()
        if not granted:
            change = _Change(self, served, publication, None, etag, 0)
            if publication is not None:
                self._forget(publication)
                store.remove_publication(publication.record.id)
        elif publication is None:
            self._last_id += 1
            new = PublicationRecord(
                self._last_id,
                package,
                resource,
                etag,
                now + granted,
                now,
                now,
                served.identity.uri,
                document.content_type,
                document.body,
                document.objects,
            )
            change = _Change(self, served, None, new, etag, granted)
            self._enter(Publication(self, new), granted)
            store.put_publication(new)
        else:
            old = publication.record
            modified = bool(document.body)
            kept = document if modified else old
            new = PublicationRecord(
                old.id,
                package,
                resource,
                etag,
                now + granted,
                old.created,
                now if modified else old.changed,
                served.identity.uri,
                kept.content_type,
                kept.body,
                kept.objects,
            )
            change = _Change(self, served, publication, new, etag, granted)
            live = self._live[package, resource]
            del live[old.etag]
            publication.record = new
            live[etag] = publication
            self._wait(publication, granted)
            if modified:
                store.put_publication(new)
            else:
                store.touch_publication(new.id, etag, new.expires)
        store.when_durable(change)

    def _enter(self, publication: Publication, seconds: float) -> None:
        record = publication.record
        key = (record.package, record.resource)
        live = self._live.get(key)
        if live is None:
            live = self._live[key] = {}
        live[record.etag] = publication
        self.count += 1
        self._wait(publication, seconds)

    def _wait(self, publication: Publication, seconds: float) -> None:
        """Wait for the end of a publication, or of the time for which some of it may be kept."""
        record = publication.record
        package = self._packages.get(record.package)
        publication.shrinks = False
        if package is not None:
            now = self._wall()
            body, at = package.prune(record.body, now, record.changed)
            left = 0.0 if body is not record.body else seconds if at is None else at - now
            if left < seconds:
                publication.shrinks = True
                seconds = left
        self._wheel.after(max(0.0, seconds), publication)

    def prune(self, publication: Publication) -> None:
        """Keep no more of a publication than may be kept now, neither here nor in the store."""
        record = publication.record
        now = self._wall()
        body, _ = self._packages[record.package].prune(record.body, now, record.changed)
        if body is not record.body:
            record = publication.record = msgspec.structs.replace(record, body=body)
            self._store.put_publication(record)
            self.tell(record.package, record.resource)
        self._wait(publication, record.expires - now)

    def _forget(self, publication: Publication) -> None:
        record = publication.record
        key = (record.package, record.resource)
        live = self._live[key]
        del live[record.etag]
        if not live:
            del self._live[key]
        self.count -= 1
        self._wheel.cancel(publication)

    def undo(self, before: PublicationRecord | None, after: PublicationRecord | None) -> None:
        """Take back a change that could not be stored (UAS-09, PUB-09)."""
        if after is not None:
            publication = self._live.get((after.package, after.resource), {}).get(after.etag)
            if publication is not None:  # it may have expired since
                self._forget(publication)
        if before is not None:
            self._enter(Publication(self, before), before.expires - self._wall())

    def expired(self, publication: Publication) -> None:
        """Remove a publication whose lifetime is over, and tell the package (PUB-10)."""
        record = publication.record
        self._forget(publication)
        self._store.remove_publication(record.id)
        self.tell(record.package, record.resource)

    def tell(self, package: str, resource: str) -> None:
        """Tell a package that the publications of a resource have changed."""
        known = self._packages.get(package)
        if known is not None:
            known.published(resource)

    def live_on(self, record: PublicationRecord) -> None:
        """Tell a package that a publication with objects lives until its deadline."""
        known = self._packages.get(record.package)
        if known is not None:
            known.lives(record)

    @property
    def published_resources(self) -> int:
        """How many resources have publications."""
        return len(self._live)

    # -- state --------------------------------------------------------------------------

    def resources(self, package: str) -> list[str]:
        """The resources that have publications."""
        return [resource for name, resource in self._live if name == package]

    def publications(self, package: str, resource: str) -> list[PublicationRecord]:
        """The live publications, oldest content first, ties by entity-tag (COM-01, COM-13)."""
        live = self._live.get((package, resource))
        if not live:
            return []
        records = [publication.record for publication in live.values()]
        if len(records) > 1:
            records.sort(key=lambda record: (record.changed, record.etag))
        return records

    def recovered(self, records: Iterable[PublicationRecord]) -> None:
        """Take publications back from the store; what expired meanwhile is removed."""
        now = self._wall()
        for record in records:
            self._last_id = max(self._last_id, record.id)
            if record.expires <= now:
                self._store.remove_publication(record.id)
                self.lapsed.add((record.package, record.resource))
            else:
                self._enter(Publication(self, record), record.expires - now)

    def remove_resource(self, package: str, resource: str, before: float) -> None:
        """Drop the publications of a resource that is no more (PSV-19).

        :param before: wall-clock time; what was published first later is of another resource.
        """
        for publication in list(self._live.get((package, resource), {}).values()):
            if publication.record.created < before:
                self.expired(publication)


def _if_match(request: Request) -> str | None:
    """The entity-tag of SIP-If-Match, None without one (PUB-01 step 3).

    :raises SipError: 400 when it is not exactly one token.
    """
    values = request.headers.get("sip-if-match")
    if values is None:
        return None
    etag = values[0]
    if len(values) != 1 or not is_token(etag):
        raise SipError(400, "Bad Request: SIP-If-Match is not one entity-tag")
    return etag
