"""The directory of the Content Server's objects.  All of it blocks.

``incoming/`` has what is being stored, ``objects/xx/`` what is stored, under random names.
Nothing that a client sends ever becomes a part of a name.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_NAME = re.compile(r"[0-9a-f]{32}")
_SHELVES = tuple(f"{number:02x}" for number in range(256))


class ContentFiles:
    """Files of objects, each readable by their owner only.

    :param directory: made when missing.
    :param random: gives that many random octets.
    """

    def __init__(self, directory: Path, random: Callable[[int], bytes] = os.urandom) -> None:
        self._incoming = directory / "incoming"
        self._objects = directory / "objects"
        self._random = random

    def prepare(self) -> None:
        """Make the directories, and remove what was being stored when a process ended.

        :raises OSError: they cannot be made.
        """
        shelves = [self._objects / shelf for shelf in _SHELVES]
        # one by one: parents that are made along get another mode
        for folder in (self._incoming.parent, self._incoming, self._objects, *shelves):
            folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._incoming.iterdir():
            path.unlink()
        for folder in (self._incoming.parent, self._objects):
            _sync(folder)

    def create(self) -> tuple[str, int]:
        """A new temporary file: its name and a descriptor to write it by.

        :raises OSError: there is no room.
        """
        name = self._random(16).hex()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        return name, os.open(self._incoming / name, flags, 0o600)

    def discard(self, name: str) -> None:
        """Remove a temporary file that is not wanted."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._incoming / name)

    def accept(self, names: Mapping[str, str]) -> None:
        """Make temporary files permanent; durable when this returns.

        :param names: what each is called from now on, with its name so far.
        :raises OSError: they cannot be moved; some may have been.
        """
        shelves = set()
        for name, temporary in names.items():
            os.rename(self._incoming / temporary, self._path(name))
            shelves.add(name[:2])
        for shelf in shelves:
            _sync(self._objects / shelf)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; what stays is removed at the next start."""
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(self._path(name))

    def open(self, name: str) -> int:
        """A descriptor to read a file by.

        :raises FileNotFoundError: it is gone.
        :raises OSError: it cannot be read.
        """
        return os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def shelves(self) -> Iterator[tuple[str, set[str]]]:
        """All that is there, in parts: the begin of the names, and the names."""
        for shelf in _SHELVES:
            yield shelf, {path.name for path in (self._objects / shelf).iterdir()}

    def remove_strange(self, shelf: str, name: str) -> None:
        """Remove a file that belongs to no object, whatever it is called."""
        with contextlib.suppress(OSError):
            os.unlink(self._objects / shelf / name)

    def _path(self, name: str) -> Path:
        if _NAME.fullmatch(name) is None:
            raise ValueError("not the name of a file here")
        return self._objects / name[:2] / name


def _sync(folder: Path) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
