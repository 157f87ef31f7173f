"""Ports for servers that tests start."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

_HOST = "127.0.0.1"
_FIRST, _EACH, _SHARES = 15_000, 4000, 4


def free_port() -> int:
    """A port of loopback that nobody uses just now, over UDP or TCP.

    It is below those that the system gives to connections, any of which could take it before
    the server does, or while that starts again.  Tests that run side by side (``tests/run.py``)
    have ports of their own: each process works in a directory that is named by its number.
    """
    name = Path.cwd().name
    share = int(name) % _SHARES if name.isdecimal() else 0
    first = _FIRST + share * _EACH
    for _ in range(1000):
        port = random.randrange(first, first + _EACH)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as streams,
            contextlib.suppress(OSError),
        ):
            datagrams.bind((_HOST, port))
            streams.bind((_HOST, port))
            return port
    raise AssertionError("no port is free")
