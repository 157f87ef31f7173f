"""The servers under test as child processes: this one, and Kamailio as its peer.

Each is a context manager with the address and process number that a load needs; it ends what
it has started, by process number, and keeps all files in a directory of the caller.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.proc import tree
from presence.accounts import AccountStore

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "bench" / "presence.toml"
DOMAIN = "bench.invalid"
PASSWORD = "secret"

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_REPLACED = {
    "sqlite": {},
    "digest": {'auth = "none"': 'auth = "digest"'},
    "memory": {'type = "sqlite"': 'type = "memory"'},
}

VARIANTS = tuple(_REPLACED)
"""``sqlite``: durable, the subject; ``digest``: the same with Digest; ``memory``: no store."""


USER = "load"
"""Trusted principal that the load of documents is from."""


class ServerError(Exception):
    """A server does not start; says why."""


class Server:
    """A server that runs between ``with`` and its end.

    :ivar name: of the software.
    :ivar address: ``127.0.0.1:port`` for SIP over UDP.
    :ivar pid: process whose tree does the work.
    """

    name = ""
    address = ""
    pid = 0

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _start(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError


class Presence(Server):
    """This server.

    :param directory: an empty one, for configuration, log and state.
    :param variant: one of :data:`VARIANTS`.
    :param users: who gets an account in the variant ``digest``.
    :param profiles: prefix of profile files; None runs it without profiler.
    """

    name = "txpresence"

    def __init__(
        self,
        directory: Path,
        variant: str = "sqlite",
        users: Iterable[str] = (),
        profiles: Path | None = None,
    ) -> None:
        self._directory = directory
        self._variant = variant
        self._users = users
        self._profiles = profiles
        self._child: subprocess.Popen[bytes] | None = None

    def _start(self) -> None:
        directory = self._directory
        (directory / "presence.toml").write_text(self._config())
        state = directory / "state"
        if self._variant == "digest":
            with AccountStore(state / "accounts.db") as accounts:
                for user in self._users:
                    accounts.add(f"{user}@{DOMAIN}", PASSWORD)
        arguments = [
            *("--pidfile=", "-n", "presence", "start"),
            *("-c", str(directory / "presence.toml"), "--state-dir", str(state)),
        ]
        program = [shutil.which("twistd", path=os.path.dirname(sys.executable)) or "twistd"]
        if self._profiles is not None:
            program = [sys.executable, "-m", "bench.profiled", str(self._profiles)]
        log = directory / "log"
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                program + arguments,
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.pid = self._child.pid
        self.address = self._place(self._ready(log))

    def _config(self) -> str:
        """Text of the configuration file."""
        config = CONFIG.read_text()
        for old, new in _REPLACED[self._variant].items():
            config = config.replace(old, new)
        return config

    def _place(self, log: str) -> str:
        """The address that the log tells."""
        found = re.search(r"listening on UDP (\S+) port (\d+)", log)
        if found is None:
            raise ServerError(f"the log tells no UDP port:\n{log}")
        return f"{found[1]}:{found[2]}"

    def _ready(self, log: Path) -> str:
        child = self._child
        end = time.monotonic() + _START_SECONDS
        while child is not None and time.monotonic() < end:
            text = log.read_text()
            if "ready: serving" in text:
                return text
            if child.poll() is not None:
                raise ServerError(f"the server has ended with {child.returncode}:\n{text}")
            time.sleep(0.05)
        raise ServerError(f"the server is not ready after {_START_SECONDS:g} s")

    def _stop(self) -> None:
        if self._child is not None:
            _end(self._child)
            self._child = None


class Documents(Presence):
    """This server with the roles for documents.

    :param variant: ``xdms``: the Shared XDMS over HTTP; ``proxy``: through the Aggregation
        Proxy with TLS and Digest.

    :ivar address: the XCAP root.
    """

    def __init__(self, directory: Path, variant: str, profiles: Path | None = None) -> None:
        super().__init__(directory, "digest", [USER], profiles)
        self._proxy = variant == "proxy"
        self._port = _free_port()
        scheme, host = ("https", "localhost") if self._proxy else ("http", "127.0.0.1")
        self._root = f"{scheme}://{host}:{self._port}/xcap/"

    @property
    def certificate(self) -> str:
        """PEM file of the certificate that was generated."""
        return str(self._directory / "state" / "tls" / "certificate.pem") if self._proxy else ""

    def _config(self) -> str:
        if self._proxy:
            roles = '"shared-xdms", "aggregation-proxy"'
            point = f"[proxy]\nrate = 0.0\n[[proxy.listen]]\nport = {self._port}\n"
        else:
            roles = '"shared-xdms"'
            point = f"[[xdms.listen]]\nport = {self._port}\ntls = false\n"
        return (
            f'roles = [{roles}]\ndomains = ["{DOMAIN}"]\n'
            '[[listen]]\ntransport = "udp"\nport = 0\n'
            f'[xcap]\nusers = "served"\nroots = {{ "{self._root}" = "{DOMAIN}" }}\n'
            f'trusted = [{{ identity = "sip:{USER}@{DOMAIN}", write = true }}]\n{point}'
        )

    def _place(self, log: str) -> str:
        return self._root


class Kamailio(Server):
    """Kamailio, as the reference load configures it.

    :param peer: directory of the reference load, with ``run_kamailio.py``.
    :param directory: an empty one, for its database and log.
    :param variant: ``sqlite``, ``mem`` or ``mem-auth``.
    :param seconds: after which it ends by itself, whatever happens to us.

    :ivar root: XCAP root.
    """

    name = "kamailio"
    root = ""

    def __init__(
        self, peer: Path, directory: Path, variant: str = "sqlite", seconds: int = 900
    ) -> None:
        self._peer = peer
        self._directory = directory
        self._variant = variant
        self._seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None

    def _start(self) -> None:
        for program, package in (("kamailio", "kamailio"), ("sqlite3", "sqlite3")):
            if shutil.which(program) is None:
                raise ServerError(
                    f"there is no {program}; on Debian: apt-get install {package}"
                    " kamailio-presence-modules kamailio-xml-modules kamailio-sqlite-modules"
                )
        self._child = subprocess.Popen(
            [
                *(sys.executable, str(self._peer / "run_kamailio.py"), "serve", self._variant),
                *("--workers", "1", "--seconds", str(self._seconds)),
            ],
            env={
                **os.environ,
                "BENCH_SCRATCH": str(self._directory),
                "BENCH_PORT": str(_free_port()),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, errors = self._child.stdout, self._child.stderr
        if output is None or errors is None:
            raise ServerError("no pipes")
        readable, _, _ = select.select([output], [], [], _START_SECONDS)
        line = output.readline() if readable else b""
        if not line:
            self._child.terminate()
            raise ServerError(f"Kamailio does not start: {errors.read().decode()[-2000:]}")
        told = json.loads(line)
        self.address, self.pid = told["target"], told["server_pid"]
        self.root = f"http://{told['xcap']}"

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        family = tree(child.pid)[1:]
        try:
            _end(child)  # it ends Kamailio, too, unless it was interrupted while it started
        finally:
            for pipe in (child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()
            for pid in family:
                if _runs(pid, "kamailio"):
                    os.kill(pid, signal.SIGKILL)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _runs(pid: int, name: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == name
    except OSError:
        return False


def _free_port() -> int:
    """A port of 127.0.0.1 that is free for UDP and TCP now."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            try:
                datagram.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
