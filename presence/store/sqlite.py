"""A store in a SQLite file with a write-ahead log, for one host.

Measured, see ``bench/micro_store.py``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from presence.interfaces import IPresenceStore
from presence.store.gather import BatchingStore
from presence.store.medium import SYNCHRONOUS, Lock, connect, explain, scripts
from presence.store.records import Batch, StoreError
from presence.store.statements import Statements
from presence.store.writer import WriterThread

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord

_T = TypeVar("_T")
_BEFORE_ALL = -(2**63)


@implementer(IPresenceStore)
class SqliteStore(BatchingStore):
    """Event state and bindings in one file, written by a thread of its own.

    :param reactor: clock, and where the thread reports to.
    :param path: the file; it and its directory are made when missing.
    :param synchronous: ``"full"``: what is reported durable survives a power failure;
        ``"normal"``: it survives the end of the process, a power failure may cost the last
        seconds.
    :param schema: folder of the migrations, for tests.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        path: str | Path,
        synchronous: str = "full",
        schema: Traversable | None = None,
    ) -> None:
        super().__init__(reactor)
        if synchronous not in SYNCHRONOUS:
            raise ValueError(f"synchronous is {synchronous!r}, expected one of {SYNCHRONOUS}")
        self._from_threads = IReactorFromThreads(reactor)
        self._path = Path(path)
        self._synchronous = synchronous
        self._schema = schema if schema is not None else files("presence.store.schema")
        self._writer: WriterThread | None = None
        # these belong to the writer thread
        self._lock: Lock | None = None
        self._database: sqlite3.Connection | None = None
        self._statements: Statements | None = None

    def start(self) -> Deferred[None]:
        """Open the file, creating or migrating its schema.

        :raises StoreError: (in the Deferred) it cannot be used.
        """
        if self._writer is not None:
            return fail(StoreError(f"{self._path}: this store has been started already"))
        writer = self._writer = WriterThread(self._from_threads, "presence-store")
        started: Deferred[None] = Deferred()

        def succeeded(_: None) -> None:
            self._start_over()
            started.callback(None)

        def failed(failure: Failure) -> None:
            writer.stop()
            self._writer = None
            started.errback(failure)

        writer.submit(self._open, None, succeeded, failed)
        return started

    def recover(
        self,
        publications: Callable[[list[PublicationRecord]], None],
        subscriptions: Callable[[list[SubscriptionRecord], dict[int, int]], None],
    ) -> Deferred[None]:
        """Read everything back, ordered by id.

        :raises StoreError: (in the Deferred) the file cannot be read.
        """

        def read_publications(after: int) -> list[PublicationRecord]:
            return self._use().publications(after)

        def read_subscriptions(after: int) -> tuple[list[SubscriptionRecord], dict[int, int]]:
            return self._use().subscriptions(after)

        def take_publications(chunk: list[PublicationRecord]) -> int | None:
            if not chunk:
                return None
            publications(chunk)
            return chunk[-1].id

        def take_subscriptions(
            chunk: tuple[list[SubscriptionRecord], dict[int, int]],
        ) -> int | None:
            if not chunk[0]:
                return None
            subscriptions(*chunk)
            return chunk[0][-1].id

        first = self._read(read_publications, take_publications, _BEFORE_ALL)
        return first.addCallback(
            lambda _: self._read(read_subscriptions, take_subscriptions, _BEFORE_ALL)
        )

    def recover_bindings(self, bindings: Callable[[list[BindingRecord]], None]) -> Deferred[None]:
        """Read the bindings back, ordered by (aor, contact).

        :raises StoreError: (in the Deferred) the file cannot be read.
        """

        def read(after: tuple[str, str] | None) -> list[BindingRecord]:
            return self._use().bindings(after)

        def take(chunk: list[BindingRecord]) -> tuple[str, str] | None:
            if not chunk:
                return None
            bindings(chunk)
            return chunk[-1].aor, chunk[-1].contact

        return self._read(read, take, None)

    def _read(
        self, read: Callable[[Any], _T], take: Callable[[_T], Any], after: Any
    ) -> Deferred[None]:
        """Read chunk by chunk; ``take`` gives the key to read on from, None at the end."""
        writer = self._writer
        if writer is None or not self._opened:
            return fail(StoreError(f"{self._path}: the store is not open"))
        finished: Deferred[None] = Deferred()

        def succeeded(chunk: _T) -> None:
            try:
                last = take(chunk)
            except Exception:
                finished.errback()
                return
            if last is None:
                finished.callback(None)
            else:
                writer.submit(read, last, succeeded, failed)

        def failed(failure: Failure) -> None:
            error = failure.value
            finished.errback(explain(self._path, error) if _is_sqlite(error) else failure)

        writer.submit(read, after, succeeded, failed)
        return finished

    # What BatchingStore asks for, in the reactor thread.

    def _commit(self, batch: Batch) -> None:
        assert self._writer is not None
        self._writer.submit(self._write, batch, self._written, self._not_written)

    def _written(self, _: None) -> None:
        self._committed()

    def _not_written(self, failure: Failure) -> None:
        error = failure.value
        if _is_sqlite(error):
            self._refused(explain(self._path, error))
        else:
            self._log.failure("Store: a batch cannot be written; please report this.", failure)
            self._refused(error)

    def _probe(self) -> None:
        assert self._writer is not None
        self._writer.submit(
            self._try, None, lambda _: self._works(), lambda _: self._still_refuses()
        )

    def _close(self) -> None:
        assert self._writer is not None
        self._writer.submit(self._shut, None, self._shut_down, self._shut_badly)

    def _shut_down(self, _: None) -> None:
        writer, self._writer = self._writer, None
        assert writer is not None
        writer.stop()
        self._closed()

    def _shut_badly(self, failure: Failure) -> None:
        self._log.error(
            "Store was not closed cleanly. Cause: {cause}. Effect: the next start reads its "
            "write-ahead log. Action: none.",
            cause=failure.value,
        )
        self._shut_down(None)

    # In the writer thread.

    def _open(self, _: None) -> None:
        migrations = scripts(self._schema)
        path = self._path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = Lock(path)
        except OSError as error:
            raise StoreError(
                f"{path}: {error.strerror}; its directory must exist and be writable by this user"
            ) from error
        try:
            database = connect(path, self._synchronous, migrations)
        except BaseException:
            lock.release()
            raise
        self._lock, self._database, self._statements = lock, database, Statements(database)

    def _use(self) -> Statements:
        assert self._statements is not None
        return self._statements

    def _write(self, batch: Batch) -> None:
        self._use().commit(batch)

    def _try(self, _: None) -> None:
        self._use().probe()

    def _shut(self, _: None) -> None:
        database, self._database, self._statements = self._database, None, None
        lock, self._lock = self._lock, None
        assert database is not None
        assert lock is not None
        try:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            try:
                database.close()
            finally:
                lock.release()


def _is_sqlite(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.Error)
