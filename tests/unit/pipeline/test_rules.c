// SPDX-License-Identifier: Apache-2.0
/* Rules: what is read and refused, which matrices they fit, and what loaders are told of them. */
#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/arch/olmoe.h"
#include "daemon/model/readers/pattern.h"
#include "daemon/pipeline/formats/dynamic.h"
#include "daemon/pipeline/params/check.h"
#include "daemon/pipeline/params/request.h"
#include "daemon/pipeline/params/schemes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct model_config model = {.arch = &arch_olmoe,
                                          .hidden_size = 256,
                                          .intermediate_size = 128,
                                          .num_hidden_layers = 3,
                                          .num_attention_heads = 8,
                                          .num_key_value_heads = 8,
                                          .head_dim = 32,
                                          .num_experts = 4,
                                          .num_experts_per_tok = 2,
                                          .vocab_size = 100};

/* The parameters of a job with @rules (JSON, ' for "); NULL with @f when they are refused. */
static struct params *parse(const char *rules, struct failure *f) {
    cleanup(freep) char *text = str_format(
        "{'model':'m','dataset':'ptb','wbits':4,'groupsize':128,'eval':'c4','rules':%s}", rules);
    cleanup(json_decrefp) json_t *request = NULL;
    struct params *params = NULL;

    for (char *c = text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    request = json_loads(text, 0, NULL);
    assert_non_null(request);
    return params_parse(JOB_QUANTIZE, request, &params, f) ? NULL : params;
}

static struct params *must_parse(const char *rules) {
    struct failure f = {};
    struct params *params = parse(rules, &f);

