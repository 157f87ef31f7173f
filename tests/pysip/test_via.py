"""Via: what is noted in it and where responses go (sip-core.md section 4, RFC 3581)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from pysip.errors import TransportError
from pysip.header import Via
from pysip.interfaces import Target
from pysip.message import encode_response
from tests.pysip.flows import NotingFlow, request
from tests.pysip.test_transactions import LayerCase


class ViaTests(LayerCase):
    """What is noted in the top Via, and where responses go (section 4)."""

    def serve(self, via: str, flow: NotingFlow | None = None) -> str:
        """A request with this Via arrives and is answered; the top Via as noted."""
        self.layer.request_received(request(via=via), flow or self.flow)
        transaction, message = self.user.requests[-1]
        transaction.respond(encode_response(message, 200, to_tag="t"), 200)
        return message.headers["via"][0]

    def test_received(self) -> None:
        """``received`` for a name or another address, none for the same one (VIA-02)."""
        for host, noted in (
            ("192.0.2.10", ""),
            ("192.0.2.10:5060", ""),
            ("phone.example.com", ";received=192.0.2.10"),
            ("10.0.0.1:5060", ";received=192.0.2.10"),
        ):
            with self.subTest(host=host):
                self.setUp()
                via = f"SIP/2.0/UDP {host};branch=z9hG4bK1"
                self.assertEqual(self.serve(via), via + noted)

    def test_received_is_ours(self) -> None:
        """A ``received`` of the sender's own is replaced (VIA-02)."""
        via = self.serve("SIP/2.0/UDP name;received=203.0.113.1;branch=z9hG4bK1")
        self.assertIn("received=192.0.2.10", via)
        self.assertNotIn("203.0.113.1", via)

    def test_ipv6(self) -> None:
        """The same IPv6 address may be written differently; received is bare (VIA-02, TRN-03)."""
        flow = NotingFlow(self.clock, ("2001:db8::1", 5060))
        via = "SIP/2.0/UDP [2001:DB8:0::1];branch=z9hG4bK1"
        self.assertEqual(self.serve(via, flow), via)
        via = self.serve("SIP/2.0/UDP [2001:db8::2];branch=z9hG4bK2", flow)
        self.assertTrue(via.endswith(";received=2001:db8::1"), via)

    def test_rport(self) -> None:
        """An empty rport is filled, and received is there even when equal (VIA-03)."""
        tcp = self.tcp.flow_to(("192.0.2.10", 40000))
        udp = NotingFlow(self.clock, ("192.0.2.10", 40000))
        for flow in (udp, tcp):
            for number, params in enumerate(
                (
                    ";branch=z9hG4bK{};rport",
                    ";rport;branch=z9hG4bK{}",
                    ";branch=z9hG4bK{};RPORT;x=1",
                    ";branch=z9hG4bK{};rport, SIP/2.0/UDP upstream;branch=z9hG4bKu;rport",
                )
            ):
                start = f"SIP/2.0/{flow.protocol} 192.0.2.10"
                via = self.serve(start + params.format(f"{flow.protocol}{number}"), flow)
                head = via.partition(",")[0]
                self.assertIn("rport=40000", head.lower())
                self.assertIn("received=192.0.2.10", head)
                self.assertTrue(head.startswith(start))
        self.assertEqual(len(udp.sent), 4)  # to the source, not to the sent-by port

    def test_lower_values(self) -> None:
        """All other Via values come back as they were, in order (VIA-07, TXN-19, UAS-08)."""
        message = request(via="SIP/2.0/UDP name;branch=z9hG4bK1;rport")
        lower = [
            'SIP/2.0/TCP one.example.com:5061;branch=z9hG4bKa;received=1.2.3.4;x="a,b"',
            "SIP / 2.0 / UDP two;branch=z9hG4bKb;rport;odd , SIP/2.0/UDP three",
        ]
        for value in lower:
            message.add("Via", value)
        self.layer.request_received(message, self.flow)
        self.user.requests[0][0].respond(encode_response(message, 200), 200)
        answer = self.flow.messages[0]
        self.assertEqual(answer.headers["via"][1:], lower)

    def test_datagram_ways(self) -> None:
        """maddr, else rport, else the sent-by port or 5060 at the source (VIA-05)."""
        for via, where in (
            ("192.0.2.10:7000;branch=z9hG4bK1;rport", ("192.0.2.10", 40000)),
            ("192.0.2.10:7000;branch=z9hG4bK2", ("192.0.2.10", 7000)),
            ("192.0.2.10;branch=z9hG4bK3", ("192.0.2.10", 5060)),
            ("10.1.1.1;branch=z9hG4bK4", ("192.0.2.10", 5060)),
            ("name:7000;branch=z9hG4bK5", ("192.0.2.10", 7000)),
            ("192.0.2.10:7000;branch=z9hG4bK6;maddr=192.0.2.77", ("192.0.2.77", 7000)),
            ("192.0.2.10;branch=z9hG4bK7;maddr=192.0.2.77;rport", ("192.0.2.77", 5060)),
        ):
            with self.subTest(via=via):
                self.setUp()
                source = self.udp.flow_to(("192.0.2.10", 40000))
                self.serve(f"SIP/2.0/UDP {via}", source)
                sent = [address for address, flow in self.udp.flows.items() if flow.sent]
                self.assertEqual(sent, [where])

    def test_connection(self) -> None:
        """The same connection as long as it is open (VIA-04)."""
        source = self.tcp.flow_to(("192.0.2.10", 40000))
        self.serve("SIP/2.0/TCP 192.0.2.10:7000;branch=z9hG4bK1", source)
        self.assertEqual(source.statuses, [200])

    def test_closed_connection(self) -> None:
        """Else a new one to the source and the sent-by port, not the rport (VIA-04)."""
        for transport, via, port in (
            (self.tcp, "SIP/2.0/TCP 10.0.0.1:7000;branch=z9hG4bK1;rport", 7000),
            (self.tcp, "SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK2;rport", 5060),
            (self.tls, "SIP/2.0/TLS 10.0.0.1;branch=z9hG4bK3;rport", 5061),
        ):
            source = NotingFlow(self.clock, ("192.0.2.10", 40000), transport.protocol)
            source.closed = True
            self.serve(via, source)
            self.assertEqual(transport.flows["192.0.2.10", port].statuses, [200], via)
        self.run_for(33)
        self.nothing_left()
        self.assertEqual(self.tcp.flows["192.0.2.10", 7000].listeners, set())


