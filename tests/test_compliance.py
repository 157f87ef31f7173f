"""docs/compliance.md is true: every requirement of this release has its test."""

from __future__ import annotations

import functools
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import compliance
from tests.compliance import Citation

CODE = '''"""A module (TXN-01 to TXN-04)."""

LIMIT = 3
"""Octets (MSG-01)."""


class Thing:
    """A thing (MSG-02)."""

    # of old (MSG-03,
    # MSG-04)
    def act(self) -> None:
        """Do it (MSG-05)."""
        return None  # MSG-06; UTF-16
'''

TEST = '''"""Proves nothing: MSG-01."""

TABLE = {
    "a": 1,  # MSG-02
}


def reader() -> None:
    """No test: MSG-03."""


class SomeTests:
    """Tests of MSG-04."""

    def test_it(self) -> None:
        """MSG-05, MSG-07..MSG-09; XYZ-01, MSG-99."""

    def prepare(self) -> None:
        """MSG-06."""
'''

REQUIREMENTS = """
["Messages"]
MSG-01 = { must = "one" }
MSG-02 = { must = "two" }
MSG-03 = { should = "three" }
MSG-04 = { must = "four" }
MSG-05 = { must = "five" }
MSG-06 = { must = "six", later = "no time" }
MSG-07 = { may = "seven" }
MSG-08 = { must = "eight" }
MSG-09 = { must = "nine", not_applicable = "never" }
[elsewhere]
TXN = 3
"""


@functools.cache
def _read() -> tuple[compliance.Requirements, list[Citation]]:
    return compliance.load(), compliance.citations()


class RealTests(SynchronousTestCase):
    """The list, the code and the tests of this checkout."""

    def setUp(self) -> None:
        """Read everything, once."""
        self.requirements, self.cited = _read()

    def test_every_must_is_proved(self) -> None:
        """A must that is not put off has a test whose docstring or comment names it."""
        missing = compliance.unproved(self.requirements, self.cited)
        self.assertEqual(missing, [], "write a test that names them, or say later = in the list")

    def test_numbers_exist(self) -> None:
        """Every number that code or tests name is that of a requirement."""
        self.assertEqual(compliance.unknown(self.requirements, self.cited), [])

    def test_page(self) -> None:
        """The page is what the tool makes of list, code and tests."""
        text = (compliance.ROOT / compliance.PAGE).read_text("utf-8")
        same = text == compliance.page(self.requirements, self.cited)
        self.assertTrue(same, f"{compliance.PAGE} is out of date: run python tests/compliance.py")

    def test_reasons(self) -> None:
        """What is put off says why in words of its own."""
        for each in self.requirements.listed.values():
            if each.state:
                self.assertGreater(len(each.reason.split()), 1, each.number)


class ToolTests(SynchronousTestCase):
    """The tool on a small checkout."""

    def setUp(self) -> None:
        """Write it."""
        self.root = Path(self.mktemp())
        for name, text in (
            ("pysip/thing.py", CODE),
            ("tests/unit/test_thing.py", TEST),
            ("tests/unit/tool.py", TEST),
            ("docs/requirements.toml", REQUIREMENTS),
        ):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        self.requirements = compliance.load(self.root)
        self.cited = compliance.citations(self.root)

    def places(self, path: str) -> dict[str, str]:
        """Symbol by number of the citations in a file."""
        return {c.number: c.symbol for c in self.cited if c.path == path}

    def test_symbols(self) -> None:
        """A number belongs to the innermost definition around it or below it."""
        self.assertEqual(
            self.places("pysip/thing.py"),
            {
                "TXN-01": "",
                "TXN-02": "",
                "TXN-03": "",
                "TXN-04": "",
                "MSG-01": "LIMIT",
                "MSG-02": "Thing",
                "MSG-03": "Thing.act",
                "MSG-04": "Thing.act",
                "MSG-05": "Thing.act",
                "MSG-06": "Thing.act",
            },
        )

    def test_proofs(self) -> None:
        """Tests, their classes and tables prove; modules, helpers and ranges do not."""
        proofs = {(c.number, c.symbol) for c in self.cited if c.proves}
        self.assertEqual(
            proofs,
            {
                ("MSG-02", "TABLE"),
                ("MSG-04", "SomeTests"),
                *((n, "SomeTests.test_it") for n in ("MSG-05", "MSG-07", "MSG-09", "MSG-99")),
                ("XYZ-01", "SomeTests.test_it"),
            },
        )
        self.assertIn(
            Citation("MSG-08", "tests/unit/test_thing.py", "SomeTests.test_it", False), self.cited
        )

    def test_missing(self) -> None:
        """Only a must that is not put off has to be proved."""
        self.assertEqual(compliance.unproved(self.requirements, self.cited), ["MSG-01", "MSG-08"])

    def test_unknown(self) -> None:
        """Numbers of no list, beyond a list's end, and of no prefix at all."""
        self.assertEqual(
            sorted({line.partition(" ")[0] for line in self.unknown()}),
            ["MSG-99", "TXN-04", "XYZ-01"],
        )

    def unknown(self) -> list[str]:
        """What the tool calls unknown."""
        return compliance.unknown(self.requirements, self.cited)

    def test_page(self) -> None:
        """Counts and rows; lines may move without a change."""
        page = compliance.page(self.requirements, self.cited)
        self.assertIn("| Messages | 7 | 3 | 1 | 1 | 2 | 0 |", page)
        self.assertIn("| MSG-06 | six<br>*later*: no time | `pysip/thing.py:Thing.act` |  |", page)
        self.assertIn("| MSG-03 | three (should) | `pysip/thing.py:Thing.act` |  |", page)
        path = self.root / "pysip/thing.py"
        path.write_text("\n\n" + path.read_text("utf-8").replace("Octets", "Many\noctets"), "utf-8")
        moved = compliance.page(self.requirements, compliance.citations(self.root))
        self.assertEqual(moved, page)

    def test_bad_lists(self) -> None:
        """A line without strength, with two states or with an unknown key is refused."""
        for line in (
            'MSG-01 = { title = "x" }',
            'MSG-01 = { must = "x", later = "y", not_applicable = "z" }',
            'MSG-01 = { must = "x", latter = "y" }',
            'MSG-1 = { must = "x" }',
        ):
            (self.root / "docs/requirements.toml").write_text(f"[A]\n{line}\n[elsewhere]\n")
            self.assertRaises(ValueError, compliance.load, self.root)
