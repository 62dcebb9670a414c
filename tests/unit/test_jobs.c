// SPDX-License-Identifier: Apache-2.0
/* The queue as clients and the worker see it, on a real store, without a device. */
#include "daemon/jobs.h"

#include "daemon_fixture.h"

#include <errno.h>
#include <sys/stat.h>

struct queue {
    struct fixture *f;
    char root[96];
    char *roots[1];
    struct models models;
    struct jobs jobs;
};

static const char request_text[] =
    "{\"model\": \"m\", \"dataset\": \"wikitext2\", \"wbits\": 4, \"priority\": 3, \"name\": "
    "\"n\", \"labels\": {\"team\": \"a\"}}";

static void connect_queue(struct queue *q) {
    q->jobs = (struct jobs){.store = q->f->store,
                            .events = events_new(q->f->store),
                            .models = &q->models,
                            .state_dir = q->f->dir};
}

static int setup(void **state) {
    struct queue *q = calloc(1, sizeof(*q));
    cleanup(freep) char *config = NULL;

    fixture_setup((void **)&q->f);
    snprintf(q->root, sizeof(q->root), "%s/models/m", q->f->dir);
    assert_int_equal(dir_make(q->root), 0);
    config = str_format("%s/config.json", q->root);
    assert_int_equal(file_replace(config, "{}", 2), 0);
    snprintf(q->root, sizeof(q->root), "%s/models", q->f->dir);
    q->roots[0] = q->root;
    q->models = (struct models){q->roots, 1};
    connect_queue(q);
    *state = q;
    return 0;
}

static int teardown(void **state) {
    struct queue *q = *state;

    events_free(q->jobs.events);
    fixture_teardown((void **)&q->f);
    free(q);
    return 0;
}

/* As after kill -9: nothing was told to end. */
static void restart(struct queue *q) {
    struct failure failure;

    events_free(q->jobs.events);
    store_close(q->f->store);
    fixture_open(q->f);
    connect_queue(q);
    if (jobs_recover(&q->jobs, &failure))
        fail_msg("%s", failure.detail);
}

static int submit_text(struct queue *q, const char *text, const char *key, json_t **ret_job,
                       bool *ret_created, struct failure *failure) {
    cleanup(json_decrefp) json_t *request = json_loads(text, JSON_DECODE_ANY, NULL);

    return jobs_submit(&q->jobs, "anna", key, request, ret_job, ret_created, failure);
}

static int64_t submit(struct queue *q, const char *key) {
    cleanup(json_decrefp) json_t *job = NULL;
    struct failure failure;
    bool created;

    if (submit_text(q, request_text, key, &job, &created, &failure))
        fail_msg("%s", failure.detail);
    return json_integer_value(json_object_get(job, "id"));
}

static json_t *object(struct queue *q, int64_t id) {
    struct failure failure;
    uint64_t version;
    json_t *job = NULL;

    assert_int_equal(jobs_object(&q->jobs, id, 0, &job, &version, &failure), 0);
    return job;
}

static void expect_status(struct queue *q, int64_t id, const char *status, int attempt) {
    cleanup(json_decrefp) json_t *job = object(q, id);

    assert_string_equal(json_string_value(json_object_get(job, "status")), status);
    assert_int_equal(json_integer_value(json_object_get(job, "attempt")), attempt);
}

static void expect_last_event(struct queue *q, int64_t id, const char *type) {
    cleanup(json_decrefp) json_t *events = NULL;
    size_t n;

    begin(q->f);
    assert_int_equal(end(q->f, store_list_events(q->f->store, id, 0, 1000, &events)), 0);
    n = json_array_size(events);
    assert_true(n > 0);
    assert_string_equal(json_string_value(json_object_get(json_array_get(events, n - 1), "type")),
                        type);
}

static int64_t claim_next(struct queue *q) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    struct failure failure;
    int r = jobs_claim(&q->jobs, "cpu", &row, &failure);

    assert_true(!r || r == -ENOENT);
    return row ? row->id : 0;
}

static void test_object(void **state) {
    static const char *const names[] = {
        "id",       "kind",       "status",     "owner",       "name",
        "labels",   "priority",   "attempt",    "params",      "model",
        "progress", "created_at", "started_at", "finished_at", "queue_position",
        "result",   "artifacts",  "error",      "urls"};
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *job = object(q, submit(q, NULL));

    assert_int_equal(json_object_size(job), sizeof(names) / sizeof(names[0]));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_non_null(json_object_get(job, names[i]));
    assert_int_equal(json_integer_value(json_object_get(job, "queue_position")), 1);
    assert_int_equal(json_integer_value(json_object_get(job, "priority")), 3);
    assert_string_equal(json_string_value(json_object_get(job, "kind")), "quantize");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(job, "params"), "groupsize")), -1);
    assert_true(json_is_null(json_object_get(job, "started_at")));
}

