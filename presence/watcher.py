"""The Watcher: subscribes to presentities and keeps their documents (oma-presence.md 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from presence.interfaces import IListListener, IWatchListener
from presence.rls.listwatch import Taken
from presence.watches import ListWatch, PresenceWatch, Watch
from presence.watching.media import FILTER_TYPE
from presence.watching.options import Known, WatchOptions
from pysip.event.subscriber import NotifyRouter
from pysip.event.terms import SubscriptionTerms
from pysip.header import parse_token_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysip.auth.client import ClientCredentials
    from pysip.message import Response

__all__ = [
    "EVENT_LIST",
    "MAX_SUBSCRIPTIONS",
    "FetchError",
    "Known",
    "ListWatch",
    "PresenceWatch",
    "SubscriptionLimitError",
    "WatchOptions",
    "Watcher",
    "WatcherTerms",
    "is_list",
]

EVENT_LIST = "eventlist"
"""Option tag of lists (RFC 4662 section 4.1)."""
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
    :ivar options: how to be notified, where a watch has no options of its own.
    """

    local_uri: str
    contact: Callable[[], str]
    expires: int = 3600
    limit: int = MAX_SUBSCRIPTIONS
    route: tuple[str, ...] = ()
    credentials: ClientCredentials | None = None
    options: WatchOptions = attrs.field(factory=WatchOptions)


class Watcher:
    """Watches presentities and lists, each by a subscription of its own (WAT-01).

    :param router: of the user agent to subscribe with.
    :param terms: who and how.
    """

    def __init__(self, router: NotifyRouter, terms: WatcherTerms) -> None:
        self.router = router
        self.terms = terms
        self.watches: dict[Watch, None] = {}
        if EVENT_LIST not in router.ua.supported:
            router.ua.supported.append(EVENT_LIST)  # NOTIFYs of lists require it (RLS-03)

    def watch(
        self,
        uri: str,
        listener: IWatchListener,
        options: WatchOptions | None = None,
        known: Known | None = None,
    ) -> PresenceWatch:
        """Watch a presentity until :meth:`PresenceWatch.stop`.

        :param options: how to be notified; None as all others.
        :param known: what was known of it when this was watched before; it is told again only
            if it has changed (RFC 5839 section 5.5).
        :raises SubscriptionLimitError: there are ``limit`` watches already (WAT-03).
        """
        return self._begin(self._presence(uri, listener, self.terms.expires, options, known))

    def watch_list(
        self, uri: str, listener: IListListener, options: WatchOptions | None = None
    ) -> ListWatch:
        """Watch all members of a list until :meth:`ListWatch.stop` (WAT-02).

        :param options: how to be notified; None as all others.
        :raises SubscriptionLimitError: there are ``limit`` watches already; a list is one of
            them (WAT-03).
        """
        return self._begin(self._list(uri, listener, self.terms.expires, options))

    def fetch(
        self, uri: str, options: WatchOptions | None = None, known: Known | None = None
    ) -> Deferred[PresenceWatch]:
        """The state of a presentity, once.

        :param known: as of :meth:`watch`: polling (RFC 5839 section 5.4).
        :raises SubscriptionLimitError: at once, see :meth:`watch`.
        :raises FetchError: (in the Deferred) it was refused or not answered.
        """
        fetched: Deferred[PresenceWatch] = Deferred()
        self._begin(self._presence(uri, _Fetch(fetched), 0, options, known))
        return fetched

    def fetch_list(self, uri: str, options: WatchOptions | None = None) -> Deferred[ListWatch]:
        """The state of all members of a list, once (RCL-06).

        :raises SubscriptionLimitError: at once, see :meth:`watch_list`.
        :raises FetchError: (in the Deferred) it was refused or not answered.
        """
        fetched: Deferred[ListWatch] = Deferred()
        self._begin(self._list(uri, _Fetch(fetched), 0, options))
        return fetched

    def _presence(
        self,
        uri: str,
        listener: IWatchListener,
        expires: int,
        options: WatchOptions | None,
        known: Known | None,
    ) -> PresenceWatch:
        wanted = options or self.terms.options
        terms = self._subscription(uri, expires, wanted)
        if known is not None:
            terms = attrs.evolve(terms, tag=known.tag, conditional=True)
        return PresenceWatch(self.router, terms, wanted, listener, self.forget, known)

    def _list(
        self, uri: str, listener: IListListener, expires: int, options: WatchOptions | None
    ) -> ListWatch:
        wanted = options or self.terms.options
        terms = attrs.evolve(
            self._subscription(uri, expires, wanted),
            accept=wanted.accept(lists=True),
            supported=(EVENT_LIST,),  # never with "Require: eventlist" (WAT-02)
        )
        return ListWatch(self.router, terms, wanted, listener, self.forget)

    def _subscription(self, uri: str, expires: int, options: WatchOptions) -> SubscriptionTerms:
        """The terms of a subscription to one presentity."""
        terms = self.terms
        return SubscriptionTerms(
            uri=uri,
            local_uri=terms.local_uri,
            package="presence",
            contact=terms.contact,
            accept=options.accept(lists=False),
            expires=expires,
            route=terms.route,
            credentials=terms.credentials,
            content_type=FILTER_TYPE,
            body=options.filters,
            rates=options.rates,
            conditional=options.conditional,
            compressed=options.compressed,
        )

    def refresh(self) -> None:
        """Refresh all subscriptions, after our Contact has changed (DLG-19)."""
        for watch in list(self.watches):
            watch.subscriber.refresh(full=False)

    def forget(self, watch: Watch) -> None:
        """``watch`` has ended: its place is free."""
        self.watches.pop(watch, None)

    def _begin(self, watch: AnyWatch) -> AnyWatch:
        if len(self.watches) >= self.terms.limit:
            raise SubscriptionLimitError(f"at most {self.terms.limit} presence subscriptions")
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
