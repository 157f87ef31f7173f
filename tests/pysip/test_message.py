"""Messages as values: access to headers, changes, writing, responses."""

from __future__ import annotations

from twisted.trial import unittest

from pysip.errors import ParseError
from pysip.message import (
    COMPACT,
    HEADER_NAMES,
    LIST_HEADERS,
    NAME_KEYS,
    Request,
    Response,
    encode_response,
    header_key,
    response_to,
)
from pysip.parse import parse_message
from pysip.uri import SipUri


def subscribe() -> Request:
    """A small SUBSCRIBE."""
    request = Request("SUBSCRIBE", "sip:bob@example.com")
    for name, value in (
        ("Via", "SIP/2.0/UDP a.example;branch=z9hG4bK1;rport, SIP/2.0/TCP b.example"),
        ("Via", "SIP/2.0/TLS c.example"),
        ("From", '"A" <sip:alice@example.com>;tag=f'),
        ("To", "<sip:bob@example.com>"),
        ("Call-ID", "Id@a"),
        ("CSeq", "7 SUBSCRIBE"),
        ("Event", "presence;id=3"),
        ("Contact", "<sip:alice@192.0.2.1:5070>;x=1"),
        ("Timestamp", "54"),
    ):
        request.add(name, value)
    return request


class TableTests(unittest.SynchronousTestCase):
    """The tables of header names."""

    def test_tables(self) -> None:
        """MSG-08: each compact form leads to a known long name, in either case."""
        self.assertEqual(len(COMPACT), 20)
        self.assertLessEqual(set(COMPACT.values()), set(HEADER_NAMES))
        self.assertLessEqual(LIST_HEADERS, set(HEADER_NAMES))
        for letter, name in COMPACT.items():
            self.assertEqual(header_key(letter.upper()), name)
            self.assertIn(letter, NAME_KEYS)
        self.assertEqual(HEADER_NAMES["www-authenticate"], "WWW-Authenticate")

    def test_no_credential_list(self) -> None:
        """MSG-07: credentials and challenges are never split at commas."""
        for name in (
            "authorization",
            "proxy-authorization",
            "www-authenticate",
            "proxy-authenticate",
        ):
            self.assertNotIn(name, LIST_HEADERS)


class AccessTests(unittest.SynchronousTestCase):
    """Reading of headers."""

    def test_values(self) -> None:
        """MSG-07: repeated fields and comma lists are the same, in order."""
        request = subscribe()
        self.assertEqual(
            request.values("Via"),
            [
                "SIP/2.0/UDP a.example;branch=z9hG4bK1;rport",
                "SIP/2.0/TCP b.example",
                "SIP/2.0/TLS c.example",
            ],
        )
        request.add("Authorization", 'Digest a="1", b=2')
        self.assertEqual(request.values("authorization"), ['Digest a="1", b=2'])
        self.assertEqual(request.values("supported"), [])
        request.add("Supported", "")
        self.assertEqual(request.values("k"), [])

    def test_first(self) -> None:
        """A field is found by its long name in any case, and by its compact name."""
        request = subscribe()
        for name in ("call-id", "Call-ID", "CALL-ID", "i"):
            self.assertEqual(request.first(name), "Id@a")
            self.assertIn(name, request)
        self.assertIsNone(request.first("subject"))
        self.assertNotIn("subject", request)

    def test_properties(self) -> None:
        """The values that routing and event packages need."""
        request = subscribe()
        self.assertEqual(request.via.sent_by, "a.example:5060")
        self.assertEqual((request.from_.display, request.from_.tag), ("A", "f"))
        self.assertEqual(request.to.tag, "")
        self.assertEqual(request.cseq, (7, "SUBSCRIBE"))
        self.assertEqual(request.call_id, "Id@a")
        assert request.event is not None
        self.assertEqual((request.event.package, request.event.id), ("presence", "3"))
        self.assertEqual(request.contacts[0].uri, "sip:alice@192.0.2.1:5070")
        self.assertIsInstance(request.target, SipUri)
        self.assertIs(request.via, request.via)
        for value in (request.content_type, request.expires, request.max_forwards):
            self.assertIsNone(value)

    def test_missing(self) -> None:
        """A mandatory field that is not there is a ParseError that names it."""
        request = Request("OPTIONS", "sip:h")
        for name, field in (
            ("via", "Via"),
            ("from_", "From"),
            ("to", "To"),
            ("cseq", "CSeq"),
            ("call_id", "Call-ID"),
        ):
            with self.assertRaises(ParseError) as caught:
                getattr(request, name)
            self.assertIn(field, str(caught.exception))
        self.assertIsNone(request.event)
        self.assertEqual(request.contacts, [])

    def test_expires(self) -> None:
        """MSG-20: a bad Expires is 3600, a large one stays."""
        request = subscribe()
        for value, seconds in (("0", 0), ("4294967295", 2**32 - 1), ("99999999999", 3600)):
            request.set("Expires", value)
            self.assertEqual(request.expires, seconds)
        request.set("Expires", "soon")
        self.assertEqual(request.expires, 3600)

    def test_max_forwards(self) -> None:
        """MSG-21: 0 to 255; a larger one is as good as none; a word is an error."""
        request = subscribe()
        for value, hops in (("0", 0), ("255", 255), ("256", None), ("9" * 5000, None)):
            request.set("Max-Forwards", value)
            self.assertEqual(request.max_forwards, hops)
        request.set("Max-Forwards", "-1")
        with self.assertRaises(ParseError):
            _ = request.max_forwards


