"""Notifier: SUBSCRIBE and the life of subscriptions (RFC 6665, RFC 3265), free of any package."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs
import msgspec
from twisted.logger import Logger

from pysip.dialog import single_contact, uas_dialog, wants_sips
from pysip.errors import SipError
from pysip.event.notify import NotifySender
from pysip.event.subscription import CSEQ_BLOCK, FORCED, Subscription
from pysip.event.table import SubscriptionTable
from pysip.event.throttle import Pacer, TokenBucket
from pysip.mime import disposition_optional
from pysip.slices import Slices
from pysip.timers import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from twisted.internet.interfaces import IReactorTime

    from pysip.event.interfaces import IEventPackage, IEventStateStore, IRatePolicy
    from pysip.event.records import SubscriptionRecord
    from pysip.event.table import NotifierPolicy
    from pysip.header import EventType
    from pysip.message import Request
    from pysip.ua import ServerRequest, UserAgent

_TIMEOUT = "terminated;reason=timeout"
_UNKNOWN = 1
"""Digest of no view at all: nobody knows what the watcher has seen last."""
_DECIDE, _END = "decide", "end"
_LOOKED_AT = 5000
"""Subscriptions that are looked at, and most often passed over, in one slice."""
_ERASE_AGAIN = 1.0
"""Seconds until the removal of a subscription is tried again in the store."""


class Notifier:
    """All subscriptions of a node.

    :param ua: sends and answers.
    :param store: where subscriptions are durable.
    :param rates: the rate gate.
    :param policy: limits and choices.
    :param wall: wall-clock seconds.

    :ivar sender: sends the NOTIFYs.
    :ivar slices: what concerns very many subscriptions.
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
        self._clock: IReactorTime = ua.clock
        self._store = store
        self._wall = wall
        self.policy = policy
        self._packages: dict[str, IEventPackage] = {}
        self._table = SubscriptionTable()
        self._last_id = 0
        self.slices = Slices(ua.clock)
        # watchers who are no more, until all subscriptions were looked at
        self._gone: dict[str, float] = {}
        self.sender = NotifySender(ua, store, self._packages, rates, policy, wall, self._remove)
        self._pacer: Pacer[Subscription] = Pacer(
            self._clock,
            self._members,
            self.sender.changed,
            TokenBucket(policy.rate, policy.rate / 10),
        )

    def __len__(self) -> int:
        return len(self._table.dialogs)

    @property
    def pending(self) -> int:
        """How many subscriptions wait for a decision."""
        return self._table.pending

    @property
    def watched_resources(self) -> int:
        """How many resources have subscriptions."""
        return len(self._table.resources)

    def add_package(self, package: IEventPackage) -> None:
        """Serve SUBSCRIBE for a package."""
        self._packages[package.name] = package
        if not package.template:
            self._ua.events.append(package.name)

    def set_policy(self, policy: NotifierPolicy, rates: IRatePolicy) -> None:
        """Use other limits and rates from now on; subscriptions stay as they are."""
        self.policy = policy
        self._pacer.bucket = TokenBucket(policy.rate, policy.rate / 10)
        self.sender.set_policy(policy, rates)

    def stop(self) -> None:
        """Send nothing more; call it before the store is stopped."""
        self._pacer.stop()
        self.slices.stop()
        self.sender.stopped = True
        for subscription in self._table.dialogs.values():
            if (
                subscription.in_flight
                and subscription.sent != subscription.delivered
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

    # -- SUBSCRIBE ----------------------------------------------------------------------

    def serve(self, served: ServerRequest) -> None:
        """Process one SUBSCRIBE (SUB-01 to SUB-23).

        :raises SipError: the refusal; nothing has changed then.
        """
        request = served.request
        event = request.event
        package = self._packages.get(event.package) if event is not None else None
        if event is None or package is None:
            self.find(request)
            raise SipError(489, None, (("Allow-Events", ", ".join(self._ua.events)),))
        if self._store.failed:
            raise SipError(503, None, (("Retry-After", "10"),))
        waiting = package.prepare(request)
        if waiting is None:
            self._serve(served, package, event)
        else:
            known = package  # what mypy knows of it ends with this function

            def go_on(_: object) -> None:
                self._ua.resume(served, lambda served: self._serve(served, known, event))

            waiting.addBoth(go_on)

    def _serve(self, served: ServerRequest, package: IEventPackage, event: EventType) -> None:
        if served.request.to.tag:
            self._serve_in_dialog(served, package, _event_value(event))
        else:
            self._serve_initial(served, package, event)

    def find(self, request: Request) -> None:
        """See that a request is for a resource or a dialog that is here (UAS-01 steps 5, 6).

        :raises SipError: 404 or 481.
        """
        if request.to.tag:
            self._find_dialog(request)
            return
        for package in self._packages.values():
            package.resolve(request)
            return

    def _find_dialog(self, request: Request) -> Subscription:
        found = self._table.dialogs.get((request.call_id, request.to.tag, request.from_.tag))
        if found is None:
            raise SipError(481)
        return found

    def _serve_initial(
        self, served: ServerRequest, package: IEventPackage, event: EventType
    ) -> None:
        request = served.request
        watcher = served.identity
        if watcher.info:
            watcher = attrs.evolve(watcher, info="")  # of this request only
        resource = package.resolve(request)
        state = package.authorize(resource, watcher)
        if state == "rejected":
            raise SipError(403, None, (("Warning", '399 presence "not authorized to watch"'),))
        expires = self._granted(request, package)
        content_type = package.choose_type(request.headers.get("accept"))
        self._check_body(request, package)
        contact = self._ua.contact(served.flow, self._ua.tokens.tag(), wants_sips(request))
        dialog = uas_dialog(request, served.to_tag, contact, served.flow.secure)
        dialog.routing()  # an unusable route set is refused now, not at the NOTIFY
        now = self._clock.seconds()
        subscription = Subscription(
            self,
            self._last_id + 1,
            package.name,
            resource,
            package.entity(request, resource),
            _event_value(event),
            dialog,
            watcher,
            state,
            content_type,
            now + expires,
            self._wall(),
        )
        self._take_fields(subscription, served)
        if not expires:
            # A fetch: one NOTIFY, nothing to keep (SUB-09).
            subscription.id = 0
            package.subscribe(request, subscription, True)
            self._answer(served, subscription, 0)
            subscription.ready = True
            subscription.ending = _TIMEOUT
            subscription.cseq_limit = CSEQ_BLOCK
            self.sender.owe(subscription, FORCED)
            return
        instance = request.contacts[0].params.get("+sip.instance") or ""
        # A device that comes again takes the place of its older subscription, which nobody
        # listens to any more.
        replaced = self._table.same_device(subscription, instance)
        self._table.check_limits(subscription, self.policy, len(replaced))
        package.subscribe(request, subscription, True)
        self._last_id += 1
        subscription.instance = instance
        subscription.cseq_limit = CSEQ_BLOCK
        self._enter(subscription)
        self._store.put_subscription(subscription.record(self._wall(), now))

        def durable(stored: bool) -> None:
            if not stored:
                if self._leave(subscription):
                    package.unsubscribed(subscription)
                served.refuse(SipError(500, "Server Internal Error: storage"))
                return
            for older in replaced:
                self._remove(older)
            self._answer(served, subscription, expires)
            subscription.ready = True
            if self._table.holds(subscription):  # else its end is under way
                package.subscribed(subscription)
                self.sender.owe(subscription, FORCED)

        self._store.when_durable(durable)

    def _serve_in_dialog(self, served: ServerRequest, package: IEventPackage, event: str) -> None:
        """A refresh, an un-SUBSCRIBE, or something foreign in the dialog (SUB-10 to SUB-13)."""
        request = served.request
        subscription = self._find_dialog(request)
        if subscription.event != event:
            raise SipError(403, "Forbidden: dialog sharing not supported")
        if served.identity.uri != subscription.watcher.uri:
            raise SipError(403, "Forbidden: not the subscriber")
        dialog = subscription.dialog
        cseq = request.cseq[0]
        if not dialog.in_order(cseq):
            raise SipError(500, "Server Internal Error: CSeq out of order")
        expires = self._granted(request, package)
        content_type = subscription.content_type
        if expires:
            content_type = package.choose_type(request.headers.get("accept"))
            self._check_body(request, package)
        target = single_contact(request) if "contact" in request.headers else dialog.remote_target
        before = (
            subscription.deadline,
            subscription.content_type,
            subscription.event_params,
            subscription.detail,
            subscription.data,
            dialog.remote_cseq,
            dialog.remote_target,
        )
        if expires:
            package.subscribe(request, subscription, False)
        now = self._clock.seconds()
        dialog.remote_cseq = cseq
        if target != dialog.remote_target or subscription.event_params != before[2]:
            dialog.remote_target = target
            subscription.reset_head()
        subscription.content_type = content_type
        if not expires:
            self._leave(subscription)
            self._store.remove_subscription(subscription.id)
        else:
            subscription.deadline = now + expires
            self._ua.wheel.after(expires, subscription)
            self._store.put_subscription(subscription.record(self._wall(), now))

        def durable(stored: bool) -> None:
            if stored:
                self._refreshed(served, subscription, expires)
                return
            (
                subscription.deadline,
                subscription.content_type,
                subscription.event_params,
                subscription.detail,
                subscription.data,
                dialog.remote_cseq,
                dialog.remote_target,
            ) = before
            subscription.reset_head()
            if not expires:
                self._enter(subscription)
                self.changed(package.name, subscription.resource)  # what it missed meanwhile
            elif self._table.holds(subscription):
                self._rearm(subscription)
            served.refuse(SipError(500, "Server Internal Error: storage"))

        self._store.when_durable(durable)

    def _refreshed(self, served: ServerRequest, subscription: Subscription, expires: int) -> None:
        """A refresh or un-SUBSCRIBE is durable: answer, and send the NOTIFY (SUB-08, SUB-10)."""
        package = self._packages[subscription.package]
        state = package.authorize(subscription.resource, subscription.watcher)
        if not expires:
            self._answer(served, subscription, 0)
            subscription.state = "terminated" if state == "rejected" else state
            subscription.reason = "rejected" if state == "rejected" else "timeout"
            package.unsubscribed(subscription)
            self._finish(subscription, _TIMEOUT)
        elif subscription.state == "terminated":
            served.refuse(SipError(481))  # it has ended meanwhile
        elif not self._table.holds(subscription):
            self._answer(served, subscription, expires)  # its subscriber is ending it
        elif state == "rejected":
            self._answer(served, subscription, expires)
            self.terminate(subscription, "rejected")
        else:
            if state != subscription.state:
                self._set_state(subscription, state)
            self._answer(served, subscription, expires)
            self.sender.owe(subscription, FORCED)

    def _granted(self, request: Request, package: IEventPackage) -> int:
        """The lifetime to grant in seconds (SUB-04 to SUB-06)."""
        requested = request.expires
        if requested is None:
            requested = package.default_expires
        if 0 < requested < min(3600, self.policy.min_expires):
            raise SipError(423, None, (("Min-Expires", str(self.policy.min_expires)),))
        return min(requested, self.policy.max_expires)

    @staticmethod
    def _check_body(request: Request, package: IEventPackage) -> None:
        """A body of a type that means nothing here (SUB-17)."""
        if not request.body or "*/*" in package.subscribe_types:
            return
        media = request.content_type
        if media is not None and media.type in package.subscribe_types:
            return
        if not disposition_optional(request.first("content-disposition")):
            raise SipError(415, None, (("Accept", ", ".join(package.subscribe_types)),))

    def _answer(self, served: ServerRequest, subscription: Subscription, expires: int) -> None:
        """The 2xx to a SUBSCRIBE (SUB-07, SUB-14, DLG-02)."""
        pending = subscription.state == "pending" and self.policy.accepted_pending
        ua = self._ua
        headers = [
            ("Record-Route", value) for value in served.request.headers.get("record-route", ())
        ]
        headers += (
            ("Contact", subscription.dialog.contact),
            ("Expires", str(expires)),
            ("Allow", ua.allow),
            ("Allow-Events", ", ".join(ua.events)),
            ("Supported", ", ".join(ua.supported)),
        )
        served.respond(202 if pending else 200, headers=headers)

    def _take_fields(self, subscription: Subscription, served: ServerRequest) -> None:
        """Header fields for NOTIFYs inside the trust domain (IMS-09, IMS-14, IMS-15)."""
        if not self._ua.identities.trusted(served.flow):
            return
        request = served.request
        asserted = self.policy.own_uri or subscription.resource
        fields = [("P-Asserted-Identity", f"<{asserted}>")]
        vector = request.first("p-charging-vector")
        if vector is None and self._ua.network:
            vector = self._ua.charging_vector(subscription.dialog.call_id)
        if vector is not None:
            fields.append(("P-Charging-Vector", vector))
        subscription.fields = tuple(fields)
        subscription.charging = request.first("p-charging-function-addresses") or ""

    # -- tables -------------------------------------------------------------------------

    def _enter(self, subscription: Subscription) -> None:
        self._table.enter(subscription)
        self._rearm(subscription)

    def _rearm(self, subscription: Subscription) -> None:
        left = subscription.deadline - self._clock.seconds()
        self._ua.wheel.after(max(0.0, left), subscription)

    def _leave(self, subscription: Subscription) -> bool:
        """Take a subscription out of the tables; False when it was not in them."""
        if not self._table.leave(subscription):
            return False
        self._ua.wheel.cancel(subscription)
        if subscription.alarm is not None:
            self._ua.wheel.cancel(subscription.alarm)
            subscription.alarm = None
        return True

    def _members(self, key: Hashable) -> Iterable[Subscription]:
        return self._table.resources.get(cast("tuple[str, str]", key), {}).values()

    # -- ends ---------------------------------------------------------------------------

    def expired(self, subscription: Subscription) -> None:
        """The lifetime is over without a refresh (NOT-08)."""
        self.terminate(subscription, "timeout")

    def terminate(
        self, subscription: Subscription, reason: str, retry_after: int | None = None
    ) -> None:
        """End a subscription and tell the watcher why (NOT-03)."""
        if not self._leave(subscription):
            return
        subscription.reason = reason
        self._packages[subscription.package].unsubscribed(subscription)
        state = f"terminated;reason={reason}"
        if retry_after is not None:
            state += f";retry-after={retry_after}"
        if reason != "timeout":
            subscription.state = "terminated"  # no body for who may not see (NOT-07)
        # Only after the removal is durable, so that no NOTIFY can follow the last one.
        self._erase(subscription.id, lambda: self._finish(subscription, state))

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

        def end(subscription: Subscription) -> None:
            if subscription.created < before:
                self.terminate(subscription, "noresource")

        self.slices.run(
            (_END, package, resource),
            lambda: self.subscriptions(package, resource),
            end,
            ended,
        )

    def end_watchers(self, gone: Mapping[str, float]) -> None:
        """End all subscriptions of watchers who are no more: ``rejected`` (PSV-19).

        With ``deactivated`` or ``probation`` they would come again.

        :param gone: wall-clock times by URI; subscriptions made later are of somebody else.
        """
        watching = {uri: before for uri, before in gone.items() if self._table.watching(uri)}
        if not watching:
            return
        self._gone.update(watching)

        def end(subscription: Subscription) -> None:
            if subscription.created < self._gone.get(subscription.watcher.uri, 0.0):
                self.terminate(subscription, "rejected")

        everybody = self._table.dialogs
        self.slices.run(_END, lambda: list(everybody.values()), end, self._gone.clear, _LOOKED_AT)

    def _finish(self, subscription: Subscription, state: str) -> None:
        subscription.ending = state
        self.sender.owe(subscription, FORCED)

    def _remove(self, subscription: Subscription) -> None:
        """Forget a subscription whose watcher is gone, without further NOTIFY (NOT-10)."""
        if self._leave(subscription):
            subscription.state = "terminated"
            subscription.reason = "timeout"
            self._erase(subscription.id)
            self._packages[subscription.package].unsubscribed(subscription)

    def _erase(self, id: int, erased: Callable[[], None] | None = None) -> None:
        """Remove a subscription from the store, however long that takes."""
        self._store.remove_subscription(id)

        def durable(stored: bool) -> None:
            if not stored:
                self._ua.wheel.after(_ERASE_AGAIN, Alarm(lambda: self._erase(id, erased)))
            elif erased is not None:
                erased()

        self._store.when_durable(durable)

    # -- NOTIFY -------------------------------------------------------------------------

    def changed(self, package: str, resource: str) -> None:
        """The state of a resource has changed: tell its watchers, paced."""
        key = (package, resource)
        if key in self._table.resources:
            self._pacer.changed(key)

    def touch(self, subscription: Subscription) -> None:
        """There is something new for one subscription: tell it when its gate is open."""
        if self._table.holds(subscription):
            self.sender.changed(subscription)

    def ready(self, subscription: Subscription) -> None:
        """What :meth:`IEventPackage.notification` could not give before, it can give now."""
        self.sender.resume(subscription)

    def reauthorize(self, package: str, resource: str) -> None:
        """Decide anew on all subscriptions to a resource (NOT-07, RUL-04).

        Of a resource with very many that takes several turns of the reactor.
        """
        if (_END, package, resource) in self.slices:
            return  # there is nothing to decide any more
        known = self._packages[package]

        def decide(subscription: Subscription) -> None:
            if self._table.holds(subscription):
                self._decided(subscription, known.authorize(resource, subscription.watcher))

        self.slices.run(
            (_DECIDE, package, resource),
            lambda: self.subscriptions(package, resource),
            decide,
            lambda: self.changed(package, resource),
        )

    def reauthorize_all(self) -> None:
        """Decide anew on all subscriptions, as their turns come."""
        self.slices.run(_DECIDE, self.resources, lambda key: self.reauthorize(*key))

    def resources(self) -> list[tuple[str, str]]:
        """(package, resource) of everything that is subscribed to."""
        return list(self._table.resources)

    def _decided(self, subscription: Subscription, state: str) -> None:
        """Apply an authorization decision to a live subscription (NOT-07)."""
        if state == subscription.state or subscription.ending:
            return
        if state == "rejected":
            self.terminate(subscription, "rejected")
            return
        self._set_state(subscription, state)
        self.sender.owe(subscription, FORCED)

    def _set_state(self, subscription: Subscription, state: str) -> None:
        self._table.set_state(subscription, state)
        self._store.put_subscription(subscription.record(self._wall(), self._clock.seconds()))
        self._packages[subscription.package].subscribed(subscription)

    # -- recovery -----------------------------------------------------------------------

    def recovered(self, records: list[SubscriptionRecord], digests: dict[int, int]) -> None:
        """Take subscriptions back from the store; call :meth:`resume` after the last chunk."""
        wall, now = self._wall(), self._clock.seconds()
        for record in records:
            self._last_id = max(self._last_id, record.id)
            if record.package not in self._packages:
                continue  # served by another role; kept in the store
            try:
                subscription = Subscription.from_record(self, record, wall, now)
            except msgspec.DecodeError:
                self._log.error(
                    "subscription {id} in the store is damaged",
                    id=record.id,
                    problem="damaged-record",
                )
                self._store.remove_subscription(record.id)
                continue
            subscription.delivered = digests.get(record.id)
            self._enter(subscription)
            self._packages[record.package].subscribed(subscription)

    def forget_delivered(self, package: str, resource: str) -> None:
        """Tell the watchers of a resource its state whatever they have acknowledged."""
        for subscription in self.subscriptions(package, resource):
            subscription.delivered = None

    def resume(self) -> None:
        """Decide anew on what was recovered, and tell watchers whose view has changed, paced."""
        self.reauthorize_all()


def _event_value(event: EventType) -> str:
    """Event header of the NOTIFYs: type and ``id``, which are what matching compares (SUB-02)."""
    return event.package if event.id is None else f"{event.package};id={event.id}"
