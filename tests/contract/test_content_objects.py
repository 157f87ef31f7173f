"""What every implementation of ``IContentObjects`` does: in process, and over HTTPS (PRS-15)."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from presence.content.errors import ContentError
from presence.content.interfaces import IContentObjects, IContentStore
from presence.content.objects import AllObjects, LocalObjects
from presence.content.remote import RemoteObjects
from pysip.transport.credentials import TlsSettings, load_credentials, load_trust_roots
from tests.certificates import issue
from tests.presence.contents import ALICE, BOB, SERVER
from tests.presence.contentsites import SiteCase
from xcap.agent import AgentSettings, HttpAgent
from xcap.auth.identity import IdentityAsserter
from xcap.clienttls import VerifiedServer
from xcap.upstream import server_endpoint

PNG = bytes(range(256)) * 500


class Contract:
    """The tests."""

    objects: IContentObjects

    def make(self) -> IContentObjects:
        """The implementation."""
        raise NotImplementedError

    async def setUp(self: Any) -> None:
        """Build server and client."""
        await super().setUp()  # type: ignore[misc]
        self.objects = self.make()
        self.until = self.wall() + 1000

    async def refused(self: Any, asked: Any) -> ContentError:
        """What a request fails with."""
        with self.assertRaises(ContentError) as caught:
            await asked
        error: ContentError = caught.exception
        return error

    def test_interface(self: Any) -> None:
        """It is one."""
        verifyObject(IContentObjects, self.objects)
        verifyObject(IContentStore, self.store)

    async def test_store(self: Any) -> None:
        """AGP-106, PRS-15: what is stored for a user can be fetched, and is the user's."""
        uri = await self.objects.store(ALICE, "image/png", PNG, self.until)
        self.assertTrue(self.objects.owns(uri))
        fetched = await self.objects.fetch(uri, len(PNG))
        self.assertEqual((fetched.content_type, fetched.body), ("image/png", PNG))
        (found,) = await self.store.listing(ALICE)
        self.assertEqual(found.owner, ALICE)
        self.assertEqual(found.expires, self.until)

    async def test_limit(self: Any) -> None:
        """CIN-06: what is larger than who asks takes is not taken."""
        uri = await self.objects.store(ALICE, "image/png", PNG, self.until)
        error = await self.refused(self.objects.fetch(uri, len(PNG) - 1))
        self.assertEqual(error.kind, "large")

    async def test_missing(self: Any) -> None:
        """What there is not is missing: another id, an object whose time is over, a user."""
        error = await self.refused(self.objects.fetch(f"{self.base}o/{'x' * 32}", 10))
        self.assertEqual((error.kind, error.status), ("missing", 404))
        error = await self.refused(self.objects.keep(f"{self.base}o/{'x' * 32}", self.until))
        self.assertEqual(error.kind, "missing")
        uri = await self.objects.store(ALICE, "image/png", b"x", self.until)
        self.offset = 2000.0
        for asked in (self.objects.fetch(uri, 10), self.objects.keep(uri, self.wall() + 5)):
            error = await self.refused(asked)
            self.assertEqual(error.kind, "missing")
        asked = self.objects.store("sip:a@foreign.example", "image/png", b"x", self.until)
        self.assertEqual((await self.refused(asked)).kind, "missing")

    async def test_foreign(self: Any) -> None:
        """CIN-06: no other server is ever asked, however its URI looks."""
        id = "x" * 32
        host = self.base.split("/")[2]
        for uri in (
            f"https://evil.example/cs/o/{id}",
            f"http://{host}/cs/o/{id}",
            f"https://{host}.evil.example/cs/o/{id}",
            f"https://{host}@evil.example/cs/o/{id}",
            f"https://{host}/other/{id}",
            f"https://{host}/cs/o/../../{id}",
            f"https://{host}/cs/users/{ALICE}/",
            f"https://{host}/cs/o/{id}?x",
            f"https://localhost:1/cs/o/{id}",
            "file:///etc/passwd",
            "",
            "nonsense",
        ):
            self.assertFalse(self.objects.owns(uri), uri)
            for asked in (self.objects.fetch(uri, 10), self.objects.keep(uri, self.until)):
                self.assertEqual((await self.refused(asked)).kind, "foreign", uri)
        self.assertTrue(self.objects.owns(f"HTTPS://LOCALHOST:{host[10:]}/cs/o/{id}"))

    async def test_keep(self: Any) -> None:
        """CSV-05, AGP-109: a reference makes a life longer, never shorter, nor too long."""
        uri = await self.objects.store(BOB, "image/png", b"x", self.until)
        for wanted, got in ((3000, 3000), (2000, 3000), (1e9, 30 * 86400)):
            self.assertIsNone(await self.objects.keep(uri, self.wall() + wanted))
            (found,) = await self.store.listing(BOB)
            self.assertEqual(found.expires, self.wall() + got)

    async def test_refused(self: Any) -> None:
        """AGP-110: the rules of clients hold for servers, too."""
        asked = self.objects.store(ALICE, "text/html", b"x", self.until)
        self.assertEqual((await self.refused(asked)).kind, "refused")
        asked = self.objects.store(ALICE, "image/png", b"x" * (6 << 20) + b"x", self.until)
        self.assertEqual((await self.refused(asked)).kind, "large")
        for _ in range(10):
            await self.objects.store(ALICE, "image/png", b"x", self.until)
        asked = self.objects.store(ALICE, "image/png", b"x", self.until)
        error = await self.refused(asked)
        self.assertEqual((error.kind, error.status), ("large", 507))

    async def test_unavailable(self: Any) -> None:
        """CIN-05: a store that does not work is an error like any other."""
        uri = await self.objects.store(ALICE, "image/png", b"x", self.until)
        await self.store.stop()
        for asked in (
            self.objects.fetch(uri, 10),
            self.objects.keep(uri, self.until),
            self.objects.store(ALICE, "image/png", b"x", self.until),
        ):
            self.assertEqual((await self.refused(asked)).kind, "unreachable")


