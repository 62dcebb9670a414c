// SPDX-License-Identifier: Apache-2.0
/* Jobs that lack files: their place in the queue, and what becomes of them. */
#include "daemon/queue/jobs.h"

#include "base/macros.h"
#include "daemon/data/catalog.h"

#include "daemon_fixture.h"
#include "old_store.h"

static int64_t insert_pull(struct fixture *f, int priority, const char *hub_model) {
    cleanup(json_decrefp) json_t *empty = json_object();
    struct new_job job = {.kind = "quantize",
                          .owner = "user",
                          .name = "",
                          .model_dir = "",
                          .labels = empty,
                          .request = empty,
                          .params = empty,
                          .priority = priority,
                          .created_at = 1,
                          .pull = true,
                          .hub_model = hub_model};
    int64_t id = 0;

    begin(f);
    assert_int_equal(end(f, store_insert_job(f->store, &job, &id)), 0);
    return id;
}

static int64_t next_pull_after(struct fixture *f, const char *passed) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    int r;

    begin(f);
    r = store_next_pull(f->store, passed, &row);
    assert_int_equal(end(f, r == -ENOENT ? 0 : r), 0);
    return row ? row->id : 0;
}

static int64_t next_pull(struct fixture *f) {
    return next_pull_after(f, "[]");
}

static int set_pulled(struct fixture *f, int64_t id) {
    cleanup(json_decrefp) json_t *params = json_pack("{ss}", "model_commit", "c");

    begin(f);
    return end(f, store_set_pulled(f->store, id, "/cache/model", params));
}

/* They are passed by, and fetched in the order of the queue. */
static void test_queue(void **state) {
    struct fixture *f = *state;
    int64_t low = insert_pull(f, 0, "org/low"), high = insert_pull(f, 5, "org/high");
    int64_t local = insert(f, "user", -5);
    cleanup(job_row_freep) struct job_row *row = NULL;

    cleanup(freep) char *high_passed = str_format("[%d]", (int)high);
    cleanup(freep) char *both_passed = str_format("[%d,%d]", (int)low, (int)high);

    assert_int_equal(next_pull(f), high);
    assert_int_equal(next_pull_after(f, high_passed), low);
    assert_int_equal(next_pull_after(f, both_passed), high);
    assert_int_equal(claim(f), local);
    assert_int_equal(claim(f), 0);
    assert_int_equal(set_pulled(f, high), 0);
    assert_int_equal(set_pulled(f, high), -ESTALE);
    assert_int_equal(next_pull(f), low);
    row = get(f, high);
    assert_false(row->pull);
    assert_string_equal(row->model_dir, "/cache/model");
    assert_string_equal(row->hub_model, "org/high");
    assert_string_equal(json_string_value(json_object_get(row->params, "model_commit")), "c");
    assert_int_equal(claim(f), high);
    assert_int_equal(change(f, low, JOB_QUEUED, JOB_CANCELLED), 0);
    assert_int_equal(set_pulled(f, low), -ESTALE);
    assert_int_equal(next_pull(f), 0);
}

static int64_t next_paused(struct fixture *f, int64_t after) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    int r;

    begin(f);
    r = store_next_paused_pull(f->store, after, &row);
    assert_int_equal(end(f, r == -ENOENT ? 0 : r), 0);
    return row ? row->id : 0;
}

/* For whose files there is no room is passed by, until there is some. */
static void test_paused(void **state) {
    struct fixture *f = *state;
    cleanup(json_decrefp) json_t *why = json_pack("{ss}", "code", "disk_full");
    int64_t large = insert_pull(f, 5, "org/large"), small = insert_pull(f, 0, "org/small");
    int64_t local = insert(f, "user", 0);
    cleanup(job_row_freep) struct job_row *row = NULL;

    begin(f);
    assert_int_equal(store_pause_job(f->store, large, 7, why), 0);
    assert_int_equal(end(f, store_pause_job(f->store, local, 7, why)), 0);
    assert_int_equal(next_pull(f), small);
    assert_int_equal(next_paused(f, 0), large);
    assert_int_equal(next_paused(f, large), 0);

    /* Room on the disk of the state folder is not room for a model. */
    begin(f);
    assert_int_equal(end(f, store_unpause_jobs(f->store, 8, NULL)), 0);
    row = get(f, local);
    assert_null(row->paused);
    assert_int_equal(next_paused(f, 0), large);

    begin(f);
    assert_int_equal(end(f, store_unpause_pull(f->store, large)), 0);
    assert_int_equal(next_paused(f, 0), 0);
    assert_int_equal(next_pull(f), large);
    begin(f);
    assert_int_equal(end(f, store_pause_job(f->store, large, 9, why)), 0);
    assert_int_equal(set_pulled(f, large), 0);
    job_row_free(row);
    row = get(f, large);
    assert_null(row->paused);
}

