"""Client registrations: one contact kept bound to an address of record (RFC 3261 10.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from pysip.correlate import call_hash
from pysip.errors import ParseError, RequestTimeout, TransportError
from pysip.header import parse_delta, parse_name_addr
from pysip.message import Request
from pysip.refresh import PASSING, Backoff, min_expires, refresh_delay
from pysip.timers import Alarm
from pysip.uac import retry_after
from pysip.uri import equivalent, parse_uri

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from pysip.auth.client import ClientCredentials
    from pysip.interfaces import IRegistrationDelegate
    from pysip.message import Response
    from pysip.ua import UserAgent


@attrs.frozen(slots=True, kw_only=True)
class RegistrationTerms:
    """What is registered, and where.

    :ivar registrar: Request-URI: ``sip:example.com``, without user part (RFC 3261 10.2).
    :ivar aor: the address of record, as a bare URI.
    :ivar contact: gives our Contact value, with angle brackets, for the next REGISTER.
    :ivar expires: wanted lifetime in seconds.
    :ivar route: preloaded Route values.
    :ivar headers: further header fields of each REGISTER.
    :ivar credentials: to answer challenges with.
    """

    registrar: str
    aor: str
    contact: Callable[[], str]
    expires: int = 3600
    route: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    credentials: ClientCredentials | None = None


class Registration:
    """Keeps a contact registered until :meth:`stop`.

    All its REGISTER requests have one Call-ID and rising CSeq numbers, and there is one
    under way at a time (RFC 3261 10.2).
    """

    _log = Logger()

    def __init__(
        self, ua: UserAgent, terms: RegistrationTerms, delegate: IRegistrationDelegate
    ) -> None:
        self.terms = terms
        self.delegate = delegate
        self._ua = ua
        self._call_id = ua.tokens.call_id()
        self._cseq = 0
        self._contact = ""
        self._expires = terms.expires
        self._request: Request | None = None
        self._deadline = 0.0
        self._backoff = Backoff(ua.tokens)
        self._alarm = Alarm(self.register)
        self._again = False
        self._stops: list[Deferred[None]] = []

    def register(self) -> None:
        """Register or refresh now; also after our contact has changed."""
        if self._stops:
            return
        if self._request is not None:
            self._again = True
            return
        self._send(self._expires)

    def stop(self) -> Deferred[None]:
        """Remove the binding; fires when that was answered or has failed, never fails."""
        self._ua.wheel.cancel(self._alarm)
        self._again = False
        if self._request is None and self._ua.clock.seconds() >= self._deadline:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._stops.append(done)
        if self._request is None:
            self._send(0)
        return done

    def _send(self, expires: int) -> None:
        terms = self.terms
        self._ua.wheel.cancel(self._alarm)
        self._cseq += 1
        if expires:
            self._contact = terms.contact()
        request = Request("REGISTER", terms.registrar)
        request.set("From", f"<{terms.aor}>;tag={self._ua.tokens.tag()}")
        request.set("To", f"<{terms.aor}>")
        request.set("Call-ID", self._call_id)
        request.set("CSeq", f"{self._cseq} REGISTER")
        request.set("Contact", self._contact)
        request.set("Expires", str(expires))
        for name, value in terms.headers:
            request.add(name, value)
        self._request = request
        sending = self._ua.request(request, route=terms.route, credentials=terms.credentials)
        sending.addCallbacks(self._answered, self._unanswered).addErrback(self._bug)

    def _bug(self, failure: Failure) -> None:
        self._log.failure(
            "handling the answer to a REGISTER failed (call {call})",
            failure,
            call=call_hash(self._call_id),
        )

    def _answered(self, response: Response) -> None:
        request = self._settle()
        if request is None:
            return
        removal = request.expires == 0
        least = min_expires(response) if response.status == 423 else None
        if response.status < 300 and not removal:
            lifetime = self._granted(response, request.expires or 0)
            self._deadline = self._ua.clock.seconds() + lifetime
            self._backoff.reset()
            delay = refresh_delay(lifetime, self._ua.tokens) if lifetime else self._backoff.next()
            self._go_on(delay)
            self.delegate.registered(lifetime)
        elif removal:
            self._stopped()
            if response.status >= 300:
                self.delegate.registration_failed(response, None)
        elif least is not None and least > self._expires and not self._stops:
            self._expires = least  # UAC-07
            self._send(least)
        else:
            asked = retry_after(response)
            again = asked is not None or response.status in PASSING
            self._failed(response, self._backoff.next(asked) if again else None)

    def _unanswered(self, failure: Failure) -> None:
        failure.trap(RequestTimeout, TransportError)
        request = self._settle()
        if request is not None and request.expires == 0:
            self._stopped()
            self.delegate.registration_failed(None, None)
        else:
            self._failed(None, self._backoff.next())

    def _settle(self) -> Request | None:
        """No REGISTER is under way any more; challenges may have raised its CSeq."""
        request, self._request = self._request, None
        if request is not None:
            self._cseq = max(self._cseq, request.cseq[0])
        return request

    def _failed(self, response: Response | None, delay: float | None) -> None:
        self._go_on(delay)
        self.delegate.registration_failed(response, delay)

    def _go_on(self, delay: float | None) -> None:
        if self._stops:
            if self._ua.clock.seconds() < self._deadline:
                self._send(0)
            else:
                self._stopped()
        elif self._again:
            self._again = False
            self._send(self._expires)
        elif delay is not None:
            self._ua.wheel.after(delay, self._alarm)

    def _stopped(self) -> None:
        self._deadline = 0.0
        stops, self._stops = self._stops, []
        for done in stops:
            done.callback(None)

    def _granted(self, response: Response, asked: int) -> int:
        """Lifetime of our binding: ``expires`` of its Contact, Expires, or as asked."""
        granted = response.expires
        try:
            ours = parse_uri(parse_name_addr(self._contact).uri)
            for contact in response.contacts:
                if equivalent(parse_uri(contact.uri), ours):
                    seconds = parse_delta(contact.params.get("expires") or "")
                    granted = granted if seconds is None else seconds
        except ParseError:
            self._log.debug("the registrar lists a contact that cannot be read")
        return asked if granted is None else min(asked, granted)
