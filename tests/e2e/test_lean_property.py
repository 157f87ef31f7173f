"""Random histories over real sockets that lose datagrams: what watchers hold is what there is.

Both sides are the real ones: the server as a process of its own, which is killed and started, and
our library.  The oracle asks the server for the whole document that a watcher may see, without
loss, and applies the filter itself (:mod:`tests.presence.filters_oracle`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import attrs
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.watcher import Known, ListWatch, PresenceWatch, WatchOptions
from pysip.event.rates import Rates
from tests.e2e.daemon import tables
from tests.e2e.deployments import AllInOne
from tests.e2e.lossy import TIMERS, Device, Pump, Relay
from tests.e2e.phone import aor
from tests.e2e.test_lists import FRIENDS, SERVICES, services
from tests.e2e.test_rules import EVERYTHING, RULES, one, rule, ruleset
from tests.e2e.wire import HOST
from tests.pairs.lean_audit import MARK
from tests.pairs.test_presence import Silent as Quiet
from tests.presence.filters_oracle import Asked, filter_set, select
from tests.presence.publications import Publications
from tests.presence.random_filters import RandomFilters
from tests.presence.random_rules import HEAD, Choices, RandomRules
from tests.presence.view_oracle import canonical

SECONDS = 40.0
LOSS = 0.15
WATCHERS = 3
ALL = Asked()


class Silent(Quiet):
    """Is told everything and says nothing."""

    def list_changed(self, watch: Any, taken: Any) -> None:
        """A NOTIFY of a list."""


@attrs.define(eq=False)
class Seer:
    """A watcher.

    :ivar uri: its identity.
    :ivar asked: filters by the URI that they are for; "" for all.
    """

    uri: str
    asked: dict[str, Asked]
    options: WatchOptions
    device: Device | None = None
    watch: Any = None


class Course:
    """A server, publishers, watchers behind bad networks, and what happens to them."""

    users: ClassVar[tuple[str, ...]] = ("alice",)

    def __init__(self, case: SynchronousTestCase, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        changed = tables(timers=TIMERS, rls={"window": 0.1, "rate": 1000.0})
        del changed["roles"]
        self.xdm = AllInOne(case, **changed)
        self.server = self.xdm.proxy
        self.client = self.xdm.client()
        self.pump = Pump(case)
        self.publications = Publications(self.random)
        self.filters = RandomFilters(self.random)
        self.transformations = RandomRules(self.random, Choices(strict=True))
        self.documents: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.devices = 0
        self.refusals: list[str] = []
        self.connect()
        self.write_lists()
        for user in self.users:
            self.publish(user)
        self.seers = [self.seer(n) for n in range(WATCHERS)]
        for seer in self.seers:
            self.begin(seer)
        case.addCleanup(self.stop)

    def connect(self) -> None:
        """Phones without loss."""
        self.phones = {user: self.server.phone("tcp", user) for user in self.users}
        self.root = self.server.phone("tcp", "root")

    def stop(self) -> None:
        """End all watchers."""
        for seer in self.seers:
            if seer.device is not None:
                seer.device.stop()

    # -- what there is to see

    def seer(self, number: int) -> Seer:
        """A watcher that is about to begin."""
        raise NotImplementedError

    def write_lists(self) -> None:
        """Store what else there is."""

    def fetch(self, user: str, uri: str) -> bytes:
        """All that somebody may see of a user."""
        watch = self.root.subscribe(user, sender=uri, expires=0)
        assert watch.response.status == 200, watch.response
        return self.root.notify(watch).body

    def settled(self, seer: Seer) -> Callable[[], bool]:
        """Tells whether a watcher holds what it should."""
        raise NotImplementedError

    def held(self, seer: Seer) -> Any:
        """What it holds, for people."""
        raise NotImplementedError

    # -- what happens

    def publish(self, user: str = "") -> None:
        """Somebody publishes something else, mostly almost the same."""
        user = user or self.random.choice(self.users)
        before = self.documents.get(user)
        if before is None or self.random.random() < 0.25:
            body = self.publications.document(aor(user), alone=True)[0]
        else:
            share = self.random.choice((0.03, 0.2))
            text = MARK.sub(lambda m: b"\xc2\xa7" if self.random.random() < share else m[0], before)
            body = self.publications.marked(text.decode())
        answer = self.phones[user].publish(body, self.etags.get(user, ""))
        assert answer.status == 200, answer
        self.documents[user], self.etags[user] = body, answer["sip-etag"]

    def begin(self, seer: Seer, known: Known | None = None) -> None:
        """Watch, as another process."""
        self.devices += 1
        source = random.Random(self.seed * 1000 + self.devices)
        relay = Relay(self.pump, (HOST, self.server.port("udp")), LOSS, source)
        expires = self.random.choice((20, 3600))
        seer.device = Device(self.pump, relay, seer.uri, self.seed + self.devices, expires)
        seer.options = attrs.evolve(seer.options, filters=self.body(seer))
        self.watch(seer, known)

    def watch(self, seer: Seer, known: Known | None) -> None:
        """Begin the subscription."""
        raise NotImplementedError

    def body(self, seer: Seer) -> bytes:
        """The filters of a watcher."""
        filters = [
            asked.element(f"f{n}", f' uri="{uri}"' if uri else "")
            for n, (uri, asked) in enumerate(sorted(seer.asked.items()))
            if asked != ALL
        ]
        return filter_set(*filters) if filters else b""

    def wish(self, targets: Sequence[str]) -> dict[str, Asked]:
        """Filters for some of these."""
        return {each: self.filters.asked(0.15) for each in targets if self.random.random() < 0.6}

    def other_filter(self, seer: Seer) -> None:
        """It wants something else, or everything again."""
        seer.asked = self.wish(self.targets)
        changing = seer.watch.change_filters(self.body(seer))
        changing.addErrback(
            lambda failure: self.refusals.append(f"{failure.value.response.headers}")
        )

    targets: ClassVar[tuple[str, ...]] = ("",)

    def other_rates(self, seer: Seer) -> None:
        """It wants to be told more or less often."""
        seer.watch.change_rates(self.random.choice((Rates(), Rates(2.0), Rates(5.0))))

    def refresh(self, seer: Seer) -> None:
        """It refreshes, mostly under a condition."""
        seer.watch.subscriber.refresh(full=self.random.random() < 0.2)

    def suspend(self, seer: Seer) -> None:
        """It does not want to be told for now."""
        seer.watch.suspend()

    def resume(self, seer: Seer) -> None:
        """It does again."""
        seer.watch.resume()

    def restart_watcher(self, seer: Seer) -> None:
        """Its process is killed; another one takes its place."""
        assert seer.device is not None
        seer.device.stop()
        self.begin(seer, self.known(seer))

    def known(self, seer: Seer) -> Known | None:
        """What the next process knows."""
        return None

    def restart(self, seer: Seer) -> None:
        """The server is killed and started anew."""
        self.server.restart()
        self.client = self.xdm.client()
        self.connect()

    def step(self) -> None:
        """Something happens."""
        if self.random.random() < 0.5:
            self.publish()
        else:
            kinds: dict[Callable[[Seer], None], float] = {
                self.other_filter: 4.0,
                self.refresh: 3.0,
                self.other_rates: 1.0,
                self.suspend: 1.5,
                self.resume: 2.0,
                self.restart_watcher: 1.5,
                self.restart: 0.7,
                self.more: 1.5,
            }
            (do,) = self.random.choices(list(kinds), list(kinds.values()))
            do(self.random.choice(self.seers))
        self.pump.run(self.random.choice((0.0, 0.02, 0.2)))

    def more(self, seer: Seer) -> None:
        """What else may happen."""

    def settle(self) -> None:
        """At rest all hold what they should."""
        for seer in self.seers:
            seer.watch.resume()
            if any(asked.triggers for asked in seer.asked.values()):
                seer.watch.subscriber.refresh()  # which tells whatever they wait for (FLT-18)
        for seer in self.seers:
            done = self.settled(seer)
            if not self.pump.until(done, SECONDS) or self.refusals:
                raise AssertionError(
                    f"{seer.uri} {seer.asked} holds\n{self.held(seer)} {self.refusals}"
                )


class PresenceCourse(Course):
    """Watchers of one presentity, with rules."""

    def write_lists(self) -> None:
        """Alice allows everybody everything."""
        self.client.store(RULES, ruleset(rule("all", "", "allow")))

    def more(self, seer: Seer) -> None:
        """Alice shows one of them something else."""
        shown = self.random.choice((EVERYTHING, self.transformations.transformations()))
        user = seer.uri[4:].partition("@")[0]
        others = [s.uri[4:].partition("@")[0] for s in self.seers if s is not seer]
        rules = rule("one", one(user), "allow", shown) + rule("others", one(*others), "allow")
        self.client.store(RULES, f"{HEAD}{rules}</cp:ruleset>".encode())
        self.pump.run(0.5)

    def seer(self, number: int) -> Seer:
        """With random wishes."""
        options = WatchOptions(
            partial=number % 3 != 1, conditional=number % 2 == 0, compressed=number % 3 == 0
        )
        return Seer(aor(f"w{number}"), self.wish(self.targets), options)

    def watch(self, seer: Seer, known: Known | None) -> None:
        """Watch alice."""
        assert seer.device is not None
        seer.watch = seer.device.watcher.watch(aor("alice"), Silent(), seer.options, known)

    def known(self, seer: Seer) -> Known | None:
        """The document with its tag, as a rule."""
        watch: PresenceWatch = seer.watch
        if watch.document is None or not watch.tag or self.random.random() < 0.3:
            return None
        return Known(watch.tag, watch.document)

    def settled(self, seer: Seer) -> Callable[[], bool]:
        """Its document is what its filter leaves of all that it may see."""
        expected = select(self.fetch("alice", seer.uri), seer.asked.get("", ALL))
        return lambda: seer.watch.state == "active" and self.held(seer) == expected

    def held(self, seer: Seer) -> Any:
        """Its document."""
        return _plain(seer.watch.document)


class ListCourse(Course):
    """Watchers of a list of alice's, all of them her devices."""

    users: ClassVar[tuple[str, ...]] = ("bob", "carol", "alice")
    targets: ClassVar[tuple[str, ...]] = ("", aor("bob"), aor("carol"))

    def write_lists(self) -> None:
        """The list."""
        self.members = list(self.users)
        self.client.store(SERVICES, services(*map(aor, self.members)))

    def more(self, seer: Seer) -> None:
        """The list is another one."""
        self.members = self.random.sample(self.users, self.random.choice((1, 2, 3)))
        self.client.store(SERVICES, services(*map(aor, self.members)))

    def suspend(self, seer: Seer) -> None:
        """Not in lists."""

    def seer(self, number: int) -> Seer:
        """With random wishes."""
        options = WatchOptions(partial=number != 1, compressed=number == 0)
        return Seer(aor("alice"), self.wish(self.targets), options)

    def watch(self, seer: Seer, known: Known | None) -> None:
        """Watch the list."""
        assert seer.device is not None
        seer.watch = seer.device.watcher.watch_list(aor(FRIENDS), Silent(), seer.options)

    def settled(self, seer: Seer) -> Callable[[], bool]:
        """Each member is what its filter, or that for all, leaves of it."""
        expected = {}
        for user in self.members:
            asked = seer.asked.get(aor(user), seer.asked.get("", ALL))
            expected[aor(user)] = select(self.fetch(user, seer.uri), asked)
        return lambda: seer.watch.state == "active" and self.held(seer) == expected

    def held(self, seer: Seer) -> Any:
        """Documents by member."""
        watch: ListWatch = seer.watch
        found = {}
        for uri, member in watch.table.members.items():
            instance = member.instance
            found[uri] = None if instance is None else _plain(instance.document)
        return found


