"""Transactions (sip-core.md section 3), driven by a clock that is set by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysip.interfaces import (
    IAdmissionControl,
    IClientTransaction,
    IClientTransactionUser,
    IServerTransaction,
    ITransactionUser,
)
from pysip.message import Request, Response, encode_response, response_to
from pysip.parse import BadMessage, parse_message
from pysip.timers import TimerValues, TimerWheel
from pysip.tokens import TokenSource
from pysip.transaction.client import ClientTransaction
from pysip.transaction.layer import TransactionLayer
from tests.pysip.flows import NotingFlow, NotingTransport, request

SENDS = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
"""When a request is sent that nobody answers (TXN-06)."""


@implementer(ITransactionUser, IClientTransactionUser)
class Noting:
    """A transaction user that notes what it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[IServerTransaction, Request]] = []
        self.responses: list[Response] = []
        self.failures: list[int] = []

    def request_received(self, transaction: IServerTransaction, request: Request) -> None:
        """A new request."""
        self.requests.append((transaction, request))

    def response_received(self, transaction: IClientTransaction, response: Response) -> None:
        """A response."""
        self.responses.append(response)

    def transaction_failed(self, transaction: IClientTransaction, status: int) -> None:
        """No response."""
        self.failures.append(status)


class LayerCase(SynchronousTestCase):
    """A transaction layer on transports that note."""

    values = TimerValues()
    limit = 1000

    def setUp(self) -> None:
        """Make it."""
        self.clock = Clock()
        self.wheel = TimerWheel(self.clock)
        self.user = Noting()
        self.layer = TransactionLayer(
            self.clock, self.wheel, self.user, b"secret", self.values, self.limit
        )
        self.udp = NotingTransport(self.clock)
        self.tcp = NotingTransport(self.clock, "TCP")
        self.tls = NotingTransport(self.clock, "TLS")
        for transport in (self.udp, self.tcp, self.tls):
            self.layer.add_transport(transport)
        self.flow = self.udp.flow_to(("192.0.2.10", 5060))

    def run_for(self, seconds: float) -> None:
        """Let time pass in steps of 50 ms, a hair late so that sums of them do not fall short."""
        first = round(self.clock.seconds() / 0.05)
        for step in range(first + 1, first + 1 + round(seconds / 0.05)):
            self.clock.advance(step * 0.05 + 1e-7 - self.clock.seconds())

    def assert_times(self, flow: NotingFlow, expected: list[float]) -> None:
        """Something was sent at these times."""
        self.assertEqual([round(time, 3) for time in flow.times], expected)

    def nothing_left(self) -> None:
        """No transaction and no timer remains."""
        self.assertEqual(len(self.layer.servers), 0)
        self.assertEqual(len(self.layer.clients), 0)
        self.assertEqual(len(self.wheel), 0)
        self.assertEqual(self.layer._merged, {})


