// SPDX-License-Identifier: Apache-2.0
/* quantization_config of compressed-tensors: what is read, and what is refused with which words. */
#include "base/macros.h"
#include "daemon/model/readers/compressed_tensors.h"
#include "daemon/model/readers/readers.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static size_t n_overrides; /* of the last parse() */

static int parse(const char *fields, struct quantization_config *ret_config, struct failure *f) {
    static const int in_features[] = {2048, 1024};
    struct overrides overrides = {};
    struct quantization_source source = {.path = "config.json",
                                         .needs_method = true,
                                         .in_features = in_features,
                                         .n = ARRAY_SIZE(in_features),
                                         .overrides = &overrides,
                                         .failure = f};
    char text[1200];
    json_t *value;
    int r;

    snprintf(text, sizeof(text), "{\"quant_method\":\"compressed-tensors\"%s}", fields);
    value = json_loads(text, 0, NULL);
    assert_non_null(value);
    source.value = value;
    r = quantization_config_parse(&source, ret_config);
    json_decref(value);
    n_overrides = overrides.n;
    overrides_done(&overrides);
    return r;
}

#define GROUPS(group) ",\"config_groups\":{\"group_0\":" group "}"
#define WEIGHTS(weights) GROUPS("{\"targets\":[\"Linear\"],\"weights\":{" weights "}}")
#define BITS_4 "\"num_bits\":4,\"strategy\":\"group\",\"group_size\":128"

static const struct {
    const char *fields;
    int wbits, groupsize;
    bool sym, unordered;
} good[] = {
    {",\"format\":\"pack-quantized\"" WEIGHTS(BITS_4), 4, 128, true, false},
    {",\"format\":null,\"ignore\":[1,{}],\"kv_cache_scheme\":null" WEIGHTS(
         BITS_4 ",\"symmetric\":false,\"actorder\":\"static\",\"type\":\"int\",\"dynamic\":false"),
     4, 128, false, false},
    {WEIGHTS("\"num_bits\":8,\"strategy\":\"channel\",\"group_size\":null"), 8, -1, true, false},
    {WEIGHTS("\"num_bits\":3,\"strategy\":\"channel\",\"group_size\":-1"), 3, -1, true, false},
    {WEIGHTS("\"num_bits\":2,\"group_size\":64,\"actorder\":\"weight\""), 2, 64, true, false},
    {WEIGHTS("\"num_bits\":2,\"group_size\":-1,\"actorder\":false"), 2, -1, true, false},
    {WEIGHTS(BITS_4 ",\"actorder\":\"group\""), 4, 128, true, true},
    {WEIGHTS(BITS_4 ",\"actorder\":true"), 4, 128, true, true},
    /* Two groups of one scheme; what else they say means nothing. */
    {",\"config_groups\":{\"a\":{\"weights\":{" BITS_4 ",\"observer\":\"mse\"}},"
     "\"b\":{\"weights\":{" BITS_4 ",\"actorder\":null},\"format\":\"pack-quantized\"}}",
     4, 128, true, false},
};

static void test_good(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct quantization_config q = {};
        struct failure f = {};

        if (parse(good[i].fields, &q, &f))
            fail_msg("%s: %s", good[i].fields, f.detail);
        assert_true(q.present && q.v2 && q.reader == &reader_compressed_tensors);
        assert_int_equal(q.wbits, good[i].wbits);
        assert_int_equal(q.groupsize, good[i].groupsize);
        assert_int_equal(q.sym, good[i].sym);
        assert_int_equal(q.desc_act, good[i].unordered);
    }
}