def _plain(document: bytes | None) -> bytes | None:
    """A document as it compares; one without content is none (FLT-12)."""
    root = etree.fromstring(document) if document else None
    return canonical(root) if root is not None and len(root) else None


class PropertyTests(SynchronousTestCase):
    """EVT-01, ORD-02: over real sockets with loss, whatever happens to either side."""

    def play(self, kind: type[Course], seed: int, steps: int) -> None:
        """Play a history; a failure tells the seed and the step."""
        number = 0
        try:
            course = kind(self, seed)
            course.settle()
            for number in range(1, steps + 1):
                course.step()
                if number % 8 == 0:
                    course.settle()
            course.settle()
        except Exception as error:
            raise AssertionError(f"seed {seed}, step {number}: {error}") from error

    def test_presence(self) -> None:
        """PNO-04, PNO-09 to PNO-11, FLT-10, FLT-19, FLT-21, SNE-03 to SNE-09, SNE-15, PSV-20."""
        self.play(PresenceCourse, 5263, 56)

    def test_list(self) -> None:
        """FLT-28, FLT-29, RLS-21, PNO-04, PNO-11: the members of a list."""
        self.play(ListCourse, 4662, 48)

    def test_any(self) -> None:
        """Both with a seed of this run."""
        seed = int(time.time()) % 1_000_000
        self.play(self.random_kind(seed), seed, 24)

    @staticmethod
    def random_kind(seed: int) -> type[Course]:
        """One of the courses."""
        kinds: tuple[type[Course], ...] = (PresenceCourse, ListCourse)
        return kinds[seed % 2]
