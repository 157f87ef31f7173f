"""The SQL of a SQLite store: how a batch is written and records are read back.

The interpreter lock is given up for every step of a statement and has to be won back from a
busy reactor each time, so a batch must be few steps: statements with many rows, in sizes that
are powers of two, so that they stay in SQLite's statement cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord

if TYPE_CHECKING:
    import sqlite3

    from presence.store.records import Batch

#: records and octets (about) that one reading may bring into memory
READ_RECORDS = 1000
READ_OCTETS = 8 << 20

_LARGEST = 6  # 2 ** 6 rows


class Rows:
    """A statement with a variable number of rows or keys.

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
    """Writes batches; belongs to one connection and its thread."""

    __slots__ = (
        "_binding_delete",
        "_binding_put",
        "_body_delete",
        "_body_put",
        "_database",
        "_delivered_delete",
        "_delivered_put",
        "_publication_delete",
        "_publication_put",
        "_publication_touch",
        "_subscription_delete",
        "_subscription_put",
    )

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._publication_put = Rows(
            "INSERT OR REPLACE INTO publication (id, package, resource, etag, expires, created,"
            " changed, publisher, content_type) VALUES ",
            "(?,?,?,?,?,?,?,?,?)",
        )
        self._body_put = Rows("INSERT OR REPLACE INTO publication_body (id, body) VALUES ", "(?,?)")
        self._publication_touch = Rows(
            "UPDATE publication SET etag = fresh.column2, expires = fresh.column3 FROM (VALUES ",
            "(?,?,?)",
            ") AS fresh WHERE publication.id = fresh.column1",
        )
        self._publication_delete = Rows("DELETE FROM publication WHERE id IN (", "?", ")")
        self._body_delete = Rows("DELETE FROM publication_body WHERE id IN (", "?", ")")
        self._subscription_put = Rows(
            "INSERT OR REPLACE INTO subscription (id, package, resource, cseq, expires, dialog)"
            " VALUES ",
            "(?,?,?,?,?,?)",
        )
        self._subscription_delete = Rows("DELETE FROM subscription WHERE id IN (", "?", ")")
        self._delivered_put = Rows(
            "INSERT OR REPLACE INTO delivered (id, digest)"
            " SELECT fresh.column1, fresh.column2 FROM (VALUES ",
            "(?,?)",
            ") AS fresh CROSS JOIN subscription ON subscription.id = fresh.column1",
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
            self._transact(batch, _same)
        except UnicodeEncodeError:
            # a peer's octets that are not UTF-8 are lone surrogates in a str, which SQLite
            # cannot hold; one such row must not take the others down
            self._transact(batch, _storable)

    def _transact(self, batch: Batch, fit: Any) -> None:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            if batch.publications or batch.touched:
                self._write_publications(batch, fit)
            if batch.subscriptions:
                self._write_subscriptions(batch, fit)
            if batch.bindings:
                self._write_bindings(batch, fit)
            if batch.notes:
                self._delivered_put.run(database, list(chain.from_iterable(batch.notes.items())))
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _write_publications(self, batch: Batch, fit: Any) -> None:
        database = self._database
        heads: list[Any] = []
        bodies: list[Any] = []
        gone: list[int] = []
        for id, r in batch.publications.items():
            if r is None:
                gone.append(id)
                continue
            heads += (
                id,
                r.package,
                r.resource,
                r.etag,
                r.expires,
                r.created,
                r.changed,
                r.publisher,
                r.content_type,
            )
            bodies += (id, r.body)
        if gone:
            self._publication_delete.run(database, gone)
            self._body_delete.run(database, gone)
        if heads:
            self._publication_put.run(database, fit(heads))
            self._body_put.run(database, bodies)
        if batch.touched:
            touched: list[Any] = []
            for id, (etag, expires) in batch.touched.items():
                touched += (id, etag, expires)
            self._publication_touch.run(database, fit(touched))

    def _write_subscriptions(self, batch: Batch, fit: Any) -> None:
        database = self._database
        rows: list[Any] = []
        gone: list[int] = []
        for id, r in batch.subscriptions.items():
            if r is None:
                gone.append(id)
            else:
                rows += (id, r.package, r.resource, r.cseq, r.expires, r.dialog)
        if gone:
            self._subscription_delete.run(database, gone)
        if batch.forgotten:
            self._delivered_delete.run(database, list(batch.forgotten))
        if rows:
            self._subscription_put.run(database, fit(rows))

    def _write_bindings(self, batch: Batch, fit: Any) -> None:
        database = self._database
        rows: list[Any] = []
        gone: list[Any] = []
        for key, r in batch.bindings.items():
            if r is None:
                gone += key
            else:
                rows += (r.aor, r.contact, r.call_id, r.cseq, r.expires, r.q, r.instance)
        if gone:
            self._binding_delete.run(database, fit(gone))
        if rows:
            self._binding_put.run(database, fit(rows))

    def probe(self) -> None:
        """A tiny transaction that fails while the medium takes no writes."""
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            database.execute("UPDATE layout SET probed = probed + 1")
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def publications(self, after: int) -> list[PublicationRecord]:
        """The next publications with ``id > after``; none left: empty."""
        found: list[PublicationRecord] = []
        octets = 0
        for row in self._database.execute(
            "SELECT id, package, resource, etag, expires, created, changed, publisher,"
            " content_type, body FROM publication JOIN publication_body USING (id)"
            " WHERE id > ? ORDER BY id LIMIT ?",
            (after, READ_RECORDS),
        ):
            found.append(PublicationRecord(*_original(row[:9]), row[9]))
            octets += len(row[9])
            if octets > READ_OCTETS:
                break
        return found

    def subscriptions(self, after: int) -> tuple[list[SubscriptionRecord], dict[int, int]]:
        """The next subscriptions with ``id > after``, and their digests."""
        found: list[SubscriptionRecord] = []
        digests: dict[int, int] = {}
        for row in self._database.execute(
            "SELECT id, package, resource, cseq, expires, dialog, digest FROM subscription"
            " LEFT JOIN delivered USING (id) WHERE id > ? ORDER BY id LIMIT ?",
            (after, READ_RECORDS),
        ):
            found.append(SubscriptionRecord(*_original(row[:5]), row[5]))
            if row[6] is not None:
                digests[row[0]] = row[6]
        return found, digests

    def bindings(self, after: tuple[str, str] | None) -> list[BindingRecord]:
        """The next bindings behind the key ``after``; None for the first."""
        columns = "SELECT aor, contact, call_id, cseq, expires, q, instance FROM binding"
        order = " ORDER BY aor, contact LIMIT ?"
        if after is None:
            rows = self._database.execute(columns + order, (READ_RECORDS,))
        else:
            rows = self._database.execute(
                columns + " WHERE (aor, contact) > (?, ?)" + order,
                (*_storable(after), READ_RECORDS),
            )
        return [BindingRecord(*_original(row)) for row in rows]


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


def _original(values: Iterable[Any]) -> list[Any]:
    """The reverse of :func:`_storable` for a row of text and numbers."""
    return [v.decode("utf-8", "surrogatepass") if type(v) is bytes else v for v in values]
