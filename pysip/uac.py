"""Sending requests: location, fail-over, size rule and authentication (sip-core.md 6, 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysip.dialog import next_hop
from pysip.errors import ParseError, RequestTimeout, TransportError
from pysip.header import parse_credentials, parse_retry_after, parse_token_list
from pysip.interfaces import IClientTransactionUser, Target
from pysip.uri import SimpleUri, SipUri, parse_uri

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

    :ivar redirects: 3xx followed for one request outside of dialogs, 5 at most (UAC-05).
    :ivar redirect_domains: where to, lower case; a request is never sent to another domain.
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
        self.redirects = 0
        self.redirect_domains: frozenset[str] = frozenset()
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


def _preference(q: str | None) -> float:
    """The q of a Contact; 1 without a readable one."""
    try:
        return float(q or "1")
    except ValueError:
        return 1.0


def _domain(uri: str) -> str:
    """Host and port of a URI as written; only a key."""
    return uri.rpartition("@")[2].partition(";")[0]


@implementer(IClientTransactionUser)
class _ClientRequest:
    """One request with its attempts.

    They go over the targets (TXN-15), once more with credentials (UAC-06), without what the
    server does not understand (UAC-07), and to where it redirects (UAC-05).
    """

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
        self._adapted: set[int] = set()
        self._followed = 0
        self._contacts: list[str] = []  # where a 3xx points to, the best first
        self._visited = {request.uri}
        self._last: Response | None = None
        self._transaction: IClientTransaction | None = None
        self._done: Deferred[Response] = Deferred(self._cancelled)

    def start(self, hop: Uri | None) -> Deferred[Response]:
        """Locate the next hop and send."""
        self._locate(hop)
        return self._done

    def _locate(self, hop: Uri | None) -> None:
        request = self._request
        try:
            if hop is None:
                hop = next_hop(request.uri, tuple(request.values("route")))
        except ParseError as error:
            self._finish(Failure(TransportError(f"no usable next hop: {error}")))
            return
        target = self._sender.locator.immediate(hop)
        if target is not None:
            self._targets = [target]
            self._try_next()
        else:
            locating = self._sender.locator.locate(hop)
            # The last one: a request that cannot be written is its sender's failure.
            locating.addCallbacks(self._located, self._unlocated).addErrback(self._finish)

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
        self._give_up(failure)

    def _try_next(self) -> None:
        while self._targets:
            self._target = self._targets.pop(0)
            if self._attempt(self._target):
                return
        self._give_up(Failure(TransportError("no server could be reached")))

    def _give_up(self, failure: Failure) -> None:
        """No server of the next hop has answered, but perhaps with a 503."""
        if not self._follow():
            self._finish(self._last if self._last is not None else failure)

    def _attempt(self, target: Target) -> bool:
        """Send to one target; every attempt has a branch of its own (TXN-15)."""
        sender = self._sender
        flow = sender.flow_for(target, 0)
        if flow is None:
            return False
        branch = sender.tokens.branch()
        data = self._written(branch, flow)
        if len(data) > UNFRAGMENTED:
            other = sender.flow_for(target, len(data))
            if other is not None and other is not flow:
                flow = other
                data = self._written(branch, flow)
        self._moved = flow.protocol != target.protocol
        self._provisional = False
        self._transaction = sender.layer.request(branch, self._request.method, data, flow, self)
        return True

    def _written(self, branch: str, flow: IFlow) -> bytes:
        """The request as it goes out by ``flow`` (VIA-01)."""
        request = self._request
        request.remove("Via")
        self._sender.prepare(request, flow)
        request.prepend("Via", f"SIP/2.0/{flow.protocol} {flow.sent_by};branch={branch};rport")
        return request.encode()

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
        if response.status >= 300 and self._try_otherwise(response):
            return
        self._finish(response)

    def _try_otherwise(self, response: Response) -> bool:
        """Make the best of a refusal; False when it stands."""
        status = response.status
        if status in (401, 407):
            return self._authorize(response)
        if self._request.to.tag:
            return False  # of a dialog: its owner counts the CSeq and knows what to do
        if status in (416, 420) and self._adapt(response):
            return True
        if status < 400:
            self._note_contacts(response)
        return status < 600 and self._follow()

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
            self._last = None
            self._give_up(Failure(RequestTimeout()))
        else:
            self._give_up(Failure(TransportError("the server could not be reached")))

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
        self._renumber()
        return self._attempt(self._target)

    def _renumber(self) -> None:
        """It is a new request, with the next CSeq (UAC-02)."""
        number, method = self._request.cseq
        self._request.set("CSeq", f"{number + 1} {method}")

    def _adapt(self, response: Response) -> bool:
        """Leave out what the server does not understand, once (UAC-07).

        Other refusals, 413, 415 and 423, concern the state that the owner of the request
        wants to send.
        """
        request, status = self._request, response.status
        if status in self._adapted or self._target is None:
            return False
        self._adapted.add(status)
        try:
            if status == 420:
                if not self._without_extensions(response):
                    return False
            else:
                uri = parse_uri(request.uri)
                if not isinstance(uri, SimpleUri):
                    return False  # never from sips to sip (TRN-24)
                request.retarget(f"sip:{uri.user}@{uri.host}")
        except ParseError:
            return False
        self._renumber()
        return self._attempt(self._target)

    def _without_extensions(self, response: Response) -> bool:
        """Take what the 420 names out of Require; False when it names nothing of ours."""
        request = self._request
        refused = {tag.lower() for tag in parse_token_list(response.values("unsupported"))}
        asked = parse_token_list(request.values("require"))
        kept = [tag for tag in asked if tag.lower() not in refused]
        if len(kept) == len(asked):
            return False
        request.remove("Require")
        if kept:
            request.set("Require", ", ".join(kept))
        return True

    def _note_contacts(self, response: Response) -> None:
        """Remember where a 3xx points to, each URI once, by preference (UAC-05)."""
        found: list[tuple[float, str]] = []
        secure = self._request.uri[:5].lower() == "sips:"
        try:
            for contact in response.contacts:
                uri = parse_uri(contact.uri)
                if (
                    not isinstance(uri, SipUri)
                    or (secure and uri.scheme != "sips")
                    or uri.host.lower() not in self._sender.redirect_domains
                ):
                    continue
                params = {name: value for name, value in uri.params.items() if name != "method"}
                text = str(attrs.evolve(uri, params=params, headers=""))
                if text not in self._visited:
                    self._visited.add(text)
                    found.append((_preference(contact.params.get("q")), text))
        except ParseError:
            return
        found.sort(key=lambda item: -item[0])
        self._contacts[:0] = [text for _, text in found]

    def _follow(self) -> bool:
        """Send the request to the next place that a 3xx named."""
        if not self._contacts or self._followed >= min(5, self._sender.redirects):
            return False
        self._followed += 1
        request = self._request
        request.retarget(self._contacts.pop(0))
        request.remove("Authorization")
        request.remove("Proxy-Authorization")
        self._challenged = 0
        self._last = None
        self._renumber()
        self._locate(None)
        return True

    def _finish(self, result: Response | Failure) -> None:
        if self._done.called:
            return
        if isinstance(result, Failure):
            self._done.errback(result)
        else:
            self._done.callback(result)
