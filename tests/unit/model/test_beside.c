// SPDX-License-Identifier: Apache-2.0
/*
 * Two models that go through a layer side by side: each has the inputs that it has alone, but the
 * second one's tokens go to the experts that the first one chooses. And a layer in parts.
 */
#include "tests/unit/model/forward.h"
#include "tests/unit/shared.h"

#define TOLERANCE 1e-5 /* absolute: an expert's rows come in products of other heights */

/* The inputs of every group in a pass, on the host, and the token of each slot. */
struct inputs {
    struct backend *b;
    const struct group_shape *shapes;
    float *x[N_GROUPS], *x0[N_GROUPS]; /* [rows, n]; x0: NULL without an original */
    int32_t *offsets, *order;          /* [E + 1], [T * k] */
    const struct forward_work *work;
};

static float *read_rows(struct inputs *in, struct span x, size_t size) {
    float *values = malloc(size);

    assert_non_null(values);
    assert_int_equal(in->b->ops->download(in->b, values, span_slice(x, 0, size)), 0);
    return values;
}

static int take(void *ctx, enum group group, struct span x, struct span x0,
                const int32_t *offsets) {
    struct inputs *in = ctx;
    const struct group_shape *shape = &in->shapes[group];
    size_t rows = (size_t)offsets[shape->G], size = rows * shape->n * sizeof(float);

    in->x[group] = read_rows(in, x, size);
    in->x0[group] = x0.size > 0 ? read_rows(in, x0, size) : NULL;
    if (group != GROUP_GATE_UP)
        return 0;
    in->offsets = malloc((shape->G + 1) * sizeof(int32_t));
    in->order = malloc(rows * sizeof(int32_t));
    assert_non_null(in->offsets);
    assert_non_null(in->order);
    memcpy(in->offsets, offsets, (shape->G + 1) * sizeof(int32_t));
    return in->b->ops->download(in->b, in->order,
                                span_slice(in->work->order, 0, rows * sizeof(int32_t)));
}

static void inputs_done(struct inputs *in) {
    for (int i = 0; i < N_GROUPS; i++) {
        free(in->x[i]);
        free(in->x0[i]);
    }
    free(in->offsets);
    free(in->order);
}

/* Embeds the token @ids[(t + shift) % T] at t. */
static void embed(struct forward *f, struct span x, int shift) {
    cleanup(freep) int32_t *ids = calloc(f->T, sizeof(*ids));
    struct failure failure = {};

    assert_non_null(ids);
    for (int t = 0; t < f->T; t++)
        ids[t] = f->host[(t + shift) % f->T];
    forward_ok(f->ops->upload(f->b, f->ids, ids));
    forward_ok(f->ops->embed(f->b, x, f->ends.embedding, f->ids, f->T, f->d,
                             f->checkpoint->config.vocab_size));
}

/* A slot of @in with @token at @expert; -1: it went elsewhere. @expert -1: any. */
static int slot_of(const struct inputs *in, int n_experts, int32_t token, int expert) {
    int first = expert < 0 ? 0 : in->offsets[expert];
    int end = in->offsets[expert < 0 ? n_experts : expert + 1];

    for (int s = first; s < end; s++) {
        if (in->order[s] == token)
            return s;
    }
    return -1;
}

static int compare_row(const float *a, const float *b, int n) {
    for (int i = 0; i < n; i++) {
        if (!(fabsf(a[i] - b[i]) <= TOLERANCE))
            fail_msg("%g at %d, not %g", (double)a[i], i, (double)b[i]);
    }
    return 1;
}

/* What experts read, slot by slot: both of @pair are of the token that @alone has elsewhere. */
static void compare_experts(const struct inputs *pair, const struct inputs *alone, int E) {
    int n = pair->shapes[GROUP_GATE_UP].n, middle = pair->shapes[GROUP_DOWN].n, compared = 0;

    for (int e = 0; e < E; e++) {
        for (int s = pair->offsets[e]; s < pair->offsets[e + 1]; s++) {
            int any = slot_of(alone, E, pair->order[s], -1);
            int same = slot_of(alone, E, pair->order[s], e);

            assert_true(any >= 0);
            compare_row(pair->x0[GROUP_GATE_UP] + (size_t)s * n,
                        alone->x[GROUP_GATE_UP] + (size_t)any * n, n);
            if (same >= 0)
                compared += compare_row(pair->x0[GROUP_DOWN] + (size_t)s * middle,
                                        alone->x[GROUP_DOWN] + (size_t)same * middle, middle);
        }
    }
    assert_true(compared > 0);
}

