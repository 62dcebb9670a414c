// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>

int store_next_job(struct store *store, const struct store_claim *claim, int64_t *ret_id,
                   bool *ret_paused) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT queue.id, waiting.paused IS NOT NULL FROM queue "
                        "JOIN jobs AS waiting ON waiting.id = queue.id "
                        "WHERE waiting.pull = 0 AND (?1 OR waiting.params ->> 'wbits' = 16) "
                        "AND queue.id NOT IN (SELECT value FROM json_each(?2)) AND " STORE_MAY_RUN(
                            "?3", "?4", "?5") "ORDER BY position LIMIT 1",
                        "ijsii", (int64_t)claim->writes, claim->held, claim->executor,
                        (int64_t)claim->asked_only, (int64_t)claim->begun);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    *ret_id = sqlite3_column_int64(statement, 0);
    *ret_paused = sqlite3_column_int(statement, 1) != 0;
    return 0;
}

int store_pause_job(struct store *store, int64_t id, int64_t at, json_t *why) {
    int r = store_exec(store,
                       "UPDATE jobs SET paused = ?2, paused_at = ?3, version = ?4 "
                       "WHERE id = ?1 AND status = 'queued' AND paused IS NULL",
                       "ijii", id, why, at, (int64_t)store_version_next(store));

    if (r < 0)
        return r;
    return r == 1 ? 0 : -ESTALE;
}

int store_unpause_jobs(struct store *store, int64_t at, const json_t *held) {
    int r = store_exec(
        store,
        "UPDATE jobs SET version = ?1, paused = NULL, paused_at = NULL, " STORE_COUNT_PAUSE
        " WHERE status = 'queued' AND paused IS NOT NULL AND pull = 0 "
        "AND id NOT IN (SELECT value FROM json_each(?3))",
        "iij", (int64_t)store_version_next(store), at, held);

    return r < 0 ? r : 0;
}

int store_unpause_pull(struct store *store, int64_t id) {
    int r = store_exec(store,
                       "UPDATE jobs SET paused = NULL, paused_at = NULL, version = ?2 "
                       "WHERE id = ?1 AND status = 'queued' AND paused IS NOT NULL AND pull = 1",
                       "ii", id, (int64_t)store_version_next(store));

    return r < 0 ? r : 0;
}
