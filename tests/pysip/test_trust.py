"""Trust domain, privacy, and who sent a request."""

from __future__ import annotations

import ipaddress
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysip.auth.client import ClientCredentials
from pysip.auth.digest import ha1
from pysip.auth.domains import Domains
from pysip.auth.privacy import (
    PRIVATE_HEADERS,
    assert_identity,
    check_critical,
    is_anonymous,
    parse_privacy,
)
from pysip.auth.server import DigestAuthenticator
from pysip.auth.trust import IdentityPolicy, TrustPolicy
from pysip.errors import ParseError, SipError
from pysip.interfaces import Address, Identity, IIdentityPolicy
from pysip.message import Request
from pysip.parse import parse_message

SCSCF = "192.0.2.10"
PHONE = "198.51.100.7"
ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1'


class Flow:
    """The flow a request came on."""

    def __init__(
        self,
        host: str = SCSCF,
        port: int = 5060,
        *,
        protocol: str = "UDP",
        sent_by: str = "192.0.2.1:5060",
        names: tuple[str, ...] = (),
    ) -> None:
        self.protocol = protocol
        self.remote: Address = (host, port)
        self.sent_by = sent_by
        self.names = frozenset(names)


class Point:
    """A listening point."""

    def __init__(self, protocol: str, host: str, sent_by: str) -> None:
        self.protocol = protocol
        self.local: Address = (host, 5060)
        self.sent_by = sent_by


class Source:
    """Two accounts: alice with an alias and a number, and bob."""

    def ha1(self, username: str, realm: str, algorithm: str) -> str | None:
        """All passwords are "secret"."""
        if username not in ("alice", "bob", "alice@example.com", "anonymous"):
            return None
        return ha1(username, realm, "secret", algorithm)

    def identities(self, username: str, realm: str) -> tuple[str, ...]:
        """The identities of a user."""
        if username in ("bob", "anonymous"):
            return (f"sip:{username}@example.com",)
        return ("sip:alice@example.com", "sip:al@example.com", "tel:+15550100")


def peers(*entries: str) -> list[tuple[Any, int | None]]:
    """Networks for a policy; ``network@port`` names a port."""
    found: list[tuple[Any, int | None]] = []
    for entry in entries:
        network, _, port = entry.partition("@")
        found.append((ipaddress.ip_network(network), int(port) if port else None))
    return found


def request(method: str = "SUBSCRIBE", uri: str = "sip:bob@example.com", **fields: str) -> Request:
    """A request of alice; fields by name with _ for -, "" removes one."""
    headers = {
        "from": ['"Alice" <sip:alice@example.com>;tag=1'],
        "to": ["<sip:bob@example.com>"],
        "call-id": ["c"],
        "cseq": [f"1 {method}"],
    }
    for name, value in fields.items():
        headers[name.strip("_").replace("_", "-")] = [value]
    return Request(method, uri, headers)


class TrustPolicyTests(SynchronousTestCase):
    """Who belongs to the trust domain."""

    def trusted(self, policy: TrustPolicy, *args: Any, **named: Any) -> bool:
        """Whether a peer is trusted; asked twice, for the cache."""
        flow = cast("Any", Flow(*args, **named))
        first = policy.trusted(flow)
        self.assertEqual(policy.trusted(flow), first)
        return first

    def test_addresses(self) -> None:
        """IMS-01: addresses, networks and address with port."""
        policy = TrustPolicy(
            peers("192.0.2.10", "10.0.0.0/8", "2001:db8::/64", "192.0.2.20@5070", "::1")
        )
        for peer in (
            ("192.0.2.10", 1),
            ("10.9.8.7", 1),
            ("2001:db8::5", 1),
            ("2001:DB8:0:0::5", 1),
            ("192.0.2.20", 5070),
            ("::1", 1),
            ("0:0:0:0:0:0:0:1", 1),
            ("::ffff:192.0.2.10", 1),
            ("2001:db8::5%eth0", 1),
        ):
            self.assertTrue(self.trusted(policy, *peer), peer)
        for peer in (
            ("192.0.2.11", 1),
            ("11.0.0.1", 1),
            ("2001:db8:1::5", 1),
            ("192.0.2.20", 5071),
            ("loop-3", 1),
        ):
            self.assertFalse(self.trusted(policy, *peer), peer)

    def test_nobody(self) -> None:
        """Without configuration nobody is trusted."""
        self.assertFalse(self.trusted(TrustPolicy(), "127.0.0.1"))

    def test_names(self) -> None:
        """TRN-23: a certificate is judged by its names, whatever the address."""
        policy = TrustPolicy(peers("192.0.2.10"), ["SCSCF1.home.example"])
        known = ("scscf1.home.example", "other.example")
        self.assertTrue(self.trusted(policy, PHONE, names=known))
        self.assertFalse(self.trusted(policy, "192.0.2.10", names=("other.example",)))
        self.assertTrue(self.trusted(policy, "192.0.2.10"))
        self.assertTrue(self.trusted(TrustPolicy(peers("192.0.2.10")), names=("x.example",)))

    def test_cache_is_bounded(self) -> None:
        """Addresses of strangers do not fill the memory."""
        policy = TrustPolicy(peers("10.0.0.0/8"))
        for port in range(1, 12_000):
            policy.trusted(cast("Any", Flow(PHONE, port)))
        self.assertLessEqual(len(policy._cache), 10_000)


