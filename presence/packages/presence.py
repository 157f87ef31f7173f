"""The ``presence`` event package (RFC 3856): PUBLISH, SUBSCRIBE and what watchers see."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from zope.interface import implementer

from presence.compose.timed import prune
from presence.filtering import MEDIA_TYPE as FILTERS
from presence.filtering import Filtering
from presence.holding import Holding
from presence.objects.dressing import Objects
from presence.objects.published import EXTERNAL_BODY, RELATED, check, decode, encode, unpack
from presence.objects.references import referred
from presence.objects.related import noted, noting, takes, without
from presence.packages.published import TYPES, document
from presence.partial.wanted import wants_changes
from presence.pidf.validate import DEFAULT_LIMIT
from presence.preferences import Preferred
from presence.rules.polite import pending_document
from presence.view import PIDF, PIDF_DIFF, View
from presence.views import Views
from pysip.errors import ParseError, SipError
from pysip.event.interfaces import IEventPackage, IPublicationPackage
from pysip.event.notification import Notification
from pysip.header import accepts, parse_accept
from pysip.uri import canonical_aor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from presence.interfaces import (
        ICompositionPolicy,
        IHolder,
        IPermanentState,
        IWatcherObserver,
        IWatcherPolicy,
    )
    from presence.objects.published import PublishedObject
    from presence.rules.permissions import Permissions
    from pysip.auth.domains import Domains
    from pysip.event.interfaces import IStateSource, ISubscription
    from pysip.event.records import PublicationRecord
    from pysip.interfaces import Identity
    from pysip.message import Request
    from pysip.timers import TimerWheel

_STATES = {"allow": "active", "polite-block": "active", "confirm": "pending", "block": "rejected"}
_NOTHING = Notification()
_PIDF_ONLY = [PIDF]
_NO_PRESENTITY = (("Warning", '399 presence "no user of a served domain"'),)


def _no_aliases(presentity: str) -> tuple[str, ...]:
    """A presentity known by one URI only."""
    return ()


@implementer(IEventPackage, IPublicationPackage)
class PresencePackage:
    """Presence of the users of the served domains.

    Watchers with the same permissions share one body: :class:`presence.views.Views`.

    :param domains: served domains and their aliases.
    :param state: live publications.
    :param composition: how they become one document.
    :param watchers: who may watch, and see what.
    :param publishers: URIs that may publish for everybody (PUB-20).
    :param strict: refuse documents that the schema does not allow (CLI-10).
    :param document_limit: greatest document in octets (PID-10).
    :param closed_when_offline: tell a closed tuple when nothing is published (PRE-11).
    :param neutral_pending: while authorization is pending send the document of somebody
        offline with a note that says so (NOT-09, PBK-10), instead of no body.
    :param changed: told of resources whose watchers are to be notified.
    :param watched: whether a resource has subscriptions.
    :param ready: told of subscriptions that :meth:`notification` has put off.
    :param clock: delayed calls.
    :param wheel: timers.
    :param wall: wall-clock seconds.
    :param terminate: ends a subscription with a reason.

    :ivar filtering: reads filters.
    :ivar aliases: gives the other URIs of a presentity (PSV-16).
    :ivar permanent: the permanent documents of presentities; None where they are out of reach.
    :ivar holding: for whom documents are kept at hand.
    :ivar objects: puts objects beside documents.
    :ivar recovers: everything is decided, and watchers are told, only when all is there again.
    :ivar observer: told who watches, for watcher information; None when nobody asks.
    """

    name = event = "presence"
    default_expires = 3600
    notify_types = (PIDF, PIDF_DIFF)
    publish_types = (*TYPES, RELATED, EXTERNAL_BODY)
    subscribe_types = (FILTERS,)
    template = False
    incremental = False

    def __init__(
        self,
        domains: Domains,
        state: IStateSource,
        composition: ICompositionPolicy,
        watchers: IWatcherPolicy,
        *,
        publishers: frozenset[str] = frozenset(),
        strict: bool = False,
        document_limit: int = DEFAULT_LIMIT,
        closed_when_offline: bool = False,
        neutral_pending: bool = False,
        default_expires: int = 3600,
        changed: Callable[[str, str], None],
        watched: Callable[[str, str], bool],
        ready: Callable[[ISubscription], None],
        clock: IReactorTime,
        wheel: TimerWheel,
        wall: Callable[[], float],
        terminate: Callable[[ISubscription, str], None],
    ) -> None:
        self._domains = domains
        self._state = state
        self.watchers = watchers
        self.permanent: IPermanentState | None = None
        self.publishers = publishers
        self.strict = strict
        self.document_limit = document_limit
        self.neutral_pending = neutral_pending
        self.default_expires = default_expires
        self._changed = changed
        self._watched = watched
        self.observer: IWatcherObserver | None = None
        self.holding = Holding(clock, self._holders, self.needed)
        self._views = Views(
            self.sources,
            composition,
            wheel,
            wall,
            lambda resource: watched(self.name, resource),
            lambda resource: changed(self.name, resource),
        )
        self.objects = Objects(clock, wall, ready, lambda resource: watched(self.name, resource))
        self.closed_when_offline = closed_when_offline
        self.aliases: Callable[[str], Collection[str]] = _no_aliases
        self.filtering = Filtering(self.event, lambda one: self.aliases(one), self.serves)
        self._preferred = Preferred(self.filtering, terminate)
        # resources that were recovered and are not yet held; None once all are
        self._recovered: set[str] | None = None
        self.recovers = False

    @property
    def composition(self) -> ICompositionPolicy:
        """How sources become one document."""
        return self._views.composition

    @composition.setter
    def composition(self, composition: ICompositionPolicy) -> None:
        self._views.composition = composition

    @property
    def closed_when_offline(self) -> bool:
        """Whether a closed tuple is told when there is no source (PRE-11)."""
        return self._views.closed_when_offline

    @closed_when_offline.setter
    def closed_when_offline(self, closed: bool) -> None:
        self._views.closed_when_offline = closed

    def _holders(self) -> tuple[IHolder, ...]:
        return (self.watchers,) if self.permanent is None else (self.watchers, self.permanent)

    def stop(self) -> None:
        """Wait for nothing more."""
        self._views.stop()
        self.objects.stop()
        self.holding.stop()

    def serves(self, domain: str) -> bool:
        """Whether a domain is one of ours."""
        return self._domains.served(domain) is not None

    # -- resources ----------------------------------------------------------------------

    def resolve(self, request: Request) -> str:
        """The presentity of the Request-URI (UAS-12, PRE-06, PRE-10).

        :raises SipError: 404 for somebody not of a served domain.
        """
        try:
            aor = self._domains.canonical(request.uri)
        except ParseError:
            raise SipError(404, None, _NO_PRESENTITY) from None
        user, at, host = aor[4:].rpartition("@")
        if aor[:4] != "sip:" or not at or not user or self._domains.served(host) is None:
            raise SipError(404, None, _NO_PRESENTITY)
        return aor

    def entity(self, request: Request, resource: str) -> str:
        """The URI as the watcher wrote it, ``pres:`` kept, canonical else (PRE-05)."""
        aor = canonical_aor(request.uri)
        return f"pres:{aor[4:]}" if request.uri[:5].lower() == "pres:" else aor

    # -- publication --------------------------------------------------------------------

    def authorize_publisher(self, resource: str, publisher: Identity) -> None:
        """Own identities and the configured network sources (PSV-17, PUB-20).

        :raises SipError: 403.
        """
        uris = publisher.uris
        if resource not in uris and self.publishers.isdisjoint(uris):
            raise SipError(403, "Forbidden: not the presentity")

    def validate(
        self, resource: str, content_type: str, body: bytes, before: PublicationRecord | None
    ) -> tuple[str, bytes]:
        """The schema-valid document to keep; see :func:`presence.packages.published.document`."""
        kept = document(
            content_type,
            body,
            before.body if before is not None else None,
            entity_ok=lambda entity: entity == resource or self._is(entity, resource),
            strict=self.strict,
            limit=self.document_limit,
        )
        return PIDF, kept

    def unpack(
        self, resource: str, content_type: str, body: bytes
    ) -> tuple[str, bytes, tuple[PublishedObject, ...]]:
        """The document, and the objects beside it (SRC-03, CIN-08).

        :raises SipError: as :func:`presence.objects.published.unpack`.
        """
        if content_type == PIDF:
            return content_type, body, ()
        documents = [each for each in self.publish_types if each not in (RELATED, EXTERNAL_BODY)]
        host, limits = resource.rpartition("@")[2], self.objects.limits
        found = unpack(content_type, body, host, limits, self.document_limit, documents)
        return found.content_type, found.document, found.objects

    def objects_of(
        self,
        content_type: str,
        document: bytes,
        beside: object,
        before: PublicationRecord | None,
    ) -> bytes:
        """The objects that a document refers to.

        A whole document replaces what was there with its objects (PUB-23); changes of one leave
        those that it still refers to.

        :raises SipError: 413.
        """
        objects = cast("tuple[PublishedObject, ...]", beside)
        if before is not None and before.objects and content_type.lower().startswith(PIDF_DIFF):
            new = {each.cid for each in objects}
            objects += tuple(each for each in decode(before.objects) if each.cid not in new)
        if not objects:
            return b""
        kept = referred(document, objects)
        check(kept, len(document), self.objects.limits, self.document_limit)
        return encode(kept)

    def lives(self, record: PublicationRecord) -> None:
        """What a publication refers to lives as long as that (CSV-05)."""
        self.objects.lives(record)

    def prune(self, body: bytes, now: float, received: float) -> tuple[bytes, float | None]:
        """A document without the locations that may not be kept any longer (LOC-03)."""
        return prune(body, now, received)

    def _is(self, entity: str, resource: str) -> bool:
        try:
            return self._domains.canonical(entity.strip()) == resource
        except ParseError:
            return False

    def published(self, resource: str) -> None:
        """The publications have changed: views are composed anew when they are needed."""
        self.recompose(resource)
        if self.holding.publishers:
            live = self._state.publications(self.name, resource)
            self.holding.published(resource, bool(live))

    def recompose(self, resource: str) -> None:
        """The sources have changed (COM-42, XDM-64)."""
        self._views.drop(resource)
        self.objects.drop(resource)
        self.watchers.published(resource)
        if not self.recovers:
            self._changed(self.name, resource)

    def sources(self, resource: str) -> list[PublicationRecord]:
        """What takes part in composition: the publications, and the permanent document (COM-01)."""
        found = self._state.publications(self.name, resource)
        if self.permanent is not None:
            record = self.permanent.record(resource)
            if record is not None:
                return [record, *found]
        return found

    # -- subscription -------------------------------------------------------------------

    def prepare(self, request: Request, watcher: Identity) -> Deferred[None] | None:
        """Wait for the documents of a presentity that nobody watches yet (PSV-08)."""
        if request.to.tag:
            return None  # who has a subscription is held
        try:
            resource = self.resolve(request)
        except SipError:
            return None  # it is refused for that in a moment
        return self.holding.prepare(resource)

    def authorize(self, resource: str, watcher: Identity) -> str:
        """The state of a subscription by the watcher policy (SUB-14, SUB-15, RUL-03)."""
        return _STATES[self.watchers.decide(resource, watcher).handling]

    def recovering(self) -> None:
        """The subscriptions that come next are from the store: :meth:`settle` ends that."""
        self._recovered = set()
        self.recovers = True

    async def settle(self, others: Iterable[str] = ()) -> None:
        """Fetch the documents of all whose watchers were recovered, some at a time (PSV-20).

        :param others: who is to be held besides.
        """
        recovered, self._recovered = (self._recovered or set()).union(others), None
        await self.holding.settle(recovered)
        self.recovers = False

    def choose_type(self, request: Request) -> str:
        """What the watcher takes (PRE-02, UAS-06).

        Changes only where it names their type, and likes them no less than all (PNO-03).

        :raises SipError: 406.
        """
        accept = request.headers.get("accept")
        if accept is None or accept == _PIDF_ONLY:
            return PIDF
        ranges = parse_accept(accept)
        if wants_changes(ranges):
            return PIDF_DIFF
        if not accepts(ranges, PIDF):
            raise SipError(406, None, (("Accept", ", ".join(self.notify_types)),))
        return PIDF

    def notification(self, subscription: ISubscription) -> Notification | None:
        """The body for one watcher, shared with all that have the same view and wishes.

        None while an object has to be fetched for it.
        """
        view = self._view(subscription)
        if view is None:
            self._preferred.nothing(subscription)
            return _NOTHING
        told: Notification | None = view
        if subscription.data is not None or subscription.content_type != PIDF:
            told = self._preferred.notification(subscription, view)
        elif not subscription.detail:
            return view
        wanted = noted(subscription.detail)
        if told is None or not wanted:
            return told
        return self.objects.dressed(subscription, told, self.sources, wanted)

    def _view(self, subscription: ISubscription) -> View | None:
        """What the watcher may see, None for nothing.

        The decision is asked for again: it may have changed since the SUBSCRIBE (ORD-05).
        """
        resource, entity = subscription.resource, subscription.entity
        if subscription.state == "pending":
            if not self.neutral_pending:
                return None
            return View(entity, pending_document(entity, closed=self.closed_when_offline))
        decision = self.watchers.decide(resource, subscription.watcher)
        permissions: Permissions | None
        if decision.handling == "allow":
            permissions = decision.permissions
        elif decision.handling == "polite-block":
            permissions = None
        else:
            return None
        return self._views.view(resource, entity, permissions)

    def subscribe(self, request: Request, subscription: ISubscription, initial: bool) -> None:
        """Take filters, and whether objects are taken; tell of a fetch that has to wait.

        :raises SipError: 488.
        """
        accept = request.headers.get("accept")
        plain = (accept is None or accept == _PIDF_ONLY) and not request.body
        if not plain or subscription.detail or subscription.data is not None:
            subscription.detail = without(subscription.detail)
            self._preferred.subscribe(request, subscription)
            subscription.detail = noting(takes(accept), subscription.detail)
        if not subscription.lasting and subscription.state == "pending" and self.observer:
            self.observer.fetched(subscription)

    def entity_tag(self, subscription: ISubscription) -> str | None:
        """That of what the watcher may and wants to see (SNE-02).

        None where objects may have to be fetched to know it.
        """
        view = self._view(subscription)
        if view is None:
            return _NOTHING.tag
        if noted(subscription.detail) and self.objects.concern(view):
            return None
        return self._preferred.entity_tag(subscription, view)

    def acknowledged(self, subscription: ISubscription) -> None:
        """What was told is what the next notification is compared with."""
        if subscription.data is not None:
            self._preferred.acknowledged(subscription)

    def subscribed(self, subscription: ISubscription) -> None:
        """Hold the presentity, and tell the observer; views are made when a NOTIFY needs them."""
        if subscription.detail or subscription.content_type != PIDF:
            self._preferred.subscribed(subscription)
        if self._recovered is not None:
            self._recovered.add(subscription.resource)
        else:
            self.holding.hold(subscription.resource)
        if self.observer is not None:
            self.observer.subscribed(subscription)

    def unsubscribed(self, subscription: ISubscription) -> None:
        """Tell the observer, and let go what nobody needs any more."""
        resource = subscription.resource
        if subscription.data is not None:
            self._preferred.unsubscribed(subscription)
        self.objects.forget(subscription)
        if self.observer is not None:
            self.observer.unsubscribed(subscription)
        if not self._watched(self.name, resource):
            self._views.drop(resource)
            self.objects.drop(resource)
        self.holding.relinquish(resource)

    def needed(self, resource: str) -> bool:
        """Whether somebody watches a presentity, or waits for its decision."""
        if self._watched(self.name, resource):
            return True
        return self.observer is not None and self.observer.waits(resource)
