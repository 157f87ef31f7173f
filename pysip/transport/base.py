"""What all transports share: delivery upwards, failure reports, our own address.

Requirements TRN-03, TRN-15, TRN-25, TRN-27 of ``sip-core.md``.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IReactorFDSet,
    IReactorSocket,
    IReactorTCP,
    IReactorTime,
)
from twisted.logger import Logger

from pysip.correlate import correlation
from pysip.errors import TransportError
from pysip.message import Request
from pysip.parse import DEFAULT_LIMITS, BadMessage, Ignored, Limits, parse_message

if TYPE_CHECKING:
    from pysip.interfaces import Address, IFlow, IFlowListener, IMessageReceiver, IMessageTap
    from pysip.message import Response

DSCP_CS3 = 24
"""Class selector for signalling (RFC 4594 section 3, TRN-27)."""

DEFAULT_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061}


class IDatagramReactor(IReactorTime, IReactorFDSet):
    """What a UDP transport needs of the reactor."""


class IStreamReactor(IReactorTime, IReactorTCP, IReactorSocket):
    """What a TCP or TLS transport needs of the reactor."""


def is_ipv6(host: str) -> bool:
    """Whether a numeric host is an IPv6 address (without brackets)."""
    return ":" in host


def host_port(host: str, port: int) -> str:
    """``host:port`` with brackets around an IPv6 address (TRN-03)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def canonical_host(host: str) -> str | None:
    """The numeric ``host`` as the kernel spells it, or None when it is no IP address."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return None


def is_wildcard(host: str) -> bool:
    """Whether binding to ``host`` means every local address."""
    return host in ("", "0.0.0.0", "::")  # noqa: S104 - a comparison, nothing is bound


def local_host_toward(host: str) -> str:
    """Our address on the route to the numeric ``host``; no packet is sent.

    :returns: a loopback address when there is no route, or ``host`` is a name: the
        socket would look it up, and block.
    """
    if canonical_host(host) is None:
        return "127.0.0.1"
    family = socket.AF_INET6 if is_ipv6(host) else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
            found: str = probe.getsockname()[0]
        except OSError:
            return "::1" if is_ipv6(host) else "127.0.0.1"
    return found


def set_dscp(sock: socket.socket, dscp: int) -> None:
    """Mark what ``sock`` sends with a differentiated services code point (TRN-27).

    :param dscp: 0 to 63; 0 leaves the socket alone.
    """
    if not dscp:
        return
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)


def bound_socket(kind: socket.SocketKind, interface: str, port: int) -> socket.socket:
    """A non-blocking socket bound to ``interface`` and ``port`` (0: the system chooses).

    :raises OSError: the address is not ours or in use.
    """
    family = socket.AF_INET6 if is_ipv6(interface) else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            # Two listening points, one per family: else IPv4 peers of a wildcard
            # would show up as ::ffff:a.b.c.d and never equal their own address.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((interface, port))
    except OSError:
        sock.close()
        raise
    return sock


def cannot_listen(host: str, port: int, cause: OSError) -> CannotListenError:
    """The error of :meth:`pysip.interfaces.ITransport.start` for an address in use."""
    return CannotListenError(host, port, cause)


class Transport:
    """Base of the listening points.

    :ivar received: messages and malformed messages that arrived.
    :ivar sent: messages handed to the network.
    :ivar malformed: messages that could not be parsed.
    :ivar dropped: messages that could not be sent, and keep-alive datagrams.
    :ivar tap: who sees all messages, as a rule nobody (OBS-02).
    """

    protocol = ""
    reliable = False
    secure = False

    def __init__(
        self,
        clock: IReactorTime,
        address: Address,
        *,
        advertise: str = "",
        limits: Limits | None = None,
    ) -> None:
        """Keep the settings; nothing is opened.

        :param address: numeric address to bind; port 0 lets the system choose.
        :param advertise: ``host`` or ``host:port`` to show in Via instead of the bound one.
        """
        self.clock = clock
        self.local: Address = address
        self.limits = limits or DEFAULT_LIMITS
        self.received = 0
        self.sent = 0
        self.malformed = 0
        self.dropped = 0
        self.tap: IMessageTap | None = None
        self.log = Logger(namespace=f"pysip.transport.{self.protocol.lower()}")
        self.receiver: IMessageReceiver | None = None
        self._advertised_host, self._advertised_port = _split_advertised(advertise)
        self._failures: dict[IFlow, TransportError] = {}

    @property
    def sent_by(self) -> str:
        """Advertised ``host:port``; the bound address unless told otherwise."""
        host = self._advertised_host or self.local[0]
        if is_wildcard(host):
            # Documentation addresses: what counts is the interface of the default route.
            host = local_host_toward("2001:db8::1" if is_ipv6(host) else "192.0.2.1")
        return host_port(host, self._advertised_port or self.local[1])

    def sent_by_toward(self, host: str) -> str:
        """Our ``host:port`` as the numeric peer ``host`` can reach it."""
        if self._advertised_host or not is_wildcard(self.local[0]):
            return self.sent_by
        return host_port(local_host_toward(host), self._advertised_port or self.local[1])

    def deliver_datagram(self, data: bytes, flow: IFlow) -> None:
        """Parse one datagram and hand it up; never raises."""
        try:
            message = parse_message(data, self.limits)
        except Ignored:
            self.dropped += 1  # TRN-15: no log entry per packet
        except BadMessage as error:
            self.deliver(error, flow)
        else:
            self.deliver(message, flow)

    def deliver(self, message: Request | Response | BadMessage, flow: IFlow) -> None:
        """Hand one message to the receiver; never raises.

        An error above is a bug there.  It is logged, and must not take the socket down
        with it, which serves every other peer.
        """
        self.received += 1
        receiver = self.receiver
        if receiver is None:
            return
        if self.tap is not None:
            self.tap.received(message, flow)
        try:
            if message.__class__ is Request:
                receiver.request_received(message, flow)
            elif isinstance(message, BadMessage):
                self.malformed += 1
                receiver.malformed(message, flow)
            else:
                receiver.response_received(message, flow)  # type: ignore[arg-type]
        except Exception:
            told = message.message if isinstance(message, BadMessage) else message
            self.log.failure(
                "serving a message that came by {protocol} failed (call {call})",
                protocol=self.protocol,
                call=correlation(told) if told is not None else "",
            )

    def fail(self, flow: IFlow, error: TransportError) -> None:
        """Tell the listeners of ``flow`` in the next reactor turn, once (TRN-25).

        Later, because the failure may come to light inside ``flow.send``, in the middle
        of what its caller does.
        """
        if not self._failures:
            self.clock.callLater(0, self._report_failures)
        self._failures.setdefault(flow, error)

    def _report_failures(self) -> None:
        failures, self._failures = self._failures, {}
        for flow, error in failures.items():
            listeners = list(flow.listeners)
            if flow.closed:
                flow.listeners.clear()
            self.tell(flow, listeners, error)

    def tell(self, flow: IFlow, listeners: list[IFlowListener], error: TransportError) -> None:
        """Tell ``listeners`` that ``flow`` has failed; an error in one spares the others."""
        for listener in listeners:
            try:
                listener.flow_failed(flow, error)
            except Exception:
                self.log.failure(
                    "Reporting a failed {protocol} flow failed", protocol=self.protocol
                )


def _split_advertised(text: str) -> tuple[str, int]:
    """Host (no brackets) and port (0 if absent) of an ``advertise`` setting."""
    if not text:
        return "", 0
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("advertise: host, host:port or [IPv6]:port is expected")
    # a sent-by is compared without regard to case when a response comes back (VIA-06)
    return host.lower(), int(port or 0)
