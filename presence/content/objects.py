"""Objects for the Presence Server: from the store of this process, or from servers elsewhere.

Which objects a process may ask for at all, its configuration says: a URI of a foreign server is
never followed (CIN-06).
"""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure
from zope.interface import implementer

from presence.content.errors import ContentError, ErrorKind
from presence.content.fields import parse_place
from presence.content.interfaces import Fetched, IContentObjects
from presence.content.records import Vanished
from xcap.agent import split_uri
from xcap.errors import StoreUnavailable, XcapError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IReactorTime

    from presence.content.interfaces import IContentStore
    from presence.content.keeping import Keeping
    from xcap.roots import Root


_T = TypeVar("_T")

_KINDS: dict[int, ErrorKind] = {404: "missing", 413: "large", 507: "large"}


def in_time(work: Coroutine[Any, Any, _T], clock: IReactorTime, seconds: float) -> Deferred[_T]:
    """Do some work that is given up after some time, with a ContentError."""

    def late(result: object, _: float) -> object:
        if isinstance(result, Failure) and result.check(CancelledError):
            raise ContentError("late")
        return result

    done = Deferred.fromCoroutine(work)
    done.addTimeout(seconds, clock, late)
    return done


class Bases:
    """The base URIs of a Content Server.

    :param uris: absolute, ending in ``/``.
    """

    def __init__(self, uris: Iterable[str]) -> None:
        self._bases = []
        for uri in uris:
            # port 0 lets the system choose: no URI tells which
            with contextlib.suppress(ValueError):
                self._bases.append(split_uri(uri))

    def id_of(self, uri: str) -> str:
        """The unguessable part of the URI of an object, "" when it is none of this server."""
        try:
            origin, target = split_uri(uri)
        except ValueError:
            return ""
        for base, prefix in self._bases:
            if origin == base:
                try:
                    place = parse_place(target, prefix)
                except XcapError:
                    continue
                if place.id and not place.query:
                    return place.id
        return ""


@implementer(IContentObjects)
class LocalObjects:
    """The objects of this process.

    :param roots: base URIs, with the served domain of each as realm.
    :param clock: for time-outs.
    :param timeout: seconds.
    """

    def __init__(
        self, roots: Sequence[Root], keeping: Keeping, clock: IReactorTime, timeout: float = 5.0
    ) -> None:
        self._roots = list(roots)
        self._bases = Bases(root.uri for root in roots)
        self._keeping = keeping
        self._store: IContentStore = keeping.store
        self._clock = clock
        self._timeout = timeout

    def owns(self, uri: str) -> bool:
        """Whether a URI is of an object here."""
        return self._bases.id_of(uri) != ""

    def fetch(self, uri: str, limit: int) -> Deferred[Fetched]:
        """An object."""
        return self._timed(self._fetch(uri, limit))

    def store(self, owner: str, content_type: str, body: bytes, until: float) -> Deferred[str]:
        """Store an object for a user."""
        return self._timed(self._add(owner, content_type, body, until))

    def keep(self, uri: str, until: float) -> Deferred[None]:
        """Make the life of an object longer."""
        return self._timed(self._extend(uri, until))

    async def _fetch(self, uri: str, limit: int) -> Fetched:
        id = self._id(uri)
        try:
            read = await self._store.read(id, limit)
        except StoreUnavailable:
            raise ContentError("unreachable", "the content store does not work now") from None
        if read is None or self._keeping.alive(read[0]) is None:
            raise ContentError("missing", status=404)
        found, body = read
        if body is None:
            raise ContentError("large")
        return Fetched(found.type, body)

    async def _add(self, owner: str, content_type: str, body: bytes, until: float) -> str:
        keeping = self._keeping
        try:
            home = keeping.owner(owner)
            if not home:
                raise ContentError("missing", "no such user", 404)
            type = keeping.type(content_type)
            await keeping.room(home, len(body))
            upload = self._store.upload()
            upload.take(body)
            content = await upload.finish()
            expires = keeping.until(max(1, round(until - keeping.wall())))
            made = await keeping.add(home, type, content, expires)
        except XcapError as error:
            kind = _KINDS.get(error.status, "refused")
            raise ContentError(kind, error.text, error.status) from None
        except StoreUnavailable:
            raise ContentError("unreachable", "the content store does not work now") from None
        return f"{self._root(home).uri}o/{made.id}"

    async def _extend(self, uri: str, until: float) -> None:
        try:
            await self._keeping.extend(self._id(uri), until)
        except Vanished:
            raise ContentError("missing", status=404) from None
        except StoreUnavailable:
            raise ContentError("unreachable", "the content store does not work now") from None

    def _id(self, uri: str) -> str:
        id = self._bases.id_of(uri)
        if not id:
            raise ContentError("foreign")
        return id

    def _root(self, owner: str) -> Root:
        """The base URI of the domain of a user, else the first."""
        domain = owner.rpartition("@")[2].lower()
        return next((root for root in self._roots if root.realm == domain), self._roots[0])

    def _timed(self, work: Coroutine[Any, Any, _T]) -> Deferred[_T]:
        return in_time(work, self._clock, self._timeout)


@implementer(IContentObjects)
class AllObjects:
    """The objects of several Content Servers; new ones go to the first.

    :param servers: at least one.
    """

    def __init__(self, servers: Sequence[IContentObjects]) -> None:
        self._servers = list(servers)

    def owns(self, uri: str) -> bool:
        """Whether a URI is of one of the servers."""
        return any(server.owns(uri) for server in self._servers)

    def fetch(self, uri: str, limit: int) -> Deferred[Fetched]:
        """An object."""
        server = self._server(uri)
        return fail(ContentError("foreign")) if server is None else server.fetch(uri, limit)

    def store(self, owner: str, content_type: str, body: bytes, until: float) -> Deferred[str]:
        """Store an object for a user."""
        return self._servers[0].store(owner, content_type, body, until)

    def keep(self, uri: str, until: float) -> Deferred[None]:
        """Make the life of an object longer."""
        server = self._server(uri)
        return fail(ContentError("foreign")) if server is None else server.keep(uri, until)

    def _server(self, uri: str) -> IContentObjects | None:
        return next((server for server in self._servers if server.owns(uri)), None)
