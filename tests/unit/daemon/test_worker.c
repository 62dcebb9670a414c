// SPDX-License-Identifier: Apache-2.0
/* The worker and the runner, with a pipeline and a device of this test's own. */
#include "daemon/executor/worker.h"

#include "base/clock.h"
#include "base/json.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon_fixture.h"
#include "kernels/registry.h"

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
    bool bad_event;        /* of a layer that no table takes */
    struct disk *fill;     /* before the layer is told; NULL: no disk */
    atomic_bool unusable;  /* the device cannot be opened */
    atomic_bool hang_info; /* asking the device how it is does not return */
    atomic_bool hung;      /* somebody asks */
    atomic_int runs, opened, closed, refused;
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

static int tell(const struct pipeline_job *job, const char *kind, json_t *data) {
    int r = job->observer->event(job->observer->ctx, kind, data);

    json_decref(data);
    return r;
}

int pipeline_run(const struct pipeline_job *job, struct backend *backend, json_t **ret_result,
                 struct failure *failure) {
    int r;

    (void)backend;
    script.runs++;
    tell(job, "phase.started", json_pack("{ss}", "phase", "load"));
    tell(job, "facts",
         json_pack("{s{ss} s{ss}}", "model", "name", "x", "params", "model", "resolved"));
    if (script.fill)
        script.fill->floor = UINT64_MAX;
    r = tell(job, "layer.finished", json_pack("{si}", "layer", script.bad_event ? -1 : 0));
    if (r)
        return failure_set(failure, r, "io_error", NULL, "the observer failed");
    tell(job, "progress", json_pack("{sf}", "fraction", 0.5));
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

static int start(struct bench *b, const char *device) {
    struct worker_config config = {.device = device,
                                   .idle_seconds = 0,
                                   .jobs = &b->jobs,
                                   .corpora = &b->corpora,
                                   .device_failed = on_device_failed,
                                   .ctx = b};

    return worker_start(&config, &b->worker, &b->f->failure);
}

static int setup(void **state) {
    struct bench *b = calloc(1, sizeof(*b));

    memset(&script, 0, sizeof(script));
    poisoned = false;
    fixture_setup((void **)&b->f);
    b->events = events_new(b->f->store);
    disk_init(&b->disk, b->f->dir, 0);
    b->jobs = (struct jobs){.store = b->f->store,
                            .events = b->events,
                            .models = &b->models,
                            .state_dir = b->f->dir,
                            .disk = &b->disk};
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

static void test_success(void **state) {
    struct bench *b = *state;
    int64_t first = add_job(b), second;
    cleanup(json_decrefp) json_t *layers = NULL;

    assert_int_equal(start(b, "cpu"), 0);
    cleanup(job_row_freep) struct job_row *row = wait_status(b, first, JOB_SUCCEEDED);
    assert_string_equal(json_string_value(json_object_get(row->params, "model")), "resolved");
    assert_true(json_number_value(json_object_get(row->progress, "fraction")) == 1);
    begin(b->f);
    assert_int_equal(end(b->f, store_list_layers(b->f->store, first, &layers)), 0);
    assert_int_equal(json_array_size(layers), 1);
    /* Idle: the device is given back; a wake brings it to work again. */
    for (int i = 0; i < 10000 && script.closed < script.opened; i++)
        usleep(1000);
    assert_int_equal(script.closed, script.opened);
    second = add_job(b);
    worker_wake(b->worker);
    job_row_free(wait_status(b, second, JOB_SUCCEEDED));
    assert_int_equal(script.runs, 2);
}

static void test_failure(void **state) {
    struct bench *b = *state;
    int64_t id = add_job(b);

    script.r = -EBADMSG;
    assert_int_equal(start(b, "cpu"), 0);
    cleanup(job_row_freep) struct job_row *row = wait_status(b, id, JOB_FAILED);
    assert_string_equal(json_string_value(json_object_get(row->error, "code")), "model_invalid");
    assert_string_equal(json_string_value(json_object_get(row->error, "hint")), "a hint");
    assert_int_equal(b->device_failed, 0);
}

/* An event that the store refuses ends the job, not the daemon. */
static void test_store_refuses_event(void **state) {
    struct bench *b = *state;
    int64_t id = add_job(b);

    script.bad_event = true;
    assert_int_equal(start(b, "cpu"), 0);
    cleanup(job_row_freep) struct job_row *row = wait_status(b, id, JOB_FAILED);
    assert_string_equal(json_string_value(json_object_get(row->error, "code")), "store_error");
}

static void test_cancel(void **state) {
    struct bench *b = *state;
    int64_t id = add_job(b);

    script.wait = true;
    assert_int_equal(start(b, "cpu"), 0);
    job_row_free(wait_status(b, id, JOB_RUNNING));
    worker_cancel(b->worker, id + 1); /* not this one */
    assert_int_equal(jobs_cancel(&b->jobs, &caller_daemon, id, &b->f->failure), 0);
    worker_cancel(b->worker, id);
    job_row_free(wait_status(b, id, JOB_CANCELLED));
}

/* Signs of life: a worker that works or waits gives them, one whose device hangs does not. */
static void test_silence(void **state) {
    struct bench *b = *state;
    int64_t id = add_job(b);

    script.hang = true;
    assert_int_equal(start(b, "cpu"), 0);
    job_row_free(wait_status(b, id, JOB_RUNNING));
    for (int i = 0; i < 10000 && worker_silence(b->worker) < 0.3; i++)
        usleep(1000);
    assert_true(worker_silence(b->worker) >= 0.3);
    script.hang = false;
    job_row_free(wait_status(b, id, JOB_SUCCEEDED));

    script.wait = true;
    id = add_job(b);
    worker_wake(b->worker);
    job_row_free(wait_status(b, id, JOB_RUNNING));
    usleep(400000);
    for (int i = 0; i < 10000 && worker_silence(b->worker) > 0.2; i++)
        usleep(1000); /* a loaded machine may keep it from asking for a while */
    assert_true(worker_silence(b->worker) < 0.3);
    worker_cancel(b->worker, id);
    job_row_free(wait_status(b, id, JOB_CANCELLED));
    for (int i = 0; i < 10000 && worker_silence(b->worker) > 0; i++)
        usleep(1000);
    assert_true(worker_silence(b->worker) == 0);
}

static void test_stop_requeues(void **state) {
    struct bench *b = *state;
    int64_t id = add_job(b);

    script.wait = true;
    assert_int_equal(start(b, "cpu"), 0);
    job_row_free(wait_status(b, id, JOB_RUNNING));
    stop(b);
    cleanup(job_row_freep) struct job_row *row = get(b->f, id);
    assert_int_equal(row->status, JOB_QUEUED);
    assert_int_equal(row->attempt, 1);
}

/* The job goes back, an attempt poorer, and the daemon is told; no other job is started. */
static void test_poisoned_device(void **state) {
    struct bench *b = *state;
    int64_t id = add_job(b), other = add_job(b);

    script.poison = true;
    script.r = -EIO;
    assert_int_equal(start(b, "cpu"), 0);
    for (int i = 0; i < 10000 && !b->device_failed; i++)
        usleep(1000);
    assert_int_equal(b->device_failed, 1);
    stop(b);
    cleanup(job_row_freep) struct job_row *row = get(b->f, id), *next = get(b->f, other);
    assert_int_equal(row->status, JOB_QUEUED);
    assert_int_equal(row->attempt, 2);
    assert_int_equal(next->status, JOB_QUEUED);
    assert_int_equal(script.runs, 1);
}

static void test_missing_device(void **state) {
    struct bench *b = *state;

    assert_int_equal(start(b, "cuda:0"), -ENODEV);
    assert_null(b->worker);
}

/* A device that cannot be opened for a while fails no job: none is claimed meanwhile. */
static void test_unusable_device(void **state) {
    struct bench *b = *state;
    int64_t ids[5];

    assert_int_equal(start(b, "cpu"), 0);
    script.unusable = true;
    for (int i = 0; i < 5; i++) {
        ids[i] = add_job(b);
        worker_wake(b->worker);
    }
    for (int i = 0; i < 10000 && script.refused < 3; i++) { /* at once, after 1 s, after 2 s more */
        worker_wake(b->worker);                             /* which does not make it try again */
        usleep(1000);
    }
    assert_int_equal(script.refused, 3);
    assert_false(worker_is_usable(b->worker));
    cleanup(json_decrefp) json_t *device = worker_describe(b->worker);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(device, "error"), "detail")),
        "the device is taken");
    for (int i = 0; i < 5; i++) {
        cleanup(job_row_freep) struct job_row *row = get(b->f, ids[i]);

        assert_int_equal(row->status, JOB_QUEUED);
        assert_int_equal(row->started_at, 0);
    }
    script.unusable = false;
    for (int i = 0; i < 5; i++) {
        cleanup(job_row_freep) struct job_row *row = wait_status(b, ids[i], JOB_SUCCEEDED);

        assert_int_equal(row->attempt, 1);
    }
    assert_true(worker_is_usable(b->worker));
    assert_int_equal(script.runs, 5);
}

