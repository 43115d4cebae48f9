-- Why a capture has no vector though its image could be had: another one of its drive stands for it.
ALTER TABLE captures ADD COLUMN not_indexed_because TEXT;
