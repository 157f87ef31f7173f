"""The objects of a Presence Source: read, stored, kept and deleted (SRC-03, AGP-117)."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from presence.content.errors import ContentError
from presence.content.local import measured
from presence.publishing.telling import Taken, Way, content_id, enclosed_part, referred_part
from pysip.header import parse_media_type
from pysip.refresh import Backoff
from pysip.timers import Alarm

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from presence.content.interfaces import IOwnObjects, StoredObject
    from presence.content.local import Measured
    from pysip.mime import Part
    from pysip.ua import UserAgent

__all__ = ["KeepingTerms", "Shown", "SourceObject", "SourceObjects"]

_SHARE: Final = 0.75
"""Share of an object's life after which it gets a new one."""

_SOONEST: Final = 30.0
"""Seconds between two new lives, at least: the server's clock may be another."""

_TEMPORARY: Final = ("late", "unreachable")


def _is_type(_: object, attribute: object, value: str) -> None:
    parse_media_type(value)
    if not value.isprintable():
        raise ValueError("not a media type")


@attrs.frozen(slots=True, eq=False)
class SourceObject:
    """Something to publish beside a document, such as an icon.

    It is read once; what has other content is another object.

    :ivar content: octets, or the name of a file, which is read in pieces if it is large.
    :ivar content_type: media type.
    :raises ValueError: the media type is none.
    """

    content: bytes | str | os.PathLike[str]
    content_type: str = attrs.field(validator=_is_type)


@attrs.frozen(slots=True, kw_only=True)
class KeepingTerms:
    """How a source keeps its objects.

    :ivar host: domain that Content-IDs are made in.
    :ivar limit: CLIENT-OBJ-DATA-LIMIT: octets that an object in a PUBLISH may have, 0 for none
        at all (AGP-116).
    :ivar life: seconds that a stored object is to live before it needs a new life.
    """

    host: str
    limit: int
    life: int


@attrs.frozen(slots=True)
class Shown:
    """What a document has of an object.

    :ivar url: that refers to it.
    :ivar part: what stands beside the document; None when the URL tells all.
    """

    url: str
    part: Part | None = None


class _Kept:
    """An object, and what has become of it."""

    def __init__(self, object: SourceObject, backoff: Backoff, due: Callable[[_Kept], None]):
        self.object = object
        self.backoff = backoff
        self.alarm = Alarm(lambda: due(self))
        self.measured: Measured | None = None
        self.stored: StoredObject | None = None
        self.task: Deferred[Any] | None = None
        self.waited = True  # nobody knows yet what becomes of it
        self.given_up = False


