"""Locating SIP servers (RFC 3263): from a URI to the places to try, in order.

Requirements DNS-01 to DNS-11 of ``sip-core.md``.  Which URI is the next hop (DNS-01) is
the business of :func:`pysip.dialog.next_hop`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from pysip.errors import TransportError
from pysip.interfaces import ILocator, IResponseLocator, Target
from pysip.transport.base import DEFAULT_PORTS, canonical_host
from pysip.uri import SimpleUri, SipUri, parse_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from pysip.dns import Naptr, RecordCache, Srv
    from pysip.header import Via
    from pysip.uri import Uri

_SERVICES = {"sip+d2u": "UDP", "sip+d2t": "TCP", "sips+d2t": "TLS"}
"""NAPTR services (RFC 3263 section 4.1)."""

_PREFIXES = {"UDP": "_sip._udp.", "TCP": "_sip._tcp.", "TLS": "_sips._tcp."}
"""SRV owner names (DNS-04)."""

_TRANSPORTS = {"udp": "UDP", "tcp": "TCP", "tls": "TLS"}

MAX_REMEMBERED = 4096
"""Numeric URIs and unreachable targets remembered."""


@implementer(ILocator, IResponseLocator)
class Locator:
    """RFC 3263, with a table of exceptions in front of it.

    :ivar protocols: transports to be used, the preferred one first.
    """

    def __init__(
        self,
        records: RecordCache,
        clock: IReactorTime,
        protocols: Sequence[str] = ("UDP", "TCP", "TLS"),
        static: Mapping[str, Sequence[Target | str]] | None = None,
        *,
        families: Sequence[str] = ("AAAA", "A"),
        choose: Callable[[int, int], int] | None = None,
    ) -> None:
        """Know the exceptions; nothing is looked up yet.

        :param records: DNS.
        :param static: by domain or host the places to try instead of asking DNS (DNS-09):
            targets, or SIP URIs.
        :param families: address records to ask for, the preferred one first (DNS-06).
        :param choose: random integer between two bounds inclusive, for the weights.
        :raises pysip.errors.ParseError: a static place is no URI.
        :raises ValueError: a static place is no SIP URI.
        """
        self.protocols = tuple(protocols)
        self._records = records
        self._clock = clock
        self._families = tuple(families)
        self._choose = choose or random.SystemRandom().randint
        self._static = {
            _domain(name): tuple(_place(place) for place in places)
            for name, places in (static or {}).items()
        }
        self._numeric: dict[tuple[str, str, int | None, str | None, str | None], Target | None] = {}
        self._unreachable: dict[Target, float] = {}

    # -- ILocator

    def immediate(self, uri: Uri) -> Target | None:
        """The only target of ``uri`` when that takes no lookup, else None."""
        if not isinstance(uri, SipUri):
            return None
        params = uri.params
        key = (uri.scheme, uri.host, uri.port, params.get("transport"), params.get("maddr"))
        known = self._numeric
        try:
            return known[key]
        except KeyError:
            targets = self._without_lookup(uri)
            target = targets[0] if targets is not None and len(targets) == 1 else None
            if len(known) >= MAX_REMEMBERED:
                known.clear()
            known[key] = target
            return target

    def locate(self, uri: Uri) -> Deferred[list[Target]]:
        """All targets of ``uri`` in the order to try; empty when there is none."""
        if isinstance(uri, SimpleUri):
            # pres: and im: without an SRV record of their own are SIP (RFC 3861, PRE-06).
            uri = SipUri("sip", uri.user, uri.host)
        if not isinstance(uri, SipUri):
            return succeed([])
        targets = self._without_lookup(uri)
        if targets is not None:
            return succeed(self._reachable_first(targets))
        return Deferred.fromCoroutine(self._locate(uri))

    def failed(self, target: Target, seconds: float) -> None:
        """Offer ``target`` last for ``seconds`` (DNS-07)."""
        known = self._unreachable
        now = self._clock.seconds()
        known.pop(target, None)
        if len(known) >= MAX_REMEMBERED:
            for old in [old for old, until in known.items() if until <= now]:
                del known[old]
            if len(known) >= MAX_REMEMBERED:
                del known[next(iter(known))]
        known[target] = now + seconds

    def response_targets(self, via: Via) -> Deferred[list[Target]]:
        """Where else a response may go when its way back has failed (DNS-08).

        :param via: the top Via of the request.
        :raises pysip.errors.TransportError: (in the Deferred) the lookup itself failed.
        """
        protocol = via.protocol
        if protocol not in self.protocols:
            return succeed([])
        host = canonical_host(via.host)
        if host is not None:
            port = via.port or DEFAULT_PORTS[protocol]
            return succeed([Target(protocol, (host, port), via.host)])
        return Deferred.fromCoroutine(self._sent_by(via))

    # -- without DNS

    def _without_lookup(self, uri: SipUri) -> list[Target] | None:
        """Targets of a numeric or statically known URI; None when DNS must be asked."""
        places = self._static.get(_domain(uri.host)) if self._static else None
        if places is None:
            protocols = self._explicit(uri)
            host = canonical_host(uri.maddr or uri.host)
            if host is None:
                return None if protocols else []
            return [
                Target(protocol, (host, uri.port or DEFAULT_PORTS[protocol]), uri.host)
                for protocol in protocols[:1]
            ]
        targets = []
        for place in places:
            if isinstance(place, Target):
                targets.append(place)
                continue
            numeric = canonical_host(place.host)
            if numeric is None:
                return None
            for protocol in self._explicit(_merged(place, uri))[:1]:
                port = place.port or uri.port or DEFAULT_PORTS[protocol]
                targets.append(Target(protocol, (numeric, port), uri.host))
        if uri.scheme == "sips":
            targets = [target for target in targets if target.protocol == "TLS"]
        return targets

    def _explicit(self, uri: SipUri) -> tuple[str, ...]:
        """Transports that ``uri`` allows, the default one first (DNS-02, DNS-11)."""
        secure = uri.scheme == "sips"
        asked = uri.transport
        if asked:
            protocol = _TRANSPORTS.get(asked, "")
            if secure:
                protocol = "" if protocol == "UDP" else "TLS" if protocol else ""
            return (protocol,) if protocol in self.protocols else ()
        if secure:
            return ("TLS",) if "TLS" in self.protocols else ()
        # Never TLS unasked: the peer has not said that it speaks it.
        return tuple(protocol for protocol in ("UDP", "TCP") if protocol in self.protocols)

    # -- with DNS

    async def _locate(self, uri: SipUri) -> list[Target]:
        places = self._static.get(_domain(uri.host)) if self._static else None
        if places is None:
            return self._reachable_first(await self._resolve(uri, uri.host))
        targets: list[Target] = []
        for place in places:
            if isinstance(place, Target):
                targets.append(place)
            else:
                targets += await self._resolve(_merged(place, uri), uri.host)
        return self._reachable_first(targets)

    async def _resolve(self, uri: SipUri, name: str) -> list[Target]:
        """Targets of ``uri``, to be verified as ``name`` (DNS-10)."""
        domain = _domain(uri.maddr or uri.host)
        allowed = self._explicit(uri)
        if not allowed:
            return []
        numeric = canonical_host(domain)
        if numeric is not None:
            return [Target(allowed[0], (numeric, uri.port or DEFAULT_PORTS[allowed[0]]), name)]
        if uri.port is not None:
            return await self._hosts(allowed[0], domain, uri.port, name)
        if uri.transport:
            found = await self._services(allowed[0], _PREFIXES[allowed[0]] + domain, name)
        else:
            found = await self._negotiate(uri, domain, allowed, name)
        if found is not None:
            return found
        return await self._hosts(allowed[0], domain, DEFAULT_PORTS[allowed[0]], name)

    async def _negotiate(
        self, uri: SipUri, domain: str, allowed: tuple[str, ...], name: str
    ) -> list[Target] | None:
        """Let NAPTR, then SRV choose the transport; None when there is neither (DNS-03)."""
        secure = uri.scheme == "sips"
        pointers = sorted(
            (
                pointer
                for pointer in await self._records.naptr(domain)
                if self._is_usable(pointer, secure)
            ),
            key=lambda pointer: (pointer.order, pointer.preference),
        )
        none_offered = False
        for pointer in pointers:
            found = await self._services(_SERVICES[pointer.service], pointer.replacement, name)
            if found:
                return found
            none_offered = none_offered or found is not None
        if pointers:
            return [] if none_offered else None
        ordered = [protocol for protocol in self.protocols if protocol in allowed]
        for protocol in ordered:  # all at once; they are used in order of preference
            self._records.srv(_PREFIXES[protocol] + domain).addErrback(_awaited)
        offered = bool(ordered)
        for protocol in ordered:
            found = await self._services(protocol, _PREFIXES[protocol] + domain, name)
            if found:
                return found
            offered = offered and found is not None
        return [] if offered else None

    def _is_usable(self, pointer: Naptr, secure: bool) -> bool:
        protocol = _SERVICES.get(pointer.service)
        return (
            protocol in self.protocols
            and pointer.flags == "s"
            and not pointer.regexp
            and bool(pointer.replacement)
            and (protocol == "TLS" or not secure)
        )

    async def _services(self, protocol: str, owner: str, name: str) -> list[Target] | None:
        """Targets of an SRV owner name; None without records (DNS-04)."""
        services = await self._records.srv(owner)
        if not services:
            return None
        targets: list[Target] = []
        error: TransportError | None = None
        for service in self._by_weight(services):
            if not service.target:
                continue
            try:
                targets += await self._hosts(protocol, service.target, service.port, name)
            except TransportError as failure:  # the other servers may be found
                error = failure
        if error is not None and not targets:
            raise error
        return targets

    def _by_weight(self, services: list[Srv]) -> list[Srv]:
        """Lowest priority value first, random by weight within it (RFC 2782)."""
        ordered: list[Srv] = []
        for priority in sorted({service.priority for service in services}):
            # Those of weight 0 first, so that they have a small chance too.
            left = sorted(
                (service for service in services if service.priority == priority),
                key=lambda service: service.weight > 0,
            )
            while left:
                drawn = self._choose(0, sum(service.weight for service in left))
                for service in left:
                    drawn -= service.weight
                    if drawn <= 0:
                        break
                left.remove(service)
                ordered.append(service)
        return ordered

    async def _hosts(self, protocol: str, host: str, port: int, name: str) -> list[Target]:
        """Targets of a host name, by preference of family (DNS-05, DNS-06)."""
        numeric = canonical_host(host)
        if numeric is not None:
            return [Target(protocol, (numeric, port), name)]
        asked = [self._records.addresses(host, ipv6=family == "AAAA") for family in self._families]
        targets: list[Target] = []
        error: TransportError | None = None
        for answer in asked:
            try:
                targets += [Target(protocol, (address, port), name) for address in await answer]
            except TransportError as failure:
                error = failure
        if error is not None and not targets:
            raise error
        return targets

    async def _sent_by(self, via: Via) -> list[Target]:
        protocol, domain = via.protocol, _domain(via.host)
        if via.port is None:
            found = await self._services(protocol, _PREFIXES[protocol] + domain, via.host)
            if found is not None:
                return self._reachable_first(found)
        port = via.port or DEFAULT_PORTS[protocol]
        return self._reachable_first(await self._hosts(protocol, domain, port, via.host))

    def _reachable_first(self, targets: Iterable[Target]) -> list[Target]:
        """``targets`` without repetitions, those that failed lately at the end."""
        unique = list(dict.fromkeys(targets))
        unreachable = self._unreachable
        if unreachable:
            now = self._clock.seconds()
            unique.sort(key=lambda target: unreachable.get(target, 0.0) > now)
        return unique


def _awaited(failure: Failure) -> None:
    """The same answer is awaited elsewhere, its error too."""
    failure.trap(TransportError)


def _domain(host: str) -> str:
    return host.lower().rstrip(".")


def _place(place: Target | str) -> Target | SipUri:
    """A static place; URIs are merged with the one asked for."""
    if isinstance(place, Target):
        return place
    uri = parse_uri(place)
    if not isinstance(uri, SipUri):
        raise ValueError("a SIP URI is expected")
    return uri


def _merged(place: SipUri, uri: SipUri) -> SipUri:
    """The static ``place``, completed with what ``uri`` says about transport and port."""
    params = dict(place.params)
    if not place.transport and uri.transport:
        params["transport"] = uri.transport
    scheme = "sips" if "sips" in (place.scheme, uri.scheme) else "sip"
    return SipUri(scheme, None, place.host, place.port or uri.port, params)
