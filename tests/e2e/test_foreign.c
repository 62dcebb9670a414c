// SPDX-License-Identifier: Apache-2.0
/*
 * GPTQ checkpoints as other software writes them: zeros minus one with a zero of 0, no g_idx,
 * scales in other types, groups of its own order for every matrix. Each is made from a checkpoint
 * of ours, says the same in another way, and so must measure the same.
 */
#include "tests/e2e/lab.h"

#include <math.h>
#include <stdio.h>

#define GROUPSIZE 64

static bool has_suffix(const struct tensor *t, const char *suffix) {
    const char *end = strrchr(t->name, '.');

    return str_equal(end, suffix);
}

/* Exports @request as job @name; its checkpoint's folder, owned by the caller. */
static char *export(struct lab *lab, const char *name, const char *request, double *ret_value) {
    cleanup(json_decrefp) json_t *result = lab_must(lab, name, NULL, request);

    *ret_value = lab_perplexity(result);
    return lab_path(lab, "jobs/%s/artifact", name);
}

static void set_quantization(const char *model, const char *key, json_t *value) {
    cleanup(freep) char *path = str_format("%s/config.json", model);
    cleanup(json_decrefp) json_t *config = NULL;
    struct failure failure = {};
    json_t *quantization;

    if (json_parse_file(path, 1 << 20, "bad", &config, &failure))
        fail_msg("%s", failure.detail);
    quantization = json_incref(json_object_get(config, "quantization_config"));
    if (value)
        json_object_set_new(quantization, key, value);
    else
        json_object_del(quantization, key);
    lab_edit_json(model, "config.json", "quantization_config", quantization);
}

static void expect_perplexity(struct lab *lab, const char *model, double expected,
                              double tolerance) {
    static int n; /* a folder of its own: another run in the same one would find its result */
    cleanup(freep) char *job = str_format("eval-%d-%s", n++, strrchr(model, '/') + 1);
    cleanup(json_decrefp) json_t *result = lab_must(lab, job, model, "{'kind': 'eval'}");
    double value = lab_perplexity(result);

    printf("%-20s %9.4f %+.5f %%\n", strrchr(model, '/') + 1, value, 100 * (value / expected - 1));
    if (!(fabs(value / expected - 1) <= tolerance))
        fail_msg("%s: %.6g, not %.6g", model, value, expected);
}

/* Adds @term to each value of packed words of @wbits, modulo 2^wbits. */
static void add_to_all(unsigned char *data, size_t size, int wbits, unsigned int term) {
    size_t n = size * 8 / wbits;

    for (size_t i = 0; i < n; i++) {
        unsigned int value = 0;

        for (int bit = 0; bit < wbits; bit++)
            value |= (data[(i * wbits + bit) / 8] >> (i * wbits + bit) % 8 & 1u) << bit;
        value += term;
        for (int bit = 0; bit < wbits; bit++) {
            unsigned char mask = (unsigned char)(1u << (i * wbits + bit) % 8);
            unsigned char *byte = &data[(i * wbits + bit) / 8];

            *byte = (unsigned char)(value >> bit & 1 ? *byte | mask : *byte & ~mask);
        }
    }
}

static bool to_v1(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    (void)ret_data;
    if (has_suffix(t, ".qzeros"))
        add_to_all(data, t->size, *(int *)ctx, -1u);
    return true;
}

static bool add_one(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    (void)ret_data;
    if (has_suffix(t, ".qzeros"))
        add_to_all(data, t->size, *(int *)ctx, 1);
    return true;
}

/* An asymmetric checkpoint in the old format, where a zero of 0 wraps around. */
static void test_v1_asymmetric(void **state) {
    static const char *const names[] = {"v1-2", "v1-3", "v1-4", "v1-8"};
    static const int bits[] = {2, 3, 4, 8};
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
        cleanup(freep) char *name = str_format("asym-%d", bits[i]);
        cleanup(freep) char *request =
            str_format("{'wbits': %d, 'groupsize': %d, 'nearest': true}", bits[i], GROUPSIZE);
        cleanup(freep) char *ours = NULL, *model = NULL;
        int wbits = bits[i];
        double value;

        ours = export(lab, name, request, &value);
        model = lab_rewrite(lab, ours, names[i], to_v1, &wbits);
        set_quantization(model, "checkpoint_format", json_string("gptq"));
        expect_perplexity(lab, model, value, 1e-9);
        set_quantization(model, "checkpoint_format", NULL); /* old files do not say */
        expect_perplexity(lab, model, value, 1e-9);
    }
}

