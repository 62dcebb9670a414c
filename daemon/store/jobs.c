// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"
#include "daemon/store/list.h"
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>
#include <string.h>

#define COLUMNS                                                                                    \
    "jobs.id, kind, status, owner, name, labels, priority, attempt, request, model_dir, params, "  \
    "model, progress, result, error, version, created_at, started_at, finished_at, "               \
    "pull, hub_model, private, paused, paused_at, paused_ms, held, executor, "                     \
    "(SELECT json_object('name', executor, 'id', remote_id, 'state', state, 'reason', reason, "    \
    "'node', node, 'starts_at', starts_at) FROM runs WHERE runs.job_id = jobs.id "                 \
    "ORDER BY runs.id DESC LIMIT 1), notify, "                                                     \
    "(SELECT json_object('id', groups.id, 'name', groups.name) FROM groups "                       \
    "WHERE groups.id = jobs.group_id)"

/* The place in the queue, for which all that waits is put in order: of a queued job alone. */
#define SELECT_POSITION                                                                            \
    ", CASE status WHEN 'queued' THEN (SELECT position FROM queue WHERE queue.id = jobs.id) END "

void job_row_free(struct job_row *row) {
    if (!row)
        return;
    free(row->kind);
    free(row->owner);
    free(row->name);
    free(row->model_dir);
    free(row->hub_model);
    free(row->executor);
    free(row->notify);
    json_decref(row->labels);
    json_decref(row->request);
    json_decref(row->params);
    json_decref(row->model);
    json_decref(row->progress);
    json_decref(row->result);
    json_decref(row->error);
    json_decref(row->paused);
    json_decref(row->engine);
    json_decref(row->group);
    free(row);
}

/* The row at @statement, which selected COLUMNS. */
static int read_row(struct store *store, sqlite3_stmt *statement, struct job_row **ret_row) {
    cleanup(job_row_freep) struct job_row *row = calloc(1, sizeof(*row));
    cleanup(freep) char *status = NULL;
    int r;

    if (!row)
        return -ENOMEM;
    row->id = sqlite3_column_int64(statement, 0);
    row->priority = sqlite3_column_int(statement, 6);
    row->attempt = sqlite3_column_int(statement, 7);
    row->version = sqlite3_column_int64(statement, 15);
    row->created_at = sqlite3_column_int64(statement, 16);
    row->started_at = sqlite3_column_int64(statement, 17);
    row->finished_at = sqlite3_column_int64(statement, 18);
    row->pull = sqlite3_column_int(statement, 19) != 0;
    row->private = sqlite3_column_int(statement, 21) != 0;
    row->paused_at = sqlite3_column_int64(statement, 23);
    row->paused_ms = sqlite3_column_int64(statement, 24);
    row->held = sqlite3_column_int(statement, 25) != 0;
    if ((r = store_column_text(store, statement, 1, &row->kind)) ||
        (r = store_column_text(store, statement, 2, &status)) ||
        (r = store_column_text(store, statement, 3, &row->owner)) ||
        (r = store_column_text(store, statement, 4, &row->name)) ||
        (r = store_column_json(store, statement, 5, &row->labels)) ||
        (r = store_column_json(store, statement, 8, &row->request)) ||
        (r = store_column_text(store, statement, 9, &row->model_dir)) ||
        (r = store_column_json(store, statement, 10, &row->params)) ||
        (r = store_column_json(store, statement, 11, &row->model)) ||
        (r = store_column_json(store, statement, 12, &row->progress)) ||
        (r = store_column_json(store, statement, 13, &row->result)) ||
        (r = store_column_json(store, statement, 14, &row->error)) ||
        (r = store_column_text(store, statement, 20, &row->hub_model)) ||
        (r = store_column_json(store, statement, 22, &row->paused)) ||
        (r = store_column_text(store, statement, 28, &row->notify)) ||
        (r = store_column_text(store, statement, 26, &row->executor)) ||
        (r = store_column_json(store, statement, 27, &row->engine)) ||
        (r = store_column_json(store, statement, 29, &row->group)))
        return r;
    if (job_status_from_name(status, &row->status))
        return -EBADMSG;

    *ret_row = steal_ptr(row);
    return 0;
}

