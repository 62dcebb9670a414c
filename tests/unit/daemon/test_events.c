// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/events.h"

#include "daemon_fixture.h"

#include <unistd.h>

static void count_wake(void *ctx) {
    ++*(int *)ctx;
}

static size_t stored(struct fixture *f) {
    cleanup(json_decrefp) json_t *events = NULL;

    begin(f);
    assert_int_equal(end(f, store_list_events(f->store, 0, NULL, 0, 1000, &events)), 0);
    return json_array_size(events);
}

static void test_append_wakes(void **state) {
    struct fixture *f = *state;
    cleanup(events_freep) struct events *events = events_new(f->store);
    cleanup(json_decrefp) json_t *data = json_object();
    int64_t id = insert(f, "a", 0);
    int wakes = 0;

    events_subscribe(events, count_wake, &wakes);
    assert_int_equal(events_append(events, id, "phase.started", data, &f->failure), 0);
    assert_int_equal(events_append(events, id, "phase.started", data, &f->failure), 0);
    assert_int_equal(wakes, 2);
    assert_int_equal(stored(f), 2);
    /* A job that is not there: the store refuses, no client is woken. */
    assert_true(events_append(events, 99, "x", data, &f->failure) < 0);
    assert_int_equal(wakes, 2);
    events_subscribe(events, NULL, NULL);
    assert_int_equal(events_append(events, id, "x", data, &f->failure), 0);
    assert_int_equal(wakes, 2);
}

static void progress(struct fixture *f, struct events *events, int64_t id, double fraction) {
    cleanup(json_decrefp) json_t *data = json_pack("{sf}", "fraction", fraction);

    assert_int_equal(events_progress(events, id, "progress", data, true, &f->failure), 0);
}

static void test_progress_is_batched(void **state) {
    struct fixture *f = *state;
    cleanup(events_freep) struct events *events = events_new(f->store);
    cleanup(json_decrefp) json_t *now = NULL;
    int64_t id = insert(f, "a", 0);
    uint64_t before, version = 0;
    int wakes = 0;

    events_subscribe(events, count_wake, &wakes);
    assert_null(events_current(events, id, &version));
    for (int i = 0; i <= 1000; i++)
        progress(f, events, id, i / 1000.0);
    before = store_version(f->store);
    /* The newest is in memory, a row or two in the store, a few wakes. */
    now = events_current(events, id, &version);
    assert_true(json_number_value(json_object_get(now, "fraction")) == 1);
    assert_int_equal(version, before);
    assert_in_range(stored(f), 1, 5);
    assert_in_range(wakes, 1, 20);
    events_forget(events, id);
    assert_null(events_current(events, id, &version));
}

static void test_progress_is_stored_in_time(void **state) {
    struct fixture *f = *state;
    cleanup(events_freep) struct events *events = events_new(f->store);
    int64_t id = insert(f, "a", 0);

    progress(f, events, id, 0);
    assert_int_equal(stored(f), 1);
    usleep(1100000);
    progress(f, events, id, 0.5);
    assert_int_equal(stored(f), 2);
}

#define MANY 40

static void test_many_jobs(void **state) {
    struct fixture *f = *state;
    cleanup(events_freep) struct events *events = events_new(f->store);
    int64_t ids[MANY];
    uint64_t version;

    for (int i = 0; i < MANY; i++) {
        ids[i] = insert(f, "a", 0);
        progress(f, events, ids[i], i);
    }
    for (int i = 0; i < MANY; i++) {
        cleanup(json_decrefp) json_t *data = events_current(events, ids[i], &version);

        assert_true(json_number_value(json_object_get(data, "fraction")) == i);
    }
    /* Each is forgotten alone, and a job that was never seen has none. */
    events_forget(events, ids[0]);
    assert_null(events_current(events, ids[0], &version));
    assert_null(events_current(events, ids[MANY - 1] + 1, &version));
    cleanup(json_decrefp) json_t *last = events_current(events, ids[MANY - 1], &version);
    assert_non_null(last);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_append_wakes),
        TEST(test_progress_is_batched),
        TEST(test_progress_is_stored_in_time),
        TEST(test_many_jobs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
