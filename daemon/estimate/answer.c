// SPDX-License-Identifier: Apache-2.0
#include "daemon/estimate/answer.h"

#include "base/str.h"
#include "daemon/access/access.h"
#include "daemon/estimate/history.h"
#include "daemon/queue/place.h"
#include "daemon/queue/submission.h"
#include "kernels/registry.h"

#include <errno.h>
#include <stdio.h>
#include <sys/statvfs.h>

#define RUNS 200 /* of the history that are looked at */

/* The answer in the making. */
struct answer {
    struct jobs *jobs;
    const struct caller *caller;
    struct counts *counts;
    const json_t *devices;
    const json_t *device; /* the one that the job is estimated for, of devices; NULL: none */
    const struct submission *submission;
    const struct place *place;
    struct estimate estimate;
    bool known;      /* the estimate was made */
    json_t *reasons; /* {field: why it is null}; owned */
};

static void answer_done(struct answer *answer) {
    json_decref(answer->reasons);
}

static json_t *size_or_null(size_t size) {
    return size && size < SIZE_MAX / 2 ? json_integer((json_int_t)size) : json_null();
}

/* Says why @field is null; the first reason stays. */
static int explain(struct answer *answer, const char *field, const char *why) {
    if (json_object_get(answer->reasons, field))
        return 0;
    return json_object_set_new(answer->reasons, field, json_string(why)) ? -ENOMEM : 0;
}

/* ---- the device ---- */

static size_t memory_of(const json_t *device) {
    return (size_t)json_integer_value(json_object_get(device, "memory_total"));
}

/* Of a cluster it is known what its jobs took, not what its nodes have. */
static bool is_cluster(const json_t *device) {
    return json_object_get(device, "jobs") != NULL;
}

/* The first device of this machine, or cluster, that can be used, else the first of all. */
static const json_t *first_of(const json_t *devices, bool cluster) {
    const json_t *found = NULL, *device;
    size_t i;

    json_array_foreach(devices, i, device) {
        if (is_cluster(device) != cluster)
            continue;
        if (json_is_null(json_object_get(device, "error")))
            return device;
        found = found ? found : device;
    }
    return found;
}

/* Devices here come first, as for the job itself, unless it asks for the cluster. */
static void choose_device(struct answer *answer) {
    const char *where = answer->submission->where;
    bool asked = where && str_equal(where, answer->jobs->cluster);

    answer->device = asked ? NULL : first_of(answer->devices, false);
    if (!answer->device)
        answer->device = first_of(answer->devices, true);
}

/* The ids of the devices that are like it; NULL: out of memory. */
static json_t *alike(const struct answer *answer) {
    const json_t *name = json_object_get(answer->device, "name"), *device;
    cleanup(json_decrefp) json_t *ids = json_array();
    size_t i;

    json_array_foreach(answer->devices, i, device) {
        if (json_equal(json_object_get(device, "name"), name) &&
            json_array_append(ids, json_object_get(device, "id")))
            return NULL;
    }
    return steal_ptr(ids);
}

/* ---- the parts of the answer ---- */

static int make_estimate(struct answer *answer, struct failure *failure) {
    const struct submission *submission = answer->submission;
    const char *kind = json_string_value(json_object_get(answer->device, "kind"));
    struct estimate_request request = {
        .kind = submission->kind,
        .params = submission->params,
        .root = answer->place->root ? answer->place->root : answer->place->dir,
        .dir = answer->place->dir,
        .corpora = answer->jobs->corpora,
        .counts = answer->counts,
        .memory_total = memory_of(answer->device),
    };
    int r;

    if (kind && backend_table(kind, &request.ops, NULL))
        request.ops = NULL;
    r = estimate_make(&request, &answer->estimate, failure);
    answer->known = r == 0;
    return r;
}

static json_t *windows_json(const struct answer *answer) {
    cleanup(json_decrefp) json_t *windows = json_object();

    for (int i = 0; i < answer->estimate.n_evals; i++) {
        int n = answer->estimate.windows[i];

        if (json_object_set_new(windows, answer->submission->params->eval[i],
                                n >= 0 ? json_integer(n) : json_null()))
            return NULL;
    }
    return steal_ptr(windows);
}

static uint64_t disk_free(const struct answer *answer) {
    struct statvfs st;

    return statvfs(answer->jobs->jobs_dir, &st) ? 0 : (uint64_t)st.f_bavail * st.f_frsize;
}

