"""Interfaces of the Content Server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from zope.interface import Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


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
