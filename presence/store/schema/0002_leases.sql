-- Version 2: what a refresh changes, and the digest that a NOTIFY leaves behind, in small tables
-- of their own, so that neither rewrites a document or a dialog.

-- revision: number of the batch that wrote the row, growing for the life of the file.
CREATE TABLE publication_2 (
    id INTEGER PRIMARY KEY,
    package TEXT NOT NULL,
    resource TEXT NOT NULL,
    etag TEXT NOT NULL,
    expires REAL NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    publisher TEXT NOT NULL,
    content_type TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body BLOB NOT NULL
);
INSERT INTO publication_2
    SELECT id, package, resource, etag, expires, created, changed, publisher, content_type, 0, body
    FROM publication ORDER BY id;
DROP TABLE publication;
ALTER TABLE publication_2 RENAME TO publication;

-- The last refresh of a publication; void when the publication has a higher revision.
CREATE TABLE lease (
    id INTEGER PRIMARY KEY,
    etag TEXT NOT NULL,
    expires REAL NOT NULL,
    revision INTEGER NOT NULL
);

-- Digest of the view that a subscriber acknowledged last.
CREATE TABLE delivered (
    id INTEGER PRIMARY KEY,
    digest INTEGER NOT NULL
);
INSERT INTO delivered (id, digest)
    SELECT id, digest FROM subscription WHERE digest IS NOT NULL ORDER BY id;
ALTER TABLE subscription DROP COLUMN digest;

-- One row.
-- oldest_reader: the oldest schema version whose program can use this layout as it is.  A later
--   version that only adds tables, or columns with defaults, leaves it alone, so that the release
--   before can be put back.
-- opened: how often the file has been opened; the upper half of revisions.
-- probe: written and cleared to find out whether the medium takes writes.
CREATE TABLE layout (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    oldest_reader INTEGER NOT NULL,
    opened INTEGER NOT NULL DEFAULT 0,
    probe BLOB
);
INSERT INTO layout (id, oldest_reader) VALUES (1, 2);
