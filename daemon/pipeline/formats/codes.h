// SPDX-License-Identifier: Apache-2.0
/*
 * A quantized layer in memory, in the layout of no format: what the solver makes, what every
 * lossless format gives back, and from what any format is written. One thread at a time.
 */
#pragma once

#include "daemon/model/weights.h"
#include "daemon/pipeline/formats/shard.h"

struct matrix_codes {
    char name[MATRIX_NAME_SIZE];   /* in the checkpoint, without a suffix */
    bool sym;                      /* all zeros are 2^(wbits-1) */
    struct quantized_matrix codes; /* owned; words borrowed, from a block of the layer or a file */
    const uint16_t *weights; /* bf16 [rows, n] of the codes, borrowed likewise; NULL: not at hand */
};

/* Zero-initialise. */
struct layer_codes {
    int number;         /* of the layer, once the plain tensors are there */
    struct shard plain; /* tensors that are not quantized, those of no matrix first; and blocks of
                           memory */
    struct matrix_codes *matrices; /* owned */
    size_t n_matrices, capacity;
};

void layer_codes_done(struct layer_codes *layer);

/*
 * layer_codes_add() - append @matrix, whose codes are taken, also when it fails.
 * Return: 0 or -ENOMEM.
 */
int layer_codes_add(struct layer_codes *layer, struct matrix_codes *matrix);

/*
 * layer_codes_add_plain() - append the tensors of layer @number of @source that are not quantized,
 * in the order of every checkpoint of ours. Data is borrowed from the source.
 * Return: 0 or -errno with the failure.
 */
int layer_codes_add_plain(struct layer_codes *layer, const struct weights_source *source,
                          int number, struct failure *failure);

/*
 * layer_codes_add_left() - append the matrices of layer @number that @q leaves as they are in
 * @source. Data is borrowed from the source. Return: 0 or -errno with the failure.
 */
int layer_codes_add_left(struct layer_codes *layer, const struct weights_source *source,
                         const struct quantization_config *q, int number, struct failure *failure);

/* layer_codes_bytes() - host memory that the layer holds, without what it borrows from files. */
size_t layer_codes_bytes(const struct layer_codes *layer);

/* layer_codes_find() - the quantized matrix called @name, or NULL. */
const struct matrix_codes *layer_codes_find(const struct layer_codes *layer, const char *name);

/*
 * layer_codes_read() - layer @number of the quantized @source, from which words and plain tensors
 * are borrowed, into the empty @layer, which the caller owns in each case.
 * Return: 0, -EBADMSG (model_invalid) or -ENOMEM, with the failure.
 */
int layer_codes_read(const struct weights_source *source, int number, struct layer_codes *layer,
                     struct failure *failure);

/* What a quantized matrix takes beside q->wbits a code. */
struct code_bits {
    int grid;   /* for each group of each row: scale, zero */
    int column; /* for each column: its group */
    int super;  /* for each GRID_SUPER columns of each row, of a K grid */
    int matrix;
};

/*
 * codes_bits_per_weight() - what a weight of the layers' matrices takes; @bits_of says what goes
 * with one that is quantized as @q, and one that is not takes 16. Any thread.
 */
double codes_bits_per_weight(const struct model_config *config, const struct quantization_config *q,
                             struct code_bits (*bits_of)(const struct quantization_config *q));
