"""The Presence Server: compositor, notifier and the presence package on one user agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.packages.presence import PresencePackage
from pysip.event.compositor import Compositor
from pysip.event.notifier import Notifier
from pysip.uri import TelUri

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from presence.interfaces import ICompositionPolicy, IPresenceStore, IWatcherPolicy
    from pysip.auth.domains import Domains
    from pysip.event.interfaces import IPublicationPolicy, IRatePolicy
    from pysip.event.table import NotifierPolicy
    from pysip.message import Request
    from pysip.ua import UserAgent
    from pysip.uri import Uri


class PresenceServer:
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
        self._store = store
        self.compositor = Compositor(store, ua.wheel, wall, ua.tokens, publication_policy)
        self.notifier = Notifier(ua, store, rates, notifier_policy, wall)
        self.package = PresencePackage(
            domains,
            self.compositor,
            composition,
            watchers,
            changed=self.notifier.changed,
            watched=self.notifier.watched,
        )
        self.compositor.add_package(self.package)
        self.notifier.add_package(self.package)
        ua.find = self.find
        ua.accept.extend(self.package.publish_types)
        ua.add_method("PUBLISH", self.compositor.serve)
        ua.add_method("SUBSCRIBE", self.notifier.serve)

    def find(self, request: Request) -> None:
        """See that a request is for somebody or something here (UAS-01 steps 5 and 6, UAS-10).

        A URI without a user part is that of the server.

        :raises SipError: 404 or 481.
        """
        if request.method == "SUBSCRIBE":
            self.notifier.find(request)
        elif request.method == "PUBLISH" or (not request.to.tag and _names_user(request.target)):
            self.package.resolve(request)

    async def recover(self) -> None:
        """Take publications and subscriptions back from the store."""
        recovered: Deferred[None] = self._store.recover(
            self.compositor.recovered, self.notifier.recovered
        )
        await recovered
        for package, resource in self.compositor.lapsed:
            # What watchers have acknowledged may be older than what has expired meanwhile.
            self.notifier.forget_delivered(package, resource)
        self.compositor.lapsed.clear()

    def resume(self) -> None:
        """Decide anew on all watchers, and tell those whose view has changed meanwhile."""
        self.notifier.resume()

    def reauthorize(self) -> None:
        """Decide anew on all subscriptions, after the watcher policy has changed."""
        for package, resource in self.notifier.resources():
            self.notifier.reauthorize(package, resource)

    def stop(self) -> None:
        """Send no more NOTIFYs."""
        self.notifier.stop()


def _names_user(uri: Uri) -> bool:
    """Whether a Request-URI is of a user, not of a server."""
    return isinstance(uri, TelUri) or bool(getattr(uri, "user", None))
