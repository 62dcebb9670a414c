// SPDX-License-Identifier: Apache-2.0
/*
 * The store: what must survive a crash, in one SQLite database. One connection behind one mutex;
 * only daemon/store/ sees SQLite. It may use base, migrations and api/wire.h (names of events);
 * what its rows mean to clients is the business of daemon/queue/.
 *
 * Every function that takes an open store and does not say otherwise is called between
 * store_begin() and store_end(), by one thread. It returns 0 or -errno; the reason of a failed
 * statement is kept and handed out by store_end(). -ENOENT and -ESTALE are answers, without a
 * reason: the caller words them.
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"
#include "base/hash.h"
#include "base/histogram.h"
#include "daemon/store/lease.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct store;

enum job_status {
    JOB_QUEUED,
    JOB_RUNNING,
    JOB_CANCELLING,
    JOB_SUCCEEDED, /* from here on: ended, never changes */
    JOB_FAILED,
    JOB_CANCELLED,
    N_JOB_STATUS,
};

/* job_status_name() - as clients see it: "queued". Any thread. */
const char *job_status_name(enum job_status status);
/* job_status_from_name() - the inverse. Return: 0 or -EINVAL. Any thread. */
int job_status_from_name(const char *name, enum job_status *ret_status);

static inline bool job_status_ended(enum job_status status) {
    return status >= JOB_SUCCEEDED;
}

/* One row of jobs. All pointers are owned by the row; times in ms since 1970, 0: not yet. */
struct job_row {
    int64_t id;
    char *kind; /* "quantize", "eval" or "export" */
    enum job_status status;
    char *owner, *name;
    char *model_dir;
    int priority, attempt;
    json_t *labels;
    json_t *request;                           /* the parameters as asked for */
    json_t *params;                            /* the same with defaults; later as resolved */
    json_t *model, *progress, *result, *error; /* NULL: none */
    int64_t created_at, started_at, finished_at;
    json_t *paused;    /* code, detail, hint: what a queued job waits for; NULL: its turn */
    int64_t paused_at; /* 0: it is not */
    int64_t paused_ms; /* all pauses that are over, of those since its first start */
    bool pull;         /* files of it have to be fetched before it can be claimed */
    char *hub_model;   /* "org/name" when the model is from the hub; NULL: it is not */
    bool private;      /* for its owner and admins only */
    char *executor;    /* which alone may run it; NULL: any */
    json_t *engine;    /* of its newest run on a cluster; NULL: it had none */
    char *notify;      /* URL to notify of its end; NULL: none */
    bool held;         /* it is queued, and has no place in the queue until it is released */
    json_t *group;     /* id, name of the group that it is a member of; NULL: of none */
    uint64_t version;
};

void job_row_free(struct job_row *row); /* NULL is fine */
DEFINE_CLEANUP(struct job_row *, job_row_freep, job_row_free)

/* -------- opening (open.c), transactions (store.c) -------- */

/*
 * store_open() - open or create the store in the folder @dir (there already): takes its lock file,
 * checks the database, brings its schema up to date. The caller owns *ret_store.
 * Return: 0; -EBUSY (store_locked: another daemon uses it); -EPROTONOSUPPORT (store_newer);
 * -EBADMSG (store_corrupt); or -errno. Call it outside a transaction, as store_close().
 */
int store_open(const char *dir, struct store **ret_store, struct failure *failure);
void store_close(struct store *store); /* NULL is fine */
DEFINE_CLEANUP(struct store *, store_closep, store_close)

enum store_mode {
    STORE_READ,
    STORE_WRITE, /* for a request: another program that holds the database is waited for briefly */
    STORE_WORK,  /* the same for a job: it is waited for until it ends */
};

/*
 * store_begin() - lock the store and begin a transaction; when it fails, nothing is locked. While
 * it waits for another program, nothing is locked either.
 * Return: 0; -EAGAIN (store_busy): another program holds the database; or -errno.
 */
int store_begin(struct store *store, enum store_mode mode, struct failure *failure);

/* store_waits() - does a job wait for another program that holds the database? Any thread. */
bool store_waits(const struct store *store);

/* store_end_waits() - the daemon ends: STORE_WORK waits a few seconds at most. Any thread. */
void store_end_waits(struct store *store);

