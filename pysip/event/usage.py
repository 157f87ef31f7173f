"""One subscription usage: a SUBSCRIBE, the dialog that its NOTIFY makes, and its end.

RFC 6665 4.1.2 as a machine::

    begin ──► awaiting the first NOTIFY ──NOTIFY──► established ──► over
                 │ refused, no answer,                  │ terminated, expired, refresh
                 │ Timer N                              │ answered 481, no NOTIFY after it
                 ▼                                      ▼
               over                                   over

The dialog comes from the NOTIFY (DLG-03); a 2xx only tells the lifetime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from pysip.correlate import call_hash
from pysip.errors import RequestTimeout, SipError, TransportError
from pysip.event.notified import advance, begun, decode, unreadable
from pysip.event.rates import read_rates
from pysip.header import parse_delta, parse_subscription_state
from pysip.mime import ACCEPT_ENCODING
from pysip.refresh import PASSING, STATE_GONE, Backoff, min_expires, refresh_delay
from pysip.timers import Alarm
from pysip.uac import retry_after

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from pysip.dialog import Dialog
    from pysip.event.subscriber import Subscriber
    from pysip.event.terms import SubscriptionTerms
    from pysip.header import EventType
    from pysip.message import Request, Response
    from pysip.ua import ServerRequest

_SHORTER = 2.0
"""Seconds by which a NOTIFY has to shorten the lifetime before the refresh is moved: its
``expires`` counts whole seconds and has travelled."""


class SubscriptionUsage:
    """One attempt at a subscription, from its SUBSCRIBE to its end.

    At its end, and only once, it calls ``refused``, ``lost`` or ``terminated`` of its
    subscriber, and is not heard of again.

    :ivar call_id: of the dialog.
    :ivar local_tag: our tag in it.
    :ivar dialog: None until a NOTIFY has made it.
    :ivar rated: the SUBSCRIBE sent last asked for a rate (RAT-13).
    """

    _log = Logger()

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self._conditions = subscriber.conditions
        self._ua = ua = subscriber.ua
        terms = subscriber.terms
        self.call_id = ua.tokens.call_id()
        self.local_tag = ua.tokens.tag()
        self.dialog: Dialog | None = None
        self.rated = False
        self._accepted_types: dict[str, None] = {}  # also before a change; some may be on the way
        self._changing = False  # other terms are to be told
        self._telling = False  # by the SUBSCRIBE that is under way
        self._update = b""  # its body
        self._quiet = False  # the SUBSCRIBE answered last has suppressed its NOTIFY
        self._cseq = 0
        self._contact = ""
        self._expires = terms.expires  # what is asked for, raised by a 423
        self._raised = False
        self._initial = True  # the initial SUBSCRIBE awaits its final response
        self._request: Request | None = None  # the SUBSCRIBE that does
        self._pending: int | None = None  # Expires of the SUBSCRIBE to send next
        self._answered_tag: str | None = None  # To tag of the 2xx to the initial SUBSCRIBE
        self._deadline: float | None = None
        self._ending = terms.expires == 0
        self._over = False
        self._notified = False  # since the last SUBSCRIBE was sent
        self._late = False  # Timer N has fired while the SUBSCRIBE was under way
        self._backoff = Backoff(ua.tokens)
        self._refresh_alarm = Alarm(self._due)
        self._timer_n = Alarm(self._timer_n_fired)

    @property
    def terms(self) -> SubscriptionTerms:
        """What is subscribed to, and how."""
        return self._subscriber.terms

    # -- from the subscriber ------------------------------------------------------------

    def begin(self) -> None:
        """Send the initial SUBSCRIBE."""
        self._send(self._expires)

    def refresh(self) -> None:
        """Send a refresh, after the SUBSCRIBE under way if there is one."""
        if not self._ending and not self._over:
            self._subscribe(self._expires)

    def change(self, update: bytes) -> None:
        """Tell other terms; the subscriber is told by ``changed`` what has become of it.

        :param update: body of the SUBSCRIBE.
        """
        if not self._ending and not self._over:
            self._changing = True
            self._update = update
            self._subscribe(self._expires)

    def end(self) -> None:
        """Unsubscribe; without a dialog yet, as soon as there is one."""
        if not self._ending and not self._over:
            self._ending = True
            self._subscribe(0)

    def concerns(self, event: EventType) -> bool:
        """Whether a NOTIFY with this Event is of this subscription (DLG-03)."""
        return event.package == self.terms.package and (event.id or "") == self.terms.event_id

    # -- SUBSCRIBE ----------------------------------------------------------------------

    def _subscribe(self, expires: int) -> None:
        """Send a SUBSCRIBE in the dialog as soon as there is one and none is under way."""
        self._pending = expires
        self._proceed()

    def _proceed(self) -> None:
        if self._pending is not None and self._request is None and self.dialog is not None:
            self._send(self._pending)

    def _send(self, expires: int) -> None:
        terms, subscriber = self.terms, self._subscriber
        ua = self._ua
        self._cseq += 1
        self._contact = contact = terms.contact()
        self._accepted_types.update(dict.fromkeys(terms.accept))
        request, route, hop = terms.subscribe(self.dialog, self.local_tag, contact)
        rates = subscriber.next_rates(expires)
        request.set("Call-ID", self.call_id)
        request.set("CSeq", f"{self._cseq} SUBSCRIBE")
        request.set("Expires", str(expires))
        request.set("Event", terms.event + rates.params)
        if subscriber.compressed:
            request.set("Accept-Encoding", ACCEPT_ENCODING)
        condition = subscriber.next_condition()
        if condition:
            request.set("Suppress-If-Match", condition)
        body = terms.body if self.dialog is None else self._update
        if body and (expires or self.dialog is None):
            request.set("Content-Type", terms.content_type)
            request.body = body
        self.rated = bool(rates)
        self._telling = self._changing and expires > 0
        self._request = request
        self._pending = None
        self._notified = self._late = False
        ua.wheel.cancel(self._refresh_alarm)
        ua.wheel.after(ua.layer.values.transaction, self._timer_n)
        sending = ua.request(request, route=route, hop=hop, credentials=terms.credentials)
        sending.addCallbacks(self._answered, self._unanswered).addErrback(self._bug)

    def _answered(self, response: Response) -> None:
        """The final response to the SUBSCRIBE under way."""
        request = self._settle()
        if self._over or request is None:
            return
        status = response.status
        if status < 300:
            self._accepted(request, response)
        elif status == 423 and self._raise_expires(response):
            self._send(self._expires)  # same Call-ID and tag, next CSeq (UAC-02)
        elif not self._initial and self._conditions.doubtful(status):
            self._conditions.failed()
            self._send(request.expires or 0)  # without the condition (SNE-12)
        elif self._initial:
            self._finish()
            self._subscriber.refused(self, response)
        elif self._ending and self._pending is not None and status not in STATE_GONE:
            self._proceed()  # a refresh has failed; its end is still to be told
        elif self._ending:
            self._finish()
            self._subscriber.terminated(self, "timeout", None)
        elif status in STATE_GONE or status == 408:
            if self._quiet:
                self._conditions.doubted()
            self._finish()
            self._subscriber.lost(self, "gone")
        elif self._telling and status not in PASSING and retry_after(response) is None:
            self._refuse_change(response)
        else:
            self._keep(retry_after(response))

    def _unanswered(self, failure: Failure) -> None:
        """No final response (DLG-18), or none because the peer could not be reached."""
        failure.trap(RequestTimeout, TransportError)
        initial = self._initial
        self._settle()
        if self._over:
            return
        if initial and self.dialog is not None:
            # Only the response was lost: the NOTIFY has proved the subscription.
            self._initial = False
            self._settled()
        elif initial:
            self._finish()
            self._subscriber.refused(self, None)
        elif self._ending:
            self._finish()
            self._subscriber.terminated(self, "timeout", None)
        elif failure.check(RequestTimeout):
            self._finish()
            self._subscriber.lost(self, "unreachable")
        else:
            self._keep(None)

    def _settle(self) -> Request | None:
        """No SUBSCRIBE is under way any more; challenges may have raised its CSeq."""
        request, self._request = self._request, None
        if request is not None:
            self._cseq = max(self._cseq, request.cseq[0])
        return request

    def _bug(self, failure: Failure) -> None:
        self._log.failure(
            "handling the answer to a SUBSCRIBE failed (call {call})",
            failure,
            call=call_hash(self.call_id),
        )

    def _raise_expires(self, response: Response) -> bool:
        """Take Min-Expires over, once (UAC-07)."""
        least = min_expires(response)
        if self._raised or self._ending or least is None or least <= self._expires:
            return False
        self._raised = True
        self._expires = least
        return True

    def _accepted(self, request: Request, response: Response) -> None:
        """2xx: it tells the lifetime; a 202 is no different (SUB-14)."""
        asked = request.expires or 0
        granted = response.expires
        lifetime = asked if granted is None else min(asked, granted)
        dialog = self.dialog
        initial = self._initial
        if initial:
            self._initial = False
            self._answered_tag = response.to.tag
            # From another fork than the dialog it is of no further use (DLG-04).
            if dialog is None or dialog.remote_tag == self._answered_tag:
                self._shorten(lifetime)
        else:
            self._deadline = self._ua.clock.seconds() + lifetime
            self._backoff.reset()
            if dialog is not None and len(response.contacts) == 1:
                dialog.remote_target = response.contacts[0].uri  # DLG-08, DLG-12
        if self._quiet and not initial:
            self._conditions.proved()
        self._quiet = response.status == 204 and not initial
        if self._quiet:  # no NOTIFY will come (RFC 5839 section 5.2, SNE-15)
            self._notified = True
            self._ua.wheel.cancel(self._timer_n)
            if not asked:
                self._finish()
                self._subscriber.terminated(self, "timeout", None)
                return
        elif self._late and not self._notified:
            self._ua.wheel.after(self._ua.layer.values.transaction, self._timer_n)
        if self._telling:
            self._changing = self._telling = False
            self._update = b""
            self._subscriber.changed(None)
        if dialog is not None:
            self._settled()

    def _refuse_change(self, response: Response) -> None:
        """Other terms are refused: the subscription goes on as it was (SBR-05, FLT-21)."""
        self._ua.wheel.cancel(self._timer_n)
        self._changing = self._telling = False
        self._update = b""
        self._subscriber.changed(response)
        self._settled()

    def _settled(self) -> None:
        """There is a dialog and no SUBSCRIBE under way: go on with what is next."""
        self._proceed()
        if self._request is None and not self._ending and self._deadline is not None:
            lifetime = max(0.0, self._deadline - self._ua.clock.seconds())
            self._ua.wheel.after(refresh_delay(lifetime, self._ua.tokens), self._refresh_alarm)

    def _shorten(self, lifetime: int | None) -> bool:
        """Take over a lifetime unless it is longer than the known one (SBR-08).

        :param lifetime: seconds from now; None when the notifier did not tell.
        :returns: whether it is so much shorter that the refresh has to move.
        """
        known = self._deadline
        if lifetime is None:
            return False
        deadline = self._ua.clock.seconds() + lifetime
        self._deadline = deadline if known is None else min(known, deadline)
        return known is not None and deadline < known - _SHORTER

    def _keep(self, asked: float | None) -> None:
        """A refresh has failed without harm to the subscription: try again (SBR-05)."""
        self._ua.wheel.cancel(self._timer_n)
        left = (self._deadline or 0.0) - self._ua.clock.seconds()
        delay = max(0.0, min(left, self._backoff.next(asked)))
        self._ua.wheel.after(delay, self._refresh_alarm)

    def _due(self) -> None:
        """Time to refresh; or, after failed refreshes, the end."""
        if self._deadline is not None and self._ua.clock.seconds() >= self._deadline:
            self._finish()
            self._subscriber.lost(self, "expired")
        else:
            self._subscribe(self._expires)

    def _timer_n_fired(self) -> None:
        """Timer N: no NOTIFY came in 64*T1 after the SUBSCRIBE (SBR-02)."""
        if self._request is not None:
            self._late = True  # its own timers decide; an answer starts Timer N again
            return
        self._finish()
        if self._conditions.sent:
            self._conditions.failed()
        if self.dialog is None:
            self._subscriber.refused(self, None)
        elif self._ending:
            self._subscriber.terminated(self, "timeout", None)
        else:
            self._subscriber.lost(self, "silent")

    # -- NOTIFY -------------------------------------------------------------------------

    def serve(self, served: ServerRequest) -> None:
        """Serve a NOTIFY that matches the SUBSCRIBE.

        :raises SipError: 481 for one of another fork, 500 out of order, 400 without
            Subscription-State or a single Contact, 415 for a body we cannot read.
        :raises ParseError: answered 400.
        """
        request = served.request
        value = request.first("subscription-state")
        if value is None:
            raise SipError(400, "Bad Request: Subscription-State missing")
        state, params = parse_subscription_state(value)
        made = self._match(served)
        self._notified = True
        self._ua.wheel.cancel(self._timer_n)
        media = request.content_type.type if request.content_type is not None else ""
        terminated = state == "terminated"
        if terminated:
            self._finish()
        refusal = unreadable(request, tuple(self._accepted_types))
        if refusal is None:
            told = [] if terminated else self._subscriber.answering(request)
            served.respond(200, headers=told)
            if not decode(request):
                self._subscriber.garbled()
            self._subscriber.notified(self, request, state, media, read_rates(params))
        else:
            served.refuse(refusal)
        if terminated:
            reason = (params.get("reason") or "").lower()
            wait = parse_delta(params.get("retry-after") or "")
            self._subscriber.terminated(self, reason, wait)
        elif self._over:
            return  # its owner has given it up meanwhile
        elif self.terms.expires == 0:
            # A fetch is over with its one NOTIFY, whatever that calls the state.
            self._finish()
            self._subscriber.terminated(self, "timeout", None)
        elif (self._shorten(parse_delta(params.get("expires") or "")) or made) and (
            self._request is None
        ):
            self._settled()

    def _match(self, served: ServerRequest) -> bool:
        """Check the NOTIFY against the dialog (DLG-03, DLG-04).

        :returns: whether it has made the dialog.
        """
        if self.dialog is not None:
            advance(self.dialog, served.request)
            return False
        self.dialog = dialog = begun(served, self.local_tag, self._contact)
        if self._deadline is None or dialog.remote_tag != self._answered_tag:
            # No 2xx yet, or one of another fork: the NOTIFY alone tells the lifetime.
            self._deadline = self._ua.clock.seconds() + self._expires
        return True

    def _finish(self) -> None:
        self._over = True
        self._ua.wheel.cancel(self._refresh_alarm)
        self._ua.wheel.cancel(self._timer_n)
