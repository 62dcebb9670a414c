-- SPDX-License-Identifier: Apache-2.0
-- Files of a job that are not on this machine are fetched while it waits. Such a job keeps its
-- place in the queue; jobs behind it that have all they need start before it.
ALTER TABLE jobs ADD COLUMN pull INTEGER NOT NULL DEFAULT 0 CHECK (pull IN (0, 1)); -- 1: to do
ALTER TABLE jobs ADD COLUMN hub_model TEXT; -- "org/name" when the model is from the hub

CREATE INDEX jobs_hub_model ON jobs (hub_model)
WHERE hub_model IS NOT NULL AND status IN ('queued', 'running', 'cancelling');
