"""Which drafts succeed; most of it is tested by the contract of the stores."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.contract.documents import ROOT, SPACE, claims, key
from xcap.errors import ClaimTaken, TagMismatch
from xcap.records import Change, Document, Draft
from xcap.store.evaluate import Ground, Work, evaluate, tags


class EvaluateTests(SynchronousTestCase):
    """Drafts upon what they find."""

    def test_refused_drafts_leave_nothing(self) -> None:
        """XCAP-145: a draft that fails changes neither what others find nor what is written."""
        ground = Ground({key(): "old"}, {}, {}, {(SPACE, "taken"): key("ann")})
        effects = evaluate(
            Work(
                [
                    Draft(key(), "other", b"<a/>", claims=claims("x")),
                    Draft(key(), "old", b"<a/>", claims=claims("x", "taken")),
                ],
                [None, None],
                5.0,
            ),
            ground,
            7,
            tags("t"),
        )
        mismatch, taken = effects.outcomes
        assert isinstance(mismatch, TagMismatch)
        assert isinstance(taken, ClaimTaken)
        self.assertEqual((mismatch.current, taken.names), ("old", ("taken",)))
        self.assertEqual(
            (effects.position, effects.documents, effects.claims, effects.claim_tags),
            (7, {}, {}, {}),
        )
        self.assertEqual(ground, Ground({key(): "old"}, {}, {}, {(SPACE, "taken"): key("ann")}))

    def test_only_the_last_state_is_written(self) -> None:
        """XCAP-148: a document that changes twice is written once and told of twice."""
        tag = tags("t")
        effects = evaluate(
            Work(
                [
                    Draft(key(), "", b"<a/>", claims=claims("x")),
                    Draft(key("ann"), "", b"<b/>"),
                ],
                [None, None],
                5.0,
            ),
            ground := Ground(),
            0,
            tag,
        )
        first = effects.outcomes[0]
        assert isinstance(first, Change)
        effects = evaluate(
            Work(
                [
                    Draft(key(), first.after, None),
                    Draft(key(), "", b"<c/>", "sip:ann@example.com", "/c", claims("y")),
                ],
                [None, None],
                6.0,
            ),
            ground,
            effects.position,
            tag,
        )
        last = effects.changes[-1]
        self.assertEqual(
            last,
            Change(4, key(), "", last.after, b"", b"<c/>", "sip:ann@example.com", "/c", 6.0),
        )
        self.assertEqual(effects.documents, {key(): Document(key(), b"<c/>", last.after, 6.0)})
        self.assertEqual(
            effects.claims,
            {(SPACE, "x"): None, (SPACE, "y"): (key(), claims("y")[0].content)},
        )
        self.assertEqual(list(effects.claim_tags), [(ROOT, SPACE)])

    def test_tags(self) -> None:
        """XCAP-151: tags of one source differ from each other and begin as told."""
        tag = tags("start-")
        found = [tag() for _ in range(100)]
        self.assertEqual(len(set(found)), 100)
        self.assertTrue(all(each.startswith("start-") for each in found))
