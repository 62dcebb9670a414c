// SPDX-License-Identifier: Apache-2.0
#include "client/job/columns/parameters.h"

#include "base/macros.h"

static const struct parameter parameters[] = {
    {"model", "model"},
    {"dataset", "dataset"},
    {"preset", "preset"},
    {"wbits", "bits"},
    {"target_bits", "target bits"},
    {"target_unit", "target unit"},
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
    {"gguf_embedding", "gguf embedding"},
    {"gguf_type", "GGUF type"},
    {"for", "for"},
    {"plan_only", "plan only"},
    {"plan_bits", "plan bits"},
};

const struct parameter *parameter_at(size_t i) {
    return i < ARRAY_SIZE(parameters) ? &parameters[i] : NULL;
}

/* Missing, or what a job without the parameter does. */
static bool is_off(const json_t *value) {
    if (json_is_number(value))
        return json_number_value(value) == 0;
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

bool parameter_differs(const json_t *a, const json_t *b) {
    return !json_equal((json_t *)a, (json_t *)b) && !(is_off(a) && is_off(b));
}
