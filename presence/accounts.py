"""The Digest accounts of a server: a copy in memory that follows the account file.

Whoever changes the file (see :mod:`presence.accountfile`), nothing needs a restart.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from presence.accountfile import (
    Account,
    AccountError,
    AccountStore,
    Secrets,
    connect,
    removals,
    rows,
)
from presence.oplog import ACCOUNTS_UNREADABLE, cleared, report
from pysip.auth.digest import ALGORITHMS, hash_hex
from pysip.interfaces import ICredentialSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IReactorFromThreads

__all__ = ["Account", "AccountError", "AccountStore", "Accounts"]


class _Copy:
    """The accounts in memory, as of one state of the file.

    :ivar entries: by (user name, realm) the HA1 values in the order of ALGORITHMS ("" for
        none) and the identities.
    :ivar owners: aor by identity.
    :ivar aors: all addresses of record.
    :ivar names: user name by its hash, realm and algorithm, where that is wanted (AGP-36).
    :ivar removals: when identities were removed.
    """

    __slots__ = ("aors", "entries", "names", "owners", "removals")

    def __init__(self, database: sqlite3.Connection, hashed: bool) -> None:
        self.entries: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self.owners: dict[str, str] = {}
        self.aors: set[str] = set()
        self.names: dict[tuple[str, str, str], str] = {}
        self.removals = removals(database)
        decode = msgspec.json.Decoder(Secrets).decode
        for aor, realm, uris, secrets in rows(database):
            self.aors.add(aor)
            for uri in uris:
                self.owners[uri] = aor
            for name, values in decode(secrets).items():
                ha1s = tuple(values.get(algorithm, "") for algorithm in ALGORITHMS)
                self.entries[name, realm] = (ha1s, uris)
                if hashed:
                    for algorithm in ALGORITHMS:
                        digest = hash_hex(algorithm, f"{name}:{realm}")
                        self.names[digest, realm, algorithm] = name


class _Following:
    """Reads a file again whenever it has changed, or another one has taken its place."""

    def __init__(self, path: Path, hashed: bool) -> None:
        self._path = path
        self._hashed = hashed
        self._database: sqlite3.Connection | None = None
        self._place = (0, 0)
        self._commits = -1

    def read(self) -> _Copy | None:
        """The accounts, or None when nothing has changed since the last call.

        :raises AccountError: the file is none of ours; OSError and sqlite3.Error also.
        """
        status = os.stat(self._path)  # a missing file is not made anew here
        place = (status.st_dev, status.st_ino)
        if self._database is None or place != self._place:
            self.close()
            self._database = connect(self._path)
            self._place = place
        (commits,) = self._database.execute("PRAGMA data_version").fetchone()
        if commits == self._commits:
            return None
        copy = _Copy(self._database, self._hashed)
        self._commits = commits
        return copy

    def close(self) -> None:
        """Close the file; the next :meth:`read` opens it again."""
        if self._database is not None:
            self._database.close()
            self._database = None
        self._commits = -1


_UNREADABLE = (AccountError, OSError, sqlite3.Error, msgspec.DecodeError)
_NOTICED = 5.0
"""Seconds after its removal in which an identity may still have been taken for good."""
_PLACE = {algorithm: place for place, algorithm in enumerate(ALGORITHMS)}


@implementer(ICredentialSource)
class Accounts:
    """The accounts of a server: in memory, and up to date with the file.

    A thread looks every ``poll`` seconds whether another process has changed the file, reads
    it anew and hands the copy to the reactor thread; no lookup ever waits.

    :param path: the account file; made when it is missing.
    :param reactor: to get from the thread to the reactor.
    :param poll: seconds.
    :param hashed: find user names by their hash, too (RFC 7616 section 3.4.4).
    """

    _log = Logger()

    def __init__(
        self,
        path: str | os.PathLike[str],
        reactor: IReactorFromThreads,
        poll: float = 1.0,
        hashed: bool = False,
    ) -> None:
        self._path = Path(path)
        self._reactor = reactor
        self._poll = poll
        self._hashed = hashed
        self._names: dict[tuple[str, str, str], str] = {}
        self._entries: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self._owners: dict[str, str] = {}
        self._removed: list[Callable[[set[str]], None]] = []
        self._gone: list[Callable[[Mapping[str, float]], None]] = []
        self._thread: threading.Thread | None = None
        self._quit = threading.Event()
        self._stopped: Deferred[None] = Deferred()

    def __len__(self) -> int:
        return len(set(self._owners.values()))

    def __contains__(self, uri: str) -> bool:
        """Whether a canonical URI is an identity of some account."""
        return uri in self._owners

    def account_of(self, uri: str) -> str | None:
        """The address of record that a canonical public identity belongs to, or None."""
        return self._owners.get(uri)

    def ha1(self, username: str, realm: str, algorithm: str) -> str | None:
        """``H(user:realm:password)`` in hex, None for an unknown user."""
        entry = self._entries.get((username, realm))
        place = _PLACE.get(algorithm)
        if entry is None or place is None:
            return None
        return entry[0][place] or None

    def identities(self, username: str, realm: str) -> tuple[str, ...]:
        """Public identities of a user, the default one first; none for an unknown user."""
        entry = self._entries.get((username, realm))
        return entry[1] if entry is not None else ()

    def username(self, digest: str, realm: str, algorithm: str) -> str | None:
        """The user name with ``H(name:realm)`` in lower-case hex, None when there is none."""
        return self._names.get((digest, realm, algorithm))

    def when_removed(self, removed: Callable[[set[str]], None]) -> None:
        """Call back with the addresses of record that have left the file while it is followed."""
        self._removed.append(removed)

    def when_gone(self, gone: Callable[[Mapping[str, float]], None]) -> None:
        """Call back with identities that were removed, with the time until which that holds.

        Told before the start is over: all that are remembered, so that what a removal means can
        be made up for; from then on what is new.  The time is that of the wall clock: what was
        made later, under an identity that somebody has got again, is of that other one.
        """
        self._gone.append(gone)

    def start(self) -> Deferred[None]:
        """Read the file and begin to follow it.

        :raises AccountError: (in the Deferred) it cannot be used.
        """
        started: Deferred[None] = Deferred()
        self._quit.clear()
        self._stopped = Deferred()
        self._thread = threading.Thread(
            target=self._follow, args=(started,), name="accounts", daemon=True
        )
        self._thread.start()
        return started

    def stop(self) -> Deferred[None]:
        """End the thread; what is in memory stays."""
        if self._thread is None:
            return succeed(None)
        self._quit.set()
        return self._stopped

    # -- in the thread ------------------------------------------------------------------

    def _follow(self, started: Deferred[None]) -> None:
        following = _Following(self._path, self._hashed)
        try:
            connect(self._path).close()
            first = following.read()
            if first is not None:
                self._reactor.callFromThread(self._tell_gone, first.removals, first.owners)
            self._reactor.callFromThread(self._install, first, started)
        except _UNREADABLE as error:
            if not isinstance(error, AccountError):
                error = AccountError(f"{self._path}: cannot be read ({error})")
            self._reactor.callFromThread(started.errback, Failure(error))
        else:
            self._watch(following, first)
        following.close()
        self._reactor.callFromThread(self._ended)

    def _watch(self, following: _Following, first: _Copy | None) -> None:
        """Hand over every change, until told to quit.

        :param first: what is in the file so far.
        """
        working = True
        known = first.aors if first is not None else set()
        past = first.removals if first is not None else {}
        while not self._quit.wait(self._poll):
            try:
                copy = following.read()
            except _UNREADABLE as error:
                following.close()
                if working:
                    report(self._log, ACCOUNTS_UNREADABLE, f"{self._path}: {error}")
                working = False
            else:
                if not working:
                    cleared(self._log, ACCOUNTS_UNREADABLE)
                working = True
                if copy is not None:
                    self._reactor.callFromThread(self._install, copy, None)
                    new = {u: at for u, at in copy.removals.items() if past.get(u) != at}
                    past = copy.removals
                    if new:
                        self._reactor.callFromThread(self._tell_gone, new, copy.owners)
                    gone, known = known - copy.aors, copy.aors
                    if gone:
                        self._reactor.callFromThread(self._tell_removed, gone)

    # -- in the reactor -----------------------------------------------------------------

    def _install(self, copy: _Copy | None, started: Deferred[None] | None) -> None:
        if copy is not None:
            self._entries = copy.entries
            self._owners = copy.owners
            self._names = copy.names
        if started is not None:
            started.callback(None)

    def _tell_removed(self, gone: set[str]) -> None:
        for removed in self._removed:
            removed(gone)

    def _tell_gone(self, removed: Mapping[str, float], owners: Mapping[str, str]) -> None:
        until = {uri: at if uri in owners else at + _NOTICED for uri, at in removed.items()}
        for gone in self._gone:
            gone(until)

    def _ended(self) -> None:
        self._thread = None
        self._stopped.callback(None)
