"""The SQL of the document store: how drafts are committed and questions answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import attrs

from xcap.records import Change, Claim, Document, DocumentKey, Entry
from xcap.store.evaluate import Effects, Ground, Work, evaluate
from xcap.store.reading import Reading
from xcap.store.rows import Rows, Step

if TYPE_CHECKING:
    import sqlite3

_LISTED = (
    "SELECT root, auid, xui, path, etag, modified, length(octets) FROM document WHERE root = ?"
)


class Writer:
    """Commits drafts; belongs to one connection and its thread.

    :param history: changes that are remembered.
    :param tag: gives a new entity-tag.

    :ivar position: of the last change.
    """

    __slots__ = (
        "_delete_claims",
        "_delete_documents",
        "_find_claims",
        "_find_documents",
        "_find_holders",
        "_find_octets",
        "_history",
        "_last_id",
        "_put_changes",
        "_put_claim_tags",
        "_put_claims",
        "_put_documents",
        "_sure",
        "_tag",
        "database",
        "position",
    )

    def __init__(self, database: sqlite3.Connection, history: int, tag: Callable[[], str]) -> None:
        self.database = database
        self._history = history
        # Rows that are looked up come first (CROSS JOIN keeps the order): one seek for each.
        self._find_documents = Rows(
            "SELECT w.column1, d.id, d.etag, d.claims FROM (SELECT * FROM (VALUES ",
            "(?,?,?,?,?)",
            ") LIMIT ?) AS w CROSS JOIN document AS d ON d.root = w.column2 AND d.auid = w.column3"
            " AND d.xui = w.column4 AND d.path = w.column5",
        )
        self._find_octets = Rows("SELECT id, octets FROM document WHERE id IN (", "?", ")")
        self._find_claims = Rows(
            "SELECT document, space, name, content FROM claim WHERE document IN (", "?", ")"
        )
        self._find_holders = Rows(
            "SELECT c.space, c.name, d.root, d.auid, d.xui, d.path FROM (SELECT * FROM (VALUES ",
            "(?,?)",
            ") LIMIT ?) AS w CROSS JOIN claim AS c ON c.space = w.column1 AND c.name = w.column2"
            " CROSS JOIN document AS d ON d.id = c.document",
        )
        self._put_documents = Rows(
            "INSERT INTO document (id, root, auid, xui, path, etag, modified, claims, octets)"
            " SELECT * FROM (VALUES ",
            "(?,?,?,?,?,?,?,?,?)",
            # the index of keys stays as it is when there is such a document
            ") WHERE true LIMIT ? ON CONFLICT (id) DO UPDATE SET etag = excluded.etag,"
            " modified = excluded.modified, claims = excluded.claims, octets = excluded.octets",
        )
        self._delete_documents = Rows("DELETE FROM document WHERE id IN (", "?", ")")
        self._put_claims = Rows(
            "INSERT OR REPLACE INTO claim (space, name, document, root, content)"
            " SELECT * FROM (VALUES ",
            "(?,?,?,?,?)",
            ") LIMIT ?",
        )
        self._delete_claims = Rows(
            # without the SELECT every claim would be looked at
            "DELETE FROM claim WHERE (space, name) IN (SELECT * FROM (VALUES ",
            "(?,?)",
            "))",
        )
        self._put_claim_tags = Rows(
            "INSERT OR REPLACE INTO claim_tag (root, space, etag) VALUES ", "(?,?,?)", ""
        )
        self._put_changes = Rows(
            "INSERT INTO change (position, root, auid, xui, path, before, after, author, node,"
            " time) SELECT * FROM (VALUES ",
            "(?,?,?,?,?,?,?,?,?,?)",
            ") LIMIT ?",
        )
        self._tag = tag
        self.position = 0
        self._last_id = 0
        self._sure = False
        self._look_up()

    def _look_up(self) -> None:
        """Read how far the numbering of changes and documents has come."""
        execute = self.database.execute
        # never goes back, not even when the changes are gone
        row = execute("SELECT seq FROM sqlite_sequence WHERE name = 'change'").fetchone()
        self.position = row[0] if row else 0
        (last,) = execute("SELECT max(id) FROM document").fetchone()
        self._last_id = last or 0
        self._sure = True

    def commit(self, work: Work) -> Effects:
        """Apply drafts in one transaction.

        :raises sqlite3.Error: nothing of it has been written.
        """
        execute = self.database.execute
        execute("BEGIN IMMEDIATE")
        try:
            if not self._sure:
                self._look_up()
            self._sure = False  # what an error of COMMIT means is for the file to say
            ids, ground = self._ground(work)
            effects = evaluate(work, ground, self.position, self._tag)
            for text, values in self._steps(effects, ids, ground):
                execute(text, values)
            execute("COMMIT")
        except BaseException:
            if self.database.in_transaction:
                execute("ROLLBACK")
            raise
        self._sure = True
        self.position = effects.position
        return effects

    def _ground(self, work: Work) -> tuple[dict[DocumentKey, int], Ground]:
        """The ids of documents that exist, and what the drafts concern."""
        keys = list(dict.fromkeys(draft.key for draft in work.drafts))
        ids: dict[DocumentKey, int] = {}
        ground = Ground()
        claiming: dict[int, DocumentKey] = {}
        for number, id, etag, claims in self._find(
            self._find_documents,
            chain.from_iterable((n, *_columns(key)) for n, key in enumerate(keys)),
        ):
            key = keys[number]
            ids[key] = id
            ground.tags[key] = etag
            if claims:
                claiming[id] = key
        unknown: dict[int, DocumentKey] = {}
        for draft, octets in zip(work.drafts, work.known, strict=True):
            if draft.before and ground.tags.get(draft.key) == draft.before:
                if octets is None:
                    unknown[ids[draft.key]] = draft.key
                else:
                    ground.octets[draft.key] = octets
        for id, octets in self._find(self._find_octets, unknown):
            ground.octets[unknown[id]] = octets
        for id, space, name, content in self._find(self._find_claims, claiming):
            key = claiming[id]
            ground.held.setdefault(key, {})[space, name] = content
            ground.holders[space, name] = key
        wanted = {(c.space, c.name): None for draft in work.drafts for c in draft.claims}
        for space, name, *columns in self._find(self._find_holders, chain.from_iterable(wanted)):
            ground.holders[space, name] = DocumentKey(*columns)
        return ids, ground

    def _find(self, rows: Rows, values: Iterable[Any]) -> Iterator[Any]:
        for text, some in rows.steps(list(values)):
            yield from self.database.execute(text, some)

    def _steps(
        self, effects: Effects, ids: dict[DocumentKey, int], ground: Ground
    ) -> Iterator[Step]:
        """What is to be written."""
        gone: list[Any] = []
        documents: list[Any] = []
        for key, document in effects.documents.items():
            if document is None:
                if key in ids:
                    gone.append(ids[key])
                continue
            if key not in ids:
                self._last_id += 1
                ids[key] = self._last_id
            documents += (
                ids[key],
                *_columns(key),
                document.etag,
                document.modified,
                len(ground.held.get(key, ())),
                document.octets,
            )
        free: list[Any] = []
        claims: list[Any] = []
        for name, held in effects.claims.items():
            if held is None:
                free += name
            else:
                claims += (*name, ids[held[0]], held[0].root, held[1])
        yield from self._delete_claims.steps(free)
        yield from self._delete_documents.steps(gone)
        yield from self._put_documents.steps(documents)
        yield from self._put_claims.steps(claims)
        yield from self._put_claim_tags.steps(
            [value for index, tag in effects.claim_tags.items() for value in (*index, tag)]
        )
        changes: list[Any] = []
        for c in effects.changes:
            changes += (
                c.position,
                *_columns(c.key),
                c.before,
                c.after,
                c.author,
                c.node,
                c.time,
            )
        yield from self._put_changes.steps(changes)
        if changes and effects.position > self._history:
            yield "DELETE FROM change WHERE position <= ?", [effects.position - self._history]


@attrs.frozen(slots=True)
class Fault:
    """What has kept a question from being answered."""

    error: BaseException


class Reader(Reading):
    """Answers questions; belongs to one connection and its thread."""

    __slots__ = ("_database",)

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def close(self, _: None = None) -> None:
        """End the connection."""
        self._database.close()

    def look(self, questions: Iterable[Callable[[Reading], Any]]) -> tuple[int, list[Any]]:
        """Answer questions, consistently; the position that the answers belong to, and they.

        An answer is a :exc:`Fault` when that question cannot be answered.

        :raises sqlite3.Error: the file cannot be read.
        """
        execute = self._database.execute
        execute("BEGIN")
        try:
            # the first look: what follows sees the file as of now
            (position,) = execute("SELECT max(position) FROM change").fetchone()
            return position or 0, [self._answer(question) for question in questions]
        finally:
            if self._database.in_transaction:
                execute("COMMIT")

    def _answer(self, question: Callable[[Reading], Any]) -> Any:
        try:
            return question(self)
        except Exception as error:  # for the others, and who has asked
            return Fault(error)

    def fetch(self, key: DocumentKey) -> Document | None:
        """A document: a search by its key."""
        row = self._database.execute(
            "SELECT octets, etag, modified FROM document"
            " WHERE root = ? AND auid = ? AND xui = ? AND path = ?",
            _columns(key),
        ).fetchone()
        return None if row is None else Document(key, *row)

    def listing(self, root: str, auid: str | None, xui: str | None, below: str) -> list[Entry]:
        """The documents of a collection: searches by the first columns of the key."""
        condition = ""
        values: list[str] = []
        if xui is not None:
            condition += " AND xui = ?"
            values.append(xui)
        if below:
            condition += " AND path >= ? AND path < ?"
            values += (below, below[:-1] + chr(ord(below[-1]) + 1))
        if auid is None and xui is None:
            return self._entries(f"{condition} ORDER BY auid, xui, path", [root, *values])
        # the index has the user behind the usage: one search for each usage
        entries: list[Entry] = []
        for usage in self._usages(root) if auid is None else (auid,):
            entries += self._entries(
                f" AND auid = ?{condition} ORDER BY xui, path", [root, usage, *values]
            )
        return entries

    def _entries(self, condition: str, values: list[str]) -> list[Entry]:
        return [
            Entry(DocumentKey(*row[:4]), *row[4:])
            for row in self._database.execute(_LISTED + condition, values)
        ]

    def _usages(self, root: str) -> Iterator[str]:
        """The application usages that have documents."""
        usage = ""
        while row := self._database.execute(
            "SELECT auid FROM document WHERE root = ? AND auid > ? ORDER BY auid LIMIT 1",
            (root, usage),
        ).fetchone():
            (usage,) = row
            yield usage

    def home(self, xui: str) -> list[Entry]:
        """The documents of a user in all roots."""
        entries: list[Entry] = []
        root = ""
        while row := self._database.execute(
            "SELECT root FROM document WHERE root > ? ORDER BY root LIMIT 1", (root,)
        ).fetchone():
            (root,) = row
            entries += self.listing(root, None, xui, "")
        return entries

    def claimed(self, space: str, name: str) -> tuple[DocumentKey, Claim] | None:
        """Who holds a value: a search by it (XDM-50)."""
        row = self._database.execute(
            "SELECT d.root, d.auid, d.xui, d.path, c.content"
            " FROM claim AS c CROSS JOIN document AS d ON d.id = c.document"
            " WHERE c.space = ? AND c.name = ?",
            (space, name),
        ).fetchone()
        return None if row is None else (DocumentKey(*row[:4]), Claim(space, name, row[4]))

    def claims(self, space: str, root: str) -> list[Claim]:
        """All values of a space and root, by name."""
        return [
            Claim(space, *row)
            for row in self._database.execute(
                "SELECT name, content FROM claim WHERE root = ? AND space = ? ORDER BY name",
                (root, space),
            )
        ]

    def claims_tag(self, space: str, root: str) -> str:
        """Their entity-tag."""
        row = self._database.execute(
            "SELECT etag FROM claim_tag WHERE root = ? AND space = ?", (root, space)
        ).fetchone()
        return row[0] if row else ""

    def changes(self, after: int, limit: int) -> list[Change] | None:
        """Changes behind a position; None when some of them are not known."""
        first, last = self._database.execute(
            "SELECT (SELECT min(position) FROM change), (SELECT max(position) FROM change)"
        ).fetchone()
        if not (first or 1) - 1 <= after <= (last or 0):
            return None
        return [
            Change(position, DocumentKey(root, auid, xui, path), before, after, b"", b"", *rest)
            for position, root, auid, xui, path, before, after, *rest in self._database.execute(
                "SELECT position, root, auid, xui, path, before, after, author, node, time"
                " FROM change WHERE position > ? ORDER BY position LIMIT ?",
                (after, limit),
            )
        ]


def _columns(key: DocumentKey) -> tuple[str, str, str, str]:
    return key.root, key.auid, key.xui, key.path
