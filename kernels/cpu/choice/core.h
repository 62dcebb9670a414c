// SPDX-License-Identifier: Apache-2.0
/*
 * OpenBLAS has a set of kernels for each kind of processor, and calls it a core. Which cores a
 * processor can run, and which are better. Pure functions; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* What a processor and its operating system offer. */
struct cpu_features {
    bool avx;
    bool avx2;   /* with FMA */
    bool avx512; /* F, CD, BW, DQ and VL */
    bool amd;
};

#define CORES_MAX 3

/* cpu_features_read() - the features of this processor; none on an architecture but x86-64. */
void cpu_features_read(struct cpu_features *ret_features);

/**
 * core_is_lesser() - does a core use a narrower instruction set than another?
 *
 * A core that this version does not know is the library's own, later choice, and not lesser.
 * Case does not matter.
 */
bool core_is_lesser(const char *core, const char *than);

/**
 * core_better() - the cores that suit a processor better than the one chosen
 * @chosen:    as openblas_get_corename() says
 * @ret_cores: static strings, the best first
 *
 * Return: how many; 0 when the choice is right.
 */
size_t core_better(const struct cpu_features *features, const char *chosen,
                   const char *ret_cores[CORES_MAX]);
