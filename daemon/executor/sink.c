// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/sink.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/jobdir/line.h"
#include "daemon/pipeline/job.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#define RECORD_RETRY_SECONDS 5 /* between attempts to record an end */
#define BUSY_RETRY_SECONDS 0.5 /* between attempts to store an event while the store is held */

/* Return: false when the daemon stops meanwhile; or the job, for @may_cancel. */
static bool wait_a_while(struct sink *sink, double seconds, bool may_cancel) {
    const struct timespec step = {.tv_nsec = 100000000};
    double until = clock_monotonic() + seconds;

    while (clock_monotonic() < until) {
        if (*sink->stop || (may_cancel && *sink->cancel))
            return false;
        sink->alive(sink->ctx);
        nanosleep(&step, NULL);
    }
    return true;
}

/* -------- events -------- */

/* The disk may be full: the run stops at its next step. */
static void check_disk(struct sink *sink) {
    struct disk *disk = sink->jobs->disk;

    if (disk && disk_check(disk, &sink->no_room))
        sink->full = true;
}

static int on_life(struct sink *sink, const char *kind, json_t *data) {
    (void)sink;
    (void)kind;
    (void)data;
    return 0;
}

static int on_progress(struct sink *sink, const char *kind, json_t *data) {
    return events_progress_marked(sink->jobs->events, sink->row->id, kind, data, true, sink->mark,
                                  &sink->failure);
}

/* That of one set alone. */
static int on_part(struct sink *sink, const char *kind, json_t *data) {
    return events_progress_marked(sink->jobs->events, sink->row->id, kind, data, false, sink->mark,
                                  &sink->failure);
}

static int on_news(struct sink *sink, const char *kind, json_t *data) {
    return events_append_marked(sink->jobs->events, sink->row->id, kind, data, sink->mark,
                                &sink->failure);
}

/* The export writes as much as all layers together. */
static int on_phase(struct sink *sink, const char *kind, json_t *data) {
    int r = on_news(sink, kind, data);

    if (!r && str_equal(json_string_value(json_object_get(data, "phase")), WIRE_PHASE_EXPORT))
        check_disk(sink);
    return r;
}

/* Reports of layers that an attempt does not use are no longer reports of this job. */
static int on_warning(struct sink *sink, const char *kind, json_t *data) {
    const char *code = json_string_value(json_object_get(data, "code"));
    struct jobs *jobs = sink->jobs;
    int r;

    if (!str_equal(code, PIPELINE_STARTED_ANEW))
        return on_news(sink, kind, data);
    r = store_begin(jobs->store, STORE_WORK, &sink->failure);
    if (r)
        return r;
    r = store_drop_layers(jobs->store, sink->row->id);
    if (!r)
        r = store_append_event(jobs->store, sink->row->id, kind, clock_wall_ms(), data, NULL);
    if (!r)
        r = store_set_run_mark(jobs->store, sink->mark);
    r = store_end(jobs->store, r, &sink->failure);
    if (!r)
        events_wake(jobs->events);
    return r;
}

static int on_layer(struct sink *sink, const char *kind, json_t *data) {
    struct jobs *jobs = sink->jobs;
    int64_t id = sink->row->id;
    json_int_t layer = json_integer_value(json_object_get(data, "layer"));
    int r = store_begin(jobs->store, STORE_WORK, &sink->failure);

    if (r)
        return r;
    r = store_put_layer(jobs->store, id, layer, data);
    if (!r)
        r = store_append_event(jobs->store, id, kind, clock_wall_ms(), data, NULL);
    if (!r)
        r = store_renew_lease(jobs->store, id);
    if (!r)
        r = store_set_run_mark(jobs->store, sink->mark);
    r = store_end(jobs->store, r, &sink->failure);
    if (r)
        return r;
    atomic_fetch_add(&jobs->stats.n_layers, 1);
    log_record(
        LOG_INFO,
        LOG_FIELDS(.job = id, .owner = sink->row->owner, .has_layer = true, .layer = (int)layer),
        "job %" PRId64 ": layer %d is done", id, (int)layer);
    events_wake(jobs->events);
    holds_drop(jobs->holds, id);
    if (jobs->disk)
        disk_took(jobs->disk);
    check_disk(sink);
    return 0;
}

