"""SIP over UDP (RFC 3261 section 18): an own reader on the reactor.

Twisted's datagram port costs a call and an address object per datagram; here one wake-up
reads a batch, and what belongs to a peer is looked up, not made.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadWriteDescriptor
from zope.interface import implementer

from pysip.errors import TransportError
from pysip.interfaces import IFlow, ITransport
from pysip.transport.base import (
    DSCP_CS3,
    IDatagramReactor,
    Transport,
    bound_socket,
    cannot_listen,
    canonical_host,
    is_ipv6,
    set_dscp,
)

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from pysip.interfaces import Address, IFlowListener, IMessageReceiver
    from pysip.parse import Limits

BATCH = 128
"""Datagrams read per wake-up, so that timers and streams get their turn."""

BUFFER = 4 * 1024 * 1024
"""Kernel socket buffer asked for, octets; the system may grant less (net.core.rmem_max)."""

LARGEST = 65535
"""Largest datagram, octets (TRN-04)."""

MAX_FLOWS = 65536
"""Peers remembered."""

MAX_QUEUED = 4096
"""Datagrams that wait while the kernel's send buffer is full."""

# Linux socket interface (ip(7), ipv6(7), linux/errqueue.h); not in the socket module.
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_MSG_ERRQUEUE = 0x2000
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_ORIGIN_ICMP = 2
_ORIGIN_ICMP6 = 3

_Sockaddr = Any
"""(host, port) or (host, port, flow information, scope), as the socket module has it."""


@implementer(IFlow)
class UdpFlow:
    """The way to one peer over one UDP socket."""

    __slots__ = ("_sent_by", "_sockaddr", "_transport", "closed", "listeners", "remote")

    protocol = "UDP"
    reliable = False
    secure = False
    names: frozenset[str] = frozenset()

    def __init__(self, transport: UdpTransport, remote: Address, sockaddr: _Sockaddr) -> None:
        self._transport = transport
        self._sockaddr = sockaddr
        self._sent_by = ""
        self.remote = remote
        self.closed = False
        self.listeners: set[IFlowListener] = set()

    @property
    def sent_by(self) -> str:
        """Our ``host:port`` for the Via of requests to this peer."""
        if not self._sent_by:
            self._sent_by = self._transport.sent_by_toward(self.remote[0])
        return self._sent_by

    def send(self, data: bytes) -> None:
        """Send one datagram, at once if the kernel takes it; never raises."""
        self._transport.send(data, self)


