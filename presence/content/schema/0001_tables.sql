-- Version 1.

-- A file below objects/; what one user stores twice is kept once (AGP-113).
CREATE TABLE file (
    name TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    links INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX file_content ON file (owner, sha256);

-- id: the unguessable part of its URI.
CREATE TABLE object (
    id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    type TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha1 BLOB NOT NULL,
    sha256 BLOB NOT NULL,
    file TEXT NOT NULL,
    created REAL NOT NULL,
    modified REAL NOT NULL,
    expires REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX object_owner ON object (owner, size);
CREATE INDEX object_expires ON object (expires);

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
