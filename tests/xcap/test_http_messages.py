"""Tests of :mod:`xcap.http.messages`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from xcap.errors import XcapError
from xcap.http.messages import (
    RequestHead,
    check_partial,
    encode_response,
    forwarded_peer,
    host_of,
    parse_head,
    refusal,
)
from xcap.http.settings import HttpSettings
from xcap.records import Headers, HttpPeer, HttpResponse

SETTINGS = HttpSettings()


def read(*lines: str, settings: HttpSettings = SETTINGS) -> RequestHead:
    """Parse a head given by its lines; Host is added."""
    text = "".join(f"{line}\r\n" for line in (lines[0], "Host: h", *lines[1:]))
    return parse_head(text.encode("latin-1"), settings)


class HeadCase(SynchronousTestCase):
    """Base of the tests of heads."""

    def refused(self, status: int, raw: bytes) -> None:
        """Expect a refusal."""
        with self.assertRaises(XcapError) as caught:
            parse_head(raw, SETTINGS)
        self.assertEqual(caught.exception.status, status, raw)

    def field_refused(self, status: int, *fields: str, line: str = "PUT / HTTP/1.1") -> None:
        """Expect the refusal of a request with Host and further fields."""
        text = "".join(f"{one}\r\n" for one in (line, "Host: h", *fields))
        self.refused(status, text.encode("latin-1"))


class RequestLineTests(HeadCase):
    """Method, target and version."""

    def test_plain(self) -> None:
        """The parts of a head are found; names are in lower case, values without blanks."""
        head = read("GET /a?b HTTP/1.1", "X-Thing:  some value \t", "Empty:")
        self.assertEqual((head.method, head.target, head.authority), ("GET", "/a?b", "h"))
        self.assertEqual(
            head.headers.fields, [("host", "h"), ("x-thing", "some value"), ("empty", "")]
        )
        self.assertEqual((head.length, head.expects, head.close), (0, False, False))

    def test_raw_target(self) -> None:
        """XCAP-12: the raw target arrives octet for octet, whatever its escapes mean."""
        for target in (
            "/resource-lists/users/sip:a@b/index/%7E%7e/x%5b@n=%22v%22%5d?xmlns(a=b)",
            "/a/%2f/%2F/%2525/.././/;a=b,c!$&'()*+",
            "//h/x",
            "/%",
        ):
            self.assertEqual(read(f"GET {target} HTTP/1.1").target, target)

    def test_raw_brackets(self) -> None:
        """CLI-18: raw brackets and quotes in the target pass."""
        target = '/a/users/x/index/~~/r/l[@name="friends"]?xmlns(p="q")'
        self.assertEqual(read(f"GET {target} HTTP/1.1").target, target)

    def test_illegal_target(self) -> None:
        """AGP-74: characters that no URI has are refused with 400."""
        for octet in b"\x00\x01\t \x0b\x7f\x80\xe9\xff<>\\^`{|}":
            self.refused(400, b"GET /a%b HTTP/1.1\r\nHost: h\r\n" % bytes([octet]))

    def test_fragment(self) -> None:
        """XCAP-15: a fragment is refused with 400."""
        self.refused(400, b"GET /a#b HTTP/1.1\r\nHost: h\r\n")
        self.refused(400, b"GET http://h/#b HTTP/1.1\r\nHost: h\r\n")

    def test_absolute(self) -> None:
        """XCAP-14: the absolute form equals the origin form; its authority counts."""
        head = read("GET https://Xcap.Example.com:443/a%2f?x HTTP/1.1")
        self.assertEqual(head.target, "/a%2f?x")
        self.assertEqual(head.authority, "Xcap.Example.com:443")
        self.assertEqual(head.headers.all("host"), ["Xcap.Example.com:443"])
        self.assertEqual(read("GET HTTP://h HTTP/1.1").target, "/")
        self.assertEqual(read("GET http://h?x HTTP/1.1").target, "/?x")
        self.assertEqual(read("GET http://[::1]:80/ HTTP/1.1").authority, "[::1]:80")

    def test_malformed_absolute(self) -> None:
        """XCAP-14: another scheme, user information, or no host is refused with 400."""
        for target in (
            "ftp://h/",
            "http:///a",
            "http://u@h/",
            "http://h:x/",
            "sip:a@b",
            "a",
            "?x",
            "*",
            "http:/h/",
        ):
            self.refused(400, f"GET {target} HTTP/1.1\r\nHost: h\r\n".encode())

    def test_asterisk(self) -> None:
        """The asterisk form is for OPTIONS."""
        self.assertEqual(read("OPTIONS * HTTP/1.1").target, "*")

    def test_illegal_method(self) -> None:
        """AGP-74: a method with characters that no token has is refused with 400."""
        for method in (b"G T", b"GET(", b"", b"G\x00T", b"G:T", b" GET", b"\tGET"):
            self.refused(400, method + b" / HTTP/1.1\r\nHost: h\r\n")

    def test_unknown_method(self) -> None:
        """XCAP-50: a method that is not known is refused with 501, methods are case-sensitive."""
        for method in (b"FOO", b"get", b"CONNECT", b"PROPFIND", b"PRI", b"M-SEARCH", b"SOURCE"):
            self.refused(501, method + b" / HTTP/1.1\r\nHost: h\r\n")
        for known in ("GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS", "PATCH", "TRACE"):
            self.assertEqual(read(f"{known} / HTTP/1.1").method, known)

    def test_version(self) -> None:
        """AGP-74: HTTP/1.0 is one request per connection; other versions get 505."""
        self.assertTrue(read("GET / HTTP/1.0").close)
        self.assertTrue(read("GET / HTTP/1.0", "Connection: keep-alive").close)
        for version in (b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/3.1"):
            self.refused(505, b"GET / %b\r\nHost: h\r\n" % version)

    def test_malformed_line(self) -> None:
        """AGP-74: anything but two single blanks and a version is refused with 400."""
        for line in (
            b"GET /",
            b"GET  / HTTP/1.1",
            b"GET /  HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b"GET /\tHTTP/1.1",
            b"GET / http/1.1",
            b"GET / HTTP/1",
            b"GET / HTTP/11.1",
            b"GET / ICE/1.0",
            b"GET",
            b"",
            b"\x16\x03\x01\x02",
        ):
            self.refused(400, line + b"\r\nHost: h\r\n")


class FieldTests(HeadCase):
    """Header fields."""

    def test_folding(self) -> None:
        """AGP-74: a folded line is refused with 400."""
        self.field_refused(400, "A: b", " c")
        self.field_refused(400, "A: b", "\tc")
        self.refused(400, b"GET / HTTP/1.1\r\n Host: h\r\n")

    def test_bare_line_ends(self) -> None:
        """AGP-74: a CR or LF alone is refused with 400."""
        for text in ("A: b\rc", "A: b\nC: d", "A: b\n c", "A\r: b", "A: \r"):
            self.field_refused(400, text)
        self.refused(400, b"GET / HTTP/1.1\nHost: h\r\n")
        self.refused(400, b"GET / HTTP/1.1\rHost: h\r\n")
        self.refused(400, b"GET / HTTP/1.1\r\r\nHost: h\r\n")

    def test_blank_before_colon(self) -> None:
        """AGP-74: white space before the colon is refused with 400."""
        self.field_refused(400, "A : b")
        self.field_refused(400, "A\t: b")
        self.field_refused(400, "Content-Length : 5")

    def test_malformed_names(self) -> None:
        """AGP-74: a name is a token, and there is one."""
        for text in (": b", "A", "A b: c", "A(): b", "\xe4: b", "A\x00: b", "[a]: b"):
            self.field_refused(400, text)

    def test_values(self) -> None:
        """Octets above ASCII pass as Latin-1; control characters do not."""
        head = read("GET / HTTP/1.1", "A: caf\xe9 \xc3\xa9\tx")
        self.assertEqual(head.headers.get("a"), "caf\xe9 \xc3\xa9\tx")
        for octet in "\x00\x01\x0b\x1f\x7f":
            self.field_refused(400, f"A: b{octet}c")

    def test_host(self) -> None:
        """AGP-74: no Host or several are refused with 400, except that HTTP/1.0 needs none."""
        self.refused(400, b"GET / HTTP/1.1\r\n")
        self.refused(400, b"GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n")
        self.refused(400, b"GET / HTTP/1.0\r\nHost: h\r\nHost: g\r\n")
        self.refused(400, b"GET http://h/ HTTP/1.1\r\n")
        self.assertEqual(parse_head(b"GET / HTTP/1.0\r\n", SETTINGS).authority, "")

    def test_malformed_host(self) -> None:
        """AGP-74: a Host that is no host and port is refused with 400."""
        for host in ("", "a b", "a/b", "u@h", "h:1:2", "[::1", "::1", "h:123456", "h,g", "h?"):
            self.refused(400, f"GET / HTTP/1.1\r\nHost: {host}\r\n".encode())
        for host in ("h", "h:8080", "H.example.", "[2001:db8::1]:443", "192.0.2.1", "h:"):
            head = parse_head(f"GET / HTTP/1.1\r\nHost: {host}\r\n".encode(), SETTINGS)
            self.assertEqual(head.authority, host)

    def test_limits(self) -> None:
        """AGP-76: long request lines get 414, large blocks and many fields 431; one less goes."""
        room = SETTINGS.line - len("GET / HTTP/1.1")
        self.assertEqual(len(read(f"GET /{'a' * room} HTTP/1.1").target), room + 1)
        self.refused(414, f"GET /{'a' * (room + 1)} HTTP/1.1\r\nHost: h\r\n".encode())
        room = SETTINGS.block - len("Host: h\r\nA: \r\n")
        read("GET / HTTP/1.1", "A: " + "b" * room)
        self.field_refused(431, "A: " + "b" * (room + 1))
        read("GET / HTTP/1.1", *["A: b"] * (SETTINGS.fields - 1))
        self.field_refused(431, *["A: b"] * SETTINGS.fields)


class FramingTests(HeadCase):
    """How long a body is, and what becomes of the connection."""

    def test_lengths(self) -> None:
        """XCAP-114: Content-Length or chunked."""
        self.assertEqual(read("PUT / HTTP/1.1", "Content-Length: 0012").length, 12)
        self.assertEqual(read("PUT / HTTP/1.1", "Transfer-Encoding: Chunked").length, -1)
        self.assertEqual(read("PUT / HTTP/1.1").length, 0)

    def test_both(self) -> None:
        """AGP-74: Content-Length together with Transfer-Encoding is refused with 400."""
        self.field_refused(400, "Content-Length: 5", "Transfer-Encoding: chunked")
        self.field_refused(400, "Transfer-Encoding: chunked", "Content-Length: 5")
        self.field_refused(400, "Transfer-Encoding: gzip", "Content-Length: 5")
        self.field_refused(400, "Content-Length: 5", "Transfer-Encoding: identity")

    def test_differing_lengths(self) -> None:
        """AGP-74: several Content-Length values are refused with 400, also equal ones."""
        self.field_refused(400, "Content-Length: 5", "Content-Length: 6")
        self.field_refused(400, "Content-Length: 5", "Content-Length: 5")
        self.field_refused(400, "Content-Length: 5, 6")
        self.field_refused(400, "Content-Length: 5, 5")

    def test_malformed_length(self) -> None:
        """AGP-74: a Content-Length that is no decimal number is refused with 400."""
        for value in ("+5", "-5", "0x5", "5 5", "5.0", "", "1e3", "\xb2", "9" * 30, "5;a"):
            self.field_refused(400, f"Content-Length: {value}")

    def test_chunked_not_last(self) -> None:
        """AGP-74: ``chunked`` that is repeated or not the last coding is refused with 400."""
        for value in ("chunked, gzip", "chunked, chunked", "gzip, chunked, chunked", "chunked,"):
            self.field_refused(400, f"Transfer-Encoding: {value}")
        self.field_refused(400, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")
        self.field_refused(400, "Transfer-Encoding: chunked", "Transfer-Encoding: gzip")
        self.field_refused(400, "Transfer-Encoding: gzip", "Transfer-Encoding: chunked")
        self.field_refused(400, "Transfer-Encoding: chunked;q=1")
        self.field_refused(400, "Transfer-Encoding: , chunked")
        self.field_refused(400, "Transfer-Encoding: xchunked")
        self.field_refused(400, 'Transfer-Encoding: "chunked"')
        self.field_refused(400, "Transfer-Encoding:")
        self.field_refused(400, "Transfer-Encoding: chunked", line="PUT / HTTP/1.0")

    def test_other_codings(self) -> None:
        """AGP-74: transfer codings other than chunked are refused with 501."""
        self.field_refused(501, "Transfer-Encoding: gzip")
        self.field_refused(501, "Transfer-Encoding: gzip, chunked")
        self.field_refused(501, "Transfer-Encoding: identity")

    def test_connection(self) -> None:
        """A client may ask for the end of the connection, in a list and in any case."""
        self.assertTrue(read("GET / HTTP/1.1", "Connection: close").close)
        self.assertTrue(read("GET / HTTP/1.1", "Connection: TE, Close").close)
        self.assertTrue(read("GET / HTTP/1.1", "Connection: TE", "Connection: close").close)
        self.assertFalse(read("GET / HTTP/1.1", "Connection: keep-alive, closed").close)

    def test_expect(self) -> None:
        """XCAP-114: 100-continue counts with HTTP/1.1 and a body; others get 417."""
        self.assertTrue(read("PUT / HTTP/1.1", "Expect: 100-Continue", "Content-Length: 1").expects)
        self.assertTrue(
            read("PUT / HTTP/1.1", "Expect: 100-continue", "Transfer-Encoding: chunked").expects
        )
        self.assertFalse(read("PUT / HTTP/1.1", "Expect: 100-continue").expects)
        self.assertFalse(
            read("PUT / HTTP/1.0", "Expect: 100-continue", "Content-Length: 1").expects
        )
        self.field_refused(417, "Expect: 200-ok")

    def test_upgrade(self) -> None:
        """A wish for another protocol is ignored."""
        head = read("GET /x HTTP/1.1", "Connection: Upgrade", "Upgrade: h2c", "A: b")
        self.assertEqual((head.target, head.headers.get("a")), ("/x", "b"))

    @given(st.binary(max_size=200))
    def test_anything(self, raw: bytes) -> None:
        """AGP-74: octets of any kind are read or refused, nothing else."""
        for data in (raw, b"GET / HTTP/1.1\r\n" + raw, b"GET / HTTP/1.1\r\nHost: h\r\nA: " + raw):
            try:
                check_partial(data, SETTINGS)
                parse_head(data + b"\r\n", SETTINGS)
            except XcapError as error:
                self.assertIn(error.status, (400, 414, 417, 431, 501, 505))


class PartialTests(SynchronousTestCase):
    """Heads that are not complete."""

    def refused(self, status: int, data: bytes) -> None:
        """Expect a refusal before the head is complete."""
        with self.assertRaises(XcapError) as caught:
            check_partial(data, SETTINGS)
        self.assertEqual(caught.exception.status, status)

    def test_limits(self) -> None:
        """AGP-76: a head that is too large is refused before its end comes."""
        check_partial(b"GET /" + b"a" * (SETTINGS.line - 5), SETTINGS)
        self.refused(414, b"GET /" + b"a" * SETTINGS.line)
        self.refused(414, b"GET /" + b"a" * SETTINGS.line + b"\r\nHost: h")
        check_partial(b"GET / HTTP/1.1\r\n" + b"A" * SETTINGS.block, SETTINGS)
        self.refused(431, b"GET / HTTP/1.1\r\n" + b"A" * (SETTINGS.block + 3))

    def test_line_ends(self) -> None:
        """AGP-74: a CR or LF alone is refused at once, not when time has run out."""
        self.refused(400, b"GET / HTTP/1.1\n")
        self.refused(400, b"\n")
        self.refused(400, b"GET / HTTP/1.1\r\nHost: h\n\n")
        self.refused(400, b"GET / HTTP/1.1\r ")
        check_partial(b"GET / HTTP/1.1\r", SETTINGS)
        check_partial(b"GET / HTTP/1.1\r\n", SETTINGS)
        check_partial(b"", SETTINGS)


class AnswerTests(SynchronousTestCase):
    """Answers on the wire."""

    def write(self, response: HttpResponse, *, head: bool = False, close: bool = False) -> bytes:
        """Write an answer with a short Date and Server."""
        return encode_response(
            response, head=head, close=close, date="Date: d\r\n", server="S: s\r\n"
        )

    def test_plain(self) -> None:
        """Status line, fields, length and body."""
        self.assertEqual(
            self.write(HttpResponse(200, (("ETag", '"1"'),), b"abc")),
            b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 3\r\nDate: d\r\nS: s\r\n\r\nabc',
        )

    def test_head(self) -> None:
        """XCAP-55: the answer to HEAD has the fields of GET, and no body."""
        response = HttpResponse(200, (("ETag", '"1"'),), b"abc")
        whole = self.write(response)
        self.assertEqual(self.write(response, head=True), whole[: -len(b"abc")])
        brought = HttpResponse(200, (("Content-Length", "77"),))
        self.assertIn(b"Content-Length: 77\r\n", self.write(brought, head=True))
        self.assertIn(b"Content-Length: 0\r\n", self.write(brought))

    def test_without_body(self) -> None:
        """204 and 304 have neither body nor length."""
        for status in (204, 304):
            data = self.write(HttpResponse(status, (("Content-Length", "3"),), b"abc"))
            self.assertNotIn(b"Content-Length", data)
            self.assertTrue(data.endswith(b"\r\n\r\n"))

    def test_fields_of_the_connection(self) -> None:
        """What frames the message is ours alone; a Date or Server that is there stays."""
        data = self.write(
            HttpResponse(
                200,
                (
                    ("Connection", "keep-alive"),
                    ("TRANSFER-ENCODING", "chunked"),
                    ("content-length", "9"),
                    ("date", "mine"),
                    ("Server", "mine"),
                ),
            ),
            close=True,
        )
        self.assertEqual(
            data,
            b"HTTP/1.1 200 OK\r\ndate: mine\r\nServer: mine\r\nContent-Length: 0\r\n"
            b"Connection: close\r\n\r\n",
        )

    def test_splitting(self) -> None:
        """Field values that would begin another field or answer are not sent."""
        for value in ("a\r\nB: c", "a\nb", "a\rb", "a\0b", "a\r\n\r\nHTTP/1.1 200 OK"):
            for fields in ((("A", value),), ((value, "a"),)):
                with self.assertRaises(ValueError):
                    self.write(HttpResponse(200, fields))

    def test_statuses(self) -> None:
        """A status without a phrase is sent; one that is no final status is not."""
        self.assertTrue(self.write(HttpResponse(599)).startswith(b"HTTP/1.1 599 \r\n"))
        for status in (100, 199, 600, 0, -1):
            with self.assertRaises(ValueError):
                self.write(HttpResponse(status))

    def test_refusal(self) -> None:
        """A refusal becomes plain text, with the fields it brings along."""
        answer = refusal(XcapError(503, "later", (("Retry-After", "3"),)))
        self.assertEqual((answer.status, answer.body), (503, b"later\n"))
        self.assertEqual(answer.header("retry-after"), "3")
        self.assertEqual(answer.header("content-type"), "text/plain; charset=utf-8")
        self.assertEqual(refusal(XcapError(404)).body, b"Not Found\n")
        self.assertEqual(refusal(XcapError(499)).body, b"Refused\n")


class PeerTests(SynchronousTestCase):
    """Hosts and load balancers."""

    def test_host_of(self) -> None:
        """The host is found without port, in lower case."""
        for authority, host in (
            ("Xcap.Example.COM:443", "xcap.example.com"),
            ("h.", "h"),
            ("[2001:DB8::1]:80", "[2001:db8::1]"),
            ("", ""),
        ):
            self.assertEqual(host_of(authority), host)

    def test_forwarded(self) -> None:
        """AGP-12: the last address of X-Forwarded-For counts, since the balancer wrote it."""
        peer = HttpPeer("192.0.2.9", 1234)
        found = forwarded_peer(
            peer,
            Headers([("X-Forwarded-For", "6.6.6.6, 198.51.100.7"), ("X-Forwarded-Proto", "HTTPS")]),
        )
        self.assertEqual((found.address, found.port, found.secure), ("198.51.100.7", 0, True))
        found = forwarded_peer(peer, Headers([("X-Forwarded-For", "[2001:db8::1]")]))
        self.assertEqual((found.address, found.secure), ("2001:db8::1", False))

    def test_forwarded_nonsense(self) -> None:
        """AGP-12: what is no address changes nothing."""
        peer = HttpPeer("192.0.2.9", 1234)
        for value in ("", "unknown", "1.2.3.4:80", "1.2.3"):
            self.assertEqual(forwarded_peer(peer, Headers([("X-Forwarded-For", value)])), peer)
        self.assertEqual(forwarded_peer(peer, Headers()), peer)
