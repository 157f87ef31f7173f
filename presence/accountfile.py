"""The SQLite file of the Digest accounts (sip-core.md section 9).  All of it blocks.

The file holds HA1 values, never a password (AUT-09); still they are as good as passwords for
their realm, so that it is readable by its owner only.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs
import msgspec

from pysip.auth.digest import ALGORITHMS, ha1
from pysip.errors import ParseError
from pysip.uri import canonical_aor, unescape

if TYPE_CHECKING:
    from types import TracebackType

_APPLICATION_ID = 0x54784163  # "TxAc"
_VERSION = 1
_SCHEMA = """
CREATE TABLE account (
    aor TEXT PRIMARY KEY,    -- canonical URI
    realm TEXT NOT NULL,
    secrets BLOB NOT NULL    -- JSON: user name -> algorithm -> HA1
) WITHOUT ROWID;
CREATE TABLE identity (
    uri TEXT PRIMARY KEY,    -- canonical; nobody shares one
    aor TEXT NOT NULL REFERENCES account (aor) ON DELETE CASCADE,
    position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX identity_of ON identity (aor, position);
"""
_REMOVALS = (
    # When an identity was removed last, in seconds since the epoch: a server that was not
    # running has to learn of it, too.  Releases without this table leave it alone, and the
    # trigger works for them.
    """CREATE TABLE IF NOT EXISTS removal (
    uri TEXT PRIMARY KEY,
    at REAL NOT NULL
) WITHOUT ROWID""",
    """CREATE TRIGGER IF NOT EXISTS identity_removed AFTER DELETE ON identity BEGIN
    INSERT OR REPLACE INTO removal
        VALUES (old.uri, (julianday('now') - 2440587.5) * 86400.0);
END""",
)
_REMEMBERED = 90 * 86400.0
"""Seconds that a removal is remembered; nothing that it ends lasts as long."""
_BUSY_SECONDS = 5.0

Secrets = dict[str, dict[str, str]]
"""HA1 by user name and algorithm."""


class AccountError(Exception):
    """An account cannot be made or found, or the file cannot be used; says why."""


@attrs.frozen(slots=True)
class Account:
    """One account.

    :ivar aor: canonical address of record, the default identity.
    :ivar realm: Digest realm: the domain of ``aor``.
    :ivar identities: canonical public identities, ``aor`` first (AUT-11).
    """

    aor: str
    realm: str
    identities: tuple[str, ...]


def _address(text: str) -> str:
    """A canonical URI from what an operator types; ``sip:`` may be left out."""
    try:
        uri = canonical_aor(text if ":" in text else f"sip:{text}")
    except ParseError as error:
        raise AccountError(f"{text!r} is no SIP address: {error}") from None
    if uri.startswith("sip:") and "@" not in uri:
        raise AccountError(f"{text!r} names no user; write user@domain")
    return uri


def _user_and_realm(aor: str) -> tuple[str, str]:
    if not aor.startswith("sip:"):
        raise AccountError(f"{aor!r} has no domain; an account needs a SIP address")
    user, _, host = aor[4:].rpartition("@")
    user = unescape(user)
    if ":" in user or "@" in user:
        # a colon ends the user name in A1; user@domain is the name of another account
        raise AccountError(f"{aor!r}: the user of an account has neither ':' nor '@'")
    return user, host.strip("[]")


def _secrets(user: str, realm: str, password: str) -> bytes:
    """HA1 values of both user names that clients use (CLI-02)."""
    if not password:
        raise AccountError("the password is empty")
    return msgspec.json.encode(
        {
            name: {algorithm: ha1(name, realm, password, algorithm) for algorithm in ALGORITHMS}
            for name in (user, f"{user}@{realm}")
        }
    )


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, making it when it is missing.

    :raises AccountError: it cannot be used.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite would make it readable for all
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise AccountError(f"{path}: cannot be opened ({error}); check its permissions") from error
    try:
        database.execute("PRAGMA foreign_keys = ON")
        _check(database, path)
    except sqlite3.Error as error:
        database.close()
        raise AccountError(f"{path}: cannot be used ({error}); is it an account file?") from error
    except AccountError:
        database.close()
        raise
    return database


def _check(database: sqlite3.Connection, path: Path) -> None:
    """Make the schema in a new file, refuse a foreign or newer one."""
    database.execute("BEGIN IMMEDIATE")
    try:
        (identity,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            for statement in _SCHEMA.split(";\n"):
                if statement.strip():
                    database.execute(statement)
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {_VERSION}")
        elif identity != _APPLICATION_ID:
            raise AccountError(f"{path}: is not an account file; name another")
        elif version > _VERSION:
            raise AccountError(
                f"{path}: was written by a newer release (format {version}); use that release"
            )
        for statement in _REMOVALS:
            database.execute(statement)
        database.execute("DELETE FROM removal WHERE at < ?", (time.time() - _REMEMBERED,))
        database.execute("COMMIT")
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")


class AccountStore:
    """The account file, for reading and changing it; every call blocks.

    :param path: the file; made when it is missing.
    :raises AccountError: it cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._database = connect(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing else can be called any more."""
        self._database.close()

    def add(self, aor: str, password: str, identities: Iterable[str] = ()) -> Account:
        """Make an account.

        :param aor: address of record, with or without ``sip:``; user and domain make the
            user names ``user`` and ``user@domain`` and the realm ``domain``.
        :param identities: further public identities (SIP or tel URIs).
        :raises AccountError: it exists, an identity belongs to somebody, or a value is wrong.
        """
        aor = _address(aor)
        user, realm = _user_and_realm(aor)
        uris = tuple(dict.fromkeys((aor, *map(_address, identities))))
        secrets = _secrets(user, realm, password)

        def change(database: sqlite3.Connection) -> None:
            for uri in uris:
                row = database.execute("SELECT aor FROM identity WHERE uri = ?", (uri,)).fetchone()
                if row is not None:
                    raise AccountError(f"{uri} already belongs to the account {row[0]}")
            database.execute("INSERT INTO account VALUES (?, ?, ?)", (aor, realm, secrets))
            database.executemany(
                "INSERT INTO identity VALUES (?, ?, ?)",
                [(uri, aor, position) for position, uri in enumerate(uris)],
            )

        self._change(change)
        return Account(aor, realm, uris)

    def remove(self, aor: str) -> None:
        """Remove an account with its identities.

        :raises AccountError: there is none.
        """
        self._update("DELETE FROM account WHERE aor = ?", _address(aor))

    def set_password(self, aor: str, password: str) -> None:
        """Give an account a new password.

        :raises AccountError: there is none, or the password is empty.
        """
        aor = _address(aor)
        secrets = _secrets(*_user_and_realm(aor), password)
        self._update("UPDATE account SET secrets = ?2 WHERE aor = ?1", aor, secrets)

    def list(self) -> list[Account]:
        """All accounts in the order of their addresses.

        :raises AccountError: the file cannot be read.
        """
        try:
            return [Account(aor, realm, uris) for aor, realm, uris, _ in rows(self._database)]
        except sqlite3.Error as error:
            raise AccountError(f"{self._path}: {error}") from error

    def _update(self, statement: str, aor: str, *values: bytes) -> None:
        def change(database: sqlite3.Connection) -> None:
            if not database.execute(statement, (aor, *values)).rowcount:
                raise AccountError(f"there is no account {aor}")

        self._change(change)

    def _change(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """Run one transaction."""
        database = self._database
        try:
            database.execute("BEGIN IMMEDIATE")
            try:
                change(database)
                database.execute("COMMIT")
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise AccountError(f"{self._path}: {error}") from error


def rows(database: sqlite3.Connection) -> list[tuple[str, str, tuple[str, ...], bytes]]:
    """(aor, realm, identities, secrets) of all accounts, ordered by aor: one snapshot."""
    found = []
    uris: list[str] = []
    last = ""
    for aor, realm, secrets, uri in database.execute(
        "SELECT a.aor, a.realm, a.secrets, i.uri FROM account a JOIN identity i USING (aor)"
        " ORDER BY a.aor, i.position"
    ):
        if aor != last:
            last, uris = aor, []
            found.append((aor, realm, uris, secrets))
        uris.append(uri)
    return [(aor, realm, tuple(uris), secrets) for aor, realm, uris, secrets in found]


def removals(database: sqlite3.Connection) -> dict[str, float]:
    """When identities were removed, in seconds since the epoch; they may belong to somebody again.

    Removals of long ago are not remembered.
    """
    return dict(database.execute("SELECT uri, at FROM removal").fetchall())
