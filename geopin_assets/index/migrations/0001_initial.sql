-- What a search shows beside its matches. WITHOUT ROWID: D1 bills one row written per row instead of
-- two; every secondary index would add one more to each write, so there is none: all reads are by id.
CREATE TABLE captures (
  capture_id TEXT PRIMARY KEY, source TEXT NOT NULL, lon REAL NOT NULL, lat REAL NOT NULL,
  captured_at TEXT, heading_deg REAL, is_pano INTEGER NOT NULL, license TEXT NOT NULL, attribution TEXT NOT NULL,
  creator TEXT, page_url TEXT NOT NULL, cell_id TEXT NOT NULL, row_hash TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE vectors (
  vector_id TEXT PRIMARY KEY, capture_id TEXT NOT NULL, view INTEGER NOT NULL, heading_deg REAL, row_hash TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE sources (
  source TEXT PRIMARY KEY, title TEXT NOT NULL, homepage TEXT NOT NULL, captures INTEGER NOT NULL, row_hash TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE publication (
  index_name TEXT PRIMARY KEY, model_id TEXT NOT NULL, embedder TEXT NOT NULL, published_at TEXT NOT NULL,
  captures INTEGER NOT NULL, vectors INTEGER NOT NULL, row_hash TEXT NOT NULL
) WITHOUT ROWID;
