-- SPDX-License-Identifier: Apache-2.0
-- A queued job that its owner or an admin holds has no place in the queue until it is released.
ALTER TABLE jobs ADD COLUMN held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1));

DROP VIEW queue;
CREATE VIEW queue AS
SELECT id,
    row_number() OVER (ORDER BY priority DESC, interrupted DESC, turn, last_claim, id) AS position
FROM (
    SELECT id, priority, started_at IS NOT NULL AS interrupted,
        row_number() OVER (
            PARTITION BY owner, priority, started_at IS NOT NULL ORDER BY id) AS turn,
        (SELECT coalesce(max(other.claim), 0) FROM jobs AS other
            WHERE other.owner = jobs.owner) AS last_claim
    FROM jobs
    WHERE status = 'queued' AND held = 0);
