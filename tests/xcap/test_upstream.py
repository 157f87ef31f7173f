"""Document servers as the proxy reaches them: in process, and over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet import error, reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pysip.transport.credentials import TlsSettings, load_credentials
from tests.certificates import Authority, issue, make_ca
from tests.xcap.proxies import INDEX, FakeBackEnd, head
from tests.xcap.test_exchange import OK, Endpoint
from xcap.auth.identity import IN_PROCESS, IdentityAsserter
from xcap.clienttls import VerifiedServer
from xcap.errors import XcapError
from xcap.exchange import ExchangeSettings
from xcap.http.settings import HttpSettings
from xcap.http.site import HttpSite
from xcap.interfaces import IBackEnd, IHttpService
from xcap.records import Head, HttpResponse, Receive
from xcap.routes import Servers
from xcap.upstream import (
    LocalBackEnd,
    RemoteBackEnd,
    UpstreamError,
    UpstreamSettings,
    server_endpoint,
)

PROBE = head("/xcap-caps/global/index", "OPTIONS", user=None)


async def ask(back_end: IBackEnd, head: Head, body: bytes = b"") -> HttpResponse:
    """The answer of a back-end."""
    answer: HttpResponse | Receive = await back_end.begin(head)
    return answer if isinstance(answer, HttpResponse) else await answer(body)


class LocalTests(SynchronousTestCase):
    """The hop that is a function call."""

    def test_head(self) -> None:
        """AGP-04: the same header set as over HTTP, from a peer that nobody can be."""
        inner = FakeBackEnd("inner")
        local = LocalBackEnd("local", inner, {"resource-lists"})
        verifyObject(IBackEnd, local)
        fields = IdentityAsserter().assertion(("sip:alice@example.com",))
        request = head(INDEX, "PUT", *fields)
        answer = Deferred.fromCoroutine(ask(local, request, b"<a/>"))
        self.assertEqual(self.successResultOf(answer).status, 200)
        self.assertEqual(inner.bodies, [b"<a/>"])
        self.assertEqual(inner.head.peer, IN_PROCESS)
        self.assertEqual(inner.head.headers.fields, request.headers.fields)
        requester = IdentityAsserter().accept(inner.head)
        self.assertEqual(requester.identities, ("sip:alice@example.com",))


class RemoteTestCase(SynchronousTestCase):
    """Base with a back-end on connections in memory."""

    def setUp(self) -> None:
        """Make it."""
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.remote = RemoteBackEnd(
            self.clock, "remote", self.endpoint, auids={"resource-lists"}, probe=PROBE
        )

    def ask(self, head: Head, body: bytes = b"") -> Deferred[HttpResponse]:
        """Send a request."""
        return Deferred.fromCoroutine(ask(self.remote, head, body))

    def answer(self, octets: bytes = OK, number: int = -1) -> None:
        """Octets from the server."""
        self.endpoint.transports[number].protocol.dataReceived(octets)

    def failed(self, work: Deferred[HttpResponse], status: int) -> UpstreamError:
        """Check how a request has failed."""
        failed: UpstreamError = self.failureResultOf(work, UpstreamError).value
        self.assertEqual(failed.status, status)
        return failed


class RemoteTests(RemoteTestCase):
    """Requests to a server elsewhere."""

    def test_interface(self) -> None:
        """It is a back-end, and so are several together."""
        verifyObject(IBackEnd, self.remote)
        verifyObject(IBackEnd, Servers("both", [self.remote]))

    def test_body(self) -> None:
        """AGP-75: PUT waits for its body and is then written whole; others go at once."""
        put = Deferred.fromCoroutine(self.remote.begin(head(method="PUT", user=None)))
        receive = cast(Receive, self.successResultOf(put))
        self.assertEqual(self.endpoint.transports, [])
        Deferred.fromCoroutine(receive(b"<a/>"))  # type: ignore[arg-type]
        self.assertIn(b"content-length: 4\r\n\r\n<a/>", self.endpoint.transports[0].value())
        for method in ("GET", "HEAD", "DELETE", "OPTIONS"):
            self.ask(head(method=method))
        self.assertEqual(len(self.endpoint.transports), 5)

    def test_errors(self) -> None:
        """AGP-80: 502, 503 and 504 by what has happened."""
        for failure, status in (
            (error.ConnectionRefusedError(), 502),
            (error.DNSLookupError(), 502),
            (error.TimeoutError(), 504),
        ):
            self.endpoint.failure = failure
            self.failed(self.ask(head()), status)
        self.endpoint.failure = None
        work = self.ask(head())
        self.answer(b"nonsense\r\n\r\n")
        self.failed(work, 502)
        work = self.ask(head())
        self.clock.advance(11)
        self.failed(work, 504)
        self.assertEqual(
            self.remote.failures,
            {"refused": 1, "unreachable": 1, "late": 2, "invalid": 1},
        )

    def test_latency(self) -> None:
        """AGP-85: how long answers take is measured."""
        work = self.ask(head())
        self.clock.advance(0.2)
        self.answer()
        self.successResultOf(work)
        self.assertEqual(sum(self.remote.seconds.counts), 1)
        self.assertAlmostEqual(self.remote.seconds.total, 0.2)

    def test_get_is_given_up(self) -> None:
        """AGP-81: a GET whose client leaves is cancelled."""
        work = self.ask(head())
        work.cancel()
        self.failureResultOf(work, CancelledError)
        self.assertTrue(self.endpoint.transports[0].disconnected)

    def test_change_runs_to_its_end(self) -> None:
        """AGP-81: PUT and DELETE go on without their client, and what came of them is logged."""
        for method in ("PUT", "DELETE"):
            work = self.ask(head(method=method))
            work.cancel()
            self.failureResultOf(work, CancelledError)
            self.assertFalse(self.endpoint.transports[-1].disconnected)
            self.answer()
        self.assertEqual(self.remote.pool.idle, 1)
        work = self.ask(head(method="DELETE"))
        work.cancel()
        self.failureResultOf(work, CancelledError)
        self.clock.advance(11)
        self.assertEqual(self.remote.pool.busy, 0)


class RepeatTests(RemoteTestCase):
    """What is tried again."""

    def setUp(self) -> None:
        """Two servers."""
        super().setUp()
        self.second_endpoint = Endpoint()
        self.second = RemoteBackEnd(self.clock, "second", self.second_endpoint, probe=PROBE)
        self.servers = Servers("both", [self.remote, self.second], lambda count: b"\x06" * count)
        self.ends = [self.endpoint, self.second_endpoint]

    def ask(self, head: Head, body: bytes = b"") -> Deferred[HttpResponse]:
        """Send a request to one of the two."""
        return Deferred.fromCoroutine(ask(self.servers, head, body))

    def made(self) -> list[int]:
        """Connections made to each."""
        return [len(end.transports) for end in self.ends]

    def cut(self) -> None:
        """Reset the connection last made."""
        for end in self.ends:
            for transport in end.transports:
                transport.abortConnection()

    def test_in_turn(self) -> None:
        """AGP-53: requests are spread over the servers."""
        for _ in range(4):
            self.ask(head())
        self.assertEqual(self.made(), [2, 2])

    def test_safe_methods(self) -> None:
        """AGP-79: GET, HEAD and OPTIONS are tried once more, elsewhere, and then no more."""
        for method in ("GET", "HEAD", "OPTIONS"):
            self.setUp()
            work = self.ask(head(method=method))
            self.cut()
            self.assertEqual(self.made(), [1, 1])
            self.cut()
            self.failed(work, 502)
            self.assertEqual(self.made(), [1, 1])

    def test_second_answers(self) -> None:
        """AGP-79: the second server's answer is the answer."""
        work = self.ask(head())
        self.cut()
        for end in self.ends:
            transport = end.transports[0]
            if not transport.disconnected:
                transport.protocol.dataReceived(OK)
        self.assertEqual(self.successResultOf(work).body, b"hi")

    def test_change_once_written(self) -> None:
        """AGP-79, AGP-153: PUT and DELETE of unknown outcome are not repeated."""
        for method in ("PUT", "DELETE"):
            self.setUp()
            work = self.ask(head(method=method), b"x")
            self.cut()
            self.failed(work, 502)
            self.assertEqual(sum(self.made()), 1)

    def test_change_not_written(self) -> None:
        """AGP-79: they are when nothing was written."""
        for method in ("PUT", "DELETE"):
            for refusing, other in ((0, 1), (1, 0)):
                self.setUp()
                self.ends[refusing].failure = error.ConnectionRefusedError()
                for _ in range(2):
                    work = self.ask(head(method=method), b"x")
                    self.ends[other].transports[-1].protocol.dataReceived(OK)
                    self.assertEqual(self.successResultOf(work).status, 200)

    def test_late(self) -> None:
        """AGP-79: who was late is not asked again; another server is."""
        work = self.ask(head())
        self.clock.advance(11)
        self.assertEqual(self.made(), [1, 1])
        self.clock.advance(11)
        self.failed(work, 504)
        alone = Servers("one", [self.remote])
        work = Deferred.fromCoroutine(ask(alone, head()))
        before = len(self.endpoint.transports)
        self.clock.advance(11)
        self.failed(work, 504)
        self.assertEqual(len(self.endpoint.transports), before)

    def test_one_server(self) -> None:
        """AGP-79: with one server the second attempt is on a fresh connection."""
        alone = Servers("one", [self.remote])
        first, second = (Deferred.fromCoroutine(ask(alone, head())) for _ in range(2))
        for transport in list(self.endpoint.transports):
            transport.protocol.dataReceived(OK)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.remote.pool.idle, 2)
        work = Deferred.fromCoroutine(ask(alone, head()))
        self.endpoint.transports[-1].abortConnection()
        self.assertEqual(len(self.endpoint.transports), 3)
        self.answer()
        self.successResultOf(work)

    def test_all_busy(self) -> None:
        """AGP-80: no connection free anywhere: 503 with Retry-After."""
        settings = UpstreamSettings(exchange=ExchangeSettings(connections=1, waiting=0))
        remote = RemoteBackEnd(self.clock, "r", self.endpoint, settings=settings)
        servers = Servers("one", [remote], lambda count: b"\x06" * count)
        Deferred.fromCoroutine(ask(servers, head()))
        work = Deferred.fromCoroutine(ask(servers, head()))
        refused = self.failureResultOf(work, XcapError).value
        self.assertEqual((refused.status, refused.headers), (503, (("Retry-After", "7"),)))


