"""What operators see of a running node, in one place: figures, health, trace, certificates."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger, globalLogPublisher

from presence.endpoints import reload_certificates
from presence.expiry import CertificateWatch
from presence.health import HealthPort, make_site
from presence.metrics import collect
from presence.oplog import CERTIFICATE, ProblemCounter, report
from presence.trace import Tracing
from presence.xdmtables import HttpListen
from pysip.transport.base import host_port
from pysip.transport.credentials import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.build import Node
    from presence.config import Config, Listen
    from pysip.transport.credentials import Credentials


def _point(listen: Listen | HttpListen) -> str:
    """A listening point as it is called in logs."""
    if isinstance(listen, HttpListen):
        return f"https {host_port(listen.address, listen.port)}"
    return f"{listen.transport} {host_port(listen.address, listen.bind_port)}"


class Operation:
    """Watches a node from outside; nothing in the node knows of it.

    :param config: the configuration in force.
    :param node: what is watched.
    :param reactor: for the HTTP port.
    :param life: tells what keeps the process from serving: "starting", "stopping", or "".
    """

    _log = Logger()

    def __init__(self, config: Config, node: Node, reactor: Any, life: Callable[[], str]) -> None:
        self._config = config
        self._node = node
        self._life = life
        self._problems = ProblemCounter()
        self._tracing = Tracing(
            (transport for _, transport in node.transports), node.domains.canonical, time.time
        )
        self._certificates = CertificateWatch(node.wheel, self._credentials, self._renew)
        self.http: HealthPort | None = None
        if config.metrics.enabled:
            site = make_site(lambda: collect(node, self._problems.counts), self.checks, reactor)
            self.http = HealthPort(reactor, config.metrics.address, config.metrics.port, site)

    def start(self) -> None:
        """Begin, before anything else of the node is started.

        :raises twisted.internet.error.CannotListenError: the HTTP port is in use.
        """
        globalLogPublisher.addObserver(self._problems)
        self.apply(self._config)
        if self.http is not None:
            self.http.start()
            place = host_port(self._config.metrics.address, self.http.port)
            self._log.info("metrics and health at http://{place}/metrics", place=place)

    def apply(self, config: Config) -> None:
        """Heed what a reload may change: trace, log level, certificates."""
        self._config = config
        self._certificates.start()
        self._tracing.apply(config.trace, config.trace_path, config.log.level == "debug")

    def stop(self) -> Deferred[Any]:
        """End, after everything else has; fires when the HTTP port is closed."""
        self._tracing.stop()
        globalLogPublisher.removeObserver(self._problems)
        return succeed(None) if self.http is None else self.http.stop()

    def checks(self) -> dict[str, str]:
        """What has to be well for requests to be served (NFR-04)."""
        return {
            "process": self._life(),
            "store": "refuses writes" if self._node.store.failed else "",
        }

    def _credentials(self) -> dict[str, Credentials]:
        return {
            _point(listen): tls.credentials
            for listen, tls in self._node.tls.items()
            if tls.credentials is not None
        }

    def _renew(self) -> None:
        """Make the self-signed certificate anew when its time has come."""
        if self._node.generated is None:
            return
        try:
            reload_certificates(self._config, self._node)
        except (CredentialsError, OSError, SSL.Error) as error:
            report(self._log, CERTIFICATE, f"the self-signed one cannot be renewed: {error}")
