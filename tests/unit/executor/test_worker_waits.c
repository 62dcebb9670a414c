// SPDX-License-Identifier: Apache-2.0
/* What a worker waits for: a device that cannot be opened, its memory, room on the disk. */
#include "worker_fixture.h"

#include <pthread.h>

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

/* One that is taken when the daemon starts is no reason not to. */
static void test_unusable_at_start(void **state) {
    struct bench *b = *state;
    int64_t id = add_job(b);

    script.unusable = true;
    assert_int_equal(start(b, "cpu"), 0);
    assert_false(worker_is_usable(b->worker));
    cleanup(json_decrefp) json_t *device = worker_describe(b->worker);
    assert_string_equal(json_string_value(json_object_get(device, "kind")), "cpu");
    script.unusable = false;
    job_row_free(wait_status(b, id, JOB_SUCCEEDED));
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

/* Others hold the device's memory: the job waits and is tried again; others pass it by. */
static void test_lack_of_memory(void **state) {
    struct bench *b = *state;
    int64_t first = add_job(b), second;

    script.r = -ENOMEM;
    script.code = "device_memory";
    script.no_layer = true; /* a new layer would make it wait shorter again */
    assert_int_equal(start(b, "cpu"), 0);
    for (int i = 0; i < 10000 && script.runs < 3; i++) { /* at once, after 1 s, after 2 s more */
        worker_wake(b->worker);                          /* which does not make it try again */
        usleep(1000);
    }
    assert_int_equal(script.runs, 3);
    cleanup(job_row_freep) struct job_row *row = wait_paused(b, first, true);
    assert_string_equal(json_string_value(json_object_get(row->paused, "code")), "device_memory");
    assert_int_equal(row->attempt, 1);
    script.r = 0;
    second = add_job(b);
    worker_wake(b->worker);
    cleanup(job_row_freep) struct job_row *passed = wait_status(b, second, JOB_SUCCEEDED);
    job_row_free(wait_paused(b, first, true)); /* and it still says why it waits */
    cleanup(job_row_freep) struct job_row *done = wait_status(b, first, JOB_SUCCEEDED);
    assert_int_equal(done->attempt, 1);
    assert_true(done->finished_at - passed->finished_at >= 1000); /* of 4 s; no one woke it */
}

/* A job that the device can never hold. */
static void test_too_small_device(void **state) {
    struct bench *b = *state;
    int64_t id = add_job(b);

    script.r = -ENOMEM;
    script.code = "device_too_small";
    assert_int_equal(start(b, "cpu"), 0);
    job_row_free(wait_status(b, id, JOB_FAILED));
}

static void expect_pause(const struct job_row *row, const char *key, const char *words) {
    const char *text = json_string_value(json_object_get(row->paused, key));

    if (!text || !strstr(text, words))
        fail_msg("%s '%s' lacks '%s'", key, text, words);
}

/* The only device that is large enough is broken: the job says what it waits for. */
static void test_larger_device_fails(void **state) {
    struct bench *b = *state;
    int64_t id = add_job(b);

    script.r = -ENOMEM;
    script.code = "device_too_small";
    script.has_larger = script.larger_fails = true;
    assert_int_equal(start(b, "cpu"), 0);
    cleanup(job_row_freep) struct job_row *paused = wait_paused(b, id, true);
    expect_pause(paused, "detail", "cuda:1 has more memory, but cannot be used now");
    expect_pause(paused, "hint", "repair that device");
}

/* The same beside a larger device: the job waits for that one, and this one runs others. */
static void test_larger_device(void **state) {
    struct bench *b = *state;
    int64_t id = add_job(b), other;
    struct job_row *row = NULL;
    struct failure failure;

    script.r = -ENOMEM;
    script.code = "device_too_small";
    script.has_larger = true;
    assert_int_equal(start(b, "cpu"), 0);
    cleanup(job_row_freep) struct job_row *paused = wait_paused(b, id, true);
    assert_string_equal(json_string_value(json_object_get(paused->paused, "code")),
                        "device_too_small");
    expect_pause(paused, "detail", "cpu is too small: ");
    expect_pause(paused, "detail", "; cuda:1 has more memory");
    expect_pause(paused, "hint", "it waits for that device");
    while (script.left == 0)
        usleep(1000);
    assert_int_equal(script.for_others, 1); /* those that are told of it find the job */
    script.r = 0;
    other = add_job(b);
    worker_wake(b->worker);
    job_row_free(wait_status(b, other, JOB_SUCCEEDED));
    assert_int_equal(script.runs, 2);
    assert_int_equal(jobs_look(&b->jobs, "cpu", &failure), -ENOENT);
    assert_int_equal(jobs_claim(&b->jobs, "cuda:1", &row, &failure), 0);
    assert_int_equal(row->id, id);
    assert_int_equal(row->attempt, 1);
    job_row_free(row);
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
        pthread_mutex_lock(&b->disk.mutex);
        b->disk.held_until = 0;
        pthread_mutex_unlock(&b->disk.mutex);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_unusable_device),  TEST(test_unusable_at_start), TEST(test_lack_of_memory),
        TEST(test_too_small_device), TEST(test_larger_device),     TEST(test_larger_device_fails),
        TEST(test_full_disk),        TEST(test_disk_floor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
