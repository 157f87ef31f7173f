"""A connection in memory, for :mod:`pysip.transport.loop`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from twisted.internet import error as network
from twisted.internet.address import IPv4Address
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from twisted.internet.interfaces import IPushProducer

    from pysip.interfaces import Address
    from pysip.transport.loop import LoopNetwork
    from pysip.transport.stream import StreamFlow


class Pipe:
    """One end of a stream in memory: what its owner writes arrives at the peer, in order."""

    def __init__(self, net: LoopNetwork, owner: StreamFlow, here: Address, there: Address) -> None:
        self.here = here
        self.there = there
        self.peer: Pipe | None = None
        self._network = net
        self._owner = owner
        self._under_way: deque[bytes | None] = deque()  # None: end of the stream
        self._octets = 0
        self._due = 0
        self._latest = 0.0
        self._producer: IPushProducer | None = None
        self._paused = False
        self._open = True
        self._disconnecting = False

    # -- called by the owner, as on any transport

    def write(self, data: bytes) -> None:
        """Send octets."""
        if not self._open or self._disconnecting or not data:
            return
        for tap in self._network.taps:
            tap(self._owner.protocol, self.here, self.there, data)
        rest, segment = data, self._network.segment
        while segment and len(rest) > 1:
            size = self._network.random.randint(1, segment)
            self._send(rest[:size])
            rest = rest[size:]
        if rest:
            self._send(rest)
        if self._octets > self._network.window and self._producer and not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    def loseConnection(self) -> None:
        """Close once everything has arrived."""
        if self._open and not self._disconnecting:
            self._disconnecting = True
            self._send(None)

    def abortConnection(self) -> None:
        """Close at once."""
        if self._open:
            self._disconnecting = True
            clock, peer = self._network.clock, self.peer
            clock.callLater(0, self.finish, network.ConnectionAborted())
            if peer is not None:
                clock.callLater(self._network.latency(), peer.finish, network.ConnectionLost())

    def getHost(self) -> IPv4Address:
        """Our address."""
        return IPv4Address("TCP", *self.here)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Tell ``producer`` when to pause."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Tell nobody any more."""
        self._producer = None

    # -- the network's side

    def _send(self, data: bytes | None) -> None:
        now = self._network.clock.seconds()
        self._latest = max(self._latest, now + self._network.latency())
        self._under_way.append(data)
        self._octets += len(data or b"")
        self._network.clock.callLater(self._latest - now, self.arrive, 1)

    def arrive(self, count: int) -> None:
        """Let ``count`` more pieces arrive, and those held up before."""
        self._due += count
        peer = self.peer
        while self._open and self._due and peer is not None:
            if self._network.is_stalled(self.there):
                return
            self._due -= 1
            data = self._under_way.popleft()
            if data is None:
                self.finish(network.ConnectionDone())
                peer.finish(network.ConnectionDone())
                return
            self._octets -= len(data)
            if peer._open:
                peer._owner.dataReceived(data)
        if self._open and self._paused and not self._octets:
            self._paused = False
            if self._producer is not None:
                self._producer.resumeProducing()

    def break_off(self) -> None:
        """Reset the connection."""
        self._network.clock.callLater(0, self.finish, network.ConnectionLost())

    def finish(self, reason: Exception) -> None:
        """The connection is gone at this end."""
        if self._open:
            self._open = False
            self._network.closed(self)
            self._owner.connectionLost(Failure(reason))