class RerouteTests(LayerCase):
    """When the way back has failed (VIA-04, VIA-05, DNS-08, TXN-07)."""

    def setUp(self) -> None:
        """With a table in the place of DNS."""
        super().setUp()
        self.asked: list[Via] = []
        self.table: Callable[[], Deferred[list[Target]]] = lambda: succeed(
            [
                Target("UDP", ("192.0.2.10", 5060), "proxy.example.com"),
                Target("UDP", ("192.0.2.11", 5060), "proxy.example.com"),
                Target("UDP", ("192.0.2.12", 5060), "proxy.example.com"),
            ]
        )
        self.layer.alternatives = self.locate

    def locate(self, via: Via) -> Deferred[list[Target]]:
        """Look the Via up in the table."""
        self.asked.append(via)
        return self.table()

    def serve(self, host: str = "proxy.example.com", flow: NotingFlow | None = None) -> None:
        """A request of ``host`` arrives and is answered."""
        flow = flow or self.flow
        number = len(self.user.requests)
        via = f"SIP/2.0/{flow.protocol} {host};branch=z9hG4bK{number};rport"
        self.layer.request_received(request(via=via, call_id=f"c{number}"), flow)
        transaction, message = self.user.requests[-1]
        transaction.respond(encode_response(message, 200, to_tag="t"), 200)

    def sent(self, host: str, port: int = 5060, transport: Any = None) -> list[int]:
        """Statuses that went to a host."""
        flow = (transport or self.udp).flows.get((host, port))
        return flow.statuses if flow is not None else []

    def test_icmp(self) -> None:
        """After an ICMP report the places that the name leads to, but for the failed one."""
        self.serve()
        self.flow.fail()
        self.assertEqual(
            [(via.host, via.port) for via in self.asked], [("proxy.example.com", None)]
        )
        self.assertEqual(self.sent("192.0.2.10"), [200])
        self.assertEqual(self.sent("192.0.2.11"), [200])
        self.assertEqual(self.sent("192.0.2.12"), [])
        self.udp.flows["192.0.2.11", 5060].fail()
        self.assertEqual(self.sent("192.0.2.12"), [200])
        self.udp.flows["192.0.2.12", 5060].fail()
        self.assertEqual(self.layer.undelivered, 1)
        self.assertEqual(len(self.asked), 1)
        self.assertEqual(len(self.layer.servers), 1)  # it stays in its state (RFC 6026)
        self.layer.request_received(
            request(via="SIP/2.0/UDP proxy.example.com;branch=z9hG4bK0", call_id="c0"), self.flow
        )
        self.assertEqual(self.sent("192.0.2.10"), [200, 200])
        self.run_for(33)
        self.nothing_left()

    def test_success_is_left_alone(self) -> None:
        """Without a report nothing is looked up; later failures concern nobody any more."""
        self.serve()
        self.run_for(3)
        self.flow.fail()
        self.assertEqual(self.asked, [])
        self.serve()
        self.flow.fail()
        self.assertEqual(len(self.asked), 1)
        other = self.udp.flows["192.0.2.11", 5060]
        self.run_for(33)
        other.fail()
        self.assertEqual(self.sent("192.0.2.12"), [])
        self.assertEqual(other.listeners, set())

    def test_numeric(self) -> None:
        """A sent-by that is the source itself leads nowhere else."""
        self.serve("192.0.2.10:5060")
        self.assertEqual(self.flow.listeners, set())
        self.flow.fail()
        self.assertEqual(self.asked, [])

    def test_only_the_last(self) -> None:
        """Of a flow with many responses only the last ones are kept, of few flows only."""
        for _ in range(100):
            self.serve()
        self.flow.fail()
        self.assertEqual(len(self.asked), 16)
        for number in range(300):
            self.serve(flow=self.udp.flow_to(("198.51.100.1", 1024 + number)))
        watched = [flow for flow in self.udp.flows.values() if self.layer.watch in flow.listeners]
        self.assertEqual(len(watched), 256)

    def test_connection(self) -> None:
        """A connection that cannot be opened anew: RFC 3263 section 5 on the sent-by (VIA-04)."""
        self.table = lambda: succeed(
            [
                Target("TCP", ("192.0.2.21", 5060), "proxy.example.com"),
                Target("TCP", ("192.0.2.22", 5062), "proxy.example.com"),
            ]
        )
        self.tcp.refused = {("192.0.2.10", 5060), ("192.0.2.21", 5060)}
        source = NotingFlow(self.clock, ("192.0.2.10", 40000), "TCP")
        source.closed = True
        self.serve(flow=source)
        self.run_for(0.1)
        self.assertEqual(len(self.asked), 1)
        self.assertEqual(self.sent("192.0.2.22", 5062, self.tcp), [200])
        self.assertEqual(self.tcp.flows["192.0.2.22", 5062].name, "proxy.example.com")
        self.run_for(33)
        self.nothing_left()

    def test_lookup_fails(self) -> None:
        """DNS that fails, or knows nothing, ends it quietly."""
        for table in (lambda: fail(TransportError("DNS")), lambda: succeed([])):
            self.setUp()
            self.table = table
            self.serve()
            self.flow.fail()
            self.assertEqual(self.layer.undelivered, 1)
        self.setUp()
        self.layer.alternatives = None
        self.serve()
        self.flow.fail()
        self.assertEqual(self.layer.undelivered, 1)

    def test_no_such_transport(self) -> None:
        """Places that no transport of ours reaches are passed over."""
        self.table = lambda: succeed(
            [
                Target("SCTP", ("192.0.2.30", 5060), "proxy.example.com"),
                Target("UDP", ("192.0.2.31", 5060), "proxy.example.com"),
            ]
        )
        self.serve()
        self.flow.fail()
        self.assertEqual(self.sent("192.0.2.31"), [200])
