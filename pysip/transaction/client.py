"""Client transactions of non-INVITE requests (RFC 3261 17.1.2, RFC 4320)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from pysip.interfaces import IClientTransaction, IFlowListener
from pysip.timers import Timed

if TYPE_CHECKING:
    from pysip.errors import TransportError
    from pysip.interfaces import IClientTransactionUser, IFlow
    from pysip.message import Response
    from pysip.transaction.layer import TransactionLayer


@implementer(IClientTransaction, IFlowListener)
class ClientTransaction(Timed):
    """One request under way on one flow (TXN-05, TXN-06, TXN-20).

    The state Completed is not kept: once the final response is handed over the transaction
    is forgotten, and repeated finals are stray responses that a UA drops anyway (TXN-16),
    so timer K has nothing to do.
    """

    __slots__ = (
        "_data",
        "_deadline",
        "_due",
        "_flow",
        "_interval",
        "_layer",
        "_user",
        "branch",
        "method",
    )

    def __init__(
        self,
        layer: TransactionLayer,
        branch: str,
        method: str,
        data: bytes,
        flow: IFlow,
        user: IClientTransactionUser,
    ) -> None:
        self._slot = -1
        self._layer = layer
        self.branch = branch
        self.method = method
        self._data = data
        self._flow = flow
        self._user: IClientTransactionUser | None = user
        values = layer.values
        now = layer.clock.seconds()
        self._deadline = now + values.transaction
        # Timer E runs on unreliable transports only; timer F is the deadline.
        self._interval = 0.0 if flow.reliable else values.t1
        self._due = now + self._interval  # kept apart, so that lateness does not add up

    @property
    def sent_by(self) -> str:
        """The sent-by of the request's Via (VIA-06)."""
        return self._flow.sent_by

    def start(self) -> None:
        """Send the request and start timers E and F."""
        flow = self._flow
        flow.listeners.add(self)
        self._layer.wheel.after(self._interval or self._layer.values.transaction, self)
        flow.send(self._data)

    def received(self, response: Response) -> None:
        """A response with our branch and method."""
        user = self._user
        if user is None:
            return
        if response.status < 200:
            if self._interval:
                self._interval = self._layer.values.t2
        else:
            self._end()
        user.response_received(self, response)

    def fire(self) -> None:
        """Timer E: send again; timer F: give up."""
        user = self._user
        if user is None:
            return
        now = self._layer.clock.seconds()
        if now >= self._deadline - 1e-3:
            self._end()
            user.transaction_failed(self, 408)
            return
        self._interval = min(self._interval * 2, self._layer.values.t2)
        self._due = min(self._due + self._interval, self._deadline)
        self._layer.retransmissions_sent += 1
        self._layer.wheel.after(max(0.0, self._due - now), self)
        self._flow.send(self._data)

    def flow_failed(self, flow: IFlow, error: TransportError) -> None:
        """The transport reports failure: a local 503 at once (TRN-25)."""
        user = self._user
        if user is not None:
            self._end()
            user.transaction_failed(self, 503)

    def abandon(self) -> None:
        """Forget the transaction without telling its user."""
        if self._user is not None:
            self._end()

    def _end(self) -> None:
        self._user = None
        self._flow.listeners.discard(self)
        self._layer.wheel.cancel(self)
        self._layer.clients.pop(self.branch, None)
        self._data = b""
