// SPDX-License-Identifier: Apache-2.0
/*
 * What a job does when calibration does not give what GPTQ needs: experts without tokens, inputs
 * that are all alike; and GPTQ on models of other geometries. Never a NaN, never in silence.
 */
#include "tests/e2e/lab.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>

/* ---- what the events of the last run say ---- */

struct tally {
    int gptq, rtn, raised; /* matrices; of gptq, those with more damping than asked for */
    int warnings;          /* of job.warning, about fallback or damping */
};

static json_t *number_at(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);

    if (json_is_real(value))
        assert_true(isfinite(json_real_value(value)));
    return value;
}

static void tally_matrix(struct tally *tally, const json_t *matrix, double percdamp) {
    const char *method = json_string_value(json_object_get(matrix, "method"));
    const char *reason = json_string_value(json_object_get(matrix, "reason"));
    double damping = json_number_value(number_at(matrix, "damping"));
    json_t *error = number_at(matrix, "error");

    assert_true(json_is_null(error) || json_number_value(error) >= 0);
    if (str_equal(method, "rtn")) {
        assert_true(reason && reason[0]);
        assert_true(json_is_null(json_object_get(matrix, "damping")));
        tally->rtn++;
        return;
    }
    assert_string_equal(method, "gptq");
    assert_null(reason);
    assert_true(damping >= (float)percdamp && damping <= 1);
    assert_true(json_integer_value(json_object_get(matrix, "tokens")) > 0);
    tally->gptq++;
    tally->raised += damping > (float)percdamp;
}

static struct tally tally_events(const struct lab *lab, double percdamp) {
    struct tally tally = {};
    json_t *event, *matrix;
    size_t i, j;

    json_array_foreach(lab->events, i, event) {
        const char *kind = json_string_value(json_object_get(event, "kind"));
        const json_t *data = json_object_get(event, "data");
        const char *code = json_string_value(json_object_get(data, "code"));

        if (str_equal(kind, "job.warning")) {
            assert_true(str_equal(code, "fell_back_to_rtn") || str_equal(code, "damping_raised"));
            assert_non_null(
                strstr(json_string_value(json_object_get(data, "detail")), "model.layers."));
            tally.warnings++;
        }
        if (!str_equal(kind, "layer.finished"))
            continue;
        json_array_foreach(json_object_get(data, "matrices"), j, matrix)
            tally_matrix(&tally, matrix, percdamp);
    }
    return tally;
}

static void expect_readable(struct lab *lab, const char *job, const json_t *result) {
    cleanup(freep) char *model = lab_path(lab, "jobs/%s/artifact", job);
    cleanup(freep) char *name = str_format("%s-read", job);
    cleanup(freep) char *request =
        str_format("{'kind': 'eval', 'seqlen': %d}",
                   (int)json_integer_value(json_object_get(result, "seqlen")));
    cleanup(json_decrefp) json_t *read = lab_must(lab, name, model, request);

    assert_true(fabs(lab_perplexity(read) / lab_perplexity(result) - 1) < 1e-6);
}

static void write_text(const struct lab *lab, const char *name, const char *text) {
    cleanup(freep) char *path = lab_path(lab, "data/%s", name);

    assert_int_equal(file_replace(path, text, strlen(text)), 0);
}

/* ---- tests ---- */

static void test_enough(void **state) {
    struct lab *lab = *state;
    cleanup(json_decrefp) json_t *result =
        lab_must(lab, "enough", NULL, "{'wbits': 4, 'nsamples': 32}");
    struct tally tally = tally_events(lab, 0.01);

    assert_int_equal(tally.gptq + tally.rtn, 3 * (4 + 3 * 16));
    assert_int_equal(tally.rtn, 0);
    assert_int_equal(tally.warnings, 0);
    expect_readable(lab, "enough", result);
}

/* Eight tokens reach a few of the experts. */
static void test_starved_experts(void **state) {
    struct lab *lab = *state;
    cleanup(json_decrefp) json_t *result =
        lab_must(lab, "starved", NULL,
                 "{'wbits': 4, 'groupsize': 64, 'nsamples': 1, 'seqlen': 8, 'act_order': true}");
    struct tally tally = tally_events(lab, 0.01);

    printf("starved: %d gptq, %d rtn, %d raised\n", tally.gptq, tally.rtn, tally.raised);
    assert_int_equal(tally.gptq + tally.rtn, 3 * (4 + 3 * 16));
    assert_true(tally.rtn > 20 && tally.gptq >= 3 * 4);
    assert_true(tally.warnings == tally.rtn + tally.raised);
    expect_readable(lab, "starved", result);
}

