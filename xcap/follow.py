"""Copies of documents that follow every change, by the ``xcap-diff`` package (RFC 5875).

A :class:`DocumentFollower` subscribes, applies the patches that it is notified of, and fetches
what it cannot patch (XDIFF-09, XEVT-21).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from pysip.event.interfaces import ISubscriberDelegate
from pysip.event.subscriber import NotifyRouter, Subscriber
from pysip.refresh import Backoff
from xcap import changedoc, patch
from xcap.agent import NoAnswer
from xcap.cache import CachedDocument
from xcap.changedoc import ChangeReportError, DocumentChange
from xcap.client import Refused, XcapClient
from xcap.followterms import PLAIN, EventTerms, FollowListener, FollowTerms, State, uri_list

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from pysip.message import Request, Response

_STABLE = 60.0
"""Seconds after which a session that has to be begun anew counts as one that has worked."""


class _Copy:
    """What is known of one document.

    :ivar document: our copy, None without one.
    :ivar reported: the entity-tag that the notifier told last; "" when it is gone, None when
        it has not told since the subscription or its full state began.
    :ivar work: a fetch under way.
    """

    __slots__ = ("document", "reported", "work")

    def __init__(self) -> None:
        self.document: CachedDocument | None = None
        self.reported: str | None = None
        self.work: Deferred[None] | None = None

    @property
    def tag(self) -> str:
        """The entity-tag of the copy, "" without one."""
        return "" if self.document is None else self.document.etag


class _Inconsistent(Exception):
    """What is reported does not fit what was reported before."""


class DocumentFollower:
    """Follows documents from one subscription; keeps copies of them.

    :param router: of the user agent to subscribe with.
    :param client: fetches documents.
    """

    _log = Logger()

    def __init__(
        self, router: NotifyRouter, client: XcapClient, terms: FollowTerms, listener: FollowListener
    ) -> None:
        self._router = router
        self._clock = router.ua.clock
        self._client = client
        self._terms = terms
        self._listener = listener
        self._mode = terms.mode
        self._copies: dict[str, _Copy] = {}
        self._states: dict[str, State] = {}
        self._full = True  # the next report tells everything
        self._link: _Link | None = None
        self._restarts = Backoff(router.ua.tokens)
        self._restarted = 0.0
        self._timer: IDelayedCall | None = None
        self._stopped = False

    @property
    def documents(self) -> Mapping[str, CachedDocument]:
        """The copies there are, by URI relative to the root."""
        return {s: c.document for s, c in self._copies.items() if c.document is not None}

    @property
    def current(self) -> bool:
        """Whether a subscription stands whose reports the copies follow (PSV-10).

        Else changes go unnoticed until a report of the full state has come.
        """
        return self._link is not None and not self._full and not self._stopped

    def start(self) -> None:
        """Subscribe."""
        terms = self._terms
        self._full = True
        self._link = _Link(
            self,
            self._router,
            EventTerms(
                uri=terms.uri,
                local_uri=terms.local_uri,
                package="xcap-diff",
                contact=terms.contact,
                accept=(changedoc.MIME_TYPE,),
                expires=terms.expires,
                route=terms.route,
                headers=terms.headers,
                content_type="application/resource-lists+xml",
                body=uri_list(terms.uris) if terms.uris else b"",
                credentials=terms.credentials,
                mode=lambda: self._mode,
            ),
        )
        self._link.subscriber.subscribe()

    def refresh(self) -> None:
        """Have everything reported again, such as after the way to the server has changed."""
        if self._link is not None:
            self._full = True
            self._link.subscriber.refresh()

    def stop(self) -> Deferred[None]:
        """Unsubscribe and fetch no more; fires when that is over, and never fails."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for copy in self._copies.values():
            if copy.work is not None:
                copy.work.cancel()
        return succeed(None) if self._link is None else self._link.subscriber.unsubscribe()

    # -- from the subscription ------------------------------------------------------------

    def _notified(self, content_type: str, body: bytes) -> None:
        """A NOTIFY, answered 200 already."""
        if not body or self._stopped:
            return
        try:
            report = changedoc.read(body)
            self._take(report.items)
        except ChangeReportError as error:
            self._restart(f"a report that cannot be read ({error})")
        except _Inconsistent:
            self._restart("a report that does not fit the ones before")

    def _failed(self, response: Response | None, retry_after: float | None) -> None:
        self._full = True
        self._listener.failed(response, retry_after)

    def _ended(self, reason: str, retry_after: float | None) -> None:
        self._full = True
        self._listener.ended(reason, retry_after)

    def _restart(self, cause: str) -> None:
        """End the session and begin a new one (XDIFF-09)."""
        link, self._link = self._link, None
        if link is not None:
            link.subscriber.unsubscribe()
        now = self._clock.seconds()
        if now - self._restarted > _STABLE:
            self._restarts.reset()
        delay = self._restarts.next() if self._restarts.failures else 0.0
        self._restarts.failures = max(self._restarts.failures, 1)
        self._restarted = now + delay
        self._listener.remark(f"{cause}; subscribing anew")
        self._timer = self._clock.callLater(delay, self._begin_again)

    def _begin_again(self) -> None:
        self._timer = None
        self.start()

    # -- reports --------------------------------------------------------------------------

    def _take(self, items: Iterable[changedoc.Item]) -> None:
        """Take a report in.

        :raises _Inconsistent: it does not fit.
        """
        items = tuple(items)
        full = self._full or self._tells_all(items)
        self._full = False
        if full:
            # all is stale until reported again (XEVT-21)
            for copy in self._copies.values():
                copy.reported = None
        for item in items:
            if isinstance(item, DocumentChange):
                self._document(item)
            elif self._states.get(item.sel) != item:
                self._states[item.sel] = item
                self._listener.component(item)
        if full:
            self._forget({item.sel for item in items})

    def _tells_all(self, items: tuple[changedoc.Item, ...]) -> bool:
        """Whether a report is one of the full state, as it follows a refresh.

        Such a report says that documents exist that are known to exist; and it may be empty.
        """
        removed: set[str] = set()
        for item in items:
            if not isinstance(item, DocumentChange):
                continue
            if not item.after:
                removed.add(item.sel)
            elif not item.before and item.sel not in removed:
                copy = self._copies.get(item.sel)
                if copy is not None and copy.reported:
                    return True
        return not items

    def _forget(self, reported: set[str]) -> None:
        """What a report of the full state leaves out does not exist."""
        for sel, copy in list(self._copies.items()):
            if sel not in reported:
                self._set(sel, copy, None)
                copy.reported = ""
        for sel, state in list(self._states.items()):
            if sel not in reported and state.exists:
                gone = type(state)(sel, False)
                self._states[sel] = gone
                self._listener.component(gone)

    def _document(self, change: DocumentChange) -> None:
        """Take the report of one document in."""
        copy = self._copies.setdefault(change.sel, _Copy())
        known = copy.reported
        if not change.before and not change.after:
            raise _Inconsistent
        if change.before and known is not None:
            if known == change.after:
                return  # told twice
            if known != change.before:
                raise _Inconsistent
        copy.reported = change.after
        if not change.after:
            self._set(change.sel, copy, None)
        elif copy.tag == change.after:
            return
        elif not change.before or copy.tag != change.before or not self._patched(change, copy):
            self._fetch(change.sel, copy)

    def _patched(self, change: DocumentChange, copy: _Copy) -> bool:
        """Make the new document of the copy; False when that cannot be done."""
        document = copy.document
        if document is None:
            return False
        octets = document.octets
        if change.patch is not None:
            try:
                octets = patch.apply(octets, change.patch)
            except patch.PatchError as error:
                self._simplify(f"a patch does not fit ({error.kind}: {error.phrase})")
                return False
        elif not change.body_not_changed:
            return False
        self._set(change.sel, copy, attrs.evolve(document, octets=octets, etag=change.after))
        return True

    def _simplify(self, cause: str) -> None:
        """Ask for no patches from now on (XEVT-21)."""
        self._listener.remark(f"{cause}; asking for no more patches")
        self._mode = PLAIN
        self.refresh()

    def _set(self, sel: str, copy: _Copy, document: CachedDocument | None) -> None:
        """Have a new copy."""
        before, copy.document = copy.document, document
        if document is not None:
            self._client.learn(sel, document)
        old = None if before is None else before.octets
        if old != (None if document is None else document.octets):
            self._listener.document(sel, document)

    # -- fetching -------------------------------------------------------------------------

    def _fetch(self, sel: str, copy: _Copy) -> None:
        if copy.work is not None or self._stopped:
            return

        def done(_: object) -> None:
            copy.work = None

        copy.work = work = Deferred.fromCoroutine(self._get(sel, copy))
        work.addErrback(self._bug).addBoth(done)

    def _bug(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("fetching a document failed", failure)

    async def _get(self, sel: str, copy: _Copy) -> None:
        """Fetch a document until it is what was reported last."""
        backoff = Backoff(self._router.ua.tokens)
        while True:
            wanted = copy.reported
            try:
                found = await self._client.fetch(sel)
            except (NoAnswer, Refused) as error:
                passing = isinstance(error, NoAnswer) or error.response.status >= 500
                self._listener.remark(f"fetching {sel}: {_text(error)}")
                if not passing:
                    return
                await deferLater(self._clock, backoff.next())
                continue
            if copy.reported != "":  # else it was removed meanwhile
                self._set(sel, copy, found)
            if copy.reported in (copy.tag, wanted):
                return


def _text(error: NoAnswer | Refused) -> str:
    return str(error) if isinstance(error, NoAnswer) else f"HTTP status {error.response.status}"


@implementer(ISubscriberDelegate)
class _Link:
    """One subscription of a follower; what comes from one it has given up is not heard."""

    def __init__(self, follower: DocumentFollower, router: NotifyRouter, terms: EventTerms) -> None:
        self._follower = follower
        self.subscriber = Subscriber(router, terms, self)

    def _current(self) -> bool:
        return self._follower._link is self

    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """A NOTIFY of this subscription."""
        if self._current():
            self._follower._notified(content_type, body)

    def subscription_failed(self, response: Response | None, retry_after: float | None) -> None:
        """SUBSCRIBE was refused or not answered."""
        if self._current():
            self._follower._failed(response, retry_after)

    def subscription_ended(self, reason: str, retry_after: float | None) -> None:
        """The subscription has ended."""
        if self._current():
            self._follower._ended(reason, retry_after)
