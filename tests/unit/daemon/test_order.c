// SPDX-License-Identifier: Apache-2.0
/* Waiting jobs that are held, released and given another priority, on a real store. */
#include "daemon/queue/groups/groups.h"
#include "jobs_fixture.h"

static const struct caller other = {.owner = "other", .role = ROLE_SUBMIT};
static const struct caller admin = {.owner = "admin", .role = ROLE_ADMIN};

static int hold_as(struct queue *q, const struct caller *caller, int64_t id, bool held,
                   struct failure *failure) {
    return jobs_order(&q->jobs, caller, id, &(struct job_order){.held = &held}, failure);
}

static void hold(struct queue *q, int64_t id, bool held) {
    struct failure failure;

    assert_int_equal(hold_as(q, &user, id, held, &failure), 0);
}

static int prioritize(struct queue *q, const struct caller *caller, int64_t id, int priority,
                      struct failure *failure) {
    return jobs_order(&q->jobs, caller, id, &(struct job_order){.priority = &priority}, failure);
}

static void expect_place(struct queue *q, int64_t id, int position, bool held) {
    cleanup(json_decrefp) json_t *job = object(q, id);

    assert_int_equal(json_integer_value(json_object_get(job, "queue_position")), position);
    assert_int_equal(json_is_true(json_object_get(job, "held")), held);
    expect_status(q, id, "queued", 1);
}

/* Others pass it, and what is behind it moves up; a restart changes nothing. */
static void test_hold(void **state) {
    struct queue *q = *state;
    int64_t first = submit(q, NULL), second = submit(q, NULL), third = submit(q, NULL);

    hold(q, first, true);
    expect_last_event(q, first, "job.reordered");
    expect_place(q, first, 0, true);
    expect_place(q, second, 1, false);
    restart(q);
    expect_place(q, first, 0, true);
    assert_int_equal(claim_next(q), second);
    assert_int_equal(claim_next(q), third);
    assert_int_equal(claim_next(q), 0);
    hold(q, first, false);
    expect_place(q, first, 1, false);
    assert_int_equal(claim_next(q), first);
}

/* A held job can be cancelled; a second hold says and does nothing. */
static void test_hold_twice(void **state) {
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *events = NULL;
    int64_t id = submit(q, NULL);
    struct failure failure;

    hold(q, id, true);
    hold(q, id, true);
    begin(q->f);
    assert_int_equal(end(q->f, store_list_events(q->f->store, id, NULL, 0, 100, &events)), 0);
    assert_int_equal(json_array_size(events), 2);
    assert_int_equal(jobs_cancel(&q->jobs, &user, id, &failure), 0);
    expect_status(q, id, "cancelled", 1);
    assert_int_equal(hold_as(q, &user, id, false, &failure), -EBUSY);
    assert_string_equal(failure.code, "job_not_queued");
}

static void test_priority(void **state) {
    struct queue *q = *state;
    int64_t first = submit(q, NULL), second = submit(q, NULL), third = submit(q, NULL);
    struct failure failure;

    assert_int_equal(prioritize(q, &user, third, 4, &failure), 0);
    assert_int_equal(prioritize(q, &user, first, -1, &failure), 0);
    expect_place(q, third, 1, false);
    expect_place(q, second, 2, false);
    expect_place(q, first, 3, false);
    assert_int_equal(claim_next(q), third);
    assert_int_equal(prioritize(q, &user, third, 0, &failure), -EBUSY);
}

/* As for a submission: above the limit it is for admins; down is for all. */
static void test_limit(void **state) {
    struct queue *q = *state;
    int64_t id = submit(q, NULL);
    struct failure failure;

    q->jobs.quota.priority_limit = 0;
    assert_int_equal(prioritize(q, &user, id, 4, &failure), -EPERM);
    assert_string_equal(failure.code, "priority_limit");
    assert_int_equal(prioritize(q, &user, id, 2, &failure), 0); /* it had 3 */
    assert_int_equal(prioritize(q, &user, id, 3, &failure), -EPERM);
    assert_int_equal(prioritize(q, &admin, id, 50, &failure), 0);
}

