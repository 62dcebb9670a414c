-- SPDX-License-Identifier: Apache-2.0
-- Who is notified of the end of a job.
ALTER TABLE jobs ADD COLUMN notify TEXT; -- a URL; NULL: none of its own

-- Notifications that have not been delivered: they are stored with the end itself, so none is lost.
CREATE TABLE notifications (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- receivers know a repeated one by it
    job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('config', 'url', 'command')), -- config: as it says then
    url TEXT,
    tries INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX notifications_job ON notifications (job_id);

CREATE TRIGGER jobs_notify AFTER UPDATE OF status ON jobs
WHEN NEW.status IN ('succeeded', 'failed', 'cancelled')
    AND OLD.status NOT IN ('succeeded', 'failed', 'cancelled')
BEGIN
    INSERT INTO notifications (job_id, kind) VALUES (NEW.id, 'config');
    INSERT INTO notifications (job_id, kind, url)
        SELECT NEW.id, 'url', NEW.notify WHERE NEW.notify IS NOT NULL;
END;
