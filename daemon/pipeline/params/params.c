// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params/params.h"

#include "base/str.h"
#include "daemon/pipeline/engines/engine.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/methods/method.h"

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
    free(params->dataset);
    free(params->model);
    free(params);
}

struct quantization_config params_quantization(const struct params *params) {
    return (struct quantization_config){
        .present = true,
        .wbits = params->wbits,
        .groupsize = params->groupsize,
        .sym = params->sym,
        .desc_act = params->act_order && !params->static_groups && params->groupsize > 0,
        .v2 = !params->sym, /* an asymmetric zero may be 0, which "minus one" cannot hold */
    };
}

bool params_calibrates(const struct params *params) {
    return params->wbits != 16 && params->method->needs_hessians;
}

int params_check(const struct params *params, const struct quantization_config *q,
                 const struct model_config *config, struct failure *failure) {
    int r = format_check(params->format, q, config, failure);

    return r || !params->engine ? r : params->engine->check(params->format, q, config, failure);
}
