// SPDX-License-Identifier: Apache-2.0
/* Jobs that wait for room on the disk, on a real store, without a device. */
#include "base/clock.h"
#include "jobs_fixture.h"

#define NO_ROOM UINT64_MAX /* no disk has that */

static int setup_disk(void **state) {
    struct queue *q;

    setup(state);
    q = *state;
    q->jobs.disk = malloc(sizeof(*q->jobs.disk));
    disk_init(q->jobs.disk, q->f->dir, NO_ROOM);
    return 0;
}

static int teardown_disk(void **state) {
    struct queue *q = *state;

    disk_done(q->jobs.disk);
    free(q->jobs.disk);
    return teardown(state);
}

static int claim_id(struct queue *q, int64_t *ret_id) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    struct failure failure;
    int r = jobs_claim(&q->jobs, "cpu", &row, &failure);

    *ret_id = row ? row->id : 0;
    return r;
}

static int64_t claim_on(struct queue *q, const char *device) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    struct failure failure;
    int r = jobs_claim(&q->jobs, device, &row, &failure);

    assert_true(!r || r == -ENOENT);
    return row ? row->id : 0;
}

static int64_t submit_eval(struct queue *q) {
    cleanup(json_decrefp) json_t *job = NULL;
    struct failure failure;
    bool created;

    assert_int_equal(
        submit_text(q, "{\"kind\": \"eval\", \"model\": \"m\"}", NULL, &job, &created, &failure),
        0);
    return json_integer_value(json_object_get(job, "id"));
}

static void expect_paused(struct queue *q, int64_t id, bool paused) {
    cleanup(json_decrefp) json_t *job = object(q, id);
    json_t *why = json_object_get(job, "paused");

    expect_status(q, id, "queued", 1);
    assert_int_equal(json_is_object(why), paused);
    if (!paused)
        return;
    assert_string_equal(json_string_value(json_object_get(why, "code")), "disk_full");
    assert_true(json_string_value(json_object_get(why, "detail"))[0]);
    assert_true(json_string_value(json_object_get(why, "hint"))[0]);
    assert_true(json_string_value(json_object_get(why, "since"))[0]);
}

static size_t count_events(struct queue *q, int64_t id) {
    cleanup(json_decrefp) json_t *events = NULL;

    begin(q->f);
    assert_int_equal(end(q->f, store_list_events(q->f->store, id, NULL, 0, 1000, &events)), 0);
    return json_array_size(events);
}

/* The job whose turn it is says why it waits, once; jobs that write nothing go on. */
static void test_claim_without_room(void **state) {
    struct queue *q = *state;
    int64_t first = submit(q, NULL), second = submit(q, NULL), eval, id;
    struct disk *disk = q->jobs.disk;

    assert_int_equal(claim_id(q, &id), -ENOSPC);
    expect_paused(q, first, true);
    expect_paused(q, second, false);
    expect_last_event(q, first, "job.paused");
    assert_int_equal(claim_id(q, &id), -ENOSPC);
    assert_int_equal(count_events(q, first), 2);

    eval = submit_eval(q);
    assert_int_equal(claim_id(q, &id), 0);
    assert_int_equal(id, eval);
    expect_paused(q, first, true);
    assert_int_equal(claim_id(q, &id), -ENOSPC);

    restart(q);
    q->jobs.disk = disk;
    expect_paused(q, first, true);
}

/* A job that lacked room is passed by as long as others wait; it is not lost for that. */
static void test_held_for_disk(void **state) {
    struct queue *q = *state;
    cleanup(holds_freep) struct holds *holds = holds_new();
    int64_t large = submit(q, NULL), small = submit(q, NULL);

    q->jobs.disk->floor = 0;
    q->jobs.holds = holds;
    holds_add(holds, large, HOLD_DISK, "cpu");
    assert_int_equal(jobs_look(&q->jobs, "cpu", &q->f->failure), 0);
    assert_int_equal(claim_on(q, "cpu"), small);
    assert_int_equal(claim_on(q, "cpu"), large);
    q->jobs.holds = NULL;
}