/*
 * store_end() - end the transaction and unlock: commit when @r is 0, durable on return, else roll
 * back. @failure is filled in when the store is to blame.
 * Return: @r, or -errno when the commit failed.
 */
int store_end(struct store *store, int r, struct failure *failure);

/* store_seconds() - how long transactions took, with the wait for the lock. Any thread. */
struct histogram_copy store_seconds(const struct store *store);

/* Versions: one counter of all changes that clients can see; it never repeats. Any thread. */
uint64_t store_version(struct store *store);       /* of the newest change */
uint64_t store_version_next(struct store *store);  /* a change happens */
uint64_t store_version_queue(struct store *store); /* of the newest change of any job's status */

/* store_stamp() - another number after each change of a row of jobs, before its commit. Any thread.
 */
uint64_t store_stamp(const struct store *store);

/* store_last_seq() - seq of the newest stored event, 0 when there is none. Any thread. */
uint64_t store_last_seq(struct store *store);

/* -------- jobs (jobs.c) -------- */

/* A job that is not in the store yet. All pointers are borrowed; the rest as in struct job_row. */
struct new_job {
    const char *kind, *owner, *name;
    const char *model_dir; /* "": its model has to be fetched first */
    const char *hub_model; /* or NULL */
    const char *notify;    /* URL, or NULL */
    const json_t *labels, *request, *params;
    int priority;
    const char *executor; /* which alone may run it; NULL: any */
    bool pull, private;
    int64_t group; /* 0: of none */
    int64_t created_at;
};

/* store_insert_job() - append @job as queued, for its first attempt. */
int store_insert_job(struct store *store, const struct new_job *job, int64_t *ret_id);

/* What an adopted job was found with; borrowed. */
struct adopted_job {
    int64_t id; /* its own, which the folder has */
    json_t *result;
    const json_t *model; /* the model's facts; NULL: not known */
};

/*
 * store_adopt_job() - append @job as one that has just succeeded, with the number @adopted->id: it
 * was found on the disk. Return: 0; -EEXIST: there is or was a job of that number; or -errno.
 */
int store_adopt_job(struct store *store, const struct new_job *job,
                    const struct adopted_job *adopted);

/* store_get_job() - the caller owns *ret_row. Return: 0, -ENOENT, -errno. */
int store_get_job(struct store *store, int64_t id, struct job_row **ret_row);

/* What shows whether a job is unchanged. */
struct job_summary {
    int64_t id, position; /* position: in the queue; 0: it is not queued */
    uint64_t version;
};

/* store_get_summary() - Return: 0, -ENOENT, -errno. */
int store_get_summary(struct store *store, int64_t id, struct job_summary *ret_summary);

struct store_filter {
    const char *status; /* one, or several with commas; NULL: any, as for the next three */
    const char *owner, *kind;
    const char *text;   /* in the name or the model, whatever the case of ASCII; or the id */
    const char *label;  /* a name, or name=value, of which the job has a label */
    const char *method; /* of quantization; leaves out what quantizes nothing */
    const char *sort;   /* "perplexity", "bits": the smallest first; NULL: the newest first */
    int wbits;          /* 0: any */
    double perplexity_min, perplexity_max; /* of the first set; 0: any, even none */
    const char *viewer;                    /* without private jobs of others; NULL: with all */
    int64_t after;                         /* only what comes after this job; 0: all */
    int64_t group;                         /* 0: any, even none */
    int limit;
};

/*
 * store_list_summaries() - calls @each with the jobs that pass @filter, in its order. An @each that
 * returns not 0 ends the list, and that is returned. -ENOENT: a sorted list cannot go on after a
 * job that is not there, or is hidden from the viewer.
 */
int store_list_summaries(struct store *store, const struct store_filter *filter,
                         int (*each)(void *ctx, const struct job_summary *summary), void *ctx);

/* -------- groups of jobs (groups.c) -------- */

/* Jobs that were submitted together. There is one as long as it has a job. Owned by the row. */
struct group_row {
    int64_t id;
    char *name, *owner;
    bool private;   /* as its jobs are */
    json_t *varies; /* the fields that differ between its jobs, an array of names */
    char *model;    /* NULL: its jobs have several */
    int64_t created_at;
    int64_t finished_at; /* of the last job to end; 0: not all have ended */
    int64_t n[N_JOB_STATUS];
    /* Of these: those for which a later job of the group has the same kind, name and request. */
    int64_t n_failed_again, n_cancelled_again;
};

