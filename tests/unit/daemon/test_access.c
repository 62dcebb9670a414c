// SPDX-License-Identifier: Apache-2.0
/* Who may see a job, and who may change it, on a real store. */
#include "jobs_fixture.h"
#include "old_store.h"

#include "daemon/access/target.h"

#define PRIVATE_REQUEST                                                                            \
    "{\"model\": \"m\", \"dataset\": \"wikitext2\", \"wbits\": 4, \"private\": true}"

static const struct caller other = {.owner = "other", .role = ROLE_SUBMIT};
static const struct caller admin = {.owner = "admin", .role = ROLE_ADMIN};

static int64_t submit_as(struct queue *q, const struct caller *caller, const char *text) {
    cleanup(json_decrefp) json_t *request = json_loads(text, 0, NULL), *job = NULL;
    struct failure failure = {};
    bool created;

    if (jobs_submit(&q->jobs, caller, NULL, request, &job, &created, &failure))
        fail_msg("%s", failure.detail);
    assert_string_equal(json_string_value(json_object_get(job, "owner")), caller->owner);
    return json_integer_value(json_object_get(job, "id"));
}

static int look(struct queue *q, const struct caller *caller, int64_t id) {
    cleanup(json_decrefp) json_t *job = NULL;
    cleanup(cached_job_freep) struct cached_job *cached = NULL;
    struct failure failure = {};
    uint64_t version;
    int r = jobs_object(&q->jobs, caller, id, 0, &job, &version, &failure);

    assert_int_equal(jobs_see(&q->jobs, caller, id, &cached, &failure), r);
    assert_true((job != NULL) == (r == 0) && (cached != NULL) == (r == 0));
    if (r)
        assert_string_equal(failure.code, "forbidden");
    return r;
}

static void test_private_is_seen_by_few(void **state) {
    struct queue *q = *state;
    int64_t open = submit_as(q, &user, request_text), hidden = submit_as(q, &user, PRIVATE_REQUEST);

    assert_int_equal(look(q, &other, open), 0);
    assert_int_equal(look(q, &other, hidden), -EPERM);
    assert_int_equal(look(q, &user, hidden), 0);
    assert_int_equal(look(q, &admin, hidden), 0);
    restart(q);
    assert_int_equal(look(q, &other, hidden), -EPERM);
    assert_int_equal(look(q, &user, hidden), 0);
}

static void expect_notify(struct queue *q, const struct caller *caller, int64_t id,
                          const char *expected) {
    cleanup(json_decrefp) json_t *job = NULL;
    struct failure failure = {};
    uint64_t version;
    const json_t *shown;

    assert_int_equal(jobs_object(&q->jobs, caller, id, 0, &job, &version, &failure), 0);
    shown = json_object_get(job, "notify");
    assert_true(str_equal(json_string_value(shown), expected) && (!!shown == !!expected));
}

/* Where its end is reported to, only for those who may cancel it, and without the path. */
static void test_notify_is_seen_by_few(void **state) {
    static char host[] = "hooks.example.org";
    static char *const hosts[] = {host};
    static const struct target_policy policy = {.hosts = hosts, .n_hosts = 1, .key = "key"};
    struct queue *q = *state;
    int64_t id, plain;

    q->jobs.targets = &policy;
    id = submit_as(q, &user,
                   "{\"model\": \"m\", \"dataset\": \"wikitext2\", \"wbits\": 4, "
                   "\"notify\": \"https://hooks.example.org/secret\"}");
    plain = submit_as(q, &user, request_text);
    expect_notify(q, &user, id, "https://hooks.example.org/...");
    expect_notify(q, &admin, id, "https://hooks.example.org/...");
    expect_notify(q, &other, id, NULL);
    expect_notify(q, &user, plain, NULL);
}