class HealthTests(RemoteTestCase):
    """Servers that are out of use, and come back."""

    def setUp(self) -> None:
        """Begin to check."""
        super().setUp()
        self.remote.start()
        self.addCleanup(self.remote.stop)
        self.clock.advance(0)
        self.answer()

    def test_probe(self) -> None:
        """AGP-78: every 5 s a check over the same connections."""
        self.assertTrue(self.endpoint.transports[0].value().startswith(b"OPTIONS /xcap-caps/"))
        for _ in range(3):
            self.clock.advance(5)
            self.answer()
        self.assertEqual(len(self.endpoint.transports), 1)
        self.assertEqual(self.endpoint.transports[0].value().count(b"OPTIONS"), 4)

    def test_three_failures(self) -> None:
        """AGP-78: the third failure in a row takes it out, one success brings it back."""
        for expected in (True, True, False):
            self.clock.advance(5)
            self.answer(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
            self.assertEqual(self.remote.up, expected)
        self.clock.advance(5)
        self.answer()
        self.assertTrue(self.remote.up)

    def test_success_between(self) -> None:
        """AGP-78: only failures in a row count."""
        for _ in range(4):
            for octets in (b"x\r\n\r\n", b"x\r\n\r\n", OK):
                self.clock.advance(5)
                self.answer(octets)
                self.assertTrue(self.remote.up)

    def test_client_errors_are_alive(self) -> None:
        """AGP-78: a server that refuses is alive."""
        for _ in range(4):
            self.clock.advance(5)
            self.answer(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        self.assertTrue(self.remote.up)

    def test_silence(self) -> None:
        """AGP-78, AGP-153: so does a server that says nothing."""
        self.clock.pump([5] * 9)
        self.assertFalse(self.remote.up)

    def test_refused(self) -> None:
        """AGP-78: a refused connection takes it out at once, of a check or of a request."""
        self.endpoint.transports[0].abortConnection()
        self.endpoint.failure = error.ConnectionRefusedError()
        self.failed(self.ask(head()), 502)
        self.assertFalse(self.remote.up)
        self.endpoint.failure = None
        self.clock.advance(5)
        self.answer()
        self.assertTrue(self.remote.up)
        self.endpoint.transports[-1].abortConnection()
        self.endpoint.failure = error.ConnectionRefusedError()
        self.clock.advance(5)
        self.assertFalse(self.remote.up)

    def test_nobody_up(self) -> None:
        """AGP-80: with all servers out of use requests get 503 without being tried."""
        self.endpoint.transports[0].abortConnection()
        self.endpoint.failure = error.ConnectionRefusedError()
        servers = Servers("one", [self.remote])
        statuses = []
        for _ in range(2):
            work = Deferred.fromCoroutine(ask(servers, head()))
            statuses.append(self.failureResultOf(work, XcapError).value.status)
        self.assertEqual(statuses, [502, 503])
        self.assertEqual(self.remote.failures["refused"], 1)

    def test_stop(self) -> None:
        """Nothing remains after stopping, not even amid a check."""
        self.clock.advance(5)
        self.successResultOf(self.remote.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(100)


class Scripted(Protocol):
    """A server that does with each piece of a request what its factory says."""

    factory: ScriptedFactory

    def dataReceived(self, data: bytes) -> None:
        """Note it and act."""
        self.factory.received += data
        self.factory.act(self)


class ScriptedFactory(Factory):
    """Makes scripted servers."""

    noisy = False
    protocol = Scripted

    def __init__(self, act: Callable[[Any], None]) -> None:
        self.act = act
        self.received = b""


class LoopbackTestCase(TestCase):
    """Base for tests over real sockets."""

    timeout = 20

    async def listen(self, act: Callable[[Any], None]) -> ScriptedFactory:
        """A scripted server."""
        factory = ScriptedFactory(act)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        self.port = cast(Any, port).getHost().port
        self.listening: IListeningPort = port
        return factory

    def remote(
        self, *, host: str = "127.0.0.1", tls: Any = None, **settings: float
    ) -> RemoteBackEnd:
        """A back-end for the server."""
        endpoint = server_endpoint(reactor, host, self.port, tls=tls, timeout=2)
        remote = RemoteBackEnd(
            cast(Any, reactor),
            "remote",
            endpoint,
            settings=UpstreamSettings(exchange=ExchangeSettings(**settings)),  # type: ignore[arg-type]
        )
        self.addCleanup(remote.stop)
        return remote

    async def failed(self, remote: RemoteBackEnd, head: Head, body: bytes = b"") -> UpstreamError:
        """How a request fails."""
        try:
            answer = await ask(remote, head, body)
        except UpstreamError as failed:
            return failed
        raise AssertionError(f"there was an answer {answer.status}")


class ScriptedTests(LoopbackTestCase):
    """Servers that misbehave, on loopback."""

    async def test_refused(self) -> None:
        """AGP-80, AGP-153: nobody listens: 502, and nothing was sent."""
        await self.listen(lambda server: None)
        await self.listening.stopListening()
        failed = await self.failed(self.remote(), head())
        self.assertEqual((failed.status, failed.kind, failed.sent), (502, "refused", False))

    async def test_reset(self) -> None:
        """AGP-79, AGP-153: a reset amid the answer is 502, and a PUT is not sent again."""

        def act(server: Any) -> None:
            server.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            server.transport.abortConnection()

        factory = await self.listen(act)
        servers = Servers("one", [self.remote()])
        try:
            await ask(servers, head(method="PUT"), b"<a/>")
        except XcapError as failed:
            self.assertEqual(failed.status, 502)
        self.assertEqual(factory.received.count(b"PUT "), 1)
        try:
            await ask(servers, head())
        except XcapError as failed:
            self.assertEqual(failed.status, 502)
        self.assertEqual(factory.received.count(b"GET "), 2)

    async def test_slow(self) -> None:
        """AGP-77, AGP-80, AGP-153: no answer in time is 504."""
        await self.listen(lambda server: None)
        failed = await self.failed(self.remote(first_byte=0.2), head())
        self.assertEqual((failed.status, failed.kind), (504, "late"))

    async def test_bad_answer(self) -> None:
        """AGP-80: nonsense is 502."""
        await self.listen(lambda server: server.transport.write(b"hello\r\n\r\n"))
        failed = await self.failed(self.remote(), head())
        self.assertEqual((failed.status, failed.kind), (502, "invalid"))

    async def test_too_large(self) -> None:
        """AGP-80: an answer beyond the limit is 502."""

        def act(server: Any) -> None:
            server.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            server.transport.write(b"x" * 100_000)

        await self.listen(act)
        failed = await self.failed(self.remote(body=1000), head())
        self.assertEqual((failed.status, failed.kind), (502, "large"))

    async def test_not_trusted(self) -> None:
        """AGP-70: what 401 looks like is seen by the proxy: it comes through here."""
        await self.listen(
            lambda server: server.transport.write(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
        )
        self.assertEqual((await ask(self.remote(), head())).status, 401)

    async def test_octets(self) -> None:
        """AGP-54: what the server gets is what the client sent, byte for byte."""
        factory = await self.listen(lambda server: server.transport.write(OK))
        targets = [
            INDEX + rest
            for rest in (
                "/~~/a%2fb",
                "/%7E%7E/x",
                "/%2525",
                "/~~/a:b?xmlns(a=b)",
                '/~~/x/y[@z="1"]',
                "?",
                "/~~/x;y=z?",
            )
        ]
        remote = self.remote()
        for target in targets:
            await ask(remote, head(target))
        lines = [line for line in factory.received.split(b"\r\n") if line.startswith(b"GET ")]
        self.assertEqual(lines, [b"GET %b HTTP/1.1" % target.encode() for target in targets])


@implementer(IHttpService)
class Echo:
    """A service that tells what it was asked."""

    def __init__(self) -> None:
        self.heads: list[Head] = []

    async def begin(self, head: Head) -> HttpResponse | Receive:
        """Answer with the target, or the body."""
        self.heads.append(head)
        if head.method == "PUT":
            return self._receive
        return HttpResponse(200, (("X-Names", " ".join(head.peer.names)),), head.target.encode())

    async def _receive(self, body: bytes) -> HttpResponse:
        return HttpResponse(201, (("ETag", '"1"'),), body)


class SiteTests(LoopbackTestCase):
    """A site of ours, on loopback."""

    def site(self, tls: TlsSettings | None = None) -> HttpSite:
        """A site."""
        self.echo = Echo()
        site = HttpSite(self.echo, cast(Any, reactor), HttpSettings())
        self.addCleanup(lambda: Deferred.fromCoroutine(site.stop()))
        _, self.port = site.listen("127.0.0.1", 0, tls)
        return site

    async def test_requests(self) -> None:
        """AGP-54, AGP-75, AGP-78: methods, bodies and raw targets over one connection."""
        site = self.site()
        remote = self.remote()
        raw = INDEX + '/~~/resource-lists/list[@name="a%2fb"]?xmlns(a=b)'
        for _ in range(3):
            answer = await ask(remote, head(raw))
            self.assertEqual(answer.body, raw.encode())
            answer = await ask(remote, head(raw, "PUT"), b"x" * 200_000)
            self.assertEqual((answer.status, len(answer.body)), (201, 200_000))
            answer = await ask(remote, head(raw, "HEAD"))
            self.assertEqual(answer.header("content-length"), str(len(raw)))
            self.assertEqual((await ask(remote, head(raw, "DELETE"))).status, 200)
        self.assertEqual((remote.pool.opened, site.counters.accepted), (1, 1))
        self.assertEqual({each.target for each in self.echo.heads}, {raw})

    async def test_many(self) -> None:
        """AGP-78: many at a time share no more than the connections allowed."""
        site = self.site()
        remote = self.remote(connections=5)
        work = [Deferred.fromCoroutine(ask(remote, head(f"/{i}"))) for i in range(50)]
        for i, each in enumerate(work):
            self.assertEqual((await each).body, b"/%d" % i)
        self.assertEqual(site.counters.accepted, 5)


class TlsTests(SiteTests):
    """The same with TLS, and certificates on both sides."""

    def setUp(self) -> None:
        """Make certificates."""
        self.ca: Authority = make_ca()
        self.server = issue(self.ca, ["xdms.example.com", "127.0.0.1"])
        self.client = issue(self.ca, ["proxy.example.com"])

    def site(self, tls: TlsSettings | None = None) -> HttpSite:
        """A site that wants a client certificate."""
        return super().site(
            TlsSettings(
                credentials=load_credentials(self.server.certificate, self.server.key),
                trust_roots=(self.ca.certificate,),
                client_certificates="require",
            )
        )

    def remote(
        self, *, host: str = "127.0.0.1", tls: Any = None, **settings: float
    ) -> RemoteBackEnd:
        """A back-end that shows its certificate."""
        if tls is None:
            tls = self.tls(host)
        return super().remote(host=host, tls=tls, **settings)

    def tls(self, host: str, mine: bool = True) -> VerifiedServer:
        """What the server has to prove, and what we do."""
        credentials = load_credentials(self.client.certificate, self.client.key) if mine else None
        settings = TlsSettings(credentials=credentials, trust_roots=(self.ca.certificate,))
        return VerifiedServer(host, settings)

    async def test_by_name(self) -> None:
        """AGP-82: a server named by its host is asked for by SNI, and proves it."""
        self.site()
        remote = self.remote(tls=self.tls("xdms.example.com"))
        self.assertEqual((await ask(remote, head())).status, 200)

    async def test_names(self) -> None:
        """AGP-82: the XDMS learns the proxy's name from its certificate."""
        self.site()
        answer = await ask(self.remote(), head())
        self.assertIn("proxy.example.com", answer.header("x-names") or "")

    async def test_wrong_name(self) -> None:
        """AGP-78, AGP-80, AGP-82: a server that does not prove its name is not spoken to: 502."""
        self.site()
        failed = await self.failed(self.remote(tls=self.tls("other.example.com")), head())
        self.assertEqual((failed.status, failed.kind), (502, "tls"))
        self.assertEqual(self.echo.heads, [])

    async def test_wrong_authority(self) -> None:
        """AGP-82: nor is one whose certificate comes from an authority not trusted."""
        self.site()
        self.ca = make_ca(name="Other Authority")
        failed = await self.failed(self.remote(), head())
        self.assertEqual((failed.status, failed.kind), (502, "tls"))

    async def test_no_certificate(self) -> None:
        """AGP-82: without our certificate the XDMS does not speak to us: 502."""
        self.site()
        failed = await self.failed(self.remote(tls=self.tls("127.0.0.1", mine=False)), head())
        self.assertEqual(failed.status, 502)
        self.assertEqual(self.echo.heads, [])
