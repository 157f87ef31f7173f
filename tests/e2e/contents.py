"""A Content Server as a child process, by itself or with all other roles."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.daemon import OPEN_POINTS, PASSWORD, Daemon, tables
from tests.e2e.deployments import XDMS_ROLES
from tests.e2e.phone import DOMAIN, aor
from tests.e2e.xdm import XcapClient
from tests.ports import free_port

USERS = ("alice", "bob")
MIB = 1 << 20


class ContentDaemon:
    """A Content Server with a port of its own, or behind that of the Aggregation Proxy.

    :param alone: no other role is in the process.
    :param content: keys of its table.
    :param settings: other tables.

    :ivar base: its base URI.
    """

    def __init__(
        self,
        case: SynchronousTestCase,
        *,
        alone: bool = True,
        content: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self._case = case
        self.port = free_port()
        self.base = f"https://localhost:{self.port}/cs/"
        listen = [{"port": self.port}]
        table: dict[str, Any] = {"uris": {self.base: DOMAIN}, **(content or {})}
        proxy = {"rate": 0.0, **settings.pop("proxy", {})}
        roles = ["content-server"]
        if alone:
            table["listen"] = listen
        else:
            roles = [*("presence-server", "rls", "registrar"), *XDMS_ROLES]
            roles += ["aggregation-proxy", "content-server"]
            proxy["listen"] = listen
            settings["xcap"] = {"roots": {f"https://localhost:{self.port}/": DOMAIN}}
        self.daemon = Daemon(
            case,
            {} if alone else OPEN_POINTS,
            USERS,
            tables(roles=roles, content=table, proxy=proxy, **settings),
        )

    def start(self) -> ContentDaemon:
        """Start it and wait until it serves."""
        self.daemon.start()
        return self

    @property
    def directory(self) -> Path:
        """Where its objects are."""
        return self.daemon.state / "content"

    def files(self) -> list[str]:
        """The files of objects, complete or not."""
        return sorted(
            str(path.relative_to(self.directory))
            for folder in ("incoming", "objects")
            for path in (self.directory / folder).rglob("*")
            if path.is_file()
        )

    def client(self, user: str = "alice", **options: Any) -> XcapClient:
        """A user."""
        client = XcapClient(self.port, self.daemon.certificate, user, **options)
        self._case.addCleanup(client.close)
        return client

    def home(self, user: str = "alice") -> str:
        """The target of the objects of a user."""
        return f"/cs/users/{aor(user)}/"

    def target(self, uri: str) -> str:
        """The request target of an object."""
        return uri.removeprefix(f"https://localhost:{self.port}")

    def curl(
        self, *arguments: str, user: str = "alice", password: str = PASSWORD
    ) -> tuple[int, dict[str, str], bytes]:
        """Run curl with Digest: status, header fields and body of the last answer."""
        head = self.daemon.directory / "curl-head"
        done = subprocess.run(
            [
                *("curl", "--silent", "--show-error", "--max-time", "30", "--noproxy", "*"),
                *("--digest", "--user", f"{user}@{DOMAIN}:{password}"),
                *("--cacert", self.daemon.certificate, "--dump-header", str(head)),
                *arguments,
            ],
            capture_output=True,
            timeout=60,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert done.returncode == 0, done
        *_, last = head.read_text().strip().split("\n\n")
        first, *lines = last.strip().splitlines()
        fields = {
            name.lower(): value.strip() for name, _, value in (n.partition(":") for n in lines)
        }
        return int(first.split()[1]), fields, done.stdout