void group_row_free(struct group_row *row); /* NULL is fine */
DEFINE_CLEANUP(struct group_row *, group_row_freep, group_row_free)

/* store_insert_group() - of @row name, owner, private, varies and created_at are used. */
int store_insert_group(struct store *store, const struct group_row *row, int64_t *ret_id);

/* store_get_group() - the caller owns *ret_row. Return: 0, -ENOENT, -errno. */
int store_get_group(struct store *store, int64_t id, struct group_row **ret_row);

/* store_find_group() - the group of job @job_id; 0: of none. */
int store_find_group(struct store *store, int64_t job_id, int64_t *ret_id);

/*
 * store_list_groups() - calls @each with groups, the newest first, at most @limit: those of @owner
 * (NULL: of all), without private ones that are not of @viewer (NULL: with all), and with ids
 * below @after (0: all). An @each that returns not 0 ends the list, and that is returned.
 */
int store_list_groups(struct store *store, const char *owner, const char *viewer, int64_t after,
                      int limit, int (*each)(void *ctx, const struct group_row *row), void *ctx);

/* store_list_members() - the jobs of a group, ascending: [id]. The caller owns *ret_ids. */
int store_list_members(struct store *store, int64_t id, json_t **ret_ids);

/* -------- jobs that wait for more than their turn (pause.c) -------- */

/* Who claims jobs, and which of those that have all their files; all pointers are borrowed. */
struct store_claim {
    bool writes;          /* all; else only those that evaluate a model as it is */
    const json_t *held;   /* but none of these, an array of ids; NULL: no others */
    const char *executor; /* jobs that ask for this one or for none */
    bool asked_only;      /* and none of those that ask for none */
    bool begun;           /* those too that runs of another executor have begun (runs.h) */
};

/*
 * store_next_job() - the job that store_claim_job() would take, and whether it is paused.
 * -ENOENT: none.
 */
int store_next_job(struct store *store, const struct store_claim *claim, int64_t *ret_id,
                   bool *ret_paused);

/* store_pause_job() - a queued job waits for more than its turn. -ESTALE: it did so already. */
int store_pause_job(struct store *store, int64_t id, int64_t at, json_t *why);

/*
 * store_unpause_jobs() - no job that has its files waits for more than its turn, from @at on, but
 * for those of @held.
 */
int store_unpause_jobs(struct store *store, int64_t at, const json_t *held);

/* store_unpause_pull() - job @id does not wait for room for its files, if it did. */
int store_unpause_pull(struct store *store, int64_t id);

/*
 * store_next_pull() - the first job of the queue whose files are to be fetched, and for which there
 * was room so far as is known; those of @passed, a JSON array of ids, after all others. -ENOENT:
 * none.
 */
int store_next_pull(struct store *store, const char *passed, struct job_row **ret_row);

/* store_next_paused_pull() - the next one after job @after for whose files there was none. */
int store_next_paused_pull(struct store *store, int64_t after, struct job_row **ret_row);

/* store_set_pulled() - its files are here. Return: 0, -ESTALE when it has ended, -errno. */
int store_set_pulled(struct store *store, int64_t id, const char *model_dir, json_t *params);

/* store_uses_model() - does a job that has not ended use @hub_model? */
int store_uses_model(struct store *store, const char *hub_model, bool *ret_used);

/*
 * store_delete_job() - the row of a job that has ended, and with it its events, layers, evals and
 * keys. Return: 0, -ENOENT when there is no such job that has ended, -errno.
 */
int store_delete_job(struct store *store, int64_t id);

/* store_find_user() - a job that has not ended and reads the model in @model_dir. -ENOENT: none. */
int store_find_user(struct store *store, const char *model_dir, int64_t *ret_id);

/* -------- folders of jobs (folders.c) -------- */

/* store_reserve_ids() - no new job gets an id up to @id. Return: 1 when that changes something. */
int store_reserve_ids(struct store *store, int64_t id);

/* store_next_removal() - the first deleted job after @after whose folder may be there. -ENOENT. */
int store_next_removal(struct store *store, int64_t after, int64_t *ret_id);

