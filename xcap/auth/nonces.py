"""Nonces that need no table (AGP-25, AGP-26)."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import time
from collections.abc import Callable

_OCTETS = 54
"""6 for milliseconds, 12 random, 4 for the node, 32 of HMAC-SHA-256."""
_HEAD = 22
_DAY = 86_400_000
_CHARACTERS = _OCTETS * 4 // 3


class Nonces:
    """Makes and verifies nonces: base64url of time, random bits, node and an HMAC over them.

    The HMAC is made with a secret that is derived from ``key`` anew for each day, and covers
    the realm.  Nonces of another node, or of this one before it was started again, are not
    taken: their counts are not known here.

    :param key: from which the secrets are derived, 16 octets at least.
    :param lifetime: seconds a nonce is good for, 10 to 86,400.
    :param node: 4 octets, different for each process; random if not given.
    :param wall: seconds since the epoch.
    :param random: gives that many random octets.
    :raises ValueError: a parameter is out of its range.
    """

    def __init__(
        self,
        key: bytes,
        lifetime: float = 300.0,
        node: bytes | None = None,
        wall: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if len(key) < 16:
            raise ValueError("the nonce key needs 16 octets at least")
        if not 10 <= lifetime <= 86_400:
            raise ValueError("nonces live for 10 to 86400 seconds")
        self.lifetime = lifetime
        self._key = key
        self._node = random(4) if node is None else node
        if len(self._node) != 4:
            raise ValueError("a node is named by 4 octets")
        self._wall = wall
        self._random = random
        # day -> its secret: today's and the one before
        self._secrets: dict[int, bytes] = {}

    def make(self, realm: str) -> str:
        """A fresh nonce."""
        now = int(self._wall() * 1000)
        head = now.to_bytes(6, "big") + self._random(12) + self._node
        return base64.urlsafe_b64encode(head + self._mac(head, now, realm)).decode("ascii")

    def read(self, nonce: str, realm: str) -> tuple[str, float] | None:
        """Verify a nonce.

        :returns: the nonce in a form that sorts by its time of issue, and its age in seconds;
            None when this node has not issued it for this realm.
        """
        if len(nonce) != _CHARACTERS:
            return None
        try:
            octets = base64.b64decode(nonce, b"-_", validate=True)
        except (ValueError, binascii.Error):
            return None
        head, mac = octets[:_HEAD], octets[_HEAD:]
        issued = int.from_bytes(head[:6], "big")
        age = self._wall() - issued / 1000
        # the age first: a secret is derived for days that matter only
        if head[18:] != self._node or not -self.lifetime <= age <= 86_400:
            return None
        if not hmac.compare_digest(self._mac(head, issued, realm), mac):
            return None
        return head.hex(), age

    def _mac(self, head: bytes, issued: int, realm: str) -> bytes:
        text = head + realm.encode("utf-8", "surrogateescape")
        return hmac.digest(self._secret(issued // _DAY), text, "sha256")

    def _secret(self, day: int) -> bytes:
        secret = self._secrets.get(day)
        if secret is None:
            secret = hmac.digest(self._key, b"nonces of day %d" % day, "sha256")
            while len(self._secrets) > 1:
                del self._secrets[min(self._secrets)]
            self._secrets[day] = secret
        return secret
