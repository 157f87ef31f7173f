"""Tests of :mod:`xcap.http.protocol` and ``exchange``: requests, bodies, answers."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.http_links import GET, Bench, Line, answers, put
from xcap.errors import Conflict, XcapError
from xcap.http.settings import HttpSettings
from xcap.records import HttpResponse


class ConnectionCase(SynchronousTestCase):
    """A site with one connection."""

    settings = HttpSettings()

    def setUp(self) -> None:
        """Connect."""
        self.bench = Bench(self.settings)
        self.service = self.bench.service
        self.line: Line = self.bench.line()


class AnswerTests(ConnectionCase):
    """Requests without body."""

    def test_get(self) -> None:
        """The service sees the request as sent, and its answer is written with our fields."""
        (answer,) = self.line.send(b"GET /a%2fb?c HTTP/1.1\r\nHost: h:80\r\nX-A: b\r\n\r\n")
        self.assertEqual((answer.status, answer.body), (200, b"/a%2fb?c"))
        self.assertEqual(answer.headers["date"], "Sun, 17 Mar 2030 17:46:40 GMT")
        self.assertEqual(answer.headers["server"], "txpresence")
        self.assertEqual(answer.headers["content-length"], "8")
        self.assertNotIn("connection", answer.headers)
        (head,) = self.service.heads
        self.assertEqual((head.method, head.target, head.authority), ("GET", "/a%2fb?c", "h:80"))
        self.assertEqual(head.headers.get("x-a"), "b")
        self.assertEqual((head.peer.address, head.peer.secure), ("192.0.2.1", False))

    def test_one_write(self) -> None:
        """Head and body of an answer leave in one write."""
        writes: list[bytes] = []
        self.line.wire.write = writes.append  # type: ignore[method-assign]
        self.line.feed(GET)
        self.assertEqual(len(writes), 1)

    def test_kept(self) -> None:
        """A connection serves one request after the other."""
        for _ in range(3):
            self.assertEqual(self.line.one(GET).status, 200)
        self.assertFalse(self.line.closed)
        self.assertEqual({head.peer.connection for head in self.service.heads}, {1})

    def test_head(self) -> None:
        """XCAP-55: HEAD has the fields of GET without the body."""
        get = self.line.one(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        self.line.feed(b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n")
        (head,) = self.line.answers(heads=True)
        self.assertEqual((head.status, head.headers, head.body), (get.status, get.headers, b""))

    def test_close(self) -> None:
        """The connection ends when the client says so, or speaks HTTP/1.0 (AGP-74)."""
        for request in (
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        ):
            line = self.bench.line()
            answer = line.one(request)
            self.assertEqual((answer.status, answer.headers["connection"]), (200, "close"))
            self.assertTrue(line.closed)

    def test_after_close(self) -> None:
        """What follows a request that ends the connection is not looked at."""
        found = self.line.send(b"GET / HTTP/1.0\r\n\r\n" + GET)
        self.assertEqual([answer.status for answer in found], [200])
        self.assertEqual(self.line.send(GET), [])
        self.assertEqual(len(self.service.heads), 1)

    def test_pieces(self) -> None:
        """A request may come octet by octet, also with an empty line before it."""
        request = b"\r\n" + put(b"body")
        for octet in request[:-1]:
            self.line.feed(bytes([octet]))
        self.assertEqual(self.line.raw(), b"")
        self.assertEqual(self.line.one(request[-1:]).status, 201)
        self.assertEqual(self.service.bodies, [b"body"])

    def test_late_answer(self) -> None:
        """An answer may take time."""
        self.service.answer = Deferred()
        self.assertEqual(self.line.send(GET), [])
        self.service.answer.callback(HttpResponse(200, (), b"late"))
        self.assertEqual(self.line.answer().body, b"late")

    def test_date_once_a_second(self) -> None:
        """The Date follows the wall clock."""
        self.line.one(GET)
        self.bench.clock.advance(1.5)
        self.assertEqual(self.line.one(GET).headers["date"], "Sun, 17 Mar 2030 17:46:41 GMT")


class ErrorTests(ConnectionCase):
    """Refusals and bugs."""

    def test_refusal(self) -> None:
        """A refusal that the service raises becomes plain text; the connection goes on."""
        self.service.answer = [XcapError(404, "no such document"), Conflict("no-parent", "phrase")]
        answer = self.line.one(GET)
        self.assertEqual((answer.status, answer.body), (404, b"no such document\n"))
        self.assertEqual(answer.headers["content-type"], "text/plain; charset=utf-8")
        self.assertEqual(self.line.one(GET).status, 409)
        self.assertFalse(self.line.closed)

    def test_refusal_of_body(self) -> None:
        """A refusal raised after the body came is answered alike."""
        self.service.stored = XcapError(415, "what is this", (("Accept", "text/xml"),))
        answer = self.line.one(put(b"x"))
        self.assertEqual((answer.status, answer.headers["accept"]), (415, "text/xml"))
        self.assertFalse(self.line.closed)

    def test_bug(self) -> None:
        """A bug in the service is logged and answered 500 without details, then it ends."""
        for bug in (ZeroDivisionError("secret"), RuntimeError("secret")):
            self.service.answer = bug
            line = self.bench.line()
            answer = line.one(GET)
            self.assertEqual((answer.status, answer.body), (500, b"Internal Server Error\n"))
            self.assertEqual(answer.headers["connection"], "close")
            self.assertTrue(line.closed)
            self.assertEqual(len(self.flushLoggedErrors(type(bug))), 1)

    def test_unspeakable_answer(self) -> None:
        """An answer that would break the protocol is logged and replaced by 500."""
        for response in (
            HttpResponse(200, (("A", "b\r\nC: d"),)),
            HttpResponse(100),
            HttpResponse(200, (("A", "\n"),)),
        ):
            self.service.answer = response
            line = self.bench.line()
            self.assertEqual(line.one(GET).status, 500)
            self.assertTrue(line.closed)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_no_response(self) -> None:
        """A service that gives nonsense is a bug too."""
        self.service.answer = 5
        self.assertEqual(self.line.one(GET).status, 500)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_malformed(self) -> None:
        """AGP-74: a malformed request is answered 400, and the connection ends."""
        answer = self.line.one(b"GET / HTTP/1.1\r\nHost : h\r\n\r\n" + GET)
        self.assertEqual((answer.status, answer.headers["connection"]), (400, "close"))
        self.assertTrue(self.line.closed)
        self.assertEqual(self.service.heads, [])
        self.assertEqual(self.bench.site.counters.malformed, 1)

    def test_early(self) -> None:
        """XCAP-50 step 1: what can be no request is refused before it is complete."""
        for data, status in (
            (b"GET / HTTP/1.1\n", 400),
            (b"GET /" + b"a" * 9000, 414),
            (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"b" * 17000, 431),
        ):
            line = self.bench.line()
            self.assertEqual(line.one(data).status, status)
            self.assertTrue(line.closed)
        self.assertEqual(self.service.heads, [])


class HostTests(ConnectionCase):
    """Hosts and balancers."""

    settings = HttpSettings(
        hosts=frozenset({"xcap.example.com"}), balancers=frozenset({"192.0.2.99"}), per_address=2
    )

    def test_other_host(self) -> None:
        """AGP-10: a host that is not served gets 421; the port and the case do not matter."""
        self.assertEqual(self.line.one(GET).status, 200)
        self.assertEqual(
            self.line.one(b"GET / HTTP/1.1\r\nHost: XCAP.example.com:8443\r\n\r\n").status, 200
        )
        self.assertEqual(self.line.one(b"GET / HTTP/1.1\r\nHost: other\r\n\r\n").status, 421)
        absolute = b"GET https://other/ HTTP/1.1\r\nHost: xcap.example.com\r\n\r\n"
        self.assertEqual(self.line.one(absolute).status, 421)
        self.assertEqual(self.line.one(b"GET / HTTP/1.0\r\n\r\n").status, 421)
        self.assertEqual(len(self.service.heads), 2)

    def test_balancer(self) -> None:
        """AGP-12: only from a known balancer does X-Forwarded-For tell the client's address."""
        request = GET[:-2] + b"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\n\r\n"
        self.line.one(request)
        self.bench.line("192.0.2.99").one(request)
        first, second = (head.peer for head in self.service.heads)
        self.assertEqual((first.address, first.secure), ("192.0.2.1", False))
        self.assertEqual((second.address, second.secure), ("198.51.100.1", True))

    def test_connections_of_balancer(self) -> None:
        """AGP-12, AGP-76: the limit for one address does not hold for a balancer."""
        self.bench.line()
        self.assertIsNone(self.bench.connect())
        for _ in range(5):
            self.assertIsNotNone(self.bench.connect("192.0.2.99"))


