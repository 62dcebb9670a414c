// SPDX-License-Identifier: Apache-2.0
/*
 * A turn's windows through all layers of a model. The memory is the same for a quantized model and
 * for the original that it is compared with. The thread of the run.
 */
#pragma once

#include "daemon/model/staged_codes.h"
#include "daemon/pipeline/evaluate/turn.h"

struct eval_model {
    const struct model_config *config; /* borrowed */
    struct weights_source source;
    const struct outer_weights *ends; /* borrowed */
};

struct pass {
    struct run *run;
    struct backend *b;
    struct layer_weights layers[2]; /* the one at work and, when streaming pays, the next */
    int n_layers;                   /* how many of these there are */
    struct code_memory codes;
    struct span code_room; /* of the next layer's codes; empty: they come between passes */
    struct staged_codes staged;
    struct span memory; /* of work */
    struct forward_work work;
    struct span x; /* [room, seqlen, d] act */
    int room;      /* windows */
};

/* pass_take() - lay out what is neither layers nor ends, for turns of pass->room windows. */
void pass_take(const struct run *run, struct arena *arena, struct pass *pass);

/* pass_layers() - how many layers of the run's model are in memory at a time: 1 or 2. */
int pass_layers(const struct run *run);

/* pass_init() - what pass_take() laid out is there: the rest. Return: 0 or -errno. */
int pass_init(struct pass *pass, struct run *run);
void pass_done(struct pass *pass);

/*
 * pass_run() - pass->x = the last hidden states, before the norm, of @parts of a turn, each where
 * it is in the turn, of @model. Return: 0 or -errno.
 */
int pass_run(struct pass *pass, const struct eval_model *model, const struct turn_part *parts,
             int n_parts);
