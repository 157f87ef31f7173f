"""How subscriptions begin, change and end, in memory and in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysip.event.subscription import CSEQ_BLOCK, FORCED, Subscription
from pysip.event.table import SubscriptionTable
from pysip.timers import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from pysip.event.interfaces import IEventStateStore
    from pysip.event.packages import Packages
    from pysip.event.table import NotifierPolicy
    from pysip.timers import TimerWheel

TIMEOUT = "terminated;reason=timeout"
_ERASE_AGAIN = 1.0
"""Seconds until the removal of a subscription is tried again in the store."""


class LiveSubscriptions:
    """The live subscriptions of a node, whichever way their watchers are told.

    :param wheel: where they wait for their expiry.
    :param store: where they are durable.
    :param packages: told of them.
    :param policy: limits and choices.
    :param wall: wall-clock seconds.

    :ivar table: them.
    :ivar last_id: greatest number given.
    """

    def __init__(
        self,
        wheel: TimerWheel,
        store: IEventStateStore,
        packages: Packages,
        policy: NotifierPolicy,
        wall: Callable[[], float],
    ) -> None:
        self.wheel = wheel
        self.clock: IReactorTime = wheel.clock
        self.store = store
        self._packages = packages.by_name
        self.policy = policy
        self.wall = wall
        self.table = SubscriptionTable()
        self.last_id = 0

    # -- begin and change ---------------------------------------------------------------

    def begin(self, subscription: Subscription, begun: Callable[[bool], None]) -> None:
        """Enter a subscription, and keep it.

        :param begun: called when it is durable, or, after it was taken out, when it cannot be.
        """
        self.last_id = max(self.last_id, subscription.id)
        subscription.cseq_limit = CSEQ_BLOCK
        self.enter(subscription)
        self.put(subscription)

        def durable(stored: bool) -> None:
            if not stored and self.leave(subscription):
                self._packages[subscription.package].unsubscribed(subscription)
            begun(stored)

        self.store.when_durable(durable)

    def ready(self, subscription: Subscription) -> None:
        """A subscription is durable and its subscriber knows: let it be told."""
        subscription.ready = True
        if self.table.holds(subscription):  # else its end is under way
            self._packages[subscription.package].subscribed(subscription)
            subscription.owe(FORCED)

    def enter(self, subscription: Subscription) -> None:
        """Put a subscription into the tables, and let it expire."""
        self.table.enter(subscription)
        self.rearm(subscription)

    def rearm(self, subscription: Subscription) -> None:
        """Its deadline has changed."""
        left = subscription.deadline - self.clock.seconds()
        self.wheel.after(max(0.0, left), subscription)

    def put(self, subscription: Subscription) -> None:
        """Write a subscription to the store."""
        self.store.put_subscription(subscription.record(self.wall(), self.clock.seconds()))

    def set_state(self, subscription: Subscription, state: str) -> None:
        """Make a live subscription active or pending."""
        self.table.set_state(subscription, state)
        self.put(subscription)
        self._packages[subscription.package].subscribed(subscription)

    def decided(self, subscription: Subscription, state: str) -> None:
        """Apply an authorization decision to a live subscription (NOT-07)."""
        if state == subscription.state or subscription.ending:
            return
        if state == "rejected":
            self.terminate(subscription, "rejected")
            return
        self.set_state(subscription, state)
        subscription.owe(FORCED)

    # -- ends ---------------------------------------------------------------------------

    def leave(self, subscription: Subscription) -> bool:
        """Take a subscription out of the tables; False when it was not in them."""
        if not self.table.leave(subscription):
            return False
        self.wheel.cancel(subscription)
        for timed in (subscription.alarm, subscription.pulse):
            if timed is not None:
                self.wheel.cancel(timed)
        subscription.alarm = subscription.pulse = None
        return True

    def terminate(
        self, subscription: Subscription, reason: str, retry_after: int | None = None
    ) -> None:
        """End a subscription and tell the watcher why (NOT-03)."""
        if not self.leave(subscription):
            return
        subscription.reason = reason
        self._packages[subscription.package].unsubscribed(subscription)
        state = f"terminated;reason={reason}"
        if retry_after is not None:
            state += f";retry-after={retry_after}"
        if reason != "timeout":
            subscription.state = "terminated"  # no body for who may not see (NOT-07)
        # Only after the removal is durable, so that no NOTIFY can follow the last one.
        self._erase(subscription.id, lambda: self.finish(subscription, state))

    def finish(self, subscription: Subscription, state: str) -> None:
        """Tell the watcher of the end; nothing follows."""
        subscription.ending = state
        subscription.owe(FORCED)

    def remove(self, subscription: Subscription) -> None:
        """Forget a subscription whose watcher is gone, without further NOTIFY (NOT-10)."""
        if self.leave(subscription):
            subscription.state = "terminated"
            subscription.reason = "timeout"
            self._erase(subscription.id)
            self._packages[subscription.package].unsubscribed(subscription)

    def _erase(self, id: int, erased: Callable[[], None] | None = None) -> None:
        """Remove a subscription from the store, however long that takes."""
        self.store.remove_subscription(id)

        def durable(stored: bool) -> None:
            if not stored:
                self.wheel.after(_ERASE_AGAIN, Alarm(lambda: self._erase(id, erased)))
            elif erased is not None:
                erased()

        self.store.when_durable(durable)
