// SPDX-License-Identifier: Apache-2.0
/* Groups of jobs on a real store, without a device. */
#include "daemon/queue/groups/group_request.h"
#include "daemon/queue/groups/groups.h"
#include "jobs_fixture.h"

static const struct caller other = {.owner = "other", .role = ROLE_SUBMIT};
static const struct caller admin = {.owner = "admin", .role = ROLE_ADMIN};

#define JOB "\"job\": {\"model\": \"m\", \"dataset\": \"wikitext2\"}"
#define SIX                                                                                        \
    "{\"name\": \"six\", " JOB ", \"lists\": {\"wbits\": [3, 4], \"groupsize\": [32, 64, 128]}}"

static int submit_group_as(struct queue *q, const struct caller *caller, const char *text,
                           const char *key, json_t **ret_group, bool *ret_created,
                           struct failure *failure) {
    cleanup(json_decrefp) json_t *body = json_loads(text, JSON_DECODE_ANY, NULL);

    assert_non_null(body);
    return groups_submit(&q->jobs, caller, key, body, ret_group, ret_created, failure);
}

/* The id of the new group. */
static int64_t submit_group(struct queue *q, const char *text) {
    cleanup(json_decrefp) json_t *group = NULL;
    struct failure failure;
    bool created;

    if (submit_group_as(q, &user, text, NULL, &group, &created, &failure))
        fail_msg("%s", failure.detail);
    assert_true(created);
    return json_integer_value(json_object_get(group, "id"));
}

static json_t *get_group(struct queue *q, int64_t id) {
    struct failure failure;
    json_t *group = NULL;
    uint64_t version;

    if (groups_object(&q->jobs, &user, id, 0, &group, &version, &failure))
        fail_msg("%s", failure.detail);
    return group;
}

static json_t *member(json_t *group, size_t i) {
    return json_array_get(json_object_get(group, "members"), i);
}

static int64_t number(const json_t *object, const char *name) {
    return json_integer_value(json_object_get(object, name));
}

