// SPDX-License-Identifier: Apache-2.0
/* The queue as clients and the worker see it, on a real store, without a device. */
#include "jobs_fixture.h"
#include "old_store.h"

#include "daemon/pipeline/methods/method.h"

static void test_object(void **state) {
    static const char *const names[] = {
        "id",         "kind",        "status",         "owner",          "name",      "labels",
        "priority",   "attempt",     "params",         "model",          "progress",  "created_at",
        "started_at", "finished_at", "queue_position", "result",         "artifacts", "error",
        "urls",       "private",     "paused",         "paused_seconds", "held",      "engine",
        "where",      "group"};
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

/* A job of 0.1.0, whose params say nearest and mse, is shown in today's terms, and runs. */
static void test_old_params(void **state) {
    struct queue *q = *state;
    cleanup(params_freep) struct params *params = NULL;
    cleanup(job_row_freep) struct job_row *row = NULL;
    cleanup(json_decrefp) json_t *job = NULL;
    struct failure failure;
    const json_t *shown;

    reopen_old_store(q->f, 6,
                     "INSERT INTO jobs (kind, status, owner, name, labels, priority, attempt, "
                     "request, model_dir, params, version, created_at) VALUES "
                     "('quantize', 'queued', 'user', '', '{}', 0, 1, "
                     "'{\"model\": \"m\", \"wbits\": 4, \"nearest\": true, \"mse\": true}', '/', "
                     "'{\"model\": \"m\", \"wbits\": 4, \"nearest\": true, \"mse\": true}', 1, 1)");
    connect_queue_again(q);
    job = object(q, 1);
    shown = json_object_get(job, "params");
    assert_string_equal(json_string_value(json_object_get(shown, "method")), "rtn");
    assert_string_equal(json_string_value(json_object_get(shown, "grid")), "mse");
    assert_null(json_object_get(shown, "nearest"));
    assert_null(json_object_get(shown, "mse"));
    row = get(q->f, 1);
    assert_int_equal(params_parse(JOB_QUANTIZE, row->request, &params, &failure), 0);
    assert_string_equal(params->method->name, "rtn");
}

/* A field that is null is as if it were left out. */
static void test_null_fields(void **state) {
    static const char *const fields[] = {"kind", "priority", "private", "name", "labels"};
    cleanup(json_decrefp) json_t *plain = NULL;
    struct queue *q = *state;
    struct failure failure;
    bool created;

    assert_int_equal(
        submit_text(q, "{\"model\": \"m\", \"wbits\": 16}", NULL, &plain, &created, &failure), 0);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        cleanup(freep) char *text =
            str_format("{\"model\": \"m\", \"wbits\": 16, \"%s\": null}", fields[i]);
        cleanup(json_decrefp) json_t *job = NULL;

        assert_int_equal(submit_text(q, text, NULL, &job, &created, &failure), 0);
        for (size_t k = 0; k < sizeof(fields) / sizeof(fields[0]); k++)
            assert_true(
                json_equal(json_object_get(job, fields[k]), json_object_get(plain, fields[k])));
    }
}

