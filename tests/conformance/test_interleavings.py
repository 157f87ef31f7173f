"""Any order of publishing, watching, deciding and waiting (EVT-01, EVT-03)."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from presence.policy import OperatorWatcherPolicy
from pysip.message import Request, Response, response_to
from tests.node import ALICE, BOB, SERVER, Node, Peer, pidf

_NOTE = re.compile(rb"<note>([^<]*)</note>")
SOURCES, WATCHERS = 3, 3
LIFETIME = 60


class Source:
    """Publishes under one entity-tag at a time.

    :ivar note: what it has published last, "" for nothing.
    """

    def __init__(self, peer: Peer, number: int) -> None:
        self.peer = peer
        self.number = number
        self.tag: str | None = None
        self.note = ""
        self.ends = 0.0

    def publish(self, note: str, expires: int) -> None:
        """Make, modify (with a note), refresh (without) or remove (``expires`` 0)."""
        now = self.peer.node.clock.seconds()
        alive = bool(self.note) and now < self.ends
        if not note and not alive:
            return  # nothing to refresh or remove
        body = pidf(note=note).replace(b'id="t1"', b'id="t%d"' % self.number) if note else b""
        response = self.peer.publish(
            body,
            call_id=f"s{self.number}",
            from_tag=f"s{self.number}",
            sip_if_match=self.tag if alive else None,
            expires=expires,
        )
        assert response.status == 200, response.status
        self.tag = response.first("sip-etag")
        self.note = (note or self.note) if expires else ""
        self.ends = now + expires

    @property
    def current(self) -> str:
        """What is published now."""
        alive = self.peer.node.clock.seconds() < self.ends
        return self.note if alive else ""


class Watch:
    """A watcher that answers at once, late, or for a while not at all.

    :ivar last: the body of its last NOTIFY.
    :ivar state: of the last NOTIFY.
    """

    def __init__(self, peer: Peer, number: int) -> None:
        self.peer = peer
        self.number = number
        self.made: Response | None = None
        self.serial = 0
        self.last = b""
        self.state = ""
        self.cseq = 0
        self.open = ""
        self.seen: set[str] = set()
        self.delay = 0.0
        peer.answer = self.notified

    def notified(self, request: Request) -> int:
        """Check one NOTIFY against those before, and answer it in time."""
        branch = request.via.branch
        if branch in self.seen:
            return 0  # sent again; its answer is under way
        self.seen.add(branch)
        assert request.call_id == f"w{self.number}.{self.serial}", "NOTIFY of an old dialog"
        assert not self.open, "two NOTIFYs outstanding"
        assert self.state != "terminated", "NOTIFY after the last"
        assert request.cseq[0] == self.cseq + 1, "gap in CSeq"
        self.open = branch
        self.cseq = request.cseq[0]
        self.state = (request.first("subscription-state") or "").partition(";")[0]
        if request.body or self.state == "active":
            self.last = request.body
        answer = response_to(request, 200)
        if self.delay:
            self.peer.node.clock.callLater(self.delay, self.answer, answer)
        else:
            self.answer(answer)
        return 0

    def answer(self, response: Response) -> None:
        """Send the answer."""
        if response.via.branch == self.open:
            self.open = ""
        self.peer.transport.flow_to(SERVER).send(response.encode())

    @property
    def live(self) -> bool:
        """Whether it has a subscription."""
        return self.made is not None and self.state != "terminated"

    def subscribe(self, expires: int) -> None:
        """Make, refresh or end the subscription."""
        if not self.live:
            if not expires:
                return
            self.serial += 1
            self.made, self.state, self.cseq, self.last, self.open = None, "", 0, b"", ""
            fields: dict[str, Any] = {}
        else:
            assert self.made is not None
            fields = {
                "uri": self.made.contacts[0].uri,
                "to": BOB,
                "to_tag": self.made.to.tag,
            }
        response = self.peer.subscribe(
            call_id=f"w{self.number}.{self.serial}", expires=expires, **fields
        )
        if not fields and response.status in (200, 202):
            self.made = response
        elif not fields:
            assert response.status == 403, response.status


publish = st.tuples(
    st.just("publish"),
    st.integers(0, SOURCES - 1),
    st.sampled_from(["a", "b", "c", ""]),
    st.sampled_from([600, LIFETIME, 0]),
)
subscribe = st.tuples(
    st.just("subscribe"), st.integers(0, WATCHERS - 1), st.sampled_from([600, LIFETIME, 0])
)
decide = st.tuples(
    st.just("decide"), st.sampled_from(["allow", "allow", "polite-block", "confirm", "block"])
)
slow = st.tuples(st.just("slow"), st.integers(0, WATCHERS - 1), st.sampled_from([8.0, 1.0, 0.0]))
wait = st.tuples(st.just("wait"), st.sampled_from([0.5, 4.0, 30.0]))
steps = st.one_of(publish, publish, publish, subscribe, subscribe, slow, wait, decide)


class InterleavingTests(SynchronousTestCase):
    """A node, its sources and its watchers, compared with a model."""

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(steps, min_size=20, max_size=40), st.sampled_from([0.0, 5.0]))
    def test_any_order(self, todo: list[tuple[Any, ...]], interval: float) -> None:
        """Each watcher ends with what the decision lets it see of all publications (EVT-01).

        On the way no two NOTIFYs of a subscription are outstanding, none comes after the
        last, and no CSeq is left out (EVT-03).
        """
        self.node = Node(interval=interval)
        bob = self.node.peer("192.0.2.10")
        self.sources = [Source(bob, number) for number in range(SOURCES)]
        self.watches = [
            Watch(self.node.peer(f"192.0.2.{20 + number}"), number) for number in range(WATCHERS)
        ]
        self.decision = "allow"
        for watch in self.watches:
            watch.subscribe(3600)
        for step, *arguments in todo:
            getattr(self, f"do_{step}")(*arguments)
            # so that a time-out never decides between the model and the server
            self.node.advance(0.2)
        self.node.advance(20)
        self.compare()
        for watch in self.watches:
            watch.delay = 0.0
            watch.subscribe(0)
        self.node.advance(20)
        self.assertEqual(len(self.node.presence.notifier), 0)

    def do_publish(self, which: int, text: str, expires: int) -> None:
        """A source publishes, refreshes or removes."""
        self.sources[which].publish(text, expires)

    def do_subscribe(self, which: int, expires: int) -> None:
        """A watcher subscribes, refreshes or ends."""
        self.watches[which].subscribe(expires)

    def do_decide(self, decision: Any) -> None:
        """The operator's decision changes for everybody."""
        self.decision = decision
        self.node.presence.package.watchers = OperatorWatcherPolicy(decision)
        self.node.presence.reauthorize()

    def do_slow(self, which: int, delay: float) -> None:
        """A watcher takes its time from now on."""
        self.watches[which].delay = delay

    def do_wait(self, seconds: float) -> None:
        """Time passes."""
        self.node.advance(seconds)

    def compare(self) -> None:
        """What the watchers hold is what they may see now (EVT-01)."""
        published = sorted({s.current for s in self.sources if s.current})
        alive = {s.watcher.uri for s in self.node.presence.notifier.subscriptions("presence", BOB)}
        for watch in self.watches:
            if not watch.live:
                continue
            self.assertEqual(alive, {ALICE})
            seen = sorted({text.decode() for text in _NOTE.findall(watch.last)})
            if self.decision == "allow":
                self.assertEqual((watch.state, seen), ("active", published))
            elif self.decision == "polite-block":
                self.assertEqual((watch.state, seen), ("active", []))
            elif self.decision == "confirm":
                self.assertEqual(watch.state, "pending")
            else:
                self.fail("somebody still watches")
