// SPDX-License-Identifier: Apache-2.0
/* Backups of a real store: taken while it is written to, restored, refused, cut short. */
#include "base/clock.h"
#include "daemon/backup.h"
#include "jobs_fixture.h"

#include <pthread.h>

#define ROWS 4000

static int setup_backup(void **state) {
    struct queue *q;

    setup(state);
    q = *state;
    q->jobs.disk = malloc(sizeof(*q->jobs.disk));
    disk_init(q->jobs.disk, q->f->dir, 0);
    return 0;
}

static int teardown_backup(void **state) {
    struct queue *q = *state;

    disk_done(q->jobs.disk);
    free(q->jobs.disk);
    return teardown(state);
}

static void fill(struct queue *q, int64_t job, int n) {
    cleanup(json_decrefp) json_t *data =
        json_pack("{s:s}", "text", "forty bytes of text, so that pages fill up");

    begin(q->f);
    for (int i = 0; i < n; i++)
        assert_int_equal(store_append_event(q->f->store, job, "job.warning", 1, data, NULL), 0);
    assert_int_equal(end(q->f, 0), 0);
}

/* Waits for the end of the newest one; its state is the caller's. */
static json_t *finish(struct backup *backup) {
    struct failure failure;

    for (int i = 0; i < 20000; i++) {
        json_t *state = NULL;

        assert_int_equal(backup_state(backup, &state, &failure), 0);
        if (strcmp(json_string_value(json_object_get(state, "status")), "running"))
            return state;
        json_decref(state);
        usleep(1000);
    }
    fail_msg("the backup does not end");
    return NULL;
}

static json_t *make(struct backup *backup, const char *expected) {
    struct failure failure;
    json_t *state = NULL;

    if (backup_begin(backup, "user", &state, &failure))
        fail_msg("%s", failure.detail);
    json_decref(state);
    state = finish(backup);
    assert_string_equal(json_string_value(json_object_get(state, "status")), expected);
    return state;
}

static const char *text(const json_t *state, const char *key) {
    return json_string_value(json_object_get(state, key));
}

static int count_files(struct queue *q) {
    cleanup(freep) char *path = str_format("%s/backups", q->f->dir);
    cleanup(closedirp) DIR *dir = opendir(path);
    struct dirent *entry;
    int n = 0;

    while (dir && (entry = readdir(dir)))
        n += entry->d_name[0] != '.';
    return n;
}

/* As an operator does it: stop, copy, start. */
static void restore(struct queue *q, const char *from) {
    static const char *const names[] = {"quantd.db", "quantd.db-wal", "quantd.db-shm"};
    cleanup(freep) char *data = NULL, *to = str_format("%s/quantd.db", q->f->dir);
    struct failure failure;
    size_t size;

    disconnect_queue(q);
    store_close(steal_ptr(q->f->store));
    assert_int_equal(file_read(from, 1 << 30, &data, &size), 0);
    for (size_t i = 0; i < 3; i++) {
        cleanup(freep) char *path = str_format("%s/%s", q->f->dir, names[i]);

        assert_true(!unlink(path) || errno == ENOENT);
    }
    assert_int_equal(file_replace(to, data, size), 0);
    fixture_open(q->f);
    connect_queue(q);
    assert_int_equal(jobs_recover(&q->jobs, &failure), 0);
}