/* A change of any job's status moves the queue. */
static uint64_t next_queue_version(struct store *store) {
    uint64_t version = store_version_next(store);

    store->version_queue = version;
    return version;
}

int store_insert_job(struct store *store, const struct new_job *job, int64_t *ret_id) {
    int r =
        store_exec(store,
                   "INSERT INTO jobs (kind, status, owner, name, labels, priority, attempt, "
                   "request, params, model_dir, version, created_at, pull, hub_model, private, "
                   "executor, notify, group_id) "
                   "VALUES (?, 'queued', ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                   "nullif(?, 0))",
                   "sssjijjsiiisissi", job->kind, job->owner, job->name, job->labels,
                   (int64_t)job->priority, job->request, job->params, job->model_dir,
                   (int64_t)next_queue_version(store), job->created_at, (int64_t)job->pull,
                   job->hub_model, (int64_t)job->private, job->executor, job->notify, job->group);

    if (r < 0)
        return r;
    *ret_id = sqlite3_last_insert_rowid(store->db);
    return 0;
}

int store_adopt_job(struct store *store, const struct new_job *job,
                    const struct adopted_job *adopted) {
    bool known;
    int r = store_is_known(store, adopted->id, &known);

    if (r || known)
        return r ? r : -EEXIST;
    r = store_exec(store,
                   "INSERT INTO jobs (id, kind, status, owner, name, labels, priority, attempt, "
                   "request, params, model_dir, version, created_at, finished_at, private, model, "
                   "result) "
                   "VALUES (?1, ?2, 'succeeded', ?3, ?4, ?5, ?6, 1, ?7, ?8, ?9, ?10, ?11, ?11, "
                   "?12, ?13, ?14)",
                   "isssjijjsiiijj", adopted->id, job->kind, job->owner, job->name, job->labels,
                   (int64_t)job->priority, job->request, job->params, job->model_dir,
                   (int64_t)next_queue_version(store), job->created_at, (int64_t)job->private,
                   adopted->model, adopted->result);
    return r < 0 ? r : 0;
}

int store_get_job(struct store *store, int64_t id, struct job_row **ret_row) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r =
        store_query(store, &statement, "SELECT " COLUMNS " FROM jobs WHERE jobs.id = ?", "i", id);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    return read_row(store, statement, ret_row);
}

int store_get_summary(struct store *store, int64_t id, struct job_summary *ret_summary) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT id, version" SELECT_POSITION "FROM jobs WHERE id = ?", "i", id);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    *ret_summary = store_read_summary(statement);
    return 0;
}

int store_count_jobs(struct store *store, enum job_status status, int64_t *ret_n) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement, "SELECT count(*) FROM jobs WHERE status = ?", "s",
                        job_status_name(status));

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -EIO;
    *ret_n = sqlite3_column_int64(statement, 0);
    return 0;
}

int store_count_by_status(struct store *store, int64_t ret_n[N_JOB_STATUS]) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement, "SELECT status, count(*) FROM jobs GROUP BY status", "");

    memset(ret_n, 0, N_JOB_STATUS * sizeof(*ret_n));
    if (r)
        return r;
    while ((r = store_step(store, statement)) == 1) {
        cleanup(freep) char *name = NULL;
        enum job_status status;

        r = store_column_text(store, statement, 0, &name);
        if (!r && job_status_from_name(name, &status))
            r = -EBADMSG;
        if (r)
            return r;
        ret_n[status] = sqlite3_column_int64(statement, 1);
    }
    return r;
}

