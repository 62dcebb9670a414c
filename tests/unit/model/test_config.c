// SPDX-License-Identifier: Apache-2.0
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/model/arch/config_read.h"
#include "daemon/model/arch/scheme.h"

#include "daemon/model/arch/arch.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static char root[] = "/tmp/quantd-test-XXXXXX";

static int make_root(void **state) {
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
    (void)state;
    return dir_remove(root);
}

static void write_text(const char *name, const char *text) {
    char path[200];

    snprintf(path, sizeof(path), "%s/%s", root, name);
    if (text)
        assert_int_equal(file_replace(path, text, strlen(text)), 0);
    else
        unlink(path);
}

static int read_text(const char *text, struct model_config *config, struct failure *f) {
    write_text("config.json", text);
    return model_config_read(NULL, root, config, f);
}

static void test_defaults(void **state) {
    struct model_config c = {};
    struct failure f = {};

    (void)state;
    if (read_text("{\"model_type\":\"olmoe\",\"unknown\":[{}]}", &c, &f))
        fail_msg("%s", f.detail);
    assert_int_equal(c.hidden_size, 2048);
    assert_int_equal(c.intermediate_size, 2048);
    assert_int_equal(c.num_hidden_layers, 16);
    assert_int_equal(c.num_attention_heads, 16);
    assert_int_equal(c.num_key_value_heads, 16);
    assert_int_equal(c.head_dim, 128);
    assert_int_equal(c.num_experts, 64);
    assert_int_equal(c.num_experts_per_tok, 8);
    assert_int_equal(c.vocab_size, 50304);
    assert_int_equal(c.max_position_embeddings, 4096);
    assert_true(c.rms_norm_eps == 1e-5f);
    assert_true(c.rope_theta == 10000);
    assert_true(c.clip_qkv == 0);
    assert_false(c.norm_topk_prob);
    assert_false(c.tie_word_embeddings);
    assert_false(c.quantization.present);
}

static void test_all_keys(void **state) {
    struct model_config c = {};
    struct failure f = {};

    (void)state;
    if (read_text("{\"model_type\":\"olmoe\",\"hidden_size\":256,\"intermediate_size\":128,"
                  "\"num_hidden_layers\":3,\"num_attention_heads\":8,\"num_key_value_heads\":2,"
                  "\"num_experts\":16,\"num_experts_per_tok\":4,\"vocab_size\":100,"
                  "\"max_position_embeddings\":512,\"rms_norm_eps\":1e-6,\"rope_theta\":500000,"
                  "\"clip_qkv\":8,\"norm_topk_prob\":true,\"tie_word_embeddings\":true,"
                  "\"head_dim\":32,\"hidden_act\":\"silu\",\"attention_bias\":false,"
                  "\"rope_scaling\":null,\"quantization_config\":null}",
                  &c, &f))
        fail_msg("%s", f.detail);
    assert_int_equal(c.head_dim, 32);
    assert_int_equal(model_config_q_width(&c), 256);
    assert_int_equal(model_config_kv_width(&c), 64);
    assert_int_equal(c.max_position_embeddings, 512);
    assert_true(c.rms_norm_eps == 1e-6f);
    assert_true(c.rope_theta == 500000);
    assert_true(c.clip_qkv == 8);
    assert_true(c.norm_topk_prob);
    assert_true(c.tie_word_embeddings);
}

static void test_rope_parameters(void **state) {
    struct model_config c = {};
    struct failure f = {};

    (void)state;
    assert_int_equal(read_text("{\"model_type\":\"olmoe\",\"rope_parameters\":"
                               "{\"rope_type\":\"default\",\"rope_theta\":5e5}}",
                               &c, &f),
                     0);
    assert_true(c.rope_theta == 500000);
    assert_int_equal(read_text("{\"model_type\":\"olmoe\",\"rope_theta\":7.0,"
                               "\"rope_parameters\":{}}",
                               &c, &f),
                     0);
    assert_true(c.rope_theta == 7);
}

#define OLMOE(rest) "{\"model_type\":\"olmoe\"," rest "}"