class BodyTests(ConnectionCase):
    """Requests with a body."""

    def test_length(self) -> None:
        """XCAP-114: a body with Content-Length, in one piece or in many."""
        self.assertEqual(self.line.one(put(b"abc")).status, 201)
        self.line.feed(put(b"x" * 70000)[:5000])
        for _ in range(13):
            self.line.feed(b"x" * 5000)
        self.assertEqual(self.line.raw(), b"")
        rest = len(put(b"x" * 70000)) - 70000
        self.assertEqual(self.line.one(b"x" * rest).status, 201)
        self.assertEqual(self.service.bodies, [b"abc", b"x" * 70000])

    def test_chunked(self) -> None:
        """XCAP-114: a chunked body; what follows is the next request."""
        found = self.line.send(
            b"PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n" + GET
        )
        self.assertEqual([answer.status for answer in found], [201, 200])
        self.assertEqual(self.service.bodies, [b"abcde"])

    def test_empty(self) -> None:
        """A PUT without body, or with an empty one, reaches the service."""
        self.line.feed(b"PUT /a HTTP/1.1\r\nHost: h\r\n\r\n")
        self.line.feed(put(b""))
        self.line.feed(b"PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        self.assertEqual([answer.status for answer in self.line.answers()], [201] * 3)
        self.assertEqual(self.service.bodies, [b""] * 3)

    def test_continue(self) -> None:
        """XCAP-114: 100 is sent when the request was let in, and not before."""
        self.service.answer = Deferred()
        request = put(b"abc", "Expect: 100-continue")
        self.line.feed(request[:-3])
        self.assertEqual(self.line.raw(), b"")
        self.service.answer.callback(self.service.receive)
        self.assertEqual(self.line.raw(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(self.line.one(b"abc").status, 201)
        self.assertFalse(self.line.closed)

    def test_no_continue(self) -> None:
        """XCAP-114, AGP-28: a refused request gets its status instead of 100."""
        self.service.answer = XcapError(401)
        self.line.feed(put(b"abc", "Expect: 100-continue")[:-3])
        data = self.line.raw()
        self.assertTrue(data.startswith(b"HTTP/1.1 401 "), data)
        # whether the body still comes nobody can tell
        self.assertTrue(self.line.closed)
        self.assertEqual(answers(data)[0].headers["connection"], "close")

    def test_no_need_to_continue(self) -> None:
        """A client that does not wait for 100 gets none, and keeps its connection."""
        self.line.feed(put(b"abc", "Expect: 100-continue"))
        self.assertNotIn(b" 100 ", self.line.raw())
        self.service.answer = XcapError(401)
        self.line.feed(put(b"abc", "Expect: 100-continue"))
        self.assertEqual(self.line.answer().status, 401)
        self.assertFalse(self.line.closed)

    def test_too_large(self) -> None:
        """AGP-76, XCAP-162: a body over the limit gets 413 as soon as its length is known."""
        limit = self.settings.body
        head = put(b"x" * (limit + 1))[: -limit - 1]
        answer = self.line.one(head)
        self.assertEqual((answer.status, answer.headers["connection"]), (413, "close"))
        self.assertTrue(self.line.closed)
        self.assertEqual(self.service.heads, [])
        line = self.bench.line()
        self.assertEqual(line.one(put(b"x" * limit)).status, 201)

    def test_too_large_in_chunks(self) -> None:
        """AGP-76, XCAP-162: a chunked body over the limit gets 413 when it exceeds it."""
        self.line.feed(b"PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        for _ in range(16):
            self.line.feed(chunk)
        self.assertEqual(self.line.raw(), b"")
        self.assertEqual(self.line.one(b"1\r\n").status, 413)
        self.assertTrue(self.line.closed)
        self.assertEqual(self.service.bodies, [])

    def test_malformed_chunk(self) -> None:
        """AGP-74: a malformed chunked body gets 400, and the connection ends."""
        for body in (b"x\r\n", b"3\r\nabcd\r\n"):
            for cut in (True, False):
                line = self.bench.line()
                head = b"PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                if cut:
                    line.feed(head)
                    answer = line.one(body)
                else:
                    answer = line.one(head + body + GET)
                self.assertEqual((answer.status, answer.headers["connection"]), (400, "close"))
                self.assertTrue(line.closed)

    def test_drained(self) -> None:
        """AGP-28: the body of a refused request is read away up to 64 KiB."""
        self.service.answer = [XcapError(401), HttpResponse(200)]
        request = put(b"x" * 65536)
        self.line.feed(request[:1000])
        self.assertEqual(self.line.answer().status, 401)
        self.assertEqual(self.line.send(request[1000:-1]), [])
        found = self.line.send(request[-1:] + GET)
        self.assertEqual([answer.status for answer in found], [200])
        self.assertFalse(self.line.closed)

    def test_drained_chunks(self) -> None:
        """AGP-28: that holds for chunked bodies too, whose length shows later."""
        self.service.answer = [XcapError(401), HttpResponse(200), XcapError(401)]
        head = b"PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        found = self.line.send(head + b"3\r\nabc\r\n0\r\n\r\n" + GET)
        self.assertEqual([answer.status for answer in found], [401, 200])
        found = self.line.send(head + b"3\r\nabc\r\n")
        self.assertEqual([answer.status for answer in found], [401])
        self.assertFalse(self.line.closed)
        self.assertEqual(self.line.send(b"10100\r\n"), [])
        self.assertTrue(self.line.closed)

    def test_not_drained(self) -> None:
        """AGP-28: a longer body ends the connection."""
        self.service.answer = XcapError(401)
        answer = self.line.one(put(b"x" * 70000)[:-60000])
        self.assertEqual(answer.status, 401)
        # 60 000 octets are missing, which is few enough
        self.assertFalse(self.line.closed)
        line = self.bench.line()
        answer = line.one(put(b"x" * 70000)[:-69000])
        self.assertEqual((answer.status, answer.headers["connection"]), (401, "close"))
        self.assertTrue(line.closed)

    def test_body_before_decision(self) -> None:
        """AGP-76: no more of a body is read than may wait before the request is let in."""
        self.service.answer = Deferred()
        self.line.feed(put(b"x" * 500_000)[:60000])
        self.assertFalse(self.line.wire.paused)
        self.line.feed(b"x" * 20000)
        self.assertTrue(self.line.wire.paused)
        self.service.answer.callback(self.service.receive)
        self.assertFalse(self.line.wire.paused)
        missing = len(put(b"x" * 500_000)) - 80000
        self.assertEqual(self.line.one(b"x" * missing).status, 201)
        self.assertEqual(self.service.bodies, [b"x" * 500_000])


class PipelineTests(ConnectionCase):
    """Several requests at once."""

    def test_order(self) -> None:
        """AGP-76: one request at a time is served; answers come in order."""
        first: Deferred[HttpResponse] = Deferred()
        self.service.answer = [first, HttpResponse(200, (), b"second")]
        self.assertEqual(self.line.send(GET + GET), [])
        self.assertEqual(len(self.service.heads), 1)
        first.callback(HttpResponse(200, (), b"first"))
        self.assertEqual([answer.body for answer in self.line.answers()], [b"first", b"second"])

    def test_mixed(self) -> None:
        """Requests with and without bodies follow each other in one piece of octets."""
        found = self.line.send(put(b"abc") + GET + put(b"de") + b"\r\n" + GET)
        self.assertEqual([answer.status for answer in found], [201, 200, 201, 200])
        self.assertEqual(self.service.bodies, [b"abc", b"de"])

    def test_body_like_request(self) -> None:
        """A body that looks like a request is a body."""
        found = self.line.send(put(GET) + GET)
        self.assertEqual([answer.status for answer in found], [201, 200])
        self.assertEqual(self.service.bodies, [GET])

    def test_bounded(self) -> None:
        """AGP-76: beyond 100 waiting requests no more is read until they are served."""
        self.service.answer = Deferred()
        self.line.feed(GET * 100)
        self.assertFalse(self.line.wire.paused)
        self.line.feed(GET)
        self.assertTrue(self.line.wire.paused)
        waiting, self.service.answer = self.service.answer, None
        waiting.callback(HttpResponse(200))
        for _ in range(20):
            self.bench.clock.advance(0)
        self.assertEqual(len(self.line.answers()), 101)
        self.assertFalse(self.line.wire.paused)

    def test_bounded_octets(self) -> None:
        """AGP-76: the same holds for 64 KiB that wait."""
        self.service.answer = Deferred()
        self.line.feed(GET + put(b"x" * 65000))
        self.assertFalse(self.line.wire.paused)
        self.line.feed(b"x" * 1000)
        self.assertTrue(self.line.wire.paused)

    def test_turns(self) -> None:
        """Very many requests at once are served in turns, so that others get theirs."""
        self.line.feed(GET * 50)
        first = len(self.line.answers())
        self.assertLess(first, 50)
        self.bench.clock.advance(0)
        self.assertGreater(len(self.line.answers()), 0)
        for _ in range(20):
            self.bench.clock.advance(0)
        self.assertEqual(len(self.service.heads), 50)
        self.assertEqual(self.line.one(GET).status, 200)

    def test_turn_after_end(self) -> None:
        """A connection that is lost between two turns does nothing any more."""
        self.line.feed(GET * 50)
        served = len(self.service.heads)
        self.line.hang_up()
        self.bench.clock.advance(0)
        self.assertEqual(len(self.service.heads), served)

    def test_slow_reader(self) -> None:
        """A client that takes no answers gets no further request served meanwhile."""
        self.line.protocol.pauseProducing()
        self.line.feed(GET)
        self.assertEqual(self.service.heads, [])
        self.line.feed(GET * 120)
        self.assertTrue(self.line.wire.paused)
        self.line.protocol.resumeProducing()
        for _ in range(20):
            self.bench.clock.advance(0)
        self.assertEqual(len(self.service.heads), 121)
        self.assertFalse(self.line.wire.paused)


class GoneTests(ConnectionCase):
    """Clients that leave."""

    def test_get_is_cancelled(self) -> None:
        """AGP-81: the work for a GET is given up when the client leaves."""
        self.service.answer = Deferred()
        self.line.feed(GET)
        self.line.hang_up()
        self.assertEqual(self.service.cancelled, 1)
        (record,) = self.bench.records
        self.assertEqual((record.status, record.gone), (499, True))
        self.assertEqual(self.bench.site.counters.gone, 1)

    def test_put_goes_on(self) -> None:
        """AGP-81: a PUT or DELETE that has begun runs to its end; its result is logged."""
        self.service.stored = Deferred()
        self.line.feed(put(b"abc"))
        self.line.hang_up()
        self.assertEqual((self.service.cancelled, self.bench.records), (0, []))
        self.service.stored.callback(HttpResponse(201))
        (record,) = self.bench.records
        self.assertEqual((record.status, record.gone, record.sent), (201, True, 0))

    def test_delete_goes_on(self) -> None:
        """AGP-81: also while it is not decided yet whether it is let in."""
        self.service.answer = Deferred()
        self.line.feed(b"DELETE /a HTTP/1.1\r\nHost: h\r\n\r\n")
        self.line.hang_up()
        self.service.answer.callback(self.service.receive)
        self.assertEqual(self.service.bodies, [b""])

    def test_whole_body_goes_on(self) -> None:
        """AGP-81: a PUT that is let in after the client left counts if its body is there."""
        self.service.answer = Deferred()
        self.line.feed(put(b"abc"))
        self.line.hang_up()
        self.service.answer.callback(self.service.receive)
        self.assertEqual(self.service.bodies, [b"abc"])

    def test_half_a_body(self) -> None:
        """A PUT whose body is not complete is forgotten, whenever the client leaves."""
        self.line.feed(put(b"abc")[:-1])
        self.line.hang_up()
        line = self.bench.line()
        self.service.answer = Deferred()
        line.feed(put(b"abc")[:-1])
        line.hang_up()
        self.service.answer.callback(self.service.receive)
        self.assertEqual(self.service.bodies, [])
        self.assertEqual([record.status for record in self.bench.records], [499, 499])

    def test_idle(self) -> None:
        """A client that leaves between requests leaves nothing behind."""
        self.line.one(GET)
        self.line.hang_up()
        self.assertEqual(self.bench.site.counters.open, 0)
        self.assertEqual(self.bench.clock.getDelayedCalls(), [])


class RecordTests(ConnectionCase):
    """Access log and counters."""

    def test_record(self) -> None:
        """AGP-84: a record for every request, without its query."""
        self.line.feed(put(b"abc", "Authorization: Digest secret", target="/a/b?c"))
        (record,) = self.bench.records
        self.assertEqual((record.method, record.target, record.status), ("PUT", "/a/b", 201))
        self.assertEqual((record.received, record.sent, record.gone), (3, 0, False))
        self.assertEqual((record.peer.address, record.time), ("192.0.2.1", 1.9e9))
        self.assertNotIn("secret", repr(record))
        self.line.feed(b"HEAD /abc HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(self.bench.records[1].sent, 0)
        self.line.feed(GET)
        self.assertEqual(self.bench.records[2].sent, 2)

    def test_duration(self) -> None:
        """AGP-84: the duration runs from the request to its answer."""
        self.service.answer = Deferred()
        self.line.feed(GET)
        self.bench.clock.advance(0.5)
        self.service.answer.callback(HttpResponse(200))
        self.assertEqual(self.bench.records[0].duration, 0.5)

    def test_malformed(self) -> None:
        """AGP-84: what could not be read is recorded too."""
        self.line.feed(b"nonsense\r\n\r\n")
        (record,) = self.bench.records
        self.assertEqual((record.method, record.status, record.head), ("", 400, None))

    def test_counters(self) -> None:
        """AGP-85: requests and answers are counted by method and status."""
        self.line.feed(GET + GET + put(b"abc"))
        self.line.feed(b"nonsense\r\n\r\n")
        counters = self.bench.site.counters
        self.assertEqual(dict(counters.answers), {("GET", 200): 2, ("PUT", 201): 1, ("", 400): 1})
        self.assertEqual((counters.requests, counters.malformed), (3, 1))
        self.assertEqual((counters.accepted, counters.open), (1, 1))
        self.assertEqual(counters.received, len(GET + GET + put(b"abc") + b"nonsense\r\n\r\n"))
        self.assertEqual(counters.sent, len(self.line.raw()))

    def test_log_fails(self) -> None:
        """AGP-84: an access log that fails is reported, and requests go on."""
        bench = Bench(access=lambda record: 1 // 0)
        line = bench.line()
        self.assertEqual(line.one(GET).status, 200)
        self.assertEqual(line.one(b"nonsense\r\n\r\n").status, 400)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
