// SPDX-License-Identifier: Apache-2.0
/* The blocks of ggml, read by decoders of the test's own; and the file, byte by byte. */
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/model/arch/config_read.h"
#include "daemon/model/arch/olmoe.h"
#include "daemon/model/readers/gguf_types.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/formats/gguf/blocks.h"
#include "daemon/pipeline/formats/gguf/layout.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ROWS 19 /* more than are unpacked at once, and odd */
#define COLUMNS 512

/* ---- decoders: dequantize_row_*() of ggml-quants.c, element by element ---- */

static float f16_at(const unsigned char *at) {
    return f16_to_f32((uint16_t)(at[0] | at[1] << 8));
}

static float q4_0(const unsigned char *b, int i) {
    return f16_at(b) * (float)((i < 16 ? b[2 + i] & 15 : b[2 + i - 16] >> 4) - 8);
}

static float q5_0(const unsigned char *b, int i) {
    uint32_t high = b[2] | b[3] << 8 | b[4] << 16 | (uint32_t)b[5] << 24;
    int low = i < 16 ? b[6 + i] & 15 : b[6 + i - 16] >> 4;

    return f16_at(b) * (float)((low | (int)(high >> i & 1) << 4) - 16);
}

static float q8_0(const unsigned char *b, int i) {
    return f16_at(b) * (float)(int8_t)b[2 + i];
}

static float q2_0(const unsigned char *b, int i) {
    return f16_at(b) * (float)((b[2 + i / 4] >> 2 * (i % 4) & 3) - 1);
}

static float q2_k(const unsigned char *b, int i) {
    int half = i / 128, q = b[16 + 32 * half + i % 32] >> 2 * (i % 128 / 32) & 3;

    return f16_at(b + 80) * (float)(b[i / 16] & 15) * (float)q -
           f16_at(b + 82) * (float)(b[i / 16] >> 4);
}

static float q3_k(const unsigned char *b, int i) {
    int q = b[32 + 32 * (i / 128) + i % 32] >> 2 * (i % 128 / 32) & 3, s = i / 16;
    int low = s < 8 ? b[96 + s] & 15 : b[96 + s - 8] >> 4;
    int scale = (low | (b[104 + s % 4] >> 2 * (s / 4) & 3) << 4) - 32;

    return f16_at(b + 108) * (float)scale * (float)(q - (b[i % 32] >> i / 32 & 1 ? 0 : 4));
}

static float q4_k(const unsigned char *b, int i) {
    const unsigned char *s = b + 4;
    int j = i / 32, pair = b[16 + 32 * (i / 64) + i % 32], q = j % 2 ? pair >> 4 : pair & 15;
    int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
    int least = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;

    return f16_at(b) * (float)scale * (float)q - f16_at(b + 2) * (float)least;
}

/* ---- types that are only read ---- */

static float q4_1(const unsigned char *b, int i) {
    return f16_at(b) * (float)(i < 16 ? b[4 + i] & 15 : b[4 + i - 16] >> 4) + f16_at(b + 2);
}

static float q5_1(const unsigned char *b, int i) {
    int low = i < 16 ? b[8 + i] & 15 : b[8 + i - 16] >> 4;

    return f16_at(b) * (float)(low | (b[4 + i / 8] >> i % 8 & 1) << 4) + f16_at(b + 2);
}

static float q5_k(const unsigned char *b, int i) {
    unsigned char four[144];
    int high = b[16 + i % 32] >> i / 32 & 1, s = i / 32;
    int scale = s < 4 ? b[4 + s] & 63 : (b[8 + s] & 15) | b[s] >> 6 << 4;

    memcpy(four, b, 16); /* what Q4_K has, and 16 steps for the high bit */
    memcpy(four + 16, b + 48, 128);
    for (int j = 16; j < 144; j++)
        four[j] = i % 64 < 32 ? four[j] & 15 : four[j] >> 4;
    return f16_at(b) * (float)scale * (float)(four[16 + 32 * (i / 64) + i % 32] + 16 * high) -
           f16_at(b + 2) * (float)(s < 4 ? b[8 + s] & 63 : b[8 + s] >> 4 | b[4 + s] >> 6 << 4);
}

