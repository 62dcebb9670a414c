// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/daemon/daemon_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>

/* Runs SQL on the database of a closed store, as another program would. */
static int tamper(struct fixture *f, const char *sql) {
    char path[128];
    sqlite3 *db = NULL;
    int rc;

    snprintf(path, sizeof(path), "%s/quantd.db", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_close(db);
    return rc;
}

static void reopen(struct fixture *f) {
    store_close(f->store);
    f->store = NULL;
    fixture_open(f);
}

static void test_every_transition(void **state) {
    static const bool allowed[N_JOB_STATUS][N_JOB_STATUS] = {
        [JOB_QUEUED] = {[JOB_RUNNING] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true},
        [JOB_RUNNING] = {[JOB_QUEUED] = true,
                         [JOB_CANCELLING] = true,
                         [JOB_SUCCEEDED] = true,
                         [JOB_FAILED] = true,
                         [JOB_CANCELLED] = true},
        [JOB_CANCELLING] = {[JOB_SUCCEEDED] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true},
    };
    struct fixture *f = *state;

    for (int from = 0; from < N_JOB_STATUS; from++) {
        for (int to = 0; to < N_JOB_STATUS; to++) {
            int64_t id;
            int r;

            if (from == to)
                continue;
            id = insert(f, "a", 0);
            if (from != JOB_QUEUED) {
                assert_int_equal(claim(f), id);
                if (from != JOB_RUNNING)
                    assert_int_equal(change(f, id, JOB_RUNNING, from), 0);
            }
            /* A queued job becomes running by a claim, which alone gives it a start. */
            if (from == JOB_QUEUED && to == JOB_RUNNING) {
                assert_int_equal(change(f, id, from, to), -EEXIST);
                assert_int_equal(claim(f), id);
                assert_int_equal(change(f, id, JOB_RUNNING, JOB_CANCELLED), 0);
                continue;
            }
            r = change(f, id, from, to);
            if (r != (allowed[from][to] ? 0 : -EEXIST))
                fail_msg("%s to %s: %d", job_status_name(from), job_status_name(to), r);
            /* Out of the queue, for the next round. */
            cleanup(job_row_freep) struct job_row *row = get(f, id);
            if (row->status == JOB_QUEUED)
                assert_int_equal(change(f, id, JOB_QUEUED, JOB_CANCELLED), 0);
            else if (!job_status_ended(row->status))
                assert_int_equal(change(f, id, row->status, JOB_CANCELLED), 0);
        }
    }
}

static void test_change_is_conditional(void **state) {
    struct fixture *f = *state;
    int64_t id = insert(f, "a", 0);

    assert_int_equal(change(f, id, JOB_RUNNING, JOB_CANCELLING), -ESTALE);
    assert_int_equal(change(f, 999, JOB_QUEUED, JOB_CANCELLED), -ESTALE);
    assert_int_equal(change(f, id, JOB_QUEUED, JOB_CANCELLED), 0);
    cleanup(job_row_freep) struct job_row *row = get(f, id);
    assert_int_equal(row->finished_at, 3);
    assert_int_equal(row->status, JOB_CANCELLED);
}

static void test_constraints(void **state) {
    static const char *const refused[] = {
        "UPDATE jobs SET finished_at = 5 WHERE id = 1",
        "UPDATE jobs SET status = 'done' WHERE id = 1",
        "UPDATE jobs SET priority = 101 WHERE id = 1",
        "UPDATE jobs SET status = 'failed', finished_at = 5 WHERE id = 1",
        "UPDATE jobs SET priority = 'high' WHERE id = 1",
        "UPDATE jobs SET name = 'x' WHERE id = 2",
        "PRAGMA foreign_keys = ON; INSERT INTO layers (job_id, layer, data) VALUES (77, 0, '{}')",
    };
    struct fixture *f = *state;
    int64_t first = insert(f, "a", 0), second = insert(f, "a", 0);

    assert_int_equal(first, 1);
    assert_int_equal(change(f, second, JOB_QUEUED, JOB_CANCELLED), 0);
    store_close(f->store);
    f->store = NULL;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (tamper(f, refused[i]) != SQLITE_CONSTRAINT)
            fail_msg("not refused: %s", refused[i]);
    }
    fixture_open(f);
}

static void test_claim_order(void **state) {
    struct fixture *f = *state;
    int64_t a1 = insert(f, "user", 0), a2 = insert(f, "user", 0), a3 = insert(f, "user", 0);
    int64_t b1 = insert(f, "other", 0), low = insert(f, "third", -1), high = insert(f, "user", 7);
    const int64_t order[] = {high, b1, a1, a2, a3, low};

    /* After the high one it is not user's turn. The place in the queue says so beforehand. */
    for (int i = 0; i < 6; i++) {
        if (i == 1)
            assert_int_equal(place(f, a3), 4);
        assert_int_equal(claim(f), order[i]);
    }
    assert_int_equal(claim(f), 0);
}