/* store_is_known() - does job @id have a row, or was it deleted since the last start? */
int store_is_known(struct store *store, int64_t id, bool *ret_known);

/* store_end_removal() - the folder of the deleted job is gone. */
int store_end_removal(struct store *store, int64_t id);

/* store_count_by_status() - how many jobs there are of each. */
int store_count_by_status(struct store *store, int64_t ret_n[N_JOB_STATUS]);

/* store_count_jobs() - how many jobs have @status. */
int store_count_jobs(struct store *store, enum job_status status, int64_t *ret_n);

/* store_count_owner() - how many jobs of @owner have not ended. */
int store_count_owner(struct store *store, const char *owner, int64_t *ret_n);

/*
 * store_claim_job() - the first job of the queue that @claim may have becomes running at time @at.
 * The caller owns *ret_row. Return: 0, -ENOENT when there is none, -errno.
 */
int store_claim_job(struct store *store, int64_t at, const struct store_claim *claim,
                    struct job_row **ret_row);

/* A change of status. JSON is borrowed; NULL leaves progress as it is. */
struct job_change {
    enum job_status from, to;
    int64_t at;  /* finished_at when @to has ended */
    int attempt; /* 0: as it is */
    json_t *progress, *result, *error;
    json_t *paused; /* of a job that goes back to the queue; NULL: it is not paused */
};

/* store_change_job() - Return: 0, -ESTALE when the job is not in @from, -errno. */
int store_change_job(struct store *store, int64_t id, const struct job_change *change);

/* store_order_job() - of a queued job. Return: 0, -ESTALE when it is not queued, -errno. */
int store_order_job(struct store *store, int64_t id, int priority, bool held);

/* store_set_facts() - parameters as resolved and the model's facts of a job that has not ended. */
int store_set_facts(struct store *store, int64_t id, json_t *params, json_t *model);

/* -------- leases of running jobs (running.c) -------- */

/* store_start_lease() - the job, just claimed, is worked on in this @boot ("": not known). */
int store_start_lease(struct store *store, int64_t id, const char *boot);

/* store_renew_lease() - a sign of life of the job; nothing happens when it does not run. */
int store_renew_lease(struct store *store, int64_t id);

/* store_count_reboot() - the machine went down while the job ran. */
int store_count_reboot(struct store *store, int64_t id);

/* store_get_lease() - of the job's newest run. Return: 0, -ENOENT, -errno. */
int store_get_lease(struct store *store, int64_t id, struct lease *ret_lease);

/* -------- what happened (events.c) -------- */

/* store_has_event() - has job @job_id an event @type with all that is in @data? It may say more. */
int store_has_event(struct store *store, int64_t job_id, const char *type, const json_t *data,
                    bool *ret_found);

/*
 * store_gaining_attempt() - the last attempt of job @job_id in which a layer or a set of data was
 * finished that no attempt had finished before; 1 when none was.
 */
int store_gaining_attempt(struct store *store, int64_t job_id, int *ret_attempt);

int store_append_event(struct store *store, int64_t job_id, const char *type, int64_t at,
                       const json_t *data, uint64_t *ret_seq);

/*
 * store_list_events() - [{seq, job, type, at, data}] with seq > @after of @job_id (0: all jobs),
 * ascending, at most @limit. With 0, those of private jobs that are not of @viewer are left out;
 * NULL: none is. The caller owns *ret_events.
 */
int store_list_events(struct store *store, int64_t job_id, const char *viewer, uint64_t after,
                      int limit, json_t **ret_events);

/* -------- notifications of the end of jobs, until they are delivered (notifications.c) -------- */

/* store_list_notifications() - [{id, job, kind: config|url|command, url, tries}], the least tried
 * first, at most @limit; the caller owns *ret_list. A trigger adds them as jobs end. */
int store_list_notifications(struct store *store, int limit, json_t **ret_list);

/* store_add_notification() - of job @job_id, to @url (NULL: none). */
int store_add_notification(struct store *store, int64_t job_id, const char *kind, const char *url);

/* store_count_notification() - a try has failed. */
int store_count_notification(struct store *store, int64_t id);

/* store_end_notification() - it was delivered, or given up. */
int store_end_notification(struct store *store, int64_t id);

/* -------- results (results.c) -------- */

