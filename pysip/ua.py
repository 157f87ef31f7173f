"""The user agent core: checks of every request, method dispatch, and sending (RFC 3261 8).

Protocol errors, wherever they are raised, become responses in :meth:`UserAgent.request_received`
and :meth:`ServerRequest.refuse` only.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.logger import Logger
from zope.interface import implementer

from pysip.auth.charging import charging_vector, with_term_ioi
from pysip.auth.privacy import strip_private
from pysip.correlate import correlation
from pysip.errors import ParseError, SipError
from pysip.header import parse_token_list
from pysip.interfaces import IResponseLocator, ITransactionUser
from pysip.message import encode_response
from pysip.parse import check_fields
from pysip.tokens import TokenSource
from pysip.transaction.layer import TransactionLayer
from pysip.uac import RequestSender

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from pysip.auth.client import ClientCredentials
    from pysip.interfaces import (
        IAdmissionControl,
        Identity,
        IFlow,
        IIdentityPolicy,
        ILocator,
        IServerTransaction,
        ITransport,
    )
    from pysip.message import Request, Response
    from pysip.timers import TimerValues, TimerWheel
    from pysip.uri import Uri

KNOWN_METHODS = frozenset(
    (
        *("ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY", "OPTIONS", "PRACK"),
        *("PUBLISH", "REFER", "REGISTER", "SUBSCRIBE", "UPDATE"),
    )
)
"""Methods of SIP and its extensions: not allowed is 405, not known at all is 501 (UAS-01)."""

_SCHEMES = ("sip", "sips", "tel", "pres", "im")

Serve = Callable[["ServerRequest"], None]


class ServerRequest:
    """A request being served; it is answered exactly once.

    :ivar request: the message.
    :ivar flow: where it came from.
    :ivar identity: who sent it, proven.
    :ivar to_tag: tag for the To of the response; a new one when the request had none.
    """

    __slots__ = ("_transaction", "flow", "identity", "request", "to_tag", "ua")

    def __init__(
        self,
        ua: UserAgent,
        transaction: IServerTransaction,
        request: Request,
        identity: Identity,
        to_tag: str,
    ) -> None:
        self.ua = ua
        self._transaction = transaction
        self.request = request
        self.flow = transaction.flow
        self.identity = identity
        self.to_tag = to_tag

    def respond(
        self,
        status: int,
        reason: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> None:
        """Send the final response.

        :param reason: None for the standard phrase.
        :param headers: further header fields as (name, value).
        """
        if self.identity.info and status < 300 and not body:
            headers = (*headers, ("Authentication-Info", self.identity.info))
        if self.ua.network:
            headers = (*headers, *self.ua.charging_fields(self.request, self.identity))
        self._transaction.respond(
            encode_response(
                self.request,
                status,
                reason,
                to_tag=self.to_tag,
                headers=headers,
                body=body,
                content_type=content_type,
            ),
            status,
        )

    def refuse(self, error: SipError) -> None:
        """Send the response that the error carries."""
        self.respond(error.status, error.reason, error.headers, error.body, error.content_type)


@implementer(ITransactionUser)
class UserAgent:
    """A SIP user agent on any number of transports.

    :param clock: monotonic time.
    :param wheel: timers.
    :param locator: RFC 3263.
    :param identities: who may speak.
    :param agent: value of Server and User-Agent.
    :param tokens: random identifiers.
    :param values: timer values.
    :param limit: most server transactions alive.
    :param admission: overload control.

    :ivar supported: option tags for Supported; others in Require are refused (UAS-04).
    :ivar accept: media types for the Accept of an OPTIONS answer.
    :ivar events: event packages for Allow-Events (UAS-17).
    :ivar network: own network name for ``term-ioi`` and ``orig-ioi``, "" for none.
    :ivar draining: shutting down: requests that would make state get 503 (OVL-05).
    :ivar find: raises SipError when a request is for nothing that is here: 404 for the
        Request-URI, 481 for the dialog (UAS-01 steps 5 and 6).  Asked where the check of the
        method itself would come too late.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        wheel: TimerWheel,
        locator: ILocator,
        identities: IIdentityPolicy,
        *,
        agent: str = "",
        tokens: TokenSource | None = None,
        values: TimerValues | None = None,
        limit: int = 1_000_000,
        admission: IAdmissionControl | None = None,
    ) -> None:
        self.clock = clock
        self.wheel = wheel
        self.tokens = tokens or TokenSource()
        self.identities = identities
        self._secret = self.tokens.random(32).encode()
        self.layer = TransactionLayer(
            clock,
            wheel,
            self,
            self._secret,
            values,
            limit,
            admission,
        )
        if IResponseLocator.providedBy(locator):
            self.layer.alternatives = locator.response_targets
        self.sender = RequestSender(self.layer, locator, self.tokens, agent, self._prepare)
        self.supported: list[str] = ["gruu", "outbound"]
        self.accept: list[str] = []
        self.accept_encoding: list[str] = ["identity", "gzip", "deflate"]
        self.events: list[str] = []
        self.network = ""
        self.draining = False
        self.find: Callable[[Request], object] = _anything
        self._serve: dict[str, Serve] = {"OPTIONS": self._options}
        self._transports: list[ITransport] = []

    # -- set-up -------------------------------------------------------------------------

    def add_method(self, method: str, serve: Serve) -> None:
        """Serve a method; ``serve`` answers, or raises SipError or ParseError to refuse."""
        self._serve[method] = serve

    def start_transport(self, transport: ITransport) -> Deferred[None]:
        """Listen on ``transport`` and use it for sending."""
        self._transports.append(transport)
        self.layer.add_transport(transport)
        return transport.start(self.layer)

    @property
    def allow(self) -> str:
        """Value of Allow (UAS-02)."""
        return ", ".join((*self._serve, "CANCEL", "ACK"))

    def contact(self, flow: IFlow, user: str, sips: bool = False) -> str:
        """Our Contact value for a dialog reached over ``flow``: a GRUU (DLG-11, DLG-15).

        :param user: opaque token.
        :param sips: make it a sips URI, see :func:`pysip.dialog.wants_sips` (DLG-14).
        """
        if sips:
            secure = None if flow.secure else self.layer.transport("TLS", flow.remote[0])
            return f"<sips:{user}@{secure.sent_by if secure else flow.sent_by};gr>"
        # transport=tls is deprecated, yet without it a sip URI could not name the TLS port.
        transport = "" if flow.protocol == "UDP" else f";transport={flow.protocol.lower()}"
        return f"<sip:{user}@{flow.sent_by}{transport};gr>"

    def contact_on(self, protocol: str, user: str) -> str:
        """Our Contact value for a dialog that we begin over a transport (ROU-03).

        :param protocol: ``UDP``, ``TCP`` or ``TLS``.
        :raises LookupError: we do not listen there.
        """
        transport = self.layer.transport(protocol)
        if transport is None:
            raise LookupError(f"no transport for {protocol}")
        named = "" if protocol == "UDP" else f";transport={protocol.lower()}"
        return f"<sip:{user}@{transport.sent_by}{named};gr>"

    # -- serving ------------------------------------------------------------------------

    def request_received(self, transaction: IServerTransaction, request: Request) -> None:
        """Check a new request in the order of UAS-01 and hand it to its method."""
        to_tag = self.tokens.tag()  # for a To without one
        identity = None
        try:
            check_fields(request)
            to_tag = transaction.to_tag = request.to.tag or to_tag
            if self.draining and not request.to.tag:
                raise SipError(503, "Service Unavailable: shutting down", (("Retry-After", "10"),))
            identity = self.identities.identify(request, transaction.flow)
            serve = self._serve.get(request.method)
            if serve is None:
                status = 405 if request.method in KNOWN_METHODS else 501
                raise SipError(status, None, (("Allow", self.allow),))
            self._check_uri(request, transaction.flow)
            if transaction.merged:
                self.find(request)
                raise SipError(482, "Loop Detected: merged request")
            if "require" in request.headers:
                self.find(request)
                self._check_require(request)
            serve(ServerRequest(self, transaction, request, identity, to_tag))
        except Exception as error:
            self._refuse(transaction, request, to_tag, self._refusal(error, request), identity)

    def resume(self, served: ServerRequest, serve: Callable[[ServerRequest], None]) -> None:
        """Go on with a request that has waited for something; what fails is answered as ever."""
        try:
            serve(served)
        except Exception as error:
            served.refuse(self._refusal(error, served.request))

    def _refusal(self, error: Exception, request: Request) -> SipError:
        """The answer to a request whose serving has failed, called while that is handled."""
        if isinstance(error, SipError):
            return error
        if isinstance(error, ParseError):
            return SipError(400, f"Bad Request: {error}")
        # A bug; the request is answered and the server goes on.
        self._log.failure(
            "serving {method} failed (call {call})",
            method=request.method,
            call=correlation(request),
        )
        return SipError(500)

    def _refuse(
        self,
        transaction: IServerTransaction,
        request: Request,
        to_tag: str,
        error: SipError,
        identity: Identity | None,
    ) -> None:
        headers = error.headers
        if self.network and identity is not None:
            headers += self.charging_fields(request, identity)
        try:
            data = encode_response(
                request,
                error.status,
                error.reason,
                to_tag=to_tag,
                headers=headers,
                body=error.body,
                content_type=error.content_type,
            )
        except ParseError:
            return
        transaction.respond(data, error.status)

    def charging_fields(self, request: Request, identity: Identity) -> tuple[tuple[str, str], ...]:
        """The P-Charging-Vector of the response to a request of a trusted peer (IMS-13)."""
        vector = request.headers.get("p-charging-vector")
        if vector is None or identity.source != "asserted" or not self.network:
            return ()
        return (("P-Charging-Vector", with_term_ioi(vector[0], self.network)),)

    @staticmethod
    def _check_uri(request: Request, flow: IFlow) -> None:
        """Scheme of the Request-URI (UAS-01 step 5, TRN-24)."""
        scheme = request.uri.partition(":")[0].lower()
        if scheme not in _SCHEMES:
            raise SipError(416)
        if scheme == "sips" and not flow.secure:
            raise SipError(480, None, (("Warning", '380 sip "SIPS Not Allowed"'),))

    def _check_require(self, request: Request) -> None:
        unsupported = [
            tag
            for tag in parse_token_list(request.values("require"))
            if tag.lower() not in self.supported
        ]
        if unsupported:
            raise SipError(420, None, (("Unsupported", ", ".join(unsupported)),))

    def capabilities(self) -> list[tuple[str, str]]:
        """Header fields that tell what this server can do (UAS-10)."""
        fields = [
            ("Allow", self.allow),
            ("Accept", ", ".join(self.accept)),
            ("Accept-Encoding", ", ".join(self.accept_encoding)),
            ("Accept-Language", "en"),
            ("Supported", ", ".join(self.supported)),
        ]
        if self.events:
            fields.append(("Allow-Events", ", ".join(self.events)))
        return fields

    def _options(self, served: ServerRequest) -> None:
        self.find(served.request)
        served.respond(200, headers=self.capabilities())

    # -- sending ------------------------------------------------------------------------

    def request(
        self,
        request: Request,
        *,
        route: Sequence[str] = (),
        credentials: ClientCredentials | None = None,
        hop: Uri | None = None,
    ) -> Deferred[Response]:
        """Send a request and get its final response, whatever its status.

        Via, Max-Forwards, Content-Length and User-Agent are filled in.  The targets of
        RFC 3263 are tried in order (TXN-15); one challenge is answered with ``credentials``.

        :param request: with From (tag), To, Call-ID, CSeq, and Contact when it needs one.
        :param route: preloaded Route values (ROU-03, ROU-04).
        :param hop: next hop, when it is neither the first Route nor the Request-URI.
        :returns: the final response; its CSeq tells the number that was answered.
            Fails with :class:`pysip.errors.RequestTimeout` or
            :class:`pysip.errors.TransportError`.
        """
        return self.sender.send(request, route, credentials, hop)

    def _prepare(self, request: Request, flow: IFlow) -> None:
        """Make a request fit for the peer that it is about to go to (IMS-09, IMS-12)."""
        if not self.identities.trusted(flow):
            strip_private(request)
        elif self.network and "p-charging-vector" not in request.headers:
            request.set("P-Charging-Vector", self.charging_vector(request.call_id))

    def charging_vector(self, call_id: str) -> str:
        """A P-Charging-Vector for requests that we originate: one for each Call-ID (IMS-12)."""
        icid = hmac.digest(self._secret, call_id.encode("utf-8", "surrogateescape"), "sha256")
        return charging_vector(icid.hex()[:32], self.network)

    def stop(self) -> list[Deferred[None]]:
        """Stop the transports and forget the transactions."""
        self.layer.stop()
        return [transport.stop() for transport in self._transports]


def _anything(request: Request) -> None:
    """Find something for every request."""