@implementer(ITransport, IReadWriteDescriptor)
class UdpTransport(Transport):
    """A UDP listening point.

    :ivar queue_limit: datagrams that may wait for the kernel (``MAX_QUEUED``).
    """

    protocol = "UDP"

    def __init__(
        self,
        reactor: IDatagramReactor,
        interface: str,
        port: int,
        *,
        advertise: str = "",
        dscp: int = DSCP_CS3,
        limits: Limits | None = None,
        max_flows: int = MAX_FLOWS,
        buffer: int = BUFFER,
    ) -> None:
        """Keep the settings; :meth:`start` binds.

        :param interface: numeric address; ``0.0.0.0`` or ``::`` for all of a family.
        :param advertise: ``host`` or ``host:port`` for Via.
        :param dscp: differentiated services code point, 0 for none (TRN-27).
        :param max_flows: peers remembered; the oldest unused are forgotten.
        :param buffer: kernel buffer in each direction, octets.
        """
        super().__init__(reactor, (interface, port), advertise=advertise, limits=limits)
        self.queue_limit = MAX_QUEUED
        self._reactor = reactor
        self._dscp = dscp
        self._buffer = buffer
        self._max_flows = max_flows
        self._flows: dict[_Sockaddr, UdpFlow] = {}
        self._queue: deque[tuple[bytes, UdpFlow]] = deque()
        self._socket: socket.socket | None = None

    def start(self, receiver: IMessageReceiver) -> Deferred[None]:
        """Bind and read; see :meth:`pysip.interfaces.ITransport.start`."""
        host, port = self.local
        try:
            sock = bound_socket(socket.SOCK_DGRAM, host, port)
        except OSError as error:
            return fail(cannot_listen(host, port, error))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffer)
        set_dscp(sock, self._dscp)
        if is_ipv6(host):
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        self.local = (host, sock.getsockname()[1])
        self.receiver = receiver
        self._socket = sock
        self._reactor.addReader(self)
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Close the socket; every flow is closed and its listeners are told."""
        sock = self._socket
        if sock is not None:
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._socket = None
            sock.close()
            self._queue.clear()
            for flow in self._flows.values():
                flow.closed = True
                if flow.listeners:
                    self.fail(flow, TransportError("transport is stopped"))
            self._flows.clear()
        return succeed(None)

    def flow_to(self, address: Address, name: str = "") -> IFlow:
        """The flow to a numeric ``address``; ``name`` has no meaning over UDP."""
        known = self._flows
        flow = known.get(address) or known.get((*address, 0, 0))
        if flow is not None:
            return flow
        host, port = canonical_host(address[0]), address[1]
        if (
            self._socket is None
            or host is None
            or is_ipv6(host) != is_ipv6(self.local[0])
            or not 0 < port < 65536
        ):
            # A name is never given to the socket: it would look it up, and block.
            flow = UdpFlow(self, address, address)
            flow.closed = True
            return flow
        sockaddr = (host, port, 0, 0) if is_ipv6(host) else (host, port)
        return self._flows.get(sockaddr) or self._new_flow(sockaddr)

    def _new_flow(self, sockaddr: _Sockaddr) -> UdpFlow:
        flows = self._flows
        if len(flows) >= self._max_flows:
            # Forget the oldest; spare flows that somebody listens to, as far as a
            # bounded look goes.  A forgotten flow can still send.
            for _ in range(8):
                oldest = next(iter(flows))
                known = flows.pop(oldest)
                if not known.listeners:
                    break
                flows[oldest] = known
            else:
                del flows[next(iter(flows))]
        flow = flows[sockaddr] = UdpFlow(self, (sockaddr[0], sockaddr[1]), sockaddr)
        return flow

    # -- sending

    def send(self, data: bytes, flow: UdpFlow) -> None:
        """Send ``data`` to the peer of ``flow``, or queue it, or report the failure."""
        if self.tap is not None:
            self.tap.sent(data, flow)
        if self._queue:
            self._enqueue(data, flow)
            return
        sock = self._socket
        if sock is None or flow.closed:
            self._refuse(flow, "flow is closed")
            return
        try:
            sock.sendto(data, flow._sockaddr)
        except OSError as error:
            self._send_failed(error, data, flow)
        else:
            self.sent += 1

    def _send_failed(self, error: OSError, data: bytes, flow: UdpFlow) -> None:
        sock = self._socket
        if sock is not None and self._drain_errors():
            # The kernel reports the fate of an earlier datagram, maybe to another
            # peer, at the next call on the socket: this one was not even tried.
            try:
                sock.sendto(data, flow._sockaddr)
            except OSError as again:
                error = again
            else:
                self.sent += 1
                return
        if error.errno in (errno.EAGAIN, errno.ENOBUFS):
            self._enqueue(data, flow)
        else:
            self._refuse(flow, _cause(error.errno or 0))

    def _enqueue(self, data: bytes, flow: UdpFlow) -> None:
        if len(self._queue) >= self.queue_limit:
            self._refuse(flow, "send queue is full")
            return
        if not self._queue:
            self._reactor.addWriter(self)
        self._queue.append((data, flow))

    def _refuse(self, flow: UdpFlow, cause: str) -> None:
        self.dropped += 1
        self.fail(flow, TransportError(cause))

    # -- called by the reactor

    def fileno(self) -> int:
        """Descriptor for the reactor; -1 once stopped."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """Name in the reactor's own log entries."""
        return "sip-udp"

    def doRead(self) -> None:
        """Read and deliver up to ``BATCH`` datagrams."""
        sock = self._socket
        if sock is None:
            return
        recvfrom = sock.recvfrom
        known = self._flows.get
        deliver = self.deliver_datagram
        for _ in range(BATCH):
            try:
                data, sockaddr = recvfrom(LARGEST)
            except BlockingIOError:
                return
            except OSError:
                if self._socket is None:
                    return  # stopped by what was just delivered
                self._drain_errors()
                continue
            deliver(data, known(sockaddr) or self._new_flow(sockaddr))

    def doWrite(self) -> None:
        """Send what waits, as far as the kernel takes it."""
        sock, queue = self._socket, self._queue
        while sock is not None and queue:
            data, flow = queue[0]
            try:
                sock.sendto(data, flow._sockaddr)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.ENOBUFS):
                    return
                if self._drain_errors():
                    continue
                self._refuse(flow, _cause(error.errno or 0))
            else:
                self.sent += 1
            queue.popleft()
        self._reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has seen an error condition on the socket.

        The epoll and poll reactors take EPOLLERR without EPOLLIN for the end of a
        connection: they remove the descriptor and call this with ``ConnectionDone``.  On a
        UDP socket it only says that the error queue holds an ICMP report, so the queue is
        read and the socket put back.  Anything else (a reactor that shuts down) does
        close it.
        """
        if self._socket is None:
            return
        if not isinstance(reason.value, ConnectionDone):
            self.stop()
            return
        self._drain_errors()
        self._reactor.addReader(self)
        if self._queue:
            self._reactor.addWriter(self)

    def _drain_errors(self) -> int:
        """Read the socket's error queue and report unreachable peers (TRN-25).

        :returns: number of reports read.
        """
        sock, count = self._socket, 0
        while sock is not None and count < BATCH:
            try:
                _, ancillary, _, sockaddr = sock.recvmsg(0, 512, _MSG_ERRQUEUE)
            except OSError:
                break
            count += 1
            flow = self._flows.get(sockaddr)
            if flow is None:
                continue
            for _level, kind, data in ancillary:
                if kind not in (_IP_RECVERR, _IPV6_RECVERR) or len(data) < _EXTENDED_ERROR.size:
                    continue
                code = _EXTENDED_ERROR.unpack_from(data)
                if _is_unreachable(code[1], code[2], code[3]):
                    self.fail(flow, TransportError(_cause(code[0])))
        # A pending error code without a queue entry would wake the reactor for ever.
        if sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) and not count:
            count = 1
        return count


def _is_unreachable(origin: int, kind: int, code: int) -> bool:
    """Whether an ICMP report fails a flow (RFC 3261 section 18.4).

    Destination unreachable and parameter problem do; source quench, time exceeded and
    packet too big (the kernel learns the path MTU from it) do not.
    """
    if origin == _ORIGIN_ICMP:
        return (kind == 3 and code != 4) or kind == 12
    if origin == _ORIGIN_ICMP6:
        return kind in (1, 4)
    return False


def _cause(number: int) -> str:
    return os.strerror(number).lower()