/* The ids that a list of at most @limit shows, newest first. */
static void check_list(struct queue *q, const struct caller *caller, struct job_filter filter,
                       const char *expected, bool more) {
    cleanup(json_decrefp) json_t *list = NULL;
    struct failure failure = {};
    uint64_t version;
    char ids[64] = "";
    json_t *job;
    size_t i;

    assert_int_equal(jobs_list(&q->jobs, caller, &filter, 0, &list, &version, &failure), 0);
    json_array_foreach(json_object_get(list, "data"), i, job)
        snprintf(ids + strlen(ids), sizeof(ids) - strlen(ids), "%d ",
                 (int)json_integer_value(json_object_get(job, "id")));
    assert_string_equal(ids, expected);
    assert_int_equal(json_is_true(json_object_get(list, "has_more")), more);
}

/* What is hidden takes no place in a list: pages are full, has_more speaks of what is seen. */
static void test_lists(void **state) {
    struct queue *q = *state;

    for (int i = 0; i < 3; i++) {
        submit_as(q, &user, request_text);     /* 1 4 7 */
        submit_as(q, &user, PRIVATE_REQUEST);  /* 2 5 8 */
        submit_as(q, &other, PRIVATE_REQUEST); /* 3 6 9 */
    }
    check_list(q, &admin, (struct job_filter){.limit = 9}, "9 8 7 6 5 4 3 2 1 ", false);
    check_list(q, &user, (struct job_filter){.limit = 6}, "8 7 5 4 2 1 ", false);
    check_list(q, &user, (struct job_filter){.limit = 5}, "8 7 5 4 2 ", true);
    check_list(q, &other, (struct job_filter){.limit = 2}, "9 7 ", true);
    check_list(q, &other, (struct job_filter){.limit = 2, .after = 7}, "6 4 ", true);
    check_list(q, &other, (struct job_filter){.limit = 2, .after = 4}, "3 1 ", false);
    check_list(q, &other, (struct job_filter){.limit = 9, .owner = "user"}, "7 4 1 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .owner = "user", .status = "queued"},
               "8 7 5 4 2 1 ", false);
}

/* By several states, by kind, and by a text, in which nothing is a wildcard. */
static void test_filters(void **state) {
    static const char *const names[] = {"Four bits", "50 %", "", "eval_1"};
    struct queue *q = *state;
    char request[256];

    for (int i = 0; i < 4; i++) {
        snprintf(request, sizeof(request),
                 "{\"kind\": \"%s\", \"model\": \"m\", \"name\": \"%s\", \"eval\": \"ptb\"}",
                 i == 3 ? "eval" : "quantize", names[i]);
        submit_as(q, &user, request);
    }
    check_list(q, &user, (struct job_filter){.limit = 9, .kind = "eval"}, "4 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .status = "failed,queued"}, "4 3 2 1 ",
               false);
    check_list(q, &user, (struct job_filter){.limit = 9, .status = "failed,running"}, "", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .text = "fOUR B"}, "1 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .text = "%"}, "2 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .text = "_"}, "4 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .text = "3"}, "3 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .text = "M"}, "4 3 2 1 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .text = "' OR 1"}, "", false);
}

