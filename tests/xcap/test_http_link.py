"""How octets leave: at once when the network takes them, else through the transport."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import ISystemHandle, ITCPTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.xcap.http_links import GET, Bench, Wire, answers


@implementer(ITCPTransport, ISystemHandle)
class SocketWire(Wire):
    """A transport with a socket of its own; what is written to it is kept apart."""

    def __init__(self, handle: socket.socket) -> None:
        super().__init__()
        self.handle = handle

    def getHandle(self) -> socket.socket:
        """The socket."""
        return self.handle

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to do."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing to do."""


class SendTests(SynchronousTestCase):
    """A connection over a pair of sockets."""

    def setUp(self) -> None:
        """Connect."""
        ours, self.client = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(self.client.close)
        ours.setblocking(False)
        self.client.setblocking(False)
        self.bench = Bench()
        self.wire = SocketWire(ours)
        self.connection = self.bench.factory.buildProtocol(self.wire.getPeer())
        self.connection.makeConnection(self.wire)

    def sent(self) -> bytes:
        """What has come to the client without the transport."""
        data = b""
        try:
            while piece := self.client.recv(1 << 20):
                data += piece
        except BlockingIOError:
            pass
        return data

    def test_at_once(self) -> None:
        """An answer that the network takes does not wait for the reactor."""
        self.connection.dataReceived(GET * 2)
        self.assertEqual([a.status for a in answers(self.sent())], [200, 200])
        self.assertEqual(self.wire.value(), b"")

    def test_full(self) -> None:
        """What the network does not take goes through the transport, and all that follows."""
        self.wire.handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while not self.wire.value():
            self.connection.dataReceived(GET)
        count = self.bench.site.counters.requests
        early = self.sent()
        self.connection.dataReceived(GET)
        self.assertEqual(self.sent(), b"")
        found = answers(early + self.wire.value())
        self.assertEqual([a.body for a in found], [b"/a"] * (count + 1))

    def test_gone(self) -> None:
        """The transport is who finds out that the client has gone."""
        self.client.close()
        self.connection.dataReceived(GET)
        self.assertEqual([a.status for a in answers(self.wire.value())], [200])

    def test_ending(self) -> None:
        """The last answer leaves before the connection ends."""
        self.connection.dataReceived(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        self.assertEqual([a.headers["connection"] for a in answers(self.sent())], ["close"])
        self.assertTrue(self.wire.disconnecting)
