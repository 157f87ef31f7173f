"""Document servers and the Aggregation Proxy as child processes: in one process, or apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from presence.accounts import AccountStore
from presence.xdmtables import PRESENCE_SERVER
from tests.certificates import issue, make_ca
from tests.e2e.daemon import OPEN_POINTS, PASSWORD, Daemon, tables
from tests.e2e.phone import DOMAIN, aor
from tests.e2e.wire import HOST
from tests.e2e.xdm import XcapClient
from tests.ports import free_port

XDMS_ROLES = ("presence-xdms", "rls-xdms", "shared-xdms")
USERS = ("alice", "bob", "carol")


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
        """Start all processes, document servers first: others put aside whom they don't reach."""
        first = list(dict.fromkeys(self.parts[r] for r in XDMS_ROLES if r in self.parts))
        for servers in (first, [daemon for daemon in self.daemons if daemon not in first]):
            for daemon in servers:
                daemon.launch()
            for daemon in servers:
                daemon.ready()

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
        xcap = {"roots": {self.root: DOMAIN}, **changed.pop("xcap", {})}
        return tables(xcap=xcap, **changed)


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
        roles = ["presence-server", "rls", "registrar", *XDMS_ROLES, "aggregation-proxy"]
        settings = self._settings(roles=roles, proxy=proxy, **changed)
        self.proxy = Daemon(case, points, users, settings)
        self.parts = dict.fromkeys(roles, self.proxy)
        self.start()


class Apart(Deployment):
    """Three document servers and the proxy, each a process of its own.

    The proxy reaches the Shared XDMS by HTTP, the RLS XDMS by TLS and the Presence XDMS by TLS
    with certificates on both sides; so does a Presence Server, which subscribes to changes by
    UDP.

    :param presence: settings of a Presence Server of its own; None for none.
    :param points: where it listens, besides for its document servers.
    :param names: numeric addresses of hosts that it calls itself by.

    :ivar ports: of the document servers, by role.
    :ivar ca: that has issued the certificates between them.
    """

    def __init__(
        self,
        case: SynchronousTestCase,
        users: tuple[str, ...] = USERS,
        root: str = "",
        presence: Mapping[str, Any] | None = None,
        points: Mapping[str, Mapping[str, Any]] = OPEN_POINTS,
        names: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(case, root)
        self._names = {name: [f"sip:{address}"] for name, address in (names or {}).items()}
        shared = Path(case.mktemp()).absolute()
        shared.mkdir(parents=True)
        self._accounts = str(shared / "accounts.db")
        with AccountStore(self._accounts) as store:
            for user in users:
                store.add(aor(user), PASSWORD)
        self.ca = make_ca(str(shared))
        self.ports: dict[str, int] = {}
        self._serve("shared-xdms", {"tls": False}, {})
        here = issue(self.ca, ["localhost"])
        certified = {"certificate": here.certificate, "key": here.key}
        self._serve("rls-xdms", certified, {})
        mutual = {**certified, "client_ca": self.ca.file, "require_client_certificate": True}
        known = {"proxy_names": ["proxy.example.com", "ps.example.com"]}
        self._serve("presence-xdms", mutual, known)
        settings = self._settings(
            roles=["aggregation-proxy"],
            accounts=self._accounts,
            proxy={
                "listen": [{"port": self.port}],
                "backend": self._backends("proxy.example.com"),
                "rate": 0.0,
                "health_interval": 1.0,
                "answer_timeout": 5.0,
            },
        )
        self.proxy = Daemon(case, {}, (), settings)
        if presence is not None:
            self._watch(points, presence)
        self.parts["aggregation-proxy"] = self.proxy
        self.start()

    def _serve(self, role: str, listen: Mapping[str, Any], xdms: Mapping[str, Any]) -> None:
        """Set up a document server; a point for its peers is beside that for clients."""
        port = self.ports[role] = free_port()
        settings = self._settings(
            roles=[role],
            accounts=self._accounts,
            xdms={"listen": [{"port": port, **listen}], **xdms},
            trust={"peers": [HOST]},
            locator={"hosts": self._names},
        )
        settings["xcap"]["trusted"] = [{"identity": PRESENCE_SERVER}]
        peers = {"transport": "udp", "auth": "trust", "port": free_port()}
        points = {**OPEN_POINTS, "peers": peers}
        self.parts[role] = Daemon(self._case, points, (), settings)

    def _backends(self, name: str) -> list[dict[str, Any]]:
        """How to reach the document servers, with a certificate for a name."""
        own = issue(self.ca, [name])
        tls = {"ca": self.ca.file}
        options: dict[str, dict[str, Any]] = {
            "shared-xdms": {},
            "rls-xdms": tls,
            "presence-xdms": {**tls, "certificate": own.certificate, "key": own.key},
        }
        return [
            {
                "name": role,
                "servers": [f"{'https' if more else 'http'}://localhost:{self.ports[role]}/"],
                **more,
            }
            for role, more in options.items()
        ]

    def _watch(self, points: Mapping[str, Mapping[str, Any]], changed: Mapping[str, Any]) -> None:
        """Set up a Presence Server."""
        servers = self._backends("ps.example.com")
        for server in servers:
            server["sip"] = [f"sip:{HOST}:{self.parts[server['name']].port('peers')}"]
        more = {name: dict(keys) for name, keys in changed.items()}
        settings = self._settings(
            roles=["presence-server", "rls", "registrar"],
            accounts=self._accounts,
            fetch={"server": servers, "health_interval": 1.0, **more.pop("fetch", {})},
            trust={"peers": [HOST], **more.pop("trust", {})},
            **more,
        )
        # requests leave from the first point of a transport, and only trusted peers are told
        # who asks
        peers = {"peers": {"transport": "udp", "auth": "trust"}}
        daemon = Daemon(self._case, {**peers, **points}, (), settings)
        self.parts |= dict.fromkeys(("presence-server", "rls", "registrar"), daemon)
