// SPDX-License-Identifier: Apache-2.0
/*
 * The queue: jobs come in, are claimed, and end. It may use the store, access, files, the
 * parameters of the pipeline and daemon/data/; executors and the service use it. Every change of
 * status and its event are one
 * transaction. Functions may be called from any thread, outside a transaction; they return 0 or
 * -errno with the failure; the errno means what api/service.h says.
 */
#pragma once

#include "api/service.h"
#include "daemon/data/catalog.h"
#include "daemon/data/hub/hub.h"
#include "daemon/data/source.h"
#include "daemon/files/disk.h"
#include "daemon/files/models.h"
#include "daemon/pipeline/params/request.h"
#include "daemon/queue/events.h"
#include "daemon/queue/holds.h"
#include "daemon/queue/job_cache.h"
#include "daemon/queue/quota.h"
#include "daemon/store/lease.h"
#include "daemon/store/store.h"

struct cache;
struct place;
struct target_policy;
struct submission;

#define JOBS_CRASHES_MAX 3  /* of attempts in a row that finished nothing new */
#define JOBS_REBOOTS_MAX 10 /* of the machine, while one job runs */
#define JOBS_LOCAL "local"  /* the executor of the devices of this machine */
#define JOBS_KEY_MAX 255    /* bytes of an Idempotency-Key */

/* Of all jobs since the start. Any thread. */
struct stats {
    struct histogram wait;       /* from a job's submission to its first start */
    struct histogram run;        /* from there to its end */
    struct histogram divergence; /* mean of each set of a job that succeeded, nats */
    atomic_uint_fast64_t n_layers, n_tokens;
};

/* What the queue works with; all pointers are borrowed. */
struct jobs {
    struct store *store;
    struct events *events;
    struct job_cache *cache;
    struct models *models;
    const char *jobs_dir;   /* of the folders of jobs */
    const char *hash_cache; /* where hashes of models are kept (model/fingerprint); NULL: nowhere */
    const struct cache *states;    /* of originals, for later jobs; NULL: none */
    const struct corpora *corpora; /* that submissions are checked against; NULL: they are not */
    struct source *source;  /* finds files of data sets on this machine; may be NULL without hub */
    struct hub_client *hub; /* NULL: no models and files are fetched */
    struct disk *disk;      /* of jobs_dir; NULL: there is always room */
    struct holds *holds;    /* jobs that are passed by for a while; NULL: none ever is */
    char boot[LEASE_BOOT_SIZE]; /* of the machine; "": not known */
    /* Does a run of the job go on without this process? NULL: none does. */
    bool (*lives)(void *lives_ctx, int64_t id);
    void *lives_ctx;
    const char *cluster; /* the executor beside "local" that runs jobs elsewhere; NULL: none */
    bool no_devices;     /* "local" has none: it runs no jobs */
    const struct target_policy *targets; /* of notifications; NULL: there are none */
    struct quota quota;
    struct stats stats;
};

/* -------- what clients ask for (jobs.c, jobs_submit.c, jobs_order.c, jobs_ended.c) -------- */

/* jobs_submit() - as struct service's submit. */
int jobs_submit(struct jobs *jobs, const struct caller *caller, const char *key,
                const json_t *request, json_t **ret_job, bool *ret_created,
                struct failure *failure);

/* Jobs of a group, with those that were retried; all of them are shown at once. */
#define JOBS_OF_GROUP_MAX 500

/*
 * jobs_submit_to() - the same for a job that comes into the group @joins when that is there; 0:
 * into none.
 */
int jobs_submit_to(struct jobs *jobs, const struct caller *caller, const char *key,
                   const json_t *request, int64_t joins, json_t **ret_job, bool *ret_created,
                   struct failure *failure);

