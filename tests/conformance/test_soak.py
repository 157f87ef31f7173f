"""A hundred thousand subscriptions that nobody refreshes (EVT-02)."""

from __future__ import annotations

import gc
from collections import Counter

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysip.event.subscription import Subscription
from pysip.interfaces import Address, IFlow, IFlowListener, IMessageReceiver, ITransport
from pysip.message import Request, Response, response_to
from pysip.parse import parse_message
from tests.node import Node

COUNT = 100_000
LIFETIME = 600


@implementer(IFlow)
class Crowd:
    """The way to a hundred thousand watchers, who answer every NOTIFY at once.

    :ivar statuses: of the answers to their SUBSCRIBEs.
    :ivar states: of the NOTIFYs they got.
    """

    protocol = "UDP"
    reliable = False
    secure = False
    remote = ("192.0.2.20", 5060)
    sent_by = "192.0.2.1:5060"
    names: frozenset[str] = frozenset()
    closed = False

    def __init__(self, receiver: IMessageReceiver) -> None:
        self.receiver = receiver
        self.listeners: set[IFlowListener] = set()
        self.statuses: Counter[int] = Counter()
        self.states: Counter[str] = Counter()
        self.answers: list[Response] = []

    def send(self, data: bytes) -> None:
        """Count it; the answer to a NOTIFY goes back with :meth:`answer`."""
        if data.startswith(b"NOTIFY "):
            message = parse_message(data)
            assert isinstance(message, Request)
            self.states[(message.first("subscription-state") or "").partition(";")[0]] += 1
            self.answers.append(response_to(message, 200))
        else:
            self.statuses[int(data[8:11])] += 1

    def answer(self) -> None:
        """Send the answers."""
        answers, self.answers = self.answers, []
        for response in answers:
            self.receiver.response_received(response, self)

    def close(self) -> None:
        """Nothing to close."""


@implementer(ITransport)
class CrowdTransport:
    """Leads to the crowd, whatever the address."""

    protocol = "UDP"
    reliable = False
    secure = False
    local = ("192.0.2.1", 5060)
    sent_by = "192.0.2.1:5060"
    tap = None

    def __init__(self) -> None:
        self.crowd: Crowd

    def start(self, receiver: IMessageReceiver) -> Deferred[None]:
        """Gather the crowd."""
        self.crowd = Crowd(receiver)
        return succeed(None)

    def flow_to(self, address: Address, name: str = "") -> Crowd:
        """The crowd."""
        return self.crowd

    def stop(self) -> Deferred[None]:
        """Nothing to stop."""
        return succeed(None)


class SoakTests(SynchronousTestCase):
    """A node that is left alone by its watchers."""

    timeout = 300

    def test_expiry(self) -> None:
        """10^5 subscriptions are made and expire: no timer, dialog or record remains (EVT-02)."""
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(50_000, 20, 50)  # as the server does
        node = Node(tcp=False)
        node.done(node.ua._transports.pop().stop())
        node.ua.layer._transports.clear()
        transport = CrowdTransport()
        node.done(node.ua.start_transport(transport))
        crowd = transport.crowd
        before = self.census(node)
        for number in range(COUNT):
            crowd.receiver.request_received(self.subscribe(number), crowd)
            if number % 500 == 499:
                node.advance(0.1)
                crowd.answer()
        self.assertEqual(len(node.presence.notifier), COUNT)
        for _ in range(2 * LIFETIME):
            node.clock.advance(1)
            crowd.answer()
        self.assertEqual(crowd.statuses, {200: COUNT})
        self.assertEqual(crowd.states, {"active": COUNT, "terminated": COUNT})
        self.assertEqual(self.census(node), before)
        again: list[object] = []
        node.done(node.store.recover(again.extend, lambda records, digests: again.extend(records)))
        self.assertEqual(again, [])

    def subscribe(self, number: int) -> Request:
        """The SUBSCRIBE of one watcher."""
        request = parse_message(
            f"SUBSCRIBE sip:u{number % 1000}@example.com SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bK{number}\r\n"
            f"From: <sip:w{number}@example.com>;tag=f{number}\r\n"
            f"To: <sip:u{number % 1000}@example.com>\r\n"
            f"Call-ID: c{number}\r\nCSeq: 1 SUBSCRIBE\r\nEvent: presence\r\n"
            f"Contact: <sip:w{number}@192.0.2.20:5060>\r\nExpires: {LIFETIME}\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )
        assert isinstance(request, Request)
        return request

    def census(self, node: Node) -> dict[str, int]:
        """How much of everything there is."""
        gc.collect()
        notifier = node.presence.notifier
        table = notifier._table
        return {
            "subscriptions": len(notifier),
            "resources": len(notifier.resources()),
            "watchers": len(table._per_watcher) + len(table._per_pair) + len(table._pending),
            "views": len(node.presence.package._views),
            "timers": len(node.wheel),
            "calls": len(node.clock.getDelayedCalls()),
            "transactions": len(node.ua.layer.servers) + len(node.ua.layer.clients),
            "objects": sum(isinstance(thing, Subscription) for thing in gc.get_objects()),
        }
