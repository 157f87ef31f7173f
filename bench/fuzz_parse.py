"""The long run of TOR-48: 100 000 mutated messages, in chunks, with a watch on memory.

The unit tests run 5 000 of them::

    python bench/fuzz_parse.py [seed]

An exception that leaves the parser ends the run with its traceback; the seed repeats it.
"""

from __future__ import annotations

import random
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.pysip.test_parse import fuzz
from tests.pysip.test_torture import VECTORS

CHUNKS = 10
CHUNK = 10_000
# growth of the resident set after the first chunk that is no leak, in KiB
SLACK = 8192


def main() -> None:
    """Run the chunks; the exit code is 1 when memory has grown."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 4475
    vectors = [path.read_bytes() for path in sorted(VECTORS.glob("*.dat"))]
    sizes = []
    for number in range(CHUNKS):
        accepted = fuzz(random.Random(seed + number), vectors, CHUNK)
        sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print(f"seed {seed + number}: {accepted} of {CHUNK} accepted, {sizes[-1]} KiB")
    if sizes[-1] - sizes[0] > SLACK:
        sys.exit("memory has grown")


if __name__ == "__main__":
    main()