static const char *text(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

static int64_t n_jobs(struct queue *q) {
    int64_t n[N_JOB_STATUS], sum = 0;

    begin(q->f);
    assert_int_equal(end(q->f, store_count_by_status(q->f->store, n)), 0);
    for (int i = 0; i < N_JOB_STATUS; i++)
        sum += n[i];
    return sum;
}

/* Every combination, the last list the fastest; a job says of which group it is. */
static void test_lists(void **state) {
    struct queue *q = *state;
    int64_t id = submit_group(q, SIX);
    cleanup(json_decrefp) json_t *group = get_group(q, id), *job = NULL;
    static const int values[6][2] = {{3, 32}, {3, 64}, {3, 128}, {4, 32}, {4, 64}, {4, 128}};

    assert_string_equal(text(group, "object"), "group");
    assert_string_equal(text(group, "name"), "six");
    assert_string_equal(text(group, "owner"), "user");
    assert_string_equal(text(group, "model"), "m");
    assert_string_equal(text(group, "status"), "queued");
    assert_int_equal(number(json_object_get(group, "counts"), "queued"), 6);
    assert_int_equal(json_array_size(json_object_get(group, "members")), 6);
    for (size_t i = 0; i < 6; i++) {
        json_t *of = json_object_get(member(group, i), "values");

        assert_int_equal(json_object_size(of), 2);
        assert_int_equal(number(of, "wbits"), values[i][0]);
        assert_int_equal(number(of, "groupsize"), values[i][1]);
        assert_int_equal(number(member(group, i), "id"), i + 1);
    }
    job = object(q, 5);
    assert_int_equal(number(json_object_get(job, "group"), "id"), id);
    assert_string_equal(text(json_object_get(job, "group"), "name"), "six");
    assert_int_equal(number(json_object_get(job, "params"), "groupsize"), 64);
    assert_string_equal(text(json_object_get(job, "params"), "dataset"), "wikitext2");
    expect_last_event(q, 6, "job.queued");
}

/* Members given one by one, with what they leave to the job, and names of their own. */
static void test_members(void **state) {
    struct queue *q = *state;
    int64_t id = submit_group(
        q, "{\"job\": {\"model\": \"m\", \"dataset\": \"wikitext2\", \"wbits\": 4, \"private\": "
           "true}, \"members\": [{\"preset\": \"best\", \"name\": \"a\"}, {\"wbits\": 3, "
           "\"nearest\": true}], \"lists\": {\"rules\": [[\"self_attn:wbits=8\"], []]}}");
    cleanup(json_decrefp) json_t *group = get_group(q, id);
    json_t *values = json_object_get(member(group, 2), "values");

    assert_int_equal(json_array_size(json_object_get(group, "members")), 4);
    assert_string_equal(text(member(group, 0), "name"), "a");
    assert_string_equal(text(member(group, 2), "name"), "");
    assert_string_equal(text(json_object_get(member(group, 0), "values"), "preset"), "best");
    assert_int_equal(number(json_object_get(member(group, 0), "values"), "wbits"), 4);
    assert_int_equal(number(values, "wbits"), 3);
    assert_string_equal(text(values, "method"), "rtn");
    assert_int_equal(json_array_size(json_object_get(values, "rules")), 1);
    assert_true(json_is_true(json_object_get(group, "private")));
}

/* What is wrong with one member refuses all of them, and says which. */
static void test_atomic(void **state) {
    static const struct {
        const char *text, *field, *detail;
    } cases[] = {
        {"[]", "", "not a JSON object"},
        {"{" JOB "}", "lists", "what"},
        {"{" JOB ", \"lists\": {}}", "lists", "lists"},
        {"{" JOB ", \"lists\": {\"wbits\": 4}}", "lists", "'wbits' must be a list"},
        {"{" JOB ", \"lists\": {\"wbits\": []}}", "lists", "'wbits' must be a list"},
        {"{" JOB ", \"lists\": [4]}", "lists", "object of lists"},
        {"{" JOB ", \"members\": []}", "members", "list of objects"},
        {"{" JOB ", \"members\": [4]}", "members", "list of objects"},
        {"{" JOB ", \"members\": [{\"priority\": 4}]}", "members", "'priority' is the same"},
        {"{" JOB ", \"lists\": {\"private\": [true]}}", "lists", "'private' is the same"},
        {"{" JOB ", \"lists\": {\"name\": [\"a\"]}}", "lists", "'name' is the same"},
        {"{" JOB ", \"lists\": {\"wbits\": [3]}, \"members\": [{\"wbits\": 4}]}", "members",
         "in members and in lists"},
        {"{\"job\": 4, \"lists\": {\"wbits\": [3]}}", "job", "object"},
        {"{" JOB ", \"name\": 4, \"lists\": {\"wbits\": [3]}}", "name", "string"},
        {"{" JOB ", \"model\": \"m\", \"lists\": {\"wbits\": [3]}}", "model", "not a field"},
        {"{" JOB ", \"lists\": {\"wbits\": [3, 4, 3]}}", "members",
         "member 3 of 3 (wbits 3) is the same as member 1"},
        {"{" JOB ", \"lists\": {\"wbits\": [3, 4, 5]}}", "wbits", "member 3 of 3 (wbits 5): wbits"},
        {"{" JOB ", \"lists\": {\"model\": [\"m\", \"none\"], \"wbits\": [4]}}", "model",
         "member 2 of 2 (model none, wbits 4): "},
        {"{" JOB ", \"lists\": {\"wbits\": [3, 4], \"groupsize\": [8, 7]}}", "groupsize",
         "member 2 of 4 (wbits 3, groupsize 7): groupsize"},
        {"{" JOB ", \"lists\": {\"colour\": [1]}}", "colour", "member 1 of 1 (colour 1): "},
    };
    struct queue *q = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct failure failure = {};
        json_t *group = NULL;
        bool created;

        assert_int_equal(submit_group_as(q, &user, cases[i].text, NULL, &group, &created, &failure),
                         -EINVAL);
        if (strcmp(failure.field, cases[i].field) || !strstr(failure.detail, cases[i].detail))
            fail_msg("%s: field '%s', %s", cases[i].text, failure.field, failure.detail);
    }
    assert_int_equal(n_jobs(q), 0);
}

