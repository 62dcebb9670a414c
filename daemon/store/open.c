// SPDX-License-Identifier: Apache-2.0
/* Opening the store and closing it: the only place that knows the connection and its schema. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/store/migrate.h"
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

/* Starts count in the upper bits, changes within one start in the lower: neither wraps. */
#define VERSION_EPOCH_SHIFT 40

#define LOCK_SECONDS 1

/*
 * Bytes of disk that quantd.db-wal has from the start: the 1000 pages after which SQLite uses it
 * from its beginning again, and as much for what comes while the database itself cannot grow.
 */
#define JOURNAL_RESERVE (8 << 20)

/*
 * flock(), which waits for a moment: a child of a daemon that was killed holds its lock until it
 * has started its own program. Return: 0, or -1 with errno.
 */
static int lock_wait(int fd) {
    const struct timespec step = {.tv_nsec = 20000000};
    double until = clock_monotonic() + LOCK_SECONDS;
    int r;

    while ((r = flock(fd, LOCK_EX | LOCK_NB)) && errno == EWOULDBLOCK && clock_monotonic() < until)
        nanosleep(&step, NULL);
    return r;
}

/* Takes the lock that keeps a second daemon away; the kernel drops it however we end. */
static int lock_take(struct store *store, const char *dir, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/lock", dir);

    if (!path)
        return failure_oom(failure);
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store->lock_fd < 0)
        return failure_errno(failure, -errno, "cannot open", path);
    if (!lock_wait(store->lock_fd))
        return 0;
    if (errno != EWOULDBLOCK)
        return failure_errno(failure, -errno, "cannot lock", path);
    return failure_set(failure, -EBUSY, "store_locked",
                       "stop the other quantd, or give this one a --state-dir of its own",
                       "cannot use state folder '%s': another quantd runs on it", dir);
}

/* SQLite calls it inside the statement that changes a row. */
static void on_change(void *ctx, int operation, const char *database, const char *table,
                      sqlite3_int64 row) {
    struct store *store = ctx;

    (void)operation;
    (void)database;
    (void)row;
    if (str_equal(table, "jobs"))
        atomic_fetch_add(&store->stamp, 1);
}

/*
 * SQLite calls it when another program holds a lock: reading waits for a moment. Writing waits in
 * store_begin(), where it does not hold the store.
 */
static int on_busy(void *ctx, int n_calls) {
    const struct timespec moment = {.tv_nsec = 5000000};
    const struct store *store = ctx;

    if (store->impatient || n_calls >= 50)
        return 0;
    nanosleep(&moment, NULL);
    return 1;
}

static int open_database(struct store *store, const char *dir, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/quantd.db", dir);
    int rc, r;

    if (!path)
        return failure_oom(failure);
    rc = sqlite3_open_v2(path, &store->db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                             SQLITE_OPEN_NOFOLLOW,
                         NULL);
    if (rc == SQLITE_NOMEM)
        return failure_oom(failure);
    if (rc != SQLITE_OK)
        return failure_set(failure, -EIO, "store_error",
                           "check the permissions and the free space of the state folder",
                           "cannot open '%s': %s", path,
                           store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(rc));
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_update_hook(store->db, on_change, store);
    sqlite3_busy_handler(store->db, on_busy, store);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    chmod(path, 0600);
    /* The journal mode is last: it is the first that reads the file. */
    r = store_script(store, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                            "PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;"
                            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                            "PRAGMA journal_size_limit = 16777216;"
                            "PRAGMA journal_mode = WAL;");
    if (r)
        *failure = store->failure;
    return r;
}

/* One row, one value, as text. */
static int pragma_text(struct store *store, const char *sql, char **ret_text) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r;

    r = store_query(store, &statement, sql, "");
    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -EIO;
    return store_column_text(store, statement, 0, ret_text);
}

static int check_database(struct store *store, const char *dir, struct failure *failure) {
    cleanup(freep) char *report = NULL;
    int r = pragma_text(store, "PRAGMA quick_check(1)", &report);

    if (!r && str_equal(report, "ok"))
        return 0;
    if (r == -ENOMEM)
        return failure_oom(failure); /* says nothing of the database */
    return failure_set(failure, -EBADMSG, "store_corrupt",
                       "restore quantd.db from a backup, or move it away to start with an empty "
                       "queue",
                       "cannot use the database in '%s': %s", dir,
                       report ? report : store->failure.detail);
}

/*
 * Counts this start, so that no version of an earlier one comes again. The newest seq is the newest
 * that ever was, also when its job was deleted: cursors that clients hold stay good.
 */
static int start_epoch(struct store *store, struct failure *failure) {
    sqlite3_stmt *statement = NULL;
    uint64_t version = 0, seq = 0;
    int r = store_begin(store, STORE_WORK, failure);

    if (r)
        return r;
    r = store_query(store, &statement,
                    "UPDATE daemon SET epoch = epoch + 1 "
                    "RETURNING epoch, (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE "
                    "name = 'events')",
                    "");
    if (!r)
        r = store_step(store, statement);
    if (r == 1) {
        version = (uint64_t)sqlite3_column_int64(statement, 0) << VERSION_EPOCH_SHIFT;
        seq = sqlite3_column_int64(statement, 1);
    }
    store_resetp(&statement);
    r = store_end(store, r == 1 ? 0 : r ? r : -EIO, failure);
    store->version = version;
    store->version_queue = version;
    store->last_seq = seq;
    return r;
}

/*
 * Gives the journal its room, so that jobs are accepted and ends recorded while a running job has
 * filled the disk. Space beyond the end of a file is no part of it: SQLite does not see it, and
 * there is nothing to recover. Where the file system cannot, or has no room, the journal grows as
 * it is written. SQLite holds no lock on this file that close() would drop.
 */
static void reserve_journal(const char *dir) {
    cleanup(freep) char *path = str_format("%s/quantd.db-wal", dir);
    cleanup(closep) int fd = path ? open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -1;

    if (fd >= 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, JOURNAL_RESERVE))
        log_debug("no room is reserved for '%s': %s", path, strerror(errno));
}

int store_open(const char *dir, struct store **ret_store, struct failure *failure) {
    cleanup(store_closep) struct store *store = calloc(1, sizeof(*store));
    int r;

    if (!store)
        return failure_oom(failure);
    store->lock_fd = -1;
    pthread_mutex_init(&store->mutex, NULL);

    r = lock_take(store, dir, failure);
    if (!r)
        r = open_database(store, dir, failure);
    if (!r)
        r = check_database(store, dir, failure);
    if (!r)
        r = migrate(store, failure);
    if (!r)
        r = start_epoch(store, failure);
    if (r)
        return r;

    reserve_journal(dir);
    *ret_store = steal_ptr(store);
    return 0;
}

void store_close(struct store *store) {
    if (!store)
        return;
    for (int i = 0; i < store->n_statements; i++)
        sqlite3_finalize(store->statements[i].statement);
    sqlite3_close(store->db);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    pthread_mutex_destroy(&store->mutex);
    free(store);
}