int store_count_owner(struct store *store, const char *owner, int64_t *ret_n) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    /* As the index jobs_active_owner has it. */
    int r = store_query(store, &statement,
                        "SELECT count(*) FROM jobs WHERE owner = ? "
                        "AND status IN ('queued', 'running', 'cancelling')",
                        "s", owner);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -EIO;
    *ret_n = sqlite3_column_int64(statement, 0);
    return 0;
}

int store_claim_job(struct store *store, int64_t at, const struct store_claim *claim,
                    struct job_row **ret_row) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r;

    r = store_query(
        store, &statement,
        "UPDATE jobs SET status = 'running', version = ?1, "
        "paused = NULL, paused_at = NULL, " STORE_COUNT_PAUSE ", "
        "started_at = coalesce(started_at, ?2), "
        "claim = (SELECT coalesce(max(claim), 0) + 1 FROM jobs) "
        "WHERE id = (SELECT queue.id FROM queue "
        "JOIN jobs AS waiting ON waiting.id = queue.id WHERE waiting.pull = 0 "
        "AND (?3 OR waiting.params ->> 'wbits' = 16) "
        "AND queue.id NOT IN (SELECT value FROM json_each(?4)) "
        "AND " STORE_MAY_RUN("?5", "?6", "?7") "ORDER BY position LIMIT 1) "
                                               "AND status = 'queued' RETURNING " COLUMNS,
        "iiijsii", (int64_t)next_queue_version(store), at, (int64_t)claim->writes, claim->held,
        claim->executor, (int64_t)claim->asked_only, (int64_t)claim->begun);
    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    return read_row(store, statement, ret_row);
}

int store_change_job(struct store *store, int64_t id, const struct job_change *change) {
    int r = store_exec(
        store,
        "UPDATE jobs SET status = ?4, version = ?5, "
        "finished_at = CASE WHEN ?6 THEN ?2 END, "
        "attempt = CASE WHEN ?7 THEN ?7 ELSE attempt END, "
        "progress = coalesce(?8, progress), result = ?9, error = ?10, "
        "paused = ?11, paused_at = CASE WHEN ?11 IS NOT NULL THEN ?2 END, " STORE_COUNT_PAUSE
        " WHERE id = ?1 AND status = ?3",
        "iissiiijjjj", id, change->at, job_status_name(change->from), job_status_name(change->to),
        (int64_t)next_queue_version(store), (int64_t)job_status_ended(change->to),
        (int64_t)change->attempt, change->progress, change->result, change->error, change->paused);

    if (r < 0)
        return r;
    return r == 1 ? 0 : -ESTALE;
}

int store_order_job(struct store *store, int64_t id, int priority, bool held) {
    int r = store_exec(store,
                       "UPDATE jobs SET priority = ?2, held = ?3, version = ?4 "
                       "WHERE id = ?1 AND status = 'queued'",
                       "iiii", id, (int64_t)priority, (int64_t)held,
                       (int64_t)next_queue_version(store));

    if (r < 0)
        return r;
    return r == 1 ? 0 : -ESTALE;
}

int store_set_facts(struct store *store, int64_t id, json_t *params, json_t *model) {
    int r = store_exec(store, "UPDATE jobs SET params = ?2, model = ?3, version = ?4 WHERE id = ?1",
                       "ijji", id, params, model, (int64_t)store_version_next(store));

    if (r < 0)
        return r;
    return r == 1 ? 0 : -ENOENT;
}

int store_delete_job(struct store *store, int64_t id) {
    int r = store_exec(store,
                       "DELETE FROM jobs WHERE id = ? "
                       "AND status IN ('succeeded', 'failed', 'cancelled')",
                       "i", id);

    if (r < 0)
        return r;
    next_queue_version(store);
    return r == 1 ? 0 : -ENOENT;
}

int store_find_user(struct store *store, const char *model_dir, int64_t *ret_id) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT id FROM jobs WHERE model_dir = ? "
                        "AND status IN ('queued', 'running', 'cancelling') LIMIT 1",
                        "s", model_dir);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    *ret_id = sqlite3_column_int64(statement, 0);
    return 0;
}
