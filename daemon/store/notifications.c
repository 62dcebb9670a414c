// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>

int store_list_notifications(struct store *store, int limit, json_t **ret_list) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    cleanup(json_decrefp) json_t *list = json_array();
    int r;

    if (!list)
        return -ENOMEM;
    r = store_query(store, &statement,
                    "SELECT json_object('id', id, 'job', job_id, 'kind', kind, 'url', url, "
                    "'tries', tries) FROM notifications ORDER BY tries, id LIMIT ?",
                    "i", (int64_t)limit);
    if (r)
        return r;
    while ((r = store_step(store, statement)) == 1) {
        json_t *row = NULL;

        r = store_column_json(store, statement, 0, &row);
        if (r)
            return r;
        if (json_array_append_new(list, row))
            return -ENOMEM;
    }
    if (r)
        return r;

    *ret_list = steal_ptr(list);
    return 0;
}

int store_add_notification(struct store *store, int64_t job_id, const char *kind, const char *url) {
    int r = store_exec(store, "INSERT INTO notifications (job_id, kind, url) VALUES (?, ?, ?)",
                       "iss", job_id, kind, url);

    return r < 0 ? r : 0;
}

int store_count_notification(struct store *store, int64_t id) {
    int r = store_exec(store, "UPDATE notifications SET tries = tries + 1 WHERE id = ?", "i", id);

    return r < 0 ? r : 0;
}

int store_end_notification(struct store *store, int64_t id) {
    int r = store_exec(store, "DELETE FROM notifications WHERE id = ?", "i", id);

    return r < 0 ? r : 0;
}