/* One token again and again: every H has rank 1, and damping alone makes it invertible. */
static void test_singular(void **state) {
    static const char *const requests[][2] = {
        {"singular", "{'wbits': 4, 'nsamples': 1, 'dataset': 'file:same.txt'}"},
        {"singular-act", "{'wbits': 3, 'nsamples': 1, 'dataset': 'file:same.txt', 'groupsize': 64,"
                         " 'act_order': true, 'percdamp': 0.0001}"},
        {"singular-tiny", "{'wbits': 2, 'nsamples': 2, 'dataset': 'file:same.txt', 'sym': true,"
                          " 'true_sequential': true, 'percdamp': 1e-12}"},
    };
    static const double percdamps[] = {0.01, 0.0001, 1e-12};
    struct lab *lab = *state;
    char text[2001];

    for (size_t i = 0; i + 1 < sizeof(text); i++)
        text[i] = 'z';
    text[sizeof(text) - 1] = '\0';
    write_text(lab, "same.txt", text);
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        cleanup(json_decrefp) json_t *result = lab_must(lab, requests[i][0], NULL, requests[i][1]);
        struct tally tally = tally_events(lab, percdamps[i]);

        printf("%s: %d gptq, %d rtn, %d raised, perplexity %.2f\n", requests[i][0], tally.gptq,
               tally.rtn, tally.raised, lab_perplexity(result));
        assert_int_equal(tally.gptq + tally.rtn, 3 * (4 + 3 * 16));
        assert_true(tally.warnings == tally.rtn + tally.raised);
        if (percdamps[i] < 1e-8) /* too little for f32 */
            assert_true(tally.raised + tally.rtn > 3 * 16);
        expect_readable(lab, requests[i][0], result);
    }
}

static bool kill_column(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    (void)ctx;
    (void)ret_data;
    if (strstr(t->name, "input_layernorm") || strstr(t->name, "post_attention"))
        memset(data, 0, t->size / 2);
    return true;
}

/* Half of the inputs are always zero. A dead column is rounded, and its weights are kept. */
static void test_dead_columns(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *model = lab_rewrite(lab, lab->demo, "dead", kill_column, NULL);
    cleanup(json_decrefp) json_t *result =
        lab_must(lab, "dead", model, "{'wbits': 4, 'groupsize': 64, 'act_order': true}");
    struct tally tally = tally_events(lab, 0.01);

    assert_true(tally.gptq > 3 * 16);
    expect_readable(lab, "dead", result);
}

static bool zero_expert(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    (void)ctx;
    (void)ret_data;
    if (strstr(t->name, "experts.2.") || strstr(t->name, "layers.1.self_attn.v_proj"))
        memset(data, 0, t->size);
    return true;
}

/* A matrix of zeros has no range and no output: its grid is [-1, 1] and its error nothing. */
static void test_zero_weights(void **state) {
    static const char *const requests[][2] = {
        {"zero", "{'wbits': 4, 'groupsize': 64}"},
        {"zero-sym", "{'wbits': 3, 'sym': true, 'mse': true}"},
        {"zero-nearest", "{'wbits': 2, 'nearest': true}"},
    };
    struct lab *lab = *state;
    cleanup(freep) char *model = lab_rewrite(lab, lab->demo, "zero", zero_expert, NULL);

    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        cleanup(json_decrefp) json_t *result = lab_must(lab, requests[i][0], model, requests[i][1]);

        expect_readable(lab, requests[i][0], result);
    }
}

/* ---- other geometries ---- */

/* The demo's tokenizer cut down to single characters: ids 0 .. 93 are '!' .. '~'. */
static void put_tokenizer(const struct lab *lab, const char *model) {
    cleanup(freep) char *from = str_format("%s/tokenizer.json", lab->demo), *text = NULL;
    cleanup(freep) char *to = str_format("%s/tokenizer.json", model);
    cleanup(json_decrefp) json_t *tokenizer = NULL;
    json_t *vocab = json_object(), *old, *id;
    struct failure failure = {};
    const char *token;

    if (json_parse_file(from, 1 << 20, "bad", &tokenizer, &failure))
        fail_msg("%s", failure.detail);
    old = json_object_get(json_object_get(tokenizer, "model"), "vocab");
    json_object_foreach(old, token, id) {
        bool two_bytes = ((unsigned char)token[0] & 0xe0) == 0xc0;

        if (strlen(token) == (two_bytes ? 2u : 1u))
            json_object_set_new(vocab, token, json_integer(json_integer_value(id) - 2));
    }
    json_object_set_new(tokenizer, "added_tokens", json_array());
    json_object_set_new(json_object_get(tokenizer, "model"), "merges", json_array());
    json_object_set_new(json_object_get(tokenizer, "model"), "vocab", vocab);
    text = json_dumps(tokenizer, 0);
    assert_int_equal(file_replace(to, text, strlen(text)), 0);
}