static int on_facts(struct sink *sink, const char *kind, json_t *data) {
    struct jobs *jobs = sink->jobs;
    json_t *params = json_object_get(data, "params"), *model = json_object_get(data, "model");
    json_t *commit = json_object_get(sink->row->params, "model_commit");
    const char *fingerprint = json_string_value(json_object_get(model, "fingerprint"));
    int r;

    (void)kind;
    snprintf(sink->fingerprint, sizeof(sink->fingerprint), "%s", fingerprint ? fingerprint : "");
    /* Which commit of the hub it is, the pipeline does not know. */
    if (commit && json_object_set(params, "model_commit", commit))
        return failure_oom(&sink->failure);
    r = store_begin(jobs->store, STORE_WORK, &sink->failure);
    if (r)
        return r;
    r = store_set_facts(jobs->store, sink->row->id, params, model);
    if (!r)
        r = store_set_run_mark(jobs->store, sink->mark);
    r = store_end(jobs->store, r, &sink->failure);
    if (!r)
        events_wake(jobs->events);
    return r;
}

/*
 * A perplexity goes out beside that of the model as it is, when the job itself or an earlier one
 * has measured it.
 */
static int on_eval(struct sink *sink, const char *kind, json_t *data) {
    struct jobs *jobs = sink->jobs;
    struct eval_row eval = {
        .name = json_string_value(json_object_get(data, "set")),
        .model_fingerprint = sink->fingerprint,
        .windows_sha256 = json_string_value(json_object_get(data, "sha256")),
    };
    double baseline;
    int r = store_begin(jobs->store, STORE_READ, &sink->failure), found;

    if (r)
        return r;
    found = store_find_baseline(jobs->store, &eval, sink->row->owner, &baseline);
    r = store_end(jobs->store, found == -ENOENT ? 0 : found, &sink->failure);
    if (r)
        return r;
    if (!json_is_number(json_object_get(data, "baseline")) &&
        json_object_set_new(data, "baseline", found ? json_null() : json_real(baseline)))
        return failure_oom(&sink->failure);
    return on_news(sink, kind, data);
}

/* What an earlier attempt finished becomes an event unless that attempt has reported it. */
static int find_event(struct sink *sink, const char *kind, const json_t *data, bool *ret_reported) {
    struct jobs *jobs = sink->jobs;
    int r = store_begin(jobs->store, STORE_READ, &sink->failure);

    if (r)
        return r;
    r = store_has_event(jobs->store, sink->row->id, kind, data, ret_reported);
    return store_end(jobs->store, r, &sink->failure);
}

static int on_found_layer(struct sink *sink, const char *kind, json_t *data) {
    bool reported = false;
    int r = find_event(sink, WIRE_EVENT_LAYER_FINISHED, data, &reported);

    (void)kind;
    return r || reported ? r : on_layer(sink, WIRE_EVENT_LAYER_FINISHED, data);
}

static int on_found_eval(struct sink *sink, const char *kind, json_t *data) {
    bool reported = false;
    int r = find_event(sink, WIRE_EVENT_EVAL_FINISHED, data, &reported);

    (void)kind;
    return r || reported ? r : on_eval(sink, WIRE_EVENT_EVAL_FINISHED, data);
}

