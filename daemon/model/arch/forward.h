// SPDX-License-Identifier: Apache-2.0
/*
 * The forward pass of a layer on a backend. d hidden size, I expert width, E experts, k experts per
 * token, qw and kvw the widths of q and of k or v. Used by the thread of the backend. Functions
 * return 0 or -errno; the reason is the backend's.
 */
#pragma once

#include "daemon/model/arch/layer.h"

/*
 * Memory of one forward pass over at most T tokens; nothing in it lasts beyond the pass, unless
 * layer_steps() goes on from it.
 */
struct forward_work {
    int T;
    struct span normed;           /* [T, d] act; the input of GROUP_QKV */
    struct span qkv;              /* [T, qw + 2 kvw] act */
    struct span attention;        /* [T, qw] act; the input of GROUP_O */
    struct span experts, weights; /* [T, k] i32, f32 */
    struct span order, position;  /* [T * k] i32, [T, k] i32 */
    struct span slots;            /* [T * k, d] act: what experts read, the input of
                                     GROUP_GATE_UP, when it @gathers; then what they give */
    struct span gate_up;          /* [T * k, 2 I] act: for the backend's use */
    struct span activations;      /* [T * k, I] act; the input of GROUP_DOWN */
    int32_t *offsets;             /* [E + 1], on the host */
    bool gathers;                 /* a tap looks at what experts read: slots are filled */
    /* The pass whose order and offsets send tokens to experts; NULL: this one's own router. */
    const struct forward_work *routing;
};

/* forward_routing() - the pass that sent the tokens of @work to their experts. */
static inline const struct forward_work *forward_routing(const struct forward_work *work) {
    return work->routing ? work->routing : work;
}

/* forward_work_size() - bytes of device memory for T tokens; SIZE_MAX when it does not fit. */
size_t forward_work_size(const struct model_config *config, size_t act_size, int T);
/*
 * forward_work_init() - lay the arrays for T tokens out in @memory of forward_work_size() bytes,
 * which is borrowed; act_size is the backend's. Return: 0 or -ENOMEM.
 */
int forward_work_init(const struct model_config *config, size_t act_size, int T, struct span memory,
                      struct forward_work *ret_work);
void forward_work_done(struct forward_work *work);

/* A model that goes along with another: its weights, memory and hidden states x, in place. */
struct forward_side {
    const struct layer_weights *layer;
    struct forward_work *work;
    struct span x;
};

/*
 * A look at the inputs of the matrices during a pass. @take is called for each group in turn with
 * its input x [rows, n] act; stack g reads rows offsets[g] .. offsets[g + 1] - 1. After @last the
 * pass ends early. With an @original x0 is the input of the same group there, row by row of the
 * same tokens: they go to the experts that the pass itself chooses. Without, x0 is empty.
 */
struct forward_tap {
    int (*take)(void *ctx, enum group group, struct span x, struct span x0, const int32_t *offsets);
    void *ctx;
    enum group last;
    const struct forward_side *original; /* NULL: none */
};

/*
 * layer_forward() - one layer over x [n_windows * seqlen, d] act, in place. With a tap, x (and
 * that of the original) is what it was until the group @last, and is then of no more use.
 */
int layer_forward(struct backend *b, const struct model_config *config,
                  const struct layer_weights *layer, struct forward_work *work, struct span x,
                  int n_windows, int seqlen, const struct forward_tap *tap);

/*
 * layer_steps() - the same from the step @from, that of tap->last at most, on: STEP_QKV: all of
 * them; STEP_ATTENDED: x is as the layer found it, and work->attention what STEP_O has left;
 * STEP_GATE_UP: x is what STEP_ATTENDED has left; STEP_END: that x, and work->activations, weights,
 * position and offsets are what STEP_DOWN has left. Likewise of the original of a tap. x changes at
 * STEP_ATTENDED and at STEP_END only.
 */
int layer_steps(struct backend *b, const struct model_config *config,
                const struct layer_weights *layer, struct forward_work *work, struct span x,
                int n_windows, int seqlen, enum step from, const struct forward_tap *tap);
