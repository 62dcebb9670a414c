// SPDX-License-Identifier: Apache-2.0
/* Jobs that have ended: done again, deleted, counted. On a real store, without a device. */
#include "jobs_fixture.h"

/* A job of @text that has succeeded, with files. */
static int64_t succeed(struct queue *q, const char *text) {
    cleanup(json_decrefp) json_t *result = make_result(10), *job = NULL;
    struct failure failure;
    bool created;
    int64_t id;

    assert_int_equal(submit_text(q, text, NULL, &job, &created, &failure), 0);
    id = json_integer_value(json_object_get(job, "id"));
    assert_int_equal(claim_next(q), id);
    assert_int_equal(jobs_succeed(&q->jobs, id, result, &failure), 0);
    return id;
}

static char *job_dir(struct queue *q, int64_t id) {
    char *dir = str_format("%s/jobs/%d/artifact", q->f->dir, (int)id);

    assert_int_equal(dir_make(dir), 0);
    *strrchr(dir, '/') = '\0';
    return dir;
}

static const struct caller other = {.owner = "other", .role = ROLE_ADMIN};

static void test_retry(void **state) {
    static const char *const same[] = {"kind", "name", "labels", "priority", "params"};
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *old = NULL, *job = NULL, *again = NULL;
    int64_t id = submit(q, NULL), done;
    struct failure failure;

    assert_int_equal(jobs_retry(&q->jobs, &other, NULL, 99, &job, &failure), -ENOENT);
    assert_int_equal(jobs_retry(&q->jobs, &other, NULL, id, &job, &failure), -EBUSY);
    assert_string_equal(failure.code, "job_not_retryable");
    assert_true(failure.hint[0]);
    assert_int_equal(claim_next(q), id);
    assert_int_equal(jobs_retry(&q->jobs, &other, NULL, id, &job, &failure), -EBUSY);
    failure_set(&failure, -EIO, "why", NULL, "because");
    assert_int_equal(jobs_fail(&q->jobs, id, &failure, &failure), 0);

    assert_int_equal(jobs_retry(&q->jobs, &other, "key", id, &job, &failure), 0);
    old = object(q, id);
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        assert_true(json_equal(json_object_get(job, same[i]), json_object_get(old, same[i])));
    assert_string_equal(json_string_value(json_object_get(job, "owner")), "other");
    assert_string_equal(json_string_value(json_object_get(job, "status")), "queued");
    expect_status(q, id, "failed", 1);
    assert_int_equal(jobs_retry(&q->jobs, &other, "key", id, &again, &failure), 0);
    assert_true(json_equal(job, again));

    id = json_integer_value(json_object_get(job, "id"));
    assert_int_equal(jobs_cancel(&q->jobs, &caller_daemon, id, &failure), 0);
    json_decref(steal_ptr(again));
    assert_int_equal(jobs_retry(&q->jobs, &other, NULL, id, &again, &failure), 0);
    assert_int_equal(claim_next(q), id + 1);
    assert_int_equal(jobs_cancelled(&q->jobs, id + 1, &failure), 0);
    done = succeed(q, request_text);
    json_decref(steal_ptr(again));
    assert_int_equal(jobs_retry(&q->jobs, &other, NULL, done, &again, &failure), -EBUSY);
}

static uint64_t count_of(const struct histogram *histogram) {
    struct histogram_copy copy = histogram_read(histogram);
    uint64_t n = 0;

    for (int i = 0; i <= HISTOGRAM_BUCKETS_MAX; i++)
        n += copy.counts[i];
    return n;
}

static void test_stats(void **state) {
    struct queue *q = *state;
    int64_t n[N_JOB_STATUS], id;
    struct failure failure;

    succeed(q, request_text);
    id = submit(q, NULL);
    assert_int_equal(claim_next(q), id);
    assert_int_equal(count_of(&q->jobs.stats.wait), 2);
    assert_int_equal(count_of(&q->jobs.stats.run), 1);
    assert_int_equal(jobs_interrupt(&q->jobs, id, "shutdown", STOP_ASKED, &failure), 0);
    assert_int_equal(count_of(&q->jobs.stats.run), 1);
    /* Ends without a run count nowhere. */
    assert_int_equal(jobs_cancel(&q->jobs, &caller_daemon, submit(q, NULL), &failure), 0);
    assert_int_equal(count_of(&q->jobs.stats.run), 1);
    begin(q->f);
    assert_int_equal(end(q->f, store_count_by_status(q->f->store, n)), 0);
    assert_int_equal(n[JOB_QUEUED], 1);
    assert_int_equal(n[JOB_RUNNING], 0);
    assert_int_equal(n[JOB_SUCCEEDED], 1);
    assert_int_equal(n[JOB_CANCELLED], 1);
}

static size_t n_events(struct queue *q, uint64_t after) {
    cleanup(json_decrefp) json_t *events = NULL;

    begin(q->f);
    assert_int_equal(end(q->f, store_list_events(q->f->store, 0, NULL, after, 1000, &events)), 0);
    return json_array_size(events);
}

