-- Version 3: watchers about whom a decision is, or was, to be made.  A table more, which programs
-- of version 2 do not look at.

CREATE TABLE watcher (
    id INTEGER PRIMARY KEY,
    package TEXT NOT NULL,
    resource TEXT NOT NULL,
    status TEXT NOT NULL,
    event TEXT NOT NULL,
    created REAL NOT NULL,
    deadline REAL NOT NULL,
    subscription INTEGER NOT NULL,
    uris TEXT NOT NULL,
    display_name TEXT NOT NULL,
    anonymous INTEGER NOT NULL,
    terms TEXT NOT NULL
);
