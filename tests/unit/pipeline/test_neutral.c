// SPDX-License-Identifier: Apache-2.0
/* A matrix through the tensors of each lossless format and back; and damage that is refused. */
#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/readers/readers.h"
#include "daemon/pipeline/formats/format.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 32
#define COLUMNS 96
#define GROUPSIZE 32
#define N_GROUPS_OF_ROW (COLUMNS / GROUPSIZE)
#define NAME "model.layers.0.self_attn.q_proj"

static const struct tensor *find(const void *ctx, const char *name) {
    const struct shard *shard = ctx;

    for (size_t i = 0; i < shard->n_tensors; i++) {
        if (str_equal(shard->tensors[i].name, name))
            return &shard->tensors[i];
    }
    return NULL;
}

/* A layer of one matrix with every value that the bits, and the grids of @q, allow; in order unless
 * q->desc_act. */
static void make_layer(const struct quantization_config *q, struct layer_codes *layer) {
    int wbits = q->wbits, groupsize = q->groupsize > 0 ? q->groupsize : COLUMNS;
    int n_groups = COLUMNS / groupsize;
    size_t n = (size_t)n_groups * ROWS, words = (size_t)COLUMNS * wbits / 32 * ROWS;
    struct matrix_codes matrix = {.name = NAME, .sym = q->sym};
    struct quantized_matrix *m = &matrix.codes;
    uint32_t *codes = shard_block(&layer->plain, words * sizeof(*codes));

    *m = (struct quantized_matrix){.wbits = wbits,
                                   .rows = ROWS,
                                   .n = COLUMNS,
                                   .n_groups = n_groups,
                                   .words = codes,
                                   .scales = calloc(n, sizeof(uint16_t)),
                                   .zeros = calloc(n, 1),
                                   .g_idx = calloc(COLUMNS, sizeof(int32_t))};
    for (size_t i = 0; i < words; i++)
        codes[i] = (uint32_t)i * 2654435761u;
    for (size_t i = 0; i < n; i++) {
        m->scales[i] = (uint16_t)(i * 31 % 0x7c00);
        m->zeros[i] = (uint8_t)(q->sym ? 1u << (wbits - 1) : i % (1u << wbits));
    }
    for (int i = 0; i < COLUMNS; i++)
        m->g_idx[i] = q->desc_act ? i * 7 % n_groups : i / groupsize;
    assert_int_equal(layer_codes_add(layer, &matrix), 0);
}

static int read_back(const struct format_ops *format, const struct quantization_config *q,
                     const struct shard *shard, struct quantized_matrix *ret_matrix) {
    const struct tensor_finder tensors = {find, shard};
    struct failure failure = {};
    int r = format->reader->read(&tensors, q, NAME, ROWS, COLUMNS, ret_matrix, &failure);

    if (r)
        assert_string_equal(failure.code, "model_invalid");
    return r;
}

static void check_way(const struct format_ops *format, struct quantization_config q) {
    struct failure failure = {};
    struct format_context context = {.q = &q, .failure = &failure};
    struct layer_codes layer = {};
    struct quantized_matrix made = {}, *m;
    struct shard shard = {};
    size_t n;

    q.reader = format->reader;
    print_message("%s, %d bits, groups of %d%s\n", format->name, q.wbits, q.groupsize,
                  q.sym ? ", symmetric" : "");
    make_layer(&q, &layer);
    m = &layer.matrices[0].codes;
    n = (size_t)m->n_groups * ROWS;
    assert_int_equal(format->add_layer(&context, &layer, &shard), 0);
    assert_int_equal(read_back(format, &q, &shard, &made), 0);
    assert_int_equal(made.wbits, q.wbits);
    assert_int_equal(made.n_groups, m->n_groups);
    assert_memory_equal(made.words, m->words, quantized_matrix_bytes(m));
    assert_memory_equal(made.scales, m->scales, n * sizeof(uint16_t));
    assert_memory_equal(made.zeros, m->zeros, n);
    assert_memory_equal(made.g_idx, m->g_idx, COLUMNS * sizeof(int32_t));
    quantized_matrix_done(&made);
    shard_done(&shard);
    layer_codes_done(&layer);
}

