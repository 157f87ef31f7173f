"""Identities in header fields, and what a document server believes."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysip.uri import canonical_aor
from tests.xcap.proxies import ALICE, INDEX, head
from xcap.auth import identity
from xcap.auth.identity import (
    IN_PROCESS,
    IdentityAsserter,
    intended_identity,
    parse_identities,
)
from xcap.errors import XcapError
from xcap.interfaces import IIdentityAsserter
from xcap.records import Headers, HttpPeer, Requester

PROXY = HttpPeer("192.0.2.10", names=("proxy.example.com",))
OMA = "X-XCAP-Asserted-Identity"
GPP = "X-3GPP-Asserted-Identity"


class SyntaxTests(SynchronousTestCase):
    """Lists of identities."""

    def test_forms(self) -> None:
        """AGP-41, AGP-44, AGP-45: quoted, bare, in brackets; a comma in quotes is of the URI."""
        for value, expected in (
            ('"sip:a@b"', ["sip:a@b"]),
            ("sip:a@b", ["sip:a@b"]),
            (" <sip:a@b> ", ["sip:a@b"]),
            ('"<sip:a@b>"', ["sip:a@b"]),
            ('" sip:a@b "', ["sip:a@b"]),
            ('"sip:a,b@c", "tel:+1" ,tel:+2', ["sip:a,b@c", "tel:+1", "tel:+2"]),
            ("<sip:a,b@c>,<tel:+1>", ["sip:a,b@c", "tel:+1"]),
            (r'"sip:\a@b"', ["sip:a@b"]),
        ):
            self.assertEqual(parse_identities(value), expected)

    def test_malformed(self) -> None:
        """AGP-41: what is none of these is an error."""
        for value in ("", ",", "sip:a@b,", '"a', "<a", 'a"b', '"a" "b"', "a b", "<a>b", ",a"):
            self.assertRaises(ValueError, parse_identities, value)

    @given(st.text(st.characters(max_codepoint=255)))
    def test_anything(self, text: str) -> None:
        """AGP-41: whatever a client writes is an identity, or 400."""
        try:
            intended_identity(Headers([("X-3GPP-Intended-Identity", text)]))
        except XcapError as error:
            self.assertEqual(error.status, 400)


class AssertionTests(SynchronousTestCase):
    """What the proxy writes."""

    def test_styles(self) -> None:
        """AGP-43 to AGP-45: one identity for OMA, all for 3GPP, by default both."""
        gpp = (GPP, '"sip:alice@example.com", "tel:+15555550100"')
        oma = (OMA, '"sip:alice@example.com"')
        self.assertEqual(IdentityAsserter().assertion(ALICE), [gpp, oma])
        self.assertEqual(IdentityAsserter("3gpp").assertion(ALICE), [gpp])
        self.assertEqual(IdentityAsserter("oma").assertion(ALICE), [oma])

    def test_round_trip(self) -> None:
        """AGP-45: what one writes the other reads, whatever is in the URIs."""
        identities = ("sip:a,%22b@example.com", "tel:+1")
        asserter = IdentityAsserter()
        request = head(INDEX, "GET", *asserter.assertion(identities), peer=IN_PROCESS)
        self.assertEqual(asserter.accept(request).identities, identities)


class AcceptanceTests(SynchronousTestCase):
    """What a document server believes."""

    def accept(
        self, *fields: tuple[str, str], peer: HttpPeer = PROXY, **options: object
    ) -> Requester:
        """Who a request is from."""
        options.setdefault("networks", [ipaddress.ip_network("192.0.2.0/28")])
        self.asserter = IdentityAsserter(**options)  # type: ignore[arg-type]
        verifyObject(IIdentityAsserter, self.asserter)
        return self.asserter.accept(head(INDEX, "GET", *fields, peer=peer))

    def refused(self, status: int, *fields: tuple[str, str], **options: object) -> XcapError:
        """What is raised."""
        error: XcapError = self.assertRaises(XcapError, self.accept, *fields, **options)
        self.assertEqual(error.status, status)
        return error

    def test_which_header(self) -> None:
        """AGP-45: 3GPP before OMA; quoted or bare; canonical."""
        both = self.accept(
            (GPP, '"SIP:Alice@EXAMPLE.com", tel:+1-2'), (OMA, "sip:Alice@example.com")
        )
        self.assertEqual(both.identities, ("sip:Alice@example.com", "tel:+12"))
        self.assertEqual(self.accept((OMA, "sip:a@b")).identities, ("sip:a@b",))
        self.assertEqual(self.accept((GPP, "sip:a@b")).identity, "sip:a@b")

    def test_contradiction(self) -> None:
        """AGP-45: two headers with different first identities: 403 and an alarm."""
        self.refused(403, (GPP, '"sip:a@b"'), (OMA, '"sip:c@b"'))
        self.assertEqual(self.asserter.conflicts, 1)
        self.refused(403, (GPP, '"sip:a@b", "sip:c@b"'), (OMA, '"sip:c@b"'))

    def test_malformed(self) -> None:
        """AGP-43: exactly one identity in the OMA header, and URIs only."""
        self.refused(400, (OMA, '"sip:a@b", "sip:c@b"'))
        self.refused(400, (OMA, '"sip:a@b"'), (OMA, '"sip:c@b"'))
        for value in ("alice", '"', "", "http://a/b"):
            self.refused(400, (OMA, value))
            self.refused(400, (GPP, value))

    def test_known(self) -> None:
        """AGP-49: what was read once is not read again, whoever sends it has to be trusted."""
        asked: list[str] = []

        def canonical(uri: str) -> str:
            asked.append(uri)
            return canonical_aor(uri)

        field = (OMA, '"sip:A@B"')
        self.accept(field, canonical=canonical)
        again = head(INDEX, "GET", field, peer=PROXY)
        self.assertEqual(self.asserter.accept(again).identities, ("sip:A@b",))
        self.assertEqual(asked, ["sip:A@B"])
        stranger = head(INDEX, "GET", field, peer=HttpPeer("198.51.100.1"))
        self.assertRaises(XcapError, self.asserter.accept, stranger)

    def test_known_are_bounded(self) -> None:
        """However many identities come, few are remembered, and no long ones."""
        self.patch(identity, "_CACHED", 3)
        self.accept()
        for n in range(10):
            for value in (f'"sip:u{n}@b"', f'"sip:{"u" * 300}{n}@b"'):
                request = head(INDEX, "GET", (OMA, value), peer=PROXY)
                self.assertEqual(len(self.asserter.accept(request).identities), 1)
        self.assertLessEqual(len(self.asserter._known), 3)
        self.assertLess(max(map(len, self.asserter._known)), 300)

    def test_addresses(self) -> None:
        """AGP-49: only from configured addresses, IPv4-mapped or not; by default 403."""
        field = (OMA, '"sip:a@b"')
        for address in ("192.0.2.15", "::ffff:192.0.2.1"):
            self.assertTrue(self.accept(field, peer=HttpPeer(address)).identities)
        for address in ("192.0.2.16", "2001:db8::1", "::1%lo", "", "nonsense"):
            self.refused(403, field, peer=HttpPeer(address))
        network = ipaddress.ip_network("2001:db8::/64")
        self.assertTrue(self.accept(field, peer=HttpPeer("2001:db8::7"), networks=[network]))

    def test_lenient(self) -> None:
        """AGP-49: lenient: the header is ignored, so the request is nobody's: 401."""
        stranger = HttpPeer("198.51.100.1")
        error = self.refused(401, (OMA, '"sip:a@b"'), peer=stranger, strict=False)
        self.assertEqual(error.headers[0][0], "WWW-Authenticate")

    def test_certificate(self) -> None:
        """AGP-49: when names are configured, the address alone is not enough, nor the name."""
        field, names = (OMA, '"sip:a@b"'), ("PROXY.example.com",)
        self.assertTrue(self.accept(field, names=names).identities)
        self.refused(403, field, names=names, peer=HttpPeer("192.0.2.10"))
        other = HttpPeer("192.0.2.10", names=("other.example.com",))
        self.refused(403, field, names=names, peer=other)
        elsewhere = HttpPeer("198.51.100.1", names=("proxy.example.com",))
        self.refused(403, field, names=names, peer=elsewhere)

    def test_nobody(self) -> None:
        """AGP-49: the proxy has to assert somebody: 401."""
        self.refused(401, peer=HttpPeer("192.0.2.10"))
        self.refused(401, peer=IN_PROCESS)

    def test_server(self) -> None:
        """XDM-05: a server with a certificate of its own that asserts nobody is itself."""
        server = HttpPeer("198.51.100.1", names=("ps.example.com",))
        self.assertEqual(self.accept(peer=server), Requester((), ("ps.example.com",)))
        self.assertEqual(self.accept(peer=PROXY).names, ("proxy.example.com",))
        self.refused(403, (OMA, '"sip:a@b"'), peer=server)

    def test_users_are_not_the_proxy(self) -> None:
        """AGP-49, XDM-05: users do not get what the proxy's certificate may."""
        self.assertEqual(self.accept((OMA, '"sip:a@b"')).names, ())

    def test_in_process(self) -> None:
        """AGP-04: the proxy of the same process is believed; no socket has its address."""
        self.assertTrue(self.accept((OMA, '"sip:a@b"'), peer=IN_PROCESS, networks=[]).identities)
        self.assertRaises(ValueError, ipaddress.ip_address, IN_PROCESS.address)
