"""Content on its way to the disk, and from there: never more of it in memory than some pieces."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from presence.content.interfaces import IUpload
from presence.content.records import Content
from xcap.errors import StoreUnavailable

if TYPE_CHECKING:
    from twisted.python.failure import Failure

T = TypeVar("T")

PIECE = 1 << 17
"""Octets that are written, or read, at a time; an upload has two of these in memory at most."""


Do: TypeAlias = Callable[[Callable[[], T]], "Deferred[T]"]
"""Has something done that blocks, in a thread."""


class Writing:
    """A file that is being written; its methods block, and are called one after the other.

    :param create: makes the file: its name and a descriptor.
    :param remove: removes it.
    """

    def __init__(
        self, create: Callable[[], tuple[str, int]], remove: Callable[[str], None]
    ) -> None:
        self._create = create
        self._remove = remove
        self._name = ""
        self._descriptor = -1
        self._size = 0
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def write(self, pieces: list[bytes]) -> None:
        """Append pieces.

        :raises OSError: there is no room.
        """
        if self._descriptor < 0:
            self._name, self._descriptor = self._create()
        for piece in pieces:
            self._sha1.update(piece)
            self._sha256.update(piece)
            self._size += len(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def finish(self, pieces: list[bytes]) -> Content:
        """Append the last pieces and flush everything to the disk.

        :raises OSError: there is no room.
        """
        self.write(pieces)
        os.fsync(self._descriptor)
        self._shut()
        return Content(self._name, self._size, self._sha1.digest(), self._sha256.digest())

    def discard(self) -> None:
        """Remove what was written."""
        self._shut()
        if self._name:
            self._remove(self._name)

    def _shut(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@implementer(IUpload)
class Upload:
    """Gathers pieces and has them written by threads.

    :param do: has something done in a thread.
    :param file: where they go.
    :param ended: called once, when nothing of it is under way any more.
    """

    _log = Logger()

    def __init__(
        self,
        do: Do[Any],
        file: Writing,
        ended: Callable[[Upload], None],
    ) -> None:
        self.size = 0
        self._do = do
        self._file = file
        self._ended = ended
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._flying = False
        self._error: Exception | None = None
        self._waiting: Deferred[None] | None = None  # for room
        self._finished: Deferred[Content] | None = None
        self._abandoned = False
        self._over = False

    def take(self, piece: bytes) -> Deferred[None] | None:
        """See :class:`IUpload`."""
        if self._error is not None:
            raise self._error
        if self._abandoned:
            return None
        self.size += len(piece)
        self._pieces.append(piece)
        self._gathered += len(piece)
        if self._gathered >= PIECE:
            if not self._flying:
                self._write()
            elif self._waiting is None:
                self._waiting = Deferred()
        return self._waiting

    def finish(self) -> Deferred[Content]:
        """See :class:`IUpload`."""
        self._finished = Deferred(lambda _: None)
        if not self._flying:
            self._go_on()
        return self._finished

    def abandon(self) -> None:
        """See :class:`IUpload`."""
        if self._abandoned or self._over:
            return
        self._abandoned = True
        if not self._flying:
            self._go_on()

    def _write(self) -> None:
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        self._flying = True
        file = self._file
        self._do(lambda: file.write(pieces)).addCallbacks(self._written, self._failed)

    def _written(self, _: None) -> None:
        self._flying = False
        waiting, self._waiting = self._waiting, None
        self._go_on()
        if waiting is not None:
            waiting.callback(None)

    def _failed(self, failure: Failure) -> None:
        self._flying = False
        if self._error is None:
            if failure.check(OSError) is None:
                self._log.failure("content cannot be written", failure)
            self._error = StoreUnavailable("the disk takes no content")
        waiting, self._waiting = self._waiting, None
        self._go_on()
        if waiting is not None:
            waiting.callback(None)

    def _go_on(self) -> None:
        """Nothing is flying: do what is to be done next."""
        if self._over:
            return
        finished = self._finished
        if self._abandoned or (finished is not None and self._error is not None):
            self._over = True
            file = self._file
            self._do(lambda: file.discard()).addBoth(self._end)
            if finished is not None and not finished.called:
                finished.errback(self._error or StoreUnavailable("given up"))
        elif finished is not None:
            pieces, self._pieces = self._pieces, []
            self._flying = True
            file = self._file
            self._do(lambda: file.finish(pieces)).addCallbacks(self._complete, self._failed)
        elif self._gathered >= PIECE:
            self._write()

    def _complete(self, content: Content) -> None:
        self._flying = False
        finished = self._finished
        if finished is None or finished.called:  # nobody waits any more
            self._abandoned = True
        if self._abandoned or finished is None:
            self._go_on()
            return
        self._over = True
        self._end(None)
        finished.callback(content)

    def _end(self, _: object) -> None:
        self._ended(self)


class FileSource:
    """A part of a file, in pieces; see :class:`xcap.streams.Source`.

    :param do: has something done in a thread.
    :param descriptor: of the file; closed here.
    :param ended: called once, when it is closed.
    """

    def __init__(
        self,
        do: Do[bytes],
        descriptor: int,
        first: int,
        length: int,
        ended: Callable[[FileSource], None],
    ) -> None:
        self._do = do
        self._descriptor = descriptor
        self._position = first
        self._left = length
        self._ended = ended
        self._reading = False
        self._closed = False

    def read(self) -> Deferred[bytes]:
        """The next piece."""
        size = min(self._left, PIECE)
        if not size or self._closed:
            return succeed(b"")
        self._reading = True
        descriptor, position = self._descriptor, self._position
        return self._do(lambda: os.pread(descriptor, size, position)).addBoth(self._read)

    def _read(self, piece: bytes | Failure) -> bytes | Failure:
        self._reading = False
        if isinstance(piece, bytes):
            self._position += len(piece)
            self._left -= len(piece)
        if self._closed:
            self._close()
        return piece

    def close(self) -> None:
        """No more is wanted."""
        if not self._closed:
            self._closed = True
            if not self._reading:
                self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
            self._ended(self)
