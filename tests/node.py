"""A presence node and its peers on an in-memory network, driven by ``task.Clock``.

Everything is the real code but the network and the clock.
"""

from __future__ import annotations

import itertools
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.names.common import ResolverBase
from twisted.names.error import DomainError
from zope.interface import implementer

from presence.compose.union import UnionComposition
from presence.limits import DomainRates, PublicationLimits
from presence.policy import OperatorWatcherPolicy
from presence.server import PresenceServer
from presence.store.memory import MemoryStore
from pysip.auth.domains import Domains
from pysip.auth.trust import IdentityPolicy, TrustPolicy
from pysip.dns import RecordCache
from pysip.event.table import NotifierPolicy
from pysip.interfaces import IMessageReceiver
from pysip.locate import Locator
from pysip.message import Request, Response, response_to
from pysip.timers import TimerWheel
from pysip.tokens import TokenSource
from pysip.transport.loop import LoopNetwork
from pysip.ua import UserAgent

SERVER = ("192.0.2.1", 5060)
DOMAIN = "example.com"
BOB = "sip:bob@example.com"
ALICE = "sip:alice@example.com"


def pidf(entity: str = BOB, basic: str = "open", note: str = "") -> bytes:
    """A small valid presence document."""
    text = f"<note>{note}</note>" if note else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{entity}">'
        f'<tuple id="t1"><status><basic>{basic}</basic></status>'
        f"<contact>{entity}</contact>{text}</tuple></presence>"
    ).encode()


class NoNames(ResolverBase):
    """DNS without a single name."""

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Any) -> Deferred[Any]:
        return fail(DomainError(name))


@implementer(IMessageReceiver)
class Peer:
    """A scripted SIP element: sends what it is told and keeps what it gets.

    :ivar answer: status for incoming requests, 0 to leave them unanswered; or a function of
        the request that gives the Response or None.
    """

    def __init__(self, node: Node, address: tuple[str, int], protocol: str = "UDP") -> None:
        self.node = node
        self.address = address
        self.protocol = protocol
        self.transport = node.network.transport(address, protocol)
        self.transport.start(self)
        self.address = self.transport.local
        self.requests: list[Request] = []
        self.responses: list[Response] = []
        self.malformed_seen: list[Any] = []
        self.answer: Any = 200
        self._cseq = itertools.count(1)
        self._branch = itertools.count(1)

    def request_received(self, request: Request, flow: Any) -> None:
        """Keep it and answer as told."""
        self.requests.append(request)
        answer = self.answer
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, int) and answer:
            answer = response_to(request, answer)
        if answer:
            flow.send(answer.encode())

    def response_received(self, response: Response, flow: Any) -> None:
        """Keep it."""
        self.responses.append(response)

    def malformed(self, error: Any, flow: Any) -> None:
        """Keep it."""
        self.malformed_seen.append(error)

    def send(self, request: Request | bytes) -> None:
        """Send octets or a request to the server."""
        data = request if isinstance(request, bytes) else request.encode()
        self.transport.flow_to(self.node.address).send(data)

    def ask(self, request: Request | bytes, seconds: float = 0.1) -> Response:
        """Send a request, let time pass and give the last response."""
        before = len(self.responses)
        self.send(request)
        self.node.advance(seconds)
        new = self.responses[before:]
        assert new, "no response"
        return new[-1]

    def request(
        self,
        method: str,
        uri: str = BOB,
        *,
        sender: str = ALICE,
        to: str = "",
        call_id: str = "",
        from_tag: str = "f1",
        to_tag: str = "",
        cseq: int = 0,
        branch: str = "",
        body: bytes = b"",
        **headers: str | int | None,
    ) -> Request:
        """A request with the usual header fields.

        Further fields by keyword: ``sip_if_match="x"`` is ``SIP-If-Match: x``; None leaves a
        usual field out.
        """
        number = cseq or next(self._cseq)
        host, port = self.address
        fields: dict[str, str | int | None] = {
            "via": f"SIP/2.0/{self.protocol} {host}:{port}"
            f";branch={branch or f'z9hG4bK{host}.{port}.{next(self._branch)}'};rport",
            "max-forwards": 70,
            "from": f"<{sender}>;tag={from_tag}",
            "to": f"<{to or uri}>" + (f";tag={to_tag}" if to_tag else ""),
            "call-id": call_id or f"{method}-{number}@{host}",
            "cseq": f"{number} {method}",
        }
        if method in ("SUBSCRIBE", "NOTIFY", "REGISTER"):
            transport = "" if self.protocol == "UDP" else f";transport={self.protocol.lower()}"
            fields["contact"] = f"<sip:peer@{host}:{port}{transport}>"
        if method in ("SUBSCRIBE", "PUBLISH"):
            fields["event"] = "presence"
        if body:
            fields["content-type"] = "application/pidf+xml"
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        given = {name: [str(value)] for name, value in fields.items() if value is not None}
        return Request(method, uri, given, body)

    def publish(self, body: bytes = b"", uri: str = BOB, **fields: Any) -> Response:
        """PUBLISH as the presentity and give the response."""
        fields.setdefault("sender", uri)
        return self.ask(self.request("PUBLISH", uri, body=body, **fields))

    def subscribe(self, uri: str = BOB, **fields: Any) -> Response:
        """SUBSCRIBE and give the response."""
        return self.ask(self.request("SUBSCRIBE", uri, **fields))

    def notifies(self) -> list[Request]:
        """The NOTIFYs that came, without retransmissions."""
        seen: dict[str, Request] = {}
        for request in self.requests:
            if request.method == "NOTIFY":
                seen.setdefault(request.via.branch, request)
        return list(seen.values())


