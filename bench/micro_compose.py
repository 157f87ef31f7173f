"""CPU cost of composition by policy and number of sources, in microseconds.

Run: ``python -m bench.micro_compose [repetitions]``

``worked example`` is that of presence-data.md J.6, of one to three sources; ``alike`` are
sources that all say the same of one service and person, ``apart`` such that contradict each
other; ``large`` are two documents of some 200 KiB, whose tuples fit none of each other's.
Reading the documents is part of it, and shown for comparison. The best of several rounds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from presence.compose.newest import NewestComposition
from presence.compose.oma import OmaComposition
from presence.compose.union import UnionComposition
from presence.interfaces import ICompositionPolicy
from presence.pidf.parse import parse_compact
from pysip.event.records import PublicationRecord

BOB = "sip:bob@home.example"
VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "pidf"
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<presence xmlns="urn:ietf:params:xml:ns:pidf"'
    ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
    ' xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"'
    f' entity="{BOB}">'
)


def publication(number: int, body: bytes) -> PublicationRecord:
    """A publication, newer than those with a lower number."""
    at = float(number)
    kind = "application/pidf+xml"
    return PublicationRecord(number, "presence", BOB, "e", 1e12, at, at, BOB, kind, body)


def records(bodies: Sequence[bytes]) -> list[PublicationRecord]:
    """Publications of bodies, oldest first."""
    return [publication(number, body) for number, body in enumerate(bodies, 1)]


def phone(number: int, note: str) -> bytes:
    """What a client publishes."""
    return (
        f'{HEAD}<tuple id="t{number}"><status><basic>open</basic></status>'
        f'<contact priority="0.{number}">{BOB}</contact><note>{note}</note>'
        f"<timestamp>2026-01-05T10:{number:02}:00Z</timestamp></tuple>"
        f'<dm:person id="p{number}"><r:activities><r:meeting/></r:activities>'
        f"<dm:note>{note}</dm:note></dm:person></presence>"
    ).encode()


def large(name: str) -> bytes:
    """A document with very many tuples."""
    tuples = "".join(
        f'<tuple id="{name}{i}"><status/><note>{name}{i}</note></tuple>' for i in range(4000)
    )
    return f"{HEAD}{tuples}</presence>".encode()


def read(made: Sequence[PublicationRecord]) -> None:
    """What every composition of several sources does first."""
    for record in made:
        parse_compact(record.body)


def measure(work: Callable[[], object], repetitions: int) -> float:
    """CPU time of one call in microseconds: the best of twenty rounds."""
    best = float("inf")
    for _ in range(20):
        start = time.process_time()
        for _ in range(repetitions):
            work()
        best = min(best, time.process_time() - start)
    return best / repetitions * 1e6


def main(repetitions: int = 100) -> None:
    """Print a table."""
    worked = [(VECTORS / f"valid-source-{letter}.xml").read_bytes() for letter in "abc"]
    cases = {
        "worked example 1": records(worked[:1]),
        "worked example 2": records(worked[:2]),
        "worked example 3": records(worked),
        "alike 2": records([phone(i, "n") for i in (1, 2)]),
        "alike 8": records([phone(i, "n") for i in range(8)]),
        "apart 2": records([phone(i, f"n{i}") for i in (1, 2)]),
        "apart 8": records([phone(i, f"n{i}") for i in range(8)]),
        "large 2": records([large("a"), large("b")]),
    }
    policies: dict[str, ICompositionPolicy] = {
        "oma": OmaComposition(),
        "newest": NewestComposition(),
        "union": UnionComposition(),
    }
    print(f"{'':20}{'octets':>8}{'reading':>10}" + "".join(f"{name:>10}" for name in policies))
    for title, made in cases.items():
        count = 1 if title.startswith("large") else repetitions
        octets = sum(len(record.body) for record in made)
        reading = measure(partial(read, made), count)
        figures = [
            measure(partial(policy.compose, BOB, made, time.time()), count)
            for policy in policies.values()
        ]
        print(
            f"{title:20}{octets:8}{reading:10.1f}" + "".join(f"{value:10.1f}" for value in figures)
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
