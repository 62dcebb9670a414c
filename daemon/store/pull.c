// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>

/* The job whose id @statement selects. */
static int read_pull(struct store *store, sqlite3_stmt *statement, struct job_row **ret_row) {
    int r = store_step(store, statement);

    if (r <= 0)
        return r ? r : -ENOENT;
    return store_get_job(store, sqlite3_column_int64(statement, 0), ret_row);
}

/* Is there a job that lacks files? Costs far less than to put the queue in order. Return: 1, 0. */
static int any_pull(struct store *store) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT 1 FROM jobs WHERE status = 'queued' AND pull = 1 "
                        "AND held = 0 AND paused IS NULL LIMIT 1",
                        "");

    return r ? r : store_step(store, statement);
}

int store_next_pull(struct store *store, const char *passed, struct job_row **ret_row) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = any_pull(store);

    if (r <= 0)
        return r ? r : -ENOENT;
    r = store_query(store, &statement,
                    "SELECT queue.id FROM queue JOIN jobs ON jobs.id = queue.id "
                    "WHERE jobs.pull = 1 AND jobs.paused IS NULL "
                    "ORDER BY jobs.id IN (SELECT value FROM json_each(?)), position LIMIT 1",
                    "s", passed);
    return r ? r : read_pull(store, statement, ret_row);
}

int store_next_paused_pull(struct store *store, int64_t after, struct job_row **ret_row) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT id FROM jobs WHERE status = 'queued' AND pull = 1 "
                        "AND held = 0 AND paused IS NOT NULL AND id > ? ORDER BY id LIMIT 1",
                        "i", after);

    return r ? r : read_pull(store, statement, ret_row);
}

int store_set_pulled(struct store *store, int64_t id, const char *model_dir, json_t *params) {
    uint64_t version = store_version_next(store);
    int r;

    store->version_queue = version;
    r = store_exec(store,
                   "UPDATE jobs SET pull = 0, model_dir = ?2, params = ?3, version = ?4, "
                   "paused = NULL, paused_at = NULL "
                   "WHERE id = ?1 AND status = 'queued' AND pull = 1",
                   "isji", id, model_dir, params, (int64_t)version);
    if (r < 0)
        return r;
    return r == 1 ? 0 : -ESTALE;
}

int store_uses_model(struct store *store, const char *hub_model, bool *ret_used) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT EXISTS (SELECT 1 FROM jobs WHERE hub_model = ? "
                        "AND status IN ('queued', 'running', 'cancelling'))",
                        "s", hub_model);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -EIO;
    *ret_used = sqlite3_column_int(statement, 0) != 0;
    return 0;
}
