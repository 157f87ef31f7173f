"""Dialogs (sip-core.md section 7)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pysip.dialog import (
    Dialog,
    next_hop,
    single_contact,
    uas_dialog,
    wants_sips,
    without_tag,
)
from pysip.errors import ParseError, SipError
from pysip.message import Request
from pysip.uri import SipUri
from tests.pysip.flows import request as make

CONTACT = "<sip:peer@192.0.2.10:5060>"

ISC = """SUBSCRIBE sip:bob@home.example SIP/2.0
Via: SIP/2.0/UDP scscf1.home.example:5060;branch=z9hG4bK344a651;rport
Via: SIP/2.0/UDP pcscf1.visited.example:5060;branch=z9hG4bK120f341
Via: SIP/2.0/UDP 192.0.2.55:1357;branch=z9hG4bKehuehjgt
Max-Forwards: 68
Route: <sip:ps.home.example;lr>, <sip:cb03a0s09a2sdfglkj490333@scscf1.home.example;lr>
Record-Route: <sip:scscf1.home.example;lr>, <sip:pcscf1.visited.example;lr>
P-Asserted-Identity: <sip:alice@home.example>, <tel:+15550100>
P-Charging-Vector: icid-value="b1c9f0e2-77aa";icid-generated-at=192.0.2.9;orig-ioi=home.example
P-Charging-Function-Addresses: ccf=192.0.2.100;ccf=192.0.2.101
P-Access-Network-Info: DOCSIS
Privacy: none
From: <sip:alice@home.example>;tag=31415
To: <sip:bob@home.example>
Call-ID: b89rjhnedlrfjflslj40a222
CSeq: 61 SUBSCRIBE
Event: presence
Expires: 7200
Accept: application/pidf+xml;q=0.3, application/pidf-diff+xml;q=1
Contact: <sip:192.0.2.55:1357;comp=sigcomp>
Content-Length: 0