/* Jobs that come into the queue together, all or none of them; borrowed. */
struct batch {
    const json_t *body;            /* as it was sent: what an Idempotency-Key stands for */
    json_t *requests;              /* of each job, an array */
    json_t *labels;                /* what failures call each, an array of strings; NULL: nothing */
    const struct group_row *group; /* that is made of them; NULL: none */
    int64_t joins;                 /* the group that they come into when it is there; 0: none */
};

/*
 * jobs_submit_batch() - all jobs of @batch, with consecutive ids from *ret_id on; a key that was
 * used gives the first job of that time. @warnings, an array, gets a string for each new job, ""
 * for none. A failure of one job names it by its label.
 */
int jobs_submit_batch(struct jobs *jobs, const struct caller *caller, const char *key,
                      const struct batch *batch, int64_t *ret_id, bool *ret_created,
                      json_t *warnings, struct failure *failure);

/*
 * jobs_check() - find the model of @submission and check all that can be known before a run: model,
 * tokenizer, data sets, and the network where they need it. Under hub_hold() nothing removes the
 * model afterwards. place_done() frees what *ret_place, zero at first, holds in each case.
 * Return: 0; -EINVAL with the field; -EPERM; or -errno.
 */
int jobs_check(struct jobs *jobs, const struct caller *caller, const struct submission *submission,
               struct place *ret_place, struct failure *failure);

/* jobs_object() - as struct service's job; @known 0: always the object. */
int jobs_object(struct jobs *jobs, const struct caller *caller, int64_t id, uint64_t known,
                json_t **ret_job, uint64_t *ret_version, struct failure *failure);

/* jobs_list() - as struct service's jobs. */
int jobs_list(struct jobs *jobs, const struct caller *caller, const struct job_filter *filter,
              uint64_t known, json_t **ret_list, uint64_t *ret_version, struct failure *failure);

/*
 * jobs_cancel() - a queued job ends at once, a running one becomes cancelling: its executor must
 * be notified. -EBUSY when it has ended, -ENOENT, -EPERM: it is another's.
 */
int jobs_cancel(struct jobs *jobs, const struct caller *caller, int64_t id,
                struct failure *failure);

/*
 * jobs_cancel_group() - the same for all jobs of @group that have not ended, in one transaction:
 * *ret_ids is an object with their ids, owned by the caller. -EBUSY when all have ended.
 */
int jobs_cancel_group(struct jobs *jobs, const struct caller *caller, int64_t group,
                      json_t **ret_ids, struct failure *failure);

/*
 * jobs_order() - as struct service's order. -EBUSY when it is not queued; -ENOENT, -EPERM: it is
 * another's, or the priority is above the limit.
 */
int jobs_order(struct jobs *jobs, const struct caller *caller, int64_t id,
               const struct job_order *order, struct failure *failure);

/*
 * jobs_order_group() - the same for all jobs of @group that wait, in one transaction. -EBUSY when
 * none does.
 */
int jobs_order_group(struct jobs *jobs, const struct caller *caller, int64_t group,
                     const struct job_order *order, struct failure *failure);

/*
 * jobs_retry() - submit job @id, which failed or was cancelled, anew: a job of its own with the
 * same request, of the caller; @key as for jobs_submit(). -EBUSY when it is in any other state,
 * -ENOENT, -EPERM.
 */
int jobs_retry(struct jobs *jobs, const struct caller *caller, const char *key, int64_t id,
               json_t **ret_job, struct failure *failure);

/*
 * jobs_delete() - a job that has ended is gone, with its events, layers, perplexities and files; no
 * other job will have its id. -EBUSY when it has not ended, or another job reads its checkpoint;
 * -ENOENT, -EPERM.
 */
int jobs_delete(struct jobs *jobs, const struct caller *caller, int64_t id,
                struct failure *failure);

/*
 * jobs_windows() - [{set, sha256 (of the windows), nll: [mean NLL of each window]}] of what job @id
 * has measured, owned by the caller; empty when there is no record of it. -ENOENT, -EPERM.
 */
int jobs_windows(struct jobs *jobs, const struct caller *caller, int64_t id, json_t **ret_sets,
                 struct failure *failure);