/* What must be refused: the text, the code, and words of the message. */
static const struct {
    const char *text, *code, *words;
} bad_configs[] = {
    {"", "model_invalid", "cannot parse"},
    {"{", "model_invalid", "cannot parse"},
    {"[]", "model_invalid", "object"},
    {"{}", "model_unsupported", "model_type is ''"},
    {"{\"model_type\":1}", "model_unsupported", "model_type"},
    {"{\"model_type\":\"llama\"}", "model_unsupported", "'llama'"},
    {OLMOE("\"model_type\":\"olmoe\""), "model_invalid", "duplicate"},
    {OLMOE("\"attention_bias\":true"), "model_unsupported", "attention_bias"},
    {OLMOE("\"attention_bias\":0"), "model_invalid", "attention_bias"},
    {OLMOE("\"hidden_act\":\"gelu\""), "model_unsupported", "hidden_act"},
    {OLMOE("\"hidden_act\":null"), "model_unsupported", "hidden_act"},
    {OLMOE("\"rope_scaling\":{}"), "model_unsupported", "rope_scaling"},
    {OLMOE("\"rope_parameters\":1"), "model_invalid", "rope_parameters"},
    {OLMOE("\"rope_parameters\":{\"rope_type\":\"yarn\"}"), "model_unsupported", "rope_type"},
    {OLMOE("\"rope_parameters\":{\"rope_theta\":\"x\"}"), "model_invalid", "rope_theta"},
    {OLMOE("\"hidden_size\":\"2048\""), "model_invalid", "'hidden_size' must be an integer"},
    {OLMOE("\"hidden_size\":2048.0"), "model_invalid", "hidden_size"},
    {OLMOE("\"hidden_size\":null"), "model_invalid", "hidden_size"},
    {OLMOE("\"hidden_size\":0"), "model_invalid", "hidden_size"},
    {OLMOE("\"hidden_size\":-2048"), "model_invalid", "hidden_size"},
    {OLMOE("\"hidden_size\":4294969344"), "model_invalid", "hidden_size"},
    {OLMOE("\"hidden_size\":9223372036854775808"), "model_invalid", "hidden_size"},
    {OLMOE("\"hidden_size\":2047"), "model_invalid", "num_attention_heads"},
    {OLMOE("\"hidden_size\":2064"), "model_invalid", "even"},
    {OLMOE("\"num_hidden_layers\":1025"), "model_invalid", "from 1 to 1024"},
    {OLMOE("\"num_experts\":4097"), "model_invalid", "num_experts"},
    {OLMOE("\"num_experts\":4"), "model_invalid", "num_experts_per_tok"},
    {OLMOE("\"num_key_value_heads\":3"), "model_invalid", "num_key_value_heads"},
    {OLMOE("\"num_key_value_heads\":32"), "model_invalid", "num_key_value_heads"},
    {OLMOE("\"num_key_value_heads\":0"), "model_invalid", "num_key_value_heads"},
    {OLMOE("\"head_dim\":64"), "model_unsupported", "head_dim"},
    {OLMOE("\"rms_norm_eps\":0"), "model_invalid", "rms_norm_eps"},
    {OLMOE("\"rms_norm_eps\":\"1e-5\""), "model_invalid", "rms_norm_eps"},
    {OLMOE("\"rms_norm_eps\":NaN"), "model_invalid", "rms_norm_eps"},
    {OLMOE("\"rms_norm_eps\":1e999"), "model_invalid", "rms_norm_eps"},
    {OLMOE("\"clip_qkv\":NaN"), "model_invalid", "clip_qkv"},
    {OLMOE("\"rope_scaling\":Infinity"), "model_unsupported", "rope_scaling"},
    {OLMOE("\"rope_scaling\":{\"rope_type\":\"yarn\",\"type\":\"default\"}"), "model_unsupported",
     "rope_scaling"},
    {OLMOE("\"x\":nan"), "model_invalid", "cannot parse"},
    {OLMOE("\"rope_theta\":-1"), "model_invalid", "rope_theta"},
    {OLMOE("\"clip_qkv\":0"), "model_invalid", "clip_qkv"},
    {OLMOE("\"clip_qkv\":false"), "model_invalid", "clip_qkv"},
    {OLMOE("\"norm_topk_prob\":1"), "model_invalid", "norm_topk_prob"},
    {OLMOE("\"tie_word_embeddings\":\"no\""), "model_invalid", "tie_word_embeddings"},
    {OLMOE("\"quantization_config\":[]"), "model_invalid", "object"},
};

static void expect_bad(int r, const struct failure *f, const char *code, const char *words) {
    if (r != -EBADMSG || strcmp(f->code, code) != 0 || !strstr(f->detail, words))
        fail_msg("%d %s '%s' instead of %s '%s'", r, f->code, f->detail, code, words);
}

