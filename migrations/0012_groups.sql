-- SPDX-License-Identifier: Apache-2.0
-- Jobs that were submitted together. A group is there as long as one of its jobs is.
CREATE TABLE groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    private INTEGER NOT NULL CHECK (private IN (0, 1)), -- as its jobs are
    varies TEXT NOT NULL,           -- JSON: the names of the fields that differ between its jobs
    created_at INTEGER NOT NULL
) STRICT;

ALTER TABLE jobs ADD COLUMN group_id INTEGER REFERENCES groups (id);
CREATE INDEX jobs_group ON jobs (group_id) WHERE group_id IS NOT NULL;

CREATE TRIGGER jobs_end_group AFTER DELETE ON jobs
WHEN OLD.group_id IS NOT NULL
BEGIN
    DELETE FROM groups WHERE id = OLD.group_id
        AND NOT EXISTS (SELECT 1 FROM jobs WHERE group_id = OLD.group_id);
END;
