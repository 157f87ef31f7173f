"""Server transactions (RFC 3261 17.2, RFC 6026, RFC 4320)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from pysip.interfaces import IServerTransaction
from pysip.message import encode_response
from pysip.timers import Timed
from pysip.transaction.reroute import Reroute

if TYPE_CHECKING:
    from pysip.interfaces import IFlow
    from pysip.message import Request
    from pysip.transaction.layer import TransactionLayer


@implementer(IServerTransaction)
class ServerTransaction(Timed):
    """A received non-INVITE request (TXN-07 to TXN-11).

    Trying while ``_response`` is empty, Proceeding once a 100 was sent, Completed once a
    final was; then only the octets for retransmissions are kept, until timer J.
    """

    __slots__ = (
        "_answered",
        "_layer",
        "_out",
        "_request",
        "_response",
        "flow",
        "key",
        "merge_key",
        "merged",
        "to_tag",
    )

    def __init__(
        self, layer: TransactionLayer, key: str, merge_key: str, request: Request, flow: IFlow
    ) -> None:
        self._slot = -1
        self._layer = layer
        self.key = key
        self.merge_key = merge_key
        self.merged = False
        self.to_tag = ""
        self._request: Request | None = request
        self.flow = flow
        self._out: IFlow | None = None
        self._response = b""
        self._answered = False
        layer.wheel.after(layer.values.provisional, self)

    @property
    def answered(self) -> bool:
        """Whether the final response was sent."""
        return self._answered

    def respond(self, data: bytes, status: int) -> None:
        """Send the response and keep it for retransmissions."""
        request = self._request
        if self._answered or request is None:
            return
        layer = self._layer
        self._response = data
        if status >= 200:
            self._answered = True
            self._request = None  # the octets of the response are all that is needed now
            if self.flow.reliable:
                layer.forget_server(self)  # timer J is 0
            else:
                layer.wheel.after(layer.values.transaction, self)
        layer.count_response(self.flow.protocol, request.method, status)
        self._out = self._send(request, data)

    def _send(self, request: Request, data: bytes) -> IFlow:
        """Send a response to where it belongs, and see that it gets there (VIA-04, VIA-05)."""
        layer, flow = self._layer, self.flow
        out = layer.response_flow(request, flow)
        if flow.reliable:
            if out is not flow:
                Reroute(layer, request.via, data).send(out)
                return out
        elif request.via.host != flow.remote[0]:
            layer.watch.note(request.via, out, data)
        out.send(data)
        return out

    def retransmitted(self, flow: IFlow) -> None:
        """The request has come again."""
        if self._response:
            if self._out is None or self._out.closed:
                self._out = flow
            self._out.send(self._response)

    def fire(self) -> None:
        """Time for a 100 (RFC 4320 4.1), to give up silently (4.2), or timer J."""
        if self._request is None or self._response:
            self._answered = True  # too late for a final one (TXN-10)
            self._request = None
            self._layer.forget_server(self)
            return
        # No final yet when the client's timer E reaches T2: keep it from hurrying.
        values = self._layer.values
        self._layer.wheel.after(values.transaction - values.provisional, self)
        self._response = encode_response(self._request, 100)
        self._out = self._send(self._request, self._response)


class InviteServerTransaction(ServerTransaction):
    """An INVITE, which is only ever refused: resends the refusal until the ACK (TXN-12)."""

    __slots__ = ("_acked", "_deadline", "_due", "_interval")

    def __init__(
        self, layer: TransactionLayer, key: str, merge_key: str, request: Request, flow: IFlow
    ) -> None:
        super().__init__(layer, key, merge_key, request, flow)
        self._acked = False
        self._interval = layer.values.t1
        self._deadline = 0.0
        self._due = 0.0  # of timer G, so that lateness does not add up

    def respond(self, data: bytes, status: int) -> None:
        """Send a final response and start timers G and H."""
        request = self._request
        if self._answered or request is None:
            return
        layer = self._layer
        self._answered = True
        self._response = data
        self._request = None
        layer.count_response(self.flow.protocol, request.method, status)
        now = layer.clock.seconds()
        self._deadline = now + layer.values.transaction
        self._due = now + self._interval
        layer.wheel.after(layer.values.transaction if self.flow.reliable else self._interval, self)
        self._out = self._send(request, data)

    def acknowledged(self) -> None:
        """The ACK has come: absorb further ones for timer I."""
        if self._answered and not self._acked:
            self._acked = True
            if self.flow.reliable:
                self._layer.forget_server(self)
            else:
                self._layer.wheel.after(self._layer.values.t4, self)

    def retransmitted(self, flow: IFlow) -> None:
        """The INVITE has come again: resend the refusal unless it was acknowledged."""
        if not self._acked:
            super().retransmitted(flow)

    def fire(self) -> None:
        """Timer G: send again; timers H and I: end."""
        layer = self._layer
        now = layer.clock.seconds()
        if self._acked or not self._answered or now >= self._deadline - 1e-3:
            self._answered = True
            layer.forget_server(self)
            return
        self._interval = min(self._interval * 2, layer.values.t2)
        self._due = min(self._due + self._interval, self._deadline)
        layer.wheel.after(max(0.0, self._due - now), self)
        if self._out is not None:
            self._out.send(self._response)