static void test_turns(void **state) {
    struct fixture *f = *state;
    int64_t a[3], b[3];

    for (int i = 0; i < 3; i++)
        a[i] = insert(f, "user", 0);
    for (int i = 0; i < 3; i++)
        b[i] = insert(f, "other", 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(place(f, b[i]), 2 * i + 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(claim(f), a[i]);
        assert_int_equal(claim(f), b[i]);
    }
}

/* What was interrupted goes on before others of its priority start. */
static void test_interrupted_first(void **state) {
    struct fixture *f = *state;
    int64_t a = insert(f, "user", 0), b = insert(f, "other", 0);

    assert_int_equal(claim(f), a);
    assert_int_equal(change(f, a, JOB_RUNNING, JOB_QUEUED), 0);
    assert_int_equal(claim(f), a);
    assert_int_equal(claim(f), b);
}

static void test_versions_never_repeat(void **state) {
    struct fixture *f = *state;
    int64_t id = insert(f, "a", 0);
    uint64_t before = store_version(f->store), queue = store_version_queue(f->store);

    assert_int_equal(before, queue);
    assert_true(store_version_next(f->store) > before);
    before = store_version(f->store);
    reopen(f);
    assert_true(store_version(f->store) > before);
    assert_int_equal(change(f, id, JOB_QUEUED, JOB_CANCELLED), 0);
    cleanup(job_row_freep) struct job_row *row = get(f, id);
    assert_true(row->version > before);
    assert_int_equal(row->version, store_version_queue(f->store));
}

static void test_rollback(void **state) {
    cleanup(json_decrefp) json_t *data = json_object();
    struct fixture *f = *state;
    int64_t id = insert(f, "a", 0);
    cleanup(json_decrefp) json_t *events = NULL;

    begin(f);
    assert_int_equal(store_append_event(f->store, id, "x", 1, data, NULL), 0);
    assert_int_equal(end(f, -EIO), -EIO);
    assert_int_equal(store_last_seq(f->store), 0);
    begin(f);
    assert_int_equal(end(f, store_list_events(f->store, 0, NULL, 0, 10, &events)), 0);
    assert_int_equal(json_array_size(events), 0);
}

static void test_events(void **state) {
    cleanup(json_decrefp) json_t *data = json_pack("{ss}", "k", "v");
    struct fixture *f = *state;
    int64_t ids[2] = {insert(f, "a", 0), insert(f, "b", 0)};
    cleanup(json_decrefp) json_t *all = NULL, *one = NULL, *none = NULL;

    for (int i = 0; i < 6; i++) {
        uint64_t seq = 0;

        begin(f);
        assert_int_equal(
            end(f, store_append_event(f->store, ids[i % 2], "progress", 1000, data, &seq)), 0);
        assert_int_equal(seq, i + 1);
        assert_int_equal(store_last_seq(f->store), seq);
    }
    reopen(f);
    assert_int_equal(store_last_seq(f->store), 6);
    begin(f);
    assert_int_equal(store_list_events(f->store, 0, NULL, 2, 3, &all), 0);
    assert_int_equal(store_list_events(f->store, ids[1], NULL, 2, 10, &one), 0);
    assert_int_equal(end(f, store_list_events(f->store, 0, NULL, UINT64_MAX, 10, &none)), 0);
    assert_int_equal(json_array_size(all), 3);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(all, 0), "seq")), 3);
    assert_int_equal(json_array_size(one), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(one, 0), "job")), ids[1]);
    assert_string_equal(json_string_value(json_object_get(json_array_get(one, 0), "at")),
                        "1970-01-01T00:00:01.000Z");
    assert_int_equal(json_array_size(none), 0);
}

static void expect_event(struct fixture *f, int64_t id, const char *type, double value,
                         bool there) {
    cleanup(json_decrefp) json_t *data = json_pack("{sf ss}", "n", value, "k", "v");
    bool found = !there;

    begin(f);
    assert_int_equal(end(f, store_has_event(f->store, id, type, data, &found)), 0);
    assert_true(found == there);
}

