"""Microseconds of CPU per operation in the server itself: no socket, no disk, no other process.

The whole server is built from ``bench/presence.toml``, with a store in memory and with a
transport that leads to the simulated clients of the load, all in this process; only the
server's own work is timed, in batches as one wake-up of the reactor takes them.  What is
left between these figures and those of ``bench/run`` is the kernel, the store's thread, and
cold caches::

    python bench/micro_server.py [operations]

The figure is the mean of the faster half of the batches, so that a busy machine tells nearly
the same as an idle one.  With ``--profile`` the costliest functions follow.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from msgspec.structs import replace
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from bench.clients import Operation, Source, Watcher
from bench.load import users
from bench.servers import CONFIG, DOMAIN
from bench.wire import Counts, Fields, fields_of
from presence.build import Node, build_node
from presence.config import load
from pysip.interfaces import IFlow, IFlowListener, IMessageReceiver, ITransport
from pysip.transport.base import Transport

BATCH = 16
SERVER = ("127.0.0.1", 5060)


@implementer(IFlow)
class MemoryFlow:
    """The way to a simulated client: its messages wait in a list."""

    protocol = "UDP"
    reliable = False
    secure = False
    closed = False
    names: frozenset[str] = frozenset()
    sent_by = "127.0.0.1:5060"

    def __init__(self, port: int, sent: list[bytes]) -> None:
        self.remote = ("127.0.0.1", port)
        self.listeners: set[IFlowListener] = set()
        self.send: Callable[[bytes], None] = sent.append


@implementer(ITransport)
class MemoryTransport(Transport):
    """UDP without a socket."""

    protocol = "UDP"

    def __init__(self, clock: MemoryReactorClock) -> None:
        super().__init__(clock, SERVER)
        self.outbox: list[bytes] = []
        self.flows = {5100 + n: MemoryFlow(5100 + n, self.outbox) for n in range(8)}

    def start(self, receiver: IMessageReceiver) -> Deferred[None]:
        """Deliver to ``receiver``."""
        self.receiver = receiver
        return succeed(None)

    def flow_to(self, address: tuple[str, int], name: str = "") -> IFlow:
        """The flow to a client."""
        return self.flows[address[1]]

    def stop(self) -> Deferred[None]:
        """Nothing is open."""
        return succeed(None)


class Bench:
    """The server, and a wire of simulated clients (:class:`bench.wire.Wire`) to it."""

    def __init__(self, profile: cProfile.Profile | None = None) -> None:
        self.clock = MemoryReactorClock()
        config = load(CONFIG, "/nonexistent")
        config = replace(config, store=replace(config.store, type="memory"))
        self.node: Node = build_node(config, self.clock)
        self.node.store.start()
        self.transport = MemoryTransport(self.clock)
        self.node.identities.set_mode(self.transport, "none")
        self.node.ua.start_transport(self.transport)
        self.places = [b"127.0.0.1:%d" % port for port in self.transport.flows]
        self.nonce = b"micro"
        self.counts: Counts = Counter()
        self.watchers: dict[bytes, Watcher] = {}
        self._profile = profile
        self._branches = 0
        self._out: list[tuple[bytes, MemoryFlow]] = []
        self._waiting: dict[bytes, Callable[[int, Fields], None]] = {}

    def request(
        self, place: int, start: bytes, rest: bytes, answered: Callable[[int, Fields], None]
    ) -> None:
        """Queue a request of a client for the next turn."""
        self._branches += 1
        branch = b"z9hG4bK%x" % self._branches
        via = b"\r\nVia: SIP/2.0/UDP %b;branch=%b;rport\r\n" % (self.places[place], branch)
        self._out.append((start + via + rest, list(self.transport.flows.values())[place]))
        self._waiting[branch] = answered

    def turn(self) -> float:
        """Let the server do all it has; the seconds of CPU it took."""
        total = 0.0
        while self._out:
            arriving, self._out = self._out, []
            if self._profile is not None:
                self._profile.enable()
            began = time.thread_time()
            for data, flow in arriving:
                self.transport.deliver_datagram(data, flow)
            # turns of the reactor until nothing is left but timers
            for _ in range(12):
                self.clock.advance(0)
            total += time.thread_time() - began
            if self._profile is not None:
                self._profile.disable()
            sent, self.transport.outbox[:] = list(self.transport.outbox), []
            for data in sent:
                self._take(data)
        return total

    def _take(self, data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        fields = fields_of(head)
        if head.startswith(b"SIP/"):
            branch = fields[b"via"].partition(b";branch=")[2].partition(b";")[0]
            self._waiting.pop(branch)(int(head[8:11]), fields)
            return
        watcher = self.watchers[fields[b"call-id"]]
        watcher.notified(fields, body)
        names = (b"Via", b"From", b"To", b"Call-ID", b"CSeq")
        lines = [b"SIP/2.0 200 OK", *(b"%b: %b" % (n, fields[n.lower()]) for n in names)]
        answer = b"\r\n".join([*lines, b"Content-Length: 0\r\n\r\n"])
        self._out.append((answer, list(self.transport.flows.values())[watcher.place]))

    def run(self, starts: Iterable[Callable[[Operation], None]], batch: int = BATCH) -> float:
        """Do operations in batches; microseconds of one, of the faster half of the batches."""
        times = []
        pending = list(starts)
        faults: list[str] = []

        def over(operation: Operation, seconds: float, fault: str) -> None:
            faults.append(fault)

        for first in range(0, len(pending), batch):
            for start in pending[first : first + batch]:
                start(Operation("", over))
            times.append(self.turn())
            # short of the timers of transactions, which end in lumps
            self.clock.advance(0.01)
        if len(faults) != len(pending) or any(faults):
            raise SystemExit(f"operations have failed: {Counter(faults)} of {len(pending)}")
        times.sort()
        half = times[: max(1, len(times) // 2)]
        return sum(half) / len(half) / batch * 1e6


def measure(count: int, profiles: dict[str, cProfile.Profile] | None) -> None:
    """Print one line for each operation."""

    def step(name: str, starts: Iterable[Callable[[Operation], None]], batch: int = BATCH) -> None:
        if profiles is not None:
            profiles[name] = bench._profile = cProfile.Profile()
        micros = bench.run(starts, batch)
        print(f"{name:20} {micros:8.1f} us", flush=True)

    bench = Bench()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    names = iter([name.encode() for name in users(2 * count + 200)])
    domain = DOMAIN.encode()
    sources = [Source(bench, next(names), domain, n) for n in range(count)]
    watchers = [Watcher(bench, next(names), domain, count + n, s) for n, s in enumerate(sources)]
    bench.watchers = {w.call_id: w for w in watchers}
    step("publish-initial", [s.publish for s in sources])
    step("publish-refresh", [s.refresh for s in sources])
    step("publish-modify", [s.publish for s in sources])
    for watcher in watchers:
        watcher.source.watchers.append(watcher)
    step("subscribe-initial", [w.subscribe for w in watchers])
    step("subscribe-refresh", [w.subscribe for w in watchers])
    step("unsubscribe", [w.unsubscribe for w in watchers])
    source = sources[0]
    source.watchers.clear()
    many = [Watcher(bench, next(names), domain, 10**6 + n, source) for n in range(100)]
    bench.watchers.update((w.call_id, w) for w in many)
    bench._profile = None
    bench.run([w.subscribe for w in many])
    source.watchers.extend(many)
    step("fan-out to 100", [source.publish] * max(10, count // 40), 1)


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("operations", type=int, nargs="?", default=2000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--top", type=int, default=25, help="functions of a profile")
    given = parser.parse_args()
    profiles: dict[str, cProfile.Profile] | None = {} if given.profile else None
    measure(given.operations, profiles)
    for name, profile in (profiles or {}).items():
        print(f"\n{name}")
        pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(given.top)


if __name__ == "__main__":
    main()
