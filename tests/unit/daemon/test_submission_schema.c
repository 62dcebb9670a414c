// SPDX-License-Identifier: Apache-2.0
/* What openapi.json says of a request's fields is what the daemon takes: names, defaults, limits.
 */
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/queue/submission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *document, *schema, *properties;

static int read_schema(void **state) {
    cleanup(freep) char *path = NULL;

    (void)state;
    if (asprintf(&path, "%s/api/openapi.json", getenv("QUANTD_SOURCE")) < 0)
        return -1;
    document = json_load_file(path, 0, NULL);
    schema = json_object_get(json_object_get(json_object_get(document, "components"), "schemas"),
                             "JobRequest");
    properties = json_object_get(schema, "properties");
    return json_object_size(properties) ? 0 : -1;
}

static int free_schema(void **state) {
    (void)state;
    json_decref(document);
    return 0;
}

/* What an engine reads of what a job would ask for besides; NULL: all of it. */
static json_t *read_by(const char *engine) {
    static const char *const reads[][2] = {
        {"vllm", "dense"}, {"llama.cpp", "gguf"}, {"transformers", "dense"}};

    for (size_t i = 0; engine && i < ARRAY_SIZE(reads); i++) {
        if (strcmp(engine, reads[i][0]) == 0)
            return json_string(reads[i][1]);
    }
    return NULL;
}

/* What the daemon says to @value (owned here) in field @name of a job of @kind: taken or not. */
static bool takes(const char *kind, const char *name, json_t *value) {
    bool exports = !strcmp(kind, "export") || str_equal(json_string_value(value), "export");
    cleanup(json_decrefp) json_t *request =
        json_pack("{s:s s:s s:s*}", "kind", kind, "model", exports ? "job:1" : "m", "eval",
                  exports ? NULL : "c4");
    cleanup(submission_freep) struct submission *submission = NULL;
    struct failure failure = {};

    if (strcmp(kind, "eval") && strcmp(name, "kind") && !exports)
        json_object_update_new(request, json_pack("{s:i s:s}", "wbits", 4, "dataset", "ptb"));
    if (!strcmp(name, "gguf_type"))
        json_object_del(request, "wbits"); /* it says how many */
    if (!strcmp(name, "for") && strcmp(kind, "eval"))
        json_object_update_new(request,
                               json_pack("{s:o*}", "format", read_by(json_string_value(value))));
    if (!strcmp(name, "gguf_embedding") && strcmp(kind, "eval"))
        json_object_set_new(request, "format", json_string("gguf"));
    if (!strcmp(kind, "quantize") && (!strcmp(name, "target_unit") || !strcmp(name, "plan_bits")))
        json_object_set_new(request, "plan_only", json_true());
    json_object_set_new(request, name, value);
    if (!submission_parse(request, &submission, &failure))
        return true;
    assert_string_equal(failure.code, "invalid_parameter");
    assert_string_equal(failure.field, name);
    return false;
}

/* @value as an integer or as a real number, whichever the field is. */
static json_t *number(const json_t *property, double value) {
    bool real = str_equal(json_string_value(json_object_get(property, "type")), "number");

    return real ? json_real(value) : json_integer((json_int_t)value);
}

static void check_limits(const char *name, const json_t *property) {
    json_t *least = json_object_get(property, "minimum"),
           *most = json_object_get(property, "maximum"),
           *above = json_object_get(property, "exclusiveMinimum");

    if (least) {
        assert_true(takes("quantize", name, json_incref(least)));
        assert_false(takes("quantize", name, number(property, json_number_value(least) - 1)));
    }
    if (above)
        assert_false(takes("quantize", name, json_incref(above)));
    if (!most)
        return;
    assert_true(takes("quantize", name, json_incref(most)));
    if (json_number_value(most) < 9e18)
        assert_false(takes("quantize", name, number(property, json_number_value(most) + 1)));
    assert_false(takes("quantize", name, json_string("1")));
}

static json_t *text_of(size_t size) {
    cleanup(freep) char *text = calloc(size + 1, 1);

    memset(text, 'x', size);
    return json_string(text);
}

static void check_lengths(const char *name, const json_t *property) {
    size_t most = json_integer_value(json_object_get(property, "maxLength"));

    if (json_object_get(property, "minLength"))
        assert_false(takes("quantize", name, json_string("")));
    if (!most)
        return;
    if (strcmp(name, "dataset")) /* its names are known ones */
        assert_true(takes("quantize", name, text_of(most)));
    assert_false(takes("quantize", name, text_of(most + 1)));
}

