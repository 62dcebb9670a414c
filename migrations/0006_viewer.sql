-- SPDX-License-Identifier: Apache-2.0
-- Whom an event is for: the owner of a private job, or NULL, everybody. What a user may see of all
-- events is found without a look at what others hide.
ALTER TABLE events ADD COLUMN private_owner TEXT;
UPDATE events SET private_owner = (SELECT owner FROM jobs WHERE jobs.id = job_id)
WHERE job_id IN (SELECT id FROM jobs WHERE private = 1);
CREATE INDEX events_viewer ON events (private_owner, seq);