class LocalTests(Contract, SiteCase):
    """In the process of the server."""

    def make(self) -> IContentObjects:
        """Straight to the store."""
        return LocalObjects(self.roots, self.keeping, self.reactor)

    async def test_late(self) -> None:
        """CIN-06: nobody waits for ever."""
        uri = await self.objects.store(ALICE, "image/png", b"x", self.until)
        slow = LocalObjects(self.roots, self.keeping, self.reactor, timeout=0.01)
        with mock.patch.object(self.store, "read", return_value=Deferred()):
            self.assertEqual((await self.refused(slow.fetch(uri, 10))).kind, "late")


class AllTests(Contract, SiteCase):
    """Several servers."""

    def make(self) -> IContentObjects:
        """One that has nothing, and one that has all."""
        local = LocalObjects(self.roots, self.keeping, self.reactor)
        nothing = LocalObjects([], self.keeping, self.reactor)
        return AllObjects([local, nothing])


class RemoteTests(Contract, SiteCase):
    """Elsewhere, as a server that proves itself by its certificate."""

    def make(self) -> IContentObjects:
        """Over HTTPS."""
        return self.remote()

    def remote(self, names: tuple[str, ...] = ("ps.example.com",)) -> RemoteObjects:
        """A client with a certificate."""
        mine = issue(self.ca, names)
        settings = TlsSettings(
            credentials=load_credentials(mine.certificate, mine.key),
            trust_roots=load_trust_roots([self.ca.file]),
        )

        def connect(origin: Any) -> Any:
            tls = VerifiedServer(origin.host, settings)
            return server_endpoint(self.reactor, "127.0.0.1", origin.port, tls=tls)

        agent = HttpAgent(self.reactor, [self.base], None, AgentSettings(), connect)
        remote = RemoteObjects(
            agent, self.base, self.reactor, self.wall, IdentityAsserter(), SERVER
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(remote.stop()))
        return remote

    async def test_stranger(self) -> None:
        """AGP-111: whose certificate is not that of a trusted server may nothing."""
        uri = await self.objects.store(ALICE, "image/png", b"x", self.until)
        stranger = self.remote(("other.example.com",))
        for asked in (
            stranger.store(ALICE, "image/png", b"x", self.until),
            stranger.keep(uri, self.until),
            stranger.fetch(uri, 10),
        ):
            error = await self.refused(asked)
            self.assertEqual((error.kind, error.status), ("refused", 401))
