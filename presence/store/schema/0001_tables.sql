-- Version 1: one table per kind of record.

CREATE TABLE publication (
    id INTEGER PRIMARY KEY,
    package TEXT NOT NULL,
    resource TEXT NOT NULL,
    etag TEXT NOT NULL,
    expires REAL NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    publisher TEXT NOT NULL,
    content_type TEXT NOT NULL,
    body BLOB NOT NULL
);

CREATE TABLE subscription (
    id INTEGER PRIMARY KEY,
    package TEXT NOT NULL,
    resource TEXT NOT NULL,
    cseq INTEGER NOT NULL,
    expires REAL NOT NULL,
    dialog BLOB NOT NULL,
    digest INTEGER
);

CREATE TABLE binding (
    aor TEXT NOT NULL,
    contact TEXT NOT NULL,
    call_id TEXT NOT NULL,
    cseq INTEGER NOT NULL,
    expires REAL NOT NULL,
    q INTEGER NOT NULL,
    instance TEXT NOT NULL,
    PRIMARY KEY (aor, contact)
) WITHOUT ROWID;
