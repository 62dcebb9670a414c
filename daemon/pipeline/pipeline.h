// SPDX-License-Identifier: Apache-2.0
/*
 * What a job does, from its parameters and its folder alone: load, calibrate, quantize, evaluate,
 * export. It knows no queue and no HTTP, so the same call can run a job anywhere; it reports what
 * it does to one observer.
 *
 * Crash-only: each finished layer is in DIR/work, fsynced, before it is reported. Called again on
 * the same folder it continues after the last finished layer when its fingerprint (version,
 * parameters, model, calibration windows, device kind) is unchanged, else from the start. The
 * checkpoint appears as DIR/artifact by one rename, complete, with manifest.json.
 */
#pragma once

#include "daemon/pipeline/job.h"
#include "kernels/backend.h"

/*
 * pipeline_run() - do the whole job on @backend; the thread of the backend.
 * @ret_result: owned by the caller: {perplexity: {set: {value, stderr, tokens, windows, sha256}},
 *              size_bytes, bits_per_weight, seconds: {phase: s}, peak_memory: {device, host},
 *              model_fingerprint, seqlen, artifacts: [{name, bytes, sha256}]}
 *
 * Return: 0; -ECANCELED; or another -errno with the failure, which is the job's error.
 */
int pipeline_run(const struct pipeline_job *job, struct backend *backend, json_t **ret_result,
                 struct failure *failure);
