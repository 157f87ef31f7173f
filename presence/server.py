"""The Presence Server: the presence package with its compositor and notifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.eventserver import EventServer
from presence.packages.presence import PresencePackage

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.interfaces import ICompositionPolicy, IPresenceStore, IWatcherPolicy
    from pysip.auth.domains import Domains
    from pysip.event.interfaces import IPublicationPolicy, IRatePolicy
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
        )
        self.compositor.add_package(self.package)
        self.add_package(self.package)
        ua.accept.extend(self.package.publish_types)