class ChangeTests(unittest.SynchronousTestCase):
    """Changes of headers."""

    def test_parsed_values_follow(self) -> None:
        """A change of a field shows in the parsed value."""
        request = subscribe()
        for attribute in ("via", "from_", "to", "cseq", "event", "contacts"):
            getattr(request, attribute)
        request.prepend("Via", "SIP/2.0/UDP top.example")
        request.set("To", "<sip:x@y>;tag=t")
        request.set("CSeq", "8 SUBSCRIBE")
        request.remove("Event")
        request.add("Contact", "<sip:z@y>")
        self.assertEqual(request.via.host, "top.example")
        self.assertEqual(request.to.tag, "t")
        self.assertEqual(request.cseq[0], 8)
        self.assertIsNone(request.event)
        self.assertEqual(len(request.contacts), 2)
        request.remove("event")

    def test_top_via(self) -> None:
        """VIA-02, VIA-07: only the top value changes, the others stay in order."""
        request = subscribe()
        self.assertEqual(request.via.host, "a.example")
        request.replace_top_via("SIP/2.0/UDP a.example;received=192.0.2.1")
        self.assertEqual(request.via.received, "192.0.2.1")
        self.assertEqual(len(request.values("via")), 3)
        request.remove_top_via()
        self.assertEqual(request.via.host, "b.example")
        request.remove_top_via()
        request.remove_top_via()
        self.assertNotIn("via", request)
        request.add("Via", 'SIP/2.0/UDP h;x=",')
        request.replace_top_via("SIP/2.0/UDP h")
        self.assertEqual(request.headers["via"], ["SIP/2.0/UDP h"])