static const struct {
    const char *fields, *code, *words;
} bad[] = {
    {"", "model_invalid", "config_groups"},
    {",\"config_groups\":[]", "model_invalid", "config_groups"},
    {",\"config_groups\":{}", "model_invalid", "config_groups"},
    {GROUPS("{}"), "model_unsupported", "config_groups"},
    {GROUPS("[]"), "model_unsupported", "config_groups"},
    {GROUPS("{\"weights\":null}"), "model_unsupported", "weights"},
    {",\"format\":\"marlin-24\"" WEIGHTS(BITS_4), "model_unsupported", "pack-quantized"},
    {",\"format\":4" WEIGHTS(BITS_4), "model_unsupported", "pack-quantized"},
    {",\"kv_cache_scheme\":{}" WEIGHTS(BITS_4), "model_unsupported", "kv_cache_scheme"},
    {GROUPS("{\"weights\":{" BITS_4 "},\"format\":\"int-quantized\"}"), "model_unsupported",
     "pack-quantized"},
    {GROUPS("{\"weights\":{" BITS_4 "},\"input_activations\":{\"num_bits\":8}}"),
     "model_unsupported", "input_activations"},
    {GROUPS("{\"weights\":{" BITS_4 "},\"output_activations\":{}}"), "model_unsupported",
     "output_activations"},
    {",\"config_groups\":{\"a\":{\"targets\":[\"Linear\"],\"weights\":{" BITS_4 "}},"
     "\"b\":{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":8,\"strategy\":\"channel\"}}}",
     "model_unsupported", "one scheme"},
    {GROUPS("{\"targets\":[1],\"weights\":{" BITS_4 "}}"), "model_invalid", "strings"},
    {GROUPS("{\"targets\":[\"re:(\"],\"weights\":{" BITS_4 "}}"), "model_unsupported",
     "expressions"},
    {WEIGHTS("\"strategy\":\"channel\""), "model_invalid", "num_bits"},
    {WEIGHTS("\"num_bits\":4.0,\"strategy\":\"channel\""), "model_invalid", "num_bits"},
    {WEIGHTS("\"num_bits\":5,\"strategy\":\"channel\""), "model_unsupported", "2, 3, 4 or 8"},
    {WEIGHTS("\"num_bits\":4294967300,\"strategy\":\"channel\""), "model_unsupported", "num_bits"},
    {WEIGHTS("\"num_bits\":8,\"type\":\"float\",\"strategy\":\"channel\""), "model_unsupported",
     "int"},
    {WEIGHTS("\"num_bits\":4"), "model_unsupported", "group or channel"},
    {WEIGHTS("\"num_bits\":4,\"strategy\":\"block\""), "model_unsupported", "group or channel"},
    {WEIGHTS("\"num_bits\":4,\"strategy\":1"), "model_unsupported", "group or channel"},
    {WEIGHTS("\"num_bits\":4,\"strategy\":\"group\""), "model_invalid", "divisor"},
    {WEIGHTS("\"num_bits\":4,\"strategy\":\"group\",\"group_size\":-1"), "model_invalid",
     "divisor"},
    {WEIGHTS("\"num_bits\":4,\"strategy\":\"group\",\"group_size\":2048"), "model_invalid",
     "divisor"},
    {WEIGHTS("\"num_bits\":4,\"strategy\":\"group\",\"group_size\":4294967424"), "model_invalid",
     "divisor"},
    {WEIGHTS("\"num_bits\":4,\"group_size\":\"128\""), "model_invalid", "group_size"},
    {WEIGHTS(BITS_4 ",\"symmetric\":1"), "model_invalid", "symmetric"},
    {WEIGHTS(BITS_4 ",\"actorder\":\"random\""), "model_unsupported", "actorder"},
    {WEIGHTS(BITS_4 ",\"actorder\":1"), "model_unsupported", "actorder"},
};

/* What is named goes before what is matched; the class holds for the rest. */
static void test_groups(void **state) {
    struct quantization_config q = {};
    struct failure f = {};

    (void)state;
    if (parse(",\"config_groups\":{\"a\":{\"targets\":[\"re:.*q_proj\",\"x.y\"],\"weights\":{"
              "\"num_bits\":8,\"strategy\":\"channel\"}},\"b\":{\"targets\":[\"Linear\"],"
              "\"weights\":{" BITS_4 "}}}",
              &q, &f))
        fail_msg("%s", f.detail);
    assert_int_equal(q.wbits, 4);
    assert_int_equal(n_overrides, 2);
}

static void test_bad(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct quantization_config q = {.wbits = 77};
        struct failure f = {};
        int r = parse(bad[i].fields, &q, &f);

        if (r != -EBADMSG || strcmp(f.code, bad[i].code) || !strstr(f.detail, bad[i].words))
            fail_msg("%s: %d %s '%s' instead of %s '%s'", bad[i].fields, r, f.code, f.detail,
                     bad[i].code, bad[i].words);
        assert_int_equal(q.wbits, 77);
        assert_true(strlen(f.hint) > 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
