"""Private header fields of an IMS core, at a whole node (sip-core.md 8)."""

from __future__ import annotations

import ipaddress

from twisted.trial.unittest import SynchronousTestCase

from pysip.auth.trust import TrustPolicy
from pysip.interfaces import Target
from tests.node import ALICE, BOB, Node, pidf

VECTOR = 'icid-value="b1c9;77";icid-generated-at=192.0.2.9;orig-ioi=home.example'
PRIVATE = {
    "p_asserted_identity": f"<{ALICE}>, <tel:+15550100>",
    "p_charging_vector": VECTOR,
    "p_charging_function_addresses": 'ccf="192.0.2.100";ccf=192.0.2.101, ecf=192.0.2.102',
    "p_access_network_info": "DOCSIS",
    "p_visited_network_id": '"visited.example"',
    "p_called_party_id": f"<{BOB}>",
    "p_served_user": f"<{BOB}>;sescase=term;regstate=reg",
    "p_asserted_service": "urn:urn-7:3gpp-service.ims.icsi.presence",
    "accept_contact": '*;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service"',
}


class TrustedTests(SynchronousTestCase):
    """An S-CSCF that is in the trust domain, and one that is not."""

    def setUp(self) -> None:
        """Start them."""
        trust = TrustPolicy([(ipaddress.ip_network("192.0.2.20"), None)])
        self.node = Node(mode="trust", trust=trust)
        self.node.ua.network = "home.example"
        self.scscf = self.node.peer("192.0.2.20")

    def watch(self, **fields: str) -> None:
        """A subscription through the S-CSCF."""
        response = self.scscf.subscribe(p_asserted_identity=f"<{ALICE}>", **fields)
        self.assertEqual(response.status, 200)

    def publish(self, note: str) -> None:
        """A publication through the S-CSCF."""
        response = self.scscf.publish(pidf(note=note), p_asserted_identity=f"<{BOB}>")
        self.assertEqual(response.status, 200)

    def test_charging_of_the_dialog(self) -> None:
        """All NOTIFYs of a dialog carry the vector of its SUBSCRIBE (IMS-14)."""
        self.watch(p_charging_vector=VECTOR)
        self.publish("one")
        vectors = [notify.first("p-charging-vector") for notify in self.scscf.notifies()]
        self.assertEqual(vectors, [VECTOR, VECTOR])

    def test_own_vector(self) -> None:
        """Without one we make it: one icid of 128 bits per dialog, our network (IMS-12)."""
        self.watch(call_id="c1")
        self.watch(call_id="c2")
        self.publish("one")
        icids: dict[str, set[str]] = {}
        for notify in self.scscf.notifies():
            value = notify.first("p-charging-vector") or ""
            icid, _, rest = value.partition(";")
            self.assertEqual(rest, "orig-ioi=home.example")
            icids.setdefault(notify.call_id, set()).add(icid)
        self.assertEqual([len(found) for found in icids.values()], [1, 1])
        one, two = (found.pop() for found in icids.values())
        self.assertNotEqual(one, two)
        self.assertGreaterEqual(len(one.partition("=")[2].strip('"')), 32)  # 128 bits in hex

    def test_any_method(self) -> None:
        """Every private header in every method that we serve is no error (IMS-18, IMS-19)."""
        fields = {**PRIVATE, "p_asserted_identity": f"<{BOB}>"}
        self.assertEqual(self.scscf.subscribe(**PRIVATE).status, 200)
        self.assertEqual(self.scscf.publish(pidf(), **fields).status, 200)
        options = self.scscf.request("OPTIONS", BOB, **fields)
        self.assertEqual(self.scscf.ask(options).status, 200)
        cancel = self.scscf.request("CANCEL", BOB, **fields)
        self.assertEqual(self.scscf.ask(cancel).status, 481)
        self.assertEqual(self.scscf.malformed_seen, [])

    def test_charging_functions_are_kept(self) -> None:
        """The addresses of the charging functions stay with the dialog, in order (IMS-15)."""
        self.scscf.subscribe(**PRIVATE)
        (subscription,) = self.node.presence.notifier.subscriptions("presence", BOB)
        self.assertEqual(subscription.charging, PRIVATE["p_charging_function_addresses"])

    def test_not_to_strangers(self) -> None:
        """A NOTIFY that leaves the trust domain has none of it (IMS-09, IMS-12)."""
        stranger = self.node.peer("192.0.2.66")
        self.watch(p_charging_vector=VECTOR, contact="<sip:alice@192.0.2.66:5060>")
        (notify,) = stranger.notifies()
        self.assertEqual([name for name in notify.headers if name.startswith("p-")], [])

    def test_isc_example(self) -> None:
        """The example of the list: 2xx, its Record-Route, and the NOTIFY (IMS-22, DLG-02)."""
        locator = self.node.ua.sender.locator
        scscf = Target("UDP", self.scscf.address, "scscf1.example.com")
        self.patch(locator, "immediate", lambda uri: scscf)
        self.scscf.send(ISC.replace(b"\n", b"\r\n"))
        self.node.advance(0.2)
        (response,) = self.scscf.responses
        self.assertEqual(response.status, 200)
        self.assertEqual(len(response.values("via")), 3)
        self.assertEqual(response.values("record-route"), RECORD_ROUTE)
        self.assertLessEqual(response.expires or 0, 7200)
        self.assertEqual(len(response.contacts), 1)
        (notify,) = self.scscf.notifies()
        self.assertEqual(notify.uri, "sip:192.0.2.55:1357;comp=sigcomp")  # IMS-23
        self.assertEqual(notify.values("route"), RECORD_ROUTE)
        self.assertEqual((notify.to.uri, notify.to.tag), (ALICE, "31415"))
        self.assertEqual(notify.first("content-type"), "application/pidf-diff+xml")  # PNO-03
        self.assertEqual(
            notify.first("p-charging-vector"),
            'icid-value="b1c9f0e2-77aa";icid-generated-at=192.0.2.9;orig-ioi=example.com',
        )
        (subscription,) = self.node.presence.notifier.subscriptions("presence", BOB)
        self.assertEqual(subscription.watcher.uris, (ALICE, "tel:+15550100"))


