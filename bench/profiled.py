"""Runs twistd under cProfile, which signals switch on and off.

``python -m bench.profiled PREFIX ARGUMENTS…`` is ``twistd ARGUMENTS…``; SIGUSR1 begins a
profile of the reactor thread, SIGUSR2 writes it to ``PREFIX1``, the next one to ``PREFIX2``.
"""

from __future__ import annotations

import cProfile
import signal
import sys
from itertools import count

from twisted.scripts.twistd import run


def main() -> None:
    """Install the signal handlers and become twistd."""
    prefix = sys.argv[1]
    sys.argv = ["twistd", *sys.argv[2:]]
    numbers = count(1)
    profile = cProfile.Profile()

    def begin(number: int, frame: object) -> None:
        profile.clear()
        profile.enable()

    def end(number: int, frame: object) -> None:
        profile.disable()
        profile.dump_stats(f"{prefix}{next(numbers)}")

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    run()


if __name__ == "__main__":
    main()
