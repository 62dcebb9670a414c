// SPDX-License-Identifier: Apache-2.0
/*
 * What openapi.json, the options of quantctl, quantctl(1) and README.md say of a job's parameters
 * is what the table says: names, types, limits, values, defaults, help.
 */
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "client/client.h"
#include "client/job/columns/parameters.h"
#include "daemon/pipeline/params/param.h"
#include "daemon/pipeline/params/params.h"
#include "daemon/pipeline/params/presets.h"

#include <ctype.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *readme, *manual;
static json_t *document;

static char *read_source(const char *name) {
    cleanup(freep) char *path = str_format("%s/%s", getenv("QUANTD_SOURCE"), name);
    char *text = NULL;
    size_t size;

    if (file_read(path, 16 << 20, &text, &size))
        fail_msg("cannot read '%s'", path);
    return text;
}

static int read_copies(void **state) {
    cleanup(freep) char *schema = read_source("api/openapi.json");

    (void)state;
    document = json_loads(schema, 0, NULL);
    readme = read_source("README.md");
    manual = read_source("docs/man/quantctl.1");
    return document ? 0 : -1;
}

static int free_copies(void **state) {
    (void)state;
    json_decref(document);
    free(readme);
    free(manual);
    return 0;
}

/* "|" between the values that @param takes, for those with a list of them; else NULL. */
static char *joined_values(const struct param *param) {
    struct strbuf list = {};

    for (size_t i = 0; param->values && param->values[i]; i++)
        strbuf_printf(&list, "%s%" JSON_INTEGER_FORMAT, i ? "|" : "", param->values[i]);
    for (size_t i = 0; param->choice && param->choice->name(i); i++)
        strbuf_printf(&list, "%s%s", i ? "|" : "", param->choice->name(i));
    return list.data;
}

/* Is @value in @text, not as a part of a longer name or number? "" always is. */
static bool says(const char *text, const char *value) {
    size_t size = strlen(value);

    for (const char *at = strstr(text, value); at; at = strstr(at + 1, value)) {
        bool begins = at == text || !(isalnum(at[-1]) || strchr("_.", at[-1]));
        bool ends = !isalnum(at[size]) && (at[size] != '.' || !isdigit(at[size + 1]));

        if (!size || (begins && ends))
            return true;
    }
    return false;
}

static void expect_all_values(const struct param *param, const char *where, const char *text) {
    cleanup(freep) char *values = joined_values(param);
    char *rest = NULL;

    for (char *v = values ? strtok_r(values, "|", &rest) : NULL; v; v = strtok_r(NULL, "|", &rest))
        if (!says(text, v))
            fail_msg("%s: '%s' does not say %s: %s", where, param->name, v, text);
}

/* The default as people write it: no quotes; "" when there is none or it is null. */
static char *plain_default(const struct param *param) {
    cleanup(json_decrefp) json_t *value =
        param->default_value ? json_loads(param->default_value, JSON_DECODE_ANY, NULL) : NULL;
    struct strbuf text = {};
    json_t *element;
    size_t i;

    strbuf_puts(&text, "");
    if (json_is_array(value)) {
        json_array_foreach(value, i, element)
            strbuf_printf(&text, "%s%s", i ? "," : "", json_string_value(element));
    } else if (json_is_string(value)) {
        strbuf_puts(&text, json_string_value(value));
    } else if (value && !json_is_null(value)) {
        strbuf_puts(&text, param->default_value);
    }
    return strbuf_steal(&text);
}

/* ---- openapi.json ---- */

static json_t *type_of(const struct param *param) {
    static const char *const names[] = {
        [PARAM_STRING] = "string", [PARAM_INTEGER] = "integer", [PARAM_SEED] = "integer",
        [PARAM_NUMBER] = "number", [PARAM_BOOLEAN] = "boolean", [PARAM_CHOICE] = "string",
        [PARAM_ALIAS] = "boolean"};

    if (param->type == PARAM_SETS)
        return json_pack("[s,s,s]", "array", "string", "null");
    if (param->type == PARAM_RULES)
        return json_pack("[s,s]", "array", "null");
    if (param->type == PARAM_NUMBERS)
        return json_string("array");
    if (str_equal(param->default_value, "null"))
        return json_pack("[s,s]", names[param->type], "null");
    return json_string(names[param->type]);
}

