"""Building what one process is made of, from its configuration.

With :mod:`presence.service`, which runs what is built here, this is the composition root:
nobody else names a concrete store, transport or reactor.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import attrs
from twisted.names.client import Resolver

from presence.accesslog import AccessLog
from presence.accounts import Accounts
from presence.addresses import split_port
from presence.authorizing import (
    OwnIdentities,
    composition,
    configure,
    operator_policy,
    operators,
    ruleset_policy,
    watcher_limits,
)
from presence.certificate import GeneratedCertificate
from presence.composing import permanent_state
from presence.contentserver import Content, Objects, build_content, content_objects
from presence.endpoints import all_points, http_sites, make_transport, tls_settings
from presence.eventserver import EventServer
from presence.filtering import FilterChoices
from presence.gate import Gate
from presence.limits import DomainRates, PublicationLimits
from presence.objects.published import ObjectLimits
from presence.overload import LatencyGuard
from presence.reading import build_reading, fetches_by_sip
from presence.registrar import Registrar, RegistrarPolicy
from presence.removal import Removals
from presence.rls.build import build_rls, list_settings
from presence.server import PresenceServer
from presence.store.memory import MemoryStore
from presence.store.sqlite import SqliteStore
from presence.turns import Turns
from presence.xdm import Documents, Proxy, build_documents, build_proxy, trusted_identities
from presence.xdmtables import HttpListen
from pysip.auth.domains import Domains
from pysip.auth.server import DigestAuthenticator, FailureGuard
from pysip.auth.trust import IdentityPolicy, TrustPolicy
from pysip.dns import RecordCache
from pysip.event.subscriber import NotifyRouter
from pysip.event.table import NotifierPolicy
from pysip.locate import Locator
from pysip.timers import TimerValues, TimerWheel
from pysip.transport.credentials import TlsSettings
from pysip.ua import UserAgent

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.authorization import RulesetPolicy
    from presence.config import Config, Listen
    from presence.interfaces import IPresenceStore
    from presence.permanent import PermanentState
    from presence.reading import Reading
    from presence.rls.build import ListServer
    from pysip.interfaces import ITransport
    from xcap.http.site import HttpSite

AGENT = "txpresence"
"""Value of Server and User-Agent."""


@attrs.define(eq=False)
class Node:
    """All parts of a process, built and not started.

    :ivar records: what the locator has learnt from DNS.
    :ivar tls: what each TLS listening point proves itself with.
    :ivar generated: the self-signed certificate, when one is used.
    :ivar documents: the document servers, None without such a role.
    :ivar reading: reads documents for the other servers, None where there are none.
    :ivar lists: the Resource List Server, None without that role.
    :ivar authorization: decides by rules; None where they are not within reach.
    :ivar permanent: the permanent documents of presentities; None where they are out of reach.
    :ivar proxy: the Aggregation Proxy, None without that role.
    :ivar content: the Content Server, None without that role.
    :ivar objects: the objects of all Content Servers that this process knows; None without any.
    :ivar access: the log of the HTTP servers, None when there are none or it is not wanted.
    :ivar sites: the HTTP servers but that of operators, with their listening points.
    :ivar removals: ends what concerns users whose accounts are removed.
    :ivar turns: measures the reactor.
    """

    wheel: TimerWheel
    domains: Domains
    accounts: Accounts
    identities: IdentityPolicy
    store: IPresenceStore
    guard: LatencyGuard
    records: RecordCache
    ua: UserAgent
    events: EventServer
    registrar: Registrar
    tls: dict[Listen | HttpListen, TlsSettings]
    generated: GeneratedCertificate | None
    transports: list[tuple[Listen, ITransport]]
    documents: Documents | None
    reading: Reading | None
    lists: ListServer | None
    authorization: RulesetPolicy | None
    permanent: PermanentState | None
    proxy: Proxy | None
    content: Content | None
    objects: Objects | None
    access: AccessLog | None
    sites: list[tuple[HttpSite, tuple[HttpListen, ...]]]
    removals: Removals
    turns: Turns


def build_node(config: Config, reactor: Any) -> Node:
    """Build the parts of the configured roles; nothing is opened but certificates.

    :raises CredentialsError: a certificate cannot be used; OSError and OpenSSL's errors also.
    """
    wheel = TimerWheel(reactor)
    domains = Domains(config.domains, config.domain_aliases)
    accounts = Accounts(config.accounts_path, reactor, hashed=config.proxy.userhash)
    identities = _identities(config, domains, accounts)
    store = _store(config, reactor)
    guard = _guard(config, reactor, store)
    records = RecordCache(_resolver(config, reactor), reactor)
    ua = UserAgent(
        reactor,
        wheel,
        _locator(config, records, reactor),
        identities,
        agent=AGENT,
        values=TimerValues(config.timers.t1, config.timers.t2, config.timers.t4),
        limit=config.limits.transactions,
        admission=guard if config.overload.enabled else None,
    )
    ua.network = config.trust.network_name
    events = _events(config, ua, store, domains, accounts, reactor)
    removals = Removals(events, reactor)
    if config.xcap.users == "accounts":
        accounts.when_gone(removals.gone)
    registrar = _registrar(config, store, domains, reactor, wheel)
    if "registrar" in config.roles:
        ua.add_method("REGISTER", registrar.serve)
    access = _access_log(config, reactor)
    documents = build_documents(
        config, reactor, accounts, domains, events, guard.overloaded, access
    )
    authorization = permanent = reading = lists = None
    router = NotifyRouter(ua) if "rls" in config.roles or fetches_by_sip(config) else None
    if not {"presence-server", "rls"}.isdisjoint(config.roles):
        reading = build_reading(config, reactor, router, documents, accounts, domains)
    if reading is not None and router is not None and "rls" in config.roles:
        lists = build_rls(config, reactor, ua, events, reading, router, wheel, domains)
        lists.package.filtering.choices = _filter_choices(config)
    if isinstance(events, PresenceServer):
        authorization = ruleset_policy(config, reactor, events, wheel, reading, accounts, domains)
        if authorization is not None:
            events.set_watchers(authorization)
        permanent = permanent_state(config, reactor, events, authorization, reading)
    gate = Gate(config, reactor, accounts, access)
    content = build_content(config, reactor, accounts, domains, gate, guard.overloaded, access)
    beside = content.beside if content is not None and content.site is None else None
    objects = content_objects(config, reactor, content)
    if isinstance(events, PresenceServer) and objects is not None:
        events.package.objects.use(objects.all)
    proxy = build_proxy(config, reactor, domains, documents, gate, guard.overloaded, access, beside)
    tls, generated = tls_settings(config, all_points(config))
    transports = [
        (listen, make_transport(config, listen, reactor, tls)) for listen in config.listen
    ]
    return Node(
        wheel,
        domains,
        accounts,
        identities,
        store,
        guard,
        records,
        ua,
        events,
        registrar,
        tls,
        generated,
        transports,
        documents,
        reading,
        lists,
        authorization,
        permanent,
        proxy,
        content,
        objects,
        access,
        http_sites(config, documents, proxy, content),
        removals,
        Turns(reactor),
    )


def apply_changes(config: Config, node: Node, clock: Callable[[], float]) -> None:
    """Apply what a reload may change to what runs (NFR-02).

    :param clock: monotonic seconds.
    """
    events = node.events
    if isinstance(events, PresenceServer):
        _set_package(config, events, node.domains)
        events.package.composition = composition(config, node.domains)
        if node.authorization is not None:
            configure(node.authorization, config, node.domains)
        else:
            events.package.watchers = operator_policy(config)
    events.compositor.policy = _publication_limits(config, clock)
    events.notifier.set_policy(_notifier_policy(config, node.domains), _rates(config))
    events.reauthorize()
    if node.lists is not None:
        node.lists.package.settings = list_settings(config, node.domains)
        node.lists.package.filtering.choices = _filter_choices(config)
    if node.documents is not None:
        node.documents.feed.recheck()


def _events(
    config: Config,
    ua: UserAgent,
    store: IPresenceStore,
    domains: Domains,
    accounts: Accounts,
    reactor: Any,
) -> EventServer:
    """What serves PUBLISH and SUBSCRIBE, with the presence package where that is a role."""
    limits = _publication_limits(config, reactor.seconds)
    rates, policy = _rates(config), _notifier_policy(config, domains)
    if "presence-server" not in config.roles:
        return EventServer(ua, store, limits, rates, policy, time.time)
    composer = composition(config, domains)
    watchers = operator_policy(config)
    presence = PresenceServer(
        ua, store, domains, composer, watchers, limits, rates, policy, time.time
    )
    presence.tell_of_watchers(
        lambda presentity: OwnIdentities(accounts.account_of, presentity), watcher_limits(config)
    )
    _set_package(config, presence, domains)
    return presence


def _identities(config: Config, domains: Domains, accounts: Accounts) -> IdentityPolicy:
    digest = config.digest
    authenticator = DigestAuthenticator(
        accounts,
        os.urandom(32),
        algorithms=digest.algorithms,
        auth_int=digest.auth_int,
        allow_no_qop=digest.allow_no_qop,
        lifetime=digest.nonce_lifetime,
        guard=FailureGuard(digest.max_failures, digest.failure_window, digest.block_time),
    )
    return IdentityPolicy(
        TrustPolicy(config.trust.networks, config.trust.tls_names),
        domains,
        authenticator=authenticator,
        accounts=accounts,
        authentication_info=digest.authentication_info,
        md5_agents=digest.md5_agents,
    )


def _store(config: Config, reactor: Any) -> IPresenceStore:
    if config.store.type == "memory":
        return MemoryStore(reactor)
    return SqliteStore(reactor, config.store_path, config.store.synchronous)


def _guard(config: Config, reactor: Any, store: IPresenceStore) -> LatencyGuard:
    overload = config.overload
    return LatencyGuard(
        reactor,
        queue_delay=overload.queue_delay,
        store_delay=overload.store_delay,
        store_age=lambda: store.oldest,
        memory=overload.memory,
        retry_after=overload.retry_after,
        shedding=overload.enabled,
    )


def _access_log(config: Config, reactor: Any) -> AccessLog | None:
    path = config.access_log_path
    if path is None or not config.http_points():
        return None
    return AccessLog(path, config.http.access_log_size, reactor, time.time)


def _resolver(config: Config, reactor: Any) -> Resolver:
    servers = [
        (host, port or 53)
        for host, port in (split_port(text) for text in config.locator.nameservers)
    ]
    # Without servers of its own the resolver reads what the system uses.
    return Resolver(
        resolv=None if servers else "/etc/resolv.conf", servers=servers, reactor=reactor
    )


def _locator(config: Config, records: RecordCache, reactor: Any) -> Locator:
    return Locator(
        records,
        reactor,
        protocols=tuple(dict.fromkeys(point.transport.upper() for point in config.listen)),
        static=config.locator.hosts,
    )


def _registrar(
    config: Config, store: IPresenceStore, domains: Domains, reactor: Any, wheel: TimerWheel
) -> Registrar:
    settings = config.registrar
    policy = RegistrarPolicy(
        default_expires=settings.default_expires,
        min_expires=settings.min_expires,
        max_expires=settings.max_expires,
        max_bindings=settings.max_bindings,
    )
    return Registrar(store, domains, reactor, wheel, time.time, policy)


def _set_package(config: Config, presence: PresenceServer, domains: Domains) -> None:
    """Set what a reload may change of the presence package."""
    package = presence.package
    package.strict = config.publication.validation == "strict"
    package.publishers = frozenset(
        domains.canonical(source if ":" in source else f"sip:{source}")
        for source in config.publication.network_sources
    )
    package.document_limit = config.limits.pidf_size
    publication = config.publication
    package.objects.limits = ObjectLimits(
        publication.objects,
        publication.object_size,
        publication.object_inline,
        publication.object_referenced,
    )
    package.closed_when_offline = config.subscription.offline_document == "closed"
    package.neutral_pending = config.subscription.pending_body == "neutral"
    package.default_expires = config.subscription.default_expires
    if presence.book is not None:
        presence.book.limits = watcher_limits(config)
    package.filtering.choices = _filter_choices(config)
    if presence.watcherinfo is not None:
        presence.watcherinfo.operators = operators(config, domains)
        presence.watcherinfo.filtering.choices = _filter_choices(config)


def _filter_choices(config: Config) -> FilterChoices:
    table = config.subscription
    return FilterChoices(table.filter_names == "lenient", table.erroneous_filters == "ignore")


def _publication_limits(config: Config, clock: Callable[[], float]) -> PublicationLimits:
    publication, limits = config.publication, config.limits
    return PublicationLimits(
        clock,
        publication.default_expires,
        publication.min_expires,
        publication.max_expires,
        limits.publications_per_presentity,
        limits.publish_rate,
        limits.publish_burst,
        limits.pidf_total_size,
    )


def _rates(config: Config) -> DomainRates:
    return DomainRates(
        config.subscription.notify_interval,
        {name.lower(): config.notify_interval(name) for name in config.domain},
        config.xdms.notify_interval,
    )


def _notifier_policy(config: Config, domains: Domains) -> NotifierPolicy:
    subscription, limits, notify = config.subscription, config.limits, config.notify
    return NotifierPolicy(
        min_expires=subscription.min_expires,
        max_expires=subscription.max_expires,
        per_watcher=limits.subscriptions_per_watcher,
        per_pair=limits.subscriptions_per_pair,
        per_resource=limits.subscriptions_per_presentity,
        pending_per_watcher=limits.pending_per_watcher,
        accepted_pending=not subscription.rfc6665_responses,
        keep_on_timeout=notify.on_timeout == "keep",
        rate=notify.rate,
        destination_rate=notify.rate_per_destination,
        own_uri=config.trust.notify_identity,
        repeat_rate=notify.repeat_rate,
        servers=trusted_identities(config, domains),
    )
