// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/store.h"

#include "daemon/store/sql.h"

#include "base/clock.h"
#include "base/log/log.h"
#include "base/str.h"

#include <errno.h>
#include <math.h>
#include <time.h>

/* Seconds that another program that holds the database is waited for, and naps between tries. */
#define REQUEST_WAIT 1.0
#define LAST_WAIT 10.0
#define REQUESTS_WAITING_MAX 2
#define NAP_MAX_MS 20

static const char *const job_status_names[N_JOB_STATUS] = {"queued",    "running", "cancelling",
                                                           "succeeded", "failed",  "cancelled"};

const char *job_status_name(enum job_status status) {
    return job_status_names[status];
}

int job_status_from_name(const char *name, enum job_status *ret_status) {
    for (int i = 0; i < N_JOB_STATUS; i++) {
        if (str_equal(name, job_status_names[i])) {
            *ret_status = i;
            return 0;
        }
    }
    return -EINVAL;
}

/* -------- transactions -------- */

/* One try. On success the store is locked. */
static int try_begin(struct store *store, enum store_mode mode, double began,
                     struct failure *failure) {
    int r;

    pthread_mutex_lock(&store->mutex);
    store->began = began;
    store->failed = false;
    store->pending_seq = 0;
    store->impatient = true;
    r = store_exec(store, mode == STORE_READ ? "BEGIN" : "BEGIN IMMEDIATE", "");
    store->impatient = false;
    if (r >= 0)
        return 0;
    if (failure)
        *failure = store->failure;
    pthread_mutex_unlock(&store->mutex);
    return r;
}

/* Between two tries: a little longer each time. */
static void nap(int n_tries) {
    const struct timespec moment = {.tv_nsec = MIN(1 + n_tries, NAP_MAX_MS) * 1000000L};

    nanosleep(&moment, NULL);
}

/* Seconds. Few requests wait, so that there are threads for those that only read. */
static double longest_wait(struct store *store, enum store_mode mode) {
    if (mode != STORE_WORK)
        return store->n_requests_waiting > REQUESTS_WAITING_MAX ? 0 : REQUEST_WAIT;
    return store->ends_waits ? LAST_WAIT : INFINITY;
}

/* Tries again until it succeeds, or has waited for long enough. */
static int begin_again(struct store *store, enum store_mode mode, double began,
                       struct failure *failure) {
    bool logged = false;
    double waited;
    int r, n = 0;

    do {
        nap(n++);
        waited = clock_monotonic() - began;
        if (mode == STORE_WORK && waited >= REQUEST_WAIT && !logged) {
            logged = true;
            if (!atomic_exchange(&store->waiting, true))
                log_warning("another program holds the database quantd.db; jobs wait for it");
        }
        r = try_begin(store, mode, began, failure);
    } while (r == -EAGAIN && waited < longest_wait(store, mode));
    if (!r && logged && atomic_exchange(&store->waiting, false))
        log_notice("the database is free again after %.1f s, jobs go on",
                   clock_monotonic() - began);
    return r;
}

int store_begin(struct store *store, enum store_mode mode, struct failure *failure) {
    double began = clock_monotonic();
    int r = try_begin(store, mode, began, failure);

    if (r != -EAGAIN)
        return r;
    if (mode != STORE_WORK)
        atomic_fetch_add(&store->n_requests_waiting, 1);
    r = begin_again(store, mode, began, failure);
    if (mode != STORE_WORK)
        atomic_fetch_sub(&store->n_requests_waiting, 1);
    return r;
}

bool store_waits(const struct store *store) {
    return store->waiting;
}

void store_end_waits(struct store *store) {
    store->ends_waits = true;
}

int store_end(struct store *store, int r, struct failure *failure) {
    if (!r) {
        int committed = store_exec(store, "COMMIT", "");

        if (committed < 0)
            r = committed;
        else if (store->pending_seq)
            store->last_seq = store->pending_seq;
    }
    if (r && store->failed && failure)
        *failure = store->failure;
    else if (r == -ENOMEM)
        failure_oom(failure); /* it was not SQLite that ran out */
    /* SQLite rolls back by itself after some errors, a full disk among them. */
    if (!sqlite3_get_autocommit(store->db))
        store_exec(store, "ROLLBACK", "");
    histogram_add(&store->seconds, &histogram_of_calls, clock_monotonic() - store->began);
    pthread_mutex_unlock(&store->mutex);
    return r;
}

struct histogram_copy store_seconds(const struct store *store) {
    return histogram_read(&store->seconds);
}

uint64_t store_version(struct store *store) {
    return store->version;
}

uint64_t store_version_next(struct store *store) {
    return atomic_fetch_add(&store->version, 1) + 1;
}

uint64_t store_version_queue(struct store *store) {
    return store->version_queue;
}

uint64_t store_stamp(const struct store *store) {
    return store->stamp;
}

uint64_t store_last_seq(struct store *store) {
    return store->last_seq;
}