/* store_drop_layers() - the reports of an attempt whose layers are not used. 0 or -errno. */
int store_drop_layers(struct store *store, int64_t job_id);

/* store_put_layer() - the report of @layer; drops reports of later layers from an earlier try. */
int store_put_layer(struct store *store, int64_t job_id, int64_t layer, const json_t *data);
/* store_list_layers() - their reports, ascending; the caller owns *ret_layers, an array. */
int store_list_layers(struct store *store, int64_t job_id, json_t **ret_layers);

/* A perplexity. All pointers are borrowed. */
struct eval_row {
    const char *name; /* the data set */
    double value;
    int wbits; /* 16: the model as it is */
    const char *model_fingerprint, *windows_sha256;
    int64_t seqlen;
};

/*
 * store_list_runs() - the newest @limit jobs that succeeded in one attempt and ran on a device:
 * [{kind, device, params, model, seconds, perplexity, original}], without private jobs that are not
 * of
 * @viewer (NULL: with all). The caller owns *ret_runs.
 */
int store_list_runs(struct store *store, const char *viewer, int limit, json_t **ret_runs);

int store_put_eval(struct store *store, int64_t job_id, const struct eval_row *row);
/*
 * store_find_baseline() - the newest perplexity of the model as it is (wbits 16) on the windows of
 * @row that a job of @owner, or one that is not private, has measured. Return: 0, -ENOENT, -errno.
 */
int store_find_baseline(struct store *store, const struct eval_row *row, const char *owner,
                        double *ret_value);

/* store_find_key() - the job and request hash of an Idempotency-Key. Return: 0, -ENOENT, -errno. */
int store_find_key(struct store *store, const char *owner, const char *key,
                   char ret_sha256[SHA256_TEXT_SIZE], int64_t *ret_job_id);
int store_put_key(struct store *store, const char *owner, const char *key, const char *sha256,
                  int64_t job_id, int64_t at);

/* -------- copies (backup.c) -------- */

/*
 * store_backup() - write what the store holds over the file @path, which is there: one consistent
 * state of it, checked. In steps, between which others use the store; stopped by *@stop. Not
 * synced. Outside a transaction, any thread. Return: 0; -ENOSPC (disk_full); -EBADMSG
 * (store_corrupt); -ECANCELED; or another -errno (backup_failed), with the failure.
 */
int store_backup(struct store *store, const char *path, const atomic_bool *stop,
                 struct failure *failure);

/* store_size() - how large the copy will be. */
int store_size(struct store *store, uint64_t *ret_bytes);

/* -------- deleting old rows (expire.c) -------- */

#define STORE_EXPIRE_MAX                                                                           \
    500 /* rows that one call deletes at most: the store is held for a moment */

/* store_expire_keys() - Idempotency-Keys from before @before. Return: how many, or -errno. */
int store_expire_keys(struct store *store, int64_t before);

/*
 * store_expire_progress() - rows of progress of the first job behind *@after that ended before
 * @before; *@after becomes that job once it has none left. Return: how many; -ENOENT: there is no
 * such job; or another -errno.
 */
int store_expire_progress(struct store *store, int64_t before, int64_t *after);

/* Where a walk over jobs that have ended is: in the order in which they did. */
struct store_ended {
    int64_t at, id;
};

/* store_next_ended() - the next job after *@ended that ended before @before. -ENOENT: none. */
int store_next_ended(struct store *store, int64_t before, struct store_ended *ended);

/* -------- tokens (tokens.c) -------- */

/* A token, of which only the hash is known. */
struct token_row {
    int64_t id; /* > 0: of the store, < 0: of the token file */
    char name[65], owner[65], role[8];
    char sha256[SHA256_TEXT_SIZE];
    int64_t created_at, last_used_at; /* ms since 1970; 0: not known, not yet */
};

/* store_list_tokens() - calls @each with each token; one that returns not 0 ends it with that. */
int store_list_tokens(struct store *store, int (*each)(void *ctx, const struct token_row *row),
                      void *ctx);

/* store_next_token() - the id that no token has ever had. */
int store_next_token(struct store *store, int64_t *ret_id);
int store_insert_token(struct store *store, const struct token_row *row);
int store_delete_token(struct store *store, int64_t id); /* -ENOENT: there is none */
int store_touch_token(struct store *store, int64_t id, int64_t at);
