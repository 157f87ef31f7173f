"""Tests of the faults of :mod:`pysip.transport.loop`."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pysip.transport.loop import LoopNetwork
from pysip.transport.stream import StreamSettings
from tests.pysip.transports import Inbox, Listener, message

A, B, C = ("192.0.2.1", 5060), ("192.0.2.2", 5060), ("192.0.2.3", 5060)


class LoopTestCase(SynchronousTestCase):
    """Makes networks."""

    def network(self, seed: int = 1) -> LoopNetwork:
        """A network on a new clock."""
        self.clock = Clock()
        return LoopNetwork(self.clock, seed)

    def node(
        self, network: LoopNetwork, address: Any, protocol: str = "UDP", **options: Any
    ) -> Any:
        """A started transport with an Inbox."""
        transport = network.transport(address, protocol, **options)
        self.successResultOf(transport.start(Inbox()))
        return transport

    def arrivals(self, count: int = 200, seed: int = 1, **faults: Any) -> list[str]:
        """Call-IDs in the order in which ``count`` datagrams arrive."""
        network = self.network(seed)
        for name, value in faults.items():
            setattr(network, name, value)
        a, b = self.node(network, A), self.node(network, B)
        for i in range(count):
            a.flow_to(B).send(message(str(i)))
        self.clock.advance(10)
        return list(b.receiver.call_ids)


class DatagramFaultTests(LoopTestCase):
    """What may happen to datagrams."""

    def test_ideal(self) -> None:
        """Without faults everything arrives once and in order."""
        self.assertEqual(self.arrivals(), [str(i) for i in range(200)])

    def test_loss(self) -> None:
        """About the given share is lost."""
        self.assertTrue(120 < len(self.arrivals(loss=0.25)) < 175)
        self.assertEqual(self.arrivals(loss=1.0), [])

    def test_duplicate(self) -> None:
        """About the given share arrives twice."""
        found = self.arrivals(duplicate=0.25)
        self.assertTrue(225 < len(found) < 280)
        self.assertEqual(len(set(found)), 200)

    def test_delay(self) -> None:
        """Datagrams arrive within the bounds, and so may overtake each other."""
        network = self.network()
        network.delay = (0.1, 0.3)
        a, b = self.node(network, A), self.node(network, B)
        for i in range(100):
            a.flow_to(B).send(message(str(i)))
        self.clock.advance(0.099)
        self.assertEqual(b.receiver.call_ids, [])
        self.clock.advance(0.202)
        self.assertEqual(len(b.receiver.call_ids), 100)
        self.assertNotEqual(b.receiver.call_ids, [str(i) for i in range(100)])

    def test_reorder(self) -> None:
        """About the given share comes late."""
        found = self.arrivals(reorder=0.1)
        self.assertEqual(sorted(found, key=int), [str(i) for i in range(200)])
        self.assertNotEqual(found, sorted(found, key=int))

    def test_same_seed_same_run(self) -> None:
        """A seed fixes the run."""
        faults: dict[str, Any] = {
            "loss": 0.2,
            "duplicate": 0.2,
            "reorder": 0.2,
            "delay": (0.01, 0.1),
        }
        self.assertEqual(self.arrivals(**faults), self.arrivals(**faults))
        self.assertNotEqual(self.arrivals(**faults), self.arrivals(seed=2, **faults))

    def test_cut(self) -> None:
        """Between parted hosts nothing passes, and nobody is told; others are reached."""
        network = self.network()
        a, b, c = (self.node(network, address) for address in (A, B, C))
        network.cut(A[0], B[0])
        listener = Listener(a.flow_to(B))
        for target in (B, C):
            a.flow_to(target).send(message("1"))
        b.flow_to(A).send(message("2"))
        self.clock.advance(1)
        self.assertEqual((b.receiver.call_ids, a.receiver.call_ids), ([], []))
        self.assertEqual(c.receiver.call_ids, ["1"])
        self.assertEqual(listener.errors, [])
        network.heal(A[0], B[0])
        a.flow_to(B).send(message("3"))
        self.clock.advance(1)
        self.assertEqual(b.receiver.call_ids, ["3"])

    def test_tap(self) -> None:
        """A tap sees what is sent, even what is lost later."""
        network = self.network()
        network.loss = 1.0
        seen: list[Any] = []
        network.taps.append(lambda *what: seen.append(what))
        a = self.node(network, A)
        a.flow_to(B).send(b"data")
        self.assertEqual(seen, [("UDP", A, B, b"data")])


class StreamFaultTests(LoopTestCase):
    """What may happen to connections."""

    def pair(self, **settings: Any) -> tuple[LoopNetwork, Any, Any]:
        """Two TCP nodes."""
        network = self.network()
        limits = StreamSettings(**settings)
        a = self.node(network, A, "TCP", settings=limits)
        return network, a, self.node(network, B, "TCP", settings=limits)

    def test_order_is_kept(self) -> None:
        """TRN-16: with delays and random segments the octets stay in order."""
        network, a, b = self.pair()
        network.delay, network.segment = (0.01, 0.5), 50
        for i in range(50):
            a.flow_to(B).send(message(str(i)))
            self.clock.advance(0.01)
        self.clock.advance(5)
        self.assertEqual(b.receiver.call_ids, [str(i) for i in range(50)])

    def test_cut(self) -> None:
        """A cut breaks connections at both ends and lets no new one stand."""
        network, a, b = self.pair()
        flow = a.flow_to(B)
        listener = Listener(flow)
        flow.send(message("1"))
        self.clock.advance(0)
        [(_, back)] = b.receiver.requests
        network.cut(A[0], B[0])
        self.clock.advance(0)
        self.assertEqual(listener.errors, ["connection lost"])
        self.assertTrue(back.closed)
        again = a.flow_to(B)
        second = Listener(again)
        self.clock.advance(0)
        self.assertEqual(second.errors, ["connect timed out"])
        network.heal(A[0], B[0])
        a.flow_to(B).send(message("2"))
        self.clock.advance(0)
        self.assertEqual(b.receiver.call_ids, ["1", "2"])

    def test_reset(self) -> None:
        """A reset breaks the connection; the next one stands."""
        network, a, b = self.pair()
        flow = a.flow_to(B)
        listener = Listener(flow)
        flow.send(message("1"))
        self.clock.advance(0)
        network.reset(A[0], B[0])
        a.flow_to(B).send(message("lost"))
        self.clock.advance(0)
        self.assertEqual(listener.errors, ["connection lost"])
        a.flow_to(B).send(message("2"))
        self.clock.advance(0)
        self.assertEqual(b.receiver.call_ids[-1], "2")

    def test_stall(self) -> None:
        """TRN-28: a host that does not read fills its window, then the queue, then is cut off."""
        network, a, b = self.pair(queue_octets=100_000)
        flow = a.flow_to(B)
        listener = Listener(flow)
        flow.send(message("1"))
        self.clock.advance(0)
        network.stall(B[0])
        for i in range(2, 20):
            flow.send(message(str(i), bytes(5000)))
            self.clock.advance(0)
        self.assertEqual((b.receiver.call_ids, listener.errors), (["1"], []))
        network.unstall(B[0])
        self.clock.advance(0)
        self.assertEqual(len(b.receiver.call_ids), 19)
        network.stall(B[0])
        for _ in range(60):
            flow.send(message("x", bytes(5000)))
        self.clock.advance(0)
        self.assertEqual(listener.errors, ["peer does not read"])

    def test_connect_takes_a_round_trip(self) -> None:
        """A connect and a message need three delays."""
        network, a, b = self.pair()
        network.delay = (0.1, 0.1)
        a.flow_to(B).send(message("1"))
        self.clock.pump([0.1, 0.1, 0.09])
        self.assertEqual(b.receiver.call_ids, [])
        self.clock.advance(0.02)
        self.assertEqual(b.receiver.call_ids, ["1"])

    def test_names(self) -> None:
        """TRN-22: a TLS node proves the names it was given, and no others."""
        network = self.network()
        a = self.node(network, A, "TLS", names=["a.example"])
        b = self.node(network, B, "TLS", names=["B.example"])
        good, bad = a.flow_to(B, "b.example"), a.flow_to(B, "c.example")
        listener = Listener(bad)
        good.send(message("1"))
        bad.send(message("2"))
        self.clock.advance(0)
        [(request, flow)] = b.receiver.requests
        self.assertEqual((request.call_id, flow.names), ("1", {"a.example"}))
        self.assertEqual(listener.errors, ["certificate does not prove the domain"])

    def test_give_up_connecting(self) -> None:
        """A transport that stops while it connects leaves nothing behind."""
        network, a, _ = self.pair()
        network.delay = (1.0, 1.0)
        listener = Listener(a.flow_to(B))
        self.successResultOf(a.stop())
        self.clock.advance(5)
        self.assertEqual(listener.errors, ["transport is stopped"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
