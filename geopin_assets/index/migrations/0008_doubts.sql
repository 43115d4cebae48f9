-- Captures that other sources contradict: a search joins them to its matches and counts those less. A short list, the
-- same in every database.
CREATE TABLE doubts (
  capture_id TEXT PRIMARY KEY, trust REAL NOT NULL, reason TEXT NOT NULL, row_hash TEXT NOT NULL
) WITHOUT ROWID;