class ClientTests(LayerCase):
    """The non-INVITE client transaction."""

    def start(
        self, flow: NotingFlow | None = None, branch: str = "z9hG4bKours"
    ) -> ClientTransaction:
        """Send a SUBSCRIBE."""
        self.request = request(via=f"SIP/2.0/UDP 192.0.2.1:5060;branch={branch}")
        return self.layer.request(
            branch, "SUBSCRIBE", self.request.encode(), flow or self.flow, self.user
        )

    def answer(self, status: int, **changes: str) -> None:
        """A response arrives."""
        response = response_to(self.request, status, to_tag="t")
        for name, value in changes.items():
            response.set(name, value)
        self.layer.response_received(response, self.flow)

    def test_retransmissions(self) -> None:
        """Eleven times in 32 s, then a local 408 (TXN-05, TXN-06, TXN-14)."""
        self.start()
        self.run_for(31.9)
        self.assertEqual(self.user.failures, [])
        self.run_for(0.1)
        self.assertEqual(self.user.failures, [408])
        self.assertEqual(self.clock.seconds().__round__(3), 32.0)
        self.run_for(40)
        self.assert_times(self.flow, SENDS)
        self.assertEqual(len({data for _, data in self.flow.sent}), 1)  # octet by octet the same
        self.assertEqual(self.user.failures, [408])
        self.nothing_left()

    def test_exact_on_a_coarse_clock(self) -> None:
        """Lateness of the reactor does not add up (TXN-06)."""
        self.start()
        while self.clock.seconds() < 33:
            self.clock.advance(0.13)
        self.assertEqual(len(self.flow.sent), 11)
        for sent, due in zip(self.flow.times, SENDS, strict=True):
            self.assertTrue(due <= sent < due + 0.2, (sent, due))

    def test_other_values(self) -> None:
        """T1 and T2 are settings; 64*T1 is the limit (table of section 3)."""
        self.layer.values = TimerValues(0.1, 0.4, 1.0)
        self.start()
        self.run_for(1.55)
        self.assert_times(self.flow, [0, 0.1, 0.3, 0.7, 1.1, 1.5])
        self.run_for(5)
        self.assertEqual(self.user.failures, [408])
        self.assertLess(self.flow.times[-1], 6.4)

    def test_proceeding(self) -> None:
        """After a 100 timer E runs with T2, timer F goes on (TXN-05)."""
        self.start()
        self.run_for(0.6)
        self.answer(100)
        self.answer(183)
        self.assertEqual([r.status for r in self.user.responses], [100, 183])
        self.run_for(31.5)
        self.assert_times(self.flow, [0, 0.5, 1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5])
        self.assertEqual(self.user.failures, [408])

    def test_final(self) -> None:
        """A final response ends it; repetitions are absorbed (TXN-05, TXN-16)."""
        for status in (200, 302, 404, 503, 603):
            with self.subTest(status=status):
                self.setUp()
                self.start()
                self.run_for(0.6)
                self.answer(status)
                self.answer(status)
                self.answer(100)
                self.run_for(40)
                self.assertEqual([r.status for r in self.user.responses], [status])
                self.assertEqual(len(self.flow.sent), 2)
                self.assertEqual(self.user.failures, [])
                self.assertEqual(self.flow.listeners, set())
                self.nothing_left()

    def test_reliable(self) -> None:
        """Over TCP it is sent once; timer F runs all the same (TXN-05)."""
        flow = self.tcp.flow_to(("192.0.2.10", 5060))
        self.start(flow)
        self.run_for(31.9)
        self.assertEqual(self.user.failures, [])
        self.run_for(0.2)
        self.assertEqual(self.user.failures, [408])
        self.assert_times(flow, [0])

    def test_transport_error(self) -> None:
        """A transport error is a local 503 at once, whatever the state (TXN-05, TXN-14, TRN-25)."""
        for provisional in (False, True):
            with self.subTest(provisional=provisional):
                self.setUp()
                self.start()
                if provisional:
                    self.answer(100)
                self.run_for(0.1)
                self.flow.fail()
                self.assertEqual(self.user.failures, [503])
                self.run_for(40)
                self.assertEqual(self.user.failures, [503])
                self.assertEqual(len(self.flow.sent), 1)
                self.nothing_left()

    def test_closed_flow(self) -> None:
        """A flow that is closed already fails the transaction, too (TXN-14)."""
        flow = self.tcp.flow_to(("192.0.2.10", 5060))
        flow.closed = True
        self.start(flow)
        self.clock.advance(0)
        self.assertEqual(self.user.failures, [503])

    def test_strays(self) -> None:
        """Branch, method and our own sent-by must match (TXN-04, TXN-16, VIA-06)."""
        self.start()
        via = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours"
        self.answer(200, via=via.replace("ours", "theirs"))
        self.answer(200, via=via.replace("ours", "OURS"))
        self.answer(200, cseq="1 PUBLISH")
        self.answer(200, via=via.replace("192.0.2.1", "192.0.2.99"))
        self.answer(200, via=via.replace(":5060", ":5080"))
        self.answer(200, via="SIP/2.0/UDP ;;")
        self.assertEqual(self.user.responses, [])
        self.answer(200, via=via.replace(":5060", ""))  # the default port may be left out
        self.assertEqual(len(self.user.responses), 1)

    def test_two_vias(self) -> None:
        """More than one Via: it was meant for somebody else (UAC-04, TOR-41)."""
        self.start()
        via = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours"
        self.answer(200, via=f"{via}, SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKx")
        response = response_to(self.request, 200)
        response.add("Via", "SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKx")
        self.layer.response_received(response, self.flow)
        self.assertEqual(self.user.responses, [])

    def test_other_flow(self) -> None:
        """The response may come by a new connection (TRN-29)."""
        self.start(self.tcp.flow_to(("192.0.2.10", 5060)))
        self.layer.response_received(response_to(self.request, 200), self.flow)
        self.assertEqual(len(self.user.responses), 1)

    def test_same_place(self) -> None:
        """All repetitions go where the first one went, even when a new flow is there (TXN-20)."""
        self.start()
        self.udp.flows.clear()
        self.run_for(33)
        self.assertEqual(len(self.flow.sent), 11)
        self.assertEqual(self.udp.flows, {})

    def test_no_cancel(self) -> None:
        """Who gives up sends no CANCEL (TXN-18)."""
        transaction = self.start()
        transaction.abandon()
        self.answer(200)
        self.run_for(40)
        self.assertEqual(len(self.flow.sent), 1)
        self.assertEqual((self.user.responses, self.user.failures), ([], []))
        self.nothing_left()

    def test_branches(self) -> None:
        """Cookie, never the same, 128 random bits (TXN-01), of which none count (PBK-04)."""
        one, other = TokenSource(), TokenSource()
        branches = [source.branch() for source in (one, other) for _ in range(5000)]
        self.assertEqual(len(set(branches)), 10000)
        self.assertTrue(all(branch.startswith("z9hG4bK") for branch in branches))
        self.assertEqual({len(branch) for branch in branches}, {7 + 32})
        numbers = [int(branch[7:], 16) for branch in branches]
        for shift in range(0, 128, 8):
            self.assertGreater(len({number >> shift & 0xFF for number in numbers}), 200)
        steps = {abs(b - a) >> 64 for a, b in pairwise(numbers)}
        self.assertEqual(len(steps), len(numbers) - 1)


