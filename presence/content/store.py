"""Objects as files, and what is known of them in SQLite, for one host (AGP-113)."""

from __future__ import annotations

import os
import sqlite3
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from presence.content.files import ContentFiles
from presence.content.interfaces import IContentStore
from presence.content.records import Add, QuotaExceeded, Replace, Vanished
from presence.content.statements import ContentReader, ContentWriter
from presence.content.upload import Do, FileSource, Upload, Writing
from presence.content.workers import Workers
from presence.oplog import (
    CONTENT_LOST,
    CONTENT_REFUSES,
    CONTENT_UNREADABLE,
    STORE_NOT_CLOSED,
    cleared,
    report,
)
from xcap.errors import StoreUnavailable
from xcap.store.file import FileThread
from xcap.store.gather import Gathering
from xcap.store.medium import Kind, connect_reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.resources.abc import Traversable

    from twisted.internet.interfaces import IReactorTime

    from presence.content.records import Change, Content, ContentObject, Usage
    from xcap.store.errors import StoreError
    from xcap.streams import Source

_Result = TypeVar("_Result")

KIND = Kind(
    application_id=0x54784373,  # "TxCs"
    damaged=(
        "move it and its -wal file away (keep them for examination) and put a copy in their "
        "place: without one the objects of all users are lost"
    ),
)

THREADS = 4
"""Files that are read or written side by side."""