static json_t *enum_of(const struct param *param) {
    json_t *list = param->values || param->choice ? json_array() : NULL;

    for (size_t i = 0; param->values && param->values[i]; i++)
        json_array_append_new(list, json_integer(param->values[i]));
    for (size_t i = 0; param->choice && param->choice->name(i); i++)
        json_array_append_new(list, json_string(param->choice->name(i)));
    if (list && str_equal(param->default_value, "null"))
        json_array_append_new(list, json_null());
    return list;
}

static json_t *limit_of(const struct param *param, bool has, json_int_t limit) {
    bool number =
        param->type == PARAM_INTEGER || param->type == PARAM_SEED || param->type == PARAM_NUMBER;

    return has && number && !param->values ? json_integer(limit) : NULL;
}

/* The kinds of job that take it; NULL: every one. */
static json_t *kinds_of(const struct param *param) {
    json_t *list = json_array();

    for (int kind = JOB_QUANTIZE; kind < N_JOB_KINDS; kind++) {
        if (param->kinds >> kind & 1)
            json_array_append_new(list, json_string(job_kind_name(kind)));
    }
    if (json_array_size(list) < N_JOB_KINDS)
        return list;
    json_decref(list);
    return NULL;
}

/* Takes @expected; NULL: @property must lack @key. */
static void expect_key(const char *name, const json_t *property, const char *key,
                       json_t *expected) {
    const json_t *found = json_object_get(property, key);

    if (expected ? !json_equal(expected, found) : !!found) {
        cleanup(freep) char *want = expected ? json_dumps(expected, JSON_ENCODE_ANY) : NULL;
        cleanup(freep) char *got = found ? json_dumps(found, JSON_ENCODE_ANY) : NULL;

        fail_msg("openapi.json: %s of '%s' is %s, the table says %s", key, name,
                 got ? got : "missing", want ? want : "nothing");
    }
    json_decref(expected);
}

/* Lists of jobs are selected by the same methods. */
static void test_filter(void **state) {
    const json_t *list = json_object_get(json_object_get(document, "paths"), "/v1/jobs");
    const json_t *parameters = json_object_get(json_object_get(list, "get"), "parameters");
    const struct param *method = NULL;
    json_t *parameter;
    size_t i;
    int n = 0;

    (void)state;
    for (i = 0; !method && param_at(i); i++) {
        if (str_equal(param_at(i)->name, "method"))
            method = param_at(i);
    }
    assert_non_null(method);
    json_array_foreach((json_t *)parameters, i, parameter) {
        if (!str_equal(json_string_value(json_object_get(parameter, "name")), "method"))
            continue;
        expect_key("method", json_object_get(parameter, "schema"), "enum", enum_of(method));
        n++;
    }
    assert_int_equal(n, 1);
}

