// SPDX-License-Identifier: Apache-2.0
/* Reading rules: an object each, or a text, of which such an object is made. */
#include "base/cleanup.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/pipeline/methods/method.h"
#include "daemon/pipeline/params/rule.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANGES_MAX 4096
#define NUMBER_MAX 4095 /* of a layer or an expert: the limits of models are below */
#define GROUPSIZE_MAX 65536
#define EXAMPLE "write, for example, layers=0-3,15/down_proj:wbits=4,groupsize=64"
#define MODULES "self_attn, q_proj, k_proj, v_proj, o_proj, experts, gate_proj, up_proj, down_proj"

struct reading {
    int number; /* of the rule, from 1 */
    struct failure *failure;
};

static int refuse(const struct reading *reading, const char *hint, const char *format, ...)
    printf_format(3, 4);

static int refuse(const struct reading *reading, const char *hint, const char *format, ...) {
    char what[200];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    str_make_printable(what);
    return failure_field(reading->failure, "rules", hint, "rule %d: %s", reading->number, what);
}

/* ---- text to an object ---- */

static int put(const struct reading *reading, json_t *object, const char *key, json_t *value) {
    if (json_object_get(object, key)) {
        json_decref(value);
        return refuse(reading, EXAMPLE, "'%s' is there twice", key);
    }
    return json_object_set_new(object, key, value) ? refuse(reading, EXAMPLE, "is not UTF-8") : 0;
}

/* "layers=0-3", "experts=1", or modules. */
static int put_selector(const struct reading *reading, json_t *object, char *word) {
    char *equals = strchr(word, '=');

    if (!word[0])
        return refuse(reading, EXAMPLE, "nothing between two slashes, or before the colon");
    if (!equals)
        return put(reading, object, "modules", json_string(word));
    *equals = '\0';
    if (!str_equal(word, "layers") && !str_equal(word, "experts"))
        return refuse(reading, EXAMPLE, "'%s' selects nothing: layers and experts do", word);
    return put(reading, object, word, json_string(equals + 1));
}

static json_t *number_or_text(const char *text) {
    bool negative = text[0] == '-';
    uint64_t n;

    if (str_parse_u64(text + negative, INT32_MAX, &n))
        return json_string(text);
    return json_integer(negative ? -(json_int_t)n : (json_int_t)n);
}

static int put_setting(const struct reading *reading, json_t *object, char *word) {
    static const char *const names[] = {"wbits", "groupsize", "sym", "method"};
    char *equals = strchr(word, '=');
    const char *value = equals ? equals + 1 : "true"; /* "sym" alone */

    if (equals)
        *equals = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        bool is_flag = str_equal(value, "true") || str_equal(value, "false");

        if (!str_equal(word, names[i]))
            continue;
        return put(reading, object, word,
                   is_flag ? json_boolean(value[0] == 't') : number_or_text(value));
    }
    return refuse(reading, EXAMPLE, "'%s' is no setting: wbits, groupsize, sym and method are",
                  word);
}

static int read_text(const struct reading *reading, const char *text, json_t **ret_object) {
    cleanup(json_decrefp) json_t *object = json_object();
    cleanup(freep) char *copy = strdup(text);
    char *settings, *selectors = copy, *word;
    int r = 0;

    if (!object || !copy)
        return failure_oom(reading->failure);
    settings = strchr(copy, ':');
    if (!settings)
        return refuse(reading, EXAMPLE, "'%s' has no colon and settings", text);
    *settings++ = '\0';
    while (!r && (word = strsep(&selectors, "/")))
        r = put_selector(reading, object, word);
    while (!r && (word = strsep(&settings, ",")))
        r = put_setting(reading, object, word);
    if (!r)
        *ret_object = steal_ptr(object);
    return r;
}

/* ---- an object to a rule ---- */

static int add_module(const struct reading *reading, const char *name, struct rule *rule) {
    for (int i = 0; i < RULE_MODULES_MAX; i++) {
        if (str_equal(name, rule_modules[i])) {
            rule->modules |= 1u << i;
            return 0;
        }
    }
    return refuse(reading, "the modules are " MODULES, "there is no module '%s'", name ? name : "");
}

/* "a,b", or ["a", "b"]. */
static int read_modules(const struct reading *reading, const json_t *value, struct rule *rule) {
    cleanup(freep) char *list = NULL;
    char *rest, *word;
    json_t *element;
    size_t i;
    int r = 0;

    if (!json_is_string(value) && json_array_size(value) == 0)
        return refuse(reading, "the modules are " MODULES, "modules must be a name or some names");
    json_array_foreach(value, i, element) {
        r = add_module(reading, json_string_value(element), rule);
        if (r)
            return r;
    }
    if (json_is_array(value))
        return 0;
    rest = list = strdup(json_string_value(value));
    if (!list)
        return failure_oom(reading->failure);
    while (!r && (word = strsep(&rest, ",")))
        r = add_module(reading, word, rule);
    return r;
}

static int add_range(const struct reading *reading, char *word, const char *key,
                     struct ranges *ranges) {
    char *dash = strchr(word, '-');
    uint64_t first = 0, last = 0;
    int r;

    if (dash)
        *dash = '\0';
    r = str_parse_u64(word, NUMBER_MAX, &first);
    last = first;
    if (!r && dash)
        r = str_parse_u64(dash + 1, NUMBER_MAX, &last);
    if (r || last < first || ranges->n == RANGES_MAX)
        return refuse(reading, "write numbers and ranges, for example 0-3,15",
                      "%s must be whole numbers from 0 to %d", key, NUMBER_MAX);
    ranges->list[ranges->n++] = (struct range){(int)first, (int)last};
    return 0;
}

