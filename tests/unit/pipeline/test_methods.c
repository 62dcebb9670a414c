// SPDX-License-Identifier: Apache-2.0
/* The table of methods, and what each does with stacks that it cannot solve. On the cpu. */
#include "base/cleanup.h"
#include "base/macros.h"
#include "daemon/model/arch/arena.h"
#include "daemon/pipeline/methods/method.h"
#include "kernels/registry.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { G = 2, ROWS = 32, N = 32 };

static struct backend *backend;

/* A group of two stacks, and all that a method needs for it. */
struct fixture {
    struct problem problem;
    struct span all;
    struct gram gram;
    uint64_t tokens[G];
    struct outcome outcomes[G];
    float weights[G * ROWS * N], h[G * N * N], dq[G * ROWS * N];
};

static int open_backend(void **state) {
    struct failure failure;

    (void)state;
    return backend_open("cpu", &backend, &failure);
}

static int close_backend(void **state) {
    (void)state;
    backend->ops->close(backend);
    return 0;
}

static void layout(struct arena *arena, const struct method_ops *method, struct fixture *f) {
    struct problem *p = &f->problem;
    struct method_need need = {};

    method->need(p, &need);
    arena_take(arena, &p->weights, sizeof(float), G * ROWS, N);
    arena_take(arena, &p->dq, sizeof(float), G * ROWS, N);
    arena_take(arena, &p->q.codes, 1, G * ROWS, N);
    arena_take(arena, &p->q.scales, sizeof(uint16_t), G, ROWS);
    arena_take(arena, &p->q.zeros, 1, G, ROWS);
    arena_take(arena, &p->q.g_idx, sizeof(int32_t), G, N);
    arena_take(arena, &f->gram.h, sizeof(float), G * N, N);
    arena_take(arena, &p->memory.u, sizeof(float), 1, need.u);
    arena_take(arena, &p->memory.perm, sizeof(int32_t), 1, need.perm);
    arena_take(arena, &p->memory.scratch, 1, 1, need.scratch);
    arena_take(arena, &p->memory.before, sizeof(float), 1, need.before);
    arena_take(arena, &p->memory.after, sizeof(float), 1, need.after);
}

/*
 * Weights of some size and identities for Hessians; the caller may change them, then solves.
 * @refine: sweeps.
 */
static void setup_refined(struct fixture *f, const struct method_ops *method, int refine) {
    struct arena arena = {};

    *f = (struct fixture){.tokens = {100, 100}, .gram = {.least_tokens = 10}};
    f->problem = (struct problem){
        .b = backend,
        .shape = {.G = G, .rows = ROWS, .n = N},
        .grid = {.wbits = 3, .groupsize = N, .fit = GRID_MINMAX},
        .n_groups = 1,
        .options = {.percdamp = 0.01, .refine = refine},
        .gram = method->needs_hessians ? &f->gram : NULL,
        .outcomes = f->outcomes,
    };
    f->gram.tokens = f->tokens;
    layout(&arena, method, f);
    assert_int_equal(arena_alloc(backend, &arena, &f->all), 0);
    layout(&arena, method, f);
    for (int i = 0; i < G * ROWS * N; i++)
        f->weights[i] = sinf((float)(i * i % 1009));
    for (int g = 0; g < G; g++)
        for (int i = 0; i < N; i++)
            f->h[(g * N + i) * N + i] = 1;
}

static void setup(struct fixture *f, const struct method_ops *method) {
    setup_refined(f, method, 0);
}

static void solve(struct fixture *f, const struct method_ops *method) {
    assert_int_equal(backend->ops->upload(backend, f->problem.weights, f->weights), 0);
    assert_int_equal(backend->ops->upload(backend, f->gram.h, f->h), 0);
    assert_int_equal(method->solve(&f->problem), 0);
    assert_int_equal(backend->ops->download(backend, f->dq, f->problem.dq), 0);
}