static void check_values(const char *name, const json_t *property) {
    json_t *value;
    size_t i;

    json_array_foreach(json_object_get(property, "enum"), i, value)
        assert_true(takes("quantize", name, json_incref(value)));
    if (json_object_get(property, "enum")) {
        assert_false(takes("quantize", name, json_string("none of them")));
        assert_false(takes("quantize", name, json_integer(5)));
    }
    json_array_foreach(json_object_get(property, "examples"), i, value)
        assert_true(takes("quantize", name, json_incref(value)));
    if (!str_equal(json_string_value(json_object_get(property, "type")), "boolean"))
        return;
    assert_true(takes("quantize", name, json_true()));
    assert_false(takes("quantize", name, json_integer(1)));
}

static void test_fields(void **state) {
    const char *name;
    json_t *property;

    (void)state;
    json_object_foreach(properties, name, property) {
        print_message("%s\n", name);
        check_limits(name, property);
        check_lengths(name, property);
        check_values(name, property);
    }
}

/* A form is made of these: each field has a short title and a sentence. */
static void test_words(void **state) {
    const char *name;
    json_t *property;

    (void)state;
    json_object_foreach(properties, name, property) {
        const char *title = json_string_value(json_object_get(property, "title"));
        const char *text = json_string_value(json_object_get(property, "description"));

        print_message("%s\n", name);
        assert_true(title && strlen(title) <= 24);
        assert_true(text && strlen(text) >= 20 && text[strlen(text) - 1] == '.');
        assert_true(json_object_get(property, "default") || !strcmp(name, "model") ||
                    !strcmp(name, "dataset") || json_object_get(property, "deprecated"));
    }
}

/* What is not asked for has the default of the document. */
/* 0 and 0.0 are the same number to JSON. */
static bool is_same(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static void test_defaults(void **state) {
    cleanup(json_decrefp) json_t *request = json_pack("{s:s s:s}", "model", "m", "method", "rtn");
    cleanup(submission_freep) struct submission *submission = NULL;
    cleanup(json_decrefp) json_t *params = NULL;
    struct failure failure = {};
    const char *name;
    json_t *value;

    (void)state;
    assert_int_equal(submission_parse(request, &submission, &failure), 0);
    params = params_to_json(submission->params);
    json_object_foreach(params, name, value) {
        json_t *property = json_object_get(properties, name);

        print_message("%s\n", name);
        assert_non_null(property);
        if (strcmp(name, "model") && strcmp(name, "dataset") && strcmp(name, "method"))
            assert_true(is_same(json_object_get(property, "default"), value));
    }
    assert_int_equal(
        submission->priority,
        json_integer_value(json_object_get(json_object_get(properties, "priority"), "default")));
    assert_false(takes("quantize", "colour", json_true()));
}

/* The formats that a form offers are those of the table, in its order. */
static void test_formats(void **state) {
    json_t *values = json_object_get(json_object_get(properties, "format"), "enum");

    (void)state;
    assert_int_equal(json_array_size(values), n_formats);
    for (int i = 0; i < n_formats; i++)
        assert_string_equal(json_string_value(json_array_get(values, i)), formats[i]->name);
}

/* What the document says that a job of @kind does not take. */
static const json_t *refused_by(const char *kind) {
    json_t *rule;
    size_t i;

    json_array_foreach(json_object_get(schema, "allOf"), i, rule) {
        json_t *of = json_object_get(json_object_get(rule, "if"), "properties");

        if (str_equal(json_string_value(json_object_get(json_object_get(of, "kind"), "const")),
                      kind))
            return json_object_get(json_object_get(rule, "then"), "properties");
    }
    fail_msg("openapi.json has no rule for kind '%s'", kind);
    return NULL;
}

static void check_kind(const char *kind) {
    const json_t *refused = refused_by(kind);
    const char *name;
    json_t *property;

    json_object_foreach(properties, name, property) {
        json_t *value = json_array_get(json_object_get(property, "examples"), 0);

        print_message("%s: %s\n", kind, name);
        if (!value)
            value = json_object_get(property, "default");
        if (!value)
            value = json_true();
        if (!strcmp(kind, "export") && !strcmp(name, "model"))
            assert_false(takes(kind, name, json_incref(value)));
        else if (strcmp(name, "kind"))
            assert_int_equal(takes(kind, name, json_incref(value)),
                             !json_object_get(refused, name));
    }
}

/* What a job of each kind does not take is what the document says. */
static void test_kinds(void **state) {
    (void)state;
    check_kind("eval");
    check_kind("export");
    assert_true(takes("export", "model", json_string("job:7")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),   cmocka_unit_test(test_words),
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_formats),
        cmocka_unit_test(test_kinds),
    };

    return cmocka_run_group_tests(tests, read_schema, free_schema);
}
