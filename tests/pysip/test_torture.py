"""Messages of every class of RFC 4475 and RFC 5118, at the parser (sip-core.md section 13).

The messages are files of ``tests/vectors/torture``; what a user agent does with those that
parse (416, 420, 405, ...) is tested with the user agent.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial import unittest

from pysip.errors import ParseError, SipError
from pysip.header import parse_date, parse_name_addr, parse_via
from pysip.message import Request, Response, response_to
from pysip.mime import parse_multipart
from pysip.parse import BadMessage, StreamFramer, check_fields, parse_message
from pysip.uri import OtherUri, SipUri, parse_uri, unescape

VECTORS = Path(__file__).parent.parent / "vectors" / "torture"

# file: status of the answer, and what its reason phrase must name
REFUSED = {
    "badaspec": (400, "To"),  # TOR-27
    "badct": (400, "Contact"),  # TOR-14
    "baddn": (400, "From"),  # TOR-28
    "badinv01": (400, "Via"),  # TOR-14
    "badvers": (505, "Version"),  # TOR-29
    "clerr": (400, "Content-Length"),  # TOR-15
    "insuf": (400, "From"),  # TOR-34
    "ipv6-bad": (400, "Request-URI"),  # TOR-47
    "ipv6-zone": (400, "Request-URI"),  # TOR-47
    "ltgtruri": (400, "Request-Line"),  # TOR-20
    "lwsruri": (400, "Request-Line"),  # TOR-21
    "lwsstart": (400, "Request-Line"),  # TOR-22
    "mcl01": (400, "Content-Length"),  # TOR-40
    "mismatch01": (400, "CSeq"),  # TOR-30
    "mismatch02": (400, "CSeq"),  # TOR-31
    "multi01": (400, "More than one"),  # TOR-39
    "ncl": (400, "Content-Length"),  # TOR-16
    "quotbal": (400, "To"),  # TOR-19
    "regbadct": (400, "Contact"),  # TOR-26
    "scalar02": (400, "CSeq"),  # TOR-17
    "trws": (400, "Request-Line"),  # TOR-23
}
# responses that are dropped
DROPPED = {"bigcode", "scalarlg"}  # TOR-32, TOR-18
# on a stream these lose the framing; clerr waits for octets that never come
FATAL = {"ncl", "mcl01"}


def read(name: str) -> bytes:
    """The octets of a vector."""
    return (VECTORS / f"{name}.dat").read_bytes()


def request(name: str) -> Request:
    """A vector that must be accepted as a request."""
    message = parse_message(read(name))
    assert isinstance(message, Request)
    check_fields(message)
    return message


class RefusedTests(unittest.SynchronousTestCase):
    """Vectors that are answered with an error or dropped."""

    def test_refused(self) -> None:
        """Each malformed request names its status and fault and can be answered by its Via."""
        for name, (status, fault) in REFUSED.items():
            error = self.error(name)
            self.assertEqual((name, error.status), (name, status))
            self.assertIn(fault, error.reason, name)
            self.assertTrue(error.is_request, name)
            assert error.message is not None, name
            self.assertTrue(error.message.via.host, name)
            answer = response_to(error.message, error.status, error.reason, to_tag="t")
            self.assertTrue(answer.encode().startswith(b"SIP/2.0 %d " % status), name)

    def error(self, name: str) -> BadMessage:
        """What is wrong with a vector, whichever of the two checks finds it."""
        try:
            message = parse_message(read(name))
        except BadMessage as error:
            return error
        assert isinstance(message, Request)
        with self.assertRaises(SipError, msg=name) as caught:
            check_fields(message)
        return BadMessage(caught.exception.status, caught.exception.reason, message)

    def test_dropped(self) -> None:
        """TOR-18, TOR-32: malformed responses are marked as such, with nobody to answer."""
        for name in DROPPED:
            with self.assertRaises(BadMessage, msg=name) as caught:
                parse_message(read(name))
            self.assertFalse(caught.exception.is_request, name)
            self.assertIsNone(caught.exception.message, name)

    def test_accepted(self) -> None:
        """Every other vector parses, and survives being written and read again."""
        names = {path.stem for path in VECTORS.glob("*.dat")}
        self.assertGreater(len(names), 60)
        self.assertLessEqual(set(REFUSED) | DROPPED, names)
        for name in sorted(names - set(REFUSED) - DROPPED):
            message = parse_message(read(name))
            check_fields(message)
            again = parse_message(message.encode())
            message.headers.pop("content-length", None)
            again.headers.pop("content-length", None)
            self.assertEqual(again.headers, message.headers, name)
            self.assertEqual(again.body, message.body, name)

    def test_on_a_stream(self) -> None:
        """TOR-15, TOR-16, TOR-40: the stream goes on after all but a lost framing."""
        follower = read("zeromf")
        for name in (set(REFUSED) | DROPPED) - {"clerr"}:
            framer = StreamFramer()
            found = framer.feed(read(name) + follower)
            fatal = [item.fatal for item in found if isinstance(item, BadMessage)]
            if name in FATAL:
                self.assertEqual((name, len(found), fatal), (name, 1, [True]))
            else:
                self.assertEqual(len(found), 2, name)
                self.assertNotIn(True, fatal, name)
                self.assertIsInstance(found[1], Request, name)
        framer = StreamFramer()
        self.assertEqual(framer.feed(read("clerr") + follower), [])
        self.assertTrue(framer.pending)


class SyntaxTests(unittest.SynchronousTestCase):
    """Vectors that must be read right (RFC 4475 sections 3.1 and 3.2)."""

    def test_wsinv(self) -> None:
        """TOR-01: folding, blanks and odd case change no value."""
        message = request("wsinv")
        self.assertEqual(message.to.uri, "sip:carol@desk.example.net")
        self.assertEqual(message.to.tag, "77Ab55")
        self.assertEqual(message.from_.display, 'D \\" Dave')
        self.assertEqual(message.from_.tag, "31Cd99")
        self.assertEqual(message.max_forwards, 42)
        self.assertEqual(message.cseq, (7, "INVITE"))
        vias = [parse_via(value) for value in message.values("via")]
        self.assertEqual(
            [(via.protocol, via.sent_by, via.branch) for via in vias],
            [
                ("UDP", "192.0.2.20:5060", "77xyzzy"),
                ("TCP", "relay.example.com:5060", "z9hG4bKaa01"),
                ("UDP", "192.168.7.7:5060", "z9hG4bKbb02"),
            ],
        )
        self.assertEqual(message.first("subject"), "")
        self.assertEqual(message.first("odd-header"), "first half second half")
        self.assertEqual(message.first("odd-header-with-odd-value"), ";;,,;;,;")
        (contact,) = message.contacts
        self.assertEqual(contact.display, 'Double quote ""')
        self.assertEqual(contact.params, {"fresh": "worth", "bare": None, "q": "0.25"})
        route = parse_uri(parse_name_addr(message.values("route")[0]).uri)
        assert isinstance(route, SipUri)
        self.assertEqual(route.params, {"lr": None, "odd": "x", "y": None})
        self.assertEqual(len(message.body), 91)

    def test_intmeth(self) -> None:
        """TOR-02: every token character in a method, odd URI, quoted NUL, UTF-8."""
        message = request("intmeth")
        self.assertEqual(message.method, "!odd-Method*.%60_+`'~Word")
        self.assertEqual(message.to.display, "BEL:\x07 NUL:\x00 DEL:\x7f")
        uri = message.target
        assert isinstance(uri, SipUri)
        self.assertEqual(uri.user, "1_rare.USER~(might-be!so)&can't*be$?crazy,/;;*")
        self.assertEqual(uri.password, "&pw+has=1,odd!*se$cret~w.(y)")
        self.assertEqual(uri.host, "example.net")
        self.assertEqual(message.via.branch, "z9hG4bK-.!%77*_+`'~")
        self.assertEqual(message.from_.params["bl%c3%a5"], "sånt")
        self.assertEqual(message.first("extensionheader-!.%*+_`'~"), "\ufeff大停電")

    def test_esc01(self) -> None:
        """TOR-03: escapes mean their character, decoded once, and stay as they were sent."""
        message = request("esc01")
        uri = message.target
        assert isinstance(uri, SipUri)
        self.assertEqual(uri.user, "sips%3Acarol%40example.net")
        self.assertEqual(unescape(uri.user or ""), "sips:carol@example.net")
        contact = parse_uri(message.contacts[0].uri)
        assert isinstance(contact, SipUri)
        self.assertTrue(contact.lr)
        self.assertEqual(contact.params["name"], "v%61lue%25%34%31")
        self.assertEqual(unescape(contact.params["name"] or ""), "value%41")
        self.assertIn(b"%6C%72;n%61me=v%61lue%25%34%31", message.encode())

    def test_escnull(self) -> None:
        """TOR-04: an escaped NUL cuts nothing short, and one is not two."""
        message = request("escnull")
        self.assertEqual(message.to.uri, "sip:null-%00-null@example.net")
        users = []
        for contact in message.contacts:
            uri = parse_uri(contact.uri)
            assert isinstance(uri, SipUri)
            users.append(unescape(uri.user or ""))
        self.assertEqual(users, ["\0", "\0\0"])

    def test_esc02(self) -> None:
        """TOR-05: a percent sign in a method, display name or header name is itself."""
        message = request("esc02")
        self.assertEqual(message.method, "RE%47IST%45R")
        self.assertEqual(message.to.display, "%Z%45")
        self.assertEqual(len(message.contacts), 2)
        self.assertIn("c%6fntact", message)

    def test_lwsdisp(self) -> None:
        """TOR-06: no blank between display name and bracket."""
        message = request("lwsdisp")
        self.assertEqual(message.from_.display, "dave")
        self.assertEqual(message.from_.uri, "sip:dave@example.org")

    def test_longreq(self) -> None:
        """TOR-07: long values and 34 Vias."""
        message = request("longreq")
        self.assertEqual(len(message.values("via")), 34)
        self.assertTrue(message.call_id.endswith("longcallid"))
        self.assertGreater(len(message.to.display), 350)

    def test_dblreq(self) -> None:
        """TOR-08: what follows the body in a datagram is no second message."""
        message = request("dblreq")
        self.assertEqual((message.method, message.body), ("REGISTER", b""))
        self.assertEqual(message.via.branch, "z9hG4bKfirst")

    def test_semiuri(self) -> None:
        """TOR-09: a semicolon in the user part belongs to the user."""
        uri = request("semiuri").target
        assert isinstance(uri, SipUri)
        self.assertEqual(unescape(uri.user or ""), "user;par=u@example.net")
        self.assertEqual(uri.host, "example.com")
        self.assertEqual(uri.params, {})

    def test_transports(self) -> None:
        """TOR-10: transports of lower Vias are data."""
        vias = [parse_via(value) for value in request("transports").values("via")]
        self.assertEqual(
            [via.protocol for via in vias], ["UDP", "SCTP", "TLS", "CARRIERPIGEON", "TCP"]
        )

    def test_mpart01(self) -> None:
        """TOR-11: the octets of a binary part come out exactly."""
        message = request("mpart01")
        assert message.content_type is not None
        parts = parse_multipart(message.content_type, message.body)
        self.assertEqual([part.body for part in parts], [b"Hello", bytes(range(256)) + b"\0\0"])

    def test_reasons(self) -> None:
        """TOR-12, TOR-13: a reason phrase may be UTF-8 or empty."""
        message = parse_message(read("unreason"))
        assert isinstance(message, Response)
        self.assertEqual(message.status, 200)
        self.assertTrue(message.reason.endswith("девяносто девять - простое"))
        message = parse_message(read("noreason"))
        assert isinstance(message, Response)
        self.assertEqual((message.status, message.reason), (100, ""))

    def test_badinv01_answer(self) -> None:
        """TOR-14: the answer carries the broken Via back, to the sent-by that can be read."""
        with self.assertRaises(BadMessage) as caught:
            parse_message(read("badinv01"))
        message = caught.exception.message
        assert message is not None
        self.assertEqual(message.via.sent_by, "192.0.2.15:5060")
        self.assertEqual(response_to(message, 400).headers["via"], ["SIP/2.0/UDP 192.0.2.15;;,;,,"])

    def test_scalars(self) -> None:
        """TOR-17: alone, a big Max-Forwards is none and a big Expires is 3600."""
        self.assertIsNone(request("scalar-mf").max_forwards)
        self.assertEqual(request("scalar-expires").expires, 3600)

    def test_escruri(self) -> None:
        """TOR-24: headers in the Request-URI become no headers of the request."""
        message = request("escruri")
        self.assertNotIn("route", message)
        uri = message.target
        assert isinstance(uri, SipUri)
        self.assertEqual(uri.headers, "Route=%3Csip:example.org%3E")

    def test_baddate(self) -> None:
        """TOR-25: a Date outside GMT is as good as none."""
        self.assertIsNone(parse_date(request("baddate").first("date") or ""))

    def test_insuf_answer(self) -> None:
        """TOR-34: the answer copies what is there."""
        with self.assertRaises(BadMessage) as caught:
            parse_message(read("insuf"))
        assert caught.exception.message is not None
        answer = response_to(caught.exception.message, 400, to_tag="t")
        self.assertEqual(set(answer.headers), {"via", "cseq"})

    def test_badbranch(self) -> None:
        """TOR-33: a branch of nothing but the cookie is read as it is."""
        self.assertEqual(request("badbranch").via.branch, "z9hG4bK")


class MeaningTests(unittest.SynchronousTestCase):
    """Vectors that parse; their meaning is judged above (RFC 4475 section 3.3)."""

    def test_schemes(self) -> None:
        """TOR-35: foreign schemes are read, in Request-URI, To, From and Contact."""
        self.assertEqual(
            request("unkscm").target,
            OtherUri("nobodyknowsthisscheme", "totallyopaquecontent"),
        )
        self.assertEqual(request("novelsc").target, OtherUri("soap.beep", "//192.0.2.103:3002"))
        message = request("unksm2")
        self.assertEqual(message.to.uri, "isbn:2983792873")
        self.assertEqual(message.contacts[0].uri, "name:Dave_Smith")

    def test_bext01(self) -> None:
        """TOR-36: option tags of a list."""
        self.assertEqual(
            request("bext01").values("require"),
            ["nothingSupportsThis", "nothingSupportsThisEither"],
        )

    def test_invut(self) -> None:
        """TOR-37: an unknown Content-Type parses."""
        media = request("invut").content_type
        assert media is not None
        self.assertEqual(media.type, "application/unknownformat")

    def test_regaut01(self) -> None:
        """TOR-38: an unknown authorisation scheme parses."""
        self.assertEqual(
            request("regaut01").values("authorization"),
            ["NoOneKnowsThisScheme opaque-data=here"],
        )

    def test_multi01_answer(self) -> None:
        """TOR-39: the answer has one of each, and every Via."""
        with self.assertRaises(BadMessage) as caught:
            parse_message(read("multi01"))
        assert caught.exception.message is not None
        answer = response_to(caught.exception.message, 400)
        self.assertEqual(len(answer.headers.pop("via")), 2)
        self.assertEqual({len(values) for values in answer.headers.values()}, {1})

    def test_bcast(self) -> None:
        """TOR-41: a second Via is there to be seen (UAC-04)."""
        message = parse_message(read("bcast"))
        self.assertEqual(parse_via(message.values("via")[1]).host, "255.255.255.255")

    def test_zeromf(self) -> None:
        """TOR-42: Max-Forwards 0 is a number like others."""
        self.assertEqual(request("zeromf").max_forwards, 0)

    def test_cparam(self) -> None:
        """TOR-43: outside the brackets of the Contact, or inside."""
        (contact,) = request("cparam01").contacts
        self.assertEqual((contact.uri, contact.params)[1], {"unknownparam": None})
        (contact,) = request("cparam02").contacts
        self.assertEqual(contact.params, {})
        uri = parse_uri(contact.uri)
        assert isinstance(uri, SipUri)
        self.assertEqual(uri.params, {"unknownparam": None})

    def test_regescrt(self) -> None:
        """TOR-44: escaped headers stay with the Contact URI."""
        (contact,) = request("regescrt").contacts
        uri = parse_uri(contact.uri)
        assert isinstance(uri, SipUri)
        self.assertEqual(uri.headers, "Route=%3Csip:sip.example.org%3E")

    def test_sdp01(self) -> None:
        """TOR-45: the Accept is there to be refused."""
        self.assertEqual(request("sdp01").values("accept"), ["text/nobodyKnowsThis"])

    def test_inv2543(self) -> None:
        """TOR-46: a request of RFC 2543 has no branch, tag or length, and its whole body."""
        message = request("inv2543")
        self.assertEqual(message.via.branch, "")
        self.assertEqual(message.from_.tag, "")
        self.assertIsNone(message.max_forwards)
        self.assertEqual(len(message.body), 91)


class Ipv6Tests(unittest.SynchronousTestCase):
    """TOR-47: the classes of RFC 5118."""

    def target(self, name: str) -> SipUri:
        """The Request-URI of a vector."""
        uri = request(name).target
        assert isinstance(uri, SipUri)
        return uri

    def test_ports(self) -> None:
        """TOR-47: the port is what stands outside the brackets."""
        self.assertEqual(self.target("ipv6-good").host, "2001:db8::10")
        uri = self.target("port-ambiguous")
        self.assertEqual((uri.host, uri.port), ("2001:db8::10:5070", None))
        uri = self.target("port-unambiguous")
        self.assertEqual((uri.host, uri.port), ("2001:db8::10", 5070))

    def test_received(self) -> None:
        """TOR-47, TRN-03: ``received`` with and without brackets."""
        for name in ("via-received-param-with-delim", "via-received-param-no-delim"):
            self.assertEqual(request(name).via.received, "2001:db8::9:255")

    def test_bodies(self) -> None:
        """TOR-47: addresses in a body are opaque."""
        self.assertIn(b"IN IP6 2001:db8::20", request("ipv6-in-sdp").body)
        self.assertIn(b"IN IP4 192.0.2.1", request("mult-ip-in-sdp").body)

    def test_headers(self) -> None:
        """TOR-47: both address families side by side, and one inside the other."""
        vias = [parse_via(value) for value in request("mult-ip-in-header").values("via")]
        self.assertEqual(
            [via.sent_by for via in vias],
            ["[2001:db8::9:1]:6050", "192.0.2.1:5060", "[2001:db8::9:255]:5060"],
        )
        self.assertEqual(request("ipv4-mapped-ipv6").via.sent_by, "[::ffff:192.0.2.10]:19823")

    def test_three_colons(self) -> None:
        """TOR-47: three colons are read as two; a zone id is refused."""
        self.assertEqual(self.target("ipv6-bug-abnf-3-colons").host, "2001:db8::192.0.2.1")
        self.assertRaises(ParseError, parse_uri, "sip:a@[fe80::1%eth0]")
