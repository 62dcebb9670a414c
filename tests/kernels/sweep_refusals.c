// SPDX-License-Identifier: Apache-2.0
/* What an op must refuse: -EINVAL, and a reason. */
#include "tests/kernels/sweep.h"

#include <errno.h>
#include <string.h>

static void refused(struct sweep *s, int r, const char *op, const char *what) {
    const struct failure *failure = s->ops->failure(s->b);

    sweep_check(s, r == -EINVAL, "%s: %s returned %d", op, what, r);
    sweep_check(s, strncmp(failure->detail, op, strlen(op)) == 0, "%s: %s, but the reason is '%s'",
                op, what, failure->detail);
}

static void refuse_forward(struct sweep *s, struct span big) {
    const struct backend_ops *ops = s->ops;
    struct span shorter = span_slice(big, 0, 12), empty = {};
    struct head_side side = {big, big, big, big}, no_x = {shorter, big, big, big};
    bool finite;
    static const int32_t falling[] = {0, 4, 2}, rising[] = {0, 2, 4};

    refused(s, ops->linear(s->b, big, shorter, big, 1, 16, 16, false), "linear", "a short x");
    refused(s, ops->linear(s->b, empty, big, big, 1, 16, 16, false), "linear", "no y");
    refused(s, ops->linear(s->b, big, big, big, 0, 16, 16, false), "linear", "no tokens");
    refused(s, ops->linear(s->b, big, big, big, -1, -16, 16, false), "linear", "negative sizes");
    refused(s, ops->linear(s->b, big, big, big, INT32_MAX, INT32_MAX, INT32_MAX, false), "linear",
            "sizes beyond memory");
    refused(s, ops->rmsnorm(s->b, big, 8, big, 16, big, 2, 16, 1e-5f), "rmsnorm", "a short ldy");
    refused(s, ops->rmsnorm(s->b, big, 16, shorter, 16, big, 2, 16, 1e-5f), "rmsnorm", "a short x");
    refused(s, ops->rope(s->b, big, 16, 2, 2, 1, 7, 1e4f), "rope", "an odd head_dim");
    refused(s, ops->attention(s->b, big, big, 1, 2, 3, 2, 4), "attention", "3 heads on 2");
    refused(s, ops->attention(s->b, big, shorter, 1, 2, 2, 2, 4), "attention", "a short qkv");
    refused(s, ops->clamp(s->b, shorter, 100, 1), "clamp", "a short x");
    refused(s, ops->swiglu(s->b, big, shorter, 4, 4), "swiglu", "a short gu");
    refused(s, ops->route(s->b, big, big, big, big, 2, 4, 3, 4, false), "route", "4 of 3 experts");
    refused(s, ops->expert_linear(s->b, big, big, big, falling, 2, 4, 4), "expert_linear",
            "falling offsets");
    refused(s, ops->expert_swiglu(s->b, big, big, empty, big, falling, 2, 4, 4, 4, empty, big),
            "expert_swiglu", "falling offsets");
    refused(s, ops->expert_swiglu(s->b, big, big, empty, big, rising, 2, 5, 4, 4, empty, big),
            "expert_swiglu", "5 rows for 4 slots");
    refused(s, ops->expert_swiglu(s->b, big, big, empty, big, rising, 2, 4, 4, 4, empty, shorter),
            "expert_swiglu", "a short gate_up");
    refused(s, ops->expert_swiglu(s->b, big, big, big, big, rising, 2, 9, 4, 4, shorter, big),
            "expert_swiglu", "short rows");
    refused(s, ops->expert_swiglu(s->b, big, big, shorter, big, rising, 2, 9, 4, 4, big, big),
            "expert_swiglu", "a short order");
    refused(s, ops->hessian_add(s->b, big, big, falling, 2, 4), "hessian_add", "falling offsets");
    refused(s, ops->cross_add(s->b, big, big, big, falling, 2, 4), "cross_add", "falling offsets");
    refused(s, ops->cross_add(s->b, big, shorter, big, rising, 2, 4), "cross_add", "a short x0");
    refused(s, ops->stage(s->b, big, "", DTYPE_I32, 0), "stage", "integers");
    refused(s, ops->stage(s->b, shorter, big.at, DTYPE_F32, 100), "stage", "a short dst");
    refused(s, ops->all_finite(s->b, shorter, 100, &finite), "all_finite", "a short x");
    refused(s, ops->copy(s->b, big, shorter), "copy", "two sizes");
    refused(s, ops->zero(s->b, empty), "zero", "nothing");
    refused(s, ops->head(s->b, big, big, big, big, big, big, 4, 4, 4, empty), "head", "no scratch");
    refused(s, ops->head_difference(s->b, big, &side, &side, big, 4, 4, 4, empty),
            "head_difference", "no scratch");
    refused(s, ops->head_difference(s->b, big, &side, &no_x, big, 4, 4, 4, big), "head_difference",
            "a short x");
}

