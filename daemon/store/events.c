// SPDX-License-Identifier: Apache-2.0
#include "api/wire.h"
#include "base/clock.h"
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>

int store_append_event(struct store *store, int64_t job_id, const char *type, int64_t at,
                       const json_t *data, uint64_t *ret_seq) {
    int r = store_exec(store,
                       "INSERT INTO events (job_id, type, at, data, private_owner) VALUES "
                       "(?1, ?2, ?3, ?4, (SELECT owner FROM jobs WHERE id = ?1 AND private = 1))",
                       "isij", job_id, type, at, data);

    if (r < 0)
        return r;
    store->pending_seq = sqlite3_last_insert_rowid(store->db);
    if (ret_seq)
        *ret_seq = store->pending_seq;
    return 0;
}

/* Has @object each member of @part, alike? */
static bool has_members(const json_t *object, const json_t *part) {
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)part, name, value) {
        if (!json_equal(json_object_get(object, name), value))
            return false;
    }
    return true;
}

int store_has_event(struct store *store, int64_t job_id, const char *type, const json_t *data,
                    bool *ret_found) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    bool found = false;
    int r = store_query(store, &statement, "SELECT data FROM events WHERE job_id = ? AND type = ?",
                        "is", job_id, type);

    if (r)
        return r;
    while (!found && (r = store_step(store, statement)) == 1) {
        cleanup(json_decrefp) json_t *other = NULL;

        r = store_column_json(store, statement, 0, &other);
        if (r)
            return r;
        found = has_members(other, data);
    }
    if (r < 0)
        return r;
    *ret_found = found;
    return 0;
}

int store_gaining_attempt(struct store *store, int64_t job_id, int *ret_attempt) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(
        store, &statement,
        "SELECT coalesce(max(data ->> 'attempt'), 1) FROM events "
        "WHERE job_id = ?1 AND type = '" WIRE_EVENT_JOB_STARTED "' AND seq < (SELECT max(first) "
        "FROM (SELECT min(seq) AS first FROM events WHERE job_id = ?1 "
        "AND type IN ('" WIRE_EVENT_LAYER_FINISHED "', '" WIRE_EVENT_EVAL_FINISHED "') "
        "GROUP BY type, data ->> 'layer', data ->> 'set'))",
        "i", job_id);

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -EIO;
    *ret_attempt = sqlite3_column_int(statement, 0);
    return 0;
}

static int read_event(struct store *store, sqlite3_stmt *statement, json_t *events) {
    cleanup(freep) char *type = NULL;
    char at[CLOCK_TEXT_SIZE];
    json_t *data = NULL;
    int r;

    r = store_column_text(store, statement, 2, &type);
    if (!r)
        r = store_column_json(store, statement, 4, &data);
    if (r)
        return r;
    clock_format(sqlite3_column_int64(statement, 3), at);
    /* json_pack() takes over data, also when it fails. */
    r = json_array_append_new(
        events, json_pack("{sI sI ss ss so}", "seq", (json_int_t)sqlite3_column_int64(statement, 0),
                          "job", (json_int_t)sqlite3_column_int64(statement, 1), "type", type, "at",
                          at, "data", data));
    return r ? -ENOMEM : 0;
}

int store_list_events(struct store *store, int64_t job_id, const char *viewer, uint64_t after,
                      int limit, json_t **ret_events) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    cleanup(json_decrefp) json_t *events = json_array();
    int64_t from = after > INT64_MAX ? INT64_MAX : (int64_t)after;
    int r;

    if (!events)
        return -ENOMEM;
    if (job_id)
        r = store_query(store, &statement,
                        "SELECT seq, job_id, type, at, data FROM events "
                        "WHERE job_id = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2",
                        "iii", from, (int64_t)limit, job_id);
    else if (viewer)
        r = store_query(store, &statement,
                        "SELECT seq, job_id, type, at, data FROM events WHERE seq IN ("
                        "SELECT seq FROM events WHERE private_owner IS NULL AND seq > ?1 UNION ALL "
                        "SELECT seq FROM events WHERE private_owner = ?3 AND seq > ?1 "
                        "ORDER BY seq LIMIT ?2) ORDER BY seq",
                        "iis", from, (int64_t)limit, viewer);
    else
        r = store_query(store, &statement,
                        "SELECT seq, job_id, type, at, data FROM events "
                        "WHERE seq > ?1 ORDER BY seq LIMIT ?2",
                        "ii", from, (int64_t)limit);
    if (r)
        return r;
    while ((r = store_step(store, statement)) == 1) {
        r = read_event(store, statement, events);
        if (r)
            return r;
    }
    if (r)
        return r;

    *ret_events = steal_ptr(events);
    return 0;
}
