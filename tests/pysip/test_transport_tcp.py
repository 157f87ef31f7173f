"""Tests of :mod:`pysip.transport.tcp` on real sockets."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from pysip.transport.stream import StreamFlow, StreamSettings
from pysip.transport.tcp import TcpTransport
from tests.pysip.transports import Inbox, Listener, message

if TYPE_CHECKING:
    from collections.abc import Callable


class TcpSocketTests(TestCase):
    """Socket options, and peers that read nothing."""

    async def started(self, host: str = "127.0.0.1", **settings: Any) -> TcpTransport:
        """A transport with an Inbox."""
        transport = TcpTransport(
            reactor,  # type: ignore[arg-type]
            host,
            0,
            settings=StreamSettings(close_timeout=0.1, **settings),
        )
        await transport.start(Inbox())
        self.addCleanup(transport.stop)
        return transport

    async def until(self, true: Callable[[], object]) -> None:
        """Let the network work until ``true()``."""
        for _ in range(400):
            if true():
                return
            await deferLater(reactor, 0.005)
        self.fail("it did not happen within two seconds")

    def test_dscp(self) -> Deferred[None]:
        """TRN-27: both ends of a connection mark their packets CS3, and do not delay them."""

        async def go() -> None:
            a, b = await self.started(), await self.started()
            flow = a.flow_to(b.local)
            flow.send(message())
            await self.until(lambda: b.receiver.requests)  # type: ignore[union-attr]
            ends: list[Any] = [flow, b.receiver.requests[0][1]]  # type: ignore[union-attr]
            for end in ends:
                sock = end.transport.getHandle()
                self.assertEqual(sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2, 24)
                self.assertTrue(end.transport.getTcpNoDelay())
                self.assertTrue(end.transport.getTcpKeepAlive())

        return Deferred.fromCoroutine(go())

    def test_source(self) -> Deferred[None]:
        """A connection leaves from the address we listen on."""

        async def go() -> None:
            a, b = await self.started("127.0.0.2"), await self.started()
            a.flow_to(b.local).send(message())
            await self.until(lambda: b.receiver.requests)  # type: ignore[union-attr]
            [(_, flow)] = b.receiver.requests  # type: ignore[union-attr]
            self.assertEqual(flow.remote[0], "127.0.0.2")

        return Deferred.fromCoroutine(go())

    def test_wildcards(self) -> Deferred[None]:
        """The wildcards of both families are bound apart; a flow shows a real address."""

        async def go() -> None:
            four = await self.started("0.0.0.0")
            six = TcpTransport(reactor, "::", four.local[1])  # type: ignore[arg-type]
            await six.start(Inbox())
            self.addCleanup(six.stop)
            client = await self.started()
            client.flow_to(("127.0.0.1", four.local[1])).send(message())
            await self.until(lambda: four.receiver.requests)  # type: ignore[union-attr]
            [(_, flow)] = four.receiver.requests  # type: ignore[union-attr]
            self.assertEqual(flow.remote[0], "127.0.0.1")
            self.assertEqual(flow.sent_by, f"127.0.0.1:{four.local[1]}")

        return Deferred.fromCoroutine(go())

    def test_peer_that_does_not_read(self) -> Deferred[None]:
        """TRN-28: its unsent messages are bounded; then it is cut off and senders told."""

        async def go() -> None:
            a = await self.started(queue_octets=1_000_000)
            with socket.create_server(("127.0.0.1", 0)) as server:
                flow = a.flow_to(server.getsockname())
                assert isinstance(flow, StreamFlow)
                listener = Listener(flow)
                await deferLater(reactor, 0.01)
                peer, _ = server.accept()
                with peer:
                    for _ in range(100):
                        if flow.closed:
                            break
                        for _ in range(10):
                            flow.send(bytes(100_000))
                        self.assertLessEqual(flow._queued, 1_100_000)
                        await deferLater(reactor, 0)
                    await self.until(lambda: listener.errors)
            self.assertEqual(listener.errors, ["peer does not read"])

        return Deferred.fromCoroutine(go())

    def test_stop_with_a_peer_that_does_not_read(self) -> Deferred[None]:
        """``stop`` gives up on such a peer after a while."""

        async def go() -> None:
            a = await self.started()
            with socket.create_server(("127.0.0.1", 0)) as server:
                flow = a.flow_to(server.getsockname())
                await deferLater(reactor, 0.01)
                peer, _ = server.accept()
                with peer:
                    for _ in range(100):
                        flow.send(bytes(100_000))
                        await deferLater(reactor, 0)
                    await a.stop()

        return Deferred.fromCoroutine(go())
