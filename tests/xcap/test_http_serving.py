"""Tests of :mod:`xcap.http.serving`, ``link`` and ``site``: limits, timers, overload, stop."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pysip.transport.credentials import TlsSettings, load_credentials
from tests.certificates import issue, make_ca
from tests.xcap.http_links import GET, Bench, Line, Wire, put
from xcap.http.settings import HttpSettings
from xcap.records import HttpResponse


class LimitTests(SynchronousTestCase):
    """How many connections there may be."""

    def test_per_address(self) -> None:
        """AGP-76: one address has a bounded number of connections; others have theirs."""
        bench = Bench(HttpSettings(per_address=3))
        lines = [bench.line() for _ in range(3)]
        self.assertIsNone(bench.connect())
        self.assertIsNotNone(bench.connect("192.0.2.2"))
        self.assertEqual(bench.site.counters.refused, 1)
        lines[0].hang_up()
        self.assertIsNotNone(bench.connect())

    def test_proxies(self) -> None:
        """AGP-76: the limit does not hold for the addresses of proxies."""
        bench = Bench(HttpSettings(per_address=1, unbounded=frozenset({"192.0.2.9"})))
        for _ in range(5):
            self.assertIsNotNone(bench.connect("192.0.2.9"))
        bench.line("192.0.2.9").one(GET)
        self.assertEqual(bench.service.heads[0].peer.address, "192.0.2.9")

    def test_mapped_address(self) -> None:
        """AGP-76: an IPv4 address written in IPv6 is the same address."""
        bench = Bench(HttpSettings(per_address=1))
        line = bench.line("::ffff:192.0.2.1")
        self.assertIsNone(bench.connect("192.0.2.1"))
        line.one(GET)
        self.assertEqual(bench.service.heads[0].peer.address, "192.0.2.1")

    def test_together(self) -> None:
        """AGP-76: beyond the number for the node, connections are closed at once."""
        bench = Bench(HttpSettings(connections=2))
        bench.line("192.0.2.1")
        bench.line("192.0.2.2")
        self.assertIsNone(bench.connect("192.0.2.3"))


class TimerTests(SynchronousTestCase):
    """AGP-77: clients that are too slow, and a service that is."""

    def setUp(self) -> None:
        """Connect."""
        self.bench = Bench()
        self.line: Line = self.bench.line()

    def test_silent(self) -> None:
        """AGP-77: a new connection without a request is closed after 10 s, without answer."""
        self.bench.pass_time(9)
        self.assertFalse(self.line.closed)
        self.bench.pass_time(2)
        self.assertTrue(self.line.closed)
        self.assertEqual(self.line.raw(), b"")

    def test_slow_head(self) -> None:
        """AGP-77: a head that takes more than 10 s gets 408, however it trickles."""
        for octet in GET[:9]:
            self.line.feed(bytes([octet]))
            self.bench.pass_time(1)
        self.assertFalse(self.line.closed)
        self.bench.pass_time(2)
        answer = self.line.answer()
        self.assertEqual((answer.status, answer.headers["connection"]), (408, "close"))
        self.assertTrue(self.line.closed)
        self.assertEqual(self.bench.site.counters.timeouts, 1)

    def test_idle(self) -> None:
        """AGP-77: a connection is kept for 75 s between requests; each one begins anew."""
        self.line.one(GET)
        self.bench.pass_time(70)
        self.line.one(GET)
        self.bench.pass_time(74)
        self.assertFalse(self.line.closed)
        self.bench.pass_time(2)
        self.assertTrue(self.line.closed)
        self.assertEqual(self.line.raw(), b"")

    def test_head_after_idling(self) -> None:
        """AGP-77: the 10 s of a head begin with its first octet."""
        self.line.one(GET)
        self.bench.pass_time(60)
        self.line.feed(GET[:5])
        self.bench.pass_time(9)
        self.assertFalse(self.line.closed)
        self.bench.pass_time(2)
        self.assertEqual(self.line.answer().status, 408)

    def test_silent_body(self) -> None:
        """AGP-77: a body that does not come gets 408."""
        self.line.feed(put(b"x" * 100)[:-50])
        self.bench.pass_time(5)
        self.assertFalse(self.line.closed)
        self.bench.pass_time(2)
        answer = self.line.answer()
        self.assertEqual((answer.status, answer.headers["connection"]), (408, "close"))
        self.assertTrue(self.line.closed)
        self.assertEqual(self.bench.service.bodies, [])

    def test_slow_body(self) -> None:
        """AGP-77: a body that trickles with less than 1 KiB/s gets 408, a faster one goes on."""
        slow = self.bench.line()
        for line in (self.line, slow):
            line.feed(put(b"x" * 60000)[:-60000])
        for _ in range(20):
            self.line.feed(b"x" * 1200)
            slow.feed(b"x" * 900)
            self.bench.pass_time(1)
        self.assertFalse(self.line.closed)
        self.assertEqual(slow.answer().status, 408)

    def test_long_body(self) -> None:
        """AGP-77: no body takes more than 30 s."""
        self.line.feed(put(b"x" * 60000)[:-60000])
        for _ in range(32):
            self.line.feed(b"x" * 1200)
            self.bench.pass_time(1)
        self.assertEqual(self.line.answer().status, 408)

    def test_slow_drain(self) -> None:
        """AGP-77: a refused body that does not come ends the connection."""
        self.bench.service.answer = HttpResponse(403)
        self.assertEqual(self.line.one(put(b"x" * 100)[:-50]).status, 403)
        self.bench.pass_time(29)
        self.assertFalse(self.line.closed)
        self.bench.pass_time(2)
        self.assertTrue(self.line.closed)

    def test_slow_service(self) -> None:
        """AGP-77: a GET without answer after 30 s gets 503, and its work is given up."""
        self.bench.service.answer = Deferred()
        self.line.feed(GET)
        self.bench.pass_time(29)
        self.assertEqual(self.line.raw(), b"")
        self.bench.pass_time(2)
        answer = self.line.answer()
        self.assertEqual((answer.status, answer.headers["connection"]), (503, "close"))
        self.assertIn("retry-after", answer.headers)
        self.assertEqual(self.bench.service.cancelled, 1)
        self.assertTrue(self.line.closed)
        self.assertEqual(self.bench.site.counters.abandoned, 1)

    def test_slow_change(self) -> None:
        """AGP-77, AGP-81: a PUT without answer gets 504, since it may yet take effect."""
        stored = self.bench.service.stored = Deferred()
        self.line.feed(put(b"abc"))
        self.bench.pass_time(31)
        self.assertEqual(self.line.answer().status, 504)
        self.assertEqual(self.bench.service.cancelled, 0)
        stored.callback(HttpResponse(201))
        self.assertEqual(self.line.raw(), b"")
        self.assertEqual([record.status for record in self.bench.records], [504])

    def test_body_wanted_too_late(self) -> None:
        """A service that wants the body after the request was given up gets none."""
        answer = self.bench.service.answer = Deferred()
        self.line.feed(put(b"abc")[:-1])
        self.bench.pass_time(31)
        self.assertEqual(self.line.answer().status, 504)
        answer.callback(self.bench.service.receive)
        self.assertEqual(self.bench.service.bodies, [])

    def test_lingering(self) -> None:
        """A client that does not close after the last answer is cut in the end."""
        self.line.feed(b"nonsense\r\n\r\n")
        self.assertFalse(self.line.wire.aborted)
        self.bench.pass_time(7)
        self.assertTrue(self.line.wire.aborted)

    def test_sending_on(self) -> None:
        """A client that sends on and on after the last answer is cut."""
        self.line.feed(b"nonsense\r\n\r\n")
        for _ in range(17):
            self.line.feed(b"x" * 65536)
        self.assertTrue(self.line.wire.aborted)

    def test_slow_reader(self) -> None:
        """A client that takes no answer is cut, later for a large answer."""
        self.bench.service.answer = HttpResponse(200, (), b"x" * 102400)
        self.line.feed(GET)
        self.line.protocol.pauseProducing()
        self.bench.pass_time(75 + 90)
        self.assertFalse(self.line.closed)
        self.bench.pass_time(15)
        self.assertTrue(self.line.wire.aborted)

    def test_no_timer_left(self) -> None:
        """Nothing ticks while there is no connection."""
        self.assertEqual(len(self.bench.clock.getDelayedCalls()), 1)
        self.line.hang_up()
        self.assertEqual(self.bench.clock.getDelayedCalls(), [])


class HandshakeTests(SynchronousTestCase):
    """Connections on which TLS does not come about."""

    def setUp(self) -> None:
        """Connect and send nothing."""
        self.bench = Bench(HttpSettings(connections=1))
        self.wire = Wire()
        protocol = self.build()
        assert protocol is not None
        self.protocol = protocol
        protocol.makeConnection(self.wire)

    def build(self) -> Any:
        """What becomes of one more connection to a port with TLS."""
        own = issue(make_ca(), ["xcap.example.com"])
        factory = self.bench.site.factory(
            TlsSettings(
                credentials=load_credentials(own.certificate, own.key), client_certificates="none"
            )
        )
        return factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))

    def test_silent(self) -> None:
        """AGP-77: a handshake that takes more than 10 s ends the connection."""
        self.bench.pass_time(9)
        self.assertFalse(self.wire.aborted)
        self.bench.pass_time(2)
        self.assertTrue(self.wire.aborted)

    def test_failed(self) -> None:
        """AGP-85: failed handshakes are counted; nothing reaches the service."""
        self.protocol.dataReceived(GET)
        self.assertTrue(self.wire.disconnecting)
        self.protocol.connectionLost(Failure(ConnectionDone()))
        counters = self.bench.site.counters
        self.assertEqual((counters.handshakes, counters.handshake_failures), (0, 1))
        self.assertEqual((counters.open, counters.requests), (0, 0))

    def test_stop(self) -> None:
        """A site that stops waits for no handshake."""
        stopped = Deferred.fromCoroutine(self.bench.site.stop())
        self.assertTrue(self.wire.aborted)
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(stopped)

    def test_limit(self) -> None:
        """AGP-76: the limits hold for connections with TLS."""
        self.assertIsNone(self.build())
        self.assertEqual(self.bench.site.counters.refused, 1)


class OverloadTests(SynchronousTestCase):
    """AGP-83: too much to do."""

    def setUp(self) -> None:
        """Connect while there is no overload."""
        self.after: float | None = None
        self.bench = Bench(overloaded=lambda: self.after)
        self.line: Line = self.bench.line()

    def test_connections_first(self) -> None:
        """AGP-83: new connections are refused at once, requests when it lasts."""
        self.after = 7.0
        self.assertIsNone(self.bench.connect("192.0.2.2"))
        self.assertEqual(self.line.one(GET).status, 200)
        self.bench.pass_time(2)
        answer = self.line.one(GET)
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "7"))
        self.assertFalse(self.line.closed)
        self.assertEqual(self.bench.site.counters.overloads, 1)

    def test_over(self) -> None:
        """AGP-83: when the overload is over everything is as before."""
        self.after = 0.1
        self.line.one(GET)
        self.bench.pass_time(3)
        self.assertEqual(self.line.one(GET).headers["retry-after"], "1")
        self.after = None
        self.assertEqual(self.line.one(GET).status, 200)
        self.assertIsNotNone(self.bench.connect("192.0.2.2"))
        self.after = 1.0
        self.assertEqual(self.line.one(GET).status, 200)

    def test_in_progress(self) -> None:
        """AGP-83: requests in progress finish."""
        answer = self.bench.service.answer = Deferred()
        self.line.feed(GET)
        self.after = 1.0
        self.bench.pass_time(3)
        answer.callback(HttpResponse(200))
        self.assertEqual(self.line.answer().status, 200)


class StopTests(SynchronousTestCase):
    """The end of a site."""

    def setUp(self) -> None:
        """Connect."""
        self.bench = Bench()
        self.line: Line = self.bench.line()

    def stop(self) -> Deferred[None]:
        """Stop the site."""
        return Deferred.fromCoroutine(self.bench.site.stop())

    def test_idle(self) -> None:
        """Idle connections are closed, new ones refused."""
        self.line.one(GET)
        stopped = self.stop()
        self.assertTrue(self.line.closed)
        self.assertIsNone(self.bench.connect())
        self.assertNoResult(stopped)
        self.line.hang_up()
        self.successResultOf(stopped)
        self.assertEqual(self.bench.clock.getDelayedCalls(), [])

    def test_nothing_open(self) -> None:
        """A site without connections stops at once."""
        self.line.hang_up()
        self.successResultOf(self.stop())

    def test_in_progress(self) -> None:
        """A request in progress is answered, what is pipelined behind it is not."""
        answer = self.bench.service.answer = Deferred()
        self.line.feed(GET + GET)
        stopped = self.stop()
        self.assertFalse(self.line.closed)
        answer.callback(HttpResponse(200))
        (found,) = self.line.answers()
        self.assertEqual((found.status, found.headers["connection"]), (200, "close"))
        self.assertTrue(self.line.closed)
        self.line.hang_up()
        self.successResultOf(stopped)

    def test_half_a_request(self) -> None:
        """A request that has begun to come is served."""
        self.line.feed(GET[:5])
        stopped = self.stop()
        self.assertEqual(self.line.one(GET[5:]).headers["connection"], "close")
        self.line.hang_up()
        self.successResultOf(stopped)

    def test_drained(self) -> None:
        """A body that is read away when the site stops ends with the connection."""
        self.bench.service.answer = HttpResponse(403)
        self.line.feed(put(b"abc")[:-1])
        stopped = self.stop()
        self.line.feed(b"c")
        self.assertTrue(self.line.closed)
        self.line.hang_up()
        self.successResultOf(stopped)

    def test_cut(self) -> None:
        """What takes longer than the time to stop is cut."""
        self.bench.service.answer = Deferred()
        self.line.feed(GET)
        stopped = self.stop()
        self.bench.pass_time(9)
        self.assertFalse(self.line.wire.aborted)
        self.bench.pass_time(2)
        self.assertTrue(self.line.wire.aborted)
        self.line.hang_up()
        self.successResultOf(stopped)

    def test_work_without_client(self) -> None:
        """A change whose client has left is waited for."""
        stored = self.bench.service.stored = Deferred()
        self.line.feed(put(b"abc"))
        self.line.hang_up()
        stopped = self.stop()
        self.assertNoResult(stopped)
        stored.callback(HttpResponse(201))
        self.successResultOf(stopped)

    def test_endless_work(self) -> None:
        """But not for ever."""
        self.bench.service.stored = Deferred()
        self.line.feed(put(b"abc"))
        self.line.hang_up()
        stopped = self.stop()
        self.bench.pass_time(11)
        self.successResultOf(stopped)
        self.assertEqual(self.bench.service.cancelled, 1)

    def test_twice(self) -> None:
        """A connection may be lost for another reason meanwhile."""
        stopped = self.stop()
        self.line.protocol.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(stopped)
        self.successResultOf(self.stop())
