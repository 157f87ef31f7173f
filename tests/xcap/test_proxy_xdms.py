"""The Aggregation Proxy before real document servers, in process and elsewhere; and curl."""

from __future__ import annotations

import gzip
import ipaddress
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any, cast

from lxml import etree
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import implementer

from pysip.auth.client import ClientCredentials
from pysip.auth.digest import ha1
from pysip.transport.credentials import TlsSettings, load_credentials
from tests.certificates import issue, make_ca
from xcap.auth.digest import DigestSettings, HttpDigestAuthenticator
from xcap.auth.identity import IdentityAsserter
from xcap.auth.nonces import Nonces
from xcap.http.site import HttpSite
from xcap.interfaces import IBackEnd, ISubscribers
from xcap.merge import MergedDocuments
from xcap.proxy import AggregationProxy
from xcap.records import Head, Headers, HttpPeer, HttpResponse
from xcap.roots import Root, Roots
from xcap.routes import STANDARD_AUIDS, Group, RouteTable, Servers
from xcap.server import DocumentServer
from xcap.store.memory import MemoryDocumentStore
from xcap.upstream import LocalBackEnd, RemoteBackEnd, server_endpoint
from xcap.uri import canonical_xui
from xcap.usage.names import XCAP_DIRECTORY
from xcap.usage.standard import UsageSettings, standard_usages

ROOT = "https://xcap.example.com/"
HOST = "xcap.example.com"
ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
INDEX = f"/resource-lists/users/{ALICE}/index"
TYPE = ("Content-Type", "application/resource-lists+xml")
ELEMENT = ("Content-Type", "application/xcap-el+xml")
LISTS = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">'
    b'<list name="friends"/></resource-lists>\n'
)
RULES = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<ruleset xmlns="urn:ietf:params:xml:ns:common-policy"/>\n'
)
FRIENDS = INDEX + "/~~/resource-lists/list%5b@name=%22friends%22%5d"
ENTRY = FRIENDS + "/entry%5b@uri=%22sip:bob@example.com%22%5d"


class Source:
    """Two accounts."""

    def ha1(self, username: str, realm: str, algorithm: str) -> str | None:
        """HA1 of alice and bob."""
        if username not in ("alice", "bob"):
            return None
        return ha1(username, realm, f"{username}'s", algorithm)

    def identities(self, username: str, realm: str) -> tuple[str, ...]:
        """One identity each."""
        return (f"sip:{username}@example.com",)


@implementer(ISubscribers)
class Subscribers:
    """The same two."""

    def canonical(self, xui: str) -> str:
        """The one name of a user."""
        return canonical_xui(xui)

    def known(self, xui: str) -> bool:
        """Whether there is such a user."""
        return xui in (ALICE, BOB)


class RealTestCase(TestCase):
    """Base that builds deployments."""

    timeout = 60

    async def servers(self) -> dict[str, DocumentServer]:
        """Three document servers with stores of their own."""
        settings = UsageSettings(Subscribers(), lambda domain: domain == "example.com")
        trusted = IdentityAsserter(networks=[ipaddress.ip_network("127.0.0.1")])
        servers = {}
        for role, usages in standard_usages(settings).items():
            store = MemoryDocumentStore(cast(Any, reactor), time.time)
            await store.start()
            self.addCleanup(store.stop)
            servers[role] = DocumentServer([Root(ROOT)], usages, store, Subscribers(), trusted)
        return servers

    async def proxy(self, remote: bool, settings: DigestSettings | None = None) -> AggregationProxy:
        """A proxy before document servers in process or elsewhere."""
        groups = []
        for role, server in (await self.servers()).items():
            back_end: IBackEnd = LocalBackEnd(role, server)
            if remote:
                site = HttpSite(server, cast(Any, reactor))
                self.addCleanup(lambda site=site: Deferred.fromCoroutine(site.stop()))
                _, port = site.listen("127.0.0.1", 0)
                elsewhere = RemoteBackEnd(
                    cast(Any, reactor), role, server_endpoint(reactor, "127.0.0.1", port)
                )
                self.addCleanup(elsewhere.stop)
                back_end = Servers(role, [elsewhere])
            groups.append(Group(role, (back_end,), STANDARD_AUIDS[role]))
        roots, routes, asserter = Roots([Root(ROOT)]), RouteTable(groups), IdentityAsserter()
        clock = cast(Any, reactor)
        return AggregationProxy(
            roots,
            HttpDigestAuthenticator(
                Source(), roots.realm, Nonces(os.urandom(32)), settings=settings
            ),
            asserter,
            routes,
            MergedDocuments(roots, routes, clock, "sip:proxy@example.com", asserter),
            clock,
        )


