// SPDX-License-Identifier: Apache-2.0
/* What the store knows of the folders of jobs: ids that were given, folders that are to go. */
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>

int store_reserve_ids(struct store *store, int64_t id) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    /* Jobs have AUTOINCREMENT: SQLite keeps the largest id that there ever was here. */
    int r = store_query(store, &statement,
                        "SELECT 1 FROM sqlite_sequence WHERE name = 'jobs' AND seq >= ?", "i", id);

    if (!r)
        r = store_step(store, statement);
    if (r)
        return r < 0 ? r : 0;
    r = store_exec(store, "DELETE FROM sqlite_sequence WHERE name = 'jobs'", "");
    if (r >= 0)
        r = store_exec(store, "INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', ?)", "i",
                       id);
    return r < 0 ? r : 1;
}

int store_next_removal(struct store *store, int64_t after, int64_t *ret_id) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT job_id FROM removals WHERE job_id > ? ORDER BY job_id LIMIT 1", "i",
                        after);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    *ret_id = sqlite3_column_int64(statement, 0);
    return 0;
}

int store_end_removal(struct store *store, int64_t id) {
    int r = store_exec(store, "DELETE FROM removals WHERE job_id = ?", "i", id);

    return r < 0 ? r : 0;
}

int store_is_known(struct store *store, int64_t id, bool *ret_known) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?1) "
                        "OR EXISTS (SELECT 1 FROM removals WHERE job_id = ?1)",
                        "i", id);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -EIO;
    *ret_known = sqlite3_column_int(statement, 0) != 0;
    return 0;
}
