// SPDX-License-Identifier: Apache-2.0
/*
 * Room on the disk of the folders of jobs: may a job write? Not when less than the floor is free;
 * and not for a while after a write found no room although there seemed to be some (a quota, a disk
 * of which the superuser keeps a part): then longer after each such write, until one succeeds. Any
 * thread.
 */
#pragma once

#include "base/failure.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#define DISK_HOLD_FIRST                                                                            \
    5 /* seconds after the first write that found no room; doubled each time                       \
       */
#define DISK_HOLD_MAX 640

struct disk {
    const char *dir;            /* on the disk; borrowed */
    atomic_uint_fast64_t floor; /* bytes that stay free; 0: none; may be set at any time */
    pthread_mutex_t mutex;      /* guards all below */
    int hold_seconds;           /* of the last hold; 0: the last write succeeded */
    double held_until;          /* monotonic */
};

/* disk_init() - watch the disk of @dir, which is borrowed. */
void disk_init(struct disk *disk, const char *dir, uint64_t floor);
void disk_done(struct disk *disk);

/* disk_check() - Return: 0: there is room; -ENOSPC (disk_full); or another -errno. Cheap. */
int disk_check(struct disk *disk, struct failure *failure);

/* disk_refused() - a write found no room. */
void disk_refused(struct disk *disk);

/* disk_took() - a layer was written: there is room. */
void disk_took(struct disk *disk);
