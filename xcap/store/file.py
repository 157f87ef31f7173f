"""A SQLite file and the one thread that writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from xcap.store.errors import StoreError
from xcap.store.medium import SYNCHRONOUS, Kind, OpenFile, explain
from xcap.store.rows import probe
from xcap.store.writer import WriterThread

if TYPE_CHECKING:
    import sqlite3
    from importlib.resources.abc import Traversable

    from twisted.internet.interfaces import IReactorTime

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


class FileThread:
    """Owns a file and does all that blocks in a thread; methods belong to the reactor's.

    :param reactor: where the thread reports to.
    :param path: the file; it and its directory are made when missing.
    :param kind: what file it is.
    :param synchronous: ``"full"``: what is reported durable survives a power failure;
        ``"normal"``: it survives the end of the process, but a power failure may cost the
        last seconds.
    :param folder: of the migrations.
    :param name: of the thread.
    :raises ValueError: no such durability level.
    """

    __slots__ = (
        "_file",
        "_folder",
        "_from_threads",
        "_kind",
        "_name",
        "_synchronous",
        "_writer",
        "path",
    )

    def __init__(
        self,
        reactor: IReactorTime,
        path: str | Path,
        kind: Kind,
        synchronous: str,
        folder: Traversable,
        name: str,
    ) -> None:
        if synchronous not in SYNCHRONOUS:
            raise ValueError(f"synchronous is {synchronous!r}, expected one of {SYNCHRONOUS}")
        self.path = Path(path)
        self._from_threads = IReactorFromThreads(reactor)
        self._kind = kind
        self._synchronous = synchronous
        self._folder = folder
        self._name = name
        self._writer: WriterThread | None = None
        self._file: OpenFile | None = None

    def explain(self, error: BaseException) -> StoreError:
        """What an operator should know about an error of the file."""
        return explain(self.path, self._kind, error)

    def open(self, prepare: Callable[[sqlite3.Connection], _Result]) -> Deferred[_Result]:
        """Open the file and fire with what ``prepare`` gives, which is called in the thread.

        :raises StoreError: (in the Deferred) the file cannot be used.
        """
        writer = self._writer = WriterThread(self._from_threads, self._name)
        opened: Deferred[_Result] = Deferred()

        def open_file(_: None) -> tuple[OpenFile, _Result]:
            file = OpenFile(self.path, self._kind, self._synchronous, self._folder)
            try:
                return file, prepare(file.database)
            except BaseException as error:
                file.close()
                raise self.explain(error) from error

        def succeeded(outcome: tuple[OpenFile, _Result]) -> None:
            self._file = outcome[0]
            opened.callback(outcome[1])

        def failed(error: BaseException) -> None:
            writer.stop()
            self._writer = None
            opened.errback(error)

        writer.submit(open_file, None, succeeded, failed)
        return opened

    def submit(
        self,
        job: Callable[[_Argument], _Result],
        argument: _Argument,
        succeeded: Callable[[_Result], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Call ``job(argument)`` in the thread, then one of the others; the file is open."""
        if self._writer is None:
            raise RuntimeError("the file is not open")
        self._writer.submit(job, argument, succeeded, failed)

    def probe(self, works: Callable[[], None], refuses: Callable[[], None]) -> None:
        """Try a write and call one of the two."""

        def attempt(file: OpenFile | None) -> None:
            if file is not None:
                probe(file.database)

        self.submit(attempt, self._file, lambda _: works(), lambda _: refuses())

    def close(self, closed: Callable[[StoreError | None], None]) -> None:
        """Give the file up after the jobs that were submitted.

        :param closed: gets an error when the write-ahead log stays beside the file.
        """

        def shut(file: OpenFile | None) -> None:
            if file is not None:
                file.close()

        def ended(error: StoreError | None) -> None:
            writer, self._writer, self._file = self._writer, None, None
            if writer is not None:
                writer.stop()
            closed(error)

        self.submit(
            shut, self._file, lambda _: ended(None), lambda error: ended(self.explain(error))
        )
