"""A user's Content Server in memory, for tests of Presence Sources."""

from __future__ import annotations

import os
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from presence.content.errors import ContentError
from presence.content.interfaces import IOwnObjects, StoredObject
from presence.content.local import Measured, measured

WALL = 1700000000.0
PNG = b"\x89PNG\r\n\x1a\n"
BASE = "https://content.example.com/cs/o/"


@attrs.define
class Shelved:
    """An object of the user.

    :ivar until: wall-clock seconds.
    """

    body: bytes
    content_type: str
    until: float


@implementer(IOwnObjects)
class Shed:
    """Keeps objects in a dictionary.

    :ivar objects: what is there, by URL.
    :ivar asked: what was asked for, in order: operation and URL, or media type.
    :ivar down: everything but looking at content fails so.
    :ivar held: requests wait here while this is a list.
    :ivar longest: life that it grants.
    """

    def __init__(self, clock: IReactorTime, base: str = BASE, epoch: float = WALL) -> None:
        self.objects: dict[str, Shelved] = {}
        self.asked: list[tuple[str, str]] = []
        self.down: Exception | None = None
        self.held: list[Deferred[None]] | None = None
        self.longest = 1 << 40
        self._clock = clock
        self._base = base
        self._epoch = epoch

    def wall(self) -> float:
        """Wall-clock seconds."""
        return self._epoch + self._clock.seconds()

    def alive(self) -> list[bytes]:
        """The objects whose time is not over."""
        now = self.wall()
        return [each.body for each in self.objects.values() if each.until > now]

    def let(self) -> None:
        """Let go what waits."""
        waiting, self.held = self.held or [], None
        for each in waiting:
            if not each.called:
                each.callback(None)

    def _wait(self) -> Deferred[None]:
        if self.held is None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self.held.append(waiting)
        return waiting

    def _ask(self, operation: str, what: str) -> Deferred[None]:
        self.asked.append((operation, what))

        def check(_: None) -> None:
            if self.down is not None:
                raise self.down

        return self._wait().addCallback(check)

    def measure(self, content: bytes | str | os.PathLike[str], small: int) -> Deferred[Measured]:
        """Look at content."""

        def look(_: None) -> Measured:
            try:
                return measured(content, small)
            except OSError as error:
                raise ContentError("refused", str(error.strerror)) from None

        return self._wait().addCallback(look)

    def store(
        self, content: bytes | str | os.PathLike[str], content_type: str, life: int | None = None
    ) -> Deferred[StoredObject]:
        """Store it."""

        def put(_: None) -> StoredObject:
            found = measured(content, 1 << 30)
            assert found.body is not None
            url = f"{self._base}{len(self.asked)}"
            until = self._until(life)
            self.objects[url] = Shelved(found.body, content_type, until)
            return StoredObject(url, content_type, found.size, found.sha1, "e", until)

        return self._ask("store", content_type).addCallback(put)

    def extend(self, uri: str, life: int) -> Deferred[float]:
        """Make it live longer."""

        def longer(_: None) -> float:
            self._find(uri).until = self._until(life)
            return self.objects[uri].until

        return self._ask("extend", uri).addCallback(longer)

    def delete(self, uri: str) -> Deferred[None]:
        """Remove it."""

        def remove(_: None) -> None:
            self._find(uri)
            del self.objects[uri]

        done: Deferred[Any] = self._ask("delete", uri).addCallback(remove)
        return done

    def _find(self, uri: str) -> Shelved:
        found = self.objects.get(uri)
        if found is None or found.until <= self.wall():
            raise ContentError("missing", status=404)
        return found

    def _until(self, life: int | None) -> float:
        return float(int(self.wall()) + min(life or 86400, self.longest))
