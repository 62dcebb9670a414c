// SPDX-License-Identifier: Apache-2.0
/* The diagonal blocks of factor.cu (diagonal.cu). */
#pragma once

#include "kernels/cuda/device.cuh"

/* added[g] = damp[g] of the mean of the diagonal of h [G, n, n], a zero on it counting as 1. */
void damping_launch(cudaStream_t stream, float *added, const float *damp, const float *h, int G,
                    int n);

enum { DIAGONAL = 128 }; /* columns of a block at most */

/*
 * Of each matrix of a, u [G, n, n]: the block of @nb columns at the diagonal's @k0 is factored,
 * a = l l' (its lower triangle is read), and inv(l) goes to u's block, zeros above its diagonal.
 * info[g] becomes the number of the first pivot that is not finite and positive, when it was 0.
 */
void diagonal_launch(cudaStream_t stream, const float *a, float *u, int *info, int G, int n, int k0,
                     int nb);
