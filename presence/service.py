"""One process of the configured roles: started, reloaded, stopped.

With :mod:`presence.build`, which makes the parts, this is the composition root.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from presence.accounts import AccountError
from presence.build import Node, apply_changes, build_node
from presence.config import DEFAULT_STATE_DIR, XDMS_ROLES, ConfigError, restart_required
from presence.endpoints import reload_certificates
from presence.fatal import exit_with
from presence.metrics import release
from presence.operation import Operation
from presence.oplog import RELOAD_REFUSED, report
from presence.pidf import schemas
from pysip.transport.credentials import CredentialsError
from xcap import validate
from xcap.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.config import Config


def make_service(config: Config, reread: Callable[[], Config]) -> PresenceService:
    """The service of a process.

    :param config: checked configuration.
    :param reread: reads it again for a reload; raises ConfigError.
    """
    from twisted.internet import reactor

    # The reactor takes its time from the wall clock; a jump of that clock must not move
    # timers (OBS-04).  Nothing is scheduled yet.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    # The store's writer thread gets the interpreter sooner: under load the median commit takes
    # 6 ms instead of 22.
    sys.setswitchinterval(0.001)
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
        self._node: Node | None = None
        self._operation: Operation | None = None
        self._life = "starting"
        self._started: Deferred[None] | None = None
        self._old_hangup: Any = None
        self._running = False

    # -- life ---------------------------------------------------------------------------

    def startService(self) -> None:
        """Build, recover, then listen; what goes wrong ends the process with one message."""
        super().startService()  # type: ignore[no-untyped-call]
        self._started = Deferred.fromCoroutine(self._start())
        self._started.addErrback(self._failed)

    async def _start(self) -> None:
        config = self._config
        self._log.info("txpresence {version} starts", version=release())
        node = self._node = build_node(config, self._reactor)
        self._operation = Operation(config, node, self._reactor, lambda: self._life)
        self._operation.start()
        if node.access is not None:
            node.access.start()
        await node.store.start()
        if node.content is not None:
            await node.content.store.start()
        await node.accounts.start()
        if node.documents is not None:
            await node.documents.store.start()
        if node.reading is not None:
            node.reading.start()
        await self._recover(node)
        await self._listen(node)
        if node.reading is not None:
            node.reading.subscribe()
        self._listen_http(node)
        _warm(self._config)
        _settle_memory()
        node.guard.start()
        node.turns.start()
        node.events.resume()
        if node.lists is not None:
            node.lists.resume()
        node.removals.start()
        if node.content is not None:
            node.content.ending.start()
        if node.proxy is not None:
            node.proxy.start()
        self._running = True
        self._life = ""
        self._old_hangup = signal.getsignal(signal.SIGHUP)
        signal.signal(signal.SIGHUP, self._hangup)
        # The reactor's own way would end the process by the signal, not with status 0.
        signal.signal(signal.SIGTERM, self._terminate)
        self._log.info("ready: serving {domains}", domains=", ".join(config.domains))
        if not len(node.accounts) and any(p.auth in ("digest", "both") for p in config.listen):
            self._log.info("no accounts yet; make one: {command}", command=_account_command(config))

    async def _recover(self, node: Node) -> None:
        """Take everything back from the store."""
        began = time.monotonic()
        if "registrar" in self._config.roles:
            await node.registrar.recover()
        # last: watchers can be told of changes from then on, and no turn passes before they are
        await node.events.recover()
        if node.lists is not None:
            node.lists.recovered()
        self._log.info(
            "recovered {publications} publications and {subscriptions} subscriptions from {path}"
            " in {seconds:.1f} s; {bindings} registered contacts, {accounts} accounts",
            publications=node.events.compositor.count,
            subscriptions=len(node.events.notifier),
            path=str(self._config.state_path),
            seconds=time.monotonic() - began,
            bindings=node.registrar.count,
            accounts=len(node.accounts),
        )

    async def _listen(self, node: Node) -> None:
        """Open the listening points."""
        if node.generated is not None:
            self._log.info(
                "self-signed certificate {file}, SHA-256 {fingerprint}",
                file=str(node.generated.certificate),
                fingerprint=node.generated.fingerprint,
            )
        for listen, transport in node.transports:
            await node.ua.start_transport(transport)
            node.identities.set_mode(transport, listen.auth)
            host, port = transport.local
            self._log.info(
                "listening on {transport} {host} port {port}, authentication {auth}",
                transport=listen.transport.upper(),
                host=host,
                port=port,
                auth=listen.auth,
            )

    def _listen_http(self, node: Node) -> None:
        """Open the HTTP ports for documents."""
        for site, points in node.sites:
            what = "document servers"
            if node.proxy is not None and site is node.proxy.site:
                what = "Aggregation Proxy"
            elif node.content is not None and site is node.content.site:
                what = "Content Server"
            for point in points:
                address, port = site.listen(point.address, point.port, node.tls.get(point))
                self._log.info(
                    "listening on {protocol} {host} port {port}, {what}",
                    protocol="HTTPS" if point.tls else "HTTP",
                    host=address,
                    port=port,
                    what=what,
                )
        if node.proxy is not None:
            roots = ", ".join(self._config.xcap_roots())
            self._log.info("documents are below {roots}", roots=roots)
        if node.content is not None:
            uris = ", ".join(root.uri for root in node.content.roots)
            self._log.info("objects are below {uris}", uris=uris)

    def _failed(self, failure: Any) -> None:
        known = (StoreError, AccountError, CredentialsError, CannotListenError, OSError, SSL.Error)
        if failure.check(*known):
            exit_with(str(failure.value), self._reactor)
        else:
            self._log.failure("the server cannot start", failure)
            exit_with(f"cannot start: {failure.getErrorMessage()}; see the log", self._reactor)

    def stopService(self) -> Deferred[None]:
        """Refuse new work, answer what is under way, make everything durable (OVL-05)."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._started is not None and not self._started.called:
            self._started.cancel()
        self._life = "stopping"
        node, operation = self._node, self._operation
        if node is None or operation is None:
            return
        if self._running:
            signal.signal(signal.SIGHUP, self._old_hangup or signal.SIG_DFL)
            self._log.info("stopping")
        self._running = False
        # Requests in progress end first, while everything they need is there.
        for site, _ in node.sites:
            await site.stop()
        if node.proxy is not None:
            await node.proxy.stop()
        node.ua.draining = True
        node.guard.stop()
        node.turns.stop()
        node.removals.stop()
        node.events.stop()
        if node.authorization is not None:
            node.authorization.stop()
        if node.permanent is not None:
            node.permanent.stop()
        if node.lists is not None:
            node.lists.stop()
        if node.reading is not None:
            await node.reading.stop()
        # The answers that wait for the store leave while it commits what is queued.
        if node.documents is not None:
            await node.documents.stop()
        if node.objects is not None:
            await node.objects.stop()
        if node.content is not None:
            await node.content.stop()
        await node.store.stop()
        node.registrar.stop()
        await DeferredList(node.ua.stop(), consumeErrors=True)
        node.wheel.stop()
        await node.accounts.stop()
        if node.access is not None:
            await node.access.stop()
        await operation.stop()
        self._log.info("stopped")

    def _terminate(self, number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        self._reactor.callFromThread(self._reactor.stop)

    # -- reload -------------------------------------------------------------------------

    def _hangup(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self.reload)

    def reload(self) -> None:
        """Read the configuration again and apply what can be (NFR-02)."""
        node, operation = self._node, self._operation
        if node is None or operation is None:
            return
        try:
            new = self._reread()
            reload_certificates(self._config, node)
        except (ConfigError, CredentialsError, OSError, SSL.Error) as error:
            report(self._log, RELOAD_REFUSED, str(error))
            return
        waiting = restart_required(self._config, new)
        self._config = new
        apply_changes(new, node, self._reactor.seconds)
        operation.apply(new)
        self._log.info("configuration reloaded")
        if waiting:
            self._log.warn(
                "{keys}: changed in the file, in force after a restart", keys=", ".join(waiting)
            )


def _account_command(config: Config) -> str:
    """How to make an account, as it can be typed where the server was started."""
    program = os.path.join(os.path.dirname(sys.argv[0]), "presencectl")
    words = [program if os.path.exists(program) else "presencectl", "account add"]
    words.append(f"<name>@{config.domains[0]}")
    if config.state_dir != os.path.expanduser(DEFAULT_STATE_DIR):
        words.append(f"--state-dir {config.state_dir}")
    return " ".join(words)


def _warm(config: Config) -> None:
    """Compile the schemas now, not in the first request."""
    if "presence-server" in config.roles:
        schemas.presence()
    if not set(XDMS_ROLES).isdisjoint(config.roles):
        validate.warm()


def _settle_memory() -> None:
    """Keep the garbage collector from walking over what stays (ARCHITECTURE 7).

    Requests make no cycles, so collections need not be frequent; what was loaded and
    recovered so far is not looked at again.  The first two generations have 20 000 and 100 000
    objects when they are looked at, which takes some milliseconds each; everything is looked
    at when 50 million more objects have come than gone.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 5, 500)
