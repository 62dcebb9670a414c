// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/store.h"

#include "daemon/store/sql.h"

#include "base/clock.h"
#include "base/str.h"

#include <errno.h>

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

int store_begin(struct store *store, enum store_mode mode, struct failure *failure) {
    double began = clock_monotonic();
    int r;

    pthread_mutex_lock(&store->mutex);
    store->began = began;
    store->failed = false;
    store->pending_seq = 0;
    r = store_exec(store, mode == STORE_WRITE ? "BEGIN IMMEDIATE" : "BEGIN", "");
    if (r >= 0)
        return 0;
    if (failure)
        *failure = store->failure;
    pthread_mutex_unlock(&store->mutex);
    return r;
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
