// SPDX-License-Identifier: Apache-2.0
/*
 * Jobs that lacked something which others behind them may do without, and so are passed by for a
 * while: longer each time, until they get on. It is kept in memory: after a restart each of them is
 * tried at once. Any thread; it never blocks for long.
 *
 * NULL instead of holds is fine everywhere: no job is held then.
 */
#pragma once

#include "base/cleanup.h"

#include <jansson.h>
#include <stdint.h>

struct holds;

enum hold_kind {
    HOLD_SMALL,   /* the device is too small for the job, which waits for a larger one */
    HOLD_CLUSTER, /* a cluster refuses the job, or cannot start it: as below */
    HOLD_MEMORY,  /* of a device: the job is not tried there before its time, whatever else waits */
    HOLD_DISK,    /* the job is tried before its time when no other one can be */
    N_HOLD_KINDS,
};

struct holds *holds_new(void);        /* NULL: no memory */
void holds_free(struct holds *holds); /* NULL is fine */
DEFINE_CLEANUP(struct holds *, holds_freep, holds_free)

/*
 * holds_add() - job @id lacked what @kind says; on @device, which does not matter for the disk.
 * Without memory it is not held.
 */
void holds_add(struct holds *holds, int64_t id, enum hold_kind kind, const char *device);

/* holds_drop() - job @id got on, or has ended. */
void holds_drop(struct holds *holds, int64_t id);

/*
 * holds_list() - ids that are held on @device (NULL: on any) now, those of kinds up to @most: an
 * array, owned by the caller. Return: 0 or -ENOMEM.
 */
int holds_list(struct holds *holds, const char *device, enum hold_kind most, json_t **ret_ids);

/* holds_next() - when the first hold on @device ends (monotonic); 0: there is none. */
double holds_next(struct holds *holds, const char *device);
