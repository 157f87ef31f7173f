"""Interfaces between the layers of the SIP stack.

::

    pysip.event -> pysip.dialog, pysip.ua -> pysip.transaction -> pysip.transport
                -> pysip.message, pysip.parse, pysip.header, pysip.uri (pure)

Requests and responses travel as :class:`pysip.message.Request` and
:class:`pysip.message.Response`; addresses are ``(host, port)`` with a numeric host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from pysip.errors import TransportError
    from pysip.header import Via
    from pysip.message import Request, Response
    from pysip.parse import BadMessage
    from pysip.uri import Uri

Address = tuple[str, int]
"""Numeric host (IPv6 without brackets) and port."""


class IFlow(Interface):
    """One way to reach one peer: a UDP address pair or a stream connection.

    A flow that was received on is where responses go, and requests that target it.
    """

    protocol: str = Attribute("Transport name as in a Via header: ``UDP``, ``TCP`` or ``TLS``.")
    reliable: bool = Attribute("True for stream transports: no retransmission.")
    secure: bool = Attribute("True over TLS.")
    remote: Address = Attribute("Numeric address of the peer.")
    sent_by: str = Attribute("Our ``host:port`` for the Via of requests sent on this flow.")
    names: frozenset[str] = Attribute(
        "Identities of the peer's verified TLS certificate, lower case (RFC 5922); empty else."
    )
    closed: bool = Attribute("True once nothing can be sent on it any more.")
    listeners: set[IFlowListener] = Attribute(
        "Who is told when the flow fails; a listener adds and discards itself."
    )

    def send(data: bytes) -> None:
        """Send one message; never raises.  Failures reach the listeners.

        A stream flow that is still connecting queues, bounded (TRN-26, TRN-28).
        """


class IFlowListener(Interface):
    """Somebody with an interest in a flow, as a rule a client transaction."""

    def flow_failed(flow: IFlow, error: TransportError) -> None:
        """The flow is gone, or (UDP) the peer is unreachable by ICMP (TRN-25)."""


class IMessageReceiver(Interface):
    """What a transport delivers to: the transaction layer."""

    def request_received(request: Request, flow: IFlow) -> None:
        """A well-formed request has arrived on ``flow``."""

    def response_received(response: Response, flow: IFlow) -> None:
        """A well-formed response has arrived on ``flow``."""

    def malformed(error: BadMessage, flow: IFlow) -> None:
        """Something that is no proper message has arrived (MSG-17); answer if it can be."""


class IMessageTap(Interface):
    """Who sees all messages of a transport, for traces (OBS-02); its methods do not raise."""

    def received(message: Request | Response | BadMessage, flow: IFlow) -> None:
        """A message has arrived; it is not to be changed."""

    def sent(data: bytes, flow: IFlow) -> None:
        """A message is about to leave on ``flow``; retransmissions come here as well."""


class ITransport(Interface):
    """A listening point of one transport protocol (RFC 3261 section 18)."""

    protocol: str = Attribute("``UDP``, ``TCP`` or ``TLS``.")
    reliable: bool = Attribute("True for stream transports.")
    secure: bool = Attribute("True for TLS.")
    local: Address = Attribute("Bound address; the port is real once started.")
    sent_by: str = Attribute("Advertised ``host:port`` (brackets around IPv6).")
    tap: IMessageTap | None = Attribute("Who sees all messages, as a rule nobody.")
    received: int = Attribute("Messages that have arrived, malformed ones too (OBS-01).")
    sent: int = Attribute("Messages handed to the network.")
    malformed: int = Attribute("Messages that could not be parsed.")
    dropped: int = Attribute("Messages that could not be sent, and keep-alive datagrams.")

    def start(receiver: IMessageReceiver) -> Deferred[None]:
        """Bind and listen; from now on messages go to ``receiver``.

        :raises twisted.internet.error.CannotListenError: (in the Deferred) address in use.
        """

    def flow_to(address: Address, name: str = "") -> IFlow:
        """The flow to ``address``: an open one if there is one, else a new one (TRN-20).

        :param name: domain the peer must prove by certificate (TLS; TRN-22, DNS-10).
        """

    def stop() -> Deferred[None]:
        """Stop listening and close all flows; fires when nothing is left open."""


@attrs.frozen(slots=True)
class Target:
    """One place to try for a request, the result of RFC 3263 location.

    :ivar protocol: ``UDP``, ``TCP`` or ``TLS``.
    :ivar address: numeric address.
    :ivar name: original domain, for TLS certificate checks (DNS-10).
    :ivar sized: True when size may move the request from UDP to TCP (TRN-05).
    """

    protocol: str
    address: Address
    name: str = ""
    sized: bool = True


class ILocator(Interface):
    """RFC 3263: from a URI to the ordered list of places to try."""

    def immediate(uri: Uri) -> Target | None:
        """The only target of ``uri`` when that takes no lookup (numeric or static), else None."""

    def locate(uri: Uri) -> Deferred[list[Target]]:
        """All targets of ``uri`` in the order to try; empty when it resolves to nothing.

        :raises pysip.errors.TransportError: (in the Deferred) the lookup itself failed.
        """

    def failed(target: Target, seconds: float) -> None:
        """Do not offer ``target`` first for so long (DNS-07, UAC-08)."""


class IResponseLocator(Interface):
    """RFC 3263 section 5: a locator that knows other ways for responses."""

    def response_targets(via: Via) -> Deferred[list[Target]]:
        """Where else a response may go when its way back has failed (DNS-08).

        :param via: the top Via of the request.
        :raises pysip.errors.TransportError: (in the Deferred) the lookup itself failed.
        """


class IServerTransaction(Interface):
    """A received request, answered exactly once with a final response (RFC 3261 17.2)."""

    flow: IFlow = Attribute("Where the request came from.")
    to_tag: str = Attribute("Tag of our responses, once chosen: a CANCEL is answered with it too.")
    merged: bool = Attribute("The same request is being served already, by another path (UAS-03).")

    def respond(data: bytes, status: int) -> None:
        """Send (and keep for retransmissions) the response ``data``.

        Later finals are discarded (TXN-07).
        """


class IClientTransaction(Interface):
    """A request under way to one target (RFC 3261 17.1)."""

    branch: str = Attribute("Branch of its Via.")
    method: str = Attribute("Method of its request.")


class IClientTransactionUser(Interface):
    """Owner of a client transaction; exactly one final call per transaction."""

    def response_received(transaction: IClientTransaction, response: Response) -> None:
        """A provisional or (once) the final response."""

    def transaction_failed(transaction: IClientTransaction, status: int) -> None:
        """It ended without a final response: 408 on timeout, 503 on transport error (TXN-14)."""


class ITransactionUser(Interface):
    """The UAS core on top of the server transactions."""

    def request_received(transaction: IServerTransaction, request: Request) -> None:
        """A new request; retransmissions do not come here.  ACK never does."""


@attrs.frozen(slots=True)
class Identity:
    """Who sent a request, as far as it is proven.

    :ivar uris: canonical URIs (:func:`pysip.uri.canonical_aor`), the principal first;
        empty when anonymous or unauthenticated.
    :ivar display_name: display name that came with the proven identity, or "".
    :ivar anonymous: the sender asked a trusted peer for privacy (IMS-04, IMS-06).
    :ivar source: ``"asserted"``, ``"digest"`` or ``"none"`` (lab mode of AUT-01).
    :ivar info: Authentication-Info for the 2xx to this request (AUT-10), or "".
    """

    uris: tuple[str, ...]
    display_name: str = ""
    anonymous: bool = False
    source: str = "none"
    info: str = ""

    @property
    def uri(self) -> str:
        """The principal URI, ``sip:anonymous@anonymous.invalid`` when there is none."""
        return self.uris[0] if self.uris else "sip:anonymous@anonymous.invalid"


class IIdentityPolicy(Interface):
    """Who may speak, and who are they (sip-core.md sections 8 and 9)."""

    def identify(request: Request, flow: IFlow) -> Identity:
        """The proven identity of the sender.

        :raises pysip.errors.SipError: 401 with challenges, 403, or 400 for bad credentials
            syntax.
        """

    def trusted(flow: IFlow) -> bool:
        """Whether the peer of ``flow`` belongs to the trust domain (IMS-01)."""


class ICredentialSource(Interface):
    """Digest accounts, held in memory: no lookup may block."""

    def ha1(username: str, realm: str, algorithm: str) -> str | None:
        """``H(user:realm:password)`` in lower-case hex, or None for an unknown user.

        :param algorithm: ``MD5``, ``SHA-256`` or ``SHA-512-256``.
        """

    def identities(username: str, realm: str) -> tuple[str, ...]:
        """Canonical public identities of the account, the default one first (AUT-11)."""


class INonceStore(Interface):
    """Counts the use of nonces (AUT-06)."""

    def use(nonce: str, count: int, scope: str) -> bool:
        """Note that ``count`` (nc) was seen; False when it is a replay.

        :param scope: header field the credentials came in (CLI-06 counts them apart).
        """


class IAdmissionControl(Interface):
    """Refuses work before latency collapses (sip-core.md section 10)."""

    def admit(method: str, initial: bool) -> int:
        """0 to go on, else the seconds for ``Retry-After`` of a stateless 503.

        :param initial: True for a request outside any dialog that creates state; refreshes
            are shed last.
        """


class IRegistrationDelegate(Interface):
    """Owner of a client registration (:class:`pysip.registration.Registration`)."""

    def registered(lifetime: int) -> None:
        """The contact is bound for ``lifetime`` seconds; it will be refreshed."""

    def registration_failed(response: Response | None, retry_after: float | None) -> None:
        """REGISTER was refused or not answered (None); ``retry_after`` when tried again."""