/* One that lacked a device's memory is not tried there before its time, but on another device. */
static void test_held_for_memory(void **state) {
    struct queue *q = *state;
    cleanup(holds_freep) struct holds *holds = holds_new();
    int64_t id = submit(q, NULL);
    double next;

    q->jobs.disk->floor = 0;
    q->jobs.holds = holds;
    assert_true(holds_next(holds, "cpu") == 0);
    holds_add(holds, id, HOLD_MEMORY, "cpu");
    next = holds_next(holds, "cpu");
    assert_true(next > clock_monotonic() && next < clock_monotonic() + 1.1);
    assert_int_equal(claim_on(q, "cpu"), 0);
    holds_add(holds, id, HOLD_MEMORY, "cpu");
    assert_true(holds_next(holds, "cpu") > next + 0.9);
    assert_true(holds_next(holds, "cuda:0") == 0);
    assert_int_equal(claim_on(q, "cuda:0"), id);
    holds_drop(holds, id);
    assert_true(holds_next(holds, "cpu") == 0);
    q->jobs.holds = NULL;
}

static void test_room_again(void **state) {
    struct queue *q = *state;
    int64_t first = submit(q, NULL), second = submit(q, NULL), id;
    cleanup(json_decrefp) json_t *why =
        json_pack("{ss ss ss}", "code", "a", "detail", "b", "hint", "c");
    struct failure failure;

    assert_int_equal(claim_id(q, &id), -ENOSPC);
    assert_int_equal(jobs_cancel(&q->jobs, &user, first, &failure), 0);
    cleanup(json_decrefp) json_t *job = object(q, first);
    assert_true(json_is_null(json_object_get(job, "paused")));
    first = second;
    second = submit(q, NULL);
    assert_int_equal(claim_id(q, &id), -ENOSPC);
    expect_paused(q, first, true);
    /* Another one, whose turn it was a moment ago. */
    begin(q->f);
    assert_int_equal(end(q->f, store_pause_job(q->f->store, second, 1, why)), 0);
    begin(q->f);
    assert_int_equal(end(q->f, store_pause_job(q->f->store, second, 1, why)), -ESTALE);

    q->jobs.disk->floor = 0;
    assert_int_equal(claim_id(q, &id), 0);
    assert_int_equal(id, first);
    expect_paused(q, second, false);
    expect_last_event(q, first, "job.started");
    assert_int_equal(claim_id(q, &id), 0);
    assert_int_equal(claim_id(q, &id), -ENOENT);
}

/* A job that ran goes back without a loss, and no end is guessed. */
static void test_pause_of_a_running_job(void **state) {
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *data = json_pack("{sf sf}", "fraction", 0.5, "eta_seconds", 9.0);
    int64_t id = submit(q, NULL), again;
    cleanup(freep) char *dir = str_format("%s/jobs/%d", q->f->dir, (int)id);
    struct failure failure, why;

    q->jobs.disk->floor = 0;
    assert_int_equal(claim_id(q, &again), 0);
    assert_int_equal(dir_make(dir), 0);
    assert_int_equal(events_progress(q->jobs.events, id, "progress", data, true, &failure), 0);
    failure_set(&why, -ENOSPC, "disk_full", "make room", "no room");
    assert_int_equal(jobs_pause(&q->jobs, id, &why, &failure), 0);
    expect_paused(q, id, true);
    expect_last_event(q, id, "job.paused");
    assert_int_equal(access(dir, F_OK), 0);
    cleanup(json_decrefp) json_t *job = object(q, id);
    json_t *progress = json_object_get(job, "progress");
    assert_true(json_is_null(json_object_get(progress, "eta_seconds")));
    assert_true(json_number_value(json_object_get(progress, "fraction")) == 0.5);
    assert_int_equal(jobs_pause(&q->jobs, id, &why, &failure), -ESTALE);
    assert_int_equal(claim_id(q, &again), 0);
    assert_int_equal(again, id);
}

