"""Subscriptions to members over SIP, in the watcher's name (PRS-4, RLS-11, RLS-19, RLS-20)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from presence.filtering import MEDIA_TYPE as FILTERS
from presence.filters.filterset import changes_between
from presence.filters.write import write_filters
from presence.partial.documents import CONTENT_TYPE as PIDF_DIFF
from presence.partial.state import PartialState
from presence.pidf.offline import empty_document
from presence.rls.model import Instance
from presence.rls.ownfilter import OwnFilter
from presence.rls.rlmi import MEDIA_TYPE, read_related
from presence.watching.resync import Resync
from pysip.event.changes import ChangeRefusedError
from pysip.event.interfaces import ISubscriberDelegate
from pysip.event.subscriber import Subscriber
from pysip.event.terms import SubscriptionTerms
from pysip.mime import parse_multipart

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from presence.filters.filterset import FilterSet
    from presence.rls.backend import Watching
    from presence.rls.model import Member
    from pysip.event.subscriber import NotifyRouter
    from pysip.interfaces import Identity
    from pysip.message import Request, Response

PIDF: Final = "application/pidf+xml"
RELATED: Final = "multipart/related"
WHOLE: Final = (PIDF, MEDIA_TYPE, RELATED)
"""What is accepted of other servers (RLS-20)."""
ACCEPT: Final = (PIDF_DIFF, *WHOLE)
"""The same with changes, which are whole again for the watcher; not where objects go with them."""
_REASONS: Final = {403: "rejected", 404: "noresource", 410: "noresource", 604: "noresource"}
_LOST: Final = frozenset({"gone", "unreachable", "expired", "silent"})
"""What a subscriber calls the end of a subscription of which its notifier has said nothing."""
_NO_FILTERS: Final = frozenset({415, 488})
"""Refusals of a SUBSCRIBE with filters by who does not take them, or not these."""
_ANONYMOUS: Final = '"Anonymous" <sip:anonymous@anonymous.invalid>'


def failure_reason(status: int, *, again: bool) -> str:
    """The reason of an instance that could not be subscribed to (RLS-11).

    :param status: of the refusal, 0 for no answer.
    :param again: whether it is tried again.
    """
    return _REASONS.get(status, "probation" if again else "giveup")


def _readable(media: str, content_type: str, body: bytes) -> bool:
    """Whether a multipart can be read in the one it is put into; and a list is one (RLS-15).

    One about a presentity and its objects is none (CIN-08).

    :param media: type alone, of ``content_type``.
    """
    try:
        if media.startswith("multipart/"):
            parts = parse_multipart(content_type, body, within=1)
            if media == RELATED and parts[0].content_type.type != PIDF:
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
        self,
        member: Member,
        watching: Watching,
        told: Callable[[Instance], None],
        filters: FilterSet,
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
            accept=(*(WHOLE if watching.objects else ACCEPT), *watching.accepted),
            expires=min(watching.expires, self.settings.expires),
            supported=("eventlist",),
            route=self._route,
            headers=tuple(headers),
            content_type=FILTERS if filters else "",
            body=write_filters(filters.filters) if filters else b"",
            retry=self.settings.retry,
        )
        self.count += 1
        return SipBackEnd(self, member.key, terms, told, filters)

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
        self,
        owner: SipBackEnds,
        member: str,
        terms: SubscriptionTerms,
        told: Callable[[Instance], None],
        filters: FilterSet,
    ) -> None:
        self._owner = owner
        self._tokens = owner.router.ua.tokens
        self._told = told
        self._terms = terms
        self._stopped = False
        self._id = self._tokens.tag()
        self._member = member
        self._filters = filters
        self._own: OwnFilter | None = None
        self._raw = b""
        self._type = PIDF
        self._body = b""
        self._partial = PartialState()
        self._resync = Resync(partial=True)
        self._subscriber = Subscriber(owner.router, terms, self)
        self._subscriber.subscribe()

    def refresh(self, expires: int) -> None:
        """It is refreshed by itself (RLS-12), but for what only tells changes.

        A list of another server counts its own versions: who has missed one of them, and asks
        us, gets it whole when that server is asked (RLS-15, RLS-26).  So does who waits for
        something, and asks what is (FLT-18).
        """
        if self._type.startswith(RELATED) or any(f.triggers for f in self._filters.filters):
            self._subscriber.refresh()

    def filter(self, filters: FilterSet) -> None:
        """Subscribe with these filters from now on, if they are others (FLT-29)."""
        update = changes_between(self._filters, filters)
        if not update or self._stopped or not self._terms.expires:
            return
        self._filters = filters
        if self._own is not None:
            self._filter_here()
            if self._raw:
                self._tell_active(self._raw, asked=True)
            return
        whole = write_filters(filters.filters) if filters else b""
        changing = self._subscriber.change(body=(FILTERS, whole), update=update)
        changing.addErrback(self._unchanged)

    def _filter_here(self) -> None:
        """The server of the member does not take filters: apply them here (FLT-28)."""
        self._own = OwnFilter(self._member, self._filters)

    def _unchanged(self, failure: Failure) -> None:
        """Another server does not take what has changed: it goes on as before."""
        failure.trap(ChangeRefusedError)
        self._log.info("the server of a member does not take other terms")

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
        if body and not self._take(request, content_type, body):
            return
        if state == "active" or fetched:
            self._tell_active(self._body or empty_document(self._terms.uri))
        else:
            self._body = self._raw = b""
            self._tell(Instance(self._id, "pending"))

    def _tell_active(self, body: bytes, *, asked: bool = False) -> None:
        """The member's state is so now."""
        self._raw = body
        if self._own is not None and self._type.startswith(PIDF):
            left = self._own.left(body, asked=asked)
            if left is None:
                return
            body = left
        self._tell(Instance(self._id, "active", "", self._type, body))

    def _take(self, request: Request, content_type: str, body: bytes) -> bool:
        """Take a body in; false when it changes nothing."""
        kind = request.first("content-type") or content_type
        if content_type == PIDF_DIFF:
            outcome = self._partial.take(body)
            if outcome not in ("replaced", "applied") or self._partial.document is None:
                if outcome != "discarded":
                    self._ask_again()
                return False
            self._resync.taken(applied=outcome == "applied")
            self._type, self._body = PIDF, self._partial.document
            return True
        if not _readable(content_type, kind, body):
            self._log.info("a member at another server has a body that nobody can read")
            return False
        if content_type == PIDF:
            self._partial.take_whole(body)
        self._type, self._body = kind, body
        return True

    def _ask_again(self) -> None:
        """Changes cannot be followed: ask for everything, in the end for nothing less (PNO-11)."""
        remedy = self._resync.missing()
        if remedy == "whole":
            accept = tuple(kind for kind in self._terms.accept if kind != PIDF_DIFF)
            whole = self._subscriber.change(accept=accept)
            whole.addErrback(self._unchanged)
        elif remedy:
            self._subscriber.refresh()

    def subscription_failed(self, response: Response | None, retry_after: float | None) -> None:
        """SUBSCRIBE was refused or not answered (RLS-11)."""
        status = 0 if response is None else response.status
        if status in _NO_FILTERS and self._filters and self._own is None and not self._stopped:
            self._filter_here()
            self._terms = attrs.evolve(self._terms, content_type="", body=b"")
            self._subscriber = Subscriber(self._owner.router, self._terms, self)
            self._subscriber.subscribe()
            return
        self._end(failure_reason(status, again=retry_after is not None))

    def subscription_ended(self, reason: str, retry_after: float | None) -> None:
        """The notifier has ended it, or it is lost (RLS-11)."""
        if self._terms.expires or not self._body:
            self._end("probation" if reason in _LOST or not reason else reason)

    def _end(self, reason: str) -> None:
        self._tell(Instance(self._id, "terminated", reason))
        self._id = self._tokens.tag()  # of the next attempt (RLS-11)
        self._type, self._body, self._raw = PIDF, b"", b""
        self._partial = PartialState()
        self._resync.begin_anew()

    def _tell(self, instance: Instance) -> None:
        if not self._stopped:
            self._told(instance)
