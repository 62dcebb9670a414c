// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/gptq_config.h"

#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

#define HINT "quantd reads GPTQ checkpoints of 2, 3, 4 or 8 bits"

static int refuse(const struct quantization_source *s, const char *code, const char *key,
                  const char *what) {
    return failure_set(s->failure, -EBADMSG, code, HINT,
                       "cannot use '%s': '%s' of its quantization must be %s", s->path, key, what);
}

/* The string at @key or, in newer files, at @newer; null is as good as absent. */
static int read_name(const struct quantization_source *s, const char *key, const char *newer,
                     const char **ret_name) {
    const json_t *value = json_object_get(s->value, key);

    if (!value || json_is_null(value))
        value = json_object_get(s->value, newer);
    if (value && !json_is_null(value) && !json_is_string(value))
        return refuse(s, "model_invalid", key, "a string");
    *ret_name = json_string_value(value);
    return 0;
}

/*
 * AutoRound writes the same tensors under its own name. Which of them it means by packing_format:
 * with auto_gptq zeros are stored minus one, with gptqmodel and in its first form they are not
 * (auto_round/inference/backend.py, GPTQ_FORMAT and GPTQ_FORMAT_NO_ZP).
 */
static const struct auto_round_format {
    const char *name;
    bool v2;
} auto_round_formats[] = {
    {"auto_round:auto_gptq", false},
    {"auto_round:gptqmodel", true},
    {"auto_round", true},
};

static bool is_auto_round(const char *method) {
    return str_equal(method, "auto-round") || str_equal(method, "intel/auto-round");
}

bool gptq_recognizes(const struct quantization_source *s) {
    const char *method;

    if (read_name(s, "quant_method", "method", &method))
        return false;
    return method ? str_equal(method, "gptq") || is_auto_round(method) : !s->needs_method;
}

static int read_auto_round(const struct quantization_source *s, bool *ret_v2) {
    const json_t *format = json_object_get(s->value, "packing_format");
    const json_t *type = json_object_get(s->value, "data_type");

    if (type && !json_is_null(type) && !str_equal(json_string_value(type), "int"))
        return refuse(s, "model_unsupported", "data_type", "int");
    for (size_t i = 0; i < ARRAY_SIZE(auto_round_formats); i++) {
        *ret_v2 = auto_round_formats[i].v2;
        if (str_equal(json_string_value(format), auto_round_formats[i].name))
            return 0;
    }
    return refuse(s, "model_unsupported", "packing_format",
                  "auto_round:auto_gptq, auto_round:gptqmodel or auto_round");
}

/* Are zeros stored as they are? */
static int read_format(const struct quantization_source *s, bool *ret_v2) {
    const char *format, *pack, *method;
    int r;

    r = read_name(s, "checkpoint_format", "format", &format);
    if (!r)
        r = read_name(s, "pack_dtype", "pack_dtype", &pack);
    if (!r)
        r = read_name(s, "quant_method", "method", &method);
    if (r)
        return r;
    if (is_auto_round(method))
        return read_auto_round(s, ret_v2);
    if (format && !str_equal(format, "gptq") && !str_equal(format, "gptq_v2"))
        return refuse(s, "model_unsupported", "checkpoint_format", "gptq or gptq_v2");
    if (pack && !str_equal(pack, "int32"))
        return refuse(s, "model_unsupported", "pack_dtype", "int32");
    *ret_v2 = str_equal(format, "gptq_v2");
    return 0;
}

static int read_bool(const struct quantization_source *s, const json_t *object, const char *key,
                     bool fallback, bool *ret_value) {
    const json_t *value = json_object_get(object, key);

    if (value && !json_is_null(value) && !json_is_boolean(value))
        return refuse(s, "model_invalid", key, "true or false");
    *ret_value = json_is_boolean(value) ? json_is_true(value) : fallback;
    return 0;
}

static int read_bits(const struct quantization_source *s, const json_t *value, int *ret_bits) {
    json_int_t bits = json_integer_value(value);

    if (!json_is_integer(value))
        return refuse(s, "model_invalid", "bits", "an integer");
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8)
        return refuse(s, "model_unsupported", "bits", "2, 3, 4 or 8");
    if (!quantization_divides(s, 32, bits))
        return refuse(s, "model_invalid", "bits",
                      "a number that packs both in-feature sizes into whole 32-bit words");
    *ret_bits = (int)bits;
    return 0;
}

static int read_groupsize(const struct quantization_source *s, const json_t *value,
                          int *ret_groupsize) {
    json_int_t size = json_integer_value(value);

    if (!json_is_integer(value))
        return refuse(s, "model_invalid", "group_size", "an integer");
    if (size != -1 && (size < 1 || size > INT32_MAX))
        return refuse(s, "model_invalid", "group_size",
                      "-1 or a divisor of hidden_size and intermediate_size");
    *ret_groupsize = (int)size;
    return 0;
}

/* Of our own layout: the bits of the scales of a K grid, which has GRID_SUPER columns or more. */
static int read_sub_bits(const struct quantization_source *s, const json_t *object,
                         int *ret_sub_bits) {
    const json_t *value = json_object_get(object, NEUTRAL_SUB_BITS);
    const char *method = json_string_value(json_object_get(s->value, "quant_method"));
    json_int_t bits = json_integer_value(value);

    *ret_sub_bits = 0;
    if (!value || !str_equal(method, NEUTRAL_METHOD))
        return 0;
    if (bits < 4 || bits > 8)
        return refuse(s, "model_invalid", NEUTRAL_SUB_BITS, "a number from 4 to 8");
    *ret_sub_bits = (int)bits;
    return 0;
}

