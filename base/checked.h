// SPDX-License-Identifier: Apache-2.0
/*
 * Arithmetic on sizes that come from outside. Each returns true when the result does not fit,
 * and leaves it untouched then.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool checked_add(size_t a, size_t b, size_t *ret_sum) {
    size_t sum;

    if (__builtin_add_overflow(a, b, &sum))
        return true;
    *ret_sum = sum;
    return false;
}

static inline bool checked_mul(size_t a, size_t b, size_t *ret_product) {
    size_t product;

    if (__builtin_mul_overflow(a, b, &product))
        return true;
    *ret_product = product;
    return false;
}