static void test_has_event(void **state) {
    struct fixture *f = *state;
    int64_t ids[2] = {insert(f, "a", 0), insert(f, "b", 0)};

    for (int i = 0; i < 3; i++) {
        cleanup(json_decrefp) json_t *data =
            json_pack("{ss sf sn}", "k", "v", "n", 0.1 + i / 3.0, "more");

        begin(f);
        assert_int_equal(end(f, store_append_event(f->store, ids[0], "x", 1, data, NULL)), 0);
    }
    expect_event(f, ids[0], "x", 0.1 + 2 / 3.0, true); /* to the last bit; it may say more */
    expect_event(f, ids[0], "x", 0.7666, false);
    expect_event(f, ids[0], "y", 0.1, false);
    expect_event(f, ids[1], "x", 0.1, false);
}

static void put_layer(struct fixture *f, int64_t id, int layer) {
    cleanup(json_decrefp) json_t *data = json_pack("{si}", "layer", layer);

    begin(f);
    assert_int_equal(end(f, store_put_layer(f->store, id, layer, data)), 0);
}

static void test_layers(void **state) {
    struct fixture *f = *state;
    int64_t id = insert(f, "a", 0);
    cleanup(json_decrefp) json_t *layers = NULL;

    for (int i = 0; i < 3; i++)
        put_layer(f, id, i);
    put_layer(f, id, 1); /* a second try went back to layer 1 */
    begin(f);
    assert_int_equal(end(f, store_list_layers(f->store, id, &layers)), 0);
    assert_int_equal(json_array_size(layers), 2);
}

static void test_baseline(void **state) {
    struct fixture *f = *state;
    struct eval_row row = {.name = "ptb",
                           .value = 10.5,
                           .wbits = 16,
                           .model_fingerprint = "m",
                           .windows_sha256 = "w",
                           .seqlen = 512};
    struct eval_row other = row;
    double value = 0;

    other.windows_sha256 = "other";
    begin(f);
    assert_int_equal(store_find_baseline(f->store, &row, "user", &value), -ENOENT);
    assert_int_equal(end(f, 0), 0);
    for (int i = 0; i < 3; i++) {
        int64_t id = insert(f, "a", 0);

        row.wbits = i < 2 ? 16 : 4;
        row.value = 10 + i;
        begin(f);
        assert_int_equal(end(f, store_put_eval(f->store, id, &row)), 0);
    }
    begin(f);
    assert_int_equal(store_find_baseline(f->store, &other, "user", &value), -ENOENT);
    assert_int_equal(end(f, store_find_baseline(f->store, &row, "user", &value)), 0);
    assert_true(value == 11);
}

/* What a private job has measured is for its owner alone. */
static void test_private_baseline(void **state) {
    struct fixture *f = *state;
    cleanup(json_decrefp) json_t *empty = json_object();
    const struct new_job job = {.kind = "eval",
                                .owner = "user",
                                .name = "",
                                .model_dir = "/nowhere",
                                .labels = empty,
                                .request = empty,
                                .params = empty,
                                .private = true,
                                .created_at = 1};
    const struct eval_row row = {.name = "ptb",
                                 .value = 10.5,
                                 .wbits = 16,
                                 .model_fingerprint = "m",
                                 .windows_sha256 = "w",
                                 .seqlen = 512};
    double value = 0;
    int64_t id;

    begin(f);
    assert_int_equal(store_insert_job(f->store, &job, &id), 0);
    assert_int_equal(store_put_eval(f->store, id, &row), 0);
    assert_int_equal(store_find_baseline(f->store, &row, "other", &value), -ENOENT);
    assert_int_equal(end(f, store_find_baseline(f->store, &row, "user", &value)), 0);
    assert_true(value == 10.5);
}

static void test_idempotency_key(void **state) {
    char sha256[SHA256_TEXT_SIZE];
    struct fixture *f = *state;
    int64_t id = insert(f, "a", 0), found = 0;

    begin(f);
    assert_int_equal(store_find_key(f->store, "a", "k", sha256, &found), -ENOENT);
    assert_int_equal(end(f, store_put_key(f->store, "a", "k", "abc", id, 1)), 0);
    begin(f);
    assert_int_equal(end(f, store_put_key(f->store, "a", "k", "def", id, 1)), -EEXIST);
    begin(f);
    assert_int_equal(store_find_key(f->store, "b", "k", sha256, &found), -ENOENT);
    assert_int_equal(end(f, store_find_key(f->store, "a", "k", sha256, &found)), 0);
    assert_int_equal(found, id);
    assert_string_equal(sha256, "abc");
}

static int count_row(void *ctx, const struct job_summary *summary) {
    int64_t *ids = ctx;

    ids[++ids[0]] = summary->id;
    return 0;
}