static void test_bad_requests(void **state) {
    static const struct {
        const char *text, *field;
    } cases[] = {
        {"7", ""},
        {"[]", ""},
        {"{\"model\": \"m\", \"wbits\": 16, \"kind\": \"train\"}", "kind"},
        {"{\"model\": \"m\", \"wbits\": 16, \"kind\": null}", "kind"},
        {"{\"model\": \"m\", \"wbits\": 16, \"priority\": 101}", "priority"},
        {"{\"model\": \"m\", \"wbits\": 16, \"priority\": 1.5}", "priority"},
        {"{\"model\": \"m\", \"wbits\": 16, \"name\": 5}", "name"},
        {"{\"model\": \"m\", \"wbits\": 16, \"labels\": []}", "labels"},
        {"{\"model\": \"m\", \"wbits\": 16, \"labels\": {\"\": \"x\"}}", "labels"},
        {"{\"model\": \"m\", \"wbits\": 16, \"nonsense\": 1}", "nonsense"},
        {"{\"model\": \"m\", \"wbits\": 5}", "wbits"},
        {"{\"model\": \"nope\", \"wbits\": 16}", "model"},
        {"{\"model\": \"../m\", \"wbits\": 16}", "model"},
        {"{\"model\": \"job:1\", \"wbits\": 16}", "model"},
        {"{\"model\": \"job:x\", \"wbits\": 16}", "model"},
    };
    struct queue *q = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct failure failure = {};
        json_t *job = NULL;
        bool created;

        if (submit_text(q, cases[i].text, NULL, &job, &created, &failure) != -EINVAL)
            fail_msg("not refused: %s", cases[i].text);
        assert_string_equal(failure.field, cases[i].field);
        assert_null(job);
    }
    assert_int_equal(claim_next(q), 0);
}

static void test_idempotency(void **state) {
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *job = NULL;
    int64_t id = submit(q, "key");
    struct failure failure;
    bool created = true;

    assert_int_equal(submit(q, "key"), id);
    assert_int_equal(submit_text(q, request_text, "key", &job, &created, &failure), 0);
    assert_false(created);
    assert_int_equal(
        submit_text(q, "{\"model\": \"m\", \"wbits\": 16}", "key", &job, &created, &failure),
        -EINVAL);
    assert_string_equal(failure.code, "idempotency_key_reused");
    assert_int_not_equal(submit(q, "other"), id);
    assert_int_equal(submit_text(q, request_text, "", &job, &created, &failure), -EINVAL);
}

static void test_cancel(void **state) {
    struct queue *q = *state;
    int64_t first = submit(q, NULL), second = submit(q, NULL);
    struct failure failure;

    assert_int_equal(claim_next(q), first);
    assert_int_equal(jobs_cancel(&q->jobs, second, &failure), 0);
    expect_status(q, second, "cancelled", 1);
    expect_last_event(q, second, "job.cancelled");
    assert_int_equal(jobs_cancel(&q->jobs, second, &failure), -EBUSY);
    assert_int_equal(jobs_cancel(&q->jobs, 99, &failure), -ENOENT);
    assert_int_equal(jobs_cancel(&q->jobs, first, &failure), 0);
    assert_int_equal(jobs_cancel(&q->jobs, first, &failure), 0);
    expect_status(q, first, "cancelling", 1);
    assert_int_equal(jobs_cancelled(&q->jobs, first, &failure), 0);
    expect_status(q, first, "cancelled", 1);
    assert_int_equal(jobs_fail(&q->jobs, first, &failure, &failure), -ESTALE);
}

static void test_recovery(void **state) {
    struct queue *q = *state;
    int64_t id = submit(q, NULL), waiting = submit(q, NULL);
    cleanup(freep) char *dir = str_format("%s/jobs/%d", q->f->dir, (int)id);

    for (int attempt = 1; attempt <= JOBS_ATTEMPTS_MAX; attempt++) {
        assert_int_equal(claim_next(q), id);
        assert_int_equal(dir_make(dir), 0);
        expect_status(q, id, "running", attempt);
        restart(q);
        if (attempt < JOBS_ATTEMPTS_MAX) {
            expect_status(q, id, "queued", attempt + 1);
            expect_last_event(q, id, "job.interrupted");
            assert_int_equal(access(dir, F_OK), 0);
        }
    }
    cleanup(json_decrefp) json_t *job = object(q, id);
    assert_string_equal(json_string_value(json_object_get(job, "status")), "failed");
    assert_string_equal(json_string_value(json_object_get(json_object_get(job, "error"), "code")),
                        "too_many_attempts");
    assert_int_not_equal(access(dir, F_OK), 0);
    expect_last_event(q, id, "job.failed");
    assert_int_equal(claim_next(q), waiting);
}

