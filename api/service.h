// SPDX-License-Identifier: Apache-2.0
/*
 * What the API may ask of the daemon: a struct of functions that the daemon fills in. Objects
 * cross it as JSON, in the form that clients see (openapi.json).
 *
 * Every function may be called from any thread, never waits for a device, and returns 0 or
 * -errno with the failure filled in. What the errno means to a client:
 *   -ENOENT 404, -EINVAL 422, -EEXIST 409, -EBUSY 409, -EPERM 403, -EDQUOT 429, -EAGAIN 503,
 *   -ENOSPC 507, all others 500.
 * JSON out-parameters are owned by the caller.
 */
#pragma once

#include "base/failure.h"
#include "base/histogram.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What a caller may do; each includes those before it. */
enum role {
    ROLE_READ,   /* look */
    ROLE_SUBMIT, /* and submit jobs, cancel and delete own ones */
    ROLE_ADMIN,  /* and do so with all jobs; tokens, models */
};

/* role_name() - as clients see it: "read". Any thread. */
const char *role_name(enum role role);
/* role_from_name() - the inverse. Return: 0 or -EINVAL. Any thread. */
int role_from_name(const char *name, enum role *ret_role);

#define OWNER_SIZE 65

/* How a caller is known. */
enum caller_auth {
    AUTH_NONE,  /* TCP on loopback while there are no tokens */
    AUTH_PEER,  /* the user at the other end of the unix socket */
    AUTH_TOKEN, /* a bearer token */
};

/* The caller; the api fills it in once per request. */
struct caller {
    char owner[OWNER_SIZE]; /* whose jobs are the caller's own */
    enum role role;
    enum caller_auth auth;
    int64_t token; /* which one, with AUTH_TOKEN */
};

/* The daemon itself: everything may be seen and done. */
extern const struct caller caller_daemon;

/* Which jobs a list shows; NULL or 0: no restriction. */
struct job_filter {
    const char *status; /* one, or several with commas */
    const char *owner, *kind;
    const char *text;   /* in the name or the model, whatever the case of ASCII; or the id */
    const char *label;  /* a name, or name=value, of which the job has a label */
    const char *method; /* of quantization; leaves out what quantizes nothing */
    const char *sort;   /* "perplexity", "bits": the smallest first; NULL: the newest first */
    int wbits;          /* 0: any */
    double perplexity_min, perplexity_max; /* of the first set; 0: any, even none */
    int64_t after; /* only what comes after this job, as a rule the newest first */
    int64_t group; /* only members of this one */
    int limit;     /* 1 .. 500 */
};

/* Which groups a list shows, the newest first; NULL or 0: no restriction. */
struct groups_filter {
    const char *owner;
    int64_t after; /* only those with lower ids */
    int limit;     /* 1 .. 500 */
};

/* What changes of a waiting job; NULL: it stays. */
struct job_order {
    const int *priority; /* -100 .. 100 */
    const bool *held;    /* it has no place in the queue until it is released */
};

struct artifact {
    int fd; /* open for reading; owned by the caller */
    uint64_t size;
    char sha256[65];
};

#define SERVICE_STATUSES 6

/* Numbers for monitoring. */
struct service_stats {
    struct {
        const char *status;
        uint64_t n;
    } jobs[SERVICE_STATUSES];         /* that are in the store */
    struct histogram_copy wait;       /* to a job's first start; histogram_of_jobs */
    struct histogram_copy run;        /* from there to its end; histogram_of_jobs */
    struct histogram_copy divergence; /* of sets from the original; histogram_of_divergences */
    struct histogram_copy store;      /* transactions; histogram_of_calls */
    uint64_t n_layers, n_tokens;      /* quantized; measured */
};

struct service {
    void *ctx; /* first argument of every function */

    /*
     * Appends a job of the caller: @request is the parsed body (any JSON value).
     * @idempotency_key: NULL or the header; the same key of the same owner with the same body
     * gives the job of the first time (*ret_created false), with another body -EINVAL.
     * On disk when it returns.
     */
    int (*submit)(void *ctx, const struct caller *caller, const char *idempotency_key,
                  const json_t *request, json_t **ret_job, bool *ret_created,
                  struct failure *failure);

    /*
     * Checks @request as submit() does and says what the job would take, as openapi.json's
     * Estimate; nothing is stored. What is not known is null, with a reason.
     */
    int (*estimate)(void *ctx, const struct caller *caller, const json_t *request,
                    json_t **ret_estimate, struct failure *failure);

