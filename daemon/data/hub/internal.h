// SPDX-License-Identifier: Apache-2.0
/* What the files of the hub client share. */
#pragma once

#include "base/hash.h"
#include "daemon/data/catalog.h"
#include "daemon/data/hub/hub.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

/* JSON of a model is smaller, and so is a shard: the hub itself serves no larger file plainly. */
#define HUB_JSON_MAX ((uint64_t)64 << 20)
#define HUB_SHARD_MAX ((uint64_t)50 << 30)

/* How the last request to the endpoint went. */
struct hub_contact {
    pthread_mutex_t lock;           /* of all below */
    int64_t answered_at, failed_at; /* milliseconds since 1970; 0: never */
    char error[256];                /* of the failure */
};

/* Whom to ask, and how patiently. */
struct hub_site {
    char *endpoint; /* without a slash at the end */
    char *origin;   /* its "scheme://host:port" */
    char *token;    /* NULL: none */
    bool plain;     /* the endpoint is http on loopback: then other loopback addresses may be */
    double retry_seconds;
    long silence_seconds;
    struct hub_contact *contact; /* borrowed; NULL: nobody wants to know */
};

struct hub_client {
    struct hub_site site;
    struct hub_contact contact;
    char *cache_dir, *own_dir;
    char *sources[CATALOG_FILES]; /* another URL of the file, NULL: its own; owned */
    bool offline;
    atomic_uint_fast64_t disk_floor, cache_limit;
    uint64_t part_size;
    bool (*pinned)(void *ctx, const char *id);
    void *ctx;
    pthread_mutex_t hold; /* who removes holds it, and who must not see a removal */
};

/* A file as the hub describes it. */
struct hub_file {
    const char *name;             /* of the file; borrowed */
    char commit[HUB_COMMIT_SIZE]; /* "" when the server has none */
    char etag[DIGEST_TEXT_SIZE];  /* hex: SHA-256 of the bytes, or SHA-1 as git has it; or "" */
    uint64_t size;
};

/* One pull: what has come so far, and whom to tell. By the pulling thread. */
struct hub_pull {
    struct hub_client *client;
    const struct hub_observer *observer;
    uint64_t bytes, bytes_total; /* of files that are finished; of all that are known */
    uint64_t rate_bytes;         /* bytes when the rate was taken */
    double rate_at, rate, told_at;
    bool more;        /* sizes of more files are not known yet */
    atomic_bool stop; /* ends every transfer of the pull */
};

/* hub_pull_tick() - tell the observer; @bytes of @file have come. True: stop. */
bool hub_pull_tick(struct hub_pull *pull, const char *file, uint64_t bytes);

static inline int hub_cancelled(struct failure *failure) {
    return failure_set(failure, -ECANCELED, "cancelled", NULL, "cancelled");
}