static bool drop_g_idx(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    (void)ctx;
    (void)data;
    (void)ret_data;
    return !has_suffix(t, ".g_idx");
}

static void test_without_g_idx(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *ours = NULL, *model = NULL, *ordered = NULL, *broken = NULL;
    double value;

    ours = export(lab, "plain-order", "{'wbits': 4, 'groupsize': 64, 'sym': true}", &value);
    model = lab_rewrite(lab, ours, "no-g-idx", drop_g_idx, NULL);
    expect_perplexity(lab, model, value, 1e-9);

    /* With groups in the order of act_order it cannot be done without. */
    ordered = export(lab, "act-order",
                     "{'wbits': 4, 'groupsize': 64, 'sym': true, 'act_order': true}", &value);
    broken = lab_rewrite(lab, ordered, "no-g-idx-act", drop_g_idx, NULL);
    lab_must_fail(lab, "no-g-idx-act", broken, "{'kind': 'eval'}", "model_incomplete", "g_idx");
}

/* Scales as @dtype; those of bf16 lose bits, so they are rounded beforehand. */
static bool convert_scales(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    enum dtype dtype = *(enum dtype *)ctx;
    float *values;

    if (!has_suffix(t, ".scales"))
        return true;
    values = malloc(t->n * sizeof(*values));
    assert_non_null(values);
    assert_int_equal(dtype_to_f32(values, data, t->dtype, t->n), 0);
    for (size_t i = 0; i < t->n && dtype == DTYPE_BF16; i++)
        ((uint16_t *)values)[i] = f32_to_bf16(values[i]);
    t->dtype = dtype;
    t->size = t->n * dtype_size(dtype);
    *ret_data = values;
    return true;
}

static void test_scale_types(void **state) {
    enum dtype f32 = DTYPE_F32, bf16 = DTYPE_BF16;
    struct lab *lab = *state;
    cleanup(freep) char *ours = NULL, *as_f32 = NULL, *as_bf16 = NULL;
    double value;

    ours = export(lab, "scales", "{'wbits': 4, 'groupsize': 64}", &value);
    as_f32 = lab_rewrite(lab, ours, "scales-f32", convert_scales, &f32);
    expect_perplexity(lab, as_f32, value, 1e-9);
    as_bf16 = lab_rewrite(lab, ours, "scales-bf16", convert_scales, &bf16);
    expect_perplexity(lab, as_bf16, value, 0.02);
}

/*
 * Renames the groups of every matrix in a way of its own: group i becomes group
 * (i + shift) % n_groups, in g_idx, scales and (v2, 8 bits) zeros.
 */
static bool rotate_groups(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    static const char *const suffixes[] = {".scales", ".qzeros", ".g_idx"};
    size_t shift = 0, stem = (size_t)(strrchr(t->name, '.') - t->name);
    bool touched = false;
    unsigned char *copy;

    (void)ctx;
    (void)ret_data;
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++)
        touched |= has_suffix(t, suffixes[i]);
    if (!touched)
        return true;
    for (size_t i = 0; i < stem; i++)
        shift = shift * 31 + (unsigned char)t->name[i];
    if (has_suffix(t, ".g_idx")) {
        int32_t *g_idx = (int32_t *)data;
        size_t n_groups = t->n / GROUPSIZE;

        for (size_t i = 0; i < t->n; i++)
            g_idx[i] = (int32_t)((g_idx[i] + shift) % n_groups);
        return true;
    }
    copy = malloc(t->size);
    assert_non_null(copy);
    memcpy(copy, data, t->size);
    for (size_t i = 0; i < t->shape[0]; i++)
        memcpy(data + (i + shift) % t->shape[0] * (t->size / t->shape[0]),
               copy + i * (t->size / t->shape[0]), t->size / t->shape[0]);
    free(copy);
    return true;
}

static void test_own_groups(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *ours = NULL, *model = NULL;
    double value;

    ours = export(lab, "groups", "{'wbits': 3, 'groupsize': 64, 'act_order': true}", &value);
    model = lab_rewrite(lab, ours, "own-groups", rotate_groups, NULL);
    expect_perplexity(lab, model, value, 1e-9);
}

