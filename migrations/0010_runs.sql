-- SPDX-License-Identifier: Apache-2.0
-- Runs of jobs that go on without this daemon, on a cluster. A run is a row before anything else
-- knows of it. The job's row says whether it is under way: when the job stops running, or ends, its
-- run is closed in the same transaction.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    executor TEXT NOT NULL,
    nonce TEXT NOT NULL UNIQUE,         -- of the run that may write in the job's folder
    remote_id INTEGER,                  -- as the cluster counts it; NULL: not known
    state TEXT,                         -- as the cluster said last; NULL: it has not, as below
    reason TEXT,
    node TEXT,
    starts_at INTEGER,                  -- when it started, or is expected to
    offset INTEGER NOT NULL DEFAULT 0,  -- bytes of its events that are in the store
    closed INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1))
) STRICT;
CREATE INDEX runs_job ON runs (job_id, id);
CREATE UNIQUE INDEX runs_open ON runs (job_id) WHERE closed = 0;

CREATE TRIGGER jobs_close_run AFTER UPDATE OF status ON jobs
WHEN NEW.status NOT IN ('running', 'cancelling')
BEGIN
    UPDATE runs SET closed = 1 WHERE job_id = NEW.id AND closed = 0;
END;

-- By which name a cluster knows the jobs of this database.
ALTER TABLE daemon ADD COLUMN instance TEXT NOT NULL DEFAULT '';
UPDATE daemon SET instance = lower(hex(randomblob(4)));

-- Which executor alone may run the job; NULL: any.
ALTER TABLE jobs ADD COLUMN executor TEXT;
