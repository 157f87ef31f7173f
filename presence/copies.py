"""Copies of the documents that decisions depend on: fetched, followed, polled (PSV-07 to PSV-10).

A copy is shared by all who use it, and gone when nobody does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.logger import Logger

from presence.documentcopy import Copy, Source, Unit, User, followed_with
from xcap.agent import NoAnswer
from xcap.contents import entity_tag
from xcap.errors import StoreUnavailable, XcapError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from presence.following import Feed
    from xcap.cache import CachedDocument
    from xcap.interfaces import IDocumentClient
    from xcap.records import HttpResponse

_DOUBT = 1.0
"""Seconds until what was fetched, and not told, is looked at again."""
_SLICE = 200
"""Copies looked at in one turn of the reactor."""


@attrs.frozen(slots=True, kw_only=True)
class CopySettings:
    """How copies are kept; times in seconds.

    :ivar poll: between two attempts to fetch what could not be had or is not followed now.
    :ivar check: after which a copy that is followed by subscription is fetched all the same,
        since a notification can be lost unnoticed (FLW-04); 0 for never.
    :ivar keep: how long a copy is used while its server cannot be reached (PSV-08).
    :ivar idle: between two attempts to fetch what nobody waits for.
    :ivar foreign: after which documents of foreign servers are fetched anew (XDM-31).
    :ivar parallel: documents fetched at the same time.
    """

    poll: float = 20.0
    check: float = 50.0
    keep: float = 86400.0
    idle: float = 600.0
    foreign: float = 3600.0
    parallel: int = 64


class Copies:
    """All copies.

    :param clock: time and delayed calls.
    :param clients: by XCAP root and reader; None for a root that nothing may be fetched from.
    :param feed: tells of changes.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        clients: Callable[[str, str], IDocumentClient | None],
        feed: Feed,
        settings: CopySettings | None = None,
    ) -> None:
        self._clock = clock
        self._clients = clients
        self._feed = feed
        self._settings = settings or CopySettings()
        self._copies: dict[Source, Copy] = {}
        self._units: dict[tuple[str, tuple[str, ...]], Unit] = {}
        self._polled: dict[Copy, None] = {}
        self._doubtful: dict[Copy, None] = {}
        self._doubts: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self._looking = False
        self._parallel = DeferredSemaphore(self._settings.parallel)

    def __len__(self) -> int:
        return len(self._copies)

    @property
    def followed(self) -> int:
        """What is followed, as the feed counts it."""
        return len(self._units)

    def use(self, source: Source, user: User) -> Copy:
        """The copy of a document, which is fetched and followed from now on.

        :param user: is told of changes; what was given before is given again.
        """
        copy = self._copies.get(source)
        if copy is None:
            copy = self._copies[source] = Copy(source)
            if source.followed:
                self._follow(copy)
            if not copy.sure:
                self._poll(copy)
            self._fetch(copy)  # who asks looks at what it gives at once
        copy.users[user] = None
        return copy

    def refresh(self, copy: Copy) -> None:
        """Fetch a copy anew; it is settled again, and its users are told, when that has ended."""
        copy.settled = False
        copy.doubted = True
        self._fetch(copy)

    def drop(self, copy: Copy, user: User) -> None:
        """Somebody uses a copy no more."""
        copy.users.pop(user, None)
        if copy.users or self._copies.get(copy.source) is not copy:
            return
        del self._copies[copy.source]
        self._rest(copy)
        self._doubtful.pop(copy, None)
        if not self._doubtful and self._doubts is not None:
            self._doubts.cancel()
            self._doubts = None
        unit = copy.unit
        if unit is not None:
            unit.remove(copy)
            if not unit:
                del self._units[unit.key]
                unit.stop()
        if copy.work is not None:
            copy.work.cancel()

    # -- following ------------------------------------------------------------------------

    def _follow(self, copy: Copy) -> None:
        source = copy.source
        key = (source.root, followed_with(source.path))
        unit = self._units.get(key)
        if unit is None:
            unit = self._units[key] = Unit(key, self._told, self._fetch)
            copy.unit = unit
            unit.add(copy)
            unit.start(self._feed)
        else:
            copy.unit = unit
            unit.add(copy)

    def _told(self, copy: Copy, document: CachedDocument | None) -> None:
        """The document is now so."""
        copy.told += 1
        if document is None:
            self._set(copy, None, "")
        else:
            self._set(copy, document.octets, document.etag)

    # -- fetching -------------------------------------------------------------------------

    def _fetch(self, copy: Copy) -> None:
        if copy.work is not None:
            copy.again = True  # what is under way may be too old
            return

        def done(_: object) -> None:
            copy.work = None

        copy.work = work = Deferred.fromCoroutine(self._get(copy))
        work.addErrback(self._bug, copy).addBoth(done)

    def _bug(self, failure: Failure, copy: Copy) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("fetching a document failed", failure)
        self._fail(copy)

    async def _get(self, copy: Copy) -> None:
        while True:
            copy.again = False
            told = copy.told
            current = copy.current
            response: HttpResponse | None = None
            await self._parallel.acquire()
            try:
                response = await self._ask(copy)
            except (NoAnswer, XcapError, StoreUnavailable, ValueError) as error:
                self._log.debug("a document cannot be fetched: {error}", error=type(error).__name__)
            finally:
                self._parallel.release()
            if copy.told == told:
                self._answered(copy, response)
            # else what was told meanwhile is newer
            if current and not copy.failing:
                copy.lost = False
            if not copy.again or not copy.users:
                return

    async def _ask(self, copy: Copy) -> HttpResponse | None:
        source = copy.source
        client = self._clients(source.root, source.reader)
        if client is None:
            return None
        tag = copy.etag if copy.known and copy.octets is not None else ""
        return await client.get(source.root + source.path, tag or None)

    def _answered(self, copy: Copy, response: HttpResponse | None) -> None:
        status = 0 if response is None else response.status
        copy.checked = self._clock.seconds()
        before = copy.octets
        if response is not None and status == 200:
            self._set(copy, response.body, entity_tag(response))
        elif status == 304 and copy.known:
            self._set(copy, copy.octets, copy.etag)
        elif status in (404, 410) or (status in (401, 403) and copy.source.reader):
            self._set(copy, None, "")
        else:
            self._fail(copy)
        doubted, copy.doubted = copy.doubted, False
        if doubted and copy.current and not copy.failing and copy.octets != before:
            self._doubt(copy)

    def _doubt(self, copy: Copy) -> None:
        """Look again soon at what has changed though nobody has told of it yet.

        When it is changed back before it is told, nobody will ever tell.
        """
        if self._copies.get(copy.source) is copy:
            self._doubtful[copy] = None
            if self._doubts is None:
                self._doubts = self._clock.callLater(_DOUBT, self._look_again)

    def _look_again(self) -> None:
        self._doubts = None
        doubtful, self._doubtful = self._doubtful, {}
        for copy in doubtful:
            copy.doubted = True
            self._fetch(copy)

    # -- outcome --------------------------------------------------------------------------

    def _set(self, copy: Copy, octets: bytes | None, etag: str) -> None:
        same = copy.known and copy.octets == octets
        copy.hold(copy.octets if same else octets, etag)
        copy.confirmed = self._clock.seconds()
        copy.failing = False
        if copy.current and copy.sure:
            self._rest(copy)
        if same and copy.settled:
            return
        copy.known = copy.settled = True
        self._tell(copy)

    def _fail(self, copy: Copy) -> None:
        if not copy.failing and copy.known and copy.current:
            copy.confirmed = self._clock.seconds()
        copy.failing = True
        if self._copies.get(copy.source) is copy:
            self._poll(copy)
        if not copy.settled:
            copy.settled = True
            self._tell(copy)

    def _tell(self, copy: Copy) -> None:
        copy.revision += 1
        for user in list(copy.users):
            user.touched()

    # -- polling --------------------------------------------------------------------------

    def _poll(self, copy: Copy) -> None:
        self._polled[copy] = None
        self._wait()

    def _rest(self, copy: Copy) -> None:
        self._polled.pop(copy, None)
        if not self._polled and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        """Begin a round in a while, if there is anything to poll."""
        if self._polled and self._timer is None and not self._looking:
            self._timer = self._clock.callLater(self._settings.poll, self._round)

    def _round(self) -> None:
        self._look(iter(list(self._polled)))

    def _look(self, copies: Iterator[Copy]) -> None:
        """See what has to be fetched, some in each turn; then wait for the next round."""
        self._timer = None
        self._looking = True
        some = list(islice(copies, _SLICE))
        for copy in some:
            if copy in self._polled:
                self._look_at(copy)
        self._looking = False
        if len(some) == _SLICE and self._polled:
            self._timer = self._clock.callLater(0, self._look, copies)
        else:
            self._wait()

    def _look_at(self, copy: Copy) -> None:
        settings = self._settings
        now = self._clock.seconds()
        waited_for = copy.attended
        if copy.failing:
            if copy.known and now - copy.confirmed > settings.keep:
                copy.known = False
                copy.hold(None, "")
                self._tell(copy)
            if waited_for or now - copy.checked >= settings.idle:
                self._fetch(copy)
        elif not copy.source.followed:
            if now - copy.checked >= settings.foreign:
                self._fetch(copy)
        elif not copy.current:
            copy.lost = True
            if waited_for or now - copy.checked >= settings.idle:
                self._fetch(copy)
        else:
            copy.confirmed = now
            due = settings.check and now - copy.checked + settings.poll > settings.check
            if waited_for and (copy.lost or due):
                self._fetch(copy)
