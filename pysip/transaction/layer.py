"""The transaction layer: between the transports and the user agent core.

Matches requests to server transactions and responses to client transactions, sets
``received`` and ``rport``, and chooses where responses go (sip-core.md sections 3 and 4).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections import Counter
from typing import TYPE_CHECKING

import attrs
from zope.interface import implementer

from pysip.errors import ParseError
from pysip.interfaces import IMessageReceiver
from pysip.message import encode_response
from pysip.timers import TimerValues
from pysip.transaction.client import ClientTransaction
from pysip.transaction.reroute import DatagramWatch
from pysip.transaction.server import InviteServerTransaction, ServerTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from pysip.header import Via
    from pysip.interfaces import (
        IAdmissionControl,
        IClientTransactionUser,
        IFlow,
        ITransactionUser,
        ITransport,
        Target,
    )
    from pysip.message import Request, Response
    from pysip.parse import BadMessage
    from pysip.timers import TimerWheel

COOKIE = "z9hG4bK"

_METHODS = (
    *("INVITE", "SUBSCRIBE", "PUBLISH", "NOTIFY", "OPTIONS", "REGISTER", "MESSAGE", "BYE"),
    *("INFO", "PRACK", "REFER", "UPDATE"),
)
"""What a CANCEL may be about; it does not say (TXN-13)."""

_COUNTED = frozenset((*_METHODS, "ACK", "CANCEL"))
"""Methods that are counted by name; others are ``other``, for their number has no end."""


@implementer(IMessageReceiver)
class TransactionLayer:
    """All transactions of a node.

    :param clock: monotonic time.
    :param wheel: the timers.
    :param user: gets new requests.
    :param secret: key for the To tags of stateless responses (UAS-08).
    :param values: timer values.
    :param limit: most server transactions alive (TXN-17).
    :param admission: asked before a transaction is made (OVL-01).

    :ivar clients: live client transactions by branch.
    :ivar servers: live server transactions by key.
    :ivar alternatives: RFC 3263 section 5, None to give a response up whose way has failed.
    :ivar undelivered: responses given up.
    :ivar requests: new requests received, by transport and method (OBS-01).
    :ivar responses: responses sent, by transport, method and status.
    :ivar requests_sent: requests sent, by method; each target tried counts.
    :ivar retransmissions: requests received again.
    :ivar retransmissions_sent: requests sent again.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wheel: TimerWheel,
        user: ITransactionUser,
        secret: bytes,
        values: TimerValues | None = None,
        limit: int = 1_000_000,
        admission: IAdmissionControl | None = None,
    ) -> None:
        self.clock = clock
        self.wheel = wheel
        self.values = values or TimerValues()
        self.clients: dict[str, ClientTransaction] = {}
        self.servers: dict[str, ServerTransaction] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        self.responses: Counter[tuple[str, str, int]] = Counter()
        self.requests_sent: Counter[str] = Counter()
        self.retransmissions = 0
        self.retransmissions_sent = 0
        self.alternatives: Callable[[Via], Deferred[list[Target]]] | None = None
        self.undelivered = 0
        self.watch = DatagramWatch(self)
        self._merged: dict[str, str] = {}
        self._user = user
        self._secret = secret
        self._limit = limit
        self._admission = admission
        self._transports: list[ITransport] = []

    # -- transports ---------------------------------------------------------------------

    def add_transport(self, transport: ITransport) -> None:
        """Use a started transport for responses whose flow is gone, and know its sent-by."""
        self._transports.append(transport)

    def transport(self, protocol: str, address: str = "") -> ITransport | None:
        """A transport of that protocol, of the same IP version as ``address`` if possible."""
        found = None
        for transport in self._transports:
            if transport.protocol == protocol:
                if (":" in transport.local[0]) == (":" in address):
                    return transport
                found = found or transport
        return found

    # -- requests in --------------------------------------------------------------------

    def request_received(self, request: Request, flow: IFlow) -> None:
        """Match to a transaction or make one (TXN-02, TXN-03)."""
        try:
            via = request.via
            key = self._server_key(request, via)
            known = self.servers.get(key)
            method = request.method
            if method == "ACK":
                # One that matches no INVITE is ignored, never answered (TXN-12).
                if isinstance(known, InviteServerTransaction):
                    known.acknowledged()
                return
            if known is not None:
                self.retransmissions += 1
                known.retransmitted(flow)
                return
            self._mark_source(request, via, flow)
            self.requests[flow.protocol, method if method in _COUNTED else "other"] += 1
            if method == "CANCEL":
                self._cancel(request, key, flow)
                return
            to_tag = request.to.tag
            if len(self.servers) >= self._limit or self._admission is not None:
                seconds = self._refuse(request, to_tag)
                if seconds:
                    self.respond_stateless(
                        request, flow, 503, None, (("Retry-After", str(seconds)),)
                    )
                    return
            merge_key = (
                "" if to_tag else f"{request.call_id} {request.from_.tag} {request.first('cseq')}"
            )
        except ParseError as error:
            self.respond_stateless(request, flow, 400, f"Bad Request: {error}")
            return
        kind = InviteServerTransaction if method == "INVITE" else ServerTransaction
        transaction = kind(self, key, merge_key, request, flow)
        self.servers[key] = transaction
        if merge_key and self._merged.setdefault(merge_key, key) != key:
            # The same request by another path (UAS-03); the first one keeps the key.
            transaction.merge_key = ""
            transaction.merged = True
        self._user.request_received(transaction, request)

    def _refuse(self, request: Request, to_tag: str) -> int:
        if len(self.servers) >= self._limit:
            # 10 to 30 s, the same for each repetition of the request (OVL-01, UAS-14)
            return 10 + int(self._tag(request)[:4], 16) % 21
        if self._admission is None:
            return 0
        initial = not to_tag and request.first("sip-if-match") is None
        return self._admission.admit(request.method, initial)

    @staticmethod
    def _server_key(request: Request, via: Via) -> str:
        method = "INVITE" if request.method == "ACK" else request.method
        branch = via.branch
        if len(branch) > len(COOKIE) and branch.startswith(COOKIE):
            return f"{branch} {via.sent_by} {method}"
        # An RFC 2543 client (TXN-03, TOR-46).  The To tag takes no part for the ACK to match:
        # its To carries the tag of our response.
        to_tag = "" if request.method == "ACK" else request.to.tag
        top = request.headers["via"][0].partition(";received=")[0]
        sequence = str(request.cseq[0])
        return " ".join(
            (request.uri, to_tag, request.from_.tag, request.call_id, sequence, top, method)
        )

    def _cancel(self, request: Request, key: str, flow: IFlow) -> None:
        """Answer a CANCEL; it never changes a non-INVITE transaction (TXN-13, SUB-23)."""
        stem = key.removesuffix("CANCEL")
        for method in _METHODS:
            cancelled = self.servers.get(stem + method)
            if cancelled is not None:
                self.respond_stateless(request, flow, 200, to_tag=cancelled.to_tag)
                return
        self.respond_stateless(request, flow, 481)

    @staticmethod
    def _mark_source(request: Request, via: Via, flow: IFlow) -> None:
        """Add ``received`` and fill ``rport`` in the top Via (VIA-02, VIA-03)."""
        host, port = flow.remote
        params = via.params
        asked = "rport" in params and params["rport"] is None
        if not asked and (via.host == host or _same_address(via.host, host)):
            return
        value = request.headers["via"][0]
        if asked and "," not in value and "received" not in params:
            # what nearly all phones send, without writing the whole value anew
            filled = ""
            if value.endswith(";rport"):
                filled = f"{value}={port};received={host}"
            elif ";rport;" in value:
                filled = f"{value.replace(';rport;', f';rport={port};', 1)};received={host}"
            if filled:
                request.headers["via"][0] = filled
                return
        noted = dict(params)
        if asked:
            noted["rport"] = str(port)
        noted["received"] = host
        request.replace_top_via(str(attrs.evolve(via, params=noted)))

    # -- responses out ------------------------------------------------------------------

    def response_flow(self, request: Request, flow: IFlow) -> IFlow:
        """Where the response to ``request`` goes (VIA-04, VIA-05, DNS-08)."""
        via = request.via
        if flow.reliable:
            if not flow.closed:
                return flow
            port = via.port or (5061 if flow.secure else 5060)
            transport = self.transport(flow.protocol, flow.remote[0])
            return transport.flow_to((flow.remote[0], port)) if transport else flow
        params = via.params
        if "rport" in params and "maddr" not in params:
            return flow
        host = params.get("maddr") or flow.remote[0]
        port = via.port or 5060
        if (host, port) == flow.remote or not _is_numeric(host):
            return flow
        transport = self.transport(flow.protocol, host)
        return transport.flow_to((host, port)) if transport else flow

    def respond_stateless(
        self,
        request: Request,
        flow: IFlow,
        status: int,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        to_tag: str = "",
    ) -> None:
        """Answer without a transaction: the same request gets the same answer (UAS-14)."""
        if request.method == "ACK":
            return
        try:
            out = self.response_flow(request, flow)
            tag = to_tag or self._tag(request)
            data = encode_response(request, status, reason, to_tag=tag, headers=tuple(headers))
        except ParseError:
            return  # no readable Via: nowhere to answer (MSG-17)
        self.count_response(flow.protocol, request.method, status)
        out.send(data)

    def _tag(self, request: Request) -> str:
        """A To tag that is the same for each retransmission (UAS-08)."""
        material = "\n".join(
            request.headers.get(name, [""])[0] for name in ("via", "from", "call-id", "cseq")
        )
        return hmac.new(
            self._secret, material.encode("utf-8", "surrogateescape"), "sha256"
        ).hexdigest()[:16]

    def malformed(self, error: BadMessage, flow: IFlow) -> None:
        """Refuse what is no proper request, when its sender can be told (MSG-17)."""
        request = error.message
        if not error.is_request or request is None or not request.headers.get("via"):
            return
        try:
            self._mark_source(request, request.via, flow)
        except ParseError:
            return
        self.respond_stateless(request, flow, error.status, error.reason)

    def forget_server(self, transaction: ServerTransaction) -> None:
        """Drop a server transaction at its end."""
        self.wheel.cancel(transaction)
        self.servers.pop(transaction.key, None)
        if transaction.merge_key:
            self._merged.pop(transaction.merge_key, None)

    def count_response(self, protocol: str, method: str, status: int) -> None:
        """Count a response sent (OBS-01).

        :param protocol: of the flow that the request came on.
        :param method: of the request.
        """
        self.responses[protocol, method if method in _COUNTED else "other", status] += 1

    # -- client side --------------------------------------------------------------------

    def request(
        self, branch: str, method: str, data: bytes, flow: IFlow, user: IClientTransactionUser
    ) -> ClientTransaction:
        """Send a request; ``data`` carries ``branch`` in its top Via."""
        self.requests_sent[method] += 1
        transaction = ClientTransaction(self, branch, method, data, flow, user)
        self.clients[branch] = transaction
        transaction.start()
        return transaction

    def response_received(self, response: Response, flow: IFlow) -> None:
        """Match a response by branch and CSeq method; drop strays (TXN-04, TXN-16)."""
        try:
            via = response.via
            transaction = self.clients.get(via.branch)
            if (
                transaction is None
                or response.cseq[1] != transaction.method
                or via.sent_by != transaction.sent_by  # not ours (VIA-06)
            ):
                return
            if len(response.headers["via"]) > 1 or "," in response.headers["via"][0]:
                return  # it was meant for somebody else (UAC-04, TOR-41)
        except ParseError:
            return
        transaction.received(response)

    def stop(self) -> None:
        """Forget all transactions."""
        for client in list(self.clients.values()):
            client.abandon()
        for server in list(self.servers.values()):
            self.forget_server(server)
        self.watch.stop()


def _same_address(one: str, other: str) -> bool:
    """Whether two hosts are the same numeric address, written differently perhaps."""
    if ":" not in one:
        return False
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return False


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
