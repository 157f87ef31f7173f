"""A process with a SQLite store, for tests that kill it, lock it out or fill its disk.

``python -m tests.presence.store_child MODE FILE``; reports on standard output, a line at a time.

``write``
    Put, refresh and remove without end; report each change when it is durable.
``hold``
    Open the file, report ``open`` and wait.
``limit``
    Write, run into a file size limit, report what the callbacks say, lift the limit, and
    write again once the store has recovered.
"""

from __future__ import annotations

import os
import resource
import sys
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from presence.store.sqlite import SqliteStore
from tests.contract.storing import publication, subscription


def report(line: str) -> None:
    """Write a line at once, past all buffers."""
    os.write(1, line.encode() + b"\n")


def write(reactor: Any, store: SqliteStore) -> None:
    """Change some rows in each turn: put n, refresh n - 50, remove n - 100."""
    queued = reported = 0

    def done(n: int, durable: bool) -> None:
        nonlocal reported
        if durable:
            reported = n
            report(f"{n}")

    def turn() -> None:
        nonlocal queued
        for _ in range(7 if queued - reported < 500 else 0):
            queued = n = queued + 1
            store.put_publication(publication(n, body=b"%d" % n * 200))
            store.put_subscription(subscription(n))
            store.touch_publication(n - 50, f"fresh{n}", float(n))
            store.remove_publication(n - 100)
            store.remove_subscription(n - 100)
            store.when_durable(partial(done, n))
        reactor.callLater(0, turn)

    turn()


async def limit(reactor: Any, store: SqliteStore) -> None:
    """Fill the disk, as far as this process can see, and make room again."""

    async def durable(tell: str) -> None:
        outcome: Deferred[None] = Deferred()

        def done(durable: bool) -> None:
            report(f"{tell} {durable} failed={store.failed}")
            outcome.callback(None)

        store.when_durable(lambda durable: report(f"{tell} first {durable}"))
        store.when_durable(done)
        await outcome

    store.put_publication(publication(1))
    await durable("before")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
    for n in range(2, 100):
        store.put_publication(publication(n, body=bytes(5000)))
    await durable("full")
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    while store.failed:
        await deferLater(reactor, 0.1)
    store.put_publication(publication(100))
    await durable("after")


async def run(reactor: Any, mode: str, path: str) -> None:
    """Open the store and do what is asked."""
    store = SqliteStore(reactor, path)
    await store.start()
    if mode == "limit":
        await limit(reactor, store)
        await store.stop()
        return
    if mode == "write":
        write(reactor, store)
    report("open")
    await Deferred()


def main() -> None:
    """Run until killed."""
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, *sys.argv[1:])))


if __name__ == "__main__":
    main()
