// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/runs.h"

#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS                                                                                    \
    "id, job_id, nonce, offset, coalesce(remote_id, 0), coalesce(state, ''), "                     \
    "coalesce(reason, ''), coalesce(node, ''), coalesce(starts_at, 0)"

static void copy_text(sqlite3_stmt *statement, int column, char *text, size_t size) {
    const char *value = (const char *)sqlite3_column_text(statement, column);

    snprintf(text, size, "%s", value ? value : "");
}

/* The row at @statement, which selected COLUMNS. */
static void read_run(sqlite3_stmt *statement, struct run_row *ret_row) {
    struct run_news *news = &ret_row->news;

    *ret_row = (struct run_row){.id = sqlite3_column_int64(statement, 0),
                                .job_id = sqlite3_column_int64(statement, 1),
                                .offset = sqlite3_column_int64(statement, 3)};
    copy_text(statement, 2, ret_row->nonce, sizeof(ret_row->nonce));
    news->remote_id = sqlite3_column_int64(statement, 4);
    copy_text(statement, 5, news->state, sizeof(news->state));
    copy_text(statement, 6, news->reason, sizeof(news->reason));
    copy_text(statement, 7, news->node, sizeof(news->node));
    news->starts_at = sqlite3_column_int64(statement, 8);
}

int store_insert_run(struct store *store, int64_t job_id, const char *executor, const char *nonce) {
    int r = store_exec(store, "INSERT INTO runs (job_id, executor, nonce) VALUES (?, ?, ?)", "iss",
                       job_id, executor, nonce);

    return r < 0 ? r : 0;
}

int store_renew_run(struct store *store, int64_t id, const char *nonce, int64_t *ret_id) {
    int r = store_exec(store, "UPDATE runs SET closed = 1 WHERE id = ? AND closed = 0", "i", id);

    if (r == 1)
        r = store_exec(store,
                       "INSERT INTO runs (job_id, executor, nonce) "
                       "SELECT job_id, executor, ?2 FROM runs WHERE id = ?1",
                       "is", id, nonce);
    if (r < 0)
        return r;
    *ret_id = sqlite3_last_insert_rowid(store->db);
    return r == 1 ? 0 : -ESTALE;
}

static int read_one(struct store *store, sqlite3_stmt *statement, struct run_row *ret_row) {
    int r = store_step(store, statement);

    if (r <= 0)
        return r ? r : -ENOENT;
    read_run(statement, ret_row);
    return 0;
}

int store_open_run(struct store *store, int64_t job_id, struct run_row *ret_row) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r =
        store_query(store, &statement,
                    "SELECT " COLUMNS " FROM runs WHERE job_id = ? AND closed = 0", "i", job_id);

    return r ? r : read_one(store, statement, ret_row);
}

int store_last_run(struct store *store, int64_t job_id, struct run_row *ret_row) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT " COLUMNS " FROM runs WHERE job_id = ? AND closed = 1 "
                        "ORDER BY id DESC LIMIT 1",
                        "i", job_id);

    return r ? r : read_one(store, statement, ret_row);
}

int store_list_open_runs(struct store *store, const char *executor,
                         int (*each)(void *ctx, const struct run_row *row), void *ctx) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT " COLUMNS " FROM runs WHERE executor = ? AND closed = 0 "
                        "ORDER BY id",
                        "s", executor);

    if (r)
        return r;
    while ((r = store_step(store, statement)) == 1) {
        struct run_row row;

        read_run(statement, &row);
        r = each(ctx, &row);
        if (r)
            return r;
    }
    return r;
}

int store_shares_id(struct store *store, int64_t id, bool *ret_shares) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT 1 FROM runs JOIN runs AS other ON other.remote_id = runs.remote_id "
                        "AND other.id <> runs.id WHERE runs.id = ? LIMIT 1",
                        "i", id);

    if (!r)
        r = store_step(store, statement);
    if (r < 0)
        return r;
    *ret_shares = r == 1;
    return 0;
}

int store_set_run_news(struct store *store, int64_t id, const struct run_news *news) {
    int r = store_exec(store,
                       "UPDATE runs SET remote_id = nullif(?2, 0), state = ?3, reason = ?4, "
                       "node = ?5, starts_at = nullif(?6, 0) WHERE id = ?1",
                       "iisssi", id, news->remote_id, news->state, news->reason, news->node,
                       news->starts_at);

    if (r >= 0)
        r = store_exec(store,
                       "UPDATE jobs SET version = ?2 "
                       "WHERE id = (SELECT job_id FROM runs WHERE id = ?1 AND closed = 0) "
                       "AND status IN ('running', 'cancelling')",
                       "ii", id, (int64_t)store_version_next(store));
    return r < 0 ? r : 0;
}

int store_set_run_mark(struct store *store, const struct run_mark *mark) {
    int r = mark ? store_exec(store, "UPDATE runs SET offset = ?2 WHERE id = ?1", "ii", mark->run,
                              mark->offset)
                 : 0;

    return r < 0 ? r : 0;
}

int store_instance(struct store *store, char ret_instance[RUN_INSTANCE_SIZE]) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement, "SELECT instance FROM daemon", "");

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -EIO;
    copy_text(statement, 0, ret_instance, RUN_INSTANCE_SIZE);
    return 0;
}