/* quantize_config.json alone, as AutoGPTQ wrote it. */
static void test_separate_config(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *ours = NULL, *model = NULL;
    double value;

    ours = export(lab, "separate", "{'wbits': 4, 'groupsize': 128, 'sym': true}", &value);
    model = lab_copy(lab, ours, "separate");
    lab_edit_json(model, "config.json", "quantization_config", NULL);
    lab_edit_json(model, "quantize_config.json", "quant_method", NULL);
    lab_edit_json(model, "quantize_config.json", "checkpoint_format", NULL);
    lab_edit_json(model, "quantize_config.json", "meta", NULL);
    expect_perplexity(lab, model, value, 1e-9);
}

static bool damage_zero(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    (void)ret_data;
    if (has_suffix(t, ".qzeros") && strstr(t->name, ctx))
        data[t->size - 1] ^= 0x80;
    return true;
}

/* Symmetric grids have their zero in the middle, which shows a wrong label. */
static void test_zeros_of_other_label(void **state) {
    static const int bits[] = {2, 3, 4, 8};
    static char odd[] = "layers.2.self_attn.v_proj";
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
        cleanup(freep) char *name = str_format("sym-%d", bits[i]);
        cleanup(freep) char *request = str_format(
            "{'wbits': %d, 'groupsize': %d, 'sym': true, 'nearest': true}", bits[i], GROUPSIZE);
        cleanup(freep) char *ours = NULL, *v1 = NULL, *v2 = NULL, *damaged = NULL;
        cleanup(freep) char *v1_name = str_format("v1-says-v2-%d", bits[i]);
        cleanup(freep) char *v2_name = str_format("v2-says-v1-%d", bits[i]);
        cleanup(freep) char *damaged_name = str_format("odd-zero-%d", bits[i]);
        int wbits = bits[i];
        double value;

        ours = export(lab, name, request, &value);
        v1 = lab_copy(lab, ours, v1_name);
        expect_perplexity(lab, v1, value, 1e-9);
        assert_int_equal(lab_count(lab, "job.warning"), 0);
        set_quantization(v1, "checkpoint_format", json_string("gptq_v2"));
        expect_perplexity(lab, v1, value, 1e-9);
        assert_int_equal(lab_count(lab, "job.warning"), 1);

        v2 = lab_rewrite(lab, ours, v2_name, add_one, &wbits);
        expect_perplexity(lab, v2, value, 1e-9);
        assert_int_equal(lab_count(lab, "job.warning"), 1);
        set_quantization(v2, "checkpoint_format", json_string("gptq_v2"));
        expect_perplexity(lab, v2, value, 1e-9);
        assert_int_equal(lab_count(lab, "job.warning"), 0);

        damaged = lab_rewrite(lab, ours, damaged_name, damage_zero, odd);
        lab_must_fail(lab, damaged_name, damaged, "{'kind': 'eval'}", "model_invalid", odd);
    }
}

struct damage {
    const char *suffix;
    uint32_t value; /* put into the tensor's first element */
};

static bool damage_one(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    const struct damage *damage = ctx;

    (void)ret_data;
    if (has_suffix(t, damage->suffix) && strstr(t->name, "layers.1.mlp.experts.3.down_proj"))
        memcpy(data, &damage->value, dtype_size(t->dtype));
    return true;
}

static void test_damaged(void **state) {
    static struct damage damages[] = {
        {".g_idx", 2}, {".g_idx", 0xffffffff}, {".scales", 0x7e00}, {".scales", 0x7c00}};
    struct lab *lab = *state;
    cleanup(freep) char *ours = NULL;
    double value;

    ours = export(lab, "damage", "{'wbits': 4, 'groupsize': 64, 'nearest': true}", &value);
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        cleanup(freep) char *name = str_format("damaged-%zu", i), *model = NULL;

        model = lab_rewrite(lab, ours, name, damage_one, &damages[i]);
        lab_must_fail(lab, name, model, "{'kind': 'eval'}", "model_invalid",
                      "layers.1.mlp.experts.3.down_proj");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v1_asymmetric),        cmocka_unit_test(test_without_g_idx),
        cmocka_unit_test(test_scale_types),          cmocka_unit_test(test_own_groups),
        cmocka_unit_test(test_separate_config),      cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_zeros_of_other_label),
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