static void test_restore(void **state) {
    struct queue *q = *state;
    int64_t running = submit(q, "key"), waiting = submit(q, NULL), later;
    struct disk *disk = q->jobs.disk;
    struct artifact file = {.fd = -1};
    struct failure failure;
    struct backup backup;
    struct stat st;

    assert_int_equal(claim_next(q), running);
    backup_init(&backup, q->f->store, disk, q->f->dir);
    assert_int_equal(backup_open(&backup, "x", &file, &failure), -ENOENT);
    cleanup(json_decrefp) json_t *none = NULL;
    assert_int_equal(backup_state(&backup, &none, &failure), -ENOENT);
    cleanup(json_decrefp) json_t *done = make(&backup, "done");
    assert_int_equal(stat(text(done, "path"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, json_integer_value(json_object_get(done, "bytes")));
    assert_int_equal(count_files(q), 1);
    assert_int_equal(backup_open(&backup, text(done, "name"), &file, &failure), 0);
    assert_int_equal(file.size, st.st_size);
    assert_string_equal(file.sha256, text(done, "sha256"));
    close(file.fd);
    later = submit(q, NULL);
    backup_done(&backup);

    restore(q, text(done, "path"));
    q->jobs.disk = disk;
    expect_status(q, waiting, "queued", 1);
    expect_status(q, running, "queued", 2); /* it ran when the copy was taken */
    assert_int_equal(submit(q, "key"), running);
    assert_int_equal(submit(q, NULL), later); /* of that the copy knows nothing */
}

struct writer {
    struct queue *q;
    int64_t job;
    atomic_bool stop;
    int n;
};

static void *write_rows(void *arg) {
    struct writer *w = arg;

    while (!w->stop) {
        fill(w->q, w->job, 7);
        w->n += 7;
    }
    return NULL;
}

static int count_rows(struct store *store, int64_t job) {
    cleanup(json_decrefp) json_t *events = NULL;
    struct failure failure;
    int r;

    assert_int_equal(store_begin(store, STORE_READ, &failure), 0);
    r = store_list_events(store, job, NULL, 0, 10000000, &events);
    if (store_end(store, r, &failure))
        fail_msg("%s", failure.detail);
    return (int)json_array_size(events);
}

/* Others write all the while: the copy is one state of it, whole transactions only. */
static void test_while_others_write(void **state) {
    struct queue *q = *state;
    struct writer w = {.q = q, .job = submit(q, NULL)};
    cleanup(freep) char *dir = str_format("%s/restored", q->f->dir), *db = NULL, *data = NULL;
    struct store *copy = NULL;
    struct failure failure;
    struct backup backup;
    pthread_t thread;
    size_t size;
    int rows;

    fill(q, w.job, 20 * ROWS);
    backup_init(&backup, q->f->store, q->jobs.disk, q->f->dir);
    assert_int_equal(pthread_create(&thread, NULL, write_rows, &w), 0);
    cleanup(json_decrefp) json_t *done = make(&backup, "done");
    w.stop = true;
    pthread_join(thread, NULL);
    backup_done(&backup);

    assert_int_equal(file_read(text(done, "path"), 1 << 30, &data, &size), 0);
    db = str_format("%s/quantd.db", dir);
    assert_int_equal(dir_make(dir), 0);
    assert_int_equal(file_replace(db, data, size), 0);
    assert_int_equal(store_open(dir, &copy, &failure), 0);
    rows = count_rows(copy, w.job) - 20 * ROWS - 1; /* the first one: job.queued */
    store_close(copy);
    assert_in_range(rows, 0, w.n);
    assert_int_equal(rows % 7, 0);
}

static void test_kept(void **state) {
    struct queue *q = *state;
    cleanup(freep) char *foreign = str_format("%s/backups/of-mine.db", q->f->dir);
    cleanup(json_decrefp) json_t *first = NULL;
    struct backup backup;

    submit(q, NULL);
    backup_init(&backup, q->f->store, q->jobs.disk, q->f->dir);
    first = make(&backup, "done");
    assert_int_equal(file_replace(foreign, "x", 1), 0);
    for (int i = 0; i < BACKUPS_KEPT; i++) {
        cleanup(json_decrefp) json_t *state_of = make(&backup, "done");

        assert_string_not_equal(text(state_of, "name"), text(first, "name"));
        assert_int_equal(access(text(state_of, "path"), F_OK), 0);
    }
    assert_int_equal(count_files(q), BACKUPS_KEPT + 1);
    assert_int_not_equal(access(text(first, "path"), F_OK), 0);
    assert_int_equal(access(foreign, F_OK), 0);
    backup_done(&backup);
}

static void test_refused(void **state) {
    struct queue *q = *state;
    cleanup(freep) char *folder = str_format("%s/backups", q->f->dir);
    cleanup(freep) char *left = str_format("%s/backups/partial", q->f->dir);
    json_t *answer = NULL;
    struct failure failure;
    struct backup backup;

    /* What a crash left. */
    assert_int_equal(dir_make(folder), 0);
    assert_int_equal(file_replace(left, "x", 1), 0);
    fill(q, submit(q, NULL), ROWS);
    backup_init(&backup, q->f->store, q->jobs.disk, q->f->dir);
    assert_int_equal(count_files(q), 0);

    q->jobs.disk->floor = UINT64_MAX;
    assert_int_equal(backup_begin(&backup, "user", &answer, &failure), -ENOSPC);
    assert_string_equal(failure.code, "disk_full");
    assert_true(failure.hint[0]);
    q->jobs.disk->floor = 0;
    assert_int_equal(backup_begin(&backup, "user", &answer, &failure), 0);
    json_decref(steal_ptr(answer));
    assert_int_equal(backup_begin(&backup, "user", &answer, &failure), -EBUSY);
    assert_string_equal(failure.code, "backup_running");
    json_decref(finish(&backup));

    assert_int_equal(dir_remove(folder), 0);
    assert_int_equal(file_replace(folder, "x", 1), 0); /* in the way */
    cleanup(json_decrefp) json_t *failed = make(&backup, "failed");
    assert_true(json_is_null(json_object_get(failed, "bytes")));
    assert_true(text(json_object_get(failed, "error"), "detail")[0]);
    backup_done(&backup);
}

/* The daemon ends meanwhile: at once, and nothing is left. */
static void test_stopped(void **state) {
    struct queue *q = *state;
    json_t *answer = NULL;
    struct failure failure;
    struct backup backup;
    double began;

    fill(q, submit(q, NULL), 20 * ROWS);
    backup_init(&backup, q->f->store, q->jobs.disk, q->f->dir);
    assert_int_equal(backup_begin(&backup, "user", &answer, &failure), 0);
    json_decref(answer);
    began = clock_monotonic();
    backup_done(&backup);
    assert_true(clock_monotonic() - began < 10);
    assert_true(count_files(q) <= 1);
    backup_done(&(struct backup){});
}

#define BACKUP_TEST(name) cmocka_unit_test_setup_teardown(name, setup_backup, teardown_backup)

int main(void) {
    const struct CMUnitTest tests[] = {
        BACKUP_TEST(test_restore), BACKUP_TEST(test_while_others_write),
        BACKUP_TEST(test_kept),    BACKUP_TEST(test_refused),
        BACKUP_TEST(test_stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