static void test_recovery_of_cancelling(void **state) {
    struct queue *q = *state;
    int64_t id = submit(q, NULL);
    struct failure failure;

    assert_int_equal(claim_next(q), id);
    assert_int_equal(jobs_cancel(&q->jobs, id, &failure), 0);
    restart(q);
    expect_status(q, id, "cancelled", 1);
    assert_int_equal(claim_next(q), 0);
}

/* A stop on purpose is not the job's fault. */
static void test_interrupt(void **state) {
    struct queue *q = *state;
    int64_t id = submit(q, NULL);
    struct failure failure;

    for (int i = 0; i < 5; i++) {
        assert_int_equal(claim_next(q), id);
        assert_int_equal(jobs_interrupt(&q->jobs, id, "shutdown", false, &failure), 0);
        expect_status(q, id, "queued", 1);
    }
}

static json_t *make_result(double value) {
    return json_pack("{s{s{sfss}} ss si s[{ss si ss}]}", "perplexity", "ptb", "value", value,
                     "sha256", "w", "model_fingerprint", "m", "seqlen", 512, "artifacts", "name",
                     "config.json", "bytes", 2, "sha256", "x");
}

static void test_success_and_baseline(void **state) {
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *plain = make_result(10), *quantized = make_result(11);
    cleanup(json_decrefp) json_t *created_job = NULL;
    struct failure failure;
    bool created;
    int64_t id;

    assert_int_equal(
        submit_text(q, "{\"model\": \"m\", \"wbits\": 16}", NULL, &created_job, &created, &failure),
        0);
    id = claim_next(q);
    assert_int_equal(jobs_succeed(&q->jobs, id, plain, &failure), 0);
    id = submit(q, NULL);
    assert_int_equal(claim_next(q), id);
    assert_int_equal(jobs_succeed(&q->jobs, id, quantized, &failure), 0);

    cleanup(json_decrefp) json_t *job = object(q, id);
    json_t *result = json_object_get(job, "result");
    json_t *artifact = json_array_get(json_object_get(job, "artifacts"), 0);
    assert_true(json_number_value(json_object_get(json_object_get(result, "baseline"), "ptb")) ==
                10);
    assert_null(json_object_get(result, "artifacts"));
    assert_string_equal(json_string_value(json_object_get(artifact, "url")),
                        "/v1/jobs/2/artifacts/config.json");
    expect_last_event(q, id, "job.succeeded");
}

static void test_versions(void **state) {
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *data = json_object();
    int64_t first = submit(q, NULL), second = submit(q, NULL);
    struct failure failure;
    uint64_t version = 0, known;
    json_t *job = NULL;

    assert_int_equal(jobs_object(&q->jobs, second, 0, &job, &known, &failure), 0);
    json_decref(job);
    assert_int_equal(jobs_object(&q->jobs, second, known, &job, &version, &failure), 0);
    assert_null(job);
    /* Another job's start moves the queue. */
    assert_int_equal(claim_next(q), first);
    assert_int_equal(jobs_object(&q->jobs, second, known, &job, &version, &failure), 0);
    assert_non_null(job);
    assert_true(version > known);
    json_decref(job);
    known = version;
    /* Its progress does not, but changes the running one. */
    assert_int_equal(jobs_object(&q->jobs, first, 0, &job, &version, &failure), 0);
    json_decref(job);
    assert_int_equal(events_progress(q->jobs.events, first, "progress", data, true, &failure), 0);
    assert_int_equal(jobs_object(&q->jobs, first, version, &job, &version, &failure), 0);
    assert_non_null(job);
    json_decref(job);
    assert_int_equal(jobs_object(&q->jobs, second, known, &job, &version, &failure), 0);
    assert_null(job);
}

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

