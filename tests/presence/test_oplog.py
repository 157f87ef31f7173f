"""Numbered operator problems: the catalogue, what is logged, what is counted."""

from __future__ import annotations

import pathlib
import re
from typing import Any

from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from presence import oplog
from presence.oplog import BUG, CATALOGUE, STORE_REFUSES, Problem, ProblemCounter

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "problems.md"
SOURCES = [file for part in ("presence", "pysip", "xcap") for file in ROOT.glob(f"{part}/**/*.py")]


class LogCase(SynchronousTestCase):
    """Keeps what is logged."""

    def setUp(self) -> None:
        """Make a logger."""
        self.events: list[dict[str, Any]] = []
        self.counter = ProblemCounter()
        publisher = LogPublisher(self.events.append, self.counter)
        self.log = Logger("test", observer=publisher)

    def text(self, event: dict[str, Any]) -> str:
        """The text of an event."""
        fields = {name: event[name] for name in event if not name.startswith("log_")}
        return str(event["log_format"]).format(**fields)


class CatalogueTests(SynchronousTestCase):
    """The catalogue, the guide and the code agree."""

    def test_numbers(self) -> None:
        """Every number and name is given once, every level exists."""
        problems = list(CATALOGUE.values())
        self.assertEqual(len({problem.number for problem in problems}), len(problems))
        for problem in problems:
            LogLevel.levelWithName(problem.level)
            self.assertNotIn("{", problem.title + problem.effect + problem.action)

    def test_complete(self) -> None:
        """Every problem of the module is in the catalogue."""
        named = {value for value in vars(oplog).values() if isinstance(value, Problem)}
        self.assertEqual(named, set(CATALOGUE.values()))

    def test_used(self) -> None:
        """Every problem is reported somewhere, and what the library names is known."""
        code = {file: file.read_text() for file in SOURCES if file.name != "oplog.py"}
        text = "\n".join(code.values())
        flat = re.sub(r"\(\s+", "(", text)
        for constant, value in vars(oplog).items():
            if isinstance(value, Problem) and value is not BUG:
                told = re.search(rf"report\([^)]*\b{constant}\b", text)
                named = f'problem="{value.name}"' in text or f'_alarm("{value.name}"' in flat
                self.assertTrue(told or named, constant)
        for name in re.findall(r'\bproblem="([^"]+)"', text):
            self.assertIn(name, CATALOGUE)

    def test_library_knows_no_catalogue(self) -> None:
        """Only the library names problems by text; the server has the catalogue."""
        for file in ROOT.glob("presence/**/*.py"):
            if file.name != "oplog.py":
                self.assertNotIn('problem="', file.read_text(), file)

    def test_guide(self) -> None:
        """docs/problems.md tells of each problem its title, level, effect and action."""
        guide = GUIDE.read_text(encoding="utf-8")
        sections = re.findall(
            r"^## P(\d+): (.+)\n\nLevel `(\w+)`\. (?s:.+?)\n\n- Effect: (.+)\.\n- Action: (.+)\.$",
            guide,
            re.M,
        )
        self.assertEqual(
            [(int(number), *rest) for number, *rest in sections],
            [
                (problem.number, problem.title, problem.level, problem.effect, problem.action)
                for problem in CATALOGUE.values()
            ],
        )
        self.assertEqual(guide.count("\n## "), len(sections))


class ReportTests(LogCase):
    """What is logged."""

    def test_report(self) -> None:
        """Number, cause, effect and action are in the text and in fields."""
        oplog.report(self.log, STORE_REFUSES, "disk full")
        (event,) = self.events
        self.assertEqual(
            self.text(event),
            f"P201: the store refuses writes. Cause: disk full. Effect: {STORE_REFUSES.effect}."
            f" Action: {STORE_REFUSES.action}.",
        )
        self.assertEqual((event["number"], event["problem"]), (201, "store-refuses"))
        self.assertEqual(event["log_level"], LogLevel.critical)
        self.assertEqual(self.counter.counts, {201: 1})

    def test_cleared(self) -> None:
        """The end is told at the same level, and is no further problem."""
        oplog.cleared(self.log, STORE_REFUSES)
        oplog.cleared(self.log, STORE_REFUSES, "after 3 s")
        self.assertEqual(
            [self.text(event) for event in self.events],
            [
                "P201 is over: the store refuses writes no more.",
                "P201 is over: the store refuses writes no more (after 3 s).",
            ],
        )
        self.assertEqual({event["log_level"] for event in self.events}, {LogLevel.critical})
        self.assertEqual(self.counter.counts, {})

    def test_braces(self) -> None:
        """A cause with braces is told as it is."""
        oplog.report(self.log, STORE_REFUSES, "{cause} {0}")
        self.assertIn("Cause: {cause} {0}.", self.text(self.events[0]))


class NumberedTests(LogCase):
    """Events of the library."""

    def test_failure(self) -> None:
        """A failure is a bug: it gets number and remedy, and keeps its own text."""
        self.log.failure("serving {method} failed", Failure(ValueError("x")), method="PUBLISH")
        told = oplog.numbered(self.events[0])
        self.assertEqual(
            self.text(told),
            f"P501: {BUG.title}. Effect: {BUG.effect}. Action: {BUG.action}."
            " Cause: serving PUBLISH failed",
        )
        self.assertNotIn("number", self.events[0], "other observers see the event as it was")
        self.assertEqual(self.counter.counts, {501: 1})

    def test_named(self) -> None:
        """An event that names its kind gets that number."""
        self.log.error("subscription {id} is damaged", id=7, problem="damaged-record")
        told = self.text(oplog.numbered(self.events[0]))
        self.assertTrue(told.startswith("P203: "), told)
        self.assertTrue(told.endswith("Cause: subscription 7 is damaged"), told)
        self.assertEqual(self.counter.counts, {203: 1})

    def test_others(self) -> None:
        """All other events stay as they are, whatever a field of theirs is called."""
        self.log.info("listening")
        self.log.info("unknown", problem="something else")
        self.log.info("odd", problem=["unhashable"])
        oplog.report(self.log, STORE_REFUSES, "disk full")
        for event in self.events:
            self.assertIs(oplog.numbered(event), event)
        self.assertEqual(self.counter.counts, {201: 1})

    def test_without_text(self) -> None:
        """A failure that somebody has logged without a text is told of as well."""
        event: dict[str, Any] = {"log_failure": Failure(ValueError()), "log_format": None}
        self.assertIn(f"Cause: {BUG.title}", self.text(oplog.numbered(event)))
