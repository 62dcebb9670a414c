// SPDX-License-Identifier: Apache-2.0
#include "base/dtype.h"

#include <errno.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[N_DTYPES] = {
    [DTYPE_F32] = {"F32", 4}, [DTYPE_F16] = {"F16", 2}, [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_I64] = {"I64", 8}, [DTYPE_I32] = {"I32", 4}, [DTYPE_I16] = {"I16", 2},
    [DTYPE_I8] = {"I8", 1},   [DTYPE_U8] = {"U8", 1},   [DTYPE_BOOL] = {"BOOL", 1},
    [DTYPE_F64] = {"F64", 8},
};

size_t dtype_size(enum dtype dtype) {
    return dtypes[dtype].size;
}

const char *dtype_name(enum dtype dtype) {
    return dtypes[dtype].name;
}

int dtype_from_name(const char *name, enum dtype *ret_dtype) {
    for (int i = 0; i < N_DTYPES; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *ret_dtype = i;
            return 0;
        }
    }
    return -EINVAL;
}

float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 0x1f, fraction = h & 0x3ff;
    uint32_t bits;
    float f;

    if (exponent == 0) {
        f = fraction * 0x1p-24f;
        return sign ? -f : f;
    }
    exponent = exponent == 0x1f ? 0xff : exponent + 112;
    bits = sign | exponent << 23 | fraction << 13;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

uint16_t f32_to_f16(float f) {
    uint32_t bits, magnitude, sign;

    memcpy(&bits, &f, sizeof(bits));
    sign = bits >> 16 & 0x8000;
    magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) /* 65520, halfway to the value after the largest */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: subnormal, in units of 2^-24 */
        float scaled = (sign ? -f : f) * 0x1p24f + 0x1p23f; /* adding 2^23 rounds half to even */

        memcpy(&bits, &scaled, sizeof(bits));
        return (uint16_t)(sign | (bits & 0x7fff));
    }
    magnitude += 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (magnitude - 0x38000000) >> 13);
}

int dtype_to_f32(float *dst, const void *src, enum dtype dtype, size_t n) {
    const unsigned char *bytes = src;
    uint16_t h;

    switch (dtype) {
    case DTYPE_F32:
        memcpy(dst, src, n * sizeof(float));
        return 0;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&h, bytes + 2 * i, 2);
            dst[i] = bf16_to_f32(h);
        }
        return 0;
    case DTYPE_F16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&h, bytes + 2 * i, 2);
            dst[i] = f16_to_f32(h);
        }
        return 0;
    default:
        return -EINVAL;
    }
}
