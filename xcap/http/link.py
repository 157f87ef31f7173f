"""The way to a client: handshake, backpressure in both directions, how it ends."""

from __future__ import annotations

import enum
import socket
from typing import TYPE_CHECKING

from twisted.internet.interfaces import (
    IHandshakeListener,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from zope.interface import implementer

from xcap.http.secure import inspect
from xcap.records import HttpPeer

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from xcap.http.serving import Serving

_UNREAD = 1 << 20
"""Octets that a closing connection may send on before it is cut."""


class Phase(enum.Enum):
    """What a connection is busy with."""

    HANDSHAKE = enum.auto()
    IDLE = enum.auto()
    """Between two requests."""
    HEAD = enum.auto()
    """A head has begun to come."""
    SERVING = enum.auto()
    DRAIN = enum.auto()
    """The answer is out, the body of the refused request still comes."""
    LINGER = enum.auto()
    """Nothing matters any more but that the client gets the answer."""


@implementer(IHandshakeListener, IPushProducer)
class Link(Protocol):
    """An accepted connection, over TCP or inside TLS; what it carries, a subclass says.

    :param address: numeric address of the client.
    :ivar peer: the client.
    :ivar phase: what it is busy with.
    :ivar deadline: clock time at which the phase has lasted too long.
    :ivar choked: the client does not take what we send.
    :ivar stopped: we do not take what the client sends.
    :ivar lost: the connection is gone.
    """

    def __init__(self, serving: Serving, address: str, port: int, *, secure: bool) -> None:
        self.serving = serving
        self.peer = HttpPeer(address, port, secure=secure, connection=serving.opened(self, address))
        self.phase = Phase.HANDSHAKE
        self.deadline = serving.clock.seconds() + serving.settings.handshake
        self.choked = False
        self.stopped = False
        self.lost = False
        self._unread = 0
        self._socket: socket.socket | None = None  # while nothing waits to be sent

    # -- what a subclass does

    def received(self, data: bytes) -> None:
        """Take octets; not called any more once the connection lingers."""
        raise NotImplementedError

    def unchoked(self) -> None:
        """The client takes octets again."""
        raise NotImplementedError

    def gone(self) -> None:
        """The connection is gone."""
        raise NotImplementedError

    def expired(self) -> None:
        """The deadline has passed."""
        raise NotImplementedError

    def finish(self) -> None:
        """End as soon as nothing is in progress."""
        raise NotImplementedError

    def check(self, now: float) -> None:
        """See whether something takes too long (AGP-77); called once a second."""
        if now >= self.deadline:
            self.expired()

    # -- life

    def connectionMade(self) -> None:
        """The TCP connection stands."""
        # Under TLS, the TCP connection is one transport further down.
        tcp = getattr(self.transport, "transport", self.transport)
        if ITCPTransport.providedBy(tcp):
            tcp.setTcpNoDelay(True)
            tcp.setTcpKeepAlive(True)
            handle = tcp.getHandle()  # type: ignore[attr-defined]
            if tcp is self.transport and isinstance(handle, socket.socket):
                self._socket = handle
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        if not self.peer.secure:
            self._established()

    def handshakeCompleted(self) -> None:
        """TLS stands; note who the client has proved to be."""
        done = inspect(self.transport)
        self.serving.counters.handshakes += 1
        self.serving.counters.resumptions += done.resumed
        peer = self.peer
        self.peer = HttpPeer(
            peer.address,
            peer.port,
            secure=True,
            tls_version=done.version,
            names=done.names,
            connection=peer.connection,
        )
        self._established()

    def _established(self) -> None:
        self.phase = Phase.IDLE
        self.deadline = self.serving.clock.seconds() + self.serving.settings.header

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self.lost = True
        self._socket = None
        if self.phase is Phase.HANDSHAKE:
            self.serving.counters.handshake_failures += 1
        self.phase = Phase.LINGER
        self.gone()
        self.serving.closed(self, self.peer.address)

    # -- octets

    def dataReceived(self, data: bytes) -> None:
        """Octets, TLS removed."""
        self.serving.counters.received += len(data)
        if self.phase is not Phase.LINGER:
            self.received(data)
            return
        self._unread += len(data)
        if self._unread > _UNREAD:
            self.abort()

    def write(self, data: bytes) -> None:
        """Send octets.

        What the network takes at once goes out at once: the transport would ask the reactor
        first.  As soon as it does not take all, everything goes through the transport.
        """
        self.serving.counters.sent += len(data)
        if self._socket is not None:
            try:
                sent = self._socket.send(data)
            except OSError:  # full, or the transport will find out
                sent = 0
            if sent == len(data):
                return
            self._socket = None
            data = data[sent:]
        self.transport.write(data)  # type: ignore[union-attr]

    def read_on(self, wanted: bool) -> None:
        """Take what the client sends, or let it wait in the network."""
        if wanted is not self.stopped or self.phase is Phase.LINGER:
            return
        self.stopped = not wanted
        if wanted:
            self.transport.resumeProducing()  # type: ignore[union-attr]
        else:
            self.transport.pauseProducing()  # type: ignore[union-attr]

    def pauseProducing(self) -> None:
        """The client takes no more."""
        self.choked = True

    def resumeProducing(self) -> None:
        """The client has taken everything."""
        self.choked = False
        if self.phase is not Phase.LINGER:
            self.unchoked()

    def stopProducing(self) -> None:
        """The connection is gone; :meth:`connectionLost` follows."""

    # -- ending

    def close(self, written: int, *, clean: bool) -> None:
        """End after what was written has reached the client.

        :param written: octets that the client has to take meanwhile.
        :param clean: nothing is unread; otherwise the operating system would answer what
            still comes with a reset, which can overtake the answer (RFC 9112 section 9.6).
        """
        self.read_on(True)
        self._socket = None
        settings = self.serving.settings
        self.phase = Phase.LINGER
        self.deadline = (
            self.serving.clock.seconds() + settings.linger + written / settings.body_rate
        )
        transport = self.transport
        transport.unregisterProducer()  # type: ignore[union-attr]
        # TLS says good-bye by itself, reads on and waits for the other side's
        if clean or self.peer.secure or not ITCPTransport.providedBy(transport):
            transport.loseConnection()  # type: ignore[union-attr]
        else:
            transport.loseWriteConnection()

    def abort(self) -> None:
        """End now."""
        if not self.lost:
            self.phase = Phase.LINGER
            self._socket = None
            self.transport.abortConnection()  # type: ignore[union-attr]
