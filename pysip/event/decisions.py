"""What is decided on many subscriptions at once: authorization, and ends (NOT-07, PSV-19)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysip.slices import Slices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pysip.event.live import LiveSubscriptions
    from pysip.event.packages import Packages
    from pysip.event.subscription import Subscription

_DECIDE, _END = "decide", "end"
_LOOKED_AT = 5000
"""Subscriptions that are looked at, and most often passed over, in one slice."""


class Decisions:
    """Decides, in slices where there are very many.

    :param live: the subscriptions.
    :param packages: who decides.
    :param changed: told of resources all of whose subscriptions were decided on.

    :ivar slices: what is under way.
    """

    def __init__(
        self,
        live: LiveSubscriptions,
        packages: Packages,
        changed: Callable[[str, str], None],
    ) -> None:
        self._live = live
        self._table = live.table
        self._packages = packages.by_name
        self._changed = changed
        self.slices = Slices(live.clock)
        # watchers who are no more, until all subscriptions were looked at
        self._gone: dict[str, float] = {}

    def reauthorize(self, package: str, resource: str) -> None:
        """Decide anew on all subscriptions to a resource (NOT-07, RUL-04)."""
        if (_END, package, resource) in self.slices:
            return  # there is nothing to decide any more
        known = self._packages[package]

        def decide(subscription: Subscription) -> None:
            if self._table.holds(subscription):
                state = known.authorize(resource, subscription.watcher)
                self._live.decided(subscription, state)

        self.slices.run(
            (_DECIDE, package, resource),
            lambda: self._table.members(package, resource),
            decide,
            lambda: self._changed(package, resource),
        )

    def reauthorize_all(self) -> None:
        """Decide anew on all subscriptions, as their turns come."""
        self.slices.run(
            _DECIDE, lambda: list(self._table.resources), lambda key: self.reauthorize(*key)
        )

    def end_resource(
        self, package: str, resource: str, before: float, ended: Callable[[], None] | None
    ) -> None:
        """As :meth:`pysip.event.notifier.Notifier.end_resource`."""

        def end(subscription: Subscription) -> None:
            if subscription.created < before:
                self._live.terminate(subscription, "noresource")

        self.slices.run(
            (_END, package, resource),
            lambda: self._table.members(package, resource),
            end,
            ended,
        )

    def end_watchers(self, gone: Mapping[str, float]) -> None:
        """As :meth:`pysip.event.notifier.Notifier.end_watchers`."""
        watching = {uri: before for uri, before in gone.items() if self._table.watching(uri)}
        if not watching:
            return
        self._gone.update(watching)

        def end(subscription: Subscription) -> None:
            if subscription.created < self._gone.get(subscription.watcher.uri, 0.0):
                self._live.terminate(subscription, "rejected")

        everybody = self._table.places
        self.slices.run(_END, lambda: list(everybody.values()), end, self._gone.clear, _LOOKED_AT)