static void done(struct fixture *f) {
    backend->ops->free(backend, &f->all);
}

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < n_methods; i++) {
        size_t end = strlen(methods[i]->title);

        assert_true(end && methods[i]->title[end - 1] != '.');
        assert_true(methods[i]->solve_units > 0);
        assert_ptr_equal(method_find(methods[i]->name), methods[i]);
    }
    assert_null(method_find(NULL));
    assert_null(method_find(""));
    assert_null(method_find("GPTQ"));
}

/* Every weight is as near as the grid allows; nothing is to be explained. */
static void test_rtn(void **state) {
    struct fixture f;
    struct notice notice = {};

    (void)state;
    setup(&f, &method_rtn);
    solve(&f, &method_rtn);
    for (int g = 0; g < G; g++) {
        assert_ptr_equal(f.outcomes[g].method, &method_rtn);
        assert_null(f.outcomes[g].reason);
        assert_true(f.outcomes[g].damping == 0);
        assert_false(method_rtn.explain(&f.problem, g, &notice));
    }
    for (int i = 0; i < G * ROWS * N; i++) /* of 2 / 7 a step */
        assert_true(fabsf(f.weights[i] - f.dq[i]) <= 0.15f);
    done(&f);
}

/* A stack with too few tokens gets what rtn gives, and says why; the other one stays GPTQ's. */
static void test_few_tokens(void **state) {
    struct fixture f, rounded;
    struct notice notice = {};

    (void)state;
    setup(&rounded, &method_rtn);
    solve(&rounded, &method_rtn);
    setup(&f, &method_gptq);
    f.tokens[1] = 9;
    solve(&f, &method_gptq);
    assert_ptr_equal(f.outcomes[0].method, &method_gptq);
    assert_true(f.outcomes[0].damping == 0.01f);
    assert_null(f.outcomes[0].reason);
    assert_false(method_gptq.explain(&f.problem, 0, &notice));
    assert_ptr_equal(f.outcomes[1].method, &method_rtn);
    assert_true(f.outcomes[1].damping == 0);
    assert_true(method_gptq.explain(&f.problem, 1, &notice));
    assert_string_equal(notice.code, "fell_back_to_rtn");
    assert_string_equal(notice.text,
                        "is rounded to nearest: too few calibration tokens reached this expert");
    assert_memory_equal(f.dq + ROWS * N, rounded.dq + ROWS * N, ROWS * N * sizeof(float));
    done(&f);
    done(&rounded);
}

/* Beside others that have Hessians, by a rule, grid hessian is mse's. */
static void test_rtn_hessian(void **state) {
    struct fixture a, b;

    (void)state;
    setup(&a, &method_rtn);
    a.problem.grid.fit = GRID_MSE;
    solve(&a, &method_rtn);
    setup(&b, &method_rtn);
    b.problem.grid.fit = GRID_HESSIAN;
    solve(&b, &method_rtn);
    assert_memory_equal(a.dq, b.dq, sizeof(a.dq));
    done(&a);
    done(&b);
}

/* With grid hessian such a stack has the grid of mse, which needs no Hessian. */
static void test_few_tokens_hessian(void **state) {
    struct fixture f, rounded;

    (void)state;
    setup(&rounded, &method_rtn);
    rounded.problem.grid.fit = GRID_MSE;
    solve(&rounded, &method_rtn);
    setup(&f, &method_gptq);
    f.problem.grid.fit = GRID_HESSIAN;
    f.tokens[1] = 9;
    solve(&f, &method_gptq);
    assert_ptr_equal(f.outcomes[0].method, &method_gptq);
    assert_ptr_equal(f.outcomes[1].method, &method_rtn);
    assert_memory_equal(f.dq + ROWS * N, rounded.dq + ROWS * N, ROWS * N * sizeof(float));
    done(&f);
    done(&rounded);
}

