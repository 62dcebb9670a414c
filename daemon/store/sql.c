// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/sql.h"

#include "base/json.h"
#include "base/log/log.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

/* A quota is one more way in which a disk is full; SQLite knows it as any other failed write. */
static bool is_full(sqlite3 *db, int rc) {
    int error = 0;

    if (db && ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN))
        error = sqlite3_system_errno(db);
    return (rc & 0xff) == SQLITE_FULL || error == ENOSPC || error == EDQUOT;
}

int store_errno(sqlite3 *db, int rc) {
    if (is_full(db, rc))
        return -ENOSPC;
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EAGAIN;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_CONSTRAINT:
        return -EEXIST;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EBADMSG;
    default:
        return -EIO;
    }
}

int store_fail(struct store *store, const char *what) {
    int rc = sqlite3_extended_errcode(store->db), r = store_errno(store->db, rc);
    const char *hint = "see the log of quantd and the disk that holds its state folder";

    if (store->failed)
        return r;
    store->failed = true;
    if (r == -ENOMEM)
        return failure_oom(&store->failure);
    if (r == -EAGAIN)
        return failure_set(&store->failure, r, "store_busy",
                           "end the program that holds it, such as sqlite3 or a backup, and retry",
                           "another program holds the database quantd.db");
    if (r == -ENOSPC)
        hint = "free space on the file system of the state folder, then retry";
    failure_set(&store->failure, r, r == -ENOSPC ? "disk_full" : "store_error", hint,
                "cannot use the database: %s: %s", what, sqlite3_errmsg(store->db));
    if (r != -EEXIST) /* a constraint: the caller asked for it */
        log_error("%s (code %d)", store->failure.detail, rc);
    return r;
}

/* The prepared statement of the literal @sql, from the cache or new. */
static int prepare(struct store *store, const char *sql, sqlite3_stmt **ret_statement) {
    sqlite3_stmt *statement = NULL;

    for (int i = 0; i < store->n_statements; i++) {
        if (store->statements[i].sql == sql) {
            *ret_statement = store->statements[i].statement;
            return 0;
        }
    }
    if (store->n_statements == STORE_STATEMENTS_MAX)
        return -ENOBUFS;
    if (sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL))
        return store_fail(store, sql);
    store->statements[store->n_statements].sql = sql;
    store->statements[store->n_statements++].statement = statement;
    *ret_statement = statement;
    return 0;
}

/* JSON as text that SQLite frees. */
static int bind_json(sqlite3_stmt *statement, int column, const json_t *value) {
    char *text;

    if (!value)
        return sqlite3_bind_null(statement, column);
    text = json_text(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    if (!text)
        return SQLITE_NOMEM;
    return sqlite3_bind_text(statement, column, text, -1, free);
}

static int bind_all(sqlite3_stmt *statement, const char *types, va_list args) {
    int rc = SQLITE_OK;

    for (int i = 1; types[i - 1] && rc == SQLITE_OK; i++) {
        if (types[i - 1] == 'i')
            rc = sqlite3_bind_int64(statement, i, va_arg(args, int64_t));
        else if (types[i - 1] == 'd')
            rc = sqlite3_bind_double(statement, i, va_arg(args, double));
        else if (types[i - 1] == 's')
            rc = sqlite3_bind_text(statement, i, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
        else
            rc = bind_json(statement, i, va_arg(args, const json_t *));
    }
    return rc;
}

static int query(struct store *store, sqlite3_stmt **ret_statement, const char *sql,
                 const char *types, va_list args) {
    sqlite3_stmt *statement = NULL;
    int r = prepare(store, sql, &statement);

    if (r)
        return r;
    if (bind_all(statement, types, args) != SQLITE_OK) {
        store_resetp(&statement);
        failure_oom(&store->failure);
        store->failed = true;
        return -ENOMEM;
    }
    *ret_statement = statement;
    return 0;
}

int store_query(struct store *store, sqlite3_stmt **ret_statement, const char *sql,
                const char *types, ...) {
    va_list args;
    int r;

    va_start(args, types);
    r = query(store, ret_statement, sql, types, args);
    va_end(args);
    return r;
}

int store_step(struct store *store, sqlite3_stmt *statement) {
    int rc = sqlite3_step(statement);

    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : store_fail(store, sqlite3_sql(statement));
}

int store_exec(struct store *store, const char *sql, const char *types, ...) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    va_list args;
    int r;

    va_start(args, types);
    r = query(store, &statement, sql, types, args);
    va_end(args);
    if (!r)
        r = store_step(store, statement);
    return r < 0 ? r : sqlite3_changes(store->db);
}

int store_script(struct store *store, const char *sql) {
    if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return store_fail(store, "cannot prepare it");
}

int store_column_text(struct store *store, sqlite3_stmt *statement, int column, char **ret_text) {
    const unsigned char *text = sqlite3_column_text(statement, column);
    char *copy;

    if (!text && sqlite3_column_type(statement, column) == SQLITE_NULL) {
        *ret_text = NULL;
        return 0;
    }
    copy = text ? strdup((const char *)text) : NULL;
    if (!copy) {
        store->failed = true;
        return failure_oom(&store->failure);
    }
    *ret_text = copy;
    return 0;
}

int store_column_json(struct store *store, sqlite3_stmt *statement, int column, json_t **ret_json) {
    const unsigned char *text = sqlite3_column_text(statement, column);
    int r;

    if (!text && sqlite3_column_type(statement, column) == SQLITE_NULL) {
        *ret_json = NULL;
        return 0;
    }
    r = text ? json_parse((const char *)text, sqlite3_column_bytes(statement, column), "a column",
                          "store_corrupt", ret_json, NULL)
             : -ENOMEM;
    if (r == -ENOMEM) {
        store->failed = true;
        return failure_oom(&store->failure);
    }
    if (r) {
        store->failed = true;
        return failure_set(&store->failure, -EBADMSG, "store_corrupt",
                           "restore quantd.db from a backup",
                           "cannot read the database: column '%s' holds no JSON",
                           sqlite3_column_name(statement, column));
    }
    return 0;
}
