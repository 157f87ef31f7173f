"""A client user agent and a scripted peer on one network in memory."""

from __future__ import annotations

import random
from collections.abc import Callable

from twisted.internet import task
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from pysip.interfaces import Identity, IFlow, IIdentityPolicy, ILocator, Target
from pysip.message import Request, Response
from pysip.timers import TimerWheel
from pysip.tokens import TokenSource
from pysip.transport.loop import LoopNetwork
from pysip.ua import ServerRequest, UserAgent
from pysip.uri import SipUri, Uri

CLIENT = "127.0.0.1"
SERVER = "127.0.0.2"

Script = Callable[[ServerRequest], None]


@implementer(IIdentityPolicy)
class Anybody:
    """Lets everybody speak."""

    def identify(self, request: Request, flow: IFlow) -> Identity:
        """Nobody in particular."""
        return Identity(())

    def trusted(self, flow: IFlow) -> bool:
        """Everybody."""
        return True


@implementer(ILocator)
class NumericLocator:
    """Numeric hosts are themselves; any other name is the server."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.extra: list[Target] = []

    def immediate(self, uri: Uri) -> Target | None:
        """The one target of a URI."""
        if self.extra or not isinstance(uri, SipUri):
            return None
        host = uri.host if uri.host[0].isdigit() else SERVER
        return Target(uri.transport.upper() or self.protocol, (host, uri.port or 5060), uri.host)

    def locate(self, uri: Uri) -> Deferred[list[Target]]:
        """Targets set by the test."""
        return succeed(list(self.extra))

    def failed(self, target: Target, seconds: float) -> None:
        """Nothing to remember."""


def random_octets(seed: int) -> Callable[[int], bytes]:
    """A source of octets that is the same in every run."""
    return random.Random(seed).randbytes


class Pair:
    """Client and server on a :class:`LoopNetwork`, with a clock of their own.

    :ivar client: user agent of the client.
    :ivar server: user agent of the peer.
    :ivar received: requests that the peer has got, by arrival.
    """

    def __init__(self, protocol: str = "UDP", seed: int = 1) -> None:
        self.clock = task.Clock()
        self.network = LoopNetwork(self.clock, seed)
        self.locator = NumericLocator(protocol)
        self.protocol = protocol
        self.client = self._agent(CLIENT, protocol, seed)
        self.server = self._agent(SERVER, protocol, seed + 1000)
        self.received: list[Request] = []
        self.times: list[float] = []
        self._scripts: dict[str, list[Script]] = {}
        self._cseq = 0

    def _agent(self, host: str, protocol: str, seed: int) -> UserAgent:
        agent = UserAgent(
            self.clock,
            TimerWheel(self.clock),
            self.locator,
            Anybody(),
            tokens=TokenSource(random_octets(seed)),
        )
        agent.start_transport(self.network.transport((host, 5060), protocol))
        return agent

    @property
    def contact(self) -> str:
        """The client's Contact value."""
        transport = "" if self.protocol == "UDP" else f";transport={self.protocol.lower()}"
        return f"<sip:alice@{CLIENT}:5060{transport}>"

    def script(self, method: str, *scripts: Script) -> None:
        """Answer requests of ``method`` by these in turn, the last one again and again."""
        self._scripts[method] = list(scripts)

        def serve(served: ServerRequest) -> None:
            self.received.append(served.request)
            self.times.append(self.clock.seconds())
            todo = self._scripts[method]
            (todo.pop(0) if len(todo) > 1 else todo[0])(served)

        self.server.add_method(method, serve)

    def run(self, seconds: float = 0.0, step: float = 0.1) -> None:
        """Let time pass; without an argument only deliver what is under way."""
        for _ in range(10):
            self.clock.advance(0)
        left = seconds
        while left > 0:
            self.clock.advance(min(step, left))
            left -= step
            self.clock.advance(0)

    def notify(
        self,
        subscribe: Request,
        state: str = "active;expires=3600",
        *,
        tag: str = "server",
        cseq: int | None = None,
        body: bytes = b"",
        content_type: str = "application/pidf+xml",
        headers: dict[str, str | None] | None = None,
    ) -> list[Response]:
        """Send a NOTIFY that belongs to ``subscribe``; the answer is put into the list.

        :param headers: replaced (or with None: removed) header fields.
        """
        if cseq is None:
            self._cseq += 1
            cseq = self._cseq
        request = Request("NOTIFY", subscribe.contacts[0].uri)
        request.set("From", f"{subscribe.headers['to'][0].partition(';tag=')[0]};tag={tag}")
        request.set("To", subscribe.headers["from"][0])
        request.set("Call-ID", subscribe.call_id)
        request.set("CSeq", f"{cseq} NOTIFY")
        request.set("Contact", f"<sip:server@{SERVER}:5060>")
        request.set("Event", subscribe.headers["event"][0])
        request.set("Subscription-State", state)
        if body:
            request.set("Content-Type", content_type)
            request.body = body
        for name, value in (headers or {}).items():
            if value is None:
                request.remove(name)
            else:
                request.set(name, value)
        answers: list[Response] = []
        self.server.request(request).addCallbacks(answers.append, lambda _: None)
        return answers


def answer(
    status: int, *headers: tuple[str, str], tag: str = "server"
) -> Callable[[ServerRequest], None]:
    """A script that answers so."""

    def script(served: ServerRequest) -> None:
        if not served.request.to.tag:
            served.to_tag = tag
        served.respond(status, headers=headers)

    return script


def ignore(served: ServerRequest) -> None:
    """A script that never answers."""


def accept(served: ServerRequest) -> None:
    """A script that grants what is asked for, in a subscription or publication."""
    asked = served.request.first("expires") or "3600"
    if not served.request.to.tag:
        served.to_tag = "server"
    served.respond(200, headers=[("Expires", asked), ("Contact", f"<sip:server@{SERVER}:5060>")])
