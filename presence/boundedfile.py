"""Files that never grow beyond a bound: traces and access logs."""

from __future__ import annotations

import os
from pathlib import Path


class BoundedFile:
    """A file that never takes more than ``limit`` octets, together with its predecessor.

    :param path: the file, readable by its owner only; ``.1`` is added for the predecessor.
    :param limit: octets.
    """

    def __init__(self, path: Path, limit: int) -> None:
        """Open it; what is there is kept.

        :raises OSError: it cannot be opened.
        """
        self._path = path
        self._half = limit // 2
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def write(self, entry: bytes) -> None:
        """Append an entry; the predecessor is dropped when there is no room.

        :raises OSError: it cannot be written.
        """
        if len(entry) > self._half:
            entry = entry[: self._half - 7] + b"\n[...]\n"
        if self._size + len(entry) > self._half:
            self.close()
            os.replace(self._path, f"{self._path}.1")
            self._open()
        self._size += os.write(self._descriptor, entry)

    def close(self) -> None:
        """Close it; harmless when it is closed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
