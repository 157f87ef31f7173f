"""Tests of :mod:`pysip.locate` and :mod:`pysip.dns` (RFC 3263)."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.names import authority, client, dns, server
from twisted.names.error import (
    DNSNameError,
    DNSNotImplementedError,
    DNSQueryTimeoutError,
    DNSServerError,
)
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from pysip.dns import RecordCache
from pysip.errors import TransportError
from pysip.header import parse_via
from pysip.interfaces import ILocator, Target
from pysip.locate import Locator
from pysip.uri import parse_uri

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Question(NamedTuple):
    """What was asked."""

    name: str
    kind: int


class FakeResolver:
    """A resolver with a table.

    :ivar records: by question, records or an exception; what is not there does not exist.
    :ivar asked: all questions, in order.
    :ivar held: questions that are answered later, by :meth:`release`.
    """

    def __init__(self, records: Mapping[tuple[str, int], Any]) -> None:
        self.records = dict(records)
        self.asked: list[Question] = []
        self.hold = False
        self.held: list[tuple[Deferred[Any], Question]] = []
        self.ttl = 300
        self.soa: int | None = None

    def _answer(self, question: Question) -> Deferred[Any]:
        found = self.records.get(question)
        if isinstance(found, Exception):
            return fail(found)
        soa = []
        if self.soa is not None:
            payload = dns.Record_SOA(minimum=self.soa, ttl=9999)
            soa = [dns.RRHeader("example.com", dns.SOA, ttl=9999, payload=payload)]
        if found is None:
            message = dns.Message()
            message.authority = soa
            return fail(DNSNameError(message))
        return succeed(
            (
                [
                    dns.RRHeader(question.name, record.TYPE, ttl=self.ttl, payload=record)
                    for record in found
                ],
                soa,
                [],
            )
        )

    def _ask(self, name: str, kind: int) -> Deferred[Any]:
        question = Question(name, kind)
        self.asked.append(question)
        if not self.hold:
            return self._answer(question)
        waiting: Deferred[Any] = Deferred()
        self.held.append((waiting, question))
        return waiting

    def release(self) -> None:
        """Answer what was held."""
        held, self.held = self.held, []
        for waiting, question in held:
            self._answer(question).chainDeferred(waiting)

    def lookupNamingAuthorityPointer(self, name: str, timeout: Any = None) -> Deferred[Any]:
        """NAPTR."""
        return self._ask(name, dns.NAPTR)

    def lookupService(self, name: str, timeout: Any = None) -> Deferred[Any]:
        """SRV."""
        return self._ask(name, dns.SRV)

    def lookupAddress(self, name: str, timeout: Any = None) -> Deferred[Any]:
        """A."""
        return self._ask(name, dns.A)

    def lookupIPV6Address(self, name: str, timeout: Any = None) -> Deferred[Any]:
        """AAAA."""
        return self._ask(name, dns.AAAA)


def srv(*entries: tuple[int, int, int, str]) -> list[Any]:
    """SRV records of (priority, weight, port, target)."""
    return [dns.Record_SRV(p, w, port, target) for p, w, port, target in entries]


def naptr(*entries: tuple[int, int, str, str, str]) -> list[Any]:
    """NAPTR records of (order, preference, flags, service, replacement)."""
    return [
        dns.Record_NAPTR(
            order, pref, flags.encode(), service.encode(), b"", replacement=to.encode()
        )
        for order, pref, flags, service, to in entries
    ]


def a(*addresses: str) -> list[Any]:
    """A records."""
    return [dns.Record_A(address) for address in addresses]


def aaaa(*addresses: str) -> list[Any]:
    """AAAA records."""
    return [dns.Record_AAAA(address) for address in addresses]


RFC_EXAMPLE = {
    ("example.com", dns.NAPTR): naptr(
        (90, 50, "s", "SIP+D2T", "_sip._tcp.example.com"),
        (100, 50, "s", "SIP+D2U", "_sip._udp.example.com"),
        (50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com"),
    ),
    ("_sips._tcp.example.com", dns.SRV): srv((0, 1, 5061, "server1.example.com")),
    ("_sip._tcp.example.com", dns.SRV): srv((0, 1, 5060, "server2.example.com")),
    ("_sip._udp.example.com", dns.SRV): srv((0, 1, 5060, "server3.example.com")),
    ("server1.example.com", dns.A): a("192.0.2.1"),
    ("server2.example.com", dns.A): a("192.0.2.2"),
    ("server3.example.com", dns.A): a("192.0.2.3"),
    ("example.com", dns.A): a("192.0.2.9"),
}
"""The records of RFC 3263 section 4.1."""


class LocateTestCase(SynchronousTestCase):
    """Makes locators."""

    def locator(
        self, records: Mapping[tuple[str, int], Any] | None = None, **options: Any
    ) -> Locator:
        """A locator over a fake resolver."""
        self.clock = Clock()
        self.resolver = FakeResolver(records or {})
        self.cache = RecordCache(self.resolver, self.clock)  # type: ignore[arg-type]
        options.setdefault("choose", lambda low, high: low)
        return Locator(self.cache, self.clock, **options)

    def found(self, locator: Locator, uri: str) -> list[tuple[str, str, int, str]]:
        """Protocol, address, port and name of what a URI leads to."""
        targets = self.successResultOf(locator.locate(parse_uri(uri)))
        return [(t.protocol, *t.address, t.name) for t in targets]

    def asked(self) -> set[tuple[str, int]]:
        """The questions so far."""
        return {tuple(question) for question in self.resolver.asked}  # type: ignore[misc]


class NumericTests(LocateTestCase):
    """URIs that need no DNS."""

    def test_interface(self) -> None:
        """A locator provides ILocator."""
        verifyObject(ILocator, self.locator())

    def test_defaults(self) -> None:
        """DNS-02, DNS-05: a numeric host means UDP (TLS for sips) and the default port."""
        locator = self.locator()
        for uri, expected in (
            ("sip:a@192.0.2.1", ("UDP", ("192.0.2.1", 5060))),
            ("sip:a@192.0.2.1:5070", ("UDP", ("192.0.2.1", 5070))),
            ("sip:a@192.0.2.1;transport=tcp", ("TCP", ("192.0.2.1", 5060))),
            ("sip:a@192.0.2.1;transport=TLS", ("TLS", ("192.0.2.1", 5061))),
            ("sips:a@192.0.2.1", ("TLS", ("192.0.2.1", 5061))),
            ("sips:a@192.0.2.1;transport=tcp", ("TLS", ("192.0.2.1", 5061))),
            ("sip:a@[2001:DB8::1]", ("UDP", ("2001:db8::1", 5060))),
            ("sip:a@[2001:db8::1]:5070;transport=tcp", ("TCP", ("2001:db8::1", 5070))),
        ):
            target = locator.immediate(parse_uri(uri))
            assert target is not None, uri
            self.assertEqual((target.protocol, target.address), expected, uri)
            self.assertTrue(target.sized, "TRN-07: an explicit transport does not lift TRN-05")
            self.assertEqual(self.successResultOf(locator.locate(parse_uri(uri))), [target])
        self.assertEqual(self.resolver.asked, [])

    def test_maddr(self) -> None:
        """DNS-01: maddr takes the place of the host; the name to prove is the URI's."""
        target = self.locator().immediate(parse_uri("sip:a@example.com;maddr=192.0.2.7"))
        self.assertEqual(target, Target("UDP", ("192.0.2.7", 5060), "example.com"))

    def test_nowhere(self) -> None:
        """DNS-11: sips over UDP is invalid; unknown transports and schemes lead nowhere."""
        locator = self.locator()
        for uri in (
            "sips:a@192.0.2.1;transport=udp",
            "sip:a@192.0.2.1;transport=sctp",
            "sip:a@example.com;transport=ws",
            "tel:+15551234",
            "mailto:a@example.com",
        ):
            self.assertIsNone(locator.immediate(parse_uri(uri)))
            self.assertEqual(self.found(locator, uri), [])
        self.assertEqual(self.resolver.asked, [])

    def test_unsupported(self) -> None:
        """Transports that are not configured are not used."""
        locator = self.locator(protocols=("TCP",))
        target = locator.immediate(parse_uri("sip:a@192.0.2.1"))
        self.assertEqual(target, Target("TCP", ("192.0.2.1", 5060), "192.0.2.1"))
        self.assertIsNone(locator.immediate(parse_uri("sips:a@192.0.2.1")))
        self.assertIsNone(locator.immediate(parse_uri("sip:a@192.0.2.1;transport=udp")))

    def test_names_are_not_immediate(self) -> None:
        """A name takes a lookup, so there is no immediate target."""
        locator = self.locator(RFC_EXAMPLE)
        for _ in range(2):
            self.assertIsNone(locator.immediate(parse_uri("sip:a@example.com")))
        self.assertEqual(self.resolver.asked, [])

    def test_memory_is_bounded(self) -> None:
        """Remembered URIs do not grow without end."""
        locator = self.locator()
        for i in range(10000):
            locator.immediate(parse_uri(f"sip:a@192.0.2.{i % 250}:{1000 + i}"))
        self.assertLessEqual(len(locator._numeric), 4096)


