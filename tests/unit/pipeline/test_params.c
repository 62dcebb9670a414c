// SPDX-License-Identifier: Apache-2.0
/* What a request may say: every field, every limit, every combination that is refused. */
#include "base/json.h"
#include "base/str.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/methods/method.h"
#include "daemon/pipeline/params/presets.h"
#include "daemon/pipeline/params/request.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* The JSON of @text, which says ' for ". */
static json_t *request(const char *text) {
    cleanup(freep) char *copy = strdup(text);
    struct failure failure = {};
    json_t *value = NULL;

    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    if (json_parse(copy, strlen(copy), "request", "bad", &value, &failure))
        fail_msg("%s: %s", copy, failure.detail);
    return value;
}

static struct params *parse(enum job_kind kind, const char *text) {
    cleanup(json_decrefp) json_t *object = request(text);
    struct params *params = NULL;
    struct failure failure = {};

    if (params_parse(kind, object, &params, &failure))
        fail_msg("%s: %s", text, failure.detail);
    return params;
}

static void test_defaults(void **state) {
    cleanup(params_freep) struct params *p =
        parse(JOB_QUANTIZE, "{'model': 'm', 'dataset': 'ptb', 'wbits': 4}");

    (void)state;
    assert_string_equal(p->model, "m");
    assert_string_equal(p->dataset, "ptb");
    assert_int_equal(p->wbits, 4);
    assert_int_equal(p->groupsize, -1);
    assert_int_equal(p->nsamples, 128);
    assert_int_equal(p->seqlen, 0);
    assert_true(p->seed == 0);
    assert_true(p->percdamp == 0.01 && p->drift == 0);
    assert_false(p->act_order || p->sym || p->true_sequential || p->static_groups);
    assert_ptr_equal(p->method, &method_gptq);
    assert_int_equal(p->grid, GRID_MINMAX);
    assert_int_equal(p->refine, 0);
    assert_ptr_equal(p->format, &format_gptq);
    assert_int_equal(p->n_eval, 3);
    assert_string_equal(p->eval[0], "wikitext2");
    assert_string_equal(p->eval[1], "ptb");
    assert_string_equal(p->eval[2], "c4");
}

static void test_every_field(void **state) {
    cleanup(params_freep) struct params *p = parse(
        JOB_QUANTIZE, "{'model': 'org/m@r', 'dataset': 'file:a/b.txt', 'wbits': 3, 'groupsize': 64,"
                      " 'nsamples': 7, 'seqlen': 33, 'seed': 9223372036854775807,"
                      " 'act_order': true, 'sym': true, 'true_sequential': true,"
                      " 'static_groups': true, 'grid': 'mse', 'method': 'gptq', 'percdamp': 1, "
                      "'drift': 0.5, 'refine': 16,"
                      " 'eval': ['ptb-new', 'c4-new', 'file:x'], 'format': 'dense'}");
    cleanup(json_decrefp) json_t *object = params_to_json(p), *again = NULL;
    cleanup(params_freep) struct params *copy = NULL;
    struct failure failure = {};

    (void)state;
    assert_string_equal(p->model, "org/m@r");
    assert_string_equal(p->dataset, "file:a/b.txt");
    assert_int_equal(p->wbits, 3);
    assert_int_equal(p->groupsize, 64);
    assert_int_equal(p->nsamples, 7);
    assert_int_equal(p->seqlen, 33);
    assert_true(p->seed == INT64_MAX);
    assert_true(p->act_order && p->sym && p->true_sequential && p->static_groups);
    assert_int_equal(p->grid, GRID_MSE);
    assert_ptr_equal(p->method, &method_gptq);
    assert_true(p->percdamp == 1 && p->drift == 0.5);
    assert_int_equal(p->refine, 16);
    assert_ptr_equal(p->format, &format_dense);
    assert_int_equal(p->n_eval, 3);

    /* What is written down can be asked for again. */
    if (params_parse(JOB_QUANTIZE, object, &copy, &failure))
        fail_msg("%s", failure.detail);
    again = params_to_json(copy);
    assert_true(json_equal(object, again));
}

