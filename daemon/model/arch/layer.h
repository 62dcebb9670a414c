// SPDX-License-Identifier: Apache-2.0
/*
 * Device memory of one layer: its weights, and what bringing quantized ones to their grid takes.
 * Used by the thread of the backend. Functions return 0 or -errno; the reason is the backend's.
 */
#pragma once

#include "daemon/model/arch/arena.h"
#include "daemon/model/arch/geometry.h"
#include "kernels/backend.h"

/* One layer's weights, act, in one piece of device memory. */
struct layer_weights {
    struct span all;
    struct span plain[N_ROLES];     /* [rows, columns] of the table, those that a layer has */
    struct span matrices[N_GROUPS]; /* [G, rows, n] each */
};

/* layer_weights_size() - bytes of device memory; SIZE_MAX when it does not fit a size. */
size_t layer_weights_size(const struct model_config *config, size_t act_size);
/* layer_weights_alloc() - get the memory, zeroed. */
int layer_weights_alloc(struct backend *b, const struct model_config *config,
                        struct layer_weights *ret_layer);
void layer_weights_free(struct backend *b, struct layer_weights *layer);

/*
 * Memory to bring quantized weights to their grid: what one group needs at most, on the device.
 * Also where the pipeline puts the codes that it computes.
 */
struct code_memory {
    struct span codes;  /* u8, elements of the largest group */
    struct span packed; /* u32, the same codes at 8 bits or less */
    struct span scales; /* f16 [G, n_groups, rows] of the largest */
    struct span zeros;  /* u8, as scales */
    struct span g_idx;  /* i32 [G, n] */
    struct span d;    /* f16 [G, n / GRID_SUPER, rows] of the largest, with a K grid; else empty */
    struct span dmin; /* likewise */
};

/* code_memory_take() - the next arrays of @arena, for matrices as @q says. */
void code_memory_take(const struct model_config *config, const struct quantization_config *q,
                      struct arena *arena, struct code_memory *ret_codes);

/* code_memory_view() - its spans cut to the size of a group; n_groups per row. */
struct quantized code_memory_view(const struct code_memory *codes, const struct group_shape *shape,
                                  int n_groups);

/* code_memory_add_units() - d and, unless @sym, dmin of a K grid to the view of such a group. */
void code_memory_add_units(const struct code_memory *codes, const struct group_shape *shape,
                           bool sym, struct quantized *view);
