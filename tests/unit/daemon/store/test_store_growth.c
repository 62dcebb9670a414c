// SPDX-License-Identifier: Apache-2.0
/*
 * How what the store does grows with the queue and with the history: in steps of SQLite's virtual
 * machine, which are the same on every machine. tests/growth measures the seconds.
 */
#include "tests/unit/daemon/daemon_fixture.h"

#include "api/wire.h"
#include "base/macros.h"
#include "daemon/store/sql.h"

#include <inttypes.h>

#define N 100 /* jobs at first, and how many times as many then */
#define TIMES 8
#define OWNERS 4
#define PAGE 50
#define JOB_EVENTS 5

enum growth { FLAT, LINEAR };

/* What is done with a store whose newest job is @last. Return: 0 or -errno. */
struct operation {
    const char *name;
    int (*run)(struct fixture *f, int64_t last);
    enum growth growth;
};

/* -------- what is done -------- */

static int get_last(struct fixture *f, int64_t last) {
    cleanup(job_row_freep) struct job_row *row = NULL;

    return store_get_job(f->store, last, &row);
}

static int place_last(struct fixture *f, int64_t last) {
    struct job_summary summary;

    return store_get_summary(f->store, last, &summary);
}

static int count(void *ctx, const struct job_summary *summary) {
    (void)summary;
    ++*(int *)ctx;
    return 0;
}

static int list(struct fixture *f, const struct store_filter *filter) {
    int n = 0;
    int r = store_list_summaries(f->store, filter, count, &n);

    assert_true(r || n == PAGE);
    return r;
}

static int list_page(struct fixture *f, int64_t last) {
    (void)last;
    return list(f, &(struct store_filter){.limit = PAGE});
}

static int list_later_page(struct fixture *f, int64_t last) {
    return list(f, &(struct store_filter){.limit = PAGE, .after = last - 10});
}

static int list_waiting(struct fixture *f, int64_t last) {
    (void)last;
    return list(f, &(struct store_filter){.limit = PAGE, .status = "queued,running"});
}

static int list_by_bits(struct fixture *f, int64_t last) {
    (void)last;
    return list(f, &(struct store_filter){.limit = PAGE, .sort = "bits"});
}

static int next_job(struct fixture *f, int64_t last) {
    const struct store_claim claim = {.writes = true, .executor = "local"};
    int64_t id;
    bool paused;

    (void)last;
    return store_next_job(f->store, &claim, &id, &paused);
}

/* None lacks files, which is found out at each submission. */
static int next_pull(struct fixture *f, int64_t last) {
    cleanup(job_row_freep) struct job_row *row = NULL;

    (void)last;
    return store_next_pull(f->store, "[]", &row) == -ENOENT ? 0 : -EEXIST;
}

static int claim_next(struct fixture *f, int64_t last) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    const struct store_claim claim = {.writes = true, .executor = "local"};

    (void)last;
    return store_claim_job(f->store, 2, &claim, &row);
}

static int cancel_last(struct fixture *f, int64_t last) {
    const struct job_change change = {.from = JOB_QUEUED, .to = JOB_CANCELLED, .at = 3};

    return store_change_job(f->store, last, &change);
}

static int count_new_owner(struct fixture *f, int64_t last) {
    int64_t n;

    (void)last;
    return store_count_owner(f->store, "new", &n);
}

/* One with jobs. */
static int count_owner(struct fixture *f, int64_t last) {
    int64_t n;

    (void)last;
    return store_count_owner(f->store, "0", &n);
}

static int find_user(struct fixture *f, int64_t last) {
    int64_t id;

    (void)last;
    return store_find_user(f->store, "/not/used", &id) == -ENOENT ? 0 : -EEXIST;
}

/* What each ended job has measured, of one model. */
static const struct eval_row measured = {
    .name = "set", .wbits = 16, .model_fingerprint = "x", .windows_sha256 = "y", .seqlen = 8};

static int find_baseline(struct fixture *f, int64_t last) {
    double value = 0;
    int r = store_find_baseline(f->store, &measured, "0", &value);

    assert_true(r || value == (double)last);
    return r;
}

