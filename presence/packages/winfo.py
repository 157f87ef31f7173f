"""The watcher information template package (RFC 3857, PRE-13): who watches a presentity.

A subscriber gets everything first, and from then on the watchers that have changed.  What it has
been told is told once; what its last answer did not confirm is told again, with everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import islice
from typing import TYPE_CHECKING, Final

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from presence.filtering import MEDIA_TYPE as FILTERS
from presence.filtering import Filtering, brings_filters
from presence.filters.errors import FilterError
from presence.filters.filterset import FilterSet
from presence.packages.filtered import Filtered
from presence.watcherinfo import (
    ANONYMOUS,
    MEDIA_TYPE,
    TERMINATED,
    Watcher,
    WatcherInfo,
    WatcherList,
    write,
)
from pysip.errors import SipError
from pysip.event.interfaces import IEventPackage
from pysip.event.notification import Notification, entity_tag
from pysip.header import accepts, parse_accept

if TYPE_CHECKING:
    from presence.watcherbook import WatcherBook
    from presence.watcherentry import Entry
    from pysip.event.interfaces import ISubscription
    from pysip.interfaces import Identity
    from pysip.message import Request

MOST_WATCHERS: Final = 5000
"""Watchers in a document: some 12 ms to write, and 0.8 MB."""

_EMPTY: Final = Notification()


@attrs.define(eq=False, slots=True)
class _Sent:
    """What a document in flight has told.

    :ivar asked: requests for full state that it answers; 0 for a partial one.
    :ivar states: status and event by key.
    :ivar rest: it did not hold everything there is to tell.
    """

    asked: int
    states: dict[int, tuple[str, str]]
    rest: bool


@attrs.define(eq=False, slots=True)
class _View:
    """What one subscriber has been told of, and what not.

    :ivar asked: how often full state was asked for.
    :ivar given: how many of these were answered.
    :ivar serial: number of the last change that was noted; -1 when nobody knows.
    :ivar changed: entries that are to be told of, by key.
    :ivar fresh: keys of those that it has never heard of.
    :ivar ended: terminated ones among them.
    :ivar sent: the document that has not been acknowledged.
    :ivar filtered: what it wants of that.
    """

    asked: int = 0
    given: int = 0
    serial: int = -1
    changed: dict[int, Entry] = attrs.field(factory=dict)
    fresh: set[int] = attrs.field(factory=set)
    ended: int = 0
    sent: _Sent | None = None
    filtered: Filtered | None = None

    def note(self, entry: Entry, new: bool, before: int, after: int) -> None:
        """An entry has changed.

        :param before: serial number before the change, which counts when all were noted so far.
        """
        if self.serial == before:
            self.serial = after
        key = entry.key
        if new:
            self.fresh.add(key)
        if entry.status != TERMINATED:
            self.changed[key] = entry
        elif key in self.fresh and not entry.asked:
            # It came and went, and nobody had to decide: transient (WIN-04).
            self.fresh.discard(key)
            self.changed.pop(key, None)
        else:
            self.changed[key] = entry
            self.ended += 1
            if self.ended > MOST_WATCHERS:
                self._start_over()

    def _start_over(self) -> None:
        """Too many have gone to name them all: tell who is there instead."""
        self.asked += 1
        self.changed = {k: e for k, e in self.changed.items() if e.status != TERMINATED}
        self.ended = 0

    def confirm(self, sent: _Sent) -> None:
        """A document has arrived: what it told need not be told again."""
        for key, state in sent.states.items():
            entry = self.changed.get(key)
            if entry is not None and (entry.status, entry.event) == state:
                del self.changed[key]
                self.ended -= entry.status == TERMINATED
        self.given = max(self.given, sent.asked)


@implementer(IEventPackage)
class WatcherInfoPackage:
    """``presence.winfo``: the watchers of a presentity, for itself and for operators.

    :param inner: the package whose watchers are told of.
    :param book: them.
    :param identities: the other URIs of a presentity (PSV-16).
    :param clock: monotonic seconds.
    :param wall: wall-clock seconds.
    :param serves: whether a domain is one of ours.
    :param terminate: ends a subscription with a reason.
    :param subscriptions: the live subscriptions to (package, resource).
    :param changed: told of resources whose watcher information has changed.

    :ivar operators: canonical URIs that may see the watchers of everybody (WIN-02).
    :ivar most: watchers in a document; others follow in the next one, and a fetch does without.
    """

    default_expires = 3600
    notify_types = (MEDIA_TYPE,)
    subscribe_types = (FILTERS,)
    template = True
    incremental = True

    _log = Logger()

    def __init__(
        self,
        inner: IEventPackage,
        book: WatcherBook,
        identities: Callable[[str], Collection[str]],
        clock: Callable[[], float],
        wall: Callable[[], float],
        *,
        serves: Callable[[str], bool],
        terminate: Callable[[ISubscription, str], None],
        subscriptions: Callable[[str, str], Collection[ISubscription]],
        changed: Callable[[str, str], None],
        operators: frozenset[str] = frozenset(),
        most: int = MOST_WATCHERS,
    ) -> None:
        self.name = self.event = f"{inner.event}.winfo"
        self.operators = operators
        self.most = most
        self._inner = inner
        self._book = book
        self._identities = identities
        self._clock = clock
        self._wall = wall
        self.filtering = Filtering(self.event, identities, serves)
        self._terminate = terminate
        self._subscriptions = subscriptions
        self._changed = changed
        book.told = self._told

    # -- SUBSCRIBE ----------------------------------------------------------------------

    def resolve(self, request: Request) -> str:
        """The presentity, as for the package whose watchers are told of.

        :raises SipError: 404 for somebody not of a served domain.
        """
        return self._inner.resolve(request)

    def prepare(self, request: Request, watcher: Identity) -> None:
        """Nothing: whose watchers they are is known."""

    def entity(self, request: Request, resource: str) -> str:
        """The same: documents name the resource (WID-04)."""
        return resource

    def authorize(self, resource: str, watcher: Identity) -> str:
        """The presentity by any of its identities, and operators; nobody else (WIN-02)."""
        uris = watcher.uris
        if resource in uris or not self.operators.isdisjoint(uris):
            return "active"
        own = self._identities(resource) if uris else ()
        return "active" if any(uri in own for uri in uris) else "rejected"

    def choose_type(self, request: Request) -> str:
        """``application/watcherinfo+xml``, which is meant without Accept, too (WIN-01).

        :raises SipError: 406.
        """
        accept = request.headers.get("accept")
        if accept is not None and not accepts(parse_accept(accept), MEDIA_TYPE):
            raise SipError(406, None, (("Accept", MEDIA_TYPE),))
        return MEDIA_TYPE

    def subscribe(self, request: Request, subscription: ISubscription, initial: bool) -> None:
        """Everything is told anew after each SUBSCRIBE (WIN-03), and filters are taken (WIN-06).

        The wish need not be taken back when the SUBSCRIBE cannot be made durable: then the next
        document tells more than it has to.

        :raises SipError: 488.
        """
        if brings_filters(request):
            try:
                filters = FilterSet.decode(subscription.detail)
            except ValueError:
                filters = FilterSet()  # which the store has damaged
            changed = self.filtering.changed(filters, request, subscription.resource)
            subscription.detail = changed.encode()
        view = subscription.data
        if not isinstance(view, _View):
            view = subscription.data = _View()
        view.asked += 1

    def subscribed(self, subscription: ISubscription) -> None:
        """A subscription was made or recovered.

        After a restart its versions go on higher up: unless nothing has changed (then equal digests
        keep the document back) the first one is full, or it would ask for that (WID-08).
        """
        if not isinstance(subscription.data, _View):
            subscription.data = _View()

    def unsubscribed(self, subscription: ISubscription) -> None:
        """A subscription has ended: its last document tells everything once more."""
        if isinstance(subscription.data, _View):
            subscription.data.asked += 1

    # -- NOTIFY -------------------------------------------------------------------------

    def notification(self, subscription: ISubscription) -> Notification | None:
        """What the subscriber does not know: who has changed, or everybody (WIN-03)."""
        view = subscription.data
        if not isinstance(view, _View):
            return _EMPTY
        resource = subscription.resource
        filtered = self._filtered(subscription, view)
        if filtered is not None:
            return self._some(subscription, view, filtered)
        digest = self._book.digest(resource)
        delivered = subscription.delivered
        if view.serial != self._book.serial(resource):
            view.asked += 1  # something was missed: while its end could not be kept, for example
        full = view.given < view.asked or delivered is None
        if full:
            self._gather(view, resource)
        told = list(islice(view.changed.values(), self.most))
        rest = len(view.changed) - len(told)
        view.sent = _Sent(
            view.asked if full else 0,
            {entry.key: (entry.status, entry.event) for entry in told},
            rest > 0,
        )
        view.fresh.difference_update(view.sent.states)
        if not full and not told and delivered is not None:
            digest = delivered  # nothing is left to tell
        elif rest or (digest == delivered and view.ended):
            # Of a state that is not told completely, or again: unlike any before.
            digest ^= subscription.sequence + 1
        rows = tuple(map(self._row, told))
        lists = (WatcherList(resource, self._inner.event, rows),)
        # NOTIFYs and documents of a subscription are counted alike (WID-02).
        document = write(WatcherInfo(subscription.sequence, full, lists))
        return Notification(MEDIA_TYPE, document, digest)

    def entity_tag(self, subscription: ISubscription) -> str | None:
        """That of all watchers and their states; how long they have been there does not count."""
        view = subscription.data
        filtered = self._filtered(subscription, view) if isinstance(view, _View) else None
        if filtered is None:
            return entity_tag(self._book.digest(subscription.resource))
        return None  # all would have to be written to know what is left of it

    def acknowledged(self, subscription: ISubscription) -> None:
        """The last document has arrived: the next one goes on from there."""
        view = subscription.data
        if not isinstance(view, _View) or view.sent is None:
            return
        sent, view.sent = view.sent, None
        view.confirm(sent)
        if view.filtered is not None:
            view.filtered.acknowledged()
        if sent.rest:
            self._changed(self.name, subscription.resource)

    # -- filters ------------------------------------------------------------------------

    def _filtered(self, subscription: ISubscription, view: _View) -> Filtered | None:
        """What the subscriber wants, None for everything; known again after a restart."""
        detail = subscription.detail
        if not detail:
            return None
        if view.filtered is None or view.filtered.detail is not detail:
            view.filtered = Filtered(detail)
            try:
                filters = FilterSet.decode(detail)
            except ValueError:
                self._log.error("the filters of subscription {id} are damaged", id=subscription.id)
                view.filtered.reason = "deactivated"  # it subscribes anew, with its filters
            else:
                view.filtered.filter = self.filtering.chosen(filters, subscription.resource)
        return view.filtered if view.filtered.matters else None

    def _some(
        self, subscription: ISubscription, view: _View, filtered: Filtered
    ) -> Notification | None:
        """What a filter leaves of all watchers (WIN-06).

        Always of all of them: a change of what is told may be one of what is selected.
        """
        resource, version = subscription.resource, subscription.sequence
        self._gather(view, resource)
        told = list(islice(view.changed.values(), self.most))
        states = {entry.key: (entry.status, entry.event) for entry in told}
        view.sent = _Sent(view.asked, states, rest=False)
        view.fresh.difference_update(states)

        def document(rows: tuple[Watcher, ...]) -> bytes:
            lists = (WatcherList(resource, self._inner.event, rows),)
            return write(WatcherInfo(version, True, lists))

        everything = document(tuple(map(self._row, told)))
        try:
            left = filtered.apply(everything, document(()), subscription)
        except FilterError:
            filtered.reason = "badfilter"
        if not filtered.reason:
            if left.digest == subscription.delivered and not subscription.forced:
                view.confirm(view.sent)  # it leaves nothing that is new
            return left
        if not subscription.lasting or subscription.reason:
            return _EMPTY
        self._terminate(subscription, filtered.reason)
        return None

    def _gather(self, view: _View, resource: str) -> None:
        """Everybody is to be told of, and who has gone without being told of (WFS-06)."""
        gone = {k: e for k, e in view.changed.items() if e.status == TERMINATED}
        view.changed = {e.key: e for e in self._book.entries(resource)} | gone
        view.fresh.intersection_update(view.changed)
        view.serial = self._book.serial(resource)

    def _row(self, entry: Entry) -> Watcher:
        """How an entry is told of now (WID-05 to WID-07, WIN-07)."""
        watcher = entry.watcher
        hidden = watcher.anonymous or not watcher.uris
        expiration = None
        if entry.subscription is not None:
            left = entry.subscription.deadline - self._clock()
            expiration = max(0, int(left + 0.5))
        return Watcher(
            f"w{entry.key:x}",
            ANONYMOUS if hidden else watcher.uri,
            entry.status,
            entry.event,
            "" if hidden else watcher.display_name,
            expiration,
            max(0, int(self._wall() - entry.created)),
        )

    def _told(self, entry: Entry, new: bool, before: int) -> None:
        """A watcher has changed: tell who looks, once per reactor turn and interval (WIN-05)."""
        resource = entry.resource
        lookers = self._subscriptions(self.name, resource)
        if not lookers:
            return
        after = self._book.serial(resource)
        for subscription in lookers:
            if isinstance(subscription.data, _View):
                subscription.data.note(entry, new, before, after)
        self._changed(self.name, resource)