static void refuse_quantization(struct sweep *s, struct span big) {
    const struct backend_ops *ops = s->ops;
    struct quantized q = {big, big, big, big}, no_scales = q;
    struct grid grid = {4, 16, false, GRID_MINMAX}, bits = {5, 16, false, GRID_MINMAX};
    struct grid groups = {4, 12, false, GRID_MINMAX}, fit = {4, 16, false, 99};
    float damp = 0.01f;
    int32_t info;
    float condition;

    no_scales.scales.size = 3;
    refused(s, ops->rtn(s->b, &q, big, big, &bits, 1, 4, 16), "rtn", "5 bits");
    refused(s, ops->rtn(s->b, &q, big, big, &groups, 1, 4, 16), "rtn",
            "16 columns in groups of 12");
    refused(s, ops->rtn(s->b, &q, big, big, &fit, 1, 4, 16), "rtn", "an unknown fit");
    refused(s, ops->rtn(s->b, &no_scales, big, big, &grid, 1, 4, 16), "rtn", "short scales");
    refused(s,
            ops->gptq(s->b, &q, big, big, span_slice(big, 0, 4), big, (struct span){},
                      (struct span){}, &grid, false, 1, 4, 16, big),
            "gptq", "a short u");
    refused(s,
            ops->gptq(s->b, &q, big, big, big, big, span_slice(big, 0, 4), (struct span){}, &grid,
                      false, 1, 4, 16, big),
            "gptq", "a short p");
    refused(
        s, ops->factor(s->b, span_slice(big, 0, 8), big, big, &damp, &info, &condition, 1, 16, big),
        "factor", "a short u");
    refused(s, ops->drift_correction(s->b, big, span_slice(big, 0, 8), big, big, 1, 1, 16, big),
            "drift_correction", "a short d");
    refused(s, ops->output_error(s->b, big, big, big, span_slice(big, 0, 8), big, 1, 4, 16, big),
            "output_error", "a short dq");
    refused(s, ops->dequantize(s->b, big, &no_scales, 1, 1, 4, 16), "dequantize", "short scales");
    refused(s, ops->pack(s->b, big, big, 5, 1, 4, 32), "pack", "5 bits");
    refused(s, ops->pack(s->b, big, big, 4, 1, 4, 33), "pack", "33 columns");
    refused(s, ops->unpack(s->b, span_slice(big, 0, 8), big, 4, 1, 4, 32), "unpack", "short codes");
}

static void refuse_refinement(struct sweep *s, struct span big) {
    static const float damp = 0.01f;
    const struct refinement good = {.q = {big, big, big, big},
                                    .dq = big,
                                    .w = big,
                                    .h = big,
                                    .perm = big,
                                    .square = big,
                                    .before = big,
                                    .after = big,
                                    .damp = &damp,
                                    .wbits = 4,
                                    .groupsize = 16,
                                    .sweeps = 1,
                                    .rounds = 1};
    struct refinement bad[] = {good, good, good, good, good, good};
    static const char *const what[] = {"5 bits",    "16 columns in groups of 12",
                                       "-1 sweeps", "a short before",
                                       "a short d", "no square"};

    bad[0].wbits = 5;
    bad[1].groupsize = 12;
    bad[2].sweeps = -1;
    bad[3].before = span_slice(big, 0, 4);
    bad[4].d = span_slice(big, 0, 8);
    bad[5].square = (struct span){};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        refused(s, s->ops->refine(s->b, &bad[i], 1, 4, 16, big), "refine", what[i]);
}

void sweep_refusals(struct sweep *s) {
    struct span big;

    sweep_begin(s);
    big = sweep_upload(s, sweep_host(s, 65536, 1), 65536);
    refuse_forward(s, big);
    refuse_quantization(s, big);
    refuse_refinement(s, big);
    sweep_end(s);
}
