-- One row to read first, the same in every database: which indexes and databases to ask, with which model.
ALTER TABLE publication ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE publication ADD COLUMN dim INTEGER NOT NULL DEFAULT 0;
ALTER TABLE publication ADD COLUMN indexes TEXT NOT NULL DEFAULT '[]';
ALTER TABLE publication ADD COLUMN databases TEXT NOT NULL DEFAULT '[]';
ALTER TABLE publication ADD COLUMN since TEXT NOT NULL DEFAULT '';
ALTER TABLE publication ADD COLUMN installation_id TEXT;

-- What a page must link to, once per license and not in every row.
CREATE TABLE licenses (license TEXT PRIMARY KEY, url TEXT NOT NULL, asks TEXT NOT NULL, row_hash TEXT NOT NULL) WITHOUT ROWID;

ALTER TABLE captures ADD COLUMN thumbnail_url TEXT;