/* A kind of event, what its data must have, and what it does. */
static const struct kind {
    const char *name;
    int (*take)(struct sink *sink, const char *kind, json_t *data); /* sink->failure says why not */
    struct {
        const char *name;
        json_type type;
    } members[2];
} kinds[] = {
    {WIRE_EVENT_PROGRESS, on_progress, {}},
    {WIRE_EVENT_EVAL_PROGRESS, on_part, {{"set", JSON_STRING}}},
    {WIRE_EVENT_PHASE_STARTED, on_phase, {{"phase", JSON_STRING}}},
    {WIRE_EVENT_PLAN_FINISHED, on_news, {{"chosen", JSON_OBJECT}, {"units", JSON_ARRAY}}},
    {WIRE_EVENT_LAYER_FINISHED, on_layer, {{"layer", JSON_INTEGER}}},
    {WIRE_EVENT_EVAL_FINISHED, on_eval, {{"set", JSON_STRING}, {"sha256", JSON_STRING}}},
    {WIRE_EVENT_JOB_WARNING, on_warning, {{"code", JSON_STRING}}},
    {WIRE_EVENT_JOB_RESUMED, on_news, {{"layer", JSON_INTEGER}}},
    {PIPELINE_LAYER_FOUND, on_found_layer, {{"layer", JSON_INTEGER}}},
    {PIPELINE_EVAL_FOUND, on_found_eval, {{"set", JSON_STRING}, {"sha256", JSON_STRING}}},
    {PIPELINE_FACTS, on_facts, {{"params", JSON_OBJECT}, {"model", JSON_OBJECT}}},
    {LINE_RUN_STARTED, on_life, {}},
    {LINE_RUN_ALIVE, on_life, {}},
};

static const struct kind *find_kind(const char *name) {
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (str_equal(name, kinds[i].name))
            return &kinds[i];
    }
    return NULL;
}

static int check_event(const struct kind *kind, const char *name, const json_t *data,
                       struct failure *failure) {
    if (!kind)
        return failure_set(failure, -EBADMSG, "events_invalid", NULL,
                           "the run reports an event of unknown kind '%s'", name);
    for (size_t i = 0; i < ARRAY_SIZE(kind->members) && kind->members[i].name; i++) {
        const json_t *member = json_object_get(data, kind->members[i].name);

        if (!member || json_typeof(member) != kind->members[i].type)
            return failure_set(failure, -EBADMSG, "events_invalid", NULL,
                               "the run's event '%s' has no good '%s'", name,
                               kind->members[i].name);
    }
    return 0;
}

int sink_event(struct sink *sink, const char *name, json_t *data) {
    const struct kind *kind = find_kind(name);
    int r = check_event(kind, name, data, &sink->failure);

    sink->alive(sink->ctx);
    if (!r)
        r = kind->take(sink, name, data);
    while (r == -EBUSY || r == -EAGAIN) {
        if (!wait_a_while(sink, BUSY_RETRY_SECONDS, true))
            return -ECANCELED; /* when it is reported again, it is found */
        r = kind->take(sink, name, data);
    }
    if (r)
        sink->refused = true;
    return r;
}

bool sink_stops(const struct sink *sink) {
    sink->alive(sink->ctx);
    return *sink->cancel || *sink->stop || sink->full;
}

/* -------- the end -------- */

static int record_stopped(struct sink *sink, struct failure *failure) {
    int64_t id = sink->row->id;

    if (*sink->cancel)
        return jobs_cancelled(sink->jobs, id, failure);
    if (*sink->stop)
        return jobs_interrupt(sink->jobs, id, "shutdown", STOP_ASKED, failure);
    if (sink->full)
        return jobs_pause(sink->jobs, id, &sink->no_room, failure);
    return jobs_interrupt(sink->jobs, id, "stopped", STOP_ASKED, failure);
}

static bool lacks_room(const struct sink *sink, const struct failure *why) {
    return sink->jobs->disk && str_equal(why->code, "disk_full");
}

/* Of the device: others hold it, or have left too little. Or a run before it has not ended yet. */
static bool lacks_device(const struct failure *why) {
    return str_equal(why->code, "device_memory") || str_equal(why->code, "job_folder_busy");
}

