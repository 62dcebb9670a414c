// SPDX-License-Identifier: Apache-2.0
/* The client itself; only files of this folder look into it. */
#pragma once

#include "daemon/data/catalog.h"
#include "daemon/data/hub/hub.h"
#include "daemon/data/hub/site.h"

#include <stdatomic.h>

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
    pthread_mutex_t hold; /* held to remove a model, and to prevent a removal */
};

/*
 * hub_look_around() - begin to find out where the hub's name leads, when only a mirror in this
 * network could answer. Waits for nothing; hub_close() waits for what it began.
 */
void hub_look_around(struct hub_client *client);
