"""The correlation of log lines."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pysip.correlate import call_hash, correlation
from pysip.message import Request, Response
from pysip.transport.base import Transport
from pysip.ua import UserAgent
from tests.node import ALICE, Node


def request(call_id: str = "a84b4c76@pc33.example.com", vector: str = "") -> Request:
    """A request with a Call-ID and perhaps P-Charging-Vector."""
    made = Request("OPTIONS", "sip:bob@example.com", {"call-id": [call_id]})
    if vector:
        made.set("P-Charging-Vector", vector)
    return made


class CorrelationTests(SynchronousTestCase):
    """OBS-03: one identifier for all that belongs to a request."""

    def test_same_call(self) -> None:
        """A request and its response have the same, other calls another."""
        answer = Response(200, "OK", {"call-id": ["a84b4c76@pc33.example.com"]})
        self.assertEqual(correlation(request()), correlation(answer))
        self.assertNotEqual(correlation(request()), correlation(request("other")))

    def test_says_nothing(self) -> None:
        """The Call-ID, and the host in it, is not to be seen."""
        self.assertRegex(correlation(request()), r"^[0-9a-f]{12}$")
        self.assertEqual(correlation(request()), call_hash("a84b4c76@pc33.example.com"))

    def test_tool(self) -> None:
        """An operator can compute it with b2sum."""
        if shutil.which("b2sum") is None:
            raise SkipTest("b2sum is missing")
        done = subprocess.run(["b2sum", "-l", "48"], input=b"x@y", capture_output=True, check=True)
        self.assertEqual(done.stdout.split()[0].decode(), call_hash("x@y"))

    def test_charging(self) -> None:
        """The icid-value of an IMS core is part of it."""
        plain = correlation(request())
        for vector in (
            "icid-value=AyretyU0dm+6O2;orig-ioi=home1.net",
            'orig-ioi=home1.net;icid-value="AyretyU0dm+6O2"',
        ):
            self.assertEqual(correlation(request(vector=vector)), f"{plain}-AyretyU0dm+6O2")

    def test_unusable(self) -> None:
        """What is missing, or could be an address, is left out."""
        plain = correlation(request())
        for vector in ("orig-ioi=home1.net", "icid-value=", 'icid-value="bob@x"', "icid-value=ä"):
            self.assertEqual(correlation(request(vector=vector)), plain, vector)
        self.assertEqual(correlation(Request("OPTIONS", "sip:x")), "")
        self.assertEqual(correlation(request("\udcff")), call_hash("\udcff"))

    def test_length(self) -> None:
        """An icid-value cannot make lines endless."""
        self.assertLess(len(correlation(request(vector=f"icid-value={'x' * 1000}"))), 100)


class FailureTests(SynchronousTestCase):
    """Failures while a request is served carry its correlation."""

    def setUp(self) -> None:
        """Keep what is logged."""
        self.events: list[dict[str, Any]] = []

    def test_method_fails(self) -> None:
        """A bug in serving a method: 500, and a line with the correlation (OBS-03)."""
        node = Node()
        publisher = LogPublisher(self.events.append)
        self.patch(UserAgent, "_log", type(UserAgent._log)("test", observer=publisher))

        def broken(served: object) -> None:
            raise RuntimeError("a bug")

        node.ua.add_method("OPTIONS", broken)
        peer = node.peer()
        answer = peer.ask(peer.request("OPTIONS", sender=ALICE, call_id="c1"))
        self.assertEqual(answer.status, 500)
        self.assertEqual([event["call"] for event in self.events], [call_hash("c1")])

    def test_layer_fails(self) -> None:
        """A bug below the methods: logged in the same way, and the transport goes on."""

        class Broken:
            def request_received(self, *_: object) -> None:
                raise RuntimeError("a bug")

        transport = Transport(Clock(), ("192.0.2.1", 5060))
        transport.log = type(transport.log)("test", observer=LogPublisher(self.events.append))
        transport.receiver = Broken()  # type: ignore[assignment]
        transport.deliver(request("c2"), object())  # type: ignore[arg-type]
        self.assertEqual([event["call"] for event in self.events], [call_hash("c2")])
