"""Notifier: SUBSCRIBE and NOTIFY (RFC 6665, RFC 3265), free of any event package.

Each subscription has at most one NOTIFY in flight (NOT-05) and strictly rising CSeq
numbers; changes meanwhile, and changes inside the interval of the rate gate, become one
NOTIFY with the newest state.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

import attrs
import msgspec
from twisted.logger import Logger

from pysip.dialog import next_hop, single_contact, uas_dialog
from pysip.errors import ParseError, RequestTimeout, SipError, TransportError
from pysip.event.interfaces import Notification
from pysip.event.outcome import DELIVERED, REDIRECT, REMOVE, notify_outcome
from pysip.event.subscription import CHANGED, CSEQ_BLOCK, FORCED, NOT_DUE, Subscription
from pysip.event.throttle import Buckets, Pacer, TokenBucket
from pysip.header import parse_retry_after
from pysip.mime import disposition_optional
from pysip.parse import parse_message
from pysip.timers import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from pysip.dialog import DialogId
    from pysip.event.interfaces import IEventPackage, IEventStateStore, IRatePolicy
    from pysip.event.records import SubscriptionRecord
    from pysip.header import EventType
    from pysip.message import Request, Response
    from pysip.ua import ServerRequest, UserAgent

_NOTHING = Notification()
_TIMEOUT = "terminated;reason=timeout"
_RETRY_SECONDS = 1.0


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


class Notifier:
    """All subscriptions of a node.

    :param ua: sends and answers.
    :param store: where subscriptions are durable.
    :param rates: the rate gate.
    :param policy: limits and choices.
    :param wall: wall-clock seconds.

    :ivar outcomes: answers to NOTIFYs by final status (OBS-01).
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
        self.rates = rates
        self.policy = policy
        self.outcomes: Counter[int] = Counter()
        self._packages: dict[str, IEventPackage] = {}
        self._dialogs: dict[DialogId, Subscription] = {}
        self._resources: dict[tuple[str, str], dict[int, Subscription]] = {}
        self._per_watcher: Counter[str] = Counter()
        self._per_pair: Counter[tuple[str, str, str]] = Counter()
        self._pending: Counter[str] = Counter()
        self._last_id = 0
        self._pacer: Pacer[Subscription] = Pacer(
            self._clock, self._members, self._changed, TokenBucket(policy.rate, policy.rate / 10)
        )
        self._destinations = Buckets(policy.destination_rate, policy.destination_rate / 10)

    def __len__(self) -> int:
        return len(self._dialogs)

    def add_package(self, package: IEventPackage) -> None:
        """Serve SUBSCRIBE for a package."""
        self._packages[package.name] = package
        if not package.template:
            self._ua.events.append(package.name)

    def stop(self) -> None:
        """Send nothing more."""
        self._pacer.stop()

    def subscriptions(self, package: str, resource: str) -> list[Subscription]:
        """The live subscriptions to a resource."""
        return list(self._resources.get((package, resource), {}).values())

    # -- SUBSCRIBE ----------------------------------------------------------------------

    def serve(self, served: ServerRequest) -> None:
        """Process one SUBSCRIBE (SUB-01 to SUB-23).

        :raises SipError: the refusal; nothing has changed then.
        """
        request = served.request
        event = request.event
        package = self._packages.get(event.package) if event is not None else None
        if event is None or package is None:
            raise SipError(489, None, (("Allow-Events", ", ".join(self._ua.events)),))
        if self._store.failed:
            raise SipError(503, None, (("Retry-After", "10"),))
        if request.to.tag:
            self._serve_in_dialog(served, package, _event_value(event))
        else:
            self._serve_initial(served, package, event)

    def _serve_initial(
        self, served: ServerRequest, package: IEventPackage, event: EventType
    ) -> None:
        request = served.request
        watcher = served.identity
        resource = package.resolve(request)
        state = package.authorize(resource, watcher)
        if state == "rejected":
            raise SipError(403)
        expires = self._granted(request, package)
        content_type = package.choose_type(request.headers.get("accept"))
        self._check_body(request, package)
        contact = self._ua.contact(served.flow, self._ua.tokens.tag(), request.uri)
        dialog = uas_dialog(request, served.to_tag, contact, served.flow.secure)
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
            self._answer(served, subscription, 0)
            subscription.ready = True
            subscription.ending = _TIMEOUT
            subscription.cseq_limit = CSEQ_BLOCK
            self._send(subscription, True)
            return
        instance = request.contacts[0].params.get("+sip.instance") or ""
        self._check_limits(subscription, instance)
        self._last_id += 1
        subscription.instance = instance
        subscription.cseq_limit = CSEQ_BLOCK
        self._enter(subscription)
        self._store.put_subscription(subscription.record(self._wall(), now))

        def durable(stored: bool) -> None:
            if not stored:
                self._leave(subscription)
                served.refuse(SipError(500, "Server Internal Error: storage"))
                return
            self._answer(served, subscription, expires)
            subscription.ready = True
            package.subscribed(subscription)
            self._send(subscription, True)

        self._store.when_durable(durable)

    def _serve_in_dialog(
        self, served: ServerRequest, package: IEventPackage, event: str
    ) -> None:
        """A refresh, an un-SUBSCRIBE, or something foreign in the dialog (SUB-10 to SUB-13)."""
        request = served.request
        subscription = self._dialogs.get((request.call_id, request.to.tag, request.from_.tag))
        if subscription is None:
            raise SipError(481)
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
            dialog.remote_cseq,
            dialog.remote_target,
        )
        now = self._clock.seconds()
        dialog.remote_cseq = cseq
        if target != dialog.remote_target:
            dialog.remote_target = target
            subscription.reset_head()
        subscription.content_type = content_type
        state = package.authorize(subscription.resource, subscription.watcher)
        if not expires:
            self._leave(subscription)
            self._store.remove_subscription(subscription.id)
        else:
            subscription.deadline = now + expires
            self._ua.wheel.after(expires, subscription)
            self._store.put_subscription(subscription.record(self._wall(), now))

        def durable(stored: bool) -> None:
            if not stored:
                (
                    subscription.deadline,
                    subscription.content_type,
                    dialog.remote_cseq,
                    dialog.remote_target,
                ) = before
                subscription.reset_head()
                if not expires:
                    self._enter(subscription)
                else:
                    self._rearm(subscription)
                served.refuse(SipError(500, "Server Internal Error: storage"))
                return
            self._answer(served, subscription, expires)
            if not expires:
                package.unsubscribed(subscription)
                self._finish(subscription, _TIMEOUT)
                return
            self._decided(subscription, state)
            self._owe(subscription, FORCED)

        self._store.when_durable(durable)

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
        if not request.body:
            return
        media = request.content_type
        if media is not None and media.type in package.subscribe_types:
            return
        if not disposition_optional(request.first("content-disposition")):
            raise SipError(415, None, (("Accept", ", ".join(package.subscribe_types)),))

    def _check_limits(self, subscription: Subscription, instance: str) -> None:
        """Refuse what is over a limit (SUB-18, LIM-01); a device that comes again takes the
        place of its older subscription, which nobody listens to any more."""
        policy = self.policy
        watcher = subscription.watcher.uri
        key = (subscription.package, subscription.resource)
        pair = (*key, watcher)
        if instance and self._per_pair[pair]:
            for other in self.subscriptions(*key):
                if other.instance == instance and other.watcher.uri == watcher:
                    self._remove(other)
        if (
            self._per_watcher[watcher] >= policy.per_watcher
            or self._per_pair[pair] >= policy.per_pair
            or len(self._resources.get(key, ())) >= policy.per_resource
            or (
                subscription.state == "pending"
                and self._pending[watcher] >= policy.pending_per_watcher
            )
        ):
            raise SipError(403, None, (("Warning", '399 presence "subscription limit"'),))

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
        if vector is not None:
            fields.append(("P-Charging-Vector", vector))
        subscription.fields = tuple(fields)
        subscription.charging = request.first("p-charging-function-addresses") or ""

    # -- tables -------------------------------------------------------------------------

    def _enter(self, subscription: Subscription) -> None:
        watcher = subscription.watcher.uri
        key = (subscription.package, subscription.resource)
        self._dialogs[subscription.dialog.id] = subscription
        self._resources.setdefault(key, {})[subscription.id] = subscription
        self._per_watcher[watcher] += 1
        self._per_pair[*key, watcher] += 1
        if subscription.state == "pending":
            self._pending[watcher] += 1
        self._rearm(subscription)

    def _rearm(self, subscription: Subscription) -> None:
        left = subscription.deadline - self._clock.seconds()
        self._ua.wheel.after(max(0.0, left), subscription)

    def _leave(self, subscription: Subscription) -> bool:
        """Take a subscription out of the tables; False when it was not in them."""
        if self._dialogs.pop(subscription.dialog.id, None) is None:
            return False
        watcher = subscription.watcher.uri
        key = (subscription.package, subscription.resource)
        members = self._resources[key]
        del members[subscription.id]
        if not members:
            del self._resources[key]
        _decrement(self._per_watcher, watcher)
        _decrement(self._per_pair, (*key, watcher))
        if subscription.state == "pending":
            _decrement(self._pending, watcher)
        self._ua.wheel.cancel(subscription)
        if subscription.alarm is not None:
            self._ua.wheel.cancel(subscription.alarm)
        return True

    def _members(self, key: Hashable) -> Iterable[Subscription]:
        return self._resources.get(cast("tuple[str, str]", key), {}).values()

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
        self._store.remove_subscription(subscription.id)
        self._packages[subscription.package].unsubscribed(subscription)
        state = f"terminated;reason={reason}"
        if retry_after is not None:
            state += f";retry-after={retry_after}"
        if reason != "timeout":
            subscription.state = "terminated"  # no body for who may not see (NOT-07)
        # Only after the removal is durable, so that no NOTIFY can follow the last one.
        self._store.when_durable(lambda _: self._finish(subscription, state))

    def _finish(self, subscription: Subscription, state: str) -> None:
        subscription.ending = state
        self._owe(subscription, FORCED)

    def _remove(self, subscription: Subscription) -> None:
        """Forget a subscription whose watcher is gone, without further NOTIFY (NOT-10)."""
        if self._leave(subscription):
            self._store.remove_subscription(subscription.id)
            self._packages[subscription.package].unsubscribed(subscription)

    # -- NOTIFY -------------------------------------------------------------------------

    def changed(self, package: str, resource: str) -> None:
        """The state of a resource has changed: tell its watchers, paced."""
        key = (package, resource)
        if key in self._resources:
            self._pacer.changed(key)

    def reauthorize(self, package: str, resource: str) -> None:
        """Decide anew on all subscriptions to a resource (NOT-07, RUL-04)."""
        known = self._packages[package]
        for subscription in self.subscriptions(package, resource):
            self._decided(subscription, known.authorize(resource, subscription.watcher))
        self.changed(package, resource)

    def resources(self) -> list[tuple[str, str]]:
        """(package, resource) of everything that is subscribed to."""
        return list(self._resources)

    def _decided(self, subscription: Subscription, state: str) -> None:
        """Apply an authorization decision to a live subscription (NOT-07)."""
        if state == subscription.state or subscription.ending:
            return
        if state == "rejected":
            self.terminate(subscription, "rejected")
            return
        watcher = subscription.watcher.uri
        if state == "pending":
            self._pending[watcher] += 1
        else:
            _decrement(self._pending, watcher)
        subscription.state = state
        self._store.put_subscription(subscription.record(self._wall(), self._clock.seconds()))
        self._packages[subscription.package].subscribed(subscription)
        self._owe(subscription, FORCED)

    def _owe(self, subscription: Subscription, due: int) -> None:
        """Send a NOTIFY now, or as soon as the one in flight is answered."""
        if subscription.in_flight or not subscription.ready:
            subscription.due = max(subscription.due, due)
        else:
            subscription.due = NOT_DUE
            self._send(subscription, due == FORCED)

    def _changed(self, subscription: Subscription) -> bool:
        """Tell one watcher of a change, now or when its gate opens; true when sent."""
        if subscription.in_flight or not subscription.ready:
            subscription.due = max(subscription.due, CHANGED)
            return False
        if subscription.state != "active" or subscription.ending:
            return False
        now = self._clock.seconds()
        wait = subscription.gate - now
        if wait <= 0 and self._destinations.rate and subscription.target is not None:
            wait = self._destinations.take(subscription.target.address, now)
        if wait > 0:
            subscription.due = max(subscription.due, CHANGED)
            self._wait(subscription, wait)
            return False
        subscription.due = NOT_DUE
        return self._send(subscription, False)

    def _wait(self, subscription: Subscription, seconds: float) -> None:
        if subscription.alarm is None:
            subscription.alarm = Alarm(lambda: self._opened(subscription))
        self._ua.wheel.after(seconds, subscription.alarm)

    def _opened(self, subscription: Subscription) -> None:
        """The gate of a subscription that is owed a NOTIFY has opened."""
        if subscription.due == FORCED:
            self._owe(subscription, FORCED)
        elif subscription.due == CHANGED:
            self._changed(subscription)

    def _send(self, subscription: Subscription, forced: bool) -> bool:
        """Send a NOTIFY with the newest state; true when one has left.

        Not forced, one that would tell the watcher nothing new is left out (NOT-14).
        """
        dialog = subscription.dialog
        now = self._clock.seconds()
        notification = _NOTHING
        if subscription.state == "active":
            notification = self._packages[subscription.package].notification(subscription)
            if not forced and notification.digest == subscription.delivered:
                return False
        cseq = dialog.local_cseq + 1
        if subscription.ending:
            state = subscription.ending
        else:
            if cseq >= subscription.cseq_limit - CSEQ_BLOCK // 10 and not self._reserve(
                subscription, cseq, forced
            ):
                return False
            left = subscription.deadline - now
            state = f"{subscription.state};expires={int(left + 0.5) if left > 0 else 0}"
        if not subscription.head:
            self._build_head(subscription)
        dialog.local_cseq = cseq
        subscription.in_flight = True
        subscription.sent = notification.digest
        subscription.gate = now + self.rates.interval(subscription.package, subscription.resource)
        branch = self._ua.tokens.branch()
        data = b"".join(
            (
                subscription.start,
                branch.encode(),
                subscription.head,
                f"{cseq} NOTIFY\r\nSubscription-State: {state}\r\n".encode(),
                notification.tail,
            )
        )
        target = subscription.target
        if target is not None:
            flow = self._ua.sender.flow_for(target, len(data))
            if flow is not None and flow.protocol == target.protocol:
                self._ua.layer.request(branch, "NOTIFY", data, flow, subscription)
                return True
        self._send_located(subscription, data)
        return True

    def _send_located(
        self, subscription: Subscription, data: bytes, request_uri: str | None = None
    ) -> None:
        """Send by the general way: DNS, several targets, or over TCP for its size."""
        request = cast("Request", parse_message(data))
        if request_uri is not None:
            request.uri = request_uri
        self._ua.request(request).addCallbacks(
            lambda response: self.answered(subscription, response.status, response),
            lambda failure: self._unanswered(subscription, failure),
        )

    def _unanswered(self, subscription: Subscription, failure: Failure) -> None:
        failed = failure.trap(RequestTimeout, TransportError)
        self.answered(subscription, 408 if failed is RequestTimeout else 503, None)

    def _reserve(self, subscription: Subscription, cseq: int, forced: bool) -> bool:
        """Reserve the next block of CSeq numbers; False when ``cseq`` must wait for it."""
        limit = subscription.cseq_limit
        subscription.cseq_limit = limit + CSEQ_BLOCK
        self._store.put_subscription(subscription.record(self._wall(), self._clock.seconds()))
        if cseq < limit:
            return True
        subscription.ready = False
        subscription.due = max(subscription.due, FORCED if forced else CHANGED)

        def durable(stored: bool) -> None:
            subscription.ready = True
            if stored:
                self._opened(subscription)
            else:
                subscription.cseq_limit = limit
                self._wait(subscription, _RETRY_SECONDS)

        self._store.when_durable(durable)
        return False

    def _build_head(self, subscription: Subscription) -> None:
        """Prebuild all of the NOTIFY that stays the same while the dialog does (NOT-01)."""
        dialog = subscription.dialog
        uri, routes = dialog.routing()
        try:
            target = self._ua.sender.locator.immediate(next_hop(uri, routes))
        except ParseError:
            target = None
        via = "UDP invalid"
        if target is not None:
            flow = self._ua.sender.flow_for(target, 0)
            if flow is None:
                target = None
            else:
                via = f"{flow.protocol} {flow.sent_by}"
        subscription.target = target
        subscription.start = _encode(f"NOTIFY {uri} SIP/2.0\r\nVia: SIP/2.0/{via};branch=")
        to_tag = f";tag={dialog.remote_tag}" if dialog.remote_tag else ""
        lines = [
            ";rport",
            "Max-Forwards: 70",
            *(f"Route: {route}" for route in routes),
            f"From: {dialog.local_uri};tag={dialog.local_tag}",
            f"To: {dialog.remote_uri}{to_tag}",
            f"Call-ID: {dialog.call_id}",
            f"Contact: {dialog.contact}",
            f"Event: {subscription.event}",
            *(f"{name}: {value}" for name, value in subscription.fields),
            *((f"User-Agent: {self._ua.sender.agent}",) if self._ua.sender.agent else ()),
            "CSeq: ",
        ]
        subscription.head = _encode("\r\n".join(lines))

    def answered(self, subscription: Subscription, status: int, response: Response | None) -> None:
        """The NOTIFY in flight has its final outcome (NOT-10, NOT-12)."""
        subscription.in_flight = False
        self.outcomes[status] += 1
        if subscription.ending and subscription.due == NOT_DUE:
            return
        retry_after = None
        if response is not None and status >= 300:
            retry_after = parse_retry_after(response.first("retry-after") or "")
        outcome = notify_outcome(status, retry_after, self.policy.keep_on_timeout)
        if outcome == DELIVERED:
            subscription.redirected = False
            if subscription.delivered != subscription.sent:
                subscription.delivered = subscription.sent
                if subscription.id and not subscription.ending:
                    self._store.note_delivered(subscription.id, subscription.sent)
            if response is not None and "contact" in response.headers:
                self._refresh_target(subscription, response)
        elif outcome == REDIRECT and self._redirect(subscription, response):
            return
        elif outcome in (REMOVE, REDIRECT):
            self._remove(subscription)
            return
        else:
            seconds = _RETRY_SECONDS if retry_after is None else max(1, retry_after)
            subscription.gate = self._clock.seconds() + seconds
            subscription.due = max(subscription.due, CHANGED)
            subscription.delivered = None
            self._wait(subscription, seconds)
            return
        if subscription.due == FORCED:
            self._owe(subscription, FORCED)
        elif subscription.due == CHANGED:
            self._changed(subscription)

    def _refresh_target(self, subscription: Subscription, response: Response) -> None:
        """A Contact in the 2xx to a NOTIFY moves the remote target (DLG-08)."""
        try:
            target = single_contact(response)
        except (SipError, ParseError):
            return
        if target != subscription.dialog.remote_target:
            subscription.dialog.remote_target = target
            subscription.reset_head()
            if not subscription.ending:
                now = self._clock.seconds()
                self._store.put_subscription(subscription.record(self._wall(), now))

    def _redirect(self, subscription: Subscription, response: Response | None) -> bool:
        """Follow a 3xx once for this NOTIFY (NOT-10)."""
        if response is None or subscription.redirected:
            return False
        try:
            target = single_contact(response)
        except (SipError, ParseError):
            return False
        subscription.redirected = True
        dialog = subscription.dialog
        kept, dialog.remote_target = dialog.remote_target, target
        subscription.reset_head()
        self._send(subscription, True)
        dialog.remote_target = kept
        subscription.reset_head()
        return True

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
                self._log.error("subscription {id} in the store is damaged", id=record.id)
                self._store.remove_subscription(record.id)
                continue
            subscription.delivered = digests.get(record.id)
            self._enter(subscription)
            self._packages[record.package].subscribed(subscription)

    def resume(self) -> None:
        """Tell watchers whose view has changed while the node was down, paced."""
        for package, resource in self._resources:
            self.changed(package, resource)


def _event_value(event: EventType) -> str:
    """Event header of the NOTIFYs: type and ``id``, which are what matching compares (SUB-02)."""
    return event.package if event.id is None else f"{event.package};id={event.id}"


def _decrement(counter: Counter[str] | Counter[tuple[str, str, str]], key: object) -> None:
    count = counter[key] - 1  # type: ignore[index]
    if count > 0:
        counter[key] = count  # type: ignore[index]
    else:
        del counter[key]  # type: ignore[arg-type]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