static void test_others(void **state) {
    struct queue *q = *state;
    int64_t id = submit(q, NULL);
    struct failure failure;

    assert_int_equal(hold_as(q, &other, id, true, &failure), -EPERM);
    assert_int_equal(prioritize(q, &other, id, -1, &failure), -EPERM);
    assert_int_equal(hold_as(q, &user, 99, true, &failure), -ENOENT);
    assert_int_equal(hold_as(q, &admin, id, true, &failure), 0);
    expect_place(q, id, 0, true);
}

/* -------- those of a group -------- */

/* Three jobs, 1 to 3. Return: the id of their group. */
static int64_t submit_three(struct queue *q) {
    cleanup(json_decrefp) json_t *group = NULL;
    cleanup(json_decrefp) json_t *body =
        json_pack("{s{ssss}s{s[iii]}}", "job", "model", "m", "dataset", "wikitext2", "lists",
                  "wbits", 2, 3, 4);
    struct failure failure;
    bool created;

    if (groups_submit(&q->jobs, &user, NULL, body, &group, &created, &failure))
        fail_msg("%s", failure.detail);
    return json_integer_value(json_object_get(group, "id"));
}

static int hold_group(struct queue *q, const struct caller *caller, int64_t id, bool held) {
    return groups_order(&q->jobs, caller, id, &(struct job_order){.held = &held}, &q->f->failure);
}

static int prioritize_group(struct queue *q, const struct caller *caller, int64_t id,
                            int priority) {
    return groups_order(&q->jobs, caller, id, &(struct job_order){.priority = &priority},
                        &q->f->failure);
}

static void expect_held(struct queue *q, bool first, bool second, bool third) {
    const bool wanted[] = {first, second, third};

    for (int i = 0; i < 3; i++) {
        cleanup(job_row_freep) struct job_row *row = get(q->f, i + 1);

        assert_int_equal(row->held, wanted[i]);
    }
}

static void expect_priorities(struct queue *q, int first, int second, int third) {
    const int wanted[] = {first, second, third};

    for (int i = 0; i < 3; i++) {
        cleanup(job_row_freep) struct job_row *row = get(q->f, i + 1);

        assert_int_equal(row->priority, wanted[i]);
    }
}

/* Those of a group that wait change their place together. */
static void test_group(void **state) {
    struct queue *q = *state;
    int64_t id = submit_three(q);
    json_t *ids = NULL;

    assert_int_equal(jobs_cancel(&q->jobs, &user, 1, &q->f->failure), 0);
    assert_int_equal(hold_group(q, &other, id, true), -EPERM);
    assert_int_equal(hold_group(q, &user, 9, true), -ENOENT);
    expect_held(q, false, false, false);
    assert_int_equal(hold_group(q, &user, id, true), 0);
    expect_held(q, false, true, true);
    assert_int_equal(hold_group(q, &user, id, false), 0);
    expect_held(q, false, false, false);
    q->jobs.quota.priority_limit = 5;
    assert_int_equal(prioritize_group(q, &user, id, 99), -EPERM);
    expect_priorities(q, 0, 0, 0);
    assert_int_equal(prioritize_group(q, &admin, id, 99), 0);
    expect_priorities(q, 0, 99, 99);
    assert_int_equal(groups_cancel(&q->jobs, &user, id, &ids, &q->f->failure), 0);
    json_decref(ids);
    assert_int_equal(hold_group(q, &user, id, false), -EBUSY);
    assert_string_equal(q->f->failure.code, "group_not_queued");
}

/* One job may get what is less than it has, the next one not, as it would rise: none gets it. */
static void test_group_limit(void **state) {
    struct queue *q = *state;
    int64_t id = submit_three(q);

    q->jobs.quota.priority_limit = 5;
    assert_int_equal(prioritize(q, &admin, 1, 50, &q->f->failure), 0);
    assert_int_equal(prioritize_group(q, &user, id, 20), -EPERM);
    assert_string_equal(q->f->failure.code, "priority_limit");
    expect_priorities(q, 50, 0, 0);
    assert_int_equal(prioritize_group(q, &user, id, 5), 0);
    expect_priorities(q, 5, 5, 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_hold),   TEST(test_hold_twice), TEST(test_priority),    TEST(test_limit),
        TEST(test_others), TEST(test_group),      TEST(test_group_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
