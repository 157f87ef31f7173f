"""From octets to messages: datagrams and streams."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from pysip.errors import SipError
from pysip.header import TOKEN_CHARS
from pysip.message import Message, Request, Response, response_to
from pysip.parse import (
    BadMessage,
    Ignored,
    Limits,
    Ping,
    Pong,
    StreamFramer,
    check_fields,
    parse_message,
)
from tests.pysip.test_torture import VECTORS

HEAD = (
    b"Via: SIP/2.0/UDP h.example;branch=z9hG4bK1\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: <sip:a@example.com>;tag=f\r\n"
    b"To: <sip:b@example.com>\r\n"
    b"Call-ID: c@h\r\n"
    b"CSeq: 1 OPTIONS\r\n"
)
START = b"OPTIONS sip:b@example.com SIP/2.0\r\n"


def octets(
    extra: bytes = b"", body: bytes = b"", start: bytes = START, head: bytes = HEAD
) -> bytes:
    """A message of parts; its Content-Length is the caller's business."""
    return start + head + extra + b"\r\n" + body


def request(data: bytes) -> Request:
    """A datagram that must be a request."""
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


class DatagramTests(unittest.SynchronousTestCase):
    """One message a datagram."""

    def refuse(self, data: bytes, status: int = 400, limits: Limits | None = None) -> BadMessage:
        """The error for a datagram, of that status."""
        with self.assertRaises(BadMessage, msg=repr(data[:80])) as caught:
            parse_message(data, limits or Limits())
        self.assertEqual(caught.exception.status, status, data[:80])
        error: BadMessage = caught.exception
        return error

    def test_request(self) -> None:
        """MSG-01: a request."""
        message = request(octets())
        self.assertEqual((message.method, message.uri), ("OPTIONS", "sip:b@example.com"))
        self.assertEqual(message.first("call-id"), "c@h")
        self.assertEqual(message.via.branch, "z9hG4bK1")
        self.assertEqual(message.cseq, (1, "OPTIONS"))
        self.assertEqual(message.body, b"")

    def test_response(self) -> None:
        """MSG-01: a response; the reason may be empty, its blank even missing (TOR-13)."""
        for start, status, reason in (
            (b"SIP/2.0 200 OK\r\n", 200, "OK"),
            (b"sip/2.0 699 \xd0\xb4 x\r\n", 699, "д x"),
            (b"SIP/2.0 100 \r\n", 100, ""),
            (b"SIP/2.0 100\r\n", 100, ""),
        ):
            message = parse_message(octets(start=start))
            assert isinstance(message, Response)
            self.assertEqual((message.status, message.reason), (status, reason))

    def test_start_line(self) -> None:
        """MSG-01: exactly single blanks, a method token and a URI."""
        for start in (
            b"OPTIONS sip:b@h SIP/2.0 \r\n",
            b" OPTIONS sip:b@h SIP/2.0\r\n",
            b"OPTIONS\tsip:b@h SIP/2.0\r\n",
            b"OPTIONS sip:b@h\r\n",
            b"OPTIONS  SIP/2.0\r\n",
            b"OPT<>IONS sip:b@h SIP/2.0\r\n",
            b"OPTIONS <sip:b@h> SIP/2.0\r\n",
            b"OPTIONS b SIP/2.0\r\n",
            b"OPTIONS sip:b@h HTTP/1.1\r\n",
            b"OPTIONS sip:b@h SIP/2.0.1\r\n",
            b"OPTIONS sip:b@h;\r\n lr SIP/2.0\r\n",
        ):
            error = self.refuse(octets(start=start))
            self.assertTrue(error.is_request)
            self.assertIsNotNone(error.message)

    def test_status_line(self) -> None:
        """MSG-01, MSG-03, TOR-32: a malformed response answers nobody."""
        for start in (
            b"SIP/2.0 20 x\r\n",
            b"SIP/2.0 2000 x\r\n",
            b"SIP/2.0 700 x\r\n",
            b"SIP/2.0 099 x\r\n",
            b"SIP/2.0 2x0 x\r\n",
            b"SIP/2.0  200 x\r\n",
            b"SIP/2.0\r\n",
            b"SIP/3.0 200 OK\r\n",
        ):
            with self.assertRaises(BadMessage, msg=start) as caught:
                parse_message(octets(start=start))
            self.assertFalse(caught.exception.is_request)
            self.assertIsNone(caught.exception.message)

    def test_version(self) -> None:
        """MSG-03: the version in any case; another one is 505."""
        self.assertEqual(request(octets(start=b"OPTIONS sip:b@h sip/2.0\r\n")).uri, "sip:b@h")
        error = self.refuse(octets(start=b"OPTIONS sip:b@h SIP/2.1\r\n"), 505)
        assert error.message is not None
        self.assertEqual(error.message.method, "OPTIONS")

    def test_long_uri(self) -> None:
        """Table 2: a Request-URI or method beyond 2 KiB is 414."""
        uri = b"sip:" + b"b" * 2044
        self.assertEqual(len(request(octets(start=b"OPTIONS %b SIP/2.0\r\n" % uri)).uri), 2048)
        self.refuse(octets(start=b"OPTIONS %bb SIP/2.0\r\n" % uri), 414)
        self.refuse(octets(start=b"O" * 2049 + b" sip:h SIP/2.0\r\n"), 414)
        self.refuse(octets(start=b"OPTIONS sip:%b SIP/2.0\r\n" % (b"b" * 9000)), 414)

    def test_folding(self) -> None:
        """MSG-04: a folded value is joined with one blank."""
        message = request(octets(b"Subject: one \t\r\n \t two\r\n\tthree\r\nX:\r\n\r\n"))
        self.assertEqual(message.first("subject"), "one two three")
        self.assertEqual(message.first("x"), "")

    def test_line_ends(self) -> None:
        """MSG-05: a bare CR or LF anywhere in the head is an error."""
        for data in (
            octets().replace(b"\r\nTo", b"\nTo"),
            octets().replace(b"\r\nTo", b"\rTo"),
            octets().replace(b"\r\n", b"\n"),
            octets(b"Subject: a\rb\r\n"),
            octets(b"Subject: a\n\r\n"),
            octets(b"Subject: a\r\r\n"),
        ):
            self.assertIsNotNone(self.refuse(data).message)

    def test_blanks(self) -> None:
        """MSG-06: blanks around the colon and the value."""
        message = request(octets(b"Subject \t:\t x y \t\r\nExpires:60\r\n"))
        self.assertEqual(message.first("subject"), "x y")
        self.assertEqual(message.expires, 60)

    def test_names(self) -> None:
        """MSG-02, MSG-07, MSG-08: long and compact names in any case are one field."""
        message = request(octets(b"k: a\r\nSupported: b, c\r\nSUPPORTED: d\r\nK: e\r\nk : f\r\n"))
        self.assertEqual(message.values("supported"), ["a", "b", "c", "d", "e", "f"])
        data = octets()
        for long, short in ((b"Via", b"V"), (b"From", b"f"), (b"To", b"T"), (b"Call-ID", b"i")):
            data = data.replace(b"\r\n%b:" % long, b"\r\n%b:" % short)
        self.assertEqual(request(data).headers, request(octets()).headers)

    def test_bad_names(self) -> None:
        """A line that is no header field makes the message malformed."""
        for line in (b"Subject", b": x", b"Sub ject: x", b"\xc3\xa9: x", b"", b"a\0: x"):
            data = octets(line + b"\r\n") if line else octets().replace(b"\r\nTo", b"\r\n:\r\nTo")
            self.assertIn("header field", self.refuse(data).reason)

    def test_unknown_fields(self) -> None:
        """MSG-22: unknown fields and parameters are kept, in order."""
        message = request(octets(b"X-B: 1;;,\r\nX-A: 2\r\nx-b: 3\r\n"))
        self.assertEqual(message.values("x-b"), ["1;;,", "3"])
        again = request(message.encode())
        self.assertEqual(list(again.headers)[-3:], ["x-b", "x-a", "content-length"])

    def test_missing(self) -> None:
        """MSG-17: To, From, Call-ID, CSeq and Via must be there; the reason names the one."""
        for name in (b"To", b"From", b"Call-ID", b"CSeq"):
            lines = [line for line in HEAD.split(b"\r\n") if not line.startswith(name)]
            error = self.refuse(octets(head=b"\r\n".join(lines)))
            self.assertEqual(error.reason, f"Missing {name.decode()}")
            assert error.message is not None
            self.assertEqual(error.message.via.host, "h.example")
        lines = [line for line in HEAD.split(b"\r\n") if not line.startswith(b"Via")]
        self.assertIsNone(self.refuse(octets(head=b"\r\n".join(lines))).message)
        self.refuse(octets(head=HEAD.replace(b"c@h", b"")))

    def test_repeated(self) -> None:
        """MSG-17: more than one of a single-value header."""
        for name in (
            b"To",
            b"f",
            b"Call-ID",
            b"CSeq",
            b"Max-Forwards",
            b"Content-Type",
            b"Event",
            b"Expires",
            b"Subscription-State",
            b"SIP-If-Match",
            b"Suppress-If-Match",
        ):
            error = self.refuse(octets(b"%b: 1\r\n%b: 1\r\n" % (name, name)))
            self.assertIn("More than one", error.reason)
        self.refuse(octets(b"Content-Length: 0\r\nl: 0\r\n"))

    def test_fields(self) -> None:
        """MSG-17, MSG-31: unparsable values that matter, each named."""
        for name, value in (
            (b"From", b'"x <sip:a@b>;tag=1'),
            (b"From", b"<sip:>;tag=1"),
            (b"To", b"<sip:b@h"),
            (b"Contact", b"<sip:a@b>;;"),
            (b"Contact", b"<sip:a b@h>"),
            (b"Max-Forwards", b"x"),
            (b"Content-Type", b"xml"),
            (b"Event", b"presence, presence.winfo"),
            (b"Subscription-State", b"active;"),
            (b"SIP-If-Match", b"a b"),
            (b"SIP-If-Match", b""),
        ):
            lines = [line for line in HEAD.splitlines(True) if not line.startswith(name)]
            message = request(octets(head=b"".join(lines) + b"%b: %b\r\n" % (name, value)))
            with self.assertRaises(SipError) as caught:
                check_fields(message)
            self.assertEqual(caught.exception.status, 400)
            self.assertEqual(caught.exception.reason, f"Bad {name.decode()}")

    def test_request_uri(self) -> None:
        """MSG-17: a Request-URI that breaks its grammar; a foreign scheme is not judged."""
        message = request(octets(start=b"OPTIONS sip:a%zz@h SIP/2.0\r\n"))
        self.assertRaises(SipError, check_fields, message)
        check_fields(request(octets(start=b"OPTIONS urn:service:sos SIP/2.0\r\n")))

    def test_malformed_but_not_needed(self) -> None:
        """MSG-17: malformed fields that nobody needs, and any Expires, are no error."""
        message = request(octets(b"Date: now\r\nExpires: soon\r\nWarning: <\r\nContact: *\r\n"))
        check_fields(message)
        self.assertEqual(message.expires, 3600)

    def test_no_tag(self) -> None:
        """MSG-18: a request without From tag is accepted."""
        message = request(octets(head=HEAD.replace(b";tag=f", b"")))
        check_fields(message)
        self.assertEqual(message.from_.tag, "")

    def test_cseq(self) -> None:
        """MSG-19: the number is in range and the method is that of the request."""
        for cseq in (b"1 INVITE", b"1 options", b"2147483648 OPTIONS", b"OPTIONS", b"x OPTIONS"):
            error = self.refuse(octets(head=HEAD.replace(b"1 OPTIONS", cseq)))
            self.assertIn("CSeq", error.reason)
        response = parse_message(
            octets(start=b"SIP/2.0 200 OK\r\n", head=HEAD.replace(b"1 OPTIONS", b"1 PUBLISH"))
        )
        self.assertEqual(response.cseq, (1, "PUBLISH"))

    def test_top_via(self) -> None:
        """MSG-17: a malformed Via with a readable sent-by is answered, others are dropped."""
        for via, readable in (
            (b"SIP/2.0/UDP h;branch=a;branch=b", True),
            (b"SIP/2.0/UDP h;", True),
            (b"SIP/2.0/UDP h,,", True),
            (b'SIP/2.0/UDP h;x="', True),
            (b"SIP/2.0/UDP [::1;branch=x", False),
            (b"SIP/2.0/UDP", False),
            (b",SIP/2.0/UDP h", False),
            (b"", False),
        ):
            lines = [line for line in HEAD.splitlines(True) if not line.startswith(b"Via")]
            data = octets(head=b"Via: %b\r\n" % via + b"".join(lines))
            if via == b"SIP/2.0/UDP h,,":
                self.assertEqual(request(data).via.host, "h")
                continue
            error = self.refuse(data)
            self.assertEqual(error.message is not None, readable, via)

    def test_via_list(self) -> None:
        """MSG-07: the top Via is the first of a comma list."""
        data = octets(head=HEAD.replace(b"bK1", b'bK1;x="a,b",SIP/2.0/TCP i'))
        message = request(data)
        self.assertEqual(message.via.params["x"], "a,b")
        self.assertEqual(len(message.values("via")), 2)

    def test_content_length(self) -> None:
        """TRN-10, MSG-30: longer data is cut, shorter data is an error, no length is all."""
        self.assertEqual(request(octets(b"l: 2\r\n", b"abcd")).body, b"ab")
        self.assertEqual(request(octets(b"Content-Length: 004\r\n", b"abcd")).body, b"abcd")
        self.assertEqual(request(octets(b"", b"abcd")).body, b"abcd")
        for value in (b"5", b"-1", b"x", b"", b"1.0", b"1, 1", b"\xd9\xa3", b"9" * 5000):
            data = octets(b"Content-Length: %b\r\n" % value, b"abcd")
            error = self.refuse(data, 413 if len(value) > 999 else 400)
            self.assertIsNotNone(error.message)
            with self.assertRaises(BadMessage) as caught:
                parse_message(b"SIP/2.0 200 OK\r\n" + data[len(START) :])
            self.assertFalse(caught.exception.is_request)

    def test_no_length_on_a_stream(self) -> None:
        """TRN-09: Content-Length is required there."""
        with self.assertRaises(BadMessage) as caught:
            parse_message(octets(), stream=True)
        self.assertTrue(caught.exception.fatal)

    def test_client_without_length(self) -> None:
        """CLI-05: over UDP a request without body may lack Content-Length."""
        self.assertEqual(request(octets(b"SIP-If-Match: x\r\nExpires: 0\r\n")).body, b"")

    def test_leading_line_ends(self) -> None:
        """TRN-11: line ends before the start-line are skipped."""
        for count in (1, 2, 3):
            self.assertEqual(request(b"\r\n" * count + octets()).method, "OPTIONS")

    def test_ignored(self) -> None:
        """TRN-15: nothing but line ends, nothing at all, or fewer than four octets."""
        for data in (b"", b"\r\n", b"\r\n\r\n", b"\r\n" * 9, b"\0\0\0\0", b"abc", b"\0"):
            with self.assertRaises(Ignored, msg=data):
                parse_message(data)

    def test_no_end(self) -> None:
        """A datagram without the empty line is answered if its Via can be read."""
        self.assertIsNotNone(self.refuse(octets()[:-2]).message)
        self.assertIsNone(self.refuse(b"OPTIONS sip:b@h SIP/2.0").message)
        self.assertIsNone(self.refuse(b"\xff" * 100).message)

    def test_largest_datagram(self) -> None:
        """TRN-04: 65507 octets of payload are one message."""
        data = octets()
        data += b"x" * (65507 - len(data))
        self.assertEqual(len(request(data).body), 65507 - len(octets()))

    def test_limits(self) -> None:
        """TRN-17: head, line, fields, body and Vias, each at and beyond its limit."""
        data = octets()
        size = data.index(b"\r\n\r\n")
        parse_message(data, Limits(head=size, line=size))
        self.refuse(data, 513, Limits(head=size - 1, line=10))
        parse_message(octets(b"S: " + b"x" * 8189 + b"\r\n"))
        error = self.refuse(octets(b"S: " + b"x" * 8190 + b"\r\n"))
        self.assertIn("too long", error.reason)
        self.refuse(octets(b"S: " + b"\xc3\xa9" * 4095 + b"\r\n"))
        parse_message(octets(b"X: 1\r\n" * 250))
        error = self.refuse(octets(b"X: 1\r\n" * 251))
        self.assertIn("Too many header fields", error.reason)
        parse_message(octets(b"", b"x" * 10), Limits(body=10))
        self.refuse(octets(b"", b"x" * 11), 413, Limits(body=10))
        self.refuse(octets(b"l: 11\r\n", b"x" * 11), 413, Limits(body=10))
        via = b"Via: SIP/2.0/UDP h, SIP/2.0/UDP i\r\n"
        parse_message(octets(via * 34 + b"v: SIP/2.0/UDP h\r\n"))
        error = self.refuse(octets(via * 35))
        self.assertIn("Via", error.reason)
        self.refuse(octets(b"Via: " + b",".join([b"SIP/2.0/UDP h"] * 70) + b"\r\n"))

    def test_answer(self) -> None:
        """MSG-17: what could be read is enough for an answer."""
        error = self.refuse(octets(b"Subject\r\n"))
        assert error.message is not None
        answer = parse_message(
            response_to(error.message, error.status, error.reason, to_tag="t").encode()
        )
        self.assertEqual(answer.call_id, "c@h")
        self.assertEqual(answer.cseq, (1, "OPTIONS"))
        self.assertEqual(answer.to.tag, "t")
        self.assertEqual(str(BadMessage(400)), "(400, 'Bad Request')")


_VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20).map(
    lambda text: text.strip(" \t")
)
_NAME = st.text(sorted(TOKEN_CHARS), min_size=2, max_size=8).map(lambda text: "X-" + text)


class RoundTripTests(unittest.SynchronousTestCase):
    """What is written is read again."""

    def same(self, a: Message, b: Message) -> None:
        """Compare two messages but for Content-Length."""
        a.headers.pop("content-length", None)
        b.headers.pop("content-length", None)
        self.assertEqual(a.headers, b.headers)
        self.assertEqual(a.body, b.body)

    @settings(max_examples=150, deadline=None)
    @given(
        st.text(sorted(TOKEN_CHARS), min_size=1, max_size=10),
        st.integers(0, 2**31 - 1),
        st.lists(st.tuples(_NAME, _VALUE), max_size=5),
        st.binary(max_size=50),
        st.booleans(),
    )
    def test_request(
        self,
        method: str,
        number: int,
        fields: list[tuple[str, str]],
        body: bytes,
        compact: bool,
    ) -> None:
        """parse(encode(m)) == m, long or compact (MSG-08)."""
        message = Request(method, "sip:b@example.com", body=body)
        for name, value in (
            ("Via", "SIP/2.0/TCP [2001:db8::1]:5070;branch=z9hG4bKq"),
            ("From", '"x\\"" <sip:a@b>;tag=1'),
            ("To", "sip:b@c"),
            ("Call-ID", "x"),
            ("CSeq", f"{number} {method}"),
            *fields,
        ):
            message.add(name, value)
        again = parse_message(message.encode(compact))
        assert isinstance(again, Request)
        self.assertEqual((again.method, again.uri), (message.method, message.uri))
        self.assertEqual(again.cseq, (number, method))
        self.same(again, message)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(100, 699), _VALUE, st.binary(max_size=50))
    def test_response(self, status: int, reason: str, body: bytes) -> None:
        """Responses too, through a stream."""
        message = response_to(request(octets()), status, reason, to_tag="t", body=body)
        (again,) = StreamFramer().feed(message.encode())
        assert isinstance(again, Response)
        self.assertEqual((again.status, again.reason), (status, reason))
        self.same(again, message)


