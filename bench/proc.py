"""What the kernel knows of a process: processor time, memory, lost datagrams (Linux)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process, ended ones too, to the nanosecond.

    The number of the clock is what clock_getcpuclockid(3) gives for ``pid``.
    """
    return time.clock_gettime((~pid << 3) | 2)


def main_thread_seconds(pid: int) -> float:
    """Processor time of the main thread, which is where a Twisted reactor runs."""
    text = (_PROC / f"{pid}/task/{pid}/schedstat").read_text()
    return int(text.split()[0]) / 1e9


def tree(root: int) -> list[int]:
    """A process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:
                continue  # it has ended meanwhile
            parent = int(status.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return found


def proportional_memory(pids: Iterable[int]) -> int:
    """PSS in octets: resident memory, shared pages divided among those who share them."""
    total = 0
    for pid in pids:
        for line in (_PROC / f"{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def lost_datagrams() -> int:
    """UDP datagrams that this network namespace has dropped for want of buffer."""
    names, values = (
        line.split()[1:]
        for line in (_PROC / "net/snmp").read_text().splitlines()
        if line.startswith("Udp:")
    )
    counts = dict(zip(names, map(int, values), strict=True))
    return counts["RcvbufErrors"] + counts["SndbufErrors"]


class Meter:
    """Processor time of a server and of this process from now on.

    :param pid: of the server, 0 for none.
    """

    def __init__(self, pid: int) -> None:
        self._pids = tree(pid) if pid else []
        self._began = self._now()

    def _now(self) -> tuple[float, float, float, int]:
        pids = self._pids
        return (
            sum(map(cpu_seconds, pids)),
            main_thread_seconds(pids[0]) if pids else 0.0,
            time.process_time(),
            lost_datagrams(),
        )

    def read(self) -> dict[str, float]:
        """Seconds of the server, of its main thread and of this process; lost datagrams."""
        names = ("cpu", "main_cpu", "load_cpu", "lost")
        return {
            name: now - then
            for name, now, then in zip(names, self._now(), self._began, strict=True)
        }


def flush_milliseconds(directory: str | os.PathLike[str], count: int = 100) -> float:
    """Median time of writing 4 KiB to a file and waiting for the disk."""
    path = Path(directory) / "flush"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(b"\0" * 4096)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return sorted(times)[count // 2] * 1e3
