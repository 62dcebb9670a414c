// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/gptq_config.h"

#include "base/str.h"

#include <errno.h>
#include <string.h>

#define HINT "quantd reads GPTQ checkpoints of 2, 3, 4 or 8 bits with one scheme for all layers"

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

static int read_bool(const struct quantization_source *s, const char *key, bool fallback,
                     bool *ret_value) {
    const json_t *value = json_object_get(s->value, key);

    if (value && !json_is_null(value) && !json_is_boolean(value))
        return refuse(s, "model_invalid", key, "true or false");
    *ret_value = json_is_boolean(value) ? json_is_true(value) : fallback;
    return 0;
}

/* A row of every matrix, at @unit each element, is a multiple of @whole. */
static bool divides_all(const struct quantization_source *s, json_int_t whole, json_int_t unit) {
    for (size_t i = 0; i < s->n; i++) {
        if (s->in_features[i] * unit % whole)
            return false;
    }
    return true;
}

static int read_bits(const struct quantization_source *s, int *ret_bits) {
    const json_t *value = json_object_get(s->value, "bits");
    json_int_t bits = json_integer_value(value);

    if (!json_is_integer(value))
        return refuse(s, "model_invalid", "bits", "an integer");
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8)
        return refuse(s, "model_unsupported", "bits", "2, 3, 4 or 8");
    if (!divides_all(s, 32, bits))
        return refuse(s, "model_invalid", "bits",
                      "a number that packs both in-feature sizes into whole 32-bit words");
    *ret_bits = (int)bits;
    return 0;
}

static int read_groupsize(const struct quantization_source *s, int *ret_groupsize) {
    const json_t *value = json_object_get(s->value, "group_size");
    json_int_t size = json_integer_value(value);

    if (!json_is_integer(value))
        return refuse(s, "model_invalid", "group_size", "an integer");
    if (size != -1 && (size < 1 || !divides_all(s, size, 1)))
        return refuse(s, "model_invalid", "group_size",
                      "-1 or a divisor of hidden_size and intermediate_size");
    *ret_groupsize = (int)size;
    return 0;
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

/*
 * What would make some matrices differ from the rest. A rule that leaves matrices out ("-:" of
 * `dynamic`) says nothing here: whether a matrix is quantized is what its tensors say.
 */
static int check_rules(const struct quantization_source *s, const char *name, const char *what) {
    json_t *rules = json_object_get(s->value, name), *rule;
    const char *pattern;

    if (!rules || json_is_null(rules))
        return 0;
    if (!json_is_object(rules))
        return refuse(s, "model_unsupported", name, "an object");
    json_object_foreach(rules, pattern, rule) {
        if (strncmp(pattern, "-:", 2) != 0 && !changes_nothing(s, rule))
            return refuse(s, "model_unsupported", name, what);
    }
    return 0;
}

static int check_uniform(const struct quantization_source *s) {
    bool lm_head = false;
    int r;

    r = read_bool(s, "lm_head", false, &lm_head);
    if (r)
        return r;
    if (lm_head)
        return refuse(s, "model_unsupported", "lm_head", "false");
    r = check_rules(s, "dynamic", "empty, or of rules that leave matrices out ('-:...')");
    return r ? r
             : check_rules(s, "extra_config", "of matrices with the same scheme, or of 16 bits");
}

int gptq_parse(const struct quantization_source *s, struct quantization_config *ret_config) {
    struct quantization_config q = {.present = true};
    int r;

    r = check_uniform(s);
    if (!r)
        r = read_format(s, &q.v2);
    if (!r)
        r = read_bits(s, &q.wbits);
    if (!r)
        r = read_groupsize(s, &q.groupsize);
    if (!r)
        r = read_bool(s, "sym", false, &q.sym);
    if (!r)
        r = read_bool(s, "desc_act", false, &q.desc_act);
    if (r)
        return r;
    *ret_config = q;
    return 0;
}
