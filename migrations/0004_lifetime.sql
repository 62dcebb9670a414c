-- SPDX-License-Identifier: Apache-2.0
-- What keeps a daemon that runs for a year from filling its disk.

-- A queued job that waits for room on the disk says so.
ALTER TABLE jobs ADD COLUMN paused TEXT; -- JSON: code, detail, hint; NULL: it waits for its turn
ALTER TABLE jobs ADD COLUMN paused_at INTEGER;
ALTER TABLE jobs ADD COLUMN paused_ms INTEGER NOT NULL DEFAULT 0; -- pauses since its first start

-- The queue is found without a look at all jobs; SQLite did not see that jobs_active would do.
DROP INDEX jobs_active;
CREATE INDEX jobs_status ON jobs (status);

-- What has ended long ago is found without a look at all jobs.
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- Progress is of use while a job runs, and a while after.
CREATE INDEX events_progress ON events (job_id) WHERE type IN ('progress', 'eval.progress');

-- Keys are for clients that try again soon.
ALTER TABLE idempotency ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
UPDATE idempotency SET created_at = (SELECT created_at FROM jobs WHERE jobs.id = job_id);
CREATE INDEX idempotency_created ON idempotency (created_at);
