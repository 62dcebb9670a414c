-- SPDX-License-Identifier: Apache-2.0
-- Times are milliseconds since 1970-01-01 UTC. Columns of JSON hold compact JSON text.

-- What the daemon remembers of itself: epoch counts its starts, so that versions never repeat.
CREATE TABLE daemon (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL
) STRICT;
INSERT INTO daemon (id, epoch) VALUES (1, 0);

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('quantize', 'eval')),
    status TEXT NOT NULL
        CHECK (status IN ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled')),
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,           -- JSON object of strings
    priority INTEGER NOT NULL CHECK (priority BETWEEN -100 AND 100),
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    request TEXT NOT NULL,          -- JSON: the parameters as asked for
    model_dir TEXT NOT NULL,        -- the folder that `model` meant when the job was submitted
    params TEXT NOT NULL,           -- JSON: the same with defaults; later as resolved
    model TEXT,                     -- JSON: facts of the model
    progress TEXT,                  -- JSON: the last progress when the job stopped running
    result TEXT,                    -- JSON: what the pipeline returned, with the baseline
    error TEXT,                     -- JSON: code, title, detail, hint, retryable
    claim INTEGER,                  -- grows with every start of any job: whose turn it was
    version INTEGER NOT NULL,       -- grows with every stored change of any job
    created_at INTEGER NOT NULL,
    started_at INTEGER,             -- of the first attempt
    finished_at INTEGER,
    CHECK ((finished_at IS NOT NULL) = (status IN ('succeeded', 'failed', 'cancelled'))),
    CHECK ((result IS NOT NULL) = (status = 'succeeded')),
    CHECK ((error IS NOT NULL) = (status = 'failed')),
    CHECK (status NOT IN ('running', 'cancelling') OR (started_at IS NOT NULL AND claim IS NOT NULL))
) STRICT;

CREATE INDEX jobs_active ON jobs (status) WHERE status IN ('queued', 'running', 'cancelling');
CREATE INDEX jobs_owner ON jobs (owner, claim);
CREATE INDEX jobs_claim ON jobs (claim);

-- A job that has ended never changes.
CREATE TRIGGER jobs_ended BEFORE UPDATE ON jobs
WHEN OLD.status IN ('succeeded', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'a job that has ended does not change');
END;

CREATE TRIGGER jobs_transition BEFORE UPDATE OF status ON jobs
WHEN NOT (OLD.status = NEW.status
    OR (OLD.status = 'queued' AND NEW.status IN ('running', 'cancelled', 'failed'))
    OR (OLD.status = 'running'
        AND NEW.status IN ('queued', 'cancelling', 'succeeded', 'failed', 'cancelled'))
    OR (OLD.status = 'cancelling' AND NEW.status IN ('succeeded', 'failed', 'cancelled')))
BEGIN
    SELECT RAISE(ABORT, 'no such transition of a job');
END;

-- The queue in the order in which jobs will start: the highest priority first; among equals the
-- jobs that were interrupted, then owners in turn, the one who waited longest first.
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
    WHERE status = 'queued');

-- What happened, in order. Append-only; seq is the cursor of every watcher.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    type TEXT NOT NULL,
    at INTEGER NOT NULL,
    data TEXT NOT NULL              -- JSON object
) STRICT;
CREATE INDEX events_job ON events (job_id, seq);

-- The report of each finished layer.
CREATE TABLE layers (
    job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    layer INTEGER NOT NULL CHECK (layer >= 0),
    data TEXT NOT NULL,             -- JSON: the data of its layer.finished event
    PRIMARY KEY (job_id, layer)
) STRICT, WITHOUT ROWID;

-- Perplexities of jobs that succeeded. What was measured on the same model and windows compares.
CREATE TABLE evals (
    id INTEGER PRIMARY KEY,
    job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,             -- the data set
    value REAL NOT NULL,
    wbits INTEGER NOT NULL,         -- 16: the model as it is
    model_fingerprint TEXT NOT NULL,
    windows_sha256 TEXT NOT NULL,
    seqlen INTEGER NOT NULL,
    UNIQUE (job_id, name)
) STRICT;
CREATE INDEX evals_baseline ON evals (model_fingerprint, name, windows_sha256) WHERE wbits = 16;

-- Which request an Idempotency-Key of an owner stood for.
CREATE TABLE idempotency (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    request_sha256 TEXT NOT NULL,
    job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
