// SPDX-License-Identifier: Apache-2.0
/*
 * Folders of jobs without a row, which a lost or older database leaves: what they hold, and how one
 * becomes a job again. Any thread, outside a transaction.
 */
#pragma once

#include "daemon/files/finished.h"
#include "daemon/queue/jobs.h"

enum orphan_state {
    ORPHAN_FINISHED,   /* a whole checkpoint: it can be adopted */
    ORPHAN_DAMAGED,    /* a checkpoint that is not what it says, or that is not safe to read */
    ORPHAN_EVALUATION, /* the figures of an eval job, and no checkpoint */
    ORPHAN_UNFINISHED, /* the work of a job that did not come to its end */
};

/* Zero-initialise. */
struct orphan {
    int64_t id;
    char *dir; /* owned */
    enum orphan_state state;
    uint64_t bytes;           /* of all files */
    int64_t changed_at;       /* ms since 1970, by the file system; 0: not known */
    struct finished finished; /* what could be read of it */
    struct params *params;    /* of the job that made it; NULL: cannot be read; owned */
    struct failure why;       /* it cannot be adopted */
};

/*
 * orphan_look() - what is in the folder of number @id; the hashes of its files are not checked.
 * Return: 0; -ENOENT (orphan_not_found): there is no such folder, or it has a job; or -errno.
 */
int orphan_look(struct jobs *jobs, int64_t id, struct orphan *ret_orphan, struct failure *failure);
void orphan_done(struct orphan *orphan);

/* orphan_to_json() - as clients see it: the schema Orphan; NULL when out of memory. */
json_t *orphan_to_json(const struct orphan *orphan);

/* orphans_list() - as struct service's orphans. */
int orphans_list(struct jobs *jobs, int64_t after, int limit, json_t **ret_list,
                 struct failure *failure);

/*
 * orphan_adopt() - check every byte of the folder @id against its manifest, then make it a job of
 * @owner: private, with its own number, ended now. Reads all files; @stop ends that. All of it
 * happens or nothing. Return: 0; -EBUSY: it cannot be adopted; -ENOENT; -ECANCELED; or -errno.
 */
int orphan_adopt(struct jobs *jobs, int64_t id, const char *owner, const atomic_bool *stop,
                 struct failure *failure);