class _Batch(list[tuple["Change", "Deferred[Any]"]]):
    """Changes that become durable together, each with whom to tell.

    :ivar outcomes: for each, once the batch is written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[Any] = []


@implementer(IContentStore)
class ContentStore(Gathering[_Batch]):
    """Objects below one directory, changed by a thread and read by some more.

    :param reactor: clock, and where the threads report to.
    :param directory: made when missing.
    :param synchronous: see :class:`xcap.store.file.FileThread`; files are always flushed.
    :param schema: folder of the migrations, for tests.
    :param random: gives that many random octets, for names of files.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        directory: str | Path,
        synchronous: str = "full",
        *,
        schema: Traversable | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__(reactor, _Batch)
        folder = schema if schema is not None else files("presence.content.schema")
        path = Path(directory)
        self._threads = IReactorFromThreads(reactor)
        self._file = FileThread(
            reactor, path / "content.sqlite", KIND, synchronous, folder, "content-store"
        )
        self._files = ContentFiles(path, random)
        self._writer: ContentWriter | None = None
        self._workers: Workers[ContentReader] | None = None
        self._using: set[Upload | FileSource] = set()
        self._unreadable = False

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return 0 if self._writer is None else self._writer.objects

    @property
    def octets(self) -> int:
        """Octets of all of them together."""
        return 0 if self._writer is None else self._writer.octets

    # -- changes --------------------------------------------------------------------------

    def upload(self) -> Upload:
        """Begin to take content.

        :raises StoreUnavailable: the store is not open, or takes no writes.
        """
        if self._workers is None or not self._opened or self.failed:
            raise StoreUnavailable("the content store takes nothing now")
        file = Writing(self._files.create, self._files.discard)
        upload = Upload(self._do(self._workers), file, self._using.discard)
        self._using.add(upload)
        return upload

    def change(self, change: Change) -> Deferred[Any]:
        """Make a change durable; see :class:`IContentStore`."""
        done: Deferred[Any] = Deferred(lambda _: None)
        if not self._opened or self.failed:
            self._discard(change)
            return fail(StoreUnavailable("the content store takes nothing now"))
        batch = self._batch
        place = len(batch)
        batch.append((change, done))

        def settled(durable: bool) -> None:
            if done.called:  # nobody waits any more
                return
            if not durable:
                done.errback(StoreUnavailable("the change is lost"))
                return
            outcome = batch.outcomes[place]
            if isinstance(outcome, QuotaExceeded | Vanished):
                done.errback(outcome)
            else:
                done.callback(outcome)

        self.when_durable(settled)
        return done

    def discard(self, content: Content) -> None:
        """Content that was complete is not wanted after all."""
        if self._workers is not None:
            name = content.file
            # what stays is removed at the next start
            self._workers.do(lambda _: self._files.discard(name)).addErrback(lambda _: None)

    def _discard(self, change: Change) -> None:
        """Remove the content of a change that will not be."""
        if isinstance(change, Add | Replace):
            self.discard(change.content)

    # -- questions ------------------------------------------------------------------------

    def find(self, id: str) -> Deferred[ContentObject | None]:
        """An object."""
        return self._ask(lambda reader: reader.find(id))

    def listing(self, owner: str) -> Deferred[list[ContentObject]]:
        """All objects of a user."""
        return self._ask(lambda reader: reader.listing(owner))

    def usage(self, owner: str) -> Deferred[Usage]:
        """What a user has."""
        return self._ask(lambda reader: reader.usage(owner))

    def read(self, id: str, whole: int) -> Deferred[tuple[ContentObject, bytes | None] | None]:
        """An object, with its content where that is short."""

        def look(reader: ContentReader) -> tuple[ContentObject, bytes | None] | None:
            for _ in range(2):
                found = reader.find(id)
                if found is None or found.size > whole:
                    return None if found is None else (found, None)
                try:
                    descriptor = self._files.open(found.file)
                except FileNotFoundError:
                    continue  # replaced or removed in between: look again
                try:
                    return found, os.pread(descriptor, found.size, 0)
                finally:
                    os.close(descriptor)
            return None

        return self._ask(look)

    def source(self, found: ContentObject, first: int, length: int) -> Deferred[Source | None]:
        """A part of the content of an object, in pieces."""

        def opened(descriptor: int) -> Source | None:
            workers = self._workers
            if descriptor < 0 or workers is None:
                return None
            source = FileSource(self._do(workers), descriptor, first, length, self._using.discard)
            self._using.add(source)
            return source

        def look(_: ContentReader) -> int:
            try:
                return self._files.open(found.file)
            except FileNotFoundError:
                return -1

        return self._ask(look).addCallback(opened)

    @staticmethod
    def _do(workers: Workers[ContentReader]) -> Do[Any]:
        return lambda job: workers.do(lambda _: job())

    def _ask(self, question: Callable[[ContentReader], _Result]) -> Deferred[_Result]:
        if self._workers is None or not self._opened:
            return fail(StoreUnavailable("the content store is not open"))
        return self._workers.do(question).addCallbacks(self._read, self._not_read)

    def _read(self, answer: _Result) -> _Result:
        self._unreadable = False
        return answer

    def _not_read(self, failure: Failure) -> Any:
        failure.trap(Exception)
        error = failure.value
        if not isinstance(error, sqlite3.Error | OSError):
            self._log.failure("a question to the content store has failed", failure)
        elif not self._unreadable:
            self._unreadable = True
            report(self._log, CONTENT_UNREADABLE, str(self._file.explain(error)))
        raise StoreUnavailable("the content store cannot be read")

    # -- what the cycle asks for ----------------------------------------------------------

    def _open(self) -> Deferred[None]:
        def prepare(database: sqlite3.Connection) -> ContentWriter:
            return ContentWriter(database, self._files)

        def prepared(writer: ContentWriter) -> None:
            self._writer = writer
            if writer.lost:
                report(self._log, CONTENT_LOST, f"{writer.lost} objects have no file")
            self._workers = Workers(
                self._threads,
                "content",
                THREADS,
                lambda: ContentReader(connect_reader(self._file.path, KIND)),
                ContentReader.close,
            )

        return self._file.open(prepare).addCallback(prepared)

    def _commit(self, batch: _Batch) -> None:
        if self._writer is None:
            return
        writer = self._writer

        def write(changes: list[Change]) -> None:
            batch.outcomes = writer.commit(changes)

        self._file.submit(write, [change for change, _ in batch], self._written, self._not_written)

    def _written(self, _: None) -> None:
        self._committed()

    def _not_written(self, error: BaseException) -> None:
        if not isinstance(error, sqlite3.Error | OSError):
            self._log.failure("a batch of content cannot be written", Failure(error))
        self._refused(self._file.explain(error))

    def _drop(self, earlier: list[Any]) -> None:
        for change, _ in self._batch:
            self._discard(change)
        super()._drop(earlier)

    def _probe(self) -> None:
        self._file.probe(self._works, self._still_refuses)

    def _report(self, cause: str) -> None:
        report(self._log, CONTENT_REFUSES, cause)

    def _report_over(self) -> None:
        cleared(self._log, CONTENT_REFUSES)

    def _close(self) -> None:
        # who still reads or writes gets no further
        for each in list(self._using):
            if isinstance(each, Upload):
                each.abandon()
            else:
                each.close()
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.stop()
        self._file.close(self._shut)

    def _shut(self, error: StoreError | None) -> None:
        if error is not None:
            report(self._log, STORE_NOT_CLOSED, str(error))
        self._closed()