static void test_bad_configs(void **state) {
    struct model_config c;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad_configs); i++) {
        struct failure f = {};
        int r = read_text(bad_configs[i].text, &c, &f);

        expect_bad(r, &f, bad_configs[i].code, bad_configs[i].words);
    }
}

static void test_missing(void **state) {
    struct model_config c;
    struct failure f = {};

    (void)state;
    write_text("config.json", NULL);
    assert_int_equal(model_config_read(NULL, root, &c, &f), -ENOENT);
    assert_string_equal(f.code, "model_incomplete");
    assert_int_equal(model_config_read(NULL, "/nonexistent", &c, &f), -ENOENT);
}

/* An untouched result: what a failed read leaves alone. */
static void test_untouched(void **state) {
    struct model_config c = {.hidden_size = 77};
    struct failure f = {};

    (void)state;
    assert_int_equal(read_text(OLMOE("\"clip_qkv\":0"), &c, &f), -EBADMSG);
    assert_int_equal(c.hidden_size, 77);
}

static int read_quantized(const char *fields, struct model_config *c, struct failure *f) {
    char text[600];

    snprintf(text, sizeof(text),
             OLMOE("\"intermediate_size\":1024,\"quantization_config\":{\"quant_method\":\"gptq\","
                   "%s}"),
             fields);
    return read_text(text, c, f);
}

static void test_quantization(void **state) {
    struct model_config c = {};
    struct failure f = {};

    (void)state;
    if (read_quantized("\"bits\":4,\"group_size\":128,\"desc_act\":true,\"lm_head\":false,"
                       "\"sym\":false,\"checkpoint_format\":\"gptq_v2\",\"dynamic\":{},"
                       "\"pack_dtype\":\"int32\",\"meta\":{\"quantizer\":[\"x:1\"]}",
                       &c, &f))
        fail_msg("%s", f.detail);
    assert_true(c.quantization.present && c.quantization.v2 && c.quantization.desc_act);
    assert_false(c.quantization.sym);
    assert_int_equal(c.quantization.wbits, 4);
    assert_int_equal(c.quantization.groupsize, 128);

    assert_int_equal(read_quantized("\"bits\":3,\"group_size\":-1,\"dynamic\":null", &c, &f), 0);
    assert_false(c.quantization.sym || c.quantization.v2 || c.quantization.desc_act);
    assert_int_equal(c.quantization.groupsize, -1);
    assert_int_equal(c.quantization.wbits, 3);
}

static const struct scheme *scheme(const struct model_config *c, enum group group, int layer, int g,
                                   int part) {
    struct group_shape shape;

    group_shape(c, group, &shape);
    return scheme_of_part(c, &c->quantization, layer, &shape, g, part);
}

/* GPTQModel's rules: the first that matches holds, and what it leaves out is as for the rest. */
static void test_dynamic(void **state) {
    cleanup(model_config_done) struct model_config c = {};
    struct failure f = {};

    (void)state;
    if (read_quantized(
            "\"bits\":4,\"group_size\":128,\"dynamic\":{\"-:model.layers.1.self_attn\":{},"
            "\"+:.*self_attn\":{\"bits\":8,\"sym\":true},"
            "\".*experts\\\\.(2|3)\\\\.down\":{\"group_size\":64,\"bits\":null},\"lm_head\":{"
            "\"bits\":8}}",
            &c, &f))
        fail_msg("%s", f.detail);
    assert_int_equal(c.quantization.schemes->n, 4);
    assert_int_equal(scheme(&c, GROUP_QKV, 0, 0, 2)->wbits, 8);
    assert_true(scheme(&c, GROUP_O, 0, 0, 0)->sym);
    assert_int_equal(scheme(&c, GROUP_O, 1, 0, 0)->wbits, SCHEME_PLAIN);
    assert_int_equal(scheme(&c, GROUP_GATE_UP, 1, 2, 1)->groupsize, 128);
    assert_int_equal(scheme(&c, GROUP_DOWN, 1, 2, 0)->groupsize, 64);
    assert_int_equal(scheme(&c, GROUP_DOWN, 0, 3, 0)->wbits, 4);
    assert_int_equal(scheme(&c, GROUP_DOWN, 0, 4, 0)->groupsize, 128);
    assert_int_equal(quantization_least_groupsize(&c.quantization), 64);
    assert_int_equal(quantization_most_bits(&c.quantization), 8);
}

