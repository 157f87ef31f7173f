"""Retrieving objects that are told by reference (WAT-06, CIN-03, CIN-06, CIN-12; RFC 4483)."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha1
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore, TimeoutError

from presence.content.errors import ContentError
from presence.watching.interfaces import Retrieved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from presence.watching.interfaces import IObjectFetcher
    from pysip.external import ExternalBody

_AT_ONCE: Final = 4
_WAITING: Final = 256
"""Objects that wait for their turn."""

_PORTS: Final = {"http": 80, "https": 443}


@attrs.frozen(slots=True, kw_only=True)
class RetrievalLimits:
    """Bounds of what is retrieved.

    :ivar octets: of one object.
    :ivar remembered: octets of all objects that are kept.
    :ivar seconds: that one may take.
    """

    octets: int = 8 << 20
    remembered: int = 32 << 20
    seconds: float = 60.0


def host_of(url: str) -> str:
    """Host and port of a URL, in lower case, without the port that its scheme has anyway.

    :raises ContentError: ``foreign``, it is no ``http`` or ``https`` URL, or has user
        information.
    """
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        raise ContentError("foreign", "no URL") from None
    if scheme not in _PORTS or not host or "@" in parts.netloc:
        raise ContentError("foreign", "no http or https URL of a host")
    host = f"[{host}]" if ":" in host else host.rstrip(".")
    return host if port in (None, _PORTS[scheme]) else f"{host}:{port}"


class ObjectRetriever:
    """Retrieves objects from hosts that are allowed, each version once.

    :param fetcher: gets them.
    :param hosts: ``host`` or ``host:port`` from which objects may be had; others are not asked,
        for a presentity must not choose whom its watchers call (CIN-06).
    :param clock: for time-outs.
    :param wall: wall-clock seconds.
    """

    def __init__(
        self,
        fetcher: IObjectFetcher,
        hosts: Iterable[str],
        clock: IReactorTime,
        wall: Callable[[], float],
        limits: RetrievalLimits | None = None,
    ) -> None:
        self.hosts = frozenset(host.lower() for host in hosts)
        self._fetcher = fetcher
        self._clock = clock
        self._wall = wall
        self._limits = limits or RetrievalLimits()
        self._slots = DeferredSemaphore(_AT_ONCE)
        self._known: OrderedDict[str, Retrieved] = OrderedDict()
        self._octets = 0
        self._under_way: dict[str, list[tuple[ExternalBody, Deferred[Retrieved]]]] = {}

    def retrieve(self, reference: ExternalBody) -> Deferred[Retrieved]:
        """The object that a reference tells of, checked by what the reference says (CIN-03).

        Never blocks, and calls nobody before it has returned unless the object is here already.

        :raises ContentError: (in the Deferred) ``foreign`` when its host is not allowed, or it
            would come unprotected without a hash to check; ``missing`` when its time is over;
            ``large``, ``mismatch``, ``late`` and the others as they turn out.
        """
        wanted: Deferred[Retrieved] = Deferred()
        url = reference.url
        try:
            self._check(reference)
        except ContentError as error:
            wanted.errback(error)
            return wanted
        known = self._known.get(url)
        if known is not None and reference.sha1 and fits(reference, known.body):
            self._known.move_to_end(url)
            wanted.callback(known)
            return wanted
        waiting = self._under_way.get(url)
        if waiting is not None:
            waiting.append((reference, wanted))
            return wanted
        if len(self._slots.waiting) >= _WAITING:
            wanted.errback(ContentError("late", "too many objects are waited for"))
            return wanted
        self._under_way[url] = [(reference, wanted)]
        self._slots.run(self._fetch, url, known).addBoth(self._fetched, url, known)
        return wanted

    def _check(self, reference: ExternalBody) -> None:
        """Whether an object may be asked for at all."""
        if host_of(reference.url) not in self.hosts:
            raise ContentError("foreign", "its host is not allowed")
        if reference.url[:5].lower() == "http:" and not reference.sha1:
            raise ContentError("foreign", "over http and without a hash anybody can change it")
        if reference.expiration <= self._wall():
            raise ContentError("missing", "its time is over")
        if reference.size is not None and reference.size > self._limits.octets:
            raise ContentError("large", f"over {self._limits.octets} octets")

    def _fetch(self, url: str, known: Retrieved | None) -> Deferred[Retrieved]:
        etag = known.etag if known is not None else ""
        fetching = self._fetcher.fetch(url, self._limits.octets, etag)
        fetching.addTimeout(self._limits.seconds, self._clock)
        return fetching

    def _fetched(self, result: Retrieved | Failure, url: str, known: Retrieved | None) -> None:
        waiting = self._under_way.pop(url)
        if isinstance(result, Retrieved):
            if result.unchanged and known is not None:
                result = known
            self._remember(url, result)
            for reference, wanted in waiting:
                if fits(reference, result.body):
                    wanted.callback(result)
                else:
                    wanted.errback(ContentError("mismatch", "not of the size or hash told"))
            return
        if result.check(TimeoutError):
            error: BaseException = ContentError("late", "no answer in time")
        else:
            error = result.value or ContentError("refused")
        for _, wanted in waiting:
            wanted.errback(error)

    def _remember(self, url: str, found: Retrieved) -> None:
        before = self._known.pop(url, None)
        self._octets += len(found.body) - (len(before.body) if before is not None else 0)
        self._known[url] = found
        while self._octets > self._limits.remembered:
            _, oldest = self._known.popitem(last=False)
            self._octets -= len(oldest.body)


def fits(reference: ExternalBody, body: bytes) -> bool:
    """Whether a body is what a reference tells of (CIN-03)."""
    if reference.size is not None and len(body) != reference.size:
        return False
    # RFC 4483 section 5.9 has no other hash; it guards against mistakes, TLS against malice
    return not reference.sha1 or sha1(body, usedforsecurity=False).hexdigest() == reference.sha1
