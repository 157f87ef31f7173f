"""Random interleavings of everything against a simple model (EVT-01, EVT-03, WISHES 4).

The model knows what was acknowledged: publications with their notes and deadlines,
subscriptions with theirs, and the operator's decision.  Requests are sent without
waiting for answers, so that they meet in the node; after a quiet time each watcher's
last document must show exactly what the model says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from presence.store.memory import MemoryStore
from pysip.header import parse_subscription_state
from pysip.message import Request, Response
from tests.audit import NotifyAudit
from tests.node import BOB, Node, Peer, pidf

CAROL = "sip:carol@example.com"
PRESENTITIES = (BOB, CAROL)
WATCHERS = ("sip:alice@example.com", "sip:dave@example.com")
DECISIONS = ("allow", "allow", "confirm", "polite-block", "block")
STATES = {"allow": "active", "polite-block": "active", "confirm": "pending"}
EDGE = 0.3
"""Seconds around a deadline in which the model does not know yet."""


@attrs.define(eq=False)
class Published:
    """A publication as it was acknowledged last."""

    presentity: str
    tag: str
    note: str
    deadline: float


@attrs.define(eq=False)
class Subscribed:
    """A subscription as it was acknowledged last.

    :ivar sure: its watcher has always answered, so the model knows whether it lives.
    """

    watcher: Peer
    presentity: str
    call_id: str
    to_tag: str
    contact: str
    deadline: float
    sure: bool = True


class Interleavings(RuleBasedStateMachine):
    """A node, a publisher and two watchers."""

    interval = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.node = Node(interval=self.interval)
        self.audit = NotifyAudit(self.node)
        self.publisher = self.node.peer("192.0.2.10")
        self.watchers = [self.node.peer(f"192.0.2.{20 + n}") for n in range(2)]
        self.decision = "allow"
        self.count = 0
        self.expired = -100.0  # when a publication was seen to have expired
        self.publications: list[Published] = []
        self.subscriptions: list[Subscribed] = []
        self.waiting: dict[tuple[str, int], Callable[[Response], None]] = {}
        # entity-tags, and subscriptions to be ended, in requests under way
        self.rivals: Counter[str] = Counter()

    # -- requests and what their answers mean

    @property
    def now(self) -> float:
        """Seconds."""
        return self.node.clock.seconds()

    def send(self, peer: Peer, request: Request, done: Callable[[Response], None]) -> None:
        """Send without waiting."""
        self.waiting[request.call_id, request.cseq[0]] = done
        peer.send(request)

    def pump(self, seconds: float = 0.0) -> None:
        """Let time pass, and note what the answers say, in their order."""
        clock = self.node.clock
        end = self.now + seconds
        clock.advance(0)
        while calls := clock.getDelayedCalls():
            due = min(call.getTime() for call in calls)
            if due > end:
                break
            clock.advance(max(0.0, due - self.now))
        clock.advance(max(0.0, end - self.now))
        for peer in (self.publisher, *self.watchers):
            for response in peer.responses:
                done = self.waiting.pop((response.call_id, response.cseq[0]), None)
                if done is not None:
                    done(response)
            del peer.responses[:]
        limit = self.now - EDGE
        live = [p for p in self.publications if p.deadline > limit]
        if len(live) < len(self.publications):
            self.expired = self.now
        self.publications = live
        self.subscriptions = [s for s in self.subscriptions if s.deadline > limit]

    def document(self, presentity: str) -> tuple[str, bytes]:
        """A new note and the document with it."""
        self.count += 1
        note = f"n{self.count}"
        return note, pidf(presentity, note=note)

    # -- publications

    @rule(presentity=st.sampled_from(PRESENTITIES), expires=st.sampled_from((60, 90, 600)))
    def publish(self, presentity: str, expires: int) -> None:
        """A new publication."""
        note, body = self.document(presentity)
        request = self.publisher.request(
            "PUBLISH", presentity, sender=presentity, body=body, expires=expires
        )
        deadline = self.now + expires

        def done(response: Response) -> None:
            assert response.status in (200, 500, 503), response.status
            if response.status == 200:
                tag = response.first("sip-etag") or ""
                self.publications.append(Published(presentity, tag, note, deadline))

        self.send(self.publisher, request, done)

    @precondition(lambda self: self.publications)
    @rule(data=st.data(), kind=st.sampled_from(("modify", "modify", "refresh", "remove")))
    def change(self, data: st.DataObject, kind: str) -> None:
        """Modify, refresh or remove a publication; perhaps by a tag that was just used."""
        target = data.draw(st.sampled_from(self.publications))
        note, body, expires = target.note, b"", 90
        if kind == "modify":
            note, body = self.document(target.presentity)
        elif kind == "remove":
            expires = 0
        tag = target.tag
        request = self.publisher.request(
            "PUBLISH",
            target.presentity,
            sender=target.presentity,
            body=body,
            expires=expires,
            sip_if_match=tag,
        )
        deadline = self.now + expires
        self.rivals[tag] += 1

        def done(response: Response) -> None:
            status = response.status
            self.rivals[tag] -= 1
            if status == 412:
                # somebody is faster or was, or it has just expired
                late = target.tag != tag or target.deadline < self.now + EDGE
                assert late or self.rivals[tag], "nobody else has used the tag"
                return
            assert status in (200, 500, 503), status
            if status == 200:
                assert target.tag == tag, "two have won with one tag"  # PUB-13
                target.tag = response.first("sip-etag") or ""
                target.note, target.deadline = note, deadline
                if kind == "remove":
                    self.publications.remove(target)

        self.send(self.publisher, request, done)

    # -- subscriptions

    @rule(
        number=st.integers(0, 1),
        presentity=st.sampled_from(PRESENTITIES),
        expires=st.sampled_from((60, 90, 600, 0)),
    )
    def subscribe(self, number: int, presentity: str, expires: int) -> None:
        """A new subscription, or a fetch."""
        peer = self.watchers[number]
        self.count += 1
        request = peer.request(
            "SUBSCRIBE",
            presentity,
            sender=WATCHERS[number],
            call_id=f"s{self.count}",
            expires=expires,
        )
        deadline = self.now + expires

        def done(response: Response) -> None:
            assert response.status in (200, 202, 403, 500, 503), response.status
            if response.status < 300 and expires:
                self.subscriptions.append(
                    Subscribed(
                        peer,
                        presentity,
                        request.call_id,
                        response.to.tag,
                        response.contacts[0].uri,
                        deadline,
                        peer.answer == 200,
                    )
                )

        self.send(peer, request, done)

    @precondition(lambda self: self.subscriptions)
    @rule(data=st.data(), expires=st.sampled_from((90, 90, 0)))
    def again(self, data: st.DataObject, expires: int) -> None:
        """Refresh or end a subscription."""
        target = data.draw(st.sampled_from(self.subscriptions))
        peer = target.watcher
        request = peer.request(
            "SUBSCRIBE",
            target.contact,
            sender=WATCHERS[self.watchers.index(peer)],
            to=target.presentity,
            to_tag=target.to_tag,
            call_id=target.call_id,
            expires=expires,
        )
        deadline = self.now + expires
        self.rivals[target.call_id] += expires == 0

        def done(response: Response) -> None:
            status = response.status
            self.rivals[target.call_id] -= expires == 0
            if status == 481:
                known = target in self.subscriptions and target.deadline > self.now + EDGE
                ending = bool(self.rivals[target.call_id])
                assert not (known and target.sure) or ending or self.decision == "block"
                target.sure = False
                return
            assert status in (200, 202, 500, 503), status
            if status < 300:
                target.deadline = deadline
                if not expires and target in self.subscriptions:
                    self.subscriptions.remove(target)

        self.send(peer, request, done)

    # -- the world around

    @rule(decision=st.sampled_from(DECISIONS))
    def decide(self, decision: str) -> None:
        """The operator decides anew."""
        self.decision = decision
        self.node.watchers.default = decision  # type: ignore[assignment]
        self.node.presence.reauthorize()
        if decision == "block":
            for subscription in self.subscriptions:
                subscription.sure = False  # gone as soon as that is durable
                subscription.deadline = self.now

    @rule(times=st.integers(1, 3))
    def fail_store(self, times: int) -> None:
        """The store refuses the next writes."""
        self.node.store.fail_next(times)

    @rule(number=st.integers(0, 1), answer=st.sampled_from((0, 0, 500, 481)))
    def deafen(self, number: int, answer: int) -> None:
        """A watcher does not answer, or badly, from now on."""
        peer = self.watchers[number]
        peer.answer = answer
        for subscription in self.subscriptions:
            if subscription.watcher is peer:
                subscription.sure = False

    @rule(number=st.integers(0, 1))
    def hear(self, number: int) -> None:
        """A watcher answers again."""
        self.watchers[number].answer = 200

    @rule(seconds=st.sampled_from((0.0, 0.0, 0.1, 1.0, 6.0, 33.0, 61.0)))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.pump(seconds)

    @rule()
    def restart(self) -> None:
        """The process ends and another one begins."""
        if any(peer.answer != 200 for peer in self.watchers):
            # What is not acknowledged can only be noted by a store that works.
            self.node.store.fail_next(0)
            self.pump(1.5)
        self.pump(0.1)
        self.take_over(self.node.restart())

    @precondition(lambda self: all(peer.answer == 200 for peer in self.watchers))
    @rule()
    def crash(self) -> None:
        """The process is killed; what was committed is there, and only that."""
        self.node.store.fail_next(0)
        self.pump(1.5)
        old = self.node
        store = MemoryStore(old.clock)
        for name in ("_publications", "_subscriptions", "_digests"):
            setattr(store, name, dict(getattr(old.store, name)))
        for deferred in old.ua.stop():
            old.done(deferred)
        old.wheel.stop()
        self.take_over(Node(store=store, network=old.network, interval=self.interval))

    def take_over(self, node: Node) -> None:
        """Go on with another process."""
        self.waiting.clear()
        self.rivals.clear()
        node.watchers.default = self.decision  # type: ignore[assignment]
        self.node = node
        for peer in (self.publisher, *self.watchers):
            peer.node = node
        self.audit.attach(node)
        node.presence.package
        node.presence.resume()

    # -- what must be true

    @initialize()
    def begin(self) -> None:
        """Somebody is published and watched."""
        self.publish(BOB, 600)
        self.subscribe(0, BOB, 600)
        self.pump(0.1)

    @rule()
    def check(self) -> None:
        """When it is quiet everybody knows the truth."""
        for peer in self.watchers:
            peer.answer = 200
        self.node.store.fail_next(0)
        self.pump(18.0 + 2 * self.interval)  # the store recovers, NOTIFYs are repeated
        while self.now < self.expired + self.interval + 3 or any(
            abs(known.deadline - self.now) < 2 * EDGE
            for known in (*self.publications, *self.subscriptions)
        ):
            self.pump(0.5)
        self.compare_publications()
        self.compare_subscriptions()
        assert self.audit.errors == [], self.audit.errors

    def compare_publications(self) -> None:
        """The compositor has what was acknowledged, and nothing else."""
        for presentity in PRESENTITIES:
            kept = self.node.presence.compositor.publications("presence", presentity)
            known = [p for p in self.publications if p.presentity == presentity]
            assert {r.etag for r in kept} == {p.tag for p in known}
            assert len(kept) == len(known)

    def compare_subscriptions(self) -> None:
        """Live subscriptions are those that were acknowledged; all show the truth."""
        for presentity in PRESENTITIES:
            live = self.node.presence.notifier.subscriptions("presence", presentity)
            found = {s.dialog.call_id for s in live}
            sure = {s.call_id for s in self.subscriptions if s.presentity == presentity and s.sure}
            assert sure <= found, "a subscription is lost"
            notes = sorted(p.note for p in self.publications if p.presentity == presentity)
            for subscription in live:
                assert subscription.state == STATES[self.decision]
                self.compare_last(subscription, notes)

    def compare_last(self, subscription: Any, notes: list[str]) -> None:
        """What a watcher was told last (EVT-01)."""
        told = [
            notify
            for peer in self.watchers
            for notify in peer.notifies()
            if notify.call_id == subscription.dialog.call_id
        ]
        last = max(told, key=lambda notify: notify.cseq[0])
        state = parse_subscription_state(last.first("subscription-state") or "")[0]
        assert state == subscription.state, (state, subscription.state)
        if self.decision == "confirm":
            assert last.body == b""
            return
        seen = sorted(re.findall(r"<note>(\w+)</note>", last.body.decode()))
        assert seen == ([] if self.decision == "polite-block" else notes), (seen, notes)

    def teardown(self) -> None:
        """In the end it is quiet; then everything expires and nothing is left."""
        self.check()
        self.pump(700)
        node = self.node
        assert len(node.presence.notifier) == 0
        assert node.presence.compositor.count == 0
        self.pump(40)
        assert len(node.ua.layer.clients) == 0
        assert len(node.ua.layer.servers) == 0
        assert len(node.wheel) == 0, len(node.wheel)
        assert len(node.presence.package._views) == 0
        assert self.audit.errors == [], self.audit.errors


class Gated(Interleavings):
    """The same with the rate gate."""

    interval = 5.0


class ModelTests(SynchronousTestCase):
    """The node against the model."""

    def play(self, machine: type[Interleavings], examples: int) -> None:
        """Run so many random interleavings."""
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

    def test_interleavings(self) -> None:
        """Every watcher knows the truth once it is quiet (EVT-01, EVT-03, WISHES 4)."""
        self.play(Interleavings, 120)

    def test_rate_gate(self) -> None:
        """With the rate gate as well (NOT-13)."""
        self.play(Gated, 60)
