"""The real server as a child process: configured, started, killed, its log examined."""

from __future__ import annotations

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from presence.accounts import AccountStore
from presence.tomlfile import dotted, toml
from tests.e2e import wire
from tests.e2e.phone import DOMAIN, Phone, aor
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
TWISTD = shutil.which("twistd", path=os.path.dirname(sys.executable)) or "twistd"
PASSWORD = "correct horse"
START_SECONDS = 30.0
STOP_SECONDS = 20.0

DIGEST_POINTS = {
    "udp": {"transport": "udp"},
    "tcp": {"transport": "tcp"},
    "tls": {"transport": "tls"},
}
"""UDP, TCP and TLS with Digest."""

OPEN_POINTS = {
    "udp": {"transport": "udp", "auth": "none"},
    "tcp": {"transport": "tcp", "auth": "none"},
}
"""UDP and TCP where everybody is believed."""

_UNWANTED = re.compile(
    r"Traceback|Unhandled|Exception ignored|Warning:|#critical|#error|please report"
)
_PRIVATE = re.compile(
    r"(?:sips?|pres|im|tel):[^\s,]|[\w.+-]+@[\w.-]+|<\?xml|<presence|urn:ietf:params:xml"
    r"|Authorization|nonce=|PUBLISH sip|NOTIFY sip"
    rf"|{re.escape(PASSWORD)}"
)


def tables(**changed: Any) -> dict[str, Any]:
    """A configuration for quick tests; ``changed`` sets keys, and adds keys to tables."""
    made: dict[str, Any] = {
        "roles": ["presence-server", "registrar"],
        "publication": {"min_expires": 1},
        "subscription": {"min_expires": 1, "notify_interval": 0.0},
        "registrar": {"min_expires": 1},
        "limits": {"publish_rate": 0.0},
        "domain_aliases": {wire.HOST: DOMAIN},
    }
    for name, keys in changed.items():
        made[name] = {**made.get(name, {}), **keys} if isinstance(keys, Mapping) else keys
    return made


def write_config(
    path: Path, points: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]
) -> None:
    """Write a configuration file.

    :param settings: tables, and keys that belong to none.
    """
    lines = [] if "domains" in settings else [f"domains = {toml([DOMAIN])}"]
    lines += [
        f"{key} = {toml(value)}"
        for key, value in settings.items()
        if not isinstance(value, Mapping)
    ]
    for point in points.values():
        lines += ["[[listen]]", *(f"{key} = {toml(value)}" for key, value in point.items())]
    for name, keys in settings.items():
        if not isinstance(keys, Mapping):
            continue
        lines.append(f"[{name}]")
        lines += [f"{dotted((key,))} = {toml(value)}" for key, value in keys.items()]
    path.write_text("\n".join(lines) + "\n")


