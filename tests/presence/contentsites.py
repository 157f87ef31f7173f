"""A Content Server on a port of loopback, with TLS, in the process of a test."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from presence.content.access import Access
from presence.content.keeping import Keeping, KeepingSettings
from presence.content.records import Quota
from presence.content.server import ContentServer, ContentSettings
from presence.content.store import ContentStore
from presence.subscribers import ServedSubscribers, served_identity
from pysip.auth.domains import Domains
from pysip.transport.credentials import TlsSettings, load_credentials, load_trust_roots
from tests.certificates import issue, make_ca
from tests.presence.contents import DOMAIN, SERVER, WALL, Users
from xcap.agenttls import Trust
from xcap.auth.digest import DigestSettings, HttpDigestAuthenticator
from xcap.auth.identity import IdentityAsserter
from xcap.auth.nonces import Nonces
from xcap.http.settings import HttpSettings
from xcap.http.site import HttpSite
from xcap.roots import Root, Roots

MIB = 1 << 20


class SiteCase(TestCase):
    """A Content Server whose certificate is for localhost.

    Who has a certificate for ``ps.example.com`` is a trusted server.

    :ivar base: its base URI.
    :ivar offset: of the wall clock.
    """

    settings = ContentSettings(rate=0.0)

    async def setUp(self) -> None:  # type: ignore[override]
        """Listen."""
        self.offset = 0.0
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.reactor: Any = reactor
        domains = Domains([DOMAIN])
        self.store = ContentStore(self.reactor, self.directory / "content")
        await self.store.start()
        self.addCleanup(self.store.stop)
        self.ca = make_ca(str(self.directory))
        mine = issue(self.ca, ["localhost"])
        tls = TlsSettings(
            credentials=load_credentials(mine.certificate, mine.key),
            trust_roots=load_trust_roots([self.ca.file]),
            client_certificates="request",
        )
        self.trust = Trust(roots=load_trust_roots([self.ca.file]))
        subscribers = ServedSubscribers(domains)
        self.keeping = Keeping(
            self.store,
            subscribers,
            KeepingSettings(size=6 * MIB, quota=Quota(10, 20 * MIB)),
            wall=self.wall,
        )

        def canonical(uri: str) -> str:
            return served_identity(uri, domains)

        self.roots: list[Root] = []
        # the port is known when it listens
        late = _LateRoots(self.roots)
        self.authenticator = HttpDigestAuthenticator(
            cast(Any, Users()),
            late.realm,
            Nonces(b"k" * 32, 300.0),
            settings=DigestSettings(qop=("auth",)),
        )
        networks = [ipaddress.ip_network("127.0.0.2/32")]
        asserter = IdentityAsserter(networks=networks, strict=False, canonical=canonical)
        access = Access(
            self.authenticator, asserter, subscribers, [SERVER, "ps.example.com"], canonical
        )
        self.server = ContentServer(
            cast(Any, late), self.keeping, access, self.reactor, self.settings
        )
        self.site = HttpSite(self.server, self.reactor, HttpSettings(streamed=6 * MIB))
        _, port = self.site.listen("127.0.0.1", 0, tls)
        self.base = f"https://localhost:{port}/cs/"
        self.roots.append(Root(self.base, DOMAIN))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.site.stop()))

    def wall(self) -> float:
        """Wall-clock seconds; they stand still."""
        return WALL + self.offset


class _LateRoots:
    """Roots that are not known yet when they are handed over."""

    def __init__(self, roots: list[Root]) -> None:
        self._roots = roots

    def find(self, head: Any) -> Root:
        """See :class:`Roots`."""
        return Roots(self._roots).find(head)

    def realm(self, head: Any) -> str:
        """See :class:`Roots`."""
        return Roots(self._roots).realm(head)
