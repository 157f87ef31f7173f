"""Lists as resources of the ``presence`` package (RFC 4662, RLO-01 to RLO-09)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import attrs
import msgspec
from twisted.logger import Logger
from zope.interface import implementer

from presence.filtering import MEDIA_TYPE as FILTERS
from presence.filtering import Filtering, brings_filters
from presence.filters.filterset import FilterSet
from presence.partial.difference import difference
from presence.partial.wanted import wants_changes
from presence.rls.backend import Watching
from presence.rls.contained import LISTS, brings_list, contained_members
from presence.rls.definitions import member_key
from presence.rls.draft import Terms
from presence.rls.expand import ExpandedService
from presence.rls.kept import Kept, decode_kept, encode_kept, keep
from presence.rls.model import Member, Service
from presence.rls.subscription import ListSettings, ListSubscription
from pysip.errors import ParseError, SipError
from pysip.event.interfaces import IEventPackage
from pysip.event.notification import Notification, entity_tag
from pysip.external import EXTERNAL_BODY
from pysip.header import accepts, parse_accept, parse_token_list
from pysip.uri import SipUri, canonical_aor, parse_uri

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from presence.rls.backend import BackEnds
    from presence.rls.pace import Pace
    from presence.rls.services import ServiceSource
    from presence.rls.table import Report
    from pysip.auth.domains import Domains
    from pysip.event.interfaces import ISubscription
    from pysip.interfaces import Identity
    from pysip.message import Request
    from pysip.timers import TimerWheel
    from pysip.tokens import TokenSource

PRESENCE: Final = "presence"
RELATED: Final = "multipart/related"
PIDF: Final = "application/pidf+xml"
_NEEDED: Final = ("application/rlmi+xml", RELATED, PIDF)
_SECURED: Final = ("multipart/signed", "application/pkcs7-mime")
_LIFETIME: Final = 86400
"""Seconds that subscriptions to members ask for; they end with that to the list (RLS-12)."""
_NOTHING: Final = Notification()
_MAX_FORWARDS: Final = 70
_REMEMBERED: Final = 32
"""Differences of members' documents that are remembered."""


@attrs.define(eq=False)
class ListWatch:
    """What stands behind a subscription to a list.

    :ivar detail: as it is kept.
    :ivar list: None until the list is known again after a restart.
    :ivar held: follows the list.
    :ivar over: the subscription has ended.
    """

    kept: Kept
    terms: Terms
    detail: bytes
    list: ListSubscription | None = None
    held: ExpandedService | None = None
    over: bool = False

    def stop(self) -> None:
        """Follow nothing any more."""
        self.over = True
        if self.list is not None:
            self.list.stop()
        if self.held is not None:
            self.held.stop()
            self.held = None


