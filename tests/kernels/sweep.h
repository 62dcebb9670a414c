// SPDX-License-Identifier: Apache-2.0
/*
 * The sweep: every op of a backend over odd shapes, against plain loops in double. Any backend
 * can be put through it; tolerances follow its element type.
 */
#pragma once

#include "base/hash.h"
#include "base/macros.h"
#include "kernels/backend.h"

#define SWEEP_MAX_ITEMS 256

struct sweep {
    const struct backend_ops *ops;
    struct backend *b;
    struct sha256 *digest; /* of every byte that was read back */
    uint64_t random;
    int n_cases, n_failed;

    void *hosts[SWEEP_MAX_ITEMS]; /* memory of the case in hand */
    struct span spans[SWEEP_MAX_ITEMS];
    int n_hosts, n_spans;
};

/* sweep_run() - all cases on an open backend. Return: how many failed. */
int sweep_run(struct sweep *s, const struct backend_ops *ops, struct backend *b);

/* The families, each in its file. */
void sweep_memory(struct sweep *s);
void sweep_forward(struct sweep *s);
void sweep_moe(struct sweep *s);
void sweep_hessian(struct sweep *s);
void sweep_quantize(struct sweep *s);
void sweep_refine(struct sweep *s);
void sweep_kgrid(struct sweep *s);
void sweep_layout(struct sweep *s);
void sweep_refusals(struct sweep *s);

/* -------- a case: its memory and its verdict; the test ends when memory does -------- */

void sweep_begin(struct sweep *s);
void sweep_end(struct sweep *s); /* frees what the case took */

void *sweep_host(struct sweep *s, size_t n, size_t size); /* zeroed */
struct span sweep_span(struct sweep *s, size_t size);     /* filled with 0xff: NaN in floats */
struct span sweep_upload(struct sweep *s, const void *data, size_t size);
void *sweep_read(struct sweep *s, struct span span, size_t size);

size_t sweep_act_size(const struct sweep *s, size_t n); /* bytes of n elements of act */
/* @n values of act, given as f32 that act can hold. */
struct span sweep_upload_act(struct sweep *s, const float *data, size_t n);
float *sweep_read_act(struct sweep *s, struct span span, size_t n);

/* sweep_random_act() - @n values in [-scale, scale) that act can hold; the copy on the host. */
float *sweep_random_act(struct sweep *s, size_t n, float scale, struct span *ret_span);
double sweep_uniform(struct sweep *s); /* in [0, 1) */
uint32_t sweep_below(struct sweep *s, uint32_t limit);
/*
 * sweep_random_hessian() - G symmetric positive definite matrices [G, n, n] on the host, with
 * junk above the diagonal; column 1 of each is dead, columns 3 and 4 are the same.
 */
float *sweep_random_hessian(struct sweep *s, int G, int n);
double *sweep_doubles(struct sweep *s, const float *x, size_t n);

/*
 * sweep_expect() - the largest |got - want|, measured by the largest |want|, is at most @tol.
 * Results of type act are granted what rounding to act costs beside.
 */
enum sweep_type { SWEEP_F32, SWEEP_ACT };
void sweep_expect(struct sweep *s, const char *what, const float *got, const double *want, size_t n,
                  double tol, enum sweep_type type);
/* sweep_check() - counts a failure, with @what and the shapes, unless @ok. */
void sweep_check(struct sweep *s, bool ok, const char *format, ...) printf_format(3, 4);
/* sweep_ok() - @r is 0; otherwise a failure with the backend's reason. Return: @r == 0. */
bool sweep_ok(struct sweep *s, int r, const char *op);
