"""Damaged messages in great number do no harm (issue 2, "is done when")."""

from __future__ import annotations

import socket
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.mutate import Mutator
from tests.e2e import wire
from tests.e2e.daemon import PASSWORD, Daemon, tables
from tests.e2e.phone import aor, challenge_for, credentials

WARM_UP = 80_000
"""Messages until the memory of the process has its size."""
MESSAGES = 100_000
"""After that, over UDP and TCP together."""
TCP_SHARE = 0.25
"""Part of the batches that goes over TCP."""
GROWTH = 1.1
"""Bound for resident memory at the end against the start; 100 octets a message would pass it."""
_PER_CONNECTION = 12
_BATCH = 40
"""Messages between two questions whether the server still answers."""
_SEED = 20_260_102
_LIFETIME = 1
"""Longest lifetime of anything, in seconds."""
_T1 = 0.01
"""So that transactions end soon and memory is level before the end."""


class NoSuchName:
    """A DNS server on loopback that knows no name, in a thread of its own."""

    def __init__(self) -> None:
        self._socket = wire.udp_socket()
        self.place = f"{wire.HOST}:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(4096)
            if not query:
                return
            # the identifier, an answer "no such name" with one question and nothing else
            self._socket.sendto(query[:2] + b"\x81\x83\0\x01" + bytes(6) + query[12:], sender)

    def stop(self) -> None:
        """End the thread."""
        with wire.udp_socket() as end:
            end.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()


class Mutations(SynchronousTestCase):
    """A storm of damaged messages."""

    def test_storm(self) -> None:
        """10^5 damaged messages over UDP and TCP: it answers, memory is level, no traceback."""
        names = NoSuchName()
        self.addCleanup(names.stop)
        lifetimes = dict.fromkeys(("default_expires", "max_expires"), _LIFETIME)
        settings = tables(
            publication=lifetimes,
            subscription=lifetimes,
            registrar=lifetimes,
            timers={"t1": _T1, "t2": 0.1, "t4": 0.1},
            transport={"message_timeout": 1.0, "connect_timeout": 2.0},
            digest={"max_failures": 0},
            locator={"nameservers": [names.place]},
        )
        points = {
            "udp": {"transport": "udp", "auth": "none"},
            "tcp": {"transport": "tcp", "auth": "none"},
            "digest": {"transport": "udp"},
        }
        self.daemon = Daemon(self, points, ("user1",), settings).start()
        phone = self.daemon.phone("digest", "user1")
        uri = aor("user1")
        challenge = challenge_for(phone.ask(*phone.build("PUBLISH", uri)), "SHA-256")
        proof = credentials(challenge, "user1", PASSWORD, "PUBLISH", uri)
        self.mutator = Mutator(_SEED, proof)
        self.sockets = {name: wire.udp_socket() for name in ("udp", "digest")}
        for sock in self.sockets.values():
            sock.setblocking(False)
            self.addCleanup(sock.close)

        self.latencies: list[float] = []
        resident: list[int] = []
        sent = 0
        while sent < WARM_UP + MESSAGES:
            if self.mutator.random.random() < TCP_SHARE:
                sent += self.over_tcp()
            else:
                sent += self.over_udp()
            self.latencies.append(self.daemon.answers())
            if sent > WARM_UP:
                resident.append(self.daemon.resident())
        self.check(resident)
        # nothing of it stays
        time.sleep(_LIFETIME + 64 * _T1 + 0.5)
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.start()
        self.assertIn("recovered 0 publications and 0 subscriptions", self.daemon.log())

    def check(self, resident: list[int]) -> None:
        """Latency and memory."""
        self.latencies.sort()
        self.assertLess(self.latencies[int(len(self.latencies) * 0.99)], 1.0)
        self.assertLess(self.latencies[-1], 5.0)
        fifth = len(resident) // 5
        early, late = max(resident[:fifth]), max(resident[-fifth:])
        self.assertLess(late, early * GROWTH, f"{early} octets have become {late}")

    def over_udp(self) -> int:
        """One batch of datagrams; how many."""
        mutator = self.mutator
        name = "digest" if mutator.random.random() < 0.2 else "udp"
        sock = self.sockets[name]
        server = (wire.HOST, self.daemon.port(name))
        local = sock.getsockname()
        for _ in range(_BATCH):
            sock.sendto(mutator.message("UDP", local), server)
        answers = 0
        while True:
            try:
                data = sock.recv(65536)
            except BlockingIOError:
                return _BATCH + answers
            if data.startswith(b"NOTIFY") and mutator.random.random() < 0.7:
                sock.sendto(mutator.answer(data), server)
                answers += 1

    def over_tcp(self) -> int:
        """One connection with a few messages, cut anywhere; how many."""
        rng = self.mutator.random
        count = 0
        with socket.create_connection((wire.HOST, self.daemon.port("tcp")), 10) as sock:
            local = sock.getsockname()
            try:
                while count < _PER_CONNECTION:
                    data = self.mutator.message("TCP", local)
                    cut = rng.randrange(len(data) + 1) if rng.random() < 0.2 else len(data)
                    sock.sendall(data[:cut])
                    sock.sendall(data[cut:])
                    count += 1
                if rng.random() < 0.5:
                    sock.shutdown(socket.SHUT_WR)
                    sock.settimeout(0.02)
                    while sock.recv(65536):
                        pass
            except OSError:
                pass  # it has closed a connection whose framing was lost
        return count + 1
