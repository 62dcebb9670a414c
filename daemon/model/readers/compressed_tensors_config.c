// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/compressed_tensors_config.h"

#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

#define HINT                                                                                       \
    "quantd reads compressed-tensors checkpoints in pack-quantized of 2, 3, 4 or 8 bits with one " \
    "scheme for all layers and no quantized activations"

/* The keys of a scheme's weights that say how they are read. */
static const char *const keys[] = {"num_bits", "type",       "symmetric",
                                   "strategy", "group_size", "actorder"};

static int refuse(const struct quantization_source *s, const char *code, const char *key,
                  const char *what) {
    return failure_set(s->failure, -EBADMSG, code, HINT,
                       "cannot use '%s': '%s' of its quantization must be %s", s->path, key, what);
}

bool compressed_tensors_recognizes(const struct quantization_source *s) {
    return str_equal(json_string_value(json_object_get(s->value, "quant_method")),
                     COMPRESSED_TENSORS_METHOD);
}

/* Is it not said, or said to be none? */
static bool is_none(const json_t *value) {
    return !value || json_is_null(value);
}

/* A row of every matrix, at @unit each element, is a multiple of @whole. */
static bool divides_all(const struct quantization_source *s, json_int_t whole, json_int_t unit) {
    for (size_t i = 0; i < s->n; i++) {
        if (s->in_features[i] * unit % whole)
            return false;
    }
    return true;
}

static int check_layout(const struct quantization_source *s, const json_t *value) {
    const json_t *format = json_object_get(value, "format");

    if (is_none(format) || str_equal(json_string_value(format), COMPRESSED_TENSORS_PACKED))
        return 0;
    return refuse(s, "model_unsupported", "format", COMPRESSED_TENSORS_PACKED);
}

static int check_group(const struct quantization_source *s, const json_t *group) {
    if (!json_is_object(group) || !json_is_object(json_object_get(group, "weights")))
        return refuse(s, "model_unsupported", "config_groups", "of objects with 'weights'");
    if (!is_none(json_object_get(group, "input_activations")))
        return refuse(s, "model_unsupported", "input_activations", "null");
    if (!is_none(json_object_get(group, "output_activations")))
        return refuse(s, "model_unsupported", "output_activations", "null");
    return check_layout(s, group);
}

static bool same_scheme(const json_t *a, const json_t *b) {
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const json_t *x = json_object_get(a, keys[i]), *y = json_object_get(b, keys[i]);

        if (!(is_none(x) && is_none(y)) && !json_equal(x, y))
            return false;
    }
    return true;
}

/*
 * The scheme of the weights, one for all groups. Which matrices are quantized is what their tensors
 * say: "targets" and "ignore" are not looked at.
 */
static int find_scheme(const struct quantization_source *s, const json_t **ret_weights) {
    json_t *groups = json_object_get(s->value, "config_groups"), *group;
    const json_t *weights = NULL;
    const char *name;

    json_object_foreach(groups, name, group) {
        const json_t *its = json_object_get(group, "weights");
        int r = check_group(s, group);

        if (r)
            return r;
        if (weights && !same_scheme(weights, its))
            return refuse(s, "model_unsupported", "config_groups", "one scheme for all layers");
        weights = its;
    }
    if (!weights)
        return refuse(s, "model_invalid", "config_groups", "an object with a group");
    *ret_weights = weights;
    return 0;
}

static int read_bits(const struct quantization_source *s, const json_t *weights, int *ret_bits) {
    const json_t *value = json_object_get(weights, "num_bits");
    const json_t *type = json_object_get(weights, "type");
    json_int_t bits = json_integer_value(value);

    if (!json_is_integer(value))
        return refuse(s, "model_invalid", "num_bits", "an integer");
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8)
        return refuse(s, "model_unsupported", "num_bits", "2, 3, 4 or 8");
    if (!is_none(type) && !str_equal(json_string_value(type), "int"))
        return refuse(s, "model_unsupported", "type", "int");
    if (!divides_all(s, 32, bits))
        return refuse(s, "model_invalid", "num_bits",
                      "a number that packs both in-feature sizes into whole 32-bit words");
    *ret_bits = (int)bits;
    return 0;
}

/* Without a strategy it is the one that group_size stands for. */
static int read_groupsize(const struct quantization_source *s, const json_t *weights,
                          int *ret_groupsize) {
    const json_t *strategy = json_object_get(weights, "strategy");
    const json_t *value = json_object_get(weights, "group_size");
    json_int_t size = is_none(value) ? -1 : json_integer_value(value);
    const char *name = json_string_value(strategy);

    if (!is_none(value) && !json_is_integer(value))
        return refuse(s, "model_invalid", "group_size", "an integer or null");
    if (is_none(strategy))
        name = size > 0 ? "group" : is_none(value) ? "tensor" : "channel";
    if (!str_equal(name, "group") && !str_equal(name, "channel"))
        return refuse(s, "model_unsupported", "strategy", "group or channel");
    if (str_equal(name, "channel"))
        size = -1;
    else if (size < 1 || !divides_all(s, size, 1))
        return refuse(s, "model_invalid", "group_size",
                      "a divisor of hidden_size and intermediate_size");
    *ret_groupsize = (int)size;
    return 0;
}

static int read_symmetric(const struct quantization_source *s, const json_t *weights,
                          bool *ret_sym) {
    const json_t *value = json_object_get(weights, "symmetric");

    if (!is_none(value) && !json_is_boolean(value))
        return refuse(s, "model_invalid", "symmetric", "true or false");
    *ret_sym = !json_is_false(value);
    return 0;
}

/* Is the order in weight_g_idx? Any other was gone when the checkpoint was written. */
static int read_order(const struct quantization_source *s, const json_t *weights,
                      bool *ret_unordered) {
    const json_t *value = json_object_get(weights, "actorder");
    const char *name = json_string_value(value);

    *ret_unordered = json_is_true(value) || str_equal(name, "group") || str_equal(name, "dynamic");
    if (*ret_unordered || is_none(value) || json_is_false(value) || str_equal(name, "static") ||
        str_equal(name, "weight"))
        return 0;
    return refuse(s, "model_unsupported", "actorder", "null, static, weight or group");
}

int compressed_tensors_parse(const struct quantization_source *s,
                             struct quantization_config *ret_config) {
    struct quantization_config q = {.present = true, .v2 = true};
    const json_t *weights = NULL;
    int r = 0;

    if (!is_none(json_object_get(s->value, "kv_cache_scheme")))
        return refuse(s, "model_unsupported", "kv_cache_scheme", "null");
    r = check_layout(s, s->value);
    if (!r)
        r = find_scheme(s, &weights);
    if (!r)
        r = read_bits(s, weights, &q.wbits);
    if (!r)
        r = read_groupsize(s, weights, &q.groupsize);
    if (!r)
        r = read_symmetric(s, weights, &q.sym);
    if (!r)
        r = read_order(s, weights, &q.desc_act);
    if (r)
        return r;
    *ret_config = q;
    return 0;
}