static float q6_k(const unsigned char *b, int i) {
    int half = i / 128, j = i % 128 / 32, l = i % 32;
    int low = b[64 * half + l + (j & 1 ? 32 : 0)], high = b[128 + 32 * half + l] >> 2 * j & 3;

    low = j < 2 ? low & 15 : low >> 4;
    return f16_at(b + 208) * (float)(int8_t)b[192 + i / 16] * (float)((low | high << 4) - 32);
}

static const struct {
    const char *name;
    float (*element)(const unsigned char *block, int i);
} decoders[] = {{"Q4_0", q4_0}, {"Q5_0", q5_0}, {"Q8_0", q8_0}, {"Q2_0", q2_0},
                {"Q2_K", q2_k}, {"Q3_K", q3_k}, {"Q4_K", q4_k}, {"Q4_1", q4_1},
                {"Q5_1", q5_1}, {"Q5_K", q5_k}, {"Q6_K", q6_k}};

static float decode(const struct ggml_type *type, const unsigned char *blocks, int i) {
    for (size_t d = 0; d < ARRAY_SIZE(decoders); d++) {
        if (str_equal(decoders[d].name, type->name))
            return decoders[d].element(blocks + i / type->block * type->bytes, i % type->block);
    }
    fail();
    return 0;
}

/* ---- matrices ---- */

struct made {
    struct quantized_matrix m;
    uint8_t codes[ROWS][COLUMNS];
};

/* A code into the words, bit by bit. */
static void put_code(uint32_t *words, int wbits, int row, int column, int code) {
    for (int b = 0; b < wbits; b++) {
        size_t bit = (size_t)column * wbits + b;

        words[bit / 32 * ROWS + row] |= (uint32_t)(code >> b & 1) << bit % 32;
    }
}

static void make(struct made *made, int wbits, bool sym, int columns) {
    int n_groups = COLUMNS / columns;
    uint32_t *words = calloc((size_t)COLUMNS * wbits / 32 * ROWS, sizeof(*words));
    struct quantized_matrix *m = &made->m;

    *m = (struct quantized_matrix){.wbits = wbits,
                                   .rows = ROWS,
                                   .n = COLUMNS,
                                   .n_groups = n_groups,
                                   .words = words,
                                   .memory = words,
                                   .scales = calloc((size_t)n_groups * ROWS, sizeof(uint16_t)),
                                   .zeros = calloc((size_t)n_groups * ROWS, 1),
                                   .g_idx = calloc(COLUMNS, sizeof(int32_t))};
    for (int i = 0; i < n_groups * ROWS; i++) {
        m->scales[i] = (uint16_t)(1 + i * 977 % 0x7bff); /* subnormal ones, and large ones */
        m->zeros[i] = (uint8_t)(sym ? 1 << (wbits - 1) : i % (1 << wbits));
    }
    for (int c = 0; c < COLUMNS; c++)
        m->g_idx[c] = c / columns;
    for (int row = 0; row < ROWS; row++) {
        for (int c = 0; c < COLUMNS; c++) {
            int code = (row * COLUMNS + c) * 7 % (1 << wbits);

            made->codes[row][c] = (uint8_t)code;
            put_code(words, wbits, row, c, code);
        }
    }
}

