"""Tests of :mod:`xcap.http.secure`: TLS between two contexts, without sockets."""

from __future__ import annotations

import contextlib
from typing import Any

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pysip.transport.credentials import (
    Credentials,
    TlsSettings,
    load_credentials,
    load_trust_roots,
)
from tests.certificates import Authority, Issued, issue, make_ca
from tests.pysip.test_transport_tls import certificate
from xcap.http.secure import Endpoint, ServerConnection, client_names

CLIENT = "sip:alice@example.com"


def shake(server: SSL.Connection, client: SSL.Connection) -> None:
    """Exchange octets until both have what they want.

    :raises OpenSSL.SSL.Error: a side refuses; the first that does.
    """
    for _ in range(10):
        for one, other in ((client, server), (server, client)):
            failure: SSL.Error | None = None
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                failure = error
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(1 << 16))
            if failure is not None:
                raise failure
    # tickets of TLS 1.3 come with the first octets
    server.send(b"x")
    client.bio_write(server.bio_read(1 << 16))
    client.recv(10)


class SecureCase(SynchronousTestCase):
    """An authority and a server."""

    def setUp(self) -> None:
        """Issue a certificate."""
        self.clock = Clock()
        self.ca: Authority = make_ca()
        self.own: Issued = issue(self.ca, ["xcap.example.com"])

    def tls(self, own: Issued | None = None, clients: str = "none") -> TlsSettings:
        """Settings of a server."""
        own = own or self.own
        return TlsSettings(
            credentials=load_credentials(own.certificate, own.key),
            trust_roots=load_trust_roots([self.ca.file]),
            client_certificates=clients,  # type: ignore[arg-type]
        )

    def endpoint(
        self, tls: TlsSettings | None = None, ciphers: str = "modern", **others: TlsSettings
    ) -> Endpoint:
        """A listening port's certificates."""
        by_name = {name.replace("_", "."): settings for name, settings in others.items()}
        return Endpoint(tls or self.tls(), by_name, ciphers, self.clock, 3600.0)

    def client(
        self,
        *,
        versions: tuple[int, int] = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION),
        ciphers: str = "",
        own: Issued | None = None,
    ) -> SSL.Context:
        """What a client offers."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(versions[0])
        context.set_max_proto_version(versions[1])
        if ciphers:
            context.set_cipher_list(ciphers.encode())
        if own is not None:
            context.use_certificate_file(own.certificate)
            context.use_privatekey_file(own.key)
        return context

    def connect(
        self,
        endpoint: Endpoint,
        context: SSL.Context | None = None,
        *,
        name: str = "",
        session: SSL.Session | None = None,
    ) -> tuple[ServerConnection, SSL.Connection]:
        """Shake hands; (server, client)."""
        server = endpoint.serverConnectionForTLS(None)  # type: ignore[arg-type]
        client = SSL.Connection(context or self.client(), None)
        client.set_connect_state()
        if name:
            client.set_tlsext_host_name(name.encode())
        if session is not None:
            client.set_session(session)
        shake(server, client)
        return server, client

    def shown(self, endpoint: Endpoint, name: str = "") -> Any:
        """The certificate that a client is shown."""
        _, client = self.connect(endpoint, name=name)
        found = client.get_peer_certificate()
        assert found is not None
        return found.to_cryptography()


class PolicyTests(SecureCase):
    """Versions and suites."""

    def test_versions(self) -> None:
        """AGP-06: TLS 1.2 and 1.3 are spoken."""
        for version, name in ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")):
            server, _ = self.connect(self.endpoint(), self.client(versions=(version, version)))
            self.assertEqual(server.get_protocol_version_name(), name)

    def test_old_versions(self) -> None:
        """AGP-06: TLS 1.0 and 1.1 are refused."""
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            context = self.client(versions=(version, version), ciphers="ALL:@SECLEVEL=0")
            with self.assertRaises(SSL.Error):
                self.connect(self.endpoint(), context)

    def test_suites(self) -> None:
        """AGP-07: with TLS 1.2, ECDHE with AES-GCM or ChaCha20-Poly1305."""
        versions = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
        for suite in ("ECDHE+AESGCM", "ECDHE+CHACHA20"):
            server, _ = self.connect(self.endpoint(), self.client(versions=versions, ciphers=suite))
            self.assertTrue(str(server.get_cipher_name()).startswith("ECDHE-"))

    def test_weak_suites(self) -> None:
        """AGP-07, AGP-13: no other suite is spoken, none with pre-shared keys either."""
        versions = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
        for suite in (
            "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA",
            "ECDHE-ECDSA-AES256-SHA384",
            "AES128-SHA",
            "AES128-GCM-SHA256",
            "aNULL",
            "eNULL",
            "PSK",
        ):
            for profile in ("modern", "compatible"):
                context = self.client(versions=versions, ciphers=f"{suite}:@SECLEVEL=0")
                with self.assertRaises(SSL.Error):
                    self.connect(self.endpoint(ciphers=profile), context)

    def test_profiles(self) -> None:
        """AGP-07: the compatibility profile adds one suite and nothing else."""
        offered = {}
        for profile in ("modern", "compatible"):
            connection = self.endpoint(ciphers=profile).serverConnectionForTLS(
                None  # type: ignore[arg-type]
            )
            offered[profile] = set(connection.get_cipher_list())
        self.assertEqual(offered["compatible"] - offered["modern"], {"AES128-SHA"})
        self.assertEqual(offered["modern"] - offered["compatible"], set())
        for suite in offered["modern"]:
            self.assertTrue(suite.startswith(("ECDHE-", "TLS_")), suite)
            self.assertTrue("GCM" in suite or "CHACHA20" in suite, suite)

    def test_alpn(self) -> None:
        """HTTP/1.1 is agreed on when offered; a client that offers other things may go on."""
        for offered, agreed in (
            ([b"h2", b"http/1.1"], b"http/1.1"),
            ([b"h2"], b""),
            ([], b""),
        ):
            context = self.client()
            if offered:
                context.set_alpn_protos(offered)
            _, client = self.connect(self.endpoint(), context)
            self.assertEqual(client.get_alpn_proto_negotiated(), agreed)


class ResumptionTests(SecureCase):
    """Session tickets."""

    def resumed(
        self, first: Endpoint, second: Endpoint | None = None, wait: float = 0.0, **client: Any
    ) -> list[bool]:
        """Whether each of two connections of a client was resumed."""
        context = self.client(**client)
        server, one = self.connect(first, context)
        session = one.get_session()
        one.shutdown()
        self.clock.advance(wait)
        again, _ = self.connect(second or first, context, session=session)
        return [connection.resumed for connection in (server, again)]

    def test_resumed(self) -> None:
        """AGP-08: sessions are resumed with TLS 1.2 and 1.3."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            self.assertEqual(
                self.resumed(self.endpoint(), versions=(version, version)), [False, True]
            )

    def test_client_certificate(self) -> None:
        """AGP-08: also those with a client certificate, which stays known."""
        own = issue(self.ca, [CLIENT])
        endpoint = self.endpoint(self.tls(clients="require"))
        context = self.client(own=own)
        _, one = self.connect(endpoint, context)
        session = one.get_session()
        one.shutdown()
        server, _ = self.connect(endpoint, context, session=session)
        self.assertTrue(server.resumed)
        found = server.get_peer_certificate()
        assert found is not None
        self.assertEqual(client_names(found.to_cryptography()), (CLIENT,))

    def test_keys_rotate(self) -> None:
        """AGP-08: the keys of tickets are replaced when their time has come."""
        self.assertEqual(self.resumed(self.endpoint(), wait=3599.0), [False, True])
        self.assertEqual(self.resumed(self.endpoint(), wait=3600.0), [False, False])

    def test_keys_of_another(self) -> None:
        """AGP-08: a ticket of another server costs a full handshake, nothing else."""
        self.assertEqual(self.resumed(self.endpoint(), self.endpoint()), [False, False])