/* 64 jobs and no more, however they are asked for. */
static void test_bounds(void **state) {
    struct queue *q = *state;
    struct strbuf members = {}, lists = {};
    struct failure failure;
    json_t *group = NULL;
    bool created;

    for (int i = 0; i < GROUP_MEMBERS_MAX + 1; i++)
        strbuf_printf(&members, "%s{\"seed\": %d}", i ? ", " : "", i);
    strbuf_puts(&lists, "{" JOB ", \"lists\": {");
    for (int i = 0; i < 70; i++)
        strbuf_printf(&lists, "%s\"p%d\": [1, 2]", i ? ", " : "", i);
    strbuf_puts(&lists, "}}");
    assert_int_equal(submit_group_as(q, &user, lists.data, NULL, &group, &created, &failure),
                     -EINVAL);
    assert_string_equal(failure.field, "lists");
    assert_non_null(strstr(failure.detail, "64"));
    strbuf_done(&lists);
    lists = (struct strbuf){};
    strbuf_printf(&lists, "{" JOB ", \"members\": [%s]}", members.data);
    assert_int_equal(submit_group_as(q, &user, lists.data, NULL, &group, &created, &failure),
                     -EINVAL);
    assert_string_equal(failure.field, "members");
    *strrchr(lists.data, '{') = '\0'; /* the last one less */
    *strrchr(lists.data, ',') = ']';
    strbuf_done(&members);
    members = (struct strbuf){};
    strbuf_printf(&members, "%s}", lists.data);
    submit_group(q, members.data);
    assert_int_equal(n_jobs(q), GROUP_MEMBERS_MAX);
    strbuf_done(&members);
    strbuf_done(&lists);
}

/* All members count: there is room for all, or for none. */
static void test_quota(void **state) {
    struct queue *q = *state;
    struct failure failure;
    json_t *group = NULL;
    bool created;

    q->jobs.quota.owner_jobs = 6;
    submit(q, NULL);
    assert_int_equal(submit_group_as(q, &user, SIX, NULL, &group, &created, &failure), -EDQUOT);
    assert_string_equal(failure.code, "owner_quota");
    assert_int_equal(n_jobs(q), 1);
    q->jobs.quota.queue_limit = 6;
    assert_int_equal(submit_group_as(q, &admin, SIX, NULL, &group, &created, &failure), -EAGAIN);
    assert_string_equal(failure.code, "queue_full");
    assert_int_equal(n_jobs(q), 1);
    assert_int_equal(jobs_cancel(&q->jobs, &user, 1, &failure), 0);
    submit_group(q, SIX);
    assert_int_equal(n_jobs(q), 7);
}

/* The same key again gives the group of the first time; for another body, or a job, it is used. */
static void test_key(void **state) {
    struct queue *q = *state;
    struct failure failure;
    json_t *group = NULL;
    bool created;

    assert_int_equal(submit_group_as(q, &user, SIX, "k", &group, &created, &failure), 0);
    assert_true(created);
    json_decref(steal_ptr(group));
    assert_int_equal(submit_group_as(q, &user, SIX, "k", &group, &created, &failure), 0);
    assert_false(created);
    assert_int_equal(number(group, "id"), 1);
    assert_int_equal(json_array_size(json_object_get(group, "members")), 6);
    json_decref(steal_ptr(group));
    assert_int_equal(n_jobs(q), 6);
    assert_int_equal(submit_group_as(q, &user, "{" JOB ", \"lists\": {\"wbits\": [3]}}", "k",
                                     &group, &created, &failure),
                     -EINVAL);
    assert_string_equal(failure.code, "idempotency_key_reused");
    assert_int_equal(submit_text(q, request_text, "k", &group, &created, &failure), -EINVAL);
    assert_int_equal(n_jobs(q), 6);
}

