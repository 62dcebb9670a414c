// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/runner.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/files/paths.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/queue/submission.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#define RECORD_RETRY_STEPS 50 /* of 0.1 s, between attempts to record an end */

/* One run, as the observer sees it. */
struct run {
    struct runner *runner;
    const struct job_row *row;
    struct failure failure; /* why the store did not take an event */
    bool store_failed;
    char fingerprint[65]; /* of the model, once it is known */
    struct failure full;  /* why the job has to stop until there is room */
    bool paused;
};

static int on_event(void *ctx, const char *kind, json_t *data);

/* The disk may be full: the job stops at its next step. */
static void check_disk(struct run *run) {
    struct disk *disk = run->runner->jobs->disk;

    if (disk && disk_check(disk, &run->full))
        run->paused = true;
}

static int on_layer(struct run *run, json_t *data) {
    struct jobs *jobs = run->runner->jobs;
    json_int_t layer = json_integer_value(json_object_get(data, "layer"));
    int r = store_begin(jobs->store, STORE_WRITE, &run->failure);

    if (r)
        return r;
    r = store_put_layer(jobs->store, run->row->id, layer, data);
    if (!r)
        r = store_append_event(jobs->store, run->row->id, WIRE_EVENT_LAYER_FINISHED,
                               clock_wall_ms(), data, NULL);
    if (!r)
        r = store_renew_lease(jobs->store, run->row->id);
    r = store_end(jobs->store, r, &run->failure);
    if (r)
        return r;
    atomic_fetch_add(&jobs->stats.n_layers, 1);
    log_record(LOG_INFO,
               LOG_FIELDS(.job = run->row->id, .owner = run->row->owner, .has_layer = true,
                          .layer = (int)layer),
               "job %" PRId64 ": layer %d is done", run->row->id, (int)layer);
    events_wake(jobs->events);
    if (jobs->disk)
        disk_took(jobs->disk);
    check_disk(run);
    return 0;
}

/* What an earlier attempt finished becomes an event unless that attempt has told of it. */
static int on_found(struct run *run, const char *kind, json_t *data) {
    struct jobs *jobs = run->runner->jobs;
    bool told = false;
    int r = store_begin(jobs->store, STORE_READ, &run->failure);

    if (r)
        return r;
    r = store_has_event(jobs->store, run->row->id, kind, data, &told);
    r = store_end(jobs->store, r, &run->failure);
    return r || told ? r : on_event(run, kind, data);
}

static int on_facts(struct run *run, json_t *data) {
    struct jobs *jobs = run->runner->jobs;
    const char *fingerprint =
        json_string_value(json_object_get(json_object_get(data, "model"), "fingerprint"));
    int r = store_begin(jobs->store, STORE_WRITE, &run->failure);

    if (r)
        return r;
    snprintf(run->fingerprint, sizeof(run->fingerprint), "%s", fingerprint ? fingerprint : "");
    /* Which commit of the hub it is, the pipeline does not know. */
    if (json_object_get(run->row->params, "model_commit"))
        json_object_set(json_object_get(data, "params"), "model_commit",
                        json_object_get(run->row->params, "model_commit"));
    r = store_set_facts(jobs->store, run->row->id, json_object_get(data, "params"),
                        json_object_get(data, "model"));
    r = store_end(jobs->store, r, &run->failure);
    if (!r)
        events_wake(jobs->events);
    return r;
}

/* A perplexity goes out beside that of the model as it is, when an earlier job has measured it. */
static int on_eval(struct run *run, json_t *data) {
    struct jobs *jobs = run->runner->jobs;
    struct eval_row eval = {
        .name = json_string_value(json_object_get(data, "set")),
        .model_fingerprint = run->fingerprint,
        .windows_sha256 = json_string_value(json_object_get(data, "sha256")),
    };
    double baseline;
    int r = store_begin(jobs->store, STORE_READ, &run->failure), found;

    if (r)
        return r;
    found = store_find_baseline(jobs->store, &eval, &baseline);
    r = store_end(jobs->store, found == -ENOENT ? 0 : found, &run->failure);
    if (r)
        return r;
    if (json_object_set_new(data, "baseline", found ? json_null() : json_real(baseline)))
        return failure_oom(&run->failure);
    return events_append(jobs->events, run->row->id, WIRE_EVENT_EVAL_FINISHED, data, &run->failure);
}

static int on_event(void *ctx, const char *kind, json_t *data) {
    struct run *run = ctx;
    struct events *events = run->runner->jobs->events;
    int64_t id = run->row->id;
    int r;

    run->runner->alive(run->runner->ctx);
    if (str_equal(kind, WIRE_EVENT_PROGRESS))
        r = events_progress(events, id, kind, data, true, &run->failure);
    else if (str_equal(kind, WIRE_EVENT_EVAL_PROGRESS))
        r = events_progress(events, id, kind, data, false, &run->failure);
    else if (str_equal(kind, WIRE_EVENT_LAYER_FINISHED))
        r = on_layer(run, data);
    else if (str_equal(kind, PIPELINE_LAYER_FOUND))
        r = on_found(run, WIRE_EVENT_LAYER_FINISHED, data);
    else if (str_equal(kind, PIPELINE_EVAL_FOUND))
        r = on_found(run, WIRE_EVENT_EVAL_FINISHED, data);
    else if (str_equal(kind, PIPELINE_FACTS))
        r = on_facts(run, data);
    else if (str_equal(kind, WIRE_EVENT_EVAL_FINISHED))
        r = on_eval(run, data);
    else
        r = events_append(events, id, kind, data, &run->failure);
    if (r)
        run->store_failed = true;
    /* The export writes as much as all layers together. */
    if (!r && str_equal(json_string_value(json_object_get(data, "phase")), WIRE_PHASE_EXPORT) &&
        str_equal(kind, WIRE_EVENT_PHASE_STARTED))
        check_disk(run);
    return r;
}