/* This device never fits the job, and a larger one may: what it waits for. */
static bool waits_for_larger(const struct sink *sink, const struct failure *why,
                             struct failure *ret_pause) {
    const char *larger = NULL;
    bool usable;

    if (str_equal(why->code, "device_too_small") && sink->larger)
        larger = sink->larger(sink->ctx, &usable);
    if (!larger)
        return false;
    failure_set(ret_pause, -ENOMEM, why->code,
                usable ? "it waits for that device"
                       : "repair that device, /v1/devices says what it lacks; or start quantd "
                         "without it, and the job fails",
                "%s is too small: %s; %s has more memory%s", sink->device, why->detail, larger,
                usable ? "" : ", but cannot be used now");
    return true;
}

/*
 * @why: what became of the run, when it neither succeeded nor was stopped; @waits: the job can run
 * elsewhere, or later.
 */
static int record(struct sink *sink, const struct run_end *end, const struct failure *why,
                  bool waits, struct failure *failure) {
    int64_t id = sink->row->id;

    if (end->how == RUN_SUCCEEDED)
        return jobs_succeed(sink->jobs, id, end->result, failure);
    if (end->how == RUN_STOPPED && !sink->refused)
        return record_stopped(sink, failure);
    if (lacks_room(sink, why))
        return jobs_pause(sink->jobs, id, why, failure);
    if (end->device_failed)
        return jobs_interrupt(sink->jobs, id, "device failed", STOP_CRASH, failure);
    if (waits)
        return jobs_pause(sink->jobs, id, why, failure);
    return jobs_fail(sink->jobs, id, why, failure);
}

/*
 * The end of a job must not be lost because the disk is full for a minute. When the daemon stops
 * meanwhile, the row stays "running", and the next start queues it again.
 */
int sink_end(struct sink *sink, const struct run_end *end) {
    /* The store's own reason is better than what the pipeline made of its errno. */
    const struct failure *why = sink->refused ? &sink->failure : &end->failure;
    int64_t id = sink->row->id;
    struct failure failure, pause;
    bool waits = lacks_device(why);

    if (end->how == RUN_FAILED && waits_for_larger(sink, why, &pause)) {
        why = &pause;
        waits = true;
        holds_add(sink->jobs->holds, id, HOLD_SMALL, sink->device);
    }
    if (end->how == RUN_FAILED && end->device_failed)
        log_record(LOG_ERR, LOG_FIELDS(.job = id, .owner = sink->row->owner, .code = why->code),
                   "job %" PRId64 ": the device failed: %s", id, why->detail);
    if (end->how == RUN_FAILED && lacks_room(sink, why)) {
        disk_refused(sink->jobs->disk);
        holds_add(sink->jobs->holds, id, HOLD_DISK, sink->device);
    } else if (end->how == RUN_FAILED && lacks_device(why)) {
        holds_add(sink->jobs->holds, id, HOLD_MEMORY, sink->device);
    }
    while (record(sink, end, why, waits, &failure)) {
        log_record(LOG_ERR, LOG_FIELDS(.job = id, .code = failure.code),
                   "cannot record the end of job %" PRId64 ", trying again: %s", id,
                   failure.detail);
        if (!wait_a_while(sink, RECORD_RETRY_SECONDS, false)) {
            events_forget(sink->jobs->events, id);
            return -ECANCELED;
        }
    }
    return 0;
}

int sink_line(struct sink *sink, const char *text, size_t size, bool *ret_ended,
              struct run_end *ret_end, struct failure *failure) {
    cleanup(json_decrefp) json_t *line = NULL;
    const char *kind;
    json_t *data;
    int r = line_parse(text, size, &line, failure);

    *ret_ended = false;
    if (r)
        return r;
    kind = json_string_value(json_object_get(line, "kind"));
    data = json_object_get(line, "data");
    if (!str_equal(kind, LINE_RUN_ENDED)) {
        r = sink_event(sink, kind, data);
        if (r)
            *failure = sink->failure;
        return r;
    }
    r = run_end_from_json(data, ret_end, failure);
    *ret_ended = !r;
    return r;
}
