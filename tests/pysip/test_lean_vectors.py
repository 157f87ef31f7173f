"""Flows of RFC 5839 and RFC 6446 with a subscriber and a scripted notifier (events.md F, I)."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

from twisted.internet.defer import Deferred
from twisted.trial import unittest

from pysip.event.rates import Rates, read_rates
from pysip.event.subscriber import NotifyRouter, Subscriber
from pysip.event.terms import SubscriptionTerms
from pysip.message import Response
from pysip.ua import ServerRequest
from tests.pysip.scripted import SERVER, Pair
from tests.pysip.test_subscriber import Recorder

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"

Step = tuple[str, str, dict[str, str]]


def steps(text: str) -> Iterator[Step]:
    """The steps of a flow: mark, what stands behind it, header fields."""
    step: Step | None = None
    for line in text.splitlines():
        if line[:3] in ("!! ", ">> ", "<< "):
            if step is not None:
                yield step
            step = (line[:2], line[3:], {})
        elif line and not line.startswith("#"):
            assert step is not None
            name, _, value = line.partition(": ")
            step[2][name] = value
    if step is not None:
        yield step


def rates_of(words: list[str]) -> Rates:
    """``max-rate=1 min-rate=0.1``."""
    given: dict[str, str | None] = {}
    for word in words:
        name, _, given[name] = word.partition("=")
    return read_rates(given)


class Flow:
    """A subscriber, and a notifier that does as a vector tells."""

    def __init__(self, case: unittest.SynchronousTestCase) -> None:
        self.case = case
        self.pair = Pair()
        self.waiting: list[ServerRequest] = []
        self.pair.script("SUBSCRIBE", self.waiting.append)
        self.router = NotifyRouter(self.pair.client)
        self.told = Recorder()
        self.answers: list[Response] = []
        self.subscriber: Subscriber | None = None
        self.done: Deferred[None] | None = None

    def play(self, step: Step) -> None:
        """Do one step, or look at what was done."""
        mark, what, fields = step
        if mark == "!!":
            word, *rest = what.split()
            getattr(self, f"do_{word}")(rest)
        elif mark == "<<":
            self.send(what, fields)
        elif what == "SUBSCRIBE":
            self.case.assertEqual(len(self.waiting), 1, step)
            self.check(self.waiting[0].request.first, fields)
        else:
            self.case.assertEqual([str(a.status) for a in self.answers], [what])
            self.check(self.answers.pop().first, fields)
        self.pair.run()

    def check(self, first: object, fields: dict[str, str]) -> None:
        """Compare header fields."""
        assert callable(first)
        for name, value in fields.items():
            self.case.assertEqual(first(name.lower()), None if value == "-" else value, name)

    def send(self, what: str, fields: dict[str, str]) -> None:
        """Answer the SUBSCRIBE, or send a NOTIFY."""
        if what == "NOTIFY":
            headers: dict[str, str | None] = {}
            headers.update({n: v for n, v in fields.items() if n == "SIP-ETag"})
            length = int(fields.get("Content-Length", "0"))
            self.answers = self.pair.notify(
                self.pair.received[-1],
                fields["Subscription-State"],
                body=b"x" * length,
                headers=headers,
            )
            return
        served = self.waiting.pop()
        if not served.request.to.tag:
            served.to_tag = "server"
        expires = fields.get("Expires") or served.request.first("expires") or ""
        contact = ("Contact", f"<sip:server@{SERVER}:5060>")
        served.respond(int(what), headers=[("Expires", expires), contact])

    def begin(self, words: list[str], expires: int) -> None:
        """Subscribe with a tag or rates."""
        tag = "".join(word for word in words if "=" not in word)
        terms = SubscriptionTerms(
            uri="sip:bob@example.com",
            local_uri="<sip:alice@example.com>",
            package="presence",
            contact=lambda: self.pair.contact,
            accept=("application/pidf+xml",),
            expires=expires,
            rates=rates_of([word for word in words if "=" in word]),
            conditional=True,
            tag=tag,
        )
        self.subscriber = Subscriber(self.router, terms, self.told)
        self.subscriber.subscribe()

    def do_subscribe(self, words: list[str]) -> None:
        """Subscribe."""
        self.begin(words, 3600)

    def do_fetch(self, words: list[str]) -> None:
        """Poll."""
        self.begin(words, 0)

    def do_wait(self, words: list[str]) -> None:
        """Let time pass, until the subscriber sends something."""
        for _ in range(int(words[0])):
            if not self.waiting:
                self.pair.run(1, step=1)

    def do_adopted(self, words: list[str]) -> None:
        """What the notifier is known to have adopted."""
        assert self.subscriber is not None
        self.case.assertEqual(self.subscriber.adopted, rates_of(words))

    def do_over(self, words: list[str]) -> None:
        """The subscription has ended."""
        assert self.done is not None
        self.case.successResultOf(self.done)
        self.case.assertEqual(len(self.router), 0)

    def do_change(self, words: list[str]) -> None:
        """Other rates."""
        assert self.subscriber is not None
        self.subscriber.change(rates=rates_of(words))

    def do_pace(self, words: list[str]) -> None:
        """Other rates without a SUBSCRIBE."""
        assert self.subscriber is not None
        self.subscriber.pace(rates_of(words))

    def do_refresh(self, words: list[str]) -> None:
        """A refresh before it is due."""
        assert self.subscriber is not None
        self.subscriber.refresh(full=False)

    def do_unsubscribe(self, words: list[str]) -> None:
        """The end."""
        assert self.subscriber is not None
        self.done = self.subscriber.unsubscribe()

    def do_suspend(self, words: list[str]) -> None:
        """Nothing is to be notified."""
        assert self.subscriber is not None
        self.subscriber.suspend()

    def do_resume(self, words: list[str]) -> None:
        """As before."""
        assert self.subscriber is not None
        self.subscriber.resume()


class VectorTests(unittest.SynchronousTestCase):
    """The subscriber does what the RFCs show."""

    def play(self, topic: str) -> int:
        """Play the flows of a topic; how many there are."""
        paths = sorted((VECTORS / topic / "client").glob("*.txt"))
        flows = [path for path in paths if path.name != "values.txt"]
        for path in flows:
            flow = Flow(self)
            for step in steps(path.read_text("utf-8")):
                try:
                    flow.play(step)
                except self.failureException as error:
                    raise self.failureException(f"{path.name}, {step}: {error}") from None
            self.assertEqual(flow.told.failures, [], path.name)
        return len(flows)

    def test_conditional(self) -> None:
        """SNE-03, SNE-09, SNE-14, SNE-15: the figures of RFC 5839."""
        self.assertEqual(self.play("conditional"), 6)

    def test_rates(self) -> None:
        """RAT-01, RAT-03, RAT-13, RAT-14: wishes, changes and pauses of RFC 6446."""
        self.assertEqual(self.play("rates"), 4)

    def test_values(self) -> None:
        """RAT-01: what a rate is."""
        path = VECTORS / "rates" / "client" / "values.txt"
        for line in path.read_text("utf-8").splitlines():
            if not line.startswith("#"):
                text, value = line.split()
                expected = 0.0 if value == "-" else float(value)
                self.assertEqual(read_rates({"max-rate": text}).maximum, expected, line)
