"""The Watcher: subscribes to presentities and keeps their documents (oma-presence.md 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from presence.interfaces import IWatchListener
from presence.pidf.parse import DocumentError, parse_compact, to_utf8
from pysip.event.interfaces import ISubscriberDelegate
from pysip.event.subscriber import NotifyRouter, Subscriber, SubscriptionTerms

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysip.auth.client import ClientCredentials
    from pysip.message import Request, Response

PIDF_TYPE = "application/pidf+xml"
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


@implementer(ISubscriberDelegate)
class PresenceWatch:
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
        self.uri = uri
        self.state = ""
        self.reason = ""
        self.document: bytes | None = None
        self.content_type = ""
        self.ended = False
        self._watcher = watcher
        self._listener = listener
        self._lost = False
        self.subscriber = Subscriber(watcher.router, watcher.subscription(uri, expires), self)

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
            if not self._lost:
                self._lost = True
                self.subscriber.refresh()
            return False
        self._lost = False
        return True

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
    """Watches presentities, each by a subscription of its own (WAT-01).

    :param router: of the user agent to subscribe with.
    :param terms: who and how.
    """

    def __init__(self, router: NotifyRouter, terms: WatcherTerms) -> None:
        self.router = router
        self.terms = terms
        self.watches: dict[PresenceWatch, None] = {}

    def watch(self, uri: str, listener: IWatchListener) -> PresenceWatch:
        """Watch a presentity until :meth:`PresenceWatch.stop`.

        :raises SubscriptionLimitError: there are ``limit`` watches already (WAT-03).
        """
        return self._begin(uri, listener, self.terms.expires)

    def fetch(self, uri: str) -> Deferred[PresenceWatch]:
        """The state of a presentity, once.

        :raises SubscriptionLimitError: at once, see :meth:`watch`.
        :raises FetchError: (in the Deferred) it was refused or not answered.
        """
        fetched: Deferred[PresenceWatch] = Deferred()
        self._begin(uri, _Fetch(fetched), 0)
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

    def refresh(self) -> None:
        """Refresh all subscriptions, after our Contact has changed (DLG-19)."""
        for watch in list(self.watches):
            watch.subscriber.refresh()

    def forget(self, watch: PresenceWatch) -> None:
        """``watch`` has ended: its place is free."""
        self.watches.pop(watch, None)

    def _begin(self, uri: str, listener: IWatchListener, expires: int) -> PresenceWatch:
        if len(self.watches) >= self.terms.limit:
            raise SubscriptionLimitError(f"at most {self.terms.limit} presence subscriptions")
        watch = PresenceWatch(self, uri, listener, expires)
        self.watches[watch] = None
        watch.subscriber.subscribe()
        return watch


@implementer(IWatchListener)
class _Fetch:
    """Waits for the one NOTIFY of a fetch."""

    def __init__(self, fetched: Deferred[PresenceWatch]) -> None:
        self._fetched = fetched

    def changed(self, watch: PresenceWatch) -> None:
        """The state is here; that it is complete the end will tell."""

    def failed(
        self, watch: PresenceWatch, response: Response | None, retry_after: float | None
    ) -> None:
        """Refused or not answered."""
        self._fetched.errback(Failure(FetchError(response)))

    def ended(self, watch: PresenceWatch, reason: str, retry_after: float | None) -> None:
        """The NOTIFY has come."""
        self._fetched.callback(watch)
