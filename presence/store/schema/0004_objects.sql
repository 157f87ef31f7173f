-- Version 4: MIME objects beside a published document.  A column more, which programs of version 2
-- and 3 leave out: what they write has no objects.

ALTER TABLE publication ADD COLUMN objects BLOB NOT NULL DEFAULT x'';
