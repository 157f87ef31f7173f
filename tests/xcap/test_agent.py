"""HTTP as a client: connections, repetition, redirects, Digest, TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import FakeTransport, IOPump
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysip.transport.credentials import TlsSettings, load_credentials
from tests.certificates import issue, make_ca
from tests.xcap.webserver import CLOSE, SILENCE, Answer, Asked, DigestServer, WebServer
from xcap.agent import AgentSettings, HttpAgent, NoAnswer, Origin, split_uri
from xcap.agenttls import ServerTrust, Trust
from xcap.auth.client import HttpCredentials
from xcap.records import HttpResponse

ROOT = "https://xcap.example.com/"
OK = HttpResponse(200, (("ETag", '"1"'),), b"hi")


class AgentTestCase(SynchronousTestCase):
    """Base with servers in memory."""

    def setUp(self) -> None:
        """An agent, and servers that say hi."""
        self.clock = Clock()
        self.server = WebServer(lambda asked: OK)
        self.agent = self.make()

    def make(self, *servers: str, credentials: HttpCredentials | None = None) -> HttpAgent:
        """An agent."""
        return HttpAgent(self.clock, servers or (ROOT,), credentials, connect=self.server.connect)

    def begin(
        self, method: str = "GET", uri: str = ROOT + "a", body: bytes = b"", **options: Any
    ) -> Deferred[HttpResponse]:
        """Send a request."""
        return Deferred.fromCoroutine(self.agent.request(method, uri, body=body, **options))

    def request(
        self, method: str = "GET", uri: str = ROOT + "a", body: bytes = b"", **options: Any
    ) -> HttpResponse:
        """Send a request that is answered at once."""
        return self.successResultOf(self.begin(method, uri, body, **options))

    def fails(self, kind: str, method: str = "GET", uri: str = ROOT + "a") -> NoAnswer:
        """Send a request that gets no answer."""
        failure = self.failureResultOf(self.begin(method, uri), NoAnswer)
        self.assertEqual(failure.value.kind, kind)
        return failure.value


class UriTests(SynchronousTestCase):
    """Servers and request targets."""

    def test_split(self) -> None:
        """The target of a request is what stands in the URI, octet for octet."""
        for uri, origin, target in (
            ("https://Example.COM/a%5b?b=c", Origin("https", "example.com", 443), "/a%5b?b=c"),
            ("http://h:8080", Origin("http", "h", 8080), "/"),
            ("HTTPS://[2001:db8::1]:1/~~/@x", Origin("https", "2001:db8::1", 1), "/~~/@x"),
        ):
            self.assertEqual(split_uri(uri), (origin, target))

    def test_refused(self) -> None:
        """What is no HTTP URI, or has parts that must not be sent."""
        for uri in (
            "",
            "ftp://h/",
            "https:///a",
            "https://u:p@h/",
            "https://h/a#f",
            "https://h/a b",
            "https://h/\xe4",
            "https://h:0/",
            "https://h:99999/",
            "https://h/\r\nX: y",
        ):
            self.assertRaises(ValueError, split_uri, uri)

    def test_authority(self) -> None:
        """Host leaves the usual port out."""
        self.assertEqual(Origin("https", "h", 443).authority, "h")
        self.assertEqual(Origin("https", "::1", 443).authority, "[::1]")
        self.assertEqual(Origin("https", "h", 8443).authority, "h:8443")


class ConnectionTests(AgentTestCase):
    """XCLI-01, XCLI-09: connections."""

    def test_persistent(self) -> None:
        """XCLI-01: one connection serves one request after the other."""
        for _ in range(3):
            self.assertEqual(self.request().body, b"hi")
        self.assertEqual([asked.connection for asked in self.server.asked], [0, 0, 0])
        self.assertEqual(self.server.asked[0].headers.get("host"), "xcap.example.com")

    def test_parallel(self) -> None:
        """XCLI-01: no more than four requests at the same time."""
        self.server.answer = lambda asked: SILENCE
        waiting = [self.begin() for _ in range(6)]
        self.assertEqual(len(self.server.asked), 4)
        self.server.send(self.server.transports[0], OK)
        self.assertEqual(len(self.server.asked), 5)
        self.assertEqual(len(self.server.transports), 4)
        for deferred in waiting:
            deferred.addErrback(lambda _: None)
            deferred.cancel()

    def test_late(self) -> None:
        """XCLI-09: ten seconds without an answer are enough."""
        self.server.answer = lambda asked: SILENCE
        waiting = self.begin()
        self.clock.advance(9.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.assertEqual(self.failureResultOf(waiting, NoAnswer).value.kind, "late")

    def test_repeated(self) -> None:
        """XCLI-09: an idempotent request is repeated once, on a fresh connection."""
        for method in ("GET", "PUT", "DELETE", "HEAD"):
            self.request()
            used = self.server.asked[-1].connection
            self.server.answer = lambda asked, used=used: CLOSE if asked.connection == used else OK
            self.assertEqual(
                self.request(method, body=b"x" if method == "PUT" else b"").status, 200
            )
            self.assertEqual(self.server.asked[-1].connection, used + 1)
            self.assertEqual(self.server.asked[-1].body, self.server.asked[-2].body)
            self.server.answer = lambda asked: OK

    def test_repeated_once(self) -> None:
        """XCLI-09: not more than once."""
        self.server.answer = lambda asked: CLOSE
        self.fails("reset")
        self.assertEqual(len(self.server.asked), 2)

    def test_not_repeated(self) -> None:
        """XCLI-09: what is not idempotent is not repeated."""
        self.server.answer = lambda asked: CLOSE
        self.fails("reset", "POST")
        self.assertEqual(len(self.server.asked), 1)

    def test_stop(self) -> None:
        """All connections are closed in the end."""
        self.request()
        self.successResultOf(Deferred.fromCoroutine(self.agent.stop()))
        self.assertTrue(self.server.transports[0].over)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RedirectTests(AgentTestCase):
    """XCLI-09: redirects."""

    other = "https://other.example.com:444/"

    def redirect(self, location: str, status: int = 307) -> None:
        """Have everything at /a redirected."""
        answer = HttpResponse(status, (("Location", location),))
        self.server.answer = lambda asked: answer if asked.target == "/a" else OK

    def test_same_server(self) -> None:
        """XCLI-09: a redirect within the server is followed with method and body."""
        for location in ("/b", ROOT + "b", "b"):
            self.redirect(location)
            self.assertEqual(self.request("PUT", body=b"x").status, 200)
            asked = self.server.asked[-1]
            self.assertEqual((asked.method, asked.target, asked.body), ("PUT", "/b", b"x"))

    def test_configured(self) -> None:
        """XCLI-09: one to another configured server is followed."""
        self.agent = self.make(ROOT, self.other)
        self.redirect(self.other + "b")
        self.assertEqual(self.request().status, 200)
        self.assertEqual(self.server.asked[-1].headers.get("host"), "other.example.com:444")

    def test_elsewhere(self) -> None:
        """XCLI-09: one to anywhere else is not, nor to the same host without TLS."""
        for location in (self.other, "http://xcap.example.com/b", "https://xcap.example.com:1/"):
            self.redirect(location)
            self.fails("redirect")
            self.assertEqual(self.server.asked[-1].target, "/a")

    def test_endless(self) -> None:
        """XCLI-09: redirects end some time."""
        answer = HttpResponse(302, (("Location", "/a"),))
        self.server.answer = lambda asked: answer
        self.fails("redirect")
        self.assertEqual(len(self.server.asked), 6)

    def test_nonsense(self) -> None:
        """A Location that is no HTTP URI."""
        for location in ("mailto:x@example.com", "https://u@h/", "/b c"):
            self.redirect(location)
            self.fails("redirect")

    def test_see_other(self) -> None:
        """See Other after a PUT is an answer; after a GET it is followed."""
        self.redirect("/b", 303)
        self.assertEqual(self.request("PUT").status, 303)
        self.assertEqual(self.request().status, 200)

    def test_not_allowed(self) -> None:
        """Requests go to configured servers only."""
        self.fails("redirect", uri=self.other)
        self.assertEqual(self.server.asked, [])


class DigestTests(AgentTestCase):
    """HTTP Digest as a client."""

    def use(self, digest: DigestServer, password: str = "secret") -> None:
        """Meet this server."""
        self.server.answer = digest
        credentials = HttpCredentials("alice", password, random=lambda n: b"r" * n)
        self.agent = self.make(credentials=credentials)

    def test_all(self) -> None:
        """Challenges of every algorithm and quality are answered, the nonce used on."""
        for algorithm in ("MD5", "SHA-256", "SHA-512-256", "MD5-sess", "SHA-256-sess"):
            for qop in ("auth", "auth-int", "auth-int,auth"):
                digest = DigestServer(algorithm, qop)
                self.use(digest)
                uri = ROOT + "~~/list%5b@name=%22a%2Fb%22%5d?xmlns(a=b)"
                self.assertEqual(self.request("PUT", uri, b"body").status, 200)
                self.assertEqual(self.request("GET", uri).status, 200)
                self.assertEqual(digest.counts, [("nonce-1", 1), ("nonce-1", 2)])
                self.assertEqual(digest.refused, 0)

    def test_wrong_password(self) -> None:
        """A refused password is not tried again."""
        digest = DigestServer()
        self.use(digest, "wrong")
        self.assertEqual(self.request().status, 401)
        self.assertEqual(digest.refused, 1)
        self.assertEqual(len(self.server.asked), 2)

    def test_stale(self) -> None:
        """A stale nonce is replaced."""
        digest = DigestServer()
        self.use(digest)
        self.request()
        digest.nonce = "nonce-2"
        self.assertEqual(self.request().status, 200)
        self.assertEqual(digest.counts[-1], ("nonce-2", 1))

    def test_stale_for_ever(self) -> None:
        """A server that finds everything stale is given up."""
        digest = DigestServer()
        self.use(digest)
        self.server.answer = lambda asked: digest.challenge(stale=True)
        self.assertEqual(self.request().status, 401)
        self.assertLess(len(self.server.asked), 6)

    def test_next_nonce(self) -> None:
        """The next nonce of Authentication-Info is used."""
        for algorithm in ("SHA-256", "SHA-256-sess"):
            digest = DigestServer(algorithm)
            self.use(digest)
            digest.next = "nonce-2"
            self.request()
            self.assertEqual(self.request().status, 200)
            self.assertEqual(digest.counts, [("nonce-1", 1), ("nonce-2", 1)])

    def test_proof(self) -> None:
        """AGP-38: a server that does not know the password is not believed."""
        for qop in ("auth", "auth-int"):
            for proof in ("0" * 64, "", "\xe4"):
                digest = DigestServer(qop=qop)
                digest.proof = lambda _, proof=proof: proof
                self.use(digest)
                self.fails("unproven")

    def test_changed_body(self) -> None:
        """AGP-38: with auth-int nobody can change the answer on the way."""
        digest = DigestServer(qop="auth-int")

        def changed(asked: Asked) -> Answer:
            answer = digest(asked)
            assert isinstance(answer, HttpResponse)
            if answer.status != 200:
                return answer
            return HttpResponse(200, answer.headers, b"other")

        self.use(digest)
        self.server.answer = changed
        self.fails("unproven")

    def test_no_proof(self) -> None:
        """Authentication-Info may be missing, or have no proof."""
        digest = DigestServer()
        for headers in ((), (("Authentication-Info", 'nextnonce="n"'),)):
            self.use(digest)
            answer = HttpResponse(200, headers)
            self.server.answer = lambda asked, answer=answer: (
                answer if asked.headers.get("authorization") else digest.challenge()
            )
            self.assertEqual(self.request().status, 200)

    def test_bad_info(self) -> None:
        """An Authentication-Info that cannot be read proves nothing."""
        digest = DigestServer()
        self.use(digest)
        answer = HttpResponse(200, (("Authentication-Info", "rspauth=1, rspauth=2"),))
        self.server.answer = lambda asked: (
            answer if asked.headers.get("authorization") else digest.challenge()
        )
        self.fails("unproven")

    def test_repeated(self) -> None:
        """A repetition on a fresh connection is no replay: the count goes on."""
        digest = DigestServer()
        self.use(digest)
        self.request()
        used = self.server.asked[-1].connection
        lost: list[Asked] = []

        def answer(asked: Asked) -> Answer:
            if asked.connection == used and not lost:
                digest(asked)
                lost.append(asked)
                return CLOSE
            return digest(asked)

        self.server.answer = answer
        self.assertEqual(self.request().status, 200)
        self.assertEqual([count for _, count in digest.counts], [1, 2, 3])

    def test_without_credentials(self) -> None:
        """Without credentials a challenge is the answer."""
        self.server.answer = DigestServer()
        self.assertEqual(self.request().status, 401)


class _Greetings(Factory):
    """Says hi once TLS stands.

    :ivar heard: what the other side has said.
    """

    heard = b""
    noisy = False

    def buildProtocol(self, addr: object) -> Protocol:
        """The only one."""
        return _Greeting(self)


class _Greeting(Protocol):
    def __init__(self, factory: _Greetings) -> None:
        self.factory = factory

    def connectionMade(self) -> None:
        """Send something."""
        assert self.transport is not None
        self.transport.write(b"hi")

    def dataReceived(self, data: bytes) -> None:
        """The other side has said hi."""
        assert isinstance(self.factory, _Greetings)
        self.factory.heard += data


@implementer(IOpenSSLServerConnectionCreator)
class _Accepting:
    """Makes the server's side."""

    def __init__(self, settings: TlsSettings) -> None:
        self._context = settings.server_context()

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """A connection."""
        return SSL.Connection(self._context, None)


