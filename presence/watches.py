"""What is watched: presentities and lists, each by a subscription (oma-presence.md 6)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from presence.rls.listwatch import Taken, WatchedList
from presence.watching.cache import PresenceCache
from presence.watching.filterchange import filter_update
from presence.watching.media import FILTER_TYPE
from presence.watching.options import Known, WatchOptions
from presence.watching.resync import Resync
from pysip.event.changes import ChangeRefusedError
from pysip.event.interfaces import ISubscriberDelegate
from pysip.event.subscriber import NotifyRouter, Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from presence.interfaces import IListListener, IWatchListener
    from presence.watching.objects import WatchedObject
    from pysip.event.rates import Rates
    from pysip.event.terms import SubscriptionTerms
    from pysip.header import MediaType
    from pysip.message import Request, Response


@implementer(ISubscriberDelegate)
class Watch(ABC):
    """Something that is watched by a subscription.

    :param router: of the user agent.
    :param terms: of the subscription.
    :param options: how to be notified; the terms are made of them.
    :param listener: who is told.
    :param over: called when it has ended for good.

    :ivar uri: what is subscribed to, as it is addressed.
    :ivar options: how to be notified, as far as the server does not refuse it.
    :ivar state: of the subscription: ``""`` before the first NOTIFY, then ``active``,
        ``pending`` or ``terminated``.
    :ivar reason: why it is terminated, or "".
    :ivar ended: it has ended for good.
    """

    _log = Logger()

    def __init__(
        self,
        router: NotifyRouter,
        terms: SubscriptionTerms,
        options: WatchOptions,
        listener: Any,
        over: Callable[[Watch], None],
    ) -> None:
        self.uri = terms.uri
        self.options = options
        self.state = ""
        self.reason = ""
        self.ended = False
        self._listener = listener
        self._over = over
        self._resync = Resync(options.partial)
        self._other_view = False  # what is here may be nothing to the filters of now
        self.subscriber = Subscriber(router, terms, self)

    # -- for the owner ------------------------------------------------------------------

    @property
    def rates(self) -> Rates:
        """The rates that the server keeps to, as its last NOTIFY tells (RAT-02)."""
        return self.subscriber.adopted

    @property
    def tag(self) -> str:
        """Names what is known now, to go on with after a restart (SNE-15); "" when none does."""
        return self.subscriber.conditions.tag

    def suspend(self) -> None:
        """Stay subscribed, and be told of no state until :meth:`resume` (OM2-08, RAT-14)."""
        self.subscriber.suspend()

    def resume(self) -> None:
        """Go on; what has not changed meanwhile is not told again."""
        self.subscriber.resume()

    def change_filters(self, filters: bytes) -> Deferred[None]:
        """Have what is told filtered otherwise, from now on (FLT-21).

        :param filters: the whole filter document; b"" for everything.
        :returns: fires when the server has accepted; fails with
            :class:`pysip.event.changes.ChangeRefusedError` when the filters stay as they were.
        :raises ValueError: it is no filter document.
        """
        before = self.options
        update = filter_update(before.filters, filters)
        self.options = attrs.evolve(before, filters=filters)
        self._other_view = True
        changing = self.subscriber.change(body=(FILTER_TYPE, filters), update=update)
        return changing.addErrback(self._filters_refused, before.filters)

    def _filters_refused(self, failure: Failure, before: bytes) -> Failure:
        self.options = attrs.evolve(self.options, filters=before)
        self._other_view = False
        return failure

    def change_rates(self, rates: Rates) -> Deferred[None]:
        """Be notified at other rates from now on (RAT-01, RAT-03).

        :returns: as of :meth:`change_filters`.
        :raises ValueError: they contradict each other (RAT-14).
        """
        changing = self.subscriber.change(rates=rates)
        self.options = attrs.evolve(self.options, rates=rates)
        return changing

    def stop(self) -> Deferred[None]:
        """Unsubscribe; fires when that is over, and never fails."""
        stopping = self.subscriber.unsubscribe()
        stopping.addCallback(lambda _: self._finish_unless(None))
        return stopping

    # -- from the subscriber ------------------------------------------------------------

    @abstractmethod
    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """Take a NOTIFY in."""

    @abstractmethod
    def _begin_anew(self) -> None:
        """The next NOTIFY is of another subscription."""

    def _missing(self) -> None:
        """What is missing is asked for, once (SBR-06, RLS-26, PNO-11)."""
        self.subscriber.conditions.discard()
        remedy = self._resync.missing()
        if remedy == "refresh":
            self.subscriber.refresh()
        elif remedy == "whole":
            self.options = attrs.evolve(self.options, partial=False)
            changing = self.subscriber.change(accept=self._accept())
            changing.addErrback(self._accept_refused)

    @abstractmethod
    def _accept(self) -> tuple[str, ...]:
        """Media types for Accept."""

    def _accept_refused(self, failure: Failure) -> None:
        failure.trap(ChangeRefusedError)
        self._log.debug("asking for whole documents was refused")

    def subscription_failed(self, response: Response | None, retry_after: float | None) -> None:
        """The subscription was refused or not answered."""
        self._renew()
        self._finish_unless(retry_after)
        self._listener.failed(self, response, retry_after)

    def subscription_ended(self, reason: str, retry_after: float | None) -> None:
        """The subscription has ended; the next one counts its versions anew (RLS-06, PNO-04)."""
        self._renew()
        self.state = "terminated"
        self.reason = reason
        self._finish_unless(retry_after)
        self._listener.ended(self, reason, retry_after)

    def _renew(self) -> None:
        self._resync.begin_anew()
        self._begin_anew()

    def _finish_unless(self, retry_after: float | None) -> None:
        if retry_after is None:
            self.ended = True
            self._over(self)


class PresenceWatch(Watch):
    """One presentity that is watched.

    :ivar uri: the presentity as it is addressed.
    :ivar state: of the subscription: ``""`` before the first NOTIFY, then ``active``,
        ``pending`` or ``terminated``.
    :ivar reason: why it is terminated, or "".
    :ivar ended: it has ended for good.
    """

    _listener: IWatchListener

    def __init__(
        self,
        router: NotifyRouter,
        terms: SubscriptionTerms,
        options: WatchOptions,
        listener: IWatchListener,
        over: Callable[[Watch], None],
        known: Known | None = None,
    ) -> None:
        super().__init__(router, terms, options, listener, over)
        self._cache = PresenceCache(known.document if known is not None else None)
        self._other_view = known is not None

    @property
    def document(self) -> bytes | None:
        """The newest presence document, None before the first (PRE-07)."""
        return self._cache.document

    @property
    def content_type(self) -> str:
        """The media type of the document, "" without one."""
        return self._cache.content_type

    @property
    def objects(self) -> dict[str, WatchedObject]:
        """The objects that the document refers to, by Content-ID (CIN-08)."""
        return self._cache.objects

    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """Take a NOTIFY in (PRE-07, PNO-11).

        A whole document replaces, a difference changes, and none leaves the old one; but where
        filters were just placed, and in another subscription than the one that has brought what
        is here, it means that nothing passes them (FLT-12).  So it does after a decision was
        waited for.
        """
        self.state = state
        self.reason = ""
        media = request.content_type
        if body and media is not None:
            outcome = self._cache.take(media, body)
            if outcome in ("lost", "failed"):
                self._missing()
            elif outcome != "discarded":
                self._other_view = False
                self._resync.taken(applied=outcome == "applied")
        elif self._other_view and state == "active" and not self.subscriber.suspended:
            self._other_view = False
            if not self._confirmed(request):
                self._cache.clear()
                self.subscriber.conditions.discard()  # its tag names what is not here any more
        elif state == "pending":
            self._other_view = True
        self._listener.changed(self)

    def _confirmed(self, request: Request) -> bool:
        """Whether a NOTIFY without body says that what is here is still so (SNE-05)."""
        condition = self.subscriber.conditions.sent
        return bool(condition) and request.first("sip-etag") == condition

    def _begin_anew(self) -> None:
        self._cache.begin_anew()
        self._other_view = self._other_view or bool(self.options.filters)

    def _accept(self) -> tuple[str, ...]:
        return self.options.accept(lists=False)


class ListWatch(Watch):
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

    _listener: IListListener

    def __init__(
        self,
        router: NotifyRouter,
        terms: SubscriptionTerms,
        options: WatchOptions,
        listener: IListListener,
        over: Callable[[Watch], None],
    ) -> None:
        super().__init__(router, terms, options, listener, over)
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
                self._missing()
            else:
                if taken.refresh:
                    self._missing()
                elif taken.processed:
                    self._resync.taken(applied=not taken.full)
        self._listener.list_changed(self, taken)

    def _take(self, media: MediaType, body: bytes) -> Taken:
        if not self._anew:
            return self.table.take(media, body)
        table, before = WatchedList(), self.table.members
        taken = table.take(media, body)
        if not taken.full and taken.processed:
            # what is here was confirmed by its tag, or something is missing: a gap in any case
            self.table.version = None
            return self.table.take(media, body)
        self.table, self._anew = table, False
        gone = tuple(uri for uri in before if uri not in table.members)
        return attrs.evolve(taken, removed=gone)

    def _begin_anew(self) -> None:
        self._anew = True

    def _accept(self) -> tuple[str, ...]:
        return self.options.accept(lists=True)
