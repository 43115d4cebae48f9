-- Which sources show the place of a capture: read with the best match of a search, whose agreement is asked for.
ALTER TABLE captures ADD COLUMN covered_by TEXT;