/* A private group is for its owner and admins; only they cancel any. */
static void test_access(void **state) {
    struct queue *q = *state;
    int64_t open = submit_group(q, "{" JOB ", \"lists\": {\"wbits\": [3, 4]}}");
    int64_t closed = submit_group(q, "{\"job\": {\"model\": \"m\", \"dataset\": \"wikitext2\", "
                                     "\"private\": true}, \"lists\": {\"wbits\": [3, 4]}}");
    const struct groups_filter all = {.limit = 10}, one = {.limit = 1},
                               none = {.owner = "x", .limit = 9};
    const struct job_filter members = {.group = closed, .limit = 10};
    json_t *group = NULL, *list = NULL, *ids = NULL;
    struct failure failure;
    uint64_t version;

    assert_int_equal(groups_object(&q->jobs, &other, open, 0, &group, &version, &failure), 0);
    json_decref(steal_ptr(group));
    assert_int_equal(groups_object(&q->jobs, &other, closed, 0, &group, &version, &failure),
                     -EPERM);
    assert_int_equal(groups_object(&q->jobs, &admin, closed, 0, &group, &version, &failure), 0);
    json_decref(steal_ptr(group));
    assert_int_equal(groups_object(&q->jobs, &admin, 3, 0, &group, &version, &failure), -ENOENT);
    assert_string_equal(failure.code, "group_not_found");

    assert_int_equal(groups_list(&q->jobs, &other, &all, &list, &failure), 0);
    assert_int_equal(json_array_size(json_object_get(list, "data")), 1);
    json_decref(steal_ptr(list));
    assert_int_equal(groups_list(&q->jobs, &user, &one, &list, &failure), 0);
    assert_int_equal(number(json_array_get(json_object_get(list, "data"), 0), "id"), closed);
    assert_true(json_is_true(json_object_get(list, "has_more")));
    json_decref(steal_ptr(list));
    assert_int_equal(groups_list(&q->jobs, &user, &none, &list, &failure), 0);
    assert_int_equal(json_array_size(json_object_get(list, "data")), 0);
    json_decref(steal_ptr(list));
    assert_int_equal(jobs_list(&q->jobs, &other, &members, 0, &list, &version, &failure), 0);
    assert_int_equal(json_array_size(json_object_get(list, "data")), 0);
    json_decref(steal_ptr(list));
    assert_int_equal(jobs_list(&q->jobs, &user, &members, 0, &list, &version, &failure), 0);
    assert_int_equal(json_array_size(json_object_get(list, "data")), 2);
    json_decref(steal_ptr(list));

    assert_int_equal(groups_cancel(&q->jobs, &other, open, &ids, &failure), -EPERM);
    assert_int_equal(groups_cancel(&q->jobs, &other, closed, &ids, &failure), -EPERM);
    assert_int_equal(groups_cancel(&q->jobs, &admin, closed, &ids, &failure), 0);
    assert_int_equal(json_object_size(ids), 2);
    json_decref(steal_ptr(ids));
    assert_int_equal(groups_cancel(&q->jobs, &user, closed, &ids, &failure), -EBUSY);
    assert_string_equal(failure.code, "group_ended");
}

static json_t *result_of(double value, int64_t size) {
    json_t *result = make_result(value);

    json_object_set_new(result, "size_bytes", json_integer(size));
    json_object_set_new(result, "bits_per_weight", json_real(3.5));
    json_object_set_new(result, "seconds", json_pack("{s:f}", "total", 2.5));
    return result;
}

