"""The wire of the load: UDP sockets, client transactions and their repetitions.

Plain sockets and epoll; nothing of the server's own stack, whose mistakes would cancel out
here.
"""

from __future__ import annotations

import heapq
import os
import select
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

Fields = dict[bytes, bytes]
"""Values of a message by lower-case name; of a repeated field the last one."""

T1, T2, TIMER_F = 0.5, 4.0, 12.0
"""Seconds: RFC 3261 table 4, but a load gives up sooner than 64*T1."""

_BUFFER = 4 << 20
_BATCH = 64
_COOKIE = b";branch=z9hG4bK"


def fields_of(head: bytes) -> Fields:
    """The header fields of a message head."""
    found = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        found[name.strip().lower()] = value.strip()
    return found


Counts = Counter[str | int]
"""Of messages, of statuses (as int) and of mishaps; those named ``fault: …`` fail a load."""


class Link(Protocol):
    """What a client needs of a wire.

    :ivar places: ``host:port`` of the sockets, for Via and Contact.
    :ivar nonce: makes identifiers of this run distinct from those of others.
    """

    places: list[bytes]
    nonce: bytes
    counts: Counts

    def request(
        self, place: int, start: bytes, rest: bytes, answered: Callable[[int, Fields], None]
    ) -> None:
        """Send a request and see to its repetition.

        :param place: which socket.
        :param start: the request line.
        :param rest: everything below the Via.
        :param answered: gets the final status, 408 when there was none, and the fields.
        """


class Exchange:
    """A request that awaits its final response."""

    __slots__ = ("answered", "data", "deadline", "interval", "socket")

    def __init__(
        self,
        sock: socket.socket,
        data: bytes,
        answered: Callable[[int, Fields], None],
        deadline: float,
    ) -> None:
        self.socket = sock
        self.data = data
        self.answered = answered
        self.deadline = deadline
        self.interval = T1


class Wire(Link):
    """Everything that the simulated clients send and receive.

    :param server: numeric host and port.
    :param sockets: how many sockets the clients share.
    :param notified: takes a NOTIFY: its fields, its body, and whether to answer it 200.

    """

    def __init__(
        self,
        server: tuple[str, int],
        sockets: int,
        notified: Callable[[Fields, bytes], bool],
    ) -> None:
        self._notified = notified
        self._sockets: list[socket.socket] = []
        self._by_number: dict[int, socket.socket] = {}
        self._poll = select.epoll()
        self.places = []
        for _ in range(sockets):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            sock.bind(("127.0.0.1", 0))
            sock.connect(server)
            sock.setblocking(False)
            self._sockets.append(sock)
            self._by_number[sock.fileno()] = sock
            self._poll.register(sock.fileno(), select.EPOLLIN)
            self.places.append(b"127.0.0.1:%d" % sock.getsockname()[1])
        self.nonce = os.urandom(4).hex().encode()
        self._branches = 0
        self._waiting: dict[bytes, Exchange] = {}
        self._repeat: list[tuple[float, bytes]] = []
        self.counts: Counts = Counter()

    def request(
        self, place: int, start: bytes, rest: bytes, answered: Callable[[int, Fields], None]
    ) -> None:
        """See :meth:`Link.request`."""
        self._branches += 1
        branch = b"%x.%b" % (self._branches, self.nonce)
        data = b"%b\r\nVia: SIP/2.0/UDP %b%b%b;rport\r\n%b" % (
            start,
            self.places[place],
            _COOKIE,
            branch,
            rest,
        )
        now = time.perf_counter()
        sock = self._sockets[place]
        self._waiting[branch] = Exchange(sock, data, answered, now + TIMER_F)
        heapq.heappush(self._repeat, (now + T1, branch))
        self._send(sock, data)

    def _send(self, sock: socket.socket, data: bytes) -> None:
        try:
            sock.send(data)
            self.counts["sent"] += 1
        except BlockingIOError:
            self.counts["send buffer full"] += 1  # it is repeated in T1
        except ConnectionRefusedError:
            self.counts["refused"] += 1

    def turn(self, seconds: float) -> None:
        """Wait for messages at most so long, take what came, repeat what is due."""
        for number, _ in self._poll.poll(seconds):
            sock = self._by_number[number]
            for _ in range(_BATCH):
                try:
                    data = sock.recv(65535)
                except BlockingIOError:
                    break
                except ConnectionRefusedError:
                    self.counts["refused"] += 1
                    break
                self.counts["received"] += 1
                head, _, body = data.partition(b"\r\n\r\n")
                if head.startswith(b"SIP/2.0 "):
                    self._response(head)
                else:
                    self._request(head, body, sock)
        now = time.perf_counter()
        repeat = self._repeat
        while repeat and repeat[0][0] <= now:
            self._again(heapq.heappop(repeat)[1], now)

    def _again(self, branch: bytes, now: float) -> None:
        exchange = self._waiting.get(branch)
        if exchange is None:
            return
        if now >= exchange.deadline:
            del self._waiting[branch]
            self.counts[408] += 1
            exchange.answered(408, {})
            return
        self.counts["retransmissions"] += 1
        self._send(exchange.socket, exchange.data)
        exchange.interval = min(2 * exchange.interval, T2)
        heapq.heappush(self._repeat, (now + exchange.interval, branch))

    def _response(self, head: bytes) -> None:
        start = head.find(_COOKIE) + len(_COOKIE)
        branch = head[start : head.find(b";", start)]
        status = int(head[8:11])
        if status < 200:
            exchange = self._waiting.get(branch)
            if exchange is not None:
                exchange.interval = T2
            return
        exchange = self._waiting.pop(branch, None)
        if exchange is None:
            self.counts["repeated responses"] += 1
            return
        self.counts[status] += 1
        exchange.answered(status, fields_of(head))

    def _request(self, head: bytes, body: bytes, sock: socket.socket) -> None:
        fields = fields_of(head)
        known = head.startswith(b"NOTIFY ") and self._notified(fields, body)
        self._send(
            sock,
            b"SIP/2.0 %b\r\nVia: %b\r\nFrom: %b\r\nTo: %b\r\nCall-ID: %b\r\nCSeq: %b\r\n"
            b"Content-Length: 0\r\n\r\n"
            % (
                b"200 OK" if known else b"481 Call/Transaction Does Not Exist",
                fields[b"via"],
                fields[b"from"],
                fields[b"to"],
                fields[b"call-id"],
                fields[b"cseq"],
            ),
        )

    def abandon(self) -> int:
        """Forget the requests under way; how many they were."""
        number = len(self._waiting)
        self._waiting.clear()
        self._repeat.clear()
        return number

    def close(self) -> None:
        """Close the sockets."""
        self._poll.close()
        for sock in self._sockets:
            sock.close()