class Node:
    """A Presence Server on a loop network.

    :param address: where it is.
    :param domain: that it serves.
    :param hosts: where it finds other domains.

    :ivar clock: drives everything; ``wall`` runs with it from 2026 on.
    """

    EPOCH = 1_767_225_600.0

    def __init__(
        self,
        *,
        decision: str = "allow",
        mode: str = "none",
        interval: float = 0.0,
        seed: int = 0,
        trust: TrustPolicy | None = None,
        policy: NotifierPolicy | None = None,
        publications: dict[str, Any] | None = None,
        identities: Any = None,
        tcp: bool = True,
        store: MemoryStore | None = None,
        network: LoopNetwork | None = None,
        address: tuple[str, int] = SERVER,
        domain: str = DOMAIN,
        hosts: dict[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.interval = interval
        self.address = address
        self.network = network or LoopNetwork(Clock(), seed)
        self.clock: Clock = self.network.clock  # type: ignore[assignment]
        self.wheel = TimerWheel(self.clock)
        self.domains = Domains([domain], {address[0]: domain})
        self.identities = identities or IdentityPolicy(
            trust or TrustPolicy(), self.domains, mode=mode
        )
        self.ua = UserAgent(
            self.clock,
            self.wheel,
            Locator(RecordCache(NoNames(), self.clock), self.clock, static=hosts),
            self.identities,
            agent="txpresence",
            tokens=TokenSource(),
        )
        self.store = store or MemoryStore(self.clock)
        self.watchers = OperatorWatcherPolicy(decision)  # type: ignore[arg-type]
        limits: dict[str, Any] = {"rate": 0, **(publications or {})}
        self.presence = PresenceServer(
            self.ua,
            self.store,
            self.domains,
            UnionComposition(),
            self.watchers,
            PublicationLimits(self.clock.seconds, **limits),
            DomainRates(interval, {}),
            policy or NotifierPolicy(),
            self.wall,
        )
        self.add_parts()
        self.done(self.store.start())
        self.done(Deferred.fromCoroutine(self.presence.recover()))
        for protocol in ("UDP", "TCP") if tcp else ("UDP",):
            self.done(self.ua.start_transport(self.network.transport(address, protocol)))

    def add_parts(self) -> None:
        """What it has besides, before it recovers: nothing."""

    def wall(self) -> float:
        """Wall-clock seconds."""
        return self.EPOCH + self.clock.seconds()

    def done(self, deferred: Deferred[Any]) -> Any:
        """Let time pass until the Deferred has fired, and give its result."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        for _ in range(100):
            if results:
                break
            self.clock.advance(0.01)
        assert results, "nothing happened"
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]

    def advance(self, seconds: float, step: float = 0.05) -> None:
        """Let time pass in small steps, so that everything happens in order."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end - 1e-9:
            self.clock.advance(min(step, end - self.clock.seconds()))

    def peer(self, host: str = "192.0.2.10", port: int = 5060, protocol: str = "UDP") -> Peer:
        """A peer at an address of its own."""
        return Peer(self, (host, port), protocol)

    def restart(self) -> Node:
        """Another node on the same store and clock, as after the end of this process."""
        self.stop()
        return Node(store=self.store, network=self.network, interval=self.interval)

    def stop(self) -> None:
        """End it; its store keeps what it has."""
        self.presence.stop()
        self.done(self.store.stop())
        for deferred in self.ua.stop():
            self.done(deferred)
        self.wheel.stop()