class StaticTests(LocateTestCase):
    """DNS-09: the table in front of DNS."""

    def test_uri(self) -> None:
        """An entry names the place; what it leaves open, the URI decides."""
        locator = self.locator(static={"Example.com": ["sip:192.0.2.9:5070;transport=tcp"]})
        expected = Target("TCP", ("192.0.2.9", 5070), "EXAMPLE.com.")
        self.assertEqual(locator.immediate(parse_uri("sip:a@EXAMPLE.com.")), expected)
        locator = self.locator(static={"example.com": ["sip:192.0.2.9"]})
        for uri, protocol, port in (
            ("sip:a@example.com", "UDP", 5060),
            ("sip:a@example.com;transport=tcp", "TCP", 5060),
            ("sip:a@example.com:5080", "UDP", 5080),
            ("sips:a@example.com", "TLS", 5061),
        ):
            target = locator.immediate(parse_uri(uri))
            self.assertEqual(target, Target(protocol, ("192.0.2.9", port), "example.com"))

    def test_several(self) -> None:
        """Several places are tried in their order, and are not immediate."""
        locator = self.locator(
            static={
                "example.com": [
                    "sip:192.0.2.9",
                    Target("TCP", ("192.0.2.8", 5060), "x.example", sized=False),
                ]
            }
        )
        self.assertIsNone(locator.immediate(parse_uri("sip:a@example.com")))
        self.assertEqual(
            self.found(locator, "sip:a@example.com"),
            [
                ("UDP", "192.0.2.9", 5060, "example.com"),
                ("TCP", "192.0.2.8", 5060, "x.example"),
            ],
        )
        self.assertEqual(self.resolver.asked, [])

    def test_sips_stays_secure(self) -> None:
        """TRN-24: a table entry does not take a sips URI off TLS."""
        locator = self.locator(
            static={"example.com": [Target("UDP", ("192.0.2.8", 5060)), "sip:192.0.2.9"]}
        )
        self.assertEqual(
            self.found(locator, "sips:a@example.com"), [("TLS", "192.0.2.9", 5061, "example.com")]
        )

    def test_name(self) -> None:
        """An entry may be a name, which DNS resolves; the name to prove stays the URI's."""
        locator = self.locator(
            {("pcscf.example.net", dns.A): a("192.0.2.5")},
            static={"example.com": ["sip:pcscf.example.net:5062"]},
        )
        self.assertIsNone(locator.immediate(parse_uri("sip:a@example.com")))
        self.assertEqual(
            self.found(locator, "sip:a@example.com"), [("UDP", "192.0.2.5", 5062, "example.com")]
        )

    def test_bad_entry(self) -> None:
        """An entry that is no SIP URI is refused at once."""
        for bad in ("tel:+1", "nonsense"):
            with self.assertRaises(ValueError):
                self.locator(static={"example.com": [bad]})


