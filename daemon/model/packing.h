// SPDX-License-Identifier: Apache-2.0
/*
 * A matrix in the gptq layout, as it stands in a checkpoint:
 *   qweight i32 [n * wbits / 32, rows], qzeros i32 [n_groups, rows * wbits / 32],
 *   scales [n_groups, rows], g_idx i32 [n]
 * with rows the out-features and n the in-features. The codes are packed on the device; the small
 * arrays here, on the host. Any thread.
 */
#pragma once

#include "base/failure.h"
#include "daemon/model/quantization.h"
#include "daemon/model/safetensors/tensor.h"

#include <stdbool.h>

/* The grids of one matrix, unpacked. Zero-initialise. */
struct grids {
    int rows, n, n_groups;
    uint16_t *scales; /* f16 [n_groups, rows]; owned */
    uint8_t *zeros;   /* [n_groups, rows]; owned */
    int32_t *g_idx;   /* [n]; owned */
};

/*
 * grids_read() - find the matrix called @name (without suffix), check the types and shapes of
 * its tensors and every g_idx, and unpack its grids. Zeros are stored minus one unless
 * the checkpoint is v2; without g_idx column c is in group c / groupsize.
 * @ret_grids:   its arrays are owned by the caller: grids_done()
 * @ret_qweight: borrowed from @tensors
 * Return: 0, -EBADMSG (model_invalid), -ENOMEM.
 */
int grids_read(const struct tensor_finder *tensors, const struct quantization_config *config,
               const char *name, int rows, int n, struct grids *ret_grids,
               const struct tensor **ret_qweight, struct failure *failure);
void grids_done(struct grids *grids);

/*
 * qzeros_pack() - @zeros [n_groups, rows], each less than 2^wbits, to @packed
 * [n_groups, rows * wbits / 32]; rows is a multiple of 32. @v2: as they are, else minus one.
 */
void qzeros_pack(uint32_t *packed, const uint8_t *zeros, int n_groups, int rows, int wbits,
                 bool v2);
/* qzeros_unpack() - the inverse. */
void qzeros_unpack(uint8_t *zeros, const uint32_t *packed, int n_groups, int rows, int wbits,
                   bool v2);
