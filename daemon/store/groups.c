// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>

#define N_JOBS(status)                                                                             \
    "(SELECT count(*) FROM jobs WHERE group_id = groups.id AND jobs.status = '" status "'), "

/* Of those that have failed, or were cancelled: how many are there once more? */
#define N_AGAIN(status)                                                                            \
    "(SELECT count(*) FROM jobs WHERE group_id = groups.id AND jobs.status = '" status "' "        \
    "AND EXISTS (SELECT 1 FROM jobs AS again WHERE again.group_id = groups.id "                    \
    "AND again.id > jobs.id AND again.kind = jobs.kind AND again.name = jobs.name "                \
    "AND again.request = jobs.request)), "

#define COLUMNS                                                                                    \
    "id, name, owner, private, varies, created_at, "                                               \
    "CASE WHEN NOT EXISTS (SELECT 1 FROM json_each(varies) WHERE value = 'model') THEN "           \
    "(SELECT params ->> '$.model' FROM jobs WHERE group_id = groups.id LIMIT 1) END, " N_JOBS(     \
        "queued") N_JOBS("running") N_JOBS("cancelling") N_JOBS("succeeded") N_JOBS("failed")      \
        N_JOBS("cancelled") N_AGAIN("failed")                                                      \
            N_AGAIN("cancelled") "(SELECT max(finished_at) FROM jobs WHERE group_id = groups.id) "

void group_row_free(struct group_row *row) {
    if (!row)
        return;
    free(row->name);
    free(row->owner);
    free(row->model);
    json_decref(row->varies);
    free(row);
}

int store_insert_group(struct store *store, const struct group_row *row, int64_t *ret_id) {
    int r = store_exec(store,
                       "INSERT INTO groups (name, owner, private, varies, created_at) "
                       "VALUES (?, ?, ?, ?, ?)",
                       "ssiji", row->name, row->owner, (int64_t)row->private, row->varies,
                       row->created_at);

    if (r < 0)
        return r;
    *ret_id = sqlite3_last_insert_rowid(store->db);
    return 0;
}

/* The row at @statement, which selected COLUMNS. */
static int read_row(struct store *store, sqlite3_stmt *statement, struct group_row **ret_row) {
    cleanup(group_row_freep) struct group_row *row = calloc(1, sizeof(*row));
    bool ended = true;
    int r;

    if (!row)
        return -ENOMEM;
    row->id = sqlite3_column_int64(statement, 0);
    row->private = sqlite3_column_int(statement, 3) != 0;
    row->created_at = sqlite3_column_int64(statement, 5);
    for (int i = 0; i < N_JOB_STATUS; i++) {
        row->n[i] = sqlite3_column_int64(statement, 7 + i);
        ended = ended && (job_status_ended(i) || !row->n[i]);
    }
    row->n_failed_again = sqlite3_column_int64(statement, 7 + N_JOB_STATUS);
    row->n_cancelled_again = sqlite3_column_int64(statement, 8 + N_JOB_STATUS);
    if (ended)
        row->finished_at = sqlite3_column_int64(statement, 9 + N_JOB_STATUS);
    if ((r = store_column_text(store, statement, 1, &row->name)) ||
        (r = store_column_text(store, statement, 2, &row->owner)) ||
        (r = store_column_json(store, statement, 4, &row->varies)) ||
        (r = store_column_text(store, statement, 6, &row->model)))
        return r;
    *ret_row = steal_ptr(row);
    return 0;
}

int store_get_group(struct store *store, int64_t id, struct group_row **ret_row) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement, "SELECT " COLUMNS "FROM groups WHERE id = ?", "i", id);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    return read_row(store, statement, ret_row);
}

int store_find_group(struct store *store, int64_t job_id, int64_t *ret_id) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement, "SELECT group_id FROM jobs WHERE id = ?", "i", job_id);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    *ret_id = sqlite3_column_int64(statement, 0);
    return 0;
}

int store_list_groups(struct store *store, const char *owner, const char *viewer, int64_t after,
                      int limit, int (*each)(void *ctx, const struct group_row *row), void *ctx) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT " COLUMNS "FROM groups WHERE (?1 IS NULL OR owner = ?1) "
                        "AND (?2 IS NULL OR private = 0 OR owner = ?2) AND (?3 = 0 OR id < ?3) "
                        "ORDER BY id DESC LIMIT ?4",
                        "ssii", owner, viewer, after, (int64_t)limit);

    if (r)
        return r;
    while ((r = store_step(store, statement)) == 1) {
        cleanup(group_row_freep) struct group_row *row = NULL;

        r = read_row(store, statement, &row);
        if (!r)
            r = each(ctx, row);
        if (r)
            return r;
    }
    return r;
}

int store_list_members(struct store *store, int64_t id, json_t **ret_ids) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    cleanup(json_decrefp) json_t *ids = json_array();
    int r = ids ? store_query(store, &statement,
                              "SELECT id FROM jobs WHERE group_id = ? ORDER BY id", "i", id)
                : -ENOMEM;

    if (r)
        return r;
    while ((r = store_step(store, statement)) == 1)
        if (json_array_append_new(ids, json_integer(sqlite3_column_int64(statement, 0))))
            return -ENOMEM;
    if (!r)
        *ret_ids = steal_ptr(ids);
    return r;
}
