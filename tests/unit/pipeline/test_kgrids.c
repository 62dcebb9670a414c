// SPDX-License-Identifier: Apache-2.0
/* Matrices on K grids through the neutral layout and back; what is no such grid is refused. */
#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/readers/neutral.h"
#include "daemon/pipeline/formats/format.h"
#include "kernels/backend.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 7
#define COLUMNS (2 * GRID_SUPER)
#define NAME "model.layers.0.self_attn.q_proj"

static const struct tensor *find(const void *ctx, const char *name) {
    const struct shard *shard = ctx;

    for (size_t i = 0; i < shard->n_tensors; i++) {
        if (str_equal(shard->tensors[i].name, name))
            return &shard->tensors[i];
    }
    return NULL;
}

static const struct quantization_config q2_k = {
    .present = true, .wbits = 2, .groupsize = 16, .sub_bits = 4};
static const struct quantization_config q3_k = {
    .present = true, .wbits = 3, .groupsize = 16, .sym = true, .sub_bits = 6};
static const struct quantization_config q4_k = {
    .present = true, .wbits = 4, .groupsize = 32, .sub_bits = 6};

static void make_layer(const struct quantization_config *q, struct layer_codes *layer) {
    int n_groups = COLUMNS / q->groupsize, limit = 1 << q->sub_bits;
    size_t n = (size_t)n_groups * ROWS, n_units = (size_t)COLUMNS / GRID_SUPER * ROWS;
    size_t words = (size_t)COLUMNS * q->wbits / 32 * ROWS;
    struct matrix_codes matrix = {.name = NAME, .sym = q->sym};
    struct quantized_matrix *m = &matrix.codes;
    uint32_t *codes = shard_block(&layer->plain, words * sizeof(*codes));

    *m = (struct quantized_matrix){.wbits = q->wbits,
                                   .rows = ROWS,
                                   .n = COLUMNS,
                                   .n_groups = n_groups,
                                   .words = codes,
                                   .scales = calloc(n, sizeof(uint16_t)),
                                   .zeros = calloc(n, 1),
                                   .g_idx = calloc(COLUMNS, sizeof(int32_t)),
                                   .d = calloc(n_units, sizeof(uint16_t)),
                                   .dmin = q->sym ? NULL : calloc(n_units, sizeof(uint16_t))};
    for (size_t i = 0; i < words; i++)
        codes[i] = (uint32_t)i * 2654435761u;
    for (int i = 0; i < (int)n; i++) {
        m->scales[i] = f32_to_f16((float)(i % limit - (q->sym ? limit / 2 : 0)));
        m->zeros[i] = (uint8_t)(q->sym ? 1 << (q->wbits - 1) : i * 3 % limit);
    }
    for (size_t i = 0; i < n_units; i++) {
        m->d[i] = (uint16_t)(i * 31 % 0x7c00);
        if (m->dmin)
            m->dmin[i] = (uint16_t)(i * 57 % 0x7c00);
    }
    for (int i = 0; i < COLUMNS; i++)
        m->g_idx[i] = i / q->groupsize;
    assert_int_equal(layer_codes_add(layer, &matrix), 0);
}

/* What the reader makes of the layer with @damage done to it; NULL: none. */
static int through(const struct quantization_config *q, void (*damage)(struct quantized_matrix *),
                   bool short_of_one) {
    struct failure failure = {};
    struct format_context context = {.q = q, .failure = &failure};
    struct layer_codes layer = {};
    struct shard shard = {};
    const struct tensor_finder tensors = {find, &shard};
    struct quantized_matrix made = {}, *m;
    size_t n, units = (size_t)COLUMNS / GRID_SUPER * ROWS * sizeof(uint16_t);
    int r;

    make_layer(q, &layer);
    m = &layer.matrices[0].codes;
    n = (size_t)m->n_groups * ROWS;
    if (damage)
        damage(m);
    assert_int_equal(format_neutral.add_layer(&context, &layer, &shard), 0);
    if (short_of_one)
        free((char *)shard.tensors[--shard.n_tensors].name);
    r = reader_neutral.read(&tensors, q, NAME, ROWS, COLUMNS, &made, &failure);
    if (r)
        assert_string_equal(failure.code, "model_invalid");
    if (!r) {
        assert_memory_equal(made.words, m->words, quantized_matrix_bytes(m));
        assert_memory_equal(made.scales, m->scales, n * sizeof(uint16_t));
        assert_memory_equal(made.zeros, m->zeros, n);
        assert_memory_equal(made.d, m->d, units);
        assert_true(!made.dmin == q->sym);
        if (made.dmin)
            assert_memory_equal(made.dmin, m->dmin, units);
        quantized_matrix_done(&made);
    }
    shard_done(&shard);
    layer_codes_done(&layer);
    return r;
}

static void test_ways(void **state) {
    (void)state;
    assert_int_equal(through(&q2_k, NULL, false), 0);
    assert_int_equal(through(&q3_k, NULL, false), 0);
    assert_int_equal(through(&q4_k, NULL, false), 0);
}

static void half_scale(struct quantized_matrix *m) {
    m->scales[3] = f32_to_f16(1.5f);
}

static void large_scale(struct quantized_matrix *m) {
    m->scales[3] = f32_to_f16(64);
}

static void small_scale(struct quantized_matrix *m) {
    m->scales[3] = f32_to_f16(-33);
}

static void large_min(struct quantized_matrix *m) {
    m->zeros[4] = 64;
}

static void infinite_unit(struct quantized_matrix *m) {
    m->d[1] = 0x7c00;
}

static void other_group(struct quantized_matrix *m) {
    m->g_idx[5] = 1;
}

static void test_damage(void **state) {
    void (*const damages[])(struct quantized_matrix *) = {half_scale, large_scale, small_scale,
                                                          infinite_unit, other_group};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        assert_int_equal(through(&q3_k, damages[i], false), -EBADMSG);
        assert_int_equal(through(&q4_k, damages[i], false), -EBADMSG);
    }
    assert_int_equal(through(&q4_k, large_min, false), -EBADMSG);
    assert_int_equal(through(&q3_k, NULL, true), -EBADMSG); /* no d */
    assert_int_equal(through(&q4_k, NULL, true), -EBADMSG); /* no dmin */
}

/* Groups are parts of super-blocks: kernels count the groups of one. */
static void test_wide_groups(void **state) {
    struct quantization_config wide = q4_k;
    struct failure failure = {};
    const struct expecting expecting = {.failure = &failure};

    (void)state;
    wide.groupsize = GRID_SUPER;
    assert_int_equal(through(&wide, NULL, false), 0);
    wide.groupsize = COLUMNS;
    assert_int_equal(through(&wide, NULL, false), -EBADMSG);
    wide.groupsize = 96;
    assert_int_equal(reader_neutral.check(&expecting, &wide, NAME, ROWS, 768), -EBADMSG);
    assert_string_equal(failure.code, "model_invalid");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_wide_groups),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