""".replace("\n", "\r\n").encode()
"""The SUBSCRIBE of IMS-22."""


def request(**fields: Any) -> Request:
    """A SUBSCRIBE with a Contact."""
    return make(**{"contact": CONTACT, **fields})


def dialog(*route_set: str, target: str = "sip:peer@192.0.2.10:5060") -> Dialog:
    """A dialog with this route set."""
    return Dialog(
        "c1", "local", "remote", "<sip:bob@example.com>", "<sip:alice@example.com>", target,
        route_set, "<sip:us@192.0.2.1>",
    )  # fmt: skip


class MakingTests(SynchronousTestCase):
    """The dialog of a 2xx (DLG-01, DLG-02, DLG-12)."""

    def make(self, secure: bool = False, **fields: Any) -> Dialog:
        """The dialog that a SUBSCRIBE makes."""
        return uas_dialog(request(**fields), "t1", "<sip:us@192.0.2.1>", secure)

    def test_fields(self) -> None:
        """Everything comes from the request (DLG-01, DLG-02)."""
        made = self.make(
            number="61",
            from_='"A, B" <sip:alice@example.com;x=1>;tag=f1;y=2',
            contact="Peer <sip:peer@192.0.2.10;comp=sigcomp;unknown=%41?h=v>;expires=5",
        )
        self.assertEqual(made.id, ("c1", "t1", "f1"))
        self.assertEqual((made.remote_cseq, made.local_cseq), (61, 0))
        self.assertEqual(made.local_uri, "<sip:bob@example.com>")
        self.assertEqual(made.remote_uri, '"A, B" <sip:alice@example.com;x=1>')
        # as it is, with all its parameters (GRU-01)
        self.assertEqual(made.remote_target, "sip:peer@192.0.2.10;comp=sigcomp;unknown=%41?h=v")
        self.assertEqual(made.route_set, ())
        self.assertEqual(made.contact, "<sip:us@192.0.2.1>")

    def test_route_set(self) -> None:
        """Record-Route in its order, lists and lines alike, with all parameters (DLG-02)."""
        message = request(record_route='<sip:p1;lr;x="a,b">;hp=1, <sip:p2;lr=on>')
        message.add("Record-Route", "P3 <sip:p3>")
        made = uas_dialog(message, "t1", CONTACT, False)
        self.assertEqual(
            made.route_set, ('<sip:p1;lr;x="a,b">;hp=1', "<sip:p2;lr=on>", "P3 <sip:p3>")
        )

    def test_secure(self) -> None:
        """Secure when a sips request came over TLS, and only then (DLG-02)."""
        for uri, tls, secure in (
            ("sips:bob@example.com", True, True),
            ("SIPS:bob@example.com", True, True),
            ("sips:bob@example.com", False, False),
            ("sip:bob@example.com", True, False),
        ):
            self.assertEqual(self.make(tls, uri=uri).secure, secure, uri)

    def test_null_tag(self) -> None:
        """A From without tag makes a dialog with a null tag (DLG-16, RFC 2543)."""
        self.assertEqual(self.make(from_="<sip:alice@example.com>").remote_tag, "")

    def test_contacts(self) -> None:
        """Exactly one SIP or SIPS URI, else 400 (DLG-12)."""
        for contact in (
            None,
            "*",
            "<sip:a@192.0.2.1>, <sip:b@192.0.2.1>",
            "<tel:+1>",
            "<mailto:a@b>",
            "<isbn:1>",
        ):
            with self.assertRaises(SipError) as caught:
                single_contact(request(contact=contact))
            self.assertEqual(caught.exception.status, 400, contact)
        self.assertEqual(single_contact(request(contact="sip:a@b;x=1")), "sip:a@b")
        self.assertEqual(single_contact(request(contact="<sips:a@b;x=1>")), "sips:a@b;x=1")

    def test_without_tag(self) -> None:
        """From and To values for our requests (DLG-16)."""
        for value, expected in (
            ("<sip:a@b>;tag=1", "<sip:a@b>"),
            ('"x>y" <sip:a@b;p=1>;tag=1', '"x>y" <sip:a@b;p=1>'),
            ("sip:a@b;tag=1", "<sip:a@b>"),
        ):
            self.assertEqual(without_tag(value), expected)

    def test_isc(self) -> None:
        """The SUBSCRIBE of an S-CSCF: route set and target as they stand (IMS-22, IMS-23)."""
        from pysip.parse import parse_message

        message = parse_message(ISC)
        assert isinstance(message, Request)
        made = uas_dialog(message, "t1", "<sip:d41@ps.home.example>", False)
        uri, routes, hop = made.routing()
        self.assertEqual(uri, "sip:192.0.2.55:1357;comp=sigcomp")
        self.assertEqual(
            routes, ("<sip:scscf1.home.example;lr>", "<sip:pcscf1.visited.example;lr>")
        )
        assert isinstance(hop, SipUri)
        self.assertEqual(hop.host, "scscf1.home.example")


class RoutingTests(SynchronousTestCase):
    """Requests in a dialog (DLG-05, DNS-01)."""

    def test_no_routes(self) -> None:
        """Straight to the remote target (DLG-05)."""
        uri, routes, hop = dialog().routing()
        self.assertEqual((uri, routes, str(hop)), ("sip:peer@192.0.2.10:5060", (), uri))

    def test_loose(self) -> None:
        """First route with lr: the target in the Request-URI, all routes in Route (DLG-05)."""
        uri, routes, hop = dialog("<sip:p1;lr;x=1>", "<sip:p2>").routing()
        self.assertEqual(uri, "sip:peer@192.0.2.10:5060")
        self.assertEqual(routes, ("<sip:p1;lr;x=1>", "<sip:p2>"))
        self.assertEqual(str(hop), "sip:p1;lr;x=1")

    def test_strict(self) -> None:
        """First route without lr: it is the Request-URI, the target comes last (DLG-05)."""
        uri, routes, hop = dialog("<sip:p1;x=1;method=INVITE?h=v>", "<sip:p2;lr>").routing()
        self.assertEqual(uri, "sip:p1;x=1")
        self.assertEqual(routes, ("<sip:p2;lr>", "<sip:peer@192.0.2.10:5060>"))
        self.assertEqual(str(hop), "sip:p1;x=1")

    def test_next_hop(self) -> None:
        """The first route, or the Request-URI; sips stays sips (DNS-01)."""
        self.assertEqual(str(next_hop("sip:a@b", ())), "sip:a@b")
        self.assertEqual(str(next_hop("sip:a@b", ("<sip:p1;lr>", "<sip:p2;lr>"))), "sip:p1;lr")
        self.assertEqual(str(next_hop("sips:a@b", ("<sip:p1;lr>",))), "sips:p1;lr")
        self.assertEqual(str(next_hop("sips:a@b", ("<sips:p1;lr>",))), "sips:p1;lr")

    def test_unusable(self) -> None:
        """A route set that is none is found out before it is needed."""
        for routes in (("<<",), ("<sip:[x>",)):
            self.assertRaises(ParseError, dialog(*routes).routing)
        self.assertRaises(ParseError, dialog(target="sip:").routing)


class OrderTests(SynchronousTestCase):
    """CSeq numbers of the peer (DLG-07)."""

    def test_in_order(self) -> None:
        """Higher is in order, also by more than one; equal and lower are not (DLG-07)."""
        made = dialog()
        self.assertTrue(made.in_order(0))  # nothing stored takes the first
        made.remote_cseq = 7
        self.assertEqual([made.in_order(n) for n in (6, 7, 8, 900)], [False, False, True, True])


class SipsTests(SynchronousTestCase):
    """When our Contact must be a sips URI (DLG-14)."""

    def test_when(self) -> None:
        """By the Request-URI, the top Record-Route, or without one by the Contact (DLG-14)."""
        sips, sip = "<sips:a@192.0.2.9>", "<sip:a@192.0.2.9>"
        for fields, wanted in (
            ({}, False),
            ({"uri": "sips:bob@example.com"}, True),
            ({"record_route": f"{sips}, {sip}"}, True),
            ({"record_route": f"{sip}, {sips}"}, False),
            ({"record_route": sip, "contact": sips}, False),
            ({"contact": sips}, True),
            ({"contact": "SIPS:a@192.0.2.9"}, True),
        ):
            self.assertEqual(wants_sips(request(**fields)), wanted, fields)
