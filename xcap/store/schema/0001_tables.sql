-- Version 1.

CREATE TABLE document (
    id INTEGER PRIMARY KEY,
    root TEXT NOT NULL,
    auid TEXT NOT NULL,
    xui TEXT NOT NULL,
    path TEXT NOT NULL,
    etag TEXT NOT NULL,
    modified REAL NOT NULL,
    -- how many rows of claim it has
    claims INTEGER NOT NULL,
    octets BLOB NOT NULL
);
CREATE UNIQUE INDEX document_key ON document (root, auid, xui, path);

-- A value that one document in the store may hold, such as the URI of a service.
CREATE TABLE claim (
    space TEXT NOT NULL,
    name TEXT NOT NULL,
    document INTEGER NOT NULL,
    -- of the document, for the index
    root TEXT NOT NULL,
    content BLOB NOT NULL
);
CREATE UNIQUE INDEX claim_name ON claim (space, name);
CREATE INDEX claim_root ON claim (root, space, name);
CREATE INDEX claim_document ON claim (document);

-- Another one after every change of the claims of a root.
CREATE TABLE claim_tag (
    root TEXT NOT NULL,
    space TEXT NOT NULL,
    etag TEXT NOT NULL,
    PRIMARY KEY (root, space)
) WITHOUT ROWID;

-- What was done, one row per commit; the oldest go.
-- before, after: entity-tags, '' where there is no document.
CREATE TABLE change (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    root TEXT NOT NULL,
    auid TEXT NOT NULL,
    xui TEXT NOT NULL,
    path TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    author TEXT NOT NULL,
    node TEXT NOT NULL,
    time REAL NOT NULL
);

-- One row.
-- oldest_reader: the oldest schema version whose program can use this layout as it is.
-- opened: how often the file has been opened.
-- probe: written and cleared to find out whether the medium takes writes.
CREATE TABLE layout (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    oldest_reader INTEGER NOT NULL,
    opened INTEGER NOT NULL DEFAULT 0,
    probe BLOB
);
INSERT INTO layout (id, oldest_reader) VALUES (1, 1);