class ServerCase(LayerCase):
    """Requests that arrive."""

    def receive(self, message: Request, flow: NotingFlow | None = None) -> None:
        """A request arrives, as octets do."""
        parsed = parse_message(message.encode())
        assert isinstance(parsed, Request)
        self.layer.request_received(parsed, flow or self.flow)

    def respond(self, status: int = 200, number: int = -1, **fields: Any) -> None:
        """Answer a request."""
        transaction, message = self.user.requests[number]
        transaction.respond(encode_response(message, status, to_tag="t", **fields), status)


class ServerTests(ServerCase):
    """The non-INVITE server transaction."""

    def test_trying(self) -> None:
        """Before any answer repetitions are dropped (TXN-07)."""
        for _ in range(3):
            self.receive(request())
        self.assertEqual(len(self.user.requests), 1)
        self.assertEqual(self.flow.sent, [])

    def test_trying_is_told(self) -> None:
        """A 100 after 3.5 s, not before: Timestamp, no tag (TXN-08, TXN-09, TXN-19)."""
        for flow in (self.flow, self.tcp.flow_to(("192.0.2.10", 5060))):
            with self.subTest(protocol=flow.protocol):
                self.receive(request(timestamp="54"), flow)
                self.run_for(3.4)
                self.assertEqual(flow.sent, [])
                self.run_for(0.2)
                self.assertEqual(flow.statuses, [100])
                (trying,) = flow.messages
                self.assertEqual(trying.first("timestamp"), "54")
                self.assertEqual(trying.to.tag, "")
                self.run_for(1)
                self.respond()
                self.assertEqual(flow.statuses, [100, 200])
                self.run_for(40)
                self.nothing_left()

    def test_proceeding(self) -> None:
        """In Proceeding a repetition gets the 100 again (TXN-07)."""
        self.receive(request())
        self.run_for(3.6)
        self.receive(request())
        self.assertEqual(self.flow.statuses, [100, 100])

    def test_quick_answer(self) -> None:
        """No 100 when the answer was there in time (TXN-08)."""
        self.receive(request())
        self.run_for(3)
        self.respond()
        self.run_for(10)
        self.assertEqual(self.flow.statuses, [200])

    def test_completed(self) -> None:
        """Repetitions get the same octets; other answers are discarded; J ends it (TXN-07)."""
        self.receive(request())
        self.respond(200, body=b"x", content_type="text/plain")
        self.respond(404)
        for _ in range(3):
            self.run_for(5)
            self.receive(request())
        self.assertEqual(len({data for _, data in self.flow.sent}), 1)
        self.assertEqual(self.flow.statuses, [200] * 4)
        self.run_for(16.9)
        self.assertEqual(len(self.layer.servers), 1)
        self.run_for(0.2)
        self.nothing_left()
        self.receive(request())  # as good as new
        self.assertEqual(len(self.user.requests), 2)

    def test_reliable(self) -> None:
        """Over TCP timer J is 0 (TXN-07)."""
        flow = self.tcp.flow_to(("192.0.2.10", 5060))
        self.receive(request(), flow)
        self.respond()
        self.nothing_left()

    def test_never_408(self) -> None:
        """What is not answered in 64*T1 is given up in silence, and stays so (TXN-10, TXN-11)."""
        for flow in (self.flow, self.tcp.flow_to(("192.0.2.10", 5060))):
            with self.subTest(protocol=flow.protocol):
                self.receive(request(), flow)
                self.run_for(33)
                self.assertEqual(flow.statuses, [100])
                self.nothing_left()
                self.respond()
                self.run_for(33)
                self.assertEqual(flow.statuses, [100])
                self.nothing_left()

    def test_matching(self) -> None:
        """Branch, sent-by without regard to case and with its default port, method (TXN-02)."""
        via = "SIP/2.0/UDP phone.example.com:5060;branch=z9hG4bK7"
        self.receive(request(via=via))
        for same in (
            via.replace("phone", "PHONE"),
            via.replace(":5060", ""),
            "SIP/2.0/UDP  phone.example.com : 5060;rport;branch=z9hG4bK7",
        ):
            self.receive(request(via=same, call_id="another", number="77"))
            self.assertEqual(len(self.user.requests), 1, same)
        for count, (other, method) in enumerate(
            (
                (via.replace("bK7", "bK8"), "SUBSCRIBE"),
                (via.replace("phone", "desk"), "SUBSCRIBE"),
                (via.replace("5060", "5070"), "SUBSCRIBE"),
                (via, "PUBLISH"),
            ),
            2,
        ):
            self.receive(request(method, via=other, call_id=f"c{count}"))
            self.assertEqual(len(self.user.requests), count, other)

    def test_without_cookie(self) -> None:
        """RFC 2543: URI, tags, Call-ID, CSeq and the whole Via count (TXN-03, TOR-33, TOR-46)."""
        for number, via in enumerate(
            (
                "SIP/2.0/UDP 192.0.2.10:5060",
                "SIP/2.0/UDP phone:5060;branch=old",
                "SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK",
            )
        ):
            self.setUp()
            with self.subTest(via=via):
                usual: dict[str, Any] = {"via": via, "call_id": f"x{number}"}
                self.receive(request(**usual))
                self.receive(request(**usual))
                self.assertEqual(len(self.user.requests), 1)
                self.respond()
                self.receive(request(**usual))
                self.assertEqual(self.flow.statuses, [200, 200])
                for count, change in enumerate(
                    (
                        {"uri": "sip:carol@example.com"},
                        {"to": "<sip:bob@example.com>;tag=t"},
                        {"from_": "<sip:alice@example.com>;tag=f2"},
                        {"call_id": "y"},
                        {"number": "2"},
                        {"via": via + ";x=1"},
                    ),
                    2,
                ):
                    changed = {**usual, **change}
                    self.receive(request(changed.pop("method", "SUBSCRIBE"), **changed))
                    self.assertEqual(len(self.user.requests), count, change)

    def test_merged(self) -> None:
        """The same request by another path is marked while the first one is there (UAS-03)."""
        self.receive(request())
        self.receive(request(via="SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK2"))
        self.receive(request(via="SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK3", number="2"))
        self.receive(
            request(
                via="SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK4", to="<sip:bob@example.com>;tag=t"
            )
        )
        merged = [transaction.merged for transaction, _ in self.user.requests]
        self.assertEqual(merged, [False, True, False, False])
        for number in range(4):
            self.respond(number=number)
        self.run_for(33)
        self.nothing_left()
        self.receive(request(via="SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK5"))
        self.assertFalse(self.user.requests[-1][0].merged)

    def test_unreadable(self) -> None:
        """A From that cannot be read: 400 that is the same each time (UAS-14)."""
        for _ in range(2):
            self.receive(request(from_='"x <sip:a@b>'))
        self.assertEqual(self.user.requests, [])
        self.assertEqual(self.flow.statuses, [400, 400])
        self.assertEqual(len({data for _, data in self.flow.sent}), 1)
        self.nothing_left()

    def test_counters(self) -> None:
        """Requests are counted by method, unknown ones together: they have no end (OBS-01)."""
        for number in range(50):
            self.receive(
                request(
                    f"FOO{number}", via=f"SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK{number}", number="9"
                )
            )
        self.receive(request())
        self.receive(request())
        self.assertEqual(self.layer.requests, {("UDP", "other"): 50, ("UDP", "SUBSCRIBE"): 1})
        self.assertEqual(self.layer.retransmissions, 1)

    def test_stop(self) -> None:
        """At the end nothing remains."""
        self.receive(request(via="SIP/2.0/UDP name:5060;branch=z9hG4bK1"))
        self.respond()
        self.receive(request(via="SIP/2.0/UDP name:5060;branch=z9hG4bK2", call_id="c2"))
        self.layer.request("b", "NOTIFY", b"", self.flow, self.user)
        self.layer.stop()
        self.nothing_left()
        self.assertEqual(self.flow.listeners, set())


