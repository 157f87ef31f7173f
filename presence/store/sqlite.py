"""A store in a SQLite file with a write-ahead log, for one host."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from presence.interfaces import IPresenceStore
from presence.oplog import STORE_NOT_CLOSED, report
from presence.store.gather import BatchingStore
from presence.store.medium import SYNCHRONOUS, Lock, connect, explain, scripts
from presence.store.records import Batch, StoreError
from presence.store.statements import Statements
from presence.store.writer import WriterThread

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from twisted.internet.interfaces import IReactorTime

    from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord

_Key = TypeVar("_Key")
_Chunk = TypeVar("_Chunk")

_BEFORE_ALL = -(2**63)


class _Opened:
    """What is open of a file; all methods belong to the writer thread.

    :raises StoreError: the file cannot be used.
    """

    __slots__ = ("_database", "_lock", "statements")

    def __init__(self, path: Path, synchronous: str, schema: Traversable) -> None:
        migrations = scripts(schema)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = Lock(path)
        except OSError as error:
            raise explain(path, error) from error
        try:
            self._database = connect(path, synchronous, migrations)
            self.statements = Statements(self._database)
        except BaseException:
            self._lock.release()
            raise

    def close(self, _: None) -> None:
        """Fold the write-ahead log into the file and give it up.

        :raises sqlite3.Error: the log stays beside the file; the next start reads it.
        """
        try:
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            try:
                self._database.close()
            finally:
                self._lock.release()


@implementer(IPresenceStore)
class SqliteStore(BatchingStore):
    """Event state and bindings in one file, written by a thread of its own.

    :param reactor: clock, and where the thread reports to.
    :param path: the file; it and its directory are made when missing.
    :param synchronous: ``"full"``: what is reported durable survives a power failure;
        ``"normal"``: it survives the end of the process, but a power failure may cost the
        last seconds.
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
        self._file: _Opened | None = None
        self._starting = False
        self._stop_once_started: list[Deferred[None]] = []

    def start(self) -> Deferred[None]:
        """Open the file, creating or migrating its schema.

        :raises StoreError: (in the Deferred) it cannot be used.
        """
        if self._writer is not None:
            return fail(StoreError(f"{self._path}: this store has been started already"))
        writer = self._writer = WriterThread(self._from_threads, "presence-store")
        started: Deferred[None] = Deferred()
        self._starting = True

        def open_file(_: None) -> _Opened:
            return _Opened(self._path, self._synchronous, self._schema)

        def succeeded(opened: _Opened) -> None:
            self._file = opened
            self._starting = False
            self._start_over()
            started.callback(None)
            stopping, self._stop_once_started = self._stop_once_started, []
            for stopped in stopping:
                self.stop().chainDeferred(stopped)

        def failed(error: BaseException) -> None:
            writer.stop()
            self._writer = None
            self._starting = False
            started.errback(error)
            stopping, self._stop_once_started = self._stop_once_started, []
            for stopped in stopping:
                stopped.callback(None)

        writer.submit(open_file, None, succeeded, failed)
        return started

    def stop(self) -> Deferred[None]:
        """Commit what is queued, fold the log into the file and close; never fails."""
        if not self._starting:
            return super().stop()
        stopped: Deferred[None] = Deferred()
        self._stop_once_started.append(stopped)
        return stopped

    def recover(
        self,
        publications: Callable[[list[PublicationRecord]], None],
        subscriptions: Callable[[list[SubscriptionRecord], dict[int, int]], None],
    ) -> Deferred[None]:
        """Read everything back, ordered by id.

        :raises StoreError: (in the Deferred) the file cannot be read.
        """

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

        opened = self._file
        if opened is None:
            return self._not_open()
        statements = opened.statements
        return self._read(statements.publications, take_publications, _BEFORE_ALL).addCallback(
            lambda _: self._read(statements.subscriptions, take_subscriptions, _BEFORE_ALL)
        )

    def recover_bindings(self, bindings: Callable[[list[BindingRecord]], None]) -> Deferred[None]:
        """Read the bindings back, ordered by (aor, contact).

        :raises StoreError: (in the Deferred) the file cannot be read.
        """

        def take(chunk: list[BindingRecord]) -> tuple[str, str] | None:
            if not chunk:
                return None
            bindings(chunk)
            return chunk[-1].aor, chunk[-1].contact

        opened = self._file
        if opened is None:
            return self._not_open()
        return self._read(opened.statements.bindings, take, None)

    def _read(
        self,
        read: Callable[[_Key], _Chunk],
        take: Callable[[_Chunk], _Key | None],
        after: _Key,
    ) -> Deferred[None]:
        """Read chunk by chunk; ``take`` gives the key to read on from, None at the end."""
        writer = self._writer
        if writer is None or not self._opened:
            return self._not_open()
        finished: Deferred[None] = Deferred()

        def succeeded(chunk: _Chunk) -> None:
            try:
                last = take(chunk)
            except Exception:
                finished.errback()  # with what take has raised
                return
            if last is None:
                finished.callback(None)
            elif not self._opened:
                finished.errback(StoreError(f"{self._path}: closed while it was read"))
            else:
                writer.submit(read, last, succeeded, failed)

        def failed(error: BaseException) -> None:
            finished.errback(explain(self._path, error))

        writer.submit(read, after, succeeded, failed)
        return finished

    def _not_open(self) -> Deferred[None]:
        return fail(StoreError(f"{self._path}: the store is not open"))

    # What BatchingStore asks for; it does so between start and stop only.

    def _commit(self, batch: Batch) -> None:
        writer, opened = self._writer, self._file
        if writer is not None and opened is not None:
            writer.submit(opened.statements.commit, batch, self._written, self._not_written)

    def _written(self, _: None) -> None:
        self._committed()

    def _not_written(self, error: BaseException) -> None:
        if not isinstance(error, sqlite3.Error):
            self._log.failure("a batch cannot be written", Failure(error))
        self._refused(explain(self._path, error))

    def _probe(self) -> None:
        writer, opened = self._writer, self._file
        if writer is not None and opened is not None:
            writer.submit(
                opened.statements.probe,
                None,
                lambda _: self._works(),
                lambda _: self._still_refuses(),
            )

    def _close(self) -> None:
        writer, opened = self._writer, self._file
        if writer is not None and opened is not None:
            writer.submit(opened.close, None, self._shut, self._shut_badly)

    def _shut(self, _: None) -> None:
        writer, self._writer, self._file = self._writer, None, None
        if writer is not None:
            writer.stop()
        self._closed()

    def _shut_badly(self, error: BaseException) -> None:
        report(self._log, STORE_NOT_CLOSED, str(explain(self._path, error)))
        self._shut(None)