/* Why memory and size are not known, where they are not. */
static int explain_sizes(struct answer *answer) {
    const struct estimate *e = &answer->estimate;
    int r = 0;

    if (!answer->known)
        return explain(answer, "memory", "the model is not on this machine yet") ||
                       explain(answer, "size_bytes", "the model is not on this machine yet")
                   ? -ENOMEM
                   : 0;
    if (answer->submission->kind == JOB_EXPORT)
        r = explain(answer, "memory", "an export takes a matrix at a time");
    else if (!e->device)
        r = explain(answer, "memory",
                    answer->device && is_cluster(answer->device)
                        ? "what the nodes of the cluster have is not known here"
                        : "no device of this machine can be planned for");
    else if (!e->fits)
        r = explain(answer, "fits",
                    "the device is too small: lower batch, nsamples or seqlen, or take a device "
                    "with more memory");
    return r;
}

/* *ret_forecast stays zero when it is not known, and why is explained. */
static int forecast(struct answer *answer, struct forecast *ret_forecast, struct failure *failure) {
    cleanup(json_decrefp) json_t *runs = NULL, *devices = alike(answer);
    const char *reason = NULL;
    int r;

    if (!devices)
        return failure_oom(failure);
    if (!answer->known)
        reason = "the model is not on this machine yet";
    else if (answer->submission->kind == JOB_EXPORT)
        reason = "an export takes about as long as writing the checkpoint";
    else if (answer->submission->params->target_bits > 0)
        reason = "how long a plan takes is not known before it is made";
    else if (!answer->estimate.all_windows)
        reason = "not all evaluation texts are on this machine yet";
    if (!reason) {
        r = store_begin(answer->jobs->store, STORE_READ, failure);
        if (r)
            return r;
        r = store_list_runs(answer->jobs->store, access_viewer(answer->caller), RUNS, &runs);
        r = store_end(answer->jobs->store, r, failure);
        if (r)
            return r;
        history_forecast(runs, devices, &answer->estimate.shape, ret_forecast, &reason);
    }
    return reason && explain(answer, "seconds", reason) ? failure_oom(failure) : 0;
}

static json_t *device_json(const struct answer *answer) {
    const json_t *device = answer->device;

    if (!device)
        return json_null();
    return json_pack("{sO sO sO sO}", "id", json_object_get(device, "id"), "name",
                     json_object_get(device, "name"), "memory_total",
                     json_object_get(device, "memory_total"), "memory_free",
                     json_object_get(device, "memory_free"));
}

static json_t *answer_json(const struct answer *answer, const struct forecast *times) {
    const struct estimate *e = &answer->estimate;
    bool memory = answer->known && e->device;

    return json_pack(
        "{ss ss so so so so s{so so} so so so so s{so sI} so si sb sO}", "object", "estimate",
        "kind", job_kind_name(answer->submission->kind), "device", device_json(answer),
        "parameters", answer->known ? json_integer((json_int_t)e->shape.parameters) : json_null(),
        "seqlen", answer->known ? json_integer(e->shape.seqlen) : json_null(), "batch",
        memory ? json_integer(e->batch) : json_null(), "memory", "device", size_or_null(e->device),
        "host", size_or_null(e->host), "fits", memory ? json_boolean(e->fits) : json_null(),
        "windows", windows_json(answer), "size_bytes", size_or_null(e->size), "bits_per_weight",
        e->bits_per_weight > 0 ? json_real(e->bits_per_weight) : json_null(), "disk", "needed",
        answer->known ? json_integer((json_int_t)e->disk) : json_null(), "free",
        (json_int_t)disk_free(answer), "seconds",
        times->jobs ? json_real(times->seconds) : json_null(), "history_jobs", times->jobs,
        "same_model", times->jobs && times->same_model, "reasons", answer->reasons);
}

static int complete(struct answer *answer, json_t **ret_estimate, struct failure *failure) {
    struct forecast times = {};
    int r = 0;

    answer->reasons = json_object();
    choose_device(answer);
    if (answer->place->dir[0])
        r = make_estimate(answer, failure);
    if (!r)
        r = forecast(answer, &times, failure);
    if (r)
        return r;
    if (explain_sizes(answer))
        return failure_oom(failure);
    *ret_estimate = answer_json(answer, &times);
    return *ret_estimate ? 0 : failure_oom(failure);
}

int estimate_answer(struct jobs *jobs, struct counts *counts, const json_t *devices,
                    const struct caller *caller, const json_t *request, json_t **ret_estimate,
                    struct failure *failure) {
    cleanup(submission_freep) struct submission *submission = NULL;
    cleanup(place_done) struct place place = {};
    cleanup(answer_done) struct answer answer = {
        .jobs = jobs, .caller = caller, .counts = counts, .devices = devices, .place = &place};
    int r = submission_parse(request, &submission, failure);

    if (!r)
        r = quota_check_priority(&jobs->quota, caller, submission->priority, failure);
    if (r)
        return r;
    answer.submission = submission;
    r = jobs_check(jobs, caller, submission, &place, failure);
    return r ? r : complete(&answer, ret_estimate, failure);
}
