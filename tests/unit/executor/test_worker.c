// SPDX-License-Identifier: Apache-2.0
/* The worker and the runner: jobs end, are cancelled and stopped; devices break and hang. */
#include "worker_fixture.h"

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

/* The job goes back, with an attempt less, and the daemon is notified; no other job is started. */
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

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_success),         TEST(test_failure),        TEST(test_store_refuses_event),
        TEST(test_cancel),          TEST(test_silence),        TEST(test_stop_requeues),
        TEST(test_poisoned_device), TEST(test_missing_device), TEST(test_hanging_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