/* Started two hours ago, paused for one of them: it ran for an hour. */
static void test_pauses_are_no_run_time(void **state) {
    struct queue *q = *state;
    cleanup(json_decrefp) json_t *result = make_result(10), *why = json_pack("{ss}", "code", "x");
    int64_t id = submit(q, NULL), hour = 3600000, now = clock_wall_ms(), claimed;
    cleanup(job_row_freep) struct job_row *row = NULL;
    struct failure failure;
    double seconds;

    q->jobs.disk->floor = 0;
    begin(q->f);
    assert_int_equal(
        end(q->f,
            store_claim_job(q->f->store, now - 2 * hour,
                            &(struct store_claim){.writes = true, .executor = "local"}, &row)),
        0);
    assert_int_equal(jobs_interrupt(&q->jobs, id, "shutdown", false, &failure), 0);
    begin(q->f);
    assert_int_equal(end(q->f, store_pause_job(q->f->store, id, now - hour, why)), 0);
    assert_int_equal(claim_id(q, &claimed), 0);
    assert_int_equal(claimed, id);
    assert_int_equal(jobs_succeed(&q->jobs, id, result, &failure), 0);
    seconds = histogram_read(&q->jobs.stats.run).sum;
    assert_true(seconds > 3500 && seconds < 3700);
    cleanup(json_decrefp) json_t *ended = object(q, id);
    seconds = json_number_value(json_object_get(ended, "paused_seconds"));
    assert_true(seconds >= 3600 && seconds < 3700);
}

static void test_pause_of_a_cancelled_job(void **state) {
    struct queue *q = *state;
    int64_t id = submit(q, NULL), claimed;
    cleanup(freep) char *dir = str_format("%s/jobs/%d", q->f->dir, (int)id);
    struct failure failure, why;

    q->jobs.disk->floor = 0;
    assert_int_equal(claim_id(q, &claimed), 0);
    assert_int_equal(dir_make(dir), 0);
    assert_int_equal(jobs_cancel(&q->jobs, &user, id, &failure), 0);
    failure_set(&why, -ENOSPC, "disk_full", "make room", "no room");
    assert_int_equal(jobs_pause(&q->jobs, id, &why, &failure), 0);
    expect_status(q, id, "cancelled", 1);
    assert_int_not_equal(access(dir, F_OK), 0);
}

/* A disk that shows room and takes nothing is asked ever more seldom. */
static void test_hold(void **state) {
    struct queue *q = *state;
    struct disk *disk = q->jobs.disk;
    struct failure failure;

    disk_refused(disk); /* below the floor nothing has to be guessed */
    assert_true(disk->held_until == 0);
    disk->floor = 0;
    assert_int_equal(disk_check(disk, &failure), 0);
    for (int seconds = DISK_HOLD_FIRST; seconds < 3 * DISK_HOLD_MAX; seconds *= 2) {
        int expected = seconds < DISK_HOLD_MAX ? seconds : DISK_HOLD_MAX;

        disk_refused(disk);
        assert_int_equal(disk->hold_seconds, expected);
        assert_true(disk->held_until > clock_monotonic() + expected - 60);
    }
    assert_int_equal(disk_check(disk, &failure), -ENOSPC);
    assert_string_equal(failure.code, "disk_full");
    disk->held_until = clock_monotonic();
    assert_int_equal(disk_check(disk, &failure), 0);
    disk_took(disk);
    disk_refused(disk);
    assert_int_equal(disk->hold_seconds, DISK_HOLD_FIRST);
    disk->dir = "/nowhere/at/all";
    assert_int_equal(disk_check(disk, &failure), -ENOENT);
}

#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, setup_disk, teardown_disk)

int main(void) {
    const struct CMUnitTest tests[] = {
        DISK_TEST(test_claim_without_room),     DISK_TEST(test_room_again),
        DISK_TEST(test_pause_of_a_running_job), DISK_TEST(test_pause_of_a_cancelled_job),
        DISK_TEST(test_pauses_are_no_run_time), DISK_TEST(test_hold),
        DISK_TEST(test_held_for_disk),          DISK_TEST(test_held_for_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
