"""Objects that a client has retrieved before, by URI and entity-tag.  All of it blocks.

Each object is a file beside one that tells what it is; both are named by a hash of the URI,
which is a secret.  What has not been used for longest goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from presence.content.records import Content


class Kept(msgspec.Struct, frozen=True):
    """An object in the cache.

    :ivar sha1: hexadecimal.
    :ivar path: its file; not a part of what is written.
    """

    etag: str
    content_type: str
    size: int
    sha1: str
    path: str = ""


class ContentCache:
    """A directory of objects.

    :param directory: made when missing.
    :param limit: octets of all objects together.
    """

    def __init__(self, directory: str | os.PathLike[str], limit: int = 64 << 20) -> None:
        self.directory = Path(directory)
        self._limit = limit

    def prepare(self) -> None:
        """Make the directory.

        :raises OSError: it cannot be made.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def get(self, uri: str) -> Kept | None:
        """An object, if it is there and as it was."""
        path = self._path(uri)
        try:
            kept = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Kept)
            if path.stat().st_size != kept.size:
                return None
            os.utime(path)
        except (OSError, msgspec.DecodeError):
            return None
        return msgspec.structs.replace(kept, path=str(path))

    def put(self, uri: str, etag: str, content_type: str, content: Content) -> Kept:
        """Take a file over; its name in ``content`` is that of a file beside the others.

        :raises OSError: that is not possible.
        """
        path = self._path(uri)
        kept = Kept(etag, content_type, content.size, content.sha1.hex())
        note = path.with_suffix(".json")
        # without its note a file is nothing: no other content is ever taken for this one
        with contextlib.suppress(FileNotFoundError):
            note.unlink()
        os.replace(content.file, path)
        draft = path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(kept))
        os.replace(draft, note)
        self._shrink(path)
        return msgspec.structs.replace(kept, path=str(path))

    def drop(self, uri: str) -> None:
        """Forget an object."""
        self._remove(self._path(uri))

    def _path(self, uri: str) -> Path:
        return self.directory / hashlib.sha256(uri.encode()).hexdigest()

    def _shrink(self, newest: Path) -> None:
        files = []
        for path in self.directory.glob("*"):
            if path.suffix:
                continue
            with contextlib.suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._limit:
                break
            if path != newest:
                self._remove(path)
                total -= size

    @staticmethod
    def _remove(path: Path) -> None:
        for name in (path.with_suffix(".json"), path):
            with contextlib.suppress(OSError):
                name.unlink()


def copy(source: str, target: Path) -> None:
    """Copy a file; whoever looks sees all of it or nothing.

    :raises OSError: that is not possible.
    """
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, draft)
        os.replace(draft, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