static void test_schema(void **state) {
    static const char *const of_the_queue[] = {"kind", "priority", "private", "where",
                                               "name", "labels",   "notify"};
    json_t *schema = json_object_get(
        json_object_get(json_object_get(document, "components"), "schemas"), "JobRequest");
    json_t *properties = json_object_get(schema, "properties");
    const struct param *p;
    size_t n = 0;

    (void)state;
    for (; (p = param_at(n)); n++) {
        const json_t *property = json_object_get(properties, p->name);
        bool string = p->type == PARAM_STRING;

        if (!property)
            fail_msg("openapi.json lacks '%s'", p->name);
        expect_key(p->name, property, "type", type_of(p));
        expect_key(p->name, property, "default",
                   p->default_value ? json_loads(p->default_value, JSON_DECODE_ANY, NULL) : NULL);
        expect_key(p->name, property, "minimum", limit_of(p, !p->least_excluded, p->least));
        expect_key(p->name, property, "exclusiveMinimum", limit_of(p, p->least_excluded, p->least));
        expect_key(p->name, property, "maximum", limit_of(p, true, p->most));
        expect_key(p->name, property, "minLength", string ? json_integer(p->least) : NULL);
        expect_key(p->name, property, "maxLength", string ? json_integer(p->most) : NULL);
        expect_key(p->name, property, "maxItems",
                   p->type == PARAM_SETS      ? json_integer(PARAMS_EVALS_MAX)
                   : p->type == PARAM_RULES   ? json_integer(p->most)
                   : p->type == PARAM_NUMBERS ? json_integer(PARAMS_PLAN_BITS_MAX)
                                              : NULL);
        if (p->type == PARAM_NUMBERS) {
            const json_t *items = json_object_get(property, "items");

            expect_key(p->name, items, "minimum", json_integer(p->least));
            expect_key(p->name, items, "maximum", json_integer(p->most));
        }
        expect_key(p->name, property, "enum", enum_of(p));
        expect_key(p->name, property, "x-kinds", kinds_of(p));
        expect_key(p->name, property, "deprecated", p->type == PARAM_ALIAS ? json_true() : NULL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(of_the_queue); i++)
        assert_non_null(json_object_get(properties, of_the_queue[i]));
    assert_int_equal(json_object_size(properties), n + ARRAY_SIZE(of_the_queue));
}

/* What a form shows that a preset stands for. */
static void test_presets(void **state) {
    const json_t *schemas = json_object_get(json_object_get(document, "components"), "schemas");
    const json_t *properties =
        json_object_get(json_object_get(schemas, "JobRequest"), "properties");
    json_t *all = json_object();

    (void)state;
    for (size_t i = 0; i < n_presets; i++) {
        json_t *params = preset_params(presets[i].name);

        assert_true(json_object_size(params) > 0);
        json_object_set_new(all, presets[i].name, params);
    }
    expect_key("preset", json_object_get(properties, "preset"), "x-presets", all);
}

/* ---- quantctl ---- */

/* An option that is repeated names one. */
static char *option_of(const struct param *param) {
    char *name = strdup(param->type == PARAM_RULES ? "rule" : param->name);

    for (char *c = name; c && *c; c++)
        *c = *c == '_' ? '-' : *c;
    return name;
}

static bool is_option(const struct param *param) {
    return param->type != PARAM_STRING; /* MODEL and DATASET have no name of an option */
}

static const struct arg_table *options_of(const char *verb) {
    for (size_t i = 0; verbs[i]; i++)
        if (str_equal(verbs[i]->name, verb))
            return &verbs[i]->table;
    fail_msg("quantctl has no verb %s", verb);
    return NULL;
}

static void expect_option(const char *verb, const struct param *param) {
    cleanup(freep) char *name = option_of(param), *values = joined_values(param);
    const struct arg_table *table = options_of(verb);

    for (size_t i = 0; i < table->n_options; i++) {
        const struct arg_option *option = &table->options[i];
        bool on = str_equal(param->default_value, "true"); /* so it needs a way to say no */
        bool is_switch = (param->type == PARAM_BOOLEAN && !on) || param->type == PARAM_ALIAS;

        if (!str_equal(option->name, name))
            continue;
        assert_string_equal(option->help, param->help);
        assert_int_equal(option->value == NULL, is_switch);
        if (on)
            assert_string_equal(option->value, "yes|no");
        if (values)
            assert_string_equal(option->value, values);
        return;
    }
    fail_msg("quantctl %s has no option --%s", verb, name);
}

static void test_options(void **state) {
    const struct param *param;

    (void)state;
    for (size_t i = 0; (param = param_at(i)); i++) {
        cleanup(freep) char *value = plain_default(param);

        print_message("%s\n", param->name);
        if (!is_option(param))
            continue;
        expect_option("quantize", param);
        if (param->kinds >> JOB_EXPORT & 1)
            expect_option("export", param);
        if (param->type != PARAM_BOOLEAN && param->type != PARAM_SETS && !says(param->help, value))
            fail_msg("the help of --%s does not say the default %s", param->name, value);
    }
}

/* Tables of jobs have a column for each. */
static void test_columns(void **state) {
    const struct param *param;
    size_t n = 0, n_columns = 0;

    (void)state;
    while (parameter_at(n_columns))
        n_columns++;
    for (size_t i = 0; (param = param_at(i)); i++) {
        size_t k = 0;

        if (param->type == PARAM_ALIAS)
            continue;
        while (k < n_columns && !str_equal(parameter_at(k)->key, param->name))
            k++;
        if (k == n_columns)
            fail_msg("client/job/columns/parameters.c lacks '%s'", param->name);
        n++;
    }
    assert_int_equal(n, n_columns);
}

/* ---- README.md ---- */

/* Cell @n of the row of @param, without blanks around it and without backquotes. */
static char *readme_cell(const struct param *param, int n) {
    cleanup(freep) char *head = str_format("\n| `%s` | ", param->name);
    const char *at = strstr(readme, head), *end;
    struct strbuf cell = {};

    if (!at)
        fail_msg("README.md has no row of '%s'", param->name);
    for (at++; n > 0; n--)
        at = strchr(at + 1, '|');
    end = strchr(at + 1, '|');
    strbuf_puts(&cell, "");
    for (at += 2; at < end - 1; at++)
        if (*at != '`')
            strbuf_append(&cell, at, 1);
    return strbuf_steal(&cell);
}

static void test_readme(void **state) {
    const struct param *param;

    (void)state;
    for (size_t i = 0; (param = param_at(i)); i++) {
        cleanup(freep) char *option = readme_cell(param, 1), *value = readme_cell(param, 2);
        cleanup(freep) char *meaning = readme_cell(param, 3), *name = option_of(param);
        cleanup(freep) char *flag = str_format("--%s", name), *expected = plain_default(param);

        print_message("%s\n", param->name);
        if (!is_option(param)) {
            assert_string_equal(meaning, param->help);
            continue;
        }
        assert_string_equal(option, flag);
        if (!str_equal(param->default_value, "null"))
            assert_string_equal(value, expected);
        expect_all_values(param, "README.md", meaning);
    }
}

/* ---- quantctl(1) ---- */

/* The paragraph of @param in the section of quantize, without escapes. */
static char *manual_paragraph(const struct param *param) {
    cleanup(freep) char *name = option_of(param);
    char *section = strstr(manual, ".SS quantize\n"), *end = strstr(section, "\n.SS ");
    struct strbuf text = {};

    for (char *at = section, *next; at && at < end; at = next) {
        cleanup(strbuf_done) struct strbuf paragraph = {};
        cleanup(freep) char *head = NULL;

        next = strstr(at + 1, "\n.TP\n");
        for (const char *c = at; c < (next && next < end ? next : end); c++)
            if (*c != '\\')
                strbuf_append(&paragraph, c, 1);
        head = str_format(" --%s", name);
        at = strstr(paragraph.data, head);
        if (at && strchr("\n ", at[strlen(head)])) {
            strbuf_puts(&text, at);
            return strbuf_steal(&text);
        }
    }
    fail_msg("quantctl(1) has no --%s", name);
    return NULL;
}

static void test_manual(void **state) {
    const struct param *param;

    (void)state;
    for (size_t i = 0; (param = param_at(i)); i++) {
        cleanup(freep) char *paragraph = NULL, *value = plain_default(param);

        print_message("%s\n", param->name);
        if (!is_option(param))
            continue;
        paragraph = manual_paragraph(param);
        expect_all_values(param, "quantctl(1)", paragraph);
        if (param->type != PARAM_BOOLEAN && param->type != PARAM_SETS && !says(paragraph, value))
            fail_msg("quantctl(1): --%s lacks the default %s", param->name, value);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema),  cmocka_unit_test(test_presets),
        cmocka_unit_test(test_filter),  cmocka_unit_test(test_options),
        cmocka_unit_test(test_readme),  cmocka_unit_test(test_manual),
        cmocka_unit_test(test_columns),
    };

    return cmocka_run_group_tests(tests, read_copies, free_copies);
}