static void test_good(void **state) {
    static const struct {
        enum job_kind kind;
        const char *text;
        int n_eval;
    } rows[] = {
        {JOB_EVAL, "{'model': 'm'}", 3},
        {JOB_EVAL, "{'model': 'm', 'seqlen': 2, 'eval': 'ptb'}", 1},
        {JOB_QUANTIZE, "{'model': 'm'}", 3},
        {JOB_QUANTIZE, "{'model': 'm', 'wbits': 4, 'nearest': true, 'eval': []}", 0},
        {JOB_QUANTIZE, "{'model': 'm', 'wbits': 4, 'method': 'rtn', 'eval': ''}", 0},
        {JOB_QUANTIZE, "{'model': 'm', 'wbits': 2, 'dataset': 'c4', 'eval': 'ptb,c4'}", 2},
        {JOB_QUANTIZE, "{'model': 'm', 'wbits': 8, 'dataset': 'c4', 'groupsize': 65536}", 3},
        {JOB_QUANTIZE, "{'model': 'm', 'wbits': 8, 'dataset': 'c4', 'nsamples': 65536}", 3},
        {JOB_QUANTIZE, "{'model': 'm', 'wbits': 8, 'dataset': 'c4', 'seqlen': 131072}", 3},
        /* null is as good as absent, in every field */
        {JOB_QUANTIZE,
         "{'model': 'm', 'wbits': 4, 'dataset': 'ptb', 'groupsize': null, 'nsamples': null,"
         " 'preset': null, 'seqlen': null, 'seed': null, 'act_order': null, 'sym': null, 'mse': "
         "null, 'grid': null,"
         " 'true_sequential': null, 'static_groups': null, 'nearest': null, 'method': null,"
         " 'percdamp': null, 'drift': null, 'refine': null,"
         " 'format': null, 'for': null, 'eval': null}",
         3},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        cleanup(params_freep) struct params *params = parse(rows[i].kind, rows[i].text);

        assert_int_equal(params->n_eval, rows[i].n_eval);
    }
}

/* Each preset is a request that is taken, and is written down with what it stands for. */
static void test_presets(void **state) {
    (void)state;
    for (size_t i = 0; i < n_presets; i++) {
        cleanup(freep) char *text =
            str_format("{'model': 'm', 'dataset': 'c4', 'preset': '%s'}", presets[i].name);
        cleanup(params_freep) struct params *p = parse(JOB_QUANTIZE, text);
        cleanup(json_decrefp) json_t *object = params_to_json(p);
        cleanup(json_decrefp) json_t *stands_for = preset_params(presets[i].name);
        const char *name;
        json_t *value;

        assert_string_equal(json_string_value(json_object_get(object, "preset")), presets[i].name);
        json_object_foreach(stands_for, name, value)
            assert_true(json_equal(json_object_get(object, name), value));
    }
}

/* What is asked for wins over the preset, also by an older spelling; null asks for nothing. */
static void test_preset_loses(void **state) {
    cleanup(params_freep) struct params *p =
        parse(JOB_QUANTIZE, "{'model': 'm', 'dataset': 'c4', 'preset': 'best', 'wbits': 3,"
                            " 'grid': 'minmax', 'drift': 0, 'act_order': false, 'refine': null}");
    cleanup(params_freep) struct params *mse =
        parse(JOB_QUANTIZE, "{'model': 'm', 'dataset': 'c4', 'preset': 'best', 'mse': true}");
    cleanup(json_decrefp) json_t *object = params_to_json(p), *again = NULL;
    cleanup(params_freep) struct params *copy = NULL;
    struct failure failure = {};

    (void)state;
    assert_int_equal(p->wbits, 3);
    assert_int_equal(p->grid, GRID_MINMAX);
    assert_true(p->drift == 0 && !p->act_order && p->static_groups && p->true_sequential);
    assert_int_equal(p->refine, 3);
    assert_int_equal(mse->grid, GRID_MSE);
    assert_true(mse->drift == 0.5);

    assert_int_equal(params_parse(JOB_QUANTIZE, object, &copy, &failure), 0);
    again = params_to_json(copy);
    assert_true(json_equal(object, again));
}

