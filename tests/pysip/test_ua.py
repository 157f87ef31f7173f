"""The user agent as server (sip-core.md section 5): order of checks and mandatory fields."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysip.auth.charging import charging_vector, with_term_ioi
from pysip.errors import ParseError, SipError
from pysip.interfaces import Identity, IFlow, IIdentityPolicy
from pysip.locate import Locator
from pysip.message import Request, Response
from pysip.parse import parse_message
from pysip.timers import TimerWheel
from pysip.ua import ServerRequest, UserAgent
from tests.pysip.flows import NotingFlow, NotingTransport, request

VECTOR = 'icid-value="b1c9;f0";icid-generated-at=192.0.2.9;orig-ioi=home.example'


@implementer(IIdentityPolicy)
class Identities:
    """Says who sends as it was told, or refuses.

    :ivar asked: methods of the requests it was asked about.
    """

    def __init__(self) -> None:
        self.identity = Identity(("sip:alice@example.com",), source="asserted")
        self.error: SipError | ParseError | None = None
        self.trust = True
        self.asked: list[str] = []

    def identify(self, request: Request, flow: IFlow) -> Identity:
        """As told."""
        self.asked.append(request.method)
        if self.error is not None:
            raise self.error
        return self.identity

    def trusted(self, flow: IFlow) -> bool:
        """As told."""
        return self.trust


class UserAgentCase(SynchronousTestCase):
    """A user agent that serves SUBSCRIBE and PUBLISH, on transports that note."""

    def setUp(self) -> None:
        """Make it."""
        self.clock = Clock()
        self.identities = Identities()
        self.ua = UserAgent(
            self.clock,
            TimerWheel(self.clock),
            Locator(None, self.clock),  # type: ignore[arg-type]
            self.identities,
            agent="test",
        )
        self.udp = NotingTransport(self.clock)
        self.tls = NotingTransport(self.clock, "TLS")
        for transport in (self.udp, self.tls):
            self.ua.start_transport(transport)
        self.flow: NotingFlow = self.udp.flow_to(("192.0.2.10", 5060))
        self.served: list[ServerRequest] = []
        self.failure: Exception | None = None
        self.ua.add_method("SUBSCRIBE", self.serve)
        self.ua.add_method("PUBLISH", self.serve)
        self.number = 0

    def serve(self, served: ServerRequest) -> None:
        """Answer 200, or fail as told."""
        self.served.append(served)
        if self.failure is not None:
            raise self.failure
        served.respond(200, headers=(("Expires", "60"),))

    def ask(self, method: str = "SUBSCRIBE", flow: NotingFlow | None = None, **fields: Any) -> Any:
        """A request arrives; its answer."""
        self.number += 1
        flow = flow or self.flow
        fields.setdefault(
            "via", f"SIP/2.0/{flow.protocol} 192.0.2.10:5060;branch=z9hG4bK{self.number}"
        )
        fields.setdefault("call_id", f"c{self.number}")
        before = len(flow.sent)
        self.ua.layer.request_received(request(method, **fields), flow)
        self.assertEqual(len(flow.sent), before + 1)
        response = flow.messages[-1]
        self.assertIsInstance(response, Response)
        return response


class OrderTests(UserAgentCase):
    """The first failing check decides (UAS-01)."""

    def test_order(self) -> None:
        """A request with every fault: taking away the first leaves the next (UAS-01)."""
        faults: dict[str, Any] = {
            "uri": "http://example.com/bob",
            "require": "unheard.of",
            "contact": "<sip:a@b",
        }
        self.ua.find = self.find
        self.found: SipError | None = SipError(404)
        self.ua.draining = True
        self.identities.error = SipError(403)
        self.assertEqual(self.ask("FROBNICATE", **faults).status, 400)
        faults["contact"] = "<sip:a@192.0.2.10>"
        self.assertEqual(self.ask("FROBNICATE", **faults).status, 503)
        self.ua.draining = False
        self.assertEqual(self.ask("FROBNICATE", **faults).status, 403)
        self.identities.error = None
        self.assertEqual(self.ask("FROBNICATE", **faults).status, 501)
        self.assertEqual(self.ask("REFER", **faults).status, 405)
        self.assertEqual(self.ask(**faults).status, 416)
        faults["uri"] = "sip:bob@example.com"
        self.ask(call_id="merged", number="9")
        self.served.clear()
        merged = {"call_id": "merged", "number": "9"}
        self.assertEqual(self.ask(**faults, **merged).status, 404)
        self.found = SipError(481)
        self.assertEqual(self.ask(**faults, **merged).status, 481)
        self.found = None
        self.assertEqual(self.ask(**faults, **merged).status, 482)
        self.assertEqual(self.ask(**faults).status, 420)
        self.assertEqual(self.served, [])
        del faults["require"]
        self.assertEqual(self.ask(**faults).status, 200)

    def find(self, request: Request) -> None:
        """Find it, or not."""
        if self.found is not None:
            raise self.found

    def test_overload_first(self) -> None:
        """Overload is looked at before any header is (OVL-02)."""

        class Closed:
            def admit(self, method: str, initial: bool) -> int:
                return 20

        self.ua.layer._admission = Closed()  # type: ignore[assignment]
        self.identities.error = SipError(403)
        response = self.ask(contact="<sip:a@b")
        self.assertEqual((response.status, response.first("retry-after")), (503, "20"))
        self.assertEqual(self.identities.asked, [])

    def test_draining(self) -> None:
        """While shutting down: 503 with Retry-After, but not in dialogs (OVL-05)."""
        self.ua.draining = True
        response = self.ask()
        self.assertEqual(response.status, 503)
        self.assertTrue(response.first("retry-after"))
        self.assertEqual(self.ask("OPTIONS").status, 503)
        self.assertEqual(self.ask(to="<sip:bob@example.com>;tag=t").status, 200)

    def test_no_proxy(self) -> None:
        """Proxy-Require and a spent Max-Forwards concern proxies only (UAS-07, TOR-42)."""
        self.assertEqual(self.ask(proxy_require="foo", max_forwards="0").status, 200)

    def test_to_is_not_looked_at(self) -> None:
        """A To of somebody or something else does not matter (UAS-16)."""
        for to in ("<sip:nobody@elsewhere.example>", "<http://example.com/>", "<tel:+1>"):
            self.assertEqual(self.ask(to=to).status, 200, to)

    def test_no_other_method_is_served(self) -> None:
        """ACK reaches nobody; a CANCEL neither the identities nor a method (TXN-13, AUT-17)."""
        self.ua.layer.request_received(request("ACK"), self.flow)
        self.assertEqual(self.flow.sent, [])
        self.identities.error = SipError(401)
        self.assertEqual(self.ask("CANCEL", require="foo").status, 481)
        self.assertEqual(self.identities.asked, [])

    def test_cancel_tag(self) -> None:
        """The answer to a CANCEL has the To tag of the answer to its request (TXN-13)."""
        answer = self.ask()
        via = answer.headers["via"][0]
        cancel = self.ask("CANCEL", via=via, call_id=answer.call_id)
        self.assertEqual((cancel.status, cancel.to.tag), (200, answer.to.tag))
        self.ua.add_method("SUBSCRIBE", self.served.append)
        self.ua.layer.request_received(
            request(via="SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKw", call_id="w"), self.flow
        )
        cancel = self.ask("CANCEL", via="SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKw", call_id="w")
        self.served[-1].respond(200)
        self.assertEqual(self.flow.messages[-1].to.tag, cancel.to.tag)


class ResponseTests(UserAgentCase):
    """What every response carries (UAS-08, table 2)."""

    def test_copied(self) -> None:
        """From, To, Call-ID, CSeq and all Via values; a new To tag of 32 bits or more (UAS-08)."""
        tags = set()
        for _ in range(20):
            response = self.ask(from_="Alice <sip:alice@example.com>;tag=f;x=y")
            self.assertEqual(response.headers["from"], ["Alice <sip:alice@example.com>;tag=f;x=y"])
            self.assertTrue(response.headers["to"][0].startswith("<sip:bob@example.com>;tag="))
            self.assertEqual(response.headers["cseq"], ["1 SUBSCRIBE"])
            self.assertEqual(response.call_id, f"c{self.number}")
            self.assertEqual(len(response.headers["via"]), 1)
            self.assertGreaterEqual(len(response.to.tag) * 4, 32)
            tags.add(response.to.tag)
        self.assertEqual(len(tags), 20)

    def test_tag_is_kept(self) -> None:
        """A To tag that is there stays (UAS-08)."""
        response = self.ask(to="<sip:bob@example.com>;tag=given")
        self.assertEqual(response.headers["to"], ["<sip:bob@example.com>;tag=given"])

    def test_every_refusal_has_a_tag(self) -> None:
        """Whatever refuses, the To of the response has a tag (UAS-08)."""
        self.failure = SipError(404)
        for expected, method, fields in (
            (404, "SUBSCRIBE", {}),
            (400, "SUBSCRIBE", {"contact": "<sip:a@b"}),
            (400, "SUBSCRIBE", {"event": ";;"}),
            (400, "SUBSCRIBE", {"to": "sip:bob@example.com>"}),
            (400, "SUBSCRIBE", {"from_": "<sip:a@b"}),
            (405, "INVITE", {}),
            (501, "FOO", {}),
            (416, "SUBSCRIBE", {"uri": "urn:x:y"}),
            (420, "SUBSCRIBE", {"require": "foo"}),
        ):
            response = self.ask(method, **fields)
            self.assertEqual(response.status, expected, (method, fields))
            self.assertIn(";tag=", response.headers["to"][0])

    def test_repetition_gets_the_same(self) -> None:
        """The same tag in all responses to one request (UAS-08)."""
        first = self.ask(via="SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKsame", call_id="s")
        again = self.ask(via="SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKsame", call_id="s")
        self.assertEqual(first.encode(), again.encode())
        self.assertEqual(len(self.served), 1)

    def test_allow(self) -> None:
        """405 for what SIP knows, 501 for what nobody does; both with Allow (UAS-02, table 2)."""
        for method in ("INVITE", "BYE", "REGISTER", "NOTIFY", "MESSAGE", "INFO", "UPDATE", "REFER"):
            response = self.ask(method)
            self.assertEqual(response.status, 405, method)
            self.assertEqual(response.first("allow"), self.ua.allow)
        response = self.ask("subscribe")  # methods are case-sensitive (MSG-02)
        self.assertEqual((response.status, response.first("allow")), (501, self.ua.allow))
        self.assertEqual(self.ua.allow, "OPTIONS, SUBSCRIBE, PUBLISH, CANCEL, ACK")

    def test_schemes(self) -> None:
        """416 for a foreign scheme of the Request-URI (UAS-12, TOR-35)."""
        for uri in ("http://example.com/", "urn:uuid:1", "mailto:bob@example.com"):
            self.assertEqual(self.ask(uri=uri).status, 416, uri)
        for uri in ("sip:bob@example.com", "SIP:bob@example.com", "pres:bob@example.com", "tel:+1"):
            self.assertEqual(self.ask(uri=uri).status, 200, uri)

    def test_sips(self) -> None:
        """Sips on a transport that is not TLS: 480 with Warning 380 (TRN-24)."""
        response = self.ask(uri="sips:bob@example.com")
        self.assertEqual(response.status, 480)
        self.assertTrue((response.first("warning") or "").startswith("380 "))
        self.assertIn('"SIPS Not Allowed"', response.first("warning") or "")
        flow = self.tls.flow_to(("192.0.2.10", 40000))
        self.assertEqual(self.ask(flow=flow, uri="sips:bob@example.com").status, 200)
        self.assertEqual(self.ask(flow=flow, uri="sip:bob@example.com").status, 200)

    def test_require(self) -> None:
        """420 names exactly what is not supported (UAS-04, TOR-36)."""
        response = self.ask(require="gruu, foo, outbound, bar", proxy_require="baz")
        self.assertEqual((response.status, response.first("unsupported")), (420, "foo, bar"))
        self.assertEqual(self.ask(require="GRUU, outbound").status, 200)
        for tag in ("path", "norefersub", "100rel", "timer", "precondition", "sec-agree"):
            self.assertEqual(self.ask(require=tag).first("unsupported"), tag)
        self.ua.supported.append("eventlist")
        self.assertEqual(self.ask(require="eventlist").status, 200)

    def test_bad_syntax(self) -> None:
        """400 whose reason phrase names the field, and no input (UAS-11, MSG-17)."""
        for fields, name in (
            ({"contact": "<sip:secret@b"}, "Contact"),
            ({"event": "secret;;"}, "Event"),
            ({"max_forwards": "secret"}, "Max-Forwards"),
            ({"sip_if_match": "se cret"}, "SIP-If-Match"),
            ({"content_type": "secret"}, "Content-Type"),
        ):
            response = self.ask(**fields)
            self.assertEqual(response.status, 400, fields)
            self.assertIn(name, response.reason)
            self.assertNotIn("secret", response.reason)

    def test_parse_error_later(self) -> None:
        """A value that only the method reads: 400 with what was wrong (UAS-11)."""
        self.failure = ParseError("bad thing")
        response = self.ask()
        self.assertEqual((response.status, response.reason), (400, "Bad Request: bad thing"))

    def test_bug(self) -> None:
        """An error of ours is logged and answered 500; the server goes on (STYLE 2)."""
        self.failure = RuntimeError("a bug")
        self.assertEqual(self.ask().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.failure = None
        self.assertEqual(self.ask().status, 200)

    def test_identity_refuses(self) -> None:
        """401 with its challenges, 403, 400 (table 2, SUB-20)."""
        self.identities.error = SipError(401, None, [("WWW-Authenticate", 'Digest realm="x"')] * 2)
        response = self.ask()
        self.assertEqual((response.status, len(response.headers["www-authenticate"])), (401, 2))
        self.identities.error = ParseError("bad identity")
        self.assertEqual(self.ask().status, 400)

    def test_once(self) -> None:
        """Only the first answer leaves (TXN-07)."""
        self.ask()
        self.served[-1].respond(404)
        self.assertEqual(self.flow.statuses, [200])


class OptionsTests(UserAgentCase):
    """OPTIONS (UAS-10, UAS-17)."""

    FIELDS = ("allow", "accept", "accept-encoding", "accept-language", "supported")

    def test_capabilities(self) -> None:
        """Everything that this server can do."""
        self.ua.accept.append("application/pidf+xml")
        self.ua.events.append("presence")
        response = self.ask("OPTIONS", uri="sip:192.0.2.1")
        self.assertEqual(response.status, 200)
        for name in self.FIELDS:
            self.assertTrue(response.first(name), name)
        self.assertEqual(response.first("allow-events"), "presence")
        self.assertEqual(response.first("accept"), "application/pidf+xml")
        self.assertIn("PUBLISH", response.first("allow") or "")  # PUB-18
        self.assertEqual(self.served, [])

    def test_in_dialog(self) -> None:
        """In a dialog it is the same and changes nothing (UAS-10)."""
        response = self.ask("OPTIONS", to="<sip:bob@example.com>;tag=t")
        self.assertEqual((response.status, response.to.tag), (200, "t"))

    def test_not_here(self) -> None:
        """The code is that of a SUBSCRIBE: 404, 416, 420, 503 (UAS-10)."""

        def find(request: Request) -> None:
            raise SipError(404)

        self.ua.find = find
        self.assertEqual(self.ask("OPTIONS").status, 404)
        self.assertEqual(self.ask("OPTIONS", uri="urn:x:y").status, 416)


class ContactTests(UserAgentCase):
    """Our Contact in dialogs (DLG-11, DLG-14, DLG-15)."""

    def test_gruu(self) -> None:
        """A URI of this node with gr, an opaque user and the transport (DLG-11, DLG-15, GRU-04)."""
        self.assertEqual(self.ua.contact(self.flow, "opaque"), "<sip:opaque@192.0.2.1:5060;gr>")
        tcp = NotingFlow(self.clock, protocol="TCP")
        self.assertEqual(
            self.ua.contact(tcp, "opaque"), "<sip:opaque@192.0.2.1:5060;transport=tcp;gr>"
        )

    def test_sips(self) -> None:
        """A sips Contact names a port that speaks TLS (DLG-14)."""
        tls = self.tls.flow_to(("192.0.2.10", 40000))
        expected = "<sips:opaque@192.0.2.1:5061;gr>"
        self.assertEqual(self.ua.contact(tls, "opaque", sips=True), expected)
        self.assertEqual(self.ua.contact(self.flow, "opaque", sips=True), expected)
        self.ua.layer._transports.clear()
        self.assertEqual(
            self.ua.contact(self.flow, "opaque", sips=True), "<sips:opaque@192.0.2.1:5060;gr>"
        )


class TrustTests(UserAgentCase):
    """Header fields of the trust domain in responses (IMS-13), and proofs (AUT-10)."""

    def setUp(self) -> None:
        """With a network of our own."""
        super().setUp()
        self.ua.network = "ours.example"

    def test_term_ioi(self) -> None:
        """The vector of a trusted request comes back with term-ioi (IMS-13)."""
        expected = VECTOR + ";term-ioi=ours.example"
        response = self.ask(p_charging_vector=VECTOR)
        self.assertEqual(response.headers["p-charging-vector"], [expected])
        self.failure = SipError(403)
        response = self.ask(p_charging_vector=VECTOR)
        self.assertEqual(response.headers["p-charging-vector"], [expected])
        response = self.ask("INVITE", p_charging_vector=VECTOR)
        self.assertEqual(response.headers["p-charging-vector"], [expected])

    def test_only_for_the_trusted(self) -> None:
        """Nothing without a vector, for others, or without a network name (IMS-13, IMS-09)."""
        self.assertNotIn("p-charging-vector", self.ask().headers)
        for source in ("digest", "none"):
            self.identities.identity = Identity(("sip:alice@example.com",), source=source)
            self.assertNotIn("p-charging-vector", self.ask(p_charging_vector=VECTOR).headers)
        self.identities.error = SipError(403)
        self.assertNotIn("p-charging-vector", self.ask(p_charging_vector=VECTOR).headers)
        self.setUp()
        self.ua.network = ""
        self.assertNotIn("p-charging-vector", self.ask(p_charging_vector=VECTOR).headers)

    def test_values(self) -> None:
        """An own term-ioi is replaced, quotes are heeded, odd names are quoted (IMS-11, IMS-13)."""
        self.assertEqual(
            with_term_ioi('icid-value=1;Term-IOI="a;b";x', "n.example"),
            "icid-value=1;x;term-ioi=n.example",
        )
        self.assertEqual(
            with_term_ioi('icid-value="a\\";b";orig-ioi=o', "my network"),
            'icid-value="a\\";b";orig-ioi=o;term-ioi="my network"',
        )
        self.assertEqual(charging_vector("12", "o"), 'icid-value="12";orig-ioi=o')

    def test_authentication_info(self) -> None:
        """A 2xx carries the proof, other responses do not (AUT-10)."""
        self.identities.identity = Identity(
            ("sip:alice@example.com",), source="digest", info='nextnonce="n"'
        )
        self.assertEqual(self.ask().first("authentication-info"), 'nextnonce="n"')
        self.failure = SipError(404)
        self.assertNotIn("authentication-info", self.ask().headers)

    def test_round_trip(self) -> None:
        """What we add can be read again."""
        response = parse_message(self.ask(p_charging_vector=VECTOR).encode())
        self.assertEqual(len(response.headers["p-charging-vector"]), 1)