class StreamTests(unittest.SynchronousTestCase):
    """Messages on a stream."""

    def kinds(self, found: list[Request | Response | Ping | Pong | BadMessage]) -> list[str]:
        """The classes of what was found."""
        return [type(item).__name__ for item in found]

    def test_octet_by_octet(self) -> None:
        """TRN-16: every vector in single octets gives what it gives in one piece."""
        for path in sorted(VECTORS.glob("*.dat")):
            data = path.read_bytes()
            whole = StreamFramer().feed(data)
            framer = StreamFramer()
            found = [item for octet in data for item in framer.feed(bytes((octet,)))]
            self.assertEqual(self.kinds(found), self.kinds(whole), path.stem)
            for one, other in zip(found, whole, strict=True):
                if isinstance(one, Message):
                    assert isinstance(other, Message)
                    self.assertEqual((one.headers, one.body), (other.headers, other.body))

    def test_many_in_one(self) -> None:
        """TRN-16: 100 messages in one write."""
        data = b"".join(octets(b"l: %d\r\n" % n, b"x" * n) for n in range(100))
        found = StreamFramer().feed(data)
        self.assertEqual(
            [item.body for item in found if isinstance(item, Request)],
            [b"x" * n for n in range(100)],
        )

    def test_pending(self) -> None:
        """TRN-18: whether the rest of a message is awaited."""
        framer = StreamFramer()
        self.assertFalse(framer.pending)
        data = octets(b"l: 2\r\n", b"ab")
        for count in (1, len(data) - 2, len(data) - 1):
            framer = StreamFramer()
            framer.feed(data[:count])
            self.assertTrue(framer.pending)
            framer.feed(data[count:])
            self.assertFalse(framer.pending)
        framer.feed(b"\r\n\r\n\r\n")
        self.assertFalse(framer.pending)

    def test_keep_alive(self) -> None:
        """TRN-11, TRN-12: pairs of line ends are pings, a single one is a pong."""
        data = octets(b"l: 0\r\n")
        for octets_, kinds in (
            (b"\r\n\r\n", ["Ping"]),
            (b"\r\n", ["Pong"]),
            (b"\r\n\r\n\r\n", ["Ping", "Pong"]),
            (b"\r\n\r\n" + data + b"\r\n\r\n", ["Ping", "Request", "Ping"]),
            (data + b"\r\n" + data, ["Request", "Pong", "Request"]),
        ):
            self.assertEqual(self.kinds(StreamFramer().feed(octets_)), kinds)

    def test_keep_alive_in_pieces(self) -> None:
        """TRN-12, TRN-16: a ping cut anywhere is answered once."""
        ping = b"\r\n\r\n"
        for cut in (1, 2, 3):
            framer = StreamFramer()
            found = self.kinds(framer.feed(ping[:cut]) + framer.feed(ping[cut:]))
            self.assertEqual(found.count("Ping"), 1, cut)
            self.assertFalse(framer.pending)
        framer = StreamFramer()
        found = self.kinds([item for octet in ping * 3 for item in framer.feed(bytes((octet,)))])
        self.assertEqual(found.count("Ping"), 3)
        framer = StreamFramer()
        data = octets(b"l: 0\r\n")
        found = self.kinds(framer.feed(b"\r\n") + framer.feed(data) + framer.feed(b"\r\n"))
        self.assertEqual(found, ["Pong", "Request", "Pong"])

    def fatal(self, data: bytes, limits: Limits | None = None) -> BadMessage:
        """The error that ends a stream."""
        framer = StreamFramer(limits or Limits())
        found = framer.feed(data)
        error = found[-1]
        assert isinstance(error, BadMessage)
        self.assertTrue(error.fatal)
        self.assertFalse(framer.pending)
        self.assertEqual(framer.feed(octets(b"l: 0\r\n")), [])
        return error

    def test_framing_lost(self) -> None:
        """TRN-09: no or bad Content-Length is answered 400, and nothing more is read."""
        for extra in (b"", b"l: -1\r\n", b"l: x\r\n", b"l: 1\r\nl: 2\r\n", b"l: 1, 2\r\n"):
            error = self.fatal(octets(extra, b"abc"))
            self.assertEqual(error.status, 400)
            self.assertIn("Content-Length", error.reason)
            self.assertIsNotNone(error.message)
        error = self.fatal(octets(b"Subject\r\n"))
        self.assertIsNotNone(error.message)
        for data in (
            b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            b"\rx",
            octets(b"l: 0\r\n").replace(b"\r\nTo", b"\nTo"),
        ):
            self.assertIsNotNone(self.fatal(data))

    def test_goes_on(self) -> None:
        """A malformed message whose length can be read does not end the stream."""
        data = octets(b"l: 3\r\nSubject\r\n", b"abc")
        framer = StreamFramer()
        found = framer.feed(data[:-1])
        self.assertEqual(found, [])
        found = framer.feed(data[-1:] + octets(b"l: 0\r\n"))
        self.assertEqual(self.kinds(found), ["BadMessage", "Request"])

    def test_limits(self) -> None:
        """TRN-17: a head without end is 513, a body too large 413, both at once."""
        limits = Limits(head=1000, line=100, body=10)
        error = self.fatal(octets(b"X: 1\r\n" * 200), limits)
        self.assertEqual(error.status, 513)
        self.assertIsNotNone(error.message)
        error = self.fatal(b"x" * 1001, limits)
        self.assertEqual((error.status, error.message), (513, None))
        error = self.fatal(octets(b"l: 11\r\n"), limits)
        self.assertEqual(error.status, 413)
        error = self.fatal(octets(b"l: %b\r\n" % (b"9" * 90)), limits)
        self.assertEqual(error.status, 413)
        self.assertEqual(
            self.kinds(StreamFramer(limits).feed(octets(b"l: 10\r\n", b"x" * 10))), ["Request"]
        )