/* One Hessian has an eigenvalue of -0.05, which the tenfold damping heals; one heals never. */
static void test_damping(void **state) {
    struct fixture f;
    struct notice notice = {};

    (void)state;
    setup(&f, &method_gptq);
    f.h[N] = 1.05f; /* row 1, column 0 */
    f.h[N * N + N] = NAN;
    solve(&f, &method_gptq);
    assert_ptr_equal(f.outcomes[0].method, &method_gptq);
    assert_true(fabsf(f.outcomes[0].damping - 0.1f) < 1e-6f);
    assert_true(method_gptq.explain(&f.problem, 0, &notice));
    assert_string_equal(notice.code, "damping_raised");
    assert_string_equal(notice.text, "needed the damping raised to 0.1");
    assert_ptr_equal(f.outcomes[1].method, &method_rtn);
    assert_true(method_gptq.explain(&f.problem, 1, &notice));
    assert_string_equal(notice.code, "fell_back_to_rtn");
    assert_string_equal(notice.text, "is rounded to nearest: the factorization failed at every "
                                     "damping up to 1");
    for (int i = 0; i < G * ROWS * N; i++)
        assert_true(isfinite(f.dq[i]));
    done(&f);
}

/* Sums of the objectives of stack @g. */
static void objectives(const struct fixture *f, int g, double *ret_before, double *ret_after) {
    float rows[2][G * ROWS];

    assert_int_equal(backend->ops->download(backend, rows[0], f->problem.memory.before), 0);
    assert_int_equal(backend->ops->download(backend, rows[1], f->problem.memory.after), 0);
    *ret_before = *ret_after = 0;
    for (int r = g * ROWS; r < (g + 1) * ROWS; r++) {
        assert_true(rows[1][r] <= rows[0][r]);
        *ret_before += (double)rows[0][r];
        *ret_after += (double)rows[1][r];
    }
}

/* Refinement gains where inputs go together; a stack that was rounded to nearest stays as it is. */
static void test_refine(void **state) {
    struct fixture f, rounded;
    double before, after;

    (void)state;
    setup(&rounded, &method_rtn);
    solve(&rounded, &method_rtn);
    setup_refined(&f, &method_gptq, 3);
    f.tokens[1] = 9;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < i; j++)
            f.h[i * N + j] = 0.9f;
    solve(&f, &method_gptq);
    assert_true(f.outcomes[0].refined);
    assert_false(f.outcomes[1].refined);
    objectives(&f, 0, &before, &after);
    assert_true(after < 0.99 * before);
    assert_memory_equal(f.dq + ROWS * N, rounded.dq + ROWS * N, ROWS * N * sizeof(float));
    done(&f);
    done(&rounded);
}

/*
 * A Pascal matrix: whole numbers that float32 holds, determinant 1, a condition of some 1e13.
 * Float64 factors it, so that no damping is added to it.
 */
static void test_float64(void **state) {
    enum { PASCAL = 12 };
    struct notice notice = {};
    struct fixture f;

    (void)state;
    setup(&f, &method_gptq);
    f.problem.options.percdamp = 1e-18;
    for (int i = 0; i < PASCAL; i++)
        for (int j = 0; j <= i; j++)
            f.h[i * N + j] =
                j == 0 ? 1 : f.h[MAX(i - 1, j) * N + MIN(i - 1, j)] + f.h[i * N + j - 1];
    solve(&f, &method_gptq);
    assert_ptr_equal(f.outcomes[0].method, &method_gptq);
    assert_true(f.outcomes[0].condition > 1e6f);
    assert_true(f.outcomes[0].damping == 1e-18f);
    assert_false(method_gptq.explain(&f.problem, 0, &notice));
    assert_true(f.outcomes[1].condition == 0); /* an identity: float32 does */
    done(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),       cmocka_unit_test(test_rtn),
        cmocka_unit_test(test_few_tokens),  cmocka_unit_test(test_few_tokens_hessian),
        cmocka_unit_test(test_rtn_hessian), cmocka_unit_test(test_damping),
        cmocka_unit_test(test_refine),      cmocka_unit_test(test_float64),
    };

    return cmocka_run_group_tests(tests, open_backend, close_backend);
}
