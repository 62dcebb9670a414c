// SPDX-License-Identifier: Apache-2.0
/*
 * OLMoE on a backend: the weights of one layer, and its forward pass (arXiv 2409.02060;
 * transformers modeling_olmoe). d hidden size, I expert width, E experts, k experts per token, qw
 * and kvw the widths of q and of k or v. Used by the thread of the backend. Functions return 0 or
 * -errno; when an op failed the reason is the backend's, else it is in the failure.
 */
#pragma once

#include "daemon/model/arena.h"
#include "daemon/model/checkpoint.h"
#include "daemon/model/geometry.h"
#include "kernels/backend.h"

/* Where weights come from: a checkpoint, whose layers may be replaced by quantized shards. */
struct olmoe_source {
    const struct checkpoint *checkpoint;
    const struct quantization_config *quantization; /* of the layers */
    struct safetensors *const *layers; /* a shard per layer, or NULL: as in checkpoint */
};

/* olmoe_tensor() - the tensor called @name of @layer (-1: outside the layers), or NULL. */
const struct tensor *olmoe_tensor(const struct olmoe_source *source, int layer, const char *name);

/* One layer's weights, act, in one piece of device memory. */
struct olmoe_layer {
    struct span all;
    struct span input_norm, post_norm; /* [d] */
    struct span q_norm, k_norm;        /* [qw], [kvw] */
    struct span router;                /* [E, d] */
    struct span matrices[N_GROUPS];    /* [G, rows, n] each */
};

/* olmoe_layer_size() - bytes of device memory; SIZE_MAX when it does not fit a size. */
size_t olmoe_layer_size(const struct model_config *config, size_t act_size);
/* olmoe_layer_alloc() - get the memory, zeroed. */
int olmoe_layer_alloc(struct backend *b, const struct model_config *config,
                      struct olmoe_layer *ret_layer);
void olmoe_layer_free(struct backend *b, struct olmoe_layer *layer);

/*
 * Memory to bring quantized weights to their grid: what one group needs at most, on the device.
 * Also where the pipeline puts the codes that it computes.
 */
struct olmoe_codes {
    struct span codes;  /* u8, elements of the largest group */
    struct span packed; /* u32, the same codes at 8 bits or less */
    struct span scales; /* f16 [G, n_groups, rows] of the largest */
    struct span zeros;  /* u8, as scales */
    struct span g_idx;  /* i32 [G, n] */
};

/* olmoe_codes_take() - the next arrays of @arena; groups of @groupsize columns, -1: one a row. */
void olmoe_codes_take(const struct model_config *config, int groupsize, struct arena *arena,
                      struct olmoe_codes *ret_codes);

/* olmoe_codes_view() - its spans cut to the size of a group; n_groups per row. */
struct quantized olmoe_codes_view(const struct olmoe_codes *codes, const struct group_shape *shape,
                                  int n_groups);

/*
 * olmoe_layer_stage() - start to bring the weights of @layer to @dst, which no queued work uses:
 * plain ones by stage(), quantized ones at once, by way of @codes (NULL is fine when none is
 * quantized).
 */
int olmoe_layer_stage(struct backend *b, const struct olmoe_source *source, int layer,
                      struct olmoe_layer *dst, struct olmoe_codes *codes, struct failure *failure);

/*
 * olmoe_layer_ready() - wait for what was staged. A weight that is not finite is refused by name
 * (model_invalid), and so is a file that was cut short meanwhile.
 */
int olmoe_layer_ready(struct backend *b, const struct olmoe_source *source, int layer,
                      struct olmoe_layer *dst, struct failure *failure);

/* olmoe_layer_load() - both. */
int olmoe_layer_load(struct backend *b, const struct olmoe_source *source, int layer,
                     struct olmoe_layer *dst, struct olmoe_codes *codes, struct failure *failure);

/* The weights outside of the layers. */
struct olmoe_ends {
    struct span all;
    struct span embedding; /* [vocab, d] */
    struct span norm;      /* [d] */
    struct span head;      /* [vocab, d]; the embedding when tied */
};

size_t olmoe_ends_size(const struct model_config *config, size_t act_size, bool head);
/* olmoe_ends_load() - allocate and fill; @head false: only the embedding. */
int olmoe_ends_load(struct backend *b, const struct checkpoint *checkpoint, bool head,
                    struct olmoe_ends *ret_ends, struct failure *failure);
void olmoe_ends_free(struct backend *b, struct olmoe_ends *ends);

/* Memory of one forward pass over at most T tokens; nothing in it lasts beyond the pass. */
struct olmoe_work {
    int T;
    struct span normed;           /* [T, d] act */
    struct span qkv;              /* [T, qw + 2 kvw] act */
    struct span attention;        /* [T, qw] act */
    struct span experts, weights; /* [T, k] i32, f32 */
    struct span order, position;  /* [T * k] i32, [T, k] i32 */
    struct span slots;            /* [T * k, d] act: what experts read, then what they give */
    struct span gate_up;          /* [T * k, 2 I] act */
    struct span activations;      /* [T * k, I] act */
    int32_t *offsets;             /* [E + 1], on the host */
};

/* olmoe_work_size() - bytes of device memory for T tokens; SIZE_MAX when it does not fit. */
size_t olmoe_work_size(const struct model_config *config, size_t act_size, int T);
/*
 * olmoe_work_init() - lay the arrays for T tokens out in @memory of olmoe_work_size() bytes, which
 * is borrowed; act_size is the backend's. Return: 0 or -ENOMEM.
 */
int olmoe_work_init(const struct model_config *config, size_t act_size, int T, struct span memory,
                    struct olmoe_work *ret_work);
void olmoe_work_done(struct olmoe_work *work);

/*
 * A look at the inputs of the matrices during a pass. @take is called for each group in turn with
 * its input x [rows, n] act; stack g reads rows offsets[g] .. offsets[g + 1] - 1. After @last the
 * pass ends early.
 */
struct olmoe_tap {
    int (*take)(void *ctx, enum group group, struct span x, const int32_t *offsets);
    void *ctx;
    enum group last;
};

/*
 * olmoe_layer_forward() - one layer over x [n_windows * seqlen, d] act, in place. With a tap, x is
 * what it was until the group @last, and is then of no more use.
 */
int olmoe_layer_forward(struct backend *b, const struct model_config *config,
                        const struct olmoe_layer *layer, struct olmoe_work *work, struct span x,
                        int n_windows, int seqlen, const struct olmoe_tap *tap);