    /*
     * Appends the jobs of a group, all or none, and key as for submit(): @request is a
     * GroupRequest of openapi.json, the answer a Group.
     */
    int (*submit_group)(void *ctx, const struct caller *caller, const char *idempotency_key,
                        const json_t *request, json_t **ret_group, bool *ret_created,
                        struct failure *failure);

    /* The estimates of its members, as openapi.json's GroupEstimate; nothing is stored. */
    int (*estimate_group)(void *ctx, const struct caller *caller, const json_t *request,
                          json_t **ret_estimate, struct failure *failure);

    /* One group with its members; version and @known as for job(). */
    int (*group)(void *ctx, const struct caller *caller, int64_t id, uint64_t known,
                 json_t **ret_group, uint64_t *ret_version, struct failure *failure);

    /* {object: "list", data: [GroupSummary], has_more} */
    int (*groups)(void *ctx, const struct caller *caller, const struct groups_filter *filter,
                  json_t **ret_list, struct failure *failure);

    /* Cancels each job of a group that has not ended; when all have: -EBUSY. */
    int (*cancel_group)(void *ctx, const struct caller *caller, int64_t id, json_t **ret_group,
                        struct failure *failure);

    /* Changes the place of each job of a group that waits; when none does: -EBUSY. */
    int (*order_group)(void *ctx, const struct caller *caller, int64_t id,
                       const struct job_order *order, json_t **ret_group, struct failure *failure);

    /*
     * One job; *ret_version grows with every change of the object (for an ETag). A caller that
     * knows the version passes it as @known and gets *ret_job NULL when it still holds.
     */
    int (*job)(void *ctx, const struct caller *caller, int64_t id, uint64_t known, json_t **ret_job,
               uint64_t *ret_version, struct failure *failure);

    /* {object: "list", data: [job], has_more}. version: of all jobs together. */
    int (*jobs)(void *ctx, const struct caller *caller, const struct job_filter *filter,
                uint64_t known, json_t **ret_list, uint64_t *ret_version, struct failure *failure);

    /* Asks a job to stop; a queued one is cancelled at once; idempotent; ended ones: -EBUSY. */
    int (*cancel)(void *ctx, const struct caller *caller, int64_t id, json_t **ret_job,
                  struct failure *failure);

    /* Changes the place of a waiting job. In any other state: -EBUSY. */
    int (*order)(void *ctx, const struct caller *caller, int64_t id, const struct job_order *order,
                 json_t **ret_job, struct failure *failure);

    /*
     * Submits a job that failed or was cancelled anew, with its request, as a job of the caller.
     * Key as for submit. In any other state: -EBUSY.
     */
    int (*retry)(void *ctx, const struct caller *caller, const char *idempotency_key, int64_t id,
                 json_t **ret_job, struct failure *failure);

    /*
     * Deletes a job that has ended, with its events and files; a file that is open stays readable.
     * -EBUSY when it has not ended, or when a job that has not ended reads its checkpoint.
     */
    int (*remove)(void *ctx, const struct caller *caller, int64_t id, struct failure *failure);

    /*
     * Events with seq > @after of job @id (0: of all jobs), ascending, at most @limit: an array of
     * {seq, job, type, at, data}. *ret_ended: the job has ended and no later event will come.
     */
    int (*events)(void *ctx, const struct caller *caller, int64_t id, uint64_t after, int limit,
                  json_t **ret_events, bool *ret_ended, struct failure *failure);

    /* The newest seq of all events. */
    uint64_t (*last_seq)(void *ctx);

    /* {object: "list", data: [layer.finished data], has_more: false} of a job. */
    int (*layers)(void *ctx, const struct caller *caller, int64_t id, json_t **ret_list,
                  struct failure *failure);

    /* {object: "list", data: [{set, sha256, nll: [of each window]}], has_more: false} of a job. */
    int (*windows)(void *ctx, const struct caller *caller, int64_t id, json_t **ret_list,
                   struct failure *failure);

    /* {object: "list", data: [{name, bytes, sha256, url}], has_more: false} of a job. */
    int (*artifacts)(void *ctx, const struct caller *caller, int64_t id, json_t **ret_list,
                     struct failure *failure);
    int (*artifact_open)(void *ctx, const struct caller *caller, int64_t id, const char *name,
                         struct artifact *ret_artifact, struct failure *failure);

    /* {object: "list", data: [{id, kind, name, memory_total, memory_free, utilization, job}], ...}
     */
    int (*devices)(void *ctx, json_t **ret_list, struct failure *failure);

