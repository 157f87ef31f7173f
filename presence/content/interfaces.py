"""Interfaces of the Content Server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    import os

    from twisted.internet.defer import Deferred

    from presence.content.local import Measured
    from presence.content.records import Change, Content, ContentObject, Usage
    from xcap.histogram import Histogram
    from xcap.streams import Source


@attrs.frozen(slots=True)
class StoredObject:
    """An object that a server has taken, with all that a reference to it says (AGP-114).

    :ivar size: octets.
    :ivar sha1: hexadecimal, for ``hash``.
    :ivar etag: without quotes.
    :ivar expires: wall-clock seconds until which it is kept, for ``expiration``.
    """

    uri: str
    content_type: str
    size: int
    sha1: str
    etag: str
    expires: float


@attrs.frozen(slots=True)
class Fetched:
    """An object of a Content Server, whole; for what is small enough to go into a SIP body.

    :ivar content_type: media type, as it was stored.
    """

    content_type: str
    body: bytes


class IContentObjects(Interface):
    """The objects of the Content Servers, for the Presence Server (PRS-15).

    Deferreds fail with :class:`presence.content.errors.ContentError`; nobody waits longer than
    the time-out that is configured.
    """

    def owns(uri: str) -> bool:
        """Whether a URI is of a Content Server that is configured (CIN-06)."""

    def fetch(uri: str, limit: int) -> Deferred[Fetched]:
        """An object.

        :param limit: octets that it may have; no more are read.
        """

    def store(owner: str, content_type: str, body: bytes, until: float) -> Deferred[str]:
        """Store an object for a user in the server's own name (AGP-117).

        It counts on the user's quota, and ends with the user.

        :param owner: canonical URI of a subscriber.
        :param until: wall-clock seconds until which it is needed; the server may shorten that
            to the longest life that it grants.
        :returns: its URI.
        """

    def keep(uri: str, until: float) -> Deferred[None]:
        """A publication refers to an object until some time: its life is made so long (CSV-05).

        A life that is longer stays as it is, and none becomes longer than the server grants.

        :param until: wall-clock seconds.
        """


class IOwnObjects(Interface):
    """The objects of a user, for a Presence Source (PRS-13).

    Deferreds fail with :class:`presence.content.errors.ContentError`, and can be cancelled.
    """

    def measure(content: bytes | str | os.PathLike[str], small: int) -> Deferred[Measured]:
        """Look at content.

        :param content: octets, or the name of a file.
        :param small: octets up to which it comes into memory.
        """

    def store(
        content: bytes | str | os.PathLike[str], content_type: str, life: int | None = None
    ) -> Deferred[StoredObject]:
        """Store an object (AGP-107, SRC-03); no file comes into memory whole.

        :param life: seconds, None for what the server finds right.
        """

    def extend(uri: str, life: int) -> Deferred[float]:
        """Give an object a longer life (AGP-109).

        :param life: seconds from now on.
        :returns: wall-clock seconds until which it is kept.
        """

    def delete(uri: str) -> Deferred[None]:
        """Remove an object."""


class IUpload(Interface):
    """Content that is on its way into a store."""

    size: int = Attribute("Octets so far.")

    def take(piece: bytes) -> Deferred[None] | None:
        """As :meth:`xcap.streams.Intake.take`.

        :raises xcap.errors.StoreUnavailable: the medium takes no more.
        """

    def finish() -> Deferred[Content]:
        """All has come; fires when the content is flushed to the disk.

        :raises xcap.errors.StoreUnavailable: (in the Deferred) the medium takes no more.
        """

    def abandon() -> None:
        """It is not wanted any more; says nothing once :meth:`finish` has fired."""


class IContentStore(Interface):
    """Durable objects of users.

    All Deferreds fire in the reactor thread, and fail with
    :class:`xcap.errors.StoreUnavailable` while the medium does not work.
    """

    failed: bool = Attribute("True while the medium refuses writes.")
    oldest: float = Attribute("Seconds that the oldest change has waited to become durable.")
    commits: int = Attribute("Batches that became durable.")
    rows: int = Attribute("Changes in them.")
    refused: int = Attribute("Batches that the medium has refused.")
    latency: Histogram = Attribute("Seconds that commits took.")
    objects: int = Attribute("How many objects there are.")
    octets: int = Attribute("Octets of all of them together.")

    def start() -> Deferred[None]:
        """Open the medium, and put in order what a crash has left (AGP-113).

        :raises xcap.store.errors.StoreError: (in the Deferred) with a text for the operator.
        """

    def stop() -> Deferred[None]:
        """Commit what is queued and close."""

    def upload() -> IUpload:
        """Begin to take content."""

    def discard(content: Content) -> None:
        """Content that was complete is not wanted after all."""

    def change(change: Change) -> Deferred[Any]:
        """Make a change durable: the object as it is now, or how many have gone.

        :raises presence.content.records.QuotaExceeded: (in the Deferred) no room for it.
        :raises presence.content.records.Vanished: (in the Deferred) it is not as expected.
        """

    def find(id: str) -> Deferred[ContentObject | None]:
        """An object, also one whose time is over and that is still there."""

    def listing(owner: str) -> Deferred[list[ContentObject]]:
        """All objects of a user, the oldest first."""

    def usage(owner: str) -> Deferred[Usage]:
        """What a user has."""

    def read(id: str, whole: int) -> Deferred[tuple[ContentObject, bytes | None] | None]:
        """An object with its content where that has up to ``whole`` octets, at one go."""

    def source(found: ContentObject, first: int, length: int) -> Deferred[Source | None]:
        """A part of the content of an object, in pieces; None when it has gone meanwhile."""
