"""A Content Server in the process of a test: real store, real threads, no ports."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from presence.content.access import Access
from presence.content.keeping import Keeping, KeepingSettings
from presence.content.passage import ContentRecord
from presence.content.records import Add, Content, ContentObject, Quota
from presence.content.server import ContentServer, ContentSettings
from presence.content.store import ContentStore
from presence.subscribers import ServedSubscribers, served_identity
from pysip.auth.digest import ha1
from pysip.auth.domains import Domains
from tests.contract.storing import StoreReactor
from tests.xcap.http_links import Answer, Line
from xcap.auth.digest import DigestSettings, HttpDigestAuthenticator
from xcap.auth.identity import IdentityAsserter, Network
from xcap.auth.nonces import Nonces
from xcap.http.settings import HttpSettings
from xcap.http.site import HttpSite
from xcap.roots import Root, Roots

DOMAIN = "example.com"
ALICE = "sip:alice@example.com"
BOB = "sip:bob@example.com"
SERVER = "sip:ps@presence.invalid"
BASE = "https://content.example.com/cs/"
WALL = 1_900_000_000.0
"""17 March 2030, 17:46:40 GMT."""
PASSWORD = "correct horse"
KIB = 1024


class Users:
    """Digest accounts of alice and bob."""

    def ha1(self, username: str, realm: str, algorithm: str) -> str | None:
        """Of a user of the domain."""
        if username not in ("alice", "bob") or realm != DOMAIN:
            return None
        return ha1(username, realm, PASSWORD, algorithm)

    def identities(self, username: str, realm: str) -> tuple[str, ...]:
        """The one of a user."""
        return (f"sip:{username}@{realm}",)


class StoreCase(SynchronousTestCase):
    """A directory, and stores on it."""

    def setUp(self) -> None:
        """Choose a directory that does not exist yet."""
        self.reactor = StoreReactor()
        self.directory = Path(self.mktemp()) / "content"
        self.store = self.open()

    def open(self) -> ContentStore:
        """A started store, stopped at the end of the test."""
        store = ContentStore(self.reactor, self.directory)
        self.reactor.wait(store.start())
        self.addCleanup(lambda: self.reactor.wait(store.stop()))
        return store

    def wait(self, outcome: Any) -> Any:
        """What a Deferred or coroutine gives."""
        if not isinstance(outcome, Deferred):
            outcome = Deferred.fromCoroutine(outcome)
        return self.reactor.wait(outcome)

    def content(self, octets: bytes) -> Content:
        """Some content, complete."""
        upload = self.store.upload()
        for start in range(0, len(octets), 1000):
            upload.take(octets[start : start + 1000])
        return cast(Content, self.wait(upload.finish()))

    def adding(self, id: str, octets: bytes = b"abc", owner: str = ALICE, **changes: Any) -> Add:
        """A new object, its content complete."""
        fields: dict[str, Any] = {
            "type": "image/png",
            "now": 100.0,
            "expires": 200.0,
            "quota": Quota(10, 10_000),
        }
        return Add(id, owner, content=self.content(octets), **(fields | changes))

    def add(self, id: str, octets: bytes = b"abc", owner: str = ALICE, **changes: Any) -> Any:
        """Make an object."""
        return self.wait(self.store.change(self.adding(id, octets, owner, **changes)))

    def read(self, id: str) -> bytes | None:
        """The content of an object, read in pieces."""
        found: ContentObject | None = self.wait(self.store.find(id))
        if found is None:
            return None
        source = self.wait(self.store.source(found, 0, found.size))
        if source is None:
            return None
        octets = b""
        while piece := self.wait(source.read()):
            octets += piece
        source.close()
        return octets

    def files(self) -> list[str]:
        """All files but those of the database."""
        return sorted(
            path.name
            for path in self.directory.rglob("*")
            if path.is_file() and not path.name.startswith("content.sqlite")
        )


class ServerCase(StoreCase):
    """A Content Server behind a site without ports.

    Requests come from a trusted proxy that asserts who asks, unless a test does otherwise.
    """

    settings = ContentSettings(rate=0.0)
    keeping_settings = KeepingSettings(
        size=300 * KIB, quota=Quota(5, 1000 * KIB), default_life=3600, max_life=86400
    )

    def setUp(self) -> None:
        """Build it."""
        super().setUp()
        self.records: list[ContentRecord] = []
        domains = Domains([DOMAIN])
        roots = Roots([Root(BASE, DOMAIN)])
        self.keeping = Keeping(
            self.store,
            ServedSubscribers(domains),
            self.keeping_settings,
            wall=self.wall,
        )

        def canonical(uri: str) -> str:
            return served_identity(uri, domains)

        self.authenticator = HttpDigestAuthenticator(
            cast(Any, Users()),
            roots.realm,
            Nonces(b"k" * 32, 300.0),
            settings=DigestSettings(qop=("auth",)),
        )
        network: Network = ipaddress.ip_network("192.0.2.1/32")
        asserter = IdentityAsserter(networks=[network], strict=False, canonical=canonical)
        access = Access(
            self.authenticator, asserter, ServedSubscribers(domains), [SERVER], canonical
        )
        self.server = ContentServer(
            roots,
            self.keeping,
            access,
            self.reactor,
            self.settings,
            record=self.records.append,
        )
        self.site = HttpSite(
            self.server,
            cast(Any, self.reactor),
            HttpSettings(streamed=self.keeping_settings.size),
            wall=self.wall,
        )
        self.factory = self.site.factory()
        self.addCleanup(self.reactor.advance, 0)

    def wall(self) -> float:
        """Wall-clock seconds."""
        return WALL + self.reactor.seconds()

    def line(self, address: str = "192.0.2.1") -> Line:
        """A new connection."""
        protocol = self.factory.buildProtocol(IPv4Address("TCP", address, 40000))
        assert protocol is not None
        line = Line(cast(Any, self), protocol, address)
        self.addCleanup(self.drop, line)
        return line

    def drop(self, line: Line) -> None:
        """End a connection."""
        if not line.protocol.lost:
            line.hang_up()

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *fields: str,
        user: str = ALICE,
        address: str = "192.0.2.1",
        line: Line | None = None,
    ) -> Answer:
        """Send a request and give the answer.

        :param target: absolute URI, or path below the base.
        :param user: as asserted, "" for nobody.
        """
        own = line is None
        line = line or self.line(address)
        path = target.removeprefix(BASE)
        path = path if path.startswith("/") else f"/cs/{path}"
        head = [f"{method} {path} HTTP/1.1", "Host: content.example.com", *fields]
        if user:
            head.append(f'X-3GPP-Asserted-Identity: "{user}"')
        if body is not None and not any(f.lower().startswith("content-length") for f in fields):
            head.append(f"Content-Length: {len(body)}")
        data = "\r\n".join([*head, "", ""]).encode() + (body or b"")
        for start in range(0, len(data), 65536):
            line.feed(data[start : start + 65536])
        found: list[Answer] = []

        def answered() -> bool:
            written = line.wire.value()
            end = written.find(b"\r\n\r\n")
            if end < 0:
                return False
            if written.startswith(b"HTTP/1.1 100"):
                line.wire.clear()
                line.wire.write(written[end + 4 :])
                return False
            length = 0
            for name in written[:end].lower().split(b"\r\n"):
                if name.startswith(b"content-length:"):
                    length = int(name.partition(b":")[2])
            if method == "HEAD":
                length = 0
            if len(written) < end + 4 + length:
                return False
            found.extend(line.answers(heads=method == "HEAD"))
            return True

        self.reactor.until(answered)
        if own:
            self.drop(line)
        return found[0]

    def post(self, body: bytes, *fields: str, user: str = ALICE, owner: str = "") -> Answer:
        """Store a picture, unless the fields say otherwise."""
        if not any(field.lower().startswith("content-type") for field in fields):
            fields = ("Content-Type: image/png", *fields)
        return self.ask("POST", f"users/{owner or user}/", body, *fields, user=user)
