"""DNS records for server location: asked once, kept for their time to live (DNS-07)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.logger import Logger
from twisted.names import dns
from twisted.names.error import (
    AuthoritativeDomainError,
    DNSQueryTimeoutError,
    DNSServerError,
    DomainError,
    ResolverError,
)
from twisted.python.failure import Failure

from pysip.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorTime, IResolver

NEGATIVE_CAP = 300.0
"""Longest time an absence is remembered, seconds."""

NEGATIVE_DEFAULT = 30.0
"""How long it is remembered when no SOA record says so."""

POSITIVE_CAP = 86400.0
"""Longest time a record is kept, seconds."""

FAILURE_TIME = 5.0
"""How long a failed lookup is not repeated, seconds."""


@attrs.frozen(slots=True)
class Naptr:
    """A naming authority pointer (RFC 3403); texts in lower case."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str


@attrs.frozen(slots=True)
class Srv:
    """A service record (RFC 2782); ``target`` is "" where the service is not offered."""

    priority: int
    weight: int
    port: int
    target: str


Record = Naptr | Srv | str
"""Addresses are plain strings."""

_Answer = tuple[list[dns.RRHeader], list[dns.RRHeader], list[dns.RRHeader]]


class RecordCache:
    """Looks records up through a resolver, and remembers them and their absence.

    :ivar lookups: questions asked of the resolver.
    """

    _log = Logger()

    def __init__(
        self,
        resolver: IResolver,
        clock: IReactorTime,
        *,
        size: int = 10000,
        outstanding: int = 1000,
        timeout: Sequence[int] = (1, 2, 4),
    ) -> None:
        """An empty cache.

        :param size: questions remembered.
        :param outstanding: questions under way at once; more fail.
        :param timeout: of the attempts, seconds.
        """
        self.lookups = 0
        self._resolver = resolver
        self._clock = clock
        self._size = size
        self._outstanding = outstanding
        self._timeout = timeout
        self._known: dict[tuple[str, int], tuple[float, list[Record] | None]] = {}
        self._waiting: dict[tuple[str, int], list[Deferred[list[Record]]]] = {}

    def naptr(self, name: str) -> Deferred[list[Naptr]]:
        """NAPTR records of ``name``; empty when there are none.

        :raises pysip.errors.TransportError: (in the Deferred) nobody could tell.
        """
        return self._get(name, dns.NAPTR)  # type: ignore[return-value]

    def srv(self, name: str) -> Deferred[list[Srv]]:
        """SRV records of ``name``; see :meth:`naptr`."""
        return self._get(name, dns.SRV)  # type: ignore[return-value]

    def addresses(self, name: str, *, ipv6: bool) -> Deferred[list[str]]:
        """AAAA or A records of ``name``; see :meth:`naptr`."""
        return self._get(name, dns.AAAA if ipv6 else dns.A)  # type: ignore[return-value]

    def _get(self, name: str, kind: int) -> Deferred[list[Record]]:
        key = (name.lower().rstrip("."), kind)
        answer: Deferred[list[Record]] = Deferred()
        known = self._known.get(key)
        if known is not None and known[0] > self._clock.seconds():
            _give(answer, known[1])
            return answer
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(answer)
            return answer
        if len(self._waiting) >= self._outstanding:
            _give(answer, None)
            return answer
        self._waiting[key] = [answer]
        self.lookups += 1
        asked: Deferred[Any] = maybeDeferred(self._question(kind), key[0], self._timeout)
        asked.addCallbacks(_read, self._absent, callbackArgs=(kind,))
        asked.addErrback(self._failed)
        asked.addCallback(self._answered, key)
        return answer

    def _question(self, kind: int) -> Callable[..., Deferred[Any]]:
        resolver = self._resolver
        if kind == dns.NAPTR:
            return resolver.lookupNamingAuthorityPointer
        if kind == dns.SRV:
            return resolver.lookupService
        return resolver.lookupIPV6Address if kind == dns.AAAA else resolver.lookupAddress

    def _absent(self, failure: Failure) -> tuple[float, list[Record]] | Failure:
        """The name does not exist, or the server knows no such type of record."""
        if failure.check(DNSServerError):
            return failure
        failure.trap(DomainError, AuthoritativeDomainError, UnicodeError)
        [message] = getattr(failure.value, "args", ())[:1] or [None]
        return _negative_time(getattr(message, "authority", ())), []

    def _failed(self, failure: Failure) -> tuple[float, None]:
        expected = (DNSServerError, DNSQueryTimeoutError, TimeoutError, ResolverError, OSError)
        if not failure.check(*expected):
            self._log.failure("The DNS resolver failed", failure)
        return FAILURE_TIME, None

    def _answered(self, result: tuple[float, list[Record] | None], key: tuple[str, int]) -> None:
        seconds, records = result
        known = self._known
        known.pop(key, None)
        if len(known) >= self._size:
            del known[next(iter(known))]
        known[key] = (self._clock.seconds() + seconds, records)
        for answer in self._waiting.pop(key):
            _give(answer, records)


def _give(answer: Deferred[list[Record]], records: list[Record] | None) -> None:
    if records is None:
        answer.errback(Failure(TransportError("DNS lookup failed")))
    else:
        answer.callback(records)


def _read(answer: _Answer, kind: int) -> tuple[float, list[Record]]:
    """Time to live and records of an answer."""
    headers = [header for header in answer[0] if header.type == kind]
    if not headers:
        return _negative_time(answer[1]), []
    seconds = min(POSITIVE_CAP, *(header.ttl for header in answer[0]))
    return seconds, [_record(header) for header in headers]


def _record(header: dns.RRHeader) -> Record:
    data: Any = header.payload
    if header.type == dns.SRV:
        return Srv(data.priority, data.weight, data.port, _name(data.target))
    if header.type == dns.NAPTR:
        return Naptr(
            data.order,
            data.preference,
            _text(data.flags),
            _text(data.service),
            _text(data.regexp),
            _name(data.replacement),
        )
    family = socket.AF_INET if header.type == dns.A else socket.AF_INET6
    return socket.inet_ntop(family, data.address)


def _text(value: dns.Charstr) -> str:
    return value.string.decode("ascii", "replace").lower()


def _name(value: dns.Name) -> str:
    return value.name.decode("ascii", "replace").lower().rstrip(".")


def _negative_time(authority: Sequence[dns.RRHeader]) -> float:
    """How long an absence may be remembered (RFC 2308 section 5)."""
    for header in authority:
        if header.type == dns.SOA:
            start: Any = header.payload
            return float(min(header.ttl, start.minimum, NEGATIVE_CAP))
    return NEGATIVE_DEFAULT
