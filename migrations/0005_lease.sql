-- SPDX-License-Identifier: Apache-2.0
-- The last sign of life of a job that runs: in which boot of the machine, and when. A job that ran
-- when the machine went down is not at fault; how often that may happen is bounded all the same.
ALTER TABLE jobs ADD COLUMN lease_boot TEXT; -- boot id of the kernel; NULL: not known
ALTER TABLE jobs ADD COLUMN lease_at INTEGER; -- milliseconds of its monotonic clock
ALTER TABLE jobs ADD COLUMN reboots INTEGER NOT NULL DEFAULT 0; -- of the machine, while it ran