RECORD_ROUTE = ["<sip:scscf1.example.com;lr>", "<sip:pcscf1.visited.example;lr>"]
ISC = b"""\
SUBSCRIBE sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP scscf1.example.com:5060;branch=z9hG4bK344a651;rport
Via: SIP/2.0/UDP pcscf1.visited.example:5060;branch=z9hG4bK120f341
Via: SIP/2.0/UDP 192.0.2.55:1357;branch=z9hG4bKehuehjgt
Max-Forwards: 68
Route: <sip:ps.example.com;lr>, <sip:cb03a0s09a2sdfglkj490333@scscf1.example.com;lr>
Record-Route: <sip:scscf1.example.com;lr>, <sip:pcscf1.visited.example;lr>
P-Asserted-Identity: <sip:alice@example.com>, <tel:+15550100>
P-Charging-Vector: icid-value="b1c9f0e2-77aa";icid-generated-at=192.0.2.9;orig-ioi=example.com
P-Charging-Function-Addresses: ccf=192.0.2.100;ccf=192.0.2.101
P-Access-Network-Info: DOCSIS
Privacy: none
From: <sip:alice@example.com>;tag=31415
To: <sip:bob@example.com>
Call-ID: b89rjhnedlrfjflslj40a222
CSeq: 61 SUBSCRIBE
Event: presence
Expires: 7200
Accept: application/pidf+xml;q=0.3, application/pidf-diff+xml;q=1
Contact: <sip:192.0.2.55:1357;comp=sigcomp>
Content-Length: 0

"""