class InviteTests(ServerCase):
    """INVITE, which is always refused (TXN-12)."""

    def invite(self, flow: NotingFlow | None = None, **fields: Any) -> None:
        """An INVITE comes and gets its 405."""
        self.receive(request("INVITE", **fields), flow)
        self.respond(405, headers=(("Allow", "SUBSCRIBE"),))

    def ack(self, flow: NotingFlow | None = None, **fields: Any) -> None:
        """The ACK comes, with the tag of our answer."""
        fields.setdefault("to", "<sip:bob@example.com>;tag=t")
        self.receive(request("ACK", **fields), flow)

    def test_timer_g(self) -> None:
        """Timer G repeats the answer until H gives up (TXN-12)."""
        self.invite()
        self.run_for(31.9)
        self.assertEqual(len(self.layer.servers), 1)
        self.run_for(5)
        self.assert_times(self.flow, SENDS)
        self.assertEqual(set(self.flow.statuses), {405})
        self.nothing_left()

    def test_ack(self) -> None:
        """The ACK stops timer G; timer I absorbs further ones and then ends it (TXN-12)."""
        self.invite()
        self.run_for(1)
        self.ack()
        for _ in range(3):
            self.run_for(1)
            self.ack()
            self.receive(request("INVITE"))
        self.assert_times(self.flow, [0, 0.5])
        self.assertEqual(len(self.layer.servers), 1)
        self.run_for(2.1)
        self.nothing_left()
        self.assertEqual(len(self.user.requests), 1)

    def test_repeated_invite(self) -> None:
        """A repeated INVITE gets the answer again (TXN-12)."""
        self.invite()
        self.run_for(0.2)
        self.receive(request("INVITE"))
        self.assertEqual(self.flow.statuses, [405, 405])
        self.assertEqual(len(self.user.requests), 1)

    def test_over_tcp(self) -> None:
        """Over TCP nothing is repeated; H ends it without ACK, I is 0 with one (TXN-12)."""
        flow = self.tcp.flow_to(("192.0.2.10", 5060))
        self.invite(flow)
        self.run_for(31)
        self.assert_times(flow, [0])
        self.assertEqual(len(self.layer.servers), 1)
        self.run_for(2)
        self.nothing_left()
        self.invite(flow)
        self.ack(flow)
        self.nothing_left()

    def test_stray_ack(self) -> None:
        """An ACK for nothing, or for another method, is never answered (TXN-12)."""
        self.ack()
        self.receive(request("SUBSCRIBE"))
        self.ack()
        self.run_for(1)
        self.assertEqual(self.flow.sent, [])
        self.assertEqual(len(self.user.requests), 1)

    def test_ack_without_cookie(self) -> None:
        """The ACK of an RFC 2543 client is found by what it copies (TXN-03, TOR-46)."""
        via = "SIP/2.0/UDP 192.0.2.10:5060"
        self.invite(via=via)
        self.ack(via=via)
        self.run_for(10)
        self.assert_times(self.flow, [0])
        self.nothing_left()

    def test_unanswered(self) -> None:
        """Without an answer of its user it ends in silence."""
        self.receive(request("INVITE"))
        self.run_for(33)
        self.nothing_left()
        self.respond(405)
        self.assertEqual(self.flow.sent, [])


