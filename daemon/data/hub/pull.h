// SPDX-License-Identifier: Apache-2.0
/* One pull: what has been fetched, and the observer of its progress. */
#pragma once

#include "daemon/data/hub/hub.h"

#include <stdatomic.h>

/* By the pulling thread. */
struct hub_pull {
    struct hub_client *client;
    const struct hub_observer *observer;
    uint64_t bytes, bytes_total; /* of files that are finished; of all that are known */
    uint64_t rate_bytes;         /* bytes when the rate was taken */
    double rate_at, rate, notified_at;
    bool checking;    /* a hash is computed, nothing is fetched */
    bool more;        /* sizes of more files are not known yet */
    atomic_bool stop; /* ends every transfer of the pull */
};

/* hub_pull_tick() - report to the observer that @bytes of @file were fetched. True: stop. */
bool hub_pull_tick(struct hub_pull *pull, const char *file, uint64_t bytes);
