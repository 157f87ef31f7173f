"""Another way for a response whose way has failed (VIA-04, VIA-05, DNS-08, TXN-07)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from zope.interface import implementer

from pysip.errors import TransportError
from pysip.interfaces import IFlowListener
from pysip.timers import Timed

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from pysip.header import Via
    from pysip.interfaces import IFlow, Target
    from pysip.transaction.layer import TransactionLayer

_FLOWS = 256
"""Datagram flows whose last responses are kept."""

_KEPT = 16
"""Responses kept of each."""

_FRESH = 2.0
"""Seconds in which an ICMP report comes back."""


@implementer(IFlowListener)
class Reroute(Timed):
    """One response on its way: sends it on, by RFC 3263 section 5, while flows fail.

    :param layer: the transaction layer.
    :param via: the top Via of the request.
    :param data: the response.
    """

    __slots__ = ("_data", "_failed", "_flow", "_layer", "_targets", "_via")

    def __init__(self, layer: TransactionLayer, via: Via, data: bytes) -> None:
        self._slot = -1
        self._layer = layer
        self._via = via
        self._data = data
        self._targets: list[Target] | None = None
        self._flow: IFlow | None = None
        self._failed: IFlow | None = None

    def send(self, flow: IFlow) -> None:
        """Send the response by ``flow`` and see whether that fails, for 64*T1."""
        self._flow = flow
        flow.listeners.add(self)
        self._layer.wheel.after(self._layer.values.transaction, self)
        flow.send(self._data)

    def flow_failed(self, flow: IFlow, error: TransportError) -> None:
        """Go on with the next place."""
        if flow is not self._flow:
            return
        self._layer.wheel.cancel(self)
        self.go_on(flow)

    def go_on(self, flow: IFlow) -> None:
        """``flow`` has failed: look for another way."""
        flow.listeners.discard(self)
        self._flow = None
        alternatives = self._layer.alternatives
        if self._targets is not None:
            self._next()
        elif alternatives is None:
            self._layer.undelivered += 1
        else:
            self._failed = flow
            alternatives(self._via).addCallbacks(self._located, self._unlocated)

    def fire(self) -> None:
        """Nothing has been heard of a failure: it has arrived, or its client gave up."""
        if self._flow is not None:
            self._flow.listeners.discard(self)
            self._flow = None

    def _located(self, targets: list[Target]) -> None:
        failed = self._failed
        self._targets = [
            target
            for target in targets
            if failed is None
            or (target.protocol, target.address) != (failed.protocol, failed.remote)
        ]
        self._next()

    def _unlocated(self, failure: Failure) -> None:
        failure.trap(TransportError)
        self._layer.undelivered += 1

    def _next(self) -> None:
        while self._targets:
            target = self._targets.pop(0)
            transport = self._layer.transport(target.protocol, target.address[0])
            if transport is not None:
                self.send(transport.flow_to(target.address, target.name))
                return
        self._layer.undelivered += 1


@implementer(IFlowListener)
class DatagramWatch:
    """Keeps the last responses of datagram flows, to send them elsewhere after an ICMP report.

    :param layer: the transaction layer.
    """

    def __init__(self, layer: TransactionLayer) -> None:
        self._layer = layer
        self._sent: dict[IFlow, deque[tuple[float, Via, bytes]]] = {}

    def note(self, via: Via, flow: IFlow, data: bytes) -> None:
        """``data`` was sent by ``flow``; its client is known by a name too."""
        sent = self._sent.get(flow)
        if sent is None:
            if len(self._sent) >= _FLOWS:
                oldest = next(iter(self._sent))
                del self._sent[oldest]
                oldest.listeners.discard(self)
            sent = self._sent[flow] = deque(maxlen=_KEPT)
            flow.listeners.add(self)
        sent.append((self._layer.clock.seconds(), via, data))

    def flow_failed(self, flow: IFlow, error: TransportError) -> None:
        """The peer is unreachable: send what it cannot have got to where its name leads."""
        flow.listeners.discard(self)
        since = self._layer.clock.seconds() - _FRESH
        for time, via, data in self._sent.pop(flow, ()):
            if time >= since:
                Reroute(self._layer, via, data).go_on(flow)

    def stop(self) -> None:
        """Forget everything."""
        for flow in self._sent:
            flow.listeners.discard(self)
        self._sent.clear()
