-- A copy of the list of what was taken down, from which a lost list is restored; only added to.
CREATE TABLE takedowns (
  entry_id TEXT PRIMARY KEY, number INTEGER NOT NULL, capture_id TEXT NOT NULL, is_taken_down INTEGER NOT NULL,
  at TEXT NOT NULL, note TEXT NOT NULL, row_hash TEXT NOT NULL
) WITHOUT ROWID;

-- One row: what is published here was made from this merge of the catalog, or from one before.
CREATE TABLE installation (
  place TEXT PRIMARY KEY, installation_id TEXT NOT NULL, generation INTEGER NOT NULL, merge_id TEXT NOT NULL,
  row_hash TEXT NOT NULL
) WITHOUT ROWID;
