"""CPU cost of the view of one watcher: what presence rules leave of a composed document.

Run: ``python -m bench.micro_transform [repetitions]``

Documents are those of ``tests/vectors/transform``; ``typical`` is the worked example of
presence-data.md K.4 (two services, a person, a device), ``full`` has everything that rules
know.  Columns: octets of the document, microseconds per view, and of these what parsing and
serialising take without any change.  The aim is less than 100 µs for ``typical``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from presence.pidf.parse import parse_compact
from presence.pidf.write import serialize
from presence.rules.permissions import EVERYTHING, Member, Permissions, UserInput
from presence.rules.transform import Transformation, transform

VECTORS = Path(__file__).parent.parent / "tests" / "vectors" / "transform"
POC: Member = ("service-id", "org.openmobilealliance:PoC-session")
RULES = {
    "friends": Permissions(
        services=frozenset({POC}),
        persons=EVERYTHING,
        attributes=frozenset({"activities", "willingness"}),
        user_input=UserInput.BARE,
    ),
    "nothing": Permissions.none(),
    "components": Permissions(EVERYTHING, EVERYTHING, EVERYTHING),
    "attributes": Permissions(services=EVERYTHING, persons=EVERYTHING, all_attributes=True),
    "500 uris": Permissions(
        services=frozenset(("service-uri", f"sip:user{n}@example.com") for n in range(500))
    ),
    "everything": Permissions.all(),
}


def cost(function: Callable[[], object], repetitions: int) -> float:
    """Microseconds of CPU, the best of five: this machine may be shared."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(repetitions):
            function()
        best = min(best, time.process_time() - began)
    return best / repetitions * 1e6


def main() -> None:
    """Measure each document with each permissions."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"{'document':10}{'permissions':14}{'octets':>8}{'view':>8}{'of these XML':>14}")
    for name, file in (("typical", "composed"), ("full", "full")):
        document = serialize(parse_compact((VECTORS / f"{file}.xml").read_bytes()))
        markup = cost(lambda octets=document: serialize(parse_compact(octets)), repetitions)  # type: ignore[misc]
        for title, permissions in RULES.items():
            spent = cost(
                lambda octets=document, given=permissions: transform(octets, given),  # type: ignore[misc]
                repetitions,
            )
            print(f"{name:10}{title:14}{len(document):8}{spent:8.1f}{markup:14.1f}", flush=True)
    making = cost(lambda: Transformation(RULES["friends"]), repetitions)
    print(f"permissions made ready: {making:.1f} µs, once for each set of permissions in use")


if __name__ == "__main__":
    main()
