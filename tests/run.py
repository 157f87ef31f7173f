"""Run the tests with trial and end with the plain line ``N passed, N failed``.

::

    python tests/run.py                      # all of tests/, in as many processes as there are
                                             # cores, four at most
    python tests/run.py tests.pysip          # some, in this process
    python tests/run.py -j 2 tests.pysip     # in two processes

Warnings are errors, properties are tested with a fixed seed, and processes that tests left
running are ended and named.  The exit status is 1 when anything failed or nothing ran.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import os
import pathlib
import signal
import sys
import time
from typing import cast

from twisted.trial import reporter
from twisted.trial._dist.disttrial import DistTrialRunner  # what trial --jobs uses
from twisted.trial.runner import DestructiveTestSuite, TestLoader, TrialRunner

ROOT = pathlib.Path(__file__).resolve().parent.parent
SYSTEM_TESTS = ("tests.e2e.", "tests.interop.", "tests.chaos.")
"""Tests whose being skipped is worth a line: they need programs of the machine."""

MOST_JOBS = 4
"""Processes that have ports of their own (``tests/ports.py``)."""

PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Run what the command line names; the exit status."""
    parser = argparse.ArgumentParser(description="Run the tests with trial.")
    parser.add_argument("tests", nargs="*", help="packages, modules, cases; all if none is named")
    parser.add_argument("-j", "--jobs", type=int, default=0, help=f"processes, {MOST_JOBS} at most")
    parser.add_argument("--temp-directory", default="_trial_temp", help="where trial works")
    parser.add_argument("--random", action="store_true", help="properties by chance, not by seed")
    parser.add_argument("--timeout", type=float, default=1500, help="seconds for everything")
    options = parser.parse_args()
    options.jobs = min(options.jobs, MOST_JOBS)

    if not sys.flags.bytes_warning:  # start anew, strictly
        arguments = ["-W", "error", "-b", *sys.argv]
        # for processes that tests start, too; the reactor keeps a file open to their end
        os.environ["PYTHONWARNINGS"] = "error,ignore::ResourceWarning"
        if not options.random:
            os.environ["CI"] = "true"  # hypothesis then takes its profile "ci"
        os.execv(sys.executable, [sys.executable, *arguments])

    faulthandler.dump_traceback_later(options.timeout, exit=True)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    _adopt_orphans()
    started = time.monotonic()
    if not options.tests:
        options.tests = sorted(_tests())
        options.jobs = options.jobs or min(MOST_JOBS, os.cpu_count() or 1)
    result = _run(options)
    return _report(result, _end_children(), started)


def _tests() -> set[str]:
    """Packages and modules of tests directly below ``tests``."""
    found = {f"tests.{package.parent.name}" for package in ROOT.glob("tests/*/__init__.py")}
    return found | {f"tests.{module.stem}" for module in ROOT.glob("tests/test_*.py")}


def _run(options: argparse.Namespace) -> reporter.Reporter:
    """Load and run the tests; trial prints as it goes."""
    factory = reporter.VerboseTextReporter
    runner: TrialRunner | DistTrialRunner
    if options.jobs:
        runner = DistTrialRunner(
            factory,
            maxWorkers=options.jobs,
            workerArguments=[],
            workingDirectory=options.temp_directory,
        )
    else:
        runner = TrialRunner(factory, workingDirectory=options.temp_directory)
    loader = TestLoader()
    loader.suiteFactory = DestructiveTestSuite
    suite = loader.loadByNames(options.tests, recurse=True)
    return cast(reporter.Reporter, runner.run(suite))


def _report(result: reporter.Reporter, left: list[str], started: float) -> int:
    """Print what trial's summary does not say plainly; the exit status."""
    wrong = [*result.errors, *result.failures, *result.unexpectedSuccesses]
    failed = len({item[0].id() for item in wrong})
    passed = result.testsRun - failed - len(result.skips) - len(result.expectedFailures)
    print()
    for name in left:
        print(f"left running, ended: {name}")
    for test, reason in result.skips:
        if test.id().startswith(SYSTEM_TESTS):
            print(f"NOT TESTED: {test.id()}: {reason}")
    print(f"{time.monotonic() - started:.0f} s; {len(result.skips)} skipped")
    if not result.testsRun:
        print("no test was run")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


def _adopt_orphans() -> None:
    """Become the parent of processes whose own parent ends, so that none is overlooked."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> list[tuple[int, str]]:
    """Our child processes that still run: number and command line."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # the name, field 2, is in parentheses and may hold anything
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((int(entry.name), command))
    return found


def _end_children() -> list[str]:
    """End what tests left running, by process number: politely, then not."""
    named: dict[int, str] = {}
    for sign, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 2.0)):
        deadline = time.monotonic() + patience
        told: set[int] = set()
        while (children := _children()) and time.monotonic() < deadline:
            for pid, command in children:
                named[pid] = command
                if pid not in told:
                    told.add(pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, sign)
            time.sleep(0.05)
    return [f"{pid} {command}" for pid, command in named.items()]


if __name__ == "__main__":
    sys.exit(main())
