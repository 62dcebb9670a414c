-- SPDX-License-Identifier: Apache-2.0
-- Jobs that were deleted since the last start: their folders may still be there, and go. A folder
-- that is neither a job's nor listed here is of a database that was lost or is newer: it stays.
CREATE TABLE removals (job_id INTEGER PRIMARY KEY) STRICT;
CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs
BEGIN
    INSERT OR IGNORE INTO removals (job_id) VALUES (OLD.id);
END;
