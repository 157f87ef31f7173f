"""Closed-loop load of PUBLISH, SUBSCRIBE and NOTIFY over UDP on loopback.

A fixed number of operations is in flight; each that is done starts the next.  Statuses,
entity-tags, dialogs, CSeq numbers and the content of each NOTIFY are checked, and a NOTIFY
without a reason is a fault.  All is bounded in number and in time.  Each phase prints one line
of JSON::

    python -m bench.load 127.0.0.1:5060 --pid 4711 core -n 2000 -w 16

The exit status is 1 when something was not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bench.clients import EXPIRES, Client, Operation, Source, Watcher
from bench.proc import Meter, proportional_memory, tree
from bench.wire import Fields, Wire

Step = tuple[str, Callable[[Operation], None]]
"""Kind of an operation, and what starts it."""

SETTLE = 0.1
"""Seconds that a phase goes on after its last operation, for NOTIFYs nobody asked for."""

_STALL = 12.5
_NO_MORE: Step = ("", lambda operation: None)
_MIXTURE = ("refresh",) * 50 + ("modify",) * 15 + ("resubscribe",) * 30 + ("subscribe",) * 5


class Phase:
    """A number of operations, some of them in flight at a time.

    :param steps: the operations; one is taken whenever there is room.  None among them says
        that the next has to wait until one under way is over.
    :param width: how many are in flight.
    :param seconds: when to stop starting operations.
    """

    def __init__(
        self, wire: Wire, steps: Iterable[Step | None], width: int, seconds: float
    ) -> None:
        self._wire = wire
        self._steps = iter(steps)
        self._width = width
        self._end = time.perf_counter() + seconds
        self._active = 0
        self._exhausted = False
        self.done = 0
        self.last = 0.0
        self.times: dict[str, list[float]] = {}

    def run(self) -> None:
        """Do all of it."""
        wire = self._wire
        self.last = time.perf_counter()
        self._fill()
        while self._active:
            wire.turn(0.05)
            if time.perf_counter() - self.last > _STALL:
                wire.counts["fault: stalled"] += self._active
                wire.abandon()
                break
        settled = time.perf_counter() + SETTLE
        while (left := settled - time.perf_counter()) > 0:
            wire.turn(left)

    def _fill(self) -> None:
        while self._active < self._width and not self._exhausted:
            step = next(self._steps, _NO_MORE)
            if step is _NO_MORE or time.perf_counter() > self._end:
                self._exhausted = True
                return
            if step is None:
                return
            self._active += 1
            kind, start = step
            start(Operation(kind, self._over))

    def _over(self, operation: Operation, seconds: float, fault: str) -> None:
        self._active -= 1
        if fault:
            self._wire.counts[f"fault: {fault}"] += 1
        else:
            self.done += 1
            self.last = time.perf_counter()
            self.times.setdefault(operation.kind, []).append(seconds)
        self._fill()


class Load:
    """The clients and the scenarios.

    :param given: the arguments of the command.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        host, _, port = given.server.rpartition(":")
        if not host.startswith("127."):
            raise SystemExit("a load stays on loopback: give 127.0.0.1:PORT")
        self._given = given
        self._watchers: dict[bytes, Watcher] = {}
        self._numbers = given.first
        self._wire = Wire((host, int(port)), given.sockets, self._notified)
        self.failed = False

    def _notified(self, fields: Fields, body: bytes) -> bool:
        watcher = self._watchers.get(fields[b"call-id"])
        if watcher is None:
            self._wire.counts["fault: NOTIFY of an unknown dialog"] += 1
            return False
        return watcher.notified(fields, body)

    # -- clients ------------------------------------------------------------------------

    def _identity(self) -> tuple[int, bytes, bytes]:
        """Number, user and domain of the next client; :func:`users` knows them."""
        number = self._numbers
        self._numbers += 1
        return number, b"u%06d" % number, self._given.domain.encode()

    def _sources(self, count: int) -> list[Source]:
        password = self._given.password.encode()
        made = []
        for _ in range(count):
            number, user, domain = self._identity()
            made.append(Source(self._wire, user, domain, number, password))
        return made

    def _watching(self, source: Source) -> Watcher:
        number, user, domain = self._identity()
        password = self._given.password.encode()
        watcher = Watcher(self._wire, user, domain, number, source, password)
        self._watchers[watcher.call_id] = watcher
        return watcher

    # -- phases -------------------------------------------------------------------------

    def _phase(
        self, name: str, steps: Iterable[Step | None], width: int, *, notifies: int = 0, **more: Any
    ) -> None:
        """Run, measure, report; ``notifies`` is how many NOTIFYs there have to be."""
        given, wire = self._given, self._wire
        wire.counts.clear()
        self._mark(signal.SIGUSR1)
        meter = Meter(given.pid)
        began = time.perf_counter()
        phase = Phase(wire, steps, width, given.seconds)
        phase.run()
        used = meter.read()
        self._mark(signal.SIGUSR2)
        seconds = max(phase.last - began, 1e-9)
        counts = wire.counts
        if counts["NOTIFYs"] != notifies:
            counts[f"fault: {notifies} NOTIFYs expected"] += 1
        if counts["refused"]:
            counts["fault: nobody listens"] += 1
        faults = {str(key)[7:]: n for key, n in counts.items() if str(key).startswith("fault: ")}
        done = max(1, phase.done)
        report: dict[str, Any] = {
            "phase": name,
            "operations": phase.done,
            "width": width,
            "seconds": round(seconds, 4),
            "rate": round(phase.done / seconds, 1),
            "cpu_ms": round(used["cpu"] / done * 1e3, 5),
            "main_cpu_ms": round(used["main_cpu"] / done * 1e3, 5),
            "load_cpu_ms": round(used["load_cpu"] / done * 1e3, 5),
            "latency_ms": {kind: quantiles(times) for kind, times in sorted(phase.times.items())},
            "statuses": {key: n for key, n in counts.items() if isinstance(key, int)},
            "NOTIFYs": counts["NOTIFYs"],
            "retransmissions": counts["retransmissions"],
            "lost": used["lost"],
            "faults": faults,
            **more,
        }
        if notifies:
            report["cpu_us_per_notify"] = round(used["cpu"] / notifies * 1e6, 3)
            report["notify_rate"] = round(counts["NOTIFYs"] / seconds, 1)
        self.failed = self.failed or bool(faults)
        print(json.dumps(report), flush=True)

    def _mark(self, number: signal.Signals) -> None:
        """Tell a server under a profiler where a phase begins and ends."""
        if self._given.mark:
            os.kill(self._given.pid, number)
            time.sleep(0.3)

    def _quietly(self, steps: Iterable[Step]) -> None:
        """Set something up; it has to succeed."""
        self._wire.counts.clear()
        Phase(self._wire, steps, self._given.width, 2 * self._given.seconds).run()
        faults = [str(key) for key in self._wire.counts if str(key).startswith("fault: ")]
        if faults:
            raise SystemExit(f"setting up failed: {', '.join(faults)}")

    # -- scenarios ----------------------------------------------------------------------

    def core(self) -> None:
        """Every operation by itself, on as many presentities with one watcher each."""
        count, width = self._given.n, self._given.width
        sources = self._sources(count)
        watchers = [self._watching(source) for source in sources]
        self._phase("publish-initial", [("", s.publish) for s in sources], width)
        self._phase("publish-refresh", [("", s.refresh) for s in sources], width)
        self._phase("publish-modify", [("", s.publish) for s in sources], width)
        for watcher in watchers:
            watcher.source.watchers.append(watcher)
        begin: list[Step] = [("", w.subscribe) for w in watchers]
        self._phase("subscribe-initial", begin, width, notifies=count)
        self._phase("subscribe-refresh", begin, width, notifies=count)
        end: list[Step] = [("", w.unsubscribe) for w in watchers]
        self._phase("unsubscribe", end, width, notifies=count)

    def fanout(self) -> None:
        """Changes that many watchers are told of, a few presentities at a time."""
        given = self._given
        sources = self._watched(given.n, given.watchers)

        def steps() -> Iterator[Step | None]:
            for number in range(given.changes):
                while sources[number % given.n].changing:
                    yield None
                yield "", sources[number % given.n].publish

        self._phase(
            f"fanout-{given.watchers}",
            steps(),
            given.n,
            notifies=given.changes * given.watchers,
            watchers=given.watchers,
        )

    def mixed(self) -> None:
        """A busy hour: refreshes, changes with ten watchers each, old and new subscriptions."""
        given = self._given
        dice = random.Random(1)
        sources = self._watched(given.n, 10)
        others = self._sources(max(1, given.n // 4))
        self._quietly([("", s.publish) for s in others])
        plan = [dice.choice(_MIXTURE) for _ in range(given.operations)]
        needed = {"refresh": 0, "modify": 10, "resubscribe": 1, "subscribe": 1}

        def ready(source: Source) -> bool:
            return not (source.busy or source.changing or any(w.busy for w in source.watchers))

        def steps() -> Iterator[Step | None]:
            for kind in plan:
                if kind == "subscribe":
                    yield kind, self._watching(dice.choice(others)).subscribe
                    continue
                while not ready(source := dice.choice(sources)):
                    if not any(map(ready, sources)):
                        yield None
                if kind == "refresh":
                    yield kind, source.refresh
                elif kind == "modify":
                    yield kind, source.publish
                else:
                    yield kind, dice.choice(source.watchers).subscribe

        self._phase("mixed", steps(), given.width, notifies=sum(needed[kind] for kind in plan))

    def memory(self) -> None:
        """What publications and subscriptions take; counted once transactions are forgotten."""
        given = self._given
        pids = tree(given.pid)
        before = proportional_memory(pids)
        sources = self._sources(given.n)
        self._phase("memory-publish", [("", s.publish) for s in sources], given.width)
        self._rest(given.settle)
        published = proportional_memory(pids)
        watchers = [self._watching(sources[i % given.n]) for i in range(given.subscriptions)]
        begin: list[Step] = [("", w.subscribe) for w in watchers]
        self._phase("memory-subscribe", begin, given.width, notifies=len(watchers))
        peak = proportional_memory(pids)
        self._rest(given.settle)
        subscribed = proportional_memory(pids)
        report = {
            "phase": "memory",
            "publications": given.n,
            "subscriptions": given.subscriptions,
            "start_mb": round(before / 1e6, 1),
            "published_mb": round(published / 1e6, 1),
            "peak_mb": round(peak / 1e6, 1),
            "subscribed_mb": round(subscribed / 1e6, 1),
            "publication_octets": round((published - before) / given.n),
            "subscription_octets": round((subscribed - published) / given.subscriptions),
            "faults": {},
        }
        print(json.dumps(report), flush=True)

    def _watched(self, count: int, watchers: int) -> list[Source]:
        """Published presentities with their watchers."""
        sources = self._sources(count)
        self._quietly([("", s.publish) for s in sources])
        made = [self._watching(source) for _ in range(watchers) for source in sources]
        self._quietly([("", w.subscribe) for w in made])
        for watcher in made:
            watcher.source.watchers.append(watcher)
        return sources

    def _rest(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self._wire.turn(left)

    def close(self) -> None:
        """Close the sockets."""
        self._wire.close()


def users(count: int) -> list[str]:
    """Names of the first clients of a load, for whom accounts are needed with Digest."""
    return [f"u{number:06d}" for number in range(count)]


def quantiles(times: list[float]) -> dict[str, float]:
    """Milliseconds at p50, p95, p99 and the longest, of times in seconds."""
    ordered = sorted(times)
    last = len(ordered) - 1
    places = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {
        name: round(ordered[min(last, int(len(ordered) * place))] * 1e3, 3)
        for name, place in places.items()
    }


def main() -> None:
    """Parse the arguments and run one scenario."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("server", help="127.0.0.1:PORT")
    parser.add_argument("--pid", type=int, default=0, help="whose processor time to measure")
    parser.add_argument("--domain", default="bench.invalid")
    parser.add_argument("--password", default="", help="of all accounts, for Digest")
    parser.add_argument("--first", type=int, default=0, help="number of the first client")
    parser.add_argument("--sockets", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60, help="bound of each phase")
    parser.add_argument("--mark", action="store_true", help="signal phases to a profiled server")
    scenarios = parser.add_subparsers(dest="scenario", required=True)
    for name in ("core", "fanout", "mixed", "memory"):
        scenario = scenarios.add_parser(name, help=getattr(Load, name).__doc__)
        scenario.add_argument("-n", type=int, default=2000, help="presentities")
        scenario.add_argument("-w", "--width", type=int, default=16, help="operations in flight")
        if name == "fanout":
            scenario.add_argument("--watchers", type=int, default=100)
            scenario.add_argument("--changes", type=int, default=100)
        elif name == "mixed":
            scenario.add_argument("--operations", type=int, default=4000)
        elif name == "memory":
            scenario.add_argument("--subscriptions", type=int, default=10000)
            scenario.add_argument("--settle", type=float, default=36, help="seconds, over 64*T1")
    given = parser.parse_args()
    load = Load(given)
    try:
        getattr(load, given.scenario)()
    finally:
        load.close()
    sys.exit(1 if load.failed else 0)


__all__ = ["EXPIRES", "Client", "Load", "main", "users"]

if __name__ == "__main__":
    main()
