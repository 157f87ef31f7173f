"""The SQL of a SQLite store: how a batch is written and records are read back.

The interpreter lock is given up for every step of a statement and has to be won back from a
busy reactor each time, so a batch must be few steps: statements with many rows, in sizes that
are powers of two, so that they stay in the cache of prepared statements.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord

if TYPE_CHECKING:
    from presence.store.records import Batch

#: records, and octets of documents (about), that one reading may bring into memory
READ_RECORDS = 1000
READ_OCTETS = 8 << 20

_LARGEST = 6  # 2 ** 6 rows in a statement


class Rows:
    """A statement for any number of rows or keys.

    :param head: text before the first row.
    :param row: text of one row, with its parameters.
    :param tail: text after the last row.
    """

    __slots__ = ("_texts", "_width")

    def __init__(self, head: str, row: str, tail: str = "") -> None:
        self._width = row.count("?")
        self._texts = [head + ",".join([row] * (1 << n)) + tail for n in range(_LARGEST + 1)]

    def run(self, database: sqlite3.Connection, values: Sequence[Any]) -> None:
        """Execute for ``values``, the parameters of all rows one after the other."""
        width = self._width
        rows = len(values) // width
        first = 0
        power = _LARGEST
        while rows:
            size = 1 << power
            if size > rows:
                power -= 1
                continue
            after = first + size * width
            database.execute(self._texts[power], values[first:after])
            first = after
            rows -= size


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
    )

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        (opened,) = database.execute("SELECT opened FROM layout").fetchone()
        self._revision: int = opened << 32
        self._publication_put = Rows(
            "INSERT OR REPLACE INTO publication (id, package, resource, etag, expires, created,"
            " changed, publisher, content_type, revision, body) VALUES ",
            "(?,?,?,?,?,?,?,?,?,?,?)",
        )
        self._publication_delete = Rows("DELETE FROM publication WHERE id IN (", "?", ")")
        self._lease_put = Rows(
            "INSERT OR REPLACE INTO lease (id, etag, expires, revision)"
            " SELECT column1, column2, column3, column4 FROM (VALUES ",
            "(?,?,?,?)",
            ") CROSS JOIN publication ON publication.id = column1",
        )
        self._lease_delete = Rows("DELETE FROM lease WHERE id IN (", "?", ")")
        self._subscription_put = Rows(
            "INSERT OR REPLACE INTO subscription (id, package, resource, cseq, expires, dialog)"
            " VALUES ",
            "(?,?,?,?,?,?)",
        )
        self._subscription_delete = Rows("DELETE FROM subscription WHERE id IN (", "?", ")")
        self._delivered_put = Rows(
            "INSERT OR REPLACE INTO delivered (id, digest) SELECT column1, column2 FROM (VALUES ",
            "(?,?)",
            ") CROSS JOIN subscription ON subscription.id = column1",
        )
        self._delivered_delete = Rows("DELETE FROM delivered WHERE id IN (", "?", ")")
        self._binding_put = Rows(
            "INSERT OR REPLACE INTO binding (aor, contact, call_id, cseq, expires, q, instance)"
            " VALUES ",
            "(?,?,?,?,?,?,?)",
        )
        self._binding_delete = Rows(
            "DELETE FROM binding WHERE (aor, contact) IN (VALUES ", "(?,?)", ")"
        )

    def commit(self, batch: Batch) -> None:
        """Write a batch in one transaction.

        :raises sqlite3.Error: nothing of it has been written.
        """
        try:
            self._transact(lambda: self._write(batch, _same))
        except UnicodeEncodeError:
            # a peer's octets that are not UTF-8 are lone surrogates in a str, which SQLite
            # cannot hold; one such row must not take the others down
            self._transact(lambda: self._write(batch, _storable))

    def probe(self, _: None = None) -> None:
        """A tiny transaction that fails while the medium takes no writes."""
        self._transact(lambda: self._database.execute("UPDATE layout SET probed = probed + 1"))

    def _transact(self, write: Callable[[], object]) -> None:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            write()
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _write(self, batch: Batch, fit: Callable[[list[Any]], list[Any]]) -> None:
        self._revision += 1
        if batch.publications:
            self._write_publications(batch, fit)
        if batch.touched:
            leases: list[Any] = []
            revision = self._revision
            for id, (etag, expires) in batch.touched.items():
                leases += (id, etag, expires, revision)
            self._lease_put.run(self._database, fit(leases))
        if batch.subscriptions:
            self._write_subscriptions(batch, fit)
        if batch.bindings:
            self._write_bindings(batch, fit)
        if batch.notes:
            notes = list(chain.from_iterable(batch.notes.items()))
            self._delivered_put.run(self._database, notes)

    def _write_publications(self, batch: Batch, fit: Callable[[list[Any]], list[Any]]) -> None:
        rows: list[Any] = []
        gone: list[int] = []
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
            )
        if gone:
            self._publication_delete.run(self._database, gone)
            self._lease_delete.run(self._database, gone)
        if rows:
            self._publication_put.run(self._database, fit(rows))

    def _write_subscriptions(self, batch: Batch, fit: Callable[[list[Any]], list[Any]]) -> None:
        rows: list[Any] = []
        gone: list[int] = []
        for id, r in batch.subscriptions.items():
            if r is None:
                gone.append(id)
            else:
                rows += (id, r.package, r.resource, r.cseq, r.expires, r.dialog)
        if gone:
            self._subscription_delete.run(self._database, gone)
        if batch.forgotten:
            self._delivered_delete.run(self._database, list(batch.forgotten))
        if rows:
            self._subscription_put.run(self._database, fit(rows))

    def _write_bindings(self, batch: Batch, fit: Callable[[list[Any]], list[Any]]) -> None:
        rows: list[Any] = []
        gone: list[Any] = []
        for key, r in batch.bindings.items():
            if r is None:
                gone += key
            else:
                rows += (r.aor, r.contact, r.call_id, r.cseq, r.expires, r.q, r.instance)
        if gone:
            self._binding_delete.run(self._database, fit(gone))
        if rows:
            self._binding_put.run(self._database, fit(rows))

    def publications(self, after: int) -> list[PublicationRecord]:
        """The next publications with ``id > after``, by id; empty at the end."""
        found: list[PublicationRecord] = []
        octets = 0
        for row in self._database.execute(
            "SELECT p.id, p.package, p.resource,"
            " CASE WHEN l.revision > p.revision THEN l.etag ELSE p.etag END,"
            " CASE WHEN l.revision > p.revision THEN l.expires ELSE p.expires END,"
            " p.created, p.changed, p.publisher, p.content_type, p.body"
            " FROM publication AS p LEFT JOIN lease AS l USING (id)"
            " WHERE p.id > ? ORDER BY p.id LIMIT ?",
            (after, READ_RECORDS),
        ):
            found.append(PublicationRecord(*_original(row, 9)))
            octets += len(row[9])
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