static void test_geometries(void **state) {
    static const char *const names[] = {"kv-heads", "clip",     "norm-topk", "tied",
                                        "odd",      "defaults", "mixed"};
    struct lab *lab = *state;
    uint32_t random = 1;
    char text[3001];

    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        random = random * 1664525 + 1013904223;
        text[i] = (char)('!' + (random >> 16) % 94);
    }
    text[sizeof(text) - 1] = '\0';
    write_text(lab, "characters.txt", text);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const char *source = getenv("QUANTD_SOURCE");
        cleanup(freep) char *from =
            str_format("%s/tests/data/geometry/%s", source ? source : ".", names[i]);
        cleanup(freep) char *model = lab_copy(lab, from, names[i]), *artifact = NULL;
        cleanup(freep) char *job = str_format("geometry-%s", names[i]);
        cleanup(freep) char *read = str_format("%s-read", job);
        cleanup(json_decrefp) json_t *result = NULL, *again = NULL, *a = NULL, *b = NULL;

        put_tokenizer(lab, model);
        result = lab_must(lab, job, model,
                          "{'wbits': 3, 'groupsize': 32, 'act_order': true, 'seqlen': 64,"
                          " 'dataset': 'file:characters.txt', 'eval': 'file:characters.txt'}");
        artifact = lab_path(lab, "jobs/%s/artifact", job);
        again = lab_must(lab, read, artifact,
                         "{'kind': 'eval', 'seqlen': 64, 'eval': 'file:characters.txt'}");
        a = json_incref(json_object_get(result, "perplexity"));
        b = json_incref(json_object_get(again, "perplexity"));
        assert_true(json_equal(a, b));
        assert_int_equal(lab_count(lab, "job.warning"), 0);
    }
}

/* ---- weights that no grid holds ---- */

#define HUGE_MATRIX "model.layers.0.mlp.experts.5.up_proj"

static bool put_huge(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    (void)ret_data;
    if (str_equal(t->name, HUGE_MATRIX ".weight"))
        memcpy(data + 2 * 77, ctx, sizeof(uint16_t));
    return true;
}

/* Is there a warning with @code and, in its detail, @words? */
static bool is_warned(const struct lab *lab, const char *code, const char *words) {
    json_t *event;
    size_t i;

    json_array_foreach(lab->events, i, event) {
        const json_t *data = json_object_get(event, "data");
        const char *detail = json_string_value(json_object_get(data, "detail"));

        if (str_equal(json_string_value(json_object_get(event, "kind")), "job.warning") &&
            str_equal(json_string_value(json_object_get(data, "code")), code) &&
            strstr(detail, words))
            return true;
    }
    return false;
}

/* The error that the last run reported of the matrix @name. */
static json_t *error_of(const struct lab *lab, const char *name) {
    json_t *event, *matrix;
    size_t i, j;

    json_array_foreach(lab->events, i, event) {
        json_array_foreach(json_object_get(json_object_get(event, "data"), "matrices"), j, matrix) {
            if (str_equal(json_string_value(json_object_get(matrix, "name")), name))
                return json_object_get(matrix, "error");
        }
    }
    fail_msg("no report of %s", name);
    return NULL;
}

/* A scale beyond F16 is said; an error that overflows is a number among the worst. */
static void test_huge_weights(void **state) {
    static uint16_t huge[] = {0x49f4 /* 2e6 */, 0x7f62 /* 3e38 */};
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(huge); i++) {
        cleanup(freep) char *name = str_format("huge-%zu", i), *rtn = str_format("huge-rtn-%zu", i);
        cleanup(freep) char *model = lab_rewrite(lab, lab->demo, name, put_huge, &huge[i]);

        json_decref(lab_must(lab, name, model, "{'wbits': 4, 'groupsize': 64, 'eval': []}"));
        assert_true(is_warned(lab, "scale_overflow", HUGE_MATRIX));
        assert_false(is_warned(lab, "scale_overflow", "experts.6."));
        if (!(json_real_value(error_of(lab, HUGE_MATRIX)) > (i ? 0.5 : 0)))
            fail_msg("%s: error %g", name, json_real_value(error_of(lab, HUGE_MATRIX)));
        json_decref(lab_must(lab, rtn, model, "{'wbits': 8, 'nearest': true, 'eval': []}"));
        assert_int_equal(is_warned(lab, "scale_overflow", HUGE_MATRIX), i == 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enough),       cmocka_unit_test(test_starved_experts),
        cmocka_unit_test(test_singular),     cmocka_unit_test(test_dead_columns),
        cmocka_unit_test(test_zero_weights), cmocka_unit_test(test_geometries),
        cmocka_unit_test(test_huge_weights),
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
