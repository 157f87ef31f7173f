"""Flows of RFC 5839 and RFC 6446 with a scripted watcher and our server (events.md F, I)."""

from __future__ import annotations

import pathlib
import re
from typing import Any

from twisted.trial import unittest

from pysip.message import Request, Response, response_to
from tests.node import BOB, Node, pidf
from tests.pysip.test_lean_vectors import Step, steps

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"
_LIFETIME = re.compile(r";expires=\d+")
_SLACK = 0.2
"""Seconds by which the clock of a test goes in larger steps than the server."""


class Flow:
    """A server, and a watcher that does as a vector tells."""

    def __init__(self, case: unittest.SynchronousTestCase) -> None:
        self.case = case
        self.node = Node()
        self.bob = self.node.peer("192.0.2.20")
        self.peer = self.node.peer()
        self.peer.answer = self.take
        self.etag = ""
        self.names: dict[str, str] = {}
        self.response: Response | None = None
        self.dialog: Response | None = None
        self.told: list[tuple[float, Request]] = []
        self.last = 0.0
        self.event = ""

    def take(self, request: Request) -> Response:
        """Take a NOTIFY."""
        self.told.append((self.node.clock.seconds(), request))
        answer = response_to(request, 200)
        if self.event:
            answer.headers["event"] = [self.event]
            self.event = ""
        return answer

    def play(self, step: Step) -> None:
        """Do one step, or look at what was done."""
        mark, what, fields = step
        if mark == "!!":
            word, _, rest = what.partition(" ")
            getattr(self, f"do_{word}")(rest)
        elif mark == ">>":
            self.subscribe(what.endswith("anew"), fields)
        elif what == "nothing":
            self.case.assertEqual([str(request) for _, request in self.told], [])
        elif what == "NOTIFY":
            self.case.assertTrue(self.told, "no NOTIFY")
            at, request = self.told.pop(0)
            self.notify(request, dict(fields), at - self.last)
            self.last = at
        else:
            response, self.response = self.response, None
            assert response is not None
            self.case.assertEqual(response.status, int(what))
            for name, value in fields.items():
                self.case.assertEqual(response.first(name.lower()), None if value == "-" else value)

    def subscribe(self, anew: bool, fields: dict[str, str]) -> None:
        """Send a SUBSCRIBE."""
        headers: dict[str, Any] = {
            name.lower().replace("-", "_"): self.names.get(value, value)
            for name, value in fields.items()
        }
        if anew:
            self.dialog = None
        if self.dialog is not None:
            headers |= {"call_id": self.dialog.call_id, "to_tag": self.dialog.to.tag}
        self.response = self.peer.subscribe(**headers)
        if self.response.status == 200 and self.dialog is None:
            self.dialog = self.response
        self.node.advance(0.2)

    def notify(self, request: Request, fields: dict[str, str], after: float) -> None:
        """Compare a NOTIFY."""
        case = self.case
        body = fields.pop("Body", None)
        if body is not None:
            found = request.body.partition(b"<note>")[2].partition(b"<")[0].decode()
            case.assertEqual(found or "-", body)
            case.assertEqual(bool(request.body), body != "-")
        wait = fields.pop("After", "")
        if wait:
            case.assertTrue(0 <= after - float(wait) < _SLACK, f"after {after}")
        for name, value in fields.items():
            told = _LIFETIME.sub("", request.first(name.lower()) or "-")
            if value.startswith("$"):
                value = self.names.setdefault(value, told)
            case.assertEqual(told, value, name)
        case.assertEqual(len(set(self.names.values())), len(self.names), "different tags")

    def do_publish(self, text: str) -> None:
        """The presentity says something else."""
        fields = {"sip_if_match": self.etag} if self.etag else {}
        answer = self.bob.publish(pidf(BOB, note=text), **fields)
        self.etag = answer.headers["sip-etag"][0]
        self.node.advance(0.1)

    def do_decide(self, handling: str) -> None:
        """The presentity decides otherwise."""
        self.node.watchers.default = handling  # type: ignore[assignment]
        self.node.presence.reauthorize()
        self.node.advance(0.2)

    def do_wait(self, seconds: str) -> None:
        """Time passes."""
        self.node.advance(float(seconds))

    def do_answer(self, event: str) -> None:
        """The 2xx to the next NOTIFY has an Event."""
        self.event = event


class VectorTests(unittest.SynchronousTestCase):
    """The notifier does what the RFCs show."""

    def play(self, topic: str) -> int:
        """Play the flows of a topic; how many there are."""
        paths = sorted((VECTORS / topic / "server").glob("*.txt"))
        for path in paths:
            flow = Flow(self)
            for number, step in enumerate(steps(path.read_text("utf-8")), 1):
                try:
                    flow.play(step)
                except self.failureException as error:
                    text = f"{path.name}, step {number} {step}: {error}"
                    raise self.failureException(text) from None
        return len(paths)

    def test_conditional(self) -> None:
        """SNE-01, SNE-03 to SNE-09, SNE-14, SNE-16: the figures of RFC 5839, and its text."""
        self.assertEqual(self.play("conditional"), 9)

    def test_rates(self) -> None:
        """RAT-01 to RAT-09, RAT-12, RAT-13: RFC 6446."""
        self.assertEqual(self.play("rates"), 7)
