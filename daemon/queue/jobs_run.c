// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/jobs.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log/log.h"
#include "base/log/messages.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/files/paths.h"
#include "daemon/queue/job_json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void remove_files(struct jobs *jobs, int64_t id) {
    cleanup(freep) char *dir = paths_job(jobs->jobs_dir, id);
    int r = dir ? dir_remove(dir) : -ENOMEM;

    if (r)
        log_warning("cannot remove the files of job %" PRId64 ": %s", id, strerror(-r));
}

/* How a run ended; borrowed. */
struct ending {
    enum job_status to;
    int attempt; /* 0: as it is */
    json_t *result, *error, *paused;
    const char *event;
    json_t *data;
};

/* What the last progress of a run becomes by its end as @to. Return: 0 or -ENOMEM. */
static int finish_progress(json_t *progress, enum job_status to) {
    int r = 0;

    if (to == JOB_SUCCEEDED)
        r = json_object_set_new(progress, "fraction", json_real(1)) ||
            json_object_set_new(progress, "eta_seconds", json_real(0));
    else if (to == JOB_QUEUED) /* it is not known when it goes on */
        r = json_object_set_new(progress, "eta_seconds", json_null());
    return r ? -ENOMEM : 0;
}

/* Inside a transaction: the running job @row ends, or goes back. */
static int end(struct jobs *jobs, const struct job_row *row, const struct ending *ending) {
    uint64_t version;
    cleanup(json_decrefp) json_t *progress = events_current(jobs->events, row->id, &version);
    struct job_change change = {
        .from = row->status,
        .to = ending->to,
        .at = clock_wall_ms(),
        .attempt = ending->attempt,
        .progress = progress,
        .result = ending->result,
        .error = ending->error,
        .paused = ending->paused,
    };
    int r;

    if (progress && finish_progress(progress, ending->to))
        return -ENOMEM;
    r = store_change_job(jobs->store, row->id, &change);
    if (r)
        return r;
    return store_append_event(jobs->store, row->id, ending->event, change.at, ending->data, NULL);
}

static int end_cancelled(struct jobs *jobs, const struct job_row *row) {
    cleanup(json_decrefp) json_t *data = json_object();
    struct ending ending = {.to = JOB_CANCELLED, .event = WIRE_EVENT_JOB_CANCELLED, .data = data};

    return data ? end(jobs, row, &ending) : -ENOMEM;
}

static int end_failed(struct jobs *jobs, const struct job_row *row, const struct failure *why) {
    cleanup(json_decrefp) json_t *error = failure_to_json(why);
    cleanup(json_decrefp) json_t *data = error ? json_pack("{sO}", "error", error) : NULL;
    struct ending ending = {
        .to = JOB_FAILED, .error = error, .event = WIRE_EVENT_JOB_FAILED, .data = data};

    return data ? end(jobs, row, &ending) : -ENOMEM;
}

/*
 * How often the job was interrupted like this, and is that too often? A job that brings the daemon
 * down comes to the same place again and again: one that gets on between two crashes is not their
 * cause. Layers and sets are finitely many, so this ends too.
 */
static int count_interruptions(struct jobs *jobs, const struct job_row *row, enum stop stop,
                               int *ret_n, bool *ret_too_often) {
    struct lease lease;
    int r, attempt;

    *ret_n = 0;
    *ret_too_often = false;
    if (stop == STOP_CRASH) {
        r = store_gaining_attempt(jobs->store, row->id, &attempt);
        if (r)
            return r;
        *ret_n = row->attempt - attempt + 1;
        *ret_too_often = *ret_n >= JOBS_CRASHES_MAX;
    } else if (stop == STOP_REBOOT) {
        r = store_count_reboot(jobs->store, row->id);
        if (!r)
            r = store_get_lease(jobs->store, row->id, &lease);
        if (r)
            return r;
        *ret_n = lease.reboots;
        *ret_too_often = *ret_n > JOBS_REBOOTS_MAX;
    }
    return 0;
}

static int end_worn_out(struct jobs *jobs, const struct job_row *row, const char *reason,
                        enum stop stop, int n) {
    struct failure why;

    failure_set(&why, -EIO, "too_many_attempts",
                "see the log of quantd around the last attempts, then submit it again",
                stop == STOP_REBOOT ? "the machine went down %d times while the job ran (%s)"
                                    : "%d attempts in a row were cut off before they finished "
                                      "another layer or set (%s)",
                n, reason);
    return end_failed(jobs, row, &why);
}

