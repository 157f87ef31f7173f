"""The Presence Server: the presence package with its compositor and notifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from presence.eventserver import EventServer
from presence.packages.presence import PresencePackage
from presence.packages.winfo import WatcherInfoPackage
from presence.watcherbook import WatcherBook
from presence.watcherinfo import TERMINATED, WAITING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from twisted.internet.defer import Deferred

    from presence.interfaces import (
        ICompositionPolicy,
        IPermanentState,
        IPresenceStore,
        IWatcherPolicy,
    )
    from presence.watcherentry import Entry, WatcherLimits
    from pysip.auth.domains import Domains
    from pysip.event.interfaces import IPublicationPolicy, IRatePolicy, ISubscription
    from pysip.event.subscription import Subscription
    from pysip.event.table import NotifierPolicy
    from pysip.ua import UserAgent


class PresenceServer(EventServer):
    """Accepts publications and serves watchers (PSV-01 to PSV-03).

    :param ua: the user agent whose PUBLISH and SUBSCRIBE it serves.
    :param store: durable state, started.
    :param domains: served domains.
    :param composition: composition policy.
    :param watchers: subscription authorization.
    :param publication_policy: lifetimes and limits of PUBLISH.
    :param rates: notification intervals.
    :param notifier_policy: limits and choices of the notifier.
    :param wall: wall-clock seconds.

    :ivar package: the presence package.
    :ivar book: who watches whom; None without watcher information.
    :ivar watcherinfo: tells of it.
    """

    def __init__(
        self,
        ua: UserAgent,
        store: IPresenceStore,
        domains: Domains,
        composition: ICompositionPolicy,
        watchers: IWatcherPolicy,
        publication_policy: IPublicationPolicy,
        rates: IRatePolicy,
        notifier_policy: NotifierPolicy,
        wall: Callable[[], float],
    ) -> None:
        super().__init__(ua, store, publication_policy, rates, notifier_policy, wall)
        self.package = PresencePackage(
            domains,
            self.compositor,
            composition,
            watchers,
            changed=self.notifier.changed,
            watched=self.notifier.watched,
            ready=lambda subscription: self.notifier.ready(cast("Subscription", subscription)),
            clock=ua.clock,
            wheel=ua.wheel,
            wall=wall,
            terminate=self._terminate,
        )
        self.book: WatcherBook | None = None
        self.watcherinfo: WatcherInfoPackage | None = None
        self._wall = wall
        watchers.watch(self._decisions_changed)
        self.compositor.add_package(self.package)
        self.add_package(self.package)
        ua.accept.extend((*self.package.publish_types, *self.package.subscribe_types))

    def _terminate(self, subscription: ISubscription, reason: str) -> None:
        self.notifier.terminate(cast("Subscription", subscription), reason)

    def set_watchers(self, watchers: IWatcherPolicy) -> None:
        """Decide by another policy; before :meth:`recover`, or for one that holds nobody."""
        self.package.watchers = watchers
        watchers.watch(self._decisions_changed)

    def set_permanent(self, permanent: IPermanentState) -> None:
        """Let permanent documents take part in composition (COM-01); before :meth:`recover`."""
        self.package.permanent = permanent
        permanent.watch(self.package.recompose)

    def tell_of_watchers(
        self, identities: Callable[[str], Collection[str]], limits: WatcherLimits
    ) -> WatcherInfoPackage:
        """Offer watcher information (PSV-05); before :meth:`recover`.

        :param identities: the other URIs of a presentity.
        """
        package, notifier, ua = self.package, self.notifier, self._ua
        package.aliases = identities
        book = WatcherBook(
            self._store,
            ua.wheel,
            self._wall,
            lambda resource, watcher: package.watchers.decide(resource, watcher).handling,
            self._terminate,
            limits,
        )
        self.book = package.observer = book
        self.watcherinfo = WatcherInfoPackage(
            package,
            book,
            identities,
            ua.clock.seconds,
            self._wall,
            serves=package.serves,
            terminate=self._terminate,
            subscriptions=notifier.subscriptions,
            changed=notifier.changed,
        )
        tell = book.told

        def told(entry: Entry, new: bool, serial: int) -> None:
            # rules are followed while somebody waits for a decision (PSV-10)
            if entry.status == WAITING:
                package.holding.hold(entry.resource)
            tell(entry, new, serial)
            if entry.status == TERMINATED:
                package.holding.relinquish(entry.resource)

        book.told = told
        self.add_package(self.watcherinfo)
        return self.watcherinfo

    async def recover(self) -> None:
        """Take everything back from the store, and what decisions need from the documents."""
        if self.book is not None:
            recovered: Deferred[None] = self._store.recover_watchers(self.book.recovered)
            await recovered
        self.package.recovering()
        await super().recover()
        if self.book is not None:
            self.book.settle()
        await self.package.settle(self.book.waited_for() if self.book is not None else ())
        if self.package.holding.publishers:
            for resource in self.compositor.resources(self.package.name):
                self.package.holding.published(resource, True)

    def resume(self) -> None:
        """Decide anew on all watchers, and tell those whose view has changed meanwhile."""
        super().resume()
        if self.book is not None:
            self.book.reauthorize_all()

    def reauthorize(self) -> None:
        """Decide anew on all subscriptions and on who waits, after the policy has changed."""
        super().reauthorize()
        if self.book is not None:
            self.book.reauthorize_all()

    def end_watchers(self, gone: Mapping[str, float]) -> None:
        """Users are no more: they watch nobody, and wait for no decision (PSV-19)."""
        super().end_watchers(gone)
        if self.book is not None:
            for uri, before in gone.items():
                self.book.forget(uri, before)

    def end_presentity(self, uri: str, before: float) -> None:
        """End what concerns a presentity: its watchers first, and who looks at them last.

        A publication that went first would be told to all watchers.
        """
        package, notifier = self.package.name, self.notifier

        def unwatched() -> None:
            if self.book is not None:
                self.book.removed(uri, before, decided)
            else:
                decided()

        def decided() -> None:
            self.compositor.remove_resource(package, uri, before)
            if self.watcherinfo is not None:
                notifier.end_resource(self.watcherinfo.name, uri, before)

        notifier.end_resource(package, uri, before, unwatched)

    def stop(self) -> None:
        """Send no more NOTIFYs."""
        if self.book is not None:
            self.book.stop()
        self.package.stop()
        super().stop()

    def _decisions_changed(self, presentity: str) -> None:
        """Rules, lists, sphere or the time make other decisions (XDM-137, PSV-09)."""
        if self.package.recovers:
            return  # :meth:`resume` decides on all
        self.notifier.reauthorize(self.package.name, presentity)
        if self.book is not None:
            self.book.reauthorize(presentity)