/* Bits, groups and grids that @format holds. */
static void check_ways(const struct format_ops *format) {
    static const int bits[] = {2, 3, 4, 8}, groupsizes[] = {8, GROUPSIZE, 48, -1};

    for (size_t i = 0; i < ARRAY_SIZE(bits) * ARRAY_SIZE(groupsizes) * 2; i++) {
        struct quantization_config q = {.present = true,
                                        .wbits = bits[i / 2 % ARRAY_SIZE(bits)],
                                        .groupsize = groupsizes[i / 2 / ARRAY_SIZE(bits)],
                                        .sym = i % 2,
                                        .v2 = !(i % 2)};

        check_way(format, q);
        q.desc_act = q.groupsize > 0 && format->holds.unordered;
        if (q.desc_act)
            check_way(format, q);
    }
}

static void test_ways(void **state) {
    (void)state;
    check_ways(&format_neutral);
    for (int j = 0; j < n_formats; j++) {
        if (formats[j]->reader)
            check_ways(formats[j]);
    }
}

/* One thing wrong with the neutral tensors of a matrix. */
static void damage_scale(struct layer_codes *layer, struct shard *shard) {
    (void)shard;
    layer->matrices[0].codes.scales[5] = 0x7c00; /* infinity */
}

static void damage_zero(struct layer_codes *layer, struct shard *shard) {
    (void)shard;
    layer->matrices[0].codes.zeros[5] = 16;
}

static void damage_order(struct layer_codes *layer, struct shard *shard) {
    (void)shard;
    layer->matrices[0].codes.g_idx[5] = N_GROUPS_OF_ROW;
}

static void damage_sign(struct layer_codes *layer, struct shard *shard) {
    (void)shard;
    layer->matrices[0].codes.g_idx[5] = -1;
}

static void damage_shape(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    shard->tensors[1].shape[0]--;
}

static void damage_type(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    shard->tensors[2].dtype = DTYPE_I8;
}

static void damage_rank(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    shard->tensors[3].n_dims = 2;
}

static void damage_missing(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    free((char *)shard->tensors[--shard->n_tensors].name);
}

/* Is each of @damages to what @format makes of a layer refused? */
static void check_damages(const struct format_ops *format, bool unordered,
                          void (*const *damages)(struct layer_codes *, struct shard *), size_t n) {
    struct quantization_config q = {.present = true,
                                    .reader = format->reader,
                                    .wbits = 4,
                                    .groupsize = GROUPSIZE,
                                    .desc_act = unordered};

    for (size_t i = 0; i < n; i++) {
        struct failure failure = {};
        struct format_context context = {.q = &q, .failure = &failure};
        struct layer_codes layer = {};
        struct quantized_matrix made = {};
        struct shard shard = {};

        print_message("%s, damage %zu\n", format->name, i);
        make_layer(&q, &layer);
        assert_int_equal(format->add_layer(&context, &layer, &shard), 0);
        damages[i](&layer, &shard);
        assert_int_equal(read_back(format, &q, &shard, &made), -EBADMSG);
        assert_null(made.scales);
        shard_done(&shard);
        layer_codes_done(&layer);
    }
}

static void test_damage(void **state) {
    static void (*const damages[])(struct layer_codes *, struct shard *) = {
        damage_scale, damage_zero, damage_order, damage_sign,
        damage_shape, damage_type, damage_rank,  damage_missing};

    (void)state;
    check_damages(&format_neutral, true, damages, ARRAY_SIZE(damages));
}

/* ---- compressed-tensors: weight_packed, weight_scale, weight_shape, weight_zero_point ---- */