static void test_delete(void **state) {
    struct queue *q = *state;
    int64_t id = submit(q, "key");
    cleanup(freep) char *dir = job_dir(q, id);
    cleanup(json_decrefp) json_t *result = make_result(10);
    struct failure failure;
    uint64_t seq, version;
    json_t *job = NULL;

    assert_int_equal(jobs_delete(&q->jobs, &caller_daemon, 99, &failure), -ENOENT);
    assert_int_equal(jobs_delete(&q->jobs, &caller_daemon, id, &failure), -EBUSY);
    assert_string_equal(failure.code, "job_not_ended");
    assert_int_equal(claim_next(q), id);
    assert_int_equal(jobs_delete(&q->jobs, &caller_daemon, id, &failure), -EBUSY);
    assert_int_equal(access(dir, F_OK), 0);
    assert_int_equal(jobs_succeed(&q->jobs, id, result, &failure), 0);
    seq = store_last_seq(q->f->store);
    version = store_version(q->f->store);

    assert_int_equal(jobs_delete(&q->jobs, &caller_daemon, id, &failure), 0);
    assert_int_not_equal(access(dir, F_OK), 0);
    assert_true(store_version(q->f->store) > version);
    assert_int_equal(jobs_object(&q->jobs, &caller_daemon, id, 0, &job, &version, &failure),
                     -ENOENT);
    assert_int_equal(jobs_delete(&q->jobs, &caller_daemon, id, &failure), -ENOENT);
    assert_int_equal(n_events(q, 0), 0);
    /* Cursors that were handed out stay behind all that comes, also after a restart. */
    restart(q);
    assert_int_equal(store_last_seq(q->f->store), seq);
    assert_int_equal(submit(q, "key"), id + 1);
    assert_int_equal(n_events(q, seq), 1);
}

static void test_delete_of_a_used_checkpoint(void **state) {
    struct queue *q = *state;
    int64_t id = succeed(q, request_text), reader;
    cleanup(freep) char *dir = job_dir(q, id);
    cleanup(json_decrefp) json_t *job = NULL;
    struct failure failure;
    bool created;

    assert_int_equal(submit_text(q, "{\"kind\": \"eval\", \"model\": \"job:1\"}", NULL, &job,
                                 &created, &failure),
                     0);
    reader = json_integer_value(json_object_get(job, "id"));
    assert_int_equal(jobs_delete(&q->jobs, &caller_daemon, id, &failure), -EBUSY);
    assert_string_equal(failure.code, "job_in_use");
    assert_int_equal(access(dir, F_OK), 0);
    assert_int_equal(jobs_cancel(&q->jobs, &caller_daemon, reader, &failure), 0);
    assert_int_equal(jobs_delete(&q->jobs, &caller_daemon, id, &failure), 0);
    assert_int_equal(jobs_retry(&q->jobs, &user, NULL, reader, &job, &failure), -EINVAL);
    assert_string_equal(failure.code, "model_not_found");
}

/* What a crash between row and files leaves is removed; what never was a job of ours stays. */
static void test_delete_and_crash(void **state) {
    struct queue *q = *state;
    int64_t id = succeed(q, request_text), kept = succeed(q, request_text);
    cleanup(freep) char *dir = job_dir(q, id), *kept_dir = job_dir(q, kept);
    cleanup(freep) char *foreign = job_dir(q, kept + 5);

    begin(q->f);
    assert_int_equal(end(q->f, store_delete_job(q->f->store, id)), 0);
    restart(q);
    assert_int_not_equal(access(dir, F_OK), 0);
    assert_int_equal(access(kept_dir, F_OK), 0);
    assert_int_equal(access(foreign, F_OK), 0);
    restart(q);
    expect_status(q, kept, "succeeded", 1);
}

/* The database is lost: its folders stay, and new jobs get numbers above theirs. */
static void test_lost_database(void **state) {
    static const char *const names[] = {"quantd.db", "quantd.db-wal", "quantd.db-shm"};
    struct queue *q = *state;
    int64_t first = succeed(q, request_text), last = succeed(q, request_text), id;
    cleanup(freep) char *first_dir = job_dir(q, first), *last_dir = job_dir(q, last);
    struct failure failure;

    disconnect_queue(q);
    store_close(steal_ptr(q->f->store));
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup(freep) char *path = str_format("%s/%s", q->f->dir, names[i]);

        assert_true(!unlink(path) || errno == ENOENT);
    }
    fixture_open(q->f);
    connect_queue(q);
    assert_int_equal(jobs_recover(&q->jobs, &failure), 0);
    id = submit(q, NULL);
    assert_int_equal(id, last + 1);
    /* At the next start the counter is above them, and they are still not taken for deleted. */
    restart(q);
    assert_int_equal(submit(q, NULL), last + 2);
    assert_int_equal(access(first_dir, F_OK), 0);
    assert_int_equal(access(last_dir, F_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_retry),
        TEST(test_stats),
        TEST(test_delete),
        TEST(test_delete_of_a_used_checkpoint),
        TEST(test_delete_and_crash),
        TEST(test_lost_database),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