/* A K type says all of its grids, over a preset too, and is read again as it was written. */
static void test_gguf_type(void **state) {
    cleanup(params_freep) struct params *p =
        parse(JOB_QUANTIZE, "{'model': 'm', 'dataset': 'c4', 'preset': 'best', 'gguf_type': 'q3_k',"
                            " 'rules': ['down_proj:wbits=8', 'self_attn:wbits=16']}");
    cleanup(params_freep) struct params *rtn =
        parse(JOB_QUANTIZE, "{'model': 'm', 'method': 'rtn', 'gguf_type': 'q2_k', 'mse': true,"
                            " 'format': 'dense'}");
    cleanup(json_decrefp) json_t *object = params_to_json(p), *again = NULL;
    cleanup(params_freep) struct params *copy = NULL;
    struct failure failure = {};

    (void)state;
    assert_int_equal(p->wbits, 3);
    assert_int_equal(p->groupsize, 16);
    assert_true(p->sym && p->static_groups && p->act_order && p->grid == GRID_HESSIAN);
    assert_ptr_equal(p->format, &format_gguf);
    assert_int_equal(params_quantization(p).sub_bits, 6);
    assert_false(params_quantization(p).desc_act);
    assert_int_equal(rtn->grid, GRID_MSE);
    assert_ptr_equal(rtn->format, &format_dense);
    assert_int_equal(params_quantization(rtn).sub_bits, 4);

    assert_int_equal(params_parse(JOB_QUANTIZE, object, &copy, &failure), 0);
    again = params_to_json(copy);
    assert_true(json_equal(object, again));
}