static void check_type(int wbits, bool sym, int columns, const char *name) {
    const struct ggml_type *type = ggml_type_for(wbits, sym, columns);
    size_t row_bytes = ggml_row_bytes(type, COLUMNS);
    cleanup(freep) unsigned char *blocks = calloc(ROWS, row_bytes);
    struct made made = {};

    const struct gguf_type *read = gguf_type_find(type->number);
    cleanup(freep) float *values = calloc(ROWS * COLUMNS, sizeof(*values));

    assert_string_equal(type->name, name);
    assert_string_equal(read->name, name);
    assert_true(read->block == type->block && read->bytes == type->bytes);
    make(&made, wbits, sym, columns);
    assert_int_equal(ggml_pack(type, &made.m, blocks), 0);
    for (int row = 0; row < ROWS; row++) {
        for (int c = 0; c < COLUMNS; c++) {
            int grid = made.m.g_idx[c] * ROWS + row;
            float wanted = f16_to_f32(made.m.scales[grid]) *
                           (float)((int)made.codes[row][c] - made.m.zeros[grid]);
            float given = decode(type, blocks + row * row_bytes, c);

            assert_true(given == wanted);
        }
    }
    assert_true(gguf_unpack(read, blocks, (size_t)ROWS * COLUMNS, values));
    for (int i = 0; i < ROWS * COLUMNS; i++)
        assert_true(values[i] == decode(type, blocks + i / COLUMNS * row_bytes, i % COLUMNS));
    quantized_matrix_done(&made.m);
}

/* The fields of a K grid: the smallest, the largest, and those between. */
static void make_units(struct quantized_matrix *m, bool sym, int sub_bits) {
    int n_units = COLUMNS / GRID_SUPER * ROWS, most = (1 << sub_bits) - 1;

    m->d = calloc(n_units, sizeof(uint16_t));
    m->dmin = sym ? NULL : calloc(n_units, sizeof(uint16_t));
    for (int i = 0; i < n_units; i++) {
        m->d[i] = (uint16_t)(1 + i * 977 % 0x7bff);
        if (m->dmin)
            m->dmin[i] = (uint16_t)(i * 613 % 0x7bff);
    }
    for (int i = 0; i < m->n_groups * ROWS; i++) {
        m->scales[i] = f32_to_f16((float)(i * 5 % (most + 1) - (sym ? (most + 1) / 2 : 0)));
        m->zeros[i] = (uint8_t)(sym ? 1 << (m->wbits - 1) : (i * 7 + 3) % (most + 1));
    }
}

static void check_k_type(int wbits, bool sym, int groupsize, int sub_bits, const char *name) {
    const struct ggml_type *type = ggml_k_type_for(wbits, sym, groupsize, sub_bits);
    size_t row_bytes = ggml_row_bytes(type, COLUMNS);
    cleanup(freep) unsigned char *blocks = calloc(ROWS, row_bytes);
    struct made made = {};
    struct quantized_matrix *m = &made.m;

    assert_string_equal(type->name, name);
    make(&made, wbits, sym, groupsize);
    make_units(m, sym, sub_bits);
    assert_int_equal(ggml_pack(type, m, blocks), 0);
    for (int row = 0; row < ROWS; row++) {
        for (int c = 0; c < COLUMNS; c++) {
            int grid = m->g_idx[c] * ROWS + row, super = c / GRID_SUPER * ROWS + row;
            float scale = f16_to_f32(m->d[super]) * f16_to_f32(m->scales[grid]);
            float min = sym ? 0 : f16_to_f32(m->dmin[super]) * (float)m->zeros[grid];
            float wanted = scale * (float)(made.codes[row][c] - (sym ? m->zeros[grid] : 0)) - min;

            assert_true(decode(type, blocks + row * row_bytes, c) == wanted);
        }
    }
    assert_int_equal(ggml_pack(ggml_type_for(4, true, 32), m, blocks), -ERANGE); /* no K type */
    quantized_matrix_done(m);
}

static void test_k_types(void **state) {
    (void)state;
    check_k_type(2, false, 16, 4, "Q2_K");
    check_k_type(3, true, 16, 6, "Q3_K");
    check_k_type(4, false, 32, 6, "Q4_K");
    assert_null(ggml_k_type_for(4, false, 16, 6));
    assert_null(ggml_k_type_for(2, false, 16, 6));
    assert_null(ggml_k_type_for(3, false, 16, 6));
}

