"""Notifier: SUBSCRIBE and the life of subscriptions (RFC 6665, RFC 3265), free of any package."""

from __future__ import annotations

from operator import methodcaller
from typing import TYPE_CHECKING, cast

import msgspec
from twisted.logger import Logger

from pysip.event.decisions import Decisions
from pysip.event.dialogrecord import decode_dialog
from pysip.event.dialogsubscription import DialogSubscription
from pysip.event.live import LiveSubscriptions
from pysip.event.local import LocalSubscriptions
from pysip.event.localsubscription import LocalSubscription
from pysip.event.notify import NotifySender
from pysip.event.packages import Packages
from pysip.event.serve import SubscribeServer
from pysip.event.throttle import Pacer, TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from twisted.internet.defer import Deferred

    from pysip.event.interfaces import (
        IEventPackage,
        IEventStateStore,
        ILocalSink,
        IRatePolicy,
    )
    from pysip.event.records import SubscriptionRecord
    from pysip.event.subscription import Subscription
    from pysip.event.table import NotifierPolicy
    from pysip.interfaces import Identity
    from pysip.message import Request
    from pysip.slices import Slices
    from pysip.ua import ServerRequest, UserAgent

_UNKNOWN = 1
"""Digest of no view at all: nobody knows what the watcher has seen last."""


