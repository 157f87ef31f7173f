"""A process with a SQLite document store, for tests that kill it, lock it out or fill its disk.

``python -m tests.xcap.document_child MODE FILE``; reports on standard output, a line at a time.

``write``
    Create, replace and remove documents without end; report each change that was acknowledged:
    number of the user, serial number in the document (-1: removed), entity-tag, position.
``hold``
    Open the file, report ``open`` and wait.
``limit``
    Write, run into a file size limit, report what became of the drafts, lift the limit, and
    write again once the store has recovered.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater, react

from tests.contract.documents import key
from xcap.records import Document, Draft
from xcap.store.sqlite import SqliteDocumentStore

USERS = 40


def report(line: str) -> None:
    """Write a line at once, past all buffers."""
    os.write(1, line.encode() + b"\n")


def octets(serial: int) -> bytes:
    """A document that tells its serial number."""
    return b"<a>%d</a>" % serial + b"x" * (serial % 3000)


async def write(store: SqliteDocumentStore, user: int) -> None:
    """Go on changing one document: replace it four times of five, else remove it."""
    each = key(f"user{user}")
    document = await store.fetch(each)
    serial = 0
    while True:
        serial += 1
        before = document.etag if document is not None else ""
        new = None if before and serial % 5 == 0 else octets(serial)
        document = await store.commit(Draft(each, before, new, node=str(serial)))
        tag = document.etag if document is not None else "-"
        report(f"{user} {serial if document is not None else -1} {tag} {store.position}")


async def limit(reactor: Any, store: SqliteDocumentStore) -> None:
    """Fill the disk, as far as this process can see, and make room again."""

    async def commit(tell: str, *drafts: Draft) -> None:
        outcomes: list[tuple[bool, Any]] = await DeferredList(
            [store.commit(draft) for draft in drafts], consumeErrors=True
        )
        found = {
            "stored" if isinstance(outcome, Document) else outcome.type.__name__
            for _, outcome in outcomes
        }
        report(f"{tell} {' '.join(sorted(found))} failed={store.failed}")

    await commit("before", Draft(key(), "", b"<before/>"))
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
    await commit("full", *(Draft(key(f"user{n}"), "", bytes(5000)) for n in range(100)))
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    while store.failed:
        await deferLater(reactor, 0.1)
    await commit("after", Draft(key("ann"), "", b"<after/>"))


async def run(reactor: Any, mode: str, path: str) -> None:
    """Open the store and do what is asked."""
    store = SqliteDocumentStore(reactor, path, time.time)
    await store.start()
    if mode == "limit":
        await limit(reactor, store)
        await store.stop()
        return
    report("open")
    if mode == "write":
        await DeferredList(
            [Deferred.fromCoroutine(write(store, user)) for user in range(USERS)],
            fireOnOneErrback=True,
        )
    await Deferred()


def main() -> None:
    """Run until killed."""
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, *sys.argv[1:])))


if __name__ == "__main__":
    main()
