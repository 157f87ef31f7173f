"""Documents in a SQLite file with a write-ahead log, for one host."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from xcap.errors import StoreUnavailable
from xcap.interfaces import IDocumentStore
from xcap.store.documents import HISTORY, DocumentStore
from xcap.store.errors import StoreError
from xcap.store.evaluate import Work, tags
from xcap.store.file import FileThread
from xcap.store.medium import Kind, connect_reader
from xcap.store.reading import Reading
from xcap.store.statements import Fault, Reader, Writer
from xcap.store.writer import WriterThread

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

_Result = TypeVar("_Result")

KIND = Kind(
    application_id=0x54785863,  # "TxXc"
    damaged=(
        "move it and its -wal file away (keep them for examination) and put a copy in their "
        "place: without one the documents of all users are lost"
    ),
)


@implementer(IDocumentStore)
class SqliteDocumentStore(DocumentStore):
    """Documents in one file; one thread writes it, another reads.

    :param reactor: clock, and where the threads report to.
    :param path: the file; it and its directory are made when missing.
    :param wall: wall-clock seconds, for the times of changes.
    :param synchronous: ``"full"``: what is reported durable survives a power failure;
        ``"normal"``: it survives the end of the process, but a power failure may cost the
        last seconds.
    :param history: changes that are remembered, at least one.
    :param schema: folder of the migrations, for tests.
    :param options: see :class:`xcap.store.documents.DocumentStore`.
    :raises ValueError: no such durability level.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        path: str | Path,
        wall: Callable[[], float],
        synchronous: str = "full",
        *,
        history: int = HISTORY,
        schema: Traversable | None = None,
        **options: Any,
    ) -> None:
        super().__init__(reactor, wall, **options)
        folder = schema if schema is not None else files("xcap.store.schema")
        self._file = FileThread(reactor, path, KIND, synchronous, folder, "document-store")
        self._history = max(1, history)
        self._from_threads = IReactorFromThreads(reactor)
        self._writer: Writer | None = None
        self._reading: WriterThread | None = None
        self._reader: Reader | None = None
        self._unreadable = False
        # what was asked in this turn, and when it is handed over
        self._questions: list[tuple[Callable[[Reading], Any], Deferred[Any]]] = []
        self._asking: IDelayedCall | None = None
        # answers that belong to a position which has not been settled here
        self._held: list[tuple[int, Callable[[], None]]] = []

    # Reading.

    def _ask(self, question: Callable[[Reading], _Result]) -> Deferred[_Result]:
        if self._reader is None or not self._opened:
            return fail(StoreUnavailable("the document store is not open"))
        answer: Deferred[_Result] = Deferred()
        self._questions.append((question, answer))
        if self._asking is None:
            # all of a turn are one look: handing over costs as much as finding a document
            self._asking = self._reactor.callLater(0, self._look)
        return answer

    def _look(self) -> None:
        """Hand over what was asked in this turn."""
        thread, reader, self._asking = self._reading, self._reader, None
        asked, self._questions = self._questions, []
        if thread is None or reader is None or not asked:
            return

        def read(outcome: tuple[int, list[Any]]) -> None:
            position, found = outcome
            answers = [(answer, each) for (_, answer), each in zip(asked, found, strict=True)]
            if position > self.position and self._flying is not None:
                self._held.append((position, lambda: self._give(answers)))
            else:
                self._give(answers)

        def failed(error: BaseException) -> None:
            self._give([(answer, Fault(error)) for _, answer in asked])

        thread.submit(reader.look, [question for question, _ in asked], read, failed)

    def _give(self, answers: list[tuple[Deferred[Any], Any]]) -> None:
        """Answer those who have asked."""
        for answer, found in answers:
            if isinstance(found, Fault):
                self._tell(found.error)
                answer.errback(StoreUnavailable("the document store cannot be read"))
            else:
                self._unreadable = False
                answer.callback(found)

    def _tell(self, error: BaseException) -> None:
        """Tell the operator why a question was not answered."""
        if not isinstance(error, sqlite3.Error):
            self._log.failure("a question to the document store has failed", Failure(error))
        elif not self._unreadable:
            self._unreadable = True
            self._log.critical(
                "{cause}", cause=str(self._file.explain(error)), problem="store-unreadable"
            )

    def _settled(self) -> None:
        self._release(self.position)

    def _release(self, position: int | None) -> None:
        """Give the answers that belong to a position up to this one; None: all."""
        held, self._held = self._held, []
        for wanted, give in held:
            if position is None or wanted <= position:
                give()
            else:
                self._held.append((wanted, give))

    # What the cycle asks for; all but the first between start and stop only.

    def _open(self) -> Deferred[None]:
        opened: Deferred[None] = Deferred()

        def prepare(database: sqlite3.Connection) -> Writer:
            return Writer(database, self._history, tags(self._start()))

        def written(writer: Writer) -> None:
            self._writer = writer
            self.position = writer.position
            thread = self._reading = WriterThread(self._from_threads, "document-reader")
            thread.submit(connect, None, readable, unreadable)

        def connect(_: None) -> Reader:
            return Reader(connect_reader(self._file.path, KIND))

        def readable(reader: Reader) -> None:
            self._reader = reader
            opened.callback(None)

        def unreadable(error: BaseException) -> None:
            self._stop_reading()
            self._file.close(lambda _: opened.errback(error))

        self._file.open(prepare).addCallbacks(written, opened.errback)
        return opened

    def _write(self, work: Work) -> None:
        if self._writer is not None:
            self._file.submit(self._writer.commit, work, self._written, self._not_written)

    def _not_written(self, error: BaseException) -> None:
        if not isinstance(error, sqlite3.Error):
            self._log.failure("a batch of documents cannot be written", Failure(error))
        self._refused(self._file.explain(error))
        self._release(None)

    def _probe(self) -> None:
        self._file.probe(self._works, self._still_refuses)

    def _close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._look()
        thread, reader = self._reading, self._reader
        if thread is not None and reader is not None:
            # before the writer: only the last connection folds the log
            thread.submit(reader.close, None, self._read_all, self._read_all)

    def _read_all(self, _: object) -> None:
        self._stop_reading()
        self._writer = None
        self._file.close(self._shut)

    def _stop_reading(self) -> None:
        thread, self._reading, self._reader = self._reading, None, None
        if thread is not None:
            thread.stop()

    def _shut(self, error: StoreError | None) -> None:
        if error is not None:
            self._log.error("{cause}", cause=str(error), problem="store-not-closed")
        self._ended()
        self._closed()
