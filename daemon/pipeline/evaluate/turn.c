// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/evaluate/turn.h"

#include <stdlib.h>

/* Hidden states of a turn, bytes: more on a device whose layers come over a bus. */
#define TURN_BYTES ((size_t)256 << 20)
#define TURN_BYTES_STREAMED ((size_t)1280 << 20)

static size_t most_windows(const struct run *run) {
    size_t bytes = run->b->ops->streams ? TURN_BYTES_STREAMED : TURN_BYTES;

    return MAX(bytes / run_window_bytes(run), (size_t)run->batch);
}

int turn_chunk(const struct run *run) {
    int longest = 1;

    for (int i = 0; i < run->n_evals; i++)
        longest = MAX(longest, run->evals[i].windows->n);
    return (int)MIN((size_t)longest, most_windows(run));
}

int turn_room(const struct run *run) {
    size_t all = 0;

    for (int i = 0; i < run->n_evals; i++)
        all += run->evals[i].result ? 0 : (size_t)run->evals[i].windows->n;
    return MAX(turn_chunk(run), (int)MIN(all, most_windows(run)));
}

/* Of the chunk that window @first of @n is in, what goes into @room windows. */
static int part_windows(const struct run *run, int n, int first, int chunk, int room) {
    int left = MIN(chunk - first % chunk, n - first);

    return left <= room ? left : room / run->batch * run->batch;
}

int turn_next(struct turn *turn, const struct run *run, int room) {
    int chunk = turn_chunk(run), at = 0;

    free(turn->parts);
    turn->n_parts = 0;
    turn->parts = calloc(room, sizeof(*turn->parts));
    if (!turn->parts)
        return -ENOMEM;
    for (; turn->set < run->n_evals; turn->set++, turn->window = 0) {
        const struct eval_set *set = &run->evals[turn->set];

        while (!set->result && turn->window < set->windows->n) {
            int count = part_windows(run, set->windows->n, turn->window, chunk, room - at);

            if (count == 0)
                return 0;
            turn->parts[turn->n_parts++] = (struct turn_part){turn->set, turn->window, count, at};
            turn->window += count;
            at += count;
        }
    }
    return 0;
}

void turn_done(struct turn *turn) {
    free(turn->parts);
    *turn = (struct turn){};
}
