// SPDX-License-Identifier: Apache-2.0
/* Which waiting job is next, and why others have to wait. */
#include "daemon/queue/jobs.h"

#include "api/wire.h"
#include "base/cache/cache.h"
#include "base/clock.h"
#include "base/log/log.h"
#include "base/log/messages.h"
#include "daemon/queue/job_json.h"

#include <errno.h>
#include <inttypes.h>

/* Who claims, and what. */
struct offer {
    const char *device;       /* or the cluster */
    const char *nonce;        /* of a run elsewhere; NULL: it is in this process */
    struct store_claim claim; /* claim.writes: the disk has room */
    json_t *held;             /* owned; claim.held */
};

static struct offer local_offer(struct jobs *jobs, const char *device) {
    return (struct offer){
        .device = device, .claim.executor = JOBS_LOCAL, .claim.begun = !jobs->cluster};
}

static struct offer cluster_offer(struct jobs *jobs, const char *nonce, bool asked_only) {
    return (struct offer){
        .device = jobs->cluster,
        .nonce = nonce,
        .claim = {.executor = jobs->cluster, .asked_only = asked_only, .begun = true}};
}

/* Inside a transaction. */
static int claim(struct jobs *jobs, int64_t at, const struct offer *offer, struct job_row **ret_row,
                 struct failure *failure) {
    cleanup(json_decrefp) json_t *held = NULL;
    json_t *data;
    int r = holds_list(jobs->holds, NULL, HOLD_DISK, &held);

    if (r)
        return failure_oom(failure);
    if (offer->claim.writes)
        r = store_unpause_jobs(jobs->store, at, held);
    if (!r)
        r = store_claim_job(jobs->store, at, &offer->claim, ret_row);
    if (!r)
        r = store_start_lease(jobs->store, (*ret_row)->id, jobs->boot);
    if (!r && offer->nonce)
        r = store_insert_run(jobs->store, (*ret_row)->id, offer->device, offer->nonce);
    if (r)
        return r;
    data = json_pack("{si ss}", "attempt", (*ret_row)->attempt, "device", offer->device);
    if (!data)
        return failure_oom(failure);
    r = store_append_event(jobs->store, (*ret_row)->id, WIRE_EVENT_JOB_STARTED, at, data, NULL);
    json_decref(data);
    return r;
}

static int next_job(struct jobs *jobs, const struct offer *offer, int64_t *ret_id, bool *ret_paused,
                    struct failure *failure) {
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_next_job(jobs->store, &offer->claim, ret_id, ret_paused);
    return store_end(jobs->store, r, failure);
}

int jobs_pause_waiting(struct jobs *jobs, int64_t id, const struct failure *why,
                       struct failure *failure) {
    cleanup(json_decrefp) json_t *data = job_pause_to_json(why);
    int64_t at = clock_wall_ms();
    int r;

    if (!data)
        return failure_oom(failure);
    r = store_begin(jobs->store, STORE_WORK, failure);
    if (r)
        return r;
    r = store_pause_job(jobs->store, id, at, data);
    if (!r)
        r = store_append_event(jobs->store, id, WIRE_EVENT_JOB_PAUSED, at, data, NULL);
    r = store_end(jobs->store, r, failure);
    if (r)
        return r == -ESTALE ? 0 : r; /* it was cancelled meanwhile, or another worker was first */
    log_record(LOG_WARNING, LOG_FIELDS(MESSAGE_JOB_PAUSED, .job = id, .code = why->code),
               "job %" PRId64 " waits: %s", id, why->detail);
    events_wake(jobs->events);
    return 0;
}

/* Those that are held are passed by; one that lacked room on the disk, as long as others wait. */
static int next_of(struct jobs *jobs, struct offer *offer, int64_t *ret_id, bool *ret_paused,
                   struct failure *failure) {
    int r = -ENOENT;

    for (int most = HOLD_DISK; most >= HOLD_MEMORY && r == -ENOENT; most--) {
        json_decref(steal_ptr(offer->held));
        if (holds_list(jobs->holds, offer->device, most, &offer->held))
            return failure_oom(failure);
        offer->claim.held = offer->held;
        r = next_job(jobs, offer, ret_id, ret_paused, failure);
    }
    return r;
}

/* Is there room for what a job writes? What can be computed again makes room for it. */
static bool has_room(struct jobs *jobs, struct failure *why) {
    if (!jobs->disk || !disk_check(jobs->disk, why))
        return true;
    if (jobs->states)
        cache_sweep(jobs->states);
    return !disk_check(jobs->disk, why);
}

/*
 * A look first: an idle worker does not write. Fills in @offer, to be released, for a claim.
 * -ENOENT: there is none to claim; -ENOSPC: none for which there is room.
 */
static int look(struct jobs *jobs, struct offer *offer, struct failure *failure) {
    struct failure why;
    bool paused;
    int64_t id;
    int r;

    offer->claim.writes = has_room(jobs, &why);
    r = next_of(jobs, offer, &id, &paused, failure);
    if (r != -ENOENT || offer->claim.writes)
        return r;
    offer->claim.writes = true;
    r = next_of(jobs, offer, &id, &paused, failure);
    if (!r && !paused)
        r = jobs_pause_waiting(jobs, id, &why, failure);
    return r ? r : -ENOSPC;
}

/* Releases @offer. */
static int look_only(struct jobs *jobs, struct offer *offer, struct failure *failure) {
    int r = look(jobs, offer, failure);

    json_decref(offer->held);
    return r;
}

int jobs_look(struct jobs *jobs, const char *device, struct failure *failure) {
    struct offer offer = local_offer(jobs, device);

    return look_only(jobs, &offer, failure);
}

int jobs_look_run(struct jobs *jobs, struct failure *failure) {
    struct offer offer = cluster_offer(jobs, NULL, false);

    return look_only(jobs, &offer, failure);
}

static int look_and_claim(struct jobs *jobs, int64_t at, struct offer *offer,
                          struct job_row **ret_row, struct failure *failure) {
    int r = look(jobs, offer, failure);

    if (!r)
        r = store_begin(jobs->store, STORE_WORK, failure);
    if (r)
        return r;
    r = claim(jobs, at, offer, ret_row, failure);
    return store_end(jobs->store, r, failure);
}

/* Releases @offer. */
static int take(struct jobs *jobs, struct offer *offer, struct job_row **ret_row,
                struct failure *failure) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    int64_t at = clock_wall_ms();
    int r = look_and_claim(jobs, at, offer, &row, failure);

    json_decref(offer->held);
    if (r)
        return r;
    log_record(LOG_INFO,
               LOG_FIELDS(MESSAGE_JOB_STARTED, .job = row->id, .owner = row->owner,
                          .device = offer->device),
               "job %" PRId64 " of '%s' started on %s, attempt %d", row->id, row->owner,
               offer->device, row->attempt);
    events_wake(jobs->events);
    if (row->started_at == at)
        histogram_add(&jobs->stats.wait, &histogram_of_jobs, (double)(at - row->created_at) / 1000);

    *ret_row = steal_ptr(row);
    return 0;
}

int jobs_claim(struct jobs *jobs, const char *device, struct job_row **ret_row,
               struct failure *failure) {
    struct offer offer = local_offer(jobs, device);

    return take(jobs, &offer, ret_row, failure);
}

int jobs_claim_run(struct jobs *jobs, const char *nonce, bool asked_only, struct job_row **ret_row,
                   struct failure *failure) {
    struct offer offer = cluster_offer(jobs, nonce, asked_only);

    return take(jobs, &offer, ret_row, failure);
}
