"""SIPp runs: a scenario, a bounded number of calls, and the statistics of what happened."""

from __future__ import annotations

import csv
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.daemon import PASSWORD
from tests.e2e.phone import DOMAIN
from tests.e2e.wire import HOST
from tests.interop.programs import Program, require
from tests.ports import free_port

SCENARIOS = Path(__file__).resolve().parent / "sipp"
_MODES = {"udp": "u1", "tcp": "t1"}


@attrs.frozen(slots=True)
class Statistics:
    """What SIPp has counted.

    :ivar succeeded: calls that went as the scenario says.
    :ivar failed: others.
    :ivar retransmissions: messages it has sent again.
    """

    succeeded: int
    failed: int
    retransmissions: int


def statistics(path: Path) -> Statistics:
    """The totals in SIPp's statistics file."""
    with path.open(newline="") as lines:
        *_, last = csv.DictReader(lines, delimiter=";")
    return Statistics(
        succeeded=int(last["SuccessfulCall(C)"]),
        failed=int(last["FailedCall(C)"]),
        retransmissions=int(last["Retransmissions(C)"]),
    )


def call(
    case: SynchronousTestCase,
    port: int,
    transport: str,
    scenario: str,
    *options: str,
    calls: int = 1,
    at_once: int = 1,
    seconds: int = 30,
    patience: int = 15,
) -> Statistics:
    """Run a scenario against a port of this machine and expect every call to succeed.

    :param transport: ``udp`` or ``tcp``.
    :param scenario: its name in ``tests/interop/sipp``.
    :param options: more for SIPp's command line.
    :param at_once: calls under way at a time.
    :param seconds: bound for the whole run.
    :param patience: seconds that a call waits for a message.
    :raises SkipTest: SIPp is not installed.
    """
    sipp = require("sipp", "sip-tester")
    directory = Path(case.mktemp()).absolute()
    directory.mkdir(parents=True)
    counts, errors = directory / "statistics.csv", directory / "errors.log"
    program = Program(
        case,
        [
            *(sipp, f"{HOST}:{port}", "-sf", str(SCENARIOS / f"{scenario}.xml")),
            *("-t", _MODES[transport], "-i", HOST, "-p", str(free_port()), "-nostdin"),
            *("-default_behaviors", "abortunexp,pingreply"),
            *("-m", str(calls), "-l", str(at_once), "-r", str(min(4 * at_once, 1000))),
            *("-timeout", str(seconds), "-timeout_error", "-recv_timeout", str(1000 * patience)),
            *("-key", "domain", DOMAIN, "-au", "alice", "-ap", PASSWORD),
            *("-trace_stat", "-stf", str(counts), "-fd", "1"),
            *("-trace_err", "-error_file", str(errors)),
            *options,
        ],
        directory,
        f"sipp-{scenario}",
    )
    status = program.wait(seconds + 15)
    told = errors.read_text(errors="replace") if errors.exists() else ""
    if not counts.exists():
        raise AssertionError(f"SIPp did not begin: {told[-4000:]}{program.output()[-2000:]}")
    totals = statistics(counts)
    case.assertEqual((status, totals.failed, totals.succeeded), (0, 0, calls), told[-4000:])
    return totals
