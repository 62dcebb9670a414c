// SPDX-License-Identifier: Apache-2.0
/* The parameters of a job. Any thread. */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"
#include "daemon/pipeline/params/rule.h"
#include "kernels/backend.h"

#include <stdbool.h>
#include <stdint.h>

#define PARAMS_EVALS_MAX 16
#define PARAMS_BATCH_MAX 4096 /* windows */
#define PARAMS_PLAN_BITS_MAX 32

struct engine_ops;
struct format_ops;
struct k_type;
struct method_ops;
struct preset;

enum job_kind {
    JOB_QUANTIZE,
    JOB_EVAL,   /* wbits is 16; the model may be quantized already */
    JOB_EXPORT, /* the codes of a finished job, the model, in another format */
    N_JOB_KINDS,
};

/* job_kind_name() - "quantize", "eval" or "export". */
const char *job_kind_name(enum job_kind kind);
/* job_kind_from_name() - the inverse. Return: 0 or -EINVAL. */
int job_kind_from_name(const char *name, enum job_kind *ret_kind);

/* What embedding and head are in, in a GGUF file. */
enum gguf_embedding { GGUF_EMBEDDING_BF16, GGUF_EMBEDDING_Q8_0 };

/* What a plan of bits may treat by itself. */
enum target_unit {
    TARGET_MODULE, /* what loaders of the format hold in one module */
    TARGET_KIND,   /* each kind of matrix of a layer */
    TARGET_EXPERT, /* and each expert */
};

/* An array of numbers. */
struct numbers {
    double list[PARAMS_PLAN_BITS_MAX];
    int n;
};

struct params {
    char *model;                 /* as asked for */
    char *dataset;               /* NULL: none */
    const struct preset *preset; /* that filled in what was not asked for; NULL: none */
    int wbits;                   /* 2 3 4 8 16 */
    int groupsize;               /* -1 or a positive multiple of 8 */
    int nsamples;
    int seqlen; /* 0: the pipeline takes min(2048, max_position_embeddings) */
    int batch;  /* windows that go through a layer at once; 0: as the device's memory allows */
    uint64_t seed;
    bool act_order, sym, true_sequential, static_groups;
    const struct method_ops *method;
    enum grid_fit grid;
    int refine; /* sweeps of each round of refinement; 0: none */
    double percdamp;
    double drift; /* how much of the drift of a matrix's inputs its solver corrects, 0 to 1 */
    char *eval[PARAMS_EVALS_MAX]; /* data sets to measure */
    int n_eval;
    bool difference;                 /* compare a quantized model with its original on these */
    const struct format_ops *format; /* of the checkpoint */
    enum gguf_embedding gguf_embedding;
    const struct k_type *gguf_type;  /* whose grid all matrices go on; NULL: wbits and others say */
    const struct engine_ops *engine; /* that the checkpoint is for; NULL: for any */
    struct rules rules;              /* which matrices differ from the rest */
    double target_bits;              /* mean bits for which rules are found; 0: none are */
    enum target_unit target_unit;
    bool plan_only;           /* end there */
    struct numbers plan_bits; /* more targets, each with a choice in the plan */
};

void params_free(struct params *params); /* NULL is fine */

/* params_reorders() - are columns of a group of @groupsize no neighbours, once it is solved? */
bool params_reorders(const struct params *params, int groupsize);

/* params_quantization() - what @params ask of a format, but for rules. */
struct quantization_config params_quantization(const struct params *params);

/*
 * params_check() - can the format of @params hold @q, and does the engine that it is for read it?
 * @config NULL: the model is not known yet. Return: 0, or -EINVAL with the field.
 */
int params_check(const struct params *params, const struct quantization_config *q,
                 const struct model_config *config, struct failure *failure);

/* params_calibrates() - does the job look at the calibration text? */
bool params_calibrates(const struct params *params);

DEFINE_CLEANUP(struct params *, params_freep, params_free)
