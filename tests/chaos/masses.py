"""Very many watchers of one presentity on one connection, as cheap as can be."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from tests.e2e import wire
from tests.e2e.phone import aor

WINDOW = 200
"""Most SUBSCRIBEs without an answer."""
_PATIENCE = 60.0
_COPIED = (b"via:", b"from:", b"to:", b"call-id:", b"cseq:")


class Watcher:
    """One subscription.

    :ivar state: of the last NOTIFY, with the reason.
    :ivar body: of the last NOTIFY.
    :ivar told: called with the body of each NOTIFY.
    :ivar status: final answer to the last SUBSCRIBE, 0 before it.
    """

    __slots__ = ("body", "call_id", "cseq", "sender", "state", "status", "target", "to", "told")

    def __init__(self, call_id: str, sender: str) -> None:
        self.call_id = call_id
        self.sender = sender
        self.cseq = 0
        self.status = 0
        self.to = self.target = ""
        self.state = ""
        self.body = b""
        self.told: Callable[[bytes], object] = len


class Masses:
    """The watchers.

    :param port: TCP port of the server, which believes everybody.
    :param user: whom they watch.
    """

    def __init__(self, port: int, user: str) -> None:
        self._socket = wire.tcp_socket(port)
        self._socket.setblocking(False)
        self._uri = aor(user)
        host, local = self._socket.getsockname()
        self._via = f"SIP/2.0/TCP {host}:{local}"
        self._contact = f"<sip:masses@{host}:{local};transport=tcp>"
        self._in = b""
        self._out = bytearray()
        self._unanswered = 0
        self.watchers: dict[bytes, Watcher] = {}

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def subscribe(
        self, name: str, sender: str, event: str = "presence", expires: int = 3600
    ) -> Watcher:
        """Begin to watch, refresh, or end it; the answer is in the watcher."""
        watcher = self.watchers.setdefault(name.encode(), Watcher(name, sender))
        watcher.cseq += 1
        watcher.status = 0
        self._unanswered += 1
        self._out += (
            f"SUBSCRIBE {watcher.target or self._uri} SIP/2.0\r\n"
            f"Via: {self._via};branch=z9hG4bK{name}.{watcher.cseq}\r\n"
            f"Max-Forwards: 70\r\nFrom: <{sender}>;tag=f{name}\r\n"
            f"To: {watcher.to or f'<{self._uri}>'}\r\nCall-ID: {name}\r\n"
            f"CSeq: {watcher.cseq} SUBSCRIBE\r\nContact: {self._contact}\r\nEvent: {event}\r\n"
            f"Expires: {expires}\r\nContent-Length: 0\r\n\r\n"
        ).encode()
        self.work(lambda: self._unanswered < WINDOW)
        return watcher

    def answered(self) -> None:
        """Wait for all answers."""
        self.work(lambda: not self._unanswered)

    def work(self, done: Callable[[], bool]) -> None:
        """Send and receive until ``done()``; what has come already is taken in any case.

        :raises AssertionError: that takes too long.
        """
        deadline = time.monotonic() + _PATIENCE
        while self._turn(0.0) or not done():
            assert time.monotonic() < deadline, "it does not settle"
            self._turn(0.05)

    def listen(self, seconds: float) -> None:
        """Serve the connection for some time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._turn(left)

    def _turn(self, timeout: float) -> bool:
        """Whether anything has come."""
        readable, writable, _ = select.select(
            [self._socket], [self._socket] if self._out else [], [], timeout
        )
        if writable:
            del self._out[: self._socket.send(self._out)]
        if not readable:
            return False
        data = self._socket.recv(1 << 18)
        assert data, "the server has closed the connection"
        data = self._in + data
        begin = 0
        while (end := data.find(b"\r\n\r\n", begin)) >= 0:
            lines = data[begin:end].split(b"\r\n")
            fields = {}
            for line in lines[1:]:
                name, _, value = line.partition(b": ")
                fields[name.lower()] = value
            after = end + 4 + int(fields[b"content-length"])
            if len(data) < after:
                break
            self._take(lines, fields, data[end + 4 : after])
            begin = after
        self._in = data[begin:]
        return True

    def _take(self, lines: list[bytes], fields: dict[bytes, bytes], body: bytes) -> None:
        watcher = self.watchers[fields[b"call-id"]]
        if lines[0].startswith(b"NOTIFY"):
            kept = [line for line in lines[1:] if line.lower().startswith(_COPIED)]
            self._out += b"\r\n".join([b"SIP/2.0 200 OK", *kept, b"Content-Length: 0", b"", b""])
            state, _, rest = fields[b"subscription-state"].decode().partition(";")
            watcher.state = f"{state};{rest}" if state == "terminated" else state
            watcher.body = body
            watcher.told(body)
            return
        status = int(lines[0].split()[1])
        if status >= 200:
            watcher.status = status
            self._unanswered -= 1
            if status < 300:
                watcher.to = fields[b"to"].decode()
                watcher.target = fields[b"contact"].partition(b"<")[2].partition(b">")[0].decode()
