"""Client publications: the event publication agent of RFC 3903 (events.md PUA).

A :class:`Publication` is one chain of entity-tags; a :class:`Publisher` sees to it that
only one PUBLISH to a Request-URI is under way (PUA-02).
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from pysip.correlate import call_hash
from pysip.errors import ParseError, RequestTimeout, TransportError
from pysip.event.publishable import Document, PublicationTerms
from pysip.header import accepts, parse_accept
from pysip.message import Request
from pysip.refresh import PASSING, Backoff, min_expires, refresh_delay, uniform
from pysip.timers import Alarm
from pysip.uac import retry_after

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from pysip.event.interfaces import IPublisherDelegate
    from pysip.message import Response
    from pysip.ua import UserAgent

__all__ = ["Document", "Publication", "PublicationTerms", "Publisher"]

_RESTART = 1.0
"""Most seconds before a publication is made anew after a 412: when a server has lost its
state all its publishers come back, and not all at the same moment."""


_REFUSED = 3
"""Changes refused in a row after which only whole states are told."""


_OTHER_FORM = (413, 415, 513)
"""Answers to how a state is told, not to what it says."""


class _Form(Enum):
    """How a state is told."""

    PLAIN = auto()
    WHOLE = auto()
    """Whole, in the media type of changes."""
    CHANGE = auto()


class Publisher:
    """Sends the PUBLISH requests of a user agent, one per Request-URI at a time (PUA-02)."""

    def __init__(self, ua: UserAgent) -> None:
        self.ua = ua
        self._lanes: dict[str, deque[Publication]] = {}  # the first one is sending

    def enter(self, publication: Publication) -> None:
        """Let ``publication`` send when those before it are done."""
        lane = self._lanes.setdefault(publication.terms.uri, deque())
        if publication in lane:
            return
        lane.append(publication)
        if len(lane) == 1:
            publication.send()

    def leave(self, publication: Publication) -> None:
        """``publication`` has its answer, or has nothing to send after all."""
        uri = publication.terms.uri
        lane = self._lanes[uri]
        lane.popleft()
        if lane:
            lane[0].send()
        else:
            del self._lanes[uri]


class Publication:
    """One publication: made, modified, refreshed and removed (RFC 3903 section 4).

    :param publisher: of the user agent to publish with.
    :param terms: what is published.
    :param delegate: who is told.

    :ivar etag: the current entity-tag, "" when nothing is published (PUA-03).
    """

    _log = Logger()

    def __init__(
        self, publisher: Publisher, terms: PublicationTerms, delegate: IPublisherDelegate
    ) -> None:
        self.publisher = publisher
        self.terms = terms
        self.delegate = delegate
        self.etag = ""
        self._ua = publisher.ua
        self._full: Document | None = None
        self._dirty = False  # what the server has is not what is wanted
        self._known: Document | None = None  # the state that the entity-tag is of
        self._plain = False  # the server knows nothing of changes
        self._refused = 0  # changes that were refused, one after the other
        self._expires = terms.expires
        self._deadline = 0.0
        self._not_before = 0.0
        self._sent: Document | None = None  # the state in the PUBLISH under way
        self._form = _Form.PLAIN  # how it is told there
        self._told: Document | None = None  # what is told there
        self._request: Request | None = None  # that PUBLISH
        self._backoff = Backoff(self._ua.tokens)
        self._alarm = Alarm(self._enter)
        self._removals: list[Deferred[None]] = []

    # -- for the owner ------------------------------------------------------------------

    @property
    def known(self) -> Document | None:
        """The state that the server has acknowledged last; None while that is not certain."""
        return self._known

    def publish(self, full: Document) -> None:
        """Publish a new state; states not sent yet are replaced by it.

        :param full: the full state; its tuple ids stay the same for the life of this
            publication (PUA-04).  When only changes are sent, they are those since the state
            that the server has acknowledged (PPU-07).
        """
        self._full = full
        self._dirty = True
        if self._request is None and not self._removals:
            self._enter_at(self._not_before)

    def remove(self) -> Deferred[None]:
        """Remove the publication (SRC-05); fires when that was answered or has failed.

        Never fails; what could not be removed expires.
        """
        self._ua.wheel.cancel(self._alarm)
        self._full = None
        self._dirty = False
        if not self.etag and self._request is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._removals.append(done)
        self._enter()
        return done

    # -- sending ------------------------------------------------------------------------

    def _enter(self) -> None:
        self.publisher.enter(self)

    def _enter_at(self, time: float) -> None:
        """Send at ``time``, now if it has passed."""
        delay = time - self._ua.clock.seconds()
        if delay > 0:
            self._ua.wheel.after(delay, self._alarm)
        else:
            self._ua.wheel.cancel(self._alarm)
            self._enter()

    def send(self) -> None:
        """Send what is needed now; called by the publisher."""
        if self.etag and self._ua.clock.seconds() >= self._deadline:
            self.etag = ""  # it has expired meanwhile
        state = None
        if not self._removals and (self._dirty or not self.etag):
            state = self._full
        if state is None and not self.etag:
            self.publisher.leave(self)
            self._removed()
            return
        tokens = self._ua.tokens
        self._send(state, tokens.call_id(), tokens.tag(), 1)

    def _encoded(self, state: Document) -> Document:
        """A state as it is told now: whole, or by what has changed if that is less (PPU-07).

        What stands beside a state stays there when only the state changes; when that itself
        changes, all is told whole.
        """
        partial = self.terms.partial
        self._form = _Form.PLAIN
        if partial is None or self._plain:
            return state
        known = self._known if self.etag and self._refused < _REFUSED else None
        if known is not None and known.parts == state.parts:
            change = partial.change(known, state)
            if change is not None:
                self._form = _Form.CHANGE
                return change
        self._form = _Form.WHOLE
        return attrs.evolve(partial.whole(state), parts=state.parts)

    def _send(self, state: Document | None, call_id: str, tag: str, cseq: int) -> None:
        terms = self.terms
        request = Request("PUBLISH", terms.uri)
        request.set("From", f"{terms.local_uri};tag={tag}")
        request.set("To", f"<{terms.uri}>")
        request.set("Call-ID", call_id)
        request.set("CSeq", f"{cseq} PUBLISH")
        request.set("Event", terms.package)
        request.set("Expires", str(0 if self._removals else self._expires))
        if self.etag:
            request.set("SIP-If-Match", self.etag)
        for name, value in terms.headers:
            request.add(name, value)
        if state is not None:
            self._told = self._encoded(state)
            content_type, request.body = self._told.written(self._ua.tokens.random(24))
            request.set("Content-Type", content_type)
            self._dirty = False  # until it changes again or this fails
        self._sent = state
        self._request = request
        self._not_before = self._ua.clock.seconds() + terms.interval
        sending = self._ua.request(request, route=terms.route, credentials=terms.credentials)
        sending.addCallbacks(self._answered, self._unanswered).addErrback(self._bug, call_id)

    def _bug(self, failure: Failure, call_id: str) -> None:
        self._log.failure(
            "handling the answer to a PUBLISH failed (call {call})",
            failure,
            call=call_hash(call_id),
        )

    # -- answers ------------------------------------------------------------------------

    def _answered(self, response: Response) -> None:
        status = response.status
        request, sent = self._request, self._sent
        if request is None:
            return
        removal = request.expires == 0
        if status < 300 and not removal:
            self._published(request, response)
        elif status < 300 or (status == 412 and removal):
            self._settled()
        elif status == 412 and self.etag:
            # The server knows the entity-tag no more: publish the full state anew, without
            # regard to the interval (PUA-01, SRC-02).
            self.etag = ""
            self._dirty = self._full is not None
            self._not_before = self._ua.clock.seconds() + _RESTART * uniform(self._ua.tokens)
            self._settled()
        elif not self._removals and self._adapt(response):
            # Only another try of the same operation: same Call-ID, next CSeq (UAC-02).
            number = request.cseq[0] + 1
            state = sent if status == 423 else self._full
            self._send(state, request.call_id, request.from_.tag, number)
        else:
            self._failed(response)

    def _adapt(self, response: Response) -> bool:
        """Make the best of a 423 or 415 (PUA-01), or of changes that fail (PPU-03).

        :returns: False when nothing can be made.
        """
        if self._other_form(response) or self._changes_failed(response):
            return True
        if response.status == 423:
            least = min_expires(response)
            if least is not None and least > self._expires:
                self._expires = least
                return True
        return False

    def _other_form(self, response: Response) -> bool:
        """Whether the state can be told in another form than the one that was refused."""
        sent, told = self._sent, self._told
        if sent is None or told is None or response.status not in _OTHER_FORM:
            return False
        changes = response.status == 415 and self._form is not _Form.PLAIN
        if changes and not (sent.parts and _lists(response, told.content_type)):
            self._plain = True
            return True
        other = self.terms.instead(sent, response) if self.terms.instead is not None else None
        if other is not None:
            self._full = other
        elif changes:
            self._plain = True
        return other is not None or changes

    def _changes_failed(self, response: Response) -> bool:
        """Whether the server could not make use of changes; then it is told the whole next."""
        if self._sent is None or self._form is not _Form.CHANGE:
            return False
        if response.status not in (400, 500):
            return False
        self._known = None
        self._refused += 1
        return response.status == 400

    def _published(self, request: Request, response: Response) -> None:
        asked = request.expires or 0
        granted = response.expires
        lifetime = asked if granted is None else min(asked, granted)
        # Without an entity-tag there is nothing to refresh: the state is published anew.
        self.etag = response.first("sip-etag") or ""
        if self._sent is not None:
            self._known = self._sent
            if self._form is _Form.CHANGE:
                self._refused = 0
        self._deadline = self._ua.clock.seconds() + lifetime
        if lifetime:
            self._backoff.reset()
            delay = refresh_delay(lifetime, self._ua.tokens)
        else:
            delay = self._backoff.next()
        self._settled(delay)
        self.delegate.published(lifetime)

    def _unanswered(self, failure: Failure) -> None:
        failure.trap(RequestTimeout, TransportError)
        self._failed(None)

    def _failed(self, response: Response | None) -> None:
        """Try again when that may help: after a time-out with the old tag (PUA-01)."""
        request, sent = self._request, self._sent
        removal = request is not None and request.expires == 0
        asked = retry_after(response) if response is not None else None
        delay = None
        if removal:
            self._settled()
        elif response is None or asked is not None or response.status in PASSING:
            delay = self._backoff.next(asked)
            self._not_before = max(self._not_before, self._ua.clock.seconds() + delay)
            self._dirty = self._full is not None and (self._dirty or sent is not None)
            self._settled(delay)
        elif sent is not None and self.etag:
            # The change was refused; the state before it stands and is kept up.
            left = self._deadline - self._ua.clock.seconds()
            self._settled(refresh_delay(max(0.0, left), self._ua.tokens))
        else:
            self._settled()
        self.delegate.publication_failed(response, delay)

    def _settled(self, delay: float | None = None) -> None:
        """The PUBLISH under way has its outcome: go on with what is next.

        :param delay: seconds until this publication sends again by itself; None for never.
        """
        request, self._request, self._sent = self._request, None, None
        self.publisher.leave(self)
        if self._removals:
            if request is not None and request.expires == 0:
                self._removed()
            else:
                self._enter()
        elif self._dirty:
            self._enter_at(self._not_before)
        elif delay is not None:
            self._ua.wheel.after(delay, self._alarm)

    def _removed(self) -> None:
        self.etag = ""
        removals, self._removals = self._removals, []
        if self._dirty:
            self._enter_at(self._not_before)  # published again meanwhile
        for done in removals:
            done.callback(None)


def _lists(response: Response, content_type: str) -> bool:
    """Whether an answer says that it is not this media type that is not taken."""
    try:
        return bool(accepts(parse_accept(response.values("accept")), content_type))
    except ParseError:
        return False