static void test_blocks(void **state) {
    (void)state;
    check_type(2, true, 32, "Q4_0");
    check_type(2, true, 64, "Q2_0");
    check_type(2, true, 512, "Q2_0");
    check_type(2, false, 128, "Q4_0");
    check_type(2, false, 256, "Q2_K");
    check_type(3, true, 128, "Q4_0");
    check_type(3, true, 256, "Q3_K");
    check_type(3, false, 256, "Q4_0");
    check_type(4, true, 32, "Q4_0");
    check_type(4, true, 256, "Q4_0");
    check_type(4, false, 32, "Q5_0");
    check_type(4, false, 128, "Q5_0");
    check_type(4, false, 512, "Q4_K");
    check_type(8, true, 64, "Q8_0");
    assert_null(ggml_type_for(8, false, 128));
    assert_null(ggml_type_for(4, true, 16));
}

/* Blocks of any bytes are read as the decoders read them. */
static void test_unpack(void **state) {
    uint32_t seed = 1;

    (void)state;
    for (size_t d = 0; d < ARRAY_SIZE(decoders); d++) {
        const struct gguf_type *type = NULL;
        unsigned char blocks[32 * 256];
        float given[32 * 256];

        for (int i = 0; i < n_gguf_types; i++) {
            if (str_equal(gguf_types[i].name, decoders[d].name))
                type = &gguf_types[i];
        }
        assert_non_null(type);
        for (size_t i = 0; i < sizeof(blocks); i++)
            blocks[i] = (unsigned char)((seed = seed * 1664525 + 1013904223) >> 24) & 0xbb;
        assert_true(gguf_unpack(type, blocks, (size_t)32 * type->block, given));
        for (int i = 0; i < 32 * type->block; i++)
            assert_true(given[i] == decoders[d].element(blocks + i / type->block * type->bytes,
                                                        i % type->block));
    }
}

/* What would come out as another weight is no block. */
static void test_out_of_range(void **state) {
    const struct ggml_type *type = ggml_type_for(4, true, 128);
    cleanup(freep) unsigned char *blocks = calloc(ROWS, ggml_row_bytes(type, COLUMNS));
    struct made made = {};

    (void)state;
    make(&made, 4, true, 128);
    made.m.zeros[ROWS + 3] = 2; /* 15 - 2 is more than Q4_0 has */
    assert_int_equal(ggml_pack(type, &made.m, blocks), -ERANGE);
    made.m.zeros[ROWS + 3] = 8;
    assert_int_equal(ggml_pack(type, &made.m, blocks), 0);
    made.m.g_idx[40] = 1; /* two grids in a block */
    assert_int_equal(ggml_pack(type, &made.m, blocks), -ERANGE);
    quantized_matrix_done(&made.m);
}

/* ---- the table ---- */

/* OLMoE-1B-7B at 8 bits: more than 32 bits count. */
static void test_large(void **state) {
    const struct quantization_config q = {
        .present = true, .wbits = 8, .groupsize = 128, .sym = true};
    struct model_config config = {.arch = &arch_olmoe,
                                  .hidden_size = 2048,
                                  .intermediate_size = 1024,
                                  .num_hidden_layers = 16,
                                  .num_attention_heads = 16,
                                  .num_key_value_heads = 16,
                                  .head_dim = 128,
                                  .num_experts = 64,
                                  .num_experts_per_tok = 8,
                                  .vocab_size = 50304};
    uint64_t matrices = 16 * (4ull * 2048 * 2048 + 64ull * 3 * 2048 * 1024) * 34 / 32;
    uint64_t plain = 16 * (4ull * 2048 + 64 * 2048) * 4 + 2048 * 4 + 2ull * 50304 * 2048 * 2;
    struct gguf_layout layout = {};
    uint64_t size = 0;

    (void)state;
    assert_int_equal(gguf_layout_init(&config, &q, &layout), 0);
    assert_int_equal(layout.n, 16 * 12 + 3);
    for (size_t i = 0; i < layout.n; i++) {
        size += layout.tensors[i].size;
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(layout.tensors[i].name, layout.tensors[j].name);
    }
    assert_int_equal(size, matrices + plain);
    assert_true(size > UINT32_MAX);
    gguf_layout_done(&layout);
}

/* ---- what is refused ---- */

static const struct quantization_config usual = {
    .present = true, .wbits = 4, .groupsize = 128, .sym = true};