static double seconds_of(void (*call)(struct worker *worker), struct worker *worker) {
    double before = clock_monotonic();

    call(worker);
    return clock_monotonic() - before;
}

static void describe(struct worker *worker) {
    cleanup(json_decrefp) json_t *device = worker_describe(worker);

    assert_string_equal(json_string_value(json_object_get(device, "name")), "fake");
}

/* A driver that does not answer: others wait for it neither when they ask nor when they wake. */
static void test_hanging_device(void **state) {
    struct bench *b = *state;
    int64_t id = add_job(b);

    script.wait = true;
    assert_int_equal(start(b, "cpu"), 0);
    job_row_free(wait_status(b, id, JOB_RUNNING));
    script.hang_info = true;
    for (int i = 0; i < 10000 && !script.hung; i++)
        usleep(1000);
    assert_true(script.hung); /* while the job runs, by the worker itself */
    assert_true(seconds_of(describe, b->worker) < 0.3);
    assert_true(seconds_of(worker_wake, b->worker) < 0.3);
    assert_true(worker_is_usable(b->worker));
    for (int i = 0; i < 10000 && worker_silence(b->worker) < 0.3; i++)
        usleep(1000);
    assert_true(worker_silence(b->worker) >= 0.3); /* which the watchdog sees */
    script.hang_info = false;
    worker_cancel(b->worker, id);
    job_row_free(wait_status(b, id, JOB_CANCELLED));
}