/* Requests of 0.1.0 say nearest and mse; what is written down says method and grid. */
static void test_aliases(void **state) {
    static const struct {
        const char *members;
        const struct method_ops *method;
        enum grid_fit grid;
    } rows[] = {
        {"'nearest': false, 'mse': false", &method_gptq, GRID_MINMAX},
        {"'nearest': true, 'mse': false", &method_rtn, GRID_MINMAX},
        {"'nearest': false, 'mse': true", &method_gptq, GRID_MSE},
        {"'nearest': true, 'mse': true", &method_rtn, GRID_MSE},
        {"'nearest': null, 'mse': true, 'method': 'rtn'", &method_rtn, GRID_MSE},
        {"'nearest': true, 'method': 'rtn', 'grid': 'mse', 'mse': true", &method_rtn, GRID_MSE},
        {"'nearest': false, 'method': 'gptq', 'grid': null, 'mse': true", &method_gptq, GRID_MSE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        cleanup(freep) char *text =
            str_format("{'model': 'm', 'dataset': 'ptb', 'wbits': 4, %s}", rows[i].members);
        cleanup(params_freep) struct params *params = parse(JOB_QUANTIZE, text);
        cleanup(json_decrefp) json_t *object = params_to_json(params);

        print_message("%s\n", text);
        assert_ptr_equal(params->method, rows[i].method);
        assert_int_equal(params->grid, rows[i].grid);
        assert_string_equal(json_string_value(json_object_get(object, "method")),
                            rows[i].method->name);
        assert_string_equal(json_string_value(json_object_get(object, "grid")),
                            rows[i].grid == GRID_MSE ? "mse" : "minmax");
        assert_null(json_object_get(object, "nearest"));
        assert_null(json_object_get(object, "mse"));
    }
}

/* The params of a job that 0.1.0 did. */
static void test_renewed(void **state) {
    static const struct {
        const char *old, *renewed;
    } rows[] = {
        {"{'wbits': 4, 'mse': true, 'nearest': false}",
         "{'wbits': 4, 'grid': 'mse', 'method': 'gptq'}"},
        {"{'mse': false, 'nearest': true}", "{'grid': 'minmax', 'method': 'rtn'}"},
        {"{'method': 'rtn', 'grid': 'mse'}", "{'method': 'rtn', 'grid': 'mse'}"},
        {"{}", "{}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        cleanup(json_decrefp) json_t *old = request(rows[i].old), *same = json_deep_copy(old);
        cleanup(json_decrefp) json_t *expected = request(rows[i].renewed);
        cleanup(json_decrefp) json_t *renewed = params_renewed(old);

        assert_true(json_equal(renewed, expected));
        assert_true(json_equal(old, same)); /* others hold it too */
    }
}

/* {'model': 'm', 'dataset': 'ptb', 'wbits': 4} and @member */
static const struct {
    const char *member, *field, *words;
} bad_members[] = {
    {"'wbit': 4", "wbit", "unknown field"},
    {"'': 4", "", "unknown field"},
    {"'priority': 1", "priority", "unknown field"},
    {"'wbits': 5", "wbits", "2, 3, 4, 8 or 16"},
    {"'wbits': 0", "wbits", "2, 3, 4, 8 or 16"},
    {"'wbits': 4294967300", "wbits", "2, 3, 4, 8 or 16"},
    {"'wbits': '4'", "wbits", "2, 3, 4, 8 or 16"},
    {"'wbits': 4.0", "wbits", "2, 3, 4, 8 or 16"},
    {"'wbits': true", "wbits", "2, 3, 4, 8 or 16"},
    {"'groupsize': 0", "groupsize", "multiple of 8"},
    {"'groupsize': -2", "groupsize", "multiple of 8"},
    {"'groupsize': 4", "groupsize", "multiple of 8"},
    {"'groupsize': 100", "groupsize", "multiple of 8"},
    {"'groupsize': 65544", "groupsize", "multiple of 8"},
    {"'groupsize': 4294967424", "groupsize", "multiple of 8"},
    {"'groupsize': '128'", "groupsize", "multiple of 8"},
    {"'groupsize': [128]", "groupsize", "multiple of 8"},
    {"'nsamples': 0", "nsamples", "from 1 to 65536"},
    {"'nsamples': -1", "nsamples", "from 1 to 65536"},
    {"'nsamples': 65537", "nsamples", "from 1 to 65536"},
    {"'nsamples': 1.5", "nsamples", "from 1 to 65536"},
    {"'nsamples': {}", "nsamples", "from 1 to 65536"},
    {"'seqlen': 1", "seqlen", "from 2 to 131072"},
    {"'seqlen': 0", "seqlen", "from 2 to 131072"},
    {"'seqlen': 131073", "seqlen", "from 2 to 131072"},
    {"'seqlen': false", "seqlen", "from 2 to 131072"},
    {"'seed': -1", "seed", "from 0"},
    {"'seed': 1e3", "seed", "from 0"},
    {"'seed': 'x'", "seed", "from 0"},
    {"'act_order': 1", "act_order", "true or false"},
    {"'sym': 'true'", "sym", "true or false"},
    {"'true_sequential': 0", "true_sequential", "true or false"},
    {"'static_groups': []", "static_groups", "true or false"},
    {"'mse': {}", "mse", "true or false"},
    {"'nearest': 0.5", "nearest", "true or false"},
    {"'percdamp': 0", "percdamp", "above 0 and at most 1"},
    {"'percdamp': -0.01", "percdamp", "above 0 and at most 1"},
    {"'percdamp': 1.0001", "percdamp", "above 0 and at most 1"},
    {"'percdamp': '0.01'", "percdamp", "above 0 and at most 1"},
    {"'preset': 'fastest'", "preset", "fast"},
    {"'preset': 4", "preset", "best"},
    {"'percdamp': true", "percdamp", "above 0 and at most 1"},
    {"'drift': -0.1", "drift", "of at least 0 and at most 1"},
    {"'drift': 1.5", "drift", "of at least 0 and at most 1"},
    {"'drift': true", "drift", "of at least 0 and at most 1"},
    {"'nearest': true, 'drift': 0.5", "drift", "no calibration"},
    {"'format': 'GPTQ'", "format", "gptq"},
    {"'format': 4", "format", "gptq"},
    {"'for': 'vLLM'", "for", "\"vllm\" or \"llama.cpp\""},
    {"'for': 'llama.cpp'", "format", "llama.cpp does not read gptq"},
    {"'gguf_type': 'q5_k'", "gguf_type", "\"q2_k\" or \"q3_k\" or \"q4_k\""},
    {"'gguf_type': 'q2_k'", "wbits", "is 2 with gguf_type q2_k"},
    {"'gguf_type': 'q4_k', 'groupsize': 256", "groupsize", "is 32 with gguf_type q4_k"},
    {"'gguf_type': 'q4_k', 'sym': true", "sym", "is false with"},
    {"'gguf_type': 'q4_k', 'static_groups': false", "static_groups", "is true with"},
    {"'gguf_type': 'q4_k', 'grid': 'mse'", "grid", "is \"hessian\" with"},
    {"'gguf_type': 'q4_k', 'mse': true", "mse", "the grid is hessian"},
    {"'gguf_type': 'q4_k', 'format': 'gptq'", "format", "gptq cannot hold the grids"},
    {"'gguf_type': 'q4_k', 'format': 'compressed-tensors'", "format", "cannot hold the grids"},
    {"'gguf_type': 'q4_k', 'target_bits': 4.5", "gguf_type", "target_bits"},
    {"'gguf_type': 'q4_k', 'rules': ['down_proj:wbits=4']", "rules", "rule 1: sets what gguf_type"},
    {"'gguf_type': 'q4_k', 'rules': ['down_proj:sym']", "rules", "rule 1: sets what gguf_type"},
    {"'gguf_type': 'q4_k', 'for': 'vllm'", "format", "does not read OLMoE from gguf"},
    {"'eval': 4", "eval", "array or a list"},
    {"'eval': {}", "eval", "array or a list"},
    {"'eval': ['ptb', 4]", "eval", "hold strings"},
    {"'eval': ['ptb', null]", "eval", "hold strings"},
    {"'eval': 'ptb,ptb'", "eval", "named twice"},
    {"'eval': ['c4', 'ptb', 'c4']", "eval", "named twice"},
    {"'eval': 'wikitext'", "eval", "unknown data set 'wikitext'"},
    {"'eval': 'file:'", "eval", "cannot be a file below a data root"},
    {"'eval': 'file:../x'", "eval", "cannot be a file below a data root"},
    {"'eval': 'ptb, c4'", "eval", "unknown data set ' c4'"},
    {"'eval': ['']", "eval", "unknown data set ''"},
    {"'eval': 'file:1,file:2,file:3,file:4,file:5,file:6,file:7,file:8,file:9,file:10,file:11,"
     "file:12,file:13,file:14,file:15,file:16,file:17'",
     "eval", "more than 16"},
    {"'model': ''", "model", "string of 1 to 1024"},
    {"'model': 4", "model", "string of 1 to 1024"},
    {"'model': null", "model", "is required"},
    {"'dataset': ''", "dataset", "string of 1 to 1024"},
    {"'dataset': ['ptb']", "dataset", "string of 1 to 1024"},
    {"'dataset': 'file:/etc/../passwd'", "dataset", "cannot be a file below a data root"},
    {"'dataset': 'pile'", "dataset", "unknown data set 'pile'"},
    {"'dataset': null", "dataset", "needs a calibration set"},
    {"'method': 'rtn', 'act_order': true", "method", "no calibration"},
    {"'nearest': true, 'true_sequential': true", "method", "no calibration"},
    {"'method': 'nearest'", "method", "\"gptq\" or \"rtn\""},
    {"'method': true", "method", "\"gptq\" or \"rtn\""},
    {"'grid': 'max'", "grid", "\"minmax\" or \"mse\" or \"hessian\""},
    {"'grid': []", "grid", "\"minmax\" or \"mse\" or \"hessian\""},
    {"'refine': -1", "refine", "whole number from 0 to 16"},
    {"'refine': 17", "refine", "whole number from 0 to 16"},
    {"'refine': 1.5", "refine", "whole number from 0 to 16"},
    {"'refine': true", "refine", "whole number from 0 to 16"},
    {"'method': 'rtn', 'preset': 'reference'", "preset", "has no calibration"},
    {"'method': 'rtn', 'preset': 'fast', 'act_order': false", "preset", "has no calibration"},
    {"'method': 'rtn', 'refine': 1", "refine", "no calibration to refine by"},
    {"'method': 'rtn', 'grid': 'hessian'", "grid", "weighs errors by the calibration"},
    {"'nearest': true, 'method': 'gptq'", "nearest", "contradicts method 'gptq'"},
    {"'nearest': false, 'method': 'rtn'", "nearest", "contradicts method 'rtn'"},
    {"'mse': true, 'grid': 'minmax'", "mse", "contradicts grid 'minmax'"},
    {"'mse': false, 'grid': 'mse'", "mse", "contradicts grid 'mse'"},
    {"'nearest': true, 'method': 'none'", "method", "\"gptq\" or \"rtn\""},
    {"'wbits': 16, 'eval': []", "eval", "only evaluates"},
};

static void expect_bad(enum job_kind kind, const json_t *object, const char *field,
                       const char *words) {
    struct params *params = NULL;
    struct failure failure = {};
    int r = params_parse(kind, object, &params, &failure);

    if (r != -EINVAL || params || !str_equal(failure.code, "invalid_parameter") ||
        !str_equal(failure.field, field) || !strstr(failure.detail, words) || failure.retryable)
        fail_msg("%d %s of '%s': '%s', not '%s' of '%s'", r, failure.code, failure.field,
                 failure.detail, words, field);
}

static void test_bad_members(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad_members); i++) {
        cleanup(freep) char *text = str_format("{%s}", bad_members[i].member);
        cleanup(json_decrefp) json_t *object =
            request("{'model': 'm', 'dataset': 'ptb', 'wbits': 4}");
        cleanup(json_decrefp) json_t *member = request(text);

        json_object_update(object, member);
        expect_bad(JOB_QUANTIZE, object, bad_members[i].field, bad_members[i].words);
    }
}

