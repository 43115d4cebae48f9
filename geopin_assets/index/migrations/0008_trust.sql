-- How likely a capture is what it says it is, of those that other sources contradict: a search counts them less.
ALTER TABLE captures ADD COLUMN trust REAL;
CREATE INDEX captures_doubted ON captures (capture_id, trust) WHERE trust IS NOT NULL;