/* jobs_open_artifact() - as struct service's artifact_open. */
int jobs_open_artifact(struct jobs *jobs, const struct caller *caller, int64_t id, const char *name,
                       struct artifact *ret_artifact, struct failure *failure);

/* jobs_find() - the row of job @id, which is to be freed; -ENOENT. */
int jobs_find(struct jobs *jobs, int64_t id, struct job_row **ret_row, struct failure *failure);

/* jobs_not_found() - there is no job @id. Return: -ENOENT with the failure. */
int jobs_not_found(int64_t id, struct failure *failure);

/*
 * jobs_see() - job @id as @caller may look at it, used; its position is not looked at. -ENOENT,
 * -EPERM: it is hidden from the caller.
 */
int jobs_see(struct jobs *jobs, const struct caller *caller, int64_t id,
             struct cached_job **ret_cached, struct failure *failure);

/*
 * jobs_model_root() - the folder that no link in the model folder @dir may leave. @from_hub: it is
 * in the cache of the hub. The caller owns *ret_root; NULL: the folder itself. Return: 0 or
 * -ENOMEM with the failure.
 */
int jobs_model_root(struct jobs *jobs, const char *dir, bool from_hub, char **ret_root,
                    struct failure *failure);

/* -------- files that a waiting job needs (jobs_pull.c) -------- */

/* jobs_files() - sets files[id] for each file of the catalog that such a job reads; how many. */
int jobs_files(const struct params *params, enum job_kind kind, bool *files);

/*
 * jobs_set_of() - the parameter ("dataset", "eval") by which such a job reads the file @file of the
 * catalog, and *ret_set, the set's name there (borrowed); NULL: it reads no such file.
 */
const char *jobs_set_of(const struct params *params, enum job_kind kind, enum catalog_id file,
                        const char **ret_set);

/* jobs_files_are_here() - are all of them on this machine? */
bool jobs_files_are_here(struct jobs *jobs, const struct params *params, enum job_kind kind);

/*
 * jobs_check_sets() - can all sets of such a job be read or fetched, as far as is known without a
 * request? Return: 0; -EINVAL (hub_offline, hub_unreachable) with the field that names the set, or
 * would name it.
 */
int jobs_check_sets(struct jobs *jobs, const struct params *params, enum job_kind kind,
                    struct failure *failure);

/*
 * jobs_check_fetch() - likewise for the model @model of the hub, which is not here. Return: 0;
 * -EINVAL (model_not_found when quantd is offline, hub_unreachable).
 */
int jobs_check_fetch(struct jobs *jobs, const char *model, struct failure *failure);

/* jobs_next_pull() - as store_next_pull(); -ENOENT without a failure: none. */
int jobs_next_pull(struct jobs *jobs, const char *passed, struct job_row **ret_row,
                   struct failure *failure);

/* jobs_next_paused_pull() - as store_next_paused_pull(); -ENOENT without a failure: none. */
int jobs_next_paused_pull(struct jobs *jobs, int64_t after, struct job_row **ret_row,
                          struct failure *failure);

/* jobs_pull_started() - files of job @id are on their way: it waits for no room. */
int jobs_pull_started(struct jobs *jobs, int64_t id, struct failure *failure);

/*
 * jobs_pulled() - its files are here, its model in @model_dir, from the hub at @commit ("": it is
 * not from there). -ESTALE: it has ended meanwhile.
 */
int jobs_pulled(struct jobs *jobs, const struct job_row *row, const char *model_dir,
                const char *commit, struct failure *failure);

/*
 * jobs_pause_waiting() - the queued job waits for more than its turn, because of @why; nothing
 * happens when it does so already, or has ended.
 */
int jobs_pause_waiting(struct jobs *jobs, int64_t id, const struct failure *why,
                       struct failure *failure);

