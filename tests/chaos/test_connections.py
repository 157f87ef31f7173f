"""Peers that are slow, silent or too many cost themselves, not the others (TRN-17 to TRN-28)."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e import wire
from tests.e2e.daemon import Daemon, tables
from tests.e2e.phone import Phone, notes, pidf

LIMIT = 100
"""Connections that the server may have."""
_TIMEOUT = 1.0
"""Seconds to complete a message, or a TLS handshake."""
_GENEROUS = 15.0
_POINTS = {
    "udp": {"transport": "udp", "auth": "none"},
    "tcp": {"transport": "tcp", "auth": "none"},
    "tls": {"transport": "tls", "auth": "none"},
}


class Connections(SynchronousTestCase):
    """All the while the server answers OPTIONS of somebody else."""

    def setUp(self) -> None:
        """Start a server with short time-outs and small bounds."""
        settings = tables(
            transport={
                "message_timeout": _TIMEOUT,
                "handshake_timeout": _TIMEOUT,
                "connect_timeout": 2.0,
                "queue_size": 65536,
            },
            limits={"publish_rate": 0.0, "connections": LIMIT},
            timers={"t1": 0.05, "t2": 0.4, "t4": 0.5},
        )
        self.daemon = Daemon(self, _POINTS, (), settings).start()
        self.descriptors = self.open_descriptors()

    def open_descriptors(self) -> int:
        """How many files and sockets the server has open."""
        return len(os.listdir(f"/proc/{self.daemon.pid}/fd"))

    def await_descriptors(self) -> None:
        """Wait until the server has closed what it had opened meanwhile."""
        deadline = time.monotonic() + _GENEROUS
        while self.open_descriptors() > self.descriptors:
            self.assertLess(time.monotonic(), deadline, "sockets stay open")
            time.sleep(0.02)

    def open(self, name: str = "tcp") -> wire.StreamWire:
        """A TCP connection to a listening point, without TLS."""
        made = wire.tcp(self.daemon.port(name))
        self.addCleanup(made.close)
        return made

    def assert_closed(self, wires: list[wire.StreamWire]) -> None:
        """The server closes them all in time, and answers others meanwhile."""
        deadline = time.monotonic() + _GENEROUS
        while wires and time.monotonic() < deadline:
            self.assertLess(self.daemon.answers(), 5.0)
            wire.closed_within(wires, 0.2)
            wires = [made for made in wires if made.octets(0) is None]
        self.assertEqual(wires, [], "they are still open")
        self.await_descriptors()

    # -- slow

    def test_slowloris(self) -> None:
        """An octet now and then does not keep a connection open (TRN-18)."""
        wires = [self.open() for _ in range(40)]
        octets = wire.options(wires[0], 1)
        deadline = time.monotonic() + _GENEROUS
        alive = wires
        for octet in octets:
            self.assertLess(time.monotonic(), deadline, f"{len(alive)} are still open")
            still = []
            for made in alive:
                with contextlib.suppress(wire.Closed):
                    made.send(bytes((octet,)))
                    if made.octets(0) is None:
                        still.append(made)
            alive = still
            if not alive:
                break
            self.assertLess(self.daemon.answers(), 5.0)
            time.sleep(0.05)
        self.assertEqual(alive, [])
        self.await_descriptors()

    def test_body_never_comes(self) -> None:
        """A message whose body stays away is given up (TRN-18, TOR-15)."""
        wires = [self.open() for _ in range(20)]
        for made in wires:
            data = wire.options(made, 1).replace(b"Content-Length: 0", b"Content-Length: 999")
            made.send(data + b"x" * 10)
        self.assert_closed(wires)

    def test_half_open_tls(self) -> None:
        """A TLS handshake that is not finished in time is given up (TRN-18)."""
        hello = _client_hello()
        beginnings = (b"", hello[:3], hello[: len(hello) // 2], hello, b"OPTIONS sip:x SIP/2.0\r\n")
        wires = []
        for beginning in beginnings * 6:
            made = self.open("tls")
            made.send(beginning)
            wires.append(made)
        self.assert_closed(wires)
        whole = self.daemon.phone("tls", "alice")
        self.assertEqual(whole.publish(pidf("alice", "x")).status, 200)

    def test_silent_is_no_crime(self) -> None:
        """A connection at rest stays open and answers pings (TRN-12, TRN-19)."""
        made = self.open()
        time.sleep(2 * _TIMEOUT)
        made.send(b"\r\n\r\n")
        self.assertEqual(made.octets(_GENEROUS), b"\r\n")
        made.send(wire.options(made, 1))
        answer = made.receive(_GENEROUS)
        self.assertEqual(answer.status if answer else 0, 200)

    def test_does_not_read(self) -> None:
        """A peer that asks and asks and never reads loses its connection (TRN-28)."""
        before = self.daemon.resident()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((wire.HOST, self.daemon.port("tcp")))
        made = wire.StreamWire(sock)
        deadline = time.monotonic() + 2 * _GENEROUS
        with self.assertRaises(wire.Closed):
            number = 0
            while time.monotonic() < deadline:
                made.send(b"".join(wire.options(made, number + i) for i in range(50)))
                number += 50
        self.assertLess(self.daemon.answers(), 5.0)
        self.assertLess(self.daemon.resident() - before, 64 << 20)
        self.await_descriptors()

    def test_watcher_does_not_accept(self) -> None:
        """A Contact that never reads what it gets holds nobody else up (NOT-05, OVL-06)."""
        listener = socket.create_server((wire.HOST, 0), backlog=1)
        self.addCleanup(listener.close)
        bob, carol = self.daemon.phone("tcp", "bob"), self.daemon.phone("udp", "carol")
        bob.contact = f"sip:bob@{wire.HOST}:{listener.getsockname()[1]};transport=tcp"
        stuck, fine = bob.subscribe("alice"), carol.subscribe("alice")
        carol.notify(fine)
        alice = self.daemon.phone("udp", "alice")
        etag = ""
        for number in range(5):
            etag = alice.publish(pidf("alice", f"{number}"), etag)["sip-etag"]
            self.assertEqual(notes(carol.notify(fine)), [f"{number}"])
        carol.listen(64 * 0.05 + 0.5)
        self.assertEqual(bob.resubscribe(stuck).status, 481)

    # -- too much

    def test_too_many(self) -> None:
        """Connections beyond the limit are closed at once, others come after (TRN-17, LIM-01)."""
        wires = [self.open() for _ in range(LIMIT + 50)]
        deadline = time.monotonic() + _GENEROUS
        alive = wires
        while len(alive) > LIMIT:
            self.assertLess(time.monotonic(), deadline)
            alive = [made for made in alive if made.octets(0) is None]
            time.sleep(0.02)
        self.assertLess(self.daemon.answers(), 5.0)
        for number, made in enumerate(alive):
            made.send(wire.options(made, number))
        answers = [made.receive(_GENEROUS) for made in alive]
        self.assertEqual([a.status for a in answers if a], [200] * LIMIT)
        for made in wires:
            made.close()
        self.await_descriptors()
        self.assertEqual(self.daemon.phone("tcp", "alice").publish(pidf("alice", "x")).status, 200)

    def test_come_and_go(self) -> None:
        """Thousands of connections, closed or reset at once, leave nothing behind (TRN-25)."""
        for number in range(1500):
            with socket.create_connection((wire.HOST, self.daemon.port("tcp")), 10) as sock:
                made = wire.StreamWire(sock)
                if number % 3:
                    made.send(wire.options(made, number)[: number % 400])
                if number % 2:
                    # close by a reset
                    linger = b"\1\0\0\0\0\0\0\0"
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            if not number % 100:
                self.assertLess(self.daemon.answers(), 5.0)
        self.await_descriptors()

    def test_too_large(self) -> None:
        """A head or body beyond its limit gets 513 or 413, then the connection ends (TRN-17)."""
        cases: tuple[tuple[int, Any], ...] = (
            (513, b"Subject: " + b"x" * 8000 + b"\r\n"),
            (413, b"Content-Length: 99999999\r\n"),
        )
        for status, line in cases:
            made = self.open()
            data = wire.options(made, 1)
            if status == 513:
                data = data.replace(b"Max-Forwards", line * 20 + b"Max-Forwards")
            else:
                data = data.replace(b"Content-Length: 0\r\n", line)
            made.send(data)
            answer = made.receive(_GENEROUS)
            self.assertEqual(answer.status if answer else 0, status)
            self.assertEqual(wire.closed_within([made], _GENEROUS), 1)
        self.daemon.answers()

    def test_endless_line(self) -> None:
        """Octets without any end of line are not gathered for ever (TRN-17)."""
        made = self.open()
        with self.assertRaises(wire.Closed):
            for _ in range(2000):
                made.send(b"x" * 65536)
        self.assertLess(self.daemon.answers(), 5.0)
        self.await_descriptors()

    def test_many_phones(self) -> None:
        """Watchers at many connections that all break at once are cleared away (TRN-25, NOT-10)."""
        phones: list[Phone] = []
        watches = []
        for number in range(40):
            phone = self.daemon.phone(("tcp", "tls")[number % 2], f"user{number}")
            watch = phone.subscribe("alice")
            phone.notify(watch)
            phones.append(phone)
            watches.append(watch)
        for phone in phones:
            phone.close()
        alice = self.daemon.phone("udp", "alice")
        self.assertEqual(alice.publish(pidf("alice", "x")).status, 200)
        self.assertLess(self.daemon.answers(), 5.0)
        alice.listen(0.5)
        again = self.daemon.phone("tcp", "user0")
        self.assertEqual(again.resubscribe(watches[0]).status, 481)
        again.close()
        self.await_descriptors()


def _client_hello() -> bytes:
    """The first flight of a TLS client."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()
