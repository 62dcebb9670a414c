// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>

/**
 * product_test() - do the kernels that OpenBLAS uses now compute correctly?
 *
 * The routines that this backend calls, at its shapes and at odd ones, against plain loops in
 * float64. On one thread; 0.1 to 0.5 s.
 *
 * Return: false when a result is wrong, or there is no memory.
 */
bool product_test(void);