static int end_interrupted(struct jobs *jobs, const struct job_row *row, const char *reason,
                           enum stop stop, enum job_status *ret_to) {
    cleanup(json_decrefp) json_t *data = NULL;
    struct ending ending = {.to = JOB_QUEUED,
                            .attempt = row->attempt + (stop == STOP_CRASH),
                            .event = WIRE_EVENT_JOB_INTERRUPTED};
    bool too_often;
    int r, n;

    if (row->status == JOB_CANCELLING) {
        *ret_to = JOB_CANCELLED;
        return end_cancelled(jobs, row);
    }
    r = count_interruptions(jobs, row, stop, &n, &too_often);
    if (r)
        return r;
    if (too_often) {
        *ret_to = JOB_FAILED;
        return end_worn_out(jobs, row, reason, stop, n);
    }
    *ret_to = JOB_QUEUED;
    ending.data = data = json_pack("{ss si}", "reason", reason, "attempt", ending.attempt);
    return data ? end(jobs, row, &ending) : -ENOMEM;
}

/* Reads the row of a running job for an end_*() in the transaction that this begins. */
static int begin_end(struct jobs *jobs, int64_t id, struct job_row **ret_row,
                     struct failure *failure) {
    int r = store_begin(jobs->store, STORE_WORK, failure);

    if (r)
        return r;
    r = store_get_job(jobs->store, id, ret_row);
    if (!r && (*ret_row)->status != JOB_RUNNING && (*ret_row)->status != JOB_CANCELLING)
        r = -ESTALE;
    if (!r)
        return 0;
    failure_set(failure, r, "internal", NULL, "job %" PRId64 " is not running", id);
    return store_end(jobs->store, r, failure);
}

static int finish_end(struct jobs *jobs, int64_t id, int r, struct failure *failure) {
    if (r == -ENOMEM)
        failure_oom(failure);
    r = store_end(jobs->store, r, failure);
    if (r)
        return r;
    events_forget(jobs->events, id);
    events_wake(jobs->events);
    return 0;
}

/* The job of @row, which ran, has ended. The wall clock may have been set back meanwhile. */
static void count_end(struct jobs *jobs, const struct job_row *row) {
    int64_t ms = clock_wall_ms() - row->started_at - row->paused_ms;

    histogram_add(&jobs->stats.run, &histogram_of_jobs, (double)MAX(ms, 0) / 1000);
    holds_drop(jobs->holds, row->id);
}

static void count_measures(struct jobs *jobs, const json_t *result) {
    const char *name;
    json_t *value;

    json_object_foreach(json_object_get(result, "perplexity"), name, value) {
        json_int_t n = json_integer_value(json_object_get(value, "tokens"));

        atomic_fetch_add(&jobs->stats.n_tokens, n > 0 ? (uint64_t)n : 0);
    }
    json_object_foreach(json_object_get(result, "difference"), name, value)
        histogram_add(&jobs->stats.divergence, &histogram_of_divergences,
                      json_number_value(json_object_get(value, "kl_mean")));
}

/* Calls @each with what @result says of each set, until it returns not 0. */
static int each_eval(struct jobs *jobs, const struct job_row *row, json_t *result,
                     int (*each)(struct jobs *jobs, const struct job_row *row,
                                 const struct eval_row *eval, json_t *result)) {
    json_t *value;
    const char *name;
    int r = 0;

    json_object_foreach(json_object_get(result, "perplexity"), name, value) {
        struct eval_row eval = {
            .name = name,
            .value = json_number_value(json_object_get(value, "value")),
            .wbits = (int)json_integer_value(json_object_get(row->params, "wbits")),
            .model_fingerprint = json_string_value(json_object_get(result, "model_fingerprint")),
            .windows_sha256 = json_string_value(json_object_get(value, "sha256")),
            .seqlen = json_integer_value(json_object_get(result, "seqlen")),
        };

        if (!r && eval.model_fingerprint && eval.windows_sha256)
            r = each(jobs, row, &eval, result);
    }
    return r;
}

/* Beside what the job itself has measured of the original, what an earlier one has. */
static int compare(struct jobs *jobs, const struct job_row *row, const struct eval_row *eval,
                   json_t *result) {
    json_t *baseline = json_object_get(result, "baseline");
    double other;
    int r;

    if (json_is_number(json_object_get(baseline, eval->name)))
        return 0;
    r = store_find_baseline(jobs->store, eval, row->owner, &other);
    if (r && r != -ENOENT)
        return r;
    return json_object_set_new(baseline, eval->name, r ? json_null() : json_real(other)) ? -ENOMEM
                                                                                         : 0;
}

int jobs_find_baseline(struct jobs *jobs, const struct job_row *row, json_t *result) {
    const json_t *measured = json_object_get(result, "baseline");
    json_t *baseline = measured ? json_clone(measured) : json_object();

    if (json_object_set_new(result, "baseline", baseline))
        return -ENOMEM;
    return each_eval(jobs, row, result, compare);
}