class DnsTests(LocateTestCase):
    """NAPTR, SRV and addresses."""

    def test_rfc_example(self) -> None:
        """DNS-03: the lowest order that we support wins; the SRV it names is followed."""
        self.assertEqual(
            self.found(self.locator(RFC_EXAMPLE), "sip:user@example.com"),
            [("TLS", "192.0.2.1", 5061, "example.com")],
        )
        self.assertEqual(
            self.found(self.locator(RFC_EXAMPLE, protocols=("UDP", "TCP")), "sip:u@example.com"),
            [("TCP", "192.0.2.2", 5060, "example.com")],
        )
        self.assertEqual(
            self.found(self.locator(RFC_EXAMPLE, protocols=("UDP",)), "sip:u@example.com"),
            [("UDP", "192.0.2.3", 5060, "example.com")],
        )

    def test_preference(self) -> None:
        """DNS-03: within an order the lower preference wins."""
        records = dict(RFC_EXAMPLE)
        records["example.com", dns.NAPTR] = naptr(
            (10, 60, "s", "SIP+D2T", "_sip._tcp.example.com"),
            (10, 50, "s", "SIP+D2U", "_sip._udp.example.com"),
        )
        self.assertEqual(self.found(self.locator(records), "sip:u@example.com")[0][0], "UDP")

    def test_sips_takes_sips_services_only(self) -> None:
        """DNS-03: for sips other services are discarded, even if they are all there is."""
        records = dict(RFC_EXAMPLE)
        records["example.com", dns.NAPTR] = naptr(
            (90, 50, "s", "SIP+D2T", "_sip._tcp.example.com"),
        )
        self.assertEqual(
            self.found(self.locator(records), "sips:u@example.com"),
            [("TLS", "192.0.2.1", 5061, "example.com")],
        )
        self.assertNotIn(("_sip._tcp.example.com", dns.SRV), self.asked())

    def test_unusable_pointers(self) -> None:
        """DNS-03: other services, flags and regular expressions do not count."""
        rewriting = dns.Record_NAPTR(
            1, 1, b"s", b"SIP+D2T", b"!^.*$!sip:x!", replacement=b"_sip._tcp.example.com"
        )
        records = dict(RFC_EXAMPLE)
        records["example.com", dns.NAPTR] = [
            *naptr(
                (1, 1, "s", "SIP+D2S", "_sip._sctp.example.com"),
                (1, 1, "s", "SIPS+D2U", "_sips._udp.example.com"),
                (1, 1, "u", "SIP+D2T", "_sip._tcp.example.com"),
                (1, 1, "s", "E2U+sip", "_sip._tcp.example.com"),
                (9, 1, "S", "sip+d2u", "_sip._udp.example.com"),
            ),
            rewriting,
        ]
        self.assertEqual(
            self.found(self.locator(records), "sip:u@example.com"),
            [("UDP", "192.0.2.3", 5060, "example.com")],
        )

    def test_replacement_elsewhere(self) -> None:
        """DNS-03, DNS-10: the replacement may lie in another domain; ours is to be proved."""
        records = {
            ("example.com", dns.NAPTR): naptr((1, 1, "s", "SIPS+D2T", "_sips._tcp.hoster.net")),
            ("_sips._tcp.hoster.net", dns.SRV): srv((0, 0, 5061, "tls.hoster.net")),
            ("tls.hoster.net", dns.A): a("192.0.2.4"),
        }
        self.assertEqual(
            self.found(self.locator(records), "sips:u@example.com"),
            [("TLS", "192.0.2.4", 5061, "example.com")],
        )

    def test_pointer_to_nothing(self) -> None:
        """A pointer whose SRV is missing leads on to the next."""
        records = dict(RFC_EXAMPLE)
        del records["_sips._tcp.example.com", dns.SRV]
        self.assertEqual(self.found(self.locator(records), "sip:u@example.com")[0][0], "TCP")

    def test_without_naptr(self) -> None:
        """DNS-02: without NAPTR, SRV of each of our transports is asked for, at once."""
        records = dict(RFC_EXAMPLE)
        del records["example.com", dns.NAPTR]
        locator = self.locator(records)
        self.assertEqual(
            self.found(locator, "sip:u@example.com"), [("UDP", "192.0.2.3", 5060, "example.com")]
        )
        self.assertIn(("_sip._tcp.example.com", dns.SRV), self.asked())
        self.assertEqual(
            self.found(self.locator(records, protocols=("TCP", "UDP")), "sip:u@example.com")[0][0],
            "TCP",
        )
        self.assertEqual(
            self.found(self.locator(records), "sips:u@example.com"),
            [("TLS", "192.0.2.1", 5061, "example.com")],
        )

    def test_only_tcp_is_offered(self) -> None:
        """DNS-02: a transport whose SRV exists is taken over one without."""
        records = dict(RFC_EXAMPLE)
        del records["example.com", dns.NAPTR], records["_sip._udp.example.com", dns.SRV]
        self.assertEqual(
            self.found(self.locator(records), "sip:u@example.com"),
            [("TCP", "192.0.2.2", 5060, "example.com")],
        )

    def test_without_srv(self) -> None:
        """DNS-02, DNS-05: with neither NAPTR nor SRV the name's addresses are used."""
        records = {("example.com", dns.A): a("192.0.2.9")}
        self.assertEqual(
            self.found(self.locator(records), "sip:u@example.com"),
            [("UDP", "192.0.2.9", 5060, "example.com")],
        )
        self.assertEqual(
            self.found(self.locator(records), "sips:u@example.com"),
            [("TLS", "192.0.2.9", 5061, "example.com")],
        )

    def test_explicit_port(self) -> None:
        """DNS-05: a port means addresses only, no NAPTR and no SRV."""
        self.assertEqual(
            self.found(self.locator(RFC_EXAMPLE), "sip:u@example.com:5060"),
            [("UDP", "192.0.2.9", 5060, "example.com")],
        )
        self.assertEqual(self.asked(), {("example.com", dns.A), ("example.com", dns.AAAA)})

    def test_explicit_transport(self) -> None:
        """DNS-02, DNS-04: a transport means its SRV, and no NAPTR."""
        for uri, expected in (
            ("sip:u@example.com;transport=tcp", ("TCP", "192.0.2.2", 5060, "example.com")),
            ("sip:u@example.com;transport=tls", ("TLS", "192.0.2.1", 5061, "example.com")),
            ("sips:u@example.com;transport=tcp", ("TLS", "192.0.2.1", 5061, "example.com")),
        ):
            self.assertEqual(self.found(self.locator(RFC_EXAMPLE), uri), [expected])
            self.assertNotIn(("example.com", dns.NAPTR), self.asked())

    def test_service_not_offered(self) -> None:
        """DNS-04: target ``.`` means no, so the addresses are not tried."""
        records: dict[tuple[str, int], Any] = {
            ("_sip._tcp.example.com", dns.SRV): srv((0, 0, 0, "")),
            ("example.com", dns.A): a("192.0.2.9"),
        }
        locator = self.locator(records)
        self.assertEqual(self.found(locator, "sip:u@example.com;transport=tcp"), [])
        records["_sip._udp.example.com", dns.SRV] = srv((0, 0, 0, ""))
        self.assertEqual(self.found(self.locator(records), "sip:u@example.com"), [])

    def test_maddr(self) -> None:
        """DNS-01: maddr may be a name; it is what DNS is asked for."""
        self.assertEqual(
            self.found(self.locator(RFC_EXAMPLE), "sip:u@other.net:5080;maddr=example.com"),
            [("UDP", "192.0.2.9", 5080, "other.net")],
        )

    def test_families(self) -> None:
        """DNS-06: AAAA and A come in the order of local preference."""
        records = {
            ("h.example", dns.A): a("192.0.2.1"),
            ("h.example", dns.AAAA): aaaa("2001:db8::1"),
        }
        six, four = ("UDP", "2001:db8::1", 5, "h.example"), ("UDP", "192.0.2.1", 5, "h.example")
        self.assertEqual(self.found(self.locator(records), "sip:h.example:5"), [six, four])
        self.assertEqual(
            self.found(self.locator(records, families=("A", "AAAA")), "sip:h.example:5"),
            [four, six],
        )
        self.assertEqual(
            self.found(self.locator(records, families=("A",)), "sip:h.example:5"), [four]
        )

    def test_pres(self) -> None:
        """PRE-06: a ``pres:`` URI is located as its ``sip:`` counterpart."""
        self.assertEqual(
            self.found(self.locator(RFC_EXAMPLE), "pres:u@example.com"),
            [("TLS", "192.0.2.1", 5061, "example.com")],
        )

    def test_alias(self) -> None:
        """Records behind a CNAME are found in the same answer."""
        records = {
            ("h.example", dns.A): [dns.Record_CNAME("real.example"), *a("192.0.2.1")],
        }
        self.assertEqual(
            self.found(self.locator(records), "sip:h.example:5"),
            [("UDP", "192.0.2.1", 5, "h.example")],
        )


