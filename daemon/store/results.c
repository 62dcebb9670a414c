// SPDX-License-Identifier: Apache-2.0
#include "api/wire.h"
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>
#include <stdio.h>

int store_drop_layers(struct store *store, int64_t job_id) {
    int r = store_exec(store, "DELETE FROM layers WHERE job_id = ?", "i", job_id);

    return r < 0 ? r : 0;
}

int store_put_layer(struct store *store, int64_t job_id, int64_t layer, const json_t *data) {
    int r = store_exec(store, "DELETE FROM layers WHERE job_id = ? AND layer >= ?", "ii", job_id,
                       layer);

    if (r < 0)
        return r;
    r = store_exec(store, "INSERT INTO layers (job_id, layer, data) VALUES (?, ?, ?)", "iij",
                   job_id, layer, data);
    return r < 0 ? r : 0;
}

int store_list_layers(struct store *store, int64_t job_id, json_t **ret_layers) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    cleanup(json_decrefp) json_t *layers = json_array();
    int r;

    if (!layers)
        return -ENOMEM;
    r = store_query(store, &statement, "SELECT data FROM layers WHERE job_id = ? ORDER BY layer",
                    "i", job_id);
    if (r)
        return r;
    while ((r = store_step(store, statement)) == 1) {
        json_t *data = NULL;

        r = store_column_json(store, statement, 0, &data);
        if (r)
            return r;
        if (json_array_append_new(layers, data))
            return -ENOMEM;
    }
    if (r)
        return r;

    *ret_layers = steal_ptr(layers);
    return 0;
}

#define RUNS                                                                                       \
    "SELECT json_object('kind', kind, 'device', (SELECT data ->> '$.device' FROM events "          \
    "WHERE job_id = jobs.id AND type = '" WIRE_EVENT_JOB_STARTED "' ORDER BY seq LIMIT 1), "       \
    "'params', json(params), 'model', json(model), 'seconds', json(result -> '$.seconds'), "       \
    "'perplexity', json(result -> '$.perplexity'), "                                               \
    "'original', json(result -> '$.original')) FROM jobs "                                         \
    "WHERE status = 'succeeded' AND attempt = 1 AND kind <> 'export' "                             \
    "AND (?1 IS NULL OR private = 0 OR owner = ?1) ORDER BY id DESC LIMIT ?2"

int store_list_runs(struct store *store, const char *viewer, int limit, json_t **ret_runs) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    cleanup(json_decrefp) json_t *runs = json_array();
    int r;

    if (!runs)
        return -ENOMEM;
    r = store_query(store, &statement, RUNS, "si", viewer, (int64_t)limit);
    if (r)
        return r;
    while ((r = store_step(store, statement)) == 1) {
        json_t *run = NULL;

        r = store_column_json(store, statement, 0, &run);
        if (r)
            return r;
        if (json_array_append_new(runs, run))
            return -ENOMEM;
    }
    if (r)
        return r;

    *ret_runs = steal_ptr(runs);
    return 0;
}

int store_put_eval(struct store *store, int64_t job_id, const struct eval_row *row) {
    int r = store_exec(store,
                       "INSERT INTO evals (job_id, name, value, wbits, model_fingerprint, "
                       "windows_sha256, seqlen) VALUES (?, ?, ?, ?, ?, ?, ?)",
                       "isdissi", job_id, row->name, row->value, (int64_t)row->wbits,
                       row->model_fingerprint, row->windows_sha256, row->seqlen);

    return r < 0 ? r : 0;
}

int store_find_baseline(struct store *store, const struct eval_row *row, const char *owner,
                        double *ret_value) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT value FROM evals JOIN jobs ON jobs.id = job_id "
                        "WHERE wbits = 16 AND model_fingerprint = ? AND evals.name = ? "
                        "AND windows_sha256 = ? AND (private = 0 OR owner = ?) "
                        "ORDER BY evals.id DESC LIMIT 1",
                        "ssss", row->model_fingerprint, row->name, row->windows_sha256, owner);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    *ret_value = sqlite3_column_double(statement, 0);
    return 0;
}

int store_find_key(struct store *store, const char *owner, const char *key,
                   char ret_sha256[SHA256_TEXT_SIZE], int64_t *ret_job_id) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    cleanup(freep) char *sha256 = NULL;
    int r = store_query(store, &statement,
                        "SELECT request_sha256, job_id FROM idempotency "
                        "WHERE owner = ? AND key = ?",
                        "ss", owner, key);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    r = store_column_text(store, statement, 0, &sha256);
    if (r)
        return r;
    snprintf(ret_sha256, SHA256_TEXT_SIZE, "%s", sha256);
    *ret_job_id = sqlite3_column_int64(statement, 1);
    return 0;
}

int store_put_key(struct store *store, const char *owner, const char *key, const char *sha256,
                  int64_t job_id, int64_t at) {
    int r = store_exec(store,
                       "INSERT INTO idempotency (owner, key, request_sha256, job_id, created_at) "
                       "VALUES (?, ?, ?, ?, ?)",
                       "sssii", owner, key, sha256, job_id, at);

    return r < 0 ? r : 0;
}
