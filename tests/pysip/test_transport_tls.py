"""Tests of :mod:`pysip.transport.tls`, ``identity`` and ``credentials``."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pysip.transport.credentials import (
    Credentials,
    CredentialsError,
    TlsSettings,
    load_credentials,
    load_trust_roots,
)
from pysip.transport.identity import (
    certificate_addresses,
    certificate_names,
    identity_asked,
    is_for_sip,
)
from pysip.transport.stream import StreamSettings
from pysip.transport.tls import TlsFlow, TlsTransport
from tests.certificates import Authority, Issued, issue, make_ca
from tests.pysip.transports import Inbox, Listener, message

if TYPE_CHECKING:
    from collections.abc import Callable

SIP_DOMAIN = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.20")
HOST = "127.0.0.1"


def certificate(issued: Issued) -> x509.Certificate:
    """The certificate in a file."""
    return x509.load_pem_x509_certificate(Path(issued.certificate).read_bytes())


class IdentityTests(SynchronousTestCase):
    """RFC 5922 section 7.1 and 7.2."""

    def setUp(self) -> None:
        """Make an authority."""
        self.ca = make_ca()

    def names(self, *sans: str, common_name: str = "cn.example.com") -> set[str]:
        """The identities of a certificate."""
        return set(certificate_names(certificate(issue(self.ca, sans, common_name=common_name))))

    def test_sip_uris(self) -> None:
        """TRN-22: hosts of ``sip:`` URIs, in lower case, whatever port or parameters follow."""
        self.assertEqual(self.names("sip:Example.COM"), {"example.com"})
        self.assertEqual(self.names("SIP:a.example:5061;transport=tls"), {"a.example"})
        self.assertEqual(self.names("sip:a.example", "sip:b.example"), {"a.example", "b.example"})

    def test_other_uris(self) -> None:
        """TRN-22: other schemes, and URIs with a user part, are no SIP domain."""
        self.assertEqual(self.names("sips:example.com", "https://example.com/"), set())
        self.assertEqual(self.names("sip:alice@example.com", "im:example.com"), set())

    def test_dns_names(self) -> None:
        """TRN-22: dNSNames count only if there is no ``sip:`` URI."""
        self.assertEqual(self.names("Example.com", "b.example"), {"example.com", "b.example"})
        self.assertEqual(self.names("sip:a.example", "b.example"), {"a.example"})
        self.assertEqual(self.names("sip:bob@a.example", "b.example"), {"b.example"})

    def test_common_name(self) -> None:
        """TRN-22: the CN counts only without any subjectAltName, and if it is a DNS name."""
        self.assertEqual(self.names(), {"cn.example.com"})
        self.assertEqual(self.names("192.0.2.1"), set())
        self.assertEqual(self.names(common_name="Example Ltd."), set())

    def test_wildcards_match_nothing(self) -> None:
        """TRN-22: a wildcard stays itself, no suffix is matched."""
        names = self.names("*.example.com", ".example.net")
        self.assertNotIn("a.example.com", names)
        self.assertNotIn("example.com", names)
        self.assertIn(identity_asked("EXAMPLE.com.", HOST), self.names("example.com"))

    def test_addresses(self) -> None:
        """Numeric hosts are proved by iPAddress entries only."""
        made = certificate(issue(self.ca, ["192.0.2.1", "2001:db8::1", "a.example"]))
        self.assertEqual(certificate_addresses(made), {"192.0.2.1", "2001:db8::1"})
        self.assertEqual(certificate_names(made), {"a.example"})
        self.assertEqual(certificate_addresses(certificate(issue(self.ca))), frozenset())

    def test_asked(self) -> None:
        """Without a name the address itself has to be proved."""
        self.assertEqual(identity_asked("", "192.0.2.1"), "192.0.2.1")
        self.assertEqual(identity_asked("[2001:db8::1]", "2001:db8::1"), "2001:db8::1")

    def test_usage(self) -> None:
        """RFC 5280 4.2.1.12, RFC 5924: the extended key usage must allow it."""

        def allowed(*usages: x509.ObjectIdentifier, server: bool = True) -> bool:
            return is_for_sip(certificate(issue(self.ca, usages=usages)), server=server)

        self.assertTrue(allowed())
        self.assertTrue(allowed(SIP_DOMAIN))
        self.assertTrue(allowed(SIP_DOMAIN, server=False))
        self.assertTrue(allowed(ExtendedKeyUsageOID.SERVER_AUTH))
        self.assertFalse(allowed(ExtendedKeyUsageOID.SERVER_AUTH, server=False))
        self.assertFalse(allowed(ExtendedKeyUsageOID.CODE_SIGNING))


class CredentialsTests(SynchronousTestCase):
    """Files, and what is said about bad ones."""

    def setUp(self) -> None:
        """Make a good pair."""
        self.ca = make_ca()
        self.mine = issue(self.ca, ["sip:example.com"])

    def refused(self, certificate: str, key: str = "", **options: Any) -> str:
        """The text of the error."""
        with self.assertRaises(CredentialsError) as caught:
            load_credentials(certificate, key, **options)
        return str(caught.exception)

    def file(self, data: bytes) -> str:
        """A file with ``data``."""
        path = self.mktemp()
        Path(path).write_bytes(data)
        return path

    def test_good(self) -> None:
        """Certificate and key from two files or one, with what the certificate proves."""
        found = load_credentials(self.mine.certificate, self.mine.key)
        self.assertEqual(found.names, {"example.com"})
        self.assertGreater(found.seconds_left(), 6 * 86400)
        self.assertNotIn("key", repr(found))
        both = Path(self.mine.certificate).read_bytes() + Path(self.mine.key).read_bytes()
        self.assertEqual(load_credentials(self.file(both)).names, {"example.com"})

    def test_chain(self) -> None:
        """Intermediate certificates follow ours in the file."""
        chain = Path(self.mine.certificate).read_bytes() + Path(self.ca.file).read_bytes()
        found = load_credentials(self.file(chain), self.mine.key)
        self.assertEqual(found.chain, (self.ca.certificate,))

    def test_encrypted_key(self) -> None:
        """An encrypted key needs its password, and the error says so."""
        locked = issue(self.ca, password=b"secret")
        self.assertIn("encrypted", self.refused(locked.certificate, locked.key))
        self.assertIn("password", self.refused(locked.certificate, locked.key, password=b"no"))
        self.assertIn(
            "encrypted", self.refused(self.mine.certificate, self.mine.key, password=b"no")
        )
        load_credentials(locked.certificate, locked.key, password=b"secret")

    def test_bad_files(self) -> None:
        """Each error names the file, the fault and the remedy."""
        mine, other = self.mine, issue(self.ca)
        junk = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        bad_key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        for file, key, *words in (
            ("/nowhere/c.pem", mine.key, "/nowhere/c.pem", "no such file", "create"),
            (mine.certificate, "/nowhere/k.pem", "/nowhere/k.pem", "no such file"),
            (self.file(b"\x30\x82"), mine.key, "no PEM certificate", "openssl x509"),
            (self.file(junk), mine.key, "cannot be read", "anew"),
            (mine.certificate, self.file(b"x"), "no PEM private key", "BEGIN PRIVATE KEY"),
            (mine.certificate, self.file(bad_key), "private key cannot be read"),
            (mine.certificate, other.key, "does not belong", mine.certificate, other.key),
            (os.getcwd(), mine.key, os.getcwd(), "let the user of this service read it"),
        ):
            text = self.refused(file, key)
            for word in words:
                self.assertIn(word, text)

    def test_trust_roots(self) -> None:
        """Several files, several certificates each."""
        second = make_ca()
        both = Path(self.ca.file).read_bytes() + Path(second.file).read_bytes()
        self.assertEqual(len(load_trust_roots([self.file(both), self.ca.file])), 3)
        with self.assertRaises(CredentialsError):
            load_trust_roots([self.mine.key])


class TlsFlowTests(SynchronousTestCase):
    """Deadlines, on a clock."""

    def setUp(self) -> None:
        """A transport in memory."""
        ca = make_ca()
        mine = issue(ca)
        self.clock = MemoryReactorClock()
        self.transport = TlsTransport(
            self.clock,  # type: ignore[arg-type]
            HOST,
            5061,
            TlsSettings(
                credentials=load_credentials(mine.certificate, mine.key),
                trust_roots=load_trust_roots([ca.file]),
            ),
        )

    def test_handshake_deadline(self) -> None:
        """TRN-18: a handshake that takes 10 s ends the connection, in either direction."""
        for flow in (self.transport.accept((HOST, 1)), self.transport.flow_to((HOST, 2))):
            assert isinstance(flow, TlsFlow)
            listener = Listener(flow)
            wire = StringTransport()
            flow.makeConnection(wire)
            self.clock.advance(9.9)
            self.assertFalse(wire.disconnected)
            self.clock.advance(0.2)
            self.assertTrue(wire.disconnected)
            self.clock.advance(0)
            self.assertEqual(listener.errors, ["TLS handshake takes too long"])

    def test_nothing_before_the_handshake(self) -> None:
        """TRN-22: no octet of a message leaves before the peer is verified."""
        flow = self.transport.flow_to((HOST, 2), "example.com")
        assert isinstance(flow, TlsFlow)
        wire = StringTransport()
        flow.send(message())
        flow.makeConnection(wire)
        flow.send(message())
        self.assertEqual(wire.value(), b"")

    def test_inbound_before_the_handshake(self) -> None:
        """A connection that is not secured yet is offered to nobody."""
        flow = self.transport.accept((HOST, 1))
        assert flow is not None
        flow.makeConnection(StringTransport())
        self.assertIsNot(self.transport.flow_to((HOST, 1)), flow)


class TlsTests(TestCase):
    """Handshakes on loopback."""

    def setUp(self) -> None:
        """Make an authority."""
        self.ca = make_ca()

    def settings(self, *sans: str, ca: Authority | None = None, **options: Any) -> TlsSettings:
        """Settings with a certificate of ``ca`` (ours if None)."""
        made = {
            name: options.pop(name) for name in ("days", "usages", "common_name") if name in options
        }
        mine = issue(ca or self.ca, sans, **made)
        options.setdefault("trust_roots", load_trust_roots([self.ca.file]))
        return TlsSettings(credentials=load_credentials(mine.certificate, mine.key), **options)

    async def started(self, tls: TlsSettings, **settings: Any) -> TlsTransport:
        """A transport with an Inbox."""
        transport = TlsTransport(
            reactor,  # type: ignore[arg-type]
            HOST,
            0,
            tls,
            settings=StreamSettings(**settings),
        )
        await transport.start(Inbox())
        self.addCleanup(transport.stop)
        return transport

    async def until(self, true: Callable[[], object]) -> None:
        """Let the network work until ``true()``."""
        for _ in range(400):
            if true():
                return
            await deferLater(reactor, 0.005)
        self.fail("it did not happen within two seconds")

    async def sent(self, client: TlsTransport, server: TlsTransport, name: str) -> str:
        """Cause of the failure of a message to ``name``; empty when it arrives."""
        flow = client.flow_to(server.local, name)
        listener = Listener(flow)
        inbox = server.receiver
        assert isinstance(inbox, Inbox)
        count = len(inbox.requests)
        flow.send(message())
        await self.until(lambda: listener.errors or len(inbox.requests) > count)
        flow.listeners.discard(listener)
        return listener.errors[0] if listener.errors else ""

    def test_names(self) -> Deferred[None]:
        """TRN-22: the domain asked for must be in the certificate, in its entirety."""

        async def go() -> None:
            server = await self.started(self.settings("sip:example.com", "other.example"))
            client = await self.started(self.settings("client.example"))
            self.assertEqual(await self.sent(client, server, "Example.COM"), "")
            for name in ("other.example", "a.example.com", "com", "", HOST):
                self.assertEqual(
                    await self.sent(client, server, name), "certificate does not prove the domain"
                )
            self.assertEqual(len(server.receiver.requests), 1)  # type: ignore[union-attr]

        return Deferred.fromCoroutine(go())

    def test_wildcard_certificate(self) -> Deferred[None]:
        """TRN-22: a wildcard proves nothing."""

        async def go() -> None:
            server = await self.started(self.settings("*.example.com"))
            client = await self.started(self.settings())
            self.assertIn("does not prove", await self.sent(client, server, "a.example.com"))

        return Deferred.fromCoroutine(go())

    def test_connections_by_name(self) -> Deferred[None]:
        """RFC 5922 section 7.3: one address, two domains: two connections."""

        async def go() -> None:
            server = await self.started(self.settings("sip:a.example", "sip:b.example"))
            client = await self.started(self.settings())
            self.assertEqual(await self.sent(client, server, "a.example"), "")
            self.assertEqual(await self.sent(client, server, "b.example"), "")
            one = client.flow_to(server.local, "a.example")
            two = client.flow_to(server.local, "b.example")
            self.assertIsNot(one, two)
            self.assertEqual(one.names, {"a.example", "b.example"})

        return Deferred.fromCoroutine(go())

    def test_untrusted(self) -> Deferred[None]:
        """TRN-22: a chain to no configured trust anchor, or an expired one, fails at once."""

        async def go() -> None:
            client = await self.started(self.settings())
            stranger = await self.started(self.settings("sip:example.com", ca=make_ca()))
            self.assertIn("TLS failure", await self.sent(client, stranger, "example.com"))
            expired = await self.started(self.settings("sip:example.com", days=-1))
            self.assertIn("verify failed", await self.sent(client, expired, "example.com"))
            wrong = await self.started(
                self.settings("sip:example.com", usages=[ExtendedKeyUsageOID.CODE_SIGNING])
            )
            self.assertIn("TLS failure", await self.sent(client, wrong, "example.com"))
            self.assertEqual(stranger.receiver.requests, [])  # type: ignore[union-attr]

        return Deferred.fromCoroutine(go())

    def test_sip_usage(self) -> Deferred[None]:
        """RFC 5924: a certificate for SIP domains only is good in both roles."""

        async def go() -> None:
            server = await self.started(self.settings("sip:example.com", usages=[SIP_DOMAIN]))
            client = await self.started(self.settings("sip:client.example", usages=[SIP_DOMAIN]))
            self.assertEqual(await self.sent(client, server, "example.com"), "")

        return Deferred.fromCoroutine(go())

    def test_client_names(self) -> Deferred[None]:
        """TRN-23: a verified client certificate shows in ``names``; without one it is empty."""

        async def go() -> None:
            server = await self.started(self.settings("sip:example.com"))
            peer = await self.started(self.settings("sip:scscf.example.net"))
            self.assertEqual(await self.sent(peer, server, "example.com"), "")
            [(_, flow)] = server.receiver.requests  # type: ignore[union-attr]
            self.assertEqual(flow.names, {"scscf.example.net"})
            other = await self.started(self.settings("sip:example.com", client_certificates="none"))
            self.assertEqual(await self.sent(peer, other, "example.com"), "")
            [(_, flow)] = other.receiver.requests  # type: ignore[union-attr]
            self.assertEqual(flow.names, frozenset())

        return Deferred.fromCoroutine(go())

    def test_client_certificate_of_a_stranger(self) -> Deferred[None]:
        """TRN-23: a client certificate that cannot be verified ends the connection."""

        async def go() -> None:
            server = await self.started(self.settings("sip:example.com"))
            stranger = await self.started(self.settings("sip:evil.example", ca=make_ca()))
            flow = stranger.flow_to(server.local, "example.com")
            listener = Listener(flow)
            flow.send(message())
            await self.until(lambda: listener.errors)
            self.assertEqual(server.receiver.requests, [])  # type: ignore[union-attr]

        return Deferred.fromCoroutine(go())

    def test_without_client_certificate(self) -> Deferred[None]:
        """A client without certificate is served unless one is required (TRN-23)."""

        async def go() -> None:
            server = await self.started(self.settings("sip:example.com"))
            strict = await self.started(
                self.settings("sip:example.com", client_certificates="require")
            )
            client = await self.started(self.settings())
            bare = SSL.Context(SSL.TLS_METHOD)
            client.client_context = bare
            self.assertEqual(await self.sent(client, server, "example.com"), "")
            flow = client.flow_to(strict.local, "example.com")
            listener = Listener(flow)
            await self.until(lambda: listener.errors)
            self.assertEqual(strict.receiver.requests, [])  # type: ignore[union-attr]

        return Deferred.fromCoroutine(go())

    def test_old_versions(self) -> Deferred[None]:
        """TRN-02, RFC 8996: nothing below TLS 1.2 is spoken."""

        async def go() -> None:
            server = await self.started(self.settings("sip:example.com"))
            client = await self.started(self.settings())
            old = SSL.Context(SSL.TLS_METHOD)
            old.set_min_proto_version(SSL.TLS1_VERSION)
            old.set_max_proto_version(SSL.TLS1_1_VERSION)
            old.set_cipher_list(b"ALL:@SECLEVEL=0")
            client.client_context = old
            self.assertIn("TLS failure", await self.sent(client, server, "example.com"))
            client.client_context = new = self.settings().client_context()
            new.set_max_proto_version(SSL.TLS1_2_VERSION)
            self.assertEqual(await self.sent(client, server, "example.com"), "")

        return Deferred.fromCoroutine(go())

    def test_server_name_indication(self) -> Deferred[None]:
        """TRN-22: the client says in its hello which domain it wants; never an address."""

        async def go() -> None:
            server = await self.started(self.settings("sip:example.com", HOST))
            client = await self.started(self.settings())
            seen: list[bytes | None] = []
            server.server_context.set_tlsext_servername_callback(
                lambda connection: seen.append(connection.get_servername())
            )
            self.assertEqual(await self.sent(client, server, "example.com"), "")
            self.assertIn("does not prove", await self.sent(client, server, "192.0.2.77"))
            self.assertEqual(await self.sent(client, server, ""), "")
            self.assertEqual(seen, [b"example.com", None, None])

        return Deferred.fromCoroutine(go())

    def test_reload(self) -> Deferred[None]:
        """New certificates hold from the next connection on; open ones stay."""

        async def go() -> None:
            server = await self.started(self.settings("sip:old.example"))
            client = await self.started(self.settings())
            self.assertEqual(await self.sent(client, server, "old.example"), "")
            server.reload(self.settings("sip:new.example"))
            self.assertEqual(await self.sent(client, server, "old.example"), "")
            self.assertEqual(await self.sent(client, server, "new.example"), "")

        return Deferred.fromCoroutine(go())

    def test_phone(self) -> Deferred[None]:
        """CLI-08: a phone's connection is found by its address, with or without that as name.

        For any other name it is not used: the phone has proved none (TRN-20).
        """

        async def go() -> None:
            server = await self.started(self.settings("sip:example.com"))
            phone = await self.started(self.settings())
            self.assertEqual(await self.sent(phone, server, "example.com"), "")
            [(_, flow)] = server.receiver.requests  # type: ignore[union-attr]
            self.assertIs(server.flow_to(flow.remote), flow)
            self.assertIs(server.flow_to(flow.remote, HOST), flow)
            other = server.flow_to(flow.remote, "bank.example")
            self.assertIsNot(other, flow)

        return Deferred.fromCoroutine(go())

    def test_no_tls_at_all(self) -> Deferred[None]:
        """Octets that are no TLS end the connection, and nothing else."""

        async def go() -> None:
            server = await self.started(self.settings("sip:example.com"))
            with socket.create_connection(server.local) as plain:
                plain.setblocking(False)
                plain.sendall(message())

                def closed() -> bool:
                    try:
                        while plain.recv(1000):
                            pass
                    except BlockingIOError:
                        return False
                    except ConnectionResetError:
                        pass
                    return True

                await self.until(closed)
            self.assertEqual(server.receiver.requests, [])  # type: ignore[union-attr]
            self.assertEqual(server.received, 0)

        return Deferred.fromCoroutine(go())

    def test_no_room(self) -> Deferred[None]:
        """A connection for which there is no room is closed, and the port goes on."""

        async def go() -> None:
            server = await self.started(self.settings("sip:example.com"), max_per_peer=1)
            clients = [await self.started(self.settings()) for _ in range(2)]
            self.assertEqual(await self.sent(clients[0], server, "example.com"), "")
            self.assertNotEqual(await self.sent(clients[1], server, "example.com"), "")
            self.assertEqual(await self.sent(clients[0], server, "example.com"), "")
            self.assertEqual(server.refused, 1)

        return Deferred.fromCoroutine(go())

    def test_system_roots(self) -> None:
        """Without configured roots those of the system are used."""
        settings = self.settings(trust_roots=None)
        self.assertIsInstance(settings.client_context(), SSL.Context)
        self.assertIsInstance(settings.credentials, Credentials)
