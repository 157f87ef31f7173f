"""Registration with Digest, over the in-memory network: real client, real server."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from presence.registrar import Registrar
from presence.store.memory import MemoryStore
from pysip.auth.client import ClientCredentials
from pysip.auth.digest import ALGORITHMS, ha1
from pysip.auth.domains import Domains
from pysip.auth.server import DigestAuthenticator
from pysip.auth.trust import IdentityPolicy, TrustPolicy
from pysip.header import parse_credentials
from pysip.message import Request, Response
from pysip.parse import parse_message
from pysip.timers import TimerWheel
from pysip.transport.loop import LoopNetwork
from pysip.ua import UserAgent
from tests.pysip.scripted import Anybody, NumericLocator

SERVER = ("127.0.0.2", 5060)
CLIENT = ("127.0.0.1", 5060)
ALICE = "sip:alice@example.com"


class Source:
    """The account of alice."""

    def ha1(self, username: str, realm: str, algorithm: str) -> str | None:
        """HA1 of alice."""
        known = username in ("alice", "alice@example.com")
        return ha1(username, realm, "secret", algorithm) if known else None

    def identities(self, username: str, realm: str) -> tuple[str, ...]:
        """The identity of alice."""
        return (ALICE,)


class RegisterTests(SynchronousTestCase):
    """A registrar and its clients."""

    def setUp(self) -> None:
        """Start a server with a registrar, and a client."""
        self.clock = Clock()
        self.network = LoopNetwork(self.clock)
        self.wire: list[bytes] = []
        self.network.taps.append(lambda _p, _s, _d, data: self.wire.append(data))
        domains = Domains(["example.com"], {SERVER[0]: "example.com"})
        source = Source()
        authenticator = DigestAuthenticator(
            source, b"0123456789abcdef", algorithms=ALGORITHMS, wall_clock=self.clock.seconds
        )
        wheel = TimerWheel(self.clock)
        locator = NumericLocator("UDP")
        server = UserAgent(
            self.clock,
            wheel,
            locator,
            IdentityPolicy(TrustPolicy(), domains, authenticator=authenticator, accounts=source),
        )
        server.start_transport(self.network.transport(SERVER))
        store = MemoryStore(self.clock)
        store.start()
        self.registrar = Registrar(store, domains, self.clock, wheel, self.clock.seconds)
        server.add_method("REGISTER", self.registrar.serve)
        self.client = UserAgent(self.clock, TimerWheel(self.clock), locator, Anybody())
        self.client.start_transport(self.network.transport(CLIENT))

    def run_until_answered(self, waiting: Deferred[Response]) -> Response:
        """Let the network work."""
        for _ in range(30):
            self.clock.advance(0)
        return self.successResultOf(waiting)

    def register(self, credentials: ClientCredentials | None) -> Response:
        """Send a REGISTER of alice."""
        request = Request("REGISTER", "sip:example.com")
        request.set("From", f"<{ALICE}>;tag=1")
        request.set("To", f"<{ALICE}>")
        request.set("Call-ID", "c1")
        request.set("CSeq", f"{len(self.wire) + 1} REGISTER")
        request.set("Contact", "<sip:alice@127.0.0.1>")
        return self.run_until_answered(self.client.request(request, credentials=credentials))

    def test_challenge_and_answer(self) -> None:
        """CLI-01, AUT-19: the challenge is answered by itself, with CSeq + 1."""
        answer = self.register(ClientCredentials("alice", "secret"))
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.first("contact"), "<sip:alice@127.0.0.1>;expires=3600")
        self.assertEqual(len(self.registrar.bindings(ALICE)), 1)
        self.assertEqual(answer.cseq, (2, "REGISTER"))

    def test_algorithm(self) -> None:
        """RFC 8760 2.4: the server's first algorithm is the one used."""
        self.register(ClientCredentials("alice", "secret"))
        sent = [parse_message(data) for data in self.wire]
        values = [v for m in sent for v in m.headers.get("authorization", [])]
        self.assertEqual(parse_credentials(values[-1])[1]["algorithm"], "SHA-512-256")

    def test_wrong_password(self) -> None:
        """AUT-19: a wrong password ends with the 401, without a loop."""
        self.assertEqual(self.register(ClientCredentials("alice", "wrong")).status, 401)
        self.assertEqual(self.register(None).status, 401)
        self.assertLess(len(self.wire), 12)
        self.assertEqual(self.registrar.bindings(ALICE), ())

    def test_stale(self) -> None:
        """AUT-06: after the nonce's lifetime the client goes on without a new password."""
        credentials = ClientCredentials("alice@example.com", "secret")
        self.assertEqual(self.register(credentials).status, 200)
        self.clock.advance(301)
        self.assertEqual(self.register(credentials).status, 200)

    def exchange(self, data: bytes) -> Response:
        """Send octets and take the answer off the wire."""
        before = len(self.wire)
        self.client.layer.transport("UDP", CLIENT[0]).flow_to(SERVER).send(data)
        for _ in range(10):
            self.clock.advance(0)
        answer = parse_message(self.wire[-1])
        assert isinstance(answer, Response) and len(self.wire) > before + 1
        return answer

    def test_liblinphone(self) -> None:
        """CLI-05, CLI-06, CLI-07, CLI-13: what liblinphone writes, oddities included."""

        def message(branch: int, header: str, cseq: int) -> bytes:
            lines = [
                f"REGISTER sip:{SERVER[0]} SIP/2.0",
                f"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK.{branch};rport",
                f"From: <sip:alice@{SERVER[0]}>;tag=~abc",
                f"To: sip:alice@{SERVER[0]}",
                f"CSeq: {cseq} REGISTER",
                "Call-ID: jR3i",
                "Max-Forwards: 70",
                "Supported: ",
                "Contact: <sip:alice@127.0.0.1:5060;transport=udp>;expires=600"
                ';+sip.instance="<urn:uuid:7b3b>"',
                header,
                "\r\n",
            ]
            return "\r\n".join(line for line in lines if line).encode()

        answer = self.exchange(message(1, "", 20))
        self.assertEqual(answer.status, 401)
        md5 = [v for v in answer.values("www-authenticate") if "=MD5" in v]
        credentials = ClientCredentials("alice", "secret")
        value = credentials.authorize(md5, "REGISTER", f"sip:{SERVER[0]}")
        assert value is not None
        odd = value.replace("Digest ", "Digest  ").replace("qop=auth", 'qop="auth"')
        answer = self.exchange(message(2, f"Authorization:  {odd}", 21))
        self.assertEqual(answer.status, 200)
        self.assertIn("+sip.instance", answer.first("contact") or "")
        self.assertNotIn("gruu", answer.first("contact") or "")
        again = credentials.reuse("example.com", "REGISTER", f"sip:{SERVER[0]}")
        answer = self.exchange(message(3, f"Proxy-Authorization: {again}", 22))
        self.assertEqual(answer.status, 200)
        self.assertEqual(len(self.registrar.bindings(ALICE)), 1)
