"""A store in a SQLite file with a write-ahead log, for one host."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from zope.interface import implementer

from presence.interfaces import IPresenceStore
from presence.oplog import STORE_NOT_CLOSED, report
from presence.store.gather import BatchingStore
from presence.store.records import Batch
from presence.store.statements import Statements
from xcap.store.errors import StoreError
from xcap.store.file import FileThread
from xcap.store.medium import Kind

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from twisted.internet.interfaces import IReactorTime

    from presence.records import WatcherRecord
    from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord

_Key = TypeVar("_Key")
_Chunk = TypeVar("_Chunk")

_BEFORE_ALL = -(2**63)

KIND = Kind(
    application_id=0x54785072,  # "TxPr"
    damaged=(
        "move it and its -wal file away (keep them for examination) and start again: publishers "
        "and watchers come back with their next refresh"
    ),
    # refreshes of unknown publications; looking for these on every write would cost more
    tidy=("DELETE FROM lease WHERE id NOT IN (SELECT id FROM publication)",),
)


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
        folder = schema if schema is not None else files("presence.store.schema")
        self._file = FileThread(reactor, path, KIND, synchronous, folder, "presence-store")
        self._statements: Statements | None = None

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

        statements = self._statements
        if statements is None:
            return self._not_open()
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

        statements = self._statements
        if statements is None:
            return self._not_open()
        return self._read(statements.bindings, take, None)

    def recover_watchers(self, watchers: Callable[[list[WatcherRecord]], None]) -> Deferred[None]:
        """Read the watchers back, ordered by id.

        :raises StoreError: (in the Deferred) the file cannot be read.
        """

        def take(chunk: list[WatcherRecord]) -> int | None:
            if not chunk:
                return None
            watchers(chunk)
            return chunk[-1].id

        statements = self._statements
        if statements is None:
            return self._not_open()
        return self._read(statements.watchers, take, _BEFORE_ALL)

    def _read(
        self,
        read: Callable[[_Key], _Chunk],
        take: Callable[[_Chunk], _Key | None],
        after: _Key,
    ) -> Deferred[None]:
        """Read chunk by chunk; ``take`` gives the key to read on from, None at the end."""
        if not self._opened:
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
                finished.errback(StoreError(f"{self._file.path}: closed while it was read"))
            else:
                self._file.submit(read, last, succeeded, failed)

        def failed(error: BaseException) -> None:
            finished.errback(self._file.explain(error))

        self._file.submit(read, after, succeeded, failed)
        return finished

    def _not_open(self) -> Deferred[None]:
        return fail(StoreError(f"{self._file.path}: the store is not open"))

    # What the cycle asks for; all but the first between start and stop only.

    def _open(self) -> Deferred[None]:
        def prepared(statements: Statements) -> None:
            self._statements = statements

        return self._file.open(Statements).addCallback(prepared)

    def _commit(self, batch: Batch) -> None:
        if self._statements is not None:
            self._file.submit(self._statements.commit, batch, self._written, self._not_written)

    def _written(self, _: None) -> None:
        self._committed()

    def _not_written(self, error: BaseException) -> None:
        if not isinstance(error, sqlite3.Error):
            self._log.failure("a batch cannot be written", Failure(error))
        self._refused(self._file.explain(error))

    def _probe(self) -> None:
        self._file.probe(self._works, self._still_refuses)

    def _close(self) -> None:
        self._statements = None
        self._file.close(self._shut)

    def _shut(self, error: StoreError | None) -> None:
        if error is not None:
            report(self._log, STORE_NOT_CLOSED, str(error))
        self._closed()
