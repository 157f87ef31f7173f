"""The live subscriptions of a node, by dialog or key and by resource, and their limits."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import attrs

from pysip.errors import SipError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pysip.event.subscription import Subscription

K = TypeVar("K")


@attrs.frozen(slots=True)
class NotifierPolicy:
    """Limits and choices of the operator (SUB-04 to SUB-18, oma-presence.md 10).

    :ivar min_expires: shortest lifetime in seconds; shorter requests get 423.
    :ivar max_expires: longest lifetime granted, in seconds.
    :ivar per_watcher: most subscriptions of one watcher.
    :ivar per_pair: most subscriptions of one watcher to one resource.
    :ivar per_resource: most subscriptions to one resource.
    :ivar pending_per_watcher: most pending subscriptions of one watcher.
    :ivar accepted_pending: answer pending subscriptions 202 (PacketCable), else 200 (RFC 6665).
    :ivar keep_on_timeout: keep a subscription whose NOTIFY timed out.
    :ivar rate: NOTIFYs per second of all pacing; 0 for no limit.
    :ivar destination_rate: the same per destination address.
    :ivar repeat_rate: most NOTIFYs per second of one subscription that a watcher may ask for while
        nothing changes; 0 for none (RAT-07, RAT-08).
    :ivar servers: canonical URIs of other servers: they subscribe for all their users, so that
        these limits are not meant for them.
    :ivar own_uri: URI for the P-Asserted-Identity of NOTIFYs to trusted peers, "" for the
        resource's own (IMS-09).
    """

    min_expires: int = 60
    max_expires: int = 86400
    per_watcher: int = 1000
    per_pair: int = 10
    per_resource: int = 100_000
    pending_per_watcher: int = 100
    accepted_pending: bool = True
    keep_on_timeout: bool = False
    rate: float = 0.0
    destination_rate: float = 0.0
    own_uri: str = ""
    repeat_rate: float = 0.1
    servers: frozenset[str] = frozenset()


class SubscriptionTable:
    """Live subscriptions, and how many each watcher has.

    Those from inside the process count against the limit of their resource only: whoever makes
    them bounds how many there are of one watcher.

    :ivar places: by dialog identifier, those from inside the process by key.
    :ivar resources: by (package, resource), then by number.
    """

    def __init__(self) -> None:
        self.places: dict[Hashable, Subscription] = {}
        self.resources: dict[tuple[str, str], dict[int, Subscription]] = {}
        self._per_watcher: Counter[str] = Counter()
        self._per_pair: Counter[tuple[str, str, str]] = Counter()
        self._pending: Counter[str] = Counter()
        self._unlimited: Counter[str] = Counter()
        self._unlimited_pending = 0

    def enter(self, subscription: Subscription) -> None:
        """Add a subscription."""
        watcher = subscription.watcher.uri
        key = (subscription.package, subscription.resource)
        self.places[subscription.place] = subscription
        self.resources.setdefault(key, {})[subscription.id] = subscription
        if subscription.limited:
            self._per_watcher[watcher] += 1
            self._per_pair[*key, watcher] += 1
        else:
            self._unlimited[watcher] += 1
        self._count(subscription)

    def leave(self, subscription: Subscription) -> bool:
        """Take a subscription out; False when it was not in."""
        if self.places.get(subscription.place) is not subscription:
            return False
        del self.places[subscription.place]
        watcher = subscription.watcher.uri
        key = (subscription.package, subscription.resource)
        members = self.resources[key]
        del members[subscription.id]
        if not members:
            del self.resources[key]
        if subscription.limited:
            _decrement(self._per_watcher, watcher)
            _decrement(self._per_pair, (*key, watcher))
        else:
            _decrement(self._unlimited, watcher)
        self._discount(subscription)
        return True

    def holds(self, subscription: Subscription) -> bool:
        """Whether the subscription lives."""
        return self.places.get(subscription.place) is subscription

    def set_state(self, subscription: Subscription, state: str) -> None:
        """Make a live subscription active or pending."""
        self._discount(subscription)
        subscription.state = state
        self._count(subscription)

    def _count(self, subscription: Subscription) -> None:
        if subscription.state == "pending":
            if subscription.limited:
                self._pending[subscription.watcher.uri] += 1
            else:
                self._unlimited_pending += 1

    def _discount(self, subscription: Subscription) -> None:
        if subscription.state == "pending":
            if subscription.limited:
                _decrement(self._pending, subscription.watcher.uri)
            else:
                self._unlimited_pending -= 1

    @property
    def pending(self) -> int:
        """How many subscriptions wait for a decision."""
        return sum(self._pending.values()) + self._unlimited_pending

    def watching(self, watcher: str) -> int:
        """How many subscriptions a watcher has."""
        return self._per_watcher[watcher] + self._unlimited[watcher]

    def members(self, package: str, resource: str) -> list[Subscription]:
        """The subscriptions to a resource."""
        return list(self.resources.get((package, resource), {}).values())

    def same_device(self, subscription: Subscription, instance: str) -> list[Subscription]:
        """Older subscriptions of the same watcher, resource and ``+sip.instance``."""
        watcher = subscription.watcher.uri
        key = (subscription.package, subscription.resource)
        if not instance or not self._per_pair[*key, watcher]:
            return []
        return [
            other
            for other in self.resources[key].values()
            if other.instance == instance and other.watcher.uri == watcher
        ]

    def check_limits(
        self, subscription: Subscription, policy: NotifierPolicy, replaced: int = 0
    ) -> None:
        """Refuse one subscription too many (SUB-18, LIM-01).

        :param replaced: subscriptions of this watcher whose place it takes.
        :raises SipError: 403.
        """
        watcher = subscription.watcher.uri
        if watcher in policy.servers:
            return
        key = (subscription.package, subscription.resource)
        if len(self.resources.get(key, ())) - replaced >= policy.per_resource or (
            subscription.limited
            and (
                self._per_watcher[watcher] - replaced >= policy.per_watcher
                or self._per_pair[*key, watcher] - replaced >= policy.per_pair
                or (
                    subscription.state == "pending"
                    and self._pending[watcher] >= policy.pending_per_watcher
                )
            )
        ):
            raise SipError(403, None, (("Warning", '399 presence "subscription limit"'),))


def _decrement(counter: Counter[K], key: K) -> None:
    count = counter[key] - 1
    if count > 0:
        counter[key] = count
    else:
        del counter[key]
