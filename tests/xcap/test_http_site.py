"""Tests of :mod:`xcap.http.site` on loopback, with clients that others have written."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import ClientCreator, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from pysip.transport.credentials import TlsSettings, load_credentials, load_trust_roots
from tests.certificates import issue, make_ca
from tests.xcap.http_links import GET, ScriptedService, answers, put
from xcap.http.settings import AccessRecord, HttpSettings
from xcap.http.site import HttpSite
from xcap.records import HttpResponse

HOST = "127.0.0.1"
LARGE = b"<a>" + b"x" * 5_000_000 + b"</a>"


class Socket(Protocol):
    """A client that gathers octets."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: Failure | None = None
        self._waiting: list[tuple[Any, Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        """Gather."""
        self.data += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end."""
        self.lost = reason
        self._look()

    def _look(self) -> None:
        for entry in list(self._waiting):
            if self.lost or entry[0]():
                self._waiting.remove(entry)
                entry[1].callback(None)

    def until(self, condition: Any) -> Deferred[None]:
        """Fires when something holds, or the connection is gone."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((condition, waiting))
        self._look()
        return waiting

    def end(self) -> Deferred[None]:
        """Fires when the connection is gone."""
        return self.until(lambda: False)


class SiteCase(TestCase):
    """A site on loopback, with and without TLS."""

    timeout = 60
    settings = HttpSettings(linger=1.0)

    def setUp(self) -> None:
        """Listen."""
        self.service = ScriptedService()
        self.records: list[AccessRecord] = []
        self.site = HttpSite(
            self.service, cast(Any, reactor), self.settings, access=self.records.append
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(self.site.stop()))
        self.ca = make_ca()
        self.own = issue(self.ca, ["localhost", HOST])
        _, self.port = self.site.listen(HOST, 0)
        _, self.tls_port = self.site.listen(HOST, 0, self.tls())
        self.url = f"http://{HOST}:{self.port}"
        self.tls_url = f"https://localhost:{self.tls_port}"

    def tls(self, *names: str) -> TlsSettings:
        """Settings with a certificate for names, or the default one."""
        own = issue(self.ca, names) if names else self.own
        return TlsSettings(
            credentials=load_credentials(own.certificate, own.key),
            trust_roots=load_trust_roots([self.ca.file]),
        )

    async def run_program(self, name: str, *arguments: str) -> tuple[str, int]:
        """Run a program without input; output of both kinds and exit status."""
        path = shutil.which(name)
        if path is None:
            raise SkipTest(f"{name} is not installed")
        # from nowhere: an openssl.cnf or .curlrc of the host must not matter
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        out, err, code = await getProcessOutputAndValue(path, arguments, environment)
        return (out + err).decode("latin-1"), code

    async def curl(self, *arguments: str) -> str:
        """Run curl, which has to succeed."""
        text, code = await self.run_program(
            "curl", "-sS", "-m", "20", "--cacert", self.ca.file, *arguments
        )
        self.assertEqual(code, 0, text)
        return text

    async def connect(self) -> Socket:
        """A plain TCP connection."""
        creator = ClientCreator(reactor, Socket)
        client: Socket = await creator.connectTCP(HOST, self.port)
        self.addCleanup(client.transport.abortConnection)  # type: ignore[union-attr]
        return client


class CurlTests(SiteCase):
    """curl as the client."""

    async def test_methods(self) -> None:
        """AGP-150: GET, HEAD, PUT and DELETE over HTTP and HTTPS."""
        for url in (self.url, self.tls_url):
            self.assertEqual(await self.curl(f"{url}/a%2fb"), "/a%2fb")
            head = await self.curl("-I", f"{url}/a")
            self.assertIn("HTTP/1.1 200 OK\r\n", head)
            self.assertIn("Content-Length: 2\r\n", head)
            self.assertIn("201", await self.curl("-i", "-X", "PUT", "-d", "<a/>", f"{url}/a"))
            self.assertEqual(await self.curl("-X", "DELETE", f"{url}/a"), "/a")
        self.assertEqual(self.service.bodies, [b"<a/>"] * 2)

    async def test_raw_target(self) -> None:
        """XCAP-12, CLI-18: brackets, quotes and dot segments arrive as sent."""
        target = '/r/users/sip:a@b/index/~~/../l[@name="x"]?xmlns(a="b")'
        await self.curl("-g", "--path-as-is", self.url + target)
        await self.curl("-g", "--request-target", target, self.tls_url)
        self.assertEqual([head.target for head in self.service.heads], [target] * 2)

    async def test_absolute(self) -> None:
        """XCAP-14: the absolute form, as a client of a forward proxy sends it."""
        await self.curl("-x", self.url, "http://xcap.example.com/a?b")
        (head,) = self.service.heads
        self.assertEqual((head.target, head.authority), ("/a?b", "xcap.example.com"))

    async def test_chunked(self) -> None:
        """XCAP-114: a chunked upload."""
        await self.curl(
            "-T", self.own.certificate, "-H", "Transfer-Encoding: chunked", f"{self.tls_url}/a"
        )
        with open(self.own.certificate, "rb") as file:
            self.assertEqual(self.service.bodies, [file.read()])

    async def test_continue(self) -> None:
        """XCAP-114: curl waits for 100 and gets it, or the refusal."""
        upload = ("-v", "-T", self.own.certificate, "-H", "Expect: 100-continue")
        text = await self.curl(*upload, f"{self.tls_url}/a")
        self.assertIn("100 Continue", text)
        self.assertIn("HTTP/1.1 201 ", text)
        self.service.answer = HttpResponse(401)
        text = await self.curl(*upload, f"{self.tls_url}/a")
        self.assertNotIn("100 Continue", text)
        self.assertIn("HTTP/1.1 401 ", text)
        self.assertEqual(len(self.service.bodies), 1)

    async def test_too_large(self) -> None:
        """AGP-152: 2 MiB of body get 413 at once, which the client gets to see."""
        with tempfile.NamedTemporaryFile(dir=os.getcwd()) as file:
            file.write(bytes(2 << 20))
            file.flush()
            for url in (self.url, self.tls_url):
                for more in ("Expect:", "Transfer-Encoding: chunked"):
                    text, _ = await self.run_program(
                        "curl",
                        *("-sk", "-m", "20", "-i", "-T", file.name, "-H", more),
                        f"{url}/a",
                    )
                    self.assertIn("HTTP/1.1 413 ", text)
        self.assertEqual(self.service.bodies, [])

    async def test_connection_kept(self) -> None:
        """One connection serves several requests, with TLS and without."""
        for url in (self.url, self.tls_url):
            text = await self.curl(
                "-w", "%{num_connects};", f"{url}/a", f"{url}/b", f"{url}/c", "-o", "/dev/null"
            )
            self.assertTrue(text.endswith("0;"), text)
        self.assertEqual(len({record.peer.connection for record in self.records}), 2)

    async def test_old_client(self) -> None:
        """AGP-74: HTTP/1.0 is served."""
        self.assertEqual(await self.curl("-0", f"{self.tls_url}/a"), "/a")

    async def test_large_answer(self) -> None:
        """Answers larger than any buffer arrive whole."""
        self.service.answer = HttpResponse(200, (), LARGE)
        for url in (self.url, self.tls_url):
            for more in ("Connection: keep-alive", "Connection: close"):
                self.assertEqual(len(await self.curl("-H", more, f"{url}/a")), len(LARGE))

    async def test_peer(self) -> None:
        """AGP-84: the service and the log see address, version and names of the client."""
        own = issue(self.ca, ["sip:alice@example.com", "ap.example.com"])
        await self.curl(f"{self.tls_url}/a", "--cert", own.certificate, "--key", own.key)
        await self.curl(f"{self.tls_url}/a", "--tls-max", "1.2")
        await self.curl(f"{self.url}/a")
        first, second, third = (head.peer for head in self.service.heads)
        self.assertEqual((first.address, first.secure), (HOST, True))
        self.assertEqual(first.tls_version, "TLSv1.3")
        self.assertEqual(first.names, ("sip:alice@example.com", "ap.example.com"))
        self.assertEqual((second.tls_version, second.names), ("TLSv1.2", ()))
        self.assertEqual((third.secure, third.tls_version), (False, ""))
        self.assertEqual(self.site.counters.handshakes, 2)

    async def test_reload(self) -> None:
        """AGP-14: after a reload, clients see the new certificate."""
        self.site.reload(self.tls("xcap.example.com"))
        text, code = await self.run_program(
            "curl", "-sS", "--cacert", self.ca.file, f"{self.tls_url}/a"
        )
        self.assertNotEqual(code, 0, text)
        resolve = f"xcap.example.com:{self.tls_port}:{HOST}"
        url = f"https://xcap.example.com:{self.tls_port}/a"
        self.assertEqual(await self.curl("--resolve", resolve, url), "/a")

    async def test_server_names(self) -> None:
        """AGP-09: several roots with a certificate each on one port."""
        _, port = self.site.listen(
            HOST, 0, self.tls(), {"b.example.org": self.tls("b.example.org")}
        )
        for name in ("localhost", "b.example.org"):
            resolve = ("--resolve", f"{name}:{port}:{HOST}")
            self.assertEqual(await self.curl(*resolve, f"https://{name}:{port}/a"), "/a")


class OpensslTests(SiteCase):
    """openssl s_client as the client."""

    def setUp(self) -> None:
        """Listen, if there is something to test with."""
        if shutil.which("openssl") is None:
            raise SkipTest("openssl is not installed")
        super().setUp()

    async def openssl(self, *arguments: str) -> tuple[str, int]:
        """Shake hands and close."""
        return await self.run_program(
            *("sh", "-c", 'exec "$0" "$@" < /dev/null', "openssl", "s_client"),
            *("-connect", f"{HOST}:{self.tls_port}", *arguments),
        )

    async def test_versions(self) -> None:
        """AGP-06, AGP-152: TLS 1.0 and 1.1 are refused, 1.2 and 1.3 spoken."""
        for version in ("-tls1", "-tls1_1"):
            text, code = await self.openssl(version, "-cipher", "ALL:@SECLEVEL=0")
            self.assertNotEqual(code, 0, text)
            self.assertIn("alert protocol version", text)
        for version, name in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            text, code = await self.openssl(version)
            self.assertEqual(code, 0, text)
            self.assertIn(f"{name}, Cipher is ", text)
        await deferLater(cast(Any, reactor), 0.05)
        self.assertEqual(self.site.counters.handshake_failures, 2)

    async def test_suites(self) -> None:
        """AGP-07: suites without forward secrecy are refused."""
        for suite in ("AES128-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"):
            text, code = await self.openssl("-tls1_2", "-cipher", suite)
            self.assertNotEqual(code, 0, text)
        text, code = await self.openssl("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
        self.assertEqual(code, 0, text)

    async def test_compatible(self) -> None:
        """AGP-07: the compatibility profile still prefers the modern suites."""
        site = HttpSite(self.service, cast(Any, reactor), HttpSettings(ciphers="compatible"))
        self.addCleanup(lambda: Deferred.fromCoroutine(site.stop()))
        _, self.tls_port = site.listen(HOST, 0, self.tls())
        text, _ = await self.openssl(
            "-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-GCM-SHA256"
        )
        self.assertIn("Cipher is ECDHE-ECDSA-AES128-GCM-SHA256", text)

    async def test_resumption(self) -> None:
        """AGP-08: a session is resumed; early data are never allowed."""
        for version in ("-tls1_2", "-tls1_3"):
            file = tempfile.mktemp(dir=os.getcwd())
            text, _ = await self.run_program("sh", "-c", self.request(version, "-sess_out", file))
            self.assertIn("New, ", text)
            text, _ = await self.run_program("sh", "-c", self.request(version, "-sess_in", file))
            self.assertIn("Reused, ", text)
            self.assertIn("/resumed", text)
            # what is not allowed is not even printed
            self.assertNotRegex(text, "Max Early Data: [1-9]")
        counters = self.site.counters
        self.assertEqual((counters.handshakes, counters.resumptions), (4, 2))

    def request(self, *options: str) -> str:
        """A shell command that sends a request and waits for the answer."""
        words = " ".join(options)
        return (
            "printf 'GET /resumed HTTP/1.0\\r\\n\\r\\n' |"
            f" openssl s_client -connect {HOST}:{self.tls_port} -ign_eof {words}"
        )

    async def test_alpn(self) -> None:
        """HTTP/1.1 is agreed on."""
        text, _ = await self.openssl("-alpn", "h2,http/1.1")
        self.assertIn("ALPN protocol: http/1.1", text)

    async def test_plain_octets(self) -> None:
        """Plain HTTP on the port for HTTPS does no harm."""
        self.port, port = self.tls_port, self.port
        client = await self.connect()
        client.transport.write(GET)  # type: ignore[union-attr]
        await client.end()
        self.assertEqual(self.service.heads, [])
        self.port = port
        self.assertEqual(await self.get(), b"/a")

    async def get(self) -> bytes:
        """A request on the plain port."""
        client = await self.connect()
        client.transport.write(GET)  # type: ignore[union-attr]
        await client.until(lambda: client.data.endswith(b"/a"))
        (answer,) = answers(client.data)
        return answer.body


class SocketTests(SiteCase):
    """Octets of our own."""

    settings = HttpSettings(linger=1.0, header=1.0, per_address=5, whole=20.0)

    async def test_pipelined(self) -> None:
        """AGP-76: 300 pipelined requests are answered in order."""
        client = await self.connect()
        requests = [GET.replace(b"/a", b"/%d" % number) for number in range(300)]
        client.transport.write(b"".join(requests))  # type: ignore[union-attr]
        await client.until(lambda: client.data.count(b"HTTP/1.1 200") == 300)
        await client.until(lambda: client.data.endswith(b"/299"))
        self.assertEqual(
            [answer.body for answer in answers(client.data)], [b"/%d" % n for n in range(300)]
        )

    async def test_refused(self) -> None:
        """AGP-74: the refusal arrives, then the end, however much is sent behind it."""
        for fault in (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", b"GET / HTTP/1.1\n"):
            client = await self.connect()
            client.transport.write(fault + bytes(200_000))  # type: ignore[union-attr]
            await client.end()
            (answer,) = answers(client.data)
            self.assertEqual(answer.status, 400)

    async def test_slow_head(self) -> None:
        """AGP-77, AGP-152: a slow header gets 408 and the end."""
        client = await self.connect()
        client.transport.write(GET[:10])  # type: ignore[union-attr]
        await client.end()
        self.assertEqual(answers(client.data)[0].status, 408)

    async def test_slow_reader(self) -> None:
        """A client that reads slowly gets everything; others are served meanwhile."""
        self.service.answer = HttpResponse(200, (), LARGE)
        slow = await self.connect()
        slow.transport.pauseProducing()  # type: ignore[union-attr]
        slow.transport.write(GET + GET)  # type: ignore[union-attr]
        await deferLater(cast(Any, reactor), 0.2)
        # the second request waits for the client to take the first answer
        self.assertEqual(len(self.service.heads), 1)
        other = await self.connect()
        other.transport.write(GET)  # type: ignore[union-attr]
        await other.until(lambda: len(other.data) > len(LARGE))
        slow.transport.resumeProducing()  # type: ignore[union-attr]
        await slow.until(lambda: len(slow.data) > 2 * len(LARGE))
        self.assertEqual([answer.body for answer in answers(slow.data)], [LARGE] * 2)

    async def test_per_address(self) -> None:
        """AGP-76: the sixth connection of an address is closed."""
        clients = [await self.connect() for _ in range(5)]
        sixth = await self.connect()
        await sixth.end()
        clients[0].transport.abortConnection()  # type: ignore[union-attr]
        await deferLater(cast(Any, reactor), 0.1)
        again = await self.connect()
        again.transport.write(GET)  # type: ignore[union-attr]
        await again.until(lambda: again.data.endswith(b"/a"))

    async def test_client_leaves(self) -> None:
        """AGP-81: a GET is given up when the client resets the connection."""
        self.service.answer = Deferred()
        client = await self.connect()
        client.transport.write(GET)  # type: ignore[union-attr]
        await deferLater(cast(Any, reactor), 0.1)
        client.transport.abortConnection()  # type: ignore[union-attr]
        await deferLater(cast(Any, reactor), 0.1)
        self.assertEqual(self.service.cancelled, 1)

    async def test_answer_after_body(self) -> None:
        """A client that writes its whole body before it reads gets the answer."""

        def upload() -> bytes:
            """Write, then read until the end."""
            with socket.create_connection((HOST, self.port), 10) as client:
                client.sendall(put(bytes(60_000), "Connection: close"))
                data = b""
                while piece := client.recv(65536):
                    data += piece
                return data

        found = await gatherResults([deferToThread(upload) for _ in range(5)])
        self.assertEqual([answers(data)[0].status for data in found], [201] * 5)

    async def test_stop(self) -> None:
        """A site that stops finishes what it has begun and closes the rest."""
        answer = self.service.answer = Deferred()
        busy, idle = await self.connect(), await self.connect()
        busy.transport.write(GET)  # type: ignore[union-attr]
        await deferLater(cast(Any, reactor), 0.1)
        stopped = Deferred.fromCoroutine(self.site.stop())
        await idle.end()
        answer.callback(HttpResponse(200, (), b"last"))
        await busy.end()
        self.assertEqual(answers(busy.data)[0].body, b"last")
        await stopped
        with self.assertRaises(ConnectionRefusedError):
            await deferToThread(socket.create_connection, (HOST, self.port))

    def test_address_in_use(self) -> None:
        """A port that is taken is an error an operator can understand."""
        with self.assertRaises(CannotListenError):
            self.site.listen(HOST, self.port)

    def test_expiry(self) -> None:
        """AGP-14: the time that the certificate has left can be watched."""
        self.assertLess(abs(self.site.certificate_seconds_left - 7 * 86400), 60)
        empty = HttpSite(self.service, cast(Any, reactor))
        self.assertEqual(empty.certificate_seconds_left, float("inf"))
