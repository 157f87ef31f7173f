"""The product's decisions and views compared with those of brute-force evaluators (XDM-171)."""

from __future__ import annotations

import random
from datetime import timedelta

import attrs
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.pidf import schemas
from presence.rules.decide import decide, explain
from presence.rules.document import RuleSet, merge, read_rules
from presence.rules.model import Context, Watcher
from presence.rules.permissions import Permissions, read_permissions
from presence.rules.sphere import sphere_of
from presence.rules.transform import transform
from pysip.uri import canonical_aor
from tests.presence import rules_oracle as oracle
from tests.presence import view_oracle
from tests.presence.publications import Publications
from tests.presence.random_rules import ANCHORS, SPHERES, URIS, RandomRules

CASES = 10
DOCUMENTS = 1000


class Cases:
    """Makes watchers and situations from a seed, with rules and publications."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rules = RandomRules(self.random)
        self.publications = Publications(self.random)

    def case(self) -> oracle.Case:
        """A watcher and a situation."""
        lists: dict[str, list[str] | None] = {}
        for anchor in ANCHORS:
            if self.random.random() < 0.9:
                lists[anchor] = None if self.random.random() < 0.2 else self.rules.some(URIS, 4)
        return oracle.Case(
            oma=self.random.random() < 0.6,
            presentity=["sip:joe@example.com", "tel:+15550199"],
            watcher=self.rules.some(URIS, 2) if self.random.random() < 0.9 else [],
            anonymous=self.random.random() < 0.2,
            switch=self.random.random() < 0.7,
            now=self.rules.time() + timedelta(minutes=self.random.choice((0, 0, 30))),
            sphere=self.random.choice([None, *SPHERES]),
            lists=lists,
        )


def ask(rules: RuleSet, case: oracle.Case) -> tuple:
    """The product's decision on a case, and what it tells of the rules."""
    members = {
        anchor: None if found is None else frozenset(map(canonical_aor, found))
        for anchor, found in case.lists.items()
    }
    watcher = Watcher(tuple(map(canonical_aor, case.watcher)), case.anonymous)
    context = Context(case.now.timestamp(), case.sphere, members.get, case.switch)
    presentity = frozenset(case.presentity)
    return (
        decide(rules, presentity, watcher, context),
        explain(rules, presentity, watcher, context),
    )


class OracleTests(SynchronousTestCase):
    """Product and oracle say the same."""

    def test_agree(self) -> None:
        """XDM-171: ten thousand random cases have the decision that a plain reading gives.

        RUL-20, XDM-142: and so has the document that its permissions leave of a publication,
        whose sphere counts in half of the cases (XDM-116).
        XDM-117: neither does the decision change before the boundary that it tells.
        """
        seen: set[tuple[str, bool]] = set()
        views: set[bytes] = set()
        for seed in range(DOCUMENTS):
            cases = Cases(seed)
            several = cases.random.choice((1, 1, 2))
            texts = [cases.rules.document(one) for one in range(several)]
            trees = [etree.fromstring(text) for text in texts]
            compiled = {
                flavour: merge([read_rules(text.encode(), flavour) for text in texts])
                for flavour in ("oma", "ietf")
            }
            for number in range(CASES):
                published, spheres = cases.publications.document("sip:joe@example.com")
                tree = etree.fromstring(published)
                sphere = spheres.pop() if len(spheres) == 1 else None
                self.assertEqual(sphere_of([tree], 0.0), sphere, published)
                case = cases.case()
                if number % 2:
                    case = attrs.evolve(case, sphere=sphere)
                rules = compiled["oma" if case.oma else "ietf"]
                decision, findings = ask(rules, case)
                handling, granted, used = oracle.decide(trees, case)
                about = f"seed {seed}: {case}\n{texts}\n{decision}"
                self.assertEqual(decision.handling, handling, about)
                wanted = Permissions.all() if granted is None else read_permissions(granted)
                self.assertEqual(decision.permissions, wanted, about)
                told = [finding.rule for finding in findings if finding.used]
                self.assertEqual(told, used, about)
                if number % 3 == 0:
                    self.check_boundary(trees, case, decision, about)
                seen.add((handling, case.oma))
                found = etree.fromstring(transform(published, decision.permissions))
                if number == 0:
                    schemas.presence().assertValid(tree)
                view = view_oracle.view(tree, granted)
                self.assertEqual(view_oracle.canonical(found), view, f"{about}\n{published!r}")
                views.add(view)
        self.assertEqual(len(seen), 8)
        self.assertGreater(len(views), 1500)

    def check_boundary(self, trees, case: oracle.Case, decision, about: str) -> None:
        """The oracle's decision is the same at every time of the document before it."""
        now = oracle.decide(trees, case)
        later = sorted(
            {
                oracle.moment(one.text or "")
                for tree in trees
                for one in tree.iter(f"{oracle.CP}from", f"{oracle.CP}until")
            }
        )
        for time in later:
            if time <= case.now:
                continue
            if decision.boundary is not None and time.timestamp() >= decision.boundary:
                break
            then = oracle.decide(trees, attrs.evolve(case, now=time))
            self.assertEqual((then[0], then[2]), (now[0], now[2]), about)
