-- SPDX-License-Identifier: Apache-2.0
-- A third kind of job: the codes of a finished job in another format. SQLite does not change a
-- CHECK, so the column is made anew.
DROP TRIGGER jobs_ended;
ALTER TABLE jobs RENAME COLUMN kind TO kind_before;
ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'quantize'
    CHECK (kind IN ('quantize', 'eval', 'export'));
UPDATE jobs SET kind = kind_before;
ALTER TABLE jobs DROP COLUMN kind_before;

-- A job that has ended never changes.
CREATE TRIGGER jobs_ended BEFORE UPDATE ON jobs
WHEN OLD.status IN ('succeeded', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'a job that has ended does not change');
END;
