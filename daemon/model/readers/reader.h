// SPDX-License-Identifier: Apache-2.0
/*
 * Checkpoints that are quantized already. A layout is a row of the table in readers.c: it knows
 * its quantization_config, the tensors that stand for a matrix, and how to give a matrix in the one
 * neutral form that everything else takes. Any thread.
 */
#pragma once

#include "base/failure.h"
#include "base/json.h"
#include "daemon/model/readers/schemes.h"
#include "daemon/model/safetensors/expect.h"

#include <stdbool.h>
#include <stdlib.h>

/* What a quantization_config says, ours or others'. */
struct quantization_config {
    bool present;
    const struct reader_ops *reader; /* whose layout it is; NULL when not present */
    int wbits;                       /* bits: 2 3 4 8 */
    int groupsize;                   /* group_size: -1 or a positive number */
    bool sym;                        /* said to be: all zeros are 2^(wbits-1) */
    bool desc_act;
    int sub_bits; /* of a K grid, as struct grid has it; 0: of no super-blocks */
    bool v2;      /* checkpoint_format gptq_v2: zeros are stored as they are, else minus one */
    struct schemes *schemes; /* of each matrix; NULL: all are alike. Owned by whose config it is */
    bool q8_0_ends;          /* embedding and head are to be Q8_0, in a GGUF file */
    unsigned int groups;     /* set of 1 << enum group: it holds for matrices of these; 0: any */
};

/*
 * A quantized matrix, whatever layout it came in; zero-initialise. The weight in row r, column c is
 * scales[g_idx[c]][r] * (code - zeros[g_idx[c]][r]); on a K grid, which has d, it is as struct grid
 * of kernels/backend.h says, with d[c / GRID_SUPER][r] and dmin likewise.
 */
struct quantized_matrix {
    int wbits, rows, n, n_groups; /* rows: out-features; n: in-features */
    /*
     * u32 [n * wbits / 32, rows], any alignment: the codes of a row stand in its column of words,
     * one after the other from the lowest bit up, and may cross words; as backend_ops.unpack has
     * them. Borrowed from the tensors, or of `memory`.
     */
    const void *words;
    void *memory;     /* owned, or NULL */
    uint16_t *scales; /* f16 [n_groups, rows], finite; owned */
    uint8_t *zeros;   /* [n_groups, rows], each less than 2^wbits; owned */
    int32_t *g_idx;   /* [n], each less than n_groups; owned */
    /*
     * f32 [rows, n], finite, owned; else NULL. With it there is nothing but rows and n beside: the
     * layout's grids are not of the form above.
     */
    float *values;
    uint16_t *d;    /* f16 [n / GRID_SUPER, rows], finite: the units of a K grid; owned */
    uint16_t *dmin; /* likewise; NULL: the K grid is symmetric */
};

/* Bytes of the words of @matrix. */
static inline size_t quantized_matrix_bytes(const struct quantized_matrix *matrix) {
    return (size_t)matrix->n * matrix->wbits / 32 * matrix->rows * sizeof(uint32_t);
}

/* quantized_matrix_done() - free what it owns. */
static inline void quantized_matrix_done(struct quantized_matrix *matrix) {
    free(matrix->memory);
    free(matrix->scales);
    free(matrix->zeros);
    free(matrix->g_idx);
    free(matrix->values);
    free(matrix->d);
    free(matrix->dmin);
    *matrix = (struct quantized_matrix){};
}

/* Where a quantization_config stands. */
struct quantization_source {
    const json_t *value; /* an object */
    const char *path;    /* for messages */
    bool needs_method;   /* false for quantize_config.json, which may leave out quant_method */
    /* [n]: the numbers of in-features of all matrices; bits and groups must divide each */
    const int *in_features;
    size_t n;
    struct overrides *overrides; /* where parse() puts what is said of some modules */
    struct failure *failure;
};

/* quantization_divides() - is a row of every matrix, at @unit each element, a multiple of @whole?
 */
static inline bool quantization_divides(const struct quantization_source *s, json_int_t whole,
                                        json_int_t unit) {
    for (size_t i = 0; i < s->n; i++) {
        if (s->in_features[i] * unit % whole)
            return false;
    }
    return true;
}

/* What the zeros of a matrix on symmetric grids say of the label that the checkpoint carries. */
enum zeros_say {
    ZEROS_AS_LABELLED, /* all are in the middle of the grid */
    ZEROS_OF_OTHER,    /* all would be, under the other label of the same layout */
    ZEROS_OF_NONE,
};

/* What a layout must do; no entry is optional. 0 or -errno with the failure. */
struct reader_ops {
    const char *name; /* as quant_method has it */

    /* Is it this layout? Errors are parse()'s. */
    bool (*recognizes)(const struct quantization_source *source);

    /* Sets all of *ret_config but the reader. -EBADMSG (model_invalid, model_unsupported) */
    int (*parse)(const struct quantization_source *source, struct quantization_config *ret_config);

    /* Is the matrix called @name (without suffix) quantized, and not plain? */
    bool (*has)(const struct tensor_finder *tensors, const char *name);

    /* Names, types and shapes of what stands for the matrix @name [rows, n]; no data is read.
     * -EBADMSG, -ENOENT */
    int (*check)(const struct expecting *expecting, const struct quantization_config *config,
                 const char *name, int rows, int n);

    /* What the zeros of the matrix @name, which check() has passed, say. 0 or -ENOMEM */
    int (*zeros)(const struct tensor_finder *tensors, const struct quantization_config *config,
                 const char *name, int rows, int n, enum zeros_say *ret_says);

    /* The matrix @name, all of it checked. *ret_matrix is the caller's; untouched on failure.
     * -EBADMSG (model_invalid), -ENOMEM */
    int (*read)(const struct tensor_finder *tensors, const struct quantization_config *config,
                const char *name, int rows, int n, struct quantized_matrix *ret_matrix,
                struct failure *failure);
};
