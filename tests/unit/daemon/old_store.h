// SPDX-License-Identifier: Apache-2.0
/* A store as an earlier quantd left it. Included once by a test. */
#pragma once

#include "migrations/migrations.h"

#include "daemon_fixture.h"

#include <sqlite3.h>

/*
 * Opens @f anew, on a database that ran the first @n migrations and has what @sql put into it
 * then: the migrations after these have run when it returns.
 */
static void reopen_old_store(struct fixture *f, int n, const char *sql) {
    cleanup(freep) char *path = str_format("%s/quantd.db", f->dir);
    cleanup(freep) char *numbers =
        str_format("PRAGMA application_id = 0x71756e74; PRAGMA user_version = %d", n);
    sqlite3 *db = NULL;

    store_close(f->store);
    f->store = NULL;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    for (int i = 0; i < n; i++)
        assert_int_equal(sqlite3_exec(db, migrations[i].sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, numbers, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    fixture_open(f);
}