class OrderTests(LocateTestCase):
    """Priorities, weights, and what has failed."""

    records: ClassVar[dict[tuple[str, int], Any]] = {
        ("_sip._udp.example.com", dns.SRV): srv(
            (20, 0, 5060, "backup.example.com"),
            (10, 3, 5060, "big.example.com"),
            (10, 1, 5062, "small.example.com"),
        ),
        ("backup.example.com", dns.A): a("192.0.2.3"),
        ("big.example.com", dns.A): a("192.0.2.1", "192.0.2.11"),
        ("small.example.com", dns.A): a("192.0.2.2"),
    }

    def test_priority(self) -> None:
        """DNS-04, DNS-06: every address of every server, lower priority values first."""
        targets = self.found(self.locator(self.records), "sip:u@example.com")
        hosts = [host for _, host, _, _ in targets]
        self.assertEqual(sorted(hosts[:3]), ["192.0.2.1", "192.0.2.11", "192.0.2.2"])
        self.assertEqual(hosts[3:], ["192.0.2.3"])
        self.assertEqual(abs(hosts.index("192.0.2.1") - hosts.index("192.0.2.11")), 1)

    def test_weight(self) -> None:
        """DNS-04, RFC 2782: within a priority the first is drawn by weight."""
        choose = random.Random(7).randint
        locator = self.locator(self.records, choose=choose)
        first = Counter(self.found(locator, "sip:u@example.com")[0][1] for _ in range(1000))
        self.assertTrue(650 < first["192.0.2.1"] < 850, first)

    def test_weight_zero(self) -> None:
        """RFC 2782: weight 0 is drawn seldom, but not never; all zero is fine."""
        records = {
            ("_sip._udp.example.com", dns.SRV): srv((0, 99, 1, "a.x"), (0, 0, 1, "b.x")),
            ("a.x", dns.A): a("192.0.2.1"),
            ("b.x", dns.A): a("192.0.2.2"),
        }
        locator = self.locator(records, choose=random.Random(3).randint)
        first = Counter(self.found(locator, "sip:u@example.com")[0][1] for _ in range(1000))
        self.assertTrue(0 < first["192.0.2.2"] < 50, first)
        records["_sip._udp.example.com", dns.SRV] = srv((0, 0, 1, "a.x"), (0, 0, 1, "b.x"))
        self.assertEqual(len(self.found(self.locator(records), "sip:u@example.com")), 2)

    def test_failed(self) -> None:
        """DNS-07: a target that failed is offered last, for as long as told."""
        locator = self.locator(self.records)
        first, *rest = self.successResultOf(locator.locate(parse_uri("sip:u@example.com")))
        locator.failed(first, 30)
        again = self.successResultOf(locator.locate(parse_uri("sip:u@example.com")))
        self.assertEqual(again, [*rest, first])
        self.clock.advance(30)
        again = self.successResultOf(locator.locate(parse_uri("sip:u@example.com")))
        self.assertEqual(again, [first, *rest])

    def test_failed_is_bounded(self) -> None:
        """The list of failed targets does not grow without end."""
        locator = self.locator()
        for i in range(5000):
            locator.failed(Target("UDP", ("192.0.2.1", 1 + i)), 30)
        self.assertLessEqual(len(locator._unreachable), 4096)


