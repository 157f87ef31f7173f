"""Runs the benchmarks: starts servers, loads them, collects what was measured.

Results are dictionaries, one for each phase of a load: what :mod:`bench.load` prints and,
added here, ``load`` ("own" or "reference"), ``server``, ``variant``, ``scenario`` and
``round``.  The load generator of the reference is brought into the same form.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import twisted
from bench import micro_lean, micro_partial
from bench.hotpath import read_profile
from bench.load import users
from bench.proc import flush_milliseconds
from bench.report import tables
from bench.servers import (
    DOMAIN,
    PASSWORD,
    ROOT,
    Documents,
    Kamailio,
    Presence,
    Server,
    ServerError,
)

Result = dict[str, Any]
Arguments = Sequence[str | int]

_LOAD_SECONDS = 900
_PEER = ROOT.parent / "shared" / "bench"


class Run:
    """One run of the command.

    :param given: its arguments.
    :param directory: scratch space on the disk that the stores are to be measured on.
    """

    def __init__(self, given: argparse.Namespace, directory: Path) -> None:
        self._given = given
        self._directory = directory
        self.results: list[Result] = []
        self.failed = False

    # -- what is run --------------------------------------------------------------------

    def _own(self) -> dict[str, Arguments]:
        """Scenarios of the own load and their arguments."""
        given = self._given
        few = 10 if given.quick else 1
        return {
            "core": ("core", "-n", given.n, "-w", given.width),
            "fanout-10": ("fanout", "-n", 16, "--watchers", 10, "--changes", 2000 // few),
            "fanout-100": ("fanout", "-n", 1, "--watchers", 100, "--changes", 200 // few),
            "fanout-1000": ("fanout", "-n", 1, "--watchers", 1000, "--changes", 30 // few),
            "mixed": (
                *("mixed", "-n", 200, "--operations", 8000 // few),
                *("-w", 2 * given.width),
            ),
        }

    def _reference(self) -> dict[str, Arguments]:
        """Scenarios of the reference load, with its own names and numbers."""
        given = self._given
        few = 5 if given.quick else 1
        return {
            "core": ("core", "--n", given.n, "-w", given.width),
            "fanout-10": (
                *("fanout", "--m", 10, "--k", 16, "--fw", 16),
                *("--changes", 750 // few, "-w", given.width),
            ),
            "fanout-100": ("fanout", "--m", 100, "--changes", 75 // few, "-w", given.width),
            "fanout-1000": ("fanout", "--m", 1000, "--changes", 30 // few, "-w", given.width),
            "mixed": (
                *("mixed", "--n", 200, "--ops", 4000 // few),
                *("-w", 2 * given.width),
            ),
        }

    def own(self) -> None:
        """Our load against our server, durable; then what is for information."""
        given = self._given
        chosen = [(name, load) for name, load in self._own().items() if self.wanted(name)]
        for number in range(1, given.rounds + 1):
            for name, load in chosen:
                self._load_ours("sqlite", name, load, number)
            if self.wanted("core") and not given.durable:
                for variant in ("digest", "memory"):
                    self._load_ours(variant, "core", self._own()["core"], number)
        if self.wanted("memory"):
            few = (1000, 2000, 1) if given.quick else (10000, 50000, 36)
            load = ("memory", "-n", few[0], "--subscriptions", few[1], "--settle", few[2])
            self._load_ours("sqlite", "memory", load, 1)

    def reference(self) -> None:
        """The reference load against both servers in turn, and the other first each time."""
        given = self._given
        subjects = [("txpresence", "sqlite"), ("txpresence", "digest")]
        if given.kamailio:
            subjects += [("kamailio", "sqlite"), ("kamailio", "mem"), ("kamailio", "mem-auth")]
        if given.durable:
            subjects = [subject for subject in subjects if subject[1] == "sqlite"]
        for number in range(1, given.rounds + 1):
            for name, load in self._reference().items():
                if not self.wanted(name):
                    continue
                durable = [s for s in subjects if s[1] == "sqlite"]
                others = [s for s in subjects if s[1] != "sqlite" and name == "core"]
                if given.kamailio and not given.durable and name.startswith("fanout"):
                    others.append(("kamailio", "mem"))
                for server, variant in [*(durable if number % 2 else durable[::-1]), *others]:
                    self._load_reference(server, variant, name, load, number)

    def documents(self) -> None:
        """Documents over HTTP: the XDMS, the proxy before it, and Kamailio's XCAP server."""
        given = self._given
        subjects = ["xdms", "proxy"]
        if given.peer_load is not None and given.kamailio:
            subjects.append("kamailio")
        for number in range(1, given.rounds + 1):
            for subject in subjects if number % 2 else subjects[::-1]:
                for phase in self._documents(subject):
                    self._keep(
                        {
                            **{"load": "documents", "server": subject, "variant": "sqlite"},
                            **{"scenario": "xcap", "round": number, **phase},
                        }
                    )

    def _documents(self, subject: str) -> list[Result]:
        with self._scratch() as directory:
            server: Kamailio | Documents
            if subject == "kamailio":
                server = Kamailio(self._given.peer_load, directory, "sqlite")
            else:
                server = Documents(directory, subject)
            with server:
                options: list[str] = []
                if isinstance(server, Documents):
                    root = server.address
                    if server.certificate:
                        options = ["--password", PASSWORD, "--certificate", server.certificate]
                else:
                    root = server.root
                count = max(100, self._given.n * 3 // 4)
                return self._lines(
                    [
                        *(sys.executable, "-m", "bench.documents", root, "--domain", DOMAIN),
                        *("--pid", str(server.pid), "-n", str(count), *options),
                    ],
                    ROOT,
                )

    def lists(self) -> None:
        """Changes of members of lists, in the server itself."""
        few = ("--changes", "100") if self._given.quick else ()
        for number in range(1, self._given.rounds + 1):
            command = [sys.executable, "-m", "bench.micro_lists", "--json", *few]
            for phase in self._lines(command, ROOT):
                self._keep({**phase, "scenario": "lists", "round": number})

    def partial(self) -> None:
        """Octets and costs of partial presence, in this process."""
        for number in range(1, self._given.rounds + 1):
            for result in micro_partial.results(30 if self._given.quick else 300):
                self._keep({**result, "scenario": "partial", "round": number})
            for result in micro_lean.results(20 if self._given.quick else 100):
                self._keep({**result, "scenario": "partial", "round": number})

    def profile(self) -> None:
        """Where the time goes in each workload: our server under cProfile."""
        for name, load in self._own().items():
            if not self.wanted(name):
                continue
            with self._scratch() as directory:
                prefix = directory / "profile-"
                with Presence(directory, profiles=prefix) as server:
                    phases = self._own_load(server, load, "--mark")
                for number, phase in enumerate(phases, 1):
                    read = read_profile(Path(f"{prefix}{number}"), phase["operations"])
                    self._keep({**phase, "load": "profile", "scenario": name, **read})

    def wanted(self, scenario: str) -> bool:
        """Whether a scenario is to be run."""
        return not self._given.only or scenario in self._given.only

    # -- one load -----------------------------------------------------------------------

    def _load_ours(self, variant: str, scenario: str, load: Arguments, number: int) -> None:
        accounts = users(2 * self._given.n) if variant == "digest" else ()
        with self._scratch() as directory, Presence(directory, variant, accounts) as server:
            digest = ("--password", PASSWORD) if variant == "digest" else ()
            for phase in self._own_load(server, load, *digest):
                self._keep(
                    {
                        **{"load": "own", "server": server.name, "variant": variant},
                        **{"scenario": scenario, "round": number, **phase},
                    }
                )

    def _own_load(self, server: Server, load: Arguments, *options: str) -> list[Result]:
        return self._lines(
            [
                *(sys.executable, "-m", "bench.load", server.address, "--domain", DOMAIN),
                *("--pid", str(server.pid), *options, *map(str, load)),
            ],
            ROOT,
        )

    def _load_reference(
        self, server: str, variant: str, scenario: str, load: Arguments, number: int
    ) -> None:
        """Run the reference load; once more when the server has done nothing at all.

        Kamailio sometimes comes up with its database locked.
        """
        for _ in range(2):
            lines = self._reference_lines(server, variant, load)
            if any(line.get("ops") for line in lines):
                break
        for line in lines:
            self._keep(
                {
                    **{"load": "reference", "server": server, "variant": variant},
                    **{"scenario": scenario, "round": number, **_translated(line)},
                }
            )

    def _reference_lines(self, server: str, variant: str, load: Arguments) -> list[Result]:
        peer, count = self._given.peer_load, self._given.n
        with self._scratch() as directory:
            running: Server
            if server == "kamailio":
                running = Kamailio(peer, directory, variant)
            else:
                accounts = [f"{kind}{number:06d}" for kind in "pw" for number in range(count)]
                running = Presence(directory, variant, accounts)
            with running:
                password = PASSWORD if "auth" in variant or "digest" in variant else "none"
                return self._lines(
                    [
                        *(sys.executable, str(peer / "sipload.py"), "--target", running.address),
                        *("--domain", DOMAIN, "--password", password, "--max-seconds", "120"),
                        *("--server-pid", str(running.pid), *map(str, load)),
                    ],
                    peer,
                )

    def _lines(self, command: list[str], directory: Path) -> list[Result]:
        """The JSON lines that a load prints; its messages are shown when it fails."""
        load = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            output, errors = load.communicate(timeout=_LOAD_SECONDS)
        finally:
            if load.poll() is None:
                load.kill()
                load.communicate()
        if load.returncode:
            self.failed = self.failed or not output
            print(f"a load has failed: {errors[-2000:]}", file=sys.stderr)
        return [json.loads(line) for line in output.splitlines()]

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        directory = Path(tempfile.mkdtemp(dir=self._directory))
        try:
            yield directory
        finally:
            shutil.rmtree(directory)

    def _keep(self, result: Result) -> None:
        """Note a result, show it, and write it to the file."""
        self.results.append(result)
        self.failed = self.failed or bool(result.get("faults"))
        if "rate" in result:
            place = "{load} {server} {variant}".format_map({"server": "", "variant": "", **result})
            print(
                f"{place:32} {result['phase']:18} {result['operations']:6} ops"
                f" {result['rate']:9.1f}/s  {result['cpu_ms']:8.4f} ms/op"
                f"  load {result['load_cpu_ms']:7.4f} {result['faults'] or ''}",
                file=sys.stderr,
                flush=True,
            )
        if self._given.out is not None:
            with self._given.out.open("a") as file:
                file.write(json.dumps(result) + "\n")

    def note_machine(self) -> None:
        """Keep what the figures depend on."""
        self._keep(
            {
                "load": "machine",
                "date": time.strftime("%Y-%m-%d %H:%M"),
                "revision": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
                "processor": _processor(),
                "cores": os.cpu_count(),
                "system": f"{platform.system()} {platform.release()}",
                "python": platform.python_version(),
                "twisted": twisted.__version__,
                "sqlite": sqlite3.sqlite_version,
                "kamailio": (_output("kamailio", "-v") or "not installed").partition("\n")[0],
                "flush_ms": round(flush_milliseconds(self._directory), 3),
                "busy": os.getloadavg()[0],
            }
        )


def _translated(line: Result) -> Result:
    """A line of the reference load in the form of our own."""
    latency = {
        key.partition(":")[2]: value for key, value in line.items() if key.startswith("lat_ms")
    }
    faults = {} if line["ok"] else {**line["errors"], "operations": line["ops"]}
    if "rate" not in line:
        return {**line, "faults": faults}
    result = {
        "phase": line["phase"].replace("fanout-m", "fanout-"),
        "operations": line["ops"],
        "width": line["w"],
        "seconds": line["secs"],
        "rate": line["rate"],
        "cpu_ms": line["srv_cpu_per_1000"],
        "load_cpu_ms": line["gen_cpu_per_1000"],
        "latency_ms": latency,
        "NOTIFYs": line.get("notify", 0),
        "needed": line.get("notify_expected", line.get("notify", 0)),
        "retransmissions": line.get("retransmit", 0),
        "lost": sum(line["udp_drops"]),
        "faults": faults,
    }
    if "srv_cpu_per_1000_notify" in line:
        result["cpu_us_per_notify"] = line["srv_cpu_per_1000_notify"] * 1e3
        result["notify_rate"] = line["notify_rate"]
    return result


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description="Measure processor time and latency of the server's operations.",
        epilog="Everything stays on 127.0.0.1 and in a temporary directory. Compare figures of "
        "one sitting only.",
    )
    parser.add_argument("--n", type=int, default=0, help="presentities (2000, with --quick 400)")
    parser.add_argument("-w", "--width", type=int, default=16, help="operations in flight (16)")
    parser.add_argument("--rounds", type=int, default=0, help="repetitions (3, with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="small numbers: about a minute")
    parser.add_argument(
        "--only",
        action="append",
        metavar="SCENARIO",
        choices=(
            "core",
            "fanout-10",
            "fanout-100",
            "fanout-1000",
            "mixed",
            "memory",
            "xcap",
            "lists",
            "partial",
        ),
        help="leave the others out; may be repeated",
    )
    parser.add_argument(
        "--peer-load",
        type=Path,
        nargs="?",
        const=_PEER,
        metavar="DIR",
        help="also run the reference load of this directory (../shared/bench)",
    )
    parser.add_argument(
        "--kamailio", action="store_true", help="with --peer-load: load Kamailio as well, in turn"
    )
    parser.add_argument(
        "--durable", action="store_true", help="leave out the variants that are for information"
    )
    parser.add_argument(
        "--no-own", action="store_true", help="leave the load of this repository out"
    )
    parser.add_argument("--profile", action="store_true", help="only profile, no measurements")
    parser.add_argument("--out", type=Path, metavar="FILE", help="append results as JSON lines")
    parser.add_argument("--directory", type=Path, help="where the stores are made (temporary)")
    given = parser.parse_args()
    given.n = given.n or (400 if given.quick else 2000)
    given.rounds = given.rounds or (1 if given.quick else 3)
    if given.out is not None:
        given.out = given.out.absolute()
    if given.kamailio and given.peer_load is None:
        given.peer_load = _PEER
    if given.peer_load is not None:
        given.peer_load = given.peer_load.absolute()
        if not (given.peer_load / "sipload.py").is_file():
            parser.error(f"{given.peer_load} has no sipload.py")
    return given


def main() -> None:
    """Do what the command line says; the exit status is 1 when a check has failed."""
    given = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    with tempfile.TemporaryDirectory(prefix="presence-bench-", dir=given.directory) as scratch:
        run = Run(given, Path(scratch))
        todo: list[Callable[[], None]] = [run.note_machine]
        if given.profile:
            todo.append(run.profile)
        else:
            todo += [] if given.no_own else [run.own]
            todo += [run.reference] if given.peer_load is not None else []
            todo += [run.documents] if run.wanted("xcap") else []
            todo += [run.lists] if run.wanted("lists") else []
            todo += [run.partial] if run.wanted("partial") else []
        status: str | int = 0
        try:
            for step in todo:
                step()
            status = 1 if run.failed else 0
        except ServerError as error:
            status = f"bench: {error}"
        except KeyboardInterrupt:
            status = "bench: interrupted"
    for text in tables(run.results).values():
        print(text)
    sys.exit(status)
