// SPDX-License-Identifier: Apache-2.0
#include "client/http/parameter_text.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"

#include <inttypes.h>

static void put_value(struct strbuf *text, const json_t *value);

static void put_list(struct strbuf *text, const json_t *list, const char *between) {
    json_t *element;
    size_t i;

    json_array_foreach((json_t *)list, i, element) {
        strbuf_puts(text, i ? between : "");
        put_value(text, element);
    }
}

/* A rule as --rule takes it: "layers=0-3,15/down_proj:wbits=4,groupsize=64". */
static void put_rule(struct strbuf *text, const json_t *rule) {
    static const char *const selectors[] = {"layers", "experts"};
    static const char *const settings[] = {"wbits", "groupsize", "sym", "method"};
    const json_t *modules = json_object_get(rule, "modules");
    const char *before = "";

    for (size_t i = 0; i < ARRAY_SIZE(selectors); i++) {
        if (!json_object_get(rule, selectors[i]))
            continue;
        strbuf_printf(text, "%s%s=", before, selectors[i]);
        put_value(text, json_object_get(rule, selectors[i]));
        before = "/";
    }
    if (modules)
        strbuf_puts(text, before);
    if (json_is_array(modules))
        put_list(text, modules, ",");
    else
        put_value(text, modules);
    before = ":";
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        const json_t *value = json_object_get(rule, settings[i]);

        if (!value)
            continue;
        strbuf_printf(text, "%s%s=", before, settings[i]);
        if (json_is_boolean(value))
            strbuf_puts(text, json_is_true(value) ? "true" : "false");
        else
            put_value(text, value);
        before = ",";
    }
}

static void put_value(struct strbuf *text, const json_t *value) {
    if (json_is_boolean(value))
        strbuf_puts(text, json_is_true(value) ? "yes" : "no");
    else if (json_is_integer(value))
        strbuf_printf(text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        strbuf_printf(text, "%.10g", json_real_value(value));
    else if (json_is_string(value))
        strbuf_puts(text, json_string_value(value));
    else if (json_is_array(value))
        put_list(text, value, ", ");
    else if (json_is_object(value))
        put_rule(text, value);
}

json_t *parameter_text(const json_t *value) {
    cleanup(strbuf_done) struct strbuf text = {};

    strbuf_puts(&text, "");
    put_value(&text, value);
    return text.failed ? NULL : json_string(text.data);
}
