"""The rows of watchers in the store: those of whom the subscription does not tell everything."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from presence.watcherentry import OPEN
from presence.watcherinfo import ACTIVE
from pysip.timers import Alarm

if TYPE_CHECKING:
    from presence.interfaces import IPresenceStore
    from presence.watcherentry import Entry
    from pysip.timers import TimerWheel

_AGAIN: Final = 1.0
"""Seconds until what the store has refused is written again."""


class WatcherRows:
    """Writes entries of watchers, and again those that the store has refused.

    :param store: where they are durable.
    :param wheel: timers.
    :param package: event package that is watched.
    """

    def __init__(self, store: IPresenceStore, wheel: TimerWheel, package: str) -> None:
        self._store = store
        self._wheel = wheel
        self._package = package
        self._stopped = False
        self._unsaved: dict[int, Entry] = {}
        self._again = Alarm(self._write_again)

    def save(self, entry: Entry, before: tuple[str, str]) -> None:
        """An entry has changed: keep what the subscription does not tell.

        :param before: its status and event until now.
        """
        kept = before[0] in OPEN or before == (ACTIVE, "approved")
        if kept or entry.durable:
            self._write(entry)

    def remove(self, key: int) -> None:
        """Forget a row that means nothing any more."""
        self._store.remove_watcher(key)

    def stop(self) -> None:
        """Try no more to write; call it before the store is stopped."""
        self._stopped = True

    def _write(self, entry: Entry) -> None:
        if entry.durable:
            self._store.put_watcher(entry.record(self._package))
        else:
            self._store.remove_watcher(entry.key)
        self._store.when_durable(partial(self._written, entry))

    def _written(self, entry: Entry, stored: bool) -> None:
        if not stored and not self._stopped:
            self._unsaved[entry.key] = entry
            self._wheel.after(_AGAIN, self._again)

    def _write_again(self) -> None:
        """Write what the store has refused, as it is now."""
        unsaved, self._unsaved = self._unsaved, {}
        for entry in unsaved.values():
            self._write(entry)