class PolicyTestCase(SynchronousTestCase):
    """Base with a policy: the S-CSCF is trusted."""

    def setUp(self) -> None:
        """Make the parts."""
        self.domains = Domains(
            ["example.com", "example.net"], {"192.0.2.1": "example.com", "::1": "example.net"}
        )
        self.source = Source()
        self.authenticator = DigestAuthenticator(self.source, b"0123456789abcdef")
        self.policy = self.make("both")

    def make(self, mode: str) -> IdentityPolicy:
        """A policy with a mode."""
        return IdentityPolicy(
            TrustPolicy(peers(SCSCF)),
            self.domains,
            mode=mode,
            authenticator=self.authenticator,
            accounts=self.source,
            md5_agents=("OldPhone",),
        )

    def identify(self, message: Request, flow: Flow | None = None) -> Identity:
        """Who sent a request; from the S-CSCF by default."""
        return self.policy.identify(message, cast("Any", flow or Flow()))

    def refused(self, message: Request, flow: Flow | None = None) -> int:
        """The status of a refusal."""
        error: SipError = self.assertRaises(SipError, self.identify, message, flow)
        return error.status

    def signed(
        self, message: Request, user: str = "alice", uri: str = "", realm: str = ""
    ) -> Request:
        """A request with right credentials in answer to our challenge."""
        realm = realm or self.domains.realm_for(message)
        client = ClientCredentials(user, "secret")
        value = client.authorize(
            self.authenticator.challenges(realm), message.method, uri or message.uri
        )
        assert value is not None
        message.set("Authorization", value)
        return message

    def from_phone(self, message: Request) -> Identity:
        """Who sent a request from an untrusted address."""
        return self.identify(message, Flow(PHONE))


