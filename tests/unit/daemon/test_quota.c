// SPDX-License-Identifier: Apache-2.0
/* How many jobs may wait, on a real store, without a device. */
#include "jobs_fixture.h"

static const struct caller other = {.owner = "other", .role = ROLE_SUBMIT};
static const struct caller root = {.owner = "user", .role = ROLE_ADMIN};

static int submit_as(struct queue *q, const struct caller *caller, const char *key,
                     struct failure *failure) {
    cleanup(json_decrefp) json_t *request = json_loads(request_text, 0, NULL);
    cleanup(json_decrefp) json_t *job = NULL;
    bool created;

    return jobs_submit(&q->jobs, caller, key, request, &job, &created, failure);
}

static void test_no_limits(void **state) {
    struct queue *q = *state;
    struct failure failure;

    for (int i = 0; i < 50; i++)
        assert_int_equal(submit_as(q, &user, NULL, &failure), 0);
}

/* Of one's own jobs those count that have not ended. */
static void test_owner(void **state) {
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *result = make_result(10), *job = NULL;
    struct failure failure;
    int64_t first;

    q->jobs.quota.owner_jobs = 3;
    first = submit(q, "first");
    assert_int_equal(claim_next(q), first);
    submit(q, NULL);
    submit(q, NULL);
    assert_int_equal(submit_as(q, &user, NULL, &failure), -EDQUOT);
    assert_string_equal(failure.code, "owner_quota");
    assert_true(failure.hint[0]);
    /* What was taken before stays taken, and others are not concerned. */
    assert_int_equal(submit_as(q, &user, "first", &failure), 0);
    assert_int_equal(submit_as(q, &other, NULL, &failure), 0);
    assert_int_equal(submit_as(q, &root, NULL, &failure), 0);
    assert_int_equal(jobs_cancel(&q->jobs, &root, 5, &failure), 0);

    assert_int_equal(jobs_cancel(&q->jobs, &user, 2, &failure), 0);
    assert_int_equal(jobs_retry(&q->jobs, &user, NULL, 2, &job, &failure), 0);
    json_decref(steal_ptr(job));
    assert_int_equal(jobs_retry(&q->jobs, &user, NULL, 2, &job, &failure), -EDQUOT);
    assert_int_equal(jobs_succeed(&q->jobs, first, result, &failure), 0);
    assert_int_equal(submit_as(q, &user, NULL, &failure), 0);
}

/* A job is lifted above those of others by an admin, or as far as the limit goes. */
static void test_priority(void **state) {
    struct queue *q = *state;
    struct failure failure;

    q->jobs.quota.priority_limit = 2;
    assert_int_equal(submit_as(q, &user, NULL, &failure), -EPERM);
    assert_string_equal(failure.code, "priority_limit");
    assert_string_equal(failure.field, "priority");
    assert_int_equal(submit_as(q, &root, NULL, &failure), 0);
    q->jobs.quota.priority_limit = 3;
    assert_int_equal(submit_as(q, &user, NULL, &failure), 0);
}

/* The queue is shared, and jobs that run are no longer in it. */
static void test_queue(void **state) {
    struct queue *q = *state;
    struct failure failure;

    q->jobs.quota.queue_limit = 2;
    submit(q, NULL);
    submit(q, NULL);
    assert_int_equal(submit_as(q, &other, NULL, &failure), -EAGAIN);
    assert_string_equal(failure.code, "queue_full");
    assert_int_equal(submit_as(q, &root, NULL, &failure), -EAGAIN);
    assert_true(claim_next(q) > 0);
    assert_int_equal(submit_as(q, &other, NULL, &failure), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_no_limits), TEST(test_owner), TEST(test_priority),
                                       TEST(test_queue)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