class FuzzTests(unittest.SynchronousTestCase):
    """TOR-48: mutated messages."""

    def test_mutations(self) -> None:
        """TOR-48: no other exception leaves the parser; no answer without a readable Via."""
        vectors = [path.read_bytes() for path in sorted(VECTORS.glob("*.dat"))]
        fuzz(random.Random(48), vectors, 5000)


def fuzz(source: random.Random, vectors: list[bytes], count: int) -> int:
    """Parse ``count`` mutations of ``vectors``; returns how many were accepted."""
    accepted = 0
    spice = [b"\r\n", b"\r", b"\n", b" ", b"\t", b'"', b"<", b">", b";", b",", b":", b"=", b"\0"]
    spice += [b"%", b"\\", b"[", b"]", b"\xff", b"\xc3\xa9", b"9" * 40, b"Via: x\r\n", b"SIP/2.0"]
    for _ in range(count):
        data = bytearray(source.choice(vectors))
        for _ in range(source.randint(1, 4)):
            start = source.randrange(len(data) + 1)
            kind = source.randrange(4)
            if kind == 0:
                data[start : start + 1] = bytes((source.randrange(256),))
            elif kind == 1:
                data[start:start] = source.choice(spice)
            elif kind == 2:
                del data[start : start + source.randint(1, 20)]
            else:
                other = source.randrange(len(data) + 1)
                data[start:start] = data[other : other + source.randint(1, 60)]
        octets_ = bytes(data)
        try:
            message = parse_message(octets_)
            check_fields(message)
        except (Ignored, SipError):
            pass
        except BadMessage as error:
            if error.message is not None:
                assert error.is_request and error.message.via.host
                parse_message(octets_[:0] + _answer(error))
        else:
            accepted += 1
            parse_message(message.encode())
        framer = StreamFramer()
        cut = source.randrange(len(octets_) + 1)
        framer.feed(octets_[:cut])
        framer.feed(octets_[cut:])
    return accepted


def _answer(error: BadMessage) -> bytes:
    """The answer to a malformed request, made complete enough to be read again."""
    assert error.message is not None
    answer = response_to(error.message, error.status, error.reason, to_tag="t")
    for name, value in (
        ("via", f"{error.message.via}"),
        ("from", "sip:a@b"),
        ("to", "sip:b@c"),
        ("call-id", "x"),
        ("cseq", "1 X"),
    ):
        answer.set(name, value)
    return answer.encode()
