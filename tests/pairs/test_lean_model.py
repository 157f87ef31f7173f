"""Our watchers with all that saves traffic, and our server, in random histories against a model.

The model knows what is published, what the rules are and what each watcher wants: after a quiet
time its cache has exactly what its filter leaves of what it may see.  What goes over the wire is
looked at one by one (:mod:`tests.pairs.lean_audit`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
from lxml import etree
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from presence.compose.union import UnionComposition
from presence.interfaces import IWatchListener
from presence.pidf.offline import empty_document
from presence.policy import OperatorWatcherPolicy
from presence.rules.model import Decision, Handling
from presence.rules.permissions import Permissions, read_permissions
from presence.watcher import Known, PresenceWatch, Watcher, WatcherTerms, WatchOptions
from pysip.event.rates import Rates
from pysip.event.subscriber import NotifyRouter
from pysip.event.table import NotifierPolicy
from pysip.message import Response
from pysip.timers import TimerWheel
from pysip.tokens import TokenSource
from pysip.transport.loop import LoopDatagramTransport, LoopFlow, LoopNetwork
from pysip.ua import UserAgent
from tests.node import BOB, DOMAIN, SERVER, Node
from tests.pairs.lean_audit import MARK, LeanAudit
from tests.presence import view_oracle
from tests.presence.filters_oracle import Asked, filter_set, fires, select
from tests.presence.publications import Publications
from tests.presence.random_filters import RandomFilters
from tests.presence.random_rules import HEAD, RandomRules
from tests.pysip.scripted import Anybody, NumericLocator, random_octets

ROUTE = (f"<sip:{SERVER[0]}:{SERVER[1]};lr>",)
EVERYTHING = Asked()
RATES = (Rates(), Rates(), Rates(0.5), Rates(0.2), Rates(0.0, 0.05), Rates(1.0, 0.02, 0.09))
STEPS = 10_000
PUBLISHER = "192.0.2.10"
QUIET = 75.0
"""Seconds after which everything is told, and what was lost has been missed."""


class Network(LoopNetwork):
    """A network that has its faults on the way to watchers only."""

    def send_datagram(self, data: bytes, flow: LoopFlow, source: LoopDatagramTransport) -> None:
        """Carry a datagram; that of a publisher without faults."""
        if PUBLISHER not in (source.local[0], flow.remote[0]):
            super().send_datagram(data, flow, source)
            return
        faults = self.loss, self.duplicate, self.reorder, self.delay
        self.loss = self.duplicate = self.reorder = 0.0
        self.delay = (0.0, 0.0)
        super().send_datagram(data, flow, source)
        self.loss, self.duplicate, self.reorder, self.delay = faults


class Granting(OperatorWatcherPolicy):
    """Decisions by watcher.

    :ivar by: handling, and the transformations that are granted or None for all.
    """

    def __init__(self) -> None:
        super().__init__("allow")
        self.by: dict[str, tuple[Handling, etree._Element | None]] = {}

    def decide(self, presentity: str, watcher: Any) -> Decision:
        """What was decided last."""
        handling, granted = self.by.get(watcher.uri, ("allow", None))
        permissions = Permissions.none()
        if handling == "allow":
            permissions = Permissions.all() if granted is None else read_permissions(granted)
        return Decision(handling, permissions)


@attrs.define
class Seer:
    """A watcher, and what the model knows of it.

    :ivar asked: the filter in force; EVERYTHING for none.
    :ivar history: all that it may have been told: views before the filter.
    :ivar wanted: the filter asked for last.
    :ivar news: ends and failures of its subscriptions.
    :ivar wheel: timers of its process.
    :ivar host: where it is.
    """

    uri: str
    options: WatchOptions
    watch: PresenceWatch | None = None
    asked: Asked = EVERYTHING
    history: list[bytes] = attrs.field(factory=list)
    wanted: Asked = EVERYTHING
    news: list[str] = attrs.field(factory=list)
    wheel: TimerWheel | None = None
    host: str = ""


@implementer(IWatchListener)
class Listener:
    """Notes the end of a watch."""

    def __init__(self, seer: Seer) -> None:
        self.seer = seer

    def changed(self, watch: PresenceWatch) -> None:
        """A NOTIFY."""

    def failed(self, watch: PresenceWatch, response: Response | None, retry: float | None) -> None:
        """A SUBSCRIBE was refused or lost."""
        self.seer.news.append("failed" if response is None else str(response.status))

    def ended(self, watch: PresenceWatch, reason: str, retry: float | None) -> None:
        """A subscription has ended."""
        self.seer.news.append(reason)


class World:
    """A server, a presentity and its watchers."""

    def __init__(
        self, case: SynchronousTestCase, seed: int, share: float, policy: NotifierPolicy
    ) -> None:
        self.case = case
        self.seed = seed
        self.random = random.Random(seed)
        self.network = Network(Clock(), seed)
        self.policy = policy
        self.rules = Granting()
        self.node = self.served(Node(network=self.network, policy=policy, tcp=False))
        self.share = share
        self.audit = LeanAudit(self.node, self.allowed)
        self.publications = Publications(self.random)
        self.filters = RandomFilters(self.random)
        self.granting = RandomRules(self.random)
        self.phone = self.node.peer(PUBLISHER)
        self.etags = ["", ""]
        self.documents = [b"", b""]
        self.views: dict[Any, bytes] = {}
        self.marks: dict[bytes, set[bytes]] = {}
        self.hosts = iter(range(1, 60_000))
        self.answered = empty_document(BOB)
        self.compared = 0
        self.seers = [Seer(f"sip:w{n}@{DOMAIN}", WatchOptions()) for n in range(4)]
        self.faults(share)
        self.publish()
        for seer in self.seers:
            self.begin(seer)

    def served(self, node: Node) -> Node:
        """A node with the rules of this world."""
        node.presence.package.watchers = node.watchers = self.rules
        return node

    def faults(self, share: float) -> None:
        """Lose, double and reorder datagrams."""
        network = self.network
        network.loss = network.duplicate = network.reorder = share
        network.delay = (0.001, 0.02) if share else (0.0, 0.0)

    def advance(self, seconds: float) -> None:
        """Let time pass from one event to the next."""
        clock = self.node.clock
        end = clock.seconds() + seconds
        clock.advance(0)
        while calls := clock.getDelayedCalls():
            due = min(call.getTime() for call in calls)
            if due > end:
                break
            clock.advance(max(0.0, due - clock.seconds()))
        clock.advance(max(0.0, end - clock.seconds()))

    # -- the model

    def composed(self) -> bytes:
        """The presence of everything that is published."""
        sources = self.node.presence.package.sources(BOB)
        if not sources:
            return empty_document(BOB)
        return UnionComposition().compose(BOB, sources, self.node.wall())

    def view(self, uri: str, document: bytes = b"") -> bytes | None:
        """What a watcher may see of a document, None for nothing.

        :param document: by default everything that is published.
        """
        handling, granted = self.rules.by.get(uri, ("allow", None))
        if handling == "polite-block":
            return empty_document(BOB)
        if handling != "allow":
            return None
        document = document or self.composed()
        key = document, granted
        if key not in self.views:
            self.views[key] = view_oracle.view(etree.fromstring(document), granted)
        return self.views[key]

    def allowed(self, uri: str) -> set[bytes]:
        """The marks that a watcher may see.

        Also of what was published before, as long as the last PUBLISH is not answered: it counts
        once it is durable.
        """
        found: set[bytes] = set()
        for document in {self.answered, self.composed()}:
            view = self.view(uri, document) or b""
            if view not in self.marks:
                self.marks[view] = set(MARK.findall(view))
            found |= self.marks[view]
        return found

    def record(self) -> None:
        """Note what everybody may see now."""
        for seer in self.seers:
            view = self.view(seer.uri)
            if view is not None and (not seer.history or seer.history[-1] != view):
                seer.history.append(view)

    # -- what happens

    def publish(self) -> None:
        """Something else is published, mostly a small change; or nothing any more."""
        place = 0 if self.random.random() < 0.85 else 1
        etag = self.etags[place]
        fields: dict[str, Any] = {"sip_if_match": etag} if etag else {}
        if etag and self.random.random() < (0.05 if place == 0 else 0.5):
            body = b""
            fields["expires"] = 0
        else:
            body = self.changed(self.documents[place], alone=place == 0)
            fields["expires"] = 86400
        del self.phone.responses[:]
        self.phone.send(self.phone.request("PUBLISH", body=body, sender=BOB, **fields))
        while not self.phone.responses:
            self.advance(0.01)
        answer = self.phone.responses[-1]
        self.case.assertEqual(answer.status, 200, answer)
        self.documents[place] = body
        self.etags[place] = answer.headers["sip-etag"][0] if body else ""
        self.answered = self.composed()

    def changed(self, before: bytes, *, alone: bool) -> bytes:
        """Another document: quite another, or like the one before with other numbers in places."""
        if not before or self.random.random() < 0.3:
            return self.publications.document(BOB, alone=alone)[0]
        share = self.random.choice((0.02, 0.1, 0.5))
        text = MARK.sub(
            lambda found: b"\xc2\xa7" if self.random.random() < share else found[0], before
        )
        if self.random.random() < 0.3:
            words = [b"<basic>open<", b"<basic>closed<"]
            self.random.shuffle(words)
            text = text.replace(*words)
        return self.publications.marked(text.decode())

    def begin(self, seer: Seer, known: Known | None = None) -> None:
        """Watch, from an address of its own."""
        number = next(self.hosts)
        host = f"198.18.{number // 250}.{number % 250 + 1}"
        clock = self.node.clock
        seer.wheel = TimerWheel(clock)
        seer.host = host
        agent = UserAgent(
            clock,
            seer.wheel,
            NumericLocator("UDP"),
            Anybody(),
            tokens=TokenSource(random_octets(self.seed * 100_000 + number)),
        )
        agent.start_transport(self.network.transport((host, 5060), "UDP"))
        terms = WatcherTerms(
            local_uri=f"<{seer.uri}>",
            contact=lambda: f"<sip:w@{host}:5060>",
            route=ROUTE,
            expires=self.random.choice((60, 300, 3600)),
        )
        if known is None:
            self.ask(seer)
            choose = self.random.choice
            seer.options = WatchOptions(
                partial=self.random.random() < 0.8,
                conditional=self.random.random() < 0.7,
                compressed=self.random.random() < 0.4,
                rates=choose(RATES),
            )
        seer.asked = seer.wanted
        seer.options = attrs.evolve(seer.options, filters=self.body(seer.asked))
        if known is None:
            seer.history = []
        watcher = Watcher(NotifyRouter(agent), terms)
        seer.watch = watcher.watch(BOB, Listener(seer), seer.options, known)
        self.record()

    def ask(self, seer: Seer) -> None:
        """Choose a filter."""
        seer.wanted = EVERYTHING if self.random.random() < 0.3 else self.filters.asked()

    def body(self, asked: Asked) -> bytes:
        """A filter document, perhaps with a filter that is not in force."""
        if asked == EVERYTHING:
            off = self.filters.asked().element("a", ' enabled="false"')
            return filter_set(off) if self.random.random() < 0.2 else b""
        return filter_set(asked.element(self.random.choice("ab")))

    def forget(self, seer: Seer) -> PresenceWatch:
        """Its process ends without a word."""
        watch = seer.watch
        assert watch is not None
        watch.subscriber.router.ua.stop()
        assert seer.wheel is not None
        seer.wheel.stop()
        seer.watch = None
        return watch

    def restart_watcher(self, seer: Seer) -> None:
        """Its process ends without a word; the next one may know what the last one has known."""
        watch = self.forget(seer)
        known = None
        if watch.tag and watch.document is not None and self.random.random() < 0.7:
            known = Known(watch.tag, watch.document)
        if known is not None and self.random.random() < 0.3:
            self.ask(seer)
        self.begin(seer, known)

    def replace(self, seer: Seer) -> None:
        """It unsubscribes, and comes again."""
        assert seer.watch is not None
        seer.watch.stop()
        if self.random.random() < 0.5:
            self.advance(1.0)
        self.begin(seer)

    def other_filter(self, seer: Seer) -> None:
        """It wants something else."""
        watch = seer.watch
        assert watch is not None
        if watch.ended:
            return
        self.ask(seer)
        asked = seer.wanted

        def accepted(_: None) -> None:
            if seer.watch is watch:
                seer.asked = asked

        changing = watch.change_filters(self.body(asked)).addCallback(accepted)
        changing.addErrback(lambda failure: self.audit.errors.append(str(failure)))

    def other_rates(self, seer: Seer) -> None:
        """It wants to be told more often, or less."""
        assert seer.watch is not None
        if not seer.watch.ended:
            rates = self.random.choice(RATES)
            if self.random.random() < 0.5:
                seer.watch.change_rates(rates)
            else:
                seer.watch.subscriber.pace(rates)

    def refresh(self, seer: Seer) -> None:
        """It refreshes, perhaps under a condition."""
        assert seer.watch is not None
        if not seer.watch.ended:
            seer.watch.subscriber.refresh(full=self.random.random() < 0.3)

    def suspend(self, seer: Seer) -> None:
        """It does not want to be told anything for now."""
        assert seer.watch is not None
        seer.watch.suspend()

    def resume(self, seer: Seer) -> None:
        """It does again."""
        assert seer.watch is not None
        seer.watch.resume()

    def decide(self, seer: Seer) -> None:
        """The presentity decides otherwise on a watcher."""
        handlings: tuple[Handling, ...] = ("allow", "allow", "allow", "polite-block", "confirm")
        handling: Handling = self.random.choice((*handlings, "block"))
        granted = None
        if handling == "allow" and self.random.random() < 0.8:
            inner = self.granting.transformations()
            (granted,) = etree.fromstring(
                f"{HEAD}<cp:transformations>{inner}</cp:transformations></cp:ruleset>"
            )
            for each in list(granted):
                if each.text == "false":
                    granted.remove(each)  # as if it were absent (RUL-05)
        self.rules.by[seer.uri] = handling, granted
        self.node.presence.reauthorize()

    def cut(self, seer: Seer) -> None:
        """Nothing reaches it for a while.

        So long that its subscription ends only where the server keeps it all the same.
        """
        longest = 20.0 if self.policy.keep_on_timeout else 8.0
        self.network.cut(SERVER[0], seer.host)
        for _ in range(2):
            self.publish()
            self.record()
            self.advance(self.random.choice((1.0, longest)))
        self.network.heal(SERVER[0], seer.host)

    def restart(self, seer: Seer) -> None:
        """The server ends and starts."""
        if self.random.random() < 0.7:
            self.advance(0.5)  # what was acknowledged is noted
        self.node.presence.stop()
        self.node.done(self.node.store.stop())
        for deferred in self.node.ua.stop():
            self.node.done(deferred)
        self.node.wheel.stop()
        if self.random.random() < 0.3:
            self.advance(self.random.choice((0.3, 3.0, 20.0)))
        self.node = self.served(
            Node(store=self.node.store, network=self.network, policy=self.policy, tcp=False)
        )
        self.audit.attach(self.node)
        self.node.presence.resume()
        self.phone.node = self.node

    def step(self) -> None:
        """Something happens."""
        kinds: dict[Callable[..., None], float] = {
            self.decide: 5.0,
            self.other_filter: 8.0,
            self.other_rates: 4.0,
            self.refresh: 6.0,
            self.suspend: 3.0,
            self.resume: 4.0,
            self.restart_watcher: 3.0,
            self.replace: 1.5,
            self.restart: 1.0,
            self.cut: 1.5,
        }
        if self.random.random() < 0.6:
            self.publish()
        else:
            (do,) = self.random.choices(list(kinds), list(kinds.values()))
            do(self.random.choice(self.seers))
        self.record()
        self.advance(self.random.choice((0.0, 0.0, 0.03, 0.3, 3.0)))

    # -- the comparison

    def settle(self) -> None:
        """Compare everything at rest, and have those watch again who were refused."""
        self.faults(0.0)
        for seer in self.seers:
            if self.random.random() < 0.6:
                self.resume(seer)
        self.advance(QUIET)
        for seer in self.seers:
            if self.rules.by.get(seer.uri, ("",))[0] == "block":
                self.refresh(seer)  # a server that ended had no time to tell
        self.advance(QUIET)
        self.case.assertEqual(self.audit.errors, [])
        for seer in self.seers:
            self.compare(seer)
        for seer in self.seers:
            watch = seer.watch
            assert watch is not None
            if watch.ended or not watch.options.partial or not watch.subscriber.compressed:
                self.forget(seer)
                self.begin(seer)
        self.faults(self.share)

    def compare(self, seer: Seer) -> None:
        """What a watcher has is what there is for it."""
        watch, view = seer.watch, self.view(seer.uri)
        assert watch is not None
        handling = self.rules.by.get(seer.uri, ("allow", None))[0]
        if watch.ended:
            self.case.assertIn(seer.news[-1], ("rejected", "403"), seer)
            return
        wanted = {"block": ("idle", "trying"), "confirm": ("pending",)}.get(handling, ("active",))
        self.case.assertIn(watch.subscriber.state, wanted, (seer, watch.reason))
        self.case.assertEqual(watch.options.partial, seer.options.partial, seer)
        self.case.assertEqual(seer.asked, seer.wanted)
        if watch.subscriber.suspended or view is None:
            return
        self.compared += 1
        asked = seer.asked
        found = document(watch)
        expected = select(view, asked)
        if not asked.triggers:
            self.case.assertEqual(found, expected, seer)
        elif found != expected:
            ever = [select(each, asked) for each in seer.history]
            self.case.assertIn(found, ever, seer)
            if not asked.includes and not asked.excludes and watch.document is not None:
                self.case.assertFalse(fires(watch.document, view, asked), seer)


def document(watch: PresenceWatch) -> bytes | None:
    """What a watcher knows, None for nothing (FLT-12)."""
    if watch.document is None:
        return None
    root = etree.fromstring(watch.document)
    return view_oracle.canonical(root) if len(root) else None


class LeanModelTests(SynchronousTestCase):
    """EVT-01, ORD-02: caches are right, and nothing is told that must not be."""

    def live(self, seed: int, steps: int, share: float, policy: NotifierPolicy) -> World:
        """Live so many steps."""
        world = World(self, seed, share, policy)
        number = 0
        try:
            for number in range(steps):
                world.step()
                if number % 20 == 19:
                    world.settle()
            world.settle()
        except Exception as error:
            raise AssertionError(f"seed {seed}, step {number}: {error}") from error
        return world

    def lives(self, seeds: range, share: float, steps: int) -> None:
        """Live several lives; all ways of telling occur in them."""
        counts: Counter[str] = Counter()
        compared = 0
        for seed in seeds:
            policy = NotifierPolicy(keep_on_timeout=bool(seed % 2))
            world = self.live(seed, steps // len(seeds), share, policy)
            counts.update(world.audit.counts)
            compared += world.compared
        self.assertGreater(compared, steps // 10)
        for kind in ("full", "diff", "whole", "nothing"):
            self.assertGreater(counts[kind], steps // 50, counts)

    def test_ideal(self) -> None:
        """PNO-04 to PNO-10, SNE-01, SNE-04 to SNE-10, RAT-04, FLT-15, FLT-21, PSV-20: no faults."""
        self.lives(range(12), 0.0, STEPS // 4)

    def test_lossy(self) -> None:
        """PNO-04, PNO-09, PNO-11, SNE-12, SNE-15: with loss, repetition and disorder."""
        self.lives(range(100, 130), 0.08, 3 * STEPS // 4)
