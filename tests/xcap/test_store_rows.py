"""Statements for many rows."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from xcap.store.rows import Rows


class RowsTests(SynchronousTestCase):
    """Statements with room for a power of two of rows."""

    def test_limited(self) -> None:
        """Room that is left is filled and cut off by LIMIT."""
        rows = Rows("INSERT ", "(?,?)", " LIMIT ?")
        self.assertEqual(list(rows.steps([])), [])
        self.assertEqual(list(rows.steps([1, 2])), [("INSERT (?,?) LIMIT ?", [1, 2, 1])])
        self.assertEqual(
            list(rows.steps([1, 2, 3, 4, 5, 6])),
            [("INSERT (?,?),(?,?),(?,?),(?,?) LIMIT ?", [1, 2, 3, 4, 5, 6, 0, 0, 3])],
        )

    def test_repeated(self) -> None:
        """Without LIMIT the last row is repeated."""
        rows = Rows("DELETE (", "?", ")")
        self.assertEqual(list(rows.steps([1, 2, 3])), [("DELETE (?,?,?,?)", [1, 2, 3, 3])])

    def test_several_steps(self) -> None:
        """More rows than a statement takes are several steps."""
        rows = Rows("DELETE (", "?", ")")
        steps = list(rows.steps(list(range(2048 * 2 + 1))))
        self.assertEqual([len(values) for _, values in steps], [2048, 2048, 1])
