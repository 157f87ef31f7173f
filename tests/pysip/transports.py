"""What the tests of transports share: messages, a receiver and a listener that remember."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from pysip.interfaces import IFlowListener, IMessageReceiver

if TYPE_CHECKING:
    from pysip.errors import TransportError
    from pysip.interfaces import IFlow
    from pysip.message import Request, Response
    from pysip.parse import BadMessage


def message(call_id: str = "1", body: bytes = b"", length: int | None = None) -> bytes:
    """A MESSAGE request.

    :param length: value of Content-Length if not that of ``body``; -1 leaves it out.
    """
    head = (
        "MESSAGE sip:bob@example.com SIP/2.0\r\n"
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport\r\n"
        "From: <sip:alice@example.com>;tag=1\r\n"
        "To: <sip:bob@example.com>\r\n"
        f"Call-ID: {call_id}\r\n"
        "CSeq: 1 MESSAGE\r\n"
    )
    if length != -1:
        head += f"Content-Length: {len(body) if length is None else length}\r\n"
    return head.encode() + b"\r\n" + body


RESPONSE = (
    b"SIP/2.0 200 OK\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa\r\n"
    b"From: <sip:alice@example.com>;tag=1\r\n"
    b"To: <sip:bob@example.com>;tag=2\r\n"
    b"Call-ID: 1\r\n"
    b"CSeq: 1 MESSAGE\r\n"
    b"Content-Length: 0\r\n"
    b"\r\n"
)


@implementer(IMessageReceiver)
class Inbox:
    """Keeps what a transport delivers, with the flow it came on.

    :ivar fault: raised on every delivery, if set.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[Request, IFlow]] = []
        self.responses: list[tuple[Response, IFlow]] = []
        self.errors: list[tuple[BadMessage, IFlow]] = []
        self.fault: Exception | None = None

    def request_received(self, request: Request, flow: IFlow) -> None:
        """Keep a request."""
        self.requests.append((request, flow))
        if self.fault is not None:
            raise self.fault

    def response_received(self, response: Response, flow: IFlow) -> None:
        """Keep a response."""
        self.responses.append((response, flow))

    def malformed(self, error: BadMessage, flow: IFlow) -> None:
        """Keep a malformed message."""
        self.errors.append((error, flow))

    @property
    def call_ids(self) -> list[str]:
        """Call-IDs of the requests in order."""
        return [request.call_id for request, _ in self.requests]


@implementer(IFlowListener)
class Listener:
    """Keeps the failures it is told."""

    def __init__(self, *flows: IFlow) -> None:
        self.errors: list[str] = []
        for flow in flows:
            flow.listeners.add(self)

    def flow_failed(self, flow: IFlow, error: TransportError) -> None:
        """Keep the cause."""
        self.errors.append(str(error))
