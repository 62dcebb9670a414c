// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/compressed_tensors_config.h"

#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

#define HINT                                                                                       \
    "quantd reads compressed-tensors checkpoints in pack-quantized of 2, 3, 4 or 8 bits with no "  \
    "quantized activations"

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
    if (!quantization_divides(s, 32, bits))
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
    else if (size < 1 || size > INT32_MAX)
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

static int read_scheme(const struct quantization_source *s, const json_t *group,
                       struct scheme *scheme) {
    const json_t *weights = json_object_get(group, "weights");
    int r = check_group(s, group);

    if (!r)
        r = read_bits(s, weights, &scheme->wbits);
    if (!r)
        r = read_groupsize(s, weights, &scheme->groupsize);
    if (!r)
        r = read_symmetric(s, weights, &scheme->sym);
    return r ? r : read_order(s, weights, &scheme->desc_act);
}

/* ---- groups ---- */

/* An exact name goes before an expression, and an expression before a class of modules. */
enum target { TARGET_NAME, TARGET_PATTERN, TARGET_CLASS };

static enum target kind_of(const char *target) {
    return strncmp(target, "re:", 3) == 0 ? TARGET_PATTERN
           : strchr(target, '.')          ? TARGET_NAME
                                          : TARGET_CLASS;
}

/* The targets of @group that are of @kind. *ret_found: there is one. */
static int add_targets(const struct quantization_source *s, const json_t *group, enum target kind,
                       const struct scheme *scheme, bool *ret_found) {
    json_t *targets = json_object_get(group, "targets"), *target;
    int r = 0;
    size_t i;

    json_array_foreach(targets, i, target) {
        const char *name = json_string_value(target);

        if (!name)
            return refuse(s, "model_invalid", "targets", "an array of strings");
        if (kind_of(name) != kind)
            continue;
        *ret_found = true;
        if (kind == TARGET_NAME)
            r = overrides_add_name(s->overrides, name, scheme);
        else if (kind == TARGET_PATTERN)
            r = overrides_add_pattern(s->overrides, name + 3, scheme);
        if (r == -ENOMEM)
            return failure_oom(s->failure);
        if (r)
            return refuse(s, "model_unsupported", "targets",
                          "at most 4096 regular expressions that PCRE2 understands");
    }
    return 0;
}

/*
 * The group of a class of modules, else the first, holds for what no other names. Which matrices
 * are quantized is what their tensors say: "ignore" is not looked at.
 */
static int read_groups(const struct quantization_source *s, enum target kind,
                       struct scheme *ret_base) {
    json_t *groups = json_object_get(s->value, "config_groups"), *group;
    bool has_base = false;
    const char *name;

    json_object_foreach(groups, name, group) {
        struct scheme scheme = {};
        bool found = false;
        int r = read_scheme(s, group, &scheme);

        if (!r)
            r = add_targets(s, group, kind, &scheme, &found);
        if (r)
            return r;
        if (kind == TARGET_CLASS && found && has_base && !scheme_equal(&scheme, ret_base))
            return refuse(s, "model_unsupported", "config_groups",
                          "of at most one scheme for a class of modules");
        if (kind == TARGET_CLASS && (found || (!has_base && ret_base->wbits == 0)))
            *ret_base = scheme;
        has_base |= kind == TARGET_CLASS && found;
    }
    return 0;
}

static int check_groupsize(const struct quantization_source *s, int groupsize) {
    if (groupsize == -1 || s->overrides->n > 0 || quantization_divides(s, groupsize, 1))
        return 0;
    return refuse(s, "model_invalid", "group_size",
                  "a divisor of hidden_size and intermediate_size");
}

int compressed_tensors_parse(const struct quantization_source *s,
                             struct quantization_config *ret_config) {
    struct scheme base = {};
    int r = 0;

    if (!is_none(json_object_get(s->value, "kv_cache_scheme")))
        return refuse(s, "model_unsupported", "kv_cache_scheme", "null");
    if (json_object_size(json_object_get(s->value, "config_groups")) == 0)
        return refuse(s, "model_invalid", "config_groups", "an object with a group");
    r = check_layout(s, s->value);
    for (enum target kind = TARGET_NAME; kind <= TARGET_CLASS && !r; kind++)
        r = read_groups(s, kind, &base);
    if (!r)
        r = check_groupsize(s, base.groupsize);
    if (r)
        return r;
    *ret_config = (struct quantization_config){.present = true,
                                               .v2 = true,
                                               .wbits = base.wbits,
                                               .groupsize = base.groupsize,
                                               .sym = base.sym,
                                               .desc_act = base.desc_act};
    return 0;
}
