// SPDX-License-Identifier: Apache-2.0
#include "client/job/columns/parameters.h"

#include "base/macros.h"
#include "base/str.h"

static const struct parameter parameters[] = {
    {"model", "model"},
    {"dataset", "dataset"},
    {"preset", "preset"},
    {"wbits", "bits"},
    {"target_bits", "target bits"},
    {"target_unit", "target unit", "module"},
    {"rules", "rules"},
    {"groupsize", "groupsize"},
    {"method", "method"},
    {"grid", "grid"},
    {"act_order", "act-order"},
    {"sym", "sym"},
    {"true_sequential", "true-sequential"},
    {"static_groups", "static-groups"},
    {"nsamples", "nsamples"},
    {"seqlen", "seqlen"},
    {"seed", "seed"},
    {"batch", "batch"},
    {"refine", "refine"},
    {"percdamp", "percdamp"},
    {"drift", "drift"},
    {"eval", "sets"},
    {"difference", "difference"},
    {"format", "format"},
    {"gguf_embedding", "GGUF embedding", "bf16"},
    {"gguf_type", "GGUF type"},
    {"for", "for"},
    {"plan_only", "plan only"},
    {"plan_bits", "plan bits"},
};

const struct parameter *parameter_at(size_t i) {
    return i < ARRAY_SIZE(parameters) ? &parameters[i] : NULL;
}

static const struct parameter *find(const char *key) {
    for (size_t i = 0; i < ARRAY_SIZE(parameters); i++)
        if (str_equal(parameters[i].key, key))
            return &parameters[i];
    return NULL;
}

const char *parameter_title(const char *key) {
    const struct parameter *p = find(key);

    return p ? p->title : key;
}

/* Missing, or what a job without the parameter does. */
static bool is_off(const struct parameter *p, const json_t *value) {
    if (json_is_number(value))
        return json_number_value(value) == 0;
    if (json_is_string(value))
        return p && p->absent && str_equal(p->absent, json_string_value(value));
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

bool parameter_differs(const char *key, const json_t *a, const json_t *b) {
    const struct parameter *p = find(key);

    return !json_equal((json_t *)a, (json_t *)b) && !(is_off(p, a) && is_off(p, b));
}