static int record(struct jobs *jobs, const struct job_row *row, const struct eval_row *eval,
                  json_t *result) {
    (void)result;
    return store_put_eval(jobs->store, row->id, eval);
}

int jobs_record_evals(struct jobs *jobs, const struct job_row *row, json_t *result) {
    return each_eval(jobs, row, result, record);
}

int jobs_succeed(struct jobs *jobs, int64_t id, json_t *result, struct failure *failure) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    cleanup(json_decrefp) json_t *copy = json_copy(result), *data = NULL;
    struct ending ending = {.to = JOB_SUCCEEDED, .event = WIRE_EVENT_JOB_SUCCEEDED};
    int r;

    if (!copy)
        return failure_oom(failure);
    r = begin_end(jobs, id, &row, failure);
    if (r)
        return r;
    r = jobs_find_baseline(jobs, row, copy);
    if (!r)
        r = jobs_record_evals(jobs, row, copy);
    data = json_pack("{so}", "result", job_result(copy));
    if (!r && !data)
        r = -ENOMEM;
    if (!r) {
        ending.result = copy;
        ending.data = data;
        r = end(jobs, row, &ending);
    }
    r = finish_end(jobs, id, r, failure);
    if (r)
        return r;
    log_record(LOG_INFO, LOG_FIELDS(MESSAGE_JOB_ENDED, .job = id, .owner = row->owner),
               "job %" PRId64 " succeeded", id);
    count_end(jobs, row);
    count_measures(jobs, copy);
    return 0;
}

static void log_failed(const struct job_row *row, const struct failure *why) {
    log_record(
        LOG_WARNING,
        LOG_FIELDS(MESSAGE_JOB_FAILED, .job = row->id, .owner = row->owner, .code = why->code),
        "job %" PRId64 " failed: %s: %s", row->id, why->code, why->detail);
}

int jobs_fail(struct jobs *jobs, int64_t id, const struct failure *why, struct failure *failure) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    int r = begin_end(jobs, id, &row, failure);

    if (r)
        return r;
    r = finish_end(jobs, id, end_failed(jobs, row, why), failure);
    if (r)
        return r;
    log_failed(row, why);
    count_end(jobs, row);
    remove_files(jobs, id);
    return 0;
}

/* After the transaction that cancelled it. */
static void after_cancelled(struct jobs *jobs, const struct job_row *row) {
    log_record(LOG_INFO, LOG_FIELDS(MESSAGE_JOB_ENDED, .job = row->id, .owner = row->owner),
               "job %" PRId64 " cancelled", row->id);
    count_end(jobs, row);
    remove_files(jobs, row->id);
}

int jobs_cancelled(struct jobs *jobs, int64_t id, struct failure *failure) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    int r = begin_end(jobs, id, &row, failure);

    if (r)
        return r;
    r = finish_end(jobs, id, end_cancelled(jobs, row), failure);
    if (r)
        return r;
    after_cancelled(jobs, row);
    return 0;
}

int jobs_interrupt(struct jobs *jobs, int64_t id, const char *reason, enum stop stop,
                   struct failure *failure) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    enum job_status to = JOB_QUEUED;
    int r = begin_end(jobs, id, &row, failure);

    if (r)
        return r;
    r = end_interrupted(jobs, row, reason, stop, &to);
    r = finish_end(jobs, id, r, failure);
    if (r)
        return r;
    log_record(LOG_NOTICE, LOG_FIELDS(MESSAGE_JOB_INTERRUPTED, .job = id, .owner = row->owner),
               "job %" PRId64 " interrupted (%s): %s", id, reason, job_status_name(to));
    if (to != JOB_QUEUED) {
        count_end(jobs, row);
        remove_files(jobs, id);
    }
    return 0;
}

int jobs_pause(struct jobs *jobs, int64_t id, const struct failure *why, struct failure *failure) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    cleanup(json_decrefp) json_t *data = job_pause_to_json(why);
    struct ending ending = {
        .to = JOB_QUEUED, .paused = data, .event = WIRE_EVENT_JOB_PAUSED, .data = data};
    int r;

    if (!data)
        return failure_oom(failure);
    r = begin_end(jobs, id, &row, failure);
    if (r)
        return r;
    if (row->status == JOB_CANCELLING)
        r = end_cancelled(jobs, row);
    else
        r = end(jobs, row, &ending);
    r = finish_end(jobs, id, r, failure);
    if (r)
        return r;
    if (row->status == JOB_CANCELLING)
        after_cancelled(jobs, row);
    else
        log_record(
            LOG_WARNING,
            LOG_FIELDS(MESSAGE_JOB_PAUSED, .job = id, .owner = row->owner, .code = why->code),
            "job %" PRId64 " paused: %s: %s", id, why->code, why->detail);
    return 0;
}
