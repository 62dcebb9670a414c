// SPDX-License-Identifier: Apache-2.0
#include "api/wire.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>

/* As the index events_progress has it. */
#define IS_PROGRESS "type IN ('" WIRE_EVENT_PROGRESS "', '" WIRE_EVENT_EVAL_PROGRESS "')"

int store_expire_keys(struct store *store, int64_t before) {
    return store_exec(store,
                      "DELETE FROM idempotency WHERE (owner, key) IN (SELECT owner, key "
                      "FROM idempotency WHERE created_at < ? LIMIT ?)",
                      "ii", before, (int64_t)STORE_EXPIRE_MAX);
}

/* The first job behind @after that has rows of progress, and when it ended; 0: it has not. */
static int next_with_progress(struct store *store, int64_t after, struct store_ended *ret_job) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT job_id, (SELECT finished_at FROM jobs WHERE jobs.id = job_id) "
                        "FROM events WHERE " IS_PROGRESS " AND job_id > ? ORDER BY job_id LIMIT 1",
                        "i", after);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    ret_job->id = sqlite3_column_int64(statement, 0);
    ret_job->at = sqlite3_column_int64(statement, 1);
    return 0;
}

int store_expire_progress(struct store *store, int64_t before, int64_t *after) {
    struct store_ended job = {};
    int r;

    do {
        r = next_with_progress(store, job.id ? job.id : *after, &job);
        if (r)
            return r;
    } while (!job.at || job.at >= before);
    r = store_exec(store,
                   "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE " IS_PROGRESS
                   " AND job_id = ? LIMIT ?)",
                   "ii", job.id, (int64_t)STORE_EXPIRE_MAX);
    *after = r >= 0 && r < STORE_EXPIRE_MAX ? job.id : job.id - 1;
    return r;
}

int store_next_ended(struct store *store, int64_t before, struct store_ended *ended) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT finished_at, id FROM jobs WHERE finished_at IS NOT NULL "
                        "AND finished_at < ?1 AND (finished_at, id) > (?2, ?3) "
                        "ORDER BY finished_at, id LIMIT 1",
                        "iii", before, ended->at, ended->id);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    ended->at = sqlite3_column_int64(statement, 0);
    ended->id = sqlite3_column_int64(statement, 1);
    return 0;
}
