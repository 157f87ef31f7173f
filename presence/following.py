"""Who tells the Presence Server that documents have changed (PSV-07, PSV-10).

In one process that is the document store; apart from the document servers it is subscriptions
to ``xcap-diff`` over SIP.  Both are a :class:`Feed`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import unquote

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from xcap.cache import CachedDocument
from xcap.uri import document_path, quote_segment

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from pysip.message import Response
    from xcap.follow import DocumentFollower
    from xcap.followterms import FollowListener, State
    from xcap.interfaces import IDocumentStore
    from xcap.records import Change

_SLICE = 50
_PAUSE = 0.05
"""Seconds between two batches of subscriptions."""

Told: TypeAlias = Callable[[str, CachedDocument | None], None]
"""Is told the URI of a document relative to the XCAP root, and how it is now: None when it is
gone, with empty octets when only the change is known."""


class Following(Protocol):
    """Documents that are followed."""

    @property
    def current(self) -> bool:
        """Whether changes are told now; while they are not, documents have to be polled."""

    @property
    def sure(self) -> bool:
        """Whether changes are always told; of others one can be lost unnoticed (FLW-04)."""

    def stop(self) -> None:
        """Tell nothing more."""


class Feed(Protocol):
    """Tells of changes of documents."""

    def follow(self, root: str, uris: tuple[str, ...], told: Told) -> Following:
        """Begin to tell of changes.

        :param root: XCAP root.
        :param uris: documents, or home directories ending in ``/``, relative to the root.
        """


class Untold:
    """Documents whose changes nobody tells of."""

    current = sure = False

    def stop(self) -> None:
        """Nothing was begun."""


class RoutedFeed:
    """The changes of documents at several document servers.

    :param feed: who tells of the documents of an application usage and user; None for nobody.
    """

    def __init__(self, feed: Callable[[str, str], Feed | None]) -> None:
        self._feed = feed

    def follow(self, root: str, uris: tuple[str, ...], told: Told) -> Following:
        """Begin to tell of changes; see :class:`Feed`.  All URIs are of one document server."""
        auid, _, rest = uris[0].partition("/")
        tree, _, rest = rest.partition("/")
        xui = unquote(rest.partition("/")[0]) if tree == "users" else ""
        feed = self._feed(unquote(auid), xui)
        return Untold() if feed is None else feed.follow(root, uris, told)


class StoreFeed:
    """The changes of a document store in this process; there is one for each store.

    :param store: the document store.
    """

    def __init__(self, store: IDocumentStore) -> None:
        self._told: dict[tuple[str, str], dict[_Entry, None]] = {}
        store.watch(self._changed)

    def __len__(self) -> int:
        return len(self._told)

    def follow(self, root: str, uris: tuple[str, ...], told: Told) -> Following:
        """Begin to tell of changes; see :class:`Feed`."""
        entry = _Entry(self, root, uris, told)
        for uri in uris:
            self._told.setdefault((root, uri), {})[entry] = None
        return entry

    def forget(self, entry: _Entry) -> None:
        """Tell an entry nothing more."""
        for uri in entry.uris:
            entries = self._told.get((entry.root, uri), {})
            entries.pop(entry, None)
            if not entries:
                self._told.pop((entry.root, uri), None)

    def _changed(self, change: Change) -> None:
        key = change.key
        path = document_path(key)
        places = [path]
        if key.xui:
            places.append(f"{quote_segment(key.auid)}/users/{quote_segment(key.xui)}/")
        document = CachedDocument(change.new, change.after) if change.after else None
        for place in places:
            for entry in list(self._told.get((key.root, place), ())):
                entry.told(path, document)


class _Entry:
    """What one follower of a store has asked for."""

    __slots__ = ("_feed", "root", "told", "uris")

    current = sure = True

    def __init__(self, feed: StoreFeed, root: str, uris: tuple[str, ...], told: Told) -> None:
        self._feed = feed
        self.root = root
        self.uris = uris
        self.told = told

    def stop(self) -> None:
        """Tell nothing more."""
        self._feed.forget(self)


class SubscriptionFeed:
    """Changes that document servers elsewhere notify of; one subscription for each call.

    :param clock: delayed calls.
    :param follower: makes what follows documents below a root; it is not started.
    """

    def __init__(
        self,
        clock: IReactorTime,
        follower: Callable[[str, tuple[str, ...], FollowListener], DocumentFollower],
    ) -> None:
        self._clock = clock
        self._follower = follower
        self._started = False
        self._waiting: dict[DocumentFollower, None] = {}
        self._call: IDelayedCall | None = None
        self._ending: set[Deferred[None]] = set()

    def start(self) -> None:
        """Subscribe from now on, first to what is followed already: some in each turn."""
        self._started = True
        self._begin_some()

    def follow(self, root: str, uris: tuple[str, ...], told: Told) -> Following:
        """Subscribe; see :class:`Feed`."""
        listener = _Listener(told)
        follower = self._follower(root, uris, listener)
        self._waiting[follower] = None
        if self._started and self._call is None:
            self._begin_some()
        return _Subscribed(self, follower, listener)

    def _begin_some(self) -> None:
        self._call = None
        for follower in list(islice(self._waiting, _SLICE)):
            del self._waiting[follower]
            follower.start()
        if self._waiting:
            self._call = self._clock.callLater(_PAUSE, self._begin_some)

    def end(self, follower: DocumentFollower) -> None:
        """Unsubscribe."""
        if follower in self._waiting:
            del self._waiting[follower]
            return
        ending = follower.stop()
        self._ending.add(ending)
        ending.addBoth(lambda _: self._ending.discard(ending))

    async def stop(self) -> None:
        """Subscribe no more, and wait for the ends of all subscriptions that are given up."""
        self._waiting.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        await DeferredList(list(self._ending))


class _Listener:
    """Tells of documents what a follower tells."""

    _log = Logger()

    def __init__(self, told: Told) -> None:
        self.told: Told | None = told

    def document(self, sel: str, document: CachedDocument | None) -> None:
        """A document is now so."""
        if self.told is not None:
            self.told(sel, document)

    def component(self, state: State) -> None:
        """Only documents are asked for."""

    def remark(self, text: str) -> None:
        """Something that will be made good."""
        self._log.debug("following documents: {text}", text=text)

    def failed(self, response: Response | None, retry_after: float | None) -> None:
        """The subscription was refused or not answered."""
        if self.told is None:
            return
        status = 0 if response is None else response.status
        self._log.info(
            "document changes cannot be subscribed to, they are polled (status {status})",
            status=status,
        )

    def ended(self, reason: str, retry_after: float | None) -> None:
        """The subscription has ended."""
        if self.told is not None:
            self._log.info("a subscription to document changes has ended: {reason}", reason=reason)


class _Subscribed:
    """A subscription."""

    __slots__ = ("_feed", "_follower", "_listener")

    sure = False

    def __init__(
        self, feed: SubscriptionFeed, follower: DocumentFollower, listener: _Listener
    ) -> None:
        self._feed = feed
        self._follower = follower
        self._listener = listener

    @property
    def current(self) -> bool:
        """Whether the subscription stands."""
        return self._follower.current

    def stop(self) -> None:
        """Unsubscribe."""
        self._listener.told = None
        self._feed.end(self._follower)