class EncodeTests(unittest.SynchronousTestCase):
    """Writing."""

    def test_request(self) -> None:
        """MSG-01, MSG-08: long names in their usual spelling, and a true Content-Length."""
        request = Request("PUBLISH", "sip:bob@example.com", body=b"\x00\xff")
        request.add("v", "SIP/2.0/UDP h")
        request.add("sip-if-match", "x")
        request.add("call-id", "c")
        request.add("x-odd", "1")
        request.add("content-length", "77")
        self.assertEqual(
            request.encode(),
            b"PUBLISH sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nSIP-If-Match: x\r\n"
            b"Call-ID: c\r\nX-Odd: 1\r\nContent-Length: 2\r\n\r\n\x00\xff",
        )

    def test_compact(self) -> None:
        """MSG-08: compact names as an option."""
        data = subscribe().encode(compact=True)
        self.assertIn(b"\r\nv: SIP/2.0/TLS", data)
        self.assertIn(b"\r\nl: 0\r\n\r\n", data)
        self.assertEqual(parse_message(data).call_id, "Id@a")

    def test_response(self) -> None:
        """MSG-01: an empty reason leaves its blank."""
        self.assertTrue(Response(200, "").encode().startswith(b"SIP/2.0 200 \r\n"))
        self.assertEqual(repr(Response(200, "OK")), "<Response 200>")
        self.assertEqual(repr(subscribe()), "<Request SUBSCRIBE>")

    def test_octets_survive(self) -> None:
        """Octets that are no UTF-8 go out as they came in."""
        request = subscribe()
        data = request.encode().replace(b"Timestamp: 54", b"Subject: \xff\xfe\xc3")
        self.assertIn(b"Subject: \xff\xfe\xc3\r\n", parse_message(data).encode())

    def test_no_forged_fields(self) -> None:
        """A line end inside a value does not get onto the wire."""
        for value in ("a\r\nX: y", "a\nb", "a\rb"):
            request = subscribe()
            request.set("Subject", value)
            self.assertRaises(ValueError, request.encode)
            self.assertRaises(
                ValueError, encode_response, request, 200, headers=[("Subject", value)]
            )
        self.assertRaises(ValueError, encode_response, subscribe(), 400, "a\r\n\r\nb")


class ResponseTests(unittest.SynchronousTestCase):
    """Responses to requests."""

    def test_copies(self) -> None:
        """UAS-08, VIA-07: Via, From, To, Call-ID and CSeq come back; To gets the tag."""
        request = subscribe()
        response = response_to(
            request, 200, to_tag="t", headers=[("Expires", "60")], body=b"x", content_type="a/b"
        )
        self.assertEqual(response.headers["via"], request.headers["via"])
        for name in ("from", "call-id", "cseq"):
            self.assertEqual(response.headers[name], request.headers[name])
        self.assertEqual(response.to.tag, "t")
        self.assertEqual(response.reason, "OK")
        self.assertEqual(response.expires, 60)
        self.assertNotIn("timestamp", response)
        response.add("Via", "x")
        self.assertEqual(len(request.headers["via"]), 2)

    def test_tag_stays(self) -> None:
        """UAS-08: a To that has a tag keeps it."""
        request = subscribe()
        for value in ("<sip:b@h>;tag=old", "<sip:b@h>;x=y; Tag = old", "sip:b@h;TAG=old"):
            request.set("To", value)
            self.assertEqual(response_to(request, 200, to_tag="new").headers["to"], [value])
        for value in ("<sip:b@tag.example>", "<sip:b@h;tag=x>", "sip:b@h", '"tag=" <sip:b@h>'):
            request.set("To", value)
            self.assertEqual(response_to(request, 200, to_tag="new").to.tag, "new")

    def test_trying(self) -> None:
        """TXN-19: a 100 takes the Timestamp, and no tag unless one is given."""
        response = response_to(subscribe(), 100)
        self.assertEqual(response.headers["timestamp"], ["54"])
        self.assertEqual(response.to.tag, "")

    def test_unknown_status(self) -> None:
        """A code without a standard phrase has an empty one; a given phrase is used."""
        self.assertEqual(response_to(subscribe(), 499).reason, "")
        self.assertEqual(response_to(subscribe(), 400, "Bad Event").reason, "Bad Event")

    def test_direct_writer(self) -> None:
        """The direct writer gives the same octets as the object."""
        request = subscribe()
        for status in (100, 200, 489):
            for tag in ("", "t"):
                fields = [("Expires", "60"), ("SIP-ETag", "e")]
                self.assertEqual(
                    encode_response(
                        request, status, to_tag=tag, headers=fields, body=b"x", content_type="a/b"
                    ),
                    response_to(
                        request, status, to_tag=tag, headers=fields, body=b"x", content_type="a/b"
                    ).encode(),
                )
