"""The composition root: one process of the configured roles, started, reloaded, stopped.

Nobody else names a concrete store, transport or reactor.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.names.client import Resolver

from presence.accounts import AccountError, Accounts
from presence.addresses import split_port
from presence.certificate import ensure_certificate
from presence.composition import UnionComposition
from presence.config import ConfigError, restart_required
from presence.fatal import exit_with
from presence.limits import DomainRates, PublicationLimits
from presence.overload import LatencyGuard
from presence.policy import OperatorWatcherPolicy
from presence.registrar import Registrar, RegistrarPolicy
from presence.server import PresenceServer
from presence.store.memory import MemoryStore
from presence.store.records import StoreError
from presence.store.sqlite import SqliteStore
from pysip.auth.domains import Domains
from pysip.auth.server import DigestAuthenticator, FailureGuard
from pysip.auth.trust import IdentityPolicy, TrustPolicy
from pysip.dns import RecordCache
from pysip.event.table import NotifierPolicy
from pysip.locate import Locator
from pysip.parse import Limits
from pysip.timers import TimerValues, TimerWheel
from pysip.transport.credentials import (
    CredentialsError,
    TlsSettings,
    load_credentials,
    load_trust_roots,
)
from pysip.transport.stream import StreamSettings
from pysip.transport.tcp import TcpTransport
from pysip.transport.tls import TlsTransport
from pysip.transport.udp import UdpTransport
from pysip.ua import UserAgent

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.config import Config, Listen
    from presence.interfaces import IPresenceStore
    from pysip.interfaces import ITransport

AGENT = "txpresence"
"""Value of Server and User-Agent."""


ACCOUNTS = "accounts.db"
"""File of the Digest accounts in the state directory."""


def make_service(config: Config, reread: Callable[[], Config]) -> PresenceService:
    """The service of a process.

    :param config: checked configuration.
    :param reread: reads it again for a reload; raises ConfigError.
    """
    from twisted.internet import reactor

    # The reactor takes its time from the wall clock; a jump of that clock must not move
    # timers (OBS-04).  Nothing is scheduled yet.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    return PresenceService(config, reread, reactor)


class PresenceService(Service):
    """All roles of one process.

    :param config: checked configuration.
    :param reread: reads it again (SIGHUP).
    :param reactor: the reactor.
    """

    _log = Logger()

    def __init__(self, config: Config, reread: Callable[[], Config], reactor: Any) -> None:
        self._config = config
        self._reread = reread
        self._reactor = reactor
        self._transports: list[tuple[Listen, ITransport]] = []
        self._started: Deferred[None] | None = None
        self._old_hangup: Any = None
        self._running = False

    # -- life ---------------------------------------------------------------------------

    def startService(self) -> None:
        """Build, recover, then listen; what goes wrong ends the process with one message."""
        super().startService()
        self._started = Deferred.fromCoroutine(self._start())
        self._started.addErrback(self._failed)

    async def _start(self) -> None:
        config = self._config
        self._build()
        await self._store.start()
        await self._accounts.start()
        began = time.monotonic()
        if "presence-server" in config.roles:
            await self._presence.recover()
        if "registrar" in config.roles:
            await self._registrar.recover()
        self._log.info(
            "recovered {publications} publications and {subscriptions} subscriptions"
            " in {seconds:.1f} s",
            publications=self._presence.compositor.count,
            subscriptions=len(self._presence.notifier),
            seconds=time.monotonic() - began,
        )
        for listen, transport in self._transports:
            await self._ua.start_transport(transport)
            self._identities.set_mode(transport, listen.auth)
            host, port = transport.local
            self._log.info(
                "listening on {transport} {host} port {port}, authentication {auth}",
                transport=listen.transport.upper(),
                host=host,
                port=port,
                auth=listen.auth,
            )
        _settle_memory()
        self._guard.start()
        self._presence.resume()
        self._running = True
        self._old_hangup = signal.getsignal(signal.SIGHUP)
        signal.signal(signal.SIGHUP, self._hangup)
        # The reactor's own way would end the process by the signal, not with status 0.
        signal.signal(signal.SIGTERM, self._terminate)
        self._log.info("ready: serving {domains}", domains=", ".join(config.domains))

    def _failed(self, failure: Any) -> None:
        known = (StoreError, AccountError, CredentialsError, CannotListenError, OSError, SSL.Error)
        if failure.check(*known):
            exit_with(str(failure.value), self._reactor)
        else:
            self._log.failure("the server cannot start", failure)
            exit_with(f"cannot start: {failure.getErrorMessage()}; see the log", self._reactor)

    def stopService(self) -> Deferred[None]:
        """Refuse new work, answer what is under way, make everything durable (OVL-05)."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._started is not None and not self._started.called:
            self._started.cancel()
        if not hasattr(self, "_ua"):
            return
        if self._running:
            signal.signal(signal.SIGHUP, self._old_hangup or signal.SIG_DFL)
        self._running = False
        self._ua.draining = True
        self._guard.stop()
        self._presence.stop()
        # The answers that wait for the store leave while it commits what is queued.
        await self._store.stop()
        self._registrar.stop()
        await DeferredList(self._ua.stop(), consumeErrors=True)
        self._wheel.stop()
        await self._accounts.stop()

    # -- building -----------------------------------------------------------------------

    def _build(self) -> None:
        config, reactor = self._config, self._reactor
        self._wheel = TimerWheel(reactor)
        self._domains = Domains(config.domains, config.domain_aliases)
        self._accounts = Accounts(config.state_path / ACCOUNTS, reactor)
        self._identities = self._build_identities()
        self._store = self._build_store()
        overload = config.overload
        self._guard = LatencyGuard(
            reactor,
            queue_delay=overload.queue_delay,
            store_delay=overload.store_delay,
            memory=overload.memory,
            retry_after=overload.retry_after,
        )
        self._ua = UserAgent(
            reactor,
            self._wheel,
            self._build_locator(),
            self._identities,
            agent=AGENT,
            values=TimerValues(config.timers.t1, config.timers.t2, config.timers.t4),
            limit=config.limits.transactions,
            admission=self._guard if overload.enabled else None,
        )
        self._ua.network = config.trust.network_name
        self._presence = PresenceServer(
            self._ua,
            self._store,
            self._domains,
            UnionComposition(),
            _watcher_policy(config),
            _publication_limits(config, reactor.seconds),
            _rates(config),
            _notifier_policy(config),
            time.time,
        )
        self._apply_package()
        self._registrar = Registrar(
            self._store,
            self._domains,
            reactor,
            self._wheel,
            time.time,
            RegistrarPolicy(
                default_expires=config.registrar.default_expires,
                min_expires=config.registrar.min_expires,
                max_expires=config.registrar.max_expires,
                max_bindings=config.registrar.max_bindings,
            ),
        )
        if "registrar" in config.roles:
            self._ua.add_method("REGISTER", self._registrar.serve)
        self._transports = [(listen, self._build_transport(listen)) for listen in config.listen]

    def _apply_package(self) -> None:
        """Set what a reload may change of the presence package."""
        config, package = self._config, self._presence.package
        package.strict = config.publication.validation == "strict"
        package.document_limit = config.limits.pidf_size
        package.closed_when_offline = config.subscription.offline_document == "closed"
        package.neutral_pending = config.subscription.pending_body == "neutral"
        package.default_expires = config.subscription.default_expires

    def _build_identities(self) -> IdentityPolicy:
        config = self._config
        digest = config.digest
        authenticator = DigestAuthenticator(
            self._accounts,
            os.urandom(32),
            algorithms=digest.algorithms,
            auth_int=digest.auth_int,
            allow_no_qop=digest.allow_no_qop,
            lifetime=digest.nonce_lifetime,
            guard=FailureGuard(
                digest.max_failures or 1 << 30, digest.failure_window, digest.block_time
            ),
        )
        return IdentityPolicy(
            TrustPolicy(config.trust.networks, config.trust.tls_names),
            self._domains,
            authenticator=authenticator,
            accounts=self._accounts,
        )

    def _build_store(self) -> IPresenceStore:
        config = self._config
        if config.store.type == "memory":
            return MemoryStore(self._reactor)
        return SqliteStore(self._reactor, config.store_path, config.store.synchronous)

    def _build_locator(self) -> Locator:
        settings = self._config.locator
        servers = [
            (host, port or 53) for host, port in (split_port(text) for text in settings.nameservers)
        ]
        # Without servers of its own the resolver reads what the system uses.
        resolver = Resolver(
            resolv=None if servers else "/etc/resolv.conf", servers=servers, reactor=self._reactor
        )
        return Locator(
            RecordCache(resolver, self._reactor),
            self._reactor,
            protocols=tuple(dict.fromkeys(p.transport.upper() for p in self._config.listen)),
            static=settings.hosts,
        )

    def _build_transport(self, listen: Listen) -> ITransport:
        config = self._config
        limits = config.limits
        options = config.transport
        common: dict[str, Any] = {
            "advertise": listen.advertise,
            "dscp": options.dscp,
            "limits": Limits(
                head=limits.head_size,
                line=limits.line_size,
                fields=limits.header_fields,
                body=limits.body_size,
                vias=limits.vias,
            ),
        }
        where = (self._reactor, listen.address, listen.bind_port)
        if listen.transport == "udp":
            return UdpTransport(*where, buffer=options.socket_buffer, **common)
        common["settings"] = StreamSettings(
            message_timeout=options.message_timeout,
            idle_timeout=options.idle_timeout,
            connect_timeout=options.connect_timeout,
            handshake_timeout=options.handshake_timeout,
            queue_messages=options.queue_messages,
            queue_octets=options.queue_size,
            max_connections=limits.connections,
        )
        if listen.transport == "tcp":
            return TcpTransport(*where, **common)
        return TlsTransport(*where, self._tls_settings(listen), **common)

    def _tls_settings(self, listen: Listen) -> TlsSettings:
        """Certificates of a TLS listening point; a self-signed one when none is named."""
        config = self._config
        files = config.certificate_files(listen)
        if files is None:
            names = {*config.domains, *config.domain_aliases, socket.gethostname()}
            made = ensure_certificate(config.state_path, sorted(names))
            files = (made.certificate, made.key)
            self._log.info(
                "self-signed certificate {file}, SHA-256 {fingerprint}",
                file=str(made.certificate),
                fingerprint=made.fingerprint,
            )
        anchors = [config.tls.ca, listen.client_ca or config.tls.client_ca]
        named = [file for file in anchors if file]
        client = "none"
        if listen.client_ca or config.tls.client_ca:
            client = "require" if listen.require_client_certificate else "request"
        return TlsSettings(
            credentials=load_credentials(str(files[0]), str(files[1])),
            trust_roots=load_trust_roots(named) if named else None,
            client_certificates=client,  # type: ignore[arg-type]
        )

    def _terminate(self, number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        self._log.info("SIGTERM: stopping")
        self._reactor.callFromThread(self._reactor.stop)

    # -- reload -------------------------------------------------------------------------

    def _hangup(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self.reload)

    def reload(self) -> None:
        """Read the configuration again and apply what can be (NFR-02)."""
        try:
            new = self._reread()
            for listen, transport in self._transports:
                if isinstance(transport, TlsTransport):
                    transport.reload(self._tls_settings(listen))
        except (ConfigError, CredentialsError, OSError) as error:
            self._log.error("reload refused, the old configuration stays: {error}", error=error)
            return
        waiting = restart_required(self._config, new)
        self._config = new
        presence = self._presence
        self._apply_package()
        presence.package.watchers = _watcher_policy(new)
        presence.compositor.policy = _publication_limits(new, self._reactor.seconds)
        presence.notifier.set_policy(_notifier_policy(new), _rates(new))
        presence.reauthorize()
        self._log.info("configuration reloaded")
        if waiting:
            self._log.warn(
                "{keys}: changed in the file, in force after a restart", keys=", ".join(waiting)
            )


def _settle_memory() -> None:
    """Keep the garbage collector from walking over what stays (ARCHITECTURE 7).

    Requests make no cycles, so collections need not be frequent; what was loaded and
    recovered so far is not looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _watcher_policy(config: Config) -> OperatorWatcherPolicy:
    domains = {name.lower(): config.default_decision(name) for name in config.domain}
    return OperatorWatcherPolicy(config.subscription.default_decision, domains)


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
    )


def _rates(config: Config) -> DomainRates:
    return DomainRates(
        config.subscription.notify_interval,
        {name.lower(): config.notify_interval(name) for name in config.domain},
    )


def _notifier_policy(config: Config) -> NotifierPolicy:
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
    )
