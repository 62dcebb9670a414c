// SPDX-License-Identifier: Apache-2.0
/*
 * A model that goes through the layers with the calibration windows: its hidden states, and what
 * one pass over a layer leaves for the next, so that it is not computed again. The thread of the
 * backend.
 */
#pragma once

#include "daemon/pipeline/run.h"

/* What passes leave, of all windows; empty where there was no room, which costs only time. */
struct left {
    struct span attention;         /* [windows, seqlen, q width] act: the input of GROUP_O */
    struct span activations;       /* [windows, seqlen * k, I] act: that of GROUP_DOWN; with it */
    struct span weights, position; /* [windows, seqlen, k] f32, i32 */
    int32_t *offsets;              /* [batches, E + 1]; owned */
};

struct side {
    struct span x;     /* [windows, seqlen, d] act: the hidden states */
    struct span batch; /* [batch, seqlen, d] act: a copy to run ahead with */
    /*
     * Where the windows stand in the layer: STEP_QKV at its beginning, STEP_GATE_UP behind its
     * attention, STEP_END before its last step, whose input is what was left.
     */
    enum step at;
    struct forward_work work;
    struct left left;
};

/* side_size() - bytes of device memory, beside work. */
size_t side_size(const struct run *run);

/* side_init() - all but the work and what is left. Return: 0 or -errno. */
int side_init(struct side *side, const struct run *run);
void side_done(struct side *side, struct backend *b); /* a zeroed one is fine */

/* sides_left_size() - what sides_leave() takes of the device: attention, or, with @all, all. */
size_t sides_left_size(const struct run *run, bool all);

/*
 * sides_leave() - from now on passes leave what the next one needs, where at most half of the
 * memory that is free is enough for it. For @sides [run_sides()], the quantized model first.
 * Return: 0 or -errno.
 */
int sides_leave(struct side *sides, const struct run *run);

/*
 * side_work() - the work of a pass over @count windows from @first on, with its input and output in
 * what passes leave. Borrowed from @side, and valid as long as it is.
 */
struct forward_work side_work(const struct side *side, const struct run *run, int first, int count);