/* What AutoRound writes; which zeros it means is in packing_format. */
static void test_auto_round(void **state) {
    static const struct {
        const char *format;
        bool v2;
    } formats[] = {
        {"auto_round:auto_gptq", false}, {"auto_round:gptqmodel", true}, {"auto_round", true}};
    struct model_config c = {};
    struct failure f = {};
    char text[400];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        snprintf(text, sizeof(text),
                 OLMOE("\"quantization_config\":{\"quant_method\":\"auto-round\",\"bits\":4,"
                       "\"group_size\":128,\"data_type\":\"int\",\"packing_format\":\"%s\","
                       "\"extra_config\":{\"a\":{\"bits\":16,\"data_type\":\"fp\"}}}"),
                 formats[i].format);
        if (read_text(text, &c, &f))
            fail_msg("%s", f.detail);
        assert_int_equal(c.quantization.v2, formats[i].v2);
    }
    expect_bad(
        read_text(OLMOE("\"quantization_config\":{\"quant_method\":\"auto-round\",\"bits\":4,"
                        "\"group_size\":128,\"packing_format\":\"auto_round:auto_awq\"}"),
                  &c, &f),
        &f, "model_unsupported", "packing_format");
    expect_bad(
        read_text(OLMOE("\"quantization_config\":{\"quant_method\":\"auto-round\",\"bits\":4,"
                        "\"group_size\":128,\"packing_format\":\"auto_round:auto_gptq\","
                        "\"extra_config\":{\"a\":{\"bits\":8}}}"),
                  &c, &f),
        &f, "model_unsupported", "extra_config");
}

/* Keys that mean nothing here hold anything that Python writes; null is as good as absent. */
static void test_unused_keys(void **state) {
    struct model_config c = {};
    struct failure f = {};

    (void)state;
    if (read_text(
            OLMOE("\"a\":NaN,\"b\":[Infinity,-Infinity,{\"c\":1e999}],\"d\":"
                  "123456789012345678901234567890,\"e\":\"\\ud800 \\u0000 \\ud83d\\ude00 NaN\","
                  "\"norm_topk_prob\":null,\"tie_word_embeddings\":null,"
                  "\"attention_bias\":null,\"rope_scaling\":{\"rope_type\":\"default\"}"),
            &c, &f))
        fail_msg("%s", f.detail);
    assert_false(c.norm_topk_prob || c.tie_word_embeddings);
    assert_int_equal(read_text(OLMOE("\"rope_scaling\":{\"type\":\"default\"}"), &c, &f), 0);
    if (read_quantized("\"bits\":4,\"group_size\":128,\"dynamic\":{\"-:.*gate$\":{},"
                       "\"+:.*\":{\"bits\":4}},\"sym\":null",
                       &c, &f))
        fail_msg("%s", f.detail);
    assert_false(c.quantization.sym);
}

static void test_architecture(void **state) {
    struct model_config c = {};
    struct failure f = {};

    (void)state;
    assert_int_equal(read_text("{\"architectures\":[\"OlmoeForCausalLM\"]}", &c, &f), 0);
    assert_string_equal(c.arch->model_type, "olmoe");
    expect_bad(read_text("{\"architectures\":[\"LlamaForCausalLM\"]}", &c, &f), &f,
               "model_unsupported", "'olmoe'");
    expect_bad(
        read_text("{\"model_type\":\"llama\",\"architectures\":[\"OlmoeForCausalLM\"]}", &c, &f),
        &f, "model_unsupported", "'llama'");
}