class ResponseTests(LocateTestCase):
    """DNS-08: responses whose way back has failed."""

    def targets(self, via: str, **options: Any) -> list[tuple[str, str, int]]:
        """Where a response to a request with ``via`` may go."""
        locator = self.locator(RFC_EXAMPLE, **options)
        found = self.successResultOf(
            locator.response_targets(parse_via(f"SIP/2.0/{via};branch=z9hG4bK1"))
        )
        return [(target.protocol, *target.address) for target in found]

    def test_numeric(self) -> None:
        """A numeric sent-by is that address with its port or the default."""
        self.assertEqual(self.targets("UDP 192.0.2.1"), [("UDP", "192.0.2.1", 5060)])
        self.assertEqual(self.targets("TLS 192.0.2.1"), [("TLS", "192.0.2.1", 5061)])
        self.assertEqual(self.targets("TCP [2001:db8::1]:7"), [("TCP", "2001:db8::1", 7)])

    def test_name_with_port(self) -> None:
        """A name with port means its addresses."""
        self.assertEqual(self.targets("TCP example.com:5070"), [("TCP", "192.0.2.9", 5070)])
        self.assertNotIn(dns.SRV, {kind for _, kind in self.asked()})

    def test_name(self) -> None:
        """A name without port means SRV of the Via's transport; TLS stays TLS."""
        self.assertEqual(self.targets("UDP example.com"), [("UDP", "192.0.2.3", 5060)])
        self.assertEqual(self.targets("TCP example.com"), [("TCP", "192.0.2.2", 5060)])
        self.assertEqual(self.targets("TLS example.com"), [("TLS", "192.0.2.1", 5061)])
        self.assertNotIn(dns.NAPTR, {kind for _, kind in self.asked()})

    def test_without_srv(self) -> None:
        """Without SRV records the name's addresses are the last resort."""
        self.assertEqual(self.targets("UDP server1.example.com"), [("UDP", "192.0.2.1", 5060)])

    def test_unsupported(self) -> None:
        """A transport that we do not have leads nowhere, never to another one."""
        self.assertEqual(self.targets("SCTP 192.0.2.1"), [])
        self.assertEqual(self.targets("TLS example.com", protocols=("UDP", "TCP")), [])