/* Runs the next job to its end; 0: it fails. */
static void run_next(struct queue *q, double perplexity, int64_t size) {
    cleanup(json_decrefp) json_t *result = result_of(perplexity, size);
    struct failure why = {.code = "bad", .detail = "bad"}, failure;
    int64_t id = claim_next(q);

    assert_true(id > 0);
    assert_int_equal(perplexity > 0 ? jobs_succeed(&q->jobs, id, result, &failure)
                                    : jobs_fail(&q->jobs, id, &why, &failure),
                     0);
}

/* In the group itself, and in the list of groups. */
static void expect_group(struct queue *q, int64_t id, const char *status) {
    const struct groups_filter all = {.limit = 10};
    cleanup(json_decrefp) json_t *group = get_group(q, id), *list = NULL;
    struct failure failure;
    const json_t *listed;

    assert_int_equal(groups_list(&q->jobs, &user, &all, &list, &failure), 0);
    listed = json_array_get(json_object_get(list, "data"), 0);
    assert_int_equal(number(listed, "id"), id);
    assert_string_equal(text(group, "status"), status);
    assert_string_equal(text(listed, "status"), status);
    assert_true(json_equal(json_object_get(group, "counts"), json_object_get(listed, "counts")));
    assert_true(
        json_equal(json_object_get(group, "finished_at"), json_object_get(listed, "finished_at")));
}

/* What the jobs measured, side by side; who is on the front; and what kill -9 leaves of it. */
static void test_results(void **state) {
    struct queue *q = *state;
    int64_t id = submit_group(q, "{" JOB ", \"lists\": {\"seed\": [1, 2, 3, 4, 5]}}");
    cleanup(json_decrefp) json_t *running = NULL, *group = NULL, *job = NULL;
    static const bool pareto[] = {true, false, true, false, false};
    struct failure failure;
    uint64_t version, again;
    json_t *same = NULL;

    run_next(q, 10, 300);
    run_next(q, 11, 400); /* larger and worse */
    running = get_group(q, id);
    assert_string_equal(text(running, "status"), "running");
    assert_true(json_is_null(json_object_get(running, "finished_at")));
    restart(q);
    run_next(q, 12, 200);
    run_next(q, 0, 0);
    run_next(q, 10, 310); /* as good, and larger */
    group = get_group(q, id);
    assert_string_equal(text(group, "status"), "failed");
    assert_true(json_is_string(json_object_get(group, "finished_at")));
    assert_float_equal(json_real_value(json_object_get(group, "seconds")), 10, 1e-9);
    for (size_t i = 0; i < ARRAY_SIZE(pareto); i++)
        assert_int_equal(json_is_true(json_object_get(member(group, i), "pareto")), pareto[i]);
    assert_string_equal(text(member(group, 3), "status"), "failed");
    assert_string_equal(text(json_object_get(member(group, 3), "error"), "code"), "bad");
    assert_int_equal(number(member(group, 2), "size_bytes"), 200);

    /* The same version as long as nothing changes. */
    assert_int_equal(groups_object(&q->jobs, &user, id, 0, &same, &version, &failure), 0);
    json_decref(steal_ptr(same));
    assert_int_equal(groups_object(&q->jobs, &user, id, version, &same, &again, &failure), 0);
    assert_null(same);
    assert_int_equal(version, again);

    /* One more try of another caller is no member. */
    assert_int_equal(jobs_retry(&q->jobs, &admin, NULL, 4, &job, &failure), 0);
    assert_true(json_is_null(json_object_get(job, "group")));
    assert_int_equal(jobs_cancel(&q->jobs, &admin, number(job, "id"), &failure), 0);
    expect_group(q, id, "failed");
}

