// SPDX-License-Identifier: Apache-2.0
/*
 * What quantd must know of an architecture: one table of the tensors of its models, the keys of its
 * config.json, and the forward pass of a layer. Checking, loading, exporting and counting walk the
 * table; nothing else lists tensors. Rows are in architectures.c. Any thread.
 */
#pragma once

#include "daemon/model/arch/config.h"
#include "daemon/model/safetensors/tensor.h"
#include "kernels/backend.h"

#define MATRIX_NAME_SIZE 128 /* of a tensor of the table, without a suffix */

/* What a tensor is for. */
enum tensor_role {
    ROLE_EMBEDDING, /* outside of the layers; the head may be the embedding */
    ROLE_FINAL_NORM,
    ROLE_HEAD,
    ROLE_INPUT_NORM, /* of a layer, kept as they are: before attention */
    ROLE_Q_NORM,
    ROLE_K_NORM,
    ROLE_POST_NORM, /* before the experts */
    ROLE_ROUTER,
    ROLE_MATRIX, /* of a layer, quantized with its group */
    N_ROLES,
};

/* A size in terms of a configuration. */
enum dim {
    DIM_NONE, /* a vector has no columns */
    DIM_VOCAB,
    DIM_HIDDEN,
    DIM_Q,            /* width of q */
    DIM_KV,           /* width of k, and of v */
    DIM_INTERMEDIATE, /* width of one expert */
    DIM_EXPERTS,
};

/*
 * The matrices of a layer that are quantized, in the four groups that share their input, and so a
 * Hessian: attention and experts of every architecture are cut alike.
 */
enum group {
    GROUP_QKV,     /* q, k, v; input: the normed hidden state */
    GROUP_O,       /* o; input: the attention's output */
    GROUP_GATE_UP, /* gate, up of an expert; input: the tokens routed to it */
    GROUP_DOWN,    /* down of an expert; input: its activations */
    N_GROUPS,
};

/* The steps of a layer in their order, by where each ends. */
enum step {
    STEP_QKV,      /* at the input of GROUP_QKV */
    STEP_O,        /* at that of GROUP_O */
    STEP_ATTENDED, /* x has what attention gives; the rest follows from x alone */
    STEP_GATE_UP,  /* at the input of GROUP_GATE_UP */
    STEP_DOWN,     /* at that of GROUP_DOWN */
    STEP_END,      /* x is what the next layer begins with */
};

/* A tensor [rows, columns], or [rows]; ".weight" follows its name in a checkpoint. */
struct arch_tensor {
    const char *name; /* "{layer}" and "{expert}" stand for numbers */
    enum tensor_role role;
    enum dim rows, columns;
    enum group group; /* of a ROLE_MATRIX; its parts stand one above the other in table order */
};

/* A number of config.json. */
struct arch_key {
    const char *key;
    size_t offset;             /* of an int, or a float, in struct model_config */
    double min, max, fallback; /* fallback: of transformers' class of the configuration */
};

/*
 * A module in which loaders hold all matrices of some groups of a layer, which then must be alike.
 */
struct arch_merged {
    const char *name;    /* behind that of the layer */
    unsigned int groups; /* set of 1 << enum group */
    bool is_prefix;      /* the names of its matrices begin so */
};

struct layer_weights;
struct forward_work;

struct arch {
    const char *model_type; /* as config.json has it */
    const char *class_name; /* of transformers, in "architectures" */
    const struct arch_key *ints, *floats;
    size_t n_ints, n_floats;
    const struct arch_tensor *tensors; /* those of a layer stand together */
    size_t n_tensors;
    /* Names under which some writers hold a whole group in one tensor [stacks, rows, columns],
     * without ".weight"; NULL: none do. */
    const char *fused[N_GROUPS];

    const struct arch_merged *merged;
    size_t n_merged;

    /*
     * The step of a layer that ends at @to, over x [n_windows * seqlen, d] act, in place. The
     * input of a group is where forward.h says; work->routing says whose experts tokens go to. The
     * thread of the backend. 0 or -errno
     */
    int (*step)(struct backend *b, const struct model_config *config,
                const struct layer_weights *layer, struct forward_work *work, struct span x,
                int n_windows, int seqlen, enum step to);
};

/* arch_dim() - elements; 1 for DIM_NONE. */
int arch_dim(const struct model_config *config, enum dim dim);

/* arch_in_layer(), arch_per_expert() - is there one for each layer, for each expert? */
bool arch_in_layer(const struct arch_tensor *tensor);
bool arch_per_expert(const struct arch_tensor *tensor);

/* arch_name() - a name of the table with its numbers, which count from 0. */
void arch_name(const char *name, int layer, int expert, char ret_name[MATRIX_NAME_SIZE]);

/* arch_is_tied() - is @tensor the head, and no tensor of its own? */
bool arch_is_tied(const struct model_config *config, const struct arch_tensor *tensor);

/*
 * arch_fused() - the tensor that holds all of @group of @layer in @tensors, where its architecture
 * has a name for it; else NULL.
 */
const struct tensor *arch_fused(const struct model_config *config,
                                const struct tensor_finder *tensors, enum group group, int layer);

/*
 * arch_walk() - call @visit for every tensor of a model, in the order of a checkpoint: what is
 * before the layers, layer after layer (plain ones, then group by group and stack by stack), and
 * what is after them. @layer and @expert are -1 where there is none.
 * Return: 0, or the first value of @visit that is not 0.
 */
int arch_walk(const struct model_config *config,
              int (*visit)(void *ctx, const struct arch_tensor *tensor, int layer, int expert),
              void *ctx);

/* arch_n_parameters() - elements of all tensors of a model. */
uint64_t arch_n_parameters(const struct model_config *config);