class AssertedTests(PolicyTestCase):
    """Requests from inside the trust domain."""

    def test_interface(self) -> None:
        """It is an identity policy."""
        verifyObject(IIdentityPolicy, self.policy)

    def test_asserted(self) -> None:
        """IMS-02: the asserted identity is the sender; no challenge, whatever the From."""
        found = self.identify(
            request(
                p_asserted_identity='"Carol" <sip:carol@Home.example:5060;x=y>',
                _from="<sip:mallory@example.com>;tag=1",
            )
        )
        self.assertEqual(found, Identity(("sip:carol@home.example",), "Carol", False, "asserted"))

    def test_isc_request(self) -> None:
        """IMS-22, IMS-03: the SUBSCRIBE of the list; tel is an alias of the SIP identity."""
        message = parse_message(
            b"SUBSCRIBE sip:bob@home.example SIP/2.0\r\n"
            b"Via: SIP/2.0/UDP scscf1.home.example:5060;branch=z9hG4bK344a651;rport\r\n"
            b"P-Asserted-Identity: <sip:alice@home.example>, <tel:+15550100>\r\n"
            b"Privacy: none\r\nFrom: <sip:alice@home.example>;tag=31415\r\n"
            b"To: <sip:bob@home.example>\r\nCall-ID: b89\r\nCSeq: 61 SUBSCRIBE\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        assert isinstance(message, Request)
        found = self.identify(message)
        self.assertEqual(found.uris, ("sip:alice@home.example", "tel:+15550100"))
        self.assertFalse(found.anonymous)

    def test_values(self) -> None:
        """IMS-03: the first of each kind counts, the SIP URI leads; foreign schemes do not."""
        for value, uris in (
            ("<tel:+1-555>, <sips:a@x.org>", ("sip:a@x.org", "tel:+1555")),
            ("<sip:a@x.org>, <sips:b@x.org>, <tel:+1>, <tel:+2>", ("sip:a@x.org", "tel:+1")),
            ("tel:+1555", ("tel:+1555",)),
            ("<mailto:a@x.org>, <sip:b@x.org>", ("sip:b@x.org",)),
        ):
            self.assertEqual(self.identify(request(p_asserted_identity=value)).uris, uris)

    def test_nothing_usable(self) -> None:
        """IMS-03, IMS-04: no sip or tel value is no assertion; a malformed one is 400."""
        self.assertEqual(self.refused(request(p_asserted_identity="<mailto:a@x.org>")), 401)
        self.assertEqual(self.refused(request(p_asserted_identity="<sip:a@x.org")), 400)
        self.assertEqual(self.refused(request(p_asserted_identity="<sip:@@>")), 400)

    def test_privacy(self) -> None:
        """IMS-06: id, user and header keep a known identity from third parties."""
        for value in ("id", "user", "header;critical", "ID ; session"):
            found = self.identify(request(p_asserted_identity="<sip:c@x.org>", privacy=value))
            self.assertEqual((found.uris, found.anonymous), (("sip:c@x.org",), True))
        for value in ("none", "session", "history"):
            found = self.identify(request(p_asserted_identity="<sip:c@x.org>", privacy=value))
            self.assertFalse(found.anonymous)

    def test_anonymous(self) -> None:
        """IMS-04: without assertion, an anonymous From or Privacy means anonymous."""
        for message in (
            request(_from=ANONYMOUS),
            request(privacy="id"),
            request(p_asserted_identity="<sip:anonymous@anonymous.invalid>"),
        ):
            found = self.identify(message)
            self.assertEqual((found.uris, found.anonymous), ((), True))
            self.assertEqual(found.uri, "sip:anonymous@anonymous.invalid")

    def test_from_is_no_identity(self) -> None:
        """IMS-04: without assertion a trusted peer's request is challenged, or 403."""
        self.assertEqual(self.refused(request()), 401)
        self.assertEqual(self.identify(self.signed(request())).source, "digest")
        self.policy = self.make("trust")
        self.assertEqual(self.refused(request()), 403)

    def test_display_name_proves_nothing(self) -> None:
        """IMS-08: "Anonymous" as a name alone is nobody anonymous."""
        self.assertEqual(self.refused(request(_from='"Anonymous" <sip:a@x.org>;tag=1')), 401)

    def test_charging_stays(self) -> None:
        """IMS-05, IMS-11: private headers of a trusted peer stay; no identity comes from them."""
        message = request(
            p_asserted_identity="<sip:c@x.org>",
            p_charging_vector="icid-value=1",
            p_served_user="<sip:bob@example.com>;sescase=term",
        )
        self.assertEqual(self.identify(message).uris, ("sip:c@x.org",))
        self.assertIn("p-charging-vector", message)
        self.assertIn("p-served-user", message)

    def test_ack_and_cancel(self) -> None:
        """IMS-02, AUT-17: ACK and CANCEL assert nothing and are never challenged."""
        for method in ("ACK", "CANCEL"):
            message = request(method, p_asserted_identity="<sip:c@x.org>")
            self.assertEqual(self.identify(message).uris, ())
            self.assertEqual(self.from_phone(request(method)).uris, ())

    def test_notify(self) -> None:
        """AUT-14: inside the trust domain the dialog proves a NOTIFY, outside Digest has to."""
        for mode, status in (("trust", 403), ("both", 401)):
            self.policy = self.make(mode)
            self.assertEqual(self.identify(request("NOTIFY")).uris, ())
            self.assertEqual(self.refused(request("NOTIFY"), Flow(PHONE)), status)
            self.assertEqual(self.refused(request("PUBLISH")), status)


class UntrustedTests(PolicyTestCase):
    """Requests from outside the trust domain."""

    def test_private_headers(self) -> None:
        """IMS-01: they are removed before anything reads them."""
        fields = {name.replace("-", "_"): "<sip:carol@example.com>" for name in PRIVATE_HEADERS}
        message = request(**fields)
        self.assertEqual(self.refused(message, Flow(PHONE)), 401)
        for name in PRIVATE_HEADERS:
            self.assertNotIn(name, message)
        found = self.from_phone(self.signed(request(**fields)))
        self.assertEqual(found.uri, "sip:alice@example.com")

    def test_trust_only(self) -> None:
        """AUT-01: a listening point for peers refuses all others."""
        self.policy = self.make("trust")
        self.assertEqual(self.refused(request(), Flow(PHONE)), 403)
        self.assertEqual(self.refused(self.signed(request()), Flow(PHONE)), 403)

    def test_digest_identity(self) -> None:
        """AUT-11: the identities of the user, the one of the From first."""
        found = self.from_phone(self.signed(request()))
        self.assertEqual(
            found,
            Identity(
                ("sip:alice@example.com", "sip:al@example.com", "tel:+15550100"),
                "Alice",
                False,
                "digest",
            ),
        )
        found = self.from_phone(self.signed(request(_from="<sip:al@EXAMPLE.com>;tag=1")))
        self.assertEqual(found.uris[0], "sip:al@example.com")
        self.assertEqual(set(found.uris), set(self.source.identities("alice", "")))
        found = self.from_phone(self.signed(request(), "alice@example.com"))
        self.assertEqual(found.uri, "sip:alice@example.com")

    def test_from_of_another(self) -> None:
        """AUT-11: a From that is not the user's is 403."""
        for sender in ("<sip:bob@example.com>;tag=1", "<sip:x@example.org>;tag=1"):
            message = request(_from=sender)
            self.assertEqual(self.refused(self.signed(message), Flow(PHONE)), 403)
        bob = request()
        self.assertEqual(self.refused(self.signed(bob, "bob"), Flow(PHONE)), 403)

    def test_preferred_identity(self) -> None:
        """IMS-10: P-Preferred-Identity chooses among the user's own; others are 403."""
        message = request(p_preferred_identity='"Al" <sip:al@example.com>')
        found = self.from_phone(self.signed(message))
        self.assertEqual((found.uri, found.display_name), ("sip:al@example.com", "Al"))
        self.assertEqual(len(found.uris), 3)
        message = request(p_preferred_identity="<tel:+1-555-0100>")
        self.assertEqual(self.from_phone(self.signed(message)).uri, "tel:+15550100")
        message = request(p_preferred_identity="<sip:bob@example.com>")
        self.assertEqual(self.refused(self.signed(message), Flow(PHONE)), 403)
        message = request(p_preferred_identity="<mailto:bob@example.com>")
        self.assertEqual(self.refused(self.signed(message), Flow(PHONE)), 400)

    def test_anonymous_user(self) -> None:
        """IMS-08: an anonymous From is allowed to a known user, whose name is then hidden."""
        found = self.from_phone(self.signed(request(_from=ANONYMOUS)))
        self.assertEqual((found.uri, found.anonymous), ("sip:alice@example.com", True))
        self.assertEqual(found.display_name, "")
        found = self.from_phone(self.signed(request(privacy="id")))
        self.assertTrue(found.anonymous)

    def test_guest(self) -> None:
        """XDM-112: the Digest user "anonymous" has no identity, whatever its From says."""
        for sender in (
            ANONYMOUS,
            "<sip:anonymous@example.com>;tag=1",
            "<sip:al@example.com>;tag=1",
        ):
            found = self.from_phone(self.signed(request(_from=sender), "anonymous"))
            self.assertEqual((found.uris, found.anonymous), ((), True), sender)
            self.assertEqual(found.uri, "sip:anonymous@anonymous.invalid")

    def test_critical_privacy(self) -> None:
        """IMS-07: a critical privacy type that nobody knows is 500 naming it."""
        message = self.signed(request(privacy="id;teleport;critical"))
        error = self.assertRaises(SipError, self.from_phone, message)
        self.assertEqual(error.status, 500)
        self.assertIn("teleport", str(error.reason))
        self.from_phone(self.signed(request(privacy="teleport")))
        self.from_phone(self.signed(request(privacy="header;session;user;id;history;critical")))

    def test_malformed(self) -> None:
        """UAS-01: bad syntax is 400."""
        self.assertEqual(self.refused(self.signed(request(privacy="none;id")), Flow(PHONE)), 400)
        self.assertEqual(self.refused(request(_from="<sip:a"), Flow(PHONE)), 400)
        self.assertEqual(self.refused(request(authorization="Digest x"), Flow(PHONE)), 400)


class RealmTests(PolicyTestCase):
    """Which realm a request is challenged with, and the digest-uri."""

    def realm(self, message: Request, host: str = PHONE) -> str:
        """The realm of the challenge."""
        error = self.assertRaises(SipError, self.identify, message, Flow(host))
        (realm,) = {value.split('"')[1] for _, value in error.headers}
        return cast("str", realm)

    def test_realm(self) -> None:
        """CLI-02, AUT-18: the domain of the sender, of the Request-URI, else the default."""
        self.assertEqual(self.realm(request()), "example.com")
        self.assertEqual(self.realm(request(_from="<sip:a@Example.NET>;tag=1")), "example.net")
        self.assertEqual(
            self.realm(request(uri="sip:b@example.net", _from="<sip:a@x.org>;tag=1")),
            "example.net",
        )
        self.assertEqual(
            self.realm(request(uri="sip:b@x.org", _from="<tel:+1>;tag=1")), "example.com"
        )
        message = request("REGISTER", "sip:example.net", to="<sip:a@example.net>")
        self.assertEqual(self.realm(message), "example.net")

    def test_other_realm(self) -> None:
        """AUT-18: credentials of another realm of ours do not count."""
        message = self.signed(request(), realm="example.net")
        self.assertEqual(self.refused(message, Flow(PHONE)), 401)

    def test_alias(self) -> None:
        """CLI-13: a numeric address stands for its domain, in the realm and in the From."""
        message = request(_from="sip:alice@192.0.2.1;tag=1")
        self.assertEqual(self.realm(message), "example.com")
        found = self.from_phone(self.signed(request(_from="sip:alice@192.0.2.1;tag=1")))
        self.assertEqual(found.uri, "sip:alice@example.com")
        self.assertEqual(self.realm(request(_from="<sip:a@[::1]>;tag=1")), "example.net")

    def test_digest_uri(self) -> None:
        """AUT-05: the Request-URI by URI comparison or, outside a dialog, the To."""
        for uri in ("sip:bob@example.com", "sip:%62ob@EXAMPLE.com"):
            self.from_phone(self.signed(request(), uri=uri))
        rewritten = request(uri="sip:bob@192.0.2.99:5061;transport=tcp")
        self.from_phone(self.signed(rewritten, uri="sip:bob@example.com"))
        inside = request(uri="sip:x@192.0.2.99", to="<sip:bob@example.com>;tag=2")
        self.assertEqual(
            self.refused(self.signed(inside, uri="sip:bob@example.com"), Flow(PHONE)), 400
        )
        for uri in ("sip:other@example.com", "rubbish"):
            self.assertEqual(self.refused(self.signed(request(), uri=uri), Flow(PHONE)), 400)


class AgentTests(PolicyTestCase):
    """Clients that take no challenge but MD5 (CLI-02)."""

    def challenges(self, agent: str) -> list[str]:
        """The algorithms that a phone with this User-Agent is challenged for."""
        message = request()
        if agent:
            message.set("User-Agent", agent)
        error: SipError = self.assertRaises(SipError, self.identify, message, Flow(PHONE))
        self.assertEqual(error.status, 401)
        return [value.partition("algorithm=")[2].partition(",")[0] for _, value in error.headers]

    def test_named_agents_get_one_challenge(self) -> None:
        """By the beginning of User-Agent, whatever its case; all others get every one (AUT-02)."""
        self.assertEqual(self.challenges("oldphone v1.0"), ["MD5"])
        for agent in ("", "NewPhone", "My OldPhone"):
            self.assertEqual(self.challenges(agent), ["SHA-256", "MD5"], agent)

    def test_md5_must_be_offered(self) -> None:
        """Where MD5 is not offered nobody gets it."""
        self.authenticator = DigestAuthenticator(
            self.source, b"0123456789abcdef", algorithms=["SHA-256"]
        )
        self.policy = self.make("digest")
        self.assertEqual(self.challenges("OldPhone"), ["SHA-256"])


class ModeTests(PolicyTestCase):
    """AUT-01: how a listening point identifies."""

    def test_digest_everybody(self) -> None:
        """AUT-01 digest: peers are challenged as well, and what they assert is removed."""
        self.policy = self.make("digest")
        message = request(p_asserted_identity="<sip:c@x.org>")
        self.assertEqual(self.refused(message), 401)
        self.assertNotIn("p-asserted-identity", message)
        self.assertFalse(self.policy.trusted(cast("Any", Flow())))

    def test_none(self) -> None:
        """AUT-01 none: the From is believed, and says so."""
        self.policy = self.make("none")
        found = self.identify(request(p_asserted_identity="<sip:c@x.org>"), Flow(PHONE))
        self.assertEqual(found, Identity(("sip:alice@example.com",), "Alice", False, "none"))
        found = self.identify(request(_from=ANONYMOUS))
        self.assertEqual((found.uris, found.anonymous), ((), True))
        self.assertTrue(self.identify(request(privacy="id")).anonymous)
        self.assertEqual(self.identify(request(_from="<http://x>;tag=1")).uris, ())  # TOR-35

    def test_trusted(self) -> None:
        """IMS-09: whom requests of ours may carry identities to."""
        for mode, expected in (("trust", True), ("both", True), ("digest", False), ("none", False)):
            policy = self.make(mode)
            self.assertEqual(policy.trusted(cast("Any", Flow())), expected)
            self.assertFalse(policy.trusted(cast("Any", Flow(PHONE))))

    def test_listening_points(self) -> None:
        """AUT-01: each listening point has a mode of its own, a wildcard for all addresses."""
        self.policy.set_mode(cast("Any", Point("UDP", "192.0.2.1", "192.0.2.1:5060")), "none")
        self.policy.set_mode(cast("Any", Point("TCP", "0.0.0.0", "192.0.2.1:5070")), "trust")
        self.policy.set_mode(cast("Any", Point("TCP", "::", "[2001:db8::1]:5070")), "none")

        def at(protocol: str, sent_by: str) -> Flow:
            return Flow(PHONE, protocol=protocol, sent_by=sent_by)

        self.assertEqual(self.identify(request(), at("UDP", "192.0.2.1:5060")).source, "none")
        self.assertEqual(self.refused(request(), at("TCP", "192.0.2.1:5070")), 403)
        self.assertEqual(self.refused(request(), at("TCP", "10.0.0.1:5070")), 403)
        self.assertEqual(self.identify(request(), at("TCP", "[::1]:5070")).source, "none")
        self.assertEqual(self.refused(request(), at("TCP", "192.0.2.1:5060")), 401)
        self.assertEqual(self.refused(request(), at("UDP", "192.0.2.2:5060")), 401)

    def test_settings(self) -> None:
        """Unknown modes, and Digest without accounts, are refused when configured."""
        self.assertRaises(ValueError, self.make, "open")
        self.assertRaises(ValueError, IdentityPolicy, TrustPolicy(), self.domains)
        policy = IdentityPolicy(TrustPolicy(), self.domains, mode="trust")
        point = cast("Any", Point("UDP", "::", "[::1]:5060"))
        self.assertRaises(ValueError, policy.set_mode, point, "both")


class PrivacyTests(SynchronousTestCase):
    """The Privacy header and the anonymous forms."""

    def test_values(self) -> None:
        """IMS-06: a semicolon list without case; unknown values are tolerated."""
        self.assertEqual(parse_privacy("Header; id;x-y"), {"header", "id", "x-y"})
        self.assertEqual(parse_privacy("none"), {"none"})
        self.assertEqual(parse_privacy("id;critical"), {"id", "critical"})

    def test_malformed(self) -> None:
        """IMS-06: each value once, none alone, critical only after others."""
        for value in ("id;id", "none;id", "id;none", "critical", "critical;id", "id;", ""):
            self.assertRaises(ParseError, parse_privacy, value)

    def test_critical(self) -> None:
        """IMS-07: only an unknown type that is critical is refused."""
        check_critical(frozenset(("id", "critical")))
        check_critical(frozenset(("x",)))
        self.assertRaises(SipError, check_critical, frozenset(("x", "critical")))

    def test_anonymous_forms(self) -> None:
        """IMS-08: the host decides."""
        for uri in (
            "sip:anonymous@anonymous.invalid",
            "sip:thisis@ANONYMOUS.invalid:5060;x=y",
            "sips:anonymous.invalid",
        ):
            self.assertTrue(is_anonymous(uri))
        for uri in (
            "sip:anonymous@example.com",
            "sip:anonymous.invalid@example.com",
            "sip:a@x.anonymous.invalid",
            "tel:+1;phone-context=anonymous.invalid",
            "anonymous.invalid",
        ):
            self.assertFalse(is_anonymous(uri))

    def test_outgoing_trusted(self) -> None:
        """IMS-09, IMS-10: toward a trusted peer our identity is asserted, nothing preferred."""
        message = request(
            "NOTIFY", p_asserted_identity="<sip:old@x.org>", p_preferred_identity="<sip:p@x.org>"
        )
        assert_identity(message, ("sip:a@x.org", "sip:b@x.org", "tel:+1"), True, "A B")
        self.assertEqual(
            message.values("P-Asserted-Identity"), ["A B <sip:a@x.org>", "A B <tel:+1>"]
        )
        self.assertNotIn("p-preferred-identity", message)
        assert_identity(message, (), True)
        self.assertNotIn("p-asserted-identity", message)

    def test_outgoing_untrusted(self) -> None:
        """IMS-09: toward all others no header of the trust domain goes out."""
        fields = {name.replace("-", "_"): "<sip:c@x.org>" for name in PRIVATE_HEADERS}
        message = request("NOTIFY", **fields, p_preferred_identity="<sip:p@x.org>")
        assert_identity(message, ("sip:a@x.org",), False)
        self.assertEqual(set(message.headers), {"from", "to", "call-id", "cseq"})


class DomainsTests(SynchronousTestCase):
    """The served domains."""

    def test_served(self) -> None:
        """Names are compared without case, final dot and brackets."""
        domains = Domains(["Example.com"], {"[::1]": "example.COM", "x.org": "not.served"})
        self.assertEqual(domains.served("EXAMPLE.com."), "example.com")
        self.assertEqual(domains.served("::1"), "example.com")
        self.assertIsNone(domains.served("x.org"))
        self.assertRaises(ValueError, Domains, [])

    def test_canonical(self) -> None:
        """CLI-13: an alias is replaced, everything else is the canonical URI."""
        domains = Domains(["example.com"], {"192.0.2.1": "example.com", "::1": "example.com"})
        for uri, expected in (
            ("sip:a@192.0.2.1:5060;transport=tcp", "sip:a@example.com"),
            ("sips:a@[::1]", "sip:a@example.com"),
            ("pres:a@Example.com", "sip:a@example.com"),
            ("sip:a@x.org", "sip:a@x.org"),
            ("sip:192.0.2.1", "sip:example.com"),
            ("tel:+1-5", "tel:+15"),
        ):
            self.assertEqual(domains.canonical(uri), expected)
        self.assertRaises(ParseError, domains.canonical, "http://192.0.2.1")

    def test_domain_of(self) -> None:
        """The served domain of a URI, if any."""
        domains = Domains(["example.com", "::2"])
        self.assertEqual(domains.domain_of("sip:a@example.com"), "example.com")
        self.assertEqual(domains.domain_of("sip:a@[::2]:5060"), "::2")
        for uri in ("sip:a@x.org", "tel:+1", "rubbish", "http://example.com"):
            self.assertIsNone(domains.domain_of(uri))


class PropertyTests(PolicyTestCase):
    """Whatever arrives."""

    TEXTS = st.sampled_from(
        [
            "<sip:alice@example.com>;tag=1",
            ANONYMOUS,
            "<sip:a@x.org>, <tel:+1>",
            "Digest realm=",
            'Digest realm="example.com", nonce="", uri="", response="", username=""',
            "id;critical",
            "none",
            "",
            '"',
            "\udcff",
        ]
    )
    NAMES = st.sampled_from(
        [
            "from",
            "to",
            "privacy",
            "authorization",
            "proxy-authorization",
            "p-asserted-identity",
            "p-preferred-identity",
        ]
    )

    @settings(max_examples=150, deadline=None)
    @given(
        st.dictionaries(NAMES, TEXTS),
        st.sampled_from(["trust", "both", "digest", "none"]),
        st.booleans(),
    )
    def test_answer_or_identity(self, fields: dict[str, str], mode: str, inside: bool) -> None:
        """IMS-01: only trusted peers are believed; all else is 400, 401, 403 or 500."""
        message = request()
        for name, value in fields.items():
            message.headers[name] = [value]
        self.policy = self.make(mode)
        try:
            found = self.identify(message, Flow(SCSCF if inside else PHONE))
        except SipError as error:
            assert error.status in (400, 401, 403, 500)
        else:
            assert found.source == "none" if mode == "none" else inside and mode != "digest"