class CancelTests(ServerCase):
    """CANCEL (TXN-13, SUB-23)."""

    METHODS = ("SUBSCRIBE", "PUBLISH", "NOTIFY", "OPTIONS", "REGISTER", "MESSAGE", "INVITE")

    def cancel(self, **fields: Any) -> Response:
        """A CANCEL comes; its answer."""
        before = len(self.flow.sent)
        self.receive(request("CANCEL", **fields))
        self.assertEqual(len(self.flow.sent), before + 1)
        response = self.flow.messages[-1]
        assert isinstance(response, Response)
        self.assertEqual(response.cseq[1], "CANCEL")
        return response

    def test_nothing_to_cancel(self) -> None:
        """481 when nothing matches; it is the same for a repetition (TXN-13, UAS-14)."""
        first = self.cancel()
        self.assertEqual(first.status, 481)
        self.assertTrue(first.to.tag)
        self.assertEqual(first.encode(), self.cancel().encode())
        self.receive(request())
        self.assertEqual(self.cancel(via="SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK9").status, 481)
        self.nothing_left_but(1)

    def nothing_left_but(self, count: int) -> None:
        """So many transactions live."""
        self.assertEqual(len(self.layer.servers), count)

    def test_cancelled(self) -> None:
        """200 with the To tag of the request's own answer, and no other effect (TXN-13, SUB-23)."""
        for method in self.METHODS:
            with self.subTest(method=method):
                self.setUp()
                self.receive(request(method))
                self.user.requests[0][0].to_tag = "t"  # as the user agent does
                response = self.cancel(require="unheard.of")
                self.assertEqual((response.status, response.to.tag), (200, "t"))
                self.assertEqual(len(self.user.requests), 1)
                self.respond()
                self.assertEqual(self.flow.statuses, [200, 200])
                answer = self.flow.messages[-1]
                self.assertEqual((answer.cseq[1], answer.to.tag), (method, "t"))
                self.assertEqual(self.cancel().status, 200)

    def test_without_cookie(self) -> None:
        """A CANCEL of an RFC 2543 client (TXN-03, TXN-13)."""
        via = "SIP/2.0/UDP 192.0.2.10:5060"
        self.receive(request(via=via))
        self.assertEqual(self.cancel(via=via).status, 200)
        self.assertEqual(self.cancel(via=via, number="2").status, 481)