static bool uses(struct fixture *f, const char *model) {
    bool used = false;

    begin(f);
    assert_int_equal(end(f, store_uses_model(f->store, model, &used)), 0);
    return used;
}

static void test_uses_model(void **state) {
    struct fixture *f = *state;
    int64_t id = insert_pull(f, 0, "org/name");

    assert_true(uses(f, "org/name"));
    assert_false(uses(f, "org/nam"));
    assert_int_equal(set_pulled(f, id), 0);
    assert_int_equal(claim(f), id);
    assert_true(uses(f, "org/name"));
    assert_int_equal(change(f, id, JOB_RUNNING, JOB_CANCELLING), 0);
    assert_true(uses(f, "org/name"));
    assert_int_equal(change(f, id, JOB_CANCELLING, JOB_CANCELLED), 0);
    assert_false(uses(f, "org/name"));
}

static void test_pull_fails(void **state) {
    struct fixture *f = *state;
    cleanup(events_freep) struct events *events = events_new(f->store);
    struct jobs jobs = {.store = f->store, .events = events, .jobs_dir = f->jobs_dir};
    int64_t id = insert_pull(f, 0, "org/name");
    cleanup(job_row_freep) struct job_row *row = NULL;
    struct failure why, failure;

    failure_set(&why, -ECOMM, "hub_unreachable", "a hint", "no network");
    assert_int_equal(jobs_pull_failed(&jobs, id, &why, &failure), 0);
    assert_int_equal(jobs_pull_failed(&jobs, id, &why, &failure), -ESTALE);
    row = get(f, id);
    assert_int_equal(row->status, JOB_FAILED);
    assert_string_equal(json_string_value(json_object_get(row->error, "code")), "hub_unreachable");
}

static void expect_files(const char *request, enum job_kind kind, const char *expected) {
    cleanup(json_decrefp) json_t *object = json_loads(request, 0, NULL);
    cleanup(params_freep) struct params *params = NULL;
    struct failure failure;
    struct strbuf found = {};
    bool files[CATALOG_FILES];

    if (params_parse(kind, object, &params, &failure))
        fail_msg("%s", failure.detail);
    strbuf_puts(&found, "");
    jobs_files(params, kind, files);
    for (int i = 0; i < CATALOG_FILES; i++)
        if (files[i])
            strbuf_printf(&found, "%s ", catalog[i].name);
    assert_string_equal(found.data ? found.data : "", expected);
    strbuf_done(&found);
}

/* What a job reads, and nothing else. */
static void test_files(void **state) {
    (void)state;
    expect_files("{\"model\": \"m\", \"dataset\": \"c4\", \"wbits\": 4, \"eval\": [\"ptb-new\"]}",
                 JOB_QUANTIZE, "ptb.test c4.train ");
    expect_files("{\"model\": \"m\", \"wbits\": 4, \"nearest\": true}", JOB_QUANTIZE,
                 "wikitext2 ptb.valid c4.validation ");
    expect_files("{\"model\": \"m\", \"dataset\": \"file:x\", \"wbits\": 4, \"eval\": "
                 "[\"file:y\"]}",
                 JOB_QUANTIZE, "");
    expect_files("{\"model\": \"m\", \"eval\": [\"wikitext2\"]}", JOB_EVAL, "wikitext2 ");
}

/* A store of the first version keeps its jobs, and none of them waits for files. */
static void test_migration(void **state) {
    struct fixture *f = *state;
    cleanup(job_row_freep) struct job_row *row = NULL;

    reopen_old_store(f, 1,
                     "INSERT INTO jobs (kind, status, owner, name, labels, priority, attempt, "
                     "request, model_dir, params, version, created_at) VALUES ('eval', 'queued', "
                     "'user', '', '{}', 0, 1, '{}', '/m', '{}', 1, 1)");
    row = get(f, 1);
    assert_false(row->pull);
    assert_null(row->hub_model);
    assert_int_equal(claim(f), 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_queue),      TEST(test_paused), TEST(test_uses_model),
        TEST(test_pull_fails), TEST(test_files),  TEST(test_migration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
