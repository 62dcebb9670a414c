-- SPDX-License-Identifier: Apache-2.0
-- Who may ask over TCP. Of a token only its hash is kept.
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- part of the token: none comes again
    name TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,                  -- whose jobs are its own
    role TEXT NOT NULL CHECK (role IN ('read', 'submit', 'admin')),
    sha256 TEXT NOT NULL UNIQUE,          -- of the whole token, 64 hex digits
    created_at INTEGER NOT NULL,
    last_used_at INTEGER                  -- to the hour
) STRICT;

-- A private job is for its owner and admins only.
ALTER TABLE jobs ADD COLUMN private INTEGER NOT NULL DEFAULT 0 CHECK (private IN (0, 1));
CREATE INDEX jobs_private ON jobs (owner) WHERE private = 1;