/* "0-3,15", or a number. */
static int read_ranges(const struct reading *reading, const json_t *value, const char *key,
                       struct ranges *ranges) {
    cleanup(freep) char *list = json_is_integer(value)
                                    ? str_format("%" JSON_INTEGER_FORMAT, json_integer_value(value))
                                    : strdup(json_is_string(value) ? json_string_value(value) : "");
    char *rest = list, *word;
    size_t most = 1;
    int r = 0;

    for (const char *c = list; c && *c; c++)
        most += *c == ',';
    ranges->list = calloc(MIN(most, (size_t)RANGES_MAX), sizeof(*ranges->list));
    if (!list || !ranges->list)
        return failure_oom(reading->failure);
    while (!r && (word = strsep(&rest, ",")))
        r = add_range(reading, word, key, ranges);
    return r;
}

static int read_wbits(const struct reading *reading, const json_t *value, struct rule *rule) {
    json_int_t n = json_integer_value(value);

    if (n != 2 && n != 3 && n != 4 && n != 8 && n != 16)
        return refuse(reading, "16 leaves the matrices as they are",
                      "wbits must be 2, 3, 4, 8 or 16");
    rule->wbits = (int)n;
    return 0;
}

static int read_groupsize(const struct reading *reading, const json_t *value, struct rule *rule) {
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value) || n < -1 || n == 0 || n > GROUPSIZE_MAX || (n > 0 && n % 8))
        return refuse(reading, "128 is the usual choice, -1 is one grid per row",
                      "groupsize must be -1 or a positive multiple of 8");
    rule->groupsize = (int)n;
    return 0;
}

static int read_method(const struct reading *reading, const json_t *value, struct rule *rule) {
    rule->method = method_find(json_string_value(value));
    return rule->method
               ? 0
               : refuse(reading, "take one that --method takes", "there is no such method");
}

static int read_member(const struct reading *reading, const char *key, const json_t *value,
                       struct rule *rule) {
    if (str_equal(key, "modules"))
        return read_modules(reading, value, rule);
    if (str_equal(key, "layers"))
        return read_ranges(reading, value, key, &rule->layers);
    if (str_equal(key, "experts"))
        return read_ranges(reading, value, key, &rule->experts);
    if (str_equal(key, "wbits"))
        return read_wbits(reading, value, rule);
    if (str_equal(key, "groupsize"))
        return read_groupsize(reading, value, rule);
    if (str_equal(key, "method"))
        return read_method(reading, value, rule);
    if (!str_equal(key, "sym"))
        return refuse(reading, EXAMPLE, "unknown member '%s'", key);
    if (!json_is_boolean(value))
        return refuse(reading, NULL, "sym must be true or false");
    rule->sym = json_is_true(value);
    return 0;
}

static int check_rule(const struct reading *reading, const struct rule *rule) {
    unsigned int attention = 0x1f; /* the first five names: no expert has one of them */

    if (!rule->modules && !rule->layers.n && !rule->experts.n)
        return refuse(reading, "set it for the whole job", "it selects every matrix");
    if (!rule->wbits && !rule->groupsize && rule->sym < 0 && !rule->method)
        return refuse(reading, EXAMPLE, "it sets nothing");
    if (rule->wbits == SCHEME_PLAIN && (rule->groupsize || rule->sym >= 0 || rule->method))
        return refuse(reading, "leave groupsize, sym and method out",
                      "16 bits leave the matrices as they are");
    if (rule->experts.n && rule->modules && !(rule->modules & ~attention))
        return refuse(reading, "leave experts out, or name gate_proj, up_proj or down_proj",
                      "attention has no experts");
    return 0;
}

static int read_object(const struct reading *reading, const json_t *value, struct rule *rule) {
    json_t *member;
    const char *key;
    int r = 0;

    json_object_foreach((json_t *)value, key, member) {
        if (!json_is_null(member))
            r = read_member(reading, key, member, rule);
        if (r)
            return r;
    }
    return check_rule(reading, rule);
}

static int read_rule(const struct reading *reading, const json_t *value, struct rule *rule) {
    cleanup(json_decrefp) json_t *object = NULL;
    int r;

    *rule = (struct rule){.sym = -1};
    if (json_is_string(value)) {
        r = read_text(reading, json_string_value(value), &object);
        return r ? r : read_object(reading, object, rule);
    }
    if (!json_is_object(value))
        return refuse(reading, EXAMPLE, "must be an object or a string");
    return read_object(reading, value, rule);
}

int rules_read(const json_t *value, struct rules *ret_rules, struct failure *failure) {
    struct rules rules = {};
    int r = 0;

    if (!json_is_array(value) || json_array_size(value) > RULES_MAX)
        return failure_field(failure, "rules", EXAMPLE, "must be an array of at most %d rules",
                             RULES_MAX);
    if (json_array_size(value) == 0)
        return 0;
    rules.list = calloc(json_array_size(value), sizeof(*rules.list));
    if (!rules.list)
        return failure_oom(failure);
    while (rules.n < (int)json_array_size(value) && !r) {
        const struct reading reading = {rules.n + 1, failure};

        r = read_rule(&reading, json_array_get(value, rules.n), &rules.list[rules.n]);
        rules.n++;
    }
    if (r)
        rules_done(&rules);
    else
        *ret_rules = rules;
    return r;
}
