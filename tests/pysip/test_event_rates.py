"""Event rate control (RFC 6446, events.md I) at the notifier, whatever the package."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pysip.event.table import NotifierPolicy
from pysip.message import Request, Response, response_to
from tests.node import BOB
from tests.pysip.eventing import Small, SmallNode


class _Case(SynchronousTestCase):
    """A watcher that says how often it wants to be told."""

    interval = 0.0

    def setUp(self) -> None:
        """A node; no watcher yet."""
        self.package = Small(bob="0")
        self.start()
        self.peer = self.node.peer()
        self.number = 0

    def start(self, **options: Any) -> None:
        """Begin with what is stored, if anything."""
        policy = NotifierPolicy(repeat_rate=1.0)
        self.node = SmallNode(self.package, interval=self.interval, policy=policy, **options)

    def subscribe(self, rates: str = "", **fields: Any) -> Response:
        """SUBSCRIBE with rate parameters."""
        self.answer = self.peer.subscribe(event=f"small{rates}", **fields)
        return self.answer

    def again(self, rates: str = "", **fields: Any) -> Response:
        """SUBSCRIBE in the dialog."""
        answer = self.answer
        dialog = {"call_id": answer.call_id, "to_tag": answer.to.tag, **fields}
        return self.peer.subscribe(event=f"small{rates}", **dialog)

    def change(self) -> None:
        """The text is another one."""
        self.number += 1
        self.package.texts[BOB] = str(self.number)
        self.node.presence.notifier.changed("small", BOB)

    def take(self) -> list[Request]:
        """The NOTIFYs since the last call."""
        taken = self.peer.notifies()
        self.peer.requests.clear()
        return taken

    def told(self) -> list[bytes]:
        """Their bodies."""
        return [request.body for request in self.take()]

    def rates(self, notify: Request) -> list[str]:
        """The rates that Subscription-State tells."""
        params = notify.headers["subscription-state"][0].split(";")[2:]
        return [param for param in params if "rate" in param]

    def run_changes(self, seconds: float) -> int:
        """Change every half second, and count the NOTIFYs."""
        for _ in range(int(seconds * 2)):
            self.change()
            self.node.advance(0.5)
        return len(self.take())


class RateTests(_Case):
    """Where the server has no interval of its own."""

    def test_adopted(self) -> None:
        """What is kept to is told in each NOTIFY (RAT-02), nothing else is (RAT-01, RAT-03)."""
        for asked, told in (
            (";max-rate=0.1", ["max-rate=0.1"]),
            (";min-rate=0.010;id=5", ["min-rate=0.01"]),
            (";adaptive-min-rate=0.1;max-rate=1", ["max-rate=1", "adaptive-min-rate=0.1"]),
            (";max-rate=0;min-rate=x", []),
            (";max-rate", []),
            ("", []),
        ):
            self.subscribe(asked)
            self.assertEqual([self.rates(n) for n in self.take()], [told])

    def test_max_rate(self) -> None:
        """At least the reciprocal between two; the newest state is told (RAT-04, RAT-06)."""
        self.subscribe(";max-rate=0.1")
        self.assertEqual(self.told(), [b"0"])
        for _ in range(5):
            self.change()
            self.node.advance(1)
        self.assertEqual(self.told(), [])
        self.node.advance(5.1)
        self.assertEqual(self.told(), [b"5"])
        self.node.advance(30)
        self.change()
        self.node.advance(0.2)
        self.assertEqual(self.told(), [b"6"])

    def test_exempt(self) -> None:
        """Answers to SUBSCRIBE, pending to active and the end do not wait (RAT-04)."""
        self.package.decision = "pending"
        self.subscribe(";max-rate=0.01")
        self.package.decision = "active"
        self.node.presence.notifier.reauthorize("small", BOB)
        self.node.advance(0.2)
        self.again(";max-rate=0.01")
        self.package.decision = "rejected"
        self.node.presence.notifier.reauthorize("small", BOB)
        self.node.advance(0.2)
        states = [n.headers["subscription-state"][0].split(";")[0] for n in self.take()]
        self.assertEqual(states, ["pending", "active", "active", "terminated"])

    def test_retransmissions_do_not_count(self) -> None:
        """A lost NOTIFY is retransmitted as ever (RAT-04)."""
        self.subscribe(";max-rate=0.01")
        self.node.advance(101)
        self.take()
        self.peer.answer = 0
        self.change()
        self.node.advance(5)
        self.assertGreater(len(self.peer.requests), 2)
        self.assertEqual(len(self.take()), 1)

    def test_after_a_failure(self) -> None:
        """What has failed is sent again no sooner than the rate allows (RAT-04)."""
        self.subscribe(";max-rate=0.1")
        self.node.advance(11)
        self.take()
        self.peer.answer = _with_event("small", 503)
        self.change()
        self.node.advance(9)
        self.assertEqual(self.told(), [b"1"])
        self.peer.answer = 200
        self.node.advance(2)
        self.assertEqual(self.told(), [b"1"])

    def test_pause(self) -> None:
        """A rate of less than once in the lifetime is raised to that (RAT-05, RAT-14)."""
        self.subscribe(";max-rate=0.0001", expires=100)
        self.assertEqual(self.rates(self.take()[0]), ["max-rate=0.01"])
        self.change()
        self.node.advance(98)
        self.assertEqual(self.take(), [])
        self.again(";max-rate=0.0001", expires=1000)
        self.assertEqual(self.rates(self.take()[0]), ["max-rate=0.001"])
        self.again(";max-rate=0.0001", expires=60)  # shortened
        (notify,) = self.take()
        self.assertEqual(self.rates(notify), [f"max-rate={1 / 60:.10f}"])

    def test_cancelled(self) -> None:
        """A SUBSCRIBE without the parameter ends it (RAT-03)."""
        self.subscribe(";max-rate=0.1;min-rate=0.05")
        self.again(";min-rate=0.05")
        self.assertEqual(self.rates(self.take()[1]), ["min-rate=0.05"])
        self.assertGreater(self.run_changes(5), 8)
        self.again()
        self.take()
        self.node.advance(50)
        self.assertEqual(self.take(), [])

    def test_min_rate(self) -> None:
        """When nothing was sent for long the state is told again; changes at once (RAT-07)."""
        self.subscribe(";min-rate=0.1")
        self.node.advance(25, step=0.5)
        self.assertEqual(self.told(), [b"0", b"0", b"0"])
        self.change()
        self.node.advance(1)
        self.assertEqual(self.told(), [b"1"])
        self.node.advance(9.5, step=0.5)
        self.assertEqual(self.told(), [b"1"])

    def test_min_rate_while_pending(self) -> None:
        """Who may not see the state yet is not told again and again."""
        self.package.decision = "pending"
        self.subscribe(";min-rate=0.1")
        self.node.advance(50, step=0.5)
        self.assertEqual(self.told(), [b""])
        self.package.decision = "active"
        self.node.presence.notifier.reauthorize("small", BOB)
        self.node.advance(15, step=0.5)
        self.assertEqual(self.told(), [b"0", b"0"])

    def test_min_rate_and_condition(self) -> None:
        """Repetitions are left out where the watcher has the state (RAT-07 with SNE-04)."""
        self.subscribe(";min-rate=0.1")
        tag = self.take()[0].headers["sip-etag"][0]
        self.assertEqual(self.again(";min-rate=0.1", suppress_if_match=tag).status, 204)
        self.node.advance(50, step=0.5)
        self.assertEqual(self.told(), [])
        self.change()
        self.node.advance(15, step=0.5)
        self.assertEqual(self.told(), [b"1", b"1"])
        self.again(";min-rate=0.1", suppress_if_match="*")
        self.node.advance(50, step=0.5)
        self.assertEqual(self.told(), [])

    def test_min_rate_with_a_slow_watcher(self) -> None:
        """While a NOTIFY waits for its answer no other one is sent (NOT-05)."""
        self.subscribe(";min-rate=1")
        self.peer.answer = 0
        self.node.advance(10, step=0.5)
        self.assertEqual(len(self.take()), 2)

    def test_min_rate_not_ready(self) -> None:
        """What the package has not gathered yet is told when it is there."""
        self.subscribe(";min-rate=0.1")
        self.take()
        self.package.open = False
        self.node.advance(30, step=0.5)
        self.package.open = True
        self.assertEqual(self.told(), [])
        self.node.advance(12, step=0.5)
        self.assertEqual(self.told()[:1], [b"0"])

    def test_adaptive(self) -> None:
        """A burst is followed by silence, about the rate is kept over the period (RAT-08)."""
        self.subscribe(";adaptive-min-rate=0.1")
        self.take()
        self.node.advance(100, step=0.5)
        self.assertApproximates(len(self.take()), 10, 1)
        self.assertEqual(self.run_changes(10), 20)
        self.node.advance(24, step=0.5)
        self.assertEqual(self.take(), [])
        self.node.advance(1000, step=0.5)
        self.assertGreater(len(self.take()), 80)

    def test_adaptive_and_max(self) -> None:
        """The maximum bounds both changes and repetitions (RAT-08 equation 2)."""
        self.subscribe(";adaptive-min-rate=0.1;max-rate=0.2")
        self.take()
        self.assertApproximates(self.run_changes(50), 10, 1)
        self.node.advance(200, step=0.5)
        self.assertGreater(len(self.take()), 10)

    def test_conflicts(self) -> None:
        """RAT-09."""
        for asked, told in (
            (";min-rate=0.5;max-rate=0.1", ["max-rate=0.1", "min-rate=0.1"]),
            (";adaptive-min-rate=0.5;max-rate=0.1", ["max-rate=0.1", "adaptive-min-rate=0.1"]),
            (";adaptive-min-rate=0.1;min-rate=0.1", ["adaptive-min-rate=0.1"]),
        ):
            self.subscribe(asked)
            self.assertEqual([self.rates(n) for n in self.take()], [told])

    def test_by_the_answer(self) -> None:
        """Event in the 2xx to a NOTIFY sets all of them anew (RAT-13, RAT-03)."""
        self.subscribe(";max-rate=0.1;min-rate=0.05")
        self.node.advance(11)
        self.take()
        self.peer.answer = _with_event("small;max-rate=0.5;unknown=1;id=7")
        self.change()
        self.node.advance(1)
        self.peer.answer = 200
        self.change()
        self.node.advance(15)
        notifies = self.take()
        self.assertEqual([n.body for n in notifies], [b"1", b"2"])
        self.assertEqual(self.rates(notifies[1]), ["max-rate=0.5"])
        self.peer.answer = _with_event("small")
        self.change()
        self.node.advance(1)
        self.peer.answer = 200
        self.take()
        self.assertEqual(self.run_changes(5), 10)

    def test_answer_that_changes_nothing(self) -> None:
        """Without Event, of another package, malformed, or no 2xx: as before (RAT-03, RAT-13)."""
        self.subscribe(";max-rate=0.1")
        answers = (
            200,
            _with_event("presence;max-rate=9"),
            _with_event("small;max-rate=9, b"),
            _with_event("small;=;"),
            _with_event("small;max-rate=9", 503),
        )
        for answer in answers:
            self.node.advance(11)
            self.take()
            self.peer.answer = answer
            self.change()
            self.node.advance(2)
            self.assertEqual(self.rates(self.take()[-1]), ["max-rate=0.1"])
        self.peer.answer = 200
        self.node.advance(11)
        self.take()
        self.assertEqual(self.run_changes(9), 1)

    def test_not_stored(self) -> None:
        """A refresh or an end that cannot be kept leaves the rates as they are."""
        self.subscribe(";max-rate=0.1;min-rate=0.05")
        self.take()
        for expires in (600, 0):
            self.node.store.fail_next()
            self.assertEqual(self.again(expires=expires).status, 500)
            self.node.advance(2)
        self.node.advance(11)
        self.take()
        self.assertEqual(self.run_changes(9), 1)
        self.node.advance(2)
        self.take()
        self.node.advance(21, step=0.5)
        self.assertEqual(len(self.take()), 1)

    def test_restart(self) -> None:
        """The rates are durable, those of an answer, too."""
        self.subscribe(";max-rate=0.1")
        self.node.advance(11)
        self.peer.answer = _with_event("small;max-rate=0.05")
        self.change()
        self.node.advance(1)
        self.peer.answer = 200
        self.node.stop()
        self.start(store=self.node.store, network=self.node.network)
        self.peer.node = self.node
        self.take()
        self.change()
        self.node.advance(1)
        self.assertEqual(self.rates(self.take()[0]), ["max-rate=0.05"])
        self.assertEqual(self.run_changes(19), 0)

    def test_nothing_is_left(self) -> None:
        """The end of a subscription stops its pulse."""
        self.subscribe(";min-rate=0.1;adaptive-min-rate=0.2")
        self.again(";min-rate=0.1", expires=0)
        self.take()
        self.node.advance(60, step=0.5)
        self.assertEqual(self.take(), [])
        self.assertEqual(len(self.node.presence.notifier), 0)


class OwnRateTests(_Case):
    """A server with an interval of its own (RAT-10)."""

    interval = 5.0

    def test_bound(self) -> None:
        """Who wants more gets what we give, and is told so if it has asked."""
        self.subscribe(";max-rate=9")
        self.assertEqual(self.rates(self.take()[0]), ["max-rate=0.2"])
        self.assertApproximates(self.run_changes(50), 10, 1)


def _with_event(event: str, status: int = 200) -> Any:
    """Answers with an Event header."""

    def answer(request: Request) -> Response:
        response = response_to(request, status)
        response.headers["event"] = [event]
        if status >= 300:
            response.headers["retry-after"] = ["1"]
        return response

    return answer