static void test_list(void **state) {
    struct fixture *f = *state;
    int64_t ids[8] = {0};
    struct store_filter filter = {.owner = "b", .after = 6, .limit = 2};

    for (int i = 0; i < 6; i++)
        insert(f, i % 2 ? "b" : "a", 0);
    begin(f);
    assert_int_equal(end(f, store_list_summaries(f->store, &filter, count_row, ids)), 0);
    assert_int_equal(ids[0], 2);
    assert_int_equal(ids[1], 4);
    assert_int_equal(ids[2], 2);
}

/* By the perplexity of wikitext2, else of the first set; a job that measured none comes last. */
static void test_list_sorted(void **state) {
    static const double perplexities[] = {9.5, 7.25, 0, 8};
    static const int64_t expected[] = {4, 2, 1, 3};
    struct fixture *f = *state;
    int64_t ids[8] = {0};
    struct store_filter filter = {.sort = "perplexity", .limit = 8};

    for (size_t i = 0; i < ARRAY_SIZE(perplexities); i++) {
        struct eval_row row = {.name = "ptb",
                               .value = perplexities[i],
                               .wbits = 4,
                               .model_fingerprint = "m",
                               .windows_sha256 = "w",
                               .seqlen = 8};
        int64_t id = insert(f, "a", 0);

        begin(f);
        if (row.value > 0) {
            assert_int_equal(store_put_eval(f->store, id, &row), 0);
            row.name = i == 3 ? "wikitext2" : "c4";
            row.value = i == 3 ? 6 : 1;
            assert_int_equal(store_put_eval(f->store, id, &row), 0);
        }
        end(f, 0);
    }
    begin(f);
    assert_int_equal(end(f, store_list_summaries(f->store, &filter, count_row, ids)), 0);
    assert_int_equal(ids[0], 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ids[1 + i], expected[i]);
    ids[0] = 0;
    filter.after = 4;
    filter.perplexity_min = 8;
    begin(f);
    assert_int_equal(end(f, store_list_summaries(f->store, &filter, count_row, ids)), 0);
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[1], 1);
    filter.after = 9;
    begin(f);
    assert_int_equal(end(f, store_list_summaries(f->store, &filter, count_row, ids)), -ENOENT);
}

static void test_newer_schema_refused(void **state) {
    struct fixture *f = *state;
    struct store *store = NULL;

    store_close(f->store);
    f->store = NULL;
    assert_int_equal(tamper(f, "PRAGMA user_version = 1000"), SQLITE_OK);
    assert_int_equal(store_open(f->dir, &store, &f->failure), -EPROTONOSUPPORT);
    assert_string_equal(f->failure.code, "store_newer");
    assert_null(store);
}

static void test_other_database_refused(void **state) {
    struct fixture *f = *state;
    struct store *store = NULL;

    store_close(f->store);
    f->store = NULL;
    assert_int_equal(tamper(f, "PRAGMA application_id = 5; PRAGMA user_version = 1"), SQLITE_OK);
    assert_int_equal(store_open(f->dir, &store, &f->failure), -EBADMSG);
}

static void test_damaged_database_refused(void **state) {
    struct fixture *f = *state;
    struct store *store = NULL;
    char path[128];

    store_close(f->store);
    f->store = NULL;
    snprintf(path, sizeof(path), "%s/quantd.db", f->dir);
    assert_int_equal(file_replace(path, "this is no database, not at all", 31), 0);
    assert_true(store_open(f->dir, &store, &f->failure) < 0);
    assert_true(f->failure.detail[0]);
    assert_null(store);
}

#define N_THREADS 4
#define N_PER_THREAD 25

static void *insert_many(void *arg) {
    for (int i = 0; i < N_PER_THREAD; i++)
        insert(arg, "a", 0);
    return NULL;
}

static void test_threads(void **state) {
    struct fixture *f = *state;
    pthread_t threads[N_THREADS];
    int64_t n = 0;

    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, insert_many, f), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    begin(f);
    assert_int_equal(end(f, store_count_jobs(f->store, JOB_QUEUED, &n)), 0);
    assert_int_equal(n, N_THREADS * N_PER_THREAD);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_every_transition),
        TEST(test_change_is_conditional),
        TEST(test_constraints),
        TEST(test_claim_order),
        TEST(test_turns),
        TEST(test_interrupted_first),
        TEST(test_versions_never_repeat),
        TEST(test_rollback),
        TEST(test_events),
        TEST(test_has_event),
        TEST(test_layers),
        TEST(test_baseline),
        TEST(test_private_baseline),
        TEST(test_idempotency_key),
        TEST(test_list),
        TEST(test_list_sorted),
        TEST(test_newer_schema_refused),
        TEST(test_other_database_refused),
        TEST(test_damaged_database_refused),
        TEST(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
