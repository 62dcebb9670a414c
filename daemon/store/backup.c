// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/*
 * Pages that are copied while the store is locked: 256 KiB take a fraction of a millisecond. What
 * is written between two steps goes through the same connection, and so into the copy as well.
 */
#define STEP_PAGES 64

/* What failed with @rc on the connection @db, which is closed. */
static int fail(sqlite3 *db, int rc, const char *path, struct failure *failure) {
    int r = store_errno(db, rc);

    sqlite3_close(db);

    if (r == -ENOMEM)
        return failure_oom(failure);
    if (rc == SQLITE_INTERRUPT)
        return failure_set(failure, -ECANCELED, "cancelled", "start it again",
                           "the backup was stopped: quantd ends");
    return failure_set(failure, r, r == -ENOSPC ? "disk_full" : "backup_failed",
                       r == -ENOSPC ? "free space on the file system of the state folder"
                                    : "see the log of quantd and the disk of its state folder",
                       "cannot write the backup '%s': %s", path, sqlite3_errstr(rc));
}

static int step(struct store *store, sqlite3_backup *backup) {
    const struct timespec moment = {.tv_nsec = 1000000}; /* for others: the lock is not fair */
    int rc;

    pthread_mutex_lock(&store->mutex);
    rc = sqlite3_backup_step(backup, STEP_PAGES);
    pthread_mutex_unlock(&store->mutex);
    nanosleep(&moment, NULL);
    return rc;
}

/* Return: SQLite's code; SQLITE_INTERRUPT when *@stop. */
static int copy_pages(struct store *store, sqlite3 *copy, const atomic_bool *stop) {
    sqlite3_backup *backup;
    int rc;

    pthread_mutex_lock(&store->mutex);
    backup = sqlite3_backup_init(copy, "main", store->db, "main");
    pthread_mutex_unlock(&store->mutex);
    if (!backup)
        return sqlite3_errcode(copy);
    do
        rc = *stop ? SQLITE_INTERRUPT : step(store, backup);
    while (rc == SQLITE_OK);
    pthread_mutex_lock(&store->mutex);
    sqlite3_backup_finish(backup);
    pthread_mutex_unlock(&store->mutex);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int on_verdict(void *ctx, int n_columns, char **values, char **names) {
    (void)names;
    *(bool *)ctx = n_columns == 1 && str_equal(values[0], "ok");
    return 0;
}

/* "file:PATH?immutable=1": SQLite puts nothing beside a file that it may not change. */
static char *uri_of(const char *path) {
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-";
    struct strbuf uri = {};

    strbuf_puts(&uri, "file:");
    for (const char *s = path; *s; s++) {
        if (strchr(plain, *s))
            strbuf_append(&uri, s, 1);
        else
            strbuf_printf(&uri, "%%%02X", (unsigned char)*s);
    }
    strbuf_puts(&uri, "?immutable=1");
    return strbuf_steal(&uri);
}

/* Is the copy sound? */
static int check_copy(const char *path, struct failure *failure) {
    cleanup(freep) char *uri = uri_of(path);
    sqlite3 *copy = NULL;
    bool sound = false;
    int rc;

    if (!uri)
        return failure_oom(failure);
    rc = sqlite3_open_v2(uri, &copy, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI,
                         NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(copy, "PRAGMA quick_check(1)", on_verdict, &sound, NULL);
    if (rc != SQLITE_OK)
        return fail(copy, rc, path, failure);
    sqlite3_close(copy);
    if (sound)
        return 0;
    return failure_set(failure, -EBADMSG, "store_corrupt",
                       "keep the backups that are there, and look at the disk",
                       "the backup '%s' is damaged, and the database may be, too", path);
}

int store_backup(struct store *store, const char *path, const atomic_bool *stop,
                 struct failure *failure) {
    sqlite3 *copy = NULL;
    int rc = sqlite3_open_v2(
        path, &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);

    /* A copy that is not whole is thrown away: it needs no journal, and is synced at its end. */
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(copy, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL,
                          NULL);
    if (rc == SQLITE_OK)
        rc = copy_pages(store, copy, stop);
    if (rc != SQLITE_OK)
        return fail(copy, rc, path, failure);
    sqlite3_close(copy);
    return check_copy(path, failure);
}

/* One number from a PRAGMA. */
static int read_number(struct store *store, const char *sql, int64_t *ret_number) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement, sql, "");

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -EIO;
    *ret_number = sqlite3_column_int64(statement, 0);
    return 0;
}

int store_size(struct store *store, uint64_t *ret_bytes) {
    int64_t pages = 0, size = 0;
    int r = read_number(store, "PRAGMA page_count", &pages);

    if (!r)
        r = read_number(store, "PRAGMA page_size", &size);
    if (!r)
        *ret_bytes = (uint64_t)pages * (uint64_t)size;
    return r;
}
