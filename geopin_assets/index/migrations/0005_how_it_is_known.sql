-- How position and direction are known: a direction of movement is shown as one, not as a direction of view.
ALTER TABLE captures ADD COLUMN position_from TEXT;
ALTER TABLE captures ADD COLUMN position_error_m REAL;
ALTER TABLE captures ADD COLUMN heading_from TEXT;
