"""The Watcher: subscribes to presentities and keeps their documents (oma-presence.md 6)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from presence.interfaces import IListListener, IWatchListener
from presence.pidf.parse import DocumentError, parse_compact, to_utf8
from presence.rls.listwatch import Taken, WatchedList
from presence.rls.rlmi import MEDIA_TYPE as RLMI_TYPE
from pysip.event.interfaces import ISubscriberDelegate
from pysip.event.subscriber import NotifyRouter, Subscriber
from pysip.event.terms import SubscriptionTerms
from pysip.header import parse_token_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysip.auth.client import ClientCredentials
    from pysip.header import MediaType
    from pysip.message import Request, Response

PIDF_TYPE = "application/pidf+xml"
EVENT_LIST = "eventlist"
"""Option tag of lists (RFC 4662 section 4.1)."""
LIST_TYPES = (RLMI_TYPE, "multipart/related", PIDF_TYPE)
"""What is accepted of a list (WAT-02, RLS-02)."""
MAX_SUBSCRIPTIONS = 1000
"""Default of MAX-NUMBER-OF-PRESENCE-SUBSCRIPTIONS."""


class SubscriptionLimitError(Exception):
    """There are as many presence subscriptions as there may be (WAT-03)."""


class FetchError(Exception):
    """A presentity's state could not be fetched.

    :ivar response: the refusal, None when there was no answer or no NOTIFY.
    """

    def __init__(self, response: Response | None) -> None:
        super().__init__("no answer" if response is None else f"{response.status}")
        self.response = response


def is_list(response: Response | None) -> bool:
    """Whether a refusal says that a list was asked for, which :meth:`Watcher.watch_list` watches.

    RFC 4662 section 4.1 (RLS-01).
    """
    if response is None or response.status != 421:
        return False
    required = parse_token_list(response.values("require"))
    return EVENT_LIST in map(str.lower, required)


@implementer(ISubscriberDelegate)
class _Watch(ABC):
    """Something that is watched by a subscription.

    :ivar uri: what is subscribed to, as it is addressed.
    :ivar state: of the subscription: ``""`` before the first NOTIFY, then ``active``,
        ``pending`` or ``terminated``.
    :ivar reason: why it is terminated, or "".
    :ivar ended: it has ended for good.
    """

    def __init__(self, watcher: Watcher, listener: Any, terms: SubscriptionTerms) -> None:
        self.uri = terms.uri
        self.state = ""
        self.reason = ""
        self.ended = False
        self._watcher = watcher
        self._listener = listener
        self._lost = False
        self.subscriber = Subscriber(watcher.router, terms, self)

    @abstractmethod
    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """Take a NOTIFY in."""

    def _lacks(self, something: bool) -> None:
        """What is missing is asked for once, until nothing is missing (SBR-06, RLS-26)."""
        if something and not self._lost:
            self.subscriber.refresh()
        self._lost = something

    def subscription_failed(self, response: Response | None, retry_after: float | None) -> None:
        """The subscription was refused or not answered."""
        self._finish_unless(retry_after)
        self._listener.failed(self, response, retry_after)

    def subscription_ended(self, reason: str, retry_after: float | None) -> None:
        """The subscription has ended."""
        self.state = "terminated"
        self.reason = reason
        self._finish_unless(retry_after)
        self._listener.ended(self, reason, retry_after)

    def _finish_unless(self, retry_after: float | None) -> None:
        if retry_after is None:
            self.ended = True
            self._watcher.forget(self)

    def stop(self) -> Deferred[None]:
        """Unsubscribe; fires when that is over, and never fails."""
        stopping = self.subscriber.unsubscribe()
        stopping.addCallback(lambda _: self._finish_unless(None))
        return stopping


class PresenceWatch(_Watch):
    """One presentity that is watched.

    :ivar uri: the presentity as it is addressed.
    :ivar state: of the subscription: ``""`` before the first NOTIFY, then ``active``,
        ``pending`` or ``terminated``.
    :ivar reason: why it is terminated, or "".
    :ivar document: the newest presence document, None before the first (PRE-07).
    :ivar content_type: its media type.
    :ivar ended: it has ended for good.
    """

    def __init__(self, watcher: Watcher, uri: str, listener: IWatchListener, expires: int) -> None:
        super().__init__(watcher, listener, watcher.subscription(uri, expires))
        self.document: bytes | None = None
        self.content_type = ""

    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """Take a NOTIFY in: a full document replaces, none leaves the old one (PRE-07)."""
        self.state = state
        self.reason = ""
        if body and self._is_readable(request, body):
            self.document = body
            self.content_type = content_type
        self._listener.changed(self)

    def _is_readable(self, request: Request, body: bytes) -> bool:
        """Whether ``body`` is XML; lost state is asked for again, once (SBR-06)."""
        media = request.content_type
        try:
            parse_compact(to_utf8(body, media.params.get("charset") if media else None))
        except DocumentError:
            self._lacks(True)
            return False
        self._lacks(False)
        return True


class ListWatch(_Watch):
    """One list that is watched, with all its members (RFC 4662).

    It is one subscription, also where the SUBSCRIBE has forked (RLS-30).

    :ivar uri: the list as it is addressed.
    :ivar state: of the subscription to the list, which says nothing about the members
        (RLS-12): ``""`` before the first NOTIFY, then ``active``, ``pending`` or
        ``terminated``.
    :ivar reason: why it is terminated, or "".
    :ivar table: the members and what is known of each.  It stays while a subscription that has
        ended is made anew; then another one takes its place.
    :ivar problem: why the last NOTIFY could not be read, or "".
    :ivar ended: it has ended for good.
    """

    def __init__(self, watcher: Watcher, uri: str, listener: IListListener, expires: int) -> None:
        super().__init__(watcher, listener, watcher.list_subscription(uri, expires))
        self.table = WatchedList()
        self.problem = ""
        self._anew = False

    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """Take a NOTIFY in; after a gap full state is asked for (RLS-26)."""
        self.state = state
        self.reason = self.problem = ""
        taken = Taken(False)
        media = request.content_type
        if body and media is not None:
            try:
                taken = self._take(media, body)
            except ValueError as error:
                self.problem = str(error)
                self._lacks(True)
            else:
                if taken.processed:
                    self._lacks(taken.refresh)
        self._listener.list_changed(self, taken)

    def _take(self, media: MediaType, body: bytes) -> Taken:
        if not self._anew:
            return self.table.take(media, body)
        table, before = WatchedList(), self.table.members
        taken = table.take(media, body)
        self.table, self._anew = table, False
        gone = tuple(uri for uri in before if uri not in table.members)
        return attrs.evolve(taken, removed=gone)

    def subscription_failed(self, response: Response | None, retry_after: float | None) -> None:
        """The subscription was refused or not answered."""
        self._begin_anew()
        super().subscription_failed(response, retry_after)

    def subscription_ended(self, reason: str, retry_after: float | None) -> None:
        """The subscription has ended; the next one counts its versions anew (RLS-06)."""
        self._begin_anew()
        super().subscription_ended(reason, retry_after)

    def _begin_anew(self) -> None:
        self._anew = True
        self._lost = False  # what is missing is asked for of the next subscription


AnyWatch = TypeVar("AnyWatch", PresenceWatch, ListWatch)


@attrs.frozen(slots=True, kw_only=True)
class WatcherTerms:
    """Who watches, and how.

    :ivar local_uri: From value without tag.
    :ivar contact: gives our Contact value for the next SUBSCRIBE.
    :ivar expires: lifetime to ask for, seconds.
    :ivar limit: MAX-NUMBER-OF-PRESENCE-SUBSCRIPTIONS.
    :ivar route: preloaded Route values.
    :ivar credentials: to answer challenges with.
    """

    local_uri: str
    contact: Callable[[], str]
    expires: int = 3600
    limit: int = MAX_SUBSCRIPTIONS
    route: tuple[str, ...] = ()
    credentials: ClientCredentials | None = None


class Watcher:
    """Watches presentities and lists, each by a subscription of its own (WAT-01).

    :param router: of the user agent to subscribe with.
    :param terms: who and how.
    """

    def __init__(self, router: NotifyRouter, terms: WatcherTerms) -> None:
        self.router = router
        self.terms = terms
        self.watches: dict[_Watch, None] = {}
        if EVENT_LIST not in router.ua.supported:
            router.ua.supported.append(EVENT_LIST)  # NOTIFYs of lists require it (RLS-03)

    def watch(self, uri: str, listener: IWatchListener) -> PresenceWatch:
        """Watch a presentity until :meth:`PresenceWatch.stop`.

        :raises SubscriptionLimitError: there are ``limit`` watches already (WAT-03).
        """
        self._check_limit()
        return self._begin(PresenceWatch(self, uri, listener, self.terms.expires))

    def watch_list(self, uri: str, listener: IListListener) -> ListWatch:
        """Watch all members of a list until :meth:`ListWatch.stop` (WAT-02).

        :raises SubscriptionLimitError: there are ``limit`` watches already; a list is one of
            them (WAT-03).
        """
        self._check_limit()
        return self._begin(ListWatch(self, uri, listener, self.terms.expires))

    def fetch(self, uri: str) -> Deferred[PresenceWatch]:
        """The state of a presentity, once.

        :raises SubscriptionLimitError: at once, see :meth:`watch`.
        :raises FetchError: (in the Deferred) it was refused or not answered.
        """
        self._check_limit()
        fetched: Deferred[PresenceWatch] = Deferred()
        self._begin(PresenceWatch(self, uri, _Fetch(fetched), 0))
        return fetched

    def fetch_list(self, uri: str) -> Deferred[ListWatch]:
        """The state of all members of a list, once (RCL-06).

        :raises SubscriptionLimitError: at once, see :meth:`watch_list`.
        :raises FetchError: (in the Deferred) it was refused or not answered.
        """
        self._check_limit()
        fetched: Deferred[ListWatch] = Deferred()
        self._begin(ListWatch(self, uri, _Fetch(fetched), 0))
        return fetched

    def subscription(self, uri: str, expires: int) -> SubscriptionTerms:
        """The terms of a subscription to one presentity."""
        terms = self.terms
        return SubscriptionTerms(
            uri=uri,
            local_uri=terms.local_uri,
            package="presence",
            contact=terms.contact,
            accept=(PIDF_TYPE,),
            expires=expires,
            route=terms.route,
            credentials=terms.credentials,
        )

    def list_subscription(self, uri: str, expires: int) -> SubscriptionTerms:
        """The terms of a subscription to one list: never with ``Require: eventlist`` (WAT-02)."""
        return attrs.evolve(
            self.subscription(uri, expires), accept=LIST_TYPES, supported=(EVENT_LIST,)
        )

    def refresh(self) -> None:
        """Refresh all subscriptions, after our Contact has changed (DLG-19)."""
        for watch in list(self.watches):
            watch.subscriber.refresh()

    def forget(self, watch: _Watch) -> None:
        """``watch`` has ended: its place is free."""
        self.watches.pop(watch, None)

    def _check_limit(self) -> None:
        if len(self.watches) >= self.terms.limit:
            raise SubscriptionLimitError(f"at most {self.terms.limit} presence subscriptions")

    def _begin(self, watch: AnyWatch) -> AnyWatch:
        self.watches[watch] = None
        watch.subscriber.subscribe()
        return watch


@implementer(IWatchListener, IListListener)
class _Fetch:
    """Waits for the one NOTIFY of a fetch."""

    def __init__(self, fetched: Deferred[Any]) -> None:
        self._fetched = fetched

    def changed(self, watch: PresenceWatch) -> None:
        """The state is here; that it is complete the end will tell."""

    def list_changed(self, watch: ListWatch, taken: Taken) -> None:
        """As :meth:`changed`."""

    def failed(self, watch: Any, response: Response | None, retry_after: float | None) -> None:
        """Refused or not answered."""
        self._fetched.errback(Failure(FetchError(response)))

    def ended(self, watch: Any, reason: str, retry_after: float | None) -> None:
        """The NOTIFY has come."""
        self._fetched.callback(watch)