static int find_no_baseline(struct fixture *f, int64_t last) {
    struct eval_row other = measured;
    double value;

    (void)last;
    other.model_fingerprint = "other";
    return store_find_baseline(f->store, &other, "0", &value) == -ENOENT ? 0 : -EEXIST;
}

static int replay(struct fixture *f, int64_t job, const char *viewer) {
    cleanup(json_decrefp) json_t *events = NULL;
    int r = store_list_events(f->store, job, viewer, JOB_EVENTS, PAGE, &events);

    assert_true(r || json_array_size(events) == (job ? JOB_EVENTS : PAGE));
    return r;
}

static int replay_all(struct fixture *f, int64_t last) {
    (void)last;
    return replay(f, 0, NULL);
}

static int replay_seen(struct fixture *f, int64_t last) {
    (void)last;
    return replay(f, 0, "new");
}

static int replay_job(struct fixture *f, int64_t last) {
    return replay(f, last, NULL);
}

static int append_event(struct fixture *f, int64_t last) {
    cleanup(json_decrefp) json_t *data = json_object();

    return store_append_event(f->store, last, WIRE_EVENT_PROGRESS, 1, data, NULL);
}

static int list_runs(struct fixture *f, int64_t last) {
    cleanup(json_decrefp) json_t *runs = NULL;

    (void)last;
    return store_list_runs(f->store, NULL, 20, &runs);
}

static int next_ended(struct fixture *f, int64_t last) {
    struct store_ended ended = {.at = last / 2, .id = last / 2};

    return store_next_ended(f->store, 1000, &ended);
}

static int expire_progress(struct fixture *f, int64_t last) {
    int64_t after = last / 2;

    return MIN(store_expire_progress(f->store, 1000, &after), 0);
}

static int delete_last(struct fixture *f, int64_t last) {
    return store_delete_job(f->store, last);
}

static int count_states(struct fixture *f, int64_t last) {
    int64_t n[N_JOB_STATUS];

    (void)last;
    return store_count_by_status(f->store, n);
}

/* -------- how many steps it takes -------- */

/* Since the last call, of all statements. */
static int64_t steps_of(struct fixture *f) {
    int64_t steps = 0;

    for (int i = 0; i < f->store->n_statements; i++)
        steps +=
            sqlite3_stmt_status(f->store->statements[i].statement, SQLITE_STMTSTATUS_VM_STEP, 1);
    return steps;
}

static int64_t measure(struct fixture *f, const struct operation *operation, int64_t last) {
    int r;

    begin(f);
    steps_of(f);
    r = operation->run(f, last);
    if (r)
        fail_msg("%s: %s", operation->name, strerror(-r));
    assert_int_equal(end(f, r), 0);
    return steps_of(f);
}

/* One job with events; inside a transaction. */
static void add(struct fixture *f, int64_t wanted, bool ended, json_t *empty) {
    const struct store_claim to_run = {.writes = true, .executor = "local"};
    const struct job_change end = {
        .from = JOB_RUNNING, .to = JOB_SUCCEEDED, .at = wanted, .result = empty};
    const char owner[] = {(char)('0' + wanted % OWNERS), '\0'};
    const struct new_job job = {.kind = "quantize",
                                .owner = owner,
                                .name = "",
                                .model_dir = "/nowhere",
                                .labels = empty,
                                .request = empty,
                                .params = empty,
                                .created_at = 1};
    cleanup(job_row_freep) struct job_row *row = NULL;
    struct eval_row eval = measured;
    int64_t id;

    assert_int_equal(store_insert_job(f->store, &job, &id), 0);
    assert_int_equal(id, wanted);
    for (int i = 0; i < JOB_EVENTS; i++) {
        const char *type = i ? WIRE_EVENT_PROGRESS : WIRE_EVENT_JOB_QUEUED;

        assert_int_equal(store_append_event(f->store, id, type, 1, empty, NULL), 0);
    }
    if (!ended)
        return;
    assert_int_equal(store_claim_job(f->store, 2, &to_run, &row), 0);
    eval.value = (double)id;
    assert_int_equal(store_put_eval(f->store, id, &eval), 0);
    assert_int_equal(store_change_job(f->store, id, &end), 0);
}