class TlsTests(SynchronousTestCase):
    """Who is believed with TLS."""

    def setUp(self) -> None:
        """A server with a certificate for localhost and a wildcard."""
        self.authority = make_ca()
        self.issued = issue(self.authority, ("localhost", "*.example.com"))
        self.certificate = x509.load_pem_x509_certificate(
            Path(self.issued.certificate).read_bytes()
        )
        self.roots = (self.authority.certificate,)

    def connect(self, host: str, trust: Trust) -> str:
        """Connect; the problem, or "" when both sides have heard each other."""
        creator = ServerTrust(host, trust)
        credentials = load_credentials(self.issued.certificate, self.issued.key)
        settings = TlsSettings(credentials=credentials, client_certificates="none")
        clock = Clock()
        inner = [_Greetings(), _Greetings()]
        server = TLSMemoryBIOFactory(_Accepting(settings), False, inner[0], clock).buildProtocol(
            None
        )
        client = TLSMemoryBIOFactory(creator, True, inner[1], clock).buildProtocol(None)
        assert server is not None and client is not None
        transports = FakeTransport(server, True), FakeTransport(client, False)
        pump = IOPump(client, server, transports[1], transports[0], False, clock=clock)
        server.makeConnection(transports[0])
        client.makeConnection(transports[1])
        for _ in range(20):
            pump.pump()
            clock.advance(0.01)
        said = inner[1].heard
        self.assertEqual(said == b"hi", not creator.problem)
        return creator.problem

    def test_authority(self) -> None:
        """An authority vouches for the name; wildcards count."""
        trust = Trust(self.roots)
        self.assertEqual(self.connect("localhost", trust), "")
        self.assertEqual(self.connect("xcap.example.com", trust), "")

    def test_wrong_name(self) -> None:
        """The certificate must be that of the host."""
        for host in ("example.net", "127.0.0.1"):
            self.assertIn(f"not for {host}", self.connect(host, Trust(self.roots)))

    def test_unknown_authority(self) -> None:
        """Nobody is believed without an authority."""
        other = make_ca(name="Other")
        self.assertIn("vouches", self.connect("localhost", Trust((other.certificate,))))
        self.assertIn("vouches", self.connect("localhost", Trust()))

    def test_fingerprint(self) -> None:
        """A certificate that is known needs no authority and no name; another is told."""
        mark = self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()
        for text in (mark, mark.replace(":", "").lower()):
            self.assertEqual(self.connect("anything.example", Trust((), text)), "")
        self.assertIn(mark, self.connect("localhost", Trust(self.roots, "00" * 32)))

    def test_insecure(self) -> None:
        """On demand anybody is believed."""
        self.assertEqual(self.connect("anything.example", Trust((), insecure=True)), "")


class SettingsTests(SynchronousTestCase):
    """Settings."""

    def test_defaults(self) -> None:
        """XCLI-01, XCLI-09: four connections, ten seconds."""
        settings = AgentSettings()
        self.assertEqual((settings.connections, settings.timeout), (4, 10.0))
