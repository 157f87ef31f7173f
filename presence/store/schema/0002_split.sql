-- Version 2: bodies and digests in tables of their own, so that a refresh does not rewrite a
-- document and a delivered digest does not rewrite a dialog.

CREATE TABLE publication_body (
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL
);
INSERT INTO publication_body (id, body) SELECT id, body FROM publication ORDER BY id;
ALTER TABLE publication DROP COLUMN body;

CREATE TABLE delivered (
    id INTEGER PRIMARY KEY,
    digest INTEGER NOT NULL
);
INSERT INTO delivered (id, digest)
    SELECT id, digest FROM subscription WHERE digest IS NOT NULL ORDER BY id;
ALTER TABLE subscription DROP COLUMN digest;

-- One row.  oldest_reader: the oldest schema version whose program can use this layout as it
-- is; a later version that only adds columns with defaults or tables leaves it alone, so that
-- the release before can be put back.  probed: written to find out whether the medium works.
CREATE TABLE layout (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    oldest_reader INTEGER NOT NULL,
    probed INTEGER NOT NULL DEFAULT 0
);
INSERT INTO layout (id, oldest_reader) VALUES (1, 2);