/* With rules it is asked of each matrix by whoever knows which it is. */
static int check_groupsize(const struct quantization_source *s, int groupsize) {
    if (groupsize == -1 || s->overrides->n > 0 || quantization_divides(s, groupsize, 1))
        return 0;
    return refuse(s, "model_invalid", "group_size",
                  "-1 or a divisor of hidden_size and intermediate_size");
}

/* Does @rule ask for what all matrices have anyway, or for a matrix that stays plain? */
static bool changes_nothing(const struct quantization_source *s, const json_t *rule) {
    const char *key;
    json_t *value;

    if (!json_is_object(rule))
        return false;
    if (json_integer_value(json_object_get(rule, "bits")) >= 16)
        return true;
    json_object_foreach((json_t *)rule, key, value) {
        if (!json_equal(json_object_get(s->value, key), value) && !json_is_null(value))
            return false;
    }
    return true;
}

/* What would make some matrices of AutoRound differ from the rest. */
static int check_extra(const struct quantization_source *s) {
    json_t *rules = json_object_get(s->value, "extra_config"), *rule;
    const char *pattern;

    if (!rules || json_is_null(rules))
        return 0;
    if (!json_is_object(rules))
        return refuse(s, "model_unsupported", "extra_config", "an object");
    json_object_foreach(rules, pattern, rule) {
        if (!changes_nothing(s, rule))
            return refuse(s, "model_unsupported", "extra_config",
                          "of matrices with the same scheme, or of 16 bits");
    }
    return 0;
}

static int check_uniform(const struct quantization_source *s) {
    bool lm_head = false;
    int r;

    r = read_bool(s, s->value, "lm_head", false, &lm_head);
    if (r)
        return r;
    if (lm_head)
        return refuse(s, "model_unsupported", "lm_head", "false");
    return check_extra(s);
}

/* ---- dynamic: what GPTQModel says of some modules; the first expression that matches holds ----
 */

/* Keys of a rule that would change the layout, which is one for all. */
static const char *const layout_keys[] = {"pack_dtype", "checkpoint_format", "format",
                                          "quant_method", "method"};

static int read_rule(const struct quantization_source *s, const json_t *rule,
                     struct scheme *scheme) {
    const json_t *bits = json_object_get(rule, "bits"), *size = json_object_get(rule, "group_size");
    int r = 0;

    if (!json_is_object(rule))
        return refuse(s, "model_invalid", "dynamic", "an object of objects");
    for (size_t i = 0; i < ARRAY_SIZE(layout_keys); i++) {
        const json_t *value = json_object_get(rule, layout_keys[i]);

        if (value && !json_is_null(value) &&
            !json_equal(value, json_object_get(s->value, layout_keys[i])))
            return refuse(s, "model_unsupported", "dynamic", "of rules that keep the layout");
    }
    if (json_integer_value(bits) >= SCHEME_PLAIN) {
        scheme->wbits = SCHEME_PLAIN;
        return 0;
    }
    if (bits && !json_is_null(bits))
        r = read_bits(s, bits, &scheme->wbits);
    if (!r && size && !json_is_null(size))
        r = read_groupsize(s, size, &scheme->groupsize);
    if (!r)
        r = read_bool(s, rule, "sym", scheme->sym, &scheme->sym);
    if (!r)
        r = read_bool(s, rule, "desc_act", scheme->desc_act, &scheme->desc_act);
    if (!r)
        r = read_sub_bits(s, rule, &scheme->sub_bits);
    return r;
}

/* A rule whose name begins with "-:" leaves modules as they are. */
static int read_dynamic(const struct quantization_source *s, const struct quantization_config *q) {
    json_t *rules = json_object_get(s->value, "dynamic"), *rule;
    const char *name;

    if (!rules || json_is_null(rules))
        return 0;
    if (!json_is_object(rules))
        return refuse(s, "model_unsupported", "dynamic", "an object");
    json_object_foreach(rules, name, rule) {
        bool plain = strncmp(name, "-:", 2) == 0, prefixed = plain || strncmp(name, "+:", 2) == 0;
        struct scheme scheme = {plain ? SCHEME_PLAIN : q->wbits, q->groupsize, q->sym, q->desc_act,
                                NULL};
        int r = plain ? 0 : read_rule(s, rule, &scheme);

        if (r)
            return r;
        r = overrides_add_pattern(s->overrides, name + (prefixed ? 2 : 0), &scheme);
        if (r == -ENOMEM)
            return failure_oom(s->failure);
        if (r)
            return refuse(s, "model_unsupported", "dynamic",
                          "of at most 4096 regular expressions that PCRE2 understands");
    }
    return 0;
}

int gptq_parse(const struct quantization_source *s, struct quantization_config *ret_config) {
    struct quantization_config q = {.present = true};
    int r;

    r = check_uniform(s);
    if (!r)
        r = read_format(s, &q.v2);
    if (!r)
        r = read_bits(s, json_object_get(s->value, "bits"), &q.wbits);
    if (!r)
        r = read_groupsize(s, json_object_get(s->value, "group_size"), &q.groupsize);
    if (!r)
        r = read_bool(s, s->value, "sym", false, &q.sym);
    if (!r)
        r = read_bool(s, s->value, "desc_act", false, &q.desc_act);
    if (!r)
        r = read_sub_bits(s, s->value, &q.sub_bits);
    if (!r)
        r = read_dynamic(s, &q);
    if (!r)
        r = check_groupsize(s, q.groupsize);
    if (r)
        return r;
    *ret_config = q;
    return 0;
}
