// SPDX-License-Identifier: Apache-2.0
/*
 * Which windows go through the layers together. A turn takes windows of as many sets as there is
 * room for, so that the layers are brought once for all of them. What a set gives does not depend
 * on the turns: its windows come in chunks, those of a chunk in batches from its first window on,
 * and a turn ends within a chunk only where a batch ends. Pure; any thread.
 */
#pragma once

#include "daemon/pipeline/run.h"

struct turn_part {
    int set;          /* of run->evals */
    int first, count; /* windows of the set, of one chunk */
    int at;           /* windows of the turn before them */
};

struct turn {
    struct turn_part *parts; /* [n_parts]; owned */
    int n_parts;
    int set, window; /* the first that is in none of the turns so far */
};

/* turn_chunk() - windows of a chunk at most: so many the plan of a job's memory always counts. */
int turn_chunk(const struct run *run);

/* turn_room() - windows that one turn has at most, where memory is free; turn_chunk() or more. */
int turn_room(const struct run *run);

/*
 * turn_next() - the next turn of at most @room windows, turn_chunk() or more, of the sets that have
 * no result; a zeroed one is before the first. n_parts is 0 after the last.
 * Return: 0 or -ENOMEM.
 */
int turn_next(struct turn *turn, const struct run *run, int room);
void turn_done(struct turn *turn); /* a zeroed one is fine */
