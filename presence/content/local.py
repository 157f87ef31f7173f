"""Content as clients have it: octets or a file to be sent, a file that an answer goes to."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool

from presence.content.upload import PIECE, Do, FileSource, Upload, Writing
from xcap.errors import StoreUnavailable
from xcap.transfer import TooLarge

if TYPE_CHECKING:
    from presence.content.records import Content
    from xcap.streams import Source


def threads(reactor: Any) -> Do[Any]:
    """Has things done by the threads that the reactor has anyway."""
    return lambda job: deferToThreadPool(reactor, reactor.getThreadPool(), job)


class OctetsSource:
    """Octets as a source of pieces."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._position = 0

    def read(self) -> Deferred[bytes]:
        """The next piece."""
        piece = self._octets[self._position : self._position + PIECE]
        self._position += len(piece)
        return succeed(piece)

    def close(self) -> None:
        """No more is wanted."""


class OctetsSink:
    """Gathers a body in memory.

    :param limit: octets at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def take(self, piece: bytes) -> Deferred[None] | None:
        """Take a piece."""
        self._size += len(piece)
        if self._size > self._limit:
            raise TooLarge
        self._pieces.append(piece)
        return None

    def octets(self) -> bytes:
        """All that came."""
        return b"".join(self._pieces)


@attrs.frozen(slots=True)
class Outgoing:
    """Content that is to be sent.

    :ivar descriptor: of the file it is in, -1 for none.
    """

    size: int
    sha1: bytes
    sha256: bytes
    octets: bytes = b""
    descriptor: int = -1

    def source(self, do: Do[Any]) -> Source:
        """Its pieces, from the begin."""
        if self.descriptor < 0:
            return OctetsSource(self.octets)
        return FileSource(do, os.dup(self.descriptor), 0, self.size, lambda _: None)

    def close(self) -> None:
        """It was sent, or will not be."""
        if self.descriptor >= 0:
            os.close(self.descriptor)


def outgoing(content: bytes | str | os.PathLike[str]) -> Outgoing:
    """Look at content that is to be sent; blocks.

    :param content: octets, or the name of a file.
    :raises OSError: the file cannot be read.
    """
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    if isinstance(content, bytes):
        sha1.update(content)
        sha256.update(content)
        return Outgoing(len(content), sha1.digest(), sha256.digest(), content)
    descriptor = os.open(content, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = 0
        while piece := os.pread(descriptor, PIECE, size):
            sha1.update(piece)
            sha256.update(piece)
            size += len(piece)
    except BaseException:
        os.close(descriptor)
        raise
    return Outgoing(size, sha1.digest(), sha256.digest(), descriptor=descriptor)


@attrs.frozen(slots=True)
class Measured:
    """What content is.

    :ivar size: octets.
    :ivar sha1: hexadecimal.
    :ivar body: the content itself if it is small, else None.
    """

    size: int
    sha1: str
    body: bytes | None


def measured(content: bytes | str | os.PathLike[str], small: int) -> Measured:
    """Look at content; blocks.

    :param small: octets up to which it comes into memory.
    :raises OSError: the file cannot be read.
    """
    found = outgoing(content)
    try:
        body, sha1 = None, found.sha1
        if found.size <= small:
            body = found.octets if found.descriptor < 0 else os.pread(found.descriptor, small, 0)
            if len(body) != found.size:
                raise OSError(0, "it is being written")
            sha1 = hashlib.sha1(body, usedforsecurity=False).digest()
        return Measured(found.size, sha1.hex(), body)
    finally:
        found.close()


class FileSink:
    """Writes a body to a temporary file beside the place where it shall be.

    :param do: has something done in a thread.
    :param folder: for the temporary file.
    :param limit: octets at most.
    """

    def __init__(self, do: Do[Any], folder: Path, limit: int) -> None:
        self._limit = limit

        def create() -> tuple[str, int]:
            descriptor, name = tempfile.mkstemp(prefix=".content-", dir=folder)
            return name, descriptor

        self._upload = Upload(do, Writing(create, os.unlink), lambda _: None)

    def take(self, piece: bytes) -> Deferred[None] | None:
        """Take a piece."""
        if self._upload.size + len(piece) > self._limit:
            raise TooLarge
        try:
            return self._upload.take(piece)
        except StoreUnavailable:
            raise TooLarge from None  # the end of the connection; finish tells why

    def finish(self) -> Deferred[Content]:
        """All has come: the file.

        :raises StoreUnavailable: (in the Deferred) it cannot be written.
        """
        return self._upload.finish()

    def abandon(self) -> None:
        """It is not wanted any more."""
        self._upload.abandon()
