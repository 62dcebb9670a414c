// SPDX-License-Identifier: Apache-2.0
/* The leases of running jobs, as rows. */
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>
#include <string.h>

int store_start_lease(struct store *store, int64_t id, const char *boot) {
    int r = store_exec(store, "UPDATE jobs SET lease_boot = ?2, lease_at = ?3 WHERE id = ?1", "isi",
                       id, boot[0] ? boot : NULL, lease_now());

    return r < 0 ? r : 0;
}

int store_renew_lease(struct store *store, int64_t id) {
    int r = store_exec(store,
                       "UPDATE jobs SET lease_at = ?2 "
                       "WHERE id = ?1 AND status IN ('running', 'cancelling')",
                       "ii", id, lease_now());

    return r < 0 ? r : 0;
}

int store_count_reboot(struct store *store, int64_t id) {
    int r = store_exec(store, "UPDATE jobs SET reboots = reboots + 1 WHERE id = ?", "i", id);

    return r < 0 ? r : 0;
}

int store_get_lease(struct store *store, int64_t id, struct lease *ret_lease) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT coalesce(lease_boot, ''), coalesce(lease_at, 0), reboots "
                        "FROM jobs WHERE id = ?",
                        "i", id);
    cleanup(freep) char *boot = NULL;

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -ENOENT;
    r = store_column_text(store, statement, 0, &boot);
    if (r)
        return r;
    memset(ret_lease, 0, sizeof(*ret_lease));
    strncpy(ret_lease->boot, boot, sizeof(ret_lease->boot) - 1);
    ret_lease->at = sqlite3_column_int64(statement, 1);
    ret_lease->reboots = sqlite3_column_int(statement, 2);
    return 0;
}