    /*
     * The state of what the daemon uses: {object: "status", version, state: {path, bytes_free,
     * bytes_total, floor}, cache: {path, bytes_free, bytes_total, limit}, roots: [{kind, path,
     * readable}], hub: {endpoint, offline, answered_at, failed_at, error}}.
     */
    int (*status)(void *ctx, json_t **ret_status, struct failure *failure);

    /*
     * Models that were fetched, then those below the model roots: {object: "list", data: [{id,
     * object, source: hub|root, root, revisions, bytes, last_used_at, pinned}], has_more,
     * unreadable}; has_more: a bound was met.
     */
    int (*models)(void *ctx, json_t **ret_list, struct failure *failure);

    /*
     * Public data sets, then the texts below the data roots: {object: "list", data: [{id, object,
     * source: hub|root, root, bytes, here: {calibration, evaluation}}], has_more, unreadable}.
     */
    int (*datasets)(void *ctx, json_t **ret_list, struct failure *failure);

    /*
     * Deletes the fetched model @org/@name: {id, object: "model", deleted: true, bytes}. -EBUSY
     * when a job that has not ended uses it.
     */
    int (*remove_model)(void *ctx, const struct caller *caller, const char *org, const char *name,
                        json_t **ret_removed, struct failure *failure);

    /* Is there a token? Then requests over TCP need one. */
    bool (*has_tokens)(void *ctx);

    /* Who holds the token @text. -ENOENT: it is not known; without a failure. */
    int (*find_token)(void *ctx, const char *text, struct caller *ret_caller);

    /* Is @caller, found before, still valid? Not after its token was revoked. */
    bool (*is_current)(void *ctx, const struct caller *caller);

    /* {object: "list", data: [{object: "token", name, owner, role, ...}], has_more: false} */
    int (*tokens)(void *ctx, json_t **ret_list, struct failure *failure);

    /* Makes one; *ret_token has the text of it in "token", which is not stored and cannot be shown
     * again. */
    int (*create_token)(void *ctx, const struct caller *caller, const json_t *request,
                        json_t **ret_token, struct failure *failure);
    int (*revoke_token)(void *ctx, const struct caller *caller, const char *name,
                        struct failure *failure);

    /*
     * Begins a copy of the database: {object: "backup", name, status: running|done|failed,
     * created_at, path, url, bytes, sha256, error}, what is not known yet null. -EBUSY while
     * another one is written, -ENOSPC.
     */
    int (*backup)(void *ctx, const struct caller *caller, json_t **ret_state,
                  struct failure *failure);

    /* The newest one, as above; and its file when it is done. -ENOENT. */
    int (*backup_state)(void *ctx, json_t **ret_state, struct failure *failure);
    int (*backup_open)(void *ctx, const char *name, struct artifact *ret_file,
                       struct failure *failure);

    /*
     * Folders in jobs/ without a job, with ids above @after, at most @limit (1 .. 100):
     * {object: "list", data: [{object: "orphan", id, state, adoptable, reason, path, bytes,
     * changed_at, model, params}], has_more}.
     */
    int (*orphans)(void *ctx, int64_t after, int limit, json_t **ret_list, struct failure *failure);

    /*
     * Makes the folder @id a job again, {owner} of @request its owner. Called again, it says how
     * far that is: *ret_adopted false: {object: "adoption", id, status: "running"}, true: the job.
     * -EBUSY: it cannot be adopted, or another one is being adopted.
     */
    int (*adopt)(void *ctx, const struct caller *caller, int64_t id, const json_t *request,
                 json_t **ret_state, bool *ret_adopted, struct failure *failure);

    /* {status: "ok"} when store and workers answer; else -EAGAIN with the reason. */
    int (*health)(void *ctx, json_t **ret_health, struct failure *failure);

    /*
     * {status: "ok"} when jobs can run: the store answers, a device is usable, the disk has room.
     * Else -EAGAIN with a code that says which.
     */
    int (*ready)(void *ctx, json_t **ret_ready, struct failure *failure);

    int (*stats)(void *ctx, struct service_stats *ret_stats, struct failure *failure);

    /*
     * Calls @wake after events were stored or progress changed, from any thread, until
     * unsubscribed; @wake must not block nor call the service. One subscriber. A NULL @wake
     * unsubscribes: when that call returns, the former one is not running and will not be called.
     */
    void (*subscribe)(void *ctx, void (*wake)(void *wake_ctx), void *wake_ctx);
};
