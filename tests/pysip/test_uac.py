"""The user agent as client (sip-core.md sections 6 and 11): where requests go, and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.error import DNSServerError
from twisted.trial.unittest import SynchronousTestCase

from pysip.auth.client import ClientCredentials
from pysip.dns import RecordCache
from pysip.errors import RequestTimeout, TransportError
from pysip.interfaces import Target
from pysip.locate import Locator
from pysip.message import Request, Response, response_to
from pysip.timers import TimerWheel
from pysip.ua import UserAgent
from pysip.uri import parse_uri
from tests.pysip.flows import NotingFlow, NotingTransport
from tests.pysip.test_locate import FakeResolver, a, naptr, srv
from tests.pysip.test_ua import Identities

THREE = {
    ("_sip._udp.example.com", dns.SRV): srv(
        (1, 0, 5060, "one.example.com"),
        (2, 0, 5060, "two.example.com"),
        (3, 0, 5070, "three.example.com"),
    ),
    ("one.example.com", dns.A): a("192.0.2.11"),
    ("two.example.com", dns.A): a("192.0.2.12"),
    ("three.example.com", dns.A): a("192.0.2.13"),
}
"""A domain with three servers, in this order."""

ONE, TWO, OTHER = ("192.0.2.11", 5060), ("192.0.2.12", 5060), ("192.0.2.13", 5070)


class UacCase(SynchronousTestCase):
    """A user agent that sends, on transports that note, with a table as DNS."""

    records: Any = THREE

    def setUp(self) -> None:
        """Make it."""
        self.clock = Clock()
        self.resolver = FakeResolver(self.records)
        self.locator = Locator(
            RecordCache(self.resolver, self.clock),  # type: ignore[arg-type]
            self.clock,
            choose=lambda low, high: low,
        )
        self.identities = Identities()
        self.ua = UserAgent(
            self.clock, TimerWheel(self.clock), self.locator, self.identities, agent="test/1"
        )
        self.udp = NotingTransport(self.clock)
        self.tcp = NotingTransport(self.clock, "TCP")
        self.tls = NotingTransport(self.clock, "TLS")
        for transport in (self.udp, self.tcp, self.tls):
            self.ua.start_transport(transport)

    def message(self, uri: str = "sip:bob@example.com", **fields: str) -> Request:
        """A request without what the user agent fills in."""
        request = Request("SUBSCRIBE", uri)
        request.set("From", "<sip:alice@example.com>;tag=f1")
        request.set("To", f"<{uri}>")
        request.set("Call-ID", "c1")
        request.set("CSeq", "1 SUBSCRIBE")
        for name, value in fields.items():
            request.set(name.replace("_", "-"), value)
        return request

    def send(self, uri: str = "sip:bob@example.com", **fields: str) -> list[Any]:
        """Send it; the outcome gets into the list."""
        return self.outcome(self.ua.request(self.message(uri, **fields)))

    def outcome(self, waiting: Deferred[Response]) -> list[Any]:
        """What a Deferred gives: status or exception."""
        found: list[Any] = []
        waiting.addCallbacks(
            lambda response: found.append(response.status), lambda f: found.append(f.value)
        )
        return found

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        first = round(self.clock.seconds() / 0.05)
        for step in range(first + 1, first + 1 + round(seconds / 0.05)):
            self.clock.advance(step * 0.05 + 1e-7 - self.clock.seconds())

    def flow(
        self, address: tuple[str, int], transport: NotingTransport | None = None
    ) -> NotingFlow:
        """The flow to an address, that must be there."""
        return (transport or self.udp).flows[address]

    def answer(
        self,
        flow: NotingFlow,
        status: int,
        headers: Sequence[tuple[str, str]] = (),
        number: int = -1,
    ) -> None:
        """The server answers the last request of a flow."""
        request = flow.messages[number]
        assert isinstance(request, Request)
        self.ua.layer.response_received(
            response_to(request, status, to_tag="t", headers=headers), flow
        )

    def used(self) -> list[tuple[str, str, int]]:
        """Protocol and address of all flows that something was sent on, in order."""
        found = [
            (flow.times[0], n, transport.protocol, *address)
            for transport in (self.udp, self.tcp, self.tls)
            for n, (address, flow) in enumerate(transport.flows.items())
            if flow.sent
        ]
        return [(protocol, host, port) for _, _, protocol, host, port in sorted(found)]


class FillTests(UacCase):
    """What every request gets (VIA-01, UAC-01, UAC-10)."""

    def test_filled(self) -> None:
        """Via with an empty rport, Max-Forwards, User-Agent, Content-Length (VIA-01, TXN-01)."""
        self.send()
        (request,) = self.flow(ONE).messages
        via = request.via
        self.assertEqual((via.protocol, via.host, via.port), ("UDP", "192.0.2.1", 5060))
        self.assertEqual(via.params["rport"], None)
        self.assertIn("rport", via.params)
        self.assertTrue(via.branch.startswith("z9hG4bK"))
        self.assertEqual(request.first("max-forwards"), "70")
        self.assertEqual(request.first("user-agent"), "test/1")
        self.assertEqual(request.first("content-length"), "0")

    def test_kept(self) -> None:
        """What is there already stays."""
        self.send(max_forwards="7", user_agent="other")
        (request,) = self.flow(ONE).messages
        self.assertEqual(request.headers["max-forwards"], ["7"])
        self.assertEqual(request.headers["user-agent"], ["other"])

    def test_identifiers(self) -> None:
        """Tags and Call-IDs are long enough, different and name no address (UAC-01)."""
        tokens = self.ua.tokens
        tags = {tokens.tag() for _ in range(1000)}
        call_ids = {tokens.call_id() for _ in range(1000)}
        self.assertEqual((len(tags), len(call_ids)), (1000, 1000))
        self.assertTrue(all(len(tag) * 4 >= 32 for tag in tags))
        self.assertTrue(all(len(call_id) * 4 >= 64 for call_id in call_ids))
        self.assertFalse(any("192.0.2" in call_id or "@" in call_id for call_id in call_ids))

    def test_supported(self) -> None:
        """Only option tags of standards-track RFCs are offered (UAC-10)."""
        self.assertEqual(self.ua.supported, ["gruu", "outbound"])
        self.send()
        self.assertNotIn("require", self.flow(ONE).messages[0].headers)

    def test_charging(self) -> None:
        """Trusted peers get a charging vector, one for each Call-ID (IMS-12)."""
        self.ua.network = "ours.example"
        self.send()
        self.send()
        self.send(call_id="c2")
        vectors = [m.first("p-charging-vector") for m in self.flow(ONE).messages]
        self.assertEqual(vectors[0], vectors[1])
        self.assertNotEqual(vectors[0], vectors[2])
        for vector in vectors:
            assert vector is not None
            icid, _, rest = vector.partition(";")
            self.assertEqual(rest, "orig-ioi=ours.example")
            self.assertGreaterEqual(len(icid.partition("=")[2].strip('"')) * 4, 128)
        self.send(call_id="c3", p_charging_vector="icid-value=given")
        self.assertEqual(self.flow(ONE).messages[-1].first("p-charging-vector"), "icid-value=given")

    def test_no_charging(self) -> None:
        """Not without a network name."""
        self.send()
        self.assertNotIn("p-charging-vector", self.flow(ONE).messages[0].headers)

    def test_untrusted(self) -> None:
        """To others goes nothing of the trust domain (IMS-09, IMS-12)."""
        self.ua.network = "ours.example"
        self.identities.trust = False
        self.send(
            p_charging_vector="icid-value=1",
            p_asserted_identity="<sip:alice@example.com>",
            p_charging_function_addresses="ccf=1",
            p_access_network_info="DOCSIS",
        )
        self.assertEqual([n for n in self.flow(ONE).messages[0].headers if n.startswith("p-")], [])


class FailoverTests(UacCase):
    """The next server (TXN-15, DNS-06, UAC-08)."""

    def assert_same_request(self, *addresses: tuple[str, int]) -> None:
        """The same request went everywhere, each time with a branch of its own."""
        requests = [self.flow(address).messages[0] for address in addresses]
        self.assertEqual(len({r.via.branch for r in requests}), len(addresses))
        for request in requests:
            del request.headers["via"]
        self.assertEqual(len({r.encode() for r in requests}), 1)

    def test_success(self) -> None:
        """Whoever answers, the rest is left alone."""
        for status in (200, 299, 404, 499, 500, 600, 699):
            self.setUp()
            found = self.send()
            self.answer(self.flow(ONE), status)
            self.assertEqual(found, [status])  # unknown codes, too (UAC-03)
            self.assertEqual(self.used(), [("UDP", *ONE)])

    def test_transport_error(self) -> None:
        """ICMP, a refused connection: the next one at once, the same CSeq (TXN-15, DLG-06)."""
        for to in ("<sip:bob@example.com>", "<sip:bob@example.com>;tag=t"):
            self.setUp()
            found = self.send(to=to)
            self.flow(ONE).fail()
            self.flow(TWO).fail()
            self.assertEqual(self.used(), [("UDP", *ONE), ("UDP", *TWO), ("UDP", *OTHER)])
            self.assert_same_request(ONE, TWO, OTHER)
            self.answer(self.flow(OTHER), 200)
            self.assertEqual(found, [200])

    def test_unavailable(self) -> None:
        """503, with Retry-After or not (TXN-15, RFC 3263 4.3)."""
        found = self.send()
        self.answer(self.flow(ONE), 503)
        self.answer(self.flow(TWO), 503, [("Retry-After", "10 (soon);duration=5")])
        self.assertEqual(found, [])
        self.assert_same_request(ONE, TWO, OTHER)
        self.answer(self.flow(OTHER), 503)
        self.assertEqual(found, [503])

    def test_timeout(self) -> None:
        """Silence: the next one after 64*T1 (TXN-15)."""
        found = self.send()
        self.run_for(31.5)
        self.assertEqual(self.used(), [("UDP", *ONE)])
        self.run_for(1)
        self.assertEqual(self.used(), [("UDP", *ONE), ("UDP", *TWO)])
        self.run_for(70)
        self.assertEqual(len(found), 1)
        self.assertIsInstance(found[0], RequestTimeout)
        self.assertEqual(len(self.flow(OTHER).sent), 11)

    def test_provisional(self) -> None:
        """After a 100 nobody else is asked: it is being worked on (TXN-15, UAC-09)."""
        for status in (100, 183, 199):
            self.setUp()
            found = self.send()
            self.answer(self.flow(ONE), status)
            self.run_for(33)
            self.assertEqual(len(found), 1)
            self.assertIsInstance(found[0], RequestTimeout)
            self.assertEqual(self.used(), [("UDP", *ONE)])

    def test_provisional_of_another(self) -> None:
        """The 100 of one server says nothing about the next."""
        self.send()
        self.answer(self.flow(ONE), 100)
        self.answer(self.flow(ONE), 503)
        self.run_for(33)
        self.assertEqual(self.used(), [("UDP", *ONE), ("UDP", *TWO), ("UDP", *OTHER)])

    def test_all_fail(self) -> None:
        """The last word: a 503 that was heard, else that nobody could be reached."""
        found = self.send()
        for address in (ONE, TWO, OTHER):
            self.flow(address).fail()
        self.assertIsInstance(found[0], TransportError)
        self.setUp()
        found = self.send()
        self.answer(self.flow(ONE), 503, [("Retry-After", "1")])
        self.flow(TWO).fail()
        self.flow(OTHER).fail()
        self.assertEqual(found, [503])

    def test_avoided(self) -> None:
        """A dead server comes last for 30 s, a busy one for its Retry-After (DNS-07, UAC-08)."""
        self.send()
        self.flow(ONE).fail()
        self.answer(self.flow(TWO), 503, [("Retry-After", "100")])
        self.answer(self.flow(OTHER), 200)
        self.send()
        self.assertEqual(len(self.flow(OTHER).sent), 2)
        self.assertEqual((len(self.flow(ONE).sent), len(self.flow(TWO).sent)), (1, 1))
        self.answer(self.flow(OTHER), 200)
        self.run_for(31)
        self.send()
        self.answer(self.flow(ONE), 200)
        self.assertEqual((len(self.flow(ONE).sent), len(self.flow(TWO).sent)), (2, 1))
        self.locator.failed(Target("UDP", ONE, "example.com"), 1000)
        self.run_for(70)
        self.send()
        self.assertEqual((len(self.flow(ONE).sent), len(self.flow(TWO).sent)), (2, 2))

    def test_no_retry_after(self) -> None:
        """A 503 without Retry-After is as good as a 500: nobody is avoided (UAC-08)."""
        self.send()
        self.answer(self.flow(ONE), 503)
        self.answer(self.flow(TWO), 200)
        self.send()
        self.assertEqual(len(self.flow(ONE).sent), 2)

    def test_cancelled(self) -> None:
        """A request given up goes nowhere any more, and no CANCEL is sent (TXN-18)."""
        waiting = self.ua.request(self.message())
        found = self.outcome(waiting)
        waiting.cancel()
        self.assertIsInstance(found[0], CancelledError)
        self.answer(self.flow(ONE), 503)
        self.flow(ONE).fail()
        self.run_for(40)
        self.assertEqual(self.used(), [("UDP", *ONE)])
        self.assertEqual(len(self.flow(ONE).sent), 1)
        self.assertEqual(len(self.ua.wheel), 0)

    def test_cancelled_while_located(self) -> None:
        """Nothing is sent when the answer of DNS comes too late."""
        self.resolver.hold = True
        waiting = self.ua.request(self.message())
        found = self.outcome(waiting)
        waiting.cancel()
        self.resolver.hold = False
        self.resolver.release()
        self.assertIsInstance(found[0], CancelledError)
        self.assertEqual(self.used(), [])


class LocationTests(UacCase):
    """The next hop (DNS-01, ROU-03, ROU-04, TRN-24)."""

    def test_no_dns(self) -> None:
        """A name that nobody knows, and DNS that fails (DNS-06)."""
        self.assertIsInstance(self.send("sip:bob@nowhere.example")[0], TransportError)
        self.resolver.records["_sip._udp.broken.example", dns.SRV] = DNSServerError()
        self.resolver.records["broken.example", dns.A] = DNSServerError()
        self.resolver.records["broken.example", dns.NAPTR] = DNSServerError()
        self.assertIsInstance(self.send("sip:bob@broken.example")[0], TransportError)
        self.assertIsInstance(self.send("urn:x:y")[0], TransportError)
        self.assertEqual(self.used(), [])

    def test_naptr(self) -> None:
        """NAPTR decides on the transport (DNS-02, DNS-03); TLS proves the domain asked for."""
        self.resolver.records["example.com", dns.NAPTR] = naptr(
            (10, 0, "s", "SIPS+D2T", "_sips._tcp.elsewhere.example"),
            (20, 0, "s", "SIP+D2U", "_sip._udp.example.com"),
        )
        self.resolver.records["_sips._tcp.elsewhere.example", dns.SRV] = srv(
            (0, 0, 5071, "one.example.com")
        )
        found = self.send()
        flow = self.flow(("192.0.2.11", 5071), self.tls)
        self.assertEqual(flow.name, "example.com")  # DNS-10
        self.assertEqual(flow.messages[0].via.protocol, "TLS")
        flow.fail()
        self.assertIsInstance(found[0], TransportError)  # of the chosen SRV only (DNS-06)

    def test_route(self) -> None:
        """A preloaded route is where it goes; all of them are in the request (ROU-03, ROU-04)."""
        routes = ["<sip:192.0.2.50:5080;lr>", "<sip:scscf.example.com;lr;orig>"]
        self.ua.request(self.message(), route=routes).addErrback(lambda _: None)
        (request,) = self.flow(("192.0.2.50", 5080)).messages
        self.assertEqual(request.headers["route"], routes)
        self.assertEqual(request.uri, "sip:bob@example.com")
        self.assertEqual(self.resolver.asked, [])

    def test_secure(self) -> None:
        """Sips goes over TLS only, whatever the route says (TRN-24, DNS-01)."""
        self.send("sips:bob@192.0.2.60")
        self.assertEqual(self.used(), [("TLS", "192.0.2.60", 5061)])
        self.setUp()
        self.ua.request(
            self.message("sips:bob@example.com"), route=["<sip:192.0.2.50;lr>"]
        ).addErrback(lambda _: None)
        self.assertEqual(self.used(), [("TLS", "192.0.2.50", 5061)])
        self.setUp()
        self.ua.layer._transports.remove(self.tls)
        self.assertIsInstance(self.send("sips:bob@192.0.2.60")[0], TransportError)
        self.assertEqual(self.used(), [])

    def test_hop(self) -> None:
        """A hop that its caller knows is taken."""
        self.ua.request(self.message(), hop=parse_uri("sip:192.0.2.70")).addErrback(lambda _: None)
        self.assertEqual(self.used(), [("UDP", "192.0.2.70", 5060)])

    def test_unwritable(self) -> None:
        """A request that cannot be written fails, it does not hang."""
        found = self.send(subject="a\r\nb")
        self.assertIsInstance(found[0], ValueError)


class SizeTests(UacCase):
    """Large requests go by TCP (TRN-05 to TRN-07)."""

    def sized(self, size: int, uri: str = "sip:bob@192.0.2.11") -> list[Any]:
        """Send a request that is so many octets long on UDP."""
        probe = self.message(uri)
        probe.body = b"x" * 1000  # a Content-Length of four digits, like that of the request
        probe.set("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=;rport")
        probe.set("Max-Forwards", "70")
        probe.set("User-Agent", "test/1")
        branch = len(self.ua.tokens.branch())
        request = self.message(uri)
        request.body = b"x" * (1000 + size - len(probe.encode()) - branch)
        return self.outcome(self.ua.request(request))

    def test_border(self) -> None:
        """1300 octets go by UDP, 1301 by TCP, and the Via says so (TRN-05)."""
        self.sized(1300)  # of which more than 1000 are body
        ((_, data),) = self.flow(ONE).sent
        self.assertEqual(len(data), 1300)
        self.setUp()
        self.sized(1301)
        self.assertEqual(self.flow(ONE).sent, [])
        (request,) = self.flow(ONE, self.tcp).messages
        self.assertEqual(request.via.protocol, "TCP")

    def test_udp_asked_for(self) -> None:
        """transport=udp does not change that (TRN-07)."""
        self.sized(1400, "sip:bob@192.0.2.11;transport=udp")
        self.assertEqual(len(self.flow(ONE, self.tcp).sent), 1)

    def test_refused(self) -> None:
        """When TCP is refused the same request goes by UDP, later ones at once (TRN-06)."""
        found = self.sized(2000)
        self.flow(ONE, self.tcp).fail()
        request = self.flow(ONE).messages[-1]
        self.assertEqual(request.via.protocol, "UDP")
        self.assertNotEqual(request.via.branch, self.flow(ONE, self.tcp).messages[0].via.branch)
        self.answer(self.flow(ONE), 200)
        self.assertEqual(found, [200])
        self.sized(2000)
        self.assertEqual(len(self.flow(ONE, self.tcp).sent), 1)
        self.run_for(601)
        self.sized(2000)
        self.assertEqual(len(self.flow(ONE, self.tcp).sent), 2)

    def test_silent(self) -> None:
        """TCP that connects and is silent is a time-out as any other (TRN-06)."""
        found = self.sized(2000)
        self.run_for(33)
        self.assertIsInstance(found[0], RequestTimeout)

    def test_both_fail(self) -> None:
        """Then UDP may fail as well, and the next server is tried."""
        request = self.message()
        request.body = b"x" * 2000
        found = self.outcome(self.ua.request(request))
        self.flow(ONE, self.tcp).fail()
        self.flow(ONE).fail()
        self.assertEqual(len(self.flow(TWO, self.tcp).sent), 1)
        self.answer(self.flow(TWO, self.tcp), 200)
        self.assertEqual(found, [200])

    def test_without_tcp(self) -> None:
        """A node without TCP sends what it must by UDP."""
        self.ua.layer._transports.remove(self.tcp)
        self.sized(2000)
        self.assertEqual(len(self.flow(ONE).sent), 1)


class ChallengeTests(UacCase):
    """401 and 407 (UAC-02, UAC-06); more of it in test_client_auth."""

    CHALLENGE = ("WWW-Authenticate", 'Digest realm="example.com", nonce="{}", qop="auth"')

    def challenge(self, nonce: str, extra: str = "") -> list[tuple[str, str]]:
        """A challenge."""
        return [(self.CHALLENGE[0], self.CHALLENGE[1].format(nonce) + extra)]

    def test_without_credentials(self) -> None:
        """Without credentials the 401 is the outcome (UAC-06)."""
        found = self.send()
        self.answer(self.flow(ONE), 401, self.challenge("n1"))
        self.assertEqual(found, [401])

    def test_second_refusal(self) -> None:
        """A second 401 that is not stale ends it; a stale one does not (UAC-06)."""
        credentials = ClientCredentials("alice", "secret")
        found = self.outcome(self.ua.request(self.message(), credentials=credentials))
        self.answer(self.flow(ONE), 401, self.challenge("n1"))
        self.answer(self.flow(ONE), 401, self.challenge("n2", ", stale=true"))
        self.assertEqual(found, [])
        self.answer(self.flow(ONE), 401, self.challenge("n3"))
        self.assertEqual(found, [401])
        requests = self.flow(ONE).messages
        self.assertEqual([r.cseq[0] for r in requests], [1, 2, 3])
        self.assertEqual(len({r.via.branch for r in requests}), 3)
        self.assertEqual(len({(r.call_id, r.from_.tag) for r in requests}), 1)

    def test_endless_stale(self) -> None:
        """A server that calls everything stale is given up (UAC-06)."""
        credentials = ClientCredentials("alice", "secret")
        found = self.outcome(self.ua.request(self.message(), credentials=credentials))
        for number in range(10):
            if not found:
                self.answer(self.flow(ONE), 401, self.challenge(f"n{number}", ", stale=true"))
        self.assertEqual(found, [401])
        self.assertLess(len(self.flow(ONE).sent), 5)


class AdaptTests(UacCase):
    """Making do without what the server refuses (UAC-07, UAC-02)."""

    def test_extension(self) -> None:
        """420: once more without the extensions that are named (UAC-07)."""
        found = self.send(require="foo, gruu")
        self.answer(self.flow(ONE), 420, [("Unsupported", "FOO")])
        first, second = self.flow(ONE).messages
        self.assertEqual(second.headers["require"], ["gruu"])
        self.assertEqual((first.cseq[0], second.cseq[0]), (1, 2))
        self.assertEqual((first.call_id, first.from_.tag), (second.call_id, second.from_.tag))
        self.assertNotEqual(first.via.branch, second.via.branch)
        self.answer(self.flow(ONE), 420, [("Unsupported", "gruu")])
        self.assertEqual(found, [420])  # once

    def test_nothing_to_leave_out(self) -> None:
        """A 420 about something else stands."""
        for headers in ([("Unsupported", "bar")], []):
            self.setUp()
            found = self.send(require="foo")
            self.answer(self.flow(ONE), 420, headers)
            self.assertEqual(found, [420])

    def test_scheme(self) -> None:
        """416: pres becomes sip, sips never does (UAC-07, TRN-24)."""
        found = self.send("pres:bob@example.com")
        self.answer(self.flow(ONE), 416)
        self.assertEqual(self.flow(ONE).messages[1].uri, "sip:bob@example.com")
        self.answer(self.flow(ONE), 200)
        self.assertEqual(found, [200])
        found = self.send("sips:bob@192.0.2.11")
        self.answer(self.flow(("192.0.2.11", 5061), self.tls), 416)
        self.assertEqual(found, [416])
        self.assertEqual(len(self.used()), 2)
        found = self.send("sips:bob@192.0.2.11")
        warning = [("Warning", '380 x "SIPS Not Allowed"')]
        self.answer(self.flow(("192.0.2.11", 5061), self.tls), 480, warning)
        self.assertEqual(found, [480])

    def test_in_dialog(self) -> None:
        """In a dialog the owner decides: it counts the CSeq (DLG-06)."""
        found = self.send(require="foo", to="<sip:bob@example.com>;tag=t")
        self.answer(self.flow(ONE), 420, [("Unsupported", "foo")])
        self.assertEqual(found, [420])

    def test_content(self) -> None:
        """413, 415 and 423 are for the owner of the state."""
        for status in (413, 415, 423):
            found = self.send()
            self.answer(self.flow(ONE), status, [("Min-Expires", "60")])
            self.assertEqual(found, [status])


class RedirectTests(UacCase):
    """3xx (UAC-05)."""

    def setUp(self) -> None:
        """Redirections are followed to two domains."""
        super().setUp()
        self.ua.sender.redirects = 5
        self.ua.sender.redirect_domains = frozenset(("192.0.2.81", "192.0.2.82", "example.net"))

    def moved(self, address: tuple[str, int], *contacts: str, status: int = 302) -> None:
        """A server redirects."""
        self.answer(self.flow(address), status, [("Contact", ", ".join(contacts))])

    def test_off(self) -> None:
        """Off by default: a 3xx is a failure (UAC-05)."""
        self.ua.sender.redirects = 0
        found = self.send()
        self.moved(ONE, "<sip:bob@192.0.2.81>")
        self.assertEqual(found, [302])

    def test_followed(self) -> None:
        """The Contact becomes the Request-URI, less header and method (UAC-05)."""
        found = self.send()
        self.moved(ONE, "<sip:bob@192.0.2.81;x=1;method=FOO?Subject=y>")
        request = self.flow(("192.0.2.81", 5060)).messages[0]
        self.assertEqual(request.uri, "sip:bob@192.0.2.81;x=1")
        self.assertEqual(request.headers["to"], ["<sip:bob@example.com>"])
        self.assertEqual((request.cseq[0], request.call_id), (2, "c1"))
        self.answer(self.flow(("192.0.2.81", 5060)), 200)
        self.assertEqual(found, [200])

    def test_preference(self) -> None:
        """By q; a failure leads to the next (UAC-05)."""
        found = self.send()
        self.moved(
            ONE,
            "<sip:a@192.0.2.81>;q=0.1",
            "<sip:b@192.0.2.82>;q=x",
            "<sip:c@192.0.2.82:5090>;q=0.5",
            status=300,
        )
        self.answer(self.flow(("192.0.2.82", 5060)), 404)
        self.flow(("192.0.2.82", 5090)).fail()
        self.answer(self.flow(("192.0.2.81", 5060)), 486)
        self.assertEqual(found, [486])
        numbers = [
            self.flow(address).messages[0].cseq[0]
            for address in (("192.0.2.82", 5060), ("192.0.2.82", 5090), ("192.0.2.81", 5060))
        ]
        self.assertEqual(numbers, [2, 3, 4])

    def test_global_failure(self) -> None:
        """A 6xx ends it."""
        found = self.send()
        self.moved(ONE, "<sip:a@192.0.2.81>", "<sip:b@192.0.2.82>;q=0.5")
        self.answer(self.flow(("192.0.2.81", 5060)), 603)
        self.assertEqual(found, [603])

    def test_each_once(self) -> None:
        """No URI twice, so that there is no loop (UAC-05)."""
        found = self.send()
        self.moved(ONE, "<sip:a@192.0.2.81>")
        self.moved(("192.0.2.81", 5060), "<sip:a@192.0.2.81>", "<sip:bob@example.com>")
        self.assertEqual(found, [302])

    def test_at_most_five(self) -> None:
        """Five redirections at most, whatever is set (UAC-05)."""
        self.ua.sender.redirects = 100
        found = self.send()
        self.moved(ONE, "<sip:0@192.0.2.81>")
        for number in range(1, 20):
            if not found:
                self.moved(("192.0.2.81", 5060), f"<sip:{number}@192.0.2.81>")
        self.assertEqual(found, [302])
        self.assertEqual(len(self.flow(("192.0.2.81", 5060)).sent), 5)

    def test_where_not(self) -> None:
        """Not to other domains, from sips to sip, or to what is no SIP URI (UAC-05, TRN-24)."""
        for contact in ("<sip:a@evil.example>", "<tel:+1>", "<mailto:a@example.net>", "*", "<<"):
            self.setUp()
            found = self.send()
            self.moved(ONE, contact)
            self.assertEqual(found, [302], contact)
        found = self.send("sips:bob@192.0.2.11")
        self.answer(
            self.flow(("192.0.2.11", 5061), self.tls), 302, [("Contact", "<sip:a@192.0.2.81>")]
        )
        self.assertEqual(found, [302])

    def test_in_dialog(self) -> None:
        """In a dialog the owner decides."""
        found = self.send(to="<sip:bob@example.com>;tag=t")
        self.moved(ONE, "<sip:a@192.0.2.81>")
        self.assertEqual(found, [302])

    def test_located_anew(self) -> None:
        """The new URI is located like any other; one that leads nowhere is the end."""
        self.resolver.records["_sip._udp.example.net", dns.SRV] = srv(
            (0, 0, 5062, "two.example.com")
        )
        found = self.send()
        self.moved(ONE, "<sip:a@example.net>", "<sip:a@nowhere.example.net>")
        self.answer(self.flow(("192.0.2.12", 5062)), 200)
        self.assertEqual(found, [200])
        self.ua.sender.redirect_domains = frozenset(("nowhere.example",))
        found = self.send()
        self.moved(ONE, "<sip:a@nowhere.example>")
        self.assertIsInstance(found[0], TransportError)

    def test_credentials(self) -> None:
        """Credentials are made for one Request-URI (UAC-06)."""
        credentials = ClientCredentials("alice", "secret")
        found = self.outcome(self.ua.request(self.message(), credentials=credentials))
        challenge = [("WWW-Authenticate", 'Digest realm="example.com", nonce="n", qop="auth"')]
        self.answer(self.flow(ONE), 401, challenge)
        self.moved(ONE, "<sip:a@192.0.2.81>")
        target = self.flow(("192.0.2.81", 5060))
        self.assertNotIn("authorization", target.messages[0].headers)
        self.answer(target, 401, challenge)
        self.assertIn('uri="sip:a@192.0.2.81"', target.messages[1].first("authorization") or "")
        self.answer(target, 200)
        self.assertEqual(found, [200])
