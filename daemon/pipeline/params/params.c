// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params/params.h"

#include "base/str.h"
#include "daemon/pipeline/engines/engine.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/methods/method.h"
#include "daemon/pipeline/params/k_types.h"

#include <errno.h>
#include <stdlib.h>

static const char *const kind_names[] = {
    [JOB_QUANTIZE] = "quantize", [JOB_EVAL] = "eval", [JOB_EXPORT] = "export"};

const char *job_kind_name(enum job_kind kind) {
    return kind_names[kind];
}

int job_kind_from_name(const char *name, enum job_kind *ret_kind) {
    for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++) {
        if (str_equal(name, kind_names[i])) {
            *ret_kind = i;
            return 0;
        }
    }
    return -EINVAL;
}

void params_free(struct params *params) {
    if (!params)
        return;
    for (int i = 0; i < params->n_eval; i++)
        free(params->eval[i]);
    rules_done(&params->rules);
    free(params->dataset);
    free(params->model);
    free(params);
}

bool params_reorders(const struct params *params, int groupsize) {
    return params->act_order && !params->static_groups && groupsize > 0;
}

/* An asymmetric zero may be 0, which "minus one" cannot hold. */
static bool has_asymmetric(const struct params *params) {
    bool found = !params->sym;

    for (int i = 0; i < params->rules.n; i++)
        found |= params->rules.list[i].sym == 0;
    return found;
}

struct quantization_config params_quantization(const struct params *params) {
    return (struct quantization_config){
        .present = true,
        .wbits = params->wbits,
        .groupsize = params->groupsize,
        .sym = params->sym,
        .desc_act = params_reorders(params, params->groupsize),
        .sub_bits = params->gguf_type ? params->gguf_type->grid.sub_bits : 0,
        .v2 = has_asymmetric(params),
        .q8_0_ends = params->gguf_embedding == GGUF_EMBEDDING_Q8_0,
    };
}

bool params_calibrates(const struct params *params) {
    bool needs = params->method->needs_hessians;

    for (int i = 0; i < params->rules.n; i++)
        needs |= params->rules.list[i].method && params->rules.list[i].method->needs_hessians;
    return params->wbits != 16 && needs;
}

int params_check(const struct params *params, const struct quantization_config *q,
                 const struct model_config *config, struct failure *failure) {
    int r = format_check(params->format, q, config, failure);

    return r || !params->engine ? r
                                : engine_check(params->engine, params->format, q, config, failure);
}
