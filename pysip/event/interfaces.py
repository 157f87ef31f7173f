"""Interfaces of the event framework; event packages and stores plug in here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from pysip.event.notification import Notification
    from pysip.event.publisher import Document
    from pysip.event.records import PublicationRecord, SubscriptionRecord
    from pysip.interfaces import Identity
    from pysip.message import Request, Response


class IEventStateStore(Interface):
    """Durable event state: memory is the truth, this is its recovery log.

    The ``put``, ``touch`` and ``remove`` calls only queue a row; rows queued in one reactor
    turn become one transaction (group commit).  Nothing here blocks or reads on the
    request path, and all callbacks run in the reactor thread.
    """

    failed: bool = Attribute("True while the medium refuses writes; new requests get 503.")

    def recover(
        publications: Callable[[list[PublicationRecord]], None],
        subscriptions: Callable[[list[SubscriptionRecord], dict[int, int]], None],
    ) -> Deferred[None]:
        """Read everything back, once, before the first write.

        Both callbacks are called with chunks of at most 1000 records, each in a reactor turn
        of its own; the second also gets the last delivered view digests of its chunk by
        subscription id (absent when never noted).  Records past their deadline are handed
        out like any other.
        """

    def put_publication(record: PublicationRecord) -> None:
        """Insert or replace the whole record."""

    def touch_publication(id: int, etag: str, expires: float) -> None:
        """Refresh: replace entity-tag and deadline only."""

    def remove_publication(id: int) -> None:
        """Forget the publication; unknown ids are ignored."""

    def put_subscription(record: SubscriptionRecord) -> None:
        """Insert or replace the whole record."""

    def remove_subscription(id: int) -> None:
        """Forget the subscription and its digest; unknown ids are ignored."""

    def note_delivered(id: int, digest: int) -> None:
        """Note the view (64-bit signed digest) that the subscriber last acknowledged.

        Written behind, with the next commit or within 200 ms; nobody waits for it.
        """

    def when_durable(done: Callable[[bool], None]) -> None:
        """Call ``done(True)`` once all that was queued so far is on the medium.

        ``done(False)`` when that failed: then *every* row queued but not yet durable is
        dropped and the callbacks come in reverse order of their registration, so that each
        can undo its change of memory.  Never called before ``when_durable`` has returned.
        """


class IEventPackage(Interface):
    """An event package (RFC 6665 section 5): everything the framework has to ask about it.

    Several may serve one event type, each for resources of its own: single presentities and
    lists of them, for example.
    """

    name: str = Attribute("What tells it from all others; the event type where it is alone.")
    event: str = Attribute("Event type as in the Event header, for example ``presence``.")
    default_expires: int = Attribute("Seconds for a SUBSCRIBE without Expires.")
    notify_types: tuple[str, ...] = Attribute("Media types it can notify with, best first.")
    subscribe_types: tuple[str, ...] = Attribute(
        "Media types accepted as body of SUBSCRIBE; ``*/*`` accepts, and ignores, any."
    )
    template: bool = Attribute("True for template packages, which Allow-Events leaves out.")
    incremental: bool = Attribute(
        "True when a notification tells what has changed since the one acknowledged before."
    )

    def resolve(request: Request) -> str:
        """The resource that the Request-URI names: its canonical URI.

        :raises pysip.errors.SipError: 404, with which the next package of the event type is
            asked; or 416 for a foreign scheme.
        """

    def prepare(request: Request, watcher: Identity) -> Deferred[None] | None:
        """Gather what :meth:`resolve` and :meth:`authorize` need to know for a SUBSCRIBE.

        :returns: fires when all is known, or fails with the SipError of the refusal; None when
            all is known already.
        """

    def entity(request: Request, resource: str) -> str:
        """The URI that documents for this subscription speak of (PRE-05)."""

    def authorize(resource: str, watcher: Identity) -> str:
        """The decision on a subscription: ``"active"``, ``"pending"`` or ``"rejected"``."""

    def choose_type(request: Request) -> str:
        """The media type to notify with, from what the SUBSCRIBE says of its sender's abilities.

        :raises pysip.errors.SipError: 406 for Accept, 421 for Supported.
        """

    def subscribe(request: Request, subscription: ISubscription, initial: bool) -> None:
        """Read what a SUBSCRIBE says beyond the framework's concern: parameters and body.

        Called before anything is stored, for each SUBSCRIBE but those that end a subscription.
        The package sets ``detail``, ``event_params``, ``require`` and ``data`` of the
        subscription; it replaces them and changes none in place, for they are put back when
        the SUBSCRIBE cannot be made durable.

        :param initial: false for a refresh.
        :raises pysip.errors.SipError: the refusal.
        """

    def notification(subscription: ISubscription) -> Notification | None:
        """What this subscription's watcher may see now.  Called when a NOTIFY is sent.

        None puts the NOTIFY off until the package calls ``Notifier.ready``; not allowed after
        :meth:`unsubscribed`.
        """

    def entity_tag(subscription: ISubscription) -> str | None:
        """The ``tag`` that :meth:`notification` would have with everything there is to tell now.

        None when that is not known; then a conditional SUBSCRIBE is answered as any other
        (RFC 5839 section 6.3).  Not called before :meth:`subscribed` or after the end.
        """

    def acknowledged(subscription: ISubscription) -> None:
        """The last notification of this subscription has arrived (2xx), and had its body.

        Without this call :meth:`notification` is asked for it again.
        """

    def subscribed(subscription: ISubscription) -> None:
        """A subscription was made, recovered or changed state.

        ``require`` and ``data`` of one that was recovered are to be set again.
        """

    def unsubscribed(subscription: ISubscription) -> None:
        """A subscription has ended."""


class ISubscription(Interface):
    """What a package may know of a subscription."""

    id: int = Attribute("Number, unique in this store.")
    resource: str = Attribute("Canonical URI of the resource.")
    entity: str = Attribute("The URI as the subscriber addressed it.")
    watcher: Identity = Attribute("Who subscribes.")
    state: str = Attribute("``active``, ``pending`` or ``terminated``.")
    content_type: str = Attribute("Media type chosen for its notifications.")
    event_params: str = Attribute("Parameters for the Event header of its NOTIFYs: ``;a=b``.")
    event_name: str = Attribute(
        "How the event type is spelt in its NOTIFYs where not as in SUBSCRIBE (CLI-17); not"
        " durable."
    )
    require: str = Attribute(
        "Option tags for Require of its NOTIFYs and of the 2xx to its SUBSCRIBEs; not durable."
    )
    detail: bytes = Attribute("What the package keeps of it, durable with the subscription.")
    data: object = Attribute("What the package keeps of it in memory; None at first.")
    delivered: int | None = Attribute(
        "Digest of the notification last acknowledged; None when that is not known."
    )
    uncertain: bool = Attribute(
        "Nobody has answered the last notification, or one before it since one was acknowledged: it"
        " may have arrived all the same."
    )
    forced: bool = Attribute(
        "The notification that is asked for leaves in any case: it answers a SUBSCRIBE, or an"
        " attempt to send it has failed."
    )
    lasting: bool = Attribute("False for a fetch, which gets one NOTIFY and is gone.")
    created: float = Attribute("Wall-clock time of its SUBSCRIBE.")
    deadline: float = Attribute("Monotonic time of its expiry.")
    sequence: int = Attribute(
        "Number of the NOTIFY that is made next, from 0; after a restart it goes on higher up."
    )
    reason: str = Attribute("Why it ends, as in Subscription-State; empty while it lives.")

    def reset_head() -> None:
        """Build the head of the next NOTIFY anew: ``event_params`` have changed."""


class ILocalSink(Interface):
    """Who a subscription from inside the process tells."""

    def notified(state: str, reason: str, notification: Notification) -> None:
        """What a NOTIFY would tell; never called inside a call of the receiver's own.

        :param state: ``active``, ``pending`` or ``terminated``, after which nothing follows.
        :param reason: why it has ended, as in Subscription-State; else "".
        """


class IPublicationPackage(Interface):
    """An event package that accepts PUBLISH (RFC 3903 section 6)."""

    name: str = Attribute("Event type.")
    publish_types: tuple[str, ...] = Attribute("Media types accepted in PUBLISH.")

    def resolve(request: Request) -> str:
        """As :meth:`IEventPackage.resolve`."""

    def authorize_publisher(resource: str, publisher: Identity) -> None:
        """Return when ``publisher`` may publish for ``resource``.

        :raises pysip.errors.SipError: 403.
        """

    def unpack(resource: str, content_type: str, body: bytes) -> tuple[str, bytes, object]:
        """Take a body apart: Content-Type and octets of the document, and what is beside it.

        :raises pysip.errors.SipError: 400, 413, 415 or 513.
        """

    def objects_of(
        content_type: str, document: bytes, beside: object, before: PublicationRecord | None
    ) -> bytes:
        """What of that is kept with the document, b"" for nothing.

        :param content_type: of the document as it came, from :meth:`unpack`.
        :param document: from :meth:`validate`.
        :param beside: from :meth:`unpack`.
        :param before: what a modify replaces.
        """

    def validate(
        resource: str, content_type: str, body: bytes, before: PublicationRecord | None
    ) -> tuple[str, bytes]:
        """Check a document and give the (media type, body) to keep (PUB-07, PUB-08).

        :param before: what a modify is about, which a body may tell changes of (PPU-02); None
            for an initial PUBLISH.
        :raises pysip.errors.SipError: 400 or 415.
        """

    def prune(body: bytes, now: float, received: float) -> tuple[bytes, float | None]:
        """What of a document may be kept, the same object when all of it.

        :param now: wall-clock seconds.
        :param received: when the document came.
        :returns: also when less of it may be kept; None for never.
        """

    def lives(record: PublicationRecord) -> None:
        """A publication that has ``objects`` was made, modified or refreshed, and is durable."""

    def published(resource: str) -> None:
        """The durable publications of ``resource`` have changed in content."""


class IStateSource(Interface):
    """Read access to the live publications of a compositor."""

    def publications(package: str, resource: str) -> list[PublicationRecord]:
        """The publications of a resource, oldest content first (COM-01, PUB-11)."""


class IRatePolicy(Interface):
    """How often a subscription may be notified (NOT-13, RAT-10)."""

    def interval(package: str, resource: str) -> float:
        """Least seconds between two NOTIFYs of one subscription; 0 for no limit.

        :param package: name of the event package.
        """


class IPublicationPolicy(Interface):
    """Limits of a publisher and a resource (PUB-04, PUB-16, LIM-01)."""

    def grant(requested: int | None) -> int:
        """Granted lifetime in seconds.

        :raises pysip.errors.SipError: 423 with Min-Expires.
        """

    def admit(resource: str, publisher: str, live: int, initial: bool) -> None:
        """Return when one more PUBLISH is within the limits.

        :param live: publications the resource has now.
        :raises pysip.errors.SipError: 403 too many publications, 503 too fast.
        """

    def admit_size(others: int, size: int) -> None:
        """Return when a document may be kept beside the others of its resource.

        :param others: octets of the others that are live.
        :param size: octets of the document.
        :raises pysip.errors.SipError: 413.
        """


class ISubscriberDelegate(Interface):
    """Owner of a client subscription (:class:`pysip.event.subscriber.Subscriber`)."""

    def notified(request: Request, state: str, content_type: str, body: bytes) -> None:
        """A NOTIFY of this subscription; ``state`` is active, pending or terminated."""

    def subscription_failed(response: Response | None, retry_after: float | None) -> None:
        """SUBSCRIBE was refused or timed out (None); ``retry_after`` when it will be retried."""

    def subscription_ended(reason: str, retry_after: float | None) -> None:
        """Terminated by the notifier; ``retry_after`` when it will be made anew."""


class IPartialEncoding(Interface):
    """How a client publication is told in parts (RFC 5264)."""

    def whole(state: Document) -> Document:
        """A state by itself, in the media type of changes: what changes may follow on."""

    def change(before: Document, state: Document) -> Document | None:
        """What turns one state into another; None when the whole is no larger."""


class IPublisherDelegate(Interface):
    """Owner of a client publication (:class:`pysip.event.publisher.Publication`)."""

    def published(lifetime: int) -> None:
        """The state last sent is published for ``lifetime`` seconds; it will be refreshed."""

    def publication_failed(response: Response | None, retry_after: float | None) -> None:
        """PUBLISH was refused or not answered (None); ``retry_after`` when it is tried again."""
