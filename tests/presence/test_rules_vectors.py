"""Runs the decisions of ``tests/vectors/rules``, and what they leave to see (XDM-170)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.rules.decide import decide, explain
from presence.rules.document import merge, read_rules
from presence.rules.model import Context, Watcher
from presence.rules.permissions import Permissions, read_permissions
from presence.rules.times import instant
from presence.rules.transform import transform
from pysip.uri import canonical_aor
from tests.presence.test_rules_transform import canonical, vector

VECTORS = Path(__file__).parent.parent / "vectors" / "rules"
NOW = "2026-06-01T12:00:00Z"
NAMESPACES = {"pr": "urn:ietf:params:xml:ns:pres-rules", "op": "urn:oma:xml:prs:pres-rules"}


def clark(name: str) -> str:
    """The expanded name of a prefixed one."""
    prefix, _, local = name.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


def permissions(grants: dict[str, Any] | None) -> Permissions:
    """Permissions as a case states them."""
    root = etree.Element("{urn:ietf:params:xml:ns:common-policy}transformations")
    for name, value in (grants or {}).items():
        element = etree.SubElement(root, clark(name))
        if isinstance(value, str):
            element.text = value
        else:
            for member, text in value:
                etree.SubElement(element, clark(member)).text = text
    return read_permissions(root)


class VectorTests(SynchronousTestCase):
    """One test for each file."""

    def run_file(self, name: str) -> None:
        """Decide each case of a file."""
        data = json.loads((VECTORS / name).read_bytes())
        documents = [(VECTORS / one).read_bytes() for one in data["documents"]]
        rules = merge([read_rules(octets, data["usage"]) for octets in documents])
        presentity = frozenset(map(canonical_aor, data["presentity"]))
        for case in data["cases"]:
            lists = {
                anchor: None if members is None else frozenset(map(canonical_aor, members))
                for anchor, members in {**data.get("lists", {}), **case.get("lists", {})}.items()
            }
            watcher = Watcher(
                tuple(map(canonical_aor, case["watcher"])), case.get("anonymous", False)
            )
            context = Context(
                instant(case.get("now", NOW)),
                case.get("sphere"),
                lists.get,
                case.get("privacy_is_anonymous", True),
            )
            decision = decide(rules, presentity, watcher, context)
            findings = explain(rules, presentity, watcher, context)
            until = case.get("until")
            self.assertEqual(
                (
                    decision.handling,
                    [finding.rule for finding in findings if finding.used],
                    decision.permissions,
                    decision.boundary,
                ),
                (
                    case["handling"],
                    case["rules"],
                    permissions(case.get("grants")),
                    None if until is None else instant(until),
                ),
                f"{name}: {case['name']}: {decision}",
            )
            if "published" not in data or decision.handling != "allow":
                self.assertNotIn("view", case)
                continue
            seen = transform(vector(data["published"]), decision.permissions)
            self.assertEqual(
                canonical(seen), canonical(vector(case["view"])), f"{name}: {case['name']}"
            )

    def test_complete(self) -> None:
        """XDM-170: every file is run by a test of its own."""
        names = {path.name for path in VECTORS.glob("*.json")}
        self.assertEqual(
            names,
            {f"document-{one}.json" for one in ("a", "b", "c", "d", "d-ietf", "e", "f", "k")}
            | {"document-several.json"},
        )

    def test_document_a(self) -> None:
        """XDM-170, XDM-119, XDM-130: document A of section 11, OMA's classes."""
        self.run_file("document-a.json")

    def test_document_b(self) -> None:
        """XDM-170, XDM-133, XDM-135, XDM-115, RUL-01: document B, combining and spheres."""
        self.run_file("document-b.json")

    def test_document_c(self) -> None:
        """XDM-170, XDM-117, XDM-110: document C, validity and unknown conditions."""
        self.run_file("document-c.json")

    def test_classes(self) -> None:
        """XDM-121, XDM-123, XDM-131, XDM-132, XDM-138: classes, lists, the presentity itself."""
        self.run_file("document-d.json")

    def test_no_classes(self) -> None:
        """XDM-133: for the IETF usage every rule that matches counts."""
        self.run_file("document-d-ietf.json")

    def test_identity(self) -> None:
        """XDM-111, XDM-113, XDM-114, XDM-124: one, many and except."""
        self.run_file("document-e.json")

    def test_combining(self) -> None:
        """RUL-01, RUL-05: the example of RFC 4745 section 10.3."""
        self.run_file("document-f.json")

    def test_worked_example(self) -> None:
        """RUL-30: presence-data.md K.4, from the rules to the octets that Alice sees."""
        self.run_file("document-k.json")

    def test_several(self) -> None:
        """XDM-100: the documents of the IETF usage are one rule set."""
        self.run_file("document-several.json")
