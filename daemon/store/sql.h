// SPDX-License-Identifier: Apache-2.0
/* Inside the store: the connection, and a few words to speak SQL with. For daemon/store/ alone. */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"
#include "base/histogram.h"

#include <jansson.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define STORE_STATEMENTS_MAX 96

struct store {
    sqlite3 *db;
    int lock_fd; /* holds the flock of the lock file */
    pthread_mutex_t mutex;
    struct {
        const char *sql; /* a literal: compared by address */
        sqlite3_stmt *statement;
    } statements[STORE_STATEMENTS_MAX];
    int n_statements;
    struct failure failure; /* of the transaction's first failed statement */
    bool failed;
    double began;        /* the transaction: monotonic */
    bool impatient;      /* SQLite is not to wait for another program */
    atomic_bool waiting; /* a job waits for one, and the log says so */
    atomic_bool ends_waits;
    atomic_int n_requests_waiting; /* for another program */
    struct histogram seconds;
    uint64_t pending_seq; /* of the transaction's newest event, 0: none */
    atomic_uint_fast64_t version, version_queue, last_seq;
    atomic_uint_fast64_t stamp; /* moved by each change of a row of jobs */
};

/* In an UPDATE of jobs: a pause, if there is one, ends at ?2 (ms) and counts since the first start.
 */
#define STORE_COUNT_PAUSE                                                                          \
    "paused_ms = paused_ms + CASE WHEN paused_at > 0 AND started_at > 0 "                          \
    "THEN max(?2 - paused_at, 0) ELSE 0 END"

/* May the executor @name have the job `waiting`? The others are as in struct store_claim. */
#define STORE_MAY_RUN(name, asked_only, begun)                                                     \
    "CASE WHEN waiting.executor IS NOT NULL THEN waiting.executor = " name " ELSE NOT " asked_only \
    " AND (" begun                                                                                 \
    " OR NOT EXISTS (SELECT 1 FROM runs WHERE runs.job_id = waiting.id AND runs.executor <> " name \
    ")) END "

/*
 * store_errno() - what SQLite's code @rc of the connection @db, which may be NULL, means: -ENOSPC,
 * -ENOMEM, -EEXIST, -EBADMSG, -EAGAIN (another program holds it) or -EIO.
 */
int store_errno(sqlite3 *db, int rc);

/* store_fail() - keep SQLite's error as the transaction's reason. Return: -errno. */
int store_fail(struct store *store, const char *what);

/*
 * store_query() - prepare the literal @sql once, bind the arguments by @types: i int64_t,
 * d double, s const char *, j json_t * as compact text; NULL binds NULL. The statement is the
 * store's; reset it with cleanup(store_resetp).
 */
int store_query(struct store *store, sqlite3_stmt **ret_statement, const char *sql,
                const char *types, ...);

/* store_step() - Return: 1 for a row, 0 at the end, -errno. */
int store_step(struct store *store, sqlite3_stmt *statement);

/* store_exec() - a statement without rows. Return: how many rows it changed, or -errno. */
int store_exec(struct store *store, const char *sql, const char *types, ...);

/* store_script() - any number of statements, not cached. */
int store_script(struct store *store, const char *sql);

/* Columns, copied; a NULL column gives NULL. Return: 0, -ENOMEM, -EBADMSG. */
int store_column_text(struct store *store, sqlite3_stmt *statement, int column, char **ret_text);
int store_column_json(struct store *store, sqlite3_stmt *statement, int column, json_t **ret_json);

static inline void store_resetp(sqlite3_stmt **statement) {
    if (*statement) {
        sqlite3_reset(*statement);
        sqlite3_clear_bindings(*statement);
    }
}