/* By label, method and bits; in their order, of which a page goes on after a job that is seen. */
static void test_sorts(void **state) {
    static const char *const requests[] = {
        "{\"model\": \"m\", \"dataset\": \"ptb\", \"wbits\": 4, \"eval\": \"ptb\", \"labels\": "
        "{\"run\": \"a=b\"}}",
        "{\"model\": \"m\", \"dataset\": \"ptb\", \"wbits\": 3, \"eval\": \"ptb\", \"labels\": "
        "{\"run\": \"%\"}}",
        "{\"model\": \"m\", \"wbits\": 8, \"eval\": \"ptb\", \"method\": \"rtn\", \"dataset\": "
        "null}",
        "{\"model\": \"m\", \"kind\": \"eval\", \"eval\": \"ptb\", \"labels\": {\"run\": \"\"}}",
        "{\"model\": \"m\", \"dataset\": \"ptb\", \"wbits\": 3, \"eval\": \"ptb\", \"private\": "
        "true}"};
    struct job_filter past = {.limit = 9, .sort = "bits", .after = 5};
    cleanup(json_decrefp) json_t *list = NULL;
    struct queue *q = *state;
    struct failure failure = {};
    uint64_t version;

    for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
        submit_as(q, &user, requests[i]);
    check_list(q, &user, (struct job_filter){.limit = 9, .label = "run"}, "4 2 1 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .label = "run=a=b"}, "1 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .label = "run=%"}, "2 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .label = "run="}, "4 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .label = "ru"}, "", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .method = "rtn"}, "3 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .method = "gptq"}, "5 2 1 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .wbits = 3}, "5 2 ", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .perplexity_min = 1}, "", false);
    check_list(q, &user, (struct job_filter){.limit = 9, .sort = "perplexity"}, "5 4 3 2 1 ",
               false);
    check_list(q, &user, (struct job_filter){.limit = 3, .sort = "bits"}, "5 2 1 ", true);
    check_list(q, &user, (struct job_filter){.limit = 3, .sort = "bits", .after = 1}, "3 4 ",
               false);
    check_list(q, &other, (struct job_filter){.limit = 9, .sort = "bits"}, "2 1 3 4 ", false);
    assert_int_equal(jobs_list(&q->jobs, &other, &past, 0, &list, &version, &failure), -EINVAL);
    assert_string_equal(failure.field, "after");
}

static void test_events(void **state) {
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *all = NULL, *of_other = NULL, *of_user = NULL;

    submit_as(q, &user, request_text);
    submit_as(q, &user, PRIVATE_REQUEST);
    submit_as(q, &other, request_text);
    begin(q->f);
    assert_int_equal(store_list_events(q->f->store, 0, NULL, 0, 10, &all), 0);
    assert_int_equal(store_list_events(q->f->store, 0, "other", 0, 2, &of_other), 0);
    assert_int_equal(end(q->f, store_list_events(q->f->store, 0, "user", 1, 10, &of_user)), 0);
    assert_int_equal(json_array_size(all), 3);
    assert_int_equal(json_array_size(of_user), 2);
    assert_int_equal(json_array_size(of_other), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(of_other, 1), "job")), 3);
}

/* Pages of events, one by one: public ones and one's own, in their order, nothing of others. */
static void test_pages_of_events(void **state) {
    struct queue *q = *state;
    uint64_t after = 0;

    for (int i = 0; i < 3; i++) {
        submit_as(q, &user, request_text);     /* 1 4 7 */
        submit_as(q, &user, PRIVATE_REQUEST);  /* 2 5 8 */
        submit_as(q, &other, PRIVATE_REQUEST); /* 3 6 9 */
    }
    for (int i = 0; i < 4; i++) {
        static const int expected[4][2] = {{1, 3}, {4, 6}, {7, 9}, {}};
        cleanup(json_decrefp) json_t *page = NULL;
        json_t *event;
        size_t k;

        begin(q->f);
        assert_int_equal(end(q->f, store_list_events(q->f->store, 0, "other", after, 2, &page)), 0);
        assert_int_equal(json_array_size(page), i < 3 ? 2 : 0);
        json_array_foreach(page, k, event) {
            assert_int_equal(json_integer_value(json_object_get(event, "job")), expected[i][k]);
            after = (uint64_t)json_integer_value(json_object_get(event, "seq"));
        }
    }
}