/* An unknown choice is answered by the list of choices. */
static void test_titles(void **state) {
    cleanup(json_decrefp) json_t *object = request("{'model': 'm', 'method': 'magic'}");
    struct params *params = NULL;
    struct failure failure = {};

    (void)state;
    assert_int_equal(params_parse(JOB_QUANTIZE, object, &params, &failure), -EINVAL);
    for (size_t i = 0; i < n_methods; i++) {
        cleanup(freep) char *line = str_format("%s: %s", methods[i]->name, methods[i]->title);

        assert_non_null(strstr(failure.hint, line));
    }
}

/* An evaluation takes a model, a window and the sets, nothing of the quantization. */
static void test_eval_takes_little(void **state) {
    static const char *const fields[] = {
        "dataset",   "wbits",   "groupsize",       "nsamples",      "seed",
        "act_order", "sym",     "true_sequential", "static_groups", "mse",
        "grid",      "nearest", "method",          "percdamp",      "format",
        "for",       "refine",  "drift",           "preset"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        cleanup(json_decrefp) json_t *object = request("{'model': 'm'}");

        json_object_set_new(object, fields[i], json_integer(4));
        expect_bad(JOB_EVAL, object, fields[i], "an eval job does not take it");
    }
}

static void test_no_object(void **state) {
    static const char *const texts[] = {"[]", "['model']", "{}"};
    struct params *params = NULL;
    struct failure failure = {};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        cleanup(json_decrefp) json_t *value = request(texts[i]);

        assert_int_equal(params_parse(JOB_EVAL, value, &params, &failure), -EINVAL);
        assert_string_equal(failure.code, "invalid_parameter");
    }
    assert_int_equal(params_parse(JOB_EVAL, NULL, &params, &failure), -EINVAL);
    assert_null(params);
}

static void test_long_names(void **state) {
    char name[2000];

    (void)state;
    for (int size = 1023; size <= 1026; size++) {
        cleanup(json_decrefp) json_t *object = request("{'eval': 'ptb'}");
        cleanup(params_freep) struct params *params = NULL;
        struct failure failure = {};

        memset(name, 'm', sizeof(name));
        name[size] = '\0';
        json_object_set_new(object, "model", json_string(name));
        assert_int_equal(params_parse(JOB_EVAL, object, &params, &failure),
                         size <= 1024 ? 0 : -EINVAL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_field),
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_renewed),
        cmocka_unit_test(test_bad_members),
        cmocka_unit_test(test_presets),
        cmocka_unit_test(test_preset_loses),
        cmocka_unit_test(test_gguf_type),
        cmocka_unit_test(test_titles),
        cmocka_unit_test(test_eval_takes_little),
        cmocka_unit_test(test_no_object),
        cmocka_unit_test(test_long_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