static void damage_codes_type(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    shard->tensors[0].dtype = DTYPE_I16;
}

static void damage_codes_turned(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    shard->tensors[0].shape[0] = COLUMNS * 4 / 32;
    shard->tensors[0].shape[1] = ROWS;
}

static void damage_infinite(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    ((uint16_t *)shard->tensors[1].data)[ROWS * N_GROUPS_OF_ROW - 1] = 0x7c00;
}

static void damage_scale_type(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    shard->tensors[1].dtype = DTYPE_I16;
}

static void damage_said_rows(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    ((int64_t *)shard->tensors[2].data)[0] = COLUMNS;
}

static void damage_said_columns(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    ((int64_t *)shard->tensors[2].data)[1] |= (int64_t)1 << 32;
}

static void damage_shape_size(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    shard->tensors[2].shape[0] = 1;
}

static void damage_zeros_shape(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    shard->tensors[3].shape[0] = ROWS;
}

static void test_compressed_tensors(void **state) {
    static void (*const damages[])(struct layer_codes *, struct shard *) = {
        damage_codes_type, damage_codes_turned, damage_infinite,
        damage_scale_type, damage_said_rows,    damage_said_columns,
        damage_shape_size, damage_zeros_shape,  damage_missing,
    };

    (void)state;
    check_damages(&format_compressed_tensors, false, damages, ARRAY_SIZE(damages));
}

/* An order that others wrote is read; one that is out of range, or missing, is refused. */
static void test_order_of_others(void **state) {
    struct quantization_config q = {.present = true,
                                    .reader = format_compressed_tensors.reader,
                                    .wbits = 4,
                                    .groupsize = GROUPSIZE};
    struct failure failure = {};
    struct format_context context = {.q = &q, .failure = &failure};
    struct layer_codes layer = {};
    struct quantized_matrix made = {};
    struct shard shard = {};
    int32_t order[COLUMNS];

    (void)state;
    make_layer(&q, &layer);
    assert_int_equal(format_compressed_tensors.add_layer(&context, &layer, &shard), 0);
    q.desc_act = true;
    assert_int_equal(read_back(&format_compressed_tensors, &q, &shard, &made), -EBADMSG);
    for (int i = 0; i < COLUMNS; i++)
        order[i] = (COLUMNS - 1 - i) / GROUPSIZE;
    assert_int_equal(shard_add(&shard, NAME ".weight_g_idx", DTYPE_I32, COLUMNS, 0, order), 0);
    assert_int_equal(read_back(&format_compressed_tensors, &q, &shard, &made), 0);
    assert_memory_equal(made.g_idx, order, sizeof(order));
    quantized_matrix_done(&made);
    order[7] = N_GROUPS_OF_ROW;
    assert_int_equal(read_back(&format_compressed_tensors, &q, &shard, &made), -EBADMSG);
    order[7] = -1;
    assert_int_equal(read_back(&format_compressed_tensors, &q, &shard, &made), -EBADMSG);
    shard_done(&shard);
    layer_codes_done(&layer);
}

/* Zeros that no tensor would say are not left out silently. */
static void test_not_symmetric(void **state) {
    struct quantization_config q = {.present = true, .wbits = 4, .groupsize = -1, .sym = true};
    struct failure failure = {};
    struct format_context context = {.q = &q, .failure = &failure};
    struct layer_codes layer = {};
    struct shard shard = {};

    (void)state;
    make_layer(&q, &layer);
    layer.matrices[0].codes.zeros[ROWS - 1] = 7;
    assert_int_equal(format_compressed_tensors.add_layer(&context, &layer, &shard), -EBADMSG);
    assert_non_null(strstr(failure.detail, NAME));
    shard_done(&shard);
    layer_codes_done(&layer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_compressed_tensors),
        cmocka_unit_test(test_order_of_others),
        cmocka_unit_test(test_not_symmetric),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
