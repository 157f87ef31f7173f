"""Runs the examples of ``tests/vectors/filters`` (FLT-30, FLT-31)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.filters.content import PIDF, WATCHERINFO, select
from presence.filters.document import read_filters
from presence.filters.errors import FilterError
from presence.filters.filterset import FilterSet
from presence.filters.triggers import fired
from presence.filters.write import write_filters
from presence.pidf import schemas
from presence.pidf.parse import parse_compact
from tests.presence.test_rules_transform import canonical

VECTORS = Path(__file__).parent.parent / "vectors" / "filters"
WATCHERINFO_SCHEMA = VECTORS.parent / "watcherinfo" / "watcherinfo.xsd"


def vector(name: str) -> bytes:
    """A file of the vectors."""
    return (VECTORS / f"{name}.xml").read_bytes()


def read_set(name: str, event: str = "presence") -> FilterSet:
    """The filters of a document, placed by a first SUBSCRIBE."""
    return FilterSet().changed(read_filters(vector(name), event))


class VectorTests(SynchronousTestCase):
    """One check for each case."""

    def setUp(self) -> None:
        """Read the cases."""
        self.cases = tomllib.loads((VECTORS / "cases.toml").read_text())["case"]
        self.winfo = etree.XMLSchema(file=str(WATCHERINFO_SCHEMA))

    def check(self, case: dict[str, Any]) -> None:
        """Apply a filter to one document after the other."""
        name, event = case["name"], case.get("event", "presence")
        if "refused" in case:
            error = self.assertRaises(FilterError, read_set, case["filter"], event)
            self.assertEqual((error.status, error.reason), (488, case["refused"]), name)
            return
        filters = read_set(case["filter"], event)
        self.assertEqual(FilterSet.decode(filters.encode()), filters, name)
        written = write_filters(filters.filters, package=event)
        self.assertEqual(FilterSet().changed(read_filters(written, event)), filters, name)
        chosen = (
            next(each for each in filters.filters if each.id == case["id"])
            if "id" in case
            else filters.chosen(case["resource"])
        )
        if chosen is None:
            raise AssertionError(name)
        kind = PIDF if event == "presence" else WATCHERINFO
        sent = vector(case["document"])
        self.assert_view(case["view"], sent, select(sent, chosen.what, kind), kind, name)
        for document, view in case.get("then", ()):
            now = vector(document)
            if view == "-":
                self.assertFalse(fired(chosen.triggers, sent, now), f"{name}: {document}")
                continue
            self.assertTrue(fired(chosen.triggers, sent, now), f"{name}: {document}")
            self.assert_view(view, now, select(now, chosen.what, kind), kind, name)
            sent = now

    def assert_view(
        self, view: str, document: bytes, found: bytes | None, kind: object, name: str
    ) -> None:
        """What is delivered is what the case says, and valid."""
        if view == "*":
            self.assertIs(found, document, name)
        elif view == "":
            self.assertIs(found, None, name)
        elif found is None:
            self.fail(name)
        else:
            self.assertEqual(canonical(found), canonical(vector(view)), name)
            schema = schemas.presence() if kind is PIDF else self.winfo
            # ids of the RFC begin with digits, which its own schema does not allow
            if schema.validate(parse_compact(document)):
                schema.assertValid(parse_compact(found))

    def test_cases(self) -> None:
        """The examples of the RFCs, FLT-30 and FLT-31 come out as they are printed.

        What they are about: FLT-05, FLT-06, FLT-07, FLT-10, FLT-14, FLT-19.
        """
        for case in self.cases:
            self.check(case)
        self.assertEqual(len({case["name"] for case in self.cases}), len(self.cases))

    def test_all_examples(self) -> None:
        """Every file takes part in a case."""
        used = set()
        for case in self.cases:
            used |= {case["filter"], case.get("document"), case.get("view")}
            used |= {name for pair in case.get("then", ()) for name in pair}
        self.assertEqual({path.stem for path in VECTORS.glob("*.xml")} - used, set())
