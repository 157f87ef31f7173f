"""baresip as a child process: configured, told what to do, asked what it shows."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.e2e.daemon import PASSWORD, Daemon
from tests.e2e.phone import DOMAIN
from tests.e2e.wire import HOST
from tests.interop.programs import Program, eventually, require
from tests.ports import free_port

TEMPLATES = Path(__file__).resolve().parent / "baresip"
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_SECONDS = 15.0


class Softphone:
    """A running baresip with one account and one contact.

    :param case: the test.
    :param daemon: the server.
    :param point: listening point that is its outbound proxy.
    :param user: who uses it.
    :param friend: whom it watches.
    :param domain: domain of both, or a host and port.
    :param lifetime: of its publications in seconds.
    :raises SkipTest: baresip is not installed or cannot run here.
    """

    def __init__(
        self,
        case: SynchronousTestCase,
        daemon: Daemon,
        point: str,
        user: str,
        friend: str,
        *,
        domain: str = DOMAIN,
        lifetime: int = 20,
    ) -> None:
        baresip = require("baresip", "baresip-core")
        self.user = user
        self._directory = Path(case.mktemp()).absolute()
        self._directory.mkdir(parents=True)
        control = free_port()
        transport = daemon.points[point]["transport"]
        values = {
            "control": control,
            "user": user,
            "friend": friend,
            "domain": domain,
            "password": PASSWORD,
            "server": f"sip:{HOST}:{daemon.port(point)};transport={transport}",
            "lifetime": lifetime,
        }
        for template in TEMPLATES.iterdir():
            text = Template(template.read_text()).substitute(values)
            (self._directory / template.name).write_text(text)
        arguments = [baresip, "-f", str(self._directory), "-s"]
        self._program = Program(case, arguments, self._directory, f"baresip-{user}")
        self._socket = eventually(lambda: self._connect(control), f"{user}'s baresip starts")
        case.addCleanup(self._socket.close)
        self._data = b""

    def _connect(self, port: int) -> socket.socket | None:
        """A connection for commands, None as long as there is none."""
        if self._program.ended() is not None:
            raise AssertionError(f"baresip has ended: {self.trace()}")
        with contextlib.suppress(ConnectionRefusedError):
            made = socket.create_connection((HOST, port), _SECONDS)
            if re.search(r"^Local network address: *$", self.trace(), re.MULTILINE):
                made.close()
                raise SkipTest("baresip needs a network interface besides the loopback one")
            return made
        return None

    # -- commands

    def tell(self, command: str) -> str:
        """Give a command; what baresip answers, without colours.

        :raises AssertionError: it refuses.
        """
        call = json.dumps({"command": command, "params": "", "token": command}).encode()
        self._socket.sendall(b"%d:%s," % (len(call), call))
        while (answer := self._message()).get("token") != command:
            pass  # an event
        assert answer["ok"], answer
        return _COLOUR.sub("", answer["data"])

    def _message(self) -> dict[str, Any]:
        """The next message of the control connection, each of which is a netstring."""
        while True:
            length, colon, rest = self._data.partition(b":")
            if colon and len(rest) > int(length):
                message: dict[str, Any] = json.loads(rest[: int(length)])
                self._data = rest[int(length) + 1 :]  # a comma ends it
                return message
            data = self._socket.recv(65536)
            assert data, "baresip has closed its control connection"
            self._data += data

    # -- what it shows

    def registered(self) -> bool:
        """Whether it has a registration."""
        return re.search(r"\bOK\b", self.tell("reginfo")) is not None

    def shows(self) -> str:
        """The presence of the contact: Online, Busy, Offline or Unknown."""
        found = re.search(r"^> +(\w+) +\S+ <", self.tell("contacts"), re.MULTILINE)
        assert found is not None, self.tell("contacts")
        return found[1]

    def await_registered(self) -> None:
        """Wait until it is registered.

        :raises AssertionError: it is not in time, or cannot.
        """
        self.until(lambda: self.registered() or "Register: " in self.trace(), "registers")
        assert self.registered(), self.trace()[-6000:]

    def await_shown(self, presence: str) -> None:
        """Wait until it shows a presence.

        :raises AssertionError: it does not in time.
        """
        self.until(lambda: self.shows() == presence, f"shows {presence}")

    def until(self, look: Callable[[], bool], what: str) -> None:
        """Wait until something is so.

        :raises AssertionError: it is not in time; with the last messages.
        """
        try:
            eventually(look, f"{self.user}'s baresip {what}", 60.0)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.trace()[-6000:]}") from None

    # -- what it has sent and received

    def trace(self) -> str:
        """All messages so far, as baresip has seen them."""
        return _COLOUR.sub("", self._program.output())

    # -- life

    def quit(self) -> None:
        """End it by its own command, with un-PUBLISH, unsubscribe and un-REGISTER."""
        self.tell("quit")
        self._program.wait(_SECONDS)

    def kill(self) -> None:
        """End it without warning (SIGKILL)."""
        self._program.kill()