class Notifier:
    """All subscriptions of a node.

    :param ua: sends and answers.
    :param store: where subscriptions are durable.
    :param rates: the rate gate.
    :param policy: limits and choices.
    :param wall: wall-clock seconds.

    :ivar sender: sends the NOTIFYs.
    :ivar local: tells who subscribes inside this process.
    """

    _log = Logger()

    def __init__(
        self,
        ua: UserAgent,
        store: IEventStateStore,
        rates: IRatePolicy,
        policy: NotifierPolicy,
        wall: Callable[[], float],
    ) -> None:
        self._ua = ua
        self._store = store
        self._known = Packages()
        self._packages = self._known.by_name
        self._live = LiveSubscriptions(ua.wheel, store, self._known, policy, wall)
        self._table = self._live.table
        self._decisions = Decisions(self._live, self._known, self.changed)
        self._server = SubscribeServer(ua, self, self._live, self._known)
        self.sender = NotifySender(
            ua, store, self._packages, rates, policy, wall, self._live.remove
        )
        self.local = LocalSubscriptions(self, self._live, self._known)
        self._pacer: Pacer[Subscription] = Pacer(
            ua.clock,
            self._members,
            methodcaller("changed"),
            TokenBucket(policy.rate, policy.rate / 10),
        )

    def __len__(self) -> int:
        return len(self._table.places)

    @property
    def policy(self) -> NotifierPolicy:
        """Limits and choices."""
        return self._live.policy

    @policy.setter
    def policy(self, policy: NotifierPolicy) -> None:
        self._live.policy = policy

    @property
    def slices(self) -> Slices:
        """What concerns very many subscriptions."""
        return self._decisions.slices

    @property
    def pending(self) -> int:
        """How many subscriptions wait for a decision."""
        return self._table.pending

    @property
    def watched_resources(self) -> int:
        """How many resources have subscriptions."""
        return len(self._table.resources)

    def add_package(self, package: IEventPackage) -> None:
        """Serve SUBSCRIBE for a package.

        Of several for one event type the one added last is asked first whether it has the
        resource of an initial SUBSCRIBE.

        :raises ValueError: its name is taken.
        """
        self._known.add(package)
        if not package.template and package.event not in self._ua.events:
            self._ua.events.append(package.event)

    def set_policy(self, policy: NotifierPolicy, rates: IRatePolicy) -> None:
        """Use other limits and rates from now on; subscriptions stay as they are."""
        self._live.policy = policy
        self._pacer.bucket = TokenBucket(policy.rate, policy.rate / 10)
        self.sender.set_policy(policy, rates)

    def stop(self) -> None:
        """Send nothing more; call it before the store is stopped."""
        self._pacer.stop()
        self.slices.stop()
        self.local.stop()
        self.sender.stopped = True
        for subscription in self._table.places.values():
            if (
                isinstance(subscription, DialogSubscription)
                and subscription.in_flight
                and subscription.sent not in (None, subscription.delivered)
                and not self._packages[subscription.package].incremental
            ):
                # The watcher may have got it or not: after a restart it is told again.
                self._store.note_delivered(subscription.id, _UNKNOWN)

    def subscriptions(self, package: str, resource: str) -> list[Subscription]:
        """The live subscriptions to a resource."""
        return self._table.members(package, resource)

    def watched(self, package: str, resource: str) -> bool:
        """Whether a resource has subscriptions."""
        return (package, resource) in self._table.resources

    def resources(self) -> list[tuple[str, str]]:
        """(package, resource) of everything that is subscribed to."""
        return list(self._table.resources)

    def _members(self, key: Hashable) -> Iterable[Subscription]:
        return self._table.resources.get(cast("tuple[str, str]", key), {}).values()

    # -- SUBSCRIBE ----------------------------------------------------------------------

    def serve(self, served: ServerRequest) -> None:
        """Process one SUBSCRIBE (SUB-01 to SUB-23).

        :raises SipError: the refusal; nothing has changed then.
        """
        self._server.serve(served)

    def find(self, request: Request) -> None:
        """See that a request is for a resource or a dialog that is here (UAS-01 steps 5, 6).

        :raises SipError: 404 or 481.
        """
        self._server.find(request)

    # -- subscriptions from inside the process ------------------------------------------

    def subscribe_local(
        self,
        event: str,
        uri: str,
        watcher: Identity,
        key: str,
        expires: int,
        sink: ILocalSink,
        headers: Mapping[str, Sequence[str]] | None = None,
        body: bytes = b"",
    ) -> Deferred[LocalSubscription]:
        """Subscribe in a watcher's name, with the result of a SUBSCRIBE of its (RLS-24).

        It is durable as any other: after a restart it waits for :meth:`attach_local`.  Whoever
        makes these bounds how many there are of one watcher; they count against the limit of
        their resource only, and no rate gate holds back what they are told.

        :param event: value of Event.
        :param uri: the Request-URI.
        :param key: what the caller calls it, unlike all others.
        :param expires: seconds; 0 for a fetch, which is told once.
        :param headers: further header fields of that SUBSCRIBE by lower-case name: Accept.
        :param body: its body.
        :returns: fires when it is durable; fails with the SipError of the refusal: as of SIP, and
            487 when it was dropped meanwhile.  It is not to be cancelled: drop the key.
        :raises ValueError: the key is in use.
        """
        return self.local.subscribe(event, uri, watcher, key, expires, sink, headers or {}, body)

    def attach_local(self, key: str, sink: ILocalSink) -> LocalSubscription | None:
        """Tell another sink, beginning with the state that there is.

        :returns: the subscription; None when there is none.
        """
        return self.local.attach(key, sink)

    def local_keys(self) -> list[str]:
        """The keys of all subscriptions from inside the process, with a sink or without."""
        return self.local.keys()

    def drop_local(self, key: str) -> bool:
        """End a subscription from inside the process, and tell its sink nothing more.

        :returns: whether there was one.
        """
        return self.local.drop(key)

    # -- ends ---------------------------------------------------------------------------

    def expired(self, subscription: Subscription) -> None:
        """The lifetime is over without a refresh (NOT-08)."""
        self.terminate(subscription, "timeout")

    def terminate(
        self, subscription: Subscription, reason: str, retry_after: int | None = None
    ) -> None:
        """End a subscription and tell the watcher why (NOT-03)."""
        self._live.terminate(subscription, reason, retry_after)

    def end_resource(
        self,
        package: str,
        resource: str,
        before: float,
        ended: Callable[[], None] | None = None,
    ) -> None:
        """End all subscriptions to a resource that is no more: ``noresource`` (PSV-19).

        Of very many that takes several turns of the reactor, and nothing is decided meanwhile.

        :param before: wall-clock time; subscriptions made later are to another resource.
        :param ended: called at the end.
        """
        self._decisions.end_resource(package, resource, before, ended)

    def end_watchers(self, gone: Mapping[str, float]) -> None:
        """End all subscriptions of watchers who are no more: ``rejected`` (PSV-19).

        With ``deactivated`` or ``probation`` they would come again.

        :param gone: wall-clock times by URI; subscriptions made later are of somebody else.
        """
        self._decisions.end_watchers(gone)

    # -- changes ------------------------------------------------------------------------

    def changed(self, package: str, resource: str) -> None:
        """The state of a resource has changed: tell its watchers, paced."""
        key = (package, resource)
        if key in self._table.resources:
            self._pacer.changed(key)

    def touch(self, subscription: Subscription) -> None:
        """There is something new for one subscription: tell it when its gate is open."""
        if self._table.holds(subscription):
            subscription.changed()

    def ready(self, subscription: Subscription) -> None:
        """What :meth:`IEventPackage.notification` could not give before, it can give now."""
        subscription.resume()

    def reauthorize(self, package: str, resource: str) -> None:
        """Decide anew on all subscriptions to a resource (NOT-07, RUL-04).

        Of a resource with very many that takes several turns of the reactor.
        """
        self._decisions.reauthorize(package, resource)

    def reauthorize_all(self) -> None:
        """Decide anew on all subscriptions, as their turns come."""
        self._decisions.reauthorize_all()

    # -- recovery -----------------------------------------------------------------------

    def recovered(self, records: list[SubscriptionRecord], digests: dict[int, int]) -> None:
        """Take subscriptions back from the store; call :meth:`resume` after the last chunk."""
        live = self._live
        wall, now = live.wall(), live.clock.seconds()
        for record in records:
            live.last_id = max(live.last_id, record.id)
            if record.package not in self._packages:
                continue  # served by another role; kept in the store
            try:
                kept = decode_dialog(record.dialog)
            except msgspec.DecodeError:
                self._log.error(
                    "subscription {id} in the store is damaged",
                    id=record.id,
                    problem="damaged-record",
                )
                self._store.remove_subscription(record.id)
                continue
            kind = LocalSubscription if kept.local else DialogSubscription
            subscription: Subscription = kind.from_record(self, record, kept, wall, now)
            subscription.delivered = digests.get(record.id)
            if isinstance(subscription, DialogSubscription):
                self.sender.recovered(subscription)
            older = self._table.places.get(subscription.place)
            if older is not None:  # its removal was still to be tried again
                live.remove(older)
            live.enter(subscription)
            self._packages[record.package].subscribed(subscription)

    def forget_delivered(self, package: str, resource: str) -> None:
        """Tell the watchers of a resource its state whatever they have acknowledged."""
        for subscription in self.subscriptions(package, resource):
            subscription.delivered = None

    def resume(self) -> None:
        """Decide anew on what was recovered, and tell watchers whose view has changed, paced."""
        self.reauthorize_all()
