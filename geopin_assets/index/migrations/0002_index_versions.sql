-- Which index searches should use ('serving'), and which is being built; searchers look here, so that a new
-- version takes the place of the old one at once and for all.
ALTER TABLE publication ADD COLUMN state TEXT NOT NULL DEFAULT 'serving';
