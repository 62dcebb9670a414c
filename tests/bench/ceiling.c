// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/ceiling.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "kernels/registry.h"
#include "tools/noise.h"

#include <errno.h>
#include <stdlib.h>

#define GEMM_TIMES 8

/* A matrix of noise: zeros would cost less power than a model does, and so run faster. */
static int take_noise(struct backend *b, size_t n, unsigned int stream, struct span *ret_span) {
    cleanup(noise_done) struct noise noise = {};
    cleanup(freep) void *values = calloc(n, dtype_size(b->ops->act));
    int r = values ? noise_init(&noise, b->ops->act, 0, 1) : -ENOMEM;

    if (!r)
        r = b->ops->alloc(b, n * dtype_size(b->ops->act), ret_span);
    if (r)
        return r;
    noise_fill(&noise, stream, 0, values, n);
    return b->ops->upload(b, *ret_span, values);
}

/* The seconds of a product of n x n matrices, the best of some. */
static int time_product(struct backend *b, int n, double *ret_seconds) {
    struct span x = {}, w = {}, y = {};
    int r;

    r = take_noise(b, (size_t)n * n, 0, &x);
    if (!r)
        r = take_noise(b, (size_t)n * n, 1, &w);
    if (!r)
        r = b->ops->alloc(b, x.size, &y);
    for (int i = 0; i < GEMM_TIMES && !r; i++) {
        double started = clock_monotonic(), seconds;

        r = b->ops->linear(b, y, x, w, n, n, n, false);
        if (!r)
            r = b->ops->sync(b);
        seconds = clock_monotonic() - started;
        *ret_seconds = i == 0 ? seconds : MIN(seconds, *ret_seconds);
    }
    return r;
}

int ceiling_product(const char *device, double *ret_rate, struct failure *failure) {
    struct backend *b;
    double seconds = 1;
    int n, r;

    r = backend_open(device, &b, failure);
    if (r)
        return r;
    n = b->ops->streams ? 8192 : 1024;
    r = time_product(b, n, &seconds);
    if (r)
        *failure = *b->ops->failure(b);
    *ret_rate = 2.0 * n * n * n / seconds;
    b->ops->close(b);
    return r;
}
