-- SPDX-License-Identifier: Apache-2.0
-- The jobs of an owner that have not ended, and those that read a model, are found without a look
-- at all that wait.
CREATE INDEX jobs_active_owner ON jobs (owner) WHERE status IN ('queued', 'running', 'cancelling');
CREATE INDEX jobs_active_model ON jobs (model_dir)
WHERE status IN ('queued', 'running', 'cancelling');
