"""Random identifiers: tags, Call-IDs, branches and entity-tags."""

from __future__ import annotations

import os
from collections.abc import Callable


class TokenSource:
    """Hexadecimal tokens from the system's random source, fetched in blocks.

    :param urandom: gives that many random octets; tests pass their own.
    """

    __slots__ = ("_hex", "_position", "_urandom")

    _BLOCK = 4096

    def __init__(self, urandom: Callable[[int], bytes] = os.urandom) -> None:
        self._urandom = urandom
        self._hex = ""
        self._position = 0

    def random(self, digits: int) -> str:
        """A token of ``digits`` hexadecimal digits (4 random bits each)."""
        end = self._position + digits
        if end > len(self._hex):
            self._hex = self._urandom(self._BLOCK).hex()
            self._position, end = 0, digits
        token = self._hex[self._position : end]
        self._position = end
        return token

    def tag(self) -> str:
        """A From or To tag: 64 random bits (RFC 3261 19.3, UAS-08)."""
        return self.random(16)

    def call_id(self) -> str:
        """A Call-ID: 96 random bits and no address of ours (UAC-01)."""
        return self.random(24)

    def unique(self) -> str:
        """A token never given before, in this process or any other (PUB-02, TXN-01).

        128 random bits: a number that counts would tell each client how much the others do,
        a politely blocked watcher that somebody is there after all (PBK-04).
        """
        return self.random(32)

    def branch(self) -> str:
        """A branch with the magic cookie (RFC 3261 8.1.1.7, TXN-01)."""
        return f"z9hG4bK{self.random(32)}"