class CertificateTests(SecureCase):
    """What the server and the client show."""

    def test_chosen_by_name(self) -> None:
        """AGP-09: the certificate is chosen by SNI; without a known name it is the default."""
        other = issue(self.ca, ["lists.example.org"])
        endpoint = self.endpoint(lists_example_org=self.tls(other))
        own, second = certificate(self.own), certificate(other)
        self.assertEqual(self.shown(endpoint), own)
        self.assertEqual(self.shown(endpoint, "unknown.example.com"), own)
        self.assertEqual(self.shown(endpoint, "Lists.Example.org"), second)

    def test_chain(self) -> None:
        """AGP-09: the chain is sent whole."""
        mine = load_credentials(self.own.certificate, self.own.key)
        chained = Credentials(mine.certificate, (self.ca.certificate,), mine.key)
        tls = TlsSettings(credentials=chained, client_certificates="none")
        _, client = self.connect(self.endpoint(tls))
        self.assertEqual(
            [one.to_cryptography() for one in client.get_peer_cert_chain() or ()],
            [mine.certificate, self.ca.certificate],
        )

    def test_trust_of_the_system(self) -> None:
        """AGP-11: without configured authorities those of the system count."""
        mine = load_credentials(self.own.certificate, self.own.key)
        endpoint = self.endpoint(TlsSettings(credentials=mine))
        self.connect(endpoint)
        with self.assertRaises(SSL.Error):
            self.connect(endpoint, self.client(own=issue(self.ca, [CLIENT])))

    def test_reload(self) -> None:
        """AGP-14: new certificates are used from the next connection on."""
        endpoint = self.endpoint()
        server, client = self.connect(endpoint)
        other = issue(self.ca, ["xcap.example.com"])
        endpoint.reload(self.tls(other), {})
        self.assertEqual(self.shown(endpoint), certificate(other))
        server.send(b"still here")
        client.bio_write(server.bio_read(1 << 16))
        self.assertEqual(client.recv(100), b"still here")

    def test_expiry(self) -> None:
        """AGP-14: the time that is left is that of the certificate that expires first."""
        soon = issue(self.ca, ["a.example.org"], days=2)
        endpoint = self.endpoint(a_example_org=self.tls(soon))
        self.assertLess(abs(endpoint.seconds_left - 2 * 86400), 60)

    def test_no_client_certificate(self) -> None:
        """AGP-11: a client certificate is asked for as configured."""
        for clients in ("none", "request"):
            server, _ = self.connect(self.endpoint(self.tls(clients=clients)))
            self.assertIsNone(server.get_peer_certificate())
        with self.assertRaises(SSL.Error):
            self.connect(self.endpoint(self.tls(clients="require")))

    def test_foreign_client_certificate(self) -> None:
        """AGP-11: a certificate of an authority that is not trusted is refused."""
        foreign = issue(make_ca(name="Other"), [CLIENT])
        for clients in ("request", "require"):
            with self.assertRaises(SSL.Error):
                self.connect(self.endpoint(self.tls(clients=clients)), self.client(own=foreign))

    def test_expired_client_certificate(self) -> None:
        """AGP-11: an expired certificate is refused."""
        expired = issue(self.ca, [CLIENT], days=-1)
        with self.assertRaises(SSL.Error):
            self.connect(self.endpoint(self.tls(clients="request")), self.client(own=expired))

    def test_client_names(self) -> None:
        """AGP-49: all names in subjectAltName count, the subject does not."""
        shown = certificate(issue(self.ca, ["ap.example.com", "192.0.2.7", CLIENT]))
        self.assertEqual(client_names(shown), (CLIENT, "ap.example.com", "192.0.2.7"))
        self.assertEqual(client_names(certificate(issue(self.ca, common_name="cn.example"))), ())
