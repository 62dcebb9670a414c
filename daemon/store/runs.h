// SPDX-License-Identifier: Apache-2.0
/*
 * The ledger of runs that go on without this daemon. Which are open is the business of a trigger:
 * a job that does not run has none. Called between store_begin() and store_end(), as all of
 * store.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct store;

#define RUN_NONCE_SIZE 33
#define RUN_INSTANCE_SIZE 17

/* What a cluster says of a run. Empty and 0: it has said nothing. */
struct run_news {
    int64_t remote_id;
    char state[32], reason[160], node[256];
    int64_t starts_at; /* ms since 1970 */
};

struct run_row {
    int64_t id, job_id;
    char nonce[RUN_NONCE_SIZE];
    int64_t offset; /* bytes of its events that are in the store */
    struct run_news news;
};

/* Up to where the events of a run were read: stored with what the last of them did. */
struct run_mark {
    int64_t run; /* its id */
    int64_t offset;
};

/* store_insert_run() - job @job_id, just claimed, runs by @executor as @nonce. */
int store_insert_run(struct store *store, int64_t job_id, const char *executor, const char *nonce);

/* store_renew_run() - the open run @id is closed, and one as @nonce takes its place. */
int store_renew_run(struct store *store, int64_t id, const char *nonce, int64_t *ret_id);

/* store_open_run() - the open run of job @job_id. Return: 0, -ENOENT, -errno. */
int store_open_run(struct store *store, int64_t job_id, struct run_row *ret_row);

/* store_list_open_runs() - calls @each with each open run of @executor; not 0 ends it with that. */
int store_list_open_runs(struct store *store, const char *executor,
                         int (*each)(void *ctx, const struct run_row *row), void *ctx);

/* store_last_run() - the newest closed run of job @job_id. Return: 0, -ENOENT, -errno. */
int store_last_run(struct store *store, int64_t job_id, struct run_row *ret_row);

/* store_shares_id() - has a run of another nonce the remote id of run @id too? */
int store_shares_id(struct store *store, int64_t id, bool *ret_shares);

/* store_set_run_news() - of run @id; clients see it as news of its job. */
int store_set_run_news(struct store *store, int64_t id, const struct run_news *news);

/* store_set_run_mark() - its events are in the store up to there; NULL: nothing happens. */
int store_set_run_mark(struct store *store, const struct run_mark *mark);

/* store_instance() - the name of this database: hex digits, made once. */
int store_instance(struct store *store, char ret_instance[RUN_INSTANCE_SIZE]);
