"""Rule documents are changed so that they decide about one watcher (UAP-12)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from presence.rules import authorize as editing
from presence.rules.authorize import NotDecisiveError
from presence.rules.decide import decide
from presence.rules.document import read_rules
from presence.rules.model import VALUES, Context, Decision, Handling, Watcher
from presence.rules.permissions import Permissions
from tests.presence.rulesources import ANN, BOB, EVE, JOE, one, rule, ruleset
from xcap.validate import parse_tree, validate

NOW = 1_700_000_000.0
HANDLINGS: tuple[Handling, ...] = tuple(VALUES)


def decision(document: bytes, watcher: str, anonymous: bool = False) -> Decision:
    """What a document says."""
    rules = read_rules(document, "oma")
    return decide(rules, frozenset((JOE,)), Watcher((watcher,), anonymous), Context(0.0))


def authorize(document: bytes, owner: str, watcher: str, handling: Handling) -> bytes:
    """Edit a document that counts alone."""
    return editing.authorize(document, owner, watcher, handling, Context(NOW))


class AuthorizeTests(SynchronousTestCase):
    """Editing."""

    def check(self, document: bytes) -> None:
        """A document server would take it."""
        validate("common-policy", parse_tree(document))

    def test_new(self) -> None:
        """Without rules the usual ones are made, so that others wait as before (XDM-152)."""
        for handling in HANDLINGS:
            made = authorize(b"", JOE, ANN, handling)
            self.check(made)
            self.assertEqual(decision(made, ANN).handling, handling)
            self.assertEqual(decision(made, BOB).handling, "confirm")
            self.assertEqual(decision(made, BOB, anonymous=True).handling, "block")
            self.assertEqual(decision(made, JOE).permissions, Permissions.all())
        allowed = decision(authorize(b"", JOE, ANN, "allow"), ANN)
        self.assertEqual(allowed.permissions, Permissions.all())

    def test_others_stay(self) -> None:
        """What others have written stays, comments, order and ids included."""
        document = ruleset(one(BOB, ANN, name="friends"), "<!-- mine -->", one(EVE, name="e"))
        made = authorize(document, JOE, ANN, "block")
        self.check(made)
        self.assertIn(b"<!-- mine -->", made)
        self.assertIn(b'<cp:rule id="friends">', made)
        found = [decision(made, who).handling for who in (ANN, BOB, EVE)]
        self.assertEqual(found, ["block", "allow", "allow"])

    def test_again(self) -> None:
        """The same once more changes no octet; another decision takes the place of the first."""
        made = authorize(b"", JOE, ANN, "allow")
        self.assertIs(authorize(made, JOE, ANN, "allow"), made)
        blocked = authorize(made, JOE, ANN, "block")
        self.assertNotIn(b"presencectl_allow", blocked)
        self.assertEqual(blocked.count(ANN.encode()), 1)

    def test_foreign_rule_of_the_name(self) -> None:
        """XDM-102: a rule with the id of ours that says something else stays; ours gets another."""
        document = ruleset(one(BOB, handling="block", name="presencectl_allow"))
        made = authorize(document, JOE, ANN, "allow")
        self.check(made)
        self.assertIn(b"presencectl_allow_2", made)
        self.assertEqual(decision(made, BOB).handling, "block")

    def test_not_decisive(self) -> None:
        """A rule for everybody that allows more is told of (XDM-135)."""
        many = rule("<cp:identity><cp:many/></cp:identity>", "allow", "all")
        error = self.assertRaises(NotDecisiveError, authorize, ruleset(many), JOE, ANN, "block")
        self.assertIn("all", str(error))
        made = authorize(ruleset(rule("", "confirm", "x")), JOE, ANN, "allow")
        self.assertEqual(decision(made, ANN).handling, "allow")

    def test_time(self) -> None:
        """What holds now is decisive, not what held once (XDM-117)."""
        for start, end, decisive in ((2000, 2001, True), (2023, 2024, False), (2040, 2041, True)):
            span = (
                f"<cp:from>{start}-01-01T00:00:00Z</cp:from>"
                f"<cp:until>{end}-01-01T00:00:00Z</cp:until>"
            )
            conditions = f"<cp:identity><cp:many/></cp:identity><cp:validity>{span}</cp:validity>"
            document = ruleset(rule(conditions, "allow", "fair"))
            if decisive:
                authorize(document, JOE, ANN, "block")
            else:
                self.assertRaises(NotDecisiveError, authorize, document, JOE, ANN, "block")

    def test_ietf(self) -> None:
        """Documents of the IETF count with others, and combine otherwise (XDM-133, XDM-100)."""
        others = [read_rules(ruleset(one(ANN, handling="confirm", name="a")), "ietf")]
        document = ruleset(one(BOB, ANN, name="friends"))
        for handling in ("allow", "polite-block", "confirm"):
            made = editing.authorize(
                document, JOE, ANN, handling, Context(NOW), flavour="ietf", others=others
            )
            self.check(made)
            self.assertIn(b'id="friends"', made)
        error = self.assertRaises(
            NotDecisiveError,
            editing.authorize,
            *(document, JOE, ANN, "block", Context(NOW)),
            flavour="ietf",
            others=others,
        )
        self.assertIn("rule a (identity one): confirm", error.reasons)

    def test_taken_ids(self) -> None:
        """No rule gets an id that another document has (XDM-102)."""
        taken = ("presencectl_block", "presencectl_block_2")
        made = editing.authorize(b"", JOE, ANN, "block", Context(NOW), taken=taken)
        self.assertIn(b'"presencectl_block_3"', made)
        again = editing.authorize(made, JOE, BOB, "block", Context(NOW), taken=taken)
        self.assertEqual(again.count(b"presencectl_"), 1, "it is known as ours again")

    def test_unreadable(self) -> None:
        """What cannot be read is not changed."""
        for document in (b"<no", b"<ruleset/>", b"\xff"):
            self.assertRaises(ValueError, authorize, document, JOE, ANN, "allow")
        self.assertRaises(ValueError, authorize, b"", JOE, "https://example.com/", "allow")

    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from((ANN, BOB, EVE)), st.sampled_from(HANDLINGS)), max_size=8
        )
    )
    def test_last_wins(self, decisions: list[tuple[str, Handling]]) -> None:
        """Of any sequence of decisions the last about each watcher holds."""
        document = b""
        for watcher, handling in decisions:
            document = authorize(document, JOE, watcher, handling)
            self.check(document)
        for watcher, handling in dict(decisions).items():
            self.assertEqual(decision(document, watcher).handling, handling)
