"""The file of a SQLite store, of any kind: ownership, opening, migration.  All of it blocks.

The file is private (mode 0600, in a directory of mode 0700 when that is made here) and has
one owner, which holds a lock on ``<file>.lock`` with its process id in it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from xcap.store.errors import StoreError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SYNCHRONOUS = ("full", "normal")

# From measurement (bench/micro_store.py).  A batch costs by the page, so pages are small; but a
# document of 1 kB should fit in one.  A batch that meets a checkpoint waits for it, so these are
# small too (p99 of a busy store: 27 ms with 2000 pages, 42 ms with 8000, CPU the same).  Mapping
# the file into memory brings nothing, and a read error would kill the process.
_PAGE_SIZE = 2048
_CACHE_KIB = 65536
_CHECKPOINT_PAGES = 2000
_WAL_BYTES_KEPT = 16 << 20
_CACHED_STATEMENTS = 256
#: seconds to wait for a foreign program (a backup, a curious operator) that locks the file
_BUSY_SECONDS = 2.0


@attrs.frozen(slots=True)
class Kind:
    """What is special about the files of one store.

    Their schema has a table ``layout`` of one row with the columns ``oldest_reader`` (the oldest
    schema version whose program can use the file as it is), ``opened`` (how often the file was)
    and ``probe``.

    :ivar application_id: marks a file as one of these.
    :ivar tidy: SQL to execute whenever a file is opened.
    :ivar damaged: what an operator should do about a file that cannot be read.
    """

    application_id: int
    damaged: str
    tidy: tuple[str, ...] = ()


def scripts(folder: Traversable) -> list[str]:
    """The migrations in ``folder``: entry n leads from version n to n + 1.

    :raises StoreError: the numbering has a gap; the installation is broken.
    """
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    if [f.name[:4] for f in found] != [f"{n:04}" for n in range(1, len(found) + 1)]:
        raise StoreError(f"{folder}: schema scripts are missing; install the program again")
    return [f.read_text(encoding="utf-8") for f in found]


class Lock:
    """Sole ownership of a file among processes, and among stores of this process.

    :raises StoreError: somebody else has it.
    :raises OSError: the side file cannot be made.
    """

    __slots__ = ("_fd",)

    def __init__(self, path: Path) -> None:
        side = Path(f"{path}.lock")
        self._fd = os.open(side, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._fd, 32).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise StoreError(
                f"{path}: in use by process {holder or '(unknown)'}, which holds {side}; stop "
                "that process or give this one a file of its own"
            ) from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, b"%d\n" % os.getpid())

    def release(self) -> None:
        """Give the file up.  The side file stays: removing it would race with a new owner."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def connect(path: Path, kind: Kind, synchronous: str, migrations: list[str]) -> sqlite3.Connection:
    """Open the file, creating or migrating its schema; the caller holds the lock.

    :raises StoreError: it cannot be used.
    """
    database: sqlite3.Connection | None = None
    try:
        # SQLite would create it readable for all; its side files take their mode from it
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = _connection(path)
        _prepare(database, path, kind, synchronous, migrations)
    except BaseException as error:
        if database is not None:
            database.close()
        if isinstance(error, OSError | sqlite3.Error):
            raise explain(path, kind, error) from error
        raise
    return database


def connect_reader(path: Path, kind: Kind) -> sqlite3.Connection:
    """Another connection to a file that is open, which only reads.

    :raises StoreError: it cannot be made.
    """
    try:
        database = _connection(path)
        database.execute("PRAGMA query_only = ON")
        database.execute("PRAGMA mmap_size = 0")
    except sqlite3.Error as error:
        raise explain(path, kind, error) from error
    return database


def _connection(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        path,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        cached_statements=_CACHED_STATEMENTS,
    )


def explain(path: Path, kind: Kind, error: BaseException) -> StoreError:
    """What an operator should know about an error of the file."""
    if isinstance(error, StoreError):
        return error
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        remedy = f"the file is damaged or is not a store; {kind.damaged}"
    elif name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        remedy = "another program has locked the file; close that program"
    elif name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")) or isinstance(
        error, OSError
    ):
        remedy = "the file, the files beside it and their directory must be writable by this user"
    elif name.startswith("SQLITE_FULL"):
        remedy = "make room on its disk"
    elif isinstance(error, sqlite3.OperationalError):
        remedy = "check the disk and the system log"
    else:
        remedy = "this is a fault of the program; please report it"
    return StoreError(f"{path}: {error} ({name}); {remedy}")


def _prepare(
    database: sqlite3.Connection, path: Path, kind: Kind, synchronous: str, migrations: list[str]
) -> None:
    # before the first access to the file, or it has no effect
    database.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
    _identify(database, path, kind)
    (mode,) = database.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            f"{path}: this file system does not allow a write-ahead log (it offers {mode!r}); "
            "put the file on a local disk"
        )
    for setting in (
        f"synchronous = {synchronous}",
        f"cache_size = {-_CACHE_KIB}",
        "mmap_size = 0",
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
        f"journal_size_limit = {_WAL_BYTES_KEPT}",
        "temp_store = MEMORY",
    ):
        database.execute(f"PRAGMA {setting}")
    _migrate(database, path, migrations)
    for statement in kind.tidy:
        database.execute(statement)
    # a write that shows at once whether the medium takes any
    database.execute("UPDATE layout SET opened = opened + 1")


def _identify(database: sqlite3.Connection, path: Path, kind: Kind) -> None:
    """Refuse the file of another program."""
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == kind.application_id:
        return
    if application or tables:
        raise StoreError(
            f"{path}: this SQLite file belongs to another program; give the store another file"
        )
    database.execute(f"PRAGMA application_id = {kind.application_id}")


def _migrate(database: sqlite3.Connection, path: Path, migrations: list[str]) -> None:
    """Bring the schema to the current version, one transaction per version."""
    current = len(migrations)
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > current:
        (oldest,) = database.execute("SELECT oldest_reader FROM layout").fetchone()
        if oldest > current:
            raise StoreError(
                f"{path}: written by a newer release (its schema {version} needs a program that "
                f"knows schema {oldest}; this one knows {current}); install that release or "
                "move the file away"
            )
    for number in range(version, current):
        try:
            database.executescript(
                f"BEGIN IMMEDIATE; {migrations[number]}\n"
                f"PRAGMA user_version = {number + 1}; COMMIT;"
            )
        except sqlite3.Error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise


class OpenFile:
    """A file of which this process is the owner; all methods belong to one thread.

    :param folder: of the migrations.
    :raises StoreError: the file cannot be used.

    :ivar database: the connection that writes.
    """

    __slots__ = ("_lock", "database")

    def __init__(self, path: Path, kind: Kind, synchronous: str, folder: Traversable) -> None:
        migrations = scripts(folder)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = Lock(path)
        except OSError as error:
            raise explain(path, kind, error) from error
        try:
            self.database = connect(path, kind, synchronous, migrations)
        except BaseException:
            self._lock.release()
            raise

    def close(self, _: None = None) -> None:
        """Fold the write-ahead log into the file and give it up.

        :raises sqlite3.Error: the log stays beside the file; the next start reads it.
        """
        try:
            self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            try:
                self.database.close()
            finally:
                self._lock.release()
