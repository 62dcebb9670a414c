// SPDX-License-Identifier: Apache-2.0
/* What is let go, on a real store, without a device. */
#include "base/clock.h"
#include "daemon/retention.h"
#include "jobs_fixture.h"
#include "old_store.h"

#define HOUR (3600 * (int64_t)1000)
#define DAY (24 * HOUR)

static int sweep(struct queue *q, int keep_days, int64_t after) {
    atomic_bool stop = false;
    struct failure failure;
    int n = retention_sweep(&q->jobs, keep_days, clock_wall_ms() + after, &stop, &failure);

    if (n < 0)
        fail_msg("%s", failure.detail);
    return n;
}

static char *add_files(struct queue *q, int64_t id) {
    char *dir = str_format("%s/jobs/%d/artifact", q->f->dir, (int)id);

    assert_int_equal(dir_make(dir), 0);
    *strrchr(dir, '/') = '\0';
    return dir;
}

static int64_t succeed(struct queue *q) {
    cleanup(json_decrefp) json_t *result = make_result(10);
    struct failure failure;
    int64_t id = submit(q, NULL);

    assert_int_equal(claim_next(q), id);
    assert_int_equal(jobs_succeed(&q->jobs, id, result, &failure), 0);
    return id;
}

static bool is_there(struct queue *q, int64_t id) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    struct failure failure;
    int r = jobs_find(&q->jobs, id, &row, &failure);

    assert_true(!r || r == -ENOENT);
    return !r;
}

static void test_keys(void **state) {
    struct queue *q = *state;
    int64_t id = submit(q, "key");

    assert_int_equal(sweep(q, 0, 6 * DAY), 0);
    assert_int_equal(submit(q, "key"), id);
    assert_int_equal(sweep(q, 0, 8 * DAY), 0);
    assert_int_equal(submit(q, "key"), id + 1);
    assert_true(is_there(q, id));
}

static int count_progress(struct queue *q, int64_t id) {
    cleanup(json_decrefp) json_t *events = NULL;
    json_t *event;
    size_t i;
    int n = 0;

    begin(q->f);
    assert_int_equal(end(q->f, store_list_events(q->f->store, id, NULL, 0, 10000, &events)), 0);
    json_array_foreach(events, i, event) n +=
        strstr(json_string_value(json_object_get(event, "type")), "progress") != NULL;
    return n;
}

static void add_progress(struct queue *q, int64_t id, int n) {
    cleanup(json_decrefp) json_t *data = json_object();

    begin(q->f);
    for (int i = 0; i < n; i++)
        assert_int_equal(store_append_event(q->f->store, id, i % 3 ? "progress" : "eval.progress",
                                            1, data, NULL),
                         0);
    assert_int_equal(end(q->f, 0), 0);
}

/* Rows of progress go a day after the end, also more than fit into one transaction. */
static void test_progress(void **state) {
    struct queue *q = *state;
    int64_t ended = succeed(q), other = succeed(q), running = submit(q, NULL);

    assert_int_equal(claim_next(q), running);
    add_progress(q, ended, 2 * STORE_EXPIRE_MAX);
    add_progress(q, running, 7);
    add_progress(q, other, 2 * STORE_EXPIRE_MAX + 3);
    sweep(q, 0, 2 * HOUR);
    assert_int_equal(count_progress(q, ended), 2 * STORE_EXPIRE_MAX);
    sweep(q, 0, 25 * HOUR);
    assert_int_equal(count_progress(q, ended), 0);
    assert_int_equal(count_progress(q, other), 0);
    assert_int_equal(count_progress(q, running), 7);
    expect_last_event(q, ended, "job.succeeded");
    /* Later layers and perplexities are still reported. */
    assert_true(is_there(q, ended) && is_there(q, other));
}

static void test_jobs(void **state) {
    struct queue *q = *state;
    int64_t old = succeed(q), cancelled = submit(q, NULL), waiting = submit(q, NULL);
    cleanup(freep) char *dir = add_files(q, old);
    struct failure failure;

    assert_int_equal(jobs_cancel(&q->jobs, &user, cancelled, &failure), 0);
    assert_int_equal(sweep(q, 0, 10000 * DAY), 0);
    assert_int_equal(sweep(q, 30, 29 * DAY), 0);
    assert_int_equal(access(dir, F_OK), 0);
    assert_int_equal(sweep(q, 30, 31 * DAY), 2);
    assert_false(is_there(q, old) || is_there(q, cancelled));
    assert_int_not_equal(access(dir, F_OK), 0);
    assert_true(is_there(q, waiting));
}

