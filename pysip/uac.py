"""Sending requests: location, fail-over, size rule and authentication (sip-core.md 6, 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysip.dialog import next_hop
from pysip.errors import ParseError, RequestTimeout, TransportError
from pysip.header import parse_credentials, parse_retry_after
from pysip.interfaces import IClientTransactionUser, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pysip.auth.client import ClientCredentials
    from pysip.interfaces import Address, IClientTransaction, IFlow, ILocator
    from pysip.message import Request, Response
    from pysip.tokens import TokenSource
    from pysip.transaction.layer import TransactionLayer
    from pysip.uri import Uri

UNFRAGMENTED = 1300
"""Octets above which a request leaves UDP when the path MTU is unknown (TRN-05)."""

_REALMS = 1000
"""Destinations whose realm is remembered."""


def retry_after(response: Response) -> int | None:
    """Seconds of Retry-After, None without a readable one (UAC-07, OVL-03)."""
    value = response.first("retry-after")
    if value is None:
        return None
    try:
        return parse_retry_after(value)[0]
    except ParseError:
        return None


_WITHOUT_TCP = 100_000
"""Peers remembered to refuse TCP."""

_RETRY_TCP = 600.0
"""Seconds until TCP is tried again with such a peer."""


class RequestSender:
    """Sends requests of a user agent to where RFC 3263 says.

    :param layer: the transaction layer.
    :param locator: RFC 3263.
    :param tokens: branches.
    :param agent: value of User-Agent, or "".
    :param prepare: makes a request fit for the peer of a flow, just before it is sent.
    """

    def __init__(
        self,
        layer: TransactionLayer,
        locator: ILocator,
        tokens: TokenSource,
        agent: str,
        prepare: Callable[[Request, IFlow], None],
    ) -> None:
        self.layer = layer
        self.locator = locator
        self.tokens = tokens
        self.agent = agent
        self.prepare = prepare
        self._without_tcp: dict[Address, float] = {}
        # Which realm asked for credentials, by user name and domain of the Request-URI.
        self._realms: dict[tuple[str, str], tuple[str, str]] = {}

    def flow_for(self, target: Target, size: int) -> IFlow | None:
        """The flow for a request of ``size`` octets to ``target``, None if no transport fits.

        A large request leaves UDP for TCP (TRN-05, TRN-07).
        """
        address = target.address
        if (
            size > UNFRAGMENTED
            and target.protocol == "UDP"
            and target.sized
            and not self._refuses_tcp(address)
        ):
            tcp = self.layer.transport("TCP", address[0])
            if tcp is not None:
                return tcp.flow_to(address)
        transport = self.layer.transport(target.protocol, address[0])
        return transport.flow_to(address, target.name) if transport is not None else None

    def _refuses_tcp(self, address: Address) -> bool:
        until = self._without_tcp.get(address)
        if until is None:
            return False
        if self.layer.clock.seconds() < until:
            return True
        del self._without_tcp[address]
        return False

    def note_tcp_refused(self, address: Address) -> None:
        """Do not try TCP again for large requests to ``address``, for some minutes (TRN-07)."""
        if len(self._without_tcp) >= _WITHOUT_TCP:
            self._without_tcp.clear()
        self._without_tcp[address] = self.layer.clock.seconds() + _RETRY_TCP

    def send(
        self,
        request: Request,
        routes: Sequence[str] = (),
        credentials: ClientCredentials | None = None,
        hop: Uri | None = None,
    ) -> Deferred[Response]:
        """Send ``request``; see :meth:`pysip.ua.UserAgent.request`."""
        if request.first("max-forwards") is None:
            request.set("Max-Forwards", "70")
        if self.agent and request.first("user-agent") is None:
            request.set("User-Agent", self.agent)
        if routes and request.first("route") is None:
            for route in routes:
                request.add("Route", route)
        if credentials is not None:
            self._authorize_early(request, credentials)
        return _ClientRequest(self, request, credentials).start(hop)

    def note_realm(
        self, request: Request, credentials: ClientCredentials, header: str, answer: str
    ) -> None:
        """Remember that requests like ``request`` are challenged, and by which realm."""
        if len(self._realms) >= _REALMS:
            self._realms.clear()
        realm = parse_credentials(answer)[1]["realm"]
        self._realms[(credentials.username, _domain(request.uri))] = (header, realm)

    def _authorize_early(self, request: Request, credentials: ClientCredentials) -> None:
        """Send the credentials along that the last request needed (AUT-19)."""
        known = self._realms.get((credentials.username, _domain(request.uri)))
        if known is None:
            return
        header, realm = known
        answer = credentials.reuse(realm, request.method, request.uri, request.body)
        if answer is not None:
            request.set(header, answer)


def _domain(uri: str) -> str:
    """Host and port of a URI as written; only a key."""
    return uri.rpartition("@")[2].partition(";")[0]


@implementer(IClientTransactionUser)
class _ClientRequest:
    """One request with its attempts: over the targets, then once more with credentials."""

    _log = Logger()

    def __init__(
        self, sender: RequestSender, request: Request, credentials: ClientCredentials | None
    ) -> None:
        self._sender = sender
        self._request = request
        self._credentials = credentials
        self._targets: list[Target] = []
        self._target: Target | None = None
        self._moved = False  # from UDP to TCP because of its size
        self._provisional = False
        self._challenged = 0
        self._last: Response | None = None
        self._transaction: IClientTransaction | None = None
        self._done: Deferred[Response] = Deferred(self._cancelled)

    def start(self, hop: Uri | None) -> Deferred[Response]:
        """Locate the next hop and send."""
        request = self._request
        try:
            if hop is None:
                hop = next_hop(request.uri, tuple(request.values("route")))
        except ParseError as error:
            self._finish(Failure(TransportError(f"no usable next hop: {error}")))
            return self._done
        target = self._sender.locator.immediate(hop)
        if target is not None:
            self._targets = [target]
            self._try_next()
        else:
            self._sender.locator.locate(hop).addCallbacks(self._located, self._unlocated)
        return self._done

    def _cancelled(self, _: Deferred[Response]) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            self._sender.layer.clients[transaction.branch].abandon()

    def _located(self, targets: list[Target]) -> None:
        if self._done.called:
            return  # given up meanwhile
        self._targets = list(targets)
        self._try_next()

    def _unlocated(self, failure: Failure) -> None:
        failure.trap(TransportError)
        self._finish(failure)

    def _try_next(self) -> None:
        while self._targets:
            self._target = self._targets.pop(0)
            if self._attempt(self._target):
                return
        if self._last is not None:
            self._finish(self._last)
        else:
            self._finish(Failure(TransportError("no server could be reached")))

    def _attempt(self, target: Target) -> bool:
        """Send to one target; every attempt has a branch of its own (TXN-15)."""
        request = self._request
        branch = self._sender.tokens.branch()
        request.remove("Via")
        size = len(request.encode()) + 120  # what the Via is going to add
        flow = self._sender.flow_for(target, size)
        if flow is None:
            return False
        self._moved = flow.protocol != target.protocol
        self._sender.prepare(request, flow)
        request.prepend("Via", f"SIP/2.0/{flow.protocol} {flow.sent_by};branch={branch};rport")
        self._provisional = False
        self._transaction = self._sender.layer.request(
            branch, request.method, request.encode(), flow, self
        )
        return True

    def response_received(self, transaction: IClientTransaction, response: Response) -> None:
        """A response to the attempt under way."""
        if transaction is not self._transaction and self._transaction is not None:
            return
        if response.status < 200:
            self._provisional = True
            return
        self._transaction = None
        if response.status == 503 and self._target is not None:
            seconds = retry_after(response)
            if seconds:
                self._sender.locator.failed(self._target, seconds)
            if self._targets:
                self._last = response
                self._try_next()
                return
        if response.status in (401, 407) and self._authorize(response):
            return
        self._finish(response)

    def transaction_failed(self, transaction: IClientTransaction, status: int) -> None:
        """The attempt ended without a final response."""
        if self._done.called:
            return
        self._transaction = None
        target = self._target
        if self._moved and status == 503 and target is not None:
            # TCP was only tried for the size of the request (TRN-06).
            self._moved = False
            self._sender.note_tcp_refused(target.address)
            if self._attempt(Target(target.protocol, target.address, target.name, sized=False)):
                return
        if target is not None and status == 503:
            self._sender.locator.failed(target, 30.0)
        if self._targets and not (status == 408 and self._provisional):
            self._try_next()
        elif status == 408:
            self._finish(Failure(RequestTimeout()))
        elif self._last is not None:
            self._finish(self._last)
        else:
            self._finish(Failure(TransportError("the server could not be reached")))

    def _authorize(self, response: Response) -> bool:
        """Answer a challenge with CSeq+1 (UAC-02, UAC-06); False when that makes no sense."""
        if self._credentials is None or self._target is None or self._challenged >= 2:
            return False
        request = self._request
        name = "www-authenticate" if response.status == 401 else "proxy-authenticate"
        header = "Authorization" if response.status == 401 else "Proxy-Authorization"
        answer = self._credentials.authorize(
            response.headers.get(name, []),
            request.method,
            request.uri,
            request.body,
            request.values(header),  # what was just rejected is not sent again (AUT-19)
        )
        if answer is None:
            return False
        self._challenged += 1
        request.set(header, answer)
        self._sender.note_realm(request, self._credentials, header, answer)
        number, method = request.cseq
        request.set("CSeq", f"{number + 1} {method}")
        return self._attempt(self._target)

    def _finish(self, result: Response | Failure) -> None:
        if self._done.called:
            return
        if isinstance(result, Failure):
            self._done.errback(result)
        else:
            self._done.callback(result)
