"""The client of Content Servers, for Presence Sources and Watchers (PRS-13, PRS-14).

Content goes from a file and to a file, never as a whole through memory.  Credentials are shown
to the user's own Content Server only; other servers are asked as far as whoever calls allows
them, and never by way of a redirect to yet another one (CIN-03, CIN-12).
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from presence.content.asking import ContentServers, etag_of, expires_of, good, is_allowed, origin_of
from presence.content.cache import ContentCache, Kept, copy
from presence.content.errors import ContentError
from presence.content.interfaces import IOwnObjects, StoredObject
from presence.content.local import FileSink, Measured, Outgoing, measured, outgoing, threads
from xcap.agent import AgentSettings, split_uri
from xcap.agenttls import Trust
from xcap.errors import StoreUnavailable
from xcap.transfer import Transfer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint

    from xcap.agent import Origin
    from xcap.auth.client import HttpCredentials
    from xcap.records import HttpResponse

__all__ = ["ContentClient", "RetrievedObject", "StoredObject"]

T = TypeVar("T")


@attrs.frozen(slots=True)
class RetrievedObject:
    """An object that was retrieved.

    :ivar path: the file that has it.
    :ivar sha1: hexadecimal.
    :ivar cached: it was not sent anew.
    """

    uri: str
    content_type: str
    size: int
    sha1: str
    etag: str
    path: Path
    cached: bool = False


@implementer(IOwnObjects)
class ContentClient:
    """Stores objects of one user, and retrieves objects of anybody.

    All Deferreds fail with :class:`ContentError`.

    :param reactor: connects, keeps time and has threads.
    :param base: base URI of the user's Content Server (CONTENT-SERVER-URI), "" for none.
    :param identity: public identity of the user, whose objects these are.
    :param trust: for TLS.
    :param timeout: seconds for everything about one object.
    :param cache: of what was retrieved.
    :param connect: makes endpoints, in tests.
    """

    def __init__(
        self,
        reactor: Any,
        base: str = "",
        identity: str = "",
        credentials: HttpCredentials | None = None,
        *,
        trust: Trust | None = None,
        timeout: float = 60.0,
        cache: ContentCache | None = None,
        connect: Callable[[Origin], IStreamClientEndpoint] | None = None,
        agent: str = "",
    ) -> None:
        self._reactor = reactor
        self._base = base if not base or base.endswith("/") else f"{base}/"
        self._identity = identity
        self._timeout = timeout
        self._cache = cache
        self._do = threads(reactor)
        self._servers = ContentServers(
            reactor,
            split_uri(self._base)[0] if base else None,
            credentials,
            AgentSettings(timeout=timeout, trust=trust or Trust(), agent=agent, body=1 << 20),
            connect,
        )

    # -- what can be asked ----------------------------------------------------------------

    def measure(self, content: bytes | str | os.PathLike[str], small: int) -> Deferred[Measured]:
        """Look at content that may be stored.

        :param content: octets, or the name of a file.
        :param small: octets up to which it comes into memory.
        """
        return self._run(self._measure(content, small))

    def store(
        self,
        content: bytes | str | os.PathLike[str],
        content_type: str,
        life: int | None = None,
    ) -> Deferred[StoredObject]:
        """Store an object (AGP-107, SRC-03).

        :param content: octets, or the name of a file.
        :param life: seconds, None for what the server finds right.
        """
        target = f"{self._base}users/{quote(self._identity, safe=':@+')}/"
        return self._run(self._send("POST", target, content, content_type, life, ""))

    def replace(
        self,
        uri: str,
        content: bytes | str | os.PathLike[str],
        content_type: str,
        life: int | None = None,
        *,
        match: str = "",
    ) -> Deferred[StoredObject]:
        """Give an object of the user other content.

        :param match: entity-tag that it must have, "" for any.
        """
        return self._run(self._send("PUT", uri, content, content_type, life, match))

    def extend(self, uri: str, life: int) -> Deferred[float]:
        """Give an object of the user a longer life (AGP-109).

        :param life: seconds from now on.
        :returns: wall-clock seconds until which it is kept.
        """
        return self._run(self._extend(uri, life))

    def delete(self, uri: str) -> Deferred[None]:
        """Remove an object of the user."""
        return self._run(self._delete(uri))

    def listing(self) -> Deferred[list[dict[str, Any]]]:
        """The objects of the user (AGP-108)."""
        return self._run(self._list())

    def retrieve(
        self,
        uri: str,
        *,
        allowed_hosts: Collection[str] = (),
        limit: int = 1 << 20,
        size: int | None = None,
        sha1: str | None = None,
        to: str | os.PathLike[str] | None = None,
    ) -> Deferred[RetrievedObject]:
        """Retrieve an object to a file (CIN-03, CIN-12, WAT-06).

        :param allowed_hosts: servers that may be asked besides the user's own: ``host`` for the
            standard port, or ``host:port``.
        :param limit: octets that it may have.
        :param size: octets that it has to have, as the reference says.
        :param sha1: hash that it has to have, in hexadecimal; without it only by HTTPS.
        :param to: file that gets it; None leaves it in the cache.
        :raises ValueError: it has no place to go.
        """
        if to is None and self._cache is None:
            raise ValueError("without a cache say where the object shall go")
        target = None if to is None else Path(to)
        return self._run(
            self._retrieve(uri, allowed_hosts, limit, size, sha1 and sha1.lower(), target)
        )

    def stop(self) -> Deferred[Any]:
        """Close all connections."""
        return self._servers.stop()

    # -- the user's own objects -------------------------------------------------------------

    async def _measure(self, content: bytes | str | os.PathLike[str], small: int) -> Measured:
        try:
            found: Measured = await self._do(lambda: measured(content, small))
        except OSError as error:
            raise _unreadable(error) from None
        return found

    async def _send(
        self,
        method: str,
        uri: str,
        content: bytes | str | os.PathLike[str],
        content_type: str,
        life: int | None,
        match: str,
    ) -> StoredObject:
        try:
            found: Outgoing = await self._do(lambda: outgoing(content))
        except OSError as error:
            raise _unreadable(error) from None
        try:
            fields = [
                ("content-type", content_type),
                ("digest", f"SHA={b64encode(found.sha1).decode()}"),
                ("content-digest", f"sha-256=:{b64encode(found.sha256).decode()}:"),
            ]
            if life is not None:
                fields.append(("x-expires", str(life)))
            if match:
                fields.append(("if-match", f'"{match}"'))
            transfer = Transfer(
                self._timeout, length=found.size, body=lambda: found.source(self._do)
            )
            answer = await self._servers.ask(method, uri, fields, transfer)
        finally:
            found.close()
        uri = answer.header("location") or uri
        return StoredObject(
            uri,
            content_type,
            found.size,
            found.sha1.hex(),
            etag_of(answer),
            expires_of(answer),
        )

    async def _extend(self, uri: str, life: int) -> float:
        fields = [("x-refresh", "1"), ("x-expires", str(life))]
        return expires_of(await self._servers.ask("PUT", uri, fields))

    async def _delete(self, uri: str) -> None:
        await self._servers.ask("DELETE", uri, [])

    async def _list(self) -> list[dict[str, Any]]:
        target = f"{self._base}users/{quote(self._identity, safe=':@+')}/"
        answer = await self._servers.ask("GET", target, [])
        try:
            found: list[dict[str, Any]] = json.loads(answer.body)
        except ValueError:
            raise ContentError("refused", "its list of objects cannot be read") from None
        return found

    # -- objects of anybody ---------------------------------------------------------------

    async def _retrieve(
        self,
        uri: str,
        allowed: Collection[str],
        limit: int,
        size: int | None,
        sha1: str | None,
        to: Path | None,
    ) -> RetrievedObject:
        origin = origin_of(uri)
        if origin != self._servers.own and not is_allowed(origin, allowed):
            raise ContentError("foreign", "that server may not be asked")
        if origin.scheme != "https" and sha1 is None:
            raise ContentError("refused", "without a hash an object has to come by HTTPS")
        if size is not None and size > limit:
            raise ContentError("large")
        cache = self._cache
        known: Kept | None = None
        if cache is not None:
            held = cache
            try:
                await self._do(held.prepare)
                known = await self._do(lambda: held.get(uri))
            except OSError as error:
                raise ContentError(
                    "refused", f"the cache cannot be written: {error.strerror}"
                ) from None
        if known is not None and (sha1 or known.sha1, size or known.size) != (
            known.sha1,
            known.size,
        ):
            known = None  # the reference is to another state
        if known is not None and sha1 is not None and known.size <= limit:
            # it is what the hash says, whatever the server would say
            return await self._place(uri, known, to)
        return await self._get(origin, uri, limit, size, sha1, to, known)

    async def _get(
        self,
        origin: Origin,
        uri: str,
        limit: int,
        size: int | None,
        sha1: str | None,
        to: Path | None,
        known: Kept | None,
    ) -> RetrievedObject:
        cache = self._cache
        folder = cache.directory if cache is not None else to.parent if to is not None else Path()
        sinks: list[FileSink] = []

        def sink(head: HttpResponse) -> FileSink | None:
            if head.status != 200:
                return None
            sinks.append(FileSink(self._do, folder, limit if size is None else size))
            return sinks[-1]

        fields = [] if known is None else [("if-none-match", f'"{known.etag}"')]
        try:
            answer = await self._servers.request(
                origin, "GET", uri, fields, Transfer(self._timeout, sink=sink)
            )
            if answer.status == 304 and known is not None:
                if known.size > limit:
                    raise ContentError("large")
                return await self._place(uri, known, to)
            if answer.status == 404 and cache is not None:
                held = cache
                await self._do(lambda: held.drop(uri))
            good(answer)
            if answer.status != 200 or not sinks:
                raise ContentError("refused", status=answer.status)
            content = await sinks[-1].finish()
        except ContentError as error:
            # more came than the reference says
            if error.kind == "large" and size is not None:
                raise ContentError("mismatch", "it is larger than the reference says") from None
            raise
        except StoreUnavailable:
            raise ContentError("refused", "the file cannot be written") from None
        finally:
            for each in sinks:
                each.abandon()
        kind = answer.header("content-type") or "application/octet-stream"
        if size not in (None, content.size) or sha1 not in (None, content.sha1.hex()):
            await self._do(lambda: os.unlink(content.file))
            raise ContentError("mismatch", "it is not what the reference says")
        kept = Kept(etag_of(answer), kind, content.size, content.sha1.hex(), content.file)
        try:
            if cache is not None:
                held = cache
                kept = await self._do(lambda: held.put(uri, kept.etag, kind, content))
                return await self._place(uri, kept, to, cached=False)
            if to is not None:
                target = to
                await self._do(lambda: os.replace(content.file, target))
        except OSError as error:
            raise ContentError("refused", f"it cannot be written: {error.strerror}") from None
        return _retrieved(uri, kept, to or Path(kept.path), cached=False)

    async def _place(
        self, uri: str, kept: Kept, to: Path | None, *, cached: bool = True
    ) -> RetrievedObject:
        """Give what the cache has."""
        if to is None:
            return _retrieved(uri, kept, Path(kept.path), cached=cached)
        target = to
        try:
            await self._do(lambda: copy(kept.path, target))
        except OSError as error:
            raise ContentError("refused", f"it cannot be written: {error.strerror}") from None
        return _retrieved(uri, kept, to, cached=cached)

    def _run(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        def late(result: object, _: float) -> object:
            raise ContentError("late")

        done = Deferred.fromCoroutine(work)
        done.addTimeout(self._timeout, self._reactor, late)
        return done


def _unreadable(error: OSError) -> ContentError:
    return ContentError("refused", f"the file cannot be read: {error.strerror}")


def _retrieved(uri: str, kept: Kept, path: Path, *, cached: bool) -> RetrievedObject:
    return RetrievedObject(
        uri, kept.content_type, kept.size, kept.sha1, kept.etag, path, cached=cached
    )
