"""Tests of :mod:`presence.pidf.summary`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from presence.pidf.parse import DocumentError
from presence.pidf.summary import Service, Summary, summarise
from tests.presence.documents import BOB, document, names, vector


class SummaryTests(SynchronousTestCase):
    """What a person wants to read of a document."""

    def test_source(self) -> None:
        """Status, contact, priority and activities are told."""
        self.assertEqual(
            summarise(vector("valid-source-a")),
            Summary(
                entity=BOB,
                services=(Service("a1", "open", BOB, "0.8", ()),),
                notes=(),
                activities=("meeting",),
                moods=(),
            ),
        )

    def test_names_and_notes(self) -> None:
        """PID-06, DMO-08: notes of all levels; ``other`` gives its text, notes no name."""
        summary = summarise(vector("valid-rpid"))
        self.assertEqual(summary.activities, ("meeting", "lunch", "stand-up"))
        self.assertEqual(summary.moods, ("in_love", "relaxed"))
        self.assertEqual(summary.notes, ("In Hall 3",))
        summary = summarise(vector("valid-extensions"))
        self.assertEqual(summary.services[0].notes, ("Hello", "Hallo & gr\u00fc\u00dfe"))
        self.assertEqual(summary.notes, ("Away until Monday",))

    def test_no_status(self) -> None:
        """PID-04: an absent basic is neither open nor closed."""
        summary = summarise(vector("valid-no-basic"))
        self.assertEqual(summary.services, (Service("t1", "", "", "", ()),))

    def test_terminal(self) -> None:
        """Text from afar cannot move the cursor of a terminal."""
        body = document("<note>a\n  b\u009b2J\u202ec&#x9;</note>")
        self.assertEqual(summarise(body).notes, ("a b2Jc",))

    def test_any_document(self) -> None:
        """All that is well-formed has a summary; what is not has an error."""
        for name in names("valid") + names("quirk") + names("encoding"):
            self.assertIsInstance(summarise(vector(name)), Summary)
        self.assertRaises(DocumentError, summarise, vector("bad-entity-bomb"))
        self.assertRaises(DocumentError, summarise, b"")
