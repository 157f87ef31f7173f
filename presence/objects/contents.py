"""What is fetched from, or stored at, the Content Servers for watchers (PRS-15, CIN-06)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from functools import partial
from hashlib import sha1
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from twisted.internet.defer import CancelledError, DeferredSemaphore, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from presence.content.errors import ContentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from presence.content.interfaces import Fetched, IContentObjects
    from presence.objects.published import PublishedObject

__all__ = ["Contents", "Stored"]

PATIENCE: Final = 5.0
"""Seconds that a NOTIFY waits for an object, at most."""

_AGAIN: Final = 60.0
"""Seconds until what has failed is tried again, when it is asked for."""

_AT_ONCE: Final = 16
_QUEUED: Final = 1000
_OCTETS: Final = 8 << 20
"""Octets of objects that are remembered."""
_REMEMBERED: Final = 20000
"""Failures and places that are remembered."""

Key = tuple[str, ...]
_Value = TypeVar("_Value")


@attrs.frozen(slots=True)
class Stored:
    """Where an object was stored, and until when it is there."""

    url: str
    until: float


class Contents:
    """Fetches and stores objects, each once, and remembers them for a while.

    :param clock: monotonic seconds and delayed calls.
    :param wall: wall-clock seconds.
    :param come: told of each key that was waited for, whether it is there now or has failed.

    :ivar servers: the Content Servers, None without any.
    :ivar outcomes: how requests ended, by operation and kind; ``ok`` for success.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, wall: Callable[[], float], come: Callable[[Key], None]
    ) -> None:
        self.servers: IContentObjects | None = None
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._clock = clock
        self._wall = wall
        self._come = come
        self._slots = DeferredSemaphore(_AT_ONCE)
        self._keeping = DeferredSemaphore(_AT_ONCE)
        self._bodies: OrderedDict[Key, Fetched] = OrderedDict()
        self._octets = 0
        self._stored: OrderedDict[Key, Stored] = OrderedDict()
        self._failed: OrderedDict[Key, float] = OrderedDict()
        self._under_way: dict[Key, Deferred[Any]] = {}
        self._kept_now: set[Deferred[Any]] = set()

    def stop(self) -> None:
        """Wait for nothing more."""
        self.servers = None
        for request in [*self._under_way.values(), *self._kept_now]:
            request.cancel()

    def owns(self, url: str) -> bool:
        """Whether a URL is of a Content Server that is configured (CIN-06)."""
        return self.servers is not None and self.servers.owns(url)

    def body(self, told: PublishedObject, limit: int) -> Fetched | Key | None:
        """An object that was published by reference.

        :param limit: octets that it may have.
        :returns: the key to wait for while it is not there; None when it cannot be had: it is
            not to be reached, too large, or not what was promised (CIN-03, CIN-05).
        """
        key = ("fetch", told.name)
        found = self._bodies.get(key)
        if found is not None:
            self._bodies.move_to_end(key)
            return found if len(found.body) <= limit else None
        servers = self.servers
        if servers is None or not servers.owns(told.url) or not self._may_start(key):
            return None
        self._start(key, partial(servers.fetch, told.url, limit), partial(self._fetched, key, told))
        return self._bodies.get(key, key if key in self._under_way else None)

    def place(self, owner: str, told: PublishedObject, until: float) -> Stored | Key | None:
        """Where an object is that is too large for a body (AGP-116).

        :param owner: canonical URI of the presentity.
        :param until: wall-clock seconds until which it is needed.
        :returns: as :meth:`body`.
        """
        key = ("store", owner, told.name)
        found = self._stored.get(key)
        if found is not None and found.until > self._wall():
            self._stored.move_to_end(key)
            return found
        servers = self.servers
        if servers is None or not self._may_start(key):
            return None
        self._start(
            key,
            partial(servers.store, owner, told.content_type, told.body, until),
            partial(self._placed, key, until),
        )
        return self._stored.get(key, key if key in self._under_way else None)

    def keep(self, owner: str, told: PublishedObject, until: float) -> None:
        """A publication lives until then, and so has what it refers to (CSV-05, AGP-109)."""
        servers = self.servers
        if servers is None:
            return
        url = told.url
        if not url:
            stored = self._stored.get(("store", owner, told.name))
            if stored is None or stored.until >= until:
                return
            url = stored.url
        elif not servers.owns(url):
            return
        if len(self._keeping.waiting) >= _QUEUED:
            return  # the next refresh tells it again
        request: Deferred[Any] = self._keeping.run(servers.keep, url, until)
        self._kept_now.add(request)
        request.addTimeout(_AGAIN, self._clock)
        request.addCallbacks(
            partial(self._kept, owner, told, url, until), partial(self._not_kept, owner, told)
        )
        request.addBoth(self._keeping_over, request)

    # -- one request --------------------------------------------------------------------

    def _may_start(self, key: Key) -> bool:
        """Whether a key is under way or can be now; what has failed waits for its time."""
        if key in self._under_way:
            return True
        again = self._failed.get(key)
        if again is not None and self._clock.seconds() < again:
            return False
        return len(self._slots.waiting) < _QUEUED

    def _start(
        self, key: Key, begin: Callable[[], Deferred[Any]], done: Callable[[Any], None]
    ) -> None:
        if key in self._under_way:
            return
        request = self._slots.run(begin)
        self._under_way[key] = request
        request.addTimeout(PATIENCE, self._clock)
        request.addCallbacks(done, partial(self._not_come, key))
        request.addBoth(partial(self._over, key))

    def _over(self, key: Key, result: object) -> None:
        """A request has ended, with this failure if it is one: a bug."""
        self._under_way.pop(key, None)
        if isinstance(result, Failure):
            self._fail(key)
            self._log.failure("taking an object failed", result)
        self._come(key)

    def _fetched(self, key: Key, told: PublishedObject, fetched: Fetched) -> None:
        """An object has come; what is not as it was promised is ignored (CIN-03, CIN-12)."""
        body = fetched.body
        if (told.size is not None and len(body) != told.size) or (
            told.sha1 and sha1(body, usedforsecurity=False).hexdigest() != told.sha1
        ):
            self._fail(key)
            self._count("fetch", "mismatch")
            return
        self._count("fetch", "ok")
        self._failed.pop(key, None)
        self._bodies[key] = fetched
        self._octets += len(body)
        while self._octets > _OCTETS and len(self._bodies) > 1:
            _, oldest = self._bodies.popitem(last=False)
            self._octets -= len(oldest.body)

    def _placed(self, key: Key, until: float, url: str) -> None:
        self._count("store", "ok")
        self._failed.pop(key, None)
        _remember(self._stored, key, Stored(url, until))

    def _keeping_over(self, result: object, request: Deferred[Any]) -> None:
        self._kept_now.discard(request)
        if isinstance(result, Failure):
            self._log.failure("keeping an object failed", result)

    def _kept(self, owner: str, told: PublishedObject, url: str, until: float, _: None) -> None:
        self._count("keep", "ok")
        key = ("store", owner, told.name)
        if not told.url and key in self._stored:
            self._stored[key] = Stored(url, until)

    def _not_kept(self, owner: str, told: PublishedObject, failure: Failure) -> None:
        kind = self._kind(failure, "keep")
        if kind == "missing" and not told.url:
            self._stored.pop(("store", owner, told.name), None)

    def _not_come(self, key: Key, failure: Failure) -> None:
        self._kind(failure, key[0])
        self._fail(key)

    def _kind(self, failure: Failure, operation: str) -> str:
        """What kind of failure it is; one that nobody expects goes to the log."""
        error = failure.value
        if isinstance(error, ContentError):
            kind: str = error.kind
        elif failure.check(TimeoutError, CancelledError):
            kind = "late"
        else:
            kind = "bug"
            self._log.failure("a request to a Content Server failed", failure)
        self._count(operation, kind)
        return kind

    def _fail(self, key: Key) -> None:
        _remember(self._failed, key, self._clock.seconds() + _AGAIN)

    def _count(self, operation: str, kind: str) -> None:
        self.outcomes[operation, kind] += 1
        if kind == "mismatch":
            self._log.warn("an object is not what its reference promises; it is ignored")


def _remember(kept: OrderedDict[Key, _Value], key: Key, value: _Value) -> None:
    """Set it as the newest, and forget the oldest when there are very many."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > _REMEMBERED:
        kept.popitem(last=False)
