"""Rates and limits as the operator set them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zope.interface import implementer

from pysip.errors import SipError
from pysip.event.interfaces import IPublicationPolicy, IRatePolicy
from pysip.event.throttle import Buckets


@implementer(IRatePolicy)
class DomainRates:
    """The notification interval of each domain (NOT-13, PSV-15).

    :param default: seconds, for domains without their own.
    :param domains: seconds by lower-case domain.
    :param server: seconds for what has no user: the server itself (XEVT-20).
    """

    def __init__(
        self, default: float, domains: Mapping[str, float], server: float | None = None
    ) -> None:
        self._default = default
        self._domains = dict(domains)
        self._server = default if server is None else server

    def interval(self, package: str, resource: str) -> float:
        """Least seconds between two NOTIFYs of one subscription."""
        _, at, domain = resource.rpartition("@")
        if not at:
            return self._server
        return self._domains.get(domain, self._default) if self._domains else self._default


@implementer(IPublicationPolicy)
class PublicationLimits:
    """Lifetimes and limits of PUBLISH (PUB-04, PUB-16, LIM-01).

    :param clock: monotonic seconds.
    :param default_expires: lifetime of a PUBLISH without Expires, in seconds.
    :param min_expires: shorter ones get 423.
    :param max_expires: longer ones are cut.
    :param per_resource: live publications of a presentity.
    :param rate: PUBLISHes per second of a publisher, 0 for no limit.
    :param burst: PUBLISHes it may send at once.
    :param total_size: octets of all documents of a presentity, which are composed at once.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        default_expires: int = 3600,
        min_expires: int = 60,
        max_expires: int = 86400,
        per_resource: int = 32,
        rate: float = 1.0,
        burst: int = 10,
        total_size: int = 262144,
    ) -> None:
        self._clock = clock
        self._default = default_expires
        self._min = min_expires
        self._max = max_expires
        self._per_resource = per_resource
        self._buckets = Buckets(rate, burst)
        self._total_size = total_size

    def grant(self, requested: int | None) -> int:
        """The lifetime in seconds.

        :raises SipError: 423 with Min-Expires.
        """
        if requested is None:
            return self._default
        if requested < self._min:
            raise SipError(423, None, (("Min-Expires", str(self._min)),))
        return min(requested, self._max)

    def admit(self, resource: str, publisher: str, live: int, initial: bool) -> None:
        """Return when one more PUBLISH is within the limits.

        :raises SipError: 403 for one publication too many, 503 when they come too fast.
        """
        if initial and live >= self._per_resource:
            raise SipError(403, None, (("Warning", '399 presence "publication limit"'),))
        # A network source publishes for many, and is counted for each.
        key = publisher if publisher == resource else (publisher, resource)
        wait = self._buckets.take(key, self._clock())
        if wait:
            raise SipError(503, None, (("Retry-After", str(int(wait) + 1)),))

    def admit_size(self, others: int, size: int) -> None:
        """Return when a document is not too much beside the others; a single one never is.

        :raises SipError: 413.
        """
        if others and others + size > self._total_size:
            raise SipError(413, None, (("Warning", '399 presence "size of all publications"'),))