@implementer(IEventPackage)
class ListPackage:
    """Subscriptions to presence lists.

    :param services: where lists come from.
    :param backends: watches their members.
    :param domains: served domains and their aliases.
    :param is_user: whether a canonical URI is the address of a known user.
    :param host: of Content-IDs.
    :param touch: tells the notifier that a subscription has something new.
    :param ready: tells it that what was put off can be told.
    :param terminate: ends a subscription with a reason.

    :ivar filtering: reads filters.
    :ivar live: what stands behind all list subscriptions.
    """

    name = "presence.list"
    event = PRESENCE
    default_expires = 3600
    notify_types = (RELATED,)
    template = False
    incremental = True

    _log = Logger()

    def __init__(
        self,
        services: ServiceSource,
        backends: BackEnds,
        pace: Pace,
        wheel: TimerWheel,
        tokens: TokenSource,
        domains: Domains,
        is_user: Callable[[str], bool],
        host: str,
        settings: ListSettings,
        *,
        touch: Callable[[ISubscription], None],
        ready: Callable[[ISubscription], None],
        terminate: Callable[[ISubscription, str], None],
    ) -> None:
        self.settings = settings
        self.services = services
        self.live: set[ListWatch] = set()
        self._backends = backends
        self._pace = pace
        self._wheel = wheel
        self._tokens = tokens
        self._domains = domains
        self._is_user = is_user
        self._host = host
        self._touch = touch
        self._ready = ready
        self._terminate = terminate
        # Many lists have the same member, and their watchers stand at the same version.
        self._changes = lru_cache(_REMEMBERED)(difference)
        self.filtering = Filtering(PRESENCE, lambda _: (), self._serves)

    @property
    def subscribe_types(self) -> tuple[str, ...]:
        """Filters; and lists may be brought along, where that is offered (RCL-01)."""
        return (FILTERS, LISTS) if self.settings.service else (FILTERS,)

    # -- SUBSCRIBE ----------------------------------------------------------------------

    def prepare(self, request: Request, watcher: Identity) -> Deferred[None] | None:
        """Look whether the Request-URI is that of a list, and may be used by the watcher.

        A URI that says by its parameters that it is a list is nobody's address: where there is
        no such list it is unknown (XDM-52, XDM-56).

        :raises SipError: (in the Deferred) 403, 404, 480 or 489 (XDM-52, RLS-23, RLS-27, RLO-08).
        """
        if request.to.tag or self._is_service(request) or not self.possible(request):
            return None
        uri = self._list_uri(request)
        finding: Deferred[Service | None] = self.services.find(uri, watcher, PRESENCE)

        def found(service: Service | None) -> None:
            if service is None and ";" in uri and self.services.named(uri):
                raise SipError(404, "No such list")

        return finding.addCallback(found)

    def possible(self, request: Request) -> bool:
        """Whether there may be a list of that name: no user's address is one (XDM-45).

        With parameters, such as ``;pres-list=friends``, it is more than an address (XDM-56).
        """
        try:
            uri = self._domains.canonical(request.uri)
            if self._is_user(uri):
                named = ";" in request.uri
                return named and member_key(request.uri) != canonical_aor(request.uri)
        except ParseError:
            return False
        return self._serves(uri)

    def resolve(self, request: Request) -> str:
        """The list, as :meth:`prepare` has found it.

        :raises SipError: 404 for what is no list.
        """
        if self._is_service(request):
            return self.settings.service
        service = self.services.known(self._list_uri(request)) if self.possible(request) else None
        if service is None:
            raise SipError(404)
        return service.uri

    def _list_uri(self, request: Request) -> str:
        """The Request-URI with the served domain itself, where it has another name of it."""
        uri = parse_uri(request.uri)
        if not isinstance(uri, SipUri):
            return request.uri
        domain = self._domains.served(uri.host)
        if domain is None or domain == uri.host.lower():
            return request.uri
        return str(attrs.evolve(uri, host=domain, port=None))

    def _is_service(self, request: Request) -> bool:
        """Whether a request is for the service of lists that are brought along (RCL-01)."""
        service = self.settings.service
        try:
            return bool(service) and self._domains.canonical(request.uri) == service
        except ParseError:
            return False

    def entity(self, request: Request, resource: str) -> str:
        """The URI as it was subscribed to (RLS-08)."""
        return request.uri

    def authorize(self, resource: str, watcher: Identity) -> str:
        """Owners use their lists; that was seen when they were found (RLS-23).

        The service for lists that are brought along is for users of served domains (RCL-03).
        """
        if resource == self.settings.service and not any(map(self._serves, watcher.uris)):
            return "rejected"
        return "active"

    def _serves(self, uri: str) -> bool:
        return self._domains.served(uri.rpartition("@")[2]) is not None

    def choose_type(self, request: Request) -> str:
        """``multipart/related``, for who understands lists (RLS-01, RLS-02).

        :raises SipError: 406 or 421.
        """
        if "eventlist" not in map(str.lower, parse_token_list(request.values("supported"))):
            raise SipError(421, None, (("Require", "eventlist"),))
        accept = request.headers.get("accept")
        if accept is not None:
            ranges = parse_accept(accept)
            if not all(accepts(ranges, media) for media in _NEEDED):
                raise SipError(406, None, (("Accept", ", ".join(_NEEDED)),))
        return RELATED

    def subscribe(self, request: Request, subscription: ISubscription, initial: bool) -> None:
        """Note what the SUBSCRIBE says; a fetch begins at once, and a refresh tells all."""
        subscription.require = "eventlist"
        settings = self.settings
        contained = subscription.resource == settings.service
        if brings_list(request) and not (contained and initial):
            raise SipError(415)  # the first one counts (RCL-02), and that in the document
        watch = subscription.data
        if isinstance(watch, ListWatch):
            if brings_filters(request):
                # as of the last SUBSCRIBE, of which the members need not have heard yet
                kept = decode_kept(subscription.detail)
                filters = self._filters(subscription, kept.filters, request)
                kept = msgspec.structs.replace(kept, filters=filters.encode())
                subscription.detail = encode_kept(kept)
            if watch.list is not None:
                watch.list.refresh(_LIFETIME)
            return
        forwards = _MAX_FORWARDS if request.max_forwards is None else request.max_forwards
        if not forwards:
            raise SipError(483)  # list servers that have each other's lists as members (RLS-16)
        if contained:
            service: Service | None = self._contained(request, subscription)
        else:
            service = self.services.known(subscription.resource, subscription.watcher)
        if service is None:
            raise SipError(480, None, (("Retry-After", "5"),))
        if settings.excess == "refuse" and len(service.members) > settings.members:
            raise SipError(403, None, (("Warning", '399 presence "the list is too long"'),))
        members = None
        if contained:
            members = tuple((each.uri, each.key, each.names) for each in service.members)
        kept = keep(request, service.owner, forwards - 1, members, settings.bare_id_agents)
        if brings_filters(request):
            filters = self._filters(subscription, b"", request)
            kept = msgspec.structs.replace(kept, filters=filters.encode())
        subscription.detail = encode_kept(kept)
        if not subscription.lasting:
            self._begin(subscription, kept, 0)

    def _filters(self, subscription: ISubscription, kept: bytes, request: Request) -> FilterSet:
        """The filters after a SUBSCRIBE that brings some (FLT-21).

        :raises SipError: 488.
        """
        return self.filtering.changed(_decoded(kept), request, subscription.resource)

    def _catch_up(self, subscription: ISubscription, watch: ListWatch) -> None:
        """Pass on the filters of the last SUBSCRIBE, now that it is durable."""
        if watch.list is None or watch.detail is subscription.detail:
            return
        watch.detail = subscription.detail
        watch.kept = decode_kept(subscription.detail)
        watch.list.filter(_decoded(watch.kept.filters))

    def _contained(self, request: Request, subscription: ISubscription) -> Service:
        """The list that a SUBSCRIBE has brought along.

        :raises SipError: 400 without one, or 403 for too long a one (RCL-03).
        """
        if not brings_list(request):
            raise SipError(400, "Bad Request: no list of recipients")
        members = contained_members(request, self.settings.members)
        return _service_of(subscription, members)

    def subscribed(self, subscription: ISubscription) -> None:
        """Begin to watch the list; after a restart with what was noted of it (PSV-20, RLO-06)."""
        subscription.require = "eventlist"
        if subscription.data is not None:
            return
        try:
            kept = decode_kept(subscription.detail)
        except msgspec.DecodeError:
            self._log.error("what subscription {id} is about is damaged", id=subscription.id)
            self._terminate(subscription, "deactivated")
            return
        self._begin(subscription, kept, _LIFETIME)

    def _begin(self, subscription: ISubscription, kept: Kept, expires: int) -> None:
        accept = None if kept.accept is None else parse_accept(list(kept.accept))
        terms = Terms(
            host=self._host,
            accept=accept,
            changes=self._changes if accept is not None and wants_changes(accept) else None,
            bare_ids=kept.bare_ids,
        )
        watch = subscription.data = ListWatch(kept, terms, subscription.detail)
        self.live.add(watch)
        secured = tuple(kind for kind in _SECURED if kind in dict(accept or ()))
        watching = Watching(
            subscription.id,
            subscription.watcher,
            kept.max_forwards,
            expires,
            secured,
            accept is not None and accepts(accept, EXTERNAL_BODY) > 0,
        )
        if kept.bare_ids:
            subscription.event_name = "Presence"

        def changed(service: Service | None) -> None:
            if watch.over:
                return
            if service is None:
                self._terminate(subscription, "noresource")
            elif watch.list is not None:
                watch.list.changed(service)
            else:
                self._make(subscription, watch, watching, service)
                self._ready(subscription)

        if kept.members is not None:
            members = tuple(Member(*each) for each in kept.members)
            self._make(subscription, watch, watching, _service_of(subscription, members))
            return
        watch.held = ExpandedService(self.services, subscription.resource, kept.owner, changed)
        service = watch.held.service
        if service is not None and watch.list is None:
            self._make(subscription, watch, watching, service)

    def _make(
        self, subscription: ISubscription, watch: ListWatch, watching: Watching, service: Service
    ) -> None:
        watch.list = ListSubscription(
            subscription,
            service,
            watching,
            self._backends,
            self._pace,
            self._wheel,
            self.settings,
            lambda: self._touch(subscription),
            lambda: self._ready(subscription),
            filters=_decoded(watch.kept.filters),
            administers=lambda domain: self._domains.served(domain) is not None,
            patient=not subscription.lasting or subscription.delivered is not None,
        )

    def unsubscribed(self, subscription: ISubscription) -> None:
        """End what stands behind it; the last NOTIFY tells all once more."""
        watch = subscription.data
        if isinstance(watch, ListWatch):
            self._stop(watch)
            if watch.list is not None:
                watch.list.table.refresh()

    def _stop(self, watch: ListWatch) -> None:
        watch.stop()
        self.live.discard(watch)

    # -- NOTIFY -------------------------------------------------------------------------

    def notification(self, subscription: ISubscription) -> Notification | None:
        """What the watcher does not know yet; of a fetch, all when it is there."""
        watch = subscription.data
        if not isinstance(watch, ListWatch):
            return _NOTHING
        self._catch_up(subscription, watch)
        if watch.list is None or not (watch.over or watch.list.complete):
            return _NOTHING if watch.over else None
        report = self._report(subscription, watch, watch.list)
        if report is None:
            return Notification(digest=subscription.delivered or 0)
        if not subscription.lasting and not watch.over:
            self._stop(watch)
        return Notification(report.content_type, report.body, report.mark)

    def _report(
        self, subscription: ISubscription, watch: ListWatch, told: ListSubscription
    ) -> Report | None:
        """What the next NOTIFY tells; one that leaves in any case tells all rather than nothing.

        All may have been told between a SUBSCRIBE and its answer.  The NOTIFY that follows the
        answer tells it, too (RLS-07), and without a body it would leave a gap between versions
        (RLS-06).
        """
        version = subscription.sequence
        report = told.report(version, self._tokens.tag(), watch.terms)
        if report is None and subscription.forced:
            told.table.refresh()
            report = told.report(version, self._tokens.tag(), watch.terms)
        return report

    def entity_tag(self, subscription: ISubscription) -> str | None:
        """That of the whole list with all that is known of its members (SNE-11)."""
        watch = subscription.data
        if not isinstance(watch, ListWatch) or watch.list is None or not watch.list.complete:
            return None
        self._catch_up(subscription, watch)
        return entity_tag(watch.list.table.mark)

    def acknowledged(self, subscription: ISubscription) -> None:
        """The last notification has arrived."""
        watch = subscription.data
        if isinstance(watch, ListWatch) and watch.list is not None:
            watch.list.acknowledged()


def _decoded(filters: bytes) -> FilterSet:
    """Filters as they are kept; what the store has damaged is like none."""
    try:
        return FilterSet.decode(filters)
    except ValueError:
        return FilterSet()


def _service_of(subscription: ISubscription, members: tuple[Member, ...]) -> Service:
    """A service whose list was brought along."""
    return Service(subscription.resource, subscription.watcher.uri, None, (), members)
