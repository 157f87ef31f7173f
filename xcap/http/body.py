"""Bodies of requests as they arrive (RFC 9112 sections 6 and 7).

llhttp, to which the heads are given, does not tell where in its input a message has ended,
and what follows must wait; so the chunked coding is undone here, without any of the
tolerance that RFC 9112 allows.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

from xcap.errors import XcapError

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")

_LINE = 256
"""Octets of a line with the size of a chunk, extensions included."""

_OVERHEAD = 16384
"""Octets of chunk extensions and trailer section that a body may have."""


class _Octets:
    """Content as it gathers; one piece stays what it is, more are joined as they come."""

    __slots__ = ("_content", "_keep", "_sink", "size")

    def __init__(self) -> None:
        self.size = 0
        self._keep = True
        self._sink: Callable[[bytes], None] | None = None
        self._content: bytes | bytearray = b""

    def into(self, sink: Callable[[bytes], None]) -> None:
        """Hand on what comes instead of gathering it; nothing has come yet."""
        self._keep = False
        self._sink = sink

    def _add(self, piece: bytes) -> None:
        self.size += len(piece)
        if not self._keep:
            if self._sink is not None:
                self._sink(piece)
            return
        if not self._content:
            self._content = piece
            return
        if isinstance(self._content, bytes):
            self._content = bytearray(self._content)
        self._content += piece

    def octets(self) -> bytes:
        """The content; it is handed over, not kept."""
        content, self._content = self._content, b""
        return bytes(content)


class LengthBody(_Octets):
    """A body whose length is known.

    :ivar size: octets that have come.
    :ivar done: it is complete.
    """

    __slots__ = ("_length", "done")

    def __init__(self, length: int) -> None:
        super().__init__()
        self.done = length == 0
        self._length = length

    def discard(self, limit: int) -> bool:
        """Forget what comes; False when that is more than ``limit`` octets."""
        self._keep = False
        self._sink = None
        self._content = b""
        return self._length - self.size <= limit

    def allows(self, limit: int) -> bool:
        """Whether it has no more octets than that."""
        return self._length <= limit

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body and give back the rest."""
        missing = self._length - self.size
        self.done = len(data) >= missing
        if len(data) <= missing:
            self._add(data)
            return b""
        self._add(data[:missing])
        return data[missing:]


class _Expected(enum.Enum):
    """What comes next in a chunked body."""

    SIZE = enum.auto()
    CONTENT = enum.auto()
    END_OF_CHUNK = enum.auto()
    TRAILER = enum.auto()


class ChunkedBody(_Octets):
    """A body in chunks; extensions and trailer are checked and forgotten.

    :param limit: octets of content it may have.
    :ivar size: octets of content that have come.
    :ivar done: it is complete.
    """

    __slots__ = ("_expected", "_left", "_limit", "_overhead", "_pending", "done")

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.done = False
        self._limit = limit
        self._expected = _Expected.SIZE
        self._left = 0
        self._overhead = 0
        self._pending = b""

    def discard(self, limit: int) -> bool:
        """Forget what comes, ``limit`` octets more at most."""
        self._keep = False
        self._sink = None
        self._content = b""
        self._limit = self.size + limit
        return True

    def allows(self, limit: int) -> bool:
        """Set another limit; how much there will be nobody knows."""
        self._limit = limit
        return True

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body and give back the rest.

        :raises XcapError: 400 malformed, 413 more than the limit, 431 a large trailer
            section; where the body ends cannot be told any more.
        """
        if self._pending:
            data = self._pending + data
        position, end = 0, len(data)
        while not self.done and position < end:
            if self._expected is _Expected.CONTENT:
                piece = data[position : position + self._left]
                self._add(piece)
                self._left -= len(piece)
                position += len(piece)
                if not self._left:
                    self._expected = _Expected.END_OF_CHUNK
                continue
            found = data.find(b"\n", position)
            if found < 0:
                self._unfinished(end - position)
                break
            self._line(data[position : found + 1])
            position = found + 1
        self._pending = b"" if self.done else data[position:]
        return data[position:] if self.done else b""

    def _unfinished(self, length: int) -> None:
        """A line that has no end yet must not grow for ever."""
        if self._expected is _Expected.TRAILER:
            if self._overhead + length > _OVERHEAD:
                raise XcapError(431, "the trailer section is too large")
        elif length > _LINE:
            raise XcapError(400, "the size of a chunk is malformed")

    def _line(self, line: bytes) -> None:
        """A line that is no content, with its LF."""
        if line[-2:] != b"\r\n":
            raise XcapError(400, "a line of the chunked body does not end in CRLF")
        text = line[:-2]
        if self._expected is _Expected.SIZE:
            self._begin_chunk(text)
        elif self._expected is _Expected.END_OF_CHUNK:
            if text:
                raise XcapError(400, "a chunk is longer than its size")
            self._expected = _Expected.SIZE
        elif text:
            self._charge(len(line))
            if _FIELD.fullmatch(text) is None:
                raise XcapError(400, "the trailer section is malformed")
        else:
            self.done = True

    def _begin_chunk(self, text: bytes) -> None:
        match = _CHUNK.fullmatch(text)
        if match is None or len(text) > _LINE:
            raise XcapError(400, "the size of a chunk is malformed")
        self._charge(len(text) - len(match[1]))
        self._left = int(match[1], 16)
        if not self._left:
            self._expected = _Expected.TRAILER
        elif self.size + self._left > self._limit:
            raise XcapError(413, "the body is too large")
        else:
            self._expected = _Expected.CONTENT

    def _charge(self, octets: int) -> None:
        self._overhead += octets
        if self._overhead > _OVERHEAD:
            raise XcapError(431, "chunk extensions and trailer section are too large")
