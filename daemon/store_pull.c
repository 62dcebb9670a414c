// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"
#include "daemon/store_internal.h"

#include <errno.h>

int store_next_pull(struct store *store, struct job_row **ret_row) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int64_t id;
    int r = store_query(store, &statement,
                        "SELECT queue.id FROM queue JOIN jobs ON jobs.id = queue.id "
                        "WHERE jobs.pull = 1 ORDER BY position LIMIT 1",
                        "");

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    id = sqlite3_column_int64(statement, 0);
    return store_get_job(store, id, ret_row);
}

int store_set_pulled(struct store *store, int64_t id, const char *model_dir, json_t *params) {
    uint64_t version = store_version_next(store);
    int r;

    store->version_queue = version;
    r = store_exec(store,
                   "UPDATE jobs SET pull = 0, model_dir = ?2, params = ?3, version = ?4 "
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