/* jobs_pull_failed() - the waiting job fails because of @why. -ESTALE as above. */
int jobs_pull_failed(struct jobs *jobs, int64_t id, const struct failure *why,
                     struct failure *failure);

/* jobs_use_model() - does a job that has not ended need model "org/name" of the hub? */
bool jobs_use_model(struct jobs *jobs, const char *hub_model);

/* -------- which job is next (jobs_claim.c) -------- */

/* jobs_look() - would jobs_claim() claim one? Return: 0, or what it would return. */
int jobs_look(struct jobs *jobs, const char *device, struct failure *failure);

/*
 * jobs_claim() - the next job becomes running; -ENOENT without a failure when none waits. -ENOSPC:
 * none but jobs that write, for which the disk has no room: the first of them is paused.
 */
int jobs_claim(struct jobs *jobs, const char *device, struct job_row **ret_row,
               struct failure *failure);

/*
 * jobs_claim_run() - the same for a run by jobs->cluster: the run @nonce is in the ledger
 * (daemon/store/runs.h) when its job has become running. @asked_only: only jobs that ask for it.
 */
int jobs_claim_run(struct jobs *jobs, const char *nonce, bool asked_only, struct job_row **ret_row,
                   struct failure *failure);

/* jobs_look_run() - would jobs_claim_run() take one, asked for or not? Its errors. */
int jobs_look_run(struct jobs *jobs, struct failure *failure);

/* -------- what becomes of a running job (jobs_run.c) -------- */

/* jobs_succeed() - it ends with the pipeline's @result (borrowed); finds its baseline. */
int jobs_succeed(struct jobs *jobs, int64_t id, json_t *result, struct failure *failure);

/*
 * jobs_find_baseline() - inside a transaction: put what the perplexities of @result compare with
 * into it as "baseline", unless it is there; of @row the owner and the parameters are used.
 * Return: 0 or -errno.
 */
int jobs_find_baseline(struct jobs *jobs, const struct job_row *row, json_t *result);

/* jobs_record_evals() - inside a transaction: store the perplexities of @result of the job. */
int jobs_record_evals(struct jobs *jobs, const struct job_row *row, json_t *result);

/* jobs_fail() - it ends, because of @why; its files are removed. */
int jobs_fail(struct jobs *jobs, int64_t id, const struct failure *why, struct failure *failure);

/* jobs_cancelled() - it has stopped because it was cancelled; its files are removed. */
int jobs_cancelled(struct jobs *jobs, int64_t id, struct failure *failure);

/* Why a job stopped before its end. */
enum stop {
    STOP_ASKED,  /* the daemon was asked to stop: no attempt is used up */
    STOP_CRASH,  /* of the daemon or its device: the next attempt; see JOBS_CRASHES_MAX */
    STOP_REBOOT, /* of the machine: not the job's fault; JOBS_REBOOTS_MAX times at most */
};

/*
 * jobs_interrupt() - it has stopped before its end: back to the queue, or cancelled when that was
 * requested.
 */
int jobs_interrupt(struct jobs *jobs, int64_t id, const char *reason, enum stop stop,
                   struct failure *failure);

/*
 * jobs_pause() - it has stopped because the disk or the device has no room, as @why says: back
 * to the queue, no attempt is used up, and it continues when there is room; or cancelled when that
 * was requested. How long others pass it by is in holds.h.
 */
int jobs_pause(struct jobs *jobs, int64_t id, const struct failure *why, struct failure *failure);

/*
 * jobs_abandon() - before an end that cannot wait for workers: every job whose run does not live
 * on goes back to the queue, or is cancelled when that was requested. Later reports of a worker
 * are ignored.
 */
int jobs_abandon(struct jobs *jobs, struct failure *failure);

/*
 * jobs_recover() - after a start: jobs that ran go back to the queue unless their run lives, files
 * of jobs that failed or were cancelled are removed, and folders of jobs that were deleted.
 */
int jobs_recover(struct jobs *jobs, struct failure *failure);
