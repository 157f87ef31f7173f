"""Work beside the reactor: what comes back, what is refused, and how it ends."""

from __future__ import annotations

import queue
import threading
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.xdms import INDEX, XdmsTestCase
from xcap import aside, writing
from xcap.aside import Aside
from xcap.errors import XcapError
from xcap.server import DocumentServer


class Calls:
    """``callFromThread`` of a reactor; the test runs the calls."""

    def __init__(self) -> None:
        self._calls: queue.Queue[Any] = queue.Queue()

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        """Queue a call."""
        self._calls.put((function, arguments))

    def run_until(self, deferred: Deferred[Any]) -> None:
        """Run calls until a Deferred has fired."""
        while not deferred.called:
            function, arguments = self._calls.get(timeout=10)
            function(*arguments)


class AsideTests(SynchronousTestCase):
    """:class:`xcap.aside.Aside`."""

    def setUp(self) -> None:
        """One that is stopped at the end."""
        self.calls = Calls()
        self.aside = Aside(self.calls)  # type: ignore[arg-type]

    def end(self) -> None:
        """Stop it."""
        stopped = self.aside.stop()
        self.calls.run_until(stopped)

    def test_results(self) -> None:
        """Results and failures arrive in the reactor, work is done elsewhere."""
        here = threading.get_ident()
        done = self.aside(threading.get_ident)
        failed = self.aside(lambda: 1 / 0)
        for deferred in (done, failed):
            self.calls.run_until(deferred)
        self.assertNotEqual(self.successResultOf(done), here)
        self.failureResultOf(failed, ZeroDivisionError)
        self.end()

    def test_too_much(self) -> None:
        """More than may wait is refused with 503."""
        self.patch(aside, "WAITING", 1)
        gate = threading.Event()
        first, second = self.aside(gate.wait), self.aside(gate.wait)
        self.assertEqual(self.failureResultOf(second, XcapError).value.status, 503)
        gate.set()
        self.calls.run_until(first)
        self.assertTrue(self.successResultOf(first))
        self.end()

    def test_given_up(self) -> None:
        """Who gives up stops nothing; stopping waits for what was begun."""
        gate = threading.Event()
        first = self.aside(gate.wait)
        first.addErrback(lambda _: None)
        first.cancel()
        stopped = self.aside.stop()
        self.assertNoResult(stopped)
        self.failureResultOf(self.aside(gate.wait), XcapError)
        gate.set()
        self.calls.run_until(stopped)

    def test_unused(self) -> None:
        """Without work there is no thread to end."""
        self.successResultOf(self.aside.stop())


class LargeTests(XdmsTestCase):
    """Large documents are worked on beside the reactor, small ones at once."""

    def serve(self, *arguments: Any) -> DocumentServer:
        """A server that notes what it puts aside."""
        self.put_aside: list[Any] = []

        def work(job: Any) -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            try:
                done.callback(job())
            except XcapError as error:
                done.errback(error)
            self.put_aside.append(job)
            return done

        server = super().serve(*arguments)
        server._writer._aside = work
        return server

    def test_size(self) -> None:
        """The size of document and body together counts; answers are the same."""
        self.put()
        self.assertEqual(self.put_aside, [])
        self.patch(writing, "ASIDE", 10)
        self.put()
        self.assertEqual(len(self.put_aside), 1)
        self.assertConflict(self.ask("PUT", INDEX, b"<list>not closed"), "not-well-formed")
        self.assertEqual(len(self.put_aside), 2)

    def test_element(self) -> None:
        """Elements in large documents, too."""
        self.put()
        self.patch(writing, "ASIDE", 10)
        target = f"{INDEX}/~~/*/*[1]"
        answer = self.ask("GET", target)
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.ask("PUT", target, answer.body).status, 200)
        self.assertEqual(len(self.put_aside), 1)
