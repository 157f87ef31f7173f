"""Tests of :mod:`presence.content.client`: sources and watchers at a server with TLS and Digest."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from presence.content.cache import ContentCache
from presence.content.client import ContentClient
from presence.content.errors import ContentError
from presence.content.records import Content
from presence.content.server import ContentSettings
from tests.presence.contents import ALICE, BOB, PASSWORD, WALL
from tests.presence.contentsites import MIB, SiteCase
from xcap.agenttls import Trust
from xcap.auth.client import HttpCredentials

PNG = bytes(range(256)) * 20


class ClientCase(SiteCase):
    """A server and its clients."""

    async def setUp(self) -> None:  # type: ignore[override]
        """Alice stores, bob retrieves."""
        await super().setUp()
        self.alice = self.client("alice")
        self.bob = self.client("bob")
        self.place = self.directory / "got"

    def client(self, user: str, **options: Any) -> ContentClient:
        """The client of a user."""
        options.setdefault("trust", self.trust)
        credentials = HttpCredentials(user, options.pop("password", PASSWORD))
        client = ContentClient(
            self.reactor, self.base, f"sip:{user}@example.com", credentials, **options
        )
        self.addCleanup(client.stop)
        return client

    def file(self, octets: bytes) -> Path:
        """A file with octets."""
        path = self.directory / "icon"
        path.write_bytes(octets)
        return path

    async def refused(self, asked: Any) -> ContentError:
        """What a request fails with."""
        with self.assertRaises(ContentError) as caught:
            await asked
        error: ContentError = caught.exception
        return error

    def left(self) -> list[str]:
        """Temporary files."""
        return [path.name for path in self.directory.rglob(".content-*")]


class SourceTests(ClientCase):
    """PRS-13, SRC-03: a Presence Source stores objects."""

    async def test_store(self) -> None:
        """What comes back is what a reference says; octets or a file."""
        for content in (PNG, self.file(PNG), str(self.file(PNG))):
            made = await self.alice.store(content, "image/png", 7200)
            self.assertTrue(made.uri.startswith(self.base))
            self.assertEqual((made.size, made.content_type), (len(PNG), "image/png"))
            self.assertEqual(made.sha1, hashlib.sha1(PNG).hexdigest())
            self.assertEqual(made.expires, WALL + 7200)
            found = await self.bob.retrieve(made.uri, to=self.place)
            self.assertEqual((found.etag, self.place.read_bytes()), (made.etag, PNG))
        self.assertEqual(len(await self.alice.listing()), 3)

    async def test_measure(self) -> None:
        """What is small comes into memory, and of the rest it is told what it is."""
        sha1 = hashlib.sha1(PNG).hexdigest()
        for content in (PNG, self.file(PNG), str(self.file(PNG))):
            found = await self.alice.measure(content, len(PNG))
            self.assertEqual((found.size, found.sha1, found.body), (len(PNG), sha1, PNG))
            found = await self.alice.measure(content, len(PNG) - 1)
            self.assertEqual((found.size, found.sha1, found.body), (len(PNG), sha1, None))
        self.assertEqual((await self.alice.measure(self.file(b""), 0)).body, b"")
        error = await self.refused(self.alice.measure(self.directory / "nothing", 5))
        self.assertEqual(error.kind, "refused")
        self.assertIn("No such file", error.text)
        self.assertEqual(await self.alice.listing(), [])

    async def test_change(self) -> None:
        """The owner replaces, extends and deletes."""
        made = await self.alice.store(PNG, "image/png", 100)
        again = await self.alice.replace(made.uri, b"GIF", "image/gif", match=made.etag)
        self.assertEqual((again.uri, again.size), (made.uri, 3))
        error = await self.refused(self.alice.replace(made.uri, b"x", "image/gif", match=made.etag))
        self.assertEqual((error.kind, error.status), ("refused", 412))
        self.assertEqual(await self.alice.extend(made.uri, 200_000), WALL + 200_000)
        await self.alice.delete(made.uri)
        error = await self.refused(self.alice.delete(made.uri))
        self.assertEqual(error.kind, "missing")

    async def test_refused(self) -> None:
        """Refusals tell their kind."""
        error = await self.refused(self.alice.store(b"x", "text/html"))
        self.assertEqual((error.kind, error.status), ("refused", 415))
        large = self.file(b"x" * (6 * MIB + 1))
        error = await self.refused(self.alice.store(large, "image/png"))
        self.assertEqual((error.kind, error.status), ("large", 413))
        error = await self.refused(self.alice.store(self.directory / "nothing", "image/png"))
        self.assertEqual(error.kind, "refused")
        error = await self.refused(self.client("alice", password="wrong").store(PNG, "image/png"))
        self.assertEqual((error.kind, error.status), ("refused", 401))
        error = await self.refused(self.alice.delete("https://evil.example/cs/o/x"))
        self.assertEqual(error.kind, "foreign")

    async def test_stale(self) -> None:
        """A nonce that has become too old costs another attempt, and no second upload."""
        await self.alice.store(PNG, "image/png")
        with mock.patch.object(self.authenticator._nonces, "read", return_value=None):
            error = await self.refused(self.alice.store(PNG, "image/png"))
        self.assertEqual(error.status, 401)
        await self.alice.store(PNG, "image/png")
        self.assertEqual(len(await self.store.listing(ALICE)), 2)

    async def test_large(self) -> None:
        """AGP-113: 5 MB go and come, and neither side has them in memory."""
        octets = os.urandom(5 * MIB)
        digest = hashlib.sha1(octets).hexdigest()
        path = self.file(octets)
        del octets
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        made = await self.alice.store(path, "image/png")
        await self.bob.retrieve(made.uri, limit=6 * MIB, sha1=digest, to=self.place)
        _, peak = tracemalloc.get_traced_memory()
        self.assertLess(peak, 3 * MIB)
        self.assertEqual(self.place.read_bytes(), path.read_bytes())

    async def test_restart(self) -> None:
        """A server that has closed the connection meanwhile is asked anew."""
        await self.alice.store(PNG, "image/png")
        for connection in list(self.site._serving.connections):
            connection.abort()
        await self.alice.store(PNG, "image/png")


class WatcherTests(ClientCase):
    """PRS-14, WAT-06: a Watcher retrieves objects."""

    async def setUp(self) -> None:  # type: ignore[override]
        """There is an object."""
        await super().setUp()
        self.made = await self.alice.store(PNG, "image/png")

    async def test_checks(self) -> None:
        """CIN-03, CIN-12: size and hash have to be what the reference says."""
        made = self.made
        good = {"size": made.size, "sha1": made.sha1.upper()}
        found = await self.bob.retrieve(made.uri, to=self.place, **good)
        self.assertEqual((found.path, found.sha1, found.cached), (self.place, made.sha1, False))
        for wrong in (
            {"sha1": "0" * 40},
            {"size": made.size + 1},
            {"size": made.size - 1},
            {"size": 5, "sha1": made.sha1},
        ):
            self.place.write_bytes(b"before")
            error = await self.refused(self.bob.retrieve(made.uri, to=self.place, **wrong))
            self.assertEqual(error.kind, "mismatch", wrong)
            self.assertEqual(self.place.read_bytes(), b"before")
        await deferLater(self.reactor, 0)
        self.assertEqual(self.left(), [])

    async def test_limit(self) -> None:
        """Nothing larger than wanted is taken; by the reference not even asked for."""
        error = await self.refused(self.bob.retrieve(self.made.uri, limit=100, to=self.place))
        self.assertEqual(error.kind, "large")
        before = sum(self.server.requests.values())
        asked = self.bob.retrieve(self.made.uri, limit=100, size=101, to=self.place)
        self.assertEqual((await self.refused(asked)).kind, "large")
        self.assertEqual(sum(self.server.requests.values()), before)
        self.assertFalse(self.place.exists())

    async def test_hosts(self) -> None:
        """CIN-03: only servers that are allowed are asked; strangers see no credentials."""
        for uri in (
            "https://evil.example/x",
            "https://localhost:1/x",
            "ftp://localhost/x",
            "https://u:p@localhost/x",
            "",
        ):
            error = await self.refused(self.bob.retrieve(uri, to=self.place))
            self.assertEqual(error.kind, "foreign", uri)
        other = ContentClient(
            self.reactor,
            "https://own.example/cs/",
            BOB,
            HttpCredentials("bob", PASSWORD),
            trust=self.trust,
        )
        self.addCleanup(other.stop)
        port = self.base.split(":")[2].split("/")[0]
        allowed = (f"localhost:{port}",)
        error = await self.refused(
            other.retrieve(self.made.uri, allowed_hosts=allowed, to=self.place)
        )
        self.assertEqual(error.status, 401)
        self.assertEqual(self.authenticator.outcomes["none"] > 0, True)
        asked = other.retrieve(self.made.uri, allowed_hosts=("localhost",), to=self.place)
        self.assertEqual((await self.refused(asked)).kind, "foreign")

    async def test_plain(self) -> None:
        """CIN-03: without a hash an object has to come by HTTPS."""
        asked = self.bob.retrieve("http://h.example/x", allowed_hosts=["h.example"], to=self.place)
        self.assertEqual((await self.refused(asked)).kind, "refused")

    async def test_certificate(self) -> None:
        """CIN-12: a server whose certificate nobody vouches for is not asked, hash or not."""
        client = self.client("bob", trust=Trust())
        for sha1 in (None, self.made.sha1):
            asked = client.retrieve(self.made.uri, sha1=sha1, to=self.place)
            self.assertEqual((await self.refused(asked)).kind, "unreachable")

    async def test_cache(self) -> None:
        """What has not changed is not sent again; with a hash not even asked for."""
        cache = ContentCache(self.directory / "cache")
        bob = self.client("bob", cache=cache)
        uri = self.made.uri
        first = await bob.retrieve(uri)
        self.assertEqual((first.cached, first.path.read_bytes()), (False, PNG))
        again = await bob.retrieve(uri, to=self.place)
        self.assertEqual((again.cached, self.place.read_bytes()), (True, PNG))
        self.assertEqual(self.server.requests["object", "GET", 304], 1)
        before = sum(self.server.requests.values())
        known = await bob.retrieve(uri, sha1=self.made.sha1)
        self.assertEqual((known.cached, sum(self.server.requests.values())), (True, before))
        await self.alice.replace(uri, b"GIF", "image/gif")
        changed = await bob.retrieve(uri)
        self.assertEqual((changed.cached, changed.path.read_bytes()), (False, b"GIF"))
        self.assertEqual(changed.content_type, "image/gif")
        error = await self.refused(bob.retrieve(uri, sha1=self.made.sha1))
        self.assertEqual(error.kind, "mismatch")
        await self.alice.delete(uri)
        self.assertEqual((await self.refused(bob.retrieve(uri))).kind, "missing")
        self.assertIsNone(cache.get(uri))
        self.assertRaises(ValueError, self.bob.retrieve, uri)

    async def test_broken_cache(self) -> None:
        """A cache that somebody has changed is not believed; one that cannot be is an error."""
        folder = self.directory / "cache"
        bob = self.client("bob", cache=ContentCache(folder))
        found = await bob.retrieve(self.made.uri)
        found.path.write_bytes(b"short")
        again = await bob.retrieve(self.made.uri)
        self.assertEqual((again.cached, again.path.read_bytes()), (False, PNG))
        bad = self.client("bob", cache=ContentCache(self.file(b"a file")))
        self.assertEqual((await self.refused(bad.retrieve(self.made.uri))).kind, "refused")

    async def test_no_place(self) -> None:
        """A file that cannot be written is an error."""
        nowhere = self.directory / "missing" / "file"
        error = await self.refused(self.bob.retrieve(self.made.uri, to=nowhere))
        self.assertEqual(error.kind, "refused")

    async def test_late(self) -> None:
        """A server that says nothing is waited for so long and no longer."""
        factory = Factory.forProtocol(Protocol)
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = ContentClient(self.reactor, timeout=0.2)
        self.addCleanup(client.stop)
        host = f"127.0.0.1:{port.getHost().port}"
        asked = client.retrieve(
            f"http://{host}/x", allowed_hosts=[host], sha1="0" * 40, to=self.place
        )
        self.assertEqual((await self.refused(asked)).kind, "late")

    async def test_redirect(self) -> None:
        """CIN-03: a redirect to another server leads nowhere."""

        class Redirecting(Protocol):
            def dataReceived(self, data: bytes) -> None:
                if self.transport is not None:
                    self.transport.write(
                        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n"
                        b"Content-Length: 0\r\n\r\n"
                    )

        factory = Factory.forProtocol(Redirecting)
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = ContentClient(self.reactor, timeout=5.0)
        self.addCleanup(client.stop)
        host = f"127.0.0.1:{port.getHost().port}"
        asked = client.retrieve(
            f"http://{host}/x", allowed_hosts=[host], sha1="0" * 40, to=self.place
        )
        self.assertEqual((await self.refused(asked)).kind, "foreign")


class AnybodyTests(ClientCase):
    """Foreign watchers read by the URI alone, where the server lets them (AGP-111)."""

    settings = ContentSettings(reading="anybody", rate=0.0)

    async def test_foreign(self) -> None:
        """CSV-02: a client of another domain needs no account."""
        made = await self.alice.store(PNG, "image/png")
        foreign = ContentClient(self.reactor, trust=self.trust)
        self.addCleanup(foreign.stop)
        host = self.base.split("/")[2]
        found = await foreign.retrieve(made.uri, allowed_hosts=[host.upper()], to=self.place)
        self.assertEqual((found.size, self.place.read_bytes()), (made.size, PNG))
        self.assertIsInstance(foreign.stop(), Deferred)


class CacheTests(SiteCase):
    """The cache by itself."""

    def test_limit(self) -> None:
        """What has not been used for longest goes first."""
        cache = ContentCache(self.directory / "c", limit=250)
        cache.prepare()
        for n in range(3):
            file = self.directory / "c" / f".content-{n}"
            file.write_bytes(b"x" * 100)
            kept = cache.put(f"https://h/{n}", f"e{n}", "t/t", Content(str(file), 100, b"", b""))
            os.utime(kept.path, (1000 + n, 1000 + n))
            if n == 1:
                found = cache.get("https://h/0")
                assert found is not None
                os.utime(found.path, (5000, 5000))
        self.assertEqual(
            [cache.get(f"https://h/{n}") is not None for n in range(3)], [True, False, True]
        )
        cache.drop("https://h/0")
        self.assertIsNone(cache.get("https://h/0"))