/* Events of a store of the schema before stay whose they were. */
static void test_migration(void **state) {
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *of_user = NULL, *of_other = NULL;

    reopen_old_store(q->f, 5,
                     "INSERT INTO jobs (kind, status, owner, name, labels, priority, attempt, "
                     "request, model_dir, params, version, created_at, private) VALUES "
                     "('eval', 'queued', 'user', '', '{}', 0, 1, '{}', '/', '{}', 1, 1000, 1),"
                     "('eval', 'queued', 'user', '', '{}', 0, 1, '{}', '/', '{}', 1, 1000, 0);"
                     "INSERT INTO events (job_id, type, at, data) VALUES (1, 'x', 1, '{}'), "
                     "(2, 'x', 1, '{}')");
    connect_queue_again(q);
    begin(q->f);
    assert_int_equal(store_list_events(q->f->store, 0, "user", 0, 10, &of_user), 0);
    assert_int_equal(end(q->f, store_list_events(q->f->store, 0, "other", 0, 10, &of_other)), 0);
    assert_int_equal(json_array_size(of_user), 2);
    assert_int_equal(json_array_size(of_other), 1);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(of_other, 0), "job")), 2);
}

static void test_changes_are_the_owners(void **state) {
    static const char *const requests[] = {request_text, PRIVATE_REQUEST};
    struct queue *q = *state;
    struct failure failure = {};

    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        cleanup(json_decrefp) json_t *job = NULL;
        int64_t id = submit_as(q, &user, requests[i]), again;

        assert_int_equal(jobs_cancel(&q->jobs, &other, id, &failure), -EPERM);
        assert_non_null(strstr(failure.detail, "user"));
        expect_status(q, id, "queued", 1);
        assert_int_equal(jobs_cancel(&q->jobs, &user, id, &failure), 0);

        assert_int_equal(jobs_retry(&q->jobs, &other, NULL, id, &job, &failure), -EPERM);
        assert_int_equal(jobs_retry(&q->jobs, &user, NULL, id, &job, &failure), 0);
        again = json_integer_value(json_object_get(job, "id"));
        assert_int_equal(look(q, &other, again), i ? -EPERM : 0);
        assert_int_equal(jobs_cancel(&q->jobs, &admin, again, &failure), 0);

        assert_int_equal(jobs_delete(&q->jobs, &other, id, &failure), -EPERM);
        assert_int_equal(look(q, &user, id), 0);
        assert_int_equal(jobs_delete(&q->jobs, &user, id, &failure), 0);
        assert_int_equal(jobs_delete(&q->jobs, &admin, again, &failure), 0);
    }
}

/* A checkpoint is read by naming its job as the model, too. */
static void test_private_model(void **state) {
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *result = make_result(1), *request = NULL, *job = NULL;
    int64_t id = submit_as(q, &user, PRIVATE_REQUEST);
    struct failure failure = {};
    bool created;

    assert_int_equal(claim_next(q), id);
    assert_int_equal(jobs_succeed(&q->jobs, id, result, &failure), 0);
    request = json_pack("{ss si ss}", "model", "job:1", "wbits", 16, "eval", "ptb");
    assert_int_equal(jobs_submit(&q->jobs, &other, NULL, request, &job, &created, &failure),
                     -EPERM);
    assert_string_equal(failure.code, "forbidden");
    assert_int_equal(jobs_submit(&q->jobs, &user, NULL, request, &job, &created, &failure), 0);
}

/* A key is its owner's: another's is another key, and shows nothing of the job behind it. */
static void test_keys(void **state) {
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *request = json_loads(PRIVATE_REQUEST, 0, NULL);
    cleanup(json_decrefp) json_t *first = NULL, *second = NULL;
    struct failure failure = {};
    bool created;

    assert_int_equal(jobs_submit(&q->jobs, &user, "k", request, &first, &created, &failure), 0);
    assert_int_equal(jobs_submit(&q->jobs, &other, "k", request, &second, &created, &failure), 0);
    assert_true(created);
    assert_string_equal(json_string_value(json_object_get(second, "owner")), "other");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_private_is_seen_by_few),
        TEST(test_notify_is_seen_by_few),
        TEST(test_lists),
        TEST(test_filters),
        TEST(test_sorts),
        TEST(test_events),
        TEST(test_pages_of_events),
        TEST(test_migration),
        TEST(test_changes_are_the_owners),
        TEST(test_private_model),
        TEST(test_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
