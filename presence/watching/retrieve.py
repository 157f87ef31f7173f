"""Objects that are told by reference, for a watcher (WAT-06, CIN-03, CIN-06; RFC 4483)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, DeferredSemaphore, fail
from zope.interface import implementer

from presence.content.errors import ContentError
from presence.watching.interfaces import IObjectRetriever

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from presence.content.client import ContentClient, RetrievedObject
    from pysip.external import ExternalBody

MOST_OCTETS: Final = 8 << 20
"""Octets that an object may have unless told otherwise."""

_AT_ONCE: Final = 4
_WAITING: Final = 256
"""Objects that wait for their turn."""


@implementer(IObjectRetriever)
class ReferenceRetriever:
    """Retrieves from hosts that are allowed, a few objects at a time.

    A presentity must not choose whom its watchers call, nor how often.

    :param client: gets them; checks host, size and hash, and follows nobody elsewhere.
    :param hosts: ``host`` for the standard port, or ``host:port`` (CIN-06).
    :param wall: wall-clock seconds.
    :param limit: octets that an object may have.
    """

    def __init__(
        self,
        client: ContentClient,
        hosts: Iterable[str],
        wall: Callable[[], float],
        limit: int = MOST_OCTETS,
    ) -> None:
        self.hosts = frozenset(hosts)
        self._client = client
        self._wall = wall
        self._limit = limit
        self._slots = DeferredSemaphore(_AT_ONCE)

    def retrieve(self, reference: ExternalBody, to: Path) -> Deferred[RetrievedObject]:
        """See :meth:`IObjectRetriever.retrieve`; nobody is asked for what is over (CIN-09)."""
        if reference.expiration <= self._wall():
            return fail(ContentError("missing", "its time is over"))
        if len(self._slots.waiting) >= _WAITING:
            return fail(ContentError("late", "too many objects are waited for"))
        retrieving: Deferred[RetrievedObject] = self._slots.run(
            self._client.retrieve,
            reference.url,
            allowed_hosts=self.hosts,
            limit=self._limit,
            size=reference.size,
            sha1=reference.sha1 or None,
            to=to,
        )
        return retrieving
