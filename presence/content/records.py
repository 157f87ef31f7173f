"""Values of the Content Server."""

from __future__ import annotations

import hashlib

import attrs


@attrs.frozen(slots=True)
class ContentObject:
    """What is known of an object.

    :ivar id: the unguessable part of its URI (CSV-01).
    :ivar owner: canonical URI of the user it belongs to.
    :ivar type: media type with parameters, as stored.
    :ivar size: octets.
    :ivar file: name of the file that has its content.
    :ivar modified: wall-clock seconds of its last change of content.
    :ivar expires: wall-clock seconds until which it is kept (AGP-109).
    """

    id: str
    owner: str
    type: str
    size: int
    sha1: bytes
    sha256: bytes
    file: str
    created: float
    modified: float
    expires: float

    @property
    def etag(self) -> str:
        """Strong entity-tag of type and content, without quotes (AGP-107)."""
        return entity_tag(self.type, self.sha256)


def entity_tag(content_type: str, sha256: bytes) -> str:
    """SHA-256 of type and content: over the type and the content's own digest."""
    return hashlib.sha256(b"%b\0%b" % (content_type.encode(), sha256)).hexdigest()


@attrs.frozen(slots=True)
class Content:
    """Content that is complete in a temporary file, flushed to the disk.

    :ivar file: name of the temporary file.
    """

    file: str
    size: int
    sha1: bytes
    sha256: bytes


@attrs.frozen(slots=True)
class Quota:
    """What one user may have (AGP-110).

    :ivar octets: of all objects together, those with the same content counted each.
    """

    objects: int
    octets: int


@attrs.frozen(slots=True)
class Usage:
    """What one user has."""

    objects: int
    octets: int


class QuotaExceeded(Exception):
    """The user has no room for an object (507)."""


class Vanished(Exception):
    """The object that was to be changed is gone, or another one than expected."""


# -- changes, made by the writer in the order in which they are asked for -----------------


@attrs.frozen(slots=True)
class Add:
    """A new object."""

    id: str
    owner: str
    type: str
    content: Content
    now: float
    expires: float
    quota: Quota


@attrs.frozen(slots=True)
class Replace:
    """Other content for an object.

    :ivar etag: that it has now, for a condition that must still hold; "" for any.
    """

    id: str
    type: str
    content: Content
    now: float
    expires: float
    quota: Quota
    etag: str = ""


@attrs.frozen(slots=True)
class Extend:
    """A longer life; a shorter one changes nothing (AGP-109)."""

    id: str
    now: float
    expires: float
    etag: str = ""


@attrs.frozen(slots=True)
class Remove:
    """The end of an object."""

    id: str
    etag: str = ""


@attrs.frozen(slots=True)
class RemoveOwner:
    """The end of all objects of a user that were made before some time (AGP-113)."""

    owner: str
    before: float


@attrs.frozen(slots=True)
class Expire:
    """The end of objects whose time is over; some at a time."""

    now: float
    limit: int


Change = Add | Replace | Extend | Remove | RemoveOwner | Expire
