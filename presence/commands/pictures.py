"""Pictures that are published: what they are, by their first octets."""

from __future__ import annotations

import os
import stat
from typing import Final

from presence.commands.failures import USAGE, CommandError
from presence.publishing.objects import SourceObject

_KINDS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def picture(option: str, file: str) -> SourceObject:
    """A picture in a file, its media type from what it begins with: a name may say anything.

    :param option: that named the file, for errors.
    :raises CommandError: it cannot be read, or is no picture that watchers know to show.
    """
    try:
        # a pipe or a device would never end
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            begin = os.read(descriptor, 16) if regular else b""
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CommandError(f"{option} {file}: {error.strerror}", USAGE) from None
    if not regular:
        raise CommandError(f"{option} {file}: not a file", USAGE)
    for magic, kind in _KINDS:
        if begin.startswith(magic):
            return SourceObject(os.path.abspath(file), kind)
    raise CommandError(f"{option} {file}: neither PNG nor JPEG nor GIF", USAGE)
