"""How long a call takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def measure(work: Callable[[], object], count: int) -> float:
    """Median of CPU time of one call in microseconds."""
    times = []
    for _ in range(count):
        start = time.process_time_ns()
        work()
        times.append(time.process_time_ns() - start)
    return statistics.median(times) / 1000