static bool on_cancelled(void *ctx) {
    struct run *run = ctx;

    run->runner->alive(run->runner->ctx);
    return *run->runner->cancel || *run->runner->stop || run->paused;
}

/* The job's folder; on its first attempt without what another store may have left there. */
static int make_dir(struct runner *runner, const struct job_row *row, char **ret_dir,
                    struct failure *failure) {
    cleanup(freep) char *dir = paths_job(runner->jobs->state_dir, row->id);
    int r;

    if (!dir)
        return failure_oom(failure);
    r = row->attempt == 1 && !row->progress ? dir_remove(dir) : 0;
    if (!r)
        r = dir_make(dir);
    if (r)
        return failure_errno(failure, r, "cannot prepare the job's folder", dir);
    *ret_dir = steal_ptr(dir);
    return 0;
}

static int run_pipeline(struct run *run, struct backend *backend, json_t **ret_result,
                        struct failure *failure) {
    struct runner *runner = run->runner;
    cleanup(params_freep) struct params *params = NULL;
    cleanup(freep) char *dir = NULL;
    struct pipeline_observer observer = {.ctx = run, .event = on_event, .cancelled = on_cancelled};
    struct pipeline_job job = {
        .model_dir = run->row->model_dir, .corpora = runner->corpora, .observer = &observer};
    int r;

    if (job_kind_from_name(run->row->kind, &job.kind))
        return failure_set(failure, -EINVAL, "internal", NULL, "unknown kind of job '%s'",
                           run->row->kind);
    r = params_parse(job.kind, run->row->request, &params, failure);
    if (!r)
        r = make_dir(runner, run->row, &dir, failure);
    if (r)
        return r;
    job.params = params;
    job.dir = dir;
    return pipeline_run(&job, backend, ret_result, failure);
}

/* How the run ended. */
struct outcome {
    int r; /* of the pipeline */
    bool cancelled, stopped, paused, poisoned;
    json_t *result;
    struct failure failure;
};

static int record(struct runner *runner, int64_t id, struct outcome *outcome,
                  struct failure *failure) {
    if (!outcome->r)
        return jobs_succeed(runner->jobs, id, outcome->result, failure);
    if (outcome->cancelled)
        return jobs_cancelled(runner->jobs, id, failure);
    if (outcome->stopped)
        return jobs_interrupt(runner->jobs, id, "shutdown", STOP_ASKED, failure);
    if (outcome->paused)
        return jobs_pause(runner->jobs, id, &outcome->failure, failure);
    if (outcome->poisoned)
        return jobs_interrupt(runner->jobs, id, "device failed", STOP_CRASH, failure);
    return jobs_fail(runner->jobs, id, &outcome->failure, failure);
}

/*
 * The end of a job must not be lost because the disk is full for a minute. When the daemon stops
 * meanwhile, the row stays "running", and the next start queues it again.
 */
static void record_until_done(struct runner *runner, int64_t id, struct outcome *outcome) {
    const struct timespec step = {.tv_nsec = 100000000};
    struct failure failure;

    while (record(runner, id, outcome, &failure)) {
        log_record(LOG_ERR, LOG_FIELDS(.job = id, .code = failure.code),
                   "cannot record the end of job %" PRId64 ", trying again: %s", id,
                   failure.detail);
        for (int i = 0; i < RECORD_RETRY_STEPS; i++) {
            if (*runner->stop) {
                events_forget(runner->jobs->events, id);
                return;
            }
            runner->alive(runner->ctx);
            nanosleep(&step, NULL);
        }
    }
}

/* What became of @run, whose pipeline returned @outcome->r. */
static void judge(const struct run *run, struct outcome *outcome) {
    struct runner *runner = run->runner;
    struct disk *disk = runner->jobs->disk;

    /* The store's own reason is better than what the pipeline made of its errno. */
    if (run->store_failed)
        outcome->failure = run->failure;
    if (outcome->r == -ECANCELED && !run->store_failed) {
        outcome->cancelled = *runner->cancel;
        outcome->stopped = !outcome->cancelled && *runner->stop;
        outcome->paused = !outcome->cancelled && !outcome->stopped;
        outcome->failure = run->full;
    } else if (disk && str_equal(outcome->failure.code, "disk_full") &&
               (outcome->r == -ENOSPC || outcome->r == -EDQUOT)) {
        outcome->paused = true;
        disk_refused(disk);
    }
}

bool runner_run(struct runner *runner, const struct job_row *row, struct backend *backend) {
    struct run run = {.runner = runner, .row = row};
    struct outcome outcome = {};
    struct backend_info info = {};

    if (row->hub_model && runner->jobs->hub)
        hub_note_use(runner->jobs->hub, row->hub_model);
    failure_set(&outcome.failure, -EIO, "internal", NULL, "the pipeline gave no reason");
    outcome.r = run_pipeline(&run, backend, &outcome.result, &outcome.failure);
    backend->ops->info(backend, &info);
    outcome.poisoned = info.poisoned;
    if (outcome.r && info.poisoned)
        log_record(LOG_ERR,
                   LOG_FIELDS(.job = row->id, .owner = row->owner, .code = outcome.failure.code),
                   "job %" PRId64 ": the device failed: %s", row->id, outcome.failure.detail);
    judge(&run, &outcome);
    record_until_done(runner, row->id, &outcome);
    json_decref(outcome.result);
    return info.poisoned;
}