class Client:
    """Talks to a proxy by function calls, with Digest."""

    def __init__(self, proxy: AggregationProxy, user: str = "alice") -> None:
        self._proxy = proxy
        self._credentials = ClientCredentials(user, f"{user}'s")
        self._challenges: list[str] = []

    async def ask(
        self, method: str, target: str, *fields: tuple[str, str], body: bytes = b""
    ) -> HttpResponse:
        """An answer; asks again when it is challenged."""
        for _ in range(2):
            headers = [("Host", HOST), *fields]
            if body:
                headers.append(("Content-Length", str(len(body))))
            value = self._credentials.authorize(self._challenges, method, target, body)
            if value is not None:
                headers.append(("Authorization", value))
            peer = HttpPeer("192.0.2.1", secure=True)
            begun = await self._proxy.begin(Head(method, target, HOST, Headers(headers), peer))
            answer = begun if isinstance(begun, HttpResponse) else await begun(body)
            if answer.status != 401:
                break
            self._challenges = [v for name, v in answer.headers if name == "WWW-Authenticate"]
        return answer


def seen(method: str, answer: HttpResponse) -> tuple[int, dict[str, str], bytes]:
    """What a client sees of an answer that does not differ by chance."""
    by_chance = {"date", "x-request-id", "authentication-info", "last-modified", "server", "etag"}
    fields = {n.lower(): v for n, v in answer.headers if n.lower() not in by_chance}
    body = answer.body
    if method == "HEAD":
        # the body is there for its length only
        fields.setdefault("content-length", str(len(body)))
        body = b""
    return answer.status, fields, body


class DeploymentTests(RealTestCase):
    """All in one process, or apart."""

    async def walk(self, proxy: AggregationProxy) -> list[Any]:
        """A client's day, as it sees it."""
        alice, bob = Client(proxy), Client(proxy, "bob")
        story: list[Any] = []

        async def step(
            client: Client, method: str, target: str, *fields: tuple[str, str], body: bytes = b""
        ) -> HttpResponse:
            answer = await client.ask(method, target, *fields, body=body)
            story.append((method, target, seen(method, answer)))
            return answer

        missing = await step(alice, "GET", INDEX)
        self.assertEqual(missing.status, 404)
        created = await step(alice, "PUT", INDEX, TYPE, body=LISTS)
        self.assertEqual(created.status, 201)
        tag = created.header("etag") or ""
        again = await step(alice, "GET", INDEX, ("If-None-Match", tag))
        self.assertEqual(again.status, 304)
        entry = b'<entry uri="sip:bob@example.com"/>'
        first = await step(alice, "PUT", ENTRY, ELEMENT, ("If-Match", tag), body=entry)
        self.assertEqual(first.status, 201)
        lost = await step(alice, "PUT", ENTRY, ELEMENT, ("If-Match", tag), body=entry)
        self.assertEqual(lost.status, 412)
        part = await step(alice, "GET", ENTRY, ("Accept-Encoding", "gzip"))
        self.assertEqual(part.body, entry)
        conflict = await step(alice, "PUT", INDEX, TYPE, body=b"<a>")
        self.assertEqual(conflict.status, 409)
        self.assertEqual(conflict.header("content-type"), "application/xcap-error+xml")
        whole = await step(alice, "GET", INDEX)
        self.assertIn(entry, whole.body)
        head = await step(alice, "HEAD", INDEX)
        self.assertEqual(head.status, 200)
        stranger = await step(bob, "GET", INDEX)
        self.assertEqual(stranger.status, 403)
        rules = f"/pres-rules/users/{ALICE}/index"
        coded = ("Content-Encoding", "gzip")
        put = await step(
            alice,
            "PUT",
            rules,
            ("Content-Type", "application/auth-policy+xml"),
            coded,
            body=gzip.compress(RULES, mtime=0),
        )
        self.assertEqual(put.status, 201, put.body)
        caps = await step(alice, "GET", "/xcap-caps/global/index", ("Accept-Encoding", "gzip"))
        self.assertEqual(caps.header("content-encoding"), "gzip")
        for auid in ("rls-services", "pres-rules", "resource-lists"):
            self.assertIn(f"<auid>{auid}</auid>".encode(), gzip.decompress(caps.body))
        services = await step(alice, "GET", "/rls-services/global/index")
        self.assertEqual(services.status, 403)
        options = await step(alice, "OPTIONS", INDEX)
        self.assertEqual(options.status, 200)
        removed = await step(alice, "DELETE", INDEX)
        self.assertEqual(removed.status, 200)
        wrong = await step(alice, "POST", INDEX, body=b"x")
        self.assertEqual(wrong.status, 405)
        self.assertEqual((await step(alice, "GET", f"{INDEX}/../x")).status, 404)
        self.assertEqual((await step(alice, "GET", "/x/users/a/b")).status, 404)
        home = f"/org.openmobilealliance.xcap-directory/users/{ALICE}/directory.xml"
        directory = (await alice.ask("GET", home)).body
        folders = {
            each.get("auid"): len(each)
            for each in etree.fromstring(directory).iter(f"{{{XCAP_DIRECTORY}}}folder")
        }
        self.assertEqual((folders["pres-rules"], folders["resource-lists"]), (1, 0))
        story.append(folders)
        self.assertEqual((await bob.ask("GET", home)).status, 403)
        return story

    async def test_no_difference(self) -> None:
        """AGP-04, AGP-154: a client sees no difference between one process and several."""
        together = await self.walk(await self.proxy(remote=False))
        apart = await self.walk(await self.proxy(remote=True))
        self.assertEqual(len(together), len(apart))
        for one, other in zip(together, apart, strict=True):
            self.assertEqual(one, other)

    async def test_replay(self) -> None:
        """AGP-30: the byte-identical request again does not reach the document server."""
        proxy = await self.proxy(remote=True)
        heads: list[Head] = []
        original: Callable[[Head], Any] = proxy.begin

        def begin(head: Head) -> Any:
            heads.append(head)
            return original(head)

        proxy.begin = begin  # type: ignore[method-assign, assignment]
        answer = await Client(proxy).ask("GET", "/xcap-caps/global/index")
        self.assertEqual(answer.status, 200)
        refused = await original(heads[-1])
        self.assertEqual(refused.status, 401)
        self.assertIn("stale=true", refused.header("www-authenticate") or "")


