// SPDX-License-Identifier: Apache-2.0
#include "tools/noise.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define GOLDEN 0x9e3779b97f4a7c15 /* the step of splitmix64 */

/* x with Phi(x) = @p, by Newton's method from @near, the quantile of a p close by; p <= 0.5. */
static double quantile(double p, double near) {
    double x = near;

    for (int i = 0; i < 50; i++) {
        double density = exp(-x * x / 2) / sqrt(2 * M_PI);
        double step = (erfc(-x / M_SQRT2) / 2 - p) / density;

        x -= step;
        if (fabs(step) < 1e-12)
            break;
    }
    return x;
}

static void put_level(struct noise *noise, size_t i, double value) {
    if (noise->dtype == DTYPE_F32)
        ((float *)noise->levels)[i] = (float)value;
    else if (noise->dtype == DTYPE_F16)
        ((uint16_t *)noise->levels)[i] = f32_to_f16((float)value);
    else
        ((uint16_t *)noise->levels)[i] = f32_to_bf16((float)value);
}

int noise_init(struct noise *noise, enum dtype dtype, double mean, double std) {
    double x = 0;

    if (dtype != DTYPE_F32 && dtype != DTYPE_F16 && dtype != DTYPE_BF16)
        return -EINVAL;
    noise->dtype = dtype;
    noise->levels = calloc(NOISE_LEVELS, dtype_size(dtype));
    if (!noise->levels)
        return -ENOMEM;
    for (int i = NOISE_LEVELS / 2 - 1; i >= 0; i--) {
        x = quantile((i + 0.5) / NOISE_LEVELS, x);
        put_level(noise, i, mean + x * std);
        put_level(noise, NOISE_LEVELS - 1 - i, mean - x * std);
    }
    return 0;
}

void noise_done(struct noise *noise) {
    free(noise->levels);
    noise->levels = NULL;
}

static void fill_16(const uint16_t *levels, uint64_t counter, uint16_t *dst, size_t n) {
    size_t i = 0;

    for (; i + 4 <= n; i += 4, counter += GOLDEN) {
        uint64_t bits = noise_mix(counter);

        dst[i] = levels[bits & 0xffff];
        dst[i + 1] = levels[bits >> 16 & 0xffff];
        dst[i + 2] = levels[bits >> 32 & 0xffff];
        dst[i + 3] = levels[bits >> 48];
    }
    for (uint64_t bits = noise_mix(counter); i < n; i++, bits >>= 16)
        dst[i] = levels[bits & 0xffff];
}

static void fill_32(const float *levels, uint64_t counter, float *dst, size_t n) {
    size_t i = 0;

    for (; i + 4 <= n; i += 4, counter += GOLDEN) {
        uint64_t bits = noise_mix(counter);

        dst[i] = levels[bits & 0xffff];
        dst[i + 1] = levels[bits >> 16 & 0xffff];
        dst[i + 2] = levels[bits >> 32 & 0xffff];
        dst[i + 3] = levels[bits >> 48];
    }
    for (uint64_t bits = noise_mix(counter); i < n; i++, bits >>= 16)
        dst[i] = levels[bits & 0xffff];
}

void noise_fill(const struct noise *noise, uint64_t stream, uint64_t first, void *dst, size_t n) {
    uint64_t counter = noise_mix(stream * GOLDEN + 1) + first / 4 * GOLDEN;

    if (noise->dtype == DTYPE_F32)
        fill_32(noise->levels, counter, dst, n);
    else
        fill_16(noise->levels, counter, dst, n);
}
