"""What decisions will be at other times and in other spheres (RUL-04)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from presence.rules.decide import decide
from presence.rules.document import read_rules
from presence.rules.foresight import Outlook, foresee
from presence.rules.model import Context, Watcher
from tests.presence.rulesources import BOB, JOE, rule, ruleset

OWN = frozenset((JOE,))
WATCHER = Watcher((BOB,))
ANYBODY = "<cp:identity><cp:many/></cp:identity>"


def span(start: int, end: int) -> str:
    """A validity in hours of the first day of 1970."""
    times = (f"1970-01-01T{hour:02}:00:00Z" for hour in (start, end))
    return "<cp:validity><cp:from>{}</cp:from><cp:until>{}</cp:until></cp:validity>".format(*times)


def sphere(*names: str) -> str:
    """A condition."""
    return f'<cp:sphere value="{" ".join(names)}"/>'


class ForesightTests(SynchronousTestCase):
    """Outlooks."""

    def outlook(self, *rules: str, context: Context | None = None) -> list[tuple[str, object]]:
        """Decision, and sphere or hour."""
        found = foresee(read_rules(ruleset(*rules), "ietf"), OWN, WATCHER, context or Context(0.0))
        return [(o.decision.handling, _when(o)) for o in found]

    def test_nothing(self) -> None:
        """Rules that always decide the same have no outlook."""
        self.assertEqual(self.outlook(), [])
        same = (rule(ANYBODY, "allow", "a"), rule(ANYBODY + sphere("work"), "confirm", "b"))
        self.assertEqual(self.outlook(*same), [])

    def test_times(self) -> None:
        """Each change by a validity is told once, in order; what is past is not (XDM-117)."""
        rules = (
            rule(ANYBODY + span(1, 3), "allow", "a"),
            rule(ANYBODY + span(2, 4), "confirm", "b"),
            rule(ANYBODY + span(8, 9), "block", "c"),
        )
        self.assertEqual(self.outlook(*rules), [("allow", 1), ("confirm", 3), ("block", 4)])
        late = Context(3.5 * 3600)
        self.assertEqual(self.outlook(*rules, context=late), [("block", 4)])

    def test_spheres(self) -> None:
        """Each sphere in which it is another decision is told, and none (XDM-116)."""
        rules = (
            rule(ANYBODY + sphere("work", "Office"), "allow", "a"),
            rule(ANYBODY + sphere("home"), "block", "b"),
        )
        self.assertEqual(self.outlook(*rules), [("allow", "office"), ("allow", "work")])
        there = Context(0.0, "WORK")
        self.assertEqual(self.outlook(*rules, context=there), [("block", ""), ("block", "home")])

    def test_bounded(self) -> None:
        """However many times there are, a hundred are looked at."""
        rules = [rule(ANYBODY + sphere(f"s{n:03}"), "allow", f"r{n}") for n in range(150)]
        self.assertEqual(len(self.outlook(*rules)), 100)

    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["allow", "block", "confirm"]),
                st.integers(0, 22),
                st.integers(1, 5),
            ),
            max_size=5,
        )
    )
    def test_between(self, spans: list[tuple[str, int, int]]) -> None:
        """Between two outlooks nothing changes."""
        rules = read_rules(
            ruleset(
                *(
                    rule(ANYBODY + span(start, min(start + hours, 23)), handling, f"r{n}")
                    for n, (handling, start, hours) in enumerate(spans)
                )
            ),
            "ietf",
        )
        changes = {o.at: o.decision.handling for o in foresee(rules, OWN, WATCHER, Context(0.0))}
        expected = decide(rules, OWN, WATCHER, Context(0.0)).handling
        for hour in range(24):
            expected = changes.get(hour * 3600.0, expected)
            for minute in (0, 59):
                now = Context(hour * 3600.0 + minute * 60)
                self.assertEqual(decide(rules, OWN, WATCHER, now).handling, expected)


def _when(outlook: Outlook) -> object:
    return outlook.sphere if outlook.at is None else outlook.at / 3600