class CurlTests(RealTestCase):
    """An independent client over HTTPS."""

    async def start(self, settings: DigestSettings | None = None) -> None:
        """The proxy behind TLS."""
        if shutil.which("curl") is None:
            raise SkipTest("curl is not installed")
        self.ca = make_ca()
        mine = issue(self.ca, [HOST])
        site = HttpSite(await self.proxy(remote=True, settings=settings), cast(Any, reactor))
        self.addCleanup(lambda: Deferred.fromCoroutine(site.stop()))
        _, self.port = site.listen(
            "127.0.0.1",
            0,
            TlsSettings(
                credentials=load_credentials(mine.certificate, mine.key),
                trust_roots=(),
                client_certificates="none",
            ),
        )

    async def curl(self, *args: str, user: str = "alice:alice's") -> tuple[str, bytes]:
        """Status and body of what curl gets."""
        out, err, code = await getProcessOutputAndValue(
            shutil.which("curl") or "",
            [
                *("-sS", "-g", "--path-as-is", "--cacert", self.ca.file, "--max-time", "20"),
                *("--connect-to", f"::127.0.0.1:{self.port}", "--digest", "-u", user),
                *("-w", "\n%{http_code}"),
                *args,
            ],
            env={"PATH": os.environ.get("PATH", "")},
        )
        self.assertEqual(code, 0, err)
        body, _, status = out.rpartition(b"\n")
        return status.decode(), body

    async def check(self) -> None:
        """PUT, GET and DELETE with escaped node selectors."""
        root = ROOT.rstrip("/")
        file = FilePath(tempfile.mktemp(dir=os.getcwd()))
        file.setContent(LISTS)
        header = ("-H", ": ".join(TYPE))
        status, _ = await self.curl(*header, "-T", file.path, root + INDEX)
        self.assertEqual(status, "201")
        self.assertEqual(await self.curl(root + INDEX), ("200", LISTS))
        file.setContent(b'<entry uri="sip:bob@example.com"/>')
        status, _ = await self.curl("-H", ": ".join(ELEMENT), "-T", file.path, root + ENTRY)
        self.assertEqual(status, "201")
        status, body = await self.curl("--compressed", root + ENTRY)
        self.assertEqual((status, body), ("200", b'<entry uri="sip:bob@example.com"/>'))
        raw = ENTRY.replace("%5b", "[").replace("%5d", "]").replace("%22", '"')
        self.assertEqual((await self.curl(root + raw))[0], "200")
        self.assertEqual((await self.curl("-X", "DELETE", root + ENTRY))[0], "200")
        self.assertEqual((await self.curl(root + ENTRY))[0], "404")
        self.assertEqual((await self.curl(root + INDEX, user="alice:wrong"))[0], "401")
        self.assertEqual((await self.curl(root + INDEX, user="bob:bob's"))[0], "403")
        self.assertEqual((await self.curl("-I", root + INDEX))[0], "200")

    async def test_default(self) -> None:
        """AGP-150: curl with what is offered by default, SHA-256 first."""
        await self.start()
        await self.check()

    async def test_md5(self) -> None:
        """AGP-150, AGP-20: curl with MD5."""
        await self.start(DigestSettings(("MD5",), ("auth",)))
        await self.check()

    async def test_auth_int(self) -> None:
        """AGP-23: a client that cannot do auth-int takes auth where both are offered."""
        await self.start(DigestSettings(("SHA-256",)))
        await self.check()
