// SPDX-License-Identifier: Apache-2.0
/* A worker with a pipeline and a device of the test's own. Included once by a test. */
#pragma once

#include "daemon/executor/worker.h"

#include "base/clock.h"
#include "base/json.h"
#include "daemon/pipeline/pipeline.h"
#include "kernels/registry.h"
#include "tests/unit/daemon/daemon_fixture.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

/* What the pipeline of the test does next, and what it and the device saw. */
static struct script {
    int r;            /* what pipeline_run() returns */
    const char *code; /* of its failure; NULL: model_invalid */
    bool wait;        /* until cancelled */
    bool poison;
    atomic_bool hang;      /* without a sign of life */
    bool no_layer;         /* it finishes none */
    bool bad_event;        /* of a layer that no table takes */
    struct disk *fill;     /* before the layer is reported; NULL: no disk */
    atomic_bool unusable;  /* the device cannot be opened */
    atomic_bool hang_info; /* asking the device how it is does not return */
    atomic_bool hung;      /* it has come to that */
    bool has_larger;       /* another device has more memory, ... */
    bool larger_fails;     /* ... and cannot be used */
    atomic_int runs, opened, closed, refused;
    atomic_int left;       /* runs that are over, ... */
    atomic_int for_others; /* ... and those after which another device can have a job */
} script;

static bool poisoned;

static void fake_info(struct backend *b, struct backend_info *ret_info) {
    (void)b;
    while (script.hang_info) {
        script.hung = true;
        usleep(1000);
    }
    *ret_info = (struct backend_info){.name = "fake", .poisoned = poisoned};
}

static void fake_close(struct backend *b) {
    (void)b;
    script.closed++;
}

static const struct backend_ops fake_ops = {.name = "fake", .info = fake_info, .close = fake_close};

int backend_open(const char *device, struct backend **ret_backend, struct failure *failure) {
    static struct backend fake = {&fake_ops};

    if (strcmp(device, "cpu"))
        return failure_set(failure, -ENODEV, "no_device", NULL, "no device '%s'", device);
    if (script.unusable) {
        script.refused++;
        return failure_set(failure, -EIO, "device_failed", "see nvidia-smi", "the device is taken");
    }
    script.opened++;
    *ret_backend = &fake;
    return 0;
}

static int emit(const struct pipeline_job *job, const char *kind, json_t *data) {
    int r = job->observer->event(job->observer->ctx, kind, data);

    json_decref(data);
    return r;
}

int pipeline_run(const struct pipeline_job *job, struct backend *backend, json_t **ret_result,
                 struct failure *failure) {
    int r;

    (void)backend;
    script.runs++;
    emit(job, "phase.started", json_pack("{ss}", "phase", "load"));
    emit(job, "facts",
         json_pack("{s{ss} s{ss}}", "model", "name", "x", "params", "model", "resolved"));
    if (script.fill)
        script.fill->floor = UINT64_MAX;
    r = script.no_layer
            ? 0
            : emit(job, "layer.finished", json_pack("{si}", "layer", script.bad_event ? -1 : 0));
    if (r)
        return failure_set(failure, r, "io_error", NULL, "the observer failed");
    emit(job, "progress", json_pack("{sf}", "fraction", 0.5));
    while (script.hang)
        usleep(1000);
    while (script.wait) {
        if (job->observer->cancelled(job->observer->ctx))
            return failure_set(failure, -ECANCELED, "cancelled", NULL, "cancelled");
        usleep(1000);
    }
    poisoned = script.poison;
    if (script.r)
        return failure_set(failure, script.r, script.code ? script.code : "model_invalid", "a hint",
                           "the model is bad");
    *ret_result = json_pack("{s{} s[]}", "perplexity", "artifacts");
    return 0;
}

struct bench {
    struct fixture *f;
    struct disk disk;
    struct events *events;
    struct holds *holds;
    struct models models;
    struct jobs jobs;
    struct corpora corpora;
    struct worker *worker;
    atomic_int device_failed;
};

static void on_device_failed(void *ctx) {
    struct bench *b = ctx;

    b->device_failed++;
}

static const char *larger(void *ctx, size_t memory, bool *ret_usable) {
    (void)ctx;
    (void)memory;
    *ret_usable = !script.larger_fails;
    return script.has_larger ? "cuda:1" : NULL;
}

static void on_left(void *ctx) {
    struct bench *b = ctx;
    struct failure failure;

    script.for_others += jobs_look(&b->jobs, "cuda:1", &failure) == 0;
    script.left++;
}

static int start(struct bench *b, const char *device) {
    struct worker_config config = {.device = device,
                                   .idle_seconds = 0,
                                   .jobs = &b->jobs,
                                   .corpora = &b->corpora,
                                   .device_failed = on_device_failed,
                                   .larger = larger,
                                   .left = on_left,
                                   .ctx = b};

    return worker_start(&config, &b->worker, &b->f->failure);
}

static int setup(void **state) {
    struct bench *b = calloc(1, sizeof(*b));

    memset(&script, 0, sizeof(script));
    poisoned = false;
    fixture_setup((void **)&b->f);
    b->events = events_new(b->f->store);
    b->holds = holds_new();
    disk_init(&b->disk, b->f->dir, 0);
    b->jobs = (struct jobs){.store = b->f->store,
                            .events = b->events,
                            .models = &b->models,
                            .jobs_dir = b->f->jobs_dir,
                            .disk = &b->disk,
                            .holds = b->holds};
    *state = b;
    return 0;
}

static void stop(struct bench *b) {
    if (!b->worker)
        return;
    worker_stop(b->worker);
    assert_int_equal(worker_join(b->worker, 10), 0);
    worker_free(b->worker);
    b->worker = NULL;
}

static int teardown(void **state) {
    struct bench *b = *state;

    stop(b);
    disk_done(&b->disk);
    events_free(b->events);
    holds_free(b->holds);
    fixture_teardown((void **)&b->f);
    free(b);
    return 0;
}

/* A job whose parameters parse; the fixture's have none. */
static int64_t add_job(struct bench *b) {
    cleanup(json_decrefp) json_t *empty = json_object();
    cleanup(json_decrefp) json_t *params =
        json_pack("{ss si sb}", "model", "m", "wbits", 4, "nearest", 1);
    struct new_job job = {.kind = "quantize",
                          .owner = "user",
                          .name = "",
                          .model_dir = "/nowhere",
                          .labels = empty,
                          .request = params,
                          .params = params,
                          .created_at = 1};
    int64_t id = 0;

    begin(b->f);
    assert_int_equal(end(b->f, store_insert_job(b->f->store, &job, &id)), 0);
    return id;
}

/* Waits for a status; the row is the caller's. */
static struct job_row *wait_status(struct bench *b, int64_t id, enum job_status status) {
    for (int i = 0; i < 10000; i++) {
        struct job_row *row = get(b->f, id);

        if (row->status == status)
            return row;
        job_row_free(row);
        usleep(1000);
    }
    fail_msg("job %d never became %s", (int)id, job_status_name(status));
    return NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
