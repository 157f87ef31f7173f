"""Flows and transports that only note what is sent, and requests to feed them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from pysip.errors import TransportError
from pysip.interfaces import Address, IFlow, IFlowListener, IMessageReceiver, ITransport
from pysip.message import Request, Response
from pysip.parse import parse_message


@implementer(IFlow)
class NotingFlow:
    """A flow whose octets go nowhere.

    :ivar sent: (time, octets) of all that was sent.
    """

    def __init__(
        self,
        clock: Clock,
        remote: Address = ("192.0.2.10", 5060),
        protocol: str = "UDP",
        sent_by: str = "192.0.2.1:5060",
        names: frozenset[str] = frozenset(),
    ) -> None:
        self.clock = clock
        self.remote = remote
        self.protocol = protocol
        self.reliable = protocol != "UDP"
        self.secure = protocol == "TLS"
        self.sent_by = sent_by
        self.names = names
        self.closed = False
        self.listeners: set[IFlowListener] = set()
        self.sent: list[tuple[float, bytes]] = []
        self.name = ""

    def send(self, data: bytes) -> None:
        """Note it; a closed flow fails in the next turn."""
        if self.closed:
            self.clock.callLater(0, self.fail)
        else:
            self.sent.append((self.clock.seconds(), data))

    def fail(self) -> None:
        """The peer is unreachable."""
        for listener in list(self.listeners):
            listener.flow_failed(self, TransportError("unreachable"))

    def close(self) -> None:
        """The connection is gone."""
        self.closed = True
        self.fail()

    @property
    def times(self) -> list[float]:
        """When something was sent."""
        return [time for time, _ in self.sent]

    @property
    def messages(self) -> list[Any]:
        """What was sent, parsed."""
        return [parse_message(data) for _, data in self.sent]

    @property
    def statuses(self) -> list[int]:
        """Statuses of the responses that were sent."""
        return [m.status for m in self.messages if isinstance(m, Response)]


@implementer(ITransport)
class NotingTransport:
    """Makes :class:`NotingFlow` objects, one for each address.

    :ivar flows: by address.
    :ivar refused: addresses whose flows fail as soon as they are used.
    """

    def __init__(self, clock: Clock, protocol: str = "UDP", host: str = "192.0.2.1") -> None:
        self.clock = clock
        self.protocol = protocol
        self.reliable = protocol != "UDP"
        self.secure = protocol == "TLS"
        self.local = (host, 5061 if self.secure else 5060)
        self.sent_by = f"[{host}]:{self.local[1]}" if ":" in host else f"{host}:{self.local[1]}"
        self.flows: dict[Address, NotingFlow] = {}
        self.refused: set[Address] = set()
        self.receiver: IMessageReceiver | None = None

    def start(self, receiver: IMessageReceiver) -> Deferred[None]:
        """Know who receives."""
        self.receiver = receiver
        return succeed(None)

    def flow_to(self, address: Address, name: str = "") -> NotingFlow:
        """The flow to an address."""
        flow = self.flows.get(address)
        if flow is None:
            flow = NotingFlow(self.clock, address, self.protocol, self.sent_by)
            flow.closed = address in self.refused
            flow.name = name
            self.flows[address] = flow
        return flow

    def stop(self) -> Deferred[None]:
        """Nothing to stop."""
        return succeed(None)


def request(
    method: str = "SUBSCRIBE",
    uri: str = "sip:bob@example.com",
    *,
    via: str = "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1",
    body: bytes = b"",
    **headers: str | None,
) -> Request:
    """A request with the usual header fields; None leaves one out, ``_`` stands for ``-``."""
    number = headers.pop("number", "1")
    fields: dict[str, str | None] = {
        "max-forwards": "70",
        "from": "<sip:alice@example.com>;tag=f1",
        "to": f"<{uri}>",
        "call-id": "c1",
        "cseq": f"{number} {method}",
    }
    fields.update({name.rstrip("_").replace("_", "-"): text for name, text in headers.items()})
    found = Request(method, uri, {n: [t] for n, t in fields.items() if t is not None}, body)
    found.prepend("Via", via)
    parsed = parse_message(found.encode())
    assert isinstance(parsed, Request)
    return parsed