static void test_retry(void **state) {
    static const char *const same[] = {"kind", "name", "labels", "priority", "params"};
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *old = NULL, *job = NULL, *again = NULL;
    int64_t id = submit(q, NULL), done;
    struct failure failure;

    assert_int_equal(jobs_retry(&q->jobs, "bert", NULL, 99, &job, &failure), -ENOENT);
    assert_int_equal(jobs_retry(&q->jobs, "bert", NULL, id, &job, &failure), -EBUSY);
    assert_string_equal(failure.code, "job_not_retryable");
    assert_true(failure.hint[0]);
    assert_int_equal(claim_next(q), id);
    assert_int_equal(jobs_retry(&q->jobs, "bert", NULL, id, &job, &failure), -EBUSY);
    failure_set(&failure, -EIO, "why", NULL, "because");
    assert_int_equal(jobs_fail(&q->jobs, id, &failure, &failure), 0);

    assert_int_equal(jobs_retry(&q->jobs, "bert", "key", id, &job, &failure), 0);
    old = object(q, id);
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        assert_true(json_equal(json_object_get(job, same[i]), json_object_get(old, same[i])));
    assert_string_equal(json_string_value(json_object_get(job, "owner")), "bert");
    assert_string_equal(json_string_value(json_object_get(job, "status")), "queued");
    expect_status(q, id, "failed", 1);
    assert_int_equal(jobs_retry(&q->jobs, "bert", "key", id, &again, &failure), 0);
    assert_true(json_equal(job, again));

    id = json_integer_value(json_object_get(job, "id"));
    assert_int_equal(jobs_cancel(&q->jobs, id, &failure), 0);
    json_decref(steal_ptr(again));
    assert_int_equal(jobs_retry(&q->jobs, "bert", NULL, id, &again, &failure), 0);
    assert_int_equal(claim_next(q), id + 1);
    assert_int_equal(jobs_cancelled(&q->jobs, id + 1, &failure), 0);
    done = succeed(q, request_text);
    json_decref(steal_ptr(again));
    assert_int_equal(jobs_retry(&q->jobs, "bert", NULL, done, &again, &failure), -EBUSY);
}

static size_t n_events(struct queue *q, uint64_t after) {
    cleanup(json_decrefp) json_t *events = NULL;

    begin(q->f);
    assert_int_equal(end(q->f, store_list_events(q->f->store, 0, after, 1000, &events)), 0);
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

    assert_int_equal(jobs_delete(&q->jobs, 99, &failure), -ENOENT);
    assert_int_equal(jobs_delete(&q->jobs, id, &failure), -EBUSY);
    assert_string_equal(failure.code, "job_not_ended");
    assert_int_equal(claim_next(q), id);
    assert_int_equal(jobs_delete(&q->jobs, id, &failure), -EBUSY);
    assert_int_equal(access(dir, F_OK), 0);
    assert_int_equal(jobs_succeed(&q->jobs, id, result, &failure), 0);
    seq = store_last_seq(q->f->store);
    version = store_version(q->f->store);

    assert_int_equal(jobs_delete(&q->jobs, id, &failure), 0);
    assert_int_not_equal(access(dir, F_OK), 0);
    assert_true(store_version(q->f->store) > version);
    assert_int_equal(jobs_object(&q->jobs, id, 0, &job, &version, &failure), -ENOENT);
    assert_int_equal(jobs_delete(&q->jobs, id, &failure), -ENOENT);
    assert_int_equal(n_events(q, 0), 0);
    /* Cursors that were handed out stay behind all that comes, also after a restart. */
    restart(q);
    assert_int_equal(store_last_seq(q->f->store), seq);
    assert_int_equal(submit(q, "key"), id + 1);
    assert_int_equal(n_events(q, seq), 1);
}

static void test_delete_of_a_used_checkpoint(void **state) {
    struct queue *q = *state;
    int64_t id = succeed(q, request_text), user;
    cleanup(freep) char *dir = job_dir(q, id);
    cleanup(json_decrefp) json_t *job = NULL;
    struct failure failure;
    bool created;

    assert_int_equal(submit_text(q, "{\"kind\": \"eval\", \"model\": \"job:1\"}", NULL, &job,
                                 &created, &failure),
                     0);
    user = json_integer_value(json_object_get(job, "id"));
    assert_int_equal(jobs_delete(&q->jobs, id, &failure), -EBUSY);
    assert_string_equal(failure.code, "job_in_use");
    assert_int_equal(access(dir, F_OK), 0);
    assert_int_equal(jobs_cancel(&q->jobs, user, &failure), 0);
    assert_int_equal(jobs_delete(&q->jobs, id, &failure), 0);
    assert_int_equal(jobs_retry(&q->jobs, "anna", NULL, user, &job, &failure), -EINVAL);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_object),           TEST(test_bad_requests),
        TEST(test_idempotency),      TEST(test_cancel),
        TEST(test_recovery),         TEST(test_recovery_of_cancelling),
        TEST(test_interrupt),        TEST(test_success_and_baseline),
        TEST(test_versions),         TEST(test_retry),
        TEST(test_delete),           TEST(test_delete_of_a_used_checkpoint),
        TEST(test_delete_and_crash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
