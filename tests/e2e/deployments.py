"""Document servers and the Aggregation Proxy as child processes: in one process, or apart."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from presence.accounts import AccountStore
from tests.certificates import issue, make_ca
from tests.e2e.daemon import OPEN_POINTS, PASSWORD, Daemon, tables
from tests.e2e.phone import DOMAIN, aor
from tests.e2e.wire import HOST
from tests.e2e.xdm import XcapClient

XDMS_ROLES = ("presence-xdms", "rls-xdms", "shared-xdms")
USERS = ("alice", "bob", "carol")


def free_port() -> int:
    """A TCP port of loopback that nothing uses; outgoing connections will not take it."""
    for _ in range(1000):
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free")


class Deployment:
    """Document servers behind an Aggregation Proxy.

    :ivar proxy: the process that clients talk to.
    :ivar port: of it.
    :ivar root: the XCAP root.
    :ivar parts: every process by the roles it plays.
    """

    def __init__(self, case: SynchronousTestCase, root: str = "") -> None:
        self._case = case
        self.port = free_port()
        self.root = root or f"https://localhost:{self.port}/"
        self.proxy: Daemon
        self.parts: dict[str, Daemon] = {}

    @property
    def daemons(self) -> list[Daemon]:
        """The processes, each once."""
        return list(dict.fromkeys(self.parts.values()))

    def start(self) -> None:
        """Start all processes, the proxy last: it would put aside whom it does not reach."""
        servers = [daemon for daemon in self.daemons if daemon is not self.proxy]
        for daemon in servers:
            daemon.launch()
        for daemon in servers:
            daemon.ready()
        self.proxy.start()

    def client(self, user: str = "alice", **options: Any) -> XcapClient:
        """A user at the proxy."""
        options.setdefault("host", self.root.split("/")[2])
        client = XcapClient(self.port, self.proxy.certificate, user, **options)
        self._case.addCleanup(client.close)
        return client

    def direct(self, port: int, source: str = HOST) -> XcapClient:
        """A plain connection to a document server, past the proxy."""
        client = XcapClient(port, password="", source=source, host=self.root.split("/")[2])
        self._case.addCleanup(client.close)
        return client

    def _settings(self, **changed: Any) -> dict[str, Any]:
        return tables(xcap={"roots": {self.root: DOMAIN}}, **changed)


class AllInOne(Deployment):
    """One process of all roles.

    :param changed: see :func:`tests.e2e.daemon.tables`.
    """

    def __init__(
        self,
        case: SynchronousTestCase,
        users: tuple[str, ...] = USERS,
        points: Mapping[str, Mapping[str, Any]] = OPEN_POINTS,
        root: str = "",
        **changed: Any,
    ) -> None:
        super().__init__(case, root)
        proxy = {"listen": [{"port": self.port}], "rate": 0.0, **changed.pop("proxy", {})}
        roles = ["presence-server", "registrar", *XDMS_ROLES, "aggregation-proxy"]
        settings = self._settings(roles=roles, proxy=proxy, **changed)
        self.proxy = Daemon(case, points, users, settings)
        self.parts = dict.fromkeys(roles, self.proxy)
        self.start()


class Apart(Deployment):
    """Three document servers and the proxy, each a process of its own.

    The proxy reaches the Shared XDMS by HTTP, the RLS XDMS by TLS and the Presence XDMS by TLS
    with certificates on both sides.

    :ivar ports: of the document servers, by role.
    :ivar ca: that has issued the certificates between them.
    """

    def __init__(
        self, case: SynchronousTestCase, users: tuple[str, ...] = USERS, root: str = ""
    ) -> None:
        super().__init__(case, root)
        shared = Path(case.mktemp()).absolute()
        shared.mkdir(parents=True)
        accounts = str(shared / "accounts.db")
        with AccountStore(accounts) as store:
            for user in users:
                store.add(aor(user), PASSWORD)
        ca = self.ca = make_ca(str(shared))
        here, proxy = issue(ca, ["localhost"]), issue(ca, ["proxy.example.com"])
        certified = {"certificate": here.certificate, "key": here.key}
        mutual = {**certified, "client_ca": ca.file, "require_client_certificate": True}
        kinds: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
            "shared-xdms": ({"tls": False}, {}, {}),
            "rls-xdms": (certified, {}, {"ca": ca.file}),
            "presence-xdms": (
                mutual,
                {"proxy_names": ["proxy.example.com"]},
                {"ca": ca.file, "certificate": proxy.certificate, "key": proxy.key},
            ),
        }
        self.ports: dict[str, int] = {}
        backends = []
        for role, (listen, xdms, backend) in kinds.items():
            port = self.ports[role] = free_port()
            settings = self._settings(
                roles=[role], accounts=accounts, xdms={"listen": [{"port": port, **listen}], **xdms}
            )
            self.parts[role] = Daemon(case, OPEN_POINTS, (), settings)
            scheme = "https" if listen.get("tls", True) else "http"
            backends.append({"name": role, "servers": [f"{scheme}://localhost:{port}/"], **backend})
        settings = self._settings(
            roles=["aggregation-proxy"],
            accounts=accounts,
            proxy={
                "listen": [{"port": self.port}],
                "backend": backends,
                "rate": 0.0,
                "health_interval": 1.0,
                "answer_timeout": 5.0,
            },
        )
        self.proxy = self.parts["aggregation-proxy"] = Daemon(case, {}, (), settings)
        self.start()
