"""Sending NOTIFYs: the rate gate, prebuilt messages and what the answers mean.

Each subscription has at most one NOTIFY in flight (NOT-05) and strictly rising CSeq
numbers (NOT-06); changes meanwhile, and changes inside the interval of the rate gate,
become one NOTIFY with the newest state.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

from pysip.dialog import single_contact
from pysip.errors import ParseError, RequestTimeout, SipError, TransportError
from pysip.event.notification import Notification, bodyless, entity_tag
from pysip.event.outcome import DELIVERED, REDIRECT, REMOVE, notify_outcome
from pysip.event.pacing import Pacing
from pysip.event.subscription import CHANGED, CSEQ_BLOCK, FORCED, NOT_DUE, REPEATED
from pysip.event.throttle import Buckets
from pysip.parse import parse_message
from pysip.timers import Alarm
from pysip.uac import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from pysip.event.dialogsubscription import DialogSubscription
    from pysip.event.interfaces import IEventPackage, IEventStateStore, IRatePolicy
    from pysip.event.table import NotifierPolicy
    from pysip.message import Request, Response
    from pysip.ua import UserAgent

_NOTHING = Notification()
_RETRY_SECONDS = 1.0
_ROUNDING = 1e-6
"""Seconds that a timer may seem early by."""


class NotifySender:
    """Sends the NOTIFYs of all subscriptions.

    :param ua: the user agent.
    :param store: reserves CSeq numbers and notes what was delivered.
    :param packages: event packages by name, shared with the notifier.
    :param rates: the rate gate.
    :param policy: choices of the operator.
    :param wall: wall-clock seconds.
    :param gone: forgets a subscription whose watcher is gone.

    :ivar outcomes: answers to NOTIFYs by final status (OBS-01).
    :ivar pacing: keeps to the rates of the subscriptions.
    :ivar stopped: nothing is done about answers any more.
    """

    def __init__(
        self,
        ua: UserAgent,
        store: IEventStateStore,
        packages: dict[str, IEventPackage],
        rates: IRatePolicy,
        policy: NotifierPolicy,
        wall: Callable[[], float],
        gone: Callable[[DialogSubscription], None],
    ) -> None:
        self._ua = ua
        self._clock: IReactorTime = ua.clock
        self._store = store
        self._packages = packages
        self._wall = wall
        self._gone = gone
        self.outcomes: Counter[int] = Counter()
        self.stopped = False
        self.pacing = Pacing(
            ua.wheel, rates, policy.repeat_rate, lambda one: self._send(one, REPEATED)
        )
        self.set_policy(policy, rates)

    def set_policy(self, policy: NotifierPolicy, rates: IRatePolicy) -> None:
        """Use other choices and rates from now on."""
        self.pacing.rates = rates
        self.pacing.repeat_rate = policy.repeat_rate
        self.policy = policy
        self._destinations = Buckets(policy.destination_rate, policy.destination_rate / 10)

    def owe(self, subscription: DialogSubscription, due: int) -> None:
        """Send a NOTIFY now, or as soon as the one in flight is answered."""
        if subscription.in_flight or not subscription.ready:
            subscription.due = max(subscription.due, due)
        else:
            subscription.due = NOT_DUE
            self._send(subscription, due)

    def recovered(self, subscription: DialogSubscription) -> None:
        """A subscription was taken back from the store."""
        delivered, wanted = subscription.delivered, subscription.suppress
        if wanted != "*" and delivered is not None:
            # what follows the digest tells forms of one state apart
            same = wanted.partition(".")[0] == entity_tag(delivered)
            subscription.suppress = wanted if same else ""  # else it has got something since
        self.pacing.begin(subscription)

    def changed(self, subscription: DialogSubscription) -> bool:
        """Tell one watcher of a change, now or when its gate opens; true when sent."""
        if subscription.in_flight or not subscription.ready:
            subscription.due = max(subscription.due, CHANGED)
            return False
        if subscription.state != "active" or subscription.ending or subscription.suppress == "*":
            return False
        now = self._clock.seconds()
        wait = subscription.gate - now
        if (
            wait < _ROUNDING
            and self._destinations.rate
            and subscription.target is not None
            and not subscription.booked
        ):
            # Each books a turn of its own: they do not all come back at each of them.
            wait = self._destinations.book(subscription.target.address, now)
            subscription.booked = wait >= _ROUNDING
        if wait >= _ROUNDING:
            subscription.due = max(subscription.due, CHANGED)
            self._wait(subscription, wait)
            return False
        subscription.due = NOT_DUE
        subscription.booked = False
        return self._send(subscription, CHANGED)

    def _wait(self, subscription: DialogSubscription, seconds: float) -> None:
        if subscription.alarm is None:
            subscription.alarm = Alarm(lambda: self._waited(subscription))
        self._ua.wheel.after(seconds, subscription.alarm)

    def _waited(self, subscription: DialogSubscription) -> None:
        # The alarm knows the subscription: one that kept it would never be freed by itself.
        subscription.alarm = None
        self.resume(subscription)

    def resume(self, subscription: DialogSubscription) -> None:
        """Send the NOTIFY that a subscription is owed: what held it up is over."""
        if subscription.due == FORCED:
            self.owe(subscription, FORCED)
        elif subscription.due == CHANGED:
            self.changed(subscription)

    def _send(self, subscription: DialogSubscription, due: int) -> bool:
        """Send a NOTIFY with the newest state; true when one has left.

        One that is only for a change and would tell nothing new is left out (NOT-14), and so are
        its body, or all of it, where the watcher wants that (SNE-04 to SNE-06).
        """
        dialog = subscription.dialog
        now = self._clock.seconds()
        notification = _NOTHING
        subscription.forced = due != CHANGED
        told, sure = True, True
        if subscription.state != "terminated":
            made = self._packages[subscription.package].notification(subscription)
            if made is None:  # the package has to gather it first
                subscription.due = max(subscription.due, FORCED if due == FORCED else CHANGED)
                return False
            notification = made
            if subscription.suppress and subscription.suppresses(made.tag):
                if due != FORCED:
                    return False
                told, sure = False, subscription.suppress != "*"
            elif due == CHANGED and made.digest == subscription.delivered:
                return False
            elif subscription.suppress not in ("", "*"):
                subscription.suppress = ""  # what the condition was about is over
        elif not subscription.ending:
            return False  # it was removed, or its end waits for the store
        cseq = dialog.local_cseq + 1
        if subscription.ending:
            state = subscription.ending
        else:
            if cseq >= subscription.cseq_limit - CSEQ_BLOCK // 10 and not self._reserve(
                subscription, cseq, due
            ):
                return False
            left = subscription.deadline - now
            state = f"{subscription.state};expires={int(left + 0.5) if left > 0 else 0}"
            if subscription.pulse is not None:
                state += subscription.pulse.adopted.params
        if not subscription.head:
            self._build_head(subscription)
        dialog.local_cseq = cseq
        subscription.in_flight = True
        subscription.told = told
        subscription.sent = notification.digest if sure else None
        if subscription.pulse is not None:
            self.pacing.sent(subscription, now)
        else:
            interval = self.pacing.rates.interval(subscription.package, subscription.resource)
            subscription.gate = now + interval
        coding = subscription.coding
        tail = notification.tail if told and not coding else _tail(notification, coding, told=told)
        branch = self._ua.tokens.branch()
        data = b"".join(
            (
                subscription.start,
                branch.encode(),
                subscription.head,
                f"{cseq} NOTIFY\r\nSubscription-State: {state}\r\n".encode(),
                tail,
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

    def _send_located(self, subscription: DialogSubscription, data: bytes) -> None:
        """Send by the general way: DNS, several targets, or over TCP for its size."""
        request = cast("Request", parse_message(data))
        hop = subscription.dialog.routing()[2]
        self._ua.request(request, hop=hop).addCallbacks(
            lambda response: self.answered(subscription, response.status, response),
            lambda failure: self._unanswered(subscription, failure),
        )

    def _unanswered(self, subscription: DialogSubscription, failure: Failure) -> None:
        failed = failure.trap(RequestTimeout, TransportError)
        self.answered(subscription, 408 if failed is RequestTimeout else 503, None)

    def _reserve(self, subscription: DialogSubscription, cseq: int, due: int) -> bool:
        """Reserve the next block of CSeq numbers; False when ``cseq`` must wait for it."""
        limit = subscription.cseq_limit
        subscription.cseq_limit = limit + CSEQ_BLOCK
        self._put(subscription)
        waits = cseq >= limit
        if waits:
            subscription.ready = False
            subscription.due = max(subscription.due, FORCED if due == FORCED else CHANGED)

        def durable(stored: bool) -> None:
            if not stored:
                subscription.cseq_limit = limit  # as in the store, where a restart begins
            if waits:
                subscription.ready = True
                if stored:
                    self.resume(subscription)
                else:
                    self._wait(subscription, _RETRY_SECONDS)

        self._store.when_durable(durable)
        return not waits

    def _build_head(self, subscription: DialogSubscription) -> None:
        """Prebuild all of the NOTIFY that stays the same while the dialog does (NOT-01)."""
        dialog = subscription.dialog
        uri, routes, hop = dialog.routing()
        target = self._ua.sender.locator.immediate(hop)
        via = "UDP invalid"
        fields = subscription.fields
        if target is not None:
            flow = self._ua.sender.flow_for(target, 0)
            if flow is None:
                target = None
            else:
                via = f"{flow.protocol} {flow.sent_by}"
                if fields and not self._ua.identities.trusted(flow):
                    fields = ()  # they stay in the trust domain (IMS-09)
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
            f"Event: {subscription.event_value}{subscription.event_params}",
            *((f"Require: {subscription.require}",) if subscription.require else ()),
            *(f"{name}: {value}" for name, value in fields),
            *((f"User-Agent: {self._ua.sender.agent}",) if self._ua.sender.agent else ()),
            "CSeq: ",
        ]
        subscription.head = _encode("\r\n".join(lines))

    def answered(
        self, subscription: DialogSubscription, status: int, response: Response | None
    ) -> None:
        """The NOTIFY in flight has its final outcome (NOT-10, NOT-12)."""
        if self.stopped:
            return  # the store is closing: after the next start it counts as not delivered
        subscription.in_flight = False
        self.outcomes[status] += 1
        if subscription.ending and subscription.due == NOT_DUE:
            return
        after = retry_after(response) if response is not None and status >= 300 else None
        package = self._packages[subscription.package]
        # Who may have missed a change would misunderstand the next one (XEVT-14).
        keep = self.policy.keep_on_timeout and not package.incremental
        outcome = notify_outcome(status, after, keep)
        if outcome == DELIVERED:
            subscription.redirected = subscription.uncertain = False
            if subscription.told:
                package.acknowledged(subscription)
            sent = subscription.sent
            if sent is not None and subscription.delivered != sent:
                subscription.delivered = sent
                if subscription.id and not subscription.ending:
                    self._store.note_delivered(subscription.id, sent)
            if response is not None:
                if "contact" in response.headers:
                    self._refresh_target(subscription, response)
                if "event" in response.headers and self.pacing.answered(subscription, response):
                    self._put(subscription)
        elif outcome == REDIRECT and self._redirect(subscription, response):
            return
        elif outcome in (REMOVE, REDIRECT):
            self._gone(subscription)
            return
        else:
            now = self._clock.seconds()
            seconds = _RETRY_SECONDS if after is None else max(1, after)
            if subscription.pulse is not None:  # another try counts like a first one (RAT-04)
                seconds = max(seconds, subscription.gate - now)
            subscription.gate = now + seconds
            # Forced: a pending subscription, which is told of no changes, has missed it too.
            subscription.due = FORCED
            subscription.delivered = None
            subscription.uncertain = subscription.uncertain or status == 408
            self._wait(subscription, seconds)
            return
        if subscription.due == FORCED:
            self.owe(subscription, FORCED)
        elif subscription.due == CHANGED:
            self.changed(subscription)

    def _refresh_target(self, subscription: DialogSubscription, response: Response) -> None:
        """A Contact in the 2xx to a NOTIFY moves the remote target (DLG-08)."""
        try:
            target = single_contact(response)
        except (SipError, ParseError):
            return
        if target != subscription.dialog.remote_target:
            subscription.dialog.remote_target = target
            subscription.reset_head()
            if not subscription.ending:
                self._put(subscription)

    def _put(self, subscription: DialogSubscription) -> None:
        self._store.put_subscription(subscription.record(self._wall(), self._clock.seconds()))

    def _redirect(self, subscription: DialogSubscription, response: Response | None) -> bool:
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
        self._send(subscription, FORCED)
        dialog.remote_target = kept
        subscription.reset_head()
        return True


def _tail(notification: Notification, coding: str, *, told: bool) -> bytes:
    return notification.coded(coding) if told else bodyless(notification, coding)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