/* Jobs of several owners, behind job @from up to job @n. */
static void fill(struct fixture *f, int64_t from, int64_t n, bool ended) {
    cleanup(json_decrefp) json_t *empty = json_object();

    begin(f);
    while (from < n)
        add(f, ++from, ended, empty);
    assert_int_equal(end(f, 0), 0);
}

static void check(const struct operation *operation, int64_t few, int64_t many) {
    double limit = operation->growth == FLAT ? 1.5 : 1.25 * TIMES;

    print_message("%-32s %8" PRId64 " %8" PRId64 " steps\n", operation->name, few, many);
    if ((double)many > limit * (double)few)
        fail_msg("%s: %" PRId64 " steps with %d jobs, %" PRId64 " with %d", operation->name, few, N,
                 many, N * TIMES);
}

/* What each operation takes with N jobs, and with TIMES as many. */
static void grow(struct fixture *f, const struct operation *operations, size_t n, bool ended,
                 int64_t *ret_many) {
    int64_t few[32];

    assert_true(n <= ARRAY_SIZE(few));
    fill(f, 0, N, ended);
    for (size_t i = 0; i < n; i++)
        few[i] = measure(f, &operations[i], N);
    fill(f, N, (int64_t)N * TIMES, ended);
    for (size_t i = 0; i < n; i++) {
        ret_many[i] = measure(f, &operations[i], (int64_t)N * TIMES);
        check(&operations[i], few[i], ret_many[i]);
    }
}

static void test_queue(void **state) {
    /* The first three are compared below; what changes jobs is last. */
    static const struct operation operations[] = {
        {"place of a job", place_last, LINEAR},
        {"page of jobs", list_page, LINEAR},
        {"next job that lacks files", next_pull, LINEAR},
        {"later page", list_later_page, LINEAR},
        {"page of jobs that wait", list_waiting, LINEAR},
        {"page by bits", list_by_bits, LINEAR},
        {"a job", get_last, FLAT},
        {"next job", next_job, LINEAR},
        {"jobs of a new owner", count_new_owner, FLAT},
        {"user of a model", find_user, FLAT},
        {"events of all", replay_all, FLAT},
        {"events that a user sees", replay_seen, FLAT},
        {"events of a job", replay_job, FLAT},
        {"claim", claim_next, LINEAR},
        {"cancel", cancel_last, FLAT},
    };
    int64_t steps[ARRAY_SIZE(operations)];

    grow(*state, operations, ARRAY_SIZE(operations), false, steps);
    /* The queue is put in order once for all jobs of a page. */
    assert_true(2 * steps[1] < 3 * steps[0]);
    assert_true(8 * steps[2] < steps[0]); /* it is not put in order for this */
}

static void test_history(void **state) {
    static const struct operation operations[] = {
        {"a job", get_last, FLAT},
        {"place of a job", place_last, FLAT},
        {"page of jobs", list_page, FLAT},
        {"later page", list_later_page, FLAT},
        {"page by bits", list_by_bits, LINEAR},
        {"events of all", replay_all, FLAT},
        {"events that a user sees", replay_seen, FLAT},
        {"events of a job", replay_job, FLAT},
        {"jobs of a new owner", count_new_owner, FLAT},
        {"jobs of an owner", count_owner, FLAT},
        {"user of a model", find_user, FLAT},
        {"baseline", find_baseline, FLAT},
        {"no baseline", find_no_baseline, FLAT},
        {"runs for an estimate", list_runs, FLAT},
        {"counts by status", count_states, LINEAR},
        {"next job that has ended", next_ended, FLAT},
        {"append an event", append_event, FLAT},
        {"expire progress", expire_progress, FLAT},
        {"delete a job", delete_last, FLAT},
    };
    int64_t steps[ARRAY_SIZE(operations)];

    grow(*state, operations, ARRAY_SIZE(operations), true, steps);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_queue, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_history, fixture_setup, fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