@implementer(IAdmissionControl)
class Closed:
    """Admission control that refuses initial requests."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []

    def admit(self, method: str, initial: bool) -> int:
        """Refuse."""
        self.asked.append((method, initial))
        return 33 if initial else 0


class BoundTests(LayerCase):
    """The bound on transactions and admission control (TXN-17, OVL-01, OVL-02)."""

    limit = 3

    def receive(self, number: int, **fields: Any) -> None:
        """A request of its own arrives."""
        fields.setdefault("via", f"SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK{number}")
        self.layer.request_received(request(call_id=f"c{number}", **fields), self.flow)

    def test_bound(self) -> None:
        """Above the bound: a 503 with Retry-After that leaves nothing behind (TXN-17)."""
        for number in range(3):
            self.receive(number)
        for _ in range(2):
            self.receive(7)
        self.assertEqual(len(self.user.requests), 3)
        self.assertEqual(len(self.layer.servers), 3)
        self.assertEqual(self.flow.statuses, [503, 503])
        self.assertEqual(len({data for _, data in self.flow.sent}), 1)  # UAS-14
        refusal = self.flow.messages[0]
        self.assertTrue(refusal.to.tag)
        self.assertTrue(10 <= int(refusal.first("retry-after")) <= 60)
        self.receive(8, to="<sip:bob@example.com>;tag=t")
        self.assertEqual(self.flow.statuses[2:], [503])
        self.run_for(33)
        self.receive(9)
        self.assertEqual(len(self.user.requests), 4)

    def test_spread(self) -> None:
        """Retry-After differs from client to client (OVL-01)."""
        for number in range(50):
            self.receive(number)
        waits = {m.first("retry-after") for m in self.flow.messages}
        self.assertGreater(len(waits), 5)

    def test_retransmissions_go_on(self) -> None:
        """What is being served is served to its end (TXN-17)."""
        for number in range(3):
            self.receive(number)
        transaction, message = self.user.requests[0]
        transaction.respond(encode_response(message, 200, to_tag="t"), 200)
        self.receive(0)
        self.assertEqual(self.flow.statuses, [200, 200])

    def test_admission(self) -> None:
        """Initial requests are told from refreshes (OVL-01)."""
        closed = self.layer._admission = Closed()
        self.layer._limit = 100
        self.receive(1)
        self.receive(2, to="<sip:bob@example.com>;tag=t")
        self.receive(3, sip_if_match="e")
        self.receive(3, sip_if_match="e")
        self.assertEqual(
            closed.asked, [("SUBSCRIBE", True), ("SUBSCRIBE", False), ("SUBSCRIBE", False)]
        )
        self.assertEqual(self.flow.statuses, [503])
        self.assertEqual(self.flow.messages[0].first("retry-after"), "33")
        self.assertEqual(len(self.layer.servers), 2)

    def test_stateless_is_ignored_by_ack_and_cancel(self) -> None:
        """After a stateless answer an ACK is ignored, a CANCEL finds nothing (UAS-14)."""
        self.layer._admission = Closed()
        self.layer.request_received(request("INVITE"), self.flow)
        self.layer.request_received(request("ACK", to="<sip:bob@example.com>;tag=t"), self.flow)
        self.layer.request_received(request("CANCEL"), self.flow)
        self.run_for(5)
        self.assertEqual(self.flow.statuses, [503, 481])


class MalformedTests(LayerCase):
    """What no parser accepts is answered without a transaction (MSG-17, UAS-14)."""

    HEAD = (
        b"SUBSCRIBE sip:bob@example.com SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP name:5070;branch=z9hG4bK1;rport\r\n"
        b"From: <sip:a@b>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\nCSeq: 1 SUBSCRIBE\r\n"
    )

    def receive(self, data: bytes) -> None:
        """Octets arrive that cannot be parsed."""
        with self.assertRaises(BadMessage) as caught:
            parse_message(data)
        self.layer.malformed(caught.exception, self.flow)

    def test_answered(self) -> None:
        """400 with a stable tag, to where it came from, noting the source (UAS-08, VIA-03)."""
        for _ in range(2):
            self.receive(self.HEAD + b"Content-Length: -1\r\n\r\n")
        self.assertEqual(self.flow.statuses, [400, 400])
        self.assertEqual(len({data for _, data in self.flow.sent}), 1)
        answer = self.flow.messages[0]
        self.assertTrue(answer.to.tag)
        self.assertIn("Content-Length", answer.reason)
        self.assertIn(";rport=5060", answer.headers["via"][0])
        self.assertIn("received=192.0.2.10", answer.headers["via"][0])
        self.nothing_left()

    def test_other_tag(self) -> None:
        """Another request has another tag (UAS-08)."""
        self.receive(self.HEAD + b"Content-Length: -1\r\n\r\n")
        self.receive(self.HEAD.replace(b"bK1", b"bK2") + b"Content-Length: -1\r\n\r\n")
        one, other = self.flow.messages
        self.assertNotEqual(one.to.tag, other.to.tag)

    def test_silence(self) -> None:
        """Nobody to answer: no Via, a response, an ACK (MSG-17, TOR-32)."""
        lines = self.HEAD.split(b"\r\n")
        self.receive(b"\r\n".join([lines[0], *lines[2:], b""]))
        self.receive(self.HEAD.replace(lines[0], b"SIP/2.0 9999 OK") + b"\r\n")
        self.receive(self.HEAD.replace(b"SUBSCRIBE", b"ACK") + b"Content-Length: x\r\n\r\n")
        self.receive(self.HEAD.replace(b"name:5070", b"") + b"Content-Length: x\r\n\r\n")
        self.assertEqual(self.flow.sent, [])
