"""Event packages that tell of document changes; here ``xcap-diff`` (RFC 5875).

:class:`DocumentPackage` is all that does not depend on how a subscriber asks and is told; the
``ua-profile`` package in :mod:`xcap.profile` is made of it, too.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import attrs
import msgspec
from twisted.logger import Logger
from zope.interface import implementer

from pysip.errors import ParseError, SipError
from pysip.event.interfaces import IEventPackage
from pysip.event.notification import Notification
from pysip.header import accepts, parse_accept
from pysip.mime import decode_body
from xcap.changedoc import write_within
from xcap.changes import View
from xcap.selection import (
    MODES,
    NO_PATCHING,
    Resolver,
    SelectionError,
    Terms,
    parse_list,
    relative,
)
from xcap.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pysip.auth.domains import Domains
    from pysip.event.interfaces import ISubscription
    from pysip.interfaces import Identity
    from pysip.message import Request
    from xcap.changes import Report
    from xcap.feed import ChangeFeed
    from xcap.interfaces import ISubscribers
    from xcap.records import DocumentKey

DIFF = "application/xcap-diff+xml"
LISTS = "application/resource-lists+xml"
INTERVAL = 5.0
"""Seconds between two notifications of a subscription, at least (RFC 5875 section 4.10)."""

_NOTHING = Notification()
_SERIALS = 16
"""Bits of a digest that tell apart what was told of one position."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Terms).decode


@attrs.frozen(slots=True, kw_only=True)
class NotifierSettings:
    """Choices of the operator.

    :ivar roots: XCAP roots, each ending in ``/``; the first is that of relative URIs.
    :ivar addresses: canonical URIs of the document server itself (XEVT-20).
    :ivar body_limit: octets of a NOTIFY body (XEVT-19).
    :ivar modes: values of ``diff-processing`` that are served; others become ``no-patching``.
    :ivar profile_mode: how ``ua-profile`` tells of changes (UAP-09).
    :ivar profile_params: repeat ``profile-type``, ``auid`` and ``document`` in its NOTIFYs.
    :ivar draft_vendors: values of ``vendor`` of clients that get the syntax of 2005 (UAP-10).
    """

    roots: tuple[str, ...]
    addresses: frozenset[str] = frozenset()
    body_limit: int = 1 << 16
    modes: frozenset[str] = frozenset(MODES)
    profile_mode: str = NO_PATCHING
    profile_params: bool = True
    draft_vendors: frozenset[str] = frozenset()


