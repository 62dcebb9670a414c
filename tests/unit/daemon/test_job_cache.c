// SPDX-License-Identifier: Apache-2.0
/* Jobs kept in memory: never older than what was committed, and seen without the store's lock. */
#include "daemon/queue/job_cache.h"

#include "daemon_fixture.h"

#include <pthread.h>
#include <unistd.h>

/* Over the store of the fixture. */
static struct job_cache *cache;

static int setup(void **state) {
    struct fixture *f;

    fixture_setup(state);
    f = *state;
    cache = job_cache_new(f->store);
    assert_non_null(cache);
    return 0;
}

static int teardown(void **state) {
    job_cache_free(cache);
    return fixture_teardown(state);
}

static struct cached_state look(struct fixture *f, int64_t id) {
    struct cached_state now = {};

    assert_int_equal(job_cache_find(cache, id, &now, &f->failure), 0);
    assert_int_equal(now.job->row->id, id);
    return now;
}

/* The same job, and what it looks like now. */
static void expect(struct fixture *f, int64_t id, enum job_status status, int64_t position) {
    struct cached_state now = look(f, id);

    assert_int_equal(now.job->row->status, status);
    assert_int_equal(now.position, position);
    assert_string_equal(json_string_value(json_object_get(now.job->object, "status")),
                        job_status_name(status));
    assert_true(json_is_null(json_object_get(now.job->object, "queue_position")));
    cached_job_free(now.job);
}

static struct cached_list *list(struct fixture *f, struct store_filter filter) {
    struct cached_list *list = NULL;

    assert_int_equal(job_cache_list(cache, &filter, &list, &f->failure), 0);
    return list;
}

static void test_changes_are_seen(void **state) {
    struct fixture *f = *state;
    int64_t first = insert(f, "a", 0), second = insert(f, "a", 0);
    struct cached_state old = look(f, first), now;

    expect(f, first, JOB_QUEUED, 1);
    expect(f, second, JOB_QUEUED, 2);
    assert_int_equal(claim(f), first);
    expect(f, first, JOB_RUNNING, 0);
    /* It has not changed itself, but moved up. */
    expect(f, second, JOB_QUEUED, 1);
    assert_int_equal(change(f, first, JOB_RUNNING, JOB_SUCCEEDED), 0);
    expect(f, first, JOB_SUCCEEDED, 0);
    /* A reader of the old one still has it as it was. */
    assert_int_equal(old.job->row->status, JOB_QUEUED);
    cached_job_free(old.job);

    begin(f);
    assert_int_equal(end(f, store_delete_job(f->store, first)), 0);
    assert_int_equal(job_cache_find(cache, first, &now, &f->failure), -ENOENT);
}

/* A change that is taken back was never there. */
static void test_rollback(void **state) {
    struct fixture *f = *state;
    int64_t id = insert(f, "a", 0);
    struct job_change change = {.from = JOB_QUEUED, .to = JOB_CANCELLED, .at = 3};

    expect(f, id, JOB_QUEUED, 1);
    begin(f);
    assert_int_equal(store_change_job(f->store, id, &change), 0);
    assert_int_equal(end(f, -EIO), -EIO);
    expect(f, id, JOB_QUEUED, 1);
}

/* The lock is not recursive: a job that took it here would wait for ever. */
static void test_no_lock(void **state) {
    struct fixture *f = *state;
    struct store_filter all = {.limit = 10};
    int64_t id = insert(f, "a", 0);
    cleanup(json_decrefp) json_t *data = json_object();
    struct cached_list *before, *after;

    expect(f, id, JOB_QUEUED, 1);
    before = list(f, all);
    alarm(20);
    begin(f);
    assert_int_equal(store_append_event(f->store, id, "layer.finished", 4, data, NULL), 0);
    expect(f, id, JOB_QUEUED, 1);
    after = list(f, all);
    assert_int_equal(end(f, 0), 0);
    alarm(0);
    assert_ptr_equal(before, after);
    cached_list_free(before);
    cached_list_free(after);
}

static void test_lists(void **state) {
    struct fixture *f = *state;
    int64_t first = insert(f, "a", 0), second = insert(f, "b", 0);
    struct cached_list *all = list(f, (struct store_filter){.limit = 1});
    struct cached_list *more;

    assert_int_equal(all->n, 1);
    assert_true(all->has_more);
    assert_int_equal(all->at[0].job->row->id, second);
    assert_int_equal(all->at[0].position, 2);
    /* The same text in other places are another question. */
    more = list(f, (struct store_filter){.owner = "a", .limit = 1});
    assert_int_equal(more->at[0].job->row->id, first);
    assert_false(more->has_more);
    cached_list_free(more);
    more = list(f, (struct store_filter){.text = "a", .limit = 1});
    assert_int_equal(more->n, 0);
    cached_list_free(more);

    assert_int_equal(claim(f), first);
    more = list(f, (struct store_filter){.limit = 1});
    assert_ptr_not_equal(more, all);
    assert_true(more->version > all->version);
    assert_int_equal(more->at[0].position, 1);
    assert_ptr_equal(more->at[0].job, all->at[0].job);
    cached_list_free(more);
    cached_list_free(all);
}

/* More jobs and more lists than are kept: each is itself. */
static void test_more_than_are_kept(void **state) {
    struct fixture *f = *state;
    int64_t first = 0, id = 0;

    for (int i = 0; i < JOB_CACHE_JOBS + 2; i++) {
        id = insert(f, "a", 0);
        first = first ? first : id;
    }
    for (int round = 0; round < 3; round++) {
        expect(f, first, JOB_QUEUED, 1);
        expect(f, first + JOB_CACHE_JOBS, JOB_QUEUED, JOB_CACHE_JOBS + 1);
    }
    for (int limit = 1; limit <= 2 * JOB_CACHE_LISTS; limit++) {
        struct cached_list *some = list(f, (struct store_filter){.limit = limit});

        assert_int_equal(some->n, limit);
        assert_int_equal(some->at[limit - 1].job->row->id, id - limit + 1);
        cached_list_free(some);
    }
}

struct racer {
    struct fixture *f;
    int64_t id;
    atomic_bool stop;
};

/* What was seen to have started is never seen to wait again. */
static void *race(void *arg) {
    struct racer *racer = arg;
    bool started = false;

    while (!racer->stop) {
        struct failure failure;
        struct cached_state now;

        if (job_cache_find(cache, racer->id, &now, &failure))
            return (void *)"not found";
        if (started && now.job->row->status == JOB_QUEUED)
            return (void *)"older than before";
        started |= now.job->row->status != JOB_QUEUED;
        cached_job_free(now.job);
    }
    return started ? NULL : (void *)"it never started";
}

static void test_threads(void **state) {
    struct racer racer = {.f = *state};
    pthread_t threads[4];

    racer.id = insert(racer.f, "a", 1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racer), 0);
    for (int i = 0; i < 50; i++)
        insert(racer.f, "b", 0);
    assert_int_equal(claim(racer.f), racer.id);
    /* At once, in the thread that knows. */
    expect(racer.f, racer.id, JOB_RUNNING, 0);
    for (int i = 0; i < 50; i++)
        insert(racer.f, "b", 0);
    racer.stop = true;
    for (int i = 0; i < 4; i++) {
        void *wrong;

        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_changes_are_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rollback, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_than_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