/* A checkpoint that another job is to read stays, those around it go. */
static void test_jobs_in_use(void **state) {
    struct queue *q = *state;
    int64_t first = succeed(q), used = succeed(q), last = succeed(q), reader;
    cleanup(freep) char *dir = add_files(q, used);
    cleanup(json_decrefp) json_t *job = NULL;
    struct failure failure;
    bool created;

    assert_int_equal(submit_text(q, "{\"kind\": \"eval\", \"model\": \"job:2\"}", NULL, &job,
                                 &created, &failure),
                     0);
    reader = json_integer_value(json_object_get(job, "id"));
    assert_int_equal(sweep(q, 1, 2 * DAY), 2);
    assert_false(is_there(q, first) || is_there(q, last));
    assert_true(is_there(q, used) && is_there(q, reader));
    assert_int_equal(access(dir, F_OK), 0);
    assert_int_equal(jobs_cancel(&q->jobs, &user, reader, &failure), 0);
    assert_int_equal(sweep(q, 1, 2 * DAY), 2);
    assert_int_not_equal(access(dir, F_OK), 0);
}

static void test_stop(void **state) {
    struct queue *q = *state;
    int64_t id = succeed(q);
    atomic_bool stop = true;
    struct failure failure;

    assert_int_equal(retention_sweep(&q->jobs, 1, clock_wall_ms() + 9 * DAY, &stop, &failure), 0);
    assert_true(is_there(q, id));
}

static void wait_gone(struct queue *q, int64_t id) {
    for (int i = 0; i < 10000 && is_there(q, id); i++)
        usleep(1000);
    assert_false(is_there(q, id));
}

/* By itself at its start, and when the number of days changes. */
static void test_thread(void **state) {
    struct queue *q = *state;
    struct retention *retention = NULL;
    struct failure failure;
    int64_t id;

    for (int days = 0; days < 2; days++) {
        id = insert(q->f, "user", 0);
        assert_int_equal(claim(q->f), id);
        assert_int_equal(change(q->f, id, JOB_RUNNING, JOB_SUCCEEDED), 0); /* in 1970 */
        assert_int_equal(retention_start(&q->jobs, days, &retention, &failure), 0);
        if (days == 0)
            retention_set_days(retention, 100);
        wait_gone(q, id);
        retention_stop(retention);
    }
    retention_stop(NULL);
}

static off_t store_bytes(struct queue *q) {
    static const char *const names[] = {"quantd.db", "quantd.db-wal"};
    off_t bytes = 0;

    for (size_t i = 0; i < 2; i++) {
        cleanup(freep) char *path = str_format("%s/%s", q->f->dir, names[i]);
        struct stat st;

        bytes += stat(path, &st) ? 0 : st.st_size;
    }
    return bytes;
}

/* What is let go is used again: the database stops to grow. */
static void test_size(void **state) {
    struct queue *q = *state;
    off_t bytes = 0;

    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 5; i++)
            add_progress(q, succeed(q), 2000);
        assert_int_equal(sweep(q, 1, 2 * DAY), 5);
        if (round == 2)
            bytes = store_bytes(q);
    }
    assert_true(bytes > 0);
    assert_in_range(store_bytes(q), 1, bytes + bytes / 10);
}

/* A store of the schema before: its keys get the age of their jobs. */
static void test_migration(void **state) {
    struct queue *q = *state;

    reopen_old_store(q->f, 3,
                     "INSERT INTO jobs (kind, status, owner, name, labels, priority, attempt, "
                     "request, model_dir, params, version, created_at) VALUES ('eval', 'queued', "
                     "'user', '', '{}', 0, 1, '{}', '/', '{}', 1, 1000);"
                     "INSERT INTO idempotency VALUES ('user', 'key', 'x', 1)");
    begin(q->f);
    assert_int_equal(end(q->f, store_expire_keys(q->f->store, 1000)), 0);
    begin(q->f);
    assert_int_equal(store_expire_keys(q->f->store, 1001), 1);
    assert_int_equal(end(q->f, 0), 0);
    cleanup(job_row_freep) struct job_row *row = get(q->f, 1);
    assert_null(row->paused);
    assert_int_equal(row->paused_ms, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_keys), TEST(test_progress), TEST(test_jobs), TEST(test_jobs_in_use),
        TEST(test_stop), TEST(test_thread),   TEST(test_size), TEST(test_migration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