static void test_bad_requests(void **state) {
    static const struct {
        const char *text, *field;
    } cases[] = {
        {"7", ""},
        {"[]", ""},
        {"{\"model\": \"m\", \"wbits\": 16, \"kind\": \"train\"}", "kind"},
        {"{\"model\": \"m\", \"wbits\": 16, \"priority\": 101}", "priority"},
        {"{\"model\": \"m\", \"wbits\": 16, \"priority\": 1.5}", "priority"},
        {"{\"model\": \"m\", \"wbits\": 16, \"name\": 5}", "name"},
        {"{\"model\": \"m\", \"wbits\": 16, \"private\": 1}", "private"},
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
    assert_int_equal(jobs_cancel(&q->jobs, &caller_daemon, second, &failure), 0);
    expect_status(q, second, "cancelled", 1);
    expect_last_event(q, second, "job.cancelled");
    assert_int_equal(jobs_cancel(&q->jobs, &caller_daemon, second, &failure), -EBUSY);
    assert_int_equal(jobs_cancel(&q->jobs, &caller_daemon, 99, &failure), -ENOENT);
    assert_int_equal(jobs_cancel(&q->jobs, &caller_daemon, first, &failure), 0);
    assert_int_equal(jobs_cancel(&q->jobs, &caller_daemon, first, &failure), 0);
    expect_status(q, first, "cancelling", 1);
    assert_int_equal(jobs_cancelled(&q->jobs, first, &failure), 0);
    expect_status(q, first, "cancelled", 1);
    assert_int_equal(jobs_fail(&q->jobs, first, &failure, &failure), -ESTALE);
}

static void test_recovery(void **state) {
    struct queue *q = *state;
    int64_t id = submit(q, NULL), waiting = submit(q, NULL);
    cleanup(freep) char *dir = str_format("%s/jobs/%d", q->f->dir, (int)id);

    for (int attempt = 1; attempt <= JOBS_CRASHES_MAX; attempt++) {
        assert_int_equal(claim_next(q), id);
        assert_int_equal(dir_make(dir), 0);
        expect_status(q, id, "running", attempt);
        restart(q);
        if (attempt < JOBS_CRASHES_MAX) {
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

static void finish(struct queue *q, int64_t id, const char *type, const char *text) {
    cleanup(json_decrefp) json_t *data = json_loads(text, 0, NULL);

    begin(q->f);
    assert_int_equal(end(q->f, store_append_event(q->f->store, id, type, 1, data, NULL)), 0);
}

/* Crashes count in a row: what is finished for the first time in between begins anew. */
static void test_recovery_with_gains(void **state) {
    static const char *const gains[][2] = {
        {"layer.finished", "{\"layer\": 0}"},
        {"layer.finished", "{\"layer\": 1}"},
        {"eval.finished", "{\"set\": \"ptb\"}"},
        {"eval.finished", "{\"set\": \"c4\"}"},
    };
    struct queue *q = *state;
    int64_t id = submit(q, NULL);
    int attempt = 1;

    for (size_t i = 0; i < ARRAY_SIZE(gains); i++) {
        for (int n = 1; n < JOBS_CRASHES_MAX; n++) {
            assert_int_equal(claim_next(q), id);
            if (n == 1)
                finish(q, id, gains[i][0], gains[i][1]);
            restart(q);
            expect_status(q, id, "queued", ++attempt);
        }
    }
    /* The same layer once more, as after a change of the model, is no gain. */
    assert_int_equal(claim_next(q), id);
    finish(q, id, gains[1][0], gains[1][1]);
    restart(q);
    expect_status(q, id, "failed", attempt);
}

static bool is_that_job(void *ctx, int64_t id) {
    return *(int64_t *)ctx == id;
}

/* A run that lives without this process is left alone, at a start and at an end. */
static void test_recovery_of_living(void **state) {
    struct queue *q = *state;
    int64_t ids[3] = {submit(q, NULL), submit(q, NULL), submit(q, NULL)};
    struct failure failure;

    for (int i = 0; i < 3; i++)
        assert_int_equal(claim_next(q), ids[i]);
    assert_int_equal(jobs_cancel(&q->jobs, &caller_daemon, ids[2], &failure), 0);
    q->jobs.lives = is_that_job;
    q->jobs.lives_ctx = &ids[1];
    assert_int_equal(jobs_recover(&q->jobs, &failure), 0);
    expect_status(q, ids[0], "queued", 2);
    expect_status(q, ids[1], "running", 1);
    expect_status(q, ids[2], "cancelled", 1);
    assert_int_equal(jobs_abandon(&q->jobs, &failure), 0);
    expect_status(q, ids[1], "running", 1);
    q->jobs.lives = NULL;
    assert_int_equal(jobs_abandon(&q->jobs, &failure), 0);
    expect_status(q, ids[1], "queued", 1);
}

static void test_recovery_of_cancelling(void **state) {
    struct queue *q = *state;
    int64_t id = submit(q, NULL);
    struct failure failure;

    assert_int_equal(claim_next(q), id);
    assert_int_equal(jobs_cancel(&q->jobs, &caller_daemon, id, &failure), 0);
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
        assert_int_equal(jobs_interrupt(&q->jobs, id, "shutdown", STOP_ASKED, &failure), 0);
        expect_status(q, id, "queued", 1);
    }
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

    assert_int_equal(jobs_object(&q->jobs, &caller_daemon, second, 0, &job, &known, &failure), 0);
    json_decref(job);
    assert_int_equal(jobs_object(&q->jobs, &caller_daemon, second, known, &job, &version, &failure),
                     0);
    assert_null(job);
    /* Another job's start moves the queue. */
    assert_int_equal(claim_next(q), first);
    assert_int_equal(jobs_object(&q->jobs, &caller_daemon, second, known, &job, &version, &failure),
                     0);
    assert_non_null(job);
    assert_true(version > known);
    json_decref(job);
    known = version;
    /* Its progress does not, but changes the running one. */
    assert_int_equal(jobs_object(&q->jobs, &caller_daemon, first, 0, &job, &version, &failure), 0);
    json_decref(job);
    assert_int_equal(events_progress(q->jobs.events, first, "progress", data, true, &failure), 0);
    assert_int_equal(
        jobs_object(&q->jobs, &caller_daemon, first, version, &job, &version, &failure), 0);
    assert_non_null(job);
    json_decref(job);
    assert_int_equal(jobs_object(&q->jobs, &caller_daemon, second, known, &job, &version, &failure),
                     0);
    assert_null(job);
}

/* A machine that goes down is not the job's fault, but not for ever. */
static void test_reboot(void **state) {
    static const char *const boots[] = {"even", "odd"};
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *job = NULL;
    int64_t id;

    q->boot = boots[0];
    connect_queue_again(q);
    id = submit(q, NULL);
    for (int n = 1; n <= JOBS_REBOOTS_MAX; n++) {
        assert_int_equal(claim_next(q), id);
        q->boot = boots[n % 2];
        restart(q);
        expect_status(q, id, "queued", 1);
        expect_last_event(q, id, "job.interrupted");
    }
    /* In the same boot it is the job's attempt; a boot that is not known is no other one. */
    assert_int_equal(claim_next(q), id);
    restart(q);
    expect_status(q, id, "queued", 2);
    q->boot = NULL;
    connect_queue_again(q);
    assert_int_equal(claim_next(q), id);
    q->boot = boots[1];
    restart(q);
    expect_status(q, id, "queued", 3);

    assert_int_equal(claim_next(q), id);
    q->boot = boots[0];
    restart(q);
    expect_status(q, id, "failed", 3);
    job = object(q, id);
    assert_string_equal(json_string_value(json_object_get(json_object_get(job, "error"), "code")),
                        "too_many_attempts");
}

static struct lease lease_of(struct queue *q, int64_t id) {
    struct lease lease = {};

    begin(q->f);
    assert_int_equal(end(q->f, store_get_lease(q->f->store, id, &lease)), 0);
    return lease;
}

/* What a running job stores is a sign of life; what is stored of a waiting one is none. */
static void test_lease(void **state) {
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *data = json_object();
    int64_t before = lease_now(), id;
    struct failure failure;
    struct lease lease;

    q->boot = "this";
    connect_queue_again(q);
    id = submit(q, NULL);
    assert_int_equal(events_append(q->jobs.events, id, "progress", data, &failure), 0);
    lease = lease_of(q, id);
    assert_string_equal(lease.boot, "");
    assert_int_equal(lease.at, 0);

    assert_int_equal(claim_next(q), id);
    lease = lease_of(q, id);
    assert_string_equal(lease.boot, "this");
    assert_true(lease.at >= before && lease.at <= lease_now());
    while (lease_now() <= lease.at)
        usleep(1000);
    assert_int_equal(events_append(q->jobs.events, id, "progress", data, &failure), 0);
    assert_true(lease_of(q, id).at > lease.at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_object),
        TEST(test_old_params),
        TEST(test_null_fields),
        TEST(test_bad_requests),
        TEST(test_idempotency),
        TEST(test_cancel),
        TEST(test_recovery),
        TEST(test_recovery_with_gains),
        TEST(test_recovery_of_living),
        TEST(test_recovery_of_cancelling),
        TEST(test_interrupt),
        TEST(test_success_and_baseline),
        TEST(test_versions),
        TEST(test_reboot),
        TEST(test_lease),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