static char *demo(void) {
    return str_format("%s/data/olmoe-demo", getenv("QUANTD_SOURCE"));
}

static struct model_config demo_config(void) {
    cleanup(freep) char *dir = demo();
    struct model_config config;
    struct failure failure = {};

    assert_int_equal(model_config_read(NULL, dir, &config, &failure), 0);
    return config;
}

static void refused(const struct quantization_config *q, const struct model_config *config,
                    const char *what) {
    struct failure failure = {};

    assert_int_equal(format_check(&format_gguf, q, config, &failure), -EINVAL);
    assert_non_null(strstr(failure.detail, what));
    assert_true(failure.hint[0] != '\0');
}

static void test_refused(void **state) {
    const struct model_config config = demo_config();
    struct quantization_config q = usual;
    struct model_config other = config;
    struct failure failure = {};

    (void)state;
    assert_int_equal(format_check(&format_gguf, &q, &config, &failure), 0);
    q.desc_act = true;
    refused(&q, NULL, "not neighbours");
    q = usual;
    q.groupsize = 16;
    refused(&q, NULL, "groups of 16 columns");
    q = usual;
    q.wbits = 8;
    q.sym = false;
    refused(&q, NULL, "8 bits on asymmetric grids");
    other.clip_qkv = 8;
    refused(&usual, &other, "clip_qkv");
    other = config;
    other.norm_topk_prob = true;
    refused(&usual, &other, "norm_topk_prob");
    other = config;
    other.num_key_value_heads = 2;
    refused(&usual, &other, "as many heads");
}

/* A folder with the demo's files, whose tokenizer.json has @from replaced by @to. */
static void refused_tokenizer(const char *from, const char *to, const char *what) {
    cleanup(freep) char *dir = demo();
    cleanup(freep) char *path = str_format("%s/tokenizer.json", dir), *text = NULL;
    cleanup(strbuf_done) struct strbuf changed = {};
    const struct model_config config = demo_config();
    char folder[] = "/tmp/test-gguf-XXXXXX";
    cleanup(freep) char *made = NULL;
    struct failure failure = {};
    char *at;
    size_t size;

    assert_int_equal(file_read(path, 1 << 26, &text, &size), 0);
    at = strstr(text, from);
    assert_non_null(at);
    strbuf_append(&changed, text, (size_t)(at - text));
    strbuf_puts(&changed, to);
    strbuf_puts(&changed, at + strlen(from));
    assert_non_null(mkdtemp(folder));
    made = str_format("%s/tokenizer.json", folder);
    assert_int_equal(file_replace(made, changed.data, changed.length), 0);
    assert_true(format_gguf.check_files(NULL, folder, &config, &failure) < 0);
    assert_non_null(strstr(failure.detail, what));
    assert_int_equal(dir_remove(folder), 0);
}

static void test_tokenizers(void **state) {
    cleanup(freep) char *dir = demo();
    struct model_config config = demo_config();
    struct failure failure = {};

    (void)state;
    assert_int_equal(format_gguf.check_files(NULL, dir, &config, &failure), 0);
    refused_tokenizer("\"normalizer\": {\"type\": \"NFC\"}", "\"normalizer\": {\"type\": \"NFKC\"}",
                      "NFKC");
    refused_tokenizer("\"use_regex\": true", "\"use_regex\": false", "split its words");
    refused_tokenizer("\"ignore_merges\": false", "\"ignore_merges\": true", "merges");
    config.vocab_size = 100;
    assert_int_equal(format_gguf.check_files(NULL, dir, &config, &failure), -EBADMSG);
    assert_non_null(strstr(failure.detail, "without a row"));
    assert_int_equal(format_gguf.check_files(NULL, "/nowhere", &config, &failure), -ENOENT);
    assert_string_equal(failure.code, "model_incomplete");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),       cmocka_unit_test(test_k_types),
        cmocka_unit_test(test_out_of_range), cmocka_unit_test(test_large),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_tokenizers),
        cmocka_unit_test(test_unpack),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