class CacheTests(LocateTestCase):
    """DNS-07: what is remembered, and lookups that fail."""

    records: ClassVar[dict[tuple[str, int], Any]] = {("h.example", dns.A): a("192.0.2.1")}
    uri = "sip:h.example:5"

    def test_time_to_live(self) -> None:
        """Records are kept for their time to live."""
        locator = self.locator(self.records, families=("A",))
        self.resolver.ttl = 60
        self.found(locator, self.uri)
        self.clock.advance(59)
        self.found(locator, self.uri)
        self.assertEqual(len(self.resolver.asked), 1)
        self.clock.advance(1)
        self.found(locator, self.uri)
        self.assertEqual(len(self.resolver.asked), 2)

    def test_negative(self) -> None:
        """An absence is kept for the minimum of the SOA, 300 s at most, 30 s without one."""
        for soa, seconds in ((60, 60), (3600, 300), (None, 30)):
            absent: dict[tuple[str, int], Any] = {}
            for records in (absent, {("h.example", dns.A): list[Any]()}):
                locator = self.locator(records, families=("A",))
                self.resolver.soa = soa
                self.assertEqual(self.found(locator, self.uri), [])
                self.clock.advance(seconds - 1)
                self.found(locator, self.uri)
                self.assertEqual(len(self.resolver.asked), 1)
                self.clock.advance(1)
                self.found(locator, self.uri)
                self.assertEqual(len(self.resolver.asked), 2)

    def test_coalesced(self) -> None:
        """Lookups of one name at the same time are one lookup; nothing blocks."""
        locator = self.locator(self.records, families=("A",))
        self.resolver.hold = True
        waiting = [locator.locate(parse_uri(uri)) for uri in (self.uri, "sip:x@H.Example:6")]
        for one in waiting:
            self.assertNoResult(one)
        self.resolver.release()
        self.assertEqual(len(self.resolver.asked), 1)
        first, second = (self.successResultOf(one) for one in waiting)
        self.assertEqual((first[0].address[1], second[0].address[1]), (5, 6))

    def test_failure(self) -> None:
        """A lookup that fails is an error, not an absence, and is not repeated at once."""
        for error in (DNSServerError(), DNSQueryTimeoutError(1), OSError()):
            locator = self.locator({("h.example", dns.A): error}, families=("A",))
            for _ in range(3):
                self.failureResultOf(locator.locate(parse_uri(self.uri)), TransportError)
            self.assertEqual(len(self.resolver.asked), 1)
            self.resolver.records.update(self.records)
            self.clock.advance(5)
            self.assertEqual(len(self.found(locator, self.uri)), 1)

    def test_unknown_error(self) -> None:
        """An error nobody expects is logged, and the caller gets a transport error."""
        locator = self.locator({("h.example", dns.A): ZeroDivisionError()}, families=("A",))
        self.failureResultOf(locator.locate(parse_uri(self.uri)), TransportError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_one_family_fails(self) -> None:
        """The addresses of one family are used even if the other cannot be had."""
        records: dict[tuple[str, int], Any] = {
            **self.records,
            ("h.example", dns.AAAA): DNSServerError(),
        }
        self.assertEqual(len(self.found(self.locator(records), self.uri)), 1)

    def test_one_server_fails(self) -> None:
        """A server whose addresses cannot be had does not spoil the others."""
        records = {
            ("_sip._udp.x", dns.SRV): srv((1, 1, 1, "bad.x"), (2, 1, 1, "h.example")),
            ("bad.x", dns.A): DNSServerError(),
            ("bad.x", dns.AAAA): DNSServerError(),
            **self.records,
        }
        self.assertEqual(len(self.found(self.locator(records), "sip:u@x")), 1)
        del records["h.example", dns.A]
        locator = self.locator(records)
        self.failureResultOf(locator.locate(parse_uri("sip:u@x")), TransportError)

    def test_old_server(self) -> None:
        """A server that does not know NAPTR has none."""
        records = {
            ("h.example", dns.NAPTR): DNSNotImplementedError(),
            **self.records,
        }
        self.assertEqual(
            self.found(self.locator(records), "sip:h.example"),
            [("UDP", "192.0.2.1", 5060, "h.example")],
        )

    def test_failed_naptr_is_no_downgrade(self) -> None:
        """When NAPTR cannot be had, the request is not sent some other way."""
        locator = self.locator({**RFC_EXAMPLE, ("example.com", dns.NAPTR): DNSServerError()})
        self.failureResultOf(locator.locate(parse_uri("sip:u@example.com")), TransportError)

    def test_bounded(self) -> None:
        """Neither memory nor outstanding lookups grow without end."""
        locator = self.locator(families=("A",))
        self.cache._size, self.cache._outstanding = 10, 5
        for i in range(30):
            self.found(locator, f"sip:h{i}.example:5")
        self.assertEqual(len(self.cache._known), 10)
        self.resolver.hold = True
        waiting = [locator.locate(parse_uri(f"sip:n{i}.example:5")) for i in range(6)]
        self.failureResultOf(waiting.pop(), TransportError)
        self.resolver.release()
        for one in waiting:
            self.assertEqual(self.successResultOf(one), [])


class RealServerTests(TestCase):
    """Against a name server of twisted.names on loopback."""

    def test_lookup(self) -> Deferred[None]:
        """NAPTR, SRV and both kinds of address come over the wire as written (DNS-03)."""

        async def go() -> None:
            zone = _Zone(
                {
                    b"example.com": [
                        dns.Record_SOA(b"ns.example.com", minimum=60, ttl=60),
                        *naptr((1, 1, "s", "SIP+D2T", "_sip._tcp.example.com")),
                    ],
                    b"_sip._tcp.example.com": srv((1, 1, 5070, "ps.example.com")),
                    b"ps.example.com": [*a("192.0.2.1"), *aaaa("2001:db8::1")],
                }
            )
            factory = server.DNSServerFactory(authorities=[zone])
            port = reactor.listenUDP(  # type: ignore[attr-defined]
                0, dns.DNSDatagramProtocol(factory), interface="127.0.0.1"
            )
            self.addCleanup(port.stopListening)
            resolver = client.Resolver(servers=[("127.0.0.1", port.getHost().port)])
            locator = Locator(RecordCache(resolver, reactor), reactor)
            targets = await locator.locate(parse_uri("sip:u@example.com"))
            expected: Sequence[Target] = [
                Target("TCP", ("2001:db8::1", 5070), "example.com"),
                Target("TCP", ("192.0.2.1", 5070), "example.com"),
            ]
            self.assertEqual(targets, expected)
            self.assertEqual(await locator.locate(parse_uri("sip:u@none.example.com")), [])

        return Deferred.fromCoroutine(go())


class _Zone(authority.FileAuthority):
    """A zone without a file."""

    def __init__(self, records: dict[bytes, list[Any]]) -> None:
        super().__init__("")
        self.records: Any = records
        self.soa: Any = (b"example.com", records[b"example.com"][0])

    def loadFile(self, filename: str) -> None:
        """Nothing to load."""
