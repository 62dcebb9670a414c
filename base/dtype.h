// SPDX-License-Identifier: Apache-2.0
/* Element types of tensors, and the two 16-bit floats. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum dtype {
    DTYPE_F32,
    DTYPE_F16,  /* IEEE binary16 */
    DTYPE_BF16, /* the upper half of an f32 */
    DTYPE_I64,
    DTYPE_I32,
    DTYPE_I16,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_BOOL,
    DTYPE_F64,
    N_DTYPES,
};

/* dtype_size() - bytes of one element. */
size_t dtype_size(enum dtype dtype);

/* dtype_name() - as safetensors spells it: "BF16". */
const char *dtype_name(enum dtype dtype);

/* dtype_from_name() - the inverse. Return: 0 or -EINVAL. */
int dtype_from_name(const char *name, enum dtype *ret_dtype);

static inline float bf16_to_f32(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* Rounds half to even; a NaN stays one. */
static inline uint16_t f32_to_bf16(float f) {
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float f16_to_f32(uint16_t h);

/* Rounds half to even; too large becomes infinity; a NaN stays one. */
uint16_t f32_to_f16(float f);

/*
 * dtype_to_f32() - @n elements of F32, F16 or BF16 at @src (any alignment) as f32 at @dst.
 * Return: 0, or -EINVAL for another type.
 */
int dtype_to_f32(float *dst, const void *src, enum dtype dtype, size_t n);