/* One more try is a member too, and the group is as its last tries are. */
static void test_retry(void **state) {
    struct queue *q = *state;
    int64_t id = submit_group(q, "{" JOB ", \"lists\": {\"percdamp\": [0.01, 0.1, 0.3]}}");
    struct failure failure;
    json_t *job = NULL;

    run_next(q, 0, 0);
    run_next(q, 10, 300);
    assert_int_equal(jobs_cancel(&q->jobs, &user, 3, &failure), 0);
    expect_group(q, id, "failed");
    assert_int_equal(jobs_retry(&q->jobs, &user, NULL, 1, &job, &failure), 0);
    assert_int_equal(number(json_object_get(job, "group"), "id"), id);
    json_decref(steal_ptr(job));
    expect_group(q, id, "running");
    run_next(q, 0, 0);
    expect_group(q, id, "failed");
    assert_int_equal(jobs_retry(&q->jobs, &user, NULL, 4, &job, &failure), 0);
    json_decref(steal_ptr(job));
    run_next(q, 11, 300);
    expect_group(q, id, "cancelled");
    assert_int_equal(jobs_retry(&q->jobs, &user, NULL, 3, &job, &failure), 0);
    json_decref(steal_ptr(job));
    run_next(q, 12, 300);
    expect_group(q, id, "succeeded");
}

/* With its retries a group has as many jobs as can be shown at once. */
static void test_full(void **state) {
    struct queue *q = *state;
    int64_t id = submit_group(q, "{" JOB ", \"lists\": {\"wbits\": [3, 4]}}"), last;
    cleanup(job_row_freep) struct job_row *row = get(q->f, 2);
    struct new_job more = {.kind = "quantize",
                           .owner = "user",
                           .name = "",
                           .model_dir = "/m",
                           .labels = row->labels,
                           .request = row->request,
                           .params = row->params,
                           .group = id};
    json_t *job = NULL, *group;
    struct failure failure;

    assert_int_equal(jobs_cancel(&q->jobs, &user, 1, &failure), 0);
    begin(q->f);
    for (int i = 2; i < JOBS_OF_GROUP_MAX; i++)
        assert_int_equal(store_insert_job(q->f->store, &more, &last), 0);
    assert_int_equal(end(q->f, 0), 0);
    group = get_group(q, id);
    assert_int_equal(json_array_size(json_object_get(group, "members")), JOBS_OF_GROUP_MAX);
    json_decref(group);
    assert_int_equal(jobs_retry(&q->jobs, &user, NULL, 1, &job, &failure), -EBUSY);
    assert_string_equal(failure.code, "group_full");
    assert_int_equal(jobs_cancel(&q->jobs, &user, last, &failure), 0);
    assert_int_equal(jobs_delete(&q->jobs, &user, last, &failure), 0);
    assert_int_equal(jobs_retry(&q->jobs, &user, NULL, 1, &job, &failure), 0);
    json_decref(job);
}

/* A group goes with its last job, and its number is not given again. */
static void test_delete(void **state) {
    struct queue *q = *state;
    int64_t id = submit_group(q, "{" JOB ", \"lists\": {\"wbits\": [3, 4]}}");
    json_t *ids = NULL, *gone = NULL, *group = NULL;
    struct failure failure;
    uint64_t version;

    assert_int_equal(groups_cancel(&q->jobs, &user, id, &ids, &failure), 0);
    json_decref(ids);
    assert_int_equal(jobs_delete(&q->jobs, &user, 1, &failure), 0);
    group = get_group(q, id);
    assert_int_equal(json_array_size(json_object_get(group, "members")), 1);
    assert_string_equal(text(group, "status"), "cancelled");
    json_decref(group);
    assert_int_equal(jobs_delete(&q->jobs, &user, 2, &failure), 0);
    assert_int_equal(groups_object(&q->jobs, &user, id, 0, &gone, &version, &failure), -ENOENT);
    assert_true(submit_group(q, SIX) > id);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_lists),  TEST(test_members), TEST(test_atomic),
                                       TEST(test_bounds), TEST(test_quota),   TEST(test_key),
                                       TEST(test_access), TEST(test_results), TEST(test_retry),
                                       TEST(test_delete), TEST(test_full)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
