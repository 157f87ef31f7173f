"""Our client library over real sockets that lose datagrams, driven by hand.

The reactor is one of the test's own: it turns only while the test waits for something, so that
the rest of the test can be a plain sequence of steps.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from presence.watcher import Watcher, WatcherTerms
from pysip.event.subscriber import NotifyRouter
from pysip.interfaces import ILocator, Target
from pysip.timers import TimerValues, TimerWheel
from pysip.tokens import TokenSource
from pysip.transport.udp import UdpTransport
from pysip.ua import UserAgent
from pysip.uri import Uri
from tests.e2e.wire import HOST, udp_socket
from tests.pysip.scripted import Anybody, random_octets

TIMERS = {"t1": 0.1, "t2": 0.4, "t4": 0.5}
"""Base values of the SIP timers on both sides: a network where nothing takes long."""


class Pump:
    """A reactor that turns while somebody waits.

    :param case: the test; at its end the reactor is closed.
    """

    def __init__(self, case: SynchronousTestCase) -> None:
        self.reactor: Any = SelectReactor()
        case.addCleanup(self._close)

    def run(self, seconds: float) -> None:
        """Let it turn for some time."""
        self.until(lambda: False, seconds)

    def until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Let it turn until something has happened; False when that takes too long."""
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.reactor.runUntilCurrent()
            wait = self.reactor.timeout()
            self.reactor.doIteration(min(left, 0.05, 0.05 if wait is None else wait))
        return True

    def _close(self) -> None:
        for call in self.reactor.getDelayedCalls():
            call.cancel()
        internal = list(self.reactor._internalReaders)
        self.reactor.removeAll()
        for reader in internal:
            reader.connectionLost(Failure(ConnectionError()))


@implementer(IReadDescriptor)
class _End:
    """One side of a relay."""

    def __init__(self, relay: Relay, forward: Callable[[bytes, Any], None]) -> None:
        self.socket = udp_socket()
        self.socket.setblocking(False)
        self.address: tuple[str, int] = self.socket.getsockname()[:2]
        self._relay = relay
        self._forward = forward

    def fileno(self) -> int:
        """For select."""
        return self.socket.fileno()

    def logPrefix(self) -> str:
        """For logs."""
        return "relay"

    def connectionLost(self, reason: Failure) -> None:
        """Closed by its relay."""

    def doRead(self) -> None:
        """Carry what has come, or lose it."""
        for _ in range(100):
            try:
                data, source = self.socket.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError:
                continue  # nobody has listened to what was sent before
            if self._relay.random.random() >= self._relay.loss:
                self._forward(data, source)

    def send(self, data: bytes, address: Any) -> None:
        """Send on."""
        try:
            self.socket.sendto(data, address)
        except OSError:
            return  # as if it were lost


class Relay:
    """Carries datagrams between a watcher and the server, and loses some both ways.

    :param server: its UDP address.
    :param loss: share that is lost each way.

    :ivar front: address for the watcher to send to.
    :ivar back: address at which the server finds the watcher.
    """

    def __init__(
        self, pump: Pump, server: tuple[str, int], loss: float, source: random.Random
    ) -> None:
        self.random = source
        self.loss = loss
        self._pump = pump
        self._watcher: Any = None
        self._server = server
        self._near = _End(self, self._out)
        self._far = _End(self, self._in)
        self.front, self.back = self._near.address, self._far.address
        pump.reactor.addReader(self._near)
        pump.reactor.addReader(self._far)

    def _out(self, data: bytes, source: Any) -> None:
        self._watcher = source
        self._far.send(data, self._server)

    def _in(self, data: bytes, source: Any) -> None:
        if self._watcher is not None:
            self._near.send(data, self._watcher)

    def close(self) -> None:
        """Carry nothing more."""
        for end in (self._near, self._far):
            self._pump.reactor.removeReader(end)
            end.socket.close()


@implementer(ILocator)
class _Toward:
    """Everything is found at one place."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._target = Target("UDP", address, HOST, sized=False)

    def immediate(self, uri: Uri) -> Target:
        """That place."""
        return self._target

    def locate(self, uri: Uri) -> Deferred[list[Target]]:
        """That place."""
        return succeed([self._target])

    def failed(self, target: Target, seconds: float) -> None:
        """There is no other."""


class Device:
    """A process with a watcher.

    :ivar watcher: it.
    """

    def __init__(self, pump: Pump, relay: Relay, uri: str, seed: int, expires: int) -> None:
        self.relay = relay
        self._wheel = TimerWheel(pump.reactor)
        self._agent = UserAgent(
            pump.reactor,
            self._wheel,
            _Toward(relay.front),
            Anybody(),
            tokens=TokenSource(random_octets(seed)),
            values=TimerValues(**TIMERS),
        )
        host, port = relay.back
        self._agent.start_transport(UdpTransport(pump.reactor, HOST, 0))
        terms = WatcherTerms(
            local_uri=f"<{uri}>", contact=lambda: f"<sip:w@{host}:{port}>", expires=expires
        )
        self.watcher = Watcher(NotifyRouter(self._agent), terms)

    def stop(self) -> None:
        """It ends without a word."""
        self._agent.stop()
        self._wheel.stop()
        self.relay.close()
