"""Subscriptions to members over SIP, in the watcher's name (PRS-4, RLS-11, RLS-19, RLS-20)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from presence.pidf.offline import empty_document
from presence.rls.model import Instance
from presence.rls.rlmi import MEDIA_TYPE, read_related
from pysip.event.interfaces import ISubscriberDelegate
from pysip.event.subscriber import Subscriber
from pysip.event.terms import SubscriptionTerms
from pysip.mime import parse_multipart

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.rls.backend import Watching
    from presence.rls.model import Member
    from pysip.event.subscriber import NotifyRouter
    from pysip.interfaces import Identity
    from pysip.message import Request, Response

PIDF: Final = "application/pidf+xml"
RELATED: Final = "multipart/related"
ACCEPT: Final = (PIDF, MEDIA_TYPE, RELATED)
_REASONS: Final = {403: "rejected", 404: "noresource", 410: "noresource", 604: "noresource"}
_LOST: Final = frozenset({"gone", "unreachable", "expired", "silent"})
"""What a subscriber calls the end of a subscription of which its notifier has said nothing."""
_ANONYMOUS: Final = '"Anonymous" <sip:anonymous@anonymous.invalid>'


def failure_reason(status: int, *, again: bool) -> str:
    """The reason of an instance that could not be subscribed to (RLS-11).

    :param status: of the refusal, 0 for no answer.
    :param again: whether it is tried again.
    """
    return _REASONS.get(status, "probation" if again else "giveup")


def _readable(media: str, content_type: str, body: bytes) -> bool:
    """Whether a multipart can be read in the one it is put into; and a list is one (RLS-15).

    :param media: type alone, of ``content_type``.
    """
    try:
        if media.startswith("multipart/"):
            parse_multipart(content_type, body, within=1)
        if media == RELATED:
            read_related(content_type, body)
    except ValueError:
        return False
    return True


@attrs.frozen(slots=True, kw_only=True)
class SipSettings:
    """Choices of the operator; times in seconds.

    :ivar expires: greatest lifetime to ask for: after that a lost server is noticed at last.
    :ivar retry: until the first new attempt after a failure, and at most (SBR-09).
    """

    expires: int = 3600
    retry: tuple[float, float] = (5.0, 1800.0)


class SipBackEnds:
    """Subscribes to members over SIP.

    :param router: of the user agent.
    :param contact: gives our Contact value.
    :param route: preloaded Route values: the way into the core (ROU-03).
    :param own: canonical identity of the list server, for watchers without one (RLS-19).

    :ivar count: members that are watched so.
    """

    def __init__(
        self,
        router: NotifyRouter,
        contact: Callable[[], str],
        route: tuple[str, ...],
        own: str,
        settings: SipSettings | None = None,
    ) -> None:
        self.router = router
        self.own = own
        self.settings = settings or SipSettings()
        self.count = 0
        self._contact = contact
        self._route = route

    def subscribe(
        self, member: Member, watching: Watching, told: Callable[[Instance], None]
    ) -> SipBackEnd:
        """Subscribe to a member; see :class:`presence.rls.backend.BackEnds`."""
        watcher = watching.watcher
        headers = [
            ("P-Asserted-Identity", ", ".join(f"<{uri}>" for uri in self._asserted(watcher)))
        ]
        local = f"<{watcher.uri}>" if watcher.uris else f"<{self.own}>"
        if watcher.anonymous:
            headers.append(("Privacy", "id"))
            local = _ANONYMOUS
        headers.append(("Max-Forwards", str(watching.max_forwards)))
        terms = SubscriptionTerms(
            uri=member.uri,
            local_uri=local,
            package="presence",
            contact=self._contact,
            accept=(*ACCEPT, *watching.secured),
            expires=min(watching.expires, self.settings.expires),
            supported=("eventlist",),
            route=self._route,
            headers=tuple(headers),
            retry=self.settings.retry,
        )
        self.count += 1
        return SipBackEnd(self, terms, told)

    def _asserted(self, watcher: Identity) -> tuple[str, ...]:
        """One SIP and one tel URI at most (RFC 3325 section 9.1)."""
        sip = [uri for uri in watcher.uris if not uri.startswith("tel:")][:1]
        tel = [uri for uri in watcher.uris if uri.startswith("tel:")][:1]
        return (*sip, *tel) or (self.own,)


@implementer(ISubscriberDelegate)
class SipBackEnd:
    """One subscription; it is made anew until it is stopped (SBR-07, SBR-09).

    A fetch tells of the state that its one NOTIFY has.  A body that its type does not fit is
    like none: inside the watcher's multipart it would make that unreadable (RLS-15).
    """

    _log = Logger()

    def __init__(
        self, owner: SipBackEnds, terms: SubscriptionTerms, told: Callable[[Instance], None]
    ) -> None:
        self._owner = owner
        self._tokens = owner.router.ua.tokens
        self._told = told
        self._terms = terms
        self._stopped = False
        self._id = self._tokens.tag()
        self._type = PIDF
        self._body = b""
        self._subscriber = Subscriber(owner.router, terms, self)
        self._subscriber.subscribe()

    def refresh(self, expires: int) -> None:
        """It is refreshed by itself (RLS-12), but for what only tells changes.

        A list of another server counts its own versions: who has missed one of them, and asks
        us, gets it whole when that server is asked (RLS-15, RLS-26).
        """
        if self._type.startswith(RELATED):
            self._subscriber.refresh()

    def stop(self) -> None:
        """Tell nothing more, and unsubscribe."""
        if self._stopped:
            return
        self._stopped = True
        self._owner.count -= 1
        self._subscriber.unsubscribe()

    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """A NOTIFY: the member's state, or that it waits for a decision."""
        fetched = not self._terms.expires and bool(body)
        if state == "terminated" and not fetched:
            return  # why is told next
        if body:
            if not _readable(content_type, request.first("content-type") or "", body):
                self._log.info("a member at another server has a body that nobody can read")
                return
            self._type = request.first("content-type") or content_type
            self._body = body
        if state == "active" or fetched:
            known = self._body or empty_document(self._terms.uri)
            self._tell(Instance(self._id, "active", "", self._type, known))
        else:
            self._body = b""
            self._tell(Instance(self._id, "pending"))

    def subscription_failed(self, response: Response | None, retry_after: float | None) -> None:
        """SUBSCRIBE was refused or not answered (RLS-11)."""
        status = 0 if response is None else response.status
        self._end(failure_reason(status, again=retry_after is not None))

    def subscription_ended(self, reason: str, retry_after: float | None) -> None:
        """The notifier has ended it, or it is lost (RLS-11)."""
        if self._terms.expires or not self._body:
            self._end("probation" if reason in _LOST or not reason else reason)

    def _end(self, reason: str) -> None:
        self._tell(Instance(self._id, "terminated", reason))
        self._id = self._tokens.tag()  # of the next attempt (RLS-11)
        self._type, self._body = PIDF, b""

    def _tell(self, instance: Instance) -> None:
        if not self._stopped:
            self._told(instance)
