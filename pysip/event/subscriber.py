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
from pysip.event.usage import SubscriptionUsage
from pysip.header import accepts, parse_accept
from pysip.refresh import PASSING, Backoff
from pysip.timers import Alarm
from pysip.uac import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysip.auth.client import ClientCredentials
    from pysip.event.interfaces import ISubscriberDelegate
    from pysip.message import Request, Response
    from pysip.ua import ServerRequest, UserAgent

_NEVER_AGAIN = frozenset(("rejected", "noresource", "invariant", "badfilter"))
_AT_ONCE = frozenset(("deactivated", "timeout"))
_STABLE = 32.0
"""A subscription that lived shorter (seconds) counts as one more failure of its attempt."""


@attrs.frozen(slots=True, kw_only=True)
class SubscriptionTerms:
    """What to subscribe to, and how (SBR-01).

    :ivar uri: Request-URI and To, as a bare URI.
    :ivar local_uri: From value without tag: ``<sip:alice@example.com>``.
    :ivar package: event package.
    :ivar contact: gives our Contact value, with angle brackets, for the next SUBSCRIBE.
    :ivar accept: media types for Accept; () for no Accept header.
    :ivar expires: wanted lifetime in seconds; 0 fetches the state once.
    :ivar event_id: ``id`` parameter of Event, or "".
    :ivar supported: option tags for Supported (``eventlist`` for lists, WAT-02).
    :ivar route: preloaded Route values of initial requests (ROU-03).
    :ivar headers: further header fields of each SUBSCRIBE.
    :ivar content_type: media type of ``body``.
    :ivar body: sent with the initial SUBSCRIBE only; a refresh without one keeps it (SUB-16).
    :ivar credentials: to answer challenges with.
    :ivar retry: seconds until the first new attempt after a failure, and at most (SBR-09).
    """

    uri: str
    local_uri: str
    package: str
    contact: Callable[[], str]
    accept: tuple[str, ...] = ()
    expires: int = 3600
    event_id: str = ""
    supported: tuple[str, ...] = ()
    route: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = ""
    body: bytes = b""
    credentials: ClientCredentials | None = None
    retry: tuple[float, float] = (5.0, 1800.0)

    @property
    def event(self) -> str:
        """Value of the Event header."""
        return f"{self.package};id={self.event_id}" if self.event_id else self.package


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
    """

    _log = Logger()

    def __init__(
        self, router: NotifyRouter, terms: SubscriptionTerms, delegate: ISubscriberDelegate
    ) -> None:
        self.router = router
        self.ua = router.ua
        self.terms = terms
        self.delegate = delegate
        self.state = "idle"
        self.backoff = Backoff(self.ua.tokens, *terms.retry)
        self._ranges = parse_accept(terms.accept)
        self._usage: SubscriptionUsage | None = None
        self._again = Alarm(self.subscribe)
        self._since = 0.0
        self._quits: list[Deferred[None]] = []

    @property
    def wanted(self) -> bool:
        """Whether the subscription is to be kept up; False once unsubscribed or fetched."""
        return not self._quits and self.terms.expires > 0

    def accepts(self, media_type: str) -> bool:
        """Whether a NOTIFY may have a body of this type."""
        return not self.terms.accept or accepts(self._ranges, media_type) > 0

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

    def refresh(self) -> None:
        """Refresh now, for example to get the full state again (SBR-06)."""
        if self._usage is not None:
            self._usage.refresh()
        else:
            self.subscribe()

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

    def notified(
        self, usage: SubscriptionUsage, request: Request, state: str, content_type: str
    ) -> None:
        """A NOTIFY was accepted and answered 200."""
        if state != "terminated":
            self.state = state
            if self.ua.clock.seconds() - self._since >= _STABLE:
                self.backoff.reset()
        self.delegate.notified(request, state, content_type, request.body)

    def refused(self, usage: SubscriptionUsage, response: Response | None) -> None:
        """The initial SUBSCRIBE has failed; None for no answer or no NOTIFY (SBR-09)."""
        self._forget(usage)
        delay = None
        if self.wanted:
            asked = retry_after(response) if response is not None else None
            if response is None or response.status in PASSING or asked is not None:
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

    def _quit(self) -> None:
        quits, self._quits = self._quits, []
        for done in quits:
            done.callback(None)