class SourceObjects:
    """Keeps the objects that a source publishes.

    An object that has to be stored is there, by :class:`KeepingTerms`, for as long as it is
    wanted; it is deleted when the server was told a document without it.

    :param ua: the user agent; keeps time.
    :param store: the user's Content Server; without one nothing is stored, and no file is read.
    :param wall: wall-clock seconds.
    :param changed: called when an object can be shown otherwise than before, or never.
    :param failed: told of what cannot be had, as
        :meth:`presence.publishing.interfaces.ISourceDelegate.object_failed`.

    :ivar taken: what the Presence Server takes.
    """

    _log = Logger()

    def __init__(
        self,
        ua: UserAgent,
        store: IOwnObjects | None,
        terms: KeepingTerms,
        wall: Callable[[], float],
        changed: Callable[[], None],
        failed: Callable[[SourceObject, ContentError, float | None], None],
    ) -> None:
        self.taken = Taken(enclosed=terms.limit)
        self._ua = ua
        self._store = store
        self._terms = terms
        self._wall = wall
        self._changed = changed
        self._failed = failed
        self._wanted: dict[SourceObject, _Kept] = {}
        self._old: list[_Kept] = []
        self._deleting: set[Deferred[Any]] = set()
        self._asked = False  # who asks looks at what has changed

    # -- for the source -----------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether it is open how one of them will be shown."""
        return any(kept.waited for kept in self._wanted.values())

    def want(self, objects: Collection[SourceObject]) -> bool:
        """Keep these from now on, and no others.

        :returns: whether one of them is new.
        """
        before, self._wanted = self._wanted, {}
        new: list[_Kept] = []
        for each in dict.fromkeys(objects):
            kept = before.pop(each, None)
            if kept is None:
                kept = _Kept(each, Backoff(self._ua.tokens, most=600.0), self._due)
                new.append(kept)
            self._wanted[each] = kept
        for kept in before.values():
            self._abandon(kept)
        self._asked = True
        for kept in new:
            self._start(kept, self._prepare(kept))
        self._asked = False
        return bool(new)

    def shown(self, object: SourceObject) -> Shown | None:
        """How a document shows an object that is wanted; None while, or because, it does not."""
        kept = self._wanted[object]
        found, stored = kept.measured, kept.stored
        if found is None:
            return None
        way = self.taken.way(found.size)
        kind, host = object.content_type, self._terms.host
        if way is Way.ENCLOSED and found.body is not None:
            cid = content_id(kind, found.size, found.sha1, host)
            return Shown(_cid_url(cid), enclosed_part(kind, cid, found.body))
        if stored is None or way not in (Way.REFERRED, Way.LINKED):
            return None
        if way is Way.LINKED:
            # without a hash only by HTTPS (CIN-03)
            return Shown(stored.uri) if stored.uri[:6].lower() == "https:" else None
        cid = content_id(kind, stored.size, stored.sha1, host)
        part = referred_part(kind, cid, stored.uri, stored.expires, stored.size, stored.sha1)
        return Shown(_cid_url(cid), part)

    def take(self, taken: Taken) -> None:
        """The server takes less than was thought."""
        self.taken = taken
        self._asked = True
        for kept in self._wanted.values():
            if kept.measured is None or kept.task is not None:
                continue  # it is looked at when it is ready
            way = taken.way(kept.measured.size)
            if way is Way.NOT:
                self._give_up(kept, _not_taken())
            elif way is not Way.ENCLOSED and kept.stored is None and not kept.given_up:
                self._start(kept, self._prepare(kept))
        self._asked = False

    def settle(self) -> None:
        """The server has the document of what is wanted: delete what that does not refer to."""
        old, self._old = self._old, []
        for kept in old:
            self._delete(kept)
        for kept in self._wanted.values():
            if kept.stored is not None and not self._stored_away(kept):
                self._delete(kept)

    def stop(self) -> Deferred[Any]:
        """Nothing is published any more: delete all; fires, never with a failure, at the end."""
        self.want(())
        self.settle()
        return DeferredList(list(self._deleting))

    # -- one object ---------------------------------------------------------------------

    def _stored_away(self, kept: _Kept) -> bool:
        """Whether it is one that has to be stored."""
        found = kept.measured
        return found is not None and self.taken.way(found.size) in (Way.REFERRED, Way.LINKED)

    def _start(self, kept: _Kept, work: Coroutine[Any, Any, None]) -> None:
        self._ua.wheel.cancel(kept.alarm)
        task = kept.task = Deferred.fromCoroutine(work)
        task.addBoth(partial(self._over, kept, task))

    def _over(self, kept: _Kept, task: Deferred[Any], result: object) -> None:
        """Work on an object has ended."""
        if kept.task is task:
            kept.task = None
        failure = result if isinstance(result, Failure) else None
        if failure is not None and failure.check(CancelledError):
            return
        if self._wanted.get(kept.object) is not kept:
            if kept not in self._old:
                self._delete(kept)
        elif failure is None:
            kept.waited = False
            kept.backoff.reset()
            self._tell_changed()
        elif isinstance(failure.value, ContentError):
            self._not_done(kept, failure.value)
        else:
            self._log.failure("publishing an object failed", failure)
            self._give_up(kept, ContentError("refused", "a bug; its traceback is in the log"))

    async def _prepare(self, kept: _Kept) -> None:
        """Look at an object, and store it if it has to be elsewhere."""
        store, content = self._store, kept.object.content
        if kept.measured is None:
            if store is not None:
                kept.measured = await store.measure(content, self._terms.limit)
            elif isinstance(content, bytes):
                kept.measured = measured(content, self._terms.limit)
            else:
                raise ContentError("foreign", "there is no Content Server")
        size = kept.measured.size
        if self.taken.way(size) is Way.NOT:
            raise _not_taken()
        if not self._stored_away(kept):
            return
        if store is None:
            raise ContentError("foreign", "there is no Content Server")
        kept.stored = await store.store(content, kept.object.content_type, self._terms.life)
        self._kept_until(kept, kept.stored.expires)
        if self.taken.way(size) is Way.NOT:  # which was found out meanwhile
            raise _not_taken()

    async def _renew(self, kept: _Kept, store: IOwnObjects, stored: StoredObject) -> None:
        """Give an object a new life; one that has gone is stored anew."""
        try:
            expires = await store.extend(stored.uri, self._terms.life)
        except ContentError as error:
            if error.kind != "missing":
                raise
            kept.stored = None
            kept.measured = None  # its file may be another by now
            await self._prepare(kept)
            return
        kept.stored = attrs.evolve(stored, expires=expires)
        self._kept_until(kept, expires)

    def _kept_until(self, kept: _Kept, expires: float) -> None:
        left = min(expires - self._wall(), float(self._terms.life))
        self._ua.wheel.after(max(_SOONEST, _SHARE * left), kept.alarm)

    def _due(self, kept: _Kept) -> None:
        """It is time for a new life, or for another attempt."""
        if kept.task is not None:
            return
        if kept.stored is not None and self._store is not None:
            self._start(kept, self._renew(kept, self._store, kept.stored))
        else:
            self._start(kept, self._prepare(kept))

    def _not_done(self, kept: _Kept, error: ContentError) -> None:
        """It has failed: try again when that may help."""
        if error.kind not in _TEMPORARY and error.status < 500:
            self._give_up(kept, error)
            return
        delay = kept.backoff.next()
        self._ua.wheel.after(delay, kept.alarm)
        self._settle_for(kept)
        self._failed(kept.object, error, delay)

    def _tell_changed(self) -> None:
        if not self._asked:
            self._changed()

    def _give_up(self, kept: _Kept, error: ContentError) -> None:
        if kept.given_up:
            return
        kept.given_up = True
        self._ua.wheel.cancel(kept.alarm)
        self._settle_for(kept)
        self._failed(kept.object, error, None)

    def _settle_for(self, kept: _Kept) -> None:
        """Go on without it, if anybody has waited for it."""
        if kept.waited:
            kept.waited = False
            self._tell_changed()

    def _abandon(self, kept: _Kept) -> None:
        """It is not wanted any more, but the server does not know that yet."""
        if kept.task is not None:
            kept.task.cancel()
        if kept.stored is not None:
            self._old.append(kept)
        else:
            self._ua.wheel.cancel(kept.alarm)

    def _delete(self, kept: _Kept) -> None:
        self._ua.wheel.cancel(kept.alarm)
        if kept.task is not None:
            kept.task.cancel()
        stored, kept.stored = kept.stored, None
        if stored is None or self._store is None:
            return
        deleting: Deferred[Any] = self._store.delete(stored.uri)
        self._deleting.add(deleting)
        deleting.addErrback(self._not_deleted)
        deleting.addBoth(lambda _: self._deleting.discard(deleting))

    def _not_deleted(self, failure: Failure) -> None:
        """It will end by itself (AGP-117)."""
        if not failure.check(ContentError, CancelledError):
            self._log.failure("deleting an object failed", failure)


def _not_taken() -> ContentError:
    return ContentError("large", "the Presence Server does not take it")


def _cid_url(cid: str) -> str:
    return f"cid:{cid}"
