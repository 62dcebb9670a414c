// SPDX-License-Identifier: Apache-2.0
/*
 * The codes of one quantized layer on their way to the device while another one computes: a task
 * reads and checks them, stage() copies them, and once they are there the weights are made of them.
 * For backends that stream. Zero-initialise; used by the thread of the backend.
 */
#pragma once

#include "base/task.h"
#include "daemon/model/arch/layer.h"
#include "daemon/model/weights_source.h"

struct staged_matrix {
    bool quantized; /* false: it is plain, and not here */
    struct quantized_matrix matrix;
    /* Where they are in the device's memory, bytes; the last two of a K grid. */
    size_t words, scales, zeros, g_idx, d, dmin;
};

struct staged_codes {
    struct backend *b;
    struct span memory; /* borrowed */
    struct weights_source source;
    int layer;
    struct task task;                         /* reads */
    struct staged_matrix *matrices[N_GROUPS]; /* [G * n_parts] each; owned */
    unsigned char *grids;                     /* scales, zeros and g_idx of all; owned */
    size_t grids_size, size;                  /* bytes on the device: of grids, of all */
    bool begun, queued, useless;
    bool has_values; /* the layout gives values: none of the layer are staged */
    struct failure failure;
};

/* staged_codes_take() - memory for any layer of a model that is quantized as @q says. */
void staged_codes_take(const struct model_config *config, const struct quantization_config *q,
                       struct arena *arena, struct span *ret_memory);

/*
 * staged_codes_begin() - begin to read @layer of @source, whose files and config stay. Nothing that
 * was staged before is needed any more. Return: 0 or -errno with the failure.
 */
int staged_codes_begin(struct staged_codes *staged, struct backend *b, struct span memory,
                       const struct weights_source *source, int layer, struct failure *failure);

/*
 * staged_codes_poll() - what has been read is given to stage(); @wait: wait for it to be read.
 * Return: 0; or -errno, with the failure or the backend's reason.
 */
int staged_codes_poll(struct staged_codes *staged, bool wait, struct failure *failure);

/*
 * staged_codes_matrix() - after stage_wait(): queue the weights of part @i of @group to @dst [rows,
 * n] act, by way of codes->codes. *ret_done: false when it is none of the staged ones.
 */
int staged_codes_matrix(const struct staged_codes *staged, enum group group, int i,
                        const struct code_memory *codes, struct span dst, bool *ret_done);

/* staged_codes_done() - wait, also for stage(), and free. */
void staged_codes_done(struct staged_codes *staged);
