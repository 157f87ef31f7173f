"""A presentity with 10 000 watchers changes its rules (issue 4, "is done when"; NFR-01)."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from presence.accounts import AccountStore
from presence.watcherinfo import TERMINATED, WatcherTable, read
from tests.chaos.masses import Masses, Watcher
from tests.e2e.daemon import tables
from tests.e2e.deployments import AllInOne
from tests.e2e.phone import aor, pidf
from tests.e2e.test_rules import RULES, rule, ruleset

COUNT = 10_000
BEFORE = 1_000
"""Watchers who come and go before, so that what is made once is there."""
CLASSES = tuple(f"class{n}.example" for n in range(4))
"""Domains of watchers."""
STEPS = (
    ("allow", "confirm", "polite-block", "allow"),
    ("confirm", "polite-block", "allow", "confirm"),
    ("polite-block", "allow", "block", "polite-block"),
    ("block", "block", "block", "block"),
)
"""What the rules say of each class, one set of rules after the other."""
STATES = {
    "allow": "active",
    "confirm": "pending",
    "polite-block": "active",
    "block": "terminated;reason=rejected",
}
TURNS = "presence_event_loop_turn_seconds"


class Scale(SynchronousTestCase):
    """One presentity, very many watchers."""

    def setUp(self) -> None:
        """Start; alice has published."""
        changed = tables(
            limits={
                "publish_rate": 0.0,
                "subscriptions_per_presentity": 2 * COUNT,
                "transactions": 10 * COUNT,
            },
            winfo={"per_presentity": 2 * COUNT},
            notify={"rate": 0.0, "rate_per_destination": 0.0},
            overload={"enabled": False},
            metrics={"enabled": True, "port": 0},
        )
        del changed["roles"]
        self.xdm = AllInOne(self, **changed)
        self.client = self.xdm.client()
        alice = self.xdm.proxy.phone("tcp", "alice")
        self.assertEqual(alice.publish(pidf("alice", "here")).status, 200)

    def figures(self) -> dict[str, float]:
        """The metrics."""
        place = re.search(r"http://(\S+)/metrics", self.xdm.proxy.log())
        assert place is not None
        with urllib.request.urlopen(place[0]) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def write(self, step: int) -> None:
        """Alice writes her rules."""
        rules = [
            rule(f"r{n}", f'<cp:identity><cp:many domain="{CLASSES[n]}"/></cp:identity>', handling)
            for n, handling in enumerate(STEPS[step])
        ]
        self.client.store(RULES, ruleset(*rules))

    def settle(self, masses: Masses, step: int) -> None:
        """Wait until all watchers are as the rules say; who was blocked once is gone."""
        expected = []
        for n in range(len(CLASSES)):
            handlings = [STEPS[earlier][n] for earlier in range(step + 1)]
            handling = "block" if "block" in handlings else handlings[-1]
            expected.append((STATES[handling], handling == "allow"))
        watchers = [w for w in masses.watchers.values() if w is not self.looker]
        late: list[tuple[int, Watcher]] = list(enumerate(watchers))

        def settled() -> bool:
            while late:
                n, watcher = late[-1]
                if (watcher.state, b"here" in watcher.body) != expected[n % len(CLASSES)]:
                    return False
                late.pop()
            return True

        masses.work(settled)
        states = Counter(expected[n % len(CLASSES)][0] for n in range(len(watchers)))
        figures = self.figures()
        for state, others in (("active", 1), ("pending", 0)):  # one looks at the watchers
            name = f'presence_subscriptions{{state="{state}"}}'
            self.assertEqual(figures[name], states[state] + others)
        known: Counter[str] = Counter()

        def told() -> bool:
            known.clear()
            known.update(row.status for _, row in self.table.rows() if row.status != TERMINATED)
            return known == +Counter(active=states["active"], pending=states["pending"])

        masses.work(told)
        for _, row in self.table.rows():
            state = expected[CLASSES.index(row.uri.partition("@")[2])][0].partition(";")[0]
            self.assertEqual(row.status, state)

    def long_turns(self) -> float:
        """Turns of more than 100 ms; to decide on all in one would take half a second."""
        figures = self.figures()
        return figures[f"{TURNS}_count"] - figures[TURNS + '_bucket{le="0.1"}']

    def live(self, count: int, name: str) -> None:
        """Watchers come, live through all changes of rules, and are gone."""
        self.write(0)
        masses = Masses(self.xdm.proxy.port("tcp"), "alice")
        self.table = WatcherTable()
        self.looker = masses.subscribe(f"{name}looker", aor("alice"), "presence.winfo")
        self.looker.told = lambda body: self.table.take(read(body)) if body else None
        try:
            for n in range(count):
                masses.subscribe(f"{name}{n}", f"sip:w{n}@{CLASSES[n % len(CLASSES)]}")
            masses.answered()
            self.settle(masses, 0)
            long = self.long_turns()
            for step in range(1, len(STEPS)):
                self.write(step)
                self.settle(masses, step)
            self.assertEqual(self.long_turns() - long, 0, "turns of more than 100 ms")
            masses.subscribe(f"{name}looker", aor("alice"), "presence.winfo", 0)
            masses.work(lambda: self.looker.state.startswith("terminated"))
        finally:
            masses.close()

    def test_rules_change(self) -> None:
        """Everybody gets the right state, no turn is long, and nothing is left.

        PSV-09, NOT-07; alice sees all of it in her watcher information (WIN-04, WFS-01).
        """
        self.live(BEFORE, "a")
        before = self.figures()
        self.live(COUNT, "b")
        after = self.figures()
        grown = after["presence_memory_blocks"] - before["presence_memory_blocks"]
        # One thing that each watcher leaves behind would be COUNT - BEFORE.
        self.assertLess(grown, (COUNT - BEFORE) / 2)
        self.assertEqual(after['presence_presentities{has="watchers"}'], 0)
        self.assertLess(abs(after["presence_timers"] - before["presence_timers"]), 100)

    def test_removed(self) -> None:
        """The presentity is removed: everybody is told, no turn is long (PSV-19)."""
        self.client.store(RULES, ruleset(rule("all", "", "allow")))
        masses = Masses(self.xdm.proxy.port("tcp"), "alice")
        self.addCleanup(masses.close)
        for n in range(COUNT):
            masses.subscribe(f"r{n}", f"sip:w{n}@{CLASSES[n % len(CLASSES)]}")
        masses.answered()
        late = list(masses.watchers.values())

        def told(state: str) -> bool:
            while late and late[-1].state == state:
                late.pop()
            return not late

        masses.work(lambda: told("active"))
        long = self.long_turns()
        with AccountStore(self.xdm.proxy.state / "accounts.db") as accounts:
            accounts.remove(aor("alice"))
        late += masses.watchers.values()
        masses.work(lambda: told("terminated;reason=noresource"))
        figures = self.figures()
        self.assertEqual(self.long_turns() - long, 0, "turns of more than 100 ms")
        self.assertEqual(figures['presence_presentities{has="watchers"}'], 0)
        self.assertEqual(figures["presence_publications"], 0)