@implementer(IEventPackage)
class DocumentPackage:
    """What event packages about documents have in common.

    :param feed: of the document store.
    :param subscribers: who the users are.
    :param domains: served domains.
    :param settings: choices of the operator.
    """

    name = event = ""
    default_expires = 3600
    notify_types: tuple[str, ...] = (DIFF,)
    subscribe_types: tuple[str, ...] = ()
    template = False
    incremental = True

    _log = Logger()

    def __init__(
        self,
        feed: ChangeFeed,
        subscribers: ISubscribers,
        domains: Domains,
        settings: NotifierSettings,
    ) -> None:
        self.feed = feed
        self.subscribers = subscribers
        self.settings = settings
        self.resolver = Resolver(feed.usages, subscribers.canonical)
        self._domains = domains
        self._serials = count(1)

    # -- SUBSCRIBE ----------------------------------------------------------------------

    def resolve(self, request: Request) -> str:
        """The document server itself or one of its users (XEVT-20).

        :raises SipError: 404 for an address of no served domain.
        """
        try:
            aor = self._domains.canonical(request.uri)
        except ParseError:
            raise SipError(404) from None
        if aor in self.settings.addresses:
            return aor
        host = aor[4:].rpartition("@")[2]
        if aor[:4] != "sip:" or self._domains.served(host) is None:
            raise SipError(404)
        return aor

    def entity(self, request: Request, resource: str) -> str:
        """The same."""
        return resource

    def authorize(self, resource: str, watcher: Identity) -> str:
        """Everybody with a proven identity; what is seen depends on the documents (XEVT-17).

        A user of a served domain that we do not know is refused (UAP-05).
        """
        server = resource in self.settings.addresses or "@" not in resource
        if not watcher.uris or not (server or self._known(resource)):
            return "rejected"
        return "active"

    def _known(self, uri: str) -> bool:
        try:
            return self.subscribers.known(self.subscribers.canonical(uri))
        except ValueError:
            return False

    def prepare(self, request: Request, watcher: Identity) -> None:
        """Nothing: documents are read when they are told of."""

    def choose_type(self, request: Request) -> str:
        """``application/xcap-diff+xml``, which is meant without Accept, too (XEVT-05).

        :raises SipError: 406.
        """
        accept = request.headers.get("accept")
        if accept is not None and not accepts(parse_accept(accept), DIFF):
            raise SipError(406, None, (("Accept", DIFF),))
        return DIFF

    def subscribe(self, request: Request, subscription: ISubscription, initial: bool) -> None:
        """Read what is subscribed to, and begin to tell it from the start (XEVT-07, XEVT-10).

        :raises SipError: the refusal.
        """
        former = None if initial else self._former(subscription)
        try:
            terms = self._terms(request, subscription, former)
        except SelectionError as error:
            warning = ("Warning", f'399 xcap "{error.text}"')
            raise SipError(error.status, None, (warning,)) from None
        subscription.detail = _encode(terms)
        subscription.data = self._watch(subscription, terms)

    def _terms(self, request: Request, subscription: ISubscription, former: Terms | None) -> Terms:
        """What a SUBSCRIBE asks for.

        :param former: what the one before it did, None for an initial one.
        :raises SelectionError: the refusal.
        """
        raise NotImplementedError

    def _former(self, subscription: ISubscription) -> Terms | None:
        try:
            return _decode(subscription.detail)
        except msgspec.DecodeError:
            return None

    def _watch(self, subscription: ISubscription, terms: Terms) -> Watch:
        requester = self.resolver.requester(subscription.watcher.uris)

        def may(key: DocumentKey) -> bool:
            return self.resolver.may_read(requester, key)

        selections = self.resolver.resolve(terms, requester)
        return Watch(terms, View(selections, terms.mode, may))

    def subscribed(self, subscription: ISubscription) -> None:
        """A subscription was made, recovered or has changed state."""
        if isinstance(subscription.data, Watch):
            self._enter(subscription, subscription.data)
            return
        terms = self._former(subscription)
        if terms is None:
            self._log.error("what subscription {id} is about is damaged", id=subscription.id)
            terms = Terms("")
        watch = subscription.data = self._watch(subscription, terms)
        self.feed.enter(subscription, watch)
        delivered = subscription.delivered
        position = -1 if delivered is None else (delivered >> _SERIALS) - 1
        self.feed.recover(subscription, watch, position)

    def unsubscribed(self, subscription: ISubscription) -> None:
        """A subscription has ended."""
        if isinstance(subscription.data, Watch):
            subscription.data.ended = True
        self.feed.leave(subscription)

    def _enter(self, subscription: ISubscription, watch: Watch) -> None:
        if subscription.lasting and not watch.entered and not watch.ended:
            self.feed.enter(subscription, watch)
        if not watch.ready:
            self.feed.read(subscription, watch)

    # -- NOTIFY -------------------------------------------------------------------------

    def notification(self, subscription: ISubscription) -> Notification | None:
        """What the subscriber does not know yet; None until that was read from the store."""
        watch = subscription.data
        if not isinstance(watch, Watch):
            return _NOTHING
        watch.asked = True
        if not watch.ended:
            self._enter(subscription, watch)
        if not watch.ready:
            if watch.ended:
                return _NOTHING
            watch.owed = True
            return None
        report = watch.sent = watch.view.report(self.feed.parse, self.feed.position)
        if report or report.full or subscription.delivered is None:
            # The position is what counts after a restart (the store's feed goes on behind it);
            # the serial number lets what was told for another reason than a change leave.
            serial = next(self._serials) & ((1 << _SERIALS) - 1)
            digest = (report.position + 1) << _SERIALS | serial
        else:
            digest = subscription.delivered
        if watch.ended and not report:
            return _NOTHING
        return self._notification(subscription, watch, report, digest)

    def _notification(
        self, subscription: ISubscription, watch: Watch, report: Report, digest: int
    ) -> Notification:
        return Notification(DIFF, self._document(watch, report), digest)

    def _document(self, watch: Watch, report: Report) -> bytes:
        """The change document, cut down if it is too large (XEVT-19)."""
        terms = watch.terms
        items = report.items(terms.mode, self.feed.patch)
        return write_within(terms.root, items, self.settings.body_limit, draft=terms.draft)

    def entity_tag(self, subscription: ISubscription) -> None:
        """Unknown: each SUBSCRIBE is told from the start, when that was read (XEVT-10)."""

    def acknowledged(self, subscription: ISubscription) -> None:
        """The last notification has arrived: the next one goes on from there."""
        watch = subscription.data
        if isinstance(watch, Watch) and watch.sent is not None:
            watch.view.acknowledged(watch.sent)
            watch.sent = None
            if not watch.ended:
                self.feed.leave(subscription, but=watch)


class XcapDiffPackage(DocumentPackage):
    """The ``xcap-diff`` package (RFC 5875)."""

    name = event = "xcap-diff"
    subscribe_types = (LISTS,)

    def _terms(self, request: Request, subscription: ISubscription, former: Terms | None) -> Terms:
        event = request.event
        mode = (event.params.get("diff-processing") if event is not None else None) or NO_PATCHING
        mode = mode.lower()
        if mode not in self.settings.modes:
            mode = NO_PATCHING  # XEVT-01
        if not self._has_list(request):
            if former is not None:
                return msgspec.structs.replace(former, mode=mode)
            return Terms(self.settings.roots[0], home=True, mode=mode)  # XEVT-03
        body = decode_body(request.values("content-encoding"), request.body)
        root, uris = self._select(parse_list(body))
        return Terms(root, tuple(uris), mode=mode)

    @staticmethod
    def _has_list(request: Request) -> bool:
        media = request.content_type
        return bool(request.body) and media is not None and media.type == LISTS

    def _select(self, uris: Sequence[str]) -> tuple[str, list[str]]:
        """The XCAP root that the URIs are below, and what they are relative to it (XCAP-04)."""
        root = ""
        found: list[str] = []
        for uri in uris:
            place = relative(uri, self.settings.roots)
            if place is None:
                continue
            root = root or place[0]
            if place[0] == root:
                found.append(place[1])
        return root or self.settings.roots[0], found
