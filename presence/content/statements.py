"""The SQL of the Content Server: how changes are made and questions answered."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import attrs

from presence.content.records import (
    Add,
    Change,
    Content,
    ContentObject,
    Expire,
    Extend,
    Quota,
    QuotaExceeded,
    Remove,
    RemoveOwner,
    Replace,
    Usage,
    Vanished,
)

if TYPE_CHECKING:
    from presence.content.files import ContentFiles

_COLUMNS = "id, owner, type, size, sha1, sha256, file, created, modified, expires"
_USAGE = "SELECT count(*), coalesce(sum(size), 0) FROM object WHERE owner = ?"


@attrs.define(slots=True)
class _Effects:
    """What a batch does to files.

    :ivar arrived: what the temporary files that stay are called from now on, with their names.
    :ivar dropped: temporary files that do not.
    :ivar gone: files that no object needs any more.
    """

    arrived: dict[str, str] = attrs.field(factory=dict)
    dropped: list[str] = attrs.field(factory=list)
    gone: dict[str, None] = attrs.field(factory=dict)


class ContentWriter:
    """Makes changes; belongs to one connection and its thread.

    :ivar objects: how many there are.
    :ivar octets: of all of them together.
    :ivar lost: objects whose files somebody had taken away when this was made.
    """

    def __init__(self, database: sqlite3.Connection, files: ContentFiles) -> None:
        self._database = database
        self._files = files
        self.objects = 0
        self.octets = 0
        self.lost = 0
        files.prepare()
        self._repair()
        self._count()

    def _count(self) -> None:
        row = self._database.execute("SELECT count(*), coalesce(sum(size), 0) FROM object")
        self.objects, self.octets = row.fetchone()

    def _repair(self) -> None:
        """Bring files and rows together after a crash: a row is what counts (AGP-113)."""
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        for shelf, names in self._files.shelves():
            # names are hexadecimal
            rows = execute(
                "SELECT name FROM file WHERE name >= ? AND name < ?", (shelf, f"{shelf}g")
            )
            known = {name for (name,) in rows}
            for name in names - known:
                self._files.remove_strange(shelf, name)
            for name in known - names:
                self.lost += execute("DELETE FROM object WHERE file = ?", (name,)).rowcount
                execute("DELETE FROM file WHERE name = ?", (name,))
        execute("COMMIT")

    def commit(self, changes: list[Change]) -> list[Any]:
        """Make changes in order, all durable when this returns.

        :returns: for each what it gives: the object as it is now, or how many were removed; or
            :exc:`QuotaExceeded` or :exc:`Vanished`.
        :raises sqlite3.Error: nothing has changed.
        :raises OSError: nothing has changed.
        """
        effects = _Effects()
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._make(change, effects) for change in changes]
            for name in [name for name in effects.gone if name in effects.arrived]:
                # made and replaced in one batch
                del effects.gone[name]
                effects.dropped.append(effects.arrived.pop(name))
            self._files.accept(effects.arrived)
            execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                execute("ROLLBACK")
            self._files.remove(effects.arrived)
            for change in changes:
                if isinstance(change, Add | Replace):
                    self._files.discard(change.content.file)
            self._count()
            raise
        self._files.remove(effects.gone)
        for name in effects.dropped:
            self._files.discard(name)
        return outcomes

    def _make(self, change: Change, effects: _Effects) -> Any:
        try:
            match change:
                case Add():
                    return self._add(change, effects)
                case Replace():
                    return self._replace(change, effects)
                case Extend():
                    return self._extend(change)
                case Remove():
                    found = self._expected(change.id, change.etag)
                    return self._remove([found], effects)
                case RemoveOwner():
                    return self._remove(
                        self._find("owner = ? AND created <= ?", change.owner, change.before),
                        effects,
                    )
                case Expire():
                    return self._remove(
                        self._find(
                            "expires <= ? ORDER BY expires LIMIT ?", change.now, change.limit
                        ),
                        effects,
                    )
        except (QuotaExceeded, Vanished) as error:
            if isinstance(change, Add | Replace):
                effects.dropped.append(change.content.file)
            return error

    def _add(self, change: Add, effects: _Effects) -> ContentObject:
        content = change.content
        self._check(change.owner, 1, content.size, change.quota)
        made = ContentObject(
            change.id,
            change.owner,
            change.type,
            content.size,
            content.sha1,
            content.sha256,
            self._link(change.owner, content, effects),
            change.now,
            change.now,
            change.expires,
        )
        self._put(made)
        self.objects += 1
        self.octets += made.size
        return made

    def _replace(self, change: Replace, effects: _Effects) -> ContentObject:
        old = self._expected(change.id, change.etag, change.now)
        content = change.content
        self._check(old.owner, 0, content.size - old.size, change.quota)
        made = attrs.evolve(
            old,
            type=change.type,
            size=content.size,
            sha1=content.sha1,
            sha256=content.sha256,
            # first the new link: content that stays keeps its file
            file=self._link(old.owner, content, effects),
            modified=change.now,
            expires=max(old.expires, change.expires),
        )
        self._unlink(old.file, effects)
        self._put(made)
        self.octets += made.size - old.size
        return made

    def _extend(self, change: Extend) -> ContentObject:
        old = self._expected(change.id, change.etag, change.now)
        made = attrs.evolve(old, expires=max(old.expires, change.expires))
        self._put(made)
        return made

    def _remove(self, found: list[ContentObject], effects: _Effects) -> int:
        for each in found:
            self._database.execute("DELETE FROM object WHERE id = ?", (each.id,))
            self._unlink(each.file, effects)
            self.objects -= 1
            self.octets -= each.size
        return len(found)

    # -- rows ---------------------------------------------------------------------------

    def _find(self, condition: str, *values: Any) -> list[ContentObject]:
        text = f"SELECT {_COLUMNS} FROM object WHERE {condition}"  # noqa: S608 - ours
        return [ContentObject(*row) for row in self._database.execute(text, values)]

    def _expected(self, id: str, etag: str, now: float = 0.0) -> ContentObject:
        """An object that is still there, and as it was when the request was looked at."""
        found = self._find("id = ?", id)
        if not found or (etag and found[0].etag != etag) or found[0].expires <= now:
            raise Vanished
        return found[0]

    def _check(self, owner: str, objects: int, octets: int, quota: Quota) -> None:
        has, size = self._database.execute(_USAGE, (owner,)).fetchone()
        if (objects and has + objects > quota.objects) or (
            octets > 0 and size + octets > quota.octets
        ):
            raise QuotaExceeded

    def _put(self, made: ContentObject) -> None:
        self._database.execute(
            f"INSERT OR REPLACE INTO object ({_COLUMNS})"  # noqa: S608 - ours
            " VALUES (?,?,?,?,?,?,?,?,?,?)",
            attrs.astuple(made),
        )

    def _link(self, owner: str, content: Content, effects: _Effects) -> str:
        """The file of some content, one more object having it."""
        execute = self._database.execute
        row = execute(
            "UPDATE file SET links = links + 1 WHERE owner = ? AND sha256 = ? RETURNING name",
            (owner, content.sha256),
        ).fetchone()
        if row is not None:
            effects.dropped.append(content.file)
            name: str = row[0]
            return name
        # all that arrive together go to one shelf: one directory to be flushed
        shelf = next(iter(effects.arrived), content.file)[:2]
        name = shelf + content.file[2:]
        execute(
            "INSERT INTO file (name, owner, sha256, links) VALUES (?, ?, ?, 1)",
            (name, owner, content.sha256),
        )
        effects.arrived[name] = content.file
        return name

    def _unlink(self, name: str, effects: _Effects) -> None:
        execute = self._database.execute
        row = execute(
            "UPDATE file SET links = links - 1 WHERE name = ? RETURNING links", (name,)
        ).fetchone()
        if row is not None and row[0] <= 0:
            execute("DELETE FROM file WHERE name = ?", (name,))
            effects.gone[name] = None


class ContentReader:
    """Answers questions; belongs to one connection and its thread."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def find(self, id: str) -> ContentObject | None:
        """An object, also one whose time is over and that is still there."""
        row = self._database.execute(
            f"SELECT {_COLUMNS} FROM object WHERE id = ?",  # noqa: S608 - ours
            (id,),
        ).fetchone()
        return None if row is None else ContentObject(*row)

    def listing(self, owner: str) -> list[ContentObject]:
        """All objects of a user, the oldest first."""
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM object WHERE owner = ?",  # noqa: S608 - ours
            (owner,),
        )
        return sorted((ContentObject(*row) for row in rows), key=lambda o: (o.created, o.id))

    def usage(self, owner: str) -> Usage:
        """What a user has."""
        return Usage(*self._database.execute(_USAGE, (owner,)).fetchone())

    def close(self) -> None:
        """Close the connection."""
        self._database.close()
