"""Kamailio as the S-CSCF in front of the server: a trusted peer that asserts who asks."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e import wire
from tests.e2e.daemon import Daemon
from tests.e2e.phone import Phone, aor, notes, pidf
from tests.e2e.wire import HOST
from tests.interop.callers import call
from tests.interop.programs import Program, calm, eventually, require
from tests.ports import free_port

if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object

_CONFIG = Path(__file__).resolve().parent / "kamailio" / "scscf.cfg"
_CALLS = 100


class Proxy:
    """A running Kamailio.

    :param case: the test.
    :param server: URI of the presence server.
    :param port: where it listens.
    """

    def __init__(self, case: SynchronousTestCase, server: str, port: int) -> None:
        kamailio = require("kamailio", "kamailio")
        directory = Path(case.mktemp()).absolute()
        directory.mkdir(parents=True)
        text = _CONFIG.read_text().replace("@HERE@", f"{HOST}:{port}").replace("@SERVER@", server)
        config = directory / "scscf.cfg"
        config.write_text(text)
        self.port = port
        self._program = Program(
            case,
            [
                *(kamailio, "-f", str(config), "-DD", "-E", "-m", "32", "-M", "4"),
                *("-w", str(directory), "-Y", str(directory)),
            ],
            directory,
            "kamailio",
        )
        eventually(self._answers, "Kamailio answers", interval=0.0)

    def _answers(self) -> bool:
        if self._program.ended() is not None:
            raise AssertionError(f"Kamailio has ended: {self._program.output()[-4000:]}")
        probe = wire.udp(self.port)
        probe.send(wire.options(probe, 1, f"{HOST}:{self.port}"))
        with contextlib.closing(probe):
            return probe.receive(0.2) is not None


class _Behind(_Base):
    """A server that trusts the proxy before it; each subclass has them speak another transport."""

    transport = ""
    scenarios: tuple[str, ...] = ("publish",)

    def begin(self) -> None:
        """Start both."""
        require("kamailio", "kamailio")
        port = free_port()
        # a connection of the proxy comes from any port of its address
        peer = f"{HOST}:{port}" if self.transport == "udp" else HOST
        points = {self.transport: {"transport": self.transport, "auth": "both"}}
        self.daemon = Daemon(self, points, (), calm(trust={"peers": [peer]})).start()
        place = f"sip:{HOST}:{self.daemon.port(self.transport)};transport={self.transport}"
        self.proxy = Proxy(self, place, port)

    def phone(self, user: str) -> Phone:
        """A phone behind the proxy."""
        made = wire.udp(self.proxy.port)
        self.addCleanup(made.close)
        return Phone(made, user)

    def test_calls(self) -> None:
        """SIPp behind the proxy, with a route set where there are dialogs (IMS-02, DLG-02)."""
        require("sipp", "sip-tester")
        self.begin()
        for scenario in self.scenarios:
            call(self, self.proxy.port, "udp", scenario, calls=_CALLS, at_once=20)

    def test_way_of_notify(self) -> None:
        """NOTIFYs go by the recorded route and say whose they are (DLG-05, IMS-09)."""
        self.begin()
        alice, bob = self.phone("alice"), self.phone("bob")
        self.assertEqual(alice.publish(pidf("alice", "here")).status, 200)
        watch = bob.subscribe("alice")
        self.assertEqual(watch.response.status, 200)
        route = ", ".join(reversed(watch.response.every("record-route")))
        self.assertIn(f"sip:{HOST}:{self.proxy.port}", route)
        notify = bob.notify(watch)
        self.assertEqual(notes(notify), ["here"])
        vias = notify.every("via")
        self.assertEqual(len(vias), 2)
        self.assertIn(f"{HOST}:{self.proxy.port}", vias[0])
        self.assertIn("sip:alice@example.com", notify["p-asserted-identity"])
        self.assertEqual(bob.resubscribe(watch, expires=0, route=route).status, 200)
        self.assertIn("terminated", bob.notify(watch)["subscription-state"])


class UdpTests(_Behind, SynchronousTestCase):
    """Proxy and server speak over UDP."""

    transport = "udp"
    scenarios = ("publish", "subscribe")

    def test_forged_identity(self) -> None:
        """Who goes past the proxy cannot assert anything (IMS-01, IMS-04)."""
        self.begin()
        direct = self.daemon.phone("udp", "alice")
        answer = direct.publish(pidf("alice", "forged"), p_asserted_identity=f"<{aor('alice')}>")
        self.assertEqual(answer.status, 401)
        mallory = self.phone("mallory")
        answer = mallory.publish(
            pidf("alice", "forged"), user="alice", p_asserted_identity=f"<{aor('alice')}>"
        )
        self.assertEqual(answer.status, 403)


class TcpTests(_Behind, SynchronousTestCase):
    """Proxy and server speak over TCP.

    Answers come by the proxy's connection and NOTIFYs by ours, so that they may overtake each
    other: the scenario for watchers does not fit.
    """

    transport = "tcp"
