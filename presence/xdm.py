"""Building document servers and the Aggregation Proxy of one process.

Part of the composition root, with :mod:`presence.build`.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import attrs

from presence.backends import back_ends
from presence.config import XDMS_ROLES
from presence.documentcopy import DIRECTORY, IETF_RULES, OMA_RULES, PERMANENT
from presence.subscribers import (
    AccountSubscribers,
    HomeRemover,
    ServedSubscribers,
    served_identity,
)
from xcap.aside import Aside
from xcap.auth.identity import IdentityAsserter
from xcap.document import Limits
from xcap.exchange import ExchangeSettings
from xcap.feed import ChangeFeed
from xcap.http.settings import HttpSettings
from xcap.http.site import HttpSite
from xcap.merge import MergedDocuments
from xcap.notifier import NotifierSettings, XcapDiffPackage
from xcap.profile import UaProfilePackage
from xcap.proxy import AggregationProxy, ProxySettings
from xcap.roots import Root, Roots, domain_roots
from xcap.server import DocumentServer
from xcap.store.memory import MemoryDocumentStore
from xcap.store.sqlite import SqliteDocumentStore
from xcap.upstream import UpstreamSettings
from xcap.usage.base import Quotas, Trusted
from xcap.usage.names import COMMON_POLICY
from xcap.usage.standard import UsageSettings, standard_usages
from xcap.writing import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from presence.accesslog import AccessLog
    from presence.accounts import Accounts
    from presence.backends import BackEnds
    from presence.config import Config
    from presence.eventserver import EventServer
    from presence.gate import Gate
    from pysip.auth.domains import Domains
    from xcap.auth.digest import HttpDigestAuthenticator
    from xcap.interfaces import IApplicationUsage, IHttpService, ISubscribers

SERVER = "XDM-serv/OMA1.0 txpresence"
"""Value of Server: the release of OMA XDM comes first (XDM-06)."""

_READ_BY_SERVERS = frozenset(
    {OMA_RULES, IETF_RULES, PERMANENT, DIRECTORY, "resource-lists", "rls-services"}
)


@attrs.define(eq=False)
class Documents:
    """The document servers of this process.

    :ivar usages: application usages by AUID.
    """

    store: SqliteDocumentStore | MemoryDocumentStore
    subscribers: ISubscribers
    usages: dict[str, IApplicationUsage]
    server: DocumentServer
    feed: ChangeFeed
    aside: Aside
    site: HttpSite | None

    async def stop(self) -> None:
        """Tell nobody more of changes, and make durable what is queued."""
        self.feed.stop()
        await self.aside.stop()
        await self.store.stop()


@attrs.define(eq=False)
class Proxy:
    """The Aggregation Proxy of this process.

    :ivar servers: the document servers that requests go to.
    """

    proxy: AggregationProxy
    authenticator: HttpDigestAuthenticator
    servers: BackEnds
    merged: MergedDocuments
    site: HttpSite

    def start(self) -> None:
        """Begin to look after the document servers."""
        self.servers.start()
        self.merged.start()

    async def stop(self) -> None:
        """Leave the document servers alone."""
        self.merged.stop()
        await self.servers.stop()


def build_documents(
    config: Config,
    reactor: Any,
    accounts: Accounts,
    domains: Domains,
    events: EventServer,
    overloaded: Callable[[], float | None],
    access: AccessLog | None,
) -> Documents | None:
    """The document servers of the configured roles, None when there are none.

    Their event packages are added to ``events``.
    """
    roles = [role for role in XDMS_ROLES if role in config.roles]
    if not roles:
        return None
    xcap, settings = config.xcap, config.documents
    subscribers = known_subscribers(config, accounts, domains)
    usages = _usages(config, domains, subscribers, roles)
    store = _store(config, reactor)
    roots = xcap_roots(config)
    asserter = IdentityAsserter(
        networks=config.xdms.networks,
        names=config.xdms.proxy_names,
        strict=config.xdms.strict,
        canonical=lambda uri: served_identity(uri, domains),
    )
    limits = Limits(
        size=settings.size,
        depth=settings.depth,
        elements=settings.elements,
        attributes=settings.attributes,
        name=settings.name_size,
        value=settings.value_size,
    )
    aside = Aside(reactor)
    server = DocumentServer(
        roots,
        usages.values(),
        store,
        subscribers,
        asserter,
        ServerSettings(
            limits=limits,
            documents=settings.per_usage,
            any_document_type=xcap.accept_untyped_documents,
            bare_att_value=frozenset(root.uri for root in roots if xcap.bare_attributes),
            accept_bare_att_value=xcap.accept_bare_attributes,
            quoted_tags=xcap.quoted_directory_tags,
            fallback_namespaces={"pres-rules": COMMON_POLICY} if xcap.plain_ruleset else {},
        ),
        aside,
    )
    feed = ChangeFeed(events.notifier, store, reactor, usages)
    notifier_settings = NotifierSettings(
        roots=tuple(root.uri for root in roots),
        addresses=frozenset(f"sip:{domain}" for domain in domains.names),
        body_limit=config.xdms.body_limit,
        profile_mode="xcap-patching" if config.xdms.ua_profile_patches else "no-patching",
        profile_params=config.xdms.ua_profile_params,
    )
    common = (feed, subscribers, domains, notifier_settings)
    events.add_package(XcapDiffPackage(*common))
    events.add_package(UaProfilePackage(*common, time.time))
    if xcap.users == "accounts":
        accounts.when_removed(HomeRemover(store).removed)
    site = None
    if config.xdms.listen:
        # Only proxies come here, each with as many connections as it needs.
        bounds = attrs.evolve(http_settings(config), per_address=config.http.connections)
        site = HttpSite(
            server,
            reactor,
            bounds,
            overloaded=overloaded,
            access=access.served if access is not None else None,
        )
    return Documents(store, subscribers, usages, server, feed, aside, site)


def build_proxy(
    config: Config,
    reactor: Any,
    domains: Domains,
    documents: Documents | None,
    gate: Gate,
    overloaded: Callable[[], float | None],
    access: AccessLog | None,
    beside: Callable[[IHttpService], IHttpService] | None = None,
) -> Proxy | None:
    """The Aggregation Proxy, None when this process plays no such role.

    :param gate: what guards the doors of all HTTP servers of this process.
    :param beside: puts another service before it, that is reached by the same ports.
    :raises CredentialsError: a certificate for document servers elsewhere cannot be used.
    """
    if "aggregation-proxy" not in config.roles:
        return None
    settings = config.proxy
    roots = Roots(xcap_roots(config))
    timing = UpstreamSettings(
        connect=settings.connect_timeout,
        exchange=ExchangeSettings(first_byte=settings.answer_timeout),
        interval=settings.health_interval,
    )
    servers = back_ends(reactor, documents, settings.backend, roots, timing)
    authenticator = gate.authenticator(roots.realm)
    asserter = IdentityAsserter()
    identity = f"sip:aggregation-proxy@{domains.default}"
    merged = MergedDocuments(
        roots, servers.routes, reactor, identity, asserter, asserters=servers.asserters
    )
    proxy = AggregationProxy(
        roots,
        authenticator,
        asserter,
        servers.routes,
        merged,
        reactor,
        settings=ProxySettings(
            pseudonym=f"aggregation-proxy-{os.urandom(4).hex()}",
            body=config.http.body_size,
            rate=settings.rate,
            burst=settings.burst,
            compress=settings.compress,
        ),
        asserters=servers.asserters,
        canonical=lambda uri: served_identity(uri, domains),
        canonical_user=lambda uri: served_identity(uri, domains),
        access=access.proxied if access is not None else None,
        audit=gate.audit,
    )
    service = proxy if beside is None else beside(proxy)
    site = HttpSite(service, reactor, http_settings(config), overloaded=overloaded)
    return Proxy(proxy, authenticator, servers, merged, site)


def known_subscribers(config: Config, accounts: Accounts, domains: Domains) -> ISubscribers:
    """Whose documents there may be (XCAP-09)."""
    if config.xcap.users == "accounts":
        return AccountSubscribers(accounts, domains)
    return ServedSubscribers(domains)


def http_settings(config: Config) -> HttpSettings:
    """What ``[http]`` says."""
    http = config.http
    return HttpSettings(
        line=http.request_line,
        block=http.header_size,
        fields=http.header_fields,
        body=http.body_size,
        streamed=config.content.size if "content-server" in config.roles else 0,
        connections=http.connections,
        per_address=http.connections_per_address,
        handshake=http.handshake_timeout,
        header=http.header_timeout,
        body_time=http.body_timeout,
        idle=http.idle_timeout,
        whole=http.request_timeout,
        balancers=frozenset(http.balancers),
        ciphers=http.ciphers,
        server=SERVER,
    )


def xcap_roots(config: Config) -> list[Root]:
    """The XCAP roots; that of a domain is also known by the domain's aliases."""
    return domain_roots(config.xcap_roots(), config.domain_aliases)


