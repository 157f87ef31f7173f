"""Who tells the Presence Server that documents have changed (PSV-07, PSV-10).

In one process that is the document store; apart from the document servers it is subscriptions
to ``xcap-diff`` over SIP.  Both are a :class:`Feed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from xcap.cache import CachedDocument
from xcap.uri import document_path, quote_segment

if TYPE_CHECKING:
    from pysip.message import Response
    from xcap.follow import DocumentFollower
    from xcap.followterms import FollowListener, State
    from xcap.interfaces import IDocumentStore
    from xcap.records import Change

Told: TypeAlias = Callable[[str, CachedDocument | None], None]
"""Is told the URI of a document relative to the XCAP root, and how it is now: None when it is
gone, with empty octets when only the change is known."""


class Following(Protocol):
    """Documents that are followed."""

    @property
    def current(self) -> bool:
        """Whether changes are told now; while they are not, documents have to be polled."""

    def stop(self) -> None:
        """Tell nothing more."""


class Feed(Protocol):
    """Tells of changes of documents.

    :ivar sure: whether changes are always told.
    """

    @property
    def sure(self) -> bool:
        """Whether changes are always told."""

    def follow(self, root: str, uris: tuple[str, ...], told: Told) -> Following:
        """Begin to tell of changes.

        :param root: XCAP root.
        :param uris: documents, or home directories ending in ``/``, relative to the root.
        """


class StoreFeed:
    """The changes of a document store in this process; there is one for each store.

    :param store: the document store.
    """

    sure = True

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

    current = True

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

    :param follower: makes what follows documents below a root; it is not started.
    """

    sure = False

    def __init__(
        self, follower: Callable[[str, tuple[str, ...], FollowListener], DocumentFollower]
    ) -> None:
        self._follower = follower
        self._ending: set[Deferred[None]] = set()

    def follow(self, root: str, uris: tuple[str, ...], told: Told) -> Following:
        """Subscribe; see :class:`Feed`."""
        listener = _Listener(told)
        follower = self._follower(root, uris, listener)
        follower.start()
        return _Subscribed(self, follower, listener)

    def end(self, follower: DocumentFollower) -> None:
        """Unsubscribe."""
        ending = follower.stop()
        self._ending.add(ending)
        ending.addBoth(lambda _: self._ending.discard(ending))

    async def stop(self) -> None:
        """Wait for the ends of all subscriptions that are given up."""
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
        status = 0 if response is None else response.status
        self._log.info(
            "document changes cannot be subscribed to, they are polled (status {status})",
            status=status,
        )

    def ended(self, reason: str, retry_after: float | None) -> None:
        """The subscription has ended."""
        self._log.info("a subscription to document changes has ended: {reason}", reason=reason)


class _Subscribed:
    """A subscription."""

    __slots__ = ("_feed", "_follower", "_listener")

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
