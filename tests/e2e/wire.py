"""SIP by plain blocking sockets, written apart from the server's own parser."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Iterable

HOST = "127.0.0.1"


class Closed(Exception):
    """The peer has closed the connection."""


class Message:
    """A received message.

    :ivar start: the start-line.
    :ivar fields: (name in lower case, value) of the header fields in their order.
    :ivar body: octets.
    """

    def __init__(self, head: bytes, body: bytes) -> None:
        self.start, *lines = head.decode(errors="surrogateescape").split("\r\n")
        self.fields = [
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines)
        ]
        self.body = body

    def __repr__(self) -> str:
        return f"<{self.start} {dict(self.fields)} {self.body!r}>"

    @property
    def status(self) -> int:
        """Status of a response, 0 of a request."""
        first, _, rest = self.start.partition(" ")
        return int(rest[:3]) if first == "SIP/2.0" else 0

    @property
    def method(self) -> str:
        """Method of a request, that of the CSeq of a response."""
        return self["cseq"].split()[1]

    @property
    def cseq(self) -> int:
        """CSeq number."""
        return int(self["cseq"].split()[0])

    @property
    def branch(self) -> str:
        """Branch of the top Via."""
        return parameter(self["via"], "branch")

    def __getitem__(self, name: str) -> str:
        """The first value of a field, "" when there is none."""
        return next((value for key, value in self.fields if key == name), "")

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.fields)

    def every(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for key, value in self.fields if key == name]

    def tokens(self, name: str) -> set[str]:
        """The members of a comma list."""
        return {item.strip() for value in self.every(name) for item in value.split(",")}


def parameter(value: str, name: str) -> str:
    """A parameter of a header value, "" when it is not there."""
    for part in value.split(";")[1:]:
        key, _, text = part.partition("=")
        if key.strip() == name:
            return text.strip()
    return ""


def split(data: bytes) -> tuple[Message | None, bytes]:
    """The first message of a stream, None while it is incomplete, and the rest."""
    data = data.lstrip(b"\r\n")
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None, data
    message = Message(head, b"")
    length = int(message["content-length"])
    if len(rest) < length:
        return None, data
    message.body = rest[:length]
    return message, rest[length:]


class Wire:
    """Messages to and from the server over one socket.

    :ivar protocol: ``UDP``, ``TCP`` or ``TLS``.
    :ivar local: own address.
    :ivar peer: that of the server.
    """

    protocol = "UDP"

    def __init__(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        self._socket = sock
        self.peer = peer
        self.local: tuple[str, int] = sock.getsockname()[:2]

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Send one message."""
        self._socket.sendto(data, self.peer)

    def receive(self, timeout: float) -> Message | None:
        """The next message, or None when none comes in ``timeout`` seconds."""
        self._socket.settimeout(max(timeout, 0.0))
        try:
            data = self._socket.recv(65536)
        except (TimeoutError, BlockingIOError):
            return None
        head, _, body = data.partition(b"\r\n\r\n")
        return Message(head, body)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class StreamWire(Wire):
    """A connection.

    :param sock: connected socket; with TLS after the handshake.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, sock.getpeername()[:2])
        self.protocol = "TLS" if isinstance(sock, ssl.SSLSocket) else "TCP"
        self._data = b""

    def send(self, data: bytes) -> None:
        """Send octets."""
        self._socket.settimeout(10)
        try:
            self._socket.sendall(data)
        except (ConnectionError, ssl.SSLError) as error:
            raise Closed(str(error)) from error

    def receive(self, timeout: float) -> Message | None:
        """The next message, or None when none comes in ``timeout`` seconds.

        :raises Closed: the server has closed the connection.
        """
        deadline = time.monotonic() + timeout
        while True:
            message, self._data = split(self._data)
            if message is not None:
                return message
            data = self.octets(deadline - time.monotonic())
            if data is None:
                return None
            if not data:
                raise Closed("end of stream")
            self._data += data

    def octets(self, timeout: float) -> bytes | None:
        """What has arrived: None for nothing in ``timeout`` seconds, empty at the end."""
        self._socket.settimeout(max(timeout, 0.0))
        try:
            return self._socket.recv(65536)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return None
        except (ConnectionError, ssl.SSLError):
            return b""


def udp_socket(port: int = 0) -> socket.socket:
    """A datagram socket on loopback with a buffer for storms of NOTIFYs."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((HOST, port))
    return sock


def udp(port: int, local_port: int = 0) -> Wire:
    """A datagram wire to a port of the server."""
    return Wire(udp_socket(local_port), (HOST, port))


def tcp_socket(port: int, timeout: float = 10.0) -> socket.socket:
    """A connected socket to a port of the server."""
    return socket.create_connection((HOST, port), timeout)


def tcp(port: int, timeout: float = 10.0) -> StreamWire:
    """A TCP connection to a port of the server."""
    return StreamWire(tcp_socket(port, timeout))


def tls(port: int, certificate: str, timeout: float = 10.0) -> StreamWire:
    """A TLS connection to a server that proves to be 127.0.0.1 by a trusted certificate.

    :param certificate: PEM file of the only certificate to trust.
    """
    context = ssl.create_default_context(cafile=certificate)
    return StreamWire(
        context.wrap_socket(socket.create_connection((HOST, port), timeout), server_hostname=HOST)
    )


def options(wire: Wire, number: int, domain: str = HOST) -> bytes:
    """An OPTIONS to the server, to see whether it answers."""
    host, port = wire.local
    return (
        f"OPTIONS sip:{domain} SIP/2.0\r\n"
        f"Via: SIP/2.0/{wire.protocol} {host}:{port};branch=z9hG4bKping{port}x{number};rport\r\n"
        "Max-Forwards: 70\r\n"
        f"From: <sip:ping@{domain}>;tag=ping\r\nTo: <sip:{domain}>\r\n"
        f"Call-ID: ping{port}x{number}\r\nCSeq: {number} OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def closed_within(wires: Iterable[StreamWire], seconds: float) -> int:
    """How many connections the server closes in that time."""
    waiting = {wire.fileno(): wire for wire in wires}
    total = len(waiting)
    deadline = time.monotonic() + seconds
    while waiting and (left := deadline - time.monotonic()) > 0:
        for number in select.select(list(waiting), [], [], left)[0]:
            if waiting[number].octets(0) == b"":
                del waiting[number]
    return total - len(waiting)
