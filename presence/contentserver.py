"""Building the Content Server of a process, and what its Presence Server asks of such servers.

Part of the composition root, with :mod:`presence.build`.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import attrs

from presence.content.access import Access
from presence.content.ending import Ending
from presence.content.keeping import Keeping, KeepingSettings
from presence.content.objects import AllObjects, LocalObjects
from presence.content.records import Quota
from presence.content.remote import RemoteObjects
from presence.content.server import ContentServer, ContentSettings
from presence.content.store import ContentStore
from presence.content.switch import PathSwitch
from presence.subscribers import served_identity
from presence.xdm import http_settings, known_subscribers
from pysip.transport.credentials import TlsSettings, load_credentials, load_trust_roots
from xcap.agent import AgentSettings, HttpAgent
from xcap.auth.identity import IdentityAsserter
from xcap.clienttls import VerifiedServer
from xcap.http.site import HttpSite
from xcap.roots import Root, Roots, domain_roots
from xcap.upstream import server_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IStreamClientEndpoint

    from presence.accesslog import AccessLog
    from presence.accounts import Accounts
    from presence.config import Config, ContentPeer
    from presence.content.interfaces import IContentObjects
    from presence.gate import Gate
    from pysip.auth.domains import Domains
    from xcap.agent import Origin
    from xcap.auth.digest import HttpDigestAuthenticator
    from xcap.interfaces import IHttpService

_SWEEP = 60.0
"""Seconds between two looks for objects whose time is over; they may stay an hour (AGP-109)."""


@attrs.define(eq=False)
class Content:
    """The Content Server of this process.

    :ivar roots: its base URIs.
    :ivar site: of its own listening points; None where it is reached by the proxy's.
    """

    roots: list[Root]
    store: ContentStore
    keeping: Keeping
    server: ContentServer
    authenticator: HttpDigestAuthenticator
    ending: Ending
    site: HttpSite | None

    async def stop(self) -> None:
        """Make durable what is queued."""
        self.ending.stop()
        await self.store.stop()

    def beside(self, service: IHttpService) -> PathSwitch:
        """A service that has its own requests answered here, and all others by another."""
        return PathSwitch([(root.prefix, self.server) for root in self.roots], service)


def build_content(
    config: Config,
    reactor: Any,
    accounts: Accounts,
    domains: Domains,
    gate: Gate,
    overloaded: Callable[[], float | None],
    access: AccessLog | None,
) -> Content | None:
    """The Content Server, None when this process plays no such role.

    :param gate: what guards the doors of all HTTP servers of this process.
    """
    if "content-server" not in config.roles:
        return None
    table = config.content
    subscribers = known_subscribers(config, accounts, domains)
    store = ContentStore(reactor, config.content_path, config.store.synchronous)
    keeping = Keeping(
        store,
        subscribers,
        KeepingSettings(
            size=table.size,
            quota=Quota(table.objects, table.total_size),
            types=table.types,
            default_life=table.default_life,
            max_life=table.max_life,
            uploads=table.uploads,
        ),
    )
    ending = Ending(store, reactor, time.time, _SWEEP)
    if config.xcap.users == "accounts":
        accounts.when_gone(ending.gone)

    def canonical(uri: str) -> str:
        return served_identity(uri, domains)

    found = content_roots(config)
    roots = Roots(found)
    # bodies are not held, so no digest can cover them
    authenticator = gate.authenticator(roots.realm, ("auth",))
    servers = [canonical(name) if name.startswith("sip:") else name for name in table.servers]
    asserter = IdentityAsserter(networks=table.networks, strict=False, canonical=canonical)
    server = ContentServer(
        roots,
        keeping,
        Access(authenticator, asserter, subscribers, servers, canonical),
        reactor,
        ContentSettings(
            reading=table.read,
            upload_time=table.upload_timeout,
            rate=config.proxy.rate,
            burst=config.proxy.burst,
        ),
        random=os.urandom,
        record=access.content if access is not None else None,
    )
    site = None
    if table.listen:
        site = HttpSite(server, reactor, http_settings(config), overloaded=overloaded)
    return Content(found, store, keeping, server, authenticator, ending, site)


def content_roots(config: Config) -> list[Root]:
    """The base URIs; that of a domain is also known by the domain's aliases."""
    return domain_roots(config.content_uris(), config.domain_aliases)


@attrs.define(eq=False)
class Objects:
    """The objects that the Presence Server of this process may ask for (PRS-15).

    :ivar all: of this process, and of servers elsewhere.
    """

    all: IContentObjects
    remotes: list[RemoteObjects]

    async def stop(self) -> None:
        """Close the connections."""
        for remote in self.remotes:
            await remote.stop()


def content_objects(config: Config, reactor: Any, content: Content | None) -> Objects | None:
    """What the Presence Server of this process asks of Content Servers, None without any.

    :raises CredentialsError: a certificate for a server elsewhere cannot be used.
    """
    timeout = config.content.answer_timeout
    found: list[IContentObjects] = []
    if content is not None:
        found.append(LocalObjects(content.roots, content.keeping, reactor, timeout))
    remotes = [_remote(config, peer, reactor, timeout) for peer in config.content.server]
    found += remotes
    return Objects(AllObjects(found), remotes) if found else None


def _remote(config: Config, peer: ContentPeer, reactor: Any, timeout: float) -> RemoteObjects:
    own = load_credentials(peer.certificate, peer.key) if peer.key else None
    trusted = load_trust_roots([peer.ca]) if peer.ca else None
    settings = TlsSettings(credentials=own, trust_roots=trusted)

    def connect(origin: Origin) -> IStreamClientEndpoint:
        tls = VerifiedServer(origin.host, settings) if origin.scheme == "https" else None
        return server_endpoint(reactor, origin.host, origin.port, tls=tls, timeout=timeout)

    agent = HttpAgent(reactor, [peer.uri], None, AgentSettings(timeout=timeout), connect)
    return RemoteObjects(
        agent,
        peer.uri,
        reactor,
        time.time,
        IdentityAsserter(),
        config.fetch.identity,
        timeout,
    )