def twistd(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Run ``twistd`` as a child process.

    :param options: for Popen.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([TWISTD, *arguments], env=environment, **options)


def heed_interrupts() -> None:
    """Undo what a shell does to commands that it runs in the background: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def run(directory: Path, *arguments: str) -> tuple[int, str, str]:
    """Run ``twistd`` to its end: exit status, standard output and standard error."""
    child = twistd(*arguments, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = child.communicate(timeout=START_SECONDS)
    finally:
        if child.returncode is None:
            child.kill()
            child.communicate()
    return child.returncode, out.decode(), err.decode()


class Daemon:
    """A server, its configuration and its state directory; it can be started many times.

    :param case: the test; at its end the server is stopped and its log examined.
    :param points: listening points for SIP by a name; without a port they get a free one.
    :param accounts: users with an account.
    :param settings: see :func:`tables`.

    :ivar expected: pattern of problems that the log may tell of.
    """

    def __init__(
        self,
        case: SynchronousTestCase,
        points: Mapping[str, Mapping[str, Any]] | None = None,
        accounts: tuple[str, ...] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._case = case
        self.directory = Path(case.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.state = self.directory / "state"
        self.config = self.directory / "presence.toml"
        self.points: dict[str, dict[str, Any]] = {
            name: {**point, "port": point.get("port") or free_port()}
            for name, point in (DIGEST_POINTS if points is None else points).items()
        }
        self.settings = copy.deepcopy(dict(tables() if settings is None else settings))
        self.expected = r"(?!)"
        self._starts = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._pings = 0
        self._pinging: wire.Wire | None = None
        self.write()
        if accounts:
            self.add_accounts(*accounts)
        case.addCleanup(self._finish)

    # -- files

    def write(self) -> None:
        """Write the configuration file as ``points`` and ``settings`` now are."""
        write_config(self.config, self.points, self.settings)

    def add_accounts(self, *users: str) -> None:
        """Make accounts with the password PASSWORD."""
        with AccountStore(self.state / "accounts.db") as accounts:
            for user in users:
                accounts.add(aor(user), PASSWORD)

    @property
    def certificate(self) -> str:
        """PEM file of the certificate that the server has generated."""
        return str(self.state / "tls" / "certificate.pem")

    def _file(self, kind: str, number: int = 0) -> Path:
        return self.directory / f"{kind}-{number or self._starts}.txt"

    def log(self) -> str:
        """What the present or last process has logged."""
        return self._file("log").read_text(errors="replace")

    def await_log(self, text: str, start: int = 0, seconds: float = START_SECONDS) -> str:
        """Wait until the log, from offset ``start`` on, has ``text``; the log from there."""
        deadline = time.monotonic() + seconds
        while text not in (log := self.log()[start:]):
            status = self._child.poll() if self._child is not None else None
            if status is not None:
                raise AssertionError(f"ended with {status}: {self._file('err').read_text()}{log}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} in the log: {log}")
            time.sleep(0.01)
        return log

    # -- process

    @property
    def pid(self) -> int:
        """Process number."""
        assert self._child is not None
        return self._child.pid

    def launch(self) -> Daemon:
        """Start the server and do not wait."""
        self._starts += 1
        with self._file("log").open("wb") as log, self._file("err").open("wb") as err:
            self._child = twistd(
                *("--pidfile=", "-n", "presence", "start"),
                *("-c", str(self.config), "--state-dir", str(self.state)),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=err,
            )
        return self

    def start(self) -> Daemon:
        """Start the server and wait until it answers OPTIONS."""
        return self.launch().ready()

    def ready(self) -> Daemon:
        """Wait until the launched server answers OPTIONS, if it speaks SIP at all."""
        log = self.await_log("ready: serving")
        listening = r"listening on \w+ \S+ port (\d+), authentication"
        ports = [int(port) for port in re.findall(listening, log)]
        assert len(ports) == len(self.points), log
        for point, port in zip(self.points.values(), ports, strict=True):
            point["port"] = port  # the same after a restart
        self.write()
        if self.points:
            self.answers()
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it without warning (SIGKILL)."""
        assert self._child is not None
        self._child.kill()
        self._child.wait(STOP_SECONDS)
        self._child = None

    def wait(self) -> int:
        """Wait for the end of the process; its exit status."""
        assert self._child is not None
        status = self._child.wait(STOP_SECONDS)
        self._child = None
        return status

    def stop(self) -> int:
        """Stop gracefully; the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def restart(self) -> Daemon:
        """Kill it and start again."""
        self.kill()
        return self.start()

    def reload(self, outcome: str = "configuration reloaded") -> str:
        """Write the configuration, send SIGHUP and wait for what the log says of it."""
        self.write()
        start = len(self.log())
        self.signal(signal.SIGHUP)
        return self.await_log(outcome, start)

    def _finish(self) -> None:
        """Stop what runs, then look at all logs."""
        status = 0
        if self._child is not None:
            try:
                status = self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        self._case.assertEqual(status, 0, "exit status")
        self.check_log()

    def check_log(self) -> None:
        """Assert that no log tells of an unexpected problem, or of users (WISHES 25)."""
        expected = re.compile(self.expected)
        for number in range(1, self._starts + 1):
            for kind in ("log", "err"):
                for line in self._file(kind, number).read_text(errors="replace").splitlines():
                    if expected.search(line):
                        continue
                    self._case.assertNotRegex(line, _UNWANTED)
                    self._case.assertNotRegex(line, _PRIVATE)

    # -- talking to it

    def port(self, name: str) -> int:
        """Port of a listening point."""
        port: int = self.points[name]["port"]
        return port

    def wire(self, name: str) -> wire.Wire:
        """A wire to a listening point."""
        transport = self.points[name]["transport"]
        if transport == "udp":
            made = wire.udp(self.port(name))
        elif transport == "tcp":
            made = wire.tcp(self.port(name))
        else:
            made = wire.tls(self.port(name), self.certificate)
        self._case.addCleanup(made.close)
        return made

    def phone(self, name: str, user: str, password: str = PASSWORD, **options: str) -> Phone:
        """A client at a listening point."""
        return Phone(self.wire(name), user, password, **options)

    def answers(self, timeout: float = 10.0) -> float:
        """Ping the first listening point by OPTIONS; the seconds until the answer.

        :raises AssertionError: there is none in time.
        """
        if self._pinging is None or self._pinging.protocol != "UDP":
            self._pinging = self.wire(next(iter(self.points)))
        point = self._pinging
        self._pings += 1
        began = time.monotonic()
        point.send(wire.options(point, self._pings))
        while (left := timeout - (time.monotonic() - began)) > 0:
            message = point.receive(left)
            if message is not None and message.cseq == self._pings:
                assert message.status in (200, 401, 403), message
                return time.monotonic() - began
        raise AssertionError(f"no answer to OPTIONS in {timeout} s")

    def resident(self) -> int:
        """Resident memory in octets."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
