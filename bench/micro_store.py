"""CPU cost of the SQLite store per row, by kind of row and batch size.

Run: ``python -m bench.micro_store [--rows 20000] [--synchronous full|normal] [--directory D]``

For each kind of row a table of ``--rows`` rows exists; batches change rows of it, in random
order (the worst case: each row another page) or in the order of their ids (refreshes come in
about the order in which things were made).  Columns: microseconds of CPU per row in the reactor
thread (queue, hand over, call back), in the writer thread (system time included), and
milliseconds from the first row queued to the callback.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from zope.interface import implementer

from presence.store.sqlite import SqliteStore
from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord

BATCHES = (1, 8, 32, 128)


@implementer(IReactorFromThreads)
class BenchReactor(Clock):
    """Nothing but delayed calls and calls from threads, so that only the store is measured."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: deque[tuple[Callable[..., Any], Any, Any]] = deque()
        self._arrived = threading.Semaphore(0)

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Queue a call."""
        self._calls.append((callable, args, kwargs))
        self._arrived.release()

    def turn(self) -> None:
        """Wait for one call from a thread, and make it."""
        self._arrived.acquire()
        f, args, kwargs = self._calls.popleft()
        f(*args, **kwargs)

    def until(self, outcome: Any) -> None:
        """Turn until a Deferred has fired."""
        fired: list[Any] = []
        outcome.addBoth(fired.append)
        while not fired:
            self.advance(0)
            if not fired:
                self.turn()
        if fired[0] is not None:
            raise SystemExit(str(fired[0]))


def publication(id: int, serial: int) -> PublicationRecord:
    """A typical publication with 1 kB of document."""
    aor = f"sip:user{id}@home1.example.net"
    return PublicationRecord(
        id,
        "presence",
        aor,
        f"{serial:016x}",
        1.8e9 + serial,
        1.7e9,
        1.7e9 + serial,
        aor,
        "application/pidf+xml",
        b"<presence/>" + b"x" * 1000,
    )


def subscription(id: int, serial: int) -> SubscriptionRecord:
    """A typical subscription with 500 octets of dialog."""
    aor = f"sip:user{id}@home1.example.net"
    return SubscriptionRecord(id, "presence", aor, serial, 1.8e9 + serial, b"d" * 500)


def binding(id: int, serial: int) -> BindingRecord:
    """A typical binding."""
    aor = f"sip:user{id}@home1.example.net"
    return BindingRecord(aor, f"sip:user{id}@192.0.2.1:5060", f"{id:x}@h", serial, 1.8e9, 1000, "")


def chosen(order: str, rows: int, batch: int) -> Iterator[list[int]]:
    """Ids of one batch after the other."""
    for first in count(0, batch):
        if order == "random":
            yield random.sample(range(rows), batch)
        else:
            yield [(first + n) % rows for n in range(batch)]


def writer_cpu(store: SqliteStore, reactor: BenchReactor) -> float:
    """CPU seconds that the writer thread has used."""
    found: list[float] = []
    store._file.submit(lambda _: time.thread_time(), None, found.append, print)
    reactor.turn()
    return found[0]


def measure(
    store: SqliteStore,
    reactor: BenchReactor,
    rows: int,
    batch: int,
    order: str,
    prepare: Callable[[list[int]], list[Any]],
    queue: Callable[[list[Any]], None],
) -> tuple[float, float, float]:
    """Microseconds of CPU per row in both threads, and milliseconds per batch."""
    batches = max(20, min(200, 6000 // batch))
    ids = chosen(order, rows, batch)
    main = elapsed = 0.0
    before = 0.0
    for n in range(batches + 5):
        if n == 5:  # statements are prepared by now
            main = elapsed = 0.0
            before = writer_cpu(store, reactor)
        prepared = prepare(next(ids))
        began, cpu = time.perf_counter(), time.thread_time()
        queue(prepared)
        reactor.advance(0)
        main += time.thread_time() - cpu
        reactor._arrived.acquire()
        cpu = time.thread_time()
        f, args, kwargs = reactor._calls.popleft()
        f(*args, **kwargs)
        main += time.thread_time() - cpu
        elapsed += time.perf_counter() - began
    total = batches * batch
    writer = writer_cpu(store, reactor) - before
    return main / total * 1e6, writer / total * 1e6, elapsed / batches * 1e3


def run(directory: str, rows: int, synchronous: str) -> None:
    """Measure everything for one durability level."""
    reactor = BenchReactor()
    store = SqliteStore(reactor, f"{directory}/{synchronous}.db", synchronous)
    reactor.until(store.start())
    serial = count(1)

    def done(durable: bool) -> None:
        if not durable:
            raise SystemExit("the store refuses writes")

    def putting(write: Callable[[Any], None]) -> Callable[[list[Any]], None]:
        def queue(records: list[Any]) -> None:
            for record in records:
                write(record)
                store.when_durable(done)

        return queue

    def touch(changes: list[tuple[int, str, float]]) -> None:
        for change in changes:
            store.touch_publication(*change)
            store.when_durable(done)

    def note(changes: list[tuple[int, int]]) -> None:
        for id, digest in changes:
            store.note_delivered(id, digest)
        store.when_durable(done)

    kinds: dict[str, tuple[Callable[[int, int], Any], Callable[[list[Any]], None]]] = {
        "publication": (publication, putting(store.put_publication)),
        "subscription": (subscription, putting(store.put_subscription)),
        "binding": (binding, putting(store.put_binding)),
        "touch": (lambda id, serial: (id, f"{serial:016x}", 1.8e9), touch),
        "digest": (lambda id, serial: (id, serial), note),
    }
    for make, queue in kinds.values():
        for first in range(0, rows, 500):
            queue([make(id, next(serial)) for id in range(first, min(rows, first + 500))])
            reactor.advance(0)
            reactor.turn()

    for kind, (make, queue) in kinds.items():

        def prepare(ids: list[int], make: Callable[[int, int], Any] = make) -> list[Any]:
            return [make(id, next(serial)) for id in ids]

        for order in ("random", "by id"):
            for batch in BATCHES:
                # the best of three: this machine may be shared
                main, writer, elapsed = (
                    min(figures)
                    for figures in zip(
                        *(
                            measure(store, reactor, rows, batch, order, prepare, queue)
                            for _ in range(3)
                        ),
                        strict=True,
                    )
                )
                print(
                    f"{synchronous:7}{kind:13}{order:7}{batch:5} {main:8.1f} {writer:8.1f}"
                    f" {elapsed:8.2f}",
                    flush=True,
                )
    began = time.perf_counter()
    reactor.until(store.recover(lambda chunk: None, lambda chunk, digests: None))
    elapsed = time.perf_counter() - began
    print(f"{synchronous:7}recovery of {rows} publications and subscriptions: {elapsed:.2f} s")
    reactor.until(store.stop())


def main() -> None:
    """Parse the arguments and run."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=20000)
    arguments.add_argument("--synchronous", choices=("full", "normal", "both"), default="both")
    arguments.add_argument("--directory", help="where the file is made (default: a temporary one)")
    given = arguments.parse_args()
    levels = ("full", "normal") if given.synchronous == "both" else (given.synchronous,)
    print("sync   row          order  batch  reactor   writer  ms/batch")
    for level in levels:
        with tempfile.TemporaryDirectory(dir=given.directory) as directory:
            run(directory, given.rows, level)


if __name__ == "__main__":
    main()
