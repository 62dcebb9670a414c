// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/migrate.h"

#include "base/log/log.h"
#include "base/str.h"
#include "daemon/store/sql.h"
#include "daemon/store/store.h"
#include "migrations/migrations.h"

#include <errno.h>

#define APPLICATION_ID 0x71756e74 /* "qunt" */

static int read_number(struct store *store, const char *sql, int64_t *ret_number) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement, sql, "");

    if (!r)
        r = store_step(store, statement);
    if (r != 1)
        return r ? r : -EIO;
    *ret_number = sqlite3_column_int64(statement, 0);
    return 0;
}

/* The store must be ours, or empty. */
static int check_owner(struct store *store, int64_t version, struct failure *failure) {
    int64_t id = 0, n_tables = 0;
    int r = read_number(store, "PRAGMA application_id", &id);

    if (!r)
        r = read_number(store, "SELECT count(*) FROM sqlite_schema", &n_tables);
    if (r)
        return r;
    if (id != APPLICATION_ID && (n_tables || version))
        return failure_set(failure, -EBADMSG, "store_corrupt",
                           "move the file away, or use another --state-dir",
                           "cannot use 'quantd.db': it is a database of another program");
    if (version > n_migrations)
        return failure_set(failure, -EPROTONOSUPPORT, "store_newer",
                           "install the newer quantd again, or restore the backup made before it",
                           "cannot use 'quantd.db': its schema is version %lld, this quantd knows "
                           "versions up to %d",
                           (long long)version, n_migrations);
    return 0;
}

static int run(struct store *store, int64_t version) {
    cleanup(freep) char *sql = str_format("PRAGMA application_id = %d; PRAGMA user_version = %d;",
                                          APPLICATION_ID, n_migrations);

    if (!sql)
        return -ENOMEM;
    for (int64_t i = version; i < n_migrations; i++) {
        int r = store_script(store, migrations[i].sql);

        if (r)
            return r;
        log_info("store: ran migration '%s'", migrations[i].name);
    }
    return version < n_migrations ? store_script(store, sql) : 0;
}

int migrate(struct store *store, struct failure *failure) {
    int64_t version = 0;
    int r = store_begin(store, STORE_WORK, failure);

    if (r)
        return r;
    r = read_number(store, "PRAGMA user_version", &version);
    if (!r)
        r = version < 0 ? -EBADMSG : check_owner(store, version, failure);
    if (!r)
        r = run(store, version);
    return store_end(store, r, failure);
}
