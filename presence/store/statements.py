"""The SQL of a SQLite store: how a batch is written and records are read back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec.structs import astuple

from presence.records import WatcherRecord
from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord
from xcap.store.rows import Rows, Step, transact

if TYPE_CHECKING:
    from presence.store.records import Batch

#: records, and octets of documents (about), that one reading may bring into memory
READ_RECORDS = 1000
READ_OCTETS = 8 << 20

_Fit: TypeAlias = Callable[[list[Any]], list[Any]]


class Statements:
    """Writes batches and reads records; belongs to one connection and its thread."""

    __slots__ = (
        "_binding_delete",
        "_binding_put",
        "_database",
        "_delivered_delete",
        "_delivered_put",
        "_lease_delete",
        "_lease_put",
        "_publication_delete",
        "_publication_put",
        "_revision",
        "_subscription_delete",
        "_subscription_put",
        "_watcher_delete",
        "_watcher_put",
    )

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        (opened,) = database.execute("SELECT opened FROM layout").fetchone()
        self._revision: int = opened << 32
        self._publication_put = Rows(
            "INSERT OR REPLACE INTO publication (id, package, resource, etag, expires, created,"
            " changed, publisher, content_type, revision, body, objects) SELECT * FROM (VALUES ",
            "(?,?,?,?,?,?,?,?,?,?,?,?)",
            ") LIMIT ?",
        )
        self._publication_delete = Rows("DELETE FROM publication WHERE id IN (", "?", ")")
        self._lease_put = Rows(
            "INSERT OR REPLACE INTO lease (id, etag, expires, revision) SELECT * FROM (VALUES ",
            "(?,?,?,?)",
            ") LIMIT ?",
        )
        self._lease_delete = Rows("DELETE FROM lease WHERE id IN (", "?", ")")
        self._subscription_put = Rows(
            "INSERT OR REPLACE INTO subscription (id, package, resource, cseq, expires, dialog)"
            " SELECT * FROM (VALUES ",
            "(?,?,?,?,?,?)",
            ") LIMIT ?",
        )
        self._subscription_delete = Rows("DELETE FROM subscription WHERE id IN (", "?", ")")
        self._delivered_put = Rows(
            "INSERT OR REPLACE INTO delivered (id, digest) SELECT noted.column1, noted.column2"
            " FROM (SELECT * FROM (VALUES ",
            "(?,?)",
            # the note of a subscription that is gone leaves no row
            ") LIMIT ?) AS noted CROSS JOIN subscription ON subscription.id = noted.column1",
        )
        self._delivered_delete = Rows("DELETE FROM delivered WHERE id IN (", "?", ")")
        self._binding_put = Rows(
            "INSERT OR REPLACE INTO binding (aor, contact, call_id, cseq, expires, q, instance)"
            " SELECT * FROM (VALUES ",
            "(?,?,?,?,?,?,?)",
            ") LIMIT ?",
        )
        self._binding_delete = Rows(
            # without the SELECT every binding would be looked at
            "DELETE FROM binding WHERE (aor, contact) IN (SELECT * FROM (VALUES ",
            "(?,?)",
            "))",
        )
        self._watcher_put = Rows(
            "INSERT OR REPLACE INTO watcher (id, package, resource, status, event, created,"
            " deadline, subscription, uris, display_name, anonymous, terms)"
            " SELECT * FROM (VALUES ",
            "(?,?,?,?,?,?,?,?,?,?,?,?)",
            ") LIMIT ?",
        )
        self._watcher_delete = Rows("DELETE FROM watcher WHERE id IN (", "?", ")")

    def commit(self, batch: Batch) -> None:
        """Write a batch in one transaction.

        :raises sqlite3.Error: nothing of it has been written.
        """
        self._revision += 1
        try:
            transact(self._database, self._steps(batch, _same))
        except UnicodeEncodeError:
            # a peer's octets that are not UTF-8 are lone surrogates in a str, which SQLite
            # cannot hold; one such row must not take the others down
            transact(self._database, self._steps(batch, _storable))

    def _steps(self, batch: Batch, fit: _Fit) -> list[Step]:
        steps: list[Step] = []
        if batch.publications:
            self._add_publications(batch, fit, steps)
        if batch.touched:
            leases: list[Any] = []
            revision = self._revision
            for id, (etag, expires) in batch.touched.items():
                leases += (id, etag, expires, revision)
            steps += self._lease_put.steps(fit(leases))
        if batch.subscriptions:
            self._add_subscriptions(batch, fit, steps)
        if batch.bindings:
            self._add_bindings(batch, fit, steps)
        if batch.watchers:
            self._add_watchers(batch, fit, steps)
        if batch.notes:
            steps += self._delivered_put.steps(list(chain.from_iterable(batch.notes.items())))
        return steps

    def _add_publications(self, batch: Batch, fit: _Fit, steps: list[Step]) -> None:
        rows: list[Any] = []
        gone: list[Any] = []
        revision = self._revision
        for id, r in batch.publications.items():
            if r is None:
                gone.append(id)
                continue
            rows += (
                id,
                r.package,
                r.resource,
                r.etag,
                r.expires,
                r.created,
                r.changed,
                r.publisher,
                r.content_type,
                revision,
                r.body,
                r.objects,
            )
        if gone:
            steps += self._publication_delete.steps(gone)
            steps += self._lease_delete.steps(gone)
        if rows:
            steps += self._publication_put.steps(fit(rows))

    def _add_subscriptions(self, batch: Batch, fit: _Fit, steps: list[Step]) -> None:
        rows: list[Any] = []
        gone: list[Any] = []
        for id, r in batch.subscriptions.items():
            if r is None:
                gone.append(id)
            else:
                rows += (id, r.package, r.resource, r.cseq, r.expires, r.dialog)
        if gone:
            steps += self._subscription_delete.steps(gone)
        if batch.forgotten:
            steps += self._delivered_delete.steps(list(batch.forgotten))
        if rows:
            steps += self._subscription_put.steps(fit(rows))

    def _add_bindings(self, batch: Batch, fit: _Fit, steps: list[Step]) -> None:
        rows: list[Any] = []
        gone: list[Any] = []
        for key, r in batch.bindings.items():
            if r is None:
                gone += key
            else:
                rows += (r.aor, r.contact, r.call_id, r.cseq, r.expires, r.q, r.instance)
        if gone:
            steps += self._binding_delete.steps(fit(gone))
        if rows:
            steps += self._binding_put.steps(fit(rows))

    def _add_watchers(self, batch: Batch, fit: _Fit, steps: list[Step]) -> None:
        rows: list[Any] = []
        gone: list[Any] = []
        for id, r in batch.watchers.items():
            if r is None:
                gone.append(id)
            else:
                rows += astuple(r)
        if gone:
            steps += self._watcher_delete.steps(gone)
        if rows:
            steps += self._watcher_put.steps(fit(rows))

    def publications(self, after: int) -> list[PublicationRecord]:
        """The next publications with ``id > after``, by id; empty at the end."""
        found: list[PublicationRecord] = []
        octets = 0
        for row in self._database.execute(
            "SELECT p.id, p.package, p.resource,"
            " CASE WHEN l.revision > p.revision THEN l.etag ELSE p.etag END,"
            " CASE WHEN l.revision > p.revision THEN l.expires ELSE p.expires END,"
            " p.created, p.changed, p.publisher, p.content_type, p.body, p.objects"
            " FROM publication AS p LEFT JOIN lease AS l USING (id)"
            " WHERE p.id > ? ORDER BY p.id LIMIT ?",
            (after, READ_RECORDS),
        ):
            found.append(PublicationRecord(*_original(row, 9)))
            octets += len(row[9]) + len(row[10])
            if octets > READ_OCTETS:
                break
        return found

    def subscriptions(self, after: int) -> tuple[list[SubscriptionRecord], dict[int, int]]:
        """The next subscriptions with ``id > after``, by id, and their digests."""
        found: list[SubscriptionRecord] = []
        digests: dict[int, int] = {}
        for *row, digest in self._database.execute(
            "SELECT id, package, resource, cseq, expires, dialog, digest FROM subscription"
            " LEFT JOIN delivered USING (id) WHERE id > ? ORDER BY id LIMIT ?",
            (after, READ_RECORDS),
        ):
            found.append(SubscriptionRecord(*_original(row, 5)))
            if digest is not None:
                digests[row[0]] = digest
        return found, digests

    def bindings(self, after: tuple[str, str] | None) -> list[BindingRecord]:
        """The next bindings behind the key ``after``, in its order; None for the first."""
        columns = "SELECT aor, contact, call_id, cseq, expires, q, instance FROM binding"
        order = " ORDER BY aor, contact LIMIT ?"
        if after is None:
            rows = self._database.execute(columns + order, (READ_RECORDS,))
        else:
            rows = self._database.execute(
                columns + " WHERE (aor, contact) > (?, ?)" + order,
                (*_storable(after), READ_RECORDS),
            )
        return [BindingRecord(*_original(row, 7)) for row in rows]

    def watchers(self, after: int) -> list[WatcherRecord]:
        """The next watchers with ``id > after``, by id."""
        found: list[WatcherRecord] = []
        for row in self._database.execute(
            "SELECT id, package, resource, status, event, created, deadline, subscription, uris,"
            " display_name, anonymous, terms FROM watcher WHERE id > ? ORDER BY id LIMIT ?",
            (after, READ_RECORDS),
        ):
            values = _original(row, 12)
            values[10] = bool(values[10])
            found.append(WatcherRecord(*values))
        return found


def _same(values: list[Any]) -> list[Any]:
    return values


def _storable(values: Iterable[Any]) -> list[Any]:
    """Text that has no UTF-8 form as octets, everything else as it is."""
    fitted = list(values)
    for n, value in enumerate(fitted):
        if type(value) is str and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                fitted[n] = value.encode("utf-8", "surrogatepass")
    return fitted


def _original(values: Sequence[Any], plain: int) -> list[Any]:
    """The reverse of :func:`_storable` for a row whose first ``plain`` columns hold no octets."""
    row = list(values)
    for n in range(plain):
        if type(row[n]) is bytes:
            row[n] = row[n].decode("utf-8", "surrogatepass")
    return row
