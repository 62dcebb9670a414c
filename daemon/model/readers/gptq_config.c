// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/gptq_config.h"

#include "base/str.h"

#include <errno.h>

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

bool gptq_recognizes(const struct quantization_source *s) {
    const char *method;

    if (read_name(s, "quant_method", "method", &method))
        return false;
    return method ? str_equal(method, "gptq") : !s->needs_method;
}

static int read_format(const struct quantization_source *s, bool *ret_v2) {
    const char *format, *pack;
    int r;

    r = read_name(s, "checkpoint_format", "format", &format);
    if (!r)
        r = read_name(s, "pack_dtype", "pack_dtype", &pack);
    if (r)
        return r;
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

    if (value && !json_is_boolean(value))
        return refuse(s, "model_invalid", key, "true or false");
    *ret_value = value ? json_is_true(value) : fallback;
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

/* What would make some layers differ from the rest. */
static int check_uniform(const struct quantization_source *s) {
    const json_t *dynamic = json_object_get(s->value, "dynamic");
    bool lm_head = false;
    int r;

    r = read_bool(s, "lm_head", false, &lm_head);
    if (r)
        return r;
    if (lm_head)
        return refuse(s, "model_unsupported", "lm_head", "false");
    if (dynamic && !json_is_null(dynamic) &&
        !(json_is_object(dynamic) && json_object_size(dynamic) == 0))
        return refuse(s, "model_unsupported", "dynamic", "empty");
    return 0;
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
        r = read_bool(s, "sym", true, &q.sym);
    if (!r)
        r = read_bool(s, "desc_act", false, &q.desc_act);
    if (r)
        return r;
    *ret_config = q;
    return 0;
}
