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

/* A layer of one matrix with every value that the bits allow. */
static void make_layer(int wbits, struct layer_codes *layer) {
    size_t n = (size_t)N_GROUPS_OF_ROW * ROWS, words = (size_t)COLUMNS * wbits / 32 * ROWS;
    struct matrix_codes matrix = {.name = NAME};
    struct quantized_matrix *m = &matrix.codes;
    uint32_t *codes = shard_block(&layer->plain, words * sizeof(*codes));

    *m = (struct quantized_matrix){.wbits = wbits,
                                   .rows = ROWS,
                                   .n = COLUMNS,
                                   .n_groups = N_GROUPS_OF_ROW,
                                   .words = codes,
                                   .scales = calloc(n, sizeof(uint16_t)),
                                   .zeros = calloc(n, 1),
                                   .g_idx = calloc(COLUMNS, sizeof(int32_t))};
    for (size_t i = 0; i < words; i++)
        codes[i] = (uint32_t)i * 2654435761u;
    for (size_t i = 0; i < n; i++) {
        m->scales[i] = (uint16_t)(i * 31 % 0x7c00);
        m->zeros[i] = (uint8_t)(i % (1u << wbits));
    }
    for (int i = 0; i < COLUMNS; i++)
        m->g_idx[i] = i * 7 % N_GROUPS_OF_ROW;
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

static void check_way(const struct format_ops *format, int wbits) {
    struct quantization_config q = {.present = true,
                                    .reader = format->reader,
                                    .wbits = wbits,
                                    .groupsize = GROUPSIZE,
                                    .desc_act = true,
                                    .v2 = true};
    struct failure failure = {};
    struct format_context context = {.q = &q, .failure = &failure};
    struct layer_codes layer = {};
    struct quantized_matrix made = {}, *m;
    struct shard shard = {};
    size_t n = (size_t)N_GROUPS_OF_ROW * ROWS;

    print_message("%s, %d bits\n", format->name, wbits);
    make_layer(wbits, &layer);
    m = &layer.matrices[0].codes;
    assert_int_equal(format->add_layer(&context, &layer, &shard), 0);
    assert_int_equal(read_back(format, &q, &shard, &made), 0);
    assert_int_equal(made.wbits, wbits);
    assert_int_equal(made.n_groups, N_GROUPS_OF_ROW);
    assert_memory_equal(made.words, m->words, quantized_matrix_bytes(m));
    assert_memory_equal(made.scales, m->scales, n * sizeof(uint16_t));
    assert_memory_equal(made.zeros, m->zeros, n);
    assert_memory_equal(made.g_idx, m->g_idx, COLUMNS * sizeof(int32_t));
    quantized_matrix_done(&made);
    shard_done(&shard);
    layer_codes_done(&layer);
}

static void test_ways(void **state) {
    static const int bits[] = {2, 3, 4, 8};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
        check_way(&format_neutral, bits[i]);
        for (int j = 0; j < n_formats; j++) {
            if (formats[j]->reader)
                check_way(formats[j], bits[i]);
        }
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

static void damage_number(struct layer_codes *layer, struct shard *shard) {
    (void)layer;
    free((char *)shard->tensors[--shard->n_tensors].name);
}

static void test_damage(void **state) {
    static void (*const damages[])(struct layer_codes *, struct shard *) = {
        damage_scale, damage_zero, damage_order, damage_sign,
        damage_shape, damage_type, damage_rank,  damage_number};
    struct quantization_config q = {
        .present = true, .reader = format_neutral.reader, .wbits = 4, .groupsize = GROUPSIZE};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        struct failure failure = {};
        struct format_context context = {.q = &q, .failure = &failure};
        struct layer_codes layer = {};
        struct quantized_matrix made = {};
        struct shard shard = {};

        print_message("damage %zu\n", i);
        make_layer(4, &layer);
        assert_int_equal(format_neutral.add_layer(&context, &layer, &shard), 0);
        damages[i](&layer, &shard);
        assert_int_equal(read_back(&format_neutral, &q, &shard, &made), -EBADMSG);
        assert_null(made.scales);
        shard_done(&shard);
        layer_codes_done(&layer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways),
        cmocka_unit_test(test_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
