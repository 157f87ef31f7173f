"""The cases of ``tests/vectors/composition`` under the policies that they name."""

from __future__ import annotations

from itertools import permutations

from twisted.trial.unittest import SynchronousTestCase

from presence.compose.oma import OmaComposition
from tests.presence.compositions import DIRECTORY, canonical, cases, publication
from tests.presence.documents import BOB, strict, vector


class VectorTests(SynchronousTestCase):
    """Each case, in every order of its sources; what comes out is schema-valid."""

    def check(self, *prefixes: str) -> None:
        """Run the cases whose names begin so."""
        for prefix in prefixes:
            for case in cases(prefix):
                for source in case.sources:
                    self.assertIs(strict(source.body), source.body, case.name)
                for name, expected in case.expected.items():
                    policy = case.policy(name)
                    octets = {
                        policy.compose(BOB, order, case.now) for order in permutations(case.sources)
                    }
                    self.assertEqual(len(octets), 1, f"{case.name} {name}")
                    composed = octets.pop()
                    self.assertEqual(
                        canonical(composed).replace(b"><", b">\n<").decode().split("\n"),
                        canonical(expected).replace(b"><", b">\n<").decode().split("\n"),
                        f"{case.name} {name}",
                    )
                    self.assertIs(strict(composed), composed, f"{case.name} {name}")

    def test_worked_example(self) -> None:
        """COM-50, COM-13, COM-41, XML-03: three sources of J.6, exact in canonical XML."""
        times = {"a": 1000.0, "b": 1005.0, "c": 1007.0}
        sources = [
            publication(number, vector(f"valid-source-{letter}"), changed)
            for number, (letter, changed) in enumerate(times.items(), 1)
        ]
        expected = canonical((DIRECTORY / "worked-example.xml").read_bytes())
        for order in permutations(sources):
            composed = OmaComposition().compose(BOB, order)
            self.assertEqual(canonical(composed), expected)
            self.assertIs(strict(composed), composed)

    def test_variants(self) -> None:
        """COM-50: the five variants of the worked example."""
        self.check("worked-")
        self.assertEqual(len(cases("worked-")), 5)

    def test_tuples(self) -> None:
        """COM-05, COM-06, COM-10, COM-11, COM-12, OMA-D03: which tuples are merged, and how."""
        self.check("tuple-")

    def test_gruus(self) -> None:
        """GRU-02: two GRUUs of one address of record stay two services."""
        self.check("tuple-gruu")

    def test_timed_status(self) -> None:
        """TIM-02, TIM-03: present ones are dropped; different periods are no conflict."""
        self.check("timed-status", "tuple-no-conflict")

    def test_sources(self) -> None:
        """COM-02, COM-13: nothing of one source is merged; the order of joining is fixed."""
        self.check("same-source", "three")

    def test_equality(self) -> None:
        """COM-04, XML-05: what counts as equal."""
        self.check("equality")

    def test_persons(self) -> None:
        """COM-30, COM-31, CIP-01: persons by class and conflict, names by language."""
        self.check("person")

    def test_devices(self) -> None:
        """COM-20, COM-21, DMO-06: devices by deviceID, the most recent publication is right."""
        self.check("device")

    def test_root(self) -> None:
        """COM-40, DMO-08, PID-08: notes and extensions of the root."""
        self.check("root-")

    def test_ids(self) -> None:
        """COM-14, DMO-04, PID-09: unique, the oldest source keeps its own."""
        self.check("ids")

    def test_permanent(self) -> None:
        """COM-01, COM-46, XDM-62, XDM-64: hard state is the oldest source; empty it is none."""
        self.check("permanent")

    def test_priority(self) -> None:
        """COM-44: the operator's order of sources decides."""
        self.check("priority", "permanent")

    def test_ended(self) -> None:
        """RPI-02, OMA-D06: an element past its until is not told."""
        self.check("until")

    def test_location(self) -> None:
        """LOC-03, LOC-06: a location ends when it may not be kept longer; it is never moved."""
        self.check("location")

    def test_retried_publish(self) -> None:
        """PUB-17: the same document twice is told once by every policy."""
        self.check("retried")

    def test_all_named(self) -> None:
        """Each case says which requirements it shows, and is of a group tested above."""
        groups = (
            *("worked", "tuple", "timed", "same", "three", "equality", "person", "device", "root"),
            *("ids", "permanent", "priority", "until", "location", "retried"),
        )
        for case in cases():
            self.assertTrue(case.requirements, case.name)
            self.assertTrue(any(case.name.startswith(f"case-{group}") for group in groups))