def _usages(
    config: Config, domains: Domains, subscribers: ISubscribers, roles: Iterable[str]
) -> dict[str, IApplicationUsage]:
    xcap, settings = config.xcap, config.documents
    trusted = tuple(
        Trusted(
            identity=_identity(each.identity, domains) if each.identity else "",
            name=each.name,
            auids=frozenset(each.auids),
            read=each.read,
            write=each.write,
        )
        for each in xcap.trusted
    )
    if not {"presence-server", "rls"}.isdisjoint(config.roles):
        identity = _identity(config.fetch.identity, domains)
        trusted += (Trusted(identity=identity, auids=_READ_BY_SERVERS),)
    found = standard_usages(
        UsageSettings(
            subscribers=subscribers,
            serves=lambda domain: domains.served(domain) is not None,
            trusted=trusted,
            quotas=Quotas(settings.lists, settings.entries, settings.services, settings.rules),
            foreign_lists=xcap.foreign_lists,
            service_template=xcap.service_template,
            reserved=frozenset(f"sip:{domain}" for domain in domains.names),
            icon_size=settings.icon_size,
        )
    )
    return {usage.auid: usage for role in roles for usage in found[role]}


def trusted_identities(config: Config, domains: Domains) -> frozenset[str]:
    """Who may more than others, such as Presence Servers, which follow documents of all users."""
    named = (each.identity for each in config.xcap.trusted)
    return frozenset(_identity(text, domains) for text in named if text)


def _identity(text: str, domains: Domains) -> str:
    return served_identity(text if ":" in text else f"sip:{text}", domains)


def _store(config: Config, reactor: Any) -> SqliteDocumentStore | MemoryDocumentStore:
    cache = config.documents.cache
    if config.store.type == "memory":
        return MemoryDocumentStore(reactor, time.time, cache_octets=cache)
    return SqliteDocumentStore(
        reactor,
        config.documents_path,
        time.time,
        config.store.synchronous,
        history=config.documents.changes,
        cache_octets=cache,
    )