static const struct {
    const char *fields, *code, *words;
} bad_quantizations[] = {
    {"\"group_size\":128", "model_invalid", "bits"},
    {"\"bits\":\"4\",\"group_size\":128", "model_invalid", "bits"},
    {"\"bits\":5,\"group_size\":128", "model_unsupported", "2, 3, 4 or 8"},
    {"\"bits\":4", "model_invalid", "group_size"},
    {"\"bits\":4,\"group_size\":0", "model_invalid", "group_size"},
    {"\"bits\":4,\"group_size\":-2", "model_invalid", "group_size"},
    {"\"bits\":4,\"group_size\":100", "model_invalid", "divisor"},
    {"\"bits\":4,\"group_size\":2048", "model_invalid", "divisor"},
    {"\"bits\":4,\"group_size\":4294967424", "model_invalid", "divisor"},
    {"\"bits\":4,\"group_size\":128,\"lm_head\":true", "model_unsupported", "lm_head"},
    {"\"bits\":4,\"group_size\":128,\"dynamic\":{\"x\":{\"bits\":5}}", "model_unsupported", "bits"},
    {"\"bits\":4,\"group_size\":128,\"dynamic\":{\"(x\":{\"bits\":8}}", "model_unsupported",
     "dynamic"},
    {"\"bits\":4,\"group_size\":128,\"dynamic\":{\"x\":8}", "model_invalid", "dynamic"},
    {"\"bits\":4,\"group_size\":128,\"dynamic\":{\"x\":{\"pack_dtype\":\"int64\"}}",
     "model_unsupported", "layout"},
    {"\"bits\":4,\"group_size\":128,\"dynamic\":{\".*down\":{\"group_size\":96}}", "model_invalid",
     "does not divide"},
    {"\"bits\":4,\"group_size\":96,\"dynamic\":{\".*down\":{\"group_size\":128}}", "model_invalid",
     "does not divide"},
    {"\"bits\":4,\"group_size\":128,\"dynamic\":{\"(.*.*.*.*)*jx\":{\"bits\":8}}",
     "model_unsupported", "too long"},
    {"\"bits\":4,\"group_size\":128,\"dynamic\":1", "model_unsupported", "dynamic"},
    {"\"bits\":4,\"group_size\":128,\"checkpoint_format\":\"marlin\"", "model_unsupported",
     "checkpoint_format"},
    {"\"bits\":4,\"group_size\":128,\"checkpoint_format\":2", "model_invalid", "checkpoint_format"},
    {"\"bits\":4,\"group_size\":128,\"pack_dtype\":\"int16\"", "model_unsupported", "pack_dtype"},
    {"\"bits\":4,\"group_size\":128,\"sym\":1", "model_invalid", "sym"},
    {"\"bits\":4,\"group_size\":128,\"desc_act\":\"\"", "model_invalid", "desc_act"},
};

static void test_bad_quantizations(void **state) {
    struct model_config c;
    struct failure f = {};
    int r;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad_quantizations); i++) {
        r = read_quantized(bad_quantizations[i].fields, &c, &f);
        expect_bad(r, &f, bad_quantizations[i].code, bad_quantizations[i].words);
    }
    r = read_text(OLMOE("\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4}"), &c, &f);
    expect_bad(r, &f, "model_unsupported", "'awq'");
    r = read_text(OLMOE("\"quantization_config\":{\"bits\":4,\"group_size\":-1}"), &c, &f);
    expect_bad(r, &f, "model_unsupported", "gptq");
    /* 3 bits pack 32 values into 3 words */
    r = read_text(OLMOE("\"intermediate_size\":1040,\"quantization_config\":{\"quant_method\":"
                        "\"gptq\",\"bits\":3,\"group_size\":-1}"),
                  &c, &f);
    expect_bad(r, &f, "model_invalid", "32-bit words");
}

/* The separate file, of old writers without a method and of new ones with other names. */
static void test_quantize_config(void **state) {
    struct model_config c = {};
    struct failure f = {};

    (void)state;
    write_text("quantize_config.json", "{\"bits\":2,\"group_size\":64}");
    assert_int_equal(read_text(OLMOE("\"hidden_size\":2048"), &c, &f), 0);
    assert_true(c.quantization.present);
    assert_int_equal(c.quantization.wbits, 2);
    write_text("quantize_config.json",
               "{\"bits\":8,\"group_size\":64,\"method\":\"gptq\",\"format\":\"gptq_v2\"}");
    assert_int_equal(read_text(OLMOE("\"hidden_size\":2048"), &c, &f), 0);
    assert_true(c.quantization.v2);
    assert_int_equal(read_text(OLMOE("\"quantization_config\":{\"quant_method\":\"gptq\","
                                     "\"bits\":4,\"group_size\":32}"),
                               &c, &f),
                     0);
    assert_int_equal(c.quantization.wbits, 4);
    write_text("quantize_config.json", "{\"bits\":8");
    expect_bad(read_text(OLMOE("\"hidden_size\":2048"), &c, &f), &f, "model_invalid",
               "quantize_config.json");
    write_text("quantize_config.json", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),        cmocka_unit_test(test_all_keys),
        cmocka_unit_test(test_rope_parameters), cmocka_unit_test(test_bad_configs),
        cmocka_unit_test(test_missing),         cmocka_unit_test(test_untouched),
        cmocka_unit_test(test_auto_round),      cmocka_unit_test(test_unused_keys),
        cmocka_unit_test(test_architecture),    cmocka_unit_test(test_quantization),
        cmocka_unit_test(test_dynamic),         cmocka_unit_test(test_bad_quantizations),
        cmocka_unit_test(test_quantize_config),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