static void compare_all(const struct inputs *pair, const struct inputs *first,
                        const struct inputs *second, int T, int E) {
    for (int i = 0; i < N_GROUPS; i++) {
        bool experts = i == GROUP_GATE_UP || i == GROUP_DOWN;
        size_t rows = experts ? (size_t)pair->offsets[E] : (size_t)T;

        /* the first one goes as if it were alone */
        assert_memory_equal(pair->x[i], first->x[i], rows * pair->shapes[i].n * sizeof(float));
        if (!experts)
            assert_memory_equal(pair->x0[i], second->x[i],
                                rows * pair->shapes[i].n * sizeof(float));
    }
    compare_experts(pair, second, E);
}

static void look(struct forward *f, const struct layer_weights *layer, struct forward_work *work,
                 struct span x, const struct forward_side *original, struct inputs *in) {
    const struct forward_tap tap = {take, in, GROUP_DOWN, original};
    struct failure failure = {};

    in->b = f->b;
    in->work = work;
    forward_ok(layer_forward(f->b, &f->checkpoint->config, layer, work, x, 1, f->T, &tap));
}

static int take_nothing(void *ctx, enum group group, struct span x, struct span x0,
                        const int32_t *offsets) {
    (void)x;
    (void)x0;
    (void)offsets;
    *(unsigned *)ctx |= 1u << group;
    return 0;
}

/* A layer that is left before @last, and gone on with from @from, is the whole layer. */
static void check_parts(struct forward *f, enum group last, enum step from) {
    const struct model_config *c = &f->checkpoint->config;
    unsigned taken = 0;
    const struct forward_tap tap = {take_nothing, &taken, last, NULL};
    cleanup(freep) char *whole = malloc(f->x.size), *parts = malloc(f->x.size);
    struct failure failure = {};

    assert_non_null(whole);
    assert_non_null(parts);
    embed(f, f->x, 0);
    forward_ok(layer_forward(f->b, c, &f->layer, &f->work, f->x, 1, f->T, NULL));
    forward_ok(f->ops->download(f->b, whole, f->x));
    embed(f, f->x, 0);
    forward_ok(layer_forward(f->b, c, &f->layer, &f->work, f->x, 1, f->T, &tap));
    assert_int_equal(taken, (2u << last) - 1);
    forward_ok(layer_steps(f->b, c, &f->layer, &f->work, f->x, 1, f->T, from, NULL));
    forward_ok(f->ops->download(f->b, parts, f->x));
    assert_memory_equal(whole, parts, f->x.size);
}

static void test_beside(void **state) {
    cleanup(freep) char *dir = source_path("tests/data/geometry/norm-topk");
    cleanup(freep) char *path = str_format("%s/expected.json", dir);
    cleanup(json_decrefp) json_t *expected = NULL;
    struct group_shape shapes[N_GROUPS];
    struct inputs pair = {.shapes = shapes}, first = pair, second = pair;
    struct forward opened, *f = &opened;
    struct forward_work other_work;
    struct layer_weights other = {};
    struct span x0 = {}, memory = {};
    struct failure failure = {};
    const struct model_config *c;

    (void)state;
    assert_int_equal(json_parse_file(path, 1 << 20, "reference", &expected, &failure), 0);
    forward_open(f, dir, expected);
    forward_alloc(f);
    c = &f->checkpoint->config;
    for (int i = 0; i < N_GROUPS; i++)
        group_shape(c, i, &shapes[i]);
    forward_ok(f->ops->alloc(f->b, f->x.size, &x0));
    forward_ok(f->ops->alloc(f->b, f->memory.size, &memory));
    forward_ok(forward_work_init(c, sizeof(float), f->T, memory, &other_work));
    forward_ok(layer_weights_alloc(f->b, c, &other));
    forward_ok(layer_weights_load(f->b, &f->source, 0, &f->layer, &f->codes, &failure));
    forward_ok(layer_weights_load(f->b, &f->source, 1, &other, &f->codes, &failure));

    embed(f, f->x, 0);
    look(f, &f->layer, &f->work, f->x, NULL, &first);
    embed(f, x0, 1);
    look(f, &other, &other_work, x0, NULL, &second);
    embed(f, f->x, 0);
    embed(f, x0, 1);
    look(f, &f->layer, &f->work, f->x, &(struct forward_side){&other, &other_work, x0}, &pair);
    assert_null(first.x0[0]);
    assert_null(other_work.routing);
    check_parts(f, GROUP_QKV, STEP_QKV);
    check_parts(f, GROUP_O, STEP_QKV);
    check_parts(f, GROUP_O, STEP_ATTENDED);
    check_parts(f, GROUP_GATE_UP, STEP_GATE_UP);
    check_parts(f, GROUP_DOWN, STEP_GATE_UP);
    check_parts(f, GROUP_DOWN, STEP_END);
    compare_all(&pair, &first, &second, f->T, c->num_experts);

    inputs_done(&pair);
    inputs_done(&first);
    inputs_done(&second);
    free(f->host);
    forward_work_done(&f->work);
    forward_work_done(&other_work);
    checkpoint_free(f->checkpoint);
    f->ops->close(f->b); /* frees every span */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_beside)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