    if (!params)
        fail_msg("%s", f.detail);
    return params;
}

static void test_reading(void **state) {
    static const char *const pairs[][2] = {
        {"['self_attn:wbits=8']", "[{\"modules\":[\"self_attn\"],\"wbits\":8}]"},
        {"['layers=0-3,15/down_proj:wbits=4,groupsize=64,sym=true,method=rtn']",
         "[{\"modules\":[\"down_proj\"],\"layers\":\"0-3,15\",\"wbits\":4,\"groupsize\":64,"
         "\"sym\":true,\"method\":\"rtn\"}]"},
        {"['experts=1/gate_proj,up_proj:sym','layers=2:wbits=16']",
         "[{\"modules\":[\"gate_proj\",\"up_proj\"],\"experts\":\"1\",\"sym\":true},"
         "{\"layers\":\"2\",\"wbits\":16}]"},
        {"[{'modules':'q_proj,k_proj','layers':1,'experts':null,'groupsize':-1}]",
         "[{\"modules\":[\"q_proj\",\"k_proj\"],\"layers\":\"1\",\"groupsize\":-1}]"},
        {"[]", "[]"},
        {"null", "[]"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        cleanup(params_freep) struct params *params = must_parse(pairs[i][0]), *again = NULL;
        cleanup(json_decrefp) json_t *list = rules_to_json(&params->rules);
        cleanup(freep) char *text = json_dumps(list, JSON_COMPACT);
        cleanup(json_decrefp) json_t *second = NULL;

        assert_string_equal(text, pairs[i][1]);
        again = must_parse(text);
        second = rules_to_json(&again->rules);
        assert_true(json_equal(list, second));
    }
}

static void test_refused(void **state) {
    static const char *const cases[][2] = {
        {"'self_attn:wbits=8'", "must be an array"},
        {"[8]", "rule 1: must be an object"},
        {"['self_attn']", "rule 1: 'self_attn' has no colon"},
        {"['self_attn:wbits=8','mlp:wbits=8']", "rule 2: there is no module 'mlp'"},
        {"['self_attn:wbits=5']", "rule 1: wbits must be"},
        {"['self_attn:bits=8']", "rule 1: 'bits' is no setting"},
        {"['self_attn:wbits=8,wbits=4']", "'wbits' is there twice"},
        {"['self_attn/q_proj:wbits=8']", "'modules' is there twice"},
        {"['rows=1:wbits=8']", "'rows' selects nothing"},
        {"['self_attn:groupsize=100']", "groupsize must be"},
        {"['self_attn:groupsize=0']", "groupsize must be"},
        {"['self_attn:method=awq']", "no such method"},
        {"['self_attn:sym=1']", "sym must be"},
        {"['layers=3-1:wbits=8']", "layers must be"},
        {"['layers=x:wbits=8']", "layers must be"},
        {"['layers=:wbits=8']", "layers must be"},
        {"['layers=1-:wbits=8']", "layers must be"},
        {"['layers=99999:wbits=8']", "layers must be"},
        {"[':wbits=8']", "nothing between"},
        {"['self_attn:wbits=16,sym']", "16 bits leave"},
        {"['experts=1/q_proj:wbits=8']", "attention has no experts"},
        {"[{'wbits':8}]", "it selects every matrix"},
        {"[{'modules':'q_proj'}]", "it sets nothing"},
        {"[{'modules':[],'wbits':8}]", "modules must be"},
        {"[{'modules':[1],'wbits':8}]", "no module"},
        {"[{'module':'q_proj','wbits':8}]", "unknown member 'module'"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct failure f = {};

        if (parse(cases[i][0], &f))
            fail_msg("%s is taken", cases[i][0]);
        assert_string_equal(f.field, "rules");
        if (!strstr(f.detail, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], f.detail);
    }
}

/* What only the model's configuration shows. */
static void test_model(void **state) {
    static const char *const cases[][3] = {
        {"['layers=1-3:wbits=8']", "rule 1: there is no layer 3", "rules"},
        {"['q_proj:wbits=8','experts=2,9:wbits=8']", "rule 2: there is no expert 9", "rules"},
        {"['self_attn:wbits=8','q_proj:wbits=4']", "rule 2: every matrix", "rules"},
        {"['experts=0-3:wbits=8','layers=0/experts=1:wbits=4']", "rule 2: every matrix", "rules"},
        {"['down_proj:groupsize=256']", "rule 1: 256 does not divide the 128 in-features", "rules"},
        {"['layers=0-2:wbits=16']", "leave every matrix", "rules"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup(params_freep) struct params *params = must_parse(cases[i][0]);
        struct failure f = {};

        assert_int_equal(rules_check(params, &model, &f), -EINVAL);
        assert_string_equal(f.field, cases[i][2]);
        if (!strstr(f.detail, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], f.detail);
    }
}

/* A name of the vocabulary that is in no tensor would fit nothing, ever. */
static void test_modules(void **state) {
    (void)state;
    for (int i = 0; i < RULE_MODULES_MAX; i++) {
        cleanup(freep) char *rules = str_format("['%s:wbits=8']", rule_modules[i]);
        cleanup(params_freep) struct params *params = must_parse(rules);
        struct failure f = {};

        if (rules_check(params, &model, &f))
            fail_msg("%s", f.detail);
    }
}

static struct schemes *schemes_of(const struct params *params) {
    struct schemes *schemes = NULL;
    struct failure f = {};

    assert_int_equal(rules_check(params, &model, &f), 0);
    assert_int_equal(rules_schemes(params, &model, &schemes, &f), 0);
    return schemes;
}

struct expectation {
    const struct quantization_config *q;
    const struct overrides *overrides;
    int n;
};

/* What a loader finds for the name of a matrix is what was asked for. */
static int expect_found(void *ctx, const struct arch_tensor *t, int layer, int expert) {
    struct expectation *expectation = ctx;
    const struct scheme *scheme, *found = NULL;
    char name[MATRIX_NAME_SIZE];

    if (t->role != ROLE_MATRIX)
        return 0;
    arch_name(t->name, layer, expert, name);
    scheme = scheme_of(&model, expectation->q, t, layer, expert);
    assert_int_equal(overrides_find(expectation->overrides, name, &found), 0);
    if (!found)
        found = &expectation->q->schemes->list[0];
    if (found->wbits != scheme->wbits || found->groupsize != scheme->groupsize ||
        found->sym != scheme->sym)
        fail_msg("%s: %d bits, not %d", name, found->wbits, scheme->wbits);
    expectation->n++;
    return 0;
}

static void test_patterns(void **state) {
    static const char *const cases[] = {
        "['self_attn:wbits=8']",
        "['layers=1/self_attn:wbits=16','self_attn:wbits=8','experts=1,3/down_proj:groupsize=64']",
        "['layers=0,2/experts:wbits=2,sym','q_proj:method=rtn','layers=1/v_proj:wbits=3']",
        "['experts=0/gate_proj:wbits=8','experts=0-2:wbits=3','layers=2:wbits=2']",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup(params_freep) struct params *params = must_parse(cases[i]);
        cleanup(freep) struct schemes *schemes = schemes_of(params);
        cleanup(overrides_done) struct overrides overrides = {};
        struct quantization_config q = params_quantization(params);
        struct expectation expectation = {&q, &overrides, 0};

        q.schemes = schemes;
        for (int j = 1; j < schemes->n; j++) {
            cleanup(json_decrefp) json_t *patterns = scheme_patterns(&model, &q, j);
            json_t *pattern;
            size_t k;

            assert_true(json_array_size(patterns) > 0);
            json_array_foreach(patterns, k, pattern) assert_int_equal(
                overrides_add_pattern(&overrides, json_string_value(pattern), &schemes->list[j]),
                0);
        }
        arch_walk(&model, expect_found, &expectation);
        assert_int_equal(expectation.n, schemes->n_matrices);
    }
}

/* vLLM asks for the names of its own modules. */
static void test_merged(void **state) {
    cleanup(params_freep) struct params *params =
        must_parse("['self_attn:wbits=8','layers=1/experts:wbits=16']");
    cleanup(freep) struct schemes *schemes = schemes_of(params);
    struct quantization_config q = params_quantization(params);
    cleanup(json_decrefp) json_t *dynamic = NULL;
    cleanup(freep) char *text = NULL;

    (void)state;
    q.schemes = schemes;
    dynamic = dynamic_rules(&model, &q);
    text = json_dumps(dynamic, JSON_COMPACT);
    assert_string_equal(
        text, "{\"model\\\\.layers\\\\.\\\\d+\\\\.(self_attn\\\\.qkv_proj|self_attn\\\\.q_proj|"
              "self_attn\\\\.k_proj|self_attn\\\\.v_proj|self_attn\\\\.o_proj)\":"
              "{\"bits\":8,\"group_size\":128,\"sym\":false},"
              "\"-:model\\\\.layers\\\\.1\\\\.mlp\\\\.experts\":{}}");
}

static void test_warning(void **state) {
    static const struct {
        const char *rules, *words;
    } cases[] = {
        {"['self_attn:wbits=8','layers=1/experts:wbits=3']", ""},
        {"['k_proj:wbits=8']", "self_attn.qkv_proj in layer 0"},
        {"['layers=1/down_proj:wbits=8']", "mlp.experts in layer 1"},
        {"['layers=2/experts=3:wbits=16']", "mlp.experts in layer 2"},
        {"['k_proj:method=rtn']", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup(params_freep) struct params *params = must_parse(cases[i].rules);
        char text[CHECK_WARNING_SIZE];
        struct failure f = {};

        assert_int_equal(check_warning(&model, params, text, &f), 0);
        assert_int_equal(text[0] == '\0', cases[i].words[0] == '\0');
        assert_non_null(strstr(text, cases[i].words));
    }
}

/* Expressions come from files of others. */
static void test_hostile_patterns(void **state) {
    struct pattern *pattern = NULL;
    bool matches = false;

    (void)state;
    assert_int_equal(pattern_new("(", &pattern), -EINVAL);
    assert_int_equal(pattern_new("\\C", &pattern), -EINVAL);
    assert_int_equal(pattern_new("(a+)+$", &pattern), 0);
    assert_int_equal(pattern_match(pattern, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", &matches),
                     -EINVAL);
    assert_int_equal(pattern_match(pattern, "aaa", &matches), 0);
    assert_true(matches);
    assert_int_equal(pattern_match(pattern, "baa", &matches), 0);
    assert_false(matches);
    pattern_free(pattern);
}

/* vLLM takes less of experts than of attention: what a rule is refused for follows from which. */
static void test_vllm(void **state) {
    static const struct {
        const char *job, *rules;
        bool taken;
    } cases[] = {
        {"'wbits':4,'groupsize':64", "['self_attn:wbits=8']", true},
        {"'wbits':4,'groupsize':64", "['q_proj,k_proj,v_proj:wbits=8','o_proj:wbits=16']", true},
        {"'wbits':4,'groupsize':64", "['self_attn:wbits=8,groupsize=128']", true},
        {"'wbits':4,'groupsize':64", "['self_attn:wbits=8,groupsize=-1']", true},
        {"'wbits':4,'groupsize':64", "['experts:wbits=8,groupsize=-1']", false},
        {"'wbits':4,'groupsize':64", "['experts:groupsize=-1']", false},
        {"'wbits':4,'groupsize':64", "['experts:wbits=8']", false},
        {"'wbits':4,'groupsize':64", "['layers=0:wbits=8']", false},
        {"'wbits':4,'groupsize':64", "['self_attn:wbits=3']", false},
        {"'wbits':8,'groupsize':64", "['experts:wbits=4']", true},
        {"'wbits':8,'groupsize':64", "['layers=1/experts:wbits=4']", false},
        {"'wbits':8,'groupsize':64", "['down_proj:wbits=4']", false},
        {"'wbits':4,'groupsize':128", "['experts:groupsize=64']", true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup(freep) char *text = str_format(
            "{'model':'m','dataset':'ptb','eval':'c4','for':'vllm','format':'compressed-tensors',"
            "'sym':true,%s,'rules':%s}",
            cases[i].job, cases[i].rules);
        cleanup(params_freep) struct params *params = NULL;
        cleanup(json_decrefp) json_t *request = NULL;
        cleanup(freep) struct schemes *schemes = NULL;
        struct quantization_config q;
        struct failure f = {};
        int r;

        for (char *c = text; *c; c++)
            *c = *c == '\'' ? '"' : *c;
        request = json_loads(text, 0, NULL);
        assert_non_null(request);
        r = params_parse(JOB_QUANTIZE, request, &params, &f);
        if (!r)
            r = rules_check_formats(params, &model, &f);
        if (!r) {
            assert_int_equal(rules_schemes(params, &model, &schemes, &f), 0);
            q = params_quantization(params);
            q.schemes = schemes;
            r = params_check(params, &q, &model, &f);
        }
        if ((r == 0) != cases[i].taken)
            fail_msg("%s %s: %d %s", cases[i].job, cases[i].rules, r, f.detail);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_model),    cmocka_unit_test(test_modules),
        cmocka_unit_test(test_patterns), cmocka_unit_test(test_merged),
        cmocka_unit_test(test_warning),  cmocka_unit_test(test_hostile_patterns),
        cmocka_unit_test(test_vllm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