/* Waits until the job is paused, or no longer. */
static struct job_row *wait_paused(struct bench *b, int64_t id, bool paused) {
    for (int i = 0; i < 10000; i++) {
        struct job_row *row = get(b->f, id);

        if (row->status == JOB_QUEUED && (row->paused != NULL) == paused)
            return row;
        job_row_free(row);
        usleep(1000);
    }
    fail_msg("job %d was never %s", (int)id, paused ? "paused" : "without a pause");
    return NULL;
}

/* A write found no room: the job waits, loses no attempt, and goes on. */
static void test_full_disk(void **state) {
    static const int errors[] = {-ENOSPC, -EDQUOT};
    struct bench *b = *state;

    for (int i = 0; i < 2; i++) {
        int64_t id = add_job(b);

        script.r = errors[i];
        script.code = "disk_full";
        assert_int_equal(start(b, "cpu"), 0);
        cleanup(job_row_freep) struct job_row *row = wait_paused(b, id, true);
        assert_int_equal(row->attempt, 1);
        assert_string_equal(json_string_value(json_object_get(row->paused, "code")), "disk_full");
        assert_int_equal(script.runs, 2 * i + 1); /* it is not tried again and again */
        script.r = 0;
        b->disk.held_until = 0;
        worker_wake(b->worker);
        cleanup(job_row_freep) struct job_row *done = wait_status(b, id, JOB_SUCCEEDED);
        assert_null(done->paused);
        assert_int_equal(done->attempt, 1);
        stop(b);
    }
}

/* Below the floor the job stops after the layer at hand, and gives the device back. */
static void test_disk_floor(void **state) {
    struct bench *b = *state;
    int64_t id = add_job(b), other = add_job(b);

    script.wait = true;
    script.fill = &b->disk;
    assert_int_equal(start(b, "cpu"), 0);
    job_row_free(wait_paused(b, id, true));
    for (int i = 0; i < 10000 && script.closed < script.opened; i++)
        usleep(1000);
    assert_int_equal(script.closed, script.opened);
    assert_int_equal(script.runs, 1);
    job_row_free(wait_paused(b, other, false));
    /* A job that is paused can be cancelled, and the daemon be stopped. */
    assert_int_equal(jobs_cancel(&b->jobs, &caller_daemon, id, &b->f->failure), 0);
    script.wait = false;
    script.fill = NULL;
    b->disk.floor = 0;
    worker_wake(b->worker);
    job_row_free(wait_status(b, other, JOB_SUCCEEDED));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_success),        TEST(test_failure),         TEST(test_store_refuses_event),
        TEST(test_cancel),         TEST(test_stop_requeues),   TEST(test_poisoned_device),
        TEST(test_missing_device), TEST(test_full_disk),       TEST(test_disk_floor),
        TEST(test_silence),        TEST(test_unusable_device), TEST(test_hanging_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
