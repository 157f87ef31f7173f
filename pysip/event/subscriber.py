"""Client subscriptions: the subscriber of RFC 6665 section 4.1 (events.md B).

A :class:`Subscriber` is the wish to be subscribed; it lasts until it is given up.  Each
attempt to fulfil it is a :class:`pysip.event.usage.SubscriptionUsage` with a Call-ID and
tag of its own.  The :class:`NotifyRouter` of a user agent finds the usage that a NOTIFY
belongs to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from pysip.errors import SipError
from pysip.event.changes import Changes, make_change
from pysip.event.conditions import Conditions
from pysip.event.rates import Rates
from pysip.event.usage import SubscriptionUsage
from pysip.event.wishes import check_rates, pausing
from pysip.refresh import PASSING, Backoff
from pysip.timers import Alarm
from pysip.uac import retry_after

if TYPE_CHECKING:
    from pysip.event.interfaces import ISubscriberDelegate
    from pysip.event.terms import SubscriptionTerms
    from pysip.message import Request, Response
    from pysip.ua import ServerRequest, UserAgent

_NEVER_AGAIN = frozenset(("rejected", "noresource", "invariant", "badfilter"))
_AT_ONCE = frozenset(("deactivated", "timeout"))
_STABLE = 32.0
"""A subscription that lived shorter (seconds) counts as one more failure of its attempt."""


class NotifyRouter:
    """Receives the NOTIFYs of a user agent and finds their subscriptions (DLG-03, SBR-03).

    There is one per user agent: it serves the NOTIFY method.
    """

    def __init__(self, ua: UserAgent) -> None:
        self.ua = ua
        self._usages: dict[tuple[str, str], SubscriptionUsage] = {}
        self._packages: set[str] = set()
        ua.add_method("NOTIFY", self.serve)

    def __len__(self) -> int:
        return len(self._usages)

    def add(self, usage: SubscriptionUsage) -> None:
        """Accept NOTIFYs for ``usage`` from now on."""
        self._packages.add(usage.terms.package)
        self._usages[(usage.call_id, usage.local_tag)] = usage

    def discard(self, usage: SubscriptionUsage) -> None:
        """Answer further NOTIFYs for ``usage`` with 481."""
        self._usages.pop((usage.call_id, usage.local_tag), None)

    def serve(self, served: ServerRequest) -> None:
        """Serve a NOTIFY.

        :raises SipError: 489 for a package never subscribed to, 481 for a NOTIFY that
            belongs to no subscription of ours (SBR-06).
        :raises ParseError: answered 400.
        """
        request = served.request
        event = request.event
        if event is None or event.package not in self._packages:
            raise SipError(489, None, (("Allow-Events", ", ".join(sorted(self._packages))),))
        usage = self._usages.get((request.call_id, request.to.tag))
        if usage is None or not usage.concerns(event):
            raise SipError(481, "Subscription Does Not Exist")
        usage.serve(served)


class Subscriber:
    """The wish for one subscription: made, kept up and made anew until it is given up.

    :param router: of the user agent to subscribe with.
    :param terms: what to subscribe to.
    :param delegate: who is told.

    :ivar state: ``idle`` (no attempt under way), ``trying``, or as the notifier says:
        ``active`` or ``pending``.
    :ivar backoff: delays between failed attempts; ``reset`` it and call :meth:`subscribe`
        when there is news that the target can be reached (SBR-09).
    :ivar conditions: the entity-tag of the state at hand (SNE-15).
    :ivar adopted: the rates that the notifier keeps to, as its last NOTIFY tells (RAT-02).
    :ivar suspended: no state is to be notified for now.
    :ivar compressed: compressed bodies are asked for; not after one that could not be read.
    """

    _log = Logger()

    def __init__(
        self, router: NotifyRouter, terms: SubscriptionTerms, delegate: ISubscriberDelegate
    ) -> None:
        self.router = router
        self.ua = router.ua
        self.delegate = delegate
        self.state = "idle"
        self.backoff = Backoff(self.ua.tokens, *terms.retry)
        self.conditions = Conditions(terms.tag)
        self.adopted = Rates()
        self.suspended = False
        self.compressed = terms.compressed
        self._resuming = False
        self._pacing = False  # the next 2xx to a NOTIFY is to tell the rates
        self._garbled = False
        self._changes = Changes(terms)
        self._usage: SubscriptionUsage | None = None
        self._again = Alarm(self.subscribe)
        self._since = 0.0
        self._quits: list[Deferred[None]] = []

    @property
    def terms(self) -> SubscriptionTerms:
        """Those in force; while others are on their way to the notifier, these."""
        return self._changes.terms

    @property
    def wanted(self) -> bool:
        """Whether the subscription is to be kept up; False once unsubscribed or fetched."""
        return not self._quits and self.terms.expires > 0

    # -- for the owner ------------------------------------------------------------------

    def subscribe(self) -> None:
        """Make an attempt now unless there is one; never called again after unsubscribe."""
        if self._usage is not None or self._quits:
            return
        self.ua.wheel.cancel(self._again)
        self.state = "trying"
        self._since = self.ua.clock.seconds()
        self._usage = SubscriptionUsage(self)
        self.router.add(self._usage)
        self._usage.begin()

    def refresh(self, *, full: bool = True) -> None:
        """Refresh now, for example to get the full state again (SBR-06).

        :param full: also the state that seems to be at hand already.
        """
        if full:
            self.conditions.discard()
        if self._usage is not None:
            self._usage.refresh()
        else:
            self.subscribe()

    def change(
        self,
        *,
        accept: tuple[str, ...] | None = None,
        rates: Rates | None = None,
        body: tuple[str, bytes] | None = None,
        update: bytes | None = None,
    ) -> Deferred[None]:
        """Tell the notifier other terms, now and in each subscription that follows.

        :param accept: media types for Accept.
        :param rates: how often to be notified (RAT-01, RAT-03).
        :param body: media type and body of the initial SUBSCRIBEs to come, such as filters
            (FLT-21); a body of b"" for none.
        :param update: body of the refresh that tells, if it is not the whole: what is to be
            added to, taken from or replaced in that of before.
        :returns: fires when it is accepted, or when the next subscription will be so; fails
            with :class:`ChangeRefusedError`, after which all is as before.
        :raises ValueError: the rates contradict each other.
        """
        change = make_change(accept, rates, body, update)
        self._changes.add(change)
        self._next_change()
        return change.done

    def pace(self, rates: Rates) -> None:
        """Tell other rates without a SUBSCRIBE: in the 2xx to the next NOTIFY (RAT-13).

        Where the notifier may not expect them there, they are told as by :meth:`change`.

        :raises ValueError: the rates contradict each other.
        """
        check_rates(rates)
        usage, changes = self._usage, self._changes
        if usage is not None and usage.rated and not self.suspended and changes.current is None:
            changes.terms = attrs.evolve(changes.terms, rates=rates)
            self._pacing = True
        else:
            self.change(rates=rates)

    def suspend(self) -> None:
        """Keep the subscription, and have no state notified until :meth:`resume` (OM2-08).

        By ``Suppress-If-Match: *`` (RFC 5839 section 5.2, SNE-09), or where the notifier does
        not name its states, by a rate that lets nothing pass (RFC 6446 section 5.3, RAT-14).
        """
        if not self.suspended:
            self.suspended = True
            if self._usage is not None:
                self._usage.refresh()

    def resume(self) -> None:
        """Go on; what is at hand still is not notified again (RFC 5839 section 5.5)."""
        if self.suspended:
            self.suspended = False
            self._resuming = True
            if self._usage is not None:
                self._usage.refresh()

    def unsubscribe(self) -> Deferred[None]:
        """End the subscription; fires when the notifier has confirmed or does not answer.

        Ends within Timer N (32 s) at the latest, and never fails.
        """
        self.ua.wheel.cancel(self._again)
        done: Deferred[None] = Deferred()
        if self._usage is None:
            return succeed(None)
        self._quits.append(done)
        self._usage.end()
        return done

    # -- from the usage -----------------------------------------------------------------

    def next_condition(self) -> str:
        """Suppress-If-Match of the SUBSCRIBE that is about to leave, "" for none (SNE-14)."""
        wanted = self.terms.conditional or self._resuming
        self._resuming = False
        return self.conditions.next(suspended=self.suspended, wanted=wanted)

    def next_rates(self, expires: int) -> Rates:
        """Rates of the SUBSCRIBE that is about to leave.

        :param expires: seconds that it asks for.
        """
        self._pacing = False
        if self.suspended and expires and not self.conditions.can_suspend:
            return pausing(expires)
        return self.terms.rates

    def answering(self, request: Request) -> list[tuple[str, str]]:
        """Header fields of the 2xx to a NOTIFY: all rates that are wanted, if others (RAT-13)."""
        event = request.event
        if not self._pacing or event is None:
            return []
        self._pacing = False
        return [("Event", event.package + self.terms.rates.params)]

    def garbled(self) -> None:
        """The body of a NOTIFY is not in its Content-Encoding: its state is lost (SBR-06)."""
        self.compressed = False
        self.conditions.discard()
        if not self._garbled and self._usage is not None:
            self._garbled = True
            self._usage.refresh()

    def notified(
        self,
        usage: SubscriptionUsage,
        request: Request,
        state: str,
        content_type: str,
        adopted: Rates,
    ) -> None:
        """A NOTIFY was accepted and answered 200; its body is decoded."""
        self.conditions.notified(request)
        self.adopted = adopted
        self._garbled = self._garbled and not request.body
        if state != "terminated":
            self.state = state
            if self.ua.clock.seconds() - self._since >= _STABLE:
                self.backoff.reset()
        self.delegate.notified(request, state, content_type, request.body)

    def changed(self, refusal: Response | None) -> None:
        """The notifier has answered the SUBSCRIBE that told a change; None for a success."""
        self._changes.end(refusal)
        self._next_change()

    def refused(self, usage: SubscriptionUsage, response: Response | None) -> None:
        """The initial SUBSCRIBE has failed; None for no answer or no NOTIFY (SBR-09)."""
        doubtful = response is not None and self.conditions.doubtful(response.status)
        if doubtful:
            self.conditions.failed()
        self._forget(usage)
        delay = None
        if self.wanted:
            asked = retry_after(response) if response is not None else None
            if doubtful:
                delay = self._retry(self._soon())  # without the condition
            elif response is None or response.status in PASSING or asked is not None:
                delay = self._retry(self.backoff.next(asked))
        self.delegate.subscription_failed(response, delay)
        self._quit()

    def lost(self, usage: SubscriptionUsage, cause: str) -> None:
        """An established subscription is gone without a word of the notifier (SBR-05).

        A new one is made at once, or later when the old one did not last.
        """
        self._forget(usage)
        self._log.debug("subscription is lost: {cause}", cause=cause)
        delay = self._retry(self._soon()) if self.wanted else None
        self.delegate.subscription_ended(cause, delay)
        self._quit()

    def terminated(self, usage: SubscriptionUsage, reason: str, wait: int | None) -> None:
        """The notifier has ended the subscription (SBR-07).

        :param wait: ``retry-after`` of the Subscription-State in seconds, or None.
        """
        self._forget(usage)
        delay = None
        if self.wanted and reason not in _NEVER_AGAIN:
            if reason in _AT_ONCE or (reason == "giveup" and wait is None):
                delay = self._retry(self._soon())
            else:
                delay = self._retry(self.backoff.next(wait))
        self.delegate.subscription_ended(reason, delay)
        self._quit()

    def _soon(self) -> float:
        """0, or a growing delay for subscriptions that end as soon as they are made."""
        if self.ua.clock.seconds() - self._since >= _STABLE:
            self.backoff.reset()
        if not self.backoff.failures:
            self.backoff.failures = 1
            return 0.0
        return self.backoff.next()

    def _retry(self, delay: float) -> float:
        self.ua.wheel.after(delay, self._again)
        return delay

    def _forget(self, usage: SubscriptionUsage) -> None:
        self.router.discard(usage)
        self._usage = None
        self.state = "idle"
        self._pacing = False

    def _next_change(self) -> None:
        change = self._changes.begin()
        if change is None:
            return
        if change.another_view:
            self.conditions.discard()
        if self._usage is None:
            self.changed(None)  # the next subscription will be so
        else:
            self._usage.change(change.update)

    def _quit(self) -> None:
        self.changed(None)  # a next subscription will be so
        quits, self._quits = self._quits, []
        for done in quits:
            done.callback(None)
